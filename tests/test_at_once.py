"""Processes that bring files to one directory at once: one does it, the others wait."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import ama
import ama.system.fs
from ama import Conflict, Repo, Store
from ama.worktree import layout
from conftest import Ama

posix_only = pytest.mark.skipif(os.name == "nt", reason="kills, and flock")

RANKS = 8

CALL = """
import sys, time
import ama, ama.system.fs, ama.worktree.layout
where, ready, how = sys.argv[1:]
if how == "no locks":
    ama.system.fs._lock = lambda fd: True
    ama.worktree.layout.SILENCE_S = 2.0
store = ama.Store.open(where + "/store")
print("ready", flush=True)
sys.stdin.read()
result = store.download("models", where + "/copy", refs=how == "refs")
print("already" if result.already else "downloaded", result.files)
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with models/1 and models/2, which was made from data/1; and a worktree at 2."""
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "store"))
    data = Repo.init(tmp_path / "data", "data")
    (data.root / "table").write_bytes(b"rows")
    data.add(".")
    data.upload()
    repo = Repo.init(tmp_path / "work", "models")
    for number in (1, 2):
        for name in range(20):
            (repo.root / f"f{name}").write_bytes(f"{name} of {number}".encode() * 100)
        (repo.root / "large").write_bytes(os.urandom(8 << 20))
        if number == 2:
            repo.link("data/1")
        repo.add(".")
        repo.upload()
    return tmp_path


def download_at_once(world: Path, how: str) -> list[tuple[int, list[str], str]]:
    """Let processes begin at the same moment; return how each ended and what it printed."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", CALL, str(world), "", how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(RANKS)
    ]
    for rank in ranks:
        assert rank.stdout is not None
        assert rank.stdout.readline() == "ready\n"
    for rank in ranks:
        assert rank.stdin is not None
        rank.stdin.close()
        rank.stdin = None
    ended = [rank.communicate(timeout=60) for rank in ranks]
    return [
        (rank.returncode, out.split(), error)
        for rank, (out, error) in zip(ranks, ended, strict=True)
    ]


def check(world: Path, *, locks: bool = True) -> None:
    """Check that the copy is the asset, and that nothing is left to be done.

    Without locks, one that looks at what another removes may put its lock's file back: empty, and
    swept by a later command.
    """
    copy = Repo.open(world / "copy")
    assert copy.status().clean
    assert [file.path for file in copy.files()] == sorted(os.listdir(world / "work"))[1:]
    for file in copy.files():
        assert (copy.root / file.path).read_bytes() == (world / "work" / file.path).read_bytes()
    incoming = world / "copy" / ".ama" / "incoming"
    left = [path for path in incoming.glob("*/*") if locks or path.name != "lock"]
    assert left == []
    if locks:
        assert not incoming.exists() or not os.listdir(incoming)


@pytest.mark.parametrize("how", ["", "refs"])
def test_of_many_one_downloads_and_the_others_find_it_there(world: Path, how: str) -> None:
    ended = download_at_once(world, how)
    assert [(code, error) for code, _, error in ended] == [(0, "")] * RANKS
    assert sorted(said[0] for _, said, _ in ended) == ["already"] * (RANKS - 1) + ["downloaded"]
    assert {said[1] for _, said, _ in ended} == {"21"}
    check(world)
    if how:
        assert (world / "data-1" / "table").read_bytes() == b"rows"


@posix_only
def test_where_there_are_no_locks_it_is_right_too(world: Path) -> None:
    ended = download_at_once(world, "no locks")
    for code, _, error in ended:
        assert code == 0, error
    check(world, locks=False)


@posix_only
def test_another_takes_over_from_one_that_is_killed(world: Path) -> None:
    copy = world / "copy"
    command = [sys.executable, "-m", "ama", "download", "models", "-o", str(copy), "--json"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not list(copy.glob(".ama/incoming/*/*-*")):
        assert first.poll() is None
        time.sleep(0.001)
    os.kill(first.pid, signal.SIGSTOP)
    others = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(RANKS - 1)]
    time.sleep(1)
    assert [other.poll() for other in others] == [None] * len(others), "they wait"
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    printed = [other.communicate(timeout=60)[0] for other in others]
    assert [other.returncode for other in others] == [0] * len(others)
    assert sum(not json.loads(text)["already"] for text in printed) == 1
    check(world)


def test_one_that_shows_no_sign_of_life_is_not_waited_for(
    world: Path, monkeypatch: pytest.MonkeyPatch, run: Ama
) -> None:
    store = Store.open(world / "store")
    store.download("models/1", world / "copy")
    held = ama.system.fs.hold(world / "copy" / ".ama" / "turn")
    assert held is not None
    monkeypatch.setattr(layout, "SILENCE_S", 0.5)
    with pytest.raises(Conflict, match="no sign of life"):
        store.download("models/1", world / "copy")
    ama.system.fs.let_go(held)
    assert store.download("models/1", world / "copy").already


class During:
    """Progress that does something once, when content is fetched."""

    def __init__(self, do: Callable[[], object]) -> None:
        self.do: Callable[[], object] | None = do
        self.tasks: list[str] = []

    def start(self, task: str, total_bytes: int | None) -> None:
        self.tasks.append(task)
        do, self.do = self.do, None
        if do is not None:
            do()

    def advance(self, count: int) -> None: ...

    def skip(self, count: int) -> None: ...

    def finish(self) -> None: ...


@pytest.mark.parametrize(
    ("name", "include"), [("models/2", ["f1"]), ("models/1", []), ("data/1", [])]
)
def test_what_is_another_download_is_refused_at_once(
    world: Path, name: str, include: Sequence[str]
) -> None:
    def other() -> None:
        with pytest.raises(ama.AmaError) as caught:
            Store.open(world / "store").download(name, world / "copy", include=include)
        refused.append(caught.value.code)

    refused: list[str] = []
    Store.open(world / "store", progress=During(other)).download("models/2", world / "copy")
    assert refused in (["conflict"], ["already-exists"])
    check(world)


def test_who_waits_is_told_so(world: Path) -> None:
    telling = During(lambda: None)
    telling.do = None
    waiting = threading.Thread(
        target=lambda: Store.open(world / "store", progress=telling).download(
            "models/2", world / "copy"
        )
    )

    def other() -> None:
        waiting.start()
        while not telling.tasks:
            time.sleep(0.01)

    Store.open(world / "store", progress=During(other)).download("models/2", world / "copy")
    waiting.join()
    assert telling.tasks[0].startswith("Waiting for another process")
    check(world)


@pytest.mark.parametrize("words", [["switch", "models/1"], ["pull"], ["restore", "."]])
def test_what_many_do_to_one_worktree_is_done_once(
    world: Path, words: Sequence[str], run: Ama
) -> None:
    repo = Repo.open(world / "work")
    expected = {file.path: file.id for file in repo.files("models/2")}
    if words[0] == "switch":
        expected = {file.path: file.id for file in repo.files("models/1")}
    elif words[0] == "pull":
        repo.switch("models/1")
    else:
        for name in expected:
            (repo.root / name).unlink()
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "ama", *words],
            cwd=repo.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(RANKS)
    ]
    ended = [rank.communicate(timeout=60) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * RANKS, ended
    assert repo.status().clean
    assert {file.path: file.id for file in Repo.open(repo.root).files()} == expected


def test_many_start_one_asset_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ama", "init", "models"]
    place = tmp_path / "new"
    place.mkdir()
    ranks = [
        subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(RANKS)
    ]
    ended = [rank.communicate(timeout=60) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * RANKS, ended
    assert Repo.open(place).class_name == "models"
