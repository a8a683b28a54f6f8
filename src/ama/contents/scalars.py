"""Scalars of files that have texts only: numbers and booleans among them."""

from __future__ import annotations

import re

MAX_DIGITS = 300
"""The most digits of an integer: a longer one is a text."""

# Without zeros in front: those are parts of names, such as a postal code.
_INTEGER = re.compile(rf"[-+]?(?:0|[1-9][0-9]{{0,{MAX_DIGITS - 1}}})").fullmatch
_FLOAT = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,5})?"
    r"|[-+]?(?:inf|infinity)|nan",
    re.IGNORECASE,
).fullmatch
_BOOLEANS = {"true": True, "false": False}
_LONGEST = 400


def scalar_of(text: str) -> str | int | float | bool:
    """Return a text as the number or boolean that it is, or else as it is.

    Example:
        >>> [scalar_of(each) for each in ("3", "1e-3", "True", "nan", "007", "adam")]
        [3, 0.001, True, nan, '007', 'adam']
    """
    if len(text) > _LONGEST:
        return text
    if _INTEGER(text):
        return int(text)
    if _FLOAT(text):
        return float(text)
    return _BOOLEANS.get(text.lower(), text)
