"""What the words of a command line mean: commas, globs, assets with paths, metadata."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ama.cli.arguments import expand_paths, parse_metadata, parse_scalar, split_asset_path
from ama.errors import InvalidInput, NotFound
from ama.wording.hints import words


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("a.yml", "b.yml", "c.txt", "d,", "e", "e,", "x,y", "x", "[1].txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "f.yml").write_bytes(b"")
    return tmp_path


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("line", "paths"),
    [
        (["a.yml"], ["a.yml"]),
        (["a.yml,", "b.yml,", "c.txt"], ["a.yml", "b.yml", "c.txt"]),
        (["a.yml,b.yml,c.txt"], ["a.yml", "b.yml", "c.txt"]),
        (["a.yml,b.yml,"], ["a.yml", "b.yml"]),
        (["a.yml", ",", "b.yml"], ["a.yml", "b.yml"]),
        (["a.yml,missing"], ["a.yml,missing"]),
        # A file that is really called so wins.
        (["d,"], ["d,"]),
        (["e,"], ["e,"]),
        (["x,y"], ["x,y"]),
        # What is missing is named without its comma.
        (["missing,"], ["missing"]),
        (["missing"], ["missing"]),
        (["*.yml"], ["a.yml", "b.yml"]),
        (["*.yml,"], ["a.yml", "b.yml"]),
        (["*.yml,c.txt"], ["a.yml", "b.yml", "c.txt"]),
        (["**/*.yml"], ["a.yml", "b.yml", "sub/f.yml"]),
        (["[1].txt"], ["[1].txt"]),
        (["sub"], ["sub"]),
        (["sub,"], ["sub"]),
        (["a.yml", "a.yml,"], ["a.yml"]),
    ],
    ids=str,
)
def test_expand_paths(line: list[str], paths: list[str]) -> None:
    assert [path.replace("\\", "/") for path in expand_paths(line)] == paths


@pytest.mark.usefixtures("files")
def test_a_glob_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(NotFound, match=r"no file matches '\*\.bin'"):
        expand_paths(["a.yml", "*.bin"])


def test_a_broken_symlink_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "link,").symlink_to("nowhere")
    assert expand_paths(["link,"]) == ["link,"]


@given(st.lists(st.text(st.characters(exclude_characters=",*?[\0", codec="utf-8"), min_size=1)))
def test_words_without_commas_and_globs_stay_as_they_are(words: list[str]) -> None:
    assert expand_paths(words) == list(dict.fromkeys(words))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("0.5", 0.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("true", True),
        ("false", False),
        ("True", "True"),
        ("007", "007"),
        ("1_000", "1_000"),
        ("1,5", "1,5"),
        ("0x10", "0x10"),
        ("inf", "inf"),
        ("nan", "nan"),
        ("-", "-"),
        (".", "."),
        ("e5", "e5"),
        (".e5", ".e5"),
        ("", ""),
        ("3 ", "3 "),
        ("3\n", "3\n"),
        ("٣", "٣"),
        ("v1.0.1", "v1.0.1"),
    ],
)
def test_parse_scalar(text: str, value: object) -> None:
    found = parse_scalar(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", [str(2**64), str(-(2**63) - 1), "9" * 5000, "1e400"])
def test_a_number_that_no_metadata_holds_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is too large for a number") as refused:
        parse_scalar(text)
    assert "--meta-str" in (words(refused.value.hints) or "")
    assert len(str(refused.value)) < 80


@given(
    st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
)
def test_numbers_are_read_as_python_writes_them(value: float | bool) -> None:
    text = str(value).lower()
    assert parse_scalar(text) == value
    assert type(parse_scalar(text)) is type(value)


def test_parse_metadata() -> None:
    assert parse_metadata(["a=1", "b==x=", "c="], ["d=1"]) == {
        "a": 1,
        "b": "=x=",
        "c": "",
        "d": "1",
    }
    assert parse_metadata([" lr = 0.1 ", "note= a b"], ["as = is "]) == {
        "lr": 0.1,
        "note": "a b",
        "as": " is ",
    }
    for wrong in ("novalue", "=1", "", " =1"):
        with pytest.raises(InvalidInput):
            parse_metadata([wrong], [])
    with pytest.raises(InvalidInput, match="twice"):
        parse_metadata(["a=1"], ["a=2"])


def test_split_asset_path() -> None:
    assert split_asset_path("model.yml") == ("HEAD", "model.yml")
    assert split_asset_path(":model.yml") == ("HEAD", "model.yml")
    assert split_asset_path("models@best:a:b") == ("models@best", "a:b")
