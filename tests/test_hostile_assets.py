"""Assets that were made to do harm: nothing of them runs, and nothing of them takes for ever."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ama import Repo
from ama.errors import InvalidInput, NotFound
from ama.format.hashing import blob_id
from ama.format.objects import EntryKind, Kind, TreeEntry
from ama.wording.hints import words as words_of
from conftest import Ama
from forging import Forge, listed

PLANTED = b"[core]\n\tfsmonitor = touch planted; false\n"
"""Git's config: any `git status` beside it runs the command."""


def hinted(hint: str) -> list[str]:
    """The words of the `--exclude` that a hint says."""
    return shlex.split(hint[hint.index("--exclude") :])


@pytest.mark.parametrize(
    "names", [[".git"], [".GIT"], ["GIT~1"], [".git. ", ".g\u200cit", ".git::$INDEX_ALLOCATION"]]
)
def test_what_git_takes_for_its_own_never_comes(
    names: list[str], forge: Forge, run: Ama, tmp_path: Path
) -> None:
    forge.publish({"weights": b"1"})
    hostile = {name: {"config": PLANTED, "HEAD": b"ref: refs/heads/main\n"} for name in names}
    forge.publish({"weights": b"2", "sub": hostile, ".gitignore": b"", "git~2": b""})
    assert run.ok("cat", f"models/2:sub/{names[0]}/config").stdout.encode() == PLANTED
    assert names[0] in run.ok("ls", "models/2").stdout or not names[0].isascii()

    refused = run("download", "models/2", "-o", "new")
    assert refused.code == InvalidInput.exit_code
    assert "git would run" in refused.stderr
    assert not (tmp_path / "new").exists()
    for asset in ("models/2", f"models/2:sub/{names[0]}/config", "models/2:sub"):
        assert "git would run" in run("path", asset).stderr
    words = hinted(refused.stderr.partition("hint: ")[2])
    run.ok("download", "models/2", "-o", "new", *words)
    assert {p.name for p in (tmp_path / "new").iterdir()} >= {".gitignore", "git~2", "weights"}

    run.ok("download", "models/1", "-o", "old")
    repo = Repo.open(tmp_path / "old")
    for refusing in (
        lambda: repo.switch("models/2"),
        lambda: repo.pull(),
        lambda: repo.restore(["."], source="models/2"),
        lambda: repo.restore(["."], source="models/2", staged=True),
    ):
        with pytest.raises(InvalidInput, match="git would run"):
            refusing()
        assert (repo.root / "weights").read_bytes() == b"1"
        assert not repo.diff()
        assert not repo.diff(staged=True)
    with pytest.raises(InvalidInput) as caught:
        repo.switch("models/2")
    command = re.search(r"ama (download .*)", words_of(caught.value.hints) or "")
    assert command
    run.ok(*shlex.split(command[1].replace("DIR", "other")))
    assert (tmp_path / "other" / "weights").read_bytes() == b"2"


def test_what_is_gits_own_is_not_added(run: Ama, tmp_path: Path) -> None:
    repo = Repo.init(tmp_path / "work", "models")
    for name in (".git/config", "sub/.git", "git~1/config", ".gitignore", ".amaignore"):
        (repo.root / name).parent.mkdir(exist_ok=True, parents=True)
        (repo.root / name).write_text("!.git\n", encoding="utf-8")
    for name in (".git", ".git/config", "sub/.git", "git~1"):
        refused = run("add", name, cwd=repo.root)
        assert refused.code == InvalidInput.exit_code
        assert "can't be in an asset: git would run" in refused.stderr
    (repo.root / "git~1" / "config").unlink()
    run.ok("add", ".", cwd=repo.root)
    assert sorted(change.path for change in repo.diff(staged=True)) == [".amaignore", ".gitignore"]


@pytest.mark.parametrize(("depth", "letters"), [(40, 1), (18, 250)])
def test_directories_that_multiply_are_refused_at_once(
    depth: int, letters: int, forge: Forge, run: Ama, tmp_path: Path
) -> None:
    """A few small trees stand for 2^40 files, or for paths of a billion letters."""
    forge.publish({"weights": b"1"})
    objects = {blob_id(b"x"): (Kind.DATA, b"x")}
    entries = [TreeEntry("file", EntryKind.FILE, blob_id(b"x"), 1)]
    for _ in range(depth):
        tree = listed(entries, objects)
        entries = [tree._replace(name=letter * letters) for letter in "ab"]
    forge.publish_trees(listed(entries, objects).id, objects)
    for command in (
        ["ls", "models/2"],
        ["ls", "models/2", "a" * letters],
        ["diff", "models/1", "models/2"],
        ["compare", "models/1", "models/2"],
        ["download", "models/2", "-o", "new"],
        ["path", "models/2"],
        ["path", f"models/2:{'a' * letters}"],
    ):
        refused = run(*command)
        assert (refused.code, refused.stdout) == (InvalidInput.exit_code, "")
        assert "more than can be listed" in refused.stderr
    assert not (tmp_path / "new").exists()
    shown = run.ok("show", "models/2")
    assert "more than can be listed" in shown.stderr
    assert len(shown.output) < 2000
    assert run("cat", "models/2:file").code == NotFound.exit_code
    path = "/".join(["a" * letters] * depth) + "/file"
    assert run.ok("cat", f"models/2:{path}").stdout == "x"
    run.ok("copy", "models/2", "--from", forge.directory, "--to", tmp_path / "copy")


@pytest.mark.parametrize(("limit", "most"), [("MOST_FILES", 2), ("MOST_TEXT", 6)])
def test_what_could_not_be_listed_is_never_made(
    limit: str, most: int, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an upload would succeed of what nobody can download."""
    repo = Repo.init(tmp_path / "work", "models")
    (repo.root / "dir").mkdir()
    for name in ("a", "b", "dir/c"):
        (repo.root / name).write_text(name, encoding="utf-8")
    repo.add(["."])
    monkeypatch.setattr("ama.worktree.trees.TEXT_EACH", 0)
    monkeypatch.setattr(f"ama.worktree.trees.{limit}", most)
    for act in (repo.commit, repo.upload):
        with pytest.raises(InvalidInput, match="more than can be listed") as caught:
            act()
        assert "archives" in (words_of(caught.value.hints) or "")
    assert repo.head is None
    monkeypatch.setattr(f"ama.worktree.trees.{limit}", most + 1)
    assert repo.upload().asset == repo.head
