"""docs/format.md against the code: the bytes that it shows are those that ama writes and reads."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from blake3 import blake3

from ama.errors import AmaError, IntegrityError
from ama.format import (
    canonical,
    chunking,
    compression,
    entries,
    hashing,
    names,
    notes,
    objects,
    pack,
    tables,
)
from ama.format.checkpoint import (
    Checkpoint,
    ClassTables,
    decode_checkpoint,
    encode_checkpoint,
    fold_checkpoint,
)
from ama.format.entries import (
    ABSENT,
    AddNote,
    Entry,
    Event,
    Feature,
    Gc,
    HeldRef,
    MoveAlias,
    NoteFile,
    Publish,
    Purged,
    SetStatus,
    decode_entry,
    encode_entry,
    entry_hash,
)
from ama.format.notes import NOTES, NotesCheckpoint, decode_notes, encode_notes, fold_notes
from ama.format.objects import Asset, EntryKind, Kind, Recipe, RefLink, TreeEntry
from ama.format.packindex import Location, PackIndex, encode_index
from ama.format.references import Method, Reference, decode_reference, encode_reference
from ama.format.state import (
    ClassState,
    Root,
    decode_class_state,
    decode_root,
    encode_class_state,
    encode_root,
    fold_class,
    fold_root,
)
from ama.storage.memory import MemoryStorage
from ama.stores import log_reader, remote
from ama.stores.cache import Cache
from ama.stores.log_files import (
    HINT,
    checkpoint_name,
    notes_name,
    root_name,
    segment_name,
    state_name,
)
from ama.stores.log_writer import Log
from ama.stores.object_reader import index_name, pack_name
from ama.stores.remote import StoreFormat, decode_format, encode_format
from ama.stores.segments import CheckpointSegments, Segments
from ama.worktree import trees
from conftest import PROJECT

TEXT = (PROJECT / "docs" / "format.md").read_text(encoding="utf-8")
HEX = re.findall(r"^```hex\nexample: ([^\n]+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
EXAMPLES = {
    label: bytes.fromhex("".join(line.partition("#")[0] for line in block.splitlines()))
    for label, block in HEX
}
PLAIN = {
    label: block.encode()
    for label, block in re.findall(
        r"^<!-- bytes: (\S+) -->\n```[a-z]*\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL
    )
}

ONE, TWO, THREE, FOUR, FIVE = (bytes([0x11 * number]) * 32 for number in range(1, 6))
ANN = "Ann Lee <ann@example.com>"
AT = 1767225600000000
COUNTING = bytes(range(16))
HELLO = b"hello\n"

SUBTREE = objects.encode_tree(
    [TreeEntry("hello.txt", EntryKind.FILE, hashing.blob_id(HELLO), len(HELLO))]
)
TREE = (
    TreeEntry("data", EntryKind.TREE, hashing.tree_id(SUBTREE), 6),
    TreeEntry("link", EntryKind.SYMLINK, hashing.blob_id(b"data/hello.txt"), 14),
    TreeEntry("run.sh", EntryKind.EXECUTABLE, hashing.blob_id(b"#!/bin/sh\n"), 10),
)
ASSET = Asset(
    "models",
    hashing.tree_id(EXAMPLES["tree"]),
    (),
    (RefLink(ONE, "datasets", "training data"),),
    ANN,
    AT,
    "first",
    {"epochs": 12, "loss": 0.25, "note": "ok", "tuned": False},
)
RECIPE = Recipe(1, Kind.DATA, ((ONE, 65536), (TWO, 300000)))
STORE = StoreFormat(COUNTING.hex())
REFERRED = Reference("file:///srv/a%20b.zip", "17", 10_000, 40, 5_000, Method.DEFLATE, 70)


def example_pack() -> pack.SealedPack:
    builder = pack.PackBuilder(COUNTING)
    builder.add(Kind.DATA, hashing.blob_id(HELLO), compression.RAW, HELLO, len(HELLO))
    return builder.seal()


def example_index() -> bytes:
    sealed = example_pack()
    return encode_index([Location(sealed.id, sealed.records[0])], {sealed.id: len(sealed.data)})


EVENTS: dict[str, Event] = {
    "publish": Publish(
        hashing.asset_id(EXAMPLES["asset"]),
        "models",
        (("best", ABSENT),),
        (hashing.blob_id(example_index()),),
        (hashing.blob_id(example_index()),),
        (HeldRef(ONE, False),),
    ),
    "alias": MoveAlias("models", "best", ONE, TWO),
    "alias removed": MoveAlias("models", "best", None, None),
    "status": SetStatus(ONE, "models", "deprecated", "see models/2"),
    "gc": Gc((((ONE, TWO), (THREE,)),), (FOUR,), (FIVE,)),
    "purged": Purged((FOUR,), (FIVE,)),
    "feature": Feature(("example",), ()),
    "note": AddNote(
        "models",
        ONE,
        {"accuracy": 0.875, "loss": None},
        ("passed",),
        ("draft",),
        "seen",
        NoteFile("report.json", hashing.blob_id(HELLO), len(HELLO)),
        (TWO,),
    ),
}
ENTRY = Entry(1, COUNTING, entry_hash(encode_format(STORE)), ANN, AT, (EVENTS["alias removed"],))
STATE = fold_class(ClassState("models"), [ENTRY])
ROOT = Root(
    1, entry_hash(encode_entry(ENTRY)), classes={"models": hashing.seal(encode_class_state(STATE))}
)
SEGMENT: tables.Row = ("best", None, 0, ANN, AT, 1, 0, 0)
CHECKPOINT = Checkpoint(
    1,
    entry_hash(encode_entry(ENTRY)),
    classes={
        "models": ClassTables(
            moves=tables.Table(1, (hashing.seal(canonical.encode([SEGMENT])),), ())
        )
    },
)


NOTE = AddNote("models", ONE, {"accuracy": 0.875, "loss": None}, ("passed",), ("draft",), "seen")
NOTED = Entry(1, COUNTING, ENTRY.previous, ANN, AT, (NOTE,))


def example_notes() -> tuple[NotesCheckpoint, list[bytes]]:
    """The notes after an entry with one, and the segments that were made."""
    made: list[bytes] = []

    def store(data: bytes) -> bytes:
        made.append(data)
        return hashing.seal(data)

    tail = [(NOTED, entry_hash(encode_entry(NOTED)))]
    source = CheckpointSegments(Segments(MemoryStorage("none"), Cache(None)), lambda: None, "none")
    before = NotesCheckpoint(0, NOTED.previous)
    return fold_notes(before, tail, source, store, known=True), made


SPLIT = bytes.fromhex("00013f3f04053f3f0809")
PLANES = [SPLIT[first::4] for first in range(4)]


def len_of(plane: bytes) -> bytes:
    return len(plane).to_bytes(4, "little")


def encoded_event(event: Event) -> bytes:
    """An event's bytes, cut out of those of an entry that has nothing else."""
    empty = encode_entry(Entry(1, COUNTING, ONE, "", 0, ()))
    full = encode_entry(Entry(1, COUNTING, ONE, "", 0, (event,)))
    assert empty[-33:-32] == b"\x90", "the list of events is the last field"
    return full[len(empty) - 32 : -32]


WRITTEN: dict[str, Callable[[], bytes]] = {
    "canonical": lambda: canonical.encode({"b": [1, -1, 256, None], "é": b"\x01\x02", "a": 0.5}),
    "blob id of nothing": lambda: hashing.blob_id(b""),
    "blob id of hello": lambda: hashing.blob_id(HELLO),
    "tree": lambda: objects.encode_tree(list(reversed(TREE))),
    "tree id": lambda: hashing.tree_id(EXAMPLES["tree"]),
    "asset": lambda: objects.encode_asset(ASSET),
    "asset id": lambda: hashing.asset_id(EXAMPLES["asset"]),
    "recipe": lambda: objects.encode_recipe(RECIPE),
    "byte planes": lambda: bytes([4]) + b"".join(map(len_of, PLANES)) + b"".join(PLANES),
    "reference": lambda: encode_reference(REFERRED),
    "pack": lambda: bytes(example_pack().data),
    "pack id": lambda: example_pack().id,
    "index header": lambda: example_index()[:32],
    "index pack table": lambda: example_index()[32 + 2048 :][:40],
    "index row": lambda: example_index()[32 + 2048 + 40 :][:64],
    "index checksum": lambda: example_index()[-32:],
    "index id": lambda: hashing.blob_id(example_index()),
    "entry": lambda: encode_entry(ENTRY),
    "entry hash": lambda: entry_hash(EXAMPLES["entry"]),
    "checkpoint": lambda: encode_checkpoint(CHECKPOINT),
    "segment": lambda: canonical.encode([SEGMENT]),
    "notes": lambda: encode_notes(example_notes()[0]),
    "notes segment": lambda: b"".join(example_notes()[1]),
    "root": lambda: encode_root(ROOT),
    "class state": lambda: encode_class_state(STATE),
    **{
        f"event {label}": lambda event=event: encoded_event(event)
        for label, event in EVENTS.items()
    },
}


def test_each_example_has_a_check_and_each_check_an_example() -> None:
    assert len(HEX) == len(EXAMPLES), "a label is used twice"
    assert EXAMPLES.keys() == WRITTEN.keys()
    assert PLAIN.keys() == {"format.json", "HINT", "cuts"}
    assert TEXT.count("```hex") == len(HEX)


@pytest.mark.parametrize("label", EXAMPLES)
def test_ama_writes_the_bytes_of_an_example(label: str) -> None:
    assert EXAMPLES[label].hex() == WRITTEN[label]().hex()


def test_ama_reads_the_examples() -> None:
    assert canonical.decode(EXAMPLES["canonical"], "example") == {
        "a": 0.5,
        "b": (1, -1, 256, None),
        "é": b"\x01\x02",
    }
    assert objects.decode_tree(EXAMPLES["tree"]) == TREE
    assert objects.decode_asset(EXAMPLES["asset"]) == ASSET
    assert objects.decode_recipe(EXAMPLES["recipe"]) == RECIPE
    assert decode_entry(EXAMPLES["entry"]) == ENTRY
    assert decode_checkpoint(EXAMPLES["checkpoint"]) == CHECKPOINT
    assert tables.decode_rows(EXAMPLES["segment"]) == (SEGMENT,)
    assert decode_notes(EXAMPLES["notes"]) == example_notes()[0]
    assert decode_root(EXAMPLES["root"]) == ROOT
    assert decode_class_state(EXAMPLES["class state"]) == STATE
    planes = EXAMPLES["byte planes"]
    assert compression.decompress(compression.PLANES, planes, 10, "example") == SPLIT
    assert decode_reference(EXAMPLES["reference"], 600, "example") == REFERRED
    (record,) = pack.read_trailer(EXAMPLES["pack"], "example")
    assert pack.open_record(EXAMPLES["pack"][record.offset :], record) == HELLO
    fanout = b"".join((n >= 0x8E).to_bytes(8, "little") for n in range(256))
    parts = [EXAMPLES[f"index {part}"] for part in ("header", "pack table", "row", "checksum")]
    index = PackIndex(parts[0] + fanout + b"".join(parts[1:]))
    index.validate()
    assert index.id == EXAMPLES["index id"]
    assert index.find(record.id) == [Location(EXAMPLES["pack id"], record)]


@pytest.mark.parametrize("label", EVENTS)
def test_ama_reads_the_events(label: str) -> None:
    event = EXAMPLES[f"event {label}"]
    before = encode_entry(Entry(1, COUNTING, ONE, "", 0, ()))[:-33]
    body = before + b"\x91" + event
    assert decode_entry(body + hashing.seal(body)).events == (EVENTS[label],)
    # critical is the one boolean behind the name, and must be as it is
    name = canonical.encode(EVENTS[label].name)
    marks = [b"\xc2", b"\xc3"] if label == "note" else [b"\xc3", b"\xc2"]
    other = body.replace(name + marks[0], name + marks[1], 1)
    assert other != body
    with pytest.raises(IntegrityError):
        decode_entry(other + hashing.seal(other))


def test_the_fold_of_the_entry_is_the_checkpoint() -> None:
    folded = fold_root(Root(0, ENTRY.previous), [(ENTRY, EXAMPLES["entry hash"])])
    assert (folded.number, folded.entry_hash) == (ROOT.number, ROOT.entry_hash)
    assert hashing.seal(EXAMPLES["class state"]) == ROOT.classes["models"]
    tail = [(ENTRY, EXAMPLES["entry hash"])]
    made: list[bytes] = []

    def store(data: bytes) -> bytes:
        made.append(data)
        return hashing.seal(data)

    empty = Checkpoint(0, ENTRY.previous)
    source = CheckpointSegments(Segments(MemoryStorage("none"), Cache(None)), lambda: None, "none")
    assert fold_checkpoint(empty, tail, source, store) == CHECKPOINT
    assert made == [EXAMPLES["segment"]]


def test_the_feature_of_notes_is_that_of_the_document() -> None:
    assert f"| `{NOTES}` | writers |" in TEXT


def test_format_json_and_hint() -> None:
    assert PLAIN["format.json"] == encode_format(STORE)
    assert decode_format(PLAIN["format.json"], "example") == STORE
    storage = MemoryStorage("example")
    storage.create("format.json", PLAIN["format.json"])
    read = Log(storage, entry_hash(PLAIN["format.json"]), Cache(None))
    # The one HINT that fits is believed: without its entry, that entry was lost.
    storage.replace(HINT, PLAIN["HINT"])
    assert read.view().damage is not None
    storage.create("log/000000000001", EXAMPLES["entry"])
    assert read.view().damage is None
    storage.replace(HINT, PLAIN["HINT"].replace(b"1 9", b"2 9"))
    assert read.view().damage is None


def test_the_names_in_the_overview() -> None:
    for name, pattern in {
        pack_name(ONE): r"packs/11/(11){32}\.pack",
        index_name(ONE): r"index/(11){32}\.idx",
        checkpoint_name(64): "checkpoint/fold/000000000064",
        notes_name(64): "checkpoint/notes/000000000064",
        segment_name(ONE): "checkpoint/segment/(11){32}",
        root_name(64): "checkpoint/000000000064",
        state_name(ONE): "checkpoint/state/(11){32}",
        HINT: "log/HINT",
    }.items():
        assert re.fullmatch(pattern, name)


def test_the_contexts_are_those_of_the_document() -> None:
    found = dict(re.findall(r"\| (TREE|ASSET|SEAL) \| `([^`]+)` \|", TEXT))
    assert found == {
        "TREE": hashing.TREE_CONTEXT,
        "ASSET": hashing.ASSET_CONTEXT,
        "SEAL": hashing.SEAL_CONTEXT,
    }


def test_the_limits_are_those_of_the_document() -> None:
    mib = 1024 * 1024
    limits = {
        (objects, "MAX_CHUNK"): mib,
        (objects, "MAX_ASSET"): mib,
        (objects, "MAX_TREE"): 256 * mib,
        (objects, "MAX_RECIPE"): 256 * mib,
        (objects, "MAX_TEXT"): 65_536,
        (objects, "MAX_KEY"): 200,
        (objects, "MAX_LINK"): 4096,
        (objects, "MAX_SIZE"): 2**63 - 1,
        (entries, "MAX_TIME"): 2**63 - 1,
        (entries, "MAX_ENTRY"): 4 * mib,
        (entries, "MAX_NEEDS"): 16,
        (entries, "MAX_NOTE"): mib,
        (notes, "LONGEST"): 4096,
        (entries, "MAX_NUMBER"): 999_999_999_999,
        (names, "MAX_NAME_BYTES"): 255,
        (canonical, "MAX_DEPTH"): 32,
        (trees, "MAX_DEPTH"): 512,
        (trees, "MOST_FILES"): 50_000_000,
        (trees, "MOST_TEXT"): 268_435_456,
        (trees, "TEXT_EACH"): 256,
        (trees, "FREELY"): 262_144,
        (trees, "MOST_TEXT_FREELY"): 33_554_432,
        (trees, "SHARING"): 16,
        (remote, "MAX_FORMAT"): 65_536,
        (chunking, "THRESHOLD"): mib,
        (log_reader, "CHECKPOINT_EVERY"): 64,
        (log_reader, "PROBES"): (1, 2, 4, 8, 16, 32, 64),
        (log_reader, "GALLOP"): tuple(2**power for power in range(1, 24)),
    }
    found = {(module, name): getattr(module, name) for module, name in limits}
    assert found == limits


class TestNames:
    """The rules for names, written again from the document."""

    control = re.compile(r"(\.ama|ama~[0-9])[. ]*(:.*)?", re.DOTALL)

    def allowed(self, name: str) -> bool:
        seen = re.sub("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]", "", name)
        lower = "".join(c.lower() if "A" <= c <= "Z" else c for c in seen)
        return not (
            name in ("", ".", "..")
            or any(c in name for c in "/\\\0")
            or re.match("[A-Za-z]:", name)
            or self.control.fullmatch(lower)
            or len(name.encode()) > 255
        )

    @pytest.mark.parametrize(
        "name",
        [
            *("a", "CON", "a.", " a", "a\nb", "C", "ä:", ".amax", ".am", "ama", "..."),
            *("", ".", "..", "a/b", "a\\b", "a\0", "C:", "z:x", ".ama", ".AMA", ".Ama. ."),
            *(".a\u200cma", ".ama:x", ".ama:\n", "AMA~9 ", ".ama\u212a", "AMA~1:é", "ama~1"),
            *("ama~a", "ama~10", ".ama x", "\ufeff.ama", "\ufeff", ".\u017fma", "\uff41ma"),
            *("é" * 127, "é" * 128, "a" * 255, "a" * 256),
        ],
    )
    def test_a_file_s_name(self, name: str) -> None:
        try:
            names.check_name(name)
        except AmaError:
            assert not self.allowed(name)
        else:
            assert self.allowed(name)

    @pytest.mark.parametrize("name", ["a", "0", "a.b-c_d", "HEAD", "abcdef", "abcdef0", "ABCDEF00"])
    def test_a_class_s_name(self, name: str) -> None:
        allowed = name != "HEAD" and not re.fullmatch("[0-9a-fA-F]{7,}", name)
        try:
            names.check_class(name)
        except AmaError:
            assert not allowed
        else:
            assert allowed


class TestChunking:
    """Profile 1, written again from appendix A."""

    gear = tuple(
        int.from_bytes(hashlib.md5(bytes([byte]) * 64, usedforsecurity=False).digest()[:8], "big")
        for byte in range(256)
    )
    small, large = 0x0000D90707537000, 0x0000D90303537000

    def first(self, data: memoryview) -> int:
        if len(data) <= 32768:
            return len(data)
        end, middle = min(len(data), 524288) & ~1, min(len(data), 131072) & ~1
        h, gear, mask64 = 0, self.gear, 2**64 - 1
        for start, stop, mask in ((32768, middle, self.small), (middle, end, self.large)):
            for i in range(start, stop):
                h = (2 * h + gear[data[i]]) & mask64
                if not h & mask:
                    return i
        return min(len(data), 524288)

    def sizes(self, data: bytes) -> list[int]:
        cuts = [0]
        while cuts[-1] < len(data):
            cuts.append(cuts[-1] + self.first(memoryview(data)[cuts[-1] :]))
        return [after - before for before, after in pairwise(cuts)]

    def test_the_gear_table_begins_as_the_document_says(self) -> None:
        assert f"{self.gear[0]:016x}" in TEXT
        assert f"{self.small:016x}" in TEXT
        assert f"{self.large:016x}" in TEXT

    def test_the_cuts_of_the_document(self) -> None:
        data = blake3(b"ama").digest(length=2_000_000)
        expected = [int(size) for size in PLAIN["cuts"].split()]
        assert [len(chunk) for chunk in chunking.chunks(io.BytesIO(data))] == expected
        assert self.sizes(data) == expected
        zeros = bytes(600_000)
        assert [len(chunk) for chunk in chunking.chunks(io.BytesIO(zeros))] == [524288, 75712]

    @pytest.mark.parametrize("size", [1, 32768, 32769, 40001, 131071, 131073, 300001])
    def test_odd_sizes(self, size: int) -> None:
        data = blake3(size.to_bytes(4, "big")).digest(length=size)
        assert [len(chunk) for chunk in chunking.chunks(io.BytesIO(data))] == self.sizes(data)
