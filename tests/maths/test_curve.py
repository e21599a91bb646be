"""LRCurve: its points of interest, its symmetries, and when it refuses."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from lrpilot.core.found import FindCode
from lrpilot.errors import SettingError
from lrpilot.maths.curve import LRCurve

START = 2.3
NAMES = ("log_midpoint", "half_drop", "steepest", "minimum")


def loss_at(log_lr: Any, *, middle: float = -2.0, width: float = 1.5) -> Any:
    """A plateau, a fall of 1.7 centred on ``middle`` whose middle 80 % take ``width`` decades, then a rise."""
    fall = 1.7 / (1 + np.exp(-(np.asarray(log_lr) - middle) * 4.4 / width))
    return START - fall + np.maximum(0.0, log_lr - middle - 1.2 * width) ** 2


@st.composite
def recorded(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    """A curve as a finder records it: a half-decade grid, some points in between, a little noise."""
    middle, width = draw(st.floats(-5.0, -1.0)), draw(st.floats(0.5, 2.5))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    x = np.concatenate([np.arange(-8.0, 1.01, 0.5), middle + rng.uniform(-1.5, 2.5, draw(st.integers(0, 10)))])
    y = loss_at(x, middle=middle, width=width) + draw(st.floats(0.0, 0.02)) * rng.standard_normal(len(x))
    return [float(v) for v in 10.0**x], [float(v) for v in y]


def logs(curve: LRCurve) -> dict[str, float]:
    return {name: math.log10(lr) for name, lr in curve.suggestions().items() if lr is not None}


def assert_moved_by(after: LRCurve, before: LRCurve, decades: float = 0.0, within: float = 1e-6) -> None:
    assert after.code == before.code
    assert logs(after) == pytest.approx({name: x + decades for name, x in logs(before).items()}, abs=within)


# ---------------------------------------------------------------- the points


def test_by_hand() -> None:
    # Between the knots (-3, 1) and (-2, 0), level on both sides, PCHIP is 1 - 3t² + 2t³: symmetric about -2.5.
    curve = LRCurve.from_trials([1e-5, 1e-4, 1e-3, 1e-2, 1e-1], [1.0, 1.0, 1.0, 0.0, 1.0], 1.0)
    points = curve.points()
    assert points is not None
    assert points.minimum == -2.0
    assert points.half_drop == pytest.approx(-2.5, abs=1e-9)
    assert points.steepest == pytest.approx(-2.5, abs=1e-6)
    # At -3 the second chord is (f(-2.5) - 2 f(-3) + f(-3.5)) / 0.25 = -2 and the chord (f(-2.75) - f(-3.25)) / 0.5
    # = -0.3125, so the curvature is -2 / (1 + 0.3125²)^1.5 = -1.739; nowhere left of the middle is it lower by much.
    assert -3.1 < points.knee < -2.9
    assert points.log_midpoint == pytest.approx((points.knee - 2.0) / 2)


def slow_points(curve: LRCurve) -> dict[str, float]:
    """Every point by looking at 100,000 places, written out from the definitions."""
    keep = [(x, y) for x, y in zip(curve.log_lrs, curve.losses, strict=True) if math.isfinite(y)]
    best = min(range(len(keep)), key=lambda i: keep[i][1])
    x = [p[0] for p in keep[: best + 1]]
    lowest = keep[best][1]
    y = [min(1.0, (p[1] - lowest) / (curve.start_loss - lowest)) for p in keep[: best + 1]]
    pchip = PchipInterpolator([x[0] - 1, x[0] - 0.5, *x, x[-1] + 0.5, x[-1] + 1], [1, 1, *y, 0, 0])

    def f(at: Any) -> Any:
        return np.where(at < x[0] - 1, 1.0, np.where(at > x[-1] + 1, 0.0, pchip(at)))

    places = np.linspace(x[0], x[-1], 100_001)
    slope = (f(places + 0.25) - f(places - 0.25)) / 0.5
    bend = (f(places + 0.5) - 2 * f(places) + f(places - 0.5)) / 0.25
    half = places[f(places) < 0.5].min()
    curvature = np.where(places <= half, bend / (1 + slope**2) ** 1.5, np.inf)
    return {
        "knee": places[int(np.argmin(curvature))],
        "half_drop": half,
        "steepest": places[int(np.argmin(slope))],
        "minimum": x[-1],
    }


@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_the_slow_version(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.sort(np.concatenate([np.arange(-7.0, 1.01, 0.5), rng.uniform(-4, 0, 6)]))
    y = loss_at(x, middle=rng.uniform(-4, -1), width=rng.uniform(0.5, 2)) + 0.01 * rng.standard_normal(len(x))
    curve = LRCurve(tuple(x), tuple(y), START)
    points = curve.points(fitted=False)
    assert points is not None
    for name, expected in slow_points(curve).items():
        assert getattr(points, name) == pytest.approx(expected, abs=1e-3), name


@pytest.mark.parametrize("width", [0.6, 1.0, 2.0])
def test_the_knee_does_not_move_with_the_grid(width: float) -> None:
    knees = []
    for step in (0.5, 0.25, 0.1, 0.03):
        for offset in np.linspace(0.0, step, 7, endpoint=False):
            x = np.arange(-7.0 + offset, 1.0, step)
            points = LRCurve(tuple(x), tuple(loss_at(x, width=width)), START).points()
            assert points is not None
            knees.append(points.knee)
    assert max(knees) - min(knees) < 0.15


def test_the_knee_lies_left_of_the_half_drop() -> None:
    # A gentle fall to 0.45, a long shelf, and a sharp edge there: the sharper bend is the wrong one.
    y = [1.0, 1.0, 0.95, 0.75, 0.6, 0.5, 0.45, 0.45, 0.45, 0.45, 0.0, 1.0]
    points = LRCurve(tuple(np.arange(12) / 2 - 5), tuple(y), 1.0).points()
    assert points is not None
    assert points.half_drop == pytest.approx(-2.5)
    assert -4.6 < points.knee < -3.5


def test_the_window_spans_the_fall() -> None:
    x = np.arange(-7.0, 1.01, 0.5)
    window = LRCurve(tuple(x), tuple(loss_at(x)), START).window()
    assert window is not None
    assert loss_at(math.log10(window[0])) == pytest.approx(START - 0.2 * 1.7, abs=0.3)
    assert math.log10(window[1]) == pytest.approx(-0.5, abs=0.51)


# ------------------------------------------------------------ the symmetries


@given(recorded(), st.floats(-3, 3), st.floats(-100, 100))
def test_scaling_and_shifting_the_loss_moves_nothing(
    curve: tuple[list[float], list[float]], log_scale: float, shift: float
) -> None:
    lrs, losses = curve
    scale = 10.0**log_scale
    before = LRCurve.from_trials(lrs, losses, START)
    after = LRCurve.from_trials(lrs, [scale * (y + shift) for y in losses], scale * (START + shift))
    assert_moved_by(after, before)


@given(recorded(), st.floats(-4, 4))
def test_scaling_the_lrs_moves_every_suggestion_along(
    curve: tuple[list[float], list[float]], log_factor: float
) -> None:
    lrs, losses = curve
    before = LRCurve.from_trials(lrs, losses, START)
    after = LRCurve.from_trials([lr * 10.0**log_factor for lr in lrs], losses, START)
    assert_moved_by(after, before, decades=log_factor)


@given(recorded(), st.randoms(use_true_random=False))
def test_the_order_of_the_points_is_irrelevant(curve: tuple[list[float], list[float]], random: Any) -> None:
    shuffled = list(zip(*curve, strict=True))
    random.shuffle(shuffled)
    lrs, losses = zip(*shuffled, strict=True)
    assert LRCurve.from_trials(lrs, losses, START) == LRCurve.from_trials(*curve, START)


@given(recorded(), st.lists(st.sampled_from([math.nan, math.inf, -math.inf, 1e4, 1e300]), min_size=1, max_size=4))
def test_diverged_lrs_move_no_suggestion(curve: tuple[list[float], list[float]], tail: list[float]) -> None:
    lrs, losses = curve
    before = LRCurve.from_trials(lrs, losses, START)
    assume(before.code is FindCode.OK)
    more = [max(lrs) * 2.0**i for i in range(1, len(tail) + 1)]
    after = LRCurve.from_trials(lrs + more, losses + tail, START)
    assert_moved_by(after, before, within=0.0)


def test_a_diverged_lr_left_of_the_minimum_moves_no_suggestion() -> None:
    x = np.arange(-7.0, 1.01, 0.5)
    lrs, losses = [*(10.0**x)], [*loss_at(x)]
    before = LRCurve.from_trials(lrs, losses, START)
    after = LRCurve.from_trials([*lrs, 3e-6, 2e-2], [*losses, math.nan, math.inf], START)
    assert_moved_by(after, before, within=0.0)


def test_repeats_are_averaged() -> None:
    x = np.arange(-7.0, 1.01, 0.5)
    lrs, losses = [*(10.0**x)], [*loss_at(x)]
    noise = 0.05 * np.random.default_rng(0).standard_normal(len(x))
    twice = LRCurve.from_trials(lrs + lrs, [*(losses + noise), *(losses - noise)], START)
    assert_moved_by(twice, LRCurve.from_trials(lrs, losses, START))
    assert LRCurve.from_trials([0.1, 0.1], [1.0, math.nan], 2.0).losses == (1.0,)


# --------------------------------------------------------------- the refusals


@given(recorded(), st.floats(0.0, 0.3))
def test_a_flat_curve_is_flat(curve: tuple[list[float], list[float]], level: float) -> None:
    flat = LRCurve.from_trials(curve[0], [level] * len(curve[0]), level)
    assert flat.code is FindCode.FLAT
    assert set(flat.suggestions().values()) == {None}
    assert flat.window() is None


def test_scatter_is_flat_nearly_always() -> None:
    x = np.arange(-7.0, 1.01, 0.5)
    rng = np.random.default_rng(0)
    codes = [LRCurve(tuple(x), tuple(START + 0.01 * rng.standard_normal(len(x))), START).code for _ in range(300)]
    assert sum(code.has_lr for code in codes) <= 6


def test_how_far_the_larger_lrs_explode_does_not_hide_a_reduction() -> None:
    x = np.arange(-4.0, 2.01, 0.5)
    fall = [*loss_at(x[:6], middle=-2.5)]
    for explosion in (3.0, 1e3, 1e12):
        curve = LRCurve(tuple(x), (*fall, *(explosion * 10.0**i for i in range(7))), START)
        assert curve.code is FindCode.OK, explosion


def test_a_reduction_ten_times_the_scatter_is_seen() -> None:
    x = np.arange(-7.0, 1.01, 0.5)
    rng = np.random.default_rng(0)
    codes = [LRCurve(tuple(x), tuple(loss_at(x) + 0.17 * rng.standard_normal(len(x))), START).code for _ in range(300)]
    assert sum(code.has_lr for code in codes) >= 270


@given(recorded(), st.floats(1e-3, 10.0))
def test_a_rising_curve_is_rising(curve: tuple[list[float], list[float]], rise: float) -> None:
    rising = LRCurve.from_trials(curve[0], [START + rise * (lr / max(curve[0])) ** 0.5 for lr in curve[0]], START)
    assert rising.code is FindCode.RISING
    assert set(rising.suggestions().values()) == {None}


@pytest.mark.parametrize("start", [START, math.nan, math.inf])
def test_all_diverged(start: float) -> None:
    losses = [math.nan, math.inf, math.nan] if math.isfinite(start) else [1.0, 0.5, 2.0]
    assert LRCurve.from_trials([0.1, 1.0, 10.0], losses, start).code is FindCode.ALL_DIVERGED
    assert LRCurve.from_trials([], [], start).code is FindCode.ALL_DIVERGED


def test_a_minimum_at_the_edge_is_said() -> None:
    x = np.arange(-7.0, 1.01, 0.5)
    falling = LRCurve(tuple(x[:11]), tuple(loss_at(x[:11])), START)
    assert falling.code is FindCode.AT_UPPER_EDGE
    assert falling.suggestions()["minimum"] == pytest.approx(10.0 ** x[10])
    rising = LRCurve(tuple(x[12:]), tuple(loss_at(x[12:], middle=-3.0)), START)
    assert rising.code is FindCode.AT_LOWER_EDGE
    assert set(rising.suggestions().values()) == {10.0 ** x[12]}


def test_the_smallest_lrs_may_learn_already() -> None:
    x = np.arange(-2.0, 1.01, 0.25)
    curve = LRCurve(tuple(x), tuple(loss_at(x, middle=-2.5)), START)
    suggestions = curve.suggestions()
    assert suggestions["half_drop"] == pytest.approx(0.01)
    assert all(lr is not None and 0.01 <= lr <= 10.0 for lr in suggestions.values())


@pytest.mark.parametrize(
    ("lrs", "losses"), [([0.1], [1.0, 2.0]), ([0.0, 0.1], [1.0, 2.0]), ([math.nan, 0.1], [1.0, 2.0]), ([-1.0], [1.0])]
)
def test_points_that_are_no_curve_are_refused(lrs: list[float], losses: list[float]) -> None:
    with pytest.raises(SettingError):
        LRCurve.from_trials(lrs, losses, START)


def slow_bottom(curve: LRCurve) -> float:
    """The vertex of numpy's own fit to the points at the bottom."""
    best = min(range(len(curve.losses)), key=curve.losses.__getitem__)
    near = [
        (x, y)
        for x, y in zip(curve.log_lrs, curve.losses, strict=True)
        if abs(x - curve.log_lrs[best]) <= 0.5 + 1e-9 and y - curve.losses[best] <= 0.25 * curve.reduction
    ]
    a, b, _ = np.polyfit([x for x, _ in near], [y for _, y in near], 2)
    return float(np.clip(-b / (2 * a), near[0][0], near[-1][0]))


def noisy_valley(seed: int) -> LRCurve:
    """A flat bottom at 0.01 with a cliff of exploded lrs on its right, noise a fiftieth of the reduction."""
    rng = np.random.default_rng(seed)
    x = np.sort(np.concatenate([np.arange(-7.0, 0.1, 0.5), rng.uniform(-2.9, -1.1, 8)]))
    y = np.where(x < 0, START - 1 + 0.3 * np.minimum((x + 2.0) ** 2, 10 / 3), 50.0) + 0.02 * rng.standard_normal(len(x))
    return LRCurve(tuple(x), tuple(y), START)


@pytest.mark.parametrize("seed", range(5))
def test_the_fitted_minimum_agrees_with_the_slow_version(seed: int) -> None:
    curve = noisy_valley(seed)
    points = curve.points()
    assert points is not None
    assert points.minimum == pytest.approx(slow_bottom(curve), abs=1e-9)


def test_the_fitted_minimum_wanders_less_than_the_lowest_trial() -> None:
    fitted = [noisy_valley(seed).points() for seed in range(100)]
    lowest = [noisy_valley(seed).points(fitted=False) for seed in range(100)]
    spread = [np.std([p.minimum for p in points if p is not None]) for points in (fitted, lowest)]
    assert spread[0] < 0.85 * spread[1]
    assert np.mean([p.minimum for p in fitted if p is not None]) == pytest.approx(-2.0, abs=0.05)


def test_a_cliff_beside_the_minimum_does_not_move_it() -> None:
    x = tuple(float(i) / 2 for i in range(-14, 1))
    y = tuple(START - (1.0 - 0.1 * (v + 2) ** 2 if v >= -3.5 else 0.0) for v in x)
    cliff = tuple(500.0 if v > -1.9 else loss for v, loss in zip(x, y, strict=True))
    for losses in (y, cliff):
        points = LRCurve(x, losses, START).points()
        assert points is not None and points.minimum == pytest.approx(-2.0, abs=1e-6)


def test_a_lucky_trial_beyond_the_stable_lrs_does_not_shut_the_window() -> None:
    """Losses measured on a net without normalisation: above 0.07 they are a lottery, and 0.24 drew the prize."""
    lrs = (0.001, 0.0032, 0.01, 0.018, 0.032, 0.046, 0.056, 0.072, 0.1, 0.13, 0.18, 0.21, 0.24, 0.27, 0.32, 1.0)
    losses = (2.3, 2.3, 2.29, 2.277, 2.222, 2.049, 1.745, 1.457, 1.731, 1.514, 1.383, 2.311, 1.115, 2.277, 2.224, 1.925)
    curve = LRCurve.from_trials(lrs, losses, 2.304)
    points = curve.points()
    assert points is not None
    assert 10**points.knee < 0.0464 < 10**points.minimum
    assert 10**points.half_drop == pytest.approx(0.057, rel=0.05)
