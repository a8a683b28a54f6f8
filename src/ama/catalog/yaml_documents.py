"""YAML, read into nodes from its parser's events: tags execute nothing.

Hyperparameters are often dumped from Python objects. Under a foreign tag, a sequence, a mapping or
a scalar counts as a plain one; only what can't be a value is missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ama.catalog.unread import MAX_DEPTH, MAX_NODES, Missing, Node, Plain, Reason, Repeated, put

MOST_KEY = 200
"""The most characters of a key that is no scalar."""

_YAML = "tag:yaml.org,2002:"
_STR, _MERGE = f"{_YAML}str", f"{_YAML}merge"
_PYTHON = f"{_YAML}python/"
_CALLS = (f"{_PYTHON}object/apply:", f"{_PYTHON}object/new:")
_NAMES = (f"{_PYTHON}name:", f"{_PYTHON}module:")
_BYTES = frozenset((f"{_YAML}binary", f"{_PYTHON}bytes"))
_SETS = frozenset((f"{_YAML}set", f"{_PYTHON}set", f"{_PYTHON}frozenset"))
_ORDERED = frozenset((f"{_YAML}omap", f"{_YAML}pairs"))
_OF_PYTHON = {
    f"{_PYTHON}{name}": f"{_YAML}{tag}"
    for name, tag in (
        ("str", "str"), ("unicode", "str"), ("complex", "str"), ("none", "null"),
        ("int", "int"), ("long", "int"), ("float", "float"), ("bool", "bool"),
    )
}  # fmt: skip
_SCALARS = frozenset(
    f"{_YAML}{name}" for name in ("str", "int", "float", "bool", "null", "timestamp")
)
_PATHS = re.compile(r"pathlib(?:\._local)?\.(?:Pure)?(?:Posix|Windows)?Path").fullmatch

# YAML 1.1 wants a dot in a number with an exponent, and people write 1e-3.
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+\Z")
_LONG = 1000
"""The longest scalar that may be a number: parsing takes quadratic time."""

_MAX_BITS = 1024
_TOO_DEEP = 4 * MAX_DEPTH
"""The most nodes below the deepest level to skip; beyond that, reading ends."""

_HALVES = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}|\\u[dD][c-fC-F][0-9a-fA-F]{2}").search
_BROKEN = (ValueError, TypeError, OverflowError, RecursionError, LookupError, AttributeError)
_NO_KEY: Any = object()
_MERGED: Any = object()


def read_yaml(text: str) -> tuple[list[Node], Reason | None]:
    r"""Return the documents in a text, and why it wasn't read to its end.

    Args:
        text: YAML.

    Returns:
        The nodes of its documents; and None, or why there are no more.

    Example:
        >>> read_yaml("betas: !!python/tuple [0.9, 0.99]\nday: 2021-02-30")
        ([{'betas': [0.9, 0.99], 'day': '2021-02-30'}], None)
    """
    import yaml

    # The parser in C refuses escaped halves of characters, which JSON writes in pairs.
    builder = _Builder(_loader_class(pure=bool(_HALVES(text)))(text))
    try:
        ended = builder.build()
    except (yaml.YAMLError, *_BROKEN):
        ended = "broken"
    finally:
        builder.loader.dispose()
    return builder.documents(ended or "broken"), ended


@cache
def _loader_class(*, pure: bool) -> Any:
    import yaml

    base: Any = yaml.SafeLoader if pure else getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = type("Loader", (base,), {})  # its own, because the class holds the resolvers
    loader.add_implicit_resolver(f"{_YAML}float", _FLOAT, list("-+.0123456789"))
    return loader


@dataclass(slots=True)
class _Open:
    """A collection that hasn't ended yet; `size` counts its nodes."""

    is_table: bool
    tag: str | None = None
    anchor: str | None = None
    items: list[Node] = field(default_factory=list)
    table: dict[str, Node] = field(default_factory=dict)
    merged: dict[str, Node] = field(default_factory=dict)
    key: Node = _NO_KEY
    size: int = 1

    def add(self, node: Node) -> None:
        """Add the next node."""
        if not self.is_table:
            self.items.append(node)
        elif self.key is _NO_KEY:
            self.key = node
        else:
            key, self.key = self.key, _NO_KEY
            if key is _MERGED and self._merge(node):
                return
            name = "<<" if key is _MERGED else key_text(key)
            put(self.table, name, node)
            if self.tag in _SETS:
                self.items.append("<<" if key is _MERGED else key)

    def _merge(self, node: Node) -> bool:
        tables = node if isinstance(node, list) else [node]
        if not all(isinstance(table, dict) for table in tables):
            return False
        for table in tables:
            for name, value in table.items():
                self.merged.setdefault(name, value)
        return True


class _Builder:
    """A builder of nodes from events.

    The target of an alias is one node in several places. It counts at each, so that a walk through
    the nodes never meets more than the limit.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self._resolvers: dict[str, list[tuple[str, Any]]] = loader.yaml_implicit_resolvers
        self._open = [_Open(False)]
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._copied = 0
        self._below = 0

    def build(self) -> Reason | None:
        """Read all events; return why not, if there are more."""
        import yaml

        take = {
            yaml.ScalarEvent: self._scalar,
            yaml.SequenceStartEvent: self._start_list,
            yaml.MappingStartEvent: self._start_table,
            yaml.SequenceEndEvent: self._end,
            yaml.MappingEndEvent: self._end,
            yaml.AliasEvent: self._alias,
            yaml.DocumentEndEvent: self._end_document,
        }
        get = self.loader.get_event
        while (event := get()) is not None:
            took = take.get(type(event))
            if took is not None:
                took(event)
            if self._below > _TOO_DEEP:
                return "too_deep"
        return None

    def documents(self, ended: Reason) -> list[Node]:
        """Return the documents read; of an incomplete one, the complete part, with that reason."""
        while len(self._open) > 1:
            broken = self._open.pop()
            node: Node = {**broken.merged, **broken.table}
            if not broken.is_table:  # a part of a history would mislead
                inner = any(isinstance(item, dict | list) for item in broken.items)
                node = broken.items if inner else Missing(ended)
            above = self._open[-1]
            if not above.is_table or above.key is not _NO_KEY:
                above.add(node)
        return self._open[0].items

    def _end_document(self, _: Any) -> None:
        self._anchors.clear()

    def _start_list(self, event: Any) -> None:
        self._start(event, is_table=False)

    def _start_table(self, event: Any) -> None:
        self._start(event, is_table=True)

    def _start(self, event: Any, *, is_table: bool) -> None:
        if self._below or len(self._open) > MAX_DEPTH:
            self._below += 1
            return
        if event.anchor is not None:
            self._anchors[event.anchor] = Missing("cyclic"), 1
        self._open.append(_Open(is_table, event.tag, event.anchor))

    def _end(self, _: Any) -> None:
        if self._below:
            self._below -= 1
            if not self._below:
                self._open[-1].add(Missing("too_deep"))
            return
        done = self._open.pop()
        node = _tagged(done)
        if done.anchor is not None:
            self._anchors[done.anchor] = node, done.size
        self._open[-1].size += done.size
        self._open[-1].add(node)

    def _alias(self, event: Any) -> None:
        if self._below:
            return
        node, size = self._anchors.get(event.anchor, (Missing("broken"), 1))
        if self._copied + size > MAX_NODES:
            node, size = Missing("too_many"), 1
        self._copied += size
        self._open[-1].size += size
        self._open[-1].add(node)

    def _scalar(self, event: Any) -> None:
        if self._below:
            return
        above = self._open[-1]
        above.size += 1
        tag, text = event.tag, event.value
        node: Node
        if tag is None and not event.implicit[0]:
            node = _joined(text)
        elif tag is None:
            tag = self._resolve(text)
            if tag == _MERGE and above.is_table and above.key is _NO_KEY:
                node = _MERGED
            else:
                node = self._value(tag, text)
        else:
            node = self._tagged_scalar(tag, text, plain=not event.style)
        if event.anchor is not None:
            self._anchors[event.anchor] = node, 1
        is_key = above.is_table and above.key is _NO_KEY
        above.add(text.strip() if is_key and isinstance(node, Missing) else node)

    def _resolve(self, text: str) -> str:
        if len(text) < _LONG:
            for tag, fits in self._resolvers.get(text[:1], ()):
                if fits.match(text):
                    return tag
        return _STR

    def _tagged_scalar(self, tag: str, text: str, *, plain: bool) -> Node:
        tag = _OF_PYTHON.get(tag, tag)
        if tag in _BYTES:
            return Missing("binary")
        for before in _NAMES:
            if tag.startswith(before):
                return text or tag.removeprefix(before)
        if tag not in _SCALARS and tag != "!" and plain:
            tag = self._resolve(text)
        return self._value(tag, text)

    def _value(self, tag: str, text: str) -> Plain:
        """Return a scalar by its tag; with another tag it is a text."""
        if tag == _STR or len(text) >= _LONG:
            return _joined(text)
        try:
            return self._typed(tag, text)
        except _BROKEN:
            return _joined(text)

    def _typed(self, tag: str, text: str) -> Plain:
        import yaml

        kind = tag.removeprefix(_YAML)
        if kind == "null":
            return None if text in ("", "~") or text.lower() == "null" else text
        if kind == "bool":
            return bool(self.loader.bool_values[text.lower()])
        if kind not in ("int", "float", "timestamp"):
            return _joined(text)
        construct = getattr(self.loader, f"construct_yaml_{kind}")
        value = construct(yaml.ScalarNode(tag, text))
        if kind == "timestamp":
            return str(value.isoformat())
        if kind == "int" and value.bit_length() > _MAX_BITS:
            return text
        number: int | float = value
        return number


def _joined(text: str) -> str:
    """Return a text with the two escaped halves of each character joined."""
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            return text
    return text


def key_text(key: Node) -> str:
    """Return the printed name of a key.

    Example:
        >>> key_text(True), key_text(0.5), key_text(["a", 1])
        ('true', '0.5', '(a, 1)')
    """
    if isinstance(key, bool):
        return str(key).lower()
    if isinstance(key, list):
        return f"({', '.join(map(key_text, key))})"[:MOST_KEY]
    if isinstance(key, dict):
        inner = (f"{name}: {key_text(value)}" for name, value in key.items())
        return f"{{{', '.join(inner)}}}"[:MOST_KEY]
    if isinstance(key, Repeated):
        return key_text(key.node)
    return "?" if isinstance(key, Missing) else str(key)


def _tagged(done: _Open) -> Node:
    """Return a collection as its tag means it."""
    if done.tag in _SETS and done.is_table:
        return done.items
    node: Node = {**done.merged, **done.table} if done.is_table else done.items
    if done.tag in _ORDERED:
        return _ordered(node)
    for before in _CALLS:
        if done.tag is not None and done.tag.startswith(before):
            return _called(done.tag.removeprefix(before), node)
    return node


def _ordered(node: Node) -> Node:
    """Return tables of one value each as one table."""
    if not isinstance(node, list) or not all(isinstance(each, dict) for each in node):
        return node
    table: dict[str, Node] = {}
    for each in node:
        for name, value in each.items():
            put(table, name, value)
    return table


def _called(name: str, node: Node) -> Node:
    """Return the content of a Python object, under the name of its class.

    Its arguments are a list, or under a name beside its later attributes.
    """
    if name.split(".")[0] == "numpy":
        return Missing("object")
    if isinstance(node, list):
        return _made_of(name, node)
    parts = {part: value for part, value in node.items() if value not in ([], {}, None)}
    args = parts.get("args")
    if isinstance(args, list):
        parts["args"] = _made_of(name, args)
    if len(parts) == 1 and "state" not in parts:
        return next(iter(parts.values()))
    for part in ("state", "dictitems"):
        inner = parts.get(part)
        if isinstance(inner, dict):
            del parts[part]
            parts |= inner
    return parts


def _made_of(name: str, args: list[Node]) -> Node:
    if any(isinstance(each, Missing) for each in args):
        return Missing("object")
    if _PATHS(name) and args and all(isinstance(each, str) for each in args):
        return _path(args)
    if len(args) != 1:
        return args
    return _pairs(args[0]) if name.startswith("collections.") else args[0]


def _path(parts: list[str]) -> str:
    first, *rest = parts
    return f"{first}{'/'.join(rest)}" if first.endswith(("/", "\\")) else "/".join(parts)


def _pairs(node: Node) -> Node:
    """Return a list of names and values as a table."""
    if not isinstance(node, list) or not node:
        return node
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in node):
        return node
    table: dict[str, Node] = {}
    for key, value in node:
        put(table, key_text(key), value)
    return table
