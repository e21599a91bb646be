"""The record of a run: the one place where it is put together, whether something was measured or the worker died."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from lrpilot import __version__
from lrpilot_bench.protocol.jobs import Plan
from lrpilot_bench.session import Session
from lrpilot_bench.store.curves import Curve, compact
from lrpilot_bench.store.records import finite, machine_facts
from lrpilot_bench.store.schema import CRASHED

THINNED = 5  # of the points of a run whose course nobody looks at, one in so many is kept: records stay small


@dataclass(frozen=True)
class MeasuredRun:
    """What a run has left behind; by default nothing.

    Attributes:
        kept_steps: that it took.
        final: validation and test loss and score.
        compute: total ÷ a plain run.
        declared: passes that its method has declared.
        counted: passes that were counted.
        notes: of its method, as it left them.
        curve: of its training.
        weights: digest of what it trained, see :func:`weights_digest`.
    """

    kept_steps: int = 0
    final: Mapping[str, float | None] = field(
        default_factory=lambda: dict.fromkeys(("val_loss", "val_score", "test_loss", "test_score"))
    )
    compute: float = 0.0
    declared: Mapping[str, int] = field(default_factory=lambda: {"forwards": 0, "backwards": 0})
    counted: Mapping[str, int] = field(default_factory=lambda: {"forwards": 0, "backwards": 0})
    notes: Mapping[str, Any] = field(default_factory=dict)
    curve: Mapping[str, Any] = field(default_factory=lambda: Curve().to_dict())
    weights: str | None = None

    @classmethod
    def of(cls, session: Session, plan: Plan) -> "MeasuredRun":
        """What a session that has finished has measured; its test part is read here, once."""
        test_loss, test_score = session.test()
        return cls(
            kept_steps=session.kept_steps,
            final={
                "val_loss": compact(session.curve.val_loss[-1]),
                "val_score": compact(session.curve.val_score[-1]),
                "test_loss": compact(test_loss),
                "test_score": compact(test_score),
            },
            compute=session.compute / (3.0 * plan.steps),
            declared=session.declared.to_dict(),
            counted=session.counter.tally.to_dict(),
            notes=session.notes,
            curve=session.curve.to_dict(every=1 if plan.job.whole else THINNED),
            weights=weights_digest(session.model),
        )


def record_of(
    plan: Plan, status: str, measured: MeasuredRun, *, error: str | None = None, seconds: float, device: str
) -> dict[str, Any]:
    """The record of a run that is over, plain data that JSON can hold.

    Args:
        plan: of the run.
        status: how it ended: "finished", "diverged" or "crashed". Notes that are no plain data make a crash of it.
        measured: what it has left behind.
        error: what crashed, one line.
        seconds: wall time, without the benchmark's own evaluations.
        device: where it trained.
    """
    notes: dict[str, Any] = {}
    try:
        notes = plain(measured.notes)
    except TypeError as problem:
        status, error = CRASHED, str(problem)
    return {
        **plan.to_record(),
        "status": status,
        "error": error,
        "kept_steps": measured.kept_steps,
        "final": dict(measured.final),
        "compute": measured.compute,
        "declared": dict(measured.declared),
        "counted": dict(measured.counted),
        "notes": notes,
        "curve": dict(measured.curve),
        "weights": measured.weights,
        "seconds": round(seconds, 3),
        "machine": machine_facts(device),
        "code": __version__,
    }


def plain(value: Any) -> Any:
    """Notes as JSON holds them: non-finite numbers become None.

    Raises:
        TypeError: they are anything else than numbers, text, lists and mappings.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return finite(float(value))  # np.float64 is a float, and no other NumPy number is plain
    if value is None or isinstance(value, str | bool | int):
        return value
    raise TypeError(f"Notes must be plain data, got {type(value).__name__}. Turn it into numbers and text.")


def weights_digest(model: nn.Module) -> str:
    """16 hex digits of every parameter and buffer, bit for bit."""
    content = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        content.update(name.encode())
        content.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:16]
