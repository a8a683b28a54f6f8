"""Packs that are wanted whole: sent as they are, which spares packing their objects anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from ama.errors import FormatError, IntegrityError
from ama.format.hashing import blob_id
from ama.format.pack import Record, read_trailer
from ama.format.packindex import Location
from ama.storage.protocol import Range, Storage
from ama.stores.object_reader import ObjectStore, pack_name
from ama.stores.pack_writer import PackWriter


def adopt(
    writer: PackWriter,
    target: Storage,
    source: ObjectStore,
    wanted: Iterable[Location],
    condemned: Callable[[bytes], bool],
) -> set[bytes]:
    """Send the packs of which every object is wanted as they are; return which those are.

    A condemned pack must not come back under its name: its objects are packed anew.

    Args:
        writer: writes to the target.
        target: the storage that they go to.
        source: the objects of another storage.
        wanted: which of them are sent, and where they lie.
        condemned: whether a pack is condemned in the target.
    """
    by_pack: dict[bytes, set[Record]] = defaultdict(set)
    for at in wanted:
        by_pack[at.pack].add(at.record)
    likely = [pack for pack in _filled(source, by_pack) if not condemned(pack)]
    there = target.sizes([pack_name(pack) for pack in likely]) if likely else []
    sent: set[bytes] = set()
    for pack, size in zip(likely, there, strict=True):
        (data,) = source.storage.read([Range(pack_name(pack))])
        # One that was cut off there, by a broken disk, would not be written again.
        if data is None or blob_id(data) != pack or size not in (None, len(data)):
            continue
        # What indexes name of it may be less than it holds, which would come along unseen.
        records = _listed(data)
        if set(records) == by_pack[pack]:
            writer.adopt(pack, data, records)
            sent.add(pack)
    return sent


def _filled(source: ObjectStore, by_pack: dict[bytes, set[Record]]) -> Iterator[bytes]:
    """Yield the packs that hold no more than what is wanted, as far as indexes tell."""
    held: dict[bytes, int] = {}
    for index in source.indexes:
        for pack, count in index.pack_counts().items():
            held[pack] = max(count, held.get(pack, 0))
    return (pack for pack, records in by_pack.items() if held.get(pack) == len(records))


def _listed(data: bytes) -> tuple[Record, ...]:
    try:
        return read_trailer(data, "pack")
    except (IntegrityError, FormatError):
        return ()  # not as one writes it here, or of a later version: so it is no good as it is
