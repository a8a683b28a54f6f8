r"""Text files: what is one, and how two of them differ line by line."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ama.contents.lines import common_lines

MAX_TEXT = 16_000_000
"""So many bytes of a file are read as text at most."""

MAX_LINES = 1_000_000
"""So many lines are compared at most."""

CONTEXT = 3
NO_NEWLINE = "\\ No newline at end of file"

# The order matters to none: no mark begins with another one.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Text:
    """A file's text, its line ends as they are; `complete` says whether this is all of it."""

    text: str
    encoding: str
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines that differ, with those around them.

    Each of `lines` begins with a space (both have it), `-` (only the old text), `+` (only the new)
    or a backslash (a remark, as in git). The starts count from 1, but are the line before where
    there is none on that side.
    """

    old_start: int
    old_count: int
    new_start: int
    new_count: int
    lines: tuple[str, ...]

    @property
    def header(self) -> str:
        """The line above a hunk, as git writes it.

        Example:
            >>> Hunk(1, 2, 1, 1, ()).header
            '@@ -1,2 +1 @@'
        """
        old, new = _span(self.old_start, self.old_count), _span(self.new_start, self.new_count)
        return f"@@ -{old} +{new} @@"


def _span(start: int, count: int) -> str:
    return f"{start}" if count == 1 else f"{start},{count}"


def read_text(pieces: Iterable[bytes], limit: int = MAX_TEXT) -> Text | None:
    r"""Read a file as text, if it is one: UTF-8, or UTF-16 with a byte order mark, without NULs.

    Args:
        pieces: its bytes, which are read no further than is needed.
        limit: how many bytes are read; of a longer file the beginning is returned.

    Returns:
        The text; None for what isn't text.

    Example:
        >>> read_text([b"loss: 0.3\n"])
        Text(text='loss: 0.3\n', encoding='utf-8', complete=True)
        >>> read_text([b"\x89HDF\r\n\x1a\n"]) is None
        True
    """
    stream = iter(pieces)
    head = b""
    while len(head) < 3 and (piece := next(stream, None)) is not None:
        head += piece
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8")
    decoder = codecs.getincrementaldecoder(encoding)()
    parts = []
    piece, left = head, limit
    try:
        while piece is not None:
            part = decoder.decode(piece[:left])
            if "\0" in part:
                return None
            parts.append(part)
            if len(piece) > left:
                return Text("".join(parts), encoding, complete=False)
            left -= len(piece)
            piece = next(stream, None)
        parts.append(decoder.decode(b"", final=True))
    except UnicodeDecodeError:
        return None
    return Text("".join(parts), encoding)


def split_lines(text: str) -> list[str]:
    r"""Return a text's lines with their ends. As in git, only `\n` ends one.

    Example:
        >>> split_lines("a\r\n\fb")
        ['a\r\n', '\x0cb']
    """
    parts = text.split("\n")
    lines = [f"{part}\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def compare_lines(old: str, new: str) -> tuple[Hunk, ...] | None:
    r"""Return how two texts differ, line by line; None where they have too many lines.

    Example:
        >>> compare_lines("a\nb\n", "a\nc")[0].lines
        (' a', '-b', '+c', '\\ No newline at end of file')
    """
    if old.count("\n") + new.count("\n") > MAX_LINES:
        return None
    before, now = split_lines(old), split_lines(new)
    return tuple(_hunk(before, now, group) for group in _grouped(_differing(before, now)))


Range = tuple[int, int, int, int]  # old lines from, to, and new lines from, to


def _differing(old: Sequence[str], new: Sequence[str]) -> Iterator[Range]:
    i = j = 0
    for x, y in [*common_lines(old, new), (len(old), len(new))]:
        if x > i or y > j:
            yield i, x, j, y
        i, j = x + 1, y + 1


def _grouped(ranges: Iterable[Range]) -> Iterator[list[Range]]:
    """Put together what is so near that the lines around it meet."""
    group: list[Range] = []
    for each in ranges:
        if group and each[0] - group[-1][1] > 2 * CONTEXT:
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def _hunk(old: Sequence[str], new: Sequence[str], group: Sequence[Range]) -> Hunk:
    lead = min(CONTEXT, group[0][0])
    tail = min(CONTEXT, len(old) - group[-1][1])
    first_old, first_new = group[0][0] - lead, group[0][2] - lead
    old_count, new_count = group[-1][1] + tail - first_old, group[-1][3] + tail - first_new
    lines: list[str] = []
    at = first_old
    for i, x, j, y in group:
        lines += _marked(" ", old[at:i])
        lines += _marked("-", old[i:x])
        lines += _marked("+", new[j:y])
        at = x
    lines += _marked(" ", old[at : at + tail])
    return Hunk(
        first_old + bool(old_count),
        old_count,
        first_new + bool(new_count),
        new_count,
        tuple(lines),
    )


def _marked(sign: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield sign + line.removesuffix("\n")
        if not line.endswith("\n"):
            yield NO_NEWLINE
