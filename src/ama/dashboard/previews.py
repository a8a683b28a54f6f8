"""Previews of files on pages. Nothing of a file runs, and little of a huge one is read."""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Lock
from typing import BinaryIO, Literal

from ama.catalog.documents import HEADERS, Syntax, read_header, syntax_of
from ama.catalog.unread import REASONS
from ama.contents.comparison import form_of, read_tensors
from ama.contents.tensors import Tensor
from ama.contents.text import Pieces, read_text
from ama.dashboard.rendering import value_text
from ama.values import File

MAX_TEXT = 96 * 1024
MAX_LINE = 2_000
MAX_ROWS, MAX_CELLS, MAX_CELL = 100, 30, 120
MAX_TENSORS = 500
MAX_VALUES, MAX_NOTES = 500, 5
MAX_HDF5 = 512 * 1024 * 1024
"""The largest HDF5 file to list, in bytes: it is read whole for that."""

MOST_KEPT = 64
MAX_IMAGE = 16 * 1024 * 1024

Form = Literal["text", "markdown", "table", "tensors", "image", "link", "none"]

_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


@dataclass(frozen=True, slots=True)
class Preview:
    """The preview of a file; for an image, its type. `note` says what isn't shown, and why."""

    form: Form
    text: str = ""
    rows: tuple[tuple[str, ...], ...] = ()
    tensors: tuple[Tensor, ...] = ()
    note: str = ""


def image_type(head: bytes) -> str | None:
    r"""Return the type of an image that every browser shows, and that can't hold a script.

    Example:
        >>> image_type(b"GIF89a..."), image_type(b"<svg")
        ('image/gif', None)
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for mark, kind in _IMAGES if head.startswith(mark)), None)


Stream = Callable[[], Iterator[bytes]]
Opener = Callable[[], AbstractContextManager[BinaryIO]]


def preview(file: File, open_file: Stream, open_anywhere: Opener | None = None) -> Preview:
    r"""Return the preview of a file.

    Args:
        file: The file.
        open_file: A function that yields its bytes in pieces.
        open_anywhere: A function that opens it to be read at any place; None: it can't be.

    Raises:
        IntegrityError: The file is damaged.
        FormatError: The file's form is broken.

    Example:
        >>> file = File("a.csv", "file", "0" * 64, 8)
        >>> preview(file, lambda: iter([b"a,b\n1,2\n"])).rows
        (('a', 'b'), ('1', '2'))
    """
    if file.kind == "symlink":
        return Preview("link", _read(open_file, 4096).decode("utf-8", "replace"))
    syntax = syntax_of(file.path)
    if syntax is not None and syntax in HEADERS and open_anywhere is not None:
        return _of_header(file, syntax, open_anywhere)
    pieces = Pieces(open_file())
    form = form_of(pieces)
    if form == "hdf5" and file.size > MAX_HDF5:
        return Preview("none", note=f"HDF5, and too large to be read here ({MAX_HDF5:,} bytes)")
    if form is not None:
        return _of_tensors(read_tensors(pieces.rest()) or ())
    if kind := image_type(pieces.peek(16)):
        if file.size > MAX_IMAGE:
            return Preview("none", note="an image that is too large to be shown")
        return Preview("image", kind)
    text = read_text(pieces.rest(), MAX_TEXT)
    if text is None:
        return Preview("none", note="a binary file: it is downloaded, not shown")
    note = "" if text.complete else f"the first {MAX_TEXT:,} bytes"
    ending = posixpath.splitext(file.path)[1].lower()
    if ending in (".csv", ".tsv"):
        return _table(text.text, "\t" if ending == ".tsv" else ",", note)
    if ending in (".md", ".markdown"):
        return Preview("markdown", text.text, note=note)
    lines = text.text.split("\n")
    if any(len(line) > MAX_LINE for line in lines):
        lines = [line if len(line) <= MAX_LINE else line[:MAX_LINE] + " …" for line in lines]
        note = f"{note}; " * bool(note) + "long lines are cut"
    return Preview("text", "\n".join(lines), note=note)


class Previews:
    """The previews made so far: a file's id determines its content, so each stays true.

    Example:
        >>> file = File("a.txt", "file", "0" * 64, 1)
        >>> previews = Previews()
        >>> previews.of(file, lambda: iter([b"a"])) is previews.of(file, lambda: iter([b"b"]))
        True
    """

    def __init__(self) -> None:
        self._made: dict[tuple[str, str, str], Preview] = {}
        self._making = Lock()

    def of(self, file: File, open_file: Stream, open_anywhere: Opener | None = None) -> Preview:
        """Return the preview of a file; see `preview`."""
        key = file.id, file.kind, posixpath.splitext(file.path)[1]
        found = self._made.get(key)
        if found is not None:
            return found
        # One after another: a huge file is copied to the disk for it, and many at once would fill
        # the disk.
        with self._making:
            found = self._made.get(key)
            if found is None:
                found = preview(file, open_file, open_anywhere)
                if len(self._made) >= MOST_KEPT:
                    self._made.clear()
                self._made[key] = found
        return found


def _of_header(file: File, syntax: Syntax, open_anywhere: Opener) -> Preview:
    with open_anywhere() as opened:

        def read_at(at: int, size: int) -> bytes:
            opened.seek(at)
            return opened.read(size)

        found = read_header(read_at, file.size, syntax)
    gaps = [(gap.key, REASONS[gap.reason]) for gap in found.gaps]
    notes = [f"{key}: not read: {why}" if key else f"not read: {why}" for key, why in gaps]
    below = [(key, value_text(value, MAX_CELL)) for key, value in found.values.items()]
    if len(below) > MAX_VALUES:
        notes.append(f"the first {MAX_VALUES:,} of {len(below):,} values")
    if len(notes) > MAX_NOTES:
        notes = [*notes[:MAX_NOTES], f"and {len(notes) - MAX_NOTES:,} more"]
    if not below:
        return Preview("none", note="; ".join(notes))
    rows = (("Value in its header", ""), *below[:MAX_VALUES])
    return Preview(
        "table", rows=tuple((key[:MAX_CELL], text) for key, text in rows), note="; ".join(notes)
    )


def _read(open_file: Stream, size: int) -> bytes:
    return Pieces(open_file()).read(size)


def _of_tensors(tensors: tuple[Tensor, ...]) -> Preview:
    more = len(tensors) - MAX_TENSORS
    note = f"{more:,} more tensors are not shown" if more > 0 else ""
    return Preview("tensors", tensors=tensors[:MAX_TENSORS], note=note)


def _table(text: str, separator: str, note: str) -> Preview:
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        found = [row for row in reader if row]
    except csv.Error:
        return Preview("text", text, note=note)
    shown, below = found[: MAX_ROWS + 1], len(found) - 1  # of a head, and the rows below it
    cut = [note] if note else []
    if below > MAX_ROWS:
        # An incomplete file has an unknown number of rows, and the last one read may be cut.
        known = f"more than {below - 1:,}" if note else f"{below:,}"
        cut = [f"the first {MAX_ROWS:,} of {known} rows"]
    if any(len(row) > MAX_CELLS for row in shown):
        cut.append(f"the first {MAX_CELLS} columns")
    rows = tuple(
        tuple(cell[:MAX_CELL] + "…" * (len(cell) > MAX_CELL) for cell in row[:MAX_CELLS])
        for row in shown
    )
    return Preview("table", rows=rows, note=", ".join(cut))
