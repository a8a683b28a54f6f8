"""From a URL to a storage."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path

from ama.errors import InvalidInput, shown
from ama.storage.local import LocalStorage
from ama.storage.memory import MemoryStorage
from ama.storage.protocol import Storage

# Two characters at least: `C:` is a drive.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://").match
_SUPPORTED = "a directory's path, file:// or memory://"

_memories: dict[str, MemoryStorage] = {}
_memories_lock = threading.Lock()


def open_storage(url: str) -> Storage:
    """Make the storage that a URL names. Nothing is read or written yet.

    Args:
        url: A directory's path, `file:///path`, or `memory://name` (the same one for all in
            this process who use the name).

    Returns:
        The storage; it needn't hold anything.

    Raises:
        InvalidInput: The URL is empty, broken, or of a kind that isn't supported.

    Example:
        >>> open_storage("memory://example").url
        'memory://example'
    """
    scheme = check_url(url)
    if scheme is None:
        return LocalStorage(Path(url))
    if scheme == "file":
        return LocalStorage(Path(_file_path(url)))
    name = url.partition("://")[2].strip("/")
    with _memories_lock:
        return _memories.setdefault(name, MemoryStorage(name))


def check_url(url: str) -> str | None:
    """Refuse a URL that `open_storage` couldn't open.

    Args:
        url: What the user wrote.

    Returns:
        Its scheme, in small letters; None for a path.

    Raises:
        InvalidInput: It is empty, broken, or of a kind that isn't supported.

    Example:
        >>> check_url("/mnt/share/store") is None
        True
    """
    if not url or "\0" in url:
        raise InvalidInput(
            f"'{shown(url)}' can't be the place of a store", hint=f"give {_SUPPORTED}"
        )
    found = _SCHEME(url)
    if found is None:
        return None
    scheme = found.group(1).lower()
    if scheme == "file":
        _file_path(url)
    elif scheme != "memory":
        raise InvalidInput(
            f"'{shown(url)}': this version of ama knows no {scheme}:// storage",
            hint=f"supported are {_SUPPORTED}",
        )
    return scheme


def _file_path(url: str) -> str:
    from urllib.parse import unquote

    host, slash, path = url.partition("://")[2].partition("/")
    if host.lower() not in ("", "localhost") or not slash:
        raise InvalidInput(
            f"'{shown(url)}' names no directory of this machine",
            hint="write file:///absolute/path, with three slashes",
        )
    path = unquote("/" + path, errors="surrogateescape")
    if "\0" in path:
        raise InvalidInput(f"'{shown(url)}' names no directory of this machine")
    if sys.platform == "win32" and re.match(r"/[A-Za-z]:", path):
        path = path[1:]
    return path
