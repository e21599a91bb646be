"""fastai's one cycle: its numbers by hand, its bounds, and what it does to an optimizer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrpilot_bench.methods import one_cycle
from lrpilot_bench.methods.one_cycle import combined_cosine, fly_valley_one_cycle, set_hypers
from lrpilot_bench.session import Session
from lrpilot_bench.tasks.digits import TASKS


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (0.0, 0.04),
        (0.125, 0.52),  # half way up: (1 + 1/25) / 2
        (0.25, 1.0),
        (0.625, 0.500005),  # half way down: (1 + 1e-5) / 2
        (1.0, 1e-5),
    ],
)
def test_the_cycle_by_hand(position: float, value: float) -> None:
    assert combined_cosine(position, 1 / 25, 1.0, 1e-5) == pytest.approx(value, rel=1e-9)


@given(st.floats(0, 1), st.floats(0, 1))
def test_it_rises_and_then_falls(one: float, other: float) -> None:
    low, high = sorted((one, other))
    before, after = (combined_cosine(at, 0.04, 1.0, 1e-5) for at in (low, high))
    if high <= 0.25:
        assert before <= after + 1e-12
    if low >= 0.25:
        assert before >= after - 1e-12


def test_momentum_is_the_first_beta_of_adam() -> None:
    weight = [torch.nn.Parameter(torch.zeros(1))]
    adam, sgd = torch.optim.AdamW(weight), torch.optim.SGD(weight, lr=1.0, momentum=0.9)
    for optimizer in (adam, sgd):
        set_hypers(optimizer, lr=0.5, momentum=0.85)
    assert adam.param_groups[0]["betas"] == (0.85, 0.999) and adam.param_groups[0]["lr"] == 0.5
    assert sgd.param_groups[0]["momentum"] == 0.85 and sgd.param_groups[0]["lr"] == 0.5


def test_the_cycle_spans_what_the_range_test_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, float]] = []

    def watched(optimizer: torch.optim.Optimizer, *, lr: float, momentum: float) -> None:
        seen.append((lr, momentum))
        set_hypers(optimizer, lr=lr, momentum=momentum)

    monkeypatch.setattr(one_cycle, "set_hypers", watched)
    session = Session(TASKS[0], TASKS[0].family(), seed=0, steps=180)

    fly_valley_one_cycle(session)
    notes = session.notes

    steps, peak = 180 - notes["range_test_steps"], notes["picked_lr"]
    assert len(seen) == session.kept_steps == steps
    assert seen[0] == pytest.approx((peak / 25, 0.95))
    assert seen[steps // 4] == pytest.approx((peak, 0.85))
    # one step before the end: the cosine is (pi / (0.75 N))^2 / 4 above it
    assert 1e-5 * peak < seen[-1][0] < 0.01 * peak and seen[-1][1] == pytest.approx(0.95, abs=1e-3)
