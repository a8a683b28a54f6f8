"""`upload --once`: whatever runs twice, or at the same time, publishes one asset."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ama

SCRIPT = """
import sys, ama
from pathlib import Path
root, store = sys.argv[1:]
Path(root).mkdir()
Path(root, "model.h5").write_text("weights")
repo = ama.Repo.init(root, "models")
repo.add("model.h5")
repo.set(metadata={"epochs": 3}, aliases=["best"])
print(sys.stdin.readline(), repo.upload(remote=store, once=True).asset.id)
"""


def make(root: Path, text: str = "weights", **noted: object) -> ama.Repo:
    root.mkdir(exist_ok=True)
    (root / "model.h5").write_text(text)
    repo = ama.Repo.init(root, "models")
    repo.add("model.h5")
    repo.set(**noted)  # type: ignore[arg-type]
    return repo


def test_a_retry_anywhere_takes_the_first(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    first = make(tmp_path / "a", metadata={"n": 1}).upload(remote=store, once=True)
    assert first.asset is not None
    assert len(first.published) == 1
    assert not first.again
    for place in ("a", "b"):
        repo = make(tmp_path / place, metadata={"n": 1}, aliases=[place])
        found = repo.upload(remote=store, message="again", once=True)
        assert found.asset is not None
        assert found.asset.id == first.asset.id
        assert found.again
        assert found.published == ()
        assert [change.alias for change in found.aliases] == [place]
        assert repo.head is not None
        assert repo.head.id == first.asset.id
        assert repo.status().clean
        assert not repo.noted().aliases
        assert repo.upload(once=True).published == ()
    assert len(ama.Store.open(store).assets("models")) == 1


def test_what_says_something_else_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = str(tmp_path / "store")
    monkeypatch.setenv("AMA_REMOTE", store)
    make(tmp_path / "a", metadata={"n": 1}).upload(remote=store)
    others: list[tuple[str, dict[str, object]]] = [
        ("other", {"n": 1}),
        ("weights", {"n": 2}),
        ("weights", {"n": True}),
        ("weights", {}),
    ]
    for at, (text, metadata) in enumerate(others):
        repo = make(tmp_path / f"b{at}", text, metadata=metadata)
        assert len(repo.upload(remote=store, once=True).published) == 1
    make(tmp_path / "inputs", "inputs").upload(remote=store)
    linked = make(tmp_path / "c", metadata={"n": 1})
    linked.link(ama.Store.open(store).resolve("models").info.id)
    assert len(linked.upload(remote=store, once=True).published) == 1
    assert len(ama.Store.open(store).assets("models")) == 3 + len(others)


def test_a_deleted_asset_does_not_count(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    make(tmp_path / "a").upload(remote=store)
    ama.Store.open(store).delete("models/1", reason="wrong")
    again = make(tmp_path / "b").upload(remote=store, once=True)
    assert again.asset is not None
    assert again.asset.number == 2


def test_eight_at_the_same_time_publish_one(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    make(tmp_path / "first", "unlike").upload(remote=store)
    line = [sys.executable, "-c", SCRIPT]
    running = [
        subprocess.Popen(
            [*line, str(tmp_path / f"w{at}"), store],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for at in range(8)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=120)[0] for process in running]
    assert all(process.returncode == 0 for process in running)
    assert len({text.split()[-1] for text in told}) == 1
    assets = ama.Store.open(store).assets("models")
    assert [asset.number for asset in assets] == [2, 1]
    assert assets[0].aliases == ("best",)


def test_what_a_user_says_under_a_name_like_gits_counts(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    make(tmp_path / "a", metadata={"git.tag": "v1"}).upload(remote=store, once=True)
    again = make(tmp_path / "b", metadata={"git.tag": "v1"}).upload(remote=store, once=True)
    assert again.again
    for at, metadata in enumerate(({"git.tag": "v2"}, {}, {"git.tag": "v1", "git.worktree": "x"})):
        other = make(tmp_path / f"c{at}", metadata=metadata).upload(remote=store, once=True)
        assert len(other.published) == 1
