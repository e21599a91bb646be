"""Schedules of the oracle whose weights are read as an average: it tells the average's gain from the lr's.

The lr goes the very way that it goes in a run of the oracle; beside the training an average of the weights is kept, and
the model ends as that average. Two exponential averages, and the mean over the last quarter (as in SWA,
Izmailov et al. 2018).
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import nn

from lrpilot.policies.schedules.schedule import Schedule
from lrpilot_bench.methods.averaging import lent, renew_statistics, statistics_batches
from lrpilot_bench.methods.flying import fly_policy
from lrpilot_bench.methods.method import Method
from lrpilot_bench.methods.schedules import DEFAULT_LRS, WARMUP
from lrpilot_bench.session import Session
from lrpilot_bench.store.schema import ORACLE_KINDS

YOUNG = 9.0  # an exponential average of n steps forgets like one of (n + 10) / 9 steps, until that is its own time
READOUTS = {"ema_99": {"decay": 0.99}, "ema_998": {"decay": 0.998}, "tail_25": {"tail": 0.25}}
NORM_BATCHES = 50


def fly_averaged(
    session: Session,
    *,
    kind: str,
    warmup: float,
    norm_batches: int,
    decay: float | None = None,
    tail: float | None = None,
) -> None:
    """Train with a schedule; the model ends as an average of its weights.

    Args:
        session: what is trained.
        kind: of the schedule.
        warmup: fraction of the steps.
        norm_batches: training batches that renew the running statistics of the average, charged before the training.
        decay: of an exponential average; its memory is shorter in the beginning, lest it remember the untrained net.
        tail: in its place, the last part of the steps whose mean is taken.
    """
    batches = statistics_batches(session, norm_batches)
    session.charge(batches * session.task.batch_size, forwards=1)
    steps = session.steps_left
    share = _ema_share(decay) if decay is not None else _tail_share(round(steps * (1.0 - (tail or 0.0))))
    average = WeightAverage(session.model, share)
    session.evaluating = lambda: lent(session, average.put, _nothing, batches)
    fly_policy(session, Schedule(kind, lr=session.lr, warmup=warmup), before_tick=average.add)
    session.evaluating = nullcontext
    average.put()
    renew_statistics(session, batches)


class WeightAverage:
    """A running average of a model's parameters.

    Args:
        model: whose parameters they are.
        share: of the newest weights in the average after the given number of steps, 1 for the first.
    """

    def __init__(self, model: nn.Module, share: Callable[[int], float]) -> None:
        self._weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._average = [weight.detach().clone() for weight in self._weights]
        self._share = share
        self._steps = 0

    def add(self) -> None:
        """Take the present weights in."""
        self._steps += 1
        share = self._share(self._steps)
        for average, weight in zip(self._average, self._weights, strict=True):
            average.lerp_(weight.detach(), share)

    def put(self) -> None:
        """Write the average into the model."""
        with torch.no_grad():
            for average, weight in zip(self._average, self._weights, strict=True):
                weight.copy_(average)


def _ema_share(decay: float) -> Callable[[int], float]:
    return lambda step: max(1.0 - decay, YOUNG / (YOUNG + step))


def _tail_share(start: int) -> Callable[[int], float]:
    """The mean of the weights after step ``start``; until then the weights themselves."""
    return lambda step: 1.0 / max(1, step - start)


def _nothing() -> None:
    """No optimizer must know."""


METHODS = tuple(
    Method(
        name=f"{kind}_{name}",
        title=f"{kind}, weights read as {name.replace('_', ' 0.')}",
        fly=fly_averaged,
        practice="the oracle's schedule, judged by an average of its weights (batch normalisation renewed)",
        group="ablation",
        settings={"kind": kind, "warmup": WARMUP, "norm_batches": NORM_BATCHES, **options},
        lrs=DEFAULT_LRS,
    )
    for kind in ORACLE_KINDS
    for name, options in READOUTS.items()
)
