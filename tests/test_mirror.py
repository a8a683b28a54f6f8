"""A mirror says what its store says, of all that it shows it has the content, and it never lies."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import ama
import servers
from ama.errors import AlreadyExists, AmaError, Conflict, IntegrityError, InvalidInput, StorageError
from ama.format.entries import Event, Gc, Purged
from ama.format.indexrows import merge_indexes
from ama.format.packindex import PackIndex
from ama.storage.local import LocalStorage
from ama.storage.protocol import Buffer, Range, Storage
from ama.stores.log_files import MIRROR, checkpoint_name
from ama.stores.object_reader import index_name, pack_name
from ama.stores.pack_writer import PackWriter
from ama.stores.remote import Remote
from ama.system.progress import NO_PROGRESS
from ama.transfer import mirror_content
from ama.transfer.mirror import Order, keep_mirrored, mirror
from conftest import Ama
from counting_storage import CountingStorage
from damage import flip
from test_crash import Died, Life, MortalStorage
from test_export import cold

LARGE = random.Random(1).randbytes(1_300_000)


@pytest.fixture
def store(tmp_path: Path) -> ama.Store:
    found = ama.Store.open(tmp_path / "store", create=True)
    found.publish("inputs", {"rows.csv": b"1\n"}, aliases="first")
    for number in range(3):
        files = {"w.bin": LARGE, "n.txt": str(number).encode()}
        found.publish("models", files, aliases="best", refs="inputs/1", metadata={"n": number})
    found.note("models/1", tags=["good"], file={"report.json": b"{}"})
    found.deprecate("models/2", "old")
    found.delete("models/1", reason="wrong")
    return found


def files_of(directory: Path) -> dict[str, bytes]:
    found = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in found}


def same(store: ama.Store, copy: Path) -> None:
    """A mirror says the same, and has all of it."""
    other = ama.Store.open(copy, settings=cold(copy.parent))
    assert other.fsck().problems == ()
    assert other.id == store.id
    assert other.classes() == store.classes()
    assert other.aliases() == store.aliases()
    for each in store.classes():
        assert other.history(each.name) == store.history(each.name)
        for info in store.history(each.name):
            name = f"{info.class_name}/{info.number}"
            assert other.noted(name) == store.noted(name)
            if info.status != "deleted":
                for file in store.files(name):
                    assert b"".join(other.read(name, file.path)) == b"".join(
                        store.read(name, file.path)
                    )
    shutil.rmtree(copy.parent / "cold")


def order(store: ama.Store, target: Storage, **options: bool) -> Order:
    return Order(store.remote, target, store.settings, **options)


# What it is


def test_a_mirror_is_the_same_byte_for_byte(store: ama.Store, tmp_path: Path) -> None:
    result = store.mirror(tmp_path / "copy")
    assert (result.entries, result.assets, result.target_created) == (7, 4, True)
    there = files_of(tmp_path / "copy")
    assert there.pop(MIRROR)
    assert there == files_of(tmp_path / "store")
    assert result.size == sum(
        len(data) for name, data in there.items() if name.startswith(("packs/", "index/"))
    )
    same(store, tmp_path / "copy")


def test_again_brings_what_is_new(store: ama.Store, tmp_path: Path) -> None:
    store.mirror(tmp_path / "copy")
    store.publish("models", {"w.bin": LARGE, "n.txt": b"new"}, aliases=["best", "newest"])
    store.delete("models/1", undo=True)
    store.note("models", message="All models.")
    target = CountingStorage(LocalStorage(tmp_path / "copy"))
    result = mirror(order(store, target), NO_PROGRESS)
    assert (result.entries, result.assets, result.target_created) == (3, 1, False)
    assert result.size < 10_000
    assert target.bytes_written < 20_000
    same(store, tmp_path / "copy")


def test_with_nothing_new_it_asks_a_handful(store: ama.Store, tmp_path: Path) -> None:
    for number in range(70):
        store.move_alias("models", "tested", f"models/{number % 2 + 2}")
    store.mirror(tmp_path / "copy")
    source = CountingStorage(LocalStorage(tmp_path / "store"))
    target = CountingStorage(LocalStorage(tmp_path / "copy"))
    opened = Remote.open(source, store.settings.cache_dir)
    result = mirror(Order(opened, target, store.settings), NO_PROGRESS)
    assert result.entries == 0
    assert (source.round_trips, source.requests) == (2, 4)
    assert (target.round_trips, target.requests) == (5, 8)
    assert target.writes == []


def test_a_dry_run_writes_nothing(store: ama.Store, tmp_path: Path) -> None:
    said = store.mirror(tmp_path / "copy", dry_run=True)
    assert not (tmp_path / "copy").exists()
    done = store.mirror(tmp_path / "copy")
    assert (said.entries, said.assets, said.packs, said.indexes, said.size) == (
        done.entries,
        done.assets,
        done.packs,
        done.indexes,
        done.size,
    )
    store.publish("models", {"n.txt": b"new"})
    before = files_of(tmp_path / "copy")
    assert store.mirror(tmp_path / "copy", dry_run=True).entries == 1
    assert files_of(tmp_path / "copy") == before


def test_an_empty_store(tmp_path: Path) -> None:
    store = ama.Store.open(tmp_path / "store", create=True)
    assert store.mirror(tmp_path / "copy").entries == 0
    assert ama.Store.open(tmp_path / "copy").classes() == ()
    store.publish("models", {"a": b"a"})
    store.mirror(tmp_path / "copy")
    same(store, tmp_path / "copy")


def test_checkpoints_come_too(store: ama.Store, tmp_path: Path) -> None:
    for number in range(60):
        store.move_alias("models", "tested", f"models/{number % 2 + 2}")
    store.mirror(tmp_path / "copy")
    for number in range(140):
        store.move_alias("models", "tested", f"models/{number % 2 + 2}")
    store.mirror(tmp_path / "copy")
    store.mirror(tmp_path / "fresh")
    theirs = (tmp_path / "store" / checkpoint_name(192)).read_bytes()
    for copy in ("copy", "fresh"):
        assert (tmp_path / copy / checkpoint_name(192)).read_bytes() == theirs
        counting = CountingStorage(LocalStorage(tmp_path / copy))
        remote = Remote.open(counting, None)
        assert remote.view().class_state("models").count == 3
        assert counting.round_trips <= 4
        same(store, tmp_path / copy)


def test_the_mirror_of_a_mirror(store: ama.Store, tmp_path: Path) -> None:
    store.mirror(tmp_path / "copy")
    ama.Store.open(tmp_path / "copy").mirror(tmp_path / "third")
    same(store, tmp_path / "third")


# Writing to it


def test_nobody_publishes_to_a_mirror(store: ama.Store, tmp_path: Path) -> None:
    store.mirror(tmp_path / "copy")
    before = files_of(tmp_path / "copy")
    copy = ama.Store.open(tmp_path / "copy")
    tries: list[Callable[[], object]] = [
        lambda: copy.publish("models", {"a": b"a" * 2_000_000}),
        lambda: copy.move_alias("models", "best", "models/2"),
        lambda: copy.deprecate("models/3", "no"),
        lambda: copy.note("models/3", message="no"),
        lambda: store.copy("models/3", copy, ["best"]),
    ]
    for attempt in tries:
        with pytest.raises(InvalidInput, match="is a mirror of"):
            attempt()
    assert files_of(tmp_path / "copy") == before


def test_a_mirror_becomes_a_store_of_its_own(store: ama.Store, tmp_path: Path) -> None:
    store.mirror(tmp_path / "copy")
    (tmp_path / "copy" / MIRROR).unlink()
    copy = ama.Store.open(tmp_path / "copy")
    assert copy.publish("models", {"a": b"a"}).asset.number == 4
    before = files_of(tmp_path / "copy")
    for force in (False, True):
        with pytest.raises((Conflict, AlreadyExists)) as caught:
            store.mirror(tmp_path / "copy", force=force)
    assert caught.type is Conflict
    assert "has diverged" in caught.value.message
    assert files_of(tmp_path / "copy") == before
    store.publish("models", {"b": b"b"})
    with pytest.raises(Conflict, match="has diverged"):
        store.mirror(tmp_path / "copy", force=True)
    store.publish("models", {"c": b"c"})
    with pytest.raises(Conflict, match="has diverged"):
        store.mirror(tmp_path / "copy", force=True)
    assert files_of(tmp_path / "copy") == before


def test_a_store_that_was_put_back_has_diverged(store: ama.Store, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "store", tmp_path / "backup")
    store.publish("models", {"n.txt": b"lost"})
    store.mirror(tmp_path / "copy")
    restored = ama.Store.open(tmp_path / "backup")
    with pytest.raises(Conflict, match="has diverged"):
        restored.mirror(tmp_path / "copy")
    restored.publish("models", {"n.txt": b"another"})
    with pytest.raises(Conflict, match="has diverged"):
        restored.mirror(tmp_path / "copy")


def test_a_copy_becomes_a_mirror_if_it_is_said(store: ama.Store, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    store.publish("models", {"n.txt": b"new"})
    before = files_of(tmp_path / "copy")
    with pytest.raises(AlreadyExists, match="no mirror"):
        store.mirror(tmp_path / "copy")
    assert files_of(tmp_path / "copy") == before
    assert store.mirror(tmp_path / "copy", force=True).entries == 1
    same(store, tmp_path / "copy")


class Mounted(CountingStorage):
    """A storage by another name."""

    url = "/mnt/somewhere"


def test_the_store_itself_is_no_mirror(store: ama.Store, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "store")
    before = files_of(tmp_path / "store")
    for place in ("store", "link", "store/copy", "link/copy"):
        with pytest.raises(InvalidInput, match=r"of itself|its own files only"):
            store.mirror(tmp_path / place, force=True)
    # A name of the same place that nothing tells from another.
    other = Mounted(LocalStorage(tmp_path / "store"))
    with pytest.raises(InvalidInput, match="of itself"):
        mirror(order(store, other, force=True), NO_PROGRESS)
    assert files_of(tmp_path / "store") == before


def test_other_places_are_left_alone(store: ama.Store, tmp_path: Path) -> None:
    ama.Store.open(tmp_path / "other", create=True).publish("models", {"a": b"a"})
    (tmp_path / "work").mkdir()
    (tmp_path / "work/mine.txt").write_text("work")
    for place in ("other", "work"):
        before = files_of(tmp_path / place)
        with pytest.raises((AlreadyExists, InvalidInput)):
            store.mirror(tmp_path / place, force=True)
        assert files_of(tmp_path / place) == before
    with pytest.raises(InvalidInput, match="itself"):
        store.mirror(tmp_path / "store")


# Crashes


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_mirror_that_dies_anywhere_is_completed(
    store: ama.Store, tmp_path: Path, after: bool
) -> None:
    counted = Life()
    target = MortalStorage(LocalStorage(tmp_path / "counted"), counted, after=after)
    mirror(order(store, target), NO_PROGRESS)
    for calls in range(len(counted.calls)):
        place = tmp_path / str(calls)
        target = MortalStorage(LocalStorage(place), Life(calls), after=after)
        with pytest.raises(Died):
            mirror(order(store, target), NO_PROGRESS)
        check_visible(place)
        store.mirror(place)
        same(store, place)
        shutil.rmtree(place)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_so_is_one_that_dies_with_what_is_new(
    store: ama.Store, tmp_path: Path, after: bool
) -> None:
    store.mirror(tmp_path / "before")
    for number in range(3):
        store.publish("models", {"n.txt": b"new", "m.txt": str(number).encode()}, aliases="best")
    shutil.copytree(tmp_path / "before", tmp_path / "counted")
    counted = Life()
    target = MortalStorage(LocalStorage(tmp_path / "counted"), counted, after=after)
    mirror(order(store, target), NO_PROGRESS)
    for calls in range(len(counted.calls)):
        place = tmp_path / str(calls)
        shutil.copytree(tmp_path / "before", place)
        target = MortalStorage(LocalStorage(place), Life(calls), after=after)
        with pytest.raises(Died):
            mirror(order(store, target), NO_PROGRESS)
        assert check_visible(place)
        store.mirror(place)
        same(store, place)
        shutil.rmtree(place)


def check_visible(place: Path) -> bool:
    """What is visible of a mirror is whole; whether anything is."""
    try:
        found = ama.Store.open(place, settings=cold(place.parent))
    except AmaError:
        return False
    problems = [each for each in found.fsck().problems if each.damage]
    assert problems == []
    shutil.rmtree(place.parent / "cold")
    return True


def test_two_mirrors_at_once(store: ama.Store, tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def work() -> None:
        try:
            ama.Store.open(tmp_path / "store").mirror(tmp_path / "copy")
        except AmaError as error:
            failed.append(error)

    for _ in range(2):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        same(store, tmp_path / "copy")
        store.publish("models", {"n.txt": b"new"})


# Collected garbage


def append(remote: Remote, *events: Event) -> None:
    remote.log.append(lambda _: events, author="Ann", now=lambda: time.time_ns() // 1000)


def collect(store: ama.Store, *, purge: bool = True) -> None:
    """What a collector does: new packs and indexes for all, and the old ones are deleted."""
    remote = Remote.open(LocalStorage(Path(store.url)), None)
    view = remote.view()
    old = remote.indexes(view.root.indexes)
    objects = remote.current(view)
    locations = {at.record.id: at for index in old for at in index}
    with PackWriter(remote.storage) as writer:
        for at, raw in objects.read_raw(locations.values()):
            writer.copy(at.record, raw)
        new = writer.finish()
    packs = tuple(sorted({pack for index in old for pack in index.pack_sizes}))
    ids = tuple(index.id for index in old)
    append(remote, Gc(((ids, tuple(index.id for index in new)),), packs, ids))
    if purge:
        for name in (*map(pack_name, packs), *map(index_name, ids)):
            remote.storage.delete(name)
        append(remote, Purged(packs, ids))


@pytest.mark.parametrize("purge", [False, True])
def test_after_a_collection(store: ama.Store, tmp_path: Path, purge: bool) -> None:
    store.mirror(tmp_path / "copy")
    collect(store, purge=purge)
    store.publish("models", {"n.txt": b"new"})
    for copy in ("copy", "fresh"):
        store.mirror(tmp_path / copy)
        same(store, tmp_path / copy)
    theirs = {name for name in files_of(tmp_path / "store") if name.startswith(("packs", "index"))}
    for copy, others in (("copy", theirs), ("fresh", set[str]())):
        ours = {name for name in files_of(tmp_path / copy) if name.startswith(("packs", "index"))}
        root = store.remote.view().root
        condemned = {*map(pack_name, root.condemned_packs)}
        condemned |= {*map(index_name, root.condemned_indexes)}
        assert ours == (others or theirs - condemned)
        assert bool(condemned) is not purge


def test_what_a_collector_condemned_stays_until_the_log_says_it_is_deleted(
    store: ama.Store, tmp_path: Path
) -> None:
    store.mirror(tmp_path / "copy")
    store.publish("models", {"n.txt": b"passing"})
    collect(store, purge=False)
    before = {*files_of(tmp_path / "copy")}
    store.mirror(tmp_path / "copy")
    now = {*files_of(tmp_path / "copy")}
    assert before <= now
    # What was published before the collection can be read until the entry that condemns it.
    view = store.remote.view()
    assert {pack_name(pack) for pack in view.root.condemned_packs} <= now


def test_a_collection_between(store: ama.Store, tmp_path: Path) -> None:
    """What is new came and went since the last run: all ends well."""
    store.mirror(tmp_path / "copy")
    store.publish("models", {"n.txt": b"one", "w.bin": LARGE[::-1]})
    collect(store)
    store.publish("models", {"n.txt": b"two"})
    collect(store)
    store.mirror(tmp_path / "copy")
    same(store, tmp_path / "copy")


class Disturbed(CountingStorage):
    """A storage in which something happens right before a read of some name, once."""

    def __init__(self, inner: Storage, at: str, happens: Callable[[], object]) -> None:
        super().__init__(inner)
        self._at = at
        self._happens: Callable[[], object] | None = happens

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        happens = self._happens
        if happens is not None and any(each.name.startswith(self._at) for each in ranges):
            self._happens = None
            happens()
        return super().read(ranges)


@pytest.mark.parametrize("at", ["packs/", "index/"])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_collection_meanwhile(store: ama.Store, tmp_path: Path, at: str, fresh: bool) -> None:
    if not fresh:
        store.mirror(tmp_path / "copy")
        store.publish("models", {"n.txt": b"new", "w.bin": LARGE[::-1]})
    storage = Disturbed(LocalStorage(tmp_path / "store"), at, lambda: collect(store))
    source = Remote.open(storage, store.settings.cache_dir)
    target = LocalStorage(tmp_path / "copy")
    mirror(Order(source, target, store.settings), NO_PROGRESS)
    same(store, tmp_path / "copy")


# Damage


def packs_by_size(store: Path) -> list[Path]:
    return sorted((store / "packs").rglob("*.pack"), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("damage", [flip(0.5), flip(-1), Path.unlink])
@pytest.mark.parametrize("which", ["pack", "index"])
@pytest.mark.parametrize("fresh", [False, True])
def test_damage_is_not_mirrored(
    store: ama.Store, tmp_path: Path, damage: Callable[[Path], None], which: str, fresh: bool
) -> None:
    if not fresh:
        store.mirror(tmp_path / "copy")
        store.publish("models", {"x.bin": LARGE[::-1]})
    known = files_of(tmp_path / "copy")
    fresh_files = [*(tmp_path / "store/index").iterdir(), *packs_by_size(tmp_path / "store")]
    mine = [
        path for path in fresh_files if path.relative_to(tmp_path / "store").as_posix() not in known
    ]
    path = [each for each in mine if each.suffix == (".idx" if which == "index" else ".pack")][-1]
    whole = path.read_bytes()
    damage(path)
    with pytest.raises(IntegrityError, match=path.name):
        store.mirror(tmp_path / "copy")
    there = files_of(tmp_path / "copy")
    assert path.relative_to(tmp_path / "store").as_posix() not in there
    assert [name for name in there if name.startswith("log/")] == [
        name for name in known if name.startswith("log/")
    ]
    path.write_bytes(whole)
    store.mirror(tmp_path / "copy")
    same(store, tmp_path / "copy")


def test_what_is_lost_is_needed_although_another_index_is_not(
    store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later index over the same pack came and went again."""
    monkeypatch.setattr(mirror_content, "INDEXES_AT_ONCE", 1)
    store.mirror(tmp_path / "copy")
    remote = store.remote
    before = {*remote.view().root.indexes}
    store.publish("models", {"x.bin": LARGE[::-1]})
    (mine,) = remote.indexes({*remote.view().root.indexes} - before)
    (other, *_) = remote.indexes(before)
    both = PackIndex(merge_indexes([mine, other]))
    remote.storage.put(index_name(both.id), both.data)
    append(remote, Gc((((), (both.id,)),)))
    append(remote, Gc((((both.id,), ()),)))
    lost = max(mine.pack_sizes, key=mine.pack_sizes.__getitem__)
    (tmp_path / "store" / pack_name(lost)).unlink()
    known = files_of(tmp_path / "copy")
    with pytest.raises(IntegrityError, match=lost.hex()):
        store.mirror(tmp_path / "copy")
    assert {name for name in files_of(tmp_path / "copy") if name.startswith("log/")} == {
        name for name in known if name.startswith("log/")
    }


def test_what_was_repaired_is_mirrored_without_what_is_damaged(
    store: ama.Store, tmp_path: Path
) -> None:
    pack = packs_by_size(tmp_path / "store")[-1]
    remote = Remote.open(LocalStorage(tmp_path / "store"), None)
    view = remote.view()
    objects = remote.current(view)
    lost = [at for index in remote.indexes(view.root.indexes) for at in index]
    lost = [at for at in lost if at.pack.hex() == pack.stem]
    with PackWriter(remote.storage) as writer:
        for at, raw in objects.read_raw(lost):
            writer.copy(at.record, raw)
        new = writer.finish()
    append(remote, Gc((((), tuple(index.id for index in new)),)))
    flip(0.5)(pack)
    result = store.mirror(tmp_path / "copy")
    assert result.left_out == (f"packs/{pack.stem[:2]}/{pack.name}",)
    copy = ama.Store.open(tmp_path / "copy", settings=cold(tmp_path))
    assert b"".join(copy.read("models/3", "w.bin")) == LARGE
    assert not (tmp_path / "copy" / result.left_out[0]).exists()
    assert store.mirror(tmp_path / "copy").entries == 0


@pytest.mark.parametrize("damage", [flip(0.5), flip(-1), Path.unlink, lambda p: p.write_bytes(b"")])
@pytest.mark.parametrize("which", ["packs", "index", "[pi]*"])
def test_damage_in_the_mirror_is_put_back(
    store: ama.Store, tmp_path: Path, damage: Callable[[Path], object], which: str
) -> None:
    store.mirror(tmp_path / "copy")
    assert store.mirror(tmp_path / "copy", check=True).packs == 0
    expected = files_of(tmp_path / "copy")
    paths = [path for path in (tmp_path / "copy").glob(f"{which}/**/*") if path.is_file()]
    for path in paths:
        damage(path)
    store.publish("models", {"n.txt": b"new"})
    result = store.mirror(tmp_path / "copy", check=True)
    assert result.packs + result.indexes >= len(paths)
    found = files_of(tmp_path / "copy")
    assert {name: found[name] for name in expected if name != "log/HINT"} == {
        name: data for name, data in expected.items() if name != "log/HINT"
    }
    same(store, tmp_path / "copy")


def test_what_is_bad_in_both_stays_as_it_is(store: ama.Store, tmp_path: Path) -> None:
    store.mirror(tmp_path / "copy")
    pack = packs_by_size(tmp_path / "store")[-1]
    there = tmp_path / "copy" / pack.relative_to(tmp_path / "store")
    flip(0.5)(pack)
    flip(0.25)(there)
    before = files_of(tmp_path / "copy")
    with pytest.raises(IntegrityError, match=pack.name):
        store.mirror(tmp_path / "copy", check=True)
    assert files_of(tmp_path / "copy") == before


def test_a_damaged_log_is_not_mirrored(store: ama.Store, tmp_path: Path) -> None:
    flip(0.5)(tmp_path / "store/log/000000000003")
    damaged = ama.Store.open(tmp_path / "store", settings=cold(tmp_path))
    with pytest.raises(IntegrityError):
        damaged.mirror(tmp_path / "copy")
    assert not (tmp_path / "copy/format.json").exists()


def test_packs_in_pieces(store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_content, "LARGE", 100_000)
    monkeypatch.setattr(mirror_content, "SMALL", 1_000)
    monkeypatch.setattr(mirror_content, "PIECE", 30_000)
    pack = packs_by_size(tmp_path / "store")[-1]
    whole = pack.read_bytes()
    flip(-1)(pack)
    with pytest.raises(IntegrityError, match=pack.name):
        store.mirror(tmp_path / "copy")
    assert not (tmp_path / "copy/packs" / pack.stem[:2] / pack.name).exists()
    pack.write_bytes(whole)
    store.mirror(tmp_path / "copy")
    same(store, tmp_path / "copy")


# Across networks


@pytest.mark.parametrize("kind", ["gcs", "seaweed", "s3_obstore", "azure", "sftp"])
def test_to_a_bucket_and_back(store: ama.Store, tmp_path: Path, kind: str) -> None:
    server = servers.start(kind)
    name = f"mirrors/{os.urandom(6).hex()}"
    target = server.storage(name)
    assert mirror(order(store, target), NO_PROGRESS).entries == 7
    store.publish("models", {"n.txt": b"new"}, aliases="best")
    assert mirror(order(store, server.storage(name)), NO_PROGRESS).entries == 1
    assert mirror(order(store, server.storage(name)), NO_PROGRESS).entries == 0
    there = Remote.open(server.storage(name), tmp_path / "cache")
    back = Order(there, LocalStorage(tmp_path / "back"), store.settings)
    assert mirror(back, NO_PROGRESS).entries == 8
    same(store, tmp_path / "back")


@pytest.mark.parametrize("kind", ["nginx", "plain_http"])
def test_from_a_web_server(store: ama.Store, tmp_path: Path, kind: str) -> None:
    server = servers.start(kind)
    assert server.files is not None
    name = os.urandom(6).hex()
    shutil.copytree(tmp_path / "store", server.files / name)
    there = Remote.open(server.storage(name), tmp_path / "cache")
    mirror(Order(there, LocalStorage(tmp_path / "copy"), store.settings), NO_PROGRESS)
    same(store, tmp_path / "copy")


# Watching


class Away(CountingStorage):
    """A storage that can't be reached while something is so."""

    away = False

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        if self.away:
            raise StorageError("away", retryable=True)
        return super().read(ranges)

    def put(self, name: str, data: Buffer) -> None:
        if self.away:
            raise StorageError("away", retryable=True)
        super().put(name, data)


def test_it_goes_on_as_the_store_does(store: ama.Store, tmp_path: Path) -> None:
    storage = Away(LocalStorage(tmp_path / "store"))
    source = Remote.open(storage, store.settings.cache_dir)
    target = CountingStorage(LocalStorage(tmp_path / "copy"))
    said: list[StorageError | None] = []
    trips: list[tuple[int, int]] = []

    def pause(error: StorageError | None) -> None:
        said.append(error)
        trips.append((storage.round_trips, target.round_trips))
        storage.reset()
        target.reset()
        storage.away = len(said) == 3
        if len(said) in (2, 4):
            store.publish("models", {"n.txt": str(len(said)).encode()})

    results = keep_mirrored(Order(source, target, store.settings), NO_PROGRESS, pause)
    assert next(results).entries == 7
    assert next(results).entries == 1
    assert trips[1] == (1, 0)  # nothing was new
    assert next(results).entries == 1
    assert [error is not None for error in said] == [False, False, False, True]
    same(store, tmp_path / "copy")


def test_a_diverged_mirror_ends_it(store: ama.Store, tmp_path: Path) -> None:
    results = store.keep_mirrored(tmp_path / "copy", every=0.01)
    next(results)
    (tmp_path / "copy" / MIRROR).unlink()
    ama.Store.open(tmp_path / "copy").publish("models", {"n.txt": b"there"})
    store.publish("models", {"n.txt": b"here"})
    with pytest.raises(Conflict):
        next(results)


def test_a_storage_of_this_process(store: ama.Store) -> None:
    store.mirror("memory://spare")
    assert ama.Store.open("memory://spare").classes() == store.classes()


# The command


def test_the_command(run: Ama, store: ama.Store, tmp_path: Path) -> None:
    run.ok("remote", "add", "--user", "team", tmp_path / "store")
    run.ok("remote", "add", "--user", "spare", tmp_path / "copy")
    assert "7 entries with 4 assets" in run.ok("mirror", "team", "spare", "--dry-run").output
    assert "the new mirror" in run.ok("mirror", "team", "spare").output
    assert "nothing new" in run.ok("mirror", "team", "spare").output
    assert run.ok("mirror", "team", "spare", "--json").json()["entries"] == 0
    refused = run("alias", "move", "models@best", "models/2", "--remote", "spare")
    assert refused.code == 2
    assert "is a mirror of" in refused.stderr
    assert run("mirror", "team", "spare", "--watch", "--dry-run").code == 2


def test_watching(store: ama.Store, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "ama", "mirror", tmp_path / "store", tmp_path / "copy"]
    process = subprocess.Popen(
        [*words, "--watch", "--every", "1"],
        stdout=subprocess.PIPE,
        # Whoever runs the tests beside others may have made it deaf to this signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        assert b"7 entries" in process.stdout.readline()
        store.publish("models", {"n.txt": b"watched"})
        assert b"1 entry" in process.stdout.readline()
    finally:
        process.send_signal(signal.SIGINT)
        _, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    same(store, tmp_path / "copy")
