"""What DVC's files say, hostile ones among them."""

from __future__ import annotations

import json
from hashlib import md5
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ama.errors import InvalidInput
from ama.importing.dvc_cache import content, open_cache
from ama.importing.dvc_files import Output, is_added, is_lock, read_added, read_lock

ONE, TWO = "1a" * 16, "2b" * 16


def test_names_of_files() -> None:
    names = ["a.dvc", "x/a.dvc", ".dvc", "x/.dvc/config", ".dvc/config", "dvc.lock", "x/dvc.lock"]
    assert [name for name in names if is_added(name)] == ["a.dvc", "x/a.dvc"]
    assert [name for name in names if is_lock(name)] == ["dvc.lock", "x/dvc.lock"]


def test_added_data() -> None:
    data = f"outs:\n- md5: {ONE}.dir\n  size: 7\n  nfiles: 2\n  hash: md5\n  path: raw\n"
    (stage,) = read_added("data/raw.dvc", data.encode())
    assert stage.outputs == (Output("data/raw", f"{ONE}.dir", 7),)
    assert stage.outputs[0].is_directory
    assert (stage.name, stage.command, stage.inputs) == ("data/raw", "", ())


def test_imported_data_says_from_where_without_credentials() -> None:
    data = (
        f"deps:\n- path: get/x\n  repo:\n    url: https://bo:pw@example.org/r.git\n"
        f"    rev_lock: abc\nouts:\n- md5: {ONE}\n  path: x\n  isexec: true\n"
    )
    (stage,) = read_added("x.dvc", data.encode())
    assert stage.facts == {
        "dvc.source": "https://example.org/r.git",
        "dvc.source_path": "get/x",
        "dvc.source_rev": "abc",
    }
    assert stage.outputs[0].is_executable
    data = f"deps:\n- path: https://example.org/x.csv\n  etag: e\nouts:\n- md5: {ONE}\n  path: x\n"
    assert read_added("x.dvc", data.encode())[0].facts == {
        "dvc.source": "https://example.org/x.csv"
    }


def test_a_stage_of_the_first_versions() -> None:
    data = (
        f"cmd: python train.py\nwdir: ..\ndeps:\n- md5: {TWO}\n  path: raw\n- path: params.yaml\n"
        f"  params: {{lr: 1}}\nouts:\n- md5: {ONE}\n  path: m.json\n  metric: true\n"
    )
    (stage,) = read_added("stages/train.dvc", data.encode())
    assert [(out.path, out.role, out.is_old) for out in stage.outputs] == [
        ("m.json", "metrics", True)
    ]
    assert [(dep.path, dep.digest) for dep in stage.inputs] == [("raw", TWO)]
    assert stage.params == ("params.yaml",)


LOCK = f"""
schema: '2.0'
stages:
  train@a:
    cmd: [one, two]
    deps:
    - {{path: ../raw, md5: {TWO}, hash: md5}}
    params:
      params.yaml: {{lr: 0.1}}
    outs:
    - {{path: out/a.pkl, md5: {ONE}, hash: md5, size: 3}}
    - {{path: out/a.json, md5: {TWO}, hash: md5}}
    - {{path: plots/x.csv, md5: {TWO}, hash: md5}}
"""
TOLD = """
stages:
  train:
    foreach: [a, b]
    do:
      cmd: train
      wdir: work
      metrics: [{"out/${item}.json": {cache: false}}]
plots:
- work/plots/x.csv
- named: {x: a}
"""


def test_a_lock_and_what_is_said_beside_it() -> None:
    (stage,) = read_lock("team/dvc.lock", LOCK.encode(), TOLD.encode())
    assert (stage.name, stage.command) == ("team/train@a", "one\ntwo")
    assert [(out.path, out.role) for out in stage.outputs] == [
        ("team/work/out/a.pkl", "output"),
        ("team/work/out/a.json", "metrics"),
        ("team/work/plots/x.csv", "plots"),
    ]
    assert [dep.path for dep in stage.inputs] == ["team/raw"]
    assert stage.params == ("team/work/params.yaml",)
    (alone,) = read_lock("dvc.lock", LOCK.encode(), None)
    assert {out.role for out in alone.outputs} == {"output"}
    first = f"train:\n  cmd: t\n  outs:\n  - {{path: x, md5: {ONE}}}\n"  # of version 1
    assert read_lock("dvc.lock", first.encode(), None)[0].outputs[0].path == "x"


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "s3://bucket/x", "a/../../x", "''", "..", "ssh://host/x"]
)
def test_outputs_elsewhere_are_named(path: str) -> None:
    data = f"outs:\n- md5: {ONE}\n  path: {path}\n"
    (stage,) = read_added("x.dvc", data.encode())
    assert "outside of the repository" in stage.outputs[0].problem


@pytest.mark.parametrize(
    "digest", ["", "x", "../" + "1" * 29, "a" * 31, f"{ONE}.dir.dir", "A" * 32]
)
def test_what_is_no_digest_is_named(digest: str) -> None:
    data = f"outs:\n- md5: '{digest}'\n  path: x\n"
    assert read_added("x.dvc", data.encode())[0].outputs[0].problem


@pytest.mark.parametrize("data", [b"outs: [", b"\xff\xfe", b"- a", b"a: 1\n---\nb: 2\n", b"*x"])
def test_what_is_broken_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="is broken"):
        read_added("x.dvc", data)
    with pytest.raises(InvalidInput, match="is broken"):
        read_lock("dvc.lock", data, None)


texts = st.sampled_from(
    ["outs", "deps", "path", "md5", "stages", "x", ONE, "metrics", "", "params"]
)
nodes = st.recursive(
    st.none() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(nodes, nodes)
def test_nothing_else_is_raised(node: object, told: object) -> None:
    data, beside = json.dumps(node).encode(), json.dumps(told).encode()
    for read in (
        lambda: read_added("x/y.dvc", data),
        lambda: read_lock("x/dvc.lock", data, beside),
    ):
        try:
            read()
        except InvalidInput:
            continue


class TestCache:
    def put(self, root: Path, data: bytes, end: str = "") -> str:
        digest = md5(data, usedforsecurity=False).hexdigest() + end
        place = root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return digest

    def test_a_directory(self, tmp_path: Path) -> None:
        one, two = self.put(tmp_path, b"one"), self.put(tmp_path, b"two")
        listed = [{"md5": one, "relpath": "a/b"}, {"md5": two, "relpath": "c"}]
        output = Output("data", self.put(tmp_path, json.dumps(listed).encode(), ".dir"))
        parts = list(open_cache(tmp_path).parts(output))
        assert [part.path for part in parts] == ["data/a/b", "data/c"]
        assert [part.place.read_bytes() for part in parts] == [b"one", b"two"]

    @pytest.mark.parametrize(
        "listed",
        [
            b"no json",
            b"{}",
            b"[1]",
            b'[{"md5": "../../../etc/passwd", "relpath": "a"}]',
            b'[{"md5": 7, "relpath": "a"}]',
            b'[{"relpath": "a"}]',
            b"[" * 100_000,
        ],
    )
    def test_a_hostile_list_is_refused(self, tmp_path: Path, listed: bytes) -> None:
        output = Output("data", self.put(tmp_path, listed, ".dir"))
        if listed == b"{}":
            assert not list(open_cache(tmp_path).parts(output))
            return
        with pytest.raises(InvalidInput, match="damaged"):
            list(open_cache(tmp_path).parts(output))

    def test_damage_and_line_ends(self, tmp_path: Path) -> None:
        cache = open_cache(tmp_path)
        digest = self.put(tmp_path, b"a\nb\n")
        (part,) = cache.parts(Output("x", digest))
        part.place.write_bytes(b"a\r\nb\r\n")
        with pytest.raises(InvalidInput, match="damaged"):
            content(part, Output("x", digest))
        assert content(part, Output("x", digest, is_old=True)).data == part.place

    def test_where_it_is(self, tmp_path: Path) -> None:
        (tmp_path / ".dvc").mkdir()
        (tmp_path / ".dvc" / "config").write_text("[core]\nremote = r\n['remote \"r\"']\nurl = x\n")
        (tmp_path / ".dvc" / "config.local").write_text("[cache]\n    dir = ../../shared\n")
        assert open_cache(tmp_path).places == (
            tmp_path.parent / "shared" / "files" / "md5",
            tmp_path.parent / "shared",
        )
        (tmp_path / ".dvc" / "config").write_text("no config")
        with pytest.raises(InvalidInput, match="config is broken"):
            open_cache(tmp_path)
