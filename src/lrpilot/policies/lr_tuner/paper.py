"""The published settings of LRTuner, as the table of hyperparameters of "AutoLR" has them."""

from typing import NamedTuple

from lrpilot.core.names import unknown_name
from lrpilot.errors import SettingError


class PaperRow(NamedTuple):
    """One row of the published hyperparameters, with the seed lrs that the text gives for it.

    Attributes:
        explore: epochs of explore.
        epochs: epochs in all.
        saturation: relative threshold.
        clip: r of |ε|³ < r·L.
        seeds: seed lr by optimizer, the row's own first.
        window: steps between two decisions (an int), or epochs (a float).
    """

    explore: float
    epochs: float
    saturation: float
    clip: float
    seeds: dict[str, float]
    window: int | float = 0.5


_DIGITS = PaperRow(10, 50, 100, 1e-3, {"momentum": 0.1, "sgd": 0.1, "adam": 1e-3})
PAPER_ROWS: dict[str, PaperRow] = {
    "mnist": _DIGITS,
    "fashion-mnist": _DIGITS,
    "cifar10": PaperRow(100, 200, 100, 5e-3, {"momentum": 0.1, "sgd": 0.1, "adam": 1e-3}, window=1000),
    "imagenet": PaperRow(25, 90, 500, 1e-3, {"momentum": 0.1}),
    "iwslt": PaperRow(8, 50, 5, 1e-9, {"adam": 5e-5}),
    # "more frequent" than twice an epoch is all that is said of this window: a tenth of an epoch is our choice.
    "squad": PaperRow(0.45, 2, 2, 1e-12, {"adam": 2e-5}, window=0.1),
}


def paper_row(name: str) -> PaperRow:
    """A row of the published table.

    Raises:
        SettingError: no such row.
    """
    if name not in PAPER_ROWS:
        raise unknown_name("A row of the papers", name, PAPER_ROWS)
    return PAPER_ROWS[name]


def seed_lr(name: str, optimizer: str | None) -> float:
    """The published seed lr of a row and an optimizer; None for the row's own.

    Raises:
        SettingError: the papers do not train that row with it.
    """
    seeds = paper_row(name).seeds
    if optimizer is not None and optimizer not in seeds:
        raise SettingError(
            f"The papers train {name!r} with {', '.join(seeds)}, got optimizer={optimizer!r}. Choose one of these."
        )
    return seeds[optimizer or next(iter(seeds))]
