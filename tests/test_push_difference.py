"""A push walks what differs from assets that the store has, and its assets stay whole.

An asset is read here from the indexes that its publish event needs, and from nothing else: what a
push has wrongly taken for granted would be missing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

import ama
import ama.operations.connections
import ama.stores.sources
import ama.transfer.difference
import ama.transfer.needs
import ama.transfer.push
from ama.format.entries import MAX_NEEDS, Event, Gc, Publish, Purged, SetStatus
from ama.format.hashing import blob_id, tree_id
from ama.format.indexrows import RowCollector, merge_indexes
from ama.format.objects import EntryKind, Kind, TreeEntry, encode_tree
from ama.format.pack import Record
from ama.format.packindex import Location, PackIndex, encode_index
from ama.settings import Settings
from ama.storage.local import LocalStorage
from ama.storage.protocol import Storage
from ama.storage.urls import open_storage
from ama.stores.object_reader import ObjectStore, index_name, pack_name
from ama.stores.pack_writer import PackWriter
from ama.stores.remote import Remote
from ama.stores.sources import Sources
from ama.system import fs
from ama.transfer.difference import FEW, difference
from ama.transfer.needs import KEPT, groups
from ama.transfer.send import Presence
from ama.worktree.trees import walk
from counting_storage import CountingStorage

AUTHOR = "Bob <bob@example.org>"
Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs._os, "fsync", lambda fd: None)


@pytest.fixture
def resting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small assets rest on others, as large ones do."""
    monkeypatch.setattr(ama.transfer.difference, "FEW", 0)


class World:
    """A store, worktrees that publish to it, and a collector of its garbage."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.url = str(root / "store")
        self._patch = monkeypatch

    def settings(self, cache: str = "cache") -> Settings:
        return Settings(
            data_dir=self.root / "data",
            cache_dir=self.root / cache,
            user_config_path=self.root / "config.toml",
            user_name="Ann",
            user_email="ann@example.org",
            default_remote=self.url,
        )

    def worktree(self, name: str, class_name: str = "models") -> ama.Repo:
        (self.root / name).mkdir()
        return ama.Repo.init(self.root / name, class_name, settings=self.settings(f"cache-{name}"))

    def again(self, name: str) -> ama.Repo:
        return ama.Repo.open(self.root / name, settings=self.settings(f"cache-{name}"))

    def remote(self) -> Remote:
        return Remote.open(LocalStorage(Path(self.url)), None)

    def append(self, *events: Event) -> None:
        assert self.remote().log.append(lambda view: events, author=AUTHOR, now=lambda: 0)

    def before_the_first_entry(self, act: Callable[[], object]) -> None:
        """Somebody else wins the number of the next entry."""
        waiting = [act]

        class Storage(LocalStorage):
            def create(self, name: str, data: object) -> None:
                if name.startswith("log/") and waiting:
                    waiting.pop()()
                super().create(name, data)  # type: ignore[arg-type]

        def opened(url: str, options: object = None) -> Storage:
            return Storage(Path(self.url))

        self._patch.setattr(ama.operations.connections, "open_storage", opened)

    def alone_again(self) -> None:
        self._patch.setattr(ama.operations.connections, "open_storage", open_storage)

    # What is published

    def events(self) -> list[Publish]:
        view = self.remote().view()
        entries = self.remote().log.read_entries(range(1, view.number + 1))
        return [event for entry in entries for event in entry.events if type(event) is Publish]

    def needs(self, number: int = -1) -> tuple[bytes, ...]:
        """The indexes that an asset needs, as its publish event says."""
        return self.events()[number].needs

    def whole(self, asset: bytes) -> Files:
        """An asset's files, read through nothing but the indexes that stand for its needs."""
        remote = self.remote()
        view = remote.view()
        (event,) = [event for event in self.events() if event.asset == asset]
        needs = view.root.current(event.needs)
        assert set(needs) <= set(view.root.indexes)
        sources = Sources(ObjectStore(remote.storage, remote.indexes(needs)))
        found = walk(sources.asset(asset).tree, sources.tree)
        return {item.path: sources.read(item.id, Kind.DATA) for item in found}

    def check_needs(self) -> None:
        """W8: what an asset needs is current before its entry, or comes with it."""
        remote = self.remote()
        current: set[bytes] = set()
        for entry in remote.log.read_entries(range(1, remote.view().number + 1)):
            added = {i for event in entry.events if type(event) is Publish for i in event.indexes}
            for event in entry.events:
                if type(event) is Publish:
                    assert {*event.needs} <= current | added
                elif type(event) is Gc:
                    current -= {*event.indexes, *(i for old, _ in event.replaced for i in old)}
                    current |= {i for _, new in event.replaced for i in new}
            current |= added

    def live(self) -> list[bytes]:
        states = self.remote().view().class_states().values()
        return [r.id for state in states for r in state.assets if r.status != "deleted"]

    # Garbage

    def garbage(self, *, repack: bool) -> Gc:
        """What a collector does: new indexes, of what is needed alone; perhaps new packs too."""
        remote = self.remote()
        view = remote.view()
        old = remote.indexes(view.root.indexes)
        objects = ObjectStore(remote.storage, old)
        sources = Sources(objects)
        ids = {r.id for state in view.class_states().values() for r in state.assets}
        for asset in self.live():
            root = sources.asset(asset).tree
            waiting = [root]
            while waiting:
                ids.add(tree := waiting.pop())
                for entry in sources.tree(tree):
                    (waiting.append if entry.kind is EntryKind.TREE else ids.add)(entry.id)
        recipes = [objects.recipe(i) for i in ids]
        ids |= {chunk for recipe in recipes if recipe for chunk, _ in recipe.chunks}
        places = [objects.find(i)[0] for i in sorted(ids)]
        sizes = {pack: size for index in old for pack, size in index.pack_sizes.items()}
        if repack:
            with PackWriter(remote.storage) as writer:
                for at, raw in objects.read_raw(places):
                    writer.copy(at.record, raw)
                new = list(writer.finish())
        else:
            new = [PackIndex(encode_index(places, sizes))]
            remote.storage.put(index_name(new[0].id), new[0].data)
        named = {pack for index in new for pack in index.pack_sizes}
        gone = tuple(index.id for index in old if index.id not in {i.id for i in new})
        kept = tuple(index.id for index in new if index.id not in gone)
        return Gc(((gone, kept),), tuple(sorted(sizes.keys() - named)))

    def collect(self, *, repack: bool = True, sweep: bool = True) -> None:
        self.append(self.garbage(repack=repack))
        if sweep:
            self.sweep()

    def sweep(self) -> None:
        root = self.remote().view().root
        for name in (
            *map(pack_name, root.condemned_packs),
            *map(index_name, root.condemned_indexes),
        ):
            Path(self.url, name).unlink(missing_ok=True)
        self.append(Purged(tuple(root.condemned_packs), tuple(root.condemned_indexes)))

    def delete(self, asset: bytes, class_name: str = "models") -> None:
        self.append(SetStatus(asset, class_name, "deleted", "not needed"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world in which every entry was right when it was written."""
    found = World(tmp_path, monkeypatch)
    yield found
    found.check_needs()


def fill(root: Path, files: Mapping[str, bytes]) -> None:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def stage(repo: ama.Repo, files: Files) -> None:
    """Stage exactly these files."""
    gone = [file.path for file in repo.files() if file.path not in files] if repo.head else []
    if gone:
        repo.remove(gone, force=True)
    old = {file.path: file.id for file in repo.files()} if repo.head else {}
    new = {path: data for path, data in files.items() if old.get(path) != blob_id(data).hex()}
    fill(repo.root, new)
    repo.add([repo.root / path for path in new])


def upload(repo: ama.Repo, files: Files) -> bytes:
    """Publish exactly these files; the asset's id."""
    stage(repo, files)
    result = repo.upload()
    assert result.asset is not None
    return bytes.fromhex(result.asset.id)


def change(repo: ama.Repo, files: Files, *paths: str) -> bytes:
    """Publish files of which only these have changed."""
    fill(repo.root, {path: files[path] for path in paths})
    repo.add([repo.root / path for path in paths])
    asset = repo.upload().asset
    assert asset is not None
    return bytes.fromhex(asset.id)


def large(count: int = 40, directories: int = 50) -> Files:
    return {
        f"d{at:02}/f{n:02}": b"%d of %d" % (n, at)
        for at in range(directories)
        for n in range(count)
    }


class Counts:
    """What a push reads and looks up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trees = self.lookups = 0
        decode, contains = ama.stores.sources.decode_tree, Presence.__contains__

        def decoded(data: bytes, what: str) -> tuple[TreeEntry, ...]:
            self.trees += 1
            return decode(data, what)

        def looked_up(presence: Presence, object_id: bytes) -> bool:
            self.lookups += 1
            return contains(presence, object_id)

        monkeypatch.setattr(ama.stores.sources, "decode_tree", decoded)
        monkeypatch.setattr(Presence, "__contains__", looked_up)


# What a push costs


@pytest.fixture
def pushed(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[Files, Files], Counts]:
    """The cost of pushing the second of two assets."""

    def push(first: Files, second: Files) -> Counts:
        repo = world.worktree("w")
        upload(repo, first)
        stage(repo, second)
        repo.commit()
        repo = world.again("w")
        with monkeypatch.context() as patch:
            counts = Counts(patch)
            repo.push()
        (asset,) = world.live()[1:]
        assert world.whole(asset) == second
        return counts

    return push


def test_one_changed_file_costs_what_is_beside_it(
    world: World, pushed: Callable[[Files, Files], Counts]
) -> None:
    """Of 50 directories with 2,000 files, two are read in both versions, and a few to see that
    the rest is large.
    """
    files = large()
    counts = pushed(files, {**files, "d07/f11": b"changed"})
    assert counts.trees <= 4 + FEW // 40
    assert counts.lookups < 30
    (first, second) = (event.needs for event in world.events())
    assert len(first) == 1
    assert set(first) < set(second)
    assert len(second) == 2


def test_what_is_sent_is_what_changed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    files = large()
    repo = world.worktree("w")
    upload(repo, files)
    storage = CountingStorage(LocalStorage(Path(world.url)))
    monkeypatch.setattr(ama.operations.connections, "open_storage", lambda *_: storage)
    stage(repo, {**files, "d07/f11": b"changed"})
    storage.reset()
    repo.upload()
    assert storage.bytes_written < 16_000
    assert len(storage.writes) == 5  # content, metadata, index, entry, HINT
    assert storage.requests <= 45


def test_new_notes_about_a_large_asset_look_nothing_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = world.worktree("w")
    upload(repo, large())
    repo.set(metadata={"epochs": 3})
    repo.commit()
    repo = world.again("w")
    counts = Counts(monkeypatch)
    repo.push()
    monkeypatch.undo()
    assert counts.trees <= 1 + 1 + FEW // 40
    assert counts.lookups < 15
    assert world.whole(world.live()[1]) == large()


def test_a_renamed_directory_is_not_walked(pushed: Callable[[Files, Files], Counts]) -> None:
    files = large()
    renamed = {path.replace("d07/", "x/y/"): data for path, data in files.items()}
    counts = pushed(files, renamed)
    assert counts.trees <= 4 + FEW // 40
    assert counts.lookups < 30


def test_files_of_a_directory_that_is_gone_are_looked_up(
    pushed: Callable[[Files, Files], Counts], world: World
) -> None:
    """No tree that is read has them, but the indexes do."""
    files = large()
    moved = {path.replace("d07/", "x/more-"): data for path, data in files.items()}
    pushed(files, {**moved, "x/new": b"new"})
    packs = LocalStorage(Path(world.url)).list("packs/")
    assert sum(size for _, size in packs) < 2 * 200_000
    (sent,) = {*world.needs()} - {*world.needs(0)}
    (index,) = world.remote().indexes([sent])
    assert sum(at.record.kind is Kind.DATA for at in index) == 1


def test_a_small_asset_is_looked_up_whole(world: World) -> None:
    """That costs little, and tells which indexes it needs."""
    repo = world.worktree("w")
    files = {f"f{n}": b"%d" % n for n in range(20)}
    upload(repo, files)
    for n in range(1, 20):
        upload(repo, {f"f{m}": b"new %d" % m if m <= n else b"%d" % m for m in range(20)})
    # The last one shares a file with each version, and none with the first asset but one.
    last = upload(repo, {"f0": b"0", "other": b"other"})
    assert len(world.needs()) == 2
    assert world.whole(last) == {"f0": b"0", "other": b"other"}


def test_a_few_files_of_a_large_asset_need_no_more_than_they_do(world: World) -> None:
    """What is kept is little beside what is new: the next version does not need all again."""
    repo = world.worktree("w")
    files = {f"f{n}": b"%d" % n for n in range(600)}
    upload(repo, files)
    for n in range(3):
        upload(repo, {**files, f"more{n}": b"more"})
    assert len(world.needs()) == 4
    small = {path: files[path] for path in list(files)[:200]}
    upload(repo, small)
    assert len(world.needs()) == 2


# Many versions


@pytest.mark.usefixtures("resting")
def test_needs_stay_few_and_small_over_many_versions(world: World) -> None:
    repo = world.worktree("w")
    files = {f"d{n % 10}/f{n}": b"%d" % n for n in range(300)}
    history = [(upload(repo, files), dict(files))]
    for n in range(41):
        files[f"d{n % 10}/f{n}"] = b"changed in version %d" % n
        history.append((change(repo, files, f"d{n % 10}/f{n}"), dict(files)))
    counts = [len(event.needs) for event in world.events()]
    assert max(counts) <= MAX_NEEDS
    # It is merged now and then, and never more than the small ones.
    sizes = [path.stat().st_size for path in Path(world.url, "index").iterdir()]
    merged = len(sizes) - len(history)
    assert 2 <= merged <= 5
    large_ones = [size for size in sizes if size > 300 * 64]
    assert len(large_ones) == 1
    assert sum(sizes) < 42 * 2700 + 300 * 64 + merged * 9000
    for asset, expected in (history[0], history[17], history[33], history[41]):
        assert world.whole(asset) == expected


@pytest.mark.usefixtures("resting")
def test_what_is_of_no_use_any_more_is_left_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where most of what is needed belongs to earlier versions, all is looked up once."""
    monkeypatch.setattr(ama.transfer.needs, "NOTHING", 50)
    repo = world.worktree("w")
    monkeypatch.setattr(ama.transfer.push, "MAX_NEEDS", 6)
    monkeypatch.setattr(ama.transfer.needs, "KEPT", 3)
    files = {f"d{n % 5}/f{n}": random.Random(n).randbytes(100) for n in range(60)}
    asset = upload(repo, files)
    for n in range(0, 300, 10):
        paths = [f"d{at % 5}/f{at % 60}" for at in range(n, n + 10)]
        files.update((path, random.Random((n, path).__repr__()).randbytes(100)) for path in paths)
        asset = change(repo, files, *paths)
    assert world.whole(asset) == files
    indexes = world.remote().indexes(world.needs())
    data = sum(at.record.kind is Kind.DATA for index in indexes for at in index)
    assert data < 3 * len(files)  # of 360 that were ever there
    assert max(len(event.needs) for event in world.events()) <= 6


@pytest.mark.usefixtures("resting")
def test_commits_of_one_push_rest_on_each_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = world.worktree("w")
    files = large(10, 20)
    versions = []
    for n in range(5):
        files[f"d{n:02}/f03"] = b"changed by %d" % n
        stage(repo, files)
        repo.commit()
        versions.append(dict(files))
    repo = world.again("w")
    counts = Counts(monkeypatch)
    repo.push()
    monkeypatch.undo()
    assert counts.trees <= 21 + 4 * 4
    assert world.remote().view().number == 1
    assert [world.whole(asset) for asset in world.live()] == versions
    assert {len(event.needs) for event in world.events()} == {1}


@pytest.mark.usefixtures("resting")
def test_commits_rest_on_each_other_beyond_16_needs(world: World) -> None:
    repo = world.worktree("w")
    files = {f"f{n}": b"%d" % n for n in range(40)}
    for n in range(16):
        files[f"f{n}"] = b"changed by %d" % n
        upload(repo, files)
    versions = []
    for n in range(20, 24):
        files[f"f{n}"] = b"changed by %d" % n
        stage(repo, files)
        repo.commit()
        versions.append(dict(files))
    repo.push()
    assert max(len(event.needs) for event in world.events()) <= MAX_NEEDS
    assert [world.whole(asset) for asset in world.live()[-4:]] == versions


# Assets that do not count


def base(world: World) -> tuple[ama.Repo, Files]:
    repo = world.worktree("w")
    files = {**large(5, 10), "big": random.Random(1).randbytes(1_500_000)}
    stage(repo, files)
    repo.commit()
    repo.push()
    return repo, files


@pytest.mark.usefixtures("resting")
@pytest.mark.parametrize("swept", [False, True], ids=["condemned", "deleted"])
def test_a_deleted_asset_is_not_rested_on(world: World, swept: bool) -> None:
    repo, files = base(world)
    (asset,) = world.live()
    world.delete(asset)
    world.collect(sweep=swept)
    files["d01/f01"] = b"changed"
    assert world.whole(upload(repo, files)) == files
    world.sweep()
    assert world.whole(world.live()[0]) == files


@pytest.mark.usefixtures("resting")
def test_nor_is_one_of_which_a_collector_has_kept_the_trees(world: World) -> None:
    repo, files = base(world)
    (index,) = world.remote().indexes(world.needs())
    places = [at for at in index if at.record.kind is not Kind.DATA]
    rest = PackIndex(encode_index(places, index.pack_sizes))
    LocalStorage(Path(world.url)).put(index_name(rest.id), rest.data)
    world.delete(world.live()[0])
    gone = tuple(index.pack_sizes.keys() - rest.pack_sizes.keys())
    world.append(Gc((((index.id,), (rest.id,)),), gone))
    world.sweep()
    files["d01/f01"] = b"changed"
    assert world.whole(upload(repo, files)) == files


@pytest.mark.usefixtures("resting")
@pytest.mark.parametrize("repack", [False, True], ids=["indexes", "packs"])
@pytest.mark.parametrize("deleted", [False, True], ids=["kept", "deleted"])
def test_a_collector_wins_the_race(world: World, repack: bool, deleted: bool) -> None:
    """What the new asset rests on is replaced, or dropped, between the look and the entry."""
    repo, files = base(world)
    (asset,) = world.live()
    stage(repo, {**files, "d01/f01": b"changed"})

    def act() -> None:
        if deleted:
            world.delete(asset)
        world.collect(repack=repack)

    world.before_the_first_entry(act)
    repo = world.again("w")
    result = repo.upload()
    world.alone_again()
    assert (result.bytes_sent > 1_500_000) == deleted
    new = world.live()[-1]
    assert new != asset
    world.sweep()
    assert world.whole(new) == {**files, "d01/f01": b"changed"}
    if not deleted:
        assert world.whole(asset) == files


@pytest.mark.usefixtures("resting")
def test_a_deletion_alone_wins_the_race(world: World) -> None:
    """The collector comes after the entry then, and counts the new asset."""
    repo, files = base(world)
    (asset,) = world.live()
    stage(repo, {**files, "d01/f01": b"changed"})
    world.before_the_first_entry(lambda: world.delete(asset))
    world.again("w").upload()
    world.alone_again()
    world.collect()
    assert world.whole(world.live()[0]) == {**files, "d01/f01": b"changed"}


@pytest.mark.usefixtures("resting")
def test_what_merged_needs_count_on_is_condemned_meanwhile(world: World) -> None:
    repo = world.worktree("w")
    files = {f"f{n}": b"%d" % n for n in range(40)}
    for n in range(16):
        files[f"f{n}"] = b"changed by %d" % n
        upload(repo, files)
    files["f20"] = b"changed"
    stage(repo, files)
    world.before_the_first_entry(world.collect)
    world.again("w").upload()
    world.alone_again()
    world.sweep()
    assert len(world.needs()) <= 2
    assert world.whole(world.live()[-1]) == files


@pytest.mark.usefixtures("resting")
@pytest.mark.parametrize("damage", ["lost", "cut off"])
@pytest.mark.parametrize("what", ["pack", "index"])
def test_a_lost_file_makes_a_push_look_at_everything(world: World, what: str, damage: str) -> None:
    """An index may outlive its packs; and this machine's cache of it the index."""
    repo, files = base(world)
    (index,) = world.remote().indexes(world.needs())
    pack = max(index.pack_sizes, key=lambda each: index.pack_sizes[each])
    path = Path(world.url, pack_name(pack) if what == "pack" else index_name(index.id))
    if damage == "lost":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    files["d01/f01"] = b"changed"
    new = upload(repo, files)
    assert world.whole(new) == files
    assert index.id not in world.needs()


@pytest.mark.parametrize("what", ["pack", "index"])
def test_the_record_of_a_source_is_sent_again_where_it_is_lost(world: World, what: str) -> None:
    """No asset needs it, so its index is in no needs."""
    data = world.worktree("data", "data")
    upload(data, {"f": b"data"})
    other = str(world.root / "other")
    for name in ("one", "two"):
        repo = world.worktree(name, name)
        stage(repo, {name: name.encode()})
        repo.link("data/1")
        repo.commit()
        ama.Repo.open(repo.root, settings=world.settings()).push(remote=other)
        if name == "one":
            remote = Remote.open(LocalStorage(Path(other)), None)
            (index,) = remote.indexes(remote.view().root.indexes)
            assert data.head
            (at,) = index.find(bytes.fromhex(data.head.id))
            Path(other, pack_name(at.pack) if what == "pack" else index_name(index.id)).unlink()
    report = ama.Store.open(other, settings=world.settings("other")).fsck()
    assert report.problems
    assert not any(asset.startswith("two/") for each in report.problems for asset in each.assets)


@pytest.mark.usefixtures("resting")
def test_an_asset_that_a_collector_forgot_is_not_rested_on(world: World) -> None:
    """A mistake of others does not spread as long as it can be seen at the root."""
    repo, files = base(world)
    (asset,) = world.live()
    (index,) = world.remote().indexes(world.needs())
    places = [at for at in index if at.record.id == asset]
    rest = PackIndex(encode_index(places, index.pack_sizes))
    LocalStorage(Path(world.url)).put(index_name(rest.id), rest.data)
    world.append(Gc((((index.id,), (rest.id,)),)))
    files["d01/f01"] = b"changed"
    assert world.whole(upload(repo, files)) == files


@pytest.mark.usefixtures("resting")
def test_a_base_whose_trees_are_not_at_hand_is_not_asked_for(world: World) -> None:
    """Another worktree published it: what is new is looked up, and nothing is fetched."""
    base(world)
    other = world.worktree("other")
    files = {**large(5, 10), "own": b"own"}
    asset = upload(other, files)
    assert world.whole(asset) == files
    assert len(world.needs()) == 2


@pytest.mark.usefixtures("resting")
def test_the_newest_of_the_class_serves_where_there_is_no_parent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = world.worktree("w")
    files = large(20, 50)
    upload(repo, files)
    repo = ama.Repo.init(repo.root, "models", settings=world.settings("cache-w"))
    files["d01/f01"] = b"changed"
    fill(repo.root, files)
    repo.add(["."])
    repo.commit()
    repo = world.again("w")
    counts = Counts(monkeypatch)
    repo.push()
    monkeypatch.undo()
    assert counts.lookups < 30
    assert world.whole(world.live()[1]) == files


# Whatever happens, what is visible is whole


class Chaos:
    """Worktrees that change and publish, deletions and collections, in any order."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = random.Random(seed)
        self.files: dict[str, Files] = {}
        self.made: dict[bytes, Files] = {}
        for name in "ab":
            world.worktree(name)
            self.files[name] = {"d0/f0": b"0"}

    def change(self, name: str) -> None:
        rng, files = self.rng, self.files[name]
        for _ in range(rng.randrange(1, 5)):
            path = f"d{rng.randrange(4)}/{rng.choice(('', 'e/'))}f{rng.randrange(5)}"
            files[path] = b"%d" % rng.randrange(30)
        if len(files) > 3 and rng.random() < 0.4:
            moved = files.pop(rng.choice(sorted(files)))
            files[f"m{rng.randrange(3)}"] = moved
        if rng.random() < 0.2:
            files["big"] = random.Random(rng.randrange(2)).randbytes(1_200_000)

    def commit(self, name: str) -> None:
        self.change(name)
        repo = self.world.again(name)
        stage(repo, self.files[name])
        made = repo.commit().asset
        self.made.setdefault(bytes.fromhex(made.id), dict(self.files[name]))

    def interfere(self) -> None:
        rng, live = self.rng, self.world.live()
        if live and rng.random() < 0.5:
            self.world.delete(rng.choice(live))
        if self.world.remote().view().root.indexes and rng.random() < 0.7:
            self.world.collect(repack=rng.random() < 0.5, sweep=rng.random() < 0.5)

    def publish(self) -> None:
        name = self.rng.choice("ab")
        for _ in range(self.rng.choice((1, 1, 3))):
            self.commit(name)
        if self.rng.random() < 0.5:
            self.world.before_the_first_entry(self.interfere)
        self.world.again(name).push()
        self.world.alone_again()

    def check(self) -> None:
        for asset in self.world.live():
            assert self.world.whole(asset) == self.made[asset]


@pytest.mark.usefixtures("resting")
@pytest.mark.parametrize("seed", range(6))
def test_every_visible_asset_is_whole_whatever_happened(
    world: World, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ama.transfer.needs, "NOTHING", 20)
    monkeypatch.setattr(ama.transfer.needs, "KEPT", 2)
    monkeypatch.setattr(ama.transfer.push, "MAX_NEEDS", 4)
    chaos = Chaos(world, seed)
    for _ in range(10):
        chaos.publish()
        chaos.check()
        if chaos.rng.random() < 0.3:
            chaos.interfere()
            chaos.check()
    report = ama.Store.open(world.url, settings=world.settings("checks")).fsck()
    assert report.ok, report.problems


# Its parts


def tree_of(files: Mapping[str, object], trees: dict[bytes, tuple[TreeEntry, ...]]) -> bytes:
    entries = []
    for name, found in sorted(files.items()):
        if isinstance(found, bytes):
            entries.append(TreeEntry(name, EntryKind.FILE, blob_id(found), len(found)))
        else:
            assert isinstance(found, dict)
            inner = tree_of(found, trees)
            size = sum(entry.size for entry in trees[inner])
            entries.append(TreeEntry(name, EntryKind.TREE, inner, size))
    key = tree_id(encode_tree(entries))
    trees[key] = tuple(entries)
    return key


@pytest.mark.usefixtures("resting")
def test_a_difference_reads_only_what_differs() -> None:
    trees: dict[bytes, tuple[TreeEntry, ...]] = {}
    same = {f"s{n}": b"same %d" % n for n in range(5)}
    old = tree_of({"a": same, "b": {"x": b"1", "y": {"z": b"2"}}}, trees)
    new = tree_of({"a": same, "b": {"x": b"3", "y": {"z": b"2"}}, "c": {"w": {"z": b"2"}}}, trees)
    read: list[bytes] = []

    def reading(tree: bytes) -> tuple[TreeEntry, ...]:
        read.append(tree)
        return trees[tree]

    found = difference(new, [old], reading, trees.get)
    assert len(read) == len(found.trees) == 3  # the root, b and c
    assert found.files == {blob_id(b"3"): 1}
    assert {entry.name for entry in found.shared[old].entries.values()} == {"a", "y"}


def test_a_file_is_not_taken_for_a_tree_of_the_same_id() -> None:
    """A hostile store may say so; what it says of files is not true of trees."""
    trees: dict[bytes, tuple[TreeEntry, ...]] = {}
    inner = tree_of({"x": b"1"}, trees)
    old = bytes(32)
    trees[old] = (TreeEntry("a", EntryKind.FILE, inner, 1),)
    new = tree_of({"b": {"x": b"1"}}, trees)
    found = difference(new, [old], trees.__getitem__, trees.get)
    assert inner in found.trees
    assert not found.shared


def index_of(seed: int, count: int) -> PackIndex:
    rng = random.Random(seed)
    packs = [rng.randbytes(32) for _ in range(3)]
    places = [
        Location(packs[n % 3], Record(blob_id(b"%d" % rng.randrange(100)), Kind.DATA, 32 + n, 0, n))
        for n in range(count)
    ]
    return PackIndex(encode_index(places, dict.fromkeys(packs, 10_000)))


@pytest.mark.parametrize("seed", range(5))
def test_merged_indexes_are_as_if_written_at_once(seed: int) -> None:
    parts = [index_of(seed, 60), index_of(seed, 60), index_of(seed + 1, 5), index_of(9, 40)]
    sizes = {pack: size for part in parts for pack, size in part.pack_sizes.items()}
    places = [at for part in parts for at in part]
    merged = merge_indexes(parts)
    assert merged == encode_index(places, sizes)
    PackIndex(merged).validate()
    rows = RowCollector()
    rows.add(reversed(places), sizes)
    assert rows.encode() == merged


class Sized:
    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows


@pytest.mark.parametrize(
    "sizes",
    [
        [1_000_000, *[5] * 16],
        [5] * 17,
        [262_144] * 190,
        [2**n for n in range(20)],
        [3_000_000] * 9 + [1] * 8,
        *[[random.Random(n).randrange(1, 10**n) for _ in range(17 + n * n)] for n in range(1, 8)],
    ],
    ids=str,
)
def test_few_groups_remain(sizes: Sequence[int]) -> None:
    found = groups([Sized(size) for size in sizes])  # type: ignore[arg-type, misc]
    assert sorted(len(index) for group in found for index in group) == sorted(sizes)
    assert all(found)
    assert len(found) <= MAX_NEEDS
    # The largest stay as they are, unless those that are merged are as many.
    rewritten = sum(len(index) for group in found if len(group) > 1 for index in group)
    smallest = sorted(sizes)[: len(sizes) - KEPT]
    assert rewritten <= 2**KEPT * sum(smallest)


def test_merging_small_ones_leaves_room_for_more() -> None:
    found = groups([Sized(size) for size in [1_000_000, *[5] * 16]])  # type: ignore[misc]
    assert sorted(map(len, found)) == [1, 16]
