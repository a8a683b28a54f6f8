"""The log as seen at one moment: a folded state and the entries after it, classes on demand.

`When` says of which moment. Whoever decides something looks at the log as it is `NOW`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from ama.errors import AmaError
from ama.format.checkpoint import Checkpoint, ClassTables, Store, fold_checkpoint
from ama.format.entries import Entry
from ama.format.state import touched_classes
from ama.format.tables import Source
from ama.stores.class_view import ClassView
from ama.stores.root_view import RootView


class When(Enum):
    """The moment of which a view shows a log."""

    NOW = "now"
    """As it is: the store is asked."""

    LAST_SEEN = "last seen"
    """As this machine saw it last: the store is not asked."""

    NOW_ELSE_LAST_SEEN = "now, else last seen"
    """As it is or, where the store can't be asked, as this machine saw it last."""


class LogView:
    """The state of a store after entry `number`.

    Args:
        base: A checkpoint, of which is read what is asked about.
        tail: The entries after it with the hash of each one's bytes, in order.
        source: What returns the checkpoint's segments.
        damage: Why the log can't be read beyond `number`, if it can't. What the log says up to
            there stays true, but the newest asset is not known.

    Raises:
        FormatError: An entry holds a critical event of a later version of ama.
    """

    def __init__(
        self,
        base: Checkpoint,
        tail: Iterable[tuple[Entry, bytes]],
        source: Source,
        damage: AmaError | None = None,
    ) -> None:
        self.base = base
        self.tail = tuple(tail)
        self.source = source
        self.damage = damage
        self._classes: dict[str, ClassView] = {}
        self.root = RootView(base, self.tail, source)
        self._touched: dict[str, list[Entry]] = {}
        for entry, _ in self.tail:
            for name in touched_classes(entry):
                self._touched.setdefault(name, []).append(entry)
        self.class_names: tuple[str, ...] = tuple(sorted({*base.classes, *self._touched}))

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

    def class_state(self, name: str) -> ClassView:
        """Return a class; an empty one if the store has no such class."""
        if name not in self._classes:
            before = self.base.classes.get(name, ClassTables())
            entries = self._touched.get(name, [])
            self._classes[name] = ClassView(name, before, entries, self.source)
        return self._classes[name]

    def class_states(self, names: Iterable[str] | None = None) -> dict[str, ClassView]:
        """Return some classes (default: all)."""
        wanted = self.class_names if names is None else names
        return {name: self.class_state(name) for name in wanted}

    def load(self, digests: Sequence[bytes]) -> None:
        """Read segments that several classes will be asked for, in one batch."""
        self.source.read(digests)

    def entry(self, number: int) -> Entry | None:
        """Return an entry of the tail, or None if the base contains it."""
        at = number - self.base.number - 1
        return self.tail[at][0] if 0 <= at < len(self.tail) else None

    def folded(self, store: Store, until: int | None = None) -> Checkpoint:
        """Return the state after an entry of the tail (default: the last) as a checkpoint.

        Args:
            store: A function that keeps a new segment's bytes, and returns their digest.
            until: The number of the entry.
        """
        end = None if until is None else until - self.base.number
        return fold_checkpoint(self.base, self.tail[:end], self.source, store)
