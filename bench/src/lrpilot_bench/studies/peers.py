"""What other tools pick on the example task, each at its documented defaults.

pytorch-lr-finder and Lightning run from their own packages. fastai's "valley" is a rewrite, see
:mod:`lrpilot_bench.methods.valley`.

    python -m lrpilot_bench.studies.peers            # about a minute on one core; resumes
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from lrpilot_bench.methods.valley import END_LR, NUM_STEPS, START_LR, fastai_diverged, valley_of_range_test
from lrpilot_bench.store.records import Job, run_missing
from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.studies.fashion_tasks import CONFIGS, SEEDS, Config, example

PEERS_FILE = RECORDS / "fashion_peers.jsonl"


@dataclass(frozen=True)
class Pick:
    """What a tool suggests.

    Attributes:
        lr: natural units; None where the tool gives no suggestion.
        steps: optimizer steps it took.
        reason: why there is no lr, in words.
    """

    lr: float | None
    steps: int
    reason: str | None = None


# ------------------------------------------------------------------ fastai's valley, anew


def pick_fastai_valley(config: Config, seed: int) -> Pick:
    """An exponential range test, then its valley."""
    model = example.make_model(batch_norm=config.batch_norm, seed=seed)
    optimizer = example.make_optimizer(config.optimizer, model, START_LR)
    lrs: list[float] = []
    losses: list[float] = []
    for step, batch in zip(range(NUM_STEPS), _endless(seed), strict=False):
        lrs.append(START_LR * (END_LR / START_LR) ** (step / NUM_STEPS))
        for group in optimizer.param_groups:
            group["lr"] = lrs[-1]
        loss = example.loss_fn(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if fastai_diverged(losses):
            break
    lr = valley_of_range_test(lrs, losses)
    return Pick(lr, len(losses), None if lr is not None else "too few points")


def _endless(seed: int) -> Iterator[Any]:
    loader = example.train_loader(seed)
    while True:
        yield from loader


# ------------------------------------------------------------------ peers from their own packages


def pick_torch_lr_finder(config: Config, seed: int) -> Pick:
    """pytorch-lr-finder: ``range_test`` and the steepest point that its ``plot`` suggests."""
    import matplotlib

    matplotlib.use("Agg")  # plot() is where this package computes its suggestion
    from matplotlib import pyplot
    from torch_lr_finder import LRFinder

    model = example.make_model(batch_norm=config.batch_norm, seed=seed)
    optimizer = example.make_optimizer(config.optimizer, model, START_LR)  # it starts at the optimizer's lr
    loader = example.train_loader(seed)
    with _quiet():
        finder = LRFinder(model, optimizer, torch.nn.CrossEntropyLoss())
        finder.range_test(loader)
        _, axes = pyplot.subplots()
        try:
            _, lr = finder.plot(ax=axes)
        except RuntimeError as error:  # fewer points than it needs
            return Pick(None, len(finder.history["lr"]), str(error))
        finally:
            pyplot.close()
    return Pick(float(lr), len(finder.history["lr"]))


def pick_lightning(config: Config, seed: int) -> Pick:
    """Lightning: ``Tuner(trainer).lr_find`` and its suggestion."""
    from lightning.pytorch import Trainer
    from lightning.pytorch.tuner.tuning import Tuner

    model = example.make_model(batch_norm=config.batch_norm, seed=seed)
    loader = example.train_loader(seed)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as scratch, _quiet():
        warnings.simplefilter("ignore")  # about workers and missing loggers
        trainer = Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=scratch,
        )
        finder = Tuner(trainer).lr_find(_lightning_module(model, config.optimizer), loader, update_attr=False)
    assert finder is not None  # only under fast_dev_run
    lr = finder.suggestion()
    return Pick(lr, len(finder.results["lr"]), None if lr is not None else "too few finite points")


def _lightning_module(model: torch.nn.Module, optimizer: str) -> Any:
    from lightning.pytorch import LightningModule

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss: torch.Tensor = example.loss_fn(self.model, batch)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            made: torch.optim.Optimizer = example.make_optimizer(optimizer, self.model, 1e-3)  # it sets its own lrs
            return made

    return Module()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, prints, or log lines: these packages have no switch for all of them."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


PEERS: dict[str, Callable[[Config, int], Pick]] = {
    "pytorch-lr-finder (steepest)": pick_torch_lr_finder,
    "Lightning lr_find": pick_lightning,
    "fastai valley (rewritten)": pick_fastai_valley,
}


# ------------------------------------------------------------------ records


def jobs() -> list[dict[str, Any]]:
    """Every peer on every configuration and seed."""
    return [
        {"config": config, "peer": peer, "seed": seed, "train_images": example.NUM_TRAIN}
        for config in CONFIGS
        for peer in PEERS
        for seed in SEEDS
    ]


def run(job: Job) -> dict[str, Any]:
    """One peer once."""
    picked = PEERS[job["peer"]](CONFIGS[job["config"]], job["seed"])
    return {"lr": picked.lr, "cost_in_steps": picked.steps, "reason": picked.reason}


def main() -> None:
    """Run what is missing."""
    torch.set_num_threads(1)
    run_missing(PEERS_FILE, jobs(), run, say=lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
