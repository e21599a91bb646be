"""Reuters R8 by fine-tuning a pretrained transformer, AdamW: a second fine-tuning, easier and shorter."""

from functools import partial

import numpy as np
import torch
from torch import nn

from lrpilot_bench.data.minilm import minilm
from lrpilot_bench.data.reuters import CLASSES, reuters
from lrpilot_bench.data.splits import Split, Splits
from lrpilot_bench.tasks.minilm_movies import PAD, MovieClassifier
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid


def load(*, length: int, num_val: int, num_test: int) -> Splits:
    """News as tokens, in a fixed random order without repeats.

    Args:
        length: tokens of a row, the opening and the closing one included; longer texts are cut, shorter ones padded.
        num_val: texts of the published training part; the rest of it trains.
        num_test: the first texts of the published test part.

    Returns:
        Inputs int64 n x length, targets int64 numbers of classes.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm() / "tokenizer.json"))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=PAD)
    texts, test = reuters()
    known = list(dict.fromkeys(texts))
    order = np.random.default_rng(0).permutation(len(known))
    val, train = ([known[i] for i in rows] for rows in (order[:num_val], order[num_val:]))

    def part(some: list[tuple[int, str]]) -> Split:
        rows = [row.ids for row in tokenizer.encode_batch([text for _, text in some])]
        return Split(torch.tensor(rows), torch.tensor([target for target, _ in some]))

    return Splits(part(train), part(val), part(test[:num_test]))


class NewsClassifier(MovieClassifier):
    """The same layers with a head of eight classes; word embeddings are constant."""

    def __init__(self, *, layers: int) -> None:
        super().__init__(layers=layers, train_words=False)
        self.head = nn.Linear(self.bert.config.hidden_size, len(CLASSES))


TASKS = (
    Task(
        name="minilm_topics",
        title="Reuters R8 news (16 tokens) in 8 classes, first two layers of pretrained MiniLM fine-tuned, batch 8",
        module=__name__,
        load=partial(load, length=16, num_val=256, num_test=1024),
        make_model=partial(NewsClassifier, layers=2),
        criterion=class_loss,
        score=class_accuracy,
        steps=160,
        batch_size=8,
        families=(OptimizerFamily("adamw", lr_grid(5e-4), default="adamw_linear_5e5"),),
        handmade="linear",
        handmade_lr=5e-5,
        eval_batch_size=128,
        packages=("transformers",),
        pretrained=True,
        remark="fine-tuning again, in 160 steps, on headlines",
    ),
)
