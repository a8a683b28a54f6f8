"""Descriptions of assets for people: the object, and what a store's log says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ama.format.objects import Asset, RefLink
from ama.values import AliasMove, AssetInfo, Ref

if TYPE_CHECKING:
    from ama.format.entries import StatusName
    from ama.format.state import AssetRecord, ClassState
    from ama.stores.log_view import LogView

    _Class = tuple[ClassState | None, Mapping[bytes, int], Mapping[bytes, tuple[str, ...]]]


def moment(microseconds: int) -> datetime:
    """Return a time of the format (UTC microseconds) as a datetime.

    Example:
        >>> moment(0).year
        1970
    """
    seconds, rest = divmod(microseconds, 1_000_000)
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
    except (ValueError, OverflowError, OSError):
        # A forged store may claim any time: show the last possible one.
        return datetime.max.replace(tzinfo=UTC)


class Describer:
    """A describer of assets by one view of a store's log.

    Args:
        view: The log; None: no store was ever seen.
    """

    def __init__(self, view: LogView | None) -> None:
        self._view = view
        self._classes: dict[str, _Class] = {}

    def _class(self, name: str) -> _Class:
        if self._view is None:
            return None, {}, {}
        if name not in self._classes:
            state = self._view.class_state(name)
            numbers = {record.id: at for at, record in enumerate(state.assets, 1)}
            # In a damaged log, later entries may have moved every alias.
            pointing = {} if self._view.damage else state.aliases_by_asset()
            self._classes[name] = state, numbers, pointing
        return self._classes[name]

    def number(self, class_name: str, asset: bytes) -> int | None:
        """Return an asset's number, None if it isn't published."""
        return self._class(class_name)[1].get(asset)

    def record(self, class_name: str, asset: bytes) -> AssetRecord | None:
        """Return an asset's record in the log, None if it isn't published."""
        state, numbers, _ = self._class(class_name)
        number = numbers.get(asset)
        return None if number is None or state is None else state.record(number)

    def status(self, class_name: str, asset: bytes) -> StatusName:
        """Return an asset's status; an unpublished one is active."""
        record = self.record(class_name, asset)
        return record.status if record else "active"

    def instead_of(self, class_name: str, asset: bytes) -> bytes | None:
        """Return what is to be used instead of an asset that is deprecated; None of another one."""
        if self.status(class_name, asset) != "deprecated":
            return None
        state = self._class(class_name)[0]
        newest = state.newest_active() if state else None
        return newest.id if newest else None

    def info(self, asset_id: bytes, asset: Asset, size: int | None = None) -> AssetInfo:
        """Return everything about an asset except its files."""
        record = self.record(asset.class_name, asset_id)
        return AssetInfo(
            id=asset_id.hex(),
            class_name=asset.class_name,
            tree=asset.tree.hex(),
            author=asset.author,
            created_at=moment(asset.created_at),
            message=asset.message,
            size=size,
            number=self.number(asset.class_name, asset_id),
            aliases=self._class(asset.class_name)[2].get(asset_id, ()),
            parents=tuple(parent.hex() for parent in asset.parents),
            refs=self.refs(asset.refs),
            metadata=dict(asset.metadata),
            status=self.status(asset.class_name, asset_id),
            status_reason=record.reason if record else "",
        )

    def ref(self, asset: bytes, class_name: str, label: str) -> Ref:
        """Return a link to an asset, for people."""
        aliases = self._class(class_name)[2].get(asset, ())
        number, status = self.number(class_name, asset), self.status(class_name, asset)
        return Ref(asset.hex(), class_name, label, number, aliases, status)

    def refs(self, links: Iterable[RefLink]) -> tuple[Ref, ...]:
        """Return links, for people."""
        return tuple(self.ref(link.asset, link.class_name, link.label) for link in links)

    def moves(self, class_name: str, alias: str) -> tuple[AliasMove, ...]:
        """Return an alias's history, newest first."""
        state, numbers, _ = self._class(class_name)
        return tuple(
            AliasMove(
                class_name,
                alias,
                move.asset.hex() if move.asset else None,
                numbers.get(move.asset) if move.asset else None,
                move.author,
                moment(move.at),
                self.status(class_name, move.asset) if move.asset else "active",
            )
            for move in reversed(state.aliases.get(alias, ()) if state else ())
        )
