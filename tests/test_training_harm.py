"""`ama.Checkpoints` under attack: forks, moved aliases, coarse clocks, streams that are closed."""

from __future__ import annotations

import io
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

import ama
from ama import checkpoints as module
from ama.settings import Settings
from ama.system.scratch import Scratch
from ama.worktree import given

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        cache_dir=tmp_path / "cache",
        user_config_path=tmp_path / "config.toml",
        user_name="Ann",
        user_email="ann@example.org",
    )


@pytest.fixture
def store(tmp_path: Path, settings: Settings) -> ama.Store:
    return ama.Store.open(tmp_path / "store", create=True, settings=settings)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What lets publications go on."""
    gate, real = threading.Event(), module.publish

    def waiting(*args: Any, **more: Any) -> Any:
        assert gate.wait(60)
        return real(*args, **more)

    monkeypatch.setattr(module, "publish", waiting)
    yield gate
    gate.set()


def live(store: ama.Store) -> list[object]:
    return [asset.metadata["step"] for asset in reversed(store.assets("runs"))]


def take(run: ama.Checkpoints, step: int, **metrics: float) -> None:
    run.step(step, {"w": b"%d" % step}, metrics)
    run.wait()


# Processes


def in_fork(work: Callable[[], object]) -> int | None:
    """Run a function in a process that ends as Python ends; None if it does not end."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(30)
    if process.is_alive():
        process.kill()
    return process.exitcode if process.exitcode is not None and process.exitcode >= 0 else None


@needs_fork
def test_a_worker_that_was_forked_meanwhile_ends(
    store: ama.Store, gate: threading.Event, tmp_path: Path
) -> None:
    """As those that load data do: it waits for no thread that it doesn't have, and takes no files
    away."""
    run = ama.Checkpoints("runs", store=store, scratch=tmp_path)
    run.step(1, lambda directory: (directory / "w").write_bytes(b"1"))
    assert in_fork(lambda: None) == 0
    assert in_fork(run.close) == 0
    gate.set()
    run.close()
    assert (live(store), run.failures) == ([1], ())


@needs_fork
def test_a_process_that_was_forked_may_publish(store: ama.Store, gate: threading.Event) -> None:
    run = ama.Checkpoints("runs", store=store)
    run.step(1, {"w": b"1"})

    def work() -> None:
        gate.set()
        take(run, 2)
        assert [asset.metadata["step"] for asset in run.published] == [2]

    assert in_fork(work) == 0
    gate.set()
    run.close()
    assert sorted(map(str, live(store))) == ["1", "2"]


@needs_fork
def test_only_who_made_a_directory_deletes_it(tmp_path: Path) -> None:
    """Also where a forked process ends as programs do, with what Python does at its end."""
    script = (
        "import os, sys\n"
        "from ama.system.scratch import Scratch\n"
        "made = Scratch('ama-', sys.argv[1])\n"
        "process = os.fork()\n"
        "if process == 0:\n"
        "    made.remove()\n"
        "    sys.exit(0)\n"
        "print(os.waitpid(process, 0)[1], made.path.is_dir())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("0 True\n", "")
    assert os.listdir(tmp_path) == []


def test_a_directory_without_rights_is_deleted_too(tmp_path: Path) -> None:
    with Scratch("ama-", str(tmp_path)) as directory:
        (directory / "inner").mkdir()
        (directory / "inner" / "file").write_bytes(b"1")
        (directory / "inner").chmod(0o500)
        directory.chmod(0o500)
    assert os.listdir(tmp_path) == []
    with pytest.raises(ama.StorageError, match="no-such"):
        Scratch("ama-", str(tmp_path / "no-such"))


@pytest.mark.parametrize("before", ["", "import concurrent.futures.thread"])
def test_a_training_goes_on_when_the_main_thread_has_ended(tmp_path: Path, before: str) -> None:
    """Python lets nobody have a pool of threads then."""
    script = (
        f"{before}\n"
        "import threading\n"
        "import ama\n"
        "main = threading.current_thread()\n"
        "def train():\n"
        "    main.join()\n"
        "    files = {f'd/{n}': b'%d' % n for n in range(200)} | {'large': bytes(3_000_000)}\n"
        "    with ama.Checkpoints('runs', store='./store', run='r', keep=2) as run:\n"
        "        for step in range(1, 5):\n"
        "            run.step(step, {**files, 'w': b'%d' % step})\n"
        "            run.wait()\n"
        "    store = ama.Store.open('./store')\n"
        "    store.download('runs@r-latest', 'copy')\n"
        "    print(store.resolve('runs@r-latest').read('w'), store.fsck().ok, run.failures)\n"
        "threading.Thread(target=train).start()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.stderr) == ("b'4' True ()\n", "")
    assert live(ama.Store.open(tmp_path / "store")) == [3, 4]
    assert (tmp_path / "copy" / "d" / "199").read_bytes() == b"199"


# What others do with the aliases


def test_aliases_that_others_moved_hold_no_checkpoint_back(store: ama.Store) -> None:
    with ama.Checkpoints("runs", store=store, run="r", best="min:loss") as run:
        for step, loss in enumerate([0.5, 0.4, 0.3], 1):
            take(run, step, loss=loss)
        store.move_alias("runs", "r-best", "1")
        store.move_alias("runs", "r-latest", "2")
        take(run, 4, loss=0.2)
        store.remove_alias("runs", "r-latest")
        take(run, 5, loss=0.25)
    assert (live(store), run.failures) == ([1, 2, 3, 4, 5], ())
    assert store.resolve("runs@r-latest").info.metadata["step"] == 5
    assert store.resolve("runs@r-best").info.metadata["step"] == 4


def test_two_that_train_under_one_name_lose_nothing(
    store: ama.Store, settings: Settings, tmp_path: Path
) -> None:
    other = ama.Store.open(tmp_path / "store", settings=settings)
    runs = [
        ama.Checkpoints("runs", store=each, run="r", best="min:loss") for each in (store, other)
    ]
    for step in range(1, 7):
        take(runs[step % 2], step, loss=1 / step if step % 2 else step)
    for run in runs:
        run.close()
        assert run.failures == ()
    assert live(store) == [1, 2, 3, 4, 5, 6]


def test_a_result_that_is_noted_while_others_are_deleted_counts(
    store: ama.Store, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes when the metrics were compared, and says that what is to go is the best."""
    evaluation = ama.Store.open(tmp_path / "store", settings=settings)
    run = ama.Checkpoints("runs", store=store, run="r", best="max:score", keep=1)
    for step in (1, 2):
        take(run, step, score=step)
    assert live(store) == [2]
    run.close()
    store.delete("runs/1", undo=True)
    take(ama.Checkpoints("runs", store=store, run="r", best="max:score"), 3, score=1)
    again = ama.Checkpoints("runs", store=store, run="r", best="max:score", keep=1)
    real = again._to_delete

    def late() -> Any:
        found = real()
        if not evaluation.noted("runs/1").metadata:
            evaluation.note("runs/1", metadata={"score": 7})
        return found

    monkeypatch.setattr(again, "_to_delete", late)
    again.prune()
    assert live(store) == [1, 3]
    assert store.resolve("runs@r-best").info.metadata["step"] == 1


# Files whose changes can't be seen


@pytest.mark.parametrize("ahead_s", [0, 60])
def test_a_file_that_changes_within_a_tick_is_published_as_it_was_or_not_at_all(
    store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    """On many systems two writes within 4 milliseconds give a file the same times. A file server's
    clock may be ahead, too."""
    real, tick = given.look, 4_000_001

    def coarse(root: Any, path: str) -> Any:
        found = real(root, path)
        times = [at // tick * tick + ahead_s * 10**9 for at in (found.mtime, found.ctime)]
        return found._replace(mtime=times[0], ctime=times[1])

    monkeypatch.setattr(given, "look", coarse)
    weights = tmp_path / "weights"
    run = ama.Checkpoints("runs", store=store, copy=False, on_error="warn")

    def train(step: int) -> None:
        weights.write_bytes(b"%03d" % step)
        run.step(step, [weights])
        weights.write_bytes(b"999")

    with pytest.warns(RuntimeWarning, match="weights was changed"):
        *map(train, range(1, 9)), run.wait()
    weights.write_bytes(b"009")
    run.step(9, [weights])
    run.close()
    for asset in store.assets("runs"):
        assert store.resolve(asset.id).read("weights") == b"%03d" % asset.metadata["step"]
    assert live(store)[-1] == 9


# What the training gives


@pytest.mark.parametrize("step", [2**64, -(2**63) - 1, 10**400, numpy.bool_(True), 1.0])
def test_what_is_no_step_is_refused(store: ama.Store, step: Any) -> None:
    with pytest.raises(ama.InvalidInput):
        ama.Checkpoints("runs", store=store).step(step, {"w": b"1"})


def test_a_snapshot_is_refused(store: ama.Store) -> None:
    with pytest.raises(ama.InvalidInput, match="a snapshot of a store does not see"):
        ama.Checkpoints("runs", store=store.snapshot())


def test_where_nothing_can_be_printed_a_failure_is_no_other_one(
    store: ama.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning goes to the stream for errors, which may be closed."""
    closed = io.StringIO()
    closed.close()
    run = ama.Checkpoints("runs", store=store)

    def broken(*args: Any, **more: Any) -> Any:
        raise ama.StorageError("the bucket is away")

    with monkeypatch.context() as patch:
        patch.setattr(module, "publish", broken)
        patch.setattr("warnings.showwarning", lambda *args: print(file=closed))
        assert not run.step(1, ["no-such-file"])
        take(run, 2)
    run.close()
    assert (live(store), [each.step for each in run.failures]) == ([2], [1, 2])


def test_no_thread_at_the_end_is_the_failure_before(
    store: ama.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ama.system import background

    def broken(*args: Any, **more: Any) -> Any:
        raise ama.StorageError("the bucket is away")

    def none(thread: threading.Thread) -> None:
        raise ama.StorageError("the system starts no more threads")

    run = ama.Checkpoints("runs", store=store, on_error="warn")
    monkeypatch.setattr(module, "publish", broken)
    with pytest.warns(RuntimeWarning, match="away"):
        take(run, 1)
    monkeypatch.setattr(background, "start", none)
    run.close()
