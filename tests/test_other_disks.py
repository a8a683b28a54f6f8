"""A directory of a worktree may lie on another disk than the rest: files come and go there too.

Each test runs where the system itself makes a rename fail that leads to another disk, or from one
mount to another of the same disk (both need a mount, which not everyone may make), and where the
call fails for the test.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ama.system.fs
from ama import Repo, Store
from ama.errors import Conflict, IntegrityError, StorageError
from ama.system.syscalls import System
from ama.wording.hints import words as words_of
from ama.worktree.incoming import Incoming

LARGE = bytes(range(256)) * 6000
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


class Disks(System):
    """The real calls, but some directories are other disks; nothing is synced.

    What a test wants done before a file is named in one of them is `meanwhile`.
    """

    def __init__(self) -> None:
        self.others: list[Path] = []
        self.meanwhile: Callable[[str, str], None] = lambda source, target: None

    def fsync(self, fd: int) -> None:
        pass

    def replace(self, source: str, target: str) -> None:
        self.check(source, target)
        super().replace(source, target)

    def rename_new(self, source: str, target: str) -> None:
        self.check(source, target)
        super().rename_new(source, target)

    def check(self, source: str, target: str) -> None:
        where = [{d for d in self.others if d in Path(path).parents} for path in (source, target)]
        if where[1]:
            self.meanwhile(source, target)
        if where[0] != where[1]:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), target)


@pytest.fixture
def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disks:
    config = tmp_path / "config"
    config.mkdir()
    (config / "config.toml").write_text('[user]\nname = "Ann"\nemail = "ann@example.org"\n')
    monkeypatch.setenv("AMA_CONFIG_DIR", str(config))
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "store"))
    disks = Disks()
    monkeypatch.setattr(ama.system.fs, "_os", disks)
    return disks


Mount = Callable[[Path], None]


@pytest.fixture(params=["another disk", "the same disk", "refused"])
def mount(request: pytest.FixtureRequest, tmp_path: Path, disks: Disks) -> Iterator[Mount]:
    """Makes a new directory, into which nothing can be renamed from outside."""
    mounted: list[Path] = []

    def make(directory: Path) -> None:
        directory.mkdir(parents=True)
        if request.param == "refused":
            disks.others.append(directory)
            return
        words = ["-t", "tmpfs", "none"]
        if request.param == "the same disk":
            behind = tmp_path / "behind" / str(len(mounted))
            behind.mkdir(parents=True)
            words = ["--bind", str(behind)]
        if sys.platform != "linux" or os.geteuid() != 0:
            pytest.skip("only root can mount a disk, on Linux")
        done = subprocess.run(
            ["mount", *words, str(directory)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        mounted.append(directory)
        if request.param == "another disk":
            assert directory.stat().st_dev != tmp_path.stat().st_dev

    yield make
    for directory in mounted:
        subprocess.run(["umount", str(directory)], check=True)


def first(root: Path) -> None:
    (root / "a").write_bytes(b"one")
    data = root / "data"
    (data / "deep" / "er").mkdir(parents=True)
    (data / "x").write_bytes(b"x1")
    (data / "gone").write_bytes(b"only in the first")
    (data / "deep" / "er" / "y").write_bytes(b"y1")
    (data / "run.sh").write_bytes(b"#!/bin/sh\n")
    (data / "run.sh").chmod(0o755)
    (data / "latest").symlink_to("x")
    (data / "large").write_bytes(LARGE)


def second(root: Path) -> None:
    (root / "a").write_bytes(b"two")
    data = root / "data"
    (data / "x").write_bytes(b"x2")
    (data / "gone").unlink()
    shutil.rmtree(data / "deep")
    (data / "run.sh").write_bytes(b"#!/bin/sh\nexit 1\n")
    (data / "latest").unlink()
    (data / "latest").symlink_to("large")
    (data / "large").write_bytes(LARGE[:1000] + b"more" + LARGE[1000:])
    (data / "new").mkdir()
    (data / "new" / "z").write_bytes(b"z")


def seen(root: Path) -> dict[str, object]:
    """Every file below a directory, also temporary ones, but for those in `.ama`."""
    found: dict[str, object] = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file() and not name.startswith(".ama/"):
            found[name] = (path.read_bytes(), path.stat().st_mode & 0o111)
    return found


class World:
    """A worktree with two published versions, its `data` on a disk of its own; it has the first."""

    def __init__(self, top: Path, mount: Mount) -> None:
        self.store = Store.open(str(top / "store"), create=True)
        self.root = top / "work"
        mount(self.root / "data")
        first(self.root)
        self.one = seen(self.root)
        self.repo = Repo.init(self.root, "models")
        self.publish()
        second(self.root)
        self.two = seen(self.root)
        self.publish()
        self.repo.switch("models/1")
        self.check(self.one)

    def publish(self) -> None:
        self.repo.add(["."])
        self.repo.set(aliases=["best"])
        self.repo.upload()

    def check(self, expected: dict[str, object]) -> None:
        """Check that exactly these files are here, and nothing is left to do."""
        assert seen(self.root) == expected
        status = Repo.open(self.root).status()
        assert (status.staged, status.changed, status.untracked) == ((), (), ())
        assert list((self.root / ".ama" / "incoming").iterdir()) == []


@pytest.fixture
def world(tmp_path: Path, mount: Mount) -> World:
    return World(tmp_path, mount)


@posix_only
def test_switch_and_pull(world: World) -> None:
    world.repo.switch("models/2")
    world.check(world.two)
    world.repo.switch("models@best~1")
    world.check(world.one)
    world.repo.switch("models@best")
    world.repo.switch("models/1")
    world.repo.switch("models")
    world.repo.pull()
    world.check(world.two)


@posix_only
def test_restore(world: World) -> None:
    for name in ("x", "latest", "run.sh", "large"):
        (world.root / "data" / name).unlink()
    shutil.rmtree(world.root / "data" / "deep")
    world.repo.restore(["data"])
    world.check(world.one)
    (world.root / "data" / "x").write_bytes(b"spoilt")
    world.repo.restore(["data/x"], force=True)
    world.check(world.one)
    world.repo.restore(["."], source="models/2")
    assert seen(world.root) == world.two


@posix_only
def test_a_download_is_completed(world: World, tmp_path: Path, mount: Mount) -> None:
    copy = tmp_path / "copy"
    world.store.download("models/2", copy, include=["a"])
    mount(copy / "data")
    world.store.download("models/2", copy)
    assert seen(copy) == world.two
    assert Repo.open(copy).status().clean


@posix_only
def test_where_a_directory_with_litter_was_there_is_a_file(world: World) -> None:
    """What a command that died left there is no reason for another to give up."""
    data = world.root / "data"
    world.repo.switch("models/2")
    (data / "deep").write_bytes(b"a file now")
    world.publish()
    world.repo.switch("models/1")
    (data / "deep" / "er" / ama.system.fs.temp_name()).write_bytes(b"litter")
    world.repo.switch("models/3")
    assert (data / "deep").read_bytes() == b"a file now"
    assert Repo.open(world.root).status().clean


# What happens while a file is copied. The system's calls are the test's here.


@pytest.fixture
def apart(tmp_path: Path, disks: Disks) -> World:
    def mount(directory: Path) -> None:
        directory.mkdir(parents=True)
        disks.others.append(directory)

    return World(tmp_path, mount)


@posix_only
def test_what_comes_to_the_place_meanwhile_is_not_lost(apart: World, disks: Disks) -> None:
    """It may take minutes until a large file is there."""
    large = apart.root / "data" / "large"

    def edit(source: str, target: str) -> None:
        if target == str(large):
            large.write_bytes(b"precious")

    disks.meanwhile = edit
    with pytest.raises(Conflict, match="data/large was changed meanwhile"):
        apart.repo.switch("models/2")
    assert large.read_bytes() == b"precious"
    assert not list(apart.root.glob("data/.tmp-*"))
    disks.meanwhile = lambda source, target: None
    with pytest.raises(Conflict, match="stored nowhere else"):
        apart.repo.switch("models/2")
    large.unlink()
    apart.repo.switch("models/2")
    apart.check(apart.two)


@posix_only
def test_a_command_that_is_taken_over_places_nothing_more(apart: World, disks: Disks) -> None:
    def take_over(source: str, target: str) -> None:
        disks.meanwhile = lambda source, target: None
        generation, head = apart.repo._tree.head.read()
        apart.repo._tree.head.write(generation, head)

    disks.meanwhile = take_over
    with pytest.raises(Conflict, match="another command"):
        apart.repo.switch("models/2")
    assert not list(apart.root.glob("data/**/.tmp-*"))
    apart.repo.switch("models/2")
    apart.check(apart.two)


@posix_only
def test_what_was_damaged_since_it_was_fetched_is_not_placed(apart: World, disks: Disks) -> None:
    def spoil(source: str, target: str) -> None:
        if target.endswith("data/x"):
            Path(source).write_bytes(b"??")

    disks.meanwhile = spoil
    with pytest.raises(IntegrityError, match="data/x was damaged"):
        apart.repo.switch("models/2")
    assert (apart.root / "data" / "x").read_bytes() == b"x1"
    assert not list(apart.root.glob("data/.tmp-*"))
    disks.meanwhile = lambda source, target: None
    apart.repo.switch("models/2")
    apart.check(apart.two)


@posix_only
def test_what_a_dead_command_left_goes_with_the_next(apart: World) -> None:
    dead = apart.root / "data" / ama.system.fs.temp_name()
    dead.write_bytes(b"half of a lar")
    mine = apart.root / "data" / ".tmp-mine"
    mine.write_bytes(b"no name of ama's")
    apart.repo.switch("models/2")
    assert not dead.exists()
    assert mine.exists()


@posix_only
def test_what_another_command_is_writing_stays(apart: World) -> None:
    """It tells by its directory in `incoming` that it is alive."""
    young, old = (apart.root / "data" / ama.system.fs.temp_name() for _ in range(2))
    with Incoming(apart.repo._tree):
        for path in (young, old):
            path.write_bytes(b"half of a lar")
        os.utime(old, (0, 0))
        apart.repo.switch("models/2")
        assert young.exists()
        assert not old.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a disk, on Linux")
    directory = tmp_path / "small"
    directory.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(directory)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


@pytest.mark.parametrize("staged", [True, False])
def test_a_switch_that_filled_the_disk_can_be_given_up(
    small_disk: Path,
    disks: Disks,
    tmp_path: Path,
    staged: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What others write meanwhile is not foreseen.
    monkeypatch.setattr("ama.worktree.incoming.require_space", lambda tree, needed: None)
    repo = Repo.init(tmp_path / "first", "models")
    (repo.root / "a").write_bytes(b"one")
    repo.add(["a"])
    repo.upload()
    for name, size in (("b", 4), ("c", 3)):
        (repo.root / name).write_bytes(os.urandom(size << 20))
    repo.add(["."])
    repo.upload()

    here = Repo.init(small_disk, "models")
    here.switch("models/1")
    (here.root / "mine").write_bytes(os.urandom(2 << 20))
    (here.root / "filler").write_bytes(os.urandom(64 << 10))
    with pytest.raises(StorageError, match="no space left") as full:
        here.switch("models/2")
    assert "give it up, which frees what it took: ama switch HEAD" in (
        words_of(full.value.hints) or ""
    )
    assert shutil.disk_usage(here.root).free == 0
    assert "ama switch HEAD" in (words_of(here.fsck().interrupted) or "")
    if staged:
        (here.root / "filler").unlink()
        here.add(["mine"])
        with pytest.raises(Conflict) as refused:
            here.switch("HEAD")
        assert "ama commit" in (words_of(refused.value.hints) or "")
        here.commit()
    else:
        here.switch("HEAD")
        assert shutil.disk_usage(here.root).free > 3 << 20
    assert list((here.root / ".ama" / "incoming").iterdir()) == []
    assert (here.root / "a").read_bytes() == b"one"
