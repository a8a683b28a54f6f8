"""DVC's cache: content by its MD5."""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ama.errors import InvalidInput, shown
from ama.format.objects import EntryKind
from ama.importing.dvc_files import Output
from ama.importing.incoming import Content
from ama.system import disk

_DIGEST = re.compile(r"[0-9a-f]{32}").fullmatch
_PIECE = 1 << 20
"""So many bytes DVC took at once when it left out the CR of texts."""

_MOST_LIST = 1 << 30


@dataclass(frozen=True, slots=True)
class Part:
    """A file of an output: its path in the repository, its MD5, and where it is."""

    path: str
    digest: str
    place: Path


@dataclass(frozen=True, slots=True)
class Cache:
    """DVC's cache of a repository.

    Attributes:
        places: The directories to look in.
    """

    places: tuple[Path, ...]
    _lists: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    _found_at: dict[str, Path] = field(default_factory=dict)

    def find(self, digest: str) -> Path | None:
        """Return the file that has a digest; None if there is none."""
        if digest not in self._found_at:
            for place in self.places:
                found = place / digest[:2] / digest[2:]
                if found.is_file():
                    self._found_at[digest] = found
                    break
        return self._found_at.get(digest)

    def parts(self, output: Output) -> Iterator[Part]:
        """Yield the files of an output.

        Raises:
            InvalidInput: One is not in the cache, or the list of a directory is broken.
        """
        if not output.is_directory:
            yield Part(output.path, output.digest, self._found(output.path, output.digest))
            return
        if output.digest not in self._lists:
            self._lists[output.digest] = tuple(self._listed(output))
        for inner, digest in self._lists[output.digest]:
            path = f"{output.path}/{inner}"
            yield Part(path, digest, self._found(path, digest))

    def _found(self, path: str, digest: str) -> Path:
        found = self.find(digest)
        if found is None:
            raise InvalidInput(
                f"{shown(path)} is not in DVC's cache",
                hint="fetch it: dvc fetch --all-commits",
            )
        return found

    def _listed(self, output: Output) -> Iterator[tuple[str, str]]:
        """Yield the paths in a directory, with their MD5s."""
        place = self._found(output.path, output.digest)
        data = disk.read_file(place, _MOST_LIST) or b""
        name = output.digest.removesuffix(".dir")
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != name:
            raise _damaged(output.path)
        try:
            entries: Any = json.loads(data)
            found = [(entry["relpath"], entry["md5"]) for entry in entries]
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise _damaged(output.path) from error
        listed: dict[str, str] = {}
        for path, digest in found:
            is_sound = isinstance(path, str) and isinstance(digest, str) and _DIGEST(digest)
            if not is_sound or path in listed:
                raise _damaged(output.path)
            listed[path] = digest
        yield from listed.items()


def _damaged(path: str) -> InvalidInput:
    return InvalidInput(
        f"{shown(path)} is damaged in DVC's cache",
        hint="check the cache: dvc cache dir; remove the file and fetch it again: dvc fetch",
    )


def open_cache(root: Path) -> Cache:
    """Return the cache of a DVC repository.

    Args:
        root: The directory that `.dvc` is in.
    """
    place = root / ".dvc" / "cache"
    for name in ("config", "config.local"):
        data = disk.read_file(root / ".dvc" / name)
        parser = configparser.RawConfigParser(strict=False, interpolation=None)
        try:
            parser.read_string((data or b"").decode("utf-8", "replace"))
        except configparser.Error as error:
            raise InvalidInput(f".dvc/{name} is broken") from error
        if parser.has_option("cache", "dir"):
            given = os.path.expanduser(parser.get("cache", "dir").strip("'\" "))
            place = Path(os.path.normpath(root / ".dvc" / given))
    return Cache((place / "files" / "md5", place))


def content(part: Part, output: Output) -> Content:
    """Return the content of a file in the cache, checked by its MD5.

    Raises:
        InvalidInput: It is something else.
    """
    is_same = digest_of(part.place, is_old=False) == part.digest
    if not (is_same or (output.is_old and digest_of(part.place, is_old=True) == part.digest)):
        raise _damaged(part.path)
    kind = EntryKind.EXECUTABLE if output.is_executable else EntryKind.FILE
    return Content(kind, part.place)


def digest_of(place: Path, *, is_old: bool) -> str:
    """Return the MD5 of a file; if it is old, of a text without CR at line ends."""
    digest = hashlib.md5(usedforsecurity=False)
    with disk.reading(place) as file:
        while piece := file.read(_PIECE):
            digest.update(piece.replace(b"\r\n", b"\n") if is_old else piece)
    return digest.hexdigest()
