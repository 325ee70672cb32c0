import os
import signal
import time
from pathlib import Path

import pytest

from lyrics_asr.console import BatchProgress
from lyrics_asr.decoding.pool import usable_cores
from lyrics_asr.inference import multi_gpu, runner
from tests import fork_server
from tests.fake_tasks import (
    CRASHES,
    UnpicklableError,
    check_command_line,
    check_outcomes,
    config_for,
    names_with,
    songs_named,
    statuses,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def forked():
    """Workers start at once."""
    with fork_server.forked(multi_gpu):
        yield


class SharesSeen(BatchProgress):
    """Keeps what it is asked to show."""

    def __init__(self):
        super().__init__()
        self.shares = []

    def show(self, name, audio_seconds, share):
        self.shares.append((name, audio_seconds, share))


def work(songs, config, progress=None):
    outcomes = []
    multi_gpu.work(songs, config, progress or BatchProgress(), outcomes.append)
    return outcomes


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def loaded(folder):
    """The processes that have worked in a folder."""
    return [int(path.name.split()[1]) for path in folder.glob("loaded *")]


def test_two_workers_do_what_one_does_and_none_hoards(tmp_path, forked):
    names = ("slow 5", *(f"good {number}" for number in range(8)), "unpicklable", "fails", "kept")
    songs, progress, config = songs_named(tmp_path, *names), SharesSeen(), config_for(tmp_path)
    outcomes = work(songs, config, progress)
    assert len(loaded(tmp_path)) == 2
    assert not any(map(is_alive, loaded(tmp_path)))
    inferred = {name for name in names if name not in ("unpicklable", "kept")}
    assert set(progress.shares) == {(name, 60.0, share) for name in inferred for share in (0.0, 0.5)} | {
        (name, 60.0 if name != "fails" else 0.0, None) for name in inferred
    }
    expected = []
    runner.work(songs, config.task("cpu", BatchProgress()), resume=config.resume, on_result=expected.append)
    assert statuses(outcomes) == statuses(expected)
    assert {(each.job, each.outputs, each.key) for each in outcomes} == {
        (each.job, each.outputs, each.key) for each in expected
    }
    failed = next(outcome.error for outcome in outcomes if outcome.job.stem.name == "unpicklable")
    assert type(failed).__name__ == "UnpicklableError"
    assert "in read" in str(failed.__cause__)  # its traceback


@pytest.mark.parametrize("crash", CRASHES)
def test_workers_that_die_lose_no_song(crash, tmp_path, forked, capsys):
    outcomes = work(songs_named(tmp_path, *names_with(crash)), config_for(tmp_path, group_seconds=100.0))
    check_outcomes(outcomes, crash)
    cause = "AcceleratorError: CUDA error: device lost" if crash == "loses-device" else "killed by SIGKILL"
    assert f"ended ({cause})" in capsys.readouterr().err
    given_up = [str(outcome.error) for outcome in outcomes if outcome.job.stem.name == "crashes"]
    assert all("(killed by SIGKILL)" in error for error in given_up)
    assert not any(map(is_alive, loaded(tmp_path)))


def test_a_task_that_cannot_be_loaded_ends_the_run_once(tmp_path, forked):
    with pytest.raises(ValueError, match="model: failed") as caught:
        work(songs_named(tmp_path, "good", "better"), config_for(tmp_path, can_load=False))
    assert type(caught.value).__name__ == UnpicklableError.__name__


def test_workers_go_on_without_one_that_cannot_load_any_more(tmp_path, forked, monkeypatch):
    start = multi_gpu._Dispatcher._start
    monkeypatch.setattr(multi_gpu, "find_devices", lambda names: tuple(names.split(",")))

    def start_one_late(dispatcher, device):
        start(dispatcher, device)
        while device == "cpu" and not loaded(tmp_path):
            time.sleep(0.01)

    monkeypatch.setattr(multi_gpu._Dispatcher, "_start", start_one_late)
    outcomes = work(songs_named(tmp_path, "slow 0", "good 1", "good 2"), config_for(tmp_path, device="cpu,broken"))
    assert statuses(outcomes) == {"slow 0": None, "good 1": None, "good 2": None}


def test_the_command_line_writes_with_two_devices_what_it_writes_with_one(tmp_path, tiny_model_folder, forked):
    check_command_line(tmp_path, tiny_model_folder, "cpu,cpu", max(1, usable_cores() // 2))


def work_for_long(folder):
    """The main function of a process with two workers."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with fork_server.forked(multi_gpu):
        work(songs_named(folder, "slow 9", "slow 9 too"), config_for(folder))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path, how):
    with fork_server.forked() as context:
        parent = context.Process(target=work_for_long, args=(tmp_path,))
        parent.start()
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("tried *"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(parent.pid, how)
    parent.join(30)
    assert len(loaded(tmp_path)) == 2
    while any(map(is_alive, loaded(tmp_path))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert time.monotonic() < deadline
