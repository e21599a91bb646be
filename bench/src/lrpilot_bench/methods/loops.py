"""Pieces of a training loop that several peers share."""

from typing import Any, Protocol

import torch

from lrpilot_bench.methods.flying import fly_loop
from lrpilot_bench.methods.packages import quiet
from lrpilot_bench.session import Session


class MetricScheduler(Protocol):
    """A scheduler that is told a validation loss."""

    def step(self, metrics: float) -> Any:
        """Take note of a validation loss, and set the lr."""


def fly_on_validation(
    session: Session,
    optimizer: torch.optim.Optimizer,
    scheduler: MetricScheduler,
    *,
    evaluations: int,
    eval_batches: int,
) -> None:
    """Train with a scheduler that asks for validation losses; they are charged.

    Args:
        session: what is trained.
        optimizer: its optimizer, at its lr.
        scheduler: told the validation loss at regular intervals of steps.
        evaluations: that a run of all steps would make; since they are paid for out of the budget, there are
            fewer steps, and fewer evaluations with them.
        eval_batches: batches of an evaluation. All of a validation part could cost more than the training.
    """
    every = max(1, session.steps // evaluations)
    price = min(eval_batches, len(session.splits.val) / session.task.batch_size)  # forward-equivalents

    def watch(steps: int, _loss: float) -> None:
        # An evaluation after which no step can be paid for would decide nothing.
        if steps % every == 0 and session.budget - session.compute >= price + 3.0:
            val_loss = session.evaluate(eval_batches)
            with quiet():
                scheduler.step(val_loss)

    fly_loop(session, optimizer, after_step=watch)
