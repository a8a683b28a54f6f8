"""From a page's content to HTML: the templates, their filters, and the targets of links.

Whatever a store says is text: it is escaped. Characters that a browser would not show, such as a
mark that reverses the direction of writing, are written out.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import jinja2
from markupsafe import Markup

from ama.catalog.compare import number_of
from ama.catalog.documents import Value
from ama.dashboard import charts
from ama.dashboard.markdown import beginning, plain_text, render
from ama.format.hashing import blob_id
from ama.format.names import unportable_reason
from ama.wording import unread_text
from ama.wording.hints import words

STATIC = Path(__file__).parent / "static"
ASSETS = {"app.css": "text/css", "app.js": "text/javascript", "icon.svg": "image/svg+xml"}
SITE_POLICY = (
    "default-src 'none'; style-src 'self' file:; script-src 'self' file:; img-src 'self' file:;"
    " form-action 'self' file:; base-uri 'none'"
)
"""A browser's permissions on a page of an exported site, which may also be opened from a disk."""

COPIED = ("app.css", "app.js", "icon.svg", "search.js")
"""The files beside the pages of an exported site."""


@dataclass(frozen=True, slots=True)
class Page:
    """The content of a page: a template, and its values."""

    template: str
    title: str
    content: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


Query = Mapping[str, str | int | Sequence[str]]


class Links(Protocol):
    """The targets of a page's links."""

    live: bool
    """Whether there is a server, which can search, compare and send files."""

    def address(self, here: str, path: str, query: Query) -> str:
        """Return the address of a page of the site, as the page at `here` writes it."""
        ...


class ServerLinks:
    """Links of pages that are served: an address is its path."""

    live = True

    def address(self, here: str, path: str, query: Query) -> str:
        """Return the address of a page."""
        return f"{path}?{urlencode(query, doseq=True)}" if query else path


class FileLinks:
    """Links of pages in a directory: relative, so that it may lie anywhere.

    Args:
        twins: Classes and aliases that some system takes for another one, such as `A` and `a`.

    Example:
        >>> links = FileLinks()
        >>> links.file_of("/assets/models/1"), links.file_of("/static/app.css"), links.file_of("/")
        ('assets/models/1/index.html', 'static/app.css', 'index.html')
        >>> links.file_of("/files/af1349b9f5f9a1a6a040.html")
        'files/af/af1349b9f5f9a1a6a040.html'
        >>> links.address("/classes/models", "/assets/models/1", {})
        '../../assets/models/1/index.html'
    """

    live = False

    def __init__(self, twins: Set[str] = frozenset()) -> None:
        self.twins = twins

    def address(self, here: str, path: str, query: Query) -> str:
        """Return the address of a page, without the query behind a '?'."""
        target, start = self.file_of(path), posixpath.dirname(self.file_of(here))
        return posixpath.relpath(f"/{target}", f"/{start}")

    def file_of(self, path: str) -> str:
        """Return the file of a page, with a name that every system can hold beside the others."""
        plain = path.strip("/")
        if plain.startswith("static/"):
            return plain
        top, _, rest = plain.partition("/")
        if top == "files":
            # By their content: many assets have the same, and their names may be anything.
            return f"files/{rest[:2]}/{rest}"
        return (
            "".join(f"{self.directory(part)}/" for part in plain.split("/") if part) + "index.html"
        )

    def directory(self, name: str) -> str:
        """Return the directory of a class, or an alias, among those of the others."""
        if name not in self.twins and unportable_reason(name) is None:
            return name
        # No class has such a name, because none has a `~`. Without dots, none is reserved.
        return f"{name.replace('.', '_')}~{blob_id(name.encode()).hex()[:8]}"


def path_to(*parts: str | int) -> str:
    """Return the path of a page, with its parts escaped; the slashes of a file's path stay.

    Example:
        >>> path_to("assets", "models", 1, "files", "a/b c?.txt")
        '/assets/models/1/files/a/b%20c%3F.txt'
    """
    return "/" + "/".join(quote(str(part), safe="/@") for part in parts)


class Renderer:
    """A maker of pages' HTML.

    Args:
        links: The targets of links.
        store: The store's URL, which every page names.
    """

    def __init__(self, links: Links, store: str) -> None:
        self._links = links
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_harmless,
        )
        self._environment.filters.update(
            moment=moment,
            value=value_text,
            unread=partial(unread_text, between=" › "),
            size=size_text,
            person=person,
            address=lambda author: author.partition("<")[2].rstrip("> "),
            plain=plain_text,
            breakable=breakable,
            markdown=lambda text: Markup(render(text)),
            beginning=beginning,
            searched=_searched,
            spark=_spark,
            number=lambda number: f"{number:,}",
            count=count_text,
            shell=shlex.quote,
            words=words,
        )
        self._environment.globals.update(live=links.live, store=store, policy=SITE_POLICY)

    def html(self, page: Page, here: str, number: int | None = None, mark: str = "") -> str:
        """Return a page as HTML.

        Args:
            page: The page's content.
            here: The page's path.
            number: The number of the log's last entry for it; None if it isn't known.
            mark: A mark for near the beginning of the page.
        """

        def to(*parts: str | int, **query: str | int | Sequence[str]) -> str:
            return self._links.address(here, path_to(*parts), query)

        template = self._environment.get_template(page.template)
        said = {"title": page.title, "here": here, "entry": number, "mark": mark}
        return template.render(**page.content, **said, to=to)


def _harmless(value: object) -> object:
    if isinstance(value, str) and not hasattr(value, "__html__") and not value.isprintable():
        return plain_text(value)
    return "" if value is None else value


def _searched(tag: str) -> str | None:
    """Return the filter of a class's table that finds a tag; None: it would be a condition."""
    return None if set("=<>") & set(tag) else shlex.quote(tag)


def _spark(value: object) -> Markup:
    if not isinstance(value, tuple) or len(value) < 3:
        return Markup("")
    numbers = [number for each in value if (number := number_of(each)) is not None]
    if len(numbers) != len(value):
        return Markup("")
    return Markup(charts.sparkline(numbers))


def static_file(name: str) -> bytes:
    """Return a file beside the pages."""
    return (STATIC / name).read_bytes()


MOST_TEXT = 300
"""The most characters of a value in a table."""

_END_OF_PART = re.compile(r"[._/]+(?=[^._/])")


def breakable(name: object) -> Markup:
    """Return a name as HTML that may break after its dots, underscores and slashes.

    Otherwise a narrow table would break it within a word.

    Example:
        >>> print(breakable("a.learning_rate<"))
        a.<wbr>learning_<wbr>rate&lt;
    """
    # An escaped letter has no such mark in it.
    return Markup(_END_OF_PART.sub(r"\g<0><wbr>", escape(plain_text(str(name)))))


def value_text(value: Value | object, most: int = MOST_TEXT) -> str:
    """Return a value as a table shows it.

    Example:
        >>> value_text(0.1 + 0.2), value_text(True), value_text((1, 2)), value_text(())
        ('0.3', 'true', '1, 2', '[]')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return charts.number_text(value)
    if value == ():
        return "[]"
    if isinstance(value, tuple):
        numbers = [number for number in value if isinstance(number, int | float)]
        if len(numbers) == len(value) > 4:
            return f"{len(value)} values, last {value_text(value[-1])}"
        text = ", ".join(value_text(each, most) for each in value[:most])
    else:
        text = str(value)
    return text if len(text) <= most else text[:most] + "…"


def size_text(count: int | None) -> str:
    """Return a size in bytes for people.

    Example:
        >>> size_text(999), size_text(641_592), size_text(None)
        ('999 B', '641.6 kB', '–')
    """
    if count is None:
        return "–"
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 999.95:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} PB"


def person(author: str) -> str:
    """Return an author without the address.

    Example:
        >>> person("Ann Lee <ann@example.com>")
        'Ann Lee'
    """
    return author.partition("<")[0].strip() or author


def moment(at: datetime | None) -> Markup:
    """Return a time as an element, to the minute; a pointer over it shows the second."""
    if at is None:
        return Markup("–")
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        f"{utc:%Y-%m-%dT%H:%M:%SZ}", f"{utc:%Y-%m-%d %H:%M:%S}", moment_text(at)
    )


def moment_text(at: datetime | None) -> str:
    """Return a time to the minute, in UTC.

    Example:
        >>> moment_text(datetime(2026, 11, 2, 9, 30, tzinfo=UTC))
        '2026-11-02 09:30'
    """
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def count_text(number: int, noun: str) -> str:
    """Return a number of things with their noun.

    Example:
        >>> count_text(1, "class"), count_text(1200, "class")
        ('1 class', '1,200 classes')
    """
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
