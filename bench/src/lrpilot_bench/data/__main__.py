"""``python -m lrpilot_bench.data [NAME ...]``: fetch all data sets, or those named, into the data folder."""

import sys

from lrpilot.errors import LRPilotError
from lrpilot_bench.data.fetch import fetch_all


def main(names: list[str]) -> int:
    """Fetch; the exit status."""
    try:
        found = fetch_all(names or None, say=lambda line: print(line, file=sys.stderr))
    except LRPilotError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    for name, place in found.items():
        print(f"{name}\t{place}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
