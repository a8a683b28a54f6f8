"""MessagePack in one canonical form, so that equal values have equal bytes and so equal ids.

The form (docs/format.md, "Canonical MessagePack"): the shortest encoding of every integer and
length, floats always as float64 with one NaN, maps with text keys in the order of their UTF-8
bytes, text as str, ids as bin. Decoding accepts that form only: it encodes again and compares.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgpack

from ama.errors import IntegrityError
from ama.format.hashing import ID_SIZE, seal

MAX_DEPTH = 32
_PLAIN = frozenset((str, int, bytes, bool, type(None)))

# A float64 that may be a NaN: every NaN has one form, and packing a value again keeps it.
_MAYBE_NAN = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]").search


def encode(value: Any) -> bytes:
    """Return the canonical bytes of a value.

    Args:
        value: None, bool, int (64 bits), float, str, bytes, or sequences and maps of them.

    Raises:
        ValueError: An integer beyond 64 bits, nesting beyond 32, or text that isn't UTF-8.
        TypeError: A value of another type.

    Example:
        >>> encode({"b": 1, "a": 2}) == encode({"a": 2, "b": 1})
        True
    """
    try:
        packed: bytes = msgpack.packb(_ordered(value, MAX_DEPTH), use_bin_type=True)
    except OverflowError as error:
        raise ValueError(str(error)) from error
    return packed


def decode(data: bytes | memoryview, what: str) -> Any:
    """Return the value of canonical bytes; sequences come back as tuples.

    Args:
        data: The bytes.
        what: What the bytes are, for the error: "tree 3f9a2c41d0".

    Raises:
        IntegrityError: The bytes are not canonical.

    Example:
        >>> decode(encode([1, "a"]), "example")
        (1, 'a')
    """
    plain = _MAYBE_NAN(data) is None

    def note_map(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal plain
        plain = False
        return dict(pairs)

    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            use_list=False,
            object_pairs_hook=note_map,
            ext_hook=_no_extension,
            timestamp=1,  # read it as a float, whose form differs from a timestamp's
        )
        # Without maps there is no order to restore: pack a large tree again as it is.
        if plain and not _nested_too_deeply(value):
            same = msgpack.packb(value, use_bin_type=True) == data
        else:
            same = encode(value) == data
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise IntegrityError(f"{what} is damaged: not MessagePack ({error})") from error
    if not same:
        raise IntegrityError(f"{what} is damaged: not in canonical form")
    return value


def reread(data: bytes) -> Any:
    """Return the value of bytes that `decode` has accepted before.

    Raises:
        ValueError, TypeError: The bytes are others.

    Example:
        >>> reread(encode([1, "a"]))
        (1, 'a')
    """
    try:
        return msgpack.unpackb(data, use_list=False)
    except (msgpack.UnpackException, RecursionError) as error:
        raise ValueError(f"not MessagePack ({error})") from error


def _no_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"an extension of type {code}")


def _nested_too_deeply(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [item for outer in level if type(outer) is tuple for item in outer]
        if not level:
            return False
    return any(type(item) is tuple for item in level)


def _ordered(value: Any, depth: int) -> Any:
    """Return the value with its maps in key order and one form of NaN."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return math.nan if value != value else value
    if depth == 0:
        raise ValueError("nested too deeply")
    if kind is dict:
        if any(type(key) is not str for key in value):
            raise TypeError("a map's keys are text")
        keys = sorted(value, key=lambda key: key.encode("utf-8"))
        return {key: _ordered(value[key], depth - 1) for key in keys}
    if kind is tuple or kind is list:
        # A large tree consists of rows of plain values: avoid a call for each of them.
        return [item if type(item) in _PLAIN else _ordered(item, depth - 1) for item in value]
    raise TypeError(f"{kind.__name__} has no canonical form")


def encode_sealed(magic: bytes, value: Any) -> bytes:
    """Return the bytes of a small file: a magic, a value's canonical bytes, and their seal.

    Example:
        >>> decode_sealed(b"ama-root", encode_sealed(b"ama-root", [64]), "example")
        (64,)
    """
    body = magic + encode(value)
    return body + seal(body)


def decode_sealed(magic: bytes, data: bytes, what: str) -> Any:
    """Return the value of a small file's bytes.

    Args:
        magic: The bytes with which the file begins.
        data: The bytes.
        what: What the bytes are, for the error.

    Raises:
        IntegrityError: They are damaged.
    """
    body, checksum = data[:-ID_SIZE], data[-ID_SIZE:]
    if not body.startswith(magic) or seal(body) != checksum:
        raise IntegrityError(f"{what} is damaged: its checksum does not match")
    return decode(body[len(magic) :], what)


def check_id(value: Any) -> bytes:
    """Return a field that is to be an id.

    Raises:
        ValueError: It is not.
    """
    if type(value) is not bytes or len(value) != ID_SIZE:
        raise ValueError("an id is not 32 bytes")
    return value


def check_number(value: Any) -> int:
    """Return a field that is to be a number from 0 on.

    Raises:
        ValueError: It is not.
    """
    if type(value) is not int or value < 0:
        raise ValueError("an impossible number")
    return value


def check_text(value: Any) -> str:
    """Return a field that is to be a text.

    Raises:
        ValueError: It is not.
    """
    if type(value) is not str:
        raise ValueError("a text is of another type")
    return value
