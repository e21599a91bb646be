"""The picture of a stage: every Trial, every score, the surrogate and the choice are where they belong."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from lrpilot import AutoLRS, simulate
from lrpilot.core.history import History
from lrpilot.core.landscape import NoisyQuadratic
from lrpilot.errors import SettingError
from lrpilot.policies.autolrs_state import LRStage
from lrpilot.simulation import SimulationResult
from lrpilot.stage_plot import plot_stage

QUADRATIC = NoisyQuadratic.log_spaced(10, condition=100.0, noise=0.1, momentum=0.5)


def flown(policy: AutoLRS) -> SimulationResult:
    return simulate(policy, QUADRATIC, lr=0.1, total_steps=1000)


def first_searched(result: SimulationResult) -> LRStage:
    return next(stage for stage in result.result if stage.search is not None)


def dots(ax: Any) -> list[tuple[float, float]]:
    found = [
        (float(x), float(y))
        for line in ax.get_lines()
        if line.get_marker() in ("o", "^", "x")
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]
    return sorted(found)


def test_the_default_shows_both_searches_and_the_choice() -> None:
    result = flown(AutoLRS())
    stage = first_searched(result)
    assert stage.scouts is not None and stage.search is not None and stage.search.surrogate is not None
    trial_ax, lr_ax = plot_stage(stage, result.history)
    scouted = [one.lr for one in stage.scouts.candidates if math.isfinite(one.score)]
    assert [x for x, _ in dots(lr_ax)] == pytest.approx(sorted([*stage.search.lrs, *scouted]))
    assert {x for x, _ in dots(trial_ax)} == {stage.search.steps}, "measured at the end of the trial"
    chosen = [line for line in lr_ax.get_lines() if str(line.get_label()).startswith("chosen")]
    assert [line.get_xdata()[0] for line in chosen] == [stage.lr]
    (mean,) = [line for line in lr_ax.get_lines() if line.get_label() == "surrogate"]
    assert np.log10(mean.get_xdata()) == pytest.approx(stage.search.surrogate.log_lrs)
    assert tuple(mean.get_ydata()) == stage.search.surrogate.mean
    assert f"{stage.lr:.2g}" in trial_ax.get_title(loc="left")


def test_a_forecast_stands_at_the_end_of_the_stage_with_its_interval() -> None:
    result = flown(AutoLRS.paper(1e-3, 1.0, tau=500, max_tau=500))
    stage = result.result[0]
    trial_ax, _ = plot_stage(stage, result.history)
    assert {x for x, _ in dots(trial_ax)} == {500} and len(dots(trial_ax)) == 10
    low, high = trial_ax.get_ylim()
    inside = {score for score in stage.scores if low < score < high}
    assert inside and inside <= {y for _, y in dots(trial_ax)}
    assert any(
        list(line.get_ydata()) == pytest.approx([one.lower, min(one.upper, high)])
        for one in stage.search.candidates
        for line in trial_ax.get_lines()
        if list(line.get_xdata()) == [500, 500]
    )


def test_what_diverged_is_a_cross_at_the_top() -> None:
    result = flown(AutoLRS.paper(1e-3, 1e9, tau=500, max_tau=500))
    stage = result.result[0]
    lost = [lr for lr, score in zip(stage.lrs, stage.scores, strict=True) if score == math.inf]
    assert lost
    _, lr_ax = plot_stage(stage, result.history)
    crosses = [line for line in lr_ax.get_lines() if line.get_marker() == "x"]
    assert sorted(line.get_xdata()[0] for line in crosses) == sorted(lost)


def test_all_diverged_is_drawn_too() -> None:
    result = flown(AutoLRS.paper(1e30, 1e32, tau=500, max_tau=500))
    _, lr_ax = plot_stage(result.result[0], result.history)
    assert all(line.get_label() != "surrogate" for line in lr_ax.get_lines())
    lr_ax.get_figure().canvas.draw()


def test_says_what_cannot_be_drawn() -> None:
    result = flown(AutoLRS())
    with pytest.raises(SettingError, match="must have been searched for"):
        plot_stage(LRStage(0, 10, 0.1, result.result[0].code), result.history)
    with pytest.raises(SettingError, match="must hold the trials of the stage, got 0"):
        plot_stage(first_searched(result), History())
