"""Airflow as it runs: scheduler, triggerer, DAG processor and API server, and tasks that die."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest
from airflow_home import BIN, Home, major_version, need_airflow, new_home, services, wait_for

need_airflow()

import ama

DAGS = Path(__file__).with_name("dags_of_services.py")
MIB = 1024 * 1024

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        major_version() == 2, reason="its services are those of an Airflow that is at its end"
    ),
]


def states(home: Home, dag: str) -> dict[str, str]:
    return {
        str(task): str(state)
        for task, state in home.query(
            "select task_id, state from task_instance where dag_id = ?", dag
        )
    }


def tries(home: Home, dag: str) -> int:
    ((number,),) = home.query("select max(try_number) from task_instance where dag_id = ?", dag)
    assert isinstance(number, int)
    return number


def result(home: Home, dag: str, task: str) -> object:
    ((value,),) = home.query(
        "select value from xcom where dag_id = ? and task_id = ? and key = 'return_value'",
        *(dag, task),
    )
    return json.loads(value) if isinstance(value, (str, bytes)) else value


def kill_at(home: Home, note: str) -> None:
    """Kill the task that has noted its process, from outside, and be sure that it is gone."""
    path = home.root / note
    wait_for(f"the task to note {note}", path.exists)
    os.kill(int(path.read_text()), signal.SIGKILL)


def test_tasks_that_die_publish_once_and_a_sensor_wakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = new_home(tmp_path)
    monkeypatch.setenv("AMA_CACHE_DIR", home.environment["AMA_CACHE_DIR"])
    (home.root / "big").write_bytes(os.urandom(48 * MIB))
    (home.root / "small").write_bytes(b"weights")
    store = ama.Store.open(home.store, create=True)
    store.publish("models", {"f": b"1"}, aliases="production")
    store.publish("models", {"f": b"2"})
    home.add_dag("dags.py", DAGS.read_text().replace("/ROOT", str(home.root)))
    with services(home):
        # In the middle of the publication: packs are there, and no entry.
        kill_at(home, "sending.pid")
        assert list((home.store / "packs").rglob("*.pack"))
        assert "sending" not in {found.name for found in store.classes()}
        # After the entry, before Airflow hears of it.
        kill_at(home, "published.pid")
        assert [asset.number for asset in store.assets("published")] == [1]

        wait_for("the sensor to wait", lambda: states(home, "waits")["sensor"] == "deferred")
        # Until the scheduler has heard of it, it would take a sensor that goes on at once for lost.
        scheduler = home.root / "services" / "scheduler"
        heard = re.compile("Received executor event .*dag_id='waits'")
        wait_for("the scheduler", lambda: heard.search(scheduler.read_text(errors="replace")))
        assert result_count(home, "waits") == 0
        home.run(
            BIN / "ama", "alias", "move", "models@production", "models/2", "--remote", home.store
        )
        wait_for("the sensor", lambda: states(home, "waits")["sensor"] == "success")
        for dag in ("sending", "published"):
            wait_for(f"the retry of {dag}", lambda dag=dag: done(home, dag), 180)
        wait_for("the DAG that follows", lambda: states(home, "follows") != {}, 60)
        wait_for("its task", lambda: states(home, "follows")["note"] == "success", 60)
    assert states(home, "sending") == states(home, "published") == {"publish": "success"}
    assert tries(home, "sending") >= 2
    assert tries(home, "published") >= 2
    for dag in ("sending", "published"):
        assert [asset.number for asset in store.assets(dag)] == [1]
        assert result(home, dag, "publish") == f"{dag}/1"
        assert store.resolve(dag).info.metadata["airflow.dag_id"] == dag
    (path,) = store.resolve("sending").files()
    assert (path.path, path.size) == ("big", 48 * MIB)
    assert result(home, "waits", "sensor") == "models/2"
    assert (home.root / "followed").read_text() == "published/1"
    assert store.fsck().ok


def done(home: Home, dag: str) -> bool:
    state = states(home, dag)["publish"]
    assert state != "failed", f"{dag} failed"
    return state == "success"


def result_count(home: Home, dag: str) -> int:
    ((count,),) = home.query("select count(*) from xcom where dag_id = ?", dag)
    assert isinstance(count, int)
    return count
