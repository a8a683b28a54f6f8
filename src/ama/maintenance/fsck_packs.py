"""The check of indexes and their packs: every byte read, every record opened."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ama.errors import AmaError, FormatError, IntegrityError, StorageError
from ama.format.hashing import blob_id, short
from ama.format.objects import Kind, decode_asset, decode_recipe, decode_tree
from ama.format.pack import Record, read_record, read_trailer, scan_records
from ama.format.packindex import Location, PackIndex
from ama.format.references import Reference
from ama.storage.protocol import Range, Storage
from ama.stores.object_reader import index_name, pack_name
from ama.system.progress import Progress

_Rows = tuple[bytes, "array[int]"]
"""An index, and the numbers of its rows for one pack."""


def read_indexes(storage: Storage, ids: Iterable[bytes]) -> tuple[list[PackIndex], list[Fault]]:
    """Return the sound indexes, and the faults of the others."""
    sound: list[PackIndex] = []
    faults: list[Fault] = []
    for index in ids:
        name = index_name(index)
        try:
            (data,) = storage.read([Range(name)])
            if data is None:
                raise IntegrityError("it is missing")
            if blob_id(data) != index:
                raise IntegrityError("its bytes have another hash")
            found = PackIndex(data, name)
            found.validate()
        except AmaError as error:
            give_up(error)
            faults.append(Fault(name, reason(error), indexes=frozenset([index])))
        else:
            sound.append(found)
    return sound, faults


class PackCheck:
    """The check of all packs in some indexes, one pack in memory at a time.

    Args:
        storage: The storage of the packs.
        indexes: The sound indexes.
        progress: The progress of the bytes read.

    Attributes:
        bad: The locations in indexes that hold no object.
        recipes: The sizes in bytes of sound recipes' objects, by id.
        objects: How many records were opened.
        size: How many bytes these have.
        references: How many of them are references.
        referenced: How many bytes of content these stand for.
        sources: The URLs, marks and sizes of what they lead to.
    """

    def __init__(self, storage: Storage, indexes: Sequence[PackIndex], progress: Progress) -> None:
        self._storage = storage
        self._indexes = {index.id: index for index in indexes}
        self._progress = progress
        self.bad: set[Location] = set()
        self.recipes: dict[bytes, int] = {}
        self.faults: list[Fault] = []
        self.objects = 0
        self.size = 0
        self.references = 0
        self.referenced = 0
        self.sources: set[tuple[str, str, int]] = set()

    def run(self) -> None:
        """Check every pack."""
        sizes: dict[bytes, dict[int, bytes]] = defaultdict(dict)
        rows: dict[bytes, list[_Rows]] = defaultdict(list)
        for index in self._indexes.values():
            for pack, size in index.pack_sizes.items():
                sizes[pack].setdefault(size, index.id)
            for pack, numbers in index.rows_by_pack().items():
                rows[pack].append((index.id, numbers))
        self._progress.start("Checking packs", sum(max(said) for said in sizes.values()))
        try:
            for pack, said in sizes.items():
                self._check(pack, said, rows.pop(pack))
                self._progress.advance(max(said))
        finally:
            self._progress.finish()

    def is_bad(self, location: Location) -> bool:
        """Whether a location in an index holds no object."""
        return location in self.bad

    def _rows(self, named: Sequence[_Rows]) -> Iterator[tuple[bytes, Record]]:
        for index, numbers in named:
            for location in self._indexes[index].locate(numbers):
                yield index, location.record

    def _check(
        self,
        pack: bytes,
        said: Mapping[int, bytes],
        named: Sequence[_Rows],
    ) -> None:
        try:
            (data,) = self._storage.read([Range(pack_name(pack))])
        except AmaError as error:
            give_up(error)
            self._all_lost(pack, named, error.message)
            return
        if data is None:
            self._all_lost(pack, named, "it is missing")
            return
        self.size += len(data)
        whole = blob_id(data) == pack
        held, wrong = _records(data, whole)
        if whole:
            self._check_sizes(pack, len(data), said)
            named = self._without_strangers(pack, held, named)
        bad: set[bytes] = set()
        opened: dict[Record, bool] = {}
        for _, row in self._rows(named):
            if row not in opened:
                opened[row] = self._open(data, row)
            if not opened[row]:
                self.bad.add(Location(pack, row))
                bad.add(row.id)
        self.objects += len(opened)
        unnamed = [row for row in held if row not in opened and not self._open(data, row)]
        if bad:
            of = f"{len(bad):,} of {plural(len(opened), 'object')} in it"
            wrong.append(f"{of} can't be read: {several(bad)}")
        elif unnamed:
            wrong.append(
                f"{plural(len(unnamed), 'object')} in it that no index names can't be read"
            )
        elif wrong:
            wrong.append("every object in it is sound")
        if wrong:
            self.faults.append(Fault(pack_name(pack), "; ".join(wrong), frozenset(bad)))

    def _check_sizes(self, pack: bytes, size: int, said: Mapping[int, bytes]) -> None:
        """Check the size that indexes give for a whole pack."""
        for other, index in said.items():
            if other != size:
                what = f"it says that {pack_name(pack)} has {other:,} bytes, and it has {size:,}"
                self.faults.append(Fault(index_name(index), what, indexes=frozenset([index])))

    def _without_strangers(
        self, pack: bytes, held: Iterable[Record], named: Sequence[_Rows]
    ) -> list[_Rows]:
        """Return the rows that name objects in a whole pack; the others are their index's fault."""
        known = {record.offset: record for record in held}
        kept = []
        for index, numbers in named:
            good = array("Q")
            strangers = set()
            rows = self._indexes[index].locate(numbers)
            for number, (_, row) in zip(numbers, rows, strict=True):
                if known.get(row.offset) == row:
                    good.append(number)
                else:
                    strangers.add(row.id)
                    self.bad.add(Location(pack, row))
            kept.append((index, good))
            if strangers:
                what = f"it names {plural(len(strangers), 'object')} ({several(strangers)})"
                where = index_name(index)
                what = f"{what} otherwise than {pack_name(pack)} holds them"
                self.faults.append(Fault(where, what, frozenset(strangers)))
        return kept

    def _open(self, data: bytes, record: Record) -> bool:
        """Whether a record is what its index says, and can be decoded."""
        try:
            content = read_record(memoryview(data)[record.offset :], record)
            if isinstance(content, Reference):
                self._note(content, record)
            elif record.kind is Kind.TREE:
                decode_tree(content)
            elif record.kind is Kind.ASSET:
                decode_asset(content)
            elif record.kind is Kind.RECIPE:
                self.recipes[record.id] = decode_recipe(content).size
        except (IntegrityError, FormatError):
            return False
        return True

    def _note(self, found: Reference, record: Record) -> None:
        self.references += 1
        self.referenced += record.full
        self.sources.add((found.url, found.mark, found.size))

    def _all_lost(self, pack: bytes, named: Sequence[_Rows], what: str) -> None:
        lost = set()
        for _, row in self._rows(named):
            self.bad.add(Location(pack, row))
            lost.add(row.id)
        held = f"{what}; it held {plural(len(lost), 'object')}"
        self.faults.append(Fault(pack_name(pack), held, frozenset(lost)))


def _records(data: bytes, whole: bool) -> tuple[Sequence[Record], list[str]]:
    """Return the records of a pack, and the faults of the pack as a file."""
    wrong = [] if whole else ["its bytes have another hash"]
    try:
        return read_trailer(data, "pack"), wrong
    except (IntegrityError, FormatError) as error:
        # A damaged pack's version means nothing.
        if whole or isinstance(error, IntegrityError):
            wrong.append(reason(error))
        return tuple(scan_records(data)), wrong


NAMED = 5


@dataclass(frozen=True, slots=True)
class Fault:
    """Something damaged, and the assets that it touches.

    These follow from the objects and indexes that they need, from the entries (from one to another)
    that publish them, or are given directly.
    """

    where: str
    what: str
    objects: frozenset[bytes] = frozenset()
    indexes: frozenset[bytes] = frozenset()
    entries: tuple[int, int] | None = None
    assets: frozenset[bytes] = frozenset()


def reason(error: AmaError) -> str:
    """Return an error's reason, without "X is damaged:", which the report says beside it.

    Example:
        >>> reason(AmaError("index 12 is damaged: it is too short"))
        'it is too short'
    """
    return error.message.partition(" is damaged: ")[2] or error.message


def give_up(error: AmaError) -> None:
    """Raise an error that says nothing about the file: the storage is away."""
    if isinstance(error, StorageError) and error.retryable:
        raise error


def several(ids: Iterable[bytes]) -> str:
    """Name a few of many objects.

    Example:
        >>> several([bytes(32)])
        '0000000000'
    """
    ordered: Sequence[bytes] = sorted(ids)
    named = ", ".join(short(object_id) for object_id in ordered[:NAMED])
    more = len(ordered) - NAMED
    return f"{named} and {more} more" if more > 0 else named


def plural(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural if need be.

    Example:
        >>> plural(1, "object"), plural(2, "object")
        ('1 object', '2 objects')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
