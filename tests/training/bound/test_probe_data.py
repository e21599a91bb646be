"""A user's data is read a second time without the first reading noticing, and every Trial gets the same batches."""

import itertools
import random
from collections import UserDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    Sampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)

from lrpilot import Training
from lrpilot.core.actions import Evaluate, Line, Trial
from lrpilot.core.shape import constant
from lrpilot.errors import DataError
from lrpilot.training.bound.batches import to_device
from lrpilot.training.bound.probe_data import RESERVED_BATCHES, ProbeData, Replay
from lrpilot.training.bound.sources import BatchSource
from lrpilot.training.measure.substrate import LiveSubstrate
from small_training import BATCH, loss_fn, make_batches, make_model, make_samples, make_training, untouched

COUNT = 40


class Numbers(Dataset[Tensor]):
    """Sample i is the number i: a batch shows which samples it holds."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor(float(index))


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.arange(float(COUNT)))


class Shards(IterableDataset[Tensor]):
    """Each worker reads its share, from where its init function has set it."""

    offset = 0.0

    def __iter__(self) -> Iterator[Tensor]:
        worker = get_worker_info()
        assert worker is not None
        return iter(torch.arange(float(COUNT))[worker.id :: worker.num_workers] + self.offset)


def shift(index: int) -> None:
    worker = get_worker_info()
    assert worker is not None
    worker.dataset.offset = 100.0 * index


class SeededByItsWorker(Numbers):
    """Noise from the generators that torch seeds in every worker."""

    def __getitem__(self, index: int) -> Tensor:
        return index + torch.rand(()) + random.random() + float(np.random.rand())


class EvenFirst(Sampler[int]):
    def __init__(self, data_source: Any, rng: random.Random | None = None) -> None:
        self.data_source = data_source
        self.rng = rng

    def __len__(self) -> int:
        return len(self.data_source)

    def __iter__(self) -> Iterator[int]:
        order = [*range(0, COUNT, 2), *range(1, COUNT, 2)]
        if self.rng is not None:
            self.rng.shuffle(order)
        return iter(order)


class Global(EvenFirst):
    """Draws its order from the global generator, as hand-written samplers do."""

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(COUNT).tolist())


class ByNumpy(EvenFirst):
    """Its generator has the name that torch's samplers use, and is another kind."""

    def __init__(self, data_source: Any, generator: Any = None) -> None:
        super().__init__(data_source)
        self.generator = np.random.default_rng(2) if generator is None else generator

    def __iter__(self) -> Iterator[int]:
        return iter(self.generator.permutation(COUNT).tolist())


class Augmented(Numbers):
    """A data set with generators of its own, as people write them for crops and noise."""

    def __init__(self) -> None:
        self.numpy = np.random.default_rng(0)
        self.legacy = np.random.RandomState(0)
        self.transforms = [random.Random(0)]
        self.options = {"torch": torch.Generator()}

    def __getitem__(self, index: int) -> Tensor:
        noise = self.numpy.random() + self.legacy.rand() + self.transforms[0].random()
        return index + torch.rand((), generator=self.options["torch"]) + noise


class ShuffledStream(IterableDataset[Tensor]):
    def __init__(self) -> None:
        self.rng = torch.Generator()

    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.randperm(COUNT, generator=self.rng).float())


def loader(**options: Any) -> DataLoader[Any]:
    data = options.pop("dataset", None) or Numbers()
    return DataLoader(data, **({"batch_size": BATCH} | options))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


LOADERS: dict[str, Callable[[], DataLoader[Any]]] = {
    "plain": loader,
    "shuffle": lambda: loader(shuffle=True),
    "shuffle_generator": lambda: loader(shuffle=True, generator=seeded()),
    "drop_last": lambda: loader(shuffle=True, batch_size=7, drop_last=True),
    "weighted": lambda: loader(sampler=WeightedRandomSampler([1.0 + i for i in range(COUNT)], COUNT)),
    "subset_sampler": lambda: loader(sampler=SubsetRandomSampler(range(24), generator=seeded())),
    "subset": lambda: loader(dataset=Subset(Numbers(), range(24)), shuffle=True),
    "batch_sampler": lambda: loader(
        batch_size=1, batch_sampler=BatchSampler(SubsetRandomSampler(range(COUNT)), 5, False)
    ),
    "list_of_indices": lambda: loader(sampler=[3, 1, 4, 1, 5, 9, 2, 6]),
    "own_sampler": lambda: loader(sampler=EvenFirst(Numbers())),
    "own_sampler_own_rng": lambda: loader(sampler=EvenFirst(Numbers(), random.Random(5))),
    "own_sampler_numpy_rng": lambda: loader(sampler=ByNumpy(Numbers())),
    "own_sampler_legacy_rng": lambda: loader(sampler=ByNumpy(Numbers(), np.random.RandomState(2))),
    "own_sampler_global_rng": lambda: loader(sampler=Global(Numbers())),
    "distributed": lambda: loader(sampler=DistributedSampler(Numbers(), num_replicas=2, rank=1)),
    "unbatched": lambda: loader(batch_size=None, shuffle=True),
    "iterable": lambda: loader(dataset=Stream()),
    "iterable_drop_last": lambda: loader(dataset=Stream(), batch_size=7, drop_last=True),
    "iterable_unbatched": lambda: loader(dataset=Stream(), batch_size=None),
    "sharded": lambda: loader(dataset=Shards(), num_workers=2),
    "sharded_by_its_init": lambda: loader(dataset=Shards(), num_workers=2, worker_init_fn=shift),
    "workers": lambda: loader(shuffle=True, num_workers=1),
    "persistent_workers": lambda: loader(shuffle=True, num_workers=1, persistent_workers=True),
}


def read(batches: Any) -> list[list[float]]:
    return [torch.as_tensor(batch).reshape(-1).tolist() for batch in batches]


@pytest.mark.parametrize("name", LOADERS)
def test_a_twin_holds_the_same_samples_in_batches_of_the_same_sizes(name: str) -> None:
    theirs, own = read(LOADERS[name]()), BatchSource(LOADERS[name](), seed=0, name="train_data")
    mine, again, other = read(own.epoch()), read(own.epoch()), read(own.epoch(1))
    assert [len(b) for b in mine] == [len(b) for b in theirs]
    if name not in ("weighted", "drop_last", "iterable_drop_last", "distributed"):
        assert sorted(itertools.chain(*mine)) == sorted(itertools.chain(*theirs))
    assert name == "own_sampler_global_rng" or mine == again, "the same number gives the same order"
    in_order = name.startswith(("iterable", "sharded"))
    shuffles = not in_order and name not in ("plain", "list_of_indices", "own_sampler")
    assert (mine != other) == shuffles, "a shuffling loader gives every epoch an order of its own"


@pytest.mark.parametrize("epoch", [0, 1])
def test_the_twins_of_two_ranks_share_the_samples_out(epoch: int) -> None:
    ranks = [loader(sampler=DistributedSampler(Numbers(), num_replicas=2, rank=rank)) for rank in (0, 1)]
    read_by = [set(itertools.chain(*read(BatchSource(r, seed=3, name="train_data").epoch(epoch)))) for r in ranks]
    assert read_by[0] | read_by[1] == set(itertools.chain(*read(loader())))
    assert len(read_by[0] & read_by[1]) <= 1, "at most the sample that evens out the shares"


def test_workers_seed_their_noise_alike_for_one_epoch_and_anew_for_another() -> None:
    source = BatchSource(loader(dataset=SeededByItsWorker(), num_workers=2), seed=0, name="train_data")
    assert read(source.epoch()) == read(source.epoch()) != read(source.epoch(1))


def test_neighbouring_seeds_share_no_order() -> None:
    orders = [
        read(BatchSource(loader(shuffle=True), seed=s, name="train_data").epoch(e)) for s in (0, 1) for e in (0, 1, 2)
    ]
    assert all(a != b for a, b in itertools.combinations(orders, 2))


@pytest.mark.parametrize("name", LOADERS)
def test_a_loop_in_flight_goes_on_as_if_nobody_had_read(name: str) -> None:
    def fly(reading: bool) -> list[list[float]]:
        torch.manual_seed(0)
        data = LOADERS[name]()
        seen = []
        for _ in range(2):  # persistent workers are in flight in the second epoch
            for index, batch in enumerate(data):
                if index == 1 and reading:
                    source = BatchSource(data, seed=0, name="train_data")
                    list(ProbeData(source, None, eval_batches=None, seed=0).train.take(4))
                    list(Replay(source, seed=1, max_bytes=0).take(3))
                seen.append(batch)
        return read(seen)

    assert fly(reading=True) == fly(reading=False)


@pytest.mark.parametrize("make", [Augmented, ShuffledStream])
def test_a_source_reads_alike_however_far_the_loop_has_moved_the_generators_of_its_data(make: Any) -> None:
    data = loader(dataset=make())
    source = BatchSource(data, seed=0, name="d")
    first = read(Replay(source, seed=1, max_bytes=0).take(3))
    list(data)
    assert read(Replay(source, seed=1, max_bytes=0).take(3)) == first


def test_a_source_reads_alike_when_the_loop_changes_its_sampler() -> None:
    sampler = SubsetRandomSampler(list(range(24)))
    source = BatchSource(loader(sampler=sampler), seed=0, name="d")
    first = read(source.epoch())
    sampler.indices = list(range(4))
    assert read(source.epoch()) == first


def test_a_callable_may_hand_out_the_very_loader_of_the_loop() -> None:
    """With persistent workers a second iter() would reset the loop in flight."""
    data = LOADERS["persistent_workers"]()
    reading = Replay(BatchSource(lambda: data, seed=0, name="d"), seed=1, max_bytes=0)
    seen: list[Any] = []
    for index, batch in enumerate(itertools.chain(data, data)):
        if index in (2, 7):
            assert read(reading.take(2)) == read(reading.take(2))
        seen.append(batch)
    assert sorted(itertools.chain(*read(seen[:5]))) == sorted(itertools.chain(*read(seen[5:])))


def test_a_callable_may_hand_out_a_fresh_loader_that_cannot_be_twinned() -> None:
    source = BatchSource(lambda: Tokens(Numbers()), seed=0, name="d")
    assert list(source.epoch()) == list(source.epoch()) == ["mine"]


def test_a_distributed_sampler_is_read_alike_whatever_epoch_the_loop_is_in() -> None:
    sampler = DistributedSampler(Numbers(), num_replicas=2, rank=0)
    source = BatchSource(loader(sampler=sampler), seed=0, name="train_data")
    first = read(source.epoch())
    sampler.set_epoch(5)
    assert read(source.epoch()) == first
    assert read(source.epoch(1)) != first, "fit calls no set_epoch, and must not repeat one order"
    assert sampler.epoch == 5


def test_ranks_read_disjoint_parts_in_every_epoch() -> None:
    def part(rank: int, epoch: int) -> set[float]:
        sampler: Any = DistributedSampler(Numbers(), num_replicas=2, rank=rank)
        return set(itertools.chain(*read(BatchSource(loader(sampler=sampler), seed=0, name="d").epoch(epoch))))

    for epoch in range(3):
        assert not part(0, epoch) & part(1, epoch)


def sampled_by_its_own_sampler() -> DataLoader[Any]:
    dataset = Augmented()
    return loader(dataset=dataset, sampler=EvenFirst(dataset, random.Random(1)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: loader(dataset=Augmented()),
        lambda: loader(dataset=Subset(Augmented(), range(20))),
        lambda: loader(dataset=ShuffledStream()),
        sampled_by_its_own_sampler,
    ],
)
def test_generators_that_a_data_set_holds_are_left_as_they_were(make: Callable[[], DataLoader[Any]]) -> None:
    def fly(reading: bool) -> list[Any]:
        data = make()
        seen, read_by_probes = [], []
        for batch in itertools.chain(data, data):
            if reading:
                source = BatchSource(data, seed=0, name="d")
                read_by_probes.append(read(Replay(source, seed=1, max_bytes=0).take(3)))
                list(ProbeData(source, None, eval_batches=None, seed=0).train.take(2))
            seen.append(batch)
        return read(seen)

    assert fly(reading=True) == fly(reading=False)


class Tokens(DataLoader[Any]):
    def __iter__(self) -> Any:
        return iter(["mine"])


class OneShot(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        return torch.ones(1)


class Uncopyable(Sampler[int]):
    def __init__(self) -> None:
        self.source = (i for i in range(8))

    def __iter__(self) -> Iterator[int]:
        return iter(range(8))


def batches_of_data() -> Iterator[Any]:
    yield from make_batches()


BAD_DATA: dict[str, tuple[Callable[[], Any], str]] = {
    "empty_list": (list, "at least one batch"),
    "generator": (batches_of_data, "one-shot iterator generator"),
    "iterator": (lambda: iter(make_batches()), "one-shot iterator list_iterator"),
    "map": (lambda: map(id, make_batches()), "one-shot iterator map"),
    "number": (lambda: 3, "got int"),
    "data_set": (Numbers, "got the data set Numbers, which holds single samples"),
    "string": (lambda: "data", "got str"),
    "own_iteration": (lambda: Tokens(Numbers()), "Tokens"),
    "one_shot_dataset": (lambda: DataLoader(OneShot()), "OneShot"),
    "uncopyable_sampler": (lambda: loader(sampler=Uncopyable()), "cannot be copied"),
}


@pytest.mark.parametrize("name", BAD_DATA)
@pytest.mark.parametrize("where", ["train_data", "val_data"])
def test_data_that_cannot_be_read_twice_is_refused(name: str, where: str) -> None:
    make, words = BAD_DATA[name]
    data = make()
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    arguments = {"train_data": make_batches(), where: data}
    with untouched(model, optimizer), pytest.raises(DataError, match=words) as raised:
        Training(model, optimizer, loss_fn, **arguments)
    assert "." in str(raised.value).split(words)[1], "a remedy follows"
    if isinstance(data, Iterator):
        assert len(list(data)) == 6, "nothing was taken from it"


def test_no_training_data_is_refused() -> None:
    model = make_model()
    with pytest.raises(DataError, match="got None"):
        Training(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_fn, None)


@pytest.mark.parametrize("make", [lambda: iter([]), lambda: None, list, lambda: (x for x in ())])
def test_a_callable_that_yields_nothing_is_refused_when_it_is_read(make: Any) -> None:
    training = make_training(data=make)
    with untouched(training.model, training.raw_optimizer), pytest.raises(DataError, match="train_data"):
        training.check()


def test_validation_data_that_yields_nothing_is_refused_when_it_is_read() -> None:
    training = make_training(val=lambda: iter([]))
    with untouched(training.model, training.raw_optimizer), pytest.raises(DataError, match="val_data"):
        training.evaluate()


def test_construction_reads_nothing() -> None:
    opened = []
    training = make_training(data=lambda: opened.append("train") or iter(make_batches()), val=lambda: opened.append(1))
    assert not opened
    training.trainable_parameters  # noqa: B018
    assert not opened


# ------------------------------------------------------------------ replay


def noisy(count: int = 5) -> Callable[[], Iterator[Any]]:
    """Batches that draw from every global generator while they are read, as augmentations do."""

    def epoch() -> Iterator[Any]:
        for i in range(count):
            noise = torch.rand(3) + random.random() + float(np.random.rand())
            yield {"id": torch.tensor(float(i)), "x": noise}

    return epoch


@pytest.mark.parametrize("max_bytes", [0, 16, 40, 10_000])
@pytest.mark.parametrize("cycle", [True, False])
def test_every_take_gives_the_same_batches(max_bytes: int, cycle: bool) -> None:
    replay = Replay(BatchSource(noisy(), seed=0, name="d"), seed=4, cycle=cycle, max_bytes=max_bytes)
    model = make_model()
    takes = []
    with untouched(model):
        for count in (3, 8, 2, 12, 8):
            takes.append([(b["id"].item(), b["x"].tolist()) for b in replay.take(count)])
    longest = takes[3]
    assert [i for i, _ in longest] == [float(i % 5) for i in range(12 if cycle else 5)]
    for take, count in zip(takes, (3, 8, 2, 12, 8), strict=True):
        assert take == longest[:count]
    assert len({tuple(x) for _, x in longest[:5]}) == 5


@pytest.mark.parametrize("max_bytes", [0, 40, 10_000])
@pytest.mark.parametrize("cycle", [True, False])
def test_a_take_may_begin_anywhere(max_bytes: int, cycle: bool) -> None:
    whole = list(Replay(BatchSource(noisy(), seed=0, name="d"), seed=4, cycle=cycle).take(9))
    replay = Replay(BatchSource(noisy(), seed=0, name="d"), seed=4, cycle=cycle, max_bytes=max_bytes)
    for first, count in ((2, 2), (0, 3), (7, 2), (4, 5), (0, 9), (3, 1)):
        taken = list(replay.take(count, first=first))
        expected = whole[first : first + count]
        assert [b["x"].tolist() for b in taken] == [b["x"].tolist() for b in expected], (first, count)
    left = [b["id"].item() for b in Replay(BatchSource(noisy(), seed=0, name="d"), seed=4, cycle=False).take(first=3)]
    assert left == [3.0, 4.0]


def test_a_take_that_is_given_up_half_way_changes_nothing() -> None:
    replay = Replay(BatchSource(noisy(), seed=0, name="d"), seed=4)
    reference = [b["x"].tolist() for b in Replay(BatchSource(noisy(), seed=0, name="d"), seed=4).take(7)]
    with untouched(make_model()):
        for count in (1, 3):
            for _ in itertools.islice(replay.take(7), count):
                break
    assert [b["x"].tolist() for b in replay.take(7)] == reference


def test_all_of_one_epoch() -> None:
    for max_bytes in (0, 10_000):
        replay = Replay(BatchSource(noisy(), seed=0, name="d"), seed=4, cycle=False, max_bytes=max_bytes)
        for _ in range(2):
            assert [b["id"].item() for b in replay.take()] == [0, 1, 2, 3, 4]


def test_memory_is_bounded_whatever_a_batch_is_made_of() -> None:
    class Opaque:
        x = torch.zeros(1000)

    for batches in ([torch.zeros(1000)] * 3, [UserDict(x=torch.zeros(1000))] * 3, [Opaque()] * 3):
        replay = Replay(BatchSource(batches, seed=0, name="d"), seed=0, max_bytes=5000)
        assert sum(1 for _ in replay.take(50)) == 50
        assert len(replay._kept) <= 1


class Record:
    def __init__(self, x: Tensor) -> None:
        self.x = x


def spoil_dict(batch: Any) -> None:
    batch.pop("x")


def spoil_nested(batch: Any) -> None:
    batch["parts"].clear()


def spoil_in_place(batch: Any) -> None:
    batch["x"].zero_()


def spoil_object(batch: Any) -> None:
    batch.x = None


SPOILED: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "pops_a_key": (lambda: {"x": torch.ones(2)}, spoil_dict),
    "pops_from_a_mapping": (lambda: UserDict(x=torch.ones(2)), spoil_dict),
    "empties_a_list": (lambda: {"parts": [torch.ones(2)]}, spoil_nested),
    "writes_into_a_tensor": (lambda: {"x": torch.ones(2)}, spoil_in_place),
    "writes_into_a_tensor_of_a_mapping": (lambda: UserDict(x=torch.ones(2)), spoil_in_place),
    "sets_an_attribute": (lambda: Record(torch.ones(2)), spoil_object),
}


def content(batch: Any) -> Any:
    if isinstance(batch, Record):
        return None if batch.x is None else batch.x.tolist()
    return {k: v.tolist() if isinstance(v, Tensor) else [t.tolist() for t in v] for k, v in batch.items()}


@pytest.mark.parametrize("max_bytes", [0, 10_000])
@pytest.mark.parametrize("name", SPOILED)
def test_a_step_may_spoil_its_batch(name: str, max_bytes: int) -> None:
    make, spoil = SPOILED[name]
    data = [make(), make()]
    replay = Replay(BatchSource(data, seed=0, name="d"), seed=0, max_bytes=max_bytes)
    for _ in range(2):
        for batch in replay.take(3):
            assert content(batch) == content(make())
            spoil(batch)
    assert [content(batch) for batch in data] == [content(make())] * 2, "the user's own list is as it was"


def test_trials_of_a_step_that_empties_its_batch_are_equal_and_charged_in_full() -> None:
    def popping(model: Any, batch: Any) -> Tensor:
        return loss_fn(model, (batch.pop("x").mul_(0.5), batch.pop("y")))

    for cls in (dict, UserDict):
        data = [cls(x=x, y=y) for x, y in make_batches(20)]
        training = make_training(loss_fn=popping, data=data)
        substrate = LiveSubstrate(training)
        trial = Trial(constant(0.1), 3, evaluate="end")
        assert substrate.trial(trial) == substrate.trial(trial)
        assert substrate.cost.forwards == 8 + 2 * 8 and substrate.cost.backwards == 8
        assert substrate.evaluate(Evaluate()) == substrate.evaluate(Evaluate())
        substrate.arm_line()
        substrate.before_kept_step()
        training.step(cls(data[0]))
        substrate.after_kept_step()
        losses = substrate.line(Line((0.0, 1.0, 0.0, 1.0), batches=2))
        assert all(row[:2] == row[2:] and row[0] != row[1] for row in losses)


# ---------------------------------------------------------------- reserved


@pytest.mark.parametrize(("batches", "reserved"), [(1, 0), (2, 1), (3, 1), (9, 4), (16, 8), (40, RESERVED_BATCHES)])
def test_reserved_batches_are_never_trained_on_by_probes(batches: int, reserved: int) -> None:
    data = DataLoader(TensorDataset(torch.arange(float(batches * 2))), batch_size=2, shuffle=True)
    probe = ProbeData(BatchSource(data, seed=0, name="d"), None, eval_batches=1, seed=0)
    held_out = set(itertools.chain(*read(b[0] for b in probe.held_out())))
    trained = set(itertools.chain(*read(b[0] for b in probe.train.take(3 * batches))))
    assert len(held_out) == 2 * max(1, reserved)
    if reserved:
        assert not held_out & trained and len(held_out | trained) == 2 * batches
        assert probe.metric == f"loss on {reserved} reserved training batches"
    else:
        assert held_out == trained and "single batch" in probe.metric


def test_reserved_batches_stay_reserved_when_the_loop_moves_its_sampler_on() -> None:
    """The held-out batches are read at the start, training batches later: both must be of one order."""
    rng = random.Random(5)
    for sampler in (EvenFirst(Numbers(), rng), DistributedSampler(Numbers(), num_replicas=1, rank=0)):
        data = loader(sampler=sampler, batch_size=2)
        probe = ProbeData(BatchSource(data, seed=0, name="d"), None, eval_batches=None, seed=0)
        list(data)
        if isinstance(sampler, DistributedSampler):
            sampler.set_epoch(3)
        held_out = set(itertools.chain(*read(probe.held_out())))
        trained = set(itertools.chain(*read(probe.train.take(50))))
        assert len(held_out) == 2 * RESERVED_BATCHES and not held_out & trained


def test_trials_skip_reserved_batches_and_evaluations_read_them() -> None:
    seen: dict[bool, set[int]] = {True: set(), False: set()}
    batches = [(x, y, torch.tensor(i)) for i, (x, y) in enumerate(make_batches(20))]

    def noting(model: Any, batch: Any) -> Tensor:
        seen[model.training].add(int(batch[2]))
        return loss_fn(model, batch[:2])

    training = make_training(data=batches, loss_fn=noting)
    LiveSubstrate(training).trial(Trial(constant(0.1), 30, evaluate="end"))
    assert seen == {False: set(range(8)), True: set(range(8, 20))}


def test_validation_data_is_read_alike_and_cut_at_eval_batches() -> None:
    inputs, targets = make_samples(80)
    data = DataLoader(TensorDataset(inputs, targets), batch_size=8, shuffle=True)
    training = make_training(val=data, eval_batches=3)
    values = {training.evaluate() for _ in range(3)}
    assert len(values) == 1
    chosen = list(training.probe_data.held_out())
    expected = sum(loss_fn(training.model, batch).item() for batch in chosen) / 3
    assert len(chosen) == 3 and values.pop() == pytest.approx(expected)
    assert training.probe_data.metric == "validation loss"


def test_moving_asks_objects_that_know_how_to_move() -> None:
    class Graph:
        moved_to: Any = None

        def to(self, device: torch.device) -> "Graph":
            made = Graph()
            made.moved_to = device
            return made

    device = torch.device("cpu")
    assert to_device(Graph(), device).moved_to == device
    x = torch.ones(1)
    moved = to_device({"x": x, "n": 3}, device)
    assert moved["x"] is x and moved["n"] == 3
