"""The objects that packs hold beside plain bytes (trees, assets and recipes), and their codecs.

Each value has one canonical byte form (docs/format.md). Decoding refuses every other form,
unknown versions and kinds, unsafe names and oversize input: what a store holds is hostile until
checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from ama.errors import UPGRADE, FormatError, Hint, IntegrityError, InvalidInput
from ama.format import canonical
from ama.format.hashing import ID_SIZE, asset_id, blob_id, seal, tree_id
from ama.format.names import check_class, check_name

if TYPE_CHECKING:
    from ama.values import Scalar

VERSION = 1
MAX_TREE = 256 * 1024 * 1024
MAX_ASSET = 1024 * 1024
MAX_RECIPE = 256 * 1024 * 1024
MAX_TEXT = 64 * 1024
MAX_KEY = 200
MAX_LINK = 4096
MAX_SIZE = 2**63 - 1
CHUNK_PROFILES = frozenset({1})
MAX_CHUNK = 1024 * 1024


class Kind(IntEnum):
    """The kind of a record in a pack."""

    DATA = 1
    TREE = 2
    ASSET = 3
    RECIPE = 4
    REFERENCE = 5
    """What stands for content that is elsewhere; see `ama.format.references`."""

    @property
    def makes(self) -> Kind:
        """Return the kind of the object that a record of this kind holds or stands for.

        Example:
            >>> Kind.REFERENCE.makes is Kind.DATA
            True
        """
        return Kind.DATA if self is Kind.REFERENCE else self


class EntryKind(IntEnum):
    """The kind of an entry in a tree."""

    FILE = 0
    EXECUTABLE = 1
    SYMLINK = 2
    TREE = 3


class TreeEntry(NamedTuple):
    """One name in a directory. `size` is in bytes; for a tree, it is the sum of all below it.

    It is a tuple, because a directory may have a hundred thousand entries.
    """

    name: str
    kind: EntryKind
    id: bytes
    size: int


_ENTRY_KINDS = {int(kind): kind for kind in EntryKind}


@dataclass(frozen=True, slots=True)
class RefLink:
    """A link to an asset that another was made from, and what for."""

    asset: bytes
    class_name: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Asset:
    """An asset's record: what, made from what, by whom, when (UTC microseconds), and why."""

    class_name: str
    tree: bytes
    parents: tuple[bytes, ...]
    refs: tuple[RefLink, ...]
    author: str
    created_at: int
    message: str = ""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The chunks of a large object, as (id, size in bytes), in order."""

    profile: int
    kind: Kind
    chunks: tuple[tuple[bytes, int], ...]

    @property
    def size(self) -> int:
        """Return the whole object's size in bytes."""
        return sum(size for _, size in self.chunks)


def object_id(kind: Kind, data: bytes | bytearray | memoryview) -> bytes:
    """Return the id of an object's bytes.

    Example:
        >>> object_id(Kind.DATA, b"x") == object_id(Kind.TREE, b"x")
        False
    """
    if kind is Kind.DATA:
        return blob_id(data)
    if kind is Kind.TREE:
        return tree_id(data)
    if kind is Kind.ASSET:
        return asset_id(data)
    raise ValueError("a recipe is filed under the id of the object that it makes")


def encode_tree(entries: list[TreeEntry]) -> bytes:
    """Return the canonical bytes of a directory, whatever the order of its entries.

    Raises:
        InvalidInput: A name is unsafe or appears twice, or a symlink or the directory is too
            large.

    Example:
        >>> decode_tree(encode_tree([]))
        ()
    """
    ordered = sorted(entries, key=lambda entry: entry.name.encode("utf-8", "surrogatepass"))
    for entry in ordered:
        check_name(entry.name)
        if entry.kind is EntryKind.SYMLINK and not 0 < entry.size <= MAX_LINK:
            raise InvalidInput(f"symlink {entry.name!r} has a target of {entry.size} bytes")
    for before, after in pairwise(ordered):
        if before.name == after.name:
            raise InvalidInput(f"{after.name!r} appears twice in one directory")
    rows = [(entry.name, int(entry.kind), entry.id, entry.size) for entry in ordered]
    data = canonical.encode((VERSION, rows))
    if len(data) > MAX_TREE:
        raise InvalidInput(
            f"a directory has {len(rows)} entries, which is too many",
            hint="distribute them over directories of their own",
        )
    return data


def decode_tree(data: bytes, what: str = "tree") -> tuple[TreeEntry, ...]:
    """Return the entries of a directory, in the order of their names' bytes.

    Raises:
        IntegrityError: The bytes are not the canonical form of a tree.
        FormatError: A newer version of ama has written the tree.

    Example:
        >>> entry = TreeEntry("a.txt", EntryKind.FILE, bytes(32), 0)
        >>> decode_tree(encode_tree([entry])) == (entry,)
        True
    """
    (rows,) = _fields(data, 1, MAX_TREE, what)
    _check(isinstance(rows, tuple), what, "no list of entries")
    entries = tuple(_tree_entry(row, what) for row in rows)
    names = [entry.name.encode() for entry in entries]
    _check(all(a < b for a, b in pairwise(names)), what, "names out of order")
    return entries


def reread_tree(data: bytes, part: str = "") -> tuple[TreeEntry, ...]:
    """Return the entries of a directory whose bytes `decode_tree` has accepted before.

    Args:
        data: The bytes.
        part: A part of the names of those that are wanted.

    Raises:
        ValueError, TypeError, LookupError: The bytes are others.

    Example:
        >>> entry = TreeEntry("a.txt", EntryKind.FILE, bytes(32), 0)
        >>> reread_tree(encode_tree([entry])) == (entry,)
        True
    """
    _, rows = canonical.reread(data)
    return tuple(
        TreeEntry(name, _ENTRY_KINDS[kind], of, size)
        for name, kind, of, size in rows
        if part in name
    )


def _tree_entry(row: Any, what: str) -> TreeEntry:
    try:
        name, kind, entry_id, size = row
        if type(name) is not str or type(size) is not int or type(kind) is not int:
            raise ValueError("a field of another type")
        check_name(name)
        entry = TreeEntry(name, _ENTRY_KINDS[kind], canonical.check_id(entry_id), size)
    except (ValueError, TypeError, KeyError) as error:
        raise IntegrityError(f"{what} is damaged: {error}") from error
    most = MAX_LINK if entry.kind is EntryKind.SYMLINK else MAX_SIZE
    least = 1 if entry.kind is EntryKind.SYMLINK else 0
    _check(least <= size <= most, what, f"{name!r} has an impossible size")
    return entry


def encode_asset(asset: Asset) -> bytes:
    """Return the canonical bytes of an asset.

    Raises:
        InvalidInput: An asset can't have such a field, for instance nested metadata.

    Example:
        >>> asset = Asset("models", bytes(32), (), (), "Ann <ann@example.org>", 0)
        >>> decode_asset(encode_asset(asset)) == asset
        True
    """
    data = _asset_bytes(asset)
    try:
        decode_asset(data, "asset")
    except IntegrityError as error:
        raise InvalidInput(f"this can't be made an asset: {error.message}") from error
    return data


def _asset_bytes(asset: Asset) -> bytes:
    refs = [(ref.asset, ref.class_name, ref.label) for ref in asset.refs]
    fields = (
        VERSION,
        asset.class_name,
        asset.tree,
        list(asset.parents),
        refs,
        asset.author,
        asset.created_at,
        asset.message,
        dict(asset.metadata),
        dict(asset.extra),
    )
    try:
        return canonical.encode(fields)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"this can't be made an asset: {error}") from error


def decode_asset(data: bytes, what: str = "asset") -> Asset:
    """Decode an asset.

    Raises:
        IntegrityError: The bytes are not the canonical form of an asset.
        FormatError: A newer version of ama has written the asset.

    Example:
        >>> asset = Asset("models", bytes(32), (), (), "Ann <ann@example.org>", 0)
        >>> decode_asset(encode_asset(asset)).class_name
        'models'
    """
    fields = _fields(data, 9, MAX_ASSET, what)
    try:
        asset = _asset(fields)
    except (ValueError, TypeError) as error:
        raise IntegrityError(f"{what} is damaged: {error}") from error
    return asset


def _asset(fields: tuple[Any, ...]) -> Asset:
    class_name, tree, parents, refs, author, created_at, message, metadata, extra = fields
    check_class(_text(class_name))
    if (type(parents), type(refs), type(metadata), type(extra)) != (tuple, tuple, dict, dict):
        raise ValueError("a field of another type")
    links = tuple(_ref(*row) for row in refs)
    parent_ids = tuple(canonical.check_id(parent) for parent in parents)
    if len(set(parent_ids)) < len(parent_ids) or len(set(links)) < len(links):
        raise ValueError("a parent or ref appears twice")
    if type(created_at) is not int or not 0 <= created_at <= MAX_SIZE:
        raise ValueError("created_at is not a time")
    for key, value in metadata.items():
        check_metadata(key, value)
    return Asset(
        class_name,
        canonical.check_id(tree),
        parent_ids,
        links,
        _text(author),
        created_at,
        _text(message),
        metadata,
        extra,
    )


def check_metadata(key: str, value: object) -> None:
    """Refuse a key and value that can't be an asset's metadata.

    Raises:
        InvalidInput: The key is empty or has more than 200 bytes; or the value is no text, number
            or truth value, or an integer of more than 64 bits.

    Example:
        >>> check_metadata("learning_rate", 0.001)
    """
    if type(key) is not str or not 0 < len(key.encode("utf-8", "replace")) <= MAX_KEY:
        raise InvalidInput(f"metadata {key!r}: a name has 1 to {MAX_KEY} bytes")
    if type(value) not in (str, int, float, bool):
        raise InvalidInput(f"metadata {key!r} is neither a text, a number nor a truth value")
    if type(value) is int and not -(2**63) <= value < 2**64:
        raise InvalidInput(f"metadata {key!r} is an integer of more than 64 bits")
    if not (_is_unicode(key) and (type(value) is not str or _is_unicode(value))):
        raise InvalidInput(f"metadata {key!r} isn't valid Unicode")


def check_text(what: str, text: object) -> None:
    """Refuse a value that can't be a text of an asset, such as its message.

    Args:
        what: The name of the text, for the error.
        text: The value.

    Raises:
        InvalidInput: It is no text, has more than 64 KiB, or has no UTF-8 form.

    Example:
        >>> check_text("message", "wider layers")
    """
    if type(text) is not str:
        raise InvalidInput(f"the {what} is a text, not of type {type(text).__name__}")
    if not _is_unicode(text):
        raise InvalidInput(f"the {what} isn't valid Unicode")
    if len(text.encode()) > MAX_TEXT:
        raise InvalidInput(
            f"the {what} has more than {MAX_TEXT // 1024} KiB", hint=Hint("add-as-file")
        )


def _is_unicode(text: str) -> bool:
    """Whether a text has a UTF-8 form: bytes from the system may have none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _ref(asset: Any, class_name: Any, label: Any) -> RefLink:
    check_class(_text(class_name))
    return RefLink(canonical.check_id(asset), class_name, _text(label))


def encode_recipe(recipe: Recipe) -> bytes:
    """Return the bytes of a recipe. They end in a seal, because no id covers them.

    Raises:
        InvalidInput: It has too many chunks: the file has about a terabyte.

    Example:
        >>> recipe = Recipe(1, Kind.DATA, ((bytes(32), 5), (bytes(32), 6)))
        >>> decode_recipe(encode_recipe(recipe)).size
        11
    """
    ids = b"".join(chunk for chunk, _ in recipe.chunks)
    sizes = [size for _, size in recipe.chunks]
    body = canonical.encode((VERSION, recipe.profile, int(recipe.kind), ids, sizes))
    if len(body) + ID_SIZE > MAX_RECIPE:
        raise InvalidInput(f"a file of {recipe.size} bytes is too large", hint="split it")
    return body + seal(body)


def decode_recipe(data: bytes, what: str = "recipe") -> Recipe:
    """Decode a recipe.

    Raises:
        IntegrityError: Damaged, fewer than 2 chunks, or a chunk of an impossible size.
        FormatError: A newer version of ama has written the recipe.

    Example:
        >>> recipe = Recipe(1, Kind.DATA, ((bytes(32), 5), (bytes(32), 6)))
        >>> decode_recipe(encode_recipe(recipe)) == recipe
        True
    """
    body, checksum = data[:-ID_SIZE], data[-ID_SIZE:]
    _check(seal(body) == checksum, what, "its checksum does not match")
    profile, kind, ids, sizes = _fields(body, 4, MAX_RECIPE, what)
    _check(type(profile) is int and type(kind) is int, what, "a field of another type")
    if profile not in CHUNK_PROFILES:
        raise FormatError(f"{what} is cut by profile {profile}, which this version does not know")
    _check(kind in (Kind.DATA, Kind.TREE), what, "it makes neither a file nor a tree")
    _check(type(ids) is bytes and type(sizes) is tuple, what, "a field of another type")
    _check(len(sizes) >= 2 and len(ids) == ID_SIZE * len(sizes), what, "chunks are missing")
    _check(all(type(s) is int and 0 < s <= MAX_CHUNK for s in sizes), what, "a chunk's size")
    chunks = [ids[at : at + ID_SIZE] for at in range(0, len(ids), ID_SIZE)]
    return Recipe(profile, Kind(kind), tuple(zip(chunks, sizes, strict=True)))


def _fields(data: bytes, count: int, limit: int, what: str) -> tuple[Any, ...]:
    """Return the fields after the version, of an object that is a canonical sequence."""
    _check(len(data) <= limit, what, f"larger than {limit} bytes")
    value = canonical.decode(data, what)
    _check(isinstance(value, tuple) and len(value) > 0, what, "not a list")
    if type(value[0]) is int and value[0] > VERSION:
        raise FormatError(
            f"{what} has version {value[0]}, which this version of ama does not know",
            hint=UPGRADE,
        )
    _check(type(value[0]) is int and value[0] == VERSION, what, "an impossible version")
    _check(len(value) == count + 1, what, f"{len(value) - 1} fields, not {count}")
    fields: tuple[Any, ...] = value[1:]
    return fields


def _text(value: Any) -> str:
    if type(value) is not str or len(value.encode()) > MAX_TEXT:
        raise ValueError("a text is of another type, or longer than 64 KiB")
    return value


def _check(holds: bool, what: str, why: str) -> None:
    if not holds:
        raise IntegrityError(f"{what} is damaged: {why}")
