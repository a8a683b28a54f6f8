"""From a URL to a storage."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from ama.config import Option, nested
from ama.errors import InvalidInput, shown
from ama.storage.backends import BACKENDS, SECRET_OPTIONS
from ama.storage.local import LocalStorage
from ama.storage.memory import MemoryStorage
from ama.storage.protocol import Storage

# Two characters at least: `C:` is a drive.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://").match
# As scp has it: host:/path or user@host:path.
_SCP = re.compile(r"([\w.-]{2,}(?=:/)|[\w.-]+@[\w.-]+(?=:)):").match
_SUPPORTED = "a directory's path, gs://, s3://, az://, sftp:// or https://"

_memories: dict[str, MemoryStorage] = {}
_memories_lock = threading.Lock()


def open_storage(url: str, options: Mapping[str, Option] | None = None) -> Storage:
    """Make the storage that a URL names. Nothing is read or written yet.

    Args:
        url: A directory's path, `file:///path`, `memory://name` (the same one for all in this
            process who use the name), or a bucket, an SFTP server or a web server.
        options: What the storage's client is told beside the URL: `endpoint_url`, `anon`,
            `client_kwargs.region_name` and so on. Ama's own are `timeout` (seconds that a request
            is waited for), `retries`, and `single_writer` (nobody else ever writes there).

    Returns:
        The storage; it needn't hold anything.

    Raises:
        InvalidInput: The URL is empty, broken, of a kind that isn't supported, or has a password
            in it; or an option is a credential, or can't be one of a storage.

    Example:
        >>> open_storage("memory://example").url
        'memory://example'
    """
    scheme = check_url(url)
    options = check_options(options or {})
    if scheme is None:
        return LocalStorage(Path(url))
    if scheme == "file":
        return LocalStorage(Path(_file_path(url)))
    if scheme == "memory":
        name = url.partition("://")[2].strip("/")
        with _memories_lock:
            return _memories.setdefault(name, MemoryStorage(name))
    # fsspec and asyncio are slow to import, and most stores are directories.
    from ama.storage.fsspec import FsspecStorage
    from ama.storage.patience import Patience

    patience = Patience(
        **{name: options[name] for name in ("timeout", "retries") if name in options}  # type: ignore[arg-type]
    )
    return FsspecStorage(
        url,
        BACKENDS[scheme],
        nested({name: value for name, value in options.items() if name not in _OWN}),
        patience=patience,
        single_writer=options.get("single_writer") is True,
    )


_OWN: dict[str, tuple[type, ...]] = {
    "timeout": (int, float),
    "retries": (int,),
    "single_writer": (bool,),
}


def check_options(options: Mapping[str, Option]) -> Mapping[str, Option]:
    """Refuse options that are credentials, or that `open_storage` couldn't use.

    Args:
        options: As in `open_storage`.

    Returns:
        The same.

    Raises:
        InvalidInput: One of them is a credential, or has a value of another type than it needs.

    Example:
        >>> check_options({"endpoint_url": "http://localhost:9000"})["endpoint_url"]
        'http://localhost:9000'
    """
    for name, value in options.items():
        last = name.rpartition(".")[2].lower()
        if last in SECRET_OPTIONS:
            raise InvalidInput(
                f"option {shown(name)} is a credential, and ama writes none down",
                hint="put it where its cloud's own tools look for it: see docs/remotes.md",
            )
        if name in _OWN:
            fits = type(value) in _OWN[name]
            if not fits or (not isinstance(value, bool) and value < 0):  # type: ignore[operator]
                wanted = "true or false" if name == "single_writer" else "a number, at least 0"
                raise InvalidInput(f"option {name} must be {wanted}, not {shown(value)}")
    return options


def check_url(url: str) -> str | None:
    """Refuse a URL that `open_storage` couldn't open.

    Args:
        url: What the user wrote.

    Returns:
        Its scheme, in small letters; None for a path.

    Raises:
        InvalidInput: It is empty, broken, of a kind that isn't supported, or has a password in it.

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
        if scp := _SCP(url):
            raise InvalidInput(
                f"'{shown(url)}' is neither a directory's path nor a URL",
                hint=f"for a directory of another machine: sftp://{shown(scp.group(1))}/path; for"
                f" one of this: ./{shown(url)}",
            )
        return None
    scheme = found.group(1).lower()
    if scheme == "file":
        _file_path(url)
    elif scheme in BACKENDS:
        _check_place(url, scheme)
    elif scheme != "memory":
        raise InvalidInput(
            f"'{shown(url)}': this version of ama knows no {scheme}:// storage",
            hint=f"supported are {_SUPPORTED}",
        )
    return scheme


def _check_place(url: str, scheme: str) -> None:
    """Refuse a URL without a host or bucket, and one that has a credential in it."""
    place, _, rest = url.partition("://")[2].partition("/")
    login, at, host = place.rpartition("@")
    if at and ":" in login:
        raise InvalidInput(
            f"the {scheme}:// URL of {shown(host)} has a password in it, and ama writes none down",
            hint="put it where its own tools look for it: see docs/remotes.md",
        )
    if "?" in rest or "#" in rest:
        raise InvalidInput(
            f"the {scheme}:// URL of {shown(host)} has more than a path in it (? or #)",
            hint="give the place of the store alone",
        )
    if not host:
        what = "bucket" if BACKENDS[scheme].needs_bucket else "host"
        raise InvalidInput(f"'{shown(url)}' names no {what}", hint=f"write {scheme}://NAME/PATH")


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
