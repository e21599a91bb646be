"""One thread, one plotting backend, one hypothesis profile and a working Ctrl-C for every test."""

import os
import signal

# Before torch and matplotlib are imported anywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"

import hypothesis
import pytest

# A shell's background job ignores Ctrl-C, and so would every process that the tests start from there.
signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    """Losses depend on the number of threads in their last digits, and the tests compare bits."""
    import torch

    torch.set_num_threads(1)
