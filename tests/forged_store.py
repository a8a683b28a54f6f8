"""Stores of many assets, made in seconds: their entries are encoded, not appended one by one.

What reads and continues them can't tell: their last two checkpoints are those that writers would
have written, which depend on the log alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ama.format.checkpoint import Checkpoint
    from ama.format.entries import Entry
    from ama.storage.protocol import Storage
    from ama.stores.pack_writer import PackWriter

CLASSES = 20
AN_INDEX = 1_000
"""How many assets an index names: as if a gc had put the small ones together."""

EVERY = 64
FOLDED_AT_ONCE = 4_096
AUTHOR = "Ann Lee <ann@example.com>"


def class_name(number: int) -> str:
    return f"class-{number % CLASSES:02}"


def forge(storage: Storage, count: int) -> None:
    """Write a store in which each asset was published by an entry of its own.

    Each has one file, the asset of its class before it as its parent, and the alias `latest`; each
    20th of a class has an alias that never moves, `v20` and so on.
    """
    from ama.format.entries import Entry, Publish, encode_entry, entry_hash, entry_name
    from ama.stores.log_files import HINT, encode_hint
    from ama.stores.pack_writer import PackWriter
    from ama.stores.remote import FORMAT, StoreFormat, encode_format

    rng = random.Random(count)
    form = encode_format(StoreFormat(rng.randbytes(16).hex()))
    storage.create(FORMAT, form)
    previous, parents = entry_hash(form), dict[str, bytes]()
    log: list[tuple[Entry, bytes]] = []
    for first in range(0, count, AN_INDEX):
        assets = []
        with PackWriter(storage) as writer:
            for number in range(first, min(first + AN_INDEX, count)):
                name = class_name(number)
                parents[name] = write_asset(writer, name, number, parents.get(name))
                assets.append((name, parents[name]))
            (index,) = writer.finish()
        for number, (name, asset) in enumerate(assets, first):
            of_class = number // CLASSES + 1
            names = ["latest", *([f"v{of_class}"] if of_class % 20 == 0 else [])]
            event = Publish(
                asset,
                name,
                tuple((alias, None) for alias in names),
                (index.id,) if number == first else (),
                (index.id,),
            )
            entry = Entry(number + 1, rng.randbytes(16), previous, AUTHOR, number + 1, (event,))
            encoded = encode_entry(entry)
            previous = entry_hash(encoded)
            storage.create(entry_name(entry.number), encoded)
            log.append((entry, previous))
    storage.replace(HINT, encode_hint(count, previous))
    checkpoint(storage, form, log)


def write_asset(writer: PackWriter, name: str, number: int, parent: bytes | None) -> bytes:
    """Write an asset of one small file; return its id."""
    from ama.format.hashing import asset_id, blob_id, tree_id
    from ama.format.objects import Asset, EntryKind, Kind, TreeEntry, encode_asset, encode_tree

    content = b"%d" % number
    file = TreeEntry("a.txt", EntryKind.FILE, blob_id(content), len(content))
    tree = encode_tree([file])
    parents = () if parent is None else (parent,)
    made = Asset(name, tree_id(tree), parents, (), AUTHOR, number + 1, "", {"run": number})
    data = encode_asset(made)
    writer.add(Kind.DATA, blob_id(content), content)
    writer.add(Kind.TREE, tree_id(tree), tree)
    writer.add(Kind.ASSET, asset_id(data), data)
    return asset_id(data)


def checkpoint(storage: Storage, form: bytes, log: Sequence[tuple[Entry, bytes]]) -> None:
    """Write the last two checkpoints of a log; their bytes don't depend on those before."""
    from ama.format.checkpoint import Checkpoint, encode_checkpoint, fold_checkpoint
    from ama.format.entries import entry_hash
    from ama.stores.cache import Cache
    from ama.stores.log_files import checkpoint_name, segment_name
    from ama.stores.segments import CheckpointSegments, Segments

    made = Segments(storage, Cache(None))
    source = CheckpointSegments(made, lambda: None, storage.url)
    base, at = Checkpoint(0, entry_hash(form)), 0
    last = len(log) // EVERY * EVERY

    def write(base: Checkpoint) -> None:
        for digest in base.digests():
            storage.replace(segment_name(digest), made.made[digest])
        storage.replace(checkpoint_name(base.number), encode_checkpoint(base))

    while at < last:
        until = last if at >= last - EVERY else min(at + FOLDED_AT_ONCE, last - EVERY)
        base = fold_checkpoint(base, log[at:until], source, made.make)
        made.forget_all_but(base.digests())
        at = until
        if at >= last - EVERY:
            write(base)
