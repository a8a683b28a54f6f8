"""Dask: handles are told apart, and its workers read imports."""

from __future__ import annotations

import os
import signal
import zipfile
from pathlib import Path

import pytest

import ama
from ama.importing import importer

dask = pytest.importorskip("dask")


def test_what_tells_handles_apart(tmp_path: Path) -> None:
    from dask.base import tokenize

    store = ama.Store.open(tmp_path / "store", create=True)
    for n in range(2):
        store.publish("models", {"n": b"%d" % n})
    again = ama.Store.open(tmp_path / "store")
    assert tokenize(store) == tokenize(again)
    assert tokenize(store.resolve("models/1")) == tokenize(again.resolve("models/1"))
    assert tokenize(store.resolve("models/1")) != tokenize(store.resolve("models/2"))


def zips(directory: Path) -> str:
    directory.mkdir()
    for number in range(12):
        with zipfile.ZipFile(directory / f"{number:02}.zip", "w") as made:
            made.writestr("n", str(number))
            made.writestr("weights", os.urandom(100_000))
        os.utime(directory / f"{number:02}.zip", (1_700_000_000 + number,) * 2)
    return f"{directory}/*.zip"


@pytest.mark.parametrize("deadly", [False, True])
def test_workers_read_an_import(
    tmp_path: Path, deadly: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if one of them is killed in the middle of it."""
    from dask.distributed import Client, LocalCluster

    monkeypatch.setattr(importer, "PIECE_SOURCES", 1)
    monkeypatch.setattr(importer, "AHEAD", 4)
    sources = zips(tmp_path / "in")
    store = ama.Store.open(tmp_path / "store", create=True)
    with (
        LocalCluster(2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        victims = [nanny.pid for nanny in cluster.workers.values()][:1] if deadly else []

        class Killer:
            def start(self, what: str, total: int) -> None: ...
            def skip(self, size: int) -> None: ...
            def finish(self) -> None: ...

            def advance(self, size: int) -> None:
                if victims:
                    os.kill(victims.pop(), signal.SIGKILL)

        result = ama.import_assets(
            sources, "models", store=store, executor=client.get_executor(), progress=Killer()
        )
        assert not victims
        assert client.run(os.getpid)
    assert [asset.number for asset in result.assets] == [*range(1, 13)]
    assert [store.resolve(f"models/{n + 1}").read("n") for n in range(12)] == [
        str(n).encode() for n in range(12)
    ]
    assert store.fsck().ok
