"""A worktree and its store answer alike: what reads assets from either needs no third thing."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ama
from ama.errors import InvalidInput, NotFound
from ama.stores.remote import Remote
from conftest import Ama
from counting_storage import CountingStorage

LARGE = bytes(range(256)) * 2_000
READING = ("classes", "assets", "history", "log", "summary", "files", "file", "read")
NAMES = ("models", "models/1", "models/2", "models@best", "models~1", "models@best~0")

Question = Callable[[Any], object]


@pytest.fixture
def repo(tmp_path: Path) -> ama.Repo:
    """A worktree with three assets, of which the second was switched to."""
    data = ama.Repo.init(tmp_path / "data", "inputs")
    (data.root / "rows.csv").write_text("1,2\n", encoding="utf-8")
    data.add(["rows.csv"])
    data.upload()
    work = ama.Repo.init(tmp_path / "work", "models")
    (work.root / "sub").mkdir()
    (work.root / "sub" / "large").write_bytes(LARGE)
    for number in (1, 2, 3):
        (work.root / "metrics.json").write_text(f'{{"loss": 0.{number}}}', encoding="utf-8")
        work.add(["metrics.json", "sub"])
        work.link("inputs/1", label="rows")
        work.set(aliases=["best"] if number < 3 else [], metadata={"step": number})
        work.upload(message=f"try {number}")
    work.switch("models/2")
    return work


@pytest.fixture
def store(repo: ama.Repo) -> ama.Store:
    return repo.store()


@pytest.mark.parametrize("method", READING)
def test_both_are_asked_in_the_same_way(method: str) -> None:
    """Only that a worktree has a HEAD, so that no name means that, is its own."""
    of_repo, of_store = (inspect.signature(getattr(face, method)) for face in (ama.Repo, ama.Store))
    head = [
        parameter.replace(default=parameter.empty) if parameter.default == "HEAD" else parameter
        for parameter in of_repo.parameters.values()
    ]
    assert of_repo.replace(parameters=head) == of_store


@pytest.mark.parametrize("name", NAMES)
def test_an_asset_is_the_same_from_both(repo: ama.Repo, store: ama.Store, name: str) -> None:
    found = repo.summary(name)
    assert found == store.summary(name)
    assert [fact.key for fact in found.metrics] == ["loss"]
    assert found.asset == repo.resolve(name) == store.resolve(name).info
    assert [file.path for file in found.files] == ["metrics.json", "sub/large"]
    assert repo.files(name) == store.files(name) == found.files
    assert repo.files(name, "sub") == store.files(name, "sub") == found.files[1:]
    for file in found.files:
        assert repo.file(name, file.path) == store.file(name, file.path) == file
        pieces = b"".join(repo.read(name, file.path))
        assert pieces == b"".join(store.read(name, file.path))
        assert len(pieces) == file.size
    # Of what isn't this asset alone, a worktree doesn't read how large it is.
    assert repo.log(name) == [replace(info, size=None) for info in store.log(name)]
    assert [info.id for info in repo.log(name, limit=1)] == [found.asset.id]


def test_what_there_is_is_the_same_from_both(repo: ama.Repo, store: ama.Store) -> None:
    assert repo.classes() == store.classes()
    assert [info.number for info in repo.assets("models")] == [3, 2, 1]
    store.delete("models/3", reason="diverged")
    assert repo.assets("models") == store.assets("models")
    assert repo.history("models") == store.history("models")
    assert [info.number for info in store.history("models")] == [3, 2, 1]


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda it: it.files("models/9"), NotFound),
        (lambda it: it.summary("models@worst"), NotFound),
        (lambda it: it.read("nothing", "metrics.json"), NotFound),
        (lambda it: it.files("models/1", "nowhere"), NotFound),
        (lambda it: it.read("models/1", "nowhere"), NotFound),
        (lambda it: it.file("models/1", "sub"), InvalidInput),
        (lambda it: it.read("models/1", "sub"), InvalidInput),
        (lambda it: it.files("a b"), InvalidInput),
        (lambda it: it.files("models/3"), NotFound),
        (lambda it: it.read("models/3", "metrics.json"), NotFound),
        (lambda it: it.file("models/3", "metrics.json"), NotFound),
    ],
)
def test_both_refuse_the_same(
    repo: ama.Repo, store: ama.Store, ask: Question, error: type[Exception]
) -> None:
    store.delete("models/3", reason="diverged")
    repo.fetch()
    for face in (repo, store):
        with pytest.raises(error):
            ask(face)


def test_a_summary_of_a_store_takes_one_look_at_its_log(store: ama.Store) -> None:
    """What is published between two looks would be in one half of it."""
    storage = CountingStorage(store.remote.storage)
    asked = ama.Store(Remote.open(storage, store.settings.cache_dir), store.settings)
    asked.summary("models/1")
    storage.reset()
    asked.summary("models/1")
    assert len([names for _, names in storage.log if names[0].startswith("log/")]) == 1


COMMANDS = (
    ("log", "models/2"),
    ("log", "models"),
    ("show", "models@best"),
    ("show", "models/1:metrics.json"),
    ("ls", "models/1"),
    ("ls", "models~1", "sub"),
    ("cat", "models/1:metrics.json"),
    ("list",),
    ("list", "models", "--all"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_prints_the_same_from_both(
    repo: ama.Repo, run: Ama, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(repo.root)
    here = run.ok(*command).stdout
    assert here == run.ok(*command, "--remote", repo.remote_url).stdout
    monkeypatch.chdir(repo.root.parent)
    assert here == run.ok(*command).stdout
    assert here


def test_head_means_the_worktree_s_in_a_store_that_is_named(
    repo: ama.Repo, run: Ama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repo.root)
    for name, number in (("HEAD", 2), ("HEAD~1", 1), ("@best", 2)):
        for options in ((), ("--remote", repo.remote_url)):
            shown = json.loads(run.ok("show", "--json", name, *options).stdout)
            assert shown["number"] == number
    monkeypatch.chdir(repo.root.parent)
    for command in (("show", "HEAD"), ("ls",), ("cat", "metrics.json"), ("cat", "HEAD")):
        assert "there is no worktree here" in run(*command).stderr
