"""Notes in the log: what checkpoints say of them, races and crashes, hostile events, requests."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ama import Settings, Store
from ama.errors import (
    AmaError,
    FormatError,
    IntegrityError,
    InvalidInput,
)
from ama.format import canonical
from ama.format.entries import (
    AddNote,
    Entry,
    Event,
    Feature,
    Gc,
    NoteFile,
    Purged,
    Unknown,
    decode_entry,
    encode_entry,
    entry_hash,
    entry_name,
)
from ama.format.hashing import blob_id, seal
from ama.format.notes import NOTES, NotesCheckpoint, decode_notes, encode_notes, noted
from ama.storage.local import LocalStorage
from ama.storage.memory import MemoryStorage
from ama.storage.protocol import Buffer, Range, Storage
from ama.stores import log_errors
from ama.stores.cache import Cache
from ama.stores.log_files import HINT, checkpoint_name, notes_name, segment_name
from ama.stores.log_notes import LogNotes
from ama.stores.log_writer import Log
from ama.stores.remote import FORMAT, Remote, StoreFormat, encode_format
from ama.transfer.log_derived import checkpoints
from ama.wording.hints import words
from counting_storage import CountingStorage
from test_golden import GOLDEN, READER, load

ASSETS = [blob_id(bytes([number])) for number in range(40)]
ANN = "Ann <ann@example.org>"


def new_log(storage: Storage | None = None, *, write: Sequence[str] = (NOTES,)) -> Log:
    """A log in a storage of its own, whose writers know notes."""
    data = encode_format(StoreFormat("0" * 32, write_features=tuple(write)))
    storage = storage or MemoryStorage("log")
    if storage.read([Range(FORMAT)]) == [None]:
        storage.create(FORMAT, data)
    return Log(storage, entry_hash(data), Cache(None), write_features=write)


def append(log: Log, *events: Event) -> None:
    log.append(lambda view: events, author=ANN, now=lambda: 1)


def some_note(source: random.Random) -> AddNote:
    asset = source.choice([None, *ASSETS])
    keys = source.sample("abcdef", source.randrange(4))
    values = [None, 1, 1.0, True, "text", "long" * source.randrange(2000)]
    tags = sorted(source.sample("xyz", source.randrange(3)))
    return AddNote(
        source.choice(["models", "data"]),
        asset,
        {key: source.choice(values) for key in keys},
        tuple(tags[:1]),
        tuple(tags[1:]),
        source.choice(["", "seen", "words " * 1000]),
    )


def entries_of(log: Log) -> list[Entry]:
    return [*log.read_entries(range(1, log.view().number + 1))]


def plain(entries: Sequence[Entry], class_name: str, asset: bytes | None) -> list[AddNote]:
    """The notes of an asset, by the words of the specification."""
    events = [event for entry in entries for event in entry.events]
    notes = [event for event in events if isinstance(event, AddNote)]
    return [note for note in notes if (note.class_name, note.asset) == (class_name, asset)]


@pytest.mark.parametrize("per_entry", [1, 12])
def test_a_checkpoint_and_the_log_say_the_same(per_entry: int) -> None:
    """Of random histories, past several checkpoints and, with many notes, several pages."""
    source, storage = random.Random(per_entry), MemoryStorage("log")
    log = new_log(storage)
    for number in range(1, 131):
        append(log, *(some_note(source) for _ in range(per_entry)))
        if number not in (1, 63, 64, 65, 127, 128, 129, 130):
            continue
        cold = new_log(storage)
        view, entries = cold.view(), entries_of(log)
        assert view.base.number == number // 64 * 64
        found = cold.notes.at(view)
        assert found.classes == tuple(sorted({n.class_name for e in entries for n in e.events}))  # type: ignore[union-attr]
        for name in found.classes:
            for asset in [None, *ASSETS[:: 1 if per_entry == 1 else 7]]:
                records = found.of(name, asset)
                assert [each.note for each in records] == plain(entries, name, asset)
                places = [(each.entry, each.place) for each in records]
                assert places == sorted(places)
                for each in records:
                    assert entries[each.entry - 1].events[each.place] == each.note
            everything = [*found.all_of(name)]
            assert len(everything) == found.count(name)
            half = len(everything) // 2
            assert [*found.all_of(name, half)] == everything[half:]
    rows = sum(table.count for table in log.notes._base(log.view().base).classes.values())
    assert rows == 128 * per_entry


def test_the_file_is_a_function_of_the_log() -> None:
    """Written in steps, folded at once, and by a machine that remembers nothing."""
    source, storage = random.Random(5), MemoryStorage("log")
    for number in range(130):
        log = new_log(storage)  # another machine each time
        events = [some_note(source) for _ in range(source.randrange(1, 20))]
        append(log, *events)
        assert number < 128 or log.view().base.number == 128
    remote = Remote.open(storage, None)
    made = [*checkpoints(remote, 130)]
    for files in made:
        names = [name for name in files if name.startswith("checkpoint/notes/")]
        assert len(names) == 1
        for name, data in files.items():
            assert storage.read([Range(name)]) == [data]
    fold = decode_notes(made[-1][notes_name(128)])
    assert (fold.number, encode_notes(fold)) == (128, made[-1][notes_name(128)])


@pytest.mark.parametrize("lost", [[64], [128], [64, 128], [192], [64, 128, 192]])
@pytest.mark.parametrize("how", ["gone", "damaged", "of another"])
def test_where_it_is_missing_the_ones_before_do(lost: list[int], how: str) -> None:
    source, storage = random.Random(7), MemoryStorage("log")
    log = new_log(storage)
    for _ in range(200):
        append(log, some_note(source))
    entries = entries_of(log)
    for number in lost:
        if how == "gone":
            storage.delete(notes_name(number))
        elif how == "damaged":
            storage.replace(notes_name(number), b"ama-note" + bytes(64))
        else:
            storage.replace(notes_name(number), encode_notes(NotesCheckpoint(number, bytes(32))))
    cold = new_log(CountingStorage(storage))
    view = cold.view()
    for asset in (None, *ASSETS[:5]):
        found = cold.notes.at(view).of("models", asset)
        assert [each.note for each in found] == plain(entries, "models", asset)
    # Who writes the next one makes it right, whatever it is built on.
    again = new_log(storage)
    while again.view().number < 256:
        append(again, some_note(source))
    remote = Remote.open(storage, None)
    *_, last = checkpoints(remote, 256)
    assert storage.read([Range(notes_name(256))]) == [last[notes_name(256)]]
    assert all(storage.read([Range(name)]) == [data] for name, data in last.items())


def test_threads_with_views_of_other_checkpoints() -> None:
    """Each gets the notes of its own view, whoever looked last."""

    class Interleaved(LogNotes):
        hook: Callable[[], None] | None = None

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "_last" and self.hook is not None:
                hook, self.hook = self.hook, None
                hook()

    log, views = new_log(storage := MemoryStorage("log")), []
    for number in range(1, 129):
        append(log, AddNote("models", None, message=str(number)))
        if number % 64 == 0:
            views.append(new_log(storage).view())
    early, late = views
    notes = Interleaved(log, storage, Cache(None))
    notes.hook = lambda: void(notes.at(late))
    assert notes.at(early).count("models") == 64
    assert notes.at(late).count("models") == 128


def test_a_lost_segment_is_made_again() -> None:
    source, storage = random.Random(8), MemoryStorage("log")
    log = new_log(storage)
    for _ in range(70):
        append(log, some_note(source))
    (data,) = storage.read([Range(notes_name(64))])
    for digest in decode_notes(data or b"").digests():
        storage.delete(segment_name(digest))
    cold = new_log(storage)
    found = cold.notes.at(cold.view()).of("models", ASSETS[3])
    assert [each.note for each in found] == plain(entries_of(log), "models", ASSETS[3])


def test_a_lying_file_is_found_by_the_next_writer_and_by_fsck(tmp_path: Path) -> None:
    url = tmp_path / "store"
    store = Store.open(url, create=True)
    store.publish("models", {"a": b"a"})
    while store.remote.view().number < 130:
        store.note("models/1", metadata={"n": store.remote.view().number})
    path = url / notes_name(128)
    sound = path.read_bytes()
    lie = replace(decode_notes(sound), classes={})
    path.write_bytes(encode_notes(lie))
    report = store.fsck()
    assert [(problem.where, problem.assets) for problem in report.problems] == [
        (notes_name(128), ())
    ]
    assert "not what the log adds up to" in report.problems[0].what
    cold = Store.open(url, settings=replace(Settings.load(None), cache_dir=None))
    while cold.remote.view().number < 192:
        cold.note("models/1", metadata={"n": cold.remote.view().number})
    path.write_bytes(sound)
    assert store.fsck().ok
    assert len(cold.notes("models/1")) == 191


def test_fsck_blames_no_sound_notes_behind_two_lost_entries(tmp_path: Path) -> None:
    url = tmp_path / "store"
    store = Store.open(url, create=True)
    store.publish("models", {"a": b"a"})
    while store.remote.view().number < 130:
        append(store.remote.log, AddNote("models", None, message="m"))
    (url / checkpoint_name(64)).write_bytes(b"damaged")
    for number in (10, 70):
        (url / entry_name(number)).unlink()
    report = Store.open(url, settings=replace(Settings.load(None), cache_dir=None)).fsck()
    assert {problem.where for problem in report.problems} == {
        entry_name(10),
        checkpoint_name(64),
        entry_name(70),
    }


def test_a_repair_puts_it_back(tmp_path: Path) -> None:
    import ama

    shutil.copytree(GOLDEN / "notes", tmp_path / "store")
    names = [notes_name(64), checkpoint_name(64)]
    before = {name: (tmp_path / "store" / name).read_bytes() for name in names}
    for name in names:
        (tmp_path / "store" / name).unlink()
    done = ama.repair_log(tmp_path / "store")
    assert {each.where for each in done} == set(names)
    assert {name: (tmp_path / "store" / name).read_bytes() for name in names} == before


class TestTheFeature:
    """A store of the version before: what older writers made, and what they may not do."""

    @pytest.fixture(params=["v1", "byte-planes"])
    def url(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        shutil.copytree(GOLDEN / request.param, tmp_path / "store")
        return tmp_path / "store"

    def test_a_note_is_refused_until_somebody_upgrades_it(self, url: Path) -> None:
        store = Store.open(url)
        before = store.remote.view().number
        assert store.notes("models/1") == ()
        for about in ("models/2", "models"):
            with pytest.raises(InvalidInput, match="takes no notes yet") as raised:
                store.note(about, message="x")
            assert f"ama remote upgrade {url}" in (words(raised.value.hints) or "")
        store.publish("models", {"a": b"a"})
        assert Store.open(url).remote.view().number == before + 1
        assert NOTES in store.upgrade()
        store.note("models/2", message="x", metadata={"a": 1})
        assert store.noted("models/2").metadata == {"a": 1}
        assert store.fsck().ok
        assert load(READER).Store(url).listing()["notes"]["models"][0]["message"] == "x"

    def test_its_checkpoints_get_notes_from_then_on(self, url: Path) -> None:
        store = Store.open(url)
        while store.remote.view().number < 66:
            store.move_alias("models", "moving", str(1 + store.remote.view().number % 2))
        store.upgrade()
        while store.remote.view().number < 200:
            store.note("models/2", metadata={"n": store.remote.view().number})
        there = sorted(int(path.name) for path in url.glob("checkpoint/notes/*"))
        assert there == [128, 192]
        cold = Store.open(url, settings=replace(store.settings, cache_dir=None))
        assert cold.notes("models/2") == store.notes("models/2")
        assert store.fsck().ok

    def test_a_note_without_it_says_nothing(self) -> None:
        log = new_log(write=())
        append(log, AddNote("models", ASSETS[0], message="early"))
        assert log.notes.at(log.view()).classes == ()
        # Within an entry, in the order of the events.
        append(
            log,
            AddNote("models", ASSETS[0], message="still early"),
            Feature((), (NOTES,)),
            AddNote("models", ASSETS[0], message="now"),
        )
        (found,) = log.notes.at(log.view()).of("models", ASSETS[0])
        assert (found.note.message, found.entry, found.place) == ("now", 2, 2)
        while log.view().number < 65:
            append(log, AddNote("models", None, message="more"))
        cold = new_log(log._storage, write=())
        assert cold.notes.at(cold.view()).of("models", ASSETS[0]) == (found,)
        assert cold.notes.at(cold.view()).count("models") == 64

    def test_who_does_not_know_it_reads_and_does_not_write(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = tmp_path / "store"
        store = Store.open(url, create=True)
        store.publish("models", {"a": b"a"}, aliases="best")
        store.note("models/1", message="x")
        there = {path: path.read_bytes() for path in url.rglob("*") if path.is_file()}
        known = log_errors.KNOWN_FEATURES - {NOTES}
        monkeypatch.setattr(log_errors, "KNOWN_FEATURES", known)
        older = Store.open(url)
        assert older.resolve("models@best").read("a") == b"a"
        for work in (
            lambda: older.publish("models", {"a": b"b"}),
            lambda: older.move_alias("models", "best", "1"),
            lambda: older.move_alias("models", "other", "1"),
            lambda: older.delete("models/1", force=True),
        ):
            with pytest.raises(FormatError, match="does not know: notes; it can't write to"):
                work()
        (url / HINT).unlink()
        from ama.transfer.log_repair import repair_log

        with pytest.raises(FormatError, match="write to"):
            repair_log(url)
        assert {p: p.read_bytes() for p in url.rglob("*") if p.is_file()} == {
            path: data for path, data in there.items() if path.name != "HINT"
        }

    def test_an_older_reader_has_the_same_root(self, tmp_path: Path) -> None:
        """It skips the note, and its file becomes current by an event that it knows."""
        store = Store.open(tmp_path / "store", create=True)
        store.publish("models", {"a": b"a"})
        store.note("models/1", file={"report": b"content"})
        view = store.remote.view()
        last = view.tail[-1][0]
        older = replace(
            last,
            events=tuple(
                Unknown("note", False, {}) if isinstance(event, AddNote) else event
                for event in last.events
            ),
        )
        from ama.format.entries import Publish
        from ama.format.state import Root, fold_root

        start = Root(0, store.remote.log.empty.entry_hash)
        entries = [entry for entry, _ in view.tail]
        one = fold_root(start, [(entry, bytes(32)) for entry in entries])
        other = fold_root(start, [(entry, bytes(32)) for entry in (*entries[:-1], older)])
        assert one == other
        assert len(one.indexes) == 2
        assert not one.condemned_indexes
        assert isinstance(entries[0].events[0], Publish)


class TestHostileEvents:
    """What is no note ends the log, as any event of a known name with other fields does."""

    good = AddNote("models", ASSETS[0], {"a": 1}, ("x",), ("y",), "m")

    def encoded(self, *, critical: bool = False, **fields: Any) -> bytes:
        from ama.format.entries import note_fields

        body = {**note_fields(self.good), **fields}
        body = {key: value for key, value in body.items() if value != "left out"}
        unknown = Unknown("note", critical, body)
        return encode_entry(Entry(1, bytes(16), bytes(32), "Ann", 1, (unknown,)))

    def test_the_good_one(self) -> None:
        assert decode_entry(self.encoded()).events == (self.good,)

    @pytest.mark.parametrize(
        "fields",
        [
            {"critical": True},
            {"more": 1},
            {"message": "left out"},
            {"class": "../models"},
            {"class": 5},
            {"asset": b"short"},
            {"asset": "0" * 32},
            {"metadata": None},
            {"metadata": ["a"]},
            {"metadata": {"": 1}},
            {"metadata": {"k" * 201: None}},
            {"metadata": {"k": b"bytes"}},
            {"metadata": {"k": [1]}},
            {"tags": ["b", "a"]},
            {"tags": ["a", "a"]},
            {"tags": [""]},
            {"tags": ["t" * 201]},
            {"tags": [5]},
            {"tags": "x"},
            {"untags": ["x"]},
            {"message": None},
            {"message": "m" * 65_537},
            {"file": ["a", bytes(32), 1]},
            {"needs": [bytes(32)]},
            {"file": ["../a", bytes(32), 1], "needs": [bytes(32)]},
            {"file": [".ama", bytes(32), 1], "needs": [bytes(32)]},
            {"file": ["a/b", bytes(32), 1], "needs": [bytes(32)]},
            {"file": ["a", bytes(31), 1], "needs": [bytes(32)]},
            {"file": ["a", bytes(32), -1], "needs": [bytes(32)]},
            {"file": ["a", bytes(32), 2**63], "needs": [bytes(32)]},
            {"file": ["a", bytes(32)], "needs": [bytes(32)]},
            {"file": 5, "needs": [bytes(32)]},
            {"file": ["a", bytes(32), 1], "needs": [bytes([n]) * 32 for n in range(17)]},
            {"metadata": {f"k{n}": "v" * 1000 for n in range(1100)}},
        ],
        ids=lambda fields: str(fields)[:40],
    )
    def test_what_is_none(self, fields: dict[str, Any]) -> None:
        with pytest.raises(IntegrityError, match="damaged"):
            decode_entry(self.encoded(**fields))
        reader = load(READER)
        with pytest.raises((reader.Damaged, ValueError, TypeError)):
            reader.read_entry(self.encoded(**fields), 1, bytes(32))

    def test_it_is_never_written(self) -> None:
        log = new_log()
        with pytest.raises(InvalidInput, match="can't be published in one piece"):
            append(log, replace(self.good, file=NoteFile("../a", bytes(32), 1), needs=(bytes(32),)))
        assert log.view().number == 0

    @pytest.mark.parametrize(
        "row",
        [
            (),
            (ASSETS[0],),
            (ASSETS[0], 1, 0, ("Ann", 1, {})),
            (ASSETS[0], 1, 0, None),
            (ASSETS[0], 1, 99, None),
            (ASSETS[0], 0, 0, None),
            (ASSETS[0], "1", 0, None),
            (ASSETS[0], 1, 0, 5),
            (ASSETS[0], -1, -1, ("Ann", 1, None)),
            (ASSETS[0], 999, 0, None),
        ],
        ids=str,
    )
    def test_a_row_that_lies(self, row: tuple[Any, ...]) -> None:
        from ama.format.tables import Table

        storage = MemoryStorage("log")
        log = new_log(storage)
        while log.view().number < 64:
            append(log, Unknown("else", False, {}))
        data = canonical.encode([row])
        storage.replace(segment_name(seal(data)), data)
        table = Table(1, (seal(data),), ())
        notes = NotesCheckpoint(64, log.view().entry_hash, {"models": table})
        storage.replace(notes_name(64), encode_notes(notes))
        cold = new_log(storage)
        with suppress(IntegrityError):
            assert [*cold.notes.at(cold.view()).all_of("models")] != []
        with suppress(IntegrityError):
            assert cold.notes.at(cold.view()).of("models", ASSETS[0]) == ()


class Hooked:
    """A storage that calls a hook before each create of an entry."""

    def __init__(self, inner: Storage, hook: Callable[[], None]) -> None:
        self.inner = inner
        self.hook = hook

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def create(self, name: str, data: Buffer) -> None:
        hook, self.hook = self.hook, lambda: None
        if name.startswith("log/"):
            hook()
        self.inner.create(name, data)


class TestAtTheSameTime:
    @pytest.fixture
    def url(self, tmp_path: Path) -> Path:
        url = tmp_path / "store"
        Store.open(url, create=True).publish("models", {"a": b"a"}, aliases="best")
        return url

    def racing(self, url: Path, hook: Callable[[], None]) -> Store:
        """A store in which somebody else is faster, once."""
        settings = replace(Settings.load(None), cache_dir=None)
        return Store(Remote.open(Hooked(LocalStorage(url), hook), None), settings)  # type: ignore[arg-type]

    def test_the_loser_applies_again(self, url: Path) -> None:
        other = Store.open(url)
        mine = self.racing(url, lambda: void(other.note("models/1", metadata={"a": 1})))
        done = mine.note("models/1", metadata={"a": 2}, file={"r": b"content"})
        assert done.note.entry == 3
        assert other.noted("models/1").metadata == {"a": 2}
        assert b"".join(other.note_file(done.note)) == b"content"
        # It was sent once.
        assert len([*url.rglob("*.idx")]) == 2

    def test_what_is_gone_meanwhile_is_refused(self, url: Path) -> None:
        other = Store.open(url)
        other.note("models/1", metadata={"a": 1})
        mine = self.racing(url, lambda: void(other.note("models/1", remove="a")))
        with pytest.raises(AmaError, match="nothing called a"):
            mine.note("models/1", remove="a")
        mine = self.racing(url, lambda: void(other.delete("models/1", force=True)))
        with pytest.raises(AmaError, match="deleted"):
            mine.note("models/1", metadata={"b": 1})

    def test_once_sees_the_winner(self, url: Path) -> None:
        other = Store.open(url)
        mine = self.racing(url, lambda: void(other.note("models/1", tags="x")))
        assert mine.note("models/1", tags="x", once=True).again
        assert len(other.notes("models/1")) == 1

    @pytest.mark.parametrize("purged", [False, True])
    def test_a_gc_that_takes_the_file_meanwhile(self, url: Path, purged: bool) -> None:
        other = Store.open(url)

        def collect() -> None:
            known = {index.hex() for index in other.remote.view().root.indexes}
            index = next(p for p in url.rglob("*.idx") if p.stem not in known)
            (found,) = other.remote.indexes([bytes.fromhex(index.stem)])
            gone = (*found.pack_sizes,), (found.id,)
            events: list[Event] = [Gc((), *gone), *([Purged(*gone)] if purged else [])]
            other.remote.log.append(lambda view: events, author=ANN, now=lambda: 1)
            index.unlink()
            for pack in gone[0]:
                (url / "packs" / pack.hex()[:2] / f"{pack.hex()}.pack").unlink()

        mine = self.racing(url, collect)
        done = mine.note("models/1", file={"r": b"content"})
        assert b"".join(Store.open(url).note_file(done.note)) == b"content"
        assert Store.open(url).fsck().ok

    def test_two_processes(self, url: Path) -> None:
        script = (
            "import sys, ama; store = ama.Store.open(sys.argv[1]); who = sys.argv[2]\n"
            "for n in range(20):\n"
            "    store.note('models/1', metadata={who: n}, tags=[f'{who}{n}'],"
            " file={f'{who}.txt': f'{who} {n}'.encode()} if n % 5 == 0 else None)\n"
        )
        running = [
            subprocess.Popen([sys.executable, "-c", script, str(url), who]) for who in ("a", "b")
        ]
        assert [each.wait(120) for each in running] == [0, 0]
        store = Store.open(url)
        found = store.noted("models/1")
        assert found.metadata == {"a": 19, "b": 19}
        assert len(found.tags) == 40
        assert [note.entry for note in found.notes] == [*range(2, 42)]
        for who in ("a", "b"):
            files = [note for note in found.notes if note.file and note.file.path == f"{who}.txt"]
            contents = [b"".join(store.note_file(note)).decode() for note in files]
            assert contents == [f"{who} {n}" for n in (0, 5, 10, 15)]
        assert store.fsck().ok
        listing = load(READER).Store(url).listing()
        assert len(listing["notes"]["models"]) == 40


def void(done: object) -> None:
    """Forget a result."""


class Died(BaseException):
    """The process is gone."""


def test_a_crash_leaves_the_store_sound_and_a_second_try_notes_it(tmp_path: Path) -> None:
    """At each write: before the pack, the index, the entry, HINT; and after each."""

    class Mortal(CountingStorage):
        left = 0

        def _count_write(self, method: str, name: str, data: Buffer) -> None:
            super()._count_write(method, name, data)
            self.left -= 1
            if self.left < 0:
                raise Died

    def store_at(url: Path, left: int) -> tuple[Store, Mortal]:
        storage = Mortal(LocalStorage(url))
        storage.left = left
        settings = replace(Settings.load(None), cache_dir=None)
        return Store(Remote.open(storage, None), settings), storage

    def at_63(url: Path) -> None:
        store = Store.open(url, create=True)
        store.publish("models", {"a": b"a"})
        while store.remote.view().number < 63:
            store.note("models/1", metadata={"n": store.remote.view().number})

    at_63(tmp_path / "before")

    def note(store: Store) -> int:
        done = store.note("models/1", metadata={"last": 1}, file={"r": b"content"}, once=True)
        assert b"".join(store.note_file(done.note)) == b"content"
        return done.note.entry

    shutil.copytree(tmp_path / "before", tmp_path / "counted")
    store, storage = store_at(tmp_path / "counted", 10**6)
    assert note(store) == 64
    writes = list(storage.writes)
    kinds = [name.partition("/")[0] for name in writes]
    assert kinds[:3] == ["packs", "index", "log"]
    assert writes[-1] == HINT
    assert notes_name(64) in writes
    for left in range(len(writes)):
        url = tmp_path / str(left)
        shutil.copytree(tmp_path / "before", url)
        with pytest.raises(Died):
            note(store_at(url, left)[0])
        assert Store.open(url).fsck().ok
        assert note(store_at(url, 10**6)[0]) == 64
        assert Store.open(url).fsck().ok
        assert len(Store.open(url).notes("models/1")) == 63
        shutil.rmtree(url)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with many notes, past a checkpoint, and a few after it."""
    url = tmp_path_factory.mktemp("made") / "store"
    store = Store.open(url, create=True)
    for number in range(4):
        store.publish("models", {"a": str(number).encode()})
    ids = [bytes.fromhex(asset.id) for asset in store.assets("models")]
    log, source = store.remote.log, random.Random(3)

    def events() -> list[Event]:
        return [AddNote("models", source.choice(ids), {"n": source.random()}) for _ in range(10)]

    while log.view().number < 130:
        log.append(lambda view: events(), author=ANN, now=lambda: 1)
    return url


class TestWhatItAsksFor:
    @pytest.fixture
    def url(self, made: Path, tmp_path: Path) -> Path:
        shutil.copytree(made, tmp_path / "store")
        return tmp_path / "store"

    def counted(self, url: Path, cache: Path | None = None) -> tuple[Store, CountingStorage]:
        storage = CountingStorage(LocalStorage(url))
        settings = replace(Settings.load(None), cache_dir=cache)
        return Store(Remote.open(storage, cache), settings), storage

    def test_the_notes_of_one_asset(self, url: Path) -> None:
        store, storage = self.counted(url)
        asset = store.resolve("models/2")
        storage.reset()
        assert len(asset.noted().notes) > 200
        assert storage.round_trips == 3  # the file, its page, its segments
        assert storage.requests <= 1 + 3 + 8
        assert storage.log[0] == ("read", (notes_name(128),))

    def test_before_the_first_checkpoint_they_are_in_the_log(self, tmp_path: Path) -> None:
        Store.open(tmp_path / "new", create=True).publish("models", {"a": b"a"})
        store, storage = self.counted(tmp_path / "new")
        asset = store.resolve("models/1")
        storage.reset()
        assert asset.noted().notes == ()
        assert storage.log == []

    def test_nothing_else_reads_them(self, url: Path, tmp_path: Path) -> None:
        store, storage = self.counted(url)
        store.download("models/2", tmp_path / "out")
        store.resolve("models").read("a")
        store.publish("models", {"a": b"more"}, aliases="best")
        assert not any("notes" in name for _, names in storage.log for name in names)

    def test_a_note_writes_one_entry_and_hint(self, url: Path) -> None:
        store, storage = self.counted(url)
        store.note("models/1", metadata={"a": 1})
        assert storage.writes == [entry_name(131), HINT]
        assert not any("checkpoint/notes" in name for _, names in storage.log for name in names)
        store, storage = self.counted(url)
        store.note("models/1", file={"a": b"content"})
        kinds = [name.partition("/")[0] for name in storage.writes]
        assert kinds == ["packs", "index", "log", "log"]

    def test_a_machine_that_has_seen_them_asks_for_the_end_of_the_log(
        self, url: Path, tmp_path: Path
    ) -> None:
        self.counted(url, tmp_path / "cache")[0].noted("models/2")
        store, storage = self.counted(url, tmp_path / "cache")
        storage.reset()
        store.noted("models/2")
        assert storage.round_trips == 1
        assert not any("checkpoint" in name for _, names in storage.log for name in names)

    def test_a_checkpoint_writes_what_has_changed(self, url: Path) -> None:
        store, storage = self.counted(url)
        while store.remote.view().number < 191:
            store.note("models/1", metadata={"a": 1})
        storage.reset()
        store.note("models/1", metadata={"a": 1})
        written = [name for name in storage.writes if name.startswith("checkpoint/segment/")]
        assert notes_name(192) in storage.writes
        assert len(written) <= 12
        assert storage.bytes_written < 400_000


def test_what_notes_add_up_to() -> None:
    def note(**fields: Any) -> AddNote:
        return AddNote("models", ASSETS[0], **fields)

    values, tags, message = noted(
        [
            note(metadata={"a": 1, "b": 2}, tags=("x", "y"), message="first"),
            note(metadata={"a": None}, untags=("x",)),
            note(metadata={"a": 3}, tags=("z",)),
        ]
    )
    assert (values, tags, message) == ({"b": 2, "a": 3}, ("y", "z"), "first")
    description = [AddNote("models", None, message="text"), AddNote("models", None)]
    assert noted(description) == ({}, (), "")
    assert noted([]) == ({}, (), "")
