"""Names of classes and aliases, from names that other tools allow."""

from __future__ import annotations

import re

from ama.errors import InvalidInput
from ama.format.names import check_alias, check_class

_OTHERS = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST = 100


def as_class(text: str) -> str:
    """Return a class's name that is as near to a text as can be.

    Example:
        >>> as_class("my model (new)"), as_class("data/raw")
        ('my-model-new', 'data-raw')
    """
    found = _OTHERS.sub("-", text).strip("-._")[:_LONGEST].rstrip("-._")
    try:
        return check_class(found)
    except InvalidInput:
        return check_class(f"class-{found}"[:_LONGEST].rstrip("-._"))


def as_alias(text: str) -> str | None:
    """Return an alias that is as near to a text as can be; None if there is none.

    Example:
        >>> as_alias("release/1.0"), as_alias("7"), as_alias("!")
        ('release-1.0', 'v7', None)
    """
    found = _OTHERS.sub("-", text).strip("-._")[:_LONGEST].rstrip("-._")
    for each in (found, f"v{found}") if found else ():
        try:
            return check_alias(each)
        except InvalidInput:
            continue
    return None
