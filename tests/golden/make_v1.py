"""Makes tests/golden/v1: a small store of format version 1, the same bytes on every machine.

    python tests/golden/make_v1.py DIRECTORY

It puts ama's encoders together by hand, with fixed salts, nonces and times, so that the bytes
depend on the format alone: not on how a push packs, nor on the version of zstandard. The compressed
records are frames written here (runs and raw blocks), and one that libzstd 1.5.7 made, as it was.

The store in the repository is never made again: what it holds must be readable for ever. This
script tells what is in it, and a test compares the two.
"""

from __future__ import annotations

import base64
import io
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from blake3 import blake3

from ama.format.chunking import chunks
from ama.format.compression import RAW, ZSTD, decompress
from ama.format.entries import (
    ABSENT,
    Entry,
    Event,
    Feature,
    Gc,
    HeldRef,
    MoveAlias,
    Publish,
    Purged,
    SetStatus,
    Unknown,
    encode_entry,
    entry_hash,
    entry_name,
)
from ama.format.hashing import asset_id, blob_id, seal, tree_id
from ama.format.objects import (
    Asset,
    EntryKind,
    Kind,
    Recipe,
    RefLink,
    TreeEntry,
    encode_asset,
    encode_recipe,
    encode_tree,
)
from ama.format.pack import PackBuilder, Record
from ama.format.packindex import Location, encode_index
from ama.format.state import (
    ClassState,
    Root,
    encode_class_state,
    encode_root,
    fold_class,
    fold_root,
)
from ama.stores.log_files import HINT, root_name, state_name
from ama.stores.object_reader import index_name, pack_name
from ama.stores.remote import FORMAT, StoreFormat, encode_format

ANN = "Ann Lee <ann@example.com>"
BEN = "Ben Ôkafor <ben@example.com>"
CRON = "nightly <cron@example.com>"
START = 1767225600000000  # 2026-01-01T00:00:00Z
SECOND = 1_000_000

STORE_ID = "a1" * 16

# data/train.csv of datasets/1, as zstandard 0.25 (libzstd 1.5.7) compressed it at level 3.
TRAIN_CSV_FRAME = base64.b64decode(
    """
    KLUv/WAyBWUYAEpEeAgWoCWFNuh8nAT7eQA4QSu7uzfR/NcaGIMAfgB/AB2TqnE9EYojPkV2LAHNzQf2JVb34uN6l3pw
    72E1E8q79qiaJNS89aCaJW8uPaZVUmnvPN5wIUv3DzdNZu76EUokmX9DZNOCVm4GFkto7MW4zsgEdC+sP/nZtageCc7f
    CuovF8ilmNpkrt6J10ZO6D5cW2y7joEgAIBBCQwEBQYGVMBA6VLF9EbI7k7Fe0v4vK+QzHJdEWqXMnsDRbZMaNJNCmyw
    ixTXsqT9PQorleCUaxTVvFCotyioiC4NycnuULxoweD3FO6V3JFritCPDNUbJrI+udHNCayR4OGLE1dfjvzehDWUmMm1
    iWqNHOmtCSqduM6liWmSnPEduhgG9xMOaS5i3B2GmWFU825hkG1ewpimuYNxO4bLeEJzN1xkyL95gYlnUndhZBc1dUEN
    JDl/6S44F0JX7y9kfJYHK8Hzm0Yumsm43jOS47lmQcK3rOTsl2zEcNwxkxe9t3CLxD/XFqHBcnhvqOBmBZZG6uNinTjn
    vQormmsV1bnY7y2TyhF6Egp/5NgPzPPjkOhh5Hrtj5r6LUn4GJw/fjgPj/8ID34kph946MfZ+ZabH2WzBx35MZbpjh+v
    ++GWxTOvQ5YbQqRlCCwMcXQhLFiIygpBReGEDt0JJPMQTocIGHKEMgPH6GLG5WUYWkZdZdBQxnwyjs/wYXCdEazGDRj5
    05sY6HuoMTxlKSMiKAUFSc3CGDBCIiCEkD4Q8AcWs1pUSaseKY3qFxyZSqmP6JsAtRCqPtzT50g5rQ3V1BgW07awpUzh
    lDrhJwlCQwqbOyoG40Yt6iK4s5JEQ1/gQ0vgD00gD51AD51ADxUCeYGlkQX+UAn00CGwjSTQdENToIdOoIdKIA9NYA+d
    QA+VwDUAGJahL/ChC4ElLXmGsrd0UBY4UCWwsaB9pucFtAUA0J379zoDf9bo/ITMDKtWnzXCfLxAXGRYwgVQokcRYQEb
    srfgK9iVZYqA0JbXswD9nn+YRD0mXAiqiv+k+mPlVQ==
    """
)


def random_bytes(name: str, size: int) -> bytes:
    """Bytes without a pattern, the same for the same name."""
    return blake3(name.encode()).digest(length=size)


def frame(data: bytes) -> bytes:
    """A Zstandard frame (RFC 8878) of raw blocks, and of RLE blocks for runs of a byte."""
    blocks: list[tuple[int, bytes, int]] = []  # type, content, size that it makes
    plain = bytearray()
    for value, run in groupby(data):
        length = sum(1 for _ in run)
        if length < 64:
            plain += bytes([value]) * length
            continue
        if plain:
            blocks.append((0, bytes(plain), len(plain)))
            plain.clear()
        while length:
            part = min(length, 1 << 17)
            blocks.append((1, bytes([value]), part))
            length -= part
    if plain:
        blocks.append((0, bytes(plain), len(plain)))
    # One segment, so no window; its size in 4 bytes; no checksum, no dictionary.
    out = bytearray(struct.pack("<IBI", 0xFD2FB528, 0b1010_0000, len(data)))
    for at, (kind, content, size) in enumerate(blocks):
        out += struct.pack("<I", (at == len(blocks) - 1) | kind << 1 | size << 3)[:3] + content
    return bytes(out)


class Packing:
    """One pack that is filled, and remembers its locations."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._builder = PackBuilder(random_bytes(f"salt {name}", 16))
        self.id = b""
        self.size = 0
        self.records: tuple[Record, ...] = ()

    def add(self, kind: Kind, object_id: bytes, data: bytes, stored: bytes | None = None) -> None:
        codec = RAW if stored is None else ZSTD
        if stored is not None:
            assert decompress(ZSTD, stored, len(data), "frame") == data
            assert len(stored) < len(data)
        self.add_encoded(kind, object_id, codec, data if stored is None else stored, len(data))

    def add_encoded(
        self, kind: Kind, object_id: bytes, codec: int, stored: bytes, size: int
    ) -> None:
        self._builder.add(kind, object_id, codec, stored, size)

    def blob(self, data: bytes, stored: bytes | None = None) -> bytes:
        self.add(Kind.DATA, blob_id(data), data, stored)
        return blob_id(data)

    def tree(self, *entries: TreeEntry) -> bytes:
        data = encode_tree(list(entries))
        self.add(Kind.TREE, tree_id(data), data)
        return tree_id(data)

    def asset(self, asset: Asset) -> bytes:
        data = encode_asset(asset)
        self.add(Kind.ASSET, asset_id(data), data)
        return asset_id(data)

    def seal(self, *, keep: bool = True) -> Packing:
        sealed = self._builder.seal()
        self.id, self.size, self.records = sealed.id, len(sealed.data), sealed.records
        if keep:
            self._store.files[pack_name(sealed.id)] = bytes(sealed.data)
        return self


@dataclass
class Store:
    """The files of the store, and its log as it grows."""

    files: dict[str, bytes] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    root: Root = field(default_factory=lambda: Root(0, bytes(32)))

    def index(
        self, packs: Iterable[tuple[Packing, Sequence[Record]]], *, keep: bool = True
    ) -> bytes:
        packs = list(packs)
        data = encode_index(
            [Location(pack.id, record) for pack, records in packs for record in records],
            {pack.id: pack.size for pack, _ in packs},
        )
        if keep:
            self.files[index_name(blob_id(data))] = data
        return blob_id(data)

    def append(self, author: str, *events: Event) -> None:
        number = len(self.entries) + 1
        nonce = random_bytes(f"nonce {number}", 16)
        at = START + number * SECOND
        entry = Entry(number, nonce, self.root.entry_hash, author, at, events)
        data = encode_entry(entry)
        self.files[entry_name(number)] = data
        self.entries.append(entry)
        self.root = fold_root(self.root, [(entry, entry_hash(data))])

    def checkpoint(self) -> None:
        classes = {}
        for name in ("datasets", "models"):
            data = encode_class_state(fold_class(ClassState(name), self.entries))
            classes[name] = seal(data)
            self.files[state_name(seal(data))] = data
        root = replace(self.root, classes=classes)
        self.files[root_name(root.number)] = encode_root(root)

    def hint(self, number: int) -> None:
        digest = entry_hash(self.files[entry_name(number)])
        line = f"{number} {digest.hex()}\n".encode()
        self.files[HINT] = line + seal(line).hex().encode() + b"\n"


def whole(*packs: Packing) -> list[tuple[Packing, Sequence[Record]]]:
    return [(pack, pack.records) for pack in packs]


def file(name: str, data: bytes, kind: EntryKind = EntryKind.FILE) -> TreeEntry:
    return TreeEntry(name, kind, blob_id(data), len(data))


def directory(name: str, tree: bytes, size: int) -> TreeEntry:
    return TreeEntry(name, EntryKind.TREE, tree, size)


def weights(version: int) -> bytes:
    """A file of 1.2 MB that repeats itself, as the layers of a fresh model do.

    A period ends in bytes among which profile 1 finds a place to cut. The second version has 1,000
    bytes more in front, and other bytes in the middle.
    """
    period = bytes(37_000) + blake3((104).to_bytes(4, "big")).digest(length=3_000)
    body = bytearray(period * 30 + bytes(12_345))
    if version == 1:
        return bytes(body)
    body[600_000:600_500] = random_bytes("changed weights", 500)
    return random_bytes("header", 1_000) + bytes(body)


def cut(data: bytes) -> list[bytes]:
    return [bytes(chunk) for chunk in chunks(io.BytesIO(data))]


def recipe(data: bytes) -> bytes:
    sizes = tuple((blob_id(chunk), len(chunk)) for chunk in cut(data))
    return encode_recipe(Recipe(1, Kind.DATA, sizes))


def train_csv(rows: int) -> bytes:
    lines = [f"{i},{(i * 7919) % 1797:04d}-{(i * 104729) % 64:02d},{i % 10}" for i in range(rows)]
    return "\n".join(["id,pixels,label", *lines, ""]).encode()


def make() -> dict[str, bytes]:
    """Return the files of the store by name."""
    store = Store()
    store.files[FORMAT] = encode_format(StoreFormat(STORE_ID))
    store.root = Root(0, entry_hash(store.files[FORMAT]))

    # datasets/1: every kind of file, and directories in directories.
    readme, script = b"# Digits\n", b"#!/bin/sh\nexec python prepare.py\n"
    link, empty, accented = b"data/train.csv", b"", "caf\u00e9\n".encode()
    labels, first_rows, more_rows = b"0\n1\n2\n", train_csv(120), train_csv(130)
    small = [readme, script, link, empty, accented, labels]

    def fill_dataset(pack: Packing) -> Packing:
        for data in small:
            pack.blob(data)
        pack.blob(first_rows, TRAIN_CSV_FRAME)
        return pack

    def dataset_trees(pack: Packing, rows: bytes, *, labels_tree: bool = True) -> bytes:
        labels_id = tree_id(encode_tree([file("classes.txt", labels)]))
        if labels_tree:
            pack.tree(file("classes.txt", labels))
        below = pack.tree(
            directory("labels", labels_id, len(labels)),
            file("train.csv", rows),
            file("empty.txt", empty),
        )
        return pack.tree(
            file("README.md", readme),
            file("prepare.sh", script, EntryKind.EXECUTABLE),
            file("latest.csv", link, EntryKind.SYMLINK),
            file("caf\u00e9 \u2615.txt", accented),
            directory("data", below, len(labels) + len(rows)),
        )

    content_1 = fill_dataset(Packing(store, "content 1")).seal(keep=False)
    metadata_1 = Packing(store, "metadata 1")
    dataset_1 = Asset(
        "datasets", dataset_trees(metadata_1, first_rows), (), (), ANN, START, "first digits"
    )
    dataset_1_id = metadata_1.asset(dataset_1)
    metadata_1.seal(keep=False)
    index_1 = store.index(whole(content_1, metadata_1), keep=False)
    store.append(
        ANN,
        Publish(dataset_1_id, "datasets", (), (index_1,), (index_1,), ()),
        MoveAlias("datasets", "digits", dataset_1_id, ABSENT),
    )

    # models/1: a file in chunks, metadata of every type, a ref with a label.
    weights_1, weights_2 = weights(1), weights(2)
    config, optimizer = b"layers: [256, 128]\n", b"name: adam\nrate: 0.001\n"
    content_2 = Packing(store, "content 2")
    for chunk in dict.fromkeys(cut(weights_1)):
        content_2.blob(chunk, frame(chunk))
    content_2.blob(config)
    content_2.blob(optimizer)
    content_2.seal()
    metadata_2 = Packing(store, "metadata 2")
    config_tree = metadata_2.tree(
        file("model.yml", config),
        directory(
            "train", tree_id(encode_tree([file("optimizer.yml", optimizer)])), len(optimizer)
        ),
    )
    metadata_2.tree(file("optimizer.yml", optimizer))
    config_size = len(config) + len(optimizer)
    metadata_2.add(Kind.RECIPE, blob_id(weights_1), recipe(weights_1))
    model_1 = Asset(
        "models",
        metadata_2.tree(
            directory("config", config_tree, config_size), file("model.bin", weights_1)
        ),
        (),
        (RefLink(dataset_1_id, "datasets", "training data"),),
        BEN,
        START + 2 * SECOND,
        "First training\n\nTwo dense layers \u2014 12 epochs.\n",
        {
            "epochs": 12,
            "loss": 0.25,
            "offset": -40_000,
            "optimizer": "adam",
            "pretrained": False,
            "public": True,
            "rate": 1e-300,
            "seed": 2**63 + 5,
            "steps": 3.0,
            "\u00b5": "",
        },
    )
    model_1_id = metadata_2.asset(model_1)
    metadata_2.seal(keep=False)
    index_2 = store.index(whole(content_2, metadata_2), keep=False)
    store.append(
        BEN,
        Publish(
            model_1_id,
            "models",
            (("best", ABSENT),),
            (index_2,),
            (index_2,),
            (HeldRef(dataset_1_id, True),),
        ),
        MoveAlias("models", "candidate", model_1_id, None),
    )

    # One entry publishes datasets/2, datasets/3 and models/2. The last is made from assets of
    # another store as well, of which only the records are here.
    metadata_3 = Packing(store, "metadata 3")
    dataset_2 = replace(
        dataset_1,
        tree=dataset_trees(metadata_3, more_rows, labels_tree=False),
        parents=(dataset_1_id,),
        created_at=START + 3 * SECOND,
        message="ten more",
    )
    dataset_2_id = metadata_3.asset(dataset_2)
    elsewhere_tree = random_bytes("a tree that is elsewhere", 32)
    older = Asset("words", elsewhere_tree, (), (), CRON, START - SECOND, "older vocabulary")
    older_id = metadata_3.asset(older)
    words = replace(older, parents=(older_id,), created_at=START, message="vocabulary")
    words_id = metadata_3.asset(words)
    metadata_3.add(Kind.RECIPE, blob_id(weights_2), recipe(weights_2))
    model_2 = Asset(
        "models",
        metadata_3.tree(
            directory("config", config_tree, config_size), file("model.bin", weights_2)
        ),
        (model_1_id,),
        (
            RefLink(dataset_2_id, "datasets", "training data"),
            RefLink(model_1_id, "models", "initial weights"),
            RefLink(words_id, "words", ""),
        ),
        ANN,
        START + 4 * SECOND,
        "",
        {},
        {"later": [1, None, {"deep": True}], "x": 0.5},
    )
    model_2_id = metadata_3.asset(model_2)
    metadata_3.seal()
    content_3 = Packing(store, "content 3")
    content_3.blob(more_rows)
    for chunk in dict.fromkeys(cut(weights_2)):
        if chunk not in cut(weights_1):
            content_3.blob(chunk, frame(chunk))
    content_3.seal()
    index_3 = store.index(whole(content_3, metadata_3))
    content_5 = Packing(store, "content 5")
    content_5.blob(b"wrong\n")
    content_5.seal(keep=False)
    metadata_5 = Packing(store, "metadata 5")
    dataset_3 = replace(
        dataset_2, tree=metadata_5.tree(file("wrong.csv", b"wrong\n")), parents=(dataset_2_id,)
    )
    dataset_3_id = metadata_5.asset(dataset_3)
    metadata_5.seal(keep=False)
    index_5 = store.index(whole(content_5, metadata_5), keep=False)
    held = {
        dataset_2_id: True,
        model_1_id: True,
        older_id: False,
        words_id: False,
    }
    store.append(
        ANN,
        Publish(dataset_2_id, "datasets", (), (index_3, index_5), (index_1, index_3), ()),
        Publish(dataset_3_id, "datasets", (), (), (index_5,), ()),
        Publish(
            model_2_id,
            "models",
            (),
            (),
            (index_2, index_3),
            tuple(HeldRef(ref, held[ref]) for ref in sorted(held)),
        ),
        MoveAlias("datasets", "digits", dataset_2_id, dataset_1_id),
        MoveAlias("models", "best", model_2_id, model_1_id),
    )
    store.append(BEN, MoveAlias("models", "candidate", None, model_1_id))
    store.append(
        ANN,
        SetStatus(model_1_id, "models", "deprecated", "superseded by models/2"),
        SetStatus(dataset_1_id, "datasets", "deprecated", "ten rows are missing"),
    )
    store.append(
        ANN,
        SetStatus(dataset_3_id, "datasets", "deleted", "wrong labels"),
        Unknown("attest", False, {"asset": model_2_id, "metrics": {"accuracy": 0.9}}),
    )
    store.append(ANN, Feature((), ()))

    # Garbage is collected: the two indexes of the beginning become one, over packs of which one is
    # as it was. What only datasets/3 needs goes, and so does what an interrupted push has left.
    content_4 = fill_dataset(Packing(store, "content 4")).seal()
    metadata_4 = Packing(store, "metadata 4")
    dataset_trees(metadata_4, first_rows)
    metadata_4.asset(dataset_1)
    metadata_4.tree(file("optimizer.yml", optimizer))
    metadata_4.tree(
        file("model.yml", config),
        directory(
            "train", tree_id(encode_tree([file("optimizer.yml", optimizer)])), len(optimizer)
        ),
    )
    metadata_4.add(Kind.RECIPE, blob_id(weights_1), recipe(weights_1))
    metadata_4.tree(directory("config", config_tree, config_size), file("model.bin", weights_1))
    metadata_4.asset(model_1)
    metadata_4.seal()
    index_4 = store.index(whole(content_2, content_4, metadata_4))
    orphan_pack, orphan_index = random_bytes("orphan pack", 32), random_bytes("orphan index", 32)
    deleted = (content_1.id, metadata_1.id, metadata_2.id, content_5.id, metadata_5.id)
    store.append(
        CRON,
        Gc(
            (((index_1, index_2), (index_4,)),),
            (*deleted, orphan_pack),
            (index_5, orphan_index),
        ),
    )
    store.append(CRON, Purged(deleted, (index_1, index_2, index_5)))

    # An alias that moves every night, until past the first checkpoint.
    nightly: bytes | None = None
    while len(store.entries) < 65:
        to = model_1_id if nightly == model_2_id else model_2_id
        store.append(CRON, MoveAlias("models", "nightly", to, nightly or ABSENT))
        nightly = to
        if len(store.entries) == 64:
            store.checkpoint()

    # models/3: most of it is there already.
    wider = b"layers: [512, 256]\n"
    mixed_6 = Packing(store, "mixed 6")
    mixed_6.blob(wider)
    wider_tree = mixed_6.tree(file("model.yml", wider))
    model_3 = Asset(
        "models",
        mixed_6.tree(directory("config", wider_tree, len(wider)), file("model.bin", weights_2)),
        (model_2_id,),
        (),
        BEN,
        START + 66 * SECOND,
        "wider",
    )
    model_3_id = mixed_6.asset(model_3)
    mixed_6.seal()
    index_6 = store.index(whole(mixed_6))
    store.append(
        BEN,
        Publish(
            model_3_id,
            "models",
            (("best", model_2_id),),
            (index_6,),
            (index_3, index_4, index_6),
            (),
        ),
    )
    store.append(ANN, SetStatus(dataset_1_id, "datasets", "active", ""))
    store.append(CRON, MoveAlias("models", "nightly", None, None))
    store.hint(len(store.entries))  # a slow writer's: it is two entries behind
    store.append(CRON, MoveAlias("models", "nightly", model_3_id, ABSENT))
    store.append(CRON)
    return store.files


def main(place: Path) -> None:
    for name, data in make().items():
        path = place.joinpath(*name.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
