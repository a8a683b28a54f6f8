"""The methods of `ama.Store` that note what is known later, and read such notes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from ama.errors import Hint, InvalidInput, NotFound, shown
from ama.format.objects import MAX_KEY, Kind, check_metadata, check_text
from ama.format.recorded import SOURCE
from ama.operations.session import now, plain, several
from ama.operations.store_changes import StoreChanges
from ama.results import NoteResult
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.revisions import Describer, class_state, parse_revision
from ama.stores.sources import Sources
from ama.transfer.download import Target
from ama.values import AssetInfo, Note, Noted, Scalar

if TYPE_CHECKING:
    from ama.format.notes import NoteRecord
    from ama.worktree.given import GivenFiles


class StoreNotes(StoreChanges):
    """The methods of `ama.Store` about notes."""

    def note(
        self,
        name: str,
        *,
        metadata: Mapping[str, Scalar] | None = None,
        tags: str | Iterable[str] = (),
        message: str | None = None,
        file: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str] | bytes] | None = None,
        remove: str | Iterable[str] = (),
        once: bool = False,
    ) -> NoteResult:
        """Note what is known later of an asset: results, approvals, links. Its id stays the same.

        The note is an entry of the store's log. The newest value under a key counts, also where
        the asset itself says something else. A class's own name stands for the class: its message
        is the class's description, in Markdown, and an empty one takes that away.

        Args:
            name: The asset's name, see `resolve`; or a class.
            metadata: Texts, numbers or truth values by their keys.
            tags: Tags that it gets.
            message: Words.
            file: A file to keep with the note: its path; or by its name, its path or content.
            remove: Keys and tags that were noted, to take away.
            once: Whether to add nothing if the same author has noted the same, and it still holds:
                so that a failed call can be made again.

        Raises:
            NotFound: There is no such asset, or nothing of that name was noted.
            InvalidInput: There is nothing to note, or a name or value can't be noted; or the store
                takes no notes before its `upgrade`.
            Conflict: The asset was deleted, or the file changed meanwhile.
            StorageError: The store can't be reached.

        Example:
            >>> import ama
            >>> store = ama.Store.open("store")
            >>> result = store.note("models@best", metadata={"accuracy": 0.9}, tags="approved")
            >>> result.note.number, result.note.metadata
            (1, {'accuracy': 0.9})
            >>> store.noted("models/1").tags
            ('approved',)
            >>> _ = store.note("models", message="Classifies *sentences*.")
            >>> store.noted("models").message
            'Classifies *sentences*.'
        """
        from ama.transfer.notes import Wanted, add_note, require_notes

        values, added, taken = _checked(metadata, tags, remove)
        check_text("message", "" if message is None else message)
        view = self._whole_view()
        target = self._about(view, name)
        require_notes(view, self.url)
        if target is None and (values or added or taken or file is not None):
            raise InvalidInput(
                f"{shown(name)} is a class, and of a class only its description is noted",
                hint=Hint("name-the-asset", class_name=name),
            )
        is_said = message is not None if target is None else bool((message or "").strip())
        if not (values or added or taken or is_said or file is not None):
            raise InvalidInput("nothing is given to note", hint=Hint("say-what-to-note"))
        wanted = Wanted(
            name if target is None else target.class_name,
            target,
            values,
            added,
            taken,
            (message or "") if is_said else "",
            None if file is None else self._given(file),
            once,
        )
        author = self.settings.author()
        done = add_note(self.remote, wanted, author=author, now=now, progress=self._progress)
        note = Describer(done.view).note(done.note)
        return NoteResult(note, self.url, done.again, done.bytes_sent)

    def notes(self, name: str) -> tuple[Note, ...]:
        """Return the notes of an asset, or of a class itself, oldest first; see `note`.

        Raises:
            NotFound, InvalidInput: See `resolve`.
            IntegrityError: The store's log is damaged.

        Example:
            >>> import ama
            >>> store = ama.Store.open("store")
            >>> _ = store.note("models/1", message="passed the integrity test")
            >>> [note.message for note in store.notes("models/1")]
            ['passed the integrity test']
        """
        return self.noted(name).notes

    def noted(self, name: str) -> Noted:
        """Return what the notes of an asset, or of a class itself, add up to; see `note`.

        Raises:
            NotFound, InvalidInput: See `resolve`.
            IntegrityError: The store's log is damaged.

        Example:
            >>> import ama
            >>> ama.Store.open("store").noted("models/1").tags
            ()
        """
        view = self._whole_view()
        target = self._about(view, name)
        records = (
            self._records(view, name, None)
            if target is None
            else self._records(view, target.class_name, target.asset)
        )
        return Describer(view).noted(records)

    def imports(self, assets: Iterable[AssetInfo]) -> dict[str, Note]:
        """Return the newest note about an import of each asset that was imported, by the id.

        Raises:
            IntegrityError: The store's log is damaged.
            StorageError: The store can't be reached.

        Example:
            >>> import ama
            >>> store = ama.Store.open("store")
            >>> store.imports(store.assets("models"))
            {}
        """
        return imports_of(self.remote, self._whole_view(), assets)

    def note_file(self, note: Note) -> Iterator[bytes]:
        """Yield the bytes of a note's file in pieces; the last one only if the whole is right.

        Raises:
            NotFound: The note has no file, or is none of this store's.
            IntegrityError: It is damaged.

        Example:
            >>> import ama
            >>> store = ama.Store.open("store")
            >>> result = store.note("models/1", file={"report.json": b"{}"})
            >>> b"".join(store.note_file(result.note))
            b'{}'
        """
        if not isinstance(note, Note):
            raise InvalidInput(f"{shown(repr(note))} is no note")
        view = self._whole_view()
        asset = None if note.asset is None else bytes.fromhex(note.asset)
        for record in self._records(view, note.class_name, asset):
            file = record.note.file
            if record.entry == note.entry and file and note.file and file.id.hex() == note.file.id:
                needs = view.root.current(record.note.needs)
                objects = self.remote.objects_in(view, needs)
                return Sources(objects).stream(file.id, Kind.DATA)
        raise NotFound(f"entry {note.entry} of {self.url} notes no such file")

    def _about(self, view: LogView, name: str) -> Target | None:
        """Return the asset that a name means; None: it is a class."""
        if parse_revision(name).is_class:
            class_state(view, name, self.url)
            return None
        return self._target(view, name, None)

    def _records(
        self, view: LogView, class_name: str, asset: bytes | None
    ) -> tuple[NoteRecord, ...]:
        return self.remote.log.notes.at(view).of(class_name, asset)

    def _given(
        self, file: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str] | bytes]
    ) -> GivenFiles:
        from ama.operations.publishing import look_at
        from ama.worktree.given import read_all

        files = file if isinstance(file, Mapping) else [file]
        found = look_at(self.remote, self.settings, files, force=False)
        paths = [*(each.path for each in found.on_disk), *found.held]
        if len(paths) != 1 or "/" in paths[0]:
            raise InvalidInput("a note comes with one file, and no directory")
        return read_all(found, force=False, progress=self._progress)


def _checked(
    metadata: Mapping[str, Scalar] | None, tags: str | Iterable[str], remove: str | Iterable[str]
) -> tuple[dict[str, Scalar], tuple[str, ...], tuple[str, ...]]:
    """Return values, tags, and what is taken away, if they can be noted together.

    Raises:
        InvalidInput: They can't.
    """
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidInput(
            f"metadata are values by their names, not of type {type(metadata).__name__}"
        )
    values = {key: plain(value) for key, value in (metadata or {}).items()}
    for key, value in values.items():
        check_metadata(key, value)
    added, taken = several(tags), several(remove)
    for tag in added:
        check_text("tag", tag)
        if not 0 < len(tag.encode()) <= MAX_KEY or not tag.isprintable():
            raise InvalidInput(
                f"'{shown(tag)}' can't be a tag: it has 1 to {MAX_KEY} bytes, and no"
                " control characters"
            )
    for each in taken:
        check_text("key or tag", each)
        if each in values or each in added:
            raise InvalidInput(f"{shown(each)} is both noted and removed")
    return values, tuple(dict.fromkeys(added)), tuple(dict.fromkeys(taken))


def imports_of(remote: Remote, view: LogView, assets: Iterable[AssetInfo]) -> dict[str, Note]:
    """Return the newest note about an import of each asset that was imported, by the id.

    Raises:
        InvalidInput: They are no assets.
    """
    given: object = assets
    listed = list(given) if isinstance(given, Iterable) else [given]
    infos = [each for each in listed if isinstance(each, AssetInfo)]
    if len(infos) < len(listed):
        raise InvalidInput("assets are what `log`, `history` and `assets` return")
    notes, describer = remote.log.notes.at(view), Describer(view)
    found: dict[str, Note] = {}
    for info in infos:
        if info.class_name in notes.classes:
            for note in describer.noted(notes.of(info.class_name, bytes.fromhex(info.id))).notes:
                if note.metadata.get(SOURCE) is not None:
                    found[info.id] = note
    return found
