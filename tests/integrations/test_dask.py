"""Dask: the example runs, and handles travel to its workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ama
from conftest import PROJECT

dask = pytest.importorskip("dask")


def test_the_example(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, PROJECT / "examples" / "dask_evaluation.py", tmp_path],
        # The example stands beside what it imports.
        env={name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "200 points"
    assert [line.partition(":")[0] for line in lines[1:9]] == [
        f"step {step}" for step in range(25, 201, 25)
    ]
    store = ama.Store.open(tmp_path / "store")
    losses = {
        asset.id: store.noted(asset.id).metadata["test_loss"] for asset in store.history("lines")
    }
    assert len(losses) == 8
    left = {asset.id for asset in store.assets("lines")}
    latest, best = (store.resolve(f"lines@line-{name}").info.id for name in ("latest", "best"))
    assert left == {*sorted(losses, key=losses.__getitem__)[:2], latest}
    assert best == min(losses, key=losses.__getitem__)
    assert len(lines) == 9 + len(left)
    assert store.fsck().ok


def test_what_tells_handles_apart(tmp_path: Path) -> None:
    from dask.base import tokenize

    store = ama.Store.open(tmp_path / "store", create=True)
    for n in range(2):
        store.publish("models", {"n": b"%d" % n})
    again = ama.Store.open(tmp_path / "store")
    assert tokenize(store) == tokenize(again)
    assert tokenize(store.resolve("models/1")) == tokenize(again.resolve("models/1"))
    assert tokenize(store.resolve("models/1")) != tokenize(store.resolve("models/2"))
