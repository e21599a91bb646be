"""WeightedFactors: what it asks and decides, and that it recovers from a start where the paper's setting is lost."""

import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrpilot.core.actions import (
    Action,
    Done,
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
)
from lrpilot.core.codec import decode, encode, record
from lrpilot.core.policy import Context
from lrpilot.core.stop import StopReason
from lrpilot.errors import PolicyError, SettingError
from lrpilot.flight.flight import Flight
from lrpilot.flight.landscape import NoisyQuadratic
from lrpilot.flight.simulation import SimulatedSubstrate, SimulationResult, simulate
from lrpilot.maths.weighting import combine_factors, powers_of_two
from lrpilot.policies.registry import get_policy
from lrpilot.policies.weighted_factors import PublishedWeightedFactors, WeightedFactors
from lrpilot.policies.weighted_factors.default import MAX_SHRINKS
from lrpilot.policies.weighted_factors.reading import POOL, mean_losses

Factors = WeightedFactors | PublishedWeightedFactors
NAN, INF = math.nan, math.inf
FIVE = powers_of_two(5)
HEAVY = NoisyQuadratic.log_spaced(10, condition=100.0, noise=0.1, momentum=0.9)
GOOD_LR = 0.1  # for HEAVY, whose training diverges above 3.8
TOO_LARGE = 200 * GOOD_LR


class Told:
    """Ask and tell by hand: takes the steps a flight would, and answers Lines with given losses."""

    def __init__(self, policy: Factors, *, lr: float = 1.0, total: int | None = 100) -> None:
        self.policy, self.total, self.step, self.actions = policy, total, 0, []
        self.state: Any = policy.init(Context(lr, self.progress))

    @property
    def progress(self) -> Progress:
        return Progress(self.step, None if self.total is None else self.total - self.step)

    @property
    def action(self) -> Action:
        return self.policy.ask(self.state)

    def tell(self, observation: Observation) -> None:
        self.actions: list[Action]
        self.actions.append(self.action)
        self.state = self.policy.tell(self.state, observation)

    def line(self, *rows: tuple[float, ...], step: bool = True) -> None:
        """Answer a Line with a row of losses for each batch; ``step`` False for a further one."""
        action = self.action
        assert isinstance(action, Line), action
        assert {len(row) for row in rows} == {len(action.factors)} and len(rows) == action.batches
        self.step += step
        self.tell(LineLosses(self.progress, action.factors, rows))

    def moved(self, kind: type[Mark] | type[Rewind]) -> None:
        action = self.action
        assert isinstance(action, kind), action
        self.tell(Moved(self.progress, action.key))

    def train(self, *, losses: tuple[float, ...] = (), stop: StopReason | None = None, goes_on: bool = False) -> Train:
        """Take as many steps as there are losses, all where there are none; it ``goes_on`` after a look."""
        action = self.action
        assert isinstance(action, Train), action
        taken = len(losses) or action.steps
        self.step += taken
        self.tell(Trained(self.progress, taken, losses, None, not goes_on, stop))
        return action


def sound(*candidates: float, no_step: float = 2.0) -> tuple[float, ...]:
    return (no_step, *candidates)


def default(**options: Any) -> WeightedFactors:
    return WeightedFactors(**{"window": 10, "batches": 1, "decay": 0.0} | options)


def begun(policy: Factors | None = None, **options: Any) -> Told:
    """Marked, and due to read its first Line."""
    told = Told(policy or default(), **options)
    told.moved(Mark)
    return told


# ------------------------------------------------------ the paper's setting


def test_the_papers_setting_by_hand() -> None:
    told = Told(WeightedFactors.paper(3, window=10), lr=0.4)
    assert told.action == Line((0.5, 1.0, 2.0), batches=1, first=0)
    told.line((3.0, 2.0, 1.0))
    train = told.train()
    # exponent (3.4033 − 0.29383) / 4.69713 = 0.66200; 0.4 · 2^0.66200 = 0.63291
    assert train.shape.first(9) == [pytest.approx(0.63291, abs=1e-5)] * 9 and train.steps == 9
    assert told.action == Line((0.5, 1.0, 2.0), batches=1, first=1), "a new random batch"
    told.line((1.0, 1.0, 1.0))
    assert told.train().shape(0) == train.shape(0), "equal losses leave the lr"


def test_published_numbers() -> None:
    paper = WeightedFactors.paper()
    assert (paper.num_factors, paper.batches, paper.window) == (5, 1, 0.01)
    assert WeightedFactors.paper(7).factors == (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    assert get_policy("weighted_factors_paper", num_factors=7) == WeightedFactors.paper(7)
    assert get_policy("weighted_factors", batches=4) == WeightedFactors(batches=4)


def test_several_scoring_batches_are_averaged() -> None:
    told = Told(WeightedFactors.paper(3, window=10, batches=2), lr=1.0)
    told.line((1.0, 5.0, 9.0), (5.0, 3.0, 1.0))
    assert told.train().shape(0) == combine_factors((0.5, 1.0, 2.0), (3.0, 4.0, 5.0))
    seen = LineLosses(Progress(0, 1), (1.0, 2.0), ((1.0, NAN), (3.0, 1.0)))
    assert mean_losses(seen) == (2.0, pytest.approx(NAN, nan_ok=True))


def test_as_published_the_line_holds_the_factors_alone_and_nothing_is_marked() -> None:
    result = simulate(WeightedFactors.paper(window=10), HEAVY, lr=GOOD_LR, total_steps=100)
    kinds = {type(event.action) for event in result.history.events}
    assert kinds == {Line, Train}
    assert result.cost.forwards == 10 * 5 and result.cost.backwards == 0


def test_as_published_losses_that_are_no_numbers_leave_the_lr_and_the_window_goes_on() -> None:
    told = Told(WeightedFactors.paper(3, window=10), lr=0.4)
    told.line((NAN, INF, NAN))
    told.train(losses=(NAN,), stop=StopReason.NON_FINITE)
    assert told.train().steps == 8, "of nine, and no Line before"
    assert told.state.lr == 0.4 and isinstance(told.action, Line)


def test_new_scoring_batches_come_from_a_pool() -> None:
    told = Told(WeightedFactors.paper(3, window=2, batches=10), total=100)
    firsts = []
    while isinstance(told.action, Line):
        firsts.append(told.action.first)
        told.line(*[(1.0, 1.0, 1.0)] * 10)
        told.train()
    assert firsts[:8] == [0, 10, 20, 30, 40, 50, 0, 10] and max(firsts) + 10 <= POOL


# ------------------------------------------------------------- the default


def test_a_window_of_the_default() -> None:
    told = begun(default(batches=2), lr=0.4)
    assert told.action == Line((0.0, *FIVE), batches=2, first=0)
    told.line(sound(1.9, 1.8, 1.7, 1.6, 1.5), sound(1.9, 1.8, 1.7, 1.6, 1.5))
    told.moved(Mark)
    train = told.train()
    assert train.steps == 9 and train.shape(0) == pytest.approx(0.4 * 2.26174, rel=1e-5)
    assert told.action == Line((0.0, *FIVE), batches=2, first=0), "the same batches, so that a rise means something"


def test_factors_that_end_above_no_step_count_nothing() -> None:
    told = begun()
    told.line(sound(1.9, 1.8, 1.7, 2.1, 50.0))
    told.moved(Mark)
    assert told.train().shape(0) == combine_factors((0.25, 0.5, 1.0), (1.9, 1.8, 1.7))


def test_a_loss_that_is_no_number_counts_nothing() -> None:
    told = begun(default(batches=2))
    told.line(sound(1.9, 1.8, 1.7, NAN, 1.0), sound(1.9, 1.8, 1.7, 1.0, INF))
    told.moved(Mark)
    assert told.train().shape(0) == combine_factors((0.25, 0.5, 1.0), (1.9, 1.8, 1.7))


def test_a_line_without_slope_leaves_the_lr() -> None:
    told = begun(lr=0.3)
    told.line(sound(2.0, 2.0, 2.0, 2.0, 2.0))
    told.moved(Mark)
    assert told.train().shape(0) == 0.3


def test_mild_harm_at_every_factor_lowers_the_lr_as_published() -> None:
    """Noise does this all the time: it is no reason to take anything back."""
    told = begun(default(batches=2), lr=1.0)
    rows = (1.9, 1.91, 1.92, 1.93, 1.94, 1.95), (2.1, 2.11, 2.12, 2.13, 2.14, 2.15)
    told.line(*rows)
    told.moved(Mark)
    assert told.train().shape(0) == pytest.approx(1 / 2.26174, rel=1e-5)


# ---------------------------------------------------------------- recovery


def test_a_step_that_wrecks_is_searched_for_a_size_that_helps_and_taken_back() -> None:
    told = begun(lr=100.0)
    told.line(sound(5.0, 9.0, 40.0, NAN, INF))
    shrunk = told.action
    assert isinstance(shrunk, Line) and (shrunk.batches, shrunk.first) == (1, 0)
    assert shrunk.factors == tuple(2.0**-j for j in (7, 6, 5, 4, 3)), "continues 2^-2 downwards without a gap"
    told.line((1.95, 1.9, 1.8, 1.9, 2.4), step=False)
    told.moved(Rewind)
    helpful = combine_factors((2.0**-7, 2.0**-6, 2.0**-5, 2.0**-4), (1.95, 1.9, 1.8, 1.9))
    assert helpful is not None
    train = told.train()
    assert train.shape(0) == pytest.approx(100.0 * helpful / 4), "a quarter of what one step asks for"
    assert train.steps == 1, "and the next decision is soon: 10 // 4 steps, its Line's own included"


def test_smaller_factors_are_read_while_they_are_the_better_ones() -> None:
    told = begun()
    told.line(sound(1.9, 4.0, 9.0, 9.0, 9.0))
    told.line((1.7, 1.75, 1.8, 1.85, 1.88), step=False)
    assert isinstance(told.action, Line), "2^-7 is the best so far"
    told.line((1.99, 1.98, 1.97, 1.9, 1.8), step=False)
    told.moved(Rewind)


def searched_in_vain(told: Told, bad: float) -> None:
    told.line(sound(bad, bad, bad, bad, bad))
    for _ in range(MAX_SHRINKS):
        told.line((bad,) * 5, step=False)
    told.moved(Rewind)


def test_where_no_factor_helps_the_lr_falls_and_the_search_ends() -> None:
    told = begun(lr=1.0)
    searched_in_vain(told, 9.0)
    assert told.train().shape(0) == 0.25


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_step_without_a_loss_at_any_size_is_a_bad_batch_until_it_comes_a_third_time(bad: float) -> None:
    told, lrs = begun(default(window=2), lr=1.0), []
    for _ in range(3):
        searched_in_vain(told, bad)
        lrs.append(told.train().shape(0))
    assert lrs == [1.0, 1.0, 0.25], "at an lr that has had no sound losses yet"


def test_a_window_that_wrecked_is_taken_back() -> None:
    told = begun(lr=1.0)
    told.line(sound(1.9, 1.8, 1.7, 1.6, 1.5))
    told.moved(Mark)
    before = told.train().shape(0)
    told.line(sound(1.0, 1.0, 1.0, 1.0, 1.0, no_step=2.5))  # above the start; what the Line says is of no use
    told.moved(Rewind)
    assert told.train().shape(0) == pytest.approx(before / 4)


def test_a_bad_batch_costs_a_window_and_not_the_lr() -> None:
    told = begun(lr=1.0)
    told.line(sound(1.9, 1.8, 1.7, 1.8, 1.9))
    told.moved(Mark)
    lr = told.train(losses=(1.9, 1.8, 1.9, 1.8, NAN), stop=StopReason.NON_FINITE).shape(0)
    assert told.train(losses=(NAN,), stop=StopReason.NON_FINITE).steps == 4, "of nine: are the weights left?"
    told.moved(Rewind)
    assert told.train().shape(0) == lr


def test_a_bad_batch_whose_step_the_loop_leaves_out_costs_nothing() -> None:
    told = begun(lr=1.0)
    told.line(sound(1.9, 1.8, 1.7, 1.8, 1.9))
    told.moved(Mark)
    told.train(losses=(1.9, 1.8, 1.9, 1.8, INF), stop=StopReason.NON_FINITE)
    assert told.train().steps == 4 and isinstance(told.action, Line)


def test_a_training_that_rises_before_it_has_no_loss_is_taken_back_at_a_lower_lr() -> None:
    told = begun(default(window=20, batches=2), lr=1.0)
    told.line(sound(1.9, 1.8, 1.7, 1.8, 1.9), sound(1.91, 1.81, 1.71, 1.81, 1.91, no_step=2.01))
    told.moved(Mark)
    lr = told.train(losses=(2.0, 2.5, 9.0, 80.0, 1e9, INF), stop=StopReason.NON_FINITE).shape(0)
    told.moved(Rewind)
    assert told.train().shape(0) == pytest.approx(lr / 4)


def test_a_training_that_dies_in_a_window_is_taken_back_before_its_end() -> None:
    """Before anything was gained: from the loss of the untrained weights to more, within eight steps."""
    told = begun(default(window=100, batches=2), lr=1.0, total=1000)
    told.line(sound(1.9, 1.8, 1.7, 1.8, 1.9), sound(1.91, 1.81, 1.71, 1.81, 1.91, no_step=2.01))
    told.moved(Mark)
    before = told.action
    assert isinstance(before, Train) and before.observe_every == 16
    told.train(losses=(2.0, 2.01, 1.9, 2.2, 3.6, 3.5, 3.6, 3.7, *(2.3,) * 8), goes_on=True)
    told.moved(Rewind)
    assert told.train().shape(0) == pytest.approx(before.shape(0) / 4)


def test_the_last_part_goes_straight_to_zero_from_what_the_last_decisions_agree_on() -> None:
    told, lrs = begun(default(decay=0.5), lr=1.0, total=100), []
    while told.step < 50:
        told.line(sound(1.9, 1.8, 1.7, 1.6, 1.5) if told.step % 20 else sound(1.5, 1.6, 1.7, 1.8, 1.9))
        told.moved(Mark)
        lrs.append(told.train().shape(0))
    train = told.train()
    begins = math.exp(sum(map(math.log, lrs[-5:])) / 5)
    assert [train.shape(i) for i in range(train.steps)] == pytest.approx([begins * (1 - i / 50) for i in range(48)])
    assert told.action == Line((0.0, 1.0), batches=1), "a look at the end"


def test_a_loss_reached_by_what_was_taken_back_is_no_longer_expected() -> None:
    """The low loss was read before a step that wrecked: the mark that is gone back to is an older, higher one."""
    told = begun(lr=1.0)
    told.line(sound(1.95, 1.93, 1.9, 1.93, 1.95))
    told.moved(Mark)
    told.train()
    told.line(sound(0.4, 3.0, 9.0, 9.0, 9.0, no_step=0.5))  # a great gain, and a step that loses it
    told.line((0.49, 0.48, 0.45, 0.42, 0.41), step=False)
    told.moved(Rewind)
    told.train()
    told.line(sound(1.8, 1.7, 1.6, 1.7, 1.8, no_step=1.9))
    told.moved(Mark)


def test_a_quarter_of_what_the_windows_gained_may_not_be_lost() -> None:
    told = begun(lr=1.0)
    for before in (2.0, 1.0):  # limit then: 1 + (2 − 1) / 4
        told.line(tuple(before + 0.1 * i for i in (0, -1, -2, -3, -2, -1)))
        told.moved(Mark)
        told.train()
    told.line(tuple(1.26 - 0.01 * i for i in range(6)))
    told.moved(Rewind)


def test_the_lr_stays_below_a_quarter_of_one_that_wrecked_and_the_limit_is_lifted_slowly() -> None:
    told = begun(default(window=2), lr=8.0, total=1000)
    told.line(sound(9.0, 9.0, 9.0, 9.0, 9.0))
    for _ in range(MAX_SHRINKS):
        told.line((9.0,) * 5, step=False)
    told.moved(Rewind)
    lrs = []
    for _ in range(20):
        lrs.append(told.train().shape(0))
        told.line(sound(1.9, 1.8, 1.7, 1.6, 1.5))  # always more
        told.moved(Mark)
    assert lrs == [pytest.approx(2.0 * 2 ** (i / 8)) for i in range(20)], "8 again after sixteen decisions"


def test_a_start_that_has_no_loss_ends_without_a_crash() -> None:
    result = simulate(default(), NoisyQuadratic((1.0,), start_at=INF), lr=0.1, total_steps=40)
    assert len(result.history.lrs) == 40 and all(0 < lr <= 0.1 for lr in result.history.lrs)


def test_what_the_last_window_wrecked_is_taken_back() -> None:
    told = begun(total=20)
    told.line(sound(1.9, 1.8, 1.7, 1.6, 1.5))
    told.moved(Mark)
    told.train()
    told.line(sound(1.6, 1.5, 1.4, 1.3, 1.2, no_step=1.7))
    told.moved(Mark)
    assert told.train().steps == 7, "two are left"
    assert told.action == Line((0.0, 1.0), batches=1)
    told.line((2.5, 2.5))
    told.moved(Rewind)
    assert told.train().steps == 1 and told.action == Done() and told.step == 20


def test_where_lines_cost_no_steps_the_very_last_step_is_looked_at_too() -> None:
    told = begun(default(batches=2), total=12)
    told.line(*[sound(1.9, 1.8, 1.7, 1.6, 1.5)] * 2)
    told.moved(Mark)
    assert told.train().steps == 8, "three are left"
    told.line((1.2, 1.1), (1.2, 1.1))
    told.moved(Mark)
    assert told.train().steps == 1
    told.line((2.5, 2.5), (2.5, 2.5))
    told.moved(Rewind)
    assert told.action == Done() and told.step == 12


def test_where_lines_are_paid_for_in_steps_the_last_look_is_the_last_thing() -> None:
    told = begun(total=20)
    told.line(sound(1.9, 1.8, 1.7, 1.6, 1.5))
    told.moved(Mark)
    told.train()
    told.line(sound(1.6, 1.5, 1.4, 1.3, 1.2, no_step=1.7))
    told.moved(Mark)
    told.train()
    told.total -= 1  # the cost of two forward passes
    told.line((2.5, 2.5))
    told.moved(Rewind)
    assert told.action == Done() and told.step == told.total == 19


def test_too_near_the_end_a_wreck_is_taken_back_without_a_search() -> None:
    told = begun(total=11)
    told.line(sound(1.9, 1.8, 1.7, 1.6, 1.5))
    told.moved(Mark)
    before = told.train().shape(0)
    told.line((2.5, 9.0))
    told.moved(Rewind)
    assert told.train().shape(0) <= before / 4


def test_a_sound_end_is_left_as_it_is() -> None:
    told = begun(total=11)
    told.line(sound(1.9, 1.8, 1.7, 1.6, 1.5))
    told.moved(Mark)
    assert told.train().steps == 8
    told.line((1.5, 1.4))
    told.moved(Mark)
    told.train()
    assert told.action == Done()


# -------------------------------------------------------------- simulations


def fly(policy: Factors, lr: float, *, seed: int = 0, steps: int = 1000) -> SimulationResult:
    return simulate(policy, HEAVY, lr=lr, total_steps=steps, seed=seed)


def test_it_recovers_from_200_times_too_large_an_lr_where_the_papers_setting_fails() -> None:
    start = HEAVY.held_out(HEAVY.start())
    for seed in range(3):
        good, recovered = fly(WeightedFactors(), GOOD_LR, seed=seed), fly(WeightedFactors(), TOO_LARGE, seed=seed)
        assert recovered.final_loss < 1.5 * good.final_loss < 0.1 * start
        assert any(isinstance(event.action, Rewind) for event in recovered.history.events)
        for num in (5, 7):
            published = fly(WeightedFactors.paper(num, window=50), TOO_LARGE, seed=seed)
            assert not published.final_loss < 1e6 * start
    assert fly(WeightedFactors.paper(window=50), GOOD_LR).final_loss < 0.1 * start, "from a good start it works"


@pytest.mark.parametrize("share", [1e-3, 1 / 30, 30.0, 1000.0])
def test_the_start_lr_hardly_matters(share: float) -> None:
    finals = [fly(WeightedFactors(), share * GOOD_LR, seed=seed).final_loss for seed in range(3)]
    assert float(np.median(finals)) < 1.5 * 10 * 0.1**2 / 2, "of the floor under any training"


def test_the_cost_is_as_stated() -> None:
    result = fly(WeightedFactors(), GOOD_LR)
    assert len(result.history.lrs) == 1000
    # 10 decisions of 6 factors on 2 batches, and a look at both ends of the last step and of the last but two
    assert result.cost.forwards == 10 * 12 + 2 * 4 and result.cost.backwards == 0


@record
class Rescaled:
    """HEAVY with its loss in another unit and from another zero, the steps the same."""

    scale: float
    shift: float

    def loss(self, state: Any, batch: Any) -> float:
        return self.scale * HEAVY.loss(state, batch) + self.shift

    def held_out(self, state: Any) -> float:
        return self.scale * HEAVY.held_out(state) + self.shift

    start, draw, step, mix = (staticmethod(getattr(HEAVY, name)) for name in ("start", "draw", "step", "mix"))


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([1e-3, 0.5, 7.0]), st.sampled_from([-3.0, 0.0, 2.0]), st.integers(0, 100))
def test_as_published_neither_unit_nor_zero_of_the_loss_matters(scale: float, shift: float, seed: int) -> None:
    policy = WeightedFactors.paper(window=20)
    own = simulate(policy, HEAVY, lr=GOOD_LR, total_steps=60, seed=seed).history.lrs
    other = simulate(policy, Rescaled(scale, shift), lr=GOOD_LR, total_steps=60, seed=seed).history.lrs
    assert other == pytest.approx(own, rel=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([2.0**-10, 0.5, 64.0]), st.sampled_from([GOOD_LR, TOO_LARGE]), st.integers(0, 100))
def test_the_default_does_not_depend_on_the_unit_of_the_loss(scale: float, lr: float, seed: int) -> None:
    own = simulate(default(), HEAVY, lr=lr, total_steps=60, seed=seed).history.lrs
    assert simulate(default(), Rescaled(scale, 0.0), lr=lr, total_steps=60, seed=seed).history.lrs == pytest.approx(own)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([-2.0, 3.0]), st.integers(0, 100))
def test_the_default_does_not_depend_on_the_zero_of_the_loss_beyond_rounding(shift: float, seed: int) -> None:
    """Only what counts as rounding is relative to the loss itself."""
    own = simulate(default(), HEAVY, lr=GOOD_LR, total_steps=60, seed=seed).history.lrs
    other = simulate(default(), Rescaled(1.0, shift), lr=GOOD_LR, total_steps=60, seed=seed).history.lrs
    assert other == pytest.approx(own, rel=1e-3)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([2.0**-8, 16.0]), st.sampled_from([0.05, 20.0]), st.booleans())
def test_a_landscape_of_another_scale_gives_lrs_of_that_scale(scale: float, lr: float, recover: bool) -> None:
    policy = default() if recover else WeightedFactors.paper(window=10)

    def lrs(unit: float) -> list[float]:
        land = NoisyQuadratic((1.0 / unit, 0.1 / unit))
        return simulate(policy, land, lr=lr * unit, total_steps=60).history.lrs

    assert [value / scale for value in lrs(scale)] == pytest.approx(lrs(1.0))


@given(st.lists(st.one_of(st.floats(), st.sampled_from([NAN, INF, 2.0])), min_size=6, max_size=6), st.booleans())
def test_a_decision_stays_within_the_factors_and_the_bounds(losses: list[float], recover: bool) -> None:
    bounds = {"min_lr": 0.3, "max_lr": 3.0}
    told = Told(default(**bounds) if recover else PublishedWeightedFactors(window=10, **bounds), lr=1.0)
    if recover:
        told.moved(Mark)
        told.line(tuple(losses))
    else:
        told.line(tuple(losses[1:]))
    for _ in range(MAX_SHRINKS):
        if isinstance(told.action, Line):
            told.line((NAN,) * 5, step=False)
    if isinstance(told.action, Mark | Rewind):
        told.moved(type(told.action))
    assert max(0.3, 0.25) <= told.train().shape(0) <= 3.0


# ----------------------------------------------------- purity, round trip


@pytest.mark.parametrize("lr", [1e-3, GOOD_LR, TOO_LARGE, 1e4])
@pytest.mark.parametrize("policy", [default(), WeightedFactors(7, window=4), WeightedFactors.paper(window=7)])
def test_every_state_survives_json_and_goes_on_the_same(policy: Factors, lr: float) -> None:
    def saved(value: Any) -> Any:
        return decode(json.loads(json.dumps(encode(value))))

    result = simulate(policy, HEAVY, lr=lr, total_steps=50)
    state = policy.init(Context(lr, Progress(0, 50)))
    for event in result.history.events:
        assert policy.ask(state) == policy.ask(saved(state)) == event.action
        assert event.observation is not None
        frozen = encode(state)
        after = policy.tell(saved(state), event.observation)
        assert encode(policy.tell(state, event.observation)) == encode(after), "told twice, the same"
        assert encode(state) == frozen, "nothing was changed in place"
        state = after


@pytest.mark.parametrize("stop", [1, 2, 3, 7, 24, 48])
def test_a_flight_resumed_in_a_recovery_goes_on_as_it_would_have(stop: int) -> None:
    def flight() -> Flight:
        return Flight(default(), SimulatedSubstrate(HEAVY), lr=TOO_LARGE, horizon=lambda step: 50 - step)

    def to(made: Flight, step: int) -> Flight:
        made.start()
        while made.step < step:
            made.kept(made.substrate.step(made.lr, made.momentum))
        return made

    whole, first = to(flight(), 50), to(flight(), stop)
    resumed = flight()
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    resumed.substrate = first.substrate
    assert to(resumed, 50).history.lrs == whole.history.lrs


# ------------------------------------------------------------ horizon, rules


@given(st.integers(1, 60), st.integers(2, 25), st.booleans())
def test_it_ends_where_the_training_ends(total: int, window: int, recover: bool) -> None:
    policy = WeightedFactors(window=window) if recover else WeightedFactors.paper(window=window)
    result = simulate(policy, HEAVY, lr=GOOD_LR, total_steps=total)
    assert len(result.history.lrs) == total and min(result.history.lrs) > 0


@pytest.mark.parametrize(("total", "lines"), [(30, 3), (35, 3), (36, 4)])
def test_no_decision_is_taken_for_less_than_half_a_window(total: int, lines: int) -> None:
    result = simulate(WeightedFactors.paper(window=10), HEAVY, lr=GOOD_LR, total_steps=total)
    assert result.cost.lines == lines and len(result.history.lrs) == total


def test_a_window_is_a_fraction_of_the_training_or_a_number_of_steps() -> None:
    assert Told(WeightedFactors(window=0.05), total=1000).state.window == 50
    assert Told(WeightedFactors(window=0.05), total=10).state.window == 2
    assert Told(WeightedFactors(window=93), total=None).state.window == 93


def test_an_open_end() -> None:
    told = begun(total=None)
    for _ in range(30):
        told.line(sound(1.9, 1.8, 1.7, 1.8, 1.9))
        told.moved(Mark)
        assert told.train().steps == 9
    with pytest.raises(SettingError, match="A window that is a fraction needs a known horizon"):
        Told(WeightedFactors(), total=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_factors": 4}, "num_factors must be odd and >= 3, so that 1 is among them, got 4"),
        ({"num_factors": 1}, "num_factors must be odd and >= 3"),
        ({"num_factors": 5.0}, "num_factors must be a whole number"),
        ({"window": 1}, "window must be an int >= 2"),
        ({"window": 1.0}, "window must be an int >= 2"),
        ({"window": NAN}, "window must be an int >= 2"),
        ({"window": True}, "window must be an int >= 2"),
        ({"window": "epoch"}, "window must be an int >= 2"),
        ({"batches": 0}, r"batches must be in \[1, 64\], got 0"),
        ({"batches": 65}, r"batches must be in \[1, 64\], got 65"),
        ({"min_lr": 0.0}, "min_lr must be a finite number > 0"),
        ({"min_lr": 2.0, "max_lr": 1.0}, "min_lr must be < max_lr"),
    ],
)
def test_settings_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        WeightedFactors(**options)


def test_numpy_numbers_are_settings_too() -> None:
    assert Told(WeightedFactors(np.int64(5), window=np.int64(7), batches=np.int64(2))).state.window == 7


def test_an_lr_out_of_bounds_is_refused_and_not_repaired() -> None:
    with pytest.raises(SettingError, match=r"must lie in \[1e-10, 0.5\], got 1.0"):
        Told(WeightedFactors(max_lr=0.5), lr=1.0)


def test_it_is_told_what_it_asked_for() -> None:
    told = begun()
    with pytest.raises(PolicyError, match="weighted_factors must be told of what it asked for, got HeldOut"):
        told.tell(HeldOut(told.progress, 1.0))


def test_losses_along_a_step_are_refused_where_it_asked_for_a_train() -> None:
    told = begun()
    told.line(sound(2.0, 2.0, 2.0, 2.0, 2.0))
    told.moved(Mark)
    assert isinstance(told.action, Train)
    for seen in (LineLosses(told.progress, (1.0,), ((2.0,),)), Moved(told.progress, "good")):
        with pytest.raises(PolicyError, match=f"must be told of what it asked for, got {type(seen).__name__}"):
            told.tell(seen)


# --------------------------------------------------------------- the example


def load_example() -> Any:
    path = Path(__file__).parents[2] / "examples" / "weighted_factors.py"
    spec = importlib.util.spec_from_file_location("weighted_factors_example", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = load_example()
    monkeypatch.setattr(module, "EPOCHS", 8)
    return module


def test_the_example_recovers_where_the_constant_lr_and_the_papers_setting_do_not(
    example: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example.main()
    rows = capsys.readouterr().out.splitlines()
    accuracy = [float(row.split("accuracy")[1].split("%")[0]) for row in rows]
    good, constant, paper, default_ = accuracy
    assert good > 90 and constant < 50 and paper < 50 and default_ > 85


def test_from_the_first_step_on_the_pilot_writes_what_the_policy_decided(example: Any) -> None:
    policy: Callable[..., WeightedFactors] = WeightedFactors
    accuracy, lrs, cost = example.train(policy(window=0.5), 0.1)
    assert 0 <= accuracy <= 1 and len(lrs) == 8 and lrs[0] != 0.1 and cost > 0
