"""What dask_evaluation.py and ray_evaluation.py share: a training and an evaluation.

A line is fitted to points. Its checkpoints are assets; so is the data to test them on.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import ama


def publish_points(store: ama.Store) -> None:
    """Publishes data to test on: points around y = 3 x - 1, in four files."""
    rng = random.Random(7)
    parts = {}
    for part in range(4):
        xs = [rng.uniform(-1, 1) for _ in range(50)]
        lines = [f"{x},{3 * x - 1 + rng.gauss(0, 0.1)}" for x in xs]
        parts[f"part-{part}.csv"] = "\n".join(lines).encode()
    store.publish("points", parts, aliases="test", once=True)


def train(store: ama.Store, run: str) -> None:
    """Fits a line, and publishes eight checkpoints of it."""
    a, b = 0.0, 0.0
    with ama.Checkpoints("lines", store=store, run=run, every=25) as checkpoints:
        for step in range(1, 201):
            x = random.uniform(-1, 1)
            wrong = a * x + b - (3 * x - 1)
            a, b = a - 0.05 * wrong * x, b - 0.05 * wrong
            weights = json.dumps({"a": a, "b": b}).encode()
            if checkpoints.step(step, {"line.json": weights}):
                checkpoints.wait()  # each is wanted here; a training goes on


def evaluate(store: ama.Store, checkpoint: ama.Asset, points: ama.Asset) -> tuple[object, float]:
    """Tests one checkpoint, and notes its loss; runs anywhere, with handles that have travelled."""
    line = json.loads(checkpoint.read("line.json"))
    total, count = 0.0, 0
    for file in points.files():
        for row in points.read(file.path).decode().splitlines():
            x, y = map(float, row.split(","))
            total, count = total + (line["a"] * x + line["b"] - y) ** 2, count + 1
    store.note(checkpoint.info.id, metadata={"test_loss": total / count}, once=True)
    return checkpoint.info.metadata["step"], total / count


def keep_best(store: ama.Store, run: str) -> None:
    """Keeps the two checkpoints with the least noted loss, and shows what is left."""
    checkpoints = ama.Checkpoints("lines", store=store, run=run, keep=2, best="min:test_loss")
    checkpoints.prune()
    for asset in checkpoints.published:
        loss = store.noted(asset.id).metadata["test_loss"]
        print(f"{asset.name}: step {asset.metadata['step']}, test_loss {loss:.3f}", *asset.aliases)


def opened(place: Path) -> ama.Store:
    """Opens the store in a directory, and makes it if need be."""
    return ama.Store.open(place / "store", create=True)
