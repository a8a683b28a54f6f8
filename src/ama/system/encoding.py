"""Conversion between text, which is UTF-8 in ama, and what the system's calls take.

On POSIX, file names, command-line words and environment values are bytes. Ama reads them as UTF-8:
an asset must not depend on the locale of its author. Python decodes them with the encoding of the
process, which may be another (`LC_ALL=de_DE.ISO-8859-15`) and which a library can't choose. So this
module decodes again what comes from the system, and converts back what goes to it.

A `str` in ama is such text: a path in an asset, a URL, a message, a field of a value. A `Path`, or
a path on its way to the system, is as Python has it. Where the process's encoding is UTF-8, both
are the same, and nothing is done.
"""

from __future__ import annotations

import codecs
import os
import sys

from ama.errors import InvalidInput, shown

SAME = codecs.lookup(sys.getfilesystemencoding()).name == "utf-8"
"""Whether the system's calls take UTF-8: always on macOS and Windows."""

if SAME:

    def from_system(text: str | os.PathLike[str]) -> str:
        """Return a string of the system as text."""
        return os.fspath(text)

    def to_system(text: str) -> str:
        """Return text as the system's calls take it."""
        return text

    def given(path: str | os.PathLike[str]) -> str:
        """Return a caller's path as text."""
        return os.fspath(path)

else:

    def from_system(text: str | os.PathLike[str]) -> str:
        """Return a string of the system (a name, a word, a variable) as text.

        Args:
            text: As Python decoded it.

        Returns:
            The text whose UTF-8 the same bytes are. Bytes that are no UTF-8 are escaped as Python
            does it (`surrogateescape`). A name that the process's encoding can't express stays: it
            is text of a caller.

        Example:
            >>> from_system("model.h5")
            'model.h5'
        """
        plain = os.fspath(text)
        try:
            return os.fsencode(plain).decode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            first, slash, rest = plain.partition("/")
            return f"{from_system(first)}/{from_system(rest)}" if slash else plain

    def to_system(text: str) -> str:
        """Return text as the system's calls take it: the reverse of `from_system`.

        Example:
            >>> to_system("model.h5")
            'model.h5'
        """
        return os.fsdecode(text.encode("utf-8", "surrogateescape"))

    def given(path: str | os.PathLike[str]) -> str:
        """Return a caller's path as text.

        A `Path` is as the system has it. So is each name in a `str` (it may come from
        `os.listdir`), unless its bytes are no UTF-8: then it is text of the caller or of ama.

        Example:
            >>> given("model.h5")
            'model.h5'
        """
        if not isinstance(path, str):
            return from_system(path)
        return "/".join(map(_given_name, path.split("/")))


def system_path(path: str | os.PathLike[str]) -> str:
    """Return a caller's path as the system's calls take it.

    It stays as Python has it, so that the caller finds there what ama makes. Two kinds of names are
    text: those that the process's encoding can't express, and those that exist only as text.

    Example:
        >>> system_path("store")
        'store'
    """
    if SAME:
        return os.fspath(path)
    if not isinstance(path, str):
        return to_system(from_system(path))
    names: list[str] = []
    for name in path.split("/"):
        text = to_system(_given_name(name))
        if text == name or not _is_meant("/".join([*names, name]), "/".join([*names, text])):
            names.append(name)
        else:
            names.append(text)
    return "/".join(names)


def _given_name(name: str) -> str:
    try:
        return os.fsencode(name).decode("utf-8")
    except UnicodeError:
        return name


def _is_meant(name: str, text: str) -> bool:
    """Whether a name is meant as text, and not as Python has it."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return True
    return not os.path.lexists(name) and os.path.lexists(text)


def check_texts(**given: object) -> None:
    """Refuse arguments that are neither text nor None.

    Raises:
        InvalidInput: One is of another type; the error names it.

    Example:
        >>> check_texts(remote=None, author="Ann")
    """
    for name, value in given.items():
        if not (value is None or isinstance(value, str)):
            raise InvalidInput(f"{name} is a text, not of type {type(value).__name__}")


def require_text(what: str, given: object) -> None:
    """Refuse a value that is no text.

    Raises:
        InvalidInput: The value is of another type.

    Example:
        >>> require_text("an alias", "best")
    """
    if not isinstance(given, str):
        raise InvalidInput(f"{what} is a text, not of type {type(given).__name__}")


def path_text(what: str, given: object) -> str:
    """Return a path or URL as text.

    Raises:
        InvalidInput: The value is of another type, or has a NUL in it.

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
