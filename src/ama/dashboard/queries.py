"""Queries of addresses: the words behind the '?', within limits."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast, get_args

from ama.catalog.conditions import Condition, parse_param
from ama.catalog.tables import PLAIN_SORTS, Choice, Columns, State, required
from ama.catalog.values import Column
from ama.errors import InvalidInput, NotFound

MOST_COLUMNS = 12
MOST_COMPARED = 8
PAGE = 50
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Asked:
    """The names and values behind the '?' of an address."""

    values: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def one(self, name: str, default: str = "") -> str:
        """Return a value; of several the last."""
        found = self.values.get(name)
        return found[-1][:_LONGEST] if found else default

    def all(self, name: str, most: int) -> list[str]:
        """Return at most `most` distinct values of a name, without empty ones."""
        found = (value.strip()[:_LONGEST] for value in self.values.get(name, ()))
        return list(dict.fromkeys(value for value in found if value))[:most]

    def number(self, name: str, default: int, most: int = 1_000_000) -> int:
        """Return a value as a number of at least 1."""
        text = self.one(name)
        return min(max(1, int(text)), most) if text.isdecimal() and len(text) < 9 else default


def asset_number(text: str) -> int:
    """Return the number of an asset in an address.

    Raises:
        NotFound: The text is no number.

    Example:
        >>> asset_number("12")
        12
    """
    if not text.isdecimal() or not text.isascii() or len(text) > 9:
        raise NotFound(f"there is no asset {text}")
    return int(text)


def column_id(column: Column) -> str:
    """Return the name of a column in an address.

    Example:
        >>> column_id(Column("metric", "", "summary.json", "best.loss"))
        'summary.json:best.loss'
    """
    source = f"{column.source}>" if column.source else ""
    return f"{source}{column.file}:{column.key}"


@dataclass(frozen=True, slots=True)
class TableQuery:
    """The query of a class's page.

    `text` is the filter as typed, `problem` the part of it that is no condition.
    """

    choice: Choice
    shown: tuple[Column, ...]
    plot: Column | None
    page: int
    text: str
    sort: str
    problem: str = ""


def table_query(class_name: str, columns: Columns, asked: Asked) -> TableQuery:
    """Return the query of a class's page from its address.

    A filter has words, and conditions such as `loss<0.3`.
    """
    known = {column_id(column): column for column in columns.known}
    chosen = [known[name] for name in asked.all("col", 200) if name in known][:MOST_COLUMNS]
    shown = tuple(chosen) or (() if "col" in asked.values else columns.default)
    words, conditions, problem = _filter(asked.one("q"))
    state = asked.one("state", "live")
    sort = asked.one("sort", "number")
    by: str | Column = known.get(sort) or (sort if sort in PLAIN_SORTS else "number")
    metrics = [column for column in columns.default if column.role == "metric"]
    plot = known.get(asked.one("plot")) or next(iter(metrics), None)
    choice = Choice(
        class_name,
        words,
        tuple(required(condition, columns.known) for condition in conditions),
        cast(State, state) if state in get_args(State) else "live",
        by,
        asked.one("way", "down") != "up",
    )
    return TableQuery(choice, shown, plot, asked.number("page", 1), asked.one("q"), sort, problem)


def _filter(text: str) -> tuple[tuple[str, ...], tuple[Condition, ...], str]:
    words: list[str] = []
    conditions: list[Condition] = []
    problem = ""
    for word in split_words(text):
        if not any(sign in word for sign in "=<>"):
            words.append(word)
            continue
        try:
            conditions.append(parse_param(word))
        except InvalidInput as error:
            problem = error.message
    return tuple(words), tuple(conditions[:5]), problem


def split_words(text: str) -> list[str]:
    """Return the words of a text; a quoted part is one word.

    Example:
        >>> split_words('adam "first training" ann')
        ['adam', 'first training', 'ann']
    """
    try:
        return shlex.split(text)
    except ValueError:  # a quote that isn't closed yet, while it is typed
        return text.replace('"', " ").replace("'", " ").split()
