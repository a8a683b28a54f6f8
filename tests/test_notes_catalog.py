"""Notes in a catalog: the same as the log says, at each step, for what each step costs."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import ama
from ama import Settings, Store
from ama.catalog import noting
from ama.catalog.database import Catalog
from ama.catalog.filling import MOST_BEHIND
from ama.catalog.schema import FILE, from_cell
from ama.format.entries import AddNote, Event, Publish, entry_name
from ama.format.hashing import blob_id
from ama.format.notes import NoteRecord
from ama.storage.local import LocalStorage
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from counting_storage import CountingStorage

ANN = "Ann <ann@example.org>"


@pytest.fixture
def url(tmp_path: Path) -> Path:
    place = tmp_path / "store"
    store = Store.open(place, create=True)
    for number in range(3):
        store.publish("models", {"a.yml": f"n: {number}".encode()})
    store.publish("data", {"a": b"a"})
    return place


def in_catalog(store: Store) -> dict[str, tuple[dict[str, object], list[str], int]]:
    """What a catalog has of each asset: values, tags, and how many notes."""

    def ask(
        db: sqlite3.Connection, view: LogView
    ) -> dict[str, tuple[dict[str, object], list[str], int]]:
        found = {}
        for row, asset, name, number in db.execute(
            "SELECT id, hash, class, number FROM assets WHERE number IS NOT NULL"
        ).fetchall():
            cells = db.execute("SELECT key, kind, text FROM noted WHERE asset = ?", (row,))
            values = {key: from_cell(kind, text) for key, kind, text in cells}
            tags = db.execute("SELECT tag FROM tags WHERE asset = ? ORDER BY tag", (row,))
            about = "SELECT count(*) FROM notes WHERE asset = ? AND class = ?"
            (count,) = db.execute(about, (asset, name)).fetchone()
            found[f"{name}/{number}"] = values, [tag for (tag,) in tags], count
        for name in view.class_names:
            (count,) = db.execute(
                "SELECT count(*) FROM notes WHERE asset IS NULL AND class = ?", (name,)
            ).fetchone()
            found[name] = {}, [], count
        return found

    return Catalog(store.remote).ask(ask)


def in_store(store: Store) -> dict[str, tuple[dict[str, object], list[str], int]]:
    """The same, as the log has it."""
    found = {}
    for each in store.classes():
        for asset in store.history(each.name):
            noted = store.noted(asset.id)
            name = f"{asset.class_name}/{asset.number}"
            found[name] = dict(noted.metadata), list(noted.tags), len(noted.notes)
        found[each.name] = {}, [], len(store.notes(each.name))
    return found


def typed(found: dict[str, tuple[dict[str, object], list[str], int]]) -> object:
    return {
        name: ({k: (type(v), v) for k, v in sorted(values.items())}, tags, count)
        for name, (values, tags, count) in sorted(found.items())
    }


def append(store: Store, events: Sequence[Event]) -> None:
    store.remote.log.append(lambda view: events, author=ANN, now=lambda: 1)


def test_it_says_what_the_log_says_at_each_step(url: Path, tmp_path: Path) -> None:
    source = random.Random(3)
    store = Store.open(url)
    ids = [bytes.fromhex(a.id) for name in ("models", "data") for a in store.assets(name)]
    values = [None, 1, 1.0, True, 2**64 - 1, "1", float("inf"), "Straße"]
    for step in range(140):
        tags = sorted(source.sample("xyz", 2))
        asset = source.choice([None, *ids, blob_id(b"no asset")])
        keys = source.sample("abcd", source.randrange(4))
        note = AddNote(
            # Also of an asset in a class that isn't its own.
            source.choice(["models", "data"]),
            asset,
            {key: source.choice(values) for key in keys},
            tuple(tags[:1]),
            tuple(tags[1:]),
            source.choice(["", "said", "long " * 2000]),
        )
        append(store, [note] * source.choice([1, 1, 3]))
        if step % 17 == 0 or step in (60, 61, 62, 139):
            assert typed(in_catalog(store)) == typed(in_store(store))
    other = Store.open(url, settings=replace(store.settings, cache_dir=tmp_path / "other"))
    assert typed(in_catalog(other)) == typed(in_store(store))


def test_a_note_of_an_asset_that_comes_later(url: Path, tmp_path: Path) -> None:
    """No writer of ama does that, but a catalog says what the log says."""
    store = Store.open(url)
    source = Store.open(tmp_path / "elsewhere", create=True)
    asset = source.publish("models", {"b": b"b"}).asset
    assert asset is not None
    in_catalog(store)
    append(store, [AddNote("models", bytes.fromhex(asset.id), {"a": 1}, ("x",))])
    in_catalog(store)
    source.copy("models/1", store)
    assert in_catalog(store)["models/4"] == ({"a": 1}, ["x"], 1)
    assert typed(in_catalog(store)) == typed(in_store(store))


def test_a_note_of_an_asset_of_another_store(url: Path, tmp_path: Path) -> None:
    """It isn't published here, so that a note has no effect, whenever the catalog was filled."""
    source = Store.open(tmp_path / "elsewhere", create=True)
    asset = source.publish("data", {"b": b"b"}).asset
    assert asset is not None
    source.publish("models", {"c": b"c"}, refs="data/1")
    source.delete("data/1", force=True)  # what is deleted is not copied, but its record is
    store = Store.open(url)
    source.copy("models/1", store)
    assert len(store.find(class_name="data")) == 1  # the other one is not published here

    def values(store: Store) -> list[tuple[object, ...]]:
        return Catalog(store.remote).ask(
            lambda db, view: db.execute("SELECT key, text FROM noted").fetchall()
        )

    assert values(store) == []
    append(store, [AddNote("data", bytes.fromhex(asset.id), {"a": 1}, ("x",))])
    other = Store.open(url, settings=replace(store.settings, cache_dir=tmp_path / "other"))
    assert values(store) == values(other) == []
    assert typed(in_catalog(store)) == typed(in_store(store))


def test_an_asset_that_is_published_many_times(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile log can't make each update add up all notes of an asset many times."""
    store = Store.open(url)
    in_catalog(store)
    publish = store.remote.log.read_entry(1).events[0]
    assert isinstance(publish, Publish)
    append(store, [AddNote("models", publish.asset, {"a": number}) for number in range(50)])
    append(store, [publish] * 50)
    calls = []
    add_up = noting._add_up

    def counted(db: sqlite3.Connection, record: NoteRecord, row: int) -> None:
        calls.append(row)
        add_up(db, record, row)

    monkeypatch.setattr(noting, "_add_up", counted)
    assert typed(in_catalog(store)) == typed(in_store(store))
    assert len(calls) == 100


def test_what_is_known_of_a_file_and_of_a_class(url: Path) -> None:
    store = Store.open(url)
    store.note("models/2", file={"report.json": b"{}"}, metadata={"f1": 0.5})
    store.note("models", message="first")
    store.note("models", message="second")

    def ask(db: sqlite3.Connection, view: LogView) -> None:
        row = "SELECT class, entry, message, file, content, size FROM notes ORDER BY id"
        first, *rest = db.execute(row).fetchall()
        assert first == ("models", 5, "", "report.json", blob_id(b"{}"), 2)
        assert [each[2:] for each in rest] == [
            ("first", None, None, None),
            ("second", None, None, None),
        ]
        (key, number, entry) = db.execute(
            "SELECT key, number, entry FROM noted JOIN notes ON notes.id = note"
        ).fetchone()
        assert (key, number, entry) == ("f1", 0.5, 5)

    Catalog(store.remote).ask(ask)


def test_an_update_reads_what_is_new(url: Path, tmp_path: Path) -> None:
    writer = Store.open(url, settings=replace(Settings.load(None), cache_dir=None))
    ids = [bytes.fromhex(asset.id) for asset in writer.assets("models")]

    def some(count: int) -> list[AddNote]:
        return [AddNote("models", ids[n % 3], {f"k{n % 50}": n}) for n in range(count)]

    while writer.remote.view().number < 130:
        append(writer, some(10))
    storage = CountingStorage(LocalStorage(url))
    cache = tmp_path / "cache"
    reader = Store(Remote.open(storage, cache), replace(Settings.load(None), cache_dir=cache))
    in_catalog(reader)
    append(writer, some(1))
    storage.reset()
    assert in_catalog(reader)["models/1"][2] == in_store(writer)["models/1"][2]
    assert storage.round_trips == 3  # is there news, HINT, and the end of the log
    assert {name.partition("/")[0] for _, names in storage.log for name in names} == {"log"}
    # A publication without a note asks for none of them.
    writer.publish("models", {"b": b"b"})
    storage.reset()
    in_catalog(reader)
    assert not any("notes" in name for _, names in storage.log for name in names)
    # After the next checkpoint: its file, and segments that have changed.
    while writer.remote.view().number < 193:
        append(writer, some(10))
    storage.reset()
    assert in_catalog(reader)["models/1"][2] == in_store(writer)["models/1"][2]
    parts = [name for _, names in storage.log for name in names if "checkpoint/" in name]
    assert len(parts) <= 20
    assert MOST_BEHIND > 64


def test_show_has_them_apart(url: Path) -> None:
    store = Store.open(url)
    store.note("models/1", metadata={"loss": 0.25}, tags="approved", message="good")
    summary = store.summary("models/1")
    assert summary.noted == store.noted("models/1")
    assert "loss" not in summary.asset.metadata
    assert all(fact.key != "loss" for fact in summary.facts)
    store.delete("models/1")
    gone = store.summary("models/1")
    assert gone.noted is not None
    assert gone.noted.metadata == {"loss": 0.25}


def test_a_catalog_of_the_version_before_is_left_alone(url: Path) -> None:
    assert FILE == "catalog-13.sqlite"
    store = Store.open(url)
    in_catalog(store)
    assert store.remote.cache.path(FILE).is_file()  # type: ignore[union-attr]
    assert ama.Store.open(url).remote.storage.sizes([entry_name(4)]) != [None]
