"""Names as they are printed can be typed, and their parts are checked against each other."""

from __future__ import annotations

from pathlib import Path

import pytest

import ama
from ama.errors import Conflict, InvalidInput, NotFound
from conftest import Ama


@pytest.fixture
def repo(tmp_path: Path, home: Path) -> ama.Repo:
    work = tmp_path / "w"
    work.mkdir()
    repo = ama.Repo.init(work, "bc_models")
    for text in ("a", "b"):
        (work / "f").write_text(text)
        repo.add(["f"] if Path.cwd() == work else [work / "f"])
        repo.set(aliases=["best"])
        repo.upload()
    return repo


def test_a_printed_name_is_a_name(repo: ama.Repo) -> None:
    store = ama.Store.default()
    one, two = store.resolve("bc_models/1"), store.resolve("bc_models/2")
    short = one.info.id[:10]
    for name in (
        f"bc_models/1 ({short})",
        f"bc_models/1 ({one.info.id})",
        f"bc_models ({short})",
        f"bc_models/1 ({short.upper()}) @best",
        f"bc_models/1 ({short}) @best, @other",
        "bc_models/1 @best",
        f"bc_models/2 ({two.info.id[:10]})~1",
    ):
        assert store.resolve(name).info.id == one.info.id, name
        assert repo.log(name)[0].id == one.info.id, name


def test_parts_that_disagree_are_refused(repo: ama.Repo) -> None:
    store = ama.Store.default()
    short = store.resolve("bc_models/1").info.id[:10]
    with pytest.raises(Conflict, match=r"is bc_models/1 in .*, not bc_models/2"):
        store.resolve(f"bc_models/2 ({short})")
    with pytest.raises(Conflict):
        repo.log(f"bc_models/2 ({short})")
    with pytest.raises(NotFound):
        store.resolve(f"others/1 ({short})")
    with pytest.raises(NotFound):
        store.resolve("bc_models/1 (0123456789)")
    for name in ("bc_models (best)", "bc_models @", "bc models", f"bc_models/1 ({short}", "a b/1"):
        with pytest.raises(InvalidInput):
            store.resolve(name)


def test_the_command_line_takes_them_too(repo: ama.Repo, run: Ama) -> None:
    short = ama.Store.default().resolve("bc_models/1").info.id[:10]
    told = run.ok("show", f"bc_models/1 ({short}) @best", cwd=repo.root)
    assert short in told.output
