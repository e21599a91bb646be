"""The task's own schedule."""

from dataclasses import replace

import pytest

from lrpilot_bench.methods.handmade import METHODS
from lrpilot_bench.protocol.jobs import Job, plan
from lrpilot_bench.run.execute import execute
from lrpilot_bench.run.recording import weights_digest
from lrpilot_bench.session import Session
from lrpilot_bench.tasks.digits import TASKS


def test_it_is_the_schedule_that_the_task_names() -> None:
    job = Job("digits", "handmade", horizon=0.1)
    made, cosine = execute(job), execute(replace(job, method="cosine"))

    assert TASKS[0].handmade == "cosine"
    assert made["notes"] == {"kind": "cosine", "warmup": 0.05, "peak_lr": 1e-3}
    assert made["weights"] == cosine["weights"] and plan(job).lr is None


def test_a_task_may_name_the_lr_that_people_write() -> None:
    task = replace(TASKS[0], handmade_lr=5e-5)
    session = Session(task, task.family(), seed=0, steps=100)
    assert METHODS[0].train(session)["peak_lr"] == 5e-5
    session.finish()
    assert max(session.curve.lr[1:]) == pytest.approx(5e-5, rel=0.1)


@pytest.mark.parametrize(
    ("kind", "warmup", "factor"),
    # 100 steps; the lr of the last ÷ peak. Inverse square root: w = 4 of 100, t = 95 behind it, sqrt(4 / (4 + 95)).
    [("inverse_sqrt", 0.04, (4 / 99) ** 0.5), ("one_cycle", 0.0, 0.01), ("step", 0.05, 0.01), ("constant", 0.05, 1.0)],
)
def test_kinds_have_the_warmup_that_is_usual_with_them(kind: str, warmup: float, factor: float) -> None:
    task = replace(TASKS[0], handmade=kind)
    session = Session(task, task.family(), seed=0, steps=100, lr=1e-3)

    notes = METHODS[0].train(session)
    session.finish()

    assert notes == {"kind": kind, "warmup": warmup, "peak_lr": 1e-3} and session.kept_steps == 100
    assert session.curve.lr[-1] == pytest.approx(1e-3 * factor)
    assert weights_digest(session.model)
