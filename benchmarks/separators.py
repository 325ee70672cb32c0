"""Separators and objectives compared on songs made anew: `python -m benchmarks.separators FOLDER`.

Every row of `ROWS` trains a small network from random weights for the same CPU time, in the training loop that users
run, and separates held-out songs, with other singers and lyrics. The number of steps is what the CPU time allows, as
measured on the first steps of the row. Songs, cuts and the result of each row and seed are kept in FOLDER, so that an
interrupted run goes on; results that are there are not computed again, whatever the options. FOLDER/separators.json has
all numbers, FOLDER/separators.md is the table.

A training that fails, because its separator collapses or its losses are not finite, is kept with its message.

Intervals are 95 % percentile bootstrap intervals over seeds and songs, which are both drawn anew.
"""

import argparse
import json
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.melody import scores
from benchmarks.separator_songs import SOLO, prepare
from lyrics_asr.audio import Audio, read_audio
from lyrics_asr.corpora.manifest import Song
from lyrics_asr.evaluation.bss_eval import bss_eval
from lyrics_asr.evaluation.metrics import si_sdr
from lyrics_asr.files import write_text
from lyrics_asr.melody.pitch import track_pitch
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.options import SeparationOptions
from lyrics_asr.training.adversarial.options import OBJECTIVES, AdversarialOptions
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.training.data.cut_loader import CutLoader
from lyrics_asr.training.data.labels import Labeller
from lyrics_asr.training.data.options import AugmentationOptions, CutLoaderOptions
from lyrics_asr.training.failures import TrainingError
from lyrics_asr.training.loop import train
from lyrics_asr.training.losses import LossGraph
from lyrics_asr.training.stages import OptimizerOptions, StageOptions

RATE_HZ = 16_000
UNET = {
    "network": "UNet",
    "sample_rate_hz": RATE_HZ,
    "audio_channels": 1,
    "n_fft": 1024,
    "bins": 512,
    "patch_frames": 64,
    "channels": [8, 16, 32, 64, 128],
}
_WAVE_SIZES = {"levels": 9, "filters": 8, "encoder_kernel": 9}
WAVE_UNET = {"network": "WaveUNet", "sample_rate_hz": RATE_HZ, **_WAVE_SIZES}
LYRICS = {"network": "WaveUNet", "head_level": 8, **_WAVE_SIZES}
UNUSED = {"network": "WaveUNet", "levels": 1, "filters": 1, "head_level": 0}
METRICS = ("SDR", "SIR", "SAR", "SI-SDR", "F0, tracked", "F0, joint", "CTC")

_PLAIN = AugmentationOptions(speeds=[1.0], gain_db=0.0, remix_prob=0.0)
_PROBE_STEPS = 6
_RESAMPLES = 2000
_SEPARATION = {"separation_weight": 1.0, "ctc_weight": 0.0}
SIZES: dict[str, tuple[Any, str]] = {
    "seeds": (3, "runs of each row"),
    "cpu_seconds": (600.0, "of each training"),
    "songs": (10, "training songs of the rows with few stems"),
    "unpaired": (200, "further training songs"),
    "lines": (4, "of a training song"),
    "test_songs": (10, "held-out songs"),
    "test_seconds": (60.0, "of each of them"),
}
_SMALL = {"seeds": 1, "cpu_seconds": 0.5, "songs": 1, "unpaired": 3, "lines": 3, "test_songs": 1, "test_seconds": 20.0}


@dataclass(frozen=True)
class Row:
    """What is trained, on what.

    Args:
        separator: see `TrainingConfig`.
        cuts: key of `separator_songs.prepare`.
        weights: of the losses, see `StageOptions`.
        acoustic: see `TrainingConfig`; `UNUSED` where there is no CTC.
        objective: of `AdversarialOptions`, on unpaired songs.
        against: row that it is compared with.
    """

    separator: Any = field(default_factory=lambda: UNET)
    cuts: str = "all"
    weights: Mapping[str, float] = field(default_factory=lambda: _SEPARATION)
    acoustic: Mapping[str, Any] = field(default_factory=lambda: UNUSED)
    objective: str | None = None
    against: str | None = None


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A test song, mono at `RATE_HZ`, and the F0 of its lead vocals, see `corpora.manifest.Song`."""

    id: str
    mixture: Tensor
    vocals: Tensor
    f0_hz: np.ndarray


ROWS = {
    "U-Net": Row(),
    "U-Net without skip connections": Row({**UNET, "skip_connections": False}, against="U-Net"),
    "U-Net, pairs, subtracted": Row(cuts="subtracted", against="U-Net"),
    "U-Net, pairs, max rule": Row(cuts="max rule", against="U-Net"),
    "U-Net with F0": Row({**UNET, "pitch_channels": 8}, weights={**_SEPARATION, "pitch_weight": 0.1}, against="U-Net"),
    "Wave-U-Net": Row(WAVE_UNET),
    "Wave-U-Net and lyrics": Row(
        WAVE_UNET, weights={"separation_weight": 1.0, "ctc_weight": 0.3}, acoustic=LYRICS, against="Wave-U-Net"
    ),
    "lyrics only": Row("none", weights={"ctc_weight": 1.0}, acoustic=LYRICS, against="Wave-U-Net and lyrics"),
    "few stems": Row(cuts="few", against="U-Net"),
} | {f"few stems, {name}": Row(cuts="few", objective=name, against="few stems") for name in OBJECTIVES}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help="default: all")
    for name, (default, meaning) in SIZES.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=type(default), default=default, help=f"{meaning} (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that everything runs")
    options = parser.parse_args(arguments)
    if options.small:
        vars(options).update(_SMALL)
    torch.set_num_threads(1)
    held_out, cuts = prepare(options.folder, options.songs, options.unpaired, options.test_songs, options.lines)
    tests = [_read(song, options.test_seconds) for song in held_out]
    mixtures = {song.id: measure(song, song.mixture) for song in tests}
    results: dict[str, list[Mapping[str, Any]]] = {"mixture": [{"songs": mixtures}]}
    for name in options.rows:
        results[name] = []
    for seed in range(options.seeds):
        for name in options.rows:
            path = options.folder / "results" / f"{re.sub('[^a-z0-9]+', '-', name.lower())}-{seed}.json"
            if not path.exists():
                result = run(ROWS[name], seed, cuts, tests, options.cpu_seconds)
                write_text(path, json.dumps(result, indent=1) + "\n")
            results[name].append(json.loads(path.read_text(encoding="utf-8")))
            write_report(options.folder, {name: each for name, each in results.items() if each})


def run(row: Row, seed: int, cuts: Mapping[str, Path], tests: Sequence[HeldOut], cpu_seconds: float) -> dict[str, Any]:
    """Train and test a row; "failed" is the message of a training that fails."""
    ends: list[float] = []

    def note(entry: Mapping[str, Any]) -> None:
        if "separation" in entry:
            ends.append(time.process_time())

    with tempfile.TemporaryDirectory() as output:
        try:
            train(_config(row, seed, cuts, _PROBE_STEPS, Path(output, "probe")), note)
            seconds_per_step = (ends[-1] - ends[1]) / (len(ends) - 2)
            steps = max(2, round(cpu_seconds / seconds_per_step))
            began = time.process_time()
            model = train(_config(row, seed, cuts, steps, Path(output, "run")), lambda entry: None)
        except TrainingError as error:
            return {"failed": str(error)}
        result: dict[str, Any] = {"steps": steps, "cpu_seconds": time.process_time() - began, "songs": {}}
    trained = model if row.acoustic is LYRICS else model.separator
    result["parameters"] = sum(each.numel() for each in trained.parameters())
    for song in tests:
        measures: dict[str, float] = {}
        if model.separator.networks:
            (estimate,) = model.separator.separate([song.mixture], SeparationOptions(precision="float32"))
            measures = measure(song, estimate)
            if model.separator.pitch is not None:
                track = model.separator.pitch.track(Audio(estimate, RATE_HZ))
                measures["F0, joint"] = scores(song.f0_hz, track)[0]
        result["songs"][song.id] = measures
    if row.acoustic is LYRICS:
        result["CTC"] = ctc_loss(model, cuts["test"])
    return result


def measure(song: HeldOut, estimate: Tensor) -> dict[str, float]:
    """BSS Eval, SI-SDR, and raw pitch accuracy of the pitch tracker on the estimate."""
    (bss,) = bss_eval([estimate], song.vocals, song.mixture, RATE_HZ)
    found = {"SI-SDR": si_sdr(estimate[0], song.vocals[0])}
    if bss is not None:
        found |= {"SDR": bss.sdr_db, "SIR": bss.sir_db, "SAR": bss.sar_db}
    return found | {"F0, tracked": scores(song.f0_hz, track_pitch(Audio(estimate, RATE_HZ)))[0]}


@torch.no_grad()
def ctc_loss(model: LyricsModel, cuts: Path) -> float:
    """CTC loss per token, in nats, of held-out cuts."""
    stage = StageOptions("test", 1, input="mixture", acoustic=OptimizerOptions(1.0), anchor_weight=0.0)
    loading = CutLoaderOptions([str(cuts)], batch_seconds=16.0, workers=0, augmentation=_PLAIN)
    rate_hz, channels = model.separator.sample_rate_hz, model.mixture_channels
    labeller = Labeller(model.acoustic.vocabulary)
    graph, total, rows = LossGraph(model.eval()), 0.0, 0
    for batch in CutLoader(loading, labeller, sample_rate_hz=rate_hz, channels=channels, seed=0, epochs=1):
        targets = graph.targets(stage, batch)
        total += len(batch.lengths) * float(graph(stage, batch, targets, targets.counts).ctc)
        rows += len(batch.lengths)
    return total / rows


def _config(row: Row, seed: int, cuts: Mapping[str, Path], steps: int, output: Path) -> TrainingConfig:
    rate = OptimizerOptions(3e-3, warmup_steps=max(1, steps // 20))
    stage: dict[str, Any] = {"name": "training", "steps": steps, "input": "mixture", "anchor_weight": 0.0}
    stage |= dict(row.weights)
    if row.objective:
        solo: dict[str, Any] = {name: [str(cuts[name])] for name in SOLO}
        stage["adversarial"] = AdversarialOptions(row.objective, **solo)
    if row.separator != "none":
        stage["separator"] = rate
    if row.acoustic is LYRICS:
        stage["acoustic"] = rate
    return TrainingConfig(
        [StageOptions(**stage)],
        str(output),
        cuts=CutLoaderOptions([str(cuts[row.cuts])], batch_seconds=8.0, workers=0, augmentation=_PLAIN),
        development_cuts=str(cuts["test"]),
        separator=row.separator,
        acoustic=dict(row.acoustic),
        acoustic_input="mixture",
        spec_augment=None,
        validation_examples=1,
        validate_every_steps=steps,
        log_every_steps=1,
        lyrics="",
        seed=seed,
        threads=1,
    )


def _read(song: Song, seconds: float) -> HeldOut:
    """The beginning of a song."""
    assert song.vocals is not None
    assert song.f0 is not None
    mixture, vocals = (
        read_audio(path, sample_rate_hz=RATE_HZ, channels=1, duration_seconds=seconds).samples
        for path in (song.audio, song.vocals)
    )
    return HeldOut(song.id, mixture, vocals, np.load(song.f0, allow_pickle=False))


def write_report(folder: Path, results: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write separators.json and separators.md, of the rows and seeds that there are."""
    report: dict[str, Any] = {}
    for name, seeds in results.items():
        trained = [each for each in seeds if "failed" not in each]
        report[name] = {"seeds": len(trained), "failed": [each["failed"] for each in seeds if "failed" in each]}
        if not trained:
            continue
        report[name] |= {key: trained[0].get(key) for key in ("steps", "parameters")}
        for metric in METRICS:
            values = _values(trained, metric)
            if values.size:
                report[name][metric] = _interval(values)
        against = ROWS[name].against if name in ROWS else None
        pairs = zip(seeds, results.get(against or "", []), strict=False)
        if both := [pair for pair in pairs if not any("failed" in each for each in pair)]:
            metric = "CTC" if name == "lyrics only" else "SI-SDR"
            ours, theirs = (_values(each, metric) for each in zip(*both, strict=True))
            report[name]["difference"] = {"against": against, "metric": metric, **_interval(ours - theirs)}
    write_text(folder / "separators.json", json.dumps(report, indent=1) + "\n")
    lines = ["| | " + " | ".join(METRICS) + " | difference |", "|---|" + "---:|" * len(METRICS) + "---|"]
    for name, row in report.items():
        cells = [_cell(row.get(metric), 3 if "F0" in metric else 1) for metric in METRICS]
        difference = row.get("difference")
        label = name if not row["failed"] else f"{name} ({len(row['failed'])} of {len(results[name])} trainings failed)"
        if difference:
            cells.append(f"{_cell(difference, 1)} {difference['metric']} against {difference['against']}")
        lines.append(f"| {label} | " + " | ".join([*cells, ""][: len(METRICS) + 1]) + " |")
    write_text(folder / "separators.md", "\n".join(lines) + "\n")
    print("\n".join(lines), flush=True)


def _values(seeds: Sequence[Mapping[str, Any]], metric: str) -> np.ndarray:
    """Seeds in rows and songs in columns, of which CTC has one; songs without a value are left out."""
    if metric == "CTC":
        return np.array([[each["CTC"]] for each in seeds if "CTC" in each])
    songs = [song for song in seeds[0]["songs"] if all(metric in each["songs"][song] for each in seeds)]
    return np.array([[each["songs"][song][metric] for song in songs] for each in seeds])


def _interval(values: np.ndarray) -> dict[str, float]:
    rng = np.random.default_rng(0)
    seeds, songs = values.shape
    means = [
        values[rng.integers(seeds, size=seeds)][:, rng.integers(songs, size=songs)].mean() for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def _cell(estimate: Mapping[str, Any] | None, digits: int) -> str:
    if estimate is None:
        return ""
    return "{mean:.{n}f} ({low:.{n}f}, {high:.{n}f})".format(n=digits, **estimate)


if __name__ == "__main__":
    main()
