"""Printing lines, tables and JSON, with the form of sizes, times and ids in them.

Results go to stdout, errors and progress to stderr. Anybody may have written the names and messages
of a store, so control characters in them are escaped before a terminal sees them.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from ama.errors import Hint, shown, sized
from ama.system.encoding import from_system
from ama.wording.hints import words

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from ama.system.progress import Progress


Style = Literal["bold", "dim", "red", "green", "yellow"]

_CODES: Mapping[str, str] = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


class Console:
    """The two output streams of this process, with the options that every command has."""

    def __init__(self) -> None:
        self.json = False
        self.quiet = False

    def line(self, text: str = "", style: Style | None = None, *, tabs: bool = False) -> None:
        """Print a line of a result; with `tabs`, keep the tabs of a file's line."""
        if not self.json:
            harmless = "\t".join(map(shown, text.split("\t"))) if tabs else shown(text)
            _write(sys.stdout, _styled(harmless, style, sys.stdout))

    def done(self, text: str, style: Style | None = None) -> None:
        """Print a line about what happened, unless `--quiet`."""
        if not self.quiet:
            self.line(text, style)

    def text(self, text: str) -> None:
        """Print a result of several lines that ama itself made, such as a picture."""
        _write(sys.stdout, text.rstrip("\n"))

    def next_step(self, command: str) -> None:
        """Print the obvious next step, unless `--quiet`."""
        self.done(f"next: {command}", "dim")

    def note(self, text: str) -> None:
        """Print a remark that is not part of a report to stderr, unless `--quiet`."""
        if not (self.quiet or self.json):
            sys.stdout.flush()
            _write(sys.stderr, _styled(shown(text), "dim", sys.stderr))

    def warn(self, text: str) -> None:
        """Print a warning to stderr, even with `--quiet`."""
        if not self.json:
            sys.stdout.flush()
            _write(sys.stderr, _styled("warning:", "yellow", sys.stderr) + " " + shown(text))

    def flush(self) -> None:
        """Write printed output to a pipe or a file now, before work that takes long."""
        sys.stdout.flush()

    def report(self, value: object) -> bool:
        """Print `value` as JSON if `--json` was given; return whether it was."""
        if self.json:
            self.print_json(value)
        return self.json

    def print_json(self, value: object) -> None:
        """Print `value` as JSON."""
        import json

        _write(sys.stdout, json.dumps(plain(value), indent=2, allow_nan=False))

    def error(self, message: str, hint: str | None = None) -> None:
        """Print an error and its hint to stderr, one line each."""
        sys.stdout.flush()
        _write(sys.stderr, _styled("error:", "red", sys.stderr) + " " + shown(message))
        if hint:
            _write(sys.stderr, _styled("hint:", "yellow", sys.stderr) + " " + shown(hint))

    def table(
        self,
        header: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        right: frozenset[int] = frozenset(),
        spill: bool = False,
        cut: Sequence[int] = (),
    ) -> None:
        """Print rows in aligned columns below a header; see `columns`."""
        self.columns([header, *rows], right=right, bold=frozenset({0}), spill=spill, cut=cut)

    def columns(
        self,
        rows: Iterable[Sequence[str]],
        *,
        right: frozenset[int] = frozenset(),
        indent: str = "",
        bold: frozenset[int] = frozenset(),
        spill: bool = False,
        cut: Sequence[int] = (),
    ) -> None:
        """Print rows in aligned columns. On a terminal, cut each line at the window's width.

        Args:
            rows: The cells of each row.
            right: The columns to align to the right.
            indent: The text before each line.
            bold: The rows that are headings.
            spill: Whether to print the last column, a text, below its row if there is hardly any
                room beside the others.
            cut: The columns to cut if a row is too wide, the widest first.
        """
        cells = [[shown(cell) for cell in row] for row in rows]
        if not cells:
            return
        widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
        limit = _terminal_width()
        below = [""] * len(cells)
        missing = len(indent) + sum(widths) + 2 * len(widths) - 2 - limit if limit else 0
        if spill and missing > 0:
            if widths[-1] - missing >= _LEAST_TEXT:
                missing = 0  # the line is cut at its end, which is the end of this text
            else:
                missing -= widths.pop() + 2
                below = [row.pop() for row in cells]
        if missing > 0 and cut:
            most = _cut_to([widths[column] for column in cut], missing)
            for column in cut:
                widths[column] = min(widths[column], most)
                for row in cells:
                    row[column] = _fitted(row[column], widths[column])
        for number, row in enumerate(cells):
            padded = (
                cell.rjust(width) if column in right else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            style: Style | None = "bold" if number in bold else None
            self.line(_fitted(indent + "  ".join(padded).rstrip(), limit), style)
            if below[number]:
                self.line(_fitted(f"{indent}    {below[number]}", limit), style)


_LEAST_TEXT = 15
_LEAST_CELL = 8

console = Console()
"""The console of this process."""


def plain(value: object) -> object:
    """Convert ama's values to values of JSON: objects, arrays, and times in ISO 8601, UTC.

    Convert hints to one text, as people read it.
    """
    if isinstance(value, Hint):
        return words((value,))
    if is_dataclass(value) and not isinstance(value, type):
        data: dict[str, object] = {f.name: plain(getattr(value, f.name)) for f in fields(value)}
        if "hints" in data:
            data["hint"] = words(getattr(value, "hints"))  # noqa: B009 - of any value
            del data["hints"]
        name: Any = getattr(value, "name", None)
        if isinstance(name, str):
            data.setdefault("name", name)
        return data
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return from_system(value)
    if isinstance(value, float) and value - value != 0:
        # JSON has no such number, but a metric may be one.
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def size(count: int | None) -> str:
    """Format a size for people, in units of 1000 bytes.

    Example:
        >>> size(636_144)
        '636.1 kB'
    """
    return "-" if count is None else sized(count)


def when(moment: datetime) -> str:
    """Format a time for people: UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def when_short(moment: datetime) -> str:
    """Format a time for a table, whose header says that it is UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def short(full_id: str) -> str:
    """Shorten an object id for people."""
    return full_id[:10]


def count(number: int, noun: str) -> str:
    """Format a number with its noun.

    Example:
        >>> count(2, "alias")
        '2 aliases'
    """
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def shown_path(path: Path) -> str:
    """Return a path relative to the working directory, if that is shorter."""
    text = from_system(path)
    try:
        near = os.path.relpath(text, from_system(os.getcwd()))
    except ValueError:  # another drive
        return text
    return text if near.startswith(os.pardir) else near


def first_line(message: str) -> str:
    """Return the first line of a message, for a table."""
    return message.strip().partition("\n")[0].rstrip()


def colour_wanted(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal whose user has not asked for plain text."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return False
    return os.name != "nt" or "WT_SESSION" in os.environ


def _fitted(text: str, limit: int | None) -> str:
    return text[: limit - 1] + "…" if limit and len(text) > limit else text


def _cut_to(widths: Sequence[int], missing: int) -> int:
    """Return the width to cut some columns to, so that they free the missing room."""
    for most in range(max(widths), _LEAST_CELL, -1):
        if sum(max(0, width - most) for width in widths) >= missing:
            return most
    return _LEAST_CELL


def _styled(text: str, style: Style | None, stream: TextIO) -> str:
    if style is None or not colour_wanted(stream):
        return text
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def _terminal_width() -> int | None:
    if not sys.stdout.isatty():
        return None
    import shutil

    return max(shutil.get_terminal_size().columns, 40)


def _write(stream: TextIO, text: str) -> None:
    stream.write(text + "\n")


PATIENCE_S = 0.5
_REFRESH_S = 0.1


def terminal_progress() -> Progress:
    """Return the progress for this process: a bar on a terminal; none in a pipe or if `--quiet`."""
    from ama.system.progress import NO_PROGRESS

    if console.quiet or not sys.stderr.isatty():
        return NO_PROGRESS
    return TerminalProgress()


class TerminalProgress:
    """Draws one bar on stderr for the running task, and removes it at the end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: Bars | None = None
        self._bar: TaskID | None = None
        self._task = ""
        self._total: int | None = None
        self._done = 0
        self._saved = 0
        self._started = 0.0
        self._drawn = 0.0

    def start(self, task: str, total_bytes: int | None) -> None:
        """Begin a task; `total_bytes` is None if it is unknown."""
        self.finish()
        with self._lock:
            self._task, self._total, self._done, self._saved = task, total_bytes, 0, 0
            self._started = self._drawn = time.monotonic()

    def advance(self, count: int) -> None:
        """Note that `count` more bytes are done. The call is cheap, and any thread may make it."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._started < PATIENCE_S or now - self._drawn < _REFRESH_S:
                return
            self._drawn = now
            self._draw()

    def skip(self, count: int) -> None:
        """Note that `count` bytes need no work: rate and time left ignore them."""
        with self._lock:
            self._saved += count
            if self._total is not None:
                self._total -= count

    def finish(self) -> None:
        """End the task and remove its bar."""
        with self._lock:
            if self._bars is not None:
                self._bars.stop()
            self._bars = self._bar = None

    def _draw(self) -> None:
        if self._bars is None or self._bar is None:
            self._bars = _new_bars()
            self._bar = self._bars.add_task(self._task, total=self._total)
            self._bars.start()
        there = f" ({size(self._saved)} are there already)" if self._saved else ""
        self._bars.update(
            self._bar, completed=self._done, total=self._total, description=self._task + there
        )


def _new_bars() -> Bars:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, no_color=not colour_wanted(sys.stderr)),
        transient=True,
    )
