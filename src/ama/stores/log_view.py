"""The log as seen at one moment: a folded state and the entries after it, classes on demand.

`When` says of which moment. Whoever decides something looks at the log as it is `NOW`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from enum import Enum

from ama.errors import AmaError
from ama.format.entries import Entry
from ama.format.state import ClassState, Root, fold_class, fold_root, touched_classes


class When(Enum):
    """The moment of which a view shows a log."""

    NOW = "now"
    """As it is: the store is asked."""

    LAST_SEEN = "last seen"
    """As this machine saw it last: the store is not asked."""

    NOW_ELSE_LAST_SEEN = "now, else last seen"
    """As it is or, where the store can't be asked, as this machine saw it last."""


Loader = Callable[[Root, Iterable[str]], Mapping[str, ClassState]]


class LogView:
    """The state of a store after entry `number`.

    Args:
        base: A folded state, whose classes load on demand.
        tail: The entries after it with the hash of each one's bytes, in order.
        load: A function that returns the states of some of the base's classes.
        damage: Why the log can't be read beyond `number`, if it can't. What the log says up to
            there stays true, but the newest asset is not known.
    """

    def __init__(
        self,
        base: Root,
        tail: Iterable[tuple[Entry, bytes]],
        load: Loader,
        damage: AmaError | None = None,
    ) -> None:
        self.base = base
        self.tail = tuple(tail)
        self.damage = damage
        self._load = load
        self._states: dict[str, ClassState] = {}
        self.root = fold_root(base, self.tail)
        born = {name for entry, _ in self.tail for name in touched_classes(entry)}
        self.class_names: tuple[str, ...] = tuple(sorted({*base.classes, *born}))

    @property
    def number(self) -> int:
        """Return the number of the last entry; 0 if there is none."""
        return self.root.number

    @property
    def entry_hash(self) -> bytes:
        """Return the hash of the last entry's bytes."""
        return self.root.entry_hash

    def require_whole(self) -> None:
        """Check that the log was readable to its end.

        Raises:
            IntegrityError: It is damaged.
        """
        if self.damage is not None:
            raise self.damage

    def class_state(self, name: str) -> ClassState:
        """Return a class's state; an empty one if the store has no such class."""
        return self.class_states([name])[name]

    def class_states(self, names: Iterable[str] | None = None) -> dict[str, ClassState]:
        """Return the states of some classes (default: all), loaded in one batch."""
        wanted = list(self.class_names if names is None else names)
        missing = [name for name in wanted if name not in self._states]
        loaded = self._load(self.base, [name for name in missing if name in self.base.classes])
        entries = [entry for entry, _ in self.tail]
        for name in missing:
            self._states[name] = fold_class(loaded.get(name, ClassState(name)), entries)
        return {name: self._states[name] for name in wanted}

    def entry(self, number: int) -> Entry | None:
        """Return an entry of the tail, or None if the base contains it."""
        at = number - self.base.number - 1
        return self.tail[at][0] if 0 <= at < len(self.tail) else None

    def folded(self, digest: Callable[[ClassState], bytes]) -> Root:
        """Return the whole state as one root.

        Args:
            digest: A function that stores a class's state and returns its digest.
        """
        touched = {name for entry, _ in self.tail for name in touched_classes(entry)}
        states = self.class_states(sorted(touched))
        classes = {**self.base.classes, **{name: digest(states[name]) for name in sorted(touched)}}
        return replace(self.root, classes=classes)
