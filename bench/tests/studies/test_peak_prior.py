"""The evidence of the peak search: its trainings, how a sweep walks, what is kept of a search, what tables say."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lrpilot.policies.peak_search.pick import TrialError, pick, trial_error
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot_bench.protocol.split import split_tasks
from lrpilot_bench.session import Session
from lrpilot_bench.studies import peak_prior as study
from lrpilot_bench.studies import peak_prior_page as page
from lrpilot_bench.studies import peak_prior_record as record
from lrpilot_bench.studies.markdown import render
from lrpilot_bench.studies.peak_prior_record import Row, Searched
from lrpilot_bench.studies.small_trainings import TRAININGS
from lrpilot_bench.tasks.registry import tasks

SMALL = {task.name: task for task in TRAININGS}
NEED_NO_FILE = [name for name, task in SMALL.items() if name.split("_")[0] not in ("reuters", "fashion", "satellite")]

# ------------------------------------------------------------------- trainings


def test_small_trainings_are_no_tasks_so_that_nothing_is_judged_on_them() -> None:
    assert not SMALL.keys() & tasks().keys() and len(SMALL) == len(TRAININGS)


@pytest.mark.parametrize("name", NEED_NO_FILE)
def test_a_small_training_has_scaled_data_that_its_net_and_loss_take(name: str) -> None:
    task = SMALL[name]
    splits = task.load()
    train = splits.train.inputs
    moving = train.std(dim=0) > 1e-3  # some of the digits' pixels never change
    assert torch.allclose(train.mean(dim=0), torch.zeros(train.shape[1]), atol=1e-3)
    assert torch.allclose(train.std(dim=0)[moving], torch.ones(int(moving.sum())), atol=0.01)
    assert len(splits.train) >= task.batch_size and len(splits.val) >= 100
    loss = task.loss_fn(task.make_model(), next(iter(splits.train.loader(task.batch_size, seed=0))))
    assert loss.shape == () and math.isfinite(loss.item())


def test_numbers_to_predict_are_scaled_by_the_training_part_alone() -> None:
    targets = SMALL["diabetes"].load().train.targets
    assert targets.shape == (292, 1) and abs(float(targets.mean())) < 1e-5 and float(targets.std()) == pytest.approx(1)


def test_what_chooses_numbers_refuses_judging_tasks() -> None:
    judging = next(name for name, side in split_tasks(tasks().values()).items() if side == "judging")
    with pytest.raises(SystemExit, match=f"got {judging}: leave it away"):
        list(study.cases(None, ["diabetes", judging]))  # type: ignore[arg-type]


def test_a_small_training_is_flown_in_each_way_with_each_optimizer() -> None:
    found = [(case.task.name, case.family.kind, case.arm, case.side) for case in study.cases(None, ["diabetes"])]  # type: ignore[arg-type]
    assert found == [
        ("diabetes", kind, arm, "small") for kind in ("adamw", "sgd") for arm in ("ordinary", "averaged")
    ]  # fmt: skip


# ---------------------------------------------------------------------- sweeps


@pytest.mark.parametrize("best", [0.01, 0.013, 0.3, 1e-4])
def test_a_sweep_goes_on_until_the_best_lr_has_both_neighbours(best: float) -> None:
    asked: list[float] = []

    def fly(lr: float) -> float:
        asked.append(lr)
        return math.inf if lr > 3 * best else 1.0 + math.log10(lr / best) ** 2

    losses = study.swept(fly, 0.01, 2)
    assert len(asked) == len(set(asked)) == len(losses) and list(losses) == sorted(losses)
    lowest = min(losses, key=losses.__getitem__)
    assert abs(math.log2(lowest / best)) <= 0.5
    for factor in (0.5, 2.0):
        assert any(lr == pytest.approx(factor * lowest) for lr in losses)


def test_a_sweep_that_never_finishes_ends() -> None:
    losses = study.swept(lambda lr: math.inf, 1.0, 4)
    assert set(losses.values()) == {math.inf} and min(losses) == 2.0**-study.FARTHEST


def test_the_best_lr_is_that_of_a_parabola_through_its_neighbours() -> None:
    lrs = [0.001, 0.003, 0.02, 0.1]
    losses = [2.0 + np.log(lr / 0.005) ** 2 for lr in lrs]
    assert record.trough(lrs, losses) == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("losses", "best"),
    [([1.0, 2.0, 3.0], 0.1), ([3.0, 2.0, 1.0], 0.4), ([2.0, 1.0, math.inf], 0.2), ([1.0, 1.0, 1.0], 0.1)],
)
def test_without_two_neighbours_the_best_point_speaks(losses: list[float], best: float) -> None:
    assert record.trough([0.1, 0.2, 0.4], losses) == best


def test_averaged_sgd_is_counted_without_its_momentum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "flown", lambda task, family, arm, lr: 1.0 + math.log(lr / 0.02) ** 2)
    task = SMALL["diabetes"]
    sgd = task.family("sgd")
    lrs: dict[Any, list[float]] = {
        arm: list(study.whole(None, task, sgd, arm, "small"))  # type: ignore[arg-type]
        for arm in study.ARMS
    }
    assert lrs["averaged"] == pytest.approx([10 * lr for lr in lrs["ordinary"]])
    adamw = study.whole(None, task, task.family("adamw"), "averaged", "small")  # type: ignore[arg-type]
    assert min(adamw, key=adamw.__getitem__) == 0.02


@pytest.mark.parametrize("arm", study.ARMS)
def test_a_whole_training_gives_its_validation_loss_and_a_failed_one_inf(arm: Any) -> None:
    task = SMALL["diabetes"]
    assert 0.2 < study.flown(task, task.family("adamw"), arm, 0.005) < 0.6
    if arm == "ordinary":  # averaged flight guards itself
        assert study.flown(task, task.family("sgd"), arm, 1e4) == math.inf


# -------------------------------------------------------------------- searches


def test_what_is_kept_of_a_search_is_what_pick_says_with_its_bias_and_without() -> None:
    task = SMALL["diabetes"]
    session = Session(task, task.family("adamw"), seed=0, steps=task.steps)
    substrate = LiveSubstrate(session.training(session.optimizer(study.START_LR)))
    search = study.searched(substrate, 22, "ordinary")
    assert search.error == trial_error(substrate.facts(), 22, averaged=False) and search.bracketed
    seen = study.noted(search, 3)
    unbiased = pick(search.probed, search.prior, TrialError(0.0, search.error.scatter))
    assert unbiased is not None and search.pick is not None
    assert (seen.steps, seen.seed, seen.trials, seen.learned) == (22, 3, len(search.probed), True)
    assert seen.pick == pytest.approx(search.pick.lr, rel=1e-4)
    assert seen.unbiased == pytest.approx(unbiased.lr, rel=1e-4) and seen.unbiased > search.pick.lr
    assert seen.holds(search.pick.lr) and not seen.holds(1e3)


def test_of_a_search_whose_trials_all_diverged_there_is_nothing_to_keep() -> None:
    nothing = SimpleNamespace(pick=None, best=None, steps=10, probed=(1, 2))
    seen = study.noted(nothing, 0)  # type: ignore[arg-type]
    assert seen == Searched(10, 0, 2, False, None, None, None, None, None) and seen.holds(1.0) is None


# --------------------------------------------------------------------- the page


def searched(trial: float, *, steps: int = 22, seed: int = 0, learned: bool = True, pick: float = 0.01) -> Searched:
    return Searched(steps, seed, 5, learned, trial, pick, trial, pick / 2, pick * 2)


def row(training: str, *searches: Searched, **changed: Any) -> Row:
    """Best lr 0.01, by symmetry."""
    same: dict[str, Any] = {
        "training": training, "side": "small", "family": "adamw", "optimizer": "adam", "arm": "ordinary",
        "batchnorm": False, "pretrained": False, "prior": 0.1, "lrs": (0.005, 0.01, 0.02),
        "losses": (1.5, 1.0, 1.5), "searches": searches,
    }  # fmt: skip
    return Row(**same | changed)


def test_bias_is_the_mean_over_trainings_and_scatter_that_of_searches() -> None:
    one = row("a", searched(0.1), searched(0.1, seed=1))  # both a decade above
    two = row("b", searched(0.01), searched(1.0, seed=1, learned=False))  # on it; the other saw nothing
    seen = page.trial_spread([one, two], 22)
    assert seen is not None and seen.trainings == 2 and seen.mean == seen.median == pytest.approx(0.5)
    assert seen.deviation == pytest.approx(math.sqrt(1 / 3)) and seen.error == pytest.approx(0.5)
    assert page.trial_spread([one, two], 10) is None


def test_a_line_says_what_the_code_holds_and_whether_it_is_within_the_standard_error() -> None:
    near, far = [row(name, searched(0.01 * 10**bias)) for name, bias in (("a", 0.3), ("b", 0.4))], row("c")
    error = trial_error(near[0].facts, 22, averaged=False)
    (line,) = page.error_lines([*near, far])
    assert line[:3] == ("AdamW, ordinary", "22", "2") and line[3] == "+0.35 (± 0.05)"
    assert line[6] == f"{error.bias:+.2f} ± {error.scatter:.2f}" and line[7] == "within"
    (off,) = page.error_lines([row(name, searched(0.01 * 10**bias)) for name, bias in (("a", 1.0), ("b", 1.1))])
    assert off[7] == f"**off by {error.bias - 1.05:+.2f}**"


def test_batchnorm_has_lines_of_its_own_where_both_are_there() -> None:
    plain, normed = row("a", searched(0.1)), row("b", searched(0.1), batchnorm=True)
    assert list(page.groups([plain])) == ["AdamW, ordinary"] == list(page.groups([normed]))
    assert list(page.groups([plain, normed])) == [
        "AdamW, ordinary",
        "AdamW, ordinary, no BatchNorm",
        "AdamW, ordinary, with BatchNorm",
    ]
    assert list(page.groups([row("c", pretrained=True)])) == ["pretrained"]


def test_regret_is_read_off_the_sweep_for_the_pick_and_for_what_it_is_made_of() -> None:
    (line,) = page.regret_lines([row("a", searched(0.02, pick=0.01), searched(0.02, seed=1, pick=0.005))])
    assert line[:3] == ("AdamW, ordinary", "22", "1.225, 1.50")  # sqrt(1 * 1.5)
    assert line[3:6] == ("1.500, 1.50",) * 3  # expected: beyond the sweep's end, whose last point speaks
    assert line[6] == "2 of 2"
    failed = page.regret_lines([row("a", searched(0.02), losses=(1.5, 1.0, None))])
    assert next(failed)[4] == "all failed"


def test_the_prior_is_measured_from_its_centre_to_the_best_lr() -> None:
    ((name, trainings, mean, _, _, held, centre),) = page.prior_lines([row("a"), row("b", prior=0.001)])
    assert (name, trainings, mean, held, centre) == ("AdamW, ordinary", "2", "+0.00 (± 1.00)", "0.50", "within")


# ------------------------------------------------------------------- the record


def test_what_is_written_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RECORD", tmp_path / "record.json")
    assert record.read() == []
    nothing = Searched(10, 1, 2, False, None, None, None, None, None)
    rows = [row("a", searched(0.02), nothing), row("b", losses=(1.5, 1.0, None))]
    record.write(rows)
    assert record.read() == rows
    json.loads((tmp_path / "record.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert render("peak", {"peak": page.peak_numbers(rows)}).count("AdamW, ordinary") == 5
    assert "10: none" in study.show(rows[0]) and "22: +0.30" in study.show(rows[0])


NEW, KNOWN = [0.3], [0.005, 0.01, 0.02]  # lrs of a sweep: flown, on record


@pytest.mark.parametrize(
    ("asked", "flown", "kept"),
    [
        ([], [("sgd", NEW)], ["adamw", "sgd"]),
        (["--tasks", "diabetes"], [("adamw", NEW), ("sgd", NEW)], ["adamw", "sgd"]),
        (["--searches"], [("adamw", KNOWN)], ["adamw"]),
        (["--tasks", "diabetes", "--dry-run"], [("adamw", NEW), ("sgd", NEW)], ["adamw"]),
        (["--show"], [], ["adamw"]),
    ],
)
def test_an_interrupted_study_goes_on_where_it_ended_and_what_is_named_is_flown_anew(
    asked: list[str], flown: list[Any], kept: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = SMALL["diabetes"]
    seen: list[Any] = []
    monkeypatch.setattr(record, "RECORD", tmp_path / "record.json")
    monkeypatch.setattr(study, "load", lambda *_, **__: None)
    families = [task.family("adamw"), task.family("sgd")]
    monkeypatch.setattr(
        study, "cases", lambda *_: [study.Case(task, family, "ordinary", "small") for family in families]
    )

    def found(task: Any, family: Any, arm: Any, side: Any, losses: dict[float, float]) -> Row:
        seen.append((family.kind, list(losses)))
        return row(task.name, searched(0.01), family=family.kind)

    monkeypatch.setattr(study, "whole", lambda *_: {0.3: 1.0})
    monkeypatch.setattr(study, "found", found)
    record.write([row("diabetes", searched(0.02))])
    monkeypatch.setattr("sys.argv", ["peak_prior", *asked])
    study.main()
    assert seen == flown and [one.family for one in record.read()] == kept
