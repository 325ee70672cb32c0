import os
from pathlib import Path

import pytest

from lyrics_asr.console import Counter
from tests.kitchen import NAMES, check_what_became, order_for, songs_named

ray_engine = pytest.importorskip("lyrics_asr.ray_engine", reason="ray is not installed: pip install 'lyrics-asr[ray]'")


@pytest.fixture(scope="module")
def local_ray():
    """A Ray of two workers on this machine."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")
    yield
    ray.shutdown()


def test_workers_that_die_lose_no_song(tmp_path, local_ray, capfd):
    outcomes = []
    ray_engine.work(
        songs_named(tmp_path, *NAMES), outcomes.append, order=order_for(tmp_path, 100.0), counter=Counter()
    )
    check_what_became(outcomes)
    assert len(list(tmp_path.glob("loaded *"))) >= 4
    assert capfd.readouterr().out == ""
