"""Documents: small YAML, JSON and TOML files, read as values under dotted keys.

What a file says may be anything, also hostile: it is read by safe loaders within limits of size,
depth and number. One that can't be read so is simply no document.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from datetime import date, time
from typing import Any, Literal

from ama.errors import InvalidInput, shown

Plain = str | int | float | bool | None
Value = Plain | tuple[Plain, ...]
"""What stands under a key: a scalar, or a list of scalars, such as a metric's history."""

Syntax = Literal["yaml", "json", "toml"]

MAX_SIZE = 256 * 1024
"""A larger file, in bytes, is no document."""

MAX_DEPTH = 32
MAX_VALUES = 2_000
MAX_ALIASES = 100
_MAX_NODES = 100_000
_MAX_BITS = 1024
"""An integer of more bits is no number that anything compares, and is kept as a text."""

_FORMATS: Mapping[str, Syntax] = {
    ".yml": "yaml",
    ".yaml": "yaml",
    ".json": "json",
    ".toml": "toml",
}
_BARE = re.compile(r"[^\s.\"'=<>!:,~\x00-\x1f]+").fullmatch
_SEGMENT = re.compile(r"\"(?:[^\"\\]|\\.)*\"|[^.\"]+")
# YAML 1.1 wants a dot in a number with an exponent, and people who write 1e-3 don't know.
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+\Z")
# Keys of so many parts, and numbers of so many digits, take the parsers time that is quadratic.
_LONG_KEY = re.compile(
    r"(?<![\w-])(?:(?>[\w-]+|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*')[ \t]*+\.[ \t]*+)"
    rf"{{{MAX_DEPTH + 1}}}"
).search
_LONG_NUMBER = re.compile(r"[-+0-9a-fA-FoxX_:.]{1000,}").fullmatch


class NotADocument(Exception):
    """A file can't be read as values."""


def syntax_of(name: str) -> Syntax | None:
    """Return how a file of that name is read as a document; None: it isn't.

    Example:
        >>> syntax_of("configs/training.yml"), syntax_of("model.h5")
        ('yaml', None)
    """
    return _FORMATS.get(posixpath.splitext(name)[1].lower())


def read_document(data: bytes, syntax: Syntax) -> dict[str, Value]:
    """Return the values of a document, by their dotted keys, in the order of the file.

    Args:
        data: the file's bytes.
        syntax: how they are to be read.

    Returns:
        The values. A part of a key with a dot or a blank in it is quoted, as in `"v 1.0".loss`; in
        a list of tables their places, from 0, are parts of keys.

    Raises:
        NotADocument: it is broken, too large, too deep, or holds something else than values under
            keys.

    Example:
        >>> read_document(b"parameters: {learning_rate: 1e-3, layers: [64, 10]}", "yaml")
        {'parameters.learning_rate': 0.001, 'parameters.layers': (64, 10)}
    """
    if len(data) > MAX_SIZE:
        raise NotADocument(f"larger than {MAX_SIZE} bytes")
    try:
        loaded = _load(data.decode("utf-8-sig"), syntax)
        if not isinstance(loaded, dict | list):
            raise NotADocument("no values under keys")
        found: dict[str, Value] = {}
        for key, value in _flat(loaded, "", 0):
            found[key] = value
            if len(found) > MAX_VALUES:
                raise NotADocument(f"more than {MAX_VALUES} values")
    except (ValueError, TypeError, RecursionError, OverflowError, KeyError, IndexError) as error:
        raise NotADocument(f"broken: {type(error).__name__}") from error
    found.pop("", None)
    return found


def split_key(key: str) -> tuple[str, ...]:
    """Return the parts of a dotted key.

    Raises:
        InvalidInput: it has an empty part, or a quote that isn't closed.

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
        except ValueError:  # no escape that there is, or of half a character
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
    """Return the key of metadata: its name, in which a dot parts, and anything else may be.

    Example:
        >>> metadata_key("git.commit"), metadata_key("my loss"), metadata_key("a..b")
        ('git.commit', '"my loss"', 'a."".b')
    """
    return join_key(tuple(name.split(".")))


def _quoted(part: str) -> str:
    return part if _BARE(part) else json.dumps(part, ensure_ascii=False)


def _load(text: str, syntax: Syntax) -> Any:
    if syntax == "json":
        return json.loads(text)
    if syntax == "toml":
        import tomllib

        if _LONG_KEY(text):
            raise NotADocument("too deep")
        return tomllib.loads(text)
    return _load_yaml(text)


def _load_yaml(text: str) -> Any:
    import yaml

    fast: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = type("Loader", (fast,), {})  # its own, as resolvers are noted in the class
    loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
    try:
        _check_shape(yaml.parse(text, Loader=loader))
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        raise NotADocument("broken YAML") from error


def _check_shape(events: Iterator[Any]) -> None:
    """Refuse what would take long to build or to walk through, before anything is built.

    What counts is its size with every alias written out: those of those multiply.
    """
    import yaml

    sizes: dict[str, int] = {}
    inside: list[str | None] = [None]
    counts = [0]
    aliases = 0
    for number, event in enumerate(events):
        if isinstance(event, yaml.CollectionStartEvent):
            inside.append(event.anchor)
            counts.append(1)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, count = inside.pop(), counts.pop()
            counts[-1] += count
            if anchor is not None:
                sizes[anchor] = count
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
            if event.anchor in inside:
                raise NotADocument("a value inside itself")
            counts[-1] += sizes.get(event.anchor or "", 1)
        elif isinstance(event, yaml.ScalarEvent):
            counts[-1] += 1
            if (event.implicit[0] or event.tag) and _LONG_NUMBER(event.value):
                raise NotADocument("a number of too many digits")
        too_large = max(number, counts[-1]) > _MAX_NODES
        if too_large or len(counts) - 1 > MAX_DEPTH or aliases > MAX_ALIASES:
            raise NotADocument("too deep, or too large")


def _flat(value: Any, key: str, depth: int) -> Iterator[tuple[str, Value]]:
    if depth > MAX_DEPTH:
        raise NotADocument("too deep")
    before = f"{key}." if key else ""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _flat(item, before + _quoted(_text(name)), depth + 1)
    elif isinstance(value, list | tuple | set):
        items = list(value)
        if any(isinstance(item, dict | list | tuple | set) for item in items):
            for number, item in enumerate(items):
                yield from _flat(item, f"{before}{number}", depth + 1)
        else:
            yield key, tuple(_plain(item) for item in items)
    else:
        yield key, _plain(value)


def _text(name: Any) -> str:
    if isinstance(name, bool):
        return str(name).lower()
    return str(_plain(name))


def _plain(value: Any) -> Plain:
    if isinstance(value, str):
        value.encode()  # JSON can hold what no UTF-8 can, which is a ValueError
        return value
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return hex(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, date | time):
        return value.isoformat()
    raise NotADocument(f"a {type(value).__name__} in it")
