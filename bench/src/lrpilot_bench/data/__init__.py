"""The benchmark's data: real, carried by package registries, fetched once into a data folder.

Loaders check the sha256 of what they read, say how to get what is missing, and never write;
:func:`fetch_all` (``python -m lrpilot_bench.data``) is what writes.
"""

from lrpilot_bench.data.digits import digits
from lrpilot_bench.data.fashion import fashion_mnist
from lrpilot_bench.data.fetch import DATA_SETS, DataSet, fetch_all, missing_data
from lrpilot_bench.data.folder import DATA_VARIABLE, data_folder
from lrpilot_bench.data.splits import Split, Splits

__all__ = [
    "DATA_SETS",
    "DATA_VARIABLE",
    "DataSet",
    "Split",
    "Splits",
    "data_folder",
    "digits",
    "fashion_mnist",
    "fetch_all",
    "missing_data",
]
