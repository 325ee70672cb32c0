"""The weights of a language model, searched on development songs, and whether it helps at all.

A language model whose weights were never tuned can make the word error rate worse. The songs must be new to it and to
the acoustic model, or the weights that come out trust it too much.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.decoding.pool import decode_all
from lyrics_asr.evaluation.figures import FIGURES, Difference, Estimate, Part, difference, estimate, value_of
from lyrics_asr.evaluation.metrics import word_errors
from lyrics_asr.options import DecodingOptions
from lyrics_asr.types import Emissions, TimedWord

_WER = FIGURES["wer"]
_ALPHAS = (0.3, 0.5, 0.7, 0.9, 1.2)
GRIDS: tuple[tuple[str, Sequence[float]], ...] = (
    ("alpha", _ALPHAS),
    ("beta", (-1.0, 0.0, 1.0, 2.0, 4.0)),
    ("unk_char_log10", (-0.8, -1.0, -1.2, -1.5, -2.0)),
    ("alpha", _ALPHAS),
    ("beam_width", (25, 50, 100, 250)),
    ("beam_prune_logp", (-10.0, -14.0, -20.0)),
)
"""What is searched, one option after the other. What makes the search slower has to help beyond chance."""


@dataclass(frozen=True)
class Trial:
    """Options and the pooled word error rate that they gave."""

    options: DecodingOptions
    wer: float


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Args:
        options: to decode with; where the model does not help, its weight alpha is 0.
        with_model: word error rate with the best weights.
        without_model: of the same beam search without the language model.
        gain: `with_model` - `without_model`, of the same songs; None when it has no interval, as with a single song.
        helps: whether the gain's 95 % interval lies below 0.
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
    report: Callable[[Trial], None],
) -> Tuning:
    """Search weights and beam one after the other, each time from the best so far, and compare with no model.

    Args:
        emissions: of the development songs.
        references: their lyrics, normalised.
        language_model_path: the model whose weights are searched.
        start: where the search begins; what is not searched stays.
        report: told every trial.

    Raises:
        ValueError: no songs.
    """
    if not emissions:
        raise ValueError("no development songs to tune on")

    def errors(options: DecodingOptions, path: Path | None) -> list[Part]:
        search = BeamSearch(emissions[0].vocabulary, path, options)
        heard = decode_all(search, emissions)
        return [_word_errors(reference, words) for reference, words in zip(references, heard, strict=True)]

    def tried(options: DecodingOptions) -> tuple[Trial, list[Part]]:
        parts = errors(options, language_model_path)
        trial = Trial(options, value_of(_WER, parts) or 0.0)
        report(trial)
        return trial, parts

    best, best_parts = tried(start)
    seen = {start}
    for name, values in GRIDS:
        for value in values:
            options = replace(best.options, **{name: value})  # type: ignore[arg-type]
            if options in seen:
                continue
            seen.add(options)
            trial, parts = tried(options)
            gain = difference(_WER, parts, best_parts)
            surely_better = gain is not None and gain.high < 0
            if surely_better or (trial.wer < best.wer and not _is_dearer(options, best.options)):
                best, best_parts = trial, parts
    alone = replace(best.options, alpha=0.0, beta=0.0, unk_char_log10=0.0)
    without = errors(alone, None)
    gain = difference(_WER, best_parts, without)
    helps = gain is not None and gain.high < 0
    return Tuning(best.options if helps else alone, estimate(_WER, best_parts), estimate(_WER, without), gain, helps)


def _is_dearer(options: DecodingOptions, others: DecodingOptions) -> bool:
    return options.beam_width > others.beam_width or options.beam_prune_logp < others.beam_prune_logp


def _word_errors(reference: str, words: Sequence[TimedWord]) -> Part:
    """What a song adds to the word error rate."""
    counts = word_errors([reference], [" ".join(word.text for word in words)])
    return counts.substitutions + counts.deletions + counts.insertions, counts.reference_length
