"""`ama import --from dvc`: real repositories, made by DVC and git."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

import ama
from ama.errors import InvalidInput, NotFound

pytest.importorskip("dvc")

STAGES = """
stages:
  clean:
    cmd: sort data/raw.csv > data/clean.csv
    deps: [data/raw.csv]
    outs: [data/clean.csv]
  train:
    cmd: python train.py
    deps: [data/clean.csv, train.py]
    params: [lr]
    outs: [models/model.pkl]
    metrics:
    - metrics.json: {cache: false}
    plots: [plots/loss.csv]
  score:
    cmd: python score.py
    deps: [models/model.pkl, data/images/a.png]
    metrics: [scores.json]
"""
TRAIN = """
import json, pathlib
lr = pathlib.Path("params.yaml").read_text()
for name in ("models", "plots"):
    pathlib.Path(name).mkdir(exist_ok=True)
clean = pathlib.Path("data/clean.csv").read_text()
pathlib.Path("models/model.pkl").write_text(lr + clean)
pathlib.Path("metrics.json").write_text(json.dumps({"loss": len(clean)}))
pathlib.Path("plots/loss.csv").write_text("step,loss\\n0,2\\n1,1\\n")
"""
SCORE = """
import json, pathlib
found = sum(pathlib.Path("models/model.pkl").read_bytes())
pathlib.Path("scores.json").write_text(json.dumps({"accuracy": 1 / found}))
"""


class Repository:
    """A repository, as its users work in it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.clock = 1_700_000_000
        place.mkdir()
        self.git("init", "-q", "-b", "main")
        self.dvc("init", "-q")
        self.write({"dvc.yaml": STAGES, "train.py": TRAIN, "score.py": SCORE})
        self.write({"data/raw.csv": "b\na\n", "params.yaml": "lr: 0.1\n"})
        self.write({f"data/images/{name}.png": name * 100 for name in "abc"})
        self.dvc("add", "-q", "data/raw.csv", "data/images")
        self.dvc("repro", "-q")
        self.commit("first")

    def run(self, *words: str) -> str:
        environ = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "GIT_AUTHOR_DATE": f"{self.clock} +0200",
            "GIT_COMMITTER_DATE": f"{self.clock + 5} +0000",
            "GIT_AUTHOR_NAME": "Bo",
            "GIT_AUTHOR_EMAIL": "bo@example.org",
            "GIT_COMMITTER_NAME": "Cy",
            "GIT_COMMITTER_EMAIL": "cy@example.org",
        }
        done = subprocess.run(
            words, cwd=self.place, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def git(self, *words: str) -> str:
        return self.run("git", *words)

    def dvc(self, *words: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *words)

    def write(self, files: Mapping[str, str]) -> None:
        for path, text in files.items():
            (self.place / path).parent.mkdir(parents=True, exist_ok=True)
            (self.place / path).write_text(text)

    def commit(self, message: str) -> str:
        self.clock += 1000
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD").strip()


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "CACHE", "DATA", "CONTENT"):
        monkeypatch.setenv(f"AMA_{name}_DIR", str(tmp_path / name.lower()))
    monkeypatch.setenv("AMA_AUTHOR", "Ann <ann@example.org>")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.delenv("AMA_REMOTE", raising=False)


@pytest.fixture
def store(tmp_path: Path) -> ama.Store:
    return ama.Store.open(str(tmp_path / "store"), create=True)


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


def refs(store: ama.Store, name: str) -> dict[str, str]:
    return {ref.label: f"{ref.class_name}/{ref.number}" for ref in store.resolve(name).info.refs}


def test_outputs_become_assets_and_stages_refs(store: ama.Store, repo: Repository) -> None:
    commit = repo.git("rev-parse", "HEAD").strip()
    result = ama.import_assets(repo.place, tool="dvc", store=store)
    assert not result.failed
    assert sorted(asset.name for asset in result.assets) == [
        "data-clean.csv/1",
        "data-images/1",
        "data-raw.csv/1",
        "models-model.pkl/1",
        "score/1",
    ]
    model = store.resolve("models-model.pkl@main")
    assert model.info.author == "Bo <bo@example.org>"
    assert model.info.created_at == datetime.fromtimestamp(1_700_001_000, UTC)
    assert model.info.message == "first"
    assert model.info.metadata == {
        "git.commit": commit,
        "dvc.path": "models/model.pkl",
        "dvc.stage": "train",
    }
    assert sorted(file.path for file in model.files()) == [
        "dvc/stage.json",
        "metrics.json",
        "models/model.pkl",
        "params.yaml",
        "plots/loss.csv",
    ]
    assert model.read("models/model.pkl") == (repo.place / "models/model.pkl").read_bytes()
    assert json.loads(model.read("dvc/stage.json"))["command"] == "python train.py"
    assert refs(store, "models-model.pkl/1") == {"data/clean.csv": "data-clean.csv/1"}
    assert refs(store, "data-clean.csv/1") == {"data/raw.csv": "data-raw.csv/1"}
    assert refs(store, "score/1") == {
        "models/model.pkl": "models-model.pkl/1",
        "data/images/a.png": "data-images/1",
    }
    values = {fact.key: (fact.value, fact.role) for fact in model.summary().facts}
    assert values["lr"] == (0.1, "parameter")
    assert values["history.loss"] == ((2, 1), "metric")
    images = {file.path for file in store.resolve("data-images/1").files()}
    assert images == {f"data/images/{name}.png" for name in "abc"}
    noted = store.noted("models-model.pkl/1").metadata["import.source"]
    assert noted == f"{repo.place}@{commit}:models/model.pkl"
    assert not store.fsck().problems


def test_each_commit_that_changed_an_output(store: ama.Store, repo: Repository) -> None:
    repo.write({"params.yaml": "lr: 0.2\n"})
    repo.dvc("repro", "-q")
    second = repo.commit("faster")
    repo.write({"README.md": "nothing of DVC"})
    repo.commit("words")
    repo.write({"data/images/d.png": "d"})
    repo.dvc("add", "-q", "data/images")
    repo.dvc("repro", "-q")
    repo.git("tag", "-a", "v1.0", "-m", "one", second)
    repo.commit("more")
    result = ama.import_assets(repo.place, tool="dvc", store=store)
    assert not result.failed
    assert len(store.assets("data-raw.csv")) == len(store.assets("data-clean.csv")) == 1
    assert len(store.assets("models-model.pkl")) == len(store.assets("data-images")) == 2
    model = store.resolve("models-model.pkl/2")
    assert model.info.parents == (store.resolve("models-model.pkl/1").info.id,)
    assert model.info.metadata["git.commit"] == second
    assert store.resolve("models-model.pkl@v1.0").info.number == 2
    assert store.resolve("data-images@v1.0").info.number == 1
    assert store.resolve("data-images@main").info.number == 2
    assert refs(store, "score/2")["models/model.pkl"] == "models-model.pkl/2"


def test_one_after_the_other(
    store: ama.Store, repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is published alone, and still after what it is made from, of the same second."""
    monkeypatch.setattr("ama.importing.importer.PIECE_SOURCES", 1)
    result = ama.import_assets(repo.place, tool="dvc", store=store)
    assert not result.failed
    assert len(result.assets) == 5
    assert refs(store, "models-model.pkl/1") == {"data/clean.csv": "data-clean.csv/1"}


def test_again_only_new_commits(store: ama.Store, repo: Repository) -> None:
    ama.import_assets(repo.place, tool="dvc", store=store)
    again = ama.import_assets(repo.place, tool="dvc", store=store)
    assert (again.assets, len(again.unchanged)) == ((), 5)
    repo.write({"params.yaml": "lr: 0.3\n"})
    repo.dvc("repro", "-q")
    repo.commit("again")
    more = ama.import_assets(repo.place, tool="dvc", store=store)
    assert [asset.name for asset in more.assets] == ["models-model.pkl/2", "score/2"]
    assert refs(store, "models-model.pkl/2") == {"data/clean.csv": "data-clean.csv/1"}
    assert store.resolve("models-model.pkl@main").info.number == 2
    assert not ama.import_assets(repo.place, tool="dvc", store=store).assets


def test_branches_and_merges(store: ama.Store, repo: Repository) -> None:
    repo.git("switch", "-q", "-c", "try/it")
    repo.write({"data/raw.csv": "c\nb\na\n"})
    repo.dvc("add", "-q", "data/raw.csv")
    repo.dvc("repro", "-q")
    repo.commit("on a branch")
    repo.git("switch", "-q", "main")
    repo.dvc("checkout", "-q")
    repo.write({"data/images/e.png": "e"})
    repo.dvc("add", "-q", "data/images")
    repo.commit("on main")
    repo.git("merge", "-q", "--no-ff", "-m", "together", "try/it")
    result = ama.import_assets(repo.place, tool="dvc", store=store)
    assert not result.failed
    # A merge that brings nothing of its own makes nothing.
    assert len(store.assets("data-raw.csv")) == len(store.assets("data-images")) == 2
    both = {change.alias for change in store.aliases("data-raw.csv") if change.number == 2}
    assert both == {"main", "try-it"}


def test_what_is_not_in_the_cache(store: ama.Store, repo: Repository, tmp_path: Path) -> None:
    repo.dvc("remote", "add", "-q", "--local", "-d", "shelf", str(tmp_path / "shelf"))
    repo.write({"params.yaml": "lr: 0.2\n"})
    repo.dvc("repro", "-q")
    repo.commit("faster")
    repo.write({"params.yaml": "lr: 0.3\n"})
    repo.dvc("repro", "-q")
    repo.commit("fastest")
    repo.dvc("push", "-q", "--all-commits")
    repo.dvc("gc", "-q", "-w", "-f")
    result = ama.import_assets(repo.place, tool="dvc", store=store)
    assert {failed.source.rpartition(":")[2] for failed in result.failed} == {
        "models/model.pkl",
        "score",
    }
    assert len(result.failed) == 4
    assert "is not in DVC's cache" in result.failed[0].reason
    assert "dvc fetch --all-commits" in str(result.failed[0].hints)
    assert store.resolve("models-model.pkl@main").read("params.yaml") == b"lr: 0.3\n"
    repo.dvc("fetch", "-q", "--all-commits")
    more = ama.import_assets(repo.place, tool="dvc", store=store)
    assert not more.failed
    assert len(more.assets) == 4
    assert store.resolve("models-model.pkl@main").read("params.yaml") == b"lr: 0.3\n"


def test_what_is_damaged(store: ama.Store, repo: Repository) -> None:
    cache = repo.place / ".dvc" / "cache" / "files" / "md5"
    clean = next(
        path for path in cache.rglob("*") if path.is_file() and path.read_bytes() == b"a\nb\n"
    )
    clean.chmod(0o644)
    clean.write_bytes(b"a\nB\n")
    listed = next(cache.rglob("*.dir"))
    listed.chmod(0o644)
    listed.write_text("[]")
    result = ama.import_assets(repo.place, tool="dvc", store=store)
    reasons = {each.source.rpartition(":")[2]: each.reason for each in result.failed}
    assert reasons["data/clean.csv"] == "data/clean.csv is damaged in DVC's cache"
    assert reasons["data/images"] == "data/images is damaged in DVC's cache"
    assert reasons["models/model.pkl"].startswith("what it is made from was not imported")
    assert [asset.name for asset in result.assets] == ["data-raw.csv/1"]


def test_a_cache_elsewhere_and_a_repository_inside(store: ama.Store, tmp_path: Path) -> None:
    outer = Repository(tmp_path / "outer")
    inner = outer.place / "team" / "project"
    inner.mkdir(parents=True)
    outer.place, above = inner, outer.place
    outer.dvc("init", "-q", "--subdir")
    outer.dvc("cache", "dir", str(tmp_path / "shared"))
    outer.write({"data/x": "x"})
    outer.dvc("add", "-q", "data/x")
    outer.commit("inner")
    result = ama.import_assets(inner / "data", tool="dvc", store=store)
    assert [asset.name for asset in result.assets] == ["team-project-data-x/1"]
    assert store.resolve("team-project-data-x/1").read("team/project/data/x") == b"x"
    shutil.rmtree(above / ".git")
    with pytest.raises(InvalidInput, match="not a git repository"):
        ama.import_assets(inner, tool="dvc", store=store)


def test_files_of_older_versions(store: ama.Store, repo: Repository) -> None:
    """Before version 3, the MD5 of a text was that without CR, and lay elsewhere in the cache."""
    from hashlib import md5

    text = b"old\r\ntext\r\n"
    digest = md5(text.replace(b"\r\n", b"\n"), usedforsecurity=False).hexdigest()
    place = repo.place / ".dvc" / "cache" / digest[:2] / digest[2:]
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(text)
    repo.write({"old.dvc": f"outs:\n- md5: {digest}\n  size: 6\n  path: old.txt\n"})
    repo.commit("old")
    result = ama.import_assets(repo.place, tool="dvc", store=store)
    assert not result.failed
    assert store.resolve("old.txt/1").read("old.txt") == text


def test_wrong_places(store: ama.Store, tmp_path: Path, repo: Repository) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(NotFound, match="no such directory"):
        ama.import_assets(tmp_path / "none", tool="dvc", store=store)
    with pytest.raises(InvalidInput, match="is no repository of DVC"):
        ama.import_assets(tmp_path / "plain", tool="dvc", store=store)
    repo.write({"broken.dvc": "outs: ["})
    commit = repo.commit("broken")
    (failed,) = ama.import_assets(repo.place, tool="dvc", store=store).failed
    assert (failed.source, failed.reason) == (f"{repo.place}@{commit}", "broken.dvc is broken")


def test_nothing_of_the_repository_runs(store: ama.Store, repo: Repository, tmp_path: Path) -> None:
    harm = f"touch {tmp_path}/harmed; false"
    for key in ("core.fsmonitor", "gpg.program", "core.pager", "log.showSignature"):
        repo.git("config", key, harm if key != "log.showSignature" else "true")
    repo.write({".gitattributes": "* diff=harm filter=harm\n"})
    for key in ("diff.harm.textconv", "diff.harm.command", "filter.harm.smudge"):
        repo.git("config", key, harm)
    ama.import_assets(repo.place, tool="dvc", store=store)
    assert not (tmp_path / "harmed").exists()
