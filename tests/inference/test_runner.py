import json
import threading
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from lyrics_asr.inference.jobs import Job, Outcome
from lyrics_asr.inference.requests import Request
from lyrics_asr.inference.results import write_results
from lyrics_asr.inference.run import FinishedResults, _keys, _log_entries, append_log, summary
from lyrics_asr.inference.run import run as run_request
from lyrics_asr.inference.runner import Song, Task
from lyrics_asr.types import AudioInfo


class FakeTask(Task):
    """Writes NAME.json with what was read and inferred; fails as the names of the jobs say."""

    def __init__(self, folder, *, can_load=True, seconds=0.0):
        self.folder, self.can_load, self.seconds = folder, can_load, seconds
        self.events, self.groups, self.loads = [], [], 0

    def _note(self, stage, job):
        self.events.append((stage, job.stem.name, "begins"))
        time.sleep(self.seconds)
        self.events.append((stage, job.stem.name, "ends"))
        if job.stem.name == f"fails in {stage}":
            raise RuntimeError("no such entry")
        return f"{job.stem.name} {stage}"

    def check(self, job):
        if job.stem.name == "unusable":
            raise ValueError("unusable: no audio; get it again")
        return Song(job, AudioInfo(str(job.source), 60.0, 16_000))

    @contextmanager
    def load(self):
        self.loads += 1
        if not self.can_load:
            raise FileNotFoundError("weights")
        yield
        self.events.append("closed")

    def key(self, song):
        return f"key of {song.job.stem.name}"

    def read(self, song):
        return [self._note("read", song.job)]

    def infer(self, songs, stopwatch):
        self.groups.append(len(songs))
        with stopwatch("inference"):
            return [[*content, self._note("infer", song.job)] for song, content in songs]

    def finish(self, song, inferred, stopwatch):
        content = json.dumps([*inferred, self._note("finish", song.job)])
        return write_results(song.job, FakeRequest(output=self.folder), lambda _, path: path.write_text(content))


def jobs_named(folder, *names):
    return tuple(Job(folder / name, Path(name)) for name in names)


class FakeRequest(Request):
    verb = "fake"


def run(folder, task, *names, overwrite=True):
    request = FakeRequest(output=folder, overwrite=overwrite)
    outcomes = run_request(request, jobs_named(folder, *names), lambda *_: task)
    path = folder / "run.jsonl"
    return outcomes, [json.loads(line) for line in path.read_text().splitlines() if line.startswith('{"time')]


def finished(folder, verb, formats, name, key):
    keys = _keys(list(_log_entries(folder)), verb)
    return FinishedResults(folder, tuple(formats), keys)(Song(*jobs_named(folder, name)), key)


NAMES = ("good", "fails in read", "unusable", "fails in infer", "better", "fails in finish", "best")


def test_one_failing_song_does_not_stop_the_others(tmp_path):
    task = FakeTask(tmp_path)
    outcomes, log = run(tmp_path, task, *NAMES)
    failed = {entry["source"]: entry["error"] for entry in log if entry["status"] == "failed"}
    assert set(failed) == {str(tmp_path / name) for name in NAMES if name not in ("good", "better", "best")}
    assert failed[str(tmp_path / "unusable")] == "unusable: no audio; get it again"
    assert failed[str(tmp_path / "fails in infer")].startswith("RuntimeError: no such entry (unexpected")
    assert {entry["stem"]: entry["outputs"] for entry in log if entry["status"] == "done"} == {
        name: [f"{name}.json"] for name in ("good", "better", "best")
    }
    for name in ("good", "better", "best"):
        assert json.loads((tmp_path / f"{name}.json").read_text()) == [
            f"{name} {stage}" for stage in ("read", "infer", "finish")
        ]
    assert (task.loads, task.events[-1]) == (1, "closed")
    assert summary(outcomes, 90.0, tmp_path) == (
        f"3 of 7 songs done in 2 min, 3 min of audio (RTF 0.500); 4 of 7 songs failed; see {tmp_path}/run.jsonl"
    )


def test_songs_are_inferred_in_groups_and_fail_alone(tmp_path):
    task = FakeTask(tmp_path, seconds=0.01)
    task.group_seconds = 150.0  # songs have 60
    names = ("a", "fails in read", "b", "c", "fails in infer", "d", "e", "f")
    _, log = run(tmp_path, task, *names)
    assert {entry["stem"] for entry in log if entry["status"] == "done"} == {"a", "b", "c", "d", "e", "f"}
    # a b c; "fails in infer" d e, which goes wrong, then each of them; what is left
    assert task.groups == [3, 3, 1, 1, 1, 1]
    shares = {entry["stem"]: entry["stages"]["inference"] for entry in log if entry["status"] == "done"}
    assert shares["a"] == shares["b"] == shares["c"] >= 0.01  # of 0.03 s


def test_the_log_tells_what_each_song_took(tmp_path):
    _, (entry,) = run(tmp_path, FakeTask(tmp_path, seconds=0.05), "song")
    assert list(entry["stages"]) == ["reading", "inference"]
    assert all(0.05 <= seconds < 1 for seconds in entry["stages"].values())
    assert entry["seconds"] == pytest.approx(sum(entry["stages"].values()), abs=2e-3)
    assert entry["audio_seconds"] == 60
    assert entry["rtf"] == pytest.approx(entry["seconds"] / 60, abs=1e-4)


def test_stages_of_different_songs_overlap_and_no_more_than_that(tmp_path):
    names = [str(number) for number in range(6)]

    class Waiting(FakeTask):
        """Infers while the next song is read, and finishes while the next one is inferred; waits for it."""

        def _note(self, stage, job):
            after = str(int(job.stem.name) + 1)
            awaited = {"infer": ("read", after, "begins"), "finish": ("infer", after, "begins")}.get(stage)
            self.events.append((stage, job.stem.name, "begins"))
            deadline = time.monotonic() + 30
            while after in names and awaited and awaited not in self.events and time.monotonic() < deadline:
                time.sleep(0.001)
            self.events.append((stage, job.stem.name, "ends"))
            return stage

    task = Waiting(tmp_path)
    began = time.monotonic()
    run(tmp_path, task, *names)
    assert time.monotonic() - began < 30
    order = {event: place for place, event in enumerate(task.events)}
    for now, after in pairwise(names):
        assert order["infer", now, "ends"] < order["infer", after, "begins"]
    for early, late in zip(names, names[2:], strict=False):
        assert order["infer", early, "begins"] < order["read", late, "begins"]  # one song is read ahead, not two


def test_finished_songs_are_known_by_their_key_and_files(tmp_path):
    task = FakeTask(tmp_path)
    _, log = run(tmp_path, task, "a", "b", "c", "fails in infer")
    (tmp_path / "b.json").unlink()
    with (tmp_path / "run.jsonl").open("a") as file:
        entry = next(entry for entry in log if entry["stem"] == "c")
        file.write(json.dumps(entry | {"key": "of other content"}) + '\n[]\n{"outputs": [1], "time": 3}\n{"outp')
    del task.events[:]
    outcomes, _ = run(tmp_path, task, "a", "b", "c", "fails in infer", overwrite=False)
    assert {outcome.job.stem.name: outcome.is_kept for outcome in outcomes if outcome.error is None} == {
        "a": True,
        "b": False,
        "c": False,
    }
    assert {event[1] for event in task.events if event != "closed"} == {"b", "c", "fails in infer"}
    assert next(each.outputs for each in outcomes if each.is_kept) == (tmp_path / "a.json",)
    assert "1 kept from an earlier run" in summary(outcomes, 1.0, tmp_path)
    assert finished(tmp_path, "other", ["json"], "a", "key of a") is None


def test_a_torn_line_of_the_log_harms_no_other(tmp_path):
    append_log(tmp_path, "fake", Outcome(*jobs_named(tmp_path, "a"), (), None, "key"))
    path = tmp_path / "run.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    append_log(tmp_path, "fake", Outcome(*jobs_named(tmp_path, "b"), (), None, "key"))
    assert json.loads(path.read_text().splitlines()[-1])["stem"] == "b"
    assert finished(tmp_path, "fake", [], "b", "key") == ()
    assert finished(tmp_path, "fake", [], "a", "key") is None


def test_nothing_is_loaded_when_no_song_is_usable(tmp_path):
    task = FakeTask(tmp_path)
    outcomes, _ = run(tmp_path, task, "unusable")
    assert [str(outcome.error) for outcome in outcomes] == ["unusable: no audio; get it again"]
    assert task.loads == 0


def test_a_model_that_cannot_be_loaded_ends_the_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="weights"):
        run(tmp_path, FakeTask(tmp_path, can_load=False), "a")


def test_an_interrupt_ends_the_run_and_its_threads(tmp_path):
    class Interrupted(FakeTask):
        def infer(self, songs, stopwatch):
            if songs[0][0].job.stem.name == "b":
                raise KeyboardInterrupt
            return super().infer(songs, stopwatch)

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Interrupted(tmp_path), "a", "b", "c", "d")
    assert threading.active_count() == before
    assert (tmp_path / "a.json").exists()
    assert not (tmp_path / "b.json").exists()
