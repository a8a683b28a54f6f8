"""What could not be read of documents is a fact: in the catalog, in answers, in what is shown."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import ama
from ama.catalog.documents import MAX_SIZE
from ama.catalog.questions import Questions
from ama.catalog.schema import FILE
from ama.catalog.unread import Unread
from ama.catalog.values import Findings
from ama.dashboard.application import application
from conftest import Ama

HPARAMS = b"""\
betas: !!python/tuple [0.9, 0.999]
learning_rate: 0.1
scale: !!python/object/apply:numpy.core.multiarray.scalar [f8, !!binary mpmZmZmZuT8=]
"""
LARGE = b'{"vocabulary": "' + b"x" * MAX_SIZE + b'"}'

HIDDEN = Unread("models/1", "hparams.yaml", "scale", "object")
VOCABULARY = Unread("models/1", "data/vocabulary.json", None, "too_large")


def publish(directory: Path, name: str, files: dict[str, bytes], *refs: str) -> None:
    directory.mkdir(parents=True)
    repo = ama.Repo.init(directory, name)
    for path, data in files.items():
        (directory / path).parent.mkdir(exist_ok=True)
        (directory / path).write_bytes(data)
    repo.add(list(files))
    for ref in refs:
        repo.link(ref)
    repo.upload()


@pytest.fixture
def store(tmp_path: Path, home: Path) -> ama.Store:
    """A model with a value that can't be read, and a file that is too large; and a sound model."""
    files = {"hparams.yaml": HPARAMS, "data/vocabulary.json": LARGE}
    publish(tmp_path / "first", "models", files)
    publish(tmp_path / "second", "models", {"hparams.yaml": b"learning_rate: 0.2\nscale: 3"})
    return ama.Store.default()


def numbers(found: Findings) -> list[int | None]:
    return [each.asset.number for each in found]


class TestFind:
    def test_what_is_plain_is_found(self, store: ama.Store) -> None:
        assert numbers(store.find(params="learning_rate=0.1")) == [1]
        assert numbers(store.find(params="learning_rate<1")) == [1, 2]

    def test_what_may_belong_there_is_named(self, store: ama.Store) -> None:
        found = store.find(params="scale=3")
        assert (numbers(found), found.unread) == ([2], (VOCABULARY, HIDDEN))
        assert store.find(params="scale=4").unknown == ()
        # What was found hides nothing, and what isn't looked into hides nothing.
        assert store.find(params="learning_rate<1").unread == ()
        assert store.find(name="*.yaml").unread == ()
        assert store.find(params="hparams.yaml:rate=5").unread == (HIDDEN,)
        assert store.find(params="other.yaml:rate=5").unread == ()

    def test_only_what_fits_but_for_that_is_named(self, store: ama.Store) -> None:
        assert store.find(params="rate=5", author="nobody").unread == ()
        assert store.find(params=["rate=5", "learning_rate=0.1"]).unread != ()
        both = ["hparams.yaml:rate=5", "hparams.yaml:learning_rate=0.3"]
        assert store.find(params=both).unread == (HIDDEN,)

    def test_bytes_hide_no_other_key(self, tmp_path: Path, home: Path) -> None:
        publish(tmp_path / "a", "models", {"a.yml": b"m: {raw: !!binary aGVsbG8=, rate: 1}"})
        store = ama.Store.default()
        gap = Unread("models/1", "a.yml", "m.raw", "binary")
        assert store.find(params="raw=2").unknown == ()
        assert [each.key for each in store.find(params="law=2").unknown] == ["law"]
        assert store.find(params="rate=2").unread == ()
        for key in ("raw", "m.raw", "m"):
            assert store.find(params=f"{key}=2").unread == (gap,)

    def test_what_an_input_could_not_say_is_named(self, store: ama.Store, tmp_path: Path) -> None:
        publish(tmp_path / "inputs", "inputs", {"training.yml": b"rate: 1\nlost: [1,"})
        publish(tmp_path / "made", "made", {"m.bin": b"1"}, "inputs")
        found = store.find(class_name="made", params="lost")
        assert set(found.unread) == {
            Unread("made/1", "training.yml", None, "broken", "inputs"),
            Unread("made/1", "training.yml", "lost", "broken", "inputs"),
        }
        summary = store.resolve("made").summary()
        assert set(summary.unread) == {
            Unread("inputs/1", "training.yml", None, "broken", "inputs"),
            Unread("inputs/1", "training.yml", "lost", "broken", "inputs"),
        }

    def test_a_deleted_asset_hides_nothing(self, store: ama.Store) -> None:
        store.delete("models/1")
        assert store.find(params="scale=4").unread == ()


class TestShow:
    def test_a_summary_names_it(self, store: ama.Store, tmp_path: Path) -> None:
        assert set(store.resolve("models/1").summary().unread) == {HIDDEN, VOCABULARY}
        assert store.resolve("models/2").summary().unread == ()

    def test_so_does_one_of_what_is_not_published(self, tmp_path: Path, home: Path) -> None:
        (tmp_path / "hparams.yaml").write_bytes(HPARAMS)
        (tmp_path / "vocabulary.json").write_bytes(LARGE)
        repo = ama.Repo.init(tmp_path, "models")
        repo.add(["hparams.yaml", "vocabulary.json"])
        repo.commit()
        summary = repo.summary()
        assert ("learning_rate", 0.1) in [(fact.key, fact.value) for fact in summary.facts]
        assert summary.unread == (
            Unread("", "hparams.yaml", "scale", "object"),
            Unread("", "vocabulary.json", None, "too_large"),
        )

    def test_at_most_so_much_is_named(
        self, store: ama.Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for limit in ("facts.MOST_GAPS", "find.MOST_UNREAD"):
            monkeypatch.setattr(f"ama.catalog.{limit}", 1)
        assert len(store.resolve("models/1").summary().unread) == 1
        assert len(store.find(params="scale=4").unread) == 1


def test_an_older_catalog_is_left_alone_and_a_new_one_made(
    store: ama.Store, home: Path, tmp_path: Path
) -> None:
    assert numbers(store.find(params="learning_rate=0.1")) == [1]
    (catalog,) = home.rglob(FILE)
    assert catalog.name != "catalog-5.sqlite"  # which has no table for it
    with sqlite3.connect(catalog) as db:
        gaps = db.execute("SELECT key, reason FROM gaps").fetchall()
    db.close()
    assert set(gaps) == {("scale", "object"), (None, "too_large")}


class TestCommands:
    def test_find(self, store: ama.Store, run: Ama) -> None:
        assert "models/1" in run.ok("find", "--param", "learning_rate=0.1").stdout
        nothing = run.ok("find", "--param", "scale=4")
        (line,) = [each for each in nothing.stderr.splitlines() if "could not be read" in each]
        assert line.startswith("2 files could not be read whole, and may say it: ")
        assert "models/1:hparams.yaml" in line
        assert "models/1:data/vocabulary.json" in line
        assert line.endswith("ama show models/1")
        assert "could not be read" not in run.ok("find", "--param", "scale=3").stderr
        assert "could not be read" not in run.ok("find", "--author", "nobody").stderr
        said = run.ok("find", "--param", "scale=4", "--json").json()["unread"]
        assert {(each["asset"], each["file"], each["key"], each["reason"]) for each in said} == {
            ("models/1", "hparams.yaml", "scale", "object"),
            ("models/1", "data/vocabulary.json", None, "too_large"),
        }

    def test_many_files_are_counted(self, tmp_path: Path, home: Path, run: Ama) -> None:
        files = {f"{n}.json": b'{"a": %d, "b' % n for n in range(9)}
        publish(tmp_path / "a", "models", files)
        stderr = run.ok("find", "--param", "b").stderr
        assert "9 files could not be read whole" in stderr
        assert "and 4 more" in stderr
        shown = run.ok("show", "models/1")
        assert "Unread:" in shown.stdout
        assert "8.json: not valid from some place on" in run.ok("show", "models/1", "--all").stdout

    def test_show(self, store: ama.Store, run: Ama) -> None:
        lines = [line.strip() for line in run.ok("show", "models/1").stdout.splitlines()]
        assert "hparams.yaml: scale: an object that only its own program can read" in str(lines)
        assert "data/vocabulary.json: too large a file" in str(lines)
        assert "Unread:" not in run.ok("show", "models/2").stdout
        said = run.ok("show", "models/1", "--json").json()["unread"]
        assert {(each["file"], each["key"], each["reason"]) for each in said} == {
            ("hparams.yaml", "scale", "object"),
            ("data/vocabulary.json", None, "too_large"),
        }


class TestDashboard:
    @pytest.fixture
    def client(self, store: ama.Store) -> TestClient:
        return TestClient(application(store), base_url="http://localhost:8640")

    def test_the_page_of_an_asset_names_it(self, client: TestClient) -> None:
        page = client.get("/assets/models/1").text
        assert "Something is missing here" in page
        assert "hparams.yaml › scale: an object that only its own program can read" in page
        assert "data/vocabulary.json: too large a file" in page
        assert "Something is missing here" not in client.get("/assets/models/2").text

    def test_so_does_one_that_says_nothing_else(
        self, store: ama.Store, client: TestClient, tmp_path: Path
    ) -> None:
        publish(tmp_path / "third", "others", {"b.yml": b'"<b>": !!binary eA=='})
        page = client.get("/assets/others/1").text
        assert "b.yml › &#34;&lt;b&gt;&#34;: bytes, which are no value" in page
        assert "no metadata" not in page

    def test_a_search_counts_it(self, store: ama.Store, client: TestClient) -> None:
        assert "2 files could not be read whole" in client.get("/search?q=nowhere").text
        store.delete("models/1")
        assert "could not be read whole" not in client.get("/search?q=nowhere").text

    def test_files_are_counted_once(self, store: ama.Store, tmp_path: Path) -> None:
        publish(tmp_path / "same", "others", {"a.yaml": HPARAMS, "b.yaml": HPARAMS})
        assert Questions(store.remote, store.settings).files_with_gaps() == 2


class TestCompare:
    def test_what_may_differ_is_named(self, store: ama.Store, run: Ama, tmp_path: Path) -> None:
        comparison = store.compare("models/1", "models/2")
        assert set(comparison.unread) == {HIDDEN, VOCABULARY}
        stderr = run.ok("compare", "models/1", "models/2").stderr
        assert "models/1: hparams.yaml: scale: an object" in stderr
        page = TestClient(application(store), base_url="http://localhost:8640").get(
            "/compare?a=models/1&a=models/2"
        )
        assert "models/1 › hparams.yaml › scale: an object" in page.text

    def test_a_file_that_all_have_is_no_difference(self, store: ama.Store, tmp_path: Path) -> None:
        files = {"hparams.yaml": b"scale: !!binary eA==", "data/vocabulary.json": LARGE}
        publish(tmp_path / "third", "models", files)
        other = Unread("models/3", "hparams.yaml", "scale", "binary")
        assert store.compare("models/1", "models/3").unread == (HIDDEN, other)
