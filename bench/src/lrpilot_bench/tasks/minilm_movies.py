"""Movie reviews: fine-tuning a pretrained transformer, AdamW; where range tests are said to fail."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrpilot_bench.data.minilm import minilm
from lrpilot_bench.data.movies import movie_reviews
from lrpilot_bench.data.splits import Split, Splits
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid

PAD = 0  # number of the padding token


def load(*, length: int, num_train: int, num_val: int, num_test: int) -> Splits:
    """Sentences in a fixed random order as tokens, and whether their mean sentiment is positive.

    Args:
        length: tokens of a row, the opening and the closing one included; longer sentences are cut, shorter
            ones padded.
        num_train: sentences.
        num_val: sentences.
        num_test: sentences; what is left of the 10,605 is not used.

    Returns:
        Inputs int64 n x length, targets 0 (negative) or 1.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm() / "tokenizer.json"))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=PAD)
    reviews = movie_reviews()
    inputs = torch.tensor([row.ids for row in tokenizer.encode_batch([text for _, text in reviews])])
    targets = torch.tensor([int(sentiment > 0) for sentiment, _ in reviews])
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(reviews)))
    used = order[: num_train + num_val + num_test].split([num_train, num_val, num_test])
    train, val, test = (Split(inputs[rows], targets[rows]) for rows in used)
    return Splits(train, val, test)


class MovieClassifier(nn.Module):
    """The first layers of MiniLM, the mean over the sentence's tokens, and a new linear head.

    Args:
        layers: kept, of six.
        train_words: whether the word embeddings are trained; else they are constants, shared by all copies
            of the model: half of all parameters of the whole model, and most of an optimizer step.
        pretrained: False for random weights of the same shape; constant word embeddings stay as they are.
    """

    def __init__(self, *, layers: int, train_words: bool, pretrained: bool = True) -> None:
        super().__init__()
        self.bert = _bert(layers, pretrained)
        self.words: nn.Module | None = self.bert.embeddings.word_embeddings if train_words else None
        self.bert.embeddings.word_embeddings = nn.Identity()  # it is given vectors
        self.head = nn.Linear(self.bert.config.hidden_size, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        """int64 n x length, 0 where padded, to logits n x 2."""
        mask = inputs != PAD
        vectors = self._vectors(inputs)
        hidden: Tensor = self.bert(inputs_embeds=vectors, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        logits: Tensor = self.head((hidden * weights).sum(1) / weights.sum(1))
        return logits

    def _vectors(self, inputs: Tensor) -> Tensor:
        if self.words is None:
            return nn.functional.embedding(inputs, _word_vectors(inputs.device))
        vectors: Tensor = self.words(inputs)
        return vectors


def _bert(layers: int, pretrained: bool) -> Any:
    from transformers import BertConfig, BertModel

    place = minilm()
    with _quiet():
        if pretrained:
            return BertModel.from_pretrained(
                place, num_hidden_layers=layers, add_pooling_layer=False, local_files_only=True
            )
        config = BertConfig.from_pretrained(place, num_hidden_layers=layers, local_files_only=True)
        return BertModel(config, add_pooling_layer=False)


@cache
def _word_vectors(device: torch.device) -> Tensor:
    """The pretrained word embeddings, 30,522 x 384, constant."""
    from safetensors import safe_open

    with safe_open(minilm() / "model.safetensors", framework="pt") as weights:
        vectors: Tensor = weights.get_tensor("embeddings.word_embeddings.weight")
    return vectors.to(device)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bar of transformers and its report on the layers that are left out."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging  # half of it has no types
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


TASKS = (
    Task(
        name="minilm_movies",
        title="movie-review sentences (16 tokens), first two layers of pretrained MiniLM fine-tuned, batch 8",
        module=__name__,
        load=partial(load, length=16, num_train=2664, num_val=256, num_test=1024),
        make_model=partial(MovieClassifier, layers=2, train_words=False),
        criterion=class_loss,
        score=class_accuracy,
        steps=1000,
        batch_size=8,
        families=(OptimizerFamily("adamw", lr_grid(1.6e-4), default="adamw_linear_5e5"),),
        handmade="linear",
        handmade_lr=5e-5,
        eval_batch_size=128,
        packages=("transformers",),
        pretrained=True,
        remark="fine-tuning: huggingface/transformers#16013 reports range tests that pick a useless lr here",
    ),
    Task(
        name="minilm_movies_full",
        title="movie-review sentences (64 tokens), all 6 layers of pretrained MiniLM fine-tuned, batch 16",
        module=__name__,
        load=partial(load, length=64, num_train=8000, num_val=1024, num_test=1581),
        make_model=partial(MovieClassifier, layers=6, train_words=True),
        criterion=class_loss,
        score=class_accuracy,
        steps=1500,
        batch_size=16,
        families=(OptimizerFamily("adamw", lr_grid(1e-4), default="adamw_linear_5e5"),),
        handmade="linear",
        handmade_lr=5e-5,
        eval_batch_size=128,
        packages=("transformers",),
        pretrained=True,
        large=True,
        remark="the whole model, three epochs: what fine-tuning usually is",
    ),
)
