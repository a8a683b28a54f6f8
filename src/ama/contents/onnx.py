"""ONNX files: what a model says of itself, its inputs and outputs. No weight is read.

onnx.proto of the ONNX project has the numbers of the fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ama.contents.headers import MOST_TEXT, Found, Header, HeaderEnds, Left, Plain
from ama.contents.protobuf import BYTES, NUMBER, Field, fields, signed
from ama.contents.scalars import scalar_of

MOST_PAIRS = 1_000
"""The most pairs of metadata."""

MOST_NAMED = 300
"""The most inputs, outputs or external files to name; of more, only how many there are."""

_MOST_TENSORS = 100_000
_MOST_DIMENSIONS = 64
_MOST_LEVELS = 8
_SMALL = 4 * 1024
"""A tensor of so few bytes is read to its end: it may say which file has its values."""

# Of a model
_VERSION, _GRAPH, _OPSET, _METADATA = (1, NUMBER), (7, BYTES), (8, BYTES), (14, BYTES)
_MODEL_VERSION: Field = (5, NUMBER)
_TEXTS: Mapping[Field, str] = {
    (2, BYTES): "producer_name",
    (3, BYTES): "producer_version",
    (4, BYTES): "domain",
    (6, BYTES): "doc_string",
}
# Of a graph
_NODE, _TITLE, _INITIALIZER = (1, BYTES), (2, BYTES), (5, BYTES)
_ENDS: Mapping[Field, str] = {(11, BYTES): "inputs", (12, BYTES): "outputs"}
# Of a tensor
_NAME, _EXTERNAL, _LOCATION = (8, BYTES), (13, BYTES), (14, NUMBER)
_OUTSIDE = 1

_TYPES = (
    "unknown float32 uint8 int8 uint16 int16 int32 int64 text bool float16 float64 uint32 uint64"
    " complex64 complex128 bfloat16 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz"
    " uint4 int4 float4_e2m1 float8_e8m0 uint2 int2"
).split()
_WRAPPERS: Mapping[Field, str] = {(4, BYTES): "sequence", (9, BYTES): "optional"}
_TENSORS: Mapping[Field, str] = {(1, BYTES): "", (8, BYTES): "sparse "}
_MAP: Field = (5, BYTES)

Shape = list[Plain]


def read_onnx(file: Header) -> Iterator[Found]:
    """Yield what a model says of itself, then its graph, with the inputs and outputs.

    Raises:
        HeaderEnds: It is broken, or too large.
    """
    found: list[Found] = []
    graphs: list[tuple[int, int]] = []
    is_model = False
    for part, value in fields(file, file.size):
        if part == _VERSION:
            is_model = True
            found.append((("ir_version",), signed(value)))
        elif part == _MODEL_VERSION:
            found.append((("model_version",), signed(value)))
        elif part in _TEXTS and value:
            found.append(((_TEXTS[part],), file.text(value)))
        elif part == _OPSET:
            found.append(_opset(file, value))
        elif part == _METADATA:
            key, text = _pair(file, value)
            scalar = scalar_of(text) if isinstance(text, str) else text
            found.append((("metadata", *key.split(".")), scalar))
        elif part == _GRAPH:
            graphs.append((file.position, value))
        if len(found) > MOST_PAIRS or len(graphs) > 1:
            raise HeaderEnds("too_many")
    if not is_model:  # many files are a message of some kind
        raise HeaderEnds("broken")
    yield from found
    for start, size in graphs:
        file.seek(start)
        yield from _said(_graph(file, size))


def _opset(file: Header, size: int) -> Found:
    domain, version = "", 0
    for part, value in fields(file, size):
        if part == (1, BYTES):
            domain = _name(file, value)
        elif part == (2, NUMBER):
            version = signed(value)
    return ("opset", *(domain or "ai.onnx").split(".")), version


def _pair(file: Header, size: int) -> tuple[str, str | Left]:
    key = ""
    text: str | Left = ""
    for part, value in fields(file, size):
        if part == (1, BYTES):
            key = _name(file, value)
        elif part == (2, BYTES):
            text = file.text(value)
    return key, text


def _name(file: Header, size: int) -> str:
    found = file.text(size)
    if isinstance(found, Left):
        raise HeaderEnds("broken")
    return found


@dataclass(slots=True)
class _Graph:
    """What was found of a graph."""

    name: str = ""
    nodes: int = 0
    tensors: int = 0
    names: set[str] = field(default_factory=set)
    outside: dict[str, None] = field(default_factory=dict)
    ends: list[tuple[str, str, str, Shape | None]] = field(default_factory=list)


def _graph(file: Header, size: int) -> _Graph:
    graph = _Graph()
    for part, value in fields(file, size):
        if part == _NODE:
            graph.nodes += 1
        elif part == _INITIALIZER:
            graph.tensors += 1
            name, place = _tensor(file, value)
            graph.names.add(name)
            if place is not None:
                graph.outside[place] = None
            if graph.tensors > _MOST_TENSORS:
                raise HeaderEnds("too_many")
        elif part in _ENDS:
            graph.ends.append((_ENDS[part], *_value(file, value)))
        elif part == _TITLE:
            graph.name = _name(file, value)
    return graph


def _said(graph: _Graph) -> Iterator[Found]:
    if graph.name:
        yield ("graph", "name"), graph.name
    yield ("graph", "nodes"), graph.nodes
    yield ("graph", "initializers"), graph.tensors
    if len(graph.outside) > MOST_NAMED:
        yield ("external_data", "length"), len(graph.outside)
    elif graph.outside:
        yield ("external_data",), list(graph.outside)
    for side in _ENDS.values():
        # Before version 4, each initializer was an input as well.
        ends = [each for each in graph.ends if each[0] == side and each[1] not in graph.names]
        if len(ends) > MOST_NAMED:
            yield (side, "length"), len(ends)
            continue
        for _, name, kind, shape in ends:
            yield (side, name, "type"), kind
            if shape is not None:
                yield (side, name, "shape"), shape


def _tensor(file: Header, size: int) -> tuple[str, str | None]:
    """Return the name of a tensor, and which file has its values; None: this one."""
    name, place, is_outside = "", None, False
    for part, value in fields(file, size):
        if part == _NAME:
            name = _name(file, value)
        elif part == _EXTERNAL:
            key, text = _pair(file, value)
            place = text if key == "location" and isinstance(text, str) else place
        elif part == _LOCATION:
            is_outside = value == _OUTSIDE
        # Its name comes before its values; or else they are not gone through for it.
        if size > _SMALL and (part == _NAME or value > MOST_TEXT):
            break
    return name, place if is_outside else None


def _value(file: Header, size: int) -> tuple[str, str, Shape | None]:
    """Return the name, type and shape of an input or output."""
    name, kind = "", "unknown"
    shape: Shape | None = None
    for part, value in fields(file, size):
        if part == (1, BYTES):
            name = _name(file, value)
        elif part == (2, BYTES):
            kind, shape = _type(file, value, 0)
    return name, kind, shape


def _type(file: Header, size: int, level: int) -> tuple[str, Shape | None]:
    if level > _MOST_LEVELS:
        raise HeaderEnds("too_deep")
    kind = "unknown"
    shape: Shape | None = None
    for part, value in fields(file, size):
        if part in _TENSORS:
            element, shape = _tensor_type(file, value)
            kind = _TENSORS[part] + element
        elif part in _WRAPPERS:
            inner, _ = _inner(file, value, level)
            kind, shape = f"{_WRAPPERS[part]} of {inner}", None
        elif part == _MAP:
            inner, key = _inner(file, value, level)
            kind, shape = f"map of {key} to {inner}", None
    return kind, shape


def _inner(file: Header, size: int, level: int) -> tuple[str, str]:
    """Return the type inside another one, and of a map the type of its keys."""
    kind = key = "unknown"
    for part, value in fields(file, size):
        if part[1] == BYTES:
            kind, _ = _type(file, value, level + 1)
        elif part == (1, NUMBER):
            key = _element(value)
    return kind, key


def _tensor_type(file: Header, size: int) -> tuple[str, Shape | None]:
    kind = "unknown"
    shape: Shape | None = None
    for part, value in fields(file, size):
        if part == (1, NUMBER):
            kind = _element(value)
        elif part == (2, BYTES):
            shape = [
                _dimension(file, length)
                for inner, length in fields(file, value)
                if inner == (1, BYTES)
            ]
            if len(shape) > _MOST_DIMENSIONS:
                raise HeaderEnds("too_many")
    return kind, shape


def _element(number: int) -> str:
    return _TYPES[number] if number < len(_TYPES) else "unknown"


def _dimension(file: Header, size: int) -> Plain:
    """Return the length of a dimension, its name if it varies, or else `?`."""
    found: Plain = "?"
    for part, value in fields(file, size):
        if part == (1, NUMBER):
            found = signed(value)
        elif part == (2, BYTES):
            found = _name(file, value) or "?"
    return found
