"""Tune decoder weights on development songs, and test whether the language model helps at all.

A language model with untuned weights can increase the word error rate. Neither it nor the acoustic model may have seen
the development songs; otherwise its weight comes out too high.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.decoding.pool import decode_all
from lyrics_asr.emissions import Emissions
from lyrics_asr.evaluation.aggregation import METRICS, Difference, Estimate, Statistics, aggregate, difference, estimate
from lyrics_asr.evaluation.metrics import word_errors
from lyrics_asr.options import DecodingOptions
from lyrics_asr.types import TimedWord

_WER = METRICS["wer"]
_ALPHAS = (0.3, 0.5, 0.7, 0.9, 1.2)
GRIDS: tuple[tuple[str, Sequence[float]], ...] = (
    ("alpha", _ALPHAS),
    ("beta", (-1.0, 0.0, 1.0, 2.0, 4.0)),
    ("unk_char_log10", (-0.8, -1.0, -1.2, -1.5, -2.0)),
    ("alpha", _ALPHAS),
    ("beam_width", (25, 50, 100, 250)),
    ("beam_prune_logp", (-10.0, -14.0, -20.0)),
)
"""Coordinate search: options in order, with their values. Slower decoding must help significantly to be chosen."""


@dataclass(frozen=True)
class Trial:
    """Decoding options and their pooled word error rate."""

    options: DecodingOptions
    wer: float


@dataclass(frozen=True)
class Tuning:
    """Result of tuning.

    Args:
        options: best options; alpha is 0 if the language model does not help.
        with_model: word error rate with the best weights.
        without_model: word error rate of the same search without the language model.
        gain: `with_model` - `without_model`, paired by song; None without an interval, as for a single song.
        helps: whether the gain's 95 % interval is below 0.
    """

    options: DecodingOptions
    with_model: Estimate
    without_model: Estimate
    gain: Difference | None
    helps: bool


def tune(
    emissions: Sequence[Emissions],
    references: Sequence[str],
    language_model_path: Path,
    start: DecodingOptions,
    on_result: Callable[[Trial], None],
) -> Tuning:
    """Tune weights and beam by coordinate search, and compare the best options with no language model.

    Args:
        emissions: of the development songs.
        references: normalized lyrics of the development songs.
        language_model_path: language model to tune.
        start: initial options; options outside the search keep their values.
        on_result: called after each trial.

    Raises:
        ValueError: there are no songs.
    """
    if not emissions:
        raise ValueError("no development songs to tune on")

    def errors(options: DecodingOptions, path: Path | None) -> list[Statistics]:
        search = BeamSearch(emissions[0].vocabulary, path, options)
        hypotheses = decode_all(search, emissions)
        return [_word_errors(reference, words) for reference, words in zip(references, hypotheses, strict=True)]

    def run_trial(options: DecodingOptions) -> tuple[Trial, list[Statistics]]:
        statistics = errors(options, language_model_path)
        trial = Trial(options, aggregate(_WER, statistics) or 0.0)
        on_result(trial)
        return trial, statistics

    best, best_statistics = run_trial(start)
    seen = {start}
    for name, values in GRIDS:
        for value in values:
            options = replace(best.options, **{name: value})  # type: ignore[arg-type]
            if options in seen:
                continue
            seen.add(options)
            trial, statistics = run_trial(options)
            gain = difference(_WER, statistics, best_statistics)
            significant = gain is not None and gain.high < 0
            if significant or (trial.wer < best.wer and not _is_slower(options, best.options)):
                best, best_statistics = trial, statistics
    alone = replace(best.options, alpha=0.0, beta=0.0, unk_char_log10=0.0)
    without = errors(alone, None)
    gain = difference(_WER, best_statistics, without)
    helps = gain is not None and gain.high < 0
    return Tuning(
        best.options if helps else alone, estimate(_WER, best_statistics), estimate(_WER, without), gain, helps
    )


def _is_slower(options: DecodingOptions, others: DecodingOptions) -> bool:
    return options.beam_width > others.beam_width or options.beam_prune_logp < others.beam_prune_logp


def _word_errors(reference: str, words: Sequence[TimedWord]) -> Statistics:
    """A song's errors and reference words: the sufficient statistics of the word error rate."""
    counts = word_errors([reference], [" ".join(word.text for word in words)])
    return counts.substitutions + counts.deletions + counts.insertions, counts.reference_length
