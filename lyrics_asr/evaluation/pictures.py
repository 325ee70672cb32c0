"""Plots of alignment errors and of confidences, as SVG data URIs for a self-contained HTML page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lyrics_asr.evaluation.aggregation import METRICS, Statistics, aggregate
from lyrics_asr.evaluation.calibration import BINS, Reliability
from lyrics_asr.evaluation.scores import SongScores

_INK, _SERIES, _BASELINE = "#1f2933", "#0b6e99", "#b5762a"
_STYLE: dict[Any, Any] = {"svg.hashsalt": "lyrics_asr", "font.size": 9}


@dataclass(frozen=True)
class Picture:
    """A plot as a data URI, with its caption."""

    caption: str
    uri: str


def pictures(songs: Sequence[SongScores]) -> tuple[Picture, ...]:
    """Plots of word onset errors; empty if no song has word times."""
    errors = np.asarray([pair.error_seconds for song in songs for pair in song.words])
    if not len(errors):
        return ()
    even = np.asarray([distance for song in songs for distance in song.statistics.get("even_words_median_pooled", ())])
    with mpl.rc_context(_STYLE):
        return (
            Picture("Signed onset error of words, up to 1 s", _data_uri(_histogram(errors))),
            Picture(
                "Fraction of words within a distance of their reference", _data_uri(_cumulative(abs(errors), even))
            ),
        )


def reliability_pictures(songs: Sequence[SongScores]) -> tuple[Picture, ...]:
    """Reliability diagrams of the confidences of words and lines; without those that no song has."""
    drawn = []
    for name in ("word", "line"):
        keys = [f"{name}_confidence_{kind}" for kind in ("ece", "auc")]
        bins, pairs = ([song.statistics[key] for song in songs if key in song.statistics] for key in keys)
        if bins:
            auc = aggregate(METRICS[keys[1]], pairs)
            with mpl.rc_context(_STYLE):
                uri = _data_uri(_reliability(f"{name}s", bins, auc))
            drawn.append(Picture(f"Confidence of {name}s, and how many are right", uri))
    return tuple(drawn)


def _histogram(errors: NDArray[np.float64]) -> Figure:
    picture = Figure(figsize=(4.4, 2.9), layout="constrained")
    axes = picture.add_subplot()
    inside = errors[np.abs(errors) <= 1]
    axes.hist(inside, bins=np.linspace(-1, 1, 81).tolist(), color=_SERIES)
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes.set_xlabel("estimate − reference in seconds")
    axes.set_ylabel("words")
    beyond = 1 - len(inside) / len(errors)
    axes.set_title(f"{100 * beyond:.1f} % of {len(errors)} words beyond ±1 s", fontsize=9, loc="left")
    return picture


def _cumulative(distances: NDArray[np.float64], even: NDArray[np.float64]) -> Figure:
    picture = Figure(figsize=(4.4, 2.9), layout="constrained")
    axes = picture.add_subplot()
    longest = max(10.0, float(distances.max()))
    for values, color, label in ((distances, _SERIES, "alignment"), (even, _BASELINE, "even spread")):
        if len(values):
            # Extend to the right edge: if all errors are very small, the curve would end outside the visible range.
            places = np.append(np.sort(values), max(longest, values.max()))
            shares = np.minimum(np.arange(1, len(places) + 1) / len(values), 1)
            axes.step(places, shares, where="post", color=color, label=label)
    axes.axvline(0.3, color=_INK, linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlim(0.01, longest)
    ticks = [tick for tick in (0.01, 0.1, 0.3, 1, 10, 100, 1000, 10_000, 100_000) if tick <= longest]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_xlabel("distance in seconds")
    axes.set_ylabel("words within it")
    axes.legend(frameon=False, fontsize=8)
    return picture


def _reliability(name: str, statistics: Sequence[Statistics], auc: float | None) -> Figure:
    """The fraction that is right at each confidence, over a histogram of the confidences."""
    bins = Reliability(*np.sum(statistics, axis=0).reshape(3, BINS))
    filled = bins.counts > 0
    picture = Figure(figsize=(4.4, 3.9), layout="constrained")
    axes, below = picture.subplots(2, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=":", label="perfectly calibrated")
    confidences, right = (each[filled] / bins.counts[filled] for each in (bins.confidences, bins.right))
    axes.plot(confidences, right, color=_SERIES, marker="o", markersize=4, label=name)
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_ylabel(f"{name} that are right")
    shown = f"ECE {bins.expected_calibration_error:.3f}" + ("" if auc is None else f", AUC {auc:.3f}")
    axes.set_title(f"{shown} ({bins.counts.sum():.0f} {name})", fontsize=9, loc="left")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    below.bar((np.arange(BINS) + 0.5) / BINS, bins.counts, width=0.9 / BINS, color=_SERIES)
    below.set_xlim(0, 1)
    below.set_xlabel("confidence")
    below.set_ylabel(name)
    return picture


def _data_uri(picture: Figure) -> str:
    buffer = io.BytesIO()
    for axes in picture.axes:
        axes.spines[["top", "right"]].set_visible(False)
    picture.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
