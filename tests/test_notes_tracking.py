"""Notes in find, compare and leaderboards: the newest value counts, as metadata's do."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

import ama
from ama import Settings, Store
from ama.catalog.database import Catalog
from ama.catalog.questions import Questions
from ama.catalog.tables import Choice, column_values, series
from ama.catalog.values import Column, Findings
from ama.errors import InvalidInput, NotFound
from ama.storage.local import LocalStorage
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.wording.hints import words
from conftest import Ama
from counting_storage import CountingStorage

ODD_TAGS = ("[draft]", "a*b", "needs review", "Straße", "‮gnp", "<script>")


@pytest.fixture
def store(home: Path) -> Store:
    """Four models with a loss of their own; what was noted later contradicts it, or adds to it."""
    store = Store.open(home / "store", create=True)
    for number in range(1, 5):
        documents = {"params.yml": f"lr: 0.{number}\n".encode()}
        metadata: dict[str, ama.Scalar] = {"loss": number / 10, "my run": f"run {number}"}
        store.publish("models", documents, metadata=metadata)
    store.note("models/1", metadata={"loss": 0.9, "test.accuracy": 0.5}, tags=["approved", "eu"])
    store.note("models/2", metadata={"loss": 7.0, "my run": "again"}, tags=["approved"])
    store.note("models/2", remove="loss")
    store.note("models/4", metadata={"test.accuracy": 0.75, "test.by": "Bo"})
    store.note("models", message="Classifies *sentences*.\n\nTrained each week.")
    return store


@pytest.fixture
def run(run: Ama, store: Store, monkeypatch: pytest.MonkeyPatch) -> Ama:
    monkeypatch.setenv("AMA_REMOTE", store.url)
    return run


def numbers(found: Findings) -> list[int | None]:
    return [each.asset.number for each in found]


class TestFind:
    @pytest.mark.parametrize(
        ("conditions", "noted", "published"),
        [
            ({"meta": "loss<0.3"}, [2], [1, 2]),  # of 1 it was noted to be 0.9, of 2 taken back
            ({"meta": "loss>0.5"}, [1], []),
            ({"meta": "loss!=0.1"}, [1, 2, 3, 4], [2, 3, 4]),
            ({"meta": "loss=7"}, [], []),
            ({"meta": "my run=again"}, [2], []),
            ({"meta": '"my run"=run 2'}, [], [2]),
            ({"meta": "accuracy"}, [1, 4], []),
            ({"meta": "test.accuracy>0.6"}, [4], []),
            ({"params": "loss<0.3"}, [2], [1, 2]),
            ({"params": "lr<0.3"}, [1, 2], [1, 2]),
            ({"params": ["lr>0.1", "accuracy"]}, [4], []),
            ({"params": "params.yml:loss<0.3"}, [], []),
            ({"params": "*:accuracy"}, [], []),
        ],
    )
    def test_noted_values_count_as_metadata(
        self,
        store: Store,
        conditions: dict[str, str],
        noted: list[int],
        published: list[int],
    ) -> None:
        assert numbers(store.find(**conditions)) == noted  # type: ignore[arg-type]
        found = store.find(**conditions, as_published=True)  # type: ignore[arg-type]
        assert numbers(found) == published

    def test_tags(self, store: Store) -> None:
        assert numbers(store.find(tags="approved")) == [1, 2]
        assert numbers(store.find(tags=["approved", "eu"])) == [1]
        assert numbers(store.find(tags="app*")) == [1, 2]
        assert numbers(store.find(tags="APPROVED")) == []
        assert numbers(store.find(tags="approved", meta="loss<0.3")) == [2]
        store.note("models/1", remove="approved")
        assert numbers(store.find(tags="approved")) == [2]
        found = store.find(class_name="models")
        assert [each.tags for each in found] == [("eu",), ("approved",), (), ()]
        assert [row["tags"] for row in found.rows()] == ["eu", "approved", "", ""]
        assert found.to_frame()["tags"].tolist() == ["eu", "approved", "", ""]
        bare = store.find(class_name="models", as_published=True)
        assert {each.tags for each in bare} == {()}
        with pytest.raises(InvalidInput, match="has no tags"):
            store.find(tags="eu", as_published=True)

    def test_a_tag_of_any_name(self, store: Store) -> None:
        tags = [tag for tag in ODD_TAGS if tag.isprintable()]
        store.note("models/3", tags=tags)
        for tag in tags:
            assert numbers(store.find(tags=tag)) == [3]
        for tag in set(ODD_TAGS) - set(tags):
            with pytest.raises(InvalidInput, match="can't be a tag"):
                store.note("models/3", tags=tag)

    def test_of_what_it_was_made_from(self, store: Store) -> None:
        store.publish("reports", {"a.txt": b"a"}, refs="models/4")
        found = store.find(class_name="reports", params="test.by=Bo")
        assert [each.asset.class_name for each in found] == ["reports"]
        assert not store.find(class_name="reports", params="test.by=Bo", as_published=True)

    def test_a_mistyped_key_or_tag(self, store: Store, run: Ama) -> None:
        found = store.find(meta="acuracy", tags="aproved")
        assert [(each.key, each.near[0]) for each in found.unknown] == [("acuracy", "accuracy")]
        assert [(each.key, each.near) for each in found.unknown_tags] == [
            ("aproved", ("approved",))
        ]
        assert store.find(params="acuracy").unknown[0].near[0] == "accuracy"
        assert store.find(params="acuracy", as_published=True).unknown[0].near == ()
        assert store.find(meta="accuracy=3").unknown == ()
        assert store.find(params="params.yml:accuracy").unknown == ()
        assert store.find(tags=["eu", "approved"], meta="loss=3").unknown_tags == ()
        said = run.ok("find", "--tag", "aproved").stderr
        assert "no asset has a tag aproved; did you mean approved?" in said

    def test_the_command(self, run: Ama) -> None:
        lines = run.ok("find", "--tag", "approved", "--class", "models").stdout.splitlines()
        assert lines[0].split() == "Asset Aliases Tags Created By Created At (UTC)".split()
        assert ["approved, eu" in line for line in lines[1:]] == [True, False]
        plain = run.ok("find", "--meta", "loss>0.3", "--as-published").stdout
        assert "Tags" not in plain
        table = [*csv.DictReader(io.StringIO(run.ok("find", "--meta", "loss", "--csv").stdout))]
        assert [row["tags"] for row in table] == ["approved, eu", "approved", "", ""]
        found = json.loads(run.ok("find", "--tag", "eu", "--json").stdout)
        assert [each["tags"] for each in found["found"]] == [["approved", "eu"]]
        failed = run("find", "--tag", "eu", "--as-published")
        assert (failed.code, failed.stdout) == (2, "")

    def test_it_costs_what_it_did(self, store: Store, home: Path) -> None:
        """Notes are in the catalog: a condition on them asks the store for nothing more."""
        storage = CountingStorage(LocalStorage(Path(store.url)))
        cache = home / "cold"
        reader = Store(Remote.open(storage, cache), replace(Settings.load(None), cache_dir=cache))
        reader.find(class_name="models")
        counts = []
        for conditions in ({"as_published": True}, {"tags": "eu", "meta": "accuracy"}):
            storage.reset()
            reader.find(class_name="models", **conditions)  # type: ignore[arg-type]
            counts.append((storage.round_trips, [sorted(names) for _, names in storage.log]))
        assert counts[0] == counts[1]
        assert counts[0][0] <= 2


class TestCompare:
    def test_what_was_noted_stands_beside_what_was_said(self, store: Store) -> None:
        found = store.compare("models/1", "models/2")
        rows = {row.key: row for row in found.rows if not row.file}
        loss = rows["loss"]
        assert (loss.role, loss.values, loss.better) == ("metric", (0.9, 0.2), True)
        assert loss.entries == (5, None)
        assert rows["test.accuracy"].values == (0.5, None)
        assert rows['"my run"'].entries == (None, 6)
        bare = store.compare("models/1", "models/2", as_published=True)
        rows = {row.key: row for row in bare.rows if not row.file}
        assert rows["loss"].values == (0.1, 0.2)
        assert rows["loss"].entries == ()
        assert "test.accuracy" not in rows

    def test_the_command(self, run: Ama) -> None:
        shown = run.ok("compare", "models/1", "models/2")
        assert "  loss           0.9*" in shown.stdout
        assert "* noted later" in shown.stderr
        bare = run.ok("compare", "models/1", "models/2", "--as-published")
        assert "*" not in bare.stdout + bare.stderr
        found = json.loads(run.ok("compare", "models/1", "models/2", "--json").stdout)
        rows = {row["key"]: row["entries"] for row in found["rows"]}
        assert rows["loss"] == [5, None]
        assert rows["lr"] == []
        table = run.ok("compare", "models/1", "models/2", "--csv").stdout
        assert "*" not in table

    def test_in_two_stores(self, store: Store, tmp_path: Path) -> None:
        other = Store.open(tmp_path / "other", create=True)
        store.copy("models/1", other)
        found = ama.compare(store.resolve("models/1"), other.resolve("models/1"))
        rows = {row.key: row.values for row in found.differences}
        assert rows["loss"] == (0.9, 0.1)  # notes stay in their store


class TestLeaderboard:
    def test_it_ranks_by_what_was_noted(self, store: Store) -> None:
        board = store.leaderboard("models", columns=["loss", "accuracy"], sort="loss")
        assert [row.asset.number for row in board.rows] == [2, 3, 4, 1]
        assert [row.values for row in board.rows] == [
            (0.2, None),
            (0.3, None),
            (0.4, 0.75),
            (0.9, 0.5),
        ]
        assert [row.entries for row in board.rows] == [(), (), (None, 8), (5, 5)]
        assert [row.tags for row in board.rows] == [("approved",), (), (), ("approved", "eu")]
        assert board.table()[0]["tags"] == "approved"
        bare = store.leaderboard("models", columns="loss", sort="loss", as_published=True)
        assert [row.asset.number for row in bare.rows] == [1, 2, 3, 4]
        assert {(row.tags, row.entries) for row in bare.rows} == {((), ())}
        with pytest.raises(NotFound):
            store.leaderboard("models", columns="accuracy", as_published=True)

    def test_a_noted_metric_is_a_column_by_default(self, store: Store) -> None:
        board = store.leaderboard("models")
        assert ("metric", "test.accuracy") in [(each.role, each.key) for each in board.columns]

    def test_a_value_called_tags(self, store: Store) -> None:
        store.note("models/1", metadata={"tags": "x"})
        board = store.leaderboard("models", columns=":tags")
        assert board.column_names() == (":tags",)
        assert board.table()[-1]["tags"] == "approved, eu"
        assert board.table()[-1][":tags"] == "x"

    def test_the_command(self, run: Ama) -> None:
        shown = run.ok("compare", "--class", "models", "--columns", "loss,accuracy")
        header, *lines = shown.stdout.splitlines()
        assert header.split()[:5] == ["Asset", "Aliases", "Tags", "loss", "accuracy"]
        assert "0.9*" in lines[-1]
        assert "approved, eu" in lines[-1]
        assert "* noted later" in shown.stderr
        found = json.loads(run.ok("compare", "--class", "models", "--json").stdout)
        assert found["rows"][-1]["tags"] == ["approved", "eu"]
        options = ("--as-published", "--columns", "loss")
        bare = run.ok("compare", "--class", "models", *options).stdout
        assert "*" not in bare
        assert "Tags" not in bare


class TestTables:
    """What the dashboard asks for."""

    def test_a_column_has_what_was_noted(self, store: Store) -> None:
        def ask(db: sqlite3.Connection, view: LogView) -> None:
            column = Column("metric", "", "", "loss", "lower")
            values = column_values(db, "models", column)
            assert sorted(map(str, values.values())) == ["0.2", "0.3", "0.4", "0.9"]
            points = series(db, Choice("models"), column)
            assert points == ((1, 0.9), (2, 0.2), (3, 0.3), (4, 0.4))
            assert series(db, Choice("models"), replace(column, key="test.accuracy")) == (
                (1, 0.5),
                (4, 0.75),
            )

        Catalog(store.remote).ask(ask)

    def test_a_note_of_an_old_asset_is_a_column(self, store: Store) -> None:
        questions = Questions(store.remote, store.settings)
        for number in range(20):
            store.publish("models", {"n.txt": f"{number}".encode()})

        def known() -> set[str]:
            now = questions.at(store.remote.view())
            return {column.key for column in now.columns("models").known}

        assert {"test.accuracy", "test.by", "loss"} <= known()
        assert "late" not in known()
        store.note("models/1", metadata={"late": 1})
        assert "late" in known()
        store.note("models/1", remove=["late", "loss"])
        assert "late" not in known()
        assert "loss" in known()  # assets say so themselves

    def test_words_find_values_and_tags(self, store: Store) -> None:
        questions = Questions(store.remote, store.settings)

        def found(*words: str) -> list[int]:
            return sorted(line.number for line in questions.search(words, 10))

        assert found("approved") == [1, 2]
        assert found("by=bo") == [4]
        assert found("run 2") == []
        assert found("again") == [2]
        assert [line.tags for line in questions.search(["models/1"], 1)] == [("approved", "eu")]

    def test_lookups_read_no_table_whole(self, store: Store) -> None:
        """A column of a page costs lookups by its assets, however many notes a store has."""
        plans: list[str] = []

        def ask(db: sqlite3.Connection, view: LogView) -> None:
            class Watched:
                def execute(self, query: str, values: object) -> object:
                    plan = db.execute(f"EXPLAIN QUERY PLAN {query}", values)  # type: ignore[arg-type]
                    plans.extend(row[3] for row in plan)
                    return db.execute(query, values)  # type: ignore[arg-type]

            watched: sqlite3.Connection = Watched()  # type: ignore[assignment]
            column_values(watched, "models", Column("metric", "", "", "loss"))
            column_values(watched, "models", Column("metric", "inputs", "", "loss"))

        Catalog(store.remote).ask(ask)
        assert any("later" in plan for plan in plans)
        assert not [plan for plan in plans if "SCAN" in plan]


def test_show_of_a_class_has_its_description(run: Ama, store: Store) -> None:
    shown = run.ok("show", "models").stdout
    assert "Class:       Classifies *sentences*.\n" in shown
    assert "Class:" not in run.ok("show", "models/4").stdout
    assert "Class:" not in run.ok("show", "models", "--as-published").stdout
    said = json.loads(run.ok("show", "models/4", "--json").stdout)
    assert said["class_description"].startswith("Classifies")
    assert "class_description" not in json.loads(
        run.ok("show", "models/4", "--as-published", "--json").stdout
    )
    store.note("models", message="\n".join(f"line {n}" for n in range(40)))
    assert "... and 28 more lines: ama note models\n" in run.ok("show", "models").stdout
    assert "line 39" in run.ok("show", "models", "--all").stdout
    store.note("models", message="")
    assert "Class:" not in run.ok("show", "models").stdout


def test_a_key_with_spaces_is_one_key(store: Store) -> None:
    """Noted keys are spelled in the catalog as those of metadata."""
    store.note("models/3", metadata={"my run": "x", "a..b": 1, '"q': 2})
    for condition in ("my run=x", '"my run"=x', 'a."".b', '"\\"q"'):
        assert numbers(store.find(meta=condition)) == [3], condition
    with pytest.raises(InvalidInput) as raised:
        store.find(meta="=3")
    assert words(raised.value.hints)
