"""The command line from outside: exit statuses, error lines, JSON, and what a run leaves in its folder."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from lrpilot.cli import demos
from lrpilot.cli.app import app
from lrpilot.cli.demo import verdict
from lrpilot.cli.options import parse_budget, parse_lr, parse_warmup
from lrpilot.cli.train_report import has_diverged
from lrpilot.errors import SettingError
from strangers import PLATEAU

SCRIPT = Path(sys.executable).with_name("lrpilot")
FACTORY = """
import os
import signal
from pathlib import Path
import torch
from lrpilot import Training

def make_training(spoil=lambda: 0.0):
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 1)
    inputs = torch.randn(1024, 8)
    targets = inputs @ torch.linspace(-1, 1, 8)[:, None] + 0.1 * torch.randn(1024, 1)
    batches = list(zip(inputs.split(64), targets.split(64)))

    def loss_fn(model, batch):
        return (model(batch[0]) - batch[1]).square().mean() + spoil()

    return Training(model, torch.optim.SGD(model.parameters(), lr=0.01), loss_fn, batches[:12], batches[12:])

def interrupted():
    calls = []
    def interrupt():
        searching = Path("searching").exists()
        training = Path("stopped/found.json").exists() and not Path("stopped/checkpoint.pt").exists()
        calls.extend([1] * (searching or training))
        if len(calls) == 30:
            os.kill(os.getpid(), signal.SIGINT)
        return 0.0
    return make_training(interrupt)

def hopeless():
    return make_training(lambda: float("nan"))

def without_val_data():
    whole = make_training()
    inputs = torch.randn(1024, 8)
    batches = list(zip(inputs.split(64), inputs.sum(1, keepdim=True).split(64)))
    return Training(whole.model, whole.raw_optimizer, whole.loss_fn, batches)

def late_bug():
    calls = []
    def spoil():
        calls.append(1)
        return 1 / (60 - len(calls))
    return make_training(spoil)

def bug():
    return 1 / 0
"""


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    Path("task.py").write_text(FACTORY)
    Path("own.py").write_text(PLATEAU)
    yield
    for name in [name for name in sys.modules if name in ("task", "own") or name.startswith("lrpilot_factory_")]:
        del sys.modules[name]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def call_json(*arguments: str, status: int = 0) -> dict[str, Any]:
    result = call(*arguments, "--json")
    assert result.exit_code == status, result.output
    assert result.stderr == ""
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def call_json_of(result: Result) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(result.stdout)
    return document


# ----------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["find", "task.py"], "A factory is written module_or_file.py:function"),
        (["find", "task.py:mak_training"], "Did you mean make_training?"),
        (["find", "task.py:bug"], "raised ZeroDivisionError: division by zero (task.py, line "),
        (["find", "task.py:hopeless"], "The loss must be finite at the start, got nan."),
        (["find", "task.py:make_training", "--method", "wittmann"], "Pass target='constant'"),
        (["find", "task.py:make_training", "--budget", "20"], " for 3 trials of 9 steps and a check"),
        (["find", "task.py:make_training", "--effort", "thorogh"], "Did you mean 'thorough'?"),
        (["find", "task.py:make_training", "--target", "constant", "--budget", "90"], "are for target='decay'"),
        (["train", "task.py:make_training"], "one of --steps and --budget"),
        (["train", "task.py:make_training", "--steps", "9", "--budget", "9"], "exactly one of --steps"),
        (["train", "task.py:make_training", "--budget", "2"], "enough for a step, 3 forward-equivalents, got 2."),
        (["train", "task.py:make_training", "--steps", "9", "--policy", "range_tes"], "one of autolrs, autolrs_paper"),
        (["train", "task.py:make_training", "--steps", "9", "--policy", "range_test"], "one of autolrs, autolrs_paper"),
        (
            ["train", "task.py:late_bug", "--policy", "cosine", "--steps", "200"],
            "but it raised ZeroDivisionError: division by zero (task.py",
        ),
        (["find", "task.py:late_bug"], "but it raised ZeroDivisionError: division by zero (task.py, line "),
        (["train", "task.py:make_training", "--steps", "9", "--out", "task.py/x"], "can be made and written, got"),
        (["train", "task.py:make_training", "--steps", "9", "--policy", "cosin"], "Did you mean 'cosine'?"),
        (
            ["train", "task.py:make_training", "--policy", "cosine", "--steps", "9", "--lr", "fnd"],
            "--lr must be a finite number > 0 or",
        ),
        (
            ["train", "task.py:make_training", "--policy", "cosine", "--steps", "9", "--warmup", "-1.5"],
            "warmup must be an int >= 0",
        ),
        (["train", "task.py:make_training", "--budget", "3 days"], "--budget must be forward-equivalents (3000) or"),
        (["train", "task.py:make_training", "--steps", "9", "--lr", "1"], "got autopilot, which finds its own"),
        (["train", "task.py:make_training", "--steps", "9", "--resume"], "--resume needs the folder to resume"),
        (
            ["train", "task.py:make_training", "--policy", "cosine", "--lr", "find", "--budget", "100"],
            "more than the search for an lr",
        ),
        (
            ["demo", "--data", "digts"],
            "--data must be one of digits, fashion-mnist, got 'digts'. Did you mean 'digits'?",
        ),
        (
            ["find", "task.py:make_training", "--target", "decy"],
            "--target must be one of constant, decay, got 'decy'.",
        ),
        (["find", "task.py:make_training", "--method", "witman"], "got 'witman'. Did you mean 'wittmann'?"),
        (["simulate", "cosin"], "A policy must be one of"),
        (["simulate", "cosine", "--landscape", "quadratc"], "got 'quadratc'. Did you mean 'quadratic'?"),
        (
            ["simulate", "own.py:Plateau", "--set", "factr=1"],
            "A setting of 'own.py:Plateau' must be one of factor",
        ),
        (["simulate", "own.py:Plateau", "--set", "factor=2"], "factor must be in (0, 1), got 2. The default is 0.5."),
        (["simulate", "own.py:Platau"], "own.py must define the policy, got 'Platau', which it does not. Did you mean"),
        (["simulate", "own.py:Clumsy"], "own.py:Clumsy must be made without errors, but it raised KeyError: 'no such"),
        (["simulate", "own.py:Failing"], "own.py:Failing must fly without errors, but it raised ZeroDivisionError"),
        (
            ["train", "task.py:make_training", "--steps", "9", "--policy", "own.py:Measuring"],
            "--policy must take steps, got own.py:Measuring, which only measures. Fly it with 'lrpilot simulate'.",
        ),
        (
            ["train", "task.py:make_training", "--steps", "9", "--lr", "1", "--policy", "own.py:Plateau"],
            "--lr is for policies that take an lr, got own.py:Plateau",
        ),
        (["simulate", "cosine", "--landscape", "hills"], "--landscape must be 'quadratic' or a .json file"),
        (["simulate", "cosine", "--landscape", "no.json"], "must be readable, got no.json"),
        (["simulate", "cosine", "--lr", "-1"], "lr must be finite and > 0"),
        (["simulate", "cosine", "--steps", "9", "--budget", "30"], "--steps or --budget, got 9 and 30"),
        (["simulate", "cosine", "--budget", "lots"], "--budget must be forward-equivalents (3000) or"),
        (["simulate", "cosine", "--budget", "5m"], "must be in forward-equivalents, got Budget("),
        (["simulate", "lr_tuner", "--set", "explore"], "--set must be NAME=VALUE, got 'explore'"),
        (["simulate", "lr_tuner", "--set", "explore=2"], "explore must be in [0, 1], got 2"),
        (["simulate", "lr_tuner", "--set", "explore=many"], "explore must be in [0, 1], got 'many'"),
        (["simulate", "lr_tuner", "--set", "exploe=1"], "Did you mean 'explore'?"),
        (["simulate", "lr_tuner", "--set", "lr=1", "--set", "lr=2"], "got 'lr' twice"),
        (
            ["train", "task.py:make_training", "--steps", "9", "--lr", "1", "--policy", "weighted_factors"],
            "published one. Leave --lr away, or choose a schedule (--policy cosine).",
        ),
        (
            ["train", "task.py:make_training", "--steps", "9", "--lr", "find", "--policy", "weighted_factors_paper"],
            "--lr is for policies that take an lr, got weighted_factors_paper",
        ),
        (
            ["train", "task.py:make_training", "--steps", "9", "--warmup", "0.1", "--policy", "lr_tuner"],
            "--warmup is for schedules, got lr_tuner",
        ),
        (
            ["train", "task.py:make_training", "--policy", "cosine", "--steps", "9", "--lr", "1", "--set", "lr=1"],
            "lr must be given once, got --lr and --set lr",
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments: list[str], says: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("runs").exists()


def test_debug_shows_the_traceback() -> None:
    result = call("--debug", "find", "task.py:bug")
    assert isinstance(result.exception, SettingError)
    assert isinstance(result.exception.__cause__, ZeroDivisionError)


def test_markup_in_a_message_is_shown_as_it_is() -> None:
    assert "got 'hills[red]'." in call("simulate", "cosine", "--landscape", "hills[red]").stderr


# ------------------------------------------------------------------- find


def test_find_prints_writes_and_draws() -> None:
    result = call("find", "task.py:make_training", "--out", "here")
    assert result.exit_code == 0, result.output
    lr = json.loads(Path("here/result.json").read_text())["lr"]
    assert result.stdout.startswith(
        f"lr {lr:.3g}  (peak of a schedule that decays to zero)\nOK: A learning rate was found."
    )
    assert "forward-equivalents" in result.stdout
    assert "picture  here/picture.png" in result.stdout
    assert sorted(p.name for p in Path("here").iterdir()) == ["picture.png", "result.json"]
    assert Path("here/picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("method", "num_steps"), [("step_sampling", 20), ("range_test", 100), ("wittmann", 20)])
def test_find_as_json_is_what_the_folder_keeps(method: str, num_steps: int) -> None:
    options = ("--target", "constant", "--method", method, "--num-steps", str(num_steps), "--no-plot")
    document = call_json("find", "task.py:make_training", *options)
    folder = Path(document["folder"])
    assert folder.parent == Path("runs")
    assert [p.name for p in folder.iterdir()] == ["result.json"]
    assert json.loads((folder / "result.json").read_text()) == document
    assert 1e-4 < document["lr"] < 1.0
    assert document["code"] == "OK"
    assert document["cost"]["steps"] > 20
    assert document["picture"] is None


def test_find_takes_a_budget_or_an_effort() -> None:
    quick = call_json("find", "task.py:make_training", "--budget", "60", "--no-plot")
    assert quick["method"] == "paired_search" and quick["cost"]["steps"] <= 60
    thorough = call_json("find", "task.py:make_training", "--effort", "thorough", "--num-steps", "5", "--no-plot")
    assert thorough["method"] == "annealed_search" and thorough["lengths"][0]["num_steps"] == 5


def test_a_search_without_an_answer_is_status_1() -> None:
    range_without_effect = ("--target", "constant", "--min-lr", "1e-12", "--max-lr", "1e-10")
    document = call_json("find", "task.py:make_training", *range_without_effect, "--no-plot", status=1)
    assert document["lr"] is None
    assert document["code"] == "FLAT"
    said = call("find", "task.py:make_training", *range_without_effect, "--no-plot").stdout
    assert said.startswith("FLAT: No reliable suggestion")
    assert f"tried  {len(document['lrs'])} lrs from 1e-12 to 1e-10: loss " in said
    assert "lr -" not in said and "suggestion " not in said


def test_a_used_folder_is_not_overwritten() -> None:
    Path("here").mkdir()
    Path("here/mine.txt").write_text("keep")
    result = call("find", "task.py:make_training", "--out", "here")
    assert result.exit_code == 2 and "must be new or empty" in result.stderr
    assert [p.name for p in Path("here").iterdir()] == ["mine.txt"]


# ------------------------------------------------------------------ train


def test_train_leaves_a_whole_run() -> None:
    document = call_json("train", "task.py:make_training", "--policy", "linear", "--lr", "0.1", "--steps", "40")
    folder = Path(document["folder"])
    files = {"result.json", "history.jsonl", "picture.png", "checkpoint.pt", "report.txt", "report.json"}
    assert {p.name for p in folder.iterdir()} == files
    assert (folder / "report.txt").read_text().startswith("Schedule('linear'): 40 steps, 0 left\nlr    0.1, ")
    assert json.loads((folder / "report.json").read_text())["cost"]["share"] == 0
    assert document["steps"] == 40
    assert document["peak_lr"] == 0.1
    assert document["total_compute"] == 120
    assert document["held_out_loss"] < 0.5
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    lrs = [line["lr"] for line in lines if "lr" in line]
    assert lrs == pytest.approx([0.1 * (1 - t / 40) for t in range(40)])


def test_train_prints_what_was_tried_and_decided() -> None:
    autolrs = ("--policy", "autolrs", "--set", "overhead=2.0")
    result = call("train", "task.py:make_training", *autolrs, "--steps", "120", "--out", "here")
    assert result.exit_code == 0, result.output
    report = Path("here/report.txt").read_text()
    assert report in result.stdout
    assert "\ntried:\n  step 0, trials of " in report and "\ndecided:\n  step 0: lr" in report


def test_train_prints_one_bill_with_its_search_in_it() -> None:
    document = call_json("train", "task.py:make_training", "--policy", "cosine", "--lr", "find", "--steps", "40")
    search, bill = document["found"]["cost"], document["bill"]
    assert bill["search"] == [search["steps"], search["seconds"]]
    assert bill["training"][0] == 40
    assert bill["total"] == pytest.approx([sum(bill[n][i] for n in bill if n != "total") for i in (0, 1)])
    assert bill["total"][0] == pytest.approx(document["total_compute"] / 3)
    assert bill["total"][1] == pytest.approx(document["seconds"])
    assert document["cost"] == search  # this policy measures nothing of its own
    said = call("train", "task.py:make_training", "--policy", "cosine", "--lr", "find", "--steps", "40").stdout
    low, high = document["found"]["interval"]
    assert f"({low:.3g} to {high:.3g})\n{document['found']['code']}: {document['found']['status']}\n" in said
    assert f"cost  search {search['steps']:.0f} + other measurements 0 + training 40 = " in said


def test_train_flies_autopilot_unless_another_policy_is_named() -> None:
    document = call_json("train", "task.py:make_training", "--budget", "360", "--out", "here")
    assert document["policy"] == "autopilot" and document["held_out_loss"] < 0.5
    assert document["total_compute"] <= 360
    assert "autopilot: " in Path("here/report.txt").read_text()


def test_train_takes_a_budget_in_passes_over_the_data() -> None:
    document = call_json("train", "task.py:make_training", "--policy", "cosine", "--budget", "3epochs")
    assert document["steps"] == 3 * 12


def test_the_loss_is_called_what_it_is() -> None:
    said = call("train", "task.py:make_training", "--policy", "cosine", "--steps", "20").stdout
    assert "validation loss  " in said and "seen" not in said
    said = call("train", "task.py:without_val_data", "--steps", "20").stdout
    assert "loss on 8 reserved training batches  " in said and "(training has seen them)" in said
    assert (
        "compared  loss on 8 reserved training batches"
        in call("find", "task.py:without_val_data", "--effort", "thorough").stdout
    )


@pytest.mark.parametrize("lr", ["5", "1e38"])
def test_a_run_that_diverged_says_so_and_is_status_1(lr: str) -> None:
    options = ("train", "task.py:make_training", "--policy", "constant", "--lr", lr, "--steps", "40")
    assert call_json_of(call(*options, "--json"))["diverged"] is True
    result = call(*options)
    assert result.exit_code == 1
    assert result.stderr.startswith("diverged: ") and "--lr find" in result.stderr
    assert call_json("train", "task.py:make_training", "--steps", "40")["diverged"] is False


def test_what_counts_as_diverged() -> None:
    fell = [2.0, *[1.0] * 30]
    assert not has_diverged(fell, 1.0)
    assert not has_diverged([*fell, 2.5], 1.0)  # one hard batch
    assert has_diverged([*fell, *[2.5] * 10], 1.0)
    assert has_diverged(fell, math.nan)
    assert has_diverged([*fell, math.inf], 1.0)
    assert not has_diverged([2.0], 2.0)
    assert not has_diverged([], 2.0)


def test_a_search_over_the_budget_ends_early() -> None:
    result = call("train", "task.py:make_training", "--policy", "cosine", "--lr", "find", "--budget", "100")
    assert "more than the search for an lr, which takes over 1" in result.stderr  # in its second trial of 29 steps


def test_train_pays_for_its_search_out_of_the_budget() -> None:
    document = call_json(
        "train", "task.py:make_training", "--policy", "cosine", "--lr", "find", "--budget", "9000", "--warmup", "0.05"
    )
    searched = document["found"]["cost"]["forward_equivalents"]
    assert document["peak_lr"] == pytest.approx(document["found"]["lr"], rel=0.05)
    assert 0 < searched < 9000
    assert document["total_compute"] == pytest.approx(9000, abs=3)
    assert document["steps"] == int((9000 - searched) // 3)


def test_resuming_gives_the_run_that_was_never_stopped() -> None:
    asked = ("--policy", "cosine", "--lr", "find", "--steps", "120", "--set", "min_factor=0.01")
    whole = call_json("train", "task.py:make_training", *asked, "--out", "whole")
    words = [SCRIPT, "train", "task.py:interrupted", *asked, "--out", "stopped"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (130, "", 1), done.stderr
    assert {p.name for p in Path("stopped").iterdir()} == {"found.json", "checkpoint.pt"}

    says = done.stderr.strip().removeprefix("Stopped. Go on with: ")
    asked_again = "--policy cosine --lr find --steps 120 --set min_factor=0.01 --out stopped --resume"
    assert says == f"lrpilot train task.py:interrupted {asked_again}"
    resumed = call_json(*says.split()[1:])
    assert resumed["held_out_loss"] == whole["held_out_loss"]
    assert Path("stopped/history.jsonl").read_text() == Path("whole/history.jsonl").read_text()


def test_a_policy_of_ones_own_is_flown_stopped_and_resumed() -> None:
    flown = call_json("simulate", "own.py:Plateau", "--steps", "30", "--lr", "0.4", "--set", "factor=0.1")
    assert flown["history"]["lrs"] == pytest.approx([0.4] * 10 + [0.04] * 10 + [0.004] * 10)
    asked = ("--policy", "own.py:Plateau", "--set", "factor=0.9", "--steps", "120")
    call_json("train", "task.py:make_training", *asked, "--out", "whole")
    Path("task.py").write_text(FACTORY.replace('Path("stopped/found.json")', 'Path("stopped")'))  # there is no search
    done = subprocess.run(
        [SCRIPT, "train", "task.py:interrupted", *asked, "--out", "stopped"], capture_output=True, text=True
    )
    assert done.returncode == 130, done.stderr
    resumed = call_json(*done.stderr.strip().removeprefix("Stopped. Go on with: ").split()[1:])
    assert resumed["steps"] == 120
    assert Path("stopped/history.jsonl").read_text() == Path("whole/history.jsonl").read_text()


@pytest.mark.parametrize(
    ("typed", "meant"), [(["trian"], "'train'"), (["train", "task.py:f", "--polcy", "x"], "--policy")]
)
def test_the_closest_command_and_option_are_offered(typed: list[str], meant: str) -> None:
    result = call(*typed)
    assert result.exit_code == 2 and meant in result.stderr


def test_a_search_that_is_stopped_leaves_nothing_to_resume() -> None:
    result = call(
        "train", "task.py:interrupted", "--policy", "cosine", "--lr", "find", "--steps", "120", "--out", "searching"
    )
    assert result.exit_code == 130
    assert "nothing to resume" in result.stderr


# ------------------------------------------------- simulate, env and demo


def test_simulate_on_a_quadratic() -> None:
    document = call_json("simulate", "linear", "--steps", "50", "--lr", "0.5")
    assert document["history"]["lrs"] == pytest.approx([0.5 * (1 - t / 50) for t in range(50)])
    assert document["final_loss"] < 0.3
    shown = call("simulate", "linear", "--steps", "50").stdout
    assert shown.count("\n") > 11 and "after 50 steps" in shown


def test_simulate_autopilot() -> None:
    flown = [call_json("simulate", "autopilot", "--steps", "200", "--lr", lr) for lr in ("0.001", "10")]
    assert flown[0]["history"]["lrs"] == flown[1]["history"]["lrs"] and flown[0]["cost"]["steps"] <= 200 / 6
    assert flown[0]["final_loss"] < 0.3
    forced = call_json("simulate", "autopilot", "--steps", "200", "--set", "arm=ordinary")
    assert forced["history"]["lrs"][-1] < 0.1 * max(forced["history"]["lrs"])


def test_simulate_under_a_budget() -> None:
    document = call_json("simulate", "weighted_factors", "--budget", "2000")
    assert 1997 < document["total_compute"] <= 2000 and document["coasts_from"] is None
    assert document["total_compute"] == 3 * document["steps"] + document["cost"]["forward_equivalents"]
    assert 0 < document["steps"] < 2000 // 3, "its measurements are paid for"
    held = call_json("simulate", "autolrs_paper", "--budget", "600", "--set", "tau=60", "--set", "max_tau=60")
    assert held["coasts_from"] is not None and held["total_compute"] <= 600
    shown = call("simulate", "autolrs_paper", "--budget", "600", "--set", "tau=60", "--set", "max_tau=60").stdout
    assert f"from step {held['coasts_from']} on the lr was held" in shown and "total compute" in shown
    assert "total compute" not in call("simulate", "linear", "--steps", "50").stdout


def test_settings_reach_the_policy() -> None:
    document = call_json("simulate", "linear", "--steps", "50", "--set", "lr=.5", "--set", "warmup=10")
    assert max(document["history"]["lrs"]) == 0.5 == document["history"]["lrs"][10]
    words = ("--policy", "lr_tuner", "--set", "explore=0.5", "--steps", "60")
    call_json("train", "task.py:make_training", *words, "--out", "tuned")
    rows = [json.loads(line) for line in Path("tuned/history.jsonl").read_text().splitlines()]
    lrs = [row["lr"] for row in rows if "lr" in row]
    assert lrs[2:30] == sorted(lrs[2:30]), "explore never lowers it"
    assert lrs[30:] == sorted(lrs[30:], reverse=True) and lrs[-1] < lrs[30] / 20, "straight to zero after half of it"


def test_autolrs_searches_from_the_command_line() -> None:
    words = ("--policy", "autolrs", "--set", "min_lr=0.001", "--set", "max_lr=1.0", "--set", "overhead=1.0")
    document = call_json("train", "task.py:make_training", *words, "--steps", "100", "--out", "searched")
    assert document["held_out_loss"] < 0.1 and 0 < document["cost"]["trial_steps"] <= 100
    assert 0.01 < document["peak_lr"] < 1.0, "not the optimizer's own, or below"
    rows = [json.loads(line) for line in Path("searched/history.jsonl").read_text().splitlines()]
    assert {"stage-1.png", "picture.png"} <= {path.name for path in Path("searched").iterdir()}
    assert sum("trial of" in json.dumps(row) for row in rows) >= document["cost"]["trials"]
    flown = call_json("simulate", "autolrs_paper", "--set", "tau=50", "--set", "min_lr=1e-3", "--set", "max_lr=1.0")
    assert flown["steps"] == 1000
    assert "after 300 steps" in call("simulate", "autolrs", "--steps", "300").stdout


def test_trials_are_continued_where_the_command_says_so() -> None:
    words = ("--policy", "autolrs_paper", "--steps", "60", "--continue-trials")
    words += tuple(word for each in ("tau=20", "min_lr=0.001", "max_lr=1.0") for word in ("--set", each))
    document = call_json("train", "task.py:make_training", *words, "--out", "continued")
    history = Path("continued/history.jsonl").read_text()
    assert document["steps"] == 60 and ": continue '" in history
    flown = call_json("simulate", *words[1:])
    assert flown["steps"] == 60
    plain = call_json("simulate", *(word for word in words[1:] if word != "--continue-trials"))
    assert flown["cost"]["steps"] < plain["cost"]["steps"]


def test_simulate_replays_what_find_recorded() -> None:
    found = call_json("find", "task.py:make_training", "--target", "constant", "--out", "here", "--no-plot")
    document = call_json("simulate", "step_sampling", "--landscape", "here/result.json")
    assert document["steps"] == 0
    assert document["result"]["lr"] == pytest.approx(found["lr"], rel=0.5)
    shown = call("simulate", "step_sampling", "--landscape", "here/result.json").stdout
    assert "OK" in shown and "held-out loss" not in shown, "a finder trains nothing"


@pytest.mark.parametrize("policy", ["step_sampling", "annealed_search"])
def test_simulate_refuses_the_few_lrs_of_a_decay_search(policy: str) -> None:
    Path("decay.json").write_text('{"target": "decay", "lrs": [0.1, 0.2], "losses": [1, 2], "start_loss": 3}')
    result = call("simulate", policy, "--landscape", "decay.json")
    assert result.exit_code == 2
    assert "decay.json of a search with target 'decay'" in result.stderr
    assert "lrpilot find --target constant" in result.stderr


@pytest.mark.parametrize("text", ["{", "[]", '{"lrs": [1]}', '{"lrs": [1], "losses": [1], "start_loss": null}'])
def test_simulate_refuses_what_is_no_curve(text: str) -> None:
    Path("bad.json").write_text(text)
    result = call("simulate", "step_sampling", "--landscape", "bad.json")
    assert result.exit_code == 2 and "must be JSON with lrs, losses and start_loss" in result.stderr


def test_env_knows_this_machine() -> None:
    import torch

    document = call_json("env")
    assert document["packages"]["torch"] == torch.__version__
    assert document["threads"]["torch"] == torch.get_num_threads()
    assert "cpu" in document["devices"]
    assert call("env").exit_code == 0


def test_demo_tells_the_whole_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demos, "DIGITS_STEPS", 1200)
    document = call_json("demo", "--seeds", "1", "--out", "here")
    rows = {row["row"]: row for row in document["rows"]}
    guesses = ["default lr ÷ 30", "default lr", "default lr × 30"]
    assert list(rows) == [*guesses, "found lr", "found, equal compute", "Autopilot"]
    search = document["found"][0]["cost"]["steps"]
    assert rows["found lr"]["compute"] == [1200 + search]
    assert rows["found, equal compute"]["compute"] == pytest.approx([1200], abs=1)
    assert rows["Autopilot"]["compute"] == pytest.approx([1200], abs=1)
    assert rows["Autopilot"]["steps"][0] < 1200, "its search is paid for"
    assert rows["Autopilot"]["loss"][0] < 0.8 * rows["default lr"]["loss"][0]
    assert rows["default lr"]["lr"] == [0.001]
    assert rows["found lr"]["loss"][0] < rows["default lr"]["loss"][0] < rows["default lr ÷ 30"]["loss"][0]
    assert rows["found lr"]["accuracy"][0] > 0.9
    assert {p.name for p in Path("here").iterdir()} == {"result.json", "picture.png"}


def test_demo_prints_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demos, "DIGITS_STEPS", 30)
    result = call("demo", "--seeds", "1", "--out", "here")
    assert result.exit_code == 0, result.output
    assert "found lr" in result.stdout and "a search cost" in result.stdout
    assert "no row of it at equal compute" in result.stderr
    assert "at equal compute Autopilot's loss is" in result.stdout
    assert "; 1 seed\n" in result.stdout and "±" not in result.stdout.splitlines()[1]


def test_the_demo_compares_with_the_found_lr_and_with_the_best_guess_too() -> None:
    losses = {"default lr ÷ 30": 2.0, "default lr": 1.0, "default lr × 30": 0.5, "found, equal compute": 0.8}
    losses["Autopilot"] = 0.6
    assert verdict(losses) == (
        "at equal compute Autopilot's loss is 25% below the found lr's, 40% below the default lr's, "
        "20% above the default lr × 30's"
    )
    losses["default lr × 30"] = math.nan
    assert verdict(losses).endswith("loss is 25% below the found lr's, 40% below the default lr's")
    assert verdict(losses | {"found, equal compute": math.nan}).endswith(
        "below the found lr's, which diverged, 40% below the default lr's"
    )
    del losses["found, equal compute"]
    assert verdict(losses) == "at equal compute Autopilot's loss is 40% below the default lr's"
    assert verdict(losses | {"Autopilot": math.nan}) == "at equal compute the run with Autopilot diverged"


# ------------------------------------------------------------ small parts


def test_help_is_fast_and_loads_no_torch() -> None:
    code = (
        "import sys; from lrpilot.cli.app import main; sys.argv = ['lrpilot', '--help']\n"
        "try: main()\n"
        "finally: print('loaded', {'torch', 'numpy', 'sklearn', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert "loaded set()" in done.stdout
    for command in ("demo", "find", "train", "simulate", "env"):
        assert command in done.stdout


def test_the_installed_command_fails_without_a_traceback() -> None:
    done = subprocess.run([SCRIPT, "find", "nothing.py:f"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: The factory's file must exist, got nothing.py.")
    assert "Traceback" not in done.stderr


def test_version() -> None:
    import lrpilot

    assert call("--version").stdout == f"lrpilot {lrpilot.__version__}\n"


def test_numbers_as_people_write_them() -> None:
    assert (parse_warmup("500"), parse_warmup("0.05"), parse_warmup("1.0")) == (500, 0.05, 1.0)
    assert isinstance(parse_warmup("1"), int) and isinstance(parse_warmup("1.0"), float)
    assert parse_lr("3e-4") == 3e-4
    assert (parse_budget("3000").forward_equivalents, parse_budget("90s").seconds) == (3000.0, 90.0)
    assert (parse_budget("5m").seconds, parse_budget("0.5h").seconds) == (300.0, 1800.0)
    assert (parse_budget("5epochs").epochs, parse_budget("0.5 epoch").epochs) == (5.0, 0.5)


@pytest.mark.parametrize("text", ["", "s", "-1", "0", "nan", "inf", "1e999", "ten"])
def test_numbers_that_are_none(text: str) -> None:
    with pytest.raises(SettingError, match="--budget must be"):
        parse_budget(text)
    with pytest.raises(SettingError, match="--lr must be"):
        parse_lr(text)
