"""Objects from the packs of one storage: found through indexes, read in few ranges, verified.

Callers get whole objects: recipes are followed here, every id is checked here, and a bad record is
skipped if another place has a good one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from threading import Lock

from blake3 import blake3

from ama.errors import AmaError, Hint, IntegrityError, NotFound
from ama.format.hashing import short
from ama.format.objects import Kind, Recipe, decode_recipe
from ama.format.objects import object_id as id_of
from ama.format.pack import RECORD_HEADER_SIZE, read_record
from ama.format.packindex import Location, PackIndex
from ama.format.references import Reference
from ama.storage.protocol import Range, Storage
from ama.stores.places import Places, Verify
from ama.stores.records import UNREAD, Fetched, Raw, Span, joined, opened, spans, verified
from ama.stores.references import MOST_AT_ONCE, References, Wanted, in_batches
from ama.system.parallel import one_ahead, where_it_pays

BATCH_SIZE = 24 * 1024 * 1024
"""The most memory of one batch of ranges, in bytes."""

METADATA_BATCH = 8 * 1024 * 1024
"""The most bytes of metadata records to read at once, before anyone asks."""

LOOK_UP_BATCH = 512 * 1024
"""The same for somebody who wants few of them."""


Have = Callable[[bytes, int], bytes | None]
"""Returns the verified bytes of a chunk (id, size) that this machine has elsewhere, or None."""

Elsewhere = Callable[[Iterable[bytes]], Iterable[tuple[bytes, bytes]]]
"""Yields (id, verified bytes) of chunks that can't be read here, as far as others have them."""

Bad = dict[bytes, AmaError]
"""Why objects can't be read. A caller that passes one in gets all the other objects."""


def pack_name(pack: bytes) -> str:
    """Return a pack's name in a storage.

    Example:
        >>> pack_name(bytes(32))[:9]
        'packs/00/'
    """
    text = pack.hex()
    return f"packs/{text[:2]}/{text}.pack"


def index_name(index: bytes) -> str:
    """Return an index's name in a storage.

    Example:
        >>> index_name(bytes(32))[:8]
        'index/00'
    """
    return f"index/{index.hex()}.idx"


class ObjectStore(Places):
    """The objects in a set of indexes, in one storage.

    Args:
        storage: The storage of the packs.
        indexes: The indexes; if several name an object, the first good one serves.
        damage: Why some existing objects may not be found, if so.
        added: A function that returns more indexes, called once something is missing or damaged:
            indexes that others may have added, or that are seldom needed.
        hint: The hint for damage.
        verify: See `Places`.
        fresh: Whether its packs were made just now, so that no other storage can have them.
        references: A reader of what lies outside of the store.

    Attributes:
        bytes_read: The bytes of packs that the storage has sent so far.
    """

    def __init__(
        self,
        storage: Storage,
        indexes: Iterable[PackIndex] = (),
        damage: AmaError | None = None,
        added: Callable[[], Iterable[PackIndex]] = tuple,
        hint: Hint = Hint("fsck"),
        verify: Verify = lambda ids, damage: [],
        *,
        fresh: bool = False,
        references: References | None = None,
    ) -> None:
        super().__init__(storage, indexes, damage, added, verify)
        self.fresh = fresh
        self.references = references or References()
        self._hint = hint
        self._counting = Lock()
        self.bytes_read = 0
        self._checked: set[bytes] = set()
        self._broken: set[bytes] = set()
        self._metadata: dict[bytes, tuple[Kind, bytes]] = {}

    def holds(self, object_id: bytes) -> bool:
        """Whether an object is named with all its bytes, not only the recipe of a large one."""
        return self._holds(object_id, frozenset())

    def is_there(self, object_id: bytes) -> bool:
        """Whether an object is here with all its bytes, in packs that are whole.

        It asks the storage for the size of each pack once.
        """
        return bool(self._indexes) and self._holds(object_id, self.broken_packs())

    def _holds(self, object_id: bytes, broken: Set[bytes]) -> bool:
        places = self.find(object_id)
        if broken:
            places = [at for at in places if at.pack not in broken]
        if any(at.record.kind is not Kind.RECIPE for at in places):
            return True
        try:
            recipe = self.recipe(object_id) if places else None
        except IntegrityError:
            return False
        if recipe is None:
            return False
        self.look_up(chunk for chunk, _ in recipe.chunks)
        if not broken:
            return all(chunk in self for chunk, _ in recipe.chunks)
        return all(any(at.pack not in broken for at in self.find(c)) for c, _ in recipe.chunks)

    def is_sound(self, object_id: bytes) -> bool:
        """Whether a file's content can be read from here: read and verify all of it.

        Call this before dropping a user's only other copy: an index promises nothing about its
        packs.
        """
        try:
            for _ in self.stream(object_id, Kind.DATA):
                pass
        except AmaError:
            return False
        return True

    def broken_packs(self) -> Set[bytes]:
        """Return the packs in indexes that are gone, or not as long as the index says."""
        if unchecked := [index for index in self.indexes if index.id not in self._checked]:
            sizes = {p: size for index in unchecked for p, size in index.pack_sizes.items()}
            there = self.storage.sizes([pack_name(pack) for pack in sizes])
            found = zip(sizes.items(), there, strict=True)
            self._broken |= {pack for (pack, size), length in found if length != size}
            self._checked.update(index.id for index in unchecked)
        return self._broken

    def read(self, object_id: bytes, kind: Kind) -> bytes:
        """Return an object's whole, verified bytes.

        Raises:
            NotFound: No index names it.
            IntegrityError: It is damaged, wherever it is.
        """
        return b"".join(self.stream(object_id, kind))

    def recipe(self, object_id: bytes) -> Recipe | None:
        """Return the recipe of a large object, or None if it isn't known in chunks.

        Raises:
            NotFound: No index names the object.
            IntegrityError: The recipe is damaged, wherever it is.
        """
        places = [at for at in self._places(object_id) if at.record.kind is Kind.RECIPE]
        if not places:
            return None
        cached = self._metadata.get(object_id)
        if cached and cached[0] is Kind.RECIPE:
            data = cached[1]
        else:
            data = self._read_one(places)
        return decode_recipe(data, f"recipe of {short(object_id)}")

    def stream(
        self,
        object_id: bytes,
        kind: Kind,
        have: Have | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> Iterator[bytes]:
        """Yield an object's bytes in order, in verified pieces.

        The last piece comes only if the whole has the right id. So a caller that needs the whole
        must read to the end before showing it to anyone.

        Args:
            object_id: The object's id.
            kind: The object's kind.
            have: Returns the chunks that needn't be read from the storage.
            elsewhere: Yields the chunks that can't be read here.

        Raises:
            NotFound: No index names it.
            IntegrityError: It is damaged.
        """
        cached = self._metadata.get(object_id)
        if cached and cached[0] is kind:
            yield cached[1]
            return
        whole = [at for at in self._places(object_id) if at.record.kind.makes is kind]
        if whole:
            try:
                yield self._read_one(whole)
                return
            except UNREAD:
                if all(at.record.kind is not Kind.RECIPE for at in self.find(object_id)):
                    raise
        recipe = self.recipe(object_id)
        if recipe is None or recipe.kind is not kind:
            raise IntegrityError(f"object {short(object_id)} is damaged: of another kind")
        yield from self.stream_recipe(object_id, recipe, have, elsewhere)

    def stream_recipe(
        self,
        whole: bytes,
        recipe: Recipe,
        have: Have | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> Iterator[bytes]:
        """Yield the object of a recipe, in verified pieces; the last only if the whole is right.

        Raises:
            IntegrityError: A chunk is damaged, or the recipe makes something else.
        """
        if recipe.kind is not Kind.DATA:
            # Trees are hashed with a context, and are small: assemble them before the check.
            parts = [data for _, data in self.read_in_order(recipe.chunks, None, elsewhere)]
            joined = b"".join(parts)
            _require_id(id_of(recipe.kind, joined), whole)
            yield joined
            return
        digest = blake3()
        held: bytes | None = None
        for _, data in self.read_in_order(recipe.chunks, have, elsewhere):
            if held is not None:
                yield held
            digest.update(data)
            held = data
        _require_id(digest.digest(), whole)
        if held is not None:
            yield held

    def read_in_order(
        self,
        chunks: Sequence[tuple[bytes, int]],
        have: Have | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (id, bytes) of chunks in the given order, with each size checked.

        It reads ahead while the caller is busy: two batches are in memory.
        """

        def read(window: list[tuple[bytes, int]]) -> list[tuple[bytes, bytes]]:
            return list(self._read_window(window, have, elsewhere))

        sized = in_batches(chunks, lambda chunk: chunk[1] + RECORD_HEADER_SIZE, BATCH_SIZE)
        for window in one_ahead(read, sized):
            yield from window

    def _read_window(
        self, window: list[tuple[bytes, int]], have: Have | None, elsewhere: Elsewhere | None
    ) -> Iterator[tuple[bytes, bytes]]:
        found: dict[bytes, bytes] = {}
        if have is not None:
            owned = {chunk: have(chunk, size) for chunk, size in window}
            found = {chunk: data for chunk, data in owned.items() if data is not None}
        missing = dict.fromkeys(chunk for chunk, _ in window if chunk not in found)
        bad: Bad = {}
        found.update(self.read_records(missing, Kind.DATA, bad if elsewhere else None))
        if bad and elsewhere:
            found.update(elsewhere(bad))
        for chunk, size in window:
            if chunk not in found:
                raise bad[chunk]
            data = found[chunk]
            if len(data) != size:
                raise IntegrityError(f"chunk {short(chunk)} has another size than its recipe says")
            yield chunk, data

    def read_records(
        self, ids: Iterable[bytes], kind: Kind | None = None, bad: Bad | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (id, verified bytes) of objects that have a record of their own.

        The order is that of the packs. Neighbours come in one range, several ranges in one batch.
        A recipe's record is yielded as it is, under the id of its object.

        Args:
            ids: The objects.
            kind: The kind that they must have; None: any.
            bad: A dictionary for the errors of unreadable objects, which are left out.

        Raises:
            NotFound: No index names one of them, and there is no `bad`.
            IntegrityError: One of them is damaged in every place, and there is no `bad`.
        """
        waiting = []
        for object_id in ids:
            cached = self._metadata.get(object_id)
            if cached and kind in (None, cached[0]):
                yield object_id, cached[1]
            else:
                waiting.append(object_id)
        places = self._all_alike(waiting, kind, bad)
        for location, raw in self._contents(found[0] for found in places.values()):
            key = location.record.id
            data = self._open(raw, location, places[key][1:], bad)
            if data is not None:
                yield key, data

    def each_file(
        self,
        ids: Iterable[bytes],
        work: Callable[[bytes, bytes], None],
        bad: Bad | None = None,
    ) -> Iterator[list[bytes]]:
        """Call `work(id, bytes)` for files that have a record of their own.

        It is called on the caller's thread or, if the work waits for a slow disk, on a few.

        Args:
            ids: The files.
            work: A function called with each of them.
            bad: A dictionary for the errors of unreadable files, which are left out.

        Yields:
            The ids that are done, several at a time.

        Raises:
            NotFound: No index names one of them, and there is no `bad`.
            IntegrityError: One of them is damaged in every place, or is no file, and there is no
                `bad`.
        """
        places = self._all_alike(ids, Kind.DATA, bad)

        def run(taken: list[tuple[Location, Raw]]) -> list[bytes]:
            done = []
            for location, raw in taken:
                key = location.record.id
                data = self._open(raw, location, places[key][1:], bad)
                if data is not None:
                    work(key, data)
                    done.append(key)
            return done

        return where_it_pays(run, self._contents((p[0] for p in places.values()), ahead=True))

    def read_raw(
        self, locations: Iterable[Location], bad: Bad | None = None
    ) -> Iterator[tuple[Location, memoryview]]:
        """Yield records as they are in their packs, with headers, each verified.

        A reference is verified as far as it goes: its source isn't read. If a record is damaged, it
        comes from another place, if there is one.

        Args:
            locations: The records' locations.
            bad: A dictionary for the errors of unreadable records, which are left out.

        Raises:
            IntegrityError: One of them is damaged in every place, and there is no `bad`.
        """
        for location, raw in self._read_spans(locations):
            try:
                verified(raw, location)
            except IntegrityError as error:
                other = self._raw_elsewhere(location)
                if other is not None:
                    yield other
                elif bad is None:
                    raise self._damaged(location, error) from error
                else:
                    bad[location.record.id] = self._damaged(location, error)
                continue
            assert raw is not None
            yield location, raw

    def _raw_elsewhere(self, bad: Location) -> tuple[Location, memoryview] | None:
        for location, raw in self._read_spans(self._other_places(bad, [])):
            with suppress(IntegrityError):
                verified(raw, location)
                assert raw is not None
                return location, raw
        return None

    def _contents(
        self, locations: Iterable[Location], *, ahead: bool = False
    ) -> Iterator[tuple[Location, Raw]]:
        """Yield records as `_read_spans` does, and in place of references what they lead to."""
        waiting: list[tuple[Location, Reference]] = []
        size = 0
        for location, raw in self._read_spans(locations, ahead=ahead):
            if raw is None or location.record.kind is not Kind.REFERENCE:
                yield location, raw
                continue
            try:
                reference = read_record(raw, location.record)
            except IntegrityError as error:
                yield location, Fetched(error)
                continue
            assert isinstance(reference, Reference)
            if size + location.record.full > MOST_AT_ONCE:
                yield from self._fetched(waiting)
                waiting, size = [], 0
            waiting.append((location, reference))
            size += location.record.full
        yield from self._fetched(waiting)

    def _fetched(
        self, waiting: Sequence[tuple[Location, Reference]]
    ) -> Iterator[tuple[Location, Fetched]]:
        if waiting:
            found = self.references.fetch([Wanted(at.record, ref) for at, ref in waiting])
            for (location, _), content in zip(waiting, found, strict=True):
                yield location, Fetched(content)

    def _read_spans(
        self, locations: Iterable[Location], *, ahead: bool = False
    ) -> Iterator[tuple[Location, memoryview | None]]:
        """Yield each location with its bytes (None: its pack is gone), neighbours together.

        Args:
            locations: The locations.
            ahead: Whether to read the next batch while the caller is busy with one.
        """
        batches = in_batches(spans(locations), lambda span: span.end - span.start, BATCH_SIZE)
        for batch in (one_ahead if ahead else map)(self._read_batch, batches):
            for span, data in batch:
                view = None if data is None else memoryview(data)
                for location in span.locations:
                    start = location.record.offset - span.start
                    end = start + RECORD_HEADER_SIZE + location.record.stored
                    yield location, None if view is None else view[start:end]

    def _read_batch(self, batch: list[Span]) -> list[tuple[Span, bytes | None]]:
        ranges = [Range(pack_name(s.pack), s.start, s.end - s.start) for s in batch]
        return list(zip(batch, self._read(ranges), strict=True))

    def load_metadata(self, most: int = METADATA_BATCH) -> None:
        """Read all trees, assets and recipes at once, if they are small.

        They are kept, so that walking a tree costs no request for each directory. Damaged ones are
        skipped: the reader that needs one will report it. Indexes that are read in parts don't say
        which these are: then nothing is read.

        Args:
            most: The most bytes to read.
        """
        if not self.verified:
            return
        locations = []
        size = 0
        for at in (at for index in self.indexes for at in index.metadata()):
            locations.append(at)
            size += at.record.stored
            if size > most:
                return
        # Kinds in descending order: a whole record comes before a recipe.
        locations.sort(key=lambda at: -at.record.kind)
        wanted = {at.record.id: at for at in locations if at.record.id not in self._metadata}
        for at, raw in self._read_spans(wanted.values()):
            with suppress(IntegrityError):
                self._metadata[at.record.id] = (at.record.kind, opened(raw, at))

    def _read_one(self, places: list[Location]) -> bytes:
        first, *others = places
        data = self._open(self._found(first), first, others)
        assert data is not None
        return data

    def _found(self, location: Location) -> Raw:
        if location.record.kind is Kind.REFERENCE:
            return next(self._contents([location]))[1]
        return self._raw(location)

    def _raw(self, location: Location) -> bytes | None:
        size = RECORD_HEADER_SIZE + location.record.stored
        name = pack_name(location.pack)
        (data,) = self._read([Range(name, location.record.offset, size)])
        return data

    def _read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        answers = self.storage.read(ranges)
        with self._counting:
            self.bytes_read += sum(len(data) for data in answers if data is not None)
        return answers

    def _open(
        self,
        raw: Raw,
        location: Location,
        others: list[Location],
        bad: Bad | None = None,
    ) -> bytes | None:
        """Return a record's verified bytes, from another place if this one is bad.

        If all are bad, raise an error, or return None with the error in `bad`, if given.
        """
        try:
            return opened(raw, location)
        except UNREAD as found:
            failed = [self._explained(location, found)]
            for at in self._other_places(location, others):
                other = self._found(at)
                try:
                    return opened(other, at)
                except UNREAD as again:
                    failed.append(self._explained(at, again))
            error = joined(failed)
            if bad is None:
                raise error from found
            bad[location.record.id] = error
            return None

    def _explained(self, location: Location, error: AmaError) -> AmaError:
        is_outside = location.record.kind is Kind.REFERENCE
        return error if is_outside else self._damaged(location, error)

    def _other_places(self, bad: Location, others: list[Location]) -> Iterator[Location]:
        """Yield other places of a record; those in added indexes come last."""
        yield from others
        tried = {bad, *others}
        more = True
        while more:  # once at least: others may have been looked for already
            more = self.look_again()
            for at in self.find(bad.record.id):
                if at.record.kind.makes is bad.record.kind.makes and at not in tried:
                    tried.add(at)
                    yield at

    def _damaged(self, location: Location, error: AmaError) -> IntegrityError:
        where = f"{error.message} ({pack_name(location.pack)} in {self.storage.url})"
        return IntegrityError(where, hint=self._hint)

    def _all_alike(
        self, ids: Iterable[bytes], kind: Kind | None, bad: Bad | None
    ) -> dict[bytes, list[Location]]:
        ids = list(ids)
        self.look_up(ids)
        if bad is None:
            return {object_id: self._alike(object_id, kind) for object_id in ids}
        places = {}
        for object_id in ids:
            try:
                places[object_id] = self._alike(object_id, kind)
            except AmaError as error:
                bad[object_id] = error
        return places

    def _alike(self, object_id: bytes, kind: Kind | None = None) -> list[Location]:
        """Return an object's locations of one kind, by default that of the best one."""
        found = self._places(object_id)
        wanted = found[0].record.kind.makes if kind is None else kind
        alike = [at for at in found if at.record.kind.makes is wanted]
        if not alike:
            raise IntegrityError(f"object {short(object_id)} is damaged: of another kind")
        return alike

    def _places(self, object_id: bytes) -> list[Location]:
        places = self.find(object_id)
        while not places and self.look_again():
            places = self.find(object_id)
        if not places and self.damage is not None:
            raise self.damage
        if not places:
            raise NotFound(f"object {short(object_id)} is not in {self.storage.url}")
        if len(places) == 1:
            return places
        # A whole record first: it takes one request, a recipe many. What is elsewhere comes last.
        return sorted(places, key=lambda place: max(place.record.kind, Kind.ASSET))


def _require_id(found: bytes, expected: bytes) -> None:
    if found != expected:
        raise IntegrityError(f"object {short(expected)} is damaged: its chunks make another")
