"""``lrpilot find``: the learning rate for a training, its evidence and its cost."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lrpilot.cli.loading import load_training
from lrpilot.cli.options import Factory, Force, Json, Out
from lrpilot.cli.report import cost_text, found_plain, lr_text, say, say_json, table
from lrpilot.cli.runs import RunFolder, open_run, save_picture

if TYPE_CHECKING:
    from lrpilot.core.found import FoundLR

Target = Annotated[
    Literal["decay", "constant"],
    typer.Option(help="decay: the peak of a schedule that ends at zero. constant: an lr to hold."),
]
Method = Annotated[
    Literal["step_sampling", "range_test", "wittmann"], typer.Option(help="How to search, for --target constant.")
]


def find(
    factory: Factory,
    *,
    target: Target = "decay",
    method: Method = "step_sampling",
    num_steps: Annotated[int, typer.Option(help="Optimizer steps of one trial.")] = 20,
    min_lr: Annotated[float, typer.Option(help="Smallest lr to try.")] = 1e-7,
    max_lr: Annotated[float, typer.Option(help="Largest lr to try.")] = 10.0,
    out: Out = None,
    force: Force = False,
    json: Json = False,
    no_plot: Annotated[bool, typer.Option("--no-plot", help="Draw no picture.")] = False,
) -> None:
    """Find a learning rate. The training is put back as it was.

    Exit status 1 when the search ends without a reliable suggestion.
    """
    from lrpilot.find import find_lr

    training = load_training(factory)
    folder = open_run("find", out, force=force)
    found = find_lr(
        training,
        target=target,
        num_steps=num_steps,
        min_lr=min_lr,
        max_lr=max_lr,
        method=method,
        progress=not json,
    )
    document = found_plain(found) | {"folder": folder.path, "picture": None if no_plot else folder.picture}
    folder.write_result(document)
    if not no_plot:
        save_picture(found.plot(), folder.picture)
    if json:
        say_json(document)
    else:
        _report(found, None if no_plot else folder)
    if found.lr is None:
        raise typer.Exit(1)


def _report(found: "FoundLR", folder: RunFolder | None) -> None:
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
    say(f"cost  {cost_text(found.cost)}")
    if folder is not None:
        say(f"picture  {folder.picture}")
