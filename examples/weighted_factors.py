"""Loss-weighted factors in a plain training loop, started at a learning rate 200 times too large.

    python examples/weighted_factors.py        # scikit-learn's digits, a few seconds on one core

The paper ("Automated learning rate scheduling with in-training information") reports that its method does not
recover from such a start. Here the same loop is run four times; only the policy and the first lr differ.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lrpilot import Pilot, Schedule, Training, WeightedFactors
from lrpilot.core.policy import Policy

NUM_TRAIN = 1400  # of 1,797 images; the rest is for validation
BATCH_SIZE = 32  # images, as in the paper
EPOCHS = 20
GOOD_LR = 0.1  # of plain SGD, a textbook value; held, it ends near 97 % here
TOO_LARGE = 200  # times that, as in the paper's experiment


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


def train(policy: Policy | None, lr: float) -> tuple[float, list[float], float]:
    """The loop. Returns the share of right answers, the lr of each epoch's last step, and the probes' cost in steps."""
    train_set, val_set = load()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    loader = DataLoader(train_set, BATCH_SIZE, shuffle=True, drop_last=True)

    training = Training(model, optimizer, loss_fn, loader)
    pilot = Pilot(training, policy or Schedule("constant"), total_steps=EPOCHS * len(loader))
    pilot.start()  # marks the weights, so that the very first step can be taken back
    lrs = []
    for _ in range(EPOCHS):
        for batch in loader:
            loss = loss_fn(model, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            pilot.step(loss)
        lrs.append(pilot.history.lrs[-1])

    inputs, targets = val_set.tensors
    with torch.no_grad():
        right = (model(inputs).argmax(1) == targets).float().mean()
    return float(right), lrs, pilot.cost.steps


def main() -> None:
    torch.set_num_threads(1)
    epoch = NUM_TRAIN // BATCH_SIZE  # steps: one decision an epoch, as the paper takes them
    runs = {
        "constant, good lr": (None, GOOD_LR),
        "constant, 200 x too large": (None, TOO_LARGE * GOOD_LR),
        "paper's setting, 200 x": (WeightedFactors.paper(window=epoch), TOO_LARGE * GOOD_LR),
        "default, 200 x": (WeightedFactors(window=epoch), TOO_LARGE * GOOD_LR),
    }
    for title, (policy, lr) in runs.items():
        accuracy, lrs, cost = train(policy, lr)
        path = " ".join(f"{lr:.2g}" for lr in lrs[::3])
        print(f"{title:26} accuracy {accuracy:6.1%}   lr {path}   (probes: {cost:.0f} steps)")


if __name__ == "__main__":
    main()
