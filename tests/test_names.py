"""Names: what is refused everywhere, what some system can't hold, and what looks alike to one."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ama.errors import InvalidInput
from ama.format.names import (
    check_alias,
    check_class,
    check_name,
    fold_name,
    is_control_directory,
    nearest,
    twins,
    unportable_reason,
)

LABELS = ["a", "A1", "sequence_models", "v1.2", "x-y", "0", "7even", "abcdef", "m" * 100, "head"]
NOT_LABELS = [
    *("", " ", "a b", ".a", "-a", "_a", "a/b", "a@b", "a~1", "ä", "a\n", "a" * 101, "HEAD"),
    *("abcdef0", "1234567", "ABCDEF0", "deadbeef", "a" * 64),
]


@pytest.mark.parametrize("text", LABELS)
def test_a_class_may_be_called_so(text: str) -> None:
    assert check_class(text) == text


@pytest.mark.parametrize("text", NOT_LABELS)
def test_neither_a_class_nor_an_alias_may_be_called_so(text: str) -> None:
    with pytest.raises(InvalidInput, match="can't be the name of a class"):
        check_class(text)
    with pytest.raises(InvalidInput, match="can't be the name of an alias"):
        check_alias(text)


def test_a_number_is_no_alias_but_may_be_a_class() -> None:
    assert check_class("42") == "42"
    with pytest.raises(InvalidInput, match="'42' can't be an alias"):
        check_alias("42")
    assert check_alias("v42") == "v42"


SAFE = [
    *("model.h5", "a b", "a,", "=1", "...", "..a", ".hidden", "~", "größe", "模型", "CON", "ab:c"),
    *(".amaignore", ".amazing", "ama", "ama~x", "x.ama", "a" * 255, "\u00e9" * 127, "\x01", "a."),
]
UNSAFE = [
    *("", ".", "..", "a/b", "/", "a\\b", "..\\x", "a\0b", "C:", "c:evil.txt", "Z:\\x"),
    *(".ama", ".AMA", ".Ama", ".ama.", ".ama ", ".ama. .", ".ama:x", ".ama::$INDEX_ALLOCATION"),
    *("ama~1", "AMA~1", "aMa~9.", ".a\u200cma", "\ufeff.ama", ".am\u202aa"),
    *("\ud800", "a\udcff", "a" * 256, "\u00e9" * 128, "\U0001f600" * 64),
]


@pytest.mark.parametrize("name", SAFE)
def test_a_harmless_name_passes(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", UNSAFE)
def test_a_hostile_name_is_refused_in_one_printable_line(name: str) -> None:
    with pytest.raises(InvalidInput, match="can't be a file's name in an asset") as caught:
        check_name(name)
    assert str(caught.value).isprintable()


@given(st.text(alphabet=st.characters(), max_size=8) | st.text(".amAM~1/\\:C \0\u200c", max_size=8))
@example(".ama")
def test_what_passes_can_do_no_harm(name: str) -> None:
    """The rules again, one by one and slowly: the fast path lets nothing through."""
    try:
        check_name(name)
    except InvalidInput:
        return
    assert name not in ("", ".", "..")
    assert not set(name) & set("/\\\0")
    assert not (len(name) > 1 and name[1] == ":" and name[0].isascii() and name[0].isalpha())
    assert len(name.encode()) <= 255
    bare = "".join(c for c in name if unicodedata.category(c) != "Cf" or c == "\u00ad")
    assert bare.casefold().split(":")[0].rstrip(". ") != ".ama"


def test_a_name_that_passes_stays_in_its_directory(tmp_path: Path) -> None:
    for name in SAFE:
        assert os.path.dirname(os.path.normpath(tmp_path / name)) == str(tmp_path)


def test_only_the_control_directory_is_taken_for_it() -> None:
    assert is_control_directory(".ama")
    assert not is_control_directory(".amax")
    assert not is_control_directory("ama")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("CON", "Windows reserves CON"),
        ("con.txt", "Windows reserves CON"),
        ("Aux.tar.gz", "Windows reserves AUX"),
        ("nul ", "Windows reserves NUL"),
        ("COM1", "Windows reserves COM1"),
        ("lpt9.log", "Windows reserves LPT9"),
        ("com\u00b2", "Windows reserves COM\u00b2"),
        ("conin$", "Windows reserves CONIN$"),
        ("a.", "Windows drops a dot at the end"),
        ("a ", "Windows drops a space at the end"),
        ("a:b", "Windows allows no : in it"),
        ("what?", "Windows allows no ? in it"),
        ('"', 'Windows allows no " in it'),
        ("a\tb", "it has a control character in it"),
    ],
)
def test_a_name_that_some_system_cannot_hold(name: str, reason: str) -> None:
    assert unportable_reason(name) == reason


@pytest.mark.parametrize(
    "name",
    ["console", "com", "com0", "COM10", "aux_data", "a.con", "nullable", "größe", ".x", "a b"],
)
def test_a_name_that_works_everywhere(name: str) -> None:
    assert unportable_reason(name) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("README", "readme"),
        ("caf\u00e9", "cafe\u0301"),
        ("CAF\u00c9", "cafe\u0301"),
        ("\u212b", "\u00e5"),
        ("\u03c3", "\u03c2"),
        ("\u1e9e", "\u00df"),
    ],
)
def test_names_that_look_alike_to_some_file_system(one: str, other: str) -> None:
    assert fold_name(one) == fold_name(other)
    assert twins(["before", one, "between", other, one.upper()]) == (one, other)


@given(st.text(max_size=12))
def test_folding_does_not_depend_on_case_or_form(name: str) -> None:
    key = fold_name(name)
    assert fold_name(unicodedata.normalize("NFD", name)) == key
    assert fold_name(unicodedata.normalize("NFC", name)) == key
    assert fold_name(name.casefold()) == key
    assert fold_name(key) == key


def test_names_that_differ_are_no_twins() -> None:
    assert twins([]) is None
    assert twins(["a", "b", "ab", "a.b", "é", "e"]) is None
    assert twins(["a", "a"]) is None  # the same name is not another


def test_the_nearest_names() -> None:
    there = ["sequence_models", "nlp_embeddings", "datasets", "Seq"]
    assert nearest("sequence_model", there) == ["sequence_models"]
    assert nearest("SEQUENCE_MODELS", there) == ["sequence_models"]
    assert nearest("nlp", there) == ["nlp_embeddings"]
    assert nearest("zzz", there) == []
    assert nearest("a", []) == []
    assert len(nearest("m", [f"m{n}" for n in range(9)])) <= 3
