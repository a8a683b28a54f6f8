"""The cases of opening files and publishing from a program: for `remotes.py`, beside s3fs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from measure import MIB, Cost, Pairs, Row, mebibytes, median, seconds

if TYPE_CHECKING:
    from remotes import Bench

FIRST_BYTES = """
import sys, ama
asset = ama.Store.default().resolve("bench@best")
for path in sys.argv[1:]:
    with asset.open(path) as file:
        file.read(1)
"""

TABLE = """
import json, sys, pandas
url, options = sys.argv[1:]
table = pandas.read_parquet(url, columns=["c07", "c31"], storage_options=json.loads(options))
print(len(table), table.sum().sum())
"""

FORWARD = """
import json, sys, fsspec
url, options = sys.argv[1:]
with fsspec.open(url, **json.loads(options)) as file:
    size = 0
    while piece := file.read(1 << 20):
        size += len(piece)
print(size)
"""

PUBLISH = """
import sys, ama
ama.publish("bench", sys.argv[1:], aliases="best")
"""

FETCH = """
import ama
ama.fetch("bench@best")
"""


def first_byte(bench: Bench) -> Iterator[Row]:
    _publish(bench, bench.data("large", 16 * MIB) / "large.bin", bench.data("digits", 10))

    def read(*paths: str) -> Cost:
        bench.forget()
        return bench.settled(lambda: _python(bench, FIRST_BYTES, *paths))

    paths = "large.bin", "train/0/00000.png"
    runs = bench.sizes.short_pairs
    one = [read(paths[0]) for _ in range(runs)]
    two = [read(*paths) for _ in range(runs)]
    cost = median(one)
    yield Row(
        "the first byte of a file by alias, on a new machine",
        f"{seconds(cost.wall)}, {cost.requests} requests, {cost.waves} in a row",
        "",
        None,
        "≤ 8 in a row",
        cost.waves <= 8,
        cost,
    )
    more = median(two).waves - cost.waves
    yield Row("that of a second file", f"{more} in a row", "", None, "≤ 2", more <= 2, median(two))


def parquet(bench: Bench) -> Iterator[Row]:
    source = bench.data("table", bench.sizes.large // 2048)
    file = next(source.iterdir())
    plain = f"{bench.new_place()}/table.parquet"
    _publish(bench, file)
    bench.plain("put_file", file, plain)
    pairs = _against_s3fs(bench, TABLE, "table.parquet", plain)
    more = pairs.ama.received / pairs.other.received
    yield Row(
        f"`pandas.read_parquet` of 2 of 50 columns, {file.stat().st_size / 1e6:.0f} MB",
        f"{seconds(pairs.ama.wall)}, {pairs.ama.requests} requests",
        f"`s3://`: {seconds(pairs.other.wall)}, {pairs.other.requests} requests",
        pairs.ratio,
        "≤ 1.5 ×",
        pairs.ratio <= 1.5,
        pairs.ama,
    )
    yield Row(
        "the same: bytes",
        mebibytes(pairs.ama.received),
        f"`s3://`: {mebibytes(pairs.other.received)}",
        more,
        "≤ 1.3 ×",
        more <= 1.3,
        pairs.ama,
    )


def forward(bench: Bench) -> Iterator[Row]:
    size = bench.sizes.large
    file = bench.data("large", size) / "large.bin"
    plain = f"{bench.new_place()}/large.bin"
    _publish(bench, file)
    bench.plain("put_file", file, plain)
    pairs = _against_s3fs(bench, FORWARD, "large.bin", plain)
    yield Row(
        f"reading {size // MIB:,} MiB forward through `open`",
        f"{seconds(pairs.ama.wall)}, {size / 1e6 / pairs.ama.wall:.0f} MB/s",
        f"`s3fs`: {seconds(pairs.other.wall)}, {size / 1e6 / pairs.other.wall:.0f} MB/s",
        pairs.ratio,
        "≤ 1.25 ×",
        pairs.ratio <= 1.25,
        pairs.ama,
    )


def fetch(bench: Bench) -> Iterator[Row]:
    size = bench.sizes.large // 4
    source = bench.data("large", size)
    _publish(bench, source / "large.bin")
    bench.forget()
    first = _python(bench, FETCH)
    second = _python(bench, FETCH)
    changed = int(bench.make("large", source / "large.bin", size, "--second"))
    _python(bench, PUBLISH, str(source / "large.bin"))
    newer = _python(bench, FETCH)
    bench.made.pop(source)
    shutil.rmtree(source)
    yield Row(
        f"`ama.fetch` of {size // MIB} MiB", mebibytes(first.received), "", None, "", None, first
    )
    yield Row(
        "a second time, on this machine",
        f"{mebibytes(second.received)}, {seconds(second.wall)}",
        "",
        None,
        "no content",
        second.received < 64 << 10,
        second,
    )
    yield Row(
        f"of its next version, with {mebibytes(changed)} changed",
        f"{mebibytes(newer.received)}, {seconds(newer.wall)}",
        "",
        None,
        "changed chunks",
        newer.received < changed + 6 * MIB,
        newer,
    )


def publish(bench: Bench) -> Iterator[Row]:
    places = [bench.data("large", 1_000_000 + n) / "large.bin" for n in range(5)]
    directory = bench.scratch / "five"
    directory.mkdir()
    for number, place in enumerate(places):
        shutil.copy(place, directory / f"{number}.bin")
    bench.make_store(url := bench.new_place(), races=False)
    bench.configure(url)
    _python(bench, PUBLISH, str(places[0]))
    costs = []
    for run in range(bench.sizes.short_pairs):
        for path in directory.iterdir():
            data = path.read_bytes()
            path.write_bytes(data[7:] + bytes([run] * 7))
        files = sorted(map(str, directory.iterdir()))
        costs.append(_python(bench, PUBLISH, *files))
    cost = median(costs)
    yield Row(
        "`ama.publish` of 5 files of 1 MB",
        f"{seconds(cost.wall)}, {cost.requests} requests, {cost.waves} in a row",
        "",
        None,
        "≤ 12 requests",
        cost.requests <= 12,
        cost,
    )


CASES: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "first-byte": first_byte,
    "parquet": parquet,
    "forward": forward,
    "fetch": fetch,
    "publish": publish,
}


def _publish(bench: Bench, *paths: Path) -> None:
    """Publish files to a new store, as `bench@best`."""
    url = bench.new_place()
    bench.make_store(url, races=False)
    bench.configure(url)
    _python(bench, PUBLISH, *map(str, paths))


def _python(bench: Bench, program: str, *args: str) -> Cost:
    return bench.run(sys.executable, "-c", program, *args, cwd=bench.scratch)


def _against_s3fs(bench: Bench, program: str, name: str, plain: str) -> Pairs:
    def ours() -> Cost:
        bench.forget()
        return bench.settled(lambda: _python(bench, program, f"ama://bench@best/{name}", "{}"))

    def theirs() -> Cost:
        options = json.dumps(bench.server.options)
        return bench.settled(lambda: _python(bench, program, plain, options))

    return bench.paired(ours, theirs)
