"""Documents and conditions: what small files are read as, what is missing, and what fits."""

from __future__ import annotations

import enum
import json
import math
import sqlite3
import sys
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime
from operator import eq, ge, gt, le, lt, ne
from pathlib import Path, PurePosixPath

import numpy
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ama.catalog import yaml_documents
from ama.catalog.conditions import parse_meta, parse_moment, parse_param
from ama.catalog.documents import (
    MAX_SIZE,
    Document,
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
from ama.catalog.unread import Gap
from ama.errors import InvalidInput
from ama.wording.hints import words


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
    assert read_document(data, syntax) == Document(values)


def test_numbers_that_are_none_are_kept() -> None:
    found = read_document(b'{"a": NaN, "b": Infinity, "c": -Infinity, "d": 1e999}', "json").values
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
        (b"a0: &a0 {k: 1}\n" + b"".join(b"a%d: &a%d {<<: *a%d, k%d: 1}\n" % (n, n, n - 1, n)
                                        for n in range(1, 6_000)), "yaml"),
        (b"a0: &a0 {k: 1}\n" + b"".join(b"a%d: &a%d {x: *a%d}\n" % (n, n, n - 1)
                                        for n in range(1, 8_000)), "yaml"),
        (b'"\\ud800": ' + b"[" * 200_000, "yaml"),
        (b"a" + b".a" * 120_000 + b" = 1", "toml"),
        (b"[a" + b' . "a"' * 40_000 + b"]", "toml"),
        (b"a = 1\n" * 40_000, "toml"),
        (b"[t]\nx = [\n" * 20_000, "toml"),
        (b"a =" + b" " * 200_000 + b"x y", "toml"),
        (b'{"a": [' + b"{}," * 80_000, "json"),
        (b"[" * 250_000, "json"),
    ],
)  # fmt: skip
def test_what_would_take_long_is_missing(data: tuple[bytes, Syntax]) -> None:
    assert read_document(*data).gaps


@pytest.mark.parametrize(
    "data", [b"a" * 250_000, b'"' * 250_000, b"a ." * 80_000, b"a = [" + b"0.1, " * 50_000 + b"]"]
)
def test_a_long_line_takes_no_time(data: bytes) -> None:
    read_document(data, "toml")


def test_a_number_of_too_many_digits_takes_no_time_and_is_a_text() -> None:
    sexagesimal = "1" + ":1" * 100_000
    assert read_document(f"a: {sexagesimal}\nb: 1".encode(), "yaml").values == {
        "a": sexagesimal, "b": 1,
    }  # fmt: skip


@pytest.mark.parametrize("syntax", ["yaml", "json", "toml"])
def test_a_number_that_python_does_not_print_is_a_text(syntax: Syntax) -> None:
    form = {"yaml": "a: %s\nb: [%s]\nc: 1", "json": '{"a": %s, "b": [%s], "c": 1}',
            "toml": "a = %s\nb = %s\nc = 1"}[syntax]  # fmt: skip
    for digits in ("9" * 500, "9" * 5_000, *(["0x" + "f" * 300] if syntax != "json" else [])):
        found = read_document((form % (digits, digits)).encode(), syntax)
        listed = digits if syntax == "toml" else (digits,)
        assert found == Document({"a": digits, "b": listed, "c": 1})
        assert all(from_cell(*to_cell(value)[::2]) == value for value in found.values.values())


DEEP = ".".join("a" * 32)

GAPS: list[tuple[bytes, Syntax, dict[str, Value], list[tuple[str | None, str]]]] = [
    # bytes and objects
    (b"a: !!binary aGVsbG8=\nb: 1", "yaml", {"b": 1}, [("a", "binary")]),
    (b"a: !!python/bytes aGVsbG8=\nb: 1", "yaml", {"b": 1}, [("a", "binary")]),
    (b"a: [0.5, !!binary aGVsbG8=]", "yaml", {"a.0": 0.5}, [("a.1", "binary")]),
    (b"!!binary aGVsbG8=", "yaml", {}, [(None, "binary")]),
    # a part that is broken loses what comes after it
    (b"a: 1\nb: {c: 2, d: [3, 4\n", "yaml", {"a": 1, "b.c": 2},
     [(None, "broken"), ("b.d", "broken")]),
    (b"a: 1\n---\nb: [{c: 1}, {d: [1", "yaml", {"a": 1, "1.b.0.c": 1},
     [(None, "broken"), ("1.b.1.d", "broken")]),
    (b"a: 1\nb: 'x", "yaml", {"a": 1}, [(None, "broken")]),
    (b"a: *nowhere\nb: 1", "yaml", {"b": 1}, [("a", "broken")]),
    (b'{"a": 1, "b": {"c": 2, "d": [3, 4', "json", {"a": 1, "b.c": 2}, [(None, "broken")]),
    (b'{"a": 1, "b": [{"c": 1}, {"c": 2}, {"c": 0.0', "json",
     {"a": 1, "b.0.c": 1, "b.1.c": 2}, [(None, "broken")]),
    (b'{"a": "{[,", "b": 1,}', "json", {"a": "{[,", "b": 1}, [(None, "broken")]),
    (b'{"a": [1, 2], "b": "x,{\\q", "c": 1}', "json", {"a": (1, 2)}, [(None, "broken")]),
    (b'{"a": [1, 2], "b": "x,{[', "json", {"a": (1, 2)}, [(None, "broken")]),
    (b'{"a": 1, "b": "x,{\\', "json", {"a": 1}, [(None, "broken")]),
    (b'{"a": {"b": 1}, "c": ,}', "json", {"a.b": 1}, [(None, "broken")]),
    (b'{"a": {"b": [{"c": 1},]}}', "json", {"a.b.0.c": 1}, [(None, "broken")]),
    (b'{"a": 1} {"b": 2} {"c": ', "json", {"a": 1, "1.b": 2}, [(None, "broken")]),
    (b'{"a": 1, "b": \xff}', "json", {"a": 1}, [(None, "broken")]),
    (b"a = 1\n[t]\nb = [\n1,", "toml", {"a": 1}, [(None, "broken")]),
    (b"a = 1\na = 2\nb = 3", "toml", {"a": 1}, [(None, "broken")]),
    # half a character, and what is no UTF-8
    (b'a: "\\ud800"\nb: "\\ud83d\\ude00"', "yaml", {"b": "\N{GRINNING FACE}"},
     [("a", "surrogate")]),
    (b'{"a": "\\ud800", "\\udc00": 1, "b": 1}', "json", {"b": 1},
     [("a", "surrogate"), ("?", "surrogate")]),
    ("a: schön\nb: 1".encode("latin-1"), "yaml", {"b": 1}, [("a", "encoding")]),
    ('{"a": "schön", "b": 1}'.encode("latin-1"), "json", {"b": 1}, [("a", "encoding")]),
    ('a = "schön"\nb = 1'.encode("latin-1"), "toml", {"b": 1}, [("a", "encoding")]),
    # names that print alike
    (b"1: a\n'1': b\nc: 1", "yaml", {"c": 1, "1": "b"}, [("1", "repeated")]),
    (b"a: {x: 1}\na: {y: 2}", "yaml", {"a.y": 2}, [("a", "repeated")]),
    (b'{"a": 1, "b": 2, "a": 3}', "json", {"a": 3, "b": 2}, [("a", "repeated")]),
    # inside itself, deep, large
    (b"a: &a\n  b: *a\n  c: 1", "yaml", {"a.c": 1}, [("a.b", "cyclic")]),
    (b"x: 1\na: " + b"{a: " * 40 + b"1" + b"}" * 40, "yaml", {"x": 1}, [(DEEP, "too_deep")]),
    (b'{"x": 1, "a": ' + b'{"a": ' * 40 + b"1" + b"}" * 41, "json", {"x": 1}, [(DEEP, "too_deep")]),
    (b'{"x": 1, "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "json", {"x": 1},
     [(None, "too_deep")]),
    (b"x = 1\na = " + b"[" * 5_000 + b"]" * 5_000, "toml", {"x": 1}, [(None, "too_deep")]),
    (b"x = 1\na" + b".a" * 40 + b" = 1", "toml", {"x": 1}, [(None, "too_deep")]),
    (b"- " * 100_000, "yaml", {}, [(None, "too_deep")]),
    (b"[" * 100_000 + b"]" * 100_000, "json", {}, [(None, "too_deep")]),
    (BILLION_LAUGHS, "yaml", {}, [(None, "too_many")]),
    (b"{%s}" % b",".join(b'"k%d": 1' % n for n in range(3_000)), "json", {}, [(None, "too_many")]),
    (b'{"a": "%s"}' % (b"x" * MAX_SIZE), "json", {}, [(None, "too_large")]),
]  # fmt: skip


@pytest.mark.parametrize(("data", "syntax", "values", "gaps"), GAPS)
def test_what_cannot_be_read_is_named_and_takes_nothing_along(
    data: bytes,
    syntax: Syntax,
    values: dict[str, Value],
    gaps: list[tuple[str | None, str]],
) -> None:
    found = read_document(data, syntax)
    assert found.values == values
    assert [(gap.key, gap.reason) for gap in found.gaps] == gaps


@pytest.mark.parametrize(
    ("data", "syntax", "values"),
    [
        (b"d: 2021-02-30\nt: 2021-02-03\nn: !!int x\nb: !!bool maybe\ne: =", "yaml",
         {"d": "2021-02-30", "t": "2021-02-03", "n": "x", "b": "maybe", "e": "="}),
        (b"d = 2021-02-30\nn = None # no TOML\n[t]\nx = 1", "toml",
         {"d": "2021-02-30", "n": "None", "t.x": 1}),
        (b"a: !Custom {x: 1}\nb: !Custom 5\nc: !Custom '5'\nd: !Custom [1, 2]", "yaml",
         {"a.x": 1, "b": 5, "c": "5", "d": (1, 2)}),
        (b"a: 1\n---\na: 2\n---\n---\nb: 3", "yaml", {"a": 1, "1.a": 2, "2.b": 3}),
        (b"---\na: 1\n...\n---\n", "yaml", {"a": 1}),
        (b'{"a": "x\ty\nz"}', "json", {"a": "x\ty\nz"}),
        (b'{"a": 1}\n{"a": 2}\n', "json", {"a": 1, "1.a": 2}),
        ("a: schön".encode("utf-16"), "yaml", {"a": "schön"}),
        ('{"a": "schön"}'.encode("utf-16-le"), "json", {"a": "schön"}),
        ('a = "schön"'.encode("utf-8-sig"), "toml", {"a": "schön"}),
        (b"? !!python/tuple [a, 1]\n: 1\n? {x: y}\n: 2\n? !!binary aGVsbG8=\n: 3", "yaml",
         {'"(a, 1)"': 1, '"{x: y}"': 2, '"aGVsbG8="': 3}),
        (b"b: &b {x: 1, y: 2}\nm: {<<: *b, y: 3}\nn: {<<: [{x: 0}, *b]}", "yaml",
         {"b.x": 1, "b.y": 2, "m.x": 1, "m.y": 3, "n.x": 0, "n.y": 2}),
        (b"<<: 3\na: <<", "yaml", {'"<<"': 3, "a": "<<"}),
        (b"s: !!set {1, 2}\no: !!omap [x: 1, y: 2]", "yaml", {"s": (1, 2), "o.x": 1, "o.y": 2}),
        (b"a: &a [1, 2]\n" + b"".join(b"k%d: *a\n" % n for n in range(300)), "yaml",
         {"a": (1, 2)} | {f"k{n}": (1, 2) for n in range(300)}),
        (b"just a text", "yaml", {}), (b"3", "json", {}), (b"", "yaml", {}), (b"", "json", {}),
        (b"[1, 2]", "json", {}),
    ],
)  # fmt: skip
def test_every_value_is_read(data: bytes, syntax: Syntax, values: dict[str, Value]) -> None:
    assert read_document(data, syntax) == Document(values)


class Colour(enum.Enum):
    RED = "red"


class Holder:
    """An object of a program, as people put them into their hyperparameters."""

    def __init__(self, **said: object) -> None:
        self.__dict__.update(said)


def test_what_python_objects_are_dumped_as() -> None:
    dumped = yaml.dump(
        {
            "betas": (0.9, 0.999),
            "ordered": OrderedDict(rate=0.1, inner=OrderedDict(x=1)),
            "defaults": defaultdict(list, {"x": [1]}),
            "path": PurePosixPath("/data/train"),
            "colour": Colour.RED,
            "frozen": frozenset([1]),
            "holder": Holder(rate=0.5, raw=b"1"),
            "activation": yaml.YAMLError,
            "number": 1 + 2j,
            "scale": numpy.float64(0.1),
            "weights": numpy.array([1.0, 2.0]),
            "last": 1,
        }
    )
    found = read_document(dumped.encode(), "yaml")
    assert found.values == {
        "betas": (0.9, 0.999), "ordered.rate": 0.1, "ordered.inner.x": 1,
        "defaults.args": "builtins.list", "defaults.x": (1,), "path": "/data/train",
        "colour": "red", "frozen": (1,), "holder.rate": 0.5,
        "activation": "yaml.error.YAMLError", "number": "1.0+2.0j", "last": 1,
    }  # fmt: skip
    assert {(gap.key, gap.reason) for gap in found.gaps} == {
        ("holder.raw", "binary"), ("scale", "object"), ("weights", "object"),
    }  # fmt: skip


def test_nothing_is_executed(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    said = f"touch {trace}"
    for tag in ("object/apply:os.system", "object/new:os.system", "object/apply:subprocess.run"):
        found = read_document(f"a: !!python/{tag} ['{said}']\nb: 1".encode(), "yaml")
        assert found.values == {"a": said, "b": 1}
    for name in ("module", "name"):
        text = f"a: !!python/{name}:this ''\nb: 1"
        assert read_document(text.encode(), "yaml").values == {"a": "this", "b": 1}
    assert not trace.exists()
    assert "this" not in sys.modules


LIGHTNING = b"""\
activation: !!python/name:torch.nn.modules.activation.ReLU ''
betas: !!python/tuple
- 0.9
- 0.999
data_dir: !!python/object/apply:pathlib.PosixPath
- data
- mnist
learning_rate: 1e-3
scheduler: !!python/object/apply:collections.OrderedDict
- - - warmup
    - 100
  - - gamma
    - 0.5
scale: !!python/object/apply:numpy._core.multiarray.scalar
- &id001 !!python/object/apply:numpy.dtype
  args:
  - f8
  - false
  - true
  state: !!python/tuple
  - 3
  - <
  - null
  - null
  - null
  - -1
  - -1
  - 0
- !!binary |
  mpmZmZmZuT8=
seed: 42
"""

HYDRA = b"""\
model:
  _target_: models.Net
  width: ${hidden}
hidden: 128
lr: 0.1
paths: !Paths
  root: ${oc.env:DATA,/data}
tags: ???
"""

MLMODEL = b"""\
artifact_path: model
flavors:
  python_function:
    env:
      conda: conda.yaml
    loader_module: mlflow.sklearn
    python_version: 3.11.7
  sklearn:
    pickled_model: model.pkl
    serialization_format: cloudpickle
model_size_bytes: 1291
signature:
  inputs: '[{"type": "double", "required": true}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'
utc_time_created: '2026-11-02 09:00:00.123456'
"""


def test_the_files_of_others() -> None:
    lightning = read_document(LIGHTNING, "yaml")
    assert lightning.values == {
        "activation": "torch.nn.modules.activation.ReLU", "betas": (0.9, 0.999),
        "data_dir": "data/mnist", "learning_rate": 0.001, "scheduler.warmup": 100,
        "scheduler.gamma": 0.5, "seed": 42,
    }  # fmt: skip
    assert lightning.gaps == (Gap("scale", "object"),)
    assert read_document(HYDRA, "yaml") == Document(
        {
            "model._target_": "models.Net", "model.width": "${hidden}", "hidden": 128, "lr": 0.1,
            "paths.root": "${oc.env:DATA,/data}", "tags": "???",
        }
    )  # fmt: skip
    mlflow = read_document(MLMODEL, "yaml")
    assert mlflow.gaps == ()
    assert mlflow.values["flavors.sklearn.pickled_model"] == "model.pkl"
    assert mlflow.values["flavors.python_function.python_version"] == "3.11.7"
    assert mlflow.values["utc_time_created"] == "2026-11-02 09:00:00.123456"


def test_without_the_parser_in_c_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [data for data, syntax, _, _ in GAPS if syntax == "yaml" and len(data) < 1_000]
    samples += [LIGHTNING, HYDRA, MLMODEL]
    fast = [read_document(data, "yaml") for data in samples]
    loader = yaml_documents._loader_class(pure=True)
    monkeypatch.setattr(yaml_documents, "_loader_class", lambda *, pure: loader)
    assert [read_document(data, "yaml") for data in samples] == fast


# PyYAML writes these line breaks in a way that it doesn't read again itself.
TEXT = st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029")
PLAIN = st.one_of(
    # A plain 1e-3 is a number, also where PyYAML takes it for a text.
    st.text(TEXT, max_size=20).filter(lambda text: not yaml_documents._FLOAT.match(text)),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.dates(),
)
ODD = st.one_of(
    st.binary(max_size=8),
    st.builds(numpy.float64, st.floats(allow_nan=False)),
    st.builds(lambda items: numpy.array(items, dtype=float), st.lists(st.integers(0, 9))),
)
NAMES = st.text(alphabet="abcdefgh_. 1", min_size=1, max_size=6)
NESTED = st.recursive(
    PLAIN | ODD,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(NAMES, inner, max_size=4),
        st.dictionaries(NAMES, inner, max_size=4).map(OrderedDict),
        st.sets(st.integers(0, 9), max_size=3),
        st.builds(lambda said: Holder(**said), st.dictionaries(st.sampled_from("xyz"), inner)),
    ),
    max_leaves=8,
)


def plain_values(value: object) -> Iterator[Value]:
    """The plain values in what was dumped, in any order."""
    if isinstance(value, Holder):
        value = value.__dict__
    if isinstance(value, dict):
        for inner in value.values():
            yield from plain_values(inner)
    elif isinstance(value, list | tuple | set):
        for inner in value:
            yield from plain_values(inner)
    elif isinstance(value, date):
        yield value.isoformat()
    elif not isinstance(value, bytes | numpy.generic | numpy.ndarray):
        yield value  # type: ignore[misc]


def odd_values(value: object) -> int:
    """How many values that are none for us were dumped."""
    if isinstance(value, bytes | numpy.generic | numpy.ndarray):
        return 1
    if isinstance(value, Holder):
        value = value.__dict__
    if isinstance(value, dict):
        return sum(map(odd_values, value.values()))
    return sum(map(odd_values, value)) if isinstance(value, list | tuple | set) else 0


@settings(suppress_health_check=[HealthCheck.too_slow])  # the strategies are many
@given(st.dictionaries(NAMES, NESTED, max_size=5))
def test_every_plain_value_that_was_dumped_is_found(dumped: dict[str, object]) -> None:
    found = read_document(yaml.dump(dumped, allow_unicode=True).encode(), "yaml")
    read: list[Value] = []
    for value in found.values.values():
        read += value if isinstance(value, tuple) else [value]
    wanted = list(plain_values(dumped))
    assert Counter(map(repr, read)) == Counter(map(repr, wanted))
    assert all(gap.reason in ("binary", "object") for gap in found.gaps)
    assert len(found.gaps) == odd_values(dumped)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab{}[],:"\\é\n'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, JSON, min_size=1, max_size=4), st.integers(0), st.booleans())
def test_json_that_is_cut_off_says_nothing_else(
    said: dict[str, object], at: int, ascii_only: bool
) -> None:
    data = json.dumps(said, ensure_ascii=ascii_only).encode()
    whole = read_document(data, "json")
    assert whole.gaps == ()
    cut = read_document(data[: 1 + at % (len(data) - 1)], "json")
    assert cut.gaps != ()
    assert cut.values.items() <= whole.values.items()


def test_json_that_is_cut_off_says_what_comes_before() -> None:
    said = {f"k{n}": {"x": n, "y": [n, n]} for n in range(10)}
    data = json.dumps(said).encode()
    for n in range(1, 10):
        cut = read_document(data[: data.index(b'"k%d"' % n) + 9], "json")
        assert cut.values == {
            key: value for k in range(n) for key, value in
            ((f"k{k}.x", k), (f"k{k}.y", (k, k)))
        }  # fmt: skip


@given(st.binary(max_size=300), st.sampled_from(["yaml", "json", "toml"]))
def test_no_bytes_raise_anything_else(data: bytes, syntax: Syntax) -> None:
    values = read_document(data, syntax).values
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
    assert words(caught.value.hints)


@pytest.mark.parametrize("text", ["lr=<0.1", "lr=>0.1", "fw~ker", "fw=~ker", "lr<>1", "lr===1"])
def test_an_operator_that_there_is_not_is_no_value(text: str) -> None:
    for parse in (parse_meta, parse_param):
        with pytest.raises(InvalidInput, match="no operator") as caught:
            parse(text)
        assert "!= < <= > >=" in str(words(caught.value.hints))
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
