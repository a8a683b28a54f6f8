"""What must not happen to other files because of the content cache, nor to what it promises."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

import ama
import ama.system.fs
from ama.errors import IntegrityError, NoSpace
from ama.worktree.content_cache import ContentCache
from forging import Forge, Objects, file_entry, listed
from test_content_cache import (
    FILES,
    Counted,
    cache,
    content,
    publish,
    used_long_ago,
)

A_DAY_AGO = 1_600_000_000


@pytest.fixture
def place(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    publish(store, FILES, aliases="best")
    return store


def age(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (A_DAY_AGO, A_DAY_AGO), follow_symlinks=False)


def make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a day pass, and everything go from the cache."""
    used_long_ago("*")
    monkeypatch.setattr("ama.worktree.content_cache.COUNT_AGAIN_S", -1)
    monkeypatch.setenv("AMA_CACHE_SIZE", "1")
    cache().trim(b"")


def test_what_lies_in_its_directory_but_is_not_its_own_stays(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "data"
    monkeypatch.setenv("AMA_CONTENT_DIR", str(top))
    mine = [
        "blobs/sha256-0123",
        "blobs/sha256/0123",
        "blobs/ab/weights.bin",
        "assets/2024/photo.jpg",
        "assets/cafe/menu.txt",
        "assets/logo.png",
        "gone/friends.txt",
        "gone/cafe/x.txt",
        "turns/cafe/turn",
        "classes/c-models/cafe",
        "classes/school/cafe",
        "filling/station.txt",
    ]
    for name in mine:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
        age(top / name, (top / name).parent)
    fetched = ama.fetch("models", store=place)
    make_room(monkeypatch)
    assert not fetched.exists()
    assert [name for name in mine if not (top / name).exists()] == []


def test_a_name_of_spaces_does_not_move_all_assets(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = ama.fetch("models", store=place)
    (cache().directory / "assets" / " ").mkdir()
    shutil.rmtree(cache().directory / "classes")
    used_long_ago("*")
    monkeypatch.setenv("AMA_CACHE_SIZE", "1")
    cache().trim(bytes.fromhex(top.parent.name))
    assert content(top) == FILES


@pytest.mark.parametrize("name", ["gone", "blobs", "turns", "assets", "filling", "classes"])
def test_a_link_in_its_directory_leads_to_no_other_files(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    store = ama.Store.open(place)
    asset = store.resolve("models").info.id
    ama.fetch("models", store=place)
    home = tmp_path / "home"
    hidden = [f"{asset}/mine.txt", "0123456789abcdef/x", f"ab/ab{'0' * 62}", f"{asset}/turn"]
    hidden += [f"c-models/{asset}", f"c-models/{asset[:-1]}0"]
    for each in hidden:
        (home / each).parent.mkdir(parents=True, exist_ok=True)
        (home / each).write_text("years of work")
        age(home / each, (home / each).parent)
    planted = cache().directory / name
    if planted.exists():
        planted.rename(tmp_path / "away")
    planted.symlink_to(home)
    make_room(monkeypatch)
    assert [each for each in hidden if not (home / each).exists()] == []


def test_what_somebody_has_put_there_is_not_deleted(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = ama.fetch("models", store=place)
    (top / "mine.txt").write_text("mine")
    (top / "data" / "work").mkdir()
    (top / "data" / "work" / "paper.txt").write_text("paper")
    (top / "model.yml").chmod(0o644)
    (top / "model.yml").write_text("layers: 9\n")
    again = ama.fetch("models", store=place)
    assert content(again) == FILES
    make_room(monkeypatch)
    assert not again.exists()
    assert not (top / "model.h5").exists()
    assert (top / "mine.txt").read_text() == "mine"
    assert (top / "model.yml").read_text() == "layers: 9\n"
    assert (top / "data" / "work" / "paper.txt").read_text() == "paper"


def test_the_content_of_killed_fetches_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    monkeypatch.setenv("AMA_CACHE_SIZE", "3MB")
    for number in range(4):
        publish(store, {"a": random.Random(number).randbytes(2_000_000), "b": b"%d" % number})

    class Breaks:
        count = 0

        def start(self, task: str, total_bytes: int | None) -> None:
            pass

        def advance(self, count: int) -> None:
            self.count += count
            if self.count > 1_800_000:
                raise KeyboardInterrupt

        def skip(self, count: int) -> None:
            pass

        def finish(self) -> None:
            pass

    for number in range(3):
        counted = Counted(store)
        counted.store._progress = Breaks()
        with pytest.raises(KeyboardInterrupt):
            counted.store.fetch(f"models/{number + 1}")
    used_long_ago("*")
    ama.fetch("models/4", store=store)
    sizes = {path.stat().st_ino: path.stat().st_size for path in cache().directory.rglob("*")}
    assert sum(sizes.values()) < 3_100_000


def test_what_was_handed_out_while_it_was_being_deleted_comes_back(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = ama.fetch("models", store=place)
    used_long_ago("*")
    real = ama.system.fs.move_directory

    def moves(source: str, path: str) -> bool:
        if source == str(top):
            assert ama.fetch("models", store=place) == top
        return real(source, path)

    monkeypatch.setattr(ama.system.fs, "move_directory", moves)
    monkeypatch.setenv("AMA_CACHE_SIZE", "1")
    cache().trim(b"")
    assert content(top) == FILES


def test_a_lost_account_is_made_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(place, {"x": b"1"}, class_name="others")
    top = ama.fetch("models", store=place)
    (cache().directory / "account").write_bytes(b"")
    used_long_ago("*")
    monkeypatch.setenv("AMA_CACHE_SIZE", "1MB")
    ama.fetch("others", store=place)
    assert not top.exists()
    assert cache().total() == 1


def test_an_asset_whose_trees_are_damaged_goes_as_well(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = ama.fetch("models", store=place)
    for pack in (top.parent / "objects" / "packs").rglob("*.pack"):
        data = bytearray(pack.read_bytes())
        data[200:300] = bytes(100)
        pack.chmod(0o644)
        pack.write_bytes(data)
    make_room(monkeypatch)
    assert not top.exists()


def test_what_no_room_can_be_made_for_empties_no_cache(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(place, {"x": b"1" * 1000}, class_name="others")
    top = ama.fetch("models", store=place)
    used_long_ago("*")
    free = 100

    def usage(path: object) -> tuple[int, int, int]:
        return ama.worktree.incoming.shutil._ntuple_diskusage(1 << 40, 1 << 40, free)

    monkeypatch.setattr("ama.worktree.incoming.shutil.disk_usage", usage)
    monkeypatch.setattr(ContentCache, "total", lambda self: 800)
    with pytest.raises(NoSpace):
        ama.fetch("others", store=place)
    assert top.exists()


@pytest.mark.parametrize("more", [-2, 1])
def test_an_asset_that_lies_about_a_size_is_refused(tmp_path: Path, more: int) -> None:
    forge = Forge(tmp_path / "store")
    objects: Objects = {}
    entry = file_entry("x", b"hello", objects)
    forge.publish({"x": b"hello"})
    lying = listed([entry._replace(size=entry.size + more)], objects)
    forge.publish_trees(lying.id, objects)
    top = ama.fetch("models/1", store=tmp_path / "store")
    for _ in range(2):
        with pytest.raises(IntegrityError, match="x has 5 bytes, and its directory says"):
            ama.fetch("models/2", store=tmp_path / "store")
    assert (top / "x").stat().st_nlink == 2
    assert cache().total() == 5
