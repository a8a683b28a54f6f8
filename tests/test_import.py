"""`ama.import_assets`: archives, directories and files become assets, each source once."""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest

import ama
from ama.errors import InvalidInput, NotFound, StorageError
from ama.importing import importer
from ama.importing.incoming import Contents
from ama.importing.sources import FileSource
from ama.settings import Settings
from ama.storage.protocol import Buffer
from ama.storage.urls import open_storage
from ama.worktree.given import Listing
from counting_storage import CountingStorage
from test_golden import V1

RULES = """
name = "(?P<run>.+)-(?P<day>[0-9]{8})"

[[assets]]
class = "nlp_embeddings"
members = ["run_config*.yml", "training.yml"]
alias = "{run}"

[[assets]]
class = "sequence_models"
alias = "{run}"
author = "{training.yml:author}"
created_at = "{training.yml:date}"
message = "{source}"
metadata = {layers = "{model.yml:layers}", day = "{day}"}
refs = {nlp_embeddings = "inputs"}
"""


def zipped(path: Path, files: Mapping[str, str | bytes], at: float = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    if at:
        os.utime(path, (at, at))
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        cache_dir=tmp_path / "cache",
        user_config_path=tmp_path / "config.toml",
        user_name="Ann",
        user_email="ann@example.org",
    )


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> CountingStorage:
    counting = CountingStorage(open_storage(f"memory://{uuid4()}"))
    monkeypatch.setattr("ama.store.open_storage", lambda *args: counting)
    return counting


@pytest.fixture
def store(storage: CountingStorage, settings: Settings) -> ama.Store:
    return ama.Store.open(storage.url, create=True, settings=settings)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for day in (3, 1, 2):
        files = {"model.yml": f"layers: {day}", "sub/weights": os.urandom(1000)}
        zipped(tmp_path / "runs" / f"run-{day}.zip", files, 1_700_000_000 + day)
    return tmp_path / "runs"


def names(result: object) -> list[str]:
    assert isinstance(result, ama.results.ImportResult)  # type: ignore[attr-defined]
    return [Path(asset.source).name for asset in result.assets]


def test_each_zip_becomes_an_asset_in_the_order_of_time(store: ama.Store, runs: Path) -> None:
    result = ama.import_assets(f"{runs}/*.zip", "models", store=store, alias="{name}")
    assert [(asset.name, asset.alias) for asset in result.assets] == [
        ("models/1", "run-1"),
        ("models/2", "run-2"),
        ("models/3", "run-3"),
    ]
    assert result.failed == result.unchanged == ()
    asset = store.resolve("models@run-2")
    assert asset.read("model.yml") == b"layers: 2"
    assert asset.info.created_at == datetime.fromtimestamp(1_700_000_002, UTC)
    assert asset.info.message == "run-2.zip"
    noted = store.noted("models/2").metadata
    assert noted["import.source"] == str(runs / "run-2.zip")
    assert noted["import.size"] == (runs / "run-2.zip").stat().st_size
    assert noted["import.hash"] == ama.hash_file(runs / "run-2.zip")
    (note,) = store.notes("models/2")
    assert note.author == "Ann <ann@example.org>"
    assert not store.fsck().problems


def test_again_reads_only_what_is_new_or_changed(
    store: ama.Store, storage: CountingStorage, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ama.import_assets(f"{runs}/*.zip", "models", store=store)
    storage.reset()
    second = ama.import_assets(f"{runs}/*.zip", "models", store=store)
    assert not second.assets
    assert len(second.unchanged) == 3
    assert second.bytes_read == 0
    assert storage.requests <= 20
    assert not storage.writes
    zipped(runs / "run-4.zip", {"model.yml": "layers: 4"})
    zipped(runs / "run-2.zip", {"model.yml": "layers: 22"})
    third = ama.import_assets(f"{runs}/*.zip", "models", store=store)
    assert sorted(names(third)) == ["run-2.zip", "run-4.zip"]
    changed = next(asset for asset in third.assets if asset.source.endswith("run-2.zip"))
    before = next(asset for asset in first.assets if asset.source.endswith("run-2.zip"))
    assert changed.number is not None
    assert store.resolve(changed.name).info.parents == (before.id,)
    assert len(store.assets("models")) == 5


def test_a_source_that_is_only_newer_is_not_imported_again(store: ama.Store, runs: Path) -> None:
    ama.import_assets(f"{runs}/*.zip", "models", store=store)
    os.utime(runs / "run-1.zip")
    result = ama.import_assets(f"{runs}/*.zip", "models", store=store)
    assert not result.assets
    assert result.bytes_read == (runs / "run-1.zip").stat().st_size


def test_rules_make_linked_assets_of_one_zip(store: ama.Store, tmp_path: Path) -> None:
    for day, layers in (("20240102", 3), ("20240101", 2)):
        zipped(
            tmp_path / f"base{layers}-{day}.zip",
            {
                "out/training.yml": f"author: Bo\ndate: {day[:4]}-{day[4:6]}-{day[6:]}",
                "out/run_config_a.yml": "seed: 1",
                "out/model.yml": f"layers: {layers}",
                "out/model.h5": b"weights" * layers,
            },
        )
    zipped(tmp_path / "other.zip", {"a": "b"})
    result = ama.import_assets(f"{tmp_path}/*.zip", store=store, rules=RULES)
    assert [(a.name, a.alias) for a in result.assets if a.class_name == "sequence_models"] == [
        ("sequence_models/1", "base2"),
        ("sequence_models/2", "base3"),
    ]
    (failed,) = result.failed
    assert failed.source.endswith("other.zip")
    assert "does not fit" in failed.reason
    model = store.resolve("sequence_models@base3")
    assert [file.path for file in model.files()] == ["out/model.h5", "out/model.yml"]
    assert model.info.author == "Bo"
    assert model.info.created_at == datetime(2024, 1, 2, tzinfo=UTC)
    assert model.info.metadata == {"layers": 3, "day": "20240102"}
    (ref,) = model.info.refs
    inputs = store.resolve("nlp_embeddings@base3")
    assert (ref.number, ref.label) == (inputs.info.number, "inputs")
    assert store.noted(inputs.info.name.split()[0]).metadata["import.source"] == model.info.message


def test_a_dry_run_writes_nothing(store: ama.Store, storage: CountingStorage, runs: Path) -> None:
    storage.reset()
    result = ama.import_assets(f"{runs}/*.zip", "models", store=store, alias="{name}", dry_run=True)
    assert [(a.name, a.alias, a.files) for a in result.assets] == [
        ("models", f"run-{day}", 2) for day in (1, 2, 3)
    ]
    assert not storage.writes


def test_what_is_broken_is_named_and_passed_over(store: ama.Store, runs: Path) -> None:
    good = (runs / "run-1.zip").read_bytes()
    (runs / "cut.zip").write_bytes(good[: len(good) // 2])
    zipped(runs / "evil.zip", {"../../evil": "x"})
    zipped(runs / "secret.zip", {".env": "TOKEN=1"})
    result = ama.import_assets(f"{runs}/*.zip", "models", store=store)
    assert len(result.assets) == 3
    assert sorted(Path(failed.source).name for failed in result.failed) == [
        "cut.zip",
        "evil.zip",
        "secret.zip",
    ]
    with pytest.raises(InvalidInput, match=r"cut\.zip was not imported"):
        ama.import_assets(f"{runs}/cut.zip", "models", store=store, strict=True)
    ama.import_assets(f"{runs}/secret.zip", "models", store=store, force=True)
    assert store.resolve("models/4").read(".env") == b"TOKEN=1"


def test_directories_tars_and_files(store: ama.Store, tmp_path: Path) -> None:
    place = tmp_path / "in"
    (place / "run" / "sub").mkdir(parents=True)
    (place / "run" / "sub" / "a").write_bytes(b"a")
    (place / "run" / "link").symlink_to("sub/a")
    (place / "run" / "a.tmp").write_bytes(b"")
    (place / "run" / ".amaignore").write_text("*.tmp\n")
    with tarfile.open(place / "packed.tar.gz", "w:gz") as made:
        made.add(place / "run", "run")
    (place / "model.onnx").write_bytes(b"alone")
    result = ama.import_assets(f"{place}/*", "models", store=store, alias="{name}")
    assert not result.failed
    assert {a.alias for a in result.assets} == {"run", "packed", "model.onnx"}
    files = {file.path: file for file in store.resolve("models@run").files()}
    assert sorted(files) == [".amaignore", "link", "sub/a"]
    assert store.resolve("models@packed").read("run/sub/a") == b"a"
    assert store.resolve("models@packed").read("run/a.tmp") == b""
    assert store.resolve("models@model.onnx").read("model.onnx") == b"alone"
    assert not ama.import_assets(f"{place}/*", "models", store=store).assets
    (place / "run" / "sub" / "a").write_bytes(b"b")
    again = ama.import_assets(f"{place}/*", "models", store=store)
    assert [Path(asset.source).name for asset in again.assets] == ["run"]


def test_large_files_are_cut_as_ever(
    store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ama.importing.sources.IN_MEMORY", 100_000)
    data = os.urandom(5_000_000)
    zipped(tmp_path / "in" / "large.zip", {"model.bin": data, "small": b"s" * 1000})
    store.publish("models", {"model.bin": data})
    result = ama.import_assets(tmp_path / "in" / "large.zip", "models", store=store)
    assert result.bytes_sent < 100_000  # the content was there
    asset = store.resolve("models/2")
    assert asset.read("model.bin") == data
    assert asset.read("small") == b"s" * 1000


def test_from_a_storage_across_the_network(store: ama.Store, tmp_path: Path) -> None:
    bucket = open_storage("memory://bucket-of-zips")
    for day in (1, 2):
        file = zipped(tmp_path / "x.zip", {"model.yml": f"layers: {day}"})
        bucket.replace(f"old/team/run-{day}.zip", file.read_bytes())
    bucket.replace("old/plain/a/b", b"b")
    bucket.replace("old/plain/c", b"c")
    url = "memory://bucket-of-zips"
    zips = ama.import_assets(f"{url}/old/**/*.zip", "models", store=store, alias="{name}")
    assert {a.source for a in zips.assets} == {f"{url}/old/team/run-{day}.zip" for day in (1, 2)}
    plain = ama.import_assets(f"{url}/old/pl*", "models", store=store)
    assert [a.source for a in plain.assets] == [f"{url}/old/plain"]
    assert store.resolve("models/3").read("a/b") == b"b"
    one = ama.import_assets(f"{url}/old/plain/c", "files", store=store)
    assert [a.name for a in one.assets] == ["files/1"]
    assert not ama.import_assets(f"{url}/old/**/*.zip", "models", store=store).assets
    with pytest.raises(NotFound):
        ama.import_assets(f"{url}/old/nothing*", "models", store=store)


def test_a_file_with_the_name_of_a_directory_is_not_lost(store: ama.Store) -> None:
    bucket = open_storage(f"memory://{uuid4()}")
    bucket.replace("run/a", b"file")
    bucket.replace("run/a/b", b"below it")
    (failed,) = ama.import_assets(f"{bucket.url}/run", "models", store=store).failed
    assert "a is given as a file and as a directory" in failed.reason


def test_an_import_that_is_stopped_goes_on(
    store: ama.Store,
    storage: CountingStorage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(12):
        files = {"n": str(number), "w": os.urandom(100)}
        zipped(tmp_path / "in" / f"{number:02}.zip", files, 1_700_000_000 + number)
    monkeypatch.setattr(importer, "PIECE_SOURCES", 3)
    create, left = storage.create, 2

    def fail(name: str, data: Buffer) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise StorageError("the bucket is away")
        create(name, data)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "create", fail)
        with pytest.raises(StorageError, match="away"):
            ama.import_assets(f"{tmp_path}/in/*.zip", "models", store=store)
    assert len(store.assets("models")) == 6
    result = ama.import_assets(f"{tmp_path}/in/*.zip", "models", store=store)
    assert len(result.unchanged) == 6
    assert [store.resolve(f"models/{n + 1}").read("n") for n in range(12)] == [
        str(n).encode() for n in range(12)
    ]
    assert not store.fsck().problems


def test_an_alias_of_somebody_else_stays(store: ama.Store, runs: Path) -> None:
    store.publish("models", {"a": b"a"}, aliases="run-2")
    result = ama.import_assets(f"{runs}/*.zip", "models", store=store, alias="{name}")
    assert names(result) == ["run-1.zip", "run-3.zip"]
    (failed,) = result.failed
    assert "models@run-2 is on an asset that was not imported" in failed.reason
    assert store.resolve("models@run-2").info.number == 1


def test_what_is_refused_costs_few_entries(store: ama.Store, tmp_path: Path) -> None:
    for number in range(32):
        zipped(tmp_path / "in" / f"run-{number:02}.zip", {"n": str(number)}, 1_700_000_000 + number)
    store.publish("models", {"a": b"a"}, aliases="run-20")
    before = store.remote.view().number
    result = ama.import_assets(f"{tmp_path}/in/*.zip", "models", store=store, alias="{name}")
    assert [Path(each.source).name for each in result.failed] == ["run-20.zip"]
    assert [asset.number for asset in result.assets] == [*range(2, 33)]
    assert [asset.alias for asset in result.assets][19:21] == ["run-19", "run-21"]
    assert store.remote.view().number - before <= 5


def test_what_was_deleted_stays_so_and_the_others_go_on(store: ama.Store, runs: Path) -> None:
    ama.import_assets(f"{runs}/*.zip", "models", store=store, alias="{name}")
    store.remove_alias("models", "run-1")
    store.delete("models/1", reason="wrong")
    with zipfile.ZipFile(runs / "run-1.zip", "a") as made:
        made.comment = b"another source with the same files"
    zipped(runs / "run-4.zip", {"model.yml": "layers: 4"})
    result = ama.import_assets(f"{runs}/*.zip", "models", store=store, alias="{name}")
    (failed,) = result.failed
    assert failed.source == str(runs / "run-1.zip")
    assert "models/1 was deleted" in failed.reason
    assert names(result) == ["run-4.zip"]
    zipped(runs / "run-1.zip", {"model.yml": "layers: 5"})
    (changed,) = ama.import_assets(f"{runs}/*.zip", "models", store=store).assets
    assert store.read("models/5", "model.yml")
    assert changed.number == 5
    assert not store.fsck().problems


def test_an_alias_goes_on_in_time_and_never_back(store: ama.Store, runs: Path) -> None:
    ama.import_assets(f"{runs}/run-[23].zip", "models", store=store, alias="latest")
    newest = store.resolve("models@latest")
    assert newest.read("model.yml") == b"layers: 3"
    late = ama.import_assets(f"{runs}/run-1.zip", "models", store=store, alias="latest")
    assert [asset.alias for asset in late.assets] == [None]
    assert store.resolve("models@latest").info.id == newest.info.id


@pytest.mark.parametrize(
    ("sources", "class_name", "rules", "message"),
    [
        ("", "models", None, "a source is empty"),
        ([], "models", None, "no source is given"),
        ("*.zip", None, None, "neither a class nor rules"),
        ("*.zip", "models", RULES, "rules say classes"),
        ("*.zip", "no class!", None, "class"),
    ],
)
def test_wrong_input(
    store: ama.Store, sources: str, class_name: str | None, rules: str | None, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        ama.import_assets(sources, class_name, store=store, rules=rules)


def test_nothing_there(store: ama.Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is nothing"):
        ama.import_assets(f"{tmp_path}/*.zip", "models", store=store)


def test_what_had_no_room_beside_others_is_read_again(
    store: ama.Store, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several sources are unpacked at a time; the disk may have room for one of them."""
    tried: list[str] = []

    def read_full(self: FileSource, scratch: Path) -> Contents:
        tried.append(self.name)
        if self.name == "run-3.zip" or tried.count(self.name) == 1:
            (scratch / "part").write_bytes(b"some")
            raise StorageError("no space left on the disk", errno=errno.ENOSPC)
        assert not list(scratch.parent.glob("ama-import-*/part"))
        return read(self, scratch)

    read = FileSource.read
    monkeypatch.setattr(FileSource, "read", read_full)
    monkeypatch.setattr("tempfile.tempdir", str(runs))
    result = ama.import_assets(f"{runs}/*.zip", "models", store=store)
    assert names(result) == ["run-1.zip", "run-2.zip"]
    (failed,) = result.failed
    assert "no space left" in failed.reason
    assert sorted(tried) == sorted([*(f"run-{n}.zip" for n in (1, 2, 3))] * 2)


def test_two_imports_at_once_publish_each_source_once(
    store: ama.Store, storage: CountingStorage, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one publishes when this one has read and sent all, and is about to publish."""
    create, others = storage.create, ama.Store.open(storage.url, settings=store.settings)

    def create_late(name: str, data: Buffer) -> None:
        if name.startswith("log/"):
            monkeypatch.setattr(storage, "create", create)
            done = ama.import_assets(f"{runs}/run-[12].zip", "models", store=others)
            assert len(done.assets) == 2
        create(name, data)

    monkeypatch.setattr(storage, "create", create_late)
    result = ama.import_assets(f"{runs}/*.zip", "models", store=store)
    assert names(result) == ["run-3.zip"]
    assert len(result.unchanged) == 2
    assert len(store.assets("models")) == 3
    assert not store.fsck().problems


def test_again_makes_nothing_of_what_is_the_same(
    store: ama.Store, storage: CountingStorage, runs: Path
) -> None:
    ama.import_assets(f"{runs}/*.zip", "models", store=store)
    storage.reset()
    result = ama.import_assets(f"{runs}/*.zip", "models", store=store, again=True)
    assert not result.assets
    assert len(result.unchanged) == 3
    assert not [name for name in storage.writes if name.startswith("log/0")]
    named = ama.import_assets(f"{runs}/run-2.zip", "models", store=store, alias="b", again=True)
    assert [(asset.number, asset.alias) for asset in named.assets] == [(2, "b")]
    assert len(store.assets("models")) == 3
    rules = '[[assets]]\nclass = "models"\nmetadata = {run = "{name}"}\n'
    other = ama.import_assets(f"{runs}/*.zip", store=store, rules=rules, again=True)
    assert [asset.number for asset in other.assets] == [4, 5, 6]
    assert store.resolve("models/5").info.metadata == {"run": "run-2"}


def test_a_directory_that_is_only_newer(store: ama.Store, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a").write_bytes(b"a")
    ama.import_assets(tmp_path / "run", "models", store=store)
    os.utime(tmp_path / "run" / "a", (1_700_000_000, 1_700_000_000))
    result = ama.import_assets(tmp_path / "run", "models", store=store)
    assert (result.assets, len(result.unchanged)) == ((), 1)
    again = ama.import_assets(tmp_path / "run", "models", store=store)
    assert again.bytes_read == 0  # the new time is noted


def test_a_bucket_that_goes_away_ends_it(
    store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = CountingStorage(open_storage(f"memory://{uuid4()}"))
    for number in range(3):
        file = zipped(tmp_path / "x.zip", {"n": str(number)})
        bucket.replace(f"in/{number}.zip", file.read_bytes())
    monkeypatch.setattr("ama.importing.open_storage", lambda *args: bucket)

    def away(*args: object) -> None:
        raise StorageError("no server answers", retryable=True)

    with monkeypatch.context() as patch:
        patch.setattr(bucket, "read", away)
        with pytest.raises(StorageError, match="no server answers"):
            ama.import_assets(f"{bucket.url}/in/*", "models", store=store)
    assert len(ama.import_assets(f"{bucket.url}/in/*", "models", store=store).assets) == 3


@pytest.mark.parametrize("glob", ["in/*.zip", "*.zip", "in/run.zip"])
def test_a_bucket_that_can_not_be_listed_says_why(
    store: ama.Store, monkeypatch: pytest.MonkeyPatch, glob: str
) -> None:
    bucket = CountingStorage(open_storage(f"memory://{uuid4()}"))
    monkeypatch.setattr("ama.importing.open_storage", lambda *args: bucket)

    def refused(*args: object) -> None:
        raise StorageError("the login was refused")

    monkeypatch.setattr(bucket, "details", refused)
    with pytest.raises(StorageError, match="the login was refused"):
        ama.import_assets(f"{bucket.url}/{glob}", "models", store=store)


def test_a_file_of_a_web_server(store: ama.Store, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    zipped(tmp_path / "site" / "run.zip", {"model.yml": "layers: 1"})
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/run.zip"
        result = ama.import_assets(url, "models", store=store)
        assert [asset.source for asset in result.assets] == [url]
        again = ama.import_assets(url, "models", store=store)
        assert (again.assets, again.unchanged) == ((), (url,))
        with pytest.raises(NotFound):
            ama.import_assets(url + "x", "models", store=store)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_store_that_takes_no_notes_is_refused(tmp_path: Path, runs: Path) -> None:
    shutil.copytree(V1, tmp_path / "old")
    with pytest.raises(InvalidInput, match="takes no notes yet"):
        ama.import_assets(f"{runs}/*.zip", "models", store=tmp_path / "old")


@pytest.mark.parametrize("by_reference", [False, True])
def test_a_directory_whose_file_goes_meanwhile_is_passed_over(
    store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_reference: bool
) -> None:
    for name in ("gone", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.yml").write_text("layers: 2")

    def require_same(self: Listing) -> None:
        same(self)
        (tmp_path / "gone" / "model.yml").unlink(missing_ok=True)

    same = Listing.require_same
    monkeypatch.setattr(Listing, "require_same", require_same)
    done = ama.import_assets(
        [tmp_path / "gone", tmp_path / "kept"], "models", store=store, by_reference=by_reference
    )
    (failed,) = done.failed
    assert "model.yml" in failed.reason
    assert names(done) == ["kept"]
