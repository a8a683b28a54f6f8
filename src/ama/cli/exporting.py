"""The commands that take out what is there: export, mirror."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ama.cli.arguments import RemoteOption, as_given
from ama.cli.completion import complete_asset, complete_remote
from ama.cli.output import console, count, shown_path, size
from ama.cli.rendering import files_text
from ama.cli.targets import name_in_store, open_store
from ama.system.encoding import to_system
from ama.wording.hints import words

_SOME_FAILED = 1

if TYPE_CHECKING:
    from ama.errors import StorageError
    from ama.results import ExportResult, MirrorResult


def export(
    asset: Annotated[
        str | None,
        typer.Argument(
            metavar="[ASSET]",
            autocompletion=complete_asset,
            help="A class (its newest asset), or an asset by any of its names.",
        ),
    ] = None,
    *,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="PLACE",
            callback=as_given,
            help="A directory, an archive (.zip, .tar, .tar.gz, .tar.zst), or a URL of either.",
        ),
    ],
    refs: Annotated[
        bool, typer.Option("--refs", help="Also every asset that it was made from.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave out refs whose content is in another store.")
    ] = False,
    everything: Annotated[
        bool,
        typer.Option("--everything", help="All assets of the store, with JSON, into a directory."),
    ] = False,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="Overwrite files that are there.")
    ] = False,
    remote: RemoteOption = None,
) -> None:
    """Write an asset as plain files, for those who have no ama.

    An ama.json beside the files says where they come from. An archive, and a new directory, are
    there whole or not at all, and a zip is the same, byte for byte, each time. With --refs, each
    asset has a directory of its own.

    With --everything, it is all assets, with aliases, history and notes as JSON, in a directory of
    their own. Run again, it adds what is new.

    Example:
        ama export sequence_models@my_model --to model.zip
        ama export sequence_models/7 --refs --to s3://outbox/models/7.tar.zst
        ama export --everything --to /mnt/plain
    """
    if everything:
        if asset is not None or refs or partial or force:
            raise typer.BadParameter("--everything goes with --to and --remote alone")
        _export_everything(to, remote)
        return
    if asset is None:
        raise typer.BadParameter("name an asset; for all of the store: --everything")
    if partial and not refs:
        raise typer.BadParameter("--partial goes with --refs")
    result = open_store(remote).export(
        name_in_store(asset, remote), to, refs=refs, partial=partial, force=force
    )
    if not console.report(result):
        _print(result)


def _print(result: ExportResult) -> None:
    others = f" and {count(len(result.refs), 'asset')} that it was made from" if result.refs else ""
    files = files_text(result.files, result.size)
    place = result.place if "://" in result.place else shown_path(Path(to_system(result.place)))
    console.done(f"exported {result.asset.name}{others} to {place}: {files}")
    console.done(f"described in {', '.join(result.descriptions)}")
    for missing in result.missing_refs:
        console.done(f"not in this store: {missing.name}")
    console.done(f"received {size(result.bytes_received)}")


def _export_everything(to: str, remote: str | None) -> None:
    result = open_store(remote).export_everything(to)
    if not console.report(result):
        for failed in result.failed:
            console.warn(f"{failed.name} was passed over: {failed.reason}")
            hint = words(failed.hints)
            if hint:
                console.note(f"hint: {hint}")
        linked = f"; {count(result.linked, 'file')} of them linked" if result.linked else ""
        files = files_text(result.files, result.size)
        console.done(
            f"exported {count(len(result.new), 'new asset')}, {files}{linked};"
            f" {count(result.updated, 'asset')} updated"
        )
    if result.failed:
        raise typer.Exit(_SOME_FAILED)


def mirror(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FROM",
            autocompletion=complete_remote,
            callback=as_given,
            help="The store: a remote's name, a URL or a directory.",
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TO",
            autocompletion=complete_remote,
            callback=as_given,
            help="The mirror: the same.",
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing: show what would be copied.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Read back all of the mirror, and put back what is damaged."),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, and look again and again.")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=1, help="With --watch: how often.")
    ] = 60,
    force: Annotated[
        bool,
        typer.Option("-f", "--force", help="Make a mirror of a copy that may be published to."),
    ] = False,
) -> None:
    """Keep a whole store at another place, byte for byte.

    The mirror has the same numbers, aliases, history and notes. Each pack is checked on the way,
    and only what is new is copied. A run that was interrupted is completed by the next one. Nobody
    publishes to a mirror.

    Example:
        ama mirror team /mnt/backup/models
        ama mirror gs://models/ama s3://models-copy/ama --dry-run
        ama mirror team /mnt/backup/models --watch --every 300
        ama mirror team /mnt/backup/models --check
    """
    if watch + dry_run + check > 1:
        raise typer.BadParameter("--watch, --dry-run and --check exclude each other")
    store = open_store(source)
    url = store.settings.remote_url(target)
    if not watch:
        _print_mirror(store.mirror(url, dry_run=dry_run, check=check, force=force))
        return

    def failed(error: StorageError) -> None:
        console.warn(f"{error.message}; it is tried again in {every:g} seconds")

    for result in store.keep_mirrored(url, every=every, force=force, failed=failed):
        _print_mirror(result)
        console.flush()


def _print_mirror(result: MirrorResult) -> None:
    if console.report(result):
        return
    for pack in result.left_out:
        console.warn(f"{pack} of {result.source} is lost or damaged; other packs have its content")
    if not result.entries and result.packs + result.indexes:
        console.done(f"put back in {result.target}: {_content(result)}")
        return
    if not (result.entries or result.target_created):
        console.done(f"nothing new: {result.target} is where {result.source} is")
        return
    new = "the new mirror " if result.target_created else ""
    done = "would be copied" if result.dry_run else "copied"
    entries = f"{result.entries:,} {'entry' if result.entries == 1 else 'entries'}"
    console.done(
        f"{done} to {new}{result.target}: {entries} with {count(result.assets, 'asset')},"
        f" {_content(result)}"
    )


def _content(result: MirrorResult) -> str:
    packs = count(result.packs, "pack")
    indexes = f"{result.indexes:,} {'index' if result.indexes == 1 else 'indexes'}"
    return f"{packs}, {indexes}, {size(result.size)}"
