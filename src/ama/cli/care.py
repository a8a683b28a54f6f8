"""The commands of care: hash, fsck and config."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ama.cli.arguments import RemoteOption, expand_paths, is_here
from ama.cli.commands import Group, new_group, register
from ama.cli.completion import complete_key
from ama.cli.output import console, count, size
from ama.cli.targets import config_path, find_repo, load_settings, open_store
from ama.system.encoding import from_system, to_system
from ama.wording.hints import words

if TYPE_CHECKING:
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
    from ama.worktree.reader import nothing_at

    hashes = []
    for path in expand_paths(paths):
        if not is_here(path):
            raise nothing_at(Path(to_system(path)))
        file_id = hash_file(to_system(path))
        hashes.append({"path": path, "id": file_id})
        console.line(_checksum_line(file_id, path))
    console.report(hashes)


def _checksum_line(file_id: str, path: str) -> str:
    # b3sum marks a line whose name it had to escape with a backslash at its beginning.
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{chr(92) if escaped != path else ''}{file_id}  {escaped}"


def fsck(
    sources: Annotated[
        bool,
        typer.Option(
            "--sources",
            help="Of a store: ask if the sources of content by reference are as they were.",
        ),
    ] = False,
    read_data: Annotated[
        bool, typer.Option("--read-data", help="Of a store: read all content by reference, too.")
    ] = False,
    remote: RemoteOption = None,
) -> None:
    """Verify everything that is stored.

    In a worktree, it verifies the objects there; with --remote, or elsewhere, a store. It reads
    every object and computes its id again. It exits with 6 if something is damaged.

    Example:
        ama fsck
        ama fsck --remote team
        ama fsck --remote team --sources
    """
    of_store = remote is not None or sources or read_data
    repo = None if of_store else find_repo()
    if repo is None:
        report = open_store(remote).fsck(sources=sources, read_data=read_data)
    else:
        report = repo.fsck()
    if not console.report(report):
        _print_report(report)
        if not report.ok:
            console.next_step(_way_out(report, remote) if repo is None else _GET_AGAIN)
    if not report.ok:
        raise typer.Exit(6)


_GET_AGAIN = "get what is published again, in another directory: ama download ASSET -o DIR"
_CONTENT = ("packs/", "index/")


def _way_out(report: FsckReport, remote: str | None) -> str:
    """Return how to repair a damaged store, for a user with its content or a memory of its log."""
    backup = f"put these files back from a backup of {report.where}, where they have the same names"
    option = ""
    if remote is not None:
        # A relative path means something else inside the worktree that does the repair.
        named = from_system(remote) if remote in load_settings().remotes else report.where
        option = f" --remote {shlex.quote(named)}"
    if all(_is_outside(problem.where) for problem in report.problems):
        return (
            "bring the sources back as they were; or send their content, from a worktree that has"
            f" it: ama push --materialize{option}"
        )
    of_content = any(problem.where.startswith(_CONTENT) for problem in report.problems)
    where = "in a worktree that has the content" if of_content else "on a machine that has seen it"
    return f"ama push --repair{option}, {where}; or {backup}"


def _is_outside(place: str) -> bool:
    """Whether a place is a source's, and no file of the store."""
    return "://" in place or os.path.isabs(place)


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
    if report.references and not report.checked_sources:
        outside = f"{size(report.referenced)} by reference in {count(report.sources, 'source')}"
        console.note(f"{outside} not looked at; next: ama fsck --sources, or --read-data")
    objects = f"{count(report.objects, 'object')}, {size(report.size)}"
    verified = f"verified {objects} of {count(report.assets, 'asset')} in {report.where}"
    if report.ok:
        console.done(f"{verified}: all is well")
    else:
        console.line(f"{verified}: {count(len(report.problems), 'problem')}")


UserOption = Annotated[
    bool,
    typer.Option("--user", help="The configuration of this user, not that of this worktree."),
]
KeyArgument = Annotated[
    str,
    typer.Argument(metavar="KEY", autocompletion=complete_key, help="A key such as user.name."),
]


def list_() -> None:
    """List what is configured, and where.

    Example:
        ama config list
    """
    entries = [(key, value, where) for key, (value, where) in sorted(_entries().items())]
    if console.json:
        console.print_json([{"key": k, "value": v, "where": w} for k, v, w in entries])
    elif entries:
        rows = [(key, _text(value), where) for key, value, where in entries]
        console.table(("Key", "Value", "Where"), rows)
    else:
        console.note("nothing is configured; next: ama config set --user user.name NAME")


def get(key: KeyArgument) -> None:
    """Print a value.

    Example:
        ama config get user.name
    """
    from ama.config import KNOWN_KEYS
    from ama.errors import NotFound
    from ama.format.names import nearest

    entries = _entries()
    if key not in entries:
        near = [] if key in KNOWN_KEYS else nearest(key, KNOWN_KEYS)
        hint = f"did you mean {' or '.join(near)}?" if near else f"ama config set {key} VALUE"
        raise NotFound(f"{key} isn't set", hint=hint)
    value, where = entries[key]
    if not console.report({"key": key, "value": value, "where": where}):
        console.line(_text(value))


def set_(
    key: KeyArgument,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Its new value.")],
    user: UserOption = False,
) -> None:
    """Set a value.

    Example:
        ama config set --user user.email ann@example.com
    """
    from ama.config import set_value

    path = config_path(user)
    if key == "remote.default":
        from ama.settings import set_default_remote

        # A default without a remote would stop every other command.
        set_default_remote(path, value)
    elif remote := _remote_of(key):
        from ama.settings import set_remote_url

        set_remote_url(path, remote, value)
    else:
        set_value(path, key, value)
    if not console.report({"key": key, "value": value, "where": path}):
        console.done(f"set {key} in {from_system(path)}")


def unset(key: KeyArgument, user: UserOption = False) -> None:
    """Take a value back.

    Example:
        ama config unset remote.default
    """
    from ama.config import unset as unset_value

    path = config_path(user)
    if remote := _remote_of(key):
        from ama.settings import remove_remote

        # Without its URL, a remote is useless, and so is a default that names it.
        remove_remote(path, remote)
    else:
        unset_value(path, key)
    if not console.report({"key": key, "where": path}):
        console.done(f"unset {key} in {from_system(path)}")


def _remote_of(key: str) -> str | None:
    """Return the remote whose URL a key sets; None for other keys."""
    is_url = key.startswith("remotes.") and key.endswith(".url") and key.count(".") == 2
    return key.split(".")[1] if is_url else None


def _entries() -> dict[str, tuple[object, str]]:
    """Return every key that is set, with its value and the file that sets it last."""
    from ama.config import load
    from ama.errors import NotFound

    paths = [config_path(user=False)]
    with suppress(NotFound):  # a user without a home has no file, but the worktree may
        paths.insert(0, config_path(user=True))
    entries: dict[str, tuple[object, str]] = {}
    for path in paths:
        for key, value in _flat(load(path)):
            entries[key] = (value, from_system(path))
    return entries


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _flat(data: object, prefix: str = "") -> list[tuple[str, object]]:
    if not isinstance(data, dict):
        return [(prefix, data)]
    return [
        pair
        for key, value in data.items()
        for pair in _flat(value, f"{prefix}.{key}" if prefix else str(key))
    ]


class ConfigGroup(Group):
    """`ama config` also takes git's short forms: `ama config KEY`, `ama config KEY VALUE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `get` or `set` before a key."""
        words = [arg for arg in args if not arg.startswith("-")]
        is_key = bool(words) and words[0] not in self.commands and "." in words[0]
        if is_key and not ctx.resilient_parsing:
            args = ["get" if len(words) == 1 else "set", *args]
        return super().parse_args(ctx, args)


app = new_group(
    "Read and change the configuration.",
    "ama config set --user user.name 'Ann Example'",
    "ama config",
    cls=ConfigGroup,
)
register(app, "list", list_)
register(app, "get", get)
register(app, "set", set_)
register(app, "unset", unset)
