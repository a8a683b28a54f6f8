"""No command loses what a user made: what is stored nowhere else is neither overwritten nor
deleted, what is outside the worktree is never touched, and a command that refuses changes nothing.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import ama.system.fs
import ama.transfer.publish
from ama import Repo, Store
from ama.errors import AmaError, Conflict, InvalidInput, NotFound, StorageError
from ama.format.hashing import blob_id
from ama.format.names import fold_name
from ama.format.pack import read_trailer
from ama.system.syscalls import System
from ama.transfer import push
from ama.wording.hints import words as words_of
from ama.worktree import add, checkout
from ama.worktree.checkout import Checkout
from ama.worktree.head import HeadFile
from ama.worktree.incoming import Incoming
from ama.worktree.layout import Begun, Worktree
from ama.worktree.scan import Found, Scanned, look, scan
from conftest import Ama

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
    monkeypatch.setattr(ama.system.fs, "_os", Unsynced())


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
    assert words_of(caught.value.hints)
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


def test_what_is_ignored_is_as_the_rules_are_now(repo: Repo) -> None:
    """A notebook has one Repo for hours, and its user adds rules after a look at the status."""
    write(repo.root, {"private/a": b"a"})
    assert repo.status().untracked == ("private/",)
    (repo.root / ".amaignore").write_text("private\n")
    assert repo.status().untracked == (".amaignore",)
    assert [change.path for change in repo.add(["."]).changes] == [".amaignore"]
    write(repo.root, {".amaignore": b""})
    assert [c.path for c in repo.add(["private"]).changes] == ["private/a"]


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
    refuses(repo, lambda: repo.switch("models/1"), "set for the next asset")


def test_nothing_is_staged_or_noted_between_two_assets(repo: Repo) -> None:
    """A switch was interrupted: what is noted now would be dropped when it is finished."""
    note = repo.root / ".ama" / "pending" / "checkout"
    note.parent.mkdir(exist_ok=True)
    one = repo.resolve("models/1").id
    note.write_bytes(Begun(one, "switch models/1").encode())
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
        assert words_of(caught.value.hints) == "finish it first: ama switch models/1"
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


# What is written while content is fetched


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Have something done when a command has fetched all content, and places none of it yet."""

    def arrange(act: Callable[[], object]) -> None:
        real = Incoming.fetch
        acts = [act]

        def fetch(self: Incoming, *args: Any) -> dict[str, str]:
            staged = real(self, *args)
            while acts:
                acts.pop()()
            return staged

        monkeypatch.setattr(Incoming, "fetch", fetch)

    return arrange


During = Callable[[Callable[[], object]], None]


def put(path: Path, data: bytes) -> Callable[[], object]:
    return lambda: path.write_bytes(data)


def untouched(repo: Repo, command: Callable[[], object], changed: dict[str, object]) -> None:
    """Check that a command refuses, and leaves everything but what changed meanwhile."""
    expected = {**seen(repo.root), **changed}
    with pytest.raises(Conflict, match=r"meanwhile|in the way") as caught:
        command()
    assert words_of(caught.value.hints)
    assert seen(repo.root) == expected
    assert not (repo.root / ".ama" / "pending" / "checkout").exists()
    assert repo.head is not None
    assert repo.head.number == 2


def test_what_is_written_during_a_rm_stays(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at whether all content is stored, and the end of its file."""
    target = repo.root / "data" / "x"
    write(repo.root, {"data/x": b"stored", "data/y": b"stored too"})
    repo.add(["data"])
    repo.upload()
    remove = ama.system.fs.remove

    def first_written(path: Path) -> None:
        if not target.exists() or target.read_bytes() == b"stored":
            target.write_bytes(b"precious")
        remove(path)

    monkeypatch.setattr(ama.system.fs, "remove", first_written)
    with pytest.raises(Conflict, match="data/x was changed meanwhile"):
        repo.remove(["data/y", "data/x"])
    assert target.read_bytes() == b"precious"
    monkeypatch.setattr(ama.system.fs, "remove", remove)
    assert {c.path: c.kind for c in repo.status().changed} == {
        "data/x": "modified",
        "data/y": "removed",
    }


@pytest.mark.parametrize("name", ["a", "new", "data"])
def test_what_is_written_during_a_switch_stays(repo: Repo, during: During, name: str) -> None:
    """A file to be overwritten, one to be deleted, and one where a directory is to come."""
    during(put(repo.root / name, b"precious"))
    untouched(repo, lambda: repo.switch("models/1"), {name: (b"precious", 0)})
    (repo.root / name).write_bytes({"a": b"two", "new": b"new"}.get(name, b""))
    if name == "data":
        (repo.root / name).unlink()
    repo.switch("models/1")
    assert repo.status().clean


def test_what_is_written_during_a_restore_stays(repo: Repo, during: During) -> None:
    for name in ("a", "new"):
        (repo.root / name).unlink()
    during(put(repo.root / "a", b"precious"))
    untouched(repo, lambda: repo.restore(["."]), {"a": (b"precious", 0)})


def test_what_is_written_during_a_download_stays(
    repo: Repo, tmp_path: Path, during: During
) -> None:
    copy = tmp_path / "copy"
    during(put(copy / "a", b"precious"))
    with pytest.raises(Conflict, match="a was changed meanwhile"):
        Store.open(str(tmp_path / "store")).download("models/2", copy)
    assert seen(copy) == {"a": (b"precious", 0)}


def test_what_is_staged_or_noted_during_a_switch_stays(repo: Repo, during: During) -> None:
    def stage() -> None:
        write(repo.root, {"results": b"precious"})
        Repo.open(repo.root).add(["results"])

    during(stage)
    untouched(repo, lambda: repo.switch("models/1"), {"results": (b"precious", 0)})
    assert [change.path for change in repo.status().staged] == ["results"]
    repo.restore(["."], staged=True)
    during(lambda: Repo.open(repo.root).set(message="noted"))
    untouched(repo, lambda: repo.switch("models/1"), {})
    assert repo.status().message == "noted"


def test_what_is_staged_during_a_restore_stays(repo: Repo, during: During) -> None:
    (repo.root / "a").unlink()

    def stage() -> None:
        Repo.open(repo.root).remove(["a"])

    during(stage)
    untouched(repo, lambda: repo.restore(["a", "new"]), {})
    assert [change.path for change in repo.status().staged] == ["a"]


def test_each_file_is_looked_at_before_it_is_replaced(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checkout._make_parents

    def make(*args: Any) -> None:
        (repo.root / "a").write_bytes(b"precious")
        real(*args)

    monkeypatch.setattr(checkout, "_make_parents", make)
    with pytest.raises(Conflict, match="a was changed meanwhile"):
        repo.switch("models/1")
    assert (repo.root / "a").read_bytes() == b"precious"
    with pytest.raises(Conflict, match="interrupted"):
        repo.add(["a"])
    with pytest.raises(Conflict, match="stored nowhere else") as caught:
        repo.switch("models/1")
    assert "move it elsewhere" in (words_of(caught.value.hints) or "")
    monkeypatch.setattr(checkout, "_make_parents", real)
    (repo.root / "a").unlink()
    repo.switch("models/1")
    assert repo.status().clean


def test_two_names_of_one_file_are_replaced(repo: Repo) -> None:
    """With the first of them, the ctime of the other changes."""
    for name in ("x", "y"):
        write(repo.root, {f"twin-{name}": b"before"})
    (repo.root / "twin-y").unlink()
    (repo.root / "twin-y").hardlink_to(repo.root / "twin-x")
    repo.add(["."])
    repo.upload()
    repo.switch("models/2")
    assert repo.status().clean
    assert not (repo.root / "twin-x").exists()


# A partial worktree


def test_a_file_added_outside_the_patterns_follows_a_pull(repo: Repo, tmp_path: Path) -> None:
    """It stayed old and was taken for skipped, and the next `add .` published it."""
    store = Store.open(str(tmp_path / "store"))
    store.download("models", tmp_path / "part", include=["a"])
    part = Repo.open(tmp_path / "part")
    write(part.root, {"notes": b"mine"})
    part.add(["notes"])
    part.upload()
    repo.pull()
    write(repo.root, {"notes": b"a colleague's", "large": LARGE + b"more"})
    repo.add(["."])
    repo.upload()
    part.pull()
    assert seen(part.root) == {"a": (b"two", 0), "notes": (b"a colleague's", 0)}
    assert part.status().skipped == 3
    part.add(["."])
    assert part.status().clean
    (part.root / "notes").unlink()
    store.download("models/4", tmp_path / "part", include=["new"])
    assert set(seen(part.root)) == {"a", "notes", "new"}
    assert part.status().clean


# File systems that take several names for one


@pytest.fixture
def blind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which names that differ in case or Unicode's form are one name."""
    top = tmp_path / "blind"
    top.mkdir()
    listdir = os.listdir

    def found(path: Any) -> Any:
        """The name that is really there."""
        if isinstance(path, int) or not os.path.isabs(path):
            return path
        path = Path(path)
        if top not in path.parents:
            return path
        at = top
        for part in path.relative_to(top).parts:
            names = listdir(at) if os.path.stat.S_ISDIR(stat(at).st_mode) else []  # type: ignore[attr-defined]
            same = [n for n in names if fold_name(n) == fold_name(part)]
            at /= part if part in names or not same else same[0]
            if not same:
                at = at.joinpath(*path.relative_to(top).parts[len(at.relative_to(top).parts) :])
                break
        return os.fspath(at)

    stat = os.stat
    for name in ("lstat", "stat", "open", "unlink", "mkdir", "rmdir", "readlink", "scandir"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda p, *a, _r=real, **k: _r(found(p), *a, **k))
    for name in ("replace", "link"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda p, q, *a, _r=real, **k: _r(found(p), found(q), *a, **k)
        )
    opened = open
    monkeypatch.setattr("builtins.open", lambda p, *a, **k: opened(found(p), *a, **k))
    monkeypatch.setattr(os, "listdir", lambda p=".": listdir(found(p)))
    monkeypatch.setattr(os.path, "lexists", lambda p: _is(lambda: os.lstat(p)))
    monkeypatch.setattr(os.path, "exists", lambda p: _is(lambda: os.stat(p)))
    return top


def _is(look: Callable[[], object]) -> bool:
    with suppress(OSError):
        look()
        return True
    return False


CASES = [("Readme", "README"), ("Dir/f", "dir/f"), ("caf\u00e9", "cafe\u0301")]


@pytest.mark.parametrize(("old", "new"), CASES)
@pytest.mark.parametrize("how", ["switch", "restore"])
def test_a_file_that_is_only_spelled_anew_stays(
    tmp_path: Path, blind: Path, old: str, new: str, how: str
) -> None:
    """Both names are one file there, and it was deleted as the one that leaves."""
    source = tmp_path / "source"
    write(source, {old: b"content", "other": b"other"})
    repo = Repo.init(source, "models")
    repo.add(["."])
    repo.upload()
    repo.remove([old])
    write(source, {new: b"content"})
    repo.add(["."])
    repo.upload()
    Store.open(str(tmp_path / "store")).download("models/1", blind / "copy")
    copy = Repo.open(blind / "copy")
    for number, name in ((2, new), (1, old)):
        if how == "switch":
            copy.switch(f"models/{number}")
            assert copy.status().clean
        else:
            copy.restore(["."], source=f"models/{number}")
        assert seen(copy.root) == {name: (b"content", 0), "other": (b"other", 0)}


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
    assert b"".join(copy.read("HEAD", "large")) == LARGE
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


@pytest.mark.parametrize("left_out", [False, True], ids=["whole", "partial"])
def test_add_says_what_gives_way_to_what_is_added(
    repo: Repo, tmp_path: Path, left_out: bool
) -> None:
    options: dict[str, Any] = {"metadata_only": True} if left_out else {}
    Store.open(str(tmp_path / "store")).download("models/1", tmp_path / "copy", **options)
    copy = Repo.open(tmp_path / "copy")
    if not left_out:
        (copy.root / "a").unlink()
        shutil.rmtree(copy.root / "data")
    write(copy.root, {"a/b": b"below a file's name", "data": b"a directory's name"})
    found = copy.add(["a/b", "data"])
    changes = {change.path: change.kind for change in found.changes}
    assert changes == {
        "a": "removed",
        "a/b": "added",
        "data": "added",
        "data/x": "removed",
        "data/y": "removed",
    }
    staged = {change.path: change.kind for change in copy.status().staged}
    assert staged == changes
    assert copy.add(["a", "data"]).changes == ()


@pytest.mark.parametrize("given", [".", "data", "data/sub"])
def test_a_directory_that_became_a_worktree_is_not_unstaged(repo: Repo, given: str) -> None:
    """What is in it isn't looked at, so it seemed to be gone."""
    write(repo.root, {"data/sub/x": b"x", "data/sub/deep/y": b"y", "data/z": b"z"})
    repo.add(["data"])
    (repo.root / "data" / "sub" / ".ama").mkdir()
    write(repo.root, {"b": b"another"})
    before = repo._tree.index.read().entries
    with pytest.raises(InvalidInput, match="data/sub is another ama worktree") as caught:
        repo.add([given])
    assert repo._tree.index.read().entries == before
    if given != "data/sub":
        assert words_of(caught.value.hints) is not None
        assert words_of(caught.value.hints).endswith("ama rm --cached data/sub")
    repo.remove(["data/sub"], keep_files=True)
    assert (repo.root / "data" / "sub" / "x").exists()
    if given != "data/sub":
        repo.add([given])
    staged = {change.path for change in repo.status().staged}
    assert staged == {"data/z", *(["b"] if given == "." else [])}


def test_a_link_to_a_worktree_takes_the_place_of_a_directory(repo: Repo) -> None:
    write(repo.root, {"data/x": b"x"})
    repo.add(["data"])
    shutil.rmtree(repo.root / "data")
    (repo.root / "inner" / ".ama").mkdir(parents=True)
    (repo.root / "data").symlink_to("inner")
    changes = {change.path: change.kind for change in repo.add(["."]).changes}
    assert changes == {"data": "added", "data/x": "removed"}


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


def test_of_two_switches_at_once_one_wins(repo: Repo, during: During) -> None:
    """Without locks, the other one stops, with nothing touched and nothing of the winner's gone."""

    def second() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ama.system.fs, "_lock", lambda fd: True)
            Repo.open(repo.root).switch("models/1")

    during(second)
    with pytest.raises(Conflict, match=r"meanwhile|same time"):
        repo.switch("models/2", force=True)
    assert (repo.root / "a").read_bytes() == b"one"
    assert repo.head is not None
    assert repo.head.number == 1
    assert repo.status().clean
    assert list((repo.root / ".ama" / "incoming").iterdir()) == []


def test_a_switch_during_another_one_is_refused(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is placing its files; it isn't taken for one that was interrupted."""
    real = checkout._make_parents
    refused: list[str] = []

    def make(*args: Any) -> None:
        fetched = sorted((repo.root / ".ama" / "incoming").rglob("*"))
        with pytest.raises(Conflict) as caught:
            Repo.open(repo.root).switch("models/2", force=True)
        refused.append(caught.value.message)
        assert sorted((repo.root / ".ama" / "incoming").rglob("*")) == fetched
        real(*args)

    monkeypatch.setattr(checkout, "_make_parents", make)
    repo.switch("models/1")
    assert "another command" in refused[0]
    assert repo.status().clean
    assert (repo.root / "data" / "x").read_bytes() == b"x"


@pytest.mark.parametrize("moment", ["placing", "done"])
def test_a_switch_that_another_takes_over_is_not_finished(
    repo: Repo, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Where a file system has no locks, nobody can tell that the first is alive."""
    monkeypatch.setattr(ama.system.fs, "_lock", lambda fd: True)
    real = checkout._make_parents if moment == "placing" else Checkout.finish

    def take_over(*args: Any) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(ama.system.fs, "_lock", lambda fd: True)
        generation, head = repo._tree.head.read()
        repo._tree.head.write(generation, head)
        repo._tree.note("checkout", b"the other's")
        real(*args)

    if moment == "placing":
        monkeypatch.setattr(checkout, "_make_parents", take_over)
    else:
        monkeypatch.setattr(Checkout, "finish", take_over)
    staged = repo._tree.index.read().entries
    with pytest.raises(Conflict, match="another command"):
        repo.switch("models/1")
    assert repo._tree.noted("checkout") == b"the other's"
    assert repo._tree.index.read().entries == staged
    assert moment == "done" or (repo.root / "a").read_bytes() == b"two"


def test_what_a_dead_switch_fetched_is_used_again(
    repo: Repo, tmp_path: Path, during: During
) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    during(die)
    with pytest.raises(KeyboardInterrupt):
        repo.switch("models/1")
    incoming = repo.root / ".ama" / "incoming"
    assert len(list(incoming.iterdir())) == 1
    # What it brought isn't asked for again.
    fetched = [path for path in incoming.rglob("*") if path.is_file() and path.name != "lock"]
    before = {path: path.stat().st_ino for path in fetched}
    assert len(before) == 4
    repo.switch("models/1")
    assert {path.stat().st_ino for path in repo.root.rglob("[axy]")} <= set(before.values())
    assert list(incoming.iterdir()) == []
    assert repo.status().clean


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


# What is stored is damaged


def packs(root: Path) -> list[Path]:
    return sorted((root / ".ama" / "objects" / "packs").rglob("*.pack"))


def lose(pack: Path) -> None:
    pack.unlink()


def cut(pack: Path) -> None:
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:40])


def flip(pack: Path) -> None:
    """Change each record's last byte: lengths stay as they are."""
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    for record in read_trailer(bytes(data), "pack"):
        data[record.end - 1] ^= 1
    pack.write_bytes(data)


@pytest.mark.parametrize("damage", [lose, cut, flip])
@pytest.mark.parametrize("data", [b"the only copy", LARGE], ids=["small", "large"])
def test_a_damaged_pack_keeps_no_content(
    repo: Repo, data: bytes, damage: Callable[[Path], None]
) -> None:
    before = packs(repo.root)
    write(repo.root, {"mine": data})
    repo.add(["mine"], copy=True)
    for pack in packs(repo.root):
        if pack not in before:
            damage(pack)
    repo = Repo.open(repo.root)
    refuses(repo, lambda: repo.remove(["mine"]), "mine", "would be lost")
    refuses(repo, lambda: repo.restore(["mine"], source="HEAD"), "mine", "stored nowhere else")
    # Whoever refuses has `add` look again, and that writes what is damaged anew.
    repo = Repo.open(repo.root)
    repo.add(["mine"])
    repo.commit()
    repo.remove(["mine"])
    assert not (repo.root / "mine").exists()


@pytest.mark.parametrize("damage", [lose, cut])
@pytest.mark.parametrize("data", [b"the only copy", LARGE], ids=["small", "large"])
def test_adding_again_mends_a_lost_pack(
    repo: Repo, data: bytes, damage: Callable[[Path], None]
) -> None:
    before = packs(repo.root)
    write(repo.root, {"mine": data})
    os.utime(repo.root / "mine", (1, 1))
    repo.add(["mine"], copy=True)
    for pack in packs(repo.root):
        if pack not in before:
            damage(pack)
    repo = Repo.open(repo.root)
    repo.add(["mine"])
    (repo.root / "mine").unlink()
    repo.restore(["mine"])
    assert (repo.root / "mine").read_bytes() == data
    repo.upload()
    assert b"".join(repo.read("HEAD", "mine")) == data


# Times that do not tell


def unseen(path: Path, data: bytes) -> None:
    """Write as through a memory map whose page is dirty: the file gets no new time."""
    was = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


@pytest.fixture
def unstamped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change through a memory map can't be made in a test on any disk: ctime isn't looked at."""

    def timeless(found: Found | None) -> Found | None:
        return found and found._replace(ctime=found.mtime)

    def untimed(part: Scanned) -> Scanned:
        new, doubtful = (
            [item for item in map(timeless, found) if item] for found in (part.new, part.doubtful)
        )
        return part._replace(new=new, doubtful=doubtful)

    for module in ("add", "checkout", "reader", "restore", "scan", "selection"):
        monkeypatch.setattr(
            f"ama.worktree.{module}.look", lambda root, path: timeless(look(root, path))
        )
    monkeypatch.setattr(
        "ama.worktree.selection.scan",
        lambda *given, **more: map(untimed, scan(*given, **more)),
    )


@pytest.mark.usefixtures("unstamped")
@pytest.mark.parametrize("command", ["rm", "restore", "upload", "commit"])
def test_a_change_without_a_new_time(repo: Repo, command: str) -> None:
    mine = repo.root / "large"
    changed = b"LOST" + LARGE[4:]
    write(repo.root, {"large": LARGE[::-1]})
    recently = time.time_ns() - 10**9 + 1
    os.utime(mine, ns=(recently, recently))
    repo.add(["large"])
    if command == "rm":
        repo.add(["large"], copy=True)
    unseen(mine, changed)
    assert repo.add(["large"]).changes == ()
    act = {
        "rm": lambda: repo.remove(["large"]),
        "restore": lambda: repo.restore(["large"], source="models/1"),
        "upload": repo.upload,
        "commit": repo.commit,
    }[command]
    with pytest.raises(Conflict):
        act()
    assert mine.read_bytes() == changed
    # Whoever has noticed tells `add`, which believed the times before.
    assert [change.path for change in repo.add(["large"]).changes] == ["large"]
    repo.upload()
    assert b"".join(repo.read("HEAD", "large")) == changed


@pytest.mark.usefixtures("unstamped")
def test_a_change_within_one_step_of_a_coarse_time(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The times of some file systems are whole seconds, and reading may take longer than one."""
    mine = repo.root / "a"
    mine.write_bytes(b"first")
    second = time.time_ns() // 10**9 * 10**9 - 10**9
    os.utime(mine, ns=(second, second))
    real = add.read_small

    def slow(root: Path, path: str) -> bytes:
        data = real(root, path)
        unseen(mine, b"later")
        time.sleep(1.2)
        return data

    monkeypatch.setattr(add, "read_small", slow)
    monkeypatch.setattr(add.time, "time_ns", lambda: second + 300_000_000)
    repo.add(["a"])
    monkeypatch.undo()
    assert [change.path for change in repo.status().changed] == ["a"]
    assert [change.path for change in repo.add(["a"]).changes] == ["a"]


def test_a_file_that_changed_the_case_of_its_name(tmp_path: Path) -> None:
    repo = Repo.init(tmp_path / "cased", "models")
    write(repo.root, {"Readme": b"read me", "Data/x": b"x"})
    repo.add(["."])
    (repo.root / "Readme").rename(repo.root / "README")
    (repo.root / "Data").rename(repo.root / "data")
    repo.add(["."])
    assert {change.path for change in repo.status().staged} == {"README", "data/x"}


# What a store says it has


def stored_packs(store: Path, larger: int) -> list[Path]:
    return [p for p in (store / "packs").rglob("*.pack") if p.stat().st_size > larger]


@pytest.mark.parametrize("damage", [lose, cut])
def test_what_a_store_has_lost_is_sent_again(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    mine = b"".join(blob_id(b"%d" % n) for n in range(70_000))
    first = Repo.init(tmp_path / "first", "models")
    write(first.root, {"w.bin": mine, "a": b"a"})
    first.add(["."])
    first.upload()
    for pack in stored_packs(tmp_path / "store", 1_000_000):
        damage(pack)
    second = Repo.init(tmp_path / "second", "data")
    write(second.root, {"w.bin": mine})
    second.add(["."])
    assert second.upload().bytes_sent > len(mine)
    second.remove(["w.bin"])
    Store.open(str(tmp_path / "store")).download("data/1", tmp_path / "copy")
    assert (tmp_path / "copy" / "w.bin").read_bytes() == mine


def test_what_an_interrupted_push_left_is_read_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = b"".join(blob_id(b"%d" % n) for n in range(70_000))
    monkeypatch.setitem(push.Push.__init__.__kwdefaults__, "pack_size", 100_000)
    repo = Repo.init(tmp_path / "work", "models")
    write(repo.root, {"w.bin": mine})
    repo.add(["."])
    with monkeypatch.context() as patched:
        patched.setattr(push.Push, "_publish_events", die)
        with pytest.raises(KeyboardInterrupt):
            repo.upload()
    for pack in stored_packs(tmp_path / "store", 100_000)[:1]:
        flip(pack)
    repo.upload()
    Store.open(str(tmp_path / "store")).download("models/1", tmp_path / "copy")
    assert (tmp_path / "copy" / "w.bin").read_bytes() == mine


def die(*given: object) -> None:
    raise KeyboardInterrupt


# What is staged or set while another command is under way


def test_what_is_staged_during_a_switch_is_not_dropped_by_going_on(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switch refuses, and so does the same command again, until the user says otherwise."""
    write(repo.root, {"notes.txt": b"the only notes"})
    repo.add(["notes.txt"])
    index = Worktree(repo.root).index
    entry = index.read().entries["notes.txt"]
    repo.restore(["notes.txt"], staged=True)
    all_placed = Checkout._place

    def place(self: Checkout, *args: Any) -> Any:
        placed = all_placed(self, *args)
        index.update(lambda latest: latest.with_entries([entry]))
        return placed

    monkeypatch.setattr(Checkout, "_place", place)
    with pytest.raises(Conflict, match="meanwhile"):
        repo.switch("models/1")
    monkeypatch.undo()
    for again in range(2):
        with pytest.raises(Conflict, match=r"notes\.txt is staged") as caught:
            Repo.open(repo.root).switch("models/1")
        assert "move it elsewhere" in (words_of(caught.value.hints) or ""), again
    assert (repo.root / "notes.txt").read_bytes() == b"the only notes"
    (repo.root / "notes.txt").rename(repo.root.parent / "notes.txt")
    Repo.open(repo.root).switch("models/1", force=True)
    assert (repo.root / "a").read_bytes() == b"one"
    assert Repo.open(repo.root).status().clean


@pytest.mark.parametrize("act", ["upload", "commit"])
def test_what_is_set_during_an_upload_is_for_the_next_one(
    repo: Repo, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set while its content was on the way: it was said to take effect, so it does."""
    write(repo.root, {"a": b"three"})
    repo.add(["a"])
    repo.set(aliases=["now"], message="this one", metadata={"lr": 0.1, "kept": 1})
    make = ama.transfer.publish.make_asset

    def made(*args: Any, **options: Any) -> bytes | None:
        found = make(*args, **options)
        other = Repo.open(repo.root)
        other.set(aliases=["late"], message="the next", metadata={"lr": 0.2})
        other.link("models/1", label="late")
        return found

    monkeypatch.setattr(ama.transfer.publish, "make_asset", made)
    getattr(repo, act)()
    monkeypatch.undo()
    repo = Repo.open(repo.root)
    status = repo.status()
    assert (status.aliases, status.message, status.metadata) == (("late",), "the next", {"lr": 0.2})
    assert [ref.label for ref in status.refs] == ["late"]
    repo.upload()
    store = repo.store()
    newest = store.resolve("models").info
    assert (newest.message, newest.metadata, newest.refs[0].label) == (
        "the next",
        {"lr": 0.2},
        "late",
    )
    assert store.resolve("models@late").info.id == newest.id
    assert store.resolve("models@now").info.id == newest.parents[0]


def test_what_is_only_staged_is_not_removed(repo: Repo) -> None:
    """It lies in a pack, and no name leads there once it is unstaged."""
    write(repo.root, {"notes": b"only here", "a": b"changed"})
    repo.add(["notes", "a"])
    refuses(repo, lambda: repo.remove(["notes"]), "notes", "would be lost")
    refuses(repo, lambda: repo.remove(["a"]), "a", "would be lost")
    assert repo.remove(["notes"], keep_files=True).removed == ("notes",)
    repo.restore(["a"], staged=True)
    refuses(repo, lambda: repo.switch("models/1"), "a", "stored nowhere else")
    assert (repo.root / "notes").read_bytes() == b"only here"


def test_what_is_only_staged_is_not_restored_over(repo: Repo) -> None:
    write(repo.root, {"notes": b"only here", "a": b"changed"})
    repo.add(["notes", "a"])
    refuses(repo, lambda: repo.restore(["a"], source="HEAD"), "a", "stored nowhere else")
    refuses(repo, lambda: repo.restore(["."], source="models/1"), "a, notes", "stored nowhere else")
    repo.restore(["a"], staged=True)
    refuses(repo, lambda: repo.restore(["a"]), "a", "stored nowhere else")
    repo.add(["a"])
    repo.commit()
    # What an asset has can be had again: of a commit, or of one that a store has.
    assert repo.restore(["."], source="models/1").deleted == ("new", "notes")
    assert set(repo.restore(["."], source="HEAD").restored) >= {"a", "new", "notes"}
    assert seen(repo.root)["notes"] == (b"only here", 0)


def test_what_is_only_staged_gives_no_way_to_a_directory(repo: Repo) -> None:
    write(repo.root, {"dir/x": b"x"})
    repo.add(["dir"])
    repo.commit()
    shutil.rmtree(repo.root / "dir")
    write(repo.root, {"dir": b"only here"})
    repo.add(["dir"])
    (repo.root / "dir").unlink()
    for staged, source in ((True, None), (False, "HEAD")):
        with pytest.raises(Conflict, match="dir was deleted"):
            repo.restore(["dir/x"], staged=staged, source=source)
    repo.restore(["dir"])
    assert seen(repo.root)["dir"] == (b"only here", 0)
    repo.restore(["dir/x"], staged=True)  # the file is here
    assert {c.path: c.kind for c in repo.status().changed} == {"dir/x": "removed"}


def test_what_only_the_staging_area_has_is_not_unstaged(repo: Repo) -> None:
    write(repo.root, {"a": b"changed", "notes": b"only here", "my notes": b"these too"})
    repo.add(["a", "notes", "my notes"])
    for name in ("notes", "my notes", "data", "new"):
        (repo.root / name).unlink(missing_ok=True)
    for paths in (["."], ["notes", "my notes"]):
        with pytest.raises(Conflict, match="my notes, notes were deleted") as refused:
            repo.restore(paths, staged=True)
        assert [c.path for c in repo.diff(staged=True)] == ["a", "my notes", "notes"]
    # What is here, changed since or not, is the user's newer one.
    write(repo.root, {"a": b"changed again"})
    assert repo.restore(["a"], staged=True).restored == ("a",)
    words = shlex.split(
        (words_of(refused.value.hints) or "").partition("ama restore ")[2].partition(";")[0]
    )
    assert set(repo.restore(words).restored) == {"my notes", "notes"}
    assert set(repo.restore(["."], staged=True).deleted) == {"my notes", "notes"}
    assert seen(repo.root)["notes"] == (b"only here", 0)

    repo.add(["notes", "my notes"])
    (repo.root / "notes").unlink()
    with pytest.raises(Conflict, match="notes was deleted"):
        repo.restore(["notes"], source="HEAD")
    repo.restore(["notes"])
    repo.commit()
    (repo.root / "notes").unlink()
    repo.restore(["."], source="models/1", staged=True)  # the commit has it
    repo.restore(["."], staged=True)
    write(repo.root, {"lost": b"1"})
    repo.add(["lost"])
    (repo.root / "lost").unlink()
    assert repo.restore(["."], staged=True, force=True).deleted == ("lost",)


def test_an_init_that_dies_in_the_middle_is_finished_first(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its empty index must never be taken for the old class's, as if all files had been removed."""

    def die(*args: Any) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(HeadFile, "write", die)
        with pytest.raises(KeyboardInterrupt):
            Repo.init(repo.root, "other")
    repo = Repo.open(repo.root)
    write(repo.root, {"c": b"c"})
    for act in (
        lambda: repo.add(["c"]),
        lambda: repo.set(aliases=["prod"]),
        repo.upload,
        repo.commit,
        lambda: repo.switch("models/1"),
        lambda: repo.switch("models/1", force=True),
        lambda: Repo.init(repo.root, "third"),
    ):
        with pytest.raises(Conflict, match="an init of other was interrupted") as caught:
            act()
        assert words_of(caught.value.hints) == "finish it first: ama init other"
    assert repo.status().interrupted
    repo = Repo.init(repo.root, "other")
    assert repo.head is None
    repo.add(["c"])
    assert [asset.class_name for asset in repo.upload().published] == ["other"]


def test_what_head_says_already_is_set_no_more_after_an_upload(repo: Repo) -> None:
    """Nothing new is published, and yet it has taken effect."""
    for _ in range(2):
        repo.link("models/1", label="first")
        repo.set(message="linked")
        result = repo.upload()
    assert result.published == ()
    assert repo.refs() == ()
    assert repo.status().clean


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
@pytest.mark.parametrize("name", [b"no text \xff", b"two\nlines"])
def test_a_download_into_a_directory_of_any_name(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    """The note of what has begun names it, and the directory of who is at work."""
    place = tmp_path / os.fsdecode(name)
    asset = repo.store().resolve("models/1")
    with monkeypatch.context() as patch:
        patch.delattr(Checkout, "finish")
        with pytest.raises(AttributeError):
            asset.download(place)
    begun = Worktree(place).begun()
    assert begun is not None
    assert shlex.split(begun.command)[-1] == str(place)
    assert len(bytes.fromhex(begun.incoming)) == 8
    asset.download(place)
    assert seen(place)["a"] == (b"one", 0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(repo: Repo) -> None:
    """It was opened for what may be left of the file that was there."""
    (repo.root / "large").write_bytes(LARGE + b"more")
    repo.add(["large"])
    repo.upload()
    (repo.root / "large").unlink()
    os.mkfifo(repo.root / "large")
    switch = [sys.executable, "-m", "ama", "switch", "models/1"]
    subprocess.run(switch, cwd=repo.root, timeout=60, check=True, capture_output=True)
    assert seen(repo.root)["large"] == (LARGE, 0)


@pytest.mark.parametrize("method", ["add", "remove", "restore"])
def test_an_empty_path_is_not_the_whole_worktree(tmp_path: Path, method: str) -> None:
    work = tmp_path / "work"
    write(work, {"model.h5": b"weights"})
    repo = Repo.init(work, "models")
    repo.add(["model.h5"])
    repo.upload()
    with pytest.raises(InvalidInput, match="'' names no file"):
        getattr(repo, method)([""])
    assert (work / "model.h5").read_bytes() == b"weights"


@pytest.mark.parametrize("command", ["add", "rm", "restore", "diff --"])
def test_an_unset_variable_is_not_the_whole_worktree(
    tmp_path: Path, run: Ama, command: str
) -> None:
    work = tmp_path / "work"
    write(work, {"model.h5": b"weights"})
    repo = Repo.init(work, "models")
    repo.add(["model.h5"])
    repo.upload()
    result = run(*command.split(), "", cwd=work)
    assert (result.code, result.stderr.splitlines()[0]) == (2, "error: '' names no file")
    assert repo.status().staged == ()
    assert (work / "model.h5").exists()
