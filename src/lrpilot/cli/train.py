"""``lrpilot train``: the loop for those who have none, in a folder from which it resumes."""

import json as json_module
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrpilot.cli.find import found_plain
from lrpilot.cli.loading import load_training
from lrpilot.cli.options import Factory, Force, Json, Out, parse_warmup
from lrpilot.cli.report import cost_plain, cost_text, lr_text, note, say, say_json, to_json
from lrpilot.cli.runs import RunFolder, open_run
from lrpilot.errors import SettingError, StateError

if TYPE_CHECKING:
    from lrpilot.core.policy import Policy
    from lrpilot.fitting import Budget, FitResult
    from lrpilot.training import Training

INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended


@dataclass(frozen=True)
class Request:
    """What was asked for, as the command line that resumes it repeats it.

    Attributes:
        factory: where the training comes from.
        policy: name of the policy.
        lr: a number, "find", or None for the optimizer's own.
        warmup: steps or a fraction; None for the policy's own.
        steps: kept steps, or None.
        budget: total compute, or None.
    """

    factory: str
    policy: str
    lr: str | None
    warmup: float | None
    steps: int | None
    budget: str | None

    def resume_command(self, folder: RunFolder) -> str:
        """The command that goes on."""
        words = ["lrpilot", "train", self.factory]
        for name in ("policy", "lr", "warmup", "steps", "budget"):
            value = getattr(self, name)
            words += [] if value is None else [f"--{name}", str(value)]
        return shlex.join([*words, "--out", str(folder.path), "--resume"])


def train(
    factory: Factory,
    *,
    policy: Annotated[str, typer.Option(help="A schedule (cosine, linear, wsd, ...) or another policy.")] = "cosine",
    lr: Annotated[
        str | None,
        typer.Option(help="Peak lr: a number, or 'find' to search for it first.", show_default="the optimizer's own"),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(
            parser=parse_warmup, metavar="NUMBER", help="Linear warmup: steps (500) or a fraction (0.05) of the run."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps to train.")] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER[s|m|h]",
            help="Total compute instead of --steps, the search included: forward-equivalents, or a time as 90s.",
        ),
    ] = None,
    out: Out = None,
    force: Force = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the stopped run in --out.")] = False,
    json: Json = False,
) -> None:
    """Train with a policy. Ctrl-C leaves a run that resumes bit for bit."""
    request = Request(factory, policy, lr, warmup, steps, budget)
    _check(request)
    training = load_training(factory)
    folder = open_run("train", out, force=force, resume=resume)
    try:
        document, result = _fly(request, training, folder, resume=resume, progress=not json)
    except KeyboardInterrupt:
        _say_how_to_resume(request, folder)
        raise typer.Exit(INTERRUPTED) from None
    folder.write_result(document)
    folder.write_history(result.history)
    _draw(result, folder)
    if json:
        say_json(document)
    else:
        _report(document, result, folder)


def _check(request: Request) -> None:
    if (request.steps is None) == (request.budget is None):
        raise SettingError("Training needs one of --steps and --budget, to know when it ends. Add --steps 1000.")
    if request.lr not in (None, "find"):
        _as_lr(request.lr)
    _as_budget(request.budget, spent=0.0)
    make_policy(request.policy, lr=None, warmup=request.warmup)


def make_policy(name: str, *, lr: float | None, warmup: float | None) -> "Policy":
    """A policy by name, with the settings that were given.

    Raises:
        SettingError: the name is unknown, or the policy does not take a setting.
    """
    from lrpilot.policies.registry import get_policy

    settings = {"lr": lr, "warmup": warmup}
    return get_policy(name, **{k: v for k, v in settings.items() if v is not None})


def _fly(
    request: Request, training: "Training", folder: RunFolder, *, resume: bool, progress: bool
) -> tuple[dict[str, Any], "FitResult"]:
    from lrpilot.fitting import fit

    found = _search(request, training, folder, resume=resume, progress=progress)
    lr = found["lr"] if found is not None else None if request.lr is None else _as_lr(request.lr)
    spent = found["cost"] if found is not None else {"forward_equivalents": 0.0, "seconds": 0.0}
    result = fit(
        training,
        make_policy(request.policy, lr=lr, warmup=request.warmup),
        total_steps=request.steps,
        budget=_as_budget(request.budget, spent=spent),
        progress=progress,
        checkpoint=folder.checkpoint,
        resume=resume,
    )
    document = {
        "policy": request.policy,
        "peak_lr": max(result.history.lrs, default=None),
        "steps": result.steps,
        "train_loss": result.history.losses[-1] if result.history.losses else None,
        "held_out_loss": training.evaluate(),
        "seconds": result.seconds,
        "total_compute": result.total_compute + spent["forward_equivalents"],
        "cost": cost_plain(result.cost),
        "found": found,
        "folder": folder.path,
        "picture": folder.picture,
    }
    return document, result
