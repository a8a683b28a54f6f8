"""Users who have no home, or none that they may write to, and an interpreter without docstrings.

What needs no store on this machine and no file of the user's goes on; where one is needed, the
error names the variable that says where it is to be.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import ama.dashboard.export
from ama import Store
from ama.cli.commands import COMMANDS, build
from ama.cli.main import run as run_command
from conftest import TRAINING_RUNS, Ama
from users import Said, as_user

NOBODY = 4711

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX users")


@dataclass(frozen=True)
class Somebody:
    """A user whose id has no name, with this environment and nothing else."""

    place: Path
    environ: dict[str, str]

    def says(self, *words: str, at: str = "work") -> Said:
        """Run a command as this user."""

        def work() -> int:
            os.chdir(self.place / at)
            os.environ.clear()
            os.environ.update(PATH=os.defpath, **self.environ)
            return run_command(words)

        return as_user(NOBODY, (NOBODY,), self.place, work)


@pytest.fixture
def tmp_path(common_path: Path) -> Path:
    return common_path


@pytest.fixture
def place(tmp_path: Path, run: Ama, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that everybody may write to, with a store and files in it, all imported."""
    if sys.platform == "win32" or os.geteuid() != 0:
        pytest.skip("only root can be another user")
    place = tmp_path / "place"
    for directory in (place, place / "work", place / "made"):
        directory.mkdir()
        directory.chmod(0o777)
    (place / "work" / "model.txt").write_text("first")
    warm = tmp_path / "warm" / "work"
    shutil.copytree(TRAINING_RUNS / "base", warm)
    for words in (["init", "models"], ["add", "."], ["upload", "--remote", "../store"]):
        run.ok(*words, cwd=warm)
    shutil.copytree(tmp_path / "warm" / "store", place / "store")
    monkeypatch.chdir(warm)
    for each in MISSION:  # what is imported for it is imported by now
        run_command(each)
    monkeypatch.chdir(place)
    return place


MISSION: dict[tuple[str, ...], int] = {
    ("list", "--remote", "../store"): 0,
    ("init", "mine"): 0,
    ("add", "."): 0,
    ("status",): 0,
    ("status", "--json"): 0,
    ("config", "list"): 0,
    ("remote", "list"): 0,
    ("commit", "-m", "first"): 0,
    ("diff", "HEAD"): 0,
    ("show",): 0,
    ("cat", "model.txt"): 0,
    ("push", "--remote", "../made/store"): 0,
    ("list",): 0,
    ("find", "model.txt"): 0,
    ("lineage",): 0,
    ("fsck",): 0,
    ("compare", "--class", "models", "--remote", "../store"): 0,
    ("download", "mine", "-o", "../made/copy"): 0,
    ("dashboard", "--export", "../made/site"): 0,
    ("remote", "add", "team", "../made/store"): 0,
    ("upload",): 0,
    ("config", "list", "--json"): 0,
}

# Pages need this package's templates, which a user can't read in a checkout below a closed home.
CODE = Path(ama.dashboard.export.__file__)
if not all(above.stat().st_mode & 0o001 for above in CODE.parents):
    del MISSION["dashboard", "--export", "../made/site"]

HOMES = {
    "none": {},
    "empty": {"HOME": ""},
    "absent": {"HOME": "/nowhere/at/all"},
    "of another": {"HOME": "HERE/closed"},
}


@posix_only
@pytest.mark.parametrize("home", HOMES.values(), ids=HOMES)
def test_a_mission_with_a_store_that_is_named_needs_no_home(
    place: Path, home: dict[str, str]
) -> None:
    (place / "closed").mkdir(mode=0o755)
    somebody = Somebody(place, {k: v.replace("HERE", str(place)) for k, v in home.items()})
    for words, expected in MISSION.items():
        said = somebody.says(*words)
        assert said.code == expected, (words, said)
        assert "internal" not in said.stderr
    asset = Store.open(place / "made" / "store").resolve("mine/1")
    assert asset.read("model.txt") == b"first"
    assert (place / "made" / "copy" / "model.txt").read_text() == "first"
    assert not list((place / "closed").iterdir())


@posix_only
def test_without_a_home_an_error_names_what_is_to_be_set(place: Path) -> None:
    nobody = Somebody(place, {})
    for words in (["init", "mine"], ["add", "."]):
        assert nobody.says(*words).code == 0
    for words in (["upload"], ["list"], ["find", "model.txt"], ["pull"], ["fetch"]):
        said = nobody.says(*words)
        assert said.code == 3, (words, said)
        assert "AMA_DATA_DIR" in said.stderr
        assert "--remote" in said.stderr
    for words in (["config", "set", "--user", "user.name", "Ann"], ["config", "get", "user.name"]):
        said = nobody.says(*words, at="made")
        assert (said.code, "AMA_CONFIG_DIR" in said.stderr) == (3, True), said
    said = nobody.says("commit")
    assert "AMA_AUTHOR=" in said.stderr + said.stdout
    assert json.loads(nobody.says("status", "--json").stdout)["remote"] is None
    assert "AMA_DATA_DIR" not in nobody.says("list", "--remote", "../none").stderr
    told = Somebody(place, {"AMA_DATA_DIR": str(place / "made" / "data")})
    assert told.says("upload").code == 0
    assert told.says("list").stdout.count("mine/1") == 1


@posix_only
@pytest.mark.parametrize("home", ["/nowhere/at/all", "closed", "work/model.txt/x"])
def test_a_home_that_cannot_be_written_to_names_what_is_to_be_set(place: Path, home: str) -> None:
    (place / "closed").mkdir(mode=0o755)
    somebody = Somebody(place, {"HOME": str(place / home)})
    for words in (["init", "mine"], ["add", "."]):
        assert somebody.says(*words).code == 0
    said = somebody.says("upload")
    assert (said.code, "AMA_DATA_DIR" in said.stderr) == (8, True), said
    assert "internal" not in said.stderr
    told = Somebody(place, {**somebody.environ, "AMA_DATA_DIR": str(place / "made" / "data")})
    assert told.says("upload").code == 0


def every_command() -> list[tuple[str, ...]]:
    """The words of each command there is, and of each group."""
    found: list[tuple[str, ...]] = [()]
    top = build()
    for name in COMMANDS:
        command = top.get_command(None, name)
        found += [(name,), *((name, leaf) for leaf in getattr(command, "commands", {}))]
    return found


def help_of(commands: Sequence[tuple[str, ...]], *options: str) -> list[str]:
    """What `--help` says of each command, in one process with these options of Python."""
    code = (
        "import json, sys; from ama.cli.main import run\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    print('\\0' + str(run([*words, '--help'])))"
    )
    done = subprocess.run(
        [sys.executable, *options, "-c", code, json.dumps(commands)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\0")


def test_help_is_the_same_without_docstrings() -> None:
    commands = every_command()
    assert len(commands) > 40
    whole = help_of(commands)
    assert len(whole) == len(commands) + 1
    assert help_of(commands, "-OO") == whole
    assert "Example:" in whole[1]


def test_a_mission_without_docstrings(run: Ama, tmp_path: Path) -> None:
    bare = {"PYTHONOPTIMIZE": "2", "AMA_REMOTE": str(tmp_path / "store")}
    work = tmp_path / "work"
    shutil.copytree(TRAINING_RUNS / "base", work)
    for words in (
        ["init", "models"],
        ["add", "."],
        ["set", "--alias", "best"],
        ["status"],
        ["upload", "-m", "first"],
        ["list"],
        ["show"],
        ["find", "--alias", "best"],
        ["compare", "--class", "models"],
        ["lineage"],
        ["download", "models@best", "-o", "../copy"],
        ["dashboard", "--export", "../site"],
        ["fsck"],
        ["-h"],
    ):
        run.ok(*words, cwd=work, env=bare)
    assert run("upload", "--frobnicate", cwd=work, env=bare).code == 2
    assert run("frobnicate", cwd=work, env=bare).code == 2
    names = {path.name for path in work.iterdir()}
    assert {path.name for path in (tmp_path / "copy").iterdir()} == names
