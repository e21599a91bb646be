"""The checks that every policy must pass, a stranger's too: the contract of a policy, one check a clause. No torch.

    from lrpilot.testing import CHECKS

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_my_policy(check):
        check(MyPolicy())

Every check flies the policy on a noisy quadratic and raises AssertionError where the contract of
:class:`lrpilot.core.policy.Policy` is broken.
"""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lrpilot.core.actions import (
    Action,
    Continue,
    Done,
    Drop,
    Evaluate,
    HeldOut,
    Line,
    LineLosses,
    Mark,
    Moved,
    Observation,
    Progress,
    Rewind,
    Train,
    Trained,
    Trial,
    TrialLosses,
)
from lrpilot.core.codec import decode, encode
from lrpilot.core.policy import Context, Policy
from lrpilot.core.stop import StopReason
from lrpilot.errors import SettingError
from lrpilot.testing.bad_settings import check_refuses_bad_settings
from lrpilot.testing.flights import LR, STEPS, Recorder, Unaveraged, advance, fly, make_flight, over, require_sound_lrs


def check_is_deterministic(policy: Policy, *, continues: bool = False) -> None:
    """The same policy on the same landscape takes the same decisions."""
    one, two = fly(policy, continues=continues), fly(policy, continues=continues)
    assert one.history.lrs == two.history.lrs
    assert [e.action for e in one.history.events] == [e.action for e in two.history.events]


def check_states_are_plain_data(policy: Policy, *, continues: bool = False) -> None:
    """Settings, every state, action and observation survive the codec and JSON, and go on identically."""
    recorder = Recorder(policy)
    fly(recorder, continues=continues)
    assert _through_json(policy) == policy, "the settings of the policy itself"
    for state, action, observation, after in recorder.trace:
        assert _through_json(action) == action
        loaded = _through_json(state)
        assert policy.ask(loaded) == action, "a loaded state asks the same"
        told = policy.tell(loaded, _through_json(observation))
        assert encode(told) == encode(after), "a loaded state, told the same, goes on the same"


def check_old_states_stay_valid(policy: Policy, *, continues: bool = False) -> None:
    """``tell`` does not mutate: after the flight every earlier state still asks and goes on as it did."""
    recorder = Recorder(policy)
    fly(recorder, continues=continues)
    for state, action, observation, after in recorder.trace:
        assert policy.ask(state) == action
        assert encode(policy.tell(state, observation)) == encode(after)


def check_lrs_are_finite_and_positive(policy: Policy, *, continues: bool = False) -> None:
    """Every lr of every kept step and of every Trial is a finite number > 0."""
    require_sound_lrs(fly(policy, continues=continues))


def check_stays_within_the_horizon(policy: Policy, *, continues: bool = False) -> None:
    """No Train is longer than the steps that are left, so that a decay ends where the training ends."""
    flight = make_flight(policy, continues=continues)
    flight.start()
    action, began = flight.action, 0
    while not over(flight):
        if isinstance(action, Train):
            assert began + action.steps <= STEPS, f"{action} began at step {began} of {STEPS}"
        advance(flight)
        if flight.action is not action:
            action, began = flight.action, flight.step


def check_resumes_where_it_was(policy: Policy, *, continues: bool = False) -> None:
    """A flight saved at any step and loaded into a new pilot goes on as if nothing had happened."""
    whole = fly(policy, continues=continues)
    if whole.step == 0:
        return  # a finder has no step to resume from
    for stop in (1, STEPS // 3, STEPS // 2, STEPS - 1):
        flight = make_flight(policy, continues=continues)
        flight.start()
        while flight.step < stop:
            advance(flight)
        resumed = make_flight(policy, continues=continues)
        resumed.load_state_dict(json.loads(json.dumps(flight.state_dict())))
        resumed.substrate = flight.substrate  # the landscape's own state is not the flight's to save
        while resumed.step < STEPS:
            advance(resumed)
        assert resumed.history.lrs == whole.history.lrs, f"resumed at step {stop}"


def check_survives_divergence(policy: Policy) -> None:
    """Non-finite losses, wherever they come, never crash a policy and never become an lr.

    The policy is told NaN or inf at random in place of what it should have seen, up to 300 tells.
    """
    facts = make_flight(policy).substrate.facts()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        state = policy.init(Context(LR, Progress(0, STEPS), facts=facts))
        step = 0
        for _ in range(300):
            action = policy.ask(state)
            if isinstance(action, Done) or step >= STEPS:
                break
            if isinstance(action, (Train, Trial)):
                lrs = action.shape.first(action.steps)
                assert all(math.isfinite(lr) and lr > 0 for lr in lrs), f"told non-finite losses, it asks for {action}"
            if isinstance(action, Train):
                step += action.steps
            state = policy.tell(state, _broken_observation(action, step, rng))


def check_flies_without_losses(policy: Policy) -> None:
    """A loop need not give its losses: a Train that asked to be observed is told of a held-out loss, others of none."""
    require_sound_lrs(fly(policy, tells_losses=False))


def check_averages_only_where_it_can(policy: Policy) -> None:
    """An averaged Train or Trial is asked for only where ``Context.facts.averages`` says so (the flight raises).

    A policy whose setting asks for nothing else may refuse with a SettingError from ``init``.
    """
    try:
        make_flight(policy, landscape=Unaveraged)
    except SettingError:
        return
    require_sound_lrs(fly(policy, landscape=Unaveraged))


def check_survives_a_shrinking_budget(policy: Policy) -> None:
    """What is left may fall by more than the steps taken, down to nothing: the policy goes by what it is told."""
    for left in _SHRINKING:
        recorder = Recorder(policy)
        flight = make_flight(recorder, left=left)
        flight.start()
        action = None
        while not over(flight):
            if isinstance(flight.action, Train) and flight.action is not action:
                told = recorder.told_left
                assert told is None or flight.action.steps <= told, f"told of {told} steps left it asks {flight.action}"
            action = flight.action
            advance(flight)
        require_sound_lrs(flight)


# Kept steps left, by the steps taken and those that measurements were worth: a budget that pays for both, a loop that
# is twice as slow as it was thought, and one that is cut short.
_SHRINKING: tuple[Callable[[int, float], int], ...] = (
    lambda step, measured: STEPS - step - math.ceil(measured),
    lambda step, measured: STEPS - 2 * step,
    lambda step, measured: (STEPS if step < STEPS // 3 else STEPS // 2) - step,
)


def check_trains_as_declared(policy: Policy) -> None:
    """A policy that ``trains`` takes steps; one that does not measures only, and ends in a result."""
    flight = fly(policy)
    assert policy.trains == (flight.step > 0), f"trains is {policy.trains}, but it took {flight.step} steps"
    assert policy.trains or flight.result is not None, "it does not train, and ended without a result"


def check_marks_are_declared(policy: Policy) -> None:
    """A policy never holds more marks than ``max_marks`` (the flight raises), and it is a number >= 0."""
    assert isinstance(policy.max_marks, int) and policy.max_marks >= 0
    fly(policy)


def check_may_continue_trials(policy: Policy) -> None:
    """Where Trials may be continued all of it holds too, and a policy that continues none is not changed by it.

    Every step is counted once, and no more ends are kept than ``max_ends`` (the flight raises), a number >= 0.
    """
    assert isinstance(policy.max_ends, int) and policy.max_ends >= 0
    flight = fly(policy, continues=True)
    if not any(isinstance(event.action, Continue) for event in flight.history.events):
        assert flight.history.lrs == fly(policy).history.lrs, "it continues no Trial, and yet trains otherwise"
        return
    assert len(flight.history.lrs) == len(flight.history.losses) == flight.step == STEPS
    for check in _WHERE_CONTINUED:
        check(policy, continues=True)


_WHERE_CONTINUED = (
    check_is_deterministic,
    check_states_are_plain_data,
    check_old_states_stay_valid,
    check_lrs_are_finite_and_positive,
    check_stays_within_the_horizon,
    check_resumes_where_it_was,
)

CHECKS: tuple[Callable[[Policy], None], ...] = (
    *_WHERE_CONTINUED,
    check_survives_divergence,
    check_flies_without_losses,
    check_averages_only_where_it_can,
    check_survives_a_shrinking_budget,
    check_refuses_bad_settings,
    check_marks_are_declared,
    check_trains_as_declared,
    check_may_continue_trials,
)
"""Every check of the battery: call each with a policy instance."""


def _through_json(value: Any) -> Any:
    return decode(json.loads(json.dumps(encode(value))))


def _broken_observation(action: Action, step: int, rng: np.random.Generator) -> Observation:
    progress = Progress(min(step, STEPS), max(0, STEPS - step))

    def pick() -> float:
        return float(rng.choice([math.nan, math.inf, 1e300, 1.0]))

    match action:
        case Trial():
            stopped = rng.random() < 0.5
            held_out = None if stopped or action.evaluate == "no" else pick()
            many = 0 if action.read_every is None else action.steps // action.read_every
            readings = tuple(pick() for _ in range(many))
            stop = StopReason.NON_FINITE if stopped else None
            return TrialLosses(progress, (1.0, pick()), held_out, stop, readings=readings)
        case Line(factors, batches):
            return LineLosses(progress, factors, tuple(tuple(pick() for _ in factors) for _ in range(batches)))
        case Evaluate():
            return HeldOut(progress, pick())
        case Mark(key) | Rewind(key) | Drop(key) | Continue(key):
            return Moved(progress, key)
        case Train(steps=steps):
            return Trained(progress, steps, (1.0, pick()), None, True, StopReason.NON_FINITE)
    raise AssertionError(f"not an action a policy may ask: {action!r}")
