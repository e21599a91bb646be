"""fastai's range test and its default suggestion, the valley, written anew from its published behaviour.

fastai itself would pull in half of a second ecosystem. Its test raises the lr exponentially, one step at each,
and ends early at four times the best smoothed loss; then weights and buffers are put back. The random
generators are not, so training goes on with other dropout masks than without the test: so it is here.
"""

import copy
import math
from collections.abc import Sequence

from lrpilot_bench.methods.pick import Pick
from lrpilot_bench.methods.traces import Traces
from lrpilot_bench.session import Session

# fastai's defaults
START_LR = 1e-7
END_LR = 10.0
NUM_STEPS = 100
SMOOTHING = 0.98  # share of the old value in the running mean of the loss
DIVERGED = 4.0  # the test ends above this multiple of the best smoothed loss
SKIP_END = 5  # points that are never considered; at the start a tenth of the steps is skipped


def valley(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """The default suggestion of fastai: the middle of the longest valley.

    The valley is the longest strictly decreasing subsequence of the losses (neighbours need not be
    adjacent; of equally long ones the earliest to end). It is placed as if its L points were adjacent:
    from L points before its end. The suggestion lies L/3 and another L/6, each rounded down, behind that
    start. fastai's description speaks of two thirds; its code, in which the index counts, takes the half.

    Args:
        lrs: n learning rates, ascending.
        losses: the n (smoothed) losses at them.

    Returns:
        One of ``lrs``.
    """
    lengths: list[int] = []  # of the longest decreasing subsequence that ends at each point
    for i, loss in enumerate(losses):
        lengths.append(1 + max((lengths[j] for j in range(i) if losses[j] > loss), default=0))
    longest = max(lengths)
    if longest == 1:  # nothing ever fell
        return lrs[0]
    start = lengths.index(longest) - longest
    # The start may lie one before the first point; with a valley of two, so would the suggestion.
    return lrs[max(0, start + longest // 3 + longest // 6)]


def smoothed(losses: Sequence[float], beta: float = SMOOTHING) -> list[float]:
    """Bias-corrected exponential running mean: mean_k = (1 - b) sum_i b^(k-i) loss_i / (1 - b^k)."""
    means, running = [], 0.0
    for count, loss in enumerate(losses, start=1):
        running = beta * running + (1 - beta) * loss
        means.append(running / (1 - beta**count))
    return means


def valley_of_range_test(lrs: Sequence[float], losses: Sequence[float]) -> float | None:
    """The suggestion of fastai from the raw losses of its range test: smooth, cut both ends, take the valley.

    Returns:
        None where the cuts, or a NaN, leave no point.
    """
    means = smoothed(losses)
    kept = slice(NUM_STEPS // 10, len(means) - SKIP_END)
    lrs, means = lrs[kept], means[kept]
    first_nan = next((i for i, mean in enumerate(means) if math.isnan(mean)), len(means))
    return valley(lrs[:first_nan], means[:first_nan]) if first_nan else None


def fastai_diverged(losses: Sequence[float]) -> bool:
    """Whether fastai would end its range test after the last of these raw losses."""
    means = smoothed(losses)
    return means[-1] > DIVERGED * min(means)


def pick_fastai_valley(session: Session) -> Pick:
    """The range test and its valley; declared step by step, weights and buffers put back."""
    traces, paid = Traces(session), session.compute
    saved = copy.deepcopy(session.model.state_dict())
    lrs, losses = _range_test(session)
    session.model.load_state_dict(saved)
    lr = valley_of_range_test(lrs, losses)
    return Pick(
        lr,
        session.compute - paid,
        {"valley": lr},
        reason=None if lr is not None else f"The range test has too few points for a valley, got {len(lrs)}.",
        extra={"range_test_steps": len(lrs), "not_restored": traces.left()},
    )


def _range_test(session: Session) -> tuple[list[float], list[float]]:
    """The lr and the raw training loss of each step."""
    optimizer = session.optimizer(START_LR)
    lrs: list[float] = []
    losses: list[float] = []
    for step, batch in zip(range(NUM_STEPS), session.probe_batches(), strict=False):
        lrs.append(START_LR * (END_LR / START_LR) ** (step / NUM_STEPS))
        for group in optimizer.param_groups:
            group["lr"] = lrs[-1]
        loss = session.gradients(optimizer, batch)
        optimizer.step()
        session.charge(len(batch[0]), forwards=1, backwards=1)
        losses.append(float(loss))
        if fastai_diverged(losses):
            break
    return lrs, losses
