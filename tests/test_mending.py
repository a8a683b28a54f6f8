"""`push --repair` of a log: what is lost or damaged comes back byte for byte, or not at all."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ama.system.fs
import servers
from ama import Store, repair_log
from ama.errors import AmaError, Conflict, IntegrityError, NotFound, StorageError
from ama.format import canonical
from ama.format.checkpoint import encode_checkpoint
from ama.format.entries import decode_entry, encode_entry, entry_hash, entry_name
from ama.format.hashing import seal
from ama.results import PutBack
from ama.storage.memory import MemoryStorage
from ama.storage.protocol import Buffer, Storage
from ama.storage.urls import open_storage
from ama.stores.cache import END, VIEW, Cache, decode_view
from ama.stores.log_files import HINT, checkpoint_name, decode_hint, encode_hint
from ama.stores.remote import FORMAT, Remote
from ama.transfer.log_repair import mend
from ama.wording.hints import words as words_of
from conftest import Ama
from damage import DAMAGES, World, flip, swap, truncate
from readonly_storage import ReadOnlyStorage
from test_golden import V1

CHECKPOINT = checkpoint_name(64)
FEW = {name: DAMAGES[name] for name in ("empty", "half", "flip-middle", "delete")}
CHAIN = [FORMAT, *(entry_name(number) for number in (1, 3, 30, 64, 70))]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ama.system.fs._os, "fsync", lambda fd: None)
        yield World(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def anew(world: World) -> None:
    world.renew()


def everything(store: Path) -> dict[str, bytes]:
    files = (path for path in store.rglob("*") if path.is_file())
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in files}


def repair(world: World, store: Path, cache: str = "warm", **others: Path) -> tuple[PutBack, ...]:
    remotes = {name: str(url) for name, url in others.items()}
    settings = replace(world.settings(cache), remotes=remotes)
    return repair_log(str(store), settings=settings)


def is_well(world: World, store: Path) -> bool:
    world.forget()
    return Store.open(str(store), settings=world.settings()).fsck().ok


def refused(world: World, store: Path, cache: str = "warm", **others: Path) -> AmaError:
    """Check that a repair changes nothing, and return why."""
    before = everything(store)
    with pytest.raises(AmaError) as caught:
        repair(world, store, cache, **others)
    assert everything(store) == before
    return caught.value


def cache_of(world: World, store: Path) -> Cache:
    settings = world.settings("warm")
    store_id = Store.open(str(store), settings=world.settings()).id
    return Cache.of_store(settings.cache_dir, store_id, str(store))


def rewind(store: Path, number: int) -> None:
    """Let HINT be that of an earlier entry."""
    digest = entry_hash((store / entry_name(number)).read_bytes())
    (store / HINT).write_bytes(encode_hint(number, digest))


def rewrite(store: Path, first: int, last: int) -> None:
    """Let other entries stand in the place of some, each after the one before."""
    for number in range(first, last + 1):
        path = store / entry_name(number)
        before = entry_hash((store / entry_name(number - 1)).read_bytes())
        entry = replace(decode_entry(path.read_bytes()), previous=before, author="Eve")
        path.chmod(0o644)
        path.write_bytes(encode_entry(entry))


# Each kind


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", CHAIN)
def test_the_chain(world: World, name: str, damage: str) -> None:
    before = everything(world.long)
    DAMAGES[damage](world.long / name)
    was = "missing" if damage == "delete" else "damaged"
    assert repair(world, world.long) == (PutBack(name, was, "cache"),)
    assert everything(world.long) == before
    assert is_well(world, world.long)
    assert repair(world, world.long) == ()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [HINT, CHECKPOINT, "segment"])
def test_what_is_derived(world: World, name: str, damage: str) -> None:
    """For that nothing need be remembered."""
    before = everything(world.long)
    if name == "segment":
        name = next(name for name in before if name.startswith("checkpoint/segment/"))
    DAMAGES[damage](world.long / name)
    was = "missing" if damage == "delete" else "damaged"
    assert repair(world, world.long, "cold") == (PutBack(name, was, "log"),)
    assert everything(world.long) == before
    assert is_well(world, world.long)
    assert repair(world, world.long, "cold") == ()


def test_all_at_once(world: World) -> None:
    """But for the sketches, which no log needs: who finds none asks the indexes."""
    shutil.rmtree(world.long / "checkpoint" / "sketch")
    before = everything(world.long)
    shutil.rmtree(world.long / "checkpoint")
    shutil.rmtree(world.long / "log")
    (world.long / "log").mkdir()
    (world.long / HINT).write_bytes(before[HINT])
    (world.long / FORMAT).unlink()
    done = repair(world, world.long)
    assert everything(world.long) == before
    assert {put.where for put in done} == {
        name for name in before if name.startswith(("log/0", "checkpoint", FORMAT))
    }
    assert is_well(world, world.long)


def test_entries_in_each_others_places(world: World) -> None:
    before = everything(world.store)
    swap(world.store / entry_name(2), world.store / entry_name(7))
    assert len(repair(world, world.store)) == 2
    assert everything(world.store) == before


def test_a_format_that_can_be_read_and_is_another(world: World) -> None:
    """It has no checksum: only the first entry tells that it was changed."""
    before = everything(world.store)
    path = world.store / FORMAT
    at = before[FORMAT].index(b'"id": "') + 7
    changed = bytearray(before[FORMAT])
    changed[at] = ord("0") if changed[at] != ord("0") else ord("1")
    path.write_bytes(changed)
    with pytest.raises(IntegrityError, match=r"does not follow format\.json") as caught:
        Store.open(str(world.store), settings=world.settings("warm")).classes()
    assert "ama push --repair" in (words_of(caught.value.hints) or "")
    assert repair(world, world.store) == (PutBack(FORMAT, "damaged", "cache"),)
    assert everything(world.store) == before


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_what_is_left_of_a_format_may_be_enough(world: World, keep: float) -> None:
    """What it says beside the id is known, and the first entry proves it."""
    before = everything(world.store)
    truncate(keep)(world.store / FORMAT)
    assert b'"read"' not in (world.store / FORMAT).read_bytes() or keep == 0.9
    assert repair(world, world.store, "cold") == (PutBack(FORMAT, "damaged", "id"),)
    assert everything(world.store) == before


@pytest.mark.parametrize("of", [V1, V1.parent / "byte-planes"])
def test_what_is_left_of_a_format_of_the_version_before(
    world: World, tmp_path: Path, of: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(of, store)
    before = everything(store)
    truncate(0.7)(store / FORMAT)
    assert repair(world, store, "cold")[0] == PutBack(FORMAT, "damaged", "id")
    assert (store / FORMAT).read_bytes() == before[FORMAT]


@pytest.mark.parametrize("name", CHAIN)
def test_another_store_of_the_same_id_has_it(world: World, tmp_path: Path, name: str) -> None:
    before = everything(world.long)
    shutil.copytree(world.long, tmp_path / "copy")
    (world.long / name).unlink()
    done = repair(world, world.long, "cold", none=tmp_path / "none", copy=tmp_path / "copy")
    assert done == (PutBack(name, "missing", str(tmp_path / "copy")),)
    assert everything(world.long) == before


def test_what_was_seen_of_a_copy_is_remembered_too(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.long, tmp_path / "copy")
    before = everything(tmp_path / "copy")
    (tmp_path / "copy" / FORMAT).unlink()
    (tmp_path / "copy" / entry_name(69)).write_bytes(b"")
    settings = world.settings("warm")
    refused(world, tmp_path / "copy")
    (tmp_path / "copy" / FORMAT).write_bytes(before[FORMAT])
    repair_log(tmp_path / "copy", settings=settings)
    assert everything(tmp_path / "copy") == before


def test_entries_are_remembered_however_long_the_log(world: World) -> None:
    """Where what is remembered of them is added up, they are kept beside it."""
    store = Store.open(str(world.long), settings=world.settings("warm"))
    for move in range(2 * 64):
        store.move_alias("models", "tested", str(move % 2 + 1))
    base, entries = decode_view(cache_of(world, world.long).get(VIEW) or b"")
    assert base.number > 64
    assert len(entries) <= 128
    before = everything(world.long)
    for number in (1, 64, 129, 130, 197, 198):
        (world.long / entry_name(number)).write_bytes(b"")
    with pytest.raises(IntegrityError) as caught:
        Store.open(str(world.long), settings=world.settings("warm")).classes()
    assert "as this machine remembers it: ama push --repair" in (words_of(caught.value.hints) or "")
    assert len(repair(world, world.long)) == 6
    assert everything(world.long) == before


def test_what_fsck_and_downloads_have_read_is_remembered(world: World) -> None:
    """Who begins at a checkpoint needs no entry before it, and so has seen none."""
    before = everything(world.long)
    store = Store.open(str(world.long), settings=world.settings())
    store.classes()
    store.resolve("models/1").files()
    (world.long / entry_name(1)).unlink()
    (world.long / entry_name(70)).unlink()
    with pytest.raises(IntegrityError, match="log entry 1 is missing"):
        repair(world, world.long, "cold")
    assert everything(world.long).keys() == before.keys() - {entry_name(1)}
    (world.long / entry_name(1)).write_bytes(before[entry_name(1)])
    assert store.fsck().ok
    for number in range(1, 65):
        (world.long / entry_name(number)).unlink()
    assert len(repair(world, world.long, "cold")) == 64
    assert everything(world.long) == before


def test_what_fsck_saw_damaged_is_not_taken_for_it(world: World) -> None:
    flip(0.5)(world.store / entry_name(3))
    assert not is_well(world, world.store)
    world.forget()
    Store.open(str(world.store), settings=world.settings()).fsck()
    assert "a machine that has seen it" in (
        words_of(refused(world, world.store, "cold").hints) or ""
    )
    with pytest.raises(IntegrityError) as caught:
        Store.open(str(world.store), settings=world.settings()).aliases()
    assert "on a machine that has seen it: ama push --repair" in (
        words_of(caught.value.hints) or ""
    )


# What nothing in the store vouches for


@pytest.mark.parametrize("hint", ["missing", "damaged", "behind"])
def test_a_damaged_last_entry_is_as_this_machine_remembers_it(world: World, hint: str) -> None:
    before = everything(world.store)
    if hint == "behind":
        rewind(world.store, 6)
    else:
        (world.store / HINT).write_bytes(b"")
        if hint == "missing":
            (world.store / HINT).unlink()
    flip(0.5)(world.store / entry_name(7))
    done = repair(world, world.store)
    assert done[0] == PutBack(entry_name(7), "damaged", "cache")
    if hint == "behind":
        rewind(world.store, 7)
    assert everything(world.store) == before


@pytest.mark.parametrize("hint", ["missing", "behind"])
def test_a_missing_end_is_not_put_back(world: World, run: Ama, hint: str) -> None:
    """It may have been taken back on purpose: that is accepted, or restored, by whoever knows."""
    for number in (6, 7):
        (world.store / entry_name(number)).unlink()
    rewind(world.store, 5)
    if hint == "missing":
        (world.store / HINT).unlink()
    assert "log entry 7 of" in refused(world, world.store).message
    before = everything(world.store)
    (world.now / "new").mkdir()
    run.ok("init", "new", cwd=world.now / "new")
    for place in (world.work, world.now / "new", world.now):
        told = run("push", "--repair", cwd=place, env=environment(world))
        assert told.code == 6
        assert "log entry 7 of" in told.stderr
        assert "ama fetch --force" in told.stderr
        assert "is whole" not in told.stdout
        assert everything(world.store) == before
    run.ok("fetch", "--force", cwd=world.work, env=environment(world))
    run.ok("push", "--repair", cwd=world.work, env=environment(world))
    assert decode_hint((world.store / HINT).read_bytes())[0] >= 5
    assert is_well(world, world.store)


def test_what_is_before_a_missing_end_is_put_back(world: World) -> None:
    before = everything(world.store)
    for number in (3, 6, 7):
        (world.store / entry_name(number)).unlink()
    rewind(world.store, 5)
    with pytest.raises(IntegrityError, match="log entry 7 of"):
        repair(world, world.store)
    assert sorted(name for name in before if name not in everything(world.store)) == [
        entry_name(6),
        entry_name(7),
    ]


def test_what_hint_names_is_lost_and_not_taken_back(world: World) -> None:
    """The store says itself that it had them; readers refuse it until they are there again."""
    before = everything(world.store)
    for number in (6, 7):
        (world.store / entry_name(number)).unlink()
    with pytest.raises(IntegrityError) as caught:
        Store.open(str(world.store), settings=world.settings("warm")).aliases()
    assert "ama push --repair" in (words_of(caught.value.hints) or "")
    assert len(repair(world, world.store)) == 2
    assert everything(world.store) == before


def test_no_hole_is_made_behind_the_end(world: World, tmp_path: Path) -> None:
    """Of what HINT names, all or nothing is put back."""
    shutil.copytree(world.store, tmp_path / "copy")
    (tmp_path / "copy" / entry_name(6)).unlink()
    for number in (6, 7):
        (world.store / entry_name(number)).unlink()
    error = refused(world, world.store, "cold", copy=tmp_path / "copy")
    assert "log entry 6 is missing" in error.message


def test_nothing_is_put_back_on_the_word_of_a_hint_that_does_not_fit(world: World) -> None:
    """It names an end that this machine has not seen: what it saw before it is no part of that."""
    for number in (6, 7):
        (world.store / entry_name(number)).unlink()
    (world.store / HINT).write_bytes(encode_hint(7, bytes(32)))
    assert "log entry 7 is missing" in refused(world, world.store).message


# What must not be put back


def tamper(world: World, store: Path, number: int) -> None:
    """Change a remembered entry, with every checksum right, and the ones after it to follow."""
    cache = cache_of(world, store)
    own = cache.path(VIEW)
    assert own is not None
    for other in own.parent.parent.iterdir():
        if other != own.parent:  # of a copy, which is as good
            shutil.rmtree(other)
    base, entries = decode_view(cache.get(VIEW) or b"")
    changed = list(entries)
    for at in range(number - base.number - 1, len(changed)):
        entry = decode_entry(changed[at])
        if entry.number == number:
            entry = replace(entry, author="Eve")
        else:
            entry = replace(entry, previous=entry_hash(changed[at - 1]))
        changed[at] = encode_entry(entry)
    body = canonical.encode((encode_checkpoint(base), changed))
    cache.put(VIEW, body + seal(body))


@pytest.mark.parametrize("hint", [True, False])
@pytest.mark.parametrize("number", [1, 3, 7])
def test_a_tampered_memory_is_of_no_use(world: World, number: int, hint: bool) -> None:
    tamper(world, world.store, number)
    flip(0.5)(world.store / entry_name(number))
    if not hint:
        (world.store / HINT).unlink()
    error = refused(world, world.store)
    assert isinstance(error, IntegrityError)
    assert f"log entry {number} is damaged, and nothing that is known here fits" in error.message
    assert "restore it from a backup" in (words_of(error.hints) or "")


def test_a_tampered_memory_of_the_end_is_of_no_use_either(world: World) -> None:
    """What was seen last is noted twice, and HINT's word is the third."""
    tamper(world, world.store, 7)
    cache = cache_of(world, world.store)
    last = decode_view(cache.get(VIEW) or b"")[1][-1]
    cache.put(END, encode_hint(7, entry_hash(last)))
    flip(0.5)(world.store / entry_name(7))
    error = refused(world, world.store)
    assert "log entry 7" in error.message


@pytest.mark.parametrize("name", [entry_name(1), entry_name(3), entry_name(7), FORMAT])
@pytest.mark.parametrize("damage", ["empty", "delete"])
def test_without_memory_and_copy(world: World, run: Ama, name: str, damage: str) -> None:
    DAMAGES[damage](world.store / name)
    error = refused(world, world.store, "cold")
    assert isinstance(error, IntegrityError)
    what = f"log entry {int(name[4:])}" if name != FORMAT else FORMAT
    was = "missing" if damage == "delete" else "damaged"
    assert f"{what} is {was}, and nothing that is known here fits" in error.message
    assert "restore it from a backup" in (words_of(error.hints) or "")
    told = run("push", "--repair", "--remote", world.store, env=environment(world, "cold"))
    assert told.code == 6
    assert what in told.stderr


def test_a_forked_history_is_refused(world: World, run: Ama) -> None:
    rewrite(world.store, 5, 7)
    rewind(world.store, 7)
    flip(0.5)(world.store / entry_name(2))
    error = refused(world, world.store)
    assert "is not the one that was there before: its history was changed" in error.message
    told = run("push", "--repair", cwd=world.work, env=environment(world))
    assert (told.code, "ama fetch --force" in told.stderr) == (6, True)


@pytest.mark.parametrize("cache", ["warm", "cold"])
def test_a_sound_entry_of_another_history_is_never_overwritten(world: World, cache: str) -> None:
    """Somebody has published it: it is no damage."""
    rewrite(world.store, 3, 3)
    flip(0.5)(world.store / entry_name(1))
    error = refused(world, world.store, cache)
    assert "log entry 3" in error.message
    assert "is of another history: it is sound, but entry 4 does not follow it" in error.message


def test_a_damaged_last_entry_after_another_one(world: World) -> None:
    """What is remembered doesn't fit the entry before it."""
    rewrite(world.store, 6, 6)
    (world.store / HINT).unlink()
    flip(0.5)(world.store / entry_name(7))
    assert "log entry 6" in refused(world, world.store).message


def test_a_hint_of_another_history(world: World) -> None:
    """It is derived; but where nothing else tells which of two entries is the right one..."""
    (world.store / HINT).write_bytes(encode_hint(7, bytes(32)))
    assert "log entry 7" in refused(world, world.store, "cold").message
    # ... this machine's memory does.
    assert repair(world, world.store) == (PutBack(HINT, "damaged", "log"),)


def test_hint_may_lie_about_the_length(world: World) -> None:
    (world.store / HINT).write_bytes(encode_hint(999_999_999_999, bytes(32)))
    error = refused(world, world.store)
    assert "log entry 999999999999 is missing" in error.message


# Several at once


class Meanwhile:
    """A storage in which something happens right before the first write."""

    def __init__(self, inner: Storage, happens: Callable[[], object]) -> None:
        self._inner = inner
        self._happens = happens
        self._done = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def create(self, name: str, data: Buffer) -> None:
        self._once()
        self._inner.create(name, data)

    def replace(self, name: str, data: Buffer) -> None:
        self._once()
        self._inner.replace(name, data)

    def _once(self) -> None:
        if not self._done:
            self._done = True
            self._happens()


@pytest.mark.parametrize("damage", ["delete", "flip-middle"])
@pytest.mark.parametrize("name", [*CHAIN, HINT, CHECKPOINT])
def test_another_one_repairs_meanwhile(world: World, name: str, damage: str) -> None:
    before = everything(world.long)
    DAMAGES[damage](world.long / name)
    if name != FORMAT:
        DAMAGES[damage](world.long / entry_name(5))
    storage = Meanwhile(open_storage(str(world.long)), lambda: repair(world, world.long))
    mend(storage, world.settings("warm").cache_dir)
    assert everything(world.long) == before
    assert is_well(world, world.long)


def test_many_at_once(world: World) -> None:
    before = everything(world.long)
    for name in (*CHAIN, CHECKPOINT, HINT, *(entry_name(n) for n in range(20, 25))):
        (world.long / name).unlink() if "3" in name else flip(0.5)(world.long / name)
    start = threading.Barrier(4)
    ends: list[object] = []

    def one() -> None:
        start.wait()
        try:
            ends.append(repair(world, world.long))
        except AmaError as error:
            ends.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(end, tuple) for end in ends), ends
    assert everything(world.long) == before


def test_what_somebody_else_writes_is_not_overwritten(world: World) -> None:
    """Whoever puts it back from a backup, or has taken the end back and published anew."""
    path = world.store / entry_name(7)
    whole = path.read_bytes()
    other = encode_entry(replace(decode_entry(whole), author="Eve"))
    path.write_bytes(b"")
    inner = open_storage(str(world.store))

    class Late:
        """One who reads the log sees it damaged, and when it is read again it isn't."""

        reads = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def read(self, ranges: Any) -> Any:
            if [wanted.name for wanted in ranges] == [entry_name(7)]:
                path.write_bytes(other)
            return inner.read(ranges)

    with pytest.raises(Conflict, match="was written by somebody else meanwhile"):
        mend(Late(), world.settings("warm").cache_dir)
    assert path.read_bytes() == other


def test_a_storage_that_can_not_be_written_to(world: World) -> None:
    (world.store / entry_name(3)).unlink()
    before = everything(world.store)
    storage = ReadOnlyStorage(open_storage(str(world.store)))
    with pytest.raises(StorageError, match="is not safe"):
        mend(storage, world.settings("warm").cache_dir)
    assert everything(world.store) == before


# Over other storages


def fill(storage: Storage, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        storage.put(name, data)


def held(storage: Storage) -> dict[str, bytes]:
    from ama.storage.protocol import Range

    names = sorted(name for name, _ in storage.list(""))
    found = storage.read([Range(name) for name in names])
    return {name: data or b"" for name, data in zip(names, found, strict=True)}


def check_over(storage: Storage, world: World, tmp_path: Path) -> None:
    """Damage a store in a storage in each way, and repair it from what was seen there."""
    files = everything(world.long)
    fill(storage, files)
    cache_dir = tmp_path / "cache"
    assert Remote.open(storage, cache_dir).view().number == 70
    numbers = (66, 70)  # it was read from the checkpoint on
    for name in (*map(entry_name, numbers), FORMAT, HINT, CHECKPOINT):
        for damaged in (b"", files[name][:-1], None):
            if damaged is None:
                storage.delete(name)
            else:
                storage.replace(name, damaged)
            done = mend(storage, cache_dir).done
            assert [put.where for put in done] == [name], (name, damaged)
            assert held(storage) == files


def test_over_memory(world: World, tmp_path: Path) -> None:
    check_over(MemoryStorage("mending"), world, tmp_path)


@pytest.mark.parametrize("kind", servers.WRITABLE)
def test_over_a_network(world: World, tmp_path: Path, kind: str) -> None:
    check_over(servers.start(kind).storage(os.urandom(8).hex()), world, tmp_path)


# The real command


def environment(world: World, cache: str = "warm") -> dict[str, str]:
    return {
        "AMA_CACHE_DIR": str(world.now / cache),
        "AMA_REMOTE": str(world.store),
        "AMA_AUTHOR": "Ann <ann@example.org>",
    }


@pytest.mark.parametrize("damage", FEW)
@pytest.mark.parametrize("name", [*CHAIN, HINT, CHECKPOINT])
def test_the_command(world: World, run: Ama, name: str, damage: str) -> None:
    before = everything(world.long)
    FEW[damage](world.long / name)
    env = {**environment(world), "AMA_REMOTE": str(world.long)}
    if name.startswith(("log/0", FORMAT)):
        told = run("alias", "list", env=env)
        fsck = run("fsck", env=env)
        assert fsck.code == 6
        assert "ama push --repair" in fsck.output
        if told.code:
            assert "ama push --repair" in told.stderr
    told = run.ok("push", "--repair", env=env)
    was = "missing" if damage == "delete" else "damaged"
    assert told.stdout.startswith(f"put back {name}, which was {was}: as ")
    assert everything(world.long) == before
    run.ok("fsck", env=env)
    assert run.ok("push", "--repair", env=env).stdout == f"the log of {world.long} is whole\n"


@pytest.mark.parametrize("name", [FORMAT, entry_name(3), entry_name(7), HINT])
def test_the_command_in_a_worktree(world: World, run: Ama, name: str) -> None:
    """It repairs what it has of the content, too."""
    before = everything(world.store)
    flip(0)(world.store / name)
    done = run.ok("push", "--repair", "--json", cwd=world.work, env=environment(world)).json()
    source = "log" if name == HINT else "cache"
    assert done["put_back"] == [{"where": name, "was": "damaged", "source": source}]
    assert done["repaired"] == 0
    assert everything(world.store) == before
    flip(0)(world.store / name)
    told = run.ok("push", "--repair", cwd=world.work, env=environment(world)).stdout
    first, *_, last = told.splitlines()
    assert first.startswith(f"put back {name}, which was damaged: as ")
    assert last == f"read back what {world.store} has of it: all else is well"
    assert everything(world.store) == before


def test_the_command_in_a_worktree_without_an_asset(world: World, run: Ama) -> None:
    run.ok("init", "new", cwd=world.now)
    (world.store / entry_name(3)).unlink()
    told = run.ok("push", "--repair", cwd=world.now, env=environment(world)).stdout
    assert told.splitlines() == [
        f"put back {entry_name(3)}, which was missing: as this machine remembers it"
    ]
    told = run.ok("push", "--repair", cwd=world.now, env=environment(world)).stdout
    assert told == f"the log of {world.store} is whole\n"


def test_json_outside_of_a_worktree(world: World, run: Ama) -> None:
    (world.store / FORMAT).unlink()
    done = run.ok("push", "--repair", "--json", env=environment(world)).json()
    assert done == {
        "remote": str(world.store),
        "put_back": [{"where": FORMAT, "was": "missing", "source": "cache"}],
    }


def test_content_is_repaired_though_an_entry_is_lost_for_good(world: World, run: Ama) -> None:
    """A checkpoint knows what it said; and what could not be had is said at the end."""
    env = {**environment(world, "cold"), "AMA_REMOTE": str(world.long)}
    (world.long / entry_name(30)).unlink()
    packs = (world.long / "packs").rglob("*.pack")
    largest = max(packs, key=lambda path: path.stat().st_size)
    largest.unlink()
    told = run("push", "--repair", cwd=world.work, env=env)
    assert told.code == 6
    assert "log entry 30 is missing, and nothing that is known here fits" in told.stderr
    run.ok("cat", "models/1:model.bin", env=env)


@pytest.mark.parametrize("name", [FORMAT, entry_name(3)])
def test_what_is_no_file_is_in_the_place(world: World, name: str) -> None:
    path = world.long / name
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match="no file is in the place of") as caught:
        repair(world, world.long)
    assert "move it away" in (words_of(caught.value.hints) or "")
    path.rmdir()
    assert repair(world, world.long) == (PutBack(name, "missing", "cache"),)
    assert is_well(world, world.long)


@pytest.mark.parametrize("left", ["no log", "no format", "nothing", "no directory"])
def test_what_is_gone_is_not_whole(world: World, run: Ama, left: str) -> None:
    """Of a log that says nothing at all, nothing is missing; but it is not what was seen."""
    if left == "no log":
        shutil.rmtree(world.store / "log")
    elif left == "no format":
        shutil.rmtree(world.store / "log")
        (world.store / FORMAT).unlink()
    else:
        shutil.rmtree(world.store)
        if left == "nothing":
            world.store.mkdir()
    with pytest.raises((IntegrityError, StorageError)):
        repair(world, world.store)
    (world.now / "new").mkdir()
    run.ok("init", "new", cwd=world.now / "new")
    for place in (world.now, world.now / "new"):
        told = run("push", "--repair", cwd=place, env=environment(world))
        assert told.code in (6, 8)
        assert "is whole" not in told.stdout
        assert told.stderr.startswith("error: ")


def test_where_there_never_was_a_store_nothing_is_whole(world: World, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(NotFound):
            repair(world, place)
