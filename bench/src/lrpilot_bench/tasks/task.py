"""What a benchmark task is: data, model, optimizer families, loss, score and a budget, all fixed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lrpilot.errors import SettingError
from lrpilot_bench.data.splits import Splits
from lrpilot_bench.store.schema import family_of

IGNORED = -100  # a target that neither loss nor score counts (padding), as in torch's cross entropy

Kind = Literal["sgd", "adamw", "plain_sgd", "adam"]


@dataclass(frozen=True)
class OptimizerFamily:
    """The optimizer that a task is trained with, and the grid of its oracle.

    Attributes:
        kind: "sgd" (with momentum) or "adamw"; of experiments also "plain_sgd" (without) and "adam".
        oracle_lrs: 11 peak lrs, ascending, neighbours at most a factor 2.2 apart; the best one must
            turn out to lie strictly inside.
        default: name of the method that a user who does nothing about the lr gets.
        weight_decay: of the optimizer.
        momentum: of SGD.
    """

    kind: Kind
    oracle_lrs: tuple[float, ...]
    default: str
    weight_decay: float = 0.0
    momentum: float = 0.9

    def __post_init__(self) -> None:
        ratios = [b / a for a, b in zip(self.oracle_lrs, self.oracle_lrs[1:], strict=False)]
        if len(self.oracle_lrs) != 11 or not all(1 < ratio <= 2.2 for ratio in ratios):
            raise SettingError(
                "An oracle grid must hold 11 ascending lrs, each at most 2.2 times the one before, "
                f"got {self.oracle_lrs}."
            )

    def make(self, parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        """The optimizer at an lr."""
        match self.kind:
            case "sgd":
                return torch.optim.SGD(parameters, lr=lr, momentum=self.momentum, weight_decay=self.weight_decay)
            case "plain_sgd":
                return torch.optim.SGD(parameters, lr=lr, weight_decay=self.weight_decay)
            case "adam":
                return torch.optim.Adam(parameters, lr=lr, weight_decay=self.weight_decay)
            case "adamw":
                return torch.optim.AdamW(parameters, lr=lr, weight_decay=self.weight_decay)


def lr_grid(middle: float, factor: float = 2.0) -> tuple[float, ...]:
    """11 lrs around ``middle``, neighbours a ``factor`` apart, rounded to three digits."""
    return tuple(float(f"{middle * factor**k:.3g}") for k in range(-5, 6))


@dataclass(frozen=True)
class Task:
    """One training problem on real data, frozen by the commit that first records its oracle.

    Every task is ``criterion(model(inputs), targets)`` on batches of two tensors, so that every peer can
    be run on it. What decides a run stands in the task's own file, whose content identifies its runs.

    Attributes:
        name: short, unique, as typed in a terminal.
        title: one line: data, model, batch size.
        module: ``__name__`` of the task's file.
        load: the data in three parts; inputs and targets are tensors with samples first. Called once a
            process. Raises MissingDependencyError, with the remedy, where a file is missing.
        make_model: a fresh model, its weights drawn from torch's global generator.
        criterion: (outputs, targets) -> scalar tensor, the mean over what counts.
        score: (outputs, targets) -> tensor with one number for each thing that counts (1 where right, 0
            where wrong; a squared error); reported as its mean.
        score_name: what the score is ("accuracy"); ``score_better`` says which way is better.
        steps: optimizer steps of a plain run.
        batch_size: training samples of a step.
        families: optimizer families; the first is what a plain bench runs.
        handmade: kind of the schedule that people write by hand for such a task.
        handmade_lr: the lr that they write into it; None for the tutorials' (0.1 for SGD, 1e-3 for AdamW).
        eval_batch_size: samples of an evaluation's forward pass.
        score_better: "higher" or "lower".
        packages: importable packages that it needs beside lrpilot's own.
        pretrained: whether it begins from trained weights (fine-tuning); a stratum of the split, and part of no run.
        large: made for a GPU; left out unless asked for.
        smoke: for the smoke run alone, and for trying things out; left out unless named, so that what was
            chosen while looking at it is not judged by it.
        experiment: belongs to an experiment of one method, whose suite names it; left out of all others.
        remark: what the task is in the set for.
    """

    name: str
    title: str
    module: str
    load: Callable[[], Splits]
    make_model: Callable[[], nn.Module]
    criterion: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor], Tensor]
    steps: int
    batch_size: int
    families: tuple[OptimizerFamily, ...]
    score_name: str = "accuracy"
    score_better: Literal["higher", "lower"] = "higher"
    handmade: str = "cosine"
    handmade_lr: float | None = None
    eval_batch_size: int = 256
    packages: tuple[str, ...] = ()
    pretrained: bool = False
    large: bool = False
    smoke: bool = False
    experiment: bool = False
    remark: str = ""

    def family(self, kind: str | None = None) -> OptimizerFamily:
        """The family of that kind; the first where none is named.

        Raises:
            SettingError: the task has no such family.
        """
        return family_of(self.name, self.families, kind)

    def loss_fn(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Mean loss of a batch, as :class:`lrpilot.Training` takes it."""
        inputs, targets = batch
        return self.criterion(model(inputs), targets)


def counted(targets: Tensor) -> int:
    """How many things of a batch the loss is a mean over."""
    return int((targets != IGNORED).sum()) if targets.dtype == torch.int64 else targets.numel()


def class_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 where the most likely class is right, else 0, for every target that counts.

    Args:
        outputs: n x ... x classes.
        targets: int64 class numbers, n x ...
    """
    kept = targets != IGNORED
    return (outputs.argmax(-1)[kept] == targets[kept]).float()


def class_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy in nats, the mean over the targets that count; shapes as for :func:`class_accuracy`."""
    return nn.functional.cross_entropy(outputs.flatten(0, -2), targets.flatten(), ignore_index=IGNORED)
