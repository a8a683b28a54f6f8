"""Tables as nodes: CSV and JSON Lines, as training loops log them.

A log says the last value in each column, and the columns of numbers as histories. What has no steps
is data, and only its columns count: their names, their types, and how many rows there are.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from ama.catalog.json_documents import decoder_of
from ama.catalog.unread import MAX_DEPTH, Keyed, Missing, Name, Node, Reason, Repeated, put
from ama.catalog.words import HIGHER, LOWER, STEPS, words_of
from ama.contents.scalars import scalar_of

HISTORY: Final = "history"
"""The table of the columns of numbers."""

_METRICS = LOWER | HIGHER | STEPS | {"lr"}
_NOTHING = frozenset(("", "NA", "N/A", "null", "None"))
"""Cells without a value. Keras's CSVLogger writes NA."""

Row = Mapping[Name, Node]


def read_csv(text: str) -> tuple[list[Node], Reason | None]:
    r"""Return a table with a row of names above, and why some rows weren't read.

    Its cells stand between commas, semicolons or tabs, whichever the first line has most of. A row
    with more or fewer cells than there are names is left out.

    Example:
        >>> nodes, _ = read_csv("epoch,loss\n0,0.9\n1,0.4\n")
        >>> nodes[0].nodes[("loss",)], nodes[0].nodes[("history", "loss")]
        (0.4, [0.9, 0.4])
    """
    if "\0" in text:
        return [], "binary"
    line = text.partition("\n")[0]
    try:
        found = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(line), strict=True)
        rows = [row for row in found if row]
    except csv.Error:
        return [], "broken"  # from there on, quotes may be outside in
    if not rows:
        return [], None
    names = [cell.strip() for cell in rows[0]]
    below = rows[1:]
    if any(not isinstance(scalar_of(name), str) for name in names):  # no names, but values
        names = list(map(str, range(len(names))))
        below = rows
    columns = [tuple(name.split(".")) for name in names]
    whole = [row for row in below if len(row) == len(names)]
    facts = _facts(
        (dict(_cells(columns, row)) for row in whole),
        dict.fromkeys(columns),
        is_named=below is not rows,
    )
    for name in _twins(columns):
        for key in (name, ("columns", *name)):
            if key in facts:
                facts[key] = Repeated(facts[key])
    return [Keyed(facts)], "broken" if len(whole) < len(below) else None


def _separator(line: str) -> str:
    return max(",;\t", key=line.count)


def _twins(columns: Sequence[Name]) -> list[Name]:
    """Return the names that several columns have, of which the last one is read."""
    return [name for name, times in Counter(columns).items() if times > 1]


def _cells(columns: Sequence[Name], row: Sequence[str]) -> Iterator[tuple[Name, Node]]:
    for name, cell in dict(zip(columns, row, strict=True)).items():
        if (text := cell.strip()) not in _NOTHING:
            yield name, scalar_of(text)


def read_json_lines(text: str) -> tuple[list[Node], Reason | None]:
    r"""Return the table that the lines of a text make, and why some lines weren't read.

    Example:
        >>> nodes, _ = read_json_lines('{"step": 1, "train": {"loss": 3}}\n{"step": 2}\n')
        >>> nodes[0].nodes[("train", "loss")], nodes[0].nodes[("step",)]
        (3, 2)
    """
    decoder = decoder_of(text)
    rows: list[Row] = []
    names: dict[Name, None] = {}
    ended: Reason | None = None
    others = 0
    for line in text.split("\n"):
        if not (line := line.strip()):
            continue
        try:
            node = decoder.decode(line)
        except (ValueError, RecursionError):
            ended = "broken"
            continue
        if not isinstance(node, dict):
            others += 1
            continue
        row = dict(_flat(node, (), 0))
        rows.append(row)
        names.update(dict.fromkeys(row))
    if not rows:
        return ([Keyed({("rows",): others})] if others else []), ended
    if others:
        ended = "broken"
    return [Keyed(_facts(rows, names, is_named=True))], ended


def _flat(table: Mapping[str, Node], above: Name, depth: int) -> Iterator[tuple[Name, Node]]:
    for name, node in table.items():
        if not isinstance(node, dict):
            if node is not None:
                yield (*above, name), node
        elif depth < MAX_DEPTH - 2:
            yield from _flat(node, (*above, name), depth + 1)
        else:
            yield (*above, name), Missing("too_deep")


def _facts(rows: Iterable[Row], names: Iterable[Name], *, is_named: bool) -> dict[Name, Node]:
    columns: dict[Name, list[Node]] = {name: [] for name in names}
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007
        for name, node in row.items():
            columns[name].append(node)
    numbers = {name for name, nodes in columns.items() if nodes and all(map(_is_number, nodes))}
    facts: dict[Name, Node] = {}
    if not (is_named and (count == 1 or _is_log(columns, numbers))):
        facts[("rows",)] = count
        for name, nodes in columns.items():
            put(facts, ("columns", *name), _type_of(nodes))
        return facts
    for name, nodes in columns.items():
        if nodes:
            put(facts, name, nodes[-1])
    for name in columns:
        if name in numbers and count > 1:
            put(facts, (HISTORY, *name), columns[name])
    return facts


def _is_log(columns: Mapping[Name, object], numbers: set[Name]) -> bool:
    """Whether a table has steps, or nothing but metrics."""
    if any(words_of(name[-1]) & STEPS for name in numbers):
        return True
    return numbers == columns.keys() and all(words_of(name[-1]) & _METRICS for name in numbers)


def _is_number(node: Node) -> bool:
    return isinstance(node, int | float) and not isinstance(node, bool)


def _type_of(nodes: Iterable[Node]) -> str:
    plain = (node.node if isinstance(node, Repeated) else node for node in nodes)
    types = {_TYPES.get(type(node), "table") for node in plain}
    if types == {"integer", "number"}:
        return "number"
    return types.pop() if len(types) == 1 else "mixed" if types else "empty"


_TYPES = {bool: "boolean", int: "integer", float: "number", str: "text", list: "list"}
