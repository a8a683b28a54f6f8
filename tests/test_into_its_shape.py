"""Files are fetched into a tree of the worktree's shape, and moved from there by few renames."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ama.system.fs
from ama import Repo, Store
from ama.errors import AmaError, Conflict, InvalidInput
from ama.format.hashing import blob_id
from ama.format.objects import EntryKind, TreeEntry
from ama.stores.sources import Sources
from ama.system import parallel
from ama.system.syscalls import System
from ama.worktree import fetching
from ama.worktree.checkout import Checkout
from ama.worktree.entries import IndexEntry
from ama.worktree.layout import Worktree
from ama.worktree.moves import Moves
from ama.worktree.scan import Found, look
from ama.worktree.staging import RACY
from forging import Forge

LARGE = bytes(range(256)) * 6000
posix_only = pytest.mark.skipif(os.name == "nt", reason="needs POSIX")


class Counted(System):
    """The real calls, counted, without a sync; before a rename `meanwhile` is done once."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.meanwhile: dict[str, Callable[[], object]] = {}

    def fsync(self, fd: int) -> None:
        pass

    def open(self, path: str, flags: int, mode: int) -> int:
        if "files-" in path:
            self.calls["open"] += 1
        return super().open(path, flags, mode)

    def replace(self, source: str, target: str) -> None:
        self.count("replace", source, target)
        super().replace(source, target)

    def rename_new(self, source: str, target: str) -> None:
        self.count("rename_new", source, target)
        super().rename_new(source, target)

    def count(self, name: str, source: str, target: str) -> None:
        if "files-" in source and "files-" not in target:
            self.calls[name] += 1
            self.meanwhile.pop(Path(target).name, lambda: None)()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(ama.system.fs, "_os", counted)
    return counted


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def seen(root: Path) -> dict[str, object]:
    """Every file and symlink below a directory, but for those in `.ama`."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name.startswith(".ama/"):
            continue
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = (path.read_bytes(), path.stat().st_mode & 0o111)
    return found


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """It holds models/2; in models/1 there are no directories."""
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "store"))
    repo = Repo.init(tmp_path / "work", "models")
    write(repo.root, {"a": b"one", "run.sh": b"#!/bin/sh\n"})
    repo.add(["."])
    repo.upload()
    files = {f"{top}/{n:02}": f"{top} {n}".encode() for top in "xyz" for n in range(40)}
    write(repo.root, files)
    write(repo.root, {"x/deep/er/leaf": b"", "y/large": LARGE, "z/again": b"x 1", "b": b"two"})
    (repo.root / "run.sh").chmod(0o755)
    (repo.root / "z" / "run").write_bytes(b"#!/bin/sh\n")
    (repo.root / "z" / "run").chmod(0o755)
    (repo.root / "z" / "link").symlink_to("../x/00")
    repo.add(["."])
    repo.upload()
    return repo


def check(root: Path, repo: Repo) -> None:
    """Check that a worktree is what the other one is, and that nothing is left to be done."""
    assert seen(root) == seen(repo.root)
    assert Repo.open(root).status().clean
    assert not list(root.glob(".ama/incoming/*"))


def stats_are_true(root: Path) -> None:
    """Check that the index has the files' own stat data, or says that it doesn't know."""
    entries = Worktree(root).index.read().entries
    assert entries
    for path, entry in entries.items():
        found = os.lstat(root / path)
        assert (entry.ctime, entry.inode) == (found.st_ctime_ns, found.st_ino)
        assert entry.mtime in (found.st_mtime_ns, RACY)


# Fewest calls


@posix_only
@pytest.mark.usefixtures("no_neighbours")
def test_whole_directories_go_by_one_rename(
    repo: Repo, tmp_path: Path, calls: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def looking(root: str, path: str) -> Found | None:
        looked.append(path)
        return look(root, path)

    monkeypatch.setattr("ama.worktree.checkout.look", looking)
    copy = tmp_path / "copy"
    Store.open(str(tmp_path / "store")).download("models", copy)
    check(copy, repo)
    stats_are_true(copy)
    assert calls.calls["replace"] == len("xyz"), "one for each directory at the top"
    assert calls.calls["rename_new"] == len(["a", "b", "run.sh"])
    assert calls.calls["open"] == len(seen(copy)) - len(["z/link"]), "each file once"
    assert set(looked) == {"a", "b", "run.sh"}, "no other file is looked at"


@posix_only
def test_where_a_directory_is_there_only_what_is_new_is_moved(repo: Repo, calls: Counted) -> None:
    expected = seen(repo.root)
    repo.switch("models/1")
    assert not (repo.root / "x").exists()
    write(repo.root, {"x/mine": b"mine", "y/large.txt/mine": b"mine"})
    calls.calls.clear()
    repo.switch("models/2")
    assert seen(repo.root) == expected | {"x/mine": (b"mine", 0), "y/large.txt/mine": (b"mine", 0)}
    assert calls.calls["replace"] == len(["x/deep", "z", "run.sh over run.sh"])
    assert calls.calls["rename_new"] == 40 + 41 + len(["b"])
    stats_are_true(repo.root)


@posix_only
def test_many_windows_and_some_files(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "WINDOW", 7)
    store = Store.open(str(tmp_path / "store"))
    store.download("models", tmp_path / "copy")
    check(tmp_path / "copy", repo)
    some = store.download("models", tmp_path / "some", include=["/x", "/b"], exclude=["0*"])
    chosen = set(seen(tmp_path / "some"))
    assert chosen == {"b", "x/deep/er/leaf", *(f"x/{n}" for n in range(10, 40))}
    assert (some.files, some.skipped) == (len(chosen), len(seen(repo.root)) - len(chosen))
    assert some.asset.size == sum(os.lstat(repo.root / path).st_size for path in seen(repo.root))
    assert Repo.open(tmp_path / "some").status().clean
    part = Repo.open(tmp_path / "some")
    part.restore(sorted(set(seen(repo.root)) - chosen))
    assert seen(part.root) == seen(repo.root)


@posix_only
def test_a_path_too_long_for_the_tree_goes_beside_it(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = f"{tmp_path}/copy/.ama/incoming/{'0' * 16}/files-{'0' * 8}"
    monkeypatch.setattr(fetching, "LONGEST_PATH", len(top) + len("x/deep"))
    Store.open(str(tmp_path / "store")).download("models", tmp_path / "copy")
    check(tmp_path / "copy", repo)
    stats_are_true(tmp_path / "copy")


# What is there, or comes meanwhile


@posix_only
@pytest.mark.parametrize("name", ["x", "x/deep", "x/deep/er"])
def test_a_directory_that_comes_meanwhile_keeps_what_is_in_it(
    repo: Repo, tmp_path: Path, calls: Counted, name: str
) -> None:
    copy = tmp_path / "copy"
    calls.meanwhile["x"] = lambda: write(copy, {f"{name}/mine": b"precious"})
    Store.open(str(tmp_path / "store")).download("models", copy)
    assert seen(copy) == seen(repo.root) | {f"{name}/mine": (b"precious", 0)}
    status = Repo.open(copy).status()
    assert (status.changed, status.untracked) == ((), (f"{name}/mine",))
    stats_are_true(copy)


@posix_only
def test_an_empty_directory_that_comes_meanwhile_is_no_reason_to_stop(
    repo: Repo, tmp_path: Path, calls: Counted
) -> None:
    copy = tmp_path / "copy"
    calls.meanwhile["x"] = (copy / "x").mkdir
    Store.open(str(tmp_path / "store")).download("models", copy)
    check(copy, repo)


@posix_only
@pytest.mark.parametrize("name", ["b", "x", "x/00"])
def test_a_file_that_comes_meanwhile_is_not_replaced(
    repo: Repo, tmp_path: Path, calls: Counted, name: str
) -> None:
    copy = tmp_path / "copy"
    store = Store.open(str(tmp_path / "store"))
    calls.meanwhile[name[:1]] = lambda: write(copy, {name: b"precious"})
    with pytest.raises(Conflict):
        store.download("models", copy)
    assert (copy / name).read_bytes() == b"precious"
    with pytest.raises(Conflict):
        store.download("models", copy)
    assert (copy / name).read_bytes() == b"precious"
    (copy / name).unlink()
    store.download("models", copy)
    check(copy, repo)


@posix_only
@pytest.mark.parametrize("holds", [False, True])
def test_a_directory_that_comes_in_a_files_place_goes_only_if_it_is_empty(
    repo: Repo, tmp_path: Path, calls: Counted, holds: bool
) -> None:
    copy = tmp_path / "copy"
    come = (lambda: write(copy, {"b/mine": b"precious"})) if holds else (copy / "b").mkdir
    calls.meanwhile["b"] = come
    store = Store.open(str(tmp_path / "store"))
    if holds:
        with pytest.raises(Conflict, match="b was changed meanwhile"):
            store.download("models", copy)
        assert (copy / "b" / "mine").read_bytes() == b"precious"
        shutil.rmtree(copy / "b")
    store.download("models", copy)
    check(copy, repo)


@posix_only
def test_a_symlink_that_comes_meanwhile_is_not_followed(
    repo: Repo, tmp_path: Path, calls: Counted
) -> None:
    outside = tmp_path / "outside"
    write(outside, {"00": b"precious"})
    copy = tmp_path / "copy"
    store = Store.open(str(tmp_path / "store"))
    calls.meanwhile["x"] = lambda: (copy / "x").symlink_to(outside)
    with pytest.raises(Conflict, match="x is in the way"):
        store.download("models", copy)
    assert seen(outside) == {"00": (b"precious", 0)}
    (copy / "x").unlink()
    store.download("models", copy)
    check(copy, repo)


@posix_only
def test_a_file_system_whose_rename_can_not_refuse(
    repo: Repo, tmp_path: Path, calls: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, target: str) -> None:
        raise OSError(22, os.strerror(22), target)

    monkeypatch.setattr(calls, "rename_new", refuse)
    Store.open(str(tmp_path / "store")).download("models", tmp_path / "copy")
    check(tmp_path / "copy", repo)


@posix_only
def test_what_a_download_brought_and_is_changed_at_once_is_seen(repo: Repo, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    Store.open(str(tmp_path / "store")).download("models", copy)
    for name in ("x/00", "a"):
        (copy / name).write_bytes((copy / name).read_bytes()[::-1])
    assert [change.path for change in Repo.open(copy).status().changed] == ["a", "x/00"]


@pytest.mark.skipif(sys.platform != "linux", reason="groups are inherited otherwise elsewhere")
def test_a_directory_gets_the_rights_that_its_place_gives(repo: Repo, calls: Counted) -> None:
    """As if it were made there: it is moved only if that makes no difference."""
    repo.switch("models/1")
    repo.root.chmod(0o2775)
    (repo.root / "y").mkdir()
    calls.calls.clear()
    repo.switch("models/2")
    assert {"x", "y", "z"} <= set(os.listdir(repo.root))
    for name in ("x", "x/deep", "x/deep/er", "y", "z"):
        assert (repo.root / name).stat().st_mode & stat.S_ISGID, name
    assert calls.calls["replace"] == len(["run.sh over run.sh"])
    assert repo.status().clean


# What an earlier try has left


class Dies(Counted):
    """It dies when it opens the n-th file of a fetched tree; half of the one before is there."""

    def __init__(self, lives: int) -> None:
        super().__init__()
        self.lives = lives

    def open(self, path: str, flags: int, mode: int) -> int:
        found = super().open(path, flags, mode)
        if self.calls["open"] > self.lives:
            os.write(found, b"ha")
            raise KeyboardInterrupt
        return found


def interrupted(copy: Path, store: Path, lives: int = 60) -> Path:
    """Interrupt a download; return its tree."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ama.system.fs, "_os", Dies(lives))
        with pytest.raises(KeyboardInterrupt):
            Store.open(str(store)).download("models", copy)
    (top,) = copy.glob(".ama/incoming/*/files-*")
    return top


@posix_only
@pytest.mark.usefixtures("no_neighbours")
def test_what_was_fetched_is_verified_and_not_written_again(
    repo: Repo, tmp_path: Path, calls: Counted
) -> None:
    copy = tmp_path / "copy"
    top = interrupted(copy, tmp_path / "store")
    there = [path for path in top.rglob("*") if path.is_file()]
    assert len(there) == 61
    whole = [path for path in there if path.read_bytes() != b"ha"]
    whole.sort(key=lambda path: path.stat().st_size)
    inodes = {path.stat().st_ino for path in whole[:-1]}
    whole[-1].write_bytes(b"spoilt"[: whole[-1].stat().st_size])
    write(top, {"x/unwanted": b"", "unwanted/too": b""})
    Store.open(str(tmp_path / "store")).download("models", copy)
    check(copy, repo)
    stats_are_true(copy)
    assert inodes <= {path.stat().st_ino for path in copy.rglob("*")}
    assert calls.calls["open"] == len(seen(copy)) - len(["z/link"]) - len(inodes)


@posix_only
@pytest.mark.usefixtures("no_neighbours")
def test_two_trees_that_were_left_become_one(repo: Repo, tmp_path: Path, calls: Counted) -> None:
    copy = tmp_path / "copy"
    top = interrupted(copy, tmp_path / "store")
    other = top.parent.parent / "f00d" / "files-other"
    for path in [path for path in top.rglob("*") if path.is_file()][:30]:
        (other / path.relative_to(top)).parent.mkdir(parents=True, exist_ok=True)
        path.rename(other / path.relative_to(top))
    Store.open(str(tmp_path / "store")).download("models", copy)
    check(copy, repo)
    assert calls.calls["open"] == len(seen(copy)) - len(["z/link"]) - 60


@posix_only
def test_a_symlink_in_what_was_left_is_not_followed(repo: Repo, tmp_path: Path) -> None:
    """Else a file of the user's would go into the worktree, or be written to."""
    copy, outside = tmp_path / "copy", tmp_path / "outside"
    top = interrupted(copy, tmp_path / "store")
    write(outside, {f"{n:02}": f"x {n}".encode() for n in range(40)})
    write(outside, {"mine": b"precious"})
    before = seen(outside)
    shutil.rmtree(top / "x")
    (top / "x").symlink_to(outside)
    (top / "b").unlink(missing_ok=True)
    (top / "b").symlink_to(outside / "mine")
    Store.open(str(tmp_path / "store")).download("models", copy)
    check(copy, repo)
    assert seen(outside) == before


@posix_only
def test_who_is_taken_over_notices(repo: Repo, tmp_path: Path, calls: Counted) -> None:
    """The tree of one that looked dead has another name then, and nothing of it is placed."""
    copy = tmp_path / "copy"

    def take_over() -> None:
        (top,) = copy.glob(".ama/incoming/*/files-*")
        top.rename(top.with_name("files-taken"))

    calls.meanwhile["b"] = take_over
    calls.meanwhile["x"] = take_over
    with pytest.raises(AmaError):
        Store.open(str(tmp_path / "store")).download("models", copy)
    assert set(seen(copy)) <= {"a"}
    calls.meanwhile.clear()
    Store.open(str(tmp_path / "store")).download("models", copy)
    check(copy, repo)


@posix_only
def test_two_names_that_are_one_are_refused_before_anything_is_there(
    forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge.publish({"dir": {"a": b"1", "A": b"2"}})
    monkeypatch.setattr(
        fetching.Fetching, "place_of", lambda self, path: f"{self.top}/{path.lower()}"
    )
    with pytest.raises(InvalidInput, match="are one name here"):
        Store.open(str(forge.directory)).download("models", tmp_path / "copy")
    assert seen(tmp_path / "copy") == {}


# The parts


NAMES = st.sampled_from("abc")
PATHS = st.sets(st.lists(NAMES, min_size=1, max_size=4).map("/".join), min_size=1)


@given(PATHS, st.sets(st.lists(NAMES, min_size=1, max_size=3).map("/".join)), st.randoms())
def test_each_file_goes_exactly_once(paths: set[str], there: set[str], random: object) -> None:
    """Whatever directories are there, and whichever moves are refused."""
    files = sorted(f"{path}.txt" for path in paths)
    made = {"", *there, *(up for path in there for up in parents(path))}
    moves = Moves(lambda: files, lambda path: path not in made, made.add)
    gone: list[str] = []
    barred = [""]
    while barred:
        whole, single = moves.among(barred)
        barred = [path for path in whole if random.random() < 0.5]  # type: ignore[attr-defined]
        gone += single
        for path in set(whole) - set(barred):
            assert path not in made
            gone += [file for file in files if file.startswith(f"{path}/")]
        for file in single:
            assert set(parents(file)) <= made
    assert sorted(gone) == files


def parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:at]) for at in range(1, len(parts))]


@pytest.mark.parametrize(
    ("waits", "computes", "on_threads"), [(0.1, 0.001, 7), (0.1, 0.02, 0), (0.003, 0.0, 0)]
)
def test_one_thread_works_until_it_waits(
    waits: float, computes: float, on_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the third chunk of four on it does."""
    clock = SimpleNamespace(now=0.0, busy=0.0)
    clock.perf_counter = lambda: clock.now + clock.busy
    clock.thread_time = lambda: clock.busy
    monkeypatch.setattr(parallel, "time", clock)

    def work(items: list[int]) -> tuple[int, bool]:
        clock.now += waits if items[0] >= 8 else 0
        clock.busy += computes
        return sum(items), threading.current_thread() is threading.main_thread()

    done = list(parallel.where_it_pays(work, range(40), chunk=4))
    assert sum(total for total, _ in done) == sum(range(40))
    assert [here for _, here in done] == [True] * (10 - on_threads) + [False] * on_threads


def test_the_trees_of_a_large_asset_are_not_all_held(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge.publish({"a": {"x": b"1", "y": b"2"}, "b": {"x": b"3"}})
    monkeypatch.setattr("ama.stores.sources.ENTRIES_KEPT", 3)
    remote = Store.open(str(forge.directory)).remote
    view = remote.view()
    record = view.class_state("models").assets[-1]
    sources = Sources(remote.objects_of(view, "models", record))
    top = sources.asset(record.id).tree
    trees = [entry.id for entry in sources.tree(top)]
    for _ in range(2):
        assert [len(sources.tree(tree)) for tree in trees] == [2, 1]
    assert sum(len(sources.tree_held(tree) or ()) for tree in (top, *trees)) <= 3
    assert sources.tree(trees[0])[0] == TreeEntry("x", EntryKind.FILE, blob_id(b"1"), 1)


def test_what_is_not_held_is_read_once_all_the_same(
    forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tree is needed several times, and comes from the store only once."""
    forge.publish({top: {f"{n}": b"" for n in range(50)} for top in "abc"})
    monkeypatch.setattr("ama.stores.sources.ENTRIES_KEPT", 0)
    monkeypatch.setattr("ama.stores.object_reader.METADATA_BATCH", 0)
    done = Store.open(str(forge.directory)).download("models", tmp_path / "copy")
    packs = sum(path.stat().st_size for path in forge.directory.glob("packs/*/*"))
    assert packs // 2 < done.bytes_received <= packs
    assert done.files == len(seen(tmp_path / "copy")) == 150


def test_entries_come_directory_by_directory(forge: Forge, tmp_path: Path) -> None:
    """As a new index is best written: the skipped ones among the others."""
    forge.publish({"b": {"x": b"1", "d": {"y": b"2"}}, "a": b"3", "c": b"4", "z": {"x": b"5"}})
    expected = ["a", "c", "b/x", "b/d/y", "z/x"]
    for options in ({}, {"include": "x"}, {"metadata_only": True}):
        got: list[list[IndexEntry]] = []
        with pytest.MonkeyPatch.context() as patch:
            place = Checkout.place

            def placing(*args: Any, place: Any = place, got: Any = got, **named: Any) -> Any:
                got.append(list(place(*args, **named)))
                return iter(got[0])

            patch.setattr(Checkout, "place", placing)
            copy = tmp_path / f"copy{len(options)}{'include' in options}"
            Store.open(str(forge.directory)).download("models", copy, **options)  # type: ignore[arg-type]
        assert [entry.path for entry in got[0]] == expected
        here = [entry.path for entry in got[0] if not entry.skipped]
        assert set(here) == set(seen(copy))
