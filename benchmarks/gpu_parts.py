"""The parts of `benchmarks/gpu.py`: each is a function that measures something and returns it as a dictionary."""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchaudio.functional import forced_align
from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer

from benchmarks import throughput, training
from lyrics_asr.audio import Audio, read_audio, read_header, write_audio
from lyrics_asr.config import load_config
from lyrics_asr.corpora.manifest import Song, TimedPhone, write_manifest
from lyrics_asr.models.devices import find_device
from lyrics_asr.training import loop
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.types import TimedWord

ROOT = Path(__file__).resolve().parent.parent
DATA_SHEET_TFLOPS = {"H100": 989, "H200": 989, "A100": 312, "L40S": 362, "L4": 121}
"""Dense products in bf16, by NVIDIA's data sheets; H100 as SXM."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Args:
        networks: a size of `throughput.SIZES` and `training.SEPARATORS`.
        songs: to transcribe and align, and to train on.
        song_seconds: their length.
        chunks: of 10 s in a training batch.
        steps: of training that are timed.
        stage_steps: steps of a stage of embedded-small.
        stage_seconds: audio in its batches.
        workers: of the loaders.
    """

    networks: str
    songs: int
    song_seconds: int
    chunks: int
    steps: int
    stage_steps: int
    stage_seconds: float
    workers: int


def describe_device() -> dict[str, Any]:
    device = find_device()
    peak = throughput.multiplications_per_second(device)
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda}
    if device.type == "cpu":
        return {"device": "cpu", "matmul_tflops": round(peak / 1e12, 4), "matmul_precision": "float32", **versions}
    name = torch.cuda.get_device_name()
    sheet = next((tflops for chip, tflops in DATA_SHEET_TFLOPS.items() if chip in name), None)
    memory = round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
    measured = {"matmul_tflops": round(peak / 1e12, 1), "matmul_precision": "bfloat16", "data_sheet_tflops": sheet}
    return {"device": name, "memory_gib": memory, **measured, **versions}


def run_tests() -> dict[str, Any]:
    counted = _Outcomes()
    pytest.main(["-q", "-m", "gpu", str(ROOT / "tests" / "gpu"), "-p", "no:cacheprovider"], plugins=[counted])
    return {"passed_tests": counted.passed, "skipped_tests": counted.skipped, "failed_tests": counted.failed}


class _Outcomes:
    """Counts tests for pytest."""

    def __init__(self) -> None:
        self.passed = self.skipped = 0
        self.failed: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.passed and report.when == "call"
        self.skipped += report.skipped
        if report.failed:
            self.failed[report.nodeid] = report.longreprtext[-2000:]


def prepare_songs(folder: Path, sizes: Sizes) -> dict[str, Any]:
    folder.mkdir()
    model = throughput.random_model(folder, sizes.networks)
    flops = throughput.operations_per_second(model)
    (folder / "flops.json").write_text(json.dumps(flops))
    for path in throughput.make_songs(folder / "audio", sizes.songs, sizes.song_seconds):
        path.with_suffix(".txt").write_text("the moon is on the hill\n" * (1 + sizes.song_seconds // 6))
    return {"gflop_per_audio_second": round(flops / 1e9, 1)}


def transcribe_as_usual(folder: Path) -> dict[str, Any]:
    songs = _songs(folder)
    began = time.monotonic()
    throughput.usual_way(folder, songs)
    elapsed = time.monotonic() - began
    stages = json.loads((folder / "usual.json").read_text())
    return {"audio_seconds_per_second": round(_audio_seconds(songs) / elapsed, 2), "stage_seconds": _rounded(stages)}


def align_as_usual(folder: Path) -> dict[str, Any]:
    """The vocals of `transcribe_as_usual`, whose separation counts here too."""
    songs, device, acoustic = _songs(folder), find_device(), folder / "model" / "acoustic"
    began = time.monotonic()
    network: Any = AutoModelForCTC.from_pretrained(acoustic).to(device).eval()
    extractor, tokenizer = AutoFeatureExtractor.from_pretrained(acoustic), AutoTokenizer.from_pretrained(acoustic)
    for song in songs:
        vocals = read_audio(folder / "usual" / throughput.SIGNATURE / song.stem / "vocals.wav", sample_rate_hz=16_000)
        inputs = extractor(vocals.samples.mean(0).numpy(), sampling_rate=16_000, return_tensors="pt").to(device)
        with torch.inference_mode():
            log_probs = network(**inputs).logits.log_softmax(-1)
        letters = tokenizer(song.with_suffix(".txt").read_text().replace("\n", " ").strip()).input_ids
        forced_align(log_probs, torch.tensor([letters], device=device), blank=tokenizer.pad_token_id)
    stages = {
        "separation": json.loads((folder / "usual.json").read_text())["separation"],
        "alignment": time.monotonic() - began,
    }
    elapsed = sum(stages.values())
    return {"audio_seconds_per_second": round(_audio_seconds(songs) / elapsed, 2), "stage_seconds": _rounded(stages)}


def run_ours(verb: str, folder: Path, *options: str) -> dict[str, Any]:
    songs, output, model = _songs(folder), folder / verb, folder / "model"
    began = time.monotonic()
    training.run_command(verb, folder / "audio", "--output", output, "--model", model, *options)
    elapsed = time.monotonic() - began
    stages, audio_seconds = throughput.stage_seconds(output / "run.jsonl"), _audio_seconds(songs)
    flops = json.loads((folder / "flops.json").read_text()) * audio_seconds
    return {
        "audio_seconds_per_second": round(audio_seconds / elapsed, 2),
        "networks_tflops": round(flops / (stages["separation"] + stages["acoustic"]) / 1e12, 4),
        "stage_seconds": _rounded(stages),
    }


def _songs(folder: Path) -> list[Path]:
    return sorted((folder / "audio").glob("*.mp3"))


def _audio_seconds(songs: list[Path]) -> float:
    return sum(read_header(song).duration_seconds for song in songs)


def _rounded(stages: dict[str, float]) -> dict[str, float]:
    return {name: round(seconds, 1) for name, seconds in stages.items()}


def prepare_training(options: argparse.Namespace) -> dict[str, Any]:
    options.folder.mkdir()
    training.prepare(options.folder, options)
    return {}


def train_chunks(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    measured = training.measure(kind, options)
    share = {"share_of_peak": round(measured["matmul_share"], 4)} if "matmul_share" in measured else {}
    return {"audio_seconds_per_second": round(measured["rate"], 2), **share}


def train_stage(name: str, sizes: Sizes) -> dict[str, Any]:
    """Steps of a stage of embedded-small, its second half timed; the whole loop runs, with a validation at the end."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = _songs_of_noise(Path(folder), sizes.songs)
        chunk = ["--chunk-seconds", str(min(4.0, sizes.stage_seconds))]
        training.run_command("data", "cuts", manifest, "-o", f"{folder}/cuts", *chunk)
        config = load_config(TrainingConfig, ROOT / "configs" / "embedded_small.yaml")
        (stage,) = (each for each in config.stages if each.name == name)
        config = replace(
            config,
            stages=[replace(stage, steps=sizes.stage_steps)],
            cuts=replace(
                config.cuts,
                cuts=[f"{folder}/cuts/cuts.jsonl.gz"],
                batch_seconds=sizes.stage_seconds,
                workers=sizes.workers,
            ),
            development=[str(manifest)],
            validation_examples=1,
            lyrics="",
            log_every_steps=sizes.stage_steps // 2,
            validate_every_steps=sizes.stage_steps,
            output=f"{folder}/run",
            precision="bf16" if torch.cuda.is_available() else "fp32",
            threads=0,
        )
        entries: list[dict[str, Any]] = []
        loop.train(config, lambda entry: entries.append(dict(entry)))
    timed = [entry for entry in entries if "steps_per_second" in entry][-1]
    return {key: timed[key] for key in ("steps_per_second", "audio_seconds_per_second")}


def _songs_of_noise(folder: Path, count: int) -> Path:
    """A manifest of songs of 12 s with stems, words and phones."""
    words = tuple(TimedWord("la", at / 2, at / 2 + 0.4, 1.0) for at in range(24))
    phones = tuple((TimedPhone("l", each.start_seconds, each.end_seconds),) for each in words)
    sung: dict[str, Any] = {"lyrics": "la " * 24, "words": words, "language": "en", "phones": phones}
    songs = []
    for number in range(count):
        vocals, rest = 0.1 * np.random.default_rng(number).standard_normal((2, 2, 12 * 44_100), dtype=np.float32)
        sounds = {"audio": vocals + rest, "vocals": vocals, "accompaniment": rest}
        paths: dict[str, Any] = {name: folder / f"{number}-{name}.flac" for name in sounds}
        for name, samples in sounds.items():
            write_audio(paths[name], Audio(torch.from_numpy(samples), 44_100))
        songs.append(Song(str(number), **sung, **paths))
    write_manifest(folder / "manifest.jsonl", songs)
    return folder / "manifest.jsonl"
