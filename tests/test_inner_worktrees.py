"""A worktree inside another one: each keeps to its own files."""

from __future__ import annotations

from pathlib import Path

import pytest

import ama
from ama.errors import Conflict, InvalidInput
from ama.wording.hints import words
from conftest import Ama


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_an_inner_worktree_is_one_of_its_own(tmp_path: Path) -> None:
    outer = ama.Repo.init(tmp_path / "outer", "outer")
    write(outer.root / "a.txt", "a")
    inner_root = outer.root / "run"
    with pytest.raises(InvalidInput) as error:
        ama.Repo.init(inner_root, "inner")
    assert "ama init --here" in str(words(error.value.hints))
    inner = ama.Repo.init(inner_root, "inner", here=True)
    write(inner.root / "b.txt", "b")
    assert inner.add(".").changes[0].path == "b.txt"
    assert [change.path for change in outer.add(".").changes] == ["a.txt"]
    assert outer.upload().untracked == ()


def test_files_that_the_outer_has_are_never_lost(tmp_path: Path) -> None:
    outer = ama.Repo.init(tmp_path / "outer", "outer")
    write(outer.root / "run" / "b.txt", "b")
    outer.add(".")
    with pytest.raises(Conflict) as error:
        ama.Repo.init(outer.root / "run", "inner", here=True)
    assert "rm --cached run" in str(words(error.value.hints))
    assert not (outer.root / "run" / ".ama").exists()
    assert outer.status().changed == ()
    first = outer.upload().asset
    assert first is not None
    outer.remove("run", keep_files=True)
    write(outer.root / "a.txt", "a")
    outer.add("a.txt")
    outer.upload()
    ama.Repo.init(outer.root / "run", "inner", here=True)
    write(outer.root / "run" / "b.txt", "mine")
    for bring in (
        lambda: outer.switch(first.id, force=True),
        lambda: outer.restore(["run"], source=first.id, force=True),
    ):
        with pytest.raises(Conflict, match="another ama worktree"):
            bring()
        assert (outer.root / "run" / "b.txt").read_text() == "mine"
        assert outer.status().changed == ()


def test_what_changes_another_root_says_so(tmp_path: Path, run: Ama) -> None:
    outer = ama.Repo.init(tmp_path / "outer", "outer")
    write(outer.root / "run" / "b.txt", "b")
    for place, told in (("run", True), (".", False)):
        for line in (["add", "."], ["set", "--meta", "n=1"], ["commit"], ["upload"]):
            done = run.ok(*line, cwd=outer.root / place)
            assert (f"in the worktree {outer.root}" in done.stderr) is told
    (outer.root / "own").mkdir()
    assert "ama init --here" in run("init", "inner", cwd=outer.root / "own").output
    run.ok("init", "--here", "inner", cwd=outer.root / "own")
    assert ama.Repo.open(outer.root / "own").class_name == "inner"


def test_no_file_of_an_inner_worktree_is_taken_by_its_name(tmp_path: Path) -> None:
    """Else the outer's asset could not be brought to where the inner one is."""
    outer = ama.Repo.init(tmp_path / "outer", "outer")
    write(outer.root / "a.txt", "a")
    inner = ama.Repo.init(outer.root / "run", "inner", here=True)
    write(inner.root / "b.txt", "b")
    write(inner.root / "deep" / "c.txt", "c")
    for path in ("run", "run/b.txt", "run/deep", "run/deep/c.txt"):
        for force in (False, True):
            with pytest.raises(InvalidInput, match="run is another ama worktree"):
                outer.add(["a.txt", path], force=force)
    assert outer.status().staged == ()
    assert len(inner.add(".").changes) == 2


def test_an_inner_worktree_never_had_what_the_outer_has(tmp_path: Path, run: Ama) -> None:
    outer = ama.Repo.init(tmp_path / "outer", "outer")
    write(outer.root / "a.txt", "a")
    outer.add(".")
    outer.upload()
    (outer.root / "run").mkdir()
    said = run.ok("init", "--here", "inner", cwd=outer.root / "run")
    assert "was here before" not in said.output
    assert "outer/1" not in said.output
    assert "outer/1" in run.ok("init", "other", cwd=outer.root).output


def test_no_worktree_is_made_of_amas_own_directory(tmp_path: Path) -> None:
    outer = ama.Repo.init(tmp_path / "outer", "outer")
    for place in (outer.root / ".ama", outer.root / ".ama" / "objects"):
        for here in (False, True):
            with pytest.raises(InvalidInput, match="ama's own directory"):
                ama.Repo.init(place, "inner", here=here)
        assert not (place / ".ama").exists()
