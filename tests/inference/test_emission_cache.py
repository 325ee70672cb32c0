import pytest
import torch

from lyrics_asr.audio import read_audio
from lyrics_asr.inference.emission_cache import EmissionCache
from lyrics_asr.options import AcousticOptions, SeparationOptions
from tests.fake_model import FakeModel, make_song


@pytest.fixture
def model():
    return FakeModel()


def emissions_of(model, song):
    return model.emissions(model.vocals([read_audio(song.audio)], None), None)[0]


def cache(folder, model, separation=None):
    fingerprint = model.fingerprint(separation or SeparationOptions(), AcousticOptions())
    return EmissionCache(folder / "cache", model, fingerprint)


def test_emissions_come_back_exactly_whatever_the_song_is_called(tmp_path, model):
    song = make_song(tmp_path, model)
    emissions = emissions_of(model, song)
    assert cache(tmp_path, model).load(song.audio) is None
    cache(tmp_path, model).save(song.audio, emissions)
    renamed = song.audio.rename(tmp_path / "renamed.wav")
    found = cache(tmp_path, model).load(renamed)
    assert torch.equal(found.log_probs, emissions.log_probs)
    assert (found.vocabulary, found.grid, found.duration_seconds) == (
        emissions.vocabulary,
        emissions.grid,
        emissions.duration_seconds,
    )


def test_another_song_model_or_option_is_not_found(tmp_path, model):
    song = make_song(tmp_path, model)
    cache(tmp_path, model).save(song.audio, emissions_of(model, song))
    assert cache(tmp_path, model, SeparationOptions(overlap=0.5)).load(song.audio) is None
    with torch.no_grad():
        next(model.acoustic.parameters()).view(-1)[0] += 1e-6
    assert cache(tmp_path, model).load(song.audio) is None
    with torch.no_grad():
        next(model.acoustic.parameters()).view(-1)[0] -= 1e-6
    song.audio.write_bytes(song.audio.read_bytes() + b"\0")
    assert cache(tmp_path, model).load(song.audio) is None


@pytest.mark.parametrize("damage", [b"", b"not safetensors", None])
def test_a_damaged_entry_is_as_good_as_none(tmp_path, model, damage):
    song = make_song(tmp_path, model)
    cache(tmp_path, model).save(song.audio, emissions_of(model, song))
    (entry,) = (tmp_path / "cache").iterdir()
    entry.write_bytes(entry.read_bytes()[:-100] if damage is None else damage)
    assert cache(tmp_path, model).load(song.audio) is None


def test_a_song_that_is_missing_is_an_error(tmp_path, model):
    with pytest.raises(FileNotFoundError):
        cache(tmp_path, model).load(tmp_path / "none.wav")
