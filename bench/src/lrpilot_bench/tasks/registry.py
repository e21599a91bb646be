"""Tasks by name. A task joins by its file's ``TASKS``, a file by its name here."""

from lrpilot_bench.plugins import collected, named
from lrpilot_bench.tasks.task import Task

# In the order of the tables.
FILES = (
    "digits",
    "fashion_bn",
    "fashion_plain",
    "papers_net",
    "char_kjv",
    "minilm_movies",
    "translation",
    "diamonds",
    "satellite_conv",
    "satellite_raw",
    "verses_bag",
    "reuters_bag",
    "letters_epochs",
    "kjv_gru",
    "diamonds_batch",
    "minilm_topics",
    "fashion_full",
    "fashion_resnet",
    "papers_fashion",
    "papers_fashion_full",
    "papers_fashion_half",
    "factors_fashion",
)


def tasks() -> dict[str, Task]:
    """Every task, large ones too, by name."""
    return collected((f"lrpilot_bench.tasks.{file}" for file in FILES), "TASKS")


def get_task(name: str) -> Task:
    """The task of that name.

    Raises:
        SettingError: there is none; the closest names are offered.
    """
    return named(tasks(), "A benchmark task", name, listing="lrpilot bench list tasks")
