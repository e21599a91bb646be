"""What the report says, checked against the records it is made from."""

import math
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fake_records import CATALOGUE, TASKS, Faker, bench_records

from lrpilot.bench.analysis.catalogue import Catalogue
from lrpilot.bench.analysis.runs import load
from lrpilot.bench.report.document import Document, Section, Table
from lrpilot.bench.report.findings import Findings, find
from lrpilot.bench.report.html_page import html_page
from lrpilot.bench.report.markdown_page import markdown_page
from lrpilot.bench.report.page import document as made_of
from lrpilot.bench.report.page import report
from lrpilot.bench.report.part_robust import robustness

Record = dict[str, Any]


def section(document: Document, name: str) -> Section:
    return next(part for part in document.sections if part.name == name)


def tables(part: Section) -> list[Table]:
    return [block for block in part.blocks if isinstance(block, Table)]


def cell(table: Table, row: str, column: str) -> str:
    line = next(line for line in table.rows if line.head == row)
    return str(line.cells[table.columns.index(column) - 1].words)


def losses(records: list[Record], task: str, method: str, **more: Any) -> dict[int, float]:
    wanted = {"task": task, "method": method, "horizon": 1.0, "repeat": 0, "lr_factor": 1.0, **more}
    chosen = [r for r in records if all(r[key] == value for key, value in wanted.items())]
    return {r["seed"]: r["final"]["val_loss"] for r in chosen}


def test_a_regret_is_what_the_records_say(records: list[Record], findings: Findings, document: Document) -> None:
    """Slow and by hand: the best point of the sweep, then the geometric mean of ratios of paired seeds."""
    task = "char_kjv"
    swept = [
        (r["final"]["val_loss"], r["method"], r["lr"])
        for r in records
        if r["task"] == task and r["method"] in ("linear", "cosine", "wsd") and r["seed"] == 0
        and r["horizon"] == 1.0 and r["lr_factor"] == 1.0 and r["status"] == "finished"
    ]  # fmt: skip
    _, kind, lr = min(swept)
    assert (findings.oracles[task].kind, findings.oracles[task].lr) == (kind, lr)
    bar, own = losses(records, task, kind, lr=lr), losses(records, task, "schedule_free")
    logs = [math.log(own[seed] / bar[seed]) for seed in own]
    expected = f"{math.exp(sum(logs) / len(logs)):.3f}"
    assert cell(tables(section(document, "headline"))[0], "schedule-free", task) == expected


def test_methods_not_at_equal_compute_or_not_everywhere_stand_apart(document: Document) -> None:
    everywhere, partly, free = tables(section(document, "headline"))
    assert [row.head for row in partly.rows] == ["GeN"]
    assert [row.head for row in free.rows] == ["find_lr (decay) + linear, search free"]
    assert not {"GeN", "find_lr (decay) + linear, search free"} & {row.head for row in everywhere.rows}
    assert cell(partly, "GeN", "char_kjv") == "not run"


def test_failures_are_infinite_counted_and_listed(document: Document) -> None:
    headline = tables(section(document, "headline"))[0]
    assert cell(headline, "efficient-polling-lr-scheduler", "regret, mean") == "∞"
    assert cell(headline, "efficient-polling-lr-scheduler", "failed runs") == "3 of 18"
    listed = tables(section(document, "failures"))[0]
    crash = next(row for row in listed.rows if "crashed" in [c.words for c in row.cells])
    assert (crash.head, crash.cells[3].words) == ("efficient-polling-lr-scheduler", "0, 1, 2")


def test_a_tie_is_called_a_tie(findings: Findings, document: Document) -> None:
    headline = tables(section(document, "headline"))[0]
    for row in findings.rows["fashion_bn"]:
        line = next((line for line in headline.rows if line.head == row.title), None)
        if line is not None and not row.failures:
            assert line.cells[headline.columns.index("fashion_bn") - 1].mark == row.regret.verdict
    marks = {c.mark for line in headline.rows for c in line.cells}
    assert {"tie", "loss", "fail"} <= marks


def test_the_answer_about_fine_tuning_names_every_pick(findings: Findings, document: Document) -> None:
    text = markdown_page(document)
    start = text.index("huggingface/transformers")
    answer = text[start : start + 3000]
    for words in ("Within one grid step of it: find\\_lr, target decay", "too small: ", "pytorch-lr-finder** picks"):
        assert words in answer, words
    assert len(findings.finders["minilm_movies"]) == 5


def test_without_picks_on_the_fine_tuning_task_there_is_no_answer(records: list[Record]) -> None:
    others = [r for r in records if r["task"] != "minilm_movies"]
    assert "so there is no answer" in markdown_page(report(load(others, CATALOGUE)))


def test_start_lrs_are_ranked_by_their_worst_case(findings: Findings) -> None:
    ranked = robustness(findings)
    assert ranked[0].title == "Prodigy + cosine"
    worst = [entry.worst for entry in ranked]
    assert worst == sorted(worst) and math.isinf(worst[-1])
    sgd = next(entry for entry in ranked if entry.title == "SGD 0.1, steps")
    assert sgd.failures[30.0] == (18, 18)


def test_what_was_not_run_is_counted_by_method_and_task(findings: Findings, document: Document) -> None:
    part = section(document, "not-run")
    assert findings.missing is not None
    listed = sum(int(str(row.cells[1].words).replace(",", "")) for row in tables(part)[0].rows)
    assert listed == len(findings.missing) == 30


def test_an_unknown_plan_is_stated(findings: Findings) -> None:
    text = markdown_page(made_of(replace(findings, missing=None)))
    assert "what is missing cannot be listed" in text


def test_a_broken_check_turns_the_panel(records: list[Record]) -> None:
    bad = [dict(r) for r in records]
    repeat = next(r for r in bad if r["repeat"] == 1)
    repeat["weights"] = "0" * 16
    lied = next(r for r in bad if r["method"] == "gen")
    lied["declared"] = {**lied["declared"], "forwards": lied["declared"]["forwards"] - 64}
    text = markdown_page(report(load(bad, CATALOGUE)))
    assert "Not every check below holds" in text and "sanity panel: open" in text
    assert re.search(r"bit for bit alike \| ✕ 5 \| 6 \| Different weights: linear on digits, seed 0", text)
    assert re.search(r"hooks counted, exactly \| ✕ 1,152 \| 1,153 \|", text)


def test_the_same_records_make_the_same_page(records: list[Record], findings: Findings, page: str) -> None:
    again = find(load([dict(r) for r in records], CATALOGUE))
    assert html_page(made_of(replace(again, missing=findings.missing))) == page


def parts_of(records: list[Record]) -> Iterator[list[Record]]:
    """Single runs, some runs, half of all; then one task, one method, one kind of run at a time."""
    for seed in range(60):
        dice = random.Random(seed)
        yield dice.sample(records, dice.randint(1, 30))
    for name in ("task", "method", "status", "seed", "lr_factor", "horizon", "repeat"):
        for value in sorted({r[name] for r in records}):
            yield [r for r in records if r[name] == value][:200]


def test_any_part_of_the_records_makes_a_page(records: list[Record]) -> None:
    """Something is missing, nothing breaks, and no number stands where there is none."""
    for some in parts_of(records):
        made = report(load(some, CATALOGUE))
        assert not re.search(r"\b(nan|inf|None)\b", markdown_page(made))
        assert not re.search(r"\b(nan|inf|None)\b", re.sub(r"<style>.*?</style>", "", html_page(made), flags=re.DOTALL))


def test_a_task_that_is_only_swept_is_not_counted_as_judged(records: list[Record]) -> None:
    """No plain run of it: it is no column of the headline, and that is said."""
    swept = [r for r in records if r["task"] != "diamonds" or (r["method"] == "cosine" and r["lr"] != 1e-3)]
    text = markdown_page(report(load(swept, CATALOGUE)))
    headline = text.split("## All methods")[1].split("## The peer")[0]
    assert "Over 5 tasks" in headline
    assert "No method has a plain run yet on diamonds" in headline and "| diamonds |" not in headline


def test_no_oracle_is_said(records: list[Record]) -> None:
    alone = [r for r in records if r["task"] == "digits" and r["method"] == "adamw_constant" and r["lr_factor"] == 1.0]
    text = markdown_page(report(load(alone, CATALOGUE)))
    assert "**No oracle yet:** no sweep on record." in text
    assert "no sweep on record" in text.split("## All methods")[1].split("## The peer")[0]


def test_eight_tasks_and_thirty_five_methods_stay_small() -> None:
    tasks = {f"task_{k}": replace(TASKS[k % len(TASKS)], name=f"task_{k}") for k in range(8)}
    own = dict(CATALOGUE.methods)
    more = {f"gen_{k}": replace(own["gen"], name=f"gen_{k}", title=f"Another method {k}") for k in range(35 - len(own))}
    catalogue = Catalogue(tasks, own | more)
    records = bench_records(Faker(catalogue), start_lrs=False)
    made = html_page(report(load(records, catalogue)))
    assert 400_000 < len(made.encode()) < 1_500_000


@pytest.mark.parametrize("name", ["digits", "fashion_plain", "diamonds"])
def test_every_task_has_its_three_pictures(page: str, name: str) -> None:
    for prefix in ("sweep", "loss", "lr"):
        assert page.count(f'id="{prefix}-{name}-c"') == 1
