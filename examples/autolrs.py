"""AutoLRS in a plain training loop, from learning rates 30 times too small and 30 times too large.

python examples/autolrs.py        # scikit-learn's digits, a few seconds on one core

Before a stage it tries learning rates: from the weights as they are it trains a little with each, inside
`pilot.step()`, and puts everything back. The loop sees its own steps alone. Seven runs of one loop; only the policy
and the optimizer's lr differ.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lrpilot import AutoLRS, Pilot, Schedule, Training
from lrpilot.core.policy import Policy

NUM_TRAIN = 1400  # of 1,797 images; the rest is for validation
BATCH_SIZE = 32
EPOCHS = 23  # 989 steps
NOISE = 0.7  # deviation of what is added to pixels in training
GOOD_LR = 0.03  # of SGD with momentum 0.9, held


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
    if model.training:
        inputs = inputs + NOISE * torch.randn_like(inputs)
    return nn.functional.cross_entropy(model(inputs), targets)


def train(policy: Policy, lr: float) -> tuple[float, list[float], float]:
    """The loop. Returns the validation loss, the lr after each epoch, and the searches' cost in steps."""
    train_set, val_set = load()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    loader = DataLoader(train_set, BATCH_SIZE, shuffle=True, drop_last=True)

    training = Training(model, optimizer, loss_fn, loader, DataLoader(val_set, 397))
    pilot = Pilot(training, policy, total_steps=EPOCHS * len(loader))
    pilot.start()  # searches now; without it the first step is taken at a negligible lr
    lrs = []
    for _ in range(EPOCHS):
        for batch in loader:
            loss = loss_fn(model, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            pilot.step(loss)  # searches where a stage begins, and sets the next lr
        lrs.append(pilot.history.lrs[-1])
    return training.evaluate(), lrs, pilot.cost.steps


def main() -> None:
    torch.set_num_threads(1)
    published = AutoLRS.paper(1e-3, 0.1, tau=1 / 15, max_tau=8 / 15)
    runs = {
        "constant, good lr": (Schedule("constant"), GOOD_LR),
        "constant, 30 x too small": (Schedule("constant"), GOOD_LR / 30),
        "constant, 30 x too large": (Schedule("constant"), GOOD_LR * 30),
        "AutoLRS, from the good lr": (AutoLRS(), GOOD_LR),
        "AutoLRS, 30 x too small": (AutoLRS(), GOOD_LR / 30),
        "AutoLRS, 30 x too large": (AutoLRS(), GOOD_LR * 30),
        "published, given [1e-3, 0.1]": (published, GOOD_LR),
    }
    for title, (policy, lr) in runs.items():
        loss, lrs, cost = train(policy, lr)
        path = " ".join(f"{lr:.2g}" for lr in lrs[::3])
        print(f"{title:29} loss {loss:.3f}  lr {path}  (probes: {cost:.0f} steps)")


if __name__ == "__main__":
    main()
