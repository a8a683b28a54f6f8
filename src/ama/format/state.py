"""The state of a store: the fold of its log's entries, and the codecs of folded states.

The fold is a pure function of the entries, so every reader gets the same numbers, aliases and
current indexes. A folded state has two parts: the root (of the whole store, with a digest of each
class's state) and one state for each class, so that a reader of one class needs no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ama.errors import UPGRADE, FormatError, IntegrityError
from ama.format import canonical
from ama.format.entries import (
    STATUSES,
    Entry,
    Event,
    Feature,
    Gc,
    MoveAlias,
    Publish,
    Purged,
    SetStatus,
    StatusName,
    Unknown,
)
from ama.format.names import check_alias, check_class

VERSION = 1
ROOT_MAGIC = b"ama-root"


@dataclass(frozen=True, slots=True)
class AssetRecord:
    """An asset in the log. Its number is its place in its class, from 1.

    A checkpoint's has also what it needs (None: its entry says so), and the aliases that point to
    it and those that did.
    """

    id: bytes
    entry: int
    status: StatusName = "active"
    reason: str = ""
    needs: tuple[bytes, ...] | None = None
    aliases: tuple[str, ...] = ()
    former: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AliasRecord:
    """One move of an alias: to which asset (None: removed), by whom, when, in which entry."""

    asset: bytes | None
    author: str
    at: int
    entry: int


@dataclass(frozen=True, slots=True)
class ClassState:
    """A class: its assets in the order of their numbers, and every alias with all its moves."""

    name: str
    assets: tuple[AssetRecord, ...] = ()
    aliases: Mapping[str, tuple[AliasRecord, ...]] = field(default_factory=dict)

    def number(self, asset: bytes) -> int | None:
        """Return an asset's number, or None if it isn't published here."""
        for at, record in enumerate(self.assets):
            if record.id == asset:
                return at + 1
        return None

    def record(self, number: int) -> AssetRecord | None:
        """Return the asset with a number, or None if there is none."""
        return self.assets[number - 1] if 1 <= number <= len(self.assets) else None

    def newest_active(self) -> AssetRecord | None:
        """Return the newest asset that is neither deprecated nor deleted, or None."""
        return next((r for r in reversed(self.assets) if r.status == "active"), None)

    def target(self, alias: str) -> bytes | None:
        """Return the asset that an alias points to now, or None if there's no such alias."""
        moves = self.aliases.get(alias)
        return moves[-1].asset if moves else None

    def aliases_by_asset(self) -> dict[bytes, tuple[str, ...]]:
        """Return the aliases that point to each asset now, in the order of their names."""
        pointing: dict[bytes, tuple[str, ...]] = {}
        for alias in sorted(self.aliases):
            target = self.target(alias)
            if target is not None:
                pointing[target] = (*pointing.get(target, ()), alias)
        return pointing


@dataclass(frozen=True, slots=True)
class Root:
    """The state of the whole store after entry `number`, whose bytes hash to `entry_hash`."""

    number: int
    entry_hash: bytes
    indexes: tuple[bytes, ...] = ()
    replaced: Mapping[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    condemned_packs: frozenset[bytes] = frozenset()
    condemned_indexes: frozenset[bytes] = frozenset()
    read_features: tuple[str, ...] = ()
    write_features: tuple[str, ...] = ()
    classes: Mapping[str, bytes] = field(default_factory=dict)

    def current(self, indexes: Iterable[bytes]) -> tuple[bytes, ...]:
        """Return the current indexes for these, which gc may have replaced."""
        found: dict[bytes, None] = {}
        waiting = list(indexes)
        seen: set[bytes] = set()
        while waiting:
            index = waiting.pop(0)
            if index in seen:
                continue
            seen.add(index)
            if index in self.replaced:
                waiting.extend(self.replaced[index])
            else:
                found[index] = None
        return tuple(found)


def fold_root(root: Root, entries: Iterable[tuple[Entry, bytes]]) -> Root:
    """Return the root after more entries; the digests of its classes stay the same.

    Args:
        root: The state before the entries.
        entries: The entries in order, each with the hash of its bytes.

    Raises:
        FormatError: An entry holds a critical event of a later version of ama.
    """
    # A store may have tens of thousands of indexes, and each publication adds one: join them once,
    # not for each event.
    indexes = dict.fromkeys(root.indexes)
    for entry, entry_hash in entries:
        for event in entry.events:
            if isinstance(event, Publish) and root.replaced.keys().isdisjoint(event.indexes):
                indexes.update(dict.fromkeys(event.indexes))
            else:
                root = _fold_event(replace(root, indexes=tuple(indexes)), event, entry.number)
                indexes = dict.fromkeys(root.indexes)
        root = replace(root, number=entry.number, entry_hash=entry_hash)
    return replace(root, indexes=tuple(indexes))


def _fold_event(root: Root, event: Event, number: int) -> Root:
    match event:
        case Publish():
            new = [index for index in dict.fromkeys(event.indexes) if index not in root.indexes]
            return _with_current(root, (*root.indexes, *new))
        case Gc():
            return _fold_gc(root, event)
        case Purged():
            return replace(
                root,
                condemned_packs=root.condemned_packs - set(event.packs),
                condemned_indexes=root.condemned_indexes - set(event.indexes),
            )
        case Feature():
            return replace(
                root,
                read_features=tuple(sorted({*root.read_features, *event.read})),
                write_features=tuple(sorted({*root.write_features, *event.write})),
            )
        case Unknown(critical=True):
            raise FormatError(
                f"log entry {number} holds a {event.name!r} event, which this version of ama"
                " does not know and must not pass over",
                hint=UPGRADE,
            )
    return root


def _fold_gc(root: Root, event: Gc) -> Root:
    gone = {index for old, _ in event.replaced for index in old} | set(event.indexes)
    kept = [index for index in root.indexes if index not in gone]
    added: dict[bytes, None] = {}
    replaced = dict(root.replaced)
    for old, new in event.replaced:
        added.update(dict.fromkeys(new))
        replaced.update(dict.fromkeys(old, new))
    folded = replace(
        root,
        replaced=replaced,
        condemned_packs=root.condemned_packs | set(event.packs),
        condemned_indexes=root.condemned_indexes | gone,
    )
    return _with_current(folded, (*kept, *(index for index in added if index not in kept)))


def _with_current(root: Root, indexes: tuple[bytes, ...]) -> Root:
    """Return the root with these current indexes; a current index stands for itself."""
    again = root.replaced.keys() & set(indexes)
    replaced = {old: new for old, new in root.replaced.items() if old not in again}
    return replace(root, indexes=indexes, replaced=replaced if again else root.replaced)


def touched_classes(entry: Entry) -> set[str]:
    """Return the names of the classes whose state an entry changes."""
    return {
        event.class_name
        for event in entry.events
        if isinstance(event, Publish | MoveAlias | SetStatus)
    }


def fold_class(state: ClassState, entries: Iterable[Entry]) -> ClassState:
    """Return a class's state after more entries; events of other classes are skipped."""
    assets = list(state.assets)
    place = {record.id: at for at, record in enumerate(assets)}
    aliases = dict(state.aliases)

    def move(alias: str, asset: bytes | None, entry: Entry) -> None:
        record = AliasRecord(asset, entry.author, entry.at, entry.number)
        aliases[alias] = (*aliases.get(alias, ()), record)

    for entry in entries:
        for event in entry.events:
            if isinstance(event, Publish) and event.class_name == state.name:
                # An asset is published once: a repetition gives no new number.
                if event.asset not in place:
                    place[event.asset] = len(assets)
                    assets.append(AssetRecord(event.asset, entry.number))
                for alias, _ in event.aliases:
                    move(alias, event.asset, entry)
            elif isinstance(event, MoveAlias) and event.class_name == state.name:
                move(event.alias, event.asset, entry)
            elif isinstance(event, SetStatus) and event.class_name == state.name:
                at = place.get(event.asset)
                if at is not None:
                    assets[at] = replace(assets[at], status=event.status, reason=event.reason)
    return ClassState(state.name, tuple(assets), aliases)


def encode_class_state(state: ClassState) -> bytes:
    """Return the canonical bytes of a class's state; `seal` of them is its digest.

    Example:
        >>> decode_class_state(encode_class_state(ClassState("models"))).name
        'models'
    """
    assets = [(r.id, r.entry, STATUSES.index(r.status), r.reason) for r in state.assets]
    aliases = {
        alias: [(m.asset, m.author, m.at, m.entry) for m in moves]
        for alias, moves in state.aliases.items()
    }
    return canonical.encode((VERSION, state.name, assets, aliases))


def decode_class_state(data: bytes, what: str = "class state") -> ClassState:
    """Decode a class's state.

    Raises:
        IntegrityError: The bytes are damaged, or of another version.

    Example:
        >>> decode_class_state(encode_class_state(ClassState("models"))).assets
        ()
    """
    try:
        version, name, assets, aliases = canonical.decode(data, what)
        _require(type(version) is int and version == VERSION, "another version")
        check_class(canonical.check_text(name))
        records = tuple(
            AssetRecord(
                canonical.check_id(i),
                canonical.check_number(entry),
                STATUSES[canonical.check_number(status)],
                canonical.check_text(reason),
            )
            for i, entry, status, reason in assets
        )
        moves = {
            check_alias(alias): tuple(
                AliasRecord(
                    None if i is None else canonical.check_id(i),
                    canonical.check_text(author),
                    canonical.check_number(at),
                    canonical.check_number(n),
                )
                for i, author, at, n in rows
            )
            for alias, rows in aliases.items()
        }
        state = ClassState(name, records, moves)
        _require(encode_class_state(state) == data, "a field of another type")
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise IntegrityError(f"{what} is damaged: {error}") from error
    return state


def encode_root(root: Root) -> bytes:
    """Return the bytes of a root: a magic, canonical MessagePack, a seal.

    Example:
        >>> decode_root(encode_root(Root(64, bytes(32)))).number
        64
    """
    fields = (
        VERSION,
        root.number,
        root.entry_hash,
        root.indexes,
        [(old, new) for old, new in sorted(root.replaced.items())],
        sorted(root.condemned_packs),
        sorted(root.condemned_indexes),
        root.read_features,
        root.write_features,
        dict(root.classes),
    )
    return canonical.encode_sealed(ROOT_MAGIC, fields)


def decode_root(data: bytes, what: str = "checkpoint") -> Root:
    """Decode a root.

    Raises:
        IntegrityError: The bytes are damaged, or of another version.

    Example:
        >>> decode_root(encode_root(Root(64, bytes(32)))).indexes
        ()
    """
    fields = canonical.decode_sealed(ROOT_MAGIC, data, what)
    try:
        version, number, entry_hash, indexes, replaced, packs, gone, read, write, classes = fields
        _require(type(version) is int and version == VERSION, "another version")
        root = Root(
            canonical.check_number(number),
            canonical.check_id(entry_hash),
            tuple(canonical.check_id(index) for index in indexes),
            {
                canonical.check_id(old): tuple(canonical.check_id(index) for index in new)
                for old, new in replaced
            },
            frozenset(canonical.check_id(pack) for pack in packs),
            frozenset(canonical.check_id(index) for index in gone),
            tuple(canonical.check_text(feature) for feature in read),
            tuple(canonical.check_text(feature) for feature in write),
            {check_class(name): canonical.check_id(digest) for name, digest in classes.items()},
        )
        _require(encode_root(root) == data, "a field of another type")
    except (ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{what} is damaged: {error}") from error
    return root


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise ValueError(why)
