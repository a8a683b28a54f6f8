"""A worktree: its place, the content of its `.ama` directory, and whether work is unfinished."""

from __future__ import annotations

import os
import posixpath
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from glob import has_magic
from pathlib import Path
from typing import NamedTuple, Protocol

from ama.errors import Conflict, Hint, InvalidInput, NotFound, StorageError, shown
from ama.system import disk, fs
from ama.system.encoding import from_system, given, path_text, system_path, to_system
from ama.system.parallel import start
from ama.system.progress import Progress
from ama.worktree.entries import Entries
from ama.worktree.head import HeadFile
from ama.worktree.ignore import Ignore, matching
from ama.worktree.local_objects import LocalObjects
from ama.worktree.staging import IndexFile

CONTROL = ".ama"
CONFIG = "config.toml"
CHECKOUT = "checkout"
PUBLISH = "publish"
INIT = "init"
INCOMING = "incoming"
STALE_AFTER_S = 24 * 60 * 60
"""The age from which a temporary file is litter, whoever else is at work."""


class Begun(NamedTuple):
    """The note of a checkout: its target, the command, and its directory in `incoming`.

    The target is an asset's id, or for a download the asset's name.
    """

    target: str
    command: str = ""
    incoming: str = ""

    def encode(self) -> bytes:
        """Encode the note: the command may name any possible directory."""
        return "\n".join(self).encode("utf-8", "surrogateescape")


def _text(note: bytes) -> str:
    return note.decode("utf-8", "surrogateescape")


class Worktree:
    """A directory with an `.ama` in it.

    Args:
        root: The directory.
        start: The directory in it that it was opened from, relative to the root and POSIX; "" for
            the root. It is kept even if empty: the user stands there.
    """

    def __init__(self, root: Path, start: str = "") -> None:
        self.root = root
        self.start = start
        self.control = root / CONTROL
        self.head = HeadFile(self.control)
        self.index = IndexFile(self.control)
        self.objects = LocalObjects(self.control / "objects")

    @classmethod
    def find(cls, start: Path) -> Worktree:
        """Return the worktree around a directory.

        Raises:
            NotFound: There is none.
            Conflict: Its download was interrupted.
        """
        start = Path(os.path.abspath(start))
        for directory in (start, *start.parents):
            if disk.is_directory(directory / CONTROL):
                below = from_system("/".join(start.relative_to(directory).parts))
                tree = cls(directory, below)
                tree.require_begun()
                return tree
        raise NotFound(
            f"{shown(start)} is not in an ama worktree",
            hint=Hint("init"),
        )

    @classmethod
    def make(cls, root: Path, *, here: bool = False) -> Worktree:
        """Return the worktree at a directory; make its `.ama` if it isn't there.

        Args:
            root: The directory.
            here: Whether it may lie inside another worktree, which passes it over from then on.

        Raises:
            InvalidInput: It lies inside another worktree, and not `here`; or in its `.ama`.
            Conflict: The other worktree has staged files in it.
        """
        root = Path(os.path.abspath(root))
        if not disk.is_directory(root / CONTROL):
            for parent in root.parents:
                if not disk.is_directory(parent / CONTROL):
                    continue
                if root.relative_to(parent).parts[0] == CONTROL:
                    raise InvalidInput(
                        f"{shown(root)} is ama's own directory",
                        hint="go out of it first, to where the files of the asset are",
                    )
                if not here:
                    raise InvalidInput(
                        f"{shown(root)} is inside another ama worktree, {shown(parent)}",
                        hint=(Hint("init-here"), Hint("work-elsewhere")),
                    )
                cls(parent).require_free("/".join(root.relative_to(parent).parts))
            fs.make_directories(root / CONTROL)
        return cls(root)

    def require_free(self, directory: str) -> None:
        """Check that nothing below a directory is staged: as a worktree it would be passed over.

        Raises:
            Conflict: Something is staged there.
        """
        if self.index.read().entries.has_directory(directory):
            raise Conflict(
                f"files in {shown(directory)} are in the asset of {shown(self.root)}",
                hint=Hint("leave-out-there", root=from_system(self.root), directory=directory),
            )

    def read_ignore(self) -> Ignore:
        """Return the rules of the ignore files, as they are now."""
        return Ignore.load(self.root)

    @property
    def config(self) -> Path:
        """Return the path of the worktree's own config file."""
        return self.control / CONFIG

    @property
    def pending(self) -> Path:
        """Return the directory of notes about interrupted work."""
        return self.control / "pending"

    def relative(self, path: str | os.PathLike[str]) -> str:
        """Return a path in the form of the index; "" for the root itself.

        Args:
            path: Absolute, or relative to the root.

        Raises:
            InvalidInput: It is empty, or lies outside the worktree, in `.ama`, or beyond a symlink.
        """
        if not path_text("a file's name", path):
            raise InvalidInput("'' names no file", hint="for all files: .")
        text = given(path)
        # Above the worktree, names may have any bytes.
        place = system_path(path) if os.path.isabs(path) else to_system(text)
        full = os.path.join(self.root, place)
        relative = os.path.relpath(full, self.root)
        if relative == os.curdir:
            return ""
        parts = relative.split(os.sep)
        if parts[0] == os.pardir or os.path.isabs(relative):
            # The root may have another name: /tmp and /private/tmp on macOS.
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
        """Return the known paths under one: a file, a directory, or else a glob.

        Args:
            path: Relative to the root; "" for all.
            known: Staged paths, or those of an asset.
        """
        if isinstance(known, Entries):
            found = [entry.path for entry in known.under(path)]
        else:
            known = list(known)
            found = [k for k in known if not path or k == path or k.startswith(f"{path}/")]
        if found or not has_magic(path):
            return found
        # The name of the user's directory is no glob, whatever it looks like.
        start = f"{self.start}/" if path.startswith(f"{self.start}/") else ""
        fits = matching(path.removeprefix(start))
        return [k for k in known if k.startswith(start) and fits(k.removeprefix(start))]

    def typed(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Return paths as the user types them in the directory where this was opened.

        Args:
            paths: The paths in the form of the index.
        """
        return tuple(map(self.near, paths))

    def near(self, path: str) -> str:
        """Return a path of the index, relative to where this was opened."""
        return posixpath.relpath(path or os.curdir, self.start or os.curdir)

    # Interrupted work

    def note(self, name: str, data: bytes, *, new: bool = False) -> None:
        """Note durably what a command is about to do, so that a crash can be finished.

        Raises:
            FileExistsError: There is such a note, and it must be `new`.
        """
        fs.make_directories(self.pending)
        for directory in (self.pending, self.control):
            fs.remove_stale_temps(directory, STALE_AFTER_S)
        (fs.write_new if new else fs.write_replace)(self.pending / name, data)

    def noted(self, name: str) -> bytes | None:
        """Return what a command that was interrupted was about to do, or None."""
        return disk.read_file(self.pending / name)

    def forget(self, name: str) -> None:
        """Delete a note: its work is done."""
        fs.remove(self.pending / name)

    def begun(self) -> Begun | None:
        """Return the note of an unfinished switch, pull or download, or None."""
        note = self.noted(CHECKOUT)
        if note is None:
            return None
        target, _, rest = _text(note).partition("\n")
        command, line_feed, incoming = rest.rpartition("\n")
        return Begun(target, command, incoming) if line_feed else Begun(target, rest)

    def interrupted(self) -> Iterator[Hint]:
        """Yield the interrupted work here, and how to finish it."""
        if self.noted(PUBLISH) is not None:
            yield Hint("upload-was-interrupted")
        init = self.noted(INIT)
        if init is not None:
            yield Hint("init-was-interrupted", class_name=_text(init))
        begun = self.begun()
        if begun is not None:
            command = tuple(shlex.split(begun.command))
            yield Hint("checkout-was-interrupted", asset=begun.target[:20], command=command)
        incoming = self.control / INCOMING
        if begun is None and disk.list_directory(incoming):
            yield Hint("fetch-was-interrupted")

    def require_started(self, starting: str | None = None) -> None:
        """Check that no init was interrupted here.

        Args:
            starting: The class of the init that continues it.

        Raises:
            Conflict: One was, so the index may be another class's.
        """
        init = self.noted(INIT)
        if init is not None and _text(init) != starting:
            name = shown(_text(init))
            raise Conflict(
                f"an init of {name} was interrupted here",
                hint=Hint("finish", command=("init", _text(init))),
            )

    def require_settled(self, starting: str | None = None) -> None:
        """Check that no init, switch, pull or download was interrupted here.

        Args:
            starting: See `require_started`.

        Raises:
            Conflict: One was, so the worktree is between two assets.
        """
        self.require_started(starting)
        begun = self.begun()
        if begun is not None:
            target, command, _ = begun
            download = command.startswith("download ")
            what = f"download of {target}" if download else f"switch to {target[:10]}"
            raise Conflict(
                f"a {shown(what if command else f'switch to {target}')} was interrupted here",
                hint=Hint("finish", command=tuple(shlex.split(command)) or ("switch", target)),
            )

    def require_begun(self) -> None:
        """Check that this is no rest of an interrupted download into a new directory.

        Raises:
            Conflict: It is: there is no HEAD yet.
        """
        begun = self.begun()
        if begun is not None and not self.head.exists():
            target, command, _ = begun
            command = command or shlex.join(["download", target, "-o", from_system(self.root)])
            raise Conflict(
                f"a download of {shown(target)} was interrupted here",
                hint=Hint("finish", command=tuple(shlex.split(command))),
            )

    def require_writable(self) -> None:
        """Check that `.ama` is writable, before any work.

        Raises:
            StorageError: It isn't.
        """
        if not os.access(self.control, os.W_OK):
            raise StorageError(
                f"no permission to write {shown(self.control)}",
                hint="check its permissions, and those of its directory",
            )


TURN = "turn"
BEAT_S = 5.0
"""So often a turn is touched."""

SILENCE_S = 90.0
"""A turn that wasn't touched for so long isn't waited for."""

LOOK_S = 0.2
"""So often it is looked whether it is one's turn."""


class Busy(Conflict):
    """Another command brings files to the same worktree."""


def busy() -> Busy:
    """Return the error of a command that found another one at work."""
    return Busy(
        "another command brings files here, or has moved HEAD, at the same time",
        hint="run the same command again when it is done",
    )


class Turns(Protocol):
    """A place where one command after another works: a worktree, or an asset in a cache."""

    @property
    def root(self) -> Path:
        """The directory that they work on."""

    @property
    def control(self) -> Path:
        """The directory of the file that is held."""

    def begun(self) -> Begun | None:
        """Return what another has begun there, if that is noted."""


@contextmanager
def turn(tree: Turns, is_alike: Callable[[Begun], bool], progress: Progress) -> Iterator[None]:
    """Have the worktree to oneself, among those that ask for it, once the others are done.

    Args:
        tree: The worktree, or another place.
        is_alike: Whether what another has begun here is what the caller is about to do, too. It
            isn't waited for otherwise.
        progress: Is told of the waiting.

    Raises:
        Busy: Another does something else here, or holds the turn and shows no sign of life.
    """
    path = os.path.join(tree.control, TURN)
    held = fs.hold(path)
    if held is None:
        progress.start("Waiting for another process that brings the same files here", None)
        try:
            held = _wait(tree, path, is_alike)
        finally:
            progress.finish()
    over = threading.Event()
    beating = threading.Thread(target=_beat, args=(path, over), daemon=True)
    try:
        start(beating)
    except BaseException:
        fs.let_go(held)
        raise
    try:
        yield
    finally:
        over.set()
        beating.join()
        fs.let_go(held)


def _wait(tree: Turns, path: str, is_alike: Callable[[Begun], bool]) -> int:
    touched, since = _touched(path), time.monotonic()
    while True:
        held = fs.hold(path)
        if held is not None:
            return held
        begun = tree.begun()
        if begun is not None and not is_alike(begun):
            raise busy()
        now = time.monotonic()
        latest = _touched(path)
        if latest != touched:
            touched, since = latest, now
        elif now - since > SILENCE_S:
            raise Busy(
                f"another process has begun to bring files to {shown(tree.root)}, and shows no sign"
                " of life any more",
                hint="end it where it is stopped or hangs, then run the same command again",
            )
        time.sleep(LOOK_S)


def settle(tree: Worktree, is_alike: Callable[[Begun], bool]) -> None:
    """Wait until what another does here is done, or it is not known any more that it goes on.

    That is for file systems without locks, where it turns out late that another is at work.

    Raises:
        Busy: It does something else than the caller.
    """
    seen, since = None, time.monotonic()
    while (begun := tree.begun()) is not None:
        if not is_alike(begun):
            raise busy()
        now = time.monotonic()
        latest = (begun, tree.head.generation(), _touched(os.path.join(tree.control, TURN)))
        if latest != seen:
            seen, since = latest, now
        elif now - since > SILENCE_S:
            return
        time.sleep(LOOK_S)


def has_locks(tree: Worktree) -> bool:
    """Whether the file system of a worktree keeps two commands from one turn.

    Example:
        >>> from pathlib import Path
        >>> has_locks(Worktree(Path("worktree").absolute()))
        True
    """
    path = os.path.join(tree.control, TURN)
    held = [found for found in (fs.hold(path), fs.hold(path)) if found is not None]
    for descriptor in held:
        fs.let_go(descriptor)
    return len(held) < 2


def _touched(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _beat(path: str, over: threading.Event) -> None:
    while True:
        with suppress(StorageError):
            fs.touch(path)
        if over.wait(BEAT_S):
            return
