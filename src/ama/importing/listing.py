"""The sources that paths, URLs and globs stand for."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from ama.errors import Hint, Hints, InvalidInput, NotFound, StorageError, shown
from ama.format.hashing import blob_id
from ama.importing.incoming import Origin, Refused, Source
from ama.importing.rules import Rules
from ama.importing.sources import DirectorySource, FileSource, Place, PrefixSource
from ama.storage.local import LocalStorage
from ama.storage.protocol import Detail, HasDetails, Storage
from ama.storage.urls import is_read_only
from ama.system.encoding import from_system, system_path
from ama.worktree.given import listed
from ama.worktree.ignore import matching
from ama.worktree.reader import nothing_at

_IS_GLOB = frozenset("*[")
_LONGEST_GLOB = 4096

Opener = Callable[[str], Storage]
"""Opens the storage at a URL."""


def list_sources(
    places: Iterable[str], rules: Rules, open_at: Opener, *, portable: bool, force: bool
) -> list[Source]:
    """Return the sources that texts stand for, each once.

    Args:
        places: Paths and URLs; a glob stands for all that fits it. `**` crosses directories, and
            then stands for files alone.
        rules: What becomes of them.
        open_at: Opens the storage at a URL.
        portable: Whether to refuse names that some system can't hold.
        force: Whether to take files that look like secrets.

    Raises:
        NotFound: Nothing is there.
        InvalidInput: A text is empty, or no place.
        StorageError: A place can't be listed.
    """
    found: dict[str, Source] = {}
    for place in places:
        if not place.strip():
            raise InvalidInput("a source is empty", hint="for the present directory, give .")
        if "://" in place and not place.startswith("file://"):
            some = _in_storage(place, rules, open_at)
        else:
            some = _on_disk(place.removeprefix("file://"), rules, portable=portable, force=force)
        for source in some:
            found.setdefault(source.origin.url, source)
    return list(found.values())


# On this machine


def _on_disk(place: str, rules: Rules, *, portable: bool, force: bool) -> Iterator[Source]:
    path = os.fspath(system_path(place))
    paths = [path]
    if not os.path.lexists(path):
        paths = sorted(glob.glob(path, recursive=True)) if _IS_GLOB & set(path) else []
        if "**" in path:
            paths = [each for each in paths if os.path.isfile(each)]
        if not paths:
            raise _nothing_on_disk(place, Path(path))
    for each in paths:
        at = Path(os.path.abspath(each))
        if at.is_dir():
            yield _directory(at, rules, portable=portable, force=force)
        else:
            storage = LocalStorage(at.parent)
            name = from_system(at.name)
            detail = dict(storage.details(name)).get(name)
            if detail is None:
                raise InvalidInput(f"{shown(place)} is neither a file nor a directory")
            origin = Origin(from_system(str(at)), detail.size, detail.mark, detail.modified)
            yield FileSource(Place(storage.url, storage), name, origin, rules)


def _nothing_on_disk(place: str, path: Path) -> NotFound:
    return nothing_there(place, nothing_at(path).hints)


def nothing_there(place: str, near: Hints = ()) -> NotFound:
    """Return the error for a path, URL or glob that stands for nothing.

    Args:
        place: The text.
        near: The hint that says what is near it.
    """
    hints: Hints = near or (Hint("quote-globs"),)
    if _IS_GLOB & set(place):
        hints = () if "**" in place else (Hint("cross-directories", glob=_crossing(place)),)
    return NotFound(f"{shown(place)}: there is nothing", hint=hints)


def _crossing(place: str) -> str:
    above, slash, last = place.rpartition("/")
    return f"{above}{slash}**/{last}"


def _directory(at: Path, rules: Rules, *, portable: bool, force: bool) -> Source:
    try:
        listing = listed([at], store=None, portable=portable, force=force)
    except InvalidInput as error:
        return Refused(Origin(from_system(str(at)), 0, ""), error)
    newest, size, marks = 0, 0, []
    for path, _, found in listing.on_disk:
        marks.append(f"{path}\0{found.kind}\0{found.size}\0{found.mtime}")
        newest, size = max(newest, found.mtime), size + found.size
    modified = datetime.fromtimestamp(newest / 1e9, UTC) if newest else None
    return DirectorySource(
        at, listing, Origin(from_system(str(at)), size, _mark(marks), modified), rules
    )


def _mark(lines: Iterable[str]) -> str:
    return blob_id("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hex()


# In a bucket or on a server


def _in_storage(place: str, rules: Rules, open_at: Opener) -> Iterator[Source]:
    url, question, query = place.partition("?")
    scheme, _, rest = url.partition("://")
    root, _, path = rest.partition("/")
    path = path.strip("/")
    base = f"{scheme}://{root}"
    if not path:
        raise InvalidInput(f"{shown(url)} names no file or directory", hint="give a path behind it")
    storage = open_at(base + question + query)
    parts = path.split("/")
    depth = next((at for at, part in enumerate(parts) if _IS_GLOB & set(part)), None)
    if depth is None:
        chosen = {path: dict(_listed(storage, path))}
    else:
        above = "".join(f"{part}/" for part in parts[:depth])
        chosen = _matching(path, dict(_listed(storage, above)))
    shared = Place(storage.url, storage)
    some = False
    for name, below in sorted(chosen.items()):
        at = f"{base}/{name}"
        if name in below:
            detail = below[name]
            origin = Origin(at, detail.size, detail.mark, detail.modified)
            yield FileSource(shared, name, origin, rules)
        elif inside := {each: d for each, d in below.items() if each.startswith(f"{name}/")}:
            times = [d.modified for d in inside.values() if d.modified is not None]
            size = sum(d.size for d in inside.values())
            mark = _mark(f"{each}\0{d.size}\0{d.mark}" for each, d in inside.items())
            origin = Origin(at, size, mark, max(times, default=None))
            yield PrefixSource(shared, f"{name}/", inside, origin, rules)
        else:
            continue
        some = True
    if not some:
        raise nothing_there(url)


def _listed(storage: Storage, prefix: str) -> Iterator[tuple[str, Detail]]:
    if not isinstance(storage, HasDetails):
        raise InvalidInput(f"{shown(storage.url)} can't be listed")
    try:
        yield from storage.details(prefix)
    except StorageError:
        if not prefix or prefix.endswith("/"):
            raise
        # A web server lists nothing, but says whether one name is there.
        (size,) = storage.sizes([prefix])
        if size is not None:
            yield prefix, Detail(size)
        elif not is_read_only(storage.url):
            raise


def _matching(pattern: str, names: Mapping[str, Detail]) -> dict[str, dict[str, Detail]]:
    """Return what fits a glob: files, and directories with what is in them."""
    fits = matching(pattern[:_LONGEST_GLOB])
    last = pattern.rpartition("/")[2]
    found: dict[str, dict[str, Detail]] = {}
    for name, detail in names.items():
        if not fits(name):
            continue
        if "**" in pattern:
            if last == "**" or fnmatchcase(name.rpartition("/")[2], last):
                found.setdefault(name, {})[name] = detail
            continue
        top = "/".join(name.split("/")[: pattern.count("/") + 1])
        found.setdefault(top, {})[name] = detail
    return found
