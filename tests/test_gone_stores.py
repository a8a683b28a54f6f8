"""Stores that vanished, and where new ones are made: numbers never fork unseen."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import ama
from ama import Repo, Store
from ama.errors import Conflict, InvalidInput, StorageError
from ama.storage.local import LocalStorage
from ama.stores.remote import Remote
from conftest import Ama


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "disk" / "store"


@pytest.fixture
def repo(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """A worktree with something to publish."""
    monkeypatch.setenv("AMA_REMOTE", str(place))
    found = Repo.init(tmp_path / "w", "models")
    (found.root / "a").write_bytes(b"one")
    found.add(["a"])
    return found


def cache(home: Path) -> Path:
    return home / ".cache" / "ama"


@pytest.mark.parametrize("known_by", ["machine", "worktree"])
def test_a_store_that_is_gone_is_never_made_again_unasked(
    repo: Repo, place: Path, home: Path, run: Ama, known_by: str
) -> None:
    repo.upload()
    away = place.with_name("away")
    place.rename(away)
    if known_by == "machine":
        # A worktree that never published there is told all the same.
        repo = Repo.init(repo.root.parent / "other", "models")
    else:
        shutil.rmtree(cache(home))
    (repo.root / "b").write_bytes(b"two")
    repo.add(["b"])
    for command in (["upload"], ["push"], ["list"], ["alias", "move", "models@x", "models/1"]):
        result = run(*command, cwd=repo.root)
        if command == ["push"] and known_by == "machine":
            continue  # it has nothing to push
        if command == ["list"] and known_by == "machine":
            assert result.code == 0
            assert result.stderr.startswith("this is what was seen last")
            continue  # what was seen of it last
        assert result.code == 8, command
        assert f"the store at {place} is gone" in result.stderr
        assert not place.exists()
    result = run("switch", "models/1", cwd=repo.root)
    assert "publish first" not in result.stderr
    away.rename(place)
    assert repo.upload().asset is not None
    assert [asset.number for asset in repo.store().assets("models")] == [2, 1]


def test_a_new_store_is_made_on_demand(repo: Repo, place: Path, run: Ama) -> None:
    repo.upload()
    shutil.rmtree(place)
    result = run("push", cwd=repo.root)
    assert result.code == 8
    assert "--new-store" in result.stderr
    said = run.ok("push", "--new-store", cwd=repo.root).stdout
    assert "published models/1 (" in said
    assert f"to the new store {place}" in said
    # What is there is never made anew.
    assert "nothing new" in run.ok("push", "--new-store", cwd=repo.root).stdout
    shutil.rmtree(place)
    publish = ("publish", "models", "a", "--remote", str(place))
    assert "ama publish" in run(*publish, cwd=repo.root).stderr
    assert "the new store" in run.ok(*publish, "--new-store", cwd=repo.root).stdout
    shutil.rmtree(place)
    with pytest.raises(StorageError, match="is gone"):
        Store.open(str(place), create=True)
    assert Store.open(str(place), create=True, new_store=True).classes() == ()


def test_what_is_said_to_be_published_is_in_this_store(repo: Repo, place: Path) -> None:
    """Another store at the same URL: it gets what it lacks, and nothing else is said."""
    repo.upload()
    place.rename(place.with_name("away"))
    Store.open(str(place), create=True, new_store=True)
    assert [asset.number for asset in repo.push().published] == [1]
    assert [asset.number for asset in repo.store().assets("models")] == [1]


def test_a_refused_upload_leaves_no_store(repo: Repo, place: Path) -> None:
    (repo.root / "large").write_bytes(bytes(2 << 20))
    repo.add(["large"])
    (repo.root / "large").write_bytes(bytes(2 << 20 | 1))
    with pytest.raises(Conflict, match="changed since it was added"):
        repo.upload()
    assert not place.exists()


def test_content_in_a_store_that_is_away_leaves_no_other_store(
    repo: Repo, place: Path, tmp_path: Path
) -> None:
    (repo.root / "large").write_bytes(bytes(2 << 20))
    repo.add(["large"])
    repo.upload()
    copy = Repo.open(Store.default().download("models", directory=tmp_path / "copy").directory)
    place.rename(place.with_name("away"))
    with pytest.raises(StorageError, match="is gone"):
        copy.push(remote=str(tmp_path / "second"))
    assert not (tmp_path / "second").exists()


def test_an_unmade_store_is_overtaken(
    repo: Repo, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is second in making a store publishes to the other's."""
    from ama.stores import creation

    prepared = creation.prepare

    def late(*args: object, **named: object) -> object:
        remote = prepared(*args, **named)  # type: ignore[arg-type]
        Remote.create(LocalStorage(place), None)
        return remote

    monkeypatch.setattr(creation, "prepare", late)
    done = repo.upload()
    assert [asset.number for asset in done.published] == [1]
    assert not done.store_created
    assert [asset.number for asset in ama.Store.open(str(place)).assets("models")] == [1]


def test_no_store_is_made_among_other_files(repo: Repo, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("x")
    Repo.init(tmp_path / "other", "data")
    for url, why in {
        str(full): "has other files in it",
        str(tmp_path / "file"): "is no directory",
        str(repo.root / "store"): "is in the worktree",
        str(tmp_path / "other" / "sub" / "store"): "is in the worktree",
        str(repo.root / ".ama"): "is in the worktree",
    }.items():
        with pytest.raises(InvalidInput, match=why):
            repo.upload(remote=url)
        with pytest.raises(InvalidInput, match=why):
            Store.open(url, create=True)
    assert [path.name for path in full.iterdir()] == ["letter.txt"]
    assert not (repo.root / "store").exists()
    (tmp_path / "empty").mkdir()
    assert repo.upload(remote=str(tmp_path / "empty")).store_created


def test_the_store_on_this_machine_may_lie_in_a_worktree(home: Path) -> None:
    """Whoever keeps the home in a worktree has it there."""
    found = Repo.init(home, "dotfiles")
    (home / "rc").write_text("x")
    found.add(["rc"])
    assert found.upload().store_created
