"""What is counted of recorded Lines, on Lines written by hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lrpilot.core.actions import Line, Progress
from lrpilot.core.policy import Context
from lrpilot.policies.lr_tuner import LRTuner
from lrpilot.policies.lr_tuner.published import PAPER_FACTORS
from lrpilot.policies.lr_tuner.state import LRTunerState, ReadingLine, SuperbatchLevel
from lrpilot_bench.studies.line_decisions import (
    ALLOWANCES,
    PAPER_BATCHES,
    agreement,
    decide,
    decided_sign,
    published_view,
    wanted_sign,
)

NO_LIMIT, SHORT = ALLOWANCES


def bowl(best: float, *, noise: float = 0.0) -> Callable[[float, int], float]:
    """Loss by factor and batch: lowest at ``best``, every batch tilted to its own side."""
    return lambda s, batch: 2.0 + 0.1 * batch + (s - best) ** 2 + noise * (-1) ** batch * s


def due(tuner: LRTuner, loss: Callable[[float, int], float]) -> LRTunerState:
    """The state in which a Line is due."""
    state = tuner.init(Context(0.1, Progress(100, 1300)))
    level = tuple(loss(1.0, batch) for batch in range(tuner.superbatch))
    return replace(state, phase=ReadingLine(), level=SuperbatchLevel(level, 100))


def decided(tuner: LRTuner, loss: Callable[[float, int], float]) -> tuple[dict[str, float], list[Line]]:
    """A decision, and the Lines it was made on."""
    lines: list[Line] = []

    def read(line: Line) -> tuple[tuple[float, ...], ...]:
        lines.append(line)
        return tuple(tuple(loss(s, line.first + b) for s in line.factors) for b in range(line.batches))

    return decide(tuner, due(tuner, loss), read)[0], lines


def test_a_clear_raise_takes_two_batches_and_a_check() -> None:
    seen, lines = decided(LRTuner(1.0, overhead=None), bowl(1.5))
    assert seen["factor"] == pytest.approx(1.5)
    # 4 of the superbatch, 2 x 2 beside its losses at factor 1, and 2 of the check
    assert (seen["forwards"], seen["batches"]) == (10, 4)
    assert [len(line.factors) for line in lines] == [2, 1]


def test_the_phase_that_may_not_follow_holds() -> None:
    assert decided(LRTuner(0.0, overhead=None), bowl(1.5))[0]["factor"] == 1.0
    assert decided(LRTuner(1.0, overhead=None), bowl(0.5))[0]["factor"] == 1.0
    assert decided(LRTuner(0.0, overhead=None), bowl(0.5))[0]["factor"] == pytest.approx(0.5)


def test_noise_takes_all_batches_that_are_allowed() -> None:
    noisy = bowl(1.2, noise=3.0)
    assert decided(LRTuner(1.0, overhead=None), noisy)[0]["batches"] == 16
    assert decided(LRTuner(1.0), noisy)[0]["batches"] == 8


def test_the_papers_view_by_hand() -> None:
    # k1 = -1 ± 0.5 in turn, k2 = 1: the minimum is at 1 + 1/2
    rows = [[3.0 + (s - 1) * (-1.5 if b % 2 else -0.5) + (s - 1) ** 2 for s in PAPER_FACTORS] for b in range(100)]
    view = published_view(rows)
    assert view["loss"] == pytest.approx(3.0) and view["minimiser"] == pytest.approx(1.5)
    assert view["slope"] == pytest.approx([-1.0, 0.5 / 99**0.5]) and view["curvature"] == pytest.approx([1.0, 0.0])
    assert view["error"] == pytest.approx(0.25 / 99**0.5)
    assert wanted_sign(view) == 1
    assert published_view([[1.0 - s * s for s in PAPER_FACTORS]] * 2)["minimiser"] is None


@pytest.mark.parametrize(
    ("minimiser", "error", "sign"),
    [(1.5, 0.1, 1), (0.5, 0.1, -1), (1.5, 0.26, 0), (-4.0, 1.0, -1), (None, None, 0), (3.0, None, 0)],
)
def test_a_sign_needs_two_standard_errors(minimiser: float | None, error: float | None, sign: int) -> None:
    assert PAPER_BATCHES == 100  # the 97.5 % quantile of t is 1.98
    assert wanted_sign({"minimiser": minimiser, "error": error}) == sign


def test_the_default_goes_up_or_else_down_or_holds() -> None:
    assert [decided_sign(1.5, 1.0), decided_sign(1.0, 0.5), decided_sign(1.0, 1.0)] == [1, -1, 0]


def line(minimiser: float, explore: float, exploit: float) -> dict[str, Any]:
    phases = {"explore": {"factor": explore, "forwards": 10}, "exploit": {"factor": exploit, "forwards": 30}}
    return {"minimiser": minimiser, "error": 0.1, "default": {NO_LIMIT: phases}}


def test_agreement_by_hand() -> None:
    lines = [
        line(1.5, 1.4, 1.0),  # raised, as wanted
        line(1.5, 1.0, 1.0),  # held
        line(1.5, 1.0, 0.5),  # cut against it
        line(0.5, 1.0, 0.7),  # cut, as wanted
        line(1.1, 1.2, 1.0),  # not certain
    ]
    assert agreement(lines, NO_LIMIT) == {
        "lines": 5, "raises": 3, "cuts": 1, "same": 2, "held": 1, "opposite": 1, "moved": 1, "median": 20, "mean": 20,
    }  # fmt: skip
