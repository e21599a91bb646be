"""Diamonds in batches of 4,096: the same table and net as in small ones, few steps, AdamW."""

from torch import nn

from lrpilot_bench.tasks.diamonds import absolute_error, data, model
from lrpilot_bench.tasks.task import OptimizerFamily, Task, lr_grid

TASKS = (
    Task(
        name="diamonds_batch",
        title="diamonds, log price from 10 properties, 3-layer MLP with squared error, batch 4,096",
        module=__name__,
        load=data,
        make_model=model,
        criterion=nn.functional.mse_loss,
        score=absolute_error,
        steps=300,
        batch_size=4096,
        families=(OptimizerFamily("adamw", lr_grid(0.03), default="adamw_constant", weight_decay=0.01),),
        score_name="absolute error",
        score_better="lower",
        eval_batch_size=4000,
        remark="a large batch: gradients without noise, and few of them",
    ),
)
