import json
from pathlib import Path

import pytest
import torch
from lhotse import CutSet
from lhotse.qa import validate

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.cli.main import main
from lyrics_asr.corpora.manifest import Song, write_manifest
from lyrics_asr.inference.mixtures import read_mixture
from lyrics_asr.inference.stages import separate_to_16k_mono
from lyrics_asr.models.registry import load_model
from lyrics_asr.options import SeparationOptions
from lyrics_asr.training import loop
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.training.data.cut_loader import CutLoader
from lyrics_asr.training.data.cut_reader import has_words
from lyrics_asr.training.data.labels import Labeller
from lyrics_asr.training.data.options import AugmentationOptions, CutLoaderOptions
from lyrics_asr.training.data.prepare_manifest import cut_songs
from lyrics_asr.training.data.vocals_cache import require_separator
from lyrics_asr.training.stages import OptimizerOptions, StageOptions
from lyrics_asr.types import TimedWord

RATE_HZ = 44_100
SECONDS = 8


@pytest.fixture
def cuts(tmp_path):
    """Cuts of two songs in stereo."""
    songs = []
    for number in range(2):
        path = tmp_path / f"song {number}.wav"
        noise = 0.1 * torch.randn(2, SECONDS * RATE_HZ, generator=torch.Generator().manual_seed(number))
        write_audio(path, Audio(noise, RATE_HZ))
        words = tuple(TimedWord("ab", at + 0.25, at + 0.75, 1.0) for at in (0, 1, 2, 5, 6))
        songs.append(Song(f"disc/{number}.x", path, "ab", words, "en"))
    write_manifest(tmp_path / "manifest.jsonl", songs)
    cut_songs(tmp_path / "manifest.jsonl", tmp_path / "cuts")
    return tmp_path / "cuts" / "cuts.jsonl.gz"


def cache(cuts, folder, model, *more):
    return main(["data", "cache-vocals", str(cuts), "-o", str(folder), "--model", str(model), "--device", "cpu", *more])


def batches(cuts, model, **options):
    plain = AugmentationOptions(speeds=[1.0], gain_db=0.0)
    return CutLoader(
        CutLoaderOptions([str(path) for path in cuts], workers=0, augmentation=plain, **options),
        Labeller(model.acoustic.vocabulary),
        sample_rate_hz=RATE_HZ,
        channels=2,
        seed=0,
        epochs=1,
    )


@pytest.mark.parametrize("place", ["s3://bucket/train", "."])
def test_shards_cannot_be_cached(place, tmp_path, capsys):
    assert cache(place, tmp_path / "cache", "none") == 1
    message = f"{place}: is not a file on disk; data cache-vocals needs files of cuts, such as train.jsonl.gz"
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_cached_vocals_are_those_that_inference_gives_the_acoustic_model(cuts, tmp_path, tiny_model_folder):
    assert cache(cuts, tmp_path / "cache", tiny_model_folder) == 0
    model = load_model(str(tiny_model_folder), device="cpu")
    cached = tmp_path / "cache" / cuts.name
    validate(CutSet.from_cuts(CutSet.from_file(cached)), read_data=True)
    given = {cut.id: cut for cut in CutSet.from_file(cuts) if has_words(cut)}  # pauses are not loaded by default
    actual = {}
    for batch in batches([cached], model):
        assert batch.accompaniment is batch.unseparated is batch.mixture is None
        for row, cut_id in enumerate(batch.chunk_ids):
            actual[cut_id] = batch.vocals[row, :, : batch.lengths[row]]
        assert batch.label_lengths.min() > 0
    assert set(actual) == set(given)
    for cut_id, vocals in actual.items():
        cut = given[cut_id]
        mixture = read_mixture(Path(cut.recording.sources[0].source), model)
        whole = separate_to_16k_mono([mixture], model, SeparationOptions())[0].samples
        first = round(cut.start * 16_000)
        window = whole[:, first : first + vocals.shape[1]]
        torch.testing.assert_close(vocals, window, atol=2**-15, rtol=0)  # a step of 16 bits
        assert vocals.shape[1] == round(cut.duration * 16_000)


def test_a_song_is_done_once_and_one_that_fails_is_left_out(cuts, tmp_path, tiny_model_folder, capsys):
    song = tmp_path / "song 1.wav"
    good = song.read_bytes()
    song.write_bytes(b"no sound")
    assert cache(cuts, tmp_path / "cache", tiny_model_folder) == 3
    assert "cuts of failed songs are left out" in capsys.readouterr().err
    cached = tmp_path / "cache" / cuts.name
    assert {cut.recording_id for cut in CutSet.from_file(cached)} == {"disc/0.x"}
    first = tmp_path / "cache" / "audio" / "disc" / "0.x.flac"
    made = first.stat().st_mtime_ns
    song.write_bytes(good)
    assert cache(cuts, tmp_path / "cache", tiny_model_folder) == 0
    assert "1 kept from an earlier run" in capsys.readouterr().err
    assert first.stat().st_mtime_ns == made
    assert len(CutSet.from_file(cached)) == len(CutSet.from_file(cuts))


def test_a_cache_of_another_separator_is_refused_by_name(cuts, tmp_path, tiny_model_folder, capsys):
    assert cache(cuts, tmp_path / "cache", tiny_model_folder) == 0
    cached = tmp_path / "cache" / cuts.name
    model = load_model(str(tiny_model_folder), device="cpu")
    require_separator([cuts, cached], model)  # cuts of songs are of no separator
    assert cache(cuts, tmp_path / "cache", tiny_model_folder, "--separator", "none") == 1
    message = capsys.readouterr().err
    assert f"holds the vocals of another separator, '{tiny_model_folder}/separator'" in message
    with torch.no_grad():
        next(model.separator.parameters()).add_(1e-3)
    with pytest.raises(ValueError, match="holds the vocals of another separator"):
        require_separator([cuts, cached], model)


def test_a_run_on_the_vocals_of_another_separator_is_refused(cuts, tmp_path, tiny_model_folder):
    assert cache(cuts, tmp_path / "cache", tiny_model_folder, "--separator", "none") == 0
    cached = str(tmp_path / "cache" / cuts.name)
    stage = StageOptions("cached", steps=1, input="vocals", acoustic=OptimizerOptions(learning_rate=1e-3))
    config = TrainingConfig(
        stages=[stage],
        output=str(tmp_path / "run"),
        cuts=CutLoaderOptions([cached], workers=0),
        development_cuts=cached,
        model=str(tiny_model_folder),
        lyrics="",
    )
    with pytest.raises(ValueError, match="holds the vocals of another separator, 'none'"):
        loop.train(config, print)


def test_vocals_beside_songs_are_refused(cuts, tmp_path, tiny_model_folder):
    assert cache(cuts, tmp_path / "cache", tiny_model_folder) == 0
    model = load_model(str(tiny_model_folder), device="cpu")
    with pytest.raises(ValueError, match="is of separated vocals, others are of songs"):
        list(batches([cuts, tmp_path / "cache" / cuts.name], model))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "../../a"}, "cannot name a file"),
        ({"id": "/a"}, "cannot name a file"),
        ({"sources": [{"type": "command", "channels": [0], "source": "true"}]}, "not a song in a file"),
        ({"sources": []}, "give cuts of songs in one file each"),
    ],
)
def test_cuts_that_cannot_be_cached_are_named(cuts, tmp_path, capsys, change, message):
    lines = [cut.to_dict() for cut in CutSet.from_file(cuts)]
    lines[0]["recording"] |= change
    (tmp_path / "bad.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert cache(tmp_path / "bad.jsonl", tmp_path / "cache", "embedded-small") == 1
    printed = capsys.readouterr().err
    assert f"bad.jsonl: cut {lines[0]['id']!r}" in printed
    assert message in printed
    assert not (tmp_path / "cache").exists()
