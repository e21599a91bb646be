"""The noise of superbatches, drawn from Lines whose noise is known."""

import numpy as np
import pytest

from lrpilot.policies.lr_tuner.published import PAPER_FACTORS
from lrpilot_bench.studies import line_noise
from lrpilot_bench.studies.line_noise import SIZES, draw, noise, wanted_factor
from lrpilot_bench.studies.line_noise_page import enough_paired

FACTORS = np.array(PAPER_FACTORS)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_noise, "DRAWS", 150)


def pool(*, level: float, slope: float, count: int = 100) -> np.ndarray:
    """Bowls with their minimum at 0.8 whose level and slope differ from minibatch to minibatch."""
    generator = np.random.default_rng(1)
    levels, slopes = level * generator.normal(size=(count, 1)), slope * generator.normal(size=(count, 1))
    return 2.0 + levels + (FACTORS - 0.8) ** 2 + slopes * (FACTORS - 1.0)


def test_a_paired_draw_has_whole_rows_and_a_fresh_one_has_not() -> None:
    rows = np.arange(50.0).reshape(10, 5)
    generator = np.random.default_rng(0)
    paired, fresh = draw(rows, 20, generator, paired=True), draw(rows, 20, generator, paired=False)
    assert paired.shape == fresh.shape == (20, 5)
    assert all(row in rows.tolist() for row in paired.tolist())
    assert not all(row in rows.tolist() for row in fresh.tolist())
    assert all(set(fresh[:, i]) <= set(rows[:, i]) for i in range(5)), "every factor keeps its own losses"


def test_the_wanted_factor_by_hand() -> None:
    assert wanted_factor(pool(level=0.0, slope=0.0)) == pytest.approx(0.8)
    # without a minimum: the best of the sampled factors
    assert wanted_factor(-pool(level=0.0, slope=0.0)) == 1.5


def test_what_is_common_to_all_factors_drops_out_of_paired_draws_alone() -> None:
    seen = noise(pool(level=0.3, slope=0.0), np.random.default_rng(0))
    assert [row["minibatches"] for row in seen["sizes"]] == list(SIZES)
    for row in seen["sizes"]:
        assert row["loss"]["deviation"] == pytest.approx(0.3 / row["minibatches"] ** 0.5, rel=0.25)
        assert row["paired"]["deviation"] < 1e-6 and row["paired"]["same_sign"] == 1.0
        assert row["fresh"]["deviation"] > 0.02
    assert seen["sizes"][0]["fresh"]["same_sign"] < 0.9


def test_noise_falls_with_the_root_of_the_size() -> None:
    paired = [
        row["paired"]["deviation"] for row in noise(pool(level=0.0, slope=0.1), np.random.default_rng(0))["sizes"]
    ]
    # the minimiser moves by slope / 2
    assert paired[-1] == pytest.approx(0.05 / 10, rel=0.25)


def test_enough_paired_minibatches_by_hand() -> None:
    sizes = [
        {"minibatches": n, "paired": {"deviation": paired}, "fresh": {"deviation": 0.3}}
        for n, paired in ((1, 0.5), (5, 0.3), (100, 0.1))
    ]
    assert enough_paired(sizes) == 5
