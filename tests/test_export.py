"""Assets as plain files: what comes out is what went in, always the same, or nothing."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import stat
import subprocess
import tarfile
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import zstandard

import ama
import servers
from ama.errors import AlreadyExists, IntegrityError, InvalidInput, NotFound
from ama.exporting import zips
from ama.exporting.members import Member
from ama.exporting.zips import zipped
from ama.format.hashing import blob_id
from ama.format.objects import EntryKind
from ama.settings import Settings
from ama.storage.protocol import Range
from ama.storage.urls import open_storage
from ama.system import fs
from conftest import Ama
from counting_storage import CountingStorage
from damage import flip
from forging import Forge, Objects, file_entry, listed
from test_crash import Died, Life, MortalSystem

LARGE = random.Random(5).randbytes(3_000_000)
FILES: Mapping[str, bytes] = {
    "model.yml": b"layers: 3\n",
    "data/weights.bin": LARGE,
    "data/größe – 数.txt": "ü".encode(),
    "data/empty": b"",
    "a" * 120 + "/" + "b" * 120: b"long",
}
FORMS = ["plain", "a.zip", "a.tar", "a.tar.gz", "a.tar.zst"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "made"
    for name, data in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (directory / "run.sh").write_bytes(b"#!/bin/sh\n")
    (directory / "run.sh").chmod(0o755)
    (directory / "data/link").symlink_to("../model.yml")
    return directory


@pytest.fixture
def store(tmp_path: Path, source: Path) -> ama.Store:
    found = ama.Store.open(tmp_path / "store", create=True)
    found.publish("inputs", {"rows.csv": b"1\n"}, aliases="first")
    found.publish(
        "models",
        [source],
        aliases=["best", "latest"],
        refs={"inputs/1": "training data"},
        metadata={"loss": 0.25, "epochs": 12, "odd": float("nan")},
        message="wider",
    )
    found.note("models/1", metadata={"accuracy": 0.9}, tags=["checked"], message="holds")
    return found


def cold(tmp_path: Path) -> Settings:
    """Another user's settings, who has seen nothing yet."""
    return Settings(
        data_dir=tmp_path / "none",
        cache_dir=tmp_path / "cold",
        user_config_path=tmp_path / "config.toml",
    )


def unpacked(place: Path, to: Path) -> Path:
    """What is at a place, as plain files: read by other programs than ama."""
    if place.is_dir():
        return place
    if place.suffix == ".zip":
        subprocess.run(["unzip", "-q", place, "-d", to], check=True)
    elif place.suffix == ".zst":
        data = zstandard.ZstdDecompressor().stream_reader(place.read_bytes()).read()
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            archive.extractall(to, filter="tar")
    else:
        to.mkdir()
        subprocess.run(["tar", "-xf", place, "-C", to], check=True)
    return to


def tree_of(directory: Path) -> dict[str, tuple[str, bytes | str]]:
    """Everything below a directory: what it is, and what is in it."""
    found: dict[str, tuple[str, bytes | str]] = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink():
            found[name] = "symlink", os.readlink(path)
        elif path.is_file():
            kind = "executable" if path.stat().st_mode & stat.S_IXUSR else "file"
            found[name] = kind, path.read_bytes()
    return found


@pytest.mark.parametrize("form", FORMS)
def test_what_comes_out_is_what_went_in(
    store: ama.Store, source: Path, tmp_path: Path, form: str
) -> None:
    result = store.export("models@best", tmp_path / form)
    assert (result.files, result.descriptions) == (7, ("ama.json",))
    found = tree_of(unpacked(tmp_path / form, tmp_path / "unpacked"))
    described = json.loads(found.pop("ama.json")[1])
    assert found == tree_of(source)
    assert {each["path"]: each["kind"] for each in described["files"]} == {
        path: kind for path, (kind, _) in found.items()
    }
    for each in described["files"]:
        kind, data = found[each["path"]]
        content = data.encode() if isinstance(data, str) else data
        assert (each["blake3"], each["size"]) == (blob_id(content).hex(), len(content))
        assert each.get("target") == (data if kind == "symlink" else None)


def test_the_description_says_where_it_comes_from(store: ama.Store, tmp_path: Path) -> None:
    store.export("models@best", tmp_path / "plain")
    said = json.loads((tmp_path / "plain/ama.json").read_text("utf-8"))
    info = store.resolve("models/1").info
    assert said["format"] == "ama export"
    assert said["store"] == {"url": store.url, "id": store.id}
    asset = said["asset"]
    assert (asset["class"], asset["number"], asset["id"]) == ("models", 1, info.id)
    assert (asset["author"], asset["message"]) == (info.author, "wider")
    assert asset["created_at"].startswith(f"{info.created_at:%Y-%m-%dT%H:%M:%S}")
    assert sorted(asset["aliases"]) == ["best", "latest"]
    assert asset["metadata"] == {"loss": 0.25, "epochs": 12, "odd": "NaN"}
    (ref,) = asset["refs"]
    assert (ref["class"], ref["number"], ref["label"]) == ("inputs", 1, "training data")
    (note,) = said["notes"]
    assert (note["metadata"], note["tags"], note["message"]) == (
        {"accuracy": 0.9},
        ["checked"],
        "holds",
    )


@pytest.mark.parametrize("form", FORMS[1:])
def test_an_archive_is_the_same_each_time(
    store: ama.Store, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.export("models@best", tmp_path / "1" / form)
    monkeypatch.setenv("TZ", "Pacific/Apia")
    again = ama.Store.open(tmp_path / "store", settings=cold(tmp_path))
    before = os.umask(0o077)
    try:
        again.export("models/1", tmp_path / "2" / form)
    finally:
        os.umask(before)
    one, two = ((tmp_path / number / form).read_bytes() for number in "12")
    assert blob_id(one) == blob_id(two)


def test_a_zip_does_not_depend_on_how_the_content_was_cut() -> None:
    data = LARGE[:200_000]

    def zip_of(size: int) -> bytes:
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        return b"".join(zipped([Member("a", EntryKind.FILE, len(data), 0, pieces)]))

    assert zip_of(7) == zip_of(65_535) == zip_of(65_536) == zip_of(200_000)


@pytest.mark.parametrize("size", [0, 1, 65_534, 65_535, 65_536, 16 * 65_535, 16 * 65_535 + 1])
def test_zips_of_all_sizes_can_be_read(tmp_path: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    path = tmp_path / "a.zip"
    path.write_bytes(b"".join(zipped([Member("a", EntryKind.FILE, size, 1, [data])])))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.read("a") == data
    subprocess.run(["unzip", "-tq", path], check=True)


@pytest.mark.parametrize("limit", [1, 60_000, 100_000])
def test_zip64(tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "LIMIT", limit)
    monkeypatch.setattr(zips, "MOST_MEMBERS", 2)
    contents = {name: random.Random(name).randbytes(50_000) for name in "abc"}
    members = [Member(name, EntryKind.FILE, 50_000, 0, [d]) for name, d in contents.items()]
    path = tmp_path / "a.zip"
    path.write_bytes(b"".join(zipped(members)))
    with zipfile.ZipFile(path) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == contents
    subprocess.run(["unzip", "-tq", path], check=True)


@pytest.mark.parametrize(("created", "year"), [(0, 1980), (2**63 - 1, 2107)])
def test_times_that_a_zip_cannot_have(created: int, year: int) -> None:
    data = b"".join(zipped([Member("a", EntryKind.FILE, 0, created, [])]))
    assert zipfile.ZipFile(io.BytesIO(data)).infolist()[0].date_time[0] == year


@pytest.mark.parametrize("form", FORMS)
def test_an_asset_without_files(forge: Forge, tmp_path: Path, form: str) -> None:
    forge.publish({})
    assert ama.Store.open(forge.directory).export("models", tmp_path / form).files == 0
    found = tree_of(unpacked(tmp_path / form, tmp_path / "unpacked"))
    assert json.loads(found["ama.json"][1])["files"] == []


@pytest.mark.parametrize("form", FORMS)
def test_with_refs_each_asset_has_a_directory(store: ama.Store, tmp_path: Path, form: str) -> None:
    result = store.export("models@best", tmp_path / form, refs=True)
    assert [ref.class_name for ref in result.refs] == ["inputs"]
    found = tree_of(unpacked(tmp_path / form, tmp_path / "unpacked"))
    assert found["inputs-1/rows.csv"] == ("file", b"1\n")
    assert found["models-1/data/weights.bin"] == ("file", LARGE)
    assert json.loads(found["inputs-1/ama.json"][1])["asset"]["class"] == "inputs"
    assert {name.partition("/")[0] for name in found} == {"inputs-1", "models-1"}


def test_refs_that_are_elsewhere(store: ama.Store, tmp_path: Path) -> None:
    store.delete("inputs/1", force=True)
    with pytest.raises(NotFound, match="inputs/1"):
        store.export("models", tmp_path / "plain", refs=True)
    assert not (tmp_path / "plain").exists()
    result = store.export("models", tmp_path / "plain", refs=True, partial=True)
    assert [ref.number for ref in result.missing_refs] == [1]
    with pytest.raises(NotFound, match="deleted"):
        store.export("inputs/1", tmp_path / "deleted")


@pytest.mark.parametrize("name", ["ama.json", "AMA.JSON"])
def test_the_description_is_no_file_of_the_asset(
    store: ama.Store, tmp_path: Path, name: str
) -> None:
    store.publish("models", {name: b"mine", "ama-2.json/deep": b"too"})
    result = store.export("models", tmp_path / "plain")
    assert result.descriptions == ("ama-3.json",)
    assert (tmp_path / "plain" / name).read_bytes() == b"mine"
    assert json.loads((tmp_path / "plain/ama-3.json").read_text())["format"] == "ama export"


# Where something is


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_overwritten_unless_it_is_said(
    store: ama.Store, tmp_path: Path, form: str
) -> None:
    place = tmp_path / form
    if form == "plain":
        place.mkdir()
        (place / "model.yml").write_bytes(b"work")
        (place / "mine").write_bytes(b"work")
    else:
        place.write_bytes(b"work")
    before = tree_of(tmp_path)
    with pytest.raises(AlreadyExists):
        store.export("models", place)
    assert tree_of(tmp_path) == before
    store.export("models", place, force=True)
    found = tree_of(unpacked(place, tmp_path / "unpacked"))
    assert found["model.yml"] == ("file", b"layers: 3\n")
    assert found.get("mine") == (("file", b"work") if form == "plain" else None)
    assert not [*tmp_path.rglob(".tmp-*")]


def test_an_empty_directory_is_filled(store: ama.Store, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    store.export("models", tmp_path / "plain")
    assert (tmp_path / "plain/data/weights.bin").read_bytes() == LARGE
    assert not [*tmp_path.rglob(".tmp-*")]


@pytest.mark.parametrize("what", ["file", "link", "directory"])
def test_nothing_is_written_through_what_is_in_the_way(
    store: ama.Store, tmp_path: Path, what: str
) -> None:
    place, elsewhere = tmp_path / "plain", tmp_path / "elsewhere"
    place.mkdir()
    elsewhere.mkdir()
    if what == "file":
        (place / "data").write_bytes(b"")
    elif what == "link":
        (place / "data").symlink_to(elsewhere)
    else:
        (place / "model.yml").mkdir()
    before = tree_of(tmp_path)
    with pytest.raises(AlreadyExists, match="in the way"):
        store.export("models", place, force=True)
    assert tree_of(tmp_path) == before


@pytest.mark.parametrize("to", ["", "https://models.example/a.zip", "s3://a.zip"])
def test_what_is_no_place(store: ama.Store, to: str) -> None:
    with pytest.raises(InvalidInput):
        store.export("models", to)


def test_the_store_is_no_place(store: ama.Store, tmp_path: Path) -> None:
    for place in (tmp_path / "store/plain", tmp_path / "store/packs/a.zip"):
        with pytest.raises(InvalidInput, match="in the store"):
            store.export("models", place, force=True)


@pytest.mark.parametrize("name", ["a.7z", "a.tar.xz", "a.tar.bz2", "a.TXZ", "a.gz"])
def test_an_archive_of_another_form_is_refused(store: ama.Store, tmp_path: Path, name: str) -> None:
    """A directory of this name would be taken for one."""
    for to in (str(tmp_path / name), f"memory://outbox/{name}"):
        with pytest.raises(InvalidInput, match=f"{name}: no archive of this form is written"):
            store.export("models", to)
    assert not (tmp_path / name).exists()
    store.export("models", f"{tmp_path / name}/")
    store.export("models", tmp_path / name, force=True)
    assert (tmp_path / name / "ama.json").is_file()


def test_an_archive_is_no_directory(store: ama.Store, tmp_path: Path) -> None:
    (tmp_path / "a.zip").mkdir()
    with pytest.raises(AlreadyExists, match="is a directory"):
        store.export("models", tmp_path / "a.zip", force=True)


# Damage, crashes and hostile assets


@pytest.mark.parametrize("form", [*FORMS, "memory://damaged/a.zip", "memory://damaged/plain"])
def test_damage_comes_out_of_no_form(store: ama.Store, tmp_path: Path, form: str) -> None:
    store.publish("models", {"whole.txt": b"whole", "z.bin": LARGE[:2_000_000][::-1]})
    packs = sorted((tmp_path / "store/packs").rglob("*.pack"), key=lambda path: path.stat().st_size)
    for pack in packs[-2:]:
        flip(0.5)(pack)
    damaged = ama.Store.open(tmp_path / "store", settings=cold(tmp_path))
    with pytest.raises(IntegrityError):
        damaged.export("models/1", form if "://" in form else tmp_path / form)
    if "://" in form:
        storage = open_storage("memory://damaged")
        left = [name for name, _ in storage.list("") if "ama.json" in name or "zip" in name]
        assert left == []
    else:
        assert not (tmp_path / form).exists()
        assert not [*tmp_path.glob(".tmp-*")]


@pytest.mark.parametrize("form", ["plain", "a.zip"])
def test_a_process_that_dies_leaves_nothing_or_all(
    store: ama.Store, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Life()
    monkeypatch.setattr(fs, "_os", MortalSystem(counted, counts=True))
    store.export("models", tmp_path / "counted" / form)
    expected = tree_of(unpacked(tmp_path / "counted" / form, tmp_path / "unpacked"))
    for calls in range(len(counted.calls)):
        place = tmp_path / str(calls) / form
        life = Life(calls)
        monkeypatch.setattr(fs, "_os", MortalSystem(life, counts=True))
        with pytest.raises(Died):
            store.export("models", place)
        life.dead = False
        monkeypatch.setattr(fs, "_os", MortalSystem(Life(), counts=False))
        if place.exists():
            found = unpacked(place, tmp_path / str(calls) / "found")
            assert tree_of(found) == expected
        store.export("models", place, force=True)
        found = unpacked(place, tmp_path / str(calls) / "again")
        assert tree_of(found) == expected


def test_a_forged_link_leads_nowhere(forge: Forge, tmp_path: Path) -> None:
    objects: Objects = {}
    link = file_entry("out", b"../../etc/passwd", objects, EntryKind.SYMLINK)
    forge.publish_trees(listed([link], objects).id, objects)
    store = ama.Store.open(forge.directory)
    for form in FORMS:
        with pytest.raises(InvalidInput, match="leads out"):
            store.export("models", tmp_path / form)
        assert not (tmp_path / form).exists()


@pytest.mark.parametrize("size", [0, 3, 1_000, 5_000_000])
@pytest.mark.parametrize("form", FORMS[1:])
def test_a_forged_size_makes_no_archive(forge: Forge, tmp_path: Path, form: str, size: int) -> None:
    objects: Objects = {}
    file = file_entry("a.txt", b"four", objects)._replace(size=size)
    forge.publish_trees(listed([file], objects).id, objects)
    with pytest.raises(IntegrityError, match="another size"):
        ama.Store.open(forge.directory).export("models", tmp_path / form)
    assert not (tmp_path / form).exists()


# Large


def test_memory_is_bounded(tmp_path: Path) -> None:
    store = ama.Store.open(tmp_path / "store", create=True)
    with (tmp_path / "large.bin").open("wb") as file:
        for number in range(12):
            file.write(random.Random(number).randbytes(10_000_000))
    store.publish("models", [tmp_path / "large.bin"])
    peaks: list[int] = []
    for form in ("a.zip", "a.tar", "memory://none/a.zip"):
        if "://" in form:
            continue
        tracemalloc.start()
        store.export("models", tmp_path / form)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 100_000_000


def test_many_small_files_take_few_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = CountingStorage(open_storage(str(tmp_path / "store")))
    monkeypatch.setattr("ama.store.open_storage", lambda *_: counting)
    store = ama.Store.open(tmp_path / "store", create=True)
    store.publish("models", {f"{n:04}.txt": str(n).encode() for n in range(2_000)})
    counting.reset()
    store.export("models", tmp_path / "a.zip")
    assert counting.round_trips <= 8
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.read("1999.txt") == b"1999"


# Buckets


@pytest.mark.parametrize("kind", ["gcs", "s3", "seaweed", "azure", "sftp"])
def test_to_a_bucket(
    store: ama.Store, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers.start(kind)
    name = f"exports/{os.urandom(6).hex()}"
    monkeypatch.setattr(
        "ama.exporting.export.open_storage",
        lambda url, _: server.storage(url.removeprefix(f"{server.url}/")),
    )
    store.export("models", tmp_path / "a.zip")
    store.export("models", f"{server.url}/{name}/a.zip")
    (found,) = server.storage(name).read([Range("a.zip")])
    assert found == (tmp_path / "a.zip").read_bytes()
    with pytest.raises(AlreadyExists):
        store.export("models", f"{server.url}/{name}/a.zip")
    store.export("models", f"{server.url}/{name}/a.zip", force=True)
    store.export("models", f"{server.url}/{name}/plain")
    files = server.storage(f"{name}/plain")
    (weights,) = files.read([Range("data/weights.bin")])
    assert weights == LARGE
    names = {name for name, _ in files.list("")}
    assert names == {*FILES, "run.sh", "ama.json"}
    with pytest.raises(AlreadyExists):
        store.export("models", f"{server.url}/{name}/plain")


def test_a_large_archive_in_a_bucket_is_whole_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers.start("seaweed")
    name = f"exports/{os.urandom(6).hex()}"
    monkeypatch.setattr(
        "ama.exporting.export.open_storage",
        lambda url, _: server.storage(url.removeprefix(f"{server.url}/")),
    )
    store = ama.Store.open(tmp_path / "store", create=True)
    large = {f"{n}.bin": random.Random(n).randbytes(30_000_000) for n in range(2)}
    store.publish("models", large)
    store.export("models", f"{server.url}/{name}/a.tar")
    (found,) = server.storage(name).read([Range("a.tar")])
    with tarfile.open(fileobj=io.BytesIO(found or b"")) as archive:
        assert {n: archive.extractfile(n).read() for n in large} == large  # type: ignore[union-attr]
    for pack in (tmp_path / "store/packs").rglob("*.pack"):
        if pack.stat().st_size > 10_000_000:
            flip(0.9)(pack)
    with pytest.raises(IntegrityError):
        store.export("models", f"{server.url}/{name}/b.tar")
    assert [each for each, _ in server.storage(name).list("")] == ["a.tar"]


# The command


def test_the_command(run: Ama, store: ama.Store, tmp_path: Path) -> None:
    done = run.ok("export", "models@best", "--to", "a.zip", "--remote", store.url)
    assert "exported models/1" in done.output
    assert "described in ama.json" in done.output
    again = run("export", "models@best", "--to", "a.zip", "--remote", store.url)
    assert again.code == 4
    assert "--force" in again.stderr
    said = run.ok("export", "models", "--to", "b", "--refs", "--json", "--remote", store.url).json()
    assert (said["files"], said["descriptions"]) == (8, ["models-1/ama.json", "inputs-1/ama.json"])
    assert run("export", "models", "--to", "c", "--partial", "--remote", store.url).code == 2


def test_head_of_a_worktree(run: Ama, store: ama.Store, tmp_path: Path) -> None:
    store.download("models@best", tmp_path / "work")
    run.ok("export", "HEAD", "--to", tmp_path / "a.tar.gz", cwd=tmp_path / "work")
    with gzip.open(tmp_path / "a.tar.gz") as file, tarfile.open(fileobj=file) as archive:
        assert "model.yml" in archive.getnames()
