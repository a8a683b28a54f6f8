"""A small file that several processes change at once: nothing is lost, and damage is named."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ama.errors import Conflict, FormatError, IntegrityError, StorageError
from ama.system import fs
from ama.system.syscalls import System
from ama.wording.hints import words
from ama.worktree.generations import Generations
from test_fs import crashes


@pytest.fixture
def index(tmp_path: Path) -> Generations:
    return Generations(tmp_path, "index")


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def add_one(old: bytes | None) -> bytes:
    return b"%d" % (int(old or b"0") + 1)


def test_at_first_there_is_nothing(tmp_path: Path, index: Generations) -> None:
    assert index.read() is None
    assert index.stat() is None
    assert index.stat(3) is None
    assert Generations(tmp_path / "absent", "index").read() is None


def test_what_is_written_is_read(index: Generations) -> None:
    assert index.write(0, b"one") == 1
    assert index.write(1, b"") == 2
    assert index.read() == (2, b"")
    assert index.update(lambda old: (old or b"") + b"three") == b"three"
    assert index.read() == (3, b"three")


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payloads=st.lists(st.binary(max_size=100), min_size=1, max_size=4))
def test_any_payload_is_read_as_it_was_written(tmp_path: Path, payloads: list[bytes]) -> None:
    index = Generations(tmp_path, "any")
    for payload in payloads:
        found = index.read()
        generation = index.write(found[0] if found else 0, payload)
        assert index.read() == (generation, payload)


def test_only_who_has_seen_the_newest_may_replace_it(index: Generations) -> None:
    index.write(0, b"one")
    index.write(1, b"two")
    for seen in (0, 1, 3):
        with pytest.raises(Conflict, match="changed by somebody else"):
            index.write(seen, b"mine")
    assert index.read() == (2, b"two")


def test_the_newest_two_are_kept(tmp_path: Path, index: Generations) -> None:
    (tmp_path / "index.lock").write_bytes(b"")
    (tmp_path / "index.007").write_bytes(b"")
    (tmp_path / "HEAD.9").write_bytes(b"")
    for number in range(5):
        index.write(number, b"%d" % number)
    assert names(tmp_path) == ["HEAD.9", "index.007", "index.4", "index.5", "index.lock"]


def test_stat_is_of_the_file_that_was_read(tmp_path: Path, index: Generations) -> None:
    index.write(0, b"one")
    index.write(1, b"two")
    newest, before = index.stat(), index.stat(1)
    assert newest is not None
    assert before is not None
    assert newest.st_ino == (tmp_path / "index.2").stat().st_ino
    assert before.st_ino == (tmp_path / "index.1").stat().st_ino


def test_an_update_that_fails_changes_nothing(index: Generations) -> None:
    index.write(0, b"one")

    def failing(old: bytes | None) -> bytes:
        raise Conflict("of the caller's own")

    with pytest.raises(Conflict, match="of the caller's own"):
        index.update(failing)
    assert index.read() == (1, b"one")


def test_an_update_is_made_again_on_what_somebody_else_wrote(index: Generations) -> None:
    index.write(0, b"1")
    seen: list[bytes | None] = []

    def change(old: bytes | None) -> bytes:
        seen.append(old)
        if len(seen) == 1:
            index.update(add_one)  # somebody else is faster
        return add_one(old)

    assert index.update(change) == b"3"
    assert seen == [b"1", b"2"]


def test_an_update_gives_up_at_some_time(
    index: Generations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ama.worktree.generations._TRIES", 3)

    def hopeless(old: bytes | None) -> bytes:
        index.write(int(old or b"0"), add_one(old))
        return b"never"

    with pytest.raises(Conflict):
        index.update(hopeless)
    assert index.read() == (3, b"3")


def count_up(directory: str, times: int, barrier: Any) -> None:
    index = Generations(Path(directory), "index")
    barrier.wait()
    for _ in range(times):
        index.update(add_one)


def test_eight_processes_that_update_at_once_lose_nothing(
    tmp_path: Path, index: Generations
) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(8)
    processes = [
        spawn.Process(target=count_up, args=(str(tmp_path), 12, barrier)) for _ in range(8)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    found = index.read()
    assert found is not None
    assert found[1] == b"96"
    assert found[0] == 96  # each change is one generation: none was made twice, or for nothing
    assert len(names(tmp_path)) <= 3


# ------------------------------------------------------------------------------ slow writers


class Meanwhile(System):
    """Others are at work in the moment before, or right after, a writer's link."""

    def __init__(self, before: Callable[[], object], after: Callable[[], object]) -> None:
        self._before: Callable[[], object] | None = before
        self._after = after

    def link(self, source: str, target: str) -> None:
        before, self._before = self._before, None
        if before is not None:
            before()
        super().link(source, target)
        if before is not None:
            self._after()


def nothing() -> None:
    pass


def others(index: Generations, times: int) -> Callable[[], None]:
    def work() -> None:
        for _ in range(times):
            index.update(add_one)

    return work


@pytest.mark.parametrize("times", [1, 2, 3, 4, 70])
def test_a_writer_that_was_overtaken_is_refused(
    tmp_path: Path, index: Generations, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Also where its number was taken, and has been removed as too old, before it got there."""
    index.write(0, b"10")
    monkeypatch.setattr("ama.system.fs._os", Meanwhile(others(index, times), nothing))
    with pytest.raises(Conflict):
        index.write(1, b"late")
    assert index.read() == (1 + times, b"%d" % (10 + times))
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize("times", [1, 2, 3, 4, 60])
def test_a_writer_that_was_built_upon_knows_that_it_won(
    index: Generations, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Even where its own file is gone when it looks: else an update would be made twice."""
    index.write(0, b"10")
    monkeypatch.setattr("ama.system.fs._os", Meanwhile(nothing, others(index, times)))
    assert index.update(add_one) == b"11"
    assert index.read() == (2 + times, b"%d" % (11 + times))


def test_a_void_write_of_the_same_content_is_still_void(
    index: Generations, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.write(0, b"same")

    def same() -> None:
        for generation in range(1, 5):
            index.write(generation, b"same")

    monkeypatch.setattr("ama.system.fs._os", Meanwhile(same, nothing))
    with pytest.raises(Conflict):
        index.write(1, b"same")


# ------------------------------------------------------------------------------ crashes, damage


def test_a_crash_leaves_the_old_content_or_the_new(
    tmp_path: Path, index: Generations, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use(system: System) -> System:
        monkeypatch.setattr("ama.system.fs._os", system)
        return system

    def reset() -> None:
        for name in names(tmp_path):
            (tmp_path / name).unlink()
        for number in range(3):
            index.write(number, b"%d" % (number + 1))

    reset()
    outcomes = set()
    for where in crashes(lambda: index.update(add_one), use, reset):
        found = index.read()
        assert found in ((3, b"3"), (4, b"4")), where
        outcomes.add(found)
        assert index.update(add_one) == add_one(found[1]), where
        assert len([n for n in names(tmp_path) if not fs.is_temp(n)]) == 2, where
    assert len(outcomes) == 2


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "truncate":
        path.write_bytes(data[:-1])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "append":
        path.write_bytes(data + b"x")
    else:
        at = int(how)
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_any_damage_is_named_with_the_way_back(tmp_path: Path, index: Generations) -> None:
    index.write(0, b"before")
    index.write(1, b"payload")
    path = tmp_path / "index.2"
    whole = path.read_bytes()
    for how in ["truncate", "empty", "append", *map(str, range(len(whole)))]:
        damage(path, how)
        with pytest.raises((IntegrityError, FormatError)) as caught:
            index.read()
        assert str(path) in str(caught.value)
        if isinstance(caught.value, IntegrityError):
            assert words(caught.value.hints) is not None
            assert f"delete {path} to go back" in words(caught.value.hints)
        path.write_bytes(whole)
    assert index.read() == (2, b"payload")
    path.write_bytes(b"")
    path.unlink()
    assert index.read() == (1, b"before")


def test_every_truncation_is_noticed(tmp_path: Path, index: Generations) -> None:
    index.write(0, b"payload")
    path = tmp_path / "index.1"
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(IntegrityError, match="is damaged") as caught:
            index.read()
        assert "what it held is lost" in (words(caught.value.hints) or "")


def test_files_that_were_swapped_are_noticed(tmp_path: Path, index: Generations) -> None:
    head = Generations(tmp_path, "HEAD")
    for file in (index, head):
        file.write(0, b"one")
        file.write(1, b"two")
    for one, other in (("index.2", "HEAD.2"), ("index.2", "index.1")):
        swap(tmp_path / one, tmp_path / other)
        with pytest.raises(IntegrityError, match=r"index\.2 is damaged"):
            index.read()
        swap(tmp_path / one, tmp_path / other)
    assert index.read() == (2, b"two")


def swap(one: Path, other: Path) -> None:
    one_bytes, other_bytes = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_bytes)
    other.write_bytes(one_bytes)


def test_what_a_newer_version_wrote_is_not_called_damaged(
    tmp_path: Path, index: Generations
) -> None:
    (tmp_path / "index.1").write_bytes(b"ama index 2\nwhatever it may be")
    with pytest.raises(FormatError, match="newer version"):
        index.read()
    with pytest.raises(FormatError):
        index.update(add_one)


def test_a_damaged_file_is_not_built_upon(tmp_path: Path, index: Generations) -> None:
    index.write(0, b"1")
    damage(tmp_path / "index.1", "20")
    with pytest.raises(IntegrityError):
        index.update(add_one)
    assert names(tmp_path) == ["index.1"]


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        Generations(tmp_path / "absent", "index").write(0, b"x")


def test_the_layout_is_the_documented_one(tmp_path: Path, index: Generations) -> None:
    from ama.format.hashing import seal

    index.write(0, b"one")
    index.write(1, b"two")
    data = (tmp_path / "index.2").read_bytes()
    first = (tmp_path / "index.1").read_bytes()
    assert data[:12] == b"ama index 1\n"
    assert data[12:20] == (2).to_bytes(8, "big")
    assert data[20] == 2
    assert data[29:37] == first[21:29]  # the nonce of the one before
    assert data[37:-32] == b"two"
    assert data[-32:] == seal(data[:-32])
