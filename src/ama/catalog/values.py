"""What the catalog's questions return: frozen values, with the forms that notebooks show.

Times are timezone-aware UTC datetimes, sizes are bytes, ids are 64 hex digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Literal, overload

from ama.catalog.documents import Value
from ama.catalog.roles import Direction, Role, UnknownKey, quoted
from ama.catalog.unread import Unread
from ama.errors import InvalidInput
from ama.values import AssetInfo, ChangeKind, File, Ref

if TYPE_CHECKING:
    import pandas

_NAME = re.compile(r"(?:(.*):)?((?:\"(?:[^\"\\]|\\.)*\"|[^\":])*)", re.DOTALL).fullmatch
"""A place, and a key; a colon in quotes is a part of the key."""

FileChange = ChangeKind | Literal["renamed", "same"]


@dataclass(frozen=True, slots=True)
class Found:
    """An asset that was found, and the paths in it of the file that was looked for."""

    asset: AssetInfo
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Findings(Sequence[Found]):
    """What was found, in order.

    `unread` is what could not be read, so that it isn't known whether an asset belongs here: whole
    assets, and what is in their documents where conditions look. `unknown` says, where nothing was
    found, which keys of the conditions no asset has.
    """

    found: tuple[Found, ...]
    unread: tuple[Unread, ...] = ()
    unknown: tuple[UnknownKey, ...] = ()

    def __len__(self) -> int:
        return len(self.found)

    @overload
    def __getitem__(self, at: int) -> Found: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Found, ...]: ...
    def __getitem__(self, at: int | slice) -> Found | tuple[Found, ...]:
        return self.found[at]

    def rows(self) -> list[dict[str, object]]:
        """Return a flat row for each path, or for each asset where no file was looked for."""
        return [
            {**_asset_cells(each.asset), **({"path": path} if path else {})}
            for each in self.found
            for path in (each.paths or ("",))
        ]

    def to_frame(self) -> pandas.DataFrame:
        """Return the rows as a pandas frame.

        Raises:
            InvalidInput: Pandas isn't installed.
        """
        return _frame(self.rows())

    def __repr__(self) -> str:
        return f"<Findings: {len(self.found):,} found>"

    def _repr_html_(self) -> str:
        return _table(self.rows())


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that an asset says: a value under a dotted key, in a file or its metadata.

    `file` is empty for metadata. `better` is, of a metric, which values are. `source` is empty
    where the asset says it itself, and else names the ref that does: its class if that has no other
    ref, else its label.
    """

    role: Role
    file: str
    key: str
    value: Value
    better: Direction | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Code:
    """Which code made an asset, as far as it says so.

    `file` says it (empty: metadata), of the asset itself or of the ref that `source` names.
    """

    repository: str | None = None
    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    file: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """An asset on one screen.

    `aliases_before` pointed to it once; `made_from_it` counts the live assets of the store that
    name it as a ref or parent; `same_files` are other assets with the very same files; `unread` is
    what of its documents and refs could not be read, so that what that says of it is missing.
    `listed` is false where the files are too many to be listed: then there are none, and `unread`
    says so.
    """

    asset: AssetInfo
    files: tuple[File, ...]
    facts: tuple[Fact, ...]
    code: Code | None
    parents: tuple[Ref, ...]
    aliases_before: tuple[str, ...]
    made_from_it: int
    same_files: tuple[Ref, ...]
    unread: tuple[Unread, ...] = ()
    listed: bool = True

    def of(self, role: Role) -> tuple[Fact, ...]:
        """Return the facts of one role: "parameter", "metric", "data", "code" or "other"."""
        return tuple(fact for fact in self.facts if fact.role == role)

    @property
    def parameters(self) -> tuple[Fact, ...]:
        """What it was made with."""
        return self.of("parameter")

    @property
    def metrics(self) -> tuple[Fact, ...]:
        """How good it is."""
        return self.of("metric")

    @property
    def data(self) -> tuple[Fact, ...]:
        """What it says of the data that it was made from; see also the asset's refs."""
        return self.of("data")

    def rows(self) -> list[dict[str, object]]:
        """Return a flat row for each fact."""
        return [
            {
                "role": fact.role,
                "source": fact.source,
                "file": fact.file,
                "key": fact.key,
                "value": fact.value,
            }
            for fact in self.facts
        ]

    def to_frame(self) -> pandas.DataFrame:
        """Return the facts as a pandas frame.

        Raises:
            InvalidInput: Pandas isn't installed.
        """
        return _frame(self.rows())

    def _repr_html_(self) -> str:
        head = "".join(
            f"<tr><th>{escape(key)}</th><td>{escape(str(value))}</td></tr>"
            for key, value in _asset_cells(self.asset).items()
        )
        return f"<table>{head}</table>{_table(self.rows())}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a comparison: what each asset has there, in their order; None: it has nothing.

    `difference` is, of a number, the last minus the first; `better` whether the last is. `source`
    is the ref that says it, as in `Fact`.
    """

    role: Role | Literal["metadata", "ref", "asset"]
    source: str
    file: str
    key: str
    values: tuple[Value, ...]
    same: bool
    difference: float | None = None
    better: bool | None = None


@dataclass(frozen=True, slots=True)
class FileRow:
    """One path in the assets that are compared; None where an asset hasn't got it.

    `kind` is what became of it from the first to the last; `old_path` where it was, if renamed.
    """

    path: str
    kind: FileChange
    files: tuple[File | None, ...]
    old_path: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between assets, and what is the same.

    `unread` is what of their documents and refs could not be read, so that what that says is
    missing; what is in a file that all of them have is no difference, and left out.
    """

    assets: tuple[AssetInfo, ...]
    rows: tuple[Row, ...]
    files: tuple[FileRow, ...]
    unread: tuple[Unread, ...] = ()

    @property
    def differences(self) -> tuple[Row, ...]:
        """The rows in which the assets differ."""
        return tuple(row for row in self.rows if not row.same)

    @property
    def changed_files(self) -> tuple[FileRow, ...]:
        """The files in which the assets differ."""
        return tuple(row for row in self.files if row.kind != "same")

    def table(self, *, everything: bool = False) -> list[dict[str, object]]:
        """Return flat rows, files included, with a column for each asset.

        Args:
            everything: Also what is the same.
        """
        names = [asset.name for asset in self.assets]
        rows = self.rows if everything else self.differences
        files = self.files if everything else self.changed_files
        two = len(self.assets) == 2
        found: list[dict[str, object]] = []
        for row in rows:
            cells: dict[str, object] = {"role": row.role, "source": row.source}
            cells |= {"file": row.file, "key": row.key}
            cells |= zip(names, row.values, strict=True)
            if two:
                cells |= {"difference": row.difference, "better": row.better}
            found.append(cells)
        for each in files:
            kind = f"renamed from {each.old_path}" if each.old_path else each.kind
            cells = {"role": "file", "source": "", "file": each.path, "key": kind}
            cells |= {n: f and f.id[:10] for n, f in zip(names, each.files, strict=True)}
            found.append({**cells, **({"difference": None, "better": None} if two else {})})
        return found

    def to_frame(self) -> pandas.DataFrame:
        """Return everything, also what is the same, as a pandas frame.

        Raises:
            InvalidInput: Pandas isn't installed.
        """
        return _frame(self.table(everything=True))

    def _repr_html_(self) -> str:
        return _table(self.table())


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a leaderboard: a value under a key of a file, as in `Fact`."""

    role: Role
    source: str
    file: str
    key: str
    better: Direction | None = None

    @property
    def name(self) -> str:
        """What no other column of an asset is called, and a leaderboard can be asked for.

        Example:
            >>> Column("parameter", "inputs", "training.yml", "parameters.learning_rate").name
            'inputs: training.yml:parameters.learning_rate'
        """
        source = f"{quoted(self.source)}: " if self.source else ""
        return f"{source}{quoted(self.file)}:{self.key}"

    def is_called(self, name: str) -> bool:
        """Whether this is a `KEY`, `FILE:KEY`, `REF:KEY` or `REF: FILE:KEY` of it.

        Of a key and a path the last parts are enough.

        Example:
            >>> column = Column("parameter", "inputs", "training.yml", "parameters.learning_rate")
            >>> column.is_called("inputs: training.yml:learning_rate"), column.is_called("rate")
            (True, False)
        """
        match = _NAME(name)
        place, key = match.groups() if match else (None, name)
        if not f".{self.key}".endswith(f".{key.strip()}"):
            return False
        if place is None:
            return True
        source, file, place = quoted(self.source), quoted(self.file), place.strip()
        if self.source and place.startswith(f"{source}:"):
            place = place.removeprefix(f"{source}:").strip()
        elif self.source and place == source:
            return True
        return place == file or file.endswith(f"/{place}")


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """An asset, and what it has in each column; None: nothing."""

    asset: AssetInfo
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Leaderboard:
    """The assets of a class side by side.

    `unread` are assets of it that could not be read and so have no row, and refs that could not, so
    that what they say is missing; each with why.
    """

    class_name: str
    columns: tuple[Column, ...]
    rows: tuple[LeaderboardRow, ...]
    unread: tuple[Unread, ...] = ()

    def table(self) -> list[dict[str, object]]:
        """Return a flat row for each asset."""
        names = self.column_names()
        return [
            {**_asset_cells(row.asset), **dict(zip(names, row.values, strict=True))}
            for row in self.rows
        ]

    def column_names(self) -> tuple[str, ...]:
        """Return what the columns are called: their keys; where that is not clear, or what another
        column of `table` is called, with the file and the ref that says it.
        """
        names = [*_ASSET_CELLS, *(column.key for column in dict.fromkeys(self.columns))]
        return tuple(
            column.name if names.count(column.key) > 1 else column.key for column in self.columns
        )

    def to_frame(self) -> pandas.DataFrame:
        """Return the table as a pandas frame.

        Raises:
            InvalidInput: Pandas isn't installed.
        """
        return _frame(self.table())

    def __repr__(self) -> str:
        size = f"{len(self.rows):,} assets, {len(self.columns):,} columns"
        return f"<Leaderboard of {self.class_name}: {size}>"

    def _repr_html_(self) -> str:
        return _table(self.table())


_ASSET_CELLS = ("asset", "aliases", "created_by", "created_at")


def _asset_cells(asset: AssetInfo) -> dict[str, object]:
    cells = (asset.name, ", ".join(asset.aliases), asset.author, asset.created_at)
    return dict(zip(_ASSET_CELLS, cells, strict=True))


def _frame(rows: Sequence[Mapping[str, object]]) -> pandas.DataFrame:
    try:
        import pandas
    except ImportError as error:
        raise InvalidInput(
            "a frame needs pandas, which isn't installed", hint="install it: pip install pandas"
        ) from error
    return pandas.DataFrame(rows)


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows as an HTML table, for notebooks; what a store says is only text in it."""
    names = list(dict.fromkeys(name for row in rows for name in row))

    def cells(tag: str, values: Iterator[object]) -> str:
        return "".join(f"<{tag}>{escape(_cell_text(value))}</{tag}>" for value in values)

    head = cells("th", iter(names))
    body = "".join(f"<tr>{cells('td', (row.get(name) for name in names))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell_text(value: object) -> str:
    """A cell for people: a time to the minute, in UTC."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return "" if value is None else str(value)
