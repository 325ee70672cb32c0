import os
import subprocess
from pathlib import Path

import pytest

from lyrics_asr.corpora.manifest import Song, write_manifest
from lyrics_asr.inference.jobs import (
    Job,
    LayoutError,
    find_jobs,
    left_out,
    with_lyrics,
)
from lyrics_asr.inference.requests import RenderRequest
from lyrics_asr.inference.results import LEDGER_NAME, check_targets, may_replace, own_path, write_results


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


def test_results_over_input_songs_are_refused(tmp_path):
    touch(tmp_path, "song.wav")
    jobs = find_jobs([tmp_path], {".wav"}, tmp_path)
    check_targets(jobs, tmp_path, ["json"])
    with pytest.raises(LayoutError, match=r"song\.wav: is an input and would be overwritten"):
        check_targets(jobs, tmp_path, ["wav"])


def write(folder, text, *, force=False):
    """Write song.lrc and song.srt below `folder`, and return the names of those written."""
    request = RenderRequest(output=folder, formats=("lrc", "srt"), force=force)
    written = write_results(Job(folder / "song.mp3", Path("a/song")), request, lambda _, path: path.write_text(text))
    return [path.relative_to(folder).as_posix() for path in written]


def test_files_are_replaced_only_as_they_were_written(tmp_path):
    lyrics, subtitles = tmp_path / "a/song.lrc", tmp_path / "a/song.srt"
    touch(tmp_path, "a/song.lrc")
    lyrics.write_text("by hand")
    assert write(tmp_path, "first") == ["a/song.srt"]
    assert lyrics.read_text() == "by hand"

    lyrics.unlink()
    assert write(tmp_path, "second") == ["a/song.lrc", "a/song.srt"]
    subtitles.write_text("second, corrected by hand")
    os.utime(subtitles, (0, 0))  # contents count, and not the time
    assert write(tmp_path, "third") == ["a/song.lrc"]
    assert (lyrics.read_text(), subtitles.read_text()) == ("third", "second, corrected by hand")

    assert write(tmp_path, "fourth", force=True) == ["a/song.lrc", "a/song.srt"]
    assert write(tmp_path, "fifth") == ["a/song.lrc", "a/song.srt"]


def test_a_result_of_another_name_is_not_ours(tmp_path):
    write(tmp_path, "text")
    (tmp_path / "a/song.srt").rename(tmp_path / "a/other.srt")
    assert not may_replace(tmp_path / "a/other.srt", tmp_path)
    assert may_replace(tmp_path / "a/song.srt", tmp_path)  # it is gone


def test_a_result_whose_run_was_killed_right_after_it_is_ours(tmp_path):
    """The ledger has the file before the file has its name."""
    path = tmp_path / "song.lrc"
    with own_path(path, tmp_path) as temporary:
        temporary.write_text("text")
        assert not path.exists()
    (tmp_path / LEDGER_NAME).write_bytes((tmp_path / LEDGER_NAME).read_bytes() + b"torn")
    assert may_replace(path, tmp_path)
    with own_path(path, tmp_path) as temporary:
        temporary.write_text("again")
    assert may_replace(path, tmp_path)


def test_the_ledger_is_read_by_sha256sum(tmp_path):
    write(tmp_path, "text")
    subprocess.run(["sha256sum", "--check", "--strict", LEDGER_NAME], cwd=tmp_path, check=True, capture_output=True)


def test_a_link_of_a_user_is_kept(tmp_path):
    touch(tmp_path, "a/mine.lrc")
    (tmp_path / "a/song.lrc").symlink_to("mine.lrc")
    (tmp_path / "a/song.srt").symlink_to("nowhere")
    assert write(tmp_path, "text") == []
    assert (tmp_path / "a/song.lrc").is_symlink()


def test_results_stay_in_the_output_folder(tmp_path):
    touch(tmp_path, "songs/a/song.wav", "elsewhere/x")
    output = tmp_path / "output"
    output.mkdir()
    (output / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LayoutError, match="symbolic link"):
        check_targets(find_jobs([tmp_path / "songs"], {".wav"}, output), output, ["json"])


def test_lyrics_are_found_beside_their_songs(tmp_path):
    decomposed, composed = "e\u0301", "é"
    touch(
        tmp_path,
        f"{decomposed}.mp3",
        f"{composed}.txt",
        "upper.mp3",
        "upper.TXT",
        "timed.mp3",
        "timed.json",
        "timed.srt",
    )
    touch(tmp_path, "both.mp3", "both.txt", "both.lrc", "more/none.mp3", "more/timed.txt")
    jobs = with_lyrics(find_jobs([tmp_path], {".mp3"}, None))
    assert {job.source.stem: job.lyrics.relative_to(tmp_path).as_posix() for job in jobs} == {
        decomposed: f"{composed}.txt",
        "upper": "upper.TXT",
        "timed": "timed.srt",
        "both": "both.txt",
        "none": "more/none.txt",
    }


def test_lyrics_of_a_list_are_kept(tmp_path):
    touch(tmp_path, "a.mp3", "a.txt", "b.txt")
    jobs = (
        Job(tmp_path / "a.mp3", Path("a"), tmp_path / "b.txt"),
        Job(tmp_path / "a.mp3", Path("b"), lyrics_text="La"),
    )
    assert with_lyrics(jobs) == jobs


def test_linked_folders_are_followed_without_loops(tmp_path):
    touch(tmp_path, "songs/a/one.mp3", "elsewhere/two.mp3", "elsewhere/notes.pdf")
    (tmp_path / "songs/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "songs/a/up").symlink_to(tmp_path / "songs")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "songs")
    assert stems(find_jobs([tmp_path / "songs"], {".mp3"}, None)) == ["a/one", "b/two"]


def test_a_linked_output_folder_is_not_read(tmp_path):
    touch(tmp_path, "songs/one.wav", "vocals/one.wav")
    (tmp_path / "songs/vocals").symlink_to(tmp_path / "vocals")
    assert stems(find_jobs([tmp_path / "songs"], {".wav"}, tmp_path / "vocals")) == ["one"]


def test_other_files_are_counted_without_those_named_after_a_song(tmp_path):
    touch(tmp_path, "a/one.mp3", "a/one.txt", "a/one.JPG", "a/cover.JPG", "a/b/cover.jpg", "README", ".hidden")
    jobs = find_jobs([tmp_path], {".mp3"}, None)
    assert left_out([tmp_path], jobs, None) == {".jpg": 2, "README": 1}
