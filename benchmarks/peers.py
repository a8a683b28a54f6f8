"""Measures ama beside restic, borg, git and cp at the same work, and prints one table.

    python benchmarks/peers.py [--quick] [--only NAME]... [--rounds N] [--scratch DIRECTORY]

Each round runs all of them in turn, after a sync; the table shows medians, and the median of the
ratios of the rounds. What isn't installed is left out, with a word.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from measure import MIB, SCRATCH, Cost, Row, mebibytes, median, seconds, stored, table
from run import Bench, Sizes

PLAIN_LOOP = """
import os, sys
source, target = sys.argv[1:]
for directory, _, names in os.walk(source):
    place = os.path.join(target, os.path.relpath(directory, source))
    os.makedirs(place, exist_ok=True)
    for name in names:
        with open(os.path.join(directory, name), "rb") as file:
            data = file.read()
        temp = os.path.join(place, ".temp")
        with open(temp, "wb") as file:
            file.write(data)
        os.rename(temp, os.path.join(place, name))
"""
WHEELS = ("numpy==1.26.3", "numpy==1.26.4", "scipy==1.11.3", "scipy==1.11.4")


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much data is made, and how often each measurement is repeated."""

    small: int
    large: int
    weights: int
    directories: int  # of so many files each
    rounds: int


FULL = Amounts(20_000, 1 << 30, 256 * MIB, 1_000, 3)
QUICK = Amounts(400, 16 * MIB, 2 * MIB, 10, 1)


class Peers(Bench):
    """A bench with other tools beside ama, each with a repository of its own."""

    def __init__(self, scratch: Path, amounts: Amounts) -> None:
        sizes = Sizes(amounts.small, amounts.small, amounts.large, amounts.rounds, amounts.rounds)
        super().__init__(scratch, sizes)
        self.amounts = amounts
        self.environment |= {
            "RESTIC_REPOSITORY": str(scratch / "restic"),
            "RESTIC_PASSWORD": "benchmark",
            "RESTIC_CACHE_DIR": str(scratch / "restic-cache"),
            "BORG_BASE_DIR": str(scratch / "borg-home"),
            "BORG_REPO": str(scratch / "borg"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }

    def remove(self, *names: str) -> None:
        for name in names:
            shutil.rmtree(self.scratch / name, ignore_errors=True)

    def fresh_restic(self) -> None:
        self.remove("restic", "restic-cache")
        self.run("restic", "init", "--quiet", cwd=self.scratch)

    def fresh_borg(self) -> None:
        self.remove("borg", "borg-home")
        self.run("borg", "init", "--encryption", "none", cwd=self.scratch)

    def uploaded(self, worktree: Path) -> tuple[Cost, Cost]:
        self.fresh_ama(worktree)
        add = self.settled(lambda: self.ama("add", ".", cwd=worktree))
        return add, self.settled(lambda: self.ama("upload", cwd=worktree))

    def restic(self, worktree: Path) -> Cost:
        self.fresh_restic()
        return self.settled(lambda: self.run("restic", "backup", "--quiet", ".", cwd=worktree))

    def borg(self, worktree: Path) -> Cost:
        self.fresh_borg()
        return self.settled(lambda: self.run("borg", "create", "::one", ".", cwd=worktree))

    def into(self, *argv: str) -> Cost:
        """The cost of a command that fills an empty directory, its working directory."""
        target = self.scratch / "target"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        cost = self.settled(lambda: self.run(*argv, cwd=target))
        shutil.rmtree(target)
        return cost

    def downloaded(self) -> Cost:
        self.forget()
        return self.into(sys.executable, "-m", "ama", "download", "bench")


Measures = Mapping[str, Callable[[], Cost]]


@dataclass(frozen=True, slots=True)
class Rounds:
    """The costs of some tools, measured in turn."""

    costs: Mapping[str, Sequence[Cost]]

    def __getitem__(self, name: str) -> Cost:
        return median(self.costs[name])

    def ratio(self, name: str, other: str) -> float:
        pairs = zip(self.costs[name], self.costs[other], strict=True)
        return statistics.median(one.wall / two.wall for one, two in pairs)

    def others(self, *shown: str) -> str:
        rest = [name for name in self.costs if name not in ("ama", *shown)]
        return ", ".join(f"{name} {seconds(self[name].wall)}" for name in rest)

    def row(self, work: str, other: str, most: float, ours: str = "ama") -> Row:
        ratio = self.ratio(ours, other)
        return Row(
            work,
            seconds(self[ours].wall),
            f"{other} {seconds(self[other].wall)}",
            ratio,
            f"≤ {most:g} ×",
            ratio <= most,
            self[ours],
            (self.others(other, ours),),
        )


def rounds(bench: Peers, measures: Measures, number: int | None = None) -> Rounds:
    """Runs all that is installed in turn, so many times."""
    found: dict[str, list[Cost]] = {}
    for _ in range(number or bench.amounts.rounds):
        for name, measure in measures.items():
            if name.split()[0] not in ("restic", "borg") or shutil.which(name.split()[0]):
                found.setdefault(name, []).append(measure())
    return Rounds(found)


def bounded(work: str, cost: Cost, most: float | None, peak: int | None = None) -> Row:
    """A row whose targets are seconds and mebibytes of memory."""
    limits = [] if most is None else [f"{most:.3g} s"]
    limits += [] if peak is None else [f"{peak} MiB"]
    most_text = "≤ " + ", ".join(limits) if limits else ""
    met = (most is None or cost.wall <= most) and (peak is None or cost.peak <= peak * MIB)
    return Row(work, seconds(cost.wall), "", None, most_text, met if limits else None, cost, ("",))


def many_small(bench: Peers) -> Iterator[Row]:
    worktree = bench.data("small", bench.amounts.small)
    named = f"{bench.amounts.small:,} small files"
    uploads: list[Cost] = []

    def add() -> Cost:
        cost, upload = bench.uploaded(worktree)
        uploads.append(cost + upload)
        return cost

    def git() -> Cost:
        bench.fresh_git(worktree)
        return bench.settled(lambda: bench.git("add", ".", worktree=worktree))

    measures: Measures = {
        "git add": git,
        "restic backup": partial(bench.restic, worktree),
        "borg create": partial(bench.borg, worktree),
        "cp -r": partial(bench.copied, worktree),
        "ama": add,
    }
    found = rounds(bench, measures)
    both = Rounds({**found.costs, "ama": uploads})
    yield found.row(f"{named}: add", "git add", 0.25)
    if "restic backup" in found.costs:
        yield both.row(f"{named}: add + upload", "restic backup", 0.7)
    yield from _downloads(bench, named, worktree, 0.4)


def _downloads(bench: Peers, named: str, worktree: Path, most: float) -> Iterator[Row]:
    shutil.rmtree(worktree / ".ama")
    measures: Measures = {
        "restic restore": lambda: bench.into("restic", "restore", "latest", "--target", "."),
        "borg extract": lambda: bench.into("borg", "extract", "::one"),
        "cp -r": partial(bench.copied, worktree),
        "plain loop": lambda: bench.into(sys.executable, "-c", PLAIN_LOOP, str(worktree), "."),
        "ama": bench.downloaded,
    }
    found = rounds(bench, measures)
    if "restic restore" in found.costs:
        yield found.row(f"{named}: download", "restic restore", most)
    if most < 0.5:
        yield found.row(f"{named}: download", "plain loop", 3)


def one_large(bench: Peers) -> Iterator[Row]:
    worktree = bench.data("large", bench.amounts.large)
    named = f"one file of {bench.amounts.large // MIB:,} MiB"

    def ours() -> Cost:
        add, upload = bench.uploaded(worktree)
        return add + upload

    measures: Measures = {
        "restic backup": partial(bench.restic, worktree),
        "borg create": partial(bench.borg, worktree),
        "cp -r": partial(bench.copied, worktree),
        "ama": ours,
    }
    found = rounds(bench, measures)
    if "restic backup" in found.costs:
        yield found.row(f"{named}: add + upload", "restic backup", 0.8)
    yield from _downloads(bench, named, worktree, 0.9)


def _sizes(bench: Peers, worktree: Path) -> tuple[int, dict[str, int]]:
    """The bytes that ama stores, and those of others."""
    bench.uploaded(worktree)
    ours = stored(bench.store)
    shutil.rmtree(worktree / ".ama")
    others = {}
    if shutil.which("restic"):
        bench.restic(worktree)
        others["restic"] = stored(bench.scratch / "restic")
    if shutil.which("borg"):
        bench.borg(worktree)
        others["borg"] = stored(bench.scratch / "borg")
    return ours, others


def _stored_row(work: str, ours: int, others: Mapping[str, int], most: float) -> Row:
    best = min(others, key=lambda name: others[name])
    rest = ", ".join(f"{name} {mebibytes(size)}" for name, size in others.items() if name != best)
    ratio = ours / others[best]
    return Row(
        work,
        mebibytes(ours),
        f"{best} {mebibytes(others[best])}",
        ratio,
        f"≤ {most:g} ×",
        ratio <= most,
        Cost(0, 0, 0, 0),
        (rest,),
    )


def wheels(bench: Peers) -> Iterator[Row]:
    directory = bench.scratch / "wheels"
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    fetch += ["--python-version=3.11", "--platform=manylinux2014_x86_64", "--dest", str(directory)]
    if subprocess.run([*fetch, WHEELS[0]], check=False).returncode:
        print("the wheels can't be fetched: not measured", file=sys.stderr)
        return
    for name in WHEELS[1:]:
        subprocess.run([*fetch, name], check=True)
    worktree = bench.scratch / "unpacked"
    for wheel in directory.iterdir():
        shutil.unpack_archive(wheel, worktree / wheel.stem, "zip")
    ours, others = _sizes(bench, worktree)
    restic = {name: size for name, size in others.items() if name == "restic"}
    if restic:
        yield _stored_row("wheels of numpy and scipy, two each: stored", ours, restic, 0.97)


def weights(bench: Peers) -> Iterator[Row]:
    worktree = bench.data("weights", bench.amounts.weights)
    ours, others = _sizes(bench, worktree)
    if shutil.which("zstd"):
        packed = bench.scratch / "packed.zst"
        (file,) = worktree.iterdir()
        bench.run("zstd", "-3", "-q", "-f", str(file), "-o", str(packed), cwd=bench.scratch)
        others["zstd -3"] = packed.stat().st_size
    others.pop("borg", None)
    if others:
        yield _stored_row("bf16 safetensors: stored", ours, others, 0.88)


def million(bench: Peers) -> Iterator[Row]:
    count = bench.amounts.directories
    worktree = bench.data("tiny", count)
    named = f"{count * count:,} files"

    def git(*args: str) -> Cost:
        return bench.settled(lambda: bench.git(*args, worktree=worktree))

    def ama(*args: str, cold: bool = False) -> Cost:
        if cold:
            bench.forget()
        return bench.settled(lambda: bench.ama(*args, cwd=worktree))

    bench.fresh_git(worktree)
    theirs = git("add", ".")
    git("commit", "--quiet", "--message", "first")
    bench.fresh_ama(worktree)
    exclude = bench.scratch / "git" / "info" / "exclude"
    exclude.write_text(".ama\n", encoding="utf-8")
    ours = ama("add", ".")
    yield Rounds({"ama": [ours], "git add": [theirs]}).row(f"{named}: add", "git add", 0.25)
    yield bounded(f"{named}: add", ours, None, 300)
    yield bounded(f"{named}: first upload", ama("upload"), None, None if count < 1000 else 400)

    git("status")
    ama("status")
    found = rounds(bench, {"git status": partial(git, "status"), "ama": partial(ama, "status")}, 3)
    ratio = found["ama"].cpu / found["git status"].cpu
    yield Row(
        f"{named}: status, CPU",
        f"{found['ama'].cpu:.2f} s",
        f"git status {found['git status'].cpu:.2f} s",
        ratio,
        "≤ 1.5 ×, 250 MiB",
        ratio <= 1.5 and found["ama"].peak <= 250 * MIB,
        found["ama"],
        ("",),
    )
    nothing = ama("upload")
    yield bounded(f"{named}: upload, nothing new", nothing, found["ama"].wall + 0.2)

    changed = f"d{count // 2:04}/f{count // 2:04}"
    (worktree / changed).write_bytes(b"changed")
    yield bounded(f"{named}: add one", ama("add", changed), 0.5)
    before = stored(bench.store)
    cost = ama("upload")
    yield bounded(f"{named}: upload that one", cost, 2, 200)
    grown = stored(bench.store) - before
    yield Row(
        f"{named}: upload that one, sent",
        mebibytes(grown),
        "",
        None,
        "≤ 64 KiB",
        grown <= 64 << 10,
        cost,
        ("",),
    )
    directory = changed.partition("/")[0]
    (bench.home / "cold").mkdir()
    for work, args in (
        ("ls of a directory", ("ls", "bench", directory)),
        ("cat of a file", ("cat", f"bench:{changed}")),
    ):
        bench.forget()
        cost = bench.settled(partial(bench.ama, *args, cwd=bench.home / "cold"))
        yield bounded(f"{named}: cold {work}", cost, 0.4, 100)
    ama("show", "bench/1")
    for work, args in (
        ("show", ("show", "bench/2")),
        ("compare", ("compare", "bench/1", "bench/2")),
        ("diff", ("diff", "bench/1", "bench/2")),
    ):
        yield bounded(f"{named}: {work}", ama(*args), 0.5)
    cost = ama("find", "--name", "f0000", cold=True)
    yield bounded(f"{named}: find, first", cost, 15, 300)
    (worktree / changed).write_bytes(b"changed again")
    ama("add", changed)
    ama("upload")
    cost = ama("find", "--name", "f0000")
    yield bounded(f"{named}: find after a version one file apart", cost, 0.5)
    copied = bench.copied(worktree)
    loaded = bench.downloaded()
    yield Rounds({"ama": [loaded], "cp -r": [copied]}).row(f"{named}: download", "cp -r", 2)
    yield bounded(f"{named}: download", loaded, None, 300)
    yield bounded(
        f"{named}: fsck of the store", ama("fsck", "--remote", str(bench.store)), None, 300
    )


CASES: dict[str, Callable[[Peers], Iterator[Row]]] = {
    "small": many_small,
    "large": one_large,
    "wheels": wheels,
    "weights": weights,
    "million": million,
}


def versions(bench: Peers) -> str:
    said = [f"Python {platform.python_version()}"]
    for name, argv in {
        "restic": ["restic", "version"],
        "borg": ["borg", "--version"],
        "git": ["git", "--version"],
    }.items():
        if shutil.which(name):
            done = subprocess.run(argv, capture_output=True, text=True, check=True)
            said.append(" ".join(done.stdout.split()[: 3 if name == "git" else 2]))
        else:
            said.append(f"no {name}")
    return f"{', '.join(said)}; medians of {bench.amounts.rounds} rounds"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures ama beside its peers.")
    parser.add_argument("--quick", action="store_true", help="small data, to see that it runs")
    parser.add_argument(
        "--only", action="append", choices=CASES, metavar="NAME", help=", ".join(CASES)
    )
    parser.add_argument("--rounds", type=int, help="how often each is run")
    parser.add_argument("--scratch", type=Path, default=SCRATCH, help="on a real disk, 30 GiB")
    options = parser.parse_args()
    given = QUICK if options.quick else FULL
    number = options.rounds or given.rounds
    amounts = Amounts(given.small, given.large, given.weights, given.directories, number)
    options.scratch.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for name in options.only or CASES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(
            dir=options.scratch, ignore_cleanup_errors=True
        ) as scratch:
            bench = Peers(Path(scratch), amounts)
            for row in CASES[name](bench):
                rows.append(row)
                told = f"{row.cost.cpu:.2f} s CPU, {row.cost.peak / MIB:.0f} MiB"
                print(
                    f"  {row.work}: {row.ama} ({row.other or row.target}); {told}", file=sys.stderr
                )
    print(versions(bench), *table(rows, ("others",)), sep="\n")


if __name__ == "__main__":
    main()
