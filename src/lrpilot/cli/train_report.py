"""The outcome of ``lrpilot train``: as a document, with one bill, and in words."""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from lrpilot.cli.report import bill_text, cost_plain, lr_text, say

if TYPE_CHECKING:
    from lrpilot.core.cost import Cost
    from lrpilot.fitting import FitResult
    from lrpilot.training import Training

LAST_LOSSES = 10  # at least, that decide whether a run diverged


def run_document(
    policy: str, training: "Training", result: "FitResult", found: dict[str, Any] | None
) -> dict[str, Any]:
    """The outcome of a training as plain data.

    Args:
        policy: its name.
        training: what was trained.
        result: how.
        found: the search for the lr as plain data, or None.
    """
    history = result.history
    search = _search_cost(found)
    held_out = training.evaluate()
    return {
        "policy": policy,
        "steps": result.steps,
        "peak_lr": max(history.lrs, default=None),
        "train_loss": history.losses[-1] if history.losses else None,
        "held_out_loss": held_out,
        "metric": training.probe_data.metric,
        "diverged": has_diverged(history.losses, held_out),
        "seconds": result.seconds + search.seconds,
        "coasts_from": result.coasts_from,
        "total_compute": result.total_compute + search.forward_equivalents,
        "cost": cost_plain(result.cost + search),
        "bill": _bill(result, search),
        "found": found,
    }


def has_diverged(losses: Sequence[float], held_out: float) -> bool:
    """Whether a run ended worse than it began.

    Args:
        losses: training loss of every step.
        held_out: held-out loss at the end.

    Returns:
        True if the final or the held-out loss is not finite, or if every one of the last losses (a tenth
        of the run, ten at least) is above the first: a single batch may be a hard one.
    """
    if not losses:
        return not math.isfinite(held_out)
    last = losses[1:][-max(LAST_LOSSES, len(losses) // 10) :]
    above = bool(last) and min(last) > losses[0]
    return above or not math.isfinite(held_out) or not math.isfinite(losses[-1])


def report_run(document: dict[str, Any], report: str) -> None:
    """Print it, and what the flight says of itself.

    Args:
        document: the outcome.
        report: of the flight, in words.
    """
    from rich.markup import escape

    found, metric = document["found"], document["metric"]
    if found is not None:
        span = found["interval"] or found["window"]
        between = "" if span is None else f"  ({lr_text(span[0])} to {lr_text(span[1])})"
        say(f"found lr  {lr_text(found['lr'])}{between}", f"{found['code']}: {found['status']}")
    say(escape(report))
    say(f"trained  {document['steps']} steps, peak lr {lr_text(document['peak_lr'])}")
    if document["coasts_from"] is not None:
        say(f"from step {document['coasts_from']} on the lr was held: the budget could not pay for what was asked next")
    seen = " (training has seen them)" if "reserved" in metric else ""
    say(f"[bold]{metric}  {document['held_out_loss']:.5g}[/bold]{seen}")
    say(f"cost  {bill_text(document['bill'])}")
    say(f"results and picture  {document['folder']}")


def _search_cost(found: dict[str, Any] | None) -> "Cost":
    from lrpilot.core.cost import Cost

    return Cost() if found is None else Cost(**{field.name: found["cost"][field.name] for field in fields(Cost)})


def _bill(result: "FitResult", search: "Cost") -> dict[str, tuple[float, float]]:
    """What everything cost: (training steps' worth, seconds) of each part, and of the whole."""
    measured = result.cost
    parts = {
        "search": (search.steps, search.seconds),
        "other measurements": (measured.steps, measured.seconds),
        "training": (float(result.steps), result.seconds - measured.seconds),
    }
    return parts | {"total": (sum(work for work, _ in parts.values()), sum(seconds for _, seconds in parts.values()))}
