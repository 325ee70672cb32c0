import pytest
import torch

from lyrics_asr import load_model, transcribe
from lyrics_asr.audio import Audio, AudioError, write_audio
from lyrics_asr.inference import long_audio, mixtures, stages
from lyrics_asr.inference.mixtures import read_mixture
from lyrics_asr.models.separators.demucs import DemucsSeparator
from lyrics_asr.models.separators.loading import build_separator, load_separator
from lyrics_asr.options import AcousticOptions, InferenceOptions, SeparationOptions


@pytest.fixture(scope="module")
def model(tiny_model_folder, tiny_hdemucs):
    model = load_model(str(tiny_model_folder), device="cpu")
    model.separator = tiny_hdemucs
    return model


@pytest.fixture
def short_blocks(monkeypatch):
    monkeypatch.setattr(long_audio, "BLOCK_SECONDS", 2)
    monkeypatch.setattr(mixtures, "LONG_SECONDS", 2)


def noise(seconds, rate=44_100, channels=2):
    generator = torch.Generator().manual_seed(round(seconds * 1000))
    swell = 1 + torch.sin(torch.arange(round(seconds * rate)) / rate)
    return Audio(0.1 * swell * torch.randn(channels, round(seconds * rate), generator=generator), rate)


def in_one_piece_and_in_blocks(path, model, options):
    (whole,) = stages.separate_to_16k_mono([read_mixture(path, model)], model, options.separation)
    return whole, long_audio.separate_in_blocks(long_audio.AudioFile(path), model, options.separation)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [2.001, 4.0, 4.9, 7.8])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_blocks_give_what_the_whole_song_gives(model, short_blocks, tmp_path, seconds, overlap):
    path = tmp_path / "song.wav"
    write_audio(path, noise(seconds))
    options = InferenceOptions(SeparationOptions(overlap))
    whole, blocks = in_one_piece_and_in_blocks(path, model, options)
    assert blocks.samples.shape == whole.samples.shape
    torch.testing.assert_close(blocks.samples, whole.samples, atol=2e-5, rtol=0)
    assert whole.samples.abs().mean() > 1e-3


@pytest.mark.parametrize(
    ("suffix", "rate", "channels"), [(".mp3", 44_100, 2), (".flac", 48_000, 1), (".opus", 48_000, 2)]
)
def test_blocks_of_any_file(model, short_blocks, tmp_path, suffix, rate, channels):
    path = tmp_path / f"song{suffix}"
    write_audio(path, noise(5.5, rate, channels))
    whole, blocks = in_one_piece_and_in_blocks(path, model, InferenceOptions())
    assert blocks.samples.shape == whole.samples.shape
    torch.testing.assert_close(blocks.samples, whole.samples, atol=2e-3, rtol=0)


@pytest.mark.slow
def test_blocks_with_several_networks_with_a_unet_and_with_none(tiny_model_folder, short_blocks, tmp_path):
    path = tmp_path / "song.wav"
    write_audio(path, noise(5.2))
    kwargs = {"sources": ["rest", "vocals"], "channels": 4, "depth": 4, "dconv_comp": 2, "t_layers": 1, "t_heads": 2}
    torch.manual_seed(0)
    networks = [build_separator({**kwargs, "bottom_channels": 16, "segment": s}).network(0) for s in (1, 2)]
    bag = DemucsSeparator("bag", networks, [1.0, 0.5])
    unet = build_separator({"network": "UNet", "n_fft": 512, "bins": 64, "patch_frames": 128, "channels": [2, 2]})
    for separator in (bag.eval(), unet.eval(), load_separator("none")):
        model = load_model(str(tiny_model_folder), device="cpu")
        model.separator = separator
        whole, blocks = in_one_piece_and_in_blocks(path, model, InferenceOptions())
        torch.testing.assert_close(blocks.samples, whole.samples, atol=2e-5, rtol=0)


def test_a_long_song_is_transcribed_as_a_short_one(model, short_blocks, tmp_path, monkeypatch):
    path = tmp_path / "song.wav"
    write_audio(path, noise(6.5))
    options = InferenceOptions(acoustic=AcousticOptions(window_seconds=5.0, context_seconds=1.0))
    shares = []
    in_blocks = transcribe(path, model, options=options, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) >= 3
    monkeypatch.setattr(mixtures, "LONG_SECONDS", 60)
    whole = transcribe(path, model, options=options)
    assert in_blocks.text == whole.text
    assert in_blocks.audio == whole.audio


def test_a_long_silence_is_refused_and_a_silent_block_is_not(model, short_blocks, tmp_path):
    path = tmp_path / "song.wav"
    write_audio(path, Audio(torch.zeros(2, 5 * 44_100), 44_100))
    with pytest.raises(AudioError, match=r"song\.wav: is silent"):
        transcribe(path, model)
    write_audio(path, Audio(torch.cat([noise(2.0).samples, torch.zeros(2, 5 * 44_100)], dim=1), 44_100))
    assert transcribe(path, model).audio.duration_seconds == pytest.approx(7.0)
