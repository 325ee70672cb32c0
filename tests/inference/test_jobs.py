import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lyrics_asr.corpora.manifest import Song, write_manifest
from lyrics_asr.inference.jobs import Job, LayoutError, Outcome, check_targets, find_jobs
from lyrics_asr.inference.run import _log_entries, _logged_results, append_log


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def results_of(folder):
    return _logged_results(list(_log_entries(folder)))


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
    with pytest.raises(LayoutError, match=r"has no file with a suffix among \.mp3"):
        find_jobs([tmp_path], {".mp3"}, None)


def test_lists_name_songs_results_and_lyrics(tmp_path):
    touch(tmp_path, "audio/a.mp3", "audio/b.wav", "c.txt")
    song = Song("live/one", tmp_path / "audio/a.mp3", "La la", (), "en")
    write_manifest(tmp_path / "songs.jsonl", [song])
    assert find_jobs([tmp_path / "songs.jsonl"], {".mp3"}, None) == (
        Job(tmp_path / "audio/a.mp3", Path("live/one"), lyrics_text="La la"),
    )
    (tmp_path / "songs.csv").write_text("audio,lyrics\naudio/a.mp3,c.txt\naudio/b.wav,\n")
    assert find_jobs([tmp_path / "songs.csv", tmp_path / "audio/b.wav"], {".mp3"}, None) == (
        Job(tmp_path / "audio/b.wav", Path("b")),
        Job(tmp_path / "audio/a.mp3", Path("audio/a"), tmp_path / "c.txt"),
        Job(tmp_path / "audio/b.wav", Path("audio/b")),
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("songs.csv", "audio\n../a.mp3\n", r"songs\.csv, row 2: .*\.\./a\.mp3"),
        ("songs.csv", "audio\n/etc/passwd\n", r"songs\.csv, row 2: .*passwd"),
        ("songs.csv", "file\na.mp3\n", r"songs\.csv.*audio"),
        ("songs.csv", "audio\n", r"songs\.csv: lists no songs"),
        ("songs.jsonl", "{}\n", r"songs\.jsonl, line 1"),
        (
            "songs.jsonl",
            '{"id": "../x", "audio": "a.mp3", "lyrics": "la", "words": [], "language": "en"}',
            r"songs\.jsonl: '\.\./x' cannot name a result",
        ),
    ],
)
def test_lists_that_are_wrong_or_lead_out_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        find_jobs([tmp_path / name], {".mp3"}, None)


@pytest.mark.parametrize("name", ["songs.csv", "songs.jsonl"])
def test_lists_that_are_missing_are_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=rf"{name}: no such .*; "):
        find_jobs([tmp_path / name], {".mp3"}, None)


def test_results_over_inputs_are_refused(tmp_path):
    touch(tmp_path, "song.wav", "song.txt")
    (job,) = find_jobs([tmp_path], {".wav"}, tmp_path)
    aligned = replace(job, lyrics=tmp_path / "song.txt")
    check_targets([aligned], tmp_path, ["json"], results_of(tmp_path))
    for suffix in ("wav", "txt"):
        with pytest.raises(LayoutError, match=rf"song\.{suffix}: is an input and would be overwritten"):
            check_targets([aligned], tmp_path, [suffix], results_of(tmp_path))


def test_a_text_is_overwritten_only_as_it_was_written(tmp_path):
    touch(tmp_path, "song.wav", "song.srt")
    (job,) = find_jobs([tmp_path], {".wav"}, tmp_path)
    text = tmp_path / "song.txt"
    check_targets([job], tmp_path, ["txt", "srt"], results_of(tmp_path))

    text.write_text("by hand")
    with pytest.raises(
        LayoutError, match=r"song\.txt: was not written by lyrics-asr, .* would be overwritten; move it"
    ):
        check_targets([job], tmp_path, ["txt"], results_of(tmp_path))

    append_log(tmp_path, "render", Outcome(job, (text,), None))
    with (tmp_path / "run.jsonl").open("a") as log:
        log.write('\n[]\n{"time": 3}\n{"time": "now", "outputs": ["song.txt"]}\n{"outputs": ')
    check_targets([job], tmp_path, ["txt"], results_of(tmp_path))

    changed = time.time() + 10
    os.utime(text, (changed, changed))
    with pytest.raises(LayoutError, match="or was changed since"):
        check_targets([job], tmp_path, ["txt"], results_of(tmp_path))


def test_results_stay_in_the_output_folder(tmp_path):
    touch(tmp_path, "songs/a/song.wav", "elsewhere/x")
    output = tmp_path / "output"
    output.mkdir()
    (output / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LayoutError, match="symbolic link"):
        check_targets(find_jobs([tmp_path / "songs"], {".wav"}, output), output, ["json"], results_of(output))
