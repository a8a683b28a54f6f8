"""What the log says of each class, as lines of JSON, and what it touches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ama.errors import Conflict, shown
from ama.exporting.described import note_fields, time_text
from ama.format.entries import AddNote, Entry, Event, MoveAlias, Publish, SetStatus, entry_hash
from ama.format.notes import NOTES, NoteRecord
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.revisions import Describer, moment


@dataclass(slots=True)
class Touched:
    """What some entries say of a class.

    Attributes:
        lines: What they say, in order.
        new: The assets that they publish, in order.
        assets: All assets that they say something of, or whose aliases they move.
        aliases: The aliases that they move.
        noted: Whether they note something.
    """

    lines: list[bytes] = field(default_factory=list)
    new: dict[bytes, None] = field(default_factory=dict)
    assets: dict[bytes, None] = field(default_factory=dict)
    aliases: set[str] = field(default_factory=set)
    noted: bool = False


def entries_since(
    remote: Remote, view: LogView, known: tuple[int, bytes]
) -> Iterator[tuple[Entry, bytes]]:
    """Yield the entries after one that is known, with their bytes' hashes, and check their chain.

    Args:
        remote: The store.
        view: Its log.
        known: The number and hash of the entry; 0 and anything for all.

    Raises:
        Conflict: The log doesn't have that entry, but another one.
        IntegrityError: An entry is lost or damaged.
    """
    number, digest = known if known[0] else (0, remote.log.empty.entry_hash)
    if number > view.number or (number == view.number and digest != view.entry_hash):
        raise another_history(remote, number)
    for entry, found in _entries(remote, view, number):
        if entry.previous != digest:
            raise another_history(remote, entry.number - 1)
        digest = found
        yield entry, found


def _entries(remote: Remote, view: LogView, number: int) -> Iterator[tuple[Entry, bytes]]:
    if number < view.base.number:
        for entry, data in remote.log.entries(number + 1, view.base.number + 1):
            yield entry, entry_hash(data)
    yield from view.tail[max(number - view.base.number, 0) :]


def another_history(remote: Remote, number: int) -> Conflict:
    """Return the error for a log that goes on otherwise than what was written from it."""
    return Conflict(
        f"the log of {shown(remote.url)} has another history than what is there, up to entry"
        f" {number}: one of them was restored or made anew",
        hint="export to another place",
    )


def touched_since(remote: Remote, view: LogView, known: tuple[int, bytes]) -> dict[str, Touched]:
    """Return what the entries after a known one say, by class. See `entries_since`."""
    found: dict[str, Touched] = {}
    describer = Describer(view)
    takes_notes = NOTES in view.root.write_features
    for entry, _ in entries_since(remote, view, known):
        for event in entry.events:
            if isinstance(event, AddNote) and not takes_notes:
                continue
            if isinstance(event, Publish | MoveAlias | SetStatus | AddNote):
                touched = found.setdefault(event.class_name, Touched())
                _touch(touched, entry, event, describer)
    for class_name, touched in found.items():
        state = view.class_state(class_name)
        for alias in sorted(touched.aliases):
            for move in reversed(state.moves(alias)):
                if move.asset is not None:
                    touched.assets[move.asset] = None
                if move.entry <= known[0]:
                    break
    return found


def _touch(touched: Touched, entry: Entry, event: Event, describer: Describer) -> None:
    said: dict[str, Any] = {
        "entry": entry.number,
        "at": time_text(moment(entry.at)),
        "author": entry.author,
        "event": event.name,
    }
    match event:
        case Publish():
            touched.assets[event.asset] = touched.new[event.asset] = None
            aliases = [alias for alias, _ in event.aliases]
            touched.aliases.update(aliases)
            said |= {**_asset(event.class_name, event.asset, describer), "aliases": aliases}
        case MoveAlias():
            touched.aliases.add(event.alias)
            said |= {"alias": event.alias, **_asset(event.class_name, event.asset, describer)}
        case SetStatus():
            touched.assets[event.asset] = None
            said |= _asset(event.class_name, event.asset, describer)
            said |= {"status": event.status, "reason": event.reason}
        case AddNote():
            touched.noted = True
            if event.asset is not None:
                touched.assets[event.asset] = None
            said |= _asset(event.class_name, event.asset, describer)
            said |= _note(entry, event, describer)
    touched.lines.append(json.dumps(said, ensure_ascii=False).encode() + b"\n")


def _asset(class_name: str, asset: bytes | None, describer: Describer) -> dict[str, Any]:
    if asset is None:
        return {"asset": None, "number": None}
    return {"asset": asset.hex(), "number": describer.number(class_name, asset)}


def _note(entry: Entry, event: AddNote, describer: Describer) -> dict[str, Any]:
    record = NoteRecord(event, entry.number, 0, entry.author, entry.at)
    fields = note_fields(describer.note(record))
    return {key: value for key, value in fields.items() if key not in ("entry", "author", "at")}
