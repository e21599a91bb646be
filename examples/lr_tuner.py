"""LRTuner in a plain training loop, from a learning rate 30 times too small.

python examples/lr_tuner.py        # scikit-learn's digits, a few seconds on one core

While it explores it raises the lr wherever the loss along the last step asks for more; afterwards it takes it straight
to zero, or lowers it in steps as published. Five runs of one loop; only the policy differs.
"""

from dataclasses import replace

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lrpilot import LRTuner, Pilot, Schedule, Training
from lrpilot.core.policy import Policy

NUM_TRAIN = 1400  # of 1,797 images; the rest is for validation
BATCH_SIZE = 32
EPOCHS = 30
GOOD_LR = 0.03  # of SGD with momentum 0.9
TOO_SMALL = GOOD_LR / 30


def load() -> tuple[TensorDataset, TensorDataset]:
    """Training and validation images, pixels from 0 to 1, in an order of their own."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    inputs = torch.tensor(digits.data[order] / 16, dtype=torch.float32)
    targets = torch.tensor(digits.target[order])
    train, val = slice(None, NUM_TRAIN), slice(NUM_TRAIN, None)
    return TensorDataset(inputs[train], targets[train]), TensorDataset(inputs[val], targets[val])


def loss_fn(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy of a batch, in nats."""
    inputs, targets = batch
    return nn.functional.cross_entropy(model(inputs), targets)


def train(policy: Policy, lr: float) -> tuple[float, float, list[float], float]:
    """The loop. Returns validation loss and accuracy, the lr after each epoch, and the probes' cost in steps."""
    train_set, val_set = load()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    loader = DataLoader(train_set, BATCH_SIZE, shuffle=True, drop_last=True)

    training = Training(model, optimizer, loss_fn, loader)
    pilot = Pilot(training, policy, total_steps=EPOCHS * len(loader))
    lrs = []
    for _ in range(EPOCHS):
        for batch in loader:
            loss = loss_fn(model, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            pilot.step(loss)  # reads the loss along this step where a decision is due, and sets the next lr
        lrs.append(pilot.history.lrs[-1])

    inputs, targets = val_set.tensors
    with torch.no_grad():
        outputs = model(inputs)
    right = (outputs.argmax(1) == targets).float().mean()
    return float(nn.functional.cross_entropy(outputs, targets)), float(right), lrs, pilot.cost.steps


def main() -> None:
    torch.set_num_threads(1)
    runs = {
        "constant, good lr": (Schedule("constant"), GOOD_LR),
        "constant, 30 x too small": (Schedule("constant"), TOO_SMALL),
        "LRTuner, 30 x too small": (LRTuner(), TOO_SMALL),
        "... lowered in steps": (LRTuner(exploit="saturation"), TOO_SMALL),
        "published, 30 x too small": (replace(LRTuner.paper("mnist", epochs=EPOCHS), lr=None), TOO_SMALL),
    }
    for title, (policy, lr) in runs.items():
        loss, accuracy, lrs, cost = train(policy, lr)
        path = " ".join(f"{lr:.2g}" for lr in lrs[::4])
        print(f"{title:27} loss {loss:.3f}  accuracy {accuracy:6.1%}  lr {path}  (probes: {cost:.0f} steps)")


if __name__ == "__main__":
    main()
