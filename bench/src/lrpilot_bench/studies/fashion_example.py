"""The training of examples/fashion_mnist.py, for the studies that use it."""

from lrpilot_bench.studies.checkout import load_example

example = load_example("fashion_mnist")
