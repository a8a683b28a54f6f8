"""Measures ama's remotes against DVC and plain fsspec, and prints one table.

    python benchmarks/remotes.py [--quick] [--only NAME]... [--server NAME] [--dvc EXECUTABLE]

The server is on this machine, behind a proxy that adds 20 ms to each request and counts them: what
passes is in the table, and how many round trips waited for one another. Whole commands are
measured, from start to exit, after a sync.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import delay
import opening
import zips
from measure import (
    AMA,
    MIB,
    SCRATCH,
    Cost,
    Pairs,
    Place,
    Row,
    mebibytes,
    median,
    seconds,
    stored,
    table,
)

SERVE = Path(__file__).parent / "serve.py"
SERVERS = ("seaweed", "seaweed-s3fs", "moto", "gcs")

# The package that ama goes through.
CLIENT = """
import importlib.metadata, json, sys
from ama.storage.urls import open_storage
client = open_storage(sys.argv[1], json.loads(sys.argv[2])).client
print(f"{client}-{importlib.metadata.version(client)}")
"""

# What somebody would write who uses fsspec and nothing else.
PLAIN = """
import json, sys, fsspec
method, source, target, url, options, recursive = sys.argv[1:]
fs, _ = fsspec.url_to_fs(url, **json.loads(options))
getattr(fs, method)(source, target, **({"recursive": True} if recursive else {}))
"""


SIZE = """
import json, sys, fsspec
fs, path = fsspec.url_to_fs(sys.argv[1], **json.loads(sys.argv[2]))
print(fs.du(path))
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much data is made, and how often what is compared is run."""

    many: int
    large: int
    assets: int
    many_pairs: int  # the others take minutes for one
    pairs: int
    short_pairs: int
    zips: int
    by_hand: int
    races: bool  # before a store is made, as always; they take seconds on some servers


FULL = Sizes(
    many=70_000,
    large=1 << 30,
    assets=2_000,
    many_pairs=1,
    pairs=3,
    short_pairs=5,
    zips=1_000,
    by_hand=10,
    races=True,
)
QUICK = Sizes(
    many=700,
    large=16 * MIB,
    assets=20,
    many_pairs=1,
    pairs=1,
    short_pairs=1,
    zips=20,
    by_hand=2,
    races=False,
)


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is, and how it is reached through the proxy."""

    port: int
    url: str
    options: dict[str, Any]
    environ: dict[str, str]
    versions: list[str]


@dataclass(frozen=True, slots=True)
class Job:
    """What one tool took to prepare a place, to note files, to send them, to do so again, and to
    fetch them elsewhere; None for what it doesn't do.
    """

    prepare: Cost | None
    add: Cost | None
    send: Cost
    again: Cost | None
    fetch: Cost


class Bench(Place):
    """A place with a server behind a proxy, and the tools that use it."""

    def __init__(
        self,
        scratch: Path,
        sizes: Sizes,
        server: Server,
        proxy: delay.Proxy,
        dvc: str | None,
    ) -> None:
        super().__init__(scratch, sizes.pairs)
        self.sizes = sizes
        self.server = server
        self.proxy = proxy
        self.dvc_command = dvc
        self.environment |= server.environ
        # Nothing else on this machine is asked for, and nobody far away is told anything.
        self.environment |= {
            "NO_PROXY": delay.HOST,
            "AWS_EC2_METADATA_DISABLED": "true",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.home / "dvc"),
            # Else gcsfs waits a minute for a service that the emulator hasn't got.
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }
        self._places = 0

    def run(self, *argv: str, cwd: Path, env: dict[str, str] | None = None) -> Cost:
        """Runs one command, and counts what it asks of the server."""
        self.proxy.passed("before")
        cost = super().run(*argv, cwd=cwd, env=env)
        words = [Path(word).name for word in argv if "\n" not in word and "{" not in word]
        requests, waves, received = self.proxy.passed(" ".join(words))
        return replace(cost, requests=requests, waves=waves, received=received)

    def new_place(self) -> str:
        """A URL where nothing is yet."""
        self._places += 1
        return f"{self.server.url}/benchmark/{self._places}"

    def bytes_at(self, url: str) -> int:
        """The bytes of all that lies at a URL."""
        argv = [sys.executable, "-c", SIZE, url, json.dumps(self.server.options)]
        environ = {**os.environ, **self.environment}
        return int(subprocess.run(argv, env=environ, check=True, capture_output=True).stdout)

    def warm_up(self) -> None:
        """Servers make room at their first write, and Python compiles at its first import."""
        file = self.scratch / "warm"
        file.write_text("anything", encoding="utf-8")
        self.plain("put_file", file, f"{self.new_place()}/warm")

    def configure(self, url: str, *options: str) -> None:
        """A new machine, whose user publishes to a store at a URL."""
        self.reset()
        endpoint = f"endpoint_url={self.server.options['endpoint_url']}"
        words = [word for option in (endpoint, *options) for word in ("--option", option)]
        self.ama("remote", "add", "--user", "bench", url, *words, cwd=self.scratch)

    def make_store(self, url: str, *, races: bool) -> Cost:
        """The first upload to a URL makes a store there; it is of one small file.

        Who says to be the only writer spares the races that show that the storage is safe.
        """
        options = () if races else ("single_writer=true",)
        directory = self.scratch / "first"
        directory.mkdir()
        (directory / "file").write_text("the first", encoding="utf-8")
        self.fresh_ama(directory, url, *options)
        self.ama("add", ".", cwd=directory)
        cost = self.settled(lambda: self.ama("upload", cwd=directory))
        shutil.rmtree(directory)
        return cost

    def fresh_ama(self, worktree: Path, url: str, *options: str) -> None:
        self.configure(url, *options)
        shutil.rmtree(worktree / ".ama", ignore_errors=True)
        self.ama("init", "bench", cwd=worktree)

    def plain(
        self, method: str, source: Path | str, target: Path | str, *, recursive: bool = False
    ) -> Cost:
        """A call of fsspec's, in a process of its own; directories are given with a slash."""
        slash = "/" if recursive else ""
        argv = (method, f"{source}{slash}", f"{target}{slash}", self.server.url)
        options = json.dumps(self.server.options)
        return self.run(sys.executable, "-c", PLAIN, *argv, options, slash, cwd=self.scratch)

    def dvc(self, *args: str, cwd: Path) -> Cost:
        assert self.dvc_command is not None
        return self.run(self.dvc_command, *args, cwd=cwd, env={"PYTHONPATH": ""})

    def fetched(self, what: Path, like: Path) -> None:
        """Check that something came whole, and remove it."""
        if files(what) != files(like):
            sys.exit(f"{what.name} is not what was sent")
        shutil.rmtree(what)


def with_ama(bench: Bench, source: Path) -> Job:
    place = bench.new_place()
    prepare = bench.make_store(place, races=bench.sizes.races)
    bench.fresh_ama(source, place)
    add = bench.settled(lambda: bench.ama("add", ".", cwd=source))
    send = bench.settled(lambda: bench.ama("upload", cwd=source))
    again = bench.settled(lambda: bench.ama("upload", cwd=source))
    shutil.rmtree(source / ".ama")
    fetch, got = cold_download(bench, "bench")
    bench.fetched(got, source)
    return Job(prepare, add, send, again, fetch)


def cold_download(bench: Bench, *asset: str) -> tuple[Cost, Path]:
    """A download by a machine that has never seen the store, and where its files are."""
    bench.forget()
    got = bench.scratch / "downloaded"
    cost = bench.settled(lambda: bench.ama("download", *asset, "-o", str(got), cwd=bench.scratch))
    shutil.rmtree(got / ".ama")
    return cost, got


def with_plain(bench: Bench, source: Path) -> Job:
    place = bench.new_place()
    got = bench.scratch / "got"
    send = bench.settled(lambda: bench.plain("put", source, place, recursive=True))
    fetch = bench.settled(lambda: bench.plain("get", place, got, recursive=True))
    bench.fetched(got, source)
    return Job(None, None, send, None, fetch)


def with_dvc(bench: Bench, source: Path) -> Job:
    repo, clone = bench.scratch / "repo", bench.scratch / "clone"
    shutil.copytree(source, repo / "data")
    place = bench.new_place()
    endpoint = bench.server.options["endpoint_url"]
    bench.dvc("init", "--no-scm", cwd=repo)
    (repo / ".dvc" / "config").write_text(
        "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"
        "    remote = bench\n"
        f"['remote \"bench\"']\n    url = {place}\n    endpointurl = {endpoint}\n",
        encoding="utf-8",
    )
    add = bench.settled(lambda: bench.dvc("add", "data", cwd=repo))
    send = bench.settled(lambda: bench.dvc("push", cwd=repo))
    again = bench.settled(lambda: bench.dvc("push", cwd=repo))
    # What git would bring to another machine, and nothing that DVC remembers.
    (clone / ".dvc").mkdir(parents=True)
    shutil.copy(repo / ".dvc" / "config", clone / ".dvc")
    shutil.copy(repo / "data.dvc", clone)
    shutil.rmtree(bench.home / "dvc", ignore_errors=True)
    shutil.rmtree(repo)
    fetch = bench.settled(lambda: bench.dvc("pull", cwd=clone))
    bench.fetched(clone / "data", source)
    shutil.rmtree(clone)
    return Job(None, add, send, again, fetch)


def many_small(bench: Bench) -> Iterator[Row]:
    count = bench.sizes.many
    source = bench.data("digits", count)
    ours, plain, dvc = [], [], []
    for _ in range(bench.sizes.many_pairs):
        ours.append(with_ama(bench, source))
        plain.append(with_plain(bench, source))
        if bench.dvc_command is not None:
            dvc.append(with_dvc(bench, source))

    def row(
        work: str,
        step: Callable[[Job], Cost | None],
        call: str,
        command: str,
        target: str = "",
        met: Callable[[Cost], bool] | None = None,
    ) -> Row:
        by_ama, by_call, by_command = (
            [cost for job in jobs if (cost := step(job)) is not None] for jobs in (ours, plain, dvc)
        )
        ama = median(by_ama)
        return Row(
            work,
            asked(ama),
            f"`{call}`: {asked(median(by_call))}" if by_call else "",
            Pairs(by_ama, by_call).ratio if by_call else None,
            target,
            met and met(ama),
            ama,
            (f"`{command}`: {asked(median(by_command))}" if by_command else "",),
        )

    what = f"{count:,} small files, {stored(source) / 1e6:.1f} MB"
    yield row("the first `ama upload`, which makes the store", lambda job: job.prepare, "", "")
    yield row(f"`ama add`, {what}", lambda job: job.add, "", "dvc add")
    yield row(
        "`ama upload` of these",
        lambda job: job.send,
        "fs.put",
        "dvc push",
        "≤ 10 s",
        lambda cost: cost.wall <= 10,
    )
    yield row(
        "`ama upload` again, with nothing new",
        lambda job: job.again,
        "",
        "dvc push",
        "≤ 1 s, ≤ 3 requests",
        lambda cost: cost.wall <= 1 and cost.requests <= 3,
    )
    yield row(
        "`ama download` of these, on a new machine",
        lambda job: job.fetch,
        "fs.get",
        "dvc pull",
        "≤ 15 s",
        lambda cost: cost.wall <= 15,
    )


def large(bench: Bench) -> Iterator[Row]:
    size = bench.sizes.large
    source = bench.data("large", size)
    file = source / "large.bin"
    adds: list[Cost] = []
    place = plain_place = ""

    def upload() -> Cost:
        nonlocal place
        place = bench.new_place()
        bench.make_store(place, races=False)
        bench.fresh_ama(source, place)
        adds.append(bench.settled(lambda: bench.ama("add", ".", cwd=source)))
        return bench.settled(lambda: bench.ama("upload", cwd=source))

    def put_file() -> Cost:
        nonlocal plain_place
        plain_place = f"{bench.new_place()}/large.bin"
        return bench.settled(lambda: bench.plain("put_file", file, plain_place))

    def download() -> Cost:
        cost, got = cold_download(bench, "bench")
        bench.fetched(got, source)
        return cost

    def get_file() -> Cost:
        got = bench.scratch / "got"
        got.mkdir()
        cost = bench.settled(lambda: bench.plain("get_file", plain_place, got / "large.bin"))
        bench.fetched(got, source)
        return cost

    def rows(work: str, pairs: Pairs, other: str) -> Iterator[Row]:
        yield Row(
            work,
            at_rate(pairs.ama, size),
            f"`{other}`: {at_rate(pairs.other, size)}",
            pairs.ratio,
            "≤ 1.25 ×",
            pairs.ratio <= 1.25,
            pairs.ama,
        )
        yield Row(
            "the same: peak memory",
            mebibytes(pairs.ama.peak),
            f"`{other}`: {mebibytes(pairs.other.peak)}",
            None,
            "≤ 250 MiB",
            pairs.ama.peak <= 250 * MIB,
            pairs.ama,
        )

    sent = bench.paired(upload, put_file)
    shutil.rmtree(source / ".ama")
    received = bench.paired(download, get_file)
    what = f"one file of {size // MIB:,} MiB"
    add = median(adds)
    yield Row(f"`ama add`, {what}", seconds(add.wall), "", None, "", None, add)
    yield from rows("`ama upload` of it", sent, "fs.put_file")
    yield from rows("`ama download` of it, on a new machine", received, "fs.get_file")


def cold(bench: Bench) -> Iterator[Row]:
    count = bench.sizes.assets
    made = bench.data("store", count)
    place, plain_place = bench.new_place(), bench.new_place()
    bench.plain("put", made / "store", place, recursive=True)
    bench.plain("put", made / "asset", plain_place, recursive=True)
    bench.configure(place)

    def ours() -> Cost:
        cost, got = cold_download(bench, "wanted", "--alias", "best")
        bench.fetched(got, made / "asset")
        return cost

    def theirs() -> Cost:
        got = bench.scratch / "got"
        cost = bench.settled(lambda: bench.plain("get", plain_place, got, recursive=True))
        bench.fetched(got, made / "asset")
        return cost

    pairs = bench.paired(ours, theirs, bench.sizes.short_pairs)
    yield Row(
        f"`ama download CLASS --alias NAME` of 1 MB, on a new machine, beside {count:,} assets",
        asked(pairs.ama),
        f"`fs.get`: {asked(pairs.other)}",
        pairs.ratio,
        "≤ 10 in a row",
        pairs.ama.waves <= 10,
        pairs.ama,
    )


CASES: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "many-small": many_small,
    "large": large,
    "cold-download": cold,
    **opening.CASES,
    **zips.CASES,
}


def files(directory: Path) -> dict[str, int]:
    """The files below a directory, and their sizes."""
    return {
        str(path.relative_to(directory)): path.stat().st_size
        for path in directory.rglob("*")
        if path.is_file()
    }


def asked(cost: Cost) -> str:
    """A time, and what was asked of the server for it."""
    if not cost.requests:
        return seconds(cost.wall)
    return f"{seconds(cost.wall)}, {cost.requests:,} requests, {cost.waves:,} in a row"


def at_rate(cost: Cost, size: int) -> str:
    return f"{seconds(cost.wall)}, {size / 1e6 / cost.wall:.0f} MB/s, {cost.requests:,} requests"


def said(*argv: str, bench: Bench) -> str:
    done = subprocess.run(
        argv, cwd=bench.scratch, env=bench.environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()[-1]


def machine(bench: Bench) -> str:
    """What was measured on what, for the line above the table."""
    options = json.dumps({"endpoint_url": bench.server.options["endpoint_url"]})
    client = said(sys.executable, "-c", CLIENT, f"{bench.server.url}/x", options, bench=bench)
    ama = f"ama {said(*AMA, '--version', bench=bench)} through {client.replace('-', ' ')}"
    versions = [ama, *bench.server.versions]
    if bench.dvc_command is not None:
        versions.append(f"DVC {said(bench.dvc_command, '--version', bench=bench)}")
    return (
        f"{', '.join(versions)}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores; "
        f"{delay.SECONDS * 1000:.0f} ms added to each request; "
        f"medians of {bench.sizes.many_pairs} (many-small), {bench.sizes.pairs} (large) and "
        f"{bench.sizes.short_pairs} pairs (cold-download)"
    )


@contextmanager
def serving(kind: str, directory: Path, proxy: delay.Proxy) -> Iterator[Server | str]:
    """Run a server behind the proxy until the end of the block; or say what is missing for it."""
    directory.mkdir()
    argv = [sys.executable, str(SERVE), kind, str(directory), f"http://{delay.HOST}:{proxy.port}"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            sys.exit("no server came up: see above")
        told = json.loads(line)
        if "missing" in told:
            yield str(told["missing"])
        else:
            server = Server(**told)
            proxy.lead_to(server.port)
            yield server
    finally:
        process.communicate()  # which closes its standard input


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures ama against DVC and plain fsspec.")
    parser.add_argument("--quick", action="store_true", help="small data, to see that it runs")
    parser.add_argument(
        "--only", action="append", choices=CASES, metavar="NAME", help=", ".join(CASES)
    )
    parser.add_argument("--pairs", type=int, help="how often each pair is run")
    parser.add_argument(
        "--server",
        choices=SERVERS,
        default=SERVERS[0],
        help="by default %(default)s; seaweed-s3fs: the same without obstore",
    )
    parser.add_argument(
        "--dvc",
        type=Path,
        metavar="EXECUTABLE",
        help="DVC in a venv of its own, with dvc-s3; without it, its column is empty",
    )
    parser.add_argument(
        "--records", type=Path, metavar="FILE", help="where each request is written to"
    )
    parser.add_argument(
        "--scratch",
        type=Path,
        default=SCRATCH,
        help="where data and server are (removed at the end); needs 20 GiB on a real disk",
    )
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    sizes = QUICK if options.quick else FULL
    if options.pairs:
        pairs = options.pairs
        sizes = replace(sizes, many_pairs=pairs, pairs=pairs, short_pairs=pairs)
    dvc = str(options.dvc.absolute()) if options.dvc and options.server != "gcs" else None
    options.scratch.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.scratch)))
        proxy = stack.enter_context(delay.running(records=options.records))
        server = stack.enter_context(serving(options.server, scratch / "server", proxy))
        if isinstance(server, str):
            print(f"Nothing was measured: {server}")
            return
        bench = Bench(scratch, sizes, server, proxy, dvc)
        heading = machine(bench)
        bench.warm_up()
        rows: list[Row] = []
        for name in options.only or CASES:
            print(f"{name} ...", file=sys.stderr, flush=True)
            rows += CASES[name](bench)
        print(heading, *table(rows, ["DVC"]), sep="\n")
        if dvc is None:
            print("\nDVC was not measured: it needs --dvc EXECUTABLE, dvc-s3, and an S3 server.")
        if options.quick:
            print("\nMade with --quick: the data is too small for the numbers to mean anything.")


if __name__ == "__main__":
    main()
