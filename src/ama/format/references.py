"""References: records whose bytes lie elsewhere, in a file or bucket that no store owns.

A reference is a record of a kind of its own, filed under the id of a file or chunk: it says in
which source, and where in it, the content is. Who reads it verifies the content by its id, as ever,
so a source that changed is noticed. docs/format.md, section 6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from ama.errors import UPGRADE, FormatError, IntegrityError, InvalidInput
from ama.format import canonical
from ama.format.hashing import Buffer, seal

REFERENCE: Final = 4
"""The codec of records that are references."""

REFERENCES: Final = "references"
"""The feature of stores whose records may be references."""

VERSION = 1
MAX_REFERENCE = 4096
"""The most bytes of a reference."""

CHECKSUM_SIZE = 8
"""The bytes at its end that protect it: no id covers them, as little as those of a recipe."""

MAX_MARK = 512
"""The most bytes of a mark."""

MAX_RATIO = 1032
"""The most bytes that a byte of deflated data expands to."""

MAX_SIZE = 2**63 - 1

SCHEMES: Final = frozenset(
    "file s3 gs gcs az abfs abfss sftp ssh http https".split(),
)
"""The schemes of the URLs of sources."""

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://([^/]*)/(.+)", re.DOTALL).fullmatch
_ENCODED = re.compile(r"(?:[A-Za-z0-9_.!~*'()/:@&=+$,;-]|%[0-9A-F]{2})*").fullmatch
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]").search
_PASSWORD = re.compile(r"[^@]*:[^@]*@").match


class Method(IntEnum):
    """How a source holds the bytes: as they are, or deflated (RFC 1951), as in a zip."""

    STORED = 0
    DEFLATE = 1


@dataclass(frozen=True, slots=True)
class Reference:
    """Where content lies.

    Attributes:
        url: The URL of the source: a file's (`file:///srv/run%201.zip`), a bucket's or a server's.
        mark: What changes when the source does: an etag, a generation, a time. Empty: unknown.
        size: The bytes of the source.
        offset: Where in the source the stored bytes begin.
        length: How many there are. Deflated, they may be those of more than this content.
        method: How they are stored.
        start: Where in the inflated bytes this content begins.

    Example:
        >>> found = Reference("file:///srv/a.zip", "17", 1000, 40, 200, Method.DEFLATE, 0)
        >>> decode_reference(encode_reference(found), 600, "example") == found
        True
    """

    url: str
    mark: str
    size: int
    offset: int
    length: int
    method: Method = Method.STORED
    start: int = 0


def encode_reference(reference: Reference) -> bytes:
    """Return the bytes of a reference.

    Raises:
        InvalidInput: Its URL is none that may be kept, or too long.
    """
    fields: tuple[object, ...]
    try:
        _check_url(reference.url)
        _check_mark(reference.mark)
        fields = (
            VERSION,
            reference.url,
            reference.mark,
            reference.size,
            reference.offset,
            reference.length,
            int(reference.method),
            reference.start,
        )
        body = canonical.encode(fields)
        data = body + seal(body)[:CHECKSUM_SIZE]
        if len(data) > MAX_REFERENCE:
            raise ValueError(f"its URL is longer than {MAX_REFERENCE} bytes")
    except ValueError as error:
        raise InvalidInput(f"no reference can be kept to this source: {error}") from error
    return data


def decode_reference(stored: Buffer, full_size: int, what: str) -> Reference:
    """Decode a reference, and check what it says of itself.

    Args:
        stored: The stored bytes of a record.
        full_size: The bytes of the content that it stands for.
        what: What it is, for the error.

    Raises:
        IntegrityError: It isn't the canonical form of one, or says what can't be.
        FormatError: A newer version of ama has written it.
    """
    if len(stored) > MAX_REFERENCE:
        raise IntegrityError(f"{what} is damaged: no reference has {len(stored):,} bytes")
    body, checksum = memoryview(stored)[:-CHECKSUM_SIZE], memoryview(stored)[-CHECKSUM_SIZE:]
    if seal(body)[:CHECKSUM_SIZE] != checksum:
        raise IntegrityError(f"{what} is damaged: its checksum does not match")
    value = canonical.decode(body, what)
    try:
        if not isinstance(value, tuple) or not value or type(value[0]) is not int:
            raise ValueError("it is no reference")
        if value[0] > VERSION:
            raise FormatError(
                f"{what} is a reference of version {value[0]}, which this version of ama does not"
                " know",
                hint=UPGRADE,
            )
        return _checked(value, full_size)
    except ValueError as error:
        raise IntegrityError(f"{what} is damaged: {error}") from error


def _checked(value: tuple[Any, ...], full_size: int) -> Reference:
    if len(value) != 8 or value[0] != VERSION:
        raise ValueError("it is no reference")
    url, mark, *numbers = value[1:]
    if type(url) is not str or type(mark) is not str:
        raise ValueError("a field of another type")
    if any(type(number) is not int or not 0 <= number <= MAX_SIZE for number in numbers):
        raise ValueError("a number that is no size")
    size, offset, length, method, start = numbers
    _check_url(url)
    _check_mark(mark)
    if not length or offset + length > size:
        raise ValueError("it refers to bytes beyond its source")
    if method == Method.STORED:
        if length != full_size or start:
            raise ValueError("it refers to another number of bytes than it has")
    elif method != Method.DEFLATE:
        raise FormatError(
            f"a reference has method {method}, which this version of ama does not know",
            hint=UPGRADE,
        )
    elif start + full_size > length * MAX_RATIO:
        raise ValueError("it expands to more than it can")
    return Reference(url, mark, size, offset, length, Method(method), start)


def _check_mark(mark: str) -> None:
    if len(mark.encode()) > MAX_MARK:
        raise ValueError(f"its mark has more than {MAX_MARK} bytes")


def _check_url(url: str) -> None:
    found = _URL(url)
    if found is None or found[1] not in SCHEMES or _CONTROL(url):
        raise ValueError("it refers to no place that can be read")
    scheme, host, path = found.groups()
    if scheme == "file":
        if host or not _ENCODED(path) or "%00" in path:
            raise ValueError("it refers to no file of a machine")
        return
    if not host or "?" in url or "#" in url:
        raise ValueError("it refers to no name in a bucket or on a server")
    if _PASSWORD(host) or (scheme in ("http", "https") and "@" in host):
        raise ValueError("its URL has a login in it")


def scheme_of(url: str) -> str:
    """Return the scheme of a URL.

    Example:
        >>> scheme_of("s3://models/a.zip")
        's3'
    """
    return url.partition("://")[0]
