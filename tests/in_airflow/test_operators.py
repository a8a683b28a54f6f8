"""The hook, the operators, the sensor and its trigger, each by itself in a real Airflow."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow_home import PROJECT, major_version, need_airflow

need_airflow()

import ama
from ama.integrations.airflow import (
    AmaAliasSensor,
    AmaAliasTrigger,
    AmaFetchOperator,
    AmaHook,
    AmaNoteOperator,
    AmaPublishOperator,
)
from ama.integrations.airflow.hook import place_of
from ama.integrations.airflow.versions import (
    AirflowFailException,
    AirflowNotFoundException,
    Asset,
    TriggerEvent,
)

if major_version() == 2:
    from airflow.exceptions import TaskDeferred
    from airflow.models.connection import Connection
    from airflow.models.dag import DAG
    from airflow.providers_manager import ProvidersManager
    from airflow.utils.context import OutletEventAccessors
else:
    from airflow.providers_manager import ProvidersManager
    from airflow.sdk import DAG, Connection
    from airflow.sdk.exceptions import TaskDeferred
    from airflow.sdk.execution_time.context import OutletEventAccessors

SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where ama has no configuration, and no connection leads anywhere."""
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"AMA_{name}_DIR", str(tmp_path / name.lower()))
    monkeypatch.delenv("AIRFLOW_CONN_AMA_DEFAULT", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ama.Store:
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "store"))
    return ama.Store.open(tmp_path / "store", create=True)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out" / "sub").mkdir(parents=True)
    (tmp_path / "out" / "model.h5").write_bytes(b"weights")
    (tmp_path / "out" / "sub" / "a.yml").write_text("layers: 3")
    return tmp_path / "out"


def context(run: str = "r1", map_index: int = -1, try_number: int = 1) -> dict[str, Any]:
    """What a task of a run gets."""
    task = SimpleNamespace(
        dag_id="d", task_id="t", run_id=run, map_index=map_index, try_number=try_number
    )
    return {"ti": task, "outlet_events": OutletEventAccessors()}


def run(operator: Any, **given: Any) -> Any:
    """What a task returns, without the guard that wants to be in a worker."""
    if hasattr(operator.execute, "__wrapped__"):
        return operator.execute.__wrapped__(operator, context(**given))
    return operator.execute(context(**given))


def publish(**given: Any) -> AmaPublishOperator:
    return AmaPublishOperator(**{"task_id": "t", "class_name": "models", **given})


def said_by(monkeypatch: pytest.MonkeyPatch, operator: Any) -> list[str]:
    """The lines of a task's log from now on."""
    lines: list[str] = []
    log = SimpleNamespace(
        **{
            level: lambda text, *values: lines.append(text % values if values else text)
            for level in ("debug", "info", "warning", "error")
        }
    )
    for owner in (type(operator), AmaHook):
        monkeypatch.setattr(owner, "log", log)
    return lines


# What Airflow knows of the package


def test_airflow_finds_the_provider() -> None:
    found = ProvidersManager()
    assert found.providers["ama-assets"].version == ama.__version__
    hook = found.hooks["ama"]
    assert hook is not None
    assert (hook.hook_name, hook.connection_id_attribute_name) == ("ama", "ama_conn_id")
    behaviour = found.field_behaviours["ama"]
    assert behaviour["relabeling"]["host"] == "Store"
    assert set(behaviour["hidden_fields"]) == {"login", "password", "port", "schema"}


def test_the_uris_of_classes() -> None:
    assert Asset(uri="ama://models").uri == "ama://models"
    assert Asset(uri="ama://models/?x=1#y").uri == "ama://models"
    assert Asset(uri="AMA://Models/7").uri == "ama://Models/7"
    if major_version() == 2:  # there it is a warning, if the configuration doesn't say otherwise
        with pytest.warns(UserWarning, match="names a class"):
            Asset(uri="ama:///models")
    else:
        with pytest.raises(ValueError, match="names a class"):
            Asset(uri="ama:///models")


# Connections


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("ama://s3://bucket/ama", "s3://bucket/ama"),
        (
            "ama://s3://bucket/a/b?endpoint_url=http%3A%2F%2Flocalhost%3A9&anon=true",
            "s3://bucket/a/b?endpoint_url=http%3A%2F%2Flocalhost%3A9&anon=true",
        ),
        ("ama:///srv/ama", "/srv/ama"),
        ("ama://team", "team"),
        ("ama://sftp://ann@host:2222/srv/ama", "sftp://ann@host:2222/srv/ama"),
        ("ama://?store=gs%3A%2F%2Fbucket%2Fama", "gs://bucket/ama"),
        ('{"conn_type": "ama", "host": "s3://bucket/ama"}', "s3://bucket/ama"),
        (
            '{"conn_type": "ama", "host": "s3://b/a?anon=true", "extra": {"requester_pays": true}}',
            "s3://b/a?anon=true&requester_pays=true",
        ),
        ('{"conn_type": "ama", "host": "/srv/ama"}', "/srv/ama"),
    ],
)
def test_a_connection_names_a_store(
    written: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHELF", written)
    assert place_of(AmaHook.get_connection("shelf")) == place


def test_the_connections_of_the_guide(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (PROJECT / "docs" / "pipelines.md").read_text(encoding="utf-8")
    exported = re.findall(r"^export AIRFLOW_CONN_(\w+)='(.*)'$", text, re.MULTILINE)
    places = {}
    for name, value in exported:
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", value)
        places[name.lower()] = AmaHook(name.lower()).url()
    assert places == {
        "ama_default": "s3://bucket/ama",
        "shelf": "s3://shelf/ama?endpoint_url=https://s3.example.org",
    }


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        (f"ama://ann:{SECRET}@bucket/ama", "holds a password"),
        (f'{{"conn_type": "ama", "host": "s3://b/a", "password": "{SECRET}"}}', "holds a password"),
        (f"ama://s3://bucket/ama?secret={SECRET}", "secret"),
        (f'{{"conn_type": "ama", "host": "s3://ann:{SECRET}@b/a"}}', "credential|password"),
        ("ama://", "names no store"),
        ("ama://team?anon=true", "no URL"),
        ("ama://team", "no remote"),
        ('{"conn_type": "ama", "host": "s3//bucket/ama"}', "depends on the worker"),
    ],
)
def test_a_wrong_connection_is_said_without_its_secrets(
    written: str, wrong: str, monkeypatch: pytest.MonkeyPatch, out: Path
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHELF", written)
    task = publish(files=str(out), ama_conn_id="shelf")
    lines = said_by(monkeypatch, task)
    with pytest.raises((AirflowFailException, ama.AmaError), match=wrong) as caught:
        run(task)
    assert SECRET not in f"{lines} {caught.value} {caught.value.__cause__}"
    ok, message = AmaHook("shelf").test_connection()
    assert not ok
    assert SECRET not in message


def test_without_a_connection_the_configured_store_is_used(store: ama.Store) -> None:
    assert AmaHook().get_conn().url == store.url
    assert AmaHook(store=store.url).get_conn().url == store.url
    with pytest.raises(AirflowNotFoundException, match="shelf"):
        AmaHook("shelf").get_conn()


def test_a_connection_is_tested(
    tmp_path: Path, store: ama.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHELF", f"ama://{tmp_path / 'store'}")
    store.publish("models", {"f": b"1"})
    connection = Connection.get("shelf") if major_version() > 2 else AmaHook.get_connection("shelf")
    hook = connection.get_hook()
    assert hook.test_connection() == (True, f"the store {store.url} has 1 classes")
    monkeypatch.setenv("AIRFLOW_CONN_SHELF", f"ama://{tmp_path / 'empty'}")
    ok, message = AmaHook("shelf").test_connection()
    assert (ok, "nothing was uploaded there yet" in message) == (False, True)
    assert not (tmp_path / "empty").exists()


# Publishing


def test_what_a_task_publishes(
    store: ama.Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish("data", {"f": b"1"}, aliases="train")
    task = publish(
        files=str(out),
        aliases="best",
        refs={"inputs": "data@train"},
        metadata={"loss": 0.25},
        message="wider",
        environment=True,
    )
    lines = said_by(monkeypatch, task)
    assert run(task) == "models/1"
    asset = store.resolve("models@best")
    assert "apache-airflow==" in (asset.environment or "")
    assert [file.path for file in asset.files()] == ["model.h5", "sub/a.yml"]
    assert asset.info.metadata == {
        "airflow.dag_id": "d",
        "airflow.task_id": "t",
        "airflow.run_id": "r1",
        "loss": 0.25,
    }
    assert [(ref.name.split()[0], ref.label) for ref in asset.info.refs] == [("data/1", "inputs")]
    assert asset.info.message == "wider"
    assert any(line.startswith("Reading: ") for line in lines)
    assert any("is published in" in line for line in lines)
    assert any("models@best is now models/1" in line for line in lines)


def test_a_retry_publishes_nothing_twice(
    store: ama.Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = publish(files=str(out))
    lines = said_by(monkeypatch, task)
    assert run(task) == run(task, try_number=2) == "models/1"
    assert any("an earlier try" in line for line in lines)
    assert run(task, run="r2") == "models/2"  # another run has made it anew
    assert run(task, map_index=0) == "models/3"
    assert run(task, map_index=1) == "models/4"
    assert store.resolve("models/4").info.metadata["airflow.map_index"] == 1
    bare = publish(files=str(out), record_run=False)
    assert run(bare) == run(bare, run="r2") == "models/5"
    assert store.resolve("models/5").info.metadata == {}


def test_the_event_of_the_class_has_the_asset(store: ama.Store, out: Path) -> None:
    task = publish(files=str(out), aliases=["best", "new"], outlets=[Asset(uri="file:///x")])
    assert [outlet.uri for outlet in task.outlets] == ["file:///x", "ama://models"]
    given = context()
    execute = getattr(task.execute, "__wrapped__", None)
    assert (execute(task, given) if execute else task.execute(given)) == "models/1"
    events = given["outlet_events"]
    assert events[task.outlets[1]].extra == {
        "asset": "models/1",
        "number": 1,
        "id": store.resolve("models/1").info.id,
        "aliases": ["best", "new"],
        "store": store.url,
    }
    assert events[task.outlets[0]].extra == {}


def test_assets_of_airflow_are_known_before_a_task_runs() -> None:
    with DAG("d", schedule=None) as dag:
        made = publish(task_id="made", class_name="data", files="f")
        templated = publish(task_id="x", class_name="{{ params.name }}", files="f")
        mapped = AmaPublishOperator.partial(task_id="m", class_name="parts").expand(files=["f"])
        task = publish(
            task_id="y",
            files="f",
            refs={
                "a": made.output,
                "b": mapped.output,
                "c": "code@main",
                "d": "{{ params.ref }}",
                "e": templated.output,
                "f": ["data/7", "3f9a2c41d0", "not a name"],
            },
        )
        given = publish(task_id="z", files="f", refs=made.output, inlets=[Asset(uri="ama://data")])
        fetch = AmaFetchOperator(task_id="w", asset="models@best", directory="d")
    assert [asset.uri for asset in made.outlets] == ["ama://data"]
    assert templated.outlets == []
    assert [asset.uri for asset in task.inlets] == ["ama://data", "ama://parts", "ama://code"]
    assert [asset.uri for asset in given.inlets] == ["ama://data"]
    assert [asset.uri for asset in fetch.inlets] == ["ama://models"]
    assert fetch.outlets == []
    assert dag.get_task("y").upstream_task_ids == {"made", "m", "x"}


@pytest.mark.parametrize(
    ("files", "paths"),
    [
        ("{out}/*.h5", ["model.h5"]),
        (["{out}/**/*.yml"], ["a.yml"]),
        (["{out}/sub", "{out}/model.h5"], ["a.yml", "model.h5"]),
        ({"weights": "{out}/model.h5"}, ["weights"]),
    ],
)
def test_the_forms_of_files(
    files: Any, paths: list[str], store: ama.Store, out: Path, tmp_path: Path
) -> None:
    def filled(given: Any) -> Any:
        if isinstance(given, dict):
            return {key: filled(value) for key, value in given.items()}
        return [filled(x) for x in given] if isinstance(given, list) else given.format(out=out)

    assert run(publish(files=filled(files))) == "models/1"
    assert [file.path for file in store.resolve("models").files()] == paths


def test_a_file_that_is_called_like_a_glob(store: ama.Store, tmp_path: Path) -> None:
    for name in ("a[1].txt", "a1.txt"):
        (tmp_path / name).write_text(name)
    run(publish(files=str(tmp_path / "a[1].txt")))
    assert [file.path for file in store.resolve("models").files()] == ["a[1].txt"]


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"files": "nowhere/*.h5"}, ama.NotFound, "nowhere"),
        ({"files": []}, AirflowFailException, "no file is given"),
        ({"class_name": "a b"}, AirflowFailException, "a b"),
        ({"refs": "data@train"}, ama.NotFound, "data"),
        ({"refs": {"data@train": "inputs"}}, AirflowFailException, "given as a label"),
        ({"refs": {"a": "models/1", "b": "models/1"}}, AirflowFailException, "two labels"),
        ({"metadata": {"x": [1]}}, AirflowFailException, "x"),
        ({"aliases": "7"}, AirflowFailException, "7"),
        ({"code": "nowhere"}, AirflowFailException, "no directory"),
    ],
)
def test_what_is_wrong_is_said_and_not_tried_again(
    wrong: dict[str, Any],
    error: type[Exception],
    words: str,
    store: ama.Store,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = publish(**{"files": str(out), **wrong})
    lines = said_by(monkeypatch, task)
    with pytest.raises(error, match=words):
        run(task)
    assert any(words in line for line in lines)
    assert store.classes() == ()


def test_the_first_publication_makes_the_store(tmp_path: Path, out: Path) -> None:
    task = publish(files="nowhere", store=str(tmp_path / "new"))
    with pytest.raises(ama.NotFound):
        run(task)
    assert not (tmp_path / "new").exists()
    assert run(publish(files=str(out), store=str(tmp_path / "new"))) == "models/1"
    assert ama.Store.open(tmp_path / "new").fsck().ok


# Fetching


def test_an_asset_is_brought_here(store: ama.Store, out: Path, tmp_path: Path) -> None:
    store.publish("models", [out], aliases="best")
    got = tmp_path / "got"
    task = AmaFetchOperator(task_id="t", asset="models@best", directory=str(got))
    assert run(task) == run(task) == str(got)
    assert (got / "sub" / "a.yml").read_text() == "layers: 3"
    some = AmaFetchOperator(
        task_id="t", asset="models/1", directory=str(tmp_path / "some"), include="*.h5"
    )
    assert {path.name for path in Path(run(some)).iterdir()} == {".ama", "model.h5"}
    wrong = AmaFetchOperator(task_id="t", asset="modles", directory=str(tmp_path / "x"))
    with pytest.raises(ama.NotFound, match="modles"):
        run(wrong)


def test_an_asset_is_brought_into_the_cache(store: ama.Store, out: Path) -> None:
    store.publish("models", [out], aliases="best")
    got = Path(run(AmaFetchOperator(task_id="t", asset="models@best")))
    assert got == store.fetch("models/1")
    assert (got / "model.h5").read_bytes() == b"weights"
    some = Path(run(AmaFetchOperator(task_id="t", asset="models", include=["*.h5"])))
    assert [path.name for path in some.iterdir()] == ["model.h5"]


# Noting


def test_what_is_known_later_is_noted_once(
    store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish("models", {"f": b"1"}, aliases="best")
    (tmp_path / "report.txt").write_text("fine")
    task = AmaNoteOperator(
        task_id="t",
        asset="models@best",
        metadata={"loss": 0.25},
        tags="tested",
        message="passed",
        file=str(tmp_path / "report.txt"),
    )
    lines = said_by(monkeypatch, task)
    assert run(task) == run(task, try_number=2) == "models/1"
    assert any("an earlier try" in line for line in lines)
    noted = store.noted("models/1")
    assert (noted.metadata, noted.tags, noted.message) == ({"loss": 0.25}, ("tested",), "passed")
    assert len(noted.notes) == 1
    assert b"".join(store.note_file(noted.notes[0])) == b"fine"
    assert run(AmaNoteOperator(task_id="t", asset="models/1", remove="tested")) == "models/1"
    assert store.noted("models/1").tags == ()
    assert run(AmaNoteOperator(task_id="t", asset="models", message="Sorts.")) == "models"
    assert store.noted("models").message == "Sorts."
    for wrong, error in (
        ({"asset": "models/7", "tags": "x"}, ama.NotFound),
        ({"asset": "models/1"}, AirflowFailException),
        ({"asset": "models", "tags": "x"}, AirflowFailException),
    ):
        with pytest.raises(error):
            run(AmaNoteOperator(task_id="t", **wrong))


# Waiting


def sensor(**given: Any) -> AmaAliasSensor:
    return AmaAliasSensor(**{"task_id": "s", "class_name": "models", "alias": "best", **given})


def test_a_sensor_waits_for_an_alias(tmp_path: Path) -> None:
    waiting = sensor(store=str(tmp_path / "store"))
    assert not waiting.poke({})  # there is no store yet
    store = ama.Store.open(tmp_path / "store", create=True)
    assert not waiting.poke({})  # nor the class
    store.publish("models", {"f": b"1"})
    assert not waiting.poke({})
    store.move_alias("models", "best", "1")
    found = waiting.poke({})
    assert (found.is_done, found.xcom_value) == (True, "models/1")
    store.remove_alias("models", "best")
    assert not waiting.poke({})


def test_a_sensor_waits_until_an_alias_leaves_an_asset(store: ama.Store) -> None:
    store.publish("models", {"f": b"1"}, aliases="best")
    waiting = sensor(from_asset="models/1")
    assert not waiting.poke({})
    store.publish("models", {"f": b"2"}, aliases="best")
    assert waiting.poke({}).xcom_value == "models/2"
    by_id = sensor(from_asset=store.resolve("models/2").info.id[:10])
    assert not by_id.poke({})
    for movable in ("models@best", "models", "HEAD"):
        with pytest.raises(AirflowFailException, match="another asset"):
            sensor(from_asset=movable).poke({})


def test_a_sensor_waits_for_a_move_since_a_time(store: ama.Store) -> None:
    store.publish("models", {"f": b"1"}, aliases="best")
    (move,) = store.aliases("models")
    assert sensor(moved_since=str(move.moved_at)).poke({})
    later = f"{move.moved_at:%Y-%m-%d %H:%M:%S}.999999"  # without a zone: UTC
    waiting = sensor(moved_since=later)
    assert bool(waiting.poke({})) == (move.moved_at.microsecond == 999_999)
    assert not sensor(moved_since="2999-01-01T00:00:00+02:00").poke({})
    with pytest.raises(AirflowFailException, match="ISO 8601"):
        sensor(moved_since="yesterday").poke({})


def test_a_sensor_of_a_remote_that_is_not_configured_does_not_wait() -> None:
    with pytest.raises(ama.NotFound, match="no remote"):
        sensor(store="team").poke({})


def test_a_deferrable_sensor_defers_and_goes_on(store: ama.Store) -> None:
    store.publish("models", {"f": b"1"}, aliases="best")
    assert sensor(deferrable=True).poke({}).xcom_value == "models/1"  # nothing to wait for
    waiting = sensor(deferrable=True, from_asset="models/1", poke_interval=7, timeout=60)
    with pytest.raises(TaskDeferred) as deferred:
        waiting.poke({})
    path, given = deferred.value.trigger.serialize()
    assert path == f"{AmaAliasTrigger.__module__}.AmaAliasTrigger"
    assert AmaAliasTrigger(**given).serialize() == (path, given)
    assert given == {
        "store": store.url,
        "class_name": "models",
        "alias": "best",
        "from_asset": store.resolve("models/1").info.id,
        "moved_since": None,
        "poke_interval": 7,
    }
    assert deferred.value.timeout is not None
    assert waiting.execute_complete({}, {"asset": "models/2"}) == "models/2"
    with pytest.raises(AirflowFailException, match="gone"):
        waiting.execute_complete({}, {"error": "gone"})


def fired(trigger: AmaAliasTrigger, meanwhile: Any = None) -> tuple[TriggerEvent, int]:
    """A trigger's first event, and how often another task of the loop ran until then."""

    async def both() -> tuple[TriggerEvent, int]:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                if turns == 20 and meanwhile is not None:
                    meanwhile()
                await asyncio.sleep(0.005)

        beside = asyncio.create_task(other())
        event = await asyncio.wait_for(anext(aiter(trigger.run())), 30)
        beside.cancel()
        return event, turns

    return asyncio.run(both())


def test_a_trigger_leaves_the_loop_to_others_while_it_looks(
    store: ama.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish("models", {"f": b"1"}, aliases="best")
    second = store.publish("models", {"f": b"2"}).asset
    assert second is not None
    trigger = AmaAliasTrigger(
        store.url, "models", "best", store.resolve("models/1").info.id, poke_interval=0.01
    )
    looks: list[int] = []
    real = ama.Store.aliases

    def slow(self: ama.Store, class_name: str | None = None) -> Any:
        import time

        looks.append(1)
        time.sleep(0.3)
        return real(self, class_name)

    monkeypatch.setattr(ama.Store, "aliases", slow)
    event, turns = fired(trigger, lambda: store.move_alias("models", "best", "2"))
    assert event.payload == {"asset": "models/2"}
    assert len(looks) in {1, 2}
    assert turns > 20


def test_a_trigger_outlasts_what_passes_and_tells_what_does_not(
    store: ama.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish("models", {"f": b"1"}, aliases="best")
    trigger = AmaAliasTrigger(store.url, "models", "best", poke_interval=0.01)
    errors = [
        ama.StorageError("the network is gone", retryable=True),
        ama.StorageError("you may not", hint="log in"),
        ama.IntegrityError("entry 3 is damaged"),
    ]
    real = ama.Store.aliases

    def failing(self: ama.Store, class_name: str | None = None) -> Any:
        if errors:
            raise errors.pop(0)
        return real(self, class_name)

    monkeypatch.setattr(ama.Store, "aliases", failing)
    assert fired(trigger)[0].payload == {"error": "you may not: log in"}
    assert fired(trigger)[0].payload == {"error": "entry 3 is damaged"}
    assert fired(trigger)[0].payload == {"asset": "models/1"}
