"""A whole store as plain folders: what somebody without ama goes on from."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

import ama
from ama.errors import AlreadyExists, Conflict, IntegrityError, InvalidInput
from ama.format.hashing import blob_id
from ama.storage.urls import open_storage
from ama.system import copies, fs
from conftest import Ama
from counting_storage import CountingStorage
from damage import flip
from test_crash import Died, Life, MortalSystem
from test_export import cold, tree_of

WEIGHTS = random.Random(3).randbytes(1_500_000)
SHARED = b"the same in all\n" * 10


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CountingStorage:
    storage = CountingStorage(open_storage(str(tmp_path / "store")))
    monkeypatch.setattr("ama.store.open_storage", lambda *_: storage)
    return storage


@pytest.fixture
def store(tmp_path: Path, counting: CountingStorage) -> ama.Store:
    found = ama.Store.open(tmp_path / "store", create=True)
    found.publish("inputs", {"rows.csv": b"1\n", "shared.txt": SHARED}, aliases="first")
    for number in range(2):
        files = {"w.bin": WEIGHTS, "shared.txt": SHARED, "n.txt": str(number).encode()}
        found.publish("models", files, aliases="best", refs="inputs/1", metadata={"n": number})
    found.note("models", message="All models.")
    found.note("models/1", tags=["good"], file={"report.json": b"{}"})
    return found


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def check_sums(top: Path) -> int:
    """What `b3sum --check B3SUMS` does; the number of files."""
    sums = (top / "B3SUMS").read_text("utf-8").splitlines()
    for line in sums:
        digest, _, path = line.partition("  ")
        assert blob_id((top / path).read_bytes()).hex() == digest
    assert len(set(sums)) == len(sums)
    files = [path for path in top.glob("classes/*/*/files/**/*") if path.is_file()]
    assert len(files) == len(sums)
    return len(sums)


def test_all_is_there_as_plain_files(store: ama.Store, tmp_path: Path) -> None:
    result = store.export_everything(tmp_path / "all")
    assert [f"{each.class_name}/{each.number}" for each in result.new] == [
        "inputs/1",
        "models/1",
        "models/2",
    ]
    top = tmp_path / "all"
    assert (top / "classes/models/1/files/w.bin").read_bytes() == WEIGHTS
    assert (top / "classes/models/2/files/n.txt").read_bytes() == b"1"
    assert (top / "classes/models/1/notes/5-1/report.json").read_bytes() == b"{}"
    assert check_sums(top) == result.files == 8
    asset = read(top / "classes/models/1/asset.json")
    assert asset["asset"]["id"] == store.resolve("models/1").info.id
    assert asset["asset"]["metadata"] == {"n": 0}
    assert [ref["number"] for ref in asset["asset"]["refs"]] == [1]
    (note,) = asset["notes"]
    assert (note["tags"], note["file"]["path"]) == (["good"], "notes/5-1/report.json")
    assert [each["path"] for each in asset["files"]] == ["n.txt", "shared.txt", "w.bin"]
    assert read(top / "classes/models/class.json")["description"] == "All models."
    assert read(top / "classes/models/aliases.json")["best"]["number"] == 2
    events = [each["event"] for each in lines(top / "classes/models/history.jsonl")]
    assert events == ["publish", "alias", "publish", "alias", "note", "note"]
    said = read(top / "store.json")
    assert (said["store"]["id"], said["entry"]) == (store.id, 5)
    assert "hard links" in (top / "README.txt").read_text()


def test_the_same_content_is_one_file(store: ama.Store, tmp_path: Path) -> None:
    assert store.export_everything(tmp_path / "all").linked == 3
    top = tmp_path / "all/classes"
    same = ["models/1/files/shared.txt", "models/2/files/shared.txt", "inputs/1/files/shared.txt"]
    assert len({(top / name).stat().st_ino for name in same}) == 1
    assert os.stat(top / "models/1/files/w.bin").st_nlink == 2
    assert not os.stat(top / "models/1/files/w.bin").st_mode & 0o222


def test_where_no_links_can_be_they_are_copies(
    store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "link", lambda *_: False)
    assert store.export_everything(tmp_path / "all").linked == 0
    assert check_sums(tmp_path / "all") == 8
    assert os.stat(tmp_path / "all/classes/models/2/files/w.bin").st_nlink == 1


def test_again_costs_what_is_new(
    store: ama.Store, tmp_path: Path, counting: CountingStorage
) -> None:
    store.export_everything(tmp_path / "all")
    before = tree_of(tmp_path / "all")
    counting.reset()
    result = store.export_everything(tmp_path / "all")
    assert (result.new, result.updated, counting.round_trips) == ((), 0, 2)
    assert tree_of(tmp_path / "all") == before
    store.publish("models", {"w.bin": WEIGHTS, "n.txt": b"new"}, aliases="best")
    counting.reset()
    result = store.export_everything(tmp_path / "all")
    assert [each.number for each in result.new] == [3]
    assert (result.linked, result.updated) == (1, 1)  # @best has left models/2
    assert counting.bytes_read < 20_000
    assert read(tmp_path / "all/classes/models/2/asset.json")["asset"]["aliases"] == []
    assert read(tmp_path / "all/classes/models/3/asset.json")["asset"]["aliases"] == ["best"]
    assert check_sums(tmp_path / "all") == 10
    history = tmp_path / "all/classes/models/history.jsonl"
    assert [each["entry"] for each in lines(history)] == [2, 2, 3, 3, 4, 5, 6, 6]


def test_what_changes_of_an_asset_is_written_again(store: ama.Store, tmp_path: Path) -> None:
    store.export_everything(tmp_path / "all")
    store.deprecate("models/1", "old")
    store.note("models/2", metadata={"accuracy": 0.5}, file={"a.txt": b"a"})
    store.move_alias("inputs", "second", "inputs/1")
    store.remove_alias("inputs", "first")
    assert store.export_everything(tmp_path / "all").updated == 3
    top = tmp_path / "all/classes"
    assert read(top / "models/1/asset.json")["asset"]["status_reason"] == "old"
    assert read(top / "models/2/asset.json")["notes"][0]["metadata"] == {"accuracy": 0.5}
    assert [path.read_bytes() for path in (top / "models/2/notes").glob("*/a.txt")] == [b"a"]
    assert read(top / "inputs/1/asset.json")["asset"]["aliases"] == ["second"]
    assert [*read(top / "inputs/aliases.json")] == ["second"]


def test_deleted_assets(store: ama.Store, tmp_path: Path) -> None:
    store.export_everything(tmp_path / "all")
    store.delete("models/1", reason="wrong")
    store.export_everything(tmp_path / "all")
    kept = tmp_path / "all/classes/models/1"
    assert read(kept / "asset.json")["asset"]["status"] == "deleted"
    assert (kept / "files/n.txt").read_bytes() == b"0"
    store.export_everything(tmp_path / "later")
    late = tmp_path / "later/classes/models/1"
    assert read(late / "asset.json")["asset"]["status_reason"] == "wrong"
    assert read(late / "asset.json")["files"] == []
    assert not (late / "files").exists()
    store.delete("models/1", undo=True)
    result = store.export_everything(tmp_path / "later")
    assert [each.number for each in result.new] == [1]
    assert (late / "files/n.txt").read_bytes() == b"0"
    assert len(read(late / "asset.json")["files"]) == 3
    assert check_sums(tmp_path / "later") == 8


def test_beyond_a_checkpoint(store: ama.Store, tmp_path: Path) -> None:
    store.export_everything(tmp_path / "all")
    for number in range(140):
        store.move_alias("models", "tested", str(number % 2 + 1))
    store.publish("models", {"n.txt": b"3"})
    result = store.export_everything(tmp_path / "all")
    assert ([each.number for each in result.new], result.updated) == ([3], 1)
    history = [each["entry"] for each in lines(tmp_path / "all/classes/models/history.jsonl")]
    assert history == sorted(history)
    assert history[-1] == 146
    store.export_everything(tmp_path / "whole")
    assert tree_of(tmp_path / "whole") == tree_of(tmp_path / "all")


def test_a_file_that_was_changed_there_is_not_taken(store: ama.Store, tmp_path: Path) -> None:
    store.export_everything(tmp_path / "all")
    for name in ("models/1", "inputs/1"):
        path = tmp_path / f"all/classes/{name}/files/shared.txt"
        path.chmod(0o644)
        path.write_bytes(b"X" * len(SHARED))
        path.chmod(0o444)
    store.publish("models", {"shared.txt": SHARED})
    store.export_everything(tmp_path / "all")
    assert (tmp_path / "all/classes/models/3/files/shared.txt").read_bytes() == SHARED


# What is refused


def test_another_directory_is_left_alone(store: ama.Store, tmp_path: Path) -> None:
    place = tmp_path / "work"
    place.mkdir()
    (place / "mine.txt").write_text("work")
    with pytest.raises(AlreadyExists, match="is not empty"):
        store.export_everything(place)
    assert tree_of(place) == {"mine.txt": ("file", b"work")}
    for inside in (tmp_path / "store", tmp_path / "store/plain"):
        with pytest.raises(InvalidInput, match="in the store"):
            store.export_everything(inside)
    with pytest.raises(InvalidInput, match="directory of this machine"):
        store.export_everything("s3://bucket/all")


def test_another_store_or_history_is_refused(
    store: ama.Store, tmp_path: Path, counting: CountingStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tmp_path / "store", tmp_path / "backup")
    store.publish("models", {"n.txt": b"lost"})
    store.export_everything(tmp_path / "all")
    before = tree_of(tmp_path / "all")
    monkeypatch.undo()
    restored = ama.Store.open(tmp_path / "backup", settings=store.settings)
    with pytest.raises(Conflict, match="another history"):
        restored.export_everything(tmp_path / "all")
    restored.publish("models", {"n.txt": b"another"})
    with pytest.raises(Conflict, match="another history"):
        restored.export_everything(tmp_path / "all")
    restored.publish("models", {"n.txt": b"and more"})
    with pytest.raises(Conflict, match="another history"):
        restored.export_everything(tmp_path / "all")
    other = ama.Store.open(tmp_path / "other", create=True, settings=store.settings)
    with pytest.raises(AlreadyExists, match="another store"):
        other.export_everything(tmp_path / "all")
    assert tree_of(tmp_path / "all") == before


# Damage and crashes


def test_a_damaged_asset_is_named_and_tried_again(
    store: ama.Store, tmp_path: Path, run: Ama
) -> None:
    pack = max((tmp_path / "store/packs").rglob("*.pack"), key=lambda path: path.stat().st_size)
    whole = pack.read_bytes()
    flip(0.5)(pack)
    result = run("export", "--everything", "--to", "all", "--remote", str(tmp_path / "store"))
    assert result.code == 1
    assert "models/1 was passed over" in result.stderr
    top = tmp_path / "all"
    assert (top / "classes/inputs/1/files/rows.csv").exists()
    assert not (top / "classes/models/1").exists()
    assert read(top / "store.json")["entry"] == 0
    assert not [*top.rglob(".tmp-*")]
    pack.write_bytes(whole)
    assert run.ok("export", "--everything", "--to", "all", "--remote", str(tmp_path / "store"))
    assert check_sums(top) == 8
    assert read(top / "store.json")["entry"] == 5


def test_a_damaged_log_is_an_error(store: ama.Store, tmp_path: Path) -> None:
    flip(0.5)(tmp_path / "store/log/000000000002")
    damaged = ama.Store.open(tmp_path / "store", settings=cold(tmp_path))
    with pytest.raises(IntegrityError):
        damaged.export_everything(tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_a_process_that_dies_is_taken_over(
    store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Life()
    monkeypatch.setattr(fs, "_os", MortalSystem(counted, counts=True))
    store.export_everything(tmp_path / "whole")
    expected = tree_of(tmp_path / "whole")
    for calls in range(0, len(counted.calls), 3):
        place = tmp_path / str(calls)
        life = Life(calls)
        monkeypatch.setattr(fs, "_os", MortalSystem(life, counts=True))
        with pytest.raises(Died):
            store.export_everything(place)
        monkeypatch.setattr(fs, "_os", MortalSystem(Life(), counts=False))
        for asset in place.glob("classes/*/[0-9]*"):
            name = asset.relative_to(place).as_posix()
            there = {path for path in expected if path.startswith(f"{name}/")}
            assert {f"{name}/{path}" for path in tree_of(asset)} == there
        store.export_everything(place)
        found = {n: what for n, what in tree_of(place).items() if not n.startswith(".tmp-")}
        assert found.pop("B3SUMS")[0] == "file"
        assert found == {n: what for n, what in expected.items() if n != "B3SUMS"}
        check_sums(place)
        shutil.rmtree(place)


def test_the_command(run: Ama, store: ama.Store, tmp_path: Path) -> None:
    words = ["export", "--everything", "--to", "all", "--remote", str(tmp_path / "store")]
    assert "exported 3 new assets, 8 files" in run.ok(*words).output
    assert run.ok(*words, "--json").json()["new"] == []
    for more in (["models"], ["--refs"], ["--force"]):
        assert run(*words, *more).code == 2
    assert run("export", "--to", "x").code == 2
    for name in ("all.zip", "all.tar.zst", "all.7z"):
        wrong = run("export", "--everything", "--to", name, "--remote", str(tmp_path / "store"))
        assert wrong.code == 2
        assert f"{name}: a whole store is exported into a directory, not an archive" in wrong.stderr
        assert not (tmp_path / name).exists()
