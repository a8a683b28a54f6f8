"""What of another type is given from Python to a public method is an InvalidInput, or works."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ama import AlreadyExists, Asset, Conflict, InvalidInput, NotFound, Repo, Store
from conftest import isolate

WRONG = [None, 3, 2.5, object(), b"x", [3], [None], [b"x"], {3: 4}]
OWN = {"self", "settings", "progress"}

ENDLESS = {"keep_mirrored"}

GIVEN: dict[str, Any] = {
    "path": "a",
    "paths": "a",
    "name": "models/1",
    "asset": "models/1",
    "class_name": "models",
    "alias": "best",
    "to": "models/1",
    "old": "models/1",
    "new": "models/1",
    "reason": "why",
}
"""What a parameter that is needed gets, while another one is wrong."""


def methods() -> Iterator[tuple[type, str, str]]:
    """Yield each public method with each of its parameters."""
    for owner in (Repo, Store, Asset):
        for name, _ in inspect.getmembers(owner, callable):
            if name.startswith("_"):
                continue
            for parameter in inspect.signature(getattr(owner, name)).parameters.values():
                if parameter.name not in OWN:
                    yield owner, name, parameter.name


World = tuple[Repo, Store, Asset]


def make_world(place: Path) -> World:
    """Make a worktree with one file, published."""
    repo = Repo.init(place / "work", "models")
    (repo.root / "a").write_text("a", encoding="utf-8")
    repo.add("a")
    repo.set(aliases="best")
    repo.upload(remote=str(place / "store"))
    store = Store.open(place / "store")
    return repo, store, store.resolve("models/1")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world that many tests change: what is in it, and where, nobody knows."""
    place = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        isolate(place / "home", patch)
        yield make_world(place)


@pytest.mark.parametrize(("owner", "method", "parameter"), list(methods()))
def test_another_type_is_invalid_input_or_works(
    world: World,
    owner: type,
    method: str,
    parameter: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    on = next(each for each in world if isinstance(each, owner))
    signature = inspect.signature(getattr(on, method))
    needed = [
        each.name
        for each in signature.parameters.values()
        if each.default is each.empty and each.kind is not each.VAR_POSITIONAL
    ]
    for wrong in WRONG:
        given = {name: GIVEN.get(name, "models/1") for name in needed}
        given["url"] = str(tmp_path / "new")
        given = {name: value for name, value in given.items() if name in needed}
        given[parameter] = wrong
        positional = [wrong, wrong] if parameter == "names" else []
        given.pop("names", None)
        # Any other error, such as an AttributeError from deep inside, fails the test.
        with suppress(InvalidInput, NotFound, Conflict, AlreadyExists):
            result = getattr(on, method)(*positional, **given)
            if isinstance(result, Iterator) and method not in ENDLESS:
                list(result)


def test_paths_work_wherever_a_path_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(tmp_path / "home", monkeypatch)
    repo, store, asset = make_world(tmp_path)
    assert Store.open(Path(store.url)).id == store.id
    assert Repo.open(Path(repo.root)).root == repo.root
    repo.add(Path("a"))
    repo.add(path for path in [repo.root / "a"])
    assert repo.diff(paths=Path("a")) == ()
    assert repo.is_tracked(Path("a"))
    assert store.download("models/1", tmp_path / "one").files == 1
    assert asset.download(tmp_path / "two").files == 1
    assert len(store.find(repo.root / "a")) == 1
