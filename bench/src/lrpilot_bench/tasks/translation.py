"""Translation: an encoder-decoder transformer from English to German, AdamW; where warmup comes from."""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lrpilot.errors import DataError
from lrpilot_bench.data.libreoffice import Pair, libreoffice_help
from lrpilot_bench.data.splits import Split, Splits
from lrpilot_bench.tasks.task import IGNORED, OptimizerFamily, Task, class_accuracy, class_loss, lr_grid

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, BEGIN, END = range(3)
SPECIAL = ("[PAD]", "[BEGIN]", "[END]")
VAL, TEST = 0.15, 0.15  # of the help pages
LETTERS_PER_TOKEN = 6  # a text with more letters than this a token is not even tried to fit


def load(*, length: int, vocabulary: int, num_val: int, num_test: int) -> Splits:
    """Short paragraphs of LibreOffice's help, split by page, with a subword vocabulary of the training part.

    Args:
        length: tokens of a source and of a target; longer pairs are left out.
        vocabulary: subwords (byte-level BPE, both languages together), special ones included.
        num_val: validation pairs.
        num_test: test pairs.

    Returns:
        Inputs int64 n x (2 length): the source, then the target shifted by one behind BEGIN. Targets
        int64 n x length, ended by END, IGNORED after it.
    """
    train, val, test = _parts([p for p in libreoffice_help() if _may_fit(p, length)])
    tokenizer = _tokenizer((text for p in train for text in (p.english, p.german)), vocabulary)
    parts = [_encoded(tokenizer, pairs, length) for pairs in (train, val, test)]
    for name, part, many in (("val", parts[1], num_val), ("test", parts[2], num_test)):
        if len(part) < many:
            raise DataError(f"The {name} part must hold {many} pairs, got {len(part)}. Get the data again.")
    return Splits(
        parts[0], *(Split(p.inputs[:n], p.targets[:n]) for p, n in zip(parts[1:], (num_val, num_test), strict=True))
    )


def _may_fit(pair: Pair, length: int) -> bool:
    return max(len(pair.english), len(pair.german)) <= LETTERS_PER_TOKEN * length


def _parts(pairs: list[Pair]) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Train, val and test pairs in a fixed random order; no page and no English text is in two of them."""
    rng = np.random.default_rng(0)
    pages = sorted({pair.page for pair in pairs})
    draw = dict(zip(pages, rng.random(len(pages)), strict=True))
    shuffled = [pairs[i] for i in rng.permutation(len(pairs))]
    test = [p for p in shuffled if draw[p.page] < TEST]
    val = [p for p in shuffled if TEST <= draw[p.page] < TEST + VAL]
    train = [p for p in shuffled if draw[p.page] >= TEST + VAL]
    seen = {p.english for p in train}
    val = [p for p in val if p.english not in seen]
    seen |= {p.english for p in val}
    return train, val, [p for p in test if p.english not in seen]


def _tokenizer(texts: Iterable[str], vocabulary: int) -> "Tokenizer":
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _encoded(tokenizer: "Tokenizer", pairs: list[Pair], length: int) -> Split:
    sources = [row.ids for row in tokenizer.encode_batch_fast([p.english for p in pairs])]
    targets = [row.ids for row in tokenizer.encode_batch_fast([p.german for p in pairs])]
    fitting = [(s, t) for s, t in zip(sources, targets, strict=True) if max(len(s), len(t) + 1) <= length]
    inputs = [_padded(s, length, PAD) + _padded([BEGIN, *t], length, PAD) for s, t in fitting]
    return Split(torch.tensor(inputs), torch.tensor([_padded([*t, END], length, IGNORED) for _, t in fitting]))


def _first(part: Split, many: int) -> Split:
    if len(part) < many:
        raise DataError(f"Validation and test parts must hold {many} pairs, got {len(part)}. Fetch the data again.")
    return Split(part.inputs[:many], part.targets[:many])


def _padded(tokens: list[int], length: int, filler: int) -> list[int]:
    return tokens + [filler] * (length - len(tokens))


class Attention(nn.Module):
    """Multi-head attention of one sequence on another (or itself)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.mix = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, source: Tensor, *, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """N x T x width on n x S x width; ``mask`` is True where a query may look, broadcast to n x 1 x T x S."""
        n, t, width = x.shape
        q = self.query(x).view(n, t, self.heads, -1).transpose(1, 2)
        k, v = self.key_value(source).view(n, source.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        mixed: Tensor = self.mix(attended.transpose(1, 2).reshape(n, t, width))
        return mixed


class Layer(nn.Module):
    """A layer of Vaswani et al. 2017, normalised after each addition; with ``cross``, one of the decoder."""

    def __init__(self, width: int, heads: int, dropout: float, *, cross: bool) -> None:
        super().__init__()
        self.self_attention = Attention(width, heads)
        self.cross_attention = Attention(width, heads) if cross else None
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3 if cross else 2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """An encoder layer attends to ``source`` (itself) under the mask, a decoder layer also to its own past."""
        if self.cross_attention is None:
            x = self.norms[0](x + self.dropout(self.self_attention(x, x, mask=mask)))
        else:
            x = self.norms[0](x + self.dropout(self.self_attention(x, x, causal=True)))
            x = self.norms[1](x + self.dropout(self.cross_attention(x, source, mask=mask)))
        out: Tensor = self.norms[-1](x + self.dropout(self.mlp(x)))
        return out


class Translator(nn.Module):
    """Logits of the next target token: int64 n x (2 length) to n x length x vocabulary."""

    def __init__(
        self, *, length: int, vocabulary: int, width: int, heads: int, layers: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.length = length
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        for embedding in (self.token, self.position):
            nn.init.normal_(embedding.weight, std=width**-0.5)
        self.encoder = nn.ModuleList(Layer(width, heads, dropout, cross=False) for _ in range(layers))
        self.decoder = nn.ModuleList(Layer(width, heads, dropout, cross=True) for _ in range(layers))
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(width, vocabulary)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits; a source's padding is looked at by nobody."""
        source, target = inputs.split(self.length, dim=1)
        mask = (source != PAD)[:, None, None, :]
        x = self._embedded(source)
        for layer in self.encoder:
            x = layer(x, x, mask)
        y = self._embedded(target)
        for layer in self.decoder:
            y = layer(y, x, mask)
        logits: Tensor = self.head(y)
        return logits

    def _embedded(self, tokens: Tensor) -> Tensor:
        scale = self.token.embedding_dim**0.5
        embedded: Tensor = self.dropout(scale * (self.token(tokens) + self.position.weight))
        return embedded


TASKS = (
    Task(
        name="translation",
        title="LibreOffice help, English to German (16 subwords), 2+2-layer transformer (64 wide), batch 16",
        module=__name__,
        load=partial(load, length=16, vocabulary=1000, num_val=512, num_test=1024),
        make_model=partial(Translator, length=16, vocabulary=1000, width=64, heads=4, layers=2),
        criterion=class_loss,
        score=class_accuracy,
        steps=1000,
        batch_size=16,
        families=(OptimizerFamily("adamw", lr_grid(0.003), default="adamw_constant", weight_decay=0.01),),
        handmade="inverse_sqrt",
        eval_batch_size=128,
        packages=("tokenizers",),
        remark="post-norm layers: the net that warmup and inverse square root were made for; score per token",
    ),
    Task(
        name="translation_large",
        title="LibreOffice help, English to German (48 subwords), 3+3-layer transformer (256 wide), batch 64",
        module=__name__,
        load=partial(load, length=48, vocabulary=8000, num_val=1024, num_test=2048),
        make_model=partial(Translator, length=48, vocabulary=8000, width=256, heads=8, layers=3),
        criterion=class_loss,
        score=class_accuracy,
        steps=6000,
        batch_size=64,
        families=(OptimizerFamily("adamw", lr_grid(0.001), default="adamw_constant", weight_decay=0.01),),
        handmade="inverse_sqrt",
        eval_batch_size=128,
        packages=("tokenizers",),
        large=True,
        remark="the same on a GPU, with whole sentences",
    ),
)
