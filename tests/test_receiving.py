"""What a download takes: room on the disk, looked at first, and bytes, which are counted."""

from __future__ import annotations

import os
import pickle
import shutil
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ama
from ama import Repo, StorageError, Store
from ama.errors import NoSpace
from ama.storage.protocol import Range
from counting_storage import CountingStorage

Usage = namedtuple("Usage", "total used free")
Free = Callable[[int], None]


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Iterator[Free]:
    """Let the disk have so many bytes free."""

    def say(count: int, total: int = 1 << 40) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(total, total - count, count))

    return say


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One with models/1, of 3,000 bytes that compress well and 2 MB that don't, and models/2."""
    repo = Repo.init(tmp_path / "work", "models")
    (repo.root / "text").write_bytes(b"abc" * 1000)
    (repo.root / "noise").write_bytes(os.urandom(2_000_000))
    repo.add(".")
    repo.upload(remote=str(tmp_path / "store"))
    (repo.root / "text").write_bytes(b"abcd" * 1000)
    repo.add(".")
    repo.upload(remote=str(tmp_path / "store"))
    return Store.open(str(tmp_path / "store"))


def test_what_does_not_fit_is_refused_with_both_figures(
    store: Store, tmp_path: Path, free: Free
) -> None:
    free(1_100_000)
    copy = tmp_path / "copy"
    with pytest.raises(StorageError) as caught:
        store.download("models/1", copy)
    error = caught.value
    assert error.message == f"{copy} takes 2.0 MB, and 1.1 MB are free on its disk"
    assert isinstance(error, NoSpace)
    assert (error.needed, error.free) == (2_003_000, 1_100_000)
    again = pickle.loads(pickle.dumps(error))
    assert (again.message, again.needed, again.errno) == (error.message, 2_003_000, error.errno)
    assert os.listdir(copy) == [".ama"]
    assert not list(copy.glob(".ama/incoming/*/*")), "nothing was fetched"
    free(2_003_000)
    assert store.download("models/1", copy).files == 2


def test_only_what_is_to_be_written_counts(store: Store, tmp_path: Path, free: Free) -> None:
    free(0)
    assert store.download("models/1", tmp_path / "none", metadata_only=True).files == 0
    free(3_000)
    assert store.download("models/1", tmp_path / "copy", include="text").files == 1
    with pytest.raises(NoSpace, match=r"takes 2\.0 MB"):
        store.download("models/1", tmp_path / "copy")
    free(2_000_000)
    store.download("models/1", tmp_path / "copy")
    free(0)
    assert store.download("models/1", tmp_path / "copy").already


def test_who_does_not_say_how_large_it_is_is_not_asked(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 0))
    assert store.download("models/1", tmp_path / "copy").files == 2


def test_switch_and_restore_look_too(store: Store, tmp_path: Path, free: Free) -> None:
    repo = Repo.open(tmp_path / "work")
    free(2_999)
    with pytest.raises(NoSpace, match=r"takes 3\.0 kB, and 3\.0 kB are free"):
        repo.switch("models/1")
    assert (repo.root / "text").read_bytes() == b"abcd" * 1000
    free(3_000)
    repo.switch("models/1")
    (repo.root / "text").unlink()
    free(10)
    with pytest.raises(NoSpace):
        repo.restore("text")


def packs_read(storage: CountingStorage, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the bytes of packs that are read."""
    read, found = storage.inner.read, []

    def counted(ranges: list[Range]) -> list[bytes | None]:
        answers = read(ranges)
        for wanted, data in zip(ranges, answers, strict=True):
            if wanted.name.startswith("packs/") and data is not None:
                found.append(len(data))
        return answers

    monkeypatch.setattr(storage.inner, "read", counted)
    return found


@pytest.mark.usefixtures("no_neighbours")
def test_received_is_what_came_of_the_packs(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = CountingStorage(store.remote.storage)
    store.remote.storage = counting
    packs = packs_read(counting, monkeypatch)

    whole = store.download("models/1", tmp_path / "copy")
    assert whole.bytes_received == sum(packs)
    assert 2_000_000 < whole.bytes_received < 2_003_000, "text came compressed"

    packs.clear()
    (tmp_path / "copy" / "text").unlink()
    again = store.download("models/1", tmp_path / "copy")
    assert again.bytes_received == sum(packs) < 2_000, "the large file is here"

    packs.clear()
    there = store.download("models/1", tmp_path / "copy")
    assert there.already
    assert there.bytes_received == sum(packs) < 1_000
    assert ama.Repo.open(tmp_path / "copy").status().clean


def test_a_link_among_what_is_on_its_way_leads_to_nothing_that_is_deleted(
    tmp_path: Path,
) -> None:
    store = tmp_path / "shelf"
    for data in (b"1", b"2"):
        ama.publish("models", {"x": data}, store=store)
    ama.Store.open(store).download("models/1", tmp_path / "copy")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "paper.txt").write_text("paper")
    incoming = tmp_path / "copy" / ".ama" / "incoming"
    incoming.mkdir(exist_ok=True)
    (incoming / "0123456789abcdef").symlink_to(tmp_path / "work")
    repo = Repo.open(tmp_path / "copy")
    repo.switch("models/2")
    assert (tmp_path / "copy" / "x").read_bytes() == b"2"
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["paper.txt"]
