"""The text tasks: who sees what inside the models, and that no part of the data leaks into another."""

import copy
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lrpilot.errors import DataError, MissingDependencyError
from lrpilot_bench.data.libreoffice import Pair
from lrpilot_bench.data.splits import Splits
from lrpilot_bench.tasks import char_kjv, minilm_movies, translation
from lrpilot_bench.tasks.registry import get_task
from lrpilot_bench.tasks.task import IGNORED, class_loss

NAMES = ("char_kjv", "minilm_movies", "translation")
LENGTH = 6


def character_model() -> nn.Module:
    torch.manual_seed(0)
    return char_kjv.CharTransformer(length=LENGTH, width=16, heads=2, layers=2).eval()


def translator() -> nn.Module:
    torch.manual_seed(0)
    return translation.Translator(length=LENGTH, vocabulary=20, width=16, heads=2, layers=2).eval()


def moved(model: nn.Module, before: Tensor, after: Tensor) -> Tensor:
    """Whether the logits differ, by position."""
    with torch.no_grad():
        return (model(before) - model(after)).abs().amax(dim=(0, -1)) > 1e-6


@cache
def splits(name: str) -> Splits:
    try:
        return get_task(name).load()
    except MissingDependencyError as error:
        pytest.skip(str(error))


# ------------------------------------------------------------------ who sees what


@settings(deadline=None, max_examples=30)
@given(at=st.integers(0, LENGTH - 1), letter=st.integers(0, 62))
def test_a_character_sees_itself_and_the_past(at: int, letter: int) -> None:
    before = torch.arange(LENGTH).unsqueeze(0)
    after = before.clone()
    after[0, at] = letter

    expected = [bool(letter != at) and t >= at for t in range(LENGTH)]
    assert moved(character_model(), before, after).tolist() == expected


@settings(deadline=None, max_examples=30)
@given(at=st.integers(0, LENGTH - 1))
def test_the_decoder_sees_its_past_alone(at: int) -> None:
    before = torch.tensor([[5, 6, 7, 8, 0, 0, translation.BEGIN, 9, 10, 11, 12, 13]])
    after = before.clone()
    after[0, LENGTH + at] = 19

    assert moved(translator(), before, after).tolist() == [t >= at for t in range(LENGTH)]


def test_every_output_sees_every_source_token() -> None:
    before = torch.tensor([[5, 6, 7, 8, 0, 0, translation.BEGIN, 9, 10, 11, 12, 13]])
    for at in range(4):
        after = before.clone()
        after[0, at] = 19
        assert moved(translator(), before, after).all()


def test_what_stands_in_a_sources_padding_makes_no_difference() -> None:
    model = translator()
    inputs = torch.tensor([[5, 6, 7, 8, 0, 0, translation.BEGIN, 9, 10, 11, 12, 13]])
    with torch.no_grad():
        before = model(inputs)
        model.token.weight[translation.PAD] += 10.0  # type: ignore[union-attr]

        assert torch.equal(model(inputs), before)


def test_padded_targets_count_nothing() -> None:
    logits = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, 2, IGNORED, IGNORED], [3, IGNORED, IGNORED, IGNORED]])

    by_hand = -(logits.log_softmax(-1)[[0, 0, 1], [0, 1, 0], [1, 2, 3]]).mean()
    torch.testing.assert_close(class_loss(logits, targets), by_hand)


# ------------------------------------------------------------------ the data


@pytest.mark.parametrize(("length", "text", "inputs", "targets"), [(2, "abcde", ["ab", "cd"], ["bc", "de"])])
def test_windows_by_hand(length: int, text: str, inputs: list[str], targets: list[str]) -> None:
    windows = char_kjv._windows(torch.tensor([ord(letter) for letter in text]), length)

    assert ["".join(map(chr, row)) for row in windows.inputs.tolist()] == inputs
    assert ["".join(map(chr, row)) for row in windows.targets.tolist()] == targets


def test_pages_and_english_texts_are_in_one_part_each() -> None:
    pairs = [Pair(f"page{i % 40}", f"text {i % 350}", f"Text {i}") for i in range(400)]

    parts = translation._parts(pairs)

    assert all(len(part) > 10 for part in parts)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not {p.page for p in parts[one]} & {p.page for p in parts[other]}
        assert not {p.english for p in parts[one]} & {p.english for p in parts[other]}
    assert translation._parts(pairs) == parts


def test_pairs_are_packed_as_documented() -> None:
    pytest.importorskip("tokenizers")
    pairs = [Pair("a", "open file", "offen"), Pair("a", "open " * 30, "lang")]
    tokenizer = translation._tokenizer((text for p in pairs for text in (p.english, p.german)), 300)

    def text(tokens: list[int]) -> str:
        return "".join(tokenizer.id_to_token(token) for token in tokens if token != translation.PAD).replace("Ġ", " ")

    packed = translation._encoded(tokenizer, pairs, 10)

    assert len(packed) == 1  # the second is too long
    source, shifted = packed.inputs[0].split(10)
    assert text(source.tolist()) == " open file"
    end = packed.targets[0].tolist().index(translation.END)
    assert text(packed.targets[0, :end].tolist()) == " offen"
    assert shifted[0] == translation.BEGIN and torch.equal(shifted[1 : end + 1], packed.targets[0, :end])
    assert (packed.targets[0, end + 1 :] == IGNORED).all() and (shifted[end + 1 :] == translation.PAD).all()


def test_a_part_that_is_too_small_is_refused() -> None:
    part = char_kjv._windows(torch.arange(9), 2)

    assert len(translation._first(part, 4)) == 4
    with pytest.raises(DataError, match="must hold 5 pairs, got 4"):
        translation._first(part, 5)


@pytest.mark.data
@pytest.mark.parametrize("name", NAMES)
def test_no_sample_is_in_two_parts(name: str) -> None:
    parts = [set(map(tuple, part.inputs.tolist())) for part in splits(name)]

    for one, other in ((0, 1), (0, 2), (1, 2)):
        shared = len(parts[one] & parts[other])
        # whole texts are in one part; cut to 16 tokens, two reviews can begin alike, and so can two phrases
        assert shared <= 3, (one, other, shared)


@pytest.mark.data
def test_validation_text_follows_the_training_text() -> None:
    data = splits("char_kjv")

    for part in data:
        assert torch.equal(part.inputs[:, 1:], part.targets[:, :-1])
        assert part.inputs.min() >= 0 and part.inputs.max() < 63
    together = data.train.inputs[1:, 0]
    assert torch.equal(together, data.train.targets[:-1, -1])  # training windows are one text, without gaps


# ------------------------------------------------------------------ the tasks


@pytest.mark.data
@pytest.mark.parametrize("name", NAMES)
def test_a_task_depends_on_the_seed_alone(name: str) -> None:
    task, data = get_task(name), splits(name)
    batch = (data.train.inputs[:8], data.train.targets[:8])

    def gradient(seed: int) -> tuple[float, float]:
        torch.manual_seed(seed)
        model = task.make_model().train()
        loss = task.loss_fn(model, batch)
        loss.backward()
        return float(loss.detach()), sum(float(p.grad.abs().sum()) for p in model.parameters() if p.grad is not None)

    assert gradient(3) == gradient(3)
    assert gradient(3) != gradient(4)


@pytest.mark.data
@pytest.mark.parametrize("name", NAMES)
def test_an_untrained_model_guesses(name: str) -> None:
    task, data = get_task(name), splits(name)
    torch.manual_seed(0)
    model = task.make_model().eval()
    batch = (data.val.inputs[:64], data.val.targets[:64])

    with torch.no_grad():
        loss, classes = float(task.loss_fn(model, batch)), model(batch[0]).shape[-1]

    assert abs(loss - torch.log(torch.tensor(float(classes)))) < 0.5


@pytest.mark.data
def test_a_reviews_padding_makes_no_difference() -> None:
    rows = splits("minilm_movies").val.inputs[:64]
    short = rows[(rows == minilm_movies.PAD).sum(1) >= 4]
    assert len(short) > 2
    model = get_task("minilm_movies").make_model().eval()

    with torch.no_grad():
        torch.testing.assert_close(model(short[:, :12]), model(short), atol=1e-5, rtol=1e-4)


@pytest.mark.data
def test_weights_are_the_pretrained_ones_and_copies_share_the_words() -> None:
    splits("minilm_movies")
    torch.manual_seed(0)
    model = minilm_movies.MovieClassifier(layers=1, train_words=False)
    random = minilm_movies.MovieClassifier(layers=1, train_words=False, pretrained=False)
    whole = minilm_movies.MovieClassifier(layers=2, train_words=True)

    weights, others = (dict(m.bert.encoder.layer[0].named_parameters()) for m in (model, whole))
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert not torch.equal(
        model.bert.embeddings.position_embeddings.weight, random.bert.embeddings.position_embeddings.weight
    )
    words = minilm_movies._word_vectors(torch.device("cpu"))
    assert words.shape == (30_522, 384) and torch.equal(words, whole.words.weight)
    assert max(p.numel() for p in copy.deepcopy(model).parameters()) < words.numel()
