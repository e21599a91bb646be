"""The four configurations of the example task, shared by the scripts beside this one."""

from collections.abc import Mapping
from dataclasses import dataclass

from lrpilot_bench.studies.checkout import load_example

SEEDS = (0, 1, 2)  # initial weights and data order; equal seeds are paired across lrs and methods


example = load_example("fashion_mnist")


@dataclass(frozen=True)
class Config:
    """One configuration: the example's network with or without BatchNorm, and an optimizer's name."""

    batch_norm: bool
    optimizer: str
    title: str


CONFIGS: Mapping[str, Config] = {
    "bn-sgd": Config(True, "sgd", "BatchNorm, SGD with momentum"),
    "bn-adamw": Config(True, "adamw", "BatchNorm, AdamW"),
    "plain-sgd": Config(False, "sgd", "no normalisation, SGD with momentum"),
    "plain-adamw": Config(False, "adamw", "no normalisation, AdamW"),
}
