"""The gradients of parameters: references that somebody may hold, and values where they are views."""

import torch
from torch import Tensor


class Gradients:
    """The ``.grad`` of every parameter, by reference; by value too where it is a view into a bucket."""

    def __init__(self, parameters: list[Tensor]) -> None:
        self._parameters = parameters
        self._grads = [p.grad for p in parameters]
        self._values = [g.detach().clone() if g is not None and _shares_storage(g) else None for g in self._grads]

    def restore(self) -> None:
        """Put them back."""
        with torch.no_grad():
            for parameter, grad, value in zip(self._parameters, self._grads, self._values, strict=True):
                # DistributedDataParallel's buckets are written by every backward pass, through the views that gradients
                # are: test_snapshot.py::test_gradients_that_are_views_into_a_bucket_go_back_by_value
                if grad is not None and value is not None:
                    grad.copy_(value)
                # The very object, or None again, for a loop may be accumulating into it:
                # test_continuation.py::test_a_probe_leaves_no_trace
                if parameter.grad is not grad:
                    parameter.grad = grad


def _shares_storage(grad: Tensor) -> bool:
    if grad.layout is not torch.strided:
        return False
    return bool(grad.untyped_storage().nbytes() > grad.numel() * grad.element_size())
