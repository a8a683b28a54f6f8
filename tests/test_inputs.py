"""What Python gives to public methods and becomes part of an asset is checked when it is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

import ama
from ama import InvalidInput, Repo
from conftest import Ama


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """A worktree that has uploaded models/1."""
    (tmp_path / "a").write_text("a", encoding="utf-8")
    repo = Repo.init(tmp_path, "models")
    repo.add("a")
    repo.upload()
    return repo


WRONG: list[tuple[Callable[[Any], object], str]] = [
    (lambda repo: repo.set(message=3), "the message is a text, not of type int"),
    (lambda repo: repo.set(message="\udcff"), "the message isn't valid Unicode"),
    (lambda repo: repo.set(message="é" * 33_000), "the message has more than 64 KiB"),
    (lambda repo: repo.commit(3), "the message is a text"),
    (lambda repo: repo.upload(message=3), "the message is a text"),
    (lambda repo: repo.set(metadata=["a"]), "metadata is a mapping"),
    (lambda repo: repo.set(metadata={"a": None}), "metadata 'a' is neither a text"),
    (lambda repo: repo.set(metadata={3: "a"}), "metadata 3: a name has 1 to 200 bytes"),
    (lambda repo: repo.set(metadata={"a": "\udcff"}), "metadata 'a' isn't valid Unicode"),
    (lambda repo: repo.set(metadata={"\udcff": "a"}), "metadata '.udcff' isn't valid Unicode"),
    (lambda repo: repo.set(aliases=[3]), "3 is neither a text nor a path"),
    (lambda repo: repo.link("models/1", label=3), "the label is a text"),
    (lambda repo: repo.link(3), "the asset's name is a text"),
    (lambda repo: repo.switch(3), "3 names no asset"),
    (lambda repo: repo.resolve(None), "None names no asset"),
    (lambda repo: Repo.init(repo.root, 3), "'3' can't be the name of a class"),  # type: ignore[arg-type]
    (lambda repo: repo.store().resolve(7), "7 names no asset"),
    (lambda repo: ama.compare("models/1", "models/1"), "an Asset is compared, not 'models/1'"),  # type: ignore[arg-type]
    (
        lambda repo: repo.store().resolve("models").changes_from("models/1"),
        "an Asset is compared, not 'models/1'",
    ),
    (lambda repo: repo.store().copy("models/1", "/x"), "to a Store, not to '/x'"),
]


@pytest.mark.parametrize(("give", "error"), WRONG, ids=[error for _, error in WRONG])
def test_what_can_be_in_no_asset_is_refused_at_once(
    give: Callable[[Any], object], error: str, repo: Repo
) -> None:
    with pytest.raises(InvalidInput, match=error):
        give(repo)
    status = repo.status()
    assert status.clean
    assert repo.head is not None
    assert repo.head.number == 1


def test_a_metric_may_be_no_number(repo: Repo, run: Ama) -> None:
    repo = Repo.init(repo.root, "reports")
    repo.add("a")
    repo.set(metadata={"loss": float("nan"), "most": float("inf")})
    assert repo.upload().asset.number == 1
    assert repo.upload().published == ()
    shown = run.ok("show", "HEAD", "--json", cwd=repo.root).json()
    assert shown["metadata"] == {"loss": "NaN", "most": "Infinity"}
    assert repo.switch("models/1").new.number == 1
    assert repo.switch("reports/1").new.number == 1
    repo.set(metadata={"loss": float("nan")})
    assert run("switch", "models/1", cwd=repo.root).code == 5, "that is set, and would be lost"
    assert repo.switch("models/1", force=True).new.number == 1


def test_metadata_may_be_numbers_of_numpy(repo: Repo) -> None:
    given = {
        "loss": numpy.float64(0.25),
        "rate": numpy.float32(0.5),
        "epochs": numpy.int64(12),
        "frozen": numpy.bool_(True),
        "best": numpy.array(0.75),
    }
    noted = repo.set(metadata=given).metadata  # type: ignore[arg-type]
    assert noted == {"loss": 0.25, "rate": 0.5, "epochs": 12, "frozen": True, "best": 0.75}
    assert {type(value) for value in noted.values()} == {float, int, bool}
    with pytest.raises(InvalidInput, match="neither a text"):
        repo.set(metadata={"history": numpy.array([0.5, 0.25])})  # type: ignore[dict-item]
