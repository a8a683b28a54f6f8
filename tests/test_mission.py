"""The job that ama is for, word for word, by the real command on real training runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ama
from conftest import PROJECT, Ama

TRAINING = """\
ama init nlp_embeddings
ama add git_commit_info_ckpt0.yml, run_config_ckpt0.yml, training.yml
ama set --alias my_training_inputs
ama upload

ama init sequence_models
ama add graph_version.txt, meta.yml, model.h5, model.yml, summary_dict.json
ama set --alias my_model
ama add ref --alias my_training_inputs
ama upload
"""
COLLEAGUE = """\
ama download sequence_models --alias my_model
ama download sequence_models --alias my_model --refs
"""
INPUTS = {"git_commit_info_ckpt0.yml", "run_config_ckpt0.yml", "training.yml"}
MODEL = {"graph_version.txt", "meta.yml", "model.h5", "model.yml", "summary_dict.json"}

pytestmark = pytest.mark.usefixtures("ama_on_path")


def sh(script: str, cwd: Path) -> str:
    """Runs a script like somebody at a terminal, but stops at the first failure."""
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def files_of(directory: Path) -> dict[str, bytes]:
    """Path and content of each file of a worktree, ama's own aside."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and ".ama" not in path.parts
    }


def some(directory: Path, names: set[str]) -> dict[str, bytes]:
    return {name: content for name, content in files_of(directory).items() if name in names}


def tree_size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


@pytest.fixture
def colleague(tmp_path: Path) -> Path:
    directory = tmp_path / "colleague"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("name", ["base", "finetuned", "wide"])
def test_the_mission_word_for_word(name: str, training_runs: Path, colleague: Path) -> None:
    training = training_runs / name
    before = files_of(training)

    said = sh(TRAINING, training)
    store = ama.Store.default()
    assert store.url in said, "upload tells where the store is"
    assert "this machine" in said, "and that nobody else sees it"
    assert files_of(training) == before, "nothing touches the user's files"

    first, second = COLLEAGUE.splitlines(keepends=True)
    sh(first, colleague)
    assert files_of(colleague) == {
        f"my_model/{path}": content for path, content in some(training, MODEL).items()
    }
    sh(second, colleague)
    assert files_of(colleague / "my_model") == some(training, MODEL)
    assert files_of(colleague / "nlp_embeddings-1") == some(training, INPUTS)
    assert sorted(path.name for path in colleague.iterdir()) == ["my_model", "nlp_embeddings-1"]


def test_with_refs_at_once(training_runs: Path, colleague: Path) -> None:
    sh(TRAINING, training_runs / "base")
    sh(COLLEAGUE.splitlines()[1], colleague)
    assert files_of(colleague / "my_model") == some(training_runs / "base", MODEL)
    assert files_of(colleague / "nlp_embeddings-1") == some(training_runs / "base", INPUTS)


def test_what_can_be_asked_afterwards(training_runs: Path, run: Ama) -> None:
    training = training_runs / "base"
    run.ok("config", "set", "--user", "user.name", "Ann Lee", cwd=training)
    run.ok("config", "set", "--user", "user.email", "ann@example.com", cwd=training)
    sh(TRAINING, training)

    model = ama.Store.default().resolve("sequence_models@my_model")
    assert (model.info.class_name, model.info.number) == ("sequence_models", 1)
    assert model.info.aliases == ("my_model",)
    assert model.info.author == "Ann Lee <ann@example.com>"
    assert model.info.parents == ()
    assert {file.path for file in model.files()} == MODEL
    assert model.read("model.yml") == (training / "model.yml").read_bytes()

    (inputs,) = model.refs()
    assert inputs.info.class_name == "nlp_embeddings"
    assert inputs.info.aliases == ("my_training_inputs",)
    assert {file.path for file in inputs.files()} == INPUTS
    (ref,) = model.info.refs
    assert ref.asset == inputs.info.id

    log = run.ok("log", cwd=training).stdout
    for told in (
        "sequence_models/1",
        model.info.id[:10],
        "my_model",
        "Ann Lee",
        "nlp_embeddings/1",
    ):
        assert told in log
    assert "nlp_embeddings/1" in run.ok("ref", "list", cwd=training).stdout
    shown = run.ok("show", "sequence_models@my_model", cwd=training).stdout
    assert model.info.id[:10] in shown
    assert "model.h5" in run.ok("ls", "sequence_models@my_model", cwd=training).stdout
    assert "sequence_models" in run.ok("list", cwd=training).stdout
    assert run.ok("status", cwd=training).code == 0
    assert run.ok("fsck", cwd=training).code == 0


def test_three_runs_in_one_store(training_runs: Path, colleague: Path) -> None:
    names = ("base", "finetuned", "wide")
    for name in names:
        sh(TRAINING, training_runs / name)

    store = ama.Store.default()
    assets = store.assets("sequence_models")
    assert [asset.number for asset in assets] == [3, 2, 1]
    assert [asset.aliases for asset in assets] == [("my_model",), (), ()]
    assert len({asset.id for asset in assets}) == 3
    assert [asset.number for asset in store.assets("nlp_embeddings")] == [3, 2, 1]

    # Lineage is what it was at the time, although the alias has moved since.
    for number, name in enumerate(names, 1):
        model = store.resolve(f"sequence_models/{number}")
        (inputs,) = model.refs()
        assert inputs.info.number == number
        assert inputs.read("training.yml") == (training_runs / name / "training.yml").read_bytes()

    ids = [
        {file.path: file.id for file in store.resolve(f"sequence_models/{number}").files()}
        for number in (1, 2, 3)
    ]
    assert ids[0]["model.yml"] == ids[1]["model.yml"] != ids[2]["model.yml"]
    assert ids[0]["model.h5"] != ids[1]["model.h5"]

    moves = store.alias_history("sequence_models", "my_model")
    assert [move.number for move in moves] == [3, 2, 1]

    sh(COLLEAGUE, colleague)
    assert files_of(colleague / "my_model") == some(training_runs / "wide", MODEL)
    assert files_of(colleague / "nlp_embeddings-3") == some(training_runs / "wide", INPUTS)
    sh("ama download sequence_models/2", colleague)
    assert files_of(colleague / "sequence_models-2") == some(training_runs / "finetuned", MODEL)


def test_a_second_upload_of_the_same_files_stores_no_content(training_runs: Path) -> None:
    sh(TRAINING, training_runs / "base")
    store = Path(ama.Store.default().url)
    before = tree_size(store)
    again = training_runs / "again"
    again.mkdir()
    for name, content in files_of(training_runs / "base").items():
        (again / name).write_bytes(content)
    sh(TRAINING, again)
    assert len(ama.Store.default().assets("sequence_models")) == 2
    assert tree_size(store) - before < 8000, "only metadata is new"


def test_refs_are_downloaded_to_the_last_hop(training_runs: Path, colleague: Path) -> None:
    sh(
        TRAINING
        + """
        ama init reports
        ama add meta.yml
        ama set --alias monthly
        ama link sequence_models@my_model --label describes
        ama upload
        """,
        training_runs / "base",
    )
    sh("ama download reports --alias monthly --refs", colleague)
    assert sorted(path.name for path in colleague.iterdir()) == [
        "monthly",
        "nlp_embeddings-1",
        "sequence_models-1",
    ]
    assert files_of(colleague / "sequence_models-1") == some(training_runs / "base", MODEL)
    assert files_of(colleague / "nlp_embeddings-1") == some(training_runs / "base", INPUTS)


def test_a_file_whose_name_ends_in_a_comma_wins(training_runs: Path) -> None:
    training = training_runs / "base"
    (training / "meta.yml,").write_text("really called so\n", encoding="utf-8")
    sh("ama init models\nama add meta.yml, model.yml,\nama upload", training)
    model = ama.Store.default().resolve("models")
    assert {file.path for file in model.files()} == {"meta.yml,", "model.yml"}
    assert model.read("meta.yml,") == b"really called so\n"


def test_a_file_called_ref_is_a_file(training_runs: Path) -> None:
    training = training_runs / "base"
    (training / "ref").write_text("a file\n", encoding="utf-8")
    sh("ama init models\nama add ref\nama upload", training)
    model = ama.Store.default().resolve("models")
    assert [file.path for file in model.files()] == ["ref"]
    assert model.refs() == ()


def test_an_init_that_would_lose_something_is_refused(training_runs: Path, run: Ama) -> None:
    training = training_runs / "base"
    run.ok("init", "nlp_embeddings", cwd=training)
    run.ok("add", "training.yml", cwd=training)
    refused = run("init", "sequence_models", cwd=training)
    assert refused.code != 0
    assert "upload" in refused.output, "it says what to do"
    status = run.ok("status", "--json", cwd=training).stdout
    assert "nlp_embeddings" in status
    assert "training.yml" in status


def test_the_default_store_lies_in_the_user_s_data_directory(
    training_runs: Path, home: Path
) -> None:
    sh("ama init models\nama add meta.yml\nama upload", training_runs / "base")
    assert Path(ama.Store.default().url).is_relative_to(home)
    assert "AMA_DATA_DIR" not in os.environ


class TestExamples:
    """examples/, which `make demo` runs."""

    def test_the_script_holds_the_mission_verbatim(self) -> None:
        script = (PROJECT / "examples" / "mission.sh").read_text(encoding="utf-8")
        assert TRAINING in script
        assert COLLEAGUE in script

    def test_the_script_runs(self, tmp_path: Path, home: Path) -> None:
        place = tmp_path / "demo"
        said = sh(f"'{PROJECT}/examples/mission.sh' '{place}'", tmp_path)
        sample = PROJECT / "examples" / "sample"
        assert files_of(place / "colleague" / "my_model") == some(sample, MODEL)
        assert files_of(place / "colleague" / "nlp_embeddings-1") == some(sample, INPUTS)
        end = said[said.index("$ ama log") :]
        for told in ("sequence_models/1", "my_model", "nlp_embeddings/1", f"{place}/data/store"):
            assert told in end
        assert (place / "data" / "store" / "format.json").is_file()
        assert files_of(home) == {}

    def test_the_program_runs(self, tmp_path: Path, home: Path) -> None:
        place = tmp_path / "demo"
        done = subprocess.run(
            [sys.executable, PROJECT / "examples" / "mission.py", place],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        sample = PROJECT / "examples" / "sample"
        assert files_of(place / "colleague" / "my_model") == some(sample, MODEL)
        assert files_of(place / "colleague" / "nlp_embeddings-1") == some(sample, INPUTS)
        assert "made from nlp_embeddings/1" in done.stdout
        assert files_of(home) == {}

    def test_the_sample_is_the_base_run(self, training_runs: Path) -> None:
        assert files_of(PROJECT / "examples" / "sample") == files_of(training_runs / "base")
