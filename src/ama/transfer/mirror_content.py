"""The packs and indexes of a mirror: each is copied as it is, and checked by its id on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from ama.errors import AmaError, Hint, IntegrityError, shown
from ama.format.hashing import Hasher, blob_id
from ama.format.packindex import Location, PackIndex
from ama.storage.protocol import HasParts, Range, Storage
from ama.stores.log_view import LogView
from ama.stores.object_reader import ObjectStore, index_name, pack_name
from ama.stores.remote import Remote
from ama.system.parallel import in_chunks
from ama.system.progress import Progress

INDEXES_AT_ONCE = 32
"""The indexes in memory."""

SMALL = 1024 * 1024
"""The bytes of a pack up to which several are read at once."""

SMALL_AT_ONCE = 16

LARGE = 64 * 1024 * 1024
"""The bytes of a pack from which it is read in pieces."""

PIECE = 16 * 1024 * 1024

Sized = tuple[bytes, int]
"""A pack and its bytes."""


class Content:
    """The content that entries need, on its way into a mirror.

    Args:
        source: The store.
        target: The storage of the mirror.
        view: The store's log.
        progress: The progress of the packs' bytes.
        dry_run: Whether only to count.

    Attributes:
        packs: How many packs were copied.
        indexes: How many indexes were.
        size: The bytes of both.
        lost: The packs that the store has lost, or has damaged, and why.
    """

    def __init__(
        self,
        source: Remote,
        target: Storage,
        view: LogView,
        progress: Progress,
        *,
        dry_run: bool,
    ) -> None:
        self.packs = self.indexes = self.size = 0
        self.lost: dict[bytes, AmaError] = {}
        self._source = source
        self._target = target
        self._view = view
        self._progress = progress
        self._dry_run = dry_run
        self._there: set[bytes] = set()
        self._waiting: list[PackIndex] = []
        self._lost_indexes: list[AmaError] = []

    def copy(self, indexes: Iterable[bytes], *, passing: bool) -> bool:
        """Copy indexes with their packs, as far as the mirror lacks them.

        Args:
            indexes: The indexes.
            passing: Whether to copy also those that are no longer current, if they are still there:
                until the entry that condemns them is in the mirror, what is published needs them.

        Returns:
            Whether all was there that is needed.
        """
        current = self._view.root.indexes
        waiting = iter(indexes)
        self._progress.start("Mirroring", None)
        try:
            while some := list(islice(waiting, INDEXES_AT_ONCE)):
                wanted = [index for index in some if passing or index in current]
                missing = _absent(self._target, wanted, index_name)
                self._copy(missing, {index for index in missing if index in current})
        finally:
            self._progress.finish()
        return not (self.lost or self._lost_indexes)

    def _copy(self, indexes: Sequence[bytes], needed: set[bytes]) -> None:
        """Copy some indexes: their packs first."""
        if not indexes:
            return
        read = self._read(indexes, needed)
        sizes = {pack: size for index in read for pack, size in index.pack_sizes.items()}
        unknown = [pack for pack in sizes if pack not in self._there and pack not in self.lost]
        there = self._target.sizes([pack_name(pack) for pack in unknown])
        missing = {
            pack: sizes[pack]
            for pack, size in zip(unknown, there, strict=True)
            if size != sizes[pack]
        }
        self._there.update(pack for pack in unknown if pack not in missing)
        self._copy_packs(missing)
        for found in read:
            if not self.lost.keys() & found.pack_sizes.keys():
                self._put_index(found)
            elif found.id in needed:
                self._waiting.append(found)
        passing = {p for found in read if found.id not in needed for p in found.pack_sizes}
        kept = {p for found in read if found.id in needed for p in found.pack_sizes}
        kept |= {p for found in self._waiting for p in found.pack_sizes}
        for pack in passing - kept:  # a collector has deleted it: nobody needs it in the end
            self.lost.pop(pack, None)

    def _read(self, indexes: Sequence[bytes], needed: set[bytes]) -> list[PackIndex]:
        """Return sound indexes of the store; note those that are needed and are not sound."""
        if not indexes:
            return []
        names = [Range(index_name(index)) for index in indexes]
        read: list[PackIndex] = []
        for index, data in zip(indexes, self._source.storage.read(names), strict=True):
            error = _wrong(index_name(index), index, data, self._source.url)
            if error is None:
                read.append(PackIndex(data or b"", index_name(index)))
            elif index in needed:
                self._lost_indexes.append(error)
        return read

    def _put_index(self, index: PackIndex) -> None:
        self.indexes += 1
        self.size += len(index.data)
        if not self._dry_run:
            self._target.replace(index_name(index.id), index.data)

    def _copy_packs(self, packs: dict[bytes, int]) -> None:
        """Copy packs, on a few threads, small ones several at once."""
        if self._dry_run:
            self.packs += len(packs)
            self.size += sum(packs.values())
            self._there.update(packs)
            return

        def copy(groups: list[list[Sized]]) -> list[tuple[Sized, AmaError | None]]:
            return [done for group in groups for done in self._copied(group)]

        for done in in_chunks(copy, _groups(packs), chunk=1):
            for (pack, size), error in done:
                if error is not None:
                    self.lost[pack] = error
                    continue
                self._there.add(pack)
                self.packs += 1
                self.size += size
                self._progress.advance(size)

    def _copied(self, group: list[Sized]) -> Iterator[tuple[Sized, AmaError | None]]:
        if len(group) == 1 and group[0][1] > LARGE and isinstance(self._target, HasParts):
            yield group[0], self._copy_large(self._target, *group[0])
            return
        found = self._source.storage.read([Range(pack_name(pack)) for pack, _ in group])
        for each, data in zip(group, found, strict=True):
            name = pack_name(each[0])
            error = _wrong(name, each[0], data, self._source.url)
            if error is None and data is not None:
                self._target.replace(name, data)  # one of another size may be there
            yield each, error

    def _copy_large(self, target: HasParts, pack: bytes, size: int) -> AmaError | None:
        """Copy a pack in pieces; a wrong one gets no name there. Return what is wrong with it."""
        name = pack_name(pack)
        wrong: list[AmaError] = []

        def pieces() -> Iterator[bytes]:
            hasher = Hasher()
            for start in range(0, size, PIECE):
                (data,) = self._source.storage.read([Range(name, start, min(PIECE, size - start))])
                hasher.update(data or b"")
                yield data or b""
            if hasher.digest() != pack:
                wrong.append(_damaged(name, self._source.url))
                raise wrong[0]

        try:
            target.write_parts(name, pieces())
        except IntegrityError:
            if not wrong:
                raise
            return wrong[0]
        return None

    # What the mirror has

    def check(self) -> None:
        """Read back all that the mirror needs, and put back what it has lost or damaged.

        What is bad there stays until what is good has come.

        Raises:
            IntegrityError: The store has lost or damaged the same, or its content isn't elsewhere.
        """
        waiting = iter(self._view.root.indexes)
        self._progress.start("Checking", None)
        try:
            while some := list(islice(waiting, INDEXES_AT_ONCE)):
                names = [Range(index_name(index)) for index in some]
                found = dict(zip(some, self._target.read(names), strict=True))
                good = [PackIndex(d) for i, d in found.items() if d and blob_id(d) == i]
                lost = self._read(sorted(found.keys() - {index.id for index in good}), set(some))
                both = [*good, *lost]
                sizes = {p: size for index in both for p, size in index.pack_sizes.items()}
                bad = {p: s for p, s in sizes.items() if p not in self._there and self._is_bad(p)}
                self._there.update(sizes.keys() - bad.keys())
                self._copy_packs(bad)
                incomplete = [i for i in both if self.lost.keys() & i.pack_sizes.keys()]
                self._waiting += incomplete
                for index in lost:
                    if index not in incomplete:
                        self._put_index(index)
        finally:
            self._progress.finish()
        if self.lost or self._lost_indexes:
            self.settle_lost()

    def _is_bad(self, pack: bytes) -> bool:
        """Whether a pack of the mirror is lost or damaged."""
        hasher = Hasher()
        start = 0
        while data := self._target.read([Range(pack_name(pack), start, PIECE)])[0]:
            hasher.update(data)
            start += len(data)
            self._progress.advance(len(data))
            if len(data) < PIECE:
                break
        return hasher.digest() != pack

    # What is lost

    def settle_lost(self) -> None:
        """Copy indexes over packs that are lost, if all that these had is elsewhere too.

        Raises:
            IntegrityError: Something isn't.
        """
        if self._lost_indexes:
            raise self._lost_indexes[0]
        objects = self._source.current(self._view)
        for index in self._waiting:
            gone = [at for at in index if at.pack in self.lost]
            objects.look_up(at.record.id for at in gone)
            elsewhere = {at: self._packs_with(objects, at) for at in gone}
            packs = {pack for found in elsewhere.values() for pack in found}
            absent = set() if self._dry_run else {*_absent(self._target, [*packs], pack_name)}
            for at, found in elsewhere.items():
                if not found - absent:
                    raise self.lost[at.pack]
            self._put_index(index)

    def _packs_with(self, objects: ObjectStore, at: Location) -> set[bytes]:
        """Return the packs that also have an object, and are not lost."""
        kind = at.record.kind
        places = (each for each in objects.find(at.record.id) if each.record.kind is kind)
        return {each.pack for each in places} - self.lost.keys()


def _absent(target: Storage, ids: Sequence[bytes], name_of: Callable[[bytes], str]) -> list[bytes]:
    """Return those of some files that a mirror lacks."""
    sizes = target.sizes([name_of(each) for each in ids]) if ids else []
    return [each for each, size in zip(ids, sizes, strict=True) if size is None]


def _groups(packs: dict[bytes, int]) -> Iterator[list[Sized]]:
    """Yield packs that are copied together."""
    group: list[Sized] = []
    for pack, size in packs.items():
        if size > SMALL:
            yield [(pack, size)]
            continue
        group.append((pack, size))
        if len(group) == SMALL_AT_ONCE:
            yield group
            group = []
    if group:
        yield group


def _wrong(name: str, object_id: bytes, data: bytes | None, url: str) -> IntegrityError | None:
    """Return what is wrong with a file that its hash names."""
    if data is None:
        return IntegrityError(f"{name} of {shown(url)} is missing", hint=_REPAIR)
    return None if blob_id(data) == object_id else _damaged(name, url)


def _damaged(name: str, url: str) -> IntegrityError:
    return IntegrityError(
        f"{name} of {shown(url)} is damaged: its bytes have another hash", hint=_REPAIR
    )


_REPAIR = (Hint("repair"), Hint("fsck"))
