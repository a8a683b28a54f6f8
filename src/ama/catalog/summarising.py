"""Summaries: what people want to know of one asset, on one screen."""

from __future__ import annotations

import sqlite3

from ama.catalog.facts import FactReader, RulesOf, code_of, files_of, has_all_trees
from ama.catalog.finding import Criteria, select
from ama.catalog.unread import Unread
from ama.catalog.values import Summary
from ama.errors import IntegrityError, InvalidInput
from ama.format.hashing import short
from ama.format.objects import Asset, decode_asset
from ama.stores.description import Describer
from ama.stores.log_view import LogView
from ama.values import File, Ref


def summarise(
    db: sqlite3.Connection, view: LogView, rules_of: RulesOf, class_name: str, asset_id: bytes
) -> Summary:
    """Return the summary of a published asset; of a deleted one, what its record says.

    Args:
        db: a catalog.
        view: the log that it was read from.
        rules_of: what is configured for a class.
        class_name: the asset's class.
        asset_id: its id.

    Raises:
        IntegrityError: it could not be read, or not all of it.
    """
    describer = Describer(view)
    asset, size = read_asset(db, asset_id)
    reader = FactReader(db, rules_of)
    facts = reader.facts(asset_id, class_name)
    number = view.class_state(class_name).number(asset_id)
    files, unlisted = _files(db, asset_id, f"{class_name}/{number}")
    same = select(db, Criteria(tree=asset.tree))
    if describer.status(class_name, asset_id) == "deleted":
        # A catalog that was filled before has its files, and one that is filled today has not.
        facts = tuple(fact for fact in facts if fact.source or not fact.file)
        files, unlisted, same, size = (), (), {}, None
    return Summary(
        asset=describer.info(asset_id, asset, size),
        files=files,
        facts=facts,
        code=code_of(facts),
        parents=tuple(describer.ref(parent, class_name, "") for parent in asset.parents),
        aliases_before=_aliases_before(view, class_name, asset_id),
        made_from_it=_made_from(db, asset_id),
        same_files=tuple(_named(db, describer, each) for each in same if each != asset_id),
        unread=tuple(dict.fromkeys((*unlisted, *reader.unread, *reader.gaps))),
        listed=not unlisted,
    )


def _files(
    db: sqlite3.Connection, asset: bytes, name: str
) -> tuple[tuple[File, ...], tuple[Unread, ...]]:
    """Return an asset's files; or none, and why, where they are too many: the rest is told yet."""
    try:
        return files_of(db, asset), ()
    except InvalidInput as error:
        return (), (Unread(name, reason="too_many", detail=error.message),)


def read_asset(db: sqlite3.Connection, asset_id: bytes) -> tuple[Asset, int | None]:
    """Return an asset of a catalog, and the size of its files in bytes, None if deleted.

    Raises:
        IntegrityError: it could not be read, or not all of it: what the catalog says isn't all.
    """
    data, size, unread = db.execute(
        "SELECT data, size, unread FROM assets LEFT JOIN trees ON object = tree"
        " AND status != 'deleted' WHERE hash = ?",
        (asset_id,),
    ).fetchone()
    # Of one whose documents alone can't be read, the rest is known, and that is said beside it.
    if data is None or (unread is not None and not has_all_trees(db, asset_id)):
        raise IntegrityError(
            f"asset {short(asset_id)} can't be read: {unread}", hint="see what is touched: ama fsck"
        )
    return decode_asset(data), size


def unread_assets(db: sqlite3.Connection, class_name: str | None) -> tuple[Unread, ...]:
    """Return the assets of a class, or of all, that could not be read, each with why."""
    rows = db.execute(
        "SELECT class, number, unread FROM assets WHERE unread IS NOT NULL"
        " AND number IS NOT NULL AND status != 'deleted' AND class = coalesce(?, class)"
        " ORDER BY class, number",
        (class_name,),
    )
    return tuple(Unread(f"{name}/{number}", detail=why) for name, number, why in rows)


def _aliases_before(view: LogView, class_name: str, asset: bytes) -> tuple[str, ...]:
    state = view.class_state(class_name)
    return tuple(
        alias
        for alias, moves in sorted(state.aliases.items())
        if state.target(alias) != asset and any(move.asset == asset for move in moves)
    )


def _made_from(db: sqlite3.Connection, asset: bytes) -> int:
    (count,) = db.execute(
        "SELECT count(DISTINCT asset) FROM links JOIN assets ON assets.id = links.asset"
        " WHERE target = ? AND status != 'deleted' AND number IS NOT NULL",
        (asset,),
    ).fetchone()
    return int(count)


def _named(db: sqlite3.Connection, describer: Describer, asset: bytes) -> Ref:
    (name,) = db.execute("SELECT class FROM assets WHERE hash = ?", (asset,)).fetchone()
    return describer.ref(asset, name, "")
