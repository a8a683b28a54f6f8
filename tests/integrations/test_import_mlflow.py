"""`ama import --from mlflow`: real databases, directories and servers, written by MLflow."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

# It would tell its makers about the tests.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
mlflow = pytest.importorskip("mlflow")

import ama  # noqa: E402
from ama.errors import InvalidInput, NotFound, StorageError  # noqa: E402

# MLflow's own, and those of what it uses.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory to work in, and settings that are no one's."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name in ("CONFIG", "CACHE", "DATA", "CONTENT"):
        monkeypatch.setenv(f"AMA_{name}_DIR", str(tmp_path / name.lower()))
    monkeypatch.setenv("AMA_AUTHOR", "Ann <ann@example.org>")
    monkeypatch.delenv("AMA_REMOTE", raising=False)


@pytest.fixture
def store(tmp_path: Path) -> ama.Store:
    return ama.Store.open(str(tmp_path / "store"), create=True)


def echo() -> Any:
    """A model; what MLflow needs for it warns when it is imported."""

    class Echo(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, context: object, model_input: list[str]) -> list[str]:
            return model_input

    return Echo()


def train(uri: str, name: str = "first", lr: float = 0.1, *, register: bool = False) -> str:
    """A training as its users write it; the run's id."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    mlflow.set_experiment("my exp")
    with mlflow.start_run(run_name=name, tags={"team": "red", "mlflow.user": "bo"}) as run:
        mlflow.log_params({"lr": lr, "model.layers": 3, "kind": "dense"})
        for step in range(4):
            mlflow.log_metrics({"loss": 1 / (step + 1), "val/acc": step / 4}, step=step)
        mlflow.log_metric("final", 0.5)
        mlflow.log_text("hello", "notes/a.txt")
        mlflow.set_tag("mlflow.source.git.commit", "a" * 40)
        data = mlflow.data.from_numpy(numpy().arange(4), source="s3://bucket/x.npy", name="four")
        mlflow.log_input(data, context="training")
        if register:
            mlflow.pyfunc.log_model(
                name="model", python_model=echo(), pip_requirements=[], registered_model_name="echo"
            )
    return str(run.info.run_id)


def numpy() -> Any:
    import numpy as found

    return found


@pytest.fixture(params=["sqlite", "directory"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An SQLite file or a directory, to which MLflow writes."""
    if request.param == "sqlite":
        return tmp_path / "mlflow.db"
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return tmp_path / "mlruns"


def uri_of(place: Path) -> str:
    return f"sqlite:///{place}" if place.suffix == ".db" else place.as_uri()


def test_runs_and_models_become_assets(
    place: Path, store: ama.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(uri_of(place), register=True)
    client = mlflow.MlflowClient(uri_of(place), uri_of(place))
    for alias in ("champion", "beta"):
        client.set_registered_model_alias("echo", alias, "1")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)  # nobody needs to set it
    before = place.read_bytes() if place.is_file() else b""

    result = ama.import_assets(place, tool="mlflow", store=store)
    assert not result.failed
    assert [asset.name for asset in result.assets] == ["my-exp/1", "echo/1"]
    if place.is_file():
        assert place.read_bytes() == before
    asset = store.resolve("my-exp@first")
    assert asset.info.author == "bo"
    assert asset.info.metadata["mlflow.run"] == run
    assert asset.info.metadata["git.commit"] == "a" * 40
    assert asset.read("notes/a.txt") == b"hello"
    assert b"python_function" in asset.read("model/MLmodel")
    assert json.loads(asset.read("mlflow/params.json")) == {
        "lr": 0.1,
        "model": {"layers": 3},
        "kind": "dense",
    }
    info = json.loads(asset.read("mlflow/info.json"))
    assert info["tags"]["team"] == "red"
    assert info["datasets"][0]["name"] == "four"
    assert info["datasets"][0]["context"] == "training"
    values = {fact.key: (fact.value, fact.role) for fact in asset.summary().facts}
    assert values["loss"] == (0.25, "metric")
    assert values["history.loss"] == ((1.0, 0.5, 1 / 3, 0.25), "metric")
    assert values["final"] == (0.5, "metric")
    assert values["lr"] == (0.1, "parameter")
    assert len(store.find(params="model.layers=3", class_name="my-exp")) == 1

    model = store.resolve("echo@champion")
    assert {move.alias for move in store.aliases("echo")} == {"champion", "beta", "v1"}
    assert model.info.metadata["mlflow.version"] == 1
    (ref,) = model.info.refs
    assert (ref.asset, ref.label) == (asset.info.id, "run")
    assert model.read("MLmodel") == asset.read("model/MLmodel")
    noted = store.noted("my-exp/1").metadata["import.source"]
    assert str(noted).startswith(f"{place}/#/experiments/")
    assert not store.fsck().problems


def test_again_only_what_is_new_or_changed(place: Path, store: ama.Store) -> None:
    uri = uri_of(place)
    train(uri, register=True)
    ama.import_assets(place, tool="mlflow", store=store)
    again = ama.import_assets(place, tool="mlflow", store=store)
    assert (again.assets, len(again.unchanged), again.bytes_read) == ((), 2, 0)
    second = train(uri, "second", 0.2, register=True)
    more = ama.import_assets(place, tool="mlflow", store=store)
    assert [asset.name for asset in more.assets] == ["my-exp/2", "echo/2"]
    client = mlflow.MlflowClient(uri, uri)
    client.log_text(second, "late", "late.txt")
    client.log_metric(second, "final", 0.75, step=9)
    changed = ama.import_assets(place, tool="mlflow", store=store)
    assert [asset.name for asset in changed.assets] == ["my-exp/3"]
    asset = store.resolve("my-exp@second")
    assert asset.read("late.txt") == b"late"
    assert asset.info.parents == (store.resolve("my-exp/2").info.id,)
    assert not ama.import_assets(place, tool="mlflow", store=store).assets


def test_an_alias_goes_where_mlflow_has_it(place: Path, store: ama.Store) -> None:
    uri = uri_of(place)
    train(uri, register=True)
    train(uri, "second", register=True)
    client = mlflow.MlflowClient(uri, uri)
    for version in ("2", "1", "2", "1"):
        client.set_registered_model_alias("echo", "champion", version)
        result = ama.import_assets(place, tool="mlflow", store=store)
        assert not result.failed
        found = store.resolve("echo@champion").info
        assert found.metadata["mlflow.version"] == int(version)
    assert len(store.assets("echo")) == 2


def test_what_is_broken_in_a_directory_is_named(
    store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    place = tmp_path / "mlruns"
    runs = [train(place.as_uri(), name) for name in ("first", "second")]
    (broken,) = place.glob(f"*/{runs[0]}/meta.yaml")
    said = broken.read_text()
    broken.write_text(
        said.replace(f"experiment_id: '{broken.parent.parent.name}'", "experiment_id: '1'")
    )
    assert broken.read_text() != said
    result = ama.import_assets(place, tool="mlflow", store=store)
    assert [asset.alias for asset in result.assets] == ["second"]
    assert any(runs[0] in failed.reason for failed in result.failed)
    mlflow.set_experiment("other")
    with mlflow.start_run(run_name="third"):
        mlflow.log_param("a", 1)
    broken.write_text("run_id: [")
    result = ama.import_assets(place, tool="mlflow", store=store)
    assert [asset.name for asset in result.assets] == ["other/1"]
    (failed,) = result.failed
    assert failed.source.endswith(f"/#/experiments/{broken.parent.parent.name}")


def test_a_version_comes_after_its_run(
    place: Path, store: ama.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ama.importing.importer.PIECE_SOURCES", 1)
    train(uri_of(place), register=True)
    assert not ama.import_assets(place, tool="mlflow", store=store).failed
    assert store.resolve("echo/1").info.refs


def test_a_directory_that_was_moved(
    store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    train((tmp_path / "mlruns").as_uri(), register=True)
    shutil.move(tmp_path / "mlruns", tmp_path / "kept")
    result = ama.import_assets(tmp_path / "kept", tool="mlflow", store=store)
    assert not result.failed
    assert store.resolve("my-exp/1").read("notes/a.txt") == b"hello"
    assert store.resolve("echo/1").read("MLmodel")


def test_an_older_database_is_read_and_stays_as_it_is(store: ama.Store, tmp_path: Path) -> None:
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config, create_sqlalchemy_engine
    from mlflow.store.tracking.dbmodels.initial_models import Base

    place = tmp_path / "mlflow.db"
    Base.metadata.create_all(create_sqlalchemy_engine(f"sqlite:///{place}"))
    command.upgrade(_get_alembic_config(f"sqlite:///{place}"), "0a8213491aaa")  # of MLflow 1.7
    with closing(sqlite3.connect(place)) as database, database:
        database.execute(
            "INSERT INTO experiments VALUES (0, 'Old', ?, 'active')", (str(tmp_path / "0"),)
        )
        database.execute(
            "INSERT INTO runs (run_uuid, name, status, start_time, end_time, lifecycle_stage,"
            " artifact_uri, experiment_id, source_type, user_id)"
            " VALUES ('ab', 'was', 'FINISHED', 1, 1500000000000, 'active', ?, 0, 'LOCAL', 'bo')",
            (str(tmp_path / "0" / "ab" / "artifacts"),),
        )
        database.execute("INSERT INTO metrics VALUES ('loss', 0.5, 7, 'ab', 3, 0)")
        database.execute("INSERT INTO latest_metrics VALUES ('loss', 0.5, 7, 3, 0, 'ab')")
    before = place.read_bytes()
    result = ama.import_assets(place, tool="mlflow", store=store)
    assert [asset.name for asset in result.assets] == ["Old/1"]
    assert store.resolve("Old/1").read("mlflow/metrics.csv").startswith(b"step,loss,time\n3,0.5,")
    assert place.read_bytes() == before


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(params=["proxied", "direct"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    where = (
        ["--serve-artifacts", "--artifacts-destination", str(tmp_path / "artifacts")]
        if request.param == "proxied"
        else ["--no-serve-artifacts", "--default-artifact-root", str(tmp_path / "artifacts")]
    )
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    with (tmp_path / "log").open("w") as log:
        started = subprocess.Popen(
            [*command, *where], cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{url}/health"):
                    break
            except OSError:
                assert started.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
        yield url
    finally:
        started.terminate()
        started.wait(30)


def test_a_server(server: str, store: ama.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    train(server, register=True)
    result = ama.import_assets(server, tool="mlflow", store=store)
    assert not result.failed
    assert [asset.name for asset in result.assets] == ["my-exp/1", "echo/1"]
    asset = store.resolve("my-exp/1")
    assert asset.read("notes/a.txt") == b"hello"
    assert asset.read("model/MLmodel") == store.resolve("echo/1").read("MLmodel")
    assert str(store.noted("my-exp/1").metadata["import.source"]).startswith(f"{server}/#/exp")
    assert not ama.import_assets(server, tool="mlflow", store=store).assets


def test_wrong_places(store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").write_text("no database")
    (tmp_path / "empty").mkdir()
    for place, kind, said in [
        ("none", NotFound, "there is nothing"),
        ("text", InvalidInput, "is nothing of MLflow's"),
        ("empty", InvalidInput, "is nothing of MLflow's"),
    ]:
        with pytest.raises(kind, match=said):
            ama.import_assets(tmp_path / place, tool="mlflow", store=store)
    assert not list((tmp_path / "empty").iterdir())
    with pytest.raises(InvalidInput, match="is nothing of MLflow's"):
        ama.import_assets("postgresql://host/db", tool="mlflow", store=store)
    with pytest.raises(InvalidInput, match="credentials"):
        ama.import_assets(
            "http://host/p?token=ghp_0123456789abcdefghij@", tool="mlflow", store=store
        )
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StorageError, match=r"127\.0\.0\.1"):
        ama.import_assets(f"http://127.0.0.1:{free_port()}", tool="mlflow", store=store)


@pytest.mark.parametrize("server", ["direct"], indirect=True)
def test_a_server_has_no_say_in_what_is_read_here(
    server: str, store: ama.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server elsewhere may name directories that are its own, or this machine's."""
    train(server)
    monkeypatch.setattr("ama.importing.mlflow_client.urlsplit", _elsewhere)
    (failed,) = ama.import_assets(server, tool="mlflow", store=store).failed
    assert "of the server's machine" in failed.reason


def _elsewhere(url: str) -> Any:
    from urllib.parse import urlsplit

    return urlsplit(url.replace("127.0.0.1", "elsewhere"))
