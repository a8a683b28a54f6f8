"""JSON as nodes: of a broken text, what comes before the break."""

from __future__ import annotations

import json
import re

from ama.catalog.unread import MAX_DEPTH, Node, Reason, put
from ama.contents.scalars import MAX_DIGITS

_TOO_DEEP = 4 * MAX_DEPTH
_LONG_NUMBER = re.compile(rf"(?<![0-9])[0-9]{{{MAX_DIGITS}}}").search
# A string, even one that is cut off, and the text between strings.
_MARKS = re.compile(r"\"(?:[^\"\\]|\\.)*+(?:\"|\\?\Z)|[\[\]{},]", re.DOTALL)
_BLANK = re.compile(r"[ \t\r\n]*")
_CLOSING = {"{": "}", "[": "]"}


def read_json(text: str) -> tuple[list[Node], Reason | None]:
    """Return the documents in a text, one after the other, and why it wasn't read to its end.

    Example:
        >>> read_json('{"a": 1, "b": {"c": [2]}, "d": tru')
        ([{'a': 1, 'b': {'c': [2]}}], 'broken')
    """
    decoder = decoder_of(text)
    found: list[Node] = []
    at = _after_blanks(text, 0)
    while at < len(text):
        try:
            node, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            # From Python 3.13 on, the error is at a comma behind the last member.
            end = error.pos + error.msg.startswith("Illegal trailing comma")
            return [*found, *_before(decoder, text[at:end])], "broken"
        except RecursionError:
            return [*found, *_before(decoder, text[at : _too_deep(text, at)])], "too_deep"
        found.append(node)
        at = _after_blanks(text, at)
    return found, None


def decoder_of(text: str) -> json.JSONDecoder:
    """Return what decodes a text, or its lines, within limits.

    Example:
        >>> decoder_of("").decode('{"a": 1, "a": 2}')
        {'a': Repeated(node=2)}
    """
    return json.JSONDecoder(
        object_pairs_hook=_table,
        parse_int=_integer if _LONG_NUMBER(text) else None,
        strict=False,  # a tab in a text is no reason to lose everything
    )


def _before(decoder: json.JSONDecoder, text: str) -> list[Node]:
    whole = _whole_part(text)
    return [] if whole is None else [decoder.decode(whole)]


def _too_deep(text: str, at: int) -> int:
    """Return where a JSON text, from some place on, becomes too deep to read."""
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
    return text if len(text) > MAX_DIGITS else int(text)


def _table(pairs: list[tuple[str, Node]]) -> dict[str, Node]:
    table = dict(pairs)
    if len(table) == len(pairs):
        return table
    table = {}
    for name, node in pairs:
        put(table, name, node)
    return table


def _whole_part(text: str) -> str | None:
    """Return the complete members of a broken object, as JSON.

    An incomplete list is left out: a part of a history would mislead.
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
        # In a list, a complete table is a value of its own.
        in_list = "[" in inside and not (inside[-1] == "[" and mark == "," and behind_a_table)
        last, after = mark, match.end()
        if mark in ("{", "[", ",") and not in_list:
            end = match.start() if mark == "," else match.end()
            closing = "".join(_CLOSING[each] for each in reversed(inside))
    return text[:end] + closing if end else None
