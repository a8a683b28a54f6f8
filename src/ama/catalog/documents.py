"""Documents: files that are read as values under dotted keys, by their names.

A file may say anything, also something hostile: safe parsers read it within limits of size, depth
and number. What can't be read is named, and affects nothing else.
"""

from __future__ import annotations

import json
import posixpath
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time
from typing import Literal

from ama.catalog.card_documents import read_card
from ama.catalog.ini_documents import read_ini
from ama.catalog.json_documents import read_json
from ama.catalog.table_documents import read_csv, read_json_lines
from ama.catalog.toml_documents import read_toml
from ama.catalog.unread import (
    MAX_DEPTH,
    Gap,
    Keyed,
    Missing,
    Name,
    Node,
    Plain,
    Reason,
    Repeated,
    put,
)
from ama.catalog.yaml_documents import read_yaml
from ama.contents.gguf import read_gguf
from ama.contents.headers import Found, Header, HeaderEnds, Left, ReadAt
from ama.contents.numpy_files import read_npy, read_npz
from ama.contents.onnx import read_onnx
from ama.contents.parquet import read_parquet
from ama.errors import AmaError, InvalidInput, shown
from ama.stores.stored_parts import Ends

Value = Plain | tuple[Plain, ...]
"""A value under a key: a scalar, or a list of scalars, such as a metric's history."""

Syntax = Literal[
    "card", "yaml", "json", "toml", "ini", "csv", "jsonl", "npy", "npz", "gguf", "onnx", "parquet"
]

MAX_SIZE = 256 * 1024
"""The largest file to read, in bytes."""

MAX_VALUES = 2_000
"""The most values of a file: one with more is data, not parameters, and is not read."""

MOST_OF_A_FORM = 20
"""The most tables, or large files, of one form in a directory: of more, none is read."""

MAX_GAPS = 100
"""The most gaps of a document to name."""

_MAX_BITS = 1024
"""The most bits of an integer: nothing compares larger ones, and they become texts."""

_FORMATS: Mapping[str, Syntax] = {
    ".yml": "yaml",
    ".yaml": "yaml",
    ".json": "json",
    ".toml": "toml",
    ".ini": "ini",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".npy": "npy",
    ".npz": "npz",
    ".gguf": "gguf",
    ".onnx": "onnx",
    ".parquet": "parquet",
}
_CARD = "readme.md"
_ENDINGS = (*_FORMATS, _CARD)
_READERS: Mapping[Syntax, Callable[[str], tuple[list[Node], Reason | None]]] = {
    "card": read_card,
    "yaml": read_yaml,
    "json": read_json,
    "toml": read_toml,
    "ini": read_ini,
    "csv": read_csv,
    "jsonl": read_json_lines,
}


@dataclass(frozen=True, slots=True)
class HeaderForm:
    """How a header is read: by which function, which ends of the file surely, how much at most."""

    read: Callable[[Header], Iterator[Found]]
    ends: Ends
    most: int = 4 * 1024 * 1024


HEADERS: Mapping[Syntax, HeaderForm] = {
    "npy": HeaderForm(read_npy, "first"),
    "npz": HeaderForm(read_npz, "both"),
    "gguf": HeaderForm(read_gguf, "first", 16 * 1024 * 1024),
    "onnx": HeaderForm(read_onnx, "both", 16 * 1024 * 1024),
    "parquet": HeaderForm(read_parquet, "last", 16 * 1024 * 1024),
}
"""The forms of large files, of which only a header is read."""

_DATA: Sequence[Syntax] = ("csv", "jsonl", *HEADERS)
_BARE = re.compile(r"[^\s.\"'=<>!:,~\x00-\x1f]+").fullmatch
_SEGMENT = re.compile(r"\"(?:[^\"\\]|\\.)*\"|[^.\"]+")
_LOST = "\ufffd"
# Tuples, because a union is made again at each use.
_TABLE_OR_LIST = (dict, list)
_NO_SCALAR = (dict, list, Missing, Repeated)


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a file: values by their dotted keys, in its order; and the gaps."""

    values: Mapping[str, Value] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()


def syntax_of(name: str) -> Syntax | None:
    """Return how to read a file of that name as a document; None: not at all.

    Example:
        >>> syntax_of("configs/training.yml"), syntax_of("model.h5")
        ('yaml', None)
    """
    if not name.lower().endswith(_ENDINGS):
        return None  # most files
    found = _FORMATS.get(posixpath.splitext(name)[1].lower())
    is_card = found is None and posixpath.basename(name).lower() == _CARD
    return "card" if is_card else found


def documents_among(names: Iterable[str]) -> dict[str, Syntax]:
    """Return how to read the documents among the files of one directory, by their names.

    Args:
        names: The files; one may also be given by its path.

    Example:
        >>> documents_among(["run.ini", "run.txt", "log.csv"])
        {'run.ini': 'ini', 'log.csv': 'csv'}
        >>> documents_among(f"{number}.csv" for number in range(MOST_OF_A_FORM + 1))
        {}
    """
    found = {name: syntax for name in names if (syntax := syntax_of(name)) is not None}
    times = Counter(found.values())
    many = {syntax for syntax in _DATA if times[syntax] > MOST_OF_A_FORM}
    return {name: syntax for name, syntax in found.items() if syntax not in many} if many else found


def read_document(data: bytes, syntax: Syntax) -> Document:
    r"""Return the values and the gaps of a document.

    Args:
        data: The file's bytes.
        syntax: How to read them.

    Returns:
        The values. A part of a key with a dot or a blank in it is quoted, as in `"v 1.0".loss`. In
        a list of tables, their places, from 0, are parts of keys. In a file of several documents,
        the keys of those after the first have their place before them, from 1.

    Example:
        >>> read_document(b"parameters: {learning_rate: 1e-3, layers: [64, 10]}", "yaml").values
        {'parameters.learning_rate': 0.001, 'parameters.layers': (64, 10)}
        >>> read_document(b"rate: 0.1\nweights: !!binary aGVsbG8=", "yaml")
        Document(values={'rate': 0.1}, gaps=(Gap(key='weights', reason='binary'),))
    """
    if len(data) > MAX_SIZE:
        return _unread("too_large")
    text, is_sound = _decoded(data)
    try:
        nodes, ended = _READERS[syntax](text)
        return _flattened(nodes, ended, "surrogate" if is_sound else "encoding")
    except (ValueError, TypeError, OverflowError, LookupError, RecursionError):
        return _unread("broken")


def read_header(read_at: ReadAt, size: int, syntax: Syntax) -> Document:
    r"""Return the values and the gaps of a large file, of which only a header is read.

    Args:
        read_at: Returns its bytes from a place on.
        size: Its size in bytes.
        syntax: How to read it: one of `HEADERS`.

    Raises:
        AmaError: Its bytes can't be read.

    Example:
        >>> said = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"
        >>> data = b"\x93NUMPY\x01\x00" + bytes([len(said), 0]) + said + bytes(12)
        >>> read_header(lambda at, size: data[at : at + size], len(data), "npy").values
        {'dtype': 'float32', 'shape': (3,), 'order': 'C'}
    """
    form = HEADERS[syntax]
    nodes: dict[Name, Node] = {}
    ended: Reason | None = None
    room = MAX_SIZE
    try:
        for name, found in form.read(Header(read_at, size, form.most)):
            put(nodes, name, Missing(found.reason) if isinstance(found, Left) else found)
            room -= sum(map(len, name)) + (len(found) if isinstance(found, str) else 0)
            if room < 0 or len(nodes) > MAX_VALUES:
                return _unread("too_many")
        return _flattened([Keyed(nodes)], None, "surrogate")
    except HeaderEnds as end:
        ended = end.reason
    except AmaError:
        raise
    except (ValueError, TypeError, OverflowError, LookupError, RecursionError, struct.error):
        ended = "broken"
    return _flattened([Keyed(nodes)], ended, "surrogate")


def _unread(reason: Reason) -> Document:
    return Document({}, (Gap(None, reason),))


def _decoded(data: bytes) -> tuple[str, bool]:
    """Return a file's text, and whether all of it is text; the rest becomes `_LOST`."""
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding), True
    except UnicodeDecodeError:
        return data.decode(encoding, "replace"), False


def _flattened(nodes: list[Node], ended: Reason | None, half: Reason) -> Document:
    """Return the values under keys in the nodes of a file.

    Args:
        nodes: Its documents.
        ended: Why there are no more of them; None: these are all.
        half: Why a broken text is broken.
    """
    values: dict[str, Value] = {}
    gaps: dict[Gap, None] = {}
    if ended is not None:
        gaps[Gap(None, ended)] = None
    documents = [node for node in nodes if isinstance(node, dict | list | Missing | Keyed)]
    for place, node in enumerate(documents):
        for key, found in _flat(node, str(place or ""), 0, half):
            if isinstance(found, Missing):
                gaps[Gap(key or None, found.reason)] = None
                continue
            if key in values:
                gaps[Gap(key, "repeated")] = None
            values[key] = found
            if len(values) > MAX_VALUES:
                return _unread("too_many")
    values.pop("", None)
    named = tuple(gaps)
    if len(named) > MAX_GAPS:
        named = (*named[:MAX_GAPS], Gap(None, "too_many"))
    return Document(values, named)


def _flat(node: Node, key: str, depth: int, half: Reason) -> Iterator[tuple[str, Value | Missing]]:
    """Yield the values below a node, by their keys."""
    if isinstance(node, Repeated):
        yield key, Missing("repeated")
        node = node.node
    if isinstance(node, _TABLE_OR_LIST) and depth >= MAX_DEPTH:
        yield key, Missing("too_deep")
    elif isinstance(node, dict):
        before = f"{key}." if key else ""
        for name, item in node.items():
            yield from _named(item, before, name, depth, half)
    elif isinstance(node, Keyed):
        for (*above, name), item in node.nodes.items():
            before = "".join(f"{_quoted(_spelt(part))}." for part in above)
            if all(part.isascii() or _is_text(part, half) for part in above):
                yield from _named(item, before, name, len(above), half)
            else:
                yield before + _quoted(_spelt(name)), Missing(half)
    elif isinstance(node, list):
        items = [item if type(item) is float else _plain(item, half) for item in node]
        if any(isinstance(item, _NO_SCALAR) for item in items):
            before = f"{key}." if key else ""
            for number, item in enumerate(items):
                yield from _flat(item, f"{before}{number}", depth + 1, half)
        else:
            yield key, tuple(items)
    else:
        yield key, _plain(node, half)


def _named(
    node: Node, before: str, name: str, depth: int, half: Reason
) -> Iterator[tuple[str, Value | Missing]]:
    if not name.isascii() and isinstance(_plain(name, half), Missing):
        yield before + _quoted(_spelt(name)), Missing(half)
        return
    yield from _flat(node, before + _quoted(name), depth + 1, half)


def _spelt(name: str) -> str:
    return name if name.isascii() else name.encode("utf-8", "replace").decode()


def _plain(value: Node, half: Reason) -> Node:
    """Return a scalar in its kept form, and everything else unchanged."""
    if isinstance(value, str):
        return value if value.isascii() or _is_text(value, half) else Missing(half)
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return hex(value)
    return value.isoformat() if isinstance(value, date | time) else value


def _is_text(text: str, half: Reason) -> bool:
    if half == "encoding" and _LOST in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def split_key(key: str) -> tuple[str, ...]:
    """Return the parts of a dotted key.

    Raises:
        InvalidInput: It has an empty part, or a quote that isn't closed.

    Example:
        >>> split_key('metrics."v 1.0".loss')
        ('metrics', 'v 1.0', 'loss')
    """
    parts = []
    at = 0
    while True:
        match = _SEGMENT.match(key, at)
        if match is None:
            break
        text = match.group()
        try:
            part = json.loads(text) if text.startswith('"') else text.strip()
            part.encode()
        except ValueError:  # an unknown escape, or half a character
            break
        parts.append(part)
        at = match.end()
        if at == len(key):
            return tuple(parts)
        if key[at] != ".":
            break
        at += 1
    raise InvalidInput(
        f"{shown(repr(key))} is no key",
        hint="write the names with dots between, one with a dot in it in quotes: 'a.\"b.c\".d'",
    )


def join_key(parts: tuple[str, ...]) -> str:
    """Return the dotted key of these parts.

    Example:
        >>> join_key(("metrics", "v 1.0", "loss"))
        'metrics."v 1.0".loss'
    """
    return ".".join(map(_quoted, parts))


def metadata_key(name: str) -> str:
    """Return the key of metadata: its name, in which a dot separates parts.

    Example:
        >>> metadata_key("git.commit"), metadata_key("my loss"), metadata_key("a..b")
        ('git.commit', '"my loss"', 'a."".b')
    """
    return join_key(tuple(name.split(".")))


def _quoted(part: str) -> str:
    return part if _BARE(part) else json.dumps(part, ensure_ascii=False)
