"""Publishing at the same time as others, with answers that get lost, next to gc: one entry each,
nothing lost, nothing doubled, and nothing visible that can't be read.
"""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ama.operations.connections
import ama.system.fs
import ama.transfer.publish
from ama import Repo, Settings, Store
from ama.errors import (
    AlreadyExists,
    AmaError,
    Conflict,
    FormatError,
    IntegrityError,
    InvalidInput,
    StorageError,
)
from ama.format import canonical
from ama.format.checkpoint import decode_checkpoint, encode_checkpoint
from ama.format.conversion import checkpoint_of
from ama.format.entries import (
    MAX_TIME,
    Entry,
    Event,
    Feature,
    Gc,
    MoveAlias,
    Publish,
    Purged,
    Unknown,
    decode_entry,
    encode_entry,
    entry_hash,
    entry_name,
)
from ama.format.hashing import blob_id, seal
from ama.format.packindex import PackIndex, encode_index
from ama.format.state import AliasRecord, AssetRecord, ClassState, Root
from ama.storage.local import LocalStorage
from ama.storage.protocol import Buffer, Range, Storage
from ama.storage.urls import open_storage
from ama.stores.cache import Cache
from ama.stores.log_files import HINT, checkpoint_name, segment_name
from ama.stores.log_reader import CHECKPOINT_EVERY
from ama.stores.log_view import LogView, When
from ama.stores.object_reader import index_name, pack_name
from ama.stores.pack_writer import PackWriter
from ama.stores.remote import FORMAT, Remote
from ama.system.syscalls import System
from ama.transfer.push import Push
from ama.wording.hints import words
from damage import flip

AUTHOR = "Bob <bob@example.org>"


class Died(BaseException):
    """The process is gone: nothing that catches errors sees it."""


class HookedStorage:
    """A storage that asks a hook before each create of a log entry.

    The hook is called with the number of the try, the entry's name and its bytes, and a function
    that performs the create; what it raises is what the caller sees.
    """

    def __init__(self, inner: Storage, hook: Callable[[int, str, bytes], None]) -> None:
        self.inner = inner
        self.tries = 0
        self.writes: list[str] = []
        self._hook = hook

    @property
    def url(self) -> str:
        return self.inner.url

    @property
    def can_create(self) -> bool:
        return self.inner.can_create

    @property
    def across_network(self) -> bool:
        return self.inner.across_network

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        return self.inner.read(ranges)

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        return self.inner.sizes(names)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        return self.inner.list(prefix)

    def put(self, name: str, data: Buffer) -> None:
        self.writes.append(name)
        self.inner.put(name, data)

    def create(self, name: str, data: Buffer) -> None:
        if name.startswith("log/"):
            self.tries += 1
            self._hook(self.tries, name, bytes(data))
        self.writes.append(name)
        self.inner.create(name, data)

    def replace(self, name: str, data: Buffer) -> None:
        self.writes.append(name)
        self.inner.replace(name, data)

    def delete(self, name: str) -> None:
        self.inner.delete(name)

    def cancel(self) -> None:
        self.inner.cancel()


class Team:
    """Worktrees of several people, and one store."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.url = str(root / "store")
        self._patch = monkeypatch
        self._caches = 0

    def worktree(self, name: str, class_name: str = "models") -> Repo:
        directory = self.root / name
        directory.mkdir()
        return Repo.init(directory, class_name)

    def again(self, name: str) -> Repo:
        """The same worktree, in a new process."""
        return Repo.open(self.root / name)

    def published(self, name: str, files: dict[str, bytes], **noted: Any) -> Repo:
        repo = self.worktree(name)
        write(repo.root, files)
        repo.add(["."])
        if noted:
            repo.set(**noted)
        repo.upload()
        return repo

    def settings(self) -> Settings:
        """Those of somebody who has seen nothing of the store yet."""
        self._caches += 1
        return replace(Settings.load(None), cache_dir=self.root / f"cache-{self._caches}")

    def store(self) -> Store:
        """The store, as a machine sees it that has never seen it."""
        return Store.open(self.url, settings=self.settings())

    def remote(self) -> Remote:
        return Remote.open(LocalStorage(Path(self.url)), None)

    def append(self, *events: Event) -> int:
        """Somebody else publishes an entry."""
        done = self.remote().log.append(lambda view: events, author=AUTHOR, now=microseconds)
        assert done is not None
        return done.number

    def hooked(self, hook: Callable[[int, str, bytes], None]) -> HookedStorage:
        """From now on, worktrees use the store through this."""
        storage = HookedStorage(LocalStorage(Path(self.url)), hook)

        def opened(url: str, options: object = None) -> Storage:
            return storage if url == self.url else open_storage(url)

        self._patch.setattr(ama.operations.connections, "open_storage", opened)
        return storage

    def unhooked(self) -> None:
        self._patch.setattr(ama.operations.connections, "open_storage", open_storage)

    def log(self) -> list[Entry]:
        """Every entry, checked to be a chain without a hole."""
        found = sorted(path for path in Path(self.url, "log").iterdir() if path.name.isdigit())
        entries = [decode_entry(path.read_bytes()) for path in found]
        assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
        previous = entry_hash(Path(self.url, FORMAT).read_bytes())
        for entry, path in zip(entries, found, strict=True):
            assert entry.previous == previous
            previous = entry_hash(path.read_bytes())
        return entries

    def check(self) -> dict[str, dict[str, bytes]]:
        """That the store is sound, every asset published once; all assets' files by name."""
        store = self.store()
        report = store.fsck()
        assert report.ok, report.problems
        published = [e.asset for entry in self.log() for e in entry.events if type(e) is Publish]
        assert len(published) == len(set(published))
        found = {}
        for named in store.classes():
            for info in store.assets(named.name):
                name = f"{named.name}/{info.number}"
                asset = self.store().resolve(name)
                found[name] = {file.path: asset.read(file.path) for file in asset.files()}
        assert len(found) == len(published)
        return found


def microseconds() -> int:
    return time.time_ns() // 1000


def write(directory: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


class Unsynced(System):
    """The real calls, but nothing is synced: tests lose no power."""

    def fsync(self, fd: int) -> None:
        pass


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    config = tmp_path / "config"
    config.mkdir()
    (config / "config.toml").write_text('[user]\nname = "Ann"\nemail = "ann@example.org"\n')
    monkeypatch.setenv("AMA_CONFIG_DIR", str(config))
    monkeypatch.setenv("AMA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("AMA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "store"))
    monkeypatch.setattr(ama.system.fs, "_os", Unsynced())
    return Team(tmp_path, monkeypatch)


# Several processes at once

UPLOADS = """
import json, sys, time
from pathlib import Path
from ama import Repo
from ama.errors import AmaError
root, start, name, count = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
repo = Repo.open(root)
print("ready", flush=True)
sys.stdin.readline()
done = []
for number in range(count):
    path = root / f"{name}-{number}.txt"
    path.write_text(f"{name} {number}")
    try:
        repo.add([path])
        repo.set(aliases=[f"of-{name}"])
        done.append([asset.id for asset in repo.upload().published])
    except AmaError as error:
        done.append([error.code, error.message])
print(json.dumps(done))
"""


def race(team: Team, worktrees: Sequence[str], count: int) -> list[list[list[str]]]:
    """Let a process for each worktree upload several times; what each of them reports."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", UPLOADS, team.root / tree, team.root, f"p{at}", str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for at, tree in enumerate(worktrees)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return [json.loads(output) for output in outputs]


def test_eight_processes_publish_to_one_store_at_once(team: Team) -> None:
    names = [f"w{at}" for at in range(8)]
    for at, name in enumerate(names):
        team.worktree(name, "models" if at % 2 else f"class{at}")
    done = race(team, names, 3)
    ids = [asset for uploads in done for upload in uploads for asset in upload]
    assert len(ids) == len(set(ids)) == 24, done
    entries = team.log()
    assert len(entries) == 24
    contents = team.check()
    assert sorted(name for name in contents if name.startswith("models/")) == sorted(
        f"models/{number}" for number in range(1, 13)
    )
    for at, uploads in enumerate(done):
        for number, (asset,) in enumerate(uploads):
            found = team.store().resolve(asset)
            assert found.read(f"p{at}-{number}.txt") == f"p{at} {number}".encode()
        class_name = "models" if at % 2 else f"class{at}"
        newest = team.store().resolve(f"{class_name}@of-p{at}")
        assert newest.info.id == uploads[-1][0]
        history = team.store().alias_history(class_name, f"of-p{at}")
        assert [move.asset for move in history] == [asset for (asset,) in reversed(uploads)]


def test_two_processes_publish_from_one_worktree_at_once(team: Team) -> None:
    repo = team.worktree("shared")
    write(repo.root, {"first.txt": b"first"})
    repo.add(["."])
    repo.upload()
    done = race(team, ["shared", "shared"], 4)
    for upload in (upload for uploads in done for upload in uploads):
        assert not upload or len(upload[0]) == 64 or upload[0] == Conflict.code, upload
    contents = team.check()
    published = {a for uploads in done for upload in uploads for a in upload if len(a) == 64}
    assert published <= {info.id for info in team.store().assets("models")}
    # Whatever was refused takes effect with the next upload: no file is lost or forgotten.
    repo = team.again("shared")
    assert repo.fsck().ok
    repo.add(["."])
    repo.upload()
    expected = {f"p{at}-{n}.txt": f"p{at} {n}".encode() for at in range(2) for n in range(4)}
    newest = team.store().resolve("models")
    assert {f.path: newest.read(f.path) for f in newest.files()} == {
        "first.txt": b"first",
        **expected,
    }
    assert len(team.check()) >= len(contents)
    status = repo.status()
    assert (status.staged, status.changed, status.unpublished) == ((), (), ())


def test_two_processes_make_a_store_at_once(team: Team) -> None:
    settings = team.settings()
    url = str(team.root / "store")

    def make(other: str) -> None:
        Remote.create(LocalStorage(Path(other)), None)

    class Late(LocalStorage):
        def create(self, name: str, data: Buffer) -> None:
            make(url)
            super().create(name, data)

    remote, created = Remote.create(Late(Path(url)), settings.cache_dir)
    assert not created
    assert remote.format.id == Store.open(url).id


# Answers that get lost


@pytest.mark.parametrize(
    "answer",
    [
        StorageError("no answer in time", retryable=True),
        StorageError("the connection was cut", retryable=False),
        AlreadyExists("it exists, says the retry"),
    ],
    ids=["time-out", "cut", "exists"],
)
def test_an_entry_whose_answer_was_lost_is_known_by_its_bytes(team: Team, answer: AmaError) -> None:
    repo = team.worktree("w")
    write(repo.root, {"a": b"a"})
    repo.add(["."])
    storage = team.hooked(lambda number, name, data: lose(number, name, data))

    def lose(number: int, name: str, data: bytes) -> None:
        storage.inner.create(name, data)
        raise answer

    result = repo.upload()
    assert [asset.number for asset in result.published] == [1]
    assert storage.tries == 1
    assert len(team.log()) == 1
    assert team.check() == {"models/1": {"a": b"a"}}
    assert repo.head is not None
    assert repo.head.id == result.published[0].id
    assert repo.upload().published == ()


def test_a_create_that_did_not_happen_is_tried_again_with_the_same_bytes(team: Team) -> None:
    repo = team.worktree("w")
    write(repo.root, {"a": b"a"})
    repo.add(["."])
    tried: list[bytes] = []

    def fail(number: int, name: str, data: bytes) -> None:
        tried.append(data)
        if number < 3:
            raise StorageError("409 Conflict", retryable=True)

    team.hooked(fail)
    repo.upload()
    assert len(tried) == 3
    assert len(set(tried)) == 1
    assert team.check() == {"models/1": {"a": b"a"}}


@pytest.mark.parametrize(
    "answer",
    [StorageError("409 Conflict", retryable=True), AlreadyExists("somebody was faster")],
    ids=["409", "exists"],
)
def test_who_loses_a_number_takes_the_next_one(team: Team, answer: AmaError) -> None:
    team.published("other", {"o": b"o"})
    repo = team.worktree("w")
    write(repo.root, {"a": b"a"})
    repo.add(["."])
    target = team.store().resolve("models/1").info.id

    def lose(number: int, name: str, data: bytes) -> None:
        if number <= 3:
            team.append(MoveAlias("models", f"taken-{number}", bytes.fromhex(target)))
            raise answer

    storage = team.hooked(lose)
    assert [asset.number for asset in repo.upload().published] == [2]
    assert storage.tries == 4
    entries = team.log()
    assert [entry.author for entry in entries[1:4]] == [AUTHOR] * 3
    assert len(entries) == 5
    packs = [name for name in storage.writes if name.startswith("packs/")]
    assert len(packs) == len(set(packs)) == 2, "content was sent once, however many tries it took"
    assert team.check() == {"models/1": {"o": b"o"}, "models/2": {"a": b"a"}}


def test_a_create_that_may_have_happened_is_settled_by_the_next_command(team: Team) -> None:
    """The storage fails, and can't be asked: the note waits, and the next command settles it."""
    repo = team.worktree("w")
    write(repo.root, {"a": b"a"})
    repo.add(["."])
    repo.set(aliases=["best"])

    def arrive_and_fail(number: int, name: str, data: bytes) -> None:
        storage.inner.create(name, data)
        storage.read = lost  # type: ignore[method-assign]
        raise StorageError("no answer", retryable=True)

    def lost(ranges: Sequence[Range]) -> list[bytes | None]:
        raise StorageError("no answer", retryable=True)

    storage = team.hooked(arrive_and_fail)
    with pytest.raises(StorageError):
        repo.upload()
    assert (repo.root / ".ama" / "pending" / "publish").exists()
    with pytest.raises(StorageError):
        team.again("w").upload()
    team.unhooked()
    repo = team.again("w")
    assert repo.upload().published == ()
    assert repo.head is not None
    assert repo.head.number == 1
    assert repo.status().clean
    assert len(team.log()) == 1
    team.check()


# Crashes between the steps


def crash(before: bool, team: Team) -> HookedStorage:
    def die(number: int, name: str, data: bytes) -> None:
        if not before:
            storage.inner.create(name, data)
        raise Died

    storage = team.hooked(die)
    return storage


def prepared(team: Team) -> Repo:
    repo = team.worktree("w")
    write(repo.root, {"a": b"a", "large": noise(1, 1_500_000)})
    repo.add(["."])
    repo.set(aliases=["best"], message="first")
    return repo


def test_a_crash_between_the_entry_and_head(team: Team) -> None:
    repo = prepared(team)
    crash(False, team)
    with pytest.raises(Died):
        repo.upload()
    team.unhooked()
    repo = team.again("w")
    assert repo.head is None
    result = repo.upload()
    assert result.published == ()
    assert result.aliases == ()
    assert repo.head is not None
    assert (repo.head.number, repo.head.message) == (1, "first")
    assert repo.status().clean
    assert not list((repo.root / ".ama" / "pending").iterdir())
    assert len(team.log()) == 1
    assert team.store().resolve("models@best").info.number == 1
    team.check()


def test_what_is_set_after_a_crash_is_not_lost_with_the_old_head(team: Team) -> None:
    repo = prepared(team)
    crash(False, team)
    with pytest.raises(Died):
        repo.upload()
    team.unhooked()
    repo = team.again("w")
    repo.set(aliases=["later"])
    repo.upload()
    assert team.store().resolve("models@later").info.number == 1
    assert len(team.check()) == 1


def test_a_commit_after_a_crash_comes_from_what_was_published(team: Team) -> None:
    repo = prepared(team)
    crash(False, team)
    with pytest.raises(Died):
        repo.upload()
    team.unhooked()
    repo = team.again("w")
    write(repo.root, {"a": b"changed"})
    repo.add(["."])
    repo.commit("second")
    repo.push()
    second = team.store().resolve("models/2")
    assert [parent.info.number for parent in second.parents()] == [1]
    assert len(team.check()) == 2


def test_a_crash_before_the_create_is_resumed_with_the_same_entry(team: Team) -> None:
    repo = prepared(team)
    tried: list[bytes] = []

    def die(number: int, name: str, data: bytes) -> None:
        tried.append(data)
        raise Died

    team.hooked(die)
    with pytest.raises(Died):
        repo.upload()
    team.unhooked()
    assert not Path(team.url, entry_name(1)).exists()
    repo = team.again("w")
    assert repo.upload().published == ()
    assert Path(team.url, entry_name(1)).read_bytes() == tried[0]
    assert repo.head is not None
    assert repo.head.number == 1
    assert len(team.check()) == 1


def test_a_crash_before_the_create_then_another_takes_the_number(team: Team) -> None:
    repo = prepared(team)
    crash(True, team)
    with pytest.raises(Died):
        repo.upload()
    team.unhooked()
    assert (repo.root / ".ama" / "pending" / "publish").exists()
    team.published("other", {"o": b"o"})
    repo = team.again("w")
    assert [asset.number for asset in repo.upload().published] == [2]
    assert repo.status().clean
    assert len(team.log()) == 2
    files = team.check()
    assert files["models/1"] == {"o": b"o"}
    assert files["models/2"]["a"] == b"a"
    assert team.store().resolve("models@best").info.number == 2


def test_a_note_waits_while_its_store_is_away(team: Team) -> None:
    """A disk that isn't mounted now must not make a published asset be published again."""
    repo = prepared(team)
    crash(False, team)
    with pytest.raises(Died):
        repo.upload()
    team.unhooked()
    away = team.root / "away"
    os.rename(team.url, away)
    repo = team.again("w")
    commands: list[Callable[[], object]] = [
        lambda: repo.upload(remote=str(team.root / "elsewhere")),
        lambda: repo.commit("would be a sibling of what was published"),
        lambda: repo.set(message="would be lost with the old HEAD"),
        lambda: repo.switch("models/1"),
        repo.pull,
        repo.push,
    ]
    for command in commands:
        with pytest.raises(Conflict, match="was interrupted") as caught:
            command()
        assert "pending" in (words(caught.value.hints) or "")
    assert not list(team.root.glob("elsewhere/log/*"))
    assert repo.head is None
    assert (repo.root / ".ama" / "pending" / "publish").exists()
    os.rename(away, team.url)
    repo = team.again("w")
    assert repo.upload().published == ()
    assert len(team.check()) == 1


def test_a_damaged_note_stops_an_upload_that_could_publish_twice(team: Team) -> None:
    repo = prepared(team)
    note = repo.root / ".ama" / "pending" / "publish"
    note.parent.mkdir(exist_ok=True)
    note.write_bytes(b"no note of ama's")
    with pytest.raises(IntegrityError, match="publish is damaged") as caught:
        repo.upload()
    assert str(note) in (words(caught.value.hints) or "")
    assert not Path(team.url, "log").exists()
    note.unlink()
    assert [asset.number for asset in repo.upload().published] == [1]


def test_another_process_settles_a_note_while_its_writer_lives(team: Team) -> None:
    """It publishes the very same entry, and both go on as if they had done it."""
    repo = prepared(team)

    def meanwhile(number: int, name: str, data: bytes) -> None:
        team.unhooked()
        assert team.again("w").upload().published == ()

    team.hooked(meanwhile)
    assert [asset.number for asset in repo.upload().published] == [1]
    assert repo.status().clean
    assert len(team.check()) == 1


def test_a_command_that_is_refused_leaves_no_note(team: Team) -> None:
    """It lost a number, and then had nothing to publish any more: nothing is left to settle."""
    team.published("other", {"o": b"o"}, aliases=["best"])
    store = team.store()
    store.download("models@best", team.root / "w")
    repo = team.again("w")
    write(repo.root, {"a": b"a"})
    repo.add(["."])
    repo.set(aliases=["best"])

    def lose(number: int, name: str, data: bytes) -> None:
        if number == 1:
            team.append(MoveAlias("models", "best", None))

    team.hooked(lose)
    with pytest.raises(Conflict, match="removed"):
        repo.upload()
    assert not list((repo.root / ".ama" / "pending").iterdir())
    assert len(team.log()) == 2


def test_nothing_is_published_once_head_has_moved(team: Team) -> None:
    """Another command of the same worktree commits meanwhile: its commit stays HEAD's."""
    repo = prepared(team)
    moved: list[str] = []
    one_at_a_time = threading.Lock()

    def put(name: str, data: Buffer) -> None:
        with one_at_a_time:
            if not moved:
                other = team.again("w")
                write(other.root, {"b": b"b"})
                other.add(["b"])
                moved.append(other.commit("meanwhile").asset.id)
        HookedStorage.put(storage, name, data)

    storage = team.hooked(lambda number, name, data: None)
    storage.put = put  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="HEAD"):
        repo.upload()
    team.unhooked()
    repo = team.again("w")
    assert repo.head is not None
    assert [repo.head.id] == moved
    assert not list(Path(team.url).glob("log/0*"))
    repo.push()
    assert team.check()["models/1"].keys() == {"a", "b", "large"}


# The log's end, and holes in it


def alias_entries(team: Team, count: int) -> bytes:
    team.published("w", {"a": b"a"})
    asset = bytes.fromhex(team.store().resolve("models/1").info.id)
    for number in range(count):
        team.append(MoveAlias("models", f"n{number % 3}", asset))
    return asset


@pytest.mark.parametrize("hint", ["kept", "deleted"])
@pytest.mark.parametrize("lost", [1, 3, 5])
def test_a_hole_in_the_log_is_never_a_free_place(team: Team, lost: int, hint: str) -> None:
    alias_entries(team, 5)
    Path(team.url, entry_name(lost)).unlink()
    if hint == "deleted":
        Path(team.url, HINT).unlink()
    with pytest.raises(IntegrityError, match=f"entry {lost}"):
        team.store().classes()
    assert not team.store().fsck().ok
    repo = team.worktree("new")
    write(repo.root, {"b": b"b"})
    repo.add(["."])
    shutil.rmtree(team.root / "cache")
    with pytest.raises(IntegrityError, match=f"entry {lost}"):
        repo.upload()
    with pytest.raises(IntegrityError):
        team.append(MoveAlias("models", "x", None))
    assert not Path(team.url, entry_name(lost)).exists()
    assert not Path(team.url, entry_name(7)).exists()


def test_the_last_entry_is_missed_too(team: Team) -> None:
    alias_entries(team, 5)
    Path(team.url, entry_name(6)).unlink()
    with pytest.raises(IntegrityError, match="entry 6"):
        team.store().classes()
    with pytest.raises(IntegrityError, match="entry 6"):
        team.append(MoveAlias("models", "x", None))
    assert not Path(team.url, entry_name(6)).exists()


def test_an_interrupted_publication_does_not_fill_a_hole(team: Team) -> None:
    """Its number is free for it no more, even if the entry that was there is lost."""
    alias_entries(team, 2)
    repo = prepared_in(team, "second")
    crash(True, team)
    with pytest.raises(Died):
        repo.upload()
    team.unhooked()
    asset = bytes.fromhex(team.store().resolve("models/1").info.id)
    for _ in range(3):
        team.append(MoveAlias("models", "other", asset))
    Path(team.url, entry_name(4)).unlink()
    Path(team.url, HINT).unlink()
    shutil.rmtree(team.root / "cache")
    with pytest.raises(IntegrityError, match="entry 4"):
        team.again("second").upload()
    assert not Path(team.url, entry_name(4)).exists()
    assert (repo.root / ".ama" / "pending" / "publish").exists()


def prepared_in(team: Team, name: str) -> Repo:
    repo = team.worktree(name)
    write(repo.root, {"a": name.encode()})
    repo.add(["."])
    return repo


def hints(team: Team) -> dict[str, bytes | None]:
    """Every state that HINT may be in but the right one."""
    found: dict[str, bytes | None] = {"missing": None, "empty": b"", "garbage": noise(1, 200)}
    asset = alias_entries(team, 0)
    path = Path(team.url, HINT)
    found["of the first"] = path.read_bytes()
    for number in range(20):
        team.append(MoveAlias("models", f"n{number % 3}", asset))
        if number == 9:
            found["of the tenth"] = path.read_bytes()
    right = path.read_bytes()
    found["cut off"] = right[:-10]
    found["forged"] = right.replace(b"21 ", b"99 ")
    found["huge"] = b"9" * 100_000 + b"\n" + right
    return found


def test_the_end_is_found_whatever_hint_says(team: Team) -> None:
    for case, hint in hints(team).items():
        path = Path(team.url, HINT)
        if hint is None:
            path.unlink()
        else:
            path.write_bytes(hint)
        state = team.store().remote.view()
        state.require_whole()
        assert state.number >= 21, case
        number = team.append(MoveAlias("models", "after", None, None))
        assert number == state.number + 1, case
    assert len(team.log()) == 21 + len(hints_of(team))
    team.check()


def hints_of(team: Team) -> list[Entry]:
    return [
        entry
        for entry in team.log()
        if any(type(e) is MoveAlias and e.alias == "after" for e in entry.events)
    ]


# Checkpoints


LONG = 2 * CHECKPOINT_EVERY + 5


@pytest.fixture(scope="module")
def long_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with more than two checkpoints' entries; each test gets a copy."""
    root = tmp_path_factory.mktemp("long")
    real, ama.system.fs._os = ama.system.fs._os, Unsynced()
    try:
        settings = Settings(
            data_dir=root / "data",
            cache_dir=root / "cache",
            user_config_path=root / "config.toml",
            user_name="Ann",
            user_email="ann@example.org",
            default_remote=str(root / "store"),
        )
        (root / "w").mkdir()
        repo = Repo.init(root / "w", "models", settings=settings)
        ids = []
        for number in range(3):
            write(repo.root, {"a": b"%d" % number})
            repo.add(["."])
            ids.append(bytes.fromhex(repo.upload().published[0].id))
        remote = Remote.open(LocalStorage(root / "store"), settings.cache_dir)
        for number in range(LONG - 3):
            event = MoveAlias("models", f"n{number % 2}", ids[number % 3])
            remote.log.append(lambda view, e=event: [e], author=AUTHOR, now=microseconds)
    finally:
        ama.system.fs._os = real
    return root / "store"


@pytest.fixture
def long(team: Team, long_store: Path) -> Team:
    shutil.copytree(long_store, team.url)
    return team


def truth(team: Team) -> Any:
    """What the entries say, folded from the first one on."""
    remote = team.remote()
    view = remote.log.refold(len(team.log()))
    return said(view)


def said(view: LogView) -> tuple[list[AssetRecord], dict[str, tuple[AliasRecord, ...]]]:
    """What a log says of the models. What they need is in a checkpoint, else in their entries."""
    state = view.class_state("models")
    return [replace(record, needs=None) for record in state.assets], dict(state.aliases)


def seen(team: Team) -> Any:
    view = team.store().remote.view()
    view.require_whole()
    assert view.number == len(team.log())
    return said(view)


def checkpoints(team: Team) -> list[Path]:
    found = [Path(team.url, checkpoint_name(n)) for n in range(64, LONG + 200, 64)]
    return [path for path in found if path.exists()]


def lying(team: Team, number: int) -> None:
    """A checkpoint that is well made, but whose class lies: an alias and two numbers."""
    base = decode_checkpoint(Path(team.url, checkpoint_name(number)).read_bytes())
    (first, second, third), aliases = said(team.remote().log.refold(number))
    moves = aliases["n0"]
    state = ClassState(
        "models",
        (second, first, third),
        {**aliases, "n0": (*moves[:-1], replace(moves[-1], asset=first.id))},
    )

    def store(data: bytes) -> bytes:
        Path(team.url, segment_name(seal(data))).write_bytes(data)
        return seal(data)

    lie = checkpoint_of(Root(number, base.entry_hash), [state], store)
    forged = replace(base, classes=lie.classes)
    Path(team.url, checkpoint_name(number)).write_bytes(encode_checkpoint(forged))


def test_the_long_store_has_its_checkpoints(long: Team) -> None:
    assert [path.name for path in checkpoints(long)] == ["000000000064", "000000000128"]
    assert seen(long) == truth(long)
    assert long.store().fsck().ok


def remove_all(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink()


DAMAGES: dict[str, Callable[[Team], None]] = {
    "all missing": lambda t: shutil.rmtree(Path(t.url, "checkpoint")),
    "the newest missing": lambda t: checkpoints(t)[-1].unlink(),
    "the segments missing": lambda t: shutil.rmtree(Path(t.url, "checkpoint", "segment")),
    "cut off": lambda t: [p.write_bytes(p.read_bytes()[:-7]) for p in checkpoints(t)] and None,
    "empty": lambda t: [p.write_bytes(b"") for p in checkpoints(t)] and None,
    "a flipped byte": lambda t: [p.write_bytes(flipped(p)) for p in checkpoints(t)] and None,
    "flipped segments": lambda t: (
        [p.write_bytes(flipped(p)) for p in Path(t.url, "checkpoint", "segment").iterdir()] and None
    ),
    "another's": lambda t: checkpoints(t)[1].write_bytes(checkpoints(t)[0].read_bytes()) and None,
    "of another history": lambda t: (
        checkpoints(t)[1].write_bytes(
            encode_checkpoint(
                replace(decode_checkpoint(checkpoints(t)[1].read_bytes()), entry_hash=bytes(32))
            )
        )
        and None
    ),
}


def flipped(path: Path) -> bytes:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    return bytes(data)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_checkpoint_is_passed_over(damage: str, long: Team) -> None:
    expected = truth(long)
    DAMAGES[damage](long)
    assert seen(long) == expected
    assert long.append(MoveAlias("models", "n5", expected[0][0].id)) == LONG + 1
    assert seen(long) == truth(long)


@pytest.mark.parametrize("damage", ["all missing", "a flipped byte", "flipped segments", "lying"])
def test_who_writes_a_checkpoint_checks_the_one_it_builds_on(damage: str, long: Team) -> None:
    if damage == "lying":
        lying(long, 128)
    else:
        DAMAGES[damage](long)
    asset = truth(long)[0][0].id
    remote = long.remote()
    for number in range(LONG + 1, 193):
        event = MoveAlias("models", f"n{number % 2}", asset)
        remote.log.append(lambda view, e=event: [e], author=AUTHOR, now=microseconds)
    checkpoint = decode_checkpoint(Path(long.url, checkpoint_name(192)).read_bytes())
    assert checkpoint == remote.log.refold(192).base
    for digest in checkpoint.digests():
        data = Path(long.url, segment_name(digest)).read_bytes()
        assert damage == "flipped segments" or seal(data) == digest
    assert seen(long) == truth(long)


def test_fsck_names_a_checkpoint_that_lies(long: Team) -> None:
    lying(long, 128)
    report = long.store().fsck()
    assert any("128" in problem.where for problem in report.problems), report.problems


def test_a_checkpoint_is_never_needed_to_publish(long: Team) -> None:
    """An early entry is lost: the next checkpoint can't be checked, and isn't written."""
    asset = truth(long)[0][0].id
    seen_by = Remote.open(LocalStorage(Path(long.url)), long.root / "cache")
    seen_by.view().require_whole()
    Path(long.url, entry_name(20)).unlink()
    shutil.rmtree(Path(long.url, "checkpoint"))
    for number in range(LONG + 1, 194):
        event = MoveAlias("models", f"n{number % 2}", asset)
        done = seen_by.log.append(lambda view, e=event: [e], author=AUTHOR, now=microseconds)
        assert done is not None
        assert done.number == number


# gc


def wanted_files() -> dict[str, bytes]:
    return {"a": b"a", "b": b"b" * 5000, "large": noise(2, 1_500_000)}


def current_indexes(team: Team) -> list[Any]:
    remote = team.remote()
    return remote.indexes(remote.view().root.indexes)


def repacked(team: Team) -> Gc:
    """What gc does: copy all objects into new packs, and condemn what they were in."""
    remote = team.remote()
    view = remote.view()
    old = remote.indexes(view.root.indexes)
    objects = remote.current(view)
    locations = {at.record.id: at for index in old for at in index}
    with PackWriter(remote.storage) as writer:
        for at, raw in objects.read_raw(locations.values()):
            writer.copy(at.record, raw)
        new = writer.finish()
    packs = sorted({pack for index in old for pack in index.pack_sizes})
    ids = tuple(index.id for index in old)
    return Gc(((ids, tuple(index.id for index in new)),), tuple(packs), ids)


def orphans(team: Team) -> Gc:
    """Condemns every pack and index that no entry names."""
    indexes = current_indexes(team)
    named = {index_name(index.id) for index in indexes}
    named |= {pack_name(pack) for index in indexes for pack in index.pack_sizes}
    storage = LocalStorage(Path(team.url))
    packs = [name for name, _ in storage.list("packs/") if name not in named]
    lost = [name for name, _ in storage.list("index/") if name not in named]
    return Gc(
        packs=tuple(bytes.fromhex(Path(name).stem) for name in packs),
        indexes=tuple(bytes.fromhex(Path(name).stem) for name in lost),
    )


def sweep(team: Team, *, log: bool = True) -> None:
    """Delete what was condemned, and say so in the log."""
    root = team.remote().view().root
    for pack in root.condemned_packs:
        Path(team.url, pack_name(pack)).unlink(missing_ok=True)
    for index in root.condemned_indexes:
        Path(team.url, index_name(index)).unlink(missing_ok=True)
    if log:
        team.append(Purged(tuple(root.condemned_packs), tuple(root.condemned_indexes)))


def condemn_once(team: Team, condemn: Callable[[], Sequence[Event]], *, swept: bool) -> Any:
    """Right before the first create of an entry, a gc wins its number."""

    def hook(number: int, name: str, data: bytes) -> None:
        if number == 1:
            team.append(*condemn())
            if swept:
                sweep(team)

    return team.hooked(hook)


@pytest.mark.parametrize("swept", [False, True], ids=["condemned", "deleted"])
def test_gc_repacks_what_a_publisher_counts_on(team: Team, swept: bool) -> None:
    files = wanted_files()
    repo = team.published("w", files)
    write(repo.root, {"a": b"new"})
    repo.add(["."])
    storage = condemn_once(team, lambda: [repacked(team)], swept=swept)
    repo.upload()
    assert storage.tries >= 2
    sweep(team, log=not swept)
    assert team.check() == {"models/1": files, "models/2": {**files, "a": b"new"}}


@pytest.mark.parametrize("swept", [False, True], ids=["condemned", "deleted"])
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_gc_drops_what_a_publisher_counts_on(team: Team, large: bool, swept: bool) -> None:
    """Nobody needed it any more, when a publisher began to: it is sent again."""
    files = wanted_files()
    team.published("first", files)
    if large:
        files = {
            **files,
            "large": files["large"][:700_000] + b"inserted" + files["large"][700_000:],
        }
    repo = team.worktree("second", "others")
    write(repo.root, {**files, "own": b"own"})
    repo.add(["."])
    (index,) = current_indexes(team)
    gone = Gc(packs=tuple(index.pack_sizes), indexes=(index.id,))
    deleted = bytes.fromhex(team.store().resolve("models/1").info.id)
    storage = condemn_once(team, lambda: [gone, deleted_asset(deleted)], swept=swept)
    repo.upload()
    assert storage.tries >= 2
    sweep(team, log=not swept)
    found = team.store().resolve("others/1")
    assert {f.path: found.read(f.path) for f in found.files()} == {**files, "own": b"own"}
    report = team.store().fsck()
    assert report.ok, report.problems


def deleted_asset(asset: bytes) -> Event:
    from ama.format.entries import SetStatus

    return SetStatus(asset, "models", "deleted", "not needed")


@pytest.mark.parametrize("swept", [False, True], ids=["condemned", "deleted"])
@pytest.mark.parametrize("by", ["upload", "push"])
def test_gc_condemns_the_publishers_own_packs(team: Team, by: str, swept: bool) -> None:
    """They are orphans until the entry is there: all is sent again, under new names."""
    files = wanted_files()
    repo = team.worktree("w")
    write(repo.root, files)
    repo.add(["."])
    if by == "push":
        repo.commit()
    condemned: list[Gc] = []

    def condemn() -> Sequence[Event]:
        condemned.append(orphans(team))
        assert condemned[0].packs
        assert condemned[0].indexes
        return condemned

    storage = condemn_once(team, condemn, swept=swept)
    repo.upload() if by == "upload" else repo.push()
    assert storage.tries >= 2
    sweep(team, log=not swept)
    assert team.check() == {"models/1": files}
    (index,) = current_indexes(team)
    if not swept:
        assert not {*index.pack_sizes} & {*condemned[0].packs}
        assert index.id not in condemned[0].indexes


@pytest.mark.parametrize("by", ["upload", "push"])
def test_gc_condemns_the_publishers_own_index_only(team: Team, by: str) -> None:
    """The packs may stay; an index that is condemned must not come back under its name."""
    files = wanted_files()
    repo = team.worktree("w")
    write(repo.root, files)
    repo.add(["."])
    if by == "push":
        repo.commit()
    condemn_once(team, lambda: [Gc(indexes=orphans(team).indexes)], swept=False)
    repo.upload() if by == "upload" else repo.push()
    sweep(team)
    assert team.check() == {"models/1": files}


@pytest.mark.parametrize("gc", ["none", "before", "during"])
def test_an_interrupted_push_is_taken_up(
    team: Team, gc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it sent is found again, unless a gc condemned it meanwhile."""
    monkeypatch.setattr(ama.transfer.publish, "Push", functools.partial(Push, pack_size=300_000))
    files = wanted_files()
    repo = team.worktree("w")
    write(repo.root, files)
    repo.add(["."])
    crash(True, team)
    with pytest.raises(Died):
        repo.upload()
    (repo.root / ".ama" / "pending" / "publish").unlink()
    if gc == "before":
        team.append(orphans(team))
    if gc == "during":
        condemn_once(team, lambda: [orphans(team)], swept=False)
    else:
        team.unhooked()
    result = team.again("w").upload()
    if gc == "none":
        assert result.bytes_sent < 100_000
        assert result.bytes_reused >= 1_500_000
    else:
        assert result.bytes_sent > 1_500_000
        sweep(team)
    assert team.check() == {"models/1": files}


def test_an_orphan_that_lacks_chunks_is_completed(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its recipe counts on chunks of an index that a gc dropped since."""
    monkeypatch.setattr(ama.transfer.publish, "Push", functools.partial(Push, pack_size=100_000))
    files = wanted_files()
    team.published("first", files)
    files = {"large": files["large"][:700_000] + b"inserted" + files["large"][700_000:]}
    repo = team.worktree("second", "others")
    write(repo.root, files)
    repo.add(["."])
    crash(True, team)
    with pytest.raises(Died):
        repo.upload()
    (repo.root / ".ama" / "pending" / "publish").unlink()
    team.unhooked()
    asset = bytes.fromhex(team.store().resolve("models/1").info.id)
    indexes = current_indexes(team)
    packs = tuple(sorted({pack for index in indexes for pack in index.pack_sizes}))
    team.append(Gc(packs=packs, indexes=tuple(i.id for i in indexes)), deleted_asset(asset))
    sweep(team)
    team.again("second").upload()
    found = team.store().resolve("others/1")
    assert found.read("large") == files["large"]
    report = team.store().fsck()
    assert report.ok, report.problems


@pytest.mark.parametrize("lacking", ["a chunk", "all chunks"])
def test_a_gap_in_what_current_indexes_name_is_filled(team: Team, lacking: str) -> None:
    """They name a recipe, and not its chunks: whoever made that mistake, it does not spread."""
    files = {"small": b"small", "large": wanted_files()["large"]}
    team.published("first", files)
    (index,) = current_indexes(team)
    recipe = team.remote().current(team.remote().view()).recipe(blob_id(files["large"]))
    chunks = [chunk for chunk, _ in recipe.chunks]
    gone = set(chunks[:1] if lacking == "a chunk" else chunks)
    rows = [at for at in index if at.record.id not in gone]
    rest = PackIndex(encode_index(rows, index.pack_sizes))
    LocalStorage(Path(team.url)).put(index_name(rest.id), encode_index(rows, index.pack_sizes))
    team.append(Gc((((index.id,), (rest.id,)),)))
    assert team.store().fsck().problems

    repo = team.worktree("second", "others")
    write(repo.root, files)
    repo.add(["."])
    sent = repo.upload().bytes_sent
    assert sent < 700_000 if lacking == "a chunk" else sent > 1_500_000
    found = team.store().resolve("others/1")
    assert {file.path: found.read(file.path) for file in found.files()} == files


def test_a_note_is_no_longer_good_after_a_gc(team: Team) -> None:
    """The entry that it holds names packs that a gc condemned since: it isn't published."""
    repo = prepared(team)
    crash(True, team)
    with pytest.raises(Died):
        repo.upload()
    team.unhooked()
    team.append(orphans(team))
    sweep(team)
    repo = team.again("w")
    assert [asset.number for asset in repo.upload().published] == [1]
    assert team.check()["models/1"]["a"] == b"a"


# Events of later versions, and features


def test_a_critical_event_that_is_unknown_stops_everyone(team: Team) -> None:
    repo = team.published("w", {"a": b"a"})
    forge(team, Unknown("teleport", True, {"to": "mars"}))
    for use in (
        lambda: team.store().classes(),
        lambda: team.store().resolve("models/1").files(),
        lambda: team.again("w").pull(),
    ):
        with pytest.raises(FormatError, match=r"teleport.*does not know"):
            use()
    write(repo.root, {"a": b"b"})
    repo.add(["."])
    with pytest.raises(FormatError, match="teleport"):
        repo.upload()
    assert len(team.log()) == 2


def forge(team: Team, *events: Event, at: int | None = None) -> None:
    """Append an entry as a later version of ama would, which knows what it means."""
    view = team.remote().view()
    at = microseconds() if at is None else at
    entry = Entry(view.number + 1, bytes(16), view.entry_hash, AUTHOR, at, events)
    Path(team.url, entry_name(entry.number)).write_bytes(encode_entry(entry))


def test_an_event_that_is_not_critical_is_skipped_and_kept(team: Team) -> None:
    repo = team.published("w", {"a": b"a"})
    asset = bytes.fromhex(team.store().resolve("models/1").info.id)
    event = Unknown("metrics", False, {"asset": asset, "loss": 0.25, "steps": [1, 2]})
    forge(team, event, MoveAlias("models", "beside", asset))
    write(repo.root, {"a": b"b"})
    repo.add(["."])
    assert [found.number for found in repo.upload().published] == [2]
    assert team.store().resolve("models@beside").info.number == 1
    assert len(team.check()) == 2
    (kept, _) = team.log()[1].events
    assert type(kept) is Unknown
    assert (kept.name, kept.critical, kept.body["loss"]) == ("metrics", False, 0.25)
    remembered = Remote.last_seen(LocalStorage(Path(team.url)), team.root / "cache")
    assert remembered is not None
    assert remembered.log.view(When.LAST_SEEN) is not None


def test_a_clock_at_the_end_of_time_is_nobody_elses_end(team: Team) -> None:
    """What came after it had a time that no reader takes, and so ended the log for good."""
    repo = team.published("w", {"a": b"a"})
    asset = bytes.fromhex(team.store().resolve("models/1").info.id)
    forge(team, MoveAlias("models", "late", asset), at=MAX_TIME)
    write(repo.root, {"a": b"b"})
    repo.add(["a"])
    repo.upload()
    assert [entry.at for entry in team.log()[1:]] == [MAX_TIME, MAX_TIME]
    assert len(team.check()) == 2


def test_what_no_reader_takes_is_not_appended(team: Team) -> None:
    team.published("w", {"a": b"a"})
    asset = bytes.fromhex(team.store().resolve("models/1").info.id)
    log = team.remote().log
    for event in (MoveAlias("models", "no alias", asset), Gc((((asset,), (asset,)),))):
        with pytest.raises(InvalidInput, match="can't be published"):
            log.append(lambda view, event=event: [event], author=AUTHOR, now=microseconds)
    assert len(team.log()) == 1


def test_a_feature_that_readers_must_know(team: Team) -> None:
    repo = team.published("w", {"a": b"a"})
    forge(team, Feature(read=("sealed",)))
    with pytest.raises(FormatError, match="sealed"):
        team.store().classes()
    write(repo.root, {"a": b"b"})
    repo.add(["."])
    with pytest.raises(FormatError, match="sealed"):
        repo.upload()
    assert len(team.log()) == 2


def test_a_feature_that_only_writers_must_know(team: Team) -> None:
    repo = team.published("w", {"a": b"a"})
    forge(team, Feature(write=("counted",)))
    write(repo.root, {"a": b"b"})
    repo.add(["."])
    before = set(Path(team.url).rglob("*"))
    with pytest.raises(FormatError, match="counted"):
        repo.upload()
    with pytest.raises(FormatError, match="counted"):
        team.store().move_alias("models", "best", "1")
    assert set(Path(team.url).rglob("*")) == before
    assert team.check() == {"models/1": {"a": b"a"}}


def test_a_write_feature_of_the_format(team: Team) -> None:
    Store.open(team.url, create=True)
    path = Path(team.url, FORMAT)
    fields = json.loads(path.read_bytes())
    fields["features"]["write"] = ["counted"]
    path.write_text(json.dumps(fields))
    assert team.store().classes() == ()
    repo = team.worktree("w")
    write(repo.root, {"a": b"a"})
    repo.add(["."])
    with pytest.raises(FormatError, match="counted"):
        repo.upload()
    assert not Path(team.url, entry_name(1)).exists()


def test_an_entry_of_a_later_version(team: Team) -> None:
    team.published("w", {"a": b"a"})
    from ama.format.entries import MAGIC

    body = MAGIC + canonical.encode((2, 2, "something else"))
    Path(team.url, entry_name(2)).write_bytes(body + seal(body))
    with pytest.raises(FormatError, match="version 2"):
        team.store().classes()


def test_caches_are_of_one_store(team: Team) -> None:
    """Another store at the same URL is never taken for the one that was seen there."""
    team.published("w", {"a": b"a"})
    first = Store.open(team.url)
    first.classes()
    os.rename(team.url, team.root / "moved")
    second = Store.open(team.url, create=True, new_store=True)
    assert second.id != first.id
    assert second.classes() == ()
    assert Cache.of_store(team.root, first.id, "a") is not None


# Assets that need many indexes


def scattered(team: Team, count: int) -> tuple[Repo, dict[str, bytes]]:
    """A worktree whose files are named by as many indexes of the store."""
    files = {f"f{number}": b"%d" % number for number in range(count)}
    for name, data in files.items():
        team.published(f"w-{name}", {name: data})
    repo = team.worktree("all")
    write(repo.root, files)
    repo.add(["."])
    return repo, files


@pytest.mark.parametrize("count", [15, 16, 17, 20])
def test_an_asset_needs_few_indexes(team: Team, count: int) -> None:
    repo, files = scattered(team, count)
    repo.upload()
    (event,) = team.log()[-1].events
    assert type(event) is Publish
    assert len(event.needs) <= 16
    assert team.check()[f"models/{count + 1}"] == files


@pytest.mark.parametrize("condemned", ["own", "own indexes", "counted on"])
def test_gc_condemns_what_an_index_of_indexes_counts_on(team: Team, condemned: str) -> None:
    repo, files = scattered(team, 18)

    def condemn() -> Sequence[Event]:
        if condemned == "own":
            return [orphans(team)]
        if condemned == "own indexes":
            return [Gc(indexes=orphans(team).indexes)]
        return [repacked_current(team)]

    storage = condemn_once(team, condemn, swept=False)
    repo.upload()
    assert storage.tries >= 2
    sweep(team)
    assert team.check()["models/19"] == files


def repacked_current(team: Team) -> Gc:
    gc = repacked(team)
    assert len(gc.indexes) == 18
    return gc


# Repairs


def damaged(team: Team) -> dict[str, bytes]:
    """A store whose content is lost, published from the worktree `w`, which still has it."""
    files = wanted_files()
    team.published("w", files)
    for pack in Path(team.url).rglob("*.pack"):
        if pack.stat().st_size > 5000:
            flip(pack.stat().st_size - 100_000)(pack)
            flip(200)(pack)
    assert not team.store().fsck().ok
    return files


def shares(team: Team, name: str, files: dict[str, bytes]) -> Repo:
    repo = team.worktree(name, "others")
    write(repo.root, {**files, "own": b"own"})
    repo.add(["."])
    return repo


def test_an_upload_wins_that_counts_on_what_is_repaired(team: Team) -> None:
    files = damaged(team)
    other = shares(team, "other", files)
    repo = team.again("w")

    def hook(number: int, name: str, data: bytes) -> None:
        if number == 1:
            team.unhooked()
            assert other.upload().bytes_sent < 10_000

    storage = team.hooked(hook)
    assert repo.push(repair=True).repaired
    assert storage.tries == 2
    assert team.check() == {"models/1": files, "others/1": {**files, "own": b"own"}}


def test_a_repair_wins_while_an_upload_counts_on_the_damage(team: Team) -> None:
    files = damaged(team)
    other = shares(team, "other", files)

    def hook(number: int, name: str, data: bytes) -> None:
        if number == 1:
            team.unhooked()
            assert team.again("w").push(repair=True).repaired

    storage = team.hooked(hook)
    other.upload()
    assert storage.tries == 2
    sweep(team)
    assert team.check() == {"models/1": files, "others/1": {**files, "own": b"own"}}


@pytest.mark.parametrize("swept", [False, True], ids=["condemned", "deleted"])
def test_gc_condemns_what_a_repair_has_sent(team: Team, swept: bool) -> None:
    files = damaged(team)
    repo = team.again("w")
    storage = condemn_once(team, lambda: [orphans(team)], swept=swept)
    assert repo.push(repair=True).repaired
    assert storage.tries == 2
    sweep(team, log=not swept)
    assert team.check() == {"models/1": files}


def test_what_was_deleted_is_not_repaired(team: Team) -> None:
    repo = team.published("w", {"a": noise(5, 5000)})
    write(repo.root, {"a": b"new"})
    repo.add(["."])
    repo.upload()
    first = bytes.fromhex(team.store().resolve("models/1").info.id)
    for packs in (Path(team.url), repo.root / ".ama"):
        for pack in packs.rglob("*.pack"):
            if noise(5, 5000) in pack.read_bytes():
                pack.unlink()
    team.append(deleted_asset(first))
    assert team.again("w").push(repair=True).repaired == 0
    assert team.store().resolve("models/2").read("a") == b"new"


def test_a_repair_that_died_is_done_again(team: Team) -> None:
    files = damaged(team)
    repo = team.again("w")
    crash(True, team)
    with pytest.raises(Died):
        repo.push(repair=True)
    team.unhooked()
    assert not team.store().fsck().ok
    assert team.again("w").push(repair=True).repaired
    assert team.check() == {"models/1": files}


# Long pushes


@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
@pytest.mark.parametrize("died_at", [1, 2, 3])
def test_a_long_push_dies_between_its_entries(
    team: Team, died_at: int, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It publishes a few assets an entry: what is published stays, the rest follows once."""
    monkeypatch.setattr(ama.transfer.publish, "BATCH", 2)
    repo = team.worktree("w")
    for number in range(5):
        write(repo.root, {"a": b"%d" % number})
        repo.add(["a"])
        repo.set(aliases=["best", f"is-{number}"])
        repo.commit(str(number))

    def die(number: int, name: str, data: bytes) -> None:
        if number == died_at:
            if not before:
                storage.inner.create(name, data)
            raise Died

    storage = team.hooked(die)
    with pytest.raises(Died):
        repo.push()
    team.unhooked()
    repo = team.again("w")
    assert len(repo.status().unpublished) == 5 - 2 * (died_at - 1)
    repo.push()
    assert repo.status().clean
    assert team.check() == {f"models/{n + 1}": {"a": b"%d" % n} for n in range(5)}
    assert len(team.log()) == 3
    history = team.store().alias_history("models", "best")
    assert [move.number for move in history] == [5, 4, 3, 2, 1]
    for number in range(5):
        assert team.store().resolve(f"models@is-{number}").info.number == number + 1


def test_a_pack_that_was_cut_off_is_sent_again(team: Team) -> None:
    """It lies there from a push that was interrupted; its name says what it should be."""
    repo = team.worktree("w")
    write(repo.root, {"a": noise(3, 5000), "b": noise(4, 5000)})
    repo.add(["."])
    repo.commit()
    crash(True, team)
    with pytest.raises(Died):
        repo.push()
    team.unhooked()
    (repo.root / ".ama" / "pending" / "publish").unlink()
    for pack in Path(team.url).glob("packs/*/*.pack"):
        os.truncate(pack, pack.stat().st_size // 2)
    team.again("w").push()
    assert team.check() == {"models/1": {"a": noise(3, 5000), "b": noise(4, 5000)}}


def test_only_who_publishes_finishes_an_upload(team: Team) -> None:
    """One that failed is not completed behind the user's back, by what is to take it back."""
    repo = prepared(team)
    crash(True, team)
    with pytest.raises(Died):
        repo.upload()
    team.unhooked()
    repo = team.again("w")
    assert repo.status().interrupted
    for act in (
        lambda: repo.set(unset=["alias:best"]),
        lambda: repo.commit("more"),
        lambda: repo.switch("models/1"),
        lambda: Repo.init(repo.root, "other"),
    ):
        with pytest.raises(Conflict, match="not published yet") as caught:
            act()
        assert "ama upload" in (words(caught.value.hints) or "")
    assert not list(Path(team.url).glob("log/0*"))
    (repo.root / ".ama" / "pending" / "publish").unlink()
    repo.set(unset=["alias:best"])
    repo.upload()
    assert team.store().resolve("models").info.aliases == ()


def test_a_note_of_version_1_is_read(team: Team) -> None:
    repo = prepared(team)
    crash(False, team)
    with pytest.raises(Died):
        repo.upload()
    team.unhooked()
    note = repo.root / ".ama" / "pending" / "publish"
    version, *fields = canonical.decode(note.read_bytes()[:-32], "note")
    assert version == 2
    body = canonical.encode((1, *fields[:-1]))
    note.write_bytes(body + seal(body))
    repo = team.again("w")
    assert repo.upload().published == ()
    assert repo.head is not None
    assert repo.head.number == 1
