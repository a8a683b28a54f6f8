"""Previews of files on pages. Nothing of a file runs, and little of a huge one is read."""

from __future__ import annotations

import csv
import io
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from html import escape
from itertools import takewhile
from threading import Lock
from typing import Literal

from ama.contents.comparison import form_of, read_tensors
from ama.contents.tensors import Tensor
from ama.contents.text import Pieces, read_text
from ama.values import File

MAX_TEXT = 96 * 1024
MAX_LINE = 2_000
MAX_ROWS, MAX_CELLS, MAX_CELL = 100, 30, 120
MAX_TENSORS = 500
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


def preview(file: File, open_file: Callable[[], Iterator[bytes]]) -> Preview:
    r"""Return the preview of a file.

    Args:
        file: The file.
        open_file: A function that yields its bytes in pieces.

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

    def of(self, file: File, open_file: Callable[[], Iterator[bytes]]) -> Preview:
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
                found = preview(file, open_file)
                if len(self._made) >= MOST_KEPT:
                    self._made.clear()
                self._made[key] = found
        return found


def _read(open_file: Callable[[], Iterator[bytes]], size: int) -> bytes:
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


_HEADING = re.compile(r"(#{1,6})[ \t]+(.*)").fullmatch
_BULLET = re.compile(r"[ \t]{0,8}[-*+][ \t]+(.*)").fullmatch
_NUMBERED = re.compile(r"[ \t]{0,8}[0-9]{1,9}[.)][ \t]+(.*)").fullmatch
_RULE = re.compile(r"[ ]{0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}").fullmatch
_QUOTE = re.compile(r"[ ]{0,3}>[ ]?(.*)").fullmatch
_INLINE = re.compile(
    r"`(?P<code>[^`\n]{1,2000})`"
    r"|(?<!!)\[(?P<text>[^\[\]\n]{1,500})\]\((?P<url>https?://[^\s()<>\"']{1,2000})\)"
    r"|\*\*(?P<strong>[^*\n]{1,2000})\*\*"
    r"|\*(?P<em>[^*\s][^*\n]{0,2000})\*"
)
_FENCE = ("```", "~~~")
_BETWEEN_CELLS = re.compile(r"(?<!\\)\|")
_DASHES = re.compile(r":?-+:?").fullmatch
MOST_COLUMNS = 50
"""The most columns of a table: no page could show more."""

_Fits = Callable[[str], re.Match[str] | None]


def render(text: str) -> str:
    r"""Return Markdown as HTML that is safe in a page.

    Example:
        >>> render("# A *model*\n\n<b>1</b>")
        '<h3>A <em>model</em></h3>\n<p>&lt;b&gt;1&lt;/b&gt;</p>'
    """
    return "\n".join(_blocks(text.splitlines()))


def _blocks(lines: list[str]) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.lstrip().startswith(_FENCE):
            mark = line.lstrip()[:3]
            end = _until(lines, at + 1, partial(_starts, mark))
            yield f"<pre><code>{escape(chr(10).join(lines[at + 1 : end]))}</code></pre>"
            at = end + 1
        elif not line.strip():
            at += 1
        elif heading := _HEADING(line):
            # The page has its own headings above these.
            level = min(6, len(heading[1]) + 2)
            yield f"<h{level}>{_inline(_without_closing(heading[2]))}</h{level}>"
            at += 1
        elif _RULE(line):
            yield "<hr>"
            at += 1
        elif columns := _columns(lines, at):
            end = _until(lines, at + 2, _ends_a_paragraph)
            yield _table_rows(columns, [line, *lines[at + 2 : end]])
            at = end
        elif (kind := _kind(line)) is not None:
            tag, pattern = kind
            items = [
                _inline(match[match.lastindex or 0])
                for match in takewhile(bool, map(pattern, lines[at:]))
                if match
            ]
            end = at + len(items)
            if tag == "blockquote":
                yield f"<blockquote><p>{'<br>'.join(items)}</p></blockquote>"
            else:
                yield f"<{tag}>{''.join(f'<li>{item}</li>' for item in items)}</{tag}>"
            at = end
        else:
            end = at + 1
            while end < len(lines) and not (_ends_a_paragraph(lines[end]) or _columns(lines, end)):
                end += 1
            yield f"<p>{_inline(' '.join(lines[at:end]))}</p>"
            at = end


def _without_closing(title: str) -> str:
    """Return a title without closing marks; a regular expression would take cubic time."""
    return title.rstrip(" \t").rstrip("#").rstrip(" \t")


def _starts(mark: str, line: str) -> bool:
    return line.lstrip().startswith(mark)


def _until(lines: list[str], start: int, ends: Callable[[str], object]) -> int:
    return next((at for at in range(start, len(lines)) if ends(lines[at])), len(lines))


def _kind(line: str) -> tuple[str, _Fits] | None:
    for tag, pattern in (("ul", _BULLET), ("ol", _NUMBERED), ("blockquote", _QUOTE)):
        if pattern(line):
            return tag, pattern
    return None


def _ends_a_paragraph(line: str) -> bool:
    if not line.strip() or line.lstrip().startswith(_FENCE):
        return True
    return bool(_HEADING(line) or _RULE(line) or _kind(line))


def _columns(lines: list[str], at: int) -> list[str]:
    """Return the classes of the columns of a table with this head line; none if it is no table."""
    if at + 1 >= len(lines) or "|" not in lines[at] or "-" not in lines[at + 1]:
        return []
    dashes, head = _cells(lines[at + 1]), _cells(lines[at])
    if len(dashes) != len(head) or len(head) > MOST_COLUMNS or not all(map(_DASHES, dashes)):
        return []
    return [' class="num"' if each.endswith(":") and each[0] != ":" else "" for each in dashes]


def _cells(line: str) -> list[str]:
    """Return the texts between the bars of a table's line; a backslash escapes a bar."""
    inside = line.strip().removeprefix("|")
    cells = [cell.strip().replace(r"\|", "|") for cell in _BETWEEN_CELLS.split(inside)]
    return cells[:-1] if len(cells) > 1 and not cells[-1] else cells


def _table_rows(columns: list[str], lines: list[str]) -> str:
    head, *rows = [
        [(kind, _inline(cell)) for kind, cell in zip(columns, _cells(line), strict=False)]
        for line in lines
    ]
    titles = "".join(f'<th scope="col"{kind}>{cell}</th>' for kind, cell in head)
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{cell}</td>' for kind, cell in row)}</tr>" for row in rows
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table class="list">'
        f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _inline(text: str) -> str:
    parts = []
    at = 0
    for match in _INLINE.finditer(text):
        parts.append(escape(text[at : match.start()]))
        at = match.end()
        if match["code"]:
            parts.append(f"<code>{escape(match['code'])}</code>")
        elif match["url"]:
            url, label = escape(match["url"]), escape(match["text"])
            parts.append(f'<a href="{url}" rel="noopener noreferrer nofollow">{label}</a>')
        elif match["strong"]:
            parts.append(f"<strong>{escape(match['strong'])}</strong>")
        else:
            parts.append(f"<em>{escape(match['em'])}</em>")
    parts.append(escape(text[at:]))
    return "".join(parts)
