"""Measures the dashboard's pages over the store of 10,000 assets, and prints one table.

    python benchmarks/dashboard.py [--quick] [--scratch DIR]

The real command serves them. The time is that of a whole answer to one client on this machine, the
median of several after one that is not counted; the size is that of the page with its style sheet
and script, as they are sent.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from measure import AMA, SCRATCH, Place

MOST_MS, MOST_HOME_MS, MOST_BYTES = 150, 50, 300_000
TIMES = 9

PAGES = {
    "home": "/",
    "class": "/classes/class-03",
    "class, sorted by a metric": "/classes/class-03?sort=metrics.json:best.val_loss&way=up",
    "class, a condition and a word": "/classes/class-03?q=best.val_loss%3C0.5+bob",
    "class, page 2": "/classes/class-03?page=2",
    "asset": "/assets/class-03/{middle}",
    "lineage": "/assets/class-03/{middle}/lineage",
    "file": "/assets/class-03/{middle}/files/params.yml",
    "compare": "/compare?a=class-03/{middle}&a=class-03/1",
    "search, a word": "/search?q=class-03/1",
    "search, nothing found": "/search?q=nothing-like-this",
    "search, a hash": "/search?hash=0000000",
    "store": "/store",
    "what is new": "/changes",
}
SHARED = ("/static/app.css", "/static/app.js")


@contextmanager
def served(place: Place, store: Path) -> Iterator[http.client.HTTPConnection]:
    """A connection to the dashboard of a store."""
    command = [*AMA, "dashboard", "--remote", str(store), "--port", "0", "--json"]
    with subprocess.Popen(
        command, cwd=place.home, env=place.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        printed = ""
        while not printed.rstrip().endswith("}"):
            line = process.stdout.readline()
            if not line:
                sys.exit("error: the dashboard ended")
            printed += line
        url = urlsplit(json.loads(printed)["url"])
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=120)
        try:
            yield connection
        finally:
            connection.close()
            process.terminate()


def asked(connection: http.client.HTTPConnection, address: str) -> tuple[float, int]:
    """The milliseconds that an answer took, and its bytes."""
    start = time.perf_counter()
    connection.request("GET", address)
    answer = connection.getresponse()
    data = answer.read()
    took = (time.perf_counter() - start) * 1000
    if answer.status != 200:
        sys.exit(f"error: {address} answers {answer.status}")
    return took, len(data)


def lines(place: Place, store: Path, middle: int) -> Iterator[str]:
    """The rows of the table."""
    yield "| page | median | target | size | target | met |"
    yield "|---|---|---|---|---|---|"
    with served(place, store) as connection:
        shared = sum(asked(connection, address)[1] for address in SHARED)
        for name, address in PAGES.items():
            where = address.format(middle=middle)
            asked(connection, where)
            answers = [asked(connection, where) for _ in range(TIMES)]
            took = statistics.median(each for each, _ in answers)
            size = answers[0][1] + shared
            most = MOST_HOME_MS if name == "home" else MOST_MS
            met = "yes" if took <= most and size <= MOST_BYTES else "**no**"
            yield (
                f"| {name} | {took:.0f} ms | ≤ {most} ms | {size / 1000:.0f} kB"
                f" | ≤ {MOST_BYTES // 1000} kB | {met} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the pages of the dashboard.")
    parser.add_argument("--quick", action="store_true", help="few assets, to see that it runs")
    parser.add_argument("--scratch", type=Path, default=SCRATCH, help="where data is")
    options = parser.parse_args()
    assets = 400 if options.quick else 10_000
    options.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        place = Place(Path(scratch), 1)
        store = place.data("tracked", assets)
        print(*lines(place, store, assets // 40), sep="\n")


if __name__ == "__main__":
    main()
