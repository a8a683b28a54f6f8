"""A call of the system that fails on the way of a reader is an error of the storage, which names
the file: whatever it is, and wherever it comes from.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from ama import Repo, Store
from ama.cli.main import failure_of
from ama.cli.main import run as run_command
from ama.contents.hdf5_process import read_hdf5
from ama.errors import StorageError
from ama.results import NoCode
from ama.storage.check import race
from ama.storage.memory import MemoryStorage
from ama.system import disk, fs
from ama.wording.hints import words as words_of

READS = ("open", "fstat", "stat", "lstat", "listdir", "scandir", "readlink", "pread", "close")


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
                    name = None if isinstance(args[0], int) else os.fsdecode(args[0])
                    raise OSError(number, os.strerror(number), name)
                return real(*args, **named)

            capsys.readouterr()
            with monkeypatch.context() as patch:
                patch.setattr(os, call, failing)
                code = run_command([*words, "--json"])
            said = capsys.readouterr().out
            assert code in (0, 1, 3, 5, 6, 8), (words, at, said)
            assert "internal" not in said, (words, at, said)
            assert "of a file" not in said, (words, at, said)
            if code == 8:
                assert json.loads(said)["error"]["code"] == "storage"
            if made <= at:
                break


def test_too_few_descriptors_are_said_to_be_too_few(work: Path) -> None:
    code = (
        "import os, sys; from ama.cli.main import run\n"
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


WRITES = ("write", "fsync", "replace", "link", "mkdir", "unlink", "rmdir", "symlink", "open")


@pytest.mark.parametrize("call", WRITES)
def test_a_change_that_fails_is_an_error_of_the_storage(
    work: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    call: str,
) -> None:
    clean = tmp_path_factory.mktemp("clean") / "all"
    real: Any = getattr(os, call)
    (work / "notes.txt").write_text("second")
    Repo.open(work).upload()
    shutil.copytree(work.parent, clean, symlinks=True)
    for words in (
        ["add", "."],
        ["commit", "-m", "x"],
        ["upload", "-m", "x"],
        ["download", "models", "-o", "../copy"],
        ["switch", "models/1", "--force"],
        ["rm", "link", "--force"],
    ):
        for at in (None, *range(0, 40, 3)):
            shutil.rmtree(work.parent)
            shutil.copytree(clean, work.parent, symlinks=True)
            monkeypatch.chdir(work)
            (work / "notes.txt").write_text("third")
            if words[0] in ("commit", "upload"):
                Repo.open(work).add(["."])
            made = 0

            def failing(*args: Any, at: int | None = at, **named: Any) -> Any:
                nonlocal made
                made += 1
                if at is not None and made == at + 1:
                    name = None if isinstance(args[0], int) else os.fsdecode(args[0])
                    raise OSError(errno.EIO, os.strerror(errno.EIO), name)
                return real(*args, **named)

            capsys.readouterr()
            with monkeypatch.context() as patch:
                patch.setattr(os, call, failing)
                code = run_command([*words, "--json"])
            said = capsys.readouterr().out
            assert code in (0, 8), (words, at, said)
            assert "of a file" not in said, (words, at, said)
            if at is not None and made <= at:
                break
        assert not Store.open(work.parent / "store").fsck().problems


STARTS = threading.Thread.start


@pytest.mark.parametrize("most", range(4))
def test_threads_that_cannot_be_started_are_an_error_of_the_storage(
    work: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """What the system says when RLIMIT_NPROC, or a container's limit of tasks, is reached."""

    def start(thread: threading.Thread) -> None:
        nonlocal left
        if left == 0:
            raise RuntimeError("can't start new thread")
        left -= 1
        STARTS(thread)

    for number in range(300):
        (work / f"file-{number}").write_text(str(number))
    (work / "model.bin").write_bytes(bytes(range(255)) * 9000)
    repo = Repo.open(work)
    before = threading.active_count()
    said: list[str] = []
    for does in (
        lambda: repo.add(["."]),
        lambda: repo.upload(),
        lambda: Store.open(work.parent / "store").download("models", work.parent / "copy"),
        lambda: race(MemoryStorage("raced"), rounds=1),
    ):
        left = most
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            try:
                does()
            except StorageError as error:
                said.append(f"{error}: {words_of(error.hints)}")
        assert threading.active_count() == before
        does()  # nothing is held that a second try needs
    assert said
    assert {each.partition(" (")[0] for each in said} == {
        "the system lets ama start no more threads: raise the limit"
    }
    assert not Store.open(work.parent / "store").fsck().problems


@pytest.mark.skipif(sys.platform != "linux", reason="counts tasks of a user as Linux does")
@pytest.mark.skipif(sys.platform != "win32" and os.geteuid() != 0, reason="becomes another user")
def test_a_limit_of_tasks_is_said_to_be_one(work: Path) -> None:
    """With the real limit, of a user who has no other tasks."""
    import resource

    for above in (work.parent, *work.parent.parents):
        if above.stat().st_uid == 0 and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o711)
    for number in range(300):
        (work / f"file-{number}").write_text(str(number))
    run_command(["status", "-q"])
    Repo.open(work).add(["."], copy=True)  # what is imported for it is imported by now
    for path in [work.parent, *work.parent.rglob("*")]:
        if not path.is_symlink():
            os.chown(path, 4718, 4718)
    (work / "model.bin").write_bytes(bytes(range(255)) * 9000)
    err = work.parent / "err"
    err.touch()
    err.chmod(0o666)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork in which threads ran
        child = os.fork()
    if child == 0:
        code = 99
        try:
            os.dup2(os.open(err, os.O_WRONLY), 2)
            sys.stderr = os.fdopen(2, "w")
            resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
            os.setgroups([])
            os.setgid(4718)
            os.setuid(4718)
            code = run_command(["add", "--copy", "."])
            sys.stderr.flush()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert err.read_text().startswith("error: the system lets ama start no more threads\nhint: ")
    assert os.waitstatus_to_exitcode(status) == 8


def test_a_process_that_cannot_be_started_is_an_error_that_names_it(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(work.parent / "a.h5", "w") as file:
        file["weights"] = [1.0]
    data = (work.parent / "a.h5").read_bytes()

    def failing(*args: Any, **named: Any) -> Any:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), args[0][0])

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", failing)
        with pytest.raises(StorageError, match=re.escape(sys.executable)) as raised:
            read_hdf5([data], None)
        assert raised.value.retryable
        # What git says is but a remark: the work goes on.
        (work / "notes.txt").write_text("second")
        Repo.open(work).add(["."])
        done = Repo.open(work).upload()
        assert done.no_code == NoCode("no_answer", str(work))


def test_no_directory_for_temporary_files_is_said_to_be_none(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    h5py = pytest.importorskip("h5py")
    for value in (1.0, 2.0):
        with h5py.File(work / "a.h5", "w") as file:
            file["weights"] = [value]
        Repo.open(work).add(["."])
        Repo.open(work).upload()

    def unusable(*args: Any, **named: Any) -> Any:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "_get_default_tempdir", unusable)
        patch.setattr(tempfile, "tempdir", None)
        code = run_command(["diff", "HEAD~1", "HEAD", "--", "a.h5"])
        (work / "notes.txt").write_text("third")
        Repo.open(work).add(["."])
        done = Repo.open(work).upload()
    said = capsys.readouterr()
    assert (code, said.err.splitlines()) == (
        8,
        ["error: no directory for temporary files can be written to", "hint: set TMPDIR to one"],
    )
    assert done.no_code == NoCode("no_answer", str(work))


def test_what_may_not_be_looked_at_is_no_worktree(work: Path) -> None:
    (work / "loop").symlink_to("loop")
    (work / "file").touch()
    for path in ("loop", "file", "none", "file/below", "n" * 300, "loop/below"):
        assert not disk.is_directory(work / path), path
    assert disk.is_directory(work)
