"""A plain model of ama: what a worktree and its stores must hold after each command.

No objects, packs, logs or stat caches: dictionaries of paths and bytes. tests/test_machine.py
runs the real thing beside it, and compares.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

CONTROL = ".ama"
LARGE = 1024 * 1024
"""Files from this size on are staged by reference."""


class Item(NamedTuple):
    """A file, an executable or a symlink (whose data is its target)."""

    kind: str
    data: bytes

    def __repr__(self) -> str:
        short = self.data if len(self.data) < 20 else f"{len(self.data)} bytes, {hash(self.data)}"
        return f"<{self.kind} {short!r}>"


Files = dict[str, Item]


@dataclass(frozen=True)
class Asset:
    """What was published or committed once."""

    class_name: str
    files: Files
    parent: str | None = None
    message: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)
    refs: frozenset[str] = frozenset()


@dataclass
class Notes:
    """What `set` and `link` noted."""

    aliases: tuple[str, ...] = ()
    message: str | None = None
    metadata: dict[str, object] = field(default_factory=dict)
    refs: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.aliases or self.message is not None or self.metadata or self.refs)


@dataclass
class Store:
    """Numbers and aliases of one store: an asset's number is its place in its class, from 1."""

    classes: dict[str, list[str]] = field(default_factory=dict)
    moves: dict[tuple[str, str], list[str | None]] = field(default_factory=dict)

    def has(self, class_name: str, asset: str) -> bool:
        return asset in self.classes.get(class_name, ())

    def target(self, class_name: str, alias: str) -> str | None:
        moves = self.moves.get((class_name, alias))
        return moves[-1] if moves else None

    def all(self) -> list[tuple[str, int, str]]:
        return [
            (class_name, number, asset)
            for class_name, assets in sorted(self.classes.items())
            for number, asset in enumerate(assets, 1)
        ]


@dataclass
class Tree:
    """A worktree: what is staged, and where HEAD is. What lies in it is read from the disk."""

    root: Path
    class_name: str
    head: str | None = None
    alias: str | None = None
    unpublished: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    index: Files = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    notes: Notes = field(default_factory=Notes)
    wanted: Callable[[str], bool] = lambda path: True

    def work(self) -> Files:
        return read_disk(self.root)

    def stage(self, added: Mapping[str, Item], removed: Iterable[str] = ()) -> None:
        """Put files into the index: a file takes the place of a directory, and the other way."""
        for path in removed:
            self.unstage(path)
        for path in added:
            for other in list(self.index):
                if is_below(other, path) or is_below(path, other):
                    if other not in added:
                        self.unstage(other)
        self.index.update(added)
        self.skipped -= set(added)

    def left_out(self, paths: Iterable[str], given: str, work: Files) -> set[str]:
        """Of the paths that one stands for, those that are not here and don't belong here."""
        return {
            path
            for path in paths
            if path != given
            and (path in self.skipped or path not in self.index)
            and not (self.wanted(path) or path in work)
        }

    def unstage(self, path: str) -> None:
        self.index.pop(path, None)
        self.skipped.discard(path)


def is_below(path: str, directory: str) -> bool:
    """Whether a path is in a directory, at any depth."""
    return path != directory and (not directory or path.startswith(f"{directory}/"))


def under(paths: Iterable[str], given: str) -> list[str]:
    """The paths that a path given to a command stands for."""
    return [path for path in paths if path == given or is_below(path, given)]


def read_disk(root: Path) -> Files:
    """Everything in a directory but `.ama`; symlinks are not followed."""
    found: Files = {}
    for directory, directories, names in os.walk(root):
        if Path(directory) == root:
            directories.remove(CONTROL)
        links = [name for name in directories if os.path.islink(os.path.join(directory, name))]
        for name in (*names, *links):
            full = Path(directory, name)
            found[full.relative_to(root).as_posix()] = read_item(full)
    return found


def read_item(path: Path) -> Item:
    if path.is_symlink():
        return Item("symlink", os.readlink(path).encode())
    kind = "executable" if path.stat().st_mode & 0o100 else "file"
    return Item(kind, path.read_bytes())


def write_item(root: Path, path: str, item: Item) -> None:
    """What a user does: whatever is in the way goes first."""
    at = root
    for part in path.split("/")[:-1]:
        at /= part
        if at.is_symlink() or at.is_file():
            at.unlink()
        at.mkdir(exist_ok=True)
    target = root / path
    delete(root, path)
    if item.kind == "symlink":
        target.symlink_to(item.data.decode())
        return
    target.write_bytes(item.data)
    target.chmod(0o755 if item.kind == "executable" else 0o644)


def delete(root: Path, path: str) -> None:
    """Delete a file, or a directory with all that is in it."""
    target = root / path
    if target.is_dir() and not target.is_symlink():
        for below in list(target.iterdir()):
            delete(root, f"{path}/{below.name}")
        target.rmdir()
    elif target.is_symlink() or target.exists():
        target.unlink()


def differing(old: Mapping[str, Item], new: Mapping[str, Item]) -> set[str]:
    return {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}


def collapsed(untracked: Iterable[str], tracked: Iterable[str]) -> set[str]:
    """Untracked files as `status` names them: a directory with nothing staged in it, once."""
    known = {""} | {path[:at] for path in tracked for at in range(len(path)) if path[at] == "/"}
    named = set()
    for path in untracked:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) not in known:
                named.add("/".join(parts[:depth]) + "/")
                break
        else:
            named.add(path)
    return named
