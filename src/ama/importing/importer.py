"""Imports: sources are read, in the order of their time, and become assets, a window at a time.

What was imported from where is noted of each asset, by the entry that publishes it. So a second run
reads only what is new or changed, and one that was stopped anywhere goes on.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from ama.errors import (
    AmaError,
    Conflict,
    Hint,
    IntegrityError,
    InvalidInput,
    NotFound,
    shown,
)
from ama.format.objects import RefLink
from ama.format.packindex import PackIndex
from ama.format.recorded import HASH, MARK, SOURCE
from ama.importing.incoming import Link, Origin, Source
from ama.importing.pieces import Piece, PieceRead, Read, is_known, read_piece
from ama.importing.rules import in_order
from ama.importing.workers import read_elsewhere
from ama.operations.session import now
from ama.results import ImportedAsset, ImportResult, NotImported
from ama.store import Store
from ama.stores.creation import Unmade
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.system.parallel import one_ahead
from ama.system.progress import NO_PROGRESS, Progress
from ama.transfer.ahead import Sent
from ama.transfer.notes import require_notes
from ama.transfer.publish_many import Item, Parent, publish_many

if TYPE_CHECKING:
    from concurrent.futures import Executor


PIECE = 256 * 1024 * 1024
"""The bytes of sources after which an entry publishes what they became."""

PIECE_SOURCES = 400
"""The most sources of an entry."""

ELSEWHERE = 64 * 1024 * 1024
"""The bytes of sources that a worker reads at a time."""

AHEAD = 16
"""The most pieces that workers have or that wait for one."""


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
    made: Counter[str] = field(default_factory=Counter)
    """How many assets of each class were made."""
    absent: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Of how many of these the source does not say what rules asked for, by class and field."""

    def never_found(self) -> Iterator[tuple[str, str]]:
        """Yield the classes and fields that were asked for, and that no source says."""
        for (name, asked), count in self.absent.items():
            if count == self.made[name]:
                yield name, asked


def import_from(
    store: Store,
    sources: Iterable[Source],
    choice: Choice,
    progress: Progress = NO_PROGRESS,
    executor: Executor | None = None,
) -> ImportResult:
    """Import sources.

    Args:
        store: The store.
        sources: The sources.
        choice: How.
        progress: The progress of the bytes of the sources.
        executor: What reads the sources; by default they are read here.

    Raises:
        InvalidInput: The store takes no notes; or, if it is strict, a source can't be imported.
        StorageError: The store can't be reached.
    """
    return _Import(store, choice, progress, executor).run(sources)


class _Overtaken(Exception):
    """Another import has published what a source became."""


class _Gone(Exception):
    """The store no longer has content of sources that was counted on."""

    def __init__(self, origins: Collection[Origin]) -> None:
        super().__init__(origins)
        self.origins = origins


class _Import:
    def __init__(
        self, store: Store, choice: Choice, progress: Progress, executor: Executor | None
    ) -> None:
        self._store = store
        self._remote = store.remote
        self._choice = choice
        self._progress = progress
        self._executor = executor
        self._author = store.settings.author()
        self._report = _Report()
        self._known: dict[Link, _Known] = {}
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
            with closing(self._read(left)) as done:
                for piece, read in done:
                    self._take(piece, read)
        finally:
            self._progress.finish()
        report, settings = self._report, self._store.settings
        return ImportResult(
            tuple(report.assets),
            tuple(report.unchanged),
            tuple(report.failed),
            self._remote.url,
            report.bytes_read,
            report.bytes_sent,
            self._choice.dry_run,
            isinstance(self._remote.storage, Unmade) and self._remote.storage.made,
            settings.default_remote is None and self._remote.url == settings.default_store,
            tuple(report.never_found()),
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
                self._known[Link(name, str(values[SOURCE]))] = known

    def _changed(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Yield the sources that are new or were written again."""
        marks = {(url, known.mark) for (_, url), known in self._known.items()}
        for source in sources:
            origin = source.origin
            if origin.mark and (origin.url, origin.mark) in marks and not self._choice.again:
                self._report.unchanged.append(origin.url)
            else:
                yield source

    # Reading

    def _read(self, left: Sequence[Source]) -> Generator[tuple[Piece, PieceRead], None, None]:
        if self._executor is None:
            yield from self._read_here(left)
            return
        if isinstance(self._remote.storage, Unmade) and not self._choice.dry_run:
            self._remote.storage.make()  # its workers only find what is there
        for piece, done in read_elsewhere(self._executor, self._pieces(left, ELSEWHERE), AHEAD):
            self._progress.advance(piece.size)
            yield piece, done

    def _read_here(self, left: Sequence[Source]) -> Generator[tuple[Piece, PieceRead], None, None]:
        # What is read now rests on what was sent before it and is about to be published.
        near: deque[Sequence[PackIndex]] = deque(maxlen=2)

        def read(piece: Piece) -> tuple[Piece, PieceRead]:
            flat = [index for indexes in near for index in indexes]
            done = read_piece(piece, self._sent_to(), flat, self._progress.advance)
            near.append(done.sent.indexes)
            return piece, done

        return one_ahead(read, self._pieces(left, PIECE))

    def _sent_to(self) -> Remote | None:
        return None if self._choice.dry_run else self._remote

    def _pieces(self, sources: Iterable[Source], most: int) -> Iterator[Piece]:
        some: list[Source] = []
        size = 0
        for source in sources:
            if some and (size + source.origin.size > most or len(some) >= PIECE_SOURCES):
                yield self._piece(some)
                some, size = [], 0
            some.append(source)
            size += source.origin.size
        if some:
            yield self._piece(some)

    def _piece(self, sources: Sequence[Source]) -> Piece:
        settings = self._store.settings
        return Piece(
            tuple(sources),
            None if self._choice.dry_run else self._remote.url,
            self._author,
            settings.portable_names,
            self._choice.force,
            self._hashes(source.origin.url for source in sources),
        )

    def _hashes(self, urls: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return the hashes of what was imported before, by URL and class."""
        if self._choice.again:
            return {}
        wanted = {url: {} for url in urls}  # type: dict[str, dict[str, str]]
        for (name, url), known in self._known.items():
            if url in wanted:
                wanted[url][name] = known.digest
        return wanted

    # Publishing

    def _take(self, piece: Piece, done: PieceRead, *, last: bool = False) -> None:
        """Publish what the sources of a piece became.

        If the store has lost what was counted on, to a gc, they are read again, once.
        """
        self._report.bytes_read += sum(read.origin.size for read in done.reads)
        self._report.bytes_sent += done.sent.size
        known = self._hashes(read.origin.url for read in done.reads)
        ready = []
        for read in done.reads:
            if read.error is not None:
                self._fail(read.origin, read.error)
            elif is_known(read, known):
                self._report.unchanged.append(read.origin.url)
            else:
                ready.append(read)
                self._count_absent(read)
        ready.sort(key=lambda read: min(item.created_at for item in read.items))
        if self._choice.dry_run:
            for read in ready:
                self._report.assets += [_planned(read, item) for item in read.items]
        elif ready:
            try:
                self._publish(ready, done.sent)
            except _Gone as error:
                if last:
                    raise error.__cause__ from None  # type: ignore[misc]
                some = tuple(each for each in piece.sources if each.origin in error.origins)
                self._take(
                    rest := replace(piece, sources=some), read_piece(rest, self._remote), last=True
                )

    def _count_absent(self, read: Read) -> None:
        for item, absent in zip(read.items, read.absent, strict=True):
            self._report.made[item.class_name] += 1
            self._report.absent.update((item.class_name, asked) for asked in absent)

    def _publish(self, ready: Sequence[Read], sent: Sent) -> None:
        """Publish what sources became by one entry; if that is refused, by halves."""
        try:
            self._publish_together(ready, sent)
        except _Overtaken:
            known = self._hashes(read.origin.url for read in ready)
            self._report.unchanged += [r.origin.url for r in ready if is_known(r, known)]
            left = [read for read in ready if not is_known(read, known)]
            if left:
                self._publish(left, sent)
        except IntegrityError as error:
            raise _Gone([read.origin for read in ready]) from error
        except (InvalidInput, Conflict, NotFound) as error:
            if len(ready) == 1:
                self._fail(ready[0].origin, error)
                return
            half = len(ready) // 2
            try:
                self._publish(ready[:half], sent)
            except _Gone as gone:
                rest = [read.origin for read in ready[half:]]
                raise _Gone([*gone.origins, *rest]) from gone.__cause__
            self._publish(ready[half:], sent)

    def _publish_together(self, ready: Sequence[Read], sent: Sent) -> None:
        view = self._remote.view()
        self._learn(view)
        before = dict(self._known)
        items: list[Item] = []
        places: dict[Link, int] = {}
        ready = list(_linked(ready))
        for each in ready:
            first, url = len(items), each.origin.url
            for item, links in zip(each.items, each.links, strict=True):
                refs = {first + at: label for at, label in item.refs.items()}
                item = self._joined(view, replace(item, refs=refs), places, *links)
                items.append(self._placed(view, url, item))
            places |= {Link(item.class_name, url): first + at for at, item in enumerate(each.items)}

        def check(latest: LogView) -> None:
            if latest.number > view.number:
                self._learn(latest)
                if any(self._known.get(key) != before.get(key) for key in _keys(ready)):
                    raise _Overtaken

        done = publish_many(
            self._remote, view, items, sent, author=self._author, now=now, check=check
        )
        self._report.bytes_sent += done.bytes_sent
        self._learn(done.view)
        moved = {(change.class_name, change.alias) for change in done.aliases}
        assets = iter(zip(done.assets, items, strict=True))
        for each in ready:
            url = each.origin.url
            some = False
            for _ in each.items:
                asset, item = next(assets)
                known = before.get(Link(item.class_name, url))
                named = any((item.class_name, alias) in moved for alias in item.aliases)
                if known is not None and known.asset == asset and not named:
                    continue
                some = True
                number = done.view.class_state(item.class_name).number(asset)
                found = _planned(each, item)
                self._report.assets.append(replace(found, number=number, id=asset.hex()))
            if not some:
                self._report.unchanged.append(url)

    def _joined(
        self,
        view: LogView,
        item: Item,
        places: Mapping[Link, int],
        links: Mapping[Link, str],
        follows: Link | None,
    ) -> Item:
        """Return an item with refs to what other sources became, and the version before it, if any.

        Raises:
            InvalidInput: A source was not imported.
        """
        for link in links:
            if link not in places and link not in self._known:
                raise InvalidInput(f"what it is made from was not imported: {shown(link.url)}")
        refs = {places[link]: label for link, label in links.items() if link in places}
        held = [
            RefLink(self._known[link].asset, link.class_name, label)
            for link, label in links.items()
            if link not in places
        ]
        item = replace(item, refs={**item.refs, **refs}, links=tuple(held))
        if follows is None or follows not in {*places, *self._known}:
            return item
        if follows in places:
            return replace(item, follows=places[follows])
        before = self._known[follows].asset
        made = self._remote.assets(view, [(item.class_name, before)])
        return replace(item, parent=Parent(before, made[before]))

    def _placed(self, view: LogView, url: str, item: Item) -> Item:
        """Return an item with its parent, and without an alias that belongs to a later asset.

        Raises:
            InvalidInput: The alias is on an asset that was not imported.
        """
        state = view.class_state(item.class_name)
        known = self._known.get(Link(item.class_name, url))
        targets = {alias: state.target(alias) for alias in item.aliases}
        wanted = {known.asset if known else None, *targets.values()} - {None}
        made = self._remote.assets(view, [(item.class_name, each) for each in wanted if each])
        for alias, target in targets.items():
            if target is None:
                continue
            if target not in self._imported.get(item.class_name, ()):
                name = f"{item.class_name}@{alias}"
                raise InvalidInput(
                    f"{shown(name)} is on an asset that was not imported",
                    hint=Hint("import-another-alias", alias=name),
                )
            newer = made[target].created_at > item.created_at
            if newer and target != (known and known.asset) and not item.free:
                left = tuple(each for each in item.aliases if each != alias)
                item = replace(item, aliases=left)
        if known is None:
            return item
        noted = {} if known.mark == item.noted[MARK] else item.noted
        return replace(item, parent=Parent(known.asset, made[known.asset]), noted=noted)

    def _fail(self, origin: Origin, error: AmaError) -> None:
        if self._choice.strict:
            message = f"{shown(origin.url)} was not imported: {error.message}"
            raise type(error)(message, hint=error.hints) from error
        self._report.failed.append(NotImported(origin.url, error.message, error.hints))


def _linked(ready: Sequence[Read]) -> Iterator[Read]:
    """Yield sources, each after those that it has links to."""
    places = {key: at for at, each in enumerate(ready) for key in _keys([each])}
    before = [
        {places[link] for link in chain(*of_all) if link in places} - {at}
        for at, each in enumerate(ready)
        for of_all in [[(*links, *([follows] if follows else [])) for links, follows in each.links]]
    ]
    return (ready[at] for at in in_order(before))


def _keys(ready: Iterable[Read]) -> Iterator[Link]:
    """Yield the classes of what sources become, each with the source's URL."""
    for each in ready:
        yield from (Link(item.class_name, each.origin.url) for item in each.items)


def _planned(read: Read, item: Item) -> ImportedAsset:
    entries = item.entries
    return ImportedAsset(
        read.origin.url,
        item.class_name,
        None,
        None,
        item.aliases[0] if item.aliases else None,
        datetime.fromtimestamp(item.created_at / 1e6, UTC),
        item.author,
        len(entries),
        entries.size,
    )


def _order(origin: Origin) -> tuple[float, str]:
    # What has no time is as new as can be.
    modified = origin.modified
    return (float("inf") if modified is None else modified.timestamp(), origin.url)
