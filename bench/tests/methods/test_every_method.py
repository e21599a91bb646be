"""Every method of the registry, also one that joins tomorrow: an honest bill within the budget, and a whole record."""

import json

import pytest

from lrpilot_bench.methods.method import Method
from lrpilot_bench.methods.registry import methods
from lrpilot_bench.protocol.jobs import Job
from lrpilot_bench.run.execute import execute

STEPS = 40


@pytest.mark.parametrize("method", methods().values(), ids=lambda method: method.name)
def test_the_bill_is_what_hooks_count_and_the_record_is_whole(method: Method) -> None:
    for package in method.packages:
        pytest.importorskip(package)
    if "adamw" not in method.families:
        pytest.skip("digits is trained with AdamW")
    record = execute(Job("digits", method.name, horizon=STEPS / 1000))

    assert record["status"] in ("finished", "diverged") or record["error"].startswith("NoPickError")
    assert record["declared"] == record["counted"]
    if method.equal_compute and record["kept_steps"] > 0:  # a search alone may cost more than all of so short a run
        assert record["compute"] <= 1 + 1 / STEPS
    assert record["kept_steps"] <= STEPS
    json.dumps(record, allow_nan=False)
