"""Files that say what MLflow knows of a run: the catalog reads them back."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ama.catalog.documents import MAX_SIZE, Value, read_document, syntax_of
from ama.importing.mlflow_files import Value as Logged
from ama.importing.mlflow_files import info_file, metrics_files, params_file, time_of


def read(name: str, data: bytes) -> dict[str, Value]:
    syntax = syntax_of(name)
    assert syntax is not None
    found = read_document(data, syntax)
    assert found.gaps == ()
    return dict(found.values)


def test_metrics_of_several_steps() -> None:
    loss = [Logged(0, 1000, 0.9), Logged(2, 3000, 0.3), Logged(1, 2000, 0.5), Logged(0, 1000, 0.9)]
    files = metrics_files({"loss": loss, "acc": [Logged(2, 2500, 0.8)], "none": []})
    assert files["metrics.csv"].decode().splitlines() == [
        "step,acc,loss,time",
        "0,,0.9,1970-01-01T00:00:01+00:00",
        "1,,0.5,1970-01-01T00:00:02+00:00",
        "2,0.8,0.3,1970-01-01T00:00:02.500000+00:00",
    ]
    values = read("metrics.csv", files["metrics.csv"])
    assert (values["loss"], values["acc"], values["step"]) == (0.3, 0.8, 2)
    assert values["history.loss"] == (0.9, 0.5, 0.3)


def test_a_value_logged_twice_at_a_step_stays() -> None:
    files = metrics_files({"loss": [Logged(0, 1, 0.9), Logged(0, 2, 0.8), Logged(1, 3, 0.7)]})
    assert read("m.csv", files["metrics.csv"])["history.loss"] == (0.9, 0.8, 0.7)


def test_names_that_are_numbers_or_ours() -> None:
    files = metrics_files({"0.5": [Logged(0, 0, 1.0)], "loss": [Logged(0, 0, math.nan)]})
    values = read("metrics.jsonl", files["metrics.jsonl"])
    assert values['"0.5"'] == 1.0
    assert math.isnan(values["loss"])  # type: ignore[arg-type]
    own = metrics_files({"step": [Logged(0, 0, 7.0)], "time": [Logged(0, 0, 3.0)]})
    values = read("metrics.csv", own["metrics.csv"])
    assert (values["step"], values["time"], values["mlflow_step"]) == (7.0, 3.0, 0)


def test_a_long_history_has_its_last_values_beside_it() -> None:
    files = metrics_files(
        {"a.loss": [Logged(step, step, 1 / (step + 1)) for step in range(20_000)]}
    )
    assert len(files["metrics.csv"]) > MAX_SIZE
    assert read("m.json", files["last_metrics.json"]) == {"a.loss": 1 / 20_000}


def test_parameters() -> None:
    found = params_file({"lr": "1e-3", "n.a": "3", "n.b": "nan", "flag": "True", "zip": "007"})
    values = read("params.json", found)
    assert values == {"lr": 0.001, "n.a": 3, "n.b": "nan", "flag": True, "zip": "007"}
    assert json.loads(params_file({"a": "1", "a.b": "2"})) == {"a": 1, "a.b": 2}
    assert json.loads(params_file({"a.b": "2", "a": "1"})) == {"a": 1, "a.b": 2}


def test_the_rest() -> None:
    said: Any = SimpleNamespace(
        dataset=SimpleNamespace(
            name="four", digest="ab", source_type="s3", source='{"uri": "s3://x"}', schema="odd {"
        ),
        tags=[SimpleNamespace(key="mlflow.data.context", value="training")],
    )
    tags = {"team": "red", "mlflow.log-model.history": "x" * 9999}
    found = json.loads(info_file({"run_id": "1", "end": None}, tags, [said]))
    assert found == {
        "run_id": "1",
        "tags": {"team": "red"},
        "datasets": [
            {
                "name": "four",
                "digest": "ab",
                "source_type": "s3",
                "source": {"uri": "s3://x"},
                "schema": "odd {",
                "context": "training",
            }
        ],
    }
    assert time_of(1 << 62) is None
    assert time_of(0) is time_of(None) is None


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
logged = st.lists(st.builds(Logged, st.integers(-9, 9), st.integers(0, 9), st.floats()), max_size=5)


@given(st.dictionaries(texts, logged, max_size=4), st.dictionaries(texts, texts, max_size=4))
def test_nothing_raises(histories: dict[str, list[Logged]], params: dict[str, str]) -> None:
    metrics_files(histories)
    params_file(params)
