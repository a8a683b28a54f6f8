"""Publishing with `extend`: an asset has the files of the one that its alias was on, and others."""

from __future__ import annotations

import random
import threading
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from blake3 import blake3

import ama
from ama.settings import Settings
from ama.storage.urls import open_storage
from counting_storage import CountingStorage

MIB = 1024 * 1024


def content(seed: str, size: int) -> bytes:
    return blake3(seed.encode()).digest(length=size)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> CountingStorage:
    counted = CountingStorage(open_storage(f"memory://{uuid4()}"))
    monkeypatch.setattr("ama.store.open_storage", lambda *args: counted)
    return counted


@pytest.fixture
def store(counted: CountingStorage, tmp_path: Path) -> ama.Store:
    settings = Settings(
        data_dir=tmp_path / "data",
        cache_dir=tmp_path / "cache",
        user_config_path=tmp_path / "config.toml",
        user_name="Ann",
        user_email="ann@example.org",
    )
    return ama.Store.open(counted.url, create=True, settings=settings)


def files_of(store: ama.Store, name: str = "runs@r") -> dict[str, bytes]:
    asset = store.resolve(name)
    return {file.path: asset.read(file.path) for file in asset.files()}


def extend(store: ama.Store, files: Any, **more: Any) -> Any:
    return store.publish("runs", files, aliases="r", extend=True, **more)


def test_files_are_added_and_replaced(store: ama.Store, tmp_path: Path) -> None:
    first = extend(store, {"a": b"1", "d/b": b"2", "d/e/c": b"3"})
    assert first.asset.parents == ()
    (tmp_path / "run.sh").write_bytes(b"#!")
    (tmp_path / "run.sh").chmod(0o755)
    done = extend(store, {"d/b": b"22", "d/f/x": b"4", "run.sh": tmp_path / "run.sh"})
    expected = {"a": b"1", "d/b": b"22", "d/e/c": b"3", "d/f/x": b"4", "run.sh": b"#!"}
    assert files_of(store) == expected
    assert done.asset.parents == (first.asset.id,)
    assert done.asset.size == sum(map(len, expected.values()))
    assert done.asset == store.resolve("runs@r").info
    assert store.resolve("runs@r").file("run.sh").kind == "executable"
    whole = store.publish("other", expected | {"run.sh": tmp_path / "run.sh"})
    assert whole.asset.tree == done.asset.tree
    assert store.fsck().ok


def test_files_are_left_out(store: ama.Store) -> None:
    extend(store, {"a": b"1", "d/e/b": b"2", "d/e/c": b"3", "f/g": b"4"})
    extend(store, {}, without="d/e/b")
    assert set(files_of(store)) == {"a", "d/e/c", "f/g"}
    extend(store, {"x": b"5"}, without=["d/e/c", "f"])
    assert set(files_of(store)) == {"a", "x"}
    assert [entry.path for entry in store.resolve("runs@r").entries()] == ["a", "x"]
    with pytest.raises(ama.InvalidInput, match="no file would be left"):
        extend(store, (), without=["a", "x"])
    with pytest.raises(ama.NotFound, match="has no nope"):
        extend(store, (), without="nope")
    with pytest.raises(ama.NotFound, match="has no a/b"):
        extend(store, (), without="a/b")
    with pytest.raises(ama.NotFound, match="has no x/b"):
        extend(store, iter(()), without="x/b")
    # What is given takes the place of what is left out, whatever it is.
    extend(store, {"a/b": b"6"}, without="a")
    assert files_of(store) == {"a/b": b"6", "x": b"5"}
    assert store.fsck().ok


def test_what_is_there_is_neither_read_nor_sent(store: ama.Store, counted: CountingStorage) -> None:
    large = {f"{d}/{n}": content(f"{d}/{n}", MIB) for d in "abcd" for n in range(4)}
    extend(store, {**large, "z/deep/x": b"x"})
    again = ama.Store.open(counted.url, settings=store.settings)
    counted.reset()
    extend(again, {"z/deep/y": b"y"})
    assert counted.bytes_written < 6_000
    assert counted.bytes_read < 20_000
    assert counted.round_trips <= 14
    assert len(files_of(store)) == 18


def test_a_directory_that_does_not_change_is_not_read(
    store: ama.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ama.stores.sources import Sources

    extend(store, {f"d{n}/x": b"%d" % n for n in range(300)} | {"e/f/g": b"g"})
    read: list[bytes] = []
    real = Sources.tree
    monkeypatch.setattr(Sources, "tree", lambda self, tree: read.append(tree) or real(self, tree))
    extend(store, {"e/f/h": b"h"})
    assert len(set(read)) < 10


def test_nobody_s_files_are_lost(store: ama.Store) -> None:
    """Eight threads at once, from the very first on: that one has no alias yet to have moved."""
    ready = threading.Barrier(8)
    failed: list[BaseException] = []

    def work(me: int) -> None:
        try:
            ready.wait()
            for n in range(4):
                extend(store, {f"{me}/{n}": b"%d" % n, f"{me}.txt": b"%d" % n})
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    expected = {f"{me}/{n}": b"%d" % n for me in range(8) for n in range(4)}
    assert files_of(store) == expected | {f"{me}.txt": b"3" for me in range(8)}
    assert len(store.log("runs@r")) == 32  # each follows the one before
    assert store.fsck().ok


def test_others_who_extend_it_just_before_the_entry(
    store: ama.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ama.transfer import publish_files

    real = publish_files._made
    others = iter([{"first": b"1"}, {"second": b"2"}])

    def made(*args: Any) -> Any:
        found = real(*args)
        if (files := next(others, None)) is not None:
            monkeypatch.setattr(publish_files, "_made", real)
            extend(store, files)
            monkeypatch.setattr(publish_files, "_made", made)
        return found

    monkeypatch.setattr(publish_files, "_made", made)
    extend(store, {"mine": b"m"}, once=True)
    assert set(files_of(store)) == {"mine", "first", "second"}


def test_a_retry_changes_nothing(store: ama.Store) -> None:
    extend(store, {"a": b"1"}, once=True)
    done = extend(store, {"b": b"2"}, once=True)
    assert not done.again
    for files in ({"b": b"2"}, {"a": b"1"}, {"a": b"1", "b": b"2"}):
        again = extend(store, files, once=True)
        assert again.again
        assert again.asset == done.asset
    extend(store, (), without="b", once=True)
    assert extend(store, (), without="b", once=True).again
    assert files_of(store) == {"a": b"1"}
    assert store.resolve("runs@r").info.number == 1  # as it was


@pytest.mark.parametrize(
    ("files", "more", "error", "said"),
    [
        ({"d": b"x"}, {}, ama.InvalidInput, "d is a directory in the asset, and a file is given"),
        ({"a/x": b"x"}, {}, ama.InvalidInput, "a is a file in the asset, and a directory"),
        ({"A": b"x"}, {}, ama.InvalidInput, "one name on some systems"),
        ({"D/c": b"x"}, {}, ama.InvalidInput, "one name on some systems"),
        ({"x": b"x"}, {"without": "../a"}, ama.InvalidInput, "no path in an asset"),
        ({"x": b"x"}, {"aliases": ()}, ama.InvalidInput, "by its alias"),
        ({"x": b"x"}, {"extend": False, "without": "a"}, ama.InvalidInput, "without extend"),
        ((), {}, ama.InvalidInput, "no file is given"),
    ],
)
def test_what_is_refused(
    store: ama.Store, files: Any, more: dict[str, Any], error: type[Exception], said: str
) -> None:
    extend(store, {"a": b"1", "d/b": b"2"})
    with pytest.raises(error, match=said):
        store.publish("runs", files, **{"aliases": "r", "extend": True, **more})
    assert len(store.history("runs")) == 1


def test_a_deleted_one_is_not_extended(store: ama.Store) -> None:
    extend(store, {"a": b"1"})
    store.delete("runs/1", force=True)
    with pytest.raises(ama.NotFound, match="deleted"):
        extend(store, {"b": b"2"})
    with pytest.raises(ama.NotFound, match="no asset yet"):
        store.publish("runs", (), aliases="new", extend=True, without="a")


def test_only_the_first_alias_counts(store: ama.Store) -> None:
    """Another one that the asset gets brings no files of what it is on."""
    extend(store, {"a": b"1"})
    done = store.publish("runs", {"b": b"2"}, aliases=["new", "r"], extend=True)
    assert files_of(store, "runs@new") == {"b": b"2"}
    assert store.resolve("runs@r").info == done.asset


@pytest.mark.parametrize("name", ["runs/1", "runs@r", "r", "@r", "runs", "runs@s~", "ID"])
def test_a_named_one_is_extended(store: ama.Store, name: str) -> None:
    first = extend(store, {"a": b"1", "d/b": b"2"}).asset
    name = first.id[:12] if name == "ID" else name
    if "~" in name:
        store.publish("runs", {"x": b"x"}, aliases=["s", "r"])
        store.move_alias("runs", "r", "1")
    call = partial(store.publish, "runs", {"d/c": b"3"}, extend=name, without="a", once=True)
    done = call(aliases="new")
    assert files_of(store, "runs@new") == {"d/b": b"2", "d/c": b"3"}
    assert done.asset.parents == (first.id,)
    assert store.resolve("runs@r").info.id == first.id
    if name != "runs":  # its newest is another one now
        assert call(aliases="new").again
    assert store.fsck().ok


def test_a_named_one_that_its_alias_has_left(store: ama.Store) -> None:
    """By its number, it stays that one: the alias is not taken from others unseen."""
    extend(store, {"a": b"1"})
    extend(store, {"b": b"2"})
    with pytest.raises(ama.Conflict, match="runs@r is now runs/2"):
        store.publish("runs", {"c": b"3"}, aliases="r", extend="runs/1")
    store.publish("runs", {"c": b"3"}, aliases="r", extend="runs@r")
    assert set(files_of(store)) == {"a", "b", "c"}
    store.publish("runs", {"d": b"4"}, extend="runs/1")
    assert set(files_of(store, "runs")) == {"a", "d"}
    assert store.fsck().ok


@pytest.mark.parametrize("alias", [(), "other", "r"])
@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("runs/7", ama.NotFound, "runs has no asset 7"),
        ("runs@nope", ama.NotFound, "nope"),
        ("data@x", ama.InvalidInput, "of data, not of runs"),
        ("", ama.InvalidInput, "name of a class"),
        (None, ama.InvalidInput, "is a text, not"),
        (1, ama.InvalidInput, "is a text, not"),
        ("HEAD", ama.NotFound, "HEAD is a worktree's"),
        ("runs/2", ama.NotFound, "deleted"),
    ],
)
def test_what_cannot_be_extended(
    store: ama.Store, alias: Any, name: Any, error: type[Exception], said: str
) -> None:
    extend(store, {"a": b"1"})
    store.publish("runs", {"b": b"1"})
    store.delete("runs/2")
    store.publish("data", {"x": b"1"}, aliases="x")
    for without in ((), "a"):
        with pytest.raises(error, match=said):
            store.publish("runs", {"x": b"x"}, aliases=alias, extend=name, without=without)
    assert files_of(store) == {"a": b"1"}


def test_a_named_one_that_is_deleted_meanwhile(
    store: ama.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ama.transfer import publish_files

    extend(store, {"a": b"1"})
    real = publish_files._made

    def made(*args: Any) -> Any:
        store.delete("runs/1", force=True)
        return real(*args)

    monkeypatch.setattr(publish_files, "_made", made)
    done = store.publish("runs", {"b": b"2"}, extend="runs/1")
    assert files_of(store, done.asset.id) == {"a": b"1", "b": b"2"}  # whole, whatever became of it
    assert store.fsck().ok


def test_many_name_one_alias(store: ama.Store) -> None:
    extend(store, {"0": b"0"})

    def work(n: int) -> None:
        store.publish("runs", {str(n): b"%d" % n}, aliases="r", extend="runs@r")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files_of(store) == {str(n): b"%d" % n for n in range(6)}


def test_it_is_as_a_dict(store: ama.Store) -> None:
    rng = random.Random(7)
    model: dict[str, bytes] = {}
    for turn in range(60):
        paths = [f"{rng.randrange(3)}d/{rng.randrange(3)}d/{rng.randrange(3)}" for _ in range(2)]
        given = dict.fromkeys([*paths, f"top{rng.randrange(3)}"], b"%d" % turn)
        gone = rng.sample(sorted(model), min(len(model), rng.randrange(3)))
        extend(store, given, without=gone)
        for path in gone:
            del model[path]
        model |= given
        assert files_of(store) == model
    assert store.publish("other", model).asset.tree == store.resolve("runs@r").info.tree
    assert store.fsck().ok


def test_by_the_module(store: ama.Store) -> None:
    for name in ("a", "b"):
        ama.publish("runs", {name: b"x"}, store=store, aliases="r", extend=True)
    ama.publish("runs", {"c": b"x"}, store=store, aliases="r", extend=True, without="a")
    assert set(files_of(store)) == {"b", "c"}
