"""The part of docs/evidence.md that is about Lines, from records/line_cost.json and records/line_decisions.jsonl."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from lrpilot_bench.store.records import Record, read_records
from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.studies.line_cost import EPOCH, SHORT_STEPS
from lrpilot_bench.studies.line_decisions import ALLOWANCES, DECISIONS, PAPER_FORWARDS, agreement
from lrpilot_bench.studies.markdown import Row, verdict

# Beside two copies of the parameters a Line holds the state of the generators and a copy of the model's buffers.
SMALL = 32 * 1024  # bytes
AIM = 0.95
HOLDINGS = ("copies", "published", "default sgd", "default adamw")  # columns, as the record calls them


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
        held = (f"{row[name] / row['one_copy_bytes']:.2f}" for name in HOLDINGS)
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


def line_numbers() -> dict[str, Any]:
    """What the sections name (``templates/lines.md.jinja``), from the records."""
    record = json.loads((RECORDS / "line_cost.json").read_text())
    decisions = read_records(DECISIONS)
    return {
        "torch": record["time"]["machine"]["torch"],
        "time": time_rows(record["time"]["measured"]),
        "memory": memory_rows(record["memory"]["measured"]),
        "factors": factors_rows(record["factors"]["measured"]),
        "short_steps": SHORT_STEPS,
        "epochs": SHORT_STEPS / EPOCH,
        "overhead": overhead_rows(record["overhead"]["measured"]),
        "many": sum(len(training["lines"]) for training in decisions),
        "paper_forwards": PAPER_FORWARDS,
        "aim": AIM,
        "decisions": decision_rows(decisions),
    }
