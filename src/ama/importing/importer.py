"""Imports: sources are read, in the order of their time, and become assets, a window at a time.

What was imported from where is noted of each asset, by the entry that publishes it. So a second run
reads only what is new or changed, and one that was stopped anywhere goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ama.errors import AmaError, Conflict, Hint, InvalidInput, StorageError, shown
from ama.format.names import check_alias
from ama.format.objects import check_metadata, check_text
from ama.format.recorded import HASH, MARK, SIZE, SOURCE
from ama.importing.incoming import Contents, Incoming, Origin, Source
from ama.importing.rules import in_order
from ama.importing.sources import scratch_directory
from ama.operations.session import now
from ama.results import ImportedAsset, ImportResult, NotImported
from ama.settings import Settings
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.system import fs
from ama.system.parallel import in_chunks
from ama.system.progress import NO_PROGRESS, Progress
from ama.transfer.notes import require_notes
from ama.transfer.publish_many import Item, Parent, publish_many
from ama.values import Scalar
from ama.worktree.given import GivenFiles, of_contents

WINDOW = 64 * 1024 * 1024
"""The bytes of sources that are read before an entry publishes what they became."""

WINDOW_SOURCES = 256
"""The most sources of a window."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How to import.

    Attributes:
        dry_run: Whether to publish nothing.
        strict: Whether the first source that can't be imported ends it.
        again: Whether to read also what was imported before and has not changed.
        force: Whether to take files that look like secrets.
    """

    dry_run: bool = False
    strict: bool = False
    again: bool = False
    force: bool = False


class _Known(NamedTuple):
    """What is noted of the newest asset of a class from a source."""

    asset: bytes
    mark: str
    digest: str


@dataclass(slots=True)
class _Report:
    """What an import has done by now."""

    assets: list[ImportedAsset] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: list[NotImported] = field(default_factory=list)
    bytes_read: int = 0
    bytes_sent: int = 0


class _Read(NamedTuple):
    """A source that was read: its assets as items, or why it has none."""

    source: Source
    items: tuple[Item, ...]
    digest: str = ""
    error: AmaError | None = None


def import_from(
    remote: Remote,
    settings: Settings,
    sources: Iterable[Source],
    choice: Choice,
    progress: Progress = NO_PROGRESS,
) -> ImportResult:
    """Import sources.

    Args:
        remote: The store.
        settings: The settings.
        sources: The sources.
        choice: How.
        progress: The progress of the bytes of the sources.

    Raises:
        InvalidInput: The store takes no notes; or, if it is strict, a source can't be imported.
        StorageError: The store can't be reached.
    """
    return _Import(remote, settings, choice, progress).run(sources)


class _Overtaken(Exception):
    """Another import has published what a source became."""


class _Import:
    def __init__(
        self, remote: Remote, settings: Settings, choice: Choice, progress: Progress
    ) -> None:
        self._remote = remote
        self._settings = settings
        self._choice = choice
        self._progress = progress
        self._author = settings.author()
        self._report = _Report()
        self._known: dict[tuple[str, str], _Known] = {}
        self._imported: dict[str, set[bytes]] = {}
        self._counts: dict[str, int] = {}

    def run(self, sources: Iterable[Source]) -> ImportResult:
        view = self._remote.view()
        view.require_whole()
        if not self._choice.dry_run:
            require_notes(view, self._remote.url)
        self._learn(view)
        left = sorted(self._changed(sources), key=lambda source: _order(source.origin))
        self._progress.start("Importing", sum(source.origin.size for source in left))
        try:
            for window in _windows(left):
                self._window(window)
        finally:
            self._progress.finish()
        report = self._report
        return ImportResult(
            tuple(report.assets),
            tuple(report.unchanged),
            tuple(report.failed),
            self._remote.url,
            report.bytes_read,
            report.bytes_sent,
            self._choice.dry_run,
        )

    # What is known

    def _learn(self, view: LogView) -> None:
        """Take in what was noted of imports since the last time."""
        notes = self._remote.log.notes.at(view)
        for name in notes.classes:
            for record in notes.all_of(name, after=self._counts.get(name, 0)):
                self._counts[name] = self._counts.get(name, 0) + 1
                values, asset = record.note.metadata, record.note.asset
                if asset is None or SOURCE not in values:
                    continue
                self._imported.setdefault(name, set()).add(asset)
                if values[SOURCE] is None:
                    self._known = {k: v for k, v in self._known.items() if v.asset != asset}
                    continue
                known = _Known(asset, str(values.get(MARK, "")), str(values.get(HASH, "")))
                self._known[name, str(values[SOURCE])] = known

    def _changed(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Yield the sources that are new or were written again."""
        marks = {(url, known.mark) for (_, url), known in self._known.items()}
        for source in sources:
            origin = source.origin
            if origin.mark and (origin.url, origin.mark) in marks and not self._choice.again:
                self._report.unchanged.append(origin.url)
            else:
                yield source

    # A window

    def _window(self, window: Sequence[Source]) -> None:
        with scratch_directory() as scratch:

            def read(some: list[tuple[int, Source]]) -> list[_Read]:
                done = []
                for number, source in some:
                    place = scratch / str(number)
                    fs.make_directories(place)
                    done.append(self._read(source, place))
                return done

            ready: list[_Read] = []
            held = 0
            for some in in_chunks(read, list(enumerate(window)), chunk=1):
                for each in some:
                    self._progress.advance(each.source.origin.size)
                    self._report.bytes_read += each.source.origin.size
                    if each.error is not None:
                        self._fail(each.source.origin, each.error)
                    elif self._is_new(each):
                        ready.append(each)
                        held += sum(map(_held, each.items))
                    else:
                        self._report.unchanged.append(each.source.origin.url)
                if held > WINDOW:  # archives may expand to much more than they are
                    self._finish(ready)
                    ready, held = [], 0
            self._finish(ready)

    def _finish(self, ready: list[_Read]) -> None:
        ready.sort(key=lambda each: min(item.created_at for item in each.items))
        if self._choice.dry_run:
            for each in ready:
                self._report.assets += [_planned(each, item) for item in each.items]
        elif ready:
            self._publish(ready)

    def _read(self, source: Source, scratch: Path) -> _Read:
        try:
            contents = source.read(scratch)
            return _Read(source, self._items(source.origin, contents), _hex(contents.digest))
        except AmaError as error:
            if isinstance(error, StorageError) and error.retryable:
                raise  # the others would fail as well, and each after a long wait
            return _Read(source, (), error=error)

    def _items(self, origin: Origin, contents: Contents) -> tuple[Item, ...]:
        """Return the assets of a source, checked, each after those that it is made from."""
        order = list(in_order([asset.refs.keys() for asset in contents.assets]))
        places = {at: place for place, at in enumerate(order)}
        noted: dict[str, Scalar] = {SOURCE: origin.url, SIZE: origin.size, MARK: origin.mark}
        if contents.digest is not None:
            noted[HASH] = contents.digest.hex()
        return tuple(
            self._item(
                origin,
                contents.assets[at],
                {places[ref]: label for ref, label in contents.assets[at].refs.items()},
                noted,
            )
            for at in order
        )

    def _item(
        self,
        origin: Origin,
        asset: Incoming,
        refs: Mapping[int, str],
        noted: Mapping[str, Scalar],
    ) -> Item:
        made = asset.created_at or origin.modified
        if asset.alias is not None:
            check_alias(asset.alias)
        check_text("message", asset.message)
        for key, value in asset.metadata.items():
            check_metadata(key, value)
        contents = {path: (each.kind, each.data) for path, each in asset.files.items()}
        files = of_contents(
            contents, portable=self._settings.portable_names, force=self._choice.force
        )
        return Item(
            asset.class_name,
            files,
            asset.author or self._author,
            now() if made is None else _micros(made),
            asset.created_at is not None,
            asset.message or origin.url.rpartition("/")[2],
            asset.metadata,
            () if asset.alias is None else (asset.alias,),
            refs,
            noted=noted,
        )

    def _is_new(self, read: _Read) -> bool:
        """Whether a source differs from what was imported of it, though it was written again."""
        if self._choice.again or not read.digest:
            return True
        url = read.source.origin.url
        before = (self._known.get((item.class_name, url)) for item in read.items)
        return not all(known is not None and known.digest == read.digest for known in before)

    def _publish(self, ready: Sequence[_Read]) -> None:
        """Publish what sources became by one entry; if that is refused, each by itself."""
        try:
            self._publish_together(ready)
        except _Overtaken:
            left = [each for each in ready if self._is_new(each)]
            done = [each.source.origin.url for each in ready if not self._is_new(each)]
            self._report.unchanged += done
            if left:
                self._publish(left)
        except (InvalidInput, Conflict) as error:
            if len(ready) == 1:
                self._fail(ready[0].source.origin, error)
                return
            for each in ready:
                self._publish([each])

    def _publish_together(self, ready: Sequence[_Read]) -> None:
        view = self._remote.view()
        self._learn(view)
        before = dict(self._known)
        items: list[Item] = []
        for each in ready:
            first = len(items)
            for item in each.items:
                refs = {first + at: label for at, label in item.refs.items()}
                items.append(self._placed(view, each.source.origin.url, replace(item, refs=refs)))

        def check(latest: LogView) -> None:
            if latest.number > view.number:
                self._learn(latest)
                if any(self._known.get(key) != before.get(key) for key in _keys(ready)):
                    raise _Overtaken

        check(self._remote.view())
        done = publish_many(
            self._remote,
            items,
            author=self._author,
            now=now,
            progress=NO_PROGRESS,
            check=check,
        )
        self._report.bytes_sent += done.bytes_sent
        self._learn(done.view)
        moved = {(change.class_name, change.alias) for change in done.aliases}
        assets = iter(zip(done.assets, items, strict=True))
        for each in ready:
            url = each.source.origin.url
            some = False
            for _ in each.items:
                asset, item = next(assets)
                known = before.get((item.class_name, url))
                named = any((item.class_name, alias) in moved for alias in item.aliases)
                if known is not None and known.asset == asset and not named:
                    continue
                some = True
                number = done.view.class_state(item.class_name).number(asset)
                found = _planned(each, item)
                self._report.assets.append(replace(found, number=number, id=asset.hex()))
            if not some:
                self._report.unchanged.append(url)

    def _placed(self, view: LogView, url: str, item: Item) -> Item:
        """Return an item with its parent, and without an alias that belongs to a later asset.

        Raises:
            InvalidInput: The alias is on an asset that was not imported.
        """
        state = view.class_state(item.class_name)
        known = self._known.get((item.class_name, url))
        target = None if not item.aliases else state.target(item.aliases[0])
        wanted = {asset for asset in (known.asset if known else None, target) if asset is not None}
        made = self._remote.assets(view, [(item.class_name, asset) for asset in wanted])
        if target is not None:
            if target not in self._imported.get(item.class_name, ()):
                name = f"{item.class_name}@{item.aliases[0]}"
                raise InvalidInput(
                    f"{shown(name)} is on an asset that was not imported",
                    hint=Hint("import-another-alias", alias=name),
                )
            if made[target].created_at > item.created_at and target != (known and known.asset):
                item = replace(item, aliases=())
        if known is None:
            return item
        noted = {} if known.mark == item.noted[MARK] else item.noted
        return replace(item, parent=Parent(known.asset, made[known.asset]), noted=noted)

    def _fail(self, origin: Origin, error: AmaError) -> None:
        if self._choice.strict:
            message = f"{shown(origin.url)} was not imported: {error.message}"
            raise type(error)(message, hint=error.hints) from error
        self._report.failed.append(NotImported(origin.url, error.message, error.hints))


def _keys(ready: Iterable[_Read]) -> Iterator[tuple[str, str]]:
    """Yield the classes of what sources become, each with the source's URL."""
    for each in ready:
        yield from ((item.class_name, each.source.origin.url) for item in each.items)


def _planned(read: _Read, item: Item) -> ImportedAsset:
    files: GivenFiles = item.files
    return ImportedAsset(
        read.source.origin.url,
        item.class_name,
        None,
        None,
        item.aliases[0] if item.aliases else None,
        datetime.fromtimestamp(item.created_at / 1e6, UTC),
        item.author,
        len(files.entries),
        files.entries.size,
    )


def _order(origin: Origin) -> tuple[float, str]:
    # What has no time is as new as can be.
    modified = origin.modified
    return (float("inf") if modified is None else modified.timestamp(), origin.url)


def _windows(sources: Iterable[Source]) -> Iterator[list[Source]]:
    """Yield sources of which few bytes are read before an entry is made."""
    window: list[Source] = []
    size = 0
    for source in sources:
        if window and (size + source.origin.size > WINDOW or len(window) >= WINDOW_SOURCES):
            yield window
            window, size = [], 0
        window.append(source)
        size += source.origin.size
    if window:
        yield window


def _micros(moment: datetime) -> int:
    return max(0, round(moment.timestamp() * 1_000_000))


def _held(item: Item) -> int:
    return sum(map(len, item.files.held.values()))


def _hex(digest: bytes | None) -> str:
    return "" if digest is None else digest.hex()
