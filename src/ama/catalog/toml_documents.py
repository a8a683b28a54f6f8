"""TOML as nodes: of a broken text, the tables before the break."""

from __future__ import annotations

import json
import re

from ama.catalog.unread import MAX_DEPTH, Node, Reason
from ama.contents.scalars import MAX_DIGITS

MOST_REPAIRS = 8
"""The most invalid values of a TOML file to read as texts."""

MOST_LINE = 1_000
"""The longest line to look into."""

# The parser takes quadratic time for keys of so many parts and numbers of so many digits.
_LONG_KEY = re.compile(
    r"(?<![\w-])(?:(?>[\w-]+|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*')[ \t]*+\.[ \t]*+)"
    rf"{{{MAX_DEPTH + 1}}}"
).search
_TOO_DEEP = 4 * MAX_DEPTH
_LONG_NUMBER = re.compile(rf"(?<![0-9])[0-9]{{{MAX_DIGITS}}}").search
_BARE_TOML = re.compile(
    r"(\s*[^=\"'#\[{]+=[ \t]*)([^\"'\[\]{}#\s][^\"'\[\]{}#]*?)([ \t\r]*(?:#.*)?)"
).fullmatch
_LINE = re.compile(r"\(at line (\d+), column \d+\)\Z").search
_LONG_INTEGER = re.compile(
    rf"^([^=\"'#\n]+=[ \t]*)([-+]?[0-9][0-9_]{{{MAX_DIGITS},}}+)(?=[ \t\r]*(?:#.*)?$)",
    re.MULTILINE,
)
_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)


def read_toml(text: str) -> tuple[list[Node], Reason | None]:
    r"""Return the table in a text, and why it wasn't read to its end.

    An invalid value on a line of its own, such as a day that doesn't exist, becomes a text.

    Example:
        >>> read_toml("rate = 0.1\nday = 2021-02-30\n")
        ([{'rate': 0.1, 'day': '2021-02-30'}], None)
    """
    import tomllib

    deep = _LONG_KEY(text)
    if deep:
        return _first_tables(text, text.count("\n", 0, deep.start())), "too_deep"
    text = _LONG_INTEGER.sub(r'\1"\2"', text) if _LONG_NUMBER(text) else text
    for _ in range(MOST_REPAIRS):
        try:
            return [tomllib.loads(text)], None
        except tomllib.TOMLDecodeError as error:
            at = _broken_line(text, str(error))
        except RecursionError:
            return _first_tables(text, _deep_line(text)), "too_deep"
        repaired = _with_a_text(text, at)
        if repaired is None:
            break
        text = repaired
    return _first_tables(text, at), "broken"


def _broken_line(text: str, error: str) -> int:
    found = _LINE(error)
    return int(found[1]) - 1 if found else text.count("\n") + 1


def _deep_line(text: str) -> int:
    marks = ((line.count("[") + line.count("{"), at) for at, line in enumerate(text.split("\n")))
    return next((at for count, at in marks if count > _TOO_DEEP), 0)


def _with_a_text(text: str, at: int) -> str | None:
    """Return a TOML text in which the invalid value of a line becomes a text."""
    lines = text.split("\n")
    match = _BARE_TOML(lines[at]) if at < len(lines) and len(lines[at]) < MOST_LINE else None
    if match is None:
        return None
    before, value, behind = match.groups()
    lines[at] = f"{before}{json.dumps(value)}{behind}"
    return "\n".join(lines)


def _first_tables(text: str, at: int) -> list[Node]:
    """Return the part before a line of a TOML text, or else before the line's table."""
    import tomllib

    before = "\n".join(text.split("\n")[:at])
    starts = [match.start() for match in _TABLE.finditer(before)]
    for end in (len(before), *starts[: -MOST_REPAIRS - 1 : -1]):
        try:
            return [tomllib.loads(before[:end])]
        except (ValueError, RecursionError):
            continue
    return []
