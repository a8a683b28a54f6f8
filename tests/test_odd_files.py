"""Something else stands where ama wrote a file: it is never waited for, and the error names it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ama import Repo
from ama.cli.main import run as run_command
from ama.errors import StorageError
from ama.format.hashing import hash_file
from ama.system.disk import open_file, read_file, read_steady
from ama.system.fs import hold, write_private

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")

SECONDS = 20


@contextmanager
def in_time() -> Iterator[None]:
    """A system call that waits for ever is broken off."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"nothing has happened for {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def sock(path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # the address of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def directory(path: Path) -> None:
    path.mkdir()


KINDS = {"pipe": pipe, "socket": sock, "directory": directory}


@pytest.fixture
def place(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A worktree, its store, and this machine's cache and config, all of which have been used."""
    for name in ("config", "cache", "data"):
        monkeypatch.setenv(f"AMA_{name.upper()}_DIR", str(tmp_path / name))
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "store"))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_text('[user]\nname = "Ann"\n')
    work = tmp_path / "work"
    work.mkdir()
    (work / "params.json").write_text('{"lr": 0.1}')
    (work / "model.bin").write_bytes(bytes(range(256)) * 8000)
    repo = Repo.init(work, "models")
    repo.add(["."])
    repo.upload()
    (work / "params.json").write_text('{"lr": 0.2}')
    repo.add(["."], copy=True)
    for name in ("publish", "checkout", "init"):  # what is there only while a command runs
        (work / ".ama" / "pending").mkdir(exist_ok=True)
        (work / ".ama" / "pending" / f"{name}.absent").touch()
    (work / ".ama" / "config.toml").write_text("[add]\nportable_names = true\n")
    monkeypatch.chdir(work)
    with in_time():
        assert run_command(["find", "--param", "lr=0.1"]) == 0
    return tmp_path


COMMANDS = (
    ["status"],
    ["list"],
    ["show", "HEAD"],
    ["find", "--param", "lr=0.1"],
    ["config", "list"],
    ["fsck"],
    ["diff"],
    ["add", "."],
    ["download", "models", "-o", "../copy"],
    ["upload", "-m", "next"],
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", ["work/.ama", "store", "cache", "config"])
def test_nothing_waits_for_what_is_no_file(
    place: Path, capfd: pytest.CaptureFixture[str], kind: str, part: str
) -> None:
    start = place.with_name(f"{place.name}-start")
    shutil.copytree(place, start, symlinks=True)
    files = sorted(path.relative_to(place) for path in (place / part).rglob("*") if path.is_file())
    assert files
    failed = 0
    for file in files:
        target = place / str(file).removesuffix(".absent")
        target.unlink(missing_ok=True)
        KINDS[kind](target)
        for words in COMMANDS:
            with in_time():
                code = run_command([*words, "--json"])
            out, err = capfd.readouterr()
            assert code in (0, 1, 3, 4, 5, 6, 7, 8), (file, words, out, err)
            assert "internal" not in out + err, (file, words, out, err)
            if code == 8:
                said = json.loads(out)["error"]["message"]
                assert target.name in said or "store" in said, (file, words, said)
                failed += 1
        for name in ("work", "store", "cache", "config", "copy"):
            shutil.rmtree(place / name, ignore_errors=True)
            if (start / name).exists():
                shutil.copytree(start / name, place / name, symlinks=True)
        os.chdir(place / "work")
    # The cache is only remembered, and a name in a store that is a directory holds nothing.
    passed_over = part == "cache" or (part, kind) == ("store", "directory")
    assert (failed > 0) != passed_over


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_comes_in_the_place_of_a_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    KINDS[kind](path)
    calls: list[Any] = [open_file, read_file, read_steady, hold, lambda p: write_private(p, b"x")]
    for call in calls:
        with in_time(), pytest.raises(StorageError, match="file"):
            call(path)


@pytest.mark.parametrize("size", [0, 1, 5000, 300_000])
def test_a_file_is_read_at_once_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    assert read_steady(path) == path.read_bytes()
    real = os.read

    def grown(fd: int, length: int) -> bytes:
        with path.open("ab") as file:
            file.write(b"more")
        return real(fd, length)

    def piecewise(fd: int, length: int) -> bytes:
        return real(fd, min(length, 1000))

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", piecewise)
        assert read_steady(path) == path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "read", grown)
        assert read_steady(path) is None
    with pytest.raises(StorageError, match="directory"):
        read_steady(tmp_path)


def test_a_pipe_that_replaces_a_file_is_not_hashed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    os.mkfifo(path)
    with in_time(), pytest.raises(Exception, match="no regular file"):
        hash_file(path)
