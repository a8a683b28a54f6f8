"""The check of the log from first entry to last, and of what it derives: HINT and checkpoints.

The content of a lost or damaged entry is unknown, and so are the numbers of later assets, unless a
later checkpoint, sound in itself, has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count, islice, takewhile
from typing import TypeVar

from ama.errors import IntegrityError, StorageError
from ama.format.checkpoint import Checkpoint, decode_checkpoint, fold_checkpoint
from ama.format.conversion import root_of, state_of
from ama.format.entries import Entry, Publish, decode_entry, entry_hash, entry_name
from ama.format.hashing import seal
from ama.format.notes import (
    NOTES,
    NotesCheckpoint,
    decode_notes,
    fold_notes,
    notes_in,
)
from ama.format.state import (
    ClassState,
    Root,
    decode_class_state,
    decode_root,
    encode_class_state,
    fold_class,
    fold_root,
    touched_classes,
)
from ama.format.tables import decode_rows
from ama.maintenance.fsck_history import History, Published
from ama.maintenance.fsck_packs import Fault, reason
from ama.storage.protocol import Range
from ama.stores.cache import Cache
from ama.stores.log_errors import check_features
from ama.stores.log_files import (
    HINT,
    REFUSED,
    checkpoint_name,
    decode_hint,
    notes_name,
    read_readable,
    root_name,
    segment_name,
    state_name,
)
from ama.stores.remote import FORMAT, Remote, decode_format
from ama.stores.segments import CheckpointSegments, Segments

Derived = TypeVar("Derived", Checkpoint, NotesCheckpoint, Root)

AT_ONCE = 256
DERIVED = (
    "it is derived from the log, so readers do without it and nothing is lost: a repair of the log"
    " makes it again"
)
MISSING = "it is missing"
CLOSED = "only its owner may read it"

_ENTRY = re.compile(r"log/([0-9]{12})").fullmatch
_CHECKPOINT = re.compile(r"checkpoint/fold/([0-9]{12})").fullmatch
_NOTES = re.compile(r"checkpoint/notes/([0-9]{12})").fullmatch
_SEGMENT = re.compile(r"checkpoint/segment/([0-9a-f]{64})").fullmatch
_ROOT = re.compile(r"checkpoint/([0-9]{12})").fullmatch
_STATE = re.compile(r"checkpoint/state/([0-9a-f]{64})").fullmatch


def read_history(remote: Remote) -> History:
    """Read and check the whole log.

    Raises:
        FormatError: An entry needs a newer version of ama.
        StorageError: The storage can't be read.
    """
    return _Reader(remote).run()


class _Reader:
    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._storage = remote.storage
        empty = remote.log.empty
        self._history = History(
            Root(
                0,
                empty.entry_hash,
                read_features=empty.read_features,
                write_features=empty.write_features,
            )
        )
        self._folded: Checkpoint | None = empty
        self._noted: NotesCheckpoint | None = NotesCheckpoint(0, empty.entry_hash)
        self._unfolded: list[tuple[Entry, bytes]] = []
        self._segments = Segments(remote.storage, Cache(None))
        self._source = CheckpointSegments(self._segments, lambda: None, remote.url)
        self._previous: bytes | None = None
        self._pending: list[Entry] = []
        self._digests: dict[str, bytes] = {}
        self._exact = True
        self._hashes: dict[int, bytes] = {}
        self._loaded: dict[bytes, bool] = {}
        self._read: dict[int, bytes] = {}

    def run(self) -> History:
        self._read_format()
        # In the reverse order of writing, because somebody may be writing meanwhile.
        (hint,) = read_readable(self._storage, [HINT])
        reached, reached_hash = decode_hint(hint or b"")
        names = self._listed_checkpoints()
        checkpoints = {int(m[1]) for name in names if (m := _CHECKPOINT(name))}
        roots = {int(m[1]) for name in names if (m := _ROOT(name))}
        notes = {int(m[1]) for name in names if (m := _NOTES(name))}
        if not checkpoints:
            self._folded = None
        listed = {int(m[1]) for name, _ in self._storage.list("log/") if (m := _ENTRY(name))}
        waiting = iter(sorted(listed - {0}))
        following = 1
        while batch := list(islice(waiting, AT_ONCE)):
            answers = self._storage.read([Range(entry_name(number)) for number in batch])
            for number, data in zip(batch, answers, strict=True):
                while following < number:
                    following = self._look_again(following, number)
                following = number + 1
                self._take(number, data)
                if number in roots:
                    self._check_root(number)
                if number in checkpoints:
                    self._check_checkpoint(number)
                if number in notes:
                    self._check_notes(number)
                if number != reached:
                    self._hashes.pop(number, None)
            self._remember()
            self._fold()
        if reached >= following:
            self._gap(following, reached, f"though {HINT} says that it was there")
        self._check_hint(hint, reached, reached_hash)
        beyond = max(reached, following - 1)
        for name in [
            *map(root_name, sorted(n for n in roots if n > beyond)),
            *map(checkpoint_name, sorted(n for n in checkpoints if n > beyond)),
            *map(notes_name, sorted(n for n in notes if n > beyond)),
        ]:
            self._fault(name, f"there is no log entry {int(name[-12:])}; {DERIVED}")
        self._check_unnamed(names)
        return self._finish()

    def _listed_checkpoints(self) -> list[str]:
        try:
            return [name for name, _ in self._storage.list("checkpoint/")]
        except StorageError as error:
            if error.errno not in REFUSED:
                raise
            self._fault("checkpoint", f"{reason(error)}; {DERIVED}")
            return []

    def _finish(self) -> History:
        self._fold()
        if self._exact:
            self._history.numbered = self._history.states
            self._history.unknown_from = None
        root = self._history.root
        check_features(root.read_features, self._remote.url, "read")
        self._history.close()
        return self._history

    def _fault(self, where: str, what: str, entries: tuple[int, int] | None = None) -> None:
        self._history.faults.append(Fault(where, what, entries=entries))

    def _remember(self) -> None:
        """Keep the sound entries: this machine can put them back from there later."""
        for first in [number for number in self._read if number - 1 not in self._read]:
            row = takewhile(self._read.__contains__, count(first))
            self._remote.log.remember_entries(first, [self._read[number] for number in row])
        self._read.clear()

    # The entries

    def _read_format(self) -> None:
        (data,) = self._storage.read([Range(FORMAT)])
        try:
            if data is None:
                raise IntegrityError("it is missing")
            decode_format(data, self._remote.url)
        except IntegrityError as error:
            self._fault(FORMAT, reason(error))
            return
        self._previous = entry_hash(data)

    def _look_again(self, first: int, later: int) -> int:
        """Use an entry that was not listed, if it exists after all; return the next number."""
        (data,) = self._storage.read([Range(entry_name(first))])
        if data is None:
            self._gap(first, later - 1, f"though entry {later} is there")
            return later
        self._take(first, data)
        return first + 1

    def _gap(self, first: int, last: int, why: str) -> None:
        what = "it is missing" if first == last else f"it and all up to entry {last} are missing"
        self._fault(entry_name(first), f"{what}, {why}", (first, last))
        self._break(first)
        self._previous = None

    def _take(self, number: int, data: bytes | None) -> None:
        """Check one entry, and fold it in."""
        try:
            if data is None:
                raise IntegrityError("it is missing")
            entry = decode_entry(data, f"log entry {number}")
            if entry.number != number:
                raise IntegrityError(f"it is entry {entry.number} under another name")
        except IntegrityError as error:
            what = f"{reason(error)}; what it said is not known"
            self._fault(entry_name(number), what, (number, number))
            self._break(number)
            self._previous = None
            return
        if self._previous is not None and entry.previous != self._previous:
            self._not_following(number)
            self._break(number)
        digest = self._previous = self._hashes[number] = entry_hash(data)
        self._pending.append(entry)
        self._unfolded.append((entry, digest))
        self._read[number] = data
        for event in entry.events:
            if isinstance(event, Publish):
                found = Published(event.asset, event.class_name, number, event.needs, event.refs)
                self._history.published.setdefault(event.asset, found)

    def _not_following(self, number: int) -> None:
        if number == 1:
            what = "log entry 1 was written for another one: one of the two was changed"
            self._fault(FORMAT, what, (1, 1))
        else:
            what = f"it does not follow entry {number - 1}: one of the two was changed"
            self._fault(entry_name(number), what, (number - 1, number))

    def _break(self, number: int) -> None:
        """Note that the state is not known exactly from this entry on."""
        if self._exact:
            self._fold()
            self._history.numbered = dict(self._history.states)
            self._exact = False
            self._folded = None
            self._history.unknown_from = number
        # A checkpoint's notes may be sound where the rest of it is not.
        self._noted = None

    def _fold(self) -> None:
        """Fold the waiting entries into the root, the classes' states, and the checkpoint."""
        known = NOTES in self._history.root.write_features
        self._history.root = fold_root(self._history.root, self._unfolded)
        self._history.notes += notes_in(self._pending, known=known)
        states = self._history.states
        touched = {name for entry in self._pending for name in touched_classes(entry)}
        for name in touched:
            states[name] = fold_class(states.get(name, ClassState(name)), self._pending)
            self._digests[name] = b""
        self._pending.clear()
        if self._folded is not None:
            entries = self._unfolded
            self._folded = fold_checkpoint(self._folded, entries, self._source, self._segments.make)
        if self._noted is not None:
            make = self._segments.make
            self._noted = fold_notes(self._noted, self._unfolded, self._source, make, known=known)
        folded = (each.digests() for each in (self._folded, self._noted) if each is not None)
        self._segments.forget_all_but(set().union(*folded))
        self._unfolded.clear()

    def _check_hint(self, data: bytes | None, number: int, digest: bytes) -> None:
        if data is None:
            if self._why_absent(HINT) != MISSING:
                self._fault(HINT, f"{CLOSED}; the next upload writes it again")
        elif not number:
            self._fault(HINT, "it is damaged; the next upload writes it again")
        elif number in self._hashes and self._hashes[number] != digest:
            what = f"log entry {number} is not the one that {HINT} was written for"
            self._fault(entry_name(number), what, (number, number))

    # What is derived

    def _check_checkpoint(self, number: int) -> None:
        """Compare a checkpoint with the fold; if that isn't known, go on from the checkpoint."""
        checkpoint = self._read_derived(number, checkpoint_name(number), decode_checkpoint)
        if checkpoint is None:
            return
        self._fold()
        if self._exact and checkpoint != self._folded:
            self._fault(checkpoint_name(number), f"it is not what the log adds up to; {DERIVED}")
            return
        sound = self._check_segments(checkpoint.digests())
        if not self._exact and sound:
            states = {
                name: state_of(name, tables, self._source)
                for name, tables in checkpoint.classes.items()
            }
            self._go_on(root_of(checkpoint, self._source), states)
            self._folded = checkpoint

    def _check_notes(self, number: int) -> None:
        """Do the same with the notes of a checkpoint."""
        notes = self._read_derived(number, notes_name(number), decode_notes)
        if notes is None:
            return
        self._fold()
        if self._noted is not None and notes != self._noted:
            self._fault(notes_name(number), f"it is not what the log adds up to; {DERIVED}")
        elif self._check_segments(notes.digests()) and self._noted is None:
            self._noted = notes

    def _check_root(self, number: int) -> None:
        """Do the same with a checkpoint of the first form."""
        root = self._read_derived(number, root_name(number), decode_root)
        if root is None:
            return
        if self._exact and root != self._expected():
            self._fault(root_name(number), f"it is not what the log adds up to; {DERIVED}")
            return
        states = self._check_states(root.classes)
        if not self._exact and len(states) == len(root.classes):
            self._go_on(root, states)

    def _read_derived(
        self, number: int, name: str, decode: Callable[[bytes], Derived]
    ) -> Derived | None:
        """Return a checkpoint if it is sound in itself, and that of its entry."""
        (data,) = read_readable(self._storage, [name])
        if data is None:
            self._fault(name, f"{self._why_absent(name)}; {DERIVED}")
            return None
        try:
            found = decode(data)
        except IntegrityError as error:
            self._fault(name, f"{reason(error)}; {DERIVED}")
            return None
        if number not in self._hashes:
            return None
        if (found.number, found.entry_hash) != (number, self._hashes[number]):
            self._fault(name, f"it is not that of log entry {number}; {DERIVED}")
            return None
        return found

    def _go_on(self, root: Root, states: dict[str, ClassState]) -> None:
        """Go on from a checkpoint that is sound in itself."""
        self._pending.clear()
        self._unfolded.clear()
        self._history.root = root
        self._history.states = states
        self._digests = dict.fromkeys(states, b"")
        self._exact = True

    def _check_segments(self, digests: Iterable[bytes]) -> bool:
        """Check the segments of a checkpoint, each once; tell whether all are sound."""
        wanted = [digest for digest in digests if digest not in self._loaded]
        for first in range(0, len(wanted), AT_ONCE):
            batch = wanted[first : first + AT_ONCE]
            answers = read_readable(self._storage, [segment_name(digest) for digest in batch])
            for digest, data in zip(batch, answers, strict=True):
                why = "" if data is not None else self._why_absent(segment_name(digest))
                try:
                    if data is not None and seal(data) != digest:
                        raise IntegrityError("its checksum does not match")
                    decode_rows(data or b"")
                except IntegrityError as error:
                    self._fault(segment_name(digest), f"{why or reason(error)}; {DERIVED}")
                    self._loaded[digest] = False
                else:
                    self._loaded[digest] = True
        return all(self._loaded[digest] for digest in digests)

    def _why_absent(self, name: str) -> str:
        """Return why a derived file was not read: it may exist, but be closed to us."""
        try:
            return CLOSED if self._storage.sizes([name]) != [None] else MISSING
        except StorageError as error:
            if error.errno not in REFUSED:
                raise
            return CLOSED

    def _expected(self) -> Root:
        self._fold()
        for name, digest in self._digests.items():
            if not digest:
                self._digests[name] = seal(encode_class_state(self._history.states[name]))
        return replace(self._history.root, classes=self._digests)

    def _check_states(self, classes: Mapping[str, bytes]) -> dict[str, ClassState]:
        """Check the classes' states in a checkpoint; return those that were read sound.

        Each is checked once; a checked one is read again only if needed.
        """
        wanted = {
            name: digest
            for name, digest in classes.items()
            if not self._exact or digest not in self._loaded
        }
        answers = read_readable(self._storage, [state_name(d) for d in wanted.values()])
        states = {}
        for (name, digest), data in zip(wanted.items(), answers, strict=True):
            why = "its checksum does not match"
            if data is None:
                why = self._why_absent(state_name(digest))
            state = None
            if data is not None and seal(data) == digest:
                try:
                    state = decode_class_state(data)
                except IntegrityError as error:
                    why = reason(error)
            if state is not None and state.name == name:
                states[name] = state
            elif digest not in self._loaded:
                self._fault(state_name(digest), f"{why}; {DERIVED}")
            self._loaded[digest] = name in states
        return states

    def _check_unnamed(self, names: Iterable[str]) -> None:
        """Check what no sound checkpoint names: the names tell the content."""
        found = {name: m[1] for name in names if (m := _STATE(name) or _SEGMENT(name))}
        digests = {name: bytes.fromhex(digits) for name, digits in found.items()}
        waiting = iter([name for name in digests if digests[name] not in self._loaded])
        while batch := list(islice(waiting, AT_ONCE)):
            for name, data in zip(batch, read_readable(self._storage, batch), strict=True):
                if data is not None and seal(data) != digests[name]:
                    self._fault(name, f"its checksum does not match; {DERIVED}")
