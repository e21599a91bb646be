"""The opening sections: what is measured, and whether the records can be believed."""

from collections.abc import Iterable

from lrpilot_bench.analysis.sanity import BudgetCheck, InsideCheck
from lrpilot_bench.report.document import Block, Bullets, Cell, Code, Either, Paragraph, Row, Section, Strong, Table
from lrpilot_bench.report.findings import Findings
from lrpilot_bench.report.numbers import lr_text, many, names_text


def reading(findings: Findings) -> Section:
    """How to read the page."""
    count = findings.comparisons
    chance = f" Of the {many(count, 'comparison')} on this page" if count > 1 else " Of 100 comparisons"
    chance += f" about {round(0.05 * (count if count > 1 else 100), 1):g} would be marked ▲ or ▽, in brackets or not, "
    chance += "if no method differed from what it is compared with."
    question = (
        "The question of a user: if I had not chosen a learning rate, and had paid for nothing but this one run, "
        "how far would I be from the best that a sweep could have found?"
    )
    items = (
        (
            Strong("The oracle"),
            " is that bar: 11 peak learning rates × three schedules (linear, cosine, WSD, each with 5 % warmup) at "
            "full budget, with the task's own optimizer; the winner run again on further seeds. Its sweep is free of "
            "charge. Another schedule or optimizer can beat it, and so can chance.",
        ),
        (
            Strong("Regret"),
            " is a method's final validation loss ÷ the oracle's, on the same initial weights and the same data "
            "order: 1 is the oracle, 1.05 is 5 % more loss. Means over seeds and tasks are geometric; ",
            Either("below each mean stands", "in brackets behind each mean stands"),
            " the 95 % interval over paired seeds.",
        ),
        (
            Strong("▲ win, = tie, ▽ loss"),
            " are against the oracle. A win needs all of the interval below 1, a loss all of it above; anything "
            "else is a tie. In brackets, (▲) (=) (▽), they are provisional: fewer than 5 seeds, or fewer than 10 where "
            "the difference is under 10 %. Provisional marks are not counted as wins, ties or losses, nor is a task "
            "with a failed run (✕) or with one seed, which has no interval and is marked ?." + chance,
        ),
        (
            Strong("Equal total compute"),
            ": probes, evaluations and copies that a method asks for are paid for out of its training steps (a forward "
            "pass counts 1, forward and backward 3). A compute of 1.00 is a plain run; methods whose probes were "
            "free are shown apart.",
        ),
        (
            Strong("✕ failures"),
            " (diverged: a loss that is not finite; no better than untrained: a finite final loss above the initial "
            "one; crashed: an error; spent before training: a search left no step to train with; took no step: "
            "nothing was trained, though budget was left) make a regret infinite. They are counted, never left out.",
        ),
        (
            Strong("Gap closed"),
            " places a loss between the oracle (0) and the framework default (1); unlike regret it does not depend "
            "on the loss that no training can remove. It is a ratio of means over seeds, with its 95 % interval over "
            "paired seeds ",
            Either("below.", "in brackets."),
        ),
    )
    return Section("reading", "What is measured", (Paragraph(question, lead=True), Bullets(items)))


def sanity_panel(findings: Findings) -> Section:
    """The checks, and what they found."""
    panel = findings.panel
    if panel.holds:
        verdict = "Every check below was made and holds."
    elif not panel.fails:
        verdict = "No check below fails, but some could not be made: read the numbers with that in mind."
    else:
        verdict = "Not every check below holds or could be made: read the numbers with that in mind."
    blocks: list[Block] = [
        Paragraph(verdict, lead=True),
        Table(
            "Four checks of the records themselves",
            ("check", "found", "of", "in words"),
            tuple(_summary_rows(findings)),
            frozenset({3}),
        ),
        _inside_table(findings),
        _cost_table(findings),
    ]
    return Section("sanity", "Can the records be believed?", blocks)


def _summary_rows(findings: Findings) -> Iterable[Row]:
    panel = findings.panel
    inside = [check for check in panel.inside if check.inside]
    unknown = [check for check in panel.inside if check.inside is None]
    outside = [check for check in panel.inside if check.inside is False]
    words = _listed(f"{check.kind} on {check.task}" for check in outside)
    told = f"At the edge: {words}. " if outside else ""
    told += f"Incomplete, or all failed: {many(len(unknown), 'sweep')}." if unknown else ""
    yield _check_row(
        "The best lr of a sweep lies strictly inside its grid", len(inside), len(panel.inside), told, bad=bool(outside)
    )
    equal = [check for check in panel.repeats if check.equal]
    unlike = [f"{c.method} on {c.task}, seed {c.seed}" for c in panel.repeats if not c.equal]
    told = f"Different weights: {_listed(unlike)}." if unlike else ""
    yield _check_row("A run repeated ends bit for bit alike", len(equal), len(panel.repeats), told, bad=bool(unlike))
    runs = sum(check.runs for check in panel.costs)
    crashed = len(findings.bench.all_runs) - runs
    wrong = sum(check.mismatches for check in panel.costs)
    told = "; ".join(check.examples[0] for check in panel.costs if check.examples)
    if crashed and runs and not wrong:
        told = f"holds everywhere; {many(crashed, 'more run')} crashed and {'has' if crashed == 1 else 'have'} no bill."
    yield _check_row(
        "The declared passes are those that hooks counted, exactly", runs - wrong, runs, told, bad=bool(wrong)
    )
    yield _budget_row(panel.budget)


def _budget_row(budget: BudgetCheck) -> Row:
    told = f"Above: {'; '.join(budget.examples)}." if budget.over else ""
    if budget.untrained:
        spent = f"{many(budget.untrained, 'more run')} spent the budget before training and failed by that."
        told = f"{told} {spent}" if told else f"holds everywhere; {spent}"
    return _check_row(
        "At equal compute no finished run spends more than its budget and one step",
        budget.runs - budget.over,
        budget.runs,
        told,
        bad=bool(budget.over),
    )


def _check_row(what: str, holds: int, total: int, told: str, *, bad: bool) -> Row:
    if bad:
        return Row(what, (Cell(f"{holds:,}", mark="bad"), Cell(f"{total:,}"), Cell(told)))
    if holds < total or total == 0:
        return Row(what, (Cell(f"{holds:,}", mark="unknown"), Cell(f"{total:,}"), Cell(told or "No record to check.")))
    return Row(what, (Cell(f"{holds:,}", mark="good"), Cell(f"{total:,}"), Cell(told or "holds everywhere")))


def _inside_table(findings: Findings) -> Table:
    rows = tuple(
        Row(
            Code(check.task),
            (
                Cell(check.kind),
                _inside_cell(check),
                Cell(lr_text(check.best_lr)),
                Cell(lr_text(check.lowest)),
                Cell(lr_text(check.highest)),
                Cell(check.reason),
            ),
        )
        for check in findings.panel.inside
    )
    columns = ("task", "schedule", "inside", "best lr", "lowest of the grid", "highest", "reason")
    return Table(
        "Where the best lr of each sweep lies in its grid (natural units)",
        columns,
        rows,
        frozenset({1, 6}),
        folded=f"All {len(rows)} sweeps",
    )


def _inside_cell(check: InsideCheck) -> Cell:
    if check.inside is None:
        return Cell("cannot be said", mark="unknown")
    return Cell("yes", mark="good") if check.inside else Cell("at the edge", mark="bad")


def _cost_table(findings: Findings) -> Table:
    rows = tuple(
        Row(
            Code(check.method),
            (
                Cell(f"{check.runs:,}"),
                Cell(f"{check.mismatches:,}", mark="bad" if check.mismatches else "good"),
                Cell(", ".join(check.tasks)),
                Cell("; ".join(check.examples)),
            ),
        )
        for check in findings.panel.costs
    )
    return Table(
        "Declared against counted forward and backward passes, by method",
        ("method", "runs", "mismatches", "on tasks", "examples"),
        rows,
        frozenset({3, 4}),
        folded=f"The bills of all {_methods_text(findings)}",
    )


def _methods_text(findings: Findings) -> str:
    """How many methods have a bill, and how many of them train nothing: the page's first count leaves those out."""
    known = findings.bench.catalogue.methods
    picking = sum(not known[check.method].trains for check in findings.panel.costs)
    only = f" ({picking} only pick an lr and train nothing)" if picking else ""
    return f"{many(len(findings.panel.costs), 'method')}{only}"


def _listed(names: Iterable[str], at_most: int = 6) -> str:
    """Names joined, with the number of those that were cut off."""
    kept = list(names)
    more = f" and {len(kept) - at_most} more" if len(kept) > at_most else ""
    return names_text(kept[:at_most]) + more
