"""Notes about what is published: an entry of the log, and the file that it may come with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ama.errors import Conflict, Hint, InvalidInput, NotFound, shown
from ama.format.entries import MAX_NEEDS, AddNote, Event, Gc, NoteFile
from ama.format.hashing import short
from ama.format.notes import NOTES, NoteRecord, noted
from ama.format.packindex import PackIndex
from ama.storage.memory import MemoryStorage
from ama.stores.log_view import LogView
from ama.stores.object_reader import ObjectStore, index_name, pack_name
from ama.stores.pack_writer import PACK_SIZE, PackWriter
from ama.stores.remote import Remote
from ama.stores.sources import Sources
from ama.system.progress import Progress
from ama.transfer.delete import is_deleted
from ama.transfer.download import Target
from ama.transfer.publish_files import hold
from ama.transfer.send import Presence, Sender, is_usable, may_be_purged
from ama.values import Scalar
from ama.worktree.given import GivenFiles

LARGEST = 4 * 1024**3
"""The most bytes of a note's file. What is larger is an asset of its own, and sent as one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A note to make.

    Attributes:
        class_name: The class.
        asset: The asset; None: the note is about the class itself.
        metadata: Values by their keys.
        tags: Tags to add.
        remove: Keys and tags to take away.
        message: Words; of a class its description.
        file: A file, alone.
        once: Whether to make none if the same author has made the same one, and it still holds.
    """

    class_name: str
    asset: Target | None
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    message: str = ""
    file: GivenFiles | None = None
    once: bool = False

    @property
    def name(self) -> str:
        """Return the name of what the note is about."""
        return self.asset.name if self.asset else self.class_name


@dataclass(frozen=True, slots=True)
class Done:
    """A note that is in the log now, and the log with it; `again`: it was there before."""

    note: NoteRecord
    view: LogView
    again: bool = False
    bytes_sent: int = 0


class _Found(Exception):
    """The note is there already."""

    def __init__(self, note: NoteRecord, view: LogView) -> None:
        super().__init__()
        self.note = note
        self.view = view


def add_note(
    remote: Remote,
    wanted: Wanted,
    *,
    author: str,
    now: Callable[[], int],
    progress: Progress,
) -> Done:
    """Append an entry with a note. Read the entries of others first, and decide again after each.

    Args:
        remote: The store.
        wanted: The note.
        author: The author of the entry.
        now: The time in UTC microseconds.
        progress: The progress of the bytes sent.

    Raises:
        NotFound: The class or asset is not there, or has nothing of what is to be removed.
        InvalidInput: The store takes no notes, or the note can't be one.
        Conflict: The asset was deleted.
    """
    sent = None if wanted.file is None else _File(remote, wanted.file, progress)

    def events(latest: LogView) -> list[Event]:
        require_notes(latest, remote.url)
        _require_there(latest, wanted, remote.url)
        asset = wanted.asset.asset if wanted.asset else None
        known: Sequence[NoteRecord] = ()
        if wanted.remove or wanted.once:  # else what was said before decides nothing
            known = remote.log.notes.at(latest).of(wanted.class_name, asset)
        said = [each.note for each in known]
        if wanted.once:
            same = _same(known, _note(wanted, said, sent, again=True), author)
            if same is not None:
                raise _Found(same, latest)
        note = _note(wanted, said, sent)
        if sent is None:
            return [note]
        needs = sent.needs(latest)
        # What every version of ama knows adds the index: they all have the same current ones.
        return [Gc(replaced=(((), needs),)), replace(note, needs=needs)]

    try:
        appended = remote.log.append(events, author=author, now=now)
    except _Found as found:
        return Done(found.note, found.view, again=True)
    assert appended is not None
    entry, _ = appended.view.tail[-1]
    place = len(entry.events) - 1
    event = entry.events[place]
    assert isinstance(event, AddNote)
    record = NoteRecord(event, entry.number, place, entry.author, entry.at)
    return Done(record, appended.view, bytes_sent=sent.bytes_sent if sent else 0)


def require_notes(view: LogView, url: str) -> None:
    """Refuse a store whose writers need not know notes.

    Raises:
        InvalidInput: It is one.
    """
    if NOTES not in view.root.write_features:
        raise InvalidInput(
            f"{url} takes no notes yet: an earlier version of ama has made it",
            hint=Hint("upgrade-store", store=url),
        )


def _require_there(view: LogView, wanted: Wanted, url: str) -> None:
    target = wanted.asset
    if target is None:
        if wanted.class_name not in view.class_names:
            raise NotFound(
                f"there is no class {shown(wanted.class_name)} in {url}", hint=Hint("list-classes")
            )
        return
    record = view.class_state(target.class_name).record(target.number)
    if record is None or record.id != target.asset:
        raise NotFound(f"{target.name} is not in {url}")
    if record.status == "deleted":
        raise is_deleted(target)


def _note(
    wanted: Wanted, known: Sequence[AddNote], sent: _File | None, *, again: bool = False
) -> AddNote:
    """Return the note, with what is taken away of what the notes before add up to.

    Args:
        wanted: The note to make.
        known: The notes before.
        sent: Its file.
        again: Whether it may be there already, so that what it takes away is gone.

    Raises:
        NotFound: There is nothing of what is to be taken away.
    """
    values, tags, _ = noted(known)
    keys, names = {*values}, {*tags}
    if again:
        keys = {key for note in known for key in note.metadata}
        names = {tag for note in known for tag in (*note.tags, *note.untags)}
    elif unknown := [each for each in wanted.remove if each not in keys | names]:
        raise NotFound(
            f"nothing called {shown(unknown[0])} was noted of {wanted.name}",
            hint=Hint("show-notes", asset=wanted.name),
        )
    taken = {each: None for each in wanted.remove if each in keys}
    return AddNote(
        wanted.class_name,
        wanted.asset.asset if wanted.asset else None,
        dict(sorted({**wanted.metadata, **taken}.items())),
        tuple(sorted(set(wanted.tags))),
        tuple(sorted(names.intersection(wanted.remove))),
        wanted.message,
        sent.file if sent else None,
    )


def _same(known: Sequence[NoteRecord], note: AddNote, author: str) -> NoteRecord | None:
    """Return the same note of the same author, if none after it speaks of the same things."""
    speaks = _subjects(note)
    for record in reversed(known):
        if record.author == author and _content(record.note) == _content(note):
            return record
        if note.asset is None or not speaks.isdisjoint(_subjects(record.note)):
            return None
    return None


def _subjects(note: AddNote) -> set[tuple[str, str]]:
    """Return what a note speaks of: of each, the newest note counts."""
    names = {("name", each) for each in (*note.metadata, *note.tags, *note.untags)}
    return names if note.file is None else {*names, ("file", note.file.name)}


def _content(note: AddNote) -> tuple[object, ...]:
    values, taken = {}, {*note.untags}
    for key, value in note.metadata.items():
        if value is None:
            # Who takes a name away doesn't say whether it is a key, a tag or both.
            taken.add(key)
        else:
            # 1, 1.0 and True are three values.
            values[key] = type(value), repr(value)
    return values, note.tags, taken, note.message, note.file


class _File:
    """The file of a note: sent before its entry, and again if a gc has taken it meanwhile."""

    def __init__(self, remote: Remote, given: GivenFiles, progress: Progress) -> None:
        (entry,) = given.entries.values()
        if entry.size > LARGEST:
            raise InvalidInput(
                f"{shown(entry.path)} is too large for a note",
                hint=Hint("publish-instead", path=entry.path),
            )
        self.file = NoteFile(entry.path, entry.id, entry.size)
        self.bytes_sent = 0
        self._remote = remote
        self._given = given
        self._progress = progress
        self._own: tuple[PackIndex, ...] = ()
        self._sent_at = 0

    def needs(self, view: LogView) -> tuple[bytes, ...]:
        """Send the file, unless it is there; return the indexes that name all of it."""
        if not self._own or not self._is_there(view):
            self._own = self._send(view)
            self._sent_at = view.number
            self._remote.remember_indexes(self._own)
        return tuple(sorted(index.id for index in self._own))

    def _is_there(self, view: LogView) -> bool:
        if not all(is_usable(view, index) for index in self._own):
            return False
        if not may_be_purged(view, self._sent_at):
            return True
        files = {index_name(index.id): index.size for index in self._own}
        for index in self._own:
            files |= {pack_name(pack): size for pack, size in index.pack_sizes.items()}
        return self._remote.storage.sizes(list(files)) == list(files.values())

    def _send(self, view: LogView) -> tuple[PackIndex, ...]:
        storage, features = self._remote.storage, view.root.read_features
        near = MemoryStorage("given")
        with PackWriter(near, features=features) as writer:
            for content, data in self._given.held.items():
                hold(writer, content, data)
            held = ObjectStore(near, writer.finish())
        sender = Sender(
            storage,
            Sources(held),
            here=self._given.here,
            root=Path(),
            progress=self._progress,
            pack_size=PACK_SIZE,
        )

        def send(condemned: Callable[[bytes], bool]) -> tuple[PackIndex, ...]:
            return sender.send(Presence(()), (), (self.file.id,), condemned, features)

        self._progress.start("Sending", self.file.size)
        try:
            own = send(view.root.condemned_packs.__contains__)
            if any(index.id in view.root.condemned_indexes for index in own):
                # The same packs give the same index, and a condemned name must not come back.
                own = send(lambda pack: True)
        except Conflict as error:
            raise Conflict(
                f"{shown(self.file.name)} was changed while it was sent",
                hint="run the same command again when it is written",
            ) from error
        finally:
            self._progress.finish()
        if len(own) > MAX_NEEDS:
            raise InvalidInput(f"{short(self.file.id)} takes too many indexes for a note")
        self.bytes_sent += sender.bytes_sent
        return own
