import pytest

from lyrics_asr.console import BatchProgress
from tests.fake_tasks import check_command_line, check_outcomes, config_for, names_with, songs_named

ray_engine = pytest.importorskip(
    "lyrics_asr.inference.ray_engine", reason="ray is not installed: pip install 'lyrics-asr[ray]'"
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def local_ray():
    """A Ray of two workers on this machine."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")
    yield
    ray.shutdown()


# Not "crashes-once": the neighbours of "crashes" are such songs, and each run starts half a dozen processes.
@pytest.mark.parametrize("crash", ["crashes", "loses-device"])
def test_workers_that_die_lose_no_song(crash, tmp_path, local_ray, capsys):
    songs, outcomes = songs_named(tmp_path, *names_with(crash)), []
    ray_engine.work(songs, config_for(tmp_path, 100.0), BatchProgress(), outcomes.append)
    check_outcomes(outcomes, crash)
    assert len(list(tmp_path.glob("loaded *"))) >= 2
    assert capsys.readouterr().out == ""


def test_the_command_line_writes_with_ray_what_it_writes_without(tmp_path, local_ray, tiny_model_folder, capsys):
    check_command_line(tmp_path, tiny_model_folder, "cpu,cpu", 1, "--engine", "ray")
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if not line.startswith("lyrics-asr: ")] == []


def test_a_task_that_cannot_be_loaded_ends_the_run_once(tmp_path, local_ray):
    config = config_for(tmp_path, device="cpu", can_load=False)
    with pytest.raises(ValueError, match="model: failed"):
        ray_engine.work(songs_named(tmp_path, "good", "better"), config, BatchProgress(), pytest.fail)


@pytest.mark.parametrize(
    ("nodes", "device", "songs", "expected"),
    [
        ([{"CPU": 96.0, "GPU": 8.0}] * 2, "auto", 100, (16, "cuda", 12)),
        ([{"CPU": 96.0, "GPU": 8.0}] * 2, "auto", 3, (3, "cuda", 12)),
        ([{"CPU": 96.0, "GPU": 8.0}, {"CPU": 4.0, "GPU": 1.0}, {"CPU": 64.0}], "auto", 100, (9, "cuda", 4)),
        ([{"CPU": 96.0, "GPU": 8.0}], "cuda,cuda", 100, (2, "cuda", 12)),
        ([{"CPU": 96.0, "GPU": 8.0}], "cpu,cpu", 100, (2, "cpu", 48)),
        ([{"CPU": 16.0}, {"CPU": 4.0}, {"memory": 1.0}], "auto", 100, (2, "cpu", 4)),
        ([{"CPU": 16.0}, {"CPU": 4.0}], "cpu,cpu,cpu", 100, (3, "cpu", 2)),
        ([{"CPU": 1.0}], "cpu,cpu", 100, (2, "cpu", 1)),
    ],
)
def test_workers_are_laid_out_by_what_the_machines_have(nodes, device, songs, expected):
    assert ray_engine.lay_out(nodes, device, songs) == ray_engine.Layout(*expected)


@pytest.mark.parametrize("device", ["cuda:1", "cpu,cuda", "cuda,cuda", "", "mps"])
def test_devices_that_ray_does_not_give_out_are_refused(device):
    with pytest.raises(ValueError, match="use auto"):
        ray_engine.lay_out([{"CPU": 8.0, "GPU": 1.0}], device, 5)
