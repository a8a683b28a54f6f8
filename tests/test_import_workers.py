"""Imports in pieces: content is sent ahead, by this process or by workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import ama
from ama.format.entries import Gc
from ama.importing import importer, workers
from ama.importing.pieces import Piece, PieceRead
from ama.results import ImportResult
from ama.stores.log_view import LogView
from ama.stores.object_reader import pack_name
from ama.stores.remote import Remote
from ama.transfer.ahead import Sent
from conftest import SOURCE
from test_import import zipped

COUNT = 12
SHARED = os.urandom(300_000)


@pytest.fixture
def zips(tmp_path: Path) -> str:
    for number in range(COUNT):
        files: dict[str, str | bytes] = {"n": str(number), "weights": os.urandom(1000)}
        files["shared"] = SHARED
        zipped(tmp_path / "in" / f"{number:02}.zip", files, 1_700_000_000 + number)
    return f"{tmp_path}/in/*.zip"


@pytest.fixture
def store(tmp_path: Path) -> ama.Store:
    return ama.Store.open(tmp_path / "store", create=True)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "PIECE_SOURCES", 2)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SOURCE), str(Path(__file__).parent)]))


@pytest.fixture
def pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


def require_all(store: ama.Store, result: ImportResult) -> None:
    assert not result.failed
    assert len(result.assets) == COUNT
    assert [asset.number for asset in result.assets] == [*range(1, COUNT + 1)]
    for number in range(COUNT):
        asset = store.resolve(f"models/{number + 1}")
        assert asset.read("n") == str(number).encode()
        assert asset.read("shared") == SHARED
    assert not store.fsck().problems


def test_content_of_the_piece_before_is_not_sent_again(store: ama.Store, zips: str) -> None:
    result = ama.import_assets(zips, "models", store=store)
    require_all(store, result)
    assert result.bytes_sent < 1.5 * len(SHARED)


def test_processes_read_and_one_place_publishes(
    store: ama.Store, zips: str, pool: ProcessPoolExecutor
) -> None:
    with pool:
        require_all(store, ama.import_assets(zips, "models", store=store, executor=pool))
        again = ama.import_assets(zips, "models", store=store, executor=pool)
    assert (again.assets, len(again.unchanged)) == ((), COUNT)


def die(*args: object) -> None:
    os._exit(1)


class Deadly(Executor):
    """One of whose workers dies with the third piece, and which takes no more then."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self.taken = 0

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        self.taken += 1
        return self._pool.submit(die if self.taken == 3 else work, *args, **named)


def test_the_piece_of_a_worker_that_dies_is_read_here(
    store: ama.Store, zips: str, pool: ProcessPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = []

    def read_here(piece: Piece) -> PieceRead:
        here.append(piece)
        return read(piece)

    read = workers.read_by_worker
    # Workers find the function by its name, in the module where it is.
    read_here.__module__, read_here.__qualname__ = read.__module__, read.__qualname__
    monkeypatch.setattr(workers, "read_by_worker", read_here)
    with pool:
        executor = Deadly(pool)
        require_all(store, ama.import_assets(zips, "models", store=store, executor=executor))
    assert executor.taken == COUNT / 2
    assert here


def test_what_a_worker_could_not_reach_ends_it(
    store: ama.Store, zips: str, pool: ProcessPoolExecutor, tmp_path: Path
) -> None:
    broken = tmp_path / "in" / "03.zip"
    broken.write_bytes(broken.read_bytes()[:-30])
    with pool:
        result = ama.import_assets(zips, "models", store=store, executor=pool)
    assert len(result.assets) == COUNT - 1
    (failed,) = result.failed
    assert failed.source == str(broken)


def test_a_gc_takes_what_was_sent_but_not_published(
    store: ama.Store, zips: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, condemned = importer.publish_many, []

    def publish_late(remote: Remote, view: LogView, items: Any, sent: Sent, **named: Any) -> Any:
        if not condemned:
            packs = tuple(sorted(pack for index in sent.indexes for pack in index.pack_sizes))
            condemned.append(packs)
            event = Gc((), packs, tuple(sorted(index.id for index in sent.indexes)))
            remote.log.append(lambda _: [event], author="Ann", now=lambda: 1)
            for pack in packs:
                remote.storage.delete(pack_name(pack))
        return publish(remote, view, items, sent, **named)

    monkeypatch.setattr(importer, "publish_many", publish_late)
    result = ama.import_assets(zips, "models", store=store)
    assert condemned
    require_all(store, result)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says it")
def test_no_interrupt_reaches_a_process_that_starts() -> None:
    """Python would answer with a trace for each, until `_begin` has run."""
    before = signal.getsignal(signal.SIGINT)
    with workers.processes(2) as pool:
        answer = pool.submit(os.getpid)
        for pid in pool._processes:  # type: ignore[attr-defined]
            status = Path(f"/proc/{pid}/status").read_text()
            (ignored,) = (line for line in status.splitlines() if line.startswith("SigIgn"))
            assert int(ignored.split()[1], 16) & 1 << signal.SIGINT - 1
        assert signal.getsignal(signal.SIGINT) is before
        assert answer.result() in pool._processes  # type: ignore[attr-defined]
