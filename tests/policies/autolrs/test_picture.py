"""The picture of a stage: every Trial, every score, the surrogate and the choice are where they belong."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lrpilot import AutoLRS, simulate
from lrpilot.core.actions import Trial
from lrpilot.core.history import History
from lrpilot.errors import SettingError
from lrpilot.flight.landscape import NoisyQuadratic
from lrpilot.flight.simulation import SimulationResult
from lrpilot.maths.forecast import Forecast, ForecastCode
from lrpilot.policies.autolrs import LRStage, picture
from lrpilot.policies.autolrs.picture import plot_stage

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


def curves(ax: Any) -> list[Any]:
    """Dashed lines from a Trial to its score."""
    return [line for line in ax.get_lines() if line.get_linestyle() == "--" and len(line.get_xdata()) > 1]


def test_a_forecast_is_drawn_as_the_decay_on_record_and_readings_as_marks() -> None:
    result = flown(AutoLRS.paper(1e-3, 0.3, tau=500, max_tau=500))
    for stage, validating in zip(result.result, (False, True), strict=True):
        assert stage.search.validating is validating
        trial_ax, _ = plot_stage(stage, result.history)
        _, high = trial_ax.get_ylim()
        fitted = [one for one in stage.search.candidates if one.lower < one.upper]
        assert fitted and all(one.forecast.code.from_model for one in fitted)
        drawn = [line for line in curves(trial_ax) if len(line.get_xdata()) > 2]
        assert {line.get_xdata()[-1] for line in drawn} == {500}
        assert [line.get_ydata()[-1] for line in drawn] == pytest.approx([min(one.score, high) for one in fitted])
        marks = [line for line in trial_ax.get_lines() if line.get_marker() == "."]
        seen = [
            e.observation.readings
            for e in result.history.events
            if e.step == stage.begin and isinstance(e.action, Trial)
        ]
        assert [line.get_ydata().tolist() for line in marks] == [[min(y, high) for y in one] for one in seen]
        assert {tuple(line.get_xdata()) for line in marks} == ({tuple(range(3, 51, 3))} if validating else {()})


def test_a_decay_by_hand() -> None:
    power = Forecast(0.0, 0.0, 0.0, ForecastCode.OK, a=2.0, b=-0.5, c=1.0, tail=2.0)
    steps, losses = picture._decay(power, 100, None)
    assert (steps[0], steps[-1]) == (1.0, 100.0) and losses[0] == 3.0
    assert losses[-1] == pytest.approx(1 + 2 * (1 + 0.25 * 100) ** -2)
    steps, losses = picture._decay(replace(power, tail=math.inf), 100, 5)
    assert (steps[0], steps[-1]) == (5.0, 100.0)
    assert losses[-1] == pytest.approx(1 + 2 * math.exp(-0.5 * 19)), "the twentieth reading"


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
