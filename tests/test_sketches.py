"""Pushes to a store whose indexes are more than anybody reads: what they find, and what it costs.

The budget is made small and the sample large here, so that a small store will do.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest
from blake3 import blake3

import ama
from ama.format.entries import Publish
from ama.format.hashing import ID_SIZE
from ama.storage.protocol import Range, Storage
from ama.stores import index_choice, sketches
from ama.stores.index_choice import IndexChoice
from ama.stores.object_reader import index_name
from ama.stores.remote import Remote
from ama.stores.sketches import (
    PREFIX,
    Sketch,
    decode_sketches,
    encode_sketches,
    places,
    reach,
    sketch_name,
)
from counting_storage import CountingStorage
from test_budgets import contents, counted, fill, no_waiting_for_the_disk, others, settings_with

__all__ = ["counted", "no_waiting_for_the_disk"]

LARGE = blake3(b"large").digest(length=4_000_000)
CHANGED = LARGE[:2_000_000] + b"inserted" * 100 + LARGE[2_000_000:]
Counters = Callable[[str], CountingStorage]


class Crowd:
    """A store with an old asset, and many by others since."""

    def __init__(self, tmp_path: Path, counters: Counters) -> None:
        self.url = f"memory://{uuid4()}"
        self.storage = counters(self.url)
        self._tmp = tmp_path
        self._machines = iter(range(100))
        self.upload("old", LARGE)
        others(self.storage.inner, sketches.EVERY + 6, ["data"])
        self.remote = Remote.open(self.storage, None)

    def upload(self, class_name: str, data: bytes) -> int:
        """Upload a file on a machine that has never seen the store; return the bytes written."""
        place = self._tmp / f"machine {next(self._machines)}"
        settings = settings_with(self.url, place / "cache")
        repo = ama.Repo.init(place / "work", class_name, settings=settings)
        fill(repo.root, {"model": data})
        repo.add(["."])
        self.storage.reset()
        repo.upload()
        return self.storage.bytes_written

    def is_sound(self, class_name: str, data: bytes) -> None:
        place = self._tmp / f"machine {next(self._machines)}"
        store = ama.Store.open(self.url, settings=settings_with(self.url, place / "cache"))
        store.download(class_name, place / "copy")
        assert contents(place / "copy") == {"model": data}
        report = store.fsck()
        assert report.problems == ()
        assert report.orphans == 0

    def old_index(self) -> bytes:
        (event,) = self.remote.log.read_entry(1).events
        assert isinstance(event, Publish)
        return event.indexes[0]

    def indexes_read(self) -> set[str]:
        return {
            name
            for operation, names in self.storage.log
            for name in names
            if operation == "read" and name.startswith("index/")
        }


@pytest.fixture
def crowd(tmp_path: Path, counted: Counters, monkeypatch: pytest.MonkeyPatch) -> Crowd:
    monkeypatch.setattr(sketches, "BELOW", b"\x40" + bytes(ID_SIZE - 1))  # one of four
    monkeypatch.setattr(index_choice, "BUDGET", 40_000)
    return Crowd(tmp_path, counted)


def test_a_push_finds_by_a_sketch_what_it_does_not_read(crowd: Crowd) -> None:
    assert crowd.upload("fresh", CHANGED) < len(LARGE) / 2
    assert index_name(crowd.old_index()) in crowd.indexes_read()
    assert len(crowd.indexes_read()) < 16  # of some 70: what is not told of yet, and what was hit
    crowd.is_sound("fresh", CHANGED)


def test_other_content_reads_no_index_that_is_told_of(crowd: Crowd) -> None:
    other = blake3(b"other").digest(length=3_000_000)
    assert crowd.upload("fresh", other) > len(other)
    assert index_name(crowd.old_index()) not in crowd.indexes_read()
    crowd.is_sound("fresh", other)


def test_what_the_class_has_is_searched_without_a_sketch(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_choice, "is_sampled", lambda object_id: False)
    assert crowd.upload("old", CHANGED) < len(LARGE) / 2
    assert crowd.upload("fresh", CHANGED + b"more") > len(LARGE)


def test_within_the_budget_all_is_searched(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_choice, "is_sampled", lambda object_id: False)
    monkeypatch.setattr(index_choice, "BUDGET", 1 << 20)
    assert crowd.upload("fresh", CHANGED) < len(LARGE) / 4
    view = crowd.remote.view()
    choice = IndexChoice(crowd.remote)
    assert len(choice.at(view, [])) == len(view.root.indexes)
    assert choice.complete


@pytest.mark.parametrize("budget", [0, 3000, 10_000, 40_000])
def test_a_budget_is_kept(crowd: Crowd, budget: int) -> None:
    view = crowd.remote.view()
    choice = IndexChoice(crowd.remote, budget)
    found = choice.at(view, ["old", "data"])
    for at in crowd.remote.indexes([crowd.old_index()])[0]:
        found += choice.more(at.record.id)
    assert sum({index.id: index.size for index in found}.values()) <= budget
    assert {index.id for index in choice.at(view, [])} == {index.id for index in found}
    assert not choice.complete


def rewritten(storage: Storage, change: Callable[[bytes], bytes | None]) -> None:
    (data,) = storage.read([Range(sketch_name(64))])
    assert data is not None
    storage.delete(sketch_name(64))
    changed = change(data)
    if changed is not None:
        storage.put(sketch_name(64), changed)


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda data: None,
    "empty": lambda data: b"",
    "cut off": lambda data: data[:-40],
    "flipped": lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:],
    "garbage": lambda data: b"\xff" * len(data),
    "of nothing": lambda data: encode_sketches([]),
    "of indexes that are not there": lambda data: encode_sketches(
        s._replace(index_id=bytes(32)) for s in decode_sketches(data)
    ),
    "of other objects": lambda data: encode_sketches(
        s._replace(ids=(bytes(PREFIX),)) for s in decode_sketches(data)
    ),
    "of wrong sizes and entries": lambda data: encode_sketches(
        s._replace(size=1, entry=1) for s in decode_sketches(data)
    ),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_sketch_that_is_lost_or_wrong_costs_duplicates_at_most(crowd: Crowd, how: str) -> None:
    rewritten(crowd.storage.inner, DAMAGES[how])
    assert crowd.upload("fresh", CHANGED) < len(LARGE) + 200_000
    crowd.is_sound("fresh", CHANGED)


def test_fsck_says_nothing_of_sketches(crowd: Crowd) -> None:
    crowd.is_sound("old", LARGE)
    rewritten(crowd.storage.inner, lambda data: None)
    crowd.is_sound("old", LARGE)


def test_a_sketch_tells_the_sample_of_each_index(crowd: Crowd) -> None:
    told = sketches.read_sketches(crowd.storage.inner, crowd.remote.cache, [64])
    view = crowd.remote.view()
    assert [sketch.entry for sketch in told] == list(range(1, 65))
    assert [sketch.index_id for sketch in told] == list(view.root.indexes)[:64]
    for sketch, index in zip(told, crowd.remote.indexes(s.index_id for s in told), strict=True):
        ids = {at.record.id for at in index}
        assert sketch.size == index.size
        assert set(sketch.ids) == {each[:PREFIX] for each in ids if each[0] < 0x40}


# Which file tells of which entries


@pytest.mark.parametrize("number", [1, 63, 64, 100, 4095, 4096, 5000, 262_144, 270_000, 999_999])
def test_each_entry_is_told_of_once(number: int) -> None:
    spans = [(at - reach(at), at) for at in places(number)]
    assert all(later[0] == at for later, (_, at) in pairwise(spans))
    end = number // sketches.EVERY * sketches.EVERY
    assert (spans[-1][0], spans[0][1]) == (0, end) if end else spans == []
    assert len(spans) <= 63 * 3


def test_a_later_sketch_takes_over_what_earlier_ones_tell(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 64 entries each here; of 4 each, so that a few make a power."""
    monkeypatch.setattr(sketches, "EVERY", 4)
    storage, cache = crowd.storage.inner, crowd.remote.cache
    log = crowd.remote.log
    for number in range(4, 65, 4):
        view = log.refold(number)
        sketches.write_sketches(storage, cache, view, log.read_entries)
    assert list(places(64)) == [64]
    told = sketches.read_sketches(storage, cache, [64])
    assert sorted(sketch.entry for sketch in told) == list(range(1, 65))
    assert min(s.entry for s in sketches.read_sketches(storage, cache, [52])) == 49


def test_bytes_of_sketches() -> None:
    told = [
        Sketch(bytes([n]) * 32, n, 1000 * n, tuple(bytes([n, m] * 4) for m in range(n)))
        for n in range(5)
    ]
    assert decode_sketches(encode_sketches(told)) == tuple(told)
