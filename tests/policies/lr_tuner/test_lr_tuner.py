"""LRTuner flown by hand, on losses written down for the occasion, and on quadratics."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest

from lrpilot.core.actions import (
    Action,
    Done,
    Drop,
    HeldOut,
    Line,
    LineLosses,
    Mark,
    Moved,
    Progress,
    Rewind,
    Train,
    Trained,
)
from lrpilot.core.codec import decode, encode
from lrpilot.core.policy import Context
from lrpilot.core.stop import StopReason
from lrpilot.errors import PolicyError, SettingError
from lrpilot.flight.flight import Flight
from lrpilot.flight.landscape import NoisyQuadratic
from lrpilot.flight.simulation import SimulatedSubstrate, SimulationResult, simulate
from lrpilot.policies.guard import Guard, Health, LossWatch
from lrpilot.policies.lr_tuner import LRTuner, PublishedLRTuner
from lrpilot.policies.lr_tuner.published import PAPER_FACTORS
from lrpilot.policies.lr_tuner.rules import undone
from lrpilot.policies.lr_tuner.state import (
    Annealing,
    LossDrop,
    LRChange,
    LRTunerState,
    Origin,
    PresentLR,
    ReadingSuperbatch,
    Restart,
    RewindingWindow,
    TrainingWindow,
)
from lrpilot.policies.to_zero import ToZero

NAN, INF = math.nan, math.inf
# (kept steps, lr, factor, batch) -> loss
Losses = Callable[[int, float, float, int], float]
Tuner = LRTuner | PublishedLRTuner

DEFAULT = LRTuner(0.5, window=10, overhead=None)  # but for its short windows
SATURATING = replace(DEFAULT, exploit="saturation")
PUBLISHED = PublishedLRTuner(0.5, window=10, superbatch=3, saturation=10, clip=1.0)
EXPLORING = replace(SATURATING, explore=1.0)


@dataclass
class Flown:
    """What a policy asked for, and at which lr every kept step was taken."""

    actions: list[Action] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    lrs: list[float] = field(default_factory=list)
    state: LRTunerState = None  # type: ignore[assignment]

    @property
    def lines(self) -> list[Line]:
        """The Lines with more than one factor, and the checks of predictions."""
        return [a for a in self.actions if isinstance(a, Line) and a.factors != (1.0,)]

    def steps_of(self, kind: type) -> list[int]:
        return [at for at, action in zip(self.at, self.actions, strict=True) if isinstance(action, kind)]


def fly(policy: Tuner, losses: Losses, *, lr: float = 0.1, total: int | None = 100, fail: Any = None) -> Flown:
    """Ask and tell to the end (200 steps of an open horizon).

    ``fail(step, lr)`` ends a Train with a NaN in its second step: the first loss is that of the weights before it. No
    weights are left then, until a Rewind.
    """
    flown, step, held, spoiled = Flown(), 0, False, False
    state = policy.init(Context(lr, Progress(0, total)))
    present = lr
    while step < (200 if total is None else total):
        action = policy.ask(state)
        flown.actions.append(action)
        flown.at.append(step)
        if isinstance(action, Done):
            break
        if isinstance(action, Train):
            held, stop, steps = False, None, action.steps
            present = action.shape(0)
            if spoiled:
                stop, steps = StopReason.NON_FINITE, 1
            elif fail is not None and fail(step, present) and (steps > 1 or step == 0):
                stop, steps, spoiled = StopReason.NON_FINITE, min(2, steps), step > 0
            taken = action.shape.first(steps)
            told = tuple(losses(step + i, at, 1.0, (step + i) % 4) for i, at in enumerate(taken))
            flown.lrs += taken
            step, present = step + steps, taken[-1]
            seen: Any = Trained(_here(step, total), steps, told, None, True, stop)
        elif isinstance(action, Line):
            if not held:
                step, held = step + 1, True
                flown.lrs.append(present)
            batches = range(action.first, action.first + action.batches)
            table = tuple(tuple(losses(step, present, s, b) for s in action.factors) for b in batches)
            table = ((NAN,) * len(action.factors),) * action.batches if spoiled else table
            seen = LineLosses(_here(step, total), action.factors, table)
        else:
            held, spoiled = held and not isinstance(action, Rewind), spoiled and not isinstance(action, Rewind)
            assert isinstance(action, (Drop, Mark, Rewind))
            seen = Moved(_here(step, total), action.key)
        state = decode(json.loads(json.dumps(encode(policy.tell(state, seen)))))
    flown.state = state
    return flown


def _here(step: int, total: int | None) -> Progress:
    return Progress(step, None if total is None else total - step)


def bowl(*, best_lr: float = 0.2, fall: float = 0.01) -> Losses:
    """Falls by ``fall`` a step; every Line is a parabola with its minimum where lr times factor is ``best_lr``."""

    def loss(step: int, lr: float, factor: float, batch: int) -> float:
        u = factor * lr / best_lr
        return 5.0 - fall * step + 0.3 * batch + 0.1 * ((u - 1) ** 2 - (lr / best_lr - 1) ** 2)

    return loss


def said(actions: list[Action]) -> list[str]:
    """One word an action: train9, line1x3 (factors x batches), mark, ..."""
    words = []
    for action in actions:
        if isinstance(action, Train):
            words.append(f"train{action.steps}")
        elif isinstance(action, Line):
            words.append(f"line{len(action.factors)}x{action.batches}@{action.first}")
        else:
            words.append(type(action).__name__.lower())
    return words


# ------------------------------------------------------------- the papers


@pytest.mark.parametrize(
    ("name", "explore", "saturation", "clip", "lr", "window"),
    [
        ("mnist", 10 / 50, 100, 1e-3, 0.1, 0.01),
        ("fashion-mnist", 10 / 50, 100, 1e-3, 0.1, 0.01),
        ("cifar10", 100 / 200, 100, 5e-3, 0.1, 1000),
        ("imagenet", 25 / 90, 500, 1e-3, 0.1, 1 / 180),
        ("iwslt", 8 / 50, 5, 1e-9, 5e-5, 0.01),
        ("squad", 0.45 / 2, 2, 1e-12, 2e-5, 0.05),
    ],
)
def test_the_six_rows_of_the_paper(
    name: str, explore: float, saturation: float, clip: float, lr: float, window: float
) -> None:
    made = LRTuner.paper(name)
    assert (made.explore, made.saturation, made.clip, made.lr) == (explore, saturation, clip, lr)
    assert made.window == window and type(made.window) is type(window)
    assert (made.superbatch, made.step_factor) == (100, 1.0)
    assert type(made) is PublishedLRTuner and made.name == "lr_tuner_paper"


def test_seeds_follow_the_optimizer() -> None:
    assert LRTuner.paper("mnist", optimizer="adam").lr == 1e-3
    assert LRTuner.paper("cifar10", optimizer="sgd").lr == 0.1
    with pytest.raises(SettingError, match="papers' row 'iwslt' must be one of adam, got 'sgd'"):
        LRTuner.paper("iwslt", optimizer="sgd")
    with pytest.raises(SettingError, match="Did you mean 'cifar10'"):
        LRTuner.paper("cifar")
    with pytest.raises(SettingError, match="epochs must be > 0"):
        LRTuner.paper("mnist", epochs=0)


def test_windows_and_superbatches_are_counted_in_your_epochs() -> None:
    # 15 epochs of 188 steps: two windows an epoch, one superbatch of 100 in it
    made = LRTuner.paper("fashion-mnist", epochs=15)
    layout = made.init(Context(0.1, Progress(0, 15 * 188))).layout
    assert (layout.window, layout.superbatch, layout.superbatches) == (94, 100, 1)
    # 40 batches an epoch: no superbatch is larger
    layout = made.init(Context(0.1, Progress(0, 15 * 40))).layout
    assert (layout.window, layout.superbatch, layout.superbatches) == (20, 40, 1)
    layout = LRTuner.paper("cifar10").init(Context(0.1, Progress(0, 200 * 391))).layout
    assert (layout.window, layout.superbatch, layout.superbatches) == (1000, 100, 3)


def test_a_published_window_by_hand() -> None:
    # s* = 2 at lr 0.1, ε* = 0.1; the loss is about 5, so that the clip allows 1.7
    flown = fly(PUBLISHED, bowl(), total=40)
    assert said(flown.actions)[:8] == [
        "train1",  # at the seed lr
        "line1x3@0",  # the loss where the first window begins
        "mark",
        "train9",
        "line1x3@0",  # and where it ends
        "line5x3@3",  # the decision, on the next superbatch, whose loss at factor 1 begins the next window
        "mark",
        "train9",
    ]
    assert flown.lines[0].factors == PAPER_FACTORS
    assert flown.lrs[:12] == [0.1] * 12 and flown.lrs[12:22] == pytest.approx([0.2] * 10)
    tally = flown.state.tally
    assert (tally.lines, tally.changes, tally.bounded, tally.clipped) == (1, 1, 0, 0)
    assert tally.forwards == 6 + 15 + 2 * 6, "one superbatch ends a window, another begins the next"


def test_superbatches_take_turns_within_an_epoch() -> None:
    policy = replace(PUBLISHED, epochs=10, superbatch=3)  # 100 steps: 10 batches an epoch, 3 superbatches
    firsts = [a.first for a in fly(policy, bowl(fall=0.0)).actions if isinstance(a, Line) and len(a.factors) == 1]
    assert set(firsts) == {0, 3, 6}


# ------------------------------------------------------ explore and exploit


@pytest.mark.parametrize("policy", [PUBLISHED, SATURATING], ids=["published", "ours"])
def test_explore_accepts_increases_only(policy: Tuner) -> None:
    up = fly(policy, bowl(best_lr=0.2))
    assert max(up.lrs) == pytest.approx(0.2)
    down = fly(policy, bowl(best_lr=0.05))
    assert set(down.lrs[2:50]) == {0.1}, "a decrease is refused"
    assert len([a for a, at in zip(down.actions, down.at, strict=True) if a in down.lines and at < 50]) >= 4


@pytest.mark.parametrize("policy", [PUBLISHED, SATURATING], ids=["published", "ours"])
def test_exploit_asks_only_when_saturated(policy: Tuner) -> None:
    steady = fly(replace(policy, explore=0.0), bowl(best_lr=0.05))
    assert not steady.lines and set(steady.lrs[2:]) == {0.1}, "the loss falls as fast as it did: no Line at all"
    stalled = fly(replace(policy, explore=0.0), lambda step, *at: bowl(best_lr=0.05)(min(step, 40), *at))
    assert stalled.lines and stalled.lrs[-1] == pytest.approx(0.05)
    assert stalled.state.absolute == 0.0, "the drop rate at the first crossing"
    rising = fly(replace(policy, explore=0.0), lambda step, *at: bowl(best_lr=0.4)(min(step, 40), *at))
    assert rising.lines and set(rising.lrs[2:]) == {0.1}, "an increase is refused"


def test_the_threshold_turns_absolute_at_the_first_crossing() -> None:
    def loss(step: int, lr: float, factor: float, batch: int) -> float:
        # Rate 1, then 0.08 from step 22 on, then 0.09 from step 32: a ratio of 12, and later one of 11.
        fallen = min(step, 22) + 0.08 * max(0, min(step, 32) - 22) + 0.09 * max(0, step - 32)
        return 100.0 - fallen + 0.1 * (factor - 1.1) ** 2

    flown = fly(replace(PUBLISHED, explore=0.0), loss)
    assert flown.state.absolute == pytest.approx(0.08)
    asked = [at for at, action in zip(flown.at, flown.actions, strict=True) if action in flown.lines]
    assert asked == [32], "0.09 a step is above the absolute threshold, and 11 above the relative one"


def test_explore_zero_is_the_papers_no_explore() -> None:
    """Decreases from the first saturated window on, which explore refuses."""

    def stalls(step: int, lr: float, factor: float, batch: int) -> float:
        return bowl(best_lr=0.02)(min(step, 12), lr, factor, batch)

    without, half = (fly(replace(PUBLISHED, explore=explore), stalls) for explore in (0.0, 0.5))
    assert without.lrs[30] < 0.1 == half.lrs[30]
    assert half.lrs[-1] < 0.1
    assert max(without.lrs) == 0.1


@pytest.mark.parametrize("policy", [PUBLISHED, SATURATING], ids=["published", "ours"])
def test_a_held_explore_reads_no_line(policy: Tuner) -> None:
    flown = fly(replace(policy, explore_lr="held"), bowl(best_lr=0.2))
    assert set(flown.lrs[2:50]) == {0.1}
    assert not [a for a, at in zip(flown.actions, flown.at, strict=True) if a in flown.lines and at < 50]


def test_a_linear_end_goes_straight_to_zero() -> None:
    flown = fly(DEFAULT, bowl(best_lr=0.2))
    assert flown.lrs[49] == pytest.approx(0.2)
    assert flown.lrs[50:] == pytest.approx([0.2 * (1 - i / 50) for i in range(50)])
    alone = fly(replace(DEFAULT, explore=0.0), bowl())
    assert alone.lrs[2:] == pytest.approx([0.1 * (1 - i / 100) for i in range(2, 100)])


# ---------------------------------------------------------------- rollback


def test_a_published_change_is_undone_where_the_drop_rate_falls() -> None:
    def loss(step: int, lr: float, factor: float, batch: int) -> float:
        slower = 0.2 if lr > 0.15 else 1.0  # the loss falls five times more slowly at the larger lr
        return 100.0 - slower * step + bowl()(0, lr, factor, batch)

    flown = fly(PUBLISHED, loss, total=60)
    assert flown.state.tally.undone >= 1
    undone = flown.steps_of(Rewind)[0]
    assert undone == 22 and said(flown.actions)[8:14] == [
        "line1x3@3",
        "rewind",
        "train1",
        "line1x3@3",
        "mark",
        "train9",
    ]
    assert flown.lrs[12:22] == pytest.approx([0.2] * 10) and flown.lrs[22:34] == [0.1] * 12


def test_the_default_undoes_what_did_harm_and_remembers_it() -> None:
    def loss(step: int, lr: float, factor: float, batch: int) -> float:
        rise = 2.0 * lr if lr > 0.15 else 0.0
        return 5.0 + 0.3 * batch + rise + 0.1 * (factor * lr / 0.2 - 1) ** 2 - 1e-4 * step

    flown = fly(EXPLORING, loss, total=60)
    assert flown.state.tally.undone == 1 and flown.steps_of(Rewind) == [22]
    assert flown.state.guard.ceiling == pytest.approx(math.sqrt(0.1 * 0.2))
    assert sorted(set(flown.lrs[23:]))[-1] == pytest.approx(math.sqrt(0.1 * 0.2)), "half way to what failed"
    assert flown.state.trust.radius <= 1.0


def test_an_undone_change_leaves_the_drop_rates_of_the_old_lr() -> None:
    old = (LossDrop(10, 5.0), LossDrop(10, 1.0))
    state = replace(SATURATING.init(Context(0.1, Progress(0, 100))), marked=True)
    change = LRChange(0.1, old)
    back = undone(replace(state, present=PresentLR(0.3, (LossDrop(10, -3.0),), change)))
    assert back.present == PresentLR(0.1, old, None) and back.phase == RewindingWindow()
    back = undone(replace(state, present=PresentLR(0.05, (), change)))
    assert back.guard.ceiling == INF, "a failed decrease sets no limit"


def test_weights_lost_again_and_again_at_an_lr_rewind_and_halve_it() -> None:
    tuner, bad = replace(SATURATING, window=3), lambda step, lr: lr > 0.03 and step > 2
    flown = fly(tuner, bowl(best_lr=0.1), fail=bad, total=60)
    lrs = [lr for lr, before in zip(flown.lrs[2:], flown.lrs[1:], strict=False) if lr != before]
    # Four bad batches in a row are the lr's fault; after that every further one is.
    assert lrs == pytest.approx([0.1, 0.05, 0.025])
    assert len(flown.steps_of(Rewind)) == flown.state.tally.diverged == 4 + 1


def test_what_a_fresh_start_reads_before_it_has_a_mark_is_not_held_against_the_beginning() -> None:
    """A lower level there made a wreck of the beginning itself, at every lr down to nothing."""
    health = Health(2.3, 2.3, 0.01)
    begins = replace(
        DEFAULT.init(Context(0.1, Progress(0, 100))),
        phase=ReadingSuperbatch(),
        marked=True,
        placed=True,
        guard=Guard(health),
        origin=Origin(health, LossWatch()),
        restart=Restart(PresentLR(0.1), 0.4, health, LossWatch()),
    )
    after = DEFAULT.tell(begins, LineLosses(Progress(20, 80), (1.0,), ((2.2,),) * 4))
    assert after.guard.health == health and isinstance(after.phase, TrainingWindow)


def test_without_a_mark_there_is_nothing_to_rewind_to() -> None:
    flown = fly(SATURATING, bowl(), fail=lambda step, lr: step < 1, total=30)
    assert not [at for at in flown.steps_of(Rewind) if at < 3]
    assert flown.lrs[:2] == pytest.approx([1e-4, 1e-4]), "the very first loss is no lr's fault"


def test_a_wreck_counts_as_diverged() -> None:
    def loss(step: int, lr: float, factor: float, batch: int) -> float:
        return 2.0 + 0.01 * batch + (50.0 if lr > 0.06 else -1e-3 * step)

    flown = fly(SATURATING, loss, total=60)
    assert flown.state.tally.diverged == 1 and flown.lrs[-1] == 0.025, "a quarter, where it may rise again"
    literal = fly(PUBLISHED, loss, total=60)
    assert literal.state.tally.diverged == 0, "the papers know no such rule"


# --------------------------------------------------------------- the default


def test_a_certain_decision_takes_two_batches_and_a_check() -> None:
    flown = fly(SATURATING, bowl(best_lr=0.16), total=30)
    assert said(flown.actions)[:10] == [
        "train1",
        "line1x4@0",
        "mark",
        "train9",
        "line1x4@0",
        "line2x2@0",  # factor 1 is known on these
        "line1x2@0",  # the prediction
        "mark",
        "train9",
        "line1x4@0",
    ]
    assert flown.lrs[:2] == pytest.approx([1e-4] * 2), "two steps that hardly move, to have a place to go back to"
    assert flown.lrs[12:22] == pytest.approx([0.16] * 10)
    assert flown.actions[6] == Line((pytest.approx(1.6),), 2)  # type: ignore[arg-type]


def test_an_uncertain_one_reads_more_and_holds() -> None:
    def loss(step: int, lr: float, factor: float, batch: int) -> float:
        return 5.0 - 0.01 * step + (factor - 1) * (-1) ** batch + (factor - 1) ** 2

    flown = fly(replace(EXPLORING, max_batches=16), loss, total=15)
    assert said(flown.lines) == ["line2x2@0", "line2x2@2", "line3x4@4", "line3x8@8"]
    assert set(flown.lrs[2:]) == {0.1}
    assert said(fly(replace(EXPLORING, max_batches=4), loss, total=15).lines) == ["line2x2@0", "line2x2@2"]


def test_a_prediction_that_fails_narrows_the_line_until_it_holds() -> None:
    def loss(step: int, lr: float, factor: float, batch: int) -> float:
        x = factor - 1.0
        return 5.0 - 0.01 * step + 0.3 * batch - x + 0.01 * x * x + 3.0 * x**3

    flown = fly(EXPLORING, loss, total=15)
    widths = [line.factors[-1] - line.factors[0] for line in flown.lines if len(line.factors) == 2]
    assert widths == pytest.approx([1.0, 0.5, 0.25])
    assert flown.state.trust.radius == 0.25 and flown.lrs[-1] == pytest.approx(0.1 * 1.25)


def test_after_three_widths_it_holds() -> None:
    def loss(step: int, lr: float, factor: float, batch: int) -> float:
        return 5.0 - 0.01 * step + (INF if factor > 1 else 0.0)

    flown = fly(EXPLORING, loss, total=15)
    assert said(flown.lines) == ["line2x2@0"] * 3
    assert flown.state.tally.changes == 0 and flown.state.trust.radius == 0.125
    assert set(flown.lrs[2:]) == {0.1}


def test_a_direction_of_length_zero_holds() -> None:
    for policy in (SATURATING, PUBLISHED):
        flown = fly(policy, lambda step, lr, factor, batch: 3.0 + batch)
        assert flown.lrs[-1] == 0.1 and flown.state.tally.changes == 0
        tried = {0.1, 0.025} if policy is SATURATING else {0.1}
        assert set(flown.lrs[2:]) == tried, "a lower lr, for a window, and no better"


def test_good_predictions_widen_the_region_up_to_the_bound() -> None:
    flown = fly(EXPLORING, bowl(best_lr=100.0), total=50)
    ratios = [b / a for a, b in zip(flown.lrs[2:], flown.lrs[3:], strict=False) if a != b]
    assert ratios == pytest.approx([2.0, 3.0, 3.0, 3.0])
    assert flown.state.trust.radius == 2.0 and flown.state.tally.bounded == 3 and flown.state.tally.clipped == 1


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_default_does_not_know_the_unit_of_the_loss(scale: float) -> None:
    def shaken(step: int, lr: float, factor: float, batch: int) -> float:
        noise = math.sin(12.9898 * batch + 78.233 * step)
        return bowl(best_lr=0.3)(min(step, 60), lr, factor, batch) + 0.05 * noise * factor

    def scaled(*at: Any) -> float:
        return scale * shaken(*at) - 3.0 * scale

    assert fly(SATURATING, scaled).lrs == pytest.approx(fly(SATURATING, shaken).lrs, rel=1e-6)


# -------------------------------------------------------------------- costs


@pytest.mark.parametrize("explore", [0.0, 0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("lr", [1e-4, 0.05, 1.0, 40.0])
def test_measurements_stay_within_their_share(explore: float, lr: float) -> None:
    landscape = NoisyQuadratic.log_spaced(8, condition=30.0, noise=0.1)
    result = simulate(LRTuner(explore, exploit="saturation"), landscape, lr=lr, total_steps=1400, seed=3)
    # 3 % of 1,400 steps of 3 forwards, less the 12 that a live training takes to prove that its step is linear
    assert 0.5 * 114 <= result.cost.forwards <= 114
    assert result.cost.backwards == 0


@pytest.mark.parametrize("exploit", ["linear", "saturation"])
def test_a_dead_training_costs_no_more(exploit: Any) -> None:
    """Nothing is gained, so that noise looks like a wreck, and rewinds again and again."""

    def dead(step: int, lr: float, factor: float, batch: int) -> float:
        return 2.303 + 0.02 * math.sin(37.0 * step) * (1.0 if step % 3 else 4.0) + 0.01 * math.sin(53.0 * batch + step)

    flown = fly(LRTuner(exploit=exploit), dead, total=1400)
    assert len(flown.lrs) == 1400 and flown.steps_of(Rewind)
    assert flown.state.tally.forwards <= 114


def test_before_a_linear_end_explore_may_spend_it_all() -> None:
    landscape = NoisyQuadratic.log_spaced(8, condition=30.0)
    linear, saturation = (
        simulate(LRTuner(exploit=exploit), landscape, lr=1e-6, total_steps=1400)
        for exploit in ("linear", "saturation")  # type: ignore[arg-type]
    )
    assert 0.8 * 114 <= linear.cost.forwards <= 114
    assert linear.history.lrs[349] >= 27 * saturation.history.lrs[349] >= 27 * 50e-6


def test_windows_are_never_shorter_than_they_are_set() -> None:
    landscape = NoisyQuadratic.log_spaced(8, condition=30.0, noise=0.1)
    result = simulate(LRTuner(1.0, window=40, overhead=5.0), landscape, lr=0.1, total_steps=400)
    checks = [e.step for e in result.history.events if isinstance(e.action, Line) and e.action.factors == (1.0,)]
    assert [b - a for a, b in pairwise(checks)] == [40] * 9


def test_the_tally_counts_what_the_flight_is_charged() -> None:
    landscape = NoisyQuadratic.log_spaced(8, condition=30.0, noise=0.1)
    for policy in (LRTuner(), LRTuner(exploit="saturation"), replace(LRTuner.paper("mnist"), superbatch=10)):
        substrate = SimulatedSubstrate(landscape)
        flight = Flight(policy, substrate, lr=0.1, horizon=lambda step: 500 - step)
        while flight.step < 500:
            flight.kept(substrate.step(flight.lr))
        tally = decode(flight.state_dict()["state"]["policy_state"]).tally
        assert tally.forwards == substrate.cost.forwards > 0


# --------------------------------------------------------------- landscapes


def decided(result: SimulationResult) -> list[float]:
    return list(dict.fromkeys(result.history.lrs))


def test_on_a_parabola_without_noise_the_lr_is_exact() -> None:
    """One weight: the line is the whole landscape, and its minimum is at 1/λ."""
    landscape = NoisyQuadratic((2.0,), noise=0.0, start_at=3.0)
    tuner = LRTuner(1.0, window=2, overhead=None)
    result = simulate(tuner, landscape, lr=0.1, total_steps=30)
    assert decided(result)[-1] == pytest.approx(0.5, rel=1e-6)
    published = simulate(replace(PUBLISHED, explore=1.0, window=2, clip=1e9), landscape, lr=0.2, total_steps=30)
    assert decided(published)[-1] == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("lr", [1e-3, 0.01, 1.0, 30.0])
@pytest.mark.parametrize("exploit", ["saturation", "linear"])
def test_it_gets_by_from_any_seed_lr(lr: float, exploit: Any) -> None:
    landscape = NoisyQuadratic.log_spaced(20, condition=100.0, noise=0.05)
    assert landscape.critical_lr == 2.0
    for seed in range(3):
        result = simulate(LRTuner(exploit=exploit), landscape, lr=lr, total_steps=1400, seed=seed)
        floor, start = 0.5 * 20 * 0.05**2, landscape.held_out(landscape.start())
        assert result.final_loss - floor < 0.01 * (start - floor)


def test_it_resumes_anywhere() -> None:
    """Every state goes through JSON in ``fly``; here the decisions with and without are the same."""
    policy, loss = SATURATING, bowl(best_lr=0.3)
    state, there = policy.init(Context(0.1, Progress(0, 100))), fly(policy, loss).lrs
    assert decode(json.loads(json.dumps(encode(state)))) == state
    assert fly(policy, loss).lrs == there and len(there) == 100


# ----------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"explore": 1.5}, r"explore must be in \[0, 1\], got 1.5"),
        ({"explore": True}, "explore must be in"),
        ({"lr": 0.0}, "lr must be finite and > 0, got 0.0"),
        ({"window": 1}, "window must be an int >= 2"),
        ({"window": 1.0}, "window must be"),
        ({"superbatch": 1}, "superbatch must be an int >= 2"),
        ({"max_batches": 2}, "max_batches must be at least the superbatch, got 2 and 4"),
        ({"saturation": 1.0}, "saturation must be finite and > 1"),
        ({"step_factor": math.nan}, "step_factor must be"),
        ({"overhead": 0}, "overhead must be"),
        ({"confidence": 1.0}, r"confidence must be in \(0, 1\)"),
        ({"explore_lr": "free"}, "explore_lr must be 'tuned' or 'held'"),
        ({"exploit": "cosine"}, "exploit must be 'linear' or 'saturation'"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        LRTuner(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"explore": 1.5}, r"explore must be in \[0, 1\], got 1.5"),
        ({"window": 1}, "window must be an int >= 2"),
        ({"superbatch": 1}, "superbatch must be an int >= 2"),
        ({"saturation": 1.0}, "saturation must be finite and > 1"),
        ({"clip": -1.0}, "clip must be finite and > 0"),
        ({"explore_lr": "free"}, "explore_lr must be 'tuned' or 'held'"),
        ({"epochs": 0}, "epochs must be finite and > 0"),
    ],
)
def test_published_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        replace(PUBLISHED, **settings)


def test_an_open_horizon_needs_settings_without_an_end() -> None:
    with pytest.raises(SettingError, match="its last step for explore, window, exploit, got an open horizon"):
        LRTuner().init(Context(0.1, Progress(0, None)))
    with pytest.raises(SettingError, match="its last step for exploit"):
        LRTuner(0, window=10).init(Context(0.1, Progress(0, None)))
    flown = fly(LRTuner(0, window=10, exploit="saturation"), bowl(), total=None)
    assert len(flown.lrs) >= 200 and flown.steps_of(Line)
    assert 0 < flown.state.tally.forwards <= 0.09 * 220


@pytest.mark.parametrize("total", [1, 2, 3, 4, 11, 12, 13])
@pytest.mark.parametrize("policy", [PUBLISHED, SATURATING, DEFAULT, LRTuner()])
def test_short_trainings_are_trained_to_their_end(policy: Tuner, total: int) -> None:
    flown = fly(policy, bowl(), total=total)
    assert len(flown.lrs) == total


def test_it_wants_to_be_told_of_what_it_asked_for() -> None:
    state = SATURATING.init(Context(0.1, Progress(0, 100)))
    with pytest.raises(PolicyError, match="told of what it asked for, Trained, got HeldOut"):
        SATURATING.tell(state, HeldOut(Progress(1, 99), 1.0))
    level = replace(state, phase=ReadingSuperbatch())
    with pytest.raises(PolicyError, match="LineLosses, got HeldOut"):
        SATURATING.tell(level, HeldOut(Progress(1, 99), 1.0))


def test_the_published_setting_has_no_phase_of_the_default() -> None:
    state = replace(PUBLISHED.init(Context(0.1, Progress(0, 100))), phase=Annealing(ToZero(0.1, 10)))
    with pytest.raises(PolicyError, match="asked in a phase of its own, got Annealing"):
        PUBLISHED.ask(state)
