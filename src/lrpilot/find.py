"""find_lr: a learning rate before training starts, at a stated cost, with the training left as it was."""

from dataclasses import replace
from typing import Any, Literal, get_args

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

__all__ = ["apply_lr", "find_lr", "run_finder"]

# A range test takes one step at each lr, so it needs more of them than a Trial at one lr.
RANGE_TEST_STRETCH = 5

Target = Literal["decay", "constant"]
Method = Literal["step_sampling", "range_test", "wittmann"]


def find_lr(
    training: Training,
    *,
    target: Target = "decay",
    num_steps: int = 20,
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

    Args:
        training: what is to be trained.
        target: "decay" finds the peak for a schedule that ends at zero, with annealed Trials;
            "constant" finds an lr to hold, by step sampling as published.
        num_steps: steps of a Trial; "decay" also runs longer ones to see where the best lr moves to.
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
        SettingError: an argument is out of range.
        LossError: the loss is not a finite scalar that depends on the parameters.
        StepError: ``step_fn`` does not take exactly one optimizer step.
    """
    if not isinstance(training, Training):
        raise SettingError(f"find_lr needs a lrpilot.Training, got {type(training).__name__}. Bind one first.")
    policy = finder_policy(target, method, num_steps=num_steps, min_lr=min_lr, max_lr=max_lr)
    with progress_bar("finding a learning rate", show=progress) as bar:
        trials = 0

        def show(event: Event) -> None:
            nonlocal trials
            trials += event.phase == "end"
            if bar is not None:
                bar.update(trials, describe(event.action))
            if on_event is not None:
                on_event(event)

        return run_finder(training, policy, on_event=show)


def finder_policy(target: str, method: str, **settings: Any) -> Policy:
    """The policy behind a target and a method.

    Raises:
        SettingError: unknown, or a pair that does not go together.
    """
    from lrpilot.policies.finders.annealed_search import AnnealedSearch
    from lrpilot.policies.finders.range_test import RangeTest
    from lrpilot.policies.finders.step_sampling import StepSampling

    if target not in get_args(Target):
        raise unknown_name("target", target, get_args(Target))
    if method not in get_args(Method):
        raise unknown_name("method", method, get_args(Method))
    if method == "step_sampling":
        return AnnealedSearch(**settings) if target == "decay" else StepSampling(**settings)
    if target == "decay":
        raise SettingError(f"method {method!r} finds an lr to hold, got target='decay'. Pass target='constant'.")
    if method == "wittmann":
        return StepSampling(pick="minimum", **settings)
    return RangeTest(**settings | {"num_steps": _range_test_steps(settings["num_steps"])})


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
        flight = Flight(policy, substrate, lr=lr, horizon=StepHorizon(None), on_event=on_event)
        flight.start()
    finally:
        substrate.forget_snapshot()
    if not isinstance(flight.result, FoundLR):
        raise PolicyError(f"A finder must end in Done(FoundLR) without training, got {flight.action!r}.")
    measured = replace(flight.result, cost=substrate.cost)
    return measured if measured.metric != FoundLR.metric else replace(measured, metric=training.probe_data.metric)
