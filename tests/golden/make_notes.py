"""Makes tests/golden/notes: a store of which something is known later.

    python tests/golden/make_notes.py DIRECTORY

As make_v1.py does, it puts ama's encoders together by hand, so that the bytes depend on the format
alone. The store in the repository is never made again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from make_v1 import (
    ANN,
    BEN,
    CRON,
    START,
    Packing,
    Store,
    cut,
    file,
    frame,
    recipe,
    weights,
    whole,
)

from ama.format.checkpoint import Checkpoint, encode_checkpoint, fold_checkpoint
from ama.format.entries import (
    ABSENT,
    AddNote,
    Feature,
    Gc,
    MoveAlias,
    NoteFile,
    Publish,
    SetStatus,
    Unknown,
    encode_entry,
    entry_hash,
)
from ama.format.hashing import blob_id, seal
from ama.format.notes import NotesCheckpoint, encode_notes, fold_notes
from ama.format.objects import Asset, Kind
from ama.format.state import Root
from ama.format.tables import Rows, decode_rows
from ama.stores.log_files import checkpoint_name, notes_name, segment_name
from ama.stores.remote import FORMAT, StoreFormat, encode_format

STORE_ID = "c3" * 16
REPORT = b'{"f1": 0.875}\n'


class Segments:
    """The segments of checkpoints, as they are made."""

    def __init__(self) -> None:
        self.made: dict[bytes, bytes] = {}

    def read(self, digests: Sequence[bytes]) -> list[Rows]:
        return [decode_rows(self.made[digest]) for digest in digests]

    def store(self, data: bytes) -> bytes:
        self.made[seal(data)] = data
        return seal(data)


def checkpoint(store: Store, genesis: bytes) -> None:
    """Add the checkpoint after the last entry, and its notes."""
    segments = Segments()
    log = [(entry, entry_hash(encode_entry(entry))) for entry in store.entries]
    fold = fold_checkpoint(Checkpoint(0, genesis), log, segments, segments.store)
    empty = NotesCheckpoint(0, genesis)
    notes = fold_notes(empty, log, segments, segments.store, known=False)
    store.files[checkpoint_name(fold.number)] = encode_checkpoint(fold)
    store.files[notes_name(notes.number)] = encode_notes(notes)
    store.files |= {segment_name(digest): data for digest, data in segments.made.items()}


def make() -> dict[str, bytes]:
    """Return the files of the store by name."""
    store = Store()
    store.files[FORMAT] = encode_format(StoreFormat(STORE_ID))
    genesis = entry_hash(store.files[FORMAT])
    store.root = Root(0, genesis)

    ids: list[bytes] = []
    for number in (1, 2):
        pack = Packing(store, f"notes asset {number}")
        data = f"weights {number}\n".encode()
        pack.blob(data)
        said = {"loss": 0.5, "epochs": number}
        tree = pack.tree(file("model.txt", data))
        asset = Asset("models", tree, (), (), ANN, START, f"run {number}", said)
        ids.append(pack.asset(asset))
        index = store.index(whole(pack.seal()))
        before = ids[-2] if number == 2 else ABSENT
        publish = Publish(ids[-1], "models", (("best", before),), (index,), (index,), ())
        store.append(ANN, publish)
    first, second = ids

    # Before the feature a note has no effect.
    store.append(BEN, AddNote("models", first, {"loss": 0.1}))
    store.append(BEN, Feature((), ("notes",)))
    store.append(BEN, AddNote("models", first, {"loss": 0.375, "checked": True}, ("draft",)))
    everything = {"text": "Straße", "int": -3, "float": 1.0, "true": True, "loss": None}
    store.append(ANN, AddNote("models", first, everything, ("passed",), ("draft",), "seen again"))
    store.append(ANN, AddNote("models", None, message="# Models\n\nClassify *sentences*.\n"))

    reports = Packing(store, "notes report")
    reports.blob(REPORT)
    index = store.index(whole(reports.seal()))
    report = NoteFile("report.json", blob_id(REPORT), len(REPORT))
    noted = AddNote(
        "models", second, {"f1": 0.875}, message="evaluated", file=report, needs=(index,)
    )
    store.append(CRON, Gc(replaced=(((), (index,)),)), noted)

    # Two notes in one entry, behind an event of a later version; one of them is long.
    long = "a long story, " * 400
    store.append(
        BEN,
        Unknown("rating", False, {"stars": 5}),
        AddNote("models", first, message=long),
        AddNote("models", second, {"stars": 5}),
    )

    large = weights(1)
    pieces = Packing(store, "notes large")
    for chunk in dict.fromkeys(cut(large)):
        pieces.blob(
            chunk, min(frame(chunk), chunk, key=len) if len(frame(chunk)) < len(chunk) else None
        )
    pieces.add(Kind.RECIPE, blob_id(large), recipe(large))
    index = store.index(whole(pieces.seal()))
    given = NoteFile("predictions.bin", blob_id(large), len(large))
    store.append(
        CRON,
        Gc(replaced=(((), (index,)),)),
        AddNote("models", first, file=given, needs=(index,)),
    )
    for night in range(16):
        store.append(CRON, AddNote("models", second, {"nightly": 0.5 + night / 64}))
    while len(store.entries) < 63:
        number = len(store.entries)
        store.append(CRON, MoveAlias("models", "nightly", ids[number % 2]))
    store.append(ANN, AddNote("models", None, message="Classify sentences."))
    checkpoint(store, genesis)
    store.append(ANN, AddNote("models", second, {"f1": 0.9, "nightly": None}, ("approved",)))
    store.append(ANN, SetStatus(first, "models", "deleted", "superseded"))
    store.hint(66)
    return store.files


def main(place: Path) -> None:
    for name, data in make().items():
        path = place.joinpath(*name.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
