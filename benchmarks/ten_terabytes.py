"""Measures pushes to a store whose indexes are too many to read, and prints one table.

    python benchmarks/ten_terabytes.py [--rows 8000000] [--size 1024] [--scratch DIR]

Only indexes tell that the store is large: others have published assets of 50 GB each, whose
indexes are made, and whose packs nobody asks for. Before them came a real asset of `--size` MiB.
Its next version is pushed to its own class, and to another one, from a machine that has never seen
the store: with a budget for indexes, and without. 10 TB are 80 million rows of 64 bytes. A tenth of
them is made by default; the budget is a 20th of all indexes, as 256 MiB are of those of 10 TB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

import ama
from ama.format.entries import Publish
from ama.format.hashing import blob_id
from ama.format.objects import Kind
from ama.format.pack import Record
from ama.format.packindex import Location, encode_index
from ama.storage.local import LocalStorage
from ama.stores import index_choice
from ama.stores.object_reader import index_name
from ama.stores.remote import Remote
from measure import MIB, SCRATCH

ROWS_OF_AN_INDEX = 8192
"""Of 1 GiB of packs, after which an index is written."""

INDEXES_OF_AN_ASSET = 50
SHARE = 20
"""256 MiB are a 20th of the 5 GB of indexes of 10 TB."""


def made_indexes(rows: int) -> Iterator[bytes]:
    for _ in range(rows // ROWS_OF_AN_INDEX):
        pack = os.urandom(32)
        ids = os.urandom(32 * ROWS_OF_AN_INDEX)
        yield encode_index(
            (
                Location(pack, Record(ids[at : at + 32], Kind.DATA, 32, 0, 0))
                for at in range(0, len(ids), 32)
            ),
            {pack: 1 << 30},
        )


def crowd(store: Path, rows: int) -> None:
    """Publish assets of others, by their indexes alone."""
    remote = Remote.open(LocalStorage(store), None)
    waiting: list[bytes] = []
    for data in made_indexes(rows):
        (store / index_name(blob_id(data))).write_bytes(data)
        waiting.append(blob_id(data))
        if len(waiting) == INDEXES_OF_AN_ASSET:
            publish(remote, waiting)
            waiting = []
    while waiting or remote.view().number % 64:  # to where sketches are written
        publish(remote, waiting)
        waiting = []


def publish(remote: Remote, indexes: list[bytes]) -> None:
    event = Publish(os.urandom(32), "others", (), tuple(indexes), tuple(indexes[:1]))
    now = time.time_ns() // 1000
    remote.log.append(lambda _: [event], author="others", now=lambda: now)


def child(arguments: list[str]) -> None:
    """Upload a file in a process of its own, and print what it took."""
    place, class_name, file, budget = arguments
    index_choice.BUDGET = int(budget)
    repo = ama.Repo.init(place, class_name)
    shutil.copy(file, Path(place) / "model")
    repo.add(["model"])
    began = time.process_time()
    sent = repo.upload().bytes_sent
    spent = time.process_time() - began
    # What `getrusage` says of a child may be the peak of its parent.
    peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(sent, int(peak) * 1024, spent)


def upload(scratch: Path, class_name: str, file: Path, budget: int) -> tuple[int, int, int, float]:
    """Return the bytes of indexes read and of content sent, the peak memory and the CPU time."""
    place, cache = scratch / "work", scratch / "cache"
    shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(cache, ignore_errors=True)
    environment = {**os.environ, "AMA_CACHE_DIR": str(cache), "AMA_REMOTE": str(scratch / "store")}
    place.mkdir()
    words = [sys.executable, __file__, "--child", str(place), class_name, str(file), str(budget)]
    out = subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout
    sent, peak, spent = out.split()
    read = sum(path.stat().st_size for path in cache.rglob("*.idx"))
    return read, int(sent), int(peak), float(spent)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8_000_000)
    parser.add_argument("--size", type=int, default=1024, help="of the real asset, in MiB")
    parser.add_argument("--scratch", type=Path, default=SCRATCH)
    options = parser.parse_args()
    scratch: Path = options.scratch / "ten terabytes"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        measure(scratch, options.rows, options.size * MIB)
    finally:
        shutil.rmtree(scratch)


def measure(scratch: Path, rows: int, size: int) -> None:
    data = blake3(b"ten terabytes").digest(length=size)
    first, second = scratch / "first", scratch / "second"
    first.write_bytes(data)
    edit = blake3(b"edit").digest(length=MIB)
    second.write_bytes(data[: size // 3] + edit + data[size // 3 :])
    del data
    no_budget = 1 << 50
    upload(scratch, "models", first, no_budget)
    crowd(scratch / "store", rows)
    indexes = sum(path.stat().st_size for path in (scratch / "store" / "index").iterdir())
    budget = indexes // SHARE
    print(f"{rows:,} rows, {indexes // MIB:,} MiB of indexes; budget {budget // MIB} MiB\n")
    print("| push | indexes read | sent | memory | CPU |\n|---|---|---|---|---|")
    log, kept = scratch / "store" / "log", scratch / "kept"
    shutil.copytree(log, kept)
    known = set((scratch / "store" / "index").iterdir())
    for class_name, said in (("models", "its own class"), ("fresh", "another class")):
        for limit, how in ((budget, "with the budget"), (no_budget, "with all indexes")):
            read, sent, peak, spent = upload(scratch, class_name, second, limit)
            print(
                f"| {said}, {how} | {read / MIB:.1f} MiB | {sent / MIB:.1f} MiB"
                f" | {peak / MIB:.0f} MiB | {spent:.1f} s |"
            )
            shutil.rmtree(log)  # as if it had never been published
            shutil.copytree(kept, log)
            for path in set((scratch / "store" / "index").iterdir()) - known:
                path.unlink()


if __name__ == "__main__":
    main()
