"""Checkpoints of a training are evaluated in parallel by Ray, each in another process.

    python examples/ray_evaluation.py [DIRECTORY]

Stores and assets travel to the workers as URLs and ids, and are opened there. Keeps its store in
DIRECTORY (a temporary one if none is given).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import ray
from evaluation import evaluate, keep_best, opened, publish_points, train


def main() -> None:
    store = opened(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()).absolute())
    publish_points(store)
    train(store, "line")

    ray.init()
    points = store.resolve("points@test")
    remote = ray.remote(evaluate)
    work = [
        remote.remote(store, store.resolve(checkpoint.id), points)
        for checkpoint in store.assets("lines")
    ]
    for step, loss in sorted(ray.get(work)):
        print(f"step {step}: {loss:.3f}")
    ray.shutdown()
    keep_best(store, "line")


if __name__ == "__main__":
    main()
