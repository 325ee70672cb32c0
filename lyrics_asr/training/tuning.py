"""The weights of a language model, searched on development songs whose emissions are computed once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lyrics_asr.config import DecodingOptions
from lyrics_asr.decoding import BeamSearch
from lyrics_asr.metrics import word_errors
from lyrics_asr.types import Emissions

_ALPHAS = (0.3, 0.5, 0.7, 0.9, 1.2)
_BETAS = (0.0, 1.0, 2.0, 4.0)
_UNKNOWN_WORD_LOG10 = (-10.0, -5.0, -2.5)


@dataclass(frozen=True)
class Trial:
    """Options and the word error rate that they gave."""

    options: DecodingOptions
    wer: float


def tune_decoding(
    emissions: Sequence[Emissions], references: Sequence[str], language_model_path: Path, start: DecodingOptions
) -> Iterator[Trial]:
    """Try the weights one after the other, each time from the best so far; the last trial is the best again.

    Args:
        emissions: of the development songs, which neither the language model nor the acoustic model was trained on.
        references: their lyrics, normalised.
        language_model_path: the model whose weights are searched.
        start: where the search begins; what is not searched stays.
    """

    def tried(options: DecodingOptions) -> Trial:
        search = BeamSearch(emissions[0].vocabulary, language_model_path, options)
        heard = [" ".join(word.text for word in search.decode(each)) for each in emissions]
        return Trial(options, word_errors(references, heard).rate)

    best = tried(start)
    yield best
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
            trial = tried(replace(best.options, **{name: value}))  # type: ignore[arg-type]
            yield trial
            if trial.wer < best.wer:
                best = trial
    yield best
