"""Pure forward passes: they leave no trace, and those of the same seed see the same dropout masks."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeGuard

import torch
from torch import Tensor, nn

from lrpilot.training.interrupts import deferred_interrupt
from lrpilot.training.restore.module_state import ModuleState
from lrpilot.training.restore.rng import kept_rng, seed_rng
from lrpilot.training.torch_private import reshard


class ForwardTrace:
    """What forward passes leave behind: buffers, modes and plain attributes, as they were before.

    Parameters are no part of it, but for embeddings with a ``max_norm``, which shrink the rows that a pass looks up,
    and those that are known to be written.

    Args:
        model: the model.
        beside: modules that a loss may use beside the model (a criterion with a moving centre).
        written: parameters that a pass writes (those of a momentum encoder).
    """

    def __init__(self, model: nn.Module, beside: Iterable[nn.Module] = (), written: Iterable[Tensor] = ()) -> None:
        reshard(model)
        self._model = model
        self._before = [ModuleState(module) for module in (model, *beside)]
        self._tables = [*(module.weight for module in model.modules() if _renorms(module)), *written]
        self._contents = [table.detach().clone() for table in self._tables]

    def undo(self) -> None:
        """Put all of it back."""
        # test_forwards.py::test_ctrl_c_in_the_middle_of_the_restore_waits_for_its_end
        with deferred_interrupt(), torch.no_grad():
            # Gathered copies, which the next pass would compute with whatever is written into the shards:
            # test_distributed_kinds.py::test_every_kind_measures_what_one_process_does
            reshard(self._model)
            # BatchNorm and spectral norm buffers, modes, hidden states:
            # test_forwards.py::test_forward_passes_leave_no_trace; of a criterion too:
            # test_continuation.py::test_buffers_of_a_criterion_go_back
            for state in self._before:
                state.restore()
            # test_forwards.py::test_an_embedding_with_a_largest_norm_is_left_as_it_was,
            # test_odd_continuation.py::test_a_line_leaves_odd_modules_as_they_were
            for table, content in zip(self._tables, self._contents, strict=True):
                table.copy_(content)


@contextmanager
def pure_forwards(
    model: nn.Module, beside: Iterable[nn.Module] = (), written: Iterable[Tensor] = ()
) -> Iterator[Callable[[int], None]]:
    """Forward passes inside leave no trace: buffers, modes, plain attributes and RNG are put back.

    Yields ``begin(seed)``, to be called before every pass: the state is then again what it was before the block, and
    passes of the same seed draw the same dropout masks. That state is copied once for all passes, so nothing but
    they may change the model inside; of the parameters only those of embeddings with a ``max_norm``, which shrink the
    rows that a pass looks up, and ``written`` are part of it.

    Args:
        model: the model.
        beside: modules that a loss may use beside the model (a criterion with a moving centre).
        written: parameters that a pass writes.
    """
    trace = ForwardTrace(model, beside, written)
    begun = False

    def begin(seed: int) -> None:
        nonlocal begun
        # Every pass begins where the first did: test_forwards.py::test_every_pass_begins_where_the_first_did
        if begun:
            trace.undo()
        begun = True
        # The same masks for every candidate: test_forwards.py::test_dropout_masks_are_the_same_for_every_candidate
        seed_rng(seed)

    try:
        # test_forwards.py::test_forward_passes_leave_no_trace
        with kept_rng(), torch.no_grad():
            yield begin
    finally:
        trace.undo()


def _renorms(module: nn.Module) -> TypeGuard[nn.Embedding | nn.EmbeddingBag]:
    """Whether a forward pass of this module writes into its weights."""
    return isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.max_norm is not None


@contextmanager
def pure_forward(
    model: nn.Module, seed: int, beside: Iterable[nn.Module] = (), written: Iterable[Tensor] = ()
) -> Iterator[None]:
    """One block of :func:`pure_forwards`, under ``seed``."""
    with pure_forwards(model, beside, written) as begin:
        begin(seed)
        yield
