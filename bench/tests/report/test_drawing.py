"""Charts: where lines and signs stand, and what a page gets of them."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import rc_context

from lrpilot_bench.report.drawing import (
    OFF_SCALE,
    RC,
    ForestRow,
    Scale,
    chart,
    finished,
    forest,
    joined,
    line,
    marks,
    padded,
    svg,
)
from lrpilot_bench.report.numbers import factor_text

LOSS = Scale("loss", 0.0, 1.0)
LR = Scale("lr", 1e-4, 1.0, log=True, text=factor_text, ticks=(1e-4, 1e-2, 1.0))


def words_in(drawing: str) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(drawing).iter("text")]


def test_a_chart_names_its_axes_and_ticks() -> None:
    drawing = svg(finished(chart(LR, LOSS)), "p")
    assert {"lr", "loss", "×1/10,000", "×1/100", "×1", "0", "1"} <= set(words_in(drawing))
    assert OFF_SCALE not in words_in(drawing)


@pytest.mark.parametrize(
    ("low", "high", "log", "expected"),
    [
        (0.0, 1.0, False, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (1e-5, 1e-1, True, [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]),
        (0.95, 5.2, True, [1.0, 1.5, 2.0, 3.0, 5.0]),
        (0.401, 0.409, True, [0.402, 0.404, 0.406, 0.408]),
    ],
)
def test_ticks_are_the_values_one_would_choose(low: float, high: float, log: bool, expected: list[float]) -> None:
    ax = chart(Scale("x", low, high, log=log), LOSS)
    assert [tick for tick in ax.get_xticks() if low * 0.999 <= tick <= high * 1.001] == pytest.approx(expected)


def test_a_line_breaks_where_a_value_is_not_finite() -> None:
    ax = chart(LR, LOSS)
    line(ax, [(1e-4, 0.1), (1e-3, 0.2), (1e-2, math.nan), (0.1, 0.3), (0.5, math.inf), (1.0, 0.6)], "peer", "a peer")
    (drawn,) = ax.lines
    assert [math.isnan(y) for y in drawn.get_ydata()] == [False, False, True, False, True, False]
    drawing = svg(finished(ax), "p")
    assert "a peer" in words_in(drawing) and not re.search(r"\b(nan|inf)\b", drawing)


def test_joined_lines_have_gaps_between_them() -> None:
    x = [x for x, _ in joined([[(0.0, 1.0), (1.0, 2.0)], [(0.0, 3.0)]])]
    assert [None if math.isnan(at) else at for at in x] == [0.0, 1.0, None, 0.0, None]


def test_what_lies_above_is_an_arrow_at_the_edge_and_explained() -> None:
    ax = chart(LR, LOSS)
    marks(ax, [(0.1, 0.5)], marker="s", label="seen")
    assert OFF_SCALE not in words_in(svg(finished(ax), "p"))
    marks(ax, [(0.1, math.inf), (1.0, 7.0)], marker="s", label="seen")
    arrows = ax.lines[1]
    assert (arrows.get_marker(), list(arrows.get_xdata()), list(arrows.get_ydata())) == ("^", [0.1, 1.0], [1.0, 1.0])
    words = words_in(svg(finished(ax), "p"))
    assert words.count(OFF_SCALE) == words.count("seen") == 1


def test_a_step_line_keeps_its_height_until_the_next_point() -> None:
    ax = chart(Scale("x", 0.0, 10.0), LOSS)
    line(ax, [(0.0, 0.0), (5.0, 1.0), (10.0, 1.0)], "peer", drawstyle="steps-post", gid="steps")
    root = ElementTree.fromstring(svg(finished(ax), "p"))
    (path,) = (part for group in root.iter("g") if group.get("id") == "p-steps" for part in group.iter("path"))
    x, y = zip(*re.findall(r"[ML] ([\d.]+) ([\d.]+)", str(path.get("d"))), strict=True)
    assert x[1] == x[2] and y[0] == y[1] != y[2] == y[3]


@given(st.lists(st.floats(1e-9, 1e6), min_size=1))
def test_padding_leaves_room_on_both_sides(values: list[float]) -> None:
    low, high = padded(values)
    assert 0 < low < min(values) <= max(values) < high < math.inf


NAMES = ("<script>alert('x')</script>", "$\\alpha$ & $1", '"quoted"', "</svg>", "_under_ ^score")


def many() -> str:
    rows = [ForestRow(name, "peer", 1.0 + i, (0.9, 2.0 + i), f"{i} of {name}") for i, name in enumerate(NAMES)]
    rows += [ForestRow("never", "lrpilot", math.inf, (1.1, math.inf), "∞"), ForestRow("no mean", "rest", None, (), "–")]
    words = {"peer": "peers", "lrpilot": "ours", "rest": "the rest"}
    with rc_context(RC):
        return svg(forest(rows, Scale("regret", 0.0, 3.0), value="mean", words=words), "many")  # type: ignore[arg-type]


def test_names_of_strangers_stay_words() -> None:
    drawing = many()
    assert set(NAMES) <= set(words_in(drawing)) and {f"{i} of {name}" for i, name in enumerate(NAMES)} <= set(
        words_in(drawing)
    )
    assert {"peers", "ours", "the rest", "never", "no mean", "∞"} <= set(words_in(drawing))


def test_the_same_drawing_is_the_same_bytes() -> None:
    drawing = many()
    assert many() == drawing
    ids = re.findall(r' id="(.*?)"', drawing)
    assert len(ids) == len(set(ids)) and all(each.startswith("many-") for each in ids)
    assert set(re.findall(r'(?:href="#|url\(#)(.*?)["\)]', drawing)) <= set(ids)
