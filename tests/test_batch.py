import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lyrics_asr import batch
from lyrics_asr.batch import Job, LayoutError, Outcome, check_targets, find_jobs


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def stems(jobs):
    return [job.stem.as_posix() for job in jobs]


def test_a_folder_is_mirrored_in_order_without_hidden_and_foreign_files(tmp_path):
    touch(tmp_path, "b/song.mp3", "a/song.MP3", "a/song.txt", "._b.mp3", ".hidden/c.mp3")
    assert stems(find_jobs([tmp_path], {".mp3"}, None)) == ["a/song", "b/song"]


def test_the_output_folder_is_not_read_as_input(tmp_path):
    touch(tmp_path, "song.wav", "vocals/song.wav")
    assert stems(find_jobs([tmp_path], {".wav"}, tmp_path / "vocals")) == ["song"]


def test_an_input_folder_that_is_the_output_folder_is_read(tmp_path):
    touch(tmp_path, "song.wav")
    assert stems(find_jobs([tmp_path], {".wav"}, tmp_path)) == ["song"]


def test_songs_of_one_stem_keep_their_suffix(tmp_path):
    touch(tmp_path, "song.mp3", "song.wav", "other.v2.mp3")
    jobs = find_jobs([tmp_path], {".mp3", ".wav"}, None)
    assert stems(jobs) == ["other.v2", "song.mp3", "song.wav"]
    assert [job.target(tmp_path, ".json").name for job in jobs] == ["other.v2.json", "song.mp3.json", "song.wav.json"]


def test_equal_names_from_two_folders_are_refused(tmp_path):
    touch(tmp_path, "a/song.mp3", "b/song.mp3")
    with pytest.raises(LayoutError, match=r"a/song\.mp3 and .*b/song\.mp3 would both be written to song\.mp3"):
        find_jobs([tmp_path / "a", tmp_path / "b"], {".mp3"}, None)


def test_a_folder_without_songs_is_named(tmp_path):
    with pytest.raises(LayoutError, match=r"no file in it ends with \.mp3"):
        find_jobs([tmp_path], {".mp3"}, None)


def test_results_over_inputs_are_refused(tmp_path):
    touch(tmp_path, "song.wav", "song.txt")
    (job,) = find_jobs([tmp_path], {".wav"}, tmp_path)
    aligned = replace(job, lyrics=tmp_path / "song.txt")
    check_targets([aligned], tmp_path, [".json"])
    for suffix in (".wav", ".txt"):
        with pytest.raises(LayoutError, match=rf"song\{suffix}: is an input and would be overwritten"):
            check_targets([aligned], tmp_path, [suffix])


def test_a_text_is_overwritten_only_as_it_was_written(tmp_path):
    touch(tmp_path, "song.wav", "song.srt")
    (job,) = find_jobs([tmp_path], {".wav"}, tmp_path)
    text = tmp_path / "song.txt"
    check_targets([job], tmp_path, [".txt", ".srt"])

    text.write_text("by hand")
    with pytest.raises(
        LayoutError, match=r"song\.txt: was not written by lyrics-asr, .* would be overwritten; move it"
    ):
        check_targets([job], tmp_path, [".txt"])

    batch.append_log(tmp_path, "render", Outcome(job, (text,), 1.0, None))
    with (tmp_path / "run.jsonl").open("a") as log:
        log.write('\n[]\n{"time": 3}\n{"time": "now", "outputs": ["song.txt"]}\n{"outputs": ')
    check_targets([job], tmp_path, [".txt"])

    changed = time.time() + 10
    os.utime(text, (changed, changed))
    with pytest.raises(LayoutError, match="or was changed since"):
        check_targets([job], tmp_path, [".txt"])


def test_results_stay_in_the_output_folder(tmp_path):
    touch(tmp_path, "songs/a/song.wav", "elsewhere/x")
    output = tmp_path / "output"
    output.mkdir()
    (output / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LayoutError, match="symbolic link"):
        check_targets(find_jobs([tmp_path / "songs"], {".wav"}, output), output, [".json"])


def jobs_named(tmp_path, *names):
    return tuple(Job(tmp_path / name, Path(name)) for name in names)


def test_one_failing_song_does_not_stop_the_others(tmp_path):
    loads = []

    def check(job):
        if job.stem.name == "unreadable":
            raise ValueError("unreadable: no audio; get it again")

    def work(job, model):
        assert model == "model"
        if job.stem.name == "failing":
            raise RuntimeError("out of memory")
        return [tmp_path / f"{job.stem}.json"]

    def load():
        loads.append(1)
        return "model"

    outcomes = batch.run(
        jobs_named(tmp_path, "unreadable", "good", "failing", "better"),
        check=check,
        load=load,
        work=work,
        report=lambda outcome: batch.append_log(tmp_path, "transcribe", outcome),
    )

    assert [outcome.error is None for outcome in outcomes] == [False, True, False, True]
    assert len(loads) == 1
    log = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [entry["status"] for entry in log] == ["failed", "done", "failed", "done"]
    assert [entry["outputs"] for entry in log] == [[], ["good.json"], [], ["better.json"]]
    assert log[0]["error"] == "unreadable: no audio; get it again"
    assert log[2]["error"].startswith("RuntimeError: out of memory")


def test_nothing_is_loaded_when_no_song_is_usable(tmp_path):
    def fail(*_):
        raise ValueError("unusable")

    outcomes = batch.run(jobs_named(tmp_path, "a", "b"), check=fail, load=fail, work=fail, report=lambda _: None)
    assert [str(outcome.error) for outcome in outcomes] == ["unusable", "unusable"]


def test_a_model_that_cannot_be_loaded_ends_the_run(tmp_path):
    def load():
        raise FileNotFoundError("weights")

    with pytest.raises(FileNotFoundError, match="weights"):
        batch.run(jobs_named(tmp_path, "a"), check=lambda _: None, load=load, work=lambda *_: [], report=lambda _: None)
