from dataclasses import replace

import pytest
import torch

from lyrics_asr.audio import read_header
from lyrics_asr.evaluation.metrics import word_errors
from lyrics_asr.inference.pipeline import align, transcribe
from lyrics_asr.inference.stages import options_for
from lyrics_asr.lyrics.text import read_lyrics
from lyrics_asr.models.devices import find_device
from lyrics_asr.models.precision import for_device, has_bfloat16
from lyrics_asr.models.registry import load_model
from lyrics_asr.models.separators.loading import build_separator
from lyrics_asr.options import AcousticOptions, InferenceOptions, SeparationOptions
from tests.paths import DEMO

CPU = torch.device("cpu")


@pytest.mark.parametrize("options", [SeparationOptions(batch_size=3), AcousticOptions(batch_size=3)])
@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("gains", [True, False])
def test_a_cpu_computes_in_bfloat16_where_that_is_faster(monkeypatch, options, native, gains):
    monkeypatch.setattr("lyrics_asr.models.precision._FAST_INSTRUCTIONS", ("avx512_bf16",))  # none in other tests
    capabilities = {"avx2": True, "avx512_bf16": native, "cpu_name": "bf16"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    chosen = for_device(options, CPU, gains_on_cpu=gains)
    assert (chosen.precision, chosen.batch_size) == ("bfloat16" if native and gains else "float32", 3)
    asked = for_device(replace(options, precision="float32", batch_size=None), CPU, gains_on_cpu=gains)
    assert (asked.precision, asked.batch_size) == ("float32", 1)


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_needs_instructions_for_it(monkeypatch, native):
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": native, "cpu_name": "bf16"}
    )
    assert has_bfloat16(CPU) == native
    for options in (SeparationOptions(precision="bfloat16"), AcousticOptions(precision="bfloat16")):
        if native:
            assert for_device(options, CPU).precision == "bfloat16"
        else:
            with pytest.raises(ValueError, match=r"precision bfloat16: cpu has no instructions.*use float32"):
                for_device(options, CPU)


def test_which_networks_gain_by_bfloat16():
    """Measured in docs/benchmarks.md: Demucs and transformers do, the U-Net does not."""
    small = load_model("embedded-small", device="cpu")
    assert (small.separator.gains_by_bfloat16, small.acoustic.gains_by_bfloat16) == (True, True)
    assert not build_separator({"network": "UNet", "channels": [4]}).gains_by_bfloat16


@pytest.mark.slow
@pytest.mark.skipif(not has_bfloat16(find_device()), reason="this device has no instructions for bfloat16")
def test_bfloat16_changes_hardly_a_word_or_time():
    model = load_model("embedded-small")
    path = min(DEMO.glob("*.mp3"), key=lambda path: read_header(path).duration_seconds)
    lyrics = read_lyrics(path.with_suffix(".txt"))
    texts, times = [], []
    for precision in ("float32", "bfloat16"):
        options = InferenceOptions(
            SeparationOptions(precision=precision), AcousticOptions(precision=precision), options_for(model).decoding
        )
        texts.append(transcribe(path, model, options=options).text)
        lines = align(path, lyrics, model, options=options).lines
        times.append(torch.tensor([word.start_seconds for line in lines for word in line.words]))
    # Over the 30 held-out songs 1.4 % of the words were others, and one time in 1,930 by more than a frame.
    assert word_errors([texts[0].lower()], [texts[1].lower()]).rate < 0.05
    assert float(((times[0] - times[1]).abs() < 0.021).float().mean()) > 0.99
