"""A content cache that the users of a group share: each file is verified once by each of them."""

from __future__ import annotations

import contextlib
import ctypes  # noqa: F401 - a fork could not read it
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ama
from ama.settings import Settings
from ama.worktree.content_cache import ContentCache
from conftest import isolate
from users import Said, as_user

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can be several users"
)

ANN, BOB, TEAM, ALONE = 4711, 4712, 4713, 4714
FILES = {"model.h5": random.Random(3).randbytes(2_000_000), "a/notes.txt": b"notes"}


@pytest.fixture
def tmp_path(common_path: Path) -> Path:
    return common_path


@pytest.fixture(autouse=True)
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """All that is imported only where it is needed, as a user could not read it."""
    place = tmp_path_factory.mktemp("rehearsal")
    with pytest.MonkeyPatch.context() as patch:
        isolate(place, patch)
        for content in (b"1", b"2"):
            ama.publish("models", {"x": content, "l": FILES["model.h5"]}, store=place / "store")
        ama.fetch("models", store=place / "store")
        ama.fetch("models/1", store=place / "store", include="x")


@pytest.fixture
def team(tmp_path: Path) -> Callable[[int, Callable[[], object]], Said]:
    """Runs something as a member of the team, whose umask closes everything."""
    shared = tmp_path / "cache"
    shared.mkdir()
    os.chown(shared, ANN, TEAM)
    shared.chmod(0o2770)
    ama.publish("models", FILES, store=tmp_path / "store", aliases="best")
    for place in [tmp_path / "store", *(tmp_path / "store").rglob("*")]:
        place.chmod(0o755 if place.is_dir() else 0o644)

    def does(uid: int, work: Callable[[], object]) -> Said:
        home = tmp_path / f"home-{uid}"
        home.mkdir(exist_ok=True)
        os.chown(home, uid, ALONE)

        def at_home() -> int:
            os.umask(0o077)
            os.chdir(home)
            os.environ["HOME"] = str(home)
            for name in ("CONFIG", "CACHE", "DATA"):
                os.environ[f"AMA_{name}_DIR"] = str(home / name)
            os.environ["AMA_CONTENT_DIR"] = str(shared)
            sys.stdout.write(f"{work()}\n")
            return 0

        return as_user(uid, (ALONE, TEAM), home, at_home)

    return does


Team = Callable[[int, Callable[[], object]], Said]


def right(top: Path) -> bool:
    return all((top / path).read_bytes() == data for path, data in FILES.items())


def test_what_one_has_fetched_the_others_use(tmp_path: Path, team: Team) -> None:
    def fetch() -> str:
        top = ama.fetch("models@best", store=tmp_path / "store")
        assert right(top)
        return str(top)

    ann = team(ANN, fetch)
    assert ann.code == 0, ann.stderr
    (tmp_path / "store" / "packs").rename(tmp_path / "packs")
    bob = team(BOB, fetch)
    assert bob.code == 0, bob.stderr
    assert bob.stdout == ann.stdout
    assert not (Path(ann.stdout.strip()) / "model.h5").stat().st_mode & 0o222


def test_another_choice_by_another_user(tmp_path: Path, team: Team) -> None:
    store = tmp_path / "store"
    ann = team(ANN, lambda: ama.fetch("models", store=store, include="*.txt"))
    assert ann.code == 0, ann.stderr
    bob = team(BOB, lambda: right(ama.fetch("models", store=store)))
    assert bob.stdout == "True\n", bob.stderr
    again = team(ANN, lambda: right(ama.fetch("models@best", store=store)))
    assert again.stdout == "True\n", again.stderr


def test_a_wrong_file_of_another_user_is_noticed_whatever_its_time(
    tmp_path: Path, team: Team
) -> None:
    store = tmp_path / "store"
    ann = team(ANN, lambda: ama.fetch("models", store=store))
    path = Path(ann.stdout.strip(), "model.h5")
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"?")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    bob = team(BOB, lambda: right(ama.fetch("models", store=store)))
    assert bob.stdout == "True\n", bob.stderr


def test_one_makes_room_of_what_another_has_fetched(tmp_path: Path, team: Team) -> None:
    store = tmp_path / "store"
    ama.publish("others", {"b": random.Random(4).randbytes(2_000_000)}, store=store)
    for place in [store, *store.rglob("*")]:
        place.chmod(0o755 if place.is_dir() else 0o644)
    ann = team(ANN, lambda: ama.fetch("models", store=store))
    assert ann.code == 0, ann.stderr
    top = Path(ann.stdout.strip())
    for mark in (tmp_path / "cache" / "classes").rglob(top.parent.name):
        os.utime(mark, (1, 1))

    def fetch() -> int:
        os.environ["AMA_CACHE_SIZE"] = "3MB"
        assert (ama.fetch("others", store=store) / "b").exists()
        found = ContentCache.of(Settings.load(None))
        assert found is not None
        return found.total()

    bob = team(BOB, fetch)
    assert bob.stdout == "2000000\n", bob.stderr
    assert not top.exists()
    assert not [
        path for path in (tmp_path / "cache" / "blobs").rglob("*") if path.stat().st_size == 5
    ]


def plant(asset: str, cache: Path, victim: Path) -> None:
    """Let the place through which Ann's content comes lead to other files of hers."""
    top = cache / "filling" / str(ANN)
    incoming = top / asset / "incoming"
    incoming.mkdir(parents=True)
    (incoming / "evil").symlink_to(victim)
    for each in (cache / "filling", top, top / asset, incoming):
        with contextlib.suppress(PermissionError):
            each.chmod(0o2777)


@pytest.mark.parametrize("when", ["before", "after"])
def test_no_member_of_the_group_deletes_files_of_another(
    tmp_path: Path, team: Team, when: str
) -> None:
    store = tmp_path / "store"
    asset = ama.Store.open(store).resolve("models").info.id
    work = tmp_path / "work"
    (work / "years").mkdir(parents=True)
    (work / "years" / "paper.txt").write_text("paper")
    for each in (work, work / "years", work / "years" / "paper.txt"):
        os.chown(each, ANN, ALONE)
    if when == "after":
        ama.publish("others", {"x": b"1"}, store=store)
        for place in [store, *store.rglob("*")]:
            place.chmod(0o755 if place.is_dir() else 0o644)
        assert team(ANN, lambda: ama.fetch("others", store=store)).code == 0
    team(BOB, lambda: plant(asset, tmp_path / "cache", work))
    ann = team(ANN, lambda: right(ama.fetch("models", store=store)))
    assert (work / "years" / "paper.txt").read_text() == "paper"
    assert sorted(path.name for path in work.rglob("*")) == ["paper.txt", "years"]
    assert ann.stdout == "True\n" if when == "after" else "another user's" in ann.stderr


def test_a_lock_that_one_keeps_for_himself_stops_no_other(tmp_path: Path, team: Team) -> None:
    store = tmp_path / "store"
    ama.publish("others", {"b": random.Random(4).randbytes(2_000_000)}, store=store)
    for place in [store, *store.rglob("*")]:
        place.chmod(0o755 if place.is_dir() else 0o644)
    bob = team(BOB, lambda: ama.fetch("models", store=store))
    top = Path(bob.stdout.strip())
    for mark in (tmp_path / "cache" / "classes").rglob(top.parent.name):
        os.utime(mark, (1, 1))
    for name in ("account.lock", "evicting"):
        lock = tmp_path / "cache" / name
        lock.touch()
        os.chown(lock, ANN, ALONE)
        lock.chmod(0o600)

    def fetch() -> int:
        os.environ["AMA_CACHE_SIZE"] = "3MB"
        ama.fetch("others", store=store)
        found = ContentCache.of(Settings.load(None))
        assert found is not None
        return found.total()

    again = team(BOB, fetch)
    assert again.stdout == "2000000\n", again.stderr
    assert not top.exists()


def test_what_comes_is_its_users_alone_and_what_is_there_the_groups(
    tmp_path: Path, team: Team
) -> None:
    ann = team(ANN, lambda: ama.fetch("models", store=tmp_path / "store"))
    top = Path(ann.stdout.strip())
    cache = tmp_path / "cache"
    assert (cache / "filling" / str(ANN)).stat().st_mode & 0o777 == 0o700
    for path in (top, top / "a", top.parent, top.parent / "objects"):
        assert (path.stat().st_mode & 0o7777, path.stat().st_gid) == (0o2770, TEAM), path
    for path in (top / "model.h5", top / "a" / "notes.txt"):
        assert (path.stat().st_mode & 0o7777, path.stat().st_gid) == (0o440, TEAM), path
