"""fastai's way: the valley of a range test as the peak of its one-cycle schedule, written anew.

Smith, "A disciplined approach to neural network hyper-parameters", for the idea; the shape and the numbers are
those of fastai's ``fit_one_cycle``: cosines, and a momentum (of Adam: the first beta) that moves against the lr.
"""

import math

import torch

from lrpilot_bench.methods.method import Method
from lrpilot_bench.methods.schedules import DEFAULT_LRS
from lrpilot_bench.methods.valley import pick_fastai_valley
from lrpilot_bench.session import Session

# fit_one_cycle's defaults
PCT_START = 0.25  # part of the steps that rises
DIV = 25.0  # the first lr is the peak ÷ this
DIV_FINAL = 1e5  # the cycle ends at the peak ÷ this
MOMENTUMS = (0.95, 0.85, 0.95)  # at the beginning, the peak and the end


def combined_cosine(position: float, start: float, middle: float, end: float) -> float:
    """A half cosine from ``start`` to ``middle`` over :data:`PCT_START`, and one from there to ``end``.

    Args:
        position: part of the steps that is done, in [0, 1].
        start: value at 0.
        middle: value at PCT_START.
        end: value at 1.
    """
    if position < PCT_START:
        return _cosine(position / PCT_START, start, middle)
    return _cosine((position - PCT_START) / (1 - PCT_START), middle, end)


def _cosine(position: float, start: float, end: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * position)) / 2


def set_hypers(optimizer: torch.optim.Optimizer, *, lr: float, momentum: float) -> None:
    """Set the lr, and the momentum by whatever name the optimizer has it."""
    for group in optimizer.param_groups:
        group["lr"] = lr
        if "betas" in group:
            group["betas"] = (momentum, *group["betas"][1:])
        elif "momentum" in group:
            group["momentum"] = momentum


def train_one_cycle(session: Session, peak: float) -> None:
    """One cycle of a fresh optimizer over what is left of the budget."""
    steps = session.steps_left
    optimizer = session.optimizer(peak)
    for step, batch in zip(range(steps), session.batches(), strict=False):
        set_hypers(
            optimizer,
            lr=combined_cosine(step / steps, peak / DIV, peak, peak / DIV_FINAL),
            momentum=combined_cosine(step / steps, *MOMENTUMS),
        )
        session.step(optimizer, batch)


def fly_one_cycle(session: Session) -> None:
    """One cycle at the session's lr."""
    train_one_cycle(session, session.lr)


def fly_valley_one_cycle(session: Session) -> None:
    """Range test, valley, and one cycle.

    Raises:
        NoPickError: the range test has too few points.
    """
    pick = pick_fastai_valley(session)
    session.notes.update(pick.notes())
    train_one_cycle(session, pick.require())


METHODS = (
    Method(
        name="fit_one_cycle",
        title="fastai's one-cycle (rewritten), default lr",
        fly=fly_one_cycle,
        practice="fastai's fit_one_cycle at its defaults; lr 0.1 (SGD) or 1e-3 (AdamW)",
        group="schedule",
        lrs=DEFAULT_LRS,
    ),
    Method(
        name="valley_one_cycle",
        title="fastai valley + one-cycle (rewritten)",
        fly=fly_valley_one_cycle,
        practice="fastai's documentation: lr_find's valley, then fit_one_cycle at its defaults",
        group="peer",
    ),
)
