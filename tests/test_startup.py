"""Starting up stays light: what a command doesn't need is not imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Ama

# Slow to import, and needed by few commands or only at a certain moment of them.
HEAVY = {
    *("adlfs", "aiohttp", "gcsfs", "s3fs", "sshfs", "fsspec"),
    *("asyncio", "concurrent.futures.process", "multiprocessing"),
    *("http", "http.client", "socket", "ssl", "urllib.request"),
    *("pathspec", "platformdirs", "pydantic", "pygments", "rich", "sqlite3", "tomlkit"),
    *("jinja2", "starlette", "uvicorn"),
    *("email", "h5py", "numpy", "pyfastcdc", "unittest", "xml"),
}
# Of what `import ama` may bring with it beyond what a bare interpreter has, nothing but itself.
HEAVY_FOR_IMPORT = {
    *("blake3", "click", "msgpack", "typer", "zstandard"),
    *("ctypes", "dataclasses", "inspect", "json", "logging", "shutil", "subprocess", "tempfile"),
}

RUN_AND_REPORT = """
import json, runpy, sys
report, sys.argv = sys.argv[1], sys.argv[1:]
try:
    runpy.run_module("ama", run_name="__main__", alter_sys=True)
except SystemExit as end:
    code = end.code
else:
    code = 0
loaded = sorted(sys.modules)
with open(report, "w") as file:
    json.dump([code or 0, loaded], file)
"""


def modules_after_command(directory: Path, *args: str) -> set[str]:
    """What a fresh interpreter has imported at the end of an `ama` command."""
    report = directory.parent / "loaded.json"
    done = subprocess.run(
        [sys.executable, "-c", RUN_AND_REPORT, str(report), *args],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    code, loaded = json.loads(report.read_text(encoding="utf-8"))
    assert code == 0, done.stdout + done.stderr
    return set(loaded)


@pytest.fixture
def worktree(training_runs: Path, run: Ama) -> Path:
    """A small worktree with one upload behind it and nothing changed."""
    directory = training_runs / "base"
    run.ok("init", "sequence_models", cwd=directory)
    run.ok("add", ".", cwd=directory)
    run.ok("upload", cwd=directory)
    return directory


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["add", "--help"]], ids=" ".join)
def test_help_and_version_are_light(tmp_path: Path, args: list[str]) -> None:
    directory = tmp_path / "empty"
    directory.mkdir()
    loaded = modules_after_command(directory, *args)
    assert sorted(loaded & HEAVY) == []
    assert sorted(loaded & {"blake3", "msgpack", "zstandard", "tomllib"}) == []


@pytest.mark.parametrize(
    "args",
    [["status"], ["status", "--json"], ["set", "--alias", "best"], ["log"], ["add", "meta.yml"]],
    ids=" ".join,
)
def test_a_command_in_a_worktree_is_light(worktree: Path, args: list[str]) -> None:
    # platformdirs is needed for the default store's place, where no remote is configured.
    allowed = {"platformdirs"}
    assert sorted(modules_after_command(worktree, *args) & HEAVY - allowed) == []


def test_importing_the_package_imports_next_to_nothing() -> None:
    script = (
        "import sys; before = set(sys.modules); import ama; "
        "print(' '.join(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stdout.split())
    assert "ama" in loaded
    assert sorted(loaded & (HEAVY | HEAVY_FOR_IMPORT)) == []
    assert len(loaded) < 50, sorted(loaded)  # `typing` and what it needs


def test_what_airflow_asks_at_each_start_is_light() -> None:
    script = (
        "import sys; before = set(sys.modules)\n"
        "from ama.integrations.airflow.provider import get_provider_info\n"
        "get_provider_info(); print(' '.join(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stdout.split())
    assert sorted(loaded & (HEAVY | HEAVY_FOR_IMPORT | {"airflow"})) == []
    assert {name for name in loaded if name.startswith("ama")} == {
        *("ama", "ama.integrations", "ama.integrations.airflow"),
        "ama.integrations.airflow.provider",
    }


def test_the_module_and_the_command_are_the_same(run: Ama) -> None:
    command = Path(sys.executable).with_name("ama" + (".exe" if os.name == "nt" else ""))
    if not command.exists():
        pytest.skip("ama isn't installed beside this interpreter")
    done = subprocess.run(
        [command, "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == run.ok("--version").stdout
