"""What is said of a search: the latest Trial, and what would be picked now."""

from lrpilot.policies.peak_search.outcome import interval_of
from lrpilot.policies.peak_search.search import PeakSearch


def tried_words(before: PeakSearch, search: PeakSearch) -> str:
    """What would be picked now, and the latest Trial."""
    if search.skipped > before.skipped:
        return f"batch {search.first - 1} of the trials is left out: its loss is no finite number, and not for the lr"
    latest = search.probed[-1]
    came = f"loss {latest.score:.4g} after {search.steps} steps" if latest.tail else "diverged"
    now = "" if search.pick is None else f"so far {pick_words(search)}; "
    return f"{now}lr {latest.lr:.3g}: {came}"


def pick_words(search: PeakSearch) -> str:
    """What it would pick now, with the interval; there must be such a pick."""
    pick = search.pick
    assert pick is not None
    low, high = interval_of(search, pick)
    return f"lr {pick.lr:.2g} ({low:.2g} to {high:.2g})"
