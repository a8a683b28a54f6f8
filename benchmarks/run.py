"""Measures ama against git and cp, and prints one table.

    python benchmarks/run.py [--quick] [--only NAME]... [--pairs N] [--scratch DIRECTORY]

Whole commands are measured, from start to exit. What is compared runs in turn (A B A B ...), after
a sync, with warm caches; the table shows medians, and the median of the ratios of the pairs.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from measure import (
    AMA,
    MIB,
    PROJECT,
    SCRATCH,
    Cost,
    Pairs,
    Place,
    Row,
    mebibytes,
    seconds,
    stored,
    table,
)

SAMPLE = PROJECT / "examples" / "sample"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much data is made, and how often a pair is run."""

    small: int
    many: int
    large: int
    pairs: int
    short_pairs: int  # for commands that take a fraction of a second


FULL = Sizes(small=20_000, many=100_000, large=1 << 30, pairs=5, short_pairs=15)
QUICK = Sizes(small=400, many=1_000, large=16 * MIB, pairs=1, short_pairs=3)


class Bench(Place):
    """A place with git in it, and with files that can be changed."""

    def __init__(self, scratch: Path, sizes: Sizes) -> None:
        super().__init__(scratch, sizes.pairs)
        self.sizes = sizes

    @property
    def store(self) -> Path:
        return self.home / "data" / "store"

    def git(self, *args: str, worktree: Path) -> Cost:
        """Git with its directory outside the worktree, so that ama never sees it."""
        env = {"GIT_DIR": str(self.scratch / "git"), "GIT_WORK_TREE": str(worktree)}
        return self.run("git", *args, cwd=worktree, env=env)

    def fresh_ama(self, worktree: Path) -> None:
        self.reset()
        shutil.rmtree(worktree / ".ama", ignore_errors=True)
        self.ama("init", "bench", cwd=worktree)

    def fresh_git(self, worktree: Path) -> None:
        shutil.rmtree(self.scratch / "git", ignore_errors=True)
        shutil.rmtree(worktree / ".ama", ignore_errors=True)
        self.git("init", "--quiet", worktree=worktree)

    def change(self, kind: str, amount: int) -> int:
        """Makes the second version in place, which uses the data up; returns the bytes changed."""
        directory = self.scratch / f"{kind}-{amount}"
        return int(self.make(kind, self.made.pop(directory), amount, "--second"))

    def copied(self, source: Path) -> Cost:
        """`cp -r` of a directory."""
        target = self.scratch / "copy"
        cost = self.settled(
            lambda: self.run("cp", "-r", str(source), str(target), cwd=self.scratch)
        )
        shutil.rmtree(target)
        return cost


def against(work: str, pairs: Pairs, other: str, most: float) -> Row:
    """A row whose target is a ratio of wall times."""
    return Row(
        work,
        seconds(pairs.ama.wall),
        f"{other}: {seconds(pairs.other.wall)}",
        pairs.ratio,
        f"≤ {most:g} ×",
        pairs.ratio <= most,
        pairs.ama,
    )


def startup(bench: Bench) -> Iterator[Row]:
    for option in ("--help", "--version"):
        bench.ama(option, cwd=bench.scratch)  # compiles the byte code
        pairs = bench.paired(
            partial(bench.ama, option, cwd=bench.scratch),
            lambda: bench.run(sys.executable, "-c", "import typer", cwd=bench.scratch),
            bench.sizes.short_pairs,
        )
        yield against(f"`ama {option}`", pairs, '`python -c "import typer"`', 1.5)


def status_small(bench: Bench) -> Iterator[Row]:
    worktree = bench.scratch / "sample"
    shutil.copytree(SAMPLE, worktree)
    bench.fresh_git(worktree)
    bench.git("add", ".", worktree=worktree)
    bench.fresh_ama(worktree)
    bench.ama("add", ".", cwd=worktree)
    bench.ama("upload", cwd=worktree)
    bench.git("status", worktree=worktree)
    pairs = bench.paired(
        lambda: bench.ama("status", cwd=worktree),
        lambda: bench.git("status", worktree=worktree),
        bench.sizes.short_pairs,
    )
    yield Row(
        "`ama status` in a small worktree",
        seconds(pairs.ama.wall),
        f"`git status`: {seconds(pairs.other.wall)}",
        pairs.ratio,
        "≤ 0.15 s",
        pairs.ama.wall <= 0.15,
        pairs.ama,
    )


def status_many(bench: Bench) -> Iterator[Row]:
    count = bench.sizes.many
    worktree = bench.data("small", count)
    bench.fresh_git(worktree)
    (bench.scratch / "git" / "info" / "exclude").write_text(".ama\n", encoding="utf-8")
    bench.git("add", ".", worktree=worktree)
    bench.git("commit", "--quiet", "--message", "first", worktree=worktree)
    bench.fresh_ama(worktree)
    bench.ama("add", ".", cwd=worktree)
    bench.ama("commit", "--message", "first", cwd=worktree)
    bench.ama("status", cwd=worktree)
    bench.git("status", worktree=worktree)
    pairs = bench.paired(
        lambda: bench.settled(lambda: bench.ama("status", cwd=worktree)),
        lambda: bench.settled(lambda: bench.git("status", worktree=worktree)),
    )
    yield Row(
        f"`ama status`, nothing changed, {count:,} files",
        f"{pairs.ama.cpu:.2f} s CPU",
        f"`git status`: {pairs.other.cpu:.2f} s CPU",
        pairs.ama.cpu / max(pairs.other.cpu, 0.001),
        "≤ 1.2 s CPU",
        pairs.ama.cpu <= 1.2,
        pairs.ama,
    )


def add_small(bench: Bench) -> Iterator[Row]:
    for count in dict.fromkeys((bench.sizes.small, bench.sizes.many)):
        worktree = bench.data("small", count)

        def ours(worktree: Path = worktree) -> Cost:
            bench.fresh_ama(worktree)
            return bench.settled(lambda: bench.ama("add", ".", cwd=worktree))

        def theirs(worktree: Path = worktree) -> Cost:
            bench.fresh_git(worktree)
            return bench.settled(lambda: bench.git("add", ".", worktree=worktree))

        # The larger number shows that it grows no faster; once is enough to see that.
        pairs = bench.paired(ours, theirs, None if count == bench.sizes.small else 1)
        yield against(f"`ama add`, {count:,} small files", pairs, "`git add`", 0.6)


def upload_small(bench: Bench) -> Iterator[Row]:
    count = bench.sizes.small
    worktree = bench.data("small", count)

    def ours() -> Cost:
        bench.fresh_ama(worktree)
        return bench.settled(
            lambda: bench.ama("add", ".", cwd=worktree),
            lambda: bench.ama("upload", cwd=worktree),
        )

    def theirs() -> Cost:
        shutil.rmtree(worktree / ".ama", ignore_errors=True)
        return bench.copied(worktree)

    pairs = bench.paired(ours, theirs)
    yield against(f"`ama add` + `upload`, {count:,} small files", pairs, "`cp -r`", 2.5)


def download_small(bench: Bench) -> Iterator[Row]:
    count = bench.sizes.small
    worktree = bench.data("small", count)
    bench.fresh_ama(worktree)
    bench.ama("add", ".", cwd=worktree)
    bench.ama("upload", cwd=worktree)
    shutil.rmtree(worktree / ".ama")

    def ours() -> Cost:
        bench.forget()
        target = bench.scratch / "downloads"
        target.mkdir()
        cost = bench.settled(lambda: bench.ama("download", "bench", cwd=target))
        shutil.rmtree(target)
        return cost

    pairs = bench.paired(ours, lambda: bench.copied(worktree))
    yield against(f"`ama download`, {count:,} small files", pairs, "`cp -r`", 2.5)


def upload_large(bench: Bench) -> Iterator[Row]:
    size = bench.sizes.large
    worktree = bench.data("large", size)

    def ours() -> Cost:
        bench.fresh_ama(worktree)
        return bench.settled(
            lambda: bench.ama("add", ".", cwd=worktree),
            lambda: bench.ama("upload", cwd=worktree),
        )

    def theirs() -> Cost:
        copy = bench.scratch / "copy.bin"
        script = 'cp "$0" "$1" && sync "$1"'
        source = str(worktree / "large.bin")
        cost = bench.settled(
            lambda: bench.run("sh", "-c", script, source, str(copy), cwd=bench.scratch)
        )
        copy.unlink()
        return cost

    pairs = bench.paired(ours, theirs)
    work = f"`ama add` + `upload`, one file of {size // MIB:,} MiB"
    yield against(work, pairs, "`cp a b && sync b`", 2)
    written = pairs.ama.written / size
    yield Row(
        "the same: written to disk in all",
        mebibytes(pairs.ama.written),
        mebibytes(size),
        written,
        "≤ 1 × (to 1 %)",
        written <= 1.01,
        pairs.ama,
    )
    yield Row(
        "the same: peak memory",
        mebibytes(pairs.ama.peak),
        "",
        None,
        "≤ 200 MiB",
        pairs.ama.peak <= 200 * MIB,
        pairs.ama,
    )


def second_version(bench: Bench) -> Iterator[Row]:
    for kind, amount, work in (
        ("large", bench.sizes.large, "the large file"),
        ("small", bench.sizes.small, f"{bench.sizes.small:,} small files"),
    ):
        worktree = bench.data(kind, amount)
        bench.fresh_ama(worktree)
        bench.ama("add", ".", cwd=worktree)
        bench.ama("upload", cwd=worktree)
        before = stored(bench.store)
        changed = bench.change(kind, amount)
        cost = bench.settled(
            partial(bench.ama, "add", ".", cwd=worktree),
            partial(bench.ama, "upload", cwd=worktree),
        )
        shutil.rmtree(worktree)
        grown = stored(bench.store) - before
        most = 1.3 * changed + 2 * MIB
        yield Row(
            f"second version of {work}: bytes stored ({seconds(cost.wall)})",
            mebibytes(grown),
            f"changed: {mebibytes(changed)}",
            grown / changed,
            f"≤ {mebibytes(most)} (1.3 × + 2 MiB)" if kind == "large" else "",
            grown <= most if kind == "large" else None,
            cost,
        )


CASES: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "startup": startup,
    "status-small": status_small,
    "add-small": add_small,
    "status-many": status_many,
    "upload-small": upload_small,
    "download-small": download_small,
    "upload-large": upload_large,
    "second-version": second_version,
}


def machine(bench: Bench) -> str:
    """What was measured on what, for the line above the table."""
    said = {}
    for name, argv in (("ama", [*AMA, "--version"]), ("git", ["git", "--version"])):
        done = subprocess.run(
            argv,
            cwd=bench.scratch,
            env=bench.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        said[name] = done.stdout.split()[-1]
    return (
        f"ama {said['ama']}, git {said['git']}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores; "
        f"medians of {bench.sizes.pairs} pairs"
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures ama against git and cp.")
    parser.add_argument("--quick", action="store_true", help="small data, to see that it runs")
    parser.add_argument(
        "--only", action="append", choices=CASES, metavar="NAME", help=", ".join(CASES)
    )
    parser.add_argument("--pairs", type=int, help="how often each pair is run")
    parser.add_argument(
        "--scratch",
        type=Path,
        default=SCRATCH,
        help="where the data is made (removed at the end); needs 6 GiB on a real disk",
    )
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    sizes = QUICK if options.quick else FULL
    if options.pairs:
        sizes = Sizes(sizes.small, sizes.many, sizes.large, options.pairs, options.pairs)
    options.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        bench = Bench(Path(scratch), sizes)
        heading = machine(bench)
        rows: list[Row] = []
        for name in options.only or CASES:
            print(f"{name} ...", file=sys.stderr, flush=True)
            rows += CASES[name](bench)
    print(heading, *table(rows), sep="\n")
    if options.quick:
        print("\nMade with --quick: the data is too small for the numbers to mean anything.")


if __name__ == "__main__":
    main()
