"""Charts of the report in the project's one dress, and a drawing as SVG that a page can hold."""

import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from lrpilot.pictures.style import INK, QUIET, dress, legend
from lrpilot_bench.report.findings import Group
from lrpilot_bench.report.looks import COLOURS, DASHES, MARKERS, REST

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

OFF_SCALE = "off the scale, or failed"

# Text stays text, the same records give the same bytes, and no title of a stranger's method is read as a formula.
RC: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lrpilot",
    "text.parse_math": False,
    "font.sans-serif": ["DejaVu Sans"],
}
UNDATED = {"Date": None, "Creator": None, "Format": None, "Type": None}

# Inches: of a chart, of the room around its axes, of a line of its legend, of a row of many methods.
WIDTH, PLOT, LEFT, RIGHT, TOP, BELOW, LINE = 4.4, 2.3, 0.6, 0.15, 0.12, 0.5, 0.185
WIDE, NAMES, VALUES, ROW = 9.8, 3.1, 2.1, 0.215

Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """One axis.

    Attributes:
        label: quantity and unit.
        low: value at its beginning.
        high: value at its end.
        log: logarithmic; both values are positive then.
        text: of a tick.
        ticks: where they are; round values where None.
    """

    label: str
    low: float
    high: float
    log: bool = False
    text: Callable[[float], str] = "{:.6g}".format
    ticks: Sequence[float] | None = None


def padded(values: Iterable[float], *, share: float = 0.05) -> tuple[float, float]:
    """Lowest and highest of positive values with a margin on either side, equal in the logarithm."""
    logs = [math.log(value) for value in values]
    margin = (max(logs) - min(logs)) * share or 0.1
    return math.exp(min(logs) - margin), math.exp(max(logs) + margin)


def chart(x: Scale, y: Scale) -> "Axes":
    """Axes of a new figure, in the project's dress."""
    ax = Figure(figsize=(WIDTH, PLOT)).add_subplot()
    dress(ax)
    for axis, scale, set_scale in ((ax.xaxis, x, ax.set_xscale), (ax.yaxis, y, ax.set_yscale)):
        if scale.log:
            set_scale("log")
        _set_ticks(axis, scale)
    ax.set(xlim=(x.low, x.high), ylim=(y.low, y.high), xlabel=x.label)
    ax.set_title(y.label, loc="left", fontsize=9.5, color=INK)  # above the axis, where it can be read
    return ax


def _set_ticks(axis: "Axis", scale: Scale) -> None:
    if scale.ticks is not None:
        axis.set_ticks(list(scale.ticks))
    else:
        axis.set_major_locator(_locator(scale))
    axis.set_major_formatter(FuncFormatter(lambda value, _: scale.text(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _locator(scale: Scale) -> Any:
    decades = math.log10(scale.high / scale.low) if scale.log else 0.0
    if decades < 0.6:  # even steps read best
        return MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
    fine = (1, 1.5, 2, 3, 5, 7) if decades < 1 else (1, 2, 5) if decades < 1.5 else (1, 3) if decades < 3 else (1,)
    return LogLocator(subs=fine, numticks=12)


def line(ax: "Axes", points: Sequence[Point], group: Group, label: str = "", **more: Any) -> None:
    """A line in the colours of a group; broken where a value is not finite."""
    x, y = zip(*points, strict=True) if points else ((), ())
    look = {"color": COLOURS[group], "ls": DASHES[group], "lw": 1.0 if group == "rest" else 1.7}
    ax.plot(x, [v if math.isfinite(v) else math.nan for v in y], label=label or "_", **look | more)


def joined(traces: Iterable[Sequence[Point]]) -> list[Point]:
    """Several lines as one, with gaps between them."""
    return [point for trace in traces for point in (*trace, (math.nan, math.nan))]


def marks(ax: "Axes", points: Iterable[Point], **look: Any) -> None:
    """Signs at points; as arrows at the upper edge where a value lies above the axes or is not finite."""
    kept, top = list(points), ax.get_ylim()[1]
    inside = [(x, y) for x, y in kept if math.isfinite(y) and y <= top]
    above = [x for x, y in kept if not math.isfinite(y) or y > top]
    look = {"ls": "", "ms": 5, "mec": "white", "mew": 0.6, "zorder": 3, **look}
    if inside:
        ax.plot(*zip(*inside, strict=True), **look)
    if above:
        ax.plot(above, [top] * len(above), **look | {"marker": "^", "clip_on": False, "label": f"_{OFF_SCALE}"})


def finished(ax: "Axes") -> Figure:
    """The figure of a chart, with the legend below its axes and as tall as that takes."""
    if any(each.get_label() == f"_{OFF_SCALE}" for each in ax.lines):
        ax.plot([], [], ls="", marker="^", color=QUIET, ms=5, label=OFF_SCALE)
    below = _legend_below(ax, PLOT)
    return _placed(ax, (LEFT, below, WIDTH - LEFT - RIGHT, PLOT), (WIDTH, below + PLOT + TOP + 0.25))


def _legend_below(ax: "Axes", height: float) -> float:
    """Set the legend below axes of a height; the room that all below them takes, in inches."""
    legend(ax, "upper left")
    box = ax.get_legend()
    if box is None:
        return BELOW
    box.set_bbox_to_anchor((-0.03, -(BELOW - 0.05) / height), transform=ax.transAxes)
    return BELOW + LINE * len(box.get_texts()) + 0.1


def _placed(ax: "Axes", box: tuple[float, float, float, float], size: tuple[float, float]) -> Figure:
    """The figure of a size with its axes at a box (left, bottom, width, height), all in inches."""
    (left, bottom, width, height), (wide, tall) = box, size
    ax.set_position((left / wide, bottom / tall, width / wide, height / tall))
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.set_size_inches(wide, tall)
    return figure


# ------------------------------------------------------------------ many methods in one picture


@dataclass(frozen=True)
class ForestRow:
    """A method: its tasks as grey dots, its geometric mean as the sign of its group.

    Attributes:
        name: at the left.
        group: decides colour and sign.
        mean: where the sign stands; inf puts it at the right end, None leaves it out.
        dots: one for each task.
        value: text at the right.
    """

    name: str
    group: Group
    mean: float | None
    dots: tuple[float, ...]
    value: str


def forest(rows: Sequence[ForestRow], axis: Scale, *, value: str, words: dict[Group, str]) -> Figure:
    """Rows from top to bottom; a value beyond the axis is an arrow at its end.

    Args:
        rows: see :class:`ForestRow`.
        axis: its ends are the farthest that it may reach.
        value: what the text at the right is.
        words: what the legend calls the groups.
    """
    finite = [v for row in rows for v in (*row.dots, row.mean) if v and math.isfinite(v)]
    low = max(axis.low, min([0.97, *(v / 1.03 for v in finite)]))
    high = max(1.05, min(axis.high, max([1.0, *finite]) * 1.05))
    ax = chart(Scale(axis.label, low, high, log=True, text=axis.text), Scale("", len(rows) - 0.4, -0.6))
    ax.axvline(1.0, color=INK, lw=0.9, zorder=1)
    for at, row in enumerate(rows):
        _draw_row(ax, at, row, low, high)
    for group in dict.fromkeys(row.group for row in rows):
        ax.plot([], [], ls="", marker=MARKERS[group], color=COLOURS[group], ms=6, label=words[group])
    ax.set_yticks(range(len(rows)), [row.name for row in rows])
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.text(1.02, 1.0, value, transform=ax.transAxes, fontsize=8.5, color=QUIET, va="bottom")
    height = ROW * len(rows)
    below = _legend_below(ax, height)
    return _placed(ax, (NAMES, below, WIDE - NAMES - VALUES, height), (WIDE, below + height + 0.3))


def _draw_row(ax: "Axes", at: int, row: ForestRow, low: float, high: float) -> None:
    dots = [min(max(dot, low), high) for dot in row.dots]
    inside = [dot for dot, value in zip(dots, row.dots, strict=True) if value <= high]
    if inside:
        ax.plot([min(inside), max(inside)], [at, at], color=REST, lw=1.6, zorder=1.5)
    ax.plot(inside, [at] * len(inside), ls="", marker="o", ms=4, color=REST, zorder=2)
    if len(inside) < len(dots):
        ax.plot([high], [at], ls="", marker=">", ms=5, color=REST, clip_on=False, zorder=2)
    if row.mean is not None:
        beyond = row.mean > high
        sign, color = (">" if beyond else MARKERS[row.group]), COLOURS[row.group]
        at_x = min(max(row.mean, low), high)
        ax.plot([at_x], [at], ls="", marker=sign, ms=6.5, color=color, mec="white", mew=0.7, clip_on=False, zorder=3)
    ax.annotate(row.value, (1.02, at), xycoords=("axes fraction", "data"), fontsize=8.5, color=INK, va="center")


# ------------------------------------------------------------------ as text


def svg(figure: Figure, name: str) -> str:
    """A figure as an SVG element for an HTML page: it takes the width it is given, its ids begin with its name."""
    figure.patch.set_visible(False)
    out = io.StringIO()
    with rc_context(RC):
        figure.savefig(out, format="svg", metadata=UNDATED)
    root = ElementTree.fromstring(out.getvalue())
    for part in root.iter():
        part.tag = part.tag.rpartition("}")[2]
        part.attrib = {key.rpartition("}")[2]: _short(value, name, key) for key, value in part.attrib.items()}
        part.text = part.text if part.text and part.text.strip() else None
        part.tail = None
    for defs in [defs for defs in root if defs.find("style") is not None]:
        root.remove(defs)  # it would speak to the whole page
    for key in ("width", "height", "version"):
        root.attrib.pop(key)
    return ElementTree.tostring(root, encoding="unicode")


def _short(value: str, name: str, key: str) -> str:
    """An attribute without digits that nobody sees; an id made one of the whole page."""
    if key == "id":
        return f"{name}-{value}"
    value = re.sub(r"url\(#|^#", rf"\g<0>{name}-", value)
    return " ".join(re.sub(r"\d+\.\d{3,}", lambda seen: f"{float(seen[0]):.2f}", value).split())
