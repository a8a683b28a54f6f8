"""Values in INI, CSV and JSON Lines files: what is read, what is named, and where they show."""

from __future__ import annotations

import configparser
import csv
import io
import json
import math
from pathlib import Path

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ama
from ama.catalog.documents import (
    MAX_SIZE,
    MAX_VALUES,
    MOST_OF_A_FORM,
    Document,
    Syntax,
    Value,
    documents_among,
    join_key,
    read_document,
    split_key,
    syntax_of,
)
from ama.catalog.roles import Rules, roles_of
from ama.catalog.unread import Gap
from ama.catalog.values import Fact
from conftest import Ama

LOG = "epoch,accuracy,loss,val_loss\n0,0.5,0.9,1.0\n1,0.75,0.4,0.6\n2,0.875,0.3,0.7\n"


def values(text: str, syntax: Syntax) -> dict[str, Value]:
    found = read_document(text.encode(), syntax)
    assert found.gaps == ()
    return dict(found.values)


def gaps(data: bytes, syntax: Syntax) -> list[tuple[str | None, str]]:
    return [(gap.key, gap.reason) for gap in read_document(data, syntax).gaps]


def publish(directory: Path, name: str, files: dict[str, bytes]) -> None:
    directory.mkdir(parents=True)
    repo = ama.Repo.init(directory, name)
    for path, data in files.items():
        (directory / path).parent.mkdir(exist_ok=True, parents=True)
        (directory / path).write_bytes(data)
    repo.add(list(files))
    repo.upload()


def test_names_tell_how_a_file_is_read() -> None:
    names = ["a.ini", "LOG.CSV", "x/y.tsv", "a.jsonl", "a.ndjson", "a.pkl", "a.pickle", "a.log"]
    assert [syntax_of(name) for name in names] == [
        "ini", "csv", "csv", "jsonl", "jsonl", None, None, None,
    ]  # fmt: skip


class TestCard:
    def test_the_head_of_a_readme(self) -> None:
        text = "---\nlicense: mit\ntags: [a, b]\nresults:\n- {value: 0.9}\n---\n# Tiny\n---\n"
        expected = {"license": "mit", "tags": ("a", "b"), "results.0.value": 0.9}
        assert values(text, "card") == expected
        assert values("\ufeff" + text.replace("\n", "\r\n"), "card") == expected
        assert [syntax_of(name) for name in ("README.md", "a/readme.MD", "notes.md")] == [
            "card",
            "card",
            None,
        ]

    @pytest.mark.parametrize(
        "text",
        ["", "# Tiny\n\n---\nlicense: mit\n---\n", "---\nlicense: mit\n", "----\na: b\n----\n"],
    )
    def test_a_readme_without_one_says_nothing(self, text: str) -> None:
        assert values(text, "card") == {}

    def test_a_broken_one_is_named(self) -> None:
        assert gaps(b"---\nlicense: mit\ntags: [a\n---\n", "card") == [
            (None, "broken"),
            ("tags", "broken"),
        ]


class TestIni:
    def test_sections_are_tables(self) -> None:
        text = "seed = 7\n[model.encoder]\nLayers: 3\nrate = 1e-3\nname = a b\nbias = False\n"
        assert values(text, "ini") == {
            "seed": 7,
            "model.encoder.Layers": 3,
            "model.encoder.rate": 0.001,
            "model.encoder.name": "a b",
            "model.encoder.bias": False,
        }

    def test_nothing_is_interpolated_or_inherited(self) -> None:
        text = "[DEFAULT]\nhome = /x\n[paths]\ndata = %(home)s/data\nother = ${home}\n"
        assert values(text, "ini") == {
            "DEFAULT.home": "/x",
            "paths.data": "%(home)s/data",
            "paths.other": "${home}",
        }

    def test_what_the_library_writes_comes_back(self) -> None:
        parser = configparser.ConfigParser(interpolation=None)
        parser["a"] = {"rate": "0.1", "text": "one\ntwo", "version": "1.2.3", "code": "007"}
        file = io.StringIO()
        parser.write(file)
        assert values(file.getvalue(), "ini") == {
            "a.rate": 0.1, "a.text": "one\ntwo", "a.version": "1.2.3", "a.code": "007",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "said", "named"),
        [
            ("[a]\nx = 1\nx = 2\n", {"a.x": 2}, [("a.x", "repeated")]),
            ("[a]\nx = 1\n[b]\n[a]\ny = 2\n", {"a.x": 1, "a.y": 2}, [("a", "repeated")]),
            ("[a]\nx.y = 1\n[a.x]\ny = 2\n", {"a.x.y": 2}, [("a.x.y", "repeated")]),
            ("[a]\nx = 1\nnothing here\ny = 2\n", {"a.x": 1, "a.y": 2}, [(None, "broken")]),
            ("[a]\nx = 1\0", {}, [(None, "binary")]),
        ],
    )
    def test_what_is_wrong_is_named(
        self, text: str, said: dict[str, Value], named: list[tuple[str | None, str]]
    ) -> None:
        found = read_document(text.encode(), "ini")
        assert found.values == said
        assert gaps(text.encode(), "ini") == named


class TestCsv:
    def test_a_log_says_its_last_values_and_histories(self) -> None:
        assert values(LOG, "csv") == {
            "epoch": 2,
            "accuracy": 0.875,
            "loss": 0.3,
            "val_loss": 0.7,
            "history.epoch": (0, 1, 2),
            "history.accuracy": (0.5, 0.75, 0.875),
            "history.loss": (0.9, 0.4, 0.3),
            "history.val_loss": (1.0, 0.6, 0.7),
        }

    def test_as_keras_writes_it(self) -> None:
        file = io.StringIO()
        writer = csv.DictWriter(file, ["epoch", "loss", "val_loss"], delimiter=";")
        writer.writeheader()
        for epoch in range(3):
            # Keras validates each second epoch, and writes NA between.
            row = {"epoch": epoch, "loss": 1 / (epoch + 1), "val_loss": "NA" if epoch % 2 else 0.5}
            writer.writerow(row)
        found = values(file.getvalue(), "csv")
        assert found["history.val_loss"] == (0.5, 0.5)
        assert (found["loss"], found["epoch"]) == (1 / 3, 2)

    def test_as_lightning_writes_it(self) -> None:
        text = "epoch,step,train.loss,val.loss\n0,9,0.5,\n0,9,,0.75\n1,19,0.25,\n"
        found = values(text, "csv")
        assert (found["train.loss"], found["val.loss"]) == (0.25, 0.75)
        assert found["history.train.loss"] == (0.5, 0.25)

    def test_as_pandas_writes_it(self) -> None:
        frame = pandas.DataFrame({"step": [1, 2], "note": ["a, b", 'c"\nd'], "ok": [True, False]})
        found = values(frame.to_csv(index=False), "csv")
        assert (found["note"], found["ok"]) == ('c"\nd', False)
        assert [key for key in found if key.startswith("history.")] == ["history.step"]

    def test_a_single_row_is_its_values(self) -> None:
        assert values("model,size\nsmall,3\n", "csv") == {"model": "small", "size": 3}

    def test_nothing_but_metrics_is_a_log(self) -> None:
        assert values("loss\tacc\n0.5\t0.1\n0.25\t0.2\n", "csv")["history.loss"] == (0.5, 0.25)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (
                "width,species\n0.2,setosa\n1,virginica\n",
                {"rows": 2, "columns.width": "number", "columns.species": "text"},
            ),
            ("1,2\n3,4\n", {"rows": 2, "columns.0": "integer", "columns.1": "integer"}),
            ("a,b\n", {"rows": 0, "columns.a": "empty", "columns.b": "empty"}),
            ("label,score\nx,0.5\ny,1\n",
             {"rows": 2, "columns.label": "text", "columns.score": "number"}),
            ("", {}),
            ("a\nx\n1\n", {"rows": 2, "columns.a": "mixed"}),
        ],
    )  # fmt: skip
    def test_data_says_its_columns(self, text: str, said: dict[str, Value]) -> None:
        assert values(text, "csv") == said

    def test_a_row_that_was_cut_off_is_named_and_counts_for_nothing(self) -> None:
        found = read_document((LOG + "3,0.9").encode(), "csv")
        assert (found.values["loss"], found.gaps) == (0.3, (Gap(None, "broken"),))

    def test_of_columns_of_one_name_the_last_counts(self) -> None:
        found = read_document(b"epoch,loss,loss\n0,1,2\n1,3,4\n", "csv")
        assert (found.values["loss"], found.values["history.loss"]) == (4, (2, 4))
        assert found.gaps == (Gap("loss", "repeated"),)
        found = read_document(b"a,a\nx,1\ny,2\n", "csv")
        assert found == Document(
            {"rows": 2, "columns.a": "integer"}, (Gap("columns.a", "repeated"),)
        )

    def test_numbers_that_are_none_are_kept(self) -> None:
        found = values("epoch,loss\n0,nan\n1,-inf\n2,NaN\n", "csv")
        history = found["history.loss"]
        assert isinstance(history, tuple)
        assert math.isnan(history[0])  # type: ignore[arg-type]
        assert history[1] == -math.inf
        assert math.isnan(found["loss"])  # type: ignore[arg-type]


class TestJsonLines:
    def test_a_log_says_its_last_values_and_histories(self) -> None:
        lines = [
            {"step": 1, "train": {"loss": 0.5}, "lr": 0.1},
            {"step": 2, "train": {"loss": 0.25}, "lr": 0.1, "note": "saved"},
            {"step": 2, "eval_loss": 0.75, "classes": [0.5, 1]},
        ]
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        assert values(text, "jsonl") == {
            "step": 2,
            "train.loss": 0.25,
            "lr": 0.1,
            "note": "saved",
            "eval_loss": 0.75,
            "classes": (0.5, 1),
            "history.step": (1, 2, 2),
            "history.train.loss": (0.5, 0.25),
            "history.lr": (0.1, 0.1),
            "history.eval_loss": (0.75,),
        }

    def test_data_says_its_columns(self) -> None:
        text = '{"text": "a\\u2028b", "tags": ["x"]}\n\n{"text": "c", "tags": []}\n'
        assert values(text, "jsonl") == {
            "rows": 2, "columns.text": "text", "columns.tags": "list",
        }  # fmt: skip
        assert values("[1, 2]\n[3]\n", "jsonl") == {"rows": 2}

    def test_lines_that_are_broken_are_named_and_the_others_read(self) -> None:
        found = read_document(b'{"step": 1}\n{"step": 2, "l\n{"step": 3}\n{"ste', "jsonl")
        assert found.values == {"step": 3, "history.step": (1, 3)}
        assert found.gaps == (Gap(None, "broken"),)

    def test_names_that_meet_are_told_apart_or_named(self) -> None:
        found = read_document(b'{"step": 1, "a": 1, "a": 2}\n{"step": 2, "a": {"b": 3}}\n', "jsonl")
        assert (found.values["a"], found.values["a.b"]) == (2, 3)
        assert found.gaps == (Gap("a", "repeated"),)
        found = read_document(b'{"history": {"step": 0}, "step": 1}\n{"step": 2}\n', "jsonl")
        assert found.values["history.step"] == (1, 2)
        assert found.gaps == (Gap("history.step", "repeated"),)


HOSTILE: list[tuple[bytes, Syntax]] = [
    (b'a,b\n"' + b"x\n" * 120_000, "csv"),
    (b'"' * 250_001, "csv"),
    (b"a," * 120_000 + b"a\n", "csv"),
    (b",".join(b"c%d" % n for n in range(MAX_VALUES + 1)) + b"\n", "csv"),
    (b"\n".join(b'{"k%d": 1, "step": 1}' % n for n in range(9_000)), "jsonl"),
    (b'{"a":' * 50_000, "jsonl"),
    (b"[" * 250_000, "jsonl"),
    (b'{"a":' * 40 + b"1" + b"}" * 40, "jsonl"),
    (b'{"\\ud800": {"step": 1}}', "jsonl"),
    (b"epoch,loss\n1,\xff\n", "csv"),
    (b"a" + b" " * 250_000 + b"b", "ini"),
    (b"[" * 250_000, "ini"),
    (b"[a]\n" * 60_000, "ini"),
    (b"".join(b"k%d = 1\n" % n for n in range(9_000)), "ini"),
    (b"step,loss\n1,\0\n", "csv"),
    (b"x" * (MAX_SIZE + 1), "csv"),
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_what_is_hostile_is_named(number: int) -> None:
    assert read_document(*HOSTILE[number]).gaps


def test_a_number_of_too_many_digits_is_a_text() -> None:
    found = read_document(b"[a]\nx = " + b"9" * 5_000, "ini").values
    assert found == {"a.x": "9" * 5_000}
    line = b'{"step": 1, "x": ' + b"9" * 5_000 + b"}\n"
    assert read_document(line, "jsonl").values == {"step": 1, "x": "9" * 5_000}


@given(
    st.binary(max_size=300)
    | st.text(alphabet='ab,;"[]={}:1\n\r\t .-', max_size=60).map(str.encode),
    st.sampled_from(["ini", "csv", "jsonl"]),
)
def test_no_bytes_raise_anything_else(data: bytes, syntax: Syntax) -> None:
    for key in read_document(data, syntax).values:
        assert join_key(split_key(key)) == key


CELLS = st.one_of(st.integers(-9, 9), st.floats(width=16), st.sampled_from(["a", 'b"', "c,\nd"]))


@given(st.lists(st.tuples(CELLS, CELLS), min_size=2, max_size=6))
def test_a_csv_file_says_what_was_written(rows: list[tuple[object, object]]) -> None:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["epoch", "x", "y"])
    writer.writerows((at, *row) for at, row in enumerate(rows))
    found = values(file.getvalue(), "csv")
    for at, name in enumerate("xy"):
        column = [row[at] for row in rows]
        assert repr(found[name]) == repr(column[-1])
        if not any(isinstance(cell, str) for cell in column):
            assert repr(found[f"history.{name}"]) == repr(tuple(column))


def test_a_directory_of_many_tables_is_data() -> None:
    few = [f"{number}.csv" for number in range(MOST_OF_A_FORM)]
    assert len(documents_among([*few, "a.jsonl"])) == MOST_OF_A_FORM + 1
    assert list(documents_among([*few, "more.tsv", "a.jsonl", "b.yml"])) == ["a.jsonl", "b.yml"]


def test_roles_of_tables() -> None:
    log = values(LOG, "csv")
    roles = roles_of("training.csv", log, Rules())
    assert (roles["loss"], roles["history.loss"], roles["epoch"]) == ("metric", "metric", "other")
    data = values("width,loss,kind\n1,2,a\n3,4,b\n", "csv")
    assert set(roles_of("metrics.csv", data, Rules()).values()) == {"data"}
    assert roles_of("run.ini", {"a.lr": 0.1}, Rules()) == {"a.lr": "parameter"}


FILES = {
    "log.csv": LOG.encode(),
    "run.ini": b"[optimizer]\nrate = 0.1\n",
    "eval.jsonl": b'{"step": 1, "bleu": 20}\n{"step": 2, "bleu": 30}\n',
    "cut.csv": b"epoch,f1\n0,0.5\n1",
    "weights.pkl": b"\x80\x04cos\nsystem\n(S'false'\ntR.",
    **{f"parts/{n}.csv": b"epoch,hidden\n0,1\n" for n in range(MOST_OF_A_FORM + 1)},
    "parts/one.jsonl": b'{"step": 1, "there": 2}\n',
    "parts.csv": b"label\na\nb\n",
}


@pytest.fixture
def store(tmp_path: Path, home: Path) -> ama.Store:
    publish(tmp_path / "first", "models", FILES)
    later = {**FILES, "log.csv": LOG.encode() + b"3,0.9,0.2,0.65\n"}
    publish(tmp_path / "second", "models", later)
    return ama.Store.default()


def test_values_are_found_compared_and_shown(store: ama.Store, tmp_path: Path, run: Ama) -> None:
    def found(condition: str) -> list[int | None]:
        return [each.asset.number for each in store.find(params=condition)]

    assert found("loss<0.25") == [2]
    assert found("log.csv:accuracy>0.8") == [1, 2]
    assert found("rate=0.1") == [1, 2]
    assert found("there=2") == [1, 2]
    assert found("hidden=1") == []

    board = store.leaderboard("models", sort="loss")
    assert [row.asset.number for row in board.rows] == [2, 1]

    said = run.ok("show", "models/1").stdout
    assert "loss" in said
    assert "30" in said
    compared = run.ok("compare", "models/1", "models/2").stdout
    (line,) = [each for each in compared.splitlines() if each.split()[:1] == ["loss"]]
    assert line.split() == ["loss", "0.3", "0.2", "-0.1", "(better)", "log.csv"]

    summary = store.resolve("models/1").summary()
    assert [(each.file, each.reason) for each in summary.unread] == [("cut.csv", "broken")]
    roles = {(fact.file, fact.key): fact.role for fact in summary.facts}
    assert roles["log.csv", "history.val_loss"] == "metric"
    assert roles["parts.csv", "columns.label"] == "data"
    assert not any(file.startswith("parts/") and file.endswith(".csv") for file, _ in roles)
    assert not any(file.endswith(".pkl") for file, _ in roles)


def test_what_is_not_published_yet_says_the_same(store: ama.Store, tmp_path: Path) -> None:
    published = store.resolve("models/1").summary()
    (tmp_path / "third").mkdir()
    repo = ama.Repo.init(tmp_path / "third", "models")
    for path, data in FILES.items():
        (tmp_path / "third" / path).parent.mkdir(exist_ok=True)
        (tmp_path / "third" / path).write_bytes(data)
    repo.add(list(FILES))
    repo.commit()
    summary = repo.summary()

    def order(fact: Fact) -> tuple[str, str]:
        return fact.file, fact.key

    assert sorted(summary.facts, key=order) == sorted(published.facts, key=order)
    assert [(u.file, u.reason) for u in summary.unread] == [("cut.csv", "broken")]
