"""The content cache of this machine: fetched once, verified, read-only, and never trusted."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

import ama
import ama.system.fs
import ama.system.syscalls
from ama.errors import InvalidInput, NotFound, StorageError
from ama.publication import reached
from ama.settings import Settings
from ama.storage.local import LocalStorage
from ama.stores.remote import Remote
from ama.system import disk
from ama.worktree import pool
from ama.worktree.content_cache import LATELY_S, ContentCache
from ama.worktree.neighbours import MOST_NOTES
from ama.worktree.pool import stamp
from ama.worktree.trees import Listed
from conftest import Ama
from counting_storage import CountingStorage

LARGE = random.Random(1).randbytes(6_000_000)


def publish(store: Path, files: dict[str, bytes], class_name: str = "models", **more: str) -> str:
    opened = ama.Store.open(store, create=True)
    done = opened.publish(class_name, files, **more)  # type: ignore[arg-type]
    assert done.asset is not None
    return f"{class_name}/{done.asset.number}"


FILES = {
    "model.h5": LARGE,
    "again.h5": LARGE,
    "model.yml": b"layers: 3\n",
    "data/train.csv": b"1,2\n" * 1000,
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    publish(store, FILES, aliases="best")
    return store


class ReadOnly(ama.system.syscalls.System):
    """A disk with a directory that can only be read."""

    def __init__(self, top: Path) -> None:
        self.top = str(top)

    def _check(self, path: str) -> None:
        if path.startswith(self.top):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def open(self, path: str, flags: int, mode: int) -> int:
        self._check(path)
        return super().open(path, flags, mode)

    def mkdir(self, path: str) -> None:
        self._check(path)
        super().mkdir(path)

    def replace(self, source: str, target: str) -> None:
        self._check(source)
        super().replace(source, target)

    def unlink(self, path: str) -> None:
        self._check(path)
        super().unlink(path)

    def chmod(self, path: str, mode: int) -> None:
        self._check(path)
        super().chmod(path, mode)

    def utime(self, path: str, times_ns: tuple[int, int]) -> None:
        self._check(path)
        super().utime(path, times_ns)


class Full(ama.system.syscalls.System):
    """A disk on which a directory has little room, until something large is deleted from it."""

    def __init__(self, top: Path, room: int) -> None:
        self.top = str(top)
        self.room = room

    def write(self, fd: int, data: memoryview) -> int:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if path.startswith(self.top):
            if len(data) > self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.room -= len(data)
        return super().write(fd, data)

    def unlink(self, path: str) -> None:
        if path.startswith(self.top) and os.lstat(path).st_nlink == 1:
            self.room += os.lstat(path).st_size
        super().unlink(path)


class Counted:
    """A store on this machine, with everything that is asked of it."""

    def __init__(self, place: Path, settings: Settings | None = None) -> None:
        self.storage = CountingStorage(LocalStorage(place))
        self.settings = settings or Settings.load(None)
        remote = Remote.open(self.storage, self.settings.cache_dir)
        self.store = ama.Store(remote, self.settings)
        self.storage.reset()

    def packs_read(self) -> int:
        """How many ranges of packs were asked for since the last call."""
        asked = sum(name.startswith("packs/") for call, names in self.storage.log for name in names)
        self.storage.reset()
        return asked


def content(top: Path) -> dict[str, bytes]:
    return {
        path.relative_to(top).as_posix(): path.read_bytes()
        for path in sorted(top.rglob("*"))
        if path.is_file()
    }


def cache() -> ContentCache:
    found = ContentCache.of(Settings.load(None))
    assert found is not None
    return found


def blob(data: bytes) -> Path:
    from ama.format.hashing import blob_id

    return Path(cache().pool.place_of(blob_id(data), executable=False))


def inodes(*tops: Path) -> int:
    return len({path.stat().st_ino for top in tops for path in top.rglob("*") if path.is_file()})


def test_an_asset_is_a_directory_with_its_names_and_nobody_may_write_it(place: Path) -> None:
    top = ama.fetch("models@best", store=place)
    assert content(top) == FILES
    for path in top.rglob("*"):
        if path.is_file():
            assert not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    assert inodes(top) == 3  # two names, one content
    assert os.path.samefile(top / "model.h5", top / "again.h5")


def test_the_second_fetch_reads_no_content(place: Path) -> None:
    counted = Counted(place)
    top = counted.store.fetch("models@best")
    assert counted.packs_read() > 0
    assert counted.store.fetch("models/1") == top
    assert counted.store.resolve("models").path() == top
    assert counted.store.resolve("models").path("data") == top / "data"
    assert counted.packs_read() == 0
    again = Counted(place)
    assert again.store.fetch("models@best") == top
    assert again.storage.round_trips == 1, "the end of the log"
    assert again.storage.bytes_read < 1000


def test_a_choice_has_only_what_was_chosen_whatever_came_before(place: Path) -> None:
    store = ama.Store.open(place)
    some = store.fetch("models", include="*.yml")
    assert list(content(some)) == ["model.yml"]
    whole = store.fetch("models")
    assert content(whole) == FILES
    assert list(content(store.fetch("models", include="*.yml"))) == ["model.yml"]
    assert sorted(content(store.fetch("models", exclude="*.h5"))) == ["data/train.csv", "model.yml"]
    with pytest.raises(NotFound, match=r"no file of models/1 is chosen by --include '\*\.txt'"):
        store.fetch("models", include="*.txt")


def test_a_single_file_brings_nothing_else(place: Path) -> None:
    counted = Counted(place)
    path = counted.store.resolve("models@best").path("model.yml")
    assert path.name == "model.yml"
    assert path.read_bytes() == FILES["model.yml"]
    assert not blob(LARGE).exists()
    directory = counted.store.resolve("models@best").path("data/")
    assert content(directory) == {"train.csv": FILES["data/train.csv"]}
    assert not blob(LARGE).exists()
    with pytest.raises(NotFound, match="no file nothing"):
        counted.store.resolve("models").path("nothing")


def test_of_the_next_version_only_changed_chunks_come(place: Path) -> None:
    changed = bytearray(LARGE)
    changed[3_000_000:3_000_010] = b"0123456789"
    counted = Counted(place)
    counted.store.fetch("models")
    publish(place, {**FILES, "model.h5": bytes(changed), "new.yml": b"x"}, aliases="best")
    counted.storage.reset()
    top = counted.store.fetch("models@best")
    assert (top / "model.h5").read_bytes() == bytes(changed)
    assert counted.storage.bytes_read < 1_000_000
    assert inodes(*(cache().directory / "assets").iterdir()) >= 4


def test_what_two_assets_share_is_here_once(place: Path) -> None:
    publish(place, {"weights.bin": LARGE}, class_name="others")
    counted = Counted(place)
    first = counted.store.fetch("models")
    counted.storage.reset()
    second = counted.store.fetch("others")
    assert os.path.samefile(first / "model.h5", second / "weights.bin")
    assert counted.storage.bytes_read < 100_000


def test_it_is_given_offline(place: Path, tmp_path: Path) -> None:
    top = ama.fetch("models@best", store=place)
    one = ama.Store.open(place)
    publish(place, {"other.txt": b"2"})
    assert one.resolve("models/2").info.number == 2
    os.rename(place, tmp_path / "away")
    assert ama.fetch("models@best", store=place) == top
    assert ama.fetch("models/1", store=place) == top
    assert list(content(ama.fetch("models/1", store=place, include="*.yml"))) == ["model.yml"]
    with pytest.raises(StorageError):
        ama.fetch("models/2", store=place)
    with pytest.raises(NotFound, match="models has no asset 3"):
        ama.fetch("models/3", store=place)


def test_a_deleted_asset_is_not_given(place: Path) -> None:
    store = ama.Store.open(place)
    store.fetch("models")
    store.delete("models/1", reason="wrong labels", force=True)
    with pytest.raises(NotFound, match=r"was deleted from .*: wrong labels"):
        store.fetch("models/1")


@pytest.mark.parametrize("how", ["in place", "by another file", "with its time kept", "cut"])
def test_a_changed_file_is_noticed(place: Path, how: str) -> None:
    top = ama.fetch("models", store=place)
    path = top / "model.yml"
    if how == "by another file":
        path.unlink()
    else:
        path.chmod(0o644)
    path.write_bytes(b"layers: " if how == "cut" else b"layers: 9\n")
    if how == "with its time kept":
        os.utime(path, (stamp(bytes(32)), stamp(bytes(32))))
    again = ama.fetch("models", store=place)
    assert content(again) == FILES
    single = ama.Store.open(place).resolve("models").path("model.yml")
    assert single.read_bytes() == FILES["model.yml"]


def test_a_touched_file_is_read_and_stays(place: Path) -> None:
    counted = Counted(place)
    top = counted.store.fetch("models")
    (top / "model.h5").touch()
    (top / "model.yml").chmod(0o666)
    counted.storage.reset()
    assert counted.store.fetch("models") == top
    assert counted.packs_read() == 0
    assert not (top / "model.yml").stat().st_mode & stat.S_IWUSR


def test_a_directory_in_which_something_was_put_is_given_no_more(place: Path) -> None:
    top = ama.fetch("models", store=place)
    (top / "mine.txt").write_text("mine")
    again = ama.fetch("models", store=place)
    assert again != top
    assert content(again) == FILES
    assert (top / "mine.txt").read_text() == "mine"
    assert ama.fetch("models", store=place) == again
    (again / "data").chmod(0o755)
    (again / "data").rename(again.parent / "moved")
    (again / "data").symlink_to(again.parent / "moved")
    assert content(ama.fetch("models", store=place)) == FILES


def test_symlinks_and_programs(tmp_path: Path) -> None:
    made = tmp_path / "made"
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "run.sh").write_text("#!/bin/sh\n")
    (made / "plain.sh").write_text("#!/bin/sh\n")
    (made / "bin" / "run.sh").chmod(0o755)
    (made / "latest").symlink_to("bin/run.sh")
    (made / "tools").symlink_to("bin")
    ama.publish("tools", [made], store=tmp_path / "store")
    store = ama.Store.open(tmp_path / "store")
    asset = store.resolve("tools")
    assert asset.path("latest").read_text() == "#!/bin/sh\n"
    assert asset.path("tools").is_symlink()
    assert (asset.path("tools") / "run.sh").read_text() == "#!/bin/sh\n"
    top = store.fetch("tools")
    assert os.access(top / "bin" / "run.sh", os.X_OK)
    assert not (top / "plain.sh").stat().st_mode & 0o111
    assert os.readlink(top / "latest") == "bin/run.sh"
    assert store.fetch("tools") == top
    (top / "latest").unlink()
    (top / "latest").symlink_to("plain.sh")
    os.rename(tmp_path / "store", tmp_path / "away")
    assert os.readlink(ama.fetch("tools", store=tmp_path / "store") / "latest") == "bin/run.sh"


def test_switched_off_it_says_what_to_do(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMA_CACHE_SIZE", "0")
    with pytest.raises(InvalidInput, match="the content cache of this machine is switched off"):
        ama.fetch("models", store=place)
    monkeypatch.setenv("AMA_CACHE_SIZE", "ten")
    with pytest.raises(InvalidInput, match="'ten' can't be the value of AMA_CACHE_SIZE"):
        ama.fetch("models", store=place)


def used_long_ago(asset: str) -> None:
    for mark in (cache().directory / "classes").rglob(asset):
        os.utime(mark, (1, 1))


def test_the_least_recently_used_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMA_CACHE_SIZE", "2500kB")
    store = tmp_path / "store"
    shared = random.Random(0).randbytes(500_000)
    tops = []
    for number in range(4):
        publish(store, {"a": random.Random(number + 1).randbytes(1_000_000), "s": shared})
        tops.append(ama.fetch(f"models/{number + 1}", store=store))
        ids = [ama.Store.open(store).resolve(f"models/{n + 1}").info.id for n in range(number + 1)]
        if number == 1:
            assert cache().total() == 2_500_000
            for each in ids:
                used_long_ago(each)
            os.utime(next((cache().directory / "classes").rglob(ids[0])), (2, 2))
        if number == 2:
            assert [top.exists() for top in tops] == [True, False, True]
            assert cache().total() == 2_500_000
    # What was handed out lately stays, though it is too much.
    assert [top.exists() for top in tops] == [False, False, True, True]
    assert cache().total() == 2_500_000
    assert (tops[2] / "s").read_bytes() == shared
    assert cache()._count_again()[0] == 2_500_000


def test_what_was_handed_out_lately_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMA_CACHE_SIZE", "1MB")
    publish(place, {"b": random.Random(2).randbytes(2_000_000)}, class_name="others")
    first = ama.fetch("models", store=place)
    second = ama.fetch("others", store=place)
    assert content(first) == FILES
    assert second.exists()
    assert LATELY_S > 60


SCRIPT = """
import sys, ama
print(ama.fetch("models@best", store=sys.argv[1]))
"""


def test_two_processes_fill_one_entry(place: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(place)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    said = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(said) == 1
    top = Path(said.pop())
    assert content(top) == FILES
    assert cache().total() == sum(map(len, FILES.values())) - len(LARGE)


KILLED = """
import os, sys, ama
import ama.system.fs as fs
calls = 0
class Mortal(fs.System):
    def __getattribute__(self, name):
        global calls
        calls += 1
        if calls == int(sys.argv[2]):
            os._exit(9)
        return super().__getattribute__(name)
fs._os = Mortal()
ama.fetch("models@best", store=sys.argv[1])
"""


def test_a_kill_leaves_nothing_that_is_taken_for_whole(place: Path) -> None:
    ama.Store.open(place)
    killed = 0
    for at in [*range(1, 60, 6), *range(60, 400, 40)]:
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(place), str(at)], timeout=60, check=False
        )
        killed += done.returncode == 9
        if done.returncode == 0:
            break
        for top in (cache().directory / "assets").glob("*/all*"):
            assert content(top) == FILES
    assert killed > 5
    assert content(ama.fetch("models@best", store=place)) == FILES
    assert list((cache().directory / "filling").glob("*/*/incoming/*")) == []


def test_what_a_killed_process_has_fetched_is_not_fetched_again(place: Path) -> None:
    counted = Counted(place)
    fetched: list[int] = []

    class Breaks:
        def start(self, task: str, total_bytes: int | None) -> None:
            pass

        def advance(self, count: int) -> None:
            fetched.append(count)
            if sum(fetched) > 3_000_000:
                raise KeyboardInterrupt

        def skip(self, count: int) -> None:
            pass

        def finish(self) -> None:
            pass

    counted.store._progress = Breaks()
    with pytest.raises(KeyboardInterrupt):
        counted.store.fetch("models")
    counted = Counted(place)
    assert content(counted.store.fetch("models")) == FILES
    assert counted.storage.bytes_read < 5_500_000


# Downloads take what this machine has


def download(place: Path, directory: Path, name: str = "models@best") -> tuple[ama.Repo, int]:
    """Download, and return how many ranges of packs were asked for content."""
    counted = Counted(place)
    done = counted.store.download(name, directory)
    files = {p: d for p, d in content(directory).items() if not p.startswith(".ama/")}
    assert files == {path: counted.store.resolve(name).read(path) for path in files}
    return ama.Repo.open(directory), done.bytes_received


def test_a_download_after_a_fetch_reads_no_content(place: Path, tmp_path: Path) -> None:
    ama.fetch("models@best", store=place)
    repo, received = download(place, tmp_path / "copy")
    assert received < 20_000
    assert repo.status().clean
    (tmp_path / "copy" / "model.h5").write_bytes(b"mine")
    assert content(ama.fetch("models@best", store=place)) == FILES


def test_a_second_download_takes_from_the_first_worktree(place: Path, tmp_path: Path) -> None:
    _, first = download(place, tmp_path / "one")
    assert first > len(LARGE) - 1
    _, second = download(place, tmp_path / "two")
    assert second < 20_000
    assert not cache().is_there(), "a download doesn't fill the cache"


def test_a_fetch_and_a_switch_take_from_worktrees(place: Path, tmp_path: Path) -> None:
    changed = LARGE[:3_000_000] + b"new" + LARGE[3_000_000:]
    publish(place, {**FILES, "model.h5": changed}, aliases="best")
    download(place, tmp_path / "two", "models/2")
    repo, received = download(place, tmp_path / "one", "models/1")
    assert received < 20_000
    counted = Counted(place)
    assert (counted.store.fetch("models/2") / "model.h5").read_bytes() == changed
    assert counted.storage.bytes_read < 50_000
    shutil.rmtree(tmp_path / "two")
    repo.switch("models/2")
    assert (tmp_path / "one" / "model.h5").read_bytes() == changed


def test_of_another_version_in_a_worktree_come_the_chunks(place: Path, tmp_path: Path) -> None:
    changed = LARGE[:3_000_000] + b"new" + LARGE[3_000_000:]
    publish(place, {**FILES, "model.h5": changed}, aliases="best")
    download(place, tmp_path / "one", "models/1")
    _, received = download(place, tmp_path / "two", "models/2")
    assert received < 1_000_000


@pytest.mark.parametrize("how", ["edited", "edited unseen", "gone", "a pipe", "deleted"])
def test_what_changed_in_a_worktree_comes_from_the_store(
    place: Path, tmp_path: Path, how: str
) -> None:
    download(place, tmp_path / "one")
    for name in ("model.h5", "again.h5", "model.yml"):
        path = tmp_path / "one" / name
        status = path.stat()
        if how.startswith("edited"):
            data = bytearray(path.read_bytes())
            data[-1] ^= 1
            path.write_bytes(data)
            if how == "edited unseen":
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        else:
            path.unlink()
            if how == "a pipe":
                os.mkfifo(path)
    if how == "deleted":
        shutil.rmtree(tmp_path / "one")
    repo, received = download(place, tmp_path / "two")
    assert {p: d for p, d in content(tmp_path / "two").items() if p in FILES} == FILES
    assert repo.status().clean
    if how.startswith("edited"):
        assert received < 1_000_000, "the other chunks are right"
    if how == "deleted":
        assert len(list(notes_of_worktrees().iterdir())) == 1


def test_a_bit_that_flipped_in_the_cache_never_reaches_a_worktree(
    place: Path, tmp_path: Path
) -> None:
    top = ama.fetch("models@best", store=place)
    for name in ("model.h5", "model.yml"):
        path = top / name
        status = path.stat()
        path.chmod(0o644)
        with path.open("r+b") as file:
            file.write(b"!")
        path.chmod(0o444)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    repo, received = download(place, tmp_path / "copy")
    assert {p: d for p, d in content(tmp_path / "copy").items() if p in FILES} == FILES
    assert repo.status().clean
    assert received < 1_000_000
    # The next fetch of another choice builds on nothing wrong either: the download has told.
    assert content(ama.fetch("models@best", store=place)) == FILES


def test_a_cache_on_a_read_only_disk_is_passed_over(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = ama.fetch("models@best", store=place)
    monkeypatch.setattr(ama.system.fs, "_os", ReadOnly(cache().directory))
    assert ama.fetch("models@best", store=place) == top
    download(place, tmp_path / "copy")
    with pytest.raises(StorageError, match="read-only") as caught:
        ama.fetch("models@best", store=place, include="*.yml")
    assert "fetch-elsewhere" in [getattr(hint, "code", "") for hint in caught.value.hints]


def test_a_full_disk_lets_old_assets_go_first(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(place, {"b": random.Random(2).randbytes(2_000_000)}, class_name="others")
    first = ama.fetch("models", store=place)
    used_long_ago(first.parent.name)
    full = Full(cache().directory, 1_000_000)
    monkeypatch.setattr(ama.system.fs, "_os", full)
    second = ama.fetch("others", store=place)
    assert (second / "b").stat().st_size == 2_000_000
    assert not first.exists()
    full.room = 1_000
    with pytest.raises(StorageError, match="no space left"):
        ama.fetch("models", store=place)
    download(place, tmp_path / "copy")


def notes_of_worktrees() -> Path:
    return Path(os.environ["XDG_CACHE_HOME"]) / "ama" / "worktrees" / "c-models"


def test_a_note_that_a_crash_has_damaged_is_passed_over(place: Path, tmp_path: Path) -> None:
    download(place, tmp_path / "one")
    bad = (b"\0" * 40, b"", b"relative", b"/" + b"x" * 5000, b"/" + b"x/" * 5000)
    for number, data in enumerate(bad):
        (notes_of_worktrees() / f"{number:016x}").write_bytes(data)
    (notes_of_worktrees() / "directory").mkdir()
    _, received = download(place, tmp_path / "two")
    assert received < 20_000
    assert len([path for path in notes_of_worktrees().iterdir() if path.is_file()]) == 2


def test_a_worktree_on_a_disk_that_fails_does_not_hide_the_others(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download(place, tmp_path / "one")
    download(place, tmp_path / "bad")
    real = disk.is_directory

    def fails(path: str | os.PathLike[str]) -> bool:
        if os.fspath(path) == str(tmp_path / "bad" / ".ama"):
            raise StorageError("stale file handle", errno=errno.ESTALE)
        return real(path)

    monkeypatch.setattr(disk, "is_directory", fails)
    _, received = download(place, tmp_path / "two")
    assert received < 20_000
    assert len(list(notes_of_worktrees().iterdir())) == 3


def test_a_disk_that_never_answers_is_not_waited_for(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download(place, tmp_path / "one")
    over = threading.Event()
    real = disk.is_directory

    def hangs(path: str | os.PathLike[str]) -> bool:
        if os.fspath(path) == str(tmp_path / "one" / ".ama"):
            assert over.wait(60)
        return real(path)

    monkeypatch.setattr(disk, "is_directory", hangs)
    monkeypatch.setattr("ama.worktree.neighbours.PATIENCE_S", 0.01)
    try:
        download(place, tmp_path / "two")
    finally:
        over.set()


def test_the_notes_of_worktrees_stay_few(place: Path, tmp_path: Path) -> None:
    download(place, tmp_path / "one")
    for number in range(MOST_NOTES + 20):
        other = tmp_path / f"other-{number}"
        (other / ".ama").mkdir(parents=True)
        note = notes_of_worktrees() / f"{number:016x}"
        note.write_bytes(os.fsencode(other))
        os.utime(note, (number, number))
    download(place, tmp_path / "two")
    assert len(list(notes_of_worktrees().iterdir())) == MOST_NOTES
    _, received = download(place, tmp_path / "three")
    assert received < 20_000


class Clones(ama.system.syscalls.System):
    """A file system with reflinks, as far as a test sees them."""

    def __init__(self, damage: bool) -> None:
        self.damage = damage
        self.clones = 0

    def clone(self, source: int, target: int) -> None:
        self.clones += 1
        data = os.pread(source, 1 << 30, 0)
        os.write(target, b"?" + data[1:] if self.damage else data)


@pytest.mark.parametrize("damage", [False, True])
def test_a_clone_is_verified(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bool
) -> None:
    download(place, tmp_path / "one")
    system = Clones(damage)
    monkeypatch.setattr(ama.system.fs, "_os", system)
    repo, received = download(place, tmp_path / "two")
    assert system.clones == 1
    assert {p: d for p, d in content(tmp_path / "two").items() if p in FILES} == FILES
    assert received < 20_000
    assert repo.status().clean


def test_clones_come_from_worktrees_also_where_there_is_a_cache(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(place, {"x": b"1"}, class_name="others")
    ama.fetch("others", store=place)
    download(place, tmp_path / "one")
    system = Clones(damage=False)
    monkeypatch.setattr(ama.system.fs, "_os", system)
    download(place, tmp_path / "two")
    assert system.clones == 1


class NoLinks(ama.system.syscalls.System):
    """A file system without hard links."""

    def link(self, source: str, target: str) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_without_hard_links_there_are_copies(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ama.system.fs, "_os", NoLinks())
    top = ama.fetch("models", store=place)
    assert content(top) == FILES
    assert ama.fetch("models", store=place) == top
    assert cache().total() == 3 * len(LARGE) + 2 * (len(FILES["model.yml"]) + 4000)
    assert cache()._count_again()[0] == cache().total()
    used_long_ago(top.parent.name)
    monkeypatch.setenv("AMA_CACHE_SIZE", "1MB")
    cache().trim(b"")
    assert not top.exists()
    assert cache().total() == 0


def test_the_command(place: Path, run: Ama, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMA_REMOTE", str(place))
    top = Path(run.ok("path", "models@best").stdout.rstrip("\n"))
    assert content(top) == FILES
    assert run.ok("path", "models:data/train.csv").stdout == f"{top}/data/train.csv\n"
    said = run.ok("path", "models@best", "--json").json()
    assert said["path"] == str(top)
    assert (said["files"], said["bytes_received"]) == (4, 0)
    ama.Store.open(place).deprecate("models/1", "old labels")
    warned = run.ok("path", "-q", "models/1")
    assert warned.stdout == f"{top}\n"
    assert "models/1" in warned.stderr
    assert "is deprecated: old labels" in warned.stderr
    os.rename(place, place.with_name("away"))
    away = run.ok("path", "models@best")
    assert away.stdout == f"{top}\n"
    assert "this is what was seen last, and may be old" in away.stderr
    assert run("path", "models:data", "--include", "x").code == 2


def test_a_file_that_is_written_to_while_it_is_verified_gets_no_stamp(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = ama.fetch("models", store=place)
    path = top / "model.h5"
    path.chmod(0o644)
    real = pool.hash_stream

    def slow(file: BinaryIO) -> tuple[bytes, int]:
        found = real(file)
        with path.open("r+b") as other:
            other.write(b"?")
        monkeypatch.setattr(pool, "hash_stream", real)
        return found

    monkeypatch.setattr(pool, "hash_stream", slow)
    assert content(ama.fetch("models", store=place)) == FILES


def test_a_file_of_another_size_is_not_read_into_memory(place: Path, tmp_path: Path) -> None:
    ama.fetch("models", store=place)
    planted = blob(FILES["model.yml"])
    planted.unlink()
    with planted.open("wb") as file:
        file.truncate(1 << 42)  # more than any memory
    download(place, tmp_path / "copy")


def test_programs_that_write_beside_their_data_make_no_fetch_dearer(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tops = []
    for number in range(5):
        tops.append(ama.fetch("models", store=place))
        (tops[-1] / "labels.cache").write_text(str(number))
    assert len(set(tops)) == 5
    last = ama.fetch("models", store=place)
    looks = []
    real = pool.Pool.is_intact

    def counted(self: pool.Pool, path: str, item: Listed) -> bool | None:
        looks.append(path)
        return real(self, path, item)

    monkeypatch.setattr(pool.Pool, "is_intact", counted)
    assert ama.fetch("models", store=place) == last
    assert len(looks) == len(FILES)
    (last / "model.yml").unlink()
    again = ama.fetch("models", store=place)
    assert again not in tops
    assert content(again) == FILES


def test_a_symlink_leads_to_its_file_also_offline(tmp_path: Path) -> None:
    made = tmp_path / "made"
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "run.sh").write_text("#!/bin/sh\n")
    (made / "latest").symlink_to("bin/run.sh")
    (made / "tools").symlink_to("bin")
    (made / "through").symlink_to("tools/../bin/./run.sh")
    (made / "bin" / "top").symlink_to("..")
    (made / "round").symlink_to("tools/top/tools")
    (made / "loop").symlink_to("loop")
    (made / "dangling").symlink_to("tools/nothing")
    ama.publish("tools", [made], store=tmp_path / "store")
    counted = Counted(tmp_path / "store")
    asset = counted.store.resolve("tools")
    for name in ("loop", "dangling"):
        assert asset.path(name).is_symlink()
    for name in ("latest", "through"):
        assert asset.path(name).read_text() == "#!/bin/sh\n"
        counted.packs_read()
        assert asset.path(name).read_text() == "#!/bin/sh\n"
        assert counted.packs_read() == 0
    assert (asset.path("round") / "run.sh").read_text() == "#!/bin/sh\n"
    os.rename(tmp_path / "store", tmp_path / "away")
    again = reached(str(tmp_path / "store"), Settings.load(None)).resolve("tools")
    assert again.path("latest").read_text() == "#!/bin/sh\n"
    assert (again.path("round") / "run.sh").read_text() == "#!/bin/sh\n"
