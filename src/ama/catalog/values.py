"""Answers of the catalog: frozen values, with the forms that notebooks show.

Times are timezone-aware UTC datetimes, sizes are bytes, ids are 64 hex digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Literal, overload

from ama.catalog.documents import Value
from ama.catalog.roles import Direction, Role, UnknownKey, quoted
from ama.catalog.unread import Unread
from ama.errors import InvalidInput, shown
from ama.values import AssetInfo, ChangeKind, File, Noted, Ref

if TYPE_CHECKING:
    import pandas

_NAME = re.compile(r"(?:(.*):)?((?:\"(?:[^\"\\]|\\.)*\"|[^\":])*)", re.DOTALL).fullmatch
"""Matches a place and a key; a colon in quotes belongs to the key."""

FileChange = ChangeKind | Literal["renamed", "same"]


@dataclass(frozen=True, slots=True)
class Found:
    """A hit of `find`."""

    asset: AssetInfo
    """The asset."""
    paths: tuple[str, ...] = ()
    """The paths in it of the file that was looked for; empty if none was."""
    tags: tuple[str, ...] = ()
    """The tags that were noted of it."""


@dataclass(frozen=True, slots=True, repr=False)
class Findings(Sequence[Found]):
    """The result of `find`, in order."""

    found: tuple[Found, ...]
    """The hits."""
    unread: tuple[Unread, ...] = ()
    """The unread files and values, so that hits may be missing.

    It has whole assets, and gaps in documents that the conditions ask about.
    """
    unknown: tuple[UnknownKey, ...] = ()
    """If nothing was found: the keys of the conditions that no asset has."""
    unknown_tags: tuple[UnknownKey, ...] = ()
    """If nothing was found: the tags that no asset has."""

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
            {**asset_cells(each.asset, each.tags), **({"path": path} if path else {})}
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
        return html_table(self.rows())


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that an asset says: a value under a dotted key, in a file or its metadata."""

    role: Role
    """One of "parameter", "metric", "data", "code" or "other"."""
    file: str
    """The path of the file; empty for metadata."""
    key: str
    """The dotted key."""
    value: Value
    """The value."""
    better: Direction | None = None
    """The better values of a metric; None: not known, or no metric."""
    source: str = ""
    """The ref that says it; empty if the asset itself does.

    A ref's name is its class if no other ref has that class, else its label.
    """
    entry: int | None = None
    """The entry of the log with the note that says it; None: it was there when published."""


@dataclass(frozen=True, slots=True)
class Code:
    """The code that made an asset, as far as the asset says so."""

    repository: str | None = None
    """The URL of the repository."""
    commit: str | None = None
    """The commit."""
    branch: str | None = None
    """The branch."""
    dirty: bool | None = None
    """Whether tracked files had changes."""
    file: str = ""
    """The file that says it; empty for metadata."""
    source: str = ""
    """The ref that says it; empty if the asset itself does."""


@dataclass(frozen=True, slots=True)
class Summary:
    """An asset on one screen."""

    asset: AssetInfo
    """The asset."""
    files: tuple[File, ...]
    """Its files, or the first of them, in the order of their paths."""
    facts: tuple[Fact, ...]
    """Its facts."""
    code: Code | None
    """The code that made it."""
    parents: tuple[Ref, ...]
    """The versions that it follows."""
    aliases_before: tuple[str, ...]
    """The aliases that once pointed to it."""
    made_from_it: int
    """How many live assets of the store name it as a ref or parent."""
    same_files: tuple[Ref, ...]
    """Other assets with exactly these files."""
    unread: tuple[Unread, ...] = ()
    """The parts of its documents and refs that could not be read: their facts are missing."""
    listed: bool = True
    """Whether the files are listed. If they are too many, `files` is empty and `unread` says so."""
    file_count: int = 0
    """How many files it has, also of those that are not listed."""
    noted: Noted | None = None
    """What was said later of it; None where its store was not asked."""
    environment: str | None = None
    """The packages that it was made with, as a list for pip; None: none were recorded."""
    class_description: str = ""
    """The description of its class, in Markdown; empty if there is none."""

    def of(self, role: Role) -> tuple[Fact, ...]:
        """Return the facts of one role: "parameter", "metric", "data", "code" or "other"."""
        return tuple(fact for fact in self.facts if fact.role == role)

    @property
    def parameters(self) -> tuple[Fact, ...]:
        """Return the parameters: what it was made with."""
        return self.of("parameter")

    @property
    def metrics(self) -> tuple[Fact, ...]:
        """Return the metrics: how good it is."""
        return self.of("metric")

    @property
    def data(self) -> tuple[Fact, ...]:
        """Return the facts about the data that it was made from; see also the asset's refs."""
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
            f"<tr><th>{escape(key)}</th><td>{escape(_cell_text(value))}</td></tr>"
            for key, value in asset_cells(self.asset, self.noted.tags if self.noted else ()).items()
        )
        return f"<table>{head}</table>{html_table(self.rows())}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a comparison."""

    role: Role | Literal["metadata", "ref", "asset"]
    """The role of the values."""
    source: str
    """The ref that says it, as in `Fact`."""
    file: str
    """The path of the file; empty for metadata."""
    key: str
    """The dotted key."""
    values: tuple[Value, ...]
    """The value of each asset, in their order; None: it has none."""
    same: bool
    """Whether the values are equal."""
    difference: float | None = None
    """The last number minus the first; None if they are no numbers."""
    better: bool | None = None
    """Whether the last value is better than the first; None if that is not known."""
    entries: tuple[int | None, ...] = ()
    """For each value the entry of the log that noted it later, as in `Fact`; empty if none did."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """One path in the assets that are compared."""

    path: str
    """The path."""
    kind: FileChange
    """The change from the first asset to the last."""
    files: tuple[File | None, ...]
    """The file in each asset; None: it has none there."""
    old_path: str | None = None
    """The path in the first asset, if the file was renamed."""


@dataclass(frozen=True, slots=True)
class PackageRow:
    """A package in the environments of the assets that are compared."""

    name: str
    """The package's name."""
    versions: tuple[str | None, ...]
    """Its version in each asset, or where it comes from; None: it is not there, or the asset says
    nothing of its environment."""
    kind: Literal["added", "removed", "changed", "same"]
    """The change from the first environment to the last."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The differences between assets, and what is the same."""

    assets: tuple[AssetInfo, ...]
    """The assets."""
    rows: tuple[Row, ...]
    """The values, also those that are the same."""
    files: tuple[FileRow, ...]
    """The files; those that are the same too, unless they were left out of the comparison."""
    unread: tuple[Unread, ...] = ()
    """The parts of their documents and refs that could not be read: their values are missing.

    Gaps in a file that all of the assets have are left out: they make no difference.
    """
    packages: tuple[PackageRow, ...] = ()
    """The packages of their environments, also those that are the same; empty if fewer than two of
    the assets say which they had."""
    environments: tuple[int | None, ...] = ()
    """How many packages each had; None: it doesn't say."""

    @property
    def changed_packages(self) -> tuple[PackageRow, ...]:
        """Return the packages in which the assets differ."""
        return tuple(row for row in self.packages if row.kind != "same")

    @property
    def differences(self) -> tuple[Row, ...]:
        """Return the rows in which the assets differ."""
        return tuple(row for row in self.rows if not row.same)

    @property
    def changed_files(self) -> tuple[FileRow, ...]:
        """Return the files in which the assets differ."""
        return tuple(row for row in self.files if row.kind != "same")

    def table(self, *, everything: bool = False) -> list[dict[str, object]]:
        """Return flat rows, packages and files included, with a column for each asset.

        Args:
            everything: Whether to include what is the same.
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
        for package in self.packages if everything else self.changed_packages:
            cells = {"role": "package", "source": "", "file": "", "key": package.name}
            cells |= zip(names, package.versions, strict=True)
            found.append({**cells, **({"difference": None, "better": None} if two else {})})
        for each in files:
            kind = f"renamed from {each.old_path}" if each.old_path else each.kind
            cells = {"role": "file", "source": "", "file": each.path, "key": kind}
            cells |= {n: f and f.id[:10] for n, f in zip(names, each.files, strict=True)}
            found.append({**cells, **({"difference": None, "better": None} if two else {})})
        return found

    def to_frame(self) -> pandas.DataFrame:
        """Return all rows, also those that are the same, as a pandas frame.

        Raises:
            InvalidInput: Pandas isn't installed.
        """
        return _frame(self.table(everything=True))

    def _repr_html_(self) -> str:
        return html_table(self.table())


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a leaderboard: a value under a key of a file, as in `Fact`."""

    role: Role
    """The role of the values."""
    source: str
    """The ref that says it; empty if the asset itself does."""
    file: str
    """The path of the file; empty for metadata."""
    key: str
    """The dotted key."""
    better: Direction | None = None
    """The better values; None: not known."""

    @property
    def name(self) -> str:
        """Return a name that is unique in an asset, and that a leaderboard accepts.

        Example:
            >>> Column("parameter", "inputs", "training.yml", "parameters.learning_rate").name
            'inputs: training.yml:parameters.learning_rate'
        """
        source = f"{quoted(self.source)}: " if self.source else ""
        return f"{source}{quoted(self.file)}:{self.key}"

    def is_called(self, name: str) -> bool:
        """Whether a name means this column: `KEY`, `FILE:KEY`, `REF:KEY` or `REF: FILE:KEY`.

        The last parts of a key and of a path suffice.

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
    """A row of a leaderboard."""

    asset: AssetInfo
    """The asset."""
    values: tuple[Value, ...]
    """Its value in each column; None: it has none."""
    tags: tuple[str, ...] = ()
    """The tags that were noted of it."""
    entries: tuple[int | None, ...] = ()
    """For each value the entry of the log that noted it later, as in `Fact`; empty if none did."""


@dataclass(frozen=True, slots=True, repr=False)
class Leaderboard:
    """The assets of a class side by side."""

    class_name: str
    """The class."""
    columns: tuple[Column, ...]
    """The columns."""
    rows: tuple[LeaderboardRow, ...]
    """The rows, in order."""
    unread: tuple[Unread, ...] = ()
    """Assets without a row and refs without values: they could not be read."""

    def table(self) -> list[dict[str, object]]:
        """Return a flat row for each asset."""
        names = self.column_names()
        return [
            {**asset_cells(row.asset, row.tags), **dict(zip(names, row.values, strict=True))}
            for row in self.rows
        ]

    def column_names(self) -> tuple[str, ...]:
        """Return the columns' names: their keys, with the file and the ref that says it where
        another column of `table` has the same key.
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
        return html_table(self.table())


_ASSET_CELLS = ("asset", "aliases", "tags", "created_by", "created_at")


def asset_cells(asset: AssetInfo, tags: Sequence[str] = ()) -> dict[str, object]:
    """Return an asset's cells in a flat row."""
    named = ", ".join(asset.aliases), ", ".join(tags)
    cells = (asset.name, *named, asset.author, asset.created_at)
    return dict(zip(_ASSET_CELLS, cells, strict=True))


def _frame(rows: Sequence[Mapping[str, object]]) -> pandas.DataFrame:
    try:
        import pandas
    except ImportError as error:
        raise InvalidInput(
            "a frame needs pandas, which isn't installed", hint="install it: pip install pandas"
        ) from error
    return pandas.DataFrame(rows)


MOST_ROWS = 1_000
"""The most rows of an HTML table: a notebook keeps them all."""

_LONGEST_CELL = 300


def html_table(rows: Sequence[Mapping[str, object]], count: int | None = None) -> str:
    """Return rows as an HTML table, for notebooks; texts of a store are escaped.

    Args:
        rows: The rows; of many, the first are shown.
        count: How many there are, if these are only the first.

    Example:
        >>> html_table([{"a": "<b>"}])
        '<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    some = rows[:MOST_ROWS]
    names = list(dict.fromkeys(name for row in some for name in row))
    left = (len(rows) if count is None else count) - len(some)

    def cells(tag: str, values: Iterable[object]) -> str:
        return "".join(f"<{tag}>{escape(_cell_text(value))}</{tag}>" for value in values)

    head = cells("th", names)
    body = "".join(f"<tr>{cells('td', (row.get(name) for name in names))}</tr>" for row in some)
    more = f"<tr>{cells('td', [f'… {left:,}'])}</tr>" if left > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}{more}</tbody></table>"


def _cell_text(value: object) -> str:
    """Return a cell for people; a time to the minute, in UTC."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    text = "" if value is None else str(value)
    return shown(text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…")
