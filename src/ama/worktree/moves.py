"""Fewest moves: which directories of a fetched tree go whole into their places, and which files.

A directory goes by one rename if nothing has its name yet. Where one is there already, the same is
asked of what is in it. A rename may be refused nevertheless (a disk may be mounted there, or
somebody was faster): then there is another round, for what is in that directory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto


class _State(Enum):
    """The fate of the content of a directory in a round."""

    WHOLE = auto()
    """It goes with the directory, or with one above it."""
    OPEN = auto()
    """Each entry goes on its own."""
    DONE = auto()
    """It went in an earlier round."""


@dataclass(frozen=True, slots=True)
class Moves:
    """The moves of one fetched tree, round by round.

    Attributes:
        paths: Every path of the tree; called once for each round.
        is_free: Whether a directory can go whole: nothing has its name.
        make: Makes a directory in its place, or finds it there.
    """

    paths: Callable[[], Iterable[str]]
    is_free: Callable[[str], bool]
    make: Callable[[str], object]

    def among(self, barred: Iterable[str]) -> tuple[list[str], list[str]]:
        """Return the directories that go whole, and the files that go one by one.

        Args:
            barred: The directories that can't go whole, as the last round has shown; the first one
                is about the root, "".

        Example:
            >>> moves = Moves(lambda: ["a", "new/b", "old/c", "old/x/d"], "old".__ne__, len)
            >>> moves.among([""])
            (['new', 'old/x'], ['a', 'old/c'])
            >>> moves.among(["old/x"])
            ([], ['old/x/d'])
        """
        barred = set(barred)
        states: dict[str, _State] = {}
        whole: list[str] = []
        files: list[str] = []

        def decide(path: str, above: _State) -> _State:
            if path in barred:
                self.make(path)
                return _State.OPEN
            if above is not _State.OPEN:
                return above
            if self.is_free(path):
                whole.append(path)
                return _State.WHOLE
            self.make(path)
            return _State.OPEN

        def state_of(directory: str) -> _State:
            state, at = _State.DONE, 0
            while True:
                path = directory[:at]
                known = states.get(path)
                if known is None:
                    known = states[path] = decide(path, state)
                if at == len(directory):
                    return known
                state = known
                at = directory.find("/", at + 1)
                at = len(directory) if at < 0 else at

        for path in self.paths():
            parent = path.rpartition("/")[0]
            state = states.get(parent) or state_of(parent)
            if state is _State.OPEN:
                files.append(path)
        return whole, files
