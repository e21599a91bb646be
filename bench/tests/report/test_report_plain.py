"""What a first reader must be told beside the numbers: what they hang on, how a run failed, what was not run."""

import re
from dataclasses import replace

import pytest
from fake_records import CATALOGUE
from matplotlib import rc_context
from report_parts import Page, Record, markdown_of, page_of, plain

from lrpilot_bench.analysis.catalogue import Catalogue
from lrpilot_bench.analysis.recorded import load
from lrpilot_bench.report.drawing import RC, svg
from lrpilot_bench.report.figures import figures
from lrpilot_bench.report.findings import ENTRY, Findings, find
from lrpilot_bench.report.overview import facts
from lrpilot_bench.report.pages import html_page


def lost(record: Record, loss: float | None = None) -> Record:
    """The same run, failed: with a finite loss above the initial one, or with none."""
    return record | {"status": "diverged", "final": record["final"] | {"val_loss": loss, "test_loss": loss}}


def failing(records: list[Record], methods: set[str], task: str, seed: int) -> list[Record]:
    """The records with the plain runs of some methods ending 2 % above where they began."""
    return [
        lost(r, r["curve"]["val_loss"][0] * 1.02)
        if r["method"] in methods and (r["task"], r["seed"]) == (task, seed) and plain(r)
        else r
        for r in records
    ]


def test_the_page_begins_with_what_counts(page: Page, markdown: str) -> None:
    assert page.sections[:6] == ["summary", "headline", "sides", "peers", "nothing", "reading"]
    assert page.sections[-2:] == ["sanity", "machine"]
    text = markdown.split("## Start-lr")[0]
    shown = " ".join(page.section("summary").words)
    for words in (
        "The oracle is a bar, not a limit", "**Best methods.** The smallest mean regrets over 6 tasks",
        "3 seeds a task", "**What that hangs on.**", "**Doing nothing** ends with this much more loss",
        "**Where the peers win:**", "every check of the sanity panel",
    ):  # fmt: skip
        assert words in text, words
        assert words.replace("**", "") in shown, words
    assert "30 planned runs (" in shown and "30 planned runs have no record" in markdown


def test_what_doing_nothing_loses_is_the_range_of_its_table(page: Page, markdown: str) -> None:
    (table,) = page.section("nothing").tables
    lost_by = {line.head: line.cells[-1].words for line in table.rows}
    least, most = (pick(lost_by, key=lambda task: float(lost_by[task].split()[0])) for pick in (min, max))
    said = f"{lost_by[least]} ({least}) to {lost_by[most]} ({most})"
    assert any(said in words for words in page.section("summary").words)
    assert said.replace("_", "\\_") in markdown.split("## All methods")[0]


def test_one_seed_of_one_task_that_decides_is_said(records: list[Record]) -> None:
    sound = [
        r | {"final": r["final"] | {"val_loss": r["final"]["val_loss"] * 0.8}}
        if r["method"] == "prodigy_cosine" and plain(r)
        else r
        for r in records
        if r["method"] != "polling"
    ]
    best = find(load(sound, CATALOGUE)).ranking.best
    assert best is not None and best.method == "prodigy_cosine"
    found = find(load(failing(sound, {best.method, "schedule_free"}, "digits", 2), CATALOGUE))
    assert [left.task for left in found.ranking.deciding] == ["digits"]
    section = page_of(found).section("headline")
    headline = " ".join(section.words)
    first = found.ranking.best
    assert first is not None and first.method != best.method
    assert (
        "2 of them failed once and nowhere else, all at seed 2 of digits (2 no better than untrained: 1.020" in headline
    )
    assert re.search(rf"Without digits the smallest mean would be \d\.\d+: {re.escape(best.title)}; without", headline)
    assert f"Over the seeds that finished, {best.title} has " in headline
    assert "what cost it the place: digits seed 2 (no better than untrained: 1.020 × the initial loss)" in headline
    failed = section.tables[0].cell(best.title, "failed runs")
    assert "1 no better than untrained" in failed.small, "in the table, beside the count"
    begins = f"| {best.title} | {best.group} | ✕ ∞ (rest "
    (line,) = [line for line in markdown_of(found).splitlines() if line.startswith(begins)]
    assert f"| digits | {best.failures + 1}/" in line, "among the best all the same"


def test_failures_are_listed_with_how_they_ended(records: list[Record]) -> None:
    (table,) = page_of(load(failing(records, {"gen"}, "digits", 1), CATALOGUE)).section("failures").tables
    row = table.row("GeN")
    assert (row.cells[2].words, row.cells[2].small) == ("no better than untrained", "final ÷ initial loss 1.020")
    crash = next(line for line in table.rows if line.cells[2].words == "crashed")
    assert crash.cells[2].small == ""


def test_the_entry_and_the_best_of_lrpilots_rows_are_told_apart(records: list[Record]) -> None:
    better = [
        r | {"final": r["final"] | {"val_loss": r["final"]["val_loss"] * 0.9}}
        if r["method"] == "find_decay_linear" and plain(r)
        else r
        for r in records
    ]
    found = find(load(better, CATALOGUE))
    assert found.picked is not None and found.picked.method == "find_decay_linear"
    said = "find_lr (decay) + linear is the best of 3 lrpilot rows, picked afterwards"
    with rc_context(RC):
        drawings = {name: svg(drawn, name) for name, drawn in figures(found) if "profile" in name}
    page = Page(html_page(found, drawings))
    for name in ("summary", "headline"):
        assert any(said in words for words in page.section(name).words), name
    assert said in markdown_of(found).replace("\\", "")
    for name in ("profile", "time-profile"):
        ids = [str(part.get("id")) for part in page.figures[name].drawing.iter("g")]
        assert ids.count(f"{name}-best-{ENTRY}") == ids.count(f"{name}-best-find_decay_linear") == 1, name
        labels = page.figures[name].labels
        assert labels.count("Autopilot (entry)") == 1
        assert labels.count("find_lr (decay) + linear (best of 3 lrpilot rows, picked afterwards)") == 1


def test_where_the_entry_is_the_best_nothing_was_picked(records: list[Record]) -> None:
    better = [
        r | {"final": r["final"] | {"val_loss": r["final"]["val_loss"] * 0.9}} if r["method"] == ENTRY else r
        for r in records
    ]
    found = find(load(better, CATALOGUE))
    assert found.picked is None and "picked afterwards by the very runs" not in page_of(found).words
    assert "picked afterwards by the very runs" not in markdown_of(found)


def test_other_budgets_name_their_bar_and_their_seeds(page: Page) -> None:
    assert page.section("horizon").tables
    for table in page.section("horizon").tables:
        assert "×1: ÷ best swept" in table.columns and "×1: ÷ default linear" in table.columns
        assert "regret" not in " ".join(table.columns) and re.search(r"\d paired seed", table.caption)


def test_what_beats_the_bar_of_another_budget_is_explained(records: list[Record]) -> None:
    better = [
        r | {"final": r["final"] | {"val_loss": r["final"]["val_loss"] / 2}}
        if (r["task"], r["method"], r["horizon"]) == ("diamonds", "schedule_free", 4.0)
        else r
        for r in records
    ]
    shown = page_of(load(better, CATALOGUE)).section("horizon").tables
    notes = {table.caption.split(":")[0]: table.note for table in shown}
    assert re.search(
        r"Below 1: .*schedule-free at ×4.*another schedule, another optimizer or chance", notes["diamonds"]
    )
    assert "schedule-free at ×4" not in notes["fashion_plain"]


def test_a_finder_with_a_pick_on_some_seeds_is_no_success(records: list[Record]) -> None:
    none = {"picked_lr": None, "suggestions": {}, "reason": "too flat", "search_cost": 1.0}
    some = [
        r | {"notes": none} if (r["method"], r["seed"]) in {("pick_find_lr_decay", 0), ("pick_find_lr_decay", 1)} else r
        for r in records
    ]
    bench = load(some, CATALOGUE)
    answer = next(words for words in page_of(bench).section("finders").words if "huggingface/transformers" in words)
    assert "Within one grid step of it: none" in answer or "find_lr, target decay" not in answer.split("too large")[0]
    assert (
        "a pick on some seeds only: find_lr, target decay (1 of 3, there within one grid step of the best lr)" in answer
    )
    text = markdown_of(bench).replace("\\", "")
    short = text[text.index("huggingface/transformers") :].split("\n\n")[0]
    assert "a pick on some seeds only: 1 finder;" in short
    bold = re.findall(r"\*\*(.*?)\*\*", short)
    assert bold and not any("target decay" in words for words in bold)


def smoke_catalogue() -> Catalogue:
    """With digits as the smoke run's task, as it is registered."""
    digits = replace(CATALOGUE.tasks["digits"], smoke=True, remark="the smoke run: images overfit")
    return Catalogue({**CATALOGUE.tasks, "digits": digits}, CATALOGUE.methods)


def test_a_smoke_run_says_what_it_is_not(records: list[Record]) -> None:
    some = [r for r in records if r["task"] == "digits" and r["method"] not in ("cosine", "wsd") and plain(r)]
    bench = load(some, smoke_catalogue())
    made = page_of(bench, {})
    said = (
        "Smoke run: it shows that the benchmark works from end to end. digits is no comparison of methods, and the 5 "
    )
    assert made.by_class("banner").startswith(said) and f"\n\n**{said}" in markdown_of(bench, {})
    assert "digits, the smoke run: images overfit." in made.section("headline").words, "beside the table"
    assert page_of(load(records, smoke_catalogue())).by_class("banner") == "", "digits among others is no smoke run"


def test_a_plan_without_the_whole_sweep_does_not_miss_it(records: list[Record]) -> None:
    some = [r for r in records if r["task"] == "digits" and r["method"] not in ("cosine", "wsd") and plain(r)]
    bench = load(some, smoke_catalogue())
    made, text = page_of(bench, {}), markdown_of(bench, {})
    said = "the plan holds only a part of the oracle's sweep; every planned run is there."
    assert made.by_class("status").endswith(said) and said in text
    assert "By the plan of these runs 11 cosine, 11 wsd runs of the sweep have no record." in made.words
    assert "So far 11 cosine" in page_of(bench).words, "a plan that is not known"
    assert text.count("tasks: 1") == 0 and "task: 1," in text


def test_methods_that_ran_without_an_oracle_are_not_called_not_run(records: list[Record]) -> None:
    alone = [r for r in records if r["task"] == "digits" and r["method"] == "adamw_constant" and plain(r)]
    said = "1 method has run, but there is no oracle to judge by on digits: no ranking, and no profile over tasks."
    assert page_of(load(alone, CATALOGUE)).section("headline").words[0] == said
    assert said in markdown_of(load(alone, CATALOGUE))


def test_counts_that_differ_say_why(page: Page, findings: Findings, records: list[Record]) -> None:
    panel = page.section("sanity").tables
    labels = [table.folded for table in panel]
    training = dict((what, number) for number, what in facts(findings))["methods that train"]
    bills = len(findings.panel.costs)
    assert int(training) == bills - 3
    assert f"The bills of all {bills} methods (3 only pick an lr and train nothing)" in labels
    crashed = sum(r["status"] == "crashed" for r in records)
    row = panel[0].rows[2]
    assert row.cells[2].words == f"holds everywhere; {crashed} more runs crashed and have no bill."


@pytest.mark.parametrize(("points", "others", "words"), [
    (1, 0, "1 of 5 runs failed; it is a point of sweeps"),
    (2, 0, "2 of 5 runs failed; all of these are points of sweeps"),
    (1, 1, "2 of 5 runs failed; 1 of these are points of sweeps"), (0, 1, "1 of 5 runs failed."),
])  # fmt: skip
def test_failures_are_counted_in_words(records: list[Record], points: int, others: int, words: str) -> None:
    swept = [r for r in records if (r["task"], r["method"], r["seed"]) == ("digits", "cosine", 0) and r["lr"] != 1e-3]
    own = [r for r in records if (r["task"], r["method"]) == ("digits", "gen")]
    sound = [r for r in swept if r["status"] == "finished"][: 5 - others]
    made = [lost(r) if i < points else r for i, r in enumerate(sound)] + [lost(r) for r in own[:others]]
    bench = load(made, CATALOGUE)
    assert page_of(bench).section("failures").words[0].startswith(words)
    assert words in markdown_of(bench).split("## What fails")[1]


def test_an_open_panel_is_not_a_broken_one(records: list[Record]) -> None:
    """Checks that could not be made are told from checks that do not hold."""
    some = [r for r in records if r["task"] == "digits" and r["method"] not in ("cosine", "wsd")]
    bench = load(some, smoke_catalogue())
    said = page_of(bench, {}).section("sanity").words[0]
    assert said.startswith("No check below fails, but some could not be made")
    assert "no check of the sanity panel fails" in markdown_of(bench, {})
    broken = load([r | {"weights": "0" * 16} if r["repeat"] else r for r in some], smoke_catalogue())
    assert page_of(broken, {}).section("sanity").words[0].startswith("Not every check below holds")
    assert "no check of the sanity panel fails" not in markdown_of(broken, {})


def test_a_run_that_took_no_step_has_spent_nothing(records: list[Record]) -> None:
    made = [
        r | {"kept_steps": 0, "compute": 0.0} if (r["task"], r["method"], r["seed"]) == ("digits", "gen", 0) else r
        for r in records
    ]
    page = page_of(load(made, CATALOGUE))
    assert page.section("failures").tables[0].row("GeN").cells[2].words == "took no step"
    assert "more run spent the budget" not in page.section("sanity").tables[0].rows[3].cells[2].words
