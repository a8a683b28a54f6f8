"""The pages about the whole store: home, a class, a search, an alias, the store itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from ama.asset import Asset
from ama.catalog.documents import split_key
from ama.catalog.overview import Holder
from ama.catalog.questions import Questions
from ama.catalog.roles import Role
from ama.catalog.values import Column
from ama.dashboard.charts import scatter
from ama.dashboard.queries import PAGE, Asked, column_id, split_words, table_query
from ama.dashboard.rendering import Page, path_to
from ama.errors import AmaError, Hint, InvalidInput, NotFound, StorageError
from ama.format.hashing import SHORTEST_PREFIX
from ama.format.names import nearest
from ama.store import Store
from ama.stores.class_view import ClassView
from ama.wording.hints import words

RECENT = 15
MOVED = 8
MOST_FOUND = 50
MOST_CHOICES = 300
"""The most columns to offer; more would fill a page by themselves."""

MOST_MOVES = 500

ROLES: Mapping[Role, str] = {
    "metric": "Metrics",
    "parameter": "Parameters",
    "data": "Data",
    "code": "Code",
    "run": "Run",
    "other": "Metadata and other values",
}
"""The headings of roles on pages, in the order of their display."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Panel(Generic[Answer]):
    """A part of a page that may fail by itself: its content, or why it failed."""

    value: Answer | None = None
    error: AmaError | None = None


def panel(ask: Callable[[], Answer]) -> Panel[Answer]:
    """Return a part of a page; a damaged object is an error in that part only.

    Example:
        >>> panel(lambda: 1).value
        1
    """
    try:
        return Panel(ask())
    except AmaError as error:
        return Panel(error=error)


def home(store: Store, questions: Questions) -> Page:
    """Return the first page: classes, what was published last, and what the store saves."""
    content = {
        "classes": questions.classes(),
        "recent": questions.recent(RECENT),
        "moves": questions.moves(MOVED),
        "totals": panel(questions.totals),
    }
    return Page("home.html", "Models and data", content)


def class_page(
    store: Store,
    questions: Questions,
    name: str,
    asked: Asked,
    link: Callable[[str], str | None] = lambda path: path,
) -> Page:
    """Return the page of a class: its table, and a plot of one of its columns.

    Args:
        store: The store.
        questions: Asks it.
        name: The class.
        asked: Columns, order, filter and page.
        link: Returns where a point of the plot leads, by the path of its page.

    Raises:
        NotFound: There is no such class.
    """
    columns = questions.columns(name)
    query = table_query(name, columns, asked)
    offset = (query.page - 1) * PAGE
    table = questions.table(query.choice, query.shown, offset=offset, limit=PAGE)
    points = questions.series(query.choice, query.plot) if query.plot else ()
    chart = ""
    if query.plot and points:
        chart = scatter(
            points, query.plot.key, lambda number: link(path_to("assets", name, int(number)))
        )
    names = [_short(column) for column in query.shown]
    offered = sorted(columns.known, key=lambda column: list(ROLES).index(column.role))
    content = {
        "name": name,
        "query": query,
        "table": table,
        "pages": max(1, -(-table.total // PAGE)),
        "shown": [
            (column_id(column), _heading(column, names.count(_short(column)) > 1), column)
            for column in query.shown
        ],
        "groups": _groups(offered[:MOST_CHOICES]),
        "left_out": max(0, len(offered) - MOST_CHOICES),
        "chosen": {column_id(column) for column in query.shown},
        "plot": column_id(query.plot) if query.plot else "",
        "plottable": [
            (column_id(column), column)
            for column in offered[:MOST_CHOICES]
            if column.role in ("metric", "parameter")
        ],
        "chart": chart,
        "points": len(points),
        "aliases": store.aliases(name),
        "tagged": any(row.asset.tags for row in table.rows),
        "later": any(any(row.noted) for row in table.rows),
        "described": questions.descriptions(name, 2),
        "columns_asked": asked.all("col", 200),
    }
    return Page("class.html", name, content)


def _short(column: Column) -> str:
    return split_key(column.key)[-1]


def _heading(column: Column, ambiguous: bool) -> str:
    """Return a column's last part, or if several columns have that ending, all, with the file."""
    name = column.source or column.file
    return f"{name}: {column.key}" if ambiguous and name else _short(column)


def _groups(columns: Sequence[Column]) -> list[tuple[str, list[tuple[str, Column]]]]:
    found: dict[str, list[tuple[str, Column]]] = {title: [] for title in ROLES.values()}
    for column in columns:
        found[ROLES[column.role]].append((column_id(column), column))
    return [(title, members) for title, members in found.items() if members]


def search(questions: Questions, asked: Asked) -> Page:
    """Return what a search finds: by words, or by the hash of a file."""
    text, content = asked.one("q").strip(), asked.one("hash").strip()
    words = split_words(text)
    found: dict[str, object] = {
        "text": text,
        "hash": content,
        "file": asked.one("file"),
        "most": MOST_FOUND,
        "lines": panel(lambda: questions.search(words, MOST_FOUND)) if words else None,
        "values": panel(lambda: questions.search_values(words, MOST_FOUND)) if words else None,
        "unread": panel(questions.files_with_gaps) if words else None,
        "holders": panel(lambda: _holders(questions, content)) if content else None,
    }
    return Page("search.html", f"Search: {text}" if text else "Search", found)


def _holders(questions: Questions, digits: str) -> tuple[Holder, ...]:
    if not SHORTEST_PREFIX <= len(digits) <= 64 or set(digits.lower()) - set("0123456789abcdef"):
        raise InvalidInput("this is no hash", hint=Hint("paste-hash"))
    return questions.holders(digits, MOST_FOUND)


def alias_page(store: Store, class_name: str, alias: str) -> Page:
    """Return the page of an alias's history.

    Raises:
        NotFound: The class never had it.
    """
    moves = store.alias_history(class_name, alias)
    content = {
        "class_name": class_name,
        "alias": alias,
        "moves": moves[:MOST_MOVES],
        "left_out": max(0, len(moves) - MOST_MOVES),
    }
    return Page("alias.html", f"{class_name}@{alias}", content)


def store_page(store: Store, questions: Questions) -> Page:
    """Return what the store holds and takes."""
    content = {"totals": questions.totals(), "id": store.id, "checked": questions.last_fsck()}
    return Page("store.html", "Store", content)


def error_page(error: AmaError, ways: Sequence[Way] | None = None) -> Page:
    """Return the page about an error, with links elsewhere, or with its hint."""
    status = 500
    if isinstance(error, NotFound):
        status = 404
    elif isinstance(error, InvalidInput):
        status = 400
    elif isinstance(error, StorageError):
        status = 503
    titles = {404: "Not found", 400: "This makes no sense", 503: "The store can't be reached"}
    title = titles.get(status, "Something is damaged")
    content = {
        "message": error.message,
        "hint": words(error.hints) if ways is None else None,
        "ways": (*(ways or ()), Way("all classes", ())),
        "away": status == 503,
    }
    return Page("error.html", title, content, status)


@dataclass(frozen=True, slots=True)
class Way:
    """A link: its text, and the parts of its page's path."""

    text: str
    parts: tuple[str | int, ...]


def ways_from(
    store: Store, name: str, *, number: int | None = None, path: str = "", alias: str = ""
) -> tuple[Way, ...]:
    """Return links from a page that can't be shown, the nearest to it first.

    Args:
        store: The store.
        name: The requested class.
        number: The requested asset.
        path: The requested file.
        alias: The requested alias.

    Example:
        >>> import ama
        >>> [way.text for way in ways_from(ama.Store.open("store"), "model", number=99)]
        ['models']
    """
    view = store.remote.view()
    if name not in view.class_names:
        near = nearest(name, view.class_names)
        found = [Way(each, ("classes", each)) for each in near]
    else:
        state = view.class_state(name)
        found = [
            *(_alias_ways(state, alias) if alias else ()),
            *(_asset_ways(store, state, number, path) if number else ()),
            *_class_ways(state),
        ]
    return tuple(found)


def _alias_ways(state: ClassView, alias: str) -> list[Way]:
    return [
        Way(f"{state.name}@{each}", ("classes", state.name, "aliases", each))
        for each in nearest(alias, state.alias_names())
    ]


def _asset_ways(store: Store, state: ClassView, number: int, path: str) -> list[Way]:
    record = state.record(number)
    if record is None:
        return []
    here = "assets", state.name, number
    files = []
    if path and record.status != "deleted":
        with suppress(AmaError):  # an asset that can't be read offers no link
            files = _near_files(store.resolve(f"{state.name}/{number}"), path)
    return [
        *(Way(each, (*here, "files", each)) for each in files),
        Way(f"{state.name}/{number}", here),
    ]


def _near_files(asset: Asset, path: str) -> list[str]:
    """Return the paths that the error about an unknown one suggests."""
    try:
        return [asset.file(path).path]
    except NotFound as error:
        names = [hint.facts.get("names") for hint in error.hints if isinstance(hint, Hint)]
        return [name for each in names if isinstance(each, tuple) for name in each]


def _class_ways(state: ClassView) -> list[Way]:
    newest = state.newest_active()
    number = state.number(newest.id) if newest else None
    ways = [Way(f"all assets of {state.name}", ("classes", state.name))]
    if number is not None:
        ways.insert(0, Way(f"the newest: {state.name}/{number}", ("assets", state.name, number)))
    return ways
