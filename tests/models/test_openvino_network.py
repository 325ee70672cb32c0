"""U-Nets in OpenVINO against PyTorch, and the cache of compiled networks."""

import sys

import pytest
import torch

pytest.importorskip(
    "lyrics_asr.models.openvino_network", reason="needs the extra openvino: pip install 'lyrics-asr[openvino]'"
)

from lyrics_asr.evaluation.metrics import si_sdr
from lyrics_asr.models import openvino_network
from lyrics_asr.models.registry import load_model
from lyrics_asr.models.separators.unet import UNetConfig, UNetSeparator
from lyrics_asr.options import SeparationOptions

CONFIG = UNetConfig(n_fft=256, bins=64, patch_frames=64, channels=(4, 8, 8))
SAMPLES = round(2.5 * CONFIG.patch_frames * CONFIG.hop_samples)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(openvino_network, "HF_ASSETS_CACHE", tmp_path)
    monkeypatch.setattr(openvino_network, "_compiled", {})
    return tmp_path


@pytest.fixture
def separator():
    torch.manual_seed(0)
    separator = UNetSeparator("tiny", CONFIG)
    for name, value in separator.named_buffers():
        if name.endswith("running_var"):
            value.uniform_(0.01, 0.1)  # else each layer is quieter than the one before
    return separator.eval()


@pytest.fixture
def mixture():
    return 0.1 * torch.randn(2, SAMPLES, generator=torch.Generator().manual_seed(1))


def vocals(separator, mixture, runtime="openvino", precision="float32", **options):
    options = SeparationOptions(runtime=runtime, precision=precision, **options)
    return separator.separate([mixture], options)[0]


@pytest.mark.parametrize("options", [{}, {"batch_size": 2}, {"segment_seconds": 0.05}])
def test_vocals_are_those_of_pytorch(cache, separator, mixture, options):
    expected = vocals(separator, mixture, "torch", **options)
    torch.testing.assert_close(vocals(separator, mixture, **options), expected, atol=1e-6, rtol=0)
    assert si_sdr(vocals(separator, mixture, precision="bfloat16", **options).mean(0), expected.mean(0)) > 30


def test_a_network_is_converted_once(cache, separator, mixture, monkeypatch):
    first = vocals(separator, mixture)
    assert len(list(cache.rglob("*.blob"))) == 2  # vocals and accompaniment
    monkeypatch.setattr(openvino_network, "_compiled", {})  # as in another process
    monkeypatch.setattr(openvino_network.openvino, "convert_model", None)
    assert torch.equal(vocals(separator, mixture), first)
    with torch.no_grad():
        separator.networks[0].decoder[-1].bias.add_(1.0)
    with pytest.raises(TypeError):  # other weights are another network
        vocals(separator, mixture)


def test_a_damaged_file_is_replaced(cache, separator, mixture, monkeypatch):
    first = vocals(separator, mixture)
    sizes = {}
    for path in cache.rglob("*.blob"):
        sizes[path] = path.stat().st_size
        path.write_bytes(path.read_bytes()[: sizes[path] // 2])
    monkeypatch.setattr(openvino_network, "_compiled", {})
    assert torch.equal(vocals(separator, mixture), first)
    assert {path: path.stat().st_size for path in cache.rglob("*.blob")} == sizes


def test_a_cache_that_cannot_be_written_is_done_without(cache, separator, mixture, monkeypatch):
    (cache / "lyrics-asr").write_text("a file in the way")
    torch.testing.assert_close(vocals(separator, mixture), vocals(separator, mixture, "torch"), atol=1e-6, rtol=0)


def test_openvino_reports_nothing_to_anybody():
    assert sys.modules["openvino_telemetry"] is None


def test_other_separators_are_refused():
    model = load_model("embedded-small", device="cpu")
    with pytest.raises(ValueError, match=r"runtime openvino: .* not the separator .*; use --runtime torch"):
        model.separation_options(SeparationOptions(runtime="openvino"))
    assert model.unseparated.separation_options(SeparationOptions(runtime="openvino")).runtime == "openvino"
