"""What the study of the peak's prior keeps: rows of sweeps and searches, and their file, records/peak_prior.json."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from lrpilot.core.policy import Facts
from lrpilot.policies.autopilot.plan import Arm
from lrpilot_bench.store.records import machine_facts
from lrpilot_bench.studies.checkout import RECORDS

RECORD = RECORDS / "peak_prior.json"

Side = Literal["development", "small"]


class Searched(NamedTuple):
    """One search; lrs in natural units of the flight, None where every Trial diverged.

    Attributes:
        steps: of a Trial.
        seed: of weights and data.
        trials: how many were flown.
        learned: whether the best Trial has gained anything; the pick goes by what was expected otherwise.
        trial: lr that was best for a Trial.
        pick: what the search comes to.
        unbiased: what it would come to if Trials were taken to have no bias.
        low: lower end of the pick's interval.
        high: upper end.
    """

    steps: int
    seed: int
    trials: int
    learned: bool
    trial: float | None
    pick: float | None
    unbiased: float | None
    low: float | None
    high: float | None

    def holds(self, lr: float) -> bool | None:
        """Whether an lr is in the interval; None where there is none."""
        return None if self.low is None or self.high is None else self.low <= lr <= self.high


@dataclass(frozen=True)
class Row:
    """One training flown in one way: a sweep, and the searches beside it.

    Attributes:
        training: name of the task or small training.
        side: which of these it is.
        family: kind of its optimizer, as tasks call it.
        optimizer: the same as policies see it.
        arm: how it is flown.
        batchnorm: whether the model has BatchNorm.
        pretrained: whether its weights were trained before.
        prior: lr expected before any Trial.
        lrs: of the sweep, natural units of the flight, ascending.
        losses: final validation losses there; None where the run failed.
        searches: by length and seed.
    """

    training: str
    side: Side
    family: str
    optimizer: Literal["sgd", "adam", "other"]
    arm: Arm
    batchnorm: bool
    pretrained: bool
    prior: float
    lrs: tuple[float, ...]
    losses: tuple[float | None, ...]
    searches: tuple[Searched, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from all others."""
        return self.training, self.family, self.arm

    @property
    def facts(self) -> Facts:
        """What the constants of the search go by."""
        return Facts(optimizer=self.optimizer, pretrained=self.pretrained, trains_batchnorm=self.batchnorm)

    @property
    def finite(self) -> tuple[float, ...]:
        """The losses, inf where the run failed."""
        return tuple(math.inf if loss is None else loss for loss in self.losses)

    @property
    def best(self) -> float:
        """The best lr of the sweep, by the parabola through its best point and the neighbours."""
        return trough(self.lrs, self.finite)


def trough(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """Lr of the lowest loss: the minimum of the parabola in log lr, or the best point where it has no two neighbours.

    Args:
        lrs: ascending, natural units.
        losses: inf where a run failed; one at least is finite.
    """
    at = min(range(len(lrs)), key=losses.__getitem__)
    if not 0 < at < len(lrs) - 1 or not all(map(math.isfinite, losses[at - 1 : at + 2])):
        return lrs[at]
    down, up = (abs(math.log(lrs[at + side] / lrs[at])) for side in (-1, 1))
    left, right = losses[at - 1] - losses[at], losses[at + 1] - losses[at]
    bend = 2.0 * (left * up + right * down)
    return lrs[at] * math.exp((left * up**2 - right * down**2) / bend) if bend > 0 else lrs[at]


def short(value: float) -> float:
    """Five digits, as the record has them."""
    return float(f"{value:.5g}")


def read() -> list[Row]:
    """The rows on record."""
    return list(map(row_of, json.loads(RECORD.read_text())["rows"])) if RECORD.is_file() else []


def row_of(plain: dict[str, Any]) -> Row:
    """A row from plain data."""
    searches = tuple(Searched(*one) for one in plain["searches"])
    return Row(**plain | {"lrs": tuple(plain["lrs"]), "losses": tuple(plain["losses"]), "searches": searches})


def write(rows: Iterable[Row]) -> None:
    """A row a line, so that a change of one is a change of one line."""
    lines = ",\n".join(json.dumps(asdict(row)) for row in rows)
    RECORD.write_text(f'{{"machine": {json.dumps(machine_facts())}, "rows": [\n{lines}\n]}}\n')
