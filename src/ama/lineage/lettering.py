"""How texts of a lineage are lettered: their width, how they are shortened, and what is said.

Widths are estimated, for a font file is not to be had everywhere. They are those of DejaVu Sans,
the widest of the usual fonts, so that what fits by them fits in the others too.
"""

from __future__ import annotations

from unicodedata import combining, east_asian_width

from ama.errors import shown
from ama.lineage.graph import LineageNode

ELLIPSIS = "…"
_SOME = 3

_WIDTHS = {
    character: width
    for characters, width in [
        ("ijl'|", 0.29),
        (" .,:;!`fIJ/\\", 0.36),
        ("()[]rt-", 0.42),
        ('csxyzkv_*?"', 0.56),
        ("aeghnopqbdu0123456789$", 0.635),
        ("ABCEFKLPRSTVXYZ", 0.68),
        ("DGHNOQU&+=<>~#", 0.83),
        ("mwMW%@", 1.0),
    ]
    for character in characters
}


def width(text: str, size: float, *, bold: bool = False) -> float:
    """Return about how wide a text is.

    Args:
        text: the text, on one line.
        size: the font's size; the width is in the same unit.
        bold: whether the font is bold.

    Example:
        >>> width("model", 10) < width("MODEL", 10) < width("MODEL", 10, bold=True)
        True
    """
    return sum(map(_advance, text)) * size * (1.1 if bold else 1.0)


def _advance(character: str) -> float:
    known = _WIDTHS.get(character)
    if known is not None:
        return known
    if combining(character):
        return 0.0
    return 1.05 if east_asian_width(character) in "WF" else 0.75


def shortened(text: str, room: float, size: float, *, bold: bool = False, tail: str = "") -> str:
    """Return a text that fits, with an ellipsis where it was cut.

    Args:
        text: the text, on one line.
        room: how wide it may be.
        size: the font's size.
        bold: whether the font is bold.
        tail: what stands behind it, and is never cut.

    Example:
        >>> shortened("sequence_models", 60, 10, tail="/7")
        'sequen…/7'
    """
    left = room / (1.1 if bold else 1.0) / size - sum(map(_advance, tail))
    fits = 0
    used = 0.0
    for at, character in enumerate(text):
        used += _advance(character)
        if used > left:
            return text[:fits].rstrip() + ELLIPSIS + tail
        if used + _advance(ELLIPSIS) <= left:
            fits = at + 1
    return text + tail


def clipped(text: str, most: int) -> str:
    r"""Return at most so many characters of a text's first line, safe to print anywhere.

    Example:
        >>> clipped("First training\nof many", 10)
        'First tra…'
    """
    line = text[: most * 4].strip().partition("\n")[0].rstrip()
    plain = shown(line[: most + 1])
    return plain if len(plain) <= most else plain[: most - 1] + ELLIPSIS


def aliases_text(node: LineageNode, most: int = _SOME) -> str:
    """Return an asset's aliases, of which many are only counted.

    Example:
        >>> node = LineageNode("e" * 64, "models", 1, ("a", "b", "c"), "Ann", None)
        >>> aliases_text(node, 3), aliases_text(node, 1)
        ('@a @b @c', '@a and 2 more')
    """
    named = " ".join(f"@{clipped(alias, 100)}" for alias in node.aliases[:most])
    rest = len(node.aliases) - most
    return f"{named} and {rest:,} more" if rest > 0 else named


def author_text(node: LineageNode) -> str:
    """Return who made an asset, without the address.

    Example:
        >>> author_text(LineageNode("e" * 64, "models", 1, (), "Ann Lee <ann@example.com>", None))
        'Ann Lee'
    """
    return clipped(node.author.partition(" <")[0], 40)


def marks_text(node: LineageNode) -> str:
    """Return what is to be known of an asset that isn't as others are; empty for most.

    Example:
        >>> marks_text(LineageNode("e" * 64, "models", 1, (), "", None, "deleted", here=False))
        'deleted, not in this store'
    """
    marks = [node.status] if node.status != "active" else []
    return ", ".join([*marks, *([] if node.here else ["not in this store"])])
