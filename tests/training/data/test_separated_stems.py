from pathlib import Path

import numpy as np
import pytest
import torch

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ, read_audio
from lyrics_asr.corpora.manifest import read_manifest
from lyrics_asr.models.registry import load_model
from lyrics_asr.options import SeparationOptions
from lyrics_asr.synthesis import corpus as synthetic
from lyrics_asr.synthesis.options import SyntheticOptions
from lyrics_asr.training.config import MixOptions
from lyrics_asr.training.data.separated_stems import separate_songs
from lyrics_asr.training.data.stem_chunks import prepare_stems

LYRICS = Path(__file__).parents[3] / "data" / "lyrics"
SOFT = MixOptions(lowest_level_db=-20.0, highest_level_db=-20.0)


@pytest.fixture(scope="module")
def model():
    return load_model("embedded", device="cpu")


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs")
    synthetic.generate(folder, SyntheticOptions(songs=1, lines=2, seed=3), LYRICS)
    synthetic.generate(folder / "voice", SyntheticOptions(songs=1, lines=2, seed=4, a_cappella_share=1.0), LYRICS)
    return [*read_manifest(folder / "manifest.jsonl"), *read_manifest(folder / "voice" / "manifest.jsonl")]


def separate(model, songs, folder):
    return separate_songs(
        model, songs, prepare_stems(songs, model.separator.sample_rate_hz, 2, 1), folder, seed=0, mix=SOFT
    )


def test_songs_are_heard_in_their_own_mixture_and_over_anothers_accompaniment(model, songs, tmp_path):
    separated = separate(model, songs, tmp_path)
    assert [song.id for song in separated.songs] == [song.id for song in songs for _ in range(2)]
    heard = [np.load(path) for path in separated.stems]
    assert not any(stems[1].any() for stems in heard)

    mixture = read_audio(songs[0].audio, sample_rate_hz=model.separator.sample_rate_hz, channels=2)
    ours = model.voice(*model.vocals([mixture], SeparationOptions())).samples
    torch.testing.assert_close(torch.from_numpy(heard[0][0] / 32768.0).float(), ours, atol=2e-3, rtol=0)

    for index, song in enumerate(songs):  # the other accompaniment is another sound, over the same voice
        voice = read_audio(song.vocals, sample_rate_hz=ACOUSTIC_SAMPLE_RATE_HZ, channels=1).samples[0].numpy()
        own, other = (stems[0, 0].astype(float) for stems in heard[2 * index : 2 * index + 2])
        assert np.abs(own - other).max() > 300
        assert np.corrcoef(voice, other[: len(voice)])[0, 1] > 0.8


def test_what_is_there_is_kept_unless_the_separator_is_another(model, songs, tmp_path):
    first = separate(model, songs[:1], tmp_path)
    first.stems[1].unlink()
    kept = first.stems[0].stat().st_mtime_ns
    again = separate(model, songs[:1], tmp_path)
    assert again.stems == first.stems
    assert first.stems[0].stat().st_mtime_ns == kept
    assert first.stems[1].exists()

    parameter = next(model.separator.parameters())
    with torch.no_grad():
        parameter.view(-1)[0] += 1e-3
    other = separate(model, songs[:1], tmp_path)
    with torch.no_grad():
        parameter.view(-1)[0] -= 1e-3
    assert not set(other.stems) & set(first.stems)
