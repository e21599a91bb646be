"""What the forecast's experiment makes of made-up Trials, by hand."""

import math
from typing import Any

import pytest
from forecast_error import PREDICTORS, STEPS, TASKS, choices, jobs, judge, spread, tail_mean

(FIRST, _), (SECOND, _) = TASKS


def trial(task: str, lr: float, losses: list[float], start: int = 0) -> dict[str, Any]:
    return {"task": task, "start": start, "lr": lr, "losses": losses}


def level(low: float, high: float = 2.0) -> list[float]:
    """``high`` all through the window, then ``low``."""
    return [high] * 100 + [low] * (STEPS - 100)


def test_sixty_trials_of_two_tasks() -> None:
    assert len(jobs()) == 60 and {job["task"] for job in jobs()} == {FIRST, SECOND}
    assert len({tuple(job.items()) for job in jobs()}) == 60


def test_errors_by_hand() -> None:
    trials = [trial(FIRST, 0.1, level(low)) for low in (1.0, 2.0, 4.0)]
    assert tail_mean([1.0] * 9 + [3.0]) == 3.0
    for name in PREDICTORS:  # errors 1, 0 and 1/2
        found = spread(trials, name, "last loss")
        assert found == pytest.approx({"median": 0.5, "p90": 0.9}, rel=1e-3)


def test_the_choice_is_that_of_the_lowest_forecast() -> None:
    misleading = [trial(FIRST, 0.1, level(1.0, 3.0)), trial(FIRST, 0.2, level(1.5, 2.0))]
    sound = [trial(SECOND, 0.1, level(1.0, 3.0)), trial(SECOND, 0.2, level(2.5, 3.5))]
    assert choices([*misleading, *sound], "mean of last tenth") == [1.5, 1.0]


def test_judging_a_real_shape() -> None:
    falling = [1 + math.exp(-i / 50) for i in range(STEPS)]
    found = judge([trial(FIRST, 0.1, falling), trial(SECOND, 0.1, falling), trial(SECOND, 1.0, [3.0, 5.0])])
    assert (found["trials"], found["stopped"], found["worse"]) == (2, 1, [])
    row = found["errors"]["mean of last tenth"]
    assert row["default"]["all"]["median"] < 1e-3 < row["mean of last tenth"]["all"]["median"]
    assert found["covered"][FIRST] == {"inside": 1.0, "below": 0.0}
