"""How the groups of methods look: the same in every figure and, as a bar at the left, in every table."""

from typing import Any

from lrpilot.pictures.style import INK, RUNS
from lrpilot_bench.report.findings import Group

REST = "#b9c3cb"  # what is drawn for comparison only
COLOURS: dict[Group, str] = {
    "oracle": INK,
    "lrpilot": RUNS[0],
    "peer": RUNS[1],
    "schedule": RUNS[3],
    "default": RUNS[2],
    "rest": REST,
}
MARKERS: dict[Group, str] = {
    "oracle": "*",
    "lrpilot": "o",
    "peer": "s",
    "schedule": "D",
    "default": "^",
    "rest": "o",
}
DASHES: dict[Group, Any] = {
    "oracle": "-",
    "lrpilot": "-",
    "peer": (0, (6, 2)),
    "schedule": (0, (8, 2, 2, 2)),
    "default": (0, (2, 1.5)),
    "rest": "-",
}
