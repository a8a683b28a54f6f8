"""What a store was seen to have counts only as long as it has it.

Stores are deleted, made anew, and restored from older copies: what lies here may be the only copy.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ama import Repo, Settings, Store
from ama.errors import Conflict, IntegrityError, NotFound
from conftest import Ama

LARGE = bytes(range(256)) * 8000


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "store"
    monkeypatch.setenv("AMA_REMOTE", str(found))
    return found


@pytest.fixture
def work(tmp_path: Path, place: Path) -> Path:
    """A worktree at models/2, whose large file is here and in the store."""
    root = tmp_path / "w"
    repo = Repo.init(root, "models")
    (root / "a").write_bytes(b"one")
    repo.add(["a"])
    repo.upload()
    shutil.copytree(place, tmp_path / "backup")
    (root / "large").write_bytes(LARGE)
    repo.add(["large"])
    repo.upload()
    return root


def roll_back(place: Path) -> None:
    shutil.rmtree(place)
    shutil.copytree(place.with_name("backup"), place)


def make_anew(place: Path) -> None:
    """A colleague, whose machine knows nothing of the old store, makes another one there."""
    shutil.rmtree(place)
    other = place.with_name("colleague")
    settings = Settings(
        data_dir=other / "data",
        cache_dir=other / "cache",
        user_config_path=other / "config.toml",
        default_remote=str(place),
    )
    repo = Repo.init(other / "w", "models", settings=settings)
    (repo.root / "a").write_bytes(b"theirs")
    repo.add(["a"])
    repo.upload()


def delete(place: Path) -> None:
    Store.open(str(place)).delete("models/2")


@pytest.mark.parametrize("change", [roll_back, make_anew, delete])
@pytest.mark.parametrize("act", ["switch", "pull"])
def test_what_a_store_has_lost_is_not_deleted_here(
    work: Path, place: Path, change: Callable[[Path], None], act: str
) -> None:
    change(place)
    # Of what was deleted there, nobody wants more than that no content goes with it.
    said = "large" if change is delete else "left behind"
    repo = Repo.open(work)
    with pytest.raises((Conflict, IntegrityError)) as caught:
        repo.switch("models/1") if act == "switch" else repo.pull()
    if isinstance(caught.value, Conflict):
        assert said in caught.value.message
    assert (work / "large").read_bytes() == LARGE
    with pytest.raises(Conflict, match=said):
        Repo.open(work).switch("models/1")


def test_what_a_store_has_lost_is_not_left_behind(work: Path, place: Path) -> None:
    """What is small is in the worktree's own packs, and nothing but HEAD has a name for it."""
    Repo.open(work).remove(["large"], keep_files=True)
    (work / "large").rename(work / "b")
    (work / "a").write_bytes(b"second")
    Repo.open(work).add(["."], copy=True)
    Repo.open(work).upload()
    make_anew(place)
    repo = Repo.open(work)
    with pytest.raises(Conflict, match="3 commits here would be left behind"):
        repo.switch("models/1")
    assert len(repo.push().published) == 3
    repo.switch("models/1")
    repo.switch("models/4")
    assert ((work / "a").read_bytes(), (work / "b").read_bytes()) == (b"second", LARGE)


def test_nor_is_it_removed(work: Path, place: Path) -> None:
    make_anew(place)
    repo = Repo.open(work)
    repo.fetch()
    with pytest.raises(Conflict, match="large"):
        repo.remove(["large"])
    assert (work / "large").exists()


@pytest.mark.parametrize("downloaded", [False, True])
def test_what_lies_here_makes_a_new_store_whole(
    work: Path, place: Path, tmp_path: Path, downloaded: bool, run: Ama
) -> None:
    """The old one is gone for good, and each file is in the worktree, as it was added."""
    (work / "link").symlink_to("a")
    Repo.open(work).add(["link"])
    Repo.open(work).upload()
    if downloaded:
        work = tmp_path / "copy"
        Store.open(str(place)).resolve("models/3").download(work)
    shutil.rmtree(place)
    repo = Repo.open(work)
    if downloaded:
        # Assets are published with all that they come from, and that is nowhere.
        with pytest.raises(NotFound) as caught:
            repo.upload(new_store=True)
        assert "ama init models" in (caught.value.hint or "")
        run.ok("init", "models", cwd=work)
        run.ok("add", ".", cwd=work)
    repo.upload(new_store=True)
    newest = Store.open(str(place)).resolve("models")
    newest.download(tmp_path / "d")
    assert (tmp_path / "d" / "large").read_bytes() == LARGE
    assert (tmp_path / "d" / "a").read_bytes() == b"one"
    assert os.readlink(tmp_path / "d" / "link") == "a"
    assert Store.open(str(place)).fsck().ok


def test_a_commit_keeps_what_no_store_has_any_more(work: Path, place: Path) -> None:
    make_anew(place)
    repo = Repo.open(work)
    repo.fetch()
    (work / "b").write_bytes(b"two")
    repo.add(["b"])
    repo.commit("second")
    (work / "large").unlink()
    shutil.rmtree(place)
    repo = Repo.open(work)
    repo.restore(["large"])
    assert (work / "large").read_bytes() == LARGE


def test_without_a_memory_of_the_store_its_name_in_head_counts(work: Path, home: Path) -> None:
    """The cache may be deleted at any time: that alone makes nothing of the user's unsafe."""
    shutil.rmtree(home / ".cache")
    assert Repo.open(work).remove(["large"]).removed == ("large",)


def test_a_deleted_commit_is_found_again_as_one(work: Path) -> None:
    """A commit that was left behind is not taken for published because HEAD comes back to it."""
    repo = Repo.open(work)
    (work / "a").write_bytes(b"local")
    repo.add(["a"])
    commit = repo.commit("mine").asset.id
    repo.switch("models/1", force=True)
    repo.switch(commit[:12])
    assert [asset.id for asset in repo.status().unpublished] == [commit]
    with pytest.raises(Conflict, match="left behind"):
        repo.switch("models/1")
    with pytest.raises(Conflict, match="not published"):
        Repo.init(work, "other")
    assert [asset.id for asset in repo.push().published] == [commit]


def test_head_notes_the_store_that_an_asset_was_found_in(
    work: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that was named just once: what it promises is asked for there."""
    second = tmp_path / "second"
    other = Repo.init(tmp_path / "o", "models")
    (other.root / "x").write_bytes(b"x")
    (other.root / "y").write_bytes(LARGE[::-1])
    other.add(["."])
    other.upload(remote=str(second))
    with monkeypatch.context() as once:
        once.setenv("AMA_REMOTE", str(second))
        Repo.open(work).switch("models/1")
    repo = Repo.open(work)
    assert repo.head is not None
    for path in ("x", "y"):
        (work / path).unlink()
    repo.restore(["x", "y"])
    assert (work / "y").read_bytes() == LARGE[::-1]
    (work / "n").write_bytes(b"n")
    repo.add(["n"])
    repo.upload()
    assert Store.open(str(place)).fsck().ok
    assert Store.open(str(place)).resolve("models").read("y") == LARGE[::-1]


def test_pull_does_not_go_elsewhere_when_its_alias_is_removed(
    work: Path, place: Path, tmp_path: Path, run: Ama
) -> None:
    store = Store.open(str(place))
    store.move_alias("models", "prod", "1")
    run.ok("download", "models", "--alias", "prod", "-o", "d", cwd=tmp_path)
    store.remove_alias("models", "prod")
    repo = Repo.open(tmp_path / "d")
    with pytest.raises(NotFound, match=r"models@prod.*was removed by") as caught:
        repo.pull()
    assert "ama switch" in (caught.value.hint or "")
    assert not (tmp_path / "d" / "large").exists()


def test_force_says_what_it_overwrote_and_dropped(work: Path, run: Ama) -> None:
    (work / "a").write_bytes(b"local")
    run.ok("set", "--alias", "right", cwd=work)
    told = run.ok("switch", "--force", "HEAD", cwd=work).stdout
    assert "overwrote a" in told
    assert "dropped what was set: alias right" in told
    assert (work / "a").read_bytes() == b"one"
