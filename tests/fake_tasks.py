"""A task for workers in other processes: the names of its songs say what becomes of them."""

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


class OddError(ValueError):
    """Cannot be made again from what is pickled of it."""

    def __init__(self, *, dish):
        super().__init__(f"{dish}: burnt")


class Cook(Task):
    """Writes NAME.json with who did it, after what the first word of NAME tells."""

    def __init__(self, folder, group_seconds, oven, request, progress, cores):
        self.folder, self.group_seconds, self.progress = folder, group_seconds, progress
        self.ovens = (request.device, oven)
        self.is_burnt_out = False

    def check(self, job):
        return Song(job, AudioInfo(str(job.source), 60.0, 16_000))

    @contextmanager
    def load(self):
        if "broken" in self.ovens:
            raise OddError(dish="oven")
        (self.folder / f"loaded {os.getpid()}").touch()
        yield

    def key(self, song):
        return f"key of {song.job.stem.name}"

    def read(self, song):
        name = song.job.stem.name
        if name.startswith("odd"):
            raise OddError(dish=name)
        return name

    def infer(self, songs, stopwatch):
        for song, name in songs:
            with self.progress.songs(name, 60.0) as progress:
                progress(0.5)
                self._cook(song.job, name)
        return [name for _, name in songs]

    def _cook(self, job, name):
        tried = self.folder / f"tried {name}"
        if self.is_burnt_out:
            raise torch.AcceleratorError("CUDA error: out of smoke")
        first_time = not tried.exists()
        tried.touch()
        match name.split()[0]:
            case "fails":
                raise LookupError("out of eggs")
            case "deadly":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stumbles" if first_time:
                os.kill(os.getpid(), signal.SIGKILL)
            case "sparks" if first_time:
                self.is_burnt_out = True
                raise torch.AcceleratorError("CUDA error: out of smoke")
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


def kept_songs(song, key):
    """Those of earlier runs."""
    return [Path("pantry.json")] if song.job.stem.name == "kept" and key == "key of kept" else None


def config_for(folder, group_seconds=0.0, device="cpu,cpu", oven="sound"):
    return WorkerConfig(partial(Cook, folder, group_seconds, oven), ModelRequest(device=device), kept_songs)


def songs_named(folder, *names):
    return [Song(Job(folder / name, Path(name)), AudioInfo(name, 60.0, 16_000)) for name in names]


def told(outcomes):
    """What became of each song."""
    return {
        str(outcome.job.stem): "kept" if outcome.is_kept else outcome.error and describe(outcome.error)
        for outcome in outcomes
    }


TROUBLES = ("deadly", "stumbles", "sparks")
"""Songs that a worker dies with. There is one of them in a run: a song that was there when another one's worker died,
and then has trouble of its own, is to blame as far as anybody can see."""


def names_with(trouble):
    return ("good 1", "odd", trouble, "good 2", "kept", "fails", "good 3", "good 4", "good 5")


def check_what_became(outcomes, trouble):
    """All of `names_with` were done by workers, of which some died."""
    assert len(outcomes) == len(names_with(trouble))
    became = told(outcomes)
    if trouble == "deadly":
        assert "deadly: the worker ended with this song, and another one that had no other song" in became.pop("deadly")
    expected = dict.fromkeys(set(names_with(trouble)) - {"deadly"})
    expected |= {"odd": "odd: burnt", "kept": "kept"}
    assert became == expected | {"fails": "LookupError: out of eggs (unexpected; --debug shows where)"}


def check_command_line(folder, model, devices, threads, *options):
    """`transcribe` with several devices writes what it writes with one, of good songs and bad ones."""
    from lyrics_asr.cli.main import main

    noise = 0.2 * torch.randn(1, 24_000, generator=torch.Generator().manual_seed(0))
    for number in range(4):
        write_audio(folder / f"songs/{number % 2}/{number}.wav", Audio(noise[:, 4000 * number :], 16_000))
    write_audio(folder / "songs/silent.wav", Audio(0 * noise, 16_000))
    (folder / "songs/unusable.mp3").write_text("no audio")
    given = ("transcribe", str(folder / "songs"), "--model", str(model), "--format", "json,lrc")
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
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*") if path.name not in logs}
    entries = [json.loads(line) for line in (folder / "run.jsonl").read_text().splitlines()]
    for entry in entries:
        for name in ("time", "seconds", "rtf"):
            del entry[name]
        entry["stages"] = list(entry["stages"])
    return files, sorted(entries, key=lambda entry: entry["stem"])
