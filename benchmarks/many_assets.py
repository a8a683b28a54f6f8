"""Measures what stores of 100, 10,000 and 100,000 assets cost, and prints one table.

    python benchmarks/many_assets.py [--quick] [--scratch DIR]

The stores are forged: their entries are encoded without being appended one by one, which would take
hours. What is measured is real: a publication, a checkpoint, a cold reader, and whole commands.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from measure import AMA, SCRATCH

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from counting_storage import CountingStorage

if TYPE_CHECKING:
    from ama.format.checkpoint import Checkpoint
    from ama.format.entries import Entry
    from ama.settings import Settings
    from ama.storage.protocol import Storage
    from ama.stores.pack_writer import PackWriter

SIZES, QUICK_SIZES = (100, 10_000, 100_000), (100, 1_000)
CLASSES = 20
AN_INDEX = 1_000
"""How many assets an index names: as if a gc had put the small ones together."""

EVERY = 64
FOLDED_AT_ONCE = 4_096
AUTHOR = "Ann Lee <ann@example.com>"


def class_name(number: int) -> str:
    return f"class-{number % CLASSES:02}"


def forge(storage: Storage, count: int) -> None:
    """Write a store in which each asset was published by an entry of its own.

    Each has one file, the asset of its class before it as its parent, and the alias `latest`; each
    20th of a class has an alias that never moves, `v20` and so on.
    """
    from ama.format.entries import Entry, Publish, encode_entry, entry_hash, entry_name
    from ama.stores.log_files import HINT, encode_hint
    from ama.stores.pack_writer import PackWriter
    from ama.stores.remote import FORMAT, StoreFormat, encode_format

    rng = random.Random(count)
    form = encode_format(StoreFormat(rng.randbytes(16).hex()))
    storage.create(FORMAT, form)
    previous, parents = entry_hash(form), dict[str, bytes]()
    log: list[tuple[Entry, bytes]] = []
    for first in range(0, count, AN_INDEX):
        assets = []
        with PackWriter(storage) as writer:
            for number in range(first, min(first + AN_INDEX, count)):
                name = class_name(number)
                parents[name] = write_asset(writer, name, number, parents.get(name))
                assets.append((name, parents[name]))
            (index,) = writer.finish()
        for number, (name, asset) in enumerate(assets, first):
            of_class = number // CLASSES + 1
            names = ["latest", *([f"v{of_class}"] if of_class % 20 == 0 else [])]
            event = Publish(
                asset,
                name,
                tuple((alias, None) for alias in names),
                (index.id,) if number == first else (),
                (index.id,),
            )
            entry = Entry(number + 1, rng.randbytes(16), previous, AUTHOR, number + 1, (event,))
            encoded = encode_entry(entry)
            previous = entry_hash(encoded)
            storage.create(entry_name(entry.number), encoded)
            log.append((entry, previous))
    storage.replace(HINT, encode_hint(count, previous))
    checkpoint(storage, form, log)


def write_asset(writer: PackWriter, name: str, number: int, parent: bytes | None) -> bytes:
    """Write an asset of one small file; return its id."""
    from ama.format.hashing import asset_id, blob_id, tree_id
    from ama.format.objects import Asset, EntryKind, Kind, TreeEntry, encode_asset, encode_tree

    content = b"%d" % number
    file = TreeEntry("a.txt", EntryKind.FILE, blob_id(content), len(content))
    tree = encode_tree([file])
    parents = () if parent is None else (parent,)
    made = Asset(name, tree_id(tree), parents, (), AUTHOR, number + 1, "", {"run": number})
    data = encode_asset(made)
    writer.add(Kind.DATA, blob_id(content), content)
    writer.add(Kind.TREE, tree_id(tree), tree)
    writer.add(Kind.ASSET, asset_id(data), data)
    return asset_id(data)


def checkpoint(storage: Storage, form: bytes, log: Sequence[tuple[Entry, bytes]]) -> None:
    """Write the last two checkpoints of a log; their bytes don't depend on those before."""
    from ama.format.checkpoint import Checkpoint, encode_checkpoint, fold_checkpoint
    from ama.format.entries import entry_hash
    from ama.stores.cache import Cache
    from ama.stores.log_files import checkpoint_name, segment_name
    from ama.stores.segments import CheckpointSegments, Segments

    made = Segments(storage, Cache(None))
    source = CheckpointSegments(made, lambda: None, storage.url)
    base, at = Checkpoint(0, entry_hash(form)), 0
    last = len(log) // EVERY * EVERY

    def write(base: Checkpoint) -> None:
        for digest in base.digests():
            storage.replace(segment_name(digest), made.made[digest])
        storage.replace(checkpoint_name(base.number), encode_checkpoint(base))

    while at < last:
        until = last if at >= last - EVERY else min(at + FOLDED_AT_ONCE, last - EVERY)
        base = fold_checkpoint(base, log[at:until], source, made.make)
        made.forget_all_but(base.digests())
        at = until
        if at >= last - EVERY:
            write(base)


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
