"""What Python gives to a public method: that it is of the type that is meant, before it is used."""

from __future__ import annotations

import os

from ama.errors import InvalidInput, shown


def check_texts(**given: object) -> None:
    """Refuse arguments that are neither a text nor left out.

    Raises:
        InvalidInput: one is something else; the error names it.

    Example:
        >>> check_texts(remote=None, author="Ann")
    """
    for name, value in given.items():
        if not (value is None or isinstance(value, str)):
            raise InvalidInput(f"{name} is a text, not of type {type(value).__name__}")


def require_text(what: str, given: object) -> None:
    """Refuse what is no text.

    Raises:
        InvalidInput: it is of another type.

    Example:
        >>> require_text("an alias", "best")
    """
    if not isinstance(given, str):
        raise InvalidInput(f"{what} is a text, not of type {type(given).__name__}")


def path_text(what: str, given: object) -> str:
    """Return a path, or a URL, as a text.

    Raises:
        InvalidInput: it is something else, or has a NUL in it.

    Example:
        >>> path_text("the directory", "model")
        'model'
    """
    text = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(text, str):
        raise InvalidInput(f"{what} is a path, not of type {type(given).__name__}")
    if "\0" in text:
        raise InvalidInput(f"{shown(text)} has a NUL character in it")
    return text
