"""A policy of one's own: hold the learning rate, and halve it whenever the loss has stopped falling.

python examples/own_policy.py                                    # scikit-learn's digits, a few seconds on one core
lrpilot simulate examples/own_policy.py:Plateau --set window=25  # on a noisy quadratic, without a model
lrpilot train examples/own_policy.py:training --policy examples/own_policy.py:Plateau --steps 1000

The policy needs one import of lrpilot. The rest of this file trains with it, beside the same lr held throughout.
"""

import math
from dataclasses import replace

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lrpilot import Schedule, Training, fit
from lrpilot.policy import (
    Action,
    Context,
    Done,
    Observation,
    Policy,
    Reason,
    Rule,
    Train,
    Trained,
    constant,
    is_between,
    is_whole,
    not_asked_for,
    record,
    require_each,
)

RULES = {
    "window": Rule("an int >= 1", lambda value: is_whole(value, 1), "The default is 50."),
    "patience": Rule("an int >= 1", lambda value: is_whole(value, 1), "The default is 3."),
    "factor": Rule("in (0, 1)", lambda value: is_between(value, 0, 1), "The default is 0.5."),
}


@record
class Held:
    """Where the training stands.

    Attributes:
        lr: natural units.
        left: optimizer steps left; None where the end is open.
        lowest: the lowest mean loss of a window so far.
        waited: windows since then.
    """

    lr: float
    left: int | None
    lowest: float = math.inf
    waited: int = 0


@record
class Plateau(Policy):
    """Halves the lr when some windows in a row brought no new lowest mean loss.

    Attributes:
        window: optimizer steps over which the loss is averaged.
        patience: windows without a new lowest mean.
        factor: what the lr is multiplied by then.
    """

    window: int = 50
    patience: int = 3
    factor: float = 0.5

    def __post_init__(self) -> None:
        require_each(self, RULES)

    def init(self, context: Context) -> Held:
        """Begin at the lr that the optimizer was built with."""
        return Held(context.lr, context.progress.remaining)

    def ask(self, state: Held) -> Action:
        """A window at the present lr."""
        if state.left == 0:
            return Done()
        steps = self.window if state.left is None else min(self.window, state.left)
        return Train(constant(state.lr), steps, observe_every=steps)

    def tell(self, state: Held, seen: Observation) -> Held:
        """Compare the mean loss of the window with the lowest so far."""
        if not isinstance(seen, Trained):
            raise not_asked_for(self.name, seen)
        state = replace(state, left=seen.progress.remaining)
        mean = mean_loss(seen)
        if mean < state.lowest:
            return replace(state, lowest=mean, waited=0)
        if state.waited + 1 < self.patience:
            return replace(state, waited=state.waited + 1)
        return replace(state, lr=state.lr * self.factor, waited=0)

    def explain(self, state: Held, seen: Observation, after: Held) -> Reason | None:
        """What logs say of it."""
        if after.lr == state.lr:
            return None
        return Reason("plateau", f"lr {state.lr:.3g} to {after.lr:.3g}: no mean loss below {state.lowest:.4g}")


def mean_loss(seen: Trained) -> float:
    """Of a window; where a loop gives no losses, a held-out loss has been read instead."""
    losses = seen.losses or (math.nan if seen.held_out is None else seen.held_out,)
    return sum(losses) / len(losses)


def loss_fn(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy of a batch, in nats; in training the pixels are jittered."""
    inputs, targets = batch
    if model.training:
        inputs = inputs + 0.3 * torch.randn_like(inputs)
    return nn.functional.cross_entropy(model(inputs), targets)


def training() -> Training:
    """scikit-learn's digits, a small MLP, and SGD at an lr that is good to begin with and too large to end with."""
    torch.manual_seed(0)
    images, targets = (torch.tensor(part) for part in load_digits(return_X_y=True))
    order = torch.randperm(len(images))
    images, targets = images[order].float() / 16, targets[order]
    loader = DataLoader(TensorDataset(images[:1400], targets[:1400]), batch_size=32, shuffle=True, drop_last=True)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    return Training(model, optimizer, loss_fn, loader, [(images[1400:], targets[1400:])])


def main() -> None:
    torch.set_num_threads(1)
    for title, policy in {"held": Schedule("constant"), "halved on a plateau": Plateau()}.items():
        flown = training()
        result = fit(flown, policy, total_steps=1500, progress=False)
        path = " ".join(f"{lr:.2g}" for lr in result.history.lrs[::150])
        print(f"{title:20} loss {flown.evaluate():.3f}  lr {path}")


if __name__ == "__main__":
    main()
