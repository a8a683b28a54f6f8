"""A directory of exported pages, which the next export updates.

A file beside the pages lists them: it identifies the directory, and other files, such as a site's
`robots.txt`, are never touched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from types import TracebackType

from ama.errors import AlreadyExists, Conflict, Hint, InvalidInput, shown
from ama.system import disk, fs
from ama.system.encoding import system_path

MARKER = ".ama-site"
"""The file that names the store, and below it each file written, one a line."""

LOCK = ".ama-site.lock"
BEGINNING = 256
"""The bytes at the beginning of a page that include its mark."""


class Site:
    """A directory of pages. After a run without an error, it has only the pages of this run.

    Args:
        directory: The directory: new, empty, or written by an export of the same store.
        store: The store's id.

    Raises:
        InvalidInput: No directory is named.
        AlreadyExists: The directory has other files in it.
        Conflict: Another export is writing into it.
        StorageError: It can't be written.

    Example:
        >>> with Site("site", "0" * 32) as site:
        ...     site.write("index.html", b"<h1>Models</h1>")
        >>> site.files, site.changed, site.removed
        (1, 1, 0)
        >>> with Site("site", "0" * 32) as site:
        ...     site.write("store/index.html", b"<h1>Store</h1>")
        >>> site.files, site.changed, site.removed
        (1, 1, 1)
    """

    def __init__(self, directory: str | os.PathLike[str], store: str) -> None:
        if not os.fspath(directory):  # as a path, it would be the current directory
            raise InvalidInput("no directory is named", hint=Hint("name-export"))
        self._top = Path(system_path(directory))
        self._store = store
        self._files_before()  # a directory of somebody else gets no lock either
        self._written: set[str] = set()
        self.changed = 0
        """How many files are new, or differ from the old ones."""
        self.removed = 0
        """How many old files are gone."""
        fs.make_directories(self._top, sync=False)
        held = fs.hold(self._top / LOCK)
        if held is None:
            raise Conflict(f"another export is writing into {shown(self._top)}")
        self._held = held
        self._before = self._files_before()
        # An interrupted export leaves an export too.
        self._note(self._before)

    @property
    def files(self) -> int:
        """Return how many files it has."""
        return len(self._written)

    def __enter__(self) -> Site:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            os.close(self._held)
            fs.remove(self._top / LOCK)

    def write(self, path: str, data: bytes) -> None:
        """Write a file, unless it is there already with the same content.

        Args:
            path: POSIX, relative to the directory.
            data: Its content.
        """
        target = self._noted(path)
        if disk.read_file(target) != data:
            self._place(target, [data])

    def write_once(self, path: str, data: Iterable[bytes]) -> None:
        """Write a file whose name follows from its content, unless it is there: see `write`."""
        target = self._noted(path)
        if not os.path.isfile(target):
            self._place(target, data)

    def keep(self, path: str, mark: str) -> bool:
        """Keep a file, if the last export wrote it, with a mark near its beginning.

        Args:
            path: POSIX, relative to the directory.
            mark: The mark of a file that need not be written.
        """
        data = disk.read_file(self._top / path) if path in self._before else None
        if data is None or mark.encode() not in data[:BEGINNING]:
            return False
        self._written.add(path)
        return True

    def _noted(self, path: str) -> Path:
        self._written.add(path)
        return self._top / path

    def _place(self, target: Path, data: Iterable[bytes]) -> None:
        fs.make_directories(target.parent, sync=False)
        fs.place(fs.write_temp(target.parent, data, sync=False), target, sync=False)
        self.changed += 1

    def _files_before(self) -> set[str]:
        name = shown(self._top)
        if not disk.is_directory(self._top):
            if os.path.lexists(self._top):
                raise AlreadyExists(f"{name} is a file", hint="name a new directory")
            return set()
        data = disk.read_file(self._top / MARKER)
        if data is None:
            if any(name != LOCK for name in disk.list_directory(self._top)):
                raise AlreadyExists(
                    f"{name} exists, and there is something in it that no export wrote",
                    hint="name a new directory, or that of an earlier export",
                )
            return set()
        head, *paths = data.decode("utf-8", "replace").splitlines() or [""]
        if head != self._head():
            raise AlreadyExists(f"{name} is an export of another store", hint="name another one")
        return set(paths)

    def _head(self) -> str:
        return json.dumps({"ama dashboard --export": 1, "store": self._store})

    def _note(self, files: Iterable[str]) -> None:
        lines = "".join(f"{line}\n" for line in [self._head(), *sorted(files)])
        fs.write_replace(self._top / MARKER, lines.encode())

    def _finish(self) -> None:
        gone = self._before - self._written
        left = {above.as_posix() for path in gone for above in PurePosixPath(path).parents} - {"."}
        # Search the directory, and not the marker, whose paths may lead anywhere.
        for above, _, names in os.walk(self._top, topdown=False):
            directory = Path(above)
            for path in (directory / name for name in names):
                if path.relative_to(self._top).as_posix() in gone:
                    fs.remove(path)
                    self.removed += 1
            if directory.relative_to(self._top).as_posix() in left:
                fs.remove_empty_directory(directory)
        self._note(self._written)
