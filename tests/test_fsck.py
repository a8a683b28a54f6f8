"""fsck: a sound store or worktree is sound, and of what isn't it tells what, where, and whose."""

from __future__ import annotations

import random
import shutil
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import ama.system.fs
from ama import Repo, Store
from ama.errors import FormatError, StorageError
from ama.format import canonical
from ama.format.checkpoint import decode_checkpoint, encode_checkpoint
from ama.format.entries import (
    Event,
    Gc,
    HeldRef,
    MoveAlias,
    Publish,
    Unknown,
    decode_entry,
    encode_entry,
    entry_hash,
    entry_name,
)
from ama.format.hashing import asset_id, blob_id, seal, short, tree_id
from ama.format.objects import (
    Asset,
    EntryKind,
    Kind,
    Recipe,
    RefLink,
    TreeEntry,
    encode_asset,
    encode_recipe,
    encode_tree,
)
from ama.format.packindex import Location, PackIndex, encode_index
from ama.format.tables import EMPTY, Table, decode_rows
from ama.maintenance.fsck_store import check_store
from ama.results import FsckReport, Problem
from ama.storage.local import LocalStorage
from ama.storage.protocol import Range
from ama.stores.log_files import HINT, checkpoint_name, decode_hint, segment_name
from ama.stores.log_writer import Log
from ama.stores.object_reader import index_name, pack_name
from ama.stores.pack_writer import PackWriter
from ama.stores.remote import FORMAT, Remote
from ama.system.progress import NO_PROGRESS
from ama.transfer.push import Push
from ama.wording.hints import words
from damage import ASSETS, DAMAGES, World, content, flip, truncate


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ama.system.fs._os, "fsync", lambda fd: None)
        yield World(tmp_path_factory.mktemp("world"))


def fsck(world: World, name: str = "store") -> FsckReport:
    return Store.open(str(world.now / name), settings=world.settings()).fsck()


def numbers(problem: Problem) -> list[str]:
    """The assets that a problem touches, without their ids."""
    return [name.partition(" ")[0] for name in problem.assets]


class Recorder:
    """Progress that notes what it is told."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, int | None, int]] = []
        self._open: list[Any] = []

    def start(self, task: str, total_bytes: int | None) -> None:
        self._open.append([task, total_bytes, 0])

    def advance(self, count: int) -> None:
        self._open[-1][2] += count

    def skip(self, count: int) -> None:
        self._open[-1][1] -= count

    def finish(self) -> None:
        self.tasks.append(tuple(self._open.pop()))


# What is sound


@pytest.mark.parametrize(("name", "assets"), [("store", 4), ("long", 5)])
def test_a_sound_store(world: World, name: str, assets: int) -> None:
    world.renew()
    report = fsck(world, name)
    assert report.ok
    assert report.problems == ()
    assert report.where == str(world.now / name)
    packs = [path.stat().st_size for path in (world.now / name).rglob("*.pack")]
    assert (report.assets, report.size, report.orphans) == (assets, sum(packs), 0)
    assert report.objects > 20
    assert not (world.now / "cold" / "index").exists(), "fsck goes past the cache"


def test_progress_is_in_bytes_and_reaches_its_total(world: World) -> None:
    world.renew("store")
    recorder = Recorder()
    Store.open(str(world.store), settings=world.settings(), progress=recorder).fsck()
    assert [task for task, _, _ in recorder.tasks] == ["Checking packs", "Checking large files"]
    assert all(done == total for _, total, done in recorder.tasks)
    assert recorder.tasks[0][1] == sum(p.stat().st_size for p in world.store.rglob("*.pack"))
    assert recorder.tasks[1][1] == 1_400_000


def test_an_empty_store(tmp_path: Path) -> None:
    report = Store.open(str(tmp_path / "new"), create=True).fsck()
    assert report.ok
    assert (report.objects, report.assets) == (0, 0)


def test_what_interrupted_uploads_left_is_counted_and_no_problem(world: World) -> None:
    world.renew("store")
    with PackWriter(LocalStorage(world.store)) as writer:
        writer.add(Kind.DATA, blob_id(b"left over"), b"left over")
        writer.finish()
    report = fsck(world)
    assert report.ok
    assert report.orphans == 2


def test_what_an_interrupted_push_sent_is_used_and_named_with_all_below_it(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The indexes that it left name trees and recipes whose other parts nobody needs now."""
    monkeypatch.setitem(PackWriter.__init__.__kwdefaults__, "index_every", 1_000_000)
    monkeypatch.setitem(Push.__init__.__kwdefaults__, "pack_size", 300_000)
    noise = random.Random(5)
    repo = Repo.init(tmp_path / "work", "models", settings=world.settings())
    (repo.root / "sub").mkdir()
    for name, size in (("a", 1_500_000), ("b", 4_000_000), ("c", 1_500_000)):
        (repo.root / "sub" / name).write_bytes(noise.randbytes(size))
    repo.add(["."])
    url = tmp_path / "store"
    with monkeypatch.context() as patch:
        patch.setattr(Log, "try_append", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            repo.upload(remote=str(url))
    assert len(list((url / "index").iterdir())) >= 5
    shutil.rmtree(repo.root / ".ama" / "pending")
    old = (repo.root / "sub" / "b").read_bytes()
    (repo.root / "sub" / "b").write_bytes(b"small now")
    repo = Repo.open(repo.root, settings=world.settings())
    repo.add(["sub"])
    assert repo.upload(remote=str(url)).bytes_reused >= 3_000_000
    store = Store.open(str(url), settings=world.settings())
    report = store.fsck()
    assert report.ok, report.problems[:3]
    assert report.orphans > 0
    (repo.root / "sub" / "b").write_bytes(old)
    repo.add(["sub"])
    repo.upload(remote=str(url))
    assert store.resolve("models/2").read("sub/b") == old
    report = store.fsck()
    assert report.ok, report.problems[:3]


# Which assets an object touches


def record_of(world: World, object_id: bytes) -> tuple[Path, int]:
    """The pack that an object is in, and an offset in the middle of its bytes."""
    for path in (world.store / "index").iterdir():
        for at in PackIndex(path.read_bytes()).find(object_id):
            middle = at.record.end - at.record.stored // 2 - 1
            return world.store / pack_name(at.pack), middle
    raise AssertionError(object_id.hex())


def object_of(world: World, what: str) -> bytes:
    """An object by its name: `models/1` an asset, `models/1:path` a file, with `/` a tree."""
    name, _, path = what.partition(":")
    asset = Store.open(str(world.store), settings=world.settings("warm")).resolve(name)
    if not path:
        return bytes.fromhex(asset.info.id)
    if not path.endswith("/"):
        return next(bytes.fromhex(file.id) for file in asset.files() if file.path == path)
    sources = asset._sources()
    entries = sources.tree(bytes.fromhex(asset.info.tree))
    return next(entry.id for entry in entries if entry.name == path[:-1])


@pytest.mark.parametrize(
    ("what", "touched"),
    [
        ("models/1:shared.txt", ["inputs/1", "models/1", "models/2"]),
        ("models/1:weights/b.bin", ["models/1", "models/2"]),
        ("models/1:weights/a.bin", ["models/1"]),
        ("models/2:weights/a.bin", ["models/2"]),
        ("models/1:config/", ["models/1", "models/2"]),
        ("models/2:weights/", ["models/2"]),
        ("models/1:model.bin", ["models/1", "models/2"]),
        ("other/1:notes.txt", ["other/1"]),
        # Without its record, what comes from it can't say what it comes from.
        ("inputs/1", ["inputs/1", "models/1"]),
        ("models/1", ["models/1", "models/2"]),
        ("models/2", ["models/2"]),
    ],
)
def test_each_asset_that_has_a_damaged_object_is_named(
    world: World, what: str, touched: list[str]
) -> None:
    world.renew("store", "warm")
    damaged = object_of(world, what)
    path, middle = record_of(world, damaged)
    flip(middle)(path)
    (problem,) = fsck(world).problems
    assert problem.where == path.relative_to(world.store).as_posix()
    assert short(damaged) in problem.what
    assert numbers(problem) == touched


@pytest.mark.parametrize("damage", ["delete", "half", "flip-middle"])
@pytest.mark.parametrize("size", [5000, 1_500_000], ids=["small", "large"])
def test_what_others_have_sent_again_touches_no_asset(
    tmp_path: Path, world: World, size: int, damage: str
) -> None:
    """Its own indexes name it where it is damaged, another current one where it is sound."""
    files = {name: random.Random(name).randbytes(size) for name in "ab"}
    settings = replace(world.settings(), default_remote=str(tmp_path / "store"))

    def upload(class_name: str) -> None:
        repo = Repo.init(tmp_path / class_name, class_name, settings=settings)
        for name, data in files.items():
            (repo.root / name).write_bytes(data)
        repo.add(["."])
        repo.upload()

    upload("models")
    store = Store.open(str(tmp_path / "store"), settings=settings)
    objects = store.remote.current(store.remote.view())
    recipe = objects.recipe(blob_id(files["a"]))
    (at, *_) = objects.find(recipe.chunks[0][0] if recipe else blob_id(files["a"]))
    pack = tmp_path / "store" / pack_name(at.pack)
    whole = pack.read_bytes()
    pack.unlink()
    upload("other")
    if damage != "delete":
        pack.write_bytes(whole)
        DAMAGES[damage](pack)
    world.forget()
    store = Store.open(str(tmp_path / "store"), settings=settings)
    for asset in ("other/1", "models/1"):
        out = tmp_path / "out" / asset
        store.download(asset, out)
        assert content(out) == files
        assert store.resolve(asset).read("b") == files["b"]
    (problem,) = store.fsck().problems
    assert problem.where == pack_name(at.pack)
    assert problem.assets == ()
    assert problem.what.endswith("is sound elsewhere in the store, and read from there")


@pytest.mark.parametrize("damage", ["delete", "flip-middle"])
def test_an_index_whose_objects_others_name_too_touches_no_asset(
    tmp_path: Path, world: World, damage: str
) -> None:
    settings = replace(world.settings(), default_remote=str(tmp_path / "store"))

    def upload(class_name: str, files: dict[str, bytes]) -> None:
        repo = Repo.init(tmp_path / class_name, class_name, settings=settings)
        for name, data in files.items():
            (repo.root / name).write_bytes(data)
        repo.add(["."])
        repo.upload()

    files = {f"f{number}": b"%d" % number for number in range(17)}
    for name, data in files.items():
        upload(f"c-{name}", {name: data})
    upload("all", files)
    store = Store.open(str(tmp_path / "store"), settings=settings)
    view = store.remote.view()
    record = view.class_state("all").assets[0]
    (need,) = store.remote.publish_event(view, "all", record).needs
    DAMAGES[damage](tmp_path / "store" / index_name(need))
    world.forget()
    store = Store.open(str(tmp_path / "store"), settings=settings)
    store.download("all", tmp_path / "out")
    assert content(tmp_path / "out") == files
    (problem,) = store.fsck().problems
    assert (problem.where, problem.assets) == (index_name(need), ())
    assert problem.what.endswith("is sound elsewhere in the store, and read from there")


def test_a_chunk_touches_the_files_that_are_made_of_it(world: World) -> None:
    world.renew("store", "warm")
    (path,) = [p for p in world.store.rglob("*.pack") if p.stat().st_size > 1_000_000]
    flip(0.5)(path)
    (problem,) = fsck(world).problems
    assert "1 of " in problem.what
    assert numbers(problem) == ["models/1", "models/2"]


def test_it_goes_on_after_each_problem(world: World) -> None:
    world.renew("store", "warm")
    paths = [record_of(world, object_of(world, f"{asset}"))[0] for asset in ASSETS]
    for path in paths:
        truncate(0.3)(path)
    flip(0.5)(world.store / HINT)
    flip(0.5)(world.store / entry_name(7))
    report = fsck(world)
    wheres = {problem.where for problem in report.problems}
    assert wheres == {HINT, entry_name(7)} | {
        path.relative_to(world.store).as_posix() for path in paths
    }
    assert {name for p in report.problems for name in numbers(p)} == set(ASSETS)


# The log, and what is derived from it


def rewrite(store: Path, number: int, **changes: Any) -> None:
    """Change an entry as somebody would who knows the format."""
    path = store / entry_name(number)
    entry = decode_entry(path.read_bytes())
    path.chmod(0o644)
    path.write_bytes(encode_entry(replace(entry, **changes)))


def test_a_rewritten_entry_breaks_the_chain(world: World) -> None:
    world.renew("store")
    rewrite(world.store, 3, author="Eve")
    (problem,) = fsck(world).problems
    assert problem.where == entry_name(4)
    assert "does not follow entry 3" in problem.what


def test_a_rewritten_last_entry_is_not_the_one_that_hint_saw(world: World) -> None:
    world.renew("store")
    rewrite(world.store, 7, author="Eve")
    (problem,) = fsck(world).problems
    assert problem.where == entry_name(7)
    assert HINT in problem.what


def test_hint_beyond_the_end(world: World) -> None:
    world.renew("store")
    for number in (6, 7):
        (world.store / entry_name(number)).unlink()
    (problem,) = fsck(world).problems
    assert problem.where == entry_name(6)
    assert (
        problem.what
        == "it and all up to entry 7 are missing, though log/HINT says that it was there"
    )


def test_a_hole(world: World) -> None:
    world.renew("store")
    (world.store / entry_name(3)).unlink()
    (problem,) = fsck(world).problems
    assert (problem.where, problem.what) == (
        entry_name(3),
        "it is missing, though entry 4 is there",
    )
    # What later ones published has no numbers any more; other/1 needs entry 4.
    assert numbers(problem) == ["other"]


def test_an_entry_that_is_lost_under_a_checkpoint(world: World) -> None:
    world.renew("long")
    (world.long / entry_name(3)).unlink()
    (problem,) = fsck(world, "long").problems
    assert numbers(problem) == ["models/2"], "the checkpoint knows what it published"


def test_another_format_json(world: World) -> None:
    world.renew("store")
    path = world.store / FORMAT
    path.chmod(0o644)
    path.write_text(path.read_text() + " ")
    (problem,) = fsck(world).problems
    assert problem.where == FORMAT
    assert numbers(problem) == ["inputs", "models", "models", "other"]


def test_a_forged_checkpoint(world: World) -> None:
    """One that is sound in itself, and says something else than the log."""
    world.renew("long")
    path = world.long / checkpoint_name(64)
    checkpoint = decode_checkpoint(path.read_bytes())
    path.chmod(0o644)
    path.write_bytes(encode_checkpoint(replace(checkpoint, indexes=EMPTY)))
    (problem,) = fsck(world, "long").problems
    assert problem.where == checkpoint_name(64)
    assert "not what the log adds up to" in problem.what
    assert problem.assets == ()


def test_a_forged_class_state(world: World) -> None:
    world.renew("long")
    path = world.long / checkpoint_name(64)
    checkpoint = decode_checkpoint(path.read_bytes())
    models = checkpoint.classes["models"]
    (name,) = map(segment_name, models.assets.segments)
    rows = decode_rows((world.long / name).read_bytes())
    data = canonical.encode(rows[:1])
    (world.long / segment_name(seal(data))).write_bytes(data)
    lie = replace(models, assets=Table(1, (seal(data),)))
    path.chmod(0o644)
    classes = {**checkpoint.classes, "models": lie}
    path.write_bytes(encode_checkpoint(replace(checkpoint, classes=classes)))
    (problem,) = fsck(world, "long").problems
    assert problem.where == checkpoint_name(64)


def test_a_checkpoint_beyond_the_log(world: World) -> None:
    world.renew("store", "long")
    path = world.store / checkpoint_name(64)
    path.parent.mkdir(parents=True)
    path.write_bytes((world.long / checkpoint_name(64)).read_bytes())
    (problem,) = fsck(world).problems
    assert (problem.where, problem.assets) == (checkpoint_name(64), ())


# Forged stores: what no upload writes


@dataclass
class Forge:
    """A store that anything can be put into."""

    remote: Remote
    objects: dict[tuple[Kind, bytes], bytes] = field(default_factory=dict)
    now: int = 1_000_000

    def blob(self, data: bytes) -> bytes:
        self.objects[Kind.DATA, blob_id(data)] = data
        return blob_id(data)

    def tree(self, *entries: TreeEntry) -> bytes:
        data = encode_tree(list(entries))
        self.objects[Kind.TREE, tree_id(data)] = data
        return tree_id(data)

    def recipe(self, whole: bytes, *chunks: tuple[bytes, int], kind: Kind = Kind.DATA) -> bytes:
        self.objects[Kind.RECIPE, whole] = encode_recipe(Recipe(1, kind, chunks))
        return whole

    def asset(self, tree: bytes, **fields: Any) -> bytes:
        self.now += 1
        values = {"parents": (), "refs": (), **fields}
        data = encode_asset(Asset("models", tree, author="Ann", created_at=self.now, **values))
        self.objects[Kind.ASSET, asset_id(data)] = data
        return asset_id(data)

    def write(self) -> tuple[bytes, ...]:
        """Store what was made, and return its indexes."""
        with PackWriter(self.remote.storage) as writer:
            for (kind, object_id), data in self.objects.items():
                writer.add(kind, object_id, data)
            indexes = writer.finish()
        self.objects.clear()
        return tuple(index.id for index in indexes)

    def publish(
        self,
        asset: bytes,
        *,
        indexes: Sequence[bytes] | None = None,
        needs: Sequence[bytes] | None = None,
        refs: Sequence[HeldRef] = (),
        class_name: str = "models",
    ) -> None:
        added = tuple(self.write() if indexes is None else indexes)
        needed = added if needs is None else tuple(needs)
        self.append(Publish(asset, class_name, (), added, needed, tuple(refs)))

    def append(self, *events: Event) -> None:
        self.now += 1
        self.remote.log.append(lambda view: events, author="Ann", now=lambda: self.now)

    def check(self) -> FsckReport:
        return check_store(self.remote, NO_PROGRESS)

    def problem(self) -> Problem:
        (problem,) = self.check().problems
        return problem


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return Forge(Remote.create(LocalStorage(tmp_path / "forged"), None)[0])


def file(name: str, object_id: bytes, size: int) -> TreeEntry:
    return TreeEntry(name, EntryKind.FILE, object_id, size)


def below(name: str, object_id: bytes, size: int) -> TreeEntry:
    return TreeEntry(name, EntryKind.TREE, object_id, size)


def test_a_well_forged_store_is_sound(forge: Forge) -> None:
    big = [forge.blob(bytes([n]) * 50_000) for n in range(3)]
    whole = b"".join(bytes([n]) * 50_000 for n in range(3))
    forge.recipe(blob_id(whole), *((chunk, 50_000) for chunk in big))
    inner = forge.tree(file("a", forge.blob(b"a"), 1), file("whole", blob_id(whole), 150_000))
    tree = forge.tree(below("sub", inner, 150_001), file("empty", forge.blob(b""), 0))
    forge.publish(forge.asset(tree))
    report = forge.check()
    assert report.ok, report.problems
    assert (report.objects, report.assets) == (9, 1)


def test_a_large_tree_in_chunks(forge: Forge) -> None:
    entries = [file(f"{n:05}", forge.blob(b"x"), 1) for n in range(3_000)]
    tree = forge.tree(*entries)
    data = forge.objects.pop((Kind.TREE, tree))
    cut = [data[at : at + 60_000] for at in range(0, len(data), 60_000)]
    chunks = [(forge.blob(part), len(part)) for part in cut]
    forge.recipe(tree, *chunks, kind=Kind.TREE)
    asset = forge.asset(tree)
    forge.publish(asset)
    assert forge.check().ok, forge.check().problems
    lost = forge.remote.current(forge.remote.view()).find(chunks[1][0])[0]
    damage(forge, lost)
    assert forge.problem().assets == (f"models/1 ({short(asset)})",)


def damage(forge: Forge, at: Location) -> None:
    name = pack_name(at.pack)
    (data,) = forge.remote.storage.read([Range(name)])
    changed = bytearray(data or b"")
    changed[at.record.end - 1] ^= 1
    forge.remote.storage.replace(name, changed)


def test_a_missing_object(forge: Forge) -> None:
    for what in ("file", "tree", "chunk"):
        gone = blob_id(what.encode())
        entry = below("gone", gone, 1) if what == "tree" else file("gone", gone, 1)
        if what == "chunk":
            whole = forge.recipe(blob_id(b"whole"), (gone, 5), (forge.blob(b"here"), 4))
            entry = file("whole", whole, 9)
        asset = forge.asset(forge.tree(entry))
        forge.publish(asset)
        (problem,) = [p for p in forge.check().problems if short(gone) in p.where]
        assert problem.what == "it is missing: no index names it"
        assert [name[-11:-1] for name in problem.assets] == [short(asset)]


def test_many_missing_objects(forge: Forge) -> None:
    entries = [file(f"{n:03}", blob_id(b"%d" % n), 1) for n in range(80)]
    forge.publish(forge.asset(forge.tree(*entries)))
    problems = forge.check().problems
    assert len(problems) == 51
    assert problems[-1].what.startswith("30 objects more are missing")


def test_sizes_that_are_wrong(forge: Forge) -> None:
    blob, chunk = forge.blob(b"content"), forge.blob(b"chunk")
    inner = forge.tree(file("a", blob, 7))
    whole = forge.recipe(blob_id(b"chunkchunk"), (chunk, 5), (chunk, 5))
    forge.publish(forge.asset(forge.tree(file("file", blob, 6))))
    forge.publish(forge.asset(forge.tree(below("tree", inner, 6))), indexes=forge.write())
    forge.publish(forge.asset(forge.tree(file("large", whole, 11))), indexes=forge.write())
    found = {p.what: p for p in forge.check().problems}
    for name, said, size in (("file", 6, 7), ("tree", 6, 7), ("large", 11, 10)):
        (what,) = [w for w in found if w.startswith(f"{name} in tree ")]
        assert what.endswith(f"says that it has {said} bytes, not {size}")


def test_recipes_that_are_wrong(forge: Forge) -> None:
    chunk = forge.blob(b"chunk")
    other = forge.recipe(blob_id(b"something else"), (chunk, 5), (chunk, 5))
    long = forge.recipe(blob_id(b"longer"), (chunk, 6), (chunk, 5))
    asset = forge.asset(forge.tree(file("other", other, 10), file("long", long, 11)))
    forge.publish(asset)
    found = {p.where: p for p in forge.check().problems}
    assert found[f"object {short(other)}"].what == "its recipe makes something else"
    what = found[f"object {short(long)}"].what
    assert what == f"its recipe says that chunk {short(chunk)} has 6 bytes, and it has 5"
    assert all(numbers(problem) == ["models/1"] for problem in found.values())


def test_a_chunk_is_never_a_recipe(forge: Forge) -> None:
    chunk = forge.blob(b"chunk")
    inner = forge.recipe(blob_id(b"chunkchunk"), (chunk, 5), (chunk, 5))
    outer = forge.recipe(blob_id(b"chunkchunkchunk"), (inner, 10), (chunk, 5))
    asset = forge.asset(forge.tree(file("outer", outer, 15)))
    forge.publish(asset)
    problem = forge.problem()
    assert problem.what == "it is a recipe, and is needed as something else"
    assert numbers(problem) == ["models/1"]


def test_an_asset_that_its_indexes_do_not_hold(forge: Forge) -> None:
    blob = forge.blob(b"content")
    first = forge.write()
    forge.publish(forge.asset(forge.tree(file("a", blob, 7))), indexes=(*first, *forge.write()))
    forge.blob(b"other")
    asset = forge.asset(forge.tree(file("b", blob, 7)))
    forge.publish(asset)
    problem = forge.problem()
    assert problem.where == entry_name(2)
    assert f"lack 1 object: {short(blob)}" in problem.what
    assert numbers(problem) == ["models/2"]


def test_an_index_that_is_not_current(forge: Forge) -> None:
    asset = forge.asset(forge.tree(file("a", forge.blob(b"a"), 1)))
    index = forge.write()
    forge.publish(asset, indexes=index, needs=(*index, bytes(32)))
    assert "which is not current" in forge.problem().what


def test_what_an_asset_was_made_from(forge: Forge) -> None:
    tree = forge.tree(file("a", forge.blob(b"a"), 1))
    elsewhere = bytes([7]) * 32
    made = forge.asset(tree, refs=(RefLink(elsewhere, "inputs"),))
    forge.publish(made, refs=[HeldRef(elsewhere, False)])
    problem = forge.problem()
    assert problem.where == f"object {short(elsewhere)}"
    assert numbers(problem) == ["models/1"]


def test_refs_that_an_entry_does_not_tell_right(forge: Forge) -> None:
    tree = forge.tree(file("a", forge.blob(b"a"), 1))
    never = forge.asset(tree, message="never published")
    made = forge.asset(tree, refs=(RefLink(never, "models"),))
    forge.publish(made)
    assert "does not name what" in forge.problem().what
    again = forge.asset(tree, refs=(RefLink(never, "models"),), parents=(made,))
    index = forge.write()
    forge.publish(
        again,
        indexes=index,
        needs=(*index, *forge.remote.view().root.indexes),
        refs=[HeldRef(never, True)],
    )
    (_, problem) = forge.check().problems
    assert "says that the log publishes" in problem.what
    assert numbers(problem) == ["models/2"]


def test_another_class(forge: Forge) -> None:
    forge.publish(forge.asset(forge.tree()), class_name="datasets")
    assert "in another class" in forge.problem().what


def test_a_second_copy_saves_the_assets(forge: Forge) -> None:
    blob = forge.blob(b"content")
    asset = forge.asset(forge.tree(file("a", blob, 7)))
    forge.publish(asset)
    forge.blob(b"content")
    copy = forge.write()
    forge.append(Publish(asset, "models", (), copy, copy))
    assert forge.check().ok
    damage(forge, forge.remote.current(forge.remote.view()).find(blob)[0])
    problem = forge.problem()
    assert problem.where.startswith("packs/")
    assert problem.assets == ()


def test_an_index_that_contradicts_its_pack(forge: Forge) -> None:
    asset = forge.asset(forge.tree(file("a", forge.blob(b"a"), 1)))
    (index,) = forge.remote.indexes(forge.write())
    wrong = [
        Location(at.pack, at.record._replace(offset=at.record.offset + 1))
        if at.record.kind is Kind.DATA
        else at
        for at in index
    ]
    sizes = {pack: size + 1 for pack, size in index.pack_sizes.items()}
    for said in (index.pack_sizes, sizes):
        data = encode_index(wrong, dict(said))
        forge.remote.storage.put(index_name(blob_id(data)), data)
        forge.publish(asset, indexes=[blob_id(data)])
    report = forge.check()
    wheres = {problem.where.partition("/")[0] for problem in report.problems}
    assert wheres == {"index"}, "the pack is whole"
    assert any("otherwise than" in problem.what for problem in report.problems)
    assert any("says" in problem.what for problem in report.problems)


def test_a_condemned_pack(forge: Forge) -> None:
    forge.publish(forge.asset(forge.tree()))
    (index,) = forge.remote.indexes(forge.remote.view().root.indexes)
    forge.append(Gc(packs=tuple(index.pack_sizes)))
    assert "which a gc has condemned" in forge.problem().what


def test_an_index_that_gc_replaced(forge: Forge) -> None:
    blob = forge.blob(b"a")
    old = forge.write()
    asset = forge.asset(forge.tree(file("a", blob, 1)))
    new = forge.write()
    forge.publish(asset, indexes=(*old, *new))
    forge.blob(b"a")
    merged = forge.write()
    forge.append(Gc(replaced=((old, merged),)))
    assert forge.check().ok, forge.check().problems


def test_a_store_of_a_later_version(forge: Forge) -> None:
    forge.append(MoveAlias("models", "best", None))
    view = forge.remote.view()
    entry = decode_entry((forge.remote.storage.read([Range(entry_name(1))])[0]) or b"")
    later = replace(
        entry,
        number=2,
        previous=view.entry_hash,
        events=(Unknown("teleport", critical=True, body={}),),
    )
    forge.remote.storage.create(entry_name(2), encode_entry(later))
    with pytest.raises(FormatError, match="teleport"):
        forge.check()


class Failing(LocalStorage):
    """A storage that can't read some names."""

    def __init__(self, root: Path, names: str, *, retryable: bool) -> None:
        super().__init__(root)
        self._names = names
        self._retryable = retryable

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        if any(self._names in wanted.name for wanted in ranges):
            raise StorageError("no way to read it", retryable=self._retryable)
        return super().read(ranges)


@pytest.mark.parametrize("names", ["packs/", "index/"])
def test_a_file_that_cannot_be_read_is_a_problem(world: World, names: str) -> None:
    world.renew("store")
    remote = Remote.open(Failing(world.store, names, retryable=False), None)
    report = check_store(remote, NO_PROGRESS)
    assert {problem.where.partition("/")[0] + "/" for problem in report.problems} == {names}
    assert all("no way to read it" in problem.what for problem in report.problems)
    assert {name for p in report.problems for name in numbers(p)} == set(ASSETS)


@pytest.mark.parametrize("names", ["packs/", "index/", "log/"])
def test_a_storage_that_is_away_is_no_damage(world: World, names: str) -> None:
    world.renew("store")
    remote = Remote.open(LocalStorage(world.store), None)
    remote.storage = Failing(world.store, names, retryable=True)
    with pytest.raises(StorageError):
        check_store(remote, NO_PROGRESS)


def test_memory_is_bounded_by_a_pack(forge: Forge) -> None:
    noise = random.Random(3)
    entries = []
    with PackWriter(forge.remote.storage, pack_size=1_000_000) as writer:
        for number in range(200):
            data = noise.randbytes(100_000)
            writer.add(Kind.DATA, blob_id(data), data)
            entries.append(file(f"{number:03}", blob_id(data), 100_000))
        indexes = [index.id for index in writer.finish()]
    asset = forge.asset(forge.tree(*entries))
    forge.publish(asset, indexes=(*indexes, *forge.write()))
    remote = Remote.open(forge.remote.storage, None)
    tracemalloc.start()
    try:
        assert check_store(remote, NO_PROGRESS).ok
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


# A worktree


def work(world: World) -> Repo:
    settings = replace(world.settings(), default_remote=str(world.store))
    return Repo.open(world.work, settings=settings)


def test_a_sound_worktree(world: World, tmp_path: Path) -> None:
    world.renew("store", "models")
    report = work(world).fsck()
    assert report.ok
    assert report.where == str(world.work)
    assert report.interrupted == ()
    assert report.assets >= 2
    fresh = Repo.init(tmp_path / "new", "models", settings=world.settings())
    assert fresh.fsck().ok


def test_a_download_is_sound_whole_or_in_part(world: World, tmp_path: Path) -> None:
    world.renew("store")
    store = Store.open(str(world.store), settings=world.settings())
    store.download("models/2", tmp_path / "all")
    store.download("models/2", tmp_path / "some", include=["weights/*"])
    store.download("models/2", tmp_path / "none", metadata_only=True)
    for name in ("all", "some", "none"):
        repo = Repo.open(tmp_path / name, settings=world.settings())
        assert repo.fsck().ok, repo.fsck()
        (repo.root / "new.txt").write_text("new")
        repo.add(["new.txt"])
        repo.commit("more")
        assert repo.fsck().ok, repo.fsck()


def test_large_files_by_reference_are_not_missed(world: World, tmp_path: Path) -> None:
    repo = Repo.init(tmp_path / "new", "models", settings=world.settings())
    (repo.root / "big.bin").write_bytes(random.Random(1).randbytes(1_200_000))
    repo.add(["big.bin"])
    assert repo.fsck().ok
    repo.commit("kept here")
    report = repo.fsck()
    assert report.ok
    assert report.size > 1_200_000
    repo.push(remote=str(tmp_path / "store"))
    assert repo.fsck().ok


def test_a_commit_that_lost_its_content(world: World, tmp_path: Path) -> None:
    repo = Repo.init(tmp_path / "new", "models", settings=world.settings())
    (repo.root / "big.bin").write_bytes(random.Random(1).randbytes(1_200_000))
    (repo.root / "a.txt").write_text("a" * 300)
    repo.add(["."])
    asset = repo.commit("kept here").asset
    packs = sorted((repo.root / ".ama").rglob("*.pack"), key=lambda path: path.stat().st_size)
    flip(0.5)(packs[-1])
    report = repo.fsck()
    pack, lost = report.problems
    assert pack.where == packs[-1].relative_to(repo.root).as_posix()
    assert lost.where == "big.bin"
    assert "neither here nor published" in lost.what
    assert pack.assets == lost.assets == (f"models ({asset.id[:10]})",)


def test_a_commit_that_is_lost(world: World, tmp_path: Path) -> None:
    repo = Repo.init(tmp_path / "new", "models", settings=world.settings())
    (repo.root / "a.txt").write_text("a" * 300)
    repo.add(["."])
    asset = repo.commit("kept here").asset
    for path in (repo.root / ".ama" / "objects" / "index").iterdir():
        path.unlink()
    report = repo.fsck()
    assert {problem.where for problem in report.problems} == {
        f"commit {asset.id[:10]}",
        "a.txt",
    }
    assert report.orphans == 2


def test_what_was_published_is_promised(world: World) -> None:
    """Content and metadata that a store has may be gone here."""
    world.renew("store", "models")
    work(world).restore(["later.txt"], staged=True)
    for path in (world.work / ".ama" / "objects").rglob("*.idx"):
        path.unlink()
    report = work(world).fsck()
    staged = {problem.where for problem in report.problems}
    assert staged == {
        name for name in content(world.work) if name not in ("later.txt", "model.bin")
    }
    assert all("not in .ama/objects" in problem.what for problem in report.problems)


def test_interrupted_work_is_named_and_no_problem(world: World) -> None:
    world.renew("store", "models")
    pending = world.work / ".ama" / "pending"
    pending.mkdir(exist_ok=True)
    body = b"an upload"
    (pending / "publish").write_bytes(body + seal(body))
    (pending / "checkout").write_bytes(b"3f9a2c41d0" + b"\nswitch models/1")
    report = work(world).fsck()
    assert report.ok
    upload, checkout = (words((hint,)) or "" for hint in report.interrupted)
    assert "upload or push was interrupted" in upload
    assert checkout.endswith("of 3f9a2c41d0 here was interrupted: finish it: ama switch models/1")
    (pending / "checkout").unlink()
    (pending / "publish").write_bytes(b"cut off")
    incoming = world.work / ".ama" / "incoming"
    incoming.mkdir(exist_ok=True)
    (incoming / "file").write_bytes(b"")
    report = work(world).fsck()
    (problem,) = report.problems
    assert problem.where == ".ama/pending/publish"
    assert "before it changed anything" in (words(report.interrupted[-1:]) or "")


def test_a_stray_file_among_the_indexes(world: World) -> None:
    world.renew("store", "models")
    (world.work / ".ama" / "objects" / "index" / "notes.txt").write_text("?")
    (problem,) = work(world).fsck().problems
    assert problem.where == ".ama/objects/index/notes.txt"


def test_hint_is_what_these_tests_take_it_for(world: World) -> None:
    world.renew("store")
    data = (world.store / HINT).read_bytes()
    last = (world.store / entry_name(7)).read_bytes()
    assert decode_hint(data) == (7, entry_hash(last))
