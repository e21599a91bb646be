"""What the forecast's experiment makes of made-up Trials, by hand, and that its record is made of the recorded ones."""

import json
import math
from typing import Any

import pytest

from lrpilot_bench.store.records import read_records
from lrpilot_bench.studies.forecast_error import (
    ERRORS,
    PREDICTORS,
    STEPS,
    TASKS,
    TRIALS,
    WINDOW,
    case,
    choices,
    jobs,
    judge,
    kept,
    luck,
    spread,
    tail_mean,
)

(FIRST, _), (SECOND, _) = TASKS


def trial(task: str, lr: float, losses: list[float], start: int = 0) -> dict[str, Any]:
    return {"task": task, "start": start, "lr": lr, **kept(losses)}


def level(low: float, high: float = 2.0) -> list[float]:
    """``high`` all through the window, then ``low``."""
    return [high] * WINDOW + [low] * (STEPS - WINDOW)


def test_sixty_trials_of_two_tasks() -> None:
    assert len(jobs()) == 60 and {job["task"] for job in jobs()} == {FIRST, SECOND}
    assert len({tuple(job.items()) for job in jobs()}) == 60


def test_what_is_kept_by_hand() -> None:
    seen = kept([float(i) for i in range(STEPS)])
    assert seen["done"] == STEPS and seen["window"] == list(range(100)) and seen["end"] == list(range(900, 1000))
    assert seen["tenths"] == [49.5, 149.5, 249.5, 349.5, 449.5, 549.5, 649.5, 749.5, 849.5, 949.5]
    stopped = kept([1.0] * 150)
    assert (stopped["done"], len(stopped["window"]), stopped["tenths"]) == (150, 100, [1.0])


def test_errors_by_hand() -> None:
    cases = [case(trial(FIRST, 0.1, level(low))) for low in (1.0, 2.0, 4.0)]
    assert tail_mean([1.0] * 9 + [3.0]) == 3.0
    for name in PREDICTORS:  # errors 1, 0 and 1/2
        for truth in ("last loss", "mean of last tenth", "a loss of the last tenth"):
            found = spread(cases, name, truth)
            assert found["median"] == pytest.approx(0.5, rel=1e-3)
            assert found["p90"] == pytest.approx(1.0 if truth.startswith("a ") else 0.9, rel=1e-3)


def test_the_choice_is_that_of_the_lowest_forecast() -> None:
    misleading = [trial(FIRST, 0.1, level(1.0, 3.0)), trial(FIRST, 0.2, level(1.5, 2.0))]
    sound = [trial(SECOND, 0.1, level(1.0, 3.0)), trial(SECOND, 0.2, level(2.5, 3.5))]
    assert choices([case(t) for t in (*misleading, *sound)], "mean of last tenth") == [1.5, 1.0]


def test_luck_by_hand() -> None:
    found = luck([case(trial(FIRST, 0.1, [*([1.0] * 99), 2.0, *([1.0] * 899), 0.5]))])
    assert found == {"window": pytest.approx(2 / 1.1, rel=1e-3), "end": pytest.approx(0.5 / 0.995, rel=1e-3)}


def test_judging_a_real_shape() -> None:
    falling = [1 + math.exp(-i / 50) for i in range(STEPS)]
    found = judge([trial(FIRST, 0.1, falling), trial(SECOND, 0.1, falling), trial(SECOND, 1.0, [3.0, 5.0])])
    assert (found["trials"], found["stopped"], found["worse"]) == (2, 1, [])
    assert found["closer"]["all"]["mean of last tenth"] == found["closer"]["all"]["trials"] == 2
    row = found["errors"]["mean of last tenth"]["all"]
    assert row["default"]["median"] < 1e-3 < row["mean of last tenth"]["median"]
    assert found["covered"][FIRST] == {"inside": 1.0, "below": 0.0}


def test_the_record_is_made_of_the_recorded_trials() -> None:
    trials, found = read_records(TRIALS), json.loads(ERRORS.read_text(encoding="utf-8"))
    again = judge(trials)
    assert (len(trials), found["trials"], found["closer"]) == (60, again["trials"], again["closer"])
    for truth, groups in again["errors"].items():
        for group, cells in groups.items():
            for name, cell in cells.items():
                assert found["errors"][truth][group][name] == pytest.approx(cell, rel=2e-3)
    assert [row["lr"] for row in found["worse"]] == [row["lr"] for row in again["worse"]]
    ours, level_of = (found["errors"]["mean of last tenth"]["all"][name] for name in ("default", "mean of last tenth"))
    assert ours["median"] < level_of["median"] and ours["p90"] < level_of["p90"]
