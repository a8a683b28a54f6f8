"""DAGs for test_services.py: their tasks wait to be killed in their first try."""

import os
import time
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Asset, task

from ama.integrations.airflow import AmaAliasSensor, AmaPublishOperator, hook
from ama.integrations.airflow.progress import LogProgress

ROOT = Path("/ROOT")


def wait_to_be_killed(note: str) -> None:
    """In the first try only."""
    path = ROOT / note
    if not path.exists():
        half = path.with_suffix(".part")
        half.write_text(str(os.getpid()))
        half.rename(path)
        time.sleep(300)
        raise AssertionError("nobody has killed this task")


class Slow(LogProgress):
    def advance(self, count: int) -> None:
        super().advance(count)
        if self._task == "Sending" and self._done > 44 * 1024 * 1024:
            wait_to_be_killed("sending.pid")


class DiesWhileSending(AmaPublishOperator):
    def execute(self, context):
        hook.LogProgress = Slow
        return super().execute(context)


class DiesWhenPublished(AmaPublishOperator):
    def execute(self, context):
        name = super().execute(context)
        wait_to_be_killed("published.pid")
        return name


# Airflow may count a try that a kill left half reported twice.
RETRY = {"retries": 3, "retry_delay": timedelta(seconds=1)}

with DAG("sending", schedule="@once"):
    DiesWhileSending(task_id="publish", class_name="sending", files=str(ROOT / "big"), **RETRY)

with DAG("published", schedule="@once"):
    DiesWhenPublished(
        task_id="publish",
        class_name="published",
        files=str(ROOT / "small"),
        aliases="newest",
        **RETRY,
    )

with DAG("waits", schedule="@once"):
    AmaAliasSensor(
        task_id="sensor",
        class_name="models",
        alias="production",
        from_asset="models/1",
        deferrable=True,
        poke_interval=1,
        timeout=200,
    )

with DAG("follows", schedule=[Asset("ama://published")]):

    @task
    def note(triggering_asset_events=None):
        (events,) = triggering_asset_events.values()
        (ROOT / "followed").write_text(" ".join(event.extra["asset"] for event in events))

    note()
