"""A class at one moment: the tables of a checkpoint, and the entries after it.

Nothing is read but what is asked about, whatever the size of the class. `format.state` has the same
as one value, which the entries alone add up to; both say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import overload

from ama.format.checkpoint import (
    BY_ID,
    MOVES,
    ClassTables,
    alias_key,
    alias_record,
    asset_record,
    id_key,
    lower,
)
from ama.format.entries import Entry, SetStatus, StatusName
from ama.format.state import AliasRecord, AssetRecord, ClassState, fold_class
from ama.format.tables import KEY_SIZE, Row, Source, TableReader

MOVES_AT_ONCE = 1024
"""How far back to read at once on the way through an alias's moves."""


class ClassView:
    """A class.

    Args:
        name: Its name.
        tables: The class in a checkpoint.
        entries: The entries after it.
        source: What returns the checkpoint's segments.
    """

    def __init__(
        self, name: str, tables: ClassTables, entries: Sequence[Entry], source: Source
    ) -> None:
        self.name = name
        self._before = tables
        self._assets = TableReader(tables.assets, BY_ID, source)
        self._moves = TableReader(tables.moves, MOVES, source)
        self._source = source
        self._tail = fold_class(ClassState(name), entries)
        self._tail_ids = {record.id for record in self._tail.assets}
        self._statuses: dict[bytes, tuple[StatusName, str]] = {
            event.asset: (event.status, event.reason)
            for entry in entries
            for event in entry.events
            if isinstance(event, SetStatus) and event.class_name == name
        }
        self._numbers: dict[bytes, int | None] = {}

    @property
    def assets(self) -> Records:
        """Return the assets in the order of their numbers."""
        return Records(self)

    @property
    def aliases(self) -> Moves:
        """Return every alias that there is or was, with all its moves."""
        return Moves(self)

    @property
    def count(self) -> int:
        """Return how many assets it has, deleted ones included."""
        return self._assets.count + len(self._fresh)

    @property
    def live(self) -> int:
        """Return how many assets are not deleted."""
        changed = [asset for asset in self._statuses if self._number_before(asset) is not None]
        self._load_numbers(changed)
        places = [(self._number_before(asset) or 0) - 1 for asset in changed]
        was = sum(
            asset_record(row).status == "deleted" for row in self._assets.rows(places).values()
        )
        deleted = sum(self._statuses[asset][0] == "deleted" for asset in changed)
        return self._before.live + was - deleted + sum(r.status != "deleted" for r in self._fresh)

    def number(self, asset: bytes) -> int | None:
        """Return an asset's number, or None if it isn't published here."""
        before = self._number_before(asset)
        if before is not None or asset not in self._tail_ids:
            return before
        at = next(at for at, record in enumerate(self._fresh) if record.id == asset)
        return self._assets.count + at + 1

    def record(self, number: int) -> AssetRecord | None:
        """Return the asset with a number, or None if there is none."""
        if 1 <= number <= self._assets.count:
            return next(self.records([number]))
        return next(self.records([number])) if 1 <= number <= self.count else None

    def find(self, asset: bytes) -> AssetRecord | None:
        """Return an asset's record, or None if it isn't published here."""
        number = self.number(asset)
        return None if number is None else self.record(number)

    def load(self, assets: Iterable[bytes]) -> None:
        """Read what some assets have, in few batches, as it will be asked for."""
        self._load_numbers(assets)

    def records(self, numbers: Iterable[int]) -> Iterator[AssetRecord]:
        """Yield the assets with some numbers that exist, read in one batch."""
        wanted = list(numbers)
        before = self._assets.count
        rows = self._assets.rows(number - 1 for number in wanted if number <= before)
        for number in wanted:
            yield (
                self._record(number, rows[number - 1])
                if number <= before
                else self._fresh[number - before - 1]
            )

    def newest(self) -> Iterator[tuple[int, AssetRecord]]:
        """Yield numbers and assets, the newest first: few segments are read if few are taken."""
        yield from zip(
            range(self.count, self._assets.count, -1), reversed(self._fresh), strict=True
        )
        for place, row in self._assets.newest():
            yield place + 1, self._record(place + 1, row)

    def oldest(self) -> Iterator[AssetRecord]:
        """Yield the assets in the order of their numbers."""
        for place, row in enumerate(self._assets.between(0, self._assets.count)):
            yield self._record(place + 1, row)
        yield from self._fresh

    def newest_live(self) -> AssetRecord | None:
        """Return the newest asset that is not deleted, or None."""
        return next((r for _, r in self.newest() if r.status != "deleted"), None)

    def newest_active(self) -> AssetRecord | None:
        """Return the newest asset that is neither deprecated nor deleted, or None."""
        return next((r for _, r in self.newest() if r.status == "active"), None)

    def with_prefix(self, prefix: str) -> list[tuple[int, AssetRecord]]:
        """Return the assets whose id begins with these hex digits, with their numbers."""
        digits = 2 * KEY_SIZE
        low = bytes.fromhex(prefix[:digits].ljust(digits, "0"))
        high = bytes.fromhex(prefix[:digits].ljust(digits, "f"))
        before = sorted(place + 1 for place, _ in self._assets.within(low, high))
        found = list(zip(before, self.records(before), strict=True))
        if any(each.hex().startswith(prefix) for each in self._tail_ids):
            found += list(enumerate(self._fresh, self._assets.count + 1))
        return [(number, each) for number, each in found if each.id.hex().startswith(prefix)]

    # Aliases

    def target(self, alias: str) -> bytes | None:
        """Return the asset that an alias points to now, or None if there's no such alias."""
        moved = self._tail.aliases.get(alias)
        if moved:
            return moved[-1].asset
        last = self._last_before(alias)
        if last is None:
            return None
        asset: bytes | None
        _, (_, asset, number) = last
        if asset is not None and number:
            self._numbers[asset] = number
        return asset

    def last_move(self, alias: str) -> AliasRecord | None:
        """Return an alias's last move, or None if there never was such an alias."""
        moved = self._tail.aliases.get(alias)
        last = None if moved else self._last_before(alias)
        return moved[-1] if moved else alias_record(self._moves.row(last[0])) if last else None

    def was_on(self, alias: str, asset: bytes) -> bool:
        """Whether an alias points to an asset of the class, or ever did."""
        record = self.find(asset)
        return record is not None and alias in (*record.aliases, *record.former)

    def lowest(self, alias: str) -> int:
        """Return the lowest number of the assets that an alias was ever on; 0 if it was on none."""
        last = self._last_before(alias)
        found = int(self._moves.row(last[0])[7]) if last else 0
        for move in self._tail.aliases.get(alias, ()):
            found = lower(found, (move.asset and self.number(move.asset)) or 0)
        return found

    def newest_moves(self) -> Iterator[tuple[str, AliasRecord]]:
        """Yield aliases and their moves, the last first: few segments are read if few are taken."""
        later = [(m.entry, alias, m) for alias, moves in self._tail.aliases.items() for m in moves]
        for _, alias, move in sorted(later, key=lambda each: each[0], reverse=True):
            yield alias, move
        for _, row in self._moves.newest():
            yield row[0], alias_record(row)

    def last_moves(self) -> dict[str, AliasRecord]:
        """Return the aliases that there are, in order, each with its last move."""
        last = {row[0]: row for row in self._moves.between(0, self._moves.count)}
        found = {alias: alias_record(row) for alias, row in last.items()}
        found.update((alias, moves[-1]) for alias, moves in self._tail.aliases.items())
        return {alias: found[alias] for alias in sorted(found) if found[alias].asset is not None}

    def moves(self, alias: str) -> tuple[AliasRecord, ...]:
        """Return an alias's moves, the oldest first; none if there never was such an alias."""
        last = self._last_before(alias)
        number = last[0] + 1 if last else 0
        found: list[AliasRecord] = []
        rows: Mapping[int, Row] = {}
        while number:
            if number - 1 not in rows:
                rows = self._moves.rows(range(max(0, number - MOVES_AT_ONCE), number))
            row = rows[number - 1]
            found.append(alias_record(row))
            number = row[6] if row[6] < number else 0  # a forged one may go round in circles
        return (*reversed(found), *self._tail.aliases.get(alias, ()))

    def all_moves(self) -> dict[str, tuple[AliasRecord, ...]]:
        """Return every alias that there is or was with its moves: all of them are read."""
        found: dict[str, list[AliasRecord]] = {}
        for row in self._moves.between(0, self._moves.count):
            found.setdefault(row[0], []).append(alias_record(row))
        for alias, moves in self._tail.aliases.items():
            found.setdefault(alias, []).extend(moves)
        return {alias: tuple(moves) for alias, moves in found.items()}

    def alias_names(self) -> list[str]:
        """Return the aliases that there are, in order."""
        return list(self.last_moves())

    def alike(self, alias: str) -> set[str]:
        """Return the aliases, now or once, that differ from a name at most in case."""
        found = self._moves.find([alias_key(alias)])[alias_key(alias)]
        names = {value[0] for _, value in found} | self._tail.aliases.keys()
        return {name for name in names if name.lower() == alias.lower()}

    def aliases_of(self, asset: bytes) -> tuple[str, ...]:
        """Return the aliases that point to an asset now, in order; it may be no asset of hers."""
        record = self.find(asset)
        return record.aliases if record else self._unnumbered(AssetRecord(asset, 0)).aliases

    # What several questions read in one batch

    def parts_of_alias(self, alias: str) -> list[bytes]:
        """Return the digests of the segments that `target` reads."""
        return self._moves.parts_of([alias_key(alias)])

    def parts_of_prefix(self, prefix: str) -> list[bytes]:
        """Return the digests of the segments that `number` and `with_prefix` read."""
        return self._assets.parts_of([bytes.fromhex(prefix.ljust(10, "0")[:10])])

    def parts_of_newest(self) -> list[bytes]:
        """Return the digests of the segments that `newest` reads first."""
        count = self._assets.count
        return self._assets.parts_at([count - 1]) if count else []

    # The checkpoint and the tail together

    @cached_property
    def _fresh(self) -> tuple[AssetRecord, ...]:
        """The assets that the tail adds: an asset that was published before gets no new number."""
        self._load_numbers(self._tail_ids)
        new = [r for r in self._tail.assets if self._number_before(r.id) is None]
        return tuple(map(self._unnumbered, new))

    def _record(self, number: int, row: Row) -> AssetRecord:
        record = asset_record(row)
        self._numbers[record.id] = number
        if record.id in self._statuses:
            status, reason = self._statuses[record.id]
            record = replace(record, status=status, reason=reason)
        return self._with_aliases(record) if self._tail.aliases else record

    def _with_aliases(self, record: AssetRecord) -> AssetRecord:
        """Return a record with what the tail says of aliases."""
        moved = self._tail.aliases
        now, ever = {*record.aliases}, {*record.aliases, *record.former}
        now = {alias for alias in now if alias not in moved}
        for alias in self._tail_moved.get(record.id, ()):
            ever.add(alias)
            if moved[alias][-1].asset == record.id:
                now.add(alias)
        return replace(record, aliases=tuple(sorted(now)), former=tuple(sorted(ever - now)))

    def _unnumbered(self, record: AssetRecord) -> AssetRecord:
        """Return the record of what is no asset in the checkpoint, with its aliases."""
        if self._before.dangling:
            last: dict[str, bytes | None] = {}
            ever = set()
            for alias, asset, *_ in self._moves.between(0, self._moves.count):
                last[alias] = asset
                if asset == record.id:
                    ever.add(alias)
            now = tuple(alias for alias in ever if last[alias] == record.id)
            record = replace(record, aliases=now, former=tuple(ever))
        return self._with_aliases(record)

    @cached_property
    def _tail_moved(self) -> Mapping[bytes, set[str]]:
        """The aliases that the tail moves to each asset."""
        found: dict[bytes, set[str]] = {}
        for alias, moves in self._tail.aliases.items():
            for move in moves:
                if move.asset is not None:
                    found.setdefault(move.asset, set()).add(alias)
        return found

    def _number_before(self, asset: bytes) -> int | None:
        if asset not in self._numbers:
            self._load_numbers([asset])
        return self._numbers[asset]

    def _load_numbers(self, assets: Iterable[bytes]) -> None:
        """Look some assets up in the checkpoint, in two batches."""
        wanted = [asset for asset in assets if asset not in self._numbers]
        found = self._assets.find(map(id_key, wanted))
        rows = self._assets.rows({place for places in found.values() for place, _ in places})
        for asset in wanted:
            places = [place for place, _ in found[id_key(asset)] if rows[place][0] == asset]
            self._numbers[asset] = places[0] + 1 if places else None

    def _last_before(self, alias: str) -> tuple[int, tuple[str, bytes | None, int]] | None:
        key = alias_key(alias)
        for place, value in reversed(self._moves.find([key])[key]):
            if value[0] == alias:
                return place, value
        return None


class Records(Sequence[AssetRecord]):
    """The assets of a class in the order of their numbers, read as they are taken."""

    def __init__(self, of: ClassView) -> None:
        self._of = of

    def __len__(self) -> int:
        return self._of.count

    @overload
    def __getitem__(self, at: int) -> AssetRecord: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[AssetRecord, ...]: ...

    def __getitem__(self, at: int | slice) -> AssetRecord | tuple[AssetRecord, ...]:
        numbers = range(1, len(self) + 1)[at]
        if isinstance(numbers, range):
            return tuple(self._of.records(numbers))
        return next(self._of.records([numbers]))

    def __iter__(self) -> Iterator[AssetRecord]:
        return self._of.oldest()

    def __reversed__(self) -> Iterator[AssetRecord]:
        return (record for _, record in self._of.newest())


class Moves(Mapping[str, tuple[AliasRecord, ...]]):
    """The aliases of a class with their moves: one is looked up, all are read to be listed."""

    def __init__(self, of: ClassView) -> None:
        self._of = of

    @cached_property
    def _all(self) -> dict[str, tuple[AliasRecord, ...]]:
        return self._of.all_moves()

    def __getitem__(self, alias: str) -> tuple[AliasRecord, ...]:
        found = self._all.get(alias, ()) if "_all" in self.__dict__ else self._of.moves(alias)
        if not found:
            raise KeyError(alias)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)
