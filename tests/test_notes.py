"""Notes: what is known later of an asset, in entries that older readers skip."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

import ama
from ama import Settings, Store
from ama.errors import Conflict, InvalidInput, NotFound
from ama.format.entries import AddNote, Entry, Gc
from ama.wording.hints import words


@pytest.fixture
def url(tmp_path: Path) -> Path:
    """A store with three assets of a class."""
    place = tmp_path / "store"
    store = Store.open(place, create=True)
    for number in range(3):
        files = {"model.txt": f"weights {number}".encode()}
        store.publish("models", files, aliases="best", metadata={"loss": 0.5, "run": number})
    return place


@pytest.fixture
def store(url: Path) -> Store:
    return Store.open(url)


def as_somebody(store: Store, name: str) -> Store:
    """Another user, on another machine."""
    settings = replace(
        store.settings, cache_dir=None, user_name=name, user_email=f"{name.lower()}@example.com"
    )
    return Store.open(store.url, settings=settings)


def cold(url: Path) -> Store:
    """The store as a machine sees it that has never seen it."""
    return Store.open(url, settings=replace(Settings.load(None), cache_dir=None))


def last_entry(store: Store) -> Entry:
    view = store.remote.view()
    return view.entry(view.number) or store.remote.log.read_entry(view.number)


class TestWhatIsNoted:
    def test_a_value_and_a_tag_and_words(self, store: Store) -> None:
        before = store.resolve("models/2").info
        done = store.note(
            "models/2",
            metadata={"accuracy": 0.9, "passed": True, "run": "late"},
            tags=["approved", "approved"],
            message="looks good",
        )
        assert done.name == before.name
        assert done.again is False
        note = done.note
        assert (note.class_name, note.asset, note.number, note.entry) == ("models", before.id, 2, 4)
        assert note.author == store.settings.author()
        assert note.metadata == {"accuracy": 0.9, "passed": True, "run": "late"}
        assert (note.tags, note.message, note.file) == (("approved",), "looks good", None)
        found = store.resolve("models/2")
        assert found.info == before  # its id, and all that it says of itself, is as it was
        assert found.noted() == store.noted("models/2")
        assert found.noted().notes == (note,)
        assert store.notes("models/1") == ()

    def test_the_newest_value_wins_and_the_history_stays(self, store: Store) -> None:
        store.note("models/1", metadata={"loss": 0.4, "note": "a"}, tags=["x"])
        as_somebody(store, "Bo").note("models/1", metadata={"loss": 3})
        store.note("models@best", metadata={"loss": 9})
        state = store.noted("models/1")
        assert state.metadata == {"note": "a", "loss": 3}
        assert [note.metadata.get("loss") for note in state.notes] == [0.4, 3]
        assert [note.author for note in state.notes][1] == "Bo <bo@example.com>"
        assert [note.entry for note in state.notes] == [4, 5]

    def test_a_removal_is_an_entry(self, store: Store) -> None:
        store.note("models/1", metadata={"loss": 0.4, "a": 1}, tags=["x", "y", "a"])
        done = store.note("models/1", remove=["loss", "x", "a"])
        assert done.note.removed == ("a", "loss")
        assert done.note.untagged == ("a", "x")
        state = store.noted("models/1")
        assert (state.metadata, state.tags) == ({}, ("y",))
        assert len(state.notes) == 2
        with pytest.raises(NotFound, match="nothing called loss was noted of models/1"):
            store.note("models/1", remove="loss")
        with pytest.raises(NotFound, match="run"):  # the asset says so itself
            store.note("models/1", remove="run")
        store.note("models/1", metadata={"loss": 1})
        assert store.noted("models/1").metadata == {"loss": 1}

    def test_a_class_has_a_description(self, store: Store) -> None:
        done = store.note("models", message="# Models\n\nof *text*")
        assert done.name == "models"
        assert (done.note.asset, done.note.number) == (None, None)
        as_somebody(store, "Bo").note("models", message="shorter")
        assert store.noted("models").message == "shorter"
        assert [note.message for note in store.notes("models")] == [
            "# Models\n\nof *text*",
            "shorter",
        ]
        store.note("models", message="")
        assert store.noted("models").message == ""
        assert len(store.notes("models")) == 3
        assert store.notes("models/3") == ()

    def test_a_file_comes_back(self, store: Store, tmp_path: Path) -> None:
        report = tmp_path / "report.json"
        report.write_bytes(b'{"f1": 0.8}')
        done = store.note("models/1", file=report, message="evaluated")
        assert done.note.file is not None
        assert (done.note.file.path, done.note.file.size) == ("report.json", 11)
        assert done.note.file.id == ama.hash_file(report)
        report.unlink()
        assert b"".join(cold(Path(store.url)).note_file(done.note)) == b'{"f1": 0.8}'
        entry = last_entry(store)
        assert [type(event) for event in entry.events] == [Gc, AddNote]
        assert store.fsck().ok
        assert store.fsck().orphans == 0

    def test_a_large_file_is_cut(self, store: Store, tmp_path: Path) -> None:
        large = tmp_path / "predictions.bin"
        large.write_bytes(os.urandom(3_000_000))
        done = store.note("models/1", file=large)
        assert b"".join(cold(Path(store.url)).note_file(done.note)) == large.read_bytes()
        held = store.note("models/1", file={"held.bin": large.read_bytes()})
        assert b"".join(store.note_file(held.note)) == large.read_bytes()
        assert store.fsck().ok

    def test_a_damaged_file_is_refused(self, store: Store, url: Path) -> None:
        done = store.note("models/1", file={"a.txt": b"exactly this"})
        assert done.note.file is not None
        pack = max(url.rglob("*.pack"), key=lambda path: path.stat().st_mtime_ns)
        data = pack.read_bytes()
        pack.chmod(0o644)
        pack.write_bytes(data.replace(b"exactly this", b"exactly that"))
        with pytest.raises(ama.IntegrityError):
            list(cold(url).note_file(done.note))
        report = store.fsck()
        assert not report.ok
        assert any("models/1" in name for problem in report.problems for name in problem.assets)


class TestWhatIsRefused:
    def test_nothing(self, store: Store) -> None:
        for empty in ({}, {"message": ""}, {"message": " \n"}, {"tags": ()}, {"metadata": {}}):
            with pytest.raises(InvalidInput, match="nothing is given to note") as raised:
                store.note("models/1", **empty)  # type: ignore[arg-type]
            assert "--tag" in (words(raised.value.hints) or "")

    def test_values_of_a_class(self, store: Store) -> None:
        with pytest.raises(InvalidInput, match="is a class") as raised:
            store.note("models", metadata={"a": 1})
        assert "models/NUMBER" in str(words(raised.value.hints))
        with pytest.raises(InvalidInput, match="is a class"):
            store.note("models", message="a", tags="x")

    def test_what_is_not_there(self, store: Store) -> None:
        for name in ("models/9", "modles", "models@none", "modles/1", "0123456"):
            with pytest.raises(NotFound):
                store.note(name, message="x")
        with pytest.raises(NotFound, match="no such file"):
            store.note("models/1", file="nowhere.json")

    def test_what_is_deleted(self, store: Store) -> None:
        store.note("models/1", metadata={"a": 1})
        store.delete("models/1", force=True)
        with pytest.raises(Conflict, match="models/1 is deleted"):
            store.note("models/1", metadata={"a": 2})
        assert store.noted("models/1").metadata == {"a": 1}
        assert store.fsck().ok

    @pytest.mark.parametrize(
        "wrong",
        [
            {"metadata": {"": 1}},
            {"metadata": {"k" * 201: 1}},
            {"metadata": {"k": [1]}},
            {"metadata": {"k": 2**64}},
            {"metadata": ["k"]},
            {"tags": [""]},
            {"tags": ["t" * 201]},
            {"tags": ["a\nb"]},
            {"tags": 5},
            {"message": 5},
            {"message": "m" * 65_537},
            {"metadata": {"a": 1}, "remove": "a"},
            {"tags": "a", "remove": "a"},
            {"file": {"a/b": b"x"}},
            {"file": {"a": b"x", "b": b"y"}},
            {"file": {"..": b"x"}},
            {"metadata": {f"k{n}": "v" * 60_000 for n in range(20)}},
        ],
        ids=lambda wrong: str(wrong)[:30],
    )
    def test_what_cannot_be_noted(self, store: Store, wrong: dict[str, object]) -> None:
        with pytest.raises(InvalidInput):
            store.note("models/1", **wrong)  # type: ignore[arg-type]
        assert store.remote.view().number == 3

    def test_a_directory(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "d").mkdir()
        (tmp_path / "d" / "a").write_text("a", encoding="utf-8")
        (tmp_path / "d" / "b").write_text("b", encoding="utf-8")
        with pytest.raises(InvalidInput, match="one file"):
            store.note("models/1", file=tmp_path / "d")

    def test_a_directory_is_not_read(
        self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("a", "b"):
            (tmp_path / "runs").mkdir(exist_ok=True)
            (tmp_path / "runs" / name).write_bytes(b"x")
        monkeypatch.setattr("ama.worktree.given.read_small", None)
        with pytest.raises(InvalidInput, match="one file, and no directory"):
            store.note("models/1", file=tmp_path / "runs")


class TestOnce:
    def test_a_retry_adds_nothing(self, store: Store) -> None:
        def said() -> int:
            done = store.note("models/1", metadata={"a": 1}, tags="x", file={"r": b"1"}, once=True)
            return done.note.entry

        first = said()
        packs = len(list(Path(store.url).rglob("*.pack")))
        assert said() == first
        assert store.note(
            "models/1", metadata={"a": 1}, tags="x", file={"r": b"1"}, once=True
        ).again
        assert len(list(Path(store.url).rglob("*.pack"))) == packs
        assert store.note("models/1", metadata={"a": 1.0}, once=True).again is False
        assert store.note("models/1", metadata={"a": True}, once=True).again is False

    def test_another_author_says_it_too(self, store: Store) -> None:
        store.note("models/1", tags="approved", once=True)
        bo = as_somebody(store, "Bo")
        assert bo.note("models/1", tags="approved", once=True).again is False
        assert len(store.notes("models/1")) == 2

    def test_what_was_changed_since_is_said_again(self, store: Store) -> None:
        store.note("models/1", metadata={"a": 1}, once=True)
        store.note("models/1", metadata={"b": 1})
        assert store.note("models/1", metadata={"a": 1}, once=True).again
        store.note("models/1", metadata={"a": 2})
        assert not store.note("models/1", metadata={"a": 1}, once=True).again
        assert store.noted("models/1").metadata["a"] == 1

    def test_a_removal(self, store: Store) -> None:
        store.note("models/1", metadata={"a": 1})
        assert not store.note("models/1", remove="a", once=True).again
        assert store.note("models/1", remove="a", once=True).again
        with pytest.raises(NotFound):
            store.note("models/1", remove="b", once=True)

    def test_a_removal_of_what_was_a_key_before_and_is_a_tag(self, store: Store) -> None:
        store.note("models/1", metadata={"a": 1})
        store.note("models/1", remove="a")
        store.note("models/1", tags="a")
        done = store.note("models/1", remove="a", once=True)
        assert (done.again, done.note.removed, done.note.untagged) == (False, (), ("a",))
        assert store.note("models/1", remove="a", once=True).again
        store.note("models/1", metadata={"a": 2})
        assert not store.note("models/1", remove="a", once=True).again
        assert store.noted("models/1").metadata == {}

    def test_a_file_that_another_one_has_followed(self, store: Store) -> None:
        def said(content: bytes) -> bool:
            return store.note("models/1", file={"report.json": content}, once=True).again

        assert [said(b"1"), said(b"1"), said(b"2"), said(b"1"), said(b"1")] == [
            *(False, True, False, False, True)
        ]
        newest = store.notes("models/1")[-1]
        assert b"".join(store.note_file(newest)) == b"1"
        store.note("models/1", file={"other.json": b"3"}, metadata={"report.json": 1})
        assert said(b"1")

    def test_a_description(self, store: Store) -> None:
        store.note("models", message="a", once=True)
        assert store.note("models", message="a", once=True).again
        store.note("models", message="b", once=True)
        assert not store.note("models", message="a", once=True).again
