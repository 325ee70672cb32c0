"""Inference on a GPU, against the CPU in float32."""

import copy
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from lyrics_asr.audio import Audio, read_audio, write_audio
from lyrics_asr.cli.main import main
from lyrics_asr.evaluation.metrics import si_sdr, word_errors
from lyrics_asr.inference.pipeline import align, transcribe
from lyrics_asr.inference.stages import options_for
from lyrics_asr.lyrics.text import read_lyrics
from lyrics_asr.models.registry import load_model
from lyrics_asr.models.separators.loading import build_separator
from lyrics_asr.options import AcousticOptions, InferenceOptions, SeparationOptions
from tests.paths import DEMO

EXACT = InferenceOptions(SeparationOptions(precision="float32"), AcousticOptions(precision="float32"))
SONG = DEMO / "truce_on_the_hill.mp3"
CUDA = torch.device("cuda")


@pytest.fixture(scope="module", params=["embedded", "embedded-small"])
def trained(request):
    """A trained model on the CPU, and its copy on the GPU."""
    model = load_model(request.param, device="cpu")
    return model, copy.deepcopy(model).to(CUDA)


def excerpt(model, seconds=10.0):
    audio = read_audio(SONG, sample_rate_hz=model.separator.sample_rate_hz, channels=model.mixture_channels)
    return Audio(audio.samples[:, : round(seconds * audio.sample_rate_hz)], audio.sample_rate_hz)


@pytest.mark.gpu
def test_log_probs_are_those_of_the_cpu(trained):
    on_cpu, on_gpu = trained
    voice = on_cpu.to_16k_mono(excerpt(on_cpu))
    (expected,) = on_cpu.emissions([voice], EXACT.acoustic)
    (exact,) = on_gpu.emissions([voice], EXACT.acoustic)
    torch.testing.assert_close(exact.log_probs, expected.log_probs, atol=1e-3, rtol=1e-4)
    (rounded,) = on_gpu.emissions([voice], AcousticOptions(precision="bfloat16"))
    assert not torch.equal(rounded.log_probs, exact.log_probs)
    best = expected.log_probs.argmax(1)
    assert (rounded.log_probs.argmax(1) == best).float().mean() > 0.97
    with torch.inference_mode(), torch.autocast("cuda", torch.float16):  # as training with `precision: fp16`
        half = on_gpu.acoustic(voice.samples.to(CUDA))[0].cpu()
    with torch.inference_mode():
        whole = on_cpu.acoustic(voice.samples)[0]
    assert (half.argmax(1) == whole.argmax(1)).float().mean() > 0.99


@pytest.mark.gpu
def test_vocals_are_those_of_the_cpu(trained):
    on_cpu, on_gpu = trained
    (expected,) = on_cpu.vocals([excerpt(on_cpu)], EXACT.separation)
    (exact,) = on_gpu.vocals([excerpt(on_cpu)], EXACT.separation)
    assert exact.samples.device.type == "cuda"
    torch.testing.assert_close(exact.samples.cpu(), expected.samples, atol=1e-4, rtol=0)
    (rounded,) = on_gpu.vocals([excerpt(on_cpu)], SeparationOptions(precision="bfloat16"))
    assert 25 < si_sdr(rounded.samples.cpu().flatten(), expected.samples.flatten()) < 100


@pytest.mark.gpu
def test_htdemucs_gives_the_vocals_of_the_cpu():
    """With its transformer over time and frequency, and its branch in the time domain; random weights."""
    torch.manual_seed(0)
    separator = build_separator({"sources": ["other", "vocals"], "channels": 16, "t_layers": 2, "segment": 2}).eval()
    mixture = 0.1 * torch.randn(2, 5 * 44_100)
    (expected,) = separator.separate([mixture], EXACT.separation)
    (exact,) = separator.to(CUDA).separate([mixture], EXACT.separation)
    torch.testing.assert_close(exact.cpu(), expected, atol=1e-3 * float(expected.std()), rtol=0)


@pytest.mark.gpu
def test_words_are_placed_as_by_the_cpu(trained):
    on_cpu, on_gpu = trained
    lyrics = read_lyrics(SONG.with_suffix(".txt"))

    def onsets(model, options):
        lines = align(SONG, lyrics, model, options=options).lines
        return torch.tensor([word.start_seconds for line in lines for word in line.words])

    expected = onsets(on_cpu, EXACT)
    for options, share in ((EXACT, 1.0), (options_for(on_gpu), 0.95)):
        near = (onsets(on_gpu, options) - expected).abs() < on_cpu.acoustic.grid.frame_seconds * 1.5
        assert near.float().mean() >= share


@pytest.mark.gpu
def test_words_are_those_that_the_cpu_finds(trained, tmp_path):
    on_cpu, on_gpu = trained
    write_audio(tmp_path / "song.wav", excerpt(on_cpu, 15.0))
    exact = replace(options_for(on_cpu), separation=EXACT.separation, acoustic=EXACT.acoustic)
    expected = transcribe(tmp_path / "song.wav", on_cpu, options=exact).text
    found = transcribe(tmp_path / "song.wav", on_gpu, options=exact).text
    assert len(expected.split()) > 5
    assert word_errors([expected.lower()], [found.lower()]).rate < 0.1


@pytest.mark.gpu
@pytest.mark.parametrize("devices", ["cuda:0", "cuda:0,cuda:0"])
def test_the_command_line_takes_one_gpu_once_or_twice(tmp_path, devices):
    for name in ("first", "second", "third"):
        shutil.copy(SONG, tmp_path / f"{name}.mp3")
        shutil.copy(SONG.with_suffix(".txt"), tmp_path / f"{name}.txt")
    given = ["align", str(tmp_path), "--model", "embedded-small", "--format", "json"]
    assert main([*given, "-o", str(tmp_path / "cpu"), "--device", "cpu"]) == 0
    assert main([*given, "-o", str(tmp_path / "gpu"), "--device", devices]) == 0
    for name in ("first", "second", "third"):
        ours, theirs = (json.loads((tmp_path / each / f"{name}.json").read_text()) for each in ("gpu", "cpu"))
        assert ours["text"] == theirs["text"]
        assert ours["lines"][0]["start_seconds"] == pytest.approx(theirs["lines"][0]["start_seconds"], abs=0.05)


@pytest.mark.gpu
def test_less_is_computed_at_a_time_where_memory_runs_out(caplog):
    """The limit lies between what batches of one and of many need."""
    torch.manual_seed(0)
    model = load_model("embedded-small", device="cuda")
    song = Audio(0.1 * torch.randn(2, 90 * 44_100), 44_100)
    voice = Audio(0.1 * torch.randn(1, 200 * 16_000), 16_000)
    total = torch.cuda.get_device_properties(0).total_memory

    def peak(batch_size):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        (vocals,) = model.vocals([song], SeparationOptions(batch_size=batch_size, precision="float32"))
        (emissions,) = model.emissions([voice], AcousticOptions(batch_size=batch_size, precision="float32"))
        return torch.cuda.max_memory_reserved(), vocals.samples.cpu(), emissions.log_probs

    least, vocals, log_probs = peak(1)
    most, _, _ = peak(16)
    assert most > 2 * least
    torch.cuda.set_per_process_memory_fraction(1.2 * least / total)
    try:
        _, cut_vocals, cut_log_probs = peak(16)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "memory ran out; " in caplog.text
    torch.testing.assert_close(cut_vocals, vocals, atol=1e-4, rtol=0)
    torch.testing.assert_close(cut_log_probs, log_probs, atol=1e-3, rtol=1e-4)


def test_two_models_on_one_device_do_not_disturb_each_other(device, tiny_model_folder):
    """Each from a thread of its own."""
    models = [load_model(name, device=str(device)) for name in ("embedded-small", str(tiny_model_folder))]
    song = excerpt(models[0], 4.0)

    def emissions(model):
        (vocals,) = model.vocals([song], SeparationOptions())
        return model.emissions([model.to_16k_mono(vocals)], AcousticOptions())[0].log_probs

    alone = [emissions(model) for model in models]
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(emissions, models * 2))
    for ours, expected in zip(together, alone * 2, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_songs_are_written_with_vocals_from_the_device(device, tmp_path):
    """Separated vocals are on the device; files are written from the CPU."""
    write_audio(tmp_path / "song.wav", excerpt(load_model("embedded-small", device="cpu"), 2.0))
    given = ["separate", str(tmp_path / "song.wav"), "--model", "embedded-small", "--device", str(device)]
    assert main([*given, "-o", str(tmp_path / "out"), "--format", "wav"]) == 0
    assert read_audio(tmp_path / "out" / "song.wav").duration_seconds == pytest.approx(2.0, abs=0.01)
