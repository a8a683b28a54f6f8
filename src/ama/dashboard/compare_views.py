"""The page that compares assets: values, files, the lines of texts, and histories as charts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from ama.asset import Asset, compare
from ama.browsing import Browser
from ama.catalog.comparing import number_of
from ama.catalog.values import Comparison, Row
from ama.contents.comparing import FileDiff
from ama.dashboard.asking import MOST_COMPARED, Asked
from ama.dashboard.charts import lines
from ama.dashboard.rendering import Page
from ama.dashboard.views import panel
from ama.errors import AmaError, InvalidInput
from ama.store import Store

MOST_ROWS = 400
MOST_TEXTS = 12
"""So many texts are compared line by line on one page."""

SMALL = 128 * 1024
"""A larger file is compared only when it is asked for."""

MOST_LINES = 300
MOST_TENSORS = 200
MOST_CHARTS = 8


@dataclass(frozen=True, slots=True)
class Within:
    """What differs within a file: its lines, or tensors; how much of it is left out."""

    diff: FileDiff
    lines: tuple[tuple[str, str], ...] = ()
    left_out: int = 0


def compare_page(store: Store, browser: Browser, asked: Asked) -> Page:
    """Return the comparison of the assets that an address names."""
    names = asked.all("a", MOST_COMPARED + 1)
    content: dict[str, object] = {
        "names": names[:MOST_COMPARED],
        "most": MOST_COMPARED,
        "too_many": len(names) > MOST_COMPARED,
        "everything": asked.one("all") == "1",
        "file": asked.one("file"),
        "found": None,
        "problem": None,
    }
    if len(names) >= 2:
        try:
            assets = [store.resolve(name) for name in names[:MOST_COMPARED]]
            content["found"] = _compared(assets, asked)
        except AmaError as error:
            content["problem"] = error
    elif names:
        content["problem"] = InvalidInput("to compare takes two assets or more")
    return Page(
        "compare.html", "Compare " + " and ".join(names[:2]) if names else "Compare", content
    )


def _compared(assets: list[Asset], asked: Asked) -> dict[str, object]:
    comparison = compare(*assets)
    everything = asked.one("all") == "1"
    rows = comparison.rows if everything else comparison.differences
    files = comparison.files if everything else comparison.changed_files
    scalars = [row for row in rows if not _is_history(row)]
    pair = assets if len(assets) == 2 else None
    return {
        "assets": comparison.assets,
        "unread": comparison.unread,
        "rows": scalars[:MOST_ROWS],
        "rows_left": max(0, len(scalars) - MOST_ROWS),
        "files": files[:MOST_ROWS],
        "files_left": max(0, len(files) - MOST_ROWS),
        "charts": _charts(comparison),
        "same": len(comparison.rows) - len(comparison.differences),
        "within": panel(lambda: _within(comparison, pair, asked.one("file"))) if pair else None,
        "pair": pair is not None,
    }


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


def _within(comparison: Comparison, pair: list[Asset], wanted: str) -> list[Within]:
    """Return what differs within small files that both have, and within the one asked for."""
    both = [
        row
        for row in comparison.changed_files
        if row.kind == "modified" and row.old_path is None and all(row.files)
    ]
    paths = [
        row.path
        for row in both
        if row.path == wanted or all(file is not None and file.size <= SMALL for file in row.files)
    ]
    chosen = ([wanted] if wanted in paths else []) + [path for path in paths if path != wanted]
    if not chosen:
        return []
    old, new = pair
    return [_shown(diff) for diff in new.compare_contents(old, paths=chosen[:MOST_TEXTS])]


def _shown(diff: FileDiff) -> Within:
    if diff.content is None or not diff.content.hunks:
        return Within(diff)
    kinds = {" ": "same", "-": "old", "+": "new", "\\": "note"}

    def every() -> list[tuple[str, str]]:
        found = []
        for hunk in diff.content.hunks if diff.content else ():
            found.append(("hunk", hunk.header))
            found += [(kinds.get(line[:1], "same"), line[:2_000]) for line in hunk.lines]
        return found

    listed = every()
    return Within(diff, tuple(islice(listed, MOST_LINES)), max(0, len(listed) - MOST_LINES))
