"""What a ranking hangs on."""

import math

import pytest
from bench_records import bench, oracle_records, record, seeded
from hypothesis import given, settings
from hypothesis import strategies as st

from lrpilot_bench.analysis.compare import all_rows, headlines
from lrpilot_bench.analysis.sensitivity import Sensitivity, failed_runs, sensitivity

BARS = (1.0, 1.1, 1.2)  # the oracle's, by seed
BOTH = (oracle_records("t", seeds=3), oracle_records("u", seeds=3))
METHODS = ("gen", "prodigy", "tlf", "ours")


def times(*factors: float) -> list[float]:
    """Losses of three regrets."""
    return [bar * factor for bar, factor in zip(BARS, factors, strict=True)]


def judged(losses: dict[tuple[str, str], list[float]]) -> Sensitivity:
    """Of losses by task and method."""
    return sensitivity(all_rows(bench(*BOTH, *(seeded(task, name, of) for (task, name), of in losses.items()))))


def test_one_task_decides() -> None:
    """By hand: ours is the best over both, gen without the task that one seed of it failed on."""
    found = judged(
        {
            ("t", "gen"): times(0.8, 0.8, 0.8), ("u", "gen"): times(math.inf, 1.0, 1.0),
            ("t", "prodigy"): times(1.5, 1.5, 1.5), ("u", "prodigy"): times(math.inf, 1.5, 1.5),
            ("t", "ours"): times(1.1, 1.1, 1.1), ("u", "ours"): times(1.2, 1.2, 1.2),
        }
    )  # fmt: skip
    assert found.best is not None and found.best.method == "ours" and found.failed == 2
    without_t, without_u = found.without
    assert (without_t.method, without_t.regret) == ("ours", pytest.approx(1.2))
    assert (without_u.method, without_u.regret) == ("gen", pytest.approx(0.8))
    assert found.deciding == (without_u,)
    assert [(of.task, of.seed, set(of.methods)) for of in found.lone] == [("u", 0, {"prodigy", "gen"})]
    assert [head.method for head in found.unlucky] == ["gen"], "prodigy is worse over its finished seeds too"


def test_a_task_without_a_finished_seed_has_no_stand_in() -> None:
    found = judged(
        {
            ("t", "gen"): times(0.5, 0.5, 0.5), ("u", "gen"): times(math.inf, math.inf, math.inf),
            ("t", "ours"): times(1.1, 1.1, 1.1), ("u", "ours"): times(1.2, 1.2, 1.2),
        }
    )  # fmt: skip
    assert found.unlucky == () and found.lone == (), "a mean over fewer tasks is another quantity; three failures"


def test_free_probes_and_methods_of_some_tasks_do_not_compete() -> None:
    found = judged(
        {
            ("t", "ours"): times(1.1, 1.1, 1.1), ("u", "ours"): times(1.2, 1.2, 1.2),
            ("t", "ours_free"): times(0.5, 0.5, 0.5), ("u", "ours_free"): times(0.5, 0.5, 0.5),
            ("t", "gen"): times(0.5, 0.5, math.inf),
        }
    )  # fmt: skip
    assert found.best is not None and found.best.method == "ours" and found.failed == 0
    assert {left.method for left in found.without} == {"ours"} and found.deciding == ()


def test_nothing_to_leave_out() -> None:
    empty = sensitivity({})
    assert (empty.best, empty.without, empty.lone, empty.unlucky) == (None, (), (), ())
    alone = sensitivity(all_rows(bench(oracle_records("t", seeds=3), seeded("t", "ours", times(1.1, 1.1, 1.1)))))
    assert alone.best is not None and alone.without == ()


def test_the_failed_runs_of_a_method() -> None:
    rows = all_rows(bench(*BOTH, [record("t", "gen", 1.0), record("u", "gen", 20.0, seed=2, status="diverged")]))
    ((task, failure),) = failed_runs(rows, "gen")
    assert (task, failure.seed, failure.status) == ("u", 2, "no better than untrained")
    assert failure.worsening == pytest.approx(2.0), "its curve begins at 10"


REGRETS = st.lists(st.sampled_from([0.8, 1.0, 1.3, math.inf]), min_size=3, max_size=3)


@settings(max_examples=25, deadline=None)
@given(st.lists(REGRETS, min_size=8, max_size=8))
def test_leaving_a_task_out_is_ranking_the_others(regrets: list[list[float]]) -> None:
    """Slow and plain: the headline of the records of the other task."""
    cells = [(task, name) for task in ("t", "u") for name in METHODS]
    losses = {cell: times(*of) for cell, of in zip(cells, regrets, strict=True)}
    found = judged(losses)
    for left in found.without:
        (other,) = {"t", "u"} - {left.task}
        alone = [seeded(task, name, of) for (task, name), of in losses.items() if task == other]
        heads = headlines(all_rows(bench(oracle_records(other, seeds=3), *alone)))
        finite = [head for head in heads if head.regret is not None and math.isfinite(head.regret)]
        if left.method is None:
            assert finite == []
        else:
            assert left.regret == pytest.approx(finite[0].regret)
    assert found.failed == sum(any(math.inf in losses[task, name] for task in ("t", "u")) for name in METHODS)
