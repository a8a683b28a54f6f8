"""Measures ama's questions about assets, on a store of 10,000, and prints one table.

    python benchmarks/tracking.py [--quick] [--scratch DIR]

Whole commands are measured; "above start-up" is above `ama --version`, in the same run.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from measure import MIB, SCRATCH, Cost, Place, Row, mebibytes, median, seconds, table

ASSETS, QUICK_ASSETS = 10_000, 200
FILES, QUICK_FILES = 100_000, 500
RUNS, QUICK_RUNS = 5, 1

QUESTIONS: Sequence[tuple[str, Sequence[str]]] = (
    ("`ama find`, by content", ("find", "class-03/7:params.yml")),
    ("`ama find --param`", ("find", "--param", "seed=5")),
    ("`ama show`", ("show", "class-03/5")),
    ("`ama lineage --down`", ("lineage", "class-03/1", "--down")),
    ("`ama compare` of two", ("compare", "class-03/4", "class-03/5")),
)


class Bench(Place):
    """A store that was published by others, and this machine's catalog of it."""

    def __init__(self, scratch: Path, assets: int, files: int, runs: int) -> None:
        super().__init__(scratch, runs)
        self.files = files
        self.store = self.data("tracked", assets)
        self.environment["AMA_REMOTE"] = str(self.store)

    def ask(self, *args: str) -> Cost:
        return self.ama(*args, cwd=self.scratch)

    def often(self, *args: str) -> Cost:
        return median([self.ask(*args) for _ in range(self.pairs)])


def rows(bench: Bench) -> Iterator[Row]:
    first = bench.ask("find", "--author", "nobody")
    yield Row(
        "the first question, which makes the catalog",
        f"{seconds(first.wall)}, {mebibytes(first.peak)}",
        "",
        None,
        "≤ 60 s, ≤ 300 MiB",
        first.wall <= 60 and first.peak <= 300 * MIB,
        first,
    )
    start = bench.often("--version")
    for work, words in QUESTIONS:
        yield above(work, bench.often(*words), start, 0.3)

    known = bench.often("find", "class-03/7:params.yml")
    worktree = bench.scratch / "new"
    worktree.mkdir()
    news = []
    for number in range(bench.pairs):
        (worktree / "params.yml").write_text(f"seed: {number}\n", encoding="utf-8")
        if not number:
            bench.ama("init", "class-03", cwd=worktree)
        bench.ama("add", "params.yml", cwd=worktree)
        bench.ama("upload", cwd=worktree)
        news.append(bench.ask("find", "class-03/7:params.yml"))
    yield above("the same, with one asset more than before", median(news), known, 0.1)

    large = bench.scratch / "large"
    large.mkdir()
    for number in range(bench.files):
        path = large / f"{number // 1000}" / f"{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{number}\n", encoding="utf-8")
    bench.ama("init", "large", cwd=large)
    bench.ama("add", ".", cwd=large)
    bench.ama("upload", cwd=large)
    added = bench.ask("find", "--class", "large")
    yield replace(
        above(f"the first question after an asset of {bench.files:,} files", added, start, 0),
        target="",
        met=None,
    )
    found = bench.often("find", str(large / "0" / "7.txt"))
    yield above(f"`ama find`, a file of {bench.files:,}", found, start, 0.3)


def above(work: str, cost: Cost, start: Cost, most: float) -> Row:
    """A row for CPU time above that of another command."""
    more = cost.cpu - start.cpu
    target = f"≤ {most} s CPU above"
    return Row(work, f"{seconds(more)} CPU above", "", None, target, more <= most, cost)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures questions about many assets.")
    parser.add_argument("--quick", action="store_true", help="small data, to see that it runs")
    parser.add_argument("--scratch", type=Path, default=SCRATCH, help="where data is")
    options = parser.parse_args()
    sizes = (QUICK_ASSETS, QUICK_FILES, QUICK_RUNS) if options.quick else (ASSETS, FILES, RUNS)
    options.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        bench = Bench(Path(scratch), *sizes)
        print(*table(list(rows(bench))), sep="\n")
    if options.quick:
        print("\nMade with --quick: the data is too small for the numbers to mean anything.")


if __name__ == "__main__":
    main()
