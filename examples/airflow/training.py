"""A small training: how a loss falls, as `a + b * exp(-c * epoch)`, fitted by gradient descent.

It learns from the losses in a training run's summary_dict.json, with nothing but Python.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

Parameters = dict[str, float]
Curve = list[float]

START: Parameters = {"a": 0.5, "b": 0.5, "c": 0.5}


def read_curve(directory: str | Path, name: str) -> Curve:
    """The losses by epoch: "loss" or "val_loss"."""
    found = json.loads((Path(directory) / "summary_dict.json").read_text())
    return [float(loss) for loss in found["history"][name]]


def predicted(at: Parameters, epoch: int) -> float:
    return at["a"] + at["b"] * math.exp(-at["c"] * epoch)


def error(at: Parameters, curve: Curve, epochs: range) -> float:
    """The mean squared error at some epochs."""
    return sum((predicted(at, n) - curve[n]) ** 2 for n in epochs) / len(epochs)


def train(start: Parameters, curve: Curve, epochs: range, steps: int) -> Iterator[Parameters]:
    """Yield the parameters after each step."""
    at, rate = dict(start), 0.2
    for _ in range(steps):
        slope = dict.fromkeys(at, 0.0)
        for n in epochs:
            away = 2 * (predicted(at, n) - curve[n]) / len(epochs)
            falling = math.exp(-at["c"] * n)
            slope["a"] += away
            slope["b"] += away * falling
            slope["c"] -= away * at["b"] * n * falling
        at = {name: value - rate * slope[name] for name, value in at.items()}
        yield at


def save(at: Parameters, step: int, directory: Path) -> str:
    """Write a checkpoint: the parameters, and the state that training would go on with."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "parameters.json").write_text(json.dumps(at))
    (directory / "state.json").write_text(json.dumps({"step": step, "rate": 0.2}))
    return str(directory)
