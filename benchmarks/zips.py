"""The cases of importing a bucket of zips: for `remotes.py`, beside fetching the same bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from measure import MIB, Cost, Row, mebibytes, seconds

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


CASES: dict[str, Callable[[Bench], Iterator[Row]]] = {"importing": importing}
