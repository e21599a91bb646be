"""Whether the present code makes the committed runs again: the same weights bit for bit, and the same bill.

    python -m lrpilot_bench.studies.repeat_records --list     # which runs, and what they took
    python -m lrpilot_bench.studies.repeat_records            # 30 runs, a quarter of an hour on one core

Which runs is a fixed rule: every task in turn gives the cheapest run of a method that no run before was of, or, once it
has none, of one that it has not given itself; of those that finished, trained, and took no longer than a limit.

Weights can only be the same on a machine like the one that they were recorded on: the same torch, and a processor for
which it taken the same kernels. On another kind of processor two versions of the code are compared with each other:
the earlier one makes the runs with ``--out FILE``, and the later one is given that FILE.

Ends with status 1 where a run differs or could not be made, or where a committed record is not current.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lrpilot.core.codec import record
from lrpilot_bench.protocol.jobs import Job, Plan, job_of, plan
from lrpilot_bench.protocol.ledger import is_current, read_runs
from lrpilot_bench.run.pool import Outcome
from lrpilot_bench.run.progress import duration
from lrpilot_bench.run.resume import run_missing
from lrpilot_bench.run.workers import ProcessPool, attempt
from lrpilot_bench.store.records import Record, append_record
from lrpilot_bench.store.schema import FINISHED
from lrpilot_bench.studies.checkout import RECORDS

FILES = ("bench.jsonl", "lr_tuner.jsonl", "weighted_factors.jsonl", "autolrs.jsonl")
MANY, LONGEST = 30, 60.0  # runs; seconds that one took when it was recorded
COMPARED = ("weights", "kept_steps", "compute", "declared", "counted")  # of what was trained, and of its bill


def chosen(records: Iterable[Record], many: int, *, longest: float = LONGEST) -> list[Record]:
    """The records to repeat, by the rule above; fewer than ``many`` where there are no more.

    Args:
        records: current ones.
        many: how many.
        longest: seconds that a run may have taken.
    """
    left: dict[str, list[Record]] = {}
    for one in sorted(records, key=lambda one: (one["seconds"], one["run"])):
        if one["status"] == FINISHED and one["kept_steps"] > 0 and one["seconds"] <= longest:
            left.setdefault(one["task"], []).append(one)
    taken: list[Record] = []
    while len(taken) < many and any(left.values()):
        for task in sorted(left):
            if left[task] and len(taken) < many:
                seen = {one["method"] for one in taken}
                fresh = next((one for one in left[task] if one["method"] not in seen), left[task][0])
                taken.append(fresh)
                left[task] = [one for one in left[task] if one["method"] != fresh["method"]]
    return taken


@record
class Repeat:
    """A committed record and what its run came to today.

    Attributes:
        committed: the record.
        again: the record of today; None where there is none.
        reason: why there is none.
    """

    committed: Record
    again: Record | None
    reason: str | None = None

    @property
    def differs(self) -> list[str]:
        """Fields that are not what they were."""
        again = self.again
        return [] if again is None else [name for name in COMPARED if again[name] != self.committed[name]]

    @property
    def verdict(self) -> str:
        """In words: "same", or what is not."""
        if self.again is None:
            return f"not made: {self.reason}"
        if not self.differs:
            return "same"
        losses = " and ".join(f"{one['final']['val_loss']:.5g}" for one in (self.committed, self.again))
        return f"differs: {', '.join(self.differs)}; final losses {losses}"


def repeat(records: Sequence[Record], pool: Any, *, out: Path | None = None) -> Iterator[Repeat]:
    """Make the runs of these records again.

    Args:
        records: current ones.
        pool: where; see :class:`lrpilot_bench.run.pool.Pool`.
        out: file that the records of today are added to; None for none.

    Yields:
        One each, in the order of ``records``, once all are made.
    """
    plans = {one["run"]: plan(job_of(one)) for one in records}
    ended: dict[str, Outcome[Job]] = {}

    def take(one: Plan, outcome: Outcome[Job]) -> None:
        ended[one.run] = outcome
        if out is not None and outcome.record is not None:
            append_record(out, outcome.record)
        print(f"{len(ended)}/{len(records)} made again: {one.job.task} {one.job.method}", flush=True)

    run_missing(lambda: [one for run, one in plans.items() if run not in ended], pool, take)
    for one in records:
        outcome = ended[one["run"]]
        yield Repeat(one, outcome.record, outcome.reason or outcome.death)


def row(one: Record) -> str:
    """A run in one line."""
    lr = "" if one["lr"] is None else f"{one['lr']:g}"
    weights = one["weights"] or ""
    return f"{one['task']:26s} {one['method']:26s} {lr:>10s} {one['seed']:4d} {weights:16s} {one['compute']:9.3f}"


HEADER = f"{'task':26s} {'method':26s} {'lr':>10s} {'seed':>4s} {'weights':16s} {'compute':>9s}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Choose, make again, compare; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--many", type=int, default=MANY, metavar="N", help=f"how many runs (default {MANY})")
    parser.add_argument("--longest", type=float, default=LONGEST, metavar="SECONDS", help="of a run (default 60)")
    parser.add_argument("--list", action="store_true", help="only say which")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file that gets the records of today, too")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="runs at a time (default 1)")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", default=[RECORDS / name for name in FILES])
    options = parser.parse_args(arguments)
    records = [one for path in options.files for one in map(dict, read_runs(path).values())]
    current = [one for one in records if is_current(one)]
    print(f"{len(current)} of {len(records)} committed records are current")
    taken = chosen(current, options.many, longest=options.longest)
    if options.list:
        took = duration(sum(one["seconds"] for one in taken))
        print(f"{len(taken)} of them, which took {took}:\n{HEADER}", *map(row, taken), sep="\n")
        return int(len(current) < len(records))
    pool = ProcessPool(options.processes, partial(attempt, device="cpu"))
    try:
        repeats = list(repeat(taken, pool, out=options.out))
    finally:
        pool.close()
    print(HEADER, *(f"{row(one.committed)}  {one.verdict}" for one in repeats), sep="\n")
    same = sum(one.verdict == "same" for one in repeats)
    print(f"{same} of {len(repeats)} runs came to the same weights and the same bill")
    return int(same < len(repeats) or len(current) < len(records))


if __name__ == "__main__":
    raise SystemExit(main())
