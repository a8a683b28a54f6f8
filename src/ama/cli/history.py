"""The commands that look at assets: log, show, ls, cat, diff."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ama.cli.arguments import (
    AssetArgument,
    RemoteOption,
    positive,
    split_asset_path,
    worktree_paths,
)
from ama.cli.completion import complete_asset
from ama.cli.opening import (
    find_repo,
    name_in_store,
    open_repo,
    open_source,
    open_store,
    path_in_asset,
)
from ama.cli.output import console, first_line, plain, short, when
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

if TYPE_CHECKING:
    from ama.cli.opening import Source
    from ama.values import AssetInfo, Change, File


def log(
    asset: AssetArgument = "HEAD",
    limit: Annotated[
        int | None,
        typer.Option(
            "-n", "--limit", metavar="NUMBER", callback=positive, help="Show at most so many."
        ),
    ] = None,
    oneline: Annotated[bool, typer.Option("--oneline", help="One line for each asset.")] = False,
    remote: RemoteOption = None,
) -> None:
    """Show an asset and those that it came from.

    Example:
        ama log
        ama log sequence_models@my_model -n 3
    """
    assets = open_source(remote).log(asset, limit=limit)
    if console.report(assets):
        return
    if oneline:
        console.columns(
            (asset_text(info), when(info.created_at), first_line(info.message)) for info in assets
        )
        return
    for number, info in enumerate(assets):
        if number:
            console.line()
        print_log_entry(info)


def show(
    asset: Annotated[
        str,
        typer.Argument(
            metavar="ASSET[:PATH]",
            autocompletion=complete_asset,
            help="An asset by any of its names; with a path, a file of it.",
        ),
    ] = "HEAD",
    remote: RemoteOption = None,
) -> None:
    """Show everything about an asset.

    With a path it prints that file, as `ama cat` does; with --json, its kind, id and size.

    Example:
        ama show sequence_models@my_model
        ama show sequence_models/7:model.yml
    """
    name, colon, path = asset.partition(":")
    name = name or "HEAD"
    source = open_source(remote)
    if colon:
        path = path_in_asset(path)
        if console.json:  # of bytes there is no JSON, but of what is known about them
            console.print_json(_file(source.files(name), path, name))
        else:
            _write_bytes(source.read(path, name))
        return
    info = source.resolve(name)
    files = source.files(info.id)
    if console.json:
        described = plain(info)
        assert isinstance(described, dict)
        console.print_json({**described, "files": files})
        return
    _print_asset(source, info, files)


def _print_asset(source: Source, info: AssetInfo, files: tuple[File, ...]) -> None:
    console.line(info.name, "bold")
    print_field("Id", info.id)
    if info.aliases:
        print_field("Aliases", ", ".join(info.aliases))
    print_origin(info)
    print_fields("Parents", (_known_name(source, parent) for parent in info.parents))
    print_fields("Metadata", metadata_lines(info.metadata))
    print_fields("Message", info.message.strip().splitlines())
    print_field("Files", files_text(len(files), sum(file.size for file in files)))
    print_files(files, indent="  ")


def _known_name(source: Source, asset_id: str) -> str:
    from ama.errors import NotFound

    try:
        return source.resolve(asset_id).name
    except NotFound:
        return short(asset_id)


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
    name, colon, inside = asset.partition(":")
    path = inside if colon and path is None else path
    files = open_source(remote).files(name)
    if path and (wanted := path_in_asset(path)) != os.curdir:
        files = _below(files, wanted, name)
    if not console.report(files):
        print_files(files)


def _file(files: tuple[File, ...], path: str, asset: str) -> File:
    found = _below(files, path, asset)
    if found[0].path != path:
        from ama.errors import InvalidInput

        raise InvalidInput(f"{path} is a directory", hint=f"list it: ama ls {asset} {path}")
    return found[0]


def _below(files: tuple[File, ...], path: str, asset: str) -> tuple[File, ...]:
    directory = path.rstrip("/")
    found = tuple(
        file for file in files if file.path == directory or file.path.startswith(f"{directory}/")
    )
    if not found:
        from ama.errors import NotFound
        from ama.names import nearest

        near = nearest(directory, (file.path for file in files))
        hint = f"did you mean {' or '.join(near)}?" if near else f"`ama ls {asset}` lists all"
        raise NotFound(f"there is no file '{path}' in {asset}", hint=hint)
    return found


def cat(
    path: Annotated[
        str,
        typer.Argument(
            metavar="[ASSET:]PATH",
            autocompletion=complete_asset,
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
    asset, inside = split_asset_path(path)
    if ":" not in path and remote is None and find_repo() is None:
        from ama.errors import NotFound

        raise NotFound(
            f"'{path}' names no asset, and there is no worktree here whose HEAD could be meant",
            hint="write ASSET:PATH; its files: ama ls ASSET; or start here: ama init CLASS",
        )
    _write_bytes(open_source(remote).read(path_in_asset(inside), asset))


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
    remote: RemoteOption = None,
) -> None:
    """Show which files differ.

    Paths are relative to where you are; with --json to the top.

    Example:
        ama diff
        ama diff --staged
        ama diff sequence_models/6 sequence_models/7 -- model.yml
    """
    paths = context.meta.get("ama.after_dashes", [])
    assets = list(words or ())
    if paths:
        del assets[-len(paths) :]
    if len(assets) > 2:
        raise typer.BadParameter("at most two assets; paths go after --")
    old, new, *_ = [*assets, None, None]
    changes = _diff(old, new, staged, paths, remote)
    if console.report(changes):
        return
    repo = find_repo() if remote is None else None
    print_changes(changes, near=str if repo is None else as_seen_from_here(repo.root))
    if changes:
        console.done(changes_summary(changes))
    else:
        console.note("no differences")


def _diff(
    old: str | None, new: str | None, staged: bool, paths: list[str], remote: str | None
) -> tuple[Change, ...]:
    from ama.errors import InvalidInput, NotFound

    if remote is not None and (old is None or new is None or staged):
        raise typer.BadParameter("--remote goes with two assets, which are compared there")
    repo = find_repo() if remote is None else None
    if repo is None and old is not None and new is not None and not staged:
        names = (name_in_store(name, remote) for name in (old, new))
        return open_store(remote).diff(*names, paths=paths)
    try:
        repo = repo or open_repo()
        named_paths = worktree_paths(paths, repo, globs=False)
        return repo.diff(old, new, staged=staged, paths=named_paths)
    except (InvalidInput, NotFound) as error:
        named = [word for word in (old, new) if word is not None and os.path.lexists(word)]
        if not named:
            raise
        asset = old if named != [old] and len(named) == 1 else None
        words = ["ama", "diff", *([asset] if asset else []), "--", *named]
        raise type(error)(error.message, hint=f"paths go after --: {shlex.join(words)}") from error
