"""Data to measure with: made from a seed, so that every machine measures the same bytes.

    python benchmarks/data.py small DIRECTORY [--count 20000]
    python benchmarks/data.py large FILE [--size 1073741824]

Add `--second` to turn what was made into its second version.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

SEED = 20_000
MIB = 1 << 20

FILES_A_DIRECTORY = 200
VALUES_A_FILE = 420  # about 4 KB
CHANGED_SHARE = 0.01

INSERTED_BYTES = 1_000
REWRITTEN_BYTES = MIB
REWRITTEN_AT = (0.25, 0.5, 0.75)  # shares of the size


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the data of the benchmarks.")
    parser.add_argument("kind", choices=["small", "large"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--count", type=int, default=20_000, help="how many small files")
    parser.add_argument("--size", type=int, default=1 << 30, help="bytes of the large file")
    parser.add_argument("--second", action="store_true", help="make the second version, in place")
    options = parser.parse_args()
    if options.kind == "small" and options.second:
        print(change_small(options.path, options.count))
    elif options.kind == "small":
        write_small(options.path, options.count)
    elif options.second:
        print(change_large(options.path))
    else:
        write_large(options.path, options.size)


if __name__ == "__main__":
    main()
