"""What is inside files, and what differs: also of files that were made to do harm."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from ama.contents import hdf5_process
from ama.contents.comparison import ContentDiff, compare_contents, read_tensors
from ama.contents.tensors import MAX_HEADER, MAX_TENSORS, Tensor, paired, read_safetensors
from ama.contents.text import Pieces, common_lines, compare_lines, read_text, split_lines
from ama.errors import FormatError
from conftest import TRAINING_RUNS

# Lines

few_lines = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=12)


def longest_common(old: list[str], new: list[str]) -> int:
    row = [0] * (len(new) + 1)
    for line in old:
        last = row[:]
        for j, other in enumerate(new):
            row[j + 1] = last[j] + 1 if line == other else max(last[j + 1], row[j])
    return row[-1]


@given(few_lines, few_lines)
def test_as_few_lines_change_as_can_be(old: list[str], new: list[str]) -> None:
    pairs = common_lines(old, new)
    assert len(pairs) == longest_common(old, new)
    assert all(old[i] == new[j] for i, j in pairs)


@given(st.lists(st.sampled_from("abcdefgh"), max_size=40), st.randoms(), st.integers(0, 200))
def test_with_little_work_the_difference_is_longer_but_true(
    old: list[str], chance: random.Random, work: int
) -> None:
    new = [line for line in old if chance.random() < 0.7]
    for _ in range(chance.randrange(6)):
        new.insert(chance.randrange(len(new) + 1), chance.choice("xyzab"))
    pairs = common_lines(old, new, work)
    assert all(old[i] == new[j] for i, j in pairs)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(pairs))


def patched(old: str, new: str) -> str:
    """The new text, made of the old one and the hunks alone."""
    before, made, at = split_lines(old), [], 0
    for hunk in compare_lines(old, new) or ():
        start = hunk.old_start - bool(hunk.old_count)
        made += before[at:start]
        assert len("".join(made).split("\n")) - 1 == hunk.new_start - bool(hunk.new_count)
        kept = [line for line in hunk.lines if line[0] in " -"]
        assert len(kept) == hunk.old_count
        for line, after in zip(hunk.lines, [*hunk.lines[1:], " "], strict=True):
            if line[0] in " +":
                made.append(line[1:] + ("" if after[0] == "\\" else "\n"))
        at = start + hunk.old_count
    return "".join([*made, *before[at:]])


texts = st.lists(st.sampled_from(["a", "b", "", "\t", "c\r"]), max_size=30).map("\n".join)


@given(texts, texts)
def test_hunks_turn_the_old_text_into_the_new_one(old: str, new: str) -> None:
    assert patched(old, new) == new
    assert (compare_lines(old, new) == ()) == (old == new)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize("name", ["training.yml", "meta.yml", "summary_dict.json"])
def test_a_difference_looks_as_git_s(name: str) -> None:
    files = [TRAINING_RUNS / run / name for run in ("base", "finetuned")]
    done = subprocess.run(
        ["git", "diff", "--no-index", "--no-color", *files],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    # Behind a hunk's header git puts the line above that looks like a function's name.
    shown = [re.sub(r"^(@@ .* @@).*", r"\1", line) for line in done.stdout.splitlines()[4:]]
    ours = compare_contents(*([file.read_bytes()] for file in files))
    said = [line for hunk in ours.hunks for line in (hunk.header, *hunk.lines)]
    assert said == shown


def test_texts_that_have_next_to_nothing_in_common_take_bounded_work() -> None:
    chance = random.Random(4)
    started = time.process_time()
    for lines in (200_000, 20_000):
        kinds = ["a\n", "b\n"] if lines == 20_000 else [f"{n}\n" for n in range(lines)]
        old, new = ("".join(chance.choices(kinds, k=lines)) for _ in range(2))
        assert compare_lines(old, new)
    assert time.process_time() - started < 60  # unbounded, it is hours


def test_a_change_in_a_long_text_is_found_between_lines_that_are_unique() -> None:
    old = [f"step {n}\n" for n in range(100_000)]
    new = [line for n, line in enumerate(old) if n % 20]
    found = compare_lines("".join(old), "".join(new))
    assert found is not None
    lines = [line for hunk in found for line in hunk.lines]
    assert sum(line[0] == "-" for line in lines) == 5_000
    assert not any(line[0] == "+" for line in lines)


# Texts


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        ("größe: 3\n".encode(), "größe: 3\n"),
        ("größe".encode("utf-8-sig"), "größe"),
        ("größe".encode("utf-16"), "größe"),
        (b"\xfe\xff" + "größe".encode("utf-16-be"), "größe"),
        ("größe".encode("latin-1"), None),
        ("größe".encode("utf-16-le"), None),
        (b"\xff\xfe" + "a".encode("utf-32-le"), None),
        (b"\xff\xfe\x00\xd8a\x00", None),  # half a character
        (b"\xed\xa0\x80", None),
        (b"a\0b", None),
        (b"\x1b[2J is a text all the same", "\x1b[2J is a text all the same"),
    ],
)
def test_what_a_text_is(data: bytes, text: str | None) -> None:
    for size in (1, 3, 1000):
        found = read_text(data[at : at + size] for at in range(0, len(data), size))
        assert (found.text if found else None) == text


def test_a_text_is_read_no_further_than_the_limit() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield "größe\n".encode()

    found = read_text(endless(), limit=1003)  # within an ö
    assert found is not None
    assert not found.complete
    assert len(found.text.encode()) == 1002
    assert compare_contents(endless(), [b"short"]).note == "too large to be compared line by line"
    too_many = compare_contents([b"\n" * 2_000_000], [b"short"])
    assert (too_many.form, too_many.note) == ("text", "too many lines to be compared")


def test_the_same_text_in_another_encoding() -> None:
    found = compare_contents([b"loss\n"], ["loss\n".encode("utf-16")])
    assert (found.form, found.hunks) == ("text", ())
    assert found.note == "its encoding was utf-8 and is utf-16"


def test_of_other_files_it_is_known_that_they_differ() -> None:
    assert compare_contents([b"\0\1"], [b"\0\2"]) == ContentDiff("binary")
    assert compare_contents([b"text"], [b"\0\2"]) == ContentDiff("binary")
    mixed = compare_contents([b"text"], [save({"w": np.zeros(2)})])
    assert mixed == ContentDiff("binary", note="they are of different forms")


# Tensors


def changes(found: ContentDiff) -> dict[str, str]:
    assert found.form in {"hdf5", "safetensors"}, found.note
    return {(c.new or c.old or Tensor("", "", ())).name: c.kind for c in found.tensors}


def test_names_that_differ_only_in_counters_go_together_in_their_order() -> None:
    old = ["dense/k", "dense_1/k", "dense_10/k", "gone_1", "a", "layer_2"]
    new = ["dense_3/k", "dense_11/k", "dense_4/k", "gone_2", "gone_3", "a"]
    assert set(paired(old, new)) == {
        ("a", "a"),
        *(("dense/k", "dense_3/k"), ("dense_1/k", "dense_4/k"), ("dense_10/k", "dense_11/k")),
        *(("gone_1", None), (None, "gone_2"), (None, "gone_3"), ("layer_2", None)),
    }


ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "kept": np.arange(6, dtype=np.float32).reshape(2, 3),
    "changed": np.zeros(4, np.float32),
    "reshaped": np.zeros((2, 2), np.int64),
    "retyped": np.zeros(3, np.float32),
    "removed": np.zeros(()),
    "empty": np.zeros((0, 5)),
}
OTHERS = {
    **{name: ARRAYS[name] for name in ("kept", "empty")},
    "changed": np.array([0, 0, -2.5, 1], np.float32),
    "reshaped": np.zeros((4,), np.int64),
    "retyped": np.zeros(3, np.float16),
    "added": np.ones(2, np.bool_),
}
EXPECTED = {name: name for name in ("changed", "reshaped", "retyped", "removed", "added")}


def test_safetensors_are_compared() -> None:
    old, new = save(ARRAYS), save(OTHERS)
    for size in (1, 7, 1 << 20):
        pieces = ([data[at : at + size] for at in range(0, len(data), size)] for data in (old, new))
        found = compare_contents(*pieces)
        assert changes(found) == EXPECTED
        assert found.same == 2
    listed = read_tensors([old], digests=True)
    assert listed is not None
    assert {t.name: (t.dtype, t.shape) for t in listed} == {
        name: (str(array.dtype), array.shape) for name, array in ARRAYS.items()
    }
    again = compare_contents([old], [save(ARRAYS, {"format": "np"})])
    assert again.note == "the tensors are the same; what differs is something else in the file"


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def said(**changes: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


BROKEN = {
    "too short": b"\x00" * 4 + b"{",
    "a header longer than the file": (100).to_bytes(8, "little") + b"{}",
    "a huge header": (MAX_HEADER + 1).to_bytes(8, "little") + b"{}",
    "no JSON": safetensors(b"{'w'}"),
    "no UTF-8": safetensors(b'{"\xff":1}'),
    "a list": safetensors(b"[]"),
    "a name twice": safetensors(b'{"w":1,"w":1}'),
    "deep": safetensors(b'{"w":' + b"[" * 300_000 + b"]" * 300_000 + b"}"),
    "deep objects": safetensors(b'{"w":' * 100_000 + b"1" + b"}" * 100_000),
    "a long number": safetensors(b'{"w":{"shape":[' + b"9" * 1_000_000 + b"]}}"),
    "many tensors": safetensors(b"[" + b"{}," * (2 * MAX_TENSORS) + b"{}]"),
    "a tensor that is none": safetensors({"w": 3}),
    "no type": safetensors({"w": said(dtype=None)}, bytes(8)),
    "a size below zero": safetensors({"w": said(shape=[-2])}, bytes(8)),
    "a size that is true": safetensors({"w": said(shape=[True, 2])}, bytes(8)),
    "a size that is a text": safetensors({"w": said(shape=["2"])}, bytes(8)),
    "many dimensions": safetensors({"w": said(shape=[1] * 100_000)}, bytes(8)),
    "a size that is not the shape's": safetensors({"w": said(shape=[3])}, bytes(8)),
    "an end before the beginning": safetensors({"w": said(data_offsets=[8, 0])}, bytes(8)),
    "one offset": safetensors({"w": said(data_offsets=[8])}, bytes(8)),
    "an end outside": safetensors({"w": said()}, bytes(7)),
    "a beginning outside": safetensors({"w": said(data_offsets=[2**60, 2**60 + 8])}, bytes(7)),
    "an overlap": safetensors({"w": said(), "v": said(data_offsets=[4, 12])}, bytes(12)),
    "a long name": safetensors({"w" * 5000: said()}, bytes(8)),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_safetensors_file_is_refused_in_words(data: bytes) -> None:
    for digests in (True, False):
        with pytest.raises(FormatError, match=r"^a broken safetensors file: \S[^\n]*$"):
            read_safetensors(Pieces([data]), digests=digests)


def test_what_differs_in_a_broken_file_is_a_remark() -> None:
    data = safetensors({"\x1b[2J": said(shape=[3])}, bytes(8))
    found = compare_contents([data], [save({"w": np.zeros(2)})])
    assert found.form == "binary"
    assert found.note.startswith(r"a broken safetensors file: \x1b[2J has 8 bytes")


def test_a_type_of_later_is_listed() -> None:
    data = safetensors({"w": said(dtype="F6_NEW", shape=[999])}, bytes(8))
    assert read_tensors([data]) == (Tensor("w", "f6_new", (999,)),)


# HDF5

Write = Callable[[h5py.File], object]


@pytest.fixture
def hdf5(tmp_path: Path) -> Callable[[Write], bytes]:
    """Makes the bytes of an HDF5 file."""

    def made(write: Write) -> bytes:
        path = tmp_path / "made.h5"
        with h5py.File(path, "w") as file:
            write(file)
        return path.read_bytes()

    return made


Make = Callable[[Write], bytes]


def fill(arrays: dict[str, Any], **options: Any) -> Write:
    def write(file: h5py.File) -> None:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, **(options if np.ndim(values) else {}))

    return write


def test_of_the_real_runs_the_tensors_are_told_that_were_trained() -> None:
    runs = [[(TRAINING_RUNS / run / "model.h5").read_bytes()] for run in ("base", "finetuned")]
    found = compare_contents(*runs)
    kinds = changes(found)
    weights = {name: kind for name, kind in kinds.items() if name.startswith("model_weights")}
    assert weights == {
        f"model_weights/{layer}/sequential_1/{layer}/{part}": kind
        for layer, kind in (("embed", "renamed"), ("hidden", "renamed"), ("head", "changed"))
        for part in ("kernel", "bias")
    }
    rate = next(c for c in found.tensors if c.new and c.new.name.endswith("learning_rate"))
    assert (rate.values, rate.by) == (1, pytest.approx(0.0007))
    listed = read_tensors(runs[0])
    assert listed is not None
    assert Tensor("model_weights/head/sequential/head/kernel", "float32", (128, 10)) in listed


@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "chunks": True}], ids=str)
def test_hdf5_files_are_compared(hdf5: Make, options: dict[str, Any]) -> None:
    chunked = {name: array for name, array in ARRAYS.items() if array.size or not options}
    old, new = hdf5(fill(chunked, **options)), hdf5(fill(OTHERS))
    found = compare_contents([old], [new])
    assert {name: kind for name, kind in changes(found).items() if name != "empty"} == EXPECTED
    change = next(c for c in found.tensors if c.kind == "changed")
    assert (change.values, change.by) == (2, 2.5)
    behind = compare_contents([bytes(1024), old], [bytes(512), new])  # a block of its user's
    assert behind.form == "hdf5"


VALUES: dict[str, tuple[Any, Any, int | None, float | None]] = {
    "int64": (np.array([-(2**63), 5]), np.array([2**63 - 1, 5]), 1, float(2**64 - 1)),
    "uint8": (np.array([0, 255], "u1"), np.array([255, 0], "u1"), 2, 255.0),
    "big-endian": (np.array([1.5, 2], ">f8"), np.array([1, 2], ">f8"), 1, 0.5),
    "NaN stays": (np.array([np.nan, 1]), np.array([np.nan, 2]), 1, 1.0),
    "NaN comes": (np.array([0.0, 1]), np.array([np.nan, 1]), 1, None),
    "infinity": (np.array([np.inf, 1]), np.array([0.0, 1]), 1, float("inf")),
    "complex": (np.array([3j]), np.array([4 + 0j]), 1, 5.0),
    "bool": (np.array([True, False]), np.array([True, True]), 1, None),
    "text": (["a", "b"], ["a", "c"], 1, None),
    "bytes": (np.array([b"ab"]), np.array([b"ac"]), 1, None),
    "records": (np.array([(1, 2.0)], "i4,f8"), np.array([(1, 3.0)], "i4,f8"), 1, None),
    "one": (1.0, 3.0, 1, 2.0),
    "a text": ("a", "b", 1, None),
}


def test_values_of_every_type_are_compared(hdf5: Make) -> None:
    old, new = (hdf5(fill({name: v[at] for name, v in VALUES.items()})) for at in (0, 1))
    found = {c.new.name: (c.values, c.by) for c in compare_contents([old], [new]).tensors if c.new}
    assert found == {name: (number, by) for name, (_, _, number, by) in VALUES.items()}


def test_what_can_t_be_compared_is_said_so(hdf5: Make) -> None:
    def write(file: h5py.File) -> None:
        file.create_dataset("ragged", (1,), h5py.vlen_dtype(np.int32))[0] = [len(file), 2]
        mixed = np.dtype([("name", h5py.string_dtype()), ("size", "i4")])
        file.create_dataset("mixed", data=np.array([("a", 1)], mixed))
        file.create_dataset("nothing", (10**12, 1000), "f8", chunks=(1000, 10))
        file["null"] = h5py.Empty("f4")
        file.create_dataset("chunk", (2**29,), "f8", chunks=(2**28,), compression="gzip")

    found = compare_contents([hdf5(write)], [hdf5(write)])
    unknown = ("ragged", "mixed", "nothing", "null", "chunk")
    assert changes(found) == dict.fromkeys(unknown, "unknown")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5_process, "TIME_S", 15.0)


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
@pytest.mark.usefixtures("impatient")
def test_no_other_file_is_opened(hdf5: Make, tmp_path: Path) -> None:
    """Each of these leads to a pipe that nobody writes to: who opens it waits for ever."""
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)

    def write(file: h5py.File) -> None:
        file["own"] = np.zeros(2)
        file["soft"] = h5py.SoftLink("/own")
        file["external"] = h5py.ExternalLink(pipe, "/w")
        file["group/external"] = h5py.ExternalLink(pipe, "/")
        file.create_dataset("raw", (4,), "u1", external=[(pipe, 0, 4)])
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        unlimited = (h5py.h5s.UNLIMITED,)
        source, target = (h5py.h5s.create_simple((1,), unlimited) for _ in range(2))
        for space in (source, target):
            space.select_hyperslab((0,), (1,), stride=(1,), block=unlimited)
        plan.set_virtual(target, pipe.encode(), b"/w", source)
        h5py.h5d.create(file.id, b"virtual", h5py.h5t.IEEE_F64LE, target, plan)

    data = hdf5(write)
    listed = read_tensors([data])
    assert listed is not None
    assert {tensor.name: tensor.shape for tensor in listed} == {
        "own": (2,),
        "raw": (4,),
        "virtual": None,
    }
    found = compare_contents([data], [data])
    assert changes(found) == {"raw": "unknown", "virtual": "unknown"}


def test_groups_that_go_round_in_circles_end(hdf5: Make) -> None:
    def write(file: h5py.File) -> None:
        file["a/b/w"] = np.zeros(2)
        file["a/b/again"] = file["a"]
        file["a/top"] = file["/"]

    listed = read_tensors([hdf5(write)])
    assert [tensor.name for tensor in listed or ()] == ["a/b/w"]


def test_a_broken_hdf5_file_is_refused_in_words() -> None:
    whole = (TRAINING_RUNS / "finetuned" / "model.h5").read_bytes()
    chance = random.Random(1)
    damaged = [whole[:8], whole[:3000], whole[:8] + bytes(len(whole)), whole[:-1]]
    for _ in range(6):
        data = bytearray(whole)
        for at in chance.sample(range(8, 20_000), 60):
            data[at] = chance.randrange(256)
        damaged.append(bytes(data))
    refused = 0
    for data in damaged:
        found = compare_contents([whole], [data])
        assert found.form in {"hdf5", "binary"}
        refused += found.form == "binary"
        if found.form == "binary":
            assert found.note.startswith("an HDF5 file that can't be read: ")
            assert found.note.isprintable()
    assert refused >= 4


@pytest.mark.parametrize(
    ("child", "why"),
    [
        ("import os; os.abort()", "the library that reads it gave up"),
        ("while True: pass", "it takes more than 1 seconds"),
    ],
)
def test_what_happens_in_the_library_ends_no_more_than_the_reading(
    child: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5_process, "_CHILD", child)
    monkeypatch.setattr(hdf5_process, "TIME_S", 1.0)
    with pytest.raises(FormatError, match=why):
        read_tensors([b"\x89HDF\r\n\x1a\n"])


def test_without_h5py_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5_process, "find_spec", lambda name: None)
    found = compare_contents([b"\x89HDF\r\n\x1a\n"], [b"\x89HDF\r\n\x1a\n more"])
    assert found.form == "binary"
    assert "h5py is not installed (pip install h5py)" in found.note
