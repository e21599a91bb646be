"""Every finder of learning rates, lrpilot's and the peers', by name, with what its pick is meant for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from lrpilot.find import find_lr
from lrpilot.policies.finders.step_sampling import PICKS
from lrpilot_bench.methods.pick import Pick
from lrpilot_bench.methods.range_tests import pick_lightning, pick_torch_lr_finder
from lrpilot_bench.methods.valley import pick_fastai_valley
from lrpilot_bench.session import Session

NOISE_CHECK = "2"  # since find_lr refuses where the best trial gained no more than single batches scatter by
UNUSED_LR = 1e-3  # an optimizer needs one; find_lr does not look at it


@dataclass(frozen=True)
class Picker:
    """One finder.

    Attributes:
        title: how tables call it.
        schedule: kind of the schedule that its pick is meant for.
        pick: searches from the session's present state, declares what it spends, and puts the weights back.
        rows: names among the pick's suggestions that the finder table shows, its own lr first; one search
            gives them all.
        packages: importable packages that it needs.
        own: whether it is lrpilot's; figures and tables show it so.
        version: of the methods that use it; raised when what it picks changes.
    """

    title: str
    schedule: str
    pick: Callable[[Session], Pick]
    rows: tuple[str, ...]
    packages: tuple[str, ...] = ()
    own: bool = False
    version: str = "1"


def search(session: Session, **settings: Any) -> Pick:
    """:func:`lrpilot.find_lr` on the session, which it leaves as it was, bit for bit.

    Args:
        session: what is searched for.
        settings: of find_lr.
    """
    found = find_lr(session.training(session.optimizer(UNUSED_LR)), progress=False, **settings)
    paid = session.compute
    session.charge_cost(found.cost)
    return Pick(
        found.lr,
        session.compute - paid,
        dict(found.suggestions),
        interval=found.interval,
        reason=None if found.lr is not None else found.status,
        extra={"code": found.code.name, "window": None if found.window is None else list(found.window)},
    )


PICKERS = {
    "find_lr_quick": Picker(
        "find_lr",
        "linear",
        partial(search, target="decay"),
        ("paired", "trial_best", "expected"),
        own=True,
    ),
    "find_lr_decay": Picker(
        "find_lr, target decay, thorough",
        "linear",
        partial(search, target="decay", effort="thorough"),
        ("annealed",),
        own=True,
        version=NOISE_CHECK,
    ),
    "find_lr_decay_quick": Picker(
        "find_lr, target decay, thorough, num_steps=5",
        "linear",
        partial(search, target="decay", effort="thorough", num_steps=5),
        ("annealed",),
        own=True,
        version=NOISE_CHECK,
    ),
    "find_lr_constant": Picker(
        "find_lr, target constant",
        "constant",
        partial(search, target="constant"),
        PICKS,
        own=True,
        version=NOISE_CHECK,
    ),
    "range_test": Picker(
        "find_lr, range test",
        "constant",
        partial(search, target="constant", method="range_test"),
        ("steepest", "minimum_over_10"),
        own=True,
    ),
    "torch_lr_finder": Picker(
        "pytorch-lr-finder", "linear", pick_torch_lr_finder, ("steepest",), ("torch_lr_finder", "matplotlib")
    ),
    "lightning": Picker("Lightning lr_find", "linear", pick_lightning, ("steepest",), ("lightning",)),
    "fastai_valley": Picker("fastai valley (rewritten)", "fit_one_cycle", pick_fastai_valley, ("valley",)),
}
