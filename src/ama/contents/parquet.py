"""Parquet files by their footers: the columns and their types, and how many rows there are.

parquet.thrift of the Parquet project has the numbers of the fields.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ama.contents.headers import WINDOW, Found, Header, HeaderEnds
from ama.contents.scalars import scalar_of
from ama.contents.thrift import BYTE, BYTES, INTEGERS, LIST, STRUCT, TRUE, Thrift

MOST_COLUMNS = 1_000
"""The most columns to name; of more, only how many there are."""

MOST_PAIRS = 200
_MOST_LEVELS = 28
_MOST_ELEMENTS = 100_000
_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"

_LEFT_OUT = ("ARROW:schema", "pandas")
"""What libraries write for themselves: the schema again, in other words."""

_PLAIN = "bool int32 int64 int96 float32 float64 bytes bytes".split()
_FIXED = 7
_REPEATED = 2
# By `ConvertedType`, which older writers know only.
_CONVERTED = dict(
    enumerate(
        "text map map list enum decimal date time[ms] time[us] timestamp[ms] timestamp[us] uint8"
        " uint16 uint32 uint64 int8 int16 int32 int64 json bson interval".split()
    )
)
_NAMES = "text map list enum - date - - - - null json bson uuid float16 variant geometry geography"
_LOGICAL: Mapping[int, str] = dict(enumerate(_NAMES.split(), 1))
_DECIMAL, _TIME, _TIMESTAMP, _INTEGER = 5, 7, 8, 10
_UNITS = {1: "ms", 2: "us", 3: "ns"}


def read_parquet(file: Header) -> Iterator[Found]:
    """Yield the number of rows, the type of each column, and the metadata.

    Raises:
        HeaderEnds: It is broken, encrypted, or too large.
    """
    near = min(file.size, WINDOW)
    file.seek(file.size - near)
    tail = file.read(near)
    if tail[-4:] == _ENCRYPTED:
        raise HeaderEnds("binary")
    if len(tail) < 12 or tail[-4:] != _MAGIC:
        raise HeaderEnds("broken")
    file.seek(file.size - 8 - struct.unpack("<I", tail[-8:-4])[0])
    yield from _footer(Thrift(file))


def _footer(values: Thrift) -> Iterator[Found]:
    columns: list[tuple[tuple[str, ...], str]] = []
    for number, kind in values.fields():
        if (number, kind) == (2, LIST):
            columns = list(_columns(_elements(values)))
        elif number == 3 and kind in INTEGERS:
            yield ("rows",), values.integer()
            if len(columns) > MOST_COLUMNS:
                yield ("columns", "length"), len(columns)
            else:
                yield from ((("columns", *path), name) for path, name in columns)
        elif (number, kind) == (4, LIST):
            inner, groups = values.elements()
            yield ("row_groups",), groups
            values.skip_elements(groups, inner)
        elif (number, kind) == (5, LIST):
            yield from _pairs(values)
        elif (number, kind) == (6, BYTES):
            yield ("created_by",), values.text()
        else:
            values.skip(kind)


def _pairs(values: Thrift) -> Iterator[Found]:
    kind, size = values.elements()
    if kind != STRUCT or size > MOST_PAIRS:
        raise HeaderEnds("too_many" if size > MOST_PAIRS else "broken")
    for _ in range(size):
        key = text = None
        for number, inner in values.fields():
            if (number, inner) == (1, BYTES):
                key = values.text()
            elif (number, inner) == (2, BYTES):
                text = values.text(0 if key in _LEFT_OUT else None)
            else:
                values.skip(inner)
        if isinstance(key, str) and text is not None and key not in _LEFT_OUT:
            found = scalar_of(text) if isinstance(text, str) else text
            yield ("metadata", *key.split(".")), found


# The schema


@dataclass(frozen=True, slots=True)
class _Element:
    """A node of the schema: a column, or a group of so many others."""

    name: str
    type: str
    children: int | None


def _elements(values: Thrift) -> Iterator[_Element]:
    kind, size = values.elements()
    if kind != STRUCT or size > _MOST_ELEMENTS:
        raise HeaderEnds("too_many" if size > _MOST_ELEMENTS else "broken")
    for _ in range(size):
        yield _element(values)


def _element(values: Thrift) -> _Element:
    numbers: dict[int, int] = {}
    name, logical = "", ""
    for number, kind in values.fields():
        if kind in INTEGERS:
            numbers[number] = values.integer()
        elif (number, kind) == (4, BYTES):
            text = values.text()
            if not isinstance(text, str):
                raise HeaderEnds("broken")
            name = text
        elif (number, kind) == (10, STRUCT):
            logical = _logical(values)
        else:
            values.skip(kind)
    children = numbers.get(5)
    is_group = children is not None and 1 not in numbers
    found = logical or _converted(numbers)
    if numbers.get(3) == _REPEATED:
        found = f"list of {found}"
    return _Element(name, found, children if is_group else None)


def _converted(numbers: Mapping[int, int]) -> str:
    """Return a type without a logical one, by the numbers of a schema's element."""
    plain = numbers.get(1, -1)
    found = _CONVERTED.get(numbers.get(6, -1))
    if found == "decimal":
        return f"decimal({numbers.get(8, 0)}, {numbers.get(7, 0)})"
    if found is None and plain == _FIXED:
        return f"bytes{numbers.get(2, 0)}"
    if found is None:
        return _PLAIN[plain] if 0 <= plain < len(_PLAIN) else "unknown"
    return found


def _logical(values: Thrift) -> str:
    """Return the name of a logical type; empty if it has none here."""
    found = ""
    for number, kind in values.fields():
        if kind != STRUCT:
            values.skip(kind)
            continue
        facts = _facts(values)
        if number == _DECIMAL:
            found = f"decimal({facts.get(2, 0)}, {facts.get(1, 0)})"
        elif number in (_TIME, _TIMESTAMP):
            name = "time" if number == _TIME else "timestamp"
            zone = ", UTC" if facts.get(1) and number == _TIMESTAMP else ""
            found = f"{name}[{_UNITS.get(facts.get(2, 0), '?')}{zone}]"
        elif number == _INTEGER:
            found = f"{'int' if facts.get(2) else 'uint'}{facts.get(1, 0)}"
        else:
            found = _LOGICAL.get(number, "")
    return found


def _facts(values: Thrift) -> dict[int, int]:
    """Return the numbers and booleans of a struct, and of a union in it which one it is."""
    found: dict[int, int] = {}
    for number, kind in values.fields():
        if kind in INTEGERS:
            found[number] = values.integer()
        elif kind == BYTE:
            found[number] = values.byte()
        elif kind == STRUCT:
            for inner, its_kind in values.fields():
                found[number] = inner
                values.skip(its_kind)
        else:
            found[number] = int(kind == TRUE)
            values.skip(kind)
    return found


def _columns(elements: Iterator[_Element]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the columns, by their paths, of a tree whose groups stand before what is in them."""
    top = next(elements, None)
    if top is None:
        raise HeaderEnds("broken")
    left = [top.children or 0]
    path: list[str] = []
    for each in elements:
        while left and left[-1] == 0:
            left.pop()
            if path:
                path.pop()
        if not left:
            raise HeaderEnds("broken")
        left[-1] -= 1
        if each.children is None:
            yield (*path, each.name), each.type
        elif len(left) > _MOST_LEVELS:
            raise HeaderEnds("too_deep")
        else:
            left.append(each.children)
            path.append(each.name)
    if any(left):
        raise HeaderEnds("broken")
