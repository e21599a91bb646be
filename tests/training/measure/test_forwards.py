"""Forward passes of a probe change nothing, and BatchNorm is judged by statistics that fit its weights."""

import signal
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrpilot.core.actions import Evaluate, Line, Trial
from lrpilot.core.shape import constant
from lrpilot.errors import LossError
from lrpilot.training.measure import forwards
from lrpilot.training.measure.evaluations import (
    BATCH_NORM_BATCHES,
    batch_norms_in_training,
    losses_of,
    mean_loss,
    reestimate_batch_norm,
)
from lrpilot.training.measure.forwards import pure_forward, pure_forwards
from lrpilot.training.measure.substrate import LiveSubstrate
from small_training import (
    assert_equal,
    everything,
    loop_step,
    loss_fn,
    make_batches,
    make_model,
    make_samples,
    make_training,
    untouched,
)


class Stateful(nn.Module):
    """Counts its calls and carries a hidden state over, by assignment and in place."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = make_model(dropout=0.5)
        self.calls = 0
        self.hidden: Tensor | None = None
        self.trace = torch.zeros(4)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.hidden = x.mean(0)
        self.trace += x.detach().mean(0)
        return self.inner(x) + self.hidden.sum() * 0


def old_spectral_norm() -> nn.Module:
    return nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 8)), nn.Tanh(), nn.Linear(8, 3))


def new_spectral_norm() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 8)), nn.Tanh(), nn.Linear(8, 3))


def norm(**options: Any) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, **options), nn.Tanh(), nn.Linear(8, 3))


def frozen_norm() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    model[1].eval()
    return model


MODELS = {
    "dropout": lambda: make_model(dropout=0.5),
    "batch_norm": norm,
    "cumulative_batch_norm": lambda: norm(momentum=None),
    "untracked_batch_norm": lambda: norm(track_running_stats=False),
    "frozen_batch_norm": frozen_norm,
    "old_spectral_norm": old_spectral_norm,
    "new_spectral_norm": new_spectral_norm,
    "stateful": Stateful,
}


def attributes(model: nn.Module) -> Any:
    return [
        {k: v.clone() if isinstance(v, Tensor) else v for k, v in vars(m).items() if k in ("calls", "hidden", "trace")}
        for m in model.modules()
    ]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_forward_passes_leave_no_trace(name: str, mode: str) -> None:
    model = MODELS[name]()
    loss_fn(model, make_batches()[0]).backward()
    getattr(model, mode)()
    before = everything(model), attributes(model)
    with pure_forward(model, 3):
        model.train()
        for batch in make_batches(3):
            assert not loss_fn(model, batch).requires_grad
        model.eval()
    assert_equal((everything(model), attributes(model)), before)


@pytest.mark.parametrize("name", MODELS)
def test_every_pass_begins_where_the_first_did(name: str) -> None:
    model = MODELS[name]()
    batches = make_batches(3)

    def alone(seed: int, batch: Any) -> float:
        with pure_forward(model, seed):
            return loss_fn(model, batch).item()

    expected = [alone(seed, batch) for seed, batch in enumerate(batches)]
    before = everything(model), attributes(model)
    with pure_forwards(model) as begin:
        for _ in range(2):
            for seed, batch in enumerate(batches):
                begin(seed)
                assert_equal(attributes(model), before[1])
                assert loss_fn(model, batch).item() == expected[seed]
    assert_equal((everything(model), attributes(model)), before)


@pytest.mark.parametrize("name", MODELS)
def test_an_evaluation_leaves_no_trace_even_if_it_fails(name: str) -> None:
    model = MODELS[name]()
    calls = 0

    def failing(model: Any, batch: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == fail_at:
            raise KeyboardInterrupt
        return loss_fn(model, batch)

    training = make_training(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), loss_fn=failing, val=make_batches(2, seed=4)
    )
    for fail_at in (0, 1, 3, 7, 8):
        calls = 0
        before = everything(model), attributes(model), [getattr(m, "momentum", None) for m in model.modules()]
        try:
            LiveSubstrate(training).evaluate(Evaluate(reestimate=True))
        except KeyboardInterrupt:
            assert fail_at
        after = everything(model), attributes(model), [getattr(m, "momentum", None) for m in model.modules()]
        assert_equal(after, before)


def test_dropout_masks_are_the_same_for_every_candidate() -> None:
    model = make_model(dropout=0.5)
    batch = make_batches()[0]

    def read(seed: int) -> float:
        with pure_forward(model, seed):
            return loss_fn(model, batch).item()

    assert read(1) == read(1) != read(2)
    torch.rand(5)
    assert read(1) == read(1)


def test_ctrl_c_in_the_middle_of_the_restore_waits_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    model = norm()
    restore = forwards.ModuleState.restore

    def interrupted(self: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        restore(self)

    monkeypatch.setattr(forwards.ModuleState, "restore", interrupted)
    with untouched(model), pytest.raises(KeyboardInterrupt), pure_forward(model, 0):
        loss_fn(model, make_batches()[0])


class Rebinding(nn.Module):
    """Puts new lists, dicts, tuples and generators in the place of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = make_model()
        self.lists, self.dicts, self.tuples = [1], {"a": [2]}, (3, (4.0, None))
        self.generator = torch.Generator().manual_seed(1)

    def forward(self, x: Tensor) -> Tensor:
        self.lists, self.dicts = [*self.lists, 1], {"a": [*self.dicts["a"], 2]}
        self.tuples = (*self.tuples, 5)
        self.generator = torch.Generator().manual_seed(2)
        return self.inner(x)


def test_what_a_forward_pass_puts_in_place_of_a_list_is_taken_back() -> None:
    model = Rebinding()
    held = model.lists, model.dicts, model.tuples, model.generator
    with pure_forward(model, 0):
        loss_fn(model, make_batches()[0])
        assert model.lists == [1, 1]
    assert all(
        now is was for now, was in zip((model.lists, model.dicts, model.tuples, model.generator), held, strict=True)
    )
    assert (model.lists, model.dicts, model.tuples) == ([1], {"a": [2]}, (3, (4.0, None)))


class OddBuffers(nn.Module):
    """Buffers of every kind, changed in every way."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = make_model(batch_norm=True)
        self.register_buffer("sparse", torch.eye(3).to_sparse())
        self.register_buffer("resized", torch.ones(2))
        self.register_buffer("swapped", torch.ones(2))
        self.register_buffer("empty", None)

    def forward(self, x: Tensor) -> Tensor:
        self.sparse.mul_(3)
        self.resized.resize_(5).fill_(7.0)
        self.swapped.data = torch.zeros(3)
        self.empty = torch.ones(1)
        self.register_buffer("born", torch.ones(1))
        return self.inner(x)


def test_odd_buffers_are_put_back() -> None:
    model = OddBuffers()
    identity = {name: id(buffer) for name, buffer in model.named_buffers()}
    with pure_forwards(model) as begin:
        for _ in range(3):
            begin(0)
            assert "born" not in model._buffers and model.empty is None
            loss_fn(model, make_batches()[0])
    assert torch.equal(model.sparse.to_dense(), torch.eye(3)) and id(model.sparse) == identity["sparse"]
    assert torch.equal(model.resized, torch.ones(2)) and torch.equal(model.swapped, torch.ones(2))
    assert dict(model.named_buffers()).keys() == identity.keys()
    norms = {k: v for k, v in model.named_buffers() if "inner" in k}
    assert {k: id(v) for k, v in norms.items()} == {k: v for k, v in identity.items() if "inner" in k}
    assert all(not v.any() for k, v in norms.items() if "mean" in k or "tracked" in k)


# ------------------------------------------------------------------- means


def test_weighted_mean_over_uneven_batches_equals_one_big_batch() -> None:
    model = make_model()
    inputs, targets = make_samples(29)
    uneven = list(zip(inputs.split([8, 8, 8, 5]), targets.split([8, 8, 8, 5]), strict=True))
    whole = loss_fn(model, (inputs, targets)).item()
    training = make_training(model=model, val=uneven)
    assert training.evaluate() == pytest.approx(whole, rel=1e-6)
    plain = sum(loss_fn(model, b).item() for b in uneven) / 4
    assert abs(plain - whole) > 1e-4, "an unweighted mean would have been seen"


def test_mean_loss_by_hand() -> None:
    batches = [[1.0, 2.0, 3.0], [10.0]]
    losses, samples = losses_of(batches, lambda b: torch.tensor(b).mean(), len)
    value = mean_loss(losses, samples)
    assert samples == [3, 1] and value == 4.0


def test_a_loss_that_is_not_finite_is_told() -> None:
    training = make_training(loss_fn=lambda model, batch: loss_fn(model, batch) * float("inf"))
    assert training.evaluate() == float("inf")


# --------------------------------------------------------------- BatchNorm


def reference_statistics(model: nn.Module, layer: nn.BatchNorm1d, batches: list[Any]) -> tuple[Tensor, Tensor]:
    """Mean of the batch means and of the unbiased batch variances of what goes into the layer, by hand."""
    inputs: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach().clone()))
    with pure_forward(model, 0):
        for batch in batches:
            model(batch[0])
    handle.remove()
    means = torch.stack([x.mean(0) for x in inputs])
    variances = torch.stack([((x - x.mean(0)) ** 2).sum(0) / (len(x) - 1) for x in inputs])
    return means.mean(0), variances.mean(0)


@pytest.mark.parametrize("momentum", [0.1, 0.9, None])
def test_reestimated_statistics_equal_those_by_hand(momentum: float | None) -> None:
    model = norm(momentum=momentum)
    batches = make_batches(5)
    expected = reference_statistics(model, model[1], batches)
    model[1].running_mean.fill_(50.0)
    reestimate_batch_norm(model, batches, lambda batch: loss_fn(model, batch))
    torch.testing.assert_close((model[1].running_mean, model[1].running_var), expected)
    assert model[1].momentum == momentum and model.training


def test_frozen_batch_norm_stays_frozen_in_mode_and_statistics() -> None:
    model = frozen_norm()
    model[1].running_mean.fill_(0.25)
    batches = make_batches(4)
    expected = reference_statistics(model, model[2], batches)
    assert batch_norms_in_training(model) == [model[2]]
    reestimate_batch_norm(model, batches, lambda batch: loss_fn(model, batch))
    assert not model[1].training and model[2].training
    assert model[1].running_mean.tolist() == [0.25] * 8 and model[1].num_batches_tracked == 0
    torch.testing.assert_close((model[2].running_mean, model[2].running_var), expected)


def test_a_frozen_layer_is_frozen_in_every_pass_of_a_trial() -> None:
    model = frozen_norm()
    seen: list[tuple[bool, bool, float]] = []

    def noting(model: Any, batch: Any) -> Tensor:
        seen.append((model.training, model[1].training, model[1].running_mean.sum().item()))
        return loss_fn(model, batch)

    training = make_training(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), loss_fn=noting, val=make_batches(2)
    )
    LiveSubstrate(training).trial(Trial(constant(0.1), 2, evaluate="end"))
    assert {s[1:] for s in seen} == {(False, 0.0)} and {s[0] for s in seen} == {True, False}


def test_untracked_batch_norm_is_left_alone() -> None:
    model = norm(track_running_stats=False)
    assert batch_norms_in_training(model) == []
    training = make_training(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    substrate = LiveSubstrate(training)
    substrate.evaluate(Evaluate(reestimate=True))
    assert substrate.cost.forwards == 3, "no pass is spent on statistics that nobody keeps"


def test_a_trial_is_judged_with_statistics_of_its_own_weights() -> None:
    """Two steps at a large lr: by the running statistics the loss would be that of the lag."""
    model = norm(momentum=0.01)
    train, val = make_batches(10), make_batches(3, seed=5)
    training = make_training(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.5), data=train, val=val)
    _, judged, _, _ = LiveSubstrate(training).trial(Trial(constant(0.5), 2, evaluate="end"))
    for batch in train[:2]:
        loop_step(training, batch)
    lagging = training.evaluate()
    cycled = (train * 2)[:BATCH_NORM_BATCHES]
    mean, variance = reference_statistics(model, model[1], cycled)
    model[1].running_mean.copy_(mean), model[1].running_var.copy_(variance)
    assert judged == pytest.approx(training.evaluate(), rel=1e-5)
    assert abs(judged - lagging) > 0.05


def test_a_model_handed_over_in_eval_mode_is_trained_in_train_mode_and_handed_back() -> None:
    model = make_model(dropout=0.5, batch_norm=True)
    model.eval()
    modes: list[bool] = []

    def noting(model: Any, batch: Any) -> Tensor:
        modes.append(model.training)
        return loss_fn(model, batch)

    training = make_training(model=model, loss_fn=noting, val=make_batches(1))
    with untouched(model, training.raw_optimizer):
        LiveSubstrate(training).trial(Trial(constant(0.1), 2, evaluate="end"))
    # two steps of the proofs, two of the Trial, BatchNorm, and one held-out batch
    assert modes == [True] * (2 + 2 + BATCH_NORM_BATCHES) + [False]


def gradient_penalty(model: Any, batch: Any) -> Tensor:
    inputs = batch[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(inputs).sum(), inputs, create_graph=True)
    return loss_fn(model, batch) + gradient.square().mean()


def test_a_loss_that_differentiates_is_told_how_to_be_evaluated() -> None:
    training = make_training(loss_fn=gradient_penalty)
    with untouched(training.model, training.raw_optimizer), pytest.raises(LossError, match=r"enable_grad\(\):`"):
        training.evaluate()

    def as_told(model: Any, batch: Any) -> Tensor:
        with torch.enable_grad():
            return gradient_penalty(model, batch)

    training.loss_fn = as_told
    losses, held_out, _, _ = LiveSubstrate(training).trial(Trial(constant(0.1), 2, evaluate="end"))
    assert len(losses) == 2 and held_out == held_out


# ----------------------------------------------------- embeddings with a largest norm


class Words(nn.Module):
    """Rows that are longer than they may be, until they are looked up."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = make(5, 4, max_norm=0.1)
        self.out = nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        found = self.words(tokens)
        return self.out(found if found.dim() == 2 else found.mean(1))


@pytest.mark.parametrize("make", [nn.Embedding, nn.EmbeddingBag])
@pytest.mark.parametrize("frozen", [False, True])
def test_an_embedding_with_a_largest_norm_is_left_as_it_was(make: Any, frozen: bool) -> None:
    model = Words(make)
    model.words.weight.requires_grad_(not frozen)
    batches = [(torch.tensor([[0, i + 1], [1, i + 2]]), torch.tensor([0, i])) for i in range(3)]
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    training = make_training(model=model, optimizer=optimizer, data=batches, val=batches)
    with untouched(model, optimizer):
        first = training.evaluate()
        assert training.evaluate() == first
    substrate = LiveSubstrate(training)
    substrate.arm_line()
    substrate.before_kept_step()
    training.step(batches[0])
    substrate.after_kept_step()
    with untouched(model, optimizer):
        table = substrate.line(Line((0.0, 0.5, 1.0), 3))
        assert substrate.line(Line((1.0, 0.5, 0.0), 3)) == tuple(row[::-1] for row in table)
