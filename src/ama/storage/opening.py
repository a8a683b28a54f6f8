"""From a URL to a storage."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from ama.config import Option, nested
from ama.storage.backends import BACKENDS
from ama.storage.local import LocalStorage
from ama.storage.memory import MemoryStorage
from ama.storage.protocol import Storage
from ama.storage.urls import file_path, parse_url, split_options
from ama.system.encoding import to_system

_memories: dict[str, MemoryStorage] = {}
_memories_lock = threading.Lock()


def open_storage(url: str, options: Mapping[str, Option] | None = None) -> Storage:
    """Make the storage that a URL names. Nothing is read or written yet.

    Args:
        url: A directory's path, `file:///path`, `memory://name` (the same one for all in this
            process who use the name), or a bucket, an SFTP server or a web server.
        options: More options. What the storage's client is told (`endpoint_url`, `anon`,
            `client_kwargs.region_name` and so on) becomes a part of the storage's URL. Ama's own
            are `timeout` (seconds that a request is waited for), `retries`, and `single_writer`
            (nobody else ever writes there).

    Returns:
        The storage; it needn't hold anything.

    Raises:
        InvalidInput: The URL is empty, broken, of a kind that isn't supported, or has a password
            in it; or an option is a credential, or can't be one of a storage.

    Example:
        >>> open_storage("memory://example").url
        'memory://example'
        >>> open_storage("s3://models/ama", {"anon": True}).url
        's3://models/ama?anon=true'
    """
    clients, own = split_options(options or {})
    place = parse_url(url, clients)
    if place.scheme is None:
        return LocalStorage(Path(to_system(url)))
    if place.scheme == "file":
        return LocalStorage(Path(to_system(file_path(url))))
    if place.scheme == "memory":
        name = url.partition("://")[2].strip("/")
        with _memories_lock:
            return _memories.setdefault(name, MemoryStorage(name))
    # asyncio is slow to import, and most stores are directories.
    from ama.storage.network import NetworkStorage
    from ama.storage.patience import Patience

    patience = Patience(
        **{name: own[name] for name in ("timeout", "retries") if name in own}  # type: ignore[arg-type]
    )
    return NetworkStorage(
        str(place),
        BACKENDS[place.scheme],
        nested(place.options),
        patience=patience,
        single_writer=own.get("single_writer") is True,
    )
