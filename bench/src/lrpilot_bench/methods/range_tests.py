"""Range tests of other tools, from their own packages, used as their READMEs say.

Both take their steps on the session's own model and put its weights and buffers back. What else they put back
is looked at, not believed: ``not_restored`` in the record. Seen with torch 2.13: pytorch-lr-finder 0.2.2 leaves
torch's generators moved on, so that training goes on with other dropout masks than without the test; Lightning
2.6 puts them back.
"""

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from lrpilot_bench.methods.packages import quiet, require
from lrpilot_bench.methods.pick import Pick
from lrpilot_bench.methods.traces import Traces
from lrpilot_bench.session import Session

START_LR = 1e-7  # the README's choice for pytorch-lr-finder, which starts at the optimizer's lr


def pick_torch_lr_finder(session: Session) -> Pick:
    """pytorch-lr-finder: ``range_test`` up to lr 10 in 100 steps and the steepest point that ``plot`` suggests.

    Raises:
        MissingDependencyError: the package is not installed.
    """
    package = require("torch_lr_finder", "torch-lr-finder")
    traces = Traces(session)
    with quiet():
        finder = package.LRFinder(session.model, session.optimizer(START_LR), session.task.criterion)
        finder.range_test(_loader(session))
        lr, reason = _steepest(finder)
        finder.reset()
    return _pick(session, traces, lr, steps=len(finder.history["lr"]), reason=reason)


def _steepest(finder: Any) -> tuple[float | None, str | None]:
    """The suggestion, or why there is none. The package computes it inside of its plot."""
    figure = require("matplotlib.figure", "matplotlib").Figure()
    try:
        return float(finder.plot(ax=figure.subplots())[1]), None
    except RuntimeError as error:  # fewer points than it needs
        return None, f"pytorch-lr-finder gives no suggestion: {error}"


def pick_lightning(session: Session) -> Pick:
    """Lightning: ``Tuner(trainer).lr_find`` from 1e-8 to 1 in 100 steps, and its suggestion.

    Raises:
        MissingDependencyError: the package is not installed.
    """
    lightning = require("lightning.pytorch", "lightning")
    tuning = require("lightning.pytorch.tuner.tuning", "lightning")
    traces = Traces(session)
    with quiet(), _silent("lightning.pytorch"), tempfile.TemporaryDirectory() as scratch:
        trainer = lightning.Trainer(
            accelerator="cpu" if session.device.type == "cpu" else "gpu",
            devices=1 if session.device.type == "cpu" else [session.device.index or 0],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=scratch,
        )
        module = _module(lightning, session)
        finder = tuning.Tuner(trainer).lr_find(module, _loader(session), update_attr=False)
        lr = finder.suggestion()
    session.model.to(session.device)  # Lightning leaves it on the processor
    reason = None if lr is not None else "Lightning gives no suggestion: too few finite points."
    return _pick(session, traces, lr, steps=len(finder.results["lr"]), reason=reason)


def _module(lightning: Any, session: Session) -> Any:
    """The session's model, loss and optimizer as Lightning wants them."""

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = session.model

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return session.loss(batch)

        def configure_optimizers(self) -> Any:
            return session.optimizer(START_LR)  # the finder sets its own lrs

    return Module()


def _pick(session: Session, traces: Traces, lr: float | None, *, steps: int, reason: str | None) -> Pick:
    """Declare the steps, see what is left behind, and make the model ready for training."""
    paid = session.compute
    session.charge(steps * session.task.batch_size, forwards=1, backwards=1)  # loaders drop smaller batches
    not_restored = traces.left()
    session.model.train()
    return Pick(
        lr,
        session.compute - paid,
        {"steepest": lr},
        reason=reason,
        extra={"range_test_steps": steps, "not_restored": not_restored},
    )


def _loader(session: Session) -> Any:
    """The training data for the test, by a loader of its own: the training's order stays as it is."""
    return session.splits.train.loader(session.task.batch_size, seed=session.seed)


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    """A package's log lines inside are dropped: the handler keeps the stderr of its import."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
