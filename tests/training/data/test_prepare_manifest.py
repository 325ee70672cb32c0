import gzip
import json

import numpy as np
import pytest
import torch
from lhotse import CutSet
from lhotse.qa import validate

from lyrics_asr.audio import Audio, read_audio, write_audio
from lyrics_asr.cli.main import main
from lyrics_asr.corpora.manifest import Song, read_manifest, write_manifest
from lyrics_asr.training.data.prepare_manifest import cut_songs
from lyrics_asr.types import TimedWord

RATE_HZ = 8000
SECONDS = 20
WORDS = tuple(TimedWord("word", at + 0.25, at + 0.75, 1.0) for at in range(SECONDS))


@pytest.fixture
def manifest(tmp_path):
    """Songs that are good, without stems, without words, without audio, and with a stem of another length."""

    def noise(name, seconds=SECONDS, channels=2):
        path = tmp_path / name
        write_audio(path, Audio(0.1 * torch.randn(channels, round(seconds * RATE_HZ)), RATE_HZ))
        return path

    def song(song_id, words=WORDS, **files):
        return Song(song_id, lyrics="words", words=words, language="en", **files)

    mixture, mono, short = noise("mixture.wav"), noise("mono.wav", channels=1), noise("short.wav", SECONDS - 1)
    stems = {"vocals": noise("vocals.wav"), "accompaniment": noise("accompaniment.wav", channels=1)}
    write_manifest(
        tmp_path / "manifest.jsonl",
        [
            song("good", audio=mixture, **stems),
            song("mono", audio=mono, vocals=stems["vocals"]),
            song("wordless", (), audio=mixture),
            song("silent", audio=tmp_path / "gone.wav"),
            song("short", audio=mixture, vocals=short, accompaniment=stems["accompaniment"]),
        ],
    )
    return tmp_path / "manifest.jsonl"


def test_cuts_have_the_sound_of_the_song_and_of_its_stems(manifest, tmp_path):
    report = cut_songs(manifest, tmp_path / "cuts")
    path = tmp_path / "cuts" / "cuts.jsonl.gz"
    cuts = CutSet.from_file(path)
    validate(CutSet.from_cuts(cuts), read_data=True)
    with gzip.open(path, "rt") as file:
        assert [json.loads(line) for line in file] == [json.loads(json.dumps(cut.to_dict())) for cut in cuts]
    song = read_manifest(manifest)[0]
    good = [cut for cut in cuts if cut.recording_id == "good"]
    assert len(good) > 1
    for cut in good:
        for actual, source in (
            (cut.load_audio(), song.audio),
            (cut.load_vocals(), song.vocals),
            (cut.load_accompaniment(), song.accompaniment),
        ):
            first = round(cut.start * RATE_HZ)
            window = read_audio(source).samples.numpy()[:, first : first + round(cut.duration * RATE_HZ)]
            np.testing.assert_array_equal(actual, window)
    assert all(cut.custom is None for cut in cuts if cut.recording_id == "mono")
    sung = [cut for cut in cuts if cut.supervisions]
    words = [
        cut.start + item.start for cut in good if cut.supervisions for item in cut.supervisions[0].alignment["word"]
    ]
    assert words == pytest.approx([word.start_seconds for word in WORDS])
    assert report.songs_with_stems == 1
    assert report.chunks == len(sung)
    assert report.silent_chunks == len(cuts) - len(sung)
    assert report.seconds == pytest.approx(sum(cut.duration for cut in sung))


def test_what_is_dropped_is_reported_by_reason(manifest, tmp_path, caplog):
    report = cut_songs(manifest, tmp_path / "cuts")
    assert report.dropped_songs == {
        "wordless": "without times of words",
        "silent": "with audio that cannot be read",
        "short": "with stems of another length",
    }
    assert "gone.wav: no such file" in caplog.text
    assert json.loads((tmp_path / "cuts" / "report.json").read_text())["dropped_songs"] == report.dropped_songs


def test_chunks_with_samples_that_are_not_finite_are_dropped_and_named(manifest, tmp_path, caplog, capsys):
    options = ["--chunk-seconds", "5"]
    assert main(["data", "cuts", str(manifest), "-o", str(tmp_path / "whole"), *options]) == 0
    whole = {cut.id: cut for cut in CutSet.from_file(tmp_path / "whole" / "cuts.jsonl.gz")}
    for name, at_seconds, value in (("vocals.wav", 7, torch.nan), ("mono.wav", 12, torch.inf)):
        audio = read_audio(tmp_path / name)
        audio.samples[-1, at_seconds * RATE_HZ] = value
        write_audio(tmp_path / name, audio)
    capsys.readouterr()
    assert main(["data", "cuts", str(manifest), "-o", str(tmp_path / "cuts"), *options]) == 0
    kept = {(cut.recording_id, cut.start) for cut in CutSet.from_file(tmp_path / "cuts" / "cuts.jsonl.gz")}
    lost = {(cut.recording_id, cut.start) for cut in whole.values()} - kept
    at = {"good": 7, "mono": 12}
    assert lost == {
        (cut.recording_id, cut.start) for cut in whole.values() if cut.start <= at[cut.recording_id] < cut.end
    }
    assert len(lost) == 2
    assert "2  with NaN or infinite samples" in capsys.readouterr().out
    report = json.loads((tmp_path / "cuts" / "report.json").read_text())
    assert report["nonfinite_chunks"] == 2
    assert report["words"] == 2 * SECONDS
    assert f"{tmp_path / 'vocals.wav'}: NaN or infinite samples; the chunk of good at" in caplog.text


def test_a_song_without_a_finite_chunk_is_dropped(manifest, tmp_path):
    write_audio(tmp_path / "mono.wav", Audio(torch.full((1, SECONDS * RATE_HZ), torch.nan), RATE_HZ))
    report = cut_songs(manifest, tmp_path / "cuts")
    assert report.dropped_songs["mono"] == "with NaN or infinite samples in all chunks"


def test_the_command_prints_what_it_cut(manifest, tmp_path, capsys):
    assert main(["data", "cuts", str(manifest), "-o", str(tmp_path / "cuts"), "--chunk-seconds", "5"]) == 0
    printed = capsys.readouterr().out
    assert "2 songs, 1 of them with stems" in printed
    assert "dropped: 3 of 5 songs" in printed
    assert max(cut.duration for cut in CutSet.from_file(tmp_path / "cuts" / "cuts.jsonl.gz")) <= 5
    assert main(["data", "cuts", str(manifest), "-o", str(tmp_path / "cuts"), "--chunk-seconds", "50"]) == 2
    assert main(["data", "cuts", str(tmp_path / "gone.jsonl"), "-o", str(tmp_path / "cuts")]) == 1
    assert "no such manifest" in capsys.readouterr().err
