"""What end-to-end training does to the voice, with and without the anchor.

    lyrics-asr data synth data/prepared/training    --songs 340 --seed 1 --processes 2
    lyrics-asr data synth data/prepared/development --songs 18 --split development
    lyrics-asr data cuts data/prepared/training/manifest.jsonl -o data/prepared/training_cuts --chunk-seconds 4
    python benchmarks/drift.py

The small embedded model is trained end to end by CTC on synthetic songs, from the same start on the same batches,
with the anchor's weight 0 and with its default, for several seeds. On the development songs, before and after: drift
(SI-SDR of the vocals against the starting separator's, 100 dB for itself; it falls as the separator leaves its start),
gain (SI-SDR of the vocals over that of the mixture), WER greedy and with the language model. Exit code 1: with the
default the voice drifts more than without, or its WER with the language model, as a mean over seeds, is higher by more
than the runs of one weight differ.
"""

import argparse
import copy
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from accelerate import Accelerator

from lyrics_asr.corpora.manifest import read_manifest
from lyrics_asr.models.registry import load_model
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.training.data.options import CutLoaderOptions
from lyrics_asr.training.examples import examples_of
from lyrics_asr.training.loop import train
from lyrics_asr.training.stages import OptimizerOptions, StageOptions
from lyrics_asr.training.validation import measure

METRICS = ("si_sdr_to_initial_db", "si_sdr_improvement_db", "wer", "lm_wer")
ANCHORS = (0.0, StageOptions.anchor_weight)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--training", default="data/prepared/training_cuts/cuts.jsonl.gz", help="cuts with stems")
    parser.add_argument("--development", default="data/prepared/development/manifest.jsonl")
    parser.add_argument("--songs", type=int, default=0, help="development songs; 0 for all (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="of the separator (default: %(default)s)")
    options = parser.parse_args()
    stage = StageOptions(
        "end to end",
        options.steps,
        input="mixture",
        separator=OptimizerOptions(options.learning_rate, warmup_steps=10),
        acoustic=OptimizerOptions(1e-4, warmup_steps=10),
    )
    print(f"{'anchor':>6} {'seed':>5} {'drift':>9} {'gain':>9} {'WER':>7} {'with LM':>7}")
    _print("", "start", _at_start(Path(options.development), options.songs))
    results: dict[float, list[dict[str, Any]]] = {anchor: [] for anchor in ANCHORS}
    for seed in range(options.seeds):
        for anchor, rows in results.items():
            with tempfile.TemporaryDirectory() as output:
                config = TrainingConfig(
                    [replace(stage, anchor_weight=anchor)],
                    output,
                    cuts=CutLoaderOptions([options.training], batch_cuts=4, batch_seconds=16.0),
                    development=[options.development],
                    validation_examples=options.songs,
                    model="embedded-small",
                    lyrics="",
                    seed=seed,
                    validate_every_steps=options.steps,
                )
                rows.append(_last_validation(config))
            _print(f"{anchor:g}", str(seed), rows[-1])
    for anchor, rows in results.items():
        _print(f"{anchor:g}", "mean", {name: mean(row[name] for row in rows) for name in METRICS})
    free, anchored = results.values()
    return 1 if _is_worse(free, anchored) else 0


def _at_start(development: Path, songs: int) -> dict[str, Any]:
    model = load_model("embedded-small", device="cpu")
    examples = examples_of(read_manifest(development)[: songs or None], model)
    progress, _ = measure(model, examples, accelerator=Accelerator(cpu=True), start=copy.deepcopy(model.separator))
    return asdict(progress)


def _last_validation(config: TrainingConfig) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    train(config, entries.append)
    return [entry for entry in entries if "si_sdr_to_initial_db" in entry][-1]


def _print(anchor: str, seed: str, row: dict[str, Any]) -> None:
    drift, gain, wer, lm_wer = (row[name] for name in METRICS)
    print(f"{anchor:>6} {seed:>5} {drift:>6.1f} dB {gain:>6.1f} dB {wer:>7.1%} {lm_wer:>7.1%}", flush=True)


def _is_worse(free: list[dict[str, Any]], anchored: list[dict[str, Any]]) -> bool:
    means = {
        name: [mean(row[name] for row in rows) for rows in (free, anchored)]
        for name in ("si_sdr_to_initial_db", "lm_wer")
    }
    spread = max((stdev(row["lm_wer"] for row in rows) for rows in (free, anchored) if len(rows) > 1), default=0.0)
    (free_drift, drift), (free_wer, wer) = means["si_sdr_to_initial_db"], means["lm_wer"]
    return bool(drift < free_drift or wer > free_wer + spread)


if __name__ == "__main__":
    sys.exit(main())
