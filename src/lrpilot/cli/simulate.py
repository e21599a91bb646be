"""``lrpilot simulate``: a policy on a landscape instead of a model, in a second and without torch."""

import json as json_module
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrpilot.cli.loading import guarded, load_recipe
from lrpilot.cli.options import ContinueTrials, Json, Settings, parse_budget, parse_settings
from lrpilot.cli.report import cost_plain, cost_text, found_plain, lr_text, say, say_json, table
from lrpilot.errors import SettingError, closest

if TYPE_CHECKING:
    from lrpilot.flight.landscape import Landscape
    from lrpilot.flight.simulation import SimulationResult

SHOWN_STEPS = 11
DEFAULT_STEPS = 1000


def simulate(
    policy: Annotated[
        str,
        typer.Argument(
            metavar="POLICY",
            help="A schedule (cosine, ...), a method (step_sampling, ...), or your own: module_or_file.py:Class.",
        ),
    ],
    *,
    landscape: Annotated[
        str, typer.Option(metavar="quadratic|FILE.json", help="What to train on: a noisy quadratic, or a found curve.")
    ] = "quadratic",
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", help="Optimizer steps; a finder takes none.", min=1, show_default=str(DEFAULT_STEPS)
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="Total compute instead of --steps, probes included: forward-equivalents."),
    ] = None,
    lr: Annotated[float, typer.Option(metavar="NUMBER", help="lr of the optimizer: the peak of a schedule.")] = 0.1,
    settings: Settings = None,
    continue_trials: ContinueTrials = False,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Of the noise.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Fly a policy on a synthetic landscape, or on the result.json of 'lrpilot find --target constant'."""
    from lrpilot.flight import simulation

    if steps is not None and budget is not None:
        raise SettingError(f"simulate takes --steps or --budget, got {steps} and {budget}. Leave one of them away.")
    ground, given = _load_landscape(landscape), parse_settings(settings or ())
    flown = guarded(lambda: load_recipe(policy)(**given), f"{policy} must be made without errors")
    result = guarded(
        lambda: simulation.simulate(
            flown,
            ground,
            lr=lr,
            total_steps=(steps or DEFAULT_STEPS) if budget is None else None,
            budget=None if budget is None else parse_budget(budget),
            seed=seed,
            continue_trials=continue_trials,
        ),
        f"{policy} must fly without errors",
    )
    if json:
        spent = {} if budget is None else _spent(result)
        say_json({"policy": policy, "landscape": landscape, **_plain(result), **spent})
    else:
        _report(result, start_loss=ground.held_out(ground.start()))
        if budget is not None:
            _report_spent(result)


def _load_landscape(name: str) -> "Landscape":
    """A landscape by name, or from the result of a search.

    Raises:
        SettingError: no such name, or a file that holds no curve.
    """
    from lrpilot.flight.landscape import NoisyQuadratic

    if name == "quadratic":
        return NoisyQuadratic.log_spaced(10, condition=100.0, noise=0.1)
    if not name.endswith(".json"):
        remedy = "Did you mean 'quadratic'?" if closest(name, ["quadratic"]) else "Use the result.json of a find."
        raise SettingError(f"--landscape must be 'quadratic' or a .json file, got {name!r}. {remedy}")
    return _load_curve(Path(name))


def _load_curve(path: Path) -> "Landscape":
    from lrpilot.flight.landscape import RecordedCurve

    try:
        saved = json_module.loads(path.read_text(encoding="utf-8"))
        _check_target(saved.get("target"), path)
        losses = tuple(math.inf if loss is None else float(loss) for loss in saved["losses"])
        return RecordedCurve(tuple(saved["lrs"]), losses, float(saved["start_loss"]))
    except OSError as error:
        raise SettingError(f"The landscape's file must be readable, got {path} ({error.strerror}).") from error
    except (AttributeError, KeyError, TypeError, json_module.JSONDecodeError, UnicodeDecodeError) as error:
        raise SettingError(
            f"A landscape file must be JSON with lrs, losses and start_loss, got {path} ({type(error).__name__}: "
            f"{error}). Use the result.json of 'lrpilot find'."
        ) from error


def _check_target(target: object, path: Path) -> None:
    """Refuse annealed Trials of three lengths: a few lrs about the peak, and no curve from the untrained state up."""
    if target == "decay":
        raise SettingError(
            f"A landscape file must hold a curve over the whole range of lrs, got {path} of a search with target "
            "'decay', which tries few. Use the result.json of 'lrpilot find --target constant'."
        )


def _plain(result: "SimulationResult") -> dict[str, Any]:
    from lrpilot.core.codec import encode
    from lrpilot.found import FoundLR

    answer = result.result
    return {
        "steps": len(result.history.lrs),
        "final_loss": result.final_loss,
        "cost": cost_plain(result.cost),
        "result": found_plain(answer) if isinstance(answer, FoundLR) else encode(answer),
        "history": {"lrs": result.history.lrs, "losses": result.history.losses},
        "events": [event.message for event in result.history.events],
    }


def _spent(result: "SimulationResult") -> dict[str, Any]:
    """What became of a budget."""
    return {"total_compute": result.total_compute, "coasts_from": result.coasts_from}


def _report_spent(result: "SimulationResult") -> None:
    say(f"total compute  {result.total_compute:.0f} forward-equivalents, steps and measurements")
    if result.coasts_from is not None:
        say(f"from step {result.coasts_from} on the lr was held: the budget could not pay for what was asked next")


def _report(result: "SimulationResult", *, start_loss: float) -> None:
    from lrpilot.found import FoundLR

    lrs, losses = result.history.lrs, result.history.losses
    if lrs:
        last = len(lrs) - 1
        picked = sorted({round(i * last / (SHOWN_STEPS - 1)) for i in range(SHOWN_STEPS)})
        say(table(("step", "lr", "loss"), [(str(i + 1), lr_text(lrs[i]), f"{losses[i]:.4g}") for i in picked]))
    found = result.result
    if isinstance(found, FoundLR):
        say(f"[bold]lr {lr_text(found.lr)}[/bold]  {found.code.name}: {found.status}")
    if lrs:
        say(f"held-out loss  {start_loss:.4g} at the start, {result.final_loss:.4g} after {len(lrs)} steps")
    say(f"measurements  {cost_text(result.cost)}")
