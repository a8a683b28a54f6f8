"""The commands of everyday work: init, add, rm, restore, status, set, commit, switch."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ama.cli.arguments import (
    AliasesOption,
    AssetArgument,
    CodeOption,
    ForceOption,
    MessageOption,
    MetaOption,
    MetaStrOption,
    parse_metadata,
    worktree_paths,
)
from ama.cli.completion import complete_alias, complete_asset, complete_class, complete_noted
from ama.cli.output import console, count, first_line, short
from ama.cli.rendering import (
    as_seen_from_here,
    asset_text,
    beginning,
    changes_summary,
    files_text,
    kinds_text,
    metadata_lines,
    moving_text,
    next_upload,
    note_guessed_author,
    note_no_code,
    print_changes,
    print_not_added,
    print_rest,
    print_same_files,
    print_some_changes,
    print_unlinked,
    print_untracked,
    ref_text,
    warn_of_deprecated,
)
from ama.cli.targets import find_repo, open_repo, open_to_change
from ama.system.encoding import from_system
from ama.wording.hints import words

if TYPE_CHECKING:
    from ama.results import SwitchResult
    from ama.values import AssetInfo, Change, Ref, Staged, Status

_LONGEST = 30
"""The most lines of a list that `status` prints."""

PathArguments = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="Files, directories, or quoted globs."),
]


def init(
    class_name: Annotated[
        str,
        typer.Argument(
            metavar="CLASS",
            autocompletion=complete_class,
            help="The family that the asset belongs to; a name that is not in use is a new one.",
        ),
    ],
    force: Annotated[
        bool,
        typer.Option(
            "-f", "--force", help="Leave behind commits that are not published, and what is staged."
        ),
    ] = False,
    here: Annotated[
        bool, typer.Option("--here", help="Also in a directory that is inside another worktree.")
    ] = False,
) -> None:
    """Start an asset of a class in this directory.

    In a directory that already has an asset, it starts another one without a parent.

    Example:
        ama init sequence_models
        ama add model.h5 model.yml
    """
    from ama.repo import Repo

    was = _head_here()
    repo = Repo.init(Path.cwd(), class_name, force=force, here=here)
    if console.report({"root": repo.root, "class_name": repo.class_name, "was": was}):
        return
    again = was is not None and was.class_name == class_name
    what = (
        f"another asset of {class_name}, without a parent,"
        if again
        else f"an asset of {class_name}"
    )
    console.done(f"started {what} in {from_system(repo.root)}")
    if was is not None:
        name = short(was.id) if was.number is None else f"{was.class_name}/{was.number}"
        console.done(f"{was.name} was here before; back to it: ama switch {name}")
    console.next_step("ama add FILE...")


def _head_here() -> AssetInfo | None:
    """Return HEAD's asset in this directory; None if HEAD is damaged, which `init` repairs."""
    from ama.errors import AmaError

    try:
        repo = find_repo()
        # A worktree around this directory does not count: its asset was never in this directory.
        return repo.head if repo is not None and repo.root.samefile(Path.cwd()) else None
    except (AmaError, OSError):
        return None


def add(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="Files, directories, or quoted globs."),
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Keep a copy of large files now, not with the upload.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("-f", "--force", help="Also what looks like a secret, or is ignored."),
    ] = False,
    alias: Annotated[
        str | None,
        typer.Option(
            "--alias",
            metavar="ALIAS",
            autocompletion=complete_alias,
            help="With `ref` for a path: link the asset that has this alias now.",
        ),
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="CLASS",
            autocompletion=complete_class,
            help="The class that the alias is in, if several have it.",
        ),
    ] = None,
    label: Annotated[
        str, typer.Option("--label", metavar="LABEL", help="What the linked asset is to this one.")
    ] = "",
) -> None:
    """Stage files for the next upload.

    Directories are added with all that is in them. Commas between names are allowed.
    `ama add ref --alias ALIAS` links an asset, as `ama link` does.

    Example:
        ama add model.h5 model.yml
        ama add 'checkpoints/*.h5'
        ama add ref --alias my_training_inputs
    """
    if not paths:
        meant = "; for an alias: `ama set --alias`, or `ama add ref --alias`" if alias else ""
        raise typer.BadParameter(f"say what to add: PATH...{meant}")
    if alias is not None:
        _add_ref(paths, alias, class_name, label)
        return
    if class_name is not None or label:
        raise typer.BadParameter("--class and --label go with `ama add ref --alias ALIAS`")
    if paths[0] == "ref" and len(paths) <= 2 and not os.path.lexists("ref"):
        link = f"ama link {shlex.join(paths[1:]) or 'ASSET'}"
        raise typer.BadParameter(f"`ama add ref` needs --alias ALIAS; by any name: {link}")
    repo = open_to_change()
    result = repo.add(worktree_paths(paths, repo), copy=copy, force=force)
    if console.report(result):
        return
    if not result.changes:
        console.done(f"nothing new in {files_text(result.unchanged, result.size)}")
        return
    print_some_changes(result.changes, as_seen_from_here(repo.root))
    details = f": {kinds_text(result.kinds)}" if result.kinds.keys() != {"added"} else ""
    console.done(f"staged {files_text(len(result.changes), result.staged_size)}{details}")
    console.next_step("ama upload")


def _add_ref(paths: list[str], alias: str, class_name: str | None, label: str) -> None:
    if [path.removesuffix(",") for path in paths] != ["ref"]:
        raise typer.BadParameter("--alias goes with `ama add ref`; for files: `ama set --alias`")
    link = open_to_change().link(alias, label=label, class_name=class_name, alias=True)
    report_link(link)


def report_link(ref: Ref) -> None:
    """Print that an asset was linked."""
    if console.report(ref):
        return
    console.done(f"linked {ref_text(ref)}")
    if ref.status == "deprecated":
        console.warn(f"{ref.name} is deprecated; why: ama show {ref.class_name}/{ref.number}")
    console.next_step("ama upload")


def rm(
    paths: PathArguments,
    cached: Annotated[
        bool, typer.Option("--cached", help="Keep the files, remove them from the asset only.")
    ] = False,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="Delete files whose content is stored nowhere.")
    ] = False,
    _recursive: Annotated[bool, typer.Option("-r", "--recursive", hidden=True)] = False,
) -> None:
    """Delete files and stage their removal.

    Without --force, it keeps files whose content is stored nowhere else.

    Example:
        ama rm old_model.h5
        ama rm --cached notes.txt
    """
    repo = open_to_change()
    chosen = worktree_paths(paths, repo, globs=False)
    result = repo.remove(chosen, keep_files=cached, force=force)
    if console.report(result):
        return
    what = count(len(result.removed), "file")
    console.done(f"removed {what}" if result.files_deleted else f"removed {what}, kept on disk")
    next_upload(repo)


def restore(
    paths: PathArguments,
    staged: Annotated[
        bool, typer.Option("--staged", help="Unstage: leave the files as they are.")
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="ASSET",
            autocompletion=complete_asset,
            help="Take the files from this asset, not from what is staged.",
        ),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Bring files back as they were.

    It restores files from the staging area or, with --staged, the staging area from HEAD.

    Example:
        ama restore model.yml
        ama restore --staged model.h5
        ama restore --source sequence_models/3 model.yml
    """
    repo = open_to_change()
    chosen = worktree_paths(paths, repo, globs=False)
    result = repo.restore(chosen, staged=staged, source=source, force=force)
    if console.report(result):
        return
    restored, deleted = len(result.restored), len(result.deleted)
    if staged:
        console.done(f"unstaged {count(restored + deleted, 'file')}")
        return
    and_deleted = f", deleted {count(deleted, 'file')}" if deleted else ""
    left = f", {len(result.left_out):,} left out" if result.left_out else ""
    if not (restored or deleted or left) and source is None:
        what = shlex.quote(paths[0]) if len(paths) == 1 else "FILE..."
        way = f"; as HEAD has it: ama restore --source HEAD {what}" if repo.head else ""
        console.done(f"nothing to restore: all is as it was added{way}")
        return
    console.done(f"restored {count(restored, 'file')}{and_deleted}{left}")


def status() -> None:
    """Show what is staged, changed and not published yet.

    Paths are relative to where you are, and long lists are shortened. With --json, lists are
    complete, and paths are relative to the top.

    Example:
        ama status
    """
    state = open_repo().status()
    if console.report(state):
        return
    near = as_seen_from_here(state.root)
    _print_head(state)
    _print_section("staged:", state.staged, near)
    _print_set(state)
    _print_section("changed since add:", state.changed, near)
    _print_paths("not added:", state.untracked, near)
    _print_paths("can't be read, so not compared:", state.unreadable, near)
    if state.unpublished:
        console.line("not published yet:", "bold")
        for asset in state.unpublished:
            console.line(f"  {asset_text(asset)}  {first_line(asset.message)}".rstrip())
    for work in state.interrupted:
        console.line(words((work,)) or "", "yellow")
    if state.origin is not None and state.head is not None and state.clean:
        console.done(
            f"{state.head.name} is in {state.origin}; ama upload publishes it to {state.remote},"
            " unless it is there already"
        )
    elif state.clean and not state.untracked:
        console.done("nothing to upload")
    _next_after_status(state)


def _print_head(state: Status) -> None:
    if state.head is None:
        console.line(f"{state.class_name}, nothing committed yet", "bold")
    else:
        follows = f", following @{state.follows}" if state.follows else ""
        why = f": {state.head.status_reason}" if state.head.status_reason else ""
        console.line(asset_text(state.head) + why + follows, "bold")
        if state.left_behind is not None and state.follows not in state.aliases:
            console.line(
                f"ahead of @{state.follows}, which is {state.class_name}/{state.left_behind};"
                f" to move it: {moving_text(state.head, state.follows)}"
            )
    parts = [files_text(state.files, state.size)]
    if state.skipped:
        parts.append(f"{state.skipped:,} not downloaded")
    if state.remote is not None:
        parts.append(f"remote {state.remote}")
    console.line(", ".join(parts))


def _print_section(title: str, changes: tuple[Change, ...], near: Callable[[str], str]) -> None:
    if changes:
        console.line(title, "bold")
        print_changes(changes, near=near, indent="  ", limit=_LONGEST)


def _print_paths(title: str, paths: tuple[str, ...], near: Callable[[str], str]) -> None:
    if paths:
        console.line(title, "bold")
        shown = beginning(paths, _LONGEST)
        for path in shown:
            console.line(f"  {near(path)}")
        print_rest(len(paths) - len(shown), indent="  ")


def _print_set(state: Status | Staged) -> None:
    lines = [f"alias     {alias}" for alias in state.aliases]
    if state.message:
        lines.append(f"message   {first_line(state.message)}")
    lines += [f"metadata  {line}" for line in metadata_lines(state.metadata)]
    lines += [f"ref       {ref_text(ref)}" for ref in state.refs]
    if lines:
        console.line("set for the next upload:", "bold")
        for line in lines:
            console.line(f"  {line}")


def _next_after_status(state: Status) -> None:
    noted = state.aliases or state.message or state.metadata
    if state.staged or state.refs or (noted and state.head is not None):
        console.next_step("ama upload")
    elif state.changed:
        console.next_step("ama add FILE..., or ama restore FILE...")
    elif state.unpublished:
        console.next_step("ama push")
    elif state.untracked or noted:
        console.next_step("ama add FILE...")


def set_(
    alias: AliasesOption = None,
    message: MessageOption = None,
    meta: MetaOption = None,
    meta_str: MetaStrOption = None,
    unset: Annotated[
        list[str] | None,
        typer.Option(
            "--unset",
            metavar="KEY",
            autocompletion=complete_noted,
            help="Take back a metadata key, `alias:ALIAS`, or `message`.",
        ),
    ] = None,
) -> None:
    """Set aliases, message and metadata of the next upload.

    Every option but --message can be given several times.

    Example:
        ama set --alias my_model --message "wider layers"
        ama set --meta learning_rate=0.001 --meta-str commit=00123456
        ama set --unset learning_rate
    """
    metadata = parse_metadata(meta or (), meta_str or ())
    if not (alias or meta or meta_str or unset) and message is None:
        raise typer.BadParameter("say what to set: --alias, --message, --meta, --meta-str, --unset")
    repo = open_to_change()
    staged = repo.set(aliases=alias or (), message=message, metadata=metadata, unset=unset or ())
    if console.report(staged):
        return
    if console.quiet:
        return
    if unset:
        console.done(f"no longer set: {', '.join(dict.fromkeys(unset))}")
    _print_set(staged)
    if repo.head is not None and (staged.aliases or staged.message or staged.metadata):
        console.next_step("ama upload")
    else:
        next_upload(repo)


def commit(message: MessageOption = None, code: CodeOption = None) -> None:
    """Make an asset of what is staged, and keep it here.

    `ama push` publishes it later; `ama upload` does both at once and keeps no copy.

    Example:
        ama commit -m "wider layers"
        ama push
    """
    repo = open_to_change()
    result = repo.commit(message, code=code)
    if console.report(result):
        return
    print_not_added(repo.root, result.not_added)
    if result.created:
        console.done(f"committed {result.asset.name}")
        print_same_files(result.same)
        print_unlinked(result.unlinked)
        note_guessed_author(repo.settings, result.asset.author)
        note_no_code(repo.settings, repo.root, result.no_code)
    else:
        console.done(f"nothing to commit: {result.asset.name} holds all that is staged")
    for alias in result.aliases:
        console.done(f"alias {alias} waits for a push")
    print_untracked(repo.root, result.untracked, looked_at_all=result.looked_at_all)
    if result.created or result.aliases:
        console.next_step("ama push")


def switch(asset: AssetArgument, force: ForceOption = False) -> None:
    """Make this directory hold another asset.

    Without --force, it refuses if files would be lost whose content is stored nowhere else.

    Example:
        ama switch sequence_models/3
        ama switch HEAD~1
    """
    repo = open_to_change()
    report_switch(repo.switch(asset, force=force), repo.root)


def report_switch(result: SwitchResult, root: Path) -> None:
    """Print the move of HEAD in the worktree at `root`, and the changes that it made."""
    if console.report(result):
        return
    if result.ahead_of is not None:
        console.done(f"{result.new.name} is ahead of {asset_text(result.ahead_of)}")
        return
    near = as_seen_from_here(root)
    for path in result.overwritten[:_LONGEST]:
        console.done(f"overwrote {near(path)}, whose content was stored nowhere")
    print_rest(len(result.overwritten[_LONGEST:]))
    if result.dropped:
        console.done(f"dropped what was set: {', '.join(result.dropped)}")
    if result.old is not None and result.old.id == result.new.id and not result.changes:
        console.done(f"already at {result.new.name}")
    else:
        print_some_changes(result.changes, near)
        console.done(f"now at {result.new.name}: {changes_summary(result.changes)}")
    warn_of_deprecated(result.new, result.instead)
