"""init, add, rm, restore, status, set, commit, switch and diff by the real command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ama import Repo
from conftest import Ama


@pytest.fixture
def models(training_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new worktree of class models with files that were never added; it is the cwd."""
    directory = training_runs / "base"
    monkeypatch.chdir(directory)
    Repo.init(directory, "models")
    return directory


def staged(run: Ama) -> dict[str, str]:
    return {
        change["path"]: change["kind"] for change in run.ok("status", "--json").json()["staged"]
    }


def last_line(text: str) -> str:
    return text.splitlines()[-1]


def test_init_says_what_and_where(tmp_path: Path, run: Ama) -> None:
    result = run.ok("init", "models")
    assert "models" in result.stdout
    assert str(tmp_path) in result.stdout
    assert last_line(result.stdout).startswith("next: ama add")
    shown = run.ok("init", "models", "--json").json()
    assert shown == {"root": str(tmp_path), "class_name": "models", "was": None}


def test_a_second_init_says_what_was_here_and_the_way_back(tmp_path: Path, run: Ama) -> None:
    (tmp_path / "a").write_text("a", encoding="utf-8")
    run.ok("init", "models")
    run.ok("add", "a")
    name = run.ok("upload", "--json").json()["asset"]["name"]
    here, was, _ = run.ok("init", "models").stdout.splitlines()
    assert here == f"started another asset of models, without a parent, in {tmp_path}"
    assert was == f"{name} was here before; back to it: ama switch models/1"
    assert run.ok("status").stdout.startswith("models, nothing committed yet\n")
    run.ok(*was.partition(": ama ")[2].split())
    assert run.ok("status", "--json").json()["head"]["name"] == name
    shown = run.ok("init", "reports", "--json").json()
    assert (shown["class_name"], shown["was"]["name"]) == ("reports", name)
    # Nothing was here since.
    assert "was here" not in run.ok("init", "models").stdout


def test_add_with_commas_globs_and_directories(models: Path, run: Ama) -> None:
    (models / "sub").mkdir()
    (models / "sub" / "notes.txt").write_text("x", encoding="utf-8")
    result = run.ok("add", "meta.yml,", "model.yml,", "graph_version.txt")
    assert result.stdout.splitlines()[-2].startswith("staged 3 files, ")
    assert last_line(result.stdout) == "next: ama upload"
    assert set(staged(run)) == {"meta.yml", "model.yml", "graph_version.txt"}
    run.ok("add", "*ckpt0.yml", "sub")
    assert set(staged(run)) == {
        *("meta.yml", "model.yml", "graph_version.txt", "sub/notes.txt"),
        *("git_commit_info_ckpt0.yml", "run_config_ckpt0.yml"),
    }
    assert "nothing new" in run.ok("add", "meta.yml").stdout


def test_add_from_a_subdirectory(models: Path, run: Ama) -> None:
    (models / "sub").mkdir()
    (models / "sub" / "notes.txt").write_text("x", encoding="utf-8")
    run.ok("add", "notes.txt,", "../meta.yml", cwd=models / "sub")
    assert set(staged(run)) == {"meta.yml", "sub/notes.txt"}


@pytest.mark.usefixtures("models")
def test_add_of_what_is_missing(run: Ama) -> None:
    result = run("add", "meta.yml,", "missing.yml,")
    assert result.code == 3
    assert "missing.yml" in result.stderr
    assert "missing.yml," not in result.stderr
    assert staged(run) == {}
    assert run("add", "*.none").code == 3


@pytest.mark.usefixtures("models")
def test_add_json(run: Ama) -> None:
    shown = run.ok("add", "meta.yml", "--json").json()
    (change,) = shown["changes"]
    assert (change["path"], change["kind"]) == ("meta.yml", "added")
    assert shown["unchanged"] == 0
    assert shown["kinds"] == {"added": 1}
    assert shown["staged_size"] == change["new_size"]


def test_add_counts_what_changed(models: Path, run: Ama) -> None:
    run.ok("add", "meta.yml", "model.yml", "graph_version.txt")
    (models / "meta.yml").write_text("12345", encoding="utf-8")
    (models / "model.yml").chmod(0o755)
    (models / "graph_version.txt").unlink()
    (models / "new").mkdir()
    (models / "new" / "file").write_text("123", encoding="utf-8")
    shown = run.ok("add", "meta.yml", "model.yml", "graph_version.txt", "new", "--json").json()
    assert shown["kinds"] == {"added": 1, "modified": 1, "mode": 1, "removed": 1}
    assert len(shown["changes"]) == 4
    assert shown["staged_size"] == sum(change["new_size"] or 0 for change in shown["changes"])
    (models / "new" / "file").unlink()
    (models / "new").rmdir()
    (models / "new").write_text("a file in a directory's place", encoding="utf-8")
    assert run.ok("add", "new").stdout.splitlines()[-2].endswith(": 1 added, 1 removed")


def test_a_long_list_of_changes_is_cut(models: Path, run: Ama) -> None:
    for number in range(25):
        (models / f"{number}.txt").write_text(str(number), encoding="utf-8")
    lines = run.ok("add", "*.txt").stdout.splitlines()
    assert len(lines) < 15
    assert any("more" in line for line in lines)


def test_rm(models: Path, run: Ama) -> None:
    run.ok("add", "meta.yml", "model.yml")
    run.ok("commit")
    result = run.ok("rm", "meta.yml,", "model.yml", "--cached")
    assert "removed 2 files, kept on disk" in result.stdout
    assert (models / "meta.yml").exists()
    assert staged(run) == {"meta.yml": "removed", "model.yml": "removed"}
    run.ok("restore", "--staged", ".")
    result = run.ok("rm", "meta.yml")
    assert "removed 1 file\n" in result.stdout
    assert not (models / "meta.yml").exists()


def test_restore(models: Path, run: Ama) -> None:
    content = (models / "meta.yml").read_bytes()
    run.ok("add", "meta.yml")
    run.ok("commit")
    (models / "meta.yml").unlink()
    assert "restored 1 file" in run.ok("restore", "meta.yml,").stdout
    assert (models / "meta.yml").read_bytes() == content
    run.ok("add", "model.yml")
    assert "unstaged 1 file" in run.ok("restore", "--staged", "model.yml").stdout
    assert staged(run) == {}
    assert (models / "model.yml").exists()


def test_status_tells_everything(models: Path, run: Ama) -> None:
    said = run.ok("status").stdout
    assert said.splitlines()[0] == "models, nothing committed yet"
    assert "not added:" in said
    assert "  meta.yml" in said
    run.ok("add", "meta.yml", "model.yml")
    run.ok("set", "--alias", "best", "-m", "why", "--meta", "lr=0.1")
    (models / "model.yml").write_text("changed", encoding="utf-8")
    said = run.ok("status").stdout
    for told in (
        *("staged:", "added", "meta.yml", "changed since add:", "modified", "model.yml"),
        *("set for the next upload:", "alias     best", "message   why", "metadata  lr = 0.1"),
    ):
        assert told in said
    assert last_line(said) == "next: ama upload"
    shown = run.ok("status", "--json").json()
    assert shown["aliases"] == ["best"]
    assert shown["metadata"] == {"lr": 0.1}
    assert shown["head"] is None


def test_status_when_there_is_nothing_to_do(tmp_path: Path, run: Ama) -> None:
    (tmp_path / "a").write_text("a", encoding="utf-8")
    run.ok("init", "models")
    run.ok("add", "a")
    run.ok("upload")
    lines = run.ok("status").stdout.splitlines()
    assert lines[0].startswith("models/1 (")
    assert lines[1].startswith("1 file, 1 B")
    assert lines[2:] == ["nothing to upload"]


@pytest.mark.usefixtures("models")
def test_set_reads_values_by_their_look(run: Ama) -> None:
    run.ok("add", "meta.yml")
    run.ok("set", "--meta", "n=3", "--meta", "ok=true", "--meta", "s=x=y", "--meta-str", "id=007e1")
    said = run.ok("set", "--alias", "a", "--alias", "b", "--meta", "lr=1e-3").stdout
    for line in ("alias     a", "alias     b", "metadata  n = 3", "metadata  lr = 0.001"):
        assert line in said
    assert last_line(said) == "next: ama upload"
    shown = run.ok("set", "--unset", "n", "--json").json()
    assert shown["metadata"] == {"ok": True, "s": "x=y", "id": "007e1", "lr": 0.001}
    assert sorted(shown["aliases"]) == ["a", "b"]
    assert run("set", "--alias", "no/good").code == 2


@pytest.mark.usefixtures("models")
def test_commit(run: Ama) -> None:
    run.ok("add", "meta.yml")
    said = run.ok("commit", "-m", "first").stdout
    assert said.startswith("committed models (")
    assert last_line(said) == "next: ama push"
    assert run.ok("commit").stdout.startswith("nothing to commit")
    assert "not published yet:" in run.ok("status").stdout
    said = run.ok("push").stdout
    assert "published models/1 (" in said
    assert run.ok("status").stdout.startswith("models/1 (")
    run.ok("commit", "-m", "second")
    said = run.ok("status").stdout
    assert said.startswith("models ("), "its parent's number is not its own"


def test_what_was_changed_and_not_added_is_said(models: Path, run: Ama) -> None:
    run.ok("add", "meta.yml", "model.yml")
    said = run.ok("upload").stdout
    assert "as it was added" not in said
    (models / "model.yml").write_text("layers: 9\n", encoding="utf-8")
    told = "not as it was added: model.yml (next: ama add model.yml)"
    assert told in run.ok("upload").stdout.splitlines(), "also where nothing new is published"
    run.ok("set", "--meta", "lr=0.1")
    assert told in run.ok("upload").stdout.splitlines()
    run.ok("set", "--meta", "lr=0.2")
    assert told in run.ok("commit", "-m", "fix again").stdout.splitlines()
    run.ok("set", "--meta", "lr=0.3")
    (models / "sub").mkdir()
    shown = run.ok("commit", "-m", "and again", cwd=models / "sub").stdout
    assert "ama add ../model.yml" in shown or "ama add " + str(models / "model.yml") in shown
    assert run.ok("commit", "--json").json()["not_added"] == ["model.yml"]
    run.ok(*told.partition(": ama ")[2].rstrip(")").split())
    assert "as it was added" not in run.ok("commit").stdout


@pytest.fixture
def two_versions(models: Path, run: Ama) -> Path:
    run.ok("add", "meta.yml", "model.yml")
    run.ok("upload", "-m", "one")
    (models / "meta.yml").write_text("changed\n", encoding="utf-8")
    run.ok("add", "meta.yml", "graph_version.txt")
    run.ok("rm", "model.yml", "--force")
    run.ok("upload", "-m", "two")
    return models


def test_diff(two_versions: Path, run: Ama) -> None:
    lines = run.ok("diff", "models/1", "models/2").stdout.splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [
        ["added", "graph_version.txt"],
        ["modified", "meta.yml"],
        ["removed", "model.yml"],
    ]
    assert lines[-1] == "1 added, 1 modified, 1 removed"
    lines = run.ok("diff", "models/1", "HEAD", "--no-patch", "--", "meta.yml").stdout.splitlines()
    assert len(lines) == 2
    shown = run.ok("diff", "HEAD~1", "HEAD", "--json").json()
    assert [change["path"] for change in shown] == ["graph_version.txt", "meta.yml", "model.yml"]

    result = run.ok("diff")
    assert result.stdout == ""
    assert result.stderr == "no differences\n"
    (two_versions / "meta.yml").write_text("changed again\n", encoding="utf-8")
    assert "modified  meta.yml" in run.ok("diff").stdout
    assert run.ok("diff", "--staged").stdout == ""
    assert run.ok("diff", "--", "graph_version.txt").stdout == ""
    run.ok("add", "meta.yml")
    assert "modified  meta.yml" in run.ok("diff", "--staged").stdout


def test_switch(two_versions: Path, run: Ama) -> None:
    said = run.ok("switch", "models/1").stdout
    assert last_line(said).startswith("now at models/1 (")
    assert (two_versions / "model.yml").exists()
    assert run.ok("switch", "models/1").stdout.startswith("already at models/1 (")
    run.ok("switch", "models")
    assert not (two_versions / "model.yml").exists()


def test_a_switch_that_would_lose_work_is_refused(two_versions: Path, run: Ama) -> None:
    (two_versions / "meta.yml").write_text("precious\n", encoding="utf-8")
    result = run("switch", "models/1")
    assert result.code != 0
    assert "meta.yml" in result.stderr
    assert (two_versions / "meta.yml").read_text(encoding="utf-8") == "precious\n"


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_a_name_can_not_write_to_the_terminal(models: Path, run: Ama) -> None:
    (models / "evil\x1b[31m\nname").write_text("x", encoding="utf-8")
    result = run.ok("status")
    assert "\x1b" not in result.output
    assert "evil\\x1b[31m\\nname" in result.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="other systems hold only Unicode names")
def test_a_symlink_to_a_name_that_is_not_utf8_is_refused(models: Path, run: Ama) -> None:
    os.symlink(b"caf\xe9", os.fsencode(models / "link"))
    refused = run("add", ".")
    assert refused.code == 2
    assert "isn't valid UTF-8" in refused.stderr
    assert staged(run) == {}


def test_a_glob_takes_what_is_staged(models: Path, run: Ama) -> None:
    sub = models / "m[1]"
    for name in ("model.bin", "more.bin", "not.added"):
        (models / name).write_text(name, encoding="utf-8")
        (sub / "deep" / name).parent.mkdir(parents=True, exist_ok=True)
        (sub / "deep" / name).write_text(name, encoding="utf-8")
    run.ok("add", "model.bin", "m[1]")
    run.ok("commit")
    (models / "model.bin").unlink()
    (sub / "deep" / "more.bin").unlink()
    run.ok("restore", "model.b*")
    run.ok("restore", "de*/mo*", cwd=sub)
    assert run.ok("status", "--json").json()["changed"] == []
    assert "removed 1 file\n" in run.ok("rm", "mo*.bin").stdout
    assert (models / "more.bin").exists()
    assert "removed 2 files" in run.ok("rm", "**/mo*", cwd=sub).stdout
    refused = run("rm", "mo*.bin")
    assert refused.code == 3
    assert "mo*.bin is not staged" in refused.stderr


@pytest.mark.skipif(os.name == "nt", reason="nobody can delete where someone stands there")
def test_the_directory_that_one_stands_in_is_kept(models: Path, run: Ama) -> None:
    here = models / "sub" / "deep"
    here.mkdir(parents=True)
    (here / "f").write_text("f", encoding="utf-8")
    (models / "sub" / "other").mkdir()
    (models / "sub" / "other" / "g").write_text("g", encoding="utf-8")
    run.ok("add", "meta.yml", "sub")
    run.ok("upload")
    run.ok("rm", "f", "../other/g", cwd=here)
    assert here.is_dir()
    assert not (models / "sub" / "other").exists()
    run.ok("upload", cwd=here)
    run.ok("switch", "HEAD~1", cwd=here)
    run.ok("switch", "models/2", cwd=here)
    assert here.is_dir()
    run.ok("switch", "models/1")
    run.ok("rm", "sub")
    assert not (models / "sub").exists()


@pytest.mark.skipif(os.name == "nt", reason="nobody can delete where someone stands there")
@pytest.mark.parametrize("line", ["status", "init models", "add f", "download models", "config"])
def test_in_a_deleted_directory(tmp_path: Path, ama_on_path: Path, line: str) -> None:
    script = f"mkdir gone && cd gone && rmdir ../gone && '{ama_on_path / 'ama'}' {line}"
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "")
    # Before it the shell itself may complain.
    assert done.stderr.endswith("error: this directory was deleted\nhint: go to another one: cd\n")


def test_restore_of_what_was_removed_or_never_kept(models: Path, run: Ama) -> None:
    (models / "s b").mkdir()
    (models / "s b" / "new").write_text("new", encoding="utf-8")
    run.ok("add", "s b")
    run.ok("upload")
    run.ok("rm", "s b/new")
    (models / "s b").mkdir(exist_ok=True)
    refused = run("restore", "new", cwd=models / "s b")
    assert refused.code == 3
    assert refused.stderr.splitlines() == [
        f"in the worktree {models}, models",
        "error: s b/new is not staged any more: its removal is",
        "hint: take that back: ama restore --staged new",
    ]
    run.ok("restore", "--staged", "new", cwd=models / "s b")
    run.ok("restore", "s b/new")

    (models / "b.bin").write_bytes(bytes(2_000_000))
    run.ok("add", "b.bin")
    (models / "b.bin").unlink()
    refused = run("restore", "b.bin")
    assert refused.code == 3
    assert "b.bin was deleted, and its content as it was added was never kept" in refused.stderr
    assert refused.stderr.splitlines()[-1] == "hint: take it out: ama rm b.bin"
    refused = run("upload", cwd=models / "s b")
    assert refused.code == 5
    assert "b.bin was deleted, and its content never kept" in refused.stderr
    assert refused.stderr.splitlines()[-1].endswith("or take it out: ama rm ../b.bin")
    run.ok("rm", "../b.bin", cwd=models / "s b")
    assert "nothing new" in run.ok("upload").stdout


def test_paths_are_shown_from_where_one_stands(models: Path, run: Ama) -> None:
    sub = models / "sub"
    (sub / "deep").mkdir(parents=True)
    for name in ("sub/f", "sub/deep/g", "h"):
        (models / name).write_text(name, encoding="utf-8")
    assert "added     ../h " in run.ok("add", "f", "deep", "../h", cwd=sub).stdout
    said = run.ok("status", cwd=sub).stdout
    for line in ("  added     f ", "  added     deep/g ", "  added     ../h ", "  ../meta.yml\n"):
        assert line in said
    run.ok("commit")
    for name in ("sub/f", "h"):
        (models / name).write_text("changed", encoding="utf-8")
    (sub / "deep" / "new").touch()
    (sub / "fresh").mkdir()
    (sub / "fresh" / "x").touch()
    said = run.ok("status", cwd=sub / "deep").stdout
    for line in ("  modified  ../f ", "  modified  ../../h ", "  new\n", "  ../fresh/\n"):
        assert line in said
    said = run.ok("diff", cwd=sub).stdout
    assert "modified  f " in said
    assert "modified  ../h " in said
    shown = run.ok("diff", "--json", cwd=sub).json()
    assert [change["path"] for change in shown] == ["h", "sub/f"]
    run.ok("restore", "f", "../h", "--force", cwd=sub)
    assert run.ok("diff", cwd=sub).stdout == ""


def test_paths_of_an_asset_from_where_one_stands(models: Path, run: Ama) -> None:
    sub = models / "sub"
    sub.mkdir()
    (sub / "f").write_text("inner", encoding="utf-8")
    (models / "f").write_text("outer", encoding="utf-8")
    run.ok("add", "f", "sub")
    run.ok("upload")
    assert run.ok("cat", "f", cwd=sub).stdout == "outer"
    assert run.ok("cat", "./f", cwd=sub).stdout == "inner"
    assert run.ok("cat", "../f", cwd=sub).stdout == "outer"
    assert run.ok("cat", "models/1:./f", cwd=sub).stdout == "inner"
    assert run.ok("show", "HEAD:./f", cwd=sub).stdout == "inner"
    for words in (("HEAD", "."), ("HEAD:./f",)):
        assert [f["path"] for f in run.ok("ls", *words, "--json", cwd=sub).json()] == ["sub/f"]
    assert len(run.ok("ls", "HEAD", "..", "--json", cwd=sub).json()) == 2
    assert run("cat", "../../f", cwd=sub).code == 3


@pytest.mark.usefixtures("models")
def test_diff_of_a_path_that_names_nothing(run: Ama) -> None:
    run.ok("add", "meta.yml")
    run.ok("commit")
    assert run.ok("diff", "--", "meta.yml").stderr == "no differences\n"
    assert run.ok("diff", "--", "model.yml").stderr == "no differences\n"
    refused = run("diff", "--", "meta.yaml")
    assert refused.code == 3
    assert "meta.yaml is neither here nor in what is compared" in refused.stderr
    run.ok("rm", "--cached", "meta.yml")
    assert "removed   meta.yml" in run.ok("diff", "--staged", "--", "met*").stdout


def test_a_long_status_is_cut(models: Path, run: Ama) -> None:
    (models / "many").mkdir()
    for number in range(100):
        (models / f"{number}.txt").touch()
        (models / "many" / f"{number}.txt").touch()
    run.ok("add", "many")
    said = run.ok("status").stdout
    assert "  ... and 70 more\nnot added:" in said
    assert len(said.splitlines()) < 70
    shown = run.ok("status", "--json").json()
    assert len(shown["staged"]) == 100
    assert len(shown["untracked"]) > 100


@pytest.mark.parametrize("name", ["a,b", "[x]"])
def test_what_is_staged_keeps_its_name_though_it_is_gone(
    name: str, tmp_path: Path, run: Ama
) -> None:
    """It stands for itself, not for a list or a glob of others that are here."""
    for file in (name, "a", "b", "x"):
        (tmp_path / file).write_text(file, encoding="utf-8")
    run.ok("init", "models")
    run.ok("add", ".")
    run.ok("commit", "-m", "first")
    (tmp_path / name).unlink()
    assert run.ok("diff", "--json", "--", name).json()[0]["path"] == name
    run.ok("restore", name)
    assert (tmp_path / name).read_text(encoding="utf-8") == name
    (tmp_path / name).unlink()
    assert run.ok("rm", name, "--json").json()["removed"] == [name]
    assert staged(run) == {name: "removed"}
    run.ok("restore", "--staged", name)
    assert [c["path"] for c in run.ok("add", name, "--json").json()["changes"]] == [name]
    assert sorted(file.name for file in tmp_path.glob("?")) == ["a", "b", "x"]


@pytest.mark.parametrize(
    "line",
    [
        *("upload", "push", "pull", "fetch", "switch a", "diff", "restore a", "rm a", "status"),
        *("add a", "log", "show", "ls"),
    ],
)
def test_beside_a_worktree_the_hint_goes_to_it(line: str, tmp_path: Path, run: Ama) -> None:
    lost = run(*line.split())
    assert lost.code == 3
    assert "ama download ASSET; or start one here: ama init CLASS\n" in lost.stderr
    Repo.init(tmp_path / "my model", "models")
    (tmp_path / "other").mkdir()
    said = run(*line.split()).stderr
    assert "go to a worktree below: cd 'my model'; or run ama -C 'my model' ...\n" in said
    assert "init" not in said
    Repo.init(tmp_path / "b", "models")
    assert "below: cd b or cd 'my model'; or run ama -C b ..." in run(*line.split()).stderr


@pytest.mark.parametrize("command", ["upload", "commit"])
def test_who_is_named_by_nobody_is_told_once(command: str, models: Path, run: Ama) -> None:
    run.ok("config", "set", "record.git", "false")
    said = []
    for text in ("a", "b"):
        (models / "a").write_text(text, encoding="utf-8")
        run.ok("add", "a")
        said.append(run.ok(command).stderr)
    author = run.ok("show", "--json").json()["author"]
    assert said == [
        f"made by {author}, as nobody is configured; name yourself:"
        " ama config set --user user.name 'YOUR NAME'\n",
        "",
    ]


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize("where", ["git", "ama", "quiet"])
def test_who_is_named_is_told_nothing(where: str, models: Path, run: Ama) -> None:
    if where == "git":
        subprocess.run(["git", "config", "--global", "user.name", "Ann"], check=True)
    if where == "ama":
        run.ok("config", "set", "user.name", "Ann")
    run.ok("config", "set", "record.git", "false")
    run.ok("add", "meta.yml")
    quiet = ["-q"] if where == "quiet" else []
    assert run.ok("commit", *quiet).stderr == ""
    assert run.ok("show", "--json").json()["author"].startswith("Ann <") == (where != "quiet")


@pytest.mark.usefixtures("models")
def test_what_is_taken_back_is_said(run: Ama) -> None:
    run.ok("set", "--alias", "best", "-m", "why", "--meta", "lr=1")
    said = run.ok("set", "--unset", "lr").stdout.splitlines()
    assert said[:2] == ["no longer set: lr", "set for the next upload:"]
    said = run.ok("set", "--unset", "alias:best", "--unset", "message").stdout.splitlines()
    assert said[0] == "no longer set: alias:best, message"
    assert not any("set for the next upload" in line for line in said)


def test_what_is_not_staged_is_named_as_it_was_given(models: Path, run: Ama) -> None:
    (models / "sub").mkdir()
    for line in ("rm z", "diff -- z"):
        said = run(*line.split(), cwd=models / "sub").stderr.splitlines()
        assert any(line.startswith("error: z is n") for line in said)


def test_each_command_of_a_refusal_works(models: Path, run: Ama) -> None:
    run.ok("add", "meta.yml")
    assert "or delete it all the same: ama rm --force meta.yml\n" in run("rm", "meta.yml").stderr
    run.ok("upload")
    (models / "meta.yml").write_text("mine\n", encoding="utf-8")
    assert "keep it: ama add meta.yml;" in run("restore", "meta.yml").stderr
    refused = run("restore", "--source", "HEAD", "meta.yml")
    assert "keep it: ama add meta.yml and ama commit;" in refused.stderr


def test_a_restore_with_nothing_to_do_says_how_to_get_what_head_has(
    two_versions: Path, run: Ama
) -> None:
    (two_versions / "meta.yml").write_text("mine\n", encoding="utf-8")
    run.ok("add", "meta.yml")
    run.ok("commit")
    (two_versions / "meta.yml").write_text("changed\n", encoding="utf-8")
    run.ok("add", "meta.yml")
    told = run.ok("restore", "meta.yml").stdout
    assert told.startswith("nothing to restore: all is as it was added; as HEAD has it: ama ")
    run.ok(*told.split(": ama ")[1].split())
    assert (two_versions / "meta.yml").read_text(encoding="utf-8") == "mine\n"


def test_an_empty_message_is_none(two_versions: Path, run: Ama) -> None:
    run.ok("set", "-m", "why")
    run.ok("set", "-m", "")
    assert "next upload" not in run.ok("status").stdout
    run.ok("init", "models")
