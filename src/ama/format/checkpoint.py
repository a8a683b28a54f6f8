"""A checkpoint: the fold of the log in tables, of which a reader takes what it asks about.

It says what `state` says as one value, in segments: the assets and moves of each class, the current
indexes, and what gc has done. Folding more entries into it reads and writes only what they touch.
Its bytes are a function of the log alone, so anybody can check them. docs/format.md, section 12.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ama.errors import IntegrityError
from ama.format import canonical
from ama.format.entries import (
    MAX_NEEDS,
    STATUSES,
    Entry,
    Event,
    Feature,
    Gc,
    MoveAlias,
    Publish,
    Purged,
    SetStatus,
)
from ama.format.hashing import ID_SIZE, blob_id
from ama.format.names import check_alias, check_class
from ama.format.state import AliasRecord, AssetRecord, touched_classes
from ama.format.tables import (
    EMPTY,
    KEY_SIZE,
    Draft,
    Row,
    Shape,
    Source,
    Table,
    decode_table,
    encode_table,
)

VERSION = 1
MAGIC = b"ama-fold"

Store = Callable[[bytes], bytes]
"""A function that keeps a segment's bytes, and returns their digest."""


def id_key(object_id: bytes) -> bytes:
    """Return the key of what has an id."""
    return object_id[:KEY_SIZE]


def alias_key(alias: str) -> bytes:
    """Return the key of an alias and of those that differ from it only in case."""
    return blob_id(alias.lower().encode())[:KEY_SIZE]


BY_ID = Shape(lambda row: id_key(row[0]))
"""Assets (id, entry, status, reason, needs, aliases, former aliases), and what gc moves around:
indexes and packs that count (id, true), replaced indexes (id, those in their place). Where it has
nil instead, a row has ended."""

MOVES = Shape(lambda row: alias_key(row[0]), lambda row: row[:3], latest=True)
"""Moves of aliases (alias, asset or nil, its number or 0, author, at, entry, number of the alias's
move before or 0, lowest number of an asset that it was on or 0). A page has the last move of each
alias and says which asset, so that who asks for an alias goes on to its asset."""


@dataclass(frozen=True, slots=True)
class ClassTables:
    """A class: its assets by number, and the moves of its aliases in the order of the log.

    Attributes:
        live: How many assets are not deleted.
        dangling: Whether an alias ever moved to what was no asset of the class then.
        assets: The assets: the number of one is its place, from 1.
        moves: The moves.
    """

    live: int = 0
    dangling: bool = False
    assets: Table = EMPTY
    moves: Table = EMPTY


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The whole store after entry `number`, whose bytes hash to `entry_hash`."""

    number: int
    entry_hash: bytes
    read_features: tuple[str, ...] = ()
    write_features: tuple[str, ...] = ()
    indexes: Table = EMPTY
    replaced: Table = EMPTY
    condemned_packs: Table = EMPTY
    condemned_indexes: Table = EMPTY
    classes: Mapping[str, ClassTables] = field(default_factory=dict)

    def digests(self) -> set[bytes]:
        """Return the digests of all segments and pages."""
        tables = [self.indexes, self.replaced, self.condemned_packs, self.condemned_indexes]
        for each in self.classes.values():
            tables += [each.assets, each.moves]
        return {digest for table in tables for digest in (*table.segments, *table.pages)}


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Return the bytes of a checkpoint: a magic, canonical MessagePack, a seal.

    Example:
        >>> decode_checkpoint(encode_checkpoint(Checkpoint(64, bytes(32)))).number
        64
    """
    fields = (
        VERSION,
        checkpoint.number,
        checkpoint.entry_hash,
        checkpoint.read_features,
        checkpoint.write_features,
        encode_table(checkpoint.indexes),
        encode_table(checkpoint.replaced),
        encode_table(checkpoint.condemned_packs),
        encode_table(checkpoint.condemned_indexes),
        {
            name: (each.live, each.dangling, encode_table(each.assets), encode_table(each.moves))
            for name, each in checkpoint.classes.items()
        },
    )
    return canonical.encode_sealed(MAGIC, fields)


def decode_checkpoint(data: bytes, what: str = "checkpoint") -> Checkpoint:
    """Decode a checkpoint.

    Raises:
        IntegrityError: The bytes are damaged, or of another version.

    Example:
        >>> decode_checkpoint(encode_checkpoint(Checkpoint(64, bytes(32)))).classes
        {}
    """
    fields = canonical.decode_sealed(MAGIC, data, what)
    try:
        version, number, entry_hash, read, write, *tables, classes = fields
        if (type(version), version) != (int, VERSION):
            raise ValueError("another version")
        indexes, replaced, packs, gone = map(decode_table, tables)
        checkpoint = Checkpoint(
            canonical.check_number(number),
            canonical.check_id(entry_hash),
            tuple(map(canonical.check_text, read)),
            tuple(map(canonical.check_text, write)),
            indexes,
            replaced,
            packs,
            gone,
            {check_class(name): _class_tables(*each) for name, each in classes.items()},
        )
        if encode_checkpoint(checkpoint) != data:
            raise ValueError("a field of another type")
    except (ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{what} is damaged: {error}") from error
    return checkpoint


def _class_tables(live: Any, dangling: Any, assets: Any, moves: Any) -> ClassTables:
    if type(dangling) is not bool:
        raise ValueError("neither true nor false")
    return ClassTables(
        canonical.check_number(live), dangling, decode_table(assets), decode_table(moves)
    )


def asset_record(row: Row) -> AssetRecord:
    """Return the asset of a row.

    Raises:
        IntegrityError: It is no asset's row.
    """
    try:
        asset, entry, status, reason, needs, aliases, former = row
        return AssetRecord(
            canonical.check_id(asset),
            canonical.check_number(entry),
            STATUSES[canonical.check_number(status)],
            canonical.check_text(reason),
            None if needs is None else _needs(needs),
            tuple(map(check_alias, aliases)),
            tuple(map(check_alias, former)),
        )
    except (ValueError, TypeError, IndexError) as error:
        raise IntegrityError(f"an asset of a checkpoint is damaged: {error}") from error


def alias_record(row: Row) -> AliasRecord:
    """Return the move of a row.

    Raises:
        IntegrityError: It is no move's row.
    """
    try:
        alias, asset, _, author, at, entry, _, _ = row
        check_alias(alias)
        found = None if asset is None else canonical.check_id(asset)
        return AliasRecord(
            found,
            canonical.check_text(author),
            canonical.check_number(at),
            canonical.check_number(entry),
        )
    except (ValueError, TypeError) as error:
        raise IntegrityError(f"a move of an alias in a checkpoint is damaged: {error}") from error


def fold_checkpoint(
    checkpoint: Checkpoint,
    entries: Sequence[tuple[Entry, bytes]],
    source: Source,
    store: Store,
) -> Checkpoint:
    """Return the checkpoint after more entries.

    Args:
        checkpoint: The checkpoint before.
        entries: The entries in order, each with the hash of its bytes; known to hold no critical
            event of a later version.
        source: What returns the segments before.
        store: A function that keeps a new segment's bytes, and returns their digest.
    """
    if not entries:
        return checkpoint
    events = [event for entry, _ in entries for event in entry.events]
    features = [event for event in events if isinstance(event, Feature)]
    of_store = _StoreDraft(checkpoint, source)
    of_store.load(events)
    for event in events:
        of_store.fold(event)
    classes = dict(checkpoint.classes)
    for name in sorted({name for entry, _ in entries for name in touched_classes(entry)}):
        of_class = _ClassDraft(classes.get(name, ClassTables()), source)
        mine = [(entry, event) for entry, _ in entries for event in entry.events]
        of_class.fold([(entry, event) for entry, event in mine if class_of(event) == name])
        classes[name] = of_class.finish(store)
    last, last_hash = entries[-1]
    read = {*checkpoint.read_features, *(name for each in features for name in each.read)}
    write = {*checkpoint.write_features, *(name for each in features for name in each.write)}
    return replace(
        of_store.finish(store),
        number=last.number,
        entry_hash=last_hash,
        read_features=tuple(sorted(read)),
        write_features=tuple(sorted(write)),
        classes=classes,
    )


def class_of(event: Event) -> str | None:
    """Return the class that an event is about; None: it is about the store."""
    return event.class_name if isinstance(event, Publish | MoveAlias | SetStatus) else None


def lower(one: int, other: int) -> int:
    """Return the lower of two numbers of assets; 0 is none.

    Example:
        >>> lower(0, 7), lower(5, 7)
        (7, 5)
    """
    return min(one, other) or max(one, other)


class _ClassDraft:
    """A class into which events are folded."""

    def __init__(self, before: ClassTables, source: Source) -> None:
        self._live = before.live
        self._dangling = before.dangling
        self._assets = Draft(before.assets, BY_ID, source)
        self._moves = Draft(before.moves, MOVES, source)

    def fold(self, events: Sequence[tuple[Entry, Event]]) -> None:
        self._load([event for _, event in events])
        for entry, event in events:
            match event:
                case Publish():
                    self._publish(event, entry)
                    for alias, _ in event.aliases:
                        self._move(alias, event.asset, entry)
                case MoveAlias():
                    self._move(event.alias, event.asset, entry)
                case SetStatus():
                    self._set_status(event)

    def finish(self, store: Store) -> ClassTables:
        assets, moves = self._assets.finish(store), self._moves.finish(store)
        return ClassTables(self._live, self._dangling, assets, moves)

    def _load(self, events: Iterable[Event]) -> None:
        aliases, assets = [], []
        for event in events:
            if isinstance(event, Publish):
                aliases += [alias for alias, _ in event.aliases]
            elif isinstance(event, MoveAlias):
                aliases.append(event.alias)
            if isinstance(event, Publish | MoveAlias | SetStatus) and event.asset is not None:
                assets.append(event.asset)
        self._moves.load(map(alias_key, aliases))
        left = [target for alias in aliases if (target := self._last(alias)[1]) is not None]
        self._assets.load(map(id_key, (*assets, *left)))

    def _publish(self, event: Publish, entry: Entry) -> None:
        # An asset is published once: a repetition gives no new number.
        if self._place(event.asset) is None:
            aliases, former = self._pointing(event.asset) if self._dangling else ((), ())
            needs = b"".join(event.needs)
            self._assets.append((event.asset, entry.number, 0, "", needs, aliases, former))
            self._live += 1

    def _set_status(self, event: SetStatus) -> None:
        place = self._place(event.asset)
        if place is not None:
            asset, entry, before, _, *rest = self._assets.row(place)
            status, deleted = STATUSES.index(event.status), STATUSES.index("deleted")
            self._live += (before == deleted) - (status == deleted)
            self._assets.change(place, (asset, entry, status, event.reason, *rest))

    def _move(self, alias: str, asset: bytes | None, entry: Entry) -> None:
        before, left = self._last(alias)
        self._point(left, alias, to=False)
        place = self._point(asset, alias, to=True)
        self._dangling = self._dangling or (asset is not None and place is None)
        number = 0 if place is None else place + 1
        lowest = lower(self._moves.row(before - 1)[7] if before else 0, number)
        said = entry.author, entry.at, entry.number
        self._moves.append((alias, asset, number, *said, before, lowest))

    def _point(self, asset: bytes | None, alias: str, *, to: bool) -> int | None:
        """Note that an alias points to an asset now, or no more; return the asset's place."""
        place = None if asset is None else self._place(asset)
        if place is not None:
            *rest, aliases, former = self._assets.row(place)
            now, once = {*aliases} - {alias}, {*former} - {alias}
            (now if to else once).add(alias)
            self._assets.change(place, (*rest, tuple(sorted(now)), tuple(sorted(once))))
        return place

    def _place(self, asset: bytes) -> int | None:
        for place, _ in self._assets.places(id_key(asset)):
            if self._assets.row(place)[0] == asset:
                return place
        return None

    def _last(self, alias: str) -> tuple[int, bytes | None]:
        """Return the number of an alias's last move (0: there is none), and its asset."""
        for place, (name, asset, _) in reversed(self._moves.places(alias_key(alias))):
            if name == alias:
                return place + 1, asset
        return 0, None

    def _pointing(self, asset: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the aliases that point to an asset, and those that did."""
        last: dict[str, bytes | None] = {}
        ever = set()
        for alias, target, *_ in self._moves.all():
            last[alias] = target
            if target == asset:
                ever.add(alias)
        now = {alias for alias in ever if last[alias] == asset}
        return tuple(sorted(now)), tuple(sorted(ever - now))


class _StoreDraft:
    """The part that belongs to no class: the current indexes, and the work of gc."""

    def __init__(self, before: Checkpoint, source: Source) -> None:
        self._before = before
        self._indexes = Draft(before.indexes, BY_ID, source)
        self._replaced = Draft(before.replaced, BY_ID, source)
        self._packs = Draft(before.condemned_packs, BY_ID, source)
        self._gone = Draft(before.condemned_indexes, BY_ID, source)

    def load(self, events: Iterable[Event]) -> None:
        indexes: list[bytes] = []
        packs: list[bytes] = []
        for event in events:
            if isinstance(event, Publish | Gc | Purged):
                indexes += event.indexes
            if isinstance(event, Gc | Purged):
                packs += event.packs
            if isinstance(event, Gc):
                indexes += [index for pair in event.replaced for ids in pair for index in ids]
        for draft in (self._indexes, self._replaced, self._gone):
            draft.load(map(id_key, indexes))
        self._packs.load(map(id_key, packs))

    def fold(self, event: Event) -> None:
        match event:
            case Publish():
                self._make_current(event.indexes)
            case Gc():
                self._collect(event)
            case Purged():
                for pack in event.packs:
                    _set(self._packs, pack, None)
                for index in event.indexes:
                    _set(self._gone, index, None)

    def finish(self, store: Store) -> Checkpoint:
        return replace(
            self._before,
            indexes=self._indexes.finish(store),
            replaced=self._replaced.finish(store),
            condemned_packs=self._packs.finish(store),
            condemned_indexes=self._gone.finish(store),
        )

    def _make_current(self, indexes: Iterable[bytes]) -> None:
        for index in indexes:
            _set(self._indexes, index, True)
            _set(self._replaced, index, None)

    def _collect(self, event: Gc) -> None:
        for index in (*(index for old, _ in event.replaced for index in old), *event.indexes):
            _set(self._indexes, index, None)
            _set(self._gone, index, True)
        for old, new in event.replaced:
            for index in old:
                _set(self._replaced, index, None)
                _set(self._replaced, index, new)
        for _, new in event.replaced:
            self._make_current(new)
        for pack in event.packs:
            _set(self._packs, pack, True)


def _set(draft: Draft, each: bytes, value: Any) -> None:
    """Let an id have a value, in a new row at the end; nil ends the row that it has."""
    places = [place for place, _ in draft.places(id_key(each)) if draft.row(place)[0] == each]
    now = draft.row(places[-1])[1] if places else None
    if now is not None and value is None:
        draft.change(places[-1], (each, None))
    elif now is None and value is not None:
        draft.append((each, value))


def _needs(joined: Any) -> tuple[bytes, ...]:
    if type(joined) is not bytes or len(joined) % ID_SIZE or len(joined) > MAX_NEEDS * ID_SIZE:
        raise ValueError("its needs are no ids")
    return tuple(joined[at : at + ID_SIZE] for at in range(0, len(joined), ID_SIZE))
