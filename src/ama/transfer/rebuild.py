"""Finding again what a lost index named: in the packs that no readable index names completely."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass

from ama.errors import AmaError, FormatError, IntegrityError, NotFound
from ama.format.entries import Publish
from ama.format.hashing import blob_id
from ama.format.objects import EntryKind, Kind
from ama.format.pack import (
    FOOTER_SIZE,
    Record,
    count_records,
    read_record,
    read_trailer,
    scan_records,
)
from ama.format.packindex import Location, PackIndex, encode_index
from ama.storage.protocol import Range, Storage
from ama.stores.log_view import LogView
from ama.stores.object_reader import ObjectStore, pack_name
from ama.stores.remote import Remote
from ama.stores.sources import Sources
from ama.system.progress import Progress
from ama.worktree.trees import trees_below

_PACK = re.compile(r"packs/[0-9a-f]{2}/([0-9a-f]{64})\.pack").fullmatch


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The content of packs that no readable index names."""

    objects: ObjectStore
    """All objects of the store: in its current indexes, and those found again."""
    lost: frozenset[bytes]
    """The current indexes that can't be read."""
    index: PackIndex
    """An index of everything found again; it is in no storage."""
    damaged: frozenset[bytes]
    """The packs that are not whole; their sound content counts."""


def rebuild(remote: Remote, view: LogView, progress: Progress) -> Rebuilt:
    """Read the packs that no readable index names completely, if an index is lost.

    Args:
        remote: The store.
        view: Its log.
        progress: The progress of the bytes read.

    Raises:
        FormatError: A newer version of ama has written an index or a pack: that is no damage.
    """
    damage: list[AmaError] = []
    indexes = remote.indexes(view.root.indexes, damage)
    for error in damage:
        if isinstance(error, FormatError):
            raise error
    lost = frozenset(view.root.indexes) - {index.id for index in indexes}
    if not lost:
        nothing = PackIndex(encode_index([], {}))
        return Rebuilt(remote.objects(indexes), lost, nothing, frozenset())
    doubtful = _doubtful(remote.storage, view.root.condemned_packs, indexes)
    index, damaged = _read(remote.storage, doubtful, progress)
    return Rebuilt(remote.objects([*indexes, index]), lost, index, damaged)


def _read(
    storage: Storage, packs: Mapping[bytes, int], progress: Progress
) -> tuple[PackIndex, frozenset[bytes]]:
    """Return an index of packs, and the damaged ones among them."""
    places: list[Location] = []
    sizes: dict[bytes, int] = {}
    damaged: set[bytes] = set()
    progress.start("Reading packs", sum(packs.values()))
    try:
        for pack, size in packs.items():
            (data,) = storage.read([Range(pack_name(pack))])
            if data is not None:
                is_whole = blob_id(data) == pack
                places += [Location(pack, record) for record in _records(pack, data, is_whole)]
                sizes[pack] = len(data)
                if not is_whole:
                    damaged.add(pack)
            progress.advance(size)
    finally:
        progress.finish()
    return PackIndex(encode_index(places, sizes)), frozenset(damaged)


def _doubtful(
    storage: Storage, condemned: Set[bytes], indexes: Iterable[PackIndex]
) -> dict[bytes, int]:
    """Return the packs, with their sizes, that may hold more than any index names."""
    counts: dict[bytes, int] = {}
    for index in indexes:
        for pack, count in index.pack_counts().items():
            counts[pack] = max(count, counts.get(pack, 0))
    there: dict[bytes, int] = {}
    for name, size in storage.list("packs/"):
        found = _PACK(name)
        if found is not None and pack_name(bytes.fromhex(found[1])) == name:
            there[bytes.fromhex(found[1])] = size
    named = [pack for pack, size in there.items() if pack in counts and size >= FOOTER_SIZE]
    footers = storage.read(
        [Range(pack_name(pack), there[pack] - FOOTER_SIZE, FOOTER_SIZE) for pack in named]
    )
    full = {
        pack
        for pack, footer in zip(named, footers, strict=True)
        if count_records(footer or b"") == counts[pack]
    }
    return {p: size for p, size in sorted(there.items()) if p not in full and p not in condemned}


def _records(pack: bytes, data: bytes, is_whole: bool) -> Iterable[Record]:
    """Return the records of a pack; of a damaged one, the sound ones."""
    try:
        records: Iterable[Record] = read_trailer(data, pack_name(pack))
    except (IntegrityError, FormatError) as error:
        # A damaged pack's version means nothing.
        if is_whole and isinstance(error, FormatError):
            raise
        records = scan_records(data)
    fitting = (record for record in records if record.end + FOOTER_SIZE <= len(data))
    return fitting if is_whole else (record for record in fitting if _opens(data, record))


def _opens(data: bytes, record: Record) -> bool:
    try:
        read_record(memoryview(data)[record.offset :], record)
    except (IntegrityError, FormatError):
        return False
    return True


def assets_needing(remote: Remote, view: LogView, indexes: Set[bytes]) -> list[bytes]:
    """Return the published assets that need one of some indexes.

    Raises:
        IntegrityError: An entry of the log can't be read.
    """
    if not indexes:
        return []
    records = [r for state in view.class_states().values() for r in state.assets]
    numbers = sorted({record.entry for record in records})
    return [
        event.asset
        for entry in remote.log.read_entries(numbers)
        for event in entry.events
        if isinstance(event, Publish) and not indexes.isdisjoint(view.root.current(event.needs))
    ]


def places_of(objects: ObjectStore, assets: Iterable[bytes]) -> Iterator[Location]:
    """Yield the locations of assets and everything below them, as far as it is readable."""
    sources = Sources(objects)
    seen: set[bytes] = set()
    for asset in assets:
        yield from objects.find(asset)
        with suppress(NotFound, IntegrityError):
            root = sources.asset(asset).tree
            for tree, entries in trees_below(root, sources.tree):
                files = [entry.id for entry in entries if entry.kind is not EntryKind.TREE]
                for wanted in (tree, *files):
                    if wanted not in seen:
                        seen.add(wanted)
                        yield from _places_of(objects, wanted)


def _places_of(objects: ObjectStore, wanted: bytes) -> Iterator[Location]:
    places = objects.find(wanted)
    yield from places
    if any(at.record.kind is Kind.RECIPE for at in places):
        with suppress(NotFound, IntegrityError):
            recipe = objects.recipe(wanted)
            for chunk, _ in recipe.chunks if recipe else ():
                yield from objects.find(chunk)
