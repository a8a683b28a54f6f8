"""What pages about a store ask: what there is at a glance, tables of a class, words, totals.

Unlike `Store`, which returns all there is, this returns what fits on a page, and is quick in a
store of ten thousand assets.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache
from heapq import nlargest
from typing import TYPE_CHECKING, TypeVar

from ama.errors import NotFound
from ama.settings import Settings
from ama.storage.protocol import Range
from ama.stores.description import Describer
from ama.stores.remote import FORMAT, Remote, gone
from ama.stores.revisions import class_state
from ama.system.progress import NO_PROGRESS, Progress
from ama.tracking import rules_of

if TYPE_CHECKING:
    from ama.catalog.columns import Columns
    from ama.catalog.database import Catalog, Question
    from ama.catalog.overview import AssetLine, ClassOverview, Contents, FoundValue, Holder
    from ama.catalog.tables import Choice, TablePage
    from ama.catalog.values import Column
    from ama.lineage.graph import Lineage
    from ama.maintenance.fsck_store import LastFsck
    from ama.stores.log_view import LogView
    from ama.values import AliasMove

Answer = TypeVar("Answer")

_MOST_REMEMBERED = 40
"""So many answers that hold until somebody publishes are kept: each may be of 10,000 assets."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What a store holds and what that takes, in bytes.

    `size` is what its live assets' files are together, `distinct` what each different file is
    once, `stored` what the packs take: cut into chunks that are kept once, and compressed.
    """

    assets: int
    classes: int
    files: int
    size: int
    distinct: int
    stored: int
    objects: int
    packs: int
    indexes: int
    entries: int

    @property
    def saved_by_file(self) -> int:
        """What is saved by keeping equal files once."""
        return max(0, self.size - self.distinct)

    @property
    def saved_by_chunk(self) -> int:
        """What is saved beyond that, by keeping equal parts once and compressing them."""
        return max(0, self.distinct - self.stored)


def _last_moves(view: LogView, limit: int) -> tuple[AliasMove, ...]:
    made = (
        (move.at, name, alias, at)
        for name, state in view.class_states().items()
        for alias, moves in state.aliases.items()
        for at, move in enumerate(reversed(moves[-limit:]))
    )
    describer = Describer(view)
    newest = nlargest(limit, made)
    return tuple(describer.moves(name, alias)[at] for _, name, alias, at in newest)


class Browser:
    """Asks a store for what a page shows.

    Args:
        remote: the store.
        settings: what is configured.
        progress: is told of the reading that a first question needs.

    Example:
        >>> import ama
        >>> store = ama.Store.open("store")
        >>> browser = Browser(store.remote, store.settings)
        >>> [(each.name, each.assets) for each in browser.classes()]
        [('models', 1)]
        >>> [line.aliases for line in browser.recent(10)]
        [('best',)]
    """

    def __init__(
        self, remote: Remote, settings: Settings, progress: Progress = NO_PROGRESS
    ) -> None:
        from ama.catalog.columns import ColumnFinder
        from ama.catalog.database import Catalog

        self._remote = remote
        self._catalog: Catalog = Catalog(remote, progress)
        self._columns = ColumnFinder(cache(lambda name: rules_of(settings, name)))
        self._remembered: dict[tuple[object, ...], object] = {}
        self._packs: dict[bytes, tuple[int, dict[bytes, int]]] = {}

    def as_of(self, view: LogView) -> Browser:
        """Return what asks the same of a log that was just read, and remembers the same."""
        browser = copy(self)
        browser._remote = self._remote.as_of(view)
        return browser

    def _ask(self, question: Question[Answer]) -> Answer:
        return self._catalog.ask(question, self._remote.glance())

    def number(self) -> int:
        """Return the number of the log's last entry: another one says that something is new.

        Raises:
            StorageError: the store can't be reached.
            IntegrityError: its log is damaged.
        """
        view = self._remote.glance()
        if view.damage is not None and self._remote.storage.read([Range(FORMAT)]) == [None]:
            raise gone(self._remote.url)  # not its log alone is missing
        view.require_whole()
        return view.number

    def classes(self) -> tuple[ClassOverview, ...]:
        """Return every class at a glance, the one with the newest asset first."""
        from ama.catalog import overview

        return self._once(("classes",), lambda db, view: overview.classes(db))

    def recent(self, limit: int) -> tuple[AssetLine, ...]:
        """Return the newest assets of all classes."""
        from ama.catalog import overview

        return self._once(("recent", limit), lambda db, view: overview.recent(db, limit))

    def moves(self, limit: int) -> tuple[AliasMove, ...]:
        """Return the moves of aliases of all classes that were made last, newest first."""
        return self._once(("moves", limit), lambda db, view: _last_moves(view, limit))

    def line(self, class_name: str, number: int) -> AssetLine:
        """Return what is told of one asset, also of a deleted or damaged one.

        Raises:
            NotFound: there is none.
        """
        from ama.catalog import overview

        self.number()
        found = self._ask(
            lambda db, view: (
                class_state(view, class_name, self._remote.url),
                overview.lines(db, "class = ? AND number = ?", class_name, number),
            )[1]
        )
        if not found:
            raise NotFound(f"{class_name} has no asset {number}")
        return found[0]

    def neighbours(self, class_name: str, number: int) -> tuple[AssetLine | None, AssetLine | None]:
        """Return the live assets of a class right before and after a number."""
        from ama.catalog import overview

        live = "class = ? AND status != 'deleted' AND number"
        before, after = self._ask(
            lambda db, view: (
                overview.lines(db, f"{live} < ? ORDER BY number DESC LIMIT 1", class_name, number),
                overview.lines(db, f"{live} > ? ORDER BY number LIMIT 1", class_name, number),
            )
        )
        return (before[0] if before else None, after[0] if after else None)

    def ancestors(self, asset: bytes, limit: int) -> tuple[AssetLine, ...]:
        """Return the earlier versions that an asset comes from, the nearest first."""
        from ama.catalog import overview

        return self._ask(lambda db, view: overview.ancestors(db, asset, limit))

    def columns(self, class_name: str) -> Columns:
        """Return the columns that a class's table can have.

        Raises:
            NotFound: there is no such class.
        """
        class_state(self._remote.view(), class_name, self._remote.url)
        return self._once(
            ("columns", class_name), lambda db, view: self._columns.columns(db, class_name)
        )

    def table(
        self, choice: Choice, columns: Sequence[Column], *, offset: int, limit: int
    ) -> TablePage:
        """Return a part of the table of a class.

        Args:
            choice: which assets, and in which order.
            columns: the table's columns.
            offset: how many rows come before it.
            limit: how many rows it has at most.
        """
        from ama.catalog import tables

        return self._ask(
            lambda db, view: tables.page(db, choice, columns, offset=offset, limit=limit)
        )

    def series(self, choice: Choice, column: Column) -> tuple[tuple[int, float], ...]:
        """Return a column's numbers, each with the number of its asset."""
        from ama.catalog import tables

        return self._once(
            ("series", choice, column), lambda db, view: tables.series(db, choice, column)
        )

    def lineage(self, asset: bytes, *, most: int) -> Lineage:
        """Return what is near in the lineage of an asset, at most so many in either direction."""
        from ama.catalog.ancestry import around

        return self._once(
            ("lineage", asset, most), lambda db, view: around(db, view, asset, most=most)
        )

    def search(self, words: Sequence[str], limit: int) -> tuple[AssetLine, ...]:
        """Return the newest assets of which all words are told; see `search_values`."""
        from ama.catalog import overview

        return self._ask(lambda db, view: overview.search(db, words, limit))

    def search_values(self, words: Sequence[str], limit: int) -> tuple[FoundValue, ...]:
        """Return values in YAML, JSON and TOML files that have all words."""
        from ama.catalog import overview

        return self._once(
            ("values", tuple(words), limit),
            lambda db, view: overview.search_values(db, words, limit),
        )

    def files_with_gaps(self) -> int:
        """Return of how many YAML, JSON and TOML files not all could be read."""
        from ama.catalog import overview

        return self._once(("gaps",), lambda db, view: overview.files_with_gaps(db))

    def holders(self, digits: str, limit: int) -> tuple[Holder, ...]:
        """Return the newest assets that hold a file.

        Args:
            digits: its hash, or the beginning of that, in hex digits. Unlike what `Store.find`
                takes, it is never a file of this machine.
            limit: how many at most.

        Raises:
            InvalidInput: several files' hashes begin so.
        """
        from ama.catalog import overview

        return self._ask(lambda db, view: overview.holders(db, digits, limit))

    def last_fsck(self) -> LastFsck | None:
        """Return when this machine last verified the whole store, and what it found."""
        from ama.maintenance.fsck_store import last_fsck

        return last_fsck(self._remote)

    def totals(self) -> Totals:
        """Return what the store holds, and what that takes."""
        from ama.catalog import overview

        return self._once(("totals",), lambda db, view: self._totals(overview.contents(db), view))

    def _totals(self, held: Contents, view: LogView) -> Totals:
        current = view.root.indexes
        for index in self._remote.indexes([each for each in current if each not in self._packs]):
            self._packs[index.id] = len(index), index.pack_sizes
        known = [self._packs[each] for each in current if each in self._packs]
        packs = {pack: size for _, sizes in known for pack, size in sizes.items()}
        return Totals(
            held.assets,
            len(view.class_names),
            held.files,
            held.size,
            held.distinct,
            sum(packs.values()),
            sum(objects for objects, _ in known),
            len(packs),
            len(current),
            view.number,
        )

    def _once(self, key: tuple[object, ...], question: Question[Answer]) -> Answer:
        """Ask what has the same answer until somebody publishes."""
        number = self.number()
        found = self._remembered.get((number, *key))
        if found is None:
            found = self._ask(question)
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[number, *key] = found
        return found  # type: ignore[return-value]
