"""find_lr: a learning rate before training starts, at a stated cost, with the training left as it was."""

import logging
from dataclasses import replace
from typing import Literal, get_args

from lrpilot.core.history import Event, OnEvent, describe
from lrpilot.core.policy import Policy
from lrpilot.errors import PolicyError, SettingError, unknown_name
from lrpilot.flight.flight import Flight
from lrpilot.flight.horizon import StepHorizon
from lrpilot.found import FoundLR
from lrpilot.progress import progress_bar
from lrpilot.training.bound.optimizers import apply_lr
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot.training.training import Training

logger = logging.getLogger("lrpilot")

__all__ = ["apply_lr", "find_lr", "run_finder"]

# A range test takes one step at each lr, so it needs more of them than a Trial at one lr.
RANGE_TEST_STRETCH = 5

Target = Literal["decay", "constant"]
Effort = Literal["quick", "thorough"]
Method = Literal["step_sampling", "range_test", "wittmann"]
NUM_STEPS = 20  # of a Trial, where a search has its own number for none


def find_lr(
    training: Training,
    *,
    target: Target = "decay",
    num_steps: int | None = None,
    budget: float | None = None,
    effort: Effort = "quick",
    min_lr: float = 1e-7,
    max_lr: float = 10.0,
    method: Method = "step_sampling",
    progress: bool = True,
    on_event: OnEvent | None = None,
) -> FoundLR:
    """Find a learning rate by short Trials from the present state.

    Every Trial starts from the same weights on the same batches with the same random masks, and
    everything is put back afterwards, bit for bit: training after ``find_lr`` is training without it.
    The same seed gives the same answer.

    At the default the search costs 150 training steps' worth at most: annealed Trials half a decade apart, from what is
    customary for the optimizer, until the best stands between two worse ones
    (:class:`~lrpilot.policies.finders.paired_search.PairedSearch`). After every Trial the bar and the event's reason
    say what would be picked now.

    Args:
        training: what is to be trained.
        target: "decay" finds the peak for a schedule that ends at zero, with annealed Trials;
            "constant" finds an lr to hold, by step sampling as published.
        num_steps: steps of a Trial. None: for "quick" what the budget allows, a fifth of it, at least 9; else 20, and
            "thorough" also runs longer ones to see where the best lr moves to.
        budget: training steps' worth that the search may cost, everything counted; None for 150. Of the quick search.
        effort: for target="decay": "quick", or "thorough" for three lengths of Trials, judged by held-out losses
            (:class:`~lrpilot.policies.finders.annealed_search.AnnealedSearch`), about 1,000 steps' worth.
        min_lr: smallest lr ever tried (natural units, the largest group's).
        max_lr: largest lr ever tried.
        method: "step_sampling"; or, as comparators for target="constant", "range_test" (one exponential
            sweep of 5 x ``num_steps`` steps) and "wittmann" (the minimum of the step-sampling curve).
        progress: show a bar on stderr while it runs.
        on_event: called at the beginning and end of every Trial.

    Returns:
        A :class:`~lrpilot.found.FoundLR`; its ``lr`` is None, with a reason in ``status``, where no
        suggestion is reliable. Nothing is applied: see :func:`apply_lr`.

    Raises:
        SettingError: an argument is out of range, or does not go with the target or the effort.
        LossError: the loss is not a finite scalar that depends on the parameters.
        StepError: ``step_fn`` does not take exactly one optimizer step.
    """
    if not isinstance(training, Training):
        raise SettingError(f"find_lr needs a lrpilot.Training, got {type(training).__name__}. Bind one first.")
    policy = finder_policy(
        target, method, num_steps=num_steps, budget=budget, effort=effort, min_lr=min_lr, max_lr=max_lr
    )
    with progress_bar("finding a learning rate", show=progress) as bar:
        trials, so_far = 0, ""

        def show(event: Event) -> None:
            nonlocal trials, so_far
            trials += event.phase == "end"
            so_far = so_far if event.reason is None else event.reason.sentence
            if bar is not None:
                bar.update(trials, so_far or describe(event.action))
            if on_event is not None:
                on_event(event)

        return run_finder(training, policy, on_event=show)


def finder_policy(
    target: str,
    method: str,
    *,
    num_steps: int | None = None,
    budget: float | None = None,
    effort: str = "quick",
    min_lr: float = 1e-7,
    max_lr: float = 10.0,
) -> Policy:
    """The policy behind the settings of :func:`find_lr`.

    Raises:
        SettingError: unknown, out of range, or settings that do not go together.
    """
    for name, value, kind in (("target", target, Target), ("method", method, Method), ("effort", effort, Effort)):
        if value not in get_args(kind):
            raise unknown_name(name, value, get_args(kind))
    if target == "constant":
        _refuse_for_constant(budget, effort)
        return _holding(method, NUM_STEPS if num_steps is None else num_steps, min_lr, max_lr)
    if method != "step_sampling":
        raise SettingError(f"method {method!r} finds an lr to hold, got target='decay'. Pass target='constant'.")
    if effort == "thorough":
        return _thorough(num_steps, budget, min_lr, max_lr)
    from lrpilot.policies.finders.paired_search import BUDGET, PairedSearch

    return PairedSearch(budget=BUDGET if budget is None else budget, num_steps=num_steps, min_lr=min_lr, max_lr=max_lr)


def _thorough(num_steps: int | None, budget: float | None, min_lr: float, max_lr: float) -> Policy:
    from lrpilot.policies.finders.annealed_search import AnnealedSearch

    if budget is not None:
        raise SettingError(
            f"budget is of effort='quick', got {budget!r} for effort='thorough', which takes what it takes, about 50 x "
            "num_steps. Leave budget away and give num_steps, or choose effort='quick'."
        )
    return AnnealedSearch(num_steps=NUM_STEPS if num_steps is None else num_steps, min_lr=min_lr, max_lr=max_lr)


def _holding(method: str, num_steps: int, min_lr: float, max_lr: float) -> Policy:
    """A finder of an lr to hold."""
    from lrpilot.policies.finders.range_test import RangeTest
    from lrpilot.policies.finders.step_sampling import StepSampling

    if method == "range_test":
        return RangeTest(num_steps=_range_test_steps(num_steps), min_lr=min_lr, max_lr=max_lr)
    if method == "wittmann":
        return StepSampling(pick="minimum", num_steps=num_steps, min_lr=min_lr, max_lr=max_lr)
    return StepSampling(num_steps=num_steps, min_lr=min_lr, max_lr=max_lr)


def _refuse_for_constant(budget: float | None, effort: str) -> None:
    """Raise where target="constant" is given what only the search for a peak has.

    Raises:
        SettingError: it is.
    """
    given = [f"budget={budget!r}"] if budget is not None else []
    given += [f"effort={effort!r}"] if effort != "quick" else []
    if given:
        raise SettingError(
            f"budget and effort are for target='decay', got {' and '.join(given)} for target='constant', whose step "
            "sampling takes about 30 x num_steps. Leave them away and give num_steps, or pass target='decay'."
        )


def _range_test_steps(num_steps: int) -> int:
    """Steps of the range test for ``num_steps`` of a Trial.

    Raises:
        SettingError: too few, in terms of what the user gave.
    """
    from lrpilot.core.settings import check_num_steps
    from lrpilot.policies.finders.range_test import FEWEST_STEPS

    check_num_steps(num_steps)
    if RANGE_TEST_STRETCH * num_steps < FEWEST_STEPS:
        raise SettingError(
            f"num_steps must be >= {FEWEST_STEPS // RANGE_TEST_STRETCH} for a range test, which takes "
            f"{RANGE_TEST_STRETCH} x num_steps steps, got {num_steps}. The default is 20."
        )
    return RANGE_TEST_STRETCH * num_steps


def _warned(on_event: OnEvent | None) -> OnEvent:
    """Warnings go to the log too; what comes of the search is in the result."""

    def emit(event: Event) -> None:
        if event.phase == "warning":
            logger.warning(event.message)
        if on_event is not None:
            on_event(event)

    return emit


def run_finder(training: Training, policy: Policy, *, on_event: OnEvent | None = None) -> FoundLR:
    """Fly a policy that only measures, until its ``Done``.

    Args:
        training: what is measured; unchanged afterwards.
        policy: a finder; its ``Done`` carries a FoundLR.
        on_event: called at the beginning and end of every measurement.

    Raises:
        PolicyError: the policy asked for a training step, or is done without a result.
    """
    substrate = LiveSubstrate(training)
    try:
        substrate.check()
        lr = substrate.lrs.reference
        flight = Flight(policy, substrate, lr=lr, horizon=StepHorizon(None), on_event=_warned(on_event))
        flight.start()
    finally:
        substrate.forget_snapshot()
    if not isinstance(flight.result, FoundLR):
        raise PolicyError(f"A finder must end in Done(FoundLR) without training, got {flight.action!r}.")
    measured = replace(flight.result, cost=substrate.cost)
    metric = measured.metric if measured.metric != FoundLR.metric else training.probe_data.metric
    return replace(measured, metric=f"minus the {metric} (maximize=True)" if training.maximizes else metric)
