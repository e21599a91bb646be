"""What Autopilot decides beforehand: how to fly, what the search may cost, and the lr of every step."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lrpilot.core.actions import Average
from lrpilot.core.policy import Facts
from lrpilot.policies.autopilot.course import Rise, course
from lrpilot.policies.autopilot.plan import (
    FEWEST_TRIALS,
    MANY_PASSES,
    Arm,
    make_plan,
    plan_search,
    search_allowance,
    warmup_steps,
)
from lrpilot.policies.peak_search.search import FEWEST_STEPS

AVERAGE = Average(0.8, 1.0)
SGD = Facts(averages=True, optimizer="sgd", momentum=0.9, epoch_steps=100)
SHORTEST = FEWEST_TRIALS * FEWEST_STEPS * 3  # steps of a training that a search is paid out of
TOTALS = st.one_of(st.integers(1, 200), st.integers(1, 10**7))


# ------------------------------------------------------------------- the arm

ARMS: list[tuple[Facts, int | None, Arm | None, Arm, str]] = [
    (SGD, 100, None, "averaged", "seen 1 times"),
    (SGD, 2000, None, "averaged", "seen 20 times, not more than 20"),
    (SGD, 2001, None, "ordinary", "seen 20 times, more than 20"),
    (SGD, None, None, "averaged", "not known"),
    (replace(SGD, epoch_steps=None), 10**6, None, "averaged", "not known"),
    (replace(SGD, pretrained=True), 100, None, "ordinary", "trained before"),
    (replace(SGD, averages=False), 100, None, "ordinary", "momentum cannot be set to 0"),
    (replace(SGD, averages=False), None, None, "ordinary", "momentum cannot be set to 0"),
    (replace(SGD, pretrained=True), 100, "averaged", "averaged", "asked for"),
    (SGD, 100, "ordinary", "ordinary", "asked for"),
]


@pytest.mark.parametrize(("facts", "total", "forced", "arm", "words"), ARMS)
def test_what_is_known_before_decides_how_it_is_flown(
    facts: Facts, total: int | None, forced: Arm | None, arm: Arm, words: str
) -> None:
    plan = make_plan(facts, total, forced, AVERAGE)
    assert plan.arm == arm and words in plan.why
    if arm == "averaged":
        assert plan.way.average == AVERAGE and plan.way.momentum == 0.0
    else:
        assert plan.way.average is None and plan.way.momentum is None


@given(st.integers(1, 10**5), st.integers(1, 10**6))
def test_more_passes_never_turn_an_ordinary_flight_into_an_averaged_one(epoch_steps: int, total: int) -> None:
    facts = replace(SGD, epoch_steps=epoch_steps)
    arms = [make_plan(facts, steps, None, AVERAGE).arm for steps in (total, 2 * total)]
    assert arms in (["averaged", "averaged"], ["averaged", "ordinary"], ["ordinary", "ordinary"])
    assert (arms[0] == "ordinary") == (total / epoch_steps > MANY_PASSES)


def test_a_momentum_is_set_to_zero_where_there_is_one() -> None:
    for momentum in (None, 0.0):
        assert make_plan(replace(SGD, momentum=momentum), 100, "averaged", AVERAGE).way.momentum is None


# ---------------------------------------------------------------- the search


@given(TOTALS)
@example(1)
@example(SHORTEST - 1)
@example(SHORTEST)
def test_the_search_never_costs_more_than_a_third_and_less_the_longer_the_training(total: int) -> None:
    allowance, longer = search_allowance(total), search_allowance(total + 1)
    assert 0 < allowance <= total / 3 * (1 + 1e-12)
    assert longer >= allowance and longer / (total + 1) <= allowance / total * (1 + 1e-12)


@pytest.mark.parametrize(("total", "most"), [(350, 0.25), (1400, 0.10), (10_000, 0.02)])
def test_its_share_is_what_is_promised(total: int, most: float) -> None:
    assert search_allowance(total) <= most * total * (1 + 1e-3)


@given(TOTALS, st.sampled_from(["averaged", "ordinary"]))
@example(SHORTEST - 1, "averaged")
@example(SHORTEST, "averaged")
def test_a_short_training_is_not_searched_for(total: int, arm: Arm) -> None:
    plan = make_plan(SGD, total, arm, AVERAGE)
    search = plan_search(plan, SGD, total, min_lr=1e-8, max_lr=1e3)
    trial = search.next_trial()
    assert (trial is None) == (total < SHORTEST)
    if trial is not None:
        assert FEWEST_TRIALS * trial.steps <= search_allowance(total) * (1 + 1e-9)
        assert trial.steps == search.steps <= total
        assert (trial.average, trial.momentum) == (plan.way.average, plan.way.momentum_shape)


def test_an_open_end_is_searched_for_and_the_prior_stays_within_the_bounds() -> None:
    plan = make_plan(SGD, None, None, AVERAGE)
    for low, high in ((1e-8, 1e3), (1e-8, 1e-4), (10.0, 1e3)):
        search = plan_search(plan, SGD, None, min_lr=low, max_lr=high)
        assert search.next_trial() is not None and low <= search.prior.lr <= high


# ---------------------------------------------------------------- the course

PEAKS = st.floats(1e-8, 1e3)


@st.composite
def courses(draw: st.DrawFn) -> tuple[float, Rise, int | None, bool]:
    """A peak, a rise that has room, an end or none."""
    total = draw(st.one_of(st.none(), st.integers(1, 400)))
    since = draw(st.integers(0, 300 if total is None else total - 1))
    low = draw(st.sampled_from([0.0, 1e-3, 1.0]))
    return draw(PEAKS), Rise(draw(st.integers(1, 60)), since, low), total, draw(st.booleans())


@given(courses(), st.data())
@example((0.1, Rise(1), 1, True), None)
@example((0.1, Rise(50), 2, True), None)
def test_legs_from_any_step_have_the_very_lrs_of_the_whole(
    flown: tuple[float, Rise, int | None, bool], data: st.DataObject | None
) -> None:
    peak, rise, total, decays = flown
    whole, end = course(peak, rise, total=total, decays=decays), 500 if total is None else total
    at = end - 1 if data is None else data.draw(st.integers(rise.since, end - 1))
    lrs = whole.first(end)
    assert whole.later(at).first(end - at) == lrs[at:]
    assert all(0 < lr <= max(peak, rise.low) * (1 + 1e-12) for lr in lrs[rise.since :])


@given(PEAKS, st.integers(1, 5000))
def test_it_rises_holds_and_comes_down_to_nothing_one_step_after_the_last(peak: float, total: int) -> None:
    rise = Rise(warmup_steps(total))
    lrs = course(peak, rise, total=total, decays=True).first(total + 1)
    top = lrs.index(max(lrs))
    assert max(lrs) == pytest.approx(peak) and lrs[total] == 0.0
    assert top < rise.steps and all(a < b for a, b in pairwise(lrs[: top + 1]))
    assert all(a >= b - 1e-12 * peak for a, b in pairwise(lrs[top:]))
    assert lrs[total - 1] == pytest.approx(peak / max(1, round(0.3 * total)))
    held = course(peak, rise, total=total, decays=False).first(total)
    assert held[: round(0.7 * total)] == pytest.approx(lrs[: round(0.7 * total)]) and held[-1] == pytest.approx(peak)


def test_by_hand() -> None:
    lrs = course(1.0, Rise(2), total=10, decays=True).first(11)
    assert lrs == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 1, 2 / 3, 1 / 3, 0])
    again = course(1.0, Rise(2, since=5, low=0.2), total=10, decays=True).first(10)
    assert again[5:] == pytest.approx([0.6, 1, 1, 2 / 3, 1 / 3])
    assert course(1.0, Rise(50), total=None, decays=True)(10**6) == 1.0


@given(courses())
def test_a_rise_begins_above_where_the_lr_was(flown: tuple[float, Rise, int | None, bool]) -> None:
    peak, rise, total, decays = flown
    shape = course(peak, rise, total=total, decays=decays)
    first, top = shape(rise.since), shape(rise.since + rise.steps - 1) if total is None else max(shape.values)
    assert first >= min(rise.low, top) * (1 - 1e-12) and math.isfinite(first)
