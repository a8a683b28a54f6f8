"""What the benchmarks share: running whole commands, what they cost, and the table of that."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

PROJECT = Path(__file__).parent.parent
SCRATCH = PROJECT / "benchmarks" / ".scratch"
DATA = Path(__file__).parent / "data.py"
AMA = [sys.executable, "-m", "ama"]

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class Cost:
    """What commands took: seconds, the highest resident memory, and the bytes sent to the disk;
    and to a server: how many requests, how many round trips waited for one another, and how many
    bytes it answered with.
    """

    wall: float
    cpu: float
    peak: int
    written: int
    requests: int = 0
    waves: int = 0
    received: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.wall + other.wall,
            self.cpu + other.cpu,
            max(self.peak, other.peak),
            self.written + other.written,
            self.requests + other.requests,
            self.waves + other.waves,
            self.received + other.received,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `met` is None where there is no target.

    `beside` are the cells of further columns that only some tables have.
    """

    work: str
    ama: str
    other: str
    ratio: float | None
    target: str
    met: bool | None
    cost: Cost
    beside: tuple[str, ...] = ()


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
    """The medians of times and bytes written, else the most."""
    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        max(cost.peak for cost in costs),
        int(statistics.median(cost.written for cost in costs)),
        max(cost.requests for cost in costs),
        max(cost.waves for cost in costs),
        max(cost.received for cost in costs),
    )


class Place:
    """A scratch directory with its own home, and the data in it."""

    def __init__(self, scratch: Path, pairs: int) -> None:
        self.scratch = scratch
        self.pairs = pairs
        self.home = scratch / "home"
        self.made: dict[Path, Path] = {}
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AMA_", "GIT_", "XDG_"))
            and name not in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")
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

    def forget(self) -> None:
        """Remove what ama remembers of stores: the next command is that of a new machine."""
        shutil.rmtree(self.home / "cache", ignore_errors=True)

    def data(self, kind: str, amount: int) -> Path:
        """A directory with `amount` things of a kind, or one file of `amount` bytes; made once."""
        directory = self.scratch / f"{kind}-{amount}"
        if directory not in self.made:
            directory.mkdir()
            what = directory / "large.bin" if kind == "large" else directory
            self.made[directory] = what
            self.make(kind, what, amount)
        shutil.rmtree(directory / ".ama", ignore_errors=True)
        return directory

    def make(self, kind: str, what: Path, amount: int, *options: str) -> str:
        """In a process of its own: a child's peak memory counts from its parent's."""
        option = "--size" if kind == "large" else "--count"
        done = subprocess.run(
            [sys.executable, str(DATA), kind, str(what), option, str(amount), *options],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout

    def paired(
        self, ours: Callable[[], Cost], theirs: Callable[[], Cost], pairs: int | None = None
    ) -> Pairs:
        """Runs both in turn: A B A B."""
        costs: tuple[list[Cost], list[Cost]] = ([], [])
        for _ in range(pairs or self.pairs):
            for measure, into in zip((ours, theirs), costs, strict=True):
                into.append(measure())
        return Pairs(*costs)

    def settled(self, *measures: Callable[[], Cost]) -> Cost:
        """The sum of what some commands take, after all writing before them has come to an end."""
        os.sync()
        return reduce(add, [measure() for measure in measures])


def stored(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def mebibytes(value: float) -> str:
    return f"{value / MIB:,.2f} MiB"


def table(rows: Sequence[Row], beside: Sequence[str] = ()) -> Iterator[str]:
    """The lines of the table; `beside` names the columns of what is beside the first comparison."""
    further = "".join(f" {name} |" for name in beside)
    yield f"| work | ama | compared with |{further} ratio | target | met | CPU | peak memory |"
    yield "|---" * (8 + len(beside)) + "|"
    for row in rows:
        cells = (
            row.work,
            row.ama,
            row.other,
            *(row.beside or [""] * len(beside)),
            "" if row.ratio is None else f"{row.ratio:.2f} ×",
            row.target,
            "" if row.met is None else "yes" if row.met else "**no**",
            seconds(row.cost.cpu),
            f"{row.cost.peak / MIB:.0f} MiB",
        )
        yield f"| {' | '.join(cells)} |"
