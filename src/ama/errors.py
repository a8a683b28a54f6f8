"""Errors, grouped by what a caller can do about them.

Every error that ama raises on purpose is an `AmaError`. Its message is one line that says what
happened, its hints say what to do next, its code is stable, and its exit code is what the command
line ends with.
"""

from __future__ import annotations

import errno as numbers
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

Fact = str | int | tuple[str, ...]
"""A fact of a hint: a name, a number or several names."""

Hints = tuple["Hint | str", ...]
"""Alternatives: each of them helps by itself."""


@dataclass(frozen=True, slots=True)
class Hint:
    """A step that would help, as data; `ama.wording` puts it into words.

    Attributes:
        code: What to do, such as "list-assets". It is stable.
        facts: What it is about: an asset, a class, paths, the URL of a store.

    Example:
        >>> Hint("list-assets", class_name="models").facts
        {'class_name': 'models'}
    """

    code: str
    facts: Mapping[str, Fact] = field(default_factory=dict, hash=False)

    def __init__(self, code: str, **facts: Fact) -> None:
        object.__setattr__(self, "code", code)
        object.__setattr__(self, "facts", facts)


class AmaError(Exception):
    """Any error of ama's own; catch it to catch them all.

    Args:
        message: One line without a full stop: what happened, and to what.
        hint: What to do about it: a `Hint` if a command of ama does it, else one line of
            advice; or several alternatives.

    Attributes:
        hints: The `hint`, as a tuple.

    Example:
        >>> raise NotFound("no class 'modles'", hint=Hint("did-you-mean", names=("models",)))
        Traceback (most recent call last):
            ...
        ama.errors.NotFound: no class 'modles'
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: Hint | str | Hints | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hints: Hints = hint if isinstance(hint, tuple) else () if hint is None else (hint,)

    def __str__(self) -> str:
        return self.message


class InvalidInput(AmaError, ValueError):
    """The request makes no sense, or isn't allowed; a different request helps."""

    code = "invalid-input"
    exit_code = 2


class NotFound(AmaError, LookupError):
    """There is no such class, asset, alias, file or remote."""

    code = "not-found"
    exit_code = 3


class AlreadyExists(AmaError):
    """Something of this name exists already, and is not overwritten."""

    code = "already-exists"
    exit_code = 4


class Conflict(AmaError):
    """Somebody else changed it first: look at the change, then try again."""

    code = "conflict"
    exit_code = 5


class IntegrityError(AmaError):
    """Something is damaged or missing: the bytes read are not those that were written."""

    code = "integrity"
    exit_code = 6


class FormatError(AmaError):
    """The data has a format that this version of ama doesn't read."""

    code = "format"
    exit_code = 7


class StorageError(AmaError, OSError):
    """The disk, the network or a permission refuses.

    Args:
        message: One line: what happened, and to what.
        hint: What to do about it, see `AmaError`.
        retryable: Whether the same call may succeed on another try.
        errno: The system's number for it, where there is one.
    """

    code = "storage"
    exit_code = 8

    def __init__(
        self,
        message: str,
        *,
        hint: Hint | str | Hints | None = None,
        retryable: bool = False,
        errno: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable
        self.errno = errno

    def __reduce__(self) -> tuple[object, ...]:
        # OSError would rebuild itself without our arguments.
        again = partial(type(self), hint=self.hints, retryable=self.retryable, errno=self.errno)
        return again, (self.message,)


class NoSpace(StorageError):
    """The content doesn't fit on the disk; nothing was written.

    Args:
        where: A path on that disk.
        needed: The bytes to write.
        free: The bytes that are free.

    Example:
        >>> str(NoSpace("model", needed=2_000_000_000, free=1_100_000_000))
        'model takes 2.0 GB, and 1.1 GB are free on its disk'
    """

    def __init__(self, where: str, *, needed: int, free: int) -> None:
        message = f"{shown(where)} takes {sized(needed)}, and {sized(free)} are free on its disk"
        super().__init__(message, hint=_FULL, errno=numbers.ENOSPC)
        self.where = where
        self.needed = needed
        self.free = free

    def __reduce__(self) -> tuple[object, ...]:
        return partial(type(self), needed=self.needed, free=self.free), (self.where,)


UPGRADE = "install a newer version of ama, the way you installed this one"
"""The hint for data of a later version."""


def shown(text: object) -> str:
    r"""Return a name or path for a message: on one line, and safe to print anywhere.

    Args:
        text: The name or path. A `Path` may hold bytes that are no UTF-8.

    Returns:
        The same text, with control characters and bytes that are no UTF-8 escaped.

    Example:
        >>> shown("a\nb")
        'a\\nb'
    """
    plain = _utf8(text) if isinstance(text, os.PathLike) else str(text)
    if plain.isprintable():
        return plain
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in plain)


def sized(count: int) -> str:
    """Return a number of bytes for people, in units of 1000 bytes.

    Example:
        >>> sized(636_144)
        '636.1 kB'
    """
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} PB"


_FULL = "free some space and run the same command again"
_AGAIN = "run the same command again"
# errno -> message, hint, whether another try may help
_MEANING: dict[int, tuple[str, str | None, bool]] = {
    numbers.ENOSPC: ("no space left on the disk of {}", _FULL, False),
    numbers.EDQUOT: ("the disk quota is used up for {}", _FULL, False),
    numbers.EFBIG: ("{} would be larger than its file system allows", None, False),
    numbers.EROFS: ("{} is read-only: its file system is mounted so", None, False),
    numbers.ENOENT: ("{} does not exist", None, False),
    numbers.EEXIST: ("{} exists already", None, False),
    numbers.ENOTDIR: ("{} is not a directory, or is below something that isn't one", None, False),
    numbers.EISDIR: ("{} is a directory", None, False),
    numbers.ENOTEMPTY: ("{} is a directory with something in it", None, False),
    numbers.ENAMETOOLONG: ("{} is a longer name than its file system holds", None, False),
    numbers.EILSEQ: ("{} is a name that its file system can't hold", None, False),
    numbers.ELOOP: ("{} leads through too many symlinks", None, False),
    numbers.EXDEV: ("{} is on another file system than its temporary file", None, False),
    numbers.EMFILE: ("too many open files: can't open {}", "raise the limit (ulimit -n)", True),
    numbers.ENFILE: ("too many open files on this machine: can't open {}", _AGAIN, True),
    numbers.EIO: ("the disk of {} reports an error", "check the disk", False),
    numbers.ESTALE: ("{} was lost by its network file system", _AGAIN, True),
    numbers.ETIMEDOUT: ("the file system of {} did not answer in time", _AGAIN, True),
    numbers.EBUSY: ("{} is in use", _AGAIN, True),
    numbers.EAGAIN: ("{} is not available now", _AGAIN, True),
    numbers.EINTR: ("the work on {} was interrupted", _AGAIN, True),
    numbers.ENOMEM: ("the system has no memory left for {}", _AGAIN, True),
}


def too_few_threads() -> StorageError:
    """Return the error for a system that starts no more threads.

    Example:
        >>> str(too_few_threads())
        'the system lets ama start no more threads'
    """
    return StorageError(
        "the system lets ama start no more threads",
        hint="raise the limit (ulimit -u), and run the same command again",
        retryable=True,
        errno=numbers.EAGAIN,
    )


def storage_error(
    error: OSError, path: str | os.PathLike[str], *, doing: str = "write"
) -> StorageError:
    """Return an error that says in one clear line what the system meant.

    Args:
        error: The system's error. A StorageError is returned unchanged.
        path: The path that the error is about, as the system has it.
        doing: The refused action: "write" or "read".

    Returns:
        The error to raise, `from` the system's.

    Example:
        >>> str(storage_error(OSError(28, "No space left on device"), "model.h5"))
        'no space left on the disk of model.h5'
    """
    if isinstance(error, StorageError):
        return error
    where = shown(_utf8(path))
    if getattr(error, "winerror", None) == 1314:
        message = f"{where} can't be made: this system allows no symlinks"
        hint: str | None = "turn on the developer mode of Windows"
        retryable = False
    elif error.errno in (numbers.EACCES, numbers.EPERM):
        message = f"no permission to {doing} {where}"
        hint = "check its permissions, and those of its directory"
        retryable = False
    elif error.errno in _MEANING:
        text, hint, retryable = _MEANING[error.errno]
        message = text.format(where)
    else:
        reason = shown(error.strerror or type(error).__name__)
        message, hint, retryable = f"{where}: {reason}", None, False
    return StorageError(message, hint=hint, retryable=retryable, errno=error.errno)


def _utf8(path: str | os.PathLike[str]) -> str:
    """Return a path as text, as `encoding.from_system` does: errors import nothing."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")
