"""What a measurement will cost, before it is made: a budget must know what it can pay for."""

from lrpilot.core.actions import Action, Evaluate, Line, Trial

STEP = 3.0  # forward-equivalents of a training step: a forward pass is 1, a backward pass 2


def price(action: Action, *, evaluation: float, evaluation_batch: float = 1.0, reestimation: float = 0.0) -> float:
    """Forward-equivalents of an action beyond kept steps, at full batches; a stop rule can make it cheaper.

    Args:
        action: what is asked for.
        evaluation: of reading the held-out loss once.
        evaluation_batch: of reading it on its first batch alone.
        reestimation: of BatchNorm statistics, before a Trial is judged or where an Evaluate asks for it.
    """
    match action:
        case Line(factors, batches):
            return float(len(factors) * batches)
        case Trial(_, steps, evaluate):
            readings = 0 if action.read_every is None else steps // action.read_every
            judged = 0.0 if evaluate == "no" else evaluation + reestimation
            return STEP * steps + readings * evaluation_batch + judged
        case Evaluate(reestimate):
            return evaluation + (reestimation if reestimate else 0.0)
    return 0.0
