"""Arrays of numpy's files, .npy and .npz, by their headers: nothing is unpickled or unpacked whole.

An .npz file is a ZIP archive of .npy files. Of each, its first bytes are read.
"""

from __future__ import annotations

import ast
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from struct import unpack_from
from typing import Any

from ama.contents.headers import Found, Header, HeaderEnds, Left

MAGIC = b"\x93NUMPY"
MOST_HEADER = 10_000
"""The most characters of an array's header, as numpy has it."""

MOST_ARRAYS = 600
MOST_FIELDS = 200
_MOST_BRACKETS = 2 * MOST_FIELDS

_STRING = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"")
# Nothing that the parser would go deep into, but for brackets, which are counted.
_REST = re.compile(r"(?:[\s{}()\[\],:0-9]|True|False)*").fullmatch
_DTYPE = re.compile(r"([<>|=]?)([?biufcmMOSUVa])([0-9]{0,9})(\[[0-9A-Za-z]{1,20}\])?").fullmatch
_KINDS = {"b": "int", "i": "int", "u": "uint", "f": "float", "c": "complex"}
_TIMES = {"m": "timedelta64", "M": "datetime64"}
_TEXTS = {"S": "bytes", "a": "bytes", "U": "text", "V": "void"}


@dataclass(frozen=True, slots=True)
class _Array:
    dtype: str
    shape: tuple[int, ...]
    order: str
    fields: tuple[tuple[str, str], ...]
    size: int | None
    """The bytes of its values; None: not known."""

    def said(self, above: tuple[str, ...]) -> Iterator[Found]:
        yield (*above, "dtype"), self.dtype
        yield (*above, "shape"), list(self.shape)
        yield (*above, "order"), self.order
        for name, dtype in self.fields:
            yield (*above, "fields", name), dtype


def read_npy(file: Header) -> Iterator[Found]:
    """Yield the type, shape and order of the array in an .npy file.

    Raises:
        HeaderEnds: It is broken.
    """
    size, start = _lengths(file.read(12))
    file.seek(start)
    array = _array(file.read(size))
    yield from array.said(())
    if array.size is not None and file.position + array.size > file.size:
        raise HeaderEnds("broken")


def _lengths(head: bytes) -> tuple[int, int]:
    """Return how many bytes an array's header has, and where it begins."""
    if head[:6] != MAGIC or head[6] not in (1, 2, 3):
        raise HeaderEnds("broken")
    size, start = (unpack_from("<H", head, 8)[0], 10)
    if head[6] > 1:
        size, start = unpack_from("<I", head, 8)[0], 12
    if size > MOST_HEADER:
        raise HeaderEnds("too_large")
    return size, start


def _array(header: bytes) -> _Array:
    text = header.decode("utf-8", "replace")
    rest = _STRING.sub("", text)
    if not _REST(rest) or sum(map(rest.count, "([{")) > _MOST_BRACKETS:
        raise HeaderEnds("broken")
    try:
        said = ast.literal_eval(text.strip())
        descr, order, shape = said["descr"], said["fortran_order"], said["shape"]
    except (ValueError, SyntaxError, TypeError, LookupError, RecursionError, MemoryError) as error:
        raise HeaderEnds("broken") from error
    if not isinstance(shape, tuple) or len(shape) > 64 or not all(type(n) is int for n in shape):
        raise HeaderEnds("broken")
    dtype, item = _type(descr)
    fields = tuple(_fields(descr)) if isinstance(descr, list) else ()
    size = None if item is None else item * prod(shape)
    return _Array(dtype, shape, "Fortran" if order is True else "C", fields, size)


def _fields(descr: list[Any]) -> Iterator[tuple[str, str]]:
    for field in descr[:MOST_FIELDS]:
        if not isinstance(field, tuple) or not 2 <= len(field) <= 3:
            raise HeaderEnds("broken")
        name = field[0][-1] if isinstance(field[0], tuple) and field[0] else field[0]
        dtype, _ = _type(field[1])
        shape = f"{list(field[2])}" if len(field) == 3 and isinstance(field[2], tuple) else ""
        yield str(name), dtype + shape


def _type(descr: Any) -> tuple[str, int | None]:
    """Return numpy's name of a type, and the bytes of a value, if known."""
    if isinstance(descr, list):
        return "structured", None
    match = _DTYPE(descr) if isinstance(descr, str) else None
    if match is None:
        raise HeaderEnds("broken")
    byte_order, kind, digits, unit = match.groups()
    size = int(digits or 0)
    other = " (big-endian)" if byte_order == ">" and kind != "S" else ""
    if kind == "O":
        return "object", None  # a pickle, which is never read
    if kind == "?" or (kind == "b" and byte_order == "|"):
        return "bool", 1
    if kind in _TIMES:
        return f"{_TIMES[kind]}{unit or ''}{other}", size
    if kind in _TEXTS:
        return f"{_TEXTS[kind]}{size}{other}", size * (4 if kind == "U" else 1)
    return f"{_KINDS[kind]}{8 * size}{other}", size


_END, _END_64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_MEMBER, _LOCAL = b"PK\x01\x02", b"PK\x03\x04"
_MOST_COMMENT = 1 << 16
_STORED, _DEFLATED = 0, 8
_UNKNOWN = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    method: int
    at: int
    stored: int


def read_npz(file: Header) -> Iterator[Found]:
    """Yield the number of arrays in an .npz file, then the type, shape and order of each.

    Raises:
        HeaderEnds: It is broken, or has too many.
    """
    members = [each for each in _members(file) if each.name.endswith(".npy")]
    yield ("arrays",), len(members)
    for member in members:
        array = _member_array(file, member)
        name = tuple(member.name.removesuffix(".npy").split("."))
        if isinstance(array, Left):
            yield name, array
        else:
            yield from array.said(name)


def _members(file: Header) -> Iterator[_Member]:
    count, size, start = _directory(file)
    if count > MOST_ARRAYS:
        raise HeaderEnds("too_many")
    if start + size > file.size:
        raise HeaderEnds("broken")
    file.seek(start)
    for _ in range(count):
        head = file.read(46)
        if head[:4] != _MEMBER:
            raise HeaderEnds("broken")
        method, stored, full = *unpack_from("<H", head, 10), *unpack_from("<II", head, 20)
        name, extra, comment = unpack_from("<HHH", head, 28)
        (at,) = unpack_from("<I", head, 42)
        spelt = file.text(name)
        if isinstance(spelt, Left):
            raise HeaderEnds("broken")
        larger = _larger(file.read(extra))
        _ = next(larger, 0) if full == _UNKNOWN else 0
        stored = next(larger, 0) if stored == _UNKNOWN else stored
        at = next(larger, 0) if at == _UNKNOWN else at
        file.skip(comment)
        yield _Member(spelt, method, at, stored)


def _larger(extra: bytes) -> Iterator[int]:
    """Yield the numbers of more than 32 bits, behind which a member's own ones stand."""
    at = 0
    while at + 4 <= len(extra):
        mark, size = unpack_from("<HH", extra, at)
        if mark == 1:
            for place in range(at + 4, min(at + 4 + size, len(extra)) - 7, 8):
                yield unpack_from("<Q", extra, place)[0]
            return
        at += 4 + size


def _directory(file: Header) -> tuple[int, int, int]:
    """Return how many members an archive has, and where their list is: its size and start."""
    near = min(file.size, 22 + _MOST_COMMENT)
    file.seek(file.size - near)
    tail = file.read(near)
    at = tail.rfind(_END)
    if at < 0 or at + 22 > len(tail):
        raise HeaderEnds("broken")
    count, size, start = unpack_from("<HII", tail, at + 10)
    locator = tail[at - 20 : at] if at >= 20 else b""
    if locator[:4] == _LOCATOR:
        file.seek(unpack_from("<Q", locator, 8)[0])
        head = file.read(56)
        if head[:4] != _END_64:
            raise HeaderEnds("broken")
        count, size, start = unpack_from("<QQQ", head, 32)
    return count, size, start


def _member_array(file: Header, member: _Member) -> _Array | Left:
    file.seek(member.at)
    head = file.read(30)
    if head[:4] != _LOCAL:
        raise HeaderEnds("broken")
    (flags,) = unpack_from("<H", head, 6)
    if flags & 1 or member.method not in (_STORED, _DEFLATED):
        return Left("binary")
    name, extra = unpack_from("<HH", head, 26)
    file.skip(name + extra)
    most = 12 + MOST_HEADER
    data = file.read(min(most, member.stored, file.size - file.position))
    if member.method == _DEFLATED:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, most)
        except zlib.error:
            return Left("broken")
    try:
        if len(data) < 12:
            return Left("broken")
        size, start = _lengths(data)
        return _array(data[start : start + size])
    except HeaderEnds as error:
        return Left(error.reason)
