"""Documents and conditions: what small files are read as, what is refused, and what fits."""

from __future__ import annotations

import math
import sqlite3
from contextlib import suppress
from datetime import UTC, datetime
from operator import eq, ge, gt, le, lt, ne

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ama.catalog.conditions import parse_meta, parse_moment, parse_param
from ama.catalog.documents import (
    MAX_SIZE,
    NotADocument,
    Syntax,
    Value,
    join_key,
    metadata_key,
    read_document,
    split_key,
    syntax_of,
)
from ama.catalog.roles import Rules, direction_of, roles_of
from ama.catalog.schema import from_cell, to_cell
from ama.errors import InvalidInput


@pytest.mark.parametrize(
    ("data", "syntax", "values"),
    [
        (b"a: 1e-3\nb: 1.5E+2", "yaml", {"a": 0.001, "b": 150.0}),
        (b"a: {b: [1, 2], c: [{d: 1}]}", "yaml", {"a.b": (1, 2), "a.c.0.d": 1}),
        (b"day: 2026-11-02\n1: yes", "yaml", {"day": "2026-11-02", "1": True}),
        (b"nothing: ~", "yaml", {"nothing": None}),
        (b"base: &b {x: 1}\nother: *b", "yaml", {"base.x": 1, "other.x": 1}),
        (b'{"a.b": {"c d": 1}, "e": []}', "json", {'"a.b"."c d"': 1, "e": ()}),
        (b'\xef\xbb\xbf{"a": true}', "json", {"a": True}),
        (b"[table]\nx = 1\nwhen = 2026-11-02", "toml", {"table.x": 1, "table.when": "2026-11-02"}),
        (b'[{"a": 1}]', "json", {"0.a": 1}),
        (b"{}", "json", {}),
    ],
)  # fmt: skip
def test_a_document_is_values_under_keys(
    data: bytes, syntax: Syntax, values: dict[str, Value]
) -> None:
    assert read_document(data, syntax) == values


def test_numbers_that_are_none_are_kept() -> None:
    found = read_document(b'{"a": NaN, "b": Infinity, "c": -Infinity, "d": 1e999}', "json")
    assert math.isnan(found["a"])  # type: ignore[arg-type]
    assert (found["b"], found["c"], found["d"]) == (math.inf, -math.inf, math.inf)
    assert [to_cell(found[key])[1] for key in "abcd"] == [None] * 4


BILLION_LAUGHS = b"a0: &a0 [x, x]\n" + b"".join(
    b"a%d: &a%d [*a%d, *a%d, *a%d]\n" % (n, n, n - 1, n - 1, n - 1) for n in range(1, 30)
)

NOTHING_LAUGHS = b"a0: &a0 {}\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10)
)
MERGED_LAUGHS = b"a0: &a0 {k: 1}\n" + b"".join(
    b"a%d: &a%d {<<: [%s]}\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10)
)


@pytest.mark.parametrize(
    "data",
    [
        (NOTHING_LAUGHS, "yaml"),
        (MERGED_LAUGHS, "yaml"),
        (b"a: &a [" + b"1, " * 49_000 + b"]\n" + b"b: [*a, *a, *a]", "yaml"),
        (b"a: 1" + b":1" * 100_000, "yaml"),
        (b"a" + b".a" * 120_000 + b" = 1", "toml"),
        (b"[a" + b' . "a"' * 40_000 + b"]", "toml"),
    ],
)
def test_what_would_take_long_is_refused(data: tuple[bytes, Syntax]) -> None:
    with pytest.raises(NotADocument):
        read_document(*data)


@pytest.mark.parametrize(
    "data", [b"a" * 250_000, b'"' * 250_000, b"a ." * 80_000, b"a = [" + b"0.1, " * 50_000 + b"]"]
)
def test_a_long_line_takes_no_time(data: bytes) -> None:
    with suppress(NotADocument):
        read_document(data, "toml")


@pytest.mark.parametrize("syntax", ["yaml", "toml"])
def test_a_number_that_python_does_not_print_is_a_text(syntax: Syntax) -> None:
    sign = ":" if syntax == "yaml" else "="
    for digits in ("f" * 300, "f" * 5_000):
        with suppress(NotADocument):
            found = read_document(f"a {sign} 0x{digits}\nb {sign} [0x{digits}]".encode(), syntax)
            assert found == {"a": f"0x{digits}", "b": (f"0x{digits}",)}
            assert all(from_cell(*to_cell(value)[::2]) == value for value in found.values())


@pytest.mark.parametrize(
    ("data", "syntax"),
    [
        (b"a: [1", "yaml"),
        (b"a: 1\n---\nb: 2", "yaml"),
        (b"a: !!python/object/apply:os.system [ls]", "yaml"),
        (b"a: &a\n  b: *a", "yaml"),
        (BILLION_LAUGHS, "yaml"),
        (b"[" * 100_000, "yaml"),
        (b"[" * 100_000 + b"]" * 100_000, "json"),
        (b"a = " + b"[" * 50_000, "toml"),
        (b'{"a": ' * 40 + b"1" + b"}" * 40, "json"),
        (b'{"a": "\\ud800"}', "json"),
        (b'{"\\ud800": 1}', "json"),
        (b'{"a": \xff}', "json"),
        (b"just a text", "yaml"),
        (b"3", "json"),
        (b"", "yaml"),
        (b"[1, 2]", "json"),
        (b"a: !!binary aGVsbG8=", "yaml"),
        (b'{"a": %s}' % (b"9" * 5_000), "json"),
        (b"{%s}" % b",".join(b'"k%d": 1' % n for n in range(3_000)), "json"),
        (b'{"a": "%s"}' % (b"x" * MAX_SIZE), "json"),
    ],
)
def test_what_is_no_document_is_refused(data: bytes, syntax: Syntax) -> None:
    with suppress(NotADocument):
        assert read_document(data, syntax) == {}  # a list has no keys, and so no values


@given(st.binary(max_size=300), st.sampled_from(["yaml", "json", "toml"]))
def test_no_bytes_raise_anything_else(data: bytes, syntax: Syntax) -> None:
    try:
        values = read_document(data, syntax)
    except NotADocument:
        return
    for key, value in values.items():
        assert join_key(split_key(key)) == key
        kind, _, text = to_cell(value)
        again = from_cell(kind, text)
        assert again == value or repr(again) == repr(value) or kind == "text"


@pytest.mark.parametrize("key", ['"\\q"', '"\\ud800"', '"a', "a..b", ""])
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(InvalidInput):
        split_key(key)


@given(st.lists(st.text(), min_size=2, max_size=2, unique=True))
def test_every_name_of_metadata_is_a_key_of_its_own(names: list[str]) -> None:
    first, second = map(metadata_key, names)
    assert first != second
    assert join_key(split_key(first)) == first


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_any_names_make_a_key(parts: list[str]) -> None:
    assert split_key(join_key(tuple(parts))) == tuple(parts)


def test_names_tell_how_a_file_is_read() -> None:
    assert [syntax_of(n) for n in ("a.YAML", "b/c.yml", "d.json", "e.toml", "yml", "f.txt")] == [
        "yaml", "yaml", "json", "toml", None, None,
    ]  # fmt: skip


def fits(condition: str, key: str, value: Value) -> bool:
    where, values = parse_meta(condition).sql()
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE t (key, kind, number, text)")
    db.execute("INSERT INTO t VALUES (?, ?, ?, ?)", (key, *to_cell(value)))
    found = db.execute(f"SELECT 1 FROM t WHERE {where}", values).fetchone() is not None
    db.close()
    return found


@pytest.mark.parametrize(
    ("condition", "value", "expected"),
    [
        ("loss<0.3", 0.2, True), ("loss<0.3", 0.3, False), ("loss<=0.3", 0.3, True),
        ("loss>=1", 1, True), ("loss>1", True, False), ("loss<0.3", "low", False),
        ("loss<0.3", "0.1", False), ("loss=0.1", "0.1", True), ("loss=1", 1.0, True),
        ("loss = 1.0", 1, True), ("loss=1", True, False), ("loss=true", True, True),
        ("loss=True", True, True), ("loss=true", "true", True), ("loss!=adam", "sgd", True),
        ("loss!=adam", "adam", False), ("loss!=1", "adam", True), ("loss!=1", 1, False),
        ("loss=nan", math.nan, True), ("loss<1", math.nan, False), ("loss>1", math.inf, False),
        ("loss", None, True), ("loss=null", None, True), ("loss=a=b", "a=b", True),
        ("loss=", "", True), ("loss<1e-3", 1e-4, True),
        ("loss=9007199254740993", 2**53, False), ("loss=9007199254740993", 2**53 + 1, True),
        ("loss!=9007199254740993", 2**53, True), ("loss=+9007199254740993", 2**53 + 1, True),
        ("loss=9007199254740992", 2**53 + 1, False), ("loss=9007199254740992", 2.0**53, True),
        ("loss=-18446744073709551615", -(2**64), False), ("loss=1e20", 10**20, True),
        ("loss=Infinity", math.inf, True), ("loss=-.inf", -math.inf, True),
        ("loss!=Infinity", math.inf, False), ("loss=Infinity", "inf", False),
    ],
)  # fmt: skip
def test_a_condition_fits(condition: str, value: Value, expected: bool) -> None:
    assert fits(condition, "loss", value) is expected


def test_large_integers_are_compared_exactly() -> None:
    """Seeds and ids: many of them are the same float."""
    near = [sign * (large + by) for sign in (1, -1) for large in (2**53, 10**16, 2**63, 10**20)
            for by in (-1, 0, 1)]  # fmt: skip
    signs = {"<": lt, "<=": le, ">": gt, ">=": ge, "=": eq, "!=": ne}
    for sign, holds in signs.items():
        for stored in near:
            wanted = [asked for asked in near if holds(stored, asked)]
            found = [asked for asked in near if fits(f"seed{sign}{asked}", "seed", stored)]
            assert found == wanted, (stored, sign)
    # A float is one of the numbers that it stands for, whichever is meant.
    assert fits("seed<=9007199254740993", "seed", 2.0**53)
    assert not fits("seed<9007199254740993", "seed", 2.0**53)
    assert fits("seed<9007199254740993", "seed", 1)


def test_a_key_may_be_the_last_parts_of_a_longer_one() -> None:
    assert fits("loss<1", "best.loss", 0)
    assert fits("best.loss<1", "a.best.loss", 0)
    assert not fits("loss<1", "val_loss", 0)
    assert not fits("best.loss<1", "loss", 0)
    assert fits('"v 1.0".loss=0', '"v 1.0".loss', 0)


def test_a_param_may_name_its_file() -> None:
    assert parse_param("training.yml:lr=0.1").file == "training.yml"
    assert parse_param("lr=a:b").file is None
    assert parse_param("conf/*.yml:url=http://x").value == "http://x"


@pytest.mark.parametrize(
    "text", ["", "<3", "=", "loss<abc", "a..b=1", "loss<inf", '"a=1', ":a=1", "a.=1"]
)
def test_what_is_no_condition_is_said(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_param(text)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["lr=<0.1", "lr=>0.1", "fw~ker", "fw=~ker", "lr<>1", "lr===1"])
def test_an_operator_that_there_is_not_is_no_value(text: str) -> None:
    for parse in (parse_meta, parse_param):
        with pytest.raises(InvalidInput, match="no operator") as caught:
            parse(text)
        assert "!= < <= > >=" in str(caught.value.hint)
    assert parse_param("token= <unk>").value == "<unk>"
    assert parse_param("lr==1") == parse_param("lr=1")


def test_times() -> None:
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    said = {
        "2026-11-02": "2026-11-02T00:00:00+00:00",
        "2026-11-02T14:30+02:00": "2026-11-02T14:30:00+02:00",
        "3d": "2026-11-22T12:00:00+00:00",
        "2 weeks ago": "2026-11-11T12:00:00+00:00",
        "90m": "2026-11-25T10:30:00+00:00",
    }
    assert {text: parse_moment(text, now).isoformat() for text in said} == said
    for wrong in ("yesterday", "", "2026-13-01", "999999999d"):
        with pytest.raises(InvalidInput):
            parse_moment(wrong, now)


def test_roles_by_name_and_content() -> None:
    def role(path: str, key: str, value: Value, **document: Value) -> str:
        return roles_of(path, {key: value, **document}, Rules())[key]

    assert role("git_info.yml", "branch", "main") == "code"
    assert role("info.json", "branch", "main", commit="a" * 40) == "code"
    assert role("info.json", "branch", "main", commit="first") == "other"
    assert role("", "git.commit", "a" * 40) == "code"
    assert role("results/eval.json", "top.f1", 0.5) == "metric"
    assert role("results/eval.json", "model", "large") == "other"
    assert role("config.yaml", "loss", "mse") == "parameter"
    assert role("config.yaml", "precision", 16) == "parameter"
    assert role("trainer.yml", "valLoss", 0.5) == "metric"
    assert role("training.yml", "datasets.0.rows", 10) == "data"
    assert role("", "loss", 0.5) == "metric"
    assert role("", "note", "x") == "other"
    assert role("vocabulary.json", "word", 3, **{f"w{n}": n for n in range(300)}) == "other"


def test_rules_of_a_class_come_first() -> None:
    rules = Rules(
        {"metric": ("notes.yml:eval.*",), "parameter": ("results.json",)},
        {"higher": ("speed",)},
    )
    assert roles_of("a/notes.yml", {"eval.speed": 3}, rules) == {"eval.speed": "metric"}
    assert roles_of("results.json", {"loss": 3}, rules) == {"loss": "parameter"}
    assert direction_of("eval.speed", rules) == "higher"
    assert direction_of("eval.speed", Rules()) is None
