"""Diamonds: what is made of the columns."""

import numpy as np
import pytest
import torch

from lrpilot.errors import MissingDependencyError
from lrpilot_bench.tasks import diamonds


def columns(many: int) -> dict[str, np.ndarray]:
    """Generated columns; the last row repeats the first."""
    rng = np.random.default_rng(0)
    made = {name: rng.uniform(1, 9, many) for name in diamonds.NUMBERS}
    made |= {name: rng.integers(0, len(values), many).astype(float) for name, values in diamonds.CATEGORIES.items()}
    for column in made.values():
        column[-1] = column[0]
    return made


@pytest.fixture
def _generated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diamonds, "diamonds", lambda: columns(9_000))


@pytest.mark.usefixtures("_generated")
def test_repeated_rows_are_dropped_and_categories_become_ones() -> None:
    table = diamonds.rows()

    assert table.shape == (8_999, 6 + 5 + 7 + 8 + 1)
    ones = table[:, 6:-1]
    assert set(np.unique(ones)) == {0.0, 1.0}
    for part in np.split(ones, [5, 12], axis=1):
        assert (part.sum(axis=1) == 1).all()
    assert sorted(np.exp(table[:, -1])) == pytest.approx(sorted(columns(9_000)["price"][:-1]))


@pytest.mark.usefixtures("_generated")
def test_parts_are_scaled_by_the_training_part_and_hold_every_row_once() -> None:
    splits = diamonds.data()

    assert [len(part) for part in splits] == [999, 4_000, 4_000]
    torch.testing.assert_close(splits.train.inputs.mean(dim=0), torch.zeros(26), atol=1e-5, rtol=0)
    torch.testing.assert_close(splits.train.inputs.std(dim=0, correction=0), torch.ones(26), atol=1e-4, rtol=0)
    targets = torch.cat([part.targets for part in splits]).squeeze(1)
    # centred, not scaled: differences of targets are differences of log prices
    prices = np.sort(np.log(columns(9_000)["price"][:-1]))
    np.testing.assert_allclose(np.diff(targets.sort().values), np.diff(prices), atol=1e-6)
    assert splits.train.targets.mean().item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("size", [0.0, 58.9])
def test_rows_with_impossible_sizes_are_dropped(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    made = columns(9_000)
    made["y"][17] = size
    monkeypatch.setattr(diamonds, "diamonds", lambda: made)

    table = diamonds.rows()

    assert len(table) == 8_998
    assert size not in table[:, 4]


def test_far_values_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    made = columns(9_000)
    made["table"][17] = 1_000.0
    monkeypatch.setattr(diamonds, "diamonds", lambda: made)

    assert max(part.inputs.abs().max().item() for part in diamonds.data()) == diamonds.FARTHEST


def test_the_split_is_the_same_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diamonds, "diamonds", lambda: columns(9_000))

    for a, b in zip(diamonds.data(), diamonds.data(), strict=True):
        assert torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets)


def test_the_score_is_the_absolute_error() -> None:
    outputs, targets = torch.tensor([[1.0], [-2.0]]), torch.tensor([[1.5], [1.0]])

    assert diamonds.absolute_error(outputs, targets).tolist() == [[0.5], [3.0]]


@pytest.mark.data
def test_a_linear_fit_explains_most_of_the_price() -> None:
    try:
        splits = diamonds.data()
    except MissingDependencyError as error:
        pytest.skip(str(error))

    def with_one(inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1).double()

    weights = torch.linalg.lstsq(with_one(splits.train.inputs), splits.train.targets.double(), driver="gelsd").solution
    error = (with_one(splits.val.inputs) @ weights - splits.val.targets).square().mean().item()
    # log prices have a variance of 1.03; the net gets to 0.011
    assert 0.011 < error < 0.05
