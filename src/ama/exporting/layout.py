"""The directory that a whole store is exported into: its names, its files of JSON, its README."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from ama.errors import AlreadyExists, IntegrityError, shown
from ama.exporting.described import text_of
from ama.system import disk, fs
from ama.system.encoding import from_system, to_system
from ama.worktree.incoming import delete_all

STORE = "store.json"
SUMS = "B3SUMS"
README = "README.txt"
FORMAT = "ama export of a store"
VERSION = 1

_STALE_AFTER_S = 24 * 60 * 60

_README = """\
These are the assets of a store of ama, a repository for machine-learning assets, as plain files.
Nothing but a text editor is needed to go on from here.

store.json                          which store, and up to which entry of its log
classes/CLASS/class.json            a class: its description, and how many assets it has
classes/CLASS/aliases.json          its aliases: which asset each points to, who set it, and when
classes/CLASS/history.jsonl         all that happened in it, a line each, the oldest first: assets
                                    published, aliases moved or removed, assets deprecated or
                                    deleted, notes
classes/CLASS/NUMBER/asset.json     an asset: author, time, message, metadata, aliases, status,
                                    notes, parents and refs (what it was made from), and its files
classes/CLASS/NUMBER/files/...      its files
classes/CLASS/NUMBER/notes/ENTRY-N/. files that notes came with, by the entry of the note
classes/CLASS/notes/ENTRY-N/...     the same of notes about the class itself
B3SUMS                              the BLAKE3 of each file: check them with  b3sum --check B3SUMS

Times are in UTC, sizes are bytes. An id is that of an asset wherever it is; a number is its number
in this store. The "blake3" of a file is what `b3sum` prints for it.

Files of the same content are one file with several names (hard links) where the disk can do that,
and read-only for this reason: copy a file before you change it.

A deleted asset has an asset.json, and files only if it was exported before it was deleted.

`ama export --everything` to this directory again adds what is new in the store.
"""


class Layout:
    """The directory.

    Args:
        top: Its path.
    """

    def __init__(self, top: str) -> None:
        self.top = top

    def path(self, *parts: str) -> str:
        """Return the path of something in it."""
        return os.path.join(self.top, *map(to_system, parts))

    def of_class(self, name: str, *parts: str) -> str:
        """Return the path of something of a class."""
        return self.path("classes", name, *parts)

    def of_asset(self, name: str, number: int, *parts: str) -> str:
        """Return the path of something of an asset."""
        return self.of_class(name, str(number), *parts)

    def known(self, store_id: str) -> tuple[int, bytes]:
        """Return the number and the hash of the entry up to which it was written; (0, b"") if new.

        Raises:
            AlreadyExists: Something else is there.
            IntegrityError: Its store.json is damaged.
        """
        shown_top = shown(from_system(self.top))
        said = self.read(self.path(STORE))
        if said is None:
            names = disk.list_directory(self.top) if os.path.lexists(self.top) else []
            if any(not fs.is_temp(name) for name in names):
                raise AlreadyExists(
                    f"{shown_top} is not empty, and no store was exported there",
                    hint="give a directory of its own",
                )
            return 0, b""
        try:
            if said["format"] != FORMAT or said["version"] != VERSION:
                raise ValueError
            known = int(said["entry"]), bytes.fromhex(said["entry_hash"])
            theirs = str(said["store"]["id"])
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"{shown_top}{os.sep}{STORE} is no export of ama", hint="export to another place"
            ) from error
        if theirs != store_id:
            raise AlreadyExists(
                f"{shown_top} has the assets of another store", hint="give a directory of its own"
            )
        return known

    def begin(self, store: dict[str, Any]) -> None:
        """Make the directory, and mark it as this store's."""
        fs.make_directories(self.top)
        if not os.path.lexists(self.path(STORE)):  # before anything else is there
            self.end(store, 0, b"")
        self.write(self.path(README), _README.encode())
        for name in disk.list_directory(self.top):
            path = os.path.join(self.top, name)
            written = disk.changed_at(path)
            if fs.is_temp(name) and written and time.time() - written / 1e9 > _STALE_AFTER_S:
                delete_all(path)

    def end(self, store: dict[str, Any], number: int, entry_hash: bytes) -> None:
        """Note up to which entry it is written."""
        said = {
            "format": FORMAT,
            "version": VERSION,
            "store": store,
            "entry": number,
            "entry_hash": entry_hash.hex(),
        }
        self.write(self.path(STORE), text_of(said).encode())

    def write(self, path: str, data: bytes | Iterable[bytes]) -> None:
        """Write a file, and its directory if need be; one that says the same stays as it is."""
        if isinstance(data, bytes) and disk.read_file(path) == data:
            return
        fs.make_directories(os.path.dirname(path), sync=False)
        fs.write_replace(path, data, temp_in=self.top)

    def read(self, path: str) -> dict[str, Any] | None:
        """Return a JSON object; None if there is none, or it is damaged."""
        data = disk.read_file(path)
        try:
            said = None if data is None else json.loads(data)
        except ValueError:
            said = {}
        return said if said is None or isinstance(said, dict) else {}

    def lines(self, path: str) -> Iterator[bytes]:
        """Yield the lines of a file, as they are; none if there is none."""
        try:
            with disk.reading(path) as file:
                held = b""
                while data := file.read(fs.PIECE):
                    *whole, held = (held + data).split(b"\n")
                    yield from (line + b"\n" for line in whole)
                if held:
                    yield held + b"\n"
        except FileNotFoundError:
            return


def sum_line(digest: str, path: str) -> bytes:
    r"""Return a line for `b3sum --check`.

    Example:
        >>> sum_line("af13", "classes/models/1/files/a")
        b'af13  classes/models/1/files/a\n'
    """
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n")
    mark = "\\" if escaped != path else ""
    return f"{mark}{digest}  {escaped}\n".encode()


def read_sum(line: bytes) -> tuple[bytes, str] | None:
    """Return the hash and the path of a line of `sum_line`; None of one with an odd path.

    Example:
        >>> digest, path = read_sum(sum_line("0" * 64, "a"))
        >>> path
        'a'
    """
    try:
        digest, _, path = line.decode().rstrip("\n").partition("  ")
        return bytes.fromhex(digest), path
    except ValueError:
        return None
