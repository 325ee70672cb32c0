"""A fake task for workers in other processes: the name of a song says how it ends."""

import json
import os
import signal
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.console import describe
from lyrics_asr.inference.jobs import Job
from lyrics_asr.inference.requests import ModelRequest
from lyrics_asr.inference.runner import Song, Task
from lyrics_asr.inference.workers import WorkerConfig
from lyrics_asr.types import AudioInfo


class UnpicklableError(ValueError):
    """An error that pickle cannot restore: its argument is keyword-only."""

    def __init__(self, *, source):
        super().__init__(f"{source}: failed")


class FakeTask(Task):
    """Writes NAME.json with its process id, after what the first word of NAME asks for."""

    def __init__(self, folder, group_seconds, can_load, request, progress, cores):
        self.folder, self.group_seconds, self.progress = folder, group_seconds, progress
        self.can_load = can_load and request.device != "broken"
        self.device_is_lost = False

    def check(self, job):
        return Song(job, AudioInfo(str(job.source), 60.0, 16_000))

    @contextmanager
    def load(self):
        if not self.can_load:
            raise UnpicklableError(source="model")
        (self.folder / f"loaded {os.getpid()}").touch()
        yield

    def key(self, song):
        return f"key of {song.job.stem.name}"

    def read(self, song):
        name = song.job.stem.name
        if name.startswith("unpicklable"):
            raise UnpicklableError(source=name)
        return name

    def infer(self, songs, stopwatch):
        for song, name in songs:
            with self.progress.songs(name, 60.0) as progress:
                progress(0.5)
                self._infer(song.job, name)
        return [name for _, name in songs]

    def _infer(self, job, name):
        tried = self.folder / f"tried {name}"
        if self.device_is_lost:
            raise torch.AcceleratorError("CUDA error: device lost")
        is_first_time = not tried.exists()
        tried.touch()
        match name.split()[0]:
            case "fails":
                raise LookupError("no such entry")
            case "crashes":
                os.kill(os.getpid(), signal.SIGKILL)
            case "crashes-once" if is_first_time:
                os.kill(os.getpid(), signal.SIGKILL)
            case "loses-device" if is_first_time:
                self.device_is_lost = True
                raise torch.AcceleratorError("CUDA error: device lost")
            case "slow":
                others = len(list(self.folder.glob("good*.json")))
                deadline = time.monotonic() + 60
                while others < int(name.split()[1]) and time.monotonic() < deadline:
                    time.sleep(0.01)
                    others = len(list(self.folder.glob("good*.json")))
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{others} others are done")

    def finish(self, song, inferred, stopwatch):
        path = song.job.target(self.folder, ".json")
        path.write_text(json.dumps([inferred, os.getpid()]))
        return [path]


def find_kept(song, key):
    """The outputs of an earlier run, which did the song "kept" only."""
    return [Path("kept.json")] if song.job.stem.name == "kept" and key == "key of kept" else None


def config_for(folder, group_seconds=0.0, device="cpu,cpu", can_load=True):
    return WorkerConfig(partial(FakeTask, folder, group_seconds, can_load), ModelRequest(device=device), find_kept)


def songs_named(folder, *names):
    return [Song(Job(folder / name, Path(name)), AudioInfo(name, 60.0, 16_000)) for name in names]


def statuses(outcomes):
    """By song: its error message, None if it is done, "kept" if an earlier run did it."""
    return {
        str(outcome.job.stem): "kept" if outcome.is_kept else outcome.error and describe(outcome.error)
        for outcome in outcomes
    }


CRASHES = ("crashes", "crashes-once", "loses-device")
"""Songs that end a worker. A run has one of them: a song that was in a worker that died, and then fails on its own,
is taken for the cause."""


def names_with(crash):
    return ("good 1", "unpicklable", crash, "good 2", "kept", "fails", "good 3", "good 4", "good 5")


def check_outcomes(outcomes, crash):
    """Workers finished all of `names_with`, although some of them died."""
    assert len(outcomes) == len(names_with(crash))
    ended = statuses(outcomes)
    if crash == "crashes":
        assert "crashes: the worker ended with this song, and another one that had no other song" in ended.pop(
            "crashes"
        )
    expected = dict.fromkeys(set(names_with(crash)) - {"crashes"})
    expected |= {"unpicklable": "unpicklable: failed", "kept": "kept"}
    assert ended == expected | {"fails": "LookupError: no such entry (unexpected; --debug shows where)"}


def check_command_line(folder, model, devices, threads, *options):
    """`transcribe` writes the same with several devices as with one, for good songs and bad ones."""
    from lyrics_asr.cli.main import main

    noise = 0.2 * torch.randn(1, 24_000, generator=torch.Generator().manual_seed(0))
    for number in range(4):
        write_audio(folder / f"songs/{number % 2}/{number}.wav", Audio(noise[:, 4000 * number :], 16_000))
    write_audio(folder / "songs/silent.wav", Audio(0 * noise, 16_000))
    (folder / "songs/unusable.mp3").write_text("no audio")
    in_float32 = ("--set", "separation.precision=float32", "--set", "acoustic.precision=float32")  # in workers too
    given = ("transcribe", str(folder / "songs"), "--model", str(model), "--format", "json,lrc", *in_float32)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)  # sums of floats depend on their number
    try:
        assert main([*given, "-o", str(folder / "one"), "--device", "cpu"]) == 3
    finally:
        torch.set_num_threads(before)
    assert main([*given, "-o", str(folder / "several"), "--device", devices, *options]) == 3
    assert results(folder / "one") == results(folder / "several")
    assert len(results(folder / "one")[0]) == 8


def results(folder):
    """The results, and the entries of run.jsonl without their times; run.log names times and processes."""
    logs = ("run.jsonl", "run.log")
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("[!.]*.*") if path.name not in logs}
    entries = [json.loads(line) for line in (folder / "run.jsonl").read_text().splitlines()]
    for entry in entries:
        for name in ("time", "seconds", "rtf"):
            del entry[name]
        entry["stages"] = list(entry["stages"])
    return files, sorted(entries, key=lambda entry: entry["stem"])
