"""No command loses what a user made: what is stored nowhere else is neither overwritten nor
deleted, what is outside the worktree is never touched, and a command that refuses changes nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

import ama.fs
from ama import Repo, Store
from ama.errors import AmaError, Conflict, InvalidInput, NotFound, StorageError
from ama.syscalls import System

LARGE = bytes(range(256)) * 6000


class Unsynced(System):
    """The real calls, but nothing is synced: tests lose no power."""

    def fsync(self, fd: int) -> None:
        pass


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (config / "config.toml").write_text('[user]\nname = "Ann"\nemail = "ann@example.org"\n')
    monkeypatch.setenv("AMA_CONFIG_DIR", str(config))
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "store"))
    monkeypatch.setattr(ama.fs, "_os", Unsynced())


def write(directory: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def seen(directory: Path) -> dict[str, object]:
    """Everything a user sees below a directory; symlinks as what they say."""
    found: dict[str, object] = {}
    for where, directories, names in os.walk(directory):
        if ".ama" in directories:
            directories.remove(".ama")
        for name in (*directories, *names):
            path = Path(where, name)
            relative = path.relative_to(directory).as_posix()
            if path.is_symlink():
                found[relative] = os.readlink(path)
            elif path.is_file():
                found[relative] = (path.read_bytes(), path.stat().st_mode & 0o111)
    return found


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """Two versions are published, and the worktree holds the second one."""
    root = tmp_path / "work"
    write(root, {"a": b"one", "same": b"same", "data/x": b"x", "data/y": b"y", "large": LARGE})
    repo = Repo.init(root, "models")
    repo.add(["."])
    repo.upload()
    (root / "a").write_bytes(b"two")
    shutil.rmtree(root / "data")
    (root / "new").write_bytes(b"new")
    (root / "same").chmod(0o755)
    repo.add(["."])
    repo.upload()
    return repo


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory that is none of ama's business, with files like the worktree's."""
    directory = tmp_path / "outside"
    write(directory, {"x": b"x", "y": b"y", "z": b"precious"})
    return directory


def refuses(repo: Repo, act: Callable[[], object], *said: str) -> None:
    """Check that a command refuses, and changes nothing at all."""
    before = seen(repo.root)
    status = repo.status()
    with pytest.raises(Conflict) as caught:
        act()
    for text in said:
        assert text in caught.value.message
    assert caught.value.hint
    assert seen(repo.root) == before
    again = Repo.open(repo.root)
    assert again.status() == status
    assert not (repo.root / ".ama" / "pending" / "checkout").exists()


# What is ignored, and what can't be read


def test_a_tracked_file_stays_tracked_when_it_is_ignored(repo: Repo) -> None:
    write(repo.root, {"logs/a": b"a", "logs/b": b"b", "deep/er/c": b"c", "m.yml": b"m"})
    repo.add(["."])
    (repo.root / ".amaignore").write_text("logs/\n*.yml\ndeep\n")
    write(repo.root, {"logs/new": b"new", "new.yml": b"new", "deep/new/x": b"new"})
    repo = Repo.open(repo.root)
    assert repo.status().changed == ()
    assert repo.status().untracked == (".amaignore",)
    write(repo.root, {"logs/a": b"changed", "deep/er/c": b"changed", "m.yml": b"changed"})
    (repo.root / "logs" / "b").unlink()
    changed = {"deep/er/c": "modified", "logs/a": "modified", "logs/b": "removed"}
    changed["m.yml"] = "modified"
    assert {c.path: c.kind for c in repo.status().changed} == changed
    done = repo.add(["logs"]).changes
    assert {c.path: c.kind for c in done} == {"logs/a": "modified", "logs/b": "removed"}
    done = repo.add(["."]).changes
    assert {c.path for c in done} == {".amaignore", "deep/er/c", "m.yml"}
    assert repo.status().changed == ()


def test_an_unreadable_directory_is_told_and_its_files_are_not_removed(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repo.root, {"shut/a": b"a", "shut/in/b": b"b"})
    repo.add(["."])
    repo.upload()
    (repo.root / "a").write_bytes(b"changed")
    real = os.scandir

    def scandir(path: str) -> object:
        if Path(path) == repo.root / "shut":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    status = repo.status()
    assert [c.path for c in status.changed] == ["a"]
    assert status.unreadable == ("shut",)
    for act in (lambda: repo.add(["."]), lambda: repo.add(["shut"]), repo.diff):
        with pytest.raises(StorageError, match=r"no permission to read .*shut"):
            act()
    assert Repo.open(repo.root).status().staged == ()


def test_what_can_not_be_a_file_is_not_there(repo: Repo) -> None:
    for name in ("x" * 300, "x" * 300 + "/y", "same/" + "x" * 300):
        with pytest.raises(NotFound, match="no such file"):
            repo.add([name])


@pytest.mark.skipif(os.name == "nt", reason="no such permissions there")
def test_add_of_an_unreadable_directory(repo: Repo) -> None:
    write(repo.root, {"shut/a": b"a"})
    (repo.root / "shut").chmod(0)
    try:
        if os.access(repo.root / "shut", os.R_OK):
            pytest.skip("this user may do anything")
        with pytest.raises(StorageError, match=r"no permission to read .*shut"):
            repo.add(["shut"])
    finally:
        (repo.root / "shut").chmod(0o755)


# What stands where a file is to come


def test_a_file_where_a_directory_is_to_come(repo: Repo) -> None:
    write(repo.root, {"data": b"a file of the user's"})
    refuses(repo, lambda: repo.switch("models/1"), "data")
    refuses(repo, lambda: repo.switch("models/1", force=True), "data")
    refuses(repo, lambda: repo.restore(["."], source="models/1"), "data")


def test_a_symlink_where_a_directory_is_to_come(repo: Repo, outside: Path) -> None:
    (repo.root / "data").symlink_to(outside)
    before = seen(outside)
    refuses(repo, lambda: repo.switch("models/1"), "data")
    refuses(repo, lambda: repo.switch("models/1", force=True), "data")
    refuses(repo, lambda: repo.restore(["."], source="models/1", force=True), "data")
    assert seen(outside) == before


def test_a_directory_with_files_where_a_file_is_to_come(repo: Repo) -> None:
    (repo.root / "a").unlink()
    write(repo.root, {"a/precious": b"precious"})
    refuses(repo, lambda: repo.switch("models/1"), "a is in the way")
    refuses(repo, lambda: repo.switch("models/1", force=True), "a is in the way")
    refuses(repo, lambda: repo.restore(["a"], force=True), "a is in the way")


def test_an_empty_directory_where_a_file_is_to_come(repo: Repo) -> None:
    (repo.root / "a").unlink()
    (repo.root / "a" / "deep" / "deeper").mkdir(parents=True)
    repo.switch("models/1")
    assert (repo.root / "a").read_bytes() == b"one"
    (repo.root / "a").unlink()
    (repo.root / "a").mkdir()
    repo.restore(["a"])
    assert (repo.root / "a").read_bytes() == b"one"
    assert repo.status().clean


def test_a_directory_of_the_asset_that_became_a_symlink(repo: Repo, outside: Path) -> None:
    """The files behind it are others, even where they have the same names and content."""
    repo.switch("models/1")
    shutil.rmtree(repo.root / "data")
    (repo.root / "data").symlink_to(outside)
    before = seen(outside)
    assert {c.path for c in repo.status().changed} >= {"data/x", "data/y"}
    repo.switch("models/2")
    assert seen(outside) == before
    assert os.readlink(repo.root / "data") == str(outside)


def test_rm_does_not_reach_behind_a_symlink(repo: Repo, outside: Path) -> None:
    repo.switch("models/1")
    shutil.rmtree(repo.root / "data")
    (repo.root / "data").symlink_to(outside)
    before = seen(outside)
    repo.remove(["."], force=True)
    assert seen(outside) == before
    with pytest.raises(InvalidInput):
        repo.add(["data/z"])


# Content that is stored nowhere else


def test_a_changed_file_is_not_overwritten(repo: Repo) -> None:
    (repo.root / "a").write_bytes(b"changed by hand")
    refuses(repo, lambda: repo.switch("models/1"), "a")
    refuses(repo, lambda: repo.restore(["a"]), "a")
    refuses(repo, lambda: repo.restore(["."], source="models/1"), "a")
    refuses(repo, lambda: repo.remove(["a"]), "a")
    repo.switch("models/1", force=True)
    assert (repo.root / "a").read_bytes() == b"one"


def test_an_untracked_file_is_not_overwritten(repo: Repo) -> None:
    repo.switch("models/1")
    (repo.root / "new").write_bytes(b"made by hand")
    refuses(repo, lambda: repo.switch("models/2"), "new")
    refuses(repo, lambda: repo.pull(), "new")
    refuses(repo, lambda: repo.restore(["new"], source="models/2"), "new")


def test_a_change_of_what_is_the_same_in_both_is_kept(repo: Repo) -> None:
    (repo.root / "large").write_bytes(b"changed by hand")
    (repo.root / "untracked").write_bytes(b"untracked")
    repo.switch("models/1")
    assert (repo.root / "large").read_bytes() == b"changed by hand"
    assert (repo.root / "untracked").read_bytes() == b"untracked"
    assert [change.path for change in repo.status().changed] == ["large"]


def test_a_file_whose_mode_alone_differs_is_switched(repo: Repo) -> None:
    assert seen(repo.root)["same"] == (b"same", 0o111)
    repo.switch("models/1")
    assert seen(repo.root)["same"] == (b"same", 0)
    repo.switch("models/2")
    assert seen(repo.root)["same"] == (b"same", 0o111)
    repo.restore(["same"], source="models/1")
    assert seen(repo.root)["same"] == (b"same", 0)
    assert [(c.path, c.kind) for c in repo.status().staged] == [("same", "mode")]


def test_what_is_staged_is_not_lost_by_a_switch(repo: Repo) -> None:
    (repo.root / "a").write_bytes(b"three")
    repo.add(["a"])
    refuses(repo, lambda: repo.switch("models/1"), "staged")
    repo.restore(["a"], staged=True)
    repo.set(message="noted")
    refuses(repo, lambda: repo.switch("models/1"), "staged")


def test_nothing_is_staged_or_noted_between_two_assets(repo: Repo) -> None:
    """A switch was interrupted: what is noted now would be dropped when it is finished."""
    note = repo.root / ".ama" / "pending" / "checkout"
    note.parent.mkdir(exist_ok=True)
    one = repo.resolve("models/1").id
    note.write_text(f"{one}\nswitch models/1")
    for act in (
        lambda: repo.set(message="noted"),
        lambda: repo.add(["a"]),
        lambda: repo.remove(["a"]),
        lambda: repo.restore(["."]),
        lambda: repo.link("models/1"),
        lambda: repo.commit(),
        lambda: repo.upload(),
    ):
        with pytest.raises(Conflict, match="interrupted") as caught:
            act()
        assert caught.value.hint == "finish it first: ama switch models/1"
    repo.switch("models/1")
    assert (repo.root / "a").read_bytes() == b"one"
    assert repo.status().clean


def test_commits_are_not_left_behind(repo: Repo) -> None:
    (repo.root / "a").write_bytes(b"three")
    repo.add(["a"])
    repo.commit()
    refuses(repo, lambda: repo.switch("models/2"), "published nowhere")
    with pytest.raises(Conflict, match="not published"):
        Repo.init(repo.root, "others")
    assert repo.class_name == "models"


def test_a_large_file_that_is_staged_by_reference_is_not_stored(repo: Repo) -> None:
    changed = LARGE + b"changed"
    (repo.root / "large").write_bytes(changed)
    repo.add(["large"])
    refuses(repo, lambda: repo.remove(["large"]), "large")
    refuses(repo, lambda: repo.restore(["large"], source="models/2"), "large")
    os.utime(repo.root / "large")
    assert repo.restore(["large"]).restored == ()
    assert (repo.root / "large").read_bytes() == changed
    (repo.root / "large").unlink()
    with pytest.raises(AmaError):
        repo.restore(["large"])
    with pytest.raises(Conflict, match="large"):
        repo.upload()
    with pytest.raises(AmaError):
        repo.commit()
    write(repo.root, {"large": changed})
    assert repo.upload().published[0].number == 3


def test_a_large_file_that_changes_after_add_is_not_published(repo: Repo) -> None:
    (repo.root / "large").write_bytes(LARGE + b"added")
    repo.add(["large"])
    (repo.root / "large").write_bytes(LARGE + b"other")
    for act in (repo.upload, repo.commit):
        with pytest.raises(Conflict, match="changed since it was added"):
            act()
    assert len(repo.store().assets("models")) == 2
    assert repo.status().unpublished == ()
    (repo.root / "large").write_bytes(LARGE + b"added")
    repo.commit()
    (repo.root / "large").write_bytes(b"gone again")
    repo.restore(["large"], force=True)
    assert (repo.root / "large").read_bytes() == LARGE + b"added"


# Content that is promised by a store


@pytest.fixture
def copy(repo: Repo, tmp_path: Path) -> Repo:
    """A download of the second version, which holds no content itself but its files."""
    Store.open(str(tmp_path / "store")).download("models/2", tmp_path / "copy")
    return Repo.open(tmp_path / "copy")


def test_a_promised_file_comes_back(copy: Repo) -> None:
    (copy.root / "large").unlink()
    (copy.root / "a").unlink()
    copy.restore(["."])
    assert (copy.root / "large").read_bytes() == LARGE
    assert copy.status().clean
    assert b"".join(copy.read("large")) == LARGE
    copy.remove(["large"])
    copy.restore(["large"], source="HEAD")
    assert copy.status().clean


def test_a_promised_file_goes_to_another_store(copy: Repo, tmp_path: Path) -> None:
    second = str(tmp_path / "second")
    done = copy.push(remote=second)
    assert [asset.number for asset in done.published] == [1, 2]
    shutil.rmtree(tmp_path / "store")
    store = Store.open(second)
    assert store.fsck().ok
    assert store.resolve("models/2").read("large") == LARGE
    assert store.resolve("models/1").read("data/x") == b"x"


def test_an_uploaded_file_goes_to_another_store(repo: Repo, tmp_path: Path) -> None:
    """Of a large file only the recipe stayed here, when it was uploaded by reference."""
    second = str(tmp_path / "second")
    (repo.root / "a").write_bytes(b"three")
    repo.add(["a"])
    repo.upload(remote=second)
    shutil.rmtree(tmp_path / "store")
    store = Store.open(second)
    assert store.fsck().ok
    assert [asset.number for asset in store.assets("models")] == [3, 2, 1]
    assert store.resolve("models/3").read("large") == LARGE
    assert store.resolve("models/3").read("a") == b"three"


# Several commands at once


def test_a_repo_sees_what_another_process_made(repo: Repo) -> None:
    """One that is held open, in a notebook, next to commands in a terminal."""
    assert repo.status().clean
    other = Repo.open(repo.root)
    (repo.root / "a").write_bytes(b"three")
    other.add(["a"])
    other.commit("by another")
    assert repo.head is not None
    assert repo.head.message == "by another"
    assert len(repo.status().unpublished) == 1
    assert {file.path for file in repo.files()} == {"a", "large", "new", "same"}
    (repo.root / "a").write_bytes(b"four")
    repo.add(["a"])
    assert [asset.number for asset in repo.upload().published] == [3, 4]


def test_two_adds_at_once_both_take_effect(repo: Repo) -> None:

    def add(name: str) -> None:
        for number in range(6):
            write(repo.root, {f"{name}{number}": b"%d" % number})
            Repo.open(repo.root).add([f"{name}{number}"])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(add, ("left", "right")))
    assert len(repo.status().staged) == 12
    repo.upload()
    assert repo.fsck().ok


def test_two_downloads_into_one_directory(repo: Repo, tmp_path: Path) -> None:
    """Each of them may fail, but whatever is there is whole, and can be completed."""

    def get() -> None:
        with suppress(AmaError):
            Store.open(str(tmp_path / "store")).download("models/2", tmp_path / "copy")

    expected = seen(repo.root)
    for _ in range(5):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        with ThreadPoolExecutor(2) as pool:
            for end in [pool.submit(get) for _ in range(2)]:
                end.result()
        found = seen(tmp_path / "copy")
        assert {path: expected.get(path) for path in found} == found
        Store.open(str(tmp_path / "store")).download("models/2", tmp_path / "copy")
        assert seen(tmp_path / "copy") == expected
        assert Repo.open(tmp_path / "copy").status().clean


def test_commands_that_say_the_same_again_make_nothing_new(repo: Repo) -> None:
    """So that one whose answer was lost can simply be run again."""
    (repo.root / "a").write_bytes(b"three")
    repo.add(["a"])
    repo.set(metadata={"loss": 0.5})
    assert [asset.number for asset in repo.upload(message="third").published] == [3]
    assert repo.upload(message="third").published == ()
    assert [asset.number for asset in repo.upload(message="fourth").published] == [4]
    assert repo.commit("fourth").created is False
    repo.set(metadata={"loss": 0.5})
    assert [asset.number for asset in repo.upload().published] == [5]
    assert repo.status().metadata == {}


def test_a_store_that_is_not_there_is_not_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Store.open(str(tmp_path / "store"))
    assert not (tmp_path / "store").exists()
