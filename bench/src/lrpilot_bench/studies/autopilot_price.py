"""What Autopilot takes beside the training: its share of all compute, wall time, copies of the parameters.

    python -m lrpilot_bench.studies.autopilot_price [--only PART] ...
    python -m lrpilot_bench.studies.autopilot_price --quick    # seconds, short trainings, nothing is written

Parts: shares, clock, memory; about a minute each. A part is written into ``records/autopilot_price.json`` when it ends,
and those that were not asked for stay as they are.

``clock`` takes a plain step on a second training, with its own model, optimizer and data order, after every kept step:
what drifts in the machine is in both. Wall time and the processor time of the thread are taken; on a machine with other
work beside it only the second is to be relied on.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lrpilot import Autopilot, Pilot, Training, fit
from lrpilot.flight.substrate import STEP
from lrpilot_bench.methods.autopilot import ARMS
from lrpilot_bench.session import Session
from lrpilot_bench.store.records import machine_facts
from lrpilot_bench.studies import probe_cost
from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.studies.markdown import Row, percent, table, verdict
from lrpilot_bench.studies.probe_cost import live_bytes
from lrpilot_bench.studies.search_cost import Stopwatch, Time, make_session, now
from lrpilot_bench.tasks.registry import get_task

RECORD = RECORDS / "autopilot_price.json"

# ---------------------------------------------------------------------- share of all compute

SHARE_TASK = "digits"  # a millisecond a step: the share is one of counted passes, and the same on any task
SHARE_LIMITS = {350: 0.25, 1_400: 0.10, 10_000: 0.02}  # by the steps that the whole budget pays for


def shares(steps: Iterable[int] = SHARE_LIMITS) -> list[dict[str, Any]]:
    """Part of all forward-equivalents that is not kept steps, by horizon and way to fly."""
    return [share(arm, horizon) for horizon in steps for arm in ARMS]


def share(arm: Any, steps: int) -> dict[str, Any]:
    """Of one training, everything counted."""
    task = get_task(SHARE_TASK)
    session = Session(task, task.families[0], seed=0, steps=steps, lr=1e-3)
    training = session.training(session.optimizer(1e-3))
    result = fit(training, Autopilot(arm=arm), budget=STEP * steps, progress=False)
    state = result.pilot.driver.flight.state.policy_state
    return {
        "steps": steps, "arm": arm, "kept_steps": result.steps, "trials": result.cost.trials,
        "search_steps": round(state.search.spent, 1),
        "share": round(result.cost.forward_equivalents / result.total_compute, 5),
    }  # fmt: skip


# ---------------------------------------------------------------------- wall time

CLOCK_STEPS, LEAST_STEP_MS, OVERHEAD = 350, 15.0, 1.03


def clock(steps: int = CLOCK_STEPS) -> list[dict[str, Any]]:
    """A whole run of fit with Autopilot ÷ its kept steps in a plain loop, each arm in one run."""
    return [clocked(arm, steps) for arm in ARMS]


def clocked(arm: Any, steps: int) -> dict[str, Any]:
    """Of one training, in larger batches than its task's."""
    flown, second = make_session(steps), make_session(steps)
    watch = Stopwatch(second.training(second.optimizer(0.1)), second.batches())
    watch.step(20)  # warm
    plain = Time()

    def step_beside(_pilot: Pilot, _loss: Tensor) -> None:
        nonlocal plain
        plain = plain.plus(watch.step(1))

    training = flown.training(flown.optimizer(0.1))
    begun = now()
    result = fit(training, Autopilot(arm=arm), budget=STEP * steps, progress=False, on_step=step_beside)
    whole = now().since(begun).since(plain)
    searched = result.cost.forward_equivalents / (STEP * result.steps)
    return {
        "arm": arm, "steps": steps, "kept_steps": result.steps, "searched": round(searched, 4),
        "step_ms": round(1e3 * plain.cpu / result.steps, 2), "ratio": whole.over(plain),
        "limit": round(OVERHEAD * (1.0 + searched), 4),
    }  # fmt: skip


# ---------------------------------------------------------------------- memory

MEMORY_STEPS = 120  # enough for Trials, a mark and a flight
READ_EVERY = 9  # steps: looking at every object that is alive takes many times a step; Trials are of 8 at least


def memory(steps: int = MEMORY_STEPS) -> list[dict[str, Any]]:
    """Bytes of live tensors beyond those of a plain loop ÷ those of the parameters: in Trials, and in flight."""
    plain, _ = _readings(lambda training: [training.step(b) for b in training.train_source.epoch()])
    return [{"arm": arm, **_copies(arm, steps, max(plain["flight"]))} for arm in ARMS]


def _copies(arm: Any, steps: int, plain: int) -> dict[str, Any]:
    policy = Autopilot(arm=arm)
    seen, size = _readings(lambda training: fit(training, policy, total_steps=steps, progress=False))
    return {
        "optimizer": "AdamW",
        **{where: round((max(readings) - plain) / size, 2) for where, readings in seen.items() if readings},
    }


def _readings(train: Callable[[Training], Any]) -> tuple[dict[str, list[int]], int]:
    """Live bytes after every step, those of Trials apart; and the bytes of the parameters."""
    bound = probe_cost.make_training()
    seen: dict[str, list[int]] = {"trials": [], "flight": []}
    taken: list[bool] = []

    def step_fn(batch: Any) -> Tensor:
        bound.raw_optimizer.zero_grad()
        loss = nn.functional.cross_entropy(bound.model(batch[0]), batch[1])
        loss.backward()
        bound.raw_optimizer.step()
        taken.append(watched.probing)
        if len(taken) % READ_EVERY == 1:
            seen["trials" if watched.probing else "flight"].append(live_bytes())
        return loss

    batches = list(bound.train_source.epoch())
    watched = Training(bound.model, bound.raw_optimizer, None, batches, batches[:2], step_fn=step_fn)
    train(watched)
    return seen, sum(p.numel() * p.element_size() for p in bound.model.parameters())


# ---------------------------------------------------------------------- telling

PARTS: dict[str, Callable[..., list[dict[str, Any]]]] = {"shares": shares, "clock": clock, "memory": memory}
QUICK: dict[str, Any] = {"shares": (100,), "clock": 80, "memory": 80}


def tables(record: dict[str, Any]) -> str:
    """What is on record, as Markdown."""
    made = {"shares": _share_table, "clock": _clock_table, "memory": _memory_table}
    return "\n\n".join(made[name](record[name]) for name in made if name in record)


def _share_table(rows: list[dict[str, Any]]) -> str:
    lines: list[Row] = []
    for row in rows:
        limit = SHARE_LIMITS.get(row["steps"])
        said = ("–", "–") if limit is None else (percent(limit), verdict(row["share"] <= limit))
        lines.append((f"{row['steps']:,}", row["arm"], f"{row['kept_steps']:,}", percent(row["share"]), *said))
    return table(("budget in steps", "flown", "kept steps", "share of the rest", "limit", ""), lines)


def _clock_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        (
            row["arm"],
            f"{row['step_ms']:.1f} ms",
            *(f"{row['ratio'][clock]:.3f}" for clock in ("wall", "cpu")),
            f"{row['limit']:.3f}",
            verdict(row["ratio"]["cpu"] <= row["limit"]),
        )
        for row in rows
    ]
    return table(("flown", "a plain step", "wall", "processor", "limit", ""), lines)


def _memory_table(rows: list[dict[str, Any]]) -> str:
    places = ("trials", "flight")
    lines = [(row["arm"], *(f"{row[at]:.2f}" if at in row else "–" for at in places)) for row in rows]
    return table(("flown (AdamW)", "copies of the parameters in Trials", "in flight"), lines)


def main() -> None:
    """Measure, print the tables, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; repeatable")
    parser.add_argument("--quick", action="store_true", help="short trainings, nothing is written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.is_file() and not options.quick else {}
    for name in options.only or PARTS:
        record[name] = PARTS[name](QUICK[name]) if options.quick else PARTS[name]()
        print(tables({name: record[name]}), flush=True)
        if not options.quick:
            RECORD.write_text(json.dumps({**record, "machine": machine_facts()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
