"""The assets of a store that a new one may rest on: what they have, the store has."""

from __future__ import annotations

from collections.abc import Set
from contextlib import suppress

from ama.errors import AmaError
from ama.format.state import AssetRecord
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.sources import Sources

NEWEST = 4
"""The number of a class's newest assets to look at, if no parent of a new one is of use."""


class Bases:
    """The assets that count on one view of a log: published there, not deleted, and whole.

    Args:
        remote: The store.
        view: Its log.
        sources: The sources of assets and trees.
        lost: The indexes that lack a pack.
    """

    def __init__(self, remote: Remote, view: LogView, sources: Sources, lost: Set[bytes]) -> None:
        self._remote = remote
        self._view = view
        self._sources = sources
        self._counted = frozenset(view.root.indexes) - lost
        self._needs: dict[tuple[str, bytes], tuple[bytes, ...] | None] = {}

    def trees(self, asset: bytes) -> dict[bytes, tuple[str, bytes]]:
        """Return the assets that a new one may rest on, as (class, id) by their trees.

        Those are its parents, else the newest of its class; only if their trees are at hand.
        """
        value = self._sources.asset(asset)
        found: dict[bytes, tuple[str, bytes]] = {}
        for parent in value.parents:
            with suppress(AmaError):  # what can't be read is not rested on
                other = self._sources.asset(parent)
                if self._is_live(other.class_name, parent):
                    self._take(found, other.tree, (other.class_name, parent))
        if not found:
            name = value.class_name
            for near, other in self._remote.remembered_assets(self._view, name, NEWEST):
                if self._is_live(name, near):
                    self._take(found, other.tree, (name, near))
        return found

    def needs(self, base: tuple[str, bytes]) -> tuple[bytes, ...] | None:
        """Return the current indexes that name all content of an asset; None if some are not."""
        if base not in self._needs:
            self._needs[base] = None
            with suppress(AmaError):  # its entry can't be read
                class_name, asset = base
                record = _record(self._view, class_name, asset)
                if record is not None:
                    event = self._remote.publish_event(self._view, class_name, record)
                    needs = self._view.root.current(event.needs)
                    self._needs[base] = needs if self._counted.issuperset(needs) else None
        return self._needs[base]

    def _is_live(self, class_name: str, asset: bytes) -> bool:
        return is_live(self._view, class_name, asset)

    def _take(
        self, found: dict[bytes, tuple[str, bytes]], tree: bytes, base: tuple[str, bytes]
    ) -> None:
        if self._sources.near_tree(tree) is not None:
            found.setdefault(tree, base)


def is_live(view: LogView, class_name: str, asset: bytes) -> bool:
    """Tell whether an asset is published in a log, and not deleted."""
    record = _record(view, class_name, asset)
    return record is not None and record.status != "deleted"


def _record(view: LogView, class_name: str, asset: bytes) -> AssetRecord | None:
    state = view.class_state(class_name)
    return state.record(state.number(asset) or 0)
