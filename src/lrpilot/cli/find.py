"""``lrpilot find``: the learning rate for a training, its evidence and its cost."""

import math
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lrpilot.cli.loading import guarded, load_training
from lrpilot.cli.options import Factory, Force, Json, Out, among
from lrpilot.cli.report import cost_text, found_plain, lr_text, say, say_json, table
from lrpilot.cli.run_folder import RunFolder, run_folder, save_picture

if TYPE_CHECKING:
    from lrpilot.found import FoundLR

TARGETS = ("decay", "constant")
EFFORTS = ("quick", "thorough")
METHODS = ("step_sampling", "range_test", "wittmann")

Target = Annotated[
    str,
    typer.Option(
        metavar="|".join(TARGETS),
        callback=among("--target", TARGETS),
        help="decay: the peak of a schedule that ends at zero. constant: an lr to hold.",
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        metavar="NUMBER", help="Training steps' worth that a quick search may cost, in all.", show_default="150"
    ),
]
Effort = Annotated[
    str,
    typer.Option(
        metavar="|".join(EFFORTS),
        callback=among("--effort", EFFORTS),
        help="For --target decay. thorough: three lengths of trials, some 1000 steps' worth.",
    ),
]
NumSteps = Annotated[
    int | None,
    typer.Option(metavar="NUMBER", help="Optimizer steps of one trial.", show_default="29 of a quick search, else 20"),
]
Method = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        callback=among("--method", METHODS),
        help=f"How to search, for --target constant: {', '.join(METHODS)}.",
    ),
]


def find(
    factory: Factory,
    *,
    target: Target = "decay",
    method: Method = "step_sampling",
    budget: Budget = None,
    effort: Effort = "quick",
    num_steps: NumSteps = None,
    min_lr: Annotated[float, typer.Option(metavar="NUMBER", help="Smallest lr to try.")] = 1e-7,
    max_lr: Annotated[float, typer.Option(metavar="NUMBER", help="Largest lr to try.")] = 10.0,
    out: Out = None,
    force: Force = False,
    json: Json = False,
    no_plot: Annotated[bool, typer.Option("--no-plot", help="Draw no picture.")] = False,
) -> None:
    """Find a learning rate. The training is put back as it was.

    Exit status 1 when the search ends without a reliable suggestion.
    """
    from lrpilot.find import find_lr, finder_policy

    sizes: dict[str, Any] = {"num_steps": num_steps, "budget": budget, "min_lr": min_lr, "max_lr": max_lr}
    finder_policy(target, method, effort=effort, **sizes)  # refuses before anything is made
    training = load_training(factory)
    with run_folder("find", out, force=force) as folder:
        found = guarded(
            lambda: find_lr(
                training,
                target=cast(Any, target),  # the three were checked with their options
                effort=cast(Any, effort),
                method=cast(Any, method),
                progress=not json,
                **sizes,
            ),
            f"{factory} must train without errors",
        )
        _finish(found, folder, json=json, plot=not no_plot)
    if found.lr is None:
        raise typer.Exit(1)


def _finish(found: "FoundLR", folder: RunFolder, *, json: bool, plot: bool) -> None:
    """Write the outcome into its folder, and say it."""
    document = found_plain(found) | {"folder": folder.path, "picture": folder.picture if plot else None}
    folder.write_result(document)
    if plot:
        save_picture(found.plot(), folder.picture)
    if json:
        say_json(document)
    else:
        _report(found)
        say(*([f"picture  {folder.picture}"] if plot else []))


def _report(found: "FoundLR") -> None:
    if found.lr is None:
        say(f"[bold]{found.code.name}: {found.status}[/bold]", f"tried  {_tried(found)}")
    else:
        _report_lr(found)
    say(f"compared  {found.metric}", f"cost  {cost_text(found.cost)}")


def _tried(found: "FoundLR") -> str:
    """Which lrs, and what came of them."""
    if not found.lrs:
        return "no lr"
    span = f"{len(found.lrs)} lrs from {lr_text(min(found.lrs))} to {lr_text(max(found.lrs))}"
    start = "" if found.start_loss is None else f", {found.start_loss:.4g} untrained"
    finite = [loss for loss in found.losses if math.isfinite(loss)]
    losses = f"loss {min(finite):.4g} to {max(finite):.4g}" if finite else "no finite loss"
    return f"{span}: {losses}{start}, {len(found.losses) - len(finite)} diverged"


def _report_lr(found: "FoundLR") -> None:
    kinds = {"decay": "peak of a schedule that decays to zero", "constant": "to hold"}
    say(f"[bold]lr {lr_text(found.lr)}[/bold]  ({kinds[found.target]})", f"{found.code.name}: {found.status}")
    spans = {found.window: "window", found.interval: "interval"}  # one line where the two are the same
    for span, name in spans.items():
        if span is not None:
            say(f"{name}  {lr_text(span[0])} to {lr_text(span[1])}")
    if found.trend is not None and len(found.lengths) > 1:
        slope, error = found.trend.slope, found.trend.slope_error
        say(f"trend  {slope:+.2f} ± {error:.2f} decades of lr for trials ten times longer")
    if found.suggestions:
        rows = [(name, lr_text(lr)) for name, lr in found.suggestions.items()]
        say(table(("suggestion", "lr"), rows))
