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
from ama.wording.hints import words
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
    publish_theirs(place)


def publish_theirs(place: Path) -> None:
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
        assert "ama init models" in (words(caught.value.hints) or "")
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
    assert "ama switch" in (words(caught.value.hints) or "")
    assert not (tmp_path / "d" / "large").exists()


def test_force_says_what_it_overwrote_and_dropped(work: Path, run: Ama) -> None:
    (work / "a").write_bytes(b"local")
    run.ok("set", "--alias", "right", cwd=work)
    told = run.ok("switch", "--force", "HEAD", cwd=work).stdout
    assert "overwrote a" in told
    assert "dropped what was set: alias right" in told
    assert (work / "a").read_bytes() == b"one"


def go_another_way(place: Path) -> None:
    """The store is put back, and a colleague publishes what gets the number of what was lost."""
    roll_back(place)
    publish_theirs(place)


def empty(place: Path) -> None:
    """All is gone but what makes it the same store."""
    kept = (place / "format.json").read_bytes()
    shutil.rmtree(place)
    place.mkdir()
    (place / "format.json").write_bytes(kept)


def numbers(place: Path) -> dict[bytes, int | None]:
    store = Store.open(str(place))
    return {store.resolve(i.id).read("a"): i.number for i in store.assets("models")}


@pytest.mark.parametrize("change", [roll_back, go_another_way, empty])
def test_another_history_is_taken_as_it_is_on_demand(
    work: Path, place: Path, home: Path, change: Callable[[Path], None], run: Ama
) -> None:
    Store.open(str(place)).move_alias("models", "best", "2")
    change(place)
    commands = ["list", "show models", "find --class models", "pull", "upload", "push", "fetch"]
    commands += ["alias list", "download models -o d", "push --repair"]
    for command in commands:
        failed = run(*command.split(), cwd=work)
        assert failed.code == 6, command
        assert f"ama fetch --force --remote {place};" in failed.stderr, command
    told = run.ok("fetch", "--force", cwd=work).stdout
    assert "gone: models/2 (" in told
    assert "gone: alias models@best, which was models/2 (" in told
    assert ("gone: models/1 (" in told) == (change is empty)
    assert told.splitlines()[-1] == "next: ama push"
    # What only this worktree has is a commit like any other, whatever is forgotten.
    shutil.rmtree(home / ".cache")
    repo = Repo.open(work)
    assert len(repo.status().unpublished) == (2 if change is empty else 1)
    for act in (lambda: repo.switch("HEAD~1"), lambda: Repo.init(work, "other")):
        with pytest.raises(Conflict, match="would be l"):
            act()
    assert Repo.open(work).fsck().ok
    (work / "large").write_bytes(b"changed in place")
    if change is go_another_way:
        with pytest.raises(Conflict, match="not published"):
            repo.pull()
    repo.push()
    number = 3 if change is go_another_way else 2
    newest = Store.open(str(place)).resolve(f"models/{number}")
    assert newest.read("large") == LARGE
    assert repo.status().head.number == number
    assert Store.open(str(place)).fsck().ok


def test_a_worktree_that_was_elsewhere_meanwhile_loses_nothing(
    work: Path, place: Path, tmp_path: Path, run: Ama
) -> None:
    """Whoever takes the store as it is need not do so in this worktree, nor in any."""
    go_another_way(place)
    with pytest.raises(IntegrityError, match="history was changed"):
        Store.open(str(place)).assets("models")
    run.ok("fetch", "--force", "--remote", str(place), cwd=tmp_path)
    assert set(numbers(place)) == {b"one", b"theirs"}
    with pytest.raises(Conflict, match="left behind"):
        Repo.open(work).switch("models/1")
    with pytest.raises(Conflict, match="large"):
        Repo.open(work).remove(["large"])
    assert [asset.number for asset in Repo.open(work).push().published] == [3]
    assert Store.open(str(place)).resolve("models/3").read("large") == LARGE


def test_a_damaged_history_is_not_taken(work: Path, place: Path, run: Ama) -> None:
    """It would be shorter than what the store itself says, and what was seen is kept."""
    lost = place / "log" / f"{2:012}"
    away = lost.read_bytes()
    lost.unlink()
    failed = run("fetch", "--force", cwd=work)
    assert failed.code == 6
    assert "as this machine remembers it: ama push --repair" in failed.stderr
    assert not Repo.open(work).status().unpublished
    lost.write_bytes(away)
    assert run.ok("fetch", "--force", cwd=work).stdout == f"nothing new in {place}\n"


def test_what_comes_from_a_lost_asset_can_begin_anew(
    work: Path, place: Path, tmp_path: Path, run: Ama
) -> None:
    """A download has its own asset alone: it can't be published without those before it."""
    (work / "a").write_bytes(b"third")
    Repo.open(work).add(["a"])
    Repo.open(work).upload()
    copy = tmp_path / "copy"
    Store.open(str(place)).download("models/3", copy)
    roll_back(place)
    run.ok("fetch", "--force", cwd=copy)
    failed = run("push", cwd=copy)
    assert failed.code == 3
    assert "ama init --force models, ama add . and ama upload" in failed.stderr
    run.ok("init", "--force", "models", cwd=copy)
    run.ok("add", ".", cwd=copy)
    run.ok("upload", cwd=copy)
    assert numbers(place) == {b"one": 1, b"third": 2}
