"""`ama://`: assets as a file system of fsspec."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pandas
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.tests.abstract import AbstractFixtures, AbstractGetTests

import ama
from ama.filesystem import AmaFileSystem

Publish = Callable[[dict[str, bytes]], str]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "store")


@pytest.fixture
def publish(tmp_path: Path, url: str) -> Publish:
    """A function that publishes files as the next asset of models, as models@best."""

    def publish(files: dict[str, bytes]) -> str:
        root = tmp_path / "work"
        repo = ama.Repo.open(root) if root.exists() else ama.Repo.init(root, "models")
        for path, data in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        repo.add(["."])
        repo.set(aliases=["best"])
        return repo.upload(remote=url).asset.name

    return publish


@pytest.fixture
def files(publish: Publish, url: str) -> AmaFileSystem:
    publish({"a/x.csv": b"a,b\n1,2\n", "a/deep/z": b"z", "y.csv": b"a,b\n3,4\n"})
    return AmaFileSystem(store=url, skip_instance_cache=True)


class TestGet(AbstractFixtures, AbstractGetTests):
    """fsspec's own tests of what reads from a file system."""

    @pytest.fixture
    def fs(self, url: str) -> AmaFileSystem:
        return AmaFileSystem(store=url, skip_instance_cache=True)

    @pytest.fixture
    def fs_path(self) -> str:
        return "models@best"

    @pytest.fixture
    def made(self, tmp_path: Path, publish: Publish) -> Callable[..., str]:
        """A function that publishes what one of fsspec's own makers writes."""

        def made(maker: Callable[..., str]) -> str:
            local, place = LocalFileSystem(auto_mkdir=True), tmp_path / "made"
            source = maker(local, os.path.join, str(place))
            found = {
                path.relative_to(place).as_posix(): path.read_bytes()
                for path in place.rglob("*")
                if path.is_file()
            }
            publish(found)
            return "models@best" + str(source).removeprefix(str(place))

        return made

    @pytest.fixture
    def fs_bulk_operations_scenario_0(self, made: Callable[..., str]) -> str:
        return made(self._bulk_operations_scenario_0)

    @pytest.fixture
    def fs_glob_edge_cases_files(self, made: Callable[..., str]) -> str:
        return made(self._glob_edge_cases_files)

    @pytest.fixture
    def fs_dir_and_file_with_same_name_prefix(self, made: Callable[..., str]) -> str:
        return made(self._dir_and_file_with_same_name_prefix)

    @pytest.fixture
    def fs_10_files_with_hashed_names(self, made: Callable[..., str]) -> str:
        return made(self._10_files_with_hashed_names)

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False

    def test_get_directory_recursive(self, *args: Any) -> None:
        """It writes what it reads: the same is in `test_a_directory_comes_whole`."""


def test_a_directory_comes_whole(files: AmaFileSystem, tmp_path: Path) -> None:
    for source, target in (("models/1/a", "one"), ("models@best/a/", "two")):
        files.get(source, str(tmp_path / target), recursive=True)
        assert (tmp_path / target / "x.csv").read_bytes() == b"a,b\n1,2\n"
        assert (tmp_path / target / "deep" / "z").read_bytes() == b"z"


def test_what_is_where(files: AmaFileSystem) -> None:
    assert files.ls("", detail=False) == ["models"]
    assert files.ls("ama://models/", detail=False) == ["models/1"]
    assert files.ls("models@best", detail=False) == ["models@best/a", "models@best/y.csv"]
    assert files.ls("models/1/y.csv", detail=False) == ["models/1/y.csv"]
    assert [each["type"] for each in files.ls("models/1")] == ["directory", "file"]
    assert files.find("models") == files.find("models/1") == sorted(files.find(""))
    assert files.find("models@best/a") == ["models@best/a/deep/z", "models@best/a/x.csv"]
    assert files.find("models@best/nope") == []
    assert files.glob("models@best/**/*.csv") == ["models@best/a/x.csv", "models@best/y.csv"]
    assert files.glob("models/*/*.csv") == ["models/1/y.csv"]
    assert list(files.walk("models/1")) == [
        ("models/1", ["a"], ["y.csv"]),
        ("models/1/a", ["deep"], ["x.csv"]),
        ("models/1/a/deep", [], ["z"]),
    ]
    assert files.info("models/1/a") == {"name": "models/1/a", "size": 9, "type": "directory"}
    info = files.info("models/1/y.csv")
    assert (info["size"], info["type"]) == (8, "file")
    assert info["blake3"] == files.ukey("models@best/y.csv")
    assert files.du("models/1") == 17
    assert [files.exists(p) for p in ("models", "models/1/a", "models/2", "x", "models/1/b")] == [
        *(True, True),
        *(False, False, False),
    ]
    assert files.isdir("models/1/a")
    assert files.isfile("models/1/a/x.csv")


def test_content(files: AmaFileSystem) -> None:
    assert files.cat_file("models/1/y.csv") == b"a,b\n3,4\n"
    assert files.cat_file("models/1/y.csv", -4, -1) == b"3,4"
    assert files.cat_file("models/1/y.csv", 5, 2) == b""
    assert files.cat("models/1/a/*.csv") == {"models/1/a/x.csv": b"a,b\n1,2\n"}
    ranges = files.cat_ranges(["models/1/y.csv", "models/1/a/x.csv"], [0, 4], [3, 7])
    assert ranges == [b"a,b", b"1,2"]
    with files.open("models/1/y.csv", "r") as text:
        assert text.readlines() == ["a,b\n", "3,4\n"]
    assert files.head("models/1/y.csv", 3) == b"a,b"
    assert files.checksum("models/1/y.csv") == files.checksum("models@best/y.csv")
    assert files.checksum("models/1/y.csv") != files.checksum("models/1/a/x.csv")
    assert files.modified("models/1/y.csv").tzinfo is not None
    assert files.read_block("models/1/y.csv", 2, 100) == b"b\n3,4\n"
    assert files.read_block("models/1/y.csv", 2, None, delimiter=b"\n") == b"3,4\n"


def test_by_urls(files: AmaFileSystem, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"store": url}
    assert pandas.read_csv("ama://models@best/y.csv", storage_options=given)["a"].sum() == 3
    assert pandas.read_csv(f"ama://models/1/y.csv::file://{url}")["b"].sum() == 4
    with fsspec.open(f"ama://models/1/a/deep/z::file://{url}") as file:
        assert file.read() == b"z"
    monkeypatch.setenv("AMA_REMOTE", url)
    assert pandas.read_csv("ama://models/y.csv".replace("models", "models@best")).shape == (1, 2)
    fsspec.filesystem("ama").invalidate_cache()


def test_a_relative_path_is_what_it_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsspec keeps file systems by their arguments."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        ama.publish("models", {"name": name.encode()}, store="./store", aliases="best")
        with fsspec.open("ama://models@best/name", store="store") as file:
            assert file.read() == name.encode()


def test_another_configured_store_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        monkeypatch.setenv("AMA_REMOTE", str(tmp_path / name))
        ama.publish("models", {"name": name.encode()}, aliases="best")
        with fsspec.open("ama://models@best/name") as file:
            assert file.read() == name.encode()


def test_a_snapshot_and_a_store_made_anew_are_others(url: str) -> None:
    """fsspec tells stores apart by what they print."""

    def read(store: ama.Store, path: str) -> bytes:
        with fsspec.open(f"ama://{path}", store=store, refresh=0) as file:
            return bytes(file.read())

    store = ama.Store.open(url, create=True)
    store.publish("models", {"x": b"one"}, aliases="best")
    assert read(store, "models@best/x") == b"one"
    then = store.snapshot()
    store.publish("models", {"x": b"two"}, aliases="best")
    assert read(then, "models@best/x") == b"one"
    assert read(store, "models@best/x") == b"two"
    shutil.rmtree(url)
    anew = ama.Store.open(url, create=True, new_store=True)
    anew.publish("models", {"x": b"three"}, aliases="best")
    assert read(anew, "models@best/x") == b"three"


def test_an_alias_is_looked_up_now_and_then(files: AmaFileSystem, publish: Publish) -> None:
    assert files.cat_file("models@best/y.csv") == b"a,b\n3,4\n"
    publish({"y.csv": b"new"})
    assert files.cat_file("models@best/y.csv") == b"a,b\n3,4\n"  # all of it is of one asset
    assert files.cat_file("models/2/y.csv") == b"new"
    files.invalidate_cache()
    assert files.cat_file("models@best/y.csv") == b"new"
    now = AmaFileSystem(store=files.store, refresh=0)
    assert now.cat_file("models@best/y.csv") == b"new"
    publish({"y.csv": b"newer"})
    assert now.cat_file("models@best/y.csv") == b"newer"


def test_symlinks_are_followed_within_the_asset(publish: Publish, tmp_path: Path, url: str) -> None:
    publish({"a/x": b"content"})
    work = tmp_path / "work"
    (work / "a" / "up").symlink_to("../first")
    (work / "first").symlink_to("a/x")
    (work / "round").symlink_to("round")
    (work / "lost").symlink_to("nothing")
    (work / "whole").symlink_to("a")
    publish({})
    files = AmaFileSystem(store=url, skip_instance_cache=True)
    info = files.info("models@best/a/up")
    assert (info["size"], info["type"], info["islink"]) == (7, "file", True)
    assert files.cat_file("models@best/a/up") == b"content"
    assert files.isdir("models@best/whole")
    assert [files.info(f"models@best/{name}")["type"] for name in ("round", "lost")] == [
        *("other", "other")
    ]
    for name, wrong in (("round", OSError), ("lost", FileNotFoundError)):
        with pytest.raises(wrong):
            files.open(f"models@best/{name}")


@pytest.mark.parametrize(
    "path", ["nope", "nope/1/x", "models/1/nope", "models@nope/y.csv", "models/x", "models/7/x"]
)
def test_what_is_not_there(files: AmaFileSystem, path: str) -> None:
    for call in (files.info, files.ls, files.open, files.cat_file, files.ukey, files.modified):
        with pytest.raises(FileNotFoundError, match=path.split("/")[-1]):
            call(path)


def test_directories_are_no_files(files: AmaFileSystem) -> None:
    for path in ("", "models", "models/1", "models/1/a"):
        with pytest.raises(IsADirectoryError):
            files.open(path)


CHANGES: dict[str, Callable[[AmaFileSystem], object]] = {
    "open": lambda fs: fs.open("models/1/new", "wb"),
    "append": lambda fs: fs.open("models/1/y.csv", "ab"),
    "pipe": lambda fs: fs.pipe("models/1/new", b"x"),
    "touch": lambda fs: fs.touch("models/1/new"),
    "put": lambda fs: fs.put(__file__, "models/1/new"),
    "rm": lambda fs: fs.rm("models/1/y.csv"),
    "rm_file": lambda fs: fs.rm_file("models/1/y.csv"),
    "rmdir": lambda fs: fs.rmdir("models/1/a"),
    "mkdir": lambda fs: fs.mkdir("models/1/new"),
    "makedirs": lambda fs: fs.makedirs("models/1/new/er"),
    "cp": lambda fs: fs.cp("models/1/y.csv", "models/1/new"),
    "mv": lambda fs: fs.mv("models/1/y.csv", "models/1/new"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_changed(files: AmaFileSystem, change: str) -> None:
    before = files.find("models", detail=True)
    with pytest.raises(OSError, match="never changed") as refused:
        CHANGES[change](files)
    assert isinstance(refused.value, ama.StorageError)
    files.invalidate_cache()
    assert files.find("models", detail=True) == before


@pytest.mark.parametrize("name", ["stor", "url", "remote", "endpoint_url"])
def test_an_option_that_there_is_not_reads_no_other_store(
    files: AmaFileSystem, url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The configured store may have an asset of this name, too."""
    monkeypatch.setenv("AMA_REMOTE", url)
    with pytest.raises(ama.InvalidInput, match=f"has no option {name}, but store, target_options"):
        pandas.read_csv("ama://models@best/y.csv", storage_options={name: "elsewhere"})
    fsspec.filesystem("ama", use_listings_cache=False, skip_instance_cache=True, auto_mkdir=True)


def test_what_is_no_file_says_how_one_is_named(files: AmaFileSystem) -> None:
    with pytest.raises(IsADirectoryError, match=r"name a file in it: 'ama://models@best'"):
        files.open("models@best")
    with pytest.raises(
        FileNotFoundError, match=r"write ama://models@ALIAS/a/x.csv or ama://models/N"
    ):
        files.open("models/a/x.csv")
    with pytest.raises(FileNotFoundError, match="the asset is models@best"):
        files.open("models@best:y.csv")


def test_it_travels(files: AmaFileSystem, url: str) -> None:
    again = pickle.loads(pickle.dumps(AmaFileSystem(store=url)))
    assert again.cat_file("models/1/a/deep/z") == b"z"
    with files.open("models/1/y.csv") as file:
        assert file.read(1) == b"a"


@pytest.fixture(autouse=True)
def no_instances_are_kept() -> Iterator[None]:
    yield
    AmaFileSystem.clear_instance_cache()
