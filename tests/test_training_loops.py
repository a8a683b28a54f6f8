"""`ama.Checkpoints`: a training that goes on, its checkpoints published beside it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy
import pytest
from blake3 import blake3

import ama
from ama.errors import StorageError
from ama.settings import Settings
from ama.storage.protocol import Buffer
from ama.storage.urls import open_storage
from counting_storage import CountingStorage

MIB = 1024 * 1024


def content(seed: str, size: int) -> bytes:
    return blake3(seed.encode()).digest(length=size)


class Gate(CountingStorage):
    """A storage whose writes wait while it is closed, and fail while it is broken."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.open = threading.Event()
        self.open.set()
        self.waits = threading.Event()
        self.broken = False

    def put(self, name: str, data: Buffer) -> None:
        self.waits.set()
        assert self.open.wait(60)
        if self.broken:
            raise StorageError("the bucket is away", retryable=True)
        super().put(name, data)


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(open_storage(f"memory://{uuid4()}"))
    monkeypatch.setattr("ama.store.open_storage", lambda *args: gate)
    yield gate
    gate.open.set()


@pytest.fixture
def store(gate: Gate, tmp_path: Path) -> ama.Store:
    settings = Settings(
        data_dir=tmp_path / "data",
        cache_dir=tmp_path / "cache",
        user_config_path=tmp_path / "config.toml",
        user_name="Ann",
        user_email="ann@example.org",
    )
    return ama.Store.open(gate.url, create=True, settings=settings)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where copies are made; at the end none is left."""
    place = tmp_path / "scratch"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    yield place
    assert os.listdir(place) == []


def steps(assets: Any) -> list[object]:
    return [asset.metadata["step"] for asset in assets]


def live(store: ama.Store, class_name: str = "runs") -> list[object]:
    return steps(reversed(store.assets(class_name)))


def published(checkpoints: ama.Checkpoints, step: int) -> None:
    checkpoints.step(step, lambda directory: (directory / "w").write_bytes(b"%d" % step))
    checkpoints.wait()


def go_on(gate: Gate, checkpoints: ama.Checkpoints) -> None:
    gate.open.set()
    checkpoints.wait()


# What is published


def test_a_training(store: ama.Store, tmp_path: Path) -> None:
    store.publish("data", {"x": b"x"}, aliases="train")
    with ama.Checkpoints(
        "runs",
        store=store,
        run="r",
        every=10,
        best="min:loss",
        refs={"data@train": "data"},
        metadata={"rate": 0.1},
    ) as checkpoints:
        taken = []
        for step in range(35):
            weights = tmp_path / "weights"
            weights.write_bytes(b"%d" % step)
            if checkpoints.step(step, [weights], {"loss": numpy.float32(abs(step - 20))}):
                taken.append(step)
                checkpoints.wait()
    assert taken == [0, 10, 20, 30]
    assert live(store) == taken
    newest = store.resolve("runs@r-latest")
    assert newest.info.metadata == {"run": "r", "step": 30, "loss": 10.0, "rate": 0.1}
    assert newest.read("weights") == b"30"
    assert [ref.label for ref in newest.info.refs] == ["data"]
    assert store.resolve("runs@r-best").info.metadata["step"] == 20
    assert steps(store.log("runs@r-latest")) == [30, 20, 10, 0]
    assert steps(checkpoints.published) == taken
    assert checkpoints.failures == ()
    assert store.fsck().ok


def test_a_function_writes_only_what_is_due(store: ama.Store) -> None:
    asked: list[Path] = []

    def save(directory: Path) -> int:
        assert os.listdir(directory) == []
        asked.append(directory)
        (directory / "sub").mkdir()
        return (directory / "sub" / "weights").write_bytes(b"%d" % len(asked))

    with ama.Checkpoints("runs", store=store, run="r", every=5) as checkpoints:
        for step in range(1, 12):
            checkpoints.step(step, save)
            checkpoints.wait()
        assert checkpoints.step(11, save, always=True)
    assert len(asked) == 3
    assert live(store) == [5, 10, 11]
    assert store.resolve("runs/3").read("sub/weights") == b"3"


def test_steps_may_come_in_strides(store: ama.Store) -> None:
    checkpoints = ama.Checkpoints("runs", store=store, every=100)
    found = [step for step in range(7, 700, 64) if checkpoints.step(step, {"w": b"%d" % step})]
    checkpoints.close()
    assert found == [135, 263, 327, 455, 519, 647]


def test_only_changed_chunks_travel(store: ama.Store, gate: Gate, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    data = content("weights", 20 * MIB)
    weights.write_bytes(data)
    with ama.Checkpoints("runs", store=store) as checkpoints:
        checkpoints.step(1, [weights])
        checkpoints.wait()
        assert gate.bytes_written > 20 * MIB
        gate.reset()
        changed = data[: 10 * MIB] + b"changed" + data[10 * MIB + 7 :]
        weights.write_bytes(changed)
        checkpoints.step(2, [weights])
    assert gate.bytes_written < 1.1 * MIB  # at most two chunks, and little beside them
    assert len(gate.writes) == 6  # three packs, index, entry, HINT
    assert store.resolve("runs/2").read("weights") == changed


def test_a_store_that_is_not_there_is_made(tmp_path: Path) -> None:
    with ama.Checkpoints("runs", store=tmp_path / "made", run="r", keep=1) as checkpoints:
        assert not (tmp_path / "made").exists()
        for step in (1, 2, 3):
            checkpoints.step(step, {"w": b"%d" % step})
            checkpoints.wait()
    assert live(ama.Store.open(tmp_path / "made")) == [3]


def test_symlinks_modes_and_ignored_files_are_as_in_a_directory(
    store: ama.Store, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "run.sh").write_bytes(b"#!/bin/sh")
    (out / "run.sh").chmod(0o755)
    (out / "sub" / "latest").symlink_to("../run.sh")
    (out / "a.log").write_bytes(b"log")
    (out / ".amaignore").write_text("*.log\n")
    store.publish("runs", [out])
    with ama.Checkpoints("runs", store=store) as checkpoints:
        checkpoints.step(1, [out])
    assert store.resolve("runs/2").files() == store.resolve("runs/1").files()


# While one is under way


def test_what_comes_meanwhile_replaces_what_waits(store: ama.Store, gate: Gate) -> None:
    with ama.Checkpoints("runs", store=store) as checkpoints:
        gate.open.clear()
        gate.waits.clear()
        checkpoints.step(1, {"w": b"1"})
        assert gate.waits.wait(60)
        before = threading.active_count()
        for step in range(2, 50):
            assert checkpoints.step(step, lambda d: (d / "w").write_bytes(b"w"))
        # The push of step 1 may still start its own while it waits: a few, not one for each step
        assert threading.active_count() < before + 40
        assert [thread.name for thread in threading.enumerate()].count("ama-checkpoints") == 1
        gate.open.set()
    assert live(store) == [1, 49]
    assert checkpoints.skipped == 47


def test_files_may_be_overwritten_at_once(store: ama.Store, gate: Gate, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    expected = {}
    with ama.Checkpoints("runs", store=store) as checkpoints:
        gate.open.clear()
        for step in (1, 2):
            expected[step] = content(str(step), 3 * MIB)
            weights.write_bytes(expected[step])
            checkpoints.step(step, {"a/weights": weights, "b": b"b%d" % step})
            if step == 1:
                assert gate.waits.wait(60)
        weights.write_bytes(b"half")
        gate.open.set()
    for step, data in expected.items():
        assert store.resolve(f"runs/{step}").read("a/weights") == data
        assert store.resolve(f"runs/{step}").read("b") == b"b%d" % step


@pytest.mark.parametrize("size", [100, 3 * MIB])
def test_a_file_that_is_not_copied_is_never_published_torn(
    store: ama.Store, gate: Gate, tmp_path: Path, size: int
) -> None:
    """The next checkpoint is half written when its turn comes: what is there is whole by its hash,
    and never was a checkpoint."""
    first, weights = tmp_path / "first", tmp_path / "weights"
    first.write_bytes(b"first")
    with ama.Checkpoints("runs", store=store, copy=False) as checkpoints:
        gate.open.clear()
        checkpoints.step(1, [first])
        assert gate.waits.wait(60)
        weights.write_bytes(content("2", size))
        checkpoints.step(2, [weights])
        weights.write_bytes(content("3", size // 2))  # and stays so for a while
        with pytest.warns(RuntimeWarning, match="step 2 .* weights was changed"):
            go_on(gate, checkpoints)
        weights.write_bytes(content("3", size))
        checkpoints.step(3, [weights])
    assert live(store) == [1, 3]
    assert store.resolve("runs/2").read("weights") == content("3", size)
    assert steps_of(checkpoints.failures) == [2]


def steps_of(failures: tuple[Any, ...]) -> list[int]:
    return [failure.step for failure in failures]


def test_a_copy_of_a_file_that_somebody_writes_to_is_refused(
    store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ama.system import fs

    weights = tmp_path / "weights"
    weights.write_bytes(content("1", 3 * MIB))
    real = fs.write_private

    def torn(path: Any, data: Any, **more: Any) -> Any:
        def pieces() -> Iterator[bytes]:
            yield next(data)
            with weights.open("r+b") as file:
                file.write(b"other")
            yield from data

        return real(path, pieces(), **more)

    checkpoints = ama.Checkpoints("runs", store=store)
    monkeypatch.setattr(fs, "write_private", torn)
    with pytest.warns(RuntimeWarning, match="weights was changed"):
        assert not checkpoints.step(1, [weights])
    with pytest.raises(ama.Conflict, match="weights was changed"):
        checkpoints.close()
    assert store.classes() == ()


def test_who_forgets_to_close_loses_nothing(tmp_path: Path) -> None:
    script = (
        "import ama\n"
        "checkpoints = ama.Checkpoints('runs', store='./store', run='r')\n"
        "for step in range(20):\n"
        "    checkpoints.step(step, {'w': b'%d' % step})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    asset = ama.Store.open(tmp_path / "store").resolve("runs@r-latest")
    assert asset.info.metadata["step"] == 19


# What fails


def test_a_failure_is_a_warning_at_once_and_an_error_at_the_end(
    store: ama.Store, gate: Gate
) -> None:
    gate.broken = True
    checkpoints = ama.Checkpoints("runs", store=store)
    with pytest.warns(RuntimeWarning, match="step 1 was not published: the bucket is away"):
        published(checkpoints, 1)
    with pytest.warns(RuntimeWarning), pytest.raises(StorageError, match="the bucket is away"):
        checkpoints.close()
    checkpoints.close()  # said once
    assert live_classes(store) == []


def live_classes(store: ama.Store) -> list[str]:
    return [found.name for found in store.classes()]


def test_a_later_one_makes_up_for_it(store: ama.Store, gate: Gate) -> None:
    with ama.Checkpoints("runs", store=store) as checkpoints:
        gate.broken = True
        with pytest.warns(RuntimeWarning):
            published(checkpoints, 1)
        gate.broken = False
        checkpoints.step(2, {"w": b"2"})
    assert live(store) == [2]
    assert steps_of(checkpoints.failures) == [1]


def test_the_end_tries_once_more(store: ama.Store, gate: Gate) -> None:
    with ama.Checkpoints("runs", store=store) as checkpoints:
        gate.broken = True
        with pytest.warns(RuntimeWarning):
            published(checkpoints, 1)
        gate.broken = False
    assert store.resolve("runs/1").read("w") == b"1"


def test_an_older_one_is_never_tried_after_a_newer_one(store: ama.Store, gate: Gate) -> None:
    checkpoints = ama.Checkpoints("runs", store=store, run="r")
    gate.broken = True
    gate.open.clear()
    checkpoints.step(1, {"w": b"1"})
    assert gate.waits.wait(60)
    checkpoints.step(2, {"w": b"2"})
    with pytest.warns(RuntimeWarning):
        go_on(gate, checkpoints)
    gate.broken = False
    checkpoints.step(3, {"w": b"3"})
    checkpoints.close()
    assert live(store) == [3]


def test_an_older_one_that_succeeds_hides_no_newer_failure(store: ama.Store, gate: Gate) -> None:
    checkpoints = ama.Checkpoints("runs", store=store)
    gate.open.clear()
    checkpoints.step(1, {"w": b"1"})
    assert gate.waits.wait(60)
    with pytest.warns(RuntimeWarning, match="step 2"):
        assert not checkpoints.step(2, ["no-such-file"])
    gate.open.set()
    with pytest.raises(ama.NotFound, match="no-such-file"):
        checkpoints.close()
    assert live(store) == [1]


def test_it_may_only_warn(store: ama.Store, gate: Gate) -> None:
    gate.broken = True
    with (
        pytest.warns(RuntimeWarning, match="away"),
        ama.Checkpoints("runs", store=store, on_error="warn") as checkpoints,
    ):
        checkpoints.step(1, {"w": b"1"})
    assert steps_of(checkpoints.failures)[0] == 1


def test_warnings_that_are_errors_end_no_training(store: ama.Store, gate: Gate) -> None:
    checkpoints = ama.Checkpoints("runs", store=store)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not checkpoints.step(1, lambda directory: 1 / 0)
        gate.broken = True
        checkpoints.step(2, {"w": b"2"})
        checkpoints.wait()
        gate.broken = False
        checkpoints.step(3, {"w": b"3"})
        checkpoints.close()
    assert live(store) == [3]
    assert steps_of(checkpoints.failures) == [1, 2]


def test_the_error_of_the_training_is_the_one_that_is_raised(store: ama.Store, gate: Gate) -> None:
    def train(step: int, error: type[BaseException]) -> None:
        with ama.Checkpoints("runs", store=store) as checkpoints:
            checkpoints.step(step, {"w": b"w"})
            raise error

    gate.broken = True
    with pytest.warns(RuntimeWarning), pytest.raises(ZeroDivisionError) as caught:
        train(1, ZeroDivisionError)
    assert "the bucket is away" in "".join(caught.value.__notes__)
    gate.broken = False
    with pytest.raises(KeyboardInterrupt):
        train(2, KeyboardInterrupt)
    assert live(store) == [2]


# The best are kept


def train(store: ama.Store, losses: dict[int, Any], **more: Any) -> ama.Checkpoints:
    with ama.Checkpoints("runs", store=store, run="r", **more) as checkpoints:
        for step, loss in losses.items():
            metrics = {} if loss is None else {"loss": loss}
            checkpoints.step(step, {"w": b"%d" % step}, metrics)
            checkpoints.wait()
    return checkpoints


LOSSES = {1: 0.5, 2: 0.1, 3: 0.4, 4: 0.2, 5: 0.3}


@pytest.mark.parametrize(
    ("more", "losses", "kept", "best"),
    [
        ({"keep": 2, "best": "min:loss"}, LOSSES, [2, 4, 5], 2),
        ({"keep": 2, "best": "max:loss"}, LOSSES, [1, 3, 5], 1),
        ({"keep": 2}, LOSSES, [4, 5], None),
        ({"best": "min:loss"}, LOSSES, [1, 2, 3, 4, 5], 2),
        ({"keep": 1, "best": "min:loss"}, {1: 0.5, 2: math.nan, 3: math.inf}, [1, 3], 1),
        ({"keep": 1, "best": "max:loss"}, {1: math.nan, 2: 0.5, 3: math.nan}, [2, 3], 2),
        ({"keep": 1, "best": "min:loss"}, {1: 1, 2: 1, 3: 1}, [1, 3], 1),
        # Without the metric, the newest of such stay beside them: a note may come.
        ({"keep": 1, "best": "min:loss"}, {1: None, 2: 0.1, 3: None, 4: 0.2}, [2, 3, 4], 2),
        ({"keep": 1, "best": "min:loss"}, {1: "low", 2: True}, [2], None),
    ],
)
def test_which_stay(
    store: ama.Store, more: dict[str, Any], losses: dict[int, Any], kept: list[int], best: int
) -> None:
    checkpoints = train(store, losses, **more)
    assert live(store) == kept
    assert steps(checkpoints.published) == kept
    aliases = {move.alias: move.number for move in store.aliases("runs")}
    assert aliases.pop("r-latest") == len(losses)
    if best is None:
        assert aliases == {}
    else:
        assert aliases == {"r-best": best}
    assert {asset.status for asset in store.history("runs")} <= {"active", "deleted"}
    assert store.fsck().ok


def test_what_is_noted_later_counts(store: ama.Store) -> None:
    """An evaluation elsewhere says how good each is; the newest note is what counts."""
    checkpoints = train(store, dict.fromkeys(range(1, 7)), keep=2, best="max:accuracy")
    assert live(store) == [5, 6]
    checkpoints = train(store, dict.fromkeys(range(7, 11), 0.5), keep=4, best="max:accuracy")
    assert live(store) == [7, 8, 9, 10]
    by_step = {asset.metadata["step"]: asset.name for asset in store.assets("runs")}
    for step, accuracy in ((7, 0.1), (8, 0.9), (9, 0.5), (10, 0.2), (7, 0.7)):
        store.note(by_step[step], metadata={"accuracy": accuracy})
    again = ama.Checkpoints("runs", store=store, run="r", keep=2, best="max:accuracy")
    again.prune()
    assert live(store) == [7, 8, 10]
    assert store.resolve("runs@r-best").info.metadata["step"] == 8
    # A note wins over what the checkpoint says itself.
    store.note(by_step[8], metadata={"accuracy": math.nan})
    again.step(11, {"w": b"11"}, {"accuracy": 0.6})
    again.close()
    assert live(store) == [7, 11]
    assert store.resolve("runs@r-best").info.metadata["step"] == 7
    store.note("runs@r-latest", metadata={"accuracy": 0.8})
    again.prune()
    assert store.resolve("runs@r-best").info.metadata["step"] == 11
    assert checkpoints.failures == again.failures == ()


def test_what_others_use_stays(store: ama.Store) -> None:
    store.publish("runs", {"w": b"theirs"}, metadata={"run": "r", "step": -1})
    with ama.Checkpoints("runs", store=store, run="other") as other:
        other.step(-2, {"w": b"o"})
    with ama.Checkpoints("runs", store=store, run="r", keep=1) as checkpoints:
        for step in range(1, 7):
            checkpoints.step(step, {"w": b"%d" % step})
            checkpoints.wait()
            name = store.resolve("runs@r-latest").info.id
            if step == 2:
                store.move_alias("runs", "production", name)
            if step == 4:
                store.publish("reports", {"r": b"r"}, refs=name)
    assert live(store) == [-1, -2, 2, 4, 6]
    # Its alias went elsewhere: it is as any other of the run.
    store.move_alias("runs", "production", "runs@other-latest")
    ama.Checkpoints("runs", store=store, run="r", keep=1).prune()
    assert live(store) == [-1, -2, 4, 6]


def test_an_asset_that_was_given_the_alias_by_hand_is_not_the_run_s(store: ama.Store) -> None:
    store.publish("runs", {"w": b"theirs"}, metadata={"run": "x", "step": 99})
    checkpoints = ama.Checkpoints("runs", store=store, run="r", keep=1)
    checkpoints.step(1, {"w": b"1"})
    checkpoints.wait()
    store.move_alias("runs", "r-latest", "runs/1")
    again = ama.Checkpoints("runs", store=store, run="r", keep=1)
    assert steps(again.published) == [1]
    for step in (2, 3):
        again.step(step, {"w": b"%d" % step})
        again.wait()
    assert live(store) == [99, 3]


# After a crash


def test_a_run_goes_on(store: ama.Store, gate: Gate) -> None:
    train(store, {10: 0.3, 20: 0.1, 30: 0.2}, keep=2, best="min:loss")
    again = ama.Checkpoints("runs", store=store, run="r", every=10, keep=2, best="min:loss")
    assert steps(again.published) == [20, 30]
    assert not again.due(35)
    assert again.due(41)
    gate.reset()
    # The same steps once more, from the checkpoint that it went on from.
    again.step(30, {"w": b"30"}, {"loss": 0.2})
    again.wait()
    assert live(store) == [20, 30]
    assert not gate.bytes_written
    again.step(40, {"w": b"40"}, {"loss": 0.05})
    again.close()
    assert live(store) == [20, 40]
    assert steps(store.log("runs@r-latest")) == [40, 30, 20, 10]
    assert store.resolve("runs@r-best").info.metadata["step"] == 40
    fresh = ama.Checkpoints("runs", store=store)
    assert fresh.published == ()
    assert fresh.run != ama.Checkpoints("runs", store=store).run


def test_a_process_that_is_killed_leaves_whole_checkpoints(tmp_path: Path) -> None:
    script = (
        "import ama, os, sys\n"
        "checkpoints = ama.Checkpoints('runs', store='./store', run='r', keep=2)\n"
        "for step in range(1000):\n"
        "    checkpoints.step(step, {'w': bytes([step % 256]) * 2_000_000})\n"
        "    if len(checkpoints.published) > 1:\n"
        "        os._exit(9)\n"
        "    if step < 3:\n"
        "        checkpoints.wait()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 9
    store = ama.Store.open(tmp_path / "store")
    assert store.fsck().ok
    with ama.Checkpoints("runs", store=store, run="r", keep=1) as checkpoints:
        before = steps(checkpoints.published)
        assert before
        checkpoints.step(1000, {"w": b"w"})
    assert live(store) == [1000]


# What is refused


def test_names_that_differ_only_in_case_are_refused_at_once(store: ama.Store) -> None:
    published(ama.Checkpoints("runs", store=store, run="a"), 1)
    with pytest.raises(ama.InvalidInput, match="only in case"):
        ama.Checkpoints("runs", store=store, run="A")
    with pytest.raises(ama.InvalidInput, match="only in case"):
        ama.Checkpoints("Runs", store=store)


REFUSED: dict[str, tuple[Callable[[ama.Store], object], str]] = {
    "every": (lambda s: ama.Checkpoints("runs", store=s, every=0), "every is a whole number"),
    "keep": (lambda s: ama.Checkpoints("runs", store=s, keep=0), "keep is a whole number"),
    "best": (lambda s: ama.Checkpoints("runs", store=s, best="loss"), "names no metric"),
    "a direction": (lambda s: ama.Checkpoints("runs", store=s, best="least:x"), "names no metric"),
    "on_error": (lambda s: ama.Checkpoints("runs", store=s, on_error="x"), "on_error"),  # type: ignore[arg-type]
    "a run": (lambda s: ama.Checkpoints("runs", store=s, run="a/b"), "a/b-latest"),
    "a number as run": (lambda s: ama.Checkpoints("runs", store=s, run=7), "text"),  # type: ignore[arg-type]
    "a class": (lambda s: ama.Checkpoints("no/class", store=s), "class"),
    "metadata": (lambda s: ama.Checkpoints("runs", store=s, metadata={"step": 1}), "of its own"),
    "a ref": (lambda s: ama.Checkpoints("runs", store=s, refs="data/9"), "data"),
    "code": (lambda s: ama.Checkpoints("runs", store=s, code="no-such"), "no directory"),
    "a step": (lambda s: ama.Checkpoints("runs", store=s).step("1", {}), "whole number"),  # type: ignore[arg-type]
    "half a step": (lambda s: ama.Checkpoints("runs", store=s).step(1.5, {}), "whole number"),  # type: ignore[arg-type]
    "no step": (lambda s: ama.Checkpoints("runs", store=s).step(True, {}), "whole number"),
    "metrics": (lambda s: ama.Checkpoints("runs", store=s).step(1, {}, [1]), "metrics"),  # type: ignore[arg-type]
    "a metric": (lambda s: ama.Checkpoints("runs", store=s).step(1, {}, {"a": []}), "a"),
    "a taken metric": (
        lambda s: ama.Checkpoints("runs", store=s, metadata={"a": 1}).step(1, {}, {"a": 2}),
        "already",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_at_once(store: ama.Store, case: str) -> None:
    call, said = REFUSED[case]
    with pytest.raises((ama.InvalidInput, ama.NotFound), match=said):
        call(store)
    assert store.classes() == ()
