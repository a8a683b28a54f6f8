"""URLs: where a storage is, and which options its client gets to reach it.

The client's options are part of the URL, as its query: the same bucket behind another endpoint is
another storage. So the URL alone identifies a storage, wherever it is kept.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn
from urllib.parse import quote, unquote

from ama.config import Option, nested
from ama.errors import Hint, InvalidInput, StorageError, shown
from ama.storage.backends import BACKENDS
from ama.storage.credentials import refuse_credentials, refuse_password, without_credentials
from ama.storage.local import LocalStorage
from ama.storage.memory import MemoryStorage
from ama.storage.protocol import Buffer, Range, Storage
from ama.system.encoding import to_system

SUPPORTED = "a directory's path, gs://, s3://, az://, sftp:// or https://"

# At least two characters: `C:` is a drive.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://").match
# As in scp: host:/path or user@host:path.
_SCP = re.compile(r"([\w.-]{2,}(?=:/)|[\w.-]+@[\w.-]+(?=:)):").match
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)").fullmatch
_FLOAT = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?").fullmatch
# Characters that a query keeps, so that it stays readable.
_PLAIN = ":/?=@,;!$*+"

OWN: dict[str, tuple[type, ...]] = {
    "timeout": (int, float),
    "retries": (int,),
    "single_writer": (bool,),
}
"""Ama's own options and their types. They say how to use a storage, not which one it is."""


class Place(NamedTuple):
    """The parts of a URL.

    Attributes:
        scheme: The scheme in small letters; None for a path.
        base: The URL without options; a path as given.
        options: The options of the storage's client; a dot in a name means a table.
    """

    scheme: str | None
    base: str
    options: Mapping[str, Option]

    def __str__(self) -> str:
        """Return the only text that means this storage."""
        if not self.options:
            return self.base
        return f"{self.base}?{'&'.join(option_texts(self.options))}"


def parse_url(url: str, options: Mapping[str, Option] | None = None) -> Place:
    """Split a URL into its parts, and refuse one that `open_storage` can't open.

    Args:
        url: The user's text: a path, or a URL, which may have options as its query.
        options: More options of the client.

    Raises:
        InvalidInput: The URL is empty, broken, of an unsupported kind or holds a credential, or an
            option is invalid.

    Example:
        >>> str(parse_url("s3://models/ama/", {"endpoint_url": "http://localhost:9000"}))
        's3://models/ama?endpoint_url=http://localhost:9000'
        >>> parse_url("s3://models/ama?anon=true").options
        {'anon': True}
    """
    if not url or "\0" in url:
        raise InvalidInput(
            f"'{shown(url)}' can't be the place of a store", hint=f"give {SUPPORTED}"
        )
    if not _is_text(url):
        raise InvalidInput(
            f"'{shown(without_credentials(url))}' isn't valid UTF-8, and a store is noted by its"
            " place",
            hint="use a directory of another name",
        )
    found = _SCHEME(url)
    if found is None:
        _refuse_slip(url)
        return _without_options(Place(None, url, options or {}), "a directory")
    scheme = found.group(1).lower()
    refuse_password(url, scheme)
    if scheme == "file":
        file_path(url)
        return _without_options(Place(scheme, url, options or {}), "a directory")
    if scheme == "memory":
        return _without_options(Place(scheme, url, options or {}), "memory://")
    if scheme not in BACKENDS:
        raise InvalidInput(
            f"'{shown(without_credentials(url))}': this version of ama knows no {scheme}://"
            " storage",
            hint=f"supported are {SUPPORTED}",
        )
    base, _, query = url.partition("?")
    _check_place(base, scheme)
    in_url = _options_of(query, base)
    both = sorted(in_url.keys() & (options or {}).keys())
    if both:
        raise InvalidInput(f"option {both[0]} is given in the URL and beside it")
    for name in in_url.keys() & OWN.keys():
        raise InvalidInput(
            f"option {name} is ama's own, and no part of a URL",
            hint=Hint("set-option", name=name),
        )
    place = Place(scheme, base.rstrip("/"), {**in_url, **(options or {})})
    nested(place.options)
    for name, value in place.options.items():
        refuse_credentials(place.base, scheme, name, value)
    return place


def check_url(url: str) -> str | None:
    """Refuse a URL that `open_storage` can't open.

    Returns:
        Its scheme, in small letters; None for a path.

    Raises:
        InvalidInput: See `parse_url`.

    Example:
        >>> check_url("/mnt/share/store") is None
        True
    """
    return parse_url(url).scheme


def is_read_only(url: str) -> bool:
    """Whether nobody can write to a URL: it is a web server.

    Raises:
        InvalidInput: See `parse_url`.

    Example:
        >>> is_read_only("https://models.example/ama")
        True
    """
    scheme = parse_url(url).scheme
    return scheme in BACKENDS and BACKENDS[scheme].creates == "never"


def split_options(
    options: Mapping[str, Option],
) -> tuple[dict[str, Option], dict[str, Option]]:
    """Split a remote's options into those of its client, which belong to its URL, and ama's own.

    Raises:
        InvalidInput: One of ama's own has a value of the wrong type.

    Example:
        >>> split_options({"endpoint_url": "http://localhost:9000", "timeout": 5})
        ({'endpoint_url': 'http://localhost:9000'}, {'timeout': 5})
    """
    own = {name: value for name, value in options.items() if name in OWN}
    for name, value in own.items():
        fits = type(value) in OWN[name]
        if not fits or (not isinstance(value, bool) and value < 0):  # type: ignore[operator]
            wanted = "true or false" if name == "single_writer" else "a number, at least 0"
            raise InvalidInput(f"option {name} must be {wanted}, not {shown(value)}")
    return {name: value for name, value in options.items() if name not in OWN}, own


def option_texts(options: Mapping[str, Option]) -> list[str]:
    """Return options as they stand in a URL, by name.

    Example:
        >>> option_texts({"region_name": "eu", "anon": True, "account_name": "007&1"})
        ['account_name=007%261', 'anon=true', 'region_name=eu']
    """
    return [f"{name}={_encoded(value)}" for name, value in sorted(options.items())]


def file_path(url: str) -> str:
    """Return the path of a file:// URL.

    Raises:
        InvalidInput: It names no file of this machine.

    Example:
        >>> file_path("file:///mnt/our%20models")
        '/mnt/our models'
    """
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


def _is_text(url: str) -> bool:
    try:
        url.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_slip(path: str) -> None:
    """Refuse a path that looks like a mistyped URL, which may hold a password."""
    clean = shown(without_credentials(path))
    what = f"'{clean}' is neither a directory's path nor a URL"
    scheme, colon, rest = path.partition(":/")
    if colon and scheme.lower() in BACKENDS:
        meant = shown(without_credentials(f"{scheme}://{rest}"))
        raise InvalidInput(what, hint=f"a URL has two slashes: {meant}")
    if scp := _SCP(path):
        raise InvalidInput(
            what,
            hint=f"for a directory of another machine: sftp://{shown(scp.group(1))}/path; for"
            f" one of this: ./{clean}",
        )
    if not path.startswith(("/", ".", "~")) and ("://" in path or clean != shown(path)):
        raise InvalidInput(what, hint=f"give {SUPPORTED}, such as ./{clean}")


def _without_options(place: Place, what: str) -> Place:
    for name in place.options:
        raise InvalidInput(
            f"{what} has no option {shown(name)}", hint="options are for buckets and servers"
        )
    return place


def _check_place(base: str, scheme: str) -> None:
    """Refuse a URL without a host or bucket."""
    if "#" in base:
        raise InvalidInput(
            f"'{shown(base.partition('#')[0])}' goes on with a '#'",
            hint="give the place of the store, and its options behind '?'",
        )
    if not base.partition("://")[2].partition("/")[0].rpartition("@")[2]:
        what = BACKENDS[scheme].root
        raise InvalidInput(f"'{shown(base)}' names no {what}", hint=f"write {scheme}://NAME/PATH")


def _options_of(query: str, base: str) -> dict[str, Option]:
    """Read a query. The base is for messages: the query itself may be a secret."""
    found: dict[str, Option] = {}
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        if not equals or "#" in pair:
            raise InvalidInput(
                f"what follows the '?' behind {shown(base)} isn't options",
                hint=f"{shown(base)}?NAME=VALUE&NAME=VALUE, with & as %26 and # as %23 in a value",
            )
        if name in found:
            raise InvalidInput(f"option {shown(name)} is given twice behind {shown(base)}")
        found[name] = _decoded(value)
    return found


def _encoded(value: Option) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return repr(value)
    text = quote(value, safe=_PLAIN, errors="surrogateescape")
    # Encode the first character of a text that would be read as something else.
    return text if _decoded(text) == value else f"%{ord(text[0]):02X}{text[1:]}"


def _decoded(text: str) -> Option:
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER(text):
        return int(text)
    if _FLOAT(text):
        return float(text)
    return unquote(text, errors="surrogateescape")


_memories: dict[str, MemoryStorage] = {}
_memories_lock = threading.Lock()


def open_storage(url: str, options: Mapping[str, Option] | None = None) -> Storage:
    """Return the storage that a URL names, without reading or writing yet.

    Args:
        url: A directory's path, `file:///path`, `memory://name` (the same storage for every use of
            the name in this process), or a bucket, an SFTP server or a web server.
        options: More options. Those of the storage's client (`endpoint_url`, `anon`,
            `client_kwargs.region_name` and so on) become a part of the storage's URL. Ama's own
            are `timeout` (seconds to wait for a request), `retries`, and `single_writer`
            (nobody else ever writes there).

    Returns:
        The storage, which may be empty.

    Raises:
        InvalidInput: The URL is empty, broken, of an unsupported kind or holds a password, or an
            option is a credential or unknown.

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
    # Asyncio is slow to import, and most stores are directories.
    from ama.storage.network import NetworkStorage, Patience

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


class UnaskedStorage:
    """A storage that refuses every request, and needs no client, which takes long to import.

    Args:
        url: The storage's URL.

    Example:
        >>> UnaskedStorage("s3://models/ama").read([])
        Traceback (most recent call last):
            ...
        ama.errors.StorageError: s3://models/ama is not asked
    """

    can_create = False
    across_network = False

    def __init__(self, url: str) -> None:
        self.url = url

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        """Refuse."""
        self._refuse()

    def put(self, name: str, data: Buffer) -> None:
        """Refuse."""
        self._refuse()

    def create(self, name: str, data: Buffer) -> None:
        """Refuse."""
        self._refuse()

    def replace(self, name: str, data: Buffer) -> None:
        """Refuse."""
        self._refuse()

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Refuse."""
        self._refuse()

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Refuse."""
        self._refuse()

    def delete(self, name: str) -> None:
        """Refuse."""
        self._refuse()

    def cancel(self) -> None:
        """Do nothing: nothing waits."""

    def _refuse(self) -> NoReturn:
        raise StorageError(f"{shown(self.url)} is not asked")
