"""Reading a store's log: finding its end, and folding it, from checkpoints where possible.

It needs no listing: it asks for numbers, several at once. What this machine remembers counts only
if the store still has the last remembered entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Literal, overload

from ama.errors import (
    AmaError,
    FormatError,
    Hint,
    Hints,
    IntegrityError,
)
from ama.format.checkpoint import Checkpoint, decode_checkpoint
from ama.format.entries import (
    Entry,
    decode_entry,
    encode_entry,
    entry_hash,
    entry_name,
)
from ama.format.hashing import seal
from ama.format.state import Root, decode_root
from ama.storage.protocol import Range, Storage
from ama.stores.cache import (
    VIEW,
    Cache,
    decode_view,
    keep_folded,
    keep_view,
    remembered_end,
    remembers,
)
from ama.stores.first_form import in_tables
from ama.stores.log_errors import another_history, check_features, hole, lost, rewritten, way_back
from ama.stores.log_files import (
    HINT,
    checkpoint_name,
    decode_hint,
    read_readable,
    root_name,
)
from ama.stores.log_view import LogView, When
from ama.stores.segments import CheckpointSegments, Segments

CHECKPOINT_EVERY = 64
PROBES = (1, 2, 4, 8, 16, 32, 64)
"""How far past the first absent number to look for a hole."""

GALLOP = tuple(2**power for power in range(1, 24))
"""How many numbers to ask for when nothing tells how long the log is."""

MOST_ENTRIES = 1024
"""The most entries to ask for at once, however far HINT says that the log reaches."""

FEW_ENTRIES = 256
"""The most entries in memory on a walk through all of them."""

_SEE = Hint("restore-log")


class LogReader:
    """A reader of the log in one storage.

    Args:
        storage: The storage.
        genesis: The previous hash in entry 1.
        cache: The cache of the store on this machine.
        read_features: The features that readers must know since the store's creation.
        write_features: The features that writers must know since then.
    """

    def __init__(
        self,
        storage: Storage,
        genesis: bytes,
        cache: Cache,
        *,
        read_features: Iterable[str] = (),
        write_features: Iterable[str] = (),
    ) -> None:
        self._storage = storage
        self._genesis = genesis
        self._cache = cache
        self.segments = Segments(storage, cache)
        self.empty = Checkpoint(
            0,
            genesis,
            read_features=tuple(sorted(set(read_features))),
            write_features=tuple(sorted(set(write_features))),
        )
        self._decoded: tuple[bytes, LogView] | None = None
        self._tail: list[tuple[Entry, bytes]] | None = None

    # Reading

    @overload
    def view(
        self,
        when: Literal[When.NOW] = ...,
        *,
        hint: bytes | None = ...,
        only_reading: bool = ...,
    ) -> LogView: ...

    @overload
    def view(self, when: Literal[When.LAST_SEEN]) -> LogView | None: ...

    def view(
        self,
        when: When = When.NOW,
        *,
        hint: bytes | None = None,
        only_reading: bool = False,
    ) -> LogView | None:
        """Return the log of some moment; None where this machine has not seen it yet.

        A damaged log is returned with its `damage`, and is not remembered.

        Args:
            when: Now, or as this machine saw it last.
            hint: HINT's bytes, where the caller has just read them.
            only_reading: Whether it is enough that the log still ends as this machine saw it last,
                see `ends_as`: that takes one round trip if nothing happened. Who decides something
                doesn't say so.

        Raises:
            StorageError: It can't be reached.
            FormatError: The store needs a newer version of ama.
        """
        if when is When.LAST_SEEN:
            return self._remembered()
        if only_reading:
            seen = self._remembered()
            if seen is not None and self.ends_as(seen, hint):
                return seen
        if hint is None:
            (found,) = read_readable(self._storage, [HINT])
            hint = found or b""
        reached = decode_hint(hint)
        known = self._remembered()
        if known is None or reached[0] - known.base.number > 2 * CHECKPOINT_EVERY:
            view = self._read_cold(reached[0], known)
        else:
            view = self._read_after(known, reached[0])
        self._check_reached(view, reached)
        if known is None or (known.number, known.base) != (view.number, view.base):
            self._remember(view)
        return view

    def accept(self) -> LogView:
        """Return the log as it is now, and forget what this machine saw of another one.

        Raises:
            IntegrityError: The log itself is damaged; nothing is forgotten.
            FormatError: The store needs a newer version of ama.
        """
        (hint,) = read_readable(self._storage, [HINT])
        reached = decode_hint(hint or b"")
        view = self._read_cold(reached[0], None, (0, b""))
        self._check_reached(view, reached)
        view.require_whole()
        self._keep(view)
        return view

    def ends_as(self, seen: LogView, hint: bytes | None = None) -> bool:
        """Whether the log still ends as it was seen; never of one that has no entry.

        This asks for its last entry and the next one, and not for what may lie past a hole: who
        decides something takes a `view` of now.

        Args:
            seen: The log as it was seen.
            hint: HINT's bytes, where the caller has just read them: they may tell it already.
        """
        if seen.number == 0 or (hint and decode_hint(hint)[0] > seen.number):
            return False
        names = [entry_name(number) for number in (seen.number, seen.number + 1)]
        last, following = self._storage.read([Range(name) for name in names])
        end = seen.number, seen.entry_hash
        return self._changed(end, last) is None and following is None

    def read_entry(self, number: int) -> Entry:
        """Return one entry.

        Raises:
            IntegrityError: The entry is absent or damaged.
        """
        (entry,) = self.read_entries([number])
        self.remember_entries(number, [encode_entry(entry)])
        return entry

    def remember_entries(self, first: int, entries: Sequence[bytes]) -> None:
        """Keep entries that were read beside the view: a repair may need them.

        Args:
            first: The number of the first entry.
            entries: The bytes of the entries.
        """
        last = first + len(entries) - 1
        if entries and not all(remembers(self._cache, number) for number in (first, last)):
            keep_folded(self._cache, first, entries)

    def read_entries(self, numbers: Iterable[int]) -> Iterator[Entry]:
        """Yield entries in the given order, reading several at a time.

        Raises:
            IntegrityError: An entry is absent or damaged.
        """
        waiting = iter(numbers)
        while batch := list(islice(waiting, FEW_ENTRIES)):
            answers = self._storage.read([Range(entry_name(number)) for number in batch])
            for number, data in zip(batch, answers, strict=True):
                if data is None:
                    raise lost(number, self._storage.url, self._way_back(number))
                yield self._decode(number, data)

    def _read_cold(
        self, reached: int, known: LogView | None, end: tuple[int, bytes] | None = None
    ) -> LogView:
        """Read from the newest checkpoint that HINT promises, or else gallop.

        Args:
            reached: The number in HINT.
            known: The log as last seen, if that is remembered.
            end: The number and hash of an entry that must still be there: the last one seen.
        """
        if end is None:
            end = (known.number, known.entry_hash) if known else (0, b"")
            if known is None and self._cache.get(VIEW) is not None:
                # Of what an earlier version of ama has kept, the end may be all that is of use.
                end = remembered_end(self._cache)
        if reached == 0:
            names = [entry_name(number) for number in GALLOP]
            sizes = self._storage.sizes(names)
            reached = max([n for n, size in zip(GALLOP, sizes, strict=True) if size], default=0)
        at = reached - reached % CHECKPOINT_EVERY
        places = [number for number in (at, at - CHECKPOINT_EVERY) if number > 0]
        numbers = _window(max(at, 1), reached)
        names = [checkpoint_name(number) for number in places]
        numbers += [end[0]] if end[0] and end[0] not in numbers else []
        names += [entry_name(number) for number in numbers]
        answers = read_readable(self._storage, names)
        found = dict(zip(numbers, answers[len(places) :], strict=True))
        base = self._newest_usable(places, answers, found)
        if base is None and known is None:
            base = self.of_first_form(places, found)
        if base is None or (known is not None and known.base.number >= base.number):
            start = known or LogView(self.empty, (), self._source_of(self.empty))
        else:
            start = LogView(base, (), self._source_of(base))
            if known is not None:
                self.remember_entries(known.base.number + 1, _raw(known))
        view = self._extend(start, found, reached)
        view.damage = view.damage or self._changed(end, found.get(end[0]), reached)
        return view

    def _read_after(self, known: LogView, reached: int) -> LogView:
        """Check that the known log still holds, and read what came after it."""
        first = max(known.number, 1)
        numbers = _window(first, max(reached, known.number))
        answers = self._storage.read([Range(entry_name(number)) for number in numbers])
        found = dict(zip(numbers, answers, strict=True))
        end = known.number, known.entry_hash
        damage = self._changed(end, found.get(known.number), reached)
        if damage is not None:
            return LogView(known.base, known.tail, known.source, damage)
        return self._extend(known, found, reached)

    def _changed(
        self, end: tuple[int, bytes], last: bytes | None, reached: int = 0
    ) -> AmaError | None:
        """Return why the log is not the known one, or None if it is.

        Args:
            end: The number and hash of the last entry seen.
            last: The bytes of that entry now.
            reached: The number in HINT: a log whose own HINT goes further is damaged, not rolled
                back.
        """
        number, digest = end
        if number == 0:
            return None
        # The store may be sound: then this machine remembers another one.
        hint = Hint("accept-store", store=self._storage.url)
        if last is None:
            way = self._way_back(number) if reached >= number else hint
            return lost(number, self._storage.url, way)
        if entry_hash(last) != digest:
            try:
                self._decode(number, last)
            except IntegrityError as error:
                return error  # it isn't another log, but this one, damaged
            except FormatError:
                pass
            return another_history(number, self._storage.url)
        return None

    def _extend(self, view: LogView, found: dict[int, bytes | None], reached: int) -> LogView:
        """Return the view with every entry after it, asking for more until the end is certain."""
        tail = list(view.tail)
        number, previous = view.number, view.entry_hash
        damage: AmaError | None = None
        while True:
            following = number + 1
            if following not in found:
                last = max(reached, following + CHECKPOINT_EVERY // 4)
                asked = _window(following, min(last, following + MOST_ENTRIES))
                answers = self._storage.read([Range(entry_name(n)) for n in asked])
                found.update(zip(asked, answers, strict=True))
            data = found[following]
            if data is None:
                later = [n for n in found if n > following and found[n] is not None]
                if not later and all(following + probe in found for probe in PROBES):
                    break
                if not self._settle(following, found):
                    later = [n for n in found if n > following and found[n] is not None]
                    if later:
                        damage = hole(
                            following, min(later), self._storage.url, self._way_back(following)
                        )
                    break
                continue
            try:
                entry = self._decode(following, data)
                if entry.previous != previous:
                    before = f"entry {number}" if number else "format.json"
                    raise IntegrityError(
                        f"log entry {following} of {self._storage.url} does not follow {before}:"
                        " one of them is not the one that was written",
                        hint=Hint("fsck") if number else way_back(self._storage.url, known=False),
                    )
            except IntegrityError as error:
                damage = error
                break
            number, previous = following, entry_hash(data)
            tail.append((entry, previous))
        # Nothing new: as it was, with what was loaded of it.
        same = number == view.number and damage is None
        extended = view if same else LogView(view.base, tail, view.source, damage)
        check_features(extended.root.read_features, self._storage.url, "read")
        return extended

    def _settle(self, number: int, found: dict[int, bytes | None]) -> bool:
        """Ask once more for an absent entry and what may lie past it; whether it is there now.

        An entry may have been written after we asked for it and before we asked for the next.
        """
        asked = [number, *(number + probe for probe in PROBES)]
        answers = self._storage.read([Range(entry_name(n)) for n in asked])
        present = dict(zip(asked, answers, strict=True))
        if present[number] is None and any(present.values()):
            # The later one was written before this answer, so this one must be there by now.
            (present[number],) = self._storage.read([Range(entry_name(number))])
        found.update(present)
        return present[number] is not None

    def _decode(self, number: int, data: bytes) -> Entry:
        what = f"log entry {number} of {self._storage.url}"
        try:
            entry = decode_entry(data, what)
        except IntegrityError as error:
            raise IntegrityError(error.message, hint=self._way_back(number)) from error
        if entry.number != number:
            raise IntegrityError(
                f"{what} is damaged: it is entry {entry.number} under another name",
                hint=self._way_back(number),
            )
        return entry

    def _way_back(self, number: int) -> Hint | Hints:
        """Return hints for an entry that is lost or damaged."""
        return way_back(self._storage.url, known=remembers(self._cache, number))

    def _check_reached(self, view: LogView, reached: tuple[int, bytes]) -> None:
        """Compare with HINT, written after its entry: if it is beyond the end, an entry is lost."""
        number, hint_hash = reached
        if view.damage is None and number > view.number:
            view.damage = lost(number, self._storage.url, self._way_back(number))
        if number == view.number and number and hint_hash != view.entry_hash:
            view.damage = rewritten(number, self._storage.url, _SEE)

    # Checkpoints: derived, and ignored where they don't fit

    def _newest_usable(
        self,
        places: Sequence[int],
        answers: Sequence[bytes | None],
        entries: Mapping[int, bytes | None],
    ) -> Checkpoint | None:
        for number, data in zip(places, answers, strict=False):
            if data is not None:
                with suppress(IntegrityError):
                    checkpoint = decode_checkpoint(data)
                    if self._fits(checkpoint, number, entries):
                        return checkpoint
        return None

    def _fits(
        self, found: Checkpoint | Root, number: int, entries: Mapping[int, bytes | None]
    ) -> bool:
        last = entries.get(number)
        if last is None:
            (last,) = self._storage.read([Range(entry_name(number))])
        return found.number == number and last is not None and entry_hash(last) == found.entry_hash

    def of_first_form(
        self, places: Sequence[int], entries: Mapping[int, bytes | None]
    ) -> Checkpoint | None:
        """Return the newest sound checkpoint of the form that earlier versions of ama wrote.

        Args:
            places: The numbers of the entries after which there may be one, the newest first.
            entries: The bytes of entries, as far as they were read.
        """
        for number, data in zip(
            places, read_readable(self._storage, [root_name(n) for n in places]), strict=True
        ):
            if data is not None:
                with suppress(IntegrityError):
                    root = decode_root(data)
                    base = (
                        self._in_tables(root, self._storage)
                        if self._fits(root, number, entries)
                        else None
                    )
                    if base is not None:
                        return base
        return None

    def _in_tables(self, root: Root, storage: Storage | None) -> Checkpoint | None:
        return in_tables(root, storage, self._cache, self.segments)

    def _source_of(self, base: Checkpoint) -> CheckpointSegments:
        """Return what returns the segments of a checkpoint, if need be from the whole log."""
        return CheckpointSegments(
            self.segments, lambda: self.refold(base.number), self._storage.url
        )

    def refold(self, number: int) -> LogView:
        """Return the view after entry `number`, folded from the first entry.

        Its segments are in this process's memory: the store may not have them.

        Raises:
            IntegrityError: An entry is lost or damaged.
        """
        base, previous = self.empty, self._genesis
        made = set(self.segments.made)
        for start in range(1, number + 1, MOST_ENTRIES):
            tail = []
            for entry, data in self.entries(start, min(start + MOST_ENTRIES, number + 1)):
                if entry.previous != previous:
                    raise rewritten(entry.number, self._storage.url, _SEE)
                previous = entry_hash(data)
                tail.append((entry, previous))
            view = LogView(base, tail, self._source_of(base))
            base = view.folded(self.segments.make)
        for digest in self.segments.made.keys() - made - base.digests():
            del self.segments.made[digest]
        return LogView(base, (), self._source_of(base))

    def entries(self, start: int, end: int) -> Iterator[tuple[Entry, bytes]]:
        """Yield entries with their bytes, from one number to before another."""
        for first in range(start, end, FEW_ENTRIES):
            numbers = range(first, min(first + FEW_ENTRIES, end))
            answers = self._storage.read([Range(entry_name(n)) for n in numbers])
            for at, data in zip(numbers, answers, strict=True):
                if data is None:
                    raise lost(at, self._storage.url, self._way_back(at))
                yield self._decode(at, data), data

    def checkpoint_at(self, number: int) -> Checkpoint | None:
        """Return the store's checkpoint after entry `number`, if it has a sound one."""
        return self._newest_usable(
            [number], read_readable(self._storage, [checkpoint_name(number)]), {}
        )

    def checkpoint_holds(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint equals the one before it plus the entries since."""
        before = checkpoint.number - CHECKPOINT_EVERY
        base = self.checkpoint_at(before) if before > 0 else None
        try:
            if base is None:
                return self.refold(checkpoint.number).base == checkpoint
            tail = self.tail_of(checkpoint.number, checkpoint.entry_hash)
            return LogView(base, tail, self._source_of(base)).folded(seal) == checkpoint
        except IntegrityError:
            return False

    def tail_of(self, number: int, digest: bytes) -> Sequence[tuple[Entry, bytes]]:
        """Return the entries that a checkpoint has beyond the one before it, with their hashes.

        Those of the last call are kept: what a checkpoint consists of is checked file by file.

        Args:
            number: The number of the checkpoint's entry.
            digest: The hash of that entry's bytes.

        Raises:
            IntegrityError: An entry is lost or damaged.
        """
        if self._tail is None or self._tail[-1][1] != digest:
            entries = self.entries(number - CHECKPOINT_EVERY + 1, number + 1)
            self._tail = [(entry, entry_hash(data)) for entry, data in entries]
        return self._tail

    # What this machine remembers

    def _remembered(self) -> LogView | None:
        try:
            data = self._cache.get(VIEW)
            if data is None:
                return None
            # A reader that asks again and again, with loaded classes, need not decode it again.
            decoded = self._decoded
            if decoded is not None and decoded[0] == data:
                return decoded[1]
            kept, entries = decode_view(data)
            base = kept if isinstance(kept, Checkpoint) else self._in_tables(kept, None)
            if base is None:
                keep_folded(self._cache, kept.number + 1, entries)
                return None
            tail = [(decode_entry(raw), entry_hash(raw)) for raw in entries]
            view = LogView(base, tail, self._source_of(base))
            # Another version of ama, on this machine, may have seen it.
            check_features(view.root.read_features, self._storage.url, "read")
        except (AmaError, ValueError, TypeError):
            return None
        self._decoded = (data, view)
        return view

    def _remember(self, view: LogView) -> None:
        if view.damage is None and view.number:
            self._keep(view)

    def _keep(self, view: LogView) -> None:
        """Keep a log, folded up to where a checkpoint may be if its tail is long."""
        if not self._cache.keeps:
            return
        raw = _raw(view)
        until = (view.number - 1) // CHECKPOINT_EVERY * CHECKPOINT_EVERY
        if len(raw) > 2 * CHECKPOINT_EVERY and until > view.base.number:
            try:
                base = view.folded(self.segments.make, until)
            except AmaError:
                return  # what can't be folded isn't kept; its reader will hear why
            self.segments.remember(base.digests())
            keep_folded(self._cache, view.base.number + 1, raw)
            raw = raw[until - view.base.number :]
            keep_view(self._cache, base, raw, (view.number, view.entry_hash))
            return
        keep_view(self._cache, view.base, raw, (view.number, view.entry_hash))


def _raw(view: LogView) -> list[bytes]:
    """Return the bytes of a view's tail."""
    return [encode_entry(entry) for entry, _ in view.tail]


def _window(first: int, reached: int) -> list[int]:
    """Return the numbers from `first` to past `reached`, and those that would show a hole."""
    absent = reached + 1
    return [*range(first, absent + 1), *(absent + probe for probe in PROBES)]
