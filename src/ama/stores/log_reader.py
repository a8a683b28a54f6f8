"""Reading a store's log: finding its end, and folding it, from checkpoints where possible.

It needs no listing: it asks for numbers, several at once. What this machine remembers counts only
if the store still has the last remembered entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Literal, overload

from ama.errors import (
    UPGRADE,
    AmaError,
    FormatError,
    Hint,
    Hints,
    IntegrityError,
)
from ama.format.compression import BYTE_PLANES
from ama.format.entries import (
    Entry,
    decode_entry,
    encode_entry,
    entry_hash,
    entry_name,
)
from ama.format.hashing import seal
from ama.format.state import ClassState, Root, decode_root, encode_class_state
from ama.storage.protocol import Range, Storage
from ama.stores.cache import VIEW, Cache, decode_view, keep_folded, keep_view, remembers
from ama.stores.log_files import (
    HINT,
    checkpoint_name,
    class_digest,
    decode_hint,
    read_class_state,
    read_readable,
    state_name,
)
from ama.stores.log_view import LogView, When

CHECKPOINT_EVERY = 64
PROBES = (1, 2, 4, 8, 16, 32, 64)
"""How far past the first absent number to look for a hole."""

GALLOP = tuple(2**power for power in range(1, 24))
"""How many numbers to ask for when nothing tells how long the log is."""

MOST_ENTRIES = 1024
"""The most entries to ask for at once, however far HINT says that the log reaches."""

FEW_ENTRIES = 256
"""The most entries in memory on a walk through all of them."""

KNOWN_FEATURES = frozenset({BYTE_PLANES})

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
        self.empty = Root(
            0,
            genesis,
            read_features=tuple(sorted(set(read_features))),
            write_features=tuple(sorted(set(write_features))),
        )
        self._decoded: tuple[bytes, LogView] | None = None

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
        if known is None or reached[0] - known.number > 2 * CHECKPOINT_EVERY:
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
        view = self._read_cold(reached[0], None)
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
        return self._changed(seen, last) is None and following is None

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
                    raise _lost(number, self._storage.url, self._way_back(number))
                yield self._decode(number, data)

    def _read_cold(self, reached: int, known: LogView | None) -> LogView:
        """Read from the newest checkpoint that HINT promises, or else gallop."""
        if reached == 0:
            names = [entry_name(number) for number in GALLOP]
            sizes = self._storage.sizes(names)
            reached = max([n for n, size in zip(GALLOP, sizes, strict=True) if size], default=0)
        at = reached - reached % CHECKPOINT_EVERY
        places = [number for number in (at, at - CHECKPOINT_EVERY) if number > 0]
        numbers = _window(max(at, 1), reached)
        names = [checkpoint_name(number) for number in places]
        names += [entry_name(number) for number in numbers]
        answers = read_readable(self._storage, names)
        found = dict(zip(numbers, answers[len(places) :], strict=True))
        for number, data in zip(places, answers, strict=False):
            base = self._usable_root(number, data, found)
            if base is not None:
                view = self._extend(LogView(base, (), self._load_classes), found, reached)
                if known is not None and known.number:
                    (last,) = self._storage.read([Range(entry_name(known.number))])
                    view.damage = view.damage or self._changed(known, last, reached)
                return view
        start = known or LogView(self.empty, (), self._load_classes)
        return self._extend(start, found, reached)

    def _read_after(self, known: LogView, reached: int) -> LogView:
        """Check that the known log still holds, and read what came after it."""
        first = max(known.number, 1)
        numbers = _window(first, max(reached, known.number))
        answers = self._storage.read([Range(entry_name(number)) for number in numbers])
        found = dict(zip(numbers, answers, strict=True))
        damage = self._changed(known, found.get(known.number), reached)
        if damage is not None:
            return LogView(known.base, known.tail, self._load_classes, damage)
        return self._extend(known, found, reached)

    def _changed(self, known: LogView, last: bytes | None, reached: int = 0) -> AmaError | None:
        """Return why the log is not the known one, or None if it is.

        Args:
            known: The log as last seen.
            last: The bytes of its last entry now.
            reached: The number in HINT: a log whose own HINT goes further is damaged, not rolled
                back.
        """
        if known.number == 0:
            return None
        # The store may be sound: then this machine remembers another one.
        hint = Hint("accept-store", store=self._storage.url)
        if last is None:
            lost = self._way_back(known.number) if reached >= known.number else hint
            return _lost(known.number, self._storage.url, lost)
        if entry_hash(last) != known.entry_hash:
            try:
                self._decode(known.number, last)
            except IntegrityError as error:
                return error  # it isn't another log, but this one, damaged
            except FormatError:
                pass
            return another_history(known.number, self._storage.url)
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
                        damage = _hole(
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
        extended = view if same else LogView(view.base, tail, self._load_classes, damage)
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
            view.damage = _lost(number, self._storage.url, self._way_back(number))
        if number == view.number and number and hint_hash != view.entry_hash:
            view.damage = _rewritten(number, self._storage.url, _SEE)

    # Checkpoints: derived, and ignored where they don't fit

    def _usable_root(
        self, number: int, data: bytes | None, entries: Mapping[int, bytes | None]
    ) -> Root | None:
        if data is None:
            return None
        try:
            root = decode_root(data)
        except IntegrityError:
            return None
        last = entries.get(number)
        if last is None:
            (last,) = self._storage.read([Range(entry_name(number))])
        fits = root.number == number and last is not None and entry_hash(last) == root.entry_hash
        return root if fits else None

    def _load_classes(self, base: Root, names: Iterable[str]) -> dict[str, ClassState]:
        """Return states of a base's classes: from the cache, from the storage, or folded again."""
        states: dict[str, ClassState] = {}
        missing = []
        for name in names:
            digest = base.classes[name]
            state = read_class_state(name, digest, self._cache.get(state_name(digest)))
            if state is None:
                missing.append(name)
            else:
                states[name] = state
        if missing:
            states_of = [state_name(base.classes[name]) for name in missing]
            answers = read_readable(self._storage, states_of)
            for name, data in zip(missing, answers, strict=True):
                state = read_class_state(name, base.classes[name], data)
                if state is None:
                    state = self.refold(base.number).class_state(name)
                else:
                    self._cache.put(state_name(base.classes[name]), data or b"")
                states[name] = state
        return states

    def refold(self, number: int) -> LogView:
        """Return the view after entry `number`, folded from the first entry.

        Raises:
            IntegrityError: An entry is lost or damaged.
        """
        tail: list[tuple[Entry, bytes]] = []
        previous = self._genesis
        for start in range(1, number + 1, FEW_ENTRIES):
            numbers = range(start, min(start + FEW_ENTRIES, number + 1))
            answers = self._storage.read([Range(entry_name(n)) for n in numbers])
            for at, data in zip(numbers, answers, strict=True):
                if data is None:
                    raise _lost(at, self._storage.url, self._way_back(at))
                entry = self._decode(at, data)
                if entry.previous != previous:
                    raise _rewritten(at, self._storage.url, _SEE)
                previous = entry_hash(data)
                tail.append((entry, previous))
        return LogView(self.empty, tail, self._load_classes)

    def checkpoint_at(self, number: int) -> Root | None:
        """Return the store's folded state after entry `number`, if it has a sound one."""
        (data,) = read_readable(self._storage, [checkpoint_name(number)])
        return self._usable_root(number, data, {})

    def checkpoint_holds(self, root: Root) -> bool:
        """Whether a checkpoint equals the one before it plus the entries since."""
        before = root.number - CHECKPOINT_EVERY
        base = self.checkpoint_at(before) if before > 0 else None
        try:
            if base is None:
                view = self.refold(root.number)
            else:
                numbers = range(base.number + 1, root.number + 1)
                answers = self._storage.read([Range(entry_name(n)) for n in numbers])
                tail = [
                    (self._decode(n, data or b""), entry_hash(data or b""))
                    for n, data in zip(numbers, answers, strict=True)
                ]
                view = LogView(base, tail, self._load_classes)
            return view.folded(class_digest) == root
        except IntegrityError:
            return False

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
            base, entries = decode_view(data)
            tail = [(decode_entry(raw), entry_hash(raw)) for raw in entries]
            view = LogView(base, tail, self._load_classes)
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
        raw = [encode_entry(entry) for entry, _ in view.tail]
        if len(raw) > 2 * CHECKPOINT_EVERY:
            try:
                folded = LogView(view.folded(self._cache_class), (), self._load_classes)
            except AmaError:
                return  # what can't be folded isn't kept; its reader will hear why
            keep_folded(self._cache, view.base.number + 1, raw)
            view, raw = folded, []
        keep_view(self._cache, view.base, raw, (view.number, view.entry_hash))

    def _cache_class(self, state: ClassState) -> bytes:
        data = encode_class_state(state)
        self._cache.put(state_name(seal(data)), data)
        return seal(data)


def _window(first: int, reached: int) -> list[int]:
    """Return the numbers from `first` to past `reached`, and those that would show a hole."""
    absent = reached + 1
    return [*range(first, absent + 1), *(absent + probe for probe in PROBES)]


def check_features(features: Iterable[str], url: str, verb: str) -> None:
    """Refuse a store whose readers ("read") or writers ("write to") need unknown features."""
    unknown = sorted(set(features) - KNOWN_FEATURES)
    if unknown:
        raise FormatError(
            f"{url} has features that this version of ama does not know: {', '.join(unknown)};"
            f" it can't {verb} this store",
            hint=UPGRADE,
        )


def way_back(url: str, *, known: bool) -> Hint | Hints:
    """Return hints for a file of a store's log that is lost or damaged.

    Args:
        url: The store's URL.
        known: Whether this machine remembers it.

    Example:
        >>> way_back("/srv/models", known=True).code
        'repair-log'
    """
    if known:
        return Hint("repair-log", store=url)
    return Hint("repair-log-elsewhere", store=url), "restore it from a backup"


def another_history(number: int, url: str) -> IntegrityError:
    """Return the error for a log that is not the one this machine saw; its hint accepts the log."""
    # The store may be sound: then this machine remembers another one.
    return _rewritten(number, url, Hint("accept-store", store=url))


def _lost(number: int, url: str, hint: Hint | Hints) -> IntegrityError:
    return IntegrityError(
        f"log entry {number} of {url} is missing, though it was there before", hint=hint
    )


def _rewritten(number: int, url: str, hint: Hint | Hints) -> IntegrityError:
    return IntegrityError(
        f"log entry {number} of {url} is not the one that was there before: its history"
        " was changed",
        hint=hint,
    )


def _hole(number: int, later: int, url: str, hint: Hint | Hints) -> IntegrityError:
    return IntegrityError(
        f"the log of {url} has a hole: entry {number} is missing, but entry {later} is there",
        hint=hint,
    )
