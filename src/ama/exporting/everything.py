"""The export of a whole store: plain folders with JSON; run again, only what is new."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from ama.errors import AmaError, Conflict, IntegrityError, NotFound, StorageError
from ama.exporting.described import (
    asset_fields,
    file_fields,
    note_fields,
    store_fields,
    text_of,
    time_text,
    with_list,
)
from ama.exporting.files import Known, write_files
from ama.exporting.history import Touched, touched_since
from ama.exporting.layout import SUMS, Layout, read_sum, sum_line
from ama.exporting.members import Taken, take
from ama.format.entries import NoteFile
from ama.format.notes import NoteRecord
from ama.format.objects import Asset, EntryKind, Kind
from ama.format.recorded import environment_of
from ama.format.state import AssetRecord
from ama.results import NotExported, StoreExportResult
from ama.settings import Settings
from ama.stores.class_view import ClassView
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.revisions import Describer
from ama.stores.sources import Sources
from ama.system import disk, fs
from ama.system.encoding import from_system, to_system
from ama.system.progress import Progress
from ama.transfer.download import Target
from ama.values import AssetInfo
from ama.worktree.incoming import delete_all
from ama.worktree.nearby import near_here

ASSET = "asset.json"
HISTORY = "history.jsonl"
MOST_AT_ONCE = 1024
"""The most records of assets to read in one batch."""

_AGAIN = "run the same command again"


def export_everything(
    remote: Remote, view: LogView, top: str, settings: Settings, progress: Progress
) -> StoreExportResult:
    """Write all assets of a store into a directory, or what is new since the last time.

    Args:
        remote: The store.
        view: Its log.
        top: The directory.
        settings: The settings.
        progress: The progress of the bytes of files.

    Raises:
        AlreadyExists: The directory has something else.
        Conflict: The store has another history than what is there.
        IntegrityError: The log is damaged. An asset that is damaged is passed over.
        StorageError: The store can't be reached, or the disk refuses.
    """
    view.require_whole()
    layout = Layout(top)
    known = layout.known(remote.format.id)
    touched = touched_since(remote, view, known)
    job = _Job(remote, view, layout, settings, progress)
    if touched or not known[0]:
        layout.begin(store_fields(remote))
        job.run(known[0], touched)
    if not job.failed:
        layout.end(store_fields(remote), view.number, view.entry_hash)
    return StoreExportResult(
        remote.url,
        top,
        tuple(job.new),
        job.updated,
        job.files,
        job.size,
        job.linked,
        tuple(job.failed),
    )


@dataclass(slots=True)
class _Job:
    """An export under way."""

    remote: Remote
    view: LogView
    layout: Layout
    settings: Settings
    progress: Progress
    new: list[AssetInfo] = field(default_factory=list)
    updated: int = 0
    files: int = 0
    size: int = 0
    linked: int = 0
    failed: list[NotExported] = field(default_factory=list)
    sums: list[bytes] = field(default_factory=list)

    def run(self, since: int, touched: Mapping[str, Touched]) -> None:
        """Write what is touched, class by class."""
        known = Known(self.layout.top, self._sums())
        for name in sorted(touched.keys() & set(self.view.class_names)):
            state = self.view.class_state(name)
            self._write_assets(state, touched[name], known)
            self._write_class(state, since, touched[name])
        self._write_sums()

    # Sums

    def _sums(self) -> Iterator[tuple[bytes, str]]:
        lines = self.layout.lines(self.layout.path(SUMS))
        return (found for found in map(read_sum, lines) if found is not None)

    def _write_sums(self) -> None:
        """Add the sums of new files; an interrupted run before may have written some of them."""
        path = self.layout.path(SUMS)
        new = dict.fromkeys(self.sums)
        if new:
            old = (line for line in self.layout.lines(path) if line not in new)
            self.layout.write(path, chain(old, new))

    # Assets

    def _write_assets(self, state: ClassView, touched: Touched, known: Known) -> None:
        numbers = sorted(n for asset in touched.assets if (n := state.number(asset)) is not None)
        self.progress.start(f"Exporting {state.name}", None)
        try:
            records = list(state.records(numbers))
            self._look_up(state.name, [r.id for r in records if r.id not in touched.new])
            for number, record in zip(numbers, records, strict=True):
                target = Target(state.name, record.id, number)
                try:
                    self._write_asset(target, record, known, is_new=record.id in touched.new)
                except StorageError:
                    raise
                except AmaError as error:
                    self.failed.append(NotExported(target.name, error.message, error.hints))
        finally:
            self.progress.finish()

    def _look_up(self, name: str, assets: Sequence[bytes]) -> None:
        """Read records that will be asked for one by one, in batches: this machine keeps them."""
        for at in range(0, len(assets), MOST_AT_ONCE):
            with suppress(AmaError):  # whoever needs it hears what is wrong with it
                self._assets([(name, asset) for asset in assets[at : at + MOST_AT_ONCE]])

    def _write_asset(
        self, target: Target, record: AssetRecord, known: Known, *, is_new: bool
    ) -> None:
        path = self.layout.of_asset(target.class_name, target.number)
        notes = self._notes(target.class_name, target.asset)
        said = self.layout.read(os.path.join(path, ASSET))
        is_there = os.path.isdir(os.path.join(path, "files"))
        if said is None or not (is_there or record.status == "deleted"):
            info = self._make(target, record, path, notes, known)
            self.new += [] if info is None else [info]
            return
        files = said.get("files")
        if said.get("asset", {}).get("id") != target.asset.hex() or not isinstance(files, list):
            raise IntegrityError(
                f"{from_system(path)} is not what was exported", hint="delete it, and export again"
            )
        self._write_notes(path, notes)
        data = b"".join(with_list(self._described(target, record, notes), "files", files))
        if disk.read_file(os.path.join(path, ASSET)) != data:
            self.updated += 1
            self.layout.write(os.path.join(path, ASSET), data)
        if is_new:  # an interrupted run has written it
            self._sum(
                target,
                ((each["blake3"], each["path"]) for each in files if each["kind"] != "symlink"),
            )

    def _make(
        self,
        target: Target,
        record: AssetRecord,
        path: str,
        notes: Sequence[NoteRecord],
        known: Known,
    ) -> AssetInfo | None:
        """Make the directory of an asset: it appears whole. Of a deleted one return None."""
        own = self.layout.path(fs.temp_name())
        made = os.path.join(own, "asset")
        fs.make_directories(made, sync=False)
        info: AssetInfo | None = None
        taken: Taken | None = None
        try:
            files: Iterable[dict[str, Any]] = ()
            if record.status != "deleted":
                taken = take(self.remote, self.view, target)
                info = taken.info
                near = near_here(self.settings, target.class_name, taken.asset.parents)
                linked = write_files(taken, made, known, near, self.progress)
                files = [file_fields(item, taken.links) for item in taken.listing]
                self.files, self.size = self.files + len(files), self.size + taken.listing.size
                self.linked += linked
            self._write_notes(made, notes)
            described = self._described(target, record, notes, taken)
            self.layout.write(os.path.join(made, ASSET), with_list(described, "files", files))
            self._place(made, path)
        finally:
            with suppress(StorageError):
                delete_all(own)
        if taken is not None:
            found = [item for item in taken.listing if item.kind is not EntryKind.SYMLINK]
            self._sum(target, ((item.id.hex(), item.path) for item in found))
            for item in found:
                if item.size:
                    known.note(item, os.path.join(path, "files", to_system(item.path)))
        return info

    def _place(self, made: str, path: str) -> None:
        """Give the directory of an asset its place, or that of its files: it was deleted then."""
        fs.make_directories(os.path.dirname(path))
        if os.path.isdir(made) and fs.move_directory(made, path):
            return
        files = os.path.join(path, "files")
        if os.path.lexists(files) or not fs.move_directory(os.path.join(made, "files"), files):
            raise Conflict(f"{from_system(path)} was made meanwhile", hint=_AGAIN)
        fs.place(os.path.join(made, ASSET), os.path.join(path, ASSET))

    def _sum(self, target: Target, files: Iterable[tuple[str, str]]) -> None:
        top = f"classes/{target.class_name}/{target.number}/files/"
        self.sums += [sum_line(digest, top + path) for digest, path in files]

    def _described(
        self,
        target: Target,
        record: AssetRecord,
        notes: Sequence[NoteRecord],
        taken: Taken | None = None,
    ) -> dict[str, Any]:
        """Return what the JSON of an asset says before its files."""
        try:
            found = taken.asset if taken else self._assets([(target.class_name, target.asset)])[0]
        except NotFound:  # a collector needs no record of a deleted asset
            if record.status != "deleted":
                raise
            fields: dict[str, Any] = {
                "class": target.class_name,
                "number": target.number,
                "id": target.asset.hex(),
                "status": record.status,
                "status_reason": record.reason,
            }
        else:
            fields = asset_fields(Describer(self.view).info(target.asset, found))
            del fields["size"]
            for ref in fields["refs"]:  # what may change while this asset does not
                del ref["aliases"], ref["status"]
            environment = environment_of(found.extra)
            fields |= {} if environment is None else {"environment": environment}
        return {"asset": fields, "notes": self._note_list(notes)}

    def _assets(self, wanted: Sequence[tuple[str, bytes]]) -> list[Asset]:
        found = self.remote.assets(self.view, wanted)
        return [found[asset] for _, asset in wanted]

    # Notes

    def _notes(self, name: str, asset: bytes | None) -> tuple[NoteRecord, ...]:
        return self.remote.log.notes.at(self.view).of(name, asset)

    def _note_list(self, notes: Sequence[NoteRecord]) -> list[dict[str, Any]]:
        describer = Describer(self.view)
        found = [note_fields(describer.note(record)) for record in notes]
        for record, fields in zip(notes, found, strict=True):
            if record.note.file is not None:
                fields["file"]["path"] = _place_of(record, record.note.file)
        return found

    def _write_notes(self, directory: str, notes: Sequence[NoteRecord]) -> None:
        """Write the files that notes came with and that are not there yet."""
        for record in notes:
            file = record.note.file
            if file is None:
                continue
            path = os.path.join(directory, *to_system(_place_of(record, file)).split("/"))
            if not os.path.lexists(path):
                objects = self.remote.objects_in(
                    self.view, self.view.root.current(record.note.needs)
                )
                self.layout.write(path, Sources(objects).stream(file.id, Kind.DATA))

    # Classes

    def _write_class(self, state: ClassView, since: int, touched: Touched) -> None:
        name = state.name
        notes = self._notes(name, None)
        self._write_notes(self.layout.of_class(name), notes)
        said = {
            "class": name,
            "assets": state.count,
            "live": state.live,
            "description": Describer(self.view).noted(notes).message,
            "notes": self._note_list(notes),
        }
        self.layout.write(self.layout.of_class(name, "class.json"), text_of(said).encode())
        self.layout.write(
            self.layout.of_class(name, "aliases.json"), text_of(self._aliases(state)).encode()
        )
        path = self.layout.of_class(name, HISTORY)
        old = (line for line in self.layout.lines(path) if _entry_of(line) <= since)
        self.layout.write(path, chain(old, touched.lines))

    def _aliases(self, state: ClassView) -> dict[str, Any]:
        describer = Describer(self.view)
        moves = state.last_moves()
        state.load(move.asset for move in moves.values() if move.asset)
        found = {}
        for alias, move in moves.items():
            each = describer.move(state.name, alias, move)
            found[alias] = {
                "asset": each.asset,
                "number": each.number,
                "moved_by": each.moved_by,
                "moved_at": time_text(each.moved_at),
            }
        return found


def _place_of(record: NoteRecord, file: NoteFile) -> str:
    """Return the place of a note's file, beside the asset's files or in its class."""
    return f"notes/{record.entry}-{record.place}/{file.name}"


def _entry_of(line: bytes) -> int:
    """Return the entry of a line of a history; 0 of one that somebody else has written."""
    try:
        return int(json.loads(line)["entry"])
    except (ValueError, KeyError, TypeError):
        return 0
