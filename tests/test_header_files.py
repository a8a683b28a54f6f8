"""Large files of which only a header is read: what they say, what it costs, and hostile ones."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

import ama
from ama.catalog.database import Catalog
from ama.catalog.documents import HEADERS, Document, Syntax, Value, read_header
from ama.catalog.facts import FactReader
from ama.catalog.roles import Rules, roles_of
from ama.catalog.unread import Gap
from ama.contents import headers
from ama.contents.headers import Header, HeaderEnds
from ama.dashboard.application import application
from ama.storage.local import LocalStorage
from ama.stores.remote import Remote
from counting_storage import CountingStorage

MIB = 1024 * 1024


class Read:
    """A file, and how many of its bytes were asked for."""

    def __init__(self, data: bytes, size: int | None = None) -> None:
        self.data = data
        self.size = len(data) if size is None else size
        self.bytes = 0

    def at(self, at: int, size: int) -> bytes:
        """Return bytes from a place on; behind the data, zeros up to the size."""
        end = min(at + size, self.size)
        self.bytes += end - at
        return self.data[at:end].ljust(end - at, b"\0")


def read(data: bytes, syntax: Syntax) -> Document:
    return read_header(Read(data).at, len(data), syntax)


def said(data: bytes, syntax: Syntax) -> dict[str, Value]:
    found = read(data, syntax)
    assert found.gaps == ()
    return dict(found.values)


def npy(array: object) -> bytes:
    file = io.BytesIO()
    numpy.save(file, numpy.asarray(array))
    return file.getvalue()


def npz(*, packed: bool = False, **arrays: object) -> bytes:
    file = io.BytesIO()
    save = numpy.savez_compressed if packed else numpy.savez
    save(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


class TestNpy:
    @pytest.mark.parametrize(
        ("dtype", "name"),
        [
            ("<f4", "float32"),
            (">f8", "float64 (big-endian)"),
            ("u1", "uint8"),
            ("i8", "int64"),
            ("?", "bool"),
            ("c16", "complex128"),
            ("S5", "bytes5"),
            ("U3", "text3"),
            ("M8[ns]", "datetime64[ns]"),
            ("f2", "float16"),
        ],
    )
    def test_type_shape_and_order(self, dtype: str, name: str) -> None:
        array = numpy.zeros((2, 3), dtype)
        assert said(npy(array), "npy") == {"dtype": name, "shape": (2, 3), "order": "C"}
        turned = said(npy(numpy.asfortranarray(array)), "npy")
        assert turned["order"] == "Fortran"

    def test_scalars_and_structures(self) -> None:
        assert said(npy(3.5), "npy") == {"dtype": "float64", "shape": (), "order": "C"}
        array = numpy.zeros(4, [("a.b", "<i4"), ("xyz", "<f8", (3,))])
        assert said(npy(array), "npy") == {
            "dtype": "structured",
            "shape": (4,),
            "order": "C",
            'fields."a.b"': "int32",
            "fields.xyz": "float64[3]",
        }

    def test_objects_are_only_named(self, tmp_path: Path) -> None:
        class Harm:
            def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
                return Path.touch, (tmp_path / "touched",)

        file = io.BytesIO()
        numpy.save(file, numpy.array([Harm()], object), allow_pickle=True)
        assert said(file.getvalue(), "npy")["dtype"] == "object"
        assert not (tmp_path / "touched").exists()

    def test_one_that_is_cut_off_is_named(self) -> None:
        data = npy(numpy.arange(1000))
        found = read(data[:-1], "npy")
        assert (found.values["shape"], found.gaps) == ((1000,), (Gap(None, "broken"),))


def header(text: str, version: int = 1) -> bytes:
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode() + bytes(64)


HOSTILE_NPY = [
    b"",
    b"\x93NUMPY",
    b"\x93NUMPX\x01\x00" + bytes(100),
    header("", 9),
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (3, -4)}"),
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (9" + "9" * 4_400 + ",)}"),
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (1" + ",1" * 65 + ")}"),
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,)}"),
    header("{'descr': __import__('os'), 'fortran_order': False, 'shape': ()}"),
    header("[" * 5_000),
    header("-" * 9_000 + "1"),
    header("{'descr': 'f4'}"),
    header("{'descr': 'q7', 'fortran_order': False, 'shape': ()}"),
    header("{'descr': [('a',)], 'fortran_order': False, 'shape': ()}"),
    header("x" * 60_000),
    b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100),
]


@pytest.mark.parametrize("number", range(len(HOSTILE_NPY)))
def test_a_hostile_array_is_named(number: int) -> None:
    assert read(HOSTILE_NPY[number], "npy").gaps


class TestNpz:
    @pytest.mark.parametrize("packed", [False, True])
    def test_each_array(self, packed: bool) -> None:
        data = npz(packed=packed, **{"layer.w": numpy.ones((5, 7), "f2"), "b": numpy.arange(3)})
        assert said(data, "npz") == {
            "arrays": 2,
            "layer.w.dtype": "float16",
            "layer.w.shape": (5, 7),
            "layer.w.order": "C",
            "b.dtype": "int64",
            "b.shape": (3,),
            "b.order": "C",
        }

    def test_of_a_large_one_little_is_read(self) -> None:
        parts = {f"w{n}": numpy.zeros(MIB // 2, "f8") for n in range(8)}
        data = npz(**parts)  # 32 MiB
        file = Read(data)
        found = read_header(file.at, file.size, "npz")
        assert found.values["w7.shape"] == (MIB // 2,)
        assert file.bytes < 10 * headers.WINDOW + 2 * MIB

    def test_an_archive_of_64_bits(self) -> None:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
            with archive.open("a.npy", "w", force_zip64=True) as member:
                member.write(npy([1, 2]))
            archive.writestr("readme.txt", "no array")
        assert said(file.getvalue(), "npz")["a.shape"] == (2,)
        assert said(file.getvalue(), "npz")["arrays"] == 1

    def test_a_bomb_stays_packed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bomb.npy", bytes(64 * MIB))
            archive.writestr("a.npy", npy([1]))
        found = read(file.getvalue(), "npz")
        assert found.values["a.shape"] == (1,)
        assert found.gaps == (Gap("bomb", "broken"),)

    def test_what_is_hostile_is_named(self) -> None:
        data = npz(a=numpy.arange(3), b=numpy.arange(4))
        for cut in (0, 1, 21, len(data) // 2, len(data) - 1):
            assert read(data[:cut], "npz").gaps
        at = data.rfind(b"PK\x05\x06")
        for place, form, value in [
            (at + 10, "<H", 60_000),  # the number of members
            (at + 12, "<I", 0xFFFFFFF0),  # the size of their list
            (at + 16, "<I", len(data)),  # its place
            (data.find(b"PK\x01\x02") + 42, "<I", 0x7FFFFFFF),  # a member's place
            (data.find(b"PK\x01\x02") + 42, "<I", 3),
            (data.find(b"PK\x01\x02") + 28, "<H", 0xFFFF),  # the size of its name
        ]:
            harmed = bytearray(data)
            struct.pack_into(form, harmed, place, value)
            assert read(bytes(harmed), "npz").gaps

    def test_many_arrays_are_data(self) -> None:
        data = npz(**{f"a{n}": numpy.zeros(1) for n in range(700)})
        assert [gap.reason for gap in read(data, "npz").gaps] == ["too_many"]

    def test_twins_are_named(self) -> None:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.npy", npy([1]))
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr("a.npy", npy([1, 2]))
        found = read(file.getvalue(), "npz")
        assert found.values["a.shape"] == (2,)
        assert Gap("a.shape", "repeated") in found.gaps


DATA = Path(__file__).parent / "data"
GGUF = (DATA / "tiny.gguf").read_bytes()


def gguf_text(text: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}Q", len(text)) + text


def gguf(*pairs: bytes, tensors: int = 1, order: str = "<", count: int | None = None) -> bytes:
    """A GGUF file by hand, for what the real writer refuses to write."""
    counts = struct.pack(f"{order}IQQ", 3, tensors, len(pairs) if count is None else count)
    return b"GGUF" + counts + b"".join(pairs) + bytes(64)


def pair(key: bytes, kind: int, value: bytes, order: str = "<") -> bytes:
    return gguf_text(key, order) + struct.pack(f"{order}I", kind) + value


def texts(key: bytes, each: list[bytes]) -> bytes:
    listed = struct.pack("<IQ", 8, len(each)) + b"".join(map(gguf_text, each))
    return pair(key, 9, listed)


class TestGguf:
    def test_one_of_its_own_writer(self) -> None:
        assert said(GGUF, "gguf") == {
            "gguf.version": 3,
            "gguf.tensors": 2,
            "general.architecture": "llama",
            "general.name": "Tiny",
            "llama.context_length": 2048,
            "llama.embedding_length": 8,
            "llama.attention.layer_norm_rms_epsilon": 1e-05,
            "llama.rope.freq_base": 10000.0,
            "general.file_type": 7,
            "tokenizer.ggml.add_bos_token": True,
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.tokens.length": 300,
            "tokenizer.ggml.scores.length": 300,
            "general.tags": ("text", "tiny"),
            "tokenizer.chat_template": "{{ messages }}",
            "llama.rope.sections": (1, 2, 3),
            "general.parameter_count": 24,
        }

    def test_the_large_end_first(self) -> None:
        data = gguf(pair(b"a.b", 4, struct.pack(">I", 7), ">"), order=">")
        assert said(data, "gguf") == {"gguf.version": 3, "gguf.tensors": 1, "a.b": 7}

    def test_the_first_version_has_short_counts(self) -> None:
        data = b"GGUF" + struct.pack("<III", 1, 5, 1)
        data += struct.pack("<I", 1) + b"k" + struct.pack("<If", 6, 0.1)
        assert said(data, "gguf") == {"gguf.version": 1, "gguf.tensors": 5, "k": 0.1}

    def test_a_vocabulary_is_skipped_and_what_follows_read(self) -> None:
        words = [b"w%d" % n for n in range(200_000)]
        data = gguf(texts(b"tokens", words), pair(b"after", 0, b"\7"))
        file = Read(data, size=4 << 30)
        found = read_header(file.at, file.size, "gguf")
        assert found == Document(
            {"gguf.version": 3, "gguf.tensors": 1, "tokens.length": 200_000, "after": 7}
        )
        assert file.bytes < len(data) + MIB

    def test_a_long_text_is_left_out(self) -> None:
        data = gguf(pair(b"a", 8, gguf_text(b"x" * 100_000)), pair(b"b", 7, b"\1"))
        found = read(data, "gguf")
        assert (found.values["b"], found.gaps) == (True, (Gap("a", "too_large"),))

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"GGML" + bytes(100), "broken"),
            (b"GGUF" + struct.pack("<I", 99) + bytes(100), "broken"),
            (b"GGUF", "broken"),
            (gguf(count=1 << 63), "too_many"),
            (gguf(pair(b"a", 99, b"")), "broken"),
            (gguf(pair(b"a", 8, struct.pack("<Q", 1 << 63))), "broken"),
            (gguf(pair(b"a", 9, struct.pack("<IQ", 0, 1 << 63))), "broken"),
            (gguf(pair(b"a", 9, struct.pack("<IQ", 8, 1 << 63))), "broken"),
            (gguf(pair(b"a", 9, struct.pack("<IQ", 9, 1 << 63) * 9)), "broken"),
            (gguf(struct.pack("<Q", 1 << 40)), "broken"),
            (gguf(gguf_text(b"\xff") + bytes(20)), "broken"),
            (gguf(*[pair(b"k%d" % n, 0, b"\1") for n in range(3_000)]), "too_many"),
            (gguf(*[pair(b"k%d" % n, 8, gguf_text(b"x" * 60_000)) for n in range(9)]), "too_many"),
        ],
    )
    def test_what_is_hostile_is_named(self, data: bytes, reason: str) -> None:
        assert reason in [gap.reason for gap in read(data, "gguf").gaps]

    def test_lists_without_end_take_no_time(self) -> None:
        nothing = struct.pack("<IQ", 9, 1 << 62) + struct.pack("<IQ", 0, 0) * 100
        for data in (
            gguf(pair(b"a", 9, nothing)),  # of empty lists
            gguf(pair(b"a", 9, struct.pack("<IQ", 8, 1 << 62))),  # of empty texts
        ):
            file = Read(data, size=1 << 40)  # zeros follow
            assert read_header(file.at, file.size, "gguf").gaps
            assert file.bytes <= 17 * MIB

    def test_a_key_that_is_there_twice(self) -> None:
        found = read(gguf(pair(b"a", 0, b"\1"), pair(b"a", 0, b"\2")), "gguf")
        assert (found.values["a"], found.gaps) == (2, (Gap("a", "repeated"),))


ONNX = (DATA / "tiny.onnx").read_bytes()


def varint(number: int) -> bytes:
    found = b""
    while number > 0x7F:
        found += bytes([number & 0x7F | 0x80])
        number >>= 7
    return found + bytes([number])


def part(number: int, value: int | bytes | str) -> bytes:
    """A field of a message of protobuf."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def initializer(name: str, size: int) -> bytes:
    return part(5, part(1, size) + part(2, 2) + part(8, name) + part(9, bytes(size)))


def end(number: int, name: str, kind: bytes) -> bytes:
    """An input (11) or output (12) of a graph."""
    return part(number, part(1, name) + part(2, kind))


def tensor(*dimensions: bytes, kind: int = 1) -> bytes:
    shape = b"".join(part(1, dimension) for dimension in dimensions)
    return part(1, part(1, kind) + part(2, shape))


def nested(levels: int) -> bytes:
    """A sequence of sequences of ..."""
    kind = tensor()
    for _ in range(levels):
        kind = part(4, part(1, kind))
    return end(11, "x", kind)


def onnx(*parts: bytes, after: bytes = b"") -> bytes:
    return part(1, 9) + part(7, b"".join(parts)) + after


class TestOnnx:
    def test_one_of_its_own_writer(self) -> None:
        assert said(ONNX, "onnx") == {
            "ir_version": 9,
            "producer_name": "tiny",
            "producer_version": "1.2",
            "model_version": 4,
            "opset.ai.onnx": 17,
            "opset.com.microsoft": 1,
            "metadata.task": "classify",
            "metadata.epochs": 12,
            "metadata.val.loss": 0.25,
            "metadata.names": "{0: 'cat'}",
            "graph.name": "tiny",
            "graph.nodes": 5,
            "graph.initializers": 3,
            "external_data": ("weights.bin",),
            "inputs.ids.type": "int64",
            "inputs.ids.shape": ("batch", "?", 8),
            "outputs.logits.type": "float32",
            "outputs.logits.shape": ("batch", "?", 8, 3),
            "outputs.all.type": "sequence of float32",
            "outputs.scores.type": "map of text to float64",
        }

    def test_an_initializer_is_no_input(self) -> None:
        """Before version 4 of the format, each was an input as well."""
        data = onnx(initializer("w", 5), end(11, "x", tensor()), end(11, "w", tensor()))
        assert [key for key in said(data, "onnx") if key.startswith("inputs")] == [
            "inputs.x.type",
            "inputs.x.shape",
        ]

    def test_weights_are_passed_by(self) -> None:
        weights = [initializer(f"w{n}", 2 * MIB) for n in range(16)]
        file = Read(onnx(*weights, end(11, "a/b.c", tensor(part(2, "n")))))
        found = read_header(file.at, file.size, "onnx")
        assert found.values["graph.initializers"] == 16
        assert found.values['inputs."a/b.c".shape'] == ("n",)
        assert file.bytes <= 18 * headers.WINDOW

    def test_of_too_many_weights_the_model_is_still_named(self) -> None:
        weights = b"".join(initializer("w", 70_000) for _ in range(300))
        found = read(onnx(weights, after=part(8, part(2, 17))), "onnx")
        assert found == Document({"ir_version": 9, "opset.ai.onnx": 17}, (Gap(None, "too_large"),))

    def test_many_names_are_counted(self) -> None:
        many = [end(12, f"o{n}", tensor()) for n in range(301)]
        outside = part(13, part(1, "location") + part(2, "w.bin")) + part(14, 1)
        values = said(onnx(part(5, part(8, "w") + outside), *many), "onnx")
        assert (values["outputs.length"], values["external_data"]) == (301, ("w.bin",))

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "broken"),
            (b"no model at all", "broken"),
            (part(2, "no version"), "broken"),
            (ONNX[:-1], "broken"),
            (part(1, 9) + varint(7 << 3 | 2) + varint(1 << 62), "broken"),
            (part(1, 9) + varint(7 << 3 | 2) + b"\xff" * 11, "broken"),
            (part(1, 9) + b"\x00", "broken"),  # a field 0
            (part(1, 9) + b"\x3b", "broken"),  # a group, which ended before ONNX began
            (part(1, 9) + part(14, part(1, b"\xff")), "broken"),
            (onnx(nested(9)), "too_deep"),
            (onnx(end(11, "x", tensor(*[part(1, 2)] * 65))), "too_many"),
            (onnx() + part(7, b""), "too_many"),  # a second graph
            (part(1, 9) + part(14, part(1, "k")) * 1_001, "too_many"),
            (part(1, 9) + part(3, b"x" * 70_000), "too_large"),
            (onnx(part(5, b"") * 100_001), "too_many"),
        ],
    )
    def test_what_is_hostile_is_named(self, data: bytes, reason: str) -> None:
        assert reason in [gap.reason for gap in read(data, "onnx").gaps]


def parquet(table: pyarrow.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file, **options)
    return file.getvalue()


def footer(*values: bytes, size: int | None = None) -> bytes:
    """A Parquet file by hand: the fields of its footer."""
    said = b"".join(values) + b"\0"
    return b"PAR1" + said + struct.pack("<I", len(said) if size is None else size) + b"PAR1"


def listed(number_step: int, kind: int, size: int) -> bytes:
    """The head of a list, as the next field but so many."""
    return bytes([number_step << 4 | 9, 0xF0 | kind]) + varint(size)


def element(name: str, *, kind: int | None = None, children: int | None = None) -> bytes:
    """An element of a schema."""
    plain = b"" if kind is None else bytes([0x15, 2 * kind])
    below = b"" if children is None else bytes([0x15]) + varint(2 * children)
    step = 4 if kind is None else 3
    return plain + bytes([step << 4 | 8, len(name)]) + name.encode() + below + b"\0"


def schema(*elements: bytes, size: int | None = None) -> bytes:
    return listed(2, 12, len(elements) if size is None else size) + b"".join(elements)


ROWS = b"\x16\x06"  # the next field: 3


class TestParquet:
    def test_one_of_its_own_writer(self) -> None:
        columns = {
            "id": pyarrow.array([1, 2]),
            "name": pyarrow.array(["a", "b"]),
            "u.v": pyarrow.array([1, 2], pyarrow.uint8()),
            "at": pyarrow.array([1, 2], pyarrow.timestamp("us", "UTC")),
            "price": pyarrow.array([Decimal("1.20")] * 2, pyarrow.decimal128(10, 2)),
            "code": pyarrow.array([b"x", b"y"], pyarrow.binary(1)),
            "tags": pyarrow.array([["a"], []]),
            "part": pyarrow.array([{"a": 1.5, "b": None}] * 2),
        }
        table = pyarrow.table(columns).replace_schema_metadata({"split": "train", "epoch": "3"})
        values = said(parquet(table, row_group_size=1), "parquet")
        assert str(values.pop("created_by")).startswith("parquet-cpp-arrow")
        assert values == {
            "rows": 2,
            "columns.id": "int64",
            "columns.name": "text",
            'columns."u.v"': "uint8",
            "columns.at": "timestamp[us, UTC]",
            "columns.price": "decimal(10, 2)",
            "columns.code": "bytes1",
            "columns.tags.list.element": "text",
            "columns.part.a": "float64",
            "columns.part.b": "null",
            "row_groups": 2,
            "metadata.split": "train",
            "metadata.epoch": 3,
        }
        assert set(roles_of("a.parquet", values, Rules()).values()) == {"data"}

    def test_of_a_large_one_only_the_footer_is_read(self) -> None:
        table = pyarrow.table({"x": range(MIB)})
        file = Read(parquet(table))
        assert file.size > 4 * MIB
        assert read_header(file.at, file.size, "parquet").values["rows"] == MIB
        assert file.bytes <= headers.WINDOW

    def test_a_large_footer_is_read_within_limits(self) -> None:
        table = pyarrow.table({f"c{n}": range(200) for n in range(300)})
        data = parquet(table, row_group_size=2)
        assert len(data) > 2 * MIB
        assert said(data, "parquet")["row_groups"] == 100
        wide = parquet(pyarrow.table({f"c{n}": [1] for n in range(1_001)}))
        assert said(wide, "parquet")["columns.length"] == 1_001

    def test_an_encrypted_one_is_named(self) -> None:
        assert read(footer()[:-4] + b"PARE", "parquet").gaps == (Gap(None, "binary"),)

    def test_types_of_older_writers(self) -> None:
        data = footer(
            schema(
                element("top", children=3),
                element("a", kind=0),
                element("b", kind=3),
                element("c", kind=6)[:-1] + bytes([0x25, 0, 0]),  # a converted type: text
            ),
            ROWS,
        )
        assert said(data, "parquet") == {
            "rows": 3,
            "columns.a": "bool",
            "columns.b": "int96",
            "columns.c": "text",
        }

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "broken"),
            (b"PAR1PAR1", "broken"),
            (b"text that is no table", "broken"),
            (footer(size=1 << 31), "broken"),
            (footer(size=3_000), "broken"),
            (footer(schema(element("top", children=2), element("a", kind=1))), "broken"),
            (footer(schema(element("top", children=0), element("a", kind=1))), "broken"),
            (footer(schema()), "broken"),
            (footer(schema(*[element("g", children=1)] * 40)), "too_deep"),
            (footer(schema(size=1 << 60)), "too_many"),
            (footer(listed(5, 12, 201)), "too_many"),
            (footer(bytes([0x1C]) * 40), "too_deep"),  # structs in structs
            (footer(bytes([0x19, 0x19]) * 40), "too_deep"),  # lists in lists
            (footer(listed(1, 1, 1 << 60)), "broken"),
            (footer(listed(1, 12, 1 << 60) + bytes(100)), "broken"),
            (footer(bytes([0x1E])), "broken"),  # no kind
            (footer(bytes([0x16]) + b"\xff" * 20), "broken"),
        ],
    )
    def test_what_is_hostile_is_named(self, data: bytes, reason: str) -> None:
        assert reason in [gap.reason for gap in read(data, "parquet").gaps]

    @pytest.mark.parametrize("kind", [1, 3, 4, 7, 8, 12])
    def test_lists_without_end_take_no_time(self, kind: int) -> None:
        said = listed(4, kind, 1 << 60)
        tail = struct.pack("<I", 1 << 30) + b"PAR1"

        def at(place: int, size: int) -> bytes:
            first = (1 << 40) - 8 - (1 << 30)
            found = bytearray(size)
            for start, data in ((first, said), ((1 << 40) - 8, tail)):
                begin = start - place
                if 0 <= begin <= size - len(data):
                    found[begin : begin + len(data)] = data
            return bytes(found)

        assert read_header(at, 1 << 40, "parquet").gaps


@given(st.binary(max_size=200), st.sampled_from(sorted(HEADERS)))
def test_no_bytes_raise_anything_else(data: bytes, syntax: Syntax) -> None:
    read(data, syntax)


SAMPLES: list[tuple[Syntax, bytes]] = [
    ("npy", npy(numpy.arange(30))),
    ("npz", npz(a=numpy.arange(3), b=numpy.ones(2))),
    ("npz", npz(packed=True, a=numpy.arange(3), b=numpy.ones(2))),
    ("gguf", GGUF),
    ("onnx", ONNX),
    ("parquet", parquet(pyarrow.table({"a": [1, 2], "b": [["x"], []]}))),
]


@given(st.sampled_from(SAMPLES), st.integers(0), st.integers(0, 255), st.booleans())
def test_no_harmed_file_raises_anything_else(
    sample: tuple[Syntax, bytes], at: int, byte: int, cut: bool
) -> None:
    syntax, data = sample
    harmed = bytearray(data)
    harmed[at % len(data)] = byte
    read(bytes(harmed[: at % len(data)] if cut else harmed), syntax)


class TestLimits:
    def test_no_more_is_read_than_allowed(self) -> None:
        file = Read(b"", size=1 << 40)
        header = Header(file.at, file.size, MIB)
        with pytest.raises(HeaderEnds, match="too_large"):
            list(iter(lambda: header.read(1000), b""))
        assert file.bytes <= MIB

    def test_each_place_counts_as_a_window(self) -> None:
        file = Read(b"", size=1 << 40)
        header = Header(file.at, file.size, MIB)
        places = iter(range(1, 1 << 20))

        def next_place() -> bytes:
            header.seek(next(places) * MIB)
            return header.read(1)

        with pytest.raises(HeaderEnds, match="too_large"):
            list(iter(next_place, b""))
        assert next(places) <= MIB // headers.WINDOW + 2

    def test_steps_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(headers, "MOST_STEPS", 10)
        header = Header(Read(bytes(100)).at, 100, MIB)
        with pytest.raises(HeaderEnds, match="too_many"):
            [header.read(1) for _ in range(20)]


def noise(size: int, seed: int) -> bytes:
    return numpy.random.default_rng(seed).bytes(size)


def large_files() -> dict[str, bytes]:
    """Files of many chunks that don't pack, one of each form."""
    array = numpy.frombuffer(noise(6 * MIB, 1), "f4")
    vocabulary = [b"word%d" % n for n in range(100_000)]
    return {
        "x.npy": npy(array),
        "w.npz": npz(first=array, last=array[:10]),
        "m.gguf": gguf(texts(b"tokens", vocabulary), pair(b"after", 0, b"\7")) + noise(6 * MIB, 2),
        "m.onnx": onnx(part(5, part(8, "w") + part(9, noise(7 * MIB, 3))), end(11, "x", tensor())),
        "t.parquet": parquet(pyarrow.table({"a": pyarrow.array(array[: 5 * MIB // 4])})),
    }


def publish(directory: Path, name: str, files: dict[str, bytes]) -> ama.Store:
    directory.mkdir(parents=True)
    repo = ama.Repo.init(directory, name)
    for path, data in files.items():
        (directory / path).write_bytes(data)
    repo.add(list(files))
    repo.upload()
    return ama.Store.default()


def fill(store: ama.Store, cache: Path) -> tuple[CountingStorage, Remote]:
    """Fill a new catalog; return the storage that has counted, and the store."""
    assert isinstance(store.url, str)
    storage = CountingStorage(LocalStorage(Path(store.url.removeprefix("file://"))))
    remote = Remote.open(storage, cache)
    Catalog(remote).ask(lambda db, view: None)
    return storage, remote


def test_a_catalog_reads_headers_only(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = large_files()
    assert all(len(data) > 6 * MIB for data in files.values())
    store = publish(tmp_path / "a", "models", files)
    storage, remote = fill(store, tmp_path / "cache")
    with monkeypatch.context() as patched:
        patched.setattr("ama.catalog.filling.documents_among", lambda names: {})
        before, _ = fill(store, tmp_path / "other")
    # Each file costs a recipe and its ends, and a vocabulary's windows.
    assert storage.requests - before.requests <= 3 * len(files) + 6
    assert storage.round_trips - before.round_trips <= 2 + 6
    assert storage.bytes_read - before.bytes_read <= 4 * 512 * 1024 * len(files)

    summary = store.resolve("models/1").summary()
    assert summary.unread == ()
    shapes = {(fact.file, fact.key): fact.value for fact in summary.facts}
    assert shapes["x.npy", "shape"] == (6 * MIB // 4,)
    assert shapes["w.npz", "last.shape"] == (10,)
    assert shapes["m.gguf", "after"] == 7
    assert shapes["m.onnx", "inputs.x.type"] == "float32"
    assert shapes["t.parquet", "rows"] == 5 * MIB // 4
    found = Catalog(remote).ask(
        lambda db, view: FactReader(db, lambda name: Rules()).facts(
            bytes.fromhex(summary.asset.id), "models"
        )
    )
    assert found == summary.facts


def test_the_requests_of_a_class_are_made_together(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten versions cost ten times as many bytes, and hardly more round trips than one."""
    for number in range(10):
        data = npy(numpy.frombuffer(noise(2 * MIB, number), "f4"))
        store = publish(tmp_path / f"{number}", "models", {"x.npy": data})
    storage, _ = fill(store, tmp_path / "cache")
    with monkeypatch.context() as patched:
        patched.setattr("ama.catalog.filling.documents_among", lambda names: {})
        before, _ = fill(store, tmp_path / "other")
    assert storage.round_trips - before.round_trips <= 4
    assert storage.requests - before.requests <= 3 * 10


def test_a_damaged_header_is_named_and_read_once_it_is_mended(tmp_path: Path, home: Path) -> None:
    store = publish(tmp_path / "a", "models", {"x.npy": large_files()["x.npy"]})
    packs = list(Path(store.url.removeprefix("file://")).rglob("*.pack"))
    sound = {path: path.read_bytes() for path in packs}
    largest = max(packs, key=lambda path: len(sound[path]))
    largest.chmod(0o644)
    largest.write_bytes(bytes(b ^ 1 if at > 4096 else b for at, b in enumerate(sound[largest])))
    (found,) = store.find(params="shape=1").unread
    assert "damaged" in found.detail
    largest.write_bytes(sound[largest])
    assert store.find(params="shape=1").unread == ()
    assert len(store.find(params="dtype=float32")) == 1


def test_a_page_shows_the_header_and_reads_no_more(tmp_path: Path, home: Path) -> None:
    files = {**large_files(), "broken.npy": b"text"}
    store = publish(tmp_path / "a", "models", files)
    client = TestClient(application(store), base_url="http://127.0.0.1")
    for path, value in {
        "x.npy": "float32",
        "w.npz": "last.shape",
        "broken.npy": "not read",
    }.items():
        page = client.get(f"/assets/models/1/files/{path}")
        assert page.status_code == 200
        assert value in page.text
    about = client.get("/assets/models/1").text
    assert "first.<wbr>dtype" in about
