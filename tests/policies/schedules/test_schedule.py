"""Schedules, value by value against torch's schedulers, against numbers by hand, and over every kind."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler as torch_schedulers

from lrpilot.core.actions import Done, HeldOut, Progress, Train, Trained
from lrpilot.core.codec import decode, encode
from lrpilot.core.policy import Context
from lrpilot.core.stop import StopReason
from lrpilot.errors import PolicyError, SettingError
from lrpilot.policies.schedules.schedule import BLOCK, Schedule
from lrpilot.policies.schedules.shapes import SCHEDULES

PEAK = 0.3
KINDS = sorted(SCHEDULES)
OPEN_ENDED = [
    Schedule("constant"),
    Schedule("step", step_size=300),
    Schedule("step", milestones=(1000, 1001, 2500), gamma=0.5),
    Schedule("exponential", gamma=0.999),
    Schedule("exponential", gamma=0.5),
    Schedule("exponential", gamma=1.0),
    Schedule("time", decay=0.01),
    Schedule("inverse_sqrt"),
    Schedule("inverse_sqrt", warmup=1500),
    Schedule("clr", step_size=130),
    Schedule("clr", step_size=7, warmup=3),
    Schedule("sgdr", t_0=70),
    Schedule("sgdr", t_0=9, t_mult=1, min_factor=0.1, warmup=12),
]


def train_of(schedule: Schedule, steps: int | None, *, lr: float = 1.0) -> Train:
    action = schedule.ask(schedule.init(Context(lr, Progress(0, steps))))
    assert isinstance(action, Train)
    return action


def lrs_of(schedule: Schedule, steps: int) -> list[float]:
    """The lr of every step of a training of known length."""
    action = train_of(schedule, steps)
    assert action.steps == steps
    return action.shape.first(steps)


def open_lrs(schedule: Schedule, steps: int) -> list[float]:
    """The same where the end is open: block after block."""
    state = schedule.init(Context(1.0, Progress(0, None)))
    lrs: list[float] = []
    while len(lrs) < steps:
        action = schedule.ask(state)
        assert isinstance(action, Train)
        lrs += action.shape.first(action.steps)
        state = schedule.tell(state, finished(action.steps, len(lrs)))
    return lrs[:steps]


def finished(steps: int, taken: int, *, stop: StopReason | None = None) -> Trained:
    return Trained(Progress(taken, None), steps, (), None, True, stop)


def torch_lrs(make: Callable[[Any], Any], steps: int) -> list[float]:
    """What a torch scheduler sets for each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=PEAK)
    scheduler = make(optimizer)
    lrs = []
    for _ in range(steps):
        lrs.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return lrs


def warmup_in_torch(optimizer: Any, warmup: int, rest: Any) -> Any:
    ramp = torch_schedulers.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return torch_schedulers.SequentialLR(optimizer, [ramp, rest], milestones=[warmup])


T = torch_schedulers
AGAINST_TORCH: dict[str, tuple[Schedule, int, Callable[[Any], Any]]] = {
    "constant": (Schedule("constant", lr=PEAK), 20, lambda o: T.ConstantLR(o, factor=1.0)),
    "step": (Schedule("step", lr=PEAK, step_size=30, gamma=0.2), 100, lambda o: T.StepLR(o, 30, gamma=0.2)),
    "milestones": (
        Schedule("step", lr=PEAK, milestones=(10, 15, 40)),
        60,
        lambda o: T.MultiStepLR(o, [10, 15, 40], gamma=0.1),
    ),
    "milestones ÷ T": (Schedule("step", lr=PEAK), 80, lambda o: T.MultiStepLR(o, [40, 60], gamma=0.1)),
    "exponential": (Schedule("exponential", lr=PEAK, gamma=0.95), 100, lambda o: T.ExponentialLR(o, 0.95)),
    "time": (Schedule("time", lr=PEAK, decay=0.1), 50, lambda o: T.LambdaLR(o, lambda t: 1 / (1 + 0.1 * t))),
    "linear": (
        Schedule("linear", lr=PEAK),
        50,
        lambda o: T.LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=50),
    ),
    "linear to a tenth": (
        Schedule("linear", lr=PEAK, min_factor=0.1),
        50,
        lambda o: T.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=50),
    ),
    "cosine": (Schedule("cosine", lr=PEAK), 50, lambda o: T.CosineAnnealingLR(o, 50)),
    "cosine to a tenth": (
        Schedule("cosine", lr=PEAK, min_factor=0.1),
        50,
        lambda o: T.CosineAnnealingLR(o, 50, eta_min=0.1 * PEAK),
    ),
    "inverse_sqrt": (Schedule("inverse_sqrt", lr=PEAK), 50, lambda o: T.LambdaLR(o, lambda t: (t + 1) ** -0.5)),
    "inverse_sqrt after warmup": (
        Schedule("inverse_sqrt", lr=PEAK, warmup=10),
        50,
        lambda o: T.LambdaLR(o, lambda t: (t + 1) / 11 if t < 10 else (10 / t) ** 0.5),
    ),
    "clr": (
        Schedule("clr", lr=PEAK, step_size=7, min_factor=0.2),
        60,
        lambda o: T.CyclicLR(o, 0.2 * PEAK, PEAK, step_size_up=7, cycle_momentum=False),
    ),
    "clr by cycles": (
        Schedule("clr", lr=PEAK),
        80,
        lambda o: T.CyclicLR(o, PEAK / 4, PEAK, step_size_up=10, cycle_momentum=False),
    ),
    "sgdr": (
        Schedule("sgdr", lr=PEAK, t_0=10, t_mult=2, min_factor=0.05),
        100,
        lambda o: T.CosineAnnealingWarmRestarts(o, 10, 2, eta_min=0.05 * PEAK),
    ),
    "sgdr by cycles": (Schedule("sgdr", lr=PEAK), 70, lambda o: T.CosineAnnealingWarmRestarts(o, 10, 2)),
    "linear after warmup": (
        Schedule("linear", lr=PEAK, warmup=10),
        60,
        lambda o: warmup_in_torch(o, 10, T.LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=50)),
    ),
    "cosine after a fraction": (
        Schedule("cosine", lr=PEAK, warmup=0.1),
        60,
        lambda o: warmup_in_torch(o, 6, T.CosineAnnealingLR(o, 54)),
    ),
    "step after warmup": (
        Schedule("step", lr=PEAK, warmup=5, step_size=8),
        60,
        lambda o: warmup_in_torch(o, 5, T.StepLR(o, 8)),
    ),
    "sgdr after warmup": (
        Schedule("sgdr", lr=PEAK, warmup=5, t_0=10, t_mult=1),
        60,
        lambda o: warmup_in_torch(o, 5, T.CosineAnnealingWarmRestarts(o, 10)),
    ),
}


@pytest.mark.parametrize("case", AGAINST_TORCH)
def test_every_value_is_torchs(case: str) -> None:
    schedule, steps, make = AGAINST_TORCH[case]
    assert lrs_of(schedule, steps) == pytest.approx(torch_lrs(make, steps), rel=1e-9)


# Each value worked out on paper, at peak 1: (schedule, steps of the training, step, lr).
BY_HAND = [
    (Schedule("constant"), 10, 9, 1.0),
    (Schedule("step", step_size=3), 10, 2, 1.0),
    (Schedule("step", step_size=3), 10, 3, 0.1),
    (Schedule("step", milestones=(0.5,), gamma=0.5), 10, 4, 1.0),
    (Schedule("step", milestones=(0.5,), gamma=0.5), 10, 5, 0.5),
    (Schedule("exponential", gamma=0.5), 10, 3, 0.125),
    (Schedule("exponential", min_factor=0.01), 10, 5, 0.1),
    (Schedule("time", decay=0.5), 10, 6, 0.25),
    (Schedule("time", min_factor=0.5), 10, 5, 1 / 1.5),
    (Schedule("linear"), 10, 0, 1.0),
    (Schedule("linear"), 10, 9, 0.1),
    (Schedule("linear", min_factor=0.5), 10, 5, 0.75),
    (Schedule("cosine"), 12, 4, 0.75),  # cos(π/3) = 1/2
    (Schedule("cosine"), 12, 6, 0.5),
    (Schedule("inverse_sqrt"), 10, 3, 0.5),
    (Schedule("inverse_sqrt", warmup=4), 100, 4, 1.0),
    (Schedule("inverse_sqrt", warmup=4), 100, 16, 0.5),
    (Schedule("clr", step_size=2, min_factor=0.5), 10, 0, 0.5),
    (Schedule("clr", step_size=2, min_factor=0.5), 10, 1, 0.75),
    (Schedule("clr", step_size=2, min_factor=0.5), 10, 6, 1.0),
    (Schedule("sgdr", t_0=4, t_mult=2), 12, 3, 0.5 * (1 + math.cos(0.75 * math.pi))),
    (Schedule("sgdr", t_0=4, t_mult=2), 12, 4, 1.0),
    (Schedule("sgdr", t_0=4, t_mult=2), 12, 8, 0.5),
    (Schedule("sgdr"), 12, 2, 1.0),  # cycles of 12/7, 24/7 and 48/7 steps, cut at 2 and 5
    (Schedule("sgdr"), 12, 5, 1.0),
    (Schedule("one_cycle"), 100, 0, 0.1),
    (Schedule("one_cycle"), 100, 30, 0.7),  # 0.1 + 0.9 · 30/45
    (Schedule("one_cycle"), 100, 45, 1.0),
    (Schedule("one_cycle"), 100, 60, 0.7),
    (Schedule("one_cycle"), 100, 89, 0.12),  # 1 − 0.9 · 44/45
    (Schedule("one_cycle"), 100, 90, 0.01),
    (Schedule("one_cycle"), 100, 99, 0.01),
    (Schedule("trapezoid"), 100, 0, 0.1),
    (Schedule("trapezoid"), 100, 5, 0.55),
    (Schedule("trapezoid"), 100, 10, 1.0),
    (Schedule("trapezoid"), 100, 90, 1.0),
    (Schedule("trapezoid"), 100, 95, 0.55),
    (Schedule("trapezoid", min_factor=0.0), 100, 99, 0.1),
    (Schedule("wsd"), 100, 80, 1.0),
    (Schedule("wsd"), 100, 90, 0.5),
    (Schedule("wsd", decay_fraction=1.0), 100, 50, 0.5),
    (Schedule("wsd", warmup=0.1, min_factor=0.1), 100, 91, 0.55),  # stable for 72 of the 90 steps left
    (Schedule("constant", warmup=3), 10, 0, 0.25),
    (Schedule("constant", warmup=3), 10, 2, 0.75),
    (Schedule("constant", warmup=3), 10, 3, 1.0),
    (Schedule("one_cycle", warmup=4), 104, 0, 0.02),  # a fifth of the 0.1 where the cycle begins
    (Schedule("one_cycle", warmup=4), 104, 49, 1.0),
]


@pytest.mark.parametrize(("schedule", "steps", "step", "lr"), BY_HAND)
def test_by_hand(schedule: Schedule, steps: int, step: int, lr: float) -> None:
    assert lrs_of(schedule, steps)[step] == pytest.approx(lr, rel=1e-12)


def test_one_cycle_moves_momentum_against_the_lr() -> None:
    momentum = train_of(Schedule("one_cycle", warmup=10), 110).momentum
    assert momentum is not None
    values = [momentum(step) for step in (0, 10, 25, 55, 70, 100, 109)]
    assert values == pytest.approx([0.95, 0.95, 0.95 - 0.1 / 3, 0.85, 0.85 + 0.1 / 3, 0.95, 0.95])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "one_cycle"])
def test_no_other_schedule_touches_momentum(kind: str) -> None:
    assert train_of(Schedule(kind), 10).momentum is None


# ------------------------------------------------------------- every kind

kinds = st.sampled_from(KINDS)
horizons = st.integers(1, 400)


@given(kinds, horizons, st.floats(0, 0.99), st.floats(1e-9, 1e3))
def test_every_lr_is_positive_and_at_most_the_peak(kind: str, steps: int, warmup: float, peak: float) -> None:
    lrs = lrs_of(Schedule(kind, lr=peak, warmup=warmup), steps)
    assert all(0 < lr <= peak * (1 + 1e-12) for lr in lrs)


@given(kinds, horizons, st.floats(1e-6, 1e6))
def test_the_shape_scales_with_the_lr(kind: str, steps: int, factor: float) -> None:
    once = lrs_of(Schedule(kind, lr=PEAK), steps)
    scaled = lrs_of(Schedule(kind, lr=PEAK * factor), steps)
    assert scaled == pytest.approx([lr * factor for lr in once], rel=1e-9)


@given(kinds, st.integers(0, 50), st.integers(1, 200))
def test_a_warmup_climbs_evenly_to_where_the_schedule_begins(kind: str, warmup: int, rest: int) -> None:
    lrs = lrs_of(Schedule(kind, warmup=warmup), warmup + rest)
    assert lrs[:warmup] == pytest.approx([lrs[warmup] * (t + 1) / (warmup + 1) for t in range(warmup)])
    if kind != "inverse_sqrt":  # which decays by the length of its warmup
        assert lrs[warmup:] == pytest.approx(lrs_of(Schedule(kind), rest), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_without_an_lr_the_optimizers_own_is_the_peak(kind: str) -> None:
    assert train_of(Schedule(kind), 50, lr=0.02) == train_of(Schedule(kind, lr=0.02), 50, lr=7.0)


@pytest.mark.parametrize("kind", KINDS)
def test_one_train_then_done(kind: str) -> None:
    schedule = Schedule(kind, warmup=0.1)
    state = schedule.init(Context(0.1, Progress(0, 40)))
    action = schedule.ask(state)
    assert action.steps == 40 and action.observe_every is None
    assert schedule.ask(schedule.tell(state, finished(40, 40))) == Done()


@pytest.mark.parametrize("schedule", [Schedule(kind, lr=0.1, warmup=5) for kind in KINDS] + OPEN_ENDED)
def test_policy_and_state_survive_the_codec(schedule: Schedule) -> None:
    state = schedule.init(Context(0.1, Progress(0, 4000)))
    assert decode(encode(schedule)) == schedule
    assert schedule.ask(decode(encode(state))) == schedule.ask(state)


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_that_was_not_finite_does_not_bend_the_schedule(kind: str) -> None:
    schedule = Schedule(kind, warmup=4)
    state = schedule.init(Context(0.1, Progress(0, 50)))
    whole = schedule.ask(state)
    state = schedule.tell(state, finished(17, 17, stop=StopReason.NON_FINITE))
    rest = schedule.ask(state)
    assert rest.steps == 33
    assert rest.shape.first(33) == pytest.approx(whole.shape.first(50)[17:], rel=1e-9)
    if whole.momentum is not None and rest.momentum is not None:
        assert rest.momentum.first(33) == pytest.approx(whole.momentum.first(50)[17:], rel=1e-9)


def test_a_train_under_way_leaves_the_state_alone() -> None:
    schedule = Schedule("linear")
    state = schedule.init(Context(0.1, Progress(0, 50)))
    assert schedule.tell(state, Trained(Progress(3, 47), 3, (), None, False, None)) == state


def test_told_of_what_it_never_asked() -> None:
    schedule = Schedule("linear")
    with pytest.raises(PolicyError, match="told of a Train"):
        schedule.tell(schedule.init(Context(0.1, Progress(0, 50))), HeldOut(Progress(0, 50), 1.0))


def test_nothing_left_to_train_is_done() -> None:
    schedule = Schedule("cosine", warmup=0.5)
    assert schedule.ask(schedule.init(Context(0.1, Progress(0, 0)))) == Done()


def test_a_step_schedule_is_saved_in_a_few_knots() -> None:
    assert train_of(Schedule("step", step_size=10), 40).shape.steps == (0.0, 10.0, 20.0, 30.0, 40.0)


# ----------------------------------------------------------- open horizon


@pytest.mark.parametrize("schedule", OPEN_ENDED)
def test_blocks_join_to_the_closed_form(schedule: Schedule) -> None:
    steps = 3 * BLOCK + 10
    assert open_lrs(schedule, steps) == pytest.approx(lrs_of(schedule, steps), rel=1e-9)


@settings(max_examples=25)
@given(st.floats(0.9, 1.0), st.floats(1e-6, 10.0), st.integers(1, 500), st.integers(1, 40))
def test_open_ends_equal_the_formula(gamma: float, decay: float, step_size: int, t_0: int) -> None:
    steps = range(0, 2500, 97)
    formulas: list[tuple[Schedule, Callable[[int], float]]] = [
        (Schedule("exponential", gamma=gamma), lambda t: max(gamma**t, 1e-30)),
        (Schedule("time", decay=decay), lambda t: 1 / (1 + decay * t)),
        (Schedule("step", step_size=step_size, gamma=0.9), lambda t: max(0.9 ** (t // step_size), 1e-30)),
        (Schedule("inverse_sqrt"), lambda t: (t + 1) ** -0.5),
        (Schedule("sgdr", t_0=t_0, t_mult=1), lambda t: 0.5 * (1 + math.cos(math.pi * (t % t_0) / t_0))),
        (
            Schedule("clr", step_size=step_size, min_factor=0.5),
            lambda t: 1 - 0.5 * abs(t % (2 * step_size) - step_size) / step_size,
        ),
    ]
    for schedule, formula in formulas:
        lrs = open_lrs(schedule, 2500)
        assert [lrs[t] for t in steps] == pytest.approx([formula(t) for t in steps], rel=1e-9), schedule


@pytest.mark.parametrize("schedule", [Schedule("exponential", gamma=0.01), Schedule("step", step_size=1)])
def test_a_decay_without_end_stays_above_zero(schedule: Schedule) -> None:
    assert min(open_lrs(schedule, 2 * BLOCK)) == pytest.approx(1e-30)


@pytest.mark.parametrize(
    ("schedule", "remedy"),
    [(Schedule(kind), "Give total_steps, or a schedule") for kind in ("linear", "cosine", "one_cycle", "wsd")]
    + [
        (Schedule("trapezoid"), "Give total_steps, or a schedule"),
        (Schedule("step"), "set step_size"),
        (Schedule("step", milestones=(0.3,)), "set step_size"),
        (Schedule("exponential"), "set gamma"),
        (Schedule("time"), "set decay"),
        (Schedule("clr"), "set step_size"),
        (Schedule("sgdr"), "set t_0"),
        (Schedule("constant", warmup=0.1), "warmup as a number of steps"),
    ],
)
def test_what_needs_an_end_says_so_at_init(schedule: Schedule, remedy: str) -> None:
    with pytest.raises(SettingError, match=r"total_steps=None") as error:
        schedule.init(Context(0.1, Progress(0, None)))
    assert remedy in str(error.value)


# -------------------------------------------------------------- bad input

BAD_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "cosin"}, "got 'cosin'. Did you mean 'cosine'?"),
    ({"kind": "one-cycle"}, "Did you mean 'one_cycle'?"),
    ({"kind": "zzz"}, "Choose one of these."),
    ({"kind": "cosine", "lr": 0.0}, "lr must be finite and > 0, got 0.0."),
    ({"kind": "cosine", "lr": -1}, "lr must be finite and > 0, got -1."),
    ({"kind": "cosine", "lr": math.nan}, "lr must be finite and > 0, got nan."),
    ({"kind": "cosine", "lr": math.inf}, "lr must be finite and > 0, got inf."),
    ({"kind": "cosine", "lr": "0.1"}, "lr must be finite and > 0, got '0.1'."),
    ({"kind": "cosine", "warmup": 1.0}, "warmup must be"),
    ({"kind": "cosine", "warmup": -1}, "warmup must be"),
    ({"kind": "cosine", "warmup": -0.1}, "warmup must be"),
    ({"kind": "cosine", "warmup": math.nan}, "warmup must be"),
    ({"kind": "cosine", "warmup": True}, "warmup must be"),
    ({"kind": "cosine", "warmup": None}, "warmup must be"),
    ({"kind": "cosine", "gamma": 0.1}, "A 'cosine' schedule takes min_factor, got gamma."),
    ({"kind": "constant", "min_factor": 0.1}, "takes no options, got min_factor."),
    ({"kind": "cosine", "min_factor": 1.1}, "min_factor must be in [0, 1], got 1.1."),
    ({"kind": "clr", "min_factor": 0}, "min_factor of a 'clr' schedule must be > 0"),
    ({"kind": "exponential", "min_factor": 0}, "min_factor of a 'exponential' schedule must be > 0"),
    ({"kind": "exponential", "gamma": 1.5}, "gamma must be in (0, 1], got 1.5."),
    ({"kind": "exponential", "gamma": 0.5, "min_factor": 0.1}, "takes gamma or min_factor, got both."),
    ({"kind": "time", "decay": 0}, "decay must be finite and > 0, got 0."),
    ({"kind": "step", "step_size": 0}, "step_size must be an int >= 1, got 0."),
    ({"kind": "step", "step_size": 2.5}, "step_size must be an int >= 1, got 2.5."),
    ({"kind": "step", "step_size": 3, "milestones": (4,)}, "takes step_size or milestones, got both."),
    ({"kind": "step", "milestones": ()}, "milestones must be increasing"),
    ({"kind": "step", "milestones": (5, 5)}, "milestones must be increasing"),
    ({"kind": "step", "milestones": (0.5, 7)}, "milestones must be increasing"),
    ({"kind": "step", "milestones": (0.5, 1.0)}, "milestones must be increasing"),
    ({"kind": "sgdr", "t_0": 10, "num_cycles": 3}, "takes t_0 or num_cycles, got both."),
    ({"kind": "sgdr", "t_mult": 1.5}, "t_mult must be an int >= 1, got 1.5."),
    ({"kind": "wsd", "decay_fraction": 0.0}, "decay_fraction must be in (0, 1], got 0.0."),
]


@pytest.mark.parametrize(("chosen", "message"), BAD_SETTINGS)
def test_bad_settings_name_rule_and_value(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as error:
        Schedule(**chosen)
    assert message in str(error.value)


def test_a_warmup_must_leave_a_step() -> None:
    assert len(lrs_of(Schedule("linear", warmup=9), 10)) == 10
    with pytest.raises(SettingError, match="warmup must be shorter than the training, got 10 of 10 steps"):
        lrs_of(Schedule("linear", warmup=10), 10)


def test_options_are_keywords_and_milestones_may_be_a_list() -> None:
    with pytest.raises(TypeError):
        Schedule("cosine", 0.1)  # type: ignore[misc]
    assert Schedule("step", milestones=[3, 5]) == Schedule("step", milestones=(3, 5))  # type: ignore[arg-type]
    assert Schedule("cosine").name == "Schedule('cosine')"
