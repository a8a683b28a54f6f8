"""Commands whose streams are closed, full or no longer read: what was asked for is done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from ama import Store
from conftest import Ama

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")

CLOSED = {
    "stdin": (0,),
    "stdout": (1,),
    "stderr": (2,),
    "stdin and stdout": (0, 1),
    "stdout and stderr": (1, 2),
    "all": (0, 1, 2),
}
REDIRECTIONS = {0: "<&-", 1: ">&-", 2: "2>&-"}

# Says at the end which of its files that it wrote had the number of a standard stream.
WATCHED = """
import os, sys
real, took = os.open, []
def watching(path, flags, *rest, **named):
    fd = real(path, flags, *rest, **named)
    if fd <= 2 and path != os.devnull:
        took.append((fd, path))
    return fd
os.open = watching
from ama.cli import main
try:
    main()
finally:
    with open(os.environ["TOOK"], "w") as file:
        file.write(repr(took))
"""


@pytest.fixture
def work(tmp_path: Path, run: Ama) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    (work / "model.bin").write_bytes(bytes(range(256)) * 8000)
    (work / "notes.txt").write_text("first")
    run.ok("init", "models", cwd=work)
    run.ok("remote", "add", "team", str(tmp_path / "store"), cwd=work)
    return work


def by_shell(words: Iterable[str], closed: Iterable[int], cwd: Path) -> tuple[int, str, str]:
    """Run a command as a script would, with some of its streams closed."""
    line = " ".join(('"$@"', *(REDIRECTIONS[fd] for fd in closed)))
    command = ["sh", "-c", line, "sh", sys.executable, "-m", "ama", *words]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def by_fork(words: Iterable[str], closed: Iterable[int], cwd: Path) -> tuple[int, str, str]:
    """Run a command as a daemon would; check that no file gets one of these descriptors."""
    took = cwd.parent / "took"

    def close() -> None:
        for fd in closed:
            os.close(fd)

    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *words],
        cwd=cwd,
        env={**os.environ, "TOOK": str(took)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=close,
    )
    assert took.read_text() == "[]"
    return done.returncode, done.stdout, done.stderr


Way = Callable[[Iterable[str], Iterable[int], Path], "tuple[int, str, str]"]


@pytest.mark.parametrize("way", [by_shell, by_fork])
@pytest.mark.parametrize("closed", CLOSED.values(), ids=CLOSED)
def test_commands_do_their_work_with_streams_closed(
    tmp_path: Path, work: Path, run: Ama, way: Way, closed: tuple[int, ...]
) -> None:
    missions = {
        ("add", "."): 0,
        ("status",): 0,
        ("status", "--json"): 0,
        ("upload", "-m", "first"): 0,
        ("upload",): 0,
        ("list",): 0,
        ("show", "--json"): 0,
        ("cat", "notes.txt"): 0,
        ("download", "models/1", "-o", "../copy"): 0,
        ("fsck",): 0,
        ("--help",): 0,
        ("upload", "--help"): 0,
        ("cat", "none.txt"): 3,
        ("list", "--frobnicate"): 2,
        ("frobnicate",): 2,
        ("list", "--remote", "none"): 3,
    }
    for words, expected in missions.items():
        code, stdout, stderr = way(words, closed, work)
        assert code == expected, (words, code, stdout, stderr)
        assert "Traceback" not in stderr, (words, stderr)
        assert "Error" not in stderr, (words, stderr)
        assert (1 in closed) <= (stdout == "")
        assert (2 in closed) <= (stderr == "")
        if expected and 2 not in closed:
            assert stderr.startswith("error: "), (words, stderr)
    store = Store.open(tmp_path / "store")
    asset = store.resolve("models/1")
    assert asset.info.message == "first"
    assert asset.read("notes.txt") == b"first"
    assert (tmp_path / "copy" / "model.bin").read_bytes() == (work / "model.bin").read_bytes()
    assert len(store.assets("models")) == 1
    assert not store.fsck().problems
    run.ok("fsck", cwd=work)


def test_what_is_printed_is_the_same_where_another_stream_is_closed(work: Path) -> None:
    whole = by_shell(["status"], (), work)
    assert whole[1]
    assert by_shell(["status"], (0, 2), work) == whole
    assert by_shell(["frobnicate"], (0, 1), work) == by_shell(["frobnicate"], (), work)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no device that is full")
@pytest.mark.parametrize("words", [["status"], ["status", "--json"], ["list"], ["--help"]])
def test_output_that_cannot_be_written_is_an_error(work: Path, run: Ama, words: list[str]) -> None:
    run.ok("add", ".", cwd=work)
    run.ok("upload", cwd=work)
    command = [sys.executable, "-m", "ama", *words]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command, cwd=work, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 8
    assert done.stderr == "error: can't write the output: No space left on device\n"


def test_an_upload_whose_output_cannot_be_written_is_published(
    tmp_path: Path, work: Path, run: Ama
) -> None:
    run.ok("add", ".", cwd=work)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ama", "upload"],
            cwd=work,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert (done.returncode, "Traceback" in done.stderr) == (8, False), done.stderr
    assert len(Store.open(tmp_path / "store").assets("models")) == 1


def test_a_reader_that_has_seen_enough_ends_a_command_quietly(work: Path, run: Ama) -> None:
    for number in range(2000):
        (work / f"file-{number:04}-with-a-name-that-fills-the-pipe-soon").touch()
    run.ok("add", ".", cwd=work)
    script = '{ "$@"; echo "$?" >&3; } | head -1'
    code_file = work.parent / "code"
    for words, expected in (["status", "--json"], "141"), (["add", "."], "0"):
        command = ["sh", "-c", f"({script}) 3>'{code_file}'", "sh", sys.executable, "-m", "ama"]
        done = subprocess.run([*command, *words], cwd=work, capture_output=True, text=True)
        assert done.stderr == ""
        assert len(done.stdout.splitlines()) == 1
        assert code_file.read_text().strip() == expected, words
