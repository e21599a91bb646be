"""What a measurement will cost, before it is made: a budget must know what it can pay for."""

from lrpilot.core.actions import Action, Evaluate, Line, Trial


def price(action: Action, *, evaluation: float) -> float:
    """Forward-equivalents of an action beyond kept steps, at full batches; a stop rule can make it cheaper.

    Args:
        action: what is asked for.
        evaluation: of reading the held-out loss once.
    """
    match action:
        case Line(factors, batches):
            return float(len(factors) * batches)
        case Trial(_, steps, evaluate):
            return 3.0 * steps + (0.0 if evaluate == "no" else evaluation)
        case Evaluate():
            return evaluation
    return 0.0
