"""Questions about the assets of a store, as its catalog answers them: find, compare, lineage."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from copy import copy
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from ama.catalog.roles import Direction, Role, Rules
from ama.errors import InvalidInput, NotFound, shown
from ama.format.hashing import SHORTEST_PREFIX, hash_file
from ama.settings import Settings
from ama.stores.remote import Remote
from ama.stores.revisions import class_state, require_live
from ama.system.encoding import system_path
from ama.system.progress import NO_PROGRESS, Progress

if TYPE_CHECKING:
    import sqlite3

    from ama.catalog.comparing import Profile
    from ama.catalog.database import Catalog, Question
    from ama.catalog.finding import Criteria
    from ama.catalog.values import Findings, Leaderboard, Summary
    from ama.lineage.graph import Lineage
    from ama.stores.log_view import LogView
    from ama.values import AssetInfo, File

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
"""What findings can be sorted by."""


class Tracker:
    """Asks the catalog of one store.

    Args:
        remote: the store.
        settings: what is configured.
        progress: is told of the reading that a first question needs.
    """

    def __init__(
        self, remote: Remote, settings: Settings, progress: Progress = NO_PROGRESS
    ) -> None:
        self._remote = remote
        self._settings = settings
        self._progress = progress
        self._rules_of = cache(self._read_rules)
        self._catalog = cache(self._open_catalog)

    def as_of(self, view: LogView) -> Tracker:
        """Return what asks the same catalog, of a log that was just read."""
        tracker = copy(self)
        tracker._remote = self._remote.as_of(view)
        return tracker

    def _ask(self, question: Question[Answer]) -> Answer:
        return self._catalog().ask(question, self._remote.glance())

    def find(
        self, criteria: Criteria, *, sort: str = "class", reverse: bool = False, limit: int | None
    ) -> Findings:
        """Return the assets for which criteria hold; see `Store.find`."""
        from ama.catalog.finding import hiding, select, unknown_keys
        from ama.catalog.summarising import unread_assets
        from ama.catalog.values import Findings, Found
        from ama.format.objects import decode_asset
        from ama.stores.description import Describer

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
                    "SELECT data, size FROM assets LEFT JOIN trees ON object = tree WHERE hash = ?",
                    (asset,),
                ).fetchone()
                info = describer.info(asset, decode_asset(data), size)
                found.append(Found(info, selected[asset]))
            unknown = () if selected else unknown_keys(db, criteria)
            unread = unread_assets(db, criteria.class_name) + hiding(db, criteria, selected)
            return Findings(tuple(found), unread, unknown)

        return self._ask(ask)

    def content_id(self, prefix: str) -> bytes:
        """Return the id of the file in the store that begins with hex digits.

        Raises:
            NotFound: there is none.
            InvalidInput: there are several.
        """
        from ama.catalog.finding import content_id

        found = self._ask(lambda db, view: content_id(db, prefix))
        if found is None:
            raise NotFound(
                f"{self._remote.url} has no file whose hash is {prefix}",
                hint="ama hash FILE prints that of a file here",
            )
        return found

    def summary(self, class_name: str, asset: bytes) -> Summary:
        """Return the summary of a published asset; see `Asset.summary`."""
        from ama.catalog.summarising import summarise

        return self._ask(lambda db, view: summarise(db, view, self._rules_of, class_name, asset))

    def profile(self, class_name: str, asset: bytes) -> Profile:
        """Return what is compared of a published asset; see `ama.compare`."""
        from ama.catalog.comparing import profile

        def ask(db: sqlite3.Connection, view: LogView) -> Profile:
            # Of one that was deleted it depends on who asked before how much is known.
            require_live(view, class_name, asset, self._remote.url)
            return profile(db, view, self._rules_of, class_name, asset)

        return self._ask(ask)

    def leaderboard(
        self,
        class_name: str,
        *,
        columns: Sequence[str],
        sort: str | None,
        reverse: bool,
        limit: int | None,
    ) -> Leaderboard:
        """Return the assets of a class side by side; see `Store.leaderboard`."""
        from ama.catalog.comparing import leaderboard

        return self._ask(
            lambda db, view: leaderboard(
                db,
                view,
                self._rules_of,
                class_name,
                columns=columns,
                sort=sort,
                reverse=reverse,
                limit=limit,
            )
        )

    def lineage(self, asset: bytes, *, up: bool, down: bool, limit: int | None) -> Lineage:
        """Return what an asset was made from and what was made from it; see `Asset.lineage`."""
        from ama.catalog.ancestry import MOST_NODES, trace

        most = MOST_NODES if limit is None else limit
        return self._ask(lambda db, view: trace(db, view, asset, up=up, down=down, limit=most))

    def _open_catalog(self) -> Catalog:
        from ama.catalog.database import Catalog

        return Catalog(self._remote, self._progress)

    def _read_rules(self, class_name: str) -> Rules:
        return rules_of(self._settings, class_name)


def rules_of(settings: Settings, class_name: str) -> Rules:
    """Return what is configured of a class's values.

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
    info: AssetInfo, files: tuple[File, ...], read: Callable[[str], bytes], settings: Settings
) -> Summary:
    """Return the summary of an asset that isn't published, or whose store is away.

    What only the store knows is left out: what was made from it, the same files elsewhere, and
    what its refs say.

    Args:
        info: the asset.
        files: its files.
        read: returns the bytes of one.
        settings: what is configured.
    """
    from ama.catalog.facts import code_of, read_facts
    from ama.catalog.values import Summary
    from ama.values import Ref

    rules = rules_of(settings, info.class_name)
    facts, unread = read_facts(files, read, info.metadata, rules)
    parents = tuple(Ref(parent, info.class_name, "") for parent in info.parents)
    return Summary(info, files, facts, code_of(facts), parents, (), 0, (), unread)


def named_content(file: str | os.PathLike[str]) -> str | None:
    """Return the hash, or the beginning of one, that is meant where a file is looked for.

    Args:
        file: a file of this machine, or hex digits.

    Returns:
        64 hex digits for a file that is there; 7 or more that were given; else None.

    Raises:
        NotFound: it is a path, and no such file is there.

    Example:
        >>> named_content("af1349b9f5")
        'af1349b9f5'
    """
    place = system_path(file)
    if isinstance(file, str) and not os.path.lexists(place):
        return file.lower() if _HEX(file) else None
    return hash_file(place)


def moment_of(when: datetime | str | None) -> datetime | None:
    """Return a moment that was given as one or as a text; see `Store.find`.

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
