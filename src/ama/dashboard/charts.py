"""Charts as SVG, drawn on the server: numbers of a class's assets, histories of metrics.

Colours come from the page's style sheet, by classes. Words describe each chart too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from ama.errors import shown

Point = tuple[float, float]

WIDE, HIGH = 760.0, 170.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 14.0, 12.0, 28.0
MOST_POINTS = 600
"""The places of a chart: of more points, the least and the most in each place are drawn."""

MOST_LINKS = 200
COLOURS = 6
"""The number of lines with a colour of their own: `.c0` and on."""


def number_text(value: float) -> str:
    """Return a number as charts and tables show it.

    Example:
        >>> number_text(0.30000000000000004), number_text(12.0), number_text(1e-9)
        ('0.3', '12', '1e-09')
    """
    return f"{value:.6g}"


def scatter(
    points: Sequence[Point], name: str, href: Callable[[float], str | None] | None = None
) -> str:
    """Return a chart of one number over the assets of a class.

    Args:
        points: The number of each asset, in order, and its value.
        name: The name of the number.
        href: The address of a point, if any, by the asset's number.

    Example:
        >>> 'role="img"' in scatter([(1, 0.5), (2, 0.4)], "loss")
        True
    """
    drawn = thinned(points)
    plot = _Plot(drawn)
    values = [y for _, y in points]
    said = (
        f"{name} over {len(points)} assets: from {number_text(min(values))} to"
        f" {number_text(max(values))}, the newest {number_text(values[-1])}"
    )
    parts = [*plot.axes("asset"), plot.line(drawn, 0)]
    linked = href if href is not None and len(drawn) <= MOST_LINKS else None
    for x, y in drawn:
        title = f"<title>{int(x)}: {number_text(y)}</title>"
        dot = f'<circle class="dot c0" {plot.centre(x, y)} r="3.5">{title}</circle>'
        target = linked(x) if linked else None
        parts.append(f'<a href="{escape(target)}" tabindex="-1">{dot}</a>' if target else dot)
    return _svg(parts, said, linked is not None)


def lines(histories: Mapping[str, Sequence[float]], name: str) -> str:
    """Return a chart of the histories of one metric: a line for each asset.

    Args:
        histories: The values of each asset in order, by the asset's name.
        name: The metric.

    Example:
        >>> lines({"models/1": [0.9, 0.4], "models/2": [0.8, 0.3]}, "loss").count("<polyline")
        2
    """
    series = {
        label: thinned([(at, y) for at, y in enumerate(values, 1) if math.isfinite(y)])
        for label, values in histories.items()
    }
    plot = _Plot([point for points in series.values() for point in points])
    ends = [
        f"{label} from {number_text(points[0][1])} to {number_text(points[-1][1])}"
        for label, points in series.items()
        if points
    ]
    parts = [
        *plot.axes("step"),
        *(plot.line(points, at) for at, points in enumerate(series.values())),
    ]
    return _svg(parts, f"{name}: {', '.join(ends)}", False)


def sparkline(values: Sequence[float]) -> str:
    """Return a history as a small line, for beside a text that describes it.

    Example:
        >>> sparkline([3, 2, 1]).startswith("<svg")
        True
    """
    finite = [y for y in values if math.isfinite(y)]
    if len(finite) < 2:
        return ""
    points = thinned(list(enumerate(finite)), 60)
    low, high = min(finite), max(finite)
    span, last = (high - low) or 1.0, points[-1][0] or 1.0
    drawn = " ".join(f"{x / last * 86 + 2:.1f},{18 - (y - low) / span * 14:.1f}" for x, y in points)
    return (
        '<svg class="spark" width="90" height="20" viewBox="0 0 90 20" aria-hidden="true">'
        f'<polyline class="line c0" points="{drawn}"/></svg>'
    )


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """Return at most `most` of some points, with the least and the most of each place.

    Example:
        >>> len(thinned([(x, x % 7) for x in range(10_000)], 100)) <= 100
        True
    """
    if len(points) <= most:
        return list(points)
    places = max(1, most // 2)
    found: list[Point] = []
    for at in range(places):
        part = points[at * len(points) // places : (at + 1) * len(points) // places]
        ends = {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
        found += sorted(ends)
    return found


class _Plot:
    """The places of points in a chart."""

    def __init__(self, points: Sequence[Point]) -> None:
        xs = [x for x, _ in points] or [0.0, 1.0]
        ys = [y for _, y in points] or [0.0, 1.0]
        self.left, self.right = min(xs), max(xs)
        self.ticks = _ticks(min(ys), max(ys))
        self.low, self.high = self.ticks[0], self.ticks[-1]

    def x(self, value: float) -> float:
        if self.left == self.right:
            return (_LEFT + WIDE - _RIGHT) / 2
        return _LEFT + (value - self.left) / (self.right - self.left) * (WIDE - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value / 2 - self.low / 2) / ((self.high / 2 - self.low / 2) or 1.0)
        return HIGH - _BOTTOM - share * (HIGH - _TOP - _BOTTOM)

    def centre(self, x: float, y: float) -> str:
        return f'cx="{self.x(x):.1f}" cy="{self.y(y):.1f}"'

    def line(self, points: Sequence[Point], colour: int) -> str:
        drawn = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return f'<polyline class="line c{colour % COLOURS}" points="{drawn}"/>'

    def axes(self, unit: str) -> list[str]:
        parts = []
        for tick in self.ticks:
            y = self.y(tick)
            parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDE - _RIGHT}"/>')
            parts.append(
                f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
                f"{number_text(tick)}</text>"
            )
        for value in dict.fromkeys((self.left, self.right)):
            anchor = "start" if value == self.left != self.right else "end"
            parts.append(
                f'<text class="tick" x="{self.x(value):.1f}" y="{HIGH - 8}"'
                f' text-anchor="{anchor}">{unit} {number_text(value)}</text>'
            )
        return parts


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers from below the least to above the most."""
    if not low < high:
        margin = abs(low) / 10 or 1.0
        low, high = low - margin, high + margin
    rough = high / 4 - low / 4
    if not math.isfinite(rough) or rough <= 0:
        return [low, high]
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 1e-300 else rough
    step = next((s * power for s in (1, 2, 5, 10) if s * power >= rough), rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    if last - first > 12 or step == 0:
        return [low, high]
    return [each * step for each in range(first, last + 1)]


def _svg(parts: Sequence[str], said: str, linked: bool) -> str:
    role = "group" if linked else "img"
    return (
        f'<svg class="chart" viewBox="0 0 {WIDE:g} {HIGH:g}" role="{role}"'
        f' aria-label="{escape(shown(said))}">{"".join(parts)}</svg>'
    )
