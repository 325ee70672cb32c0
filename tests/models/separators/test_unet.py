"""The U-Net separator against Spleeter's own TensorFlow graph, whose outputs `scripts/spleeter_reference.py` stored."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lyrics_asr.models.average import average_models
from lyrics_asr.models.fingerprint import weights_fingerprint
from lyrics_asr.models.known_models import ASSETS_FOLDER
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.registry import load_model
from lyrics_asr.models.separators.loading import build_separator, load_separator, save_separator
from lyrics_asr.models.separators.unet import UNetConfig, UNetSeparator
from lyrics_asr.options import SeparationOptions
from lyrics_asr.training.freezing import freeze
from lyrics_asr.training.stages import FreezingPhase, OptimizerOptions, StageOptions
from scripts.convert_spleeter import converted
from scripts.spleeter_reference import SAMPLES, STEP, TINY_CHANNELS, TINY_SAMPLES, TINY_STEP, waveform
from scripts.tensor_bundle import read_tensor_bundle

SHIPPED = ASSETS_FOLDER / "embedded" / "separator"
CONFIG = UNetConfig(n_fft=256, bins=64, patch_frames=64, channels=tuple(TINY_CHANNELS))
PATCH_SAMPLES = CONFIG.patch_frames * CONFIG.hop_samples


@pytest.fixture(scope="module")
def reference():
    with np.load(Path(__file__).parent / "spleeter.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def separator(reference):
    """Tiny networks with the random weights of a checkpoint that TensorFlow wrote."""
    separator = UNetSeparator("tiny", CONFIG)
    checkpoint = read_tensor_bundle(reference["tiny_index"].tobytes(), reference["tiny_data"].tobytes())
    separator.load_state_dict(converted(checkpoint, CONFIG))
    return separator.eval()


def song(samples, channels=2, seed=0):
    return 0.1 * torch.randn(channels, samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("extension", ["zeros", "average"])
def test_stems_are_those_of_spleeters_graph(separator, reference, extension):
    mixture = torch.from_numpy(waveform(TINY_SAMPLES).T)
    expected = torch.from_numpy(reference[f"tiny_{extension}"]).transpose(1, 2)
    assert (expected.abs().mean((1, 2)) > 0.01).all()
    with torch.no_grad():
        stems = separator.stems(mixture[None], extension)[:, 0]
    torch.testing.assert_close(stems[..., ::TINY_STEP], expected, atol=1e-6, rtol=0)
    (vocals,) = separator.separate([mixture], SeparationOptions(mask_extension=extension))
    torch.testing.assert_close(vocals, stems[0], atol=1e-6, rtol=0)


@pytest.mark.slow
def test_shipped_weights_give_what_spleeter_gives_up_to_rounding(reference):
    mixture = torch.from_numpy(waveform(SAMPLES).T)
    with torch.inference_mode():
        stems = load_separator(str(SHIPPED)).stems(mixture[None])[:, 0]
    expected = torch.from_numpy(reference["spleeter"]).transpose(1, 2)
    rounding = stems[..., ::STEP] - expected
    for stem in range(2):
        assert 20 * torch.log10(expected[stem].norm() / rounding[stem].norm()) > 30  # dB, of weights in int8


@pytest.mark.parametrize("data", [b"", b"0" * 100])
def test_other_files_are_no_checkpoint(data):
    with pytest.raises(ValueError, match="not the index of a TensorFlow checkpoint"):
        read_tensor_bundle(data, b"")


@pytest.mark.parametrize("samples", [1, 100, PATCH_SAMPLES - 256, PATCH_SAMPLES - 255, 3 * PATCH_SAMPLES + 31])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_patches_give_what_the_whole_song_gives(separator, samples, batch_size):
    mixture, shares = song(samples), []
    with torch.no_grad():
        whole = separator(mixture[None])[0]
    options = SeparationOptions(batch_size=batch_size, segment_seconds=60.0)
    (vocals,) = separator.separate([mixture], options, shares.append)
    torch.testing.assert_close(vocals, whole, atol=1e-6, rtol=0)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_songs_that_share_batches_are_as_each_alone(separator):
    songs = [song(10_000), song(300, seed=1), song(20_000, seed=2)]
    together = separator.separate(songs, SeparationOptions(batch_size=4))
    for mixture, vocals in zip(songs, together, strict=True):
        (alone,) = separator.separate([mixture], SeparationOptions())
        torch.testing.assert_close(vocals, alone, atol=1e-6, rtol=0)
    assert separator.separate([], SeparationOptions()) == []


def test_shorter_segments_are_those_of_shorter_patches(reference, separator):
    longer = UNetSeparator("longer", replace(CONFIG, patch_frames=192))
    longer.load_state_dict(separator.state_dict())
    mixture, seconds = song(30_000), 70 * CONFIG.hop_samples / CONFIG.sample_rate_hz
    (shorter,) = longer.eval().separate([mixture], SeparationOptions(segment_seconds=seconds))
    (expected,) = separator.separate([mixture], SeparationOptions())
    torch.testing.assert_close(shorter, expected, atol=1e-6, rtol=0)
    (whole,) = longer.separate([mixture], SeparationOptions())
    assert (whole - expected).abs().max() > 1e-4


def test_blocks_on_the_grid_give_what_the_whole_song_gives(separator):
    mixture, options = song(6 * PATCH_SAMPLES), SeparationOptions()
    (whole,) = separator.separate([mixture], options)
    grid, context = separator.block_grid(options)
    for start, end in ((0, 3 * grid + 77), (2 * grid, 5 * grid + 5)):
        (block,) = separator.separate([mixture[:, start:end]], options)
        kept = slice(context if start else 0, end - start - context)
        torch.testing.assert_close(block[:, kept], whole[:, start:end][:, kept], atol=1e-6, rtol=0)


def test_stems_add_up_to_the_mixture(separator):
    """The two masks add up to one, also above the bins of the networks where they are extended by their mean."""
    mixture = song(10_000)
    with torch.no_grad():
        stems = separator.stems(mixture[None], "average")
    torch.testing.assert_close(stems.sum(0)[0], mixture, atol=1e-5, rtol=0)


def test_mono_is_stereo_with_equal_channels(separator):
    mono = song(5000, channels=1)
    (stereo,) = separator.separate([mono.expand(2, -1)], SeparationOptions())
    (vocals,) = separator.separate([mono], SeparationOptions())
    torch.testing.assert_close(vocals, stereo.mean(0, keepdim=True))
    with torch.no_grad():
        torch.testing.assert_close(separator(mono[None])[0], vocals, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="'tiny' takes 2 channels, the mixture has 3"):
        separator.separate([song(5000, channels=3)], SeparationOptions())


def test_gradients_reach_the_mixture_and_all_weights(separator):
    mixture = song(5000)[None].requires_grad_()
    vocals, _ = separator.train().stems(mixture)
    vocals.square().sum().backward()
    assert mixture.grad.abs().sum() > 0
    for name, parameter in separator.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_frozen_layers_do_not_change(separator):
    """Neither their weights nor the statistics of their norms, and a frozen copy has no dropout."""
    mixture = song(5000)[None]
    with torch.no_grad():
        inference = separator(mixture)
        frozen = separator.requires_grad_(False).train()
        torch.testing.assert_close(frozen(mixture), inference)
        for network in separator.networks:
            network.decoder[-2:].requires_grad_(True)
        before = {name: value.clone() for name, value in separator.train().state_dict().items()}
        separator(mixture)
    changed = {name for name, value in separator.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".", 2)[2].removesuffix("s") for name in changed} == {
        f"decoder.5.norm.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")
    }


@pytest.mark.parametrize("half", [False, True])
def test_saved_and_loaded(separator, tmp_path, half):
    save_separator(separator, tmp_path / "saved", half=half)
    again = load_separator(str(tmp_path / "saved"))
    assert again.config == separator.config
    assert again.name == str(tmp_path / "saved")
    assert not again.training
    stored = load_file(tmp_path / "saved" / "unet.safetensors")
    assert {value.dtype for value in stored.values() if value.dim() == 4} == {torch.float16 if half else torch.float32}
    assert (weights_fingerprint(again) == weights_fingerprint(separator)) == (not half)
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, separator.state_dict()[name], rtol=1e-3 if half else 0, atol=1e-6)


def test_damaged_folders_are_refused_by_name(separator, tmp_path):
    save_separator(separator, tmp_path)
    config = (tmp_path / "unet.yaml").read_text()
    (tmp_path / "unet.yaml").write_text(config.replace("- 4\n", "- 8\n"))
    with pytest.raises(ValueError, match=r"unet\.safetensors: damaged, or not the weights of unet\.yaml"):
        load_separator(str(tmp_path))
    (tmp_path / "unet.yaml").write_text(config + "frames: 3\n")
    with pytest.raises(ValueError, match=r"unet\.yaml: .*frames"):
        load_separator(str(tmp_path))
    (tmp_path / "unet.yaml").write_text(config)
    (tmp_path / "unet.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"unet\.safetensors: damaged"):
        load_separator(str(tmp_path))
    (tmp_path / "unet.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"unet\.safetensors: the weights of the separator are missing"):
        load_separator(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_frames": 100}, "patch_frames of the U-Net is 100; with 6 layers it must be a multiple of 64"),
        ({"bins": 0}, "bins of the U-Net is 0"),
        ({"bins": 192}, "n_fft of the U-Net is 256; it must be a multiple of 4 and have at least 192 bins"),
    ],
)
def test_settings_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)
    with pytest.raises(ValueError, match=r"separation\.mask_extension must be zeros or average, not 'mean'"):
        SeparationOptions(mask_extension="mean")


def test_a_model_with_a_unet_is_built_trained_saved_loaded_and_averaged(tiny_model_folder, tmp_path):
    arguments = {"n_fft": 256, "bins": 64, "patch_frames": 64, "channels": [2, 2, 3, 3, 4, 4]}
    torch.manual_seed(0)
    separator = build_separator({"network": "UNet", **arguments})
    assert separator.config == CONFIG
    tiny = load_model(str(tiny_model_folder), device="cpu")
    model = LyricsModel(separator, tiny.acoustic, name="unet")

    moved = OptimizerOptions(1e-3)
    stage = StageOptions("end to end", steps=1, input="mixture", separator=moved, acoustic=moved)
    parts = freeze(model, stage, FreezingPhase(separator_last_layers=2))
    names = {name.split(".", 2)[2] for name, value in separator.named_parameters() if value.requires_grad}
    assert {name.rpartition(".")[0] for name in names} == {"decoder.5.conv", "decoder.5.norm", "decoder.6"}
    assert 0 < parts.separator < parts.separator_total
    model(song(44_100)[None]).sum().backward()
    assert all(value.grad.abs().sum() > 0 for value in separator.parameters() if value.requires_grad)

    for name in ("one", "two"):
        model.eval().save(tmp_path / name)
        with torch.no_grad():
            separator.networks[0].decoder[6].bias += 2.0
    mixture, options = song(20_000), SeparationOptions()
    loaded = [load_model(str(tmp_path / name), device="cpu").separator for name in ("one", "two")]
    biases = [each.networks[0].decoder[6].bias for each in loaded]
    torch.testing.assert_close(biases[1], biases[0] + 2.0)
    mean = average_models({str(tmp_path / "one"): 1.0, str(tmp_path / "two"): 1.0}).separator
    torch.testing.assert_close(mean.networks[0].decoder[6].bias, biases[0] + 1.0)
    (vocals,) = mean.separate([mixture], options)
    assert vocals.shape == mixture.shape

    model.separator = UNetSeparator("other", replace(CONFIG, patch_frames=128))
    model.save(tmp_path / "three")
    with pytest.raises(ValueError, match="its separator's spectrogram is UNetConfig"):
        average_models({str(tmp_path / "one"): 1.0, str(tmp_path / "three"): 1.0})
