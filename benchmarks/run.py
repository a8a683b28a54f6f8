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
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from pathlib import Path

PROJECT = Path(__file__).parent.parent
SAMPLE = PROJECT / "examples" / "sample"
DATA = Path(__file__).parent / "data.py"
AMA = [sys.executable, "-m", "ama"]

KIB, MIB = 1 << 10, 1 << 20


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


@dataclass(frozen=True, slots=True)
class Cost:
    """What commands took: seconds, the highest resident memory, and the bytes sent to the disk."""

    wall: float
    cpu: float
    peak: int
    written: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.wall + other.wall,
            self.cpu + other.cpu,
            max(self.peak, other.peak),
            self.written + other.written,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `met` is None where there is no target."""

    work: str
    ama: str
    other: str
    ratio: float | None
    target: str
    met: bool | None
    cost: Cost


@dataclass(frozen=True, slots=True)
class Pairs:
    """The costs of ama's runs and of the other's, in the order that they were run."""

    ours: Sequence[Cost]
    theirs: Sequence[Cost]

    @property
    def ama(self) -> Cost:
        return median(self.ours)

    @property
    def other(self) -> Cost:
        return median(self.theirs)

    @property
    def ratio(self) -> float:
        pairs = zip(self.ours, self.theirs, strict=True)
        return statistics.median(ours.wall / theirs.wall for ours, theirs in pairs)


def median(costs: Sequence[Cost]) -> Cost:
    """The medians of times and bytes, but the highest peak."""
    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        max(cost.peak for cost in costs),
        int(statistics.median(cost.written for cost in costs)),
    )


class Bench:
    """A scratch directory with its own home, and the data in it."""

    def __init__(self, scratch: Path, sizes: Sizes) -> None:
        self.scratch = scratch
        self.sizes = sizes
        self.home = scratch / "home"
        self.made: dict[Path, Path] = {}
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AMA_", "GIT_", "XDG_")) and name != "PYTHONDONTWRITEBYTECODE"
        }
        self.environment |= {
            "HOME": str(self.home),
            "PYTHONPATH": str(PROJECT / "src"),
            "AMA_DATA_DIR": str(self.home / "data"),
            "AMA_CACHE_DIR": str(self.home / "cache"),
            "AMA_CONFIG_DIR": str(self.home / "config"),
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        self.reset()

    @property
    def store(self) -> Path:
        return self.home / "data" / "store"

    def reset(self) -> None:
        """An empty home: no store, no caches; the user has a name, as in most people's git."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        (self.home / ".gitconfig").write_text(
            "[user]\n\tname = Ann Lee\n\temail = ann@example.com\n", encoding="utf-8"
        )

    def run(self, *argv: str, cwd: Path, env: dict[str, str] | None = None) -> Cost:
        """Runs one command to its end and measures it; stops everything if it fails."""
        with tempfile.TemporaryFile() as output:
            start = time.perf_counter()
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env={**self.environment, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                output.seek(0)
                said = output.read().decode(errors="replace")
                sys.exit(f"{' '.join(argv)} ended with {process.returncode}:\n{said}")
        return Cost(
            wall,
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss * (1 if sys.platform == "darwin" else KIB),
            usage.ru_oublock * 512,  # Linux counts here what was handed to the block layer
        )

    def ama(self, *args: str, cwd: Path) -> Cost:
        return self.run(*AMA, *args, cwd=cwd)

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

    def data(self, kind: str, amount: int) -> Path:
        """A directory with `amount` small files, or with one file of `amount` bytes; made once."""
        directory = self.scratch / f"{kind}-{amount}"
        if directory not in self.made:
            directory.mkdir()
            what = directory if kind == "small" else directory / "large.bin"
            self.made[directory] = what
            self.make(kind, what, amount)
        shutil.rmtree(directory / ".ama", ignore_errors=True)
        return directory

    def make(self, kind: str, what: Path, amount: int, *options: str) -> str:
        """In a process of its own: a child's peak memory counts from its parent's."""
        option = "--count" if kind == "small" else "--size"
        done = subprocess.run(
            [sys.executable, str(DATA), kind, str(what), option, str(amount), *options],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout

    def change(self, kind: str, amount: int) -> int:
        """Makes the second version in place, which uses the data up; returns the bytes changed."""
        directory = self.scratch / f"{kind}-{amount}"
        return int(self.make(kind, self.made.pop(directory), amount, "--second"))

    def paired(
        self, ours: Callable[[], Cost], theirs: Callable[[], Cost], pairs: int | None = None
    ) -> Pairs:
        """Runs both in turn: A B A B."""
        costs: tuple[list[Cost], list[Cost]] = ([], [])
        for _ in range(pairs or self.sizes.pairs):
            for measure, into in zip((ours, theirs), costs, strict=True):
                into.append(measure())
        return Pairs(*costs)

    def settled(self, *measures: Callable[[], Cost]) -> Cost:
        """The sum of what some commands take, after all writing before them has come to an end."""
        os.sync()
        return reduce(add, [measure() for measure in measures])

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
        shutil.rmtree(bench.home / "cache", ignore_errors=True)
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


def stored(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def mebibytes(value: float) -> str:
    return f"{value / MIB:,.2f} MiB"


def table(rows: Sequence[Row]) -> Iterator[str]:
    yield "| work | ama | compared with | ratio | target | met | CPU | peak memory |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        cells = (
            row.work,
            row.ama,
            row.other,
            "" if row.ratio is None else f"{row.ratio:.2f} ×",
            row.target,
            "" if row.met is None else "yes" if row.met else "**no**",
            seconds(row.cost.cpu),
            f"{row.cost.peak / MIB:.0f} MiB",
        )
        yield f"| {' | '.join(cells)} |"


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
        default=PROJECT / "benchmarks" / ".scratch",
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
