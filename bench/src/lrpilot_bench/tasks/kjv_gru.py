"""King James: a recurrent character model, AdamW, one pass over the part of the text that it is given."""

from functools import partial

from torch import Tensor, nn

from lrpilot_bench.data.splits import Splits
from lrpilot_bench.tasks.char_kjv import load
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid

STEPS, BATCH_SIZE = 1000, 16
LETTERS = 63


def data() -> Splits:
    """The first 16,000 windows of 32 characters train, each seen once; 256 validate and 1,024 test."""
    splits = load(length=32, num_val=256, num_test=1024)
    return Splits(splits.train.head(STEPS * BATCH_SIZE), splits.val, splits.test)


class CharGRU(nn.Module):
    """Logits of the next character at every position: int64 n x T to n x T x letters."""

    def __init__(self, *, width: int, hidden: int) -> None:
        super().__init__()
        self.letter = nn.Embedding(LETTERS, width)
        self.gru = nn.GRU(width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, LETTERS)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        states, _ = self.gru(self.letter(inputs))
        logits: Tensor = self.head(states)
        return logits


TASKS = (
    Task(
        name="kjv_gru",
        title="King James text, character GRU (128 wide, context 32), batch 16, one pass",
        module=__name__,
        load=data,
        make_model=partial(CharGRU, width=32, hidden=128),
        criterion=class_loss,
        score=class_accuracy,
        steps=STEPS,
        batch_size=BATCH_SIZE,
        families=(OptimizerFamily("adamw", lr_grid(0.01), default="adamw_constant", weight_decay=0.01),),
        eval_batch_size=128,
        remark="every sample once, and a recurrent net",
    ),
)
