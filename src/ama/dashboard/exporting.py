"""The dashboard as files: the same pages, to put in a bucket or on any web server.

What takes a server is left out: searches, comparisons, downloads.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from ama import fs
from ama.browsing import Browser
from ama.dashboard import asset_views, views
from ama.dashboard.asking import Asked
from ama.dashboard.previews import Previews
from ama.dashboard.rendering import (
    ASSETS,
    FileLinks,
    Page,
    Renderer,
    path_to,
    static_file,
)
from ama.errors import AlreadyExists, AmaError, shown
from ama.names import fold_name
from ama.store import Store

MOST_FILES = 40
"""Of each asset, so many files have a page of their own."""


def export(store: Store, directory: str | os.PathLike[str]) -> int:
    """Write the pages about a store into a directory, and return how many there are.

    Args:
        store: the store.
        directory: where to; it is made, or empty.

    Raises:
        AlreadyExists: there is something in it.
        StorageError: the store can't be read, or the directory can't be written.

    Example:
        >>> import ama
        >>> export(ama.Store.open("store"), "site") > 3
        True
    """
    top = Path(directory)
    if top.exists() and (not top.is_dir() or any(top.iterdir())):
        raise AlreadyExists(
            f"{shown(os.fspath(directory))} exists, and there is something in it",
            hint="name a new directory",
        )
    browser = Browser(store.remote, store.settings)
    number = browser.number()
    links = FileLinks(_twins(store))
    renderer = Renderer(links, store.url)
    pages = 0
    for path, page in _pages(store, browser, links):
        _write(top / links.file_of(path), renderer.html(page, path, number).encode())
        pages += 1
    for name in ASSETS:
        _write(top / "static" / name, static_file(name) or b"")
    return pages


def _twins(store: Store) -> frozenset[str]:
    """Return the classes and aliases that some system takes for another one."""
    states = store.remote.view().class_states()
    names = [states, *(state.aliases for state in states.values())]
    found = (
        [name for name in each if folded[fold_name(name)] > 1]
        for each in names
        for folded in [Counter(map(fold_name, each))]
    )
    return frozenset(chain.from_iterable(found))


def _write(path: Path, data: bytes) -> None:
    fs.make_directories(path.parent, sync=False)
    fs.write_private(path, data)


def _pages(store: Store, browser: Browser, links: FileLinks) -> Iterator[tuple[str, Page]]:
    yield "/", views.home(store, browser)
    yield "/store", views.store_page(store, browser)
    for each in browser.classes():
        name, here = each.name, path_to("classes", each.name)
        link = partial(links.address, here, query={})
        yield here, views.class_page(store, browser, name, Asked(), link)
        for alias in sorted(store.remote.view().class_state(name).aliases):
            page = views.alias_page(store, browser, name, alias)
            yield path_to("classes", name, "aliases", alias), page
        for info in store.history(name):
            yield from _pages_of(store, browser, links, name, info.number or 0)


def _pages_of(
    store: Store, browser: Browser, links: FileLinks, name: str, number: int
) -> Iterator[tuple[str, Page]]:
    here = path_to("assets", name, number)
    link = partial(links.address, here, query={})
    yield here, asset_views.asset_page(store, browser, name, number, link, MOST_FILES)
    large = f"{here}/lineage"
    link = partial(links.address, large, query={})
    yield large, asset_views.lineage_page(store, browser, name, number, link)
    try:
        files = store.resolve(f"{name}/{number}").files()
    except AmaError:  # deleted or damaged: its page says so
        return
    for file in files[:MOST_FILES]:
        page = asset_views.file_page(store, browser, name, number, file.path, Previews())
        yield path_to("assets", name, number, "files", file.path), page
