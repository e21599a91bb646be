"""Draw the pictures of docs/line-methods.md from short trainings on Fashion-MNIST.

    python -m lrpilot_bench.studies.line_pictures [--only parabola] [--only flights]     # three minutes on one core

``parabola``: two steps of the papers' net, the parabola of the published setting through five losses, and more losses
along the same step that it has not seen (AutoLR's Figure 5). ``flights``: lr and training loss of LRTuner and of
weighted factors beside the lr that both start from, held (its Figure 4).
"""

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from lrpilot import LRTuner, Schedule, WeightedFactors, fit
from lrpilot.core.actions import Line
from lrpilot.core.history import History
from lrpilot.core.policy import Policy
from lrpilot.maths.line_fit import LineFit, fit_line
from lrpilot.pictures.flights import plot_flights
from lrpilot.pictures.style import CHOSEN, DATA, FAINT, INK, QUIET, RUNS
from lrpilot.policies.lr_tuner.published import PAPER_FACTORS
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot_bench.session import Session
from lrpilot_bench.studies.checkout import DOCS
from lrpilot_bench.tasks.registry import get_task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
COLORS = 48  # of a picture: a third of the bytes, and nobody sees it


def save(figure: "Figure", path: Path) -> None:
    """Write a picture of few colours."""
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(COLORS).save(path, optimize=True)


# ------------------------------------------------------------------ parabolas

BATCHES = 100  # the papers' superbatch
MORE_FACTORS = (0.0, 0.125, 0.25, 0.375, 0.625, 0.875, 1.125, 1.375)  # and up to the end of the picture


class Place(NamedTuple):
    """Where a step is looked at: a task, the lr that is held, the steps at it, the picture's right end and title."""

    task: str
    lr: float
    steps: int
    end: float
    title: str


PLACES = (
    Place("papers_fashion", 0.1, 300, 2.0, "the papers' 4-layer net: minimum among the factors read"),
    Place("fashion_bn", 0.05, 275, 5.0, "3-layer net with BatchNorm: minimum beyond them"),
)


class Seen(NamedTuple):
    """One step: the parabola through the published factors, and losses (means over the batches) by factor."""

    fit: LineFit
    fitted: dict[float, float]
    unseen: dict[float, float]


def look(place: Place) -> Seen:
    """Train to a place, and read its Line."""
    task = get_task(place.task)
    session = Session(task, task.family("sgd"), seed=0, steps=place.steps)
    training = session.training(session.optimizer(place.lr))
    substrate = LiveSubstrate(training)
    for step, batch in enumerate(session.batches(), start=1):
        if step == place.steps:
            break
        training.step(batch)
    substrate.arm_line()
    substrate.before_kept_step()
    training.step(batch)
    substrate.after_kept_step()

    def losses(factors: tuple[float, ...]) -> np.ndarray:
        return np.array(substrate.line(Line(factors, BATCHES)))

    rows = losses(PAPER_FACTORS)
    fit = fit_line(PAPER_FACTORS, rows.tolist())
    far = np.linspace(PAPER_FACTORS[-1], place.end, 5)[1:]
    more = tuple(sorted({*MORE_FACTORS, *map(float, far), fit.minimiser or 1.0}))
    seen = Seen(
        fit,
        dict(zip(PAPER_FACTORS, rows.mean(axis=0), strict=True)),
        dict(zip(more, losses(more).mean(axis=0), strict=True)),
    )
    print(
        f"lr {place.lr:g}, step {place.steps}: the parabola asks for {fit.minimiser or 1.0:.2f} times the lr",
        flush=True,
    )
    return seen


def draw_parabola(ax: "Axes", place: Place, seen: Seen) -> None:
    """One step: what was fitted, what was not, and the minimum as foretold and as it is."""
    factors = np.linspace(0.0, place.end, 200)
    best = seen.fit.minimiser
    ax.plot(factors, [seen.fit.level + seen.fit.change(s) for s in factors], color=DATA, lw=1.6, label="parabola")
    ax.plot(list(seen.fitted), list(seen.fitted.values()), ls="", marker="o", ms=6, color=DATA, label="losses it fits")
    others = {s: loss for s, loss in seen.unseen.items() if s != best}
    ax.plot(
        list(others), list(others.values()), ls="", marker="^", ms=6, mfc="white", color=RUNS[1], label="other losses"
    )
    if best is not None:
        foretold = seen.fit.level + seen.fit.change(best)
        ax.plot([best], [foretold], ls="", marker="o", ms=11, mfc="none", mew=1.6, color=CHOSEN, label="its minimum")
        ax.plot([best], [seen.unseen[best]], ls="", marker="x", ms=8, mew=1.8, color=CHOSEN, label="loss there")
    ax.set_title(f"{place.title}\nlr {place.lr:g}, step {place.steps}", loc="left", fontsize=9.5, color=INK)
    ax.set_xlabel("factor s of the step's lr (0: no step, 1: the step taken)", color=INK, fontsize=9.5)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(QUIET)
    ax.tick_params(colors=INK, labelsize=8.5)
    ax.grid(visible=True, color=FAINT, lw=0.7)
    ax.set_axisbelow(True)


def parabolas() -> None:
    """The picture of both places."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.2), dpi=DPI, layout="constrained")
    for ax, place in zip(figure.subplots(1, 2), PLACES, strict=True):
        draw_parabola(ax, place, look(place))
    axes = figure.axes
    axes[0].set_ylabel(f"mean loss of {BATCHES} minibatches", color=INK, fontsize=9.5)
    axes[0].legend(fontsize=8.5, frameon=False, labelcolor=INK)
    figure.suptitle(
        "Losses along one step of SGD with momentum: Fashion-MNIST, batch 64",
        fontsize=10.5, color=INK, fontweight="bold", x=0.01, ha="left",
    )  # fmt: skip
    save(figure, DOCS / "line-parabola.png")


# -------------------------------------------------------------------- flights

FLOWN, KIND, LR, STEPS = "fashion_bn", "sgd", 0.1, 2500
FLIGHTS: dict[str, Policy] = {
    "held at 0.1": Schedule("constant", lr=LR, warmup=0),
    'LRTuner(exploit="saturation")': LRTuner(exploit="saturation"),
    'LRTuner(exploit="linear")': LRTuner(exploit="linear"),
    "WeightedFactors()": WeightedFactors(),
}


def fly(policy: Policy) -> History:
    """One run, the same weights and batches for all, at the compute of a plain one."""
    task = get_task(FLOWN)
    session = Session(task, task.family(KIND), seed=0, steps=STEPS)
    result = fit(session.training(session.optimizer(LR)), policy, budget=session.budget, progress=False)
    print(f"{policy.name}: {result.steps} steps", flush=True)
    return result.history


def flights() -> None:
    """The picture of all runs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 6.0), dpi=DPI, layout="constrained")
    lr_ax, loss_ax = figure.subplots(2, 1, sharex=True)
    plot_flights({name: fly(policy) for name, policy in FLIGHTS.items()}, (lr_ax, loss_ax))
    lr_ax.set_ylabel("lr of each step (natural units)")
    loss_ax.set_ylabel("training loss (moving mean)")
    loss_ax.set_xlabel("kept optimizer step; probes are paid for in steps")
    figure.suptitle(
        "3-layer conv net on Fashion-MNIST, SGD with momentum, batch 64; equal total compute",
        fontsize=10.5, color=INK, fontweight="bold", x=0.01, ha="left",
    )  # fmt: skip
    save(figure, DOCS / "line-flights.png")


def main() -> None:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pictures = {"parabola": parabolas, "flights": flights}
    parser.add_argument("--only", action="append", choices=pictures, help="this picture; may be given several times")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.only or pictures:
        pictures[name]()


if __name__ == "__main__":
    main()
