"""The image and tabular tasks: models, one step, repeatability; no data files needed but where marked."""

import contextlib
import copy
import itertools
import math
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from lrpilot.errors import MissingDependencyError
from lrpilot.policies.schedules.shapes import SCHEDULES
from lrpilot_bench.data.splits import Split, Splits
from lrpilot_bench.methods.registry import get_method
from lrpilot_bench.run.recording import weights_digest
from lrpilot_bench.session import DivergedError, Session
from lrpilot_bench.tasks import fashion_resnet, papers_net
from lrpilot_bench.tasks.registry import get_task
from lrpilot_bench.tasks.task import Task

PARAMETERS = {
    "fashion_bn": 33_658,
    "fashion_plain": 33_546,
    # (20·25 + 20) + (50·20·25 + 50) + (800·500 + 500) + (500·10 + 10): AutoLR, Table 14
    "papers_net": 431_080,
    "diamonds": 20_097,
    "fashion_full": 411_082,
    # the 11,173,962 of the usual ResNet-18 for CIFAR-10, less 2 · 9 · 64 weights of the stem for one channel
    "fashion_resnet18": 11_172_810,
}
NAMES = tuple(PARAMETERS)
SHAPES = {"diamonds": (26,), "fashion_resnet18": (1, 32, 32)}
SIZES = {
    "fashion_bn": (40_000, 4_000, 10_000),
    "fashion_plain": (40_000, 4_000, 10_000),
    "papers_net": (20_000, 2_000, 10_000),
    "diamonds": (45_772, 4_000, 4_000),
}


def noise(name: str, many: int) -> Split:
    """Random samples in a task's shapes."""
    draw = torch.Generator().manual_seed(many)
    inputs = torch.randn(many, *SHAPES.get(name, (1, 28, 28)), generator=draw)
    if name == "diamonds":
        return Split(inputs, torch.randn(many, 1, generator=draw))
    return Split(inputs, torch.randint(0, 10, (many,), generator=draw))


def small(name: str) -> Task:
    """The task on a few random samples, in batches of four."""
    splits = Splits(noise(name, 12), noise(name, 4), noise(name, 5))
    return replace(get_task(name), load=lambda: splits, batch_size=4)


def real(name: str) -> Splits:
    """The task's own data, where they are at hand."""
    try:
        return get_task(name).load()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", NAMES)
def test_models_have_the_stated_number_of_parameters(name: str) -> None:
    assert sum(p.numel() for p in get_task(name).make_model().parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", NAMES)
def test_outputs_fit_the_targets_of_loss_and_score(name: str) -> None:
    task, part = get_task(name), noise(name, 3)

    outputs = task.make_model()(part.inputs)

    assert outputs.shape == ((3, 1) if name == "diamonds" else (3, 10))
    assert task.criterion(outputs, part.targets).shape == ()
    assert task.score(outputs, part.targets).numel() == 3


@pytest.mark.parametrize("name", NAMES)
def test_a_small_step_lowers_the_loss_of_its_batch(name: str) -> None:
    task = small(name)
    for family in task.families:
        session = Session(task, family, seed=0, steps=1)
        batch = next(session.batches())
        optimizer = session.optimizer(1e-5)

        before = session.step(optimizer, batch)

        assert session.loss(batch).item() < before


@pytest.mark.parametrize("name", NAMES)
def test_a_run_depends_on_its_seed_alone(name: str) -> None:
    task = small(name)

    def trained(seed: int) -> str:
        session = Session(task, task.family(), seed=seed, steps=2)
        optimizer = session.optimizer(task.family().oracle_lrs[4])
        batches = session.batches()
        for _ in range(2):
            session.step(optimizer, next(batches))
        return weights_digest(session.model)

    assert trained(1) == trained(1) != trained(2)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_task_names_exists(name: str) -> None:
    task = get_task(name)

    assert task.handmade in SCHEDULES
    for family in task.families:
        assert family.kind in get_method(family.default).families
    assert task.steps >= 1_000
    assert task.large == (name in ("fashion_full", "fashion_resnet18"))


@pytest.mark.parametrize("name", NAMES)
def test_missing_data_are_named_with_the_remedy(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRPILOT_DATA", str(tmp_path))

    with pytest.raises(MissingDependencyError, match=r"(Fashion-MNIST|diamonds).*make data"):
        get_task(name).load()


@pytest.mark.data
@pytest.mark.parametrize("name", SIZES)
def test_parts_have_the_stated_sizes_and_are_standardised(name: str) -> None:
    splits = real(name)

    assert tuple(len(part) for part in splits) == SIZES[name]
    assert abs(splits.train.inputs.mean().item()) < 0.01
    assert abs(splits.train.inputs.std().item() - 1) < 0.05


@pytest.mark.data
@pytest.mark.parametrize("name", SIZES)
def test_no_sample_is_in_two_parts(name: str) -> None:
    # With the target: two diamonds of one description may differ in price.
    train, val, test = (
        {(row.numpy().tobytes(), target.item()) for row, target in zip(part.inputs, part.targets, strict=True)}
        for part in real(name)
    )

    assert not train & test and not val & test and not train & val


# ------------------------------------------------------------------ what single tasks are in the set for


@pytest.mark.data
def test_a_large_lr_kills_the_net_without_normalisation_and_not_the_other() -> None:
    real("fashion_plain")

    def trained(name: str) -> float:
        task = get_task(name)
        session = Session(task, task.family("sgd"), seed=0, steps=60)
        optimizer = session.optimizer(0.64)
        with contextlib.suppress(DivergedError):
            losses = [session.step(optimizer, batch) for batch in itertools.islice(session.batches(), 60)]
            return statistics.mean(losses[-10:])
        return math.inf

    assert trained("fashion_bn") < 1.5
    assert trained("fashion_plain") > 2.29  # ln 10 = 2.303: no better than guessing


def test_the_layout_of_the_papers_net_changes_no_value() -> None:
    fast = papers_net.model()
    assert isinstance(fast, nn.Sequential)
    plain = copy.deepcopy(fast[1:])  # without the layer that changes the layout
    part = noise("papers_net", 6)

    assert fast[0](part.inputs).is_contiguous(memory_format=torch.channels_last)
    assert not plain[0](part.inputs).is_contiguous(memory_format=torch.channels_last)
    assert fast[1](fast[0](part.inputs)).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fast(part.inputs), plain(part.inputs))
    for model in (fast, plain):
        nn.functional.cross_entropy(model(part.inputs), part.targets).backward()
    for a, b in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
        assert a.grad is not None and a.grad.is_contiguous()  # peers flatten gradients with view


def test_padding_frames_the_images_with_their_background() -> None:
    images = torch.full((2, 1, 28, 28), 3.0)
    images[0, 0, 5, 5] = -0.8

    framed = fashion_resnet.padded(images)

    assert framed.shape == (2, 1, 32, 32)
    assert torch.equal(framed[:, :, 2:30, 2:30], images)
    assert (framed == -0.8).sum() == 2 * (32**2 - 28**2) + 1


def test_a_residual_block_without_its_branch_passes_its_input_on() -> None:
    block = fashion_resnet.Block(4, 4, 1)
    nn.init.zeros_(block.second[1].weight)  # type: ignore[arg-type]
    inputs = torch.randn(2, 4, 8, 8)

    assert torch.equal(block(inputs), inputs.relu())


def test_a_residual_block_halves_the_size_at_stride_two() -> None:
    assert fashion_resnet.Block(4, 8, 2)(torch.randn(2, 4, 8, 8)).shape == (2, 8, 4, 4)
