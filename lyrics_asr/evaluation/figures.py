"""The figures of an evaluation: what they are called, how songs are put together, and how sure they are.

Conventions
- A figure over songs is made of what each song adds, so that any set of songs, also one drawn with replacement, has it:
  sums, such as errors and words of a pooled rate, or values whose median is taken.
- "Pooled" counts over all words (or lines) together, so that a long song weighs more; this is the usual WER.
  "Mean over songs" gives every song the same weight; this is the usual alignment error. "Median over songs" is what the
  scripts of JamendoLyrics call medianed, and "mean of medians" their averaged median.
- A song that lacks what a figure needs (times, stems) is not in it; every figure says how many songs it has.
- Intervals are 95 % percentile bootstrap intervals over songs (Efron 1979; Bisani and Ney, ICASSP 2004, for error
  rates): songs are drawn with replacement as often as there are songs, 2,000 times, with a fixed seed. A figure of one
  song has none.
- The difference of two models is bootstrapped over the same draws of the same songs; its p is twice the smaller share
  of draws on either side of zero, at least 1 / 2,000.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lyrics_asr.evaluation.metrics import TOLERANCES_SECONDS

DRAWS = 2000
_SEED = 0
_LEVEL = 0.95
_DRAWS_AT_ONCE = 50

Kind = Literal["ratio", "f1", "median"]
Part = tuple[int | float, ...]


@dataclass(frozen=True)
class Figure:
    """A number of an evaluation.

    Args:
        key: in results.json.
        label: for people.
        unit: of the value; "share" is a number in 0..1 (error rates can exceed 1) that is shown in percent; "signed s"
            is seconds shown with their sign.
        kind: how songs are put together. "ratio": two sums, the first divided by the second. "f1": sums of hits,
            substitutions, deletions and insertions. "median": values, each counted once.
        higher_is_better: which way is good; None for a bias, which is best at zero.
    """

    key: str
    label: str
    unit: Literal["share", "s", "signed s", "dB", "x"]
    kind: Kind
    higher_is_better: bool | None


@dataclass(frozen=True)
class Estimate:
    """A figure over songs, its 95 % interval, and how many songs it is of; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None
    songs: int


@dataclass(frozen=True)
class Difference:
    """How much a figure of one model is above another's on the same songs, its 95 % interval, and the two-sided p."""

    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    songs: int


def _decoding_figures(prefix: str, label: str) -> Iterator[Figure]:
    yield Figure(f"{prefix}wer", f"WER{label}", "share", "ratio", False)
    yield Figure(f"{prefix}wer_mean_over_songs", f"WER{label}, mean over songs", "share", "ratio", False)
    for edit in ("substitutions", "deletions", "insertions"):
        yield Figure(f"{prefix}word_{edit}", f"{edit} a reference word{label}", "share", "ratio", False)
    yield Figure(f"{prefix}cer", f"CER{label}", "share", "ratio", False)


def _jam_alt_figures() -> Iterator[Figure]:
    yield Figure("jam_alt_wer", "Jam-ALT WER", "share", "ratio", False)
    yield Figure("jam_alt_wer_case", "Jam-ALT WER, case-sensitive", "share", "ratio", False)
    for key, label in JAM_ALT_TOKENS.items():
        yield Figure(f"jam_alt_f1_{key}", f"Jam-ALT F1 of {label}", "share", "f1", True)


def _alignment_figures(key: str, label: str) -> Iterator[Figure]:
    yield Figure(f"{key}_mean_over_songs", f"{label}: mean error, mean over songs", "s", "ratio", False)
    yield Figure(f"{key}_median_over_songs", f"{label}: mean error, median over songs", "s", "median", False)
    yield Figure(f"{key}_mean_pooled", f"{label}: mean error, pooled", "s", "ratio", False)
    yield Figure(f"{key}_median_pooled", f"{label}: median error, pooled", "s", "median", False)
    yield Figure(f"{key}_mean_of_medians", f"{label}: mean of the songs' median errors", "s", "ratio", False)
    yield _bias_figure(key, label)
    for seconds in TOLERANCES_SECONDS:
        within = f"{label}: within {seconds} s"
        yield Figure(f"{key}_within_{seconds}", f"{within}, mean over songs", "share", "ratio", True)
        yield Figure(f"{key}_within_{seconds}_pooled", f"{within}, pooled", "share", "ratio", True)
        yield Figure(f"{key}_below_{seconds}", f"{label}: below {seconds} s, mean over songs", "share", "ratio", True)
    yield Figure(f"{key}_pcs", f"{label}: PCS over the song", "share", "ratio", True)
    yield Figure(f"{key}_pcs_mirex", f"{label}: PCS as MIREX 2020", "share", "ratio", True)
    yield Figure(f"{key}_perceptual", f"{label}: karaoke perceptual score", "share", "ratio", True)


def _bias_figure(key: str, label: str) -> Figure:
    return Figure(f"{key}_bias", f"{label}: median signed error, pooled", "signed s", "median", None)


def _separation_figures() -> Iterator[Figure]:
    yield Figure("si_sdr", "SI-SDR of the vocals, mean over songs", "dB", "ratio", True)
    yield Figure("si_sdr_mixture", "SI-SDR of the mixture, mean over songs", "dB", "ratio", True)
    yield Figure("si_sdr_gain", "SI-SDR gain, mean over songs", "dB", "ratio", True)
    for measure in BSS_EVAL:
        name = measure.upper()
        yield Figure(f"bss_{measure}", f"{name} of the vocals, median over songs", "dB", "median", True)
        yield Figure(f"bss_{measure}_mixture", f"{name} of the mixture, median over songs", "dB", "median", True)


JAM_ALT_TOKENS = {
    "punctuation": "punctuation",
    "parentheses": "parentheses",
    "lines": "line breaks",
    "sections": "section breaks",
}
BSS_EVAL = ("sdr", "sir", "sar")
STAGES = ("reading", "separation", "acoustic", "greedy", "beam_search", "alignment")

FIGURES: Mapping[str, Figure] = {
    figure.key: figure
    for figure in (
        *_decoding_figures("", ""),
        *_decoding_figures("greedy_", ", greedy"),
        *_jam_alt_figures(),
        *_alignment_figures("words", "word onsets"),
        *_alignment_figures("lines", "line onsets"),
        _bias_figure("word_ends", "word ends"),
        _bias_figure("line_ends", "line ends"),
        *_alignment_figures("even_words", "even spread of the words"),
        *_separation_figures(),
        Figure("rtf", "RTF, all stages", "x", "ratio", False),
        *(Figure(f"rtf_{stage}", f"RTF, {stage.replace('_', ' ')}", "x", "ratio", False) for stage in STAGES),
    )
}
"""Every figure by its key, in the order of a report."""


def value_of(figure: Figure, parts: Sequence[Part]) -> float | None:
    """The figure of songs that add `parts`; None where it is not defined."""
    if not parts:
        return None
    if figure.kind == "median":
        return float(np.median(np.concatenate([np.asarray(part) for part in parts])))
    (value,) = _combined(figure, np.sum(np.asarray(parts, dtype=np.float64), axis=0)[None])
    return None if np.isnan(value) else float(value)


def estimate(figure: Figure, parts: Sequence[Part]) -> Estimate:
    """The figure with its bootstrap interval."""
    value = value_of(figure, parts)
    if value is None or len(parts) < 2:
        return Estimate(value, None, None, len(parts))
    low, high = _interval(_drawn(figure, parts))
    return Estimate(value, low, high, len(parts))


def difference(figure: Figure, first: Sequence[Part], second: Sequence[Part]) -> Difference | None:
    """How two models differ in a figure; `first` and `second` are of the same songs in the same order.

    Gives None where the figure is not defined for both, or of fewer than two songs.
    """
    values = value_of(figure, first), value_of(figure, second)
    if values[0] is None or values[1] is None or len(first) < 2:
        return None
    drawn = _drawn(figure, first) - _drawn(figure, second)
    drawn = drawn[~np.isnan(drawn)]
    low, high = _interval(drawn)
    beyond = min(np.mean(drawn <= 0), np.mean(drawn >= 0))
    p = min(1.0, max(2 * float(beyond), 1 / DRAWS))
    return Difference(values[0], values[1], values[0] - values[1], low, high, p, len(first))


def _combined(figure: Figure, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The figure of each row of sums; NaN where it is not defined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if figure.kind == "ratio":
            return np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.nan)
        hits, substitutions, deletions, insertions = sums.T
        defined = (hits + substitutions + insertions > 0) & (hits + substitutions + deletions > 0)
        return np.where(defined, 2 * hits / (2 * hits + 2 * substitutions + deletions + insertions), np.nan)


def _drawn(figure: Figure, parts: Sequence[Part]) -> NDArray[np.float64]:
    """The figure of every draw of songs."""
    count = len(parts)
    draws = np.random.default_rng(_SEED).multinomial(count, np.full(count, 1 / count), size=DRAWS)
    if figure.kind != "median":
        return _combined(figure, draws.astype(np.float64) @ np.asarray(parts, dtype=np.float64))
    return _drawn_medians(parts, draws)


def _drawn_medians(parts: Sequence[Part], draws: NDArray[np.int64]) -> NDArray[np.float64]:
    values = np.concatenate([np.asarray(part) for part in parts])
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    order = np.argsort(values, kind="stable")
    values, owners = values[order], owners[order]
    medians = []
    for first in range(0, len(draws), _DRAWS_AT_ONCE):
        places = np.cumsum(draws[first : first + _DRAWS_AT_ONCE, owners], axis=1)
        for row in places:
            # A value drawn k times stands k times in the sorted list; the median is the mean of its two middle places.
            lower = np.searchsorted(row, (row[-1] - 1) // 2, side="right")
            upper = np.searchsorted(row, row[-1] // 2, side="right")
            medians.append((values[lower] + values[upper]) / 2)
    return np.asarray(medians)


def _interval(drawn: NDArray[np.float64]) -> tuple[float, float]:
    tail = (1 - _LEVEL) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return float(low), float(high)
