"""Tables that only grow, in immutable segments: what a checkpoint keeps of a log.

A row has a place, from 0 on, and a key, which never changes; the rest of it may. The cut is a
function of the number of rows alone, so equal rows have equal segments, whoever wrote them:

- **segments** have the rows in the order of their places: blocks of 512, then of 64, then of 16,
  then the rest. So a few new rows rewrite few, and an old row is in one segment.
- **pages** have the keys of whole blocks. Blocks are taken together by powers of 4 (a run), and a
  run's keys are sorted and cut by their first bits. So each key is written a few times in all, and
  is in one page of each run. This is a log-structured merge tree (O'Neil and others, *The
  Log-Structured Merge-Tree*, 1996) whose merges the count alone decides.

A segment or page is canonical MessagePack, named by its digest. docs/format.md, section 12.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from ama.errors import IntegrityError
from ama.format import canonical
from ama.format.hashing import ID_SIZE

SIZES = (512, 64, 16)
BLOCK = SIZES[0]
FAN = 4
"""How many runs of a level become one of the next."""

KEY_SIZE = 5
MOST_ROWS = 10**12 - 1
FIRST_WINDOW = 64
LARGEST_WINDOW = 8 * BLOCK

Row = tuple[Any, ...]
Rows = tuple[Row, ...]
Place = tuple[int, Any]
"""Where a key has a row, and what its page says of it."""


class Source(Protocol):
    """The source of segments and pages, checked against their digests."""

    def read(self, digests: Sequence[bytes]) -> list[Rows]:
        """Return the rows of some segments, in one round trip at most."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The keys by which the rows of a kind of table are found.

    Attributes:
        key: Returns a row's key: 5 bytes, as good as random. Several rows may have the same.
        value: Returns what a page says of a row beside its place.
        latest: Whether of rows with the same key and the same first item of their values, a page
            has the last alone.
    """

    key: Callable[[Row], bytes]
    value: Callable[[Row], Any] = lambda row: None
    latest: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table: how many rows it has, and the digests of its segments and pages, in order."""

    count: int = 0
    segments: tuple[bytes, ...] = ()
    pages: tuple[bytes, ...] = ()


EMPTY = Table()


@dataclass(frozen=True, slots=True)
class Run:
    """Whole blocks whose keys are sorted together. `page` is the number of its first page."""

    start: int
    level: int
    page: int

    @property
    def end(self) -> int:
        """Return the place after its last row."""
        return self.start + BLOCK * int(FAN**self.level)

    @property
    def pages(self) -> int:
        """Return how many pages it has: each has some 1,024 keys, that of level 0 has 512."""
        return 1 << self._bits

    def page_of(self, key: bytes) -> int:
        """Return the number of the page that a key would be in."""
        return self.page + (int.from_bytes(key, "big") >> (8 * KEY_SIZE - self._bits))

    @property
    def _bits(self) -> int:
        return max(0, 2 * self.level - 1)


def spans(count: int) -> list[tuple[int, int]]:
    """Return the first place of each segment, and the place after its last.

    Example:
        >>> spans(83)
        [(0, 64), (64, 80), (80, 83)]
    """
    found, start = [], 0
    for size in SIZES:
        whole = start + (count - start) // size * size
        found += [(at, at + size) for at in range(start, whole, size)]
        start = whole
    return [*found, (start, count)] if start < count else found


def span_at(count: int, place: int) -> int:
    """Return the number of the segment that a place lies in.

    Example:
        >>> [span_at(83, place) for place in (0, 63, 64, 82)]
        [0, 0, 1, 2]
    """
    before, start = 0, 0
    for size in SIZES:
        whole = (count - start) // size
        if place < start + whole * size:
            return before + (place - start) // size
        before, start = before + whole, start + whole * size
    return before


def runs(count: int) -> list[Run]:
    """Return the runs of a table, the longest and oldest first.

    Example:
        >>> [(run.start, run.end) for run in runs(5 * 512 + 3)]
        [(0, 2048), (2048, 2560)]
    """
    blocks, start, page = count // BLOCK, 0, 0
    level = next(level for level in range(64) if FAN ** (level + 1) > blocks)
    found = []
    for each in range(level, -1, -1):
        for _ in range(blocks // FAN**each % FAN):
            found.append(Run(start * BLOCK, each, page))
            start, page = start + FAN**each, page + found[-1].pages
    return found


def encode_table(table: Table) -> tuple[int, bytes, bytes]:
    """Return a table's fields in a checkpoint.

    Example:
        >>> decode_table(encode_table(EMPTY)) == EMPTY
        True
    """
    return table.count, b"".join(table.segments), b"".join(table.pages)


def decode_table(fields: Any) -> Table:
    """Return the table of a checkpoint's fields.

    Raises:
        ValueError: They are no table's.
    """
    count, segments, pages = fields
    if type(count) is not int or not 0 <= count <= MOST_ROWS:
        raise ValueError("a table of an impossible length")
    if type(segments) is not bytes or type(pages) is not bytes:
        raise ValueError("a table without digests")
    last = runs(count)[-1:]
    expected = (span_at(count, count - 1) + 1 if count else 0, sum(r.page + r.pages for r in last))
    if (len(segments), len(pages)) != tuple(ID_SIZE * number for number in expected):
        raise ValueError("a table that lacks a segment")
    return Table(count, _ids(segments), _ids(pages))


def _ids(joined: bytes) -> tuple[bytes, ...]:
    return tuple(joined[at : at + ID_SIZE] for at in range(0, len(joined), ID_SIZE))


def decode_rows(data: bytes, what: str = "segment of a checkpoint") -> Rows:
    """Decode a segment or a page.

    Raises:
        IntegrityError: The bytes are damaged.

    Example:
        >>> decode_rows(canonical.encode([(1, "a")]))
        ((1, 'a'),)
    """
    rows = canonical.decode(data, what)
    if type(rows) is not tuple or not all(type(row) is tuple for row in rows):
        raise IntegrityError(f"{what} is damaged: it has no rows")
    return rows


class TableReader:
    """A table that is read where it is asked about.

    Args:
        table: The table.
        shape: What its rows are found by.
        source: What returns its segments.
    """

    def __init__(self, table: Table, shape: Shape, source: Source) -> None:
        self.table = table
        self._shape = shape
        self._source = source

    @property
    def count(self) -> int:
        """Return how many rows it has."""
        return self.table.count

    def row(self, place: int) -> Row:
        """Return one row."""
        return self.rows([place])[place]

    def rows(self, places: Iterable[int]) -> dict[int, Row]:
        """Return some rows by place, in one batch."""
        wanted = list(places)
        numbers = sorted({span_at(self.count, place) for place in wanted})
        found = dict(zip(numbers, self._read(numbers), strict=True))
        cut = {number: self._span(number)[0] for number in numbers}
        at = {place: span_at(self.count, place) for place in wanted}
        return {place: found[at[place]][place - cut[at[place]]] for place in wanted}

    def between(self, start: int, end: int) -> Iterator[Row]:
        """Yield the rows from one place to before another, a few blocks at a time."""
        for first in range(start, end, LARGEST_WINDOW):
            yield from self.rows(range(first, min(first + LARGEST_WINDOW, end))).values()

    def newest(self) -> Iterator[tuple[int, Row]]:
        """Yield places and rows, the last first: few segments if few are asked for."""
        end, window = self.count, FIRST_WINDOW
        while end:
            start = max(0, end - window)
            found = self.rows(range(start, end))
            yield from ((place, found[place]) for place in range(end - 1, start - 1, -1))
            end, window = start, min(2 * window, LARGEST_WINDOW)

    def find(self, keys: Iterable[bytes]) -> dict[bytes, list[Place]]:
        """Return where some keys have rows, the oldest first, read in one batch.

        Of rows that others supersede, the last is among them.
        """
        wanted = list(dict.fromkeys(keys))
        self.load(self.parts_of(wanted))
        return {key: self.within(key, key) for key in wanted}

    def within(self, low: bytes, high: bytes) -> list[Place]:
        """Return where the keys from one to another have rows, the oldest first."""
        numbers = self._pages(low, high)
        found: list[Place] = []
        for page in self._source.read([self.table.pages[number] for number in numbers]):
            at = bisect_left(page, (low,))
            while at < len(page) and page[at][0] <= high:
                found.append((page[at][1], page[at][2]))
                at += 1
        young = self._young if self.count % BLOCK else {}
        if low == high:
            found += young.get(low, ())
        else:
            found += [place for key in young if low <= key <= high for place in young[key]]
        return sorted(found, key=lambda place: place[0])

    def parts_of(self, keys: Iterable[bytes]) -> list[bytes]:
        """Return the digests of all that `find` reads for some keys."""
        wanted = list(keys)
        if not wanted:
            return []
        pages = {number for key in wanted for number in self._pages(key, key)}
        first = span_at(self.count, self.count - self.count % BLOCK)
        young = self.table.segments[first:] if self.count % BLOCK else ()
        return [*(self.table.pages[number] for number in sorted(pages)), *young]

    def parts_at(self, places: Iterable[int]) -> list[bytes]:
        """Return the digests of the segments of some places."""
        return [self.table.segments[n] for n in {span_at(self.count, place) for place in places}]

    def load(self, digests: Sequence[bytes]) -> None:
        """Read what will be asked for, in one batch."""
        self._source.read(digests)

    @cached_property
    def _young(self) -> Mapping[bytes, list[Place]]:
        """The keys of the last rows, which are in no page yet."""
        found: dict[bytes, list[Place]] = {}
        start = self.count - self.count % BLOCK
        for place, row in enumerate(self.between(start, self.count), start):
            found.setdefault(self._shape.key(row), []).append((place, self._shape.value(row)))
        return found

    def _pages(self, low: bytes, high: bytes) -> list[int]:
        return [
            number
            for run in runs(self.count)
            for number in range(run.page_of(low), run.page_of(high) + 1)
        ]

    def _span(self, number: int) -> tuple[int, int]:
        blocks = self.count // BLOCK
        if number < blocks:
            return number * BLOCK, (number + 1) * BLOCK
        start = blocks * BLOCK
        first, last = spans(self.count - start)[number - blocks]
        return start + first, start + last

    def _read(self, numbers: Sequence[int]) -> list[Rows]:
        found = self._source.read([self.table.segments[number] for number in numbers])
        for number, rows in zip(numbers, found, strict=True):
            first, last = self._span(number)
            if len(rows) != last - first:
                raise IntegrityError("a segment of a checkpoint lacks rows")
        return found


class Draft:
    """A table to which rows are appended, and whose rows change; `finish` cuts it anew.

    Args:
        table: The table before.
        shape: What its rows are found by.
        source: What returns its segments.
    """

    def __init__(self, table: Table, shape: Shape, source: Source) -> None:
        self._before = TableReader(table, shape, source)
        self._shape = shape
        self._source = source
        self._known: dict[bytes, list[Place]] = {}
        self._rows: dict[int, Row] = {}
        self.count = table.count

    def load(self, keys: Iterable[bytes]) -> None:
        """Read what these keys have, in two batches, as they will be asked for."""
        missing = [key for key in dict.fromkeys(keys) if key not in self._known]
        self._known.update(self._before.find(missing))
        places = [place for key in missing for place, _ in self._known[key]]
        self._before.load(self._before.parts_at(places))

    def places(self, key: bytes) -> list[Place]:
        """Return where a key has rows, the oldest first."""
        if key not in self._known:
            self.load([key])
        return self._known[key]

    def row(self, place: int) -> Row:
        """Return a row as it is now."""
        return self._rows[place] if place in self._rows else self._before.row(place)

    def append(self, row: Row) -> int:
        """Append a row; return its place."""
        key = self._shape.key(row)
        self.places(key).append((self.count, self._shape.value(row)))
        self._rows[self.count] = row
        self.count += 1
        return self.count - 1

    def extend(self, rows: Iterable[Row]) -> None:
        """Append rows without a look at what their keys have; nobody asks for those afterwards."""
        for row in rows:
            self._rows[self.count] = row
            self.count += 1

    def change(self, place: int, row: Row) -> None:
        """Put a row with the same key in the place of another."""
        self._rows[place] = row

    def all(self) -> Iterator[Row]:
        """Yield every row as it is now."""
        for place, row in enumerate(self._before.between(0, self._before.count)):
            yield self._rows.get(place, row)
        yield from (self._rows[place] for place in range(self._before.count, self.count))

    def finish(self, store: Callable[[bytes], bytes]) -> Table:
        """Return the table as it is now.

        Args:
            store: A function that keeps a segment's bytes and returns their digest.
        """
        if not self._rows:
            return self._before.table
        return Table(self.count, self._segments(store), self._run_pages(store))

    def _segments(self, store: Callable[[bytes], bytes]) -> tuple[bytes, ...]:
        before = self._before.table
        old = spans(before.count)
        known = dict(zip(old, before.segments, strict=True))
        changed = (place for place in self._rows if place < before.count)
        for number in {span_at(before.count, place) for place in changed}:
            del known[old[number]]
        cut = spans(self.count)
        rows = self._now(place for span in cut if span not in known for place in range(*span))
        for span in cut:
            if span not in known:
                known[span] = store(canonical.encode([rows[place] for place in range(*span)]))
        return tuple(known[span] for span in cut)

    def _now(self, places: Iterable[int]) -> dict[int, Row]:
        """Return some rows as they are now, read in one batch."""
        wanted = list(places)
        found = self._before.rows(place for place in wanted if place not in self._rows)
        found.update((place, self._rows[place]) for place in wanted if place in self._rows)
        return {place: found[place] for place in wanted}

    def _run_pages(self, store: Callable[[bytes], bytes]) -> tuple[bytes, ...]:
        before = self._before.table
        old = runs(before.count)
        known = {run.start: before.pages[run.page : run.page + run.pages] for run in old}
        pages: list[bytes] = []
        for run in runs(self.count):
            inside = [each for each in old if run.start <= each.start < run.end]
            if inside and inside[0].level == run.level:
                pages += known[run.start]
                continue
            digests = [digest for each in inside for digest in known[each.start]]
            keys = [row for page in self._source.read(digests) for row in page]
            rest = self._now(range(inside[-1].end if inside else run.start, run.end))
            keys += [(self._shape.key(r), at, self._shape.value(r)) for at, r in rest.items()]
            pages += [store(canonical.encode(page)) for page in _cut(run, keys, self._shape)]
        return tuple(pages)


def _cut(run: Run, keys: Iterable[Row], shape: Shape) -> list[list[Row]]:
    """Return a run's keys in order, in pages."""
    ordered = sorted(keys, key=lambda row: (row[0], row[1]))
    if shape.latest:
        ordered = list({(key, value[0]): (key, at, value) for key, at, value in ordered}.values())
        ordered.sort(key=lambda row: (row[0], row[1]))
    pages: list[list[Row]] = [[] for _ in range(run.pages)]
    for row in ordered:
        pages[run.page_of(row[0]) - run.page].append(row)
    return pages
