"""The commands that check: hash and fsck."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from ama.cli.arguments import RemoteOption, expand_paths, is_here
from ama.cli.output import console, count, size
from ama.cli.targets import find_repo, load_settings, open_store
from ama.system.encoding import from_system, to_system
from ama.wording.hints import words

if TYPE_CHECKING:
    from ama.errors import AmaError
    from ama.results import FsckReport


def hash_(
    paths: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files, or quoted globs.")],
) -> None:
    """Print the BLAKE3 of files, as b3sum does.

    It is the id that the file has in ama.

    Example:
        ama hash model.h5
        ama hash *.yml > CHECKSUMS && b3sum --check CHECKSUMS
    """
    from ama import hash_file

    hashes = []
    for path in expand_paths(paths):
        if not is_here(path):
            raise _no_such(path)
        file_id = hash_file(to_system(path))
        hashes.append({"path": path, "id": file_id})
        console.line(_checksum_line(file_id, path))
    console.report(hashes)


def _no_such(path: str) -> AmaError:
    from ama.errors import NotFound, StorageError, shown
    from ama.format.names import nearest
    from ama.system.disk import list_directory

    directory, name = os.path.split(path)
    try:
        near = nearest(name, map(from_system, list_directory(to_system(directory) or os.curdir)))
    except StorageError:
        near = []
    hint = " or ".join(os.path.join(directory, found) for found in near)
    return NotFound(
        f"{shown(path)}: no such file",
        hint=f"did you mean {shown(hint)}?" if near else "name a file: ama hash model.h5",
    )


def _checksum_line(file_id: str, path: str) -> str:
    # b3sum marks a line whose name it had to escape with a backslash at its beginning.
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{chr(92) if escaped != path else ''}{file_id}  {escaped}"


def fsck(remote: RemoteOption = None) -> None:
    """Verify everything that is stored.

    In a worktree it verifies what is kept there; with --remote, or elsewhere, a store. Every
    object is read and its id computed again. Exits with 6 if something is damaged.

    Example:
        ama fsck
        ama fsck --remote team
    """
    repo = find_repo() if remote is None else None
    report = open_store(remote).fsck() if repo is None else repo.fsck()
    if not console.report(report):
        _print_report(report)
        if not report.ok:
            console.next_step(_way_out(report, remote) if repo is None else _GET_AGAIN)
    if not report.ok:
        raise typer.Exit(6)


_GET_AGAIN = "get what is published again, in another directory: ama download ASSET -o DIR"
_CONTENT = ("packs/", "index/")


def _way_out(report: FsckReport, remote: str | None) -> str:
    """What can be done about a damaged store: by whoever has its content, or has seen its log."""
    backup = f"put these files back from a backup of {report.where}, where they have the same names"
    option = ""
    if remote is not None:
        # A relative path means something else in the worktree that is to repair it.
        named = from_system(remote) if remote in load_settings().remotes else report.where
        option = f" --remote {shlex.quote(named)}"
    of_content = any(problem.where.startswith(_CONTENT) for problem in report.problems)
    where = "in a worktree that has the content" if of_content else "on a machine that has seen it"
    return f"ama push --repair{option}, {where}; or {backup}"


def _print_report(report: FsckReport) -> None:
    for problem in report.problems:
        console.line(f"damaged: {problem.where}: {problem.what}", "red")
        for asset in problem.assets:
            console.line(f"  touches {asset}")
    for work in report.interrupted:
        console.line(f"interrupted: {words((work,))}", "yellow")
    if report.orphans:
        left = f"passed over {count(report.orphans, 'file')} that nothing names"
        console.line(f"{left}: of uploads under way, or interrupted, which is no damage")
    objects = f"{count(report.objects, 'object')}, {size(report.size)}"
    verified = f"verified {objects} of {count(report.assets, 'asset')} in {report.where}"
    if report.ok:
        console.done(f"{verified}: all is well")
    else:
        console.line(f"{verified}: {count(len(report.problems), 'problem')}")
