"""What every test gets: an empty home with nothing configured, and the real `ama` command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from forging import Forge

PROJECT = Path(__file__).parent.parent
SOURCE = PROJECT / "src"
TRAINING_RUNS = Path(__file__).parent / "data" / "training_runs"

settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended, and what it printed."""

    args: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Both streams, for assertions that don't care which one."""
        return self.stdout + self.stderr

    def json(self) -> Any:
        """Stdout, which must be one JSON document and nothing else."""
        return json.loads(self.stdout)


class Ama:
    """Runs the real `ama` command in a process of its own.

    `run("add", ".", cwd=...)` returns a Result whatever the exit code; `run.ok(...)` fails the test
    where it isn't 0.
    """

    def __call__(
        self,
        *args: str | os.PathLike[str],
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: float = 60,
    ) -> Result:
        words = tuple(os.fspath(arg) for arg in args)
        done = subprocess.run(
            [sys.executable, "-m", "ama", *words],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=timeout,
            check=False,
        )
        return Result(words, done.returncode, done.stdout, done.stderr)

    def ok(
        self,
        *args: str | os.PathLike[str],
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: float = 60,
    ) -> Result:
        result = self(*args, cwd=cwd, env=env, stdin=stdin, timeout=timeout)
        assert result.code == 0, (
            f"ama {' '.join(result.args)} ended with {result.code}\n{result.output}"
        )
        return result


@pytest.fixture(autouse=True)
def home(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty home of this test's own; the working directory is tmp_path.

    It lies beside tmp_path, which a test may use as a worktree.
    """
    directory = tmp_path_factory.mktemp("home")
    isolate(directory, monkeypatch)
    monkeypatch.chdir(tmp_path)
    return directory


def isolate(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `home` the user's home, with no configuration of ama, git or the terminal."""
    for name in list(os.environ):
        if name.startswith(("AMA_", "AWS_", "FSSPEC_", "GIT_", "XDG_", "_TYPER_", "_AMA_")):
            monkeypatch.delenv(name)
    for name in ("EMAIL", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    # What few users have: output that is never held back, and sources compiled at each command.
    for name in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.delenv(name, raising=False)
    values = {
        "HOME": home,
        "USERPROFILE": home,
        "APPDATA": home / "AppData" / "Roaming",
        "LOCALAPPDATA": home / "AppData" / "Local",
        "XDG_CONFIG_HOME": home / ".config",
        "XDG_DATA_HOME": home / ".local" / "share",
        "XDG_CACHE_HOME": home / ".cache",
        "XDG_STATE_HOME": home / ".local" / "state",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CEILING_DIRECTORIES": home.parent,
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "TERM": "dumb",
        # Commands find the source that is tested, and never a module that lies in their directory.
        "PYTHONPATH": SOURCE,
        "PYTHONSAFEPATH": "1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))


@pytest.fixture
def run() -> Ama:
    """The real `ama` command: `run("status", cwd=...)`, or `run.ok(...)` where it must succeed."""
    return Ama()


@pytest.fixture
def ama_on_path(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts an `ama` command first on PATH, for tests that run shell scripts; its directory."""
    directory = tmp_path_factory.mktemp("bin")
    command = directory / "ama"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ama "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)
    return directory


@pytest.fixture
def no_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no other worktree were on this machine: all content comes from the store."""
    monkeypatch.setattr("ama.worktree.neighbours._noted", lambda *_: iter(()))


@pytest.fixture
def training_runs(tmp_path: Path) -> Path:
    """A copy of the three real training runs: `base`, `finetuned` and `wide` below it."""
    directory = tmp_path / "training_runs"
    shutil.copytree(TRAINING_RUNS, directory)
    return directory


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Forge:
    """A store to publish forged assets to, which is the default remote."""
    forged = Forge(tmp_path / "store")
    monkeypatch.setenv("AMA_REMOTE", str(forged.directory))
    return forged


@pytest.fixture
def common_path() -> Iterator[Path]:
    """A directory that every user may enter: pytest closes those above its own to all others."""
    place = Path(tempfile.mkdtemp(prefix="ama-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place, ignore_errors=True)
