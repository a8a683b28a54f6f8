"""The cases of importing a bucket of zips: for `remotes.py`, beside fetching the same bytes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from measure import MIB, Cost, Row, mebibytes, seconds, stored

if TYPE_CHECKING:
    from remotes import Bench

MOST_MEMORY = 250 * MIB


def importing(bench: Bench) -> Iterator[Row]:
    """A bucket of zips as assets, then once more with nothing new."""
    count = bench.sizes.zips
    source = bench.data("zips", count)
    old = bench.new_place()
    put = bench.settled(lambda: bench.plain("put", source, old, recursive=True))
    endpoint = bench.server.options["endpoint_url"]
    zips = f"{old}/*.zip?endpoint_url={endpoint}"

    def ours() -> Cost:
        place = bench.new_place()
        bench.make_store(place, races=False)
        return bench.settled(
            lambda: bench.ama("import", "models", zips, "--alias", "{name}", cwd=bench.scratch)
        )

    def theirs() -> Cost:
        got = bench.scratch / "got"
        cost = bench.settled(lambda: bench.plain("get", old, got, recursive=True))
        shutil.rmtree(got)
        return cost

    pairs = bench.paired(ours, theirs, bench.sizes.short_pairs)
    yield Row(
        f"`ama import` of {count:,} zips of 8 files, 2 MB each",
        f"{seconds(pairs.ama.wall)}, {mebibytes(pairs.ama.peak)}, {pairs.ama.requests} requests",
        f"`fs.get`: {seconds(pairs.other.wall)}; `fs.put` of the same: {seconds(put.wall)}",
        pairs.ratio,
        "≤ 1.3 ×, ≤ 250 MiB",
        pairs.ratio <= 1.3 and pairs.ama.peak <= MOST_MEMORY,
        pairs.ama,
    )
    again = bench.settled(lambda: bench.ama("import", "models", zips, cwd=bench.scratch))
    yield Row(
        "the same again, nothing new",
        f"{seconds(again.wall)}, {again.requests} requests",
        "",
        None,
        "≤ 20 requests and the listing",
        again.requests <= 20 + 1 + count // 1000,
        again,
    )
    yield from _by_hand(bench, source, pairs.ama.wall / count)


def _by_hand(bench: Bench, source: Path, each: float) -> Iterator[Row]:
    """What is done today, for some of them: unzip, and four commands."""
    some = sorted(source.iterdir())[: bench.sizes.by_hand]
    place = bench.new_place()
    bench.make_store(place, races=False)
    total = 0.0
    for archive in some:
        directory = bench.scratch / "unzipped"
        unzip = (sys.executable, "-m", "zipfile", "-e", str(archive), str(directory))
        total += bench.run(*unzip, cwd=bench.scratch).wall
        for words in (
            ["init", "models"],
            ["add", "."],
            ["set", "--alias", archive.stem],
            ["upload"],
        ):
            total += bench.ama(*words, cwd=directory).wall
        shutil.rmtree(directory)
    yield Row(
        "each zip",
        seconds(each),
        f"`unzip`, `init`, `add`, `set`, `upload`: {seconds(total / len(some))}",
        each / (total / len(some)),
        "≤ 0.1 ×",
        each <= 0.1 * total / len(some),
        bench.ama("--version", cwd=bench.scratch),
    )


def elsewhere(bench: Bench) -> Iterator[Row]:
    """A bucket of zips by reference, and with several processes."""
    count = bench.sizes.zips
    source = bench.data("zips", count)
    old = bench.new_place()
    bench.plain("put", source, old, recursive=True)
    endpoint = bench.server.options["endpoint_url"]
    zips = f"{old}/*.zip?endpoint_url={endpoint}"

    def imported(*options: str) -> tuple[Cost, int]:
        place = bench.new_place()
        bench.make_store(place, races=False)
        bench.ama("remote", "upgrade", cwd=bench.scratch)
        cost = bench.settled(
            lambda: bench.ama("import", "models", zips, *options, cwd=bench.scratch)
        )
        return cost, bench.bytes_at(place)

    one, whole = imported()
    cost, size = imported("--by-reference")
    share = size / stored(source)
    yield Row(
        f"`ama import --by-reference` of {count:,} zips",
        f"{seconds(cost.wall)}, {mebibytes(cost.peak)}; store {mebibytes(size)}",
        f"without: {seconds(one.wall)}; store {mebibytes(whole)}",
        share,
        "store ≤ 0.015 × the sources",
        share <= 0.015,
        cost,
    )
    for jobs in (2, 4):
        cost, size = imported("--jobs", str(jobs))
        yield Row(
            f"`ama import --jobs {jobs}` of {count:,} zips",
            f"{seconds(cost.wall)}; store {mebibytes(size)}",
            f"one process: {seconds(one.wall)}; store {mebibytes(whole)}",
            cost.wall / one.wall,
            "at least not slower",
            cost.wall <= one.wall,
            cost,
        )


CASES: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "importing": importing,
    "import-elsewhere": elsewhere,
}
