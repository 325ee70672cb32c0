"""Pairs of made songs: a few bars of chords, and a voice of harmonics that rests between its phrases."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soxr
import torch
from lhotse import CutSet
from lhotse.qa import validate

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.cli.main import main
from lyrics_asr.corpora.catalogs import Track
from lyrics_asr.corpora.pairs import UNREADABLE, TrackPair
from lyrics_asr.training.data.batch import SoundFormat
from lyrics_asr.training.data.cut_loader import make_batch
from lyrics_asr.training.data.cut_reader import read_row
from lyrics_asr.training.data.cut_sampler import CutOrder, Position
from lyrics_asr.training.data.labels import Labeller
from lyrics_asr.training.data.lhotse_io import our_decoder
from lyrics_asr.training.data.options import AugmentationOptions, CutLoaderOptions
from lyrics_asr.training.data.pair_alignment import align_stem, shift
from lyrics_asr.training.data.pair_stems import (
    DRIFTING,
    NOT_ALIGNED,
    NOT_FITTING,
    NOTHING_LEFT,
    OTHER,
    SAME,
    SHORT,
    UNSTEADY,
    PairStems,
    make_stems,
)
from lyrics_asr.training.data.prepare_pairs import check_pair
from lyrics_asr.training.loop import train
from lyrics_asr.training.stages import OptimizerOptions, StageOptions
from lyrics_asr.training.trackers import JsonLog
from lyrics_asr.types import Vocabulary

pytest.importorskip("chromaprint", reason="libchromaprint is not installed", exc_type=ImportError)

RATE_HZ = 22_050
SECONDS = 24.0


def tones(pitches_hz, seconds, harmonics, decay, rng):
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    sound = np.zeros_like(time)
    for pitch_hz in pitches_hz:
        bend = 1 + 0.003 * np.sin(2 * math.pi * (5 * time + rng.random()))
        phase = 2 * math.pi * pitch_hz * np.cumsum(bend) / RATE_HZ
        for harmonic in range(1, harmonics + 1):
            sound += np.sin(harmonic * phase + 6 * rng.random()) * rng.uniform(0.5, 1) / harmonic
    return sound * np.exp(-decay * time) * np.minimum(1, time / 0.01) * np.minimum(1, (seconds - time) / 0.01)


def made_song(seed):
    """Instrumental and voice, stereo."""
    rng = np.random.default_rng(seed)
    roots = 110 * 2 ** (rng.permutation(12)[:8] / 12)
    chords = [
        tones(roots[bar % 8] * np.array([1, 1.26, 1.5, rng.choice([2, 3])]), 0.5, 8, 3, rng)
        + 0.3 * rng.standard_normal(RATE_HZ // 2) * np.exp(-np.arange(RATE_HZ // 2) / 800)
        for bar in range(round(SECONDS * 2))
    ]
    phrase = [440 * 2 ** (step / 12) for step in rng.integers(-7, 8, round(SECONDS))]
    voice = np.concatenate([tones([pitch], 1, 12, 0.5, rng) * (beat % 4 != 3) for beat, pitch in enumerate(phrase)])
    instrumental = np.concatenate(chords)
    stereo = [torch.tensor(np.stack([left * each, right * each]), dtype=torch.float32) * 0.08
              for each, left, right in ((instrumental, 1.0, 0.8), (voice * 1.5, 1.0, 1.0))]  # fmt: skip
    return Audio(stereo[0], RATE_HZ), Audio(stereo[1], RATE_HZ)


@pytest.fixture(scope="module")
def song():
    return made_song(1)


@pytest.fixture
def pair_of(tmp_path):
    def make(mix: Audio, stem: Audio, kind="instrumental", suffix=".flac"):
        tracks = []
        for name, audio in (("mix", mix), ("stem", stem)):
            path = tmp_path / f"{name}{suffix if name == 'stem' else '.flac'}"
            write_audio(path, audio)
            tracks.append(Track(path, "Ada", "Titan", audio.duration_seconds))
        return TrackPair(*tracks, kind)

    return make


def mixed(instrumental, voice):
    return Audio(instrumental.samples + voice.samples, RATE_HZ)


def moved(audio, seconds=0.0, gain=1.0):
    """Later, or for negative seconds cut at the start."""
    samples = round(seconds * RATE_HZ)
    late = torch.nn.functional.pad(audio.samples, (samples, 0)) if samples > 0 else audio.samples[:, -samples:]
    return Audio(gain * late, RATE_HZ)


def sped_up(audio, ppm):
    resampled = soxr.resample(audio.samples.numpy().T, RATE_HZ, RATE_HZ * (1 + ppm * 1e-6), quality="HQ")
    return Audio(torch.from_numpy(resampled.T.copy()), RATE_HZ)


def equalized(audio, gain):
    """With louder treble."""
    b, a = scipy.signal.butter(1, 1000, "highpass", fs=RATE_HZ)
    high = scipy.signal.lfilter(b, a, audio.samples.numpy()).astype(np.float32)
    return Audio(audio.samples + gain * torch.from_numpy(high), RATE_HZ)


def dephased(audio):
    """Through all-pass filters: with the same magnitudes, and other phases."""
    samples = audio.samples.numpy()
    for pole in (0.9, 0.7, 0.3):
        samples = scipy.signal.lfilter([-pole, 1], [1, -pole], samples)
    return Audio(torch.from_numpy(samples.astype(np.float32)), RATE_HZ)


def sdr_db(stems: PairStems, voice: Audio) -> float:
    """Of the vocals against the true voice, where mix and stem both sound."""
    span = slice(round(stems.start_seconds * RATE_HZ), round(stems.end_seconds * RATE_HZ))
    true, vocals = voice.samples[:, span], stems.vocals.samples[:, span]
    return float(10 * torch.log10(true.square().sum() / (true - vocals).square().sum()))


@pytest.mark.parametrize(
    ("suffix", "seconds", "gain", "least_db"),
    [
        (".flac", 0.0, 1.0, 50),
        (".flac", 0.4, 0.5, 40),
        (".flac", -0.7, -0.8, 40),  # an inverted polarity
        (".mp3", 0.25, 0.9, 15),
        (".m4a", -0.1, 1.0, 15),
        (".opus", 0.1, -1.0, 10),  # at another rate
    ],
)
def test_copies_are_subtracted(song, pair_of, suffix, seconds, gain, least_db):
    instrumental, voice = song
    stems = make_stems(pair_of(mixed(instrumental, voice), moved(instrumental, seconds, gain), suffix=suffix))
    assert isinstance(stems, PairStems)
    assert stems.target == "subtracted"
    assert stems.measures.offset_seconds == pytest.approx(-seconds, abs=1e-4)
    assert stems.measures.gain == pytest.approx(1 / gain, rel=0.06)
    assert sdr_db(stems, voice) > least_db
    total = stems.vocals.samples + stems.accompaniment.samples
    span = slice(round(stems.start_seconds * RATE_HZ), round(stems.end_seconds * RATE_HZ))
    np.testing.assert_allclose(total[:, span], mixed(instrumental, voice).samples[:, span], atol=1e-4)


def test_an_a_cappella_is_subtracted(song, pair_of):
    instrumental, voice = song
    stems = make_stems(pair_of(mixed(instrumental, voice), moved(voice, 0.3, -0.5), "a cappella"))
    assert isinstance(stems, PairStems)
    assert sdr_db(stems, voice) > 20
    np.testing.assert_allclose(stems.vocals.samples, voice.samples, atol=0.02)


def test_fractions_of_a_sample_are_found(song):
    instrumental, voice = song
    mix = mixed(instrumental, voice)
    late = shift(instrumental, 100.37, instrumental.samples.shape[1])
    found = align_stem(mix, late, 0.0)
    assert found is not None
    assert found.offset_samples == pytest.approx(-100.37, abs=0.02)
    back = shift(late, -100.37, mix.samples.shape[1]).samples[:, 200:-200]
    assert (back - instrumental.samples[:, 200:-200]).square().mean() < 1e-6 * instrumental.samples.square().mean()


def test_another_mastering_goes_by_the_max_rule(song, pair_of):
    instrumental, voice = song
    stems = make_stems(pair_of(mixed(instrumental, voice), dephased(instrumental)))
    assert isinstance(stems, PairStems)
    assert stems.target == "max rule"
    mix = mixed(instrumental, voice)
    window = torch.hann_window(4096)
    spectra = [
        torch.stft(each.samples, 4096, 1024, window=window, return_complex=True) for each in (mix, stems.accompaniment)
    ]
    vocals = torch.polar((spectra[0].abs() - spectra[1].abs()).clamp(min=0), spectra[0].angle())
    expected = torch.istft(vocals, 4096, 1024, window=window, length=mix.samples.shape[1])
    torch.testing.assert_close(stems.vocals.samples, expected, atol=1e-4, rtol=0)
    assert sdr_db(stems, voice) > 5


@pytest.mark.parametrize("ppm", [20, -20])
def test_a_slow_drift_goes_by_the_max_rule(song, pair_of, ppm):
    instrumental, voice = song
    stems = make_stems(pair_of(mixed(instrumental, voice), sped_up(instrumental, ppm)))
    assert isinstance(stems, PairStems)
    assert stems.target == "max rule"
    assert stems.measures.drift_samples == pytest.approx(-ppm * 1e-6 * SECONDS * RATE_HZ, rel=0.2)


DROPPED = {
    SHORT: lambda mix, instrumental, voice: (mix, moved(instrumental, 6 - SECONDS)),
    SAME: lambda mix, instrumental, voice: (mix, moved(mix, 0.5, 0.7)),
    OTHER: lambda mix, instrumental, voice: (mix, made_song(2)[0]),
    # the same chords, played again
    NOT_ALIGNED: lambda mix, instrumental, voice: (mix, sped_up(instrumental, 5000)),
    NOT_FITTING: lambda mix, instrumental, voice: (mix, equalized(instrumental, 2.0)),
}


@pytest.mark.parametrize("reason", DROPPED)
def test_what_does_not_belong_is_dropped(song, pair_of, reason):
    instrumental, voice = song
    mix, stem = DROPPED[reason](mixed(instrumental, voice), instrumental, voice)
    assert make_stems(pair_of(mix, stem)) == reason


def test_an_a_cappella_of_another_song_is_dropped(song, pair_of):
    instrumental, voice = song
    assert make_stems(pair_of(mixed(instrumental, voice), made_song(2)[1], "a cappella")) in (NOT_ALIGNED, UNSTEADY)


def test_a_difference_without_a_voice_is_dropped(song, pair_of, monkeypatch):
    instrumental, _ = song
    monkeypatch.setattr("lyrics_asr.training.data.pair_stems._SAME_RATE", -1.0)  # as if the fingerprints differed
    noise = 0.001 * torch.randn(instrumental.samples.shape, generator=torch.Generator().manual_seed(1))
    assert make_stems(pair_of(Audio(instrumental.samples + noise, RATE_HZ), instrumental)) == NOTHING_LEFT


def test_clocks_that_drift_further_are_dropped(song, pair_of, monkeypatch):
    instrumental, voice = song
    monkeypatch.setattr("lyrics_asr.training.data.pair_stems._MAX_DRIFT_SECONDS", 1e-4)
    assert make_stems(pair_of(mixed(instrumental, voice), sped_up(instrumental, 20))) == DRIFTING


def test_silent_and_missing_files_are_dropped(song, pair_of, tmp_path):
    pair = pair_of(song[0], Audio(torch.zeros_like(song[0].samples), RATE_HZ))
    assert check_pair(tmp_path / "out", pair).dropped == UNREADABLE
    pair.stem.path.unlink()
    assert check_pair(tmp_path / "out", pair).dropped == UNREADABLE
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def catalogue(song, tmp_path_factory):
    """Two pairs, one of which is of two songs; an instrumental without a mix."""
    folder = tmp_path_factory.mktemp("catalogue")
    instrumental, voice = song
    rows = [
        ("a.flac", "Titan", mixed(instrumental, voice)),
        ("b.mp3", "Titan (Instrumental)", moved(instrumental, 0.3)),
        ("c.flac", "Rhea", mixed(*made_song(3))),
        ("d.flac", "Rhea (Karaoke)", made_song(4)[0]),
        ("e.flac", "Dione - Instrumental", made_song(5)[0]),
    ]
    with (folder / "songs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "artist", "title"), *((name, "Ada", title) for name, title, _ in rows)])
    for name, _, audio in rows:
        write_audio(folder / name, audio)
    return folder / "songs.csv"


@pytest.fixture(scope="module")
def output(catalogue, tmp_path_factory):
    output = tmp_path_factory.mktemp("output") / "pairs"
    assert main(["data", "pairs", str(catalogue), "-o", str(output), "--chunk-seconds", "8"]) == 0
    return output


def test_cuts_have_the_stems_of_the_mix(song, output):
    cuts = CutSet.from_file(output / "cuts.jsonl.gz")
    validate(CutSet.from_cuts(cuts), read_data=True)
    assert [cut.duration for cut in cuts] == pytest.approx([SECONDS / 3] * 3)
    _, voice = song
    for cut in cuts:
        span = slice(round(cut.start * RATE_HZ), round(cut.start * RATE_HZ) + cut.num_samples)
        true = voice.samples.numpy()[:, span]
        error = cut.load_vocals() - true
        assert 10 * math.log10((true**2).sum() / (error**2).sum()) > 15
        np.testing.assert_allclose(cut.load_vocals() + cut.load_accompaniment(), cut.load_audio(), atol=1e-3)


def test_the_report_counts_what_was_dropped(output, capsys, catalogue):
    report = json.loads((output / "report.json").read_text())
    assert (report["tracks"], report["stems"], report["cuts"]) == (5, 3, 3)
    assert [Path(path).name for path in report["dropped_stems"]] == ["e.flac"]
    assert [pair["dropped"] for pair in report["pairs"]] == [None, OTHER]
    files = {path: path.stat().st_mtime_ns for path in output.rglob("*.flac")}
    assert main(["data", "pairs", str(catalogue), "-o", str(output), "--chunk-seconds", "8"]) == 0
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.flac")} == files  # nothing is done again
    assert capsys.readouterr().out.splitlines() == [
        "1 pairs, 1 by subtraction and 0 by the max rule: 3 chunks, 0.01 hours",
        "",
        "dropped: 0 of 5 tracks",
        "",
        "dropped: 1 of 3 instrumentals and a cappellas",
        "       1  without a mix of the title",
        "",
        "dropped: 1 of 2 pairs by their sound",
        "       1  of two songs",
    ]


@pytest.mark.slow
def test_processes_check_what_one_does(catalogue, output, tmp_path):
    assert main(["data", "pairs", str(catalogue), "-o", str(tmp_path / "out"), "--processes", "2"]) == 0
    reports = [json.loads((folder / "report.json").read_text()) for folder in (output, tmp_path / "out")]
    assert reports[0]["pairs"] == reports[1]["pairs"]


def test_training_reads_the_cuts(output):
    options = CutLoaderOptions(cuts=[str(output / "cuts.jsonl.gz")], workers=0)
    order = CutOrder(options, seed=0, epochs=1)
    labeller = Labeller(Vocabulary(("<pad>", "|", "a"), blank_id=0, word_delimiter_id=1))
    plain = AugmentationOptions(speeds=[1.0], gain_db=0.0)
    with our_decoder():
        rows = [
            read_row(cut, sound=SoundFormat(RATE_HZ, 2), labeller=labeller, augmentation=plain, seed=0, epoch=0)
            for share in order.shares(Position())
            for cut in share.cuts
        ]
    assert len(rows) == 3
    batch = make_batch([*rows, replace(rows[0], words_known=True)])
    assert batch.vocals is not None
    assert batch.words_known is not None
    assert batch.words_known.tolist() == [False, False, False, True]
    assert not len(batch.labels)


@pytest.mark.slow
def test_a_separator_is_trained_on_pairs(output, training_config):
    stage = StageOptions(
        "pairs",
        steps=3,
        input="mixture",
        separator=OptimizerOptions(learning_rate=1e-3, warmup_steps=1),
        separation_weight=1.0,
        anchor_weight=0.0,
        ctc_weight=0.0,
    )
    loader = CutLoaderOptions([str(output / "cuts.jsonl.gz")], batch_cuts=2, workers=0)
    config = replace(training_config, cuts=loader, stages=[stage], log_every_steps=1)
    train(config, JsonLog(Path(config.output)))
    entries = [json.loads(line) for line in Path(config.output, "log.jsonl").read_text().splitlines()]
    assert [entry["separation"] > 0 for entry in entries if "separation" in entry] == [True] * 3


def test_no_pair_is_an_error(tmp_path, capsys):
    write_audio(tmp_path / "a.flac", Audio(torch.randn(1, RATE_HZ), RATE_HZ))
    (tmp_path / "songs.csv").write_text("path,artist,title\na.flac,Ada,Titan\n")
    assert main(["data", "pairs", str(tmp_path / "songs.csv"), "-o", str(tmp_path / "out")]) == 1
    assert "no pair is left" in capsys.readouterr().err
