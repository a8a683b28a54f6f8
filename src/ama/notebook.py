"""Tables and progress bars in notebooks.

Jupyter calls `_repr_html_` of a cell's last value. Texts of a store are escaped, tables bounded,
and nothing is asked of a network to show a value. A bar is drawn only in a kernel.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from ama.errors import AmaError, shown, sized
from ama.system.progress import NO_PROGRESS, Progress
from ama.system.running import kernel_shell

if TYPE_CHECKING:
    from pathlib import Path

    from ama.stores.log_view import LogView
    from ama.stores.remote import Remote
    from ama.values import AssetInfo, File

T = TypeVar("T")

MOST_CLASSES = 50
MOST_FILES = 20
"""The most classes of a store, and files of an asset, to show."""

PATIENCE_S = 0.5
"""The seconds after which work is shown: what is quicker needs no bar."""

REFRESH_S = 0.25
_WIDTH = 30


class Rows(tuple[T, ...]):
    """A tuple of values that a notebook shows as a table.

    Example:
        >>> Rows([1]) == (1,), Rows([])._repr_html_()[:7]
        (True, '<table>')
    """

    __slots__ = ()

    def _repr_html_(self) -> str:
        return table_of(self)


class Lines(list[T]):
    """A list of values that a notebook shows as a table."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return table_of(self)


def table_of(values: Sequence[object]) -> str:
    """Return values as an HTML table, a row for each.

    Example:
        >>> "<td>a</td>" in table_of(["a"])
        True
    """
    from ama.catalog.values import MOST_ROWS, html_table

    return html_table([_cells(each) for each in values[:MOST_ROWS]], len(values))


def _cells(value: object) -> dict[str, object]:
    from dataclasses import fields, is_dataclass

    from ama.catalog.values import asset_cells
    from ama.values import AssetInfo, ClassInfo, Directory, File

    if isinstance(value, AssetInfo):
        status = {} if value.status == "active" else {"status": value.status}
        return {**asset_cells(value), "message": value.message, **status}
    if isinstance(value, ClassInfo):
        newest = {} if value.newest is None else asset_cells(value.newest)
        return {"class": value.name, "assets": value.assets, **newest}
    if isinstance(value, File):
        return {
            "path": value.path,
            "size": sized(value.size),
            "kind": value.kind,
            "id": value.id[:10],
        }
    if isinstance(value, Directory):
        return {"path": f"{value.path}/", "size": sized(value.size), "kind": "directory"}
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return {"": value if isinstance(value, str) else repr(value)}


def store_page(remote: Remote, cache_dir: Path | None, number: int | None) -> str:
    """Return a store as tables: where it is, and its classes as far as they are known here.

    Args:
        remote: The store.
        cache_dir: What this machine remembers.
        number: The entry of which it shows the moment; None: now.
    """
    from ama.catalog.values import html_table
    from ama.storage.credentials import without_credentials

    head: dict[str, object] = {"store": without_credentials(remote.url)}
    try:
        found = _without_requests(remote, cache_dir, number)
        if found is None:
            return html_table([head])
        known, view = found
        names = sorted(view.class_names)
        rows = [_class_cells(known, view, name) for name in names[:MOST_CLASSES]]
    except AmaError as error:
        return html_table([{**head, "error": error.message}])
    return html_table([head]) + html_table(rows, len(names))


def _without_requests(
    remote: Remote, cache_dir: Path | None, number: int | None
) -> tuple[Remote, LogView] | None:
    """Return a store and its log, without asking a network; None if nothing is known of it."""
    from ama.storage.urls import UnaskedStorage
    from ama.stores.remote import Remote

    if not remote.storage.across_network:
        view = remote.view(only_reading=True)
        view.require_whole()
        return remote, view
    known = Remote.last_seen(UnaskedStorage(remote.url), cache_dir)
    if known is None:
        return None
    view = known.view()
    return None if number not in (None, view.number) else (known, view)


def _class_cells(remote: Remote, view: LogView, name: str) -> dict[str, object]:
    from ama.stores.revisions import Describer
    from ama.values import ClassInfo

    state = view.class_state(name)
    newest = state.newest_live()
    if newest is None:
        return _cells(ClassInfo(name, state.live, None))
    try:
        asset = remote.assets(view, [(name, newest.id)])[newest.id]
    except AmaError:  # it isn't remembered here
        return {"class": name, "assets": state.live, "asset": f"{name}/{state.number(newest.id)}"}
    return _cells(ClassInfo(name, state.live, Describer(view).info(newest.id, asset)))


def asset_page(info: AssetInfo, files: Iterable[File] | None) -> str:
    """Return an asset as tables: what it says of itself, and its first files.

    Args:
        info: The asset.
        files: Its files; None: they are not known here.
    """
    from ama.catalog.values import asset_cells, html_table

    head: dict[str, object] = {key: value for key, value in asset_cells(info).items() if value}
    head |= {"message": info.message} if info.message else {}
    head |= {} if info.status == "active" else {info.status: info.status_reason or "yes"}
    head |= {"size": sized(info.size)} if info.size is not None else {}
    about = [{"key": key, "value": value} for key, value in head.items()]
    about += [{"key": f"metadata: {key}", "value": v} for key, v in sorted(info.metadata.items())]
    about += [
        {"key": f"ref: {ref.label or ref.class_name}", "value": ref.name} for ref in info.refs
    ]
    about += [{"key": f"run: {key}", "value": value} for key, value in info.run.items()]
    if files is None:
        return html_table(about)
    try:
        some = list(islice(files, MOST_FILES + 1))
    except AmaError as error:
        return html_table(about) + html_table([{"error": shown(error.message)}])
    rows: list[Mapping[str, object]] = [_cells(each) for each in some[:MOST_FILES]]
    return html_table(about) + html_table(rows + [{"path": "…"}] * (len(some) > MOST_FILES))


# Progress


def progress_here(given: Progress | None) -> Progress:
    """Return the given progress; where none is given, a bar in a notebook, and nothing elsewhere.

    Example:
        >>> progress_here(None)
        NO_PROGRESS
    """
    if given is not None:
        return given
    return NO_PROGRESS if kernel_shell() is None else Bar()


class Bar:
    """A bar in the output of the cell that runs: one line, which is written again and again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._task = ""
        self._total: int | None = None
        self._done = self._drawn = 0
        self._started = self._last = 0.0

    def start(self, task: str, total_bytes: int | None) -> None:
        """Begin a task."""
        self.finish()
        with self._lock:
            self._task, self._total, self._done = task, total_bytes, 0
            self._started = self._last = time.monotonic()

    def advance(self, count: int) -> None:
        """Note that `count` more bytes are done."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._started >= PATIENCE_S and now - self._last >= REFRESH_S:
                self._last = now
                self._draw()

    def skip(self, count: int) -> None:
        """Note that `count` bytes need no work."""
        with self._lock:
            if self._total is not None:
                self._total -= count

    def finish(self) -> None:
        """End the task: what was drawn of it stays as one line."""
        with self._lock:
            if self._drawn:
                self._draw()
                sys.stdout.write("\n")
                sys.stdout.flush()
            self._drawn = 0

    def _draw(self) -> None:
        text = f"{self._task}: {sized(self._done)}"
        if self._total:
            part = min(self._done / self._total, 1.0)
            full = round(part * _WIDTH)
            text = f"{self._task}: [{'#' * full}{' ' * (_WIDTH - full)}] {part:4.0%}"
            text += f" of {sized(self._total)}"
        sys.stdout.write("\r" + shown(text).ljust(self._drawn))
        sys.stdout.flush()
        self._drawn = len(text)
