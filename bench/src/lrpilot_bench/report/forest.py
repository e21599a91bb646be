"""Many methods in one picture: a row each, its tasks as grey dots, its geometric mean as the group's sign.

It is HTML with small drawings in it, so that names stay text of normal size on a phone.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from lrpilot_bench.report.document import Group
from lrpilot_bench.report.scales import Scale, plain_label
from lrpilot_bench.report.svg import Label, marker_path

MARKERS: dict[Group, str] = {
    "oracle": "star",
    "lrpilot": "circle",
    "peer": "square",
    "schedule": "diamond",
    "default": "triangle",
    "rest": "circle",
}
MIDDLE = 11  # of a row of 22 units


@dataclass(frozen=True)
class ForestRow:
    """One line of the picture.

    Attributes:
        name: at the left.
        group: decides colour and sign.
        mean: where the sign stands; inf puts it at the right end, None leaves it out.
        dots: (value, what a pointer resting on it says).
        value: text at the right.
        warning: more text at the right.
    """

    name: str
    group: Group
    mean: float | None
    dots: tuple[tuple[float, str], ...]
    value: str
    warning: str = ""


def forest(
    rows: Sequence[ForestRow], *, axis: str, one: str, top: float, low: float = 0.0, tick: Label = plain_label
) -> str:
    """The picture.

    Args:
        rows: from top to bottom.
        axis: quantity and unit.
        one: what 1 stands for.
        top: values beyond are drawn at the right end, as an arrow.
        low: values below are drawn at the left end.
        tick: text of a tick.
    """
    values = [v for row in rows for v in (*(dot for dot, _ in row.dots), row.mean) if v and math.isfinite(v)]
    start = max(low, min([0.97, *(v / 1.03 for v in values)]))
    scale = Scale(start, max(1.05, min(top, max([1.0, *values]) * 1.05)), 1.0, 99.0, log=True)
    lines = "\n".join(_row(row, scale) for row in rows)
    ticks = scale.ticks(5)
    labels = "".join(
        f'<text class="tick" text-anchor="middle" x="{scale(t):.1f}%" y="13">{html.escape(tick(t))}</text>'
        for t in ticks
    )
    head = (
        f'<div class="scale" aria-hidden="true"><span class="name-head">{html.escape(one)}</span>'
        f'<svg height="20" aria-hidden="true">{labels}</svg><span class="value">{html.escape(axis)}</span></div>'
    )
    return f'<div class="forest">{head}<ol>{lines}</ol></div>'


def _row(row: ForestRow, scale: Scale) -> str:
    parts = [f'<line class="one" x1="{scale(1.0):.1f}%" x2="{scale(1.0):.1f}%" y1="-2" y2="25"/>']
    finite = [value for value, _ in row.dots if math.isfinite(value)]
    if finite:
        low, high = scale.clipped(min(finite)), scale.clipped(max(finite))
        parts.append(f'<line class="range" x1="{low:.1f}%" x2="{high:.1f}%" y1="{MIDDLE}" y2="{MIDDLE}"/>')
    parts += [_dot(value, words, scale) for value, words in row.dots]
    if row.mean is not None:
        parts.append(_sign(row.mean, scale, f"s-{row.group} mean", MARKERS[row.group], f"{row.name}: {row.value}"))
    warning = f"<br><small>{html.escape(row.warning)}</small>" if row.warning else ""
    return (
        f'<li class="g-{row.group}"><span class="name">{html.escape(row.name)}</span>'
        f'<svg height="22" aria-hidden="true">{"".join(parts)}</svg>'
        f'<span class="value">{html.escape(row.value)}{warning}</span></li>'
    )


def _dot(value: float, words: str, scale: Scale) -> str:
    if value > scale.high:
        return _sign(value, scale, "dot", "right", words)
    title = f"<title>{html.escape(words)}</title>"
    return f'<circle class="dot" cx="{scale.clipped(value):.1f}%" cy="{MIDDLE}" r="3.5">{title}</circle>'


def _sign(value: float, scale: Scale, style: str, marker: str, words: str) -> str:
    shape = marker_path("right" if value > scale.high else marker, 0, 0, 5)
    title = f"<title>{html.escape(words)}</title>"
    return (
        f'<svg x="{scale.clipped(value):.1f}%" y="{MIDDLE}" width="1" height="1" overflow="visible">'
        f'<path class="mark {style}" d="{shape}">{title}</path></svg>'
    )
