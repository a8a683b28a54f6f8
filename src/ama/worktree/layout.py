"""A worktree: where it is, what its `.ama` directory holds, and whether it is at rest."""

from __future__ import annotations

import os
import posixpath
import shlex
from collections.abc import Iterable, Iterator
from glob import has_magic
from pathlib import Path
from typing import NamedTuple

from ama import fs
from ama.encoding import from_system, given, system_path, to_system
from ama.errors import Conflict, InvalidInput, NotFound, StorageError, shown
from ama.given import path_text
from ama.head import HeadFile
from ama.ignore import Ignore, matching
from ama.localobjects import LocalObjects
from ama.staging import IndexFile

CONTROL = ".ama"
CONFIG = "config.toml"
CHECKOUT = "checkout"
PUBLISH = "publish"
INIT = "init"
INCOMING = "incoming"
STALE_AFTER_S = 24 * 60 * 60
"""A temporary file that nobody has written to for so long is litter, whoever else is at work."""


class Begun(NamedTuple):
    """The note of a checkout: what it brings here, the command, and its directory in `incoming`.

    The target is an asset's id, or of a download the asset's name.
    """

    target: str
    command: str = ""
    incoming: str = ""

    def encode(self) -> bytes:
        """Return the note's bytes: the command may name any directory that there can be."""
        return "\n".join(self).encode("utf-8", "surrogateescape")


def _text(note: bytes) -> str:
    return note.decode("utf-8", "surrogateescape")


class Worktree:
    """A directory with an `.ama` in it.

    Args:
        root: the directory.
        start: the directory in it that it was opened from, relative to the root and POSIX; "" for
            the root. It is kept though it be empty: someone stands there.
    """

    def __init__(self, root: Path, start: str = "") -> None:
        self.root = root
        self.start = start
        self.control = root / CONTROL
        self.head = HeadFile(self.control)
        self.index = IndexFile(self.control)
        self.objects = LocalObjects(self.control / "objects")
        self._ignore: Ignore | None = None

    @classmethod
    def find(cls, start: Path) -> Worktree:
        """Return the worktree that a directory lies in.

        Raises:
            NotFound: it lies in none.
            Conflict: it lies in one whose download was interrupted.
        """
        start = Path(os.path.abspath(start))
        for directory in (start, *start.parents):
            if fs.is_directory(directory / CONTROL):
                below = from_system("/".join(start.relative_to(directory).parts))
                tree = cls(directory, below)
                tree.require_begun()
                return tree
        raise NotFound(
            f"{shown(start)} is not in an ama worktree",
            hint="start an asset here: ama init CLASS",
        )

    @classmethod
    def make(cls, root: Path, *, here: bool = False) -> Worktree:
        """Return the worktree at a directory, whose `.ama` is made if it isn't there.

        Args:
            root: the directory.
            here: whether it may lie inside another worktree, which passes it over from then on.

        Raises:
            InvalidInput: it lies inside another worktree, and not `here`; or in its `.ama`.
            Conflict: the other one has files in it.
        """
        root = Path(os.path.abspath(root))
        if not fs.is_directory(root / CONTROL):
            for parent in root.parents:
                if not fs.is_directory(parent / CONTROL):
                    continue
                if root.relative_to(parent).parts[0] == CONTROL:
                    raise InvalidInput(
                        f"{shown(root)} is ama's own directory",
                        hint="go out of it first, to where the files of the asset are",
                    )
                if not here:
                    raise InvalidInput(
                        f"{shown(root)} is inside another ama worktree, {shown(parent)}",
                        hint="for a worktree of its own: ama init --here CLASS; or use a directory"
                        " outside it, or work there",
                    )
                cls(parent).require_free("/".join(root.relative_to(parent).parts))
            fs.make_directories(root / CONTROL)
        return cls(root)

    def require_free(self, directory: str) -> None:
        """Check that nothing below a directory is staged: as a worktree it would be passed over.

        Raises:
            Conflict: something is.
        """
        prefix = f"{directory}/"
        if any(path.startswith(prefix) for path in self.index.read().entries):
            where = shown(shlex.join(["ama", "-C", from_system(self.root), "rm", "--cached"]))
            raise Conflict(
                f"files in {shown(directory)} are in the asset of {shown(self.root)}",
                hint=f"leave them out there from now on: {where} {shown(shlex.quote(directory))}",
            )

    @property
    def ignore(self) -> Ignore:
        """What .amaignore leaves out."""
        if self._ignore is None:
            self._ignore = Ignore.load(self.root)
        return self._ignore

    @property
    def config(self) -> Path:
        """The worktree's own config file."""
        return self.control / CONFIG

    @property
    def pending(self) -> Path:
        """The directory of what an interrupted command has to finish."""
        return self.control / "pending"

    def relative(self, path: str | os.PathLike[str]) -> str:
        """Return a path as it stands in the index; "" for the root itself.

        Args:
            path: absolute, or relative to the root.

        Raises:
            InvalidInput: it lies outside the worktree, in `.ama`, or beyond a symlink.
        """
        path_text("a file's name", path)
        text = given(path)
        # Above the worktree names may be of any bytes.
        place = system_path(path) if os.path.isabs(path) else to_system(text)
        full = os.path.join(self.root, place)
        relative = os.path.relpath(full, self.root)
        if relative == os.curdir:
            return ""
        parts = relative.split(os.sep)
        if parts[0] == os.pardir or os.path.isabs(relative):
            # The root may be known by another name: /tmp and /private/tmp on macOS.
            real = os.path.join(os.path.realpath(os.path.dirname(full)), os.path.basename(full))
            relative = os.path.relpath(real, os.path.realpath(self.root))
            parts = relative.split(os.sep)
            if parts[0] == os.pardir:
                raise InvalidInput(
                    f"{shown(text)} is outside the worktree {shown(self.root)}",
                    hint="copy it into the worktree first",
                )
        if parts[0] == CONTROL:
            raise InvalidInput(f"{shown(text)} is ama's own, and in no asset")
        at = os.fspath(self.root)
        for part in parts[:-1]:
            at = os.path.join(at, part)
            if os.path.islink(at):
                raise InvalidInput(f"{shown(text)} is beyond a symlink, {shown(from_system(at))}")
        return from_system("/".join(parts))

    def named(self, path: str, known: Iterable[str]) -> list[str]:
        """Return the known paths that one names: a file, a directory, or a glob that is neither.

        Args:
            path: relative to the root; "" for all.
            known: staged paths, or those of an asset.
        """
        known = list(known)
        found = [k for k in known if not path or k == path or k.startswith(f"{path}/")]
        if found or not has_magic(path):
            return found
        # The name of the directory that one stands in is no glob, whatever it looks like.
        start = f"{self.start}/" if path.startswith(f"{self.start}/") else ""
        fits = matching(path.removeprefix(start))
        return [k for k in known if k.startswith(start) and fits(k.removeprefix(start))]

    def words(self, paths: Iterable[str]) -> str:
        """Return paths as the words of a command line that is typed where this was opened from.

        Args:
            paths: as they stand in the index.
        """
        return shown(shlex.join(map(self.near, paths)))

    def near(self, path: str) -> str:
        """Return a path of the index as seen from where this was opened."""
        return posixpath.relpath(path or os.curdir, self.start or os.curdir)

    # What was interrupted

    def note(self, name: str, data: bytes, *, new: bool = False) -> None:
        """Note durably what a command is about to do, so that a crash can be finished.

        Raises:
            FileExistsError: it must be `new`, and there is such a note.
        """
        fs.make_directories(self.pending)
        for directory in (self.pending, self.control):
            fs.remove_stale_temps(directory, STALE_AFTER_S)
        (fs.write_new if new else fs.write_replace)(self.pending / name, data)

    def noted(self, name: str) -> bytes | None:
        """Return what a command that was interrupted was about to do, or None."""
        return fs.read_file(self.pending / name)

    def forget(self, name: str) -> None:
        """Forget a note: what it says is done."""
        fs.remove(self.pending / name)

    def begun(self) -> Begun | None:
        """Return which switch, pull or download has begun here and isn't done, or None."""
        note = self.noted(CHECKOUT)
        if note is None:
            return None
        target, _, rest = _text(note).partition("\n")
        command, line_feed, incoming = rest.rpartition("\n")
        return Begun(target, command, incoming) if line_feed else Begun(target, rest)

    def interrupted(self) -> Iterator[str]:
        """Yield which work was interrupted here, and how to finish it."""
        if self.noted(PUBLISH) is not None:
            yield "an upload or push was interrupted: run it again, and it is finished"
        init = self.noted(INIT)
        if init is not None:
            yield f"an init was interrupted: finish it: ama init {shown(_text(init))}"
        begun = self.begun()
        if begun is not None:
            name, command, _ = begun
            how = f"finish it: ama {command}" if command else "run the same command again"
            yield f"bringing the files of {shown(name[:20])} here was interrupted: {shown(how)}"
        incoming = self.control / INCOMING
        if begun is None and fs.list_directory(incoming):
            yield (
                "a download or switch was interrupted before it changed anything: run it again; or"
                " give it up, which frees its space: ama switch HEAD"
            )

    def require_started(self, starting: str | None = None) -> None:
        """Check that no init was interrupted here.

        Args:
            starting: the class of the init that goes on with it.

        Raises:
            Conflict: one was, so what is staged may be another class's.
        """
        init = self.noted(INIT)
        if init is not None and _text(init) != starting:
            name = shown(_text(init))
            raise Conflict(
                f"an init of {name} was interrupted here", hint=f"finish it first: ama init {name}"
            )

    def require_settled(self, starting: str | None = None) -> None:
        """Check that no init, switch, pull or download was interrupted here.

        Args:
            starting: see `require_started`.

        Raises:
            Conflict: one was, so the worktree is between two assets.
        """
        self.require_started(starting)
        begun = self.begun()
        if begun is not None:
            target, command, _ = begun
            download = command.startswith("download ")
            what = f"download of {target}" if download else f"switch to {target[:10]}"
            raise Conflict(
                f"a {shown(what if command else f'switch to {target}')} was interrupted here",
                hint=f"finish it first: ama {shown(command or f'switch {target}')}",
            )

    def require_begun(self) -> None:
        """Check that this is not what a download into a new directory left when interrupted.

        Raises:
            Conflict: it is: there is no HEAD yet.
        """
        begun = self.begun()
        if begun is not None and not self.head.exists():
            target, command, _ = begun
            command = command or shlex.join(["download", target, "-o", from_system(self.root)])
            raise Conflict(
                f"a download of {shown(target)} was interrupted here",
                hint=f"finish it first: ama {shown(command)}",
            )

    def require_writable(self) -> None:
        """Check that `.ama` can be written to, before any work is done.

        Raises:
            StorageError: it can't.
        """
        if not os.access(self.control, os.W_OK):
            raise StorageError(
                f"{shown(self.control)} is read-only",
                hint="check its permissions, and those of its directory",
            )
