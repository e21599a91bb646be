"""What measurements cost, by hand."""

import pytest

from lrpilot.core.actions import Action, Evaluate, Line, Mark, Train, Trial
from lrpilot.core.shape import annealed, constant
from lrpilot.flight.substrate import price


@pytest.mark.parametrize(
    "action, due",
    [
        (Line((0.5, 1.0, 1.5), 4), 12.0),
        (Trial(annealed(0.1, 20), 20), 60.0),
        (Trial(annealed(0.1, 20), 20, evaluate="end"), 83.0),
        (Trial(annealed(0.1, 20), 20, evaluate="average"), 83.0),
        (Trial(constant(0.1), 20, read_every=6), 61.5),
        (Trial(constant(0.1), 20, read_every=20, evaluate="end"), 83.5),
        (Evaluate(), 7.0),
        (Evaluate(reestimate=True), 23.0),
        (Mark("a"), 0.0),
        (Train(constant(0.1), 100), 0.0),
    ],
)
def test_by_hand(action: Action, due: float) -> None:
    assert price(action, evaluation=7.0, evaluation_batch=0.5, reestimation=16.0) == due
