"""The part of docs/evidence.md that is about Lines, from records/line_cost.json and records/line_decisions.jsonl."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from lrpilot_bench.store.records import Record, read_records
from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.studies.line_cost import EPOCH, SHORT_STEPS
from lrpilot_bench.studies.line_decisions import ALLOWANCES, DECISIONS, PAPER_FORWARDS, agreement

Row = tuple[str, ...]
# Beside two copies of the parameters a Line holds the state of the generators and a copy of the model's buffers.
SMALL = 32 * 1024  # bytes
AIM = 0.95


def table(header: Row, rows: Iterable[Row]) -> str:
    """A Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def verdict(holds: bool) -> str:
    """What the last column says of a limit."""
    return "holds" if holds else "**does not hold**"


def time_rows(measured: Sequence[Record]) -> Iterable[Row]:
    """One row for each model and shape of a Line."""
    for row in measured:
        shape = f"{row['factors']} factors, {row['batches']} batches"
        holds = verdict(row["ratio"] <= row["limit"])
        yield row["model"], shape, f"{row['forward_ms']:.1f}", f"{row['ratio']:.3f}", f"{row['limit']:.2f}", holds


def memory_rows(measured: Sequence[Record]) -> Iterable[Row]:
    """One row for each model and number of factors."""
    for row in measured:
        copies, beyond = row["two_copies_bytes"], row["extra_bytes"] - row["two_copies_bytes"]
        held = f"{2 * row['extra_bytes'] / copies:.2f}"
        yield row["model"], str(row["factors"]), held, f"{beyond / 1024:.0f}", verdict(0 <= beyond <= SMALL)


def factors_rows(measured: Sequence[Record]) -> Iterable[Row]:
    """One row for each model and number of factors."""
    for row in measured:
        held = (f"{row[name] / row['one_copy_bytes']:.2f}" for name in FACTORS_COLUMNS)
        yield row["model"].rsplit(", batch", 1)[0], str(row["factors"]), *held


def overhead_rows(measured: dict[str, Any]) -> Iterable[Row]:
    """One row for each training."""
    names = {
        "default": "`LRTuner()`",
        "saturating": '`LRTuner(exploit="saturation")`',
        "paper": '`LRTuner.paper("fashion-mnist")`',
    }
    for policy, name in names.items():
        for row in measured[policy]:
            held = "" if policy == "paper" else verdict(row["share"] <= measured["limit"])
            training = f"{row['task']}, {row['steps']} steps"
            yield name, training, f"{row['lr']:.2g}", f"{row['counted']:.0f}", f"{100 * row['share']:.2f} %", held


def decision_rows(records: Sequence[Record]) -> Iterable[Row]:
    """One row for each allowance and task, and one for all tasks together."""
    tasks = list(dict.fromkeys(record["task"] for record in records))
    for allowance in ALLOWANCES:
        for name, chosen in (*((task, {task}) for task in tasks), ("all", set(tasks))):
            seen = agreement((line for r in records if r["task"] in chosen for line in r["lines"]), allowance)
            same, moved = seen["same"], seen["same"] + seen["opposite"]
            yield (
                allowance,
                name,
                f"{seen['lines']}",
                f"{seen['raises']} / {seen['cuts']}",
                percent(same, moved + seen["held"]),
                f"{seen['held']}",
                f"{seen['opposite']}",
                percent(same, moved),
                f"{seen['median']:.0f} / {seen['mean']:.1f}",
            )


def percent(part: float, whole: float) -> str:
    """A share in percent; empty where there is nothing to share."""
    return f"{100 * part / whole:.1f} %" if whole else ""


# As the record calls them, and as the page does.
FACTORS_COLUMNS = {
    "copies": "a copy for each factor",
    "published": "`WeightedFactors.paper()`",
    "default sgd": "default, SGD",
    "default adamw": "default, AdamW",
}


def line_sections() -> str:
    """The sections, from the records."""
    record = json.loads((RECORDS / "line_cost.json").read_text())
    decisions = read_records(DECISIONS)
    many = sum(len(training["lines"]) for training in decisions)
    return f"""## Lines

From `studies/line_cost.py`; one thread, torch {record["time"]["machine"]["torch"]}. A Line with both its copies
of the parameters ÷ as many forward passes on the same batches, timed in turn (medians of the pairwise ratios):

{table(("model", "Line", "ms a forward", "ratio", "limit", ""), time_rows(record["time"]["measured"]))}

Tensor bytes that a Line holds beyond the training's own, in copies of the trainable parameters. The rest are the states
of the random generators and a copy of BatchNorm's statistics:

{table(("model", "factors", "copies", "kB beyond two", ""), memory_rows(record["memory"]["measured"]))}

What a decision of `WeightedFactors` holds, in copies of the trainable parameters as well, beside the authors' way: a
copy of the model for each factor, whose number they name as their limit. The default has a mark besides: the weights
and the optimizer's state, which is two more copies with AdamW. A mark does not depend on the number of factors either.

{table(("model", "factors", *FACTORS_COLUMNS.values()), factors_rows(record["factors"]["measured"]))}

What LRTuner's measurements cost, checks, superbatches and the proof of linearity included, ÷ the forwards and
backwards of the training (a backward counts as two forwards; counted by hooks on the model). The limit is 3 %. The
papers' setting has windows of half an epoch, and {SHORT_STEPS} steps are {SHORT_STEPS / EPOCH:.1f} epochs here. At the
papers' own size (60,000 images in batches of 64) a window costs 200 to 600 forwards and its training 1,407: 14 to 43 %.

{table(("policy", "training", "seed lr", "forwards", "share", ""), overhead_rows(record["overhead"]["measured"]))}

## What few forwards are worth

From `studies/line_decisions.py`: Lines along {many} steps of trainings at constant lrs, from far too small to
too large. On each the papers' setting (5 factors on 100 batches) says by its ε* and the standard error over the
batches which way the lr should go, and whether that is certain (95 %). On the same step the default decides by its own
code on batches of its own: 3 factors, as many batches as it asks for, a check of its prediction. Its sign is that of
the raise it makes in explore, or else of the cut it makes in exploit. Forwards are those of a decision with its
superbatch; the papers' are {PAPER_FORWARDS}. The aim is the same sign in {AIM:.0%} of the certain cases.

{table(DECISION_HEADER, decision_rows(decisions))}

"No limit" reads up to 16 batches. In 1,400 steps the default may spend 28 forwards on a decision, and reads up to 8."""


DECISION_HEADER = (
    "default",
    "task",
    "Lines",
    "certain raises / cuts",
    "same sign",
    "held",
    "opposite",
    "same sign of its moves",
    "forwards, median / mean",
)
