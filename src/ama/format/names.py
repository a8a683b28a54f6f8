"""Names of classes, aliases and files; a hostile store may have chosen them.

A file's name is *unsafe* if a reader that uses it could write outside its directory or into
`.ama`: such a name is refused everywhere. It is *unportable* if some system can't hold it.
`.git` is an ordinary name in a tree, but never stands in a worktree: git would obey what is in
it there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ama.errors import InvalidInput, shown

MAX_NAME_BYTES = 255

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}").fullmatch
_ID_LIKE = re.compile(r"[0-9A-Fa-f]{7,}").fullmatch
# No dot at the start, and no `~`, `:`, slash or backslash anywhere: nothing unsafe.
_PLAINLY_SAFE = re.compile(r"[A-Za-z0-9_+=@,()#-][A-Za-z0-9_+=@,()#. -]{0,254}").fullmatch
_DRIVE = re.compile(r"[A-Za-z]:").match
# Code points that HFS+ ignores when it compares names: `.a<ZWNJ>ma` is `.ama` there.
_UNSEEN = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
# Other names of `.ama`: its 8.3 name on NTFS, and with dots, spaces or a stream behind it.
_CONTROL_DIRECTORY = re.compile(r"(?:\.ama|ama~[0-9])[. ]*(?::.*)?", re.DOTALL).fullmatch
_GIT_DIRECTORY = re.compile(r"(?:\.git|git~1)[. ]*(?::.*)?", re.DOTALL).fullmatch
_FORBIDDEN_ON_WINDOWS = re.compile(r'[<>:"|?*\x00-\x1f\x7f]').search
_RESERVED_ON_WINDOWS = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [device + digit for device in ("COM", "LPT") for digit in "123456789¹²³"]
)


def check_class(text: str) -> str:
    """Refuse a text that can't name a class.

    Args:
        text: The name, from a user or a store.

    Returns:
        The same text.

    Raises:
        InvalidInput: It isn't 1 to 100 of `A-Z a-z 0-9 . _ -` with a letter or digit first, or
            it could be taken for `HEAD` or for an id.

    Example:
        >>> check_class("sequence_models")
        'sequence_models'
    """
    _check_label(text, "class")
    return text


def check_alias(text: str) -> str:
    """Refuse a text that can't be an alias.

    Args:
        text: The alias.

    Returns:
        The same text.

    Raises:
        InvalidInput: It can't name a class either, or it is a number.

    Example:
        >>> check_alias("my_model")
        'my_model'
    """
    _check_label(text, "alias")
    if text.isdigit():
        raise InvalidInput(
            f"'{text}' can't be an alias: it would be taken for a number",
            hint=f"put a letter before it, such as 'v{text}'",
        )
    return text


def _check_label(text: object, what: str) -> None:
    if not isinstance(text, str) or not _LABEL(text):
        raise InvalidInput(
            f"'{shown(text)}' can't be the name of {_article(what)}",
            hint="use 1 to 100 letters, digits, '.', '_' or '-', a letter or digit first",
        )
    if text == "HEAD" or _ID_LIKE(text):
        raise InvalidInput(
            f"'{text}' can't be the name of {_article(what)}: it would be taken for "
            + ("the current asset" if text == "HEAD" else "an id"),
            hint="choose another name",
        )


def _article(what: str) -> str:
    return f"an {what}" if what[0] in "aeiou" else f"a {what}"


def check_name(name: str) -> None:
    """Refuse a file's name that could lead a reader astray.

    Args:
        name: One part of a path in a tree.

    Raises:
        InvalidInput: It is empty, `.` or `..`; has a slash, backslash or NUL in it; begins with a
            drive (`C:`); is `.ama` to some file system; isn't Unicode; or takes more than 255
            bytes of UTF-8.

    Example:
        >>> check_name("model.h5")
    """
    if not _PLAINLY_SAFE(name):
        reason = _unsafe_reason(name)
        if reason is not None:
            raise InvalidInput(
                f"'{shown(name)}' can't be a file's name in an asset: {reason}",
                hint="rename it, or leave it out with a line in .amaignore",
            )


def _unsafe_reason(name: str) -> str | None:
    if name in ("", ".", ".."):
        return "it names no file" if not name else "it stands for a directory"
    for character, called in (("/", "a slash"), ("\\", "a backslash"), ("\0", "a NUL character")):
        if character in name:
            return f"it has {called} in it"
    if _DRIVE(name):
        return "it begins with a drive"
    if is_control_directory(name):
        return ".ama is ama's own"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "it isn't valid UTF-8"
    if size > MAX_NAME_BYTES:
        return f"it has {size} bytes, and {MAX_NAME_BYTES} is the most that file systems hold"
    return None


def is_control_directory(name: str) -> bool:
    """Whether some file system takes this name for `.ama`.

    Example:
        >>> is_control_directory(".AMA. ")
        True
    """
    return _CONTROL_DIRECTORY(_as_seen(name)) is not None


def is_git_directory(name: str) -> bool:
    """Whether some file system takes this name for `.git`, by git's own rule.

    Example:
        >>> is_git_directory("GIT~1"), is_git_directory(".gitignore")
        (True, False)
    """
    return _GIT_DIRECTORY(_as_seen(name)) is not None


def _as_seen(name: str) -> str:
    return name.lower() if name.isascii() else _UNSEEN.sub("", name).casefold()


def unportable_reason(name: str) -> str | None:
    """Return why some system can't hold a file of this name.

    Args:
        name: One part of a path that `check_name` accepts.

    Returns:
        The reason, as the end of a message; None if the name works everywhere.

    Example:
        >>> unportable_reason("aux.txt")
        'Windows reserves AUX'
    """
    device = name.partition(".")[0].rstrip(" ").upper()
    if device in _RESERVED_ON_WINDOWS:
        return f"Windows reserves {device}"
    if name[-1:] in (".", " "):
        return f"Windows drops a {'dot' if name[-1] == '.' else 'space'} at the end"
    found = _FORBIDDEN_ON_WINDOWS(name)
    if found:
        character = found.group()
        what = character if character.isprintable() else "a control character"
        return f"Windows allows no {what} in it" if what == character else f"it has {what} in it"
    return None


def fold_name(name: str) -> str:
    r"""Return a key that is equal for names which some file system holds as one.

    Args:
        name: One part of a path.

    Returns:
        The name without its case and in one of Unicode's forms (NFC).

    Example:
        >>> fold_name("Cafe\u0301") == fold_name("CAF\u00c9")
        True
    """
    if name.isascii():
        return name.lower()
    from unicodedata import normalize

    return normalize("NFC", normalize("NFD", name).casefold())


def twins(names: Iterable[str]) -> tuple[str, str] | None:
    """Find two names in one directory that some file system holds as one.

    Args:
        names: The names of a directory's entries.

    Returns:
        The first such pair; None if all names are distinct everywhere.

    Example:
        >>> twins(["a", "b", "A"])
        ('a', 'A')
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(fold_name(name), name)
        if other != name:
            return other, name
    return None


def nearest(word: str, candidates: Iterable[str]) -> list[str]:
    """Return suggestions for an unknown name.

    Args:
        word: The unknown name.
        candidates: The known names.

    Returns:
        At most three suggestions, the nearest first.

    Example:
        >>> nearest("modles", ["models", "datasets"])
        ['models']
    """
    from difflib import get_close_matches

    by_key: dict[str, str] = {}
    for candidate in candidates:
        by_key.setdefault(candidate.lower(), candidate)
    key = word.lower()
    found = get_close_matches(key, by_key, n=3, cutoff=0.6)
    begins = sorted(k for k in by_key if len(key) > 1 and k.startswith(key) and k not in found)
    return [by_key[k] for k in (found + begins)[:3]]
