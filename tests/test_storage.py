"""What every storage must do, the same for each of them."""

from __future__ import annotations

import contextlib
import errno
import gc
import http.server
import multiprocessing
import os
import random
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import servers
from ama.errors import AlreadyExists, IntegrityError, InvalidInput, StorageError
from ama.format.hashing import blob_id
from ama.storage.local import LocalStorage
from ama.storage.memory import MemoryStorage
from ama.storage.network import with_fsspec, with_obstore
from ama.storage.protocol import (
    HasDetails,
    HasParts,
    Range,
    Storage,
    check_prefix,
    check_storage_name,
)
from ama.storage.urls import open_storage
from ama.system import fs
from ama.system.fs import is_temp
from ama.system.syscalls import System
from ama.wording.hints import words
from counting_storage import CountingStorage
from readonly_storage import ReadOnlyStorage
from test_fs import crashes


@dataclass(frozen=True, slots=True)
class Case:
    """A storage, and the one through which it is filled: itself, if it can be written to."""

    storage: Storage
    filled_through: Storage


Make = Callable[[Path], Case]


def local(tmp_path: Path) -> Case:
    storage = LocalStorage(tmp_path / "store")
    return Case(storage, storage)


def memory(tmp_path: Path) -> Case:
    storage = MemoryStorage("test")
    return Case(storage, storage)


def counting(tmp_path: Path) -> Case:
    storage = CountingStorage(LocalStorage(tmp_path / "store"))
    return Case(storage, storage)


def readonly(tmp_path: Path) -> Case:
    inner = LocalStorage(tmp_path / "store")
    return Case(ReadOnlyStorage(inner), inner)


def remote(kind: str) -> Make:
    """A storage on a real server, in a directory of its own for each test."""

    def make(tmp_path: Path) -> Case:
        server = servers.start(kind)
        name = f"tests/{os.urandom(8).hex()}"
        storage = server.storage(name)
        if server.kind in servers.READ_ONLY:
            assert server.files is not None
            return Case(storage, LocalStorage(server.files / name))
        return Case(storage, storage)

    make.__name__ = kind
    return make


def named(make: Make) -> str:
    return make.__name__


WRITABLE = [local, memory, counting, *(remote(kind) for kind in servers.WRITABLE)]
WEB = [remote(kind) for kind in servers.READ_ONLY]


@pytest.fixture(params=[*WRITABLE, *WEB, readonly], ids=named)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return request.param(tmp_path)


@pytest.fixture
def storage(case: Case) -> Storage:
    return case.storage


@pytest.fixture
def put(case: Case) -> Callable[[str, bytes], None]:
    return case.filled_through.put


@pytest.fixture(params=WRITABLE, ids=named)
def writable(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return request.param(tmp_path).storage


@pytest.fixture(params=[*WRITABLE, readonly], ids=named)
def listable(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """All but web servers: these know neither what they have nor what a directory is."""
    return request.param(tmp_path)


@pytest.fixture(params=[local, memory, counting], ids=named)
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Those that needn't send anything to know what they have."""
    return request.param(tmp_path).storage


Put = Callable[[str, bytes], None]


def read(storage: Storage, name: str) -> bytes | None:
    return storage.read([Range(name)])[0]


# ------------------------------------------------------------------------------ reading


def test_an_empty_storage_holds_nothing(storage: Storage) -> None:
    assert storage.read([Range("a"), Range("a/b", 3, 4)]) == [None, None]
    assert storage.sizes(["a", "a/b"]) == [None, None]
    assert storage.read([]) == []
    assert storage.sizes([]) == []


def test_what_is_put_is_read(storage: Storage, put: Put) -> None:
    put("packs/3f/3f9a.pack", b"content")
    put("format.json", b"")
    assert read(storage, "packs/3f/3f9a.pack") == b"content"
    assert read(storage, "format.json") == b""
    assert storage.sizes(["format.json", "none", "packs/3f/3f9a.pack"]) == [0, None, 7]


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (0, 4, b"0123"),
        (3, 4, b"3456"),
        (3, None, b"3456789"),
        (3, 0, b""),
        (8, 5, b"89"),
        (10, None, b""),
        (10, 1, b""),
        (99, None, b""),
        (99, 1, b""),
        (0, 2**62, b"0123456789"),
    ],
)
def test_ranges(storage: Storage, put: Put, start: int, length: int, expected: bytes) -> None:
    put("ten", b"0123456789")
    assert storage.read([Range("ten", start, length)]) == [expected]


def test_a_batch_is_answered_in_its_order(storage: Storage, put: Put) -> None:
    put("a", b"aaa")
    put("b/c", b"0123456789")
    ranges = [Range("b/c", 5, 2), Range("x"), Range("a"), Range("b/c", 0, 2), Range("b/c", 5, 2)]
    assert storage.read(ranges) == [b"56", None, b"aaa", b"01", b"56"]


def test_what_is_a_directory_elsewhere_holds_no_bytes(listable: Case) -> None:
    storage = listable.storage
    listable.filled_through.put("a/b", b"x")
    assert storage.read([Range("a"), Range("a/b/c")]) == [None, None]
    assert storage.sizes(["a", "a/b/c"]) == [None, None]


@pytest.mark.parametrize(("start", "length"), [(-1, None), (0, -1)])
def test_no_range_is_negative(start: int, length: int) -> None:
    with pytest.raises(InvalidInput):
        Range("a", start, length)


# ------------------------------------------------------------------------------ listing


def test_a_list_is_what_begins_with_the_prefix(listable: Case) -> None:
    storage, put = listable.storage, listable.filled_through.put
    assert list(storage.list("")) == list(storage.list("a/")) == []
    held = {"index/ab": 1, "index/ac": 2, "index/d/e": 3, "indexes": 4, "log/1": 5, "a": 0}
    for name, size in held.items():
        put(name, bytes(size))
    for prefix in ("", "index", "index/", "index/a", "index/ab", "index/d/", "index/d/e", "lo"):
        expected = {name: size for name, size in held.items() if name.startswith(prefix)}
        found = list(storage.list(prefix))
        assert dict(found) == expected, prefix
        assert len(found) == len(expected), prefix
    assert list(storage.list("index/ab/")) == []
    assert list(storage.list("nothing/here")) == []


# ------------------------------------------------------------------------------ names


BAD_NAMES = [
    *("", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/../b", "./a", "a/./b"),
    *("a\\b", "..\\a", "a\0", "C:/a", "c:a", "a\udcff", "\ud800"),
    *(".tmp-0123456789abcdef", "a/.tmp-0123456789abcdef"),
]
GOOD_NAMES = ["a", "a.b/c-d_e", "log/000000000001", "a/..b", "a/b..", "ünïcode/模型", "a b", ".x"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_leads_out_is_refused_by_every_call(storage: Storage, name: str) -> None:
    for call in (
        lambda: storage.read([Range(name)]),
        lambda: storage.sizes([name]),
        lambda: storage.put(name, b""),
        lambda: storage.create(name, b""),
        lambda: storage.replace(name, b""),
        lambda: storage.delete(name),
    ):
        with pytest.raises(InvalidInput, match="can't be a name in a storage"):
            call()


@pytest.mark.parametrize("prefix", ["/", "../", "a/../", "..\\", "C:/"])
def test_so_is_such_a_prefix(storage: Storage, prefix: str) -> None:
    with pytest.raises(InvalidInput):
        list(storage.list(prefix))


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_other_names_are_names(storage: Storage, put: Put, name: str) -> None:
    check_storage_name(name)
    check_prefix(name)
    put(name, b"x")
    assert read(storage, name) == b"x"
    assert storage.sizes([name]) == [1]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_they_are_listed(listable: Case, name: str) -> None:
    listable.filled_through.put(name, b"x")
    assert list(listable.storage.list("")) == [(name, 1)]


# ------------------------------------------------------------------------------ writing


@pytest.mark.parametrize("data", [b"abc", bytearray(b"abc"), memoryview(b"xabcx")[1:4]])
def test_all_buffers_can_be_written_and_are_copied_or_stored(writable: Storage, data: Any) -> None:
    mine = bytearray(data) if isinstance(data, bytearray) else data
    writable.put("put", mine)
    writable.create("created", mine)
    writable.replace("replaced", mine)
    if isinstance(mine, bytearray):
        mine[:] = b"xxx"
    assert writable.read([Range(n) for n in ("put", "created", "replaced")]) == [b"abc"] * 3


@pytest.mark.parametrize("make", [local, *map(remote, servers.WRITABLE)], ids=named)
def test_what_is_written_is_let_go_and_hardly_copied(make: Make, tmp_path: Path) -> None:
    """What waits for the garbage collector would be all that an upload has sent by then."""
    storage, size = make(tmp_path).storage, 8 << 20
    storage.put("warm/up", b"x")
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for number in range(3):
            storage.put(f"packs/{number}/a.pack", os.urandom(size))
        left, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    copies = 2 if getattr(storage, "client", "") in ("adlfs", "sshfs") else 0
    assert left < size // 2
    assert most < (1 + copies) * size + size // 2


def test_put_writes_nothing_where_there_is_something(here: Storage) -> None:
    here.put("a/b", b"content")
    here.put("a/b", b"other")
    assert read(here, "a/b") == b"content"


def test_create_never_overwrites(writable: Storage) -> None:
    assert writable.can_create is not False
    writable.create("log/1", b"first")
    for data in (b"second", b"first"):
        with pytest.raises(AlreadyExists):
            writable.create("log/1", data)
    assert read(writable, "log/1") == b"first"


def test_replace_overwrites(writable: Storage) -> None:
    writable.replace("log/HINT", b"1")
    writable.replace("log/HINT", b"longer")
    writable.replace("log/HINT", b"")
    assert read(writable, "log/HINT") == b""


@pytest.fixture(params=[m for m in WRITABLE if "obstore" not in named(m)], ids=named)
def in_parts(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Those with a client that sends parts; obstore leaves them to the next one."""
    return request.param(tmp_path).storage


@pytest.mark.parametrize("size", [0, 1, 5 << 20, (16 << 20) + 1, 40 << 20])
def test_parts_make_one_whole(in_parts: Storage, size: int) -> None:
    assert isinstance(in_parts, HasParts)
    data = random.Random(size).randbytes(size)
    in_parts.write_parts("a/whole", (data[at : at + 700_001] for at in range(0, size, 700_001)))
    found = read(in_parts, "a/whole")
    assert found is not None
    assert blob_id(found) == blob_id(data)
    assert [*in_parts.list("a/")] == [("a/whole", size)]


@pytest.mark.parametrize("before", [None, b"as it was"])
def test_of_parts_that_end_in_an_error_nothing_is_seen(
    in_parts: Storage, before: bytes | None
) -> None:
    assert isinstance(in_parts, HasParts)
    if before is not None:
        in_parts.put("a/whole", before)

    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            assert read(in_parts, "a/whole") == before
            yield bytes(1 << 20)
        raise IntegrityError("damaged")

    with pytest.raises(IntegrityError):
        in_parts.write_parts("a/whole", pieces())
    assert read(in_parts, "a/whole") == before
    assert [name for name, _ in in_parts.list("a/")] == (["a/whole"] if before else [])


def test_obstore_leaves_parts_to_the_next_client() -> None:
    server = servers.start("s3_obstore")
    storage = server.storage(f"tests/{os.urandom(8).hex()}", openers=(with_obstore, with_fsspec))
    assert storage.client == "obstore"
    storage.write_parts("a", [b"small"])
    assert storage.client == "obstore"
    storage.write_parts("b", (bytes(1 << 20) for _ in range(17)))
    assert storage.client == "s3fs"
    assert storage.sizes(["a", "b"]) == [5, 17 << 20]


def test_delete(writable: Storage) -> None:
    writable.put("a/b", b"x")
    writable.delete("a/b")
    writable.delete("a/b")
    writable.delete("x/y")
    assert read(writable, "a/b") is None
    assert list(writable.list("")) == []
    writable.create("a/b", b"again")
    assert read(writable, "a/b") == b"again"


# The S3 server of moto forgets now and then who was first, if it is busy: another stands in.
RACING = [make for make in WRITABLE if not make.__name__.startswith("s3")]
RACING += [remote("seaweed"), remote("seaweed_obstore")]


@pytest.mark.parametrize("make", RACING, ids=named)
def test_of_eight_threads_exactly_one_creates(make: Make, tmp_path: Path) -> None:
    writable = make(tmp_path).storage
    # The losers wait for seconds in some servers.
    for round_ in range(20 if make in (local, memory, counting) else 2):
        name = f"log/{round_}"
        won: list[int] = []
        start = threading.Barrier(8)

        def attempt(
            number: int, name: str = name, won: list[int] = won, start: Any = start
        ) -> None:
            start.wait()
            try:
                writable.create(name, b"%d" % number)
                won.append(number)
            except AlreadyExists:
                pass

        threads = [threading.Thread(target=attempt, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert read(writable, name) == b"%d" % won[0]


def test_threads_that_put_the_same_all_succeed(writable: Storage) -> None:
    failed: list[BaseException] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        try:
            for number in range(20):
                writable.put(f"packs/{number}", b"%d" % number * 1000)
                assert read(writable, f"packs/{number}") == b"%d" % number * 1000
        except BaseException as error:  # noqa: BLE001 - told to the main thread
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(list(writable.list("packs/"))) == 20


# ------------------------------------------------------------------------------ read-only


def test_what_is_read_only_refuses_all_changes(tmp_path: Path) -> None:
    case = readonly(tmp_path)
    case.filled_through.put("a", b"x")
    before = sorted(os.walk(tmp_path))
    for call in (
        lambda: case.storage.put("a", b"x"),
        lambda: case.storage.put("b", b"x"),
        lambda: case.storage.create("b", b"x"),
        lambda: case.storage.replace("a", b"y"),
        lambda: case.storage.delete("a"),
    ):
        with pytest.raises(StorageError, match="opened for reading only") as caught:
            call()
        assert not caught.value.retryable
    assert not case.storage.can_create
    assert sorted(os.walk(tmp_path)) == before
    assert read(case.storage, "a") == b"x"


# ------------------------------------------------------------------------------ counting


def test_everything_is_counted() -> None:
    storage = CountingStorage(MemoryStorage("counted"))
    storage.put("a", b"12345")
    storage.put("a", b"12345")
    storage.create("b", memoryview(b"123"))
    storage.replace("c", b"1")
    with pytest.raises(AlreadyExists):
        storage.create("b", b"22")
    assert storage.read([Range("a", 1, 2), Range("none"), Range("b")]) == [b"23", None, b"123"]
    assert storage.sizes(["a", "b"]) == [5, 3]
    assert dict(storage.list("a")) == {"a": 5}
    storage.delete("a")
    assert storage.round_trips == 9
    assert storage.requests == 5 + 3 + 2 + 1 + 1
    assert storage.bytes_written == 5 + 5 + 3 + 1 + 2
    assert storage.bytes_read == 2 + 3
    assert storage.writes == ["a", "a", "b", "c", "b"]
    assert storage.log[-4:] == [
        ("read", ("a", "none", "b")),
        ("sizes", ("a", "b")),
        ("list", ("a",)),
        ("delete", ("a",)),
    ]
    assert storage.url == "memory://counted"
    storage.reset()
    assert (storage.round_trips, storage.writes, storage.log) == (0, [], [])
    assert read(storage, "c") == b"1"


# ------------------------------------------------------------------------------ local


def race(root: str, number: int, barrier: Any, results: Any) -> None:
    storage = LocalStorage(Path(root))
    for round_ in range(5):
        barrier.wait()
        try:
            storage.create(f"log/{round_}", b"%d" % number)
            results.put((round_, number))
        except AlreadyExists:
            results.put((round_, None))


def test_of_eight_processes_exactly_one_creates(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(8), spawn.Queue()
    processes = [
        spawn.Process(target=race, args=(str(tmp_path), n, barrier, results)) for n in range(8)
    ]
    for process in processes:
        process.start()
    answers = [results.get(timeout=60) for _ in range(40)]
    for process in processes:
        process.join()
    won = [(round_, number) for round_, number in answers if number is not None]
    assert sorted(round_ for round_, _ in won) == list(range(5))
    for round_, number in won:
        assert (tmp_path / "log" / str(round_)).read_bytes() == b"%d" % number


@pytest.mark.parametrize("method", ["put", "create", "replace"])
def test_a_crash_leaves_the_whole_file_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def use(system: System) -> System:
        monkeypatch.setattr("ama.system.fs._os", system)
        return system

    root = tmp_path / "store"

    def reset() -> None:
        for directory, _, files in os.walk(root, topdown=False):
            for name in files:
                os.unlink(os.path.join(directory, name))
            os.rmdir(directory)

    def work() -> None:
        getattr(LocalStorage(root), method)("packs/3f/x", b"content")

    outcomes = set()
    for where in crashes(work, use, reset):
        storage = LocalStorage(root)
        assert list(storage.list("")) in ([], [("packs/3f/x", 7)]), where
        data = read(storage, "packs/3f/x")
        assert data in (None, b"content"), where
        outcomes.add(data)
        storage.put("packs/3f/x", b"content")
        assert read(storage, "packs/3f/x") == b"content", where
    assert outcomes == {None, b"content"}


def test_files_lie_under_their_names(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.put("packs/3f/3f9a.pack", b"content")
    assert (tmp_path / "packs" / "3f" / "3f9a.pack").read_bytes() == b"content"
    assert storage.url == str(tmp_path)


def test_temporary_files_are_never_listed_and_stale_ones_go(tmp_path: Path) -> None:
    (tmp_path / "packs").mkdir()
    stale, fresh = (fs.write_temp(tmp_path / "packs", b"x") for _ in range(2))
    os.utime(stale, (0, 0))
    storage = LocalStorage(tmp_path)
    assert list(storage.list("")) == []
    storage.put("packs/a", b"x")
    assert not os.path.exists(stale)
    assert os.path.exists(fresh)
    assert list(storage.list("")) == [("packs/a", 1)]


def test_a_large_object_is_not_copied_on_its_way(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    data = bytes(8 << 20)
    tracemalloc.start()
    try:
        storage.put("packs/large", data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.reset_peak()
        assert storage.read([Range("packs/large")]) == [data]
        assert tracemalloc.get_traced_memory()[1] < (8 << 20) + (1 << 20)
    finally:
        tracemalloc.stop()


def test_many_ranges_of_a_file_open_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(tmp_path)
    storage.put("a", b"0123456789")
    storage.put("b", b"b")
    opened: list[str] = []

    def note(event: str, args: tuple[Any, ...]) -> None:
        if watching and event == "open" and str(args[0]).startswith(str(tmp_path)):
            opened.append(os.path.basename(args[0]))

    watching = True
    sys.addaudithook(note)
    storage.read([Range("a", n, 1) for n in range(10)] + [Range("b"), Range("a", 3, 2)])
    watching = False
    assert opened == ["a", "b"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_no_file_stays_open(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.put("a/b", b"x")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(50):
        storage.read([Range("a/b"), Range("a"), Range("none")])
        with pytest.raises(InvalidInput):
            storage.read([Range("a/b"), Range("..")])
        list(storage.list(""))
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after == before


@pytest.mark.parametrize(
    ("call", "number", "message"),
    [
        ("write", errno.ENOSPC, "no space left on the disk of"),
        ("open", errno.EROFS, "is read-only"),
        ("open", errno.EACCES, "no permission to write"),
        ("mkdir", errno.EACCES, "no permission to write"),
    ],
)
@pytest.mark.parametrize("method", ["put", "create", "replace"])
def test_a_disk_that_refuses_is_one_clear_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    call: str,
    number: int,
    message: str,
) -> None:
    class Failing(System):
        pass

    def failing(self: System, *args: Any) -> Any:
        raise OSError(number, os.strerror(number))

    setattr(Failing, call, failing)
    monkeypatch.setattr("ama.system.fs._os", Failing())
    storage = LocalStorage(tmp_path)
    with pytest.raises(StorageError, match=message) as caught:
        getattr(storage, method)("a/b", b"x")
    assert caught.value.errno == number
    assert "\n" not in str(caught.value)
    assert list(storage.list("")) == []


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.put("a", b"x")
    for write in (storage.put, storage.create, storage.replace):
        with pytest.raises(StorageError, match="not a directory"):
            write("a/b", b"x")
    (tmp_path / "directory").mkdir()
    with pytest.raises(StorageError):
        storage.put("directory", b"x")
    assert read(storage, "a") == b"x"


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.put("a", b"x")
    (tmp_path / "a").chmod(0)
    if os.access((tmp_path / "a"), os.R_OK):
        pytest.skip("this user may do anything")
    with pytest.raises(StorageError, match="no permission to read"):
        read(storage, "a")


# ------------------------------------------------------------------------------ opening


def test_a_path_or_a_file_url_is_a_directory(tmp_path: Path) -> None:
    LocalStorage(tmp_path / "a b").put("x", b"1")
    urls = [str(tmp_path / "a b"), (tmp_path / "a b").as_uri()]
    urls += [(tmp_path / "a b").as_uri().replace("file://", "FILE://localhost")]
    for url in urls:
        storage = open_storage(url)
        assert isinstance(storage, LocalStorage)
        assert storage.url == str(tmp_path / "a b")
        assert read(storage, "x") == b"1"


def test_nothing_is_made_until_something_is_written(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path / "new"))
    assert read(storage, "x") is None
    assert not (tmp_path / "new").exists()
    storage.put("x", b"1")
    assert (tmp_path / "new" / "x").read_bytes() == b"1"


@pytest.fixture
def endless() -> Iterator[str]:
    """A web server that honours no ranges, and goes on sending for as long as it can."""
    servers.needs("aiohttp")

    class Endless(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(bytes(range(256)) * 256)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/store"
        server.shutdown()
        thread.join()


def test_of_an_answer_without_end_no_more_is_read_than_was_asked_for(
    endless: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(endless)
    ranges = [Range("pack", 70_000, 4), Range("pack", 0, 3), Range("pack", 65_535, 2)]
    assert storage.read(ranges) == [bytes([112, 113, 114, 115]), b"\0\1\2", b"\xff\0"]
    monkeypatch.setattr("ama.storage.clients.MOST_HELD", 8 << 20)
    for wanted in (Range("log/1"), Range("log/1", 5), Range("pack", 1 << 60, 1)):
        with pytest.raises(StorageError, match=r"/store/.* sends more than 8 MiB") as caught:
            storage.read([wanted])
        assert not caught.value.retryable


def test_memory_is_shared_by_name() -> None:
    open_storage("memory://one").put("x", b"1")
    assert read(open_storage("memory://one"), "x") == b"1"
    assert read(open_storage("memory://one/"), "x") == b"1"
    assert read(open_storage("memory://two"), "x") is None
    assert open_storage("memory://one").url == "memory://one"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://example.org/x", "knows no ftp:// storage"),
        ("s3://", "names no bucket"),
        ("https:///path", "names no host"),
        ("sftp://ann:secret@example.org/x", "has a password"),
        ("https://ann:secret@example.org/x", "has a password"),
        ("https://example.org/x?token=secret", "is a credential"),
        ("file://host/x", "names no directory of this machine"),
        ("file://", "names no directory of this machine"),
        ("file:///a%00b", "names no directory of this machine"),
        ("", "can't be the place of a store"),
        ("a\0b", "can't be the place of a store"),
    ],
)
def test_other_urls_are_refused(url: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        open_storage(url)
    assert words(caught.value.hints) is None or "\n" not in words(caught.value.hints)
    assert "secret" not in str(caught.value)


def test_a_drive_is_no_scheme() -> None:
    assert isinstance(open_storage("C:/store"), LocalStorage)


def test_the_next_writer_cleans_up_after_a_killed_one_wherever_it_writes(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; import ama.system.fs\n"
        "from ama.system.syscalls import System\n"
        "class Killed(System):\n"
        "    def replace(self, *names): os._exit(9)\n"
        "    link = replace\n"
        "ama.system.fs._os = Killed()\n"
        "from ama.storage.local import LocalStorage\n"
        "storage = LocalStorage(Path(sys.argv[1]))\n"
        "getattr(storage, sys.argv[2])(sys.argv[3], b'content')\n"
    )
    left = [("put", "packs/aa/x"), ("create", "log/1"), ("put", "index/i"), ("replace", "log/H")]
    for call, name in left:
        done = subprocess.run([sys.executable, "-c", code, tmp_path, call, name], check=False)
        assert done.returncode == 9
    temps = [path for path in tmp_path.rglob("*") if is_temp(path.name)]
    assert len(temps) == len(left)
    for path in temps[1:]:
        os.utime(path, (0, 0))
    LocalStorage(tmp_path).put("packs/bb/y", b"content")
    # What may be a live writer's stays.
    assert [path for path in tmp_path.rglob("*") if is_temp(path.name)] == temps[:1]


def test_a_listing_tells_what_was_written_again(writable: Storage) -> None:
    storage = writable
    assert isinstance(storage, HasDetails)
    storage.put("runs/a.zip", b"first")
    storage.put("runs/b.zip", b"b")
    before = dict(storage.details("runs/"))
    storage.replace("runs/a.zip", b"of another size")  # SFTP knows seconds only
    after = dict(storage.details("runs/"))
    assert {name: detail.size for name, detail in after.items()} == dict(storage.list("runs/"))
    assert before["runs/b.zip"] == after["runs/b.zip"]
    assert before["runs/a.zip"] != after["runs/a.zip"]
