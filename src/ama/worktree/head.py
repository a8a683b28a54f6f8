"""HEAD: the class of a worktree's assets, and the asset that the next one follows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ama.errors import FormatError, Hint, IntegrityError
from ama.format import canonical
from ama.format.hashing import ID_SIZE
from ama.format.names import check_alias, check_class
from ama.worktree.generations import Generations

VERSION = 1
NAME = "HEAD"


@dataclass(frozen=True, slots=True)
class Unpublished:
    """A commit that no upload or push has published, with its waiting aliases.

    `made` is False if the asset itself is published, and only the aliases wait.
    """

    asset: bytes
    aliases: tuple[str, ...] = ()
    made: bool = True


@dataclass(frozen=True, slots=True)
class Head:
    """The position of a worktree.

    `asset` is None before the first commit of a class. `unpublished` are the commits that wait
    for a push, oldest first. `origin` is the URL of the store that promises published content,
    None before anything is published. `alias` is the one that `pull` follows, and `number`
    the asset's in `origin`, None if it isn't published there.
    """

    class_name: str
    asset: bytes | None = None
    origin: str | None = None
    unpublished: tuple[Unpublished, ...] = ()
    alias: str | None = None
    number: int | None = None


def encode_head(head: Head) -> bytes:
    """Return HEAD's bytes.

    Example:
        >>> decode_head(encode_head(Head("models"))).class_name
        'models'
    """
    waiting = [(commit.asset, commit.aliases, commit.made) for commit in head.unpublished]
    return canonical.encode(
        (VERSION, head.class_name, head.asset, head.origin, waiting, head.alias, head.number)
    )


def decode_head(data: bytes) -> Head:
    """Decode HEAD.

    Raises:
        IntegrityError: The bytes are damaged.
        FormatError: A newer version of ama has written them.
    """
    fields = canonical.decode(data, NAME)
    try:
        version, *rest = fields
        if type(version) is int and version > VERSION:
            raise FormatError("HEAD is of a newer version of ama: upgrade ama to use it")
        class_name, asset, origin, waiting, alias, number = rest
        commits = tuple(
            Unpublished(_id(commit), tuple(check_alias(name) for name in aliases), bool(made))
            for commit, aliases, made in waiting
        )
        head = Head(
            check_class(class_name),
            None if asset is None else _id(asset),
            None if origin is None else str(origin),
            commits,
            None if alias is None else check_alias(alias),
            None if number is None else int(number),
        )
        if encode_head(head) != data:
            raise ValueError("a field of another type")
    except (ValueError, TypeError) as error:
        raise IntegrityError(f"HEAD is damaged: {error}") from error
    return head


def _id(value: object) -> bytes:
    if type(value) is not bytes or len(value) != ID_SIZE:
        raise ValueError("an id is not 32 bytes")
    return value


class At(NamedTuple):
    """HEAD as read: only a command that names its generation can replace it."""

    generation: int
    head: Head


class HeadFile:
    """HEAD in a worktree's control directory.

    Args:
        control: The `.ama` directory.
    """

    def __init__(self, control: Path) -> None:
        self._file = Generations(control, NAME)
        self._control = control

    def read(self) -> At:
        """Return the present HEAD.

        Raises:
            IntegrityError: It is missing or damaged.
        """
        found = self._file.read()
        if found is None:
            raise IntegrityError(
                f"HEAD is missing in {self._control}",
                hint=(Hint("init-with-staged"), Hint("download-again")),
            )
        return At(found[0], decode_head(found[1]))

    def exists(self) -> bool:
        """Whether there is a HEAD."""
        return self._file.read() is not None

    def generation(self) -> int:
        """Return HEAD's generation; 0 if there is none."""
        return self._file.generation()

    def write(self, expected: int, head: Head) -> int:
        """Replace HEAD, if no other command has since, and return its new generation.

        Args:
            expected: The generation that was read; 0 if there was none.
            head: The new HEAD.

        Raises:
            Conflict: Another command changed it.
        """
        return self._file.write(expected, encode_head(head))
