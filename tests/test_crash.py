"""A command that dies at any point loses nothing, and running it again completes the job.

Each scenario runs once to count what it does to the disk, then again and again from the same
start, dying at another point each time: at a system call (`ama.system.fs._os`), or before or after
a call of the storage. After each death everything is opened anew, checked, and the command is run
again. The same where it doesn't die, but a call fails.

Between two calls that change names (link, replace, mkdir ...) the disk looks the same whether a
process dies early or late: so all points right after those are tried, and of the others a few.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import ama.operations.connections
import ama.store
import ama.system.fs
from ama import Repo, Store, hash_file
from ama.errors import AmaError, NotFound, StorageError
from ama.storage.protocol import Buffer, Range, Storage
from ama.storage.urls import open_storage
from ama.system.syscalls import System

CALLS = [name for name in vars(System) if not name.startswith("_")]
VISIBLE = {"link", "replace", "rename_new", "unlink", "mkdir", "rmdir", "symlink", "chmod"}
NEED_ROOM = {"open", "write", "fsync", "link", "replace", "mkdir", "symlink"}
STRIDE = 12
"""Of the points that leave the disk as another one does, one in so many is tried."""

ALL_POINTS = False


class Died(BaseException):
    """The process is gone: nothing that catches errors sees it."""


class Life:
    """How long a process lives. Once it is dead, it does nothing more, in none of its threads."""

    def __init__(self, calls: int | None = None) -> None:
        self.calls: list[tuple[str, str]] = []
        self.dead = False
        self._left = calls
        self._lock = threading.Lock()

    def use(self, call: str, about: str) -> bool:
        """Count a call; whether it is the last one."""
        with self._lock:
            self.calls.append((call, about))
            return self._left is not None and len(self.calls) > self._left

    def check(self) -> None:
        if self.dead:
            raise Died

    def end(self) -> None:
        self.dead = True
        raise Died


class MortalSystem(System):
    """The real calls, of a process that may die at any of them, a write half done.

    `counts` says whether these calls count, or only those of the storage. Nothing is synced: the
    machine survives, and that is faster.
    """

    def __init__(self, life: Life, *, counts: bool) -> None:
        for name in CALLS:
            real = getattr(super(), name)
            setattr(self, name, self._mortal(life, name, real, counts=counts))

    @staticmethod
    def _mortal(
        life: Life, name: str, real: Callable[..., Any], *, counts: bool
    ) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            life.check()
            if counts and life.use(name, str(args[0])):
                if name == "write":
                    real(args[0], args[1][: len(args[1]) // 2])
                life.end()
            return None if name == "fsync" else real(*args)

        return call


class FullDisk(System):
    """The real calls, until one that needs room: it fails, and with it all later ones that do.

    With `once` only that one fails, as a network file system's may.
    """

    def __init__(self, life: Life, *, once: bool) -> None:
        for name in CALLS:
            real = getattr(super(), name)
            setattr(self, name, self._failing(life, name, real, once=once))

    @staticmethod
    def _failing(
        life: Life, name: str, real: Callable[..., Any], *, once: bool
    ) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if name in NEED_ROOM:
                last = life.use(name, str(args[0])) and not (once and life.dead)
                life.dead = life.dead or last
                if last or (life.dead and not once):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(args[0]))
            return None if name == "fsync" else real(*args)

        return call


def apart(system: System) -> System:
    """The same calls, where `.ama` is on another file system than all the rest."""

    def refusing(rename: Callable[[str, str], None]) -> Callable[[str, str], None]:
        def call(source: str, target: str) -> None:
            if (".ama" in Path(source).parts) != (".ama" in Path(target).parts):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), target)
            rename(source, target)

        return call

    for name in ("replace", "rename_new"):
        setattr(system, name, refusing(getattr(system, name)))
    return system


class MortalStorage:
    """A storage in use by a process that dies before one of the calls that change it, or after."""

    def __init__(self, inner: Storage, life: Life, *, after: bool) -> None:
        self._inner = inner
        self._life = life
        self._after = after

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def can_create(self) -> bool:
        return self._inner.can_create

    @property
    def across_network(self) -> bool:
        return self._inner.across_network

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        self._life.check()
        return self._inner.read(ranges)

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        self._life.check()
        return self._inner.sizes(names)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        self._life.check()
        return self._inner.list(prefix)

    def put(self, name: str, data: Buffer) -> None:
        self._call("put", name, lambda: self._inner.put(name, data))

    def create(self, name: str, data: Buffer) -> None:
        self._call("create", name, lambda: self._inner.create(name, data))

    def replace(self, name: str, data: Buffer) -> None:
        self._call("replace", name, lambda: self._inner.replace(name, data))

    def delete(self, name: str) -> None:
        self._call("delete", name, lambda: self._inner.delete(name))

    def cancel(self) -> None:
        pass

    def _call(self, call: str, name: str, act: Callable[[], None]) -> None:
        self._life.check()
        last = self._life.use(call, name)
        if last and not self._after:
            self._life.end()
        act()
        if last:
            self._life.end()


class FailingStorage(MortalStorage):
    """A storage of which one call fails, before it was done or after; all others work."""

    def _call(self, call: str, name: str, act: Callable[[], None]) -> None:
        fails = self._life.use(call, name) and not self._life.dead
        self._life.dead = self._life.dead or fails
        if not fails or self._after:
            act()
        if fails:
            raise StorageError(f"no answer to {call} of {name}", retryable=True)

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        return self._inner.read(ranges)

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        return self._inner.sizes(names)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        return self._inner.list(prefix)


@dataclass(frozen=True)
class Place:
    """Where a scenario happens."""

    root: Path

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def other(self) -> Path:
        """A second worktree."""
        return self.root / "other"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def repo(self, path: Path | None = None) -> Repo:
        return Repo.open(path or self.work)


@dataclass(frozen=True)
class Scenario:
    """A command and where it starts."""

    prepare: Callable[[Place], object]
    command: Callable[[Place], object]
    worktrees: tuple[str, ...] = ("work",)
    """Those in which no user's file may be lost, and which are usable at any time."""

    new: tuple[str, ...] = ()
    """Directories that the command makes, usable once it has run to its end."""

    republished: bool = False
    """Whether the scenario publishes one tree in several assets on purpose."""

    clean: bool = False
    """Whether the worktree holds what HEAD's asset does when the command is done."""

    gone_when_done: bool = False
    """Whether the command, run once more when it is done, finds nothing to do it to."""

    steps_on: bool = False
    """Whether the command, run once more when it is done, does the same thing again."""


# What lies in the worktrees


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


BIG = noise(1, 1_200_000)
BIG_CHANGED = BIG[:1000] + b"inserted" + BIG[1000:]


def first_files(directory: Path) -> None:
    (directory / "data" / "deep").mkdir(parents=True)
    (directory / "a.txt").write_text("one")
    (directory / "b.txt").write_text("the same in both")
    (directory / "data" / "old.json").write_text("{}")
    (directory / "data" / "deep" / "leaf").write_text("leaf")
    (directory / "run.sh").write_text("#!/bin/sh\n")
    (directory / "run.sh").chmod(0o755)
    (directory / "link").symlink_to("a.txt")
    (directory / "model.bin").write_bytes(BIG)


def change_files(directory: Path) -> None:
    (directory / "a.txt").write_text("two, and longer")
    shutil.rmtree(directory / "data")
    (directory / "data").write_text("a file now")
    (directory / "run.sh").chmod(0o644)
    (directory / "link").unlink()
    (directory / "link").symlink_to("b.txt")
    (directory / "new").mkdir()
    (directory / "new" / "c.txt").write_text("new")
    (directory / "model.bin").write_bytes(BIG_CHANGED)


def started(place: Place) -> Repo:
    place.work.mkdir()
    first_files(place.work)
    return Repo.init(place.work, "models")


def staged(place: Place) -> Repo:
    repo = started(place)
    repo.add(["."])
    repo.set(aliases=["best"], message="first", metadata={"loss": 0.5})
    return repo


def published(place: Place) -> Repo:
    repo = staged(place)
    repo.upload()
    return repo


def changed(place: Place) -> Repo:
    repo = published(place)
    change_files(place.work)
    return repo


def changed_and_staged(place: Place) -> Repo:
    repo = changed(place)
    repo.add(["."])
    repo.set(aliases=["best", "other"], message="second", metadata={"loss": 0.25})
    return repo


def linked(place: Place) -> Repo:
    changed_and_staged(place)
    place.other.mkdir()
    (place.other / "x.csv").write_text("1,2")
    data = Repo.init(place.other, "datasets")
    data.add(["."])
    data.set(aliases=["train"])
    data.upload()
    repo = place.repo()
    repo.link("train", label="trained on")
    return repo


def committed(place: Place) -> Repo:
    repo = changed_and_staged(place)
    repo.commit()
    (place.work / "a.txt").write_text("three")
    repo.add(["."])
    repo.set(aliases=["other", "third"])
    repo.commit("third")
    return repo


def many_small_packs(place: Place) -> Repo:
    repo = started(place)
    for number in range(23):
        (place.work / f"{number}.txt").write_text(str(number))
        repo.add([f"{number}.txt"])
    return repo


def two_versions(place: Place) -> Repo:
    repo = changed_and_staged(place)
    repo.upload()
    return repo


def behind(place: Place) -> Repo:
    """The first version is in `work`; the second one was published from `other`."""
    published(place)
    Store.open(str(place.store)).download("models@best", place.other)
    change_files(place.other)
    repo = place.repo(place.other)
    repo.add(["."])
    repo.set(aliases=["best"])
    repo.upload()
    return place.repo()


def damaged_files(place: Place) -> Repo:
    repo = two_versions(place)
    (place.work / "a.txt").write_text("spoilt")
    (place.work / "model.bin").unlink()
    shutil.rmtree(place.work / "new")
    return repo


def aliased(place: Place) -> Repo:
    repo = published(place)
    repo.set(aliases=["released"])
    return repo


def download(place: Place, name: str, **options: Any) -> None:
    Store.open(str(place.store)).download(name, place.root / "copy", **options)


SCENARIOS: dict[str, Scenario] = {
    "init": Scenario(
        lambda p: (p.work.mkdir(), first_files(p.work)), lambda p: Repo.init(p.work, "models")
    ),
    "init again": Scenario(published, lambda p: Repo.init(p.work, "configs")),
    "add small": Scenario(started, lambda p: p.repo().add(["a.txt", "data", "link", "run.sh"])),
    "add large": Scenario(started, lambda p: p.repo().add(["model.bin"])),
    "add copy": Scenario(started, lambda p: p.repo().add(["."], copy=True)),
    "add changes": Scenario(changed, lambda p: p.repo().add(["."])),
    "add merging packs": Scenario(many_small_packs, lambda p: p.repo().add(["."])),
    "set": Scenario(
        published, lambda p: p.repo().set(aliases=["x"], message="m", metadata={"k": 1})
    ),
    "link": Scenario(
        lambda p: linked(p).unlink("train"), lambda p: p.repo().link("train", label="again")
    ),
    "commit": Scenario(changed_and_staged, lambda p: p.repo().commit(), clean=True),
    "commit first, message": Scenario(staged, lambda p: p.repo().commit("on the spot")),
    "commit alias only": Scenario(aliased, lambda p: p.repo().commit()),
    "upload first": Scenario(staged, lambda p: p.repo().upload()),
    "upload": Scenario(linked, lambda p: p.repo().upload(), clean=True),
    "upload message": Scenario(
        changed_and_staged, lambda p: p.repo().upload(message="on the spot"), clean=True
    ),
    "upload message only": Scenario(
        published, lambda p: p.repo().upload(message="only this is new"), republished=True
    ),
    "upload alias only": Scenario(aliased, lambda p: p.repo().upload()),
    "push": Scenario(committed, lambda p: p.repo().push(), clean=True),
    "download": Scenario(
        two_versions, lambda p: download(p, "models@best"), new=("copy",), clean=True
    ),
    "download with refs": Scenario(
        lambda p: linked(p).upload(),
        lambda p: download(p, "models@best", refs=True),
        new=("copy", "datasets-1"),
        clean=True,
    ),
    "download partly": Scenario(
        two_versions, lambda p: download(p, "models@best", include=["*.txt"]), new=("copy",)
    ),
    "pull": Scenario(behind, lambda p: p.repo().pull(), clean=True),
    "switch": Scenario(two_versions, lambda p: p.repo().switch("models/1"), clean=True),
    "switch back by steps": Scenario(
        lambda p: (committed(p), p.repo().push()),
        lambda p: p.repo().switch("HEAD~1"),
        clean=True,
        steps_on=True,
    ),
    "restore": Scenario(damaged_files, lambda p: p.repo().restore(["."], force=True), clean=True),
    "restore an older asset's": Scenario(
        two_versions, lambda p: p.repo().restore(["."], source="models/1")
    ),
    "restore staged": Scenario(changed_and_staged, lambda p: p.repo().restore(["."], staged=True)),
    "rm": Scenario(
        two_versions,
        lambda p: p.repo().remove(["a.txt", "new", "model.bin"]),
        gone_when_done=True,
    ),
    "rm force": Scenario(
        staged, lambda p: p.repo().remove(["model.bin", "data"], force=True), gone_when_done=True
    ),
    "rm keeping": Scenario(
        two_versions, lambda p: p.repo().remove(["."], keep_files=True), gone_when_done=True
    ),
    "move alias": Scenario(
        two_versions, lambda p: Store.open(str(p.store)).move_alias("models", "best", "1")
    ),
    "remove alias": Scenario(
        two_versions,
        lambda p: Store.open(str(p.store)).remove_alias("models", "best"),
        gone_when_done=True,
    ),
}

PUBLISHING = [
    "upload first",
    "upload",
    "upload message",
    "upload alias only",
    "push",
    "move alias",
]

PLACING = ["switch", "pull", "restore", "download"]


# What things look like


def user_files(directory: Path) -> dict[str, tuple[str, str]]:
    found = {}
    for where, directories, names in os.walk(directory):
        if ".ama" in directories:
            directories.remove(".ama")
        for name in names:
            path = Path(where, name)
            relative = path.relative_to(directory).as_posix()
            if ama.system.fs.is_temp(name):
                continue
            if path.is_symlink():
                found[relative] = ("symlink", os.readlink(path))
            else:
                kind = "executable" if path.stat().st_mode & 0o100 else "file"
                found[relative] = (kind, hash_file(path))
    return found


def litter(directory: Path) -> list[str]:
    """The temporary files that lie among the user's."""
    below = (path.relative_to(directory) for path in directory.rglob(".tmp-*"))
    return sorted(str(path) for path in below if path.parts[0] != ".ama")


def pending(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / ".ama" / "pending").glob("*"))


def described_worktree(directory: Path) -> dict[str, Any]:
    repo = Repo.open(directory)
    status = repo.status()
    head = status.head
    return {
        "files": user_files(directory),
        "litter": litter(directory),
        "class": status.class_name,
        "head": head and (head.tree, head.message, head.number, sorted(head.metadata.items())),
        "waiting": [(commit.tree, commit.message) for commit in status.unpublished],
        "staged": [(c.path, c.kind, c.new_id) for c in status.staged],
        "changed": [(c.path, c.kind) for c in status.changed],
        "untracked": status.untracked,
        "noted": (status.aliases, status.message, dict(status.metadata), len(status.refs)),
        "skipped": status.skipped,
        "pending": [name for name in pending(directory) if not ama.system.fs.is_temp(name)],
        "incoming": (directory / ".ama" / "incoming").exists(),
    }


def described_store(store: Store) -> dict[str, Any]:
    names = [found.name for found in store.classes()]
    assets = {name: store.assets(name) for name in names}
    numbers = {a.id: a.number for found in assets.values() for a in found}
    return {
        "assets": {
            (name, a.number): (
                a.tree,
                a.message,
                [numbers[parent] for parent in a.parents],
                [(ref.number, ref.label) for ref in a.refs],
                sorted(a.metadata.items()),
            )
            for name in names
            for a in assets[name]
        },
        "aliases": {
            (move.class_name, move.alias): [
                moved.number for moved in store.alias_history(name, move.alias)
            ]
            for name in names
            for move in store.aliases(name)
        },
    }


def compare(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Part by part, so that a failure tells which one is other."""
    assert found.keys() == expected.keys()
    for where, parts in expected.items():
        if parts is None or found[where] is None:
            assert found[where] == parts
            continue
        for part, value in parts.items():
            assert found[where][part] == value, f"{part} of {where}"


def open_store(place: Place) -> Store | None:
    """The store, which must open if it is there."""
    with suppress(NotFound):
        return Store.open(str(place.store))
    assert not list(place.store.glob("log/*"))
    return None


def described(place: Place, scenario: Scenario) -> dict[str, Any]:
    store = open_store(place)
    found: dict[str, Any] = {"store": None if store is None else described_store(store)}
    for name in scenario.worktrees + scenario.new:
        found[name] = described_worktree(place.root / name)
    return found


def check_store(place: Place, *, republished: bool) -> None:
    store = open_store(place)
    if store is None:
        return
    report = store.fsck()
    assert report.ok, report.problems
    for found in store.classes():
        assets = store.assets(found.name)
        assert [a.number for a in assets] == list(range(len(assets), 0, -1))
        assert len({a.id for a in assets}) == len(assets)
        if not republished:
            assert len({a.tree for a in assets}) == len(assets), "published twice"


def check_worktree(directory: Path) -> None:
    repo = Repo.open(directory)
    report = repo.fsck()
    assert report.ok, report.problems
    repo.status()


def check_files(
    directory: Path,
    before: dict[str, tuple[str, str]],
    after: dict[str, tuple[str, str]],
) -> None:
    """Each file is whole, as it was or as it will be, and none is lost or extra."""
    now = user_files(directory)
    for path in {*before, *after, *now}:
        # A path that is a directory on one side has files below it on the other.
        allowed = (before.get(path), after.get(path))
        assert now.get(path) in allowed, f"{path} is {now.get(path, 'gone')!r:.60}"


def listed(directory: Path) -> set[tuple[str, int, int]]:
    found = set()
    for where, _, names in os.walk(directory):
        for name in names:
            status = os.lstat(os.path.join(where, name))
            found.add((os.path.join(where, name), status.st_size, status.st_mtime_ns))
    return found


def after_death(
    place: Place, scenario: Scenario, before: dict[str, Any], expected: dict[str, Any]
) -> None:
    if listed(place.store) != before["store"]:
        check_store(place, republished=scenario.republished)
    for name in scenario.worktrees:
        directory = place.root / name
        check_files(directory, before[name], expected[name]["files"])
        control = directory / ".ama"
        if name in before["begun"]:
            Repo.open(directory).status()
            if listed(control) != before["begun"][name]:
                check_worktree(directory)
    for name in scenario.new:
        directory = place.root / name
        check_files(directory, {}, expected[name]["files"])
        if (directory / ".ama").exists():
            # It may be unfinished, and says so: it is never taken for another asset.
            with suppress(AmaError):
                Repo.open(directory).status()


# Running


def crash_points(calls: Sequence[tuple[str, str]], cache: Path) -> list[int]:
    """After how many calls to die: where that makes a difference, and some others."""
    points = {0, len(calls) - 1}
    for at, (call, about) in enumerate(calls):
        visible = call in VISIBLE and not about.startswith(str(cache))
        if ALL_POINTS or visible or at % STRIDE == STRIDE // 2:
            points.add(at + 1 if visible else at)
    return sorted(points)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    config = tmp_path / "config"
    config.mkdir()
    (config / "config.toml").write_text('[user]\nname = "Ann"\nemail = "ann@example.org"\n')
    place = Place(tmp_path / "now")
    monkeypatch.setenv("AMA_CONFIG_DIR", str(config))
    monkeypatch.setenv("AMA_CACHE_DIR", str(place.cache))
    monkeypatch.setenv("AMA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("AMA_REMOTE", str(place.store))
    place.root.mkdir()
    return place


@pytest.fixture(autouse=True)
def alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ama.system.fs, "_os", MortalSystem(Life(), counts=False))


Live = Callable[[Life], AbstractContextManager[None]]
Points = Callable[[Sequence[tuple[str, str]]], Iterable[int]]


def crashed(place: Place, scenario: Scenario, points: Points, live: Live) -> int:
    """Run a scenario again and again, dying at each point; return how many there were."""
    scenario.prepare(place)
    start = place.root.with_name("start")
    shutil.copytree(place.root, start, symlinks=True)
    before: dict[str, Any] = {name: user_files(place.root / name) for name in scenario.worktrees}
    controls = {name: place.root / name / ".ama" for name in scenario.worktrees}
    before["begun"] = {name: listed(path) for name, path in controls.items() if path.exists()}
    before["store"] = listed(place.store)
    life = Life()
    with live(life):
        scenario.command(place)
    assert not life.dead
    expected = described(place, scenario)
    for name in (*scenario.worktrees, *scenario.new) if scenario.clean else ():
        assert (expected[name]["staged"], expected[name]["changed"]) == ([], [])
    check_store(place, republished=scenario.republished)
    assert life.calls, "the scenario does nothing"
    chosen = list(points(life.calls))
    for number, point in enumerate(chosen):
        shutil.rmtree(place.root)
        shutil.copytree(start, place.root, symlinks=True)
        life = Life(point)
        done = False
        with live(life), suppress(Died, StorageError):
            scenario.command(place)
            done = True
        if number % 2:
            shutil.rmtree(place.cache, ignore_errors=True)
        try:
            after_death(place, scenario, before, expected)
            if not (done and scenario.steps_on):
                run_again(place, scenario)
            compare(described(place, scenario), expected)
            if number % 3 == 0 or ALL_POINTS:
                check_store(place, republished=scenario.republished)
                for name in scenario.worktrees + scenario.new:
                    check_worktree(place.root / name)
        except BaseException as error:
            error.add_note(f"died after {point} calls, at {life.calls[-1]}")
            raise
    return len(chosen)


def run_again(place: Place, scenario: Scenario) -> None:
    """What its user does then: the same command, whether it died or just came to its end."""
    with suppress(*[NotFound] if scenario.gone_when_done else []):
        scenario.command(place)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_process_may_die_at_any_system_call(
    name: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def live(life: Life) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(ama.system.fs, "_os", MortalSystem(life, counts=True))
            yield

    points = crashed(place, SCENARIOS[name], lambda c: crash_points(c, place.cache), live)
    assert points >= 3


@pytest.mark.parametrize("system", [MortalSystem, FullDisk], ids=["dies", "full"])
@pytest.mark.parametrize("name", PLACING)
def test_no_file_can_be_renamed_into_its_place(
    name: str, system: Callable[..., System], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then each is copied first, and a command may die or fail at any call of that as well."""
    monkeypatch.setattr(ama.system.fs, "_os", apart(MortalSystem(Life(), counts=False)))
    options = {"counts": True} if system is MortalSystem else {"once": True}

    @contextmanager
    def live(life: Life) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(ama.system.fs, "_os", apart(system(life, **options)))
            yield

    points = crashed(place, SCENARIOS[name], lambda c: crash_points(c, place.cache), live)
    assert points >= 3


@pytest.mark.parametrize("once", [False, True], ids=["full", "once"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_disk_may_fail_at_any_system_call(
    name: str, once: bool, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can't be written is said in a StorageError, or didn't matter."""

    @contextmanager
    def live(life: Life) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(ama.system.fs, "_os", FullDisk(life, once=once))
            yield

    def some(calls: Sequence[tuple[str, str]]) -> Iterable[int]:
        return range(once, len(calls), 1 if ALL_POINTS else len(calls) // 6 + 1)

    crashed(place, SCENARIOS[name], some, live)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", [MortalStorage, FailingStorage], ids=["dies", "fails"])
@pytest.mark.parametrize("name", PUBLISHING)
def test_a_call_of_the_storage_may_be_the_last_or_fail(
    name: str,
    kind: type[MortalStorage],
    after: bool,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def live(life: Life) -> Iterator[None]:
        def opened(url: str, options: object = None) -> Storage:
            return kind(open_storage(url), life, after=after)

        with monkeypatch.context() as patch:
            if kind is MortalStorage:
                patch.setattr(ama.system.fs, "_os", MortalSystem(life, counts=False))
            patch.setattr(ama.operations.connections, "open_storage", opened)
            patch.setattr(ama.store, "open_storage", opened)
            yield

    points = crashed(place, SCENARIOS[name], lambda calls: range(len(calls)), live)
    assert points >= 2
