"""JSON and TOML, read into nodes: what is broken loses what comes after it, and nothing else."""

from __future__ import annotations

import json
import re

from ama.catalog.unread import MAX_DEPTH, Node, Reason, put

MOST_REPAIRS = 8
"""So many values of a TOML file that are none are taken as texts."""

MOST_LINE = 1_000
"""A longer line is not looked into."""

# Keys of so many parts, and numbers of so many digits, take the parsers time that is quadratic.
_LONG_KEY = re.compile(
    r"(?<![\w-])(?:(?>[\w-]+|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*')[ \t]*+\.[ \t]*+)"
    rf"{{{MAX_DEPTH + 1}}}"
).search
_TOO_DEEP = 4 * MAX_DEPTH
_DIGITS = 300
_LONG_NUMBER = re.compile(rf"(?<![0-9])[0-9]{{{_DIGITS}}}").search
# A string, also one that is cut off, and what is outside of those.
_MARKS = re.compile(r"\"(?:[^\"\\]|\\.)*+(?:\"|\\?\Z)|[\[\]{},]", re.DOTALL)
_BLANK = re.compile(r"[ \t\r\n]*")
_CLOSING = {"{": "}", "[": "]"}
_BARE = re.compile(
    r"(\s*[^=\"'#\[{]+=[ \t]*)([^\"'\[\]{}#\s][^\"'\[\]{}#]*?)([ \t\r]*(?:#.*)?)"
).fullmatch
_LINE = re.compile(r"\(at line (\d+), column \d+\)\Z").search
_LONG_INTEGER = re.compile(
    rf"^([^=\"'#\n]+=[ \t]*)([-+]?[0-9][0-9_]{{{_DIGITS},}}+)(?=[ \t\r]*(?:#.*)?$)", re.MULTILINE
)
_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)


def read_json(text: str) -> tuple[list[Node], Reason | None]:
    """Return the documents in a text, one behind the other, and why it wasn't read to its end.

    Example:
        >>> read_json('{"a": 1, "b": {"c": [2]}, "d": tru')
        ([{'a': 1, 'b': {'c': [2]}}], 'broken')
    """
    decoder = json.JSONDecoder(
        object_pairs_hook=_table,
        parse_int=_integer if _LONG_NUMBER(text) else None,
        strict=False,  # a tab in a text is no reason to lose all
    )
    found: list[Node] = []
    at = _after_blanks(text, 0)
    while at < len(text):
        try:
            node, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            # From Python 3.13 on, a comma behind the last member is where it is broken.
            end = error.pos + error.msg.startswith("Illegal trailing comma")
            return [*found, *_before(decoder, text[at:end])], "broken"
        except RecursionError:
            return [*found, *_before(decoder, text[at : _too_deep(text, at)])], "too_deep"
        found.append(node)
        at = _after_blanks(text, at)
    return found, None


def _before(decoder: json.JSONDecoder, text: str) -> list[Node]:
    whole = _whole_part(text)
    return [] if whole is None else [decoder.decode(whole)]


def _too_deep(text: str, at: int) -> int:
    """Return where a JSON text, from some place on, is too deep to be read."""
    depth = 0
    for match in _MARKS.finditer(text, at):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(match.group(), 0)
        if depth > _TOO_DEEP:
            return match.start()
    return at


def _after_blanks(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _integer(text: str) -> int | str:
    return text if len(text) > _DIGITS else int(text)


def _table(pairs: list[tuple[str, Node]]) -> dict[str, Node]:
    table = dict(pairs)
    if len(table) == len(pairs):
        return table
    table = {}
    for name, node in pairs:
        put(table, name, node)
    return table


def _whole_part(text: str) -> str | None:
    """Return the members of a broken object that are whole, as JSON.

    A list that isn't whole is left out: a part of a history is not what was meant.
    """
    inside: list[str] = []
    end, closing = 0, ""
    last, after = "", 0
    for match in _MARKS.finditer(text):
        mark = match.group()
        if mark in "{[":
            inside.append(mark)
        elif mark in "]}" and inside:
            inside.pop()
        behind_a_table = last == "}" and not text[after : match.start()].strip()
        # In a list, a table that is whole is a value of its own.
        in_list = "[" in inside and not (inside[-1] == "[" and mark == "," and behind_a_table)
        last, after = mark, match.end()
        if mark in ("{", "[", ",") and not in_list:
            end = match.start() if mark == "," else match.end()
            closing = "".join(_CLOSING[each] for each in reversed(inside))
    return text[:end] + closing if end else None


def read_toml(text: str) -> tuple[list[Node], Reason | None]:
    r"""Return the table that a text is, and why it wasn't read to its end.

    A value on a line of its own that is none, such as a day that there is not, is taken as a text.

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
    """Return a TOML text in which the value of a line that is none is a text."""
    lines = text.split("\n")
    match = _BARE(lines[at]) if at < len(lines) and len(lines[at]) < MOST_LINE else None
    if match is None:
        return None
    before, value, behind = match.groups()
    lines[at] = f"{before}{json.dumps(value)}{behind}"
    return "\n".join(lines)


def _first_tables(text: str, at: int) -> list[Node]:
    """Return what comes before a line of a TOML text, or else before the table that it is in."""
    import tomllib

    before = "\n".join(text.split("\n")[:at])
    starts = [match.start() for match in _TABLE.finditer(before)]
    for end in (len(before), *starts[: -MOST_REPAIRS - 1 : -1]):
        try:
            return [tomllib.loads(before[:end])]
        except (ValueError, RecursionError):
            continue
    return []
