"""The commands that reach a store: upload, download, push, pull, fetch, list, link, ref."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ama.cli.arguments import (
    AssetArgument,
    CodeOption,
    ExcludeOption,
    ForceOption,
    IncludeOption,
    LimitOption,
    MessageOption,
    OnceOption,
    RemoteOption,
)
from ama.cli.commands import PROGRAM, new_group, register
from ama.cli.completion import complete_alias, complete_asset, complete_class, complete_link
from ama.cli.output import console, count, short, shown_path, size, when
from ama.cli.rendering import (
    alias_change_text,
    alias_lost_text,
    asset_text,
    beginning,
    files_text,
    moving_text,
    next_upload,
    note_guessed_author,
    note_no_code,
    print_asset_table,
    print_not_added,
    print_same_files,
    print_unlinked,
    print_untracked,
    ref_text,
    warn_of_deprecated,
)
from ama.cli.targets import (
    find_repo,
    load_settings,
    name_in_store,
    note_if_away,
    open_repo,
    open_source,
    open_store,
    open_to_change,
    store_url,
)
from ama.cli.work import report_link, report_switch
from ama.system.encoding import from_system, to_system

if TYPE_CHECKING:
    from ama.results import DownloadResult, PutBack, UploadResult
    from ama.values import AssetInfo


_SOME = 10


NewStoreOption = Annotated[
    bool,
    typer.Option("--new-store", help="Make a store where one was that is deleted for good."),
]


def upload(
    remote: RemoteOption = None,
    message: MessageOption = None,
    new_store: NewStoreOption = False,
    code: CodeOption = None,
    once: OnceOption = False,
) -> None:
    """Publish what is staged.

    The asset gets its number, and the aliases that were set. Content that the remote has is not
    sent again. If no remote is configured, the asset goes to a store on this machine.

    Example:
        ama add model.h5 model.yml
        ama set --alias my_model
        ama upload -m "wider layers"
    """
    repo = open_to_change()
    result = repo.upload(remote=remote, message=message, new_store=new_store, code=code, once=once)
    print_not_added(repo.root, result.not_added)
    report_upload(result, remote)
    if not console.json:
        print_untracked(repo.root, result.untracked, looked_at_all=result.looked_at_all)
    if result.published and result.asset is not None:
        note_guessed_author(repo.settings, result.asset.author)
        note_no_code(repo.settings, repo.root, result.no_code)


def push(
    remote: RemoteOption = None,
    new_store: NewStoreOption = False,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Send again what the remote has lost, or has damaged."),
    ] = False,
    materialize: Annotated[
        bool,
        typer.Option("--materialize", help="Send the content of what is there by reference, too."),
    ] = False,
) -> None:
    """Publish commits that were made before.

    With --repair, it first puts back lost or damaged files of the remote's log, from this machine's
    memory or another remote, if they are proven to be the same. Then it reads back all content of
    this asset and its ancestors, and sends lost or damaged parts again, from here or from another
    remote. Outside of a worktree, it repairs only the log.

    With --materialize, what the remote has only by reference of this asset and its ancestors is
    read, from here or from where it lies, and stored there.

    Example:
        ama commit -m "wider layers"
        ama push
        ama push --repair
    """
    repo = find_repo() if repair and not (new_store or materialize) else open_repo()
    if repo is None:
        _repair_log(remote)
        return
    result = repo.push(remote=remote, new_store=new_store, repair=repair, materialize=materialize)
    if repair and not console.json:
        _print_put_back(result.put_back)
    if console.json or result.asset is not None:
        report_upload(result, remote)
    if (repair or materialize) and not console.json:
        _print_repaired(result)


def _repair_log(remote: str | None) -> None:
    from ama.cli.output import terminal_progress
    from ama.transfer.log_repair import repair_log

    settings = load_settings()
    done = repair_log(remote, settings=settings, progress=terminal_progress())
    if console.report({"remote": settings.remote_url(remote), "put_back": done}):
        return
    _print_put_back(done)
    if not done:
        console.done(f"the log of {settings.remote_url(remote)} is whole")


def _print_put_back(done: tuple[PutBack, ...]) -> None:
    for put in done:
        source = {
            "cache": "as this machine remembers it",
            "log": "as the entries of the log add up to it",
            "id": "as the store's id has it",
        }.get(put.source, f"as it is in {put.source}")
        console.done(f"put back {put.where}, which was {put.was}: {source}")


def _print_repaired(result: UploadResult) -> None:
    if result.asset is None:
        if not result.put_back:
            console.done(f"the log of {result.remote} is whole")
        return
    well = "all else is well" if result.put_back else "all is well"
    sent = f"{count(result.repaired, 'object')} sent again" if result.repaired else well
    console.done(f"read back what {result.remote} has of it: {sent}")


def report_upload(result: UploadResult, remote: str | None) -> None:
    """Print what was published, and what else its users will want to know."""
    if console.report(result):
        return
    _print_which(result)
    print_same_files(result.same)
    print_unlinked(result.unlinked)
    for change in result.aliases:
        console.done(alias_change_text(change))
    there = f" --remote {shlex.quote(from_system(remote))}" if remote else ""
    for ref in result.left_behind:
        names = ", ".join(f"@{alias}" for alias in ref.aliases)
        stay, it = ("stays", "it") if len(ref.aliases) == 1 else ("stay", "one")
        console.done(
            f"{names} {stay} at {ref.name}; to move {it}:"
            f" {moving_text(result.published[-1], ref.aliases[0])}{there}"
        )
    if result.followed not in (None, result.follows):
        console.done(f"pull follows @{result.follows} from now on, not @{result.followed}")
    if not (result.published or result.aliases or result.again):
        where = "" if result.asset is None else f": {_where_it_is(result.asset)}"
        console.done(f"nothing new{where}")
        return
    if result.published:
        new = "the new store " if result.store_created else ""
        reused = f"; {size(result.bytes_reused)} were there already" if result.bytes_reused else ""
        console.done(f"sent {size(result.bytes_sent)} to {new}{result.remote}{reused}")
    for ref in {ref.asset: ref for asset in result.published for ref in asset.refs}.values():
        if ref.number is None:
            place = shlex.quote(result.elsewhere.get(ref.asset, "REMOTE"))
            copy = f"ama copy {short(ref.asset)} --from {place} --to {shlex.quote(result.remote)}"
            console.done(
                f"made from {ref_text(ref)}, which is not in this store; to copy it: {copy}"
            )
        elif ref.status == "deleted":
            console.done(f"made from {ref.name}, which was deleted")
    print_local_default(result.local_default)


def print_local_default(is_so: bool) -> None:
    """Print that a store is on this machine only, if it is."""
    if is_so:
        console.done("no remote is configured: this store is on this machine only")
        console.next_step("ama remote add NAME URL")


def _print_which(result: UploadResult) -> None:
    if result.again and result.asset is not None:
        console.done(f"{result.asset.name} says the same, so nothing was published")
        warn_of_deprecated(result.asset, None)
    for asset in result.published:
        empty = "" if asset.tree != _no_files() else ", which has no files"
        console.done(f"published {asset.name}{empty}")


def _no_files() -> str:
    from ama.format.hashing import tree_id
    from ama.format.objects import encode_tree

    return tree_id(encode_tree([])).hex()


def _where_it_is(asset: AssetInfo) -> str:
    if asset.status != "deleted":
        return f"{asset.name} is published"
    name = f"{asset.class_name}/{asset.number}"
    return f"{asset.name} was deleted; to bring it back: ama delete --undo {name}"


def download(
    asset: Annotated[
        str,
        typer.Argument(
            metavar="CLASS|ASSET",
            autocompletion=complete_asset,
            help="A class (its newest asset), or an asset by any of its names.",
        ),
    ],
    alias: Annotated[
        str | None,
        typer.Option(
            "--alias",
            metavar="ALIAS",
            autocompletion=complete_alias,
            help="The asset of the class that has this alias.",
        ),
    ] = None,
    refs: Annotated[
        bool, typer.Option("--refs", help="Also every asset that it was made from.")
    ] = False,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    metadata_only: Annotated[
        bool, typer.Option("--metadata-only", help="No files, only what is known about them.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave out refs whose content is in another store.")
    ] = False,
    directory: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="DIR", help="The directory to write into."),
    ] = None,
    remote: RemoteOption = None,
) -> None:
    """Download an asset into a new directory.

    The directory is named after the alias, or else after the class and the number.

    Example:
        ama download sequence_models --alias my_model
        ama download sequence_models@my_model --refs -o model
        ama download sequence_models/7 --include '*.yml'
    """
    if partial and not refs:
        raise typer.BadParameter("--partial goes with --refs")
    name = name_in_store(asset, remote) if alias is None else _with_alias(asset, alias)
    result = open_store(remote).download(
        name,
        None if directory is None else Path(to_system(directory)),
        refs=refs,
        include=include or (),
        exclude=exclude or (),
        metadata_only=metadata_only,
        partial=partial,
    )
    if console.report(result):
        return
    for part in (result, *result.refs):
        _print_download(part)
        warn_of_deprecated(part.asset, part.instead)
    for missing in result.missing_refs:
        console.done(f"not in this store: {missing.name}")
    parts = (result, *result.refs)
    if not all(part.already for part in parts):
        received = sum(part.bytes_received for part in parts)
        console.done(f"received {size(received)}")
    if result.asset.refs and not refs:
        made_from = count(len(result.asset.refs), "other asset")
        console.done(f"made from {made_from}: add --refs to download all")


def _with_alias(class_name: str, alias: str) -> str:
    for mark in "@/~:":
        class_name, found, _ = class_name.partition(mark)
        if found:
            raise typer.BadParameter(
                f"--alias goes with a class alone: {PROGRAM} download {class_name} --alias {alias}"
            )
    return f"{class_name}@{alias}"


def _print_download(result: DownloadResult) -> None:
    skipped = f", {result.skipped:,} left out" if result.skipped else ""
    files = files_text(result.files, result.size)
    where = shown_path(result.directory)
    what = result.asset.name
    done = f"{what} is in {where} already" if result.already else f"downloaded {what} to {where}"
    console.done(f"{done}: {files}{skipped}")
    changed = beginning(result.changed, _SOME)
    for path in changed:
        console.done(f"changed there, so left as it is: {path}")
    if len(changed) < len(result.changed):
        console.done(f"... and {len(result.changed) - len(changed):,} more")


def pull(remote: RemoteOption = None, force: ForceOption = False) -> None:
    """Fetch, and switch to where the alias points now.

    It follows the alias that `download` or `switch` named. Without one, it switches to the newest
    asset of the class.

    Example:
        ama pull
    """
    repo = open_repo()
    report_switch(repo.pull(remote=remote, force=force), repo.root)


def fetch(
    remote: RemoteOption = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Take the remote as it is, though this machine saw another history there.",
        ),
    ] = False,
) -> None:
    """See what was published since.

    It changes no file. If the store can't be reached later, `log`, `show` and `list` show what was
    fetched last, and say so.

    A store that was restored from a backup, or made anew, contradicts what this machine saw, and is
    refused. With --force, it is accepted as it is now, and everything that it has lost is listed.
    Lost assets that this directory was made from wait for a push again.

    Example:
        ama fetch
        ama log sequence_models
        ama fetch --force
    """
    repo = find_repo() if force else open_repo()
    if repo is not None:
        result = repo.fetch(remote=remote, force=force)
    else:
        result = open_store(remote).accept()
    if console.report(result):
        return
    for ref in result.lost_assets:
        console.line(f"gone: {ref.name}", "yellow")
    for change in result.lost_aliases:
        console.line(f"gone: {alias_lost_text(change)}", "yellow")
    for asset in result.new_assets:
        console.line(asset_text(asset))
    new = count(len(result.new_assets), "new asset") if result.new_assets else "nothing new"
    console.done(f"{new} in {result.remote}")
    if repo is not None and repo.status().unpublished and result.lost_assets:
        console.next_step("ama push")
    elif result.new_assets:
        console.next_step("ama pull")


def list_(
    class_name: Annotated[
        str | None,
        typer.Argument(
            metavar="[CLASS]",
            autocompletion=complete_class,
            help="List the assets of this class, newest first.",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="With CLASS: also those that were deleted.")
    ] = False,
    limit: LimitOption = None,
    remote: RemoteOption = None,
) -> None:
    """List classes, or the assets of a class.

    If a worktree's store can't be reached, it lists what was fetched last.

    Example:
        ama list
        ama list sequence_models --all
        ama list sequence_models -n 5
    """
    from ama.errors import Hint, InvalidInput

    if everything and class_name is None:
        raise typer.BadParameter("--all goes with a class, of which it lists deleted assets too")
    if limit is not None and class_name is None:
        raise typer.BadParameter("-n goes with a class")
    if class_name is not None and any(sign in class_name for sign in "/@"):
        of_class = re.split("[/@]", class_name)[0] or "CLASS"
        raise InvalidInput(
            f"{class_name} is no class",
            hint=Hint("show-or-list", asset=class_name, class_name=of_class),
        )
    source = open_source(remote)
    if class_name is not None:
        listed = source.history if everything else source.assets
        assets = listed(class_name, limit=limit)
        if not console.report(assets):
            if assets:
                print_asset_table(assets)
            else:
                console.note(f"all of them were deleted: ama list --all {class_name}")
            note_if_away(source)
        return
    classes = source.classes()
    if console.report(classes):
        return
    note_if_away(source)
    if not classes:
        console.note(f"no classes yet in {store_url(source)}")
        return
    rows = [
        (
            info.name,
            f"{info.assets:,}",
            info.newest.name if info.newest else "",
            when(info.newest.created_at) if info.newest else "",
        )
        for info in classes
    ]
    console.table(("Class", "Assets", "Newest", "Created At"), rows, right=frozenset({1}))


def link(
    asset: AssetArgument,
    label: Annotated[
        str, typer.Option("--label", metavar="LABEL", help="What the linked asset is to this one.")
    ] = "",
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="CLASS",
            autocompletion=complete_class,
            help="The class to look in, if ASSET is an alias that several classes have.",
        ),
    ] = None,
) -> None:
    """Link the asset that this one was made from.

    It links that asset as it is now. The next upload makes the link a part of this asset.

    Example:
        ama link nlp_embeddings@my_training_inputs --label inputs
        ama upload
    """
    report_link(open_to_change().link(asset, label=label, class_name=class_name))


def list_refs() -> None:
    """List the links of this asset and of the next upload.

    Example:
        ama ref list
    """
    repo = open_repo()
    head = repo.head and repo.resolve("HEAD")  # `resolve` also knows the numbers of its refs
    staged = repo.refs()
    refs = head.refs if head is not None else ()
    if console.report({"head": refs, "staged": staged}):
        return
    if not (refs or staged):
        console.note("no refs; `ama link ASSET` adds one")
        return
    whose = [(head.name, ref) for ref in refs] if head is not None else []
    whose += [("next upload", ref) for ref in staged]
    rows = [(of, ref.name, ref.label, ", ".join(ref.aliases)) for of, ref in whose]
    console.table(("Asset", "Ref", "Label", "Aliases"), rows)


def remove_ref(
    asset: Annotated[
        str,
        typer.Argument(
            metavar="ASSET",
            autocompletion=complete_link,
            help="A linked asset: class/7, class@alias, its class or alias alone, or an id.",
        ),
    ],
) -> None:
    """Take back a link of the next upload. Those of an asset are part of it, and stay.

    Example:
        ama link nlp_embeddings/3
        ama ref remove nlp_embeddings/3
    """
    repo = open_repo()
    ref = repo.unlink(asset)
    if console.report(ref):
        return
    console.done(f"removed ref {ref_text(ref)}")
    next_upload(repo)


ref_app = new_group(
    "List and remove links to assets. `ama link ASSET` adds one.",
    "ama ref",
    "ama ref remove nlp_embeddings/3",
)
register(ref_app, "list", list_refs)
register(ref_app, "remove", remove_ref)
