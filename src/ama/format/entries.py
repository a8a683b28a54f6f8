"""The log's entries: their fields and their bytes.

An entry is written once and never changed. Its bytes are a magic, canonical MessagePack and a
seal; entry n carries the hash of entry n-1's bytes, so the log is a chain. docs/format.md is the
specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ama.errors import FormatError, IntegrityError
from ama.format import canonical
from ama.format.hashing import ID_SIZE, blob_id, seal
from ama.format.names import check_alias, check_class, check_name
from ama.format.objects import MAX_KEY, MAX_SIZE, MAX_TEXT, check_metadata

if TYPE_CHECKING:
    from ama.values import Scalar

MAGIC = b"ama-log\n"
VERSION = 1
MAX_ENTRY = 4 * 1024 * 1024
MAX_NEEDS = 16
MAX_NOTE = 1024 * 1024
NONCE_SIZE = 16
NUMBER_DIGITS = 12
MAX_NUMBER = 10**NUMBER_DIGITS - 1
MAX_TIME = 2**63 - 1

ABSENT = b""
"""The expectation that the alias does not exist."""

Expected = bytes | None
"""The target that an alias event expects: an asset's id, ABSENT, or None (anything)."""

StatusName = Literal["active", "deprecated", "deleted"]
STATUSES: tuple[StatusName, ...] = ("active", "deprecated", "deleted")


@dataclass(frozen=True, slots=True)
class HeldRef:
    """An asset that a published one links to, and whether this store has its content."""

    asset: bytes
    held: bool


@dataclass(frozen=True, slots=True)
class Publish:
    """An event: an asset gets the next number of its class.

    `indexes` join the current ones. `needs` (at most 16) together name all of the asset's content.
    `refs` are the assets that it was made from, transitively.
    """

    name: ClassVar[str] = "publish"
    asset: bytes
    class_name: str
    aliases: tuple[tuple[str, Expected], ...] = ()
    indexes: tuple[bytes, ...] = ()
    needs: tuple[bytes, ...] = ()
    refs: tuple[HeldRef, ...] = ()


@dataclass(frozen=True, slots=True)
class MoveAlias:
    """An event: an alias moves to another asset of its class, or (asset None) is removed."""

    name: ClassVar[str] = "alias"
    class_name: str
    alias: str
    asset: bytes | None
    expected: Expected = None


@dataclass(frozen=True, slots=True)
class SetStatus:
    """An event: an asset becomes active, deprecated or deleted."""

    name: ClassVar[str] = "status"
    asset: bytes
    class_name: str
    status: StatusName
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Gc:
    """An event: indexes replace others; packs and indexes are condemned: nobody uses them again."""

    name: ClassVar[str] = "gc"
    replaced: tuple[tuple[tuple[bytes, ...], tuple[bytes, ...]], ...] = ()
    packs: tuple[bytes, ...] = ()
    indexes: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Purged:
    """An event: condemned files are deleted now."""

    name: ClassVar[str] = "purged"
    packs: tuple[bytes, ...] = ()
    indexes: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Feature:
    """An event: readers or writers of this store must know these features from now on."""

    name: ClassVar[str] = "feature"
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NoteFile:
    """A file that a note comes with: its name, the id of its content, and its bytes."""

    name: str
    id: bytes
    size: int


@dataclass(frozen=True, slots=True)
class AddNote:
    """An event that older readers skip: what is known later of an asset, or of a class.

    Without an asset it is about the class, and its message is the class's description. None as the
    value of a key takes back what was noted under it. `needs` name all of the file's content.
    """

    name: ClassVar[str] = "note"
    class_name: str
    asset: bytes | None
    metadata: Mapping[str, Scalar | None] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    untags: tuple[str, ...] = ()
    message: str = ""
    file: NoteFile | None = None
    needs: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Unknown:
    """An event of a later version of ama. Unless it is critical, readers skip and keep it."""

    name: str
    critical: bool
    body: Mapping[str, Any]


Event = Publish | MoveAlias | SetStatus | Gc | Purged | Feature | AddNote | Unknown


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log. `at` is UTC microseconds, `previous` the hash of the entry before."""

    number: int
    nonce: bytes
    previous: bytes
    author: str
    at: int
    events: tuple[Event, ...]


def entry_name(number: int) -> str:
    """Return the name of entry `number` in a storage.

    Example:
        >>> entry_name(7)
        'log/000000000007'
    """
    return f"log/{number:0{NUMBER_DIGITS}d}"


def entry_hash(data: bytes) -> bytes:
    """Return the BLAKE3 of an entry's bytes: the next entry's `previous`.

    Example:
        >>> len(entry_hash(b""))
        32
    """
    return blob_id(data)


def encode_entry(entry: Entry) -> bytes:
    """Return the bytes of an entry.

    Raises:
        ValueError: An invalid field, or an entry of more than 4 MiB.

    Example:
        >>> entry = Entry(1, bytes(16), bytes(32), "Ann", 0, (MoveAlias("models", "best", None),))
        >>> decode_entry(encode_entry(entry)) == entry
        True
    """
    events = [_encode_event(event) for event in entry.events]
    fields = (VERSION, entry.number, entry.nonce, entry.previous, entry.author, entry.at, events)
    body = MAGIC + canonical.encode(fields)
    if len(body) > MAX_ENTRY:
        raise ValueError("a log entry of more than 4 MiB")
    return body + seal(body)


def decode_entry(data: bytes, what: str = "log entry") -> Entry:
    """Decode an entry.

    Raises:
        IntegrityError: The bytes are damaged.
        FormatError: A newer version of ama has written the entry.

    Example:
        >>> entry = Entry(1, bytes(16), bytes(32), "Ann", 0, ())
        >>> decode_entry(encode_entry(entry)).author
        'Ann'
    """
    body, checksum = data[:-ID_SIZE], data[-ID_SIZE:]
    if len(data) > MAX_ENTRY + ID_SIZE or not body.startswith(MAGIC) or seal(body) != checksum:
        raise IntegrityError(f"{what} is damaged: its checksum does not match")
    fields = canonical.decode(body[len(MAGIC) :], what)
    try:
        version, *rest = fields
        if type(version) is int and version > VERSION:
            raise FormatError(f"{what} has version {version}: upgrade ama to read this store")
        entry = _entry(version, *rest)
        # So that an entry has only one byte form, whatever type a field may pass for.
        if encode_entry(entry) != data:
            raise ValueError("a field of another type")
    except (ValueError, TypeError, KeyError) as error:
        raise IntegrityError(f"{what} is damaged: {error}") from error
    return entry


def _entry(
    version: Any, number: Any, nonce: Any, previous: Any, author: Any, at: Any, events: Any
) -> Entry:
    if (type(version), version) != (int, VERSION):
        raise ValueError("an impossible version")
    if type(number) is not int or not 1 <= number <= MAX_NUMBER:
        raise ValueError("its number is impossible")
    if type(at) is not int or not 0 <= at <= MAX_TIME:
        raise ValueError("its time is impossible")
    if type(nonce) is not bytes or len(nonce) != NONCE_SIZE or type(author) is not str:
        raise ValueError("its nonce or author is impossible")
    if type(events) is not tuple:
        raise ValueError("no list of events")
    return Entry(
        number,
        nonce,
        canonical.check_id(previous),
        author,
        at,
        tuple(_decode_event(*e) for e in events),
    )


def _encode_event(event: Event) -> tuple[str, bool, Mapping[str, Any]]:
    match event:
        case Publish():
            body: Mapping[str, Any] = {
                "asset": event.asset,
                "class": event.class_name,
                "aliases": event.aliases,
                "indexes": event.indexes,
                "needs": event.needs,
                "refs": [(ref.asset, ref.held) for ref in event.refs],
            }
        case MoveAlias():
            body = {
                "class": event.class_name,
                "alias": event.alias,
                "asset": event.asset,
                "expected": event.expected,
            }
        case SetStatus():
            body = {
                "asset": event.asset,
                "class": event.class_name,
                "status": event.status,
                "reason": event.reason,
            }
        case Gc():
            body = {"replaced": event.replaced, "packs": event.packs, "indexes": event.indexes}
        case Purged():
            body = {"packs": event.packs, "indexes": event.indexes}
        case Feature():
            body = {"read": event.read, "write": event.write}
        case AddNote():
            return event.name, False, note_fields(event)
        case Unknown():
            return event.name, event.critical, dict(event.body)
    return event.name, True, body


def note_fields(note: AddNote) -> dict[str, Any]:
    """Return a note's fields, as its event and checkpoints have them."""
    file = note.file
    return {
        "asset": note.asset,
        "class": note.class_name,
        "file": None if file is None else (file.name, file.id, file.size),
        "message": note.message,
        "metadata": dict(note.metadata),
        "needs": note.needs,
        "tags": note.tags,
        "untags": note.untags,
    }


def note_of(body: Mapping[str, Any]) -> AddNote:
    """Return the note of its fields.

    Raises:
        ValueError, TypeError, KeyError: They are no note's.
    """
    check_class(body["class"])
    if type(body["metadata"]) is not dict:
        raise ValueError("metadata that is no map")
    for key, value in body["metadata"].items():
        # Of nothing only the name is checked.
        check_metadata(key, False if value is None else value)
    file = None if body["file"] is None else _note_file(*body["file"])
    needs = _ids(body["needs"])
    if len(needs) > MAX_NEEDS or bool(needs) != (file is not None):
        raise ValueError("a note's file and the indexes that name it don't fit")
    tags, untags = _tags(body["tags"]), _tags(body["untags"])
    if set(tags) & set(untags):
        raise ValueError("a tag that is added and taken away")
    if len(canonical.check_text(body["message"]).encode()) > MAX_TEXT:
        raise ValueError("a message of more than 64 KiB")
    if _may_be_too_large(body) and len(canonical.encode(dict(body))) > MAX_NOTE:
        raise ValueError("a note of more than 1 MiB")
    asset = None if body["asset"] is None else canonical.check_id(body["asset"])
    metadata = dict(body["metadata"])
    return AddNote(body["class"], asset, metadata, tags, untags, body["message"], file, needs)


def _decode_event(name: Any, critical: Any, body: Any) -> Event:
    if type(name) is not str or type(critical) is not bool or type(body) is not dict:
        raise ValueError("an event is not a name, a mark and a map")
    decode = _DECODERS.get(name)
    if decode is None:
        return Unknown(name, critical, body)
    event, keys = decode(body)
    if set(body) != keys or critical == isinstance(event, AddNote):
        raise ValueError(f"a {name} event with wrong fields")
    return event


def _publish(body: dict[str, Any]) -> tuple[Event, set[str]]:
    check_class(body["class"])
    for alias, _ in body["aliases"]:
        check_alias(alias)
    if len(body["needs"]) > MAX_NEEDS:
        raise ValueError("an asset that needs more than 16 indexes")
    refs = tuple(HeldRef(canonical.check_id(asset), _truth(held)) for asset, held in body["refs"])
    event = Publish(
        canonical.check_id(body["asset"]),
        body["class"],
        tuple((alias, _expected(expected)) for alias, expected in body["aliases"]),
        _ids(body["indexes"]),
        _ids(body["needs"]),
        refs,
    )
    return event, {"asset", "class", "aliases", "indexes", "needs", "refs"}


def _move_alias(body: dict[str, Any]) -> tuple[Event, set[str]]:
    check_class(body["class"])
    check_alias(body["alias"])
    asset = None if body["asset"] is None else canonical.check_id(body["asset"])
    event = MoveAlias(body["class"], body["alias"], asset, _expected(body["expected"]))
    return event, {"class", "alias", "asset", "expected"}


def _set_status(body: dict[str, Any]) -> tuple[Event, set[str]]:
    check_class(body["class"])
    if body["status"] not in STATUSES or type(body["reason"]) is not str:
        raise ValueError("an unknown status")
    event = SetStatus(
        canonical.check_id(body["asset"]), body["class"], body["status"], body["reason"]
    )
    return event, {"asset", "class", "status", "reason"}


def _gc(body: dict[str, Any]) -> tuple[Event, set[str]]:
    replaced = tuple((_ids(old), _ids(new)) for old, new in body["replaced"])
    gone = {*body["indexes"], *(index for old, _ in replaced for index in old)}
    if not gone.isdisjoint(index for _, new in replaced for index in new):
        raise ValueError("a gc event that condemns an index that it adds")
    return Gc(replaced, _ids(body["packs"]), _ids(body["indexes"])), {
        "replaced",
        "packs",
        "indexes",
    }


def _purged(body: dict[str, Any]) -> tuple[Event, set[str]]:
    return Purged(_ids(body["packs"]), _ids(body["indexes"])), {"packs", "indexes"}


def _feature(body: dict[str, Any]) -> tuple[Event, set[str]]:
    read, write = body["read"], body["write"]
    if not all(type(feature) is str for feature in (*read, *write)):
        raise ValueError("a feature without a name")
    return Feature(tuple(read), tuple(write)), {"read", "write"}


def _note(body: dict[str, Any]) -> tuple[Event, set[str]]:
    note = note_of(body)
    return note, set(note_fields(note))


def _may_be_too_large(body: Mapping[str, Any]) -> bool:
    """Whether a note is worth measuring: most are tiny, and an entry may have many."""
    texts = sum(len(value) for value in body["metadata"].values() if type(value) is str)
    few = len(body["metadata"]) + len(body["tags"]) + len(body["untags"])
    return 4 * texts + 2 * MAX_KEY * few > MAX_NOTE // 2


def _note_file(name: Any, content: Any, size: Any) -> NoteFile:
    check_name(canonical.check_text(name))
    if canonical.check_number(size) > MAX_SIZE:
        raise ValueError("a file of an impossible size")
    return NoteFile(name, canonical.check_id(content), size)


def _tags(values: Any) -> tuple[str, ...]:
    if type(values) is not tuple or list(values) != sorted(set(map(canonical.check_text, values))):
        raise ValueError("tags out of order")
    if not all(0 < len(tag.encode()) <= MAX_KEY for tag in values):
        raise ValueError("a tag has 1 to 200 bytes")
    return values


_DECODERS = {
    Publish.name: _publish,
    MoveAlias.name: _move_alias,
    SetStatus.name: _set_status,
    Gc.name: _gc,
    Purged.name: _purged,
    Feature.name: _feature,
    AddNote.name: _note,
}


def _ids(values: Any) -> tuple[bytes, ...]:
    if type(values) is not tuple:
        raise ValueError("no list of ids")
    return tuple(canonical.check_id(value) for value in values)


def _expected(value: Any) -> Expected:
    return value if value is None or value == ABSENT else canonical.check_id(value)


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("neither true nor false")
    return value
