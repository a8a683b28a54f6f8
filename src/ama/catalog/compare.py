"""Comparisons of assets: the differences between a few, and a whole class side by side."""

from __future__ import annotations

import json
import math
import shlex
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from ama.catalog.documents import Value, split_key
from ama.catalog.facts import FactReader, read_asset, unread_assets
from ama.catalog.noting import tags_of
from ama.catalog.roles import Role, near_keys, source_names
from ama.catalog.unread import Unread
from ama.catalog.values import (
    Column,
    Comparison,
    Fact,
    FileChange,
    FileRow,
    Leaderboard,
    LeaderboardRow,
    PackageRow,
    Row,
)
from ama.errors import Hint, InvalidInput, NotFound, shown
from ama.format.recorded import environment_of, packages_in
from ama.stores.log_view import LogView
from ama.stores.revisions import Describer
from ama.values import AssetInfo, File
from ama.worktree.status import as_file
from ama.worktree.trees import ReadTree, differing, top_of, walk

DEFAULT_COLUMNS = 6
"""The most metrics, and the most differing parameters, of a leaderboard by default."""

_ORDER: tuple[Role, ...] = ("parameter", "metric", "code", "data", "run", "other")

_Key = tuple[str, str, str]
"""The source, file and key of a fact."""

_Facts = Mapping[_Key, Fact]

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Profile:
    """The facts of an asset for a comparison."""

    info: AssetInfo
    facts: tuple[Fact, ...]
    unread: tuple[Unread, ...] = ()
    environment: str | None = None


def profile(
    db: sqlite3.Connection, view: LogView, reader: FactReader, class_name: str, asset: bytes
) -> Profile:
    """Return the profile of a published asset.

    Args:
        db: A catalog.
        view: The log that the catalog was filled from.
        reader: Reads its facts.
        class_name: The asset's class.
        asset: Its id.

    Raises:
        IntegrityError: The asset could not be read.
    """
    record, size = read_asset(db, asset)
    info = Describer(view).info(asset, record, size)
    facts = reader.facts(asset, class_name)
    environment = environment_of(record.extra)
    return Profile(info, facts, (*reader.unread, *reader.gaps), environment)


class Top(NamedTuple):
    """The top directory of an asset, and a function that returns the entries of a directory."""

    tree: bytes
    read: ReadTree


def compare(
    profiles: Sequence[Profile], tops: Sequence[Top], *, same_files: bool = True
) -> Comparison:
    """Return the differences between assets, and what is the same; stores may differ.

    Args:
        profiles: At least two.
        tops: The top directory of each.
        same_files: Whether to list the files that are the same. Without them, directories that are
            the same are not read.

    Raises:
        InvalidInput: There are too many files to list.
    """
    infos = [each.info for each in profiles]
    facts = [facts_by_key(each.facts) for each in profiles]
    rows = [*_fact_rows(facts), *_ref_rows(infos), *_own_rows(infos)]
    changed = _differing_files(tops)
    files = [*_changed_rows(changed, two=len(tops) == 2)]
    if same_files:
        files += _same_rows(tops, changed)
    return Comparison(
        tuple(infos),
        tuple(rows),
        tuple(sorted(files, key=lambda row: row.path)),
        _may_differ(profiles, changed),
        *compare_packages([each.environment for each in profiles]),
    )


def compare_packages(
    environments: Sequence[str | None],
) -> tuple[tuple[PackageRow, ...], tuple[int | None, ...]]:
    r"""Return a row for each package of some environments, and how many packages each has.

    Args:
        environments: Lists of packages; None: it isn't known, and so nothing was added or removed.

    Example:
        >>> rows, counts = compare_packages(["a==1\n", None, "a==2\nb==1\n"])
        >>> [(row.name, row.versions, row.kind) for row in rows]
        [('a', ('1', None, '2'), 'changed'), ('b', (None, None, '1'), 'added')]
        >>> counts
        (1, None, 2)
    """
    held = [None if each is None else packages_in(each) for each in environments]
    known = [each for each in held if each is not None]
    counts = tuple(None if each is None else len(each) for each in held)
    if len(known) < 2:
        return (), counts
    rows = []
    for name in sorted({name for each in known for name in each}):
        kind: Literal["added", "removed", "changed", "same"] = "changed"
        if name not in known[0]:
            kind = "added"
        elif name not in known[-1]:
            kind = "removed"
        elif len({each.get(name) for each in known}) == 1:
            kind = "same"
        rows.append(
            PackageRow(name, tuple(None if each is None else each.get(name) for each in held), kind)
        )
    return tuple(rows), counts


def _may_differ(profiles: Sequence[Profile], changed: _Files) -> tuple[Unread, ...]:
    """Return the unread parts of some assets, except in files that all of them have."""
    contents = {path: {file and file.id for file in files} for path, files in changed.items()}
    return tuple(
        dict.fromkeys(
            unread
            for each in profiles
            for unread in each.unread
            if unread.source or not unread.file or len(contents.get(unread.file, ())) > 1
        )
    )


def facts_by_key(facts: Iterable[Fact]) -> dict[_Key, Fact]:
    """Return an asset's facts by their source, file and key."""
    return {(fact.source, fact.file, fact.key): fact for fact in facts}


def _fact_rows(facts: Sequence[_Facts]) -> list[Row]:
    keys = dict.fromkeys(key for each in facts for key in each)
    rows = []
    for key in keys:
        found = [each.get(key) for each in facts]
        known = [fact for fact in found if fact is not None]
        role: Role | Literal["metadata"] = known[0].role
        if not key[1] and role == "other":
            role = "metadata"
        values = tuple(None if fact is None else fact.value for fact in found)
        difference = _difference(values) if len(values) == 2 else None
        better = known[0].better
        rows.append(
            Row(
                role,
                *key,
                values,
                len(known) == len(found) and all(_same(values[0], value) for value in values),
                difference,
                None if not (better and difference) else (difference < 0) == (better == "lower"),
                _noted([None if fact is None else fact.entry for fact in found]),
            )
        )
    order = [*_ORDER, "metadata"]
    # Within a role, single values come before histories: they are what people ask for first.
    return sorted(rows, key=lambda row: (order.index(row.role), _is_history(row.values)))


def _noted(entries: Sequence[int | None]) -> tuple[int | None, ...]:
    """Return the entries that noted some values; nothing if none was noted."""
    return tuple(entries) if any(entries) else ()


def _is_history(values: Sequence[Value]) -> bool:
    return any(isinstance(value, tuple) and number_of(value) is not None for value in values)


def _same(one: Value, other: Value) -> bool:
    """Whether two values are equal: a truth value is no number, and NaN equals itself."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    return one == other or (one != one and other != other)


def _difference(values: Sequence[Value]) -> float | None:
    first, last = map(number_of, (values[0], values[-1]))
    if first is None or last is None:
        return None
    difference = last - first
    return difference if math.isfinite(difference) else None


def number_of(value: Value) -> float | None:
    """Return a value as a number; for a history (a list of numbers), the last one; else None.

    Example:
        >>> number_of((0.9, 0.4)), number_of("adam")
        (0.4, None)
    """
    if isinstance(value, tuple):
        is_history = value and all(number_of(each) is not None for each in value)
        return number_of(value[-1]) if is_history else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _ref_rows(infos: Sequence[AssetInfo]) -> list[Row]:
    """Return what each asset was made from, by the ref's name; a label stands behind it."""
    named: list[dict[str, Value]] = []
    for info in infos:
        texts = (f"{ref.name} as {ref.label}" if ref.label else ref.name for ref in info.refs)
        named.append(dict(zip(source_names(info.refs), texts, strict=True)))
    keys = dict.fromkeys(key for each in named for key in each)
    return [_plain_row("ref", key, [each.get(key) for each in named]) for key in keys]


def _own_rows(infos: Sequence[AssetInfo]) -> list[Row]:
    return [
        _plain_row("asset", "created by", [info.author for info in infos]),
        _plain_row("asset", "message", [info.message or None for info in infos]),
    ]


def _plain_row(role: Literal["ref", "asset"], key: str, values: Sequence[Value]) -> Row:
    return Row(role, "", "", key, tuple(values), all(value == values[0] for value in values))


_Files = Mapping[str, tuple[File | None, ...]]
"""The file of each asset at a path; None: it has none there."""


def _differing_files(tops: Sequence[Top]) -> _Files:
    """Return the files at the paths at which any two assets differ."""
    first, *others = tops
    pairs = [
        differing("", (top_of(first.tree), top_of(other.tree)), first.read, other.read)
        for other in others
    ]
    paths = {path for before, after in pairs for path in (*before, *after)}
    of_first = {path: item for before, _ in pairs for path, item in before.items()}
    found = {}
    for path in paths:
        items = [of_first.get(path)]
        for before, after in pairs:
            differs = path in before or path in after
            items.append(after.get(path) if differs else items[0])
        found[path] = tuple(None if item is None else as_file(item) for item in items)
    return found


def _changed_rows(changed: _Files, *, two: bool) -> Iterator[FileRow]:
    renamed = _renamed(changed) if two else {}
    olds = set(renamed.values())
    for path, files in changed.items():
        old = renamed.get(path)
        if old is not None:
            yield FileRow(path, "renamed", (changed[old][0], *files[1:]), old)
        elif path not in olds:
            yield FileRow(path, _file_change(files), files)


def _same_rows(tops: Sequence[Top], changed: _Files) -> Iterator[FileRow]:
    first = tops[0]
    for item in walk(first.tree, first.read):
        if item.path not in changed:
            yield FileRow(item.path, "same", (as_file(item),) * len(tops))


def _renamed(changed: _Files) -> dict[str, str]:
    """Return, for paths that only the last has, the lost path with the same content."""
    gone: dict[str, list[str]] = {}
    for path, (first, last) in sorted(changed.items(), reverse=True):
        if first is not None and last is None:
            gone.setdefault(first.id, []).append(path)
    found = {}
    for path, (first, last) in sorted(changed.items()):
        if first is None and last is not None and gone.get(last.id):
            found[path] = gone[last.id].pop()
    return found


def _file_change(files: Sequence[File | None]) -> FileChange:
    if files[0] is None:
        return "added"
    if files[-1] is None:
        return "removed"
    return "modified" if len({file and file.id for file in files}) > 1 else "mode"


# The leaderboard


def leaderboard(
    db: sqlite3.Connection,
    view: LogView,
    reader: FactReader,
    class_name: str,
    *,
    columns: Sequence[str] = (),
    sort: str | None = None,
    reverse: bool = False,
    limit: int | None = None,
) -> Leaderboard:
    """Return the live assets of a class side by side, newest first unless sorted.

    Args:
        db: A catalog.
        view: The log that the catalog was filled from.
        reader: Reads the assets' facts.
        class_name: The class.
        columns: Keys, or the last parts of keys, with or without `FILE:`, `REF:` or `REF: FILE:`
            before them; by default the metrics, and the parameters that differ.
        sort: Such a key. The best comes first (the least, if it isn't known which values are
            better); see `ranked`.
        reverse: Whether to reverse the order; assets without a number still come last.
        limit: The most assets.

    Raises:
        NotFound: No asset of the class has such a key; the hint has suggestions.
        InvalidInput: Several keys have this ending.
    """
    rows = db.execute(
        "SELECT hash FROM assets WHERE class = ? AND status != 'deleted' AND data IS NOT NULL"
        " AND unread IS NULL AND number IS NOT NULL ORDER BY number DESC",
        (class_name,),
    )
    facts = {asset: facts_by_key(reader.facts(asset, class_name)) for (asset,) in rows.fetchall()}
    known = known_columns(facts.values())
    chosen = [_resolve(name, known) for name in columns] or default_columns(known, facts.values())
    order = list(facts)
    if sort is not None:
        column = _resolve(sort, known)
        if column not in chosen:
            chosen.insert(0, column)
        values = {asset: _value(facts[asset], column) for asset in order}
        order = ranked(order, values, falling=(column.better == "higher") != reverse)
    elif reverse:
        order.reverse()
    describer = Describer(view)
    return Leaderboard(
        class_name,
        tuple(chosen),
        tuple(
            LeaderboardRow(
                describer.info(asset, *read_asset(db, asset)),
                tuple(_value(facts[asset], column) for column in chosen),
                () if reader.as_published else tags_of(db, asset),
                _noted([_entry(facts[asset], column) for column in chosen]),
            )
            for asset in order[:limit]
        ),
        (*unread_assets(db, class_name), *reader.unread),
    )


def known_columns(facts: Iterable[_Facts]) -> dict[_Key, Column]:
    """Return a column for each value that some asset has."""
    found: dict[_Key, Column] = {}
    for each in facts:
        for key, fact in each.items():
            if key not in found:
                found[key] = Column(fact.role, *key, fact.better)
    return found


def _value(facts: _Facts, column: Column) -> Value:
    fact = facts.get((column.source, column.file, column.key))
    return None if fact is None else fact.value


def _entry(facts: _Facts, column: Column) -> int | None:
    fact = facts.get((column.source, column.file, column.key))
    return None if fact is None else fact.entry


def _resolve(name: str, known: Mapping[_Key, Column]) -> Column:
    """Return the column for a name, or for the end of one."""
    whole = [column for column in known.values() if column.name == name.strip()]
    fitting = whole or [column for column in known.values() if column.is_called(name)]
    if not fitting:
        near = near_keys(name.rpartition(":")[2], (column.key for column in known.values()))
        raise NotFound(
            f"no asset has a value {shown(repr(name))}",
            hint=Hint("did-you-mean", names=tuple(near)) if near else Hint("show-values"),
        )
    exact = [
        column
        for column in fitting
        if name.strip() == column.key or name.endswith(f":{column.key}")
    ] or fitting
    # `best.val_loss` before `history.val_loss`: a metric has one value, a history many.
    scalars = [column for column in exact if "history" not in column.key.split(".")] or exact
    scalars = [column for column in scalars if not column.source] or scalars
    # A file further up is about the whole asset.
    depth = min(column.file.count("/") for column in scalars)
    scalars = [column for column in scalars if column.file.count("/") == depth]
    if len(scalars) > 1:
        # As typed in a shell.
        names = sorted(shlex.quote(column.name) for column in scalars)
        more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
        raise InvalidInput(
            f"{shown(repr(name))} may be any of {shown(', '.join(names[:5]))}{more}",
            hint="write which of them",
        )
    return scalars[0]


def default_columns(
    known: Mapping[_Key, Column], facts: Iterable[_Facts], most: int = DEFAULT_COLUMNS
) -> list[Column]:
    """Return the default columns: the metrics, and the parameters that differ.

    Args:
        known: All columns.
        facts: The facts of each asset.
        most: The most metrics, and the most parameters.
    """
    all_facts = list(facts)
    metrics = [
        column
        for column in known.values()
        if column.role == "metric"
        and not all(isinstance(_value(each, column), tuple | None) for each in all_facts)
    ]
    differing = [
        column
        for column in known.values()
        if column.role == "parameter"
        and any(not _same(_value(all_facts[0], column), _value(e, column)) for e in all_facts)
        and not any(isinstance(_value(each, column), tuple) for each in all_facts)
    ]
    # Items of a list of tables, such as the layers of a model, come last.
    differing.sort(key=lambda column: any(part.isdigit() for part in split_key(column.key)))
    return [*metrics[:most], *differing[:most]]


def ranked(assets: Iterable[Key], values: Mapping[Key, Value], *, falling: bool) -> list[Key]:
    """Return assets in the order of a column; equal ones keep their order.

    In both directions, numbers come before all other values, and missing values last. For a
    history, the last number counts.

    Args:
        assets: A key for each asset.
        values: Their values in the column.
        falling: Whether the largest come first.

    Example:
        >>> ranked("abcd", {"a": 2, "c": "text", "d": (1, 7)}, falling=True)
        ['d', 'a', 'c', 'b']
    """
    numbers: dict[Key, float] = {}
    texts: dict[Key, str] = {}
    others = []
    for asset in assets:
        value = values.get(asset)
        number = number_of(value)
        if number is not None and math.isfinite(number):
            numbers[asset] = number
        elif value is not None:
            texts[asset] = value if isinstance(value, str) else json.dumps(value)
        else:
            others.append(asset)
    by_number = sorted(numbers, key=numbers.__getitem__, reverse=falling)
    return [*by_number, *sorted(texts, key=texts.__getitem__, reverse=falling), *others]
