"""Autopilot as a policy, without a model: the battery over a whole flight, its guard, its account, another horizon."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lrpilot import Autopilot, simulate
from lrpilot.core.actions import Average, Mark, Moved, Progress, Rewind, Train, Trained, Trial, TrialLosses
from lrpilot.core.policy import Context, Facts, Policy
from lrpilot.core.stop import StopReason
from lrpilot.errors import PolicyError, SettingError
from lrpilot.flight.landscape import NoisyQuadratic
from lrpilot.policies.autopilot.default import WATCH_EVERY
from lrpilot.policies.autopilot.plan import FEWEST_TRIALS, search_allowance
from lrpilot.policies.autopilot.state import AutopilotState, Flying
from lrpilot.policies.guard import BLOCK, Verdict
from lrpilot.policies.peak_search.search import FEWEST_STEPS
from lrpilot.policies.registry import get_policy
from lrpilot.testing import CHECKS

SHORTEST = 3 * FEWEST_TRIALS * FEWEST_STEPS  # steps of a training that a search is paid out of
LANDSCAPE = NoisyQuadratic.log_spaced(8, condition=30.0, noise=0.05)
FACTS = Facts(averages=True, optimizer="sgd", momentum=0.9)


# ------------------------------------------------- the battery, with a search

FLIGHTS = {"auto": Autopilot(), "ordinary": Autopilot(arm="ordinary")}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("policy", FLIGHTS.values(), ids=FLIGHTS.keys())
def test_the_battery_over_a_flight_that_pays_for_a_search(
    policy: Policy, check: Callable[[Policy], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("flights", "conformance"):
        monkeypatch.setattr(f"lrpilot.testing.{module}.STEPS", 150)
    check(policy)


def test_it_goes_by_its_name_and_its_settings() -> None:
    assert get_policy("autopilot", arm="ordinary", branch=False) == Autopilot(arm="ordinary", branch=False)
    assert Autopilot().name == "autopilot" and Autopilot.max_marks == 1


BAD: list[tuple[dict[str, Any], str]] = [
    ({"arm": "both"}, "arm must be 'averaged', 'ordinary' or None, got 'both'"),
    ({"average": 0.8}, "average must be an Average, got 0.8"),
    ({"min_lr": 1.0, "max_lr": 1.0}, "min_lr must be < max_lr, got 1.0 and 1.0"),
    ({"max_lr": math.inf}, "max_lr must be finite and > 0"),
    ({"branch": 1}, "branch must be True or False"),
]


@pytest.mark.parametrize(("settings", "words"), BAD)
def test_a_bad_setting_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        Autopilot(**settings)


def test_an_averaged_flight_that_is_impossible_is_refused_and_not_chosen() -> None:
    context = Context(0.1, Progress(0, 1000), facts=replace(FACTS, averages=False))
    with pytest.raises(SettingError, match=r"momentum can be set to 0 .* Leave arm None"):
        Autopilot(arm="averaged").init(context)
    state = Autopilot().init(context)
    assert state.plan.arm == "ordinary" and "cannot be set to 0" in Autopilot().account(state)["why"]


# ----------------------------------------------------------- on a landscape


@pytest.mark.parametrize("arm", ["averaged", "ordinary"])
@pytest.mark.parametrize("total", [1, 2, 10, SHORTEST - 1, SHORTEST, 100, 400])
def test_it_flies_the_course_of_its_peak_and_pays_what_it_may(arm: Any, total: int) -> None:
    flown = simulate(Autopilot(arm=arm), LANDSCAPE, lr=0.1, total_steps=total)
    lrs, trials = flown.history.lrs, [e for e in flown.history.events if isinstance(e.action, Trial)]
    assert len(lrs) == total and bool(trials) == (total >= SHORTEST)
    assert flown.cost.steps <= search_allowance(total)
    peak = max(lrs)
    if arm == "averaged":
        assert lrs[-1] == peak and {leg.average for leg in flown.history.legs} == {Average(0.8, 1.0)}
    else:
        assert lrs[-1] == pytest.approx(peak / max(1, round(0.3 * total)))
        assert {leg.average for leg in flown.history.legs} == {None}
    if total >= 60:
        assert flown.final_loss < 0.5 * LANDSCAPE.held_out(LANDSCAPE.start())


@pytest.mark.parametrize("arm", ["averaged", "ordinary"])
def test_the_optimizers_own_lr_is_not_looked_at(arm: Any) -> None:
    flown = [simulate(Autopilot(arm=arm), LANDSCAPE, lr=0.1 * by, total_steps=150) for by in (1e-3, 1.0, 1e3)]
    assert flown[0].history.lrs == flown[1].history.lrs == flown[2].history.lrs
    assert flown[0].final_loss == flown[2].final_loss


class Shifted:
    """A landscape whose loss has another zero."""

    def __init__(self, by: float) -> None:
        self.by = by
        self.start, self.draw, self.step, self.mix = LANDSCAPE.start, LANDSCAPE.draw, LANDSCAPE.step, LANDSCAPE.mix

    def loss(self, state: Any, batch: Any) -> float:
        return LANDSCAPE.loss(state, batch) + self.by

    def held_out(self, state: Any) -> float:
        return LANDSCAPE.held_out(state) + self.by


@pytest.mark.parametrize("by", [-1.0, 1000.0, -1e6])
def test_the_zero_of_the_loss_is_free(by: float) -> None:
    plain, other = (simulate(Autopilot(), one, lr=0.1, total_steps=200) for one in (Shifted(0.0), Shifted(by)))
    assert other.history.lrs == pytest.approx(plain.history.lrs, rel=1e-4)


def test_after_a_tenth_it_looks_again_where_the_search_has_left_enough() -> None:
    for total, looks in ((200, False), (4000, True)):
        policy = Autopilot()
        flown = simulate(policy, LANDSCAPE, lr=0.1, total_steps=total)
        said = [e.reason.code for e in flown.history.events if e.reason is not None]
        assert ("branched" in said) == looks
        assert flown.cost.steps <= search_allowance(total)
    at = next(e.step for e in flown.history.events if e.reason is not None and e.reason.code == "branched")
    assert 400 <= at <= 400 + 2 * WATCH_EVERY
    none = simulate(Autopilot(branch=False), LANDSCAPE, lr=0.1, total_steps=4000)
    assert "branched" not in [e.reason.code for e in none.history.events if e.reason is not None]


# ----------------------------------------------------------- told by hand


def at(step: int, total: int | None) -> Progress:
    return Progress(step, None if total is None else total - step)


def in_flight(policy: Autopilot, total: int | None = 60, facts: Facts = FACTS) -> AutopilotState:
    """Marked, and about to fly (a training too short for a search, unless the end is open)."""
    state = policy.init(Context(0.1, at(0, total), facts=facts))
    while isinstance(policy.ask(state), Trial):
        state = policy.tell(state, TrialLosses(at(0, total), (2.0,) * 20, None, None, cost=20.0))
    assert isinstance(policy.ask(state), Mark)
    return policy.tell(state, Moved(at(0, total), "sound"))


def trained(policy: Autopilot, state: AutopilotState, losses: list[float], *, total: int | None = 60) -> AutopilotState:
    """Told of so many steps of its Train; the lrs of it are continued where it is asked anew."""
    assert isinstance(state.phase, Flying)
    train, step = policy.ask(state), state.step + len(losses)
    assert isinstance(train, Train)
    done = step - state.phase.since
    finished = done == train.steps or not math.isfinite(losses[-1])
    stop = StopReason.NON_FINITE if not math.isfinite(losses[-1]) else None
    return policy.tell(state, Trained(at(step, total), done, tuple(losses), None, finished, stop))


@pytest.mark.parametrize("arm", ["averaged", "ordinary"])
def test_a_loop_without_losses_keeps_the_course(arm: Any) -> None:
    """Once no losses come it asks for no more reports: another Train, which begins where the last one stood."""
    policy = Autopilot(arm=arm)
    state = in_flight(policy)
    before = policy.ask(state)
    assert isinstance(before, Train) and before.observe_every == WATCH_EVERY
    state = policy.tell(state, Trained(at(WATCH_EVERY, 60), WATCH_EVERY, (), 1.0, False, None))
    after = policy.ask(state)
    assert isinstance(after, Train) and after.observe_every is None
    assert after.shape.first(60 - WATCH_EVERY) == before.shape.first(60)[WATCH_EVERY:]
    assert after.steps == 60 - WATCH_EVERY


def test_where_the_training_dies_it_goes_back_at_half_the_lr() -> None:
    policy = Autopilot()
    state = in_flight(policy)
    state = trained(policy, state, [2.0, 2.1, 1.9, 2.0, 2.1, 1.9, 2.0, 2.1] + [1.0] * BLOCK)
    dying = trained(policy, state, [5.0, 6.0, 7.0, 8.0] * 4)
    assert policy.ask(dying) == Rewind("sound")
    said = policy.explain(state, Trained(at(32, 60), 32, (), None, False, None), dying)
    assert said is not None and said.code == "wrecked"
    back = policy.tell(dying, Moved(at(32, 60), "sound"))
    assert back.peak == 0.5 * state.peak
    now, then = policy.ask(back), policy.ask(state)
    assert isinstance(now, Train) and isinstance(then, Train)
    assert now.shape.first(28) == pytest.approx([0.5 * lr for lr in then.shape.first(60)[32:]])


@pytest.mark.parametrize("total", [1000, None])
def test_it_is_told_of_the_lrs_that_were_flown(total: int | None) -> None:
    policy, told = Autopilot(), []
    state = in_flight(policy, total)
    train = policy.ask(state)
    assert isinstance(train, Train)
    for _ in range(3):
        state = trained(policy, state, [2.0] * WATCH_EVERY, total=total)
        if policy.ask(state) == Mark("sound"):
            state = policy.tell(state, Moved(at(state.step, total), "sound"))
        told.append(state.watch.proven_lr)
    # proven is the smallest of a run of lrs that did not double: on the way up not the peak
    lrs = train.shape.first(3 * WATCH_EVERY)
    assert lrs[WATCH_EVERY] / 2 <= told[0] <= lrs[WATCH_EVERY] < state.peak and told == sorted(told)


def test_a_lower_peak_is_no_lower_lr_on_the_way_up_to_it() -> None:
    """In the rise each fall is at a higher lr than the last, though the peak is halved: none of them clears the lr."""
    policy, total = Autopilot(), None
    state = in_flight(policy, total)
    state = trained(policy, state, [2.0 + 0.01 * (i % 3) for i in range(BLOCK)] + [1.0] * BLOCK, total=total)
    dying = trained(policy, state, [9.0 + 0.01 * (i % 3) for i in range(BLOCK)], total=total)
    assert dying.watch.falls == 1 and dying.watch.fell_at < 0.6 * state.peak
    back = policy.tell(dying, Moved(at(dying.step, total), "sound"))
    again = trained(policy, back, [9.0 + 0.01 * (i % 3) for i in range(2 * BLOCK)], total=total)
    assert again.watch.verdict is Verdict.DYING and again.peak == 0.25 * state.peak


@pytest.mark.parametrize(("losses", "dies"), [((2.3, 2.3, 2.2, 5.0, 6.0, 7.0, 7.0, 7.0), True), ((2.05,) * 8, False)])
def test_a_death_in_the_very_first_steps_is_seen(losses: tuple[float, ...], dies: bool) -> None:
    policy = Autopilot()
    state = policy.tell(searched(lambda trial: bowl(trial, frozenset())), Moved(at(0, 1000), "sound"))
    after = trained(policy, state, list(losses), total=1000)
    assert (policy.ask(after) == Rewind("sound")) == dies


def test_one_bad_batch_is_not_the_lrs_fault() -> None:
    policy = Autopilot()
    state = in_flight(policy)
    state = trained(policy, state, [2.0, 2.1, 1.9, 2.0, 2.1, 1.9, 2.0, 2.1] + [1.0] * BLOCK)
    state = trained(policy, state, [1.0, math.nan])
    assert isinstance(policy.ask(state), Train) and state.watch.bad
    spoiled = trained(policy, state, [math.nan])
    assert policy.ask(spoiled) == Rewind("sound") and spoiled.peak == state.peak


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_the_last_step_may_have_spoiled_are_taken_back(bad: float) -> None:
    policy = Autopilot(arm="ordinary")
    state = trained(policy, in_flight(policy), [1.0] * 59 + [bad])
    assert policy.ask(state) == Rewind("sound")
    seen = Trained(at(60, 60), 60, (), None, True, StopReason.NON_FINITE)
    said = policy.explain(in_flight(policy), seen, state)
    assert said is not None and said.code == "bad_batch" and "back to the last mark" in said.sentence
    landed = policy.tell(state, Moved(at(60, 60), "sound"))
    assert policy.ask(landed) == policy.ask(trained(policy, in_flight(policy), [1.0] * 60))


def test_a_loss_that_has_risen_by_itself_gives_the_lr_back_and_the_course_goes_on() -> None:
    policy, total = Autopilot(arm="ordinary"), 4000
    state = in_flight(policy, total)
    peak, lowest = state.peak, state.peak
    state = trained(policy, state, [2.0 + 0.01 * (i % 3) for i in range(BLOCK)] + [1.0] * BLOCK, total=total)
    for _ in range(60):
        action = policy.ask(state)
        if isinstance(action, (Rewind, Mark)):
            state = policy.tell(state, Moved(at(state.step, total), "sound"))
        elif isinstance(action, Trial):
            state = policy.tell(state, TrialLosses(at(state.step, total), (9.0,) * action.steps, None, None, cost=1.0))
        else:
            lowest = min(lowest, state.peak)
            state = trained(policy, state, [9.0 + 0.01 * (i % 3) for i in range(WATCH_EVERY)], total=total)
            if state.peak > lowest:
                break
    assert lowest < peak / 100 and state.peak == peak
    assert isinstance(state.phase, Flying) and state.phase.since == state.step, "another Train begins here"


def test_what_was_not_asked_for_is_refused() -> None:
    policy = Autopilot()
    with pytest.raises(PolicyError, match="autopilot must be told of what it asked for, got TrialLosses"):
        policy.tell(in_flight(policy), TrialLosses(at(0, 60), (1.0,), None, None))


# ------------------------------------------------------- batches without a loss


def searched(losses_of: Callable[[Trial], TrialLosses], total: int = 1000) -> AutopilotState:
    """The state after the search, each Trial seen by a function."""
    policy = Autopilot()
    state = policy.init(Context(0.1, at(0, total), facts=FACTS))
    for _ in range(100):
        action = policy.ask(state)
        if not isinstance(action, Trial):
            return state
        observation = losses_of(action)
        after = policy.tell(state, observation)
        assert policy.explain(state, observation, after) is not None
        state = after
    raise AssertionError("the search does not end")


def bowl(trial: Trial, bad: frozenset[int]) -> TrialLosses:
    """A training whose best Trial is at 0.1, on a stream of batches of which some give no number."""
    losses, peak = [], max(trial.shape.first(trial.steps))
    for step in range(trial.steps):
        if trial.first + step in bad:
            return TrialLosses(at(0, 1000), (*losses, math.nan), None, StopReason.NON_FINITE, cost=float(step + 1))
        gain = 1.0 - 0.2 * math.log10(peak / 0.1) ** 2
        losses.append(2.0 + 0.05 * ((trial.first + step) * 7 % 5 - 2) - gain * step / trial.steps)
    return TrialLosses(at(0, 1000), tuple(losses), None, None, cost=float(trial.steps))


@pytest.mark.parametrize("bad", [{12}, {0}, {1}, {5, 30}, {3, 9}])
def test_a_batch_without_a_loss_in_the_trials_is_left_out(bad: set[int]) -> None:
    clean, state = searched(lambda t: bowl(t, frozenset())), searched(lambda t: bowl(t, frozenset(bad)))
    assert state.search.skipped in (1, 2) and state.search.pick is not None and clean.search.pick is not None
    assert abs(math.log10(state.search.pick.trial_lr / clean.search.pick.trial_lr)) < 0.3
    assert state.search.spent <= search_allowance(1000)


def test_where_no_batch_has_a_loss_the_lr_is_the_customary_one_and_it_is_said() -> None:
    policy = Autopilot()
    state = searched(lambda t: bowl(t, frozenset(range(10_000))))
    assert state.search.pick is None and state.peak == state.search.prior.lr
    fresh = policy.init(Context(0.1, at(0, 1000), facts=FACTS))
    seen = TrialLosses(at(0, 1000), (math.nan,), None, StopReason.NON_FINITE)
    said = policy.explain(fresh, seen, state)
    assert said is not None and said.code == "bad_data" and said.alarms


def test_what_no_second_step_survives_is_not_taken_for_bad_batches() -> None:
    """Every lr above a thousandth breaks at one place, wherever the batches begin: the way is down all the same."""

    def brittle(trial: Trial) -> TrialLosses:
        peak = max(trial.shape.first(trial.steps))
        if peak > 1.1e-3:
            return TrialLosses(at(0, 1000), (2.0, math.nan), None, StopReason.NON_FINITE, cost=2.0)
        losses = tuple(2.0 - (1.0 + 0.2 * math.log10(peak)) * step / trial.steps for step in range(trial.steps))
        return TrialLosses(at(0, 1000), losses, None, None, cost=float(trial.steps))

    state = searched(brittle)
    assert state.search.pick is not None and state.search.skipped <= 1
    assert 1e-4 < state.search.pick.trial_lr <= 1.1e-3 and state.peak < 0.05


def test_what_diverges_at_every_lr_is_flown_below_them_all() -> None:
    def diverging(trial: Trial) -> TrialLosses:
        losses = tuple(2.0 * 3.0**step for step in range(2 + round(-math.log10(trial.shape(trial.steps))) % 5))
        return TrialLosses(at(0, 1000), (*losses, math.inf), None, StopReason.NON_FINITE, cost=float(len(losses)))

    state = searched(diverging)
    assert state.search.pick is None and not state.search.skipped
    assert state.peak == pytest.approx(max(min(one.lr for one in state.search.probed) / 10, 1e-8))


# --------------------------------------------------------------- another end


@pytest.mark.parametrize("arm", ["averaged", "ordinary"])
def test_before_the_first_trial_all_is_planned_anew(arm: Any) -> None:
    policy = Autopilot(arm=arm)
    for before, after in ((1000, 5000), (1000, 60), (None, 300), (300, None)):
        state = policy.init(Context(0.1, at(0, before), facts=FACTS))
        planned = policy.init(Context(0.1, at(0, after), facts=FACTS))
        assert policy.replan(state, at(0, after)) == planned


def test_more_passes_than_planned_change_the_arm_only_before_the_first_trial() -> None:
    facts, policy = replace(FACTS, epoch_steps=10), Autopilot()
    state = policy.init(Context(0.1, at(0, 180), facts=facts))
    assert state.plan.arm == "averaged" and policy.replan(state, at(0, 500)).plan.arm == "ordinary"
    flying = policy.replan(in_flight(policy, 180, facts), at(90, 500))
    assert flying.plan.arm == "averaged" and flying.total == 500


@pytest.mark.parametrize(
    ("before", "at_step", "after"),
    [
        (1000, 300, 2000), (1000, 20, 4000), (1000, 300, 400), (1000, 850, 2000), (1000, 1000, 1600),
        (1000, 1000, 1010), (1000, 990, 1001), (1000, 850, 900), (None, 700, 1000), (1000, 800, None),
        (1000, 300, None), (1000, 999, 1000),
    ],
)  # fmt: skip
def test_an_ordinary_flight_goes_on_to_any_other_end(before: int | None, at_step: int, after: int | None) -> None:
    policy = Autopilot(arm="ordinary")
    state = replace(in_flight(policy, before), step=at_step)
    old = policy._course(state).first(at_step + 1)
    state = policy.replan(state, at(at_step, after))
    train = policy.ask(state)
    assert isinstance(train, Train)
    ahead = train.shape.first(2000 if after is None else after - at_step)
    assert min(ahead) > 0 and max(ahead) <= state.peak * (1 + 1e-12)
    climbs = [b - a for a, b in zip([old[-1], *ahead], ahead, strict=False)]
    assert max(climbs) <= state.peak / min(50, max(1, (2000 if after is None else after - at_step) // 2)) * 1.01 + 1e-12
    if after is None:
        assert ahead[-1] == pytest.approx(state.peak)
    elif after - at_step > 5:
        assert ahead[-1] < 0.2 * state.peak and train.shape(after - at_step) == 0.0


@pytest.mark.parametrize("after", [1500, 400, None])
def test_an_averaged_flight_is_the_same_whatever_its_end(after: int | None) -> None:
    policy = Autopilot(arm="averaged")
    state = replace(in_flight(policy, 1000), step=300)
    before = policy.ask(state)
    now = policy.ask(policy.replan(state, at(300, after)))
    assert isinstance(before, Train) and isinstance(now, Train)
    assert now.shape.first(100) == before.shape.first(1000)[300:400] and now.average == before.average


# ------------------------------------------------------------- the account


def test_its_account_is_plain_and_whole() -> None:
    policy = Autopilot()
    state = searched(lambda t: bowl(t, frozenset()))
    account = policy.account(state)
    assert json.loads(json.dumps(account)) == account
    assert account["arm"] == "averaged" and account["lr_given"] == 0.1
    assert account["interval"][0] < account["lr"] < account["interval"][1]
    lrs = [one["lr"] for one in account["trials"]]
    assert len(lrs) >= 3 and lrs == sorted(lrs) and account["search_steps"] == state.search.spent > 0
    fresh = policy.account(policy.init(Context(0.1, at(0, 60), facts=FACTS)))
    assert fresh["interval"] is None and fresh["trials"] == []
