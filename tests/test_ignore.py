"""What `.amaignore` leaves out: gitignore's rules, as git itself applies them."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ama.errors import StorageError
from ama.worktree.ignore import IGNORE_FILE, Ignore

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

# Rules (by the directory of their file), a path (a directory ends in `/`), whether it is ignored.
CASES = [
    ({"": "*.tmp"}, "a.tmp", True),
    ({"": "*.tmp"}, "run/deep/a.tmp", True),
    ({"": "*.tmp"}, "a.tmpx", False),
    ({"": "/a.tmp"}, "a.tmp", True),
    ({"": "/a.tmp"}, "run/a.tmp", False),
    ({"": "build/"}, "build/", True),
    ({"": "build/"}, "build", False),
    ({"": "build/"}, "x/build/deep/file", True),
    ({"": "run/logs"}, "run/logs/a", True),
    ({"": "run/logs"}, "x/run/logs", False),
    ({"": "*.log\n!keep.log"}, "keep.log", False),
    ({"": "!keep.log\n*.log"}, "keep.log", True),
    ({"": "logs/\n!logs/keep"}, "logs/keep", True),
    ({"": "logs/*\n!logs/keep"}, "logs/keep", False),
    ({"": "*.txt\n!/a/keep"}, "a/keep/x.txt", True),
    ({"": "*.d\n!keep.d/"}, "keep.d/x", False),
    ({"": "*\n!*/\n!*.py"}, "a/b.py", False),
    ({"": "*\n!*/\n!*.py"}, "a/b.txt", True),
    ({"": "**/cache"}, "a/b/cache", True),
    ({"": "**/cache"}, "cache", True),
    ({"": "a/**/z"}, "a/z", True),
    ({"": "a/**/z"}, "a/b/c/z", True),
    ({"": "a/**"}, "a/b", True),
    ({"": "a/**"}, "a/", False),
    ({"": "a/**/"}, "a/b/", True),
    ({"": "a/**/"}, "a/b", False),
    ({"": "ckpt-?.h5"}, "ckpt-1.h5", True),
    ({"": "ckpt-?.h5"}, "ckpt-10.h5", False),
    ({"": "v[0-9]"}, "v7", True),
    ({"": "v[!0-9]"}, "v7", False),
    ({"": "v[0-9"}, "v7", False),
    ({"": "# a comment\n\n   \n"}, "# a comment", False),
    ({"": "\\#x\n\\!y"}, "#x", True),
    ({"": "\\#x\n\\!y"}, "!y", True),
    ({"": "trailing   "}, "trailing", True),
    ({"": "kept\\ "}, "kept ", True),
    ({"": "with space/x y"}, "with space/x y", True),
    ({"": "*.TMP"}, "a.tmp", False),
    ({"": "\r\n*.tmp\r\n"}, "a.tmp", True),
    ({"": "\ufeff*.tmp"}, "a.tmp", True),
    ({"": "/"}, "a", False),
    ({"": "ends with\\"}, "ends with", False),
    ({"run": "*.h5"}, "run/a.h5", True),
    ({"run": "*.h5"}, "a.h5", False),
    ({"run": "/a.h5"}, "run/a.h5", True),
    ({"run": "/a.h5"}, "run/deep/a.h5", False),
    ({"": "*.h5", "run": "!best.h5"}, "run/best.h5", False),
    ({"": "*.h5", "run": "!best.h5"}, "best.h5", True),
    ({"": "run/", "run": "!best.h5"}, "run/best.h5", True),
    ({"": "!a", "run": "a", "run/deep": "b"}, "run/deep/a", True),
]


def lay_out(root: Path, rules: dict[str, str]) -> Ignore:
    for directory, text in rules.items():
        (root / directory).mkdir(parents=True, exist_ok=True)
        (root / directory / IGNORE_FILE).write_bytes(text.encode())
    return Ignore.load(root)


@pytest.mark.parametrize(("rules", "path", "ignored"), CASES)
def test_a_rule(tmp_path: Path, rules: dict[str, str], path: str, ignored: bool) -> None:
    ignore = lay_out(tmp_path, rules)
    assert ignore.ignores(path.rstrip("/"), path.endswith("/")) is ignored


def git_ignores(root: Path, rules: dict[str, str], paths: list[str]) -> set[str]:
    subprocess.run(["git", "init", "-q", "."], cwd=root, check=True)
    for directory, text in rules.items():
        (root / directory).mkdir(parents=True, exist_ok=True)
        (root / directory / ".gitignore").write_bytes(text.encode())
    for path in paths:
        if path.endswith("/"):
            (root / path).mkdir(parents=True, exist_ok=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
    asked = "\0".join(path.rstrip("/") for path in paths).encode()
    command = ["git", "check-ignore", "-z", "--stdin", "--no-index"]
    answer = subprocess.run(command, cwd=root, input=asked, capture_output=True, check=False)
    assert answer.returncode in (0, 1), answer.stderr
    return set(answer.stdout.decode().split("\0")) - {""}


@needs_git
@pytest.mark.parametrize(("rules", "path", "ignored"), CASES)
def test_git_sees_it_so_too(
    tmp_path: Path, rules: dict[str, str], path: str, ignored: bool
) -> None:
    assert (git_ignores(tmp_path, rules, [path]) == {path.rstrip("/")}) is ignored


PIECES = ["a", "b", "*", "?", "**", "a*", "*b", "[ab]", "[!a]", "c"]
TREE = [
    *("a", "b/", "b/a", "b/b", "b/c/", "b/c/a", "b/c/ab", "c/", "c/a/", "c/a/b", "c/b", "ab"),
    *("c/a/c/", "c/a/c/a", "c/a/c/b", "cb/", "cb/a", "cb/c"),
]


def random_rules(generator: random.Random) -> str:
    lines = []
    for _ in range(generator.randint(1, 5)):
        pattern = "/".join(generator.choices(PIECES, k=generator.choice([1, 1, 1, 2, 2, 3])))
        lines.append(
            generator.choice(["", "", "", "!"])
            + generator.choice(["", "", "/"])
            + pattern
            + generator.choice(["", "", "/"])
        )
    return "\n".join(lines)


@needs_git
@pytest.mark.parametrize("seed", range(30))
def test_random_rules_mean_what_they_mean_to_git(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    rules = {"": random_rules(generator)}
    if generator.random() < 0.5:
        rules["b"] = random_rules(generator)
    if generator.random() < 0.3:
        rules["c/a"] = random_rules(generator)
    expected = git_ignores(tmp_path, rules, TREE)
    ignore = lay_out(tmp_path, rules)
    found = {p.rstrip("/") for p in TREE if ignore.ignores(p.rstrip("/"), p.endswith("/"))}
    assert found == expected, rules


def test_the_control_directory_and_temporary_files_are_never_assets(tmp_path: Path) -> None:
    ignore = lay_out(tmp_path, {"": "!.ama\n!.ama/**\n!.tmp-*"})
    for name in (".ama", ".AMA", "run/.ama", ".ama/index.1", ".ama.", "run/.Ama/x"):
        assert ignore.ignores(name, True), name
    assert ignore.ignores(".tmp-0123456789abcdef", False)
    assert ignore.ignores("run/.tmp-0123456789abcdef", False)
    for name in (".amaignore", ".amax", "ama", ".tmp-mine", "x.ama", "ama~1"):
        assert not ignore.ignores(name, False), name


def test_an_ignore_file_that_is_no_file_is_no_rule(tmp_path: Path) -> None:
    (tmp_path / IGNORE_FILE).mkdir()
    assert not Ignore.load(tmp_path).ignores("a", False)


def test_an_ignore_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / IGNORE_FILE).write_text("*")
    (tmp_path / IGNORE_FILE).chmod(0)
    if os.access((tmp_path / IGNORE_FILE), os.R_OK):
        pytest.skip("this user may do anything")
    with pytest.raises(StorageError, match="no permission to read"):
        Ignore.load(tmp_path)


def test_bytes_that_are_no_text_are_matched_as_they_are(tmp_path: Path) -> None:
    (tmp_path / IGNORE_FILE).write_bytes(b"bad\xff\n")
    assert Ignore.load(tmp_path).ignores("bad\udcff", False)


@pytest.mark.parametrize("rules", [None, "model.h5\nlogs/\n", "*.h5\n"])
def test_pathspec_is_loaded_only_for_patterns(tmp_path: Path, rules: str | None) -> None:
    if rules is not None:
        (tmp_path / IGNORE_FILE).write_text(rules)
    program = (
        "import sys; from pathlib import Path; from ama.worktree.ignore import Ignore;"
        "Ignore.load(Path('.')).ignores('run/model.h5', False); print('pathspec' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(rules is not None and "*" in rules)


@pytest.mark.parametrize("line", ["*a" * 30 + "b", "**/a/" * 30 + "b", "*" * 40 + "b", "[b-a]*"])
def test_no_line_takes_long_or_ends_a_command(tmp_path: Path, line: str) -> None:
    """It may have come with an asset that anybody has made."""
    (tmp_path / IGNORE_FILE).write_text(f"{line}\n*.tmp\n")
    ignore = Ignore.load(tmp_path)
    assert not ignore.ignores("a" * 200, False)
    assert not ignore.ignores("/".join("a" * 200), False)
    assert ignore.ignores("a.tmp", False)


def test_gits_own_files_are_left_alone(tmp_path: Path) -> None:
    """They hold the token of a remote, and what git would run wherever they came to."""
    ignore = Ignore.load(tmp_path)
    assert ignore.ignores(".git", True)
    assert ignore.ignores("module/.git", False)
    assert ignore.ignores(".git/config", False)
    assert not ignore.ignores(".gitignore", False)
    (tmp_path / IGNORE_FILE).write_text("*.tmp\n!.git\n")
    assert Ignore.load(tmp_path).ignores(".git/config", False)
