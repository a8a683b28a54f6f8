"""HINT and the checkpoints made again: the sum of a log's entries.

They are derived: whoever has the whole log can write each of them as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from ama.errors import StorageError
from ama.format.checkpoint import encode_checkpoint, fold_checkpoint
from ama.format.entries import encode_entry, entry_hash
from ama.format.hashing import seal
from ama.format.notes import NOTES, NotesCheckpoint, encode_notes, fold_notes
from ama.format.state import (
    ClassState,
    Root,
    encode_class_state,
    encode_root,
    fold_class,
    fold_root,
    touched_classes,
)
from ama.results import PutBack
from ama.storage.protocol import Storage
from ama.stores.cache import Cache
from ama.stores.log_errors import check_features
from ama.stores.log_files import (
    HINT,
    REFUSED,
    checkpoint_name,
    decode_hint,
    encode_hint,
    notes_name,
    read_readable,
    root_name,
    segment_name,
    state_name,
)
from ama.stores.log_reader import CHECKPOINT_EVERY
from ama.stores.remote import Remote
from ama.stores.segments import CheckpointSegments, Segments

_ROOT = re.compile(r"checkpoint/([0-9]{12})").fullmatch


def derive(remote: Remote, digests: Mapping[int, bytes]) -> Iterator[PutBack]:
    """Make HINT and the checkpoints of a whole log again if they aren't sound.

    Raises:
        FormatError: Readers of the store must know a feature that this version doesn't.
    """
    last = max(digests, default=0)
    if not last:
        return
    view = remote.view()  # it refuses, before anything is written
    check_features(view.root.write_features, remote.url, "write to")
    yield from _renew_hint(remote.storage, digests)
    for files in chain(_of_first_form(remote, last), checkpoints(remote, last)):
        yield from _renew(remote.storage, files)


def _renew_hint(storage: Storage, digests: Mapping[int, bytes]) -> Iterator[PutBack]:
    last = max(digests)
    (data,) = read_readable(storage, [HINT])
    number, digest = decode_hint(data or b"")
    # A lower number is as good; a higher one comes from somebody who has published since.
    if not number or digests.get(number, digest) != digest:
        yield from _renew(storage, {HINT: encode_hint(last, digests[last])})


def checkpoints(remote: Remote, last: int) -> Iterator[dict[str, bytes]]:
    """Yield the files that each checkpoint adds to those before it."""
    made = Segments(remote.storage, Cache(None))
    source = CheckpointSegments(made, lambda: None, remote.url)
    base = remote.log.empty
    notes = NotesCheckpoint(base.number, base.entry_hash)
    for first in range(1, last + 2 - CHECKPOINT_EVERY, CHECKPOINT_EVERY):
        before = base.digests() | notes.digests()
        entries = remote.log.read_entries(range(first, first + CHECKPOINT_EVERY))
        tail = [(entry, entry_hash(encode_entry(entry))) for entry in entries]
        known = NOTES in base.write_features
        notes = fold_notes(notes, tail, source, made.make, known=known)
        base = fold_checkpoint(base, tail, source, made.make)
        digests = base.digests() | notes.digests()
        made.forget_all_but(digests)
        files = {segment_name(d): made.made[d] for d in sorted(digests - before)}
        if NOTES in base.write_features:
            files[notes_name(notes.number)] = encode_notes(notes)
        yield {**files, checkpoint_name(base.number): encode_checkpoint(base)}


def _of_first_form(remote: Remote, last: int) -> Iterator[dict[str, bytes]]:
    """Yield the files of the checkpoints of the first form that are there, as they should be."""
    try:
        listed = [_ROOT(name) for name, _ in remote.storage.list("checkpoint/")]
    except StorageError as error:
        if error.errno not in REFUSED:
            raise
        return
    numbers = sorted(n for found in listed if found and 0 < (n := int(found[1])) <= last)
    root = Root(
        0,
        remote.log.empty.entry_hash,
        read_features=remote.log.empty.read_features,
        write_features=remote.log.empty.write_features,
    )
    states: dict[str, ClassState] = {}
    for number in numbers:
        entries = list(remote.log.read_entries(range(root.number + 1, number + 1)))
        root = fold_root(root, [(e, entry_hash(encode_entry(e))) for e in entries])
        for name in {name for entry in entries for name in touched_classes(entry)}:
            states[name] = fold_class(states.get(name, ClassState(name)), entries)
        datas = {name: encode_class_state(state) for name, state in states.items()}
        classes = {name: seal(data) for name, data in datas.items()}
        files = {state_name(classes[name]): data for name, data in datas.items()}
        yield {**files, root_name(number): encode_root(replace(root, classes=classes))}


def _renew(storage: Storage, files: Mapping[str, bytes]) -> Iterator[PutBack]:
    """Write derived files that are wrong; skip those that we may not write."""
    names: Sequence[str] = list(files)
    for name, now in zip(names, read_readable(storage, names), strict=True):
        if now == files[name]:
            continue
        try:
            storage.replace(name, files[name])
        except StorageError as error:
            if error.errno not in REFUSED:
                raise
            continue
        yield PutBack(name, "missing" if now is None else "damaged", "log")
