"""fit on data as people have it: epochs are told, steps may spoil their batches, and a resume goes on in the data."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import ChainDataset, ConcatDataset, DataLoader, Dataset, IterableDataset, Sampler, Subset

import odd_data
from lrpilot import Schedule, Training, fit
from lrpilot.core.actions import Train, Trial
from lrpilot.core.shape import constant
from lrpilot.errors import DataError, StateError
from small_training import Listed, loss_fn, make_batches, make_training, same_tensors, weights

SEARCHING = Listed((Train(constant(0.1), 3), Trial(constant(0.2), 4, evaluate="end"), Train(constant(0.1), 100)))


class Shuffled(IterableDataset[Any]):
    """In an order of its epoch."""

    def __init__(self) -> None:
        self.epoch, self.told = 0, list[int]()

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.told.append(epoch)

    def __iter__(self) -> Iterator[Any]:
        samples = odd_data.samples()
        return (samples[i] for i in torch.randperm(48, generator=torch.Generator().manual_seed(self.epoch)).tolist())


class Batches(Shuffled):
    """The same without a loader."""

    def __iter__(self) -> Iterator[Any]:
        return iter(DataLoader(list(super().__iter__()), batch_size=8))  # type: ignore[arg-type]


class Indexed(Dataset[Any]):
    """By index, with noise of its epoch."""

    def __init__(self) -> None:
        self.epoch, self.told = 0, list[int]()

    set_epoch = Shuffled.set_epoch

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> Any:
        inputs, target = odd_data.samples()[index]
        return inputs + self.epoch, target


class Loss:
    """Notes the batches that kept steps see."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []
        self.training: Training | None = None

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        inputs, targets = batch
        if self.training is not None and not self.training.probing:
            self.seen.append(inputs.clone())
        return nn.functional.cross_entropy(model(inputs), targets)


def flown(data: Any, steps: int, **options: Any) -> tuple[Training, list[Tensor]]:
    torch.manual_seed(0)
    model, loss = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), nn.Linear(8, 3)), Loss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loss.training = Training(model, optimizer, loss, data, odd_data.batches_of(lambda x, y: (x, y))[:2])
    fit(loss.training, SEARCHING, total_steps=steps, progress=False, **options)
    return loss.training, loss.seen


TOLD: dict[str, Callable[[Any], Any]] = {
    "loader": lambda data: DataLoader(data, batch_size=8),
    "workers": lambda data: DataLoader(data, batch_size=8, num_workers=1),
    "callable": lambda data: lambda: DataLoader(data, batch_size=8),
    "chained": lambda data: DataLoader(ChainDataset([data]), batch_size=8),
}


@pytest.mark.parametrize("how", TOLD)
def test_a_data_set_is_told_of_every_epoch_and_read_in_it(how: str) -> None:
    data = Shuffled()
    _, seen = flown(TOLD[how](data), 15)
    assert data.told == [0, 1, 2] and data.epoch == 2
    for epoch in range(3):
        data.epoch = epoch
        expected = torch.stack([inputs for inputs, _ in data])
        got = torch.cat(seen[6 * epoch : 6 * epoch + 6])
        assert torch.equal(got, expected[: len(got)]), epoch


def test_an_iterable_and_the_one_that_a_callable_returns_are_told() -> None:
    for make in (lambda data: data, lambda data: lambda: data):
        data = Batches()
        flown(make(data), 15)
        assert data.told == [0, 1, 2]


@pytest.mark.parametrize("wrap", [lambda d: Subset(d, range(24)), lambda d: ConcatDataset([d]), lambda d: d])
def test_data_sets_inside_of_others_are_told(wrap: Any) -> None:
    data = Indexed()
    _, seen = flown(DataLoader(wrap(data), batch_size=8), 7)
    assert data.told == [0, 1, 2]
    plain = torch.stack([inputs for inputs, _ in odd_data.samples()[:8]])
    assert [torch.equal(seen[at], plain + epoch) for epoch, at in enumerate((0, 3, 6))] == [True] * 3


def test_a_sampler_is_told_of_every_epoch_and_the_users_own_left_alone() -> None:
    told: list[int] = []

    class Told(odd_data.ByEpoch):
        def set_epoch(self, epoch: int) -> None:
            told.append(epoch)
            super().set_epoch(epoch)

    sampler: Sampler[int] = Told()
    _, seen = flown(DataLoader(odd_data.samples(), batch_size=8, sampler=sampler), 12)  # type: ignore[arg-type]
    assert told == [0, 1, 2] and sampler.epoch == 0  # type: ignore[attr-defined]
    expected = [batch for epoch in range(3) for batch in epoch_of(epoch)][:12]
    assert len(seen) == 12 and all(torch.equal(mine, theirs) for mine, theirs in zip(seen, expected, strict=True))


def epoch_of(epoch: int) -> list[Tensor]:
    sampler = odd_data.ByEpoch()
    sampler.set_epoch(epoch)
    return [inputs for inputs, _ in DataLoader(odd_data.samples(), batch_size=8, sampler=sampler)]  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [lambda: DataLoader(Shuffled(), batch_size=8), lambda: DataLoader(Indexed(), 4)])
def test_probes_read_the_data_as_it_was_when_it_was_bound_whatever_epoch_a_fit_is_in(data: Any) -> None:
    loader = data()
    training = make_training(data=loader)
    before = [inputs.tolist() for inputs, _ in training.train_source.epoch()]
    loader.dataset.set_epoch(5)
    held = training.train_source.held
    loop = held.get()
    held.set(held.start)
    assert [inputs.tolist() for inputs, _ in training.train_source.epoch()] == before
    held.set(loop)
    assert loader.dataset.epoch == 5


@pytest.mark.parametrize("stop_at", [0, 4, 6, 13])
# Workers that stay are waited for when they go, and are no other data.
@pytest.mark.parametrize("data", [name for name in odd_data.DATA if name != "around_a_loader"])
def test_a_resumed_fit_reads_on_where_it_was(
    data: str, stop_at: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if stop_at == 4 and "worker" in data:
        pytest.skip("workers are slow, and three places tell")
    straight, expected = flown(odd_data.DATA[data](), 17)
    reached = itertools.count(1)

    def stop(*_: Any) -> None:
        if next(reached) > stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flown(odd_data.DATA[data](), 17, checkpoint=tmp_path / "s.pt", on_step=stop)
    resumed, rest = flown(odd_data.DATA[data](), 17, checkpoint=tmp_path / "s.pt", resume=True)
    if data == "opened_reader" and stop_at > 5:
        assert "a checkpoint has no place for what it held (handle)" in caplog.text
        return
    assert not caplog.records
    assert same_tensors(rest, expected[-len(rest) :]) and len(rest) == 17 - stop_at - 1
    assert same_tensors(weights(resumed.model), weights(straight.model))


def test_data_that_has_become_shorter_is_not_resumed_on(tmp_path: Path) -> None:
    def stop(pilot: Any, _: Any) -> None:
        if pilot.last_epoch == 5:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"total_steps": 9, "progress": False, "checkpoint": tmp_path / "s.pt"}
    with pytest.raises(KeyboardInterrupt):
        fit(make_training(), Schedule("constant"), on_step=stop, **options)
    with pytest.raises(StateError, match=r"an epoch that ends before its batch 5\. Pass the same train_data"):
        fit(make_training(data=make_batches()[:4]), Schedule("constant"), resume=True, **options)


def spoiling(model: nn.Module, batch: Any) -> Tensor:
    return loss_fn(model, (batch.pop("x").mul_(0.5), batch.pop("y")))


class Whole(Dataset[Any]):
    """Holds batches, not samples."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        return self.batches[index]


LENDING: dict[str, Callable[[list[Any]], Any]] = {
    "list": lambda batches: batches,
    "callable": lambda batches: lambda: batches,
    "unbatched": lambda batches: DataLoader(Whole(batches), batch_size=None),
    "collated": lambda batches: DataLoader(Whole(batches), batch_size=1, collate_fn=lambda found: found[0]),
}


@pytest.mark.parametrize("how", LENDING)
def test_a_step_may_spoil_its_batch(how: str) -> None:
    batches = [{"x": x, "y": y} for x, y in make_batches()]
    training = make_training(data=LENDING[how](batches), loss_fn=spoiling)
    fit(training, Schedule("constant"), total_steps=15, progress=False)
    assert all(
        torch.equal(b["x"], x) and torch.equal(b["y"], y) for b, (x, y) in zip(batches, make_batches(), strict=True)
    )


def test_data_that_ends_early_or_is_endless_is_trained_on_as_it_comes() -> None:
    lengths = iter((3, 1, 4, 2, 2, 2))
    counts: list[int] = []

    def epoch() -> Any:
        counts.append(next(lengths))
        return make_batches(counts[-1])

    fit(make_training(data=epoch, val=make_batches()), Schedule("constant"), total_steps=9, progress=False)
    assert counts == [3, 1, 4, 2]
    endless = make_training(data=lambda: itertools.cycle(make_batches()), val=make_batches())
    assert fit(endless, SEARCHING, total_steps=9, progress=False).steps == 9


def test_a_callable_that_hands_out_what_has_been_read_is_refused() -> None:
    batches = make_batches()
    for read in (iter(DataLoader(odd_data.samples(), batch_size=8)), (batch for batch in batches)):  # type: ignore[arg-type]
        with pytest.raises(DataError, match=r"holds the \w+ made outside of it, which a second reading would move"):
            make_training(data=lambda read=read: itertools.islice(read, 3))
        assert len(list(read)) == 6

    class Loop:
        def __init__(self) -> None:
            self.batches = [iter(batches)]

        def read(self) -> Any:
            return self.batches[0]

    loop = Loop()
    with pytest.raises(DataError, match="must return a fresh iterable each time, got the same list_iterator twice"):
        fit(make_training(data=loop.read, val=batches), Schedule("constant"), total_steps=9, progress=False)
    assert next(loop.batches[0]) is batches[0]
