"""The example and those of docs/pipelines.md, each by `airflow dags test` in an empty Airflow."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from airflow_home import BIN, PROJECT, Home, copy_example, major_version, need_airflow, new_home

need_airflow()

import ama

GUIDE = PROJECT / "docs" / "pipelines.md"
BLOCK = re.compile(r"<!-- example: airflow -->\n```python\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = new_home(tmp_path_factory.mktemp("airflow"))
    copy_example(home)
    os.environ["AMA_CACHE_DIR"] = home.environment["AMA_CACHE_DIR"]
    return home


CLASSES = ("checkpoints", "models", "training_code", "training_inputs")


def run_dag(home: Home, name: str) -> str:
    """The log of a whole run, all of whose tasks must succeed."""
    log = home.run(BIN / "airflow", "dags", "test", name)
    states = home.query(
        "select task_id, map_index, state from task_instance where run_id = (select run_id"
        " from dag_run where dag_id = ? order by id desc limit 1) and dag_id = ?",
        *(name, name),
    )
    assert states
    assert {state for *_, state in states} == {"success"}, f"{states}\n{log[-20_000:]}"
    return log


def test_the_example_tells_the_whole_story(home: Home) -> None:
    log = run_dag(home, "ama_training")
    store = ama.Store.open(home.store)
    counts = {found.name: found.assets for found in store.classes()}
    assert counts == {"checkpoints": 4, "models": 1, "training_code": 1, "training_inputs": 1}
    model = store.resolve("models@production")
    labels = {ref.label: ref.class_name for ref in model.info.refs}
    assert labels == {
        "checkpoint": "checkpoints",
        "code": "training_code",
        "inputs": "training_inputs",
    }
    loss = model.info.metadata["loss"]
    assert isinstance(loss, float)
    assert 0 < loss < 0.001
    assert model.info.metadata["airflow.task_id"] == "publish_model"
    (checkpoint,) = [ref for ref in model.refs() if ref.info.class_name == "checkpoints"]
    assert checkpoint.read("parameters.json") == model.read("parameters.json")
    code = {file.path for file in store.resolve("training_code").files()}
    assert code == {"ama_training.py", "training.py"}
    losses = {
        number: store.noted(f"checkpoints/{number}").metadata.get("loss") for number in range(1, 5)
    }
    assert losses.pop(1) is None
    best = min(losses, key=lambda number: float(losses[number] or 1))
    assert (best, losses[best]) == (checkpoint.info.number, loss)
    noted = store.noted("models/1")
    assert (noted.metadata, noted.tags) == ({"integrity": "passed"}, ("tested",))
    assert len(noted.notes) == 1
    assert store.fsck().ok
    # The lines of progress are in the tasks' logs.
    assert "Sending: " in log
    assert "models/1 (" in log
    left = list((home.root / "tmp" / "ama_training").iterdir())
    assert left == []


def test_a_second_run_shares_what_is_the_same(home: Home) -> None:
    run_dag(home, "ama_training")
    store = ama.Store.open(home.store)
    counts = {found.name: found.assets for found in store.classes()}
    assert counts == {"checkpoints": 8, "models": 2, "training_code": 1, "training_inputs": 1}
    assert store.resolve("models@production").info.number == 2
    runs = {store.resolve(f"models/{n}").info.metadata["airflow.run_id"] for n in (1, 2)}
    assert len(runs) == 2


@pytest.mark.skipif(major_version() == 2, reason="`dags test` of Airflow 2 writes no events down")
def test_lineage_shows_in_airflow(home: Home) -> None:
    events = home.query(
        "select uri, event.extra from asset_event event join asset on asset.id = asset_id"
        " where source_dag_id = 'ama_training'"
    )
    assert {uri for uri, _ in events} == {f"ama://{name}" for name in CLASSES}
    # A DAG that follows a class finds the asset in each event.
    assert [(uri, extra) for uri, extra in events if '"asset": ' not in str(extra)] == []
    reads = home.query(
        "select uri from task_inlet_asset_reference join asset on asset.id = asset_id"
        " where task_id = 'publish_model'"
    )
    assert {uri for (uri,) in reads} == {
        "ama://checkpoints",
        "ama://training_code",
        "ama://training_inputs",
    }


EXAMPLES = dict(enumerate(BLOCK.findall(GUIDE.read_text(encoding="utf-8")), 1))


IN_AIRFLOW_2 = {
    "DAG": "from airflow import DAG",
    "Asset": "from airflow.datasets import Dataset as Asset",
    "task": "from airflow.decorators import task",
}


def for_airflow_2(text: str) -> str:
    """An example with the imports that it names for Airflow 2."""
    found = re.search(r"from airflow.sdk import ([\w, ]+)(?= *#).*", text)
    assert found is not None
    text = text.replace("triggering_asset_events", "triggering_dataset_events")
    return text.replace(found[0], "\n".join(IN_AIRFLOW_2[n] for n in found[1].strip().split(", ")))


def test_the_guide_has_examples() -> None:
    assert len(EXAMPLES) >= 2


@pytest.mark.parametrize("number", EXAMPLES)
def test_an_example_of_the_guide(number: int, home: Home) -> None:
    text = EXAMPLES[number] if major_version() > 2 else for_airflow_2(EXAMPLES[number])
    out = home.root / "run" / "out"
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.h5").write_bytes(b"weights")
    (out / "metrics.json").write_text('{"loss": 0.25}')
    store = ama.Store.open(home.store)
    if "datasets" not in {found.name for found in store.classes()}:
        store.publish("datasets", {"train.csv": b"1,2\n"}, aliases="train")
    text = text.replace("/runs/", f"{home.root}/run/")
    name = f"guide_{number}"
    (dag_id,) = re.findall(r'DAG\("(\w+)"', text)
    home.add_dag(f"{name}.py", text)
    run_dag(home, dag_id)


def test_a_directory_of_dags_has_no_errors_of_import(home: Home) -> None:
    said = home.run(BIN / "airflow", "dags", "list-import-errors")
    assert "No data found" in said
    assert (Path(home.dags) / "training.py").exists()
