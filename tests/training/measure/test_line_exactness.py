"""Lines of live trainings against what is known of their losses: exact in float64, covered in float32, cubics."""

import math
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrpilot import Pilot, Training
from lrpilot.core.actions import Line, LineLosses, Train
from lrpilot.core.shape import constant
from lrpilot.maths.line_fit import LineFit, fit_line, is_good_enough, t_quantile
from lrpilot.policies.lr_tuner import LRTuner
from lrpilot.training.measure.substrate import LiveSubstrate
from small_training import Listed

THREE = (0.5, 1.0, 1.5)
FIVE = (0.5, 0.75, 1.0, 1.25, 1.5)
STEPS = 6  # before and with the Line's: momentum and second moments have a past


class Weights(nn.Module):
    """Nothing but weights, in two tensors."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        half = len(values) // 2
        self.first, self.second = nn.Parameter(values[:half].clone()), nn.Parameter(values[half:].clone())

    @property
    def values(self) -> Tensor:
        return torch.cat([self.first, self.second])


# --------------------------------------------------------------- float64


def random_hessian(generator: torch.Generator, size: int, condition: float) -> Tensor:
    """Eigenvalues between 1 / ``condition`` and 1, both among them, along random axes."""
    axes, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    exponents = torch.rand(size, generator=generator, dtype=torch.float64)
    exponents[0], exponents[-1] = 0.0, 1.0
    return axes @ torch.diag(condition**-exponents) @ axes.T


def direction(kind: str, gradients: list[Tensor], weights: Tensor) -> Tensor:
    """What the optimizer's next step is per unit of lr, from its definition."""
    last = len(gradients) - 1

    def moment(decay: float, values: Iterable[Tensor]) -> Tensor:
        return sum(((1 - decay) * decay ** (last - i) * g for i, g in enumerate(values)), torch.zeros_like(weights)) / (
            1 - decay ** (last + 1)
        )

    if kind == "sgd":
        return gradients[-1]
    if kind == "momentum":
        return sum((0.9 ** (last - i) * g for i, g in enumerate(gradients)), torch.zeros_like(weights))
    adam = moment(0.9, gradients) / (moment(0.999, [g * g for g in gradients]).sqrt() + 1e-8)
    return adam + (0.05 * weights if kind == "adamw" else 0.0)


OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p, lr: torch.optim.SGD(p, lr=lr),
    "momentum": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9),
    "adam": lambda p, lr: torch.optim.Adam(p, lr=lr),
    "adamw": lambda p, lr: torch.optim.AdamW(p, lr=lr, weight_decay=0.05),
}


def flown_line(kind: str, generator: torch.Generator) -> tuple[float, float, list[LineLosses]]:
    """A pilot's Lines over a random quadratic: the lr, the analytic best lr of the same step, what was seen."""
    size = int(torch.randint(2, 30, (), generator=generator))
    hessian = random_hessian(generator, size, 10 ** (6 * torch.rand((), generator=generator).item()))
    model = Weights(torch.randn(size, generator=generator, dtype=torch.float64))
    lr = 10 ** (2 * torch.rand((), generator=generator).item() - (2.0 if kind == "sgd" else 3.0))
    optimizer = OPTIMIZERS[kind](model.parameters(), lr)

    def loss_fn(model: Any, centre: Tensor) -> Tensor:
        away = model.values - centre
        return away @ hessian @ away / 2

    # Probes read the quadratic itself; the loop trains on shifted ones, as if on batches.
    training = Training(model, optimizer, loss_fn, [torch.zeros(size, dtype=torch.float64)] * 3)
    pilot = Pilot(training, Listed((Train(constant(lr), STEPS - 1), Line(THREE), Line(FIVE))), STEPS + 1)
    gradients = []
    for _ in range(STEPS):
        centre = 0.1 * torch.randn(size, generator=generator, dtype=torch.float64)
        before = model.values.detach().clone()
        optimizer.zero_grad()
        loss_fn(model, centre).backward()
        gradients.append(hessian @ (before - centre))
        optimizer.step()
        pilot.step()
    along = direction(kind, gradients, before)
    best_lr = float(before @ hessian @ along / (along @ hessian @ along))
    return lr, best_lr, [e.observation for e in pilot.history.events if isinstance(e.observation, LineLosses)]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_on_a_convex_quadratic_a_live_line_has_the_analytic_minimiser(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        lr, best_lr, seen = flown_line(kind, generator)
        assert [line.factors for line in seen] == [THREE, FIVE]
        for line in seen:
            minimiser = fit_line(line.factors, line.losses).minimiser
            assert minimiser is not None
            assert (minimiser - 1.0) * lr == pytest.approx(best_lr - lr, rel=1e-6), "ε*"
            assert minimiser * lr == pytest.approx(best_lr, rel=1e-6)


# --------------------------------------------------------------- float32


SIZE, BATCHES, LINES_A_STEP = 12, 6, 50


def noisy_training(lr: float, cases: int) -> tuple[Training, Tensor]:
    """Quadratics with centres and curvatures scattered about known ones, in float32; the mean Hessian's diagonal."""
    generator = torch.Generator().manual_seed(0)
    hessian, batches = torch.logspace(0, -2, SIZE), BATCHES * cases
    centres = torch.randn(batches, SIZE, generator=generator)
    bends = hessian * (0.5 + torch.rand(batches, SIZE, generator=generator))
    model = Weights(3.0 + torch.randn(SIZE, generator=generator))

    def loss_fn(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
        centre, bend = batch
        return 2.0 + (bend * (model.values - centre) ** 2).sum() / 2

    data = list(zip(centres, bends, strict=True))
    return Training(model, torch.optim.SGD(model.parameters(), lr=lr), loss_fn, data, data[:1]), hessian.double()


def noisy_fits(lr: float, cases: int) -> list[tuple[LineFit, float]]:
    """Fits of Lines that each have batches of their own, and where the minimum of the mean loss is on each."""
    training, hessian = noisy_training(lr, cases)
    list(training.probe_data.train.take(BATCHES * cases))  # kept from now on
    substrate, many, seen = LiveSubstrate(training), BATCHES * LINES_A_STEP, []
    for index in range(cases // LINES_A_STEP):
        before = training.model.values.detach().double()
        substrate.arm_line()
        substrate.before_kept_step()
        training.step((torch.randn(SIZE, generator=torch.Generator().manual_seed(index)), hessian.float()))
        substrate.after_kept_step()
        moved = training.model.values.detach().double() - before
        best = -float(before @ (hessian * moved) / (moved @ (hessian * moved)))
        table = substrate.line(Line(THREE, many, first=index * many))
        seen += [(fit_line(THREE, table[i : i + BATCHES]), best) for i in range(0, many, BATCHES)]
    return seen


def test_in_float32_the_uncertainty_covers_the_error() -> None:
    fits, margin = noisy_fits(0.3, cases=1000), t_quantile(0.975, BATCHES - 1)
    by_error = [abs((fit.minimiser or math.inf) - best) <= margin * fit.minimiser_error for fit, best in fits]
    ends = [(fit.interval(-100.0, 100.0, 0.95), best) for fit, best in fits]
    by_interval = [low <= best <= high for (low, high), best in ends]
    for covered in (by_error, by_interval):
        assert len(covered) == 1000
        assert 930 <= sum(covered) <= 970, "95 %, give or take three standard errors of 0.7 %"


def test_where_rounding_hides_the_curvature_the_interval_is_right_all_the_same() -> None:
    """The minimum is thousands of steps away, and what the fit takes for curvature is the rounding of the weights."""
    fits = noisy_fits(3e-4, cases=100)
    assert min(best for _, best in fits) > 1000
    wild = sum(fit.minimiser is None or abs(fit.minimiser - best) > 0.5 * best for fit, best in fits)
    assert wild > 50, "the minimiser says nothing"
    assert all(fit.interval(0.1, 3.0, 0.95) == (3.0, 3.0) for fit, _ in fits), (
        "but that the loss falls to the end is sure"
    )


# ---------------------------------------------------------------- a cubic


def test_on_a_cubic_a_live_tuner_narrows_its_region_until_the_prediction_holds() -> None:
    """Probes read -x + 0.01 x² + 3 x³, where x is in steps from the weight at which the first Line is read."""
    lr, window = 0.1, 10
    model = Weights(torch.zeros(2, dtype=torch.float64))
    there = lr * (2 * 1e-3 + window)  # two steps at a thousandth of the lr come first

    def loss_fn(model: Any, batch: Tensor) -> Tensor:
        weight = model.second.sum()
        if batch < 0:  # the loop's own: every step is of one length
            return -weight
        x = (weight - there) / lr
        return 9.0 + batch - x + 0.01 * x**2 + 3.0 * x.clamp(min=-0.6) ** 3

    data = list(0.1 * torch.arange(4, dtype=torch.float64))
    training = Training(model, torch.optim.SGD(model.parameters(), lr=lr), loss_fn, data, data)
    pilot = Pilot(training, LRTuner(1.0, window=window, overhead=None), total_steps=window + 5)
    for _ in range(window + 3):
        training.step(-torch.ones((), dtype=torch.float64))
        pilot.step()
    lines = [e for e in pilot.history.events if isinstance(e.action, Line) and e.action.factors != (1.0,)]
    read = [(e.action.factors, e.observation.losses) for e in lines if isinstance(e.observation, LineLosses)]
    assert [factors for factors, _ in read] == [(0.5, 1.5), (2.0,), (0.75, 1.25), (1.5,), (0.875, 1.125), (1.25,)]
    (outer, sides), (target, checked) = read[-2:]
    rows = [(low, 9.0 + 0.1 * i, high) for i, (low, high) in enumerate(sides)]
    change = sum(row[0] - (9.0 + 0.1 * i) for i, row in enumerate(checked)) / len(checked)
    fit = fit_line((outer[0], 1.0, outer[1]), rows)
    assert is_good_enough(fit.prediction_error(target[0], change)) and change < 0
    assert pilot.history.lrs[-1] == pytest.approx(1.25 * lr)
