"""Sides of the split, Autopilot's parts, its other budgets and times to a loss: by hand, then on the pages."""

import math
from dataclasses import replace
from typing import Any

import pytest
from bench_records import CATALOGUE, GRID, oracle_records, seeded, swept
from report_parts import markdown_of, page_of

from lrpilot_bench.analysis.autopilot import ORACLES_OWN, READ_AS, by_side, parts, time_rows
from lrpilot_bench.analysis.catalogue import Catalogue, MethodFacts, registered
from lrpilot_bench.analysis.compare import all_rows
from lrpilot_bench.analysis.oracle import oracle
from lrpilot_bench.analysis.recorded import Bench, load
from lrpilot_bench.protocol.split import split_tasks
from lrpilot_bench.report.findings import find
from lrpilot_bench.report.pilot_tables import budget_table, part_rows, side_rows
from lrpilot_bench.report.pilot_tables import time_rows as time_lines
from lrpilot_bench.tasks.registry import tasks

LRS = {"sgd": 0.1, "adamw": 0.1}
MORE = (
    MethodFacts("autopilot", "Autopilot", "lrpilot", lrs=LRS),
    MethodFacts("autopilot_ordinary", "Autopilot, ordinary", "ablation", lrs=LRS),
    MethodFacts("autopilot_averaged_at_lr", "averaged at the oracle's lr", "ablation", lrs=LRS),
    MethodFacts("linear_ema_99", "linear, ema", "ablation", lrs=LRS),
    MethodFacts("cosine_ema_99", "cosine, ema", "ablation", lrs=LRS),
    MethodFacts("linear_unwarmed", "linear, no warmup", "ablation", lrs=LRS),
)
SPLIT = Catalogue(
    {name: replace(CATALOGUE.tasks[name], side=side) for name, side in (("t", "development"), ("u", "judging"))},
    {**CATALOGUE.methods, **{facts.name: facts for facts in MORE}},
)


def read(*records: list[dict[str, Any]]) -> Bench:
    return load([each for some in records for each in some], SPLIT)


def both(method: str, losses: list[float], **more: Any) -> list[dict[str, Any]]:
    return seeded("t", method, losses, **more) + seeded("u", method, [2 * loss for loss in losses], **more)


@pytest.fixture(scope="module")
def bench() -> Bench:
    """The oracle ends at 1.0, 1.1, ... on either task; Autopilot at 0.9 of it on t, at 1.8 on u."""
    return read(
        oracle_records("t"),
        oracle_records("u"),
        both("autopilot", [0.9, 0.99]),
        both("autopilot_ordinary", [0.5, 0.55]),
        both("gen", [1.2, 1.32]),
        both("nothing", [1.5, 1.5]),
        seeded("t", "autopilot_averaged_at_lr", [0.8, 0.88], lr=GRID[4]),
        seeded("t", "autopilot_averaged_at_lr", [7.0], lr=GRID[6]),
        seeded("u", "autopilot_averaged_at_lr", [math.inf], lr=GRID[4]),
        seeded("t", "cosine_ema_99", [0.7], lr=GRID[4]),
        seeded("t", "linear_ema_99", [0.1], lr=GRID[4]),
        both("linear_unwarmed", [0.3]),
        swept("t", "cosine", best_lr=GRID[4], best=0.5, horizon=4.0),
        seeded("t", "autopilot", [0.6], horizon=4.0),
        seeded("t", "autopilot", [4.0], horizon=0.25),
    )


def bars(of: Bench) -> dict[str, Any]:
    return {task: oracle(of, task) for task in of.tasks()}


def test_every_task_of_the_comparison_has_its_side_in_the_catalogue() -> None:
    known = {name: facts.side for name, facts in registered().tasks.items() if facts.side is not None}
    assert known == split_tasks(tasks().values())


def test_sides_have_means_of_their_own(bench: Bench) -> None:
    heads = by_side(bench, all_rows(bench))
    means = {side: {head.method: head.regret for head in of_side} for side, of_side in heads.items()}
    assert means["development"]["autopilot"] == pytest.approx(0.9)
    assert means["judging"]["autopilot"] == pytest.approx(1.8)
    assert means["judging"]["gen"] == pytest.approx(2.4)


def test_what_is_there_to_choose_by_does_not_compete(bench: Bench) -> None:
    names = {row.method for rows in all_rows(bench).values() for row in rows}
    assert "autopilot" in names and not {"autopilot_ordinary", "linear_unwarmed"} & names


def test_parts_are_judged_at_the_lr_that_they_were_flown_at(bench: Bench) -> None:
    found = {part.title: part for part in parts(bench, bars(bench))}
    assert next(iter(found)) == "Autopilot"
    assert found["Autopilot, ordinary"].regrets == pytest.approx({"t": 0.5, "u": 1.0})
    at_lr = found["averaged at the oracle's lr"]
    assert at_lr.regrets == {"t": pytest.approx(0.8), "u": math.inf}, "not the run at another lr"
    assert (at_lr.failures, at_lr.runs, at_lr.worst) == (1, 3, ("u", math.inf))
    assert at_lr.mean(["t"]) == pytest.approx(0.8) and at_lr.mean(["nowhere"]) is None
    assert found[f"{READ_AS}ema 0.99"].regrets == pytest.approx({"t": 0.7}), "of the schedule that won, no other"
    assert len(found) == 4, "a baseline of papers is no part of it"


def test_time_is_told_to_the_oracles_loss_and_to_the_defaults(bench: Bench) -> None:
    found = {row.title: row for row in time_rows(bench, bars(bench))}
    own, pilot = found[ORACLES_OWN], found["Autopilot"]
    # The curves of these records come to their final loss at three quarters of the compute.
    assert own.to_oracle.median == 0.75 and (own.to_oracle.missed, own.to_oracle.runs) == (4, 10)  # seeds 3 and 4
    assert (pilot.to_oracle.median, pilot.to_oracle.missed, pilot.to_oracle.runs) == (math.inf, 2, 4), "never on u"
    assert pilot.to_default is not None and (pilot.to_default.missed, pilot.to_default.runs) == (0, 4)


def test_without_a_default_there_is_no_time_to_its_loss() -> None:
    lone = read(oracle_records("t"), seeded("t", "autopilot", [0.9]))
    assert {row.to_default for row in time_rows(lone, bars(lone))} == {None}


def test_the_tables_say_it(bench: Bench) -> None:
    findings = find(bench)
    rows = {row.head: row for row in side_rows(findings)}
    assert [cell.text for cell in rows["Autopilot"].cells] == ["0.900", "1.800", "u 1.800", "0/4"]  # type: ignore[union-attr]
    assert next(iter(rows)) == "Autopilot", "the best on development tasks first"
    parted = {row.head: [cell.text for cell in row.cells] for row in part_rows(findings)}  # type: ignore[union-attr]
    assert parted["averaged at the oracle's lr"] == ["0.800", "∞", "u ∞", "1/3"]
    columns, lines = budget_table(findings)
    assert columns == ["budget ×1/4", "budget ×1", "budget ×4"]
    by_head = {row.head: [cell.text for cell in row.cells] for row in lines}  # type: ignore[union-attr]
    assert by_head["t"] == ["not run", "0.900", "1.200"], "of no sweep at a quarter there is no regret"
    assert by_head["development, mean"][1:] == ["0.900", "1.200"]
    assert {row.head for row in time_lines(findings)} >= {ORACLES_OWN, "Autopilot"}


def test_both_pages_show_them_and_other_budgets_of_autopilot_alone_stay_out_of_the_comparison(bench: Bench) -> None:
    markdown = markdown_of(bench)
    for title in ("Development and judging tasks", "What each part of Autopilot is worth", "Time to a loss"):
        assert f"## {title}" in markdown
    assert "swept anew at every budget" in markdown and "best of a sweep at the same budget" not in markdown
    assert len(page_of(bench).section("sides").tables) == 3


def test_a_benchmark_without_autopilot_and_sides_has_none_of_it() -> None:
    plain = load([*oracle_records("t"), *seeded("t", "gen", [1.2])], CATALOGUE)
    markdown = markdown_of(plain)
    assert "Development and judging" not in markdown and "part of Autopilot" not in markdown
