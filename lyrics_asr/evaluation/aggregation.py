"""The metrics of an evaluation: their definitions, how they are aggregated over songs, and confidence intervals.

Conventions
- A metric is computed from the sufficient statistics of each song, so it is defined for any set of songs, including a
  bootstrap resample. Statistics are sums, such as the errors and words of a pooled rate, or values whose median is
  taken.
- "Pooled" metrics count all words (or lines) together, so a long song weighs more; this is the usual WER. "Mean over
  songs" gives every song the same weight; this is the usual alignment error. JamendoLyrics' scripts call "median over
  songs" medianed, and "mean of medians" averaged median.
- Songs that lack what a metric needs (times, stems) are left out of it; every metric comes with its number of songs.
- Intervals are 95 % percentile bootstrap intervals over songs (Efron 1979; Bisani and Ney, ICASSP 2004, for error
  rates): 2,000 resamples with replacement, each as large as the set of songs, with a fixed seed. A metric of one song
  has no interval.
- The difference of two models is a paired bootstrap: both are computed on the same resamples. Its p-value is twice the
  smaller fraction of resamples on either side of zero, at least 1 / 2,000.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lyrics_asr.evaluation.calibration import BINS, Reliability, area_under_roc
from lyrics_asr.evaluation.metrics import TOLERANCES_SECONDS

RESAMPLES = 2000
_SEED = 0
_LEVEL = 0.95
_RESAMPLES_AT_ONCE = 50

Aggregation = Literal["ratio", "f1", "median", "ece", "auc"]
END_TOLERANCES_SECONDS = (0.1, 0.3)

Statistics = tuple[int | float, ...]
"""The sufficient statistics of one metric and one song."""


@dataclass(frozen=True)
class Metric:
    """A metric and how it is aggregated over songs.

    Args:
        key: name in results.json.
        label: name in reports.
        unit: "share" is a fraction shown in percent (error rates can exceed 1); "signed s" is seconds shown with their
            sign; "x" is a plain number.
        aggregation: what the statistics of a song are. "ratio": numerator and denominator, summed over songs. "f1":
            hits, substitutions, deletions and insertions, summed over songs. "median": values, pooled over songs.
            "ece": the counts, confidences and right ones of every bin (see `calibration`), summed over songs. "auc":
            each confidence followed by 1 if it is right, else 0, pooled over songs.
        higher_is_better: None for a bias, which is best at zero.
    """

    key: str
    label: str
    unit: Literal["share", "s", "signed s", "dB", "x"]
    aggregation: Aggregation
    higher_is_better: bool | None


@dataclass(frozen=True)
class Estimate:
    """A metric over songs with its 95 % interval (None where undefined), and the number of songs."""

    value: float | None
    low: float | None
    high: float | None
    songs: int


@dataclass(frozen=True)
class Difference:
    """The difference of two models in a metric on the same songs (first - second), with its 95 % interval and p."""

    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    songs: int


def _decoding_metrics(prefix: str, label: str) -> Iterator[Metric]:
    yield Metric(f"{prefix}wer", f"WER{label}", "share", "ratio", False)
    yield Metric(f"{prefix}wer_mean_over_songs", f"WER{label}, mean over songs", "share", "ratio", False)
    for edit in ("substitutions", "deletions", "insertions"):
        yield Metric(f"{prefix}word_{edit}", f"{edit} per reference word{label}", "share", "ratio", False)
    yield Metric(f"{prefix}cer", f"CER{label}", "share", "ratio", False)


def _jam_alt_metrics() -> Iterator[Metric]:
    yield Metric("jam_alt_wer", "Jam-ALT WER", "share", "ratio", False)
    yield Metric("jam_alt_wer_case", "Jam-ALT WER, case-sensitive", "share", "ratio", False)
    for key, label in JAM_ALT_TOKENS.items():
        yield Metric(f"jam_alt_f1_{key}", f"Jam-ALT F1 of {label}", "share", "f1", True)


def _alignment_metrics(key: str, label: str) -> Iterator[Metric]:
    yield Metric(f"{key}_mean_over_songs", f"{label}: mean error, mean over songs", "s", "ratio", False)
    yield Metric(f"{key}_median_over_songs", f"{label}: mean error, median over songs", "s", "median", False)
    yield Metric(f"{key}_mean_pooled", f"{label}: mean error, pooled", "s", "ratio", False)
    yield Metric(f"{key}_median_pooled", f"{label}: median error, pooled", "s", "median", False)
    yield Metric(f"{key}_mean_of_medians", f"{label}: mean of the songs' median errors", "s", "ratio", False)
    yield _bias_metric(key, label)
    for seconds in TOLERANCES_SECONDS:
        within = f"{label}: within {seconds} s"
        yield Metric(f"{key}_within_{seconds}", f"{within}, mean over songs", "share", "ratio", True)
        yield Metric(f"{key}_within_{seconds}_pooled", f"{within}, pooled", "share", "ratio", True)
        yield Metric(f"{key}_below_{seconds}", f"{label}: below {seconds} s, mean over songs", "share", "ratio", True)
    yield Metric(f"{key}_pcs", f"{label}: PCS, whole song", "share", "ratio", True)
    yield Metric(f"{key}_pcs_mirex", f"{label}: PCS, MIREX 2020", "share", "ratio", True)
    yield Metric(f"{key}_perceptual", f"{label}: karaoke perceptual score", "share", "ratio", True)


def _end_metrics(key: str, label: str) -> Iterator[Metric]:
    yield _bias_metric(key, label)
    for seconds in END_TOLERANCES_SECONDS:
        yield Metric(f"{key}_within_{seconds}_pooled", f"{label}: within {seconds} s, pooled", "share", "ratio", True)


def _bias_metric(key: str, label: str) -> Metric:
    return Metric(f"{key}_bias", f"{label}: median signed error, pooled", "signed s", "median", None)


def _confidence_metrics(key: str, label: str) -> Iterator[Metric]:
    yield Metric(f"{key}_confidence_ece", f"confidence of {label}: expected calibration error", "x", "ece", False)
    yield Metric(f"{key}_confidence_auc", f"confidence of {label}: area under the ROC curve", "x", "auc", True)


def _separation_metrics() -> Iterator[Metric]:
    yield Metric("si_sdr", "SI-SDR of the vocals, mean over songs", "dB", "ratio", True)
    yield Metric("si_sdr_mixture", "SI-SDR of the mixture, mean over songs", "dB", "ratio", True)
    yield Metric("si_sdr_gain", "SI-SDR gain, mean over songs", "dB", "ratio", True)
    for measure in BSS_EVAL:
        name = measure.upper()
        yield Metric(f"bss_{measure}", f"{name} of the vocals, median over songs", "dB", "median", True)
        yield Metric(f"bss_{measure}_mixture", f"{name} of the mixture, median over songs", "dB", "median", True)


JAM_ALT_TOKENS = {
    "punctuation": "punctuation",
    "parentheses": "parentheses",
    "lines": "line breaks",
    "sections": "section breaks",
}
BSS_EVAL = ("sdr", "sir", "sar")
STAGES = ("reading", "separation", "acoustic", "transcriber", "greedy", "beam_search", "alignment")

METRICS: Mapping[str, Metric] = {
    metric.key: metric
    for metric in (
        *_decoding_metrics("", ""),
        *_decoding_metrics("greedy_", ", greedy"),
        *_jam_alt_metrics(),
        *_alignment_metrics("words", "word onsets"),
        *_alignment_metrics("lines", "line onsets"),
        *_end_metrics("word_ends", "word ends"),
        *_end_metrics("line_ends", "line ends"),
        *_alignment_metrics("even_words", "even spread of the words"),
        Metric("damaged_words_within", "words of right lines within 0.3 s, damaged lyrics", "share", "ratio", True),
        Metric("not_found_precision", "lines not found: precision", "share", "ratio", True),
        Metric("not_found_recall", "lines not found: recall", "share", "ratio", True),
        *_confidence_metrics("word", "words"),
        *_confidence_metrics("line", "lines"),
        *_confidence_metrics("song", "songs"),
        *_separation_metrics(),
        Metric("rtf", "RTF, all stages", "x", "ratio", False),
        *(Metric(f"rtf_{stage}", f"RTF, {stage.replace('_', ' ')}", "x", "ratio", False) for stage in STAGES),
    )
}
"""Every metric by its key, in the order of a report."""


def aggregate(metric: Metric, statistics: Sequence[Statistics]) -> float | None:
    """The metric over songs, from the statistics of each; None where it is undefined."""
    if not statistics:
        return None
    if metric.aggregation == "median":
        return float(np.median(np.concatenate([np.asarray(each) for each in statistics])))
    if metric.aggregation == "auc":
        (value,) = area_under_roc(*_confidences(statistics))
    else:
        (value,) = _from_sums(metric, np.sum(np.asarray(statistics, dtype=np.float64), axis=0)[None])
    return None if np.isnan(value) else float(value)


def estimate(metric: Metric, statistics: Sequence[Statistics]) -> Estimate:
    """The metric over songs with its bootstrap interval."""
    value = aggregate(metric, statistics)
    if value is None or len(statistics) < 2:
        return Estimate(value, None, None, len(statistics))
    low, high = _interval(_resampled(metric, statistics))
    return Estimate(value, low, high, len(statistics))


def difference(metric: Metric, first: Sequence[Statistics], second: Sequence[Statistics]) -> Difference | None:
    """The difference of two models in a metric, by paired bootstrap.

    Args:
        metric: the metric.
        first: statistics of the first model.
        second: statistics of the second model, for the same songs in the same order.

    Returns:
        None if the metric is undefined for either model, or there are fewer than two songs.
    """
    values = aggregate(metric, first), aggregate(metric, second)
    if values[0] is None or values[1] is None or len(first) < 2:
        return None
    resampled = _resampled(metric, first) - _resampled(metric, second)
    resampled = resampled[~np.isnan(resampled)]
    low, high = _interval(resampled)
    beyond = min(np.mean(resampled <= 0), np.mean(resampled >= 0))
    p = min(1.0, max(2 * float(beyond), 1 / RESAMPLES))
    return Difference(values[0], values[1], values[0] - values[1], low, high, p, len(first))


def _from_sums(metric: Metric, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The metric for each row of sums; NaN where it is undefined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric.aggregation == "ratio":
            return np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.nan)
        if metric.aggregation == "ece":
            return Reliability(*sums.reshape(-1, 3, BINS).swapaxes(0, 1)).expected_calibration_error
        hits, substitutions, deletions, insertions = sums.T
        defined = (hits + substitutions + insertions > 0) & (hits + substitutions + deletions > 0)
        return np.where(defined, 2 * hits / (2 * hits + 2 * substitutions + deletions + insertions), np.nan)


def _resampled(metric: Metric, statistics: Sequence[Statistics]) -> NDArray[np.float64]:
    """The metric on every bootstrap resample."""
    songs = len(statistics)
    counts = np.random.default_rng(_SEED).multinomial(songs, np.full(songs, 1 / songs), size=RESAMPLES)
    if metric.aggregation == "median":
        return _resampled_medians(statistics, counts)
    if metric.aggregation == "auc":
        return _resampled_areas(statistics, counts)
    return _from_sums(metric, counts.astype(np.float64) @ np.asarray(statistics, dtype=np.float64))


def _resampled_areas(statistics: Sequence[Statistics], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    confidences, right = _confidences(statistics)
    owners = np.repeat(np.arange(len(statistics)), [len(each) // 2 for each in statistics])
    return np.concatenate(
        [
            area_under_roc(confidences, right, counts[first : first + _RESAMPLES_AT_ONCE, owners])
            for first in range(0, len(counts), _RESAMPLES_AT_ONCE)
        ]
    )


def _confidences(statistics: Sequence[Statistics]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The confidences of all songs, and whether each is right."""
    pairs = np.concatenate([np.asarray(each, dtype=np.float64) for each in statistics]).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1] > 0


def _resampled_medians(statistics: Sequence[Statistics], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    values = np.concatenate([np.asarray(each) for each in statistics])
    owners = np.repeat(np.arange(len(statistics)), [len(each) for each in statistics])
    order = np.argsort(values, kind="stable")
    values, owners = values[order], owners[order]
    medians = []
    for first in range(0, len(counts), _RESAMPLES_AT_ONCE):
        places = np.cumsum(counts[first : first + _RESAMPLES_AT_ONCE, owners], axis=1)
        for row in places:
            # A value that is resampled k times counts k times; the median is the mean of the two middle values.
            lower = np.searchsorted(row, (row[-1] - 1) // 2, side="right")
            upper = np.searchsorted(row, row[-1] // 2, side="right")
            medians.append((values[lower] + values[upper]) / 2)
    return np.asarray(medians)


def _interval(resampled: NDArray[np.float64]) -> tuple[float, float]:
    tail = (1 - _LEVEL) / 2
    low, high = np.nanquantile(resampled, [tail, 1 - tail])
    return float(low), float(high)
