"""The finder table: every suggestion of an lr, and what the issue thread about transformers asks."""

import math
import statistics
from collections.abc import Iterable, Sequence

from lrpilot_bench.analysis.finders import FinderRow
from lrpilot_bench.report.curves_figures import finder_name
from lrpilot_bench.report.document import (
    Block,
    Bullets,
    Cell,
    Code,
    Figure,
    Group,
    Inline,
    Key,
    Paragraph,
    Row,
    Section,
    Strong,
    Table,
    Words,
)
from lrpilot_bench.report.findings import Findings
from lrpilot_bench.report.forest import MARKERS, ForestRow, forest
from lrpilot_bench.report.numbers import (
    INFINITE,
    NOTHING,
    factor_text,
    lr_text,
    measured_cell,
    multiple_text,
    names_text,
    ratio_text,
    schedule_name,
    short,
)
from lrpilot_bench.stats.aggregates import geometric_mean

FINE_TUNING = "minilm_movies"  # the task that answers the issue thread
ISSUE = "huggingface/transformers#16013"
NEAR = 2.2  # the step of the oracle's grid: closer than that is as good as the sweep can tell
PARTLY = "a pick on some seeds only"
FARTHEST = 1000.0  # picks beyond are arrows


def finders(findings: Findings) -> Section:
    """The section."""
    tasks = [task for task in findings.tasks if findings.finders[task]]
    if not tasks:
        return Section("finders", "Learning rate finders", (Paragraph("No finder has a pick on record."),))
    lead = (
        "Each suggestion of each finder, judged by the sweep of the schedule it is meant for: how far from the best "
        "lr it is, and what the sweep's loss there is ÷ the best of that sweep (interpolated between grid points)."
    )
    blocks: list[Block] = [Paragraph(lead), *_answer(findings), *_picture(findings, tasks), _table(findings, tasks)]
    return Section("finders", "Learning rate finders", blocks)


# ------------------------------------------------------------------ the answer


def _answer(findings: Findings) -> Iterable[Block]:
    """Does a finder work for fine-tuning a transformer?"""
    rows = findings.finders.get(FINE_TUNING, ())
    said = (
        Strong("Fine-tuning a transformer."),
        f" In {ISSUE} a finder was declined: range tests suggest an lr around 1e-3 where the best one is around 1e-5. ",
    )
    if not rows:
        yield Paragraph((*said, "No pick on ", Code(FINE_TUNING), " is on record yet, so there is no answer."))
        return
    bests = {row.schedule: row.best_lr for row in rows if row.best_lr is not None}
    best = ", ".join(f"{lr_text(lr)} ({schedule_name(schedule)})" for schedule, lr in bests.items()) or NOTHING
    yield Paragraph((*said, "On ", Code(FINE_TUNING), f" the best peak lr of the sweeps is {best}. ", *_summary(rows)))
    yield Bullets(tuple(_verdict(row) for row in rows))


def _summary(rows: Sequence[FinderRow]) -> tuple[Inline, ...]:
    """Who is near, too large, too small: the answer in one line."""
    ratios = {
        finder_name(row): row.lr / row.best_lr
        for row in rows
        if row.lr is not None and row.best_lr is not None and not row.reasons
    }
    parts = (
        ("Within one grid step of it", [name for name, ratio in ratios.items() if 1 / NEAR <= ratio <= NEAR]),
        ("too large", [name for name, ratio in ratios.items() if ratio > NEAR]),
        ("too small", [name for name, ratio in ratios.items() if ratio < 1 / NEAR]),
        (PARTLY, [_partly(row) for row in rows if row.lr is not None and row.reasons]),
        ("no pick", [finder_name(row) for row in rows if row.lr is None]),
    )
    said: list[Inline] = []
    for what, names in parts:
        told = f"{what}: {names_text(names) or 'none'}"
        words: Inline = Strong(told) if names and what != PARTLY else told
        said += ["; ", words] if said else [words]
    return (*said, ".")


def _partly(row: FinderRow) -> str:
    """A finder that picked on some of its seeds: where it did, its pick may be good; a user has one run."""
    distance = "" if row.lr is None or row.best_lr is None else f", there {_distance(row.lr / row.best_lr)} the best lr"
    return f"{finder_name(row)} ({len(row.lrs) - len(row.reasons)} of {len(row.lrs)}{distance})"


def _verdict(row: FinderRow) -> Words:
    name = Strong(finder_name(row))
    if row.lr is None:
        return (name, f" gives no lr ({short(next(iter(row.reasons.values()), 'no reason on record'), 120)}).")
    said = f" picks {lr_text(row.lr)}"
    if row.best_lr is not None:
        said += f", {_distance(row.lr / row.best_lr)} the best lr of {schedule_name(row.schedule)}"
    refused = len(row.reasons)
    said += f" ({refused} of {len(row.lrs)} seeds without a pick)" if refused else ""
    if row.regret.reason.startswith("beyond the grid"):
        return (name, f"{said}; {row.regret.reason}, and the pick itself was not run.")
    if row.regret.value is None:
        return (name, f"{said}; its regret cannot be said: {row.regret.reason}.")
    return (name, f"{said}; regret {ratio_text(row.regret.value)}.")


def _distance(ratio: float) -> str:
    if 1 / NEAR <= ratio <= NEAR:
        return "within one grid step of"
    return f"{multiple_text(ratio)} times" if ratio > 1 else f"{multiple_text(ratio)} of"


# ------------------------------------------------------------------ the picture


def _picture(findings: Findings, tasks: Sequence[str]) -> Iterable[Figure]:
    """Finders with a pick that a sweep can judge; none where there is no such pick."""
    by_finder: dict[str, list[FinderRow]] = {}
    for task in tasks:
        for row in findings.finders[task]:
            by_finder.setdefault(finder_name(row), []).append(row)
    rows = sorted((_line(name, picks) for name, picks in by_finder.items()), key=lambda pair: pair[0])
    drawn = [row for _, row in rows if row.dots]
    if not drawn:
        return
    words: dict[Group, str] = {"lrpilot": "find_lr (lrpilot)", "peer": "other finders"}
    yield Figure(
        "Pick ÷ the best lr of the schedule it is meant for",
        forest(
            drawn,
            axis="median distance",
            one="1 = the sweep's best lr",
            low=1 / FARTHEST,
            top=FARTHEST,
            tick=factor_text,
        ),
        "Grey dots: single tasks (geometric mean over seeds). Large signs: geometric mean over tasks. At the right, "
        "how many times off a pick is, in either direction, median over tasks; closest first. Logarithmic.",
        tuple(Key(f"s-{g}", words[g], MARKERS[g], line=False) for g in words if any(r.group == g for r in drawn)),
        wide=True,
    )


def _line(name: str, picks: Sequence[FinderRow]) -> tuple[tuple[float, str], ForestRow]:
    ratios = [(row.task, row.lr / row.best_lr) for row in picks if row.lr is not None and row.best_lr is not None]
    distances = [max(ratio, 1 / ratio) for _, ratio in ratios]
    distance = statistics.median(distances) if distances else math.inf
    unpicked = sum(len(row.reasons) for row in picks)
    mean = geometric_mean(ratio for _, ratio in ratios) if ratios else None
    row = ForestRow(
        f"{name} ({schedule_name(picks[0].schedule)})",
        "lrpilot" if picks[0].own else "peer",
        mean,
        tuple((ratio, f"{task}: {factor_text(ratio)}") for task, ratio in ratios),
        factor_text(distance) if distances else NOTHING,
        f"{unpicked} of {sum(len(row.lrs) for row in picks)} without a pick" if unpicked else "",
    )
    return (distance, name), row


# ------------------------------------------------------------------ the table


def _table(findings: Findings, tasks: Sequence[str]) -> Table:
    rows = [_row(task, row) for task in tasks for row in findings.finders[task]]
    columns = (
        "finder", "task", "meant for", "lr", "spread", "best lr", "pick ÷ best", "regret", "worst seed", "cost",
    )  # fmt: skip
    note = (
        f"lr: geometric mean over seeds; spread: largest ÷ smallest. Regret: median over seeds; {INFINITE} where a "
        "pick diverges or there is none. Cost: of the search ÷ a plain run's total compute."
    )
    return Table("Every pick on every task", columns, tuple(rows), frozenset({1, 2}), note=note)


def _row(task: str, row: FinderRow) -> Row:
    off = row.lr / row.best_lr if row.lr is not None and row.best_lr is not None else None
    refused = f"{len(row.reasons)} of {len(row.lrs)} without" if row.reasons else ""
    cells = (
        Cell(Code(task)),
        Cell(schedule_name(row.schedule)),
        Cell(lr_text(row.lr), small=refused, mark="fail" if refused else None),
        Cell(NOTHING if row.spread is None else multiple_text(row.spread)),
        Cell(lr_text(row.best_lr)),
        Cell(NOTHING if off is None else factor_text(off)),
        measured_cell(row.regret),
        Cell(ratio_text(row.worst.value)),
        measured_cell(row.compute),
    )
    return Row(finder_name(row), cells, "lrpilot" if row.own else "peer")
