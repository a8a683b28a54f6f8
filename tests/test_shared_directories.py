"""A store in a directory that several users of a machine share, with users that are not the same.

Each publishes with a umask of his own. What one makes there, the others can use: as with git's
core.sharedRepository, the rights are those of the store's directory.
"""

from __future__ import annotations

import ctypes  # noqa: F401 - a fork could not read it
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ama import Repo, Store
from ama.cli.main import run as run_command
from ama.errors import StorageError
from ama.storage.local import LocalStorage
from ama.storage.protocol import Range
from ama.system.fs import is_temp
from conftest import isolate
from users import Said, as_user

if sys.platform != "win32":
    needs_users = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX users")

ANN, BOB, TEAM, ALONE = 4711, 4712, 4713, 4714


class User:
    """Somebody with a numeric id, in the group TEAM and in one of his own."""

    def __init__(self, uid: int, home: Path) -> None:
        self.uid = uid
        self.home = home
        home.mkdir()
        os.chown(home, uid, ALONE)

    def does(self, work: Callable[[], int | None]) -> Said:
        """Run something as this user, with directories of his own."""

        def work_at_home() -> int:
            os.chdir(self.home)
            os.environ["HOME"] = str(self.home)
            for name in ("CONFIG", "CACHE", "DATA"):
                os.environ[f"AMA_{name}_DIR"] = str(self.home / name)
            return work() or 0

        return as_user(self.uid, (ALONE, TEAM), self.home, work_at_home)

    def publishes(self, store: Path, umask: int) -> Said:
        def work() -> None:
            os.umask(umask)
            publish(self.home / "work", store, str(self.uid))

        return self.does(work)

    def reads(self, store: Path) -> str:
        return self.does(lambda: sys.stdout.write(f"{newest(store)}\n") and None).stdout

    def ama(self, *words: object) -> Said:
        return self.does(lambda: run_command([str(word) for word in words]))


def publish(where: Path, store: Path, name: str) -> None:
    where.mkdir(exist_ok=True)
    with (where / "model.bin").open("ab") as file:
        file.write(name.encode() + bytes(range(256)) * 10_000)
    with (where / "notes.txt").open("a") as file:
        file.write(name)
    is_there = (where / ".ama").is_dir()
    repo = Repo.open(where) if is_there else Repo.init(where, "models")
    repo.add(["."])
    repo.upload(remote=str(store))


def newest(store: Path) -> int:
    opened = Store.open(str(store))
    assert opened.resolve("models").read("notes.txt")
    return len(opened.assets("models"))


@pytest.fixture
def tmp_path(common_path: Path) -> Path:
    return common_path


@pytest.fixture(scope="module", autouse=True)
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """All that is imported only where it is needed, as a user could not read it."""
    place = tmp_path_factory.mktemp("rehearsal")
    store = place / "store"
    with pytest.MonkeyPatch.context() as patch:
        isolate(place, patch)
        for _ in range(2):
            publish(place / "work", store, "root")
        newest(store)
        run_command(["list", "--remote", str(store)])
        run_command(["fsck", "--remote", str(store)])
        run_command(["remote", "check", str(store)])


Make = Callable[[int], User]


@pytest.fixture
def user(tmp_path: Path) -> Make:
    return lambda uid: User(uid, tmp_path / f"home-{uid}")


def shared(tmp_path: Path, mode: int = 0o2770, group: int = TEAM) -> Path:
    store = tmp_path / "store"
    store.mkdir()
    os.chown(store, ANN, group)
    store.chmod(mode)
    return store


def rights(store: Path) -> dict[str, str]:
    found = {}
    for path in [store, *store.rglob("*")]:
        status = path.lstat()
        kind = "d" if path.is_dir() else "f"
        found[str(path.relative_to(store))] = f"{kind}{status.st_mode & 0o7777:o}:{status.st_gid}"
    return found


@needs_users
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o027])
@pytest.mark.parametrize("mode", [0o2770, 0o2775, 0o770, 0o3770])
def test_what_one_makes_the_others_can_use(
    tmp_path: Path, user: Make, umask: str, mode: int
) -> None:
    store = shared(tmp_path, mode)
    ann, bob = user(ANN), user(BOB)
    for who in (ann, bob, ann):
        done = who.publishes(store, umask)
        assert done.code == 0, done.stderr
    assert bob.reads(store) == "3\n"
    found = rights(store)
    directory, file = f"d{mode:o}:{TEAM}", f"f{0o600 | mode & 0o044:o}:{TEAM}"
    assert {text for text in found.values() if text[0] == "d"} == {directory}
    assert {text for text in found.values() if text[0] == "f"} == {file}
    assert sum(name.startswith("packs/") for name in found) > 2


@needs_users
def test_what_everybody_may_write_to_is_everybodys(tmp_path: Path, user: Make) -> None:
    store = shared(tmp_path, 0o777, ALONE + 100)
    for who in (user(ANN), user(BOB)):
        done = who.publishes(store, 0o077)
        assert done.code == 0, done.stderr
    found = rights(store)
    assert {text.partition(":")[0][-1] for text in found.values() if text[0] == "d"} == {"7"}
    assert {text.partition(":")[0][-1] for text in found.values() if text[0] == "f"} == {"4"}
    others = {text for text in found.values() if text.endswith(f":{ALONE}")}
    assert {text.partition(":")[0] for text in others} == {"d777", "f644"}


@needs_users
def test_the_rights_of_a_group_that_one_is_not_in_are_given_to_no_other(
    tmp_path: Path, user: Make
) -> None:
    store = shared(tmp_path, 0o773, ALONE + 100)  # others may write, and not look
    done = user(BOB).does(lambda: LocalStorage(store).put("packs/aa/x", b"1"))
    assert done.code == 0, done.stderr
    found = {text for text in rights(store).values() if text.endswith(f":{ALONE}")}
    assert found == {f"d773:{ALONE}", f"f640:{ALONE}"}


def test_a_directory_of_ones_own_goes_by_the_umask(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from ama.storage.local import LocalStorage\n"
        "os.umask(0o027); s = LocalStorage(Path(sys.argv[1]))\n"
        "s.put('packs/aa/x', b'1'); s.create('log/1', b'1'); s.replace('log/HINT', b'1')"
    )
    for mode, directory in ((0o755, 0o750), (0o700, 0o750)):
        place = tmp_path / f"{mode:o}"
        place.mkdir(mode=mode)
        place.chmod(mode)
        subprocess.run([sys.executable, "-c", script, place], check=True)
        group = place.stat().st_gid
        expected = {"d" + f"{directory:o}:{group}", f"f640:{group}", f"d{mode:o}:{group}"}
        assert set(rights(place).values()) == expected


def test_a_shared_directory_gives_its_rights_whoever_writes(tmp_path: Path) -> None:
    place = tmp_path / "store"
    place.mkdir()
    place.chmod(0o2770)
    LocalStorage(place, shared=False).put("packs/bb/y", b"1")
    assert not (place / "packs").stat().st_mode & 0o020  # as the umask has it
    LocalStorage(place).put("packs/aa/x", b"1")
    group = place.stat().st_gid
    found = rights(place)
    # What was there, and is ours, is mended on the way.
    assert found["packs"] == found["packs/aa"] == f"d2770:{group}"
    assert found["packs/aa/x"] == f"f640:{group}"
    (place / "packs" / "bb").chmod(0o700)
    (place / "packs" / "bb" / "y").chmod(0o600)
    LocalStorage(place).put("packs/bb/y", b"1")
    assert rights(place)["packs/bb"] == f"d2770:{group}"
    assert rights(place)["packs/bb/y"] == f"f640:{group}"


@needs_users
def test_what_is_derived_and_closed_is_passed_over(tmp_path: Path, user: Make) -> None:
    store = shared(tmp_path)
    ann, bob = user(ANN), user(BOB)
    assert ann.publishes(store, 0o022).code == 0
    (store / "log" / "HINT").chmod(0o600)
    assert bob.reads(store) == "1\n"
    told = bob.ama("fsck", "--remote", store)
    assert told.code == 6, told.stdout + told.stderr
    assert "only its owner may read it" in told.stdout + told.stderr
    done = bob.publishes(store, 0o077)
    assert done.code == 0, done.stderr
    assert ann.reads(store) == "2\n"
    assert bob.ama("fsck", "--remote", store).code == 0


@needs_users
def test_checkpoints_that_are_closed_are_passed_over(tmp_path: Path, user: Make) -> None:
    place = shared(tmp_path)
    store = Store.open(str(place), create=True)
    ann, bob = user(ANN), user(BOB)
    assert ann.publishes(place, 0o022).code == 0
    store = Store.open(str(place))
    for number in range(70):
        store.move_alias("models", f"a{number}", "1")
    assert list((place / "checkpoint").iterdir())
    for path in (place / "checkpoint", *(place / "checkpoint").rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    assert bob.reads(place) == "1\n"
    done = bob.publishes(place, 0o022)
    assert done.code == 0, done.stderr
    told = bob.ama("fsck", "--remote", place)
    assert told.code == 6, told.stdout + told.stderr
    assert "derived from the log" in told.stdout + told.stderr


@needs_users
def test_who_is_kept_out_hears_by_whom_and_what_mends_it(tmp_path: Path, user: Make) -> None:
    store = shared(tmp_path)
    ann, bob = user(ANN), user(BOB)
    assert ann.publishes(store, 0o022).code == 0
    entry = store / "log" / "000000000001"
    entry.chmod(0o600)
    told = bob.ama("list", "--remote", store)
    assert told.code == StorageError.exit_code
    assert f"error: no permission to read {entry}: it belongs to {ANN}\n" in told.stderr
    assert f"hint: have {ANN} run: chmod -R g+rwX {store}\n" in told.stderr
    entry.chmod(0o640)
    (store / "log").chmod(0o2750)
    told = bob.publishes(store, 0o022)
    assert f"no permission to write to {store / 'log'}: it belongs to {ANN}" in told.stderr
    (store / "log").chmod(0o700)
    told = bob.ama("list", "--remote", store)
    assert f"error: no permission to read {store / 'log'}: it belongs to {ANN}\n" in told.stderr
    mend = f"chmod -R g+rwX {store}"
    ann.does(lambda: subprocess.run(mend, shell=True, check=False).returncode)  # but for bob's
    assert bob.publishes(store, 0o022).code == 0


@needs_users
def test_a_check_looks_at_what_the_others_can_do(tmp_path: Path, user: Make) -> None:
    store = shared(tmp_path)
    ann, bob = user(ANN), user(BOB)
    assert ann.publishes(store, 0o022).code == 0
    for who in (ann, bob):
        told = who.ama("remote", "check", store)
        assert told.code == 0, told.stdout + told.stderr
        assert "only root can try it as another user" in told.stdout
    (store / "packs").chmod(0o2750)
    for who in (ann, bob):
        told = who.ama("remote", "check", store)
        assert told.code == StorageError.exit_code
        assert f"{store / 'packs'} of {ANN} is closed to others" in told.stdout
        assert f"have {ANN} run: chmod -R g+rwX {store}" in told.stderr
    (store / "packs").chmod(0o2770)
    (store / "log" / "000000000001").chmod(0o600)
    assert "of 4711 is closed" in bob.ama("remote", "check", store).stdout
    (store / "log" / "000000000001").chmod(0o640)
    os.chown(store / "packs", ANN, ALONE)
    assert f"chgrp -R {TEAM} {store}; chmod -R" in bob.ama("remote", "check", store).stderr


@needs_users
def test_root_checks_as_somebody_else(tmp_path: Path, user: Make) -> None:
    above = tmp_path / "above"
    above.mkdir()
    user(ANN)
    store = shared(above)
    report = LocalStorage(store).check_members
    LocalStorage(store).put("check/x/bulk", b"1")
    assert f"another user of the group {TEAM} can read and write" in report("check/x/bulk")
    above.chmod(0o700)
    with pytest.raises(StorageError, match="can't publish"):
        report("check/x/bulk")


@needs_users
def test_where_the_top_is_closed_files_are_written_beside(tmp_path: Path, user: Make) -> None:
    """Somebody else's directory, in which only some below may be written to."""
    store = shared(tmp_path)
    bob = user(BOB)
    for name in ("packs", "index", "log"):
        (store / name).mkdir()
        os.chown(store / name, ANN, TEAM)
        (store / name).chmod(0o2770)
    store.chmod(0o2755)

    def work() -> None:
        storage = LocalStorage(store)
        storage.put("packs/aa/x", b"1")
        storage.create("log/1", b"2")
        storage.replace("log/HINT", b"3")

    done = bob.does(work)
    assert done.code == 0, done.stderr
    read = LocalStorage(store).read([Range(n) for n in ("packs/aa/x", "log/1", "log/HINT")])
    assert read == [b"1", b"2", b"3"]
    assert not [path for path in store.rglob("*") if is_temp(path.name)]
