"""The page that compares assets: values, files, the lines of texts, and histories as charts."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from ama.asset import Asset, compare
from ama.catalog.compare import number_of
from ama.catalog.values import Comparison, FileRow, Row
from ama.contents.comparison import ContentDiff, FileDiff, TensorChange
from ama.dashboard.charts import lines
from ama.dashboard.queries import MOST_COMPARED, Asked
from ama.dashboard.rendering import Page
from ama.dashboard.views import Way, panel, ways_from
from ama.errors import AmaError, Conflict, InvalidInput, NotFound
from ama.store import Store

MOST_ROWS = 400
MOST_TEXTS = 12
"""The most texts to compare line by line on one page."""

SMALL = 128 * 1024
"""The size from which a file is compared only on request."""

LARGE = 256_000_000
"""The largest file to compare here, in bytes: a larger one would keep the server busy too long."""

SECONDS = 3.0
"""The seconds after which no further file is compared without a request."""

PATIENCE = 10.0
"""The seconds that a large file waits for the comparison of another one."""

MOST_LINES = 300
MOST_TITLED = 3
MOST_TENSORS = 200
MOST_CHARTS = 8


@dataclass(frozen=True, slots=True)
class Within:
    """The differences within a file, in lines or tensors, and how many are left out."""

    diff: FileDiff
    lines: tuple[tuple[str, str], ...] = ()
    tensors: tuple[TensorChange, ...] = ()
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class WithinFiles:
    """The differences within files, and how many more small ones were not compared."""

    files: tuple[Within, ...] = ()
    left_out: int = 0


class Comparing:
    """A comparison of files' contents for pages; large ones one after another.

    Args:
        url: The store's URL.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._alone = Lock()

    def within(self, pair: Sequence[Asset], rows: Sequence[FileRow], wanted: str) -> WithinFiles:
        """Return the differences within small files that both have, and within the requested one.

        Args:
            pair: The assets.
            rows: The files that differ.
            wanted: The requested path; empty: none.

        Raises:
            Conflict: Other large files are being compared.
            IntegrityError: A file is damaged.
        """
        both = {
            row.path: max(file.size for file in row.files if file is not None)
            for row in rows
            if row.kind == "modified" and row.old_path is None and all(row.files)
        }
        asked = [wanted] if wanted in both else []
        small = [path for path, size in both.items() if size <= SMALL and path != wanted]
        found = []
        if asked and both[wanted] > LARGE:
            found.append(_too_large(pair, wanted, self._url))
        elif asked and both[wanted] > SMALL:
            with self.one_at_a_time():
                found += _compared_contents(pair, asked)
        else:
            small = asked + small
        listed = small[:MOST_TEXTS]
        until = time.monotonic() + SECONDS
        left = len(small)
        for each in _compared_contents(pair, listed):
            found.append(each)
            left -= 1
            if time.monotonic() > until:
                break
        return WithinFiles(tuple(found), left)

    @contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Hold the turn of comparing a large file, while the context lasts.

        Raises:
            Conflict: Another comparison takes longer than the limit.
        """
        if not self._alone.acquire(timeout=PATIENCE):
            raise Conflict(
                "other large files are being compared", hint="ask for this page again in a while"
            )
        try:
            yield
        finally:
            self._alone.release()


def _too_large(pair: Sequence[Asset], path: str, url: str) -> Within:
    old, new = pair
    (change,) = new.changes_from(old, paths=[path])
    names = " ".join(f"{asset.info.class_name}/{asset.info.number}" for asset in pair)
    command = f"ama diff {names} --remote {shlex.quote(url)} -- {shlex.quote(path)}"
    note = f"it has more than {LARGE:,} bytes, too many to be compared here: {command}"
    return Within(FileDiff(change, ContentDiff("binary", note=note)))


def _compared_contents(pair: Sequence[Asset], paths: Sequence[str]) -> Iterator[Within]:
    old, new = pair
    # No paths would mean all of them.
    return (_shown(diff) for diff in new.compare_contents(old, paths=paths)) if paths else iter(())


def compare_page(store: Store, asked: Asked, comparing: Comparing) -> Page:
    """Return the comparison of the assets in an address."""
    names = asked.all("a", MOST_COMPARED + 1)
    content: dict[str, object] = {
        "names": names[:MOST_COMPARED],
        "most": MOST_COMPARED,
        "too_many": len(names) > MOST_COMPARED,
        "everything": asked.one("all") == "1",
        "file": asked.one("file"),
        "found": None,
        "problem": None,
        "ways": (),
    }
    if len(names) >= 2:
        try:
            assets = [store.resolve(name) for name in names[:MOST_COMPARED]]
            content["found"] = _compared(assets, asked, comparing)
        except NotFound as error:
            content["problem"] = NotFound(error.message)
            content["ways"] = _ways(store, names)
        except AmaError as error:
            content["problem"] = error
    elif names:
        content["problem"] = InvalidInput("to compare takes two assets or more")
    return Page("compare.html", _title(names[:MOST_COMPARED]), content)


def _title(names: Sequence[str]) -> str:
    if not names:
        return "Compare"
    *first, last = names if len(names) <= MOST_TITLED else [*names[:2], f"{len(names) - 2} more"]
    return f"Compare {', '.join(first)} and {last}" if first else f"Compare {last}"


def _ways(store: Store, names: Sequence[str]) -> tuple[Way, ...]:
    classes = dict.fromkeys(re.split("[/@~]", name)[0] for name in names)
    ways = (way for name in classes for way in ways_from(store, name))
    return tuple(dict.fromkeys(ways))


def _compared(assets: list[Asset], asked: Asked, comparing: Comparing) -> dict[str, object]:
    everything = asked.one("all") == "1"
    comparison = compare(*assets, same_files=everything)
    rows = comparison.rows if everything else comparison.differences
    files = comparison.files if everything else comparison.changed_files
    scalars = [row for row in rows if not _is_history(row)]
    pair = len(assets) == 2
    packages = comparison.packages if everything else comparison.changed_packages
    changed, wanted = comparison.changed_files, asked.one("file")
    return {
        "assets": comparison.assets,
        "tags": [asset.noted().tags for asset in assets],
        "unread": comparison.unread,
        "rows": scalars[:MOST_ROWS],
        "rows_left": max(0, len(scalars) - MOST_ROWS),
        "files": files[:MOST_ROWS],
        "files_left": max(0, len(files) - MOST_ROWS),
        "packages": packages[:MOST_ROWS],
        "packages_left": max(0, len(packages) - MOST_ROWS),
        "environments": _environments(comparison),
        "charts": _charts(comparison),
        "same": len(comparison.rows) - len(comparison.differences),
        "within": panel(lambda: comparing.within(assets, changed, wanted)) if pair else None,
        "pair": pair,
    }


def _environments(comparison: Comparison) -> tuple[int | None, ...]:
    """Return how many packages each asset had, unless none says so."""
    known = any(count is not None for count in comparison.environments)
    return comparison.environments if known else ()


def _is_history(row: Row) -> bool:
    known = [value for value in row.values if value is not None]
    return bool(known) and all(
        isinstance(value, tuple) and len(value) > 2 and number_of(value) is not None
        for value in known
    )


def _charts(comparison: Comparison) -> list[tuple[Row, str, list[str]]]:
    found = []
    for row in filter(_is_history, comparison.rows):
        histories = {}
        for asset, value in zip(comparison.assets, row.values, strict=True):
            if isinstance(value, tuple):
                numbers = [number for each in value if (number := number_of(each)) is not None]
                histories[f"{asset.class_name}/{asset.number}"] = numbers
        found.append((row, lines(histories, row.key), list(histories)))
        if len(found) == MOST_CHARTS:
            break
    return found


def _shown(diff: FileDiff) -> Within:
    if diff.content is None:
        return Within(diff)
    if not diff.content.hunks:
        tensors = diff.content.tensors
        left = max(0, len(tensors) - MOST_TENSORS)
        return Within(diff, tensors=tensors[:MOST_TENSORS], left_out=left)
    kinds = {" ": "same", "-": "old", "+": "new", "\\": "note"}

    listed: list[tuple[str, str]] = []
    for hunk in diff.content.hunks:
        listed.append(("hunk", hunk.header))
        listed += [(kinds.get(line[:1], "same"), line[:2_000]) for line in hunk.lines]
    left = max(0, len(listed) - MOST_LINES)
    return Within(diff, tuple(listed[:MOST_LINES]), left_out=left)
