"""What the report says, checked against the records it is made from."""

import math
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fake_records import CATALOGUE, TASKS, Faker, bench_records
from report_parts import Record, cell, first_words, plain, section, tables

from lrpilot_bench.analysis.catalogue import Catalogue, registered
from lrpilot_bench.analysis.runs import load
from lrpilot_bench.report.document import Document, Figure, Gallery
from lrpilot_bench.report.findings import ENTRY, Findings, find
from lrpilot_bench.report.html_page import html_page
from lrpilot_bench.report.markdown_page import markdown_page
from lrpilot_bench.report.numbers import interval_text
from lrpilot_bench.report.page import document as made_of
from lrpilot_bench.report.page import report
from lrpilot_bench.report.part_robust import robustness


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
            assert line.cells[headline.columns.index("fashion_bn") - 1].mark == f"maybe-{row.regret.verdict}"
    marks = {c.mark for line in headline.rows for c in line.cells}
    assert {"maybe-tie", "maybe-loss", "fail"} <= marks, "three seeds are no claim"
    assert cell(headline, "schedule-free", "▲ / = / ▽ / ✕") == "0 / 0 / 0 / 0"


def test_with_five_seeds_marks_are_claims_and_counted() -> None:
    made = report(load(bench_records(seeds=5, start_lrs=False), CATALOGUE))
    headline = tables(section(made, "headline"))[0]
    counted = 0
    for line in headline.rows:
        marks = [each.mark for each in line.cells[-6:]]
        wins, ties, losses, failed = (marks.count(mark) for mark in ("win", "tie", "loss", "fail"))
        score = line.cells[headline.columns.index("▲ / = / ▽ / ✕") - 1]
        assert score.words == f"{wins} / {ties} / {losses} / {failed}"
        undecided = sum(mark is not None and mark.startswith("maybe-") for mark in marks)
        assert score.small == (f"{undecided} provisional" if undecided else "")
        counted += wins + ties + losses
    assert counted > 20
    text = markdown_page(made)
    assert re.search(r"Of the 1\d\d comparisons on this page about \d+(\.\d)? would be marked", text)


def test_lrpilot_enters_the_method_named_in_advance(findings: Findings, document: Document) -> None:
    assert {duel.method for duel in findings.duels.values()} == {ENTRY}
    assert set(findings.duels) == set(findings.judged)
    assert {findings.best_of(task)["lrpilot"].method for task in findings.tasks} == {ENTRY}
    assert findings.best_heads()["lrpilot"].method == ENTRY
    assert "named in advance" in markdown_page(document)


def test_the_entry_is_registered() -> None:
    entry = registered().methods[ENTRY]
    assert (entry.group, entry.equal_compute) == ("lrpilot", True)


def test_without_the_entry_there_is_no_duel(records: list[Record]) -> None:
    found = find(load([r for r in records if r["method"] != ENTRY], CATALOGUE))
    assert found.duels == {} and found.best_of("digits")["lrpilot"].group == "lrpilot"
    text = markdown_page(made_of(found))
    assert "lrpilot's entry was not run on all of them" in text and "| not run |" in text


def test_a_budget_spent_before_training_is_a_failure_of_its_own(records: list[Record]) -> None:
    spent = [
        r | {"kept_steps": 0, "compute": 1.042} if (r["task"], r["method"]) == ("digits", ENTRY) else r for r in records
    ]
    found = find(load(spent, CATALOGUE))
    assert "lrpilot" in found.best_of("digits") and found.best_of("digits")["lrpilot"].method != ENTRY
    made = made_of(found)
    listed = tables(section(made, "failures"))[0]
    row = next(row for row in listed.rows if "spent before training" in [c.words for c in row.cells])
    assert (row.head, row.cells[3].words) == ("find_lr (decay, num_steps=5) + linear", "0, 1, 2")
    assert cell(tables(section(made, "headline"))[0], "find_lr (decay, num_steps=5) + linear", "digits") == "∞"
    panel = tables(section(made, "sanity"))[0].rows[3]
    assert panel.cells[0].mark == "good" and "3 more runs spent the budget before training" in str(panel.cells[2].words)


def test_a_run_above_its_budget_turns_the_panel(records: list[Record]) -> None:
    over = [r | {"compute": 1.01} if r["method"] == "gen" and r["seed"] == 1 else r for r in records]
    row = tables(section(report(load(over, CATALOGUE)), "sanity"))[0].rows[3]
    assert row.cells[0].mark == "bad" and "gen on digits, seed 1: 1.0100" in str(row.cells[2].words)


def drawn_steps(page: str, name: str) -> int:
    """Lines of a profile."""
    panel = page.split(f'id="{name}-c"')[1].split("</figure>")[0]
    return len(re.findall(r'<(?:path|polyline) class="line s-', panel.split("</clipPath>")[-1]))


def test_profiles_draw_what_was_run_on_every_task(records: list[Record], page: str) -> None:
    catalogue = Catalogue(CATALOGUE.tasks, {name: m for name, m in CATALOGUE.methods.items() if name != "gen"})
    without = html_page(report(load([r for r in records if r["method"] != "gen"], catalogue)))
    for name in ("profile", "time-profile"):
        assert drawn_steps(page, name) == drawn_steps(without, name) > 10, "GeN was not run on two tasks"


def test_without_a_method_on_every_task_there_is_no_profile(records: list[Record]) -> None:
    apart = {("digits", "schedule_free"), ("diamonds", "prodigy_cosine")}
    some = [r for r in records if (r["task"], r["method"]) in apart and r["lr_factor"] == r["horizon"] == 1.0]
    some += [r for r in records if r["method"] == "linear" and r["lr"] != 1e-3 and r["task"] in ("digits", "diamonds")]
    made = html_page(report(load([r for r in some if r["lr_factor"] == 1.0], CATALOGUE)))
    assert "no ranking, and no profile over tasks" in made and 'id="profile-c"' not in made


def test_the_gap_closed_has_its_interval(findings: Findings, document: Document) -> None:
    task = next(part for part in section(document, "tasks").inner if part.name == "task-char_kjv")
    table = tables(task)[0]
    line = next(line for line in table.rows if line.head == "schedule-free")
    shown = line.cells[table.columns.index("gap closed") - 1]
    gap = next(row for row in findings.rows["char_kjv"] if row.method == "schedule_free").gap_closed
    assert gap.interval is not None and shown.small == interval_text(gap.interval)


def test_a_large_task_that_was_never_run_is_one_line(records: list[Record]) -> None:
    large = replace(TASKS[0], name="big", large=True)
    catalogue = Catalogue({**CATALOGUE.tasks, "big": large}, CATALOGUE.methods)
    for missing in (None, {}):
        text = markdown_page(report(load(records, catalogue), missing))
        said = "1 large task was not run at all: `big`; needs `--large`." in text
        assert said == (missing is not None)


def test_finders_are_lrpilots_by_their_facts(findings: Findings) -> None:
    rows = [row for task in findings.tasks for row in findings.finders[task]]
    assert {row.method: row.own for row in rows} == {
        "pick_find_lr_decay": True, "pick_find_lr_constant": True, "pick_torch_lr_finder": False
    }  # fmt: skip


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
    assert re.search(r"hooks counted, exactly \| ✕ 1,170 \| 1,171 \|", text)


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


def test_with_two_methods_on_every_task_nothing_is_ranked(records: list[Record]) -> None:
    """The others ran on digits alone: a best of two is no headline."""
    some = [
        r
        for r in records
        if plain(r) and (r["task"] == "digits" or r["method"] in ("linear", "cosine", "wsd", "prodigy_cosine", ENTRY))
    ]
    never = {r["run"] for r in some if r["method"] in ("linear", "cosine", "wsd") and r["task"] != "digits"}
    default = {"sgd": 0.1, "adamw": 1e-3}
    some = [r for r in some if r["run"] not in never or r["lr"] != default[r["family"]]]
    made = report(load(some, CATALOGUE))
    assert re.match(r"Only 2 of \d+ methods have run on all 6 tasks yet: no ranking", first_words(made, "headline"))
    parts = section(made, "headline").blocks
    assert not any(isinstance(block, Figure | Gallery) for block in parts)
    cells = [each for table in tables(section(made, "headline")) for line in table.rows for each in line.cells]
    assert cells and not any(each.best for each in cells)


def test_an_entry_that_failed_is_no_tie_with_the_best_peer(records: list[Record]) -> None:
    nothing = dict.fromkeys(("val_loss", "val_score", "test_loss", "test_score"))
    lost = {"status": "diverged", "final": nothing}
    changed = [
        r | lost if (r["task"], r["method"], r["seed"]) == ("fashion_bn", ENTRY, 0) and plain(r) else r for r in records
    ]
    assert changed != records
    (table,) = tables(section(report(load(changed, CATALOGUE)), "peers"))
    (cell,) = [line.cells[4] for line in table.rows if "fashion_bn" in str(line.head)]
    assert (cell.words, cell.small, cell.mark) == ("∞", "1 failed", "fail")


def test_one_seed_is_not_judged(records: list[Record]) -> None:
    made = report(load([r for r in records if r["seed"] == 0], CATALOGUE))
    ties = {str(line.cells[2].words) for line in tables(section(made, "peers"))[0].rows}
    assert ties == {"1 seed: not judged"}
    text = markdown_page(made)
    assert "Gap closed is not given: the default has one seed, so its distance from the oracle cannot" in text
    assert "beyond the noise" not in text


def test_the_top_says_how_complete_the_records_are(findings: Findings, document: Document) -> None:
    said = "lrpilot's entry has run on 6 of 6 tasks; 30 of the planned runs are not there yet."
    assert document.status == said and said in html_page(document).replace("&#x27;", "'")
    assert said in markdown_page(document)
    assert made_of(replace(findings, missing=())).status.endswith("every planned run is there.")


def test_an_empty_section_says_which_cause_applies(records: list[Record]) -> None:
    without = report(load([r for r in records if plain(r)], CATALOGUE))
    assert first_words(without, "start-lr") == "No run with another start lr is on record yet."
    assert first_words(without, "horizon") == "No run with another budget is on record yet."
    some = [r for r in records if r["lr_factor"] > 1 and r["task"] == "digits" and r["method"] == "schedule_free"]
    barless = [str(block.words) for block in section(report(load(some, CATALOGUE)), "start-lr").blocks[:2]]
    assert barless[1].startswith(f"{len(some)} runs are there, but not yet")


def test_many_missing_runs_share_rows(findings: Findings) -> None:
    assert findings.missing is not None
    first = findings.missing[0]
    names = [name for name, method in CATALOGUE.methods.items() if method.trains]
    lacking = [
        replace(first, run=f"{name}-{task}-{factor}", method=name, task=task, lr=None, lr_factor=factor, horizon=1.0)
        for name in names for task in ("digits", "diamonds") for factor in (1.0, 30.0)
    ]  # fmt: skip
    table = tables(section(made_of(replace(findings, missing=tuple(lacking))), "not-run"))[0]
    assert len(table.rows) == 2 and sum(int(str(row.cells[1].words)) for row in table.rows) == len(lacking)
