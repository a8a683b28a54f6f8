"""Text files: which files are text, and how two of them differ line by line."""

from __future__ import annotations

import codecs
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isqrt

MAX_TEXT = 16_000_000
"""The most bytes of a file to read as text."""

MAX_LINES = 1_000_000
"""The most lines to compare."""

CONTEXT = 3
NO_NEWLINE = "\\ No newline at end of file"

# The order doesn't matter: no mark begins with another.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Text:
    """A file's text, with its line ends; `complete` says whether it is the whole text."""

    text: str
    encoding: str
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Hunk:
    """Differing lines, with those around them.

    Each of `lines` begins with a space (both have it), `-` (only the old text), `+` (only the new)
    or a backslash (a remark, as in git). Starts count from 1; where a side has no lines, its start
    is the line before.
    """

    old_start: int
    old_count: int
    new_start: int
    new_count: int
    lines: tuple[str, ...]

    @property
    def header(self) -> str:
        """Return the line above a hunk, as git writes it.

        Example:
            >>> Hunk(1, 2, 1, 1, ()).header
            '@@ -1,2 +1 @@'
        """
        old, new = _span(self.old_start, self.old_count), _span(self.new_start, self.new_count)
        return f"@@ -{old} +{new} @@"


def _span(start: int, count: int) -> str:
    return f"{start}" if count == 1 else f"{start},{count}"


def read_text(pieces: Iterable[bytes], limit: int = MAX_TEXT) -> Text | None:
    r"""Read a file as text, if it is text: UTF-8, or UTF-16 with a byte order mark, without NULs.

    Args:
        pieces: Its bytes; no more of them are read than needed.
        limit: The most bytes to read; of a longer file, only the beginning is returned.

    Returns:
        The text; None if the file is no text.

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
    r"""Return a text's lines with their ends. As in git, only `\n` ends a line.

    Example:
        >>> split_lines("a\r\n\fb")
        ['a\r\n', '\x0cb']
    """
    parts = text.split("\n")
    lines = [f"{part}\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def compare_lines(old: str, new: str) -> tuple[Hunk, ...] | None:
    r"""Return how two texts differ, line by line; None if they have too many lines.

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
    """Group ranges whose surrounding lines meet."""
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


WORK = 4_000_000
"""The most comparisons beyond a few looks at each line: about a second."""

_ROUNDS = 8

Pair = tuple[int, int]


class _Work:
    """The work that is left; a single search may take half of it."""

    def __init__(self, left: int) -> None:
        self.left = left


def common_lines(old: Sequence[str], new: Sequence[str], work: int = WORK) -> list[Pair]:
    """Return the positions (old, new) of the common lines, in order.

    Args:
        old: The old lines.
        new: The new lines.
        work: The most comparisons.

    Example:
        >>> common_lines(["a", "b", "c"], ["a", "c", "d"])
        [(0, 0), (2, 1)]
    """
    numbers: dict[str, int] = {}  # compare long lines with the same beginning only once
    before = [numbers.setdefault(line, len(numbers)) for line in old]
    now = [numbers.setdefault(line, len(numbers)) for line in new]
    return _common(before, now, _Work(work), _ROUNDS)


def _common(old: Sequence[int], new: Sequence[int], work: _Work, rounds: int) -> list[Pair]:
    shorter = min(len(old), len(new))
    start = 0
    while start < shorter and old[start] == new[start]:
        start += 1
    end = 0
    while end < shorter - start and old[-1 - end] == new[-1 - end]:
        end += 1
    before, now = old[start : len(old) - end], new[start : len(new) - end]
    inner = _shortest(before, now, work) if before and now else []
    if inner is None:
        inner = _between_anchors(before, now, work, rounds)
    return [
        *((at, at) for at in range(start)),
        *((start + i, start + j) for i, j in inner),
        *((len(old) - at, len(new) - at) for at in range(end, 0, -1)),
    ]


def _shortest(old: Sequence[int], new: Sequence[int], work: _Work) -> list[Pair] | None:
    """Return the common lines of a shortest edit script; None if that takes too much work."""
    limit = max(work.left, 0) // 2
    most = min(len(old) + len(new), isqrt(2 * limit))
    reach = [0] * (2 * most + 3)  # on each diagonal x - y, at index `zero + x - y`: how far
    zero = most + 1
    trace = []
    spent = 0
    for edits in range(most + 1):
        trace.append(reach[zero - edits - 1 : zero + edits + 2])
        for diagonal in range(-edits, edits + 1, 2):
            left, right = reach[zero + diagonal - 1], reach[zero + diagonal + 1]
            down = diagonal == -edits or (diagonal != edits and left < right)
            start = x = right if down else left + 1
            y = x - diagonal
            while x < len(old) and y < len(new) and old[x] == new[y]:
                x += 1
                y += 1
            reach[zero + diagonal] = x
            spent += 1 + x - start
            if x >= len(old) and y >= len(new):
                work.left -= spent
                return _way_back(len(old), len(new), trace)
            if spent > limit:
                work.left -= spent
                return None
    work.left -= spent
    return None


def _way_back(x: int, y: int, trace: list[list[int]]) -> list[Pair]:
    """Return the common lines on the way back from the end of both texts, in order."""
    pairs = []
    for edits in range(len(trace) - 1, 0, -1):
        reach, zero = trace[edits], edits + 1
        diagonal = x - y
        left, right = reach[zero + diagonal - 1], reach[zero + diagonal + 1]
        down = diagonal == -edits or (diagonal != edits and left < right)
        before_x = right if down else left
        before_y = before_x - (diagonal + 1 if down else diagonal - 1)
        while x > before_x and y > before_y:
            x, y = x - 1, y - 1
            pairs.append((x, y))
        x, y = before_x, before_y
    pairs += [(at, at) for at in range(x - 1, -1, -1)]
    return pairs[::-1]


def _between_anchors(
    old: Sequence[int], new: Sequence[int], work: _Work, rounds: int
) -> list[Pair]:
    """Return the common lines between (and with) the lines that both sides have exactly once."""
    anchors = _anchors(old, new) if rounds else []
    if not anchors:
        return []
    pairs: list[Pair] = []
    i = j = 0
    for x, y in [*anchors, (len(old), len(new))]:
        gap = _common(old[i:x], new[j:y], work, rounds - 1)
        pairs += [(i + a, j + b) for a, b in gap]
        if x < len(old):
            pairs.append((x, y))
        i, j = x + 1, y + 1
    return pairs


def _anchors(old: Sequence[int], new: Sequence[int]) -> list[Pair]:
    """Return the longest run of lines that are unique on both sides and in the same order."""
    in_old, in_new = Counter(old), Counter(new)
    places = {line: at for at, line in enumerate(new) if in_new[line] == 1}
    pairs = [
        (x, places[line]) for x, line in enumerate(old) if in_old[line] == 1 and line in places
    ]
    ends: list[int] = []  # the least `y` at which a run of each length ends
    last: list[int] = []  # and the pair that ends there
    before = []
    for number, (_, y) in enumerate(pairs):
        length = bisect_left(ends, y)
        before.append(last[length - 1] if length else -1)
        ends[length : length + 1] = [y]
        last[length : length + 1] = [number]
    run = []
    at = last[-1] if last else -1
    while at >= 0:
        run.append(pairs[at])
        at = before[at]
    return run[::-1]


class Pieces:
    """A reader of exact numbers of bytes, over an iterator of pieces of any size.

    Args:
        pieces: The file's bytes in order, as `Asset.open` yields them.

    Example:
        >>> file = Pieces([b"head", b"er and", b" rest"])
        >>> file.peek(6), file.read(6), b"".join(file.upto(5)), b"".join(file.rest())
        (b'header', b'header', b' and ', b'rest')
        >>> file.position
        15
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._next = b""
        self.position = 0
        """The number of bytes read."""

    def peek(self, size: int) -> bytes:
        """Return the next bytes without reading them; fewer only at the end of the file."""
        parts, have = [self._next], len(self._next)
        while have < size and (piece := next(self._pieces, None)) is not None:
            parts.append(piece)
            have += len(piece)
        self._next = b"".join(parts)
        return self._next[:size]

    def read(self, size: int) -> bytes:
        """Return the next bytes; fewer only at the end of the file."""
        return b"".join(self.upto(size))

    def upto(self, size: int) -> Iterator[bytes]:
        """Yield the next bytes in pieces; fewer only at the end of the file."""
        while size:
            piece = self._next or next(self._pieces, None)
            if piece is None:
                return
            taken, self._next = piece[:size], piece[size:]
            size -= len(taken)
            self.position += len(taken)
            yield taken

    def rest(self) -> Iterator[bytes]:
        """Yield the rest in pieces."""
        if self._next:
            yield from self.upto(len(self._next))
        for piece in self._pieces:
            self.position += len(piece)
            yield piece

    def drain(self) -> int:
        """Read to the end, which verifies the whole; return the file's size in bytes."""
        for _ in self.rest():
            pass
        return self.position
