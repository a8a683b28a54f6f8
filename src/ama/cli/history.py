"""The commands that look at assets: log, show, ls, cat, diff."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ama.cli.arguments import (
    AssetArgument,
    LimitOption,
    RemoteOption,
    absolute,
    is_here,
    partition_asset,
    split_asset_path,
    worktree_paths,
)
from ama.cli.completion import complete_asset, complete_asset_or_file, complete_file
from ama.cli.notes import print_noted
from ama.cli.output import console, count, first_line, plain, size, when
from ama.cli.rendering import (
    as_seen_from_here,
    asset_text,
    changes_summary,
    files_text,
    metadata_lines,
    print_changes,
    print_field,
    print_fields,
    print_files,
    print_log_entry,
    print_origin,
)
from ama.cli.reports import code_text, fact_lines, run_lines, unread_lines, where_text
from ama.cli.targets import (
    find_repo,
    name_in_store,
    note_if_away,
    open_asset,
    open_repo,
    open_store,
    path_in_asset,
    way_to_a_worktree,
)
from ama.format.recorded import packages_in
from ama.system.encoding import from_system
from ama.wording import unread_text

if TYPE_CHECKING:
    from ama.catalog.unread import Unread
    from ama.catalog.values import Summary
    from ama.contents.comparison import FileDiff
    from ama.values import Change

_SOME_FACTS = 12
_SOME_FILES = 20


def log(
    asset: AssetArgument = "HEAD",
    limit: LimitOption = None,
    oneline: Annotated[bool, typer.Option("--oneline", help="One line for each asset.")] = False,
    remote: RemoteOption = None,
) -> None:
    """Show an asset and those that it came from, or a class.

    For a class alone, it shows every asset ever made, newest first, deleted ones too.

    Example:
        ama log
        ama log sequence_models@my_model -n 3
        ama log sequence_models --oneline
    """
    from ama.stores.revisions import parse_revision

    of_class = not asset.startswith("@") and parse_revision(asset).is_class
    source, name = open_asset(asset, remote)
    assets = source.history(name, limit=limit) if of_class else source.log(name, limit=limit)
    note_if_away(source)
    if console.report(assets):
        return
    if oneline:
        console.columns(
            (asset_text(info), when(info.created_at), first_line(info.message)) for info in assets
        )
        return
    imports = source.imports(assets)
    for number, info in enumerate(assets):
        if number:
            console.line()
        print_log_entry(info, imports.get(info.id))


def show(
    asset: Annotated[
        str,
        typer.Argument(
            metavar="ASSET[:PATH]",
            autocompletion=complete_asset_or_file,
            help="An asset by any of its names; with a path, a file of it.",
        ),
    ] = "HEAD",
    everything: Annotated[
        bool, typer.Option("--all", help="All parameters and files, however many.")
    ] = False,
    as_published: Annotated[
        bool, typer.Option("--as-published", help="Leave out what was noted of it later.")
    ] = False,
    environment: Annotated[
        bool, typer.Option("--environment", help="Only the packages that it was made with.")
    ] = False,
    remote: RemoteOption = None,
) -> None:
    """Show an asset: who, when, why, code, run, parameters, data.

    What was noted later stands apart from what the asset says itself, the newest first. With a
    path it prints that file, as `ama cat` does; with --json, its kind, id and size.

    Example:
        ama show sequence_models@my_model
        ama show sequence_models/7:model.yml
        ama show sequence_models@my_model --environment > requirements.txt
    """
    word, colon, path = partition_asset(asset)
    if environment and (colon or everything or console.json):
        raise typer.BadParameter("--environment stands alone; --json has the packages too")
    path = path_in_asset(path)
    source, name = open_asset(word or "HEAD", remote)
    if colon:
        if console.json:  # JSON holds no bytes: print the facts about the file
            console.print_json(source.file(name, path))
        else:
            _write_bytes(source.read(name, path))
        return
    # One more than are shown: it takes no more lines than to say that there is one.
    most = 1 if environment else None if everything or console.json else _SOME_FILES + 1
    summary = source.summary(name, most_files=most)
    note_if_away(source)
    for unread in summary.unread:
        if unread.reason == "damaged" or not unread.file:
            console.warn(unread_text(unread))
    if console.json:
        described = plain(summary.asset)
        rest = plain(summary)
        assert isinstance(described, dict)
        assert isinstance(rest, dict)
        parents = described["parents"]
        if as_published:
            del rest["noted"], rest["class_description"]
        console.print_json({**described, **rest, "parents": parents})
        return
    if environment:
        _print_environment(summary)
        return
    if as_published or word != summary.asset.class_name:
        summary = replace(summary, class_description="")
    _print_summary(summary if not as_published else replace(summary, noted=None), everything)


def _print_environment(summary: Summary) -> None:
    from ama.errors import Hint, NotFound

    if summary.environment is None:
        raise NotFound(
            f"{summary.asset.name} doesn't say which packages it was made with",
            hint=Hint("record-environment"),
        )
    for line in summary.environment.splitlines():
        console.line(line)


def _of_documents(summary: Summary) -> list[Unread]:
    """Return what could not be read of sound files; a warning names damaged ones."""
    return [each for each in summary.unread if each.file and each.reason != "damaged"]


def _print_summary(summary: Summary, everything: bool) -> None:
    info = summary.asset
    console.line(info.name, "bold")
    print_field("Id", info.id)
    before = f"(before: {', '.join(summary.aliases_before)})" if summary.aliases_before else ""
    if info.aliases or before:
        print_field("Aliases", " ".join(filter(None, (", ".join(info.aliases), before))))
    print_origin(info)
    print_fields("Parents", (asset_text(parent) for parent in summary.parents))
    print_fields("Message", info.message.strip().splitlines())
    if summary.code is not None:
        where = where_text(summary.code.source, summary.code.file)
        print_field("Code", f"{code_text(summary.code)}{f'  [{where}]' if where else ''}")
    print_fields("Run", run_lines(info.run, whole=everything))
    if summary.environment is not None:
        packages = count(len(packages_in(summary.environment)), "package")
        print_field("Environment", f"{packages}: --environment")
    limit = None if everything else _SOME_FACTS
    print_fields("Class", _class_lines(summary, limit))
    print_fields("Parameters", fact_lines(summary.parameters, limit))
    print_fields("Metrics", fact_lines(summary.metrics, limit))
    print_fields("Data", fact_lines(summary.data, limit))
    print_fields("Other", fact_lines([f for f in summary.of("other") if f.file], limit))
    print_fields("Metadata", metadata_lines(info.metadata))
    if summary.noted is not None:
        print_noted(summary.noted, limit)
    print_fields("Unread", unread_lines(_of_documents(summary), limit))
    if summary.made_from_it:
        used = count(summary.made_from_it, "asset")
        print_field("Used By", f"{used}: ama lineage {info.class_name}/{info.number} --down")
    print_fields("Same Files", (asset_text(other) for other in summary.same_files[:_SOME_FACTS]))
    if info.status == "deleted":
        return
    if not summary.listed:
        where = f"{info.class_name}/{info.number}:DIR"
        print_field("Files", f"{size(info.size)}; see one directory: ama ls {where}")
        return
    print_field("Files", files_text(summary.file_count, info.size or 0))
    fits = everything or summary.file_count <= _SOME_FILES + 1
    shown = summary.files if fits else summary.files[:_SOME_FILES]
    print_files(shown, indent="  ")
    if len(shown) < summary.file_count:
        console.line(f"  ... and {summary.file_count - len(shown):,} more: --all, or ama ls")


def _class_lines(summary: Summary, limit: int | None) -> Iterator[str]:
    lines = summary.class_description.strip().splitlines()
    yield from lines[:limit]
    if limit is not None and len(lines) > limit:
        more = count(len(lines) - limit, "more line")
        yield f"... and {more}: ama note {summary.asset.class_name}"


def ls(
    asset: AssetArgument = "HEAD",
    path: Annotated[
        str | None, typer.Argument(metavar="PATH", help="Only this file, or what is below it.")
    ] = None,
    remote: RemoteOption = None,
) -> None:
    """List the files of an asset.

    Paths are relative to its top; one that begins with ./ or ../ is relative to where you are.

    Example:
        ama ls
        ama ls sequence_models/7 checkpoints
    """
    from ama.errors import Hint, InvalidInput, NotFound

    name, colon, inside = partition_asset(asset)
    path = inside if colon and path is None else path
    wanted = path_in_asset(path) if path else ""
    try:
        source, known = open_asset(name, remote)
        files = source.files(known, "" if wanted == os.curdir else wanted)
    except (InvalidInput, NotFound) as error:
        if path is None and remote is None and _is_here(name):
            hint = Hint("path-behind-asset", path=name)
            raise type(error)(error.message, hint=hint) from error
        raise
    if not console.report(files):
        print_files(files)


def _is_here(word: str) -> bool:
    """Tell whether a word names a file or directory of the worktree around here."""
    repo = find_repo()
    return repo is not None and (is_here(word) or repo.is_tracked(absolute(word)))


def cat(
    path: Annotated[
        str,
        typer.Argument(
            metavar="[ASSET:]PATH",
            autocompletion=complete_file,
            help="A file of an asset; without an asset, of HEAD.",
        ),
    ],
    remote: RemoteOption = None,
) -> None:
    """Print a file of an asset.

    The path is relative to the asset's top, or with ./ or ../ before it to where you are.

    Example:
        ama cat model.yml
        ama cat sequence_models/7:model.yml
    """
    from ama.errors import NotFound, shown
    from ama.worktree.status import no_file_named

    asset, inside = split_asset_path(path)
    try:
        inside = path_in_asset(inside)
        source, name = open_asset(asset, remote)
        _write_bytes(source.read(name, inside))
    except NotFound as error:
        if ":" in path:
            raise
        if _is_asset(path, remote):
            raise no_file_named(path) from error
        if remote is None and find_repo() is None:
            raise NotFound(
                f"no asset is named, and there is no worktree here whose HEAD has {shown(path)}",
                hint=("write ASSET:PATH", way_to_a_worktree()),
            ) from error
        raise


def _is_asset(word: str, remote: str | None) -> bool:
    """Tell whether a word, taken for a file's path, is the name of an asset."""
    from ama.errors import AmaError

    try:
        source, name = open_asset(word, remote)
        source.resolve(name)
    except AmaError:
        return False
    return True


def _write_bytes(pieces: Iterator[bytes]) -> None:
    sys.stdout.flush()
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def diff(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[OLD] [NEW] [-- PATH...]",
            autocompletion=complete_asset,
            help="Two assets; one: it and this directory; none: what is staged and this directory.",
        ),
    ] = None,
    staged: Annotated[
        bool, typer.Option("--staged", help="HEAD, or OLD, and what is staged.")
    ] = False,
    patch: Annotated[
        bool | None,
        typer.Option(
            "--patch/--no-patch",
            "-p",
            help="What differs in the files, or only which do. By default what, of files that are"
            " named.",
        ),
    ] = None,
    remote: RemoteOption = None,
) -> None:
    """Show which files differ, and how.

    It shows the lines of text that differ, and the tensors of HDF5 and safetensors files. Paths are
    relative to where you are; with --json to the top.

    Example:
        ama diff
        ama diff --staged
        ama diff sequence_models/6 sequence_models/7 -- model.yml
        ama diff -p HEAD
    """
    paths = context.meta.get("ama.after_dashes", [])
    assets = list(words or ())
    if paths:
        del assets[-len(paths) :]
    if len(assets) > 2:
        raise typer.BadParameter("at most two assets; paths go after --")
    if any(":" in word for word in assets):
        from ama.cli.rendering import as_paths

        raise typer.BadParameter(f"a path goes after --: {as_paths(assets)}")
    old, new, *_ = [*assets, None, None]
    found = _diff(old, new, staged, paths, remote)
    if patch is None:
        patch = bool(paths) and all(found.names(change) for change in found.changes)
    if patch:
        _print_contents(found)
        return
    if console.report(found.changes):
        return
    print_changes(found.changes, near=found.near)
    if found.changes:
        console.done(changes_summary(found.changes))
    else:
        console.note("no differences")


@dataclass(frozen=True, slots=True)
class _Found:
    """The result of a diff, ready to print."""

    changes: tuple[Change, ...]
    """The files that differ."""
    near: Callable[[str], str]
    """Returns a path as it is printed; see `as_seen_from_here`."""
    named: frozenset[str]
    """The paths that the user named, as they are printed."""
    contents: Callable[[], Iterator[FileDiff]]
    """Yields the differences within these files."""

    def names(self, change: Change) -> bool:
        """Tell whether a file is named itself, not by its directory or a glob."""
        return self.near(change.path) in self.named


def _print_contents(found: _Found) -> None:
    from ama.cli.rendering import described, print_file_diff

    if console.json:
        console.print_json([described(diff) for diff in found.contents()])
        return
    if not found.changes:
        console.note("no differences")
        return
    for number, diff in enumerate(found.contents()):
        if number:
            console.line()
        print_file_diff(diff, found.near)


def _diff(
    old: str | None, new: str | None, staged: bool, paths: list[str], remote: str | None
) -> _Found:
    from ama.errors import Hint, InvalidInput, NotFound

    if remote is not None and (old is None or new is None or staged):
        raise typer.BadParameter("--remote goes with two assets, which are compared there")
    repo = find_repo() if remote is None else None
    if repo is None and old is not None and new is not None and not staged:
        store = open_store(remote).snapshot()
        before, after = (store.resolve(name_in_store(name, remote)) for name in (old, new))
        named = frozenset(path.rstrip("/") for path in paths)
        contents = partial(after.compare_contents, before, paths=paths)
        return _Found(after.changes_from(before, paths=paths), str, named, contents)
    try:
        repo = repo or open_repo()
        wanted = worktree_paths(paths, repo, globs=False)
        changes = repo.diff(old, new, staged=staged, paths=wanted)
        contents = partial(repo.diff_contents, old, new, staged=staged, paths=wanted)
        named = frozenset(
            from_system(os.path.relpath(path)).replace(os.sep, "/") for path in wanted
        )
        return _Found(changes, as_seen_from_here(repo.root), named, contents)
    except (InvalidInput, NotFound) as error:
        here = [word for word in (old, new) if word is not None and is_here(word)]
        if not here:
            raise
        asset = old if here != [old] and len(here) == 1 else None
        words = (*([asset] if asset else []), "--", *here)
        raise type(error)(error.message, hint=Hint("paths-after-dashes", words=words)) from error
