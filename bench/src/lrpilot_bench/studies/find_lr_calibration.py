"""What a short search is worth and whether it knows what it says, on every task with a recorded sweep.

    python -m lrpilot_bench.studies.find_lr_calibration                  # minutes: nothing but the searches is flown
    python -m lrpilot_bench.studies.find_lr_calibration --tasks diamonds --seeds 0 --dry-run
    python -m lrpilot_bench.studies.find_lr_calibration --show           # what is on record, nothing is flown

``find_lr`` at its default searches on each task and seed. Its pick is judged by the recorded sweep of the linear
schedule that it is meant for (seed 0): the loss that the sweep would have had there, interpolated in log lr, ÷ the best
of the sweep; the search itself is free. Its interval is judged by whether it holds the sweep's best peak. Beside it the
picks of three range tests of 100 steps, from the benchmark's records where they are there and flown where not.

Writes ``records/find_lr_calibration.json``, task by task; rows of other tasks stay.
"""

import argparse
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from lrpilot.errors import MissingDependencyError
from lrpilot_bench.analysis.catalogue import registered
from lrpilot_bench.analysis.oracle import Sweep, sweep
from lrpilot_bench.analysis.recorded import Bench, load
from lrpilot_bench.methods.pickers import PICKERS
from lrpilot_bench.protocol.jobs import run_of
from lrpilot_bench.protocol.split import split_tasks
from lrpilot_bench.session import Session
from lrpilot_bench.stats.aggregates import geometric_mean
from lrpilot_bench.stats.measures import interpolated_loss
from lrpilot_bench.store.records import machine_facts, read_records
from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.tasks.registry import get_task, tasks

RECORD = RECORDS / "find_lr_calibration.json"
RUNS = RECORDS / "bench.jsonl"
OURS = "find_lr_quick"
RIVALS = ("torch_lr_finder", "lightning", "fastai_valley")
SCHEDULE = "linear"
SEEDS = (0, 1, 2)
# What is asked of the search: its price in training steps, mean and worst regret, how often the interval holds.
MOST_STEPS, MEAN, WORST, HOLDS = 150.0, 1.06, 1.25, 0.8
Row = dict[str, Any]


# -------------------------------------------------------------------- judging


def judged(swept: Sweep, lr: float | None) -> tuple[float, str]:
    """Regret of a pick by a sweep, and how it was read: inf for no pick.

    Between a point that finished and one that failed, and beyond the grid, the nearest point speaks for it.
    """
    best = swept.best
    assert best is not None  # only tasks with a sweep are asked
    if lr is None:
        return math.inf, "no pick"
    loss = interpolated_loss(swept.lrs, swept.losses, lr).value
    if loss is not None:
        return loss / best[1], "interpolated"
    nearest = min(range(len(swept.lrs)), key=lambda i: abs(math.log(swept.lrs[i] / lr)))
    return swept.losses[nearest] / best[1], "nearest point"


def row_of(task: str, side: str, seed: int, finder: str, swept: Sweep, picked: Mapping[str, Any]) -> Row:
    """One line of the record, from what a finder notes of its pick."""
    best_lr = swept.best[0] if swept.best else math.nan
    regret, how = judged(swept, picked["picked_lr"])
    interval = picked.get("interval")
    others = {
        name: _short(judged(swept, lr)[0])
        for name, lr in (picked.get("suggestions") or {}).items()
        if finder == OURS and name != "paired"
    }
    return {
        "task": task, "side": side, "seed": seed, "finder": finder, "code": picked.get("code"),
        "steps": round(picked["search_cost"] / 3.0, 1), "lr": _short(picked["picked_lr"]), "best_lr": _short(best_lr),
        "interval": None if interval is None else [_short(end) for end in interval],
        "inside": None if interval is None else bool(interval[0] <= best_lr <= interval[1]),
        "regret": _short(regret), "read": how, "suggestions": _shortened(picked), "regrets": others,
    }  # fmt: skip


def _shortened(picked: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: _short(lr) for name, lr in (picked.get("suggestions") or {}).items()}


def _short(value: float | None) -> float | None:
    """Five digits; None for what is no number, as JSON has none."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


# --------------------------------------------------------------------- flying


def picks(bench: Bench, name: str, seeds: Sequence[int], swept: Sweep, side: str) -> Iterator[Row]:
    """Every finder's pick on a task, seed by seed."""
    for finder in (OURS, *RIVALS):
        known = bench.runs(name, f"pick_{finder}") if finder != OURS else {}
        for seed in seeds:
            try:
                notes = known[seed].notes if seed in known else flown(name, finder, seed)
            except MissingDependencyError as error:
                print(f"{name}: {finder} is left out: {error}", flush=True)
                break
            if "picked_lr" in notes:
                yield row_of(name, side, seed, finder, swept, notes)


def flown(name: str, finder: str, seed: int) -> Mapping[str, Any]:
    """The pick of a finder on fresh weights."""
    task = get_task(name)
    session = Session(task, task.family(), seed=seed, steps=task.steps)
    return PICKERS[finder].pick(session).notes()


def judgeable(bench: Bench, names: Iterable[str] | None) -> dict[str, Sweep]:
    """Tasks with a whole sweep of the schedule on record."""
    wanted = list(names or split_tasks(tasks().values()))
    swept = {name: sweep(bench, name, SCHEDULE) for name in wanted}
    return {name: one for name, one in swept.items() if one.best is not None and not one.missing}


# -------------------------------------------------------------------- showing


def regret_of(row: Row) -> float:
    """As a number: inf for no pick, and for one that failed."""
    return math.inf if row["regret"] is None else float(row["regret"])


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Of the rows of one finder: mean (geometric) and worst regret, without the picks that there are none of."""
    regrets = [regret_of(row) for row in rows]
    finite = [regret for regret in regrets if math.isfinite(regret)]
    inside = [row["inside"] for row in rows if row["inside"] is not None]
    return {
        "runs": len(rows), "failed": len(rows) - len(finite), "most_steps": max(row["steps"] for row in rows),
        "mean": geometric_mean(finite) if finite else math.inf, "worst": max(finite, default=math.inf),
        "held": sum(inside), "intervals": len(inside),
    }  # fmt: skip


def show_row(row: Row) -> str:
    """A line of the terminal."""
    interval = "" if row["interval"] is None else f" ({row['interval'][0]:.2g} to {row['interval'][1]:.2g})"
    lr = "none" if row["lr"] is None else f"{row['lr']:.3g}"
    holds = {True: "holds", False: "MISSES", None: ""}[row["inside"]]
    others = ", ".join(f"{name} {_text(regret)}" for name, regret in row["regrets"].items())
    head = f"{row['task']:16s} {row['side']:11s} seed {row['seed']} {row['finder']:15s} {row['steps']:5.0f} steps"
    best = f"best {row['best_lr']:.3g} {holds}"
    return f"{head}  lr {lr}{interval} {best}  regret {_text(row['regret'])} {row['code'] or ''} {others}".rstrip()


def show_summary(rows: Sequence[Row]) -> Iterator[str]:
    """A line for every finder, over all tasks and each side of the split."""
    for finder in (OURS, *RIVALS):
        own = [row for row in rows if row["finder"] == finder]
        for side in ("all", *sorted({row["side"] for row in own})):
            part = [row for row in own if side in ("all", row["side"])]
            if part:
                yield f"{finder:15s} {side:11s} {_in_words(summary(part))}"
        for name in ("trial_best", "expected") if finder == OURS and own else ():
            alone = summary([row | {"regret": row["regrets"].get(name)} for row in own])
            yield f"  {name} alone: mean {alone['mean']:.3f}, worst {alone['worst']:.2f}, {alone['failed']} without"


def verdicts(rows: Sequence[Row]) -> Iterator[str]:
    """What is asked of ``find_lr``, and whether it holds."""
    seen = summary([row for row in rows if row["finder"] == OURS])
    held = seen["held"] / seen["intervals"] if seen["intervals"] else math.nan
    for what, value, holds in (
        (f"steps <= {MOST_STEPS:g}", f"{seen['most_steps']:.0f}", seen["most_steps"] <= MOST_STEPS),
        (f"mean regret <= {MEAN}", f"{seen['mean']:.3f}", seen["mean"] <= MEAN and not seen["failed"]),
        (f"worst regret <= {WORST}", f"{seen['worst']:.3f}", seen["worst"] <= WORST and not seen["failed"]),
        (f"interval holds >= {HOLDS:.0%}", f"{held:.0%}", held >= HOLDS),
    ):
        yield f"{'holds' if holds else 'FAILS'}  {what}: {value}"


def _in_words(seen: Mapping[str, Any]) -> str:
    calibrated = f", interval holds {seen['held']} of {seen['intervals']}" if seen["intervals"] else ""
    failed = f", {seen['failed']} without a pick or failed" if seen["failed"] else ""
    return (
        f"{seen['runs']} runs: regret mean {seen['mean']:.3f}, worst {seen['worst']:.2f}{failed}; "
        f"at most {seen['most_steps']:.0f} steps{calibrated}"
    )


def _text(regret: float | None) -> str:
    return "none" if regret is None else f"{regret:.3f}"


# ------------------------------------------------------------------- the record


def read() -> list[Row]:
    """The rows on record."""
    return list(json.loads(RECORD.read_text())["rows"]) if RECORD.is_file() else []


def write(rows: Sequence[Row]) -> None:
    """A row a line, so that a change of one is a change of one line."""
    lines = ",\n".join(json.dumps(row) for row in rows)
    RECORD.write_text(f'{{"machine": {json.dumps(machine_facts())}, "rows": [\n{lines}\n]}}\n')


def main() -> None:
    """Search, print, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", help="names; without it all that have a sweep on record")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    parser.add_argument("--show", action="store_true", help="fly nothing")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = read()
    if not asked.show:
        bench = load(read_records(RUNS), registered(), current_run=run_of)
        sides = split_tasks(tasks().values())
        for name, swept in judgeable(bench, asked.tasks).items():
            fresh = []
            for row in picks(bench, name, asked.seeds, swept, sides[name]):
                print(show_row(row), flush=True)
                fresh.append(row)
            rows = [row for row in rows if row["task"] != name] + fresh
            if not asked.dry_run:
                write(rows)
    else:
        print(*map(show_row, rows), sep="\n")
    print(*show_summary(rows), *verdicts(rows), sep="\n")


if __name__ == "__main__":
    main()
