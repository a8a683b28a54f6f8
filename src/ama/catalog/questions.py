"""Questions about the assets of a store, answered by its catalog."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from heapq import nlargest
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from ama.catalog.roles import Direction, Role, Rules
from ama.errors import Hint, InvalidInput, NotFound, shown
from ama.format.hashing import SHORTEST_PREFIX, hash_file
from ama.settings import Settings
from ama.storage.protocol import Range
from ama.stores.remote import FORMAT, Remote, gone
from ama.stores.revisions import Describer, class_state, require_live
from ama.system.encoding import system_path
from ama.system.progress import NO_PROGRESS, Progress

if TYPE_CHECKING:
    import sqlite3
    from contextlib import AbstractContextManager
    from typing import Self

    from ama.catalog.compare import Profile
    from ama.catalog.database import Catalog, Question
    from ama.catalog.find import Criteria
    from ama.catalog.noting import Description
    from ama.catalog.overview import AssetLine, ClassOverview, Contents, FoundValue, Holder
    from ama.catalog.tables import Choice, ColumnFinder, Columns, TablePage
    from ama.catalog.values import Column, Findings, Leaderboard, Summary
    from ama.format.objects import TreeEntry
    from ama.lineage.graph import Lineage
    from ama.maintenance.fsck_store import LastFsck
    from ama.stores.log_view import LogView
    from ama.values import AliasMove, AssetInfo, File


Answer = TypeVar("Answer")

_HEX = re.compile(rf"[0-9a-fA-F]{{{SHORTEST_PREFIX},64}}").fullmatch
_ROLES: dict[str, Role] = {
    "code": "code",
    "parameters": "parameter",
    "metrics": "metric",
    "data": "data",
}
_BETTER: dict[str, Direction] = {"higher_is_better": "higher", "lower_is_better": "lower"}

SORTS = ("created", "class", "author")
"""The orders of findings."""

_MOST_REMEMBERED = 40
"""The most answers to keep until somebody publishes: each may hold 10,000 assets."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The contents of a store, and the space that they take."""

    assets: int
    """The number of live assets."""
    classes: int
    """The number of classes."""
    files: int
    """The number of files in live assets."""
    size: int
    """The bytes of these files."""
    distinct: int
    """The bytes of these files, each distinct content counted once."""
    stored: int
    """The bytes of the packs, which keep equal chunks once, and compressed."""
    objects: int
    """The number of objects in current indexes."""
    packs: int
    """The number of packs."""
    indexes: int
    """The number of current indexes."""
    entries: int
    """The number of log entries."""

    @property
    def saved_by_file(self) -> int:
        """Return the bytes saved by keeping equal files once."""
        return max(0, self.size - self.distinct)

    @property
    def saved_by_chunk(self) -> int:
        """Return the bytes saved beyond that, by keeping equal chunks once and compressing them."""
        return max(0, self.distinct - self.stored)


class Questions:
    """Asks the catalog of one store.

    A question that needs no catalog opens none, and so does not wait for SQLite.

    Args:
        remote: The store.
        settings: The settings.
        progress: Receives the progress of the reading that a first question needs.

    Example:
        >>> import ama
        >>> store = ama.Store.open("store")
        >>> questions = Questions(store.remote, store.settings)
        >>> [(each.name, each.assets) for each in questions.classes()]
        [('models', 1)]
        >>> [line.aliases for line in questions.recent(10)]
        [('best',)]
    """

    def __init__(
        self, remote: Remote, settings: Settings, progress: Progress = NO_PROGRESS
    ) -> None:
        self._remote = remote
        self._rules_of = cache(partial(rules_of, settings))
        self._catalog = cache(partial(_open_catalog, remote, progress))
        self._finder = cache(partial(_column_finder, self._rules_of))
        self._remembered: dict[tuple[object, ...], object] = {}
        self._packs: dict[bytes, tuple[int, dict[bytes, int]]] = {}

    def at(self, view: LogView) -> Self:
        """Return these questions about a log that was just read; remembered answers are shared."""
        questions = copy(self)
        questions._remote = self._remote.at(view)
        return questions

    def _ask(self, question: Question[Answer]) -> Answer:
        return self._catalog().ask(question, self._remote.view(only_reading=True))

    def _once(self, key: tuple[object, ...], question: Question[Answer]) -> Answer:
        """Ask a question whose answer stays the same until somebody publishes; remember it."""
        number = self.number()
        found = self._remembered.get((number, *key))
        if found is None:
            found = self._ask(question)
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[number, *key] = found
        return found  # type: ignore[return-value]

    # Questions of users

    def find(
        self, criteria: Criteria, *, sort: str = "class", reverse: bool = False, limit: int | None
    ) -> Findings:
        """Return the assets that meet criteria; see `Store.find`."""
        from ama.catalog.facts import unread_assets
        from ama.catalog.find import hiding, select, unknown_keys, unknown_tags
        from ama.catalog.noting import tags_of
        from ama.catalog.values import Findings, Found
        from ama.format.objects import decode_asset

        if sort not in SORTS:
            raise InvalidInput(
                f"findings can't be sorted by {shown(repr(sort))}",
                hint=f"by one of {', '.join(SORTS)}",
            )

        def ask(db: sqlite3.Connection, view: LogView) -> Findings:
            if criteria.class_name is not None:
                class_state(view, criteria.class_name, self._remote.url)
            describer = Describer(view)
            selected = select(db, criteria)
            order = list(selected)
            if sort != "class":
                column = {"created": "created_at", "author": "author"}[sort]
                by = dict(db.execute(f"SELECT hash, {column} FROM assets"))
                order.sort(key=lambda asset: by[asset])
            if reverse:
                order.reverse()
            found = []
            for asset in order[:limit]:
                data, size = db.execute(
                    "SELECT data, size FROM assets LEFT JOIN trees ON trees.id = tree"
                    " WHERE assets.hash = ?",
                    (asset,),
                ).fetchone()
                info = describer.info(asset, decode_asset(data), size)
                tags = () if criteria.as_published else tags_of(db, asset)
                found.append(Found(info, selected[asset], tags))
            unread = unread_assets(db, criteria.class_name) + hiding(db, criteria, selected)
            if selected:
                return Findings(tuple(found), unread)
            return Findings((), unread, unknown_keys(db, criteria), unknown_tags(db, criteria))

        return self._ask(ask)

    def content_id(self, prefix: str) -> bytes:
        """Return the id of the file in the store whose hash begins with hex digits.

        Raises:
            NotFound: There is no such file.
            InvalidInput: There are several.
        """
        from ama.catalog.find import content_id

        found = self._ask(lambda db, view: content_id(db, prefix))
        if found is None:
            raise NotFound(
                f"{self._remote.url} has no file whose hash is {prefix}",
                hint=Hint("hash-file"),
            )
        return found

    def summary(self, class_name: str, asset: bytes, most_files: int | None = None) -> Summary:
        """Summarise a published asset; see `Asset.summary`."""
        from ama.catalog.facts import summarise
        from ama.catalog.noting import description_of

        def ask(db: sqlite3.Connection, view: LogView) -> Summary:
            found = summarise(db, view, self._rules_of, class_name, asset, most_files)
            notes = self._remote.log.notes.at(view).of(class_name, asset)
            described = description_of(db, class_name)
            noted = Describer(view).noted(notes)
            return replace(found, noted=noted, class_description=described)

        return self._ask(ask)

    def profile(self, class_name: str, asset: bytes, *, as_published: bool = False) -> Profile:
        """Return the profile of a published asset, for a comparison; see `ama.compare`."""
        from ama.catalog.compare import profile
        from ama.catalog.facts import FactReader

        def ask(db: sqlite3.Connection, view: LogView) -> Profile:
            # How much is known of a deleted asset depends on what was asked before.
            require_live(view, class_name, asset, self._remote.url)
            reader = FactReader(db, self._rules_of, as_published=as_published)
            return profile(db, view, reader, class_name, asset)

        return self._ask(ask)

    def trees(self) -> AbstractContextManager[Callable[[bytes], tuple[TreeEntry, ...] | None]]:
        """Return a context with a function that returns a directory's entries, if known here."""
        return self._catalog().trees()

    def leaderboard(
        self,
        class_name: str,
        *,
        columns: Sequence[str],
        sort: str | None,
        reverse: bool,
        limit: int | None,
        as_published: bool = False,
    ) -> Leaderboard:
        """Return the assets of a class side by side; see `Store.leaderboard`."""
        from ama.catalog.compare import leaderboard
        from ama.catalog.facts import FactReader

        return self._ask(
            lambda db, view: leaderboard(
                db,
                view,
                FactReader(db, self._rules_of, as_published=as_published),
                class_name,
                columns=columns,
                sort=sort,
                reverse=reverse,
                limit=limit,
            )
        )

    def lineage(self, asset: bytes, *, up: bool, down: bool, limit: int | None) -> Lineage:
        """Return the assets that an asset was made from and those made from it.

        See `Asset.lineage`.
        """
        from ama.catalog.ancestry import MOST_NODES, trace

        most = MOST_NODES if limit is None else limit
        return self._ask(lambda db, view: trace(db, view, asset, up=up, down=down, limit=most))

    # Questions of pages

    def number(self) -> int:
        """Return the number of the log's last entry; it changes when something is published.

        Raises:
            StorageError: The store can't be reached.
            IntegrityError: Its log is damaged.
        """
        view = self._remote.view(only_reading=True)
        if view.damage is not None and self._remote.storage.read([Range(FORMAT)]) == [None]:
            raise gone(self._remote.url)  # format.json is missing too, not only the log
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
        """Return the last moves of aliases in all classes, newest first."""
        return self._once(("moves", limit), lambda db, view: _last_moves(view, limit))

    def line(self, class_name: str, number: int) -> AssetLine:
        """Return the line of one asset, which may be deleted or damaged.

        Raises:
            NotFound: There is no such asset.
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
        """Return the live assets of a class just before and just after a number."""
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
        """Return the earlier versions of an asset, the nearest first."""
        from ama.catalog import overview

        return self._ask(lambda db, view: overview.ancestors(db, asset, limit))

    def columns(self, class_name: str) -> Columns:
        """Return the columns that a class's table can have.

        Raises:
            NotFound: There is no such class.
        """
        class_state(self._remote.view(), class_name, self._remote.url)
        return self._once(
            ("columns", class_name), lambda db, view: self._finder().columns(db, class_name)
        )

    def table(
        self, choice: Choice, columns: Sequence[Column], *, offset: int, limit: int
    ) -> TablePage:
        """Return a part of the table of a class.

        Args:
            choice: The assets and their order.
            columns: The table's columns.
            offset: The number of rows before the part.
            limit: The most rows.
        """
        from ama.catalog import tables

        return self._ask(
            lambda db, view: tables.page(db, choice, columns, offset=offset, limit=limit)
        )

    def last_note(self, asset: bytes) -> int:
        """Return the entry of the last note about an asset or what it was made from, else 0."""
        from ama.catalog.noting import last_note

        return self._ask(lambda db, view: last_note(db, asset))

    def descriptions(self, class_name: str, limit: int) -> tuple[Description, ...]:
        """Return what a class was described as, the newest first."""
        from ama.catalog.noting import descriptions

        return self._once(
            ("descriptions", class_name, limit),
            lambda db, view: descriptions(db, class_name, limit),
        )

    def series(self, choice: Choice, column: Column) -> tuple[tuple[int, float], ...]:
        """Return a column's numbers, each with the number of its asset."""
        from ama.catalog import tables

        return self._once(
            ("series", choice, column), lambda db, view: tables.series(db, choice, column)
        )

    def around(self, asset: bytes, *, most: int) -> Lineage:
        """Return the assets nearest in the lineage of an asset, `most` in each direction."""
        from ama.catalog.ancestry import around

        return self._once(
            ("around", asset, most), lambda db, view: around(db, view, asset, most=most)
        )

    def search(self, words: Sequence[str], limit: int) -> tuple[AssetLine, ...]:
        """Return the newest assets whose texts contain all words."""
        from ama.catalog import overview

        return self._ask(lambda db, view: overview.search(db, words, limit))

    def search_values(self, words: Sequence[str], limit: int) -> tuple[FoundValue, ...]:
        """Return values in files that contain all words."""
        from ama.catalog import overview

        return self._once(
            ("values", tuple(words), limit),
            lambda db, view: overview.search_values(db, words, limit),
        )

    def files_with_gaps(self) -> int:
        """Return the number of files whose values could not be read completely."""
        from ama.catalog import overview

        return self._once(("gaps",), lambda db, view: overview.files_with_gaps(db))

    def holders(self, digits: str, limit: int) -> tuple[Holder, ...]:
        """Return the newest assets that hold a file.

        Args:
            digits: The hash, or its beginning, in hex digits; unlike in `Store.find`, never a path.
            limit: The most assets.

        Raises:
            InvalidInput: Several files' hashes begin with the digits.
        """
        from ama.catalog import overview

        return self._ask(lambda db, view: overview.holders(db, digits, limit))

    def last_fsck(self) -> LastFsck | None:
        """Return the time and the result of this machine's last fsck of the store."""
        from ama.maintenance.fsck_store import last_fsck

        return last_fsck(self._remote)

    def totals(self) -> Totals:
        """Return the contents of the store, and the space that they take."""
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


def _open_catalog(remote: Remote, progress: Progress) -> Catalog:
    from ama.catalog.database import Catalog

    return Catalog(remote, progress)


def _column_finder(rules_of: Callable[[str], Rules]) -> ColumnFinder:
    from ama.catalog.tables import ColumnFinder

    return ColumnFinder(rules_of)


def _last_moves(view: LogView, limit: int) -> tuple[AliasMove, ...]:
    made = (
        (move.at, name, alias, -at, move)
        for name, state in view.class_states().items()
        for at, (alias, move) in enumerate(islice(state.newest_moves(), limit))
    )
    describer = Describer(view)
    newest = nlargest(limit, made, key=lambda each: each[:4])
    return tuple(describer.move(name, alias, move) for _, name, alias, _, move in newest)


def rules_of(settings: Settings, class_name: str) -> Rules:
    """Return the configured rules about a class's values.

    Example:
        >>> rules_of(Settings.load(environ={"AMA_CONFIG_DIR": "config"}), "models").roles
        {}
    """
    found = settings.of_class(class_name)
    return Rules(
        {role: found[key] for key, role in _ROLES.items() if key in found},
        {direction: found[key] for key, direction in _BETTER.items() if key in found},
    )


def summary_here(
    info: AssetInfo,
    files: tuple[File, ...],
    open_file: Callable[[str], BinaryIO],
    settings: Settings,
    most_files: int | None = None,
    environment: str | None = None,
) -> Summary:
    """Summarise an asset that is unpublished, or whose store can't be reached.

    Leave out what only the store knows: the assets made from it, copies of its files elsewhere, and
    the details of its refs.

    Args:
        info: The asset.
        files: The asset's files.
        open_file: A function that opens a file, to be read at any place.
        settings: The settings.
        most_files: The most files to name; None: all.
        environment: The packages that it was made with, if they were recorded.
    """
    from ama.catalog.facts import code_of, read_facts
    from ama.catalog.roles import run_values
    from ama.catalog.values import Summary
    from ama.values import Ref

    rules = rules_of(settings, info.class_name)
    said = {**run_values(info.run), **info.metadata}
    facts, unread = read_facts(files, open_file, said, rules)
    parents = tuple(Ref(parent, info.class_name, "") for parent in info.parents)
    return Summary(
        asset=info,
        files=files[:most_files],
        facts=facts,
        code=code_of(facts),
        parents=parents,
        aliases_before=(),
        made_from_it=0,
        same_files=(),
        unread=unread,
        file_count=len(files),
        environment=environment,
    )


def named_content(file: str | os.PathLike[str]) -> str | None:
    """Return the hash, or the beginning of one, that a word about a file means.

    Args:
        file: A file of this machine, or hex digits.

    Returns:
        64 hex digits for an existing file; the 7 or more given digits; else None.

    Raises:
        NotFound: The word is a `Path`, and there is no such file.

    Example:
        >>> named_content("af1349b9f5")
        'af1349b9f5'
    """
    place = system_path(file)
    if isinstance(file, str) and not os.path.lexists(place):
        return file.lower() if _HEX(file) else None
    return hash_file(place)


def moment_of(when: datetime | str | None) -> datetime | None:
    """Convert a time or a text to a moment; see `Store.find`.

    Example:
        >>> moment_of("2026-11-02").isoformat()
        '2026-11-02T00:00:00+00:00'
    """
    from ama.catalog.conditions import parse_moment

    if isinstance(when, str):
        return parse_moment(when, datetime.now(UTC))
    if when is not None and when.tzinfo is None:
        return when.replace(tzinfo=UTC)
    return when
