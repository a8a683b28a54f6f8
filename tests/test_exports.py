"""The public face: what `ama` exports can be imported, is documented, and stands in docs/api.md."""

from __future__ import annotations

import dataclasses
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import ama

PROJECT = Path(__file__).parent.parent
API = PROJECT / "docs" / "api.md"

each_export = pytest.mark.parametrize("name", sorted(ama.__all__))


def is_value(thing: object) -> bool:
    """Values and errors say it all in their fields: they need a docstring, but no example."""
    return isinstance(thing, type) and (
        dataclasses.is_dataclass(thing) or issubclass(thing, BaseException)
    )


def documented_members(name: str) -> Iterator[tuple[str, Any, bool]]:
    """Each function, class and method that needs a docstring, and whether with an example."""
    thing = getattr(ama, name)
    if isinstance(thing, FunctionType):
        yield name, thing, True
    if not isinstance(thing, type):
        return
    yield name, thing, not is_value(thing) and not getattr(thing, "_is_protocol", False)
    for member_name, member in vars(thing).items():
        if member_name.startswith("_"):
            continue
        if isinstance(member, classmethod | staticmethod):
            member = member.__func__
        if isinstance(member, FunctionType):
            example = not is_value(thing) and not getattr(thing, "_is_protocol", False)
            yield f"{name}.{member_name}", member, example
        elif isinstance(member, property):
            yield f"{name}.{member_name}", member, False


def test_all_has_no_twins() -> None:
    assert len(ama.__all__) == len(set(ama.__all__))


@each_export
def test_an_export_can_be_imported(name: str) -> None:
    namespace: dict[str, object] = {}
    exec(f"from ama import {name}", namespace)
    assert namespace[name] is getattr(ama, name)
    assert not name.startswith("_") or name == "__version__"


def test_dir_shows_the_exports() -> None:
    assert set(ama.__all__) <= set(dir(ama))


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = ama.no_such_thing  # type: ignore[attr-defined]


def test_the_version_is_the_project_s() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert ama.__version__ == project["version"]


def test_the_main_classes_are_exported() -> None:
    assert {"Repo", "Store", "Asset", "AssetInfo", "AmaError"} <= set(ama.__all__)


@each_export
def test_everything_public_is_documented(name: str) -> None:
    missing = []
    for where, member, example in documented_members(name):
        text = inspect.getdoc(member) if not isinstance(member, type) else member.__doc__
        if not text or text.startswith(f"{name}("):  # a dataclass's own signature is no text
            missing.append(f"{where} has no docstring")
        elif example and not re.search(r"^\s*Examples?:\s*$", text, re.MULTILINE):
            missing.append(f"{where} has no Example")
        elif example and ">>> " not in text:
            missing.append(f"{where}'s Example has no >>> that can be run")
    assert not missing, "\n".join(missing)


@each_export
def test_everything_public_has_types(name: str) -> None:
    missing = []
    for where, member, _ in documented_members(name):
        if not isinstance(member, FunctionType):
            continue
        signature = inspect.signature(member)
        parameters = [p for p in signature.parameters.values() if p.name not in {"self", "cls"}]
        missing += [f"{where}: {p.name}" for p in parameters if p.annotation is p.empty]
        if signature.return_annotation is signature.empty:
            missing.append(f"{where}: its result")
    assert not missing, "\n".join(missing)


@pytest.mark.skipif(not API.exists(), reason="docs/api.md is not there")
class TestApiPage:
    text = API.read_text(encoding="utf-8") if API.exists() else ""

    @each_export
    def test_it_names_each_export(self, name: str) -> None:
        assert re.search(rf"\b{re.escape(name)}\b", self.text), (
            f"docs/api.md doesn't mention {name}"
        )

    def test_it_names_each_method_of_the_main_classes(self) -> None:
        missing = [
            where
            for name in ("Repo", "Store", "Asset")
            for where, _, _ in documented_members(name)
            if "." in where and not re.search(rf"\b{where.partition('.')[2]}\b", self.text)
        ]
        assert not missing

    @pytest.mark.parametrize("name", ["Repo", "Store", "Asset"])
    def test_its_signatures_are_those_of_the_methods(self, name: str) -> None:
        """But for `settings` and `progress`, which the text says once for all that open."""
        _, _, section = self.text.partition(f"\n## {name}\n")
        section = section.partition("\n## ")[0]
        found = re.findall(rf"`(?:{name}\.)?([a-z_]+)(\([^`]*\))", section)
        assert found
        wrong = []
        for method, said in found:
            there = inspect.signature(getattr(getattr(ama, name), method)).parameters.values()
            known = {"self", "settings", "progress"}
            left = [p.replace(annotation=p.empty) for p in there if p.name not in known]
            expected = str(inspect.Signature(left)).replace("'", '"')
            if " ".join(said.split()) != expected:
                wrong.append(f"{method}{said} is {method}{expected}")
        assert not wrong, "\n".join(wrong)

    def test_it_names_nothing_that_is_not_there(self) -> None:
        wrong = []
        for owner, member in re.findall(r"\b(ama|Repo|Store|Asset)\.([a-z_A-Z]+)\b", self.text):
            thing = ama if owner == "ama" else getattr(ama, owner)
            fields = getattr(thing, "__dataclass_fields__", {})
            annotated = getattr(thing, "__annotations__", {})
            if not hasattr(thing, member) and member not in fields and member not in annotated:
                wrong.append(f"{owner}.{member}")
        # `ama.errors` and the like are modules, which need not be imported yet.
        modules = {f"ama.{path.stem}" for path in (PROJECT / "src" / "ama").iterdir()}
        assert sorted(set(wrong) - modules) == []


@pytest.fixture
def repo(tmp_path: Path) -> ama.Repo:
    """A worktree of two files, and nothing staged."""
    made = ama.Repo.init(tmp_path / "work", "models")
    for name in ("a.txt", "b.bin"):
        (made.root / name).write_text(name)
    return made


def test_a_text_or_a_path_alone_is_one(repo: ama.Repo, tmp_path: Path) -> None:
    """And not its letters, of which each would be a file, a glob or an alias of its own."""
    assert [change.path for change in repo.add("a.txt").changes] == ["a.txt"]
    assert [change.path for change in repo.add(Path("b.bin")).changes] == ["b.bin"]
    assert repo.set(aliases="best", metadata={"loss": 1}).aliases == ("best",)
    assert dict(repo.set(unset="loss").metadata) == {}
    repo.upload()
    (repo.root / "a.txt").write_text("changed")
    assert [change.path for change in repo.diff(paths="a.txt")] == ["a.txt"]
    assert repo.diff(paths=Path("b.bin")) == ()
    assert repo.restore(Path("a.txt"), force=True).restored == ("a.txt",)
    assert repo.remove("b.bin").removed == ("b.bin",)
    store = repo.store()
    assert store.download("models@best", tmp_path / "1", include="*.txt").files == 1
    assert store.download("models@best", tmp_path / "2", exclude="*.txt").files == 1
    assert store.resolve("models").download(tmp_path / "3", include="*.bin").files == 1


def test_a_log_of_no_asset_is_refused(repo: ama.Repo) -> None:
    repo.add(".")
    repo.upload()
    for limit in (0, -1):
        with pytest.raises(ama.InvalidInput, match="leaves nothing"):
            repo.log(limit=limit)
        with pytest.raises(ama.InvalidInput, match="leaves nothing"):
            repo.store().log("models", limit=limit)
    assert len(repo.log(limit=1)) == len(repo.store().log("models", limit=1)) == 1


def test_an_alias_alone_is_looked_up_in_the_class_that_is_given(repo: ama.Repo) -> None:
    repo.add(".")
    repo.set(aliases="best")
    repo.upload()
    store = repo.store()
    assert store.resolve("best", class_name="models").info.number == 1
    assert store.resolve("models", class_name="models").info.number == 1
    with pytest.raises(ama.NotFound, match="there is no class datasets"):
        store.resolve("best", class_name="datasets")


def test_help_shows_no_address_of_a_default() -> None:
    assert " object at 0x" not in str(inspect.signature(ama.Repo.init))
