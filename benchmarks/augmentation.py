"""The effect of each augmentation: CER on songs in conditions that the training songs lack.

    lyrics-asr data synth data/prepared/training    --songs 40 --seed 1
    lyrics-asr data synth data/prepared/development --songs 8 --split development
    for corpus in training development; do
      lyrics-asr data cuts data/prepared/$corpus/manifest.jsonl -o data/prepared/${corpus}_cuts --chunk-seconds 4
    done
    lyrics-asr data cache-vocals data/prepared/training_cuts/cuts.jsonl.gz -o data/prepared/training_vocals \
      --model embedded-small
    python -m benchmarks.augmentation

The acoustic model of the small embedded model is fine-tuned on separated vocals, with one augmentation after the other,
for the same steps from the same start. Then it transcribes cuts of held-out songs, with other lyrics and singers: as
they are, and with every condition on the mixture, before the separation. Results are appended to a file of JSON lines;
the script resumes with the runs that it lacks, and prints the table at the end.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from jaxtyping import Float
from lhotse import CutSet
from torch import Tensor

from lyrics_asr.audio import Audio
from lyrics_asr.decoding.greedy import greedy
from lyrics_asr.evaluation.metrics import character_errors
from lyrics_asr.inference.stages import separate_to_16k_mono
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.registry import load_model
from lyrics_asr.options import AcousticOptions, SeparationOptions
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.training.data.augment import augment
from lyrics_asr.training.data.batch import SoundFormat
from lyrics_asr.training.data.cut_reader import has_words, read_row
from lyrics_asr.training.data.labels import Labeller
from lyrics_asr.training.data.options import AugmentationOptions, CutLoaderOptions
from lyrics_asr.training.loop import train
from lyrics_asr.training.stages import OptimizerOptions, StageOptions

MODEL = "embedded-small"
_SPEEDS = [0.9, 0.95, 1.0, 1.05, 1.1]
_EFFECTS = ("equalizer", "reverberation", "noise", "codec")


def _effects(names: Sequence[str], probability: float, speeds: Sequence[float] = (1.0,)) -> AugmentationOptions:
    probabilities: dict[str, Any] = {f"{name}_prob": probability for name in names}
    return AugmentationOptions(list(speeds), 0.0, 0.0, **probabilities)


TRAINING = {
    "none": _effects([], 0.0),
    "speed": _effects([], 0.0, _SPEEDS),
    **{name: _effects([name], 0.5) for name in _EFFECTS},
    "all": _effects(_EFFECTS, 0.5, _SPEEDS),
}
CONDITIONS = {
    "as they are": _effects([], 0.0),
    **{name: _effects([name], 1.0) for name in _EFFECTS},
    "all": _effects(_EFFECTS, 1.0),
}


@dataclass(frozen=True)
class HeldOut:
    """Separated vocals of held-out cuts, in one condition, and their lyrics."""

    vocals: Sequence[Float[Tensor, " _"]]
    references: Sequence[str]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--training", default="data/prepared/training_vocals/cuts.jsonl.gz", help="separated vocals")
    parser.add_argument("--development", type=Path, default="data/prepared/development_cuts/cuts.jsonl.gz")
    parser.add_argument("--results", type=Path, default="data/prepared/augmentation.jsonl")
    parser.add_argument("--cuts", type=int, default=40, help="held-out cuts (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = load_model(MODEL, device="cpu")
    held_out = {name: read(options.development, options.cuts, start, each) for name, each in CONDITIONS.items()}
    finished = _read_results(options.results)
    if ("start", 0) not in finished:
        _append(options.results, "start", 0, error_rates(start, held_out))
    for seed in range(options.seeds):
        for name, augmentation in TRAINING.items():
            if (name, seed) not in finished:
                with tempfile.TemporaryDirectory() as output:
                    trained = train(_config(options, augmentation, seed, output), lambda entry: None)
                _append(options.results, name, seed, error_rates(trained, held_out))
    _print(_read_results(options.results))


def read(path: Path, count: int, model: LyricsModel, condition: AugmentationOptions) -> HeldOut:
    """Read the first cuts of a file, change their mixtures, and separate them."""
    sound = SoundFormat(model.separator.sample_rate_hz, model.mixture_channels)
    labeller = Labeller(model.acoustic.vocabulary)
    vocals, references = [], []
    for cut in islice(filter(has_words, CutSet.from_jsonl_lazy(path)), count):
        row = read_row(cut, sound=sound, labeller=labeller, augmentation=condition, seed=0, epoch=0)
        mixture = augment(row, condition, sound.sample_rate_hz).mixture
        assert mixture is not None
        (voice,) = separate_to_16k_mono([Audio(mixture, sound.sample_rate_hz)], model, SeparationOptions())
        vocals.append(voice.samples[0])
        references.append(" ".join(normalize(each.text) for each in cut.supervisions))
    return HeldOut(vocals, references)


def error_rates(model: LyricsModel, held_out: Mapping[str, HeldOut]) -> dict[str, float]:
    """Greedy CER in every condition."""
    rates = {}
    for name, each in held_out.items():
        emissions = model.acoustic.emissions(each.vocals, AcousticOptions(batch_size=8))
        texts = [" ".join(word.text for word in greedy(song)) for song in emissions]
        rates[name] = character_errors(each.references, texts).rate
    return rates


def _config(options: argparse.Namespace, augmentation: AugmentationOptions, seed: int, output: str) -> TrainingConfig:
    acoustic = OptimizerOptions(options.learning_rate, warmup_steps=10)
    return TrainingConfig(
        [StageOptions("fine-tuning", options.steps, input="vocals", acoustic=acoustic)],
        output,
        cuts=CutLoaderOptions([options.training], batch_seconds=16.0, workers=0, augmentation=augmentation),
        development_cuts=options.training,
        validation_examples=1,
        validate_every_steps=options.steps,
        model=MODEL,
        lyrics="",
        seed=seed,
        threads=1,
    )


def _append(path: Path, name: str, seed: int, rates: Mapping[str, float]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"training": name, "seed": seed, "cer": rates}) + "\n")


def _read_results(path: Path) -> dict[tuple[str, int], dict[str, float]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows = [json.loads(line) for line in lines]
    return {(row["training"], row["seed"]): row["cer"] for row in rows}


def _print(results: Mapping[tuple[str, int], Mapping[str, float]]) -> None:
    print("| trained with | " + " | ".join(CONDITIONS) + " |")
    print("|---|" + "---:|" * len(CONDITIONS))
    for name in ("start", *TRAINING):
        seeds = [rates for (training, _), rates in results.items() if training == name]
        cells = []
        for condition in CONDITIONS:
            rates = [each[condition] for each in seeds]
            spread = f" ± {(max(rates) - min(rates)) / 2:.1%}" if len(rates) > 1 else ""
            cells.append(f"{mean(rates):.1%}{spread}")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
