"""A call of the system that fails on the way of a reader is an error of the storage, which names
the file: whatever it is, and wherever it comes from.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ama import Repo, fs
from ama.cli.running import failure_of
from ama.cli.running import run as run_command
from ama.errors import StorageError

READS = ("open", "fstat", "stat", "lstat", "listdir", "readlink", "pread", "close")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("config", "cache", "data"):
        monkeypatch.setenv(f"AMA_{name.upper()}_DIR", str(tmp_path / name))
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "store"))
    work = tmp_path / "work"
    work.mkdir()
    (work / "model.bin").write_bytes(bytes(range(256)) * 8000)
    (work / "notes.txt").write_text("first")
    (work / "link").symlink_to("notes.txt")
    repo = Repo.init(work, "models")
    repo.add(["."])
    repo.upload()
    monkeypatch.chdir(work)
    return work


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENOMEM])
@pytest.mark.parametrize("call", READS)
def test_a_call_that_fails_is_an_error_of_the_storage(
    work: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
) -> None:
    real: Any = getattr(os, call)
    (work / "notes.txt").write_text("changed")
    for words in (["status"], ["list"], ["show", "HEAD"], ["diff"], ["fsck"]):
        run_command(words)  # what is imported for it is imported by now
        for at in range(0, 60, 4):
            made = 0

            def failing(*args: Any, at: int = at, **named: Any) -> Any:
                nonlocal made
                if not isinstance(args[0], int) and str(work.parent) not in os.fsdecode(args[0]):
                    return real(*args, **named)
                made += 1
                if made == at + 1:
                    if call == "close":
                        real(*args)
                    name = args[0] if isinstance(args[0], str) else None
                    raise OSError(number, os.strerror(number), name)
                return real(*args, **named)

            capsys.readouterr()
            with monkeypatch.context() as patch:
                patch.setattr(os, call, failing)
                code = run_command([*words, "--json"])
            said = capsys.readouterr().out
            assert code in (0, 1, 3, 5, 6, 8), (words, at, said)
            assert "internal" not in said, (words, at, said)
            if code == 8:
                assert json.loads(said)["error"]["code"] == "storage"
            if made <= at:
                break


def test_too_few_descriptors_are_said_to_be_too_few(work: Path) -> None:
    code = (
        "import os, sys; from ama.cli.running import run\n"
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "held = []\n"
        "try:\n"
        "    while True: held.append(os.open('/dev/null', os.O_RDONLY))\n"
        "except OSError: pass\n"
        "for fd in held[:int(sys.argv[1])]: os.close(fd)\n"
        "sys.exit(run(sys.argv[2:]))"
    )
    for left in range(6):
        for words in (["status"], ["list"], ["add", "."], ["diff"]):
            done = subprocess.run(
                [sys.executable, "-c", code, str(left), *words],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode in (0, 1, 8), (left, words, done.stdout, done.stderr)
            assert "internal" not in done.stderr, (left, words, done.stderr)


def test_what_no_module_explains_is_explained_at_last() -> None:
    error = OSError(errno.EIO, "Input/output error", "/srv/a\n")
    failure = failure_of(error)
    assert (failure.code, failure.exit_code) == ("storage", StorageError.exit_code)
    assert failure.message == "the disk of /srv/a\\n reports an error"
    assert failure_of(OSError(errno.EIO, "x")).message == "the disk of a file reports an error"
    assert failure_of(RuntimeError("can't start new thread")).exit_code == 8
    assert failure_of(MemoryError()).exit_code == 8
    said = "/x/_z.so: cannot open shared object file: Too many open files"
    assert failure_of(ImportError(said, path="/x/_z.so")).message.endswith("can't open /x/_z.so")
    assert failure_of(RuntimeError("else")).exit_code == 70


def test_a_close_that_fails_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.close

    def failing(fd: int) -> None:
        real(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = tmp_path / "file"
    path.touch()
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", failing)
        for call in (fs.sync_directory, lambda p: fs.write_new(p / "x", b"1")):
            with pytest.raises(StorageError, match=tmp_path.name):
                call(tmp_path)
