"""The weights of a language model, searched on development songs, and whether it helps at all.

A language model whose weights were never tuned can make the word error rate worse. The songs must be new to it and to
the acoustic model, or the weights that come out trust it too much.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lyrics_asr.config import DecodingOptions
from lyrics_asr.decoding import BeamSearch
from lyrics_asr.evaluation.figures import FIGURES, Difference, Estimate, Part, difference, estimate, value_of
from lyrics_asr.metrics import word_errors
from lyrics_asr.types import Emissions

_WER = FIGURES["wer"]
_ALPHAS = (0.3, 0.5, 0.7, 0.9, 1.2)
_BETAS = (0.0, 1.0, 2.0, 4.0)
_UNKNOWN_WORD_LOG10 = (-10.0, -5.0, -2.5)


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
    """Search the weights one after the other, each time from the best so far, and compare with no model.

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

    def tried(options: DecodingOptions) -> tuple[Trial, list[Part]]:
        parts = _word_errors(emissions, references, BeamSearch(emissions[0].vocabulary, language_model_path, options))
        trial = Trial(options, value_of(_WER, parts) or 0.0)
        report(trial)
        return trial, parts

    best, best_parts = tried(start)
    grids: tuple[tuple[str, Sequence[float]], ...] = (
        ("alpha", _ALPHAS),
        ("beta", _BETAS),
        ("unknown_word_log10", _UNKNOWN_WORD_LOG10),
        ("alpha", _ALPHAS),
    )
    for name, values in grids:
        for value in values:
            if value == getattr(best.options, name):
                continue
            trial, parts = tried(replace(best.options, **{name: value}))  # type: ignore[arg-type]
            if trial.wer < best.wer:
                best, best_parts = trial, parts
    # Without a model and its words nothing weighs: neither alpha nor the words that it lacks.
    alone = replace(best.options, alpha=0.0, beta=0.0, unknown_word_log10=0.0)
    without = _word_errors(emissions, references, BeamSearch(emissions[0].vocabulary, None, alone))
    gain = difference(_WER, best_parts, without)
    helps = gain is not None and gain.high < 0
    return Tuning(best.options if helps else alone, estimate(_WER, best_parts), estimate(_WER, without), gain, helps)


def _word_errors(emissions: Sequence[Emissions], references: Sequence[str], search: BeamSearch) -> list[Part]:
    """What each song adds to the word error rate."""
    parts: list[Part] = []
    for each, reference in zip(emissions, references, strict=True):
        counts = word_errors([reference], [" ".join(word.text for word in search.decode(each))])
        errors = counts.substitutions + counts.deletions + counts.insertions
        parts.append((errors, counts.reference_length))
    return parts
