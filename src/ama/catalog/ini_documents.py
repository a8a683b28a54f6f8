"""INI files as nodes: sections of texts, numbers and booleans, without interpolation."""

from __future__ import annotations

import configparser
import re

from ama.catalog.unread import Keyed, Name, Node, Reason, Repeated, put
from ama.contents.scalars import scalar_of

# The parser takes quadratic time for so many blanks within a line.
_LONG_BLANK = re.compile(r"[^\S\n]{100}").search
_ABOVE = "\ue000"
"""The section of what stands before the first section."""

Place = tuple[str, str | None]
"""A section, and a key in it; None: the section itself."""


def read_ini(text: str) -> tuple[list[Node], Reason | None]:
    r"""Return the sections of a text as one table, and why it wasn't read to its end.

    Example:
        >>> nodes, _ = read_ini("seed = 1\n[model]\nlayers = 3\nname = small\n")
        >>> nodes[0].nodes
        {('seed',): 1, ('model', 'layers'): 3, ('model', 'name'): 'small'}
    """
    if "\0" in text:
        return [], "binary"
    if _LONG_BLANK(text):
        return [], "broken"
    text = f"[{_ABOVE}]\n{text}"
    twice: Place | None = None
    ended: Reason | None = None
    parser = _parser(strict=True)
    try:
        try:
            parser.read_string(text)
        except configparser.DuplicateOptionError as error:
            twice = (error.section, error.option)
        except configparser.DuplicateSectionError as error:
            twice = (error.section, None)
        if twice is not None:
            parser = _parser(strict=False)
            parser.read_string(text)
    except configparser.ParsingError:
        ended = "broken"  # it has all the other lines
    return [Keyed(_nodes(parser, twice))], ended


def _parser(*, strict: bool) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=strict, default_section="\n", interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    return parser


def _nodes(parser: configparser.RawConfigParser, twice: Place | None) -> dict[Name, Node]:
    nodes: dict[Name, Node] = {}
    for section in parser.sections():
        above = () if section == _ABOVE else tuple(section.split("."))
        for key, value in parser.items(section):
            node: Node = scalar_of(value)
            put(nodes, (*above, *key.split(".")), node)
            if twice == (section, key):
                nodes[*above, *key.split(".")] = Repeated(node)
        if twice == (section, None):
            nodes[above] = Repeated({})
    return nodes
