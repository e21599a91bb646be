"""What the report says, checked against the records it is made from."""

import math
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fake_records import CATALOGUE, TASKS, Faker, bench_records
from matplotlib import rc_context
from report_parts import Page, Record, markdown_of, page_of, plain

from lrpilot_bench.analysis.catalogue import Catalogue, registered
from lrpilot_bench.analysis.recorded import load
from lrpilot_bench.report.drawing import RC, svg
from lrpilot_bench.report.figures import drawings, figures
from lrpilot_bench.report.findings import ENTRY, Findings, find
from lrpilot_bench.report.numbers import interval_text
from lrpilot_bench.report.pages import html_page


def losses(records: list[Record], task: str, method: str, **more: Any) -> dict[int, float]:
    wanted = {"task": task, "method": method, "horizon": 1.0, "repeat": 0, "lr_factor": 1.0, **more}
    chosen = [r for r in records if all(r[key] == value for key, value in wanted.items())]
    return {r["seed"]: r["final"]["val_loss"] for r in chosen}


def test_a_regret_is_what_the_records_say(records: list[Record], findings: Findings, page: Page) -> None:
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
    assert page.section("headline").tables[0].cell("schedule-free", task).words == expected


def test_methods_not_at_equal_compute_or_not_everywhere_stand_apart(page: Page) -> None:
    everywhere, partly, free = page.section("headline").tables
    assert [row.head for row in partly.rows] == ["GeN"]
    assert [row.head for row in free.rows] == ["find_lr (decay) + linear, search free"]
    assert not {"GeN", "find_lr (decay) + linear, search free"} & {row.head for row in everywhere.rows}
    assert partly.cell("GeN", "char_kjv").words == "not run"


def test_failures_are_infinite_counted_and_listed(page: Page) -> None:
    headline = page.section("headline").tables[0]
    assert headline.cell("efficient-polling-lr-scheduler", "regret, mean").words == "∞"
    assert headline.cell("efficient-polling-lr-scheduler", "failed runs").words == "3 of 18"
    listed = page.section("failures").tables[0]
    crash = next(row for row in listed.rows if "crashed" in [c.words for c in row.cells])
    assert (crash.head, crash.cells[3].words) == ("efficient-polling-lr-scheduler", "0, 1, 2")


def test_a_tie_is_called_a_tie(findings: Findings, page: Page) -> None:
    headline = page.section("headline").tables[0]
    for row in findings.rows["fashion_bn"]:
        line = next((line for line in headline.rows if line.head == row.title), None)
        if line is not None and not row.failures:
            assert line.cells[headline.columns.index("fashion_bn") - 1].mark == f"maybe-{row.regret.verdict}"
    marks = {c.mark for line in headline.rows for c in line.cells}
    assert {"maybe-tie", "maybe-loss", "fail"} <= marks, "three seeds are no claim"
    assert headline.cell("schedule-free", "▲ / = / ▽ / ✕").words == "0 / 0 / 0 / 0"


def test_with_five_seeds_marks_are_claims_and_counted() -> None:
    bench = load(bench_records(seeds=5, start_lrs=False), CATALOGUE)
    made = page_of(bench)
    headline = made.section("headline").tables[0]
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
    assert re.search(r"Of the 1\d\d comparisons on this page about \d+(\.\d)? would be marked", made.words)


def test_lrpilot_enters_the_method_named_in_advance(findings: Findings, page: Page, markdown: str) -> None:
    assert {duel.method for duel in findings.duels.values()} == {ENTRY}
    assert set(findings.duels) == set(findings.judged)
    assert {findings.best_of(task)["lrpilot"].method for task in findings.tasks} == {ENTRY}
    assert findings.best_heads()["lrpilot"].method == ENTRY
    assert "lrpilot's entry, named before any run, is" in markdown and "named in advance" in page.words


def test_the_entry_is_registered() -> None:
    entry = registered().methods[ENTRY]
    assert (entry.group, entry.equal_compute) == ("lrpilot", True)


def test_without_the_entry_there_is_no_duel(records: list[Record]) -> None:
    found = find(load([r for r in records if r["method"] != ENTRY], CATALOGUE))
    assert found.duels == {} and found.best_of("digits")["lrpilot"].group == "lrpilot"
    made = page_of(found)
    assert "lrpilot's entry was not run on all of them" in made.words
    assert {row.cells[3].words for row in made.section("peers").tables[0].rows} == {"not run"}
    assert "named before any run" not in markdown_of(found)


def test_a_budget_spent_before_training_is_a_failure_of_its_own(records: list[Record]) -> None:
    spent = [
        r | {"kept_steps": 0, "compute": 1.042} if (r["task"], r["method"]) == ("digits", ENTRY) else r for r in records
    ]
    found = find(load(spent, CATALOGUE))
    assert "lrpilot" in found.best_of("digits") and found.best_of("digits")["lrpilot"].method != ENTRY
    made = page_of(found)
    listed = made.section("failures").tables[0]
    row = next(row for row in listed.rows if "spent before training" in [c.words for c in row.cells])
    assert (row.head, row.cells[3].words) == ("Autopilot", "0, 1, 2")
    headline = made.section("headline").tables[0]
    assert headline.cell("Autopilot", "digits").words == "∞"
    panel = made.section("sanity").tables[0].rows[3]
    assert panel.cells[0].mark == "good" and "3 more runs spent the budget before training" in panel.cells[2].words


def test_a_run_above_its_budget_turns_the_panel(records: list[Record]) -> None:
    over = [r | {"compute": 1.01} if r["method"] == "gen" and r["seed"] == 1 else r for r in records]
    row = page_of(load(over, CATALOGUE)).section("sanity").tables[0].rows[3]
    assert row.cells[0].mark == "bad" and "gen on digits, seed 1: 1.0100" in row.cells[2].words


def drawn_steps(page: Page, name: str) -> int:
    """Lines of a profile."""
    ids = [str(part.get("id")) for part in page.figures[name].drawing.iter("g")]
    return sum(each.startswith((f"{name}-best-", f"{name}-other-")) for each in ids)


def test_profiles_draw_what_was_run_on_every_task(records: list[Record], page: Page) -> None:
    catalogue = Catalogue(CATALOGUE.tasks, {name: m for name, m in CATALOGUE.methods.items() if name != "gen"})
    found = find(load([r for r in records if r["method"] != "gen"], catalogue))
    with rc_context(RC):
        apart = {name: svg(drawn, name) for name, drawn in figures(found) if "profile" in name}
    without = Page(html_page(found, apart))
    for name in ("profile", "time-profile"):
        assert drawn_steps(page, name) == drawn_steps(without, name) > 10, "GeN was not run on two tasks"


def test_without_a_method_on_every_task_there_is_no_profile(records: list[Record]) -> None:
    apart = {("digits", "schedule_free"), ("diamonds", "prodigy_cosine")}
    some = [r for r in records if (r["task"], r["method"]) in apart and r["lr_factor"] == r["horizon"] == 1.0]
    some += [r for r in records if r["method"] == "linear" and r["lr"] != 1e-3 and r["task"] in ("digits", "diamonds")]
    found = find(load([r for r in some if r["lr_factor"] == 1.0], CATALOGUE))
    assert "no ranking, and no profile over tasks" in page_of(found).words
    assert "no ranking, and no profile over tasks" in markdown_of(found)
    assert not {"forest", "profile", "time-profile"} & {name for name, _ in figures(found)}


def test_the_gap_closed_has_its_interval(findings: Findings, page: Page) -> None:
    shown = page.section("task-char_kjv").tables[0].cell("schedule-free", "gap closed")
    gap = next(row for row in findings.rows["char_kjv"] if row.method == "schedule_free").gap_closed
    assert gap.interval is not None and shown.small == interval_text(gap.interval)


def test_a_large_task_that_was_never_run_is_one_line(records: list[Record]) -> None:
    large = replace(TASKS[0], name="big", large=True)
    catalogue = Catalogue({**CATALOGUE.tasks, "big": large}, CATALOGUE.methods)
    for missing in (None, {}):
        bench = load(records, catalogue)
        said = "1 large task was not run at all: `big`; needs `--large`." in markdown_of(bench, missing)
        assert said == (missing is not None)
        shown = "1 large task was not run at all: big; needs --large." in page_of(bench, missing).words
        assert shown == said


def test_finders_are_lrpilots_by_their_facts(findings: Findings) -> None:
    rows = [row for task in findings.tasks for row in findings.finders[task]]
    assert {row.method: row.own for row in rows} == {
        "pick_find_lr_decay": True, "pick_find_lr_constant": True, "pick_torch_lr_finder": False
    }  # fmt: skip


def test_the_answer_about_fine_tuning_names_every_pick(findings: Findings, page: Page, markdown: str) -> None:
    start = markdown.index("huggingface/transformers")
    for words in ("Within one grid step of it: find\\_lr, target decay", "too small: "):
        assert words in markdown[start : start + 3000], words
    said = page.section("finders").words
    answer = next(words for words in said if "huggingface/transformers" in words)
    assert "Within one grid step of it: find_lr, target decay" in answer and "too small: " in answer
    assert any(words.startswith("pytorch-lr-finder picks") for words in said)
    assert sum(" picks " in words or " gives no lr " in words for words in said) == 5
    assert len(findings.finders["minilm_movies"]) == 5


def test_without_picks_on_the_fine_tuning_task_there_is_no_answer(records: list[Record]) -> None:
    bench = load([r for r in records if r["task"] != "minilm_movies"], CATALOGUE)
    assert "so there is no answer" in markdown_of(bench) and "so there is no answer" in page_of(bench).words


def test_start_lrs_are_ranked_by_their_worst_case(findings: Findings) -> None:
    ranked = findings.robust
    assert ranked[0].title == "Prodigy + cosine"
    worst = [entry.worst for entry in ranked]
    assert worst == sorted(worst) and math.isinf(worst[-1])
    sgd = next(entry for entry in ranked if entry.title == "SGD 0.1, steps")
    assert sgd.failures[30.0] == (18, 18)


def test_what_was_not_run_is_counted_by_method_and_task(findings: Findings, page: Page) -> None:
    (table,) = page.section("not-run").tables
    assert findings.missing is not None
    listed = sum(int(row.cells[1].words.replace(",", "")) for row in table.rows)
    assert listed == len(findings.missing) == 30


def test_an_unknown_plan_is_stated(findings: Findings) -> None:
    unknown = replace(findings, missing=None)
    assert "what is missing cannot be listed" in markdown_of(unknown)
    assert "what is missing cannot be listed" in page_of(unknown).words


def test_a_broken_check_turns_the_panel(records: list[Record]) -> None:
    bad = [dict(r) for r in records]
    repeat = next(r for r in bad if r["repeat"] == 1)
    repeat["weights"] = "0" * 16
    lied = next(r for r in bad if r["method"] == "gen")
    lied["declared"] = {**lied["declared"], "forwards": lied["declared"]["forwards"] - 64}
    made, text = page_of(load(bad, CATALOGUE)), markdown_of(load(bad, CATALOGUE))
    assert "Not every check below holds" in made.words and "sanity panel: open" in text
    _, repeats, bills, _ = made.section("sanity").tables[0].rows
    assert repeats.head.endswith("bit for bit alike") and bills.head.endswith("hooks counted, exactly")
    assert [(cell.words, cell.mark) for cell in repeats.cells[:2]] == [("5", "bad"), ("6", None)]
    assert repeats.cells[2].words.startswith("Different weights: linear on digits, seed 0")
    assert [(cell.words, cell.mark) for cell in bills.cells[:2]] == [("1,170", "bad"), ("1,171", None)]


def test_the_same_records_make_the_same_pages(
    records: list[Record], findings: Findings, page: Page, markdown: str
) -> None:
    again = replace(find(load([dict(r) for r in records], CATALOGUE)), missing=findings.missing)
    assert html_page(again, drawings(again)) == page.text
    assert markdown_of(again) == markdown


def parts_of(records: list[Record]) -> Iterator[list[Record]]:
    """Single runs, some runs, half of all; then one task, one method, one kind of run at a time."""
    for seed in range(60):
        dice = random.Random(seed)
        yield dice.sample(records, dice.randint(1, 30))
    for name in ("task", "method", "status", "seed", "lr_factor", "horizon", "repeat"):
        for value in sorted({r[name] for r in records}):
            yield [r for r in records if r[name] == value][:200]


NO_NUMBER = re.compile(r"\b(nan|inf|None)\b")


def test_any_part_of_the_records_makes_its_pages(records: list[Record]) -> None:
    """Something is missing, nothing breaks, and no number stands where there is none."""
    for some in parts_of(records):
        found = find(load(some, CATALOGUE))
        assert not NO_NUMBER.search(markdown_of(found))
        assert not NO_NUMBER.search(re.sub(r"<style>.*?</style>", "", page_of(found).text, flags=re.DOTALL))


@pytest.mark.parametrize("share", range(4))  # so that two processes have as much to do
def test_any_part_of_the_records_makes_its_figures(records: list[Record], share: int) -> None:
    parts = list(parts_of(records))
    for i, some in list(enumerate([*parts[:60:6], *parts[60:]]))[share::4]:
        with rc_context(RC):
            for name, drawn in figures(find(load(some, CATALOGUE))):
                assert i % 3 or not NO_NUMBER.search(svg(drawn, name)), name  # to write them all takes too long


def test_a_task_that_is_only_swept_is_not_counted_as_judged(records: list[Record]) -> None:
    """No plain run of it: it is no column of the headline, and that is said."""
    swept = [r for r in records if r["task"] != "diamonds" or (r["method"] == "cosine" and r["lr"] != 1e-3)]
    bench = load(swept, CATALOGUE)
    headline = page_of(bench).section("headline")
    assert any("Over 5 tasks" in words for words in headline.words)
    assert any("No method has a plain run yet on diamonds" in words for words in headline.words)
    assert not any("diamonds" in table.columns for table in headline.tables)
    short = markdown_of(bench).split("## All methods")[1].split("## Who wins")[0]
    assert "No method has a plain run yet on diamonds" in short and "| diamonds |" not in short


def test_no_oracle_is_said(records: list[Record]) -> None:
    alone = [r for r in records if r["task"] == "digits" and r["method"] == "adamw_constant" and r["lr_factor"] == 1.0]
    made = page_of(load(alone, CATALOGUE))
    assert "No oracle yet: no sweep on record." in made.section("task-digits").words
    assert "no sweep on record" in str(made.section("headline").tables)


def test_eight_tasks_and_thirty_five_methods_stay_small() -> None:
    tasks = {f"task_{k}": replace(TASKS[k % len(TASKS)], name=f"task_{k}") for k in range(8)}
    own = dict(CATALOGUE.methods)
    more = {f"gen_{k}": replace(own["gen"], name=f"gen_{k}", title=f"Another method {k}") for k in range(35 - len(own))}
    catalogue = Catalogue(tasks, own | more)
    records = bench_records(Faker(catalogue), start_lrs=False)
    found = find(load(records, catalogue))
    assert 400_000 < len(html_page(found, drawings(found)).encode()) < 1_500_000


@pytest.mark.parametrize("name", ["digits", "fashion_plain", "diamonds"])
def test_every_task_has_its_three_pictures(page: Page, name: str) -> None:
    assert {f"sweep-{name}", f"loss-{name}", f"lr-{name}"} <= set(page.figures)


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
    found = find(load(some, CATALOGUE))
    headline = page_of(found).section("headline")
    assert re.match(r"Only 2 of \d+ methods have run on all 6 tasks yet: no ranking", headline.words[0])
    assert not {"forest", "profile", "time-profile"} & {name for name, _ in figures(found)}
    cells = [each for table in headline.tables for line in table.rows for each in line.cells]
    assert cells and not any(each.best for each in cells)


def test_an_entry_that_failed_is_no_tie_with_the_best_peer(records: list[Record]) -> None:
    nothing = dict.fromkeys(("val_loss", "val_score", "test_loss", "test_score"))
    lost = {"status": "diverged", "final": nothing}
    changed = [
        r | lost if (r["task"], r["method"], r["seed"]) == ("fashion_bn", ENTRY, 0) and plain(r) else r for r in records
    ]
    assert changed != records
    (table,) = page_of(load(changed, CATALOGUE)).section("peers").tables
    (cell,) = [line.cells[4] for line in table.rows if line.head == "fashion_bn"]
    assert (cell.words, cell.small, cell.mark) == ("∞", "1 failed", "fail")


def test_one_seed_is_not_judged(records: list[Record]) -> None:
    made = page_of(load([r for r in records if r["seed"] == 0], CATALOGUE))
    ties = {line.cells[2].words for line in made.section("peers").tables[0].rows}
    assert ties == {"1 seed: not judged"}
    assert "Gap closed is not given: the default has one seed, so its distance from the oracle cannot" in made.words
    assert "beyond the noise" not in made.words


def test_the_top_says_how_complete_the_records_are(findings: Findings, page: Page, markdown: str) -> None:
    said = "lrpilot's entry has run on 6 of 6 tasks; 30 of the planned runs are not there yet."
    assert page.by_class("status") == said and said in markdown
    assert page_of(replace(findings, missing=())).by_class("status").endswith("every planned run is there.")


def test_an_empty_section_says_which_cause_applies(records: list[Record]) -> None:
    without = page_of(load([r for r in records if plain(r)], CATALOGUE))
    assert without.section("start-lr").words == ["No run with another start lr is on record yet."]
    assert without.section("horizon").words == ["No run with another budget is on record yet."]
    some = [r for r in records if r["lr_factor"] > 1 and r["task"] == "digits" and r["method"] == "schedule_free"]
    barless = page_of(load(some, CATALOGUE)).section("start-lr").words
    assert barless[1].startswith(f"{len(some)} runs are there, but not yet")


def test_many_missing_runs_share_rows(findings: Findings) -> None:
    assert findings.missing is not None
    first = findings.missing[0]
    names = [name for name, method in CATALOGUE.methods.items() if method.trains]
    lacking = [
        replace(first, run=f"{name}-{task}-{factor}", method=name, task=task, lr=None, lr_factor=factor, horizon=1.0)
        for name in names for task in ("digits", "diamonds") for factor in (1.0, 30.0)
    ]  # fmt: skip
    (table,) = page_of(replace(findings, missing=tuple(lacking))).section("not-run").tables
    assert len(table.rows) == 2 and sum(int(row.cells[1].words) for row in table.rows) == len(lacking)
