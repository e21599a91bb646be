"""The tasks beside the first seven: what is made of their data, and that they are what they are there for."""

import itertools
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lrpilot.errors import MissingDependencyError
from lrpilot_bench.data.mlbench import Table
from lrpilot_bench.data.splits import Splits
from lrpilot_bench.tasks import (
    kjv_gru,
    letters_epochs,
    minilm_movies,
    minilm_topics,
    reuters_bag,
    satellite_conv,
    satellite_raw,
    verses_bag,
)
from lrpilot_bench.tasks.registry import get_task
from lrpilot_bench.tasks.task import Task


@dataclass(frozen=True)
class Expected:
    """What a task should be: sizes of its three parts, parameters of its model, epochs of a run."""

    sizes: tuple[int, int, int]
    parameters: int
    epochs: float
    shared: int = 0  # inputs in two parts, at most


TASKS = {
    "satellite_conv": Expected((4_435, 1_000, 1_000), 24_230, 39.8),
    "satellite_raw": Expected((4_435, 1_000, 1_000), 22_022, 13.9),
    "verses_bag": Expected((25_600, 2_500, 2_500), 8_002 * 64 + 65 * 66, 1.0, shared=40),  # formulas recur
    "reuters_bag": Expected((4_427, 1_000, 2_189), 20_002 * 64 + 65 * 8, 6.0, shared=12),
    "letters_epochs": Expected((12_800, 2_900, 2_900), 22_042, 30.0),
    "kjv_gru": Expected(
        (16_000, 256, 1_024),
        63 * 32 + 3 * 128 * (32 + 128 + 2) + 129 * 63,
        1.0,
    ),
    "diamonds_batch": Expected((45_772, 4_000, 4_000), 20_097, 26.8, shared=40),  # alike, not in price
}
MANY_EPOCHS = ("satellite_conv", "letters_epochs")
ONE_PASS = ("verses_bag", "kjv_gru")


@cache
def splits(name: str) -> Splits:
    try:
        return get_task(name).load()
    except MissingDependencyError as error:
        pytest.skip(str(error))


def epochs(task: Task, num_train: int) -> float:
    return task.steps * task.batch_size / num_train


# ------------------------------------------------------------------ what they are there for


@pytest.mark.parametrize("name", TASKS)
def test_models_have_the_documented_sizes(name: str) -> None:
    assert sum(p.numel() for p in get_task(name).make_model().parameters()) == TASKS[name].parameters


@pytest.mark.parametrize("name", TASKS)
def test_a_run_is_as_many_epochs_as_documented(name: str) -> None:
    expected, task = TASKS[name], get_task(name)
    assert epochs(task, expected.sizes[0]) == pytest.approx(expected.epochs, rel=0.01)
    assert (name in ONE_PASS) == (task.steps * task.batch_size == expected.sizes[0])
    assert (name in MANY_EPOCHS) == (round(expected.epochs) >= 30)


@pytest.mark.data
@pytest.mark.parametrize("name", TASKS)
def test_parts_have_the_documented_sizes_and_share_next_to_nothing(name: str) -> None:
    parts = splits(name)
    assert tuple(map(len, parts)) == TASKS[name].sizes
    seen = [{row.tobytes() for row in part.inputs.numpy()} for part in parts]
    for one, other in itertools.combinations(seen, 2):
        assert len(one & other) <= TASKS[name].shared


@pytest.mark.data
@pytest.mark.parametrize("name", TASKS)
def test_an_untrained_model_takes_every_input_and_a_gradient_reaches_every_parameter(name: str) -> None:
    task, parts = get_task(name), splits(name)
    torch.manual_seed(0)
    model = task.make_model()
    loss = task.loss_fn(model, (parts.train.inputs[:64], parts.train.targets[:64]))
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    for part in parts:
        assert torch.isfinite(task.loss_fn(model, (part.inputs[-64:], part.targets[-64:])))


@pytest.mark.parametrize("name", TASKS)
def test_weights_depend_on_the_seed_alone(name: str) -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        return list(get_task(name).make_model().parameters())

    assert all(torch.equal(a, b) for a, b in zip(weights(1), weights(1), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights(1), weights(2), strict=True))


# ------------------------------------------------------------------ tables


def table(rows: int, columns: int, classes: int) -> Table:
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 200, (rows, columns)).astype(float)
    return Table(inputs, rng.integers(0, classes, rows), tuple(map(str, range(classes))))


def test_repeated_letters_are_dropped_and_features_standardised(monkeypatch: pytest.MonkeyPatch) -> None:
    made = table(19_000, 16, 26)
    made.inputs[-400:] = made.inputs[:400]
    monkeypatch.setattr(letters_epochs, "letters", lambda: made)
    parts = letters_epochs.data()
    rows = torch.cat([part.inputs for part in parts])
    assert len(rows) == 18_600 == len(torch.unique(rows, dim=0))
    torch.testing.assert_close(parts.train.inputs.mean(0), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(parts.train.inputs.std(0, correction=0), torch.ones(16), atol=1e-5, rtol=0)


def test_pixels_lie_where_they_lay_in_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file goes through 3 x 3 pixels, row by row, with four bands each."""
    made = table(2_500, 36, 6)
    monkeypatch.setattr(satellite_conv, "satellite", lambda: made)
    monkeypatch.setattr(satellite_raw, "satellite", lambda: made)
    conv, raw = satellite_conv.data().val, satellite_raw.data().val
    assert torch.equal(conv.targets, raw.targets)
    for band, row, column in itertools.product(range(4), range(3), range(3)):
        flat = raw.inputs[:, (3 * row + column) * 4 + band]
        assert torch.corrcoef(torch.stack([flat, conv.inputs[:, band, row, column]]))[0, 1] > 1 - 1e-5
    assert set(map(tuple, raw.inputs.tolist())) <= set(map(tuple, made.inputs.tolist()))
    assert raw.inputs.max() > 100  # not scaled: that is what the task is about


# ------------------------------------------------------------------ texts


def test_news_are_numbered_by_the_training_parts_frequencies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reuters_bag, "NUM_VAL", 1)
    train = [(0, "oil oil oil"), (1, "oil ship ship"), (1, "oil ship ship")]
    monkeypatch.setattr(reuters_bag, "reuters", lambda: (train, [(3, "ship gold oil")]))
    parts = reuters_bag.data()
    assert [len(part) for part in parts] == [1, 1, 1]  # the repeat is dropped
    words = next(text for target, text in train if target == parts.train.targets[0]).split()
    most = max(set(words), key=words.count)
    assert parts.train.inputs[0, words.index(most)] == 2
    test = dict(zip(["ship", "gold", "oil"], parts.test.inputs[0].tolist(), strict=False))
    assert test["gold"] == reuters_bag.UNKNOWN and test[most] == 2
    assert (parts.test.inputs[0, 3:] == reuters_bag.PAD).all() and parts.test.targets.tolist() == [3]


@pytest.mark.parametrize("module", [reuters_bag, verses_bag])
def test_padding_and_the_order_of_words_make_no_difference(module: Any) -> None:
    model = module.BagOfWords()
    row = torch.tensor([[5, 6, 7, module.PAD, module.PAD]])
    same = torch.tensor([[7, 5, 6]])
    torch.testing.assert_close(model(row), model(same))
    assert not torch.allclose(model(row), model(torch.tensor([[7, 5, 8]])))


def test_verses_know_their_book(monkeypatch: pytest.MonkeyPatch) -> None:
    many = verses_bag.STEPS * verses_bag.BATCH_SIZE + 2 * verses_bag.NUM_VAL
    verses = [("Ge", "In the Beginning,"), ("Rev", "Amen.")] * (many // 2)
    monkeypatch.setattr(verses_bag, "king_james_verses", lambda: verses)
    for part in verses_bag.data():
        lengths = (part.inputs != verses_bag.PAD).sum(1)
        assert torch.equal(lengths == 3, part.targets == 0) and torch.equal(lengths == 1, part.targets == 1)


def test_a_character_of_the_recurrent_net_sees_itself_and_the_past() -> None:
    model = kjv_gru.CharGRU(width=8, hidden=8)
    before = torch.arange(6).unsqueeze(0)
    for at in range(6):
        after = before.clone()
        after[0, at] = 60
        with torch.no_grad():
            moved = (model(before) - model(after)).abs().amax(dim=(0, -1)) > 0
        assert moved.tolist() == [t >= at for t in range(6)]


@pytest.mark.data
def test_news_are_fine_tuned_from_the_pretrained_layers() -> None:
    parts = splits("minilm_topics")
    assert [len(part) for part in parts] == [5_171, 256, 1_024]
    assert parts.train.inputs.shape[1] == 16 and set(parts.train.targets.tolist()) == set(range(8))
    torch.manual_seed(0)
    model = minilm_topics.NewsClassifier(layers=2)
    movies = minilm_movies.MovieClassifier(layers=2, train_words=False)
    for one, other in zip(model.bert.parameters(), movies.bert.parameters(), strict=True):
        assert torch.equal(one, other)
    assert isinstance(model.head, nn.Linear) and model(parts.val.inputs[:4]).shape == (4, 8)
