"""From a page's content to HTML: the templates, what they may say, and where links lead.

Whatever a store says is text: it is escaped, and what a browser would not show as it stands, such
as a mark that turns the direction of writing round, is written out.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import jinja2
from markupsafe import Markup

from ama.catalog.compare import number_of
from ama.dashboard import charts, markdown
from ama.dashboard.wording import (
    breakable,
    count_text,
    moment,
    person,
    plain_text,
    size_text,
    unread_text,
    value_text,
)
from ama.format.hashing import blob_id
from ama.format.names import unportable_reason

STATIC = Path(__file__).parent / "static"
ASSETS = {"app.css": "text/css", "app.js": "text/javascript", "icon.svg": "image/svg+xml"}
SITE_POLICY = (
    "default-src 'none'; style-src 'self' file:; script-src 'self' file:; img-src 'self' file:;"
    " form-action 'self' file:; base-uri 'none'"
)
"""What a browser may do on a page of an exported site, which may also be opened from a disk."""

COPIED = ("app.css", "app.js", "icon.svg", "search.js")
"""The files that belong to the pages of an exported site."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a page shows: a template, and what fills it."""

    template: str
    title: str
    content: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


Query = Mapping[str, str | int | Sequence[str]]


class Links(Protocol):
    """Where a page leads to."""

    live: bool
    """Whether there is a server, which can search, compare and send files."""

    def address(self, here: str, path: str, query: Query) -> str:
        """Return the address of a page of the site, as one at `here` writes it."""
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
        twins: classes and aliases that some system would take for another one, such as `A` and `a`.

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
        """Return the address of a page; what is asked behind a '?' is left out."""
        target, start = self.file_of(path), posixpath.dirname(self.file_of(here))
        return posixpath.relpath(f"/{target}", f"/{start}")

    def file_of(self, path: str) -> str:
        """Return the file of a page, which every system can hold beside the others."""
        plain = path.strip("/")
        if plain.startswith("static/"):
            return plain
        top, _, rest = plain.partition("/")
        if top == "files":
            # By what is in them: many assets have the same, and their names may be anything.
            return f"files/{rest[:2]}/{rest}"
        return (
            "".join(f"{self.directory(part)}/" for part in plain.split("/") if part) + "index.html"
        )

    def directory(self, name: str) -> str:
        """Return the directory that a class, or an alias, has among those of the others."""
        if name not in self.twins and unportable_reason(name) is None:
            return name
        # Nothing can be called so, for no name has a `~`. Without dots, none is reserved.
        return f"{name.replace('.', '_')}~{blob_id(name.encode()).hex()[:8]}"


def path_to(*parts: str | int) -> str:
    """Return the path of a page, its parts escaped; the slashes of a file's path stay.

    Example:
        >>> path_to("assets", "models", 1, "files", "a/b c?.txt")
        '/assets/models/1/files/a/b%20c%3F.txt'
    """
    return "/" + "/".join(quote(str(part), safe="/@") for part in parts)


class Renderer:
    """Makes HTML of pages.

    Args:
        links: where they lead.
        store: the store's URL, which every page names.
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
            unread=unread_text,
            size=size_text,
            person=person,
            address=lambda author: author.partition("<")[2].rstrip("> "),
            plain=plain_text,
            breakable=breakable,
            markdown=lambda text: Markup(markdown.render(plain_text(text))),
            spark=_spark,
            number=lambda number: f"{number:,}",
            count=count_text,
            shell=shlex.quote,
        )
        self._environment.globals.update(live=links.live, store=store, policy=SITE_POLICY)

    def html(self, page: Page, here: str, number: int | None = None, mark: str = "") -> str:
        """Return a page as HTML.

        Args:
            page: what it shows.
            here: its path.
            number: the number of the log's last entry when it was made; None if it isn't known.
            mark: stands near the beginning of it.
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


def _spark(value: object) -> Markup:
    if not isinstance(value, tuple) or len(value) < 3:
        return Markup("")
    numbers = [number for each in value if (number := number_of(each)) is not None]
    if len(numbers) != len(value):
        return Markup("")
    return Markup(charts.sparkline(numbers))


def static_file(name: str) -> bytes:
    """Return a file that belongs to pages."""
    return (STATIC / name).read_bytes()
