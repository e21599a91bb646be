"""``lrpilot train``: the loop for those who have none, in a folder from which it resumes."""

import json as json_module
import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrpilot.cli.loading import guarded, is_place, load_recipe, load_training
from lrpilot.cli.options import (
    ContinueTrials,
    Factory,
    Force,
    Json,
    Out,
    Settings,
    parse_budget,
    parse_lr,
    parse_settings,
    parse_warmup,
)
from lrpilot.cli.report import found_plain, note, say_json, to_json
from lrpilot.cli.run_folder import RunFolder, run_folder, save_picture
from lrpilot.cli.train_report import report_run, run_document
from lrpilot.errors import SettingError, unknown_name
from lrpilot.flight.substrate import STEP

if TYPE_CHECKING:
    from lrpilot.core.history import Event, OnEvent
    from lrpilot.core.policy import Policy
    from lrpilot.fitting import FitResult
    from lrpilot.flight.horizon import Budget
    from lrpilot.training import Training

INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended


@dataclass(frozen=True)
class Request:
    """What was asked for, as written: the command that resumes it repeats it.

    Attributes:
        factory: where the training comes from.
        policy: name of the policy, or where it stands.
        lr: a number, "find", or None for the optimizer's own.
        warmup: steps or a fraction; None for the policy's own.
        steps: kept steps, or None.
        budget: total compute, or None.
        settings: of the policy, each as NAME=VALUE.
        continue_trials: whether the policy may go on from a Trial.
    """

    factory: str
    policy: str
    lr: str | None
    warmup: str | None
    steps: int | None
    budget: str | None
    settings: tuple[str, ...] = ()
    continue_trials: bool = False

    def check(self) -> None:
        """Raise now what would otherwise be raised after a search.

        Raises:
            SettingError: an option cannot be read, or the policy refuses it.
        """
        if (self.steps is None) == (self.budget is None):
            raise SettingError(
                "Training needs exactly one of --steps and --budget to know its end, got "
                f"{'none' if self.steps is None else 'both'}. Give for example --steps 1000 alone."
            )
        if self.budget is not None:
            _require_a_step(parse_budget(self.budget))
        self._require_own_lr()
        self.make_policy(None if self.lr in (None, "find") else parse_lr(self.lr))

    def make_policy(self, lr: float | None) -> "Policy":
        """The policy with its peak lr; None leaves it to the policy.

        Raises:
            SettingError: it cannot be made, or takes no steps.
        """
        self._require_trainer()
        settings = parse_settings(self.settings)
        own = {"lr": lr, "warmup": None if self.warmup is None else parse_warmup(self.warmup)}
        for name, value in own.items():
            if value is not None and name in settings:
                raise SettingError(f"{name} must be given once, got --{name} and --set {name}. Leave one away.")
        settings |= {name: value for name, value in own.items() if value is not None}
        made = guarded(lambda: load_recipe(self.policy)(**settings), f"{self.policy} must be made without errors")
        if not made.trains:
            raise SettingError(
                f"--policy must take steps, got {self.policy}, which only measures. Fly it with 'lrpilot simulate'."
            )
        return made

    def _require_trainer(self) -> None:
        """Refuse a name that is unknown, or that of a finder of ours."""
        from lrpilot.policies.registry import get_policy, own_names, policy_names

        if is_place(self.policy):
            return
        finders = {name for name in own_names() if not get_policy(name).trains}
        trainers = set(policy_names()) - finders
        if self.policy not in trainers:
            raise unknown_name("--policy", self.policy, trainers)

    def _require_own_lr(self) -> None:
        """Refuse --lr and --warmup, "find" too, where the policy has no such setting."""
        from lrpilot.policies.registry import policy_names

        known: tuple[str, ...] = ("lr", "warmup")
        if is_place(self.policy) or self.policy in policy_names():
            known = load_recipe(self.policy).settings
        if self.lr is not None and "lr" not in known:
            raise SettingError(
                f"--lr is for policies that take an lr, got {self.policy}, which finds its own, or starts at the "
                f"optimizer's or at a published one. Leave --lr away, or choose a schedule (--policy cosine)."
            )
        if self.warmup is not None and "warmup" not in known:
            raise SettingError(
                f"--warmup is for schedules, got {self.policy}, which has none. Leave it away, or choose a schedule."
            )

    def resume_command(self, folder: RunFolder) -> str:
        """The command that goes on."""
        words = ["lrpilot", "train", self.factory]
        for name in ("policy", "lr", "warmup", "steps", "budget"):
            value = getattr(self, name)
            words += [] if value is None else [f"--{name}", str(value)]
        words += [word for text in self.settings for word in ("--set", text)]
        words += ["--continue-trials"] if self.continue_trials else []
        return shlex.join([*words, "--out", str(folder.path), "--resume"])


def train(
    factory: Factory,
    *,
    policy: Annotated[
        str,
        typer.Option(
            metavar="NAME|PLACE",
            help="autopilot, another policy, a schedule (cosine, linear, wsd, ...), or your own: "
            "module_or_file.py:Class.",
        ),
    ] = "autopilot",
    lr: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|find", help="Peak lr, or 'find' to search for it first.", show_default="the optimizer's"
        ),
    ] = None,
    warmup: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Linear warmup: steps (500) or a fraction of the run (0.05).")
    ] = None,
    steps: Annotated[int | None, typer.Option(metavar="NUMBER", help="Optimizer steps to train.", min=1)] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER[s|m|h|epochs]",
            help="Total compute instead of --steps, searches included: forward-equivalents (3000), a time (90s), or "
            "passes over the data (5epochs).",
        ),
    ] = None,
    settings: Settings = None,
    continue_trials: ContinueTrials = False,
    out: Out = None,
    force: Force = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the stopped run in --out.")] = False,
    json: Json = False,
) -> None:
    """Train with a policy, Autopilot unless another is named. Ctrl-C leaves a run that resumes bit for bit."""
    request = Request(factory, policy, lr, warmup, steps, budget, tuple(settings or ()), continue_trials)
    request.check()
    training = load_training(factory)
    with run_folder("train", out, force=force, resume=resume) as folder:
        try:
            document = guarded(
                lambda: _run(request, training, folder, resume=resume, progress=not json),
                f"{factory} must train without errors",
            )
        except KeyboardInterrupt:
            _say_how_to_resume(request, folder)
            raise typer.Exit(INTERRUPTED) from None
    if json:
        say_json(document)
    else:
        report_run(document, folder.report.read_text(encoding="utf-8"))
    if document["diverged"]:
        note(
            "diverged: the loss ended above its start, or is no finite number. Give a lower --lr, or --lr find.", "red"
        )
        raise typer.Exit(1)


def _run(request: Request, training: "Training", folder: RunFolder, *, resume: bool, progress: bool) -> dict[str, Any]:
    """Search if asked to, train, and write everything into the folder; the document of the result."""
    found = _search(request, training, folder, progress=progress)
    result = _fly(request, training, folder, found, resume=resume, progress=progress)
    document = run_document(request.policy, training, result, found) | {
        "folder": folder.path,
        "picture": folder.picture,
    }
    folder.write_result(document)
    folder.write_history(result.history)
    folder.write_report(result.report())
    _draw(request.policy, result, folder)
    return document


def _search(request: Request, training: "Training", folder: RunFolder, *, progress: bool) -> dict[str, Any] | None:
    """The lr of ``--lr find``: found now, or read from the folder of the run that is resumed."""
    if request.lr != "find":
        return None
    if folder.found.is_file():
        known: dict[str, Any] = json_module.loads(folder.found.read_text(encoding="utf-8"))
        return known
    from lrpilot.find import find_lr

    budget = _budget(request, training)
    found = find_lr(
        training,
        target="constant" if request.policy == "constant" else "decay",
        progress=progress,
        on_event=None if budget is None else _stop_over(budget),
    )
    if found.lr is None:
        raise SettingError(f"--lr find must find an lr, got none. {found.status} Or give --lr a number.")
    document = found_plain(found)
    folder.found.write_text(to_json(document) + "\n", encoding="utf-8")
    return document


def _fly(
    request: Request,
    training: "Training",
    folder: RunFolder,
    found: dict[str, Any] | None,
    *,
    resume: bool,
    progress: bool,
) -> "FitResult":
    from lrpilot.fitting import fit

    lr = None if request.lr is None else found["lr"] if found is not None else parse_lr(request.lr)
    budget = _budget(request, training)
    return fit(
        training,
        request.make_policy(lr),
        total_steps=request.steps,
        budget=None if budget is None else _less(budget, found),
        continue_trials=request.continue_trials,
        progress=progress,
        checkpoint=folder.checkpoint,
        resume=resume,
    )


def _budget(request: Request, training: "Training") -> "Budget | None":
    """What was asked for; passes over the data as the forward-equivalents that they take."""
    if request.budget is None:
        return None
    from lrpilot.flight.horizon import Budget
    from lrpilot.training.bound.facts import facts_of

    budget = parse_budget(request.budget)
    if budget.epochs is None:
        return budget
    return Budget(forward_equivalents=budget.work(facts_of(training).epoch_steps))


def _require_a_step(budget: "Budget") -> None:
    if budget.forward_equivalents is not None and budget.forward_equivalents < STEP:
        raise SettingError(
            f"--budget must be enough for a step, {STEP:g} forward-equivalents, got {budget.forward_equivalents:g}."
        )


def _stop_over(budget: "Budget") -> "OnEvent":
    """Ends a search as soon as it is known to leave nothing of the budget."""
    from lrpilot.core.actions import TrialLosses

    started, spent = time.perf_counter(), 0.0

    def watch(event: "Event") -> None:
        nonlocal spent
        if isinstance(event.observation, TrialLosses):
            spent += STEP * len(event.observation.losses)
        over = spent if budget.seconds is None else time.perf_counter() - started
        total = budget.seconds if budget.forward_equivalents is None else budget.forward_equivalents
        if total is not None and over >= total:
            unit = "seconds" if budget.seconds is not None else "forward-equivalents"
            raise SettingError(
                f"--budget must be more than the search for an lr, which takes over {over:.0f} {unit}, got {total:g}. "
                "Raise it, or give --lr a number."
            )

    return watch


def _less(budget: "Budget", found: dict[str, Any] | None) -> "Budget":
    """What a search has left of a budget."""
    from lrpilot.flight.horizon import Budget

    if found is None:
        return budget
    unit = "seconds" if budget.seconds is not None else "forward_equivalents"
    total, spent = getattr(budget, unit), found["cost"][unit]
    if total <= spent:
        raise SettingError(
            f"--budget must be more than the search for an lr, which took {spent:.0f}, got {total:g} {unit}."
        )
    return Budget(**{unit: total - spent})


def _say_how_to_resume(request: Request, folder: RunFolder) -> None:
    if folder.checkpoint.is_file():
        note(f"Stopped. Go on with: {request.resume_command(folder)}", style="yellow")
    else:
        note("Stopped before the first step, so there is nothing to resume. Start again.", style="yellow")


def _draw(name: str, result: "FitResult", folder: RunFolder) -> None:
    from lrpilot.pictures.flights import plot_flights

    save_picture(plot_flights({name: result.history})[0], folder.picture)
    from lrpilot.policies.autolrs.stage import LRStage

    stages = result.pilot.result
    if not isinstance(stages, tuple):
        return
    from lrpilot.policies.autolrs.picture import plot_stage

    for number, stage in enumerate(stages, 1):
        if isinstance(stage, LRStage) and stage.search is not None:
            save_picture(plot_stage(stage, result.history)[0], folder.stage_picture(number))
