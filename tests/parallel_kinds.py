"""The small training in every way of running on two ranks, and what each measures; prints a table of kinds and methods.

PYTHONPATH=src:tests python tests/parallel_kinds.py
"""

import logging
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lrpilot import AutoLRS, Autopilot, LRPilotError, LRTuner, Pilot, Training, WeightedFactors, find_lr, fit
from lrpilot.core.actions import Average, Evaluate, Line, Trial
from lrpilot.core.shape import constant
from lrpilot.training.measure.substrate import LiveSubstrate
from small_training import loss_fn, make_batches, make_model

WORLD = 2
BATCHES, HELD_OUT = 12, 3
ONE = "one process"
KINDS = ("DDP", "module inside DDP", "FSDP2", "FSDP2 root", "FSDP2 kept", "DTensor", "ZeRO", "FSDP1")


def joined(count: int, seed: int) -> list[tuple[Tensor, ...]]:
    """What all ranks together read, as batches of one process."""
    ranks = [make_batches(count, seed=seed + rank) for rank in range(WORLD)]
    return [tuple(map(torch.cat, zip(*batches, strict=True))) for batches in zip(*ranks, strict=True)]


class Case:
    """A training of one kind, and the model that a loop calls."""

    def __init__(self, kind: str, rank: int = 0, *, adam: bool = False, lr: float = 0.05, **options: Any) -> None:
        model = make_model()
        self.data = joined(BATCHES, 0) if kind in (ONE, "DTensor") else make_batches(BATCHES, seed=rank)
        held_out = joined(HELD_OUT, 10) if kind in (ONE, "DTensor") else make_batches(HELD_OUT, seed=10 + rank)
        self.model, self.called = wrapped(kind, model)
        settings: dict[str, Any] = {"lr": lr} if adam else {"lr": lr, "momentum": 0.9}
        make: Any = torch.optim.AdamW if adam else torch.optim.SGD
        if kind == "ZeRO":
            from torch.distributed.optim import ZeroRedundancyOptimizer

            settings, make = settings | {"optimizer_class": make}, ZeroRedundancyOptimizer
        self.optimizer = make(self.model.parameters(), **settings)
        options.setdefault("loss_fn", loss_fn)
        self.training = Training(
            self.model, self.optimizer, train_data=self.data, val_data=options.pop("val_data", held_out), **options
        )

    def loop(self, pilot: Pilot | None, steps: int, start: int = 0) -> None:
        for i in range(start, start + steps):
            loss = loss_fn(self.called, self.data[i % BATCHES])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if pilot is not None:
                pilot.step(loss)

    def weights(self) -> Tensor:
        """All of them, whole."""
        self.training.reshard()
        whole = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in self.model.parameters()]
        return torch.cat([p.detach().reshape(-1) for p in whole])


def wrapped(kind: str, model: nn.Sequential) -> tuple[nn.Module, nn.Module]:
    """What is handed to Training, and what the loop calls."""
    if kind in ("DDP", "ZeRO", "module inside DDP"):
        ddp = nn.parallel.DistributedDataParallel(model)
        return (model if kind == "module inside DDP" else ddp), ddp
    if kind.startswith("FSDP2"):
        from torch.distributed.fsdp import fully_shard

        kept = {"reshard_after_forward": False} if kind == "FSDP2 kept" else {}
        for layer in {"FSDP2": (0, 2), "FSDP2 root": (0,), "FSDP2 kept": (0, 2)}[kind]:
            fully_shard(model[layer], mesh=mesh(), **kept)
        return fully_shard(model, mesh=mesh(), **kept), model
    if kind == "DTensor":
        from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

        parallelize_module(model, mesh(), {"0": ColwiseParallel(), "2": RowwiseParallel()})
    if kind == "FSDP1":
        from torch.distributed.fsdp import FullyShardedDataParallel

        first = FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))
        return first, first
    return model, model


def mesh() -> Any:
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh("cpu", (WORLD,))


# ---------------------------------------------------------------- what is tried


def search(kind: str, rank: int) -> list[float]:
    case = Case(kind, rank)
    found = find_lr(case.training, target="constant", num_steps=4, progress=False)
    return [found.lr or 0.0, *found.losses]


def line(kind: str, rank: int) -> list[float]:
    """After a forward pass of the loop's own, which leaves gathered copies behind."""
    case = Case(kind, rank)
    substrate = LiveSubstrate(case.training)
    case.loop(None, 1)
    substrate.arm_line()
    substrate.before_kept_step()
    case.loop(None, 1, 1)
    substrate.after_kept_step()
    own_pass(case)
    return [loss for row in substrate.line(Line((0.0, 0.5, 1.0, 4.0), batches=2)) for loss in row]


def trials(kind: str, rank: int) -> list[float]:
    case = Case(kind, rank)
    substrate = LiveSubstrate(case.training)
    own_pass(case)
    averaged = substrate.trial(Trial(constant(0.3), 3, evaluate="average"))
    flown = Trial(constant(0.1), 3, evaluate="end", read_every=1, average=Average(0.9, 1.0), momentum=constant(0.0))
    seen = substrate.trial(flown)
    return [*averaged[0], averaged[1] or 0.0, *seen[0], seen[1] or 0.0, *seen.readings, substrate.evaluate(Evaluate())]


def own_pass(case: Case) -> None:
    with torch.no_grad():
        loss_fn(case.called, case.data[0])


def policy(make: Callable[[], Any], steps: int, **options: Any) -> Callable[[str, int], list[float]]:
    def fly(kind: str, rank: int) -> list[float]:
        case = Case(kind, rank, **options)
        pilot = Pilot(case.training, make(), total_steps=steps)
        pilot.start()
        case.loop(pilot, steps)
        return [*pilot.history.lrs, *case.weights().tolist()]

    return fly


def undisturbed(kind: str, rank: int) -> list[float]:
    """1 where a training with a search and an evaluation in its middle ends in the weights of one without, bitwise."""
    ends = []
    for measures in (False, True):
        case = Case(kind, rank, adam=True, lr=0.01)
        case.loop(None, 3)
        if measures:
            own_pass(case)
            find_lr(case.training, target="constant", num_steps=4, progress=False)
            case.training.evaluate()
        case.loop(None, 5, 3)
        ends.append(case.weights())
    return [float(torch.equal(*ends))]


class StopError(Exception):
    """Ends a fit."""


def resumed(kind: str, rank: int) -> list[float]:
    """1 for each policy whose fit, stopped in the middle and resumed, ends in the weights and lrs of a whole one."""

    def stop(pilot: Pilot, loss: Tensor) -> None:
        if pilot.last_epoch == 23:
            raise StopError

    same = []
    for make in (WeightedFactors, LRTuner, Autopilot):  # a Line, marks and an average are in what they save
        path = os.path.join(tempfile.mkdtemp(), "checkpoint.pt")
        options: dict[str, Any] = {"total_steps": 60, "progress": False}
        whole, first, second = (Case(kind, rank) for _ in range(3))
        expected = fit(whole.training, make(), **options)
        with suppress(StopError):
            fit(first.training, make(), checkpoint=path, on_step=stop, **options)
        result = fit(second.training, make(), checkpoint=path, resume=True, **options)
        equal = torch.equal(whole.weights(), second.weights()) and result.history.lrs == expected.history.lrs
        same.append(float(equal and result.pilot.last_epoch == 60))
    return same


METHODS: dict[str, Callable[[str, int], list[float]]] = {
    "find_lr": search,
    "Line": line,
    "Trial, Evaluate": trials,
    "LRTuner": policy(LRTuner, 40),
    "AutoLRS": policy(AutoLRS, 60),
    "WeightedFactors": policy(WeightedFactors, 30),
    "Autopilot": policy(Autopilot, 60, adam=True, lr=1e-3),
    "undisturbed": undisturbed,
    "resumed": resumed,
}


def tried(kind: str, rank: int = 0) -> dict[str, Any]:
    """What every method gives, or the refusal: the name of its error and its sentence."""
    results: dict[str, Any] = {}
    for name, method in METHODS.items():
        try:
            results[name] = method(kind, rank)
        except LRPilotError as error:
            results[name] = f"{type(error).__name__}: {error}"
    return results


def start(rank: int, rendezvous: str) -> None:
    """Be one of two ranks."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=WORLD, timeout=timedelta(seconds=60)
    )


def try_all(rank: int, folder: str) -> None:
    start(rank, f"{folder}/rendezvous")
    torch.save({kind: tried(kind, rank) for kind in KINDS}, f"{folder}/{rank}")
    dist.destroy_process_group()


def agrees(mine: list[float], reference: list[float]) -> bool:
    """Equal up to the rounding of sums over ranks, which steps amplify."""
    return len(mine) == len(reference) and all(
        abs(a - b) <= 2e-3 * abs(b) + 2e-4 for a, b in zip(mine, reference, strict=True)
    )


def print_table() -> None:
    folder = tempfile.mkdtemp()
    torch.multiprocessing.spawn(try_all, (folder,), nprocs=WORLD)
    reference = tried(ONE)
    seen = torch.load(f"{folder}/0", weights_only=True)
    width = max(map(len, KINDS)) + 2
    print("".ljust(width) + "".join(name.ljust(17) for name in METHODS))
    for kind, results in seen.items():
        cells = [
            got.split(":")[0]
            if isinstance(got, str)
            else "as one process"
            if agrees(got, reference[name])
            else "DIFFERS"
            for name, got in results.items()
        ]
        print(kind.ljust(width) + "".join(cell.ljust(17) for cell in cells))


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    sys.exit(print_table())
