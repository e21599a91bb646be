"""A small chart as SVG: axes, lines, marks. Colours and dashes are classes, so that a page can be light or dark."""

import html
import math
from collections.abc import Callable, Iterable, Sequence

from lrpilot_bench.report.scales import Scale, plain_label

WIDTH, HEIGHT = 420, 292
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 30, 44
MOST_TICKS = 6

Point = tuple[float, float]
Label = Callable[[float], str]


def x_scale(low: float, high: float, *, log: bool = False) -> Scale:
    """The horizontal axis of a panel."""
    return Scale(low, high, LEFT, WIDTH - RIGHT, log)


def y_scale(low: float, high: float, *, log: bool = False) -> Scale:
    """The vertical axis of a panel."""
    return Scale(low, high, HEIGHT - BOTTOM, TOP, log)


class Panel:
    """One chart of 420 x 292 units, drawn from back to front.

    Args:
        name: unique on the page; prefix of the ids inside.
        x: horizontal scale, of :func:`x_scale`.
        y: vertical scale, of :func:`y_scale`.
        x_label: quantity and unit.
        y_label: quantity and unit; it stands above the axis.
        x_tick: text of a tick.
        y_tick: text of a tick.
        x_ticks: where they are; round values where None.
        summary: what a reader who cannot see it is told.

    Attributes:
        off_scale: whether a sign stands at the upper edge because its value lies beyond it.
    """

    def __init__(
        self,
        name: str,
        x: Scale,
        y: Scale,
        *,
        x_label: str,
        y_label: str,
        summary: str,
        x_tick: Label = plain_label,
        y_tick: Label = plain_label,
        x_ticks: Sequence[float] | None = None,
    ) -> None:
        self.name, self.x, self.y = name, x, y
        self._summary = summary
        self.off_scale = False
        self._parts: list[str] = []
        self._frame(x_label, y_label)
        self._ticks(x_tick, y_tick, x.ticks(MOST_TICKS) if x_ticks is None else x_ticks)

    def _frame(self, x_label: str, y_label: str) -> None:
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        self._parts.append(f'<path class="axis" d="M{LEFT} {bottom}H{right}"/>')
        self._text((LEFT + right) / 2, HEIGHT - 7, x_label, "label", anchor="middle")
        self._text(8, 15, y_label, "label")

    def _ticks(self, x_tick: Label, y_tick: Label, x_ticks: Sequence[float]) -> None:
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        for value in self.y.ticks(6):
            at = _n(self.y(value))
            self._parts.append(f'<path class="grid" d="M{LEFT} {at}H{right}"/>')
            self._text(LEFT - 7, float(at) + 4, y_tick(value), "tick", anchor="end")
        for value in x_ticks:
            at = _n(self.x(value))
            self._parts.append(f'<path class="axis" d="M{at} {bottom}v5"/>')
            self._text(float(at), bottom + 18, x_tick(value), "tick", anchor="middle")

    # ------------------------------------------------------------------ what is drawn

    def line(self, points: Iterable[Point], style: str, *, thin: bool = False, step: bool = False) -> None:
        """A line through points; broken where a value is not finite, cut off where it leaves the panel.

        Args:
            points: (x, y) in the units of the axes.
            style: class of colour and dash.
            thin: one of several that make up a band of seeds.
            step: y stays until the next x.
        """
        trace = "".join(self._stretch(part, step=step) for part in _finite_parts(points, self.y.log))
        if trace:
            kind = "line thin" if thin else "line"
            self._parts.append(f'<path class="{kind} {style}" clip-path="url(#{self.name}-c)" d="{trace}"/>')

    def _stretch(self, points: Sequence[Point], *, step: bool) -> str:
        pieces = []
        for i, (x, y) in enumerate(points):
            if step and i:
                pieces.append(f"H{_n(self.x(x))}")
            pieces.append(f"{'L' if i else 'M'}{_n(self.x(x))} {_n(_tame(self.y(y)))}")
        return "".join(pieces) if len(pieces) > 1 else ""

    def mark(self, x: float, y: float, style: str, marker: str, *, title: str = "") -> None:
        """A sign at a point; at the upper edge, as an arrow, where the value lies above the panel or is not finite."""
        above = not math.isfinite(y) or y > self.y.high
        self.off_scale = self.off_scale or above
        at_x, at_y = self.x.clipped(x), (TOP + 4.0 if above else self.y.clipped(y))
        path = marker_path("up" if above else marker, at_x, at_y)
        words = f"<title>{html.escape(title)}</title>" if title else ""
        self._parts.append(f'<path class="mark {style}" d="{path}">{words}</path>')

    def foot(self, x: float, style: str, marker: str, *, title: str) -> None:
        """A sign on the lower edge, where x lies on the axis or at its nearer end."""
        path = marker_path(marker, self.x.clipped(x), HEIGHT - BOTTOM - 8, 4.2)
        self._parts.append(f'<path class="mark {style}" d="{path}"><title>{html.escape(title)}</title></path>')

    def level(self, y: float, style: str, label: str = "") -> None:
        """A horizontal line across the panel, with words at its left end."""
        if not self.y.holds(y):
            return
        at = self.y(y)
        self._parts.append(f'<path class="level {style}" d="M{LEFT} {_n(at)}H{WIDTH - RIGHT}"/>')
        if label:
            self._text(LEFT + 4, at - 4, label, f"note {style}")

    def upright(self, x: float, style: str, label: str = "") -> None:
        """A vertical line across the panel, with words at its top."""
        if not self.x.holds(x):
            return
        at = self.x(x)
        self._parts.append(f'<path class="level {style}" d="M{_n(at)} {TOP}V{HEIGHT - BOTTOM}"/>')
        if label:
            self._text(at + 4, TOP + 10, label, f"note {style}")

    def _text(self, x: float, y: float, words: str, style: str, *, anchor: str = "") -> None:
        where = f' text-anchor="{anchor}"' if anchor else ""
        self._parts.append(f'<text class="{style}" x="{_n(x)}" y="{_n(y)}"{where}>{html.escape(words)}</text>')

    def svg(self) -> str:
        """The chart."""
        clip = (
            f'<clipPath id="{self.name}-c"><path d="M{LEFT} {TOP - 4}H{WIDTH - RIGHT + 2}'
            f'V{HEIGHT - BOTTOM + 2}H{LEFT}z"/></clipPath>'
        )
        return (
            f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(self._summary)}">'
            f"{clip}{''.join(self._parts)}</svg>"
        )


def marker_path(marker: str, x: float, y: float, size: float = 4.6) -> str:
    """The outline of a sign around a point."""
    s = size
    shapes = {
        "circle": f"M{_n(x - s)} {_n(y)}a{s} {s} 0 1 0 {2 * s} 0a{s} {s} 0 1 0 {-2 * s} 0z",
        "square": f"M{_n(x - s)} {_n(y - s)}h{2 * s}v{2 * s}h{-2 * s}z",
        "diamond": f"M{_n(x)} {_n(y - s * 1.3)}l{s * 1.3} {s * 1.3}l{-s * 1.3} {s * 1.3}l{-s * 1.3} {-s * 1.3}z",
        "triangle": f"M{_n(x)} {_n(y - s * 1.2)}l{s * 1.2} {s * 2.2}h{-s * 2.4}z",
        "up": f"M{_n(x)} {_n(y - s * 1.2)}l{s} {s * 1.6}h{-s * 2}z",
        "right": f"M{_n(x + s * 1.2)} {_n(y)}l{-s * 1.6} {s}v{-s * 2}z",
        "cross": f"M{_n(x - s)} {_n(y - s)}l{2 * s} {2 * s}M{_n(x - s)} {_n(y + s)}l{2 * s} {-2 * s}",
        "star": _star(x, y, s * 1.7),
    }
    return shapes[marker]


def _star(x: float, y: float, size: float) -> str:
    points = []
    for k in range(10):
        radius = size if k % 2 == 0 else size * 0.42
        angle = math.pi * k / 5
        points.append(f"{_n(x + radius * math.sin(angle))} {_n(y - radius * math.cos(angle))}")
    return f"M{'L'.join(points)}z"


def _finite_parts(points: Iterable[Point], log: bool) -> Iterable[list[Point]]:
    part: list[Point] = []
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y) and (y > 0 or not log):
            part.append((x, y))
        else:
            yield part
            part = []
    yield part


def _tame(position: float) -> float:
    """Far outside the panel is as good as a little outside, and browsers draw it faster."""
    return min(max(position, -2000.0), 2000.0)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
