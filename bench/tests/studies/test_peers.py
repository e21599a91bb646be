"""The peers at work on small data. (fastai's valley is tested where it lives.)"""

import pytest

from lrpilot_bench.studies import peers
from lrpilot_bench.studies.fashion_tasks import CONFIGS

# ------------------------------------------------------------------ the packages at work


@pytest.mark.usefixtures("small_data")
@pytest.mark.filterwarnings("ignore")  # what the packages warn about is theirs
@pytest.mark.parametrize("peer", peers.PEERS)
def test_each_peer_picks_reproducibly_and_counts_its_steps(peer: str) -> None:
    if "Lightning" in peer:
        pytest.importorskip("lightning")
    if "pytorch" in peer:
        pytest.importorskip("torch_lr_finder")

    first, second = (peers.PEERS[peer](CONFIGS["plain-adamw"], 0) for _ in range(2))

    assert first == second
    assert first.lr is not None and 1e-8 <= first.lr <= 10
    assert 17 <= first.steps <= 100


def test_every_peer_runs_on_every_configuration_and_seed_once() -> None:
    jobs = peers.jobs()

    assert len({tuple(job.items()) for job in jobs}) == len(jobs) == len(CONFIGS) * len(peers.PEERS) * 3
