"""What both settings read off a Line, and what their settings must be."""

from lrpilot.core.actions import LineLosses
from lrpilot.core.policy import Reason, lr_from_to
from lrpilot.core.settings import check_range, check_whole, is_window, steps_of
from lrpilot.errors import SettingError

# Most scoring batches of a decision. New ones are taken in turn from this many: a long training need not keep or read
# ever more of them.
POOL = 64


def mean_losses(seen: LineLosses) -> tuple[float, ...]:
    """Mean over the samples of the batches for each factor; not finite where a batch is not, unless it is empty."""
    count, columns = len(seen.losses), zip(*seen.losses, strict=True)
    if not seen.shares:
        return tuple(sum(loss / count for loss in column) for column in columns)
    shared = [[loss * share for loss, share in zip(column, seen.shares, strict=True) if share] for column in columns]
    return tuple(map(sum, shared))


def weighted(before: float, after: float) -> Reason:
    """What is said of a decision that moved the lr from here to there."""
    mean = after / before
    sentence = f"{lr_from_to(before, after)}: the losses along the step weigh its factors to a mean of {mean:.3g}"
    return Reason("weighted", sentence)


def is_ending(remaining: int | None, window: int) -> bool:
    """Whether the steps left are too few for a decision to pay."""
    return remaining is not None and remaining <= max(2, window // 2)


# ---------------------------------------------------------------- settings


def check_settings(num_factors: int, window: float | int, batches: int, min_lr: float, max_lr: float) -> None:
    """Raise unless the settings that both have can be used.

    Raises:
        SettingError: one is out of range.
    """
    check_whole("num_factors", num_factors, default=5)
    if num_factors < 3 or num_factors % 2 == 0:
        raise SettingError(f"num_factors must be odd and >= 3, so that 1 is among them, got {num_factors}. Use 5 or 7.")
    if not is_window(window, 2):
        raise SettingError(
            f"window must be an int >= 2 (steps) or a float in (0, 1) (a fraction of the training), got {window!r}. "
            "Use len(loader) for a decision an epoch."
        )
    check_whole("batches", batches, default=2)
    if not 1 <= batches <= POOL:
        raise SettingError(f"batches must be in [1, {POOL}], got {batches}. The default is 2.")
    check_range(min_lr, max_lr)


def window_steps(window: float | int, remaining: int | None) -> int:
    """Kept steps of a window that is a number of steps (an int) or a fraction of ``remaining`` (a float); >= 2.

    Raises:
        SettingError: it is a fraction, and the horizon is open.
    """
    if isinstance(window, float) and remaining is None:
        raise SettingError(
            f"A window that is a fraction needs a known horizon, got window={window} and total_steps=None. "
            "Give total_steps, or the window as a number of steps."
        )
    return steps_of(window, remaining, at_least=2)
