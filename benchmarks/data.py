"""Data to measure with: made from a seed, so that every machine measures the same bytes.

    python benchmarks/data.py small DIRECTORY [--count 20000]
    python benchmarks/data.py large FILE [--size 1073741824]
    python benchmarks/data.py tiny DIRECTORY [--count 1000]
    python benchmarks/data.py weights DIRECTORY [--count BYTES]
    python benchmarks/data.py digits DIRECTORY [--count 70000]
    python benchmarks/data.py store DIRECTORY [--count 2000]
    python benchmarks/data.py zips DIRECTORY [--count 1000]
    python benchmarks/data.py tracked DIRECTORY [--count 10000]

Add `--second` to turn what was made of the first two into its second version.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import struct
import zipfile
import zlib
from array import array
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ama.format.entries import Event, Publish
    from ama.format.packindex import PackIndex
    from ama.storage.protocol import Storage
    from ama.stores.log_view import LogView
    from ama.stores.remote import Remote

SEED = 20_000
MIB = 1 << 20

FILES_A_DIRECTORY = 200
VALUES_A_FILE = 420  # about 4 KB
CHANGED_SHARE = 0.01

INSERTED_BYTES = 1_000
REWRITTEN_BYTES = MIB
REWRITTEN_AT = (0.25, 0.5, 0.75)  # shares of the size

LAYERS = 32
KINDS = ("small", "tiny", "large", "weights", "digits", "store", "zips", "tracked", "table")

PIXELS = 28  # in a row, and in a column
DIGIT_BYTES = (214, 40)  # compressed, and the standard deviation

STORED_CLASSES = 20
STORED_FILES = {"model.bin": 990_000} | {f"part-{number}.bin": 2_500 for number in range(4)}
TRACKED_CONTENTS = 1_000
TRACKED_NAMES = ("params.yml", "metrics.json", "model.bin", "notes.txt", "vocabulary.txt")
TRACKED_AT_ONCE = 5  # assets in an entry of the log

SMALL_PACK = 64 << 10  # the memory of a whole one, made anew for each asset, takes minutes


def small_path(directory: Path, number: int) -> Path:
    return directory / f"{number // FILES_A_DIRECTORY:04d}" / f"{number:06d}.json"


def write_small(directory: Path, count: int) -> None:
    """Writes `count` JSON files of about 4 KB, all different: a record of numbers and labels."""
    rng = random.Random(SEED)
    # Numbers as texts: choosing is much faster than formatting a million of them.
    pool = [f"{rng.gauss(0, 1):.5f}" for _ in range(50_000)]
    labels = [f"label_{number}" for number in range(50)]
    for number in range(count):
        path = small_path(directory, number)
        if number % FILES_A_DIRECTORY == 0:
            path.parent.mkdir(parents=True)
        record = json.dumps({"id": number, "label": rng.choice(labels), "revision": 1})
        values = ", ".join(rng.choices(pool, k=VALUES_A_FILE))
        path.write_text(f'{record[:-1]}, "values": [{values}]}}\n', encoding="utf-8")


def change_small(directory: Path, count: int) -> int:
    """Edits 1 % of the files of `write_small`; returns the bytes of the files that changed."""
    changed = random.Random(SEED + 1).sample(range(count), max(1, int(count * CHANGED_SHARE)))
    size = 0
    for number in sorted(changed):
        path = small_path(directory, number)
        text = path.read_text(encoding="utf-8").replace('"revision": 1', '"revision": 2')
        path.write_text(text, encoding="utf-8")
        size += len(text)
    return size


def write_large(path: Path, size: int) -> None:
    """Writes one incompressible file of `size` bytes."""
    rng = random.Random(SEED)
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            file.write(rng.randbytes(min(MIB, size - start)))


def change_large(path: Path) -> int:
    """Inserts 1,000 bytes near the start of a file and rewrites three regions of 1 MiB.

    Returns the bytes that changed.
    """
    rng = random.Random(SEED + 1)
    size = path.stat().st_size
    region = min(REWRITTEN_BYTES, size // 16)
    for share in REWRITTEN_AT:
        with path.open("r+b") as file:
            file.seek(int(size * share))
            file.write(rng.randbytes(region))
    insert_at = min(10_000, size // 2)
    copy = path.with_name(path.name + ".new")
    with path.open("rb") as old, copy.open("wb") as new:
        new.write(old.read(insert_at))
        new.write(rng.randbytes(INSERTED_BYTES))
        while piece := old.read(MIB):
            new.write(piece)
    copy.replace(path)
    return INSERTED_BYTES + region * len(REWRITTEN_AT)


def write_weights(directory: Path, size: int) -> None:
    """Writes a safetensors file of about `size` bytes: layers of normal weights in bfloat16."""
    rng = random.Random(SEED)
    values = max(size // 2 // LAYERS, 1)
    tensors = {
        f"layer.{number}.weight": {
            "dtype": "BF16",
            "shape": [values],
            "data_offsets": [2 * values * number, 2 * values * (number + 1)],
        }
        for number in range(LAYERS)
    }
    quantiles = [NormalDist().inv_cdf((at + 0.5) / (1 << 16)) for at in range(1 << 16)]
    header = json.dumps(tensors).encode()
    with (directory / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for _ in range(LAYERS):
            scale = 10 ** rng.uniform(-2.5, -0.5)
            singles = array("f", [quantile * scale for quantile in quantiles])
            # The upper half of a single is its bfloat16, cut off.
            table = array("H", singles.tobytes())[1::2]
            chosen = array("H", rng.randbytes(2 * values))
            file.write(array("H", map(table.__getitem__, chosen)).tobytes())


def write_table(directory: Path, count: int) -> None:
    """Writes a Parquet file of `count` rows and 50 columns of random numbers."""
    import numpy
    import pyarrow
    from pyarrow import parquet

    random_numbers = numpy.random.default_rng(SEED)
    columns = {f"c{n:02}": random_numbers.random(count) for n in range(50)}
    parquet.write_table(pyarrow.table(columns), directory / "table.parquet")


def write_tiny(directory: Path, count: int) -> None:
    """Writes `count` directories of as many files of 100 bytes, all different."""
    for number in range(count):
        below = directory / f"d{number:04}"
        below.mkdir()
        for name in range(count):
            text = f"{number} {name} " * 30
            (below / f"f{name:04}").write_text(text[:100], encoding="ascii")


def write_digits(directory: Path, count: int) -> None:
    """Writes `count` files as MNIST has them: grey digits of 28 x 28, of seven six to train.

    Nobody looks at them, so what would be their compressed pixels are random bytes, as many.
    """
    rng = random.Random(SEED)
    for split in ("train", "test"):
        for digit in range(10):
            (directory / split / str(digit)).mkdir(parents=True)
    size = struct.pack(">IIBBBBB", PIXELS, PIXELS, 8, 0, 0, 0, 0)
    head, tail = b"\x89PNG\r\n\x1a\n" + png_part(b"IHDR", size), png_part(b"IEND", b"")
    for number in range(count):
        split = "test" if number % 7 == 6 else "train"
        path = directory / split / str(number % 10) / f"{number:05d}.png"
        pixels = rng.randbytes(max(60, round(rng.gauss(*DIGIT_BYTES))))
        path.write_bytes(head + png_part(b"IDAT", pixels) + tail)


def png_part(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def write_store(directory: Path, count: int) -> None:
    """Writes `directory/store`, a store of `count` assets that others have published one by one;
    and amid them that of `directory/asset`, 1 MB, which is wanted@best.

    It is made in memory: nobody waits for the disk thousands of times.
    """
    from ama import Repo
    from ama.settings import Settings
    from ama.storage.urls import open_storage
    from ama.stores.remote import Remote

    rng = random.Random(SEED)
    asset = directory / "asset"
    asset.mkdir()
    for name, size in STORED_FILES.items():
        (asset / name).write_bytes(rng.randbytes(size))
    settings = Settings(
        data_dir=directory / "data",
        cache_dir=directory / "cache",
        user_config_path=directory / "config.toml",
        user_name="Ann Lee",
        user_email="ann@example.com",
        default_remote="memory://benchmark",
    )
    storage = open_storage("memory://benchmark")
    remote, _ = Remote.create(storage, None)
    for number in range(count):
        if number == count // 2:
            repo = Repo.init(asset, "wanted", settings=settings)
            repo.add(["."])
            repo.set(aliases=["best"])
            repo.upload()
            shutil.rmtree(asset / ".ama")
        publish_small(remote, number)
    write_out(storage, directory / "store")


def publish_small(remote: Remote, number: int) -> None:
    """Publishes an asset of one small file: packs, their index, and an entry of the log."""
    from ama.format.entries import Publish
    from ama.format.hashing import asset_id, blob_id, tree_id
    from ama.format.objects import Asset, EntryKind, Kind, TreeEntry, encode_asset, encode_tree
    from ama.stores.pack_writer import PackWriter

    content = b"the content of asset %d" % number
    file = TreeEntry("model.txt", EntryKind.FILE, blob_id(content), len(content))
    tree = encode_tree([file])
    class_name = f"class-{number % STORED_CLASSES:02d}"
    asset = encode_asset(Asset(class_name, tree_id(tree), (), (), "Bob", number))
    with PackWriter(remote.storage, pack_size=SMALL_PACK) as writer:
        writer.add(Kind.DATA, file.id, content)
        writer.add(Kind.TREE, tree_id(tree), tree)
        writer.add(Kind.ASSET, asset_id(asset), asset)
        (index,) = writer.finish()
    event = Publish(asset_id(asset), class_name, (), (index.id,), (index.id,))
    remote.log.append(lambda view: [event], author="Bob", now=lambda: number)


def write_tracked(directory: Path, count: int) -> None:
    """Writes a store of `count` assets in 20 classes, each of 20 files and with its own index.

    The files have 1,000 contents among them: parameters in YAML, metrics in JSON, and the rest.
    Each asset is a next version of the one before it in its class, and made from two others.
    """
    from ama.format.hashing import blob_id
    from ama.format.objects import Kind
    from ama.storage.urls import open_storage
    from ama.stores.pack_writer import PackWriter
    from ama.stores.remote import Remote

    rng = random.Random(SEED)
    contents = [tracked_content(rng, number) for number in range(TRACKED_CONTENTS)]
    storage = open_storage("memory://tracked")
    remote, _ = Remote.create(storage, None)
    with PackWriter(storage) as writer:
        for data in contents:
            writer.add(Kind.DATA, blob_id(data), data)
        (shared,) = writer.finish()
    made: list[tuple[bytes, str]] = []
    events: list[Event] = []
    for number in range(count):
        events.append(publish_tracked(storage, rng, contents, shared, made, number))
        if len(events) == TRACKED_AT_ONCE or number == count - 1:
            told = tuple(events)
            remote.log.append(partial(said, told), author="Bob", now=lambda: 0)
            events = []
    write_out(storage, directory)


def publish_tracked(
    storage: Storage,
    rng: random.Random,
    contents: Sequence[bytes],
    shared: PackIndex,
    made: list[tuple[bytes, str]],
    number: int,
) -> Publish:
    """Stores one asset but for its files' contents, and returns the event that publishes it."""
    from ama.format.entries import HeldRef, Publish
    from ama.format.hashing import asset_id, blob_id, tree_id
    from ama.format.objects import (
        Asset,
        EntryKind,
        Kind,
        RefLink,
        TreeEntry,
        encode_asset,
        encode_tree,
    )
    from ama.stores.pack_writer import PackWriter

    trees: dict[bytes, bytes] = {}

    def tree(below: Sequence[TreeEntry]) -> TreeEntry:
        files = []
        for at, name in enumerate(TRACKED_NAMES):
            data = contents[rng.randrange(at, TRACKED_CONTENTS, len(TRACKED_NAMES))]
            files.append(TreeEntry(name, EntryKind.FILE, blob_id(data), len(data)))
        entries = sorted((*below, *files))
        data = encode_tree(entries)
        trees[tree_id(data)] = data
        size = sum(entry.size for entry in entries)
        return TreeEntry("", EntryKind.TREE, tree_id(data), size)

    root = tree([tree([])._replace(name=f"step-{at}") for at in range(3)])
    class_name = f"class-{number % STORED_CLASSES:02d}"
    links = dict(rng.sample(made, min(2, len(made))))
    before = made[-STORED_CLASSES][0] if number >= STORED_CLASSES else None
    asset = encode_asset(
        Asset(
            class_name,
            root.id,
            () if before is None else (before,),
            tuple(RefLink(each, name, "data") for each, name in links.items()),
            f"Person {number % 7} <p{number % 7}@example.com>",
            1_760_000_000_000_000 + number * 60_000_000,
            f"run {number}",
            {"loss": rng.random(), "run": number},
        )
    )
    with PackWriter(storage, pack_size=SMALL_PACK) as writer:
        for each, data in trees.items():
            writer.add(Kind.TREE, each, data)
        writer.add(Kind.ASSET, asset_id(asset), asset)
        (index,) = writer.finish()
    made.append((asset_id(asset), class_name))
    return Publish(
        asset_id(asset),
        class_name,
        (("best", None),) if number % 100 == 0 else (),
        (shared.id, index.id) if number == 0 else (index.id,),
        (shared.id, index.id),
        tuple(HeldRef(each, True) for each in links),
    )


def said(events: Sequence[Event], view: LogView) -> Sequence[Event]:
    return events


def tracked_content(rng: random.Random, number: int) -> bytes:
    """A content that files share: a fifth is parameters, a fifth metrics."""
    if number % 5 == 0:
        lines = [f"  option_{at}: {rng.random():.6f}" for at in range(20)]
        return "\n".join(["parameters:", f"  seed: {number}", *lines, ""]).encode()
    if number % 5 == 1:
        loss = {"best": {"val_loss": rng.random()}, "history": [rng.random() for _ in range(12)]}
        return json.dumps(loss).encode()
    return rng.randbytes(1_000)


def write_zips(directory: Path, count: int) -> None:
    """Writes `count` zips of 8 files and 2 MB: weights, and what a training said of itself."""
    rng = random.Random(SEED)
    for number in range(count):
        with zipfile.ZipFile(
            directory / f"run-{number:05d}.zip", "w", zipfile.ZIP_DEFLATED
        ) as made:
            for part in range(4):
                made.writestr(f"weights-{part}.bin", rng.randbytes(500_000))
            for part in range(4):
                values = "\n".join(f"  option_{at}: {rng.random():.6f}" for at in range(20))
                made.writestr(f"part-{part}.yml", f"number: {number}\nvalues:\n{values}\n")


def write_out(storage: Storage, directory: Path) -> None:
    """Writes what was made in memory: nobody waits for the disk thousands of times."""
    from ama.storage.protocol import Range

    for name, _ in storage.list(""):
        (content,) = storage.read([Range(name)])
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content or b"")


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the data of the benchmarks.")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("path", type=Path)
    parser.add_argument("--count", type=int, help="how many small files, digits, or assets")
    parser.add_argument("--size", type=int, default=1 << 30, help="bytes of the large file")
    parser.add_argument("--second", action="store_true", help="make the second version, in place")
    options = parser.parse_args()
    if options.second and options.kind not in ("small", "large"):
        parser.error(f"there is no second version of {options.kind}")
    if options.kind == "small" and options.second:
        print(change_small(options.path, options.count or 20_000))
    elif options.kind == "small":
        write_small(options.path, options.count or 20_000)
    elif options.kind == "tiny":
        write_tiny(options.path, options.count or 1_000)
    elif options.kind == "weights":
        write_weights(options.path, options.count or 256 * MIB)
    elif options.kind == "table":
        write_table(options.path, options.count or 500_000)
    elif options.kind == "digits":
        write_digits(options.path, options.count or 70_000)
    elif options.kind == "store":
        write_store(options.path, options.count or 2_000)
    elif options.kind == "zips":
        write_zips(options.path, options.count or 1_000)
    elif options.kind == "tracked":
        write_tracked(options.path, options.count or 10_000)
    elif options.second:
        print(change_large(options.path))
    else:
        write_large(options.path, options.size)


if __name__ == "__main__":
    main()
