"""Regrets and the page that shows them, on made-up grids."""

import math
from pathlib import Path

import pytest

from lrpilot.errors import DataError
from lrpilot_bench.store.records import append_record
from lrpilot_bench.studies.finders_page import page, write_page
from lrpilot_bench.studies.finders_table import Curve, Suggestion, curve, suggestions

GRID = Curve(lrs=(0.01, 0.1, 1.0), losses=(0.8, 0.4, math.inf), accuracies=(0.7, 0.9, 0.0), spread=0.01)


def run(lr: float, seed: int, loss: float | None, schedule: str = "constant", config: str = "a") -> dict[str, object]:
    accuracy = None if loss is None else 1 - loss
    return {
        "config": config, "schedule": schedule, "lr": lr, "seed": seed, "steps": 1116, "train_images": 12000,
        "val_loss": loss, "val_accuracy": accuracy, "seconds": 36.0,
    }  # fmt: skip


def search(
    seed: int, found: float | None, target: str = "decay", window: list[float] | None = None
) -> dict[str, object]:
    return {
        "config": "a", "target": target, "method": "step_sampling", "seed": seed, "train_images": 12000,
        "suggestions": {"annealed" if target == "decay" else "log_midpoint": found}, "window": window,
        "interval": [0.2, 0.4] if target == "decay" else None,
        "cost_in_steps": 100.0,
    }  # fmt: skip


def test_regret_lies_on_straight_lines_over_log_lr() -> None:
    assert GRID.regret(0.1) == 1.0
    assert GRID.regret(0.01) == 2.0
    assert GRID.regret(10**-1.5) == pytest.approx(1.5)  # half way: (0.8 + 0.4) / 2 / 0.4
    assert GRID.regret(10**-1.25) == pytest.approx(1.25)
    assert GRID.accuracy(10**-1.5) == pytest.approx(0.8)


def test_regret_beside_a_diverged_grid_point_is_infinite() -> None:
    assert GRID.regret(0.2) == math.inf
    assert GRID.regret(1.0) == math.inf


def test_outside_the_grid_the_nearest_end_counts_and_is_marked() -> None:
    assert GRID.regret(1e-6) == 2.0
    assert not GRID.covers(1e-6)
    assert GRID.covers(0.01) and GRID.covers(1.0) and not GRID.covers(1.1)


def test_a_curve_is_the_mean_over_seeds() -> None:
    made = curve([run(0.1, 0, 0.4), run(0.01, 0, 0.5), run(0.1, 1, 0.2), run(0.01, 1, None)])

    assert made.lrs == (0.01, 0.1)
    assert made.losses == (math.inf, pytest.approx(0.3))
    assert made.accuracies == (pytest.approx(0.25), pytest.approx(0.7))
    assert made.spread == pytest.approx(0.2 / math.sqrt(2))  # of 0.4 and 0.2
    assert made.half_step == pytest.approx(math.sqrt(10))


def test_suggestions_are_summed_up_over_seeds_in_log_lr() -> None:
    rule = Suggestion("rule", ("linear",), (0.1, 0.001, 0.05), 10)
    assert rule.median == pytest.approx(0.05)
    assert Suggestion("rule", ("linear",), (0.1, 0.001), 10).median == pytest.approx(0.01)
    assert rule.regret(GRID) == GRID.regret(0.05)
    assert rule.worst(GRID) == 2.0


def test_a_missing_suggestion_is_a_loss_not_a_gap() -> None:
    rule = Suggestion("rule", ("linear",), (0.1, None, 0.1), 10)

    assert rule.median is None
    assert rule.regret(GRID) == math.inf and rule.worst(GRID) == math.inf


def test_rules_are_read_from_both_kinds_of_records() -> None:
    peers = [{"config": "a", "peer": "tool", "seed": s, "lr": 0.1, "cost_in_steps": 90 + s} for s in (0, 1)]
    found = suggestions([search(0, 0.1), search(1, 0.2), search(0, 0.01, "constant")], peers)

    assert [(s.rule, s.meant_for, s.lrs) for s in found] == [
        ("lrpilot decay: annealed", ("linear",), (0.1, 0.2)),
        ("lrpilot constant: log_midpoint", ("constant",), (0.01,)),
        ("tool", ("constant", "linear"), (0.1, 0.1)),
    ]
    assert found[2].cost == 90.5


def made_up() -> tuple[list[dict[str, object]], list[dict[str, object]], list[dict[str, object]]]:
    grid = [
        run(lr, seed, loss + 0.01 * seed, schedule)
        for schedule, losses in (("constant", (0.4, 0.5)), ("linear", (0.5, 0.25)))
        for lr, loss in zip((0.01, 0.1), losses, strict=True)
        for seed in (0, 1)
    ]
    peers = [
        {"config": "a", "peer": "tool", "seed": s, "lr": lr, "cost_in_steps": 100, "train_images": 12000}
        for s, lr in enumerate((1e-6, None))
    ]
    finders = [search(0, 0.1), search(1, 0.1), search(0, 1e-3, "constant", [0.02, 0.2])]
    return grid, peers, finders


def test_the_page_shows_wins_and_losses() -> None:
    text = page(*made_up(), {"a": "the only one"})

    assert "| smallest loss of the grid, constant | 0.01 | loss 0.4050 ± 0.0071, 59.5% |  | |" in text
    assert "| lrpilot decay: annealed | 0.1 (0.1 to 0.1) | 1.247, 49.5% | **1.000, 74.5%** | 100 |" in text
    assert "**≥ 1.000, 59.5%**" in text  # 1e-3 lies below the grid
    assert "| tool | none for 1 of 2 seeds | – | – | 100 |" in text
    assert "| tool | linear | ∞ | ∞ | – | 0 of 1 | 100 |" in text
    assert "Window of step sampling: 0.02 to 0.2 (medians), 1.0 decades wide; it holds the best" in text
    assert "constant lr by loss, 0.01, give or take half a grid step, for 1 of 1 seeds" in text  # half a step: 3.2x
    assert "Interval of the decay search: 0.2 to 0.4" in text
    assert "linear peak by loss, 0.1, give or take half a grid step, for 2 of 2 seeds" in text
    assert "8 runs, 0.1 hours" in text


def test_the_summary_is_sorted_and_averages_geometrically() -> None:
    grid, _, _ = made_up()
    other = [{**r, "config": "b"} for r in grid]
    finders = [search(0, 0.1), {**search(0, 0.01), "config": "b"}, search(0, 0.01, "constant")]
    finders.append({**search(0, 0.01, "constant"), "config": "b"})
    text = page(grid + other, [], finders, {"a": "first", "b": "second"})

    constant = text.index("| lrpilot constant: log_midpoint | constant | 1.000 |")
    ratio = math.sqrt(0.505 / 0.255)  # regrets 1 and 0.505 / 0.255; accuracies 0 and 25 points below
    assert constant < text.index(f"| lrpilot decay: annealed | linear | {ratio:.3f} | {ratio**2:.3f} | 12.5 | 1 of 2 |")


def test_the_page_shows_where_loss_and_accuracy_disagree() -> None:
    grid, peers, finders = made_up()
    for record in grid:
        if record["schedule"] == "linear" and record["lr"] == 0.01:
            record["val_accuracy"] = 0.9

    text = page(grid, peers, finders, {"a": "the only one"})

    assert "| smallest loss of the grid, linear | 0.1 |  | loss 0.2550 ± 0.0071, 74.5% | |" in text
    assert "| highest accuracy of the grid, linear | 0.01 |  | loss 0.5050, 90.0% | |" in text
    assert "| lrpilot decay: annealed | linear | 1.000 | 1.000 | 15.5 | 1 of 1 | 100 |" in text


def test_a_grid_that_is_not_there_is_an_error() -> None:
    grid, peers, finders = made_up()

    with pytest.raises(DataError, match="linear"):
        page([r for r in grid if r["schedule"] == "constant"], peers, finders, {"a": "the only one"})


def test_the_page_is_written_from_the_records_of_one_data_size(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("grid", "peers", "finders")]
    for file, records in zip(files, made_up(), strict=True):
        for record in records:
            append_record(file, record)
            append_record(file, {**record, "train_images": 58000, "lr": 5.0})

    write_page(tmp_path / "docs" / "page.md", *files, {"a": "the only one"}, images=12000)

    assert (tmp_path / "docs" / "page.md").read_text() == page(*made_up(), {"a": "the only one"})
