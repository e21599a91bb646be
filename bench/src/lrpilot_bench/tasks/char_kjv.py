"""King James: a causal character transformer, AdamW; language modelling from scratch."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lrpilot_bench.data.king_james import king_james
from lrpilot_bench.data.splits import Split, Splits
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid

TRAIN, VAL = 0.8, 0.1  # of the text, in its order; the rest is for the test
EMBEDDING_STD = 0.02  # torch's default of 1 leaves such nets on the plateau of letter frequencies


def load(*, length: int, num_val: int, num_test: int) -> Splits:
    """Windows of the text that do not overlap, each with the same window one character later.

    Args:
        length: characters of a window.
        num_val: windows, spread evenly over the validation part.
        num_test: windows, spread evenly over the test part.

    Returns:
        Inputs and targets n x length, int64 numbers of characters in the order of the alphabet.
    """
    text = king_james()
    number = {letter: i for i, letter in enumerate(sorted(set(text)))}
    codes = torch.tensor([number[letter] for letter in text])
    train_end, val_end = int(TRAIN * len(codes)), int((TRAIN + VAL) * len(codes))
    return Splits(
        _windows(codes[:train_end], length),
        _spread(_windows(codes[train_end:val_end], length), num_val),
        _spread(_windows(codes[val_end:], length), num_test),
    )


def _windows(codes: Tensor, length: int) -> Split:
    many = (len(codes) - 1) // length
    return Split(codes[: many * length].view(many, length), codes[1 : many * length + 1].view(many, length))


def _spread(windows: Split, many: int) -> Split:
    picks = torch.arange(many) * len(windows) // many
    return Split(windows.inputs[picks], windows.targets[picks])


class Block(nn.Module):
    """Causal self-attention and an MLP, each on normalised input and added to what it came from."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """N x T x width to the same shape; position t depends on positions up to t."""
        n, t, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.mix(attended.transpose(1, 2).reshape(n, t, width))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class CharTransformer(nn.Module):
    """Logits of the next character at every position: int64 n x T to n x T x letters."""

    def __init__(self, *, letters: int = 63, length: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.letter, self.position = nn.Embedding(letters, width), nn.Embedding(length, width)
        for embedding in (self.letter, self.position):
            nn.init.normal_(embedding.weight, std=EMBEDDING_STD)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, letters)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        x = self.letter(inputs) + self.position.weight[: inputs.shape[1]]
        logits: Tensor = self.head(self.norm(self.blocks(x)))
        return logits


TASKS = (
    Task(
        name="char_kjv",
        title="King James text, 2-layer character transformer (64 wide, context 64), batch 8",
        module=__name__,
        load=partial(load, length=64, num_val=256, num_test=1024),
        make_model=partial(CharTransformer, length=64, width=64, heads=4, layers=2),
        criterion=class_loss,
        score=class_accuracy,
        steps=1000,
        batch_size=8,
        families=(OptimizerFamily("adamw", lr_grid(0.003), default="adamw_constant", weight_decay=0.01),),
        eval_batch_size=64,
        remark="language modelling from scratch, a third of an epoch; bits per character are the loss / 0.693",
    ),
    Task(
        name="char_kjv_large",
        title="King James text, 6-layer character transformer (384 wide, context 256), batch 64",
        module=__name__,
        load=partial(load, length=256, num_val=512, num_test=1024),
        make_model=partial(CharTransformer, length=256, width=384, heads=6, layers=6),
        criterion=class_loss,
        score=class_accuracy,
        steps=4000,
        batch_size=64,
        families=(OptimizerFamily("adamw", lr_grid(0.001), default="adamw_constant", weight_decay=0.01),),
        eval_batch_size=128,
        large=True,
        remark="the shape that introductions to GPT train, on a GPU: 20 epochs, so it overfits",
    ),
)
