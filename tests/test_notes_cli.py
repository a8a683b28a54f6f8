"""`ama note`, and what `ama show` says of notes: as a user types it, with wrong input too."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import Ama
from test_golden import V1


@pytest.fixture
def here(tmp_path: Path, run: Ama) -> Path:
    """A worktree with one upload, and a report beside its file."""
    root = tmp_path / "w"
    root.mkdir()
    (root / "model.txt").write_text("weights\n", encoding="utf-8")
    (root / "report.json").write_text('{"f1": 0.9}\n', encoding="utf-8")
    run.ok("init", "models", cwd=root)
    run.ok("add", "model.txt", cwd=root)
    run.ok("set", "--alias", "best", "--meta", "loss=0.5", cwd=root)
    run.ok("upload", cwd=root)
    return root


def test_a_note_and_what_shows_it(here: Path, run: Ama) -> None:
    done = run.ok(
        *("note", "HEAD", "--meta", "f1=0.9", "--meta", "loss=0.4", "--meta-str", "run=007"),
        *("--tag", "approved", "--file", "report.json", "-m", "looks good\nsecond line"),
        cwd=here,
    )
    said = "f1 = 0.9; loss = 0.4; run = 007; tag approved; file report.json; looks good"
    assert done.stdout.startswith("noted: models/1 (")
    assert done.stdout.endswith(f"): {said}\n")
    assert done.stdout.count("\n") == 1
    run.ok("note", "@best", "--meta", "f1=0.95", cwd=here)
    run.ok("note", "models@best", "--remove", "approved", cwd=here)

    shown = run.ok("show", cwd=here).stdout
    lines = [line.strip() for line in shown.splitlines()]
    assert "Metadata:    loss = 0.5" in lines  # as it was published
    assert lines[lines.index("Noted:       f1 = 0.95") + 1] == "loss = 0.4"
    assert "Tags:" not in shown
    assert shown.index("no tag approved") < shown.index("f1 = 0.95", shown.index("Notes:"))
    assert "second line" in lines
    published = run.ok("show", "--as-published", cwd=here).stdout
    assert "Noted" not in published
    assert "Notes" not in published
    found = run.ok("show", "models/1", "--json", cwd=here).json()
    assert found["metadata"] == {"loss": 0.5}
    assert found["noted"]["metadata"] == {"f1": 0.95, "loss": 0.4, "run": "007"}
    assert [note["removed"] + note["untagged"] for note in found["noted"]["notes"]] == [
        [],
        [],
        ["approved"],
    ]
    assert "noted" not in run.ok("show", "--as-published", "--json", cwd=here).json()
    assert run.ok("note", "models/1", "--json", cwd=here).json() == found["noted"]
    assert run.ok("note", "models/1", cwd=here).stdout in shown
    assert run.ok("note", "HEAD", "--cat", "report.json", cwd=here).stdout == '{"f1": 0.9}\n'
    assert run.ok("status", "--json", cwd=here).json()["staged"] == []
    outside = here.parent
    assert "f1 = 0.95" in run.ok("show", "models/1", cwd=outside).stdout
    assert "noted: models/1" in run.ok("note", "models/1", "--tag", "x", cwd=outside).stdout


def test_a_description(here: Path, run: Ama) -> None:
    none = run.ok("note", "models", cwd=here)
    assert "nothing was noted of models" in none.output
    done = run.ok("note", "models", "-m", "# Models\n\nof *text*", cwd=here)
    assert done.stdout == "models is described: # Models\n"
    again = run.ok("note", "models", "--once", "-m", "# Models\n\nof *text*", cwd=here)
    assert again.stdout == "models is described so already: # Models\n"
    shown = run.ok("note", "models", cwd=here).stdout.splitlines()
    assert shown[0] == "Description: # Models"
    assert shown[2].strip() == "of *text*"
    assert run.ok("note", "models", "-m", "", cwd=here).stdout == (
        "models has no description any more\n"
    )
    gone = run.ok("note", "models", cwd=here).stdout
    assert "Description" not in gone
    assert gone.count("\n") == 2


def test_once(here: Path, run: Ama) -> None:
    words = ("note", "models/1", "--tag", "nightly", "--meta", "f1=0.5", "--once")
    run.ok(*words, cwd=here)
    assert run.ok(*words, cwd=here).stdout.startswith("noted already, in entry 2: models/1")
    assert run.ok(*words, "--json", cwd=here).json()["again"] is True


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("note",), 2, "missing argument 'ASSET'"),
        (("note", "models", "--meta", "a=1"), 2, "name one: models/NUMBER or models@ALIAS"),
        (("note", "models", "--tag", "a", "-m", "b"), 2, "models is a class"),
        (("note", "models/7", "-m", "x"), 3, "models has no asset 7"),
        (("note", "modles/1", "-m", "x"), 3, "did you mean models?"),
        (("note", "modles", "-m", "x"), 3, "did you mean models?"),
        (("note", "model.txt", "-m", "x"), 3, "no class model.txt"),
        (("note", "HEAD", "--meta", "x"), 2, "'x' isn't key=value"),
        (("note", "HEAD", "--meta", "a=1", "--meta", "a=2"), 2, "given twice"),
        (("note", "HEAD", "--meta", "a=1", "--remove", "a"), 2, "both noted and removed"),
        (("note", "HEAD", "--remove", "loss"), 3, "nothing called loss was noted of models/1"),
        (("note", "HEAD", "--file", "nowhere"), 3, "nowhere: no such file"),
        (("note", "HEAD", "--file", "."), 2, "one file, and no directory"),
        (("note", "HEAD", "-m", " "), 2, "give --meta KEY=VALUE, --tag TAG, --file FILE or -m"),
        (("note", "HEAD", "--tag", " "), 2, "can't be a tag"),
        (("note", "HEAD", "--cat", "none"), 3, "no note of HEAD has a file none"),
        (("note", "HEAD", "--cat", "a", "-m", "b"), 2, "notes nothing"),
        (("notes", "HEAD"), 2, "ama note"),
        (("describe", "models"), 2, "ama note CLASS -m TEXT"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_input(here: Path, run: Ama, words: tuple[str, ...], code: int, said: str) -> None:
    done = run(*words, cwd=here)
    assert (done.code, said in done.output) == (code, True), done.output


def test_outside_of_worktrees_and_before_the_first_upload(tmp_path: Path, run: Ama) -> None:
    for word in ("HEAD", "@best", "models/1", "models"):
        done = run("note", word, "-m", "x", cwd=tmp_path)
        assert done.code in (2, 3)
        assert "hint:" in done.output
    (tmp_path / "w").mkdir()
    run.ok("init", "models", cwd=tmp_path / "w")
    assert run("note", "HEAD", "-m", "x", cwd=tmp_path / "w").code == 3


def test_what_is_not_published_yet(here: Path, run: Ama) -> None:
    (here / "model.txt").write_text("better\n", encoding="utf-8")
    run.ok("add", "model.txt", cwd=here)
    run.ok("commit", "-m", "better", cwd=here)
    done = run("note", "HEAD", "-m", "x", cwd=here)
    assert done.code == 3
    assert "is not published yet" in done.output
    assert "ama push" in done.output
    assert "Noted" not in run.ok("show", cwd=here).stdout


def test_a_store_of_the_version_before(tmp_path: Path, run: Ama) -> None:
    shutil.copytree(V1, tmp_path / "old")
    url = tmp_path / "old"
    done = run("note", "models/2", "-m", "x", "--remote", url, cwd=tmp_path)
    assert done.code == 2
    assert "takes no notes yet" in done.output
    assert f"ama remote upgrade {url}" in done.output
    assert "Noted" not in run.ok("show", "models/2", "--remote", url, cwd=tmp_path).stdout
    upgraded = run.ok("remote", "upgrade", url, cwd=tmp_path)
    assert "byte-planes, notes, references" in upgraded.stdout
    assert "can't write to it any more" in upgraded.output
    run.ok("note", "models/2", "-m", "x", "--remote", url, cwd=tmp_path)


def test_without_its_store_a_worktree_shows_what_the_asset_says(here: Path, run: Ama) -> None:
    url = here.parent / "elsewhere"
    run.ok("copy", "models/1", "--to", url, cwd=here)
    assert "Notes" not in run.ok("show", "models/1", "--remote", url, cwd=here).stdout
    run.ok("remote", "add", "origin", url, cwd=here)
    run.ok("note", "HEAD", "--meta", "f1=1", cwd=here)
    run.ok("show", cwd=here)
    url.rename(here.parent / "away")
    shown = run.ok("show", cwd=here)
    assert "model.txt" in shown.stdout
    assert run("note", "HEAD", "--meta", "f1=2", cwd=here).code != 0
    (here.parent / "away").rename(url)
    assert "f1 = 1" in run.ok("show", cwd=here).stdout


def test_what_a_store_says_does_not_reach_the_terminal(here: Path, run: Ama) -> None:
    bad = "\x1b[31mred\x07"
    run.ok("note", "HEAD", "--meta-str", f"k{bad}={bad}", "-m", bad, cwd=here)
    run.ok("note", "models", "-m", bad, cwd=here)
    for words in (("note", "HEAD"), ("show",), ("note", "models")):
        assert "\x1b" not in run.ok(*words, cwd=here).output
    assert run("note", "HEAD", "--tag", bad, cwd=here).code == 2
