"""Checkpoints of a training are evaluated in parallel by Dask, each in another process.

    python examples/dask_evaluation.py [DIRECTORY]

Stores and assets travel to the workers as URLs and ids, and are opened there. Dask itself reads
their files by `ama://`. Keeps its store in DIRECTORY (a temporary one if none is given).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import dask
import dask.bag
from dask.base import compute
from evaluation import evaluate, keep_best, opened, publish_points, train


def main() -> None:
    store = opened(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()).absolute())
    publish_points(store)
    train(store, "line")

    rows = dask.bag.read_text("ama://points@test/*.csv", storage_options={"store": store})
    print(f"{rows.count().compute(scheduler='processes')} points")

    points = store.resolve("points@test")
    work = [
        dask.delayed(evaluate)(store, store.resolve(checkpoint.id), points)
        for checkpoint in store.assets("lines")
    ]
    for step, loss in sorted(compute(*work, scheduler="processes")):
        print(f"step {step}: {loss:.3f}")
    keep_best(store, "line")


if __name__ == "__main__":
    main()
