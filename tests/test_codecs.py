"""Every codec: decoding undoes encoding, and any other form of the bytes is refused.

What a store holds may be damaged, forged or of a later version, so each decoder gets its bytes
flipped, cut, extended, written in another form of MessagePack, and with fields of other types
under a checksum that fits. The only answers are the value (whose bytes are these very bytes), an
IntegrityError or a FormatError.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgpack
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ama.errors import FormatError, IntegrityError, InvalidInput
from ama.format import canonical, objects
from ama.format.checkpoint import MAGIC as FOLD_MAGIC
from ama.format.checkpoint import (
    Checkpoint,
    ClassTables,
    decode_checkpoint,
    encode_checkpoint,
)
from ama.format.entries import (
    ABSENT,
    MAGIC,
    Entry,
    Feature,
    Gc,
    HeldRef,
    MoveAlias,
    Publish,
    Purged,
    SetStatus,
    Unknown,
    decode_entry,
    encode_entry,
)
from ama.format.hashing import asset_id, blob_id, seal, tree_id
from ama.format.names import check_name
from ama.format.objects import (
    Asset,
    EntryKind,
    Kind,
    Recipe,
    RefLink,
    TreeEntry,
    decode_asset,
    decode_recipe,
    decode_tree,
    encode_asset,
    encode_recipe,
    encode_tree,
)
from ama.format.state import (
    ROOT_MAGIC,
    AliasRecord,
    AssetRecord,
    ClassState,
    Root,
    decode_class_state,
    decode_root,
    encode_class_state,
    encode_root,
)
from ama.format.tables import EMPTY, Table
from ama.stores.log_files import decode_hint
from ama.stores.remote import StoreFormat, decode_format, encode_format
from ama.worktree.blocks import Block, Parts, decode_block
from ama.worktree.entries import Entries, IndexEntry
from ama.worktree.head import Head, Unpublished, decode_head, encode_head
from ama.worktree.staging import Index, IndexRoot, Notes, decode_index, encode_index


def fits(check: Callable[[str], Any]) -> Callable[[str], bool]:
    def fit(text: str) -> bool:
        try:
            check(text)
        except InvalidInput:
            return False
        return True

    return fit


def marked(first: int) -> Callable[[bytes], bytes]:
    return lambda object_id: bytes([first]) + object_id[1:]


IDS = st.binary(min_size=32, max_size=32)
NUMBERS = st.integers(0, 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    fits(check_name)
)
CLASSES = st.sampled_from(["a", "models", "7", "x.y-z_0", "m" * 100])
ALIASES = st.sampled_from(["a", "best", "v7", "x.y-z_0", "m" * 100])
SCALARS = TEXTS | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
VALUES = st.recursive(
    st.none() | SCALARS | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4).map(tuple) | st.dictionaries(TEXTS, inner, max_size=4)
    ),
    max_leaves=12,
)
LINKS = st.builds(RefLink, IDS, CLASSES, TEXTS)


def tuples(values: st.SearchStrategy[Any], **sizes: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, **{"max_size": 4, **sizes}).map(tuple)


TREES = st.lists(
    st.builds(
        TreeEntry,
        NAMES,
        st.sampled_from([EntryKind.FILE, EntryKind.EXECUTABLE, EntryKind.TREE]),
        IDS,
        NUMBERS,
    )
    | st.builds(
        TreeEntry, NAMES, st.just(EntryKind.SYMLINK), IDS, st.integers(1, objects.MAX_LINK)
    ),
    max_size=6,
    unique_by=lambda entry: entry.name,
).map(lambda entries: tuple(sorted(entries, key=lambda entry: entry.name.encode())))
ASSETS = st.builds(
    Asset,
    CLASSES,
    IDS,
    st.lists(IDS, max_size=3, unique=True).map(tuple),
    st.lists(LINKS, max_size=3, unique=True).map(tuple),
    TEXTS,
    NUMBERS,
    TEXTS,
    st.dictionaries(TEXTS.filter(bool), SCALARS, max_size=4),
    st.dictionaries(TEXTS, VALUES, max_size=3),
)
RECIPES = st.builds(
    Recipe,
    st.just(1),
    st.sampled_from([Kind.DATA, Kind.TREE]),
    tuples(st.tuples(IDS, st.integers(1, objects.MAX_CHUNK)), min_size=2, max_size=6),
)
EXPECTED = st.none() | st.just(ABSENT) | IDS
EVENTS = st.one_of(
    st.builds(
        Publish,
        IDS,
        CLASSES,
        tuples(st.tuples(ALIASES, EXPECTED)),
        tuples(IDS),
        tuples(IDS, max_size=16),
        tuples(st.builds(HeldRef, IDS, st.booleans())),
    ),
    st.builds(MoveAlias, CLASSES, ALIASES, st.none() | IDS, EXPECTED),
    st.builds(SetStatus, IDS, CLASSES, st.sampled_from(["active", "deprecated", "deleted"]), TEXTS),
    st.builds(
        Gc,
        # What a gc event adds it can't condemn.
        tuples(st.tuples(tuples(IDS.map(marked(1))), tuples(IDS.map(marked(2))))),
        tuples(IDS),
        tuples(IDS.map(marked(3))),
    ),
    st.builds(Purged, tuples(IDS), tuples(IDS)),
    st.builds(Feature, tuples(TEXTS), tuples(TEXTS)),
    st.builds(
        Unknown,
        TEXTS.filter(
            lambda name: name not in {"publish", "alias", "status", "gc", "purged", "feature"}
        ),
        st.booleans(),
        st.dictionaries(TEXTS, VALUES, max_size=3),
    ),
)
ENTRIES = st.builds(
    Entry,
    st.integers(1, 10**12 - 1),
    st.binary(min_size=16, max_size=16),
    IDS,
    TEXTS,
    NUMBERS,
    tuples(EVENTS),
)
CLASS_STATES = st.builds(
    ClassState,
    CLASSES,
    tuples(
        st.builds(
            AssetRecord,
            IDS,
            NUMBERS,
            st.sampled_from(["active", "deprecated", "deleted"]),
            TEXTS,
        )
    ),
    st.dictionaries(
        ALIASES,
        tuples(st.builds(AliasRecord, st.none() | IDS, TEXTS, NUMBERS, NUMBERS)),
        max_size=3,
    ),
)
ROOTS = st.builds(
    Root,
    NUMBERS,
    IDS,
    tuples(IDS),
    st.dictionaries(IDS, tuples(IDS), max_size=3),
    st.frozensets(IDS, max_size=3),
    st.frozensets(IDS, max_size=3),
    tuples(TEXTS),
    tuples(TEXTS),
    st.dictionaries(CLASSES, IDS, max_size=3),
)
DIGESTS = st.lists(IDS, min_size=2, max_size=2).map(tuple)
TABLES = st.one_of(
    st.just(EMPTY),
    st.builds(Table, st.integers(17, 32), DIGESTS),
    st.builds(
        Table, st.integers(513, 528), DIGESTS, st.lists(IDS, min_size=1, max_size=1).map(tuple)
    ),
)
CHECKPOINTS = st.builds(
    Checkpoint,
    NUMBERS,
    IDS,
    tuples(TEXTS),
    tuples(TEXTS),
    TABLES,
    TABLES,
    TABLES,
    TABLES,
    st.dictionaries(
        CLASSES, st.builds(ClassTables, NUMBERS, st.booleans(), TABLES, TABLES), max_size=3
    ),
)
HEADS = st.builds(
    Head,
    CLASSES,
    st.none() | IDS,
    st.none() | TEXTS,
    tuples(st.builds(Unpublished, IDS, tuples(ALIASES))),
    st.none() | ALIASES,
)
INDEX_ENTRIES = st.builds(
    IndexEntry,
    NAMES,
    st.sampled_from([kind for kind in EntryKind if kind is not EntryKind.TREE]),
    IDS,
    NUMBERS,
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**64 - 1),
    st.booleans(),
    st.booleans(),
)
NOTES = st.builds(
    Notes,
    tuples(ALIASES),
    st.none() | TEXTS,
    st.dictionaries(TEXTS, SCALARS, max_size=3),
    tuples(LINKS),
)
INDEXES = st.builds(
    Index,
    st.lists(INDEX_ENTRIES, max_size=4).map(Entries.of),
    NOTES,
    st.tuples(st.just("") | CLASSES, st.none() | IDS),
    tuples(TEXTS),
    tuples(TEXTS),
    st.booleans(),
)


@dataclass(frozen=True)
class Codec:
    """One codec; `fields` and `close` take its MessagePack out of its bytes and put it back."""

    name: str
    values: st.SearchStrategy[Any]
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    sealed: bool = False
    magic: bytes = b""
    newer: type[Exception] = FormatError

    def body(self, data: bytes) -> bytes:
        return data[len(self.magic) : -32 if self.sealed else None]

    def close(self, body: bytes) -> bytes:
        data = self.magic + body
        return data + seal(data) if self.sealed else data

    def __repr__(self) -> str:
        return self.name


CODECS = [
    Codec("tree", TREES, lambda entries: encode_tree(list(entries)), decode_tree),
    Codec("asset", ASSETS, encode_asset, decode_asset),
    Codec("recipe", RECIPES, encode_recipe, decode_recipe, sealed=True),
    Codec("entry", ENTRIES, encode_entry, decode_entry, sealed=True, magic=MAGIC),
    # Folded states are derived: one that isn't known is ignored, whatever its version.
    Codec(
        "class state",
        CLASS_STATES,
        encode_class_state,
        decode_class_state,
        newer=IntegrityError,
    ),
    Codec(
        "root",
        ROOTS,
        encode_root,
        decode_root,
        sealed=True,
        magic=ROOT_MAGIC,
        newer=IntegrityError,
    ),
    Codec(
        "checkpoint",
        CHECKPOINTS,
        encode_checkpoint,
        decode_checkpoint,
        sealed=True,
        magic=FOLD_MAGIC,
        newer=IntegrityError,
    ),
    Codec("HEAD", HEADS, encode_head, decode_head),
]
each_codec = pytest.mark.parametrize("codec", CODECS, ids=repr)


def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Other bytes: one flipped, some cut off or out, some put in or appended, or two swapped."""
    at = draw(st.integers(0, max(0, len(data) - 1)))
    end = draw(st.integers(at, len(data)))
    how = draw(st.sampled_from(["flip", "cut", "truncate", "insert", "append", "swap"]))
    if how == "flip" and data:
        other = data[at] ^ draw(st.integers(1, 255))
        return data[:at] + bytes([other]) + data[at + 1 :]
    if how == "cut":
        return data[:at] + data[end:]
    if how == "truncate":
        return data[:at]
    if how == "insert":
        return data[:at] + draw(st.binary(min_size=1, max_size=40)) + data[at:]
    if how == "swap" and data:
        return data[end:] + data[:end]
    return data + draw(st.binary(min_size=1, max_size=40))


def decoded(decode: Callable[[bytes], Any], data: bytes) -> Any:
    """The value, or None where the bytes are refused as they may be; any other error fails."""
    message = "decoded"
    try:
        return decode(data)
    except (IntegrityError, FormatError) as error:
        message = error.message
    assert message.isprintable()
    return None


# The canonical form itself


@given(VALUES)
def test_canonical_decoding_undoes_encoding(value: Any) -> None:
    assert canonical.decode(canonical.encode(value), "example") == value


@given(st.dictionaries(TEXTS, VALUES, min_size=2, max_size=5), st.randoms())
def test_the_order_in_which_a_map_was_made_does_not_matter(
    value: dict[str, Any], random: Any
) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert canonical.encode({key: value[key] for key in keys}) == canonical.encode(value)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_a_canonical_value_or_refused(data: bytes) -> None:
    try:
        value = canonical.decode(data, "example")
    except IntegrityError:
        return
    assert canonical.encode(value) == data


def loosely(draw: st.DrawFn, value: Any) -> bytes:
    """Some MessagePack for a value, canonical or not."""
    pick = draw(st.integers(0, 3)) if draw(st.booleans()) else 0
    if type(value) is int:
        return loose_integer(value, pick)
    if type(value) is float:
        return loose_float(value, pick)
    if type(value) is str or type(value) is bytes:
        return loose_text(value, pick)
    if type(value) is tuple:
        items = b"".join(loosely(draw, item) for item in value)
        return loose_header(len(value), pick, 0x90, 0xDC) + items
    if type(value) is dict:
        pairs = list(value.items())
        if pairs and draw(st.booleans()):
            pairs = draw(st.permutations(pairs))
            pairs += pairs[: draw(st.integers(0, 1))]
        items = b"".join(loosely(draw, key) + loosely(draw, item) for key, item in pairs)
        return loose_header(len(pairs), pick, 0x80, 0xDE) + items
    return canonical.encode(value)


def loose_integer(value: int, pick: int) -> bytes:
    forms = [canonical.encode(value)]
    for code, kind in [(0xCC, "B"), (0xCD, "H"), (0xCE, "I"), (0xCF, "Q")]:
        if 0 <= value < 256 ** struct.calcsize(kind):
            forms.append(struct.pack(f">B{kind}", code, value))
    for code, kind in [(0xD0, "b"), (0xD1, "h"), (0xD2, "i"), (0xD3, "q")]:
        half = 256 ** struct.calcsize(kind) // 2
        if -half <= value < half:
            forms.append(struct.pack(f">B{kind}", code, value))
    return forms[-pick % len(forms)]


def loose_float(value: float, pick: int) -> bytes:
    try:
        narrow = struct.pack(">Bf", 0xCA, value)
    except OverflowError:
        return canonical.encode(value)
    exact = struct.unpack(">f", narrow[1:])[0] == value
    return narrow if pick and exact else canonical.encode(value)


def loose_text(value: str | bytes, pick: int) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    first = 0xD9 if isinstance(value, str) else 0xC4
    kind = "BBHI"[pick]
    if pick == 0 or len(data) >= 256 ** struct.calcsize(kind):
        return canonical.encode(value)
    return struct.pack(f">B{kind}", first + pick - 1, len(data)) + data


def loose_header(size: int, pick: int, fixed: int, first: int) -> bytes:
    if pick == 0 and size < 16:
        return bytes([fixed | size])
    kind = "H" if pick < 3 else "I"
    return struct.pack(f">B{kind}", first + (kind == "I"), size)


@given(st.data(), VALUES)
def test_only_one_form_of_a_value_is_accepted(data: st.DataObject, value: Any) -> None:
    form = data.draw(st.composite(loosely)(value))
    if form == canonical.encode(value):
        assert canonical.decode(form, "example") == value
    else:
        with pytest.raises(IntegrityError):
            canonical.decode(form, "example")


@pytest.mark.parametrize(
    "form",
    [
        b"\xca\x3f\x80\x00\x00",  # float32
        b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x01",  # a signalling NaN
        b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x01",  # a NaN with a payload
        b"\xcb\xff\xf8\x00\x00\x00\x00\x00\x00",  # a negative NaN
        b"\x91\xcb\xff\xf8\x00\x00\x00\x00\x00\x00",  # the same, inside
        b"\xd9\x01a",  # str8 for what fixstr holds
        b"\xda\x00\x01a",
        b"\xc5\x00\x01a",  # bin16 for what bin8 holds
        b"\xcc\x7f",  # uint8 for a fixint
        b"\xd1\x00\x80",  # int16 for what uint8 holds
        b"\xdc\x00\x01\x00",  # array16 for what a fixarray holds
        b"\xde\x00\x01\xa1a\x00",  # map16 for what a fixmap holds
        b"\x82\xa1b\x00\xa1a\x00",  # keys out of order
        b"\x82\xa1a\x00\xa1a\x00",  # a key twice
        b"\x81\x01\x00",  # a key that is no text
        b"\x81\xc4\x01a\x00",
        b"\xc7\x00\x05",  # an extension
        b"\xd4\x05\x00",
        b"\xd6\xff\x00\x00\x00\x00",  # a timestamp
        b"\xd7\xff\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\xc1",  # never used
        b"\xa3\xed\xa0\x80",  # a lone surrogate
        b"\xa2\xc0\xaf",  # an overlong slash
        b"\xa1\xff",
        b"\x00\x00",  # something behind it
        b"",
        b"\xdd\xff\xff\xff\xff",  # more than there is
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 33 + b"\x00",  # nested more deeply than any value may be
        b"\x91" * 32 + b"\x90",
        b"\x91" * 100_000 + b"\x00",
        b"\x81\xa1a" * 33 + b"\x00",
    ],
)
def test_a_form_that_is_not_canonical_is_refused(form: bytes) -> None:
    with pytest.raises(IntegrityError):
        canonical.decode(form, "example")


def test_the_deepest_value() -> None:
    value: Any = ()
    for _ in range(canonical.MAX_DEPTH - 1):
        value = (value,)
    assert canonical.decode(canonical.encode(value), "example") == value
    with pytest.raises(ValueError, match="nested"):
        canonical.encode((value,))


def test_there_is_one_nan() -> None:
    for nan in (float("nan"), struct.unpack(">d", b"\xff\xf8\0\0\0\0\0\1")[0]):
        assert canonical.encode(nan) == b"\xcb\x7f\xf8" + bytes(6)
    value = canonical.decode(b"\xcb\x7f\xf8" + bytes(6), "example")
    assert value != value


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800", {"\ud800": 1}])
def test_a_value_without_a_form(value: Any) -> None:
    with pytest.raises(ValueError, match=r"surrogates|too (large|big)|range"):
        canonical.encode(value)


@pytest.mark.parametrize("value", [{1: 2}, {1}, object(), [bytearray()], {b"a": 1}])
def test_a_type_without_a_form(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical.encode(value)


# All codecs


@each_codec
@given(data=st.data())
def test_decoding_undoes_encoding(codec: Codec, data: st.DataObject) -> None:
    value = data.draw(codec.values)
    assert codec.decode(codec.encode(value)) == value


@each_codec
@given(data=st.data())
def test_damaged_bytes_are_refused(codec: Codec, data: st.DataObject) -> None:
    good = codec.encode(data.draw(codec.values))
    bad = data.draw(st.composite(damaged)(good))
    assume(bad != good)
    value = decoded(codec.decode, bad)
    if codec.sealed:
        assert value is None
    else:
        # Those are found by a hash of their bytes: other bytes are another value, in its one form.
        assert value is None or codec.encode(value) == bad


@each_codec
@given(data=st.data())
def test_another_form_of_the_same_value_is_refused(codec: Codec, data: st.DataObject) -> None:
    good = codec.encode(data.draw(codec.values))
    fields = canonical.decode(codec.body(good), "example")
    form = data.draw(st.composite(loosely)(fields))
    value = decoded(codec.decode, codec.close(form))
    assert (value is not None) == (codec.close(form) == good)


def mutated(draw: st.DrawFn, value: Any) -> Any:
    """The value with one part of it replaced by something else, repeated, or left out."""
    if type(value) is dict and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: mutated(draw, value[key])}
    if type(value) is tuple and value and draw(st.integers(0, 4)):
        at = draw(st.integers(0, len(value) - 1))
        how = draw(st.integers(0, 5))
        if how == 0:
            return value[:at] + value[at + 1 :]
        if how == 1:
            return value[:at] + value[at : at + 1] + value[at:]
        if how == 2:
            return value[::-1]
        return (*value[:at], mutated(draw, value[at]), *value[at + 1 :])
    others = [
        *(None, False, True, 0, 1, 2, -1, 1.0, 2**63, 2**64 - 1, "", "a", "ab", "abc", b""),
        *((), {}, ((),), ("",), {"a": ()}, {"ab": 1}, bytes(32), "a" * 32, (bytes(32),)),
    ]
    return draw(st.sampled_from(others) | VALUES)


@each_codec
@given(data=st.data())
def test_a_forged_field_is_refused_or_a_value(codec: Codec, data: st.DataObject) -> None:
    good = codec.encode(data.draw(codec.values))
    fields = canonical.decode(codec.body(good), "example")
    forged = data.draw(st.composite(mutated)(fields))
    bad = codec.close(canonical.encode(forged))
    value = decoded(codec.decode, bad)
    if value is not None:
        assert codec.encode(value) == bad


@each_codec
@pytest.mark.parametrize("version", [0, 2, 255, 2**64 - 1, -1, True, 1.0, "1", None, ()])
def test_only_this_version_is_read(codec: Codec, version: Any) -> None:
    good = codec.encode(EXAMPLES[codec.name])
    fields = canonical.decode(codec.body(good), "example")
    bad = codec.close(canonical.encode((version, *fields[1:])))
    later = type(version) is int and version > 1
    with pytest.raises(codec.newer if later else IntegrityError) as raised:
        codec.decode(bad)
    assert type(raised.value) is (codec.newer if later else IntegrityError)


@each_codec
@pytest.mark.parametrize("fields", [None, 1, "abc", b"", (), (1,), {}, {"a": 1}, (1,) * 40])
def test_what_has_other_fields_is_refused(codec: Codec, fields: Any) -> None:
    with pytest.raises(IntegrityError):
        codec.decode(codec.close(canonical.encode(fields)))


EXAMPLES: dict[str, Any] = {
    "tree": (TreeEntry("a", EntryKind.FILE, bytes(32), 1),),
    "asset": Asset("models", bytes(32), (), (), "Ann", 0),
    "recipe": Recipe(1, Kind.DATA, ((bytes(32), 5), (bytes(32), 6))),
    "entry": Entry(1, bytes(16), bytes(32), "Ann", 0, (MoveAlias("models", "best", None),)),
    "class state": ClassState("models"),
    "root": Root(64, bytes(32)),
    "checkpoint": Checkpoint(64, bytes(32)),
    "HEAD": Head("models"),
}


# Trees


UNSAFE = [
    *("", ".", "..", "/", "a/b", "/a", "\0", "a\0b", "\\", "a\\b", "..\\a", "C:x", "c:", "C:\\x"),
    *(".ama", ".AMA", ".Ama", ".ama.", ".ama ", ".ama::$INDEX_ALLOCATION", "AMA~1", ".a\u200cma"),
    *("a" * 256, "é" * 128),
]


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_name_is_refused_wherever_it_comes_from(name: str) -> None:
    forged = canonical.encode((1, [(name, 0, bytes(32), 0)]))
    with pytest.raises(IntegrityError, match="can't be a file's name"):
        decode_tree(forged)
    with pytest.raises(InvalidInput):
        encode_tree([TreeEntry(name, EntryKind.FILE, bytes(32), 0)])


def test_a_lone_surrogate_is_no_name() -> None:
    good = canonical.encode((1, [("abc", 0, bytes(32), 0)]))
    with pytest.raises(IntegrityError):
        decode_tree(good.replace(b"abc", b"\xed\xa0\x80"))
    with pytest.raises(InvalidInput):
        encode_tree([TreeEntry("\ud800", EntryKind.FILE, bytes(32), 0)])


@pytest.mark.parametrize(
    "rows",
    [
        [("a", 4, bytes(32), 0)],
        [("a", -1, bytes(32), 0)],
        [("a", True, bytes(32), 0)],
        [("a", 0, bytes(31), 0)],
        [("a", 0, "a" * 32, 0)],
        [("a", 0, bytes(32), -1)],
        [("a", 0, bytes(32), 2**63)],
        [("a", 0, bytes(32), 1.0)],
        [("a", 0, bytes(32))],
        [("a", 0, bytes(32), 0, 0)],
        [(b"a", 0, bytes(32), 0)],
        [("b", 0, bytes(32), 0), ("a", 0, bytes(32), 0)],
        [("a", 0, bytes(32), 0), ("a", 1, bytes(32), 0)],
        # U+FF5E is before U+1F600 as code points, and behind it in UTF-16.
        [("\U0001f600", 0, bytes(32), 0), ("\uff5e", 0, bytes(32), 0)],
        ["abcd"],
        "abcd",
        {},
        None,
    ],
)
def test_an_impossible_directory_is_refused(rows: Any) -> None:
    with pytest.raises(IntegrityError):
        decode_tree(canonical.encode((1, rows)))


@given(TREES, st.randoms())
def test_a_directory_has_one_id_whatever_the_order_of_its_names(
    entries: tuple[TreeEntry, ...], random: Any
) -> None:
    shuffled = list(entries)
    random.shuffle(shuffled)
    assert tree_id(encode_tree(shuffled)) == tree_id(encode_tree(list(entries)))


# Assets


@pytest.mark.parametrize(
    "change",
    [
        {"class_name": "HEAD"},
        {"class_name": "../models"},
        {"class_name": ""},
        {"tree": bytes(31)},
        {"parents": (bytes(32), bytes(32))},
        {"refs": (RefLink(bytes(32), "a"), RefLink(bytes(32), "a"))},
        {"refs": (RefLink(bytes(32), "a/b"),)},
        {"created_at": -1},
        {"created_at": 2**63},
        {"created_at": 1.5},
        {"message": "a" * (objects.MAX_TEXT + 1)},
        {"message": "\ud800"},
        {"author": None},
        {"metadata": {"": 1}},
        {"metadata": {"a": None}},
        {"metadata": {"a": [1]}},
        {"metadata": {"a": {"b": 1}}},
        {"metadata": {"a": b"b"}},
        {"metadata": {"a" * 201: 1}},
        {"metadata": {"a": 2**64}},
        {"metadata": {1: "a"}},
        {"metadata": {str(n): "a" * 60_000 for n in range(20)}},
        {"extra": {"a": object()}},
    ],
)
def test_what_no_asset_may_say_is_neither_written_nor_read(change: dict[str, Any]) -> None:
    asset = replace(EXAMPLES["asset"], **change)
    with pytest.raises(InvalidInput):
        encode_asset(asset)
    try:
        forged = objects._asset_bytes(asset)
    except InvalidInput:
        return
    with pytest.raises(IntegrityError):
        decode_asset(forged)


def test_what_a_later_version_adds_to_an_asset_is_kept() -> None:
    asset = replace(EXAMPLES["asset"], extra={"later": {"a": (1, None)}})
    assert decode_asset(encode_asset(asset)) == asset


@given(ASSETS)
def test_no_file_poses_as_an_asset_or_a_tree(asset: Asset) -> None:
    data = encode_asset(asset)
    assert len({asset_id(data), tree_id(data), blob_id(data), seal(data)}) == 4


# Recipes


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ((1, 1, bytes(64), (5, 6)), None),
        ((1, 2, bytes(64), (5, 6)), None),
        ((2, 1, bytes(64), (5, 6)), FormatError),
        ((True, 1, bytes(64), (5, 6)), IntegrityError),
        (({}, 1, bytes(64), (5, 6)), IntegrityError),
        ((1, 3, bytes(64), (5, 6)), IntegrityError),
        ((1, True, bytes(64), (5, 6)), IntegrityError),
        ((1, 1.0, bytes(64), (5, 6)), IntegrityError),
        ((1, 1, bytes(32), (5,)), IntegrityError),
        ((1, 1, b"", ()), IntegrityError),
        ((1, 1, bytes(65), (5, 6)), IntegrityError),
        ((1, 1, bytes(64), (5, 0)), IntegrityError),
        ((1, 1, bytes(64), (5, -1)), IntegrityError),
        ((1, 1, bytes(64), (5, True)), IntegrityError),
        ((1, 1, bytes(64), (5, objects.MAX_CHUNK + 1)), IntegrityError),
        ((1, 1, "a" * 64, (5, 6)), IntegrityError),
    ],
)
def test_an_impossible_recipe_is_refused(fields: Any, error: type[Exception] | None) -> None:
    body = canonical.encode((1, *fields))
    if error is None:
        assert decode_recipe(body + seal(body)).size == 11
    else:
        with pytest.raises(error):
            decode_recipe(body + seal(body))


# Entries


def entry_with(*event: Any) -> bytes:
    fields = (1, 1, bytes(16), bytes(32), "Ann", 0, [event])
    body = MAGIC + canonical.encode(fields)
    return body + seal(body)


PUBLISH = {
    "asset": bytes(32),
    "class": "models",
    "aliases": (),
    "indexes": (),
    "needs": (),
    "refs": (),
}


@pytest.mark.parametrize(
    "body",
    [
        {**PUBLISH, "needs": tuple(bytes([n]) * 32 for n in range(17))},
        {**PUBLISH, "more": 1},
        {key: value for key, value in PUBLISH.items() if key != "needs"},
        {**PUBLISH, "aliases": ""},
        {**PUBLISH, "aliases": {}},
        {**PUBLISH, "aliases": (("7", None),)},
        {**PUBLISH, "aliases": (("best", b"x"),)},
        {**PUBLISH, "class": "a/b"},
        {**PUBLISH, "refs": {}},
        {**PUBLISH, "refs": ((bytes(32), 1),)},
    ],
)
def test_an_impossible_publication_is_refused(body: dict[str, Any]) -> None:
    assert decode_entry(entry_with("publish", True, PUBLISH)).events
    with pytest.raises(IntegrityError):
        decode_entry(entry_with("publish", True, body))
    with pytest.raises(IntegrityError):
        decode_entry(entry_with("publish", False, PUBLISH))


def test_texts_are_no_lists_of_features() -> None:
    with pytest.raises(IntegrityError):
        decode_entry(entry_with("feature", True, {"read": "abc", "write": ()}))


@given(st.booleans(), st.dictionaries(TEXTS, VALUES, max_size=3))
def test_an_unknown_event_is_kept_as_it_is(critical: bool, body: dict[str, Any]) -> None:
    data = entry_with("attest", critical, body)
    entry = decode_entry(data)
    assert entry.events == (Unknown("attest", critical, body),)
    assert encode_entry(entry) == data


def test_an_oversized_entry_is_neither_written_nor_read() -> None:
    event = Unknown("note", False, {"a": bytes(4 * 1024 * 1024)})
    entry = Entry(1, bytes(16), bytes(32), "Ann", 0, (event,))
    with pytest.raises(ValueError, match="4 MiB"):
        encode_entry(entry)
    with pytest.raises(IntegrityError):
        decode_entry(entry_with(event.name, False, event.body))


# The folded state


@pytest.mark.parametrize("field", [4, 5])
def test_what_is_a_set_has_one_order(field: int) -> None:
    ids = (b"b" * 32, b"a" * 32)
    root = Root(64, bytes(32), (), dict.fromkeys(ids, ()), frozenset(ids), frozenset(ids))
    body = encode_root(root)[len(ROOT_MAGIC) : -32]
    fields = list(canonical.decode(body, "example"))
    fields[field] = fields[field][::-1]
    forged = ROOT_MAGIC + canonical.encode(fields)
    with pytest.raises(IntegrityError):
        decode_root(forged + seal(forged))


# The staging area: read on each command, so the file's seal stands for its bytes


class Blocks:
    """The blocks of some indexes, as if they were in files."""

    def __init__(self, index: Index) -> None:
        self.files = {block.id: block.data for block in index.entries.blocks}

    def read(self, block: Block) -> Parts:
        return decode_block(self.files[block.id] or b"")


def root_bytes(index: Index) -> bytes:
    return encode_index(IndexRoot(index, ((bytes(32), 7),)))


@given(INDEXES)
def test_the_staging_area_comes_back(index: Index) -> None:
    root = decode_index(root_bytes(index), Blocks(index))
    assert root.index == index
    assert root.dropped == ((bytes(32), 7),)


@given(st.data())
def test_a_damaged_staging_area_is_no_crash(data: st.DataObject) -> None:
    index = data.draw(INDEXES)
    bad = data.draw(st.composite(damaged)(root_bytes(index)))
    decoded(lambda given: decode_index(given, Blocks(index)), bad)


@given(st.data())
def test_a_forged_staging_area_is_no_crash(data: st.DataObject) -> None:
    index = data.draw(INDEXES)
    fields = msgpack.unpackb(root_bytes(index), use_list=False)
    bad = msgpack.packb(data.draw(st.composite(mutated)(fields)))
    decoded(lambda given: decode_index(given, Blocks(index)), bad)


@given(st.data())
def test_a_damaged_block_of_the_staging_area_is_refused(data: st.DataObject) -> None:
    entries = data.draw(st.lists(INDEX_ENTRIES, min_size=1, max_size=4).map(Entries.of))
    (block,) = entries.blocks
    good = block.data
    assert good is not None
    assert list(Entries((block,)).values()) == list(entries.values())
    bad = data.draw(st.composite(damaged)(good))
    if bad != good:
        with pytest.raises(IntegrityError):
            decode_block(bad)


def test_a_staging_area_of_a_later_version() -> None:
    fields = msgpack.unpackb(root_bytes(Index()), use_list=False)
    with pytest.raises(FormatError, match="newer"):
        decode_index(msgpack.packb((3, *fields[1:])), Blocks(Index()))
    with pytest.raises(FormatError, match="newer"):
        decode_index(msgpack.packb((3, "all else is unlike today's")), Blocks(Index()))


# format.json and HINT


STORE_FORMATS = st.builds(StoreFormat, st.from_regex("[0-9a-f]{32}", fullmatch=True))


@given(STORE_FORMATS, tuples(TEXTS))
def test_a_format_file_comes_back(store: StoreFormat, write: tuple[str, ...]) -> None:
    store = replace(store, write_features=write)
    assert decode_format(encode_format(store), "example") == store


@given(st.data())
def test_a_damaged_format_file_is_refused_or_says_something_else(data: st.DataObject) -> None:
    good = encode_format(data.draw(STORE_FORMATS))
    bad = data.draw(st.composite(damaged)(good))
    found = decoded(lambda data: decode_format(data, "example"), bad)
    if found is not None:
        # JSON has no one form; the log hangs on the bytes, and so tells what was changed.
        assert decode_format(encode_format(found), "example") == found


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({}, None),
        ({"later": "a field that nobody knows"}, None),
        ({"version": 2}, FormatError),
        ({"version": 2, "features": "unlike today's"}, FormatError),
        ({"features": {"read": ["new"], "write": []}}, FormatError),
        ({"version": 0}, IntegrityError),
        ({"version": True}, IntegrityError),
        ({"version": 1.0}, IntegrityError),
        ({"version": "1"}, IntegrityError),
        ({"magic": "another"}, IntegrityError),
        ({"id": "0" * 30}, IntegrityError),
        ({"id": "../" + "0" * 29}, IntegrityError),
        ({"id": "00 " * 16}, IntegrityError),
        ({"id": "A" * 32}, IntegrityError),
        ({"id": 7}, IntegrityError),
        ({"features": {"read": "new", "write": []}}, IntegrityError),
        ({"features": {"read": [1], "write": []}}, IntegrityError),
        ({"features": {"read": [], "write": [{}]}}, IntegrityError),
        ({"features": {}}, IntegrityError),
        ({"features": []}, IntegrityError),
        ({"more": "x" * 100_000}, IntegrityError),
    ],
)
def test_a_forged_format_file(change: dict[str, Any], error: type[Exception] | None) -> None:
    fields = {**json.loads(encode_format(StoreFormat("0" * 32))), **change}
    data = json.dumps(fields).encode()
    if error is None:
        assert decode_format(data, "example").id == "0" * 32
    else:
        with pytest.raises(error):
            decode_format(data, "example")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"7", b"\xff", b"[" * 60_000, b'"a"'])
def test_what_is_no_format_file_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        decode_format(data, "example")


def hint(line: bytes) -> bytes:
    return line + seal(line).hex().encode() + b"\n"


@given(st.integers(1, 10**12 - 1), IDS)
def test_a_hint_comes_back(number: int, digest: bytes) -> None:
    assert decode_hint(hint(f"{number} {digest.hex()}\n".encode())) == (number, digest)


@given(st.data(), st.integers(1, 10**12 - 1), IDS)
def test_a_damaged_hint_says_nothing(data: st.DataObject, number: int, digest: bytes) -> None:
    good = hint(f"{number} {digest.hex()}\n".encode())
    bad = data.draw(st.composite(damaged)(good))
    assume(bad != good)
    assert decode_hint(bad) == (0, b"")


@pytest.mark.parametrize("number", [b"0", b"-1", b"+1", b"01", b"1_0", b" 1", b"9" * 13, b"x", b""])
def test_a_forged_hint_says_nothing(number: bytes) -> None:
    assert decode_hint(hint(number + b" " + b"0" * 64 + b"\n")) == (0, b"")
    assert decode_hint(hint(b"7 " + b"0" * 62 + b"\n")) == (0, b"")
    assert decode_hint(hint(b"7 " + b"A" * 64 + b"\n")) == (0, b"")


@given(st.binary(max_size=200))
@example(b"")
def test_arbitrary_bytes_are_no_crash(data: bytes) -> None:
    assert decode_hint(data) == (0, b"")
    for codec in CODECS:
        decoded(codec.decode, data)
        decoded(codec.decode, codec.close(data))
