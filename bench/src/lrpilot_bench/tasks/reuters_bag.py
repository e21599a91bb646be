"""Reuters R8: news by the mean of their words' vectors, AdamW; the best lr lies far above the optimizer's default."""

from collections import Counter

import numpy as np
import torch
from torch import Tensor, nn

from lrpilot_bench.data.reuters import CLASSES, reuters
from lrpilot_bench.data.splits import Split, Splits
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid

NUM_WORDS = 20_000  # the most frequent ones of the training part have numbers from 2 on
PAD, UNKNOWN = 0, 1
LENGTH = 128  # words of a row; longer texts are cut, shorter ones padded
NUM_VAL = 1_000
WIDTH = 64


def data() -> Splits:
    """4,427 texts train and 1,000 validate, in a fixed random order without repeats; the published 2,189 test."""
    texts, test = reuters()
    known = list(dict.fromkeys(texts))
    order = np.random.default_rng(0).permutation(len(known))
    val, train = ([known[i] for i in rows] for rows in (order[:NUM_VAL], order[NUM_VAL:]))
    counts = Counter(word for _, text in train for word in text.split())
    ranked = sorted(counts, key=lambda word: (-counts[word], word))[:NUM_WORDS]
    number = {word: i for i, word in enumerate(ranked, start=2)}
    return Splits(*(_numbered(part, number) for part in (train, val, test)))


def _numbered(texts: list[tuple[int, str]], number: dict[str, int]) -> Split:
    inputs = torch.full((len(texts), LENGTH), PAD)
    for row, (_, text) in zip(inputs, texts, strict=True):
        words = [number.get(word, UNKNOWN) for word in text.split()[:LENGTH]]
        row[: len(words)] = torch.tensor(words)
    return Split(inputs, torch.tensor([target for target, _ in texts]))


class BagOfWords(nn.Module):
    """The mean of the words' vectors, and a linear head: int64 n x words to logits n x 8; 1.3 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(NUM_WORDS + 2, WIDTH, mode="mean", padding_idx=PAD)
        self.head = nn.Linear(WIDTH, len(CLASSES))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.words(inputs))
        return logits


TASKS = (
    Task(
        name="reuters_bag",
        title="Reuters R8 news in 8 classes, mean of word vectors and a linear head, batch 32, 6 epochs",
        module=__name__,
        load=data,
        make_model=BagOfWords,
        criterion=class_loss,
        score=class_accuracy,
        steps=6 * 138,
        batch_size=32,
        families=(OptimizerFamily("adamw", lr_grid(0.03), default="adamw_constant", weight_decay=0.01),),
        eval_batch_size=500,
        remark="most words are rare and their vectors hardly move, so the best lr is far above the default",
    ),
)
