"""The two ways a method trains a session: with a policy of lrpilot, or with a plain torch loop."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from lrpilot.core.cost import Cost
from lrpilot.core.policy import Policy
from lrpilot.fitting import FitResult, fit
from lrpilot.flight.horizon import Budget
from lrpilot.pilot import Pilot
from lrpilot_bench.session import Session


def fly_policy(
    session: Session,
    policy: Policy,
    *,
    lr: float | None = None,
    free: bool = False,
    before_tick: Callable[[], None] | None = None,
) -> FitResult | None:
    """Train with a policy until what is left of the session's budget is spent, its probes included.

    Args:
        session: what is trained.
        policy: decides the lrs.
        lr: that the optimizer is built with, and that a policy without an lr of its own starts from; None
            for the session's.
        free: whether its probes are not paid for; they are counted all the same.
        before_tick: called after every kept step, before the session may evaluate.

    Returns:
        What the flight did; None where nothing was left to train with.
    """
    training = session.training(session.optimizer(session.lr if lr is None else lr))
    charged = Cost()

    def charge(cost: Cost) -> None:
        nonlocal charged
        session.charge_cost(cost - charged)
        if free:
            session.forgive((cost - charged).forward_equivalents)
        charged = cost

    def on_step(pilot: Pilot, loss: Tensor) -> None:
        # What is judged of an averaged flight is the average; as the evaluations, its statistics are free.
        session.evaluating = lambda: pilot.driver.averaged(charged=False)
        charge(pilot.cost)
        if before_tick is not None:
            before_tick()
        session.tick(float(loss), pilot.history.lrs[-1], samples=session.task.batch_size)

    if session.steps_left == 0:
        return None  # a search has spent it all
    length: dict[str, Any] = (
        {"total_steps": session.steps_left}
        if free
        else {"budget": Budget(forward_equivalents=session.budget - session.compute)}
    )
    try:
        result = fit(training, policy, progress=False, on_step=on_step, **length)
    finally:
        session.evaluating = nullcontext
    charge(result.cost)
    return result


def fly_loop(
    session: Session,
    optimizer: torch.optim.Optimizer,
    scheduler: Any = None,
    *,
    after_step: Callable[[int, float], None] | None = None,
) -> None:
    """Train in a plain torch loop until what is left of the session's budget is spent.

    Args:
        session: what is trained.
        optimizer: its optimizer, at its lr.
        scheduler: a torch scheduler, stepped after every optimizer step; None for none.
        after_step: called with (kept steps, training loss) after every step; what it spends is charged by it.
    """
    for batch in session.batches():
        if session.steps_left == 0:
            return
        loss = session.step(optimizer, batch)
        if scheduler is not None:
            scheduler.step()
        if after_step is not None:
            after_step(session.kept_steps, loss)
