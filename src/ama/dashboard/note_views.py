"""What pages say of notes: those of an asset, a file of one, and the description of a class."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from ama.asset import Asset
from ama.catalog.noting import Description
from ama.catalog.questions import Questions
from ama.dashboard.previews import Previews
from ama.dashboard.rendering import Page
from ama.dashboard.views import panel
from ama.errors import NotFound, shown
from ama.store import Store
from ama.stores.revisions import class_state
from ama.values import File, Note, Noted, Scalar

MOST_NOTES = 50
MOST_PARTS = 40
"""The most values and the most tags to show: of an asset, and of one note."""

MOST_DESCRIPTIONS = 30
MOST_TEXT = 5_000
"""The most characters of an earlier description to show."""

Place = tuple[str | int, ...]
"""The parts of a page's path."""

NotePlacing = Callable[[Note, File], Place | None]
"""Returns the place of the page of a note's file; None if it has none."""


@dataclass(frozen=True, slots=True)
class NotedValue:
    """The newest value noted under a key, and the note that says it."""

    key: str
    value: Scalar
    note: Note


@dataclass(frozen=True, slots=True)
class ShownNote:
    """A note as a page shows it: no more values and tags than fit, and where its file is."""

    note: Note
    values: tuple[tuple[str, Scalar], ...]
    tags: tuple[str, ...]
    removed: tuple[str, ...]
    untagged: tuple[str, ...]
    left_out: int
    place: Place | None


@dataclass(frozen=True, slots=True)
class ShownNotes:
    """What was noted of an asset, as much as a page shows: the newest first."""

    tags: tuple[str, ...]
    values: tuple[NotedValue, ...]
    values_left: int
    notes: tuple[ShownNote, ...]
    notes_left: int


def shown_notes(noted: Noted, place: NotePlacing) -> ShownNotes:
    """Return what was noted of an asset, as its page shows it.

    Args:
        noted: The notes.
        place: Returns where the page of a note's file is.

    Example:
        >>> import ama
        >>> store = ama.Store.open("store")
        >>> _ = store.note("models/1", metadata={"f1": 0.5}, tags="approved")
        >>> found = shown_notes(store.noted("models/1"), lambda note, file: None)
        >>> [(each.key, each.value) for each in found.values], found.tags
        ([('f1', 0.5)], ('approved',))
    """
    newest = noted.notes[::-1]
    said: dict[str, Note] = {}
    for note in newest:
        for key in note.metadata:
            said.setdefault(key, note)
    values = [NotedValue(key, noted.metadata[key], said[key]) for key in sorted(noted.metadata)]
    return ShownNotes(
        noted.tags,
        tuple(values[:MOST_PARTS]),
        max(0, len(values) - MOST_PARTS),
        tuple(_shown(note, place) for note in newest[:MOST_NOTES]),
        max(0, len(newest) - MOST_NOTES),
    )


def _shown(note: Note, place: NotePlacing) -> ShownNote:
    lists = tuple(note.metadata.items()), note.tags, note.removed, note.untagged
    values, tags, removed, untagged = lists
    return ShownNote(
        note,
        values[:MOST_PARTS],
        tags[:MOST_PARTS],
        removed[:MOST_PARTS],
        untagged[:MOST_PARTS],
        sum(max(0, len(each) - MOST_PARTS) for each in lists),
        place(note, note.file) if note.file is not None else None,
    )


def served(note: Note, file: File) -> Place:
    """Return the path of the page of a note's file, where pages are served."""
    return "assets", note.class_name, note.number or 0, "noted", note.entry, file.path


def find_note(asset: Asset, entry: int, name: str) -> tuple[Note, File]:
    """Return the note of an asset that came with a file, and the file.

    Raises:
        NotFound: There is no such note.
    """
    for note in asset.noted().notes:
        if note.entry == entry and note.file is not None and note.file.path == name:
            return note, note.file
    raise NotFound(f"entry {entry} notes no file {shown(name)} of {asset.info.name}")


def noted_file_page(
    store: Store, questions: Questions, asset: Asset, wanted: tuple[int, str], previews: Previews
) -> Page:
    """Return the page of a note's file: its preview, and how to get it.

    Args:
        store: The store.
        questions: Asks it.
        asset: The asset that the note is about.
        wanted: The note's entry, and the file's name.
        previews: Those that were made before.

    Raises:
        NotFound: There is no such note.
    """
    entry, name = wanted
    note, file = find_note(asset, entry, name)
    line = questions.line(note.class_name, note.number or 0)
    about = f"{line.class_name}/{line.number}"
    at = "assets", line.class_name, line.number
    newest = max(each.entry for each in asset.noted().notes if each.file and each.file.path == name)
    command = (
        f"ama note {about} --cat {shlex.quote(name)} --remote {shlex.quote(store.url)}"
        f" > {shlex.quote(name)}"
    )
    python = (
        f'note = next(note for note in store.notes("{about}") if note.entry == {entry})\n'
        'b"".join(store.note_file(note))'
    )
    content = {
        "line": line,
        "file": file,
        "note": note,
        "names": [name],
        "preview": panel(lambda: previews.of(file, lambda: store.note_file(note))),
        "download": (*at, "noted-download", entry, name),
        "image": (*at, "noted-image", entry, name),
        "holders": (),
        # The command knows only the newest file of a name.
        "commands": (*([("Command", command)] if entry == newest else []), ("Python", python)),
    }
    return Page("file.html", f"{name}, noted of {about}", content)


def description_page(store: Store, questions: Questions, name: str) -> Page:
    """Return the page of all descriptions that a class had.

    Raises:
        NotFound: There is no such class, or it was never described.
    """
    class_state(store.remote.view(), name, store.url)
    found = questions.descriptions(name, MOST_DESCRIPTIONS + 1)
    if not found:
        raise NotFound(f"{name} was never described")
    content = {
        "name": name,
        "descriptions": [_cut(each) for each in found[:MOST_DESCRIPTIONS]],
        "more": len(found) > MOST_DESCRIPTIONS,
    }
    return Page("description.html", f"Descriptions of {name}", content)


def _cut(each: Description) -> tuple[Description, str, bool]:
    """Return a description, with as much of its text as is shown, and whether that is cut."""
    return each, each.text[:MOST_TEXT], len(each.text) > MOST_TEXT
