"""What commands may ask of a storage: how often, how much, and how little they may write.

A request to a bucket takes 20 to 100 ms whatever it brings, so round trips that wait for one
another are counted, and nothing may grow with the size of the store.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from blake3 import blake3

import ama
import ama.stores.object_reader
from ama.cli.main import run
from ama.errors import StorageError
from ama.format.chunking import LARGEST
from ama.format.entries import MAX_NEEDS, Publish, decode_entry
from ama.format.hashing import asset_id, blob_id, tree_id
from ama.format.objects import Asset, EntryKind, Kind, TreeEntry, encode_asset, encode_tree
from ama.format.pack import read_trailer
from ama.settings import Settings
from ama.storage.protocol import Range, Storage
from ama.storage.urls import open_storage
from ama.stores.log_reader import CHECKPOINT_EVERY, PROBES
from ama.stores.object_reader import pack_name
from ama.stores.pack_writer import PackWriter
from ama.stores.records import RANGE_SIZE
from ama.stores.remote import Remote
from ama.system import fs
from counting_storage import CountingStorage

COLD_ROUND_TRIPS = 6
"""Before the first byte of content comes: design.md, section 4, "a cold reader"."""

COLD_REQUESTS = (
    2  # format.json and HINT
    + 2  # the newest checkpoint, and the one before it if that one is bad
    + CHECKPOINT_EVERY
    + 1
    + len(PROBES)  # the log's tail, and where a hole would show
    + 1  # the class's state
    + 1  # the asset's entry
    + MAX_NEEDS  # its indexes
    + MAX_NEEDS  # their metadata: a range a pack
)
"""However many assets the store has."""

FILES = {f"part-{n:02}/file-{n}.txt": blake3(b"%d" % n).digest(length=3000) for n in range(30)}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs._os, "fsync", lambda fd: None)


Counters = Callable[[str], CountingStorage]
Monkey = pytest.MonkeyPatch
Versions = list[dict[str, bytes]]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counters:
    """Every storage that is opened counts; by its URL, all of them together."""
    made: dict[str, CountingStorage] = {}

    def opened(url: str, options: object = None) -> CountingStorage:
        return made.setdefault(url, CountingStorage(open_storage(url)))

    for module in ("ama.store", "ama.operations.connections"):
        monkeypatch.setattr(f"{module}.open_storage", opened)
    return opened


@pytest.fixture
def url() -> str:
    return f"memory://{uuid4()}"


@pytest.fixture
def configured(tmp_path: Path, url: str) -> Settings:
    return settings_with(url, tmp_path / "cache")


def settings_with(url: str, cache: Path) -> Settings:
    return Settings(
        data_dir=cache / "data",
        cache_dir=cache,
        user_config_path=cache / "config.toml",
        user_name="Ann",
        user_email="ann@example.org",
        default_remote=url,
    )


def fill(root: Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".ama" not in path.parts
    }


@pytest.fixture
def repo(tmp_path: Path, configured: Settings, counted: Counters) -> ama.Repo:
    """A worktree with one asset published, models@best."""
    fill(tmp_path / "work", FILES)
    repo = ama.Repo.init(tmp_path / "work", "models", settings=configured)
    repo.add(["."])
    repo.set(aliases=["best"])
    repo.upload()
    return repo


def others(storage: Storage, count: int, classes: list[str]) -> None:
    """Publish assets one by one, as other people do all the time."""
    remote = Remote.create(storage, None)[0]
    for n in range(count):
        data = b"others' file %d of %s" % (n, remote.format.id.encode())
        tree = encode_tree([TreeEntry("file", EntryKind.FILE, blob_id(data), len(data))])
        class_name = classes[n % len(classes)]
        asset = encode_asset(Asset(class_name, tree_id(tree), (), (), "Bob", n))
        with PackWriter(storage) as writer:
            writer.add(Kind.DATA, blob_id(data), data)
            writer.add(Kind.TREE, tree_id(tree), tree)
            writer.add(Kind.ASSET, asset_id(asset), asset)
            (index,) = writer.finish()
        event = Publish(asset_id(asset), class_name, (), (index.id,), (index.id,))
        remote.log.append(lambda view, event=event: [event], author="Bob", now=lambda: 0)


def is_content(storage: Storage) -> Callable[[str], bool]:
    """Whether a name is that of a pack of file content."""
    names = [name for name, _ in storage.list("packs/")]
    datas = storage.read([Range(name) for name in names])
    found = {
        name
        for name, data in zip(names, datas, strict=True)
        if read_trailer(data or b"", name)[0].kind is Kind.DATA
    }
    return found.__contains__


def before_content(storage: CountingStorage) -> tuple[int, int]:
    """How many round trips and requests came before the first request for content."""
    content = is_content(storage.inner)
    asked = [operation == "read" and any(map(content, names)) for operation, names in storage.log]
    trips = asked.index(True)
    return trips, sum(len(names) for _, names in storage.log[:trips])


# Nothing new


def wrote_nothing(storage: CountingStorage) -> bool:
    changed = [
        name for operation, name in storage.log if operation not in ("read", "sizes", "list")
    ]
    return not storage.writes and not changed and storage.bytes_written == 0


def test_a_second_upload_of_an_unchanged_tree_sends_nothing(
    repo: ama.Repo, counted: Counters, url: str
) -> None:
    storage = counted(url)
    storage.reset()
    repo.add(["."])
    result = repo.upload()
    assert (result.bytes_sent, result.published, result.aliases) == (0, (), ())
    assert wrote_nothing(storage)
    assert storage.round_trips <= 4


def test_nor_asks_for_more_than_the_end_of_the_log(tmp_path: Path, counted: Counters) -> None:
    """Where this machine remembers the store: what is in memory only, it never does."""
    place = tmp_path / "store"
    fill(tmp_path / "work", FILES)
    repo = ama.Repo.init(
        tmp_path / "work", "models", settings=settings_with(str(place), tmp_path / "cache")
    )
    repo.add(["."])
    repo.upload()
    storage = counted(str(place))
    storage.reset()
    assert repo.upload().published == ()
    assert wrote_nothing(storage)
    assert (storage.round_trips, storage.requests) == (1, 2)


def test_nor_does_one_after_others_have_published(
    repo: ama.Repo, counted: Counters, url: str
) -> None:
    """What this machine remembers is not the end of the log any more: that is looked for."""
    others(counted(url).inner, 1, ["others"])
    counted(url).reset()
    assert repo.upload().published == ()
    assert wrote_nothing(counted(url))
    assert counted(url).round_trips <= 4


def test_nor_does_one_of_files_that_were_only_touched(
    repo: ama.Repo, counted: Counters, url: str
) -> None:
    for path in FILES:
        os.utime(repo.root / path, (1, 1))
    counted(url).reset()
    repo.add(["."])
    assert repo.upload().bytes_sent == 0
    assert wrote_nothing(counted(url))


def test_nor_does_one_on_a_machine_that_remembers_nothing(
    repo: ama.Repo, counted: Counters, configured: Settings, url: str
) -> None:
    shutil.rmtree(configured.cache_dir)
    counted(url).reset()
    again = ama.Repo.open(repo.root, settings=configured)
    assert again.upload().bytes_sent == 0
    assert again.push().bytes_sent == 0
    assert wrote_nothing(counted(url))


def test_the_same_again_is_known_without_asking_unless_the_store_has_it(
    repo: ama.Repo, tmp_path: Path, counted: Counters, configured: Settings, url: str
) -> None:
    """On a machine that remembers nothing of the class."""
    others(open_storage(url), 20, ["models"])
    elsewhere = settings_with(url, tmp_path / "another machine")
    other = ama.Repo.init(tmp_path / "other", "models", settings=elsewhere)
    fill(other.root, FILES)
    other.add(["."])
    assert [asset.number for asset in other.upload().same] == [1]
    fill(other.root, {"one more.txt": b"new"})
    other.add(["."])
    counted(url).reset()
    assert other.upload().same == ()
    assert counted(url).log[-1] == ("replace", ("log/HINT",))


def test_nor_does_one_of_the_same_alias(repo: ama.Repo, counted: Counters, url: str) -> None:
    repo.set(aliases=["best"])
    counted(url).reset()
    assert repo.upload().aliases == ()
    assert wrote_nothing(counted(url))


def test_status_asks_nothing(repo: ama.Repo, counted: Counters, url: str) -> None:
    counted(url).reset()
    assert repo.status().clean
    assert repo.diff() == ()
    assert repo.head is not None
    assert counted(url).round_trips == 0


# Little new


def test_an_upload_of_an_alias_alone_writes_one_entry(
    repo: ama.Repo, counted: Counters, url: str
) -> None:
    storage = counted(url)
    storage.reset()
    repo.set(aliases=["latest"])
    result = repo.upload()
    assert [change.alias for change in result.aliases] == ["latest"]
    assert result.published == ()
    assert storage.writes == ["log/000000000002", "log/HINT"]
    assert storage.bytes_written < 1000


def test_a_new_message_sends_no_content(repo: ama.Repo, counted: Counters, url: str) -> None:
    storage = counted(url)
    storage.reset()
    repo.set(message="it was better than I thought")
    repo.upload()
    packs = [name for name in storage.writes if name.startswith("packs/")]
    assert len(packs) == 1
    assert not any(map(is_content(storage.inner), packs))
    assert storage.bytes_written < 4000


def test_a_second_version_sends_what_changed(repo: ama.Repo, counted: Counters, url: str) -> None:
    large = blake3(b"large").digest(length=6_000_000)
    fill(repo.root, {"model.h5": large})
    repo.add(["."])
    repo.upload()
    storage = counted(url)
    storage.reset()
    fill(
        repo.root,
        {
            "model.h5": large[:100_000] + b"inserted" * 100 + large[100_000:],
            "part-07/file-7.txt": blake3(b"changed").digest(length=3000),
        },
    )
    repo.add(["."])
    result = repo.upload()
    metadata = 16_000
    assert storage.bytes_written < 3000 + 2 * LARGEST + metadata
    assert result.bytes_sent <= storage.bytes_written
    assert storage.bytes_read < 1_000_000
    assert storage.round_trips <= 14


def test_the_same_files_under_other_names_are_not_sent_again(
    repo: ama.Repo, counted: Counters, url: str
) -> None:
    (repo.root / "moved").mkdir()
    for path in FILES:
        (repo.root / path).rename(repo.root / "moved" / Path(path).name)
    storage = counted(url)
    storage.reset()
    repo.add(["."])
    repo.upload()
    assert not any(map(is_content(storage.inner), storage.writes))
    assert storage.bytes_written < 64 * len(FILES) + 8000


# A cold download


@pytest.mark.parametrize(
    ("count", "ours"),
    [(1, "first"), (1, "last"), (70, "first"), (70, "last"), (200, "first"), (200, "last")],
)
def test_a_cold_download_by_alias(
    tmp_path: Path, counted: Counters, url: str, configured: Settings, count: int, ours: str
) -> None:
    storage = open_storage(url)
    if ours == "last":
        others(storage, count, ["models", "data", "configs"])
    fill(tmp_path / "work", FILES)
    repo = ama.Repo.init(tmp_path / "work", "models", settings=configured)
    repo.add(["."])
    repo.set(aliases=["best"])
    repo.upload()
    if ours == "first":
        others(storage, count, ["models", "data", "configs"])
    counter = counted(url)
    counter.reset()
    cold = settings_with(url, tmp_path / "another machine")
    ama.Store.default(cold).download("models@best", tmp_path / "copy")
    assert contents(tmp_path / "copy") == FILES
    trips, requests = before_content(counter)
    assert trips <= COLD_ROUND_TRIPS
    assert requests <= COLD_REQUESTS
    assert wrote_nothing(counter)
    assert counter.round_trips <= COLD_ROUND_TRIPS + 1


@pytest.mark.usefixtures("no_neighbours")
def test_an_interrupted_download_of_a_large_file_goes_on_where_it_was(
    tmp_path: Path, configured: Settings, counted: Counters, url: str, monkeypatch: Monkey
) -> None:
    """What it had brought of the file is verified, and not asked for again."""
    window, size = 1 << 20, 8 << 20
    monkeypatch.setattr(ama.stores.object_reader, "BATCH_SIZE", window)
    monkeypatch.setattr(ama.stores.records, "RANGE_SIZE", window)
    large = blake3(b"large").digest(length=size)
    fill(tmp_path / "work", {"large": large})
    repo = ama.Repo.init(tmp_path / "work", "models", settings=configured)
    repo.add(["."])
    repo.upload()
    storage = counted(url)
    storage.reset()
    read = storage.inner.read

    def break_off(ranges: Sequence[Range]) -> list[bytes | None]:
        if storage.bytes_read > size / 2:
            raise StorageError("the network is down")
        return read(ranges)

    monkeypatch.setattr(storage.inner, "read", break_off)
    store = ama.Store.default(configured)
    with pytest.raises(StorageError, match="network"):
        store.download("models", tmp_path / "copy")
    monkeypatch.setattr(storage.inner, "read", read)
    brought = storage.bytes_read
    storage.reset()
    store.download("models", tmp_path / "copy")
    assert contents(tmp_path / "copy") == {"large": large}
    assert storage.bytes_read <= size - brought + 2 * window
    assert not (tmp_path / "copy" / ".ama" / "incoming").exists() or not any(
        (tmp_path / "copy" / ".ama" / "incoming").iterdir()
    )


def test_a_cold_download_by_number_and_by_class(
    repo: ama.Repo, tmp_path: Path, counted: Counters, url: str
) -> None:
    others(open_storage(url), 100, ["data"])
    for name in ("models/1", "models", "models@best"):
        counted(url).reset()
        cold = settings_with(url, tmp_path / f"cache of {name.replace('/', ' ')}")
        ama.Store.default(cold).download(name, tmp_path / f"copy of {name.replace('/', ' ')}")
        trips, requests = before_content(counted(url))
        assert trips <= COLD_ROUND_TRIPS
        assert requests <= COLD_REQUESTS


@pytest.mark.usefixtures("no_neighbours")
def test_a_warm_download_asks_for_less(
    repo: ama.Repo, tmp_path: Path, counted: Counters, configured: Settings, url: str
) -> None:
    store = ama.Store.default(configured)
    store.download("models@best", tmp_path / "one")
    counted(url).reset()
    ama.Store.default(configured).download("models@best", tmp_path / "two")
    trips, requests = before_content(counted(url))
    assert trips <= 4
    assert requests <= 5 + len(PROBES)


def test_listing_a_store_again_asks_for_the_end_of_the_log_only(
    repo: ama.Repo, counted: Counters, configured: Settings, url: str
) -> None:
    others(open_storage(url), 150, ["models", "data"])
    ama.Store.default(configured).assets("models")
    counted(url).reset()
    assert len(ama.Store.default(configured).assets("models")) == 76
    assert counted(url).round_trips <= 2
    assert counted(url).requests <= 4 + len(PROBES)


@pytest.mark.parametrize(
    "question",
    [
        ["show", "models@best"],
        ["show", "models"],
        ["show", "HEAD"],
        ["lineage", "models@best"],
        ["lineage", "HEAD~1"],
        ["compare", "models@best", "models/2"],
        ["compare", "models@best", "HEAD"],
        ["compare", "--class", "models"],
        ["find", "--alias", "best"],
    ],
    ids=" ".join,
)
def test_a_question_looks_at_the_log_once(
    tmp_path: Path, monkeypatch: Monkey, counted: Counters, question: list[str]
) -> None:
    """Two round trips: what store it is, and whether its log still ends as it did."""
    url = str(tmp_path / "store")
    monkeypatch.setenv("AMA_REMOTE", url)
    fill(tmp_path / "work", FILES)
    repo = ama.Repo.init(tmp_path / "work", "models")
    repo.add(["."])
    repo.set(aliases=["best"])
    repo.upload()
    repo.upload(message="once more")
    repo.summary()
    for place in [tmp_path / "work", *([] if "HEAD" in " ".join(question) else [tmp_path])]:
        monkeypatch.chdir(place)
        counted(url).reset()
        assert run(question) == 0
        assert (counted(url).round_trips, counted(url).requests) <= (2, 3 + len(PROBES) + 1)


@pytest.mark.parametrize("count", [200, 1500])
def test_small_files_that_lie_together_come_in_few_ranges(
    tmp_path: Path, counted: Counters, url: str, configured: Settings, count: int
) -> None:
    files = {
        f"{n % 20}/{n}.json": blake3(b"small %d" % n).digest(length=4000 + n % 700)
        for n in range(count)
    }
    fill(tmp_path / "work", files)
    repo = ama.Repo.init(tmp_path / "work", "models", settings=configured)
    repo.add(["."])
    repo.upload()
    counter = counted(url)
    counter.reset()
    cold = settings_with(url, tmp_path / "another machine")
    ama.Store.default(cold).download("models", tmp_path / "copy")
    assert contents(tmp_path / "copy") == files
    content = is_content(counter.inner)
    ranges = sum(content(name) for operation, names in counter.log for name in names)
    size = sum(map(len, files.values()))
    assert ranges <= size // RANGE_SIZE + 2
    assert counter.bytes_read < size + 200 * count + 100_000


def test_a_download_of_the_next_version_fetches_what_changed(
    repo: ama.Repo, tmp_path: Path, counted: Counters, configured: Settings, url: str
) -> None:
    large = blake3(b"large").digest(length=4_000_000)
    fill(repo.root, {"model.h5": large})
    repo.add(["."])
    repo.upload()
    copy = tmp_path / "copy"
    ama.Store.default(configured).download("models", copy)
    fill(repo.root, {"model.h5": large[:-10] + b"new at end"})
    repo.add(["."])
    repo.upload()
    counted(url).reset()
    ama.Repo.open(copy, settings=configured).pull()
    assert contents(copy) == contents(repo.root)
    assert counted(url).bytes_read < 2 * LARGEST


# Many versions


@pytest.fixture
def versions(tmp_path: Path, configured: Settings, counted: Counters) -> Versions:
    """Forty versions, each of which changes one file of its own."""
    files = {f"{n}.txt": b"version 0 of file %d" % n for n in range(40)}
    root = tmp_path / "work"
    fill(root, files)
    repo = ama.Repo.init(root, "models", settings=configured)
    found = []
    for n in range(40):
        files[f"{n}.txt"] = b"version %d" % n
        fill(root, files)
        repo.add(["."])
        repo.upload()
        found.append(dict(files))
    return found


def test_an_asset_never_needs_more_than_16_indexes(versions: Versions, url: str) -> None:
    storage = open_storage(url)
    needs = []
    for name, _ in storage.list("log/0"):
        (data,) = storage.read([Range(name)])
        events = decode_entry(data or b"").events
        needs += [len(event.needs) for event in events if isinstance(event, Publish)]
    assert len(needs) == 40
    assert max(needs) <= MAX_NEEDS
    # It isn't that each version wrote everything again.
    assert max(needs) > 2


def test_every_version_can_be_downloaded_cold(
    versions: Versions, tmp_path: Path, counted: Counters, url: str
) -> None:
    for number, files in enumerate(versions, 1):
        counted(url).reset()
        cold = settings_with(url, tmp_path / f"cache-{number}")
        ama.Store.default(cold).download(f"models/{number}", tmp_path / f"copy-{number}")
        assert contents(tmp_path / f"copy-{number}") == files
        trips, requests = before_content(counted(url))
        assert trips <= COLD_ROUND_TRIPS
        assert requests <= COLD_REQUESTS


def test_many_versions_store_little(versions: Versions, url: str) -> None:
    storage = open_storage(url)
    content = is_content(storage)
    packs = dict(storage.list("packs/"))
    assert sum(size for name, size in packs.items() if content(name)) < 40 * 40 + 80 * 300
    assert sum(packs.values()) < 40 * 8000


def test_a_pusher_waits_for_few_answers_whatever_the_store_holds(
    repo: ama.Repo, tmp_path: Path, counted: Counters, url: str
) -> None:
    others(open_storage(url), 200, ["models", "data"])
    fill(tmp_path / "new", {"file": b"new"})
    cold = settings_with(url, tmp_path / "another machine")
    fresh = ama.Repo.init(tmp_path / "new", "models", settings=cold)
    fresh.add(["."])
    counted(url).reset()
    assert fresh.upload().asset.number == 102
    assert counted(url).round_trips <= 16
    counted(url).reset()
    fill(tmp_path / "new", {"file": b"newer"})
    fresh.add(["."])
    fresh.upload()
    assert counted(url).round_trips <= 12
    assert counted(url).requests <= 60


def test_packs_have_names_that_this_test_knows() -> None:
    """`is_content` would find nothing otherwise, and every budget would be held."""
    assert pack_name(bytes(32)).startswith("packs/")
