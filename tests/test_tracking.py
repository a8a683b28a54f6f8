"""find, summary, compare, leaderboard and lineage of real training runs, as their users ask."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import ama
from ama.catalog.questions import Questions
from ama.catalog.tables import Choice
from ama.catalog.values import Column
from ama.config import set_value
from ama.errors import InvalidInput, NotFound
from ama.settings import user_config_path
from ama.wording.hints import words
from conftest import Ama

INPUTS = ["git_commit_info_ckpt0.yml", "run_config_ckpt0.yml", "training.yml"]
ODD = ('{"loss": NaN}', '{"loss": 0.5}', '{"loss": "low"}', "{}", '{"loss": [0.1, 0.7]}')
OUTPUTS = ["graph_version.txt", "meta.yml", "model.h5", "model.yml", "summary_dict.json"]


@pytest.fixture
def published(training_runs: Path, home: Path) -> Path:
    """The runs as their users publish them: inputs in one class, models in another, linked."""
    set_value(user_config_path(), "user.name", "Ann Lee")
    set_value(user_config_path(), "user.email", "ann@example.com")
    for name in ("base", "wide", "finetuned"):
        directory = training_runs / name
        inputs = ama.Repo.init(directory, "inputs")
        inputs.add([directory / file for file in INPUTS])
        inputs.set(aliases=[name])
        inputs.upload()
        models = ama.Repo.init(directory, "models")
        models.add([directory / file for file in OUTPUTS])
        models.set(aliases=[name, "newest"], metadata={"team": "vision", "run": name})
        models.link(f"inputs@{name}")
        if name == "finetuned":
            models.link("models@base", label="initial weights")
        models.upload(message=f"the {name} model")
    return training_runs


@pytest.fixture
def store(published: Path) -> ama.Store:
    return ama.Store.default()


def named(found: object) -> list[str]:
    return [f"{each.asset.class_name}/{each.asset.number}" for each in found]  # type: ignore[attr-defined]


class TestFind:
    def test_by_content_whatever_it_is_called(self, store: ama.Store, published: Path) -> None:
        """base and finetuned share model.yml byte for byte."""
        other = published / "another name"
        other.write_bytes((published / "base" / "model.yml").read_bytes())
        hashed = ama.hash_file(other)
        for file in (other, str(other), hashed, hashed[:12].upper(), "models@base:model.yml"):
            found = store.find(file)
            assert named(found) == ["models/1", "models/3"]
            assert {each.paths for each in found} == {("model.yml",)}
            assert found[0].asset.aliases == ("base",)
            assert found[0].asset.author == "Ann Lee <ann@example.com>"

    def test_metadata_may_be_called_anything(self, tmp_path: Path, home: Path) -> None:
        (tmp_path / "a.txt").write_text("a", encoding="utf-8")
        repo = ama.Repo.init(tmp_path, "models")
        repo.add([tmp_path / "a.txt"])
        repo.set(metadata={"my loss": 0.5, "v1:x": 2, "a..b": 1, '"x': 1, ".": 1, "k": 1})
        repo.upload()
        store = ama.Store.default()
        for condition in ("my loss<1", '"my loss"<1', '"v1:x"=2', 'a."".b=1', '"\\"x"=1', "k"):
            assert named(store.find(meta=condition)) == ["models/1"], condition
        assert len(store.resolve("models/1").summary().facts) == 6
        assert store.compare("models/1", "models/1").differences == ()

    @pytest.mark.parametrize("text", ["\udcff", "a=\udcff", "\udcff=1"])
    def test_what_the_shell_took_for_a_text(self, store: ama.Store, text: str) -> None:
        """An argument that is no UTF-8."""
        for option in ("name", "alias", "author", "meta", "params", "class_name"):
            with pytest.raises(InvalidInput):
                store.find(**{option: text})  # type: ignore[arg-type]

    def test_nowhere_is_no_error(self, store: ama.Store, tmp_path: Path) -> None:
        (tmp_path / "new").write_text("never published", encoding="utf-8")
        assert len(store.find(tmp_path / "new")) == 0
        assert len(store.find("0" * 64)) == 0

    def test_a_file_that_is_not_there(self, store: ama.Store) -> None:
        with pytest.raises(NotFound):
            store.find(class_name="no-such-class")
        for file in ("no-such-file", "models/1:no-such-file", Path("no-such-file"), "abcdef1"):
            with pytest.raises(NotFound):
                store.find(file)

    def test_what_has_no_end_is_not_waited_for(
        self, store: ama.Store, tmp_path: Path, run: Ama
    ) -> None:
        os.mkfifo(tmp_path / "pipe")
        for place in (tmp_path / "pipe", Path("/dev/zero")):
            with pytest.raises(InvalidInput, match="no regular file"):
                store.find(place)
        assert run("find", "pipe", timeout=20).code == 2
        assert run("hash", "pipe", timeout=20).code == 2

    def test_a_key_that_no_asset_has_is_named(self, store: ama.Store, run: Ama) -> None:
        """With what may have been meant, which finds something then."""
        found = store.find(params=["lr=0.001", "units>1"], meta=["tem=vision"])
        assert [each.key for each in found.unknown] == ["tem", "lr"]
        assert {"learning_rate", "team"} <= {near for each in found.unknown for near in each.near}
        assert named(store.find(params="learning_rate==0.0003", class_name="models")) == [
            "models/3"
        ]
        assert store.find(params="learning_rate=7").unknown == ()
        said = run.ok("find", "--param", "lr==0.001").stderr
        assert "no asset has a value called lr; did you mean learning_rate?" in said

    def test_a_class_that_is_not_there(self, store: ama.Store) -> None:
        with pytest.raises(NotFound) as caught:
            store.find(class_name="model")
        assert "models" in str(words(caught.value.hints))

    @pytest.mark.parametrize(
        ("conditions", "expected"),
        [
            ({"class_name": "inputs"}, ["inputs/1", "inputs/2", "inputs/3"]),
            ({"alias": "w*"}, ["inputs/2", "models/2"]),
            ({"alias": "newest"}, ["models/3"]),
            ({"name": "*.h5"}, ["models/1", "models/2", "models/3"]),
            ({"name": "no/such/*"}, []),
            ({"author": "ANN"}, [f"{c}/{n}" for c in ("inputs", "models") for n in (1, 2, 3)]),
            ({"author": "bob"}, []),
            ({"meta": "run=wide"}, ["models/2"]),
            ({"meta": ["team=vision", "run!=wide"]}, ["models/1", "models/3"]),
            ({"params": "training.yml:parameters.seed=1", "class_name": "inputs"}, ["inputs/1"]),
            ({"params": "learning_rate<0.001", "class_name": "models"}, ["models/3"]),
            ({"params": "best.val_loss<0.27"}, ["models/2"]),
            ({"params": "fine_tuned_from=base", "class_name": "inputs"}, ["inputs/3"]),
            ({"params": "no.such.key"}, []),
            ({"since": "1h", "meta": "run=base"}, ["models/1"]),
            ({"until": "1h"}, []),
        ],
    )  # fmt: skip
    def test_by_conditions(
        self, store: ama.Store, conditions: dict[str, str], expected: list[str]
    ) -> None:
        assert named(store.find(**conditions)) == expected  # type: ignore[arg-type]

    def test_order_and_limit(self, store: ama.Store) -> None:
        made = ["inputs/1", "models/1", "inputs/2", "models/2", "inputs/3", "models/3"]
        assert named(store.find(author="ann", sort="created")) == made
        assert named(store.find(author="ann", sort="created", reverse=True, limit=2)) == made[:3:-1]
        with pytest.raises(InvalidInput):
            store.find(author="ann", limit=0)
        with pytest.raises(InvalidInput):
            store.find(author="ann", sort="size")

    def test_times_are_of_their_zone(self, store: ama.Store) -> None:
        now = datetime.now(UTC)
        assert len(store.find(since=now - timedelta(minutes=5))) == 6
        assert len(store.find(since=(now + timedelta(minutes=5)).replace(tzinfo=None))) == 0

    def test_as_rows(self, store: ama.Store) -> None:
        rows = store.find("models@base:model.yml").rows()
        assert [row["path"] for row in rows] == ["model.yml", "model.yml"]


class TestSummary:
    def test_who_when_from_which_code_parameters_and_data(self, store: ama.Store) -> None:
        summary = store.resolve("models@finetuned").summary()
        assert summary.code is not None
        assert summary.code.commit == "98bca61fc30f7b73675b383000ba3a769cffdeb8"
        assert (summary.code.repository, summary.code.branch) == ("digits-model", "main")
        assert summary.code.dirty is False
        assert (summary.code.source, summary.code.file) == ("inputs", "git_commit_info_ckpt0.yml")
        parameters = {fact.key: fact.value for fact in summary.parameters}
        assert parameters["parameters.learning_rate"] == 0.0003
        assert parameters["layers.2.activation"] == "softmax"
        metrics = {fact.key: fact for fact in summary.metrics}
        assert metrics["best.val_loss"].value == 0.279218
        assert metrics["best.val_loss"].better == "lower"
        assert metrics["best.val_accuracy"].better == "higher"
        assert {fact.key: fact.value for fact in summary.data}["datasets.0.rows"] == 1797
        assert [ref.label for ref in summary.asset.refs] == ["", "initial weights"]
        assert [file.path for file in summary.files] == OUTPUTS
        assert summary.asset.size == sum(file.size for file in summary.files)

    def test_of_an_earlier_model_nothing_is_taken_over(self, store: ama.Store) -> None:
        """models@base is a ref of finetuned, and its metrics and files are its own."""
        summary = store.resolve("models@finetuned").summary()
        assert {fact.source for fact in summary.facts} == {"", "inputs"}

    def test_aliases_before_and_what_was_made_from_it(self, store: ama.Store) -> None:
        summary = store.resolve("models@base").summary()
        assert summary.asset.aliases == ("base",)
        assert summary.aliases_before == ("newest",)
        assert summary.made_from_it == 1

    def test_same_files_again(self, store: ama.Store, published: Path) -> None:
        repo = ama.Repo.open(published / "base")
        repo.set(message="once more")
        repo.upload()
        summary = store.resolve("models").summary()
        assert [(ref.class_name, ref.number) for ref in summary.same_files] == [("models", 1)]
        assert [(ref.class_name, ref.number) for ref in summary.parents] == [("models", 1)]

    def test_of_a_deleted_asset_its_record_is_left(self, store: ama.Store) -> None:
        """Whether the catalog was filled before it was deleted or not."""
        assert store.resolve("models/2").summary().files
        store.delete("models/2", force=True)
        summary = store.resolve("models/2").summary()
        assert (summary.files, summary.metrics, summary.same_files) == ((), (), ())
        assert summary.asset.metadata["run"] == "wide"
        assert summary.code is not None  # its inputs, which are there, say which

    def test_a_class_has_rules_of_its_own(self, published: Path) -> None:
        set_value(user_config_path(), "classes.models.metrics", "model.yml:parameters")
        set_value(user_config_path(), "classes.models.higher_is_better", "parameters")
        metrics = ama.Store.default().resolve("models@wide").summary().metrics
        assert {fact.key: fact.better for fact in metrics}["parameters"] == "higher"

    def test_a_file_of_50_mb_is_no_parameters(self, store: ama.Store, published: Path) -> None:
        directory = published / "huge"
        directory.mkdir()
        (directory / "metrics.json").write_bytes(b'{"loss": 1, "x": "%s"}' % (b"a" * 50_000_000))
        (directory / "broken.yml").write_text("a: [1", encoding="utf-8")
        (directory / "latin.yml").write_bytes(b"name: M\xfcller")
        repo = ama.Repo.init(directory, "huge")
        repo.add(["."])
        repo.upload()
        summary = store.resolve("huge").summary()
        assert summary.facts == ()
        assert len(summary.files) == 3
        assert len(store.find(class_name="huge", params="loss")) == 0

    def test_in_a_worktree_it_is_the_store_s_as_soon_as_that_is_there(
        self, store: ama.Store, published: Path
    ) -> None:
        there = ama.Repo.open(published / "base").summary("models@base")
        assert there == store.resolve("models@base").summary()
        assert there.made_from_it == 1
        place = Path(store.url)
        place.rename(place.with_name("away"))
        repo = ama.Repo.open(published / "finetuned")
        here = repo.summary("models@finetuned")
        assert repo.away is not None
        assert here.asset.number == 3
        assert {fact.source for fact in here.facts} == {""}
        place.with_name("away").rename(place)
        assert repo.summary("models@base") == there
        assert repo.away is None

    def test_of_many_values_those_further_up_are_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ama.catalog.facts.MOST_VALUES", 3)
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "a.yml").write_text("x: 1", encoding="utf-8")
        (tmp_path / "z.yml").write_text("x: 1\ny: 2\nz: 3", encoding="utf-8")
        repo = ama.Repo.init(tmp_path, "models")
        repo.add(["."])
        repo.upload()
        summary = repo.summary()
        assert [(fact.file, fact.key) for fact in summary.facts] == [("z.yml", k) for k in "xyz"]
        (unread,) = summary.unread
        assert (unread.asset, unread.reason) == ("models/1", "too_many")
        assert "more than 3 values" in unread.detail

    def test_in_a_notebook_what_a_store_says_is_text(
        self, store: ama.Store, published: Path
    ) -> None:
        directory = published / "hostile"
        directory.mkdir()
        (directory / "params.json").write_text('{"<b>": "<script>alert(1)</script>"}', "utf-8")
        repo = ama.Repo.init(directory, "hostile")
        repo.add(["params.json"])
        repo.upload(message="<img src=x onerror=alert(1)>")
        asset = store.resolve("hostile")
        for shown in (
            asset.summary(),
            store.find(class_name="hostile"),
            store.leaderboard("hostile"),
            ama.compare(asset, store.resolve("models@base")),
        ):
            html = shown._repr_html_()  # type: ignore[attr-defined]
            assert html.startswith("<table>")
            assert "<script" not in html
            assert "<img" not in html
            assert "<b>" not in html


class TestCompare:
    def test_two_models(self, store: ama.Store) -> None:
        comparison = store.compare("models@base", "models@finetuned")
        rows = {(row.role, row.key): row for row in comparison.rows}
        rate = rows["parameter", "parameters.learning_rate"]
        assert (rate.values, rate.source, rate.same) == ((0.001, 0.0003), "inputs", False)
        loss = rows["metric", "best.val_loss"]
        assert loss.difference == pytest.approx(-0.005677)
        assert loss.better is True
        assert rows["parameter", "parameters.optimizer"].same
        before, after = rows["ref", "models"].values
        assert before is None
        assert str(after).endswith(" as initial weights")
        assert rows["code", "commit"].values[1] == "98bca61fc30f7b73675b383000ba3a769cffdeb8"
        files = {row.path: row.kind for row in comparison.files}
        assert files["model.yml"] == "same"
        assert files["model.h5"] == "modified"
        assert not any(row.same for row in comparison.differences)
        assert [row.path for row in comparison.changed_files] == [
            "meta.yml", "model.h5", "summary_dict.json",
        ]  # fmt: skip

    def test_worse_is_said_as_well(self, store: ama.Store) -> None:
        comparison = store.compare("models@finetuned", "models@base")
        rows = {row.key: row for row in comparison.rows}
        assert rows["best.val_loss"].better is False
        assert rows["best.val_accuracy"].better is False

    def test_three(self, store: ama.Store) -> None:
        comparison = store.compare("models/1", "models/2", "models/3")
        (row,) = [row for row in comparison.rows if row.key == "parameters.hidden_units"]
        assert row.values == (256, 512, 256)
        assert row.difference is None

    def test_a_renamed_file(self, store: ama.Store, published: Path) -> None:
        directory = published / "base"
        repo = ama.Repo.open(directory)
        (directory / "model.yml").rename(directory / "architecture.yml")
        repo.remove(["model.yml"])
        repo.add(["architecture.yml"])
        repo.upload()
        changed = store.compare("models@base", "models").changed_files
        (row,) = changed
        assert (row.kind, row.old_path, row.path) == ("renamed", "model.yml", "architecture.yml")
        (said,) = (r for r in store.compare("models@base", "models").table() if r["role"] == "file")
        assert said["key"] == "renamed from model.yml"

    def test_what_was_deleted_is_refused_also_where_the_catalog_has_it(
        self, store: ama.Store
    ) -> None:
        assert store.compare("models/1", "models/2").changed_files
        store.delete("models/2", force=True)
        with pytest.raises(NotFound, match="was deleted"):
            store.compare("models/1", "models/2")

    def test_one_is_not_compared(self, store: ama.Store) -> None:
        with pytest.raises(InvalidInput, match="two assets"):
            store.compare("models/1")
        with pytest.raises(NotFound):
            store.compare("models/1", "models/9")

    def test_of_two_stores(self, store: ama.Store, tmp_path: Path) -> None:
        other = ama.Store.open(str(tmp_path / "other"), create=True)
        store.copy("models@base", other)
        comparison = ama.compare(store.resolve("models@base"), other.resolve("models/1"))
        assert comparison.changed_files == ()
        assert {row.role for row in comparison.differences} <= {"ref"}

    def test_leaderboard(self, store: ama.Store) -> None:
        board = store.leaderboard("models", sort="val_loss", columns="learning_rate")
        assert [row.asset.number for row in board.rows] == [2, 3, 1]
        assert board.column_names() == ("best.val_loss", "parameters.learning_rate")
        assert board.rows[0].values == (0.266756, 0.001)
        turned = store.leaderboard("models", sort="val_loss", reverse=True, limit=1)
        assert [row.asset.number for row in turned.rows] == [1]
        accuracy = store.leaderboard("models", sort="best.val_accuracy")
        assert accuracy.rows[-1].asset.number == 1
        default = store.leaderboard("models").column_names()
        assert default[:2] == ("best.val_loss", "best.val_accuracy")
        assert "parameters.learning_rate" in default
        assert "parameters.optimizer" not in default

    def test_a_table_has_in_each_column_what_its_assets_say(
        self, store: ama.Store, published: Path
    ) -> None:
        """Also of several refs of one label or class, and of what was deleted since."""
        repo = ama.Repo.init(published / "base", "models")
        repo.add([published / "base" / "meta.yml"])
        for name, label in (("base", ""), ("wide", ""), ("finetuned", "inputs")):
            repo.link(f"inputs@{name}", label=label)
        repo.upload()
        questions = Questions(store.remote, store.settings)
        for deleted in (None, "inputs@wide"):
            if deleted is not None:
                store.delete(deleted, force=True)
            known = questions.columns("models").known
            assert {"inputs", "inputs 3"} <= {column.source for column in known}
            table = questions.table(Choice("models"), known, offset=0, limit=50)
            for row in table.rows:
                facts = store.resolve(row.asset.id).summary().facts
                said = {(fact.source, fact.file, fact.key): fact.value for fact in facts}
                columns = [(each.source, each.file, each.key) for each in known]
                assert said.keys() <= set(columns)
                assert row.values == tuple(map(said.get, columns))

    def test_a_label_on_the_only_ref_of_its_class_parts_nothing(
        self, store: ama.Store, published: Path
    ) -> None:
        """One colleague links the inputs with a label, and the others without."""
        repo = ama.Repo.init(published / "base", "models")
        repo.add([published / "base" / file for file in OUTPUTS])
        repo.link("inputs@base", label="a b")
        repo.upload()
        differing = store.compare("models@base", "models").differences
        assert {row.role for row in differing} <= {"metadata", "ref", "asset"}
        (ref,) = (row for row in differing if row.role == "ref")
        assert (ref.key, str(ref.values[1]).endswith(" as a b")) == ("inputs", True)
        board = store.leaderboard("models", columns=["learning_rate"])
        assert [row.values for row in board.rows] == [(0.001,), (0.0003,), (0.001,), (0.001,)]
        questions = Questions(store.remote, store.settings)
        known = questions.columns("models").known
        assert {column.source for column in known} == {"", "inputs"}
        (column,) = (each for each in known if each == board.columns[0])
        table = questions.table(Choice("models"), [column], offset=0, limit=50)
        assert [row.values for row in table.rows] == [row.values for row in board.rows]

    def test_each_name_that_is_offered_works(self, published: Path, run: Ama) -> None:
        repo = ama.Repo.init(published / "base", "models")
        repo.add([published / "base" / "meta.yml"])
        for name, label in (("base", "a b"), ("wide", 'say "c", d: e'), ("finetuned", "")):
            repo.link(f"inputs@{name}", label=label)
        repo.upload()
        columns = ("compare", "--class", "models", "--csv", "--columns")
        message = run(*columns, "learning_rate").stderr.splitlines()[0]
        rates = []
        for name in shlex.split(message.partition("any of ")[2]):
            name = name.removesuffix(",")
            header, first, *_ = csv.reader(run.ok(*columns, name).stdout.splitlines())
            rates.append(first[-1])
            assert header[-1] == "parameters.learning_rate"
        assert sorted(rates) == ["0.0003", "0.001", "0.001"]

    def test_a_column_that_there_is_not(self, store: ama.Store) -> None:
        with pytest.raises(NotFound, match="val_los") as caught:
            store.leaderboard("models", sort="val_los")
        assert "val_loss" in str(words(caught.value.hints))
        with pytest.raises(InvalidInput, match="may be any of"):
            store.leaderboard("models", columns="units")
        with pytest.raises(NotFound):
            store.leaderboard("no-such-class")

    def test_what_has_no_number_comes_last(self, store: ama.Store, published: Path) -> None:
        for number, text in enumerate(ODD):
            directory = published / f"odd-{number}"
            directory.mkdir()
            (directory / "metrics.json").write_text(text, encoding="utf-8")
            repo = ama.Repo.init(directory, "odd")
            repo.add(["metrics.json"])
            repo.upload()
        questions = Questions(store.remote, store.settings)
        column = Column("metric", "", "metrics.json", "loss")
        for reverse, expected in ((False, [2, 5, 1, 3, 4]), (True, [5, 2, 3, 1, 4])):
            board = store.leaderboard("odd", sort="loss", reverse=reverse)
            assert [row.asset.number for row in board.rows] == expected
            choice = Choice("odd", sort=column, reverse=reverse)
            table = questions.table(choice, [column], offset=0, limit=50)
            assert [row.asset.number for row in table.rows] == expected

    def test_a_colon_in_quotes_is_a_part_of_a_key(self, tmp_path: Path, home: Path) -> None:
        repo = ama.Repo.init(tmp_path, "models")
        (repo.root / "params.json").write_text('{"x:y": 2, "n": {"a": 3}}', encoding="utf-8")
        repo.add([repo.root / "params.json"])
        repo.upload()
        store = ama.Store.default()
        for name, value in (('"x:y"', 2), ('params.json:"x:y"', 2), ("params.json:n.a", 3)):
            assert store.leaderboard("models", columns=[name]).rows[0].values == (value,)
        for name in ("x:y", '"x', ":a"):
            with pytest.raises(NotFound):
                store.leaderboard("models", columns=[name])

    def test_what_a_notebook_prints_is_short(self, store: ama.Store) -> None:
        board, found = store.leaderboard("models"), store.find(class_name="models")
        assert repr(board).startswith("<Leaderboard of models: 3 assets, ")
        assert repr(found) == "<Findings: 3 found>"
        made = board.rows[0].asset.created_at
        for shown in (board, found):
            assert f"<td>{made:%Y-%m-%d %H:%M} UTC</td>" in shown._repr_html_()

    def test_no_column_hides_another_one(self, store: ama.Store) -> None:
        """Of the same file in two refs, and one that is called as an asset's own is."""
        board = store.leaderboard("models")
        columns = tuple(
            Column("parameter", source, file, key)
            for source, file, key in (
                ("first", "training.yml", "rate"),
                ("second", "training.yml", "rate"),
                ("", "params.json", "asset"),
            )
        )
        row = board.rows[0]
        said = dataclasses.replace(
            board,
            columns=columns,
            rows=(dataclasses.replace(row, values=(0, 1, "other")),),
        )
        (found,) = said.table()
        assert found["asset"] == row.asset.name
        assert {
            "first: training.yml:rate": 0,
            "second: training.yml:rate": 1,
            "params.json:asset": "other",
        }.items() <= found.items()


class TestLineage:
    def test_up_and_down(self, store: ama.Store) -> None:
        model = store.resolve("models@finetuned")
        up = model.upstream()
        names = {node.id: f"{node.class_name}/{node.number}" for node in up.nodes}
        edges = {(names[e.made], names[e.source], e.kind, e.label) for e in up.edges}
        assert edges == {
            ("models/3", "inputs/3", "ref", ""),
            ("models/3", "models/1", "ref", "initial weights"),
            ("models/1", "inputs/1", "ref", ""),
        }
        down = store.resolve("inputs@base").downstream()
        assert [f"{n.class_name}/{n.number}" for n in down.nodes] == [
            "inputs/1", "models/1", "models/3",
        ]  # fmt: skip
        assert len(model.downstream().nodes) == 1
        assert model.lineage()._repr_svg_().startswith("<svg")  # type: ignore[attr-defined]

    def test_what_is_published_elsewhere_is_known_by_its_record(
        self, store: ama.Store, published: Path, tmp_path: Path
    ) -> None:
        """Pushed to a second store, a model takes the records of what it was made from along."""
        second = str(tmp_path / "second")
        repo = ama.Repo.open(published / "finetuned")
        repo.push(remote=second)
        there = ama.Store.open(second).resolve("models").upstream()
        assert {node.class_name for node in there.nodes} == {"models", "inputs"}
        assert len(there.nodes) == 4
        assert [node.author for node in there.nodes] == ["Ann Lee <ann@example.com>"] * 4
        assert [node.here for node in there.nodes] == [True, False, False, False]
        summary = ama.Store.open(second).resolve("models").summary()
        assert {fact.source for fact in summary.facts} == {""}
        (unread,) = summary.unread
        assert (unread.source, unread.reason) == ("inputs", "elsewhere")


class TestCommands:
    def test_find(self, published: Path, run: Ama) -> None:
        lines = run.ok("find", published / "base" / "model.yml").stdout.splitlines()
        header = "Asset Path Aliases Created By Created At (UTC)"
        assert lines[0].split() == header.split()
        assert [line.split()[0] for line in lines[1:]] == ["models/1", "models/3"]
        found = run.ok("find", "--meta", "run=wide", "--json").json()["found"]
        assert [each["asset"]["number"] for each in found] == [2]
        rows = list(csv.DictReader(io.StringIO(run.ok("find", "--name", "*.h5", "--csv").stdout)))
        assert [row["path"] for row in rows] == ["model.h5"] * 3
        both = run("find", "--author", "ann", "--csv", "--json")
        assert (both.code, "--json and --csv exclude each other" in both.output) == (2, True)
        nobody = run.ok("find", "--author", "nobody", "--csv")
        assert (nobody.stdout, nobody.stderr[:11]) == ("", "no asset in")
        new = published / "new.txt"
        new.write_text("never published", encoding="utf-8")
        assert ama.hash_file(new)[:10] in run.ok("find", new).stderr
        assert run("find").code == run("find", "--meta", "loss<x").code == 2

    def test_find_a_file_of_this_worktree(self, published: Path, run: Ama) -> None:
        here = published / "base"
        assert "models/3" in run.ok("find", "HEAD:model.yml", cwd=here).stdout
        assert "models/3" in run.ok("find", "@base:model.yml", cwd=here).stdout

    def test_show(self, published: Path, run: Ama) -> None:
        shown = run.ok("show", "models@finetuned").stdout
        assert len(shown.splitlines()) < 60
        for part in (
            "Code:        digits-model @ 98bca61fc30f7b73675b383000ba3a769cffdeb8 (main, clean)",
            "parameters.learning_rate = 0.0003",
            "best.val_loss = 0.279218",
            "datasets.0.name = digits",
            "as initial weights",
        ):
            assert part in shown
        data = run.ok("show", "models@base", "--json").json()
        assert data["code"]["commit"] == "dadce1b8b9189bfbd6672754fbe0b186a3a28089"
        assert data["aliases_before"] == ["newest"]
        assert "Used By:     1 asset" in run.ok("show", "models@base").stdout

    def test_show_what_is_not_published(self, published: Path, run: Ama) -> None:
        here = published / "base"
        (here / "summary_dict.json").write_text('{"best": {"val_loss": 0.125}}', encoding="utf-8")
        run.ok("add", "summary_dict.json", cwd=here)
        run.ok("commit", cwd=here)
        assert "best.val_loss = 0.125" in run.ok("show", cwd=here).stdout

    def test_compare(self, published: Path, run: Ama) -> None:
        text = run.ok("compare", "models@base", "models@finetuned").stdout
        assert "-0.005677 (better)" in text
        assert "parameters.optimizer" not in text
        everything = run.ok("compare", "models@base", "models@finetuned", "--all").stdout
        assert "parameters.optimizer" in everything
        markdown = run.ok("compare", "models@base", "models@finetuned", "--markdown").stdout
        assert markdown.splitlines()[1].startswith("| --- |")
        assert "| 12 values, last 0.309717 | 6 values, last 0.280225 | -0.029492 |" in markdown
        found = run.ok("compare", "models@base", "models@finetuned", "--csv").stdout
        (loss,) = (r for r in csv.DictReader(io.StringIO(found)) if r["key"] == "best.val_loss")
        assert (loss["role"], loss["file"], loss["better"]) == (
            "metric",
            "summary_dict.json",
            "true",
        )
        rows = run.ok("compare", "models/1", "models/2", "models/3", "--csv").stdout
        assert "parameters.hidden_units,256,512,256" in rows
        same = run.ok("compare", "models/1", "models/1", "--csv")
        assert (same.stdout, same.stderr[:14]) == ("", "no differences")
        assert run("compare", "models/1").code == 2
        assert run("compare", "models/1", "--sort", "x").code == 2

    def test_leaderboard(self, published: Path, run: Ama) -> None:
        lines = run.ok("compare", "--class", "models", "--sort", "val_loss").stdout.splitlines()
        assert [line.split()[0] for line in lines[1:]] == ["models/2", "models/3", "models/1"]
        board = run.ok("compare", "--class", "models", "--columns", "val_loss,epochs", "--json")
        assert [c["key"] for c in board.json()["columns"]] == ["best.val_loss", "parameters.epochs"]

    def test_lineage(self, published: Path, run: Ama) -> None:
        tree = run.ok("lineage", "models@base").stdout
        assert "inputs/1" in tree
        assert "models/3" in tree
        assert "models/3" not in run.ok("lineage", "models@base", "--up").stdout
        assert "inputs/1" not in run.ok("lineage", "models@base", "--down").stdout
        for form, begin in (("mermaid", "flowchart"), ("dot", "digraph"), ("svg", "<svg")):
            assert begin in run.ok("lineage", "models@base", "--format", form).stdout
        assert run.ok("lineage", "models@base", "--format", "json").json()["edges"]
        assert "models/1" in run.ok("lineage", cwd=published / "base").stdout


def test_a_frame_needs_pandas(store: ama.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InvalidInput, match="pandas"):
        store.find(author="ann").to_frame()


def test_frames(store: ama.Store) -> None:
    pytest.importorskip("pandas", reason="pandas isn't installed")
    assert list(store.find("models@base:model.yml").to_frame()["path"]) == ["model.yml"] * 2
    board = store.leaderboard("models", sort="val_loss").to_frame()
    assert board["best.val_loss"].is_monotonic_increasing
    assert "parameters.learning_rate" in set(
        store.compare("models/1", "models/3").to_frame()["key"]
    )
    assert len(store.resolve("models/1").summary().to_frame()) > 10
