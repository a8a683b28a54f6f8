"""Mirrors: a store with its numbers, aliases, history and notes at another place, byte for byte.

A mirror has the same log, so everything that hashes prove of the store holds of its mirror. It gets
packs first, then the indexes over them, then the entries, as by a publisher: what is visible there
can be read there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

from ama.errors import AlreadyExists, Conflict, Hint, InvalidInput, StorageError, shown
from ama.format.entries import Entry, Gc, Publish, Purged, encode_entry, entry_hash, entry_name
from ama.results import MirrorResult
from ama.settings import Settings
from ama.storage.check import require_races_with_one_winner
from ama.storage.protocol import Range, Storage
from ama.stores.creation import check_place
from ama.stores.log_errors import check_features
from ama.stores.log_files import HINT, MIRROR, encode_hint, encode_mirror, mirror_of
from ama.stores.log_view import LogView
from ama.stores.log_writer import OWN
from ama.stores.object_reader import index_name, pack_name
from ama.stores.remote import FORMAT, Remote
from ama.system.encoding import to_system
from ama.system.parallel import in_chunks
from ama.system.progress import Progress
from ama.transfer.mirror_content import Content

TRIES = 10
"""So often the log is read again because content has gone meanwhile."""

AT_ONCE = 256
"""The entries, or names, that are asked for at once."""


@dataclass(frozen=True, slots=True)
class Order:
    """A request to mirror a store.

    Attributes:
        source: The store.
        target: The storage of the mirror.
        settings: The settings.
        dry_run: Whether to write nothing.
        force: Whether a store that is there, and was published to, becomes a mirror.
        check: Whether to read back all that the mirror has, and put back what is lost or damaged.
    """

    source: Remote
    target: Storage
    settings: Settings
    dry_run: bool = False
    force: bool = False
    check: bool = False


def mirror(order: Order, progress: Progress) -> MirrorResult:
    """Bring a mirror to where the store is.

    Raises:
        Conflict: The mirror has entries that the store doesn't have.
        AlreadyExists: There is another store, or one that is no mirror; or other files.
        IntegrityError: The log, or content that is needed, is lost or damaged in the store. The
            mirror stays as it is.
        FormatError: One of the two needs a newer version of ama.
        StorageError: One of the two can't be reached, or the mirror can't be written to.
    """
    work = _Work.begin(order)
    for _ in range(TRIES):
        result = work.follow(progress)
        if result is not None:
            return result
    raise Conflict(
        f"{order.source.url} changes faster than it can be mirrored",
        hint="run the same command again",
    )


@dataclass(slots=True)
class _Plan:
    """What some entries bring.

    Attributes:
        entries: How many they are.
        assets: How many assets they publish.
        indexes: The indexes that they add, in order.
    """

    entries: int = 0
    assets: int = 0
    indexes: dict[bytes, None] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        self.entries += 1
        for event in entry.events:
            if isinstance(event, Publish):
                self.assets += 1
                self.indexes.update(dict.fromkeys(event.indexes))
            elif isinstance(event, Gc):
                self.indexes.update(dict.fromkeys(i for _, new in event.replaced for i in new))


@dataclass(slots=True)
class _Work:
    """A mirror that is brought to where its store is.

    Attributes:
        order: The request.
        mirror: The mirror as a store; None as long as nobody can see it.
        end: The number and the hash of its last entry.
        mark: What marks it as a mirror, as it is there.
        settled: Whether what stands beside its log is there too.
    """

    order: Order
    mirror: Remote | None
    end: tuple[int, bytes]
    mark: bytes | None
    settled: bool = False

    @classmethod
    def begin(cls, order: Order) -> _Work:
        """Look at what is there.

        Raises:
            AlreadyExists, Conflict: See `mirror`.
        """
        source, target = order.source, order.target
        _require_elsewhere(source.url, target.url)
        genesis = 0, source.log.empty.entry_hash
        form, mark = target.read([Range(FORMAT), Range(MIRROR)])
        if form is None:
            if mark is None:
                try:
                    _require_free(target, order.settings)
                except (InvalidInput, AlreadyExists):
                    (mark,) = target.read([Range(MIRROR)])
                    if mark is None:  # else another run has just begun
                        raise
            return cls(order, None, genesis, mark)
        if form != source.format_bytes:
            raise AlreadyExists(
                f"{shown(target.url)} is another store than {shown(source.url)}",
                hint="choose another place",
            )
        mirror = Remote.open(target, order.settings.cache_dir)
        view = mirror.view(only_reading=True)
        view.require_whole()
        if mark is None and not order.force:
            raise AlreadyExists(
                f"{shown(target.url)} is a copy of {shown(source.url)} that may be published to,"
                " and no mirror",
                hint=Hint("make-it-a-mirror"),
            )
        return cls(order, mirror, (view.number, view.entry_hash), mark)

    def follow(self, progress: Progress) -> MirrorResult | None:
        """Bring over what is new; None if the store has changed meanwhile: look again."""
        order, source = self.order, self.order.source
        view = source.view(only_reading=True)
        if self.mirror is not None and (view.number, view.entry_hash) == self.end:
            if not self.settled:
                self._settle()
            return self._result(_Plan(), self._checked(view, progress))
        view = source.view()
        view.require_whole()
        check_features(view.root.write_features, source.url, "mirror")
        plan = _Plan()
        for entry, _ in self._entries(view):
            plan.add(entry)
        content = Content(source, order.target, view, progress, dry_run=order.dry_run)
        is_new = self.mirror is None
        if not order.dry_run:
            self._mark()
        if not content.copy(plan.indexes, passing=not is_new):
            if source.view().number != view.number:
                return None
            content.settle_lost()
        if not order.dry_run:
            self._publish(view)
        if order.check and not is_new:
            content.check()
        return self._result(plan, content, created=is_new)

    def _checked(self, view: LogView, progress: Progress) -> Content | None:
        if not self.order.check:
            return None
        content = Content(self.order.source, self.order.target, view, progress, dry_run=False)
        content.check()
        return content

    # The log

    def _entries(self, view: LogView) -> Iterator[tuple[Entry, bytes]]:
        """Yield the entries that the mirror lacks, with their bytes, and check their chain.

        Raises:
            Conflict: They don't follow the mirror's last one.
        """
        number, digest = self.end
        base = view.base.number
        if number > view.number:
            raise self._diverged()
        first = self.order.source.log.entries(number + 1, base + 1) if number < base else ()
        for entry, data in first:
            if entry.previous != digest:
                raise self._diverged()
            digest = entry_hash(data)
            yield entry, data
        for entry, found in view.tail[max(number - base, 0) :]:
            if entry.previous != digest:
                raise self._diverged()
            digest = found
            yield entry, encode_entry(entry)
        if digest != view.entry_hash:
            raise self._diverged()

    def _diverged(self) -> Conflict:
        number, source, target = self.end[0], self.order.source.url, self.order.target.url
        return Conflict(
            f"{shown(target)} has diverged: its log up to entry {number} is not the one of"
            f" {shown(source)}",
            hint=Hint("mirror-diverged", mirror=target),
        )

    def _publish(self, view: LogView) -> None:
        """Write the entries; the mirror, if it is new, is seen once all are there."""
        target = self.order.target
        if self.mirror is None:
            self._write_unseen(view)
            target.replace(HINT, encode_hint(view.number, view.entry_hash))
            with suppress(AlreadyExists):
                target.create(FORMAT, self.order.source.format_bytes)
            if target.read([Range(FORMAT)]) != [self.order.source.format_bytes]:
                raise Conflict(f"somebody else has made the store at {shown(target.url)} meanwhile")
            self.mirror = Remote.open(target, self.order.settings.cache_dir)
        else:
            for entry, data in self._entries(view):
                self._purge(entry)
                if not self.mirror.log.try_append(entry.number, data):
                    raise self._diverged()
            self.mirror.log.write_hint(view.number, view.entry_hash)
        self.end = view.number, view.entry_hash
        self.mirror.log.write_checkpoint(view.number)
        self.settled = True

    def _write_unseen(self, view: LogView) -> None:
        """Write all entries of a mirror that nobody can see yet, many at once."""

        def write(some: list[tuple[Entry, bytes]]) -> None:
            names = [entry_name(entry.number) for entry, _ in some]
            there = self.order.target.read([Range(name) for name in names])
            for name, (_, data), found in zip(names, some, there, strict=True):
                if found is None:
                    with suppress(AlreadyExists):  # another mirror of the same store
                        self.order.target.create(name, data)
                        continue
                    (found,) = self.order.target.read([Range(name)])
                if found != data:
                    raise self._diverged()

        for _ in in_chunks(write, self._entries(view)):
            pass
        beyond = entry_name(view.number + 1)
        if self.order.target.sizes([beyond]) != [None]:
            raise self._diverged()

    def _purge(self, entry: Entry) -> None:
        """Delete what an entry says is deleted, before it says so."""
        target = self.order.target
        for event in entry.events:
            if isinstance(event, Purged):
                names = [*map(pack_name, event.packs), *map(index_name, event.indexes)]
                for at in range(0, len(names), AT_ONCE):
                    some = names[at : at + AT_ONCE]
                    for name, size in zip(some, target.sizes(some), strict=True):
                        if size is not None:
                            target.delete(name)

    # What stands beside the log

    def _mark(self) -> None:
        """Mark the place as a mirror, before anything else is there."""
        url = self.order.source.url
        if self.mark is None and self.mirror is None:
            require_races_with_one_winner(self.order.target)
        if mirror_of(self.mark) != url:
            is_first = self.mark is None
            self.mark = encode_mirror(url)
            self.order.target.replace(MIRROR, self.mark)
            if self.mirror is not None:
                self.mirror.cache.drop(OWN)
                if is_first:
                    self._require_other()

    def _require_other(self) -> None:
        """Refuse the store itself under another name, now that it would be marked as well."""
        if self.order.source.storage.read([Range(MIRROR)]) == [self.mark]:
            self.order.target.delete(MIRROR)
            raise _itself(self.order.source.url)

    def _settle(self) -> None:
        """Write what an interrupted run may not have written."""
        if self.order.dry_run or self.mirror is None:
            return
        self._mark()
        (hint,) = self.order.target.read([Range(HINT)])
        number, digest = self.end
        if number and hint != encode_hint(number, digest):
            self.mirror.log.write_hint(number, digest)
        self.mirror.log.write_checkpoint(number)
        self.settled = True

    def _result(
        self, plan: _Plan, content: Content | None, *, created: bool = False
    ) -> MirrorResult:
        order = self.order
        result = MirrorResult(
            order.source.url,
            order.target.url,
            plan.entries,
            plan.assets,
            target_created=created,
            dry_run=order.dry_run,
        )
        if content is None:
            return result
        return replace(
            result,
            packs=content.packs,
            indexes=content.indexes,
            size=content.size,
            left_out=tuple(sorted(map(pack_name, content.lost))),
        )


def keep_mirrored(
    order: Order, progress: Progress, pause: Callable[[StorageError | None], object]
) -> Iterator[MirrorResult]:
    """Bring a mirror to where its store is, again and again; yield what brought something.

    A poll that finds nothing new takes one round trip.

    Args:
        order: The request.
        progress: The progress of the packs' bytes.
        pause: Waits between two polls; it gets the error of one that failed for the moment.

    Raises:
        Conflict, AlreadyExists, IntegrityError, FormatError: See `mirror`.
        StorageError: One of the two can't be reached, and another try would not help.
    """
    work: _Work | None = None
    while True:
        failed: StorageError | None = None
        try:
            work = work or _Work.begin(order)
            result = work.follow(progress)
            if result is None:
                continue
            if result.entries or result.target_created:
                yield result
        except StorageError as error:
            if not error.retryable:
                raise
            work, failed = None, error  # what it did is not known: look again
        pause(failed)


def _require_elsewhere(source: str, target: str) -> None:
    """Refuse the store itself, and a place within it.

    Raises:
        InvalidInput: It is one.
    """
    store, place = _place(source), _place(target)
    if place == store:
        raise _itself(source)
    if place.startswith(f"{store}/"):
        raise InvalidInput(
            f"{shown(target)} is in the store {shown(source)}, which keeps its own files only",
            hint="choose another place",
        )


def _itself(url: str) -> InvalidInput:
    return InvalidInput(f"{shown(url)} can't be a mirror of itself")


def _place(url: str) -> str:
    """Return a URL without options, or the real path of a directory."""
    if "://" in url:
        return url.partition("?")[0].rstrip("/")
    return os.path.realpath(to_system(url)).replace(os.sep, "/")


def _require_free(target: Storage, settings: Settings) -> None:
    """Refuse a place where something else is.

    Raises:
        InvalidInput: It has other files.
        AlreadyExists: It has the log of a store.
    """
    check_place(target, settings)
    if next(iter(target.list("log/")), None) is not None:
        raise AlreadyExists(
            f"{shown(target.url)} has the log of a store without its {FORMAT}",
            hint="choose another place",
        )
