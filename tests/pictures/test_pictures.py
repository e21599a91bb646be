"""Pictures: what is drawn where, nothing on top of anything, and no global state."""

import math
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from lrpilot.core.actions import Moved, Progress, Rewind
from lrpilot.core.found import FindCode, LengthPick
from lrpilot.core.history import Event, History
from lrpilot.found import FoundLR
from lrpilot.pictures.flights import plot_flights
from lrpilot.pictures.found import plot_found

START = 2.3
LRS = tuple(10.0 ** (-7 + i / 2) for i in range(17))


def constant(log_middle: float = -2.5, **changes: Any) -> FoundLR:
    losses = tuple(
        math.inf if i > 15 else 1e9 if i > 14 else START - 1.7 / (1 + math.exp(-3 * (math.log10(lr) - log_middle)))
        for i, lr in enumerate(LRS)
    )
    middle = 10.0**log_middle
    found = FoundLR(
        lr=1.5 * middle,
        target="constant",
        method="step_sampling",
        code=FindCode.OK,
        window=(0.2 * middle, 10 * middle),
        interval=None,
        suggestions={
            "log_midpoint": 1.5 * middle,
            "half_drop": middle,
            "steepest": 1.05 * middle,
            "minimum": 10 * middle,
        },
        lrs=LRS,
        losses=losses,
        start_loss=START,
    )
    return replace(found, **changes)


def decay() -> FoundLR:
    lengths = tuple(
        LengthPick(
            steps,
            lr,
            (lr / 2, lr * 2),
            (lr / 10, lr / 3, lr, lr * 3, lr * 10),
            (1.5, 0.9 - steps / 200, 0.7 - steps / 200, 0.9 - steps / 200, math.inf),
        )
        for steps, lr in ((20, 0.11), (50, 0.1), (100, 0.09))
    )
    return FoundLR(
        lr=0.09,
        target="decay",
        method="annealed_search",
        code=FindCode.OK,
        window=(0.045, 0.22),
        interval=(0.045, 0.18),
        suggestions={"annealed": 0.09, "annealed_20": 0.11, "annealed_50": 0.1, "annealed_100": 0.09},
        lrs=lengths[-1].lrs,
        losses=lengths[-1].losses,
        start_loss=START,
        lengths=lengths,
    )


def paired(**changes: Any) -> FoundLR:
    lrs = (0.006, 0.019, 0.06, 0.19)
    losses = (1.65, 0.59, 0.35, math.inf)
    found = FoundLR(
        lr=0.022,
        target="decay",
        method="paired_search",
        code=FindCode.OK,
        window=(0.0076, 0.062),
        interval=(0.0046, 0.062),
        suggestions={"paired": 0.022, "trial_best": 0.061, "expected": 0.006},
        lrs=lrs,
        losses=losses,
        start_loss=START,
        lengths=(LengthPick(29, 0.061, (0.0046, 0.062), lrs, losses),),
        metric="training loss of the last steps of each trial",
    )
    return replace(found, **changes)


def nothing(code: FindCode, losses: tuple[float, ...]) -> FoundLR:
    return constant(
        lr=None,
        code=code,
        window=None,
        suggestions=dict.fromkeys(("log_midpoint", "half_drop")),
        lrs=LRS[: len(losses)],
        losses=losses,
    )


def draw(ax: Any) -> Any:
    """Render to memory; the renderer, for sizes in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    return canvas.get_renderer()


def labels(ax: Any) -> list[Any]:
    return [text for text in ax.texts if text.get_text()]


ANSWERS = [
    constant(),
    constant(-6.2),
    constant(-0.5),
    decay(),
    paired(),
    paired(lr=0.19, interval=(0.05, 3.0), code=FindCode.AT_UPPER_EDGE),
    paired(lr=0.004, interval=(1e-4, 0.02), code=FindCode.NOT_BRACKETED),
]
REFUSALS = [
    nothing(FindCode.FLAT, (START,) * 5),
    nothing(FindCode.RISING, (START, START, 2.4, 7.0, math.inf)),
    nothing(FindCode.ALL_DIVERGED, (math.inf,) * 5),
    nothing(FindCode.ALL_DIVERGED, ()),
    paired(lr=None, code=FindCode.WITHIN_NOISE, window=None, interval=None, lengths=(), losses=(START,) * 4),
]


@pytest.mark.parametrize("found", ANSWERS)
def test_no_label_meets_another_or_leaves_the_axes(found: FoundLR) -> None:
    ax = plot_found(found)
    renderer = draw(ax)
    boxes = [text.get_window_extent(renderer) for text in labels(ax)]
    assert len(boxes) == (1 if found.target == "decay" else 4)
    frame = ax.get_window_extent(renderer)
    legend = ax.get_legend().get_window_extent(renderer)
    for box in boxes:
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        assert not box.overlaps(legend)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


@pytest.mark.parametrize("found", [constant(), constant(-6.2), constant(-0.5)])
def test_no_label_is_crossed_by_the_line_of_another(found: FoundLR) -> None:
    ax = plot_found(found)
    renderer = draw(ax)
    uprights = [line for line in ax.lines if len(line.get_xdata()) == 2 and len(set(line.get_xdata())) == 1]
    assert sorted(line.get_xdata()[0] for line in uprights) == sorted(found.suggestions.values())  # type: ignore[type-var]
    for text in labels(ax):
        box = text.get_window_extent(renderer)
        for line in uprights:
            (x, low), (_, high) = ax.transData.transform(line.get_xydata())
            assert not (box.x0 < x < box.x1 and low < box.y1 and box.y0 < high), text.get_text()


def test_the_answer_stands_out_and_the_window_is_shaded() -> None:
    found = constant()
    ax = plot_found(found)
    bold = [text.get_text() for text in labels(ax) if text.get_fontweight() == "bold"]
    assert bold == ["log midpoint 0.0047"]
    (shade,) = [patch for patch in ax.patches if patch.get_alpha() is not None]
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == pytest.approx(found.window)
    assert ax.get_xscale() == "log"
    assert ax.get_title(loc="left") == "Learning rate to hold: 0.0047"


def test_what_exploded_or_diverged_is_marked_at_the_top_and_sets_no_scale() -> None:
    found = constant()
    ax = plot_found(found)
    low, high = ax.get_ylim()
    assert -1.0 < low < 0.6 and START < high < 5.0
    marks = {line.get_marker(): line for line in ax.lines if line.get_linestyle() == "None"}
    top = START + 0.18 * (START - min(found.losses))
    assert [*marks["x"].get_xdata()] == [LRS[16]] and [*marks["x"].get_ydata()] == pytest.approx([top])
    assert [*marks["^"].get_xdata()] == [LRS[15]] and [*marks["^"].get_ydata()] == pytest.approx([top])


def test_the_start_loss_is_a_dashed_line() -> None:
    ax = plot_found(constant())
    (line,) = [line for line in ax.lines if line.get_label() == "untrained"]
    assert set(line.get_ydata()) == {START}
    ax = plot_found(constant(start_loss=None))
    assert "untrained" not in [line.get_label() for line in ax.lines]


def test_a_decay_has_a_curve_and_a_mark_per_length() -> None:
    found = decay()
    ax = plot_found(found)
    curves = {line.get_label(): line for line in ax.lines if str(line.get_label()).endswith("steps")}
    assert list(curves) == ["20 steps", "50 steps", "100 steps"]
    for pick in found.lengths:
        assert [*curves[f"{pick.num_steps} steps"].get_ydata()] == pytest.approx(pick.losses[:-1])
    diamonds = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "D"]
    assert diamonds == [0.11, 0.1, 0.09]
    assert len({line.get_color() for line in curves.values()}) == 3
    (shade,) = [patch for patch in ax.patches if patch.get_alpha() is not None]
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == pytest.approx(found.interval)


def test_a_short_search_shows_trials_pick_interval_and_what_was_expected() -> None:
    found = paired()
    ax = plot_found(found)
    draw(ax)
    lines = {str(line.get_label()): line for line in ax.lines}
    assert [*lines["29 steps"].get_xdata()] == [*found.lrs[:3]] and [*lines["diverged"].get_xdata()] == [0.19]
    assert [*lines["best of a trial"].get_xdata()] == [0.061]
    assert set(lines["expected before the trials"].get_xdata()) == {0.006}
    (shade,) = [patch for patch in ax.patches if patch.get_alpha() is not None]
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == pytest.approx(found.interval)
    left, right = ax.get_xlim()
    assert left < 0.0046 and right > 0.19, "the whole interval and every trial are seen"
    assert [text.get_text() for text in labels(ax)] == ["peak 0.022  (0.0046 to 0.062)"]


@pytest.mark.parametrize("found", REFUSALS)
def test_a_refusal_says_why(found: FoundLR) -> None:
    ax = plot_found(found)
    draw(ax)
    assert ax.get_title(loc="left") == "No reliable suggestion"
    assert found.status in " ".join(labels(ax)[0].get_text().split())
    assert all(map(math.isfinite, [*ax.get_xlim(), *ax.get_ylim()]))


def test_draws_on_the_axes_given() -> None:
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert plot_found(constant(), ax) is ax
    assert constant().plot(ax) is ax


def test_pictures_touch_no_global_state() -> None:
    code = """
import sys
from lrpilot.found import FoundLR
from lrpilot.core.found import FindCode
from lrpilot.pictures.found import plot_found
assert "matplotlib" not in sys.modules
found = FoundLR(0.1, "constant", "m", FindCode.OK, (0.01, 1.0), None, {"minimum": 0.1}, (0.01, 0.1), (2.0, 1.0), 2.0)
plot_found(found).figure.canvas.draw()
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------------------------- flights


def history(peak: float, *, steps: int = 400, seed: int = 0) -> History:
    at = np.arange(steps)
    noise = 0.05 * np.random.default_rng(seed).standard_normal(steps)
    lrs = peak * (1 - at / steps)
    return History([float(x) for x in lrs], [float(x) for x in 0.3 + 2 * np.exp(-at / 80) + noise])


def test_flights_show_every_run_in_both_axes() -> None:
    runs = {"a": history(0.1), "b": history(0.05, seed=1)}
    lr_ax, loss_ax = plot_flights(runs)
    draw(lr_ax)
    for name, run in runs.items():
        (lr_line,) = [line for line in lr_ax.lines if line.get_label() == name]
        (loss_line,) = [line for line in loss_ax.lines if line.get_label() == name]
        assert [*lr_line.get_ydata()] == run.lrs
        assert lr_line.get_color() == loss_line.get_color()
        assert np.std(np.diff(loss_line.get_ydata())) < 0.2 * np.std(np.diff(run.losses))
    assert [text.get_text() for text in loss_ax.get_legend().get_texts()] == ["a", "b"]


def test_smoothing_delays_nothing() -> None:
    run = History([0.1] * 200, [float(x) for x in 2.0 - np.arange(200) / 200])
    _, loss_ax = plot_flights({"a": run})
    (line,) = [line for line in loss_ax.lines if line.get_label() == "a"]
    assert [*line.get_ydata()][10:-10] == pytest.approx(run.losses[10:-10])


def test_losses_that_are_missing_or_broken_are_left_out() -> None:
    run = history(0.1)
    run.losses[5:300:2] = [math.nan] * len(run.losses[5:300:2])
    run.losses[7] = math.inf
    silent = History([0.1] * 50, [math.nan] * 50)
    _, loss_ax = plot_flights({"a": run, "silent": silent})
    draw(loss_ax)
    for line in loss_ax.lines:
        assert np.isfinite(line.get_ydata()).all()
    draw(plot_flights({})[0])


def test_peaks_decades_apart_make_the_lr_axis_logarithmic() -> None:
    assert plot_flights({"a": history(0.1), "b": history(0.05)})[0].get_yscale() == "linear"
    assert plot_flights({"a": history(0.1), "b": history(0.001)})[0].get_yscale() == "log"


def test_a_rewind_is_marked_on_the_lr() -> None:
    run = history(0.1)
    run.events.append(Event("end", 100, Rewind("best"), Moved(Progress(100, None), "best")))
    lr_ax, _ = plot_flights({"a": run})
    (mark,) = [line for line in lr_ax.lines if line.get_marker() == "v"]
    assert [*mark.get_xdata()] == [100] and [*mark.get_ydata()] == [run.lrs[99]]
