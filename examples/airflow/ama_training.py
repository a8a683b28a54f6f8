"""A training pipeline of Airflow whose every result is an asset; see README.md beside this file.

code, inputs -> stage one -> stage two -> its checkpoints, evaluated in parallel
-> the best one, frozen -> a model, tested from the store -> models@production
"""

from __future__ import annotations

import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

try:
    from airflow.sdk import DAG, Asset, task
except ImportError:  # Airflow 2
    from airflow.datasets import Dataset as Asset
    from airflow.decorators import task
    from airflow.models.dag import DAG

import training

from ama.integrations.airflow import (
    AmaFetchOperator,
    AmaHook,
    AmaNoteOperator,
    AmaPublishOperator,
)

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent / "sample"
# All tasks run on one machine here. On several, this is a directory that they share.
WORK = f"{tempfile.gettempdir()}/ama_training/{{{{ run_id }}}}"
TRAINED_ON, HELD_OUT = range(0, 12, 2), range(1, 12, 2)


@task
def stage_one(inputs: str, work: str) -> str:
    """Learns how the training loss falls."""
    curve = training.read_curve(inputs, "loss")
    *_, last = training.train(training.START, curve, range(12), steps=400)
    return training.save(last, 400, Path(work, "stage_one"))


@task
def stage_two(inputs: str, base: str, work: str) -> list[str]:
    """Goes on from stage one with half of the validation losses, and keeps some steps."""
    start = json.loads(AmaHook().get_conn().resolve(base).read("parameters.json"))
    curve = training.read_curve(inputs, "val_loss")
    steps = enumerate(training.train(start, curve, TRAINED_ON, steps=300), 1)
    return [
        training.save(at, step, Path(work, f"stage_two-{step}"))
        for step, at in steps
        if step in {20, 100, 300}
    ]


@task
def evaluate(inputs: str, checkpoint: str) -> dict[str, Any]:
    """Measures a checkpoint on the other half."""
    at = json.loads(AmaHook().get_conn().resolve(checkpoint).read("parameters.json"))
    loss = training.error(at, training.read_curve(inputs, "val_loss"), HELD_OUT)
    return {"asset": checkpoint, "metadata": {"loss": loss}}


@task
def choose(evaluated: list[dict[str, Any]]) -> dict[str, Any]:
    """Chooses the checkpoint with the least loss."""
    best = min(evaluated, key=lambda each: each["metadata"]["loss"])
    return {"asset": best["asset"], "loss": best["metadata"]["loss"]}


@task
def freeze(checkpoint: str, work: str) -> str:
    """Keeps what a model needs: the parameters, without the state of the training."""
    frozen = Path(work, "frozen")
    frozen.mkdir(parents=True, exist_ok=True)
    asset = AmaHook().get_conn().resolve(checkpoint)
    (frozen / "parameters.json").write_bytes(asset.read("parameters.json"))
    return str(frozen)


@task
def test_integrity(inputs: str, model: str, loss: float) -> str:
    """Reads the model back from the store, verified, and measures it again."""
    at = json.loads(AmaHook().get_conn().resolve(model).read("parameters.json"))
    again = training.error(at, training.read_curve(inputs, "val_loss"), HELD_OUT)
    if again != loss:
        raise ValueError(f"{model} has a loss of {again}, and its checkpoint one of {loss}")
    return "passed"


@task
def to_production(model: str) -> None:
    """Points models@production to the model."""
    AmaHook().get_conn().move_alias("models", "production", model)


@task
def clean(work: str) -> None:
    """Deletes what lies beside the store."""
    shutil.rmtree(work)


with DAG("ama_training", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), tags=["ama"]):
    code = AmaPublishOperator(
        task_id="package_code",
        class_name="training_code",
        files=[str(HERE / "*.py")],
        record_run=False,  # the same code is the same asset, whichever run asks
    )
    inputs = AmaPublishOperator(
        task_id="publish_inputs",
        class_name="training_inputs",
        files=[str(SAMPLE / name) for name in ("summary_dict.json", "training.yml")],
        record_run=False,
    )
    fetched = AmaFetchOperator(task_id="fetch_inputs", asset=inputs.output)
    base = AmaPublishOperator(
        task_id="publish_stage_one",
        class_name="checkpoints",
        files=stage_one(fetched.output, WORK),
        refs={"inputs": inputs.output, "code": code.output},
    )
    checkpoints = AmaPublishOperator.partial(
        task_id="publish_stage_two",
        class_name="checkpoints",
        refs={"base": base.output, "inputs": inputs.output, "code": code.output},
        outlets=[Asset("ama://checkpoints")],  # of a mapped task, Airflow sees only these
    ).expand(files=stage_two(fetched.output, base.output, WORK))
    evaluated = evaluate.partial(inputs=fetched.output).expand(checkpoint=checkpoints.output)
    AmaNoteOperator.partial(task_id="note_loss").expand_kwargs(evaluated)
    best = choose(evaluated)
    model = AmaPublishOperator(
        task_id="publish_model",
        class_name="models",
        files=freeze(best["asset"], WORK),
        refs={"checkpoint": best["asset"], "inputs": inputs.output, "code": code.output},
        metadata={"loss": best["loss"]},
        inlets=[Asset("ama://checkpoints")],
    )
    tested = test_integrity(fetched.output, model.output, best["loss"])
    note = AmaNoteOperator(
        task_id="note_integrity", asset=model.output, metadata={"integrity": tested}, tags="tested"
    )
    note >> to_production(model.output) >> clean(WORK)
