"""The calibration of find_lr: how a pick is judged, and what is made of many."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from lrpilot_bench.analysis.oracle import Sweep
from lrpilot_bench.studies import find_lr_calibration as study

SWEPT = Sweep("linear", (0.01, 0.1, 1.0, 10.0), (4.0, 2.0, 3.0, math.inf), (), True)


@pytest.mark.parametrize(
    ("lr", "regret", "how"),
    [
        (0.1, 1.0, "interpolated"),
        (math.sqrt(0.1), math.sqrt(1.5), "interpolated"),  # half way in log lr, half way in log loss
        (0.001, 2.0, "nearest point"),
        (1.5, 1.5, "nearest point"),
        (8.0, math.inf, "nearest point"),
        (None, math.inf, "no pick"),
    ],
)
def test_a_pick_is_judged_by_the_sweep(lr: float | None, regret: float, how: str) -> None:
    judged, read = study.judged(SWEPT, lr)
    assert judged == pytest.approx(regret) and read == how


def notes(lr: float | None, interval: list[float] | None = None, cost: float = 300.0) -> dict[str, Any]:
    suggestions = {"paired": lr, "trial_best": 1.0, "expected": 0.01}
    return {"picked_lr": lr, "interval": interval, "search_cost": cost, "code": "OK", "suggestions": suggestions}


def row(lr: float | None, interval: list[float] | None = None, *, finder: str = study.OURS, seed: int = 0) -> study.Row:
    return study.row_of("t", "development", seed, finder, SWEPT, notes(lr, interval))


def test_a_row_says_whether_the_interval_holds_the_best_peak_and_what_its_parts_are_worth() -> None:
    held, missed = row(0.1, [0.05, 0.2]), row(1.0, [0.5, 2.0])
    assert (held["inside"], missed["inside"], row(None)["inside"]) == (True, False, None)
    assert held["steps"] == 100.0 and held["best_lr"] == 0.1
    assert held["regrets"] == {"trial_best": 1.5, "expected": 2.0}
    assert row(0.1, finder="lightning")["regrets"] == {}
    assert (
        "holds" in study.show_row(held)
        and "MISSES" in study.show_row(missed)
        and "lr none" in study.show_row(row(None))
    )


def test_a_summary_counts_what_failed_and_means_the_rest() -> None:
    seen = study.summary([row(0.1, [0.05, 0.2]), row(1.0, [0.5, 2.0], seed=1), row(None, seed=2)])
    assert (seen["runs"], seen["failed"], seen["held"], seen["intervals"]) == (3, 1, 1, 2)
    assert seen["mean"] == pytest.approx(math.sqrt(1.5)) and seen["worst"] == 1.5 and seen["most_steps"] == 100.0


def test_a_verdict_holds_or_fails() -> None:
    good = list(study.verdicts([row(0.1, [0.05, 0.2], seed=seed) for seed in range(3)]))
    assert all(line.startswith("holds") for line in good) and len(good) == 4
    dear = [one | {"steps": 151.0} for one in [row(1.0, [0.5, 2.0])]]
    assert [line.split()[0] for line in study.verdicts(dear)] == ["FAILS"] * 4
    without = list(study.verdicts([row(0.1, [0.05, 0.2]), row(None, seed=1)]))
    assert [line.split()[0] for line in without] == ["holds", "FAILS", "FAILS", "holds"], "no pick is no good pick"


def test_what_is_written_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "RECORD", tmp_path / "record.json")
    assert study.read() == []
    rows = [row(0.1, [0.05, 0.2]), row(None, seed=1)]
    study.write(rows)
    assert study.read() == rows
    json.loads((tmp_path / "record.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
