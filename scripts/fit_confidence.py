"""Fit the weights of the confidences in `lyrics_asr/alignment/confidence.py` to damaged lyrics of songs with times.

    python -m scripts.fit_confidence lyrics_asr/assets/embedded build/development/manifest.jsonl --cache build/emissions

Every song is aligned with its lyrics, with lines dropped, added and in another order, and with another song's lyrics.
Prints the weights, and by cross-validation over songs the area under the ROC curve, the expected calibration error and
the fraction that is right in each bin (see `lyrics_asr.evaluation.calibration`).
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from lyrics_asr.alignment.found import find
from lyrics_asr.alignment.graph import PADDING_FRAMES, path_scores
from lyrics_asr.corpora.manifest import Song, read_manifest
from lyrics_asr.emissions import Emissions
from lyrics_asr.evaluation.calibration import area_under_roc, reliability
from lyrics_asr.evaluation.damage import DamagedLyrics, damage, is_right, onsets_by_line
from lyrics_asr.inference.emission_cache import EmissionCache
from lyrics_asr.inference.pipeline import emissions_of
from lyrics_asr.inference.stages import options_for
from lyrics_asr.lyrics.spelling import spell_by_sound
from lyrics_asr.lyrics.text import parse_corpus_lyrics
from lyrics_asr.models.registry import load_model
from lyrics_asr.options import AlignmentOptions

_FOLDS = 5
_REGULARIZATION = 1.0


@dataclass
class Examples:
    """Features, whether it was right, and the song of each word, line or lyrics."""

    features: list[tuple[float, ...]] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    song: list[int] = field(default_factory=list)

    def add(self, features: tuple[float, ...], right: bool, song: int) -> None:
        """Add one."""
        self.features.append(features)
        self.right.append(right)
        self.song.append(song)


def main() -> None:
    """Align, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="name or folder of a model")
    parser.add_argument("manifests", type=Path, nargs="+", help="development songs with word times")
    parser.add_argument("--cache", type=Path, required=True, help="folder for emissions")
    parser.add_argument("--separator", help="replaces the model's separator")
    args = parser.parse_args()
    model = load_model(args.model, separator=args.separator)
    options = options_for(model)
    cache = EmissionCache(args.cache, model, model.fingerprint(options.separation, options.acoustic))
    songs = [song for manifest in args.manifests for song in read_manifest(manifest)]
    examples = {"word": Examples(), "line": Examples(), "song": Examples()}
    for index, song in enumerate(songs):
        emissions = emissions_of(song.audio, model, options=options, cache=cache)
        lines = len(parse_corpus_lyrics(song.lyrics).lines)
        collect(song, emissions, DamagedLyrics(song.lyrics, tuple(range(lines))), index, examples)
        for kind in ("dropped", "added", "reordered"):
            for share in (0.1, 0.3):
                collect(song, emissions, damage(song, kind, share, songs), index, examples)
        collect(song, emissions, damage(song, "another", 1.0, songs), index, examples)
    for name, each in examples.items():
        report(name, np.array(each.features), np.array(each.right), np.array(each.song))


def collect(
    song: Song, emissions: Emissions, damaged: DamagedLyrics, index: int, examples: dict[str, Examples]
) -> None:
    """Align damaged lyrics, and add what speaks for every word, line and the whole to the examples."""
    options = AlignmentOptions()
    onsets = onsets_by_line(song)
    spelled = []
    for line in parse_corpus_lyrics(damaged.text).lines:
        words = [spell_by_sound(word, emissions.vocabulary, song.language) for word in line.words]
        if any(words):
            spelled.append((line.text, words))
    spellings = [tuple(filter(None, words)) for _, words in spelled]
    scores = path_scores(emissions, options).numpy()
    found, evidence, spans = find(scores, spellings, emissions.vocabulary, options, keep_all=False)
    examples["song"].add(evidence.features, any(origin is not None for origin in damaged.origins), index)
    for visit, own in zip(found.visits, spans, strict=True):
        text, words = spelled[visit.line]
        places = [place for place, word in enumerate(words) if word]
        right = []
        for place, span in zip(places, own, strict=True):
            onset = emissions.seconds(span.start - PADDING_FRAMES)
            right.append(is_right(onset, place, onsets.get(text, ())))
            examples["word"].add(span.evidence.features, right[-1], index)
        examples["line"].add(own[0].evidence.line.features, 2 * sum(right) >= len(right), index)


def report(
    name: str, features: NDArray[np.float64], right: NDArray[np.bool_], songs: NDArray[np.int64]
) -> Sequence[float]:
    """Print and return the weights."""
    probabilities = np.empty(len(right))
    for fold in range(_FOLDS):
        held_out = songs % _FOLDS == fold
        probabilities[held_out] = _logistic(features[held_out] @ fit(features[~held_out], right[~held_out]))
    bins = reliability(probabilities, right)
    weights = tuple(float(f"{weight:.3g}") for weight in fit(features, right))
    (area,) = area_under_roc(probabilities, right)
    print(f"{name}: weights {weights}, AUC {area:.3f}, ECE {bins.expected_calibration_error:.3f}")
    rows = zip(bins.counts, bins.confidences, bins.right, strict=True)
    print("  " + ", ".join(f"{sums / n:.2f}: {good / n:.2f} of {n:.0f}" for n, sums, good in rows if n))
    return weights


def fit(features: NDArray[np.float64], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights of a logistic regression; all but that of the last feature, the constant, are regularized."""
    penalty = np.full(features.shape[1], _REGULARIZATION)
    penalty[-1] = 0.0
    signs = np.where(right, 1.0, -1.0)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        log_odds = signs * (features @ weights)
        gradient = -features.T @ (signs * _logistic(-log_odds)) + penalty * weights
        return float(np.logaddexp(0.0, -log_odds).sum() + (penalty * weights**2).sum() / 2), gradient

    solution: NDArray[np.float64] = minimize(loss, np.zeros(features.shape[1]), jac=True).x
    return solution


def _logistic(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-np.clip(log_odds, -30, 30)))


if __name__ == "__main__":
    main()
