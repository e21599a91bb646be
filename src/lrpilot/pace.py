"""How fast a training is, by rewound Trials: what a budget of seconds is planned on."""

import time

from lrpilot.core.actions import Trial
from lrpilot.core.cost import Cost
from lrpilot.core.shape import constant
from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.measure.substrate import LiveSubstrate

CALIBRATION_STEPS = 10
FASTEST = 1e-6  # seconds per step that a clock can tell from none


def seconds_per_step(training: BoundTraining) -> tuple[float, Cost]:
    """The pace of training, and what it cost to measure it; everything is put back."""
    substrate = LiveSubstrate(training)

    def seconds(steps: int) -> float:
        start = time.perf_counter()
        substrate.trial(Trial(constant(substrate.lrs.reference), steps))
        return time.perf_counter() - start

    seconds(1)  # the first step of a process pays for warming up
    bracket = seconds(1)  # snapshot, restore, and one step
    pace = (seconds(1 + CALIBRATION_STEPS) - bracket) / CALIBRATION_STEPS
    return max(pace, FASTEST), substrate.cost
