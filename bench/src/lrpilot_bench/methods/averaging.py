"""What methods share whose weights to judge are an average of those they train.

Where the model has batch normalisation, its running statistics belong to the trained weights and are estimated anew for
the average before it is judged.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

import torch
from torch import nn

from lrpilot_bench.session import Session

MOST_OF_A_RUN = 10  # renewing the statistics takes no more than a tenth of a short run


def statistics_batches(session: Session, norm_batches: int) -> int:
    """Training batches that renew running statistics; 0 for a model that keeps none.

    Args:
        session: what is trained.
        norm_batches: as many as a long run takes.
    """
    return min(norm_batches, math.ceil(session.budget / MOST_OF_A_RUN)) if _is_normalised(session.model) else 0


@contextmanager
def lent(session: Session, put: Callable[[], None], take: Callable[[], None], batches: int) -> Iterator[None]:
    """Inside, the model holds the average; after, its weights and buffers are what they were, bit for bit.

    Args:
        session: what is trained.
        put: puts the average into the model.
        take: called before the weights are put back, for an optimizer that must know.
        batches: that renew the running statistics.
    """
    tensors = [*session.model.parameters(), *session.model.buffers()]
    kept = [tensor.detach().clone() for tensor in tensors]
    put()
    try:
        renew_statistics(session, batches)
        yield
    finally:
        take()
        with torch.no_grad():
            for tensor, value in zip(tensors, kept, strict=True):
                tensor.copy_(value)


def renew_statistics(session: Session, batches: int) -> int:
    """Pass training batches through the model in train mode; how many samples there were."""
    samples = 0
    session.model.train()
    with torch.no_grad():
        for inputs, _ in islice(session.probe_batches(), batches):
            session.model(inputs)
            samples += len(inputs)
    return samples


def _is_normalised(model: nn.Module) -> bool:
    """Whether the model keeps running statistics of its activations."""
    return any(getattr(module, "running_mean", None) is not None for module in model.modules())
