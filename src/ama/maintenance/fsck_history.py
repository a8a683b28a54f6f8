"""What a log says that was read from first entry to last, as far as it is readable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ama.format.entries import HeldRef
from ama.format.notes import NoteRecord
from ama.format.state import ClassState, Root
from ama.maintenance.fsck_packs import Fault
from ama.values import display_name


@dataclass(frozen=True, slots=True)
class Published:
    """An asset as an entry of the log publishes it; `needs` None: that entry can't be read."""

    asset: bytes
    class_name: str
    entry: int
    needs: tuple[bytes, ...] | None = None
    refs: tuple[HeldRef, ...] = ()


@dataclass(slots=True)
class History:
    """The content of the log, as far as it is readable.

    `states` are the classes after the last entry. If that isn't known exactly, `numbered` are those
    before the first unreadable entry, which alone have reliable numbers.
    """

    root: Root
    published: dict[bytes, Published] = field(default_factory=dict)
    notes: list[NoteRecord] = field(default_factory=list)
    states: dict[str, ClassState] = field(default_factory=dict)
    numbered: dict[str, ClassState] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    unknown_from: int | None = None
    _numbers: dict[bytes, int] = field(default_factory=dict)
    _deleted: set[bytes] = field(default_factory=set)

    def close(self) -> None:
        """Add what only the end tells: numbers, status, and assets of unreadable entries."""
        for state in self.numbered.values():
            self._numbers.update({r.id: number for number, r in enumerate(state.assets, 1)})
        for name, state in self.states.items():
            for record in state.assets:
                if record.status == "deleted":
                    self._deleted.add(record.id)
                self.published.setdefault(record.id, Published(record.id, name, record.entry))

    def live(self) -> list[Published]:
        """Return the published assets that are not deleted, in the order of the log."""
        found = [asset for asset in self.published.values() if asset.asset not in self._deleted]
        return sorted(found, key=lambda asset: asset.entry)

    def touched_by(self, fault: Fault) -> set[bytes]:
        """Return the assets that can't be found without the entries of a fault."""
        if fault.entries is None:
            return set()
        first, last = fault.entries
        if self.unknown_from is not None and last >= self.unknown_from:
            return {a.asset for a in self.published.values() if a.entry >= first}
        return {a.asset for a in self.published.values() if first <= a.entry <= last}

    def names(self, assets: Iterable[bytes]) -> tuple[str, ...]:
        """Return the names of assets, in the order of their classes and numbers."""
        known = [self.published[asset] for asset in assets if asset in self.published]
        rows = sorted(
            (asset.class_name, self._numbers.get(asset.asset, 0), asset.entry, asset.asset)
            for asset in known
        )
        return tuple(display_name(name, n or None, asset.hex()) for name, n, _, asset in rows)
