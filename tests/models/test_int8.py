"""Weights in int8: errors within half a step of each block, small tensors exact, models that load from them."""

import pytest
import torch

from lyrics_asr.models.acoustic_checkpoints import build_acoustic, load_acoustic, save_acoustic
from lyrics_asr.models.int8 import Int8Logits, load_int8, save_int8
from lyrics_asr.models.separators.loading import build_separator, load_separator, save_separator


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("bits", [8, 6])
def test_the_error_is_at_most_half_a_step_of_the_block(tmp_path, bits):
    scales = torch.logspace(-4, 2, 64)
    state = {"matrix": noise(64, 200) * scales[:, None], "kernel": noise(64, 16, 4, 4), "zero": torch.zeros(64, 100)}
    exact = {"bias": noise(64), "small": noise(8, 8), "count": torch.tensor(3)}
    save_int8(state | exact, tmp_path / "weights.int8.safetensors", bits)
    again = load_int8(tmp_path)
    assert again.keys() == state.keys() | exact.keys()
    for name, value in exact.items():
        assert torch.equal(again[name], value)
    for name, value in state.items():
        blocks = (-1, 64 if name == "kernel" else value[0].numel())
        step = value.flatten(1).unflatten(1, blocks).abs().amax(2) / (2 ** (bits - 1) - 1)
        error = (again[name] - value).flatten(1).unflatten(1, blocks).abs().amax(2)
        assert (error <= 0.505 * step).all()
    size = (tmp_path / "weights.int8.safetensors").stat().st_size
    assert size < 1.2 * sum(value.numel() for value in state.values())


def test_a_folder_without_such_weights_has_none(tmp_path):
    assert load_int8(tmp_path) == {}


def test_acoustic_models_and_separators_load_from_int8(tmp_path):
    tiny = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    acoustic = build_acoustic(tiny, "abc").eval()
    save_acoustic(acoustic, tmp_path / "acoustic")
    (tmp_path / "acoustic" / "model.safetensors").unlink()
    state = acoustic.network.state_dict()
    head = {key: value for key, value in state.items() if key.startswith("lm_head")}
    save_int8({key: state[key] for key in state.keys() - head.keys()}, tmp_path / "acoustic" / "body.int8.safetensors")
    save_int8(head, tmp_path / "acoustic" / "head.int8.safetensors")
    waveform = 0.1 * noise(1, 16_000)
    with torch.no_grad():
        found = load_acoustic(str(tmp_path / "acoustic"))(waveform)
        torch.testing.assert_close(found, acoustic(waveform), atol=0.05, rtol=0)

    unet = {"network": "UNet", "n_fft": 512, "bins": 64, "patch_frames": 64, "channels": [16, 32]}
    separator = build_separator(unet).eval()
    save_separator(separator, tmp_path / "unet")
    (tmp_path / "unet" / "unet.safetensors").unlink()
    save_int8(separator.state_dict(), tmp_path / "unet" / "unet.int8.safetensors")
    mixture = 0.1 * noise(1, 2, 44_100)
    random_state = torch.get_rng_state()
    loaded = load_separator(str(tmp_path / "unet"))
    assert torch.equal(torch.get_rng_state(), random_state)  # random weights would take longer than reading these
    with torch.no_grad():
        found = loaded(mixture)
        torch.testing.assert_close(found, separator(mixture), atol=0.01, rtol=0)


def test_logits_from_int8_weights_are_near_those_in_float_and_the_largest_are_exact():
    weight, hidden = noise(2000, 64) * torch.logspace(-2, 1, 2000)[:, None], noise(5, 1, 64)
    expected, found = hidden @ weight.T, Int8Logits(weight, 1900)(hidden)
    torch.testing.assert_close(found[..., 1900:], expected[..., 1900:])
    expected, found = expected[..., :1900], found[..., :1900]
    rounded_weights = weight.abs().amax(1) / 127 / 2 * hidden.abs().sum(-1, keepdim=True)
    rounded_inputs = (hidden.max() - hidden.min()) / 127 / 2 * weight.abs().sum(1)
    assert ((found - expected).abs() <= 1.02 * (rounded_weights + rounded_inputs)[..., :1900]).all()
    largest = expected.topk(5).indices
    torch.testing.assert_close(found.gather(-1, largest), expected.gather(-1, largest))
    assert (found != expected).float().mean() > 0.9
