"""Conditions on facts: `loss<0.3`, `training.yml:parameters.learning_rate=0.001`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from ama.catalog.documents import join_key, split_key
from ama.errors import InvalidInput, shown

Operator = Literal["", "=", "!=", "<", "<=", ">", ">="]

_CONDITION = re.compile(
    r"(?P<key>(?:\"(?:[^\"\\]|\\.)*\"|[^\"=<>!~])+)(?:(?P<operator>[=<>!~]+)(?P<value>.*))?",
    re.DOTALL,
).fullmatch
_OPERATORS: dict[str, Operator] = {"==": "="}
_OPERATORS |= {sign: sign for sign in get_args(Operator)}
_INTEGER = re.compile(r"[-+]?[0-9]{1,400}").fullmatch
_EXACT = 2**53
"""Below this, integers and floats are the same numbers."""

_AGO = re.compile(r"(\d{1,5})\s*(m|h|d|w|min|hour|day|week)s?(?: ago)?").fullmatch
_SECONDS = {"m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SECONDS |= {"hour": 3600, "day": 86400, "week": 7 * 86400}


@dataclass(frozen=True, slots=True)
class Condition:
    """A test of a value.

    Attributes:
        key: The value's dotted key, or its last parts.
        operator: The comparison; empty: the key need only exist.
        value: The value to compare with, as typed.
        file: A glob of the files that count; None: all.
    """

    key: str
    operator: Operator = ""
    value: str = ""
    file: str | None = None

    @property
    def number(self) -> float | None:
        """Return the value as a number; None if it is none, or not finite."""
        try:
            number = float(self.value)
        except ValueError:
            return None
        return number if math.isfinite(number) else None

    def sql(self) -> tuple[str, list[object]]:
        """Return this as an SQL condition on the columns key, kind, number and text, and its
        values.

        Numbers are compared as numbers. A value that is no number equals the same text, and is
        neither less nor more than anything.
        """
        # A key with this ending counts too: `loss` also means `best.loss`.
        suffix = f".{self.key}"
        parts = ["(key = ? OR substr(key, ?) = ?)"]
        values: list[object] = [self.key, -len(suffix), suffix]
        equal, given = self._equal()
        if self.operator == "=":
            parts.append(equal)
            values += given
        elif self.operator == "!=":
            parts.append(f"NOT coalesce({equal}, 0)")
            values += given
        elif self.operator:
            ordered, given = self._ordered()
            parts.append(ordered)
            values += given
        return " AND ".join(parts), values

    @property
    def _large(self) -> int | None:
        """Return the value, if it is so large that its neighbours are the same float: a seed,
        say.
        """
        if self.number is None or abs(self.number) < _EXACT:
            return None
        return int(self.value) if _INTEGER(self.value.strip()) else int(self.number)

    def _ordered(self) -> tuple[str, list[object]]:
        if self._large is None:
            return f"number {self.operator} ?", [self.number]
        strict, or_equal = self.operator[0], len(self.operator) > 1
        # Integers that are the same float have one sign: more digits, or larger ones, are further
        # from 0.
        away = strict if self._large > 0 else {"<": ">", ">": "<"}[strict]
        further = f"(length(text), text) {away}{'=' if or_equal else ''} (?, ?)"
        digits = str(self._large)
        return (
            f"(number {strict} ? OR number = ?"
            f" AND CASE kind WHEN 'int' THEN {further} ELSE {int(or_equal)} END)",
            [self.number, self.number, len(digits), digits],
        )

    def _equal(self) -> tuple[str, list[object]]:
        text = self.value.strip()
        if self._large is not None:
            large = str(self._large)
            return "(text IN (?, ?) OR kind = 'float' AND number = ?)", [text, large, self.number]
        if self.number is not None:
            return "(text = ? OR number = ?)", [text, self.number]
        try:
            other = repr(float(text.replace(".inf", "inf").replace(".nan", "nan")))
        except ValueError:
            other = text
        no_text = "kind IN ('bool', 'null', 'float') AND lower(text) IN (lower(?), ?)"
        return f"(text = ? OR {no_text})", [text, text, other]


def parse_meta(text: str) -> Condition:
    """Parse a condition on metadata.

    Args:
        text: `KEY`, or `KEY OPERATOR VALUE` with one of = != < <= > >= between; == means =.

    Raises:
        InvalidInput: It is no condition, or compares the order of something that is no number.

    Example:
        >>> parse_meta("loss<0.3")
        Condition(key='loss', operator='<', value='0.3', file=None)
    """
    return _parse(text, text, None)


def parse_param(text: str) -> Condition:
    """Parse a condition on a value in a file.

    Args:
        text: As in `parse_meta`, with or without `FILE:` (a glob) before it.

    Raises:
        InvalidInput: It is no condition, or compares the order of something that is no number.

    Example:
        >>> parse_param("training.yml:parameters.learning_rate=0.001").file
        'training.yml'
    """
    file, colon, rest = text.partition(":")
    if not colon or any(mark in file for mark in '=<>!~"'):
        return _parse(text, text, None)
    if not file.strip():
        raise InvalidInput(f"{shown(repr(text))} names no file before the ':'", hint=_HINT)
    return _parse(rest, text, file.strip())


_HINT = "write KEY=VALUE, with one of = != < <= > >= between, or KEY alone"


def _parse(text: str, whole: str, file: str | None) -> Condition:
    match = _CONDITION(text.strip())
    if match is None:
        raise InvalidInput(f"{shown(repr(whole))} is no condition", hint=_HINT)
    operator = _OPERATORS.get(match["operator"] or "")
    if operator is None:
        raise InvalidInput(
            f"{shown(repr(whole))}: there is no operator {match['operator']}",
            hint="there are = != < <= > >=; a value that begins with such a sign stands behind a"
            " space, and a key with one in quotes",
        )
    value = (match["value"] or "").strip()
    condition = Condition(join_key(split_key(match["key"].strip())), operator, value, file)
    if operator in ("<", "<=", ">", ">=") and condition.number is None:
        raise InvalidInput(
            f"{shown(repr(whole))}: {shown(repr(value))} is no number to compare with",
            hint="texts are compared by = and != only",
        )
    return condition


def parse_moment(text: str, now: datetime) -> datetime:
    """Parse a moment: a date or time (UTC unless it says otherwise), or an age.

    Args:
        text: For instance 2026-11-02, 2026-11-02T14:30, 3d, 12h, 2 weeks ago.
        now: The end of ages.

    Raises:
        InvalidInput: It is none of these.

    Example:
        >>> parse_moment("2d", datetime(2026, 11, 25, tzinfo=UTC)).day
        23
    """
    ago = _AGO(text.strip().lower())
    if ago:
        return now - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidInput(
            f"{shown(repr(text))} is no time", hint="write 2026-11-02, 2026-11-02T14:30, or 3d"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
