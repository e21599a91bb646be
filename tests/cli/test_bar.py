"""The progress bar at 80 columns."""

from io import StringIO
from typing import Any

import pytest
import rich.console

from lrpilot import progress


@pytest.mark.parametrize("total", [1200, None])
def test_bar_and_count_stay_whole_beside_a_long_note(total: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    screen, console = StringIO(), rich.console.Console

    def narrow(**_: Any) -> rich.console.Console:
        return console(file=screen, force_terminal=True, width=80, color_system=None)

    monkeypatch.setattr(rich.console, "Console", narrow)
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 0.0)
    with progress.progress_bar("finding a learning rate", total=total) as bar:
        assert bar is not None
        bar.update(600, "trial of 160 steps, lr 0.00178 to 1.78e-05 and a remark that is much too long")
    drawn = screen.getvalue()
    assert "finding a learning rate ━━━━━━━━" in drawn and "…" in drawn
    assert ("600/1200  50% trial" if total else " 600 trial") in drawn
