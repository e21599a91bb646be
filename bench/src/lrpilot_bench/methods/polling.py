"""Efficient Relative Polling (de Souza Silva et al. 2026), from its package: steps tried at three lrs on one batch.

It wraps any optimizer. Published are runs with plain SGD; here it wraps the family's optimizer, as every
other method does.
"""

from typing import Any

import torch
from torch import Tensor

from lrpilot_bench.data.splits import Batch
from lrpilot_bench.methods.method import Method, Notes
from lrpilot_bench.methods.packages import require
from lrpilot_bench.session import Session


class _Closure:
    """What a poll calls to judge a step: the loss of one batch; counts its calls.

    The first call is the training's own. Calls after it, for trial steps, all start from the generator state
    that it left and leave it there, so that dropout draws what it would without polls.
    """

    def __init__(self, session: Session, package: Any, batch: Batch) -> None:
        # Trials are ranked by the loss, so no score is needed.
        self._evaluate = package.make_closure(
            session.model, session.task.criterion, *batch, score_fn=package.negative_loss
        )
        self.calls = 0

    def __call__(self) -> tuple[Tensor, float]:
        self.calls += 1
        if self.calls == 1:
            return self._call()
        with torch.random.fork_rng():
            return self._call()

    def _call(self) -> tuple[Tensor, float]:
        result: tuple[Tensor, float] = self._evaluate()
        return result


def fly_polling(session: Session, *, multiplier: float, lr_max: float) -> Notes:
    """Train with the family's optimizer, its lr polled.

    Args:
        session: what is trained.
        multiplier: of neighbouring lrs in a poll.
        lr_max: no lr above it is tried.
    """
    package = require("efficient_polling_lr_scheduler", "efficient-polling-lr-scheduler")
    optimizer = session.optimizer(session.lr)
    polling = package.EfficientRelativePollingOptimizer(
        optimizer, session.model, multiplier=multiplier, lr_max=max(lr_max, session.lr)
    )
    polls = rollbacks = 0
    for batch in session.batches():
        if session.steps_left <= 1:
            break
        closure, samples = _Closure(session, package, batch), len(batch[0])
        info = polling.step(closure)
        polls += info.polled
        rollbacks += info.rolled_back
        if info.rolled_back:  # no backward pass and no step
            session.charge(samples, forwards=closure.calls)
        else:
            session.tick(info.loss, info.lr, samples=samples, forwards=closure.calls)
    if session.steps_left == 1:  # too little for a poll; between polls it steps plainly
        session.step(optimizer, batch)
    return {"polls": polls, "rollbacks": rollbacks}


METHODS = (
    Method(
        name="polling",
        title="Efficient Relative Polling",
        fly=fly_polling,
        practice="its README: lr from 1e-3, multiplier 10, no lr above 0.1, trials ranked by the batch's loss",
        group="peer",
        settings={"multiplier": 10.0, "lr_max": 0.1},
        lrs={"sgd": 1e-3, "adamw": 1e-3},
        packages=("efficient_polling_lr_scheduler",),
    ),
)
