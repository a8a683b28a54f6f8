"""`ama diff` of what is in files: lines and tensors, of the three real training runs."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import ama
from conftest import TRAINING_RUNS, Ama


@pytest.fixture
def two(tmp_path: Path, run: Ama, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A worktree of two assets: models/1 is the run `base`, models/2 `finetuned`."""
    directory = tmp_path / "work"
    for name in ("base", "finetuned"):
        shutil.copytree(TRAINING_RUNS / name, directory, dirs_exist_ok=True)
        if name == "base":
            run.ok("init", "models", cwd=directory)
        run.ok("add", ".", cwd=directory)
        run.ok("upload", cwd=directory)
    monkeypatch.chdir(directory)
    return directory


def test_a_text_is_compared_line_by_line(two: Path, run: Ama) -> None:
    shown = run.ok("diff", "models/1", "models/2", "--", "meta.yml").stdout
    assert shown.splitlines() == [
        "modified  meta.yml  75 B -> 86 B",
        "@@ -1,2 +1,2 @@",
        "-description: Digits classifier, first training",
        "-training_date: '2026-11-02'",
        "+description: Digits classifier, head fine-tuned from base",
        "+training_date: '2026-11-09'",
    ]
    back = run.ok("diff", "models/2", "models/1", "--", "training.yml").stdout.splitlines()
    assert back.index("-  learning_rate: 0.0003") < back.index("+  learning_rate: 0.001")


def test_of_a_model_the_tensors_are_told_that_changed(two: Path, run: Ama) -> None:
    line = ("diff", "models/1", "models/2", "--", "model.h5")
    shown = [row.split() for row in run.ok(*line).stdout.splitlines()]
    layer = "model_weights/{}/{{sequential => sequential_1}}/{}/kernel".format
    frozen, trained = layer("hidden", "hidden").split(), layer("head", "head").split()
    assert ["renamed", *frozen, "float32", "256×128"] in shown
    assert ["changed", *trained, "float32", "128×10,", "979", "values", "changed,"] in [
        row[:9] for row in shown
    ]
    [found] = run.ok("diff", "--json", *line[1:]).json()
    assert (found["path"], found["kind"], found["content"]["form"]) == (
        *("model.h5", "modified"),
        "hdf5",
    )
    kinds = {tensor["kind"] for tensor in found["content"]["tensors"]}
    assert kinds == {"renamed", "changed", "removed"}


def test_outside_of_every_worktree(two: Path, run: Ama) -> None:
    two.joinpath("model.yml").unlink()
    run.ok("rm", "model.yml")
    run.ok("upload")
    elsewhere = two.parent
    line = ("diff", "models/1", "models/3", "--")
    assert "+  epochs: 6" in run.ok(*line, "training.yml", cwd=elsewhere).stdout.splitlines()
    gone = run.ok(*line, "model.yml", cwd=elsewhere).stdout.splitlines()
    assert gone[0].startswith("removed   model.yml")
    assert gone[1].startswith("@@ -1,")
    assert all(row[0] == "-" for row in gone[2:])
    missing = run(*line, "modell.yml", cwd=elsewhere)
    assert (missing.code, "did you mean model.yml" in missing.stderr) == (3, True)
    assert run.ok(*line, "graph_version.txt", cwd=elsewhere).stderr == "no differences\n"


def test_what_is_shown_without_being_asked_for(two: Path, run: Ama) -> None:
    """The content of files that are named; a list of all, of a directory and of a glob."""
    line = ("diff", "models/1", "models/2")
    assert "@@" not in run.ok(*line).stdout
    assert "@@" not in run.ok(*line, "--", "m*.yml").stdout
    assert "@@" not in run.ok(*line, "--no-patch", "--", "meta.yml").stdout
    both = run.ok(*line, "--", "meta.yml", "training.yml").stdout
    assert both.count("\nmodified ") == 1
    assert both.count("@@ -1") == 2
    everything = run.ok(*line, "-p").stdout
    assert "\n\nmodified  model.h5" in everything
    below = run.ok(*line, "--json", "-p", "--", "meta.yml").json()
    assert below[0]["content"]["hunks"][0]["lines"][0].startswith("-description")
    assert "content" not in run.ok(*line, "--json").json()[0]
    assert run.ok("diff", "-p", "--json").json() == []


def test_in_a_worktree(two: Path, run: Ama) -> None:
    two.joinpath("sub").mkdir()
    two.joinpath("meta.yml").write_text("a: 1\n")
    run.ok("add", "meta.yml")
    two.joinpath("meta.yml").write_text("a: 2")
    lines = ["@@ -1 +1 @@", "-a: 1", "+a: 2", r"\ No newline at end of file"]
    assert run.ok("diff", "--", "../meta.yml", cwd=two / "sub").stdout.splitlines()[1:] == lines
    assert run.ok("diff", "-p").stdout.splitlines()[1:] == lines
    staged = run.ok("diff", "--staged", "--", "meta.yml").stdout.splitlines()
    assert (staged[-1], "+a: 2" in staged) == ("+a: 1", False)
    assert run.ok("diff", "HEAD", "--", "meta.yml").stdout.splitlines()[-2] == "+a: 2"


def test_a_renamed_file_is_told_by_its_content(two: Path, run: Ama) -> None:
    two.joinpath("training.yml").rename(two / "parameters.yml")
    run.ok("add", ".")
    shown = run.ok("diff", "--staged", "-p").stdout.splitlines()
    assert shown == [
        "added     parameters.yml  346 B",
        "  the same content was training.yml",
        "",
        "removed   training.yml  346 B",
        "  the same content is now parameters.yml",
    ]
    [added, _] = run.ok("diff", "--staged", "-p", "--json").json()
    assert (added["content"], added["elsewhere"]) == (None, ["training.yml"])


def test_a_file_can_t_command_the_terminal(two: Path, run: Ama) -> None:
    two.joinpath("meta.yml").write_bytes(b"\tkept\n\x1b]0;title\x07\r\n\xe2\x80\xaeright to left\n")
    shown = run.ok("diff", "--", "meta.yml").stdout.splitlines()
    assert shown[-3:] == ["+\tkept", r"+\x1b]0;title\x07\r", r"+\u202eright to left"]


def test_modes_links_and_safetensors(two: Path, run: Ama) -> None:
    save_file({"w": np.zeros((2, 3), np.float32)}, two / "w.safetensors")
    two.joinpath("link").symlink_to("meta.yml")
    two.joinpath("data.bin").write_bytes(b"\0\1")
    run.ok("add", ".")
    save_file({"w": np.zeros((3, 3), np.float32)}, two / "w.safetensors")
    two.joinpath("link").unlink()
    two.joinpath("link").symlink_to("model.yml")
    two.joinpath("data.bin").write_bytes(b"\0\2")
    two.joinpath("meta.yml").chmod(0o755)
    shown = run.ok("diff", "-p").stdout.split("\n\n")
    assert [part.splitlines()[0].split()[:2] for part in shown] == [
        *(["modified", "data.bin"], ["modified", "link"], ["mode", "meta.yml"]),
        ["modified", "w.safetensors"],
    ]
    assert shown[0].splitlines()[1].startswith("  binary, ")
    assert shown[1].splitlines()[2:5:2] == ["-meta.yml", "+model.yml"]
    assert len(shown[2].splitlines()) == 1
    assert shown[3].splitlines()[1].split()[2:] == [*"float32 2×3 -> float32 3×3".split()]


def test_a_large_file_that_is_stored_nowhere_yet(two: Path, run: Ama) -> None:
    """`add` only notes its hash: until the upload its content is in this directory, or nowhere."""
    large = two / "large.bin"
    large.write_bytes(random.Random(1).randbytes(5_000_000))
    text = "".join(f"{number}\n" for number in range(700_000))
    two.joinpath("large.txt").write_text(text)
    run.ok("add", "large.bin", "large.txt")
    here = run.ok("diff", "--staged", "--", "large.txt").stdout.splitlines()
    assert (here[1], len(here)) == ("@@ -0,0 +1,700000 @@", 700_002)
    with large.open("ab") as file:
        file.write(b"more")
    os.utime(large, (1, 1))
    for line in (("diff",), ("diff", "--staged")):
        shown = run.ok(*line, "--", "large.bin").stdout.splitlines()
        assert shown[-1] == "  as it was added, its content is stored nowhere"


def test_in_python(two: Path) -> None:
    store = ama.Repo.open(two).store()
    [found] = store.diff_contents("models/1", "models/2", paths="meta.yml")
    assert found.content is not None
    assert found.content.hunks[0].header == "@@ -1,2 +1,2 @@"
    with pytest.raises(ama.NotFound, match=r"no asset that is compared has meta\.yaml"):
        store.diff("models/1", "models/2", paths="meta.yaml")
    [same] = ama.Repo.open(two).diff_contents("models/1", paths=["meta.yml"])
    assert same.content == found.content
