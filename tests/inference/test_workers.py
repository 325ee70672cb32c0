import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lyrics_asr import console
from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.cli.main import main
from lyrics_asr.console import BatchProgress, describe
from lyrics_asr.inference import multi_gpu, run
from lyrics_asr.inference.jobs import Job, Outcome
from lyrics_asr.inference.requests import ModelRequest
from lyrics_asr.inference.workers import WorkerResult
from lyrics_asr.models.devices import find_devices
from tests.fake_tasks import UnpicklableError, config_for, songs_named


def raised(error):
    try:
        raise error
    except Exception as caught:
        return caught


def an_error_of_no_module():
    class LocalError(OSError):
        pass

    return LocalError("local.wav: gone; fetch it again")


@pytest.mark.parametrize(
    ("error", "comes_back"),
    [
        (ValueError("bad.mp3: not audio"), True),
        (FileNotFoundError(2, "No such file", "song.mp3"), True),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), True),
        (KeyError("line"), True),
        (UnpicklableError(source="song.wav"), False),
        (an_error_of_no_module(), False),
    ],
)
def test_errors_come_out_of_a_worker_as_they_were(error, comes_back):
    outcome = Outcome(Job(Path("a.mp3"), Path("a")), (), raised(error), "key", 3.0, {"reading": 1.0})
    unpacked = pickle.loads(pickle.dumps(WorkerResult.of(outcome))).unpacked()
    assert unpacked.job == outcome.job
    assert (unpacked.key, unpacked.audio_seconds, unpacked.stages) == ("key", 3.0, {"reading": 1.0})
    assert describe(unpacked.error) == describe(error)
    assert type(unpacked.error).__name__ == type(error).__name__
    assert (type(unpacked.error) is type(error)) == comes_back
    assert "in raised" in str(unpacked.error.__cause__)


def cuda_devices(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_auto_is_every_cuda_device(monkeypatch):
    cuda_devices(monkeypatch, 3)
    assert find_devices("auto") == ("cuda:0", "cuda:1", "cuda:2")
    assert find_devices("cuda:2, cuda:1,cpu") == ("cuda:2", "cuda:1", "cpu")
    assert find_devices("cpu") == ("cpu",)
    cuda_devices(monkeypatch, 0)
    assert find_devices("auto") == ("auto",)
    with pytest.raises(ValueError, match="'cuda:1': this computer has 0 CUDA devices"):
        find_devices("cpu,cuda:1")
    with pytest.raises(ValueError, match="device '' is unknown"):
        find_devices("cpu,")


def test_no_more_workers_than_songs(tmp_path, monkeypatch):
    cuda_devices(monkeypatch, 3)
    started = []
    monkeypatch.setattr(multi_gpu._Dispatcher, "run", lambda dispatcher: started.append(dispatcher._devices))
    for device in ("auto", "cuda:2, cuda:1,cpu"):
        songs = songs_named(tmp_path, "good 1", "good 2")
        multi_gpu.work(songs, config_for(tmp_path, device=device), BatchProgress(), pytest.fail)
    assert started == [("cuda:0", "cuda:1"), ("cuda:2", "cuda:1")]
    assert run._engine(ModelRequest(), 1) is None  # one song, in this process
    assert run._engine(ModelRequest(device="cuda:1,cuda:2"), 2) is multi_gpu.work


def test_what_ray_needs_is_said_before_the_work(tmp_path, capsys, monkeypatch):
    given = ["transcribe", str(tmp_path / "song.mp3"), "--engine", "ray"]
    assert main(given) == 2
    assert "give a folder with --output" in capsys.readouterr().err
    write_audio(tmp_path / "song.mp3", Audio(0.1 * torch.randn(1, 16_000), 16_000))
    monkeypatch.delitem(sys.modules, "lyrics_asr.inference.ray_engine", raising=False)
    monkeypatch.delattr("lyrics_asr.inference.ray_engine", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*given, "-o", str(tmp_path)]) == 1
    assert "error: ray is not installed; install it with: pip install 'lyrics-asr[ray]'" in capsys.readouterr().err


def test_songs_under_way_in_several_processes_add_up(monkeypatch, capsys):
    now = iter([100.0, 110.0, 120.0, 130.0])
    # Not of the module `time` itself, which other threads of the test run use.
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: next(now)))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(console, "shutil", SimpleNamespace(get_terminal_size=lambda: SimpleNamespace(columns=200)))
    progress = BatchProgress()
    for _ in range(3):
        progress.expect(100.0)
    progress.show("a", 100.0, 0.25)
    progress.show("b and 1 more", 200.0, 0.25)
    progress.show("a", 100.0, None)
    progress.finish()
    progress.show("b and 1 more", 200.0, 0.25)
    assert capsys.readouterr().err.split("\r\033[K")[1:] == [
        "0 of 3 songs done, 25 s of 5 min of audio, 2 min left, a:  25%",
        "0 of 3 songs done, 75 s of 5 min of audio, 60 s left, b and 1 more:  25%",
        "",  # a song has ended
        "1 of 3 songs done, 2 min of 5 min of audio, 30 s left, b and 1 more:  25%",
    ]
