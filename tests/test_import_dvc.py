"""`ama import --from dvc`: odd histories and hostile files, written as DVC would.

tests/integrations has repositories that DVC itself has made.
"""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime
from hashlib import md5
from pathlib import Path

import pytest

import ama
from ama.errors import InvalidInput
from ama.importing.workers import processes
from conftest import Ama
from test_import import settings, storage, store  # noqa: F401

START = 1_700_000_000


class Repository:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.clock = START
        (place / ".dvc").mkdir(parents=True)
        (place / ".dvc" / "config").write_text("")
        (place / ".gitignore").write_text("/.dvc/cache\n")
        self.git("init", "-q", "-b", "main")

    def git(self, *words: str) -> str:
        who = {"NAME": "Bo", "EMAIL": "bo@example.org", "DATE": f"{self.clock} +0000"}
        people = {f"GIT_{kind}_{k}": v for kind in ("AUTHOR", "COMMITTER") for k, v in who.items()}
        done = subprocess.run(
            ["git", *words],
            cwd=self.place,
            env={**os.environ, **people},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def put(self, data: bytes, end: str = "") -> str:
        digest = md5(data, usedforsecurity=False).hexdigest() + end
        place = self.cached(digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return digest

    def cached(self, digest: str) -> Path:
        return self.place / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]

    def added(self, path: str, digest: str) -> None:
        text = f"outs:\n- md5: '{digest}'\n  hash: md5\n  path: {path.rpartition('/')[2]}\n"
        (self.place / f"{path}.dvc").parent.mkdir(parents=True, exist_ok=True)
        (self.place / f"{path}.dvc").write_text(text)

    def ran(self, **stages: tuple[dict[str, str], dict[str, str]]) -> None:
        said = {
            name: {
                "cmd": name,
                "deps": [{"path": path, "md5": digest} for path, digest in deps.items()],
                "outs": [
                    {"path": path, "md5": digest, "hash": "md5"} for path, digest in outs.items()
                ],
            }
            for name, (deps, outs) in stages.items()
        }
        (self.place / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": said}))

    def commit(self, message: str = "c", later: int = 100) -> str:
        self.clock += later
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


def refs(store: ama.Store, name: str) -> list[tuple[str, int | None]]:  # noqa: F811
    return [(ref.class_name, ref.number) for ref in store.resolve(name).info.refs]


def test_a_version_that_comes_back_is_one_more(
    store: ama.Store,  # noqa: F811
    repo: Repository,
) -> None:
    for data in (b"one", b"two", b"one"):
        repo.added("a", repo.put(data))
        repo.commit()
    assert not ama.import_assets(repo.place, tool="dvc", store=store).failed
    assets = [store.resolve(f"a/{number}") for number in (1, 2, 3)]
    assert [asset.read("a") for asset in assets] == [b"one", b"two", b"one"]
    assert assets[2].info.parents == (assets[1].info.id,)
    assert store.resolve("a@main").info.number == 3


def test_clocks_that_go_back(store: ama.Store, repo: Repository) -> None:  # noqa: F811
    data = repo.put(b"data")
    repo.added("data", data)
    repo.commit()
    repo.ran(train=({"data": data}, {"model": repo.put(b"model")}))
    repo.commit(later=-5000)
    result = ama.import_assets(repo.place, tool="dvc", store=store)
    assert not result.failed
    assert refs(store, "model/1") == [("data", 1)]
    made = store.resolve("model/1").info.created_at
    assert made == datetime.fromtimestamp(START + 100 - 5000, UTC)


def test_stages_of_one_commit_in_any_order(
    store: ama.Store,  # noqa: F811
    repo: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ama.importing.importer.PIECE_SOURCES", 1)
    a, b, c = (repo.put(name.encode()) for name in "abc")
    repo.ran(a=({"z": b}, {"m": c}), b=({"x": a}, {"z": b}), c=({}, {"x": a}))
    repo.commit()
    assert not ama.import_assets(repo.place, tool="dvc", store=store).failed
    assert (refs(store, "m/1"), refs(store, "z/1"), refs(store, "x/1")) == (
        [("z", 1)],
        [("x", 1)],
        [],
    )


def test_stages_in_a_circle(store: ama.Store, repo: Repository) -> None:  # noqa: F811
    a, b = repo.put(b"a"), repo.put(b"b")
    repo.ran(a=({"y": b, "x": a}, {"x": a}), b=({"x": a}, {"y": b}))
    repo.commit()
    assert not ama.import_assets(repo.place, tool="dvc", store=store).failed
    assert len(refs(store, "x/1")) + len(refs(store, "y/1")) == 1


def test_a_stage_that_was_run_before_its_data_changed(
    store: ama.Store,  # noqa: F811
    repo: Repository,
) -> None:
    old, new = repo.put(b"old"), repo.put(b"new")
    repo.added("data", old)
    repo.commit()
    repo.added("data", new)
    repo.ran(train=({"data": old}, {"model": repo.put(b"model")}))
    repo.commit()
    assert not ama.import_assets(repo.place, tool="dvc", store=store).failed
    assert refs(store, "model/1") == [("data", 1)]
    assert store.resolve("data@main").info.number == 2


def test_what_is_gone_is_no_reason_to_refuse_what_follows(
    store: ama.Store,  # noqa: F811
    repo: Repository,
) -> None:
    digests = [repo.put(data) for data in (b"one", b"two", b"three")]
    for digest in digests:
        repo.added("a", digest)
        repo.commit()
    repo.cached(digests[1]).unlink()
    result = ama.import_assets(repo.place, tool="dvc", store=store)
    assert len(result.failed) == 1
    last = store.resolve("a@main").info
    assert last.parents == (store.resolve("a/1").info.id,)
    repo.put(b"two")
    assert len(ama.import_assets(repo.place, tool="dvc", store=store).assets) == 1
    assert store.resolve("a@main").info.id == last.id


@pytest.mark.parametrize(
    "path", ["../out", "../../out", "/etc/out", "a/../../b", ".git/hooks/x", ""]
)
def test_a_hostile_list_of_a_directory(
    store: ama.Store,  # noqa: F811
    repo: Repository,
    path: str,
) -> None:
    listed = [{"md5": repo.put(b"x"), "relpath": path}]
    repo.added("data", repo.put(json.dumps(listed).encode(), ".dir"))
    repo.commit()
    result = ama.import_assets(repo.place, tool="dvc", store=store)
    assert (len(result.failed), result.assets) == (1, ())


def test_files_that_clash(store: ama.Store, repo: Repository) -> None:  # noqa: F811
    x = repo.put(b"x")
    listed = [{"md5": x, "relpath": "a"}, {"md5": x, "relpath": "a/b"}]
    repo.added("data", repo.put(json.dumps(listed).encode(), ".dir"))
    repo.commit()
    (failed,) = ama.import_assets(repo.place, tool="dvc", store=store).failed
    assert "data/a is given as a file and as a directory" in failed.reason
    listed = [{"md5": x, "relpath": "a"}, {"md5": repo.put(b"y"), "relpath": "a"}]
    repo.added("data", repo.put(json.dumps(listed).encode(), ".dir"))
    repo.commit()
    failed = ama.import_assets(repo.place, tool="dvc", store=store).failed[-1]
    assert "damaged" in failed.reason


def test_a_shallow_clone_and_a_tag_on_a_file(
    store: ama.Store,  # noqa: F811
    repo: Repository,
    tmp_path: Path,
) -> None:
    for data in (b"one", b"two"):
        repo.added("a", repo.put(data))
        repo.commit()
    repo.git("tag", "thing", repo.git("rev-parse", "HEAD:a.dvc"))
    repo.git("clone", "-q", "--depth", "1", repo.place.as_uri(), str(tmp_path / "clone"))
    (tmp_path / "clone" / ".dvc" / "cache").symlink_to(repo.place / ".dvc" / "cache")
    result = ama.import_assets(tmp_path / "clone", tool="dvc", store=store)
    assert not result.failed
    assert [asset.alias for asset in result.assets] == ["main"]
    assert store.resolve("a/1").read("a") == b"two"
    assert len(ama.import_assets(repo.place, tool="dvc", store=store).assets) == 2


def test_with_workers_and_not_by_reference(repo: Repository, tmp_path: Path) -> None:
    """Its history stays with this process: what workers can't take is read here."""
    kept = ama.Store.open(str(tmp_path / "store"), create=True)
    data = repo.put(b"data")
    repo.added("data", data)
    repo.ran(train=({"data": data}, {"model": repo.put(b"model")}))
    repo.commit()
    with pytest.raises(InvalidInput, match="by reference"):
        ama.import_assets(repo.place, tool="dvc", store=kept, by_reference=True)
    with processes(2) as executor:
        result = ama.import_assets(repo.place, tool="dvc", store=kept, executor=executor)
    assert not result.failed
    assert refs(kept, "model/1") == [("data", 1)]


def test_no_commit_yet(store: ama.Store, repo: Repository) -> None:  # noqa: F811
    with pytest.raises(InvalidInput, match="HEAD"):
        ama.import_assets(repo.place, tool="dvc", store=store)


def test_a_broken_file_is_named_and_the_rest_goes_on(
    store: ama.Store,  # noqa: F811
    repo: Repository,
) -> None:
    repo.added("a", repo.put(b"one"))
    repo.commit()
    (repo.place / "b.dvc").write_text("outs: [")
    repo.commit()
    (repo.place / "b.dvc").unlink()
    repo.added("a", repo.put(b"two"))
    repo.commit()
    result = ama.import_assets(repo.place, tool="dvc", store=store)
    (failed,) = result.failed
    assert failed.reason == "b.dvc is broken"
    assert [asset.name for asset in result.assets] == ["a/1", "a/2"]


def test_the_command(repo: Repository, run: Ama, tmp_path: Path) -> None:
    repo.added("data/a", repo.put(b"one"))
    repo.commit("first words")
    dry = run.ok("import", "--from", "dvc", "--dry-run", str(repo.place), cwd=tmp_path)
    assert "would become 1 asset" in dry.stdout
    run.ok("import", "--from", "dvc", str(repo.place), cwd=tmp_path)
    shown = run.ok("show", "data-a@main", cwd=tmp_path).stdout
    assert "Bo <bo@example.org>" in shown
    assert "first words" in shown
