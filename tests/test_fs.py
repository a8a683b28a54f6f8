"""Changes to the disk are either done or not, whatever happens on the way."""

from __future__ import annotations

import errno
import mmap
import multiprocessing
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ama.errors import StorageError
from ama.system import copies, disk, fs
from ama.system.syscalls import System

CALLS = [name for name in vars(System) if not name.startswith("_")]
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


class Crash(BaseException):
    """The process is gone. No handler of OSError or Exception sees it."""


class DyingSystem(System):
    """Dies at its k-th call, before it or right after it; a write may be half done. No call
    after that does anything: a dead process cleans nothing up.
    """

    def __init__(self, dies_at: int, done: bool) -> None:
        self.calls: list[str] = []
        self._dies_at = dies_at
        self._done = done
        for name in CALLS:
            setattr(self, name, self._dying(name, getattr(super(), name)))

    def _dying(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) < self._dies_at:
                return call(*args)
            if len(self.calls) == self._dies_at:
                if self._done:
                    call(*args)
                elif name == "write":
                    call(args[0], args[1][: len(args[1]) // 2])
            raise Crash(name)

        return wrapped


class FailingSystem(System):
    """One kind of call always fails, with one error."""

    def __init__(self, call: str, number: int) -> None:
        def failing(*args: Any) -> Any:
            raise OSError(number, os.strerror(number))

        setattr(self, call, failing)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Callable[[System], System]:
    def use(replacement: System) -> System:
        monkeypatch.setattr("ama.system.fs._os", replacement)
        return replacement

    return use


def crashes(
    work: Callable[[], object], use: Callable[[System], System], reset: Callable[[], None]
) -> Iterator[str]:
    """Do the work again and again, with a crash before and after each of its calls."""
    use(counting := DyingSystem(10**9, False))
    work()
    use(System())
    reset()
    for k in range(1, len(counting.calls) + 1):
        for done in (False, True):
            use(DyingSystem(k, done))
            with pytest.raises(Crash):
                work()
            use(System())
            yield f"{'after' if done else 'before'} call {k}, {counting.calls[k - 1]}"
            reset()


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def visible(directory: Path) -> list[str]:
    return [name for name in names(directory) if not fs.is_temp(name)]


# ------------------------------------------------------------------------------ write_new


def test_write_new_writes_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "entry"
    fs.write_new(path, b"one")
    with pytest.raises(FileExistsError) as caught:
        fs.write_new(path, b"two")
    assert caught.value.filename == str(path)
    assert not isinstance(caught.value, StorageError)
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == ["entry"]


@posix_only
def test_write_new_takes_a_dangling_symlink_for_taken(tmp_path: Path) -> None:
    os.symlink(tmp_path / "elsewhere", tmp_path / "entry")
    with pytest.raises(FileExistsError):
        fs.write_new(tmp_path / "entry", b"x")
    assert names(tmp_path) == ["entry"]


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"abc", bytearray(b"abc"), memoryview(b"xabcx")[1:4]),
        *([b"a", b"", memoryview(b"bc")], [], (b"abc",)),
    ],
)
def test_all_forms_of_content(tmp_path: Path, data: Any) -> None:
    fs.write_new(tmp_path / "new", data)
    fs.write_replace(tmp_path / "replaced", data)
    expected = bytes(data) if isinstance(data, bytes | bytearray | memoryview) else b"".join(data)
    assert (tmp_path / "new").read_bytes() == expected
    assert (tmp_path / "replaced").read_bytes() == expected


def test_a_mapped_file_and_wide_items_are_content_too(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"mapped" * 1000)
    with (
        open(tmp_path / "source", "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        fs.write_new(tmp_path / "copy", memoryview(mapped))
        fs.write_new(tmp_path / "again", mapped)  # type: ignore[arg-type]
    fs.write_new(tmp_path / "wide", memoryview(bytes(16)).cast("Q"))
    assert (tmp_path / "copy").read_bytes() == b"mapped" * 1000
    assert (tmp_path / "again").read_bytes() == b"mapped" * 1000
    assert (tmp_path / "wide").read_bytes() == bytes(16)


def test_a_short_write_is_continued(tmp_path: Path, system: Callable[[System], System]) -> None:
    class Dribbling(System):
        def write(self, fd: int, data: memoryview) -> int:
            return super().write(fd, data[:3])

    system(Dribbling())
    fs.write_new(tmp_path / "f", b"0123456789")
    assert (tmp_path / "f").read_bytes() == b"0123456789"


def test_content_that_fails_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[bytes]:
        yield b"a part"
        raise OSError(errno.EIO, "of the source, not of the target")

    (tmp_path / "old").write_bytes(b"old")
    for write in (fs.write_new, fs.write_replace):
        with pytest.raises(OSError, match="of the source") as caught:
            write(tmp_path / ("new" if write is fs.write_new else "old"), failing())
        assert not isinstance(caught.value, StorageError)
    assert names(tmp_path) == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"


def test_a_crash_in_write_new_leaves_the_whole_file_or_none(
    tmp_path: Path, system: Callable[[System], System]
) -> None:
    path = tmp_path / "entry"
    parts = [b"first half ", b"second half"]

    def reset() -> None:
        for name in names(tmp_path):
            (tmp_path / name).unlink()

    outcomes = set()
    for where in crashes(lambda: fs.write_new(path, parts), system, reset):
        assert visible(tmp_path) in ([], ["entry"]), where
        if path.exists():
            assert path.read_bytes() == b"".join(parts), where
        outcomes.add(path.exists())
        for name in names(tmp_path):  # and the re-run completes the job
            assert name == "entry" or fs.is_temp(name), where
        if not path.exists():
            fs.write_new(path, parts)
        assert path.read_bytes() == b"".join(parts), where
    assert outcomes == {False, True}


def test_a_crash_in_write_replace_leaves_the_old_or_the_new(
    tmp_path: Path, system: Callable[[System], System]
) -> None:
    path = tmp_path / "HINT"

    def reset() -> None:
        for name in names(tmp_path):
            (tmp_path / name).unlink()
        path.write_bytes(b"old")

    reset()
    outcomes = set()
    for where in crashes(lambda: fs.write_replace(path, b"new and longer"), system, reset):
        assert visible(tmp_path) == ["HINT"], where
        outcomes.add(path.read_bytes())
    assert outcomes == {b"old", b"new and longer"}


def test_content_is_durable_before_it_has_a_name(
    tmp_path: Path, system: Callable[[System], System]
) -> None:
    """fsync of the file, then its name, then fsync of the directory: in this order."""
    for write, naming in ((fs.write_new, "link"), (fs.write_replace, "replace")):
        system(used := DyingSystem(10**9, False))
        write(tmp_path / naming, b"x")
        order = [call for call in used.calls if call in ("write", "fsync", naming)]
        expected = ["write", "fsync", naming]
        assert order == (expected if sys.platform == "win32" else [*expected, "fsync"])


def race(directory: str, number: int, barrier: Any, results: Any) -> None:
    barrier.wait()
    try:
        fs.write_new(os.path.join(directory, "entry"), [b"%d" % number] * 1000)
        results.put(number)
    except FileExistsError:
        results.put(None)


def test_of_eight_processes_exactly_one_writes_a_new_file(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(8), spawn.Queue()
    processes = [
        spawn.Process(target=race, args=(str(tmp_path), n, barrier, results)) for n in range(8)
    ]
    for process in processes:
        process.start()
    winners = [n for n in [results.get(timeout=60) for _ in processes] if n is not None]
    for process in processes:
        process.join()
    assert len(winners) == 1
    assert (tmp_path / "entry").read_bytes() == b"%d" % winners[0] * 1000
    assert names(tmp_path) == ["entry"]


@pytest.mark.parametrize("linkless", [False, True])
def test_of_eight_threads_exactly_one_writes_a_new_file(
    tmp_path: Path, system: Callable[[System], System], linkless: bool
) -> None:
    if linkless:
        system(FailingSystem("link", errno.EPERM))
    for round_ in range(20):
        path = tmp_path / str(round_)
        won: list[int] = []
        barrier = threading.Barrier(8)

        def attempt(
            number: int, path: Path = path, won: list[int] = won, start: Any = barrier
        ) -> None:
            start.wait()
            try:
                fs.write_new(path, b"%d" % number)
                won.append(number)
            except FileExistsError:
                pass

        threads = [threading.Thread(target=attempt, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert path.read_bytes() == b"%d" % won[0]
    assert len(names(tmp_path)) == 20


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK])
def test_without_links_a_rename_that_refuses_takes_their_place(
    tmp_path: Path, system: Callable[[System], System], number: int
) -> None:
    system(FailingSystem("link", number))
    fs.write_new(tmp_path / "entry", b"one")
    blind = fs.write_temp(tmp_path, b"two")
    with pytest.raises(FileExistsError):  # also where the name was taken since it was looked at
        fs.place(blind, tmp_path / "entry", replace=False)
    assert (tmp_path / "entry").read_bytes() == b"one"
    assert names(tmp_path) == ["entry"]


def test_without_either_nothing_is_written_and_it_says_so(
    tmp_path: Path, system: Callable[[System], System]
) -> None:
    broken = FailingSystem("link", errno.EPERM)
    broken.rename_new = FailingSystem("rename_new", errno.EINVAL).rename_new  # type: ignore[method-assign]
    system(broken)
    with pytest.raises(StorageError, match="can't create a file atomically"):
        fs.write_new(tmp_path / "entry", b"one")
    assert names(tmp_path) == []


def test_a_link_whose_answer_was_lost_is_our_own(
    tmp_path: Path, system: Callable[[System], System]
) -> None:
    class Repeating(System):
        """As a network file system does: the first request was done, its repetition fails."""

        def link(self, source: str, target: str) -> None:
            super().link(source, target)
            super().link(source, target)

    system(Repeating())
    fs.write_new(tmp_path / "entry", b"ours")
    assert (tmp_path / "entry").read_bytes() == b"ours"
    assert names(tmp_path) == ["entry"]


# ------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("call", "number", "message"),
    [
        ("open", errno.EACCES, "no permission to write"),
        ("open", errno.EROFS, "is read-only: its file system is mounted so"),
        ("open", errno.ENOSPC, "no space left on the disk of"),
        ("write", errno.ENOSPC, "no space left on the disk of"),
        ("write", errno.EDQUOT, "the disk quota is used up for"),
        ("write", errno.EIO, "reports an error"),
        ("fsync", errno.EIO, "reports an error"),
        ("fsync", errno.ENOSPC, "no space left on the disk of"),
    ],
)
@pytest.mark.parametrize("write", [fs.write_new, fs.write_replace])
def test_a_disk_that_refuses_is_one_clear_line_and_leaves_nothing(
    tmp_path: Path,
    system: Callable[[System], System],
    write: Callable[[Path, bytes], None],
    call: str,
    number: int,
    message: str,
) -> None:
    system(FailingSystem(call, number))
    with pytest.raises(StorageError, match=message) as caught:
        write(tmp_path / "f", b"content")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.errno == number
    assert names(tmp_path) == []


def test_a_file_system_without_fsync_will_do(
    tmp_path: Path, system: Callable[[System], System]
) -> None:
    system(FailingSystem("fsync", errno.EINVAL))
    fs.write_new(tmp_path / "f", b"content")
    assert (tmp_path / "f").read_bytes() == b"content"


def test_places_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place, message in [
        (tmp_path / "absent" / "f", "does not exist"),
        (tmp_path / "file" / "f", "is not a directory"),
        (tmp_path / ("n" * 300), "longer name"),
    ]:
        for write in (fs.write_new, fs.write_replace):
            with pytest.raises(StorageError, match=message):
                write(place, b"x")
    (tmp_path / "directory").mkdir()
    with pytest.raises(StorageError):
        fs.write_replace(tmp_path / "directory", b"x")
    assert names(tmp_path) == ["directory", "file"]


def test_a_read_only_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may do anything")
    try:
        with pytest.raises(StorageError, match="no permission to write"):
            fs.write_new(tmp_path / "f", b"x")
    finally:
        tmp_path.chmod(0o700)


# ------------------------------------------------------------------------------ temp and place


def test_a_temporary_file_is_placed_whole(tmp_path: Path) -> None:
    temp = fs.write_temp(tmp_path, [b"a", b"b"], sync=False)
    assert fs.is_temp(os.path.basename(temp))
    (tmp_path / "f").write_bytes(b"old")
    fs.place(temp, tmp_path / "f", sync=False)
    assert (tmp_path / "f").read_bytes() == b"ab"
    assert names(tmp_path) == ["f"]


def test_place_that_may_not_replace(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        fs.place(fs.write_temp(tmp_path, b"new"), tmp_path / "f", replace=False)
    assert (tmp_path / "f").read_bytes() == b"old"
    assert names(tmp_path) == ["f"]


@posix_only
def test_permissions_are_the_users_own_choice(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        fs.write_new(tmp_path / "data", b"")
        fs.place(fs.write_temp(tmp_path, b"", executable=True), tmp_path / "program")
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}
    assert modes == {"data": 0o640, "program": 0o750}
    fs.set_executable(tmp_path / "data", True)
    fs.set_executable(tmp_path / "program", False)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}
    assert modes == {"data": 0o750, "program": 0o640}


@posix_only
def test_symlinks(tmp_path: Path) -> None:
    fs.make_symlink("model.h5", tmp_path / "latest")
    assert os.readlink(tmp_path / "latest") == "model.h5"
    with pytest.raises(FileExistsError):
        fs.make_symlink("other", tmp_path / "latest", replace=False)
    fs.make_symlink("other", tmp_path / "latest")
    assert os.readlink(tmp_path / "latest") == "other"
    fs.make_symlink("first", tmp_path / "new", replace=False)
    assert names(tmp_path) == ["latest", "new"]


@posix_only
def test_a_file_takes_the_place_of_a_symlink_not_of_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"kept")
    os.symlink("kept", tmp_path / "link")
    fs.write_replace(tmp_path / "link", b"new")
    assert (tmp_path / "kept").read_bytes() == b"kept"
    assert not (tmp_path / "link").is_symlink()


def test_remove(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    fs.remove(tmp_path / "f")
    fs.remove(tmp_path / "f")
    with pytest.raises(StorageError, match="does not exist"):
        fs.remove(tmp_path / "f", missing_ok=False)
    assert names(tmp_path) == []


def test_read_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"content")
    assert disk.read_file(tmp_path / "f") == b"content"
    assert disk.read_file(tmp_path / "absent") is None
    assert disk.read_file(tmp_path / "f" / "below") is None
    with pytest.raises(StorageError):
        disk.read_file(tmp_path)


# ------------------------------------------------------------------------------ directories


def test_directories_are_made_with_those_above_them(tmp_path: Path) -> None:
    fs.make_directories(tmp_path / "a" / "b" / "c")
    fs.make_directories(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="is in the way: it is a file"):
            fs.make_directories(path)


def test_a_relative_directory_is_made_where_one_is(tmp_path: Path) -> None:
    fs.make_directories("x/y/")
    fs.make_directories("")
    assert (tmp_path / "x" / "y").is_dir()


@posix_only
def test_the_parents_of_new_directories_are_made_durable(
    tmp_path: Path, system: Callable[[System], System]
) -> None:
    system(used := DyingSystem(10**9, False))
    fs.make_directories(tmp_path / "a" / "b")
    assert used.calls == ["mkdir", "fsync", "mkdir", "fsync"]
    system(used := DyingSystem(10**9, False))
    fs.make_directories(tmp_path / "c" / "d", sync=False)
    assert used.calls == ["mkdir", "mkdir"]


def test_eight_threads_make_the_same_directories(tmp_path: Path) -> None:
    failed: list[BaseException] = []
    barrier = threading.Barrier(8)

    def make() -> None:
        barrier.wait()
        try:
            for number in range(20):
                fs.make_directories(tmp_path / str(number) / "b" / "c", sync=False)
        except BaseException as error:  # noqa: BLE001 - told to the main thread
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(names(tmp_path)) == 20


def test_only_an_empty_directory_is_removed(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "f").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    assert fs.remove_empty_directory(tmp_path / "empty")
    assert fs.remove_empty_directory(tmp_path / "empty")
    assert not fs.remove_empty_directory(tmp_path / "full")
    assert not fs.remove_empty_directory(tmp_path / "full" / "f")
    assert names(tmp_path / "full") == ["f"]


# ------------------------------------------------------------------------------ temporary names


def test_only_our_own_temporary_names_are_taken_for_such() -> None:
    made = {fs.temp_name() for _ in range(100)}
    assert len(made) == 100
    assert all(fs.is_temp(name) for name in made)
    users = [".tmp-", ".tmp-mine", "tmp-" + "0" * 16, ".tmp-" + "0" * 15, ".tmp-" + "g" * 16]
    users += [".tmp-" + "0" * 17, ".TMP-" + "0" * 16, ".tmp-" + "A" * 16, "x.tmp-" + "0" * 16]
    assert not any(fs.is_temp(name) for name in users)


def test_only_stale_temporary_files_are_removed(tmp_path: Path) -> None:
    stale, fresh = (fs.write_temp(tmp_path, b"x") for _ in range(2))
    old = tmp_path / "old.txt"
    old.write_bytes(b"the user's")
    for path in (stale, old):
        os.utime(path, (0, 0))
    assert fs.remove_stale_temps(tmp_path, older_than_s=3600) == 1
    assert names(tmp_path) == sorted([os.path.basename(fresh), "old.txt"])
    assert fs.remove_stale_temps(tmp_path / "absent", older_than_s=3600) == 0


def test_what_a_file_system_takes_for_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "probe-\u00e9").write_bytes(b"")
    expected = (tmp_path / "PROBE-\u00e9").exists(), (tmp_path / "probe-e\u0301").exists()
    assert (fs.is_case_blind(tmp_path), fs.normalizes_names(tmp_path)) == expected
    assert names(tmp_path) == [name for name in names(tmp_path) if name.startswith("probe")]
    with pytest.raises(StorageError):
        fs.is_case_blind(tmp_path / "absent")


def test_the_litter_of_a_crash_while_probing_is_known_as_such(
    tmp_path: Path, system: Callable[[System], System]
) -> None:
    for probe in (fs.is_case_blind, fs.normalizes_names):
        system(DyingSystem(1, True))
        with pytest.raises(Crash):
            probe(tmp_path)
    assert len(names(tmp_path)) == 2
    assert visible(tmp_path) == []


def test_stale_is_what_the_file_systems_own_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temp = fs.write_temp(tmp_path, b"of somebody who is at work")
    # This machine's clock is two days ahead of the file server's.
    monkeypatch.setattr("ama.system.fs.time.time", lambda: os.stat(temp).st_mtime + 2 * 86400)
    assert fs.remove_stale_temps(tmp_path, older_than_s=86400) == 0
    os.utime(temp, (0, 0))
    monkeypatch.setattr("ama.system.fs.time.time", lambda: 0.0)
    assert fs.remove_stale_temps(tmp_path, older_than_s=86400) == 1
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root gives away")
def test_a_private_directory_is_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine"
    path.mkdir(mode=0o700)
    (path / "x").touch()
    copies.make_private(str(path))
    path.chmod(0o755)
    copies.make_private(str(path))
    assert path.stat().st_mode & 0o777 == 0o700
    path.chmod(0o777)
    with pytest.raises(StorageError, match="could be written to by others"):
        copies.make_private(str(path))
    os.chown(path, 4711, -1)
    with pytest.raises(StorageError, match="is another user's"):
        copies.make_private(str(path))
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(StorageError):
        copies.make_private(str(tmp_path / "link"))

    class Server(System):
        """A file system on which everything is somebody else's."""

        def mkdir(self, path: str) -> None:
            super().mkdir(path)
            os.chown(path, 4711, -1)

    monkeypatch.setattr(fs, "_os", Server())
    copies.make_private(str(path))
    copies.make_private(str(tmp_path / "new"))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "mine", "new"]
