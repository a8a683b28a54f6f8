"""How pages write what a store says: values, names, sizes, times and people."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import escape

from markupsafe import Markup

from ama.catalog.documents import Value
from ama.catalog.unread import REASONS, Unread
from ama.dashboard import charts
from ama.errors import shown

MOST_TEXT = 300
"""A value in a table is cut after so many characters."""

_END_OF_PART = re.compile(r"[._/]+(?=[^._/])")


def plain_text(text: str) -> str:
    """Return a text of several lines without what a browser would not show as it stands."""
    return "\n".join(
        "\t".join(map(shown, line.split("\t"))) for line in text.replace("\r\n", "\n").split("\n")
    )


def breakable(name: object) -> Markup:
    """Return a name as HTML that may go on in a next line behind its dots, underscores and slashes.

    Else a narrow table would break it within a word.

    Example:
        >>> print(breakable("a.learning_rate<"))
        a.<wbr>learning_<wbr>rate&lt;
    """
    # What escaping makes of a letter has no such mark in it.
    return Markup(_END_OF_PART.sub(r"\g<0><wbr>", escape(plain_text(str(name)))))


def value_text(value: Value | object, most: int = MOST_TEXT) -> str:
    """Return a value as a table shows it.

    Example:
        >>> value_text(0.1 + 0.2), value_text(True), value_text((1, 2)), value_text(())
        ('0.3', 'true', '1, 2', '[]')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return charts.number_text(value)
    if value == ():
        return "[]"
    if isinstance(value, tuple):
        numbers = [number for number in value if isinstance(number, int | float)]
        if len(numbers) == len(value) > 4:
            return f"{len(value)} values, last {value_text(value[-1])}"
        text = ", ".join(value_text(each, most) for each in value[:most])
    else:
        text = str(value)
    return text if len(text) <= most else text[:most] + "…"


def unread_text(unread: Unread, whose: bool = False) -> str:
    """Return what could not be read, and why.

    Args:
        unread: what could not be read.
        whose: whether to name the asset that a file is in, too.

    Example:
        >>> unread_text(Unread("models/1", "hparams.yaml", "scale", "object"))
        'hparams.yaml › scale: an object that only its own program can read'
    """
    why = unread.detail or REASONS[unread.reason]
    if unread.file:
        asset = unread.asset if whose else ""
        where = " › ".join(filter(None, (asset, unread.source, unread.file, unread.key)))
        return f"{where}: {why}"
    if unread.source:
        return f"{unread.source} ({unread.asset}) can't be read: {why}"
    return f"{unread.asset}: {why}"


def size_text(count: int | None) -> str:
    """Return a size in bytes for people.

    Example:
        >>> size_text(999), size_text(641_592), size_text(None)
        ('999 B', '641.6 kB', '–')
    """
    if count is None:
        return "–"
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 999.95:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} PB"


def person(author: str) -> str:
    """Return who somebody is without the address.

    Example:
        >>> person("Ann Lee <ann@example.com>")
        'Ann Lee'
    """
    return author.partition("<")[0].strip() or author


def moment(at: datetime | None) -> Markup:
    """Return a time as an element, to the minute; to the second while the pointer rests on it."""
    if at is None:
        return Markup("–")
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        f"{utc:%Y-%m-%dT%H:%M:%SZ}", f"{utc:%Y-%m-%d %H:%M:%S}", moment_text(at)
    )


def moment_text(at: datetime | None) -> str:
    """Return a time to the minute, in UTC.

    Example:
        >>> moment_text(datetime(2026, 11, 2, 9, 30, tzinfo=UTC))
        '2026-11-02 09:30'
    """
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def count_text(number: int, noun: str) -> str:
    """Return a number of things with their noun.

    Example:
        >>> count_text(1, "class"), count_text(1200, "class")
        ('1 class', '1,200 classes')
    """
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
