"""Imports by reference, and what becomes of the content that stays where it is."""

from __future__ import annotations

import io
import os
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import ama
import servers
from ama import Repo
from ama.errors import Conflict, IntegrityError, InvalidInput, NotFound, StorageError
from ama.format.objects import Kind
from ama.importing.by_reference import ByReference
from ama.importing.incoming import Contents
from ama.settings import Settings
from ama.storage.outside import Outside, Part
from ama.stores.object_reader import ObjectStore
from ama.stores.pack_writer import PackWriter
from ama.stores.references import References
from ama.wording.hints import words
from conftest import Ama
from test_golden import READER, V1, load

Made = Callable[..., Path]


def noise(size: int, seed: object = 0) -> bytes:
    return random.Random(str(seed)).randbytes(size)


def text(size: int, seed: int = 1) -> bytes:
    source = random.Random(seed)
    some = [source.randbytes(4).hex().encode() for _ in range(300)]
    return b" ".join(source.choices(some, k=size // 9 + 1))[:size]


def zipped(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return path


def run_of(number: int) -> dict[str, bytes]:
    return {
        "weights/large.bin": noise(1_200_000, number),
        "weights/text.txt": text(1_300_000, number),
        "small.bin": noise(40_000, f"small {number}"),
        "model.yml": f"layers: {number}\n".encode(),
        "tiny.bin": noise(100, number),
    }


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
def store(tmp_path: Path, settings: Settings) -> ama.Store:
    return ama.Store.open(str(tmp_path / "store"), create=True, settings=settings)


def again(store: ama.Store) -> ama.Store:
    """The same store, as another process opens it."""
    return ama.Store.open(store.url, settings=store.settings)


def bring_in(store: ama.Store, *sources: Path | str, name: str = "models") -> Any:
    done = ama.import_assets([*sources], name, store=store, by_reference=True, alias="{name}")
    assert done.failed == ()
    return done


def contents(store: ama.Store, name: str) -> dict[str, bytes]:
    found = again(store).resolve(name)
    return {file.path: found.read(file.path) for file in found.files()}


def kinds(store: ama.Store) -> set[Kind]:
    remote = store.remote
    indexes = remote.indexes(remote.view().root.indexes)
    return {at.record.kind for index in indexes for at in index}


def references(store: ama.Store) -> int:
    remote = store.remote
    indexes = remote.indexes(remote.view().root.indexes)
    return sum(at.record.kind is Kind.REFERENCE for index in indexes for at in index)


def by_reference(store: ama.Store) -> bool:
    return Kind.REFERENCE in kinds(store)


def size_below(path: Path) -> int:
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


@pytest.fixture
def run_3(store: ama.Store, tmp_path: Path) -> Path:
    path = zipped(tmp_path / "runs" / "run-3.zip", run_of(3))
    bring_in(store, path)
    return path


# What stays where it is


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_members_of_zips(store: ama.Store, tmp_path: Path, method: int) -> None:
    for number in range(3):
        zipped(tmp_path / "runs" / f"run-{number}.zip", run_of(number), method)
    done = bring_in(store, f"{tmp_path}/runs/*.zip")
    assert len(done.assets) == 3
    for number in range(3):
        assert contents(store, f"models@run-{number}") == run_of(number)
    (outside,) = {at.record.kind for at in places(store, "small.bin")}
    assert outside is Kind.REFERENCE
    for inside in ("model.yml", "tiny.bin"):
        assert {at.record.kind for at in places(store, inside)} == {Kind.DATA}
    noted = store.noted("models@run-1").metadata
    assert noted["import.hash"] == ama.hash_file(tmp_path / "runs" / "run-1.zip")
    assert bring_in(store, f"{tmp_path}/runs/*.zip").assets == ()
    assert load(READER)  # the independent reader reads it too
    reader = load(READER).Store(tmp_path / "store", "/")
    assert len(reader.listing()["classes"]["models"]["assets"]) == 3


def places(store: ama.Store, path: str, name: str = "models@run-1") -> list[Any]:
    asset = store.resolve(name)
    (file,) = (each for each in asset.files() if each.path == path)
    return store.remote.current(store.remote.view()).find(bytes.fromhex(file.id))


def test_a_store_of_zips_is_small(store: ama.Store, tmp_path: Path) -> None:
    for number in range(10):
        files = {f"layer-{part}.bin": noise(250_000, (number, part)) for part in range(7)}
        files |= {"meta.yml": b"a: 1\n", "history.csv": b"step,loss\n1,0.5\n"}
        zipped(tmp_path / "runs" / f"run-{number}.zip", files)
    bring_in(store, f"{tmp_path}/runs/*.zip")
    assert size_below(tmp_path / "store") <= 0.015 * size_below(tmp_path / "runs")


def test_members_of_a_tar(store: ama.Store, tmp_path: Path) -> None:
    files = run_of(1)
    with tarfile.open(tmp_path / "run-1.tar", "w") as made:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("again.bin")
        link.type, link.linkname = tarfile.LNKTYPE, "small.bin"
        made.addfile(link)
    bring_in(store, tmp_path / "run-1.tar")
    assert contents(store, "models/1") == {**files, "again.bin": files["small.bin"]}
    assert {at.record.kind for at in places(store, "small.bin")} == {Kind.REFERENCE}


def test_files_and_directories(store: ama.Store, tmp_path: Path) -> None:
    files = {**run_of(1), "d/e/weights é.bin": noise(3_000_000, "e"), "empty": b""}
    for name, data in files.items():
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "set" / "link").symlink_to("small.bin")
    (tmp_path / "set" / "small.bin").chmod(0o755)
    bring_in(store, tmp_path / "set", name="sets")
    found = contents(store, "sets@set")
    assert found == {**files, "link": b"small.bin"}
    executable = {f.path: f.kind for f in store.resolve("sets@set").files()}["small.bin"]
    assert executable == "executable"
    bring_in(store, tmp_path / "set" / "weights" / "large.bin")
    assert contents(store, "models/1") == {"large.bin": files["weights/large.bin"]}
    assert size_below(tmp_path / "store") < 0.02 * size_below(tmp_path / "set")


def test_a_version_has_what_changed(store: ama.Store, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for number in range(30):
        (tmp_path / "set" / f"{number}.bin").write_bytes(noise(50_000, number))
    bring_in(store, tmp_path / "set", name="sets")
    before = size_below(tmp_path / "store" / "packs")
    (tmp_path / "set" / "7.bin").write_bytes(noise(60_000, "new"))
    bring_in(store, tmp_path / "set", name="sets")
    assert contents(store, "sets/2")["7.bin"] == noise(60_000, "new")
    assert size_below(tmp_path / "store" / "packs") - before < 0.5 * before
    with pytest.raises(IntegrityError, match="has changed: it has 60,000 bytes, not 50,000"):
        contents(store, "sets/1")


def test_a_part_of_a_file_takes_little(store: ama.Store, tmp_path: Path) -> None:
    data = noise(30_000_000)
    zipped(tmp_path / "a.zip", {"model.bin": data}, zipfile.ZIP_STORED)
    bring_in(store, tmp_path / "a.zip")
    opened = again(store)
    with opened.resolve("models/1").open("model.bin") as file:
        file.seek(20_000_000)
        assert file.read(100_000) == data[20_000_000:20_100_000]
    assert opened.remote.references.bytes_read < 3_000_000


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar.zst", "a.tgz"])
def test_what_has_no_place_of_its_own_is_refused(
    store: ama.Store, tmp_path: Path, name: str
) -> None:
    import zstandard

    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz" if "gz" in name else "w") as made:
        info = tarfile.TarInfo("big.bin")
        info.size = 100_000
        made.addfile(info, io.BytesIO(noise(100_000)))
    packed = data.getvalue()
    if name.endswith("zst"):
        packed = zstandard.ZstdCompressor().compress(packed)
    (tmp_path / name).write_bytes(packed)
    done = ama.import_assets(tmp_path / name, "models", store=store, by_reference=True)
    (failed,) = done.failed
    assert "big.bin can't be read by itself" in failed.reason
    assert "--by-reference" in words(failed.hints)
    assert ama.import_assets(tmp_path / name, "models", store=store).failed == ()


def test_a_member_packed_otherwise_is_refused(store: ama.Store, tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip", {"big.bin": noise(50_000)}, zipfile.ZIP_LZMA)
    done = ama.import_assets(tmp_path / "a.zip", "models", store=store, by_reference=True)
    assert "can't be read by itself" in done.failed[0].reason


def test_a_secret_is_refused(store: ama.Store, tmp_path: Path) -> None:
    key = b"-----BEGIN RSA PRIVATE KEY-----\n" + b"a" * 9000
    zipped(tmp_path / "a.zip", {"notes.txt": key})
    done = ama.import_assets(tmp_path / "a.zip", "models", store=store, by_reference=True)
    assert "secret" in done.failed[0].reason


def test_a_store_of_the_version_before_is_asked_first(tmp_path: Path, settings: Settings) -> None:
    shutil.copytree(V1, tmp_path / "old")
    old = ama.Store.open(str(tmp_path / "old"), settings=settings)
    zipped(tmp_path / "a.zip", run_of(1))
    with pytest.raises(InvalidInput, match="takes no content by reference") as raised:
        ama.import_assets(tmp_path / "a.zip", "sets", store=old, by_reference=True)
    assert "ama remote upgrade" in words(raised.value.hints)
    old.upgrade()
    bring_in(old, tmp_path / "a.zip", name="sets")
    assert contents(old, "sets/1") == run_of(1)


# Sources that are not as they were


def test_a_source_that_is_gone_or_changed(store: ama.Store, run_3: Path, tmp_path: Path) -> None:
    kept = run_3.read_bytes()
    assert again(store).fsck(sources=True).problems == ()
    assert again(store).fsck(read_data=True).problems == ()
    for harm, said in (
        (lambda: run_3.unlink(), "is gone"),
        (lambda: run_3.write_bytes(kept[:900]), f"900 bytes, not {len(kept):,}"),
        (lambda: run_3.write_bytes(bytes(len(kept))), "written again"),
    ):
        harm()
        opened = again(store)
        with pytest.raises(IntegrityError) as raised:
            opened.resolve("models/1").read("small.bin")
        assert said in raised.value.message
        assert str(run_3) in raised.value.message
        assert "ama push --materialize" in words(raised.value.hints)
        assert opened.resolve("models/1").read("model.yml") == b"layers: 3\n"
        assert opened.fsck().problems == ()
        for report in (opened.fsck(sources=True), again(store).fsck(read_data=True)):
            (problem,) = report.problems
            assert problem.where == str(run_3)
            assert said in problem.what
            assert [name.split()[0] for name in problem.assets] == ["models/1"]
        with pytest.raises(IntegrityError, match=r"run-3\.zip"):
            again(store).download("models/1", str(tmp_path / "copy"))
        found = [path for path in (tmp_path / "copy").rglob("*") if ".ama" not in path.parts]
        assert found == []
    run_3.write_bytes(kept)
    again(store).download("models/1", str(tmp_path / "copy"))
    assert (tmp_path / "copy" / "small.bin").read_bytes() == run_of(3)["small.bin"]


def test_a_byte_that_changed_without_a_trace(store: ama.Store, run_3: Path) -> None:
    before = run_3.stat()
    data = bytearray(run_3.read_bytes())
    data[600_000] ^= 1
    run_3.write_bytes(data)
    os.utime(run_3, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert again(store).fsck(sources=True).problems == ()
    (problem,) = again(store).fsck(read_data=True).problems
    assert [name.split()[0] for name in problem.assets] == ["models/1"]
    with pytest.raises(IntegrityError, match="has other bytes in that place"):
        again(store).resolve("models/1").read("weights/large.bin")


def test_the_same_content_elsewhere_serves(store: ama.Store, run_3: Path, tmp_path: Path) -> None:
    zipped(tmp_path / "other.zip", {f"in/{name}": data for name, data in run_of(3).items()})
    bring_in(store, tmp_path / "other.zip")
    run_3.unlink()
    assert contents(store, "models@run-3") == run_of(3)
    (tmp_path / "other.zip").unlink()
    with pytest.raises(IntegrityError) as raised:
        contents(store, "models@run-3")
    for name in ("run-3.zip", "other.zip"):
        assert name in raised.value.message


def test_one_source_that_fails_harms_no_other(store: ama.Store, tmp_path: Path) -> None:
    for number in range(3):
        zipped(tmp_path / "runs" / f"run-{number}.zip", run_of(number))
    (tmp_path / "runs" / "run-9.zip").write_bytes(b"PK broken")
    done = ama.import_assets(
        f"{tmp_path}/runs/*.zip", "models", store=store, by_reference=True, alias="{name}"
    )
    assert [Path(each.source).name for each in done.failed] == ["run-9.zip"]
    (tmp_path / "runs" / "run-1.zip").unlink()
    for number in (0, 2):
        assert contents(store, f"models@run-{number}") == run_of(number)


# Bringing it into a store


def test_a_copy_has_the_content(
    store: ama.Store, run_3: Path, tmp_path: Path, settings: Settings
) -> None:
    shutil.copytree(V1, tmp_path / "old")
    new = ama.Store.open(str(tmp_path / "new"), create=True, settings=settings)
    old = ama.Store.open(str(tmp_path / "old"), settings=settings)
    assert by_reference(store)
    copies = [(new, "models/1"), (old, "sets/1")]
    zipped(tmp_path / "set.zip", run_of(4))
    bring_in(store, tmp_path / "set.zip", name="sets")
    again(store).copy("models/1", new)
    again(store).copy("sets/1", old)
    run_3.unlink()
    (tmp_path / "set.zip").unlink()
    for target, name in copies:
        assert not by_reference(target)
        assert contents(target, name) == run_of(3 if target is new else 4)
        assert again(target).fsck().problems == ()


def test_a_copy_into_a_store_that_has_it_by_reference(
    store: ama.Store, run_3: Path, tmp_path: Path, settings: Settings
) -> None:
    other = ama.Store.open(str(tmp_path / "other"), create=True, settings=settings)
    zipped(tmp_path / "else.zip", {"one.bin": run_of(3)["small.bin"]})
    bring_in(other, tmp_path / "else.zip", name="others")
    again(store).copy("models/1", other)
    run_3.unlink()
    (tmp_path / "else.zip").unlink()
    assert contents(other, "models/1") == run_of(3)
    assert contents(other, "others/1") == {"one.bin": run_of(3)["small.bin"]}


def test_a_copy_of_what_is_there_by_reference(
    store: ama.Store, run_3: Path, tmp_path: Path, settings: Settings
) -> None:
    """The asset is published there, or the version before it that it rests on."""
    again(store).download("models/1", str(tmp_path / "tree"), metadata_only=True)
    repo = Repo.open(tmp_path / "tree", settings=replace(settings, default_remote=store.url))
    other = ama.Store.open(str(tmp_path / "other"), create=True, settings=settings)
    repo.push(remote=other.url)
    assert by_reference(other)
    again(store).publish("models", {"model.yml": b"new"}, aliases="run-3", extend=True)
    again(store).copy("models/2", again(other))
    assert not by_reference(again(other))
    run_3.unlink()
    assert contents(other, "models/1") == run_of(3)
    assert contents(other, "models/2") == {**run_of(3), "model.yml": b"new"}
    assert again(other).fsck().problems == ()
    entries = len(list((tmp_path / "other" / "log").iterdir()))
    again(store).copy("models/2", again(other))
    assert len(list((tmp_path / "other" / "log").iterdir())) == entries


def worktree(tmp_path: Path, url: str, settings: Settings, name: str = "models/1") -> Repo:
    ama.Store.open(url, settings=settings).download(name, str(tmp_path / "tree"))
    return Repo.open(tmp_path / "tree", settings=replace(settings, default_remote=url))


@pytest.mark.parametrize("gone", [False, True])
def test_push_materialize_brings_it_in(
    store: ama.Store, run_3: Path, tmp_path: Path, settings: Settings, gone: bool
) -> None:
    other = zipped(tmp_path / "keeps.zip", run_of(5))
    bring_in(store, other)
    repo = worktree(tmp_path, store.url, settings)
    if gone:
        run_3.unlink()
    done = repo.push(materialize=True)
    assert done.repaired
    if not gone:
        run_3.unlink()
    assert contents(store, "models/1") == run_of(3)
    assert contents(store, "models@keeps") == run_of(5)
    report = again(store).fsck(sources=True)
    assert report.problems == ()
    assert report.sources == 1
    assert repo.push(materialize=True).repaired == 0
    other.unlink()
    with pytest.raises(IntegrityError):
        contents(store, "models@keeps")


def test_a_worktree_without_files_brings_it_in(
    store: ama.Store, run_3: Path, tmp_path: Path, settings: Settings
) -> None:
    again(store).download("models/1", str(tmp_path / "tree"), metadata_only=True)
    repo = Repo.open(tmp_path / "tree", settings=replace(settings, default_remote=store.url))
    assert repo.push(materialize=True).repaired
    run_3.unlink()
    assert contents(store, "models/1") == run_of(3)
    assert not by_reference(store)


def test_a_new_version_rests_on_references_until_they_are_brought_in(
    store: ama.Store, run_3: Path, tmp_path: Path, settings: Settings
) -> None:
    repo = worktree(tmp_path, store.url, settings)
    before = size_below(tmp_path / "store" / "packs")
    (tmp_path / "tree" / "model.yml").write_bytes(b"layers: 4\n")
    repo.add(["model.yml"])
    assert repo.upload().published
    # A push may also find that resting on the version before is not worth it, and send the bytes.
    rests = size_below(tmp_path / "store" / "packs") - before < 5_000
    assert contents(store, "models/2") == {**run_of(3), "model.yml": b"layers: 4\n"}
    run_3.unlink()
    if rests:
        with pytest.raises(IntegrityError):
            contents(store, "models/2")
    repo.push(materialize=True)
    assert contents(store, "models/2") == {**run_of(3), "model.yml": b"layers: 4\n"}
    assert contents(store, "models/1") == run_of(3)


def test_a_plain_push_keeps_references(
    store: ama.Store, run_3: Path, tmp_path: Path, settings: Settings
) -> None:
    repo = worktree(tmp_path, store.url, settings)
    shutil.rmtree(tmp_path / "tree")  # so that its files are not at hand
    again(store).download("models/1", str(tmp_path / "tree"), metadata_only=True)
    repo = Repo.open(tmp_path / "tree", settings=replace(settings, default_remote=store.url))
    new = str(tmp_path / "new")
    repo.push(remote=new)
    target = ama.Store.open(new, settings=settings)
    assert by_reference(target)
    assert contents(target, "models/1") == run_of(3)
    assert size_below(tmp_path / "new") < 100_000


def test_a_plain_push_to_a_store_without_the_feature(
    store: ama.Store, run_3: Path, tmp_path: Path, settings: Settings
) -> None:
    shutil.copytree(V1, tmp_path / "old")
    zipped(tmp_path / "set.zip", run_of(4))
    bring_in(store, tmp_path / "set.zip", name="sets")
    again(store).download("sets/1", str(tmp_path / "tree"), metadata_only=True)
    repo = Repo.open(tmp_path / "tree", settings=replace(settings, default_remote=store.url))
    log = sorted(path.name for path in (tmp_path / "old" / "log").iterdir())
    with pytest.raises(InvalidInput, match="takes no content by reference") as raised:
        repo.push(remote=str(tmp_path / "old"))
    assert "ama push --materialize" in words(raised.value.hints)
    assert sorted(path.name for path in (tmp_path / "old" / "log").iterdir()) == log
    repo.push(remote=str(tmp_path / "old"), materialize=True)
    (tmp_path / "set.zip").unlink()
    old = ama.Store.open(str(tmp_path / "old"), settings=settings)
    assert contents(old, "sets/1") == run_of(4)
    before = load(READER)
    before.FEATURES = {"byte-planes"}
    assert "sets" in before.Store(tmp_path / "old").listing()["classes"]


def test_who_uploads_files_stores_them(
    store: ama.Store, run_3: Path, tmp_path: Path, settings: Settings
) -> None:
    """What a store has by reference alone is no reason not to send a user's files."""
    root = tmp_path / "own"
    for name, data in run_of(3).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    repo = Repo.init(root, "own", settings=replace(settings, default_remote=store.url))
    repo.add(["."])
    repo.upload()
    again(store).publish("published", [root / "small.bin", root / "weights" / "large.bin"])
    run_3.unlink()
    shutil.rmtree(root)
    assert contents(store, "own/1") == run_of(3)
    assert set(contents(store, "published/1")) == {"small.bin", "large.bin"}
    assert contents(store, "models/1") == run_of(3)


def test_a_source_is_no_copy_of_itself(
    store: ama.Store, tmp_path: Path, settings: Settings
) -> None:
    """A worktree made where the source lies: to overwrite its files would lose them."""
    root = tmp_path / "set"
    root.mkdir()
    first = {"a.bin": noise(50_000, "a"), "large.bin": noise(1_500_000, "large")}
    for name, data in first.items():
        (root / name).write_bytes(data)
    bring_in(store, root, name="sets")
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.bin").write_bytes(noise(50_000, "b"))
    again(store).publish("sets", [other / "a.bin"])
    repo = Repo.init(root, "sets", settings=replace(settings, default_remote=store.url))
    repo.fetch()
    repo.switch("sets/1")
    assert (root / "a.bin").read_bytes() == first["a.bin"]
    with pytest.raises(Conflict, match="stored nowhere else"):
        repo.switch("sets/2")
    with pytest.raises(Conflict):
        repo.remove(["large.bin"])
    assert {name: (root / name).read_bytes() for name in first} == first
    repo.push(materialize=True)
    repo.switch("sets/2")
    assert contents(store, "sets/1") == first


def test_who_imports_it_again_stores_it(store: ama.Store, run_3: Path, tmp_path: Path) -> None:
    shutil.copy(run_3, tmp_path / "moved.zip")
    ama.import_assets(tmp_path / "moved.zip", "models", store=store)
    run_3.unlink()
    (tmp_path / "moved.zip").unlink()
    assert contents(store, "models/1") == run_of(3)


def test_a_collector_moves_references_as_they_are(store: ama.Store, run_3: Path) -> None:
    remote = store.remote
    view = remote.view()
    objects = remote.current(view)
    outside = [at for index in objects.indexes for at in index if at.record.kind is Kind.REFERENCE]
    counted = Counted()
    with PackWriter(remote.storage, features=view.root.read_features) as writer:
        for at, raw in ObjectStore(
            remote.storage, objects.indexes, references=References(counted)
        ).read_raw(outside):
            writer.copy(at.record, raw)
        indexes = writer.finish()
    assert counted.parts == 0
    moved = ObjectStore(remote.storage, indexes)
    for at in outside:
        assert len(moved.read(at.record.id, Kind.DATA)) == at.record.full
    assert {at.record.kind for index in indexes for at in index} == {Kind.REFERENCE}


class Counted(Outside):
    def __init__(self) -> None:
        super().__init__()
        self.parts = 0

    def read(self, parts: Any) -> Any:
        self.parts += len(parts)
        return super().read(parts)


def test_a_zip_that_is_written_again_is_known_anew(
    store: ama.Store, run_3: Path, tmp_path: Path
) -> None:
    """Its members are what they were, and lie elsewhere in it."""
    zipped(run_3, {"first.bin": noise(70_000, "first"), **run_of(3)})
    bring_in(store, run_3)
    assert contents(store, "models/2") == {**run_of(3), "first.bin": noise(70_000, "first")}
    assert contents(store, "models/1") == run_of(3)


@pytest.mark.parametrize("name", ["rolling.bin", "rolling.zip"])
def test_a_source_that_became_what_another_is_serves_alone(
    store: ama.Store, tmp_path: Path, name: str
) -> None:
    """It begins as it did, and what else is in it lay in the other one first."""

    def write(path: Path, data: bytes) -> Path:
        if path.suffix == ".zip":
            return zipped(path, {"data": data}, zipfile.ZIP_STORED)
        path.write_bytes(data)
        return path

    old, new = (noise(1_000_000) + noise(500_000, end) for end in ("old", "new"))
    rolling = write(tmp_path / name, old)
    bring_in(store, rolling)
    other = write(tmp_path / f"other{rolling.suffix}", new)
    bring_in(store, other)
    write(rolling, new)
    os.utime(rolling, (1, 1))
    (done,) = bring_in(store, rolling).assets
    other.unlink()
    assert list(contents(store, done.name).values()) == [new]
    before = references(store)
    os.utime(rolling, (2, 2))
    ama.import_assets([rolling], "others", store=store, by_reference=True, again=True)
    assert references(store) == before  # it is known where all of it lies


def test_two_sources_of_one_import_serve_for_each_other(store: ama.Store, tmp_path: Path) -> None:
    paths = [zipped(tmp_path / f"{name}.zip", run_of(1)) for name in "ab"]
    bring_in(store, *paths)
    for path in paths:
        kept = path.read_bytes()
        path.unlink()
        for name in ("models@a", "models@b"):
            assert contents(store, name) == run_of(1)
        path.write_bytes(kept)


def test_a_damaged_reference_is_damage_of_the_store(
    store: ama.Store, run_3: Path, tmp_path: Path, settings: Settings
) -> None:
    """It is not taken for a source that changed; and it can be repaired, by the content."""
    repo = worktree(tmp_path, store.url, settings)
    for path in (tmp_path / "store" / "packs").rglob("*.pack"):
        data = bytearray(path.read_bytes())
        at = data.find(b"run-3.zip")
        while at > 0:
            data[at + 20] ^= 1
            at = data.find(b"run-3.zip", at + 1)
        path.chmod(0o644)
        path.write_bytes(data)
    with pytest.raises(IntegrityError, match="checksum does not match") as raised:
        contents(store, "models/1")
    assert "run-3.zip" not in raised.value.message
    problems = again(store).fsck().problems
    assert any("can't be read" in problem.what for problem in problems)
    assert repo.push(repair=True).repaired
    assert contents(store, "models/1") == run_of(3)
    assert again(store).fsck(sources=True).problems == ()


def test_an_import_that_fails_at_its_end_goes_on(
    store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        zipped(tmp_path / "runs" / f"run-{number}.zip", run_of(number))

    def fail(*args: object, **options: object) -> None:
        raise StorageError("the disk is gone", retryable=True)

    with monkeypatch.context() as patched:
        patched.setattr("ama.stores.log_writer.Log.append", fail)
        with pytest.raises(StorageError):
            bring_in(store, f"{tmp_path}/runs/*.zip")
    assert again(store).classes() == ()
    assert again(store).fsck().problems == ()
    bring_in(again(store), f"{tmp_path}/runs/*.zip")
    for number in range(3):
        assert contents(store, f"models@run-{number}") == run_of(number)
    assert again(store).fsck(read_data=True).problems == ()


def test_workers_find_where_content_lies(store: ama.Store, tmp_path: Path) -> None:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    for number in range(4):
        zipped(tmp_path / "runs" / f"run-{number}.zip", run_of(number))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        done = ama.import_assets(
            f"{tmp_path}/runs/*.zip",
            "models",
            store=store,
            by_reference=True,
            executor=pool,
            alias="{name}",
        )
    assert done.failed == ()
    for number in range(4):
        assert contents(store, f"models@run-{number}") == run_of(number)
    assert by_reference(store)
    assert size_below(tmp_path / "store") < 0.03 * size_below(tmp_path / "runs")


# In buckets and on servers


@pytest.fixture(params=["s3", "s3_obstore"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> servers.Server:
    server = servers.start(request.param)
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    return server


def test_a_bucket_of_zips(bucket: servers.Server, tmp_path: Path, settings: Settings) -> None:
    place = f"zips-{bucket.kind}"
    source = servers.start("s3").storage(place)
    for number in range(3):
        path = zipped(tmp_path / f"run-{number}.zip", run_of(number))
        source.put(f"run-{number}.zip", path.read_bytes())
    source.put("set/large.bin", noise(2_500_000))
    source.put("set/notes.yml", b"a: 1\n")
    endpoint = f"?endpoint_url={bucket.options['endpoint_url']}"
    url = f"{bucket.url}/store-{bucket.kind}{endpoint}"
    store = ama.Store.open(url, create=True, settings=settings)
    bring_in(store, f"{bucket.url}/{place}/*.zip{endpoint}")
    bring_in(store, f"{bucket.url}/{place}/set{endpoint}", name="sets")
    assert contents(store, "models@run-1") == run_of(1)
    assert contents(store, "sets@set") == {
        "large.bin": noise(2_500_000),
        "notes.yml": b"a: 1\n",
    }
    report = again(store).fsck(sources=True)
    assert (report.problems, report.sources) == ((), 4)
    assert again(store).fsck(read_data=True).problems == ()
    source.replace("run-1.zip", b"other")
    source.delete("run-2.zip")
    report = again(store).fsck(sources=True)
    assert [problem.where for problem in report.problems] == [
        f"{bucket.url}/{place}/run-1.zip",
        f"{bucket.url}/{place}/run-2.zip",
    ]
    touched = [name.split()[0] for problem in report.problems for name in problem.assets]
    assert touched == ["models/2", "models/3"]
    with pytest.raises(IntegrityError, match=r"run-1\.zip, which has it, has changed"):
        contents(store, "models@run-1")
    with pytest.raises(IntegrityError, match=r"run-2\.zip, which has it, is gone"):
        contents(store, "models@run-2")


@pytest.mark.parametrize("kind", ["gcs", "azure", "sftp"])
def test_other_storages(
    kind: str,
    tmp_path: Path,
    settings: Settings,
    store: ama.Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = servers.start(kind)
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    source = server.storage("runs")
    source.put("a.zip", zipped(tmp_path / "a.zip", run_of(1)).read_bytes())
    source.put("set/large.bin", noise(2_500_000))
    options = "&".join(f"{name}={value}" for name, value in server.options.items())
    base = f"{server.url}/runs"
    ask = f"?{options}" if options else ""
    known = replace(
        settings,
        remotes={"runs": f"{base}{ask}"},
        user={"references": {"allow": base}},
    )
    opened = ama.Store.open(store.url, settings=known)
    bring_in(opened, f"{base}/a.zip{ask}")
    bring_in(opened, f"{base}/set{ask}", name="sets")
    assert contents(opened, "models/1") == run_of(1)
    assert contents(opened, "sets/1") == {"large.bin": noise(2_500_000)}
    report = again(opened).fsck(sources=True)
    assert (report.problems, report.sources) == ((), 2)
    source.replace("a.zip", b"other")
    (problem,) = again(opened).fsck(sources=True).problems
    assert "has changed" in problem.what
    source.delete("a.zip")
    with pytest.raises(IntegrityError, match=r"a\.zip, which has it, is gone"):
        contents(opened, "models/1")


def test_how_a_bucket_is_reached_is_configured(
    bucket: servers.Server, tmp_path: Path, settings: Settings, store: ama.Store
) -> None:
    servers.start("s3").storage("one").put("a.bin", noise(50_000))
    endpoint = f"?endpoint_url={bucket.options['endpoint_url']}"
    place = f"{bucket.url}/one/a.bin{endpoint}"
    with pytest.raises(InvalidInput, match="would not know") as raised:
        ama.import_assets(place, "models", store=store, by_reference=True)
    assert f"'{bucket.url}{endpoint}'" in words(raised.value.hints)
    known = replace(settings, remotes={"sources": f"{bucket.url}{endpoint}"})
    bring_in(ama.Store.open(store.url, settings=known), place)
    found = ama.Store.open(store.url, settings=known).resolve("models/1")
    assert found.read("a.bin") == noise(50_000)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path / "web"))

        def log_message(self, *args: object) -> None:
            pass

    (tmp_path / "web").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_web_server_is_read_where_the_user_allows_it(
    web: str, tmp_path: Path, settings: Settings, store: ama.Store
) -> None:
    servers.needs("aiohttp")
    path = zipped(tmp_path / "web" / "a.zip", run_of(1))
    with pytest.raises(InvalidInput, match="not allowed") as raised:
        ama.import_assets(f"{web}/a.zip", "models", store=store, by_reference=True)
    assert f"references.allow {web}/" in words(raised.value.hints)
    allowing = replace(settings, user={"references": {"allow": f"{web}/, https://data.example"}})
    bring_in(ama.Store.open(store.url, settings=allowing), f"{web}/a.zip")
    assert contents(ama.Store.open(store.url, settings=allowing), "models/1") == run_of(1)
    with pytest.raises(IntegrityError, match="not allowed"):
        again(store).resolve("models/1").read("small.bin")
    path.unlink()
    with pytest.raises(IntegrityError, match=r"a\.zip, which has it, is gone"):
        contents(ama.Store.open(store.url, settings=allowing), "models/1")


def test_a_server_that_is_away(
    tmp_path: Path, settings: Settings, store: ama.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "a.zip", run_of(1))
    bring_in(store, path)

    def read(self: Outside, parts: list[Part]) -> Any:
        return [StorageError("it does not answer", retryable=True) for _ in parts]

    monkeypatch.setattr(Outside, "read", read)
    with pytest.raises(StorageError, match="does not answer") as raised:
        contents(store, "models/1")
    assert raised.value.retryable


@pytest.mark.parametrize(
    "error",
    [
        StorageError("it does not answer", retryable=True),
        StorageError("it is closed", errno=13),
        NotFound("it is gone"),
    ],
)
def test_questions_are_answered_without_a_source(
    tmp_path: Path, store: ama.Store, monkeypatch: pytest.MonkeyPatch, error: ama.AmaError
) -> None:
    header = b'{"w":{"dtype":"F32","shape":[20000],"data_offsets":[0,80000]}}'
    model = len(header).to_bytes(8, "little") + header + bytes(80_000)
    for number in (1, 2):
        files = {"model.safetensors": model, "meta.yml": b"layers: %d" % number}
        zipped(tmp_path / f"run-{number}.zip", files, zipfile.ZIP_STORED)
    bring_in(store, f"{tmp_path}/*.zip")
    with monkeypatch.context() as patched:
        patched.setattr(Outside, "read", lambda self, parts: [error] * len(parts))
        found = again(store).find(params="layers=2")
        assert [each.asset.number for each in found] == [2]
    assert again(store).resolve("models/1").read("model.safetensors") == model


# The command


def test_the_commands(run: Ama, tmp_path: Path) -> None:
    zipped(tmp_path / "run-1.zip", run_of(1))
    done = run.ok("import", "models", "run-1.zip", "--by-reference", cwd=tmp_path)
    assert "1 source became 1 asset" in done.output
    said = run.ok("fsck", cwd=tmp_path).output
    assert "by reference in 1 source not looked at" in said
    assert "all is well" in run.ok("fsck", "--sources", cwd=tmp_path).output
    run.ok("download", "models", "-o", "tree", cwd=tmp_path)
    pushed = run.ok("push", "--materialize", cwd=tmp_path / "tree")
    assert "sent again" in pushed.output
    (tmp_path / "run-1.zip").unlink()
    run.ok("download", "models", "-o", "other", cwd=tmp_path)
    assert (tmp_path / "other" / "small.bin").read_bytes() == run_of(1)["small.bin"]
    report = run.ok("fsck", "--sources", "--json", cwd=tmp_path).json()
    assert (report["references"], report["sources"]) == (0, 0)


def test_the_command_names_a_source_that_is_gone(run: Ama, tmp_path: Path) -> None:
    path = zipped(tmp_path / "run-1.zip", run_of(1))
    run.ok("import", "models", "run-1.zip", "--by-reference", cwd=tmp_path)
    path.unlink()
    failed = run("download", "models", "-o", "tree", cwd=tmp_path)
    assert failed.code == 6
    assert f"{path}, which has it, is gone" in failed.stderr
    assert "ama push --materialize" in failed.stderr
    checked = run("fsck", "--sources", cwd=tmp_path)
    assert "ama push --materialize" in checked.output.splitlines()[-1]
    assert checked.code == 6
    assert "touches models/1" in checked.output


def test_a_directory_that_is_refused_does_not_end_it(store: ama.Store, tmp_path: Path) -> None:
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "a").write_bytes(os.urandom(200_000))
    done = ama.import_assets(
        [tmp_path / "empty", tmp_path / "full"], "models", store=store, by_reference=True
    )
    assert [failed.source for failed in done.failed] == [str(tmp_path / "empty")]
    assert len(done.assets) == 1


@pytest.mark.parametrize("instead", [lambda path: None, Path.mkdir, os.mkfifo])
def test_a_zip_that_goes_meanwhile_is_passed_over(
    store: ama.Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    instead: Callable[[Path], None],
) -> None:
    for number in range(2):
        zipped(tmp_path / "runs" / f"run-{number}.zip", run_of(number))
    gone = tmp_path / "runs" / "run-0.zip"

    def read_late(self: ByReference, scratch: Path) -> Contents:
        if self.origin.url == str(gone):
            gone.unlink()
            instead(gone)
        return read(self, scratch)

    read = ByReference.read
    monkeypatch.setattr(ByReference, "read", read_late)
    monkeypatch.setattr("ama.importing.sources.IN_MEMORY", 0)  # nothing is fetched before
    done = ama.import_assets(f"{tmp_path}/runs/*.zip", "models", store=store, by_reference=True)
    (failed,) = done.failed
    assert failed.source == str(gone)
    assert str(gone) in failed.reason
    assert contents(store, "models/1") == run_of(1)
