"""Checkpoints are evaluated in parallel, by Dask or Ray, and zips read: the examples run."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import ama
from conftest import PROJECT


@pytest.fixture
def short() -> Iterator[str]:
    """A directory with a short path: Ray has sockets in it, whose paths may have 107 bytes."""
    with TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as place:
        yield place


def run(example: str, *words: str | Path, home: Path, short: str) -> list[str]:
    # The example stands beside what it imports.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    # Ray keeps a token in the home directory, and tells its makers how it is used.
    env |= {"HOME": str(home), "RAY_TMPDIR": short, "RAY_USAGE_STATS_ENABLED": "0"}
    home.mkdir()
    done = subprocess.run(
        [sys.executable, PROJECT / "examples" / example, *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_zips_are_read_by_ray(tmp_path: Path, short: str) -> None:
    pytest.importorskip("ray")
    zips = []
    for number in range(3):
        zips.append(tmp_path / f"run-{number}.zip")
        with zipfile.ZipFile(zips[-1], "w") as made:
            made.writestr("model.yml", f"layers: {number}")
        os.utime(zips[-1], (1_700_000_000 + number,) * 2)
    place = tmp_path / "store"
    lines = run("ray_import.py", place, "models", *zips, home=tmp_path / "home", short=short)
    assert lines == [f"models/{n + 1}@run-{n}: {file}" for n, file in enumerate(zips)]
    store = ama.Store.open(place)
    assert store.resolve("models@run-2").read("model.yml") == b"layers: 2"
    assert store.fsck().ok


@pytest.mark.parametrize("tool", ["dask", "ray"])
def test_the_example(tool: str, tmp_path: Path, short: str) -> None:
    pytest.importorskip(tool)
    lines = run(f"{tool}_evaluation.py", tmp_path, home=tmp_path / "home", short=short)
    if tool == "dask":  # which reads the points as well
        assert lines.pop(0) == "200 points"
    assert [line.partition(":")[0] for line in lines[:8]] == [
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
    assert len(lines) == 8 + len(left)
    assert store.fsck().ok
