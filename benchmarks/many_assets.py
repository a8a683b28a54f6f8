"""Measures what stores of 100, 10,000 and 100,000 assets cost, and prints one table.

    python benchmarks/many_assets.py [--quick] [--scratch DIR]

The stores are forged (tests/forged_store.py): appending their entries one by one would take hours.
What is measured is real: a publication, a checkpoint, a cold reader, and whole commands.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from measure import AMA, SCRATCH

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from counting_storage import CountingStorage
from forged_store import AUTHOR, CLASSES, EVERY, class_name, forge, write_asset

if TYPE_CHECKING:
    from ama.settings import Settings

SIZES, QUICK_SIZES = (100, 10_000, 100_000), (100, 1_000)


# What is measured


class Bench:
    """A store of so many assets, and a machine that has seen it."""

    def __init__(self, scratch: Path, count: int) -> None:
        from ama.storage.local import LocalStorage

        self.scratch = scratch / str(count)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.store = self.scratch / "store"
        self.store.mkdir(parents=True)
        forge(LocalStorage(self.store), count)
        self.count = count
        self.published = 0
        self.environment = {
            **os.environ,
            "AMA_REMOTE": str(self.store),
            "AMA_CACHE_DIR": str(self.scratch / "cache"),
            "AMA_CONFIG_DIR": str(self.scratch / "config"),
            "AMA_DATA_DIR": str(self.scratch / "data"),
        }

    def settings(self, cache: str) -> Settings:
        from ama.settings import Settings

        return Settings(
            data_dir=self.scratch / "data",
            cache_dir=self.scratch / cache,
            user_config_path=self.scratch / "config.toml",
            user_name="Ann",
            user_email="ann@example.com",
            default_remote=str(self.store),
        )

    def publish(self, times: int) -> tuple[float, float, float]:
        """Requests, bytes and CPU seconds of one entry that publishes an asset with an alias.

        Its content is left out: that doesn't depend on the log. What the publication looks up is
        what an upload does: the parent, the alias, and whether the asset is there already.
        """
        from ama.format.entries import Event, MoveAlias, Publish
        from ama.stores.log_view import LogView
        from ama.stores.pack_writer import PackWriter
        from ama.stores.remote import Remote
        from ama.transfer.aliases import check_alias_name

        def one() -> None:
            storage = counted(self.store)
            remote = Remote.open(storage, self.scratch / "cache")
            number = self.count + self.published
            name = class_name(number)
            self.published += 1
            with PackWriter(storage.inner) as writer:
                asset = write_asset(writer, name, number, None)
                (index,) = writer.finish()

            def events(view: LogView) -> list[Event]:
                state = view.class_state(name)
                parent = state.newest_live()
                assert parent is not None
                assert state.number(asset) is None
                assert all(each in view.root.indexes for each in remote.needs(view, name, parent))
                state.was_on("tested", parent.id)
                check_alias_name(state, "tested")
                old = state.target("tested")
                published = Publish(asset, name, (), (index.id,), (index.id,))
                return [published, MoveAlias(name, "tested", asset, old)]

            start = time.process_time()
            done = remote.log.append(events, author=AUTHOR, now=lambda: time.time_ns() // 1000)
            assert done is not None
            assert done.view.class_state(name).number(asset)
            spent.append(time.process_time() - start)
            total.append((storage.requests, storage.bytes_read + storage.bytes_written))

        total: list[tuple[int, int]] = []
        spent: list[float] = []
        for _ in range(times):
            one()
        requests, size = map(sum, zip(*total, strict=True))
        return requests / times, size / times, sum(spent) / times

    def cold(self, name: str) -> tuple[int, int, int]:
        """Round trips, requests and bytes of a cold reader, until it knows an asset's files."""
        from ama.store import Store
        from ama.stores.remote import Remote

        shutil.rmtree(self.scratch / "cold", ignore_errors=True)
        storage = counted(self.store)
        settings = self.settings("cold")
        store = Store(Remote.open(storage, settings.cache_dir), settings)
        assert store.resolve(name).files()
        return storage.round_trips, storage.requests, storage.bytes_read

    def command(self, *args: str, times: int = 5) -> float:
        """The seconds of CPU of a whole command, warm: the least of some runs."""

        def one() -> float:
            before = os.times()
            subprocess.run(
                [*AMA, *args],
                cwd=self.scratch,
                env=self.environment,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            after = os.times()
            return (
                after.children_user
                - before.children_user
                + after.children_system
                - before.children_system
            )

        return min(one() for _ in range(times))

    def home(self) -> float:
        """The seconds of CPU of the dashboard's first page, once its catalog is filled."""
        from ama.catalog.questions import Questions
        from ama.dashboard.views import home
        from ama.store import Store
        from ama.system.progress import NO_PROGRESS

        settings = self.settings("cache")
        store = Store.open(self.store, settings=settings)
        home(store, Questions(store.remote, settings, NO_PROGRESS))
        store = Store.open(self.store, settings=settings)
        start = time.process_time()
        home(store, Questions(store.remote, settings, NO_PROGRESS))
        return time.process_time() - start


def counted(store: Path) -> CountingStorage:
    from ama.storage.local import LocalStorage

    return CountingStorage(LocalStorage(store))


def measured(bench: Bench) -> dict[str, str]:
    last = bench.count // CLASSES
    bench.publish(CLASSES)  # this machine has seen the store, and every class
    while not 1 < (bench.published + bench.count) % EVERY < EVERY - CLASSES:
        bench.publish(1)
    one = bench.publish(CLASSES)  # without a checkpoint
    while (bench.published + bench.count) % EVERY:
        bench.publish(1)
    bench.publish(EVERY)  # whoever comes from a forged store builds on what it has made
    many = bench.publish(EVERY)
    some = f"class-03@v{max(20, last // 40 * 20)}" if last >= 20 else "class-03@latest"
    rows = {
        "publish one: requests": f"{one[0]:.1f}",
        "publish one: bytes": f"{one[1]:,.0f}",
        "publish one: CPU": f"{one[2] * 1000:.1f} ms",
        "64, with a checkpoint, each: requests": f"{many[0]:.1f}",
        "64, with a checkpoint, each: bytes": f"{many[1]:,.0f}",
        "64, with a checkpoint, each: CPU": f"{many[2] * 1000:.1f} ms",
    }
    asks: dict[str, Callable[[], tuple[int, int, int]]] = {
        "cold, by an old alias": lambda: bench.cold(some),
        "cold, by the newest alias": lambda: bench.cold("class-03@latest"),
        "cold, by number": lambda: bench.cold(f"class-03/{last // 2}"),
    }
    for work, ask in asks.items():
        trips, requests, size = ask()
        rows[f"{work}: trips, requests, KiB"] = f"{trips}, {requests}, {size / 1024:,.0f}"
    start = bench.command("--version")
    rows["`ama --version`, CPU"] = f"{start:.2f} s"
    bench.command("list", "class-03", "-n", "20", times=1)
    for words in ("list class-03 -n 20", "log class-03 -n 20"):
        rows[f"`ama {words}`, CPU"] = f"{bench.command(*words.split()):.2f} s"
    bench.environment |= {
        "_AMA_COMPLETE": "complete_bash",
        "COMP_WORDS": "ama show class-03@",
        "COMP_CWORD": "2",
    }
    rows["completion of aliases, CPU"] = f"{bench.command():.2f} s"
    rows["dashboard's first page, CPU"] = f"{bench.home():.2f} s"
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small stores: does it run at all?")
    parser.add_argument("--scratch", type=Path, default=SCRATCH)
    parser.add_argument("--assets", type=int, action="append", help="these sizes instead")
    options = parser.parse_args()
    sizes = options.assets or (QUICK_SIZES if options.quick else SIZES)
    options.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        found = {}
        for size in sizes:
            bench = Bench(Path(scratch), size)
            found[size] = measured(bench)
            shutil.rmtree(bench.scratch)
    print("| |" + "".join(f" {size:,} |" for size in found))
    print("|---|" + "---|" * len(found))
    for work in next(iter(found.values())):
        print(f"| {work} |" + "".join(f" {rows[work]} |" for rows in found.values()))


if __name__ == "__main__":
    main()
