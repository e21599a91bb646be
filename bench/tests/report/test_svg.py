import math
import re
from xml.etree import ElementTree

from lrpilot_bench.report.svg import HEIGHT, LEFT, RIGHT, TOP, WIDTH, Panel, marker_path, x_scale, y_scale


def panel(**more: object) -> Panel:
    settings = {"x_label": "lr", "y_label": "loss", "summary": "loss against lr"}
    return Panel("p", x_scale(0.0, 10.0), y_scale(0.0, 1.0), **settings, **more)  # type: ignore[arg-type]


def test_a_panel_is_well_formed_and_names_its_axes() -> None:
    drawn = panel()
    drawn.line([(0, 0.1), (10, 0.9)], "s-peer")
    drawn.mark(5, 0.5, "s-peer", "star", title="<best> & only")
    root = ElementTree.fromstring(drawn.svg())
    assert root.get("aria-label") == "loss against lr"
    words = [text.text for text in root.iter("text")]
    assert {"lr", "loss", "0", "10", "1"} <= set(words)
    assert [title.text for title in root.iter("title")] == ["<best> & only"]


def test_a_line_goes_where_the_scales_say() -> None:
    drawn = panel()
    drawn.line([(0, 0.0), (10, 1.0)], "s-peer")
    assert f'd="M{LEFT} {HEIGHT - 44}L{WIDTH - RIGHT} {TOP}"' in drawn.svg()


def test_a_line_breaks_where_a_value_is_not_finite() -> None:
    drawn = panel()
    drawn.line([(0, 0.1), (1, 0.2), (2, math.nan), (3, 0.3), (4, math.inf), (5, 0.4), (6, 0.5)], "s-peer")
    trace = re.search(r'class="line s-peer"[^>]* d="([^"]+)"', drawn.svg())
    assert trace is not None
    assert trace[1].count("M") == 2  # a lone point makes no line
    assert "nan" not in drawn.svg() and "inf" not in drawn.svg()


def test_what_lies_above_is_an_arrow_at_the_edge() -> None:
    drawn = panel()
    assert not drawn.off_scale
    drawn.mark(5, 0.5, "s-peer", "circle")
    assert not drawn.off_scale
    drawn.mark(5, math.inf, "s-peer", "circle")
    assert drawn.off_scale
    assert marker_path("up", drawn.x(5), TOP + 4.0) in drawn.svg()


def test_a_step_line_keeps_its_height_until_the_next_point() -> None:
    drawn = panel()
    drawn.line([(0, 0.0), (5, 1.0)], "s-peer", step=True)
    assert re.search(r"M50 248H\d+L\d+ 30", drawn.svg())
