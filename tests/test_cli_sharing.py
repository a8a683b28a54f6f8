"""upload, download, push, pull, fetch, list, link, ref, alias and remote by the real command."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ama import Repo
from ama.config import set_value
from ama.settings import user_config_path
from conftest import Ama


@pytest.fixture
def training(training_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A worktree whose inputs and model are published, the model linked to its inputs; the cwd."""
    directory = training_runs / "base"
    monkeypatch.chdir(directory)
    config = user_config_path()
    set_value(config, "user.name", "Ann Lee")
    set_value(config, "user.email", "ann@example.com")
    inputs = Repo.init(directory, "inputs")
    inputs.add(["training.yml"])
    inputs.set(aliases=["latest"])
    inputs.upload()
    model = Repo.init(directory, "models")
    model.add(["model.h5", "model.yml"])
    model.set(aliases=["best"], metadata={"lr": 0.1})
    model.link("inputs@latest", label="data")
    model.upload(message="first\n\nIt is small.")
    return directory


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    return directory


def test_upload_says_what_and_where(tmp_path: Path, home: Path, run: Ama) -> None:
    (tmp_path / "a").write_text("a", encoding="utf-8")
    run.ok("init", "models")
    run.ok("add", "a")
    run.ok("set", "--alias", "best")
    lines = run.ok("upload").stdout.splitlines()
    assert lines[0].startswith("published models/1 (")
    assert lines[1].startswith("alias models@best is new: models/1 (")
    assert "to the new store " in lines[2]
    assert str(home) in lines[2]
    assert lines[3] == "no remote is configured: this store is on this machine only"
    assert lines[4] == "next: ama remote add NAME URL"
    (line,) = run.ok("upload").stdout.splitlines()
    assert line.startswith("nothing new: models/1 (")

    (tmp_path / "a").write_text("b", encoding="utf-8")
    run.ok("add", "a")
    run.ok("set", "--alias", "best")
    shown = run.ok("upload", "--json").json()
    assert [asset["number"] for asset in shown["published"]] == [2]
    (change,) = shown["aliases"]
    assert (change["old_number"], change["new_number"]) == (1, 2)
    assert shown["local_default"] is True
    assert shown["store_created"] is False


@pytest.mark.usefixtures("training")
def test_log_show_ls_cat(training: Path, run: Ama) -> None:
    said = run.ok("log").stdout.splitlines()
    assert said[0].startswith("models/1 (")
    assert said[0].endswith(" @best")
    assert said[1] == "Created By:  Ann Lee <ann@example.com>"
    assert said[2].startswith("Created At:  ")
    assert said[2].endswith(" UTC")
    assert said[3].startswith("Refs:        inputs/1 (")
    assert said[3].endswith(" @latest as data")
    assert said[4:] == ["", "    first", "", "    It is small."]

    said = run.ok("show").stdout.splitlines()
    fields = {line.partition(":")[0]: line.partition(":")[2].strip() for line in said}
    assert fields["Aliases"] == "best"
    assert fields["Created By"] == "Ann Lee <ann@example.com>"
    assert fields["Metadata"] == "lr = 0.1"
    assert fields["Message"] == "first"
    assert fields["Files"].startswith("2 files, ")
    assert len(fields["Id"]) == 64
    assert any(line.endswith("  model.h5") for line in said)
    shown = run.ok("show", "models@best", "--json").json()
    assert shown["id"] == fields["Id"]
    assert [file["path"] for file in shown["files"]] == ["model.h5", "model.yml"]

    assert len(run.ok("ls").stdout.splitlines()) == 2
    assert run.ok("ls", "models/1", "model.yml").stdout.endswith("  model.yml\n")
    (file,) = run.ok("ls", "inputs", "--json").json()
    assert file["path"] == "training.yml"
    content = (training / "model.yml").read_text(encoding="utf-8")
    for words in (
        ("cat", "model.yml"),
        ("cat", "models@best:model.yml"),
        ("show", "models/1:model.yml"),
        ("cat", ":model.yml"),
    ):
        assert run.ok(*words).stdout == content

    missing = run("ls", "HEAD", "modl.yml")
    assert missing.code == 3
    assert "model.yml" in missing.stderr
    missing = run("cat", "modl.yml")
    assert missing.code == 3
    assert missing.stdout == ""


@pytest.mark.usefixtures("training")
def test_a_store_is_read_from_outside_of_every_worktree(elsewhere: Path, run: Ama) -> None:
    for words in (
        ("log", "models@best"),
        ("log", "models", "--oneline"),
        ("show", "models/1"),
        ("ls", "models"),
        ("cat", "models:model.yml"),
        ("list",),
        ("list", "models"),
        ("alias", "list"),
        ("alias", "history", "models@best"),
        ("fsck",),
    ):
        assert run.ok(*words, cwd=elsewhere).stdout
    for words in (("status",), ("log",), ("cat", "model.yml"), ("upload",)):
        result = run(*words, cwd=elsewhere)
        assert result.code == 3
        assert "ama init" in result.stderr


@pytest.mark.usefixtures("training")
def test_list(run: Ama) -> None:
    lines = run.ok("list").stdout.splitlines()
    assert lines[0].split() == ["Class", "Assets", "Newest", "Created", "At"]
    assert [line.split()[:2] for line in lines[1:]] == [["inputs", "1"], ["models", "1"]]
    lines = run.ok("list", "models").stdout.splitlines()
    assert lines[0].startswith("Asset")
    for told in ("models/1 (", "best", "Ann Lee  ", "  first"):
        assert told in lines[1]
    assert run.ok("list", "models", "--json").json()[0]["aliases"] == ["best"]
    assert [info["name"] for info in run.ok("list", "--json").json()] == ["inputs", "models"]
    result = run("list", "modles")
    assert result.code == 3
    assert "models" in result.stderr


@pytest.mark.usefixtures("training")
def test_list_of_a_few_and_of_an_asset(run: Ama) -> None:
    run.ok("set", "--meta", "again=1")
    run.ok("upload")
    (told,) = run.ok("list", "models", "-n", "1").stdout.splitlines()[1:]
    assert told.startswith("models/2 ")
    assert run("list", "-n", "1").code == 2
    refused = run("list", "models/1")
    assert refused.code == 2
    assert "ama show models/1; all of its class: ama list models" in refused.stderr


def test_list_of_nothing(run: Ama) -> None:
    result = run("list")
    assert result.code == 3
    assert len(result.stderr.splitlines()) == 2


@pytest.mark.usefixtures("training")
def test_download(elsewhere: Path, run: Ama) -> None:
    lines = run.ok("download", "models", "--alias", "best", cwd=elsewhere).stdout.splitlines()
    assert lines[0].startswith("downloaded models/1 (")
    assert " to best: 2 files, " in lines[0] or "best: 2 files, " in lines[0]
    assert lines[-1] == "made from 1 other asset: add --refs to download all"
    assert (elsewhere / "best" / "model.h5").exists()

    run.ok("download", "models/1", "-o", "mine", "--include", "*.yml", cwd=elsewhere)
    assert not (elsewhere / "mine" / "model.h5").exists()
    assert (elsewhere / "mine" / "model.yml").exists()
    shown = run.ok(
        "download", "models@best", "-o", "other", "--refs", "--json", cwd=elsewhere
    ).json()
    assert shown["asset"]["number"] == 1
    assert [ref["asset"]["class_name"] for ref in shown["refs"]] == ["inputs"]


@pytest.mark.usefixtures("training")
def test_download_into_what_was_downloaded_before(elsewhere: Path, run: Ama) -> None:
    copy = elsewhere / "copy"
    words = ("download", "models", "-o", "copy")
    said = run.ok(*words, "--include", "*.yml", cwd=elsewhere).stdout
    assert "copy: 1 file, 244 B, 1 left out" in said
    said = run.ok(*words, "--include", "*.yml", cwd=elsewhere).stdout
    assert "copy already: 1 file, 244 B, 1 left out" in said
    assert "received" not in said
    said = run.ok(*words, cwd=elsewhere).stdout
    assert said.startswith("downloaded models/1 (")
    assert "left out" not in said
    assert (copy / "model.h5").exists()
    assert run.ok("status", "--json", cwd=copy).json()["skipped"] == 0
    said = run.ok(*words, "--include", "*.yml", cwd=elsewhere).stdout
    assert "copy already: 2 files, " in said
    assert "left out" not in said

    (copy / "model.yml").write_text("mine", encoding="utf-8")
    said = run.ok(*words, cwd=elsewhere).stdout
    assert "changed there, so left as it is: model.yml" in said
    assert (copy / "model.yml").read_text(encoding="utf-8") == "mine"
    assert run.ok(*words, "--json", cwd=elsewhere).json()["changed"] == ["model.yml"]


@pytest.mark.usefixtures("training")
def test_what_was_restored_is_not_left_out(elsewhere: Path, run: Ama) -> None:
    copy = elsewhere / "copy"
    run.ok("download", "models", "-o", "copy", "--include", "*.yml", cwd=elsewhere)
    run.ok("restore", "model.h5", cwd=copy)
    said = run.ok("download", "models", "-o", "copy", "--include", "*.yml", cwd=elsewhere).stdout
    assert "copy already: 2 files, " in said
    assert "left out" not in said
    # From now on it belongs to what is here.
    for name in ("model.h5", "model.yml"):
        (copy / name).unlink()
    assert run.ok("restore", ".", cwd=copy).stdout == "restored 2 files\n"


@pytest.mark.usefixtures("training")
def test_restore_leaves_out_what_the_download_did(elsewhere: Path, run: Ama) -> None:
    copy = elsewhere / "copy"
    run.ok("download", "models", "-o", "copy", "--include", "*.yml", cwd=elsewhere)
    (copy / "model.yml").unlink()
    assert run.ok("restore", ".", cwd=copy).stdout == "restored 1 file, 1 left out\n"
    assert not (copy / "model.h5").exists()
    assert run.ok("status", "--json", cwd=copy).json()["skipped"] == 1
    assert run.ok("restore", "*.h5", cwd=copy).stdout == "restored 1 file\n"

    none = elsewhere / "none"
    run.ok("download", "models", "-o", "none", "--metadata-only", cwd=elsewhere)
    done = run.ok("restore", ".", "--json", cwd=none).json()
    assert done == {"restored": [], "deleted": [], "left_out": ["model.h5", "model.yml"]}
    assert [path.name for path in none.iterdir()] == [".ama"]
    # What lies there is restored, wherever it comes from.
    (none / "model.yml").write_text("mine", encoding="utf-8")
    assert run("restore", ".", cwd=none).code == 5
    said = run.ok("restore", ".", "--force", cwd=none).stdout
    assert said == "restored 1 file, 1 left out\n"


def test_an_older_asset_is_staged_also_where_it_is_left_out(
    tmp_path: Path, elsewhere: Path, run: Ama
) -> None:
    """Else the next asset would have some files of the one and some of the other."""
    project = tmp_path / "project"
    project.mkdir()
    run.ok("init", "models", cwd=project)
    large = bytes(range(256)) * 6000
    files = {"d/a.txt": b"a1", "d/b.bin": b"b1", "d/large.bin": large, "d/same.bin": b"same"}
    for number in ("1", "2"):
        for name, data in files.items():
            (project / name).parent.mkdir(exist_ok=True)
            changed = data if "same" in name or number == "1" else data + b"changed"
            (project / name).write_bytes(changed)
        if number == "2":
            (project / "d" / "new.bin").write_bytes(b"new")
        run.ok("add", "d", cwd=project)
        run.ok("upload", cwd=project)
    run.ok("download", "models/2", "-o", "copy", "--include", "*.txt", cwd=elsewhere)
    copy = elsewhere / "copy"
    said = run.ok("restore", "--source", "models/1", "d", cwd=copy).stdout
    assert said == "restored 1 file, deleted 1 file, 3 left out\n"
    assert [path.name for path in (copy / "d").iterdir()] == ["a.txt"]
    state = run.ok("status", "--json", cwd=copy).json()
    staged = {change["path"]: change["kind"] for change in state["staged"]}
    assert staged == {
        "d/a.txt": "modified",
        "d/b.bin": "modified",
        "d/large.bin": "modified",
        "d/new.bin": "removed",
    }
    assert (state["skipped"], state["changed"]) == (3, [])
    run.ok("fsck", cwd=copy)
    run.ok("upload", cwd=copy)
    trees = [run.ok("show", f"models/{n}", "--json", cwd=copy).json()["tree"] for n in (1, 3)]
    assert trees[0] == trees[1]


@pytest.mark.usefixtures("training")
def test_a_download_that_matches_nothing(elsewhere: Path, run: Ama) -> None:
    for words, globs in (
        (("--include", "*.nope"), "--include '*.nope'"),
        (("--include", "*.nope", "--refs"), "--include '*.nope'"),
        (("--include", "*.yml", "--exclude", "*"), "--include '*.yml' --exclude '*'"),
    ):
        done = run("download", "models", *words, cwd=elsewhere)
        assert done.code == 3
        error, hint = done.stderr.splitlines()
        assert error.startswith("error: no file of models/1 ")
        assert error.endswith(f" is chosen by {globs}")
        assert "ama ls models/1" in hint
        assert "--metadata-only" in hint
        assert list(elsewhere.iterdir()) == []
    # Only what it was made from has such a file.
    run.ok("download", "models", "--include", "training.yml", "--refs", cwd=elsewhere)
    assert (elsewhere / "inputs-1" / "training.yml").exists()
    refused = run("download", "models", "--metadata-only", "--include", "*.yml", cwd=elsewhere)
    assert refused.code == 2
    assert "exclude each other" in refused.stderr


@pytest.mark.usefixtures("training")
def test_download_where_another_asset_is(elsewhere: Path, run: Ama) -> None:
    run.ok("download", "models/1", "-o", "m y", cwd=elsewhere)
    run.ok("set", "-m", "two")
    run.ok("upload")
    refused = run("download", "models/2", "-o", "m y", cwd=elsewhere)
    assert refused.code == 4
    hint = refused.stderr.splitlines()[-1]
    assert hint == (
        f"hint: switch it: cd '{elsewhere / 'm y'}' && ama switch models/2;"
        " or choose another directory: -o DIR"
    )
    run.ok("switch", "models/2", cwd=elsewhere / "m y")


@pytest.mark.usefixtures("training")
def test_all_places_of_a_download_with_refs_are_checked_first(elsewhere: Path, run: Ama) -> None:
    (elsewhere / "inputs-1").mkdir()
    (elsewhere / "inputs-1" / "mine").touch()
    refused = run("download", "models", "--refs", "-o", "m", cwd=elsewhere)
    assert refused.code == 4
    assert "inputs-1 exists already" in refused.stderr
    assert refused.stderr.splitlines()[-1] == "hint: choose another parent directory: -o DIR/m"
    assert not (elsewhere / "m").exists()
    run.ok("download", "models", "--refs", "-o", "x/m", cwd=elsewhere)


@pytest.mark.usefixtures("training")
def test_the_hint_of_an_interrupted_download_finishes_it(elsewhere: Path, run: Ama) -> None:
    copy = elsewhere / "a copy"
    pending = copy / ".ama" / "pending"
    stop = (
        "import sys, ama.transfer.download as d\n"
        "def stop(*_, **__): raise KeyboardInterrupt\n"
        "d.plan_checkout = stop\n"
        "from ama.cli import main\n"
        "main()"
    )
    words = ["download", "models", "--include", "*.yml", "-o", str(copy)]
    done = subprocess.run(
        [sys.executable, "-c", stop, *words], cwd=elsewhere, capture_output=True, text=True
    )
    assert done.returncode == 130
    assert done.stderr.splitlines() == [
        "error: interrupted",
        f"hint: go on with it: ama {shlex.join(words)}",
    ]
    assert (pending / "checkout").exists()
    refused = run("status", cwd=copy)
    assert refused.code == 5
    hint = refused.stderr.splitlines()[-1]
    assert hint.startswith("hint: finish it first: ama download models/1 --include '*.yml' ")
    # From inside it, and where nothing is configured.
    run.ok(*shlex.split(hint.partition("ama ")[2]), cwd=copy)
    assert (copy / "model.yml").exists()
    assert not (copy / "model.h5").exists()
    run.ok("status", cwd=copy)


@pytest.mark.usefixtures("training")
def test_download_of_what_is_not_there(elsewhere: Path, run: Ama) -> None:
    for words, near in (
        (("modles",), "models"),
        (("models", "--alias", "bets"), "best"),
        (("models/7",), "models/1"),
    ):
        result = run("download", *words, cwd=elsewhere)
        assert result.code == 3
        assert len(result.stderr.splitlines()) == 2
        assert near in result.stderr
    assert list(elsewhere.iterdir()) == []


@pytest.mark.usefixtures("training")
def test_refs(run: Ama) -> None:
    run.ok("init", "reports")
    result = run.ok("ref", "list")
    assert result.stdout == ""
    assert "ama link" in result.stderr
    run.ok("switch", "models/1")
    run.ok("link", "inputs/1", "--label", "again")
    lines = [line.split() for line in run.ok("ref").stdout.splitlines()]
    assert lines[0] == ["Asset", "Ref", "Label", "Aliases"]
    assert lines[1][0] == "models/1"
    assert lines[1][2] == "inputs/1"
    assert lines[1][-2:] == ["data", "latest"]
    assert lines[2][:3] == ["next", "upload", "inputs/1"]
    shown = run.ok("ref", "list", "--json").json()
    assert [ref["label"] for ref in shown["head"]] == ["data"]
    assert [ref["label"] for ref in shown["staged"]] == ["again"]
    said = run.ok("ref", "remove", "inputs/1").stdout
    assert said.startswith("removed ref inputs/1 (")
    assert "next:" not in said, "there is nothing to upload"
    assert run.ok("ref", "list", "--json").json()["staged"] == []
    assert run("ref", "remove", "inputs/1").code == 3


@pytest.mark.usefixtures("training")
def test_add_ref_looks_in_all_classes(training: Path, run: Ama) -> None:
    (training / "ref").write_text("a file\n", encoding="utf-8")
    run.ok("init", "reports")
    run.ok("add", "meta.yml")
    said = run.ok("add", "ref", "--alias", "best", "--label", "about").stdout
    assert said.startswith("linked models/1 (")
    assert "as about" in said
    # As soon as several classes have the alias, the class must be said.
    run.ok("alias", "move", "inputs@best", "inputs/1")
    run.ok("ref", "remove", "models/1")
    result = run("add", "ref", "--alias", "best")
    assert result.code != 0
    assert "--class" in result.stderr
    assert "inputs" in result.stderr
    assert "models" in result.stderr
    said = run.ok("add", "ref", "--alias", "best", "--class", "inputs").stdout
    assert said.startswith("linked inputs/1 (")
    run.ok("add", "ref")
    staged = run.ok("status", "--json").json()["staged"]
    assert [change["path"] for change in staged] == ["meta.yml", "ref"]


@pytest.mark.usefixtures("training")
def test_an_upload_says_that_it_is_the_same_again(training: Path, tmp_path: Path, run: Ama) -> None:
    repo = Repo.init(tmp_path / "retrained", "models")
    for name in ("model.h5", "model.yml"):
        (repo.root / name).write_bytes((training / name).read_bytes())
    run.ok("add", ".", cwd=repo.root)
    lines = run.ok("upload", cwd=repo.root).stdout.splitlines()
    assert lines[1].startswith("the very same files as models/1 (")
    assert lines[1].endswith(") @best")
    repo.set(message="again")
    assert [asset.number for asset in repo.upload().same] == [2, 1]
    (repo.root / "model.yml").write_text("wider")
    repo.add(["model.yml"])
    assert repo.commit().same == ()
    assert repo.upload().same == ()
    (repo.root / "model.yml").write_bytes((training / "model.yml").read_bytes())
    run.ok("add", ".", cwd=repo.root)
    lines = run.ok("commit", cwd=repo.root).stdout.splitlines()
    assert lines[1].startswith("the very same files as models/3 (")
    assert repo.commit().same == ()


def test_a_version_that_is_made_from_nothing_is_told_what_the_one_before_was(
    training: Path, run: Ama
) -> None:
    """Links aren't taken over: what was trained on other data must not claim this one's."""
    way = "if it should be: ama link inputs/1 --label data, and ama upload"
    for number, publish in enumerate(("commit", "upload")):
        run.ok("switch", "models/1")
        (training / "model.yml").write_text(f"wider: {number}", encoding="utf-8")
        run.ok("add", "model.yml")
        said = run.ok(publish).stdout
        assert "not linked, as the version before was, to inputs/1 (" in said
        assert way in said
        assert "not linked" not in run.ok("upload", "-m", "again").stdout
    run.ok("switch", "models/1")
    (training / "model.yml").write_text("wider still", encoding="utf-8")
    run.ok("add", "model.yml")
    run.ok("link", "inputs")
    assert "not linked" not in run.ok("upload").stdout


def test_aliases(training: Path, run: Ama) -> None:
    lines = run.ok("alias").stdout.splitlines()
    assert lines[0].split() == ["Alias", "Asset", "Moved", "By", "Moved", "At"]
    assert [line.split()[0] for line in lines[1:]] == ["inputs@latest", "models@best"]
    assert len(run.ok("alias", "list", "models").stdout.splitlines()) == 2
    (training / "model.yml").write_text("changed\n", encoding="utf-8")
    run.ok("add", "model.yml")
    run.ok("set", "--alias", "best")
    run.ok("upload")
    said = run.ok("alias", "move", "best", "models/1").stdout
    assert said.startswith("alias models@best moved from models/2 (")
    moves = run.ok("alias", "history", "models@best", "--json").json()
    assert [move["number"] for move in moves] == [1, 2, 1]
    said = run.ok("alias", "remove", "models@best").stdout
    assert said.startswith("removed alias models@best, which was models/1 (")
    assert "(removed)" in run.ok("alias", "history", "best").stdout.splitlines()[1]
    assert run("alias", "history", "models@bset").code == 3
    result = run("alias", "history", "best", cwd=training.parent)
    assert result.code == 2
    assert "CLASS@best" in result.stderr


def test_an_alias_is_moved_within_its_class_only(training: Path, run: Ama) -> None:
    result = run("alias", "move", "modles@stable", "models/1")
    assert result.code == 3
    assert "did you mean models?" in result.stderr
    result = run("alias", "move", "inputs@stable", "models/1")
    assert result.code == 2
    assert "models/1 is an asset of models, not of inputs" in result.stderr
    assert run("alias", "move", "inputs@stable", "models").code != 0
    assert {info["name"] for info in run.ok("list", "--json").json()} == {"inputs", "models"}
    assert len(run.ok("alias", "list", "--json").json()) == 2


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("show latest", "did you mean inputs@latest?"),
        ("download bset -o x", "did you mean models@best?"),
        ("show models/best", "did you mean models@best? use CLASS/NUMBER"),
        ("show models@1", "did you mean models/1? use CLASS/NUMBER"),
        ("switch 1", "did you mean inputs/1 or models/1"),
        ("link modles", "did you mean models?"),
        ("link 1", "did you mean inputs/1 or models/1"),
        ("add ref --alias models@bset", "did you mean best?"),
        ("add ref --alias latst", "did you mean inputs@latest?"),
        ("show HEAD~5", "see what there is: ama log HEAD"),
        ("show HEAD^", "did you mean HEAD~1? use CLASS/NUMBER"),
        ("show models@best^^", "did you mean models@best~2? use CLASS/NUMBER"),
        ("diff HEAD~1..HEAD", "two assets are two words: HEAD~1 HEAD"),
        ("link @latest", "did you mean inputs@latest?"),
        ("link modles@latest", "did you mean inputs@latest?"),
        ("diff model.yml", "paths go after --: ama diff -- model.yml"),
        ("ls sub", "a path goes behind the asset: ama ls HEAD sub"),
        ("ls sub/", "a path goes behind the asset: ama ls HEAD sub/"),
        ("ls model.yml", "a path goes behind the asset: ama ls HEAD model.yml"),
        ("cat models/1", "name one: models/1:PATH; see what there is: ama ls models/1"),
        ("cat models@best:", "name one: models@best:PATH"),
        ("show models/1:", "name one: models/1:PATH"),
        ("cat modl.yml", "did you mean model.yml"),
        ("diff HEAD model.yml", "paths go after --: ama diff HEAD -- model.yml"),
        ("init other", "take them back: ama set --unset alias:new --unset message --unset a"),
    ],
)
def test_the_hint_says_what_was_meant(line: str, meant: str, training: Path, run: Ama) -> None:
    run.ok("set", "--alias", "new", "-m", "why", "--meta", "a=1")
    (training / "sub").mkdir()
    result = run(*line.split())
    assert result.code != 0
    assert f"hint: {meant}" in result.stderr


def test_too_few_digits_of_an_id(training: Path, run: Ama) -> None:
    whole = run.ok("show", "models/1", "--json").json()["id"]
    said = run("show", whole[:5]).stderr
    assert f"did you mean models/1 ({whole[:10]})? an id needs its first 7 digits" in said


@pytest.mark.usefixtures("training")
def test_digits_alone_are_called_neither_class_nor_id(run: Ama) -> None:
    error, hint = run("switch", "191500").stderr.splitlines()
    assert error.startswith("error: 191500 names no asset in ")
    assert error.endswith(": before a number stands its class, and an id has 7 digits or more")
    assert hint == "hint: see what there is: ama list"


def test_what_is_set_is_taken_back_as_the_hint_says(training: Path, run: Ama) -> None:
    run.ok("set", "--alias", "new", "-m", "why", "--meta", "a b=1")
    run.ok("link", "inputs/1", "--label", "data")
    assert "as data" in run.ok("link", "inputs/1").stdout, "the label is kept"
    hint = run("init", "other").stderr.partition("hint: take them back: ")[2]
    for command in hint.strip().split("; "):
        run.ok(*shlex.split(command)[1:])
    run.ok("init", "other")
    assert "next: ama add FILE..." in run.ok("set", "--alias", "a").stdout
    assert run.ok("status").stdout.endswith("next: ama add FILE...\n")
    run.ok("set", "--unset", "alias:a")
    run.ok("add", "meta.yml")
    said = run.ok("rm", "--cached", "-r", "meta.yml").stdout
    assert "upload" not in said, "there is nothing to upload"
    run.ok("add", "ref", "--alias", "inputs@latest")
    assert "next: ama upload" in run.ok("status").stdout
    run.ok("upload")


def test_a_file_of_an_asset_in_json(training: Path, run: Ama) -> None:
    shown = run.ok("show", "HEAD:model.yml", "--json").json()
    assert shown["path"] == "model.yml"
    assert shown["size"] == (training / "model.yml").stat().st_size


def test_a_named_remote_is_looked_at(training: Path, elsewhere: Path, run: Ama) -> None:
    other = elsewhere / "store"
    (training / "model.yml").write_text("other\n", encoding="utf-8")
    run.ok("add", "model.yml")
    run.ok("upload", "--remote", other)
    assert run.ok("cat", "models:model.yml", "--remote", other).stdout == "other\n"
    assert run.ok("show", "--remote", other).stdout.startswith("models/2 (")
    assert "models/2" in run.ok("log", "--oneline", "--remote", other).stdout
    assert "model.yml" in run.ok("ls", "models/2", "--remote", other).stdout
    line = ("diff", "models/1", "models/2", "--remote", other)
    assert "modified  model.yml" in run.ok(*line).stdout
    assert "modified" not in run.ok(*line, "--", "model.h5").stdout
    outside = run.ok(*line, "--", "model.yml", cwd=elsewhere)
    assert "modified  model.yml" in outside.stdout
    for words, hint in (
        (("log",), "name an asset ("),
        (("cat", "models/1"), "name one: models/1:PATH"),
    ):
        assert f"hint: {hint}" in run(*words, cwd=elsewhere).stderr


def test_head_is_what_the_worktree_says(training: Path, elsewhere: Path, run: Ama) -> None:
    assert "models@stable is new: models/1 (" in run.ok("alias", "move", "stable", "HEAD").stdout
    run.ok("download", "HEAD", "-o", elsewhere / "copy")
    assert (elsewhere / "copy" / "model.yml").exists()
    run.ok("commit", "-m", "more")
    result = run("alias", "move", "stable", "HEAD")
    assert result.code == 3
    assert "HEAD is not published yet" in result.stderr
    assert "hint: publish it first: ama push" in result.stderr
    assert "models@stable stays at" in run.ok("alias", "move", "stable", "HEAD~1").stdout


def test_an_upload_says_that_it_changes_what_is_followed(training: Path, run: Ama) -> None:
    run.ok("set", "--alias", "brandnew")
    said = run.ok("upload").stdout
    assert "pull follows @brandnew from now on, not @best" in said
    run.ok("set", "--alias", "brandnew", "-m", "again")
    assert "follows" not in run.ok("upload").stdout


def test_remotes(tmp_path: Path, run: Ama) -> None:
    (tmp_path / "w").mkdir()
    worktree = tmp_path / "w"
    (worktree / "a").write_text("a", encoding="utf-8")
    run.ok("init", "models", cwd=worktree)
    result = run.ok("remote", cwd=worktree)
    assert result.stdout == ""
    assert "ama remote add NAME URL" in result.stderr
    assert run.ok("remote", "list", "--json", cwd=worktree).json() == []

    team, other = tmp_path / "team", tmp_path / "other"
    said = run.ok("remote", "add", "team", team, cwd=worktree).stdout
    assert said.startswith("added remote team: ")
    run.ok("remote", "add", "other", other, cwd=worktree)
    assert run("remote", "add", "team", other, cwd=worktree).code == 4
    run.ok("add", "a", cwd=worktree)
    said = run.ok("upload", cwd=worktree).stdout
    assert str(team) in said
    assert "this machine" not in said
    said = run.ok("push", "--remote", "other", cwd=worktree).stdout
    assert "published models/1 (" in said
    assert str(other) in said

    run.ok("remote", "default", "other", cwd=worktree)
    rows = run.ok("remote", "list", "--json", cwd=worktree).json()
    assert [(row["name"], row["default"]) for row in rows] == [("other", True), ("team", False)]
    run.ok("remote", "remove", "other", cwd=worktree)
    assert (other / "format.json").exists()
    assert run("remote", "remove", "other", cwd=worktree).code == 3
    assert run.ok("list", "--remote", team, cwd=tmp_path).stdout
    result = run("list", "--remote", "taem", cwd=worktree)
    assert result.code == 3
    assert "team" in result.stderr


@pytest.mark.usefixtures("training")
def test_fetch_and_pull(
    training: Path, elsewhere: Path, run: Ama, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.ok("download", "models", "-o", "copy", cwd=elsewhere)
    copy = elsewhere / "copy"
    # Somebody else's machine: what one has seen is shared by all of its worktrees.
    monkeypatch.setenv("AMA_CACHE_DIR", str(elsewhere / "cache"))
    run.ok("fetch", cwd=copy)
    monkeypatch.delenv("AMA_CACHE_DIR")
    (training / "model.yml").write_text("changed\n", encoding="utf-8")
    run.ok("add", "model.yml")
    run.ok("upload")
    monkeypatch.setenv("AMA_CACHE_DIR", str(elsewhere / "cache"))
    lines = run.ok("fetch", cwd=copy).stdout.splitlines()
    assert lines[-1] == "next: ama pull"
    assert lines[-2].startswith("1 new asset in ")
    assert "nothing new" in run.ok("fetch", cwd=copy).stdout
    said = run.ok("pull", cwd=copy).stdout
    assert said.splitlines()[-1].startswith("now at models/2 (")
    assert (copy / "model.yml").read_text(encoding="utf-8") == "changed\n"
    assert run.ok("pull", cwd=copy).stdout.startswith("already at models/2 (")


@pytest.mark.usefixtures("training")
def test_pull_does_not_go_back_from_what_is_ahead(elsewhere: Path, run: Ama) -> None:
    run.ok("download", "models@best", "-o", "copy", cwd=elsewhere)
    copy = elsewhere / "copy"
    (copy / "model.yml").write_text("better", encoding="utf-8")
    run.ok("add", "model.yml", cwd=copy)
    run.ok("upload", cwd=copy)
    said = run.ok("pull", cwd=copy).stdout
    assert said.startswith("models/2 (")
    assert " is ahead of models/1 (" in said
    assert said.endswith(" @best\n")
    assert (copy / "model.yml").read_text(encoding="utf-8") == "better"
    assert run.ok("pull", "--json", cwd=copy).json()["ahead_of"]["number"] == 1
    # Moved back on purpose, it is followed.
    run.ok("alias", "move", "models@best", "models/2", cwd=copy)
    run.ok("alias", "move", "models@best", "models/1", cwd=copy)
    assert "now at models/1 (" in run.ok("pull", cwd=copy).stdout


@pytest.mark.usefixtures("training")
def test_every_report_is_json(run: Ama) -> None:
    for words in (
        *(("status",), ("diff",), ("log",), ("show",), ("ls",), ("list",), ("list", "models")),
        *(("ref",), ("alias",), ("alias", "history", "best"), ("remote",), ("config",)),
        *(("fsck",), ("fetch",), ("pull",), ("upload",), ("push",), ("commit",)),
        *(("hash", "model.yml"), ("switch", "HEAD"), ("add", "model.yml"), ("set", "-m", "x")),
    ):
        result = run.ok(*words, "--json")
        result.json()
        assert result.stderr == ""


def test_a_push_says_which_refs_a_store_lacks(training: Path, home: Path, run: Ama) -> None:
    """And how to bring them there."""
    first = home / ".local" / "share" / "ama" / "store"
    second = training.parent / "second"
    told = run.ok("upload", "--remote", str(second), "-m", "again").stdout
    line = next(line for line in told.splitlines() if line.startswith("made from"))
    assert "inputs" in line
    assert "not in this store" in line
    copy = line.partition("to copy it: ")[2].replace("--from REMOTE", f"--from {first}")
    assert "published inputs/1" in run.ok(*shlex.split(copy)[1:]).stdout
    assert "not in this store" not in run.ok("upload", "-m", "2", "--remote", str(second)).stdout


def test_remote_list_names_where_a_download_came_from(
    training: Path, tmp_path: Path, run: Ama
) -> None:
    assert str(tmp_path) not in run.ok("remote", "list").stderr
    store = tmp_path / "team"
    run.ok("upload", "--remote", str(store), "-m", "again")
    run.ok("download", "models", "-o", str(tmp_path / "d"), "--remote", str(store))
    assert str(store) in run.ok("remote", "list", cwd=tmp_path / "d").stderr


def test_remote_remove_reports_what_it_was(tmp_path: Path, run: Ama) -> None:
    run.ok("remote", "add", "old", str(tmp_path / "s"))
    removed = run.ok("remote", "remove", "old", "--json").json()
    assert (removed["name"], removed["url"]) == ("old", str(tmp_path / "s"))


def test_a_commit_of_an_alias_alone_says_what_waits(training: Path, run: Ama) -> None:
    run.ok("set", "--alias", "cand")
    told = run.ok("commit").stdout
    assert "alias cand waits for a push" in told
    assert "@cand" in run.ok("status").stdout
    assert "models@cand is new" in run.ok("push").stdout


def test_the_alias_that_is_followed_stays_so_if_it_is_set_too(training: Path, run: Ama) -> None:
    run.ok("set", "--alias", "best", "--alias", "nightly")
    run.ok("upload", "-m", "again")
    assert "following @best" in run.ok("status").stdout


def test_init_leaves_a_mistake_behind_if_it_is_forced(training: Path, run: Ama) -> None:
    run.ok("init", "resnt")
    run.ok("add", "meta.yml")
    run.ok("commit", "-m", "a typo")
    refused = run("init", "resnet")
    assert refused.code == 5
    assert "ama init --force" in refused.stderr
    run.ok("init", "resnet", "--force")
    run.ok("add", "meta.yml")
    run.ok("upload")
    assert "resnt" not in run.ok("list").stdout


def test_a_message_for_what_was_not_added_publishes_nothing(training: Path, run: Ama) -> None:
    """`add` was forgotten: an asset that differs in nothing but its message can't be undone."""
    (training / "model.yml").write_text("layers: [512]\n", encoding="utf-8")
    for command, done in (("upload", "published"), ("commit", "committed")):
        refused = run(command, "-m", "my tuned")
        assert refused.code == 5
        assert f"so nothing was {done}" in refused.stderr
        assert "ama add model.yml" in refused.stderr
    assert run.ok("status", "--json").json()["unpublished"] == []
    run.ok("add", "model.yml")
    assert "published models/2" in run.ok("upload", "-m", "my tuned").stdout
    assert "published models/3" in run.ok("upload", "-m", "a message is news as well").stdout


@pytest.mark.usefixtures("training")
def test_an_alias_alone_is_of_the_class_here(elsewhere: Path, training: Path, run: Ama) -> None:
    best = run.ok("show", "models@best", "--json").json()["id"]
    for words in (("show", "@best"), ("show", "@best", "--remote", repo_url(training))):
        assert run.ok(*words, "--json").json()["id"] == best
    assert run.ok("cat", "@best:model.yml").stdout == run.ok("cat", "HEAD:model.yml").stdout
    run.ok("alias", "move", "@right", "@best")
    (move,) = run.ok("alias", "history", "@right", "--json").json()
    assert (move["class_name"], move["asset"]) == ("models", best)
    run.ok("switch", "@right")
    assert run.ok("status", "--json").json()["follows"] == "right"
    run.ok("alias", "remove", "@right")
    missing = run("switch", "@bst")
    assert missing.code == 3
    assert "models has no alias bst" in missing.stderr

    run.ok("init", "reports")
    said = run.ok("link", "@best", "--class", "models", "--json").json()
    assert said["asset"] == best
    # Another class's alias is named with its class.
    refused = run("show", "@best")
    assert refused.code == 3
    for words in (("show", "@best"), ("download", "@best"), ("alias", "history", "@best")):
        refused = run(*words, cwd=elsewhere)
        assert refused.code == 2
        assert refused.stderr.endswith("hint: write CLASS@best\n")


def repo_url(directory: Path) -> str:
    return Repo.open(directory).remote_url


@pytest.mark.usefixtures("training")
def test_cat_outside_of_every_worktree(elsewhere: Path, run: Ama) -> None:
    for line in ("cat models/1", "cat models/1:", "show models/1: --json"):
        said = run(*line.split(), cwd=elsewhere)
        error = "models/1 is an asset, and none of its files is named"
        assert said.code == 2
        assert error in said.output
    said = run("cat", "model.yml", cwd=elsewhere)
    assert said.code == 3
    assert said.stderr == (
        "error: no asset is named, and there is no worktree here whose HEAD has model.yml\n"
        "hint: write ASSET:PATH; or get an asset: ama download ASSET; or start one here: ama init"
        " CLASS\n"
    )
    said = run("show", "models/1:modl.yml", "--json", cwd=elsewhere)
    assert "did you mean model.yml or " in said.json()["error"]["hint"]


def test_list_without_the_store_has_what_was_fetched_last(
    training: Path, elsewhere: Path, run: Ama
) -> None:
    repo = Repo.open(training)
    (training / "model.yml").write_text("wider", encoding="utf-8")
    repo.add("model.yml")
    repo.upload()
    store = Path(repo.remote_url)
    # Another machine: nothing is remembered of what this one has uploaded.
    cache = {"AMA_CACHE_DIR": str(elsewhere / "cache")}
    run.ok("download", "models/1", "-o", "copy", cwd=elsewhere, env=cache)
    copy = elsewhere / "copy"
    run.ok("fetch", cwd=copy, env=cache)
    before = [run.ok(*words) for words in (("list",), ("list", "models"))]
    assert [result.stderr for result in before] == ["", ""]
    store.rename(elsewhere / "away")
    for words, known in zip((("list",), ("list", "models")), before, strict=True):
        result = run.ok(*words, cwd=copy, env=cache)
        assert result.stdout == known.stdout
        (note,) = result.stderr.splitlines()
        assert note.startswith("this is what was seen last, and may be old: the store at ")
    assert run.ok("list", "models", "--json", cwd=copy, env=cache).json()[0]["number"] == 2
    for words in (("log",), ("show", "models/1")):
        assert "seen last" in run.ok(*words, cwd=copy, env=cache).stderr
    for words in (("list", "--remote", str(store)), ("fetch",)):
        refused = run(*words, cwd=copy, env=cache)
        assert (refused.code, "seen there before" in refused.stderr) == (8, True), words
    assert run("list", "modles", cwd=copy, env=cache).code == 3


@pytest.mark.usefixtures("training")
def test_a_hint_looks_at_the_remote_that_was_named(elsewhere: Path, run: Ama) -> None:
    run.ok("copy", "models/1", "--to", "./there", cwd=elsewhere)
    for line, hint in (
        ("download models@other", "see them: ama alias list --remote ./there models"),
        ("show zzz", "see what there is: ama list --remote ./there"),
        ("list models --remote=./there", None),
        ("show models/7", "see them all: ama list --remote ./there models"),
        ("cat models/1:zzz", "see what is: ama ls --remote ./there models/1"),
        ("download models/1 --include x", "ama ls --remote ./there models/1; or take none"),
    ):
        where = () if "--remote" in line else ("--remote", "./there")
        result = run(*line.split(), *where, cwd=elsewhere)
        assert result.code == (0 if hint is None else 3), line
        assert (hint or "") in result.stderr


def test_a_version_without_files_is_named(training: Path, run: Ama) -> None:
    run.ok("rm", "model.h5", "model.yml", cwd=training)
    assert ", which has no files\n" in run.ok("upload", cwd=training).stdout
