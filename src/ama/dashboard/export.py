"""The dashboard as files: the same pages, to put in a bucket or on any web server.

Features that need a server are left out: comparisons by choice, and files dropped on a page. Words
are searched in the browser, and each asset has a comparison with its parent.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from ama.catalog.overview import AssetLine
from ama.catalog.questions import Questions
from ama.catalog.values import Fact
from ama.dashboard import asset_views, note_views, views
from ama.dashboard.compare_views import Comparing, compare_page
from ama.dashboard.markdown import plain_text
from ama.dashboard.previews import Previews
from ama.dashboard.queries import Asked
from ama.dashboard.rendering import (
    COPIED,
    FileLinks,
    Page,
    Renderer,
    moment_text,
    path_to,
    static_file,
    value_text,
)
from ama.dashboard.site import Site
from ama.dashboard.views import ROLES
from ama.errors import IntegrityError
from ama.format.hashing import blob_id
from ama.format.names import fold_name
from ama.store import Store
from ama.system.progress import NO_PROGRESS, Progress
from ama.values import File, Note

MOST_FILES = 40
"""The files of each asset with a page, beside those that another asset's page is about."""

MOST_HOLDERS = 50
MOST_LINEAGES = 50
"""The newest assets of each class with a page for their lineage."""

MAX_IMAGE = 1_000_000
"""The largest image to show, in bytes, even where no files are copied."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The result of an export: how many pages and files there are, and how many changed or are
    gone.

    `files` are downloadable files of assets; `changed` and `removed` count everything in the
    directory.
    """

    pages: int
    files: int
    changed: int
    removed: int


@dataclass(slots=True)
class _Content:
    """A file with a page, and the assets that have it: each with its path, and the entry of the
    note that it came with, 0 if it is the asset's own.
    """

    file: File
    holders: list[tuple[str, int, str, int]] = field(default_factory=list)
    more: int = 0


def export(
    store: Store,
    directory: str | os.PathLike[str],
    *,
    files: int = 0,
    progress: Progress = NO_PROGRESS,
) -> Exported:
    """Write the pages about a store into a directory, or update those that are there.

    Args:
        store: The store.
        directory: The directory: new, empty, or written by an earlier export of the store.
        files: The largest file to offer for download, in bytes.
        progress: The progress of the bytes of the pages.

    Raises:
        InvalidInput: No directory is named.
        AlreadyExists: The directory has other files in it.
        Conflict: Another export is writing into it.
        StorageError: The store can't be read, or the directory can't be written.

    Example:
        >>> import ama
        >>> store = ama.Store.open("store")
        >>> export(store, "site").pages > 3
        True
        >>> export(store, "site").changed
        0
    """
    store = store.snapshot()
    questions = Questions(store.remote, store.settings, progress)
    number = questions.number()
    with Site(directory, store.id) as site:
        progress.start("writing pages", None)
        try:
            done = _Export(store, questions, site, number, files, progress)
            done.all()
        finally:
            progress.finish()
    return Exported(done.pages, done.files, site.changed, site.removed)


class _Export:
    """One export, page after page."""

    def __init__(
        self,
        store: Store,
        questions: Questions,
        site: Site,
        number: int,
        most: int,
        progress: Progress,
    ) -> None:
        self._store = store
        self._questions = questions
        self._site = site
        self._number = number
        self._most = most
        self._progress = progress
        self._links = FileLinks(_twins(store))
        self._renderer = Renderer(self._links, store.url)
        self._comparing = Comparing(store.url)
        self._previews = Previews()
        self._index = SearchIndex()
        self._contents: dict[str, _Content] = {}
        self._maker = _maker()
        self._statuses: dict[tuple[str, int], str] = {}
        self.pages = 0
        self.files = 0

    def all(self) -> None:
        """Write everything."""
        self._write("/", views.home(self._store, self._questions))
        self._write("/store", views.store_page(self._store, self._questions))
        for each in self._questions.classes():
            self._class(each.name)
        for content in self._contents.values():
            self._file(content)
        for digest in self._contents:
            self._index.add_file(digest)
        index = self._index.made()
        self._write("/search", Page("site_search.html", "Search", {"index": index}))
        self._site.write("static/index.js", index.script.encode())
        for name in COPIED:
            self._site.write(f"static/{name}", static_file(name))

    def _write(self, path: str, page: Page, mark: str = "") -> None:
        data = self._renderer.html(page, path, self._number, mark).encode()
        self._site.write(self._links.file_of(path), data)
        self._progress.advance(len(data))
        self.pages += 1

    def _kept(self, path: str, mark: str) -> bool:
        """Whether a page made from the same facts is there already."""
        if not self._site.keep(self._links.file_of(path), mark):
            return False
        self.pages += 1
        return True

    def _mark(self, *made_from: object) -> str:
        """Return a mark for a page that depends only on this, and on what never changes."""
        told = [self._maker, self._store.url, sorted(self._links.twins), *made_from]
        return blob_id(json.dumps(told).encode()).hex()[:32]

    def _class(self, name: str) -> None:
        here = path_to("classes", name)
        link = partial(self._links.address, here, query={})
        self._write(here, views.class_page(self._store, self._questions, name, Asked(), link))
        state = self._store.remote.view().class_state(name)
        for alias in sorted(state.aliases):
            page = views.alias_page(self._store, name, alias)
            self._write(path_to("classes", name, "aliases", alias), page)
        if self._questions.descriptions(name, 1):
            page = note_views.description_page(self._store, self._questions, name)
            self._write(path_to("classes", name, "description"), page)
        for number, record in state.newest():
            enlarged = number > state.count - MOST_LINEAGES or bool(record.aliases)
            self._asset(name, number, enlarged)

    def _asset(self, name: str, number: int, enlarged: bool) -> None:
        store, questions = self._store, self._questions
        here = path_to("assets", name, number)
        places = asset_views.Places(self._places(name, number), self._noted_places())
        link = partial(self._links.address, here, query={})
        page = asset_views.asset_page(store, questions, name, number, link, places, enlarged)
        self._write(here, page)
        if enlarged:
            large = f"{here}/lineage"
            link = partial(self._links.address, large, query={})
            self._write(large, asset_views.lineage_page(store, questions, name, number, link))
        line, summary = page.content["line"], page.content["summary"]
        self._statuses[name, number] = line.status
        if page.content["before"] is not None:
            self._comparison(questions.line(name, page.content["before"]), line)
        if line.status != "deleted":
            facts = summary.value.facts if summary.value else ()
            noted = page.content["noted"].value
            later = () if noted is None else _noted_texts(noted)
            self._index.add(line, facts, self._links.directory(name), later)

    def _comparison(self, old: AssetLine, new: AssetLine) -> None:
        here = f"{path_to('assets', new.class_name, new.number)}/compare"
        rules = self._store.settings.of_class(new.class_name)
        noted = [self._questions.last_note(bytes.fromhex(each.id)) for each in (old, new)]
        told = [old.id, *old.aliases], [new.id, *new.aliases], noted
        mark = self._mark(*told, sorted(rules.items()))
        if self._kept(here, mark):
            return
        asked = Asked({"a": [f"{each.class_name}/{each.number}" for each in (old, new)]})
        page = compare_page(self._store, asked, self._comparing)
        found = page.content["found"]
        # What is damaged or elsewhere may be back next time; what no one can read will not.
        whole = found is not None and all(each.file for each in found["unread"])
        whole = whole and found["within"].error is None
        self._write(here, page, mark if whole else "")

    def _places(self, name: str, number: int) -> asset_views.Placing:
        """Return a function that notes the files of an asset with a page, and returns the
        places.
        """
        left = iter(range(MOST_FILES))

        def place(file: File) -> note_views.Place | None:
            if next(left, None) is None and file.id not in self._contents:
                return None
            return self._held(file, name, number, 0)

        return place

    def _noted_places(self) -> note_views.NotePlacing:
        """Return a function that notes the files of an asset's notes, and returns the places."""
        left = iter(range(MOST_FILES))

        def place(note: Note, file: File) -> note_views.Place | None:
            if next(left, None) is None and file.id not in self._contents:
                return None
            return self._held(file, note.class_name, note.number or 0, note.entry)

        return place

    def _held(self, file: File, name: str, number: int, entry: int) -> note_views.Place:
        """Note that an asset has a file, or that the note of an entry has it; return its place."""
        content = self._contents.setdefault(file.id, _Content(file))
        if len(content.holders) < MOST_HOLDERS:
            content.holders.append((name, number, file.path, entry))
        else:
            content.more += 1
        return "files", f"{file.id[:DIGITS]}.html"

    def _stream(self, content: _Content) -> Iterator[bytes]:
        name, number, path, entry = content.holders[0]
        asset = self._store.resolve(f"{name}/{number}")
        if not entry:
            return asset.stream(path)
        note, _ = note_views.find_note(asset, entry, path)
        return self._store.note_file(note)

    def _file(self, content: _Content) -> None:
        name, number, path, entry = content.holders[0]
        here = path_to("files", f"{content.file.id[:DIGITS]}.html")
        # No server sends a file of this name as something that a browser would run.
        download = self._copied(content, ".bin", self._most)
        self.files += download is not None
        status = self._statuses[name, number]
        mark = self._mark(content.holders, content.more, status, download)
        if not entry and self._kept(here, mark):  # a later note may come with one of this name
            return
        store, questions = self._store, self._questions
        if entry:
            asset, wanted = store.resolve(f"{name}/{number}"), (entry, path)
            page = note_views.noted_file_page(store, questions, asset, wanted, self._previews)
        else:
            page = asset_views.file_page(store, questions, name, number, path, self._previews)
        preview = page.content["preview"].value
        image = None
        if preview is not None and preview.form == "image":
            # Its name says only its type, so that a browser can take it for nothing else.
            image = self._copied(content, preview.text.replace("image/", "."), MAX_IMAGE)
            self.files += image is not None and download is None
        own = {
            "holders": content.holders,
            "holders_left_out": content.more,
            "download": download or image,
            "image": image,
        }
        whole = preview is not None and preview.form != "image"
        page = Page(page.template, page.title, {**page.content, **own})
        self._write(here, page, mark if whole else "")

    def _copied(self, content: _Content, ending: str, most: int) -> note_views.Place | None:
        """Copy a file, unless it is too large or damaged; return its place."""
        if content.file.kind == "symlink" or content.file.size > most:
            return None
        place = "files", f"{content.file.id[:DIGITS]}{ending}"
        try:
            self._site.write_once(self._links.file_of(path_to(*place)), self._stream(content))
        except IntegrityError:
            return None
        return place


def _maker() -> str:
    """Return a text that changes whenever pages are made differently."""
    paths = sorted(Path(__file__).parent.rglob("*.*"))
    sources = [path.read_bytes() for path in paths if path.suffix in (".py", ".html")]
    return blob_id(b"".join(sources)).hex()


def _twins(store: Store) -> frozenset[str]:
    """Return the classes and aliases that some system takes for another one."""
    states = store.remote.view().class_states()
    names = [states, *(state.aliases for state in states.values())]
    return frozenset(chain.from_iterable(map(_equal_but_for_case, names)))


def _equal_but_for_case(names: Iterable[str]) -> list[str]:
    folded = {name: fold_name(name) for name in names}
    count = Counter(folded.values())
    return [name for name, key in folded.items() if count[key] > 1]


MOST_ASSET_BYTES = 4_000_000
MOST_SAID_BYTES = 4_000_000
"""The largest index, because a phone has to read it all: the newest assets are in it."""

MOST_INDEXED = 50_000
MOST_SAID = 60
"""The most text of one asset in it, metrics and parameters first."""

DIGITS = 20
"""The digits of a file's hash in it."""


@dataclass(frozen=True, slots=True)
class Index:
    """A script that defines one constant, and the counts of its content.

    `unsaid` is how many of the assets have more facts than there is room for.
    """

    script: str
    assets: int
    assets_left_out: int
    unsaid: int
    files_left_out: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """An asset with its texts and facts."""

    line: AssetLine
    directory: str
    said: tuple[str, ...]
    whole: bool


class SearchIndex:
    """A collection of everything that can be searched.

    Example:
        >>> index = SearchIndex()
        >>> index.add_file("af1349b9f5f9a1a6a0404dea36dcc949")
        >>> index.made().script.startswith("const INDEX = {")
        True
    """

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._known: dict[str, str] = {}
        self._files: list[str] = []

    def add(
        self, line: AssetLine, facts: Sequence[Fact], directory: str, later: Sequence[str] = ()
    ) -> None:
        """Add an asset.

        Args:
            line: The asset.
            facts: Its facts.
            directory: The site's directory for pages of its class.
            later: What was noted of it later, as texts.
        """
        texts = [*later, *map(_text, sorted(facts, key=_place)[:MOST_SAID])][:MOST_SAID]
        # Most assets of a class say much the same: keep each text once.
        said = tuple(self._known.setdefault(text, text) for text in texts)
        whole = len(texts) == len(facts) + len(later)
        self._entries.append(_Entry(line, directory, said, whole))

    def add_file(self, digest: str) -> None:
        """Add a file with a page, by its hash in hex digits."""
        self._files.append(digest[:DIGITS])

    def made(self) -> Index:
        """Return the index, the newest assets first, within its limits."""
        classes: dict[tuple[str, str], int] = {}
        authors: dict[str, int] = {}
        said: dict[str, int] = {}
        assets: list[list[Any]] = []
        asset_bytes = said_bytes = unsaid = 0
        for entry in sorted(self._entries, key=_age):
            line = entry.line
            told = [
                classes.setdefault((line.class_name, entry.directory), len(classes)),
                line.number,
                [plain_text(alias) for alias in line.aliases[:20]],
                authors.setdefault(plain_text(line.author)[:200], len(authors)),
                moment_text(line.created_at),
                plain_text(line.message)[:300],
                "" if line.status == "active" else line.status,
                line.id[:12],
            ]
            asset_bytes += _size(told)
            if asset_bytes > MOST_ASSET_BYTES:
                break
            new = [text for text in entry.said if text not in said]
            said_bytes += _size(new) + 7 * len(entry.said)
            fits = said_bytes <= MOST_SAID_BYTES
            numbers = [said.setdefault(text, len(said)) for text in entry.said] if fits else []
            assets.append([*told, numbers])
            unsaid += not (fits and entry.whole)
        index = {
            "classes": list(classes),
            "authors": list(authors),
            "said": list(said),
            "assets": assets,
            "digits": DIGITS,
            "files": "".join(self._files[:MOST_INDEXED]),
        }
        return Index(
            f"const INDEX = {_json(index)};\n",
            len(assets),
            len(self._entries) - len(assets),
            unsaid,
            max(0, len(self._files) - MOST_INDEXED),
        )


def _place(fact: Fact) -> tuple[bool, int, bool]:
    """Return the order of a fact: metadata first, a person wrote it; histories last in a role."""
    return bool(fact.file), list(ROLES).index(fact.role), isinstance(fact.value, tuple)


def _noted_texts(noted: note_views.ShownNotes) -> list[str]:
    values = (f"{each.key} = {value_text(each.value, 120)}" for each in noted.values)
    texts = [*(f"tag {tag}" for tag in noted.tags), *values]
    return [plain_text(f"noted: {text}") for text in texts]


def _text(fact: Fact) -> str:
    file = fact.file or "metadata"
    file = f"{fact.source} › {file}" if fact.source else file
    return plain_text(f"{file}: {fact.key} = {value_text(fact.value, 120)}")


def _age(entry: _Entry) -> float:
    at = entry.line.created_at
    return -at.timestamp() if at else 0.0


def _size(value: object) -> int:
    return len(_json(value).encode())


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
