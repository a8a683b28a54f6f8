"""Stores, assets and values travel to other processes: as URLs and ids, never with a credential."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest

import ama

FILES = {"model.txt": b"weights", "metrics.json": b'{"loss": 0.25}'}

READ = """
import pickle, sys
for asset in pickle.load(open(sys.argv[1], "rb")):
    with asset.open("model.txt") as file:
        print(asset.info.number, file.read().decode(), sorted(f.path for f in asset.files()))
"""


@pytest.fixture
def store(tmp_path: Path) -> ama.Store:
    repo = ama.Repo.init(tmp_path / "work", "models")
    for path, data in FILES.items():
        (repo.root / path).write_bytes(data)
    repo.add(["."])
    repo.set(aliases=["best"], metadata={"kind": "tiny"})
    repo.upload(remote=str(tmp_path / "store"))
    return ama.Store.open(tmp_path / "store")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_store_and_an_asset_open_again_where_they_arrive(store: ama.Store, protocol: int) -> None:
    asset = store.resolve("models@best")
    for there in (store, store.snapshot()):
        arrived = pickle.loads(pickle.dumps(there, protocol))
        assert (arrived.url, arrived.id) == (store.url, store.id)
        assert arrived.resolve("models").read("model.txt") == b"weights"
    there = pickle.loads(pickle.dumps(asset, protocol))
    assert there.info == asset.info
    assert there.read("model.txt") == b"weights"
    for again in (copy.copy(asset), copy.deepcopy(asset)):
        assert again.info == asset.info


def test_they_travel_to_a_fresh_process(store: ama.Store, tmp_path: Path) -> None:
    file = tmp_path / "sent"
    file.write_bytes(pickle.dumps([store.resolve("models@best"), store.resolve("models/1")]))
    done = subprocess.run(
        [sys.executable, "-c", READ, str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == ["1 weights ['metrics.json', 'model.txt']"] * 2


def test_an_asset_that_was_deleted_meanwhile_arrives_as_such(store: ama.Store) -> None:
    sent = pickle.dumps(store.resolve("models/1"))
    store.delete("models/1", reason="wrong labels", force=True)
    arrived = pickle.loads(sent)
    assert arrived.info.status == "deleted"
    with pytest.raises(ama.NotFound):
        arrived.open("model.txt")


def test_a_store_that_is_gone_says_so_where_it_arrives(store: ama.Store, tmp_path: Path) -> None:
    sent = pickle.dumps(store)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    with pytest.raises(ama.AmaError, match="gone"):
        pickle.loads(sent)


def test_what_travels_is_small_and_holds_no_login(
    store: ama.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
    for each in (store, store.resolve("models")):
        sent = pickle.dumps(each)
        assert len(sent) < 1000
        assert b"hunter2" not in sent
        assert b"Ann" not in sent


@pytest.mark.parametrize(
    "options",
    [
        {"store": "s3://key:hunter2@bucket/ama"},
        {"store": "s3://bucket/ama?secret=hunter2"},
        {"store": "s3://bucket/ama", "target_options": {"secret": "hunter2"}},
        {"store": "s3://bucket/ama", "secret": "hunter2"},
        {"fo": "bucket/ama", "target_protocol": "s3", "target_options": {"key": "hunter2"}},
        {"fo": "key:hunter2@bucket/ama", "target_protocol": "s3"},
    ],
)
def test_a_file_system_with_a_login_is_never_made(options: dict[str, Any]) -> None:
    """It would be pickled with all that it was given, whatever becomes of it."""
    import fsspec

    with pytest.raises(ama.InvalidInput, match=r"credential|password") as caught:
        fsspec.filesystem("ama", **options)
    assert "hunter2" not in str(caught.value)


def test_values_can_be_pickled_and_copied(store: ama.Store, tmp_path: Path) -> None:
    repo = ama.Repo.open(tmp_path / "work")
    (repo.root / "model.txt").write_bytes(b"new weights")
    added = repo.add(["."])
    asset = store.resolve("models")
    values = [
        added,
        repo.status(),
        asset.info,
        asset.files(),
        asset.summary(),
        asset.lineage(),
        store.classes(),
        store.find(name="*.txt"),
        store.compare("models/1", "models/1"),
        store.leaderboard("models"),
        repo.upload(),
        store.diff("models/1", "models/2"),
        list(store.diff_contents("models/1", "models/2")),
        store.fsck(),
        store.download("models/2", tmp_path / "copy"),
    ]
    for value in values:
        for again in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value)):
            assert again == value
            assert is_dataclass(again) == is_dataclass(value)


def test_errors_travel_too(store: ama.Store) -> None:
    with pytest.raises(ama.NotFound) as refused:
        store.resolve("modls")
    again = pickle.loads(pickle.dumps(refused.value))
    assert type(again) is ama.NotFound
    assert (again.message, again.hints) == (refused.value.message, refused.value.hints)


def test_dask_tells_them_apart(store: ama.Store) -> None:
    asset, again = store.resolve("models@best"), store.resolve("models/1")
    assert asset.__dask_tokenize__() == again.__dask_tokenize__()
    assert asset.__dask_tokenize__() != store.__dask_tokenize__()
