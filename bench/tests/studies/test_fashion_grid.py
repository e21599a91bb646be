"""The judge is a plain loop that can be repeated bit for bit."""

import itertools

import pytest

from lrpilot_bench.studies import fashion_grid
from lrpilot_bench.studies.fashion_grid import fly, grid, jobs, lr_at
from lrpilot_bench.studies.fashion_tasks import CONFIGS


def job(config: str = "bn-sgd", **settings: object) -> dict[str, object]:
    return {"config": config, "schedule": "linear", "lr": 0.05, "seed": 0, "steps": 12, "train_images": 300, **settings}


def test_schedules_by_hand() -> None:
    # 100 steps: 5 of warmup, then 95 down to zero after the last
    linear = [lr_at(step, 0.5, "linear", 100) for step in range(100)]
    assert linear[:6] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5])
    assert linear[99] == pytest.approx(0.5 / 95)
    assert {lr_at(step, 0.5, "constant", 100) for step in range(100)} == {0.5}


@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize("config", CONFIGS)
def test_a_run_repeats_bit_for_bit_and_learns(config: str) -> None:
    lr = 0.05 if "sgd" in config else 0.005
    first, second = fly(job(config, lr=lr)), fly(job(config, lr=lr))

    assert first == second
    assert first["train_losses"][-1][1] < first["train_losses"][0][1]
    assert first["steps_taken"] == 12


@pytest.mark.usefixtures("small_data")
def test_seeds_are_paired_across_lrs_and_schedules() -> None:
    runs = [fly(job(lr=lr, schedule=schedule)) for lr in (0.01, 0.1) for schedule in ("constant", "linear")]

    assert len({run["start_loss"] for run in runs}) == 1  # same initial weights
    assert len({run["train_losses"][0] for run in runs}) == 1  # and the same first batch
    assert fly(job(seed=1))["start_loss"] != runs[0]["start_loss"]


@pytest.mark.usefixtures("small_data")
def test_a_diverging_run_stops_and_is_recorded_without_numbers() -> None:
    run = fly(job("plain-sgd", lr=1e6, schedule="constant", steps=50))

    assert run["diverged"]
    assert run["val_loss"] is None and run["val_accuracy"] is None
    assert run["steps_taken"] < 50


def test_the_grid_is_fine_and_every_run_is_listed_once() -> None:
    for config in CONFIGS:
        lrs = grid(config)
        assert len(lrs) >= 9
        assert all(b / a < 2.2 for a, b in itertools.pairwise(lrs))
    listed = jobs(steps=10)
    assert len({tuple(j.items()) for j in listed}) == len(listed)
    one_seed = 2 * sum(len(grid(config)) for config in CONFIGS)
    assert {j["seed"] for j in listed[:one_seed]} == {0}  # a part of the sweep is a whole sweep of fewer seeds
    assert {j["seed"] for j in listed[one_seed : 3 * one_seed]} == {1, 2}


def test_the_judge_does_not_use_what_it_judges() -> None:
    source = fashion_grid.__file__
    assert source is not None
    with open(source, encoding="utf-8") as file:
        imported = {line.split()[1] for line in file if line.startswith(("import lrpilot", "from lrpilot"))}
    own = {"lrpilot_bench.studies.checkout", "lrpilot_bench.studies.fashion_tasks"}
    assert imported - own == {"lrpilot_bench.store.records"}
