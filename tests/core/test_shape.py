"""Shapes: numbers by hand for each kind of segment, and what holds for all of them."""

import math
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.core.codec import decode, encode
from lrpilot.core.shape import Kind, Shape, annealed, constant, ramp
from lrpilot.errors import SettingError

KINDS: tuple[Kind, ...] = get_args(Kind)


@pytest.mark.parametrize(
    ("kind", "start", "end", "middle"),
    [
        ("hold", 1.0, 0.0, 1.0),
        ("linear", 1.0, 0.0, 0.5),
        ("cosine", 1.0, 0.0, 0.5),
        ("exponential", 1.0, 0.01, 0.1),  # the mean of the logarithms
        ("inverse", 1.0, 1 / 3, 0.5),  # 1/y: 1, 2, 3
        ("inverse_sqrt", 1.0, 1 / math.sqrt(7), 0.5),  # 1/y²: 1, 4, 7
    ],
)
def test_half_way_by_hand(kind: Kind, start: float, end: float, middle: float) -> None:
    shape = ramp(start, end, 10, kind)
    assert shape(0) == start
    assert shape(5) == pytest.approx(middle, rel=1e-12)


@pytest.mark.parametrize(
    ("kind", "formula"),
    [
        ("exponential", lambda t: 0.98**t),
        ("inverse", lambda t: 1 / (1 + 0.3 * t)),
        ("inverse_sqrt", lambda t: 1 / math.sqrt(1 + t)),
        ("cosine", lambda t: 0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * t / 100))),
    ],
)
def test_a_segment_is_the_closed_form_all_along(kind: Kind, formula: Any) -> None:
    shape = ramp(formula(0), formula(100), 100, kind)
    assert shape.first(101) == pytest.approx([formula(t) for t in range(101)], rel=1e-12)


def test_a_cosine_by_hand_at_a_third() -> None:
    assert ramp(1.0, 0.0, 12, "cosine")(4) == pytest.approx(0.75)


def test_outside_its_knots_a_shape_holds() -> None:
    shape = Shape((2.0, 4.0), (1.0, 3.0), ("linear",))
    assert [shape(step) for step in (-1, 0, 2, 3, 4, 99)] == [1.0, 1.0, 1.0, 2.0, 3.0, 3.0]


def test_at_a_jump_the_later_value_holds() -> None:
    shape = Shape((0.0, 3.0, 3.0, 5.0), (1.0, 2.0, 8.0, 4.0), ("linear", "hold", "linear"))
    assert shape.first(5) == pytest.approx([1.0, 4 / 3, 5 / 3, 8.0, 6.0])


def test_hold_ignores_the_knot_it_runs_to() -> None:
    assert Shape((0.0, 2.0, 4.0), (1.0, 0.1, 0.01), ("hold", "hold")).first(6) == [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]


def test_an_annealed_shape_moves_at_every_step_and_ends_at_zero() -> None:
    assert annealed(0.4, 4).first(5) == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.0])


def test_constant() -> None:
    assert constant(0.3).first(3) == [0.3, 0.3, 0.3]


# ------------------------------------------------------------- properties

values = st.floats(1e-6, 1e3)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    gaps = draw(st.lists(st.integers(0, 20), min_size=0, max_size=5))
    steps = [0.0]
    for gap in gaps:
        steps.append(steps[-1] + gap)
    return Shape(
        tuple(steps),
        tuple(draw(values) for _ in steps),
        tuple(draw(st.sampled_from(KINDS)) for _ in gaps),
    )


@given(shapes(), st.floats(-5, 120))
def test_a_shape_stays_between_its_knots(shape: Shape, step: float) -> None:
    assert min(shape.values) * (1 - 1e-9) <= shape(step) <= max(shape.values) * (1 + 1e-9)


@given(shapes(), st.floats(1e-3, 1e3))
def test_scaling_the_knots_scales_every_value(shape: Shape, factor: float) -> None:
    scaled = shape.scaled(factor).first(100)
    assert scaled == pytest.approx([value * factor for value in shape.first(100)], rel=1e-6)


@given(shapes())
def test_each_knot_is_met_unless_a_later_one_stands_there(shape: Shape) -> None:
    for i, (step, value) in enumerate(zip(shape.steps, shape.values, strict=True)):
        if step not in shape.steps[i + 1 :]:
            assert shape(step) == pytest.approx(value, rel=1e-9)


@given(st.sampled_from(KINDS), values, values, st.integers(1, 50))
def test_a_segment_is_monotone(kind: Kind, start: float, end: float, steps: int) -> None:
    lrs = ramp(start, end, steps, kind).first(steps)
    sign = 1 if end >= start else -1
    assert all(sign * (b - a) >= -1e-9 * max(start, end) for a, b in pairwise(lrs))


@given(shapes())
def test_a_shape_is_plain_data(shape: Shape) -> None:
    assert decode(encode(shape)) == shape
    assert decode(encode(shape)).first(50) == shape.first(50)


# -------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("steps", "knots", "kinds", "message"),
    [
        ((), (), (), "n steps, n values and n - 1 kinds"),
        ((0.0, 1.0), (1.0,), ("linear",), "got 2, 1 and 1"),
        ((0.0, 1.0), (1.0, 2.0), (), "got 2, 2 and 0"),
        ((1.0, 0.0), (1.0, 2.0), ("linear",), "must not decrease"),
        ((0.0,), (-1.0,), (), "must be finite and >= 0"),
        ((0.0,), (math.inf,), (), "must be finite and >= 0"),
        ((0.0,), (math.nan,), (), "must be finite and >= 0"),
        ((0.0, 1.0), (1.0, 2.0), ("quadratic",), "kind must be one of cosine, exponential, hold"),
        ((0.0, 1.0), (1.0, 0.0), ("exponential",), "needs values > 0"),
        ((0.0, 1.0), (0.0, 1.0), ("inverse",), "needs values > 0"),
        ((0.0, 1.0), (1.0, 0.0), ("inverse_sqrt",), "needs values > 0"),
    ],
)
def test_knots_that_do_not_fit(steps: Any, knots: Any, kinds: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Shape(steps, knots, kinds)
