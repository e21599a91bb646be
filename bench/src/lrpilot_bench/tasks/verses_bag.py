"""King James: which book a verse is from, by the mean of its words' vectors, plain and shallow: SGD, one pass."""

import re
from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lrpilot_bench.data.king_james import king_james_verses
from lrpilot_bench.data.splits import Split, Splits
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid

STEPS, BATCH_SIZE = 800, 32
NUM_VAL = NUM_TEST = 2_500
NUM_WORDS = 8_000  # the most frequent ones of the training part have numbers from 2 on
PAD, UNKNOWN = 0, 1
LENGTH = 64  # words of a row; the few longer verses are cut, shorter ones padded
WIDTH = 64
BOOKS = 66


def data() -> Splits:
    """25,600 verses train, each seen once; 2,500 validate and 2,500 test; in a fixed random order."""
    verses = king_james_verses()
    number_of = {book: i for i, book in enumerate(dict.fromkeys(book for book, _ in verses))}
    words = [re.findall(r"[a-z']+", verse.lower())[:LENGTH] for _, verse in verses]
    order = np.random.default_rng(0).permutation(len(verses))[: NUM_TEST + NUM_VAL + STEPS * BATCH_SIZE]
    test, val, train = np.split(order, [NUM_TEST, NUM_TEST + NUM_VAL])
    counts = Counter(word for i in train for word in words[i])
    ranked = sorted(counts, key=lambda word: (-counts[word], word))[:NUM_WORDS]
    number = {word: i for i, word in enumerate(ranked, start=2)}

    def part(rows: NDArray[np.int64]) -> Split:
        inputs = torch.full((len(rows), LENGTH), PAD)
        for line, i in zip(inputs, rows, strict=True):
            line[: len(words[i])] = torch.tensor([number.get(word, UNKNOWN) for word in words[i]])
        return Split(inputs, torch.tensor([number_of[verses[i][0]] for i in rows]))

    return Splits(part(train), part(val), part(test))


class BagOfWords(nn.Module):
    """The mean of the words' vectors, and a linear head: int64 n x words to logits n x 66; 516,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(NUM_WORDS + 2, WIDTH, mode="mean", padding_idx=PAD)
        self.head = nn.Linear(WIDTH, BOOKS)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.words(inputs))
        return logits


TASKS = (
    Task(
        name="verses_bag",
        title="King James verses in 66 books, mean of word vectors and a linear head, batch 32, one pass",
        module=__name__,
        load=data,
        make_model=BagOfWords,
        criterion=class_loss,
        score=class_accuracy,
        steps=STEPS,
        batch_size=BATCH_SIZE,
        families=(OptimizerFamily("sgd", lr_grid(2.0), default="sgd_step"),),
        handmade="step",
        eval_batch_size=500,
        remark="every sample once; means of many vectors have small gradients: the best lr is far above the tutorials'",
    ),
)
