"""The task of the walking skeleton, and one training loop for each environment it is flown in.

Run as a script it trains with checkpoints and can be killed: see test_skeleton.py.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lrpilot import Pilot, Training
from lrpilot.core.policy import Policy
from lrpilot.training.restore.rng import get_rng, set_rng
from skeleton_policy import Script

STEPS = 30
LR = 0.05
SCRIPT = Script()


def make_model() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)
    )  # fmt: skip


def make_data(batch_size: int = 16) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(11)
    inputs = torch.randn(160, 6, generator=generator)
    targets = inputs[:, :3].argmax(1)
    return [(inputs[i : i + batch_size], targets[i : i + batch_size]) for i in range(0, 160, batch_size)]


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    first, rest = list(model[0].parameters()), list(model[1:].parameters())
    groups = [{"params": first, "lr": LR}, {"params": rest, "lr": LR / 4}]
    return torch.optim.SGD(groups, lr=LR, momentum=0.9, dampening=0.1)


def loss_fn(model: nn.Module, batch: Any) -> Tensor:
    inputs, targets = batch
    return nn.functional.cross_entropy(model(inputs), targets)


@dataclass
class Flown:
    """What a loop did: the lrs set for every step, and the weights at the end."""

    lrs: list[float]
    weights: list[Tensor]


def fly(model: nn.Module, pilot: Pilot) -> Flown:
    return Flown(pilot.history.lrs, [p.detach().clone() for p in model.parameters()])


def cycle(data: list[Any]) -> Any:
    """The batch of every step, as plain epochs give it."""
    return lambda step: data[step % len(data)]


def plain_loop(policy: Policy = SCRIPT, steps: int = STEPS) -> Flown:
    model, data = make_model(), make_data()
    optimizer = make_optimizer(model)
    pilot = Pilot(Training(model, optimizer, loss_fn, data, data), policy, steps)
    torch.manual_seed(0)
    pilot.start()
    for step in range(steps):
        loss = loss_fn(model, cycle(data)(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pilot.step(loss)
    return fly(model, pilot)


def fit_loop(policy: Policy = SCRIPT, steps: int = STEPS) -> Flown:
    from lrpilot import fit

    model, data = make_model(), make_data()
    training = Training(model, make_optimizer(model), loss_fn, data, data)
    torch.manual_seed(0)
    result = fit(training, policy, total_steps=steps, progress=False)
    return fly(model, result.pilot)


class AccumulationStep:
    """Two half batches a step through a CPU GradScaler: its scaling is exact (powers of two)."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=7)

    def halves(self, batch: Any) -> list[Any]:
        inputs, targets = batch
        return list(zip(inputs.chunk(2), targets.chunk(2), strict=True))

    def __call__(self, batch: Any) -> Tensor:
        self.optimizer.zero_grad()
        total = torch.zeros(())
        for half in self.halves(batch):
            loss = loss_fn(self.model, half) / 2
            self.scaler.scale(loss).backward()
            total = total + loss.detach()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return total


def accumulation_loop(*, pilot_every_micro_batch: bool, overflow_at: int | None = None) -> Flown:
    """Gradient accumulation and a GradScaler, with pilot.step() called for every micro batch or every step."""
    model, data = make_model(), make_data()
    optimizer = make_optimizer(model)
    take = AccumulationStep(model, optimizer)
    training = Training(model, optimizer, loss_fn, data, data, step_fn=take, state={"scaler": take.scaler})
    pilot = Pilot(training, Script(), STEPS)
    torch.manual_seed(0)
    for step in range(STEPS):
        if step == overflow_at:
            skipped_step(model, optimizer, take.scaler, cycle(data)(step), pilot)
        optimizer.zero_grad()
        total = torch.zeros(())
        for half in take.halves(cycle(data)(step)):
            loss = loss_fn(model, half) / 2
            take.scaler.scale(loss).backward()
            total = total + loss.detach()
            if pilot_every_micro_batch:
                pilot.step(loss)  # no optimizer step yet: nothing may happen
        take.scaler.step(optimizer)
        take.scaler.update()
        pilot.step(total)
    return fly(model, pilot)


def skipped_step(model: nn.Module, optimizer: Any, scaler: Any, batch: Any, pilot: Pilot) -> None:
    """A step whose gradients overflow: the scaler skips it, and so must the pilot."""
    rng, buffers = get_rng(), [b.clone() for b in model.buffers()]
    optimizer.zero_grad()
    (scaler.scale(loss_fn(model, batch)) * float("inf")).backward()
    scaler.step(optimizer)
    scale = scaler.get_scale()
    scaler.update()
    assert scaler.get_scale() < scale
    scaler.update(scale)
    pilot.step(torch.tensor(float("nan")))
    set_rng(rng)
    for buffer, before in zip(model.buffers(), buffers, strict=True):
        buffer.copy_(before)


def accelerate_loop(policy: Policy = SCRIPT, steps: int = STEPS) -> Flown:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model, data = make_model(), make_data()
    model, optimizer = accelerator.prepare(model, make_optimizer(model))

    def step_fn(batch: Any) -> Tensor:
        optimizer.zero_grad()
        loss = loss_fn(model, batch)
        accelerator.backward(loss)
        optimizer.step()
        return loss

    training = Training(model, optimizer, loss_fn, data, data, step_fn=step_fn)
    pilot = Pilot(training, policy, steps)
    scheduler = accelerator.prepare(pilot)
    torch.manual_seed(0)
    pilot.start()
    for step in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(model, cycle(data)(step))
        accelerator.backward(loss)
        optimizer.step()
        scheduler.step(loss)
    return fly(accelerator.unwrap_model(model), pilot)


def lightning_loader() -> Any:
    """The data as a loader that draws from a generator of its own, so that an epoch shifts no dropout mask."""
    return torch.utils.data.DataLoader(make_data(), batch_size=None, generator=torch.Generator())


def lightning_loop(root: Path, policy: Policy = SCRIPT, steps: int = STEPS) -> Flown:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()
            self.automatic_optimization = False
            self.pilot: Pilot | None = None

        def configure_optimizers(self) -> Any:
            optimizer = make_optimizer(self.net)
            data = make_data()
            self.pilot = Pilot(Training(self.net, optimizer, loss_fn, data, data), policy, steps)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.pilot, "interval": "step"}}

        def on_train_start(self) -> None:
            torch.manual_seed(0)
            assert self.pilot is not None
            self.pilot.start()

        def training_step(self, batch: Any, index: int) -> None:
            optimizer, pilot = self.optimizers(), self.lr_schedulers()
            loss = loss_fn(self.net, batch)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            pilot.step(loss)

    module = Module()
    trainer = lightning.Trainer(
        max_steps=steps, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=root,
    )  # fmt: skip
    trainer.fit(module, lightning_loader())
    assert module.pilot is not None
    return fly(module.net, module.pilot)


def lightning_automatic_loop(root: Path) -> Flown:
    """Lightning steps the scheduler itself and hands it the monitored loss."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()
            self.pilot: Pilot | None = None

        def configure_optimizers(self) -> Any:
            optimizer, data = make_optimizer(self.net), make_data()
            self.pilot = Pilot(Training(self.net, optimizer, loss_fn, data, data), Script(), STEPS)
            scheduler = {"scheduler": self.pilot, "interval": "step", "monitor": "loss", "reduce_on_plateau": True}
            return {"optimizer": optimizer, "lr_scheduler": scheduler}

        def on_train_start(self) -> None:
            torch.manual_seed(0)

        def training_step(self, batch: Any, index: int) -> Tensor:
            loss = loss_fn(self.net, batch)
            self.log("loss", loss)
            return loss

    module = Module()
    trainer = lightning.Trainer(
        max_steps=STEPS, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=root,
    )  # fmt: skip
    trainer.fit(module, lightning_loader())
    assert module.pilot is not None
    return fly(module.net, module.pilot)


def rank_loop(
    rank: int, world: int, rendezvous: str, results: str, policy: Policy = SCRIPT, steps: int = STEPS
) -> None:
    """One rank of a DistributedDataParallel run over gloo; both ranks see the same batches."""
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    model, data = make_model(), make_data()
    optimizer = make_optimizer(model)
    wrapped = DistributedDataParallel(model)
    pilot = Pilot(Training(wrapped, optimizer, loss_fn, data, data), policy, steps)
    torch.manual_seed(0)
    pilot.start()
    for step in range(steps):
        loss = loss_fn(wrapped, cycle(data)(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pilot.step(loss)
    flown = fly(model, pilot)
    torch.save({"lrs": flown.lrs, "weights": flown.weights}, f"{results}.{rank}")
    dist.destroy_process_group()


def killable_loop(checkpoint: Path, kill_at: str, policy: Policy = SCRIPT, steps: int = STEPS) -> None:
    """A plain loop that saves after every step, dies at an event, and resumes from the file when run again.

    Args:
        checkpoint: the file; its existence means resume.
        kill_at: "ACTION:N": SIGKILL at the beginning of the N-th ACTION measurement; "" never dies.
            "step:N": SIGKILL before step N, between two steps.
        policy: what is flown.
        steps: of the training.
    """
    torch.set_num_threads(1)
    model, data = make_model(), make_data()
    optimizer = make_optimizer(model)
    kind, _, number = kill_at.partition(":")
    seen = 0

    def on_event(event: Any) -> None:
        nonlocal seen
        if event.phase == "begin" and type(event.action).__name__ == kind:
            seen += 1
            if seen == int(number):
                os.kill(os.getpid(), 9)

    pilot = Pilot(Training(model, optimizer, loss_fn, data, data), policy, steps, on_event)
    torch.manual_seed(0)
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        pilot.load_state_dict(state["pilot"])
        set_rng(state["rng"])
        start = state["step"]
    pilot.start()
    for step in range(start, steps):
        if kind == "step" and step == int(number):
            os.kill(os.getpid(), 9)
        loss = loss_fn(model, cycle(data)(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pilot.step(loss)
        save(checkpoint, model, optimizer, pilot, step + 1)
    flown = fly(model, pilot)
    torch.save({"lrs": flown.lrs, "weights": flown.weights}, checkpoint.with_suffix(".done"))


def save(checkpoint: Path, model: nn.Module, optimizer: Any, pilot: Pilot, step: int) -> None:
    state = {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(), "pilot": pilot.state_dict(),
        "rng": get_rng(), "step": step,
    }  # fmt: skip
    torch.save(state, checkpoint.with_suffix(".new"))
    os.replace(checkpoint.with_suffix(".new"), checkpoint)
