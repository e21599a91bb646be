"""The surrogate: a Gaussian process over log lr."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrpilot.core.codec import decode, encode
from lrpilot.errors import SettingError
from lrpilot.maths import surrogate as module
from lrpilot.maths.surrogate import Surrogate, fit_surrogate, smaller_lr, start_lrs

LOW, HIGH = 1e-6, 1e-1
Curve = Callable[[float], float]  # log10 lr -> loss


def fit(lrs: Sequence[float], losses: Sequence[float], **options: float) -> Surrogate:
    made = fit_surrogate(lrs, losses, **({"min_lr": LOW, "max_lr": HIGH} | options))
    assert made is not None
    return made


def search(curve: Curve, trials: int = 10, **options: float) -> tuple[Surrogate, list[float]]:
    """Start lrs, then what the surrogate asks for."""
    lrs = list(start_lrs(LOW, HIGH))
    losses = [curve(math.log10(lr)) for lr in lrs]
    while True:
        known = fit(lrs, losses, **options)
        if len(lrs) == trials or known.next_lr is None:
            return known, lrs
        lrs.append(known.next_lr)
        losses.append(curve(math.log10(lrs[-1])))


def valley(log_lr: float) -> float:
    return (log_lr + 2.7) ** 2


# ------------------------------------------------------------------ by hand


def test_losses_on_a_scale_of_their_own_by_hand() -> None:
    scale = module._Scale.of((1.0, 2.0, 3.0, 103.0, 2.5))
    # Heights 0, 1, 1.5, 2 and 102: the upper quartile is 2. 103 lies far beyond what is told apart.
    assert [scale(loss) for loss in (1.0, 2.0, 3.0, 5.0, 103.0)] == pytest.approx([0.0, 0.5, 1.0, 2.0, 3.0])
    assert scale.back(0.5) == 2.0 and scale.width(0.5) == 1.0


def test_what_failed_lies_above_its_neighbour_by_hand() -> None:
    x, losses = np.array([-4.0, -3.0, -1.0, -2.0]), (1.0, 2.0, math.inf, 3.0)
    ok = np.array([True, True, False, True])
    assert module._heights(x, losses, ok, module._Scale.of((1.0, 2.0, 3.0))) == pytest.approx([0, 0.5, 1.5, 1.0])
    known = fit(10.0**x, (1.0, 2.0, 50.0, 3.0), failed_above=10.0)
    assert known == fit(10.0**x, losses)


@pytest.mark.parametrize("losses", [(5.0,), (5.0, 5.0), (0.0, 1e300), (-1e308, 1e308)])
def test_any_finite_losses_have_a_scale(losses: tuple[float, ...]) -> None:
    made = fit(tuple(1e-4 * 10**i for i in range(len(losses))), losses)
    assert np.isfinite([*made.mean, *made.std, made.expected_gain, made.noise]).all()


def test_start_lrs_by_hand() -> None:
    assert np.log10(start_lrs(1e-6, 1.0)) == pytest.approx([-3, -5, -1])


def test_smaller_lrs_by_hand() -> None:
    assert smaller_lr([1e-2, 1e-1], min_lr=1e-6) == pytest.approx(1e-4)
    assert smaller_lr([1e-2], min_lr=6e-3) == 6e-3, "no room between them"
    assert smaller_lr([1e-2], min_lr=9e-3) is None


# ------------------------------------------------------------------ the search


@pytest.mark.parametrize("best", [-5.5, -3.3, -1.2])
def test_finds_a_minimum(best: float) -> None:
    known, lrs = search(lambda x: math.log1p((x - best) ** 2))
    assert math.log10(known.best_lr) == pytest.approx(best, abs=0.1)
    assert len(lrs) == 10


def test_never_asks_twice_and_comes_to_an_end() -> None:
    known, lrs = search(valley, trials=1000, spacing=0.3)
    assert known.next_lr is None
    apart = np.diff(np.sort(np.log10(lrs)))
    assert apart.min() >= 0.3 - 1e-6
    assert 5 / 0.6 < len(lrs) <= 5 / 0.3 + 1


def test_a_huge_kappa_fills_the_space_whatever_the_losses() -> None:
    lrs = [1e-6, 1e-4, 2e-4, 1e-1]
    asked = fit(lrs, [valley(math.log10(lr)) for lr in lrs], kappa=1e6).next_lr
    assert asked is not None
    # The widest gap is from 2e-4 to 1e-1.
    assert math.log10(asked) == pytest.approx(0.5 * (math.log10(2e-4) - 1), abs=0.15)


def test_no_kappa_asks_where_the_mean_is_lowest() -> None:
    known, lrs = search(valley, trials=6)
    asked = fit(lrs, [valley(math.log10(lr)) for lr in lrs], kappa=0.0, spacing=0.01).next_lr
    assert asked == pytest.approx(known.best_lr, rel=0.05)
    assert known.interval[0] <= known.best_lr <= known.interval[1]


@pytest.mark.parametrize("bad", [math.inf, math.nan, 1e300])
def test_one_bad_lr_does_not_flatten_the_rest(bad: float) -> None:
    def cliff(x: float) -> float:
        return bad if x > -1.7 else valley(x)

    known, _ = search(cliff, failed_above=1e6)
    assert math.log10(known.best_lr) == pytest.approx(-2.7, abs=0.1)
    mean = np.array(known.mean)
    assert mean[0] - mean.min() > 0.5, "the slope on the left is still seen"


def test_nothing_finite_is_no_surrogate() -> None:
    assert fit_surrogate([1e-3, 1e-2], [math.inf, math.nan], min_lr=LOW, max_lr=HIGH) is None


def test_certain_once_little_is_to_be_gained() -> None:
    few, _ = search(valley, trials=3)
    many, _ = search(valley, trials=12)
    assert not few.is_certain()
    assert many.is_certain()
    assert few.bracket > 0.5 > many.bracket
    rng = np.random.default_rng(1)
    noisy, _ = search(lambda x: 0.001 * valley(x) + rng.standard_normal(), trials=12)
    assert noisy.noise > 10 * many.noise


# ------------------------------------------------------------------ symmetries

LOSSES = st.lists(st.floats(0, 10), min_size=3, max_size=7)


def spread(losses: Sequence[float]) -> list[float]:
    return [10.0**x for x in np.linspace(-5.6, -1.3, len(losses))]


@settings(max_examples=25, deadline=None)
@given(LOSSES, st.floats(-3, 3), st.integers(-50, 50))
def test_scale_and_shift_of_the_loss_change_nothing(losses: list[float], log_scale: float, shift: int) -> None:
    losses = [round(loss, 2) for loss in losses]
    lrs = spread(losses)
    before = fit(lrs, losses)
    after = fit(lrs, [10.0**log_scale * (loss + shift) for loss in losses])
    # Where two lrs are equally good, rounding decides: the means must agree, the places need not.
    scaled = [10.0**log_scale * (m + shift) for m in before.mean]
    assert after.mean == pytest.approx(scaled, rel=1e-4, abs=1e-4 * 10.0**log_scale)
    # Equal losses have no scale that a standard deviation could follow.
    if len(set(losses)) > 1:
        std = [10.0**log_scale * s for s in before.std]
        assert after.std == pytest.approx(std, rel=1e-3, abs=1e-4 * 10.0**log_scale)
    else:
        assert after.std == before.std and after.next_lr == before.next_lr


@settings(max_examples=15, deadline=None)
@given(st.floats(-3, 3))
def test_lrs_and_interval_moved_together_move_the_answer_along(move: float) -> None:
    lrs = spread(range(5))
    losses = [valley(math.log10(lr)) for lr in lrs]
    factor = 10.0**move
    before = fit(lrs, losses)
    after = fit([lr * factor for lr in lrs], losses, min_lr=LOW * factor, max_lr=HIGH * factor)
    assert after.best_lr == pytest.approx(before.best_lr * factor, rel=1e-6)
    assert after.next_lr == pytest.approx(before.next_lr * factor, rel=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(5)))
def test_the_order_of_the_points_changes_nothing(order: list[int]) -> None:
    lrs = spread(range(5))
    losses = [valley(math.log10(lr)) for lr in lrs]
    before, after = fit(lrs, losses), fit([lrs[i] for i in order], [losses[i] for i in order])
    assert after.best_lr == pytest.approx(before.best_lr)
    assert after.next_lr == pytest.approx(before.next_lr)
    assert after.mean == pytest.approx(before.mean, rel=1e-6, abs=1e-9)


@given(st.floats(-7, 0), st.floats(1e-3, 6), st.floats(0.04, 1))
def test_where_the_spacing_is_wide_the_grid_does_not_depend_on_it(low: float, width: float, spacing: float) -> None:
    grid, recorded = module._grid(10.0**low, 10.0 ** (low + width), spacing)
    ends = math.log10(10.0**low), math.log10(10.0 ** (low + width))
    assert recorded == 5
    assert grid.tolist() == np.linspace(*ends, max(1, math.ceil((ends[1] - ends[0]) / 0.02 - 1e-9)) + 1).tolist()


@settings(max_examples=20, deadline=None)
@given(st.floats(-5, 0), st.floats(1e-3, 2))
def test_a_narrow_interval_has_room_for_ten_lrs_a_twentieth_of_it_apart(low: float, width: float) -> None:
    ends = {"min_lr": 10.0**low, "max_lr": 10.0 ** (low + width)}
    spacing = math.log10(ends["max_lr"] / ends["min_lr"]) / 20
    lrs = [start_lrs(**ends)[0]]
    while len(lrs) < 10 and (lr := fit(lrs, [1.0] * len(lrs), kappa=1e6, spacing=spacing, **ends).next_lr):
        lrs.append(lr)
    assert len(lrs) == 10 and np.diff(np.sort(np.log10(lrs))).min() >= spacing - 2e-9
    # However close lrs may lie, the grid is one that can be read.
    assert len(fit(lrs, lrs, spacing=1e-12, **ends).log_lrs) <= 1001


def test_the_same_points_give_the_same_surrogate_and_it_is_plain_data() -> None:
    known, lrs = search(valley, trials=6)
    again = fit(lrs, [valley(math.log10(lr)) for lr in lrs])
    assert known == again == decode(encode(known))


# ------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("lrs", "losses", "options"),
    [
        ([1e-3], [], {}),
        ([0.0], [1.0], {}),
        ([math.nan], [1.0], {}),
        ([1e-3], [1.0], {"min_lr": 1.0, "max_lr": 0.1}),
        ([1e-3], [1.0], {"kappa": -1.0}),
        ([1e-3], [1.0], {"kappa": math.inf}),
        ([1e-3], [1.0], {"spacing": 0.0}),
    ],
)
def test_arguments_out_of_range_are_refused(lrs: list[float], losses: list[float], options: dict[str, float]) -> None:
    with pytest.raises(SettingError, match="got "):
        fit(lrs, losses, **options)
