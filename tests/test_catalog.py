"""The catalog: kept up to date by few requests, and never wrong, whatever happens to its file."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import ama
from ama.catalog.conditions import parse_param
from ama.catalog.database import Catalog
from ama.catalog.documents import Value
from ama.catalog.facts import files_of
from ama.catalog.find import MOST_PLACES, MOST_UNREAD, Criteria, content_id, select
from ama.catalog.schema import FILE, TABLES, from_cell
from ama.errors import IntegrityError, InvalidInput
from ama.format.entries import HeldRef, Publish, SetStatus
from ama.format.hashing import asset_id, blob_id, tree_id
from ama.format.objects import (
    MAX_SIZE,
    Asset,
    EntryKind,
    Kind,
    RefLink,
    TreeEntry,
    decode_tree,
    encode_asset,
    encode_tree,
)
from ama.settings import Settings
from ama.storage.local import LocalStorage
from ama.stores.log_view import LogView
from ama.stores.pack_writer import PackWriter
from ama.stores.remote import Remote
from counting_storage import CountingStorage

SOURCE = Path(__file__).parent.parent / "src"


class Shelf:
    """A store that assets are published to as their tools would, by hand."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "store"
        self.storage = CountingStorage(LocalStorage(self.directory))
        self.cache_dir = directory / "cache"
        self.remote, _ = Remote.create(self.storage, self.cache_dir)
        self.published = 0
        self.author = "Ann"

    def publish(
        self,
        class_name: str,
        files: dict[str, bytes],
        *,
        refs: tuple[bytes, ...] = (),
        trees: dict[str, bytes] | None = None,
    ) -> bytes:
        """Publish an asset; `trees` are entries of its root that are claimed as they are."""
        entries = [TreeEntry(n, EntryKind.FILE, blob_id(d), len(d)) for n, d in files.items()]
        entries += [TreeEntry(n, EntryKind.TREE, i, 0) for n, i in (trees or {}).items()]
        root = encode_tree(sorted(entries))
        links = tuple(RefLink(each, class_name) for each in refs)
        self.published += 1
        asset = encode_asset(
            Asset(class_name, tree_id(root), (), links, self.author, self.published)
        )
        with PackWriter(self.storage) as writer:
            for data in files.values():
                writer.add(Kind.DATA, blob_id(data), data)
            writer.add(Kind.TREE, tree_id(root), root)
            writer.add(Kind.ASSET, asset_id(asset), asset)
            (index,) = writer.finish()
        held = tuple(HeldRef(each, True) for each in refs)
        event = Publish(asset_id(asset), class_name, (), (index.id,), (index.id,), held)
        self.remote.log.append(lambda _: [event], author="Ann", now=lambda: 0)
        return asset_id(asset)

    def tree(self, entries: list[TreeEntry]) -> tuple[bytes, bytes]:
        data = encode_tree(entries)
        return tree_id(data), data

    def catalog(self, cache: str = "cache") -> Catalog:
        """The catalog of a process of its own."""
        return Catalog(Remote.open(self.storage, self.cache_dir.parent / cache))

    @property
    def file(self) -> Path:
        (found,) = self.cache_dir.glob(f"stores/*/{FILE}")
        return found


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def holding(catalog: Catalog, content: bytes) -> int:
    criteria = Criteria(content=blob_id(content))
    return len(catalog.ask(lambda db, view: select(db, criteria)))


def rows(file: Path) -> dict[str, set[object]]:
    """All that a catalog says, but for the numbers that its rows were given."""
    db = sqlite3.connect(file)
    try:
        found: dict[str, set[object]] = {
            "trees": set(
                db.execute("SELECT hash, own, files, text, documents, encoded FROM trees")
            ),
            "directories": set(
                db.execute(
                    "SELECT above.hash, name, below.hash FROM directories"
                    " JOIN trees AS above ON above.id = tree"
                    " JOIN trees AS below ON below.id = child"
                )
            ),
            "files": set(
                db.execute(
                    "SELECT content, hash, files.size FROM files JOIN trees ON trees.id = tree"
                )
            ),
            "places": set(
                db.execute(
                    "SELECT hash, name, content, syntax FROM places JOIN trees ON trees.id = tree"
                    " JOIN documents ON documents.id = document"
                )
            ),
            "assets": set(
                db.execute("SELECT hash, class, number, status, data, unread FROM assets")
            ),
            "values": set(
                db.execute(
                    "SELECT content, syntax, key, text FROM parameters"
                    " JOIN documents ON documents.id = document"
                )
            ),
        }
        for table in ("aliases", "state"):
            found[table] = set(db.execute(f"SELECT * FROM {table}"))
        return found
    finally:
        db.close()


def test_one_new_asset_is_read_by_few_requests(shelf: Shelf) -> None:
    for number in range(30):
        shelf.publish("models", {"a.yml": b"x: %d" % number, "b": b"%d" % number})
    assert holding(shelf.catalog(), b"7") == 1
    shelf.storage.reset()
    assert holding(shelf.catalog(), b"7") == 1
    warm = shelf.storage.requests
    assert warm <= 4  # format.json and HINT, and whether the log still ends as it did

    shelf.publish("models", {"a.yml": b"x: 7", "c": b"7", "new.json": b'{"y": 1}'})
    shelf.storage.reset()
    assert holding(shelf.catalog(), b"7") == 2
    few = shelf.storage.requests
    for number in range(100):
        shelf.publish("others", {"b": b"%d" % number})
    assert holding(shelf.catalog(), b"7") == 3
    shelf.publish("models", {"d": b"8", "e.toml": b"z = 1"})
    shelf.storage.reset()
    assert holding(shelf.catalog(), b"8") == 3
    assert shelf.storage.requests <= few + 4  # a checkpoint more may lie between


def test_filled_bit_by_bit_or_at_once_it_says_the_same(shelf: Shelf) -> None:
    first = shelf.publish("models", {"a.yml": b"x: 1", "b": b"1"})
    catalog = shelf.catalog()
    for number in range(12):
        shelf.publish("models", {"a.yml": b"x: %d" % (number % 3), "b": b"1"}, refs=(first,))
        assert holding(catalog, b"1") == number + 2
    status = SetStatus(first, "models", "deleted")
    shelf.remote.log.append(lambda _: [status], author="Ann", now=lambda: 0)
    assert holding(catalog, b"1") == 12
    assert holding(shelf.catalog("another"), b"1") == 12
    (another,) = (shelf.cache_dir.parent / "another").glob(f"stores/*/{FILE}")
    said = rows(shelf.file)
    assert said["assets"]
    # Of what was deleted before it was read, a catalog only has the record.
    assert {row[:5] for row in said["assets"]} == {row[:5] for row in rows(another)["assets"]}  # type: ignore[index]
    assert said["values"] >= rows(another)["values"]
    assert said["state"] == rows(another)["state"]


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def overwritten(file: Path) -> None:
    file.write_bytes(b"no database at all" * 500)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def without_a_table(file: Path) -> None:
    db = sqlite3.connect(file)
    db.execute("DROP TABLE directories")
    db.commit()
    db.close()


def a_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("damage", [truncated, overwritten, empty, without_a_table, a_directory])
def test_a_broken_file_is_made_anew(shelf: Shelf, damage: Callable[[Path], None]) -> None:
    for number in range(20):
        shelf.publish("models", {"a": b"%d" % number})
    assert holding(shelf.catalog(), b"3") == 1
    damage(shelf.file)
    assert holding(shelf.catalog(), b"3") == 1
    assert holding(shelf.catalog(), b"nowhere") == 0


def test_a_file_with_impossible_values_is_made_anew(shelf: Shelf) -> None:
    """A disk changed some bits of it, which SQLite doesn't see."""

    def learning_rate(db: sqlite3.Connection, view: LogView) -> Value:
        return from_cell(*db.execute("SELECT kind, text FROM parameters").fetchone())

    shelf.publish("models", {"a.yml": b"lr: 0.5"})
    assert shelf.catalog().ask(learning_rate) == 0.5
    for text in ("0.!", "?"):
        with contextlib.closing(sqlite3.connect(shelf.file)) as db, db:
            db.execute("UPDATE parameters SET text = ?", (text,))
        assert shelf.catalog().ask(learning_rate) == 0.5


def test_a_directory_with_other_bits_is_not_believed(shelf: Shelf) -> None:
    """Nor a name in it, which is as possible as the right one."""
    asset = shelf.publish("models", {"name": b"1"})
    tree = tree_id(encode_tree([TreeEntry("name", EntryKind.FILE, blob_id(b"1"), 1)]))
    questions: list[Callable[[Catalog], object]] = [
        lambda catalog: catalog.ask(lambda db, view: select(db, Criteria(content=blob_id(b"1")))),
        lambda catalog: catalog.ask(lambda db, view: select(db, Criteria(name="n*"))),
        lambda catalog: catalog.ask(lambda db, view: files_of(db, asset)),
    ]
    for question in questions:
        right = question(shelf.catalog())
        assert "name" in str(right)
        with contextlib.closing(sqlite3.connect(shelf.file)) as db, db:
            (encoded,) = db.execute("SELECT encoded FROM trees").fetchone()
            assert b"name" in encoded
            db.execute("UPDATE trees SET encoded = ?", (encoded.replace(b"name", b"nave"),))
        with shelf.catalog().trees() as entries:
            assert entries(tree) is None
        assert question(shelf.catalog()) == right


def test_without_a_place_for_it_it_is_in_memory(shelf: Shelf) -> None:
    shelf.publish("models", {"a": b"1"})
    catalog = Catalog(Remote.open(shelf.storage, None))
    assert holding(catalog, b"1") == 1
    shelf.publish("models", {"b": b"1"})
    assert holding(catalog, b"1") == 2
    blocked = shelf.cache_dir.parent / "blocked"
    blocked.write_bytes(b"a file where the cache should be")
    assert holding(shelf.catalog("blocked"), b"1") == 2


def test_deleted_under_an_open_catalog(shelf: Shelf) -> None:
    shelf.publish("models", {"a": b"1"})
    catalog = shelf.catalog()
    assert holding(catalog, b"1") == 1
    shutil.rmtree(shelf.cache_dir)
    assert holding(catalog, b"1") == 1


def test_another_store_at_the_same_place(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.publish("models", {"a": b"1"})
    assert holding(shelf.catalog(), b"1") == 1
    copy = tmp_path / "copy"
    shutil.copytree(shelf.directory, copy)
    shelf.publish("models", {"b": b"1"})
    assert holding(shelf.catalog(), b"1") == 2
    # Restored from an older copy, it has lost an entry: that is said, and not answered.
    shutil.rmtree(shelf.directory)
    shutil.copytree(copy, shelf.directory)
    with pytest.raises(IntegrityError):
        holding(shelf.catalog(), b"1")
    # With the memory of the log gone, the catalog must not be believed either.
    for remembered in shelf.cache_dir.glob("stores/*/view"):
        remembered.unlink()
    assert holding(shelf.catalog(), b"1") == 1


ASK = """
import sys
from ama.catalog.conditions import parse_param
from ama.catalog.database import Catalog
from ama.catalog.find import Criteria, select
from ama.format.hashing import blob_id
from ama.stores.remote import Remote
from ama.storage.local import LocalStorage
from pathlib import Path
catalog = Catalog(Remote.open(LocalStorage(Path(sys.argv[1])), Path(sys.argv[2])))
for _ in range(int(sys.argv[3])):
    found = catalog.ask(lambda db, view: (len(select(db, Criteria(content=blob_id(b"same")))),
                                          sum(len(s.assets) for s in view.class_states().values())))
    assert found[0] == found[1], found
print(found[0])
"""


def test_many_processes_fill_it_at_once(shelf: Shelf) -> None:
    """While somebody publishes, each answer is that of one moment of the log."""
    for number in range(40):
        shelf.publish("models", {"same": b"same", "own.yml": b"n: %d" % number})
    argv = [sys.executable, "-c", ASK, str(shelf.directory), str(shelf.cache_dir), "8"]
    environ = {**os.environ, "PYTHONPATH": str(SOURCE)}
    asking = [
        subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for number in range(10):
        shelf.publish("models", {"same": b"same", "later": b"%d" % number})
    for process in asking:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said.decode()
    assert holding(shelf.catalog(), b"same") == 50


def test_killed_in_the_middle_it_goes_on(shelf: Shelf) -> None:
    for number in range(60):
        shelf.publish("models", {"same": b"same", "own.yml": b"n: %d" % number})
    argv = [sys.executable, "-c", ASK, str(shelf.directory), str(shelf.cache_dir), "1"]
    environ = {**os.environ, "PYTHONPATH": str(SOURCE)}
    for pause in (0.15, 0.25, 0.35, 0.5):
        process = subprocess.Popen(
            argv, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert holding(shelf.catalog(), b"same") == 60
    said = rows(shelf.file)
    assert holding(shelf.catalog("another"), b"same") == 60
    (another,) = (shelf.cache_dir.parent / "another").glob(f"stores/*/{FILE}")
    assert said == rows(another)


def test_what_cannot_be_read_is_said_and_read_once_it_is_mended(
    shelf: Shelf, tmp_path: Path
) -> None:
    settings = Settings(
        data_dir=tmp_path / "data",
        cache_dir=shelf.cache_dir,
        user_config_path=tmp_path / "config.toml",
    )
    shelf.publish("models", {"a": b"1"})
    before = set(shelf.directory.glob("packs/*/*"))
    shelf.publish("models", {"b": b"1"})
    lost = [path for path in shelf.directory.glob("packs/*/*") if path not in before]
    for path in lost:
        path.rename(tmp_path / path.name)
    store = ama.Store.open(str(shelf.directory), settings=settings)
    found = store.find(blob_id(b"1").hex())
    assert [each.asset.number for each in found] == [1]
    (unread,) = found.unread
    assert (unread.asset, unread.file, unread.reason) == ("models/2", "", "damaged")
    assert unread.detail

    for path in lost:
        (tmp_path / path.name).rename(path)
    shelf.publish("models", {"c": b"1"})
    found = store.find(blob_id(b"1").hex())
    assert [each.asset.number for each in found] == [1, 2, 3]
    assert found.unread == ()


def test_a_document_that_is_lost_hides_nothing_else(shelf: Shelf, tmp_path: Path) -> None:
    shelf.publish("models", {"a.yml": b"x: 1", "b.bin": b"2"})
    for pack in shelf.directory.glob("packs/*/*"):
        if b"x: 1" in pack.read_bytes():
            pack.rename(tmp_path / pack.name)
    settings = Settings(
        data_dir=tmp_path / "data",
        cache_dir=shelf.cache_dir,
        user_config_path=tmp_path / "config.toml",
    )
    store = ama.Store.open(str(shelf.directory), settings=settings)
    summary = store.resolve("models/1").summary()
    assert [file.path for file in summary.files] == ["a.yml", "b.bin"]
    assert summary.facts == ()
    assert len(summary.unread) == 1
    assert store.compare("models/1", "models/1").unread == summary.unread
    assert [(each.asset, each.reason) for each in summary.unread] == [("models/1", "damaged")]
    assert store.leaderboard("models").unread == summary.unread


def test_a_tree_that_is_none_is_said(shelf: Shelf) -> None:
    shelf.publish("models", {"a": b"1"})
    junk, huge = (
        b"no tree",
        encode_tree([TreeEntry(name, EntryKind.FILE, blob_id(b"1"), MAX_SIZE) for name in "ab"]),
    )
    for root in (junk, huge):
        asset = encode_asset(Asset("models", tree_id(root), (), (), "Eve", 1))
        with PackWriter(shelf.storage) as writer:
            writer.add(Kind.TREE, tree_id(root), root)
            writer.add(Kind.ASSET, asset_id(asset), asset)
            (index,) = writer.finish()
        event = Publish(asset_id(asset), "models", (), (index.id,), (index.id,))
        shelf.remote.log.append(lambda _, event=event: [event], author="Eve", now=lambda: 0)
    assert holding(shelf.catalog(), b"1") == 2
    said = rows(shelf.file)["assets"]
    assert {row[2]: row[5] is None for row in said} == {1: True, 2: False, 3: True}  # type: ignore[index]


def test_a_tree_that_multiplies_is_refused(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty directories, each twice in the one above: a file at more paths than there are atoms."""
    bomb = b"bomb: 1\nlost: [1,"
    entries = [TreeEntry("file.yml", EntryKind.FILE, blob_id(bomb), len(bomb))]
    trees = {}
    for _ in range(40):
        tree, data = shelf.tree(entries)
        trees[tree] = data
        entries = [TreeEntry("a", EntryKind.TREE, tree, 4), TreeEntry("b", EntryKind.TREE, tree, 4)]
    root, data = shelf.tree(entries)
    trees[root] = data
    asset = encode_asset(Asset("models", root, (), (), "Eve", 1))
    with PackWriter(shelf.storage) as writer:
        writer.add(Kind.DATA, blob_id(bomb), bomb)
        for tree, data in trees.items():
            writer.add(Kind.TREE, tree, data)
        writer.add(Kind.ASSET, asset_id(asset), asset)
        (index,) = writer.finish()
    event = Publish(asset_id(asset), "models", (), (index.id,), (index.id,))
    shelf.remote.log.append(lambda _: [event], author="Eve", now=lambda: 0)
    catalog = shelf.catalog()
    assert holding(catalog, b"elsewhere") == 0
    with pytest.raises(InvalidInput, match=f"more than {MOST_PLACES:,} places"):
        holding(catalog, bomb)

    store = ama.Store.open(str(shelf.directory), settings=settings_of(shelf, tmp_path))
    shelf.publish("models", {"sound.yml": b"loss: 1"})
    for limit in ("MOST_FILES", "MOST_TEXT"):
        monkeypatch.setattr(f"ama.worktree.trees.{limit}", 5000)
        summary = store.resolve("models/1").summary()
        assert (summary.files, summary.listed, summary.facts) == ((), False, ())
        assert all("more than can be listed" in each.detail for each in summary.unread)
        assert len(summary.unread) == 2  # the files, and what they say
        with pytest.raises(InvalidInput, match="more than can be listed"):
            store.compare("models/1", "models/2")
        board = store.leaderboard("models", columns="loss")
        assert [row.values for row in board.rows] == [(1,), (None,)]
        assert "more than can be listed" in board.unread[0].detail
    monkeypatch.undo()
    unread = store.find(params="lost=3").unread
    assert {each.key for each in unread} == {None, "lost"}
    assert MOST_UNREAD <= len(unread) <= MOST_UNREAD + 1


def settings_of(shelf: Shelf, tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        cache_dir=shelf.cache_dir,
        user_config_path=tmp_path / "config.toml",
    )


def test_a_cycle_that_a_forged_store_claims(shelf: Shelf, tmp_path: Path) -> None:
    """No honest one can have it, as an id covers the refs; a forged catalog file might."""
    first = shelf.publish("models", {"a": b"1"})
    second = shelf.publish("models", {"b": b"1"}, refs=(first,))
    store = ama.Store.open(str(shelf.directory), settings=settings_of(shelf, tmp_path))
    assert len(store.resolve("models/1").lineage().nodes) == 2
    db = sqlite3.connect(shelf.file)
    (row,) = db.execute("SELECT id FROM assets WHERE hash = ?", (first,)).fetchone()
    db.execute("INSERT INTO links VALUES (?, 'ref', ?, 'models', '', 'models')", (row, second))
    db.commit()
    db.close()
    lineage = store.resolve("models/1").lineage()
    assert len(lineage.nodes) == 2
    assert lineage.graph().closing


def test_every_table_is_emptied_where_the_log_is_another(shelf: Shelf) -> None:
    shelf.publish("models", {"a.yml": b"x: 1"})
    shelf.catalog().ask(lambda db, view: None)
    db = sqlite3.connect(shelf.file)
    names = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    db.close()
    assert names == set(TABLES)


def test_where_a_file_is_matters_only_in_assets_that_fit(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may hold it at any number of places."""
    monkeypatch.setattr("ama.catalog.find.MOST_PLACES", 10)
    for number in range(20):
        shelf.publish("many", {"a.yml": b"x: 1", "b": b"%d" % number})
    shelf.publish("few", {"a.yml": b"x: 1"})
    catalog = shelf.catalog()

    def found(criteria: Criteria) -> int:
        return len(catalog.ask(lambda db, view: select(db, criteria)))

    assert found(Criteria(name="*.yml", class_name="few")) == 1
    assert found(Criteria(content=blob_id(b"x: 1"), class_name="few")) == 1
    assert found(Criteria(params=(parse_param("a.yml:x=1"),))) == 21
    with pytest.raises(InvalidInput):
        found(Criteria(name="*.yml"))


def test_what_may_have_been_made_from_it_is_not_nothing(shelf: Shelf) -> None:
    """The record that would say so is damaged."""
    first = shelf.publish("models", {"a": b"1"})
    before = set(shelf.directory.glob("packs/*/*.pack"))
    shelf.publish("models", {"b": b"2"}, refs=(first,))
    for pack in set(shelf.directory.glob("packs/*/*.pack")) - before:
        pack.chmod(0o644)
        pack.write_bytes(bytes(pack.stat().st_size))
    asset = ama.Store(shelf.remote, Settings.load(None)).resolve("models/1")
    assert asset.downstream().cut
    assert not asset.upstream().cut


def test_any_glob_and_any_author_can_be_asked_for(shelf: Shelf) -> None:
    shelf.author = "Jörg Łukasz"
    shelf.publish("models", {"weights[1].bin": b"1", "[a": b"2"})
    catalog = shelf.catalog()
    for glob, expected in (
        ("weights[[]1].bin", 1),
        ("[a", 1),
        ("[!w]a", 1),
        ("w*[0-9]*n", 1),
        ("*a" * 40_000, 0),
    ):
        criteria = Criteria(name=glob)
        assert len(catalog.ask(lambda db, view: select(db, criteria))) == expected, glob  # noqa: B023
    for author in ("JÖRG", "łukasz"):
        criteria = Criteria(author=author)
        assert len(catalog.ask(lambda db, view: select(db, criteria))) == 1, author  # noqa: B023


def test_one_that_others_write_to_for_long_is_left_to_them(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.publish("models", {"a": b"1"})
    assert holding(shelf.catalog(), b"1") == 1
    shelf.publish("models", {"a": b"1", "b": b"2"})
    before = shelf.file.stat().st_ino
    monkeypatch.setattr("ama.catalog.database.PATIENCE", 0.1)
    other = sqlite3.connect(shelf.file, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        assert holding(shelf.catalog(), b"1") == 2
    finally:
        other.close()
    assert shelf.file.stat().st_ino == before


def test_the_size_of_what_was_there_before(shelf: Shelf) -> None:
    """As another asset, or as a directory of one."""
    inner, data = shelf.tree([TreeEntry("a", EntryKind.FILE, blob_id(b"123"), 3)])
    with PackWriter(shelf.storage) as writer:
        writer.add(Kind.TREE, inner, data)
    shelf.publish("models", {"b": b"12345"}, trees={"in": inner})
    store = ama.Store(shelf.remote, Settings.load(None))
    assert len(store.find(author="Ann")) == 1
    shelf.publish("models", {"b": b"12345"})
    assert len(store.find(author="Ann")) == 2
    shelf.publish("models", {"b": b"12345"})
    shelf.publish("models", {"a": b"123"})
    sizes = [each.asset.size for each in store.find(author="Ann")]
    assert sizes[1:] == [5, 5, 3]
    assert store.resolve("models/4").summary().asset.size == 3


@pytest.mark.parametrize("what", ["trees", "documents"])
def test_what_could_not_be_read_is_said_and_read_when_it_is_back(shelf: Shelf, what: str) -> None:
    """Damage and its repair may be no entries of the log: a disk that is away, a restored file."""
    shelf.publish("models", {"training.yml": b"loss: 1"})
    shelf.publish("others", {"training.yml": b"loss: 2"})
    store = ama.Store(shelf.remote, Settings.load(None))
    packs = list(shelf.directory.glob("packs/*/*.pack"))
    whole = {pack: pack.read_bytes() for pack in packs}
    for pack, data in whole.items():
        holds_values = b"loss: 1" in data
        if holds_values if what == "documents" else not holds_values and b"models" in data:
            pack.chmod(0o644)
            pack.write_bytes(bytes(len(data)))
    found = store.find(params="loss")
    assert [each.asset.class_name for each in found] == ["others"]
    assert [each.asset for each in found.unread] == ["models/1"]
    board = store.leaderboard("models")
    assert (board.rows, board.unread) == ((), found.unread)
    assert store.leaderboard("others").unread == ()
    for pack, data in whole.items():
        pack.chmod(0o644)
        pack.write_bytes(data)
    found = store.find(params="loss")
    assert ([each.asset.class_name for each in found], found.unread) == (["models", "others"], ())


def wide(shelf: Shelf, changed: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The trees of an asset of 20 directories with 50 files each, of which one may change."""
    entries, trees = [], {}
    for at in range(20):
        names = {f"{number:02}.bin": b"%d %d" % (at, number) for number in range(50)}
        if at == 7:
            names["25.bin"] = changed
        tree, data = shelf.tree(
            [TreeEntry(n, EntryKind.FILE, blob_id(d), len(d)) for n, d in names.items()]
        )
        trees[tree] = data
        entries.append(TreeEntry(f"d{at:02}", EntryKind.TREE, tree, sum(map(len, names.values()))))
    root, trees[root] = shelf.tree(entries)
    return root, trees


def publish_tree(shelf: Shelf, root: bytes, trees: dict[bytes, bytes]) -> None:
    shelf.published += 1
    asset = encode_asset(Asset("models", root, (), (), "Ann", shelf.published))
    with PackWriter(shelf.storage) as writer:
        for tree, data in trees.items():
            writer.add(Kind.TREE, tree, data)
        writer.add(Kind.ASSET, asset_id(asset), asset)
        (index,) = writer.finish()
    event = Publish(asset_id(asset), "models", (), (index.id,), (index.id,))
    shelf.remote.log.append(lambda _: [event], author="Ann", now=lambda: 0)


def counted_rows(file: Path) -> dict[str, int]:
    with contextlib.closing(sqlite3.connect(file)) as db:
        return {t: db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in TABLES}


def test_a_version_one_file_apart_costs_the_directories_above_it(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In rows of the catalog, and in trees that are read to fill it, to show and to compare."""
    publish_tree(shelf, *wide(shelf, b"old"))
    assert holding(shelf.catalog(), b"old") == 1
    before = counted_rows(shelf.file)
    assert (before["trees"], before["files"], before["directories"]) == (21, 1000, 20)

    read: list[bytes] = []

    def decoded(data: bytes, part: str = "") -> tuple[TreeEntry, ...]:
        read.append(data)
        return tuple(entry for entry in decode_tree(data) if part in entry.name)

    monkeypatch.setattr("ama.catalog.filling.decode_tree", decoded)
    monkeypatch.setattr("ama.catalog.find.reread_tree", decoded)
    publish_tree(shelf, *wide(shelf, b"new"))
    store = ama.Store.open(str(shelf.directory), settings=settings_of(shelf, tmp_path))
    shelf.storage.reset()
    assert len(store.find(author="Ann")) == 2
    assert len(read) == 2  # its root, and the directory of the file
    after = counted_rows(shelf.file)
    assert {t: after[t] - before[t] for t in TABLES if after[t] != before[t]} == {
        "trees": 2,
        "files": 50,
        "directories": 20,
        "assets": 1,
    }

    read.clear()
    [row] = store.compare("models/1", "models/2", same_files=False).files
    assert (row.path, row.kind) == ("d07/25.bin", "modified")
    assert len(read) == 4  # two of each
    read.clear()
    summary = store.summary("models/2", most_files=20)
    assert (len(summary.files), summary.file_count) == (20, 1000)
    assert len(read) == 2  # the root, and the first directory


def test_a_tree_that_is_missing_below_others_is_missed_each_time(
    shelf: Shelf, tmp_path: Path
) -> None:
    """Until it is there. What is above it is here already."""
    root, trees = wide(shelf, b"x")
    lost = min(trees.keys() - {root})
    publish_tree(shelf, root, {tree: data for tree, data in trees.items() if tree != lost})
    store = ama.Store.open(str(shelf.directory), settings=settings_of(shelf, tmp_path))
    for _ in range(3):
        (unread,) = store.find(author="Ann").unread
        assert (unread.asset, unread.reason) == ("models/1", "damaged")
        with pytest.raises(IntegrityError):
            store.summary("models/1")
    publish_tree(shelf, root, trees)
    assert store.find(author="Ann").unread == ()
    assert store.summary("models/1").file_count == 1000


def test_files_whose_ids_begin_alike_are_not_mistaken(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ama.catalog.filling.content_key", lambda content: content[0] // 128)
    monkeypatch.setattr("ama.catalog.find.content_key", lambda content: content[0] // 128)
    contents = [b"%d" % number for number in range(12)]
    for content in contents:
        shelf.publish("models", {"a": content, "b": b"other"})
    catalog = shelf.catalog()
    for content in contents:
        assert holding(catalog, content) == 1
        digits = blob_id(content).hex()
        assert catalog.ask(lambda db, view, d=digits: content_id(db, d)) == blob_id(content)  # type: ignore[misc]
    assert holding(catalog, b"other") == 12
    assert holding(catalog, b"none") == 0
