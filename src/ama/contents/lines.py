"""Which lines two texts have in common, in order: the fewest changes where that is soon found.

The work is bounded, whatever the texts are. What differs a little gets Myers' shortest edit script
("An O(ND) difference algorithm and its variations", 1986). Where that takes too long, lines that
each side has once hold the texts together, as in a patience diff, and between those it is tried
again. What is left unmatched when the work is used up counts as replaced: longer, and no less true.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from math import isqrt

WORK = 4_000_000
"""How many comparisons of lines are made at most beyond a few looks at each line: a second."""

_ROUNDS = 8

Pair = tuple[int, int]


class _Work:
    """How much work is left; a single search may take half of it."""

    def __init__(self, left: int) -> None:
        self.left = left


def common_lines(old: Sequence[str], new: Sequence[str], work: int = WORK) -> list[Pair]:
    """Return the positions (old, new) of the lines that stay, in order.

    Args:
        old: the lines before.
        new: the lines now.
        work: how many comparisons may be made.

    Example:
        >>> common_lines(["a", "b", "c"], ["a", "c", "d"])
        [(0, 0), (2, 1)]
    """
    numbers: dict[str, int] = {}  # long lines with the same beginning are compared only once
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
    """Return the common lines of a shortest edit script; None where the work doesn't suffice."""
    limit = max(work.left, 0) // 2
    most = min(len(old) + len(new), isqrt(2 * limit))
    reach = [0] * (2 * most + 3)  # on each diagonal x - y, at its place `zero + x - y`: how far
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
    """Return the common lines on the way from the end of both to their beginning, in order."""
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
    """Return what is common between (and with) the lines that both sides have exactly once."""
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
    last: list[int] = []  # and the pair that it is
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
