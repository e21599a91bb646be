"""``lrpilot demo``: what Autopilot and a found learning rate are worth on real data, everything paid for."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, geometric_mean, stdev
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrpilot.cli.options import Force, Json, Out, among
from lrpilot.cli.report import found_plain, lr_text, note, say, say_json, table
from lrpilot.cli.run_folder import RunFolder, run_folder, save_picture
from lrpilot.errors import SettingError

if TYPE_CHECKING:
    from lrpilot.cli.demos import Demo
    from lrpilot.core.history import History
    from lrpilot.found import FoundLR

DATA = ("digits", "fashion-mnist")
WARMUP = 0.05
FACTOR = 30.0  # how far off the first guess of an lr may be
DEFAULT = "default lr"
SEARCHED = "found lr"
SEARCHED_PAID = "found, equal compute"
AUTOPILOT = "Autopilot"  # at equal compute: it pays for its own search
NAMED = {SEARCHED_PAID: "found lr"}  # in the verdict


@dataclass(frozen=True)
class Run:
    """One training run of the comparison.

    Attributes:
        row: the row of the table it belongs to.
        seed: of weights and batches.
        lr: peak lr of its schedule, or that Autopilot chose.
        steps: optimizer steps it trained.
        compute: everything it cost, in training steps' worth: steps, and the search where there was one.
        seconds: likewise.
        loss: validation loss at the end.
        accuracy: validation accuracy at the end, 0 to 1.
        history: lr and loss of every step.
    """

    row: str
    seed: int
    lr: float
    steps: int
    compute: float
    seconds: float
    loss: float
    accuracy: float
    history: "History"


def demo(
    *,
    data: Annotated[
        str,
        typer.Option(metavar="|".join(DATA), callback=among("--data", DATA), help="fashion-mnist takes some minutes."),
    ] = "digits",
    seeds: Annotated[
        int, typer.Option(metavar="NUMBER", help="Repetitions with other weights and batches.", min=1)
    ] = 3,
    out: Out = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Train with Autopilot and with a found lr; compare with the optimizer's default lr and guesses around it."""
    started = time.perf_counter()
    import torch

    from lrpilot.cli.demos import demo_on

    torch.set_num_threads(1)  # threads of small layers cost more than they bring
    chosen = demo_on(data)
    with run_folder("demo", out, force=force) as folder:
        found, runs = _fly(chosen, seeds, show=not json)
        document = {
            "data": data,
            "task": chosen.title,
            "rows": [_row_plain(row, of_row) for row, of_row in _by_row(runs)],
            "found": [found_plain(one) for one in found],
            "seconds": time.perf_counter() - started,
            "folder": folder.path,
            "picture": folder.picture,
        }
        folder.write_result(document)
        _draw(found[0], [run for run in runs if run.seed == 0], folder)
    if json:
        say_json(document)
    else:
        _report(chosen, seeds, document, found)


# ---------------------------------------------------------------- flying


def _fly(chosen: "Demo", seeds: int, *, show: bool) -> tuple[list["FoundLR"], list[Run]]:
    """For every seed: search and train with what was found, with three lrs nobody searched for, and with Autopilot."""
    from lrpilot.progress import progress_bar

    found: list[FoundLR] = []
    runs: list[Run] = []
    with progress_bar("demo", total=7 * seeds, show=show) as bar:

        def said(what: str) -> None:
            if bar is not None:
                bar.update(len(found) + len(runs), what)

        for seed in range(seeds):
            said(f"seed {seed}: finding an lr")
            found.append(_search(chosen, seed))
            for row, lr, steps, searched in _plan(chosen, found[-1]):
                said(f"seed {seed}: {row}, lr {lr_text(lr)}")
                runs.append(_train(chosen, row, seed, lr, steps, searched))
            said(f"seed {seed}: Autopilot")
            runs.append(_autopilot(chosen, seed))
    return found, runs


def _search(chosen: "Demo", seed: int) -> "FoundLR":
    from lrpilot.find import find_lr

    found = find_lr(chosen.make(seed), target="decay", progress=False)
    if found.lr is None:
        raise SettingError(f"The demo must find an lr, got none on {chosen.title}, seed {seed}. {found.status}")
    return found


def _plan(chosen: "Demo", found: "FoundLR") -> list[tuple[str, float, int, "FoundLR | None"]]:
    """Rows: name, peak lr, steps, and the search that has to be paid."""
    assert found.lr is not None
    default = chosen.make(0).raw_optimizer.param_groups[0]["lr"]
    left = chosen.steps - round(found.cost.steps)
    plan: list[tuple[str, float, int, FoundLR | None]] = [
        (f"{DEFAULT} ÷ {FACTOR:g}", default / FACTOR, chosen.steps, None),
        (DEFAULT, default, chosen.steps, None),
        (f"{DEFAULT} × {FACTOR:g}", default * FACTOR, chosen.steps, None),
        (SEARCHED, found.lr, chosen.steps, found),
    ]
    return [*plan, (SEARCHED_PAID, found.lr, left, found)] if left >= 1 else plan


def _train(chosen: "Demo", row: str, seed: int, lr: float, steps: int, searched: "FoundLR | None") -> Run:
    from lrpilot.fitting import fit
    from lrpilot.policies.schedules.schedule import Schedule

    training = chosen.make(seed)
    result = fit(training, Schedule("linear", lr=lr, warmup=WARMUP), total_steps=steps, progress=False)
    paid_steps, paid_seconds = (0.0, 0.0) if searched is None else (searched.cost.steps, searched.cost.seconds)
    return Run(
        row=row,
        seed=seed,
        lr=lr,
        steps=result.steps,
        compute=result.steps + paid_steps,
        seconds=result.seconds + paid_seconds,
        loss=training.evaluate(),
        accuracy=chosen.accuracy(training),
        history=result.history,
    )


def _autopilot(chosen: "Demo", seed: int) -> Run:
    """The whole run by Autopilot, its search out of the same compute."""
    from lrpilot.fitting import fit
    from lrpilot.flight.substrate import STEP
    from lrpilot.policies.autopilot import Autopilot

    training = chosen.make(seed)
    result = fit(training, Autopilot(), budget=STEP * chosen.steps, progress=False)
    return Run(
        row=AUTOPILOT,
        seed=seed,
        lr=max(result.history.lrs),
        steps=result.steps,
        compute=result.total_compute / STEP,
        seconds=result.seconds,
        loss=training.evaluate(),
        accuracy=chosen.accuracy(training),
        history=result.history,
    )


# ------------------------------------------------------------- reporting


def _by_row(runs: Sequence[Run]) -> list[tuple[str, list[Run]]]:
    rows = list(dict.fromkeys(run.row for run in runs))
    return [(row, [run for run in runs if run.row == row]) for row in rows]


def _row_plain(row: str, runs: Sequence[Run]) -> dict[str, Any]:
    names = ("lr", "steps", "compute", "seconds", "loss", "accuracy")
    return {"row": row} | {name: [getattr(run, name) for run in runs] for name in names}


def _spread(values: Sequence[float], form: str) -> str:
    mean = format(fmean(values), form)
    return mean if len(values) == 1 else f"{mean} ± {format(stdev(values), form)}"


def _report(chosen: "Demo", seeds: int, document: dict[str, Any], found: Sequence["FoundLR"]) -> None:
    rows = document["rows"]
    repeated = "1 seed" if seeds == 1 else f"{seeds} seeds, mean ± deviation"
    say(f"[bold]{chosen.title}[/bold]", f"linear to zero, {WARMUP:.0%} warmup, but for Autopilot; {repeated}")
    say(table(("", "peak lr", "val loss", "accuracy", "steps", "compute", "s"), [_row_text(row) for row in rows]))
    say(
        "compute: training steps, the search included; a search cost "
        f"{_spread([one.cost.steps for one in found], '.0f')} of them "
        f"and {fmean(one.cost.seconds for one in found):.1f} s"
    )
    losses = {row["row"]: fmean(row["loss"]) for row in rows}
    say(f"[bold]{verdict(losses)}[/bold]")
    if SEARCHED_PAID not in losses:
        note("The search for an lr cost more than the run itself, so there is no row of it at equal compute.")
    say(f"picture  {document['picture']}", f"{document['seconds']:.0f} s in all")


def verdict(losses: Mapping[str, float]) -> str:
    """Autopilot at equal compute against the found lr, the default lr, and the best row that nobody searched for.

    Args:
        losses: mean validation loss by row; not finite where the row diverged.
    """
    if not math.isfinite(losses[AUTOPILOT]):
        return "at equal compute the run with Autopilot diverged"
    guesses = {row: loss for row, loss in losses.items() if row not in (SEARCHED, SEARCHED_PAID, AUTOPILOT)}
    best = min(guesses, key=lambda row: guesses[row] if math.isfinite(guesses[row]) else math.inf)
    others = [row for row in dict.fromkeys((SEARCHED_PAID, DEFAULT, best)) if row in losses]
    compared = [_compared(losses[AUTOPILOT], losses[row], NAMED.get(row, row)) for row in others]
    return f"at equal compute Autopilot's loss is {', '.join(compared)}"


def _compared(loss: float, other: float, row: str) -> str:
    if not math.isfinite(other):
        return f"below the {row}'s, which diverged"
    change = loss / other - 1
    return f"{abs(change):.0%} {'below' if change < 0 else 'above'} the {row}'s"


def _row_text(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["row"],
        lr_text(geometric_mean(row["lr"])),
        _spread(row["loss"], ".3f"),
        _spread([100 * share for share in row["accuracy"]], ".1f"),
        f"{fmean(row['steps']):.0f}",
        f"{fmean(row['compute']):.0f}",
        f"{fmean(row['seconds']):.1f}",
    )


def _draw(found: "FoundLR", runs: Sequence[Run], folder: RunFolder) -> None:
    """The search of one seed, and the lr and loss of its runs."""
    from matplotlib.figure import Figure

    from lrpilot.pictures.flights import plot_flights

    axes = Figure(figsize=(13, 5.5), layout="constrained").subplot_mosaic(
        [["search", "lr"], ["search", "loss"]], height_ratios=(1, 2)
    )
    axes["lr"].sharex(axes["loss"])
    found.plot(axes["search"])
    plot_flights({run.row: run.history for run in runs}, (axes["lr"], axes["loss"]))
    save_picture(axes["search"], folder.picture)
