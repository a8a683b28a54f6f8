"""The assets of a store that a new one may rest on: what they have, the store has."""

from __future__ import annotations

from collections.abc import Iterable, Set
from contextlib import suppress
from typing import NamedTuple

from ama.errors import AmaError
from ama.format.objects import Asset
from ama.format.state import AssetRecord
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.sources import Sources

NEWEST = 4
"""The number of a class's newest assets to look at, if no parent of a new one is of use."""


class Base(NamedTuple):
    """A published asset that a new one may rest on."""

    class_name: str
    id: bytes
    tree: bytes


class Bases:
    """The assets that count on one view of a log: published there, not deleted, and whole.

    Args:
        remote: The store.
        view: Its log.
        sources: The sources of assets and trees.
        lost: The indexes that are gone, or lack a pack.
    """

    def __init__(self, remote: Remote, view: LogView, sources: Sources, lost: Set[bytes]) -> None:
        self._remote = remote
        self._view = view
        self._sources = sources
        self._counted = frozenset(view.root.indexes) - lost
        self._needs: dict[Base, tuple[bytes, ...] | None] = {}

    def of(self, asset: bytes) -> dict[bytes, Base]:
        """Return the assets that a new one may rest on, by their trees.

        Those are its parents, else the newest of its class; only if their trees are at hand.
        """
        value = self._sources.asset(asset)
        parents: list[tuple[bytes, Asset]] = []
        for parent in value.parents:
            with suppress(AmaError):  # what can't be read is not rested on
                parents.append((parent, self._sources.asset(parent)))
        newest = self._remote.remembered_assets(self._view, value.class_name, NEWEST)
        return self._usable(parents) or self._usable(newest)

    def _usable(self, assets: Iterable[tuple[bytes, Asset]]) -> dict[bytes, Base]:
        found: dict[bytes, Base] = {}
        for i, value in assets:
            base = Base(value.class_name, i, value.tree)
            if is_live(self._view, base) and self._sources.near_tree(base.tree) is not None:
                found.setdefault(base.tree, base)
        return found

    def needs(self, base: Base) -> tuple[bytes, ...] | None:
        """Return the indexes that name all content of an asset; None unless all are current."""
        if base not in self._needs:
            self._needs[base] = None
            with suppress(AmaError):  # its entry, or an index, can't be read
                self._needs[base] = self._needs_of(base)
        return self._needs[base]

    def _needs_of(self, base: Base) -> tuple[bytes, ...] | None:
        record = _record(self._view, base)
        if record is None:
            return None
        needs = self._remote.needs(self._view, base.class_name, record)
        if not self._counted.issuperset(needs):
            return None
        # Whoever has dropped an asset that is not deleted has not kept its root.
        return needs if any(base.tree in index for index in self._remote.indexes(needs)) else None


def is_live(view: LogView, base: Base) -> bool:
    """Tell whether an asset is published in a log, and not deleted."""
    record = _record(view, base)
    return record is not None and record.status != "deleted"


def _record(view: LogView, base: Base) -> AssetRecord | None:
    state = view.class_state(base.class_name)
    return state.record(state.number(base.id) or 0)
