"""What raters said in a listening test: means with intervals for each system, paired tests, and a plot.

Conventions
- Ratings are 1 to 7 on two scales: isolation and artifacts; 7 is the best on both.
- A rater is left out who rates the hidden reference below 6 on a scale in more than 15 % of the excerpts: the rule of
  ITU-R BS.1534-3, section 4.1.2, which has 90 of 100 points.
- Intervals are 95 % percentile bootstrap intervals over raters and excerpts, which are both drawn anew (Owen 2007, "The
  pigeonhole bootstrap"): what other raters would say of other songs.
- Two systems are compared by the Wilcoxon signed-rank test over their ratings by the same rater of the same excerpt.
  The p-values of a scale are corrected for the number of comparisons (Holm 1979).
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from lyrics_asr.corpora.parsing import check_keys, list_value, read_text, text_value
from lyrics_asr.evaluation.survey import ANCHOR, KEY_SCHEMA, REFERENCE
from lyrics_asr.files import atomic_path, write_text

SCALES = ("isolation", "artifacts")
RESULT_SCHEMA = "lyrics-asr/survey-result/1"

_LOWEST, _HIGHEST = 1, 7
_GOOD_RATING, _MAX_FAILED_SHARE = 6, 0.15
_RESAMPLES = 2000
_STYLE: dict[Any, Any] = {"svg.hashsalt": "lyrics_asr", "font.size": 9}


@dataclass(frozen=True)
class SystemRating:
    """The mean rating of a system on a scale, with its 95 % interval, and the number of ratings."""

    system: str
    scale: str
    mean: float
    low: float
    high: float
    ratings: int


@dataclass(frozen=True)
class SystemComparison:
    """How two systems differ on a scale.

    Args:
        first: a system.
        second: another one.
        scale: of the ratings.
        difference: mean of first minus second.
        p: of the Wilcoxon signed-rank test, corrected.
    """

    first: str
    second: str
    scale: str
    difference: float
    p: float


@dataclass(frozen=True)
class SurveyReport:
    """The outcome of a listening test.

    Args:
        raters: how many were taken into account.
        failed: names of those who were left out.
        excerpts: how many the test has.
        ratings: of each system on each scale, the best first.
        comparisons: of all pairs of systems, without reference and anchor.
    """

    raters: int
    failed: Sequence[str]
    excerpts: int
    ratings: Sequence[SystemRating]
    comparisons: Sequence[SystemComparison]


@dataclass(frozen=True)
class _Key:
    """The survey's id, and song and system of each sample."""

    survey: str
    songs: Mapping[str, str]
    systems: Mapping[str, str]


@dataclass(frozen=True)
class _Result:
    """A rater's ratings: a pair of isolation and artifacts for each sample."""

    session: str
    rater: str
    finished: str
    ratings: Mapping[str, tuple[int, int]]


def report_survey(results: Sequence[Path], key: Path) -> SurveyReport:
    """Evaluate the results of a listening test.

    Args:
        results: JSON files, as the page gives them, or folders of them. Of files of the same session, the last counts.
        key: what `survey make` wrote beside the test.

    Raises:
        FileNotFoundError: no such file, or no result in a folder.
        ValueError: a file that is not a result of this test, or all raters failed; the message names file and cause.
    """
    known = _read_key(key)
    sessions: dict[str, _Result] = {}
    for path in _result_files(results):
        result = _read_result(path, known)
        before = sessions.get(result.session)
        if before is None or before.finished <= result.finished:
            sessions[result.session] = result
    songs = sorted(set(known.songs.values()))
    systems = sorted(set(known.systems.values()))
    raters = sorted(sessions.values(), key=lambda each: each.session)
    ratings = np.zeros((len(raters), len(systems), len(songs), len(SCALES)))
    for number, rater in enumerate(raters):
        for sample, values in rater.ratings.items():
            ratings[number, systems.index(known.systems[sample]), songs.index(known.songs[sample])] = values
    of_reference = ratings[:, systems.index(REFERENCE)].min(-1)
    has_failed = (of_reference < _GOOD_RATING).mean(1) > _MAX_FAILED_SHARE
    failed = [rater.rater for rater, is_out in zip(raters, has_failed, strict=True) if is_out]
    ratings = ratings[~has_failed]
    if not len(ratings):
        raise ValueError(f"all {len(raters)} raters failed the hidden reference: there is nothing to report")
    return SurveyReport(len(ratings), failed, len(songs), _ratings(systems, ratings), _comparisons(systems, ratings))


def write_survey_report(report: SurveyReport, folder: Path) -> None:
    """Write report.json and a plot, report.svg.

    Raises:
        OutputError: a file cannot be written.
    """
    write_text(folder / "report.json", json.dumps(asdict(report), indent=1) + "\n")
    with mpl.rc_context(_STYLE), atomic_path(folder / "report.svg") as temporary:
        _plot(report).savefig(temporary, metadata={"Date": None})


def _ratings(systems: Sequence[str], ratings: NDArray[np.float64]) -> list[SystemRating]:
    """Means and intervals; `ratings` has raters, systems, excerpts and scales."""
    rng = np.random.default_rng(0)
    raters, _, excerpts, _ = ratings.shape
    resampled = np.stack(
        [
            ratings[rng.integers(raters, size=raters)][:, :, rng.integers(excerpts, size=excerpts)].mean((0, 2))
            for _ in range(_RESAMPLES)
        ]
    )
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    mean = ratings.mean((0, 2))
    order = sorted(range(len(systems)), key=lambda number: -mean[number].sum())
    return [
        SystemRating(
            systems[number],
            scale,
            float(mean[number, column]),
            float(low[number, column]),
            float(high[number, column]),
            raters * excerpts,
        )
        for column, scale in enumerate(SCALES)
        for number in order
    ]


def _comparisons(systems: Sequence[str], ratings: NDArray[np.float64]) -> list[SystemComparison]:
    compared = [number for number, system in enumerate(systems) if system not in (REFERENCE, ANCHOR)]
    comparisons = []
    for column, scale in enumerate(SCALES):
        found = []
        for first, second in combinations(compared, 2):
            differences = (ratings[:, first, :, column] - ratings[:, second, :, column]).ravel()
            p = float(wilcoxon(differences).pvalue) if differences.any() else 1.0
            found.append(SystemComparison(systems[first], systems[second], scale, float(differences.mean()), p))
        comparisons += _corrected(found)
    return comparisons


def _corrected(comparisons: Sequence[SystemComparison]) -> list[SystemComparison]:
    """With Holm's correction: the smallest of n p-values times n, the next times n - 1, and so on, never falling."""
    corrected, least = [], 0.0
    for rank, each in enumerate(sorted(comparisons, key=lambda each: each.p)):
        least = max(least, min(1.0, each.p * (len(comparisons) - rank)))
        corrected.append(SystemComparison(each.first, each.second, each.scale, each.difference, least))
    return corrected


def _plot(report: SurveyReport) -> Figure:
    systems = list(dict.fromkeys(each.system for each in report.ratings))
    picture = Figure(figsize=(7.2, 0.9 + 0.32 * len(systems)), layout="constrained")
    for axes, scale in zip(picture.subplots(1, len(SCALES), sharey=True), SCALES, strict=True):
        for each in report.ratings:
            if each.scale == scale:
                row = systems.index(each.system)
                color = "#b5762a" if each.system in (REFERENCE, ANCHOR) else "#0b6e99"
                axes.plot([each.low, each.high], [row, row], color=color, linewidth=2)
                axes.plot([each.mean], [row], color=color, marker="o", markersize=5)
        axes.set_yticks(range(len(systems)), systems)
        axes.set_ylim(len(systems) - 0.5, -0.5)
        axes.set_xlim(_LOWEST - 0.2, _HIGHEST + 0.2)
        axes.set_xticks(range(_LOWEST, _HIGHEST + 1))
        axes.set_title(f"{scale}, 7 is best (mean, 95 %)", fontsize=9, loc="left")
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    return picture


# ---- Files ----


def _result_files(results: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in results:
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not found:
            raise FileNotFoundError(f"{path}: no result (.json) in it; check the folder")
        files += found
    return files


def _read_object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path}: must be a JSON object, not {type(document).__name__}")
    return document


def _read_key(path: Path) -> _Key:
    document = _read_object(path)
    if document.get("schema") != KEY_SCHEMA:
        raise ValueError(f"{path}: is not the key of a survey; `lyrics-asr survey make` writes it beside the folder")
    try:
        check_keys(document, "a key", frozenset({"survey", "samples"}))
        check_keys(document["samples"], "samples", frozenset())
        songs, systems = {}, {}
        for sample, entry in document["samples"].items():
            check_keys(entry, "a sample", frozenset({"song", "system"}))
            songs[sample], systems[sample] = text_value(entry, "song"), text_value(entry, "system")
        if REFERENCE not in systems.values():
            raise ValueError(f"no sample is the {REFERENCE}")
        return _Key(text_value(document, "survey"), songs, systems)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; use the file as `lyrics-asr survey make` wrote it") from error


def _read_result(path: Path, key: _Key) -> _Result:
    document = _read_object(path)
    try:
        if document.get("schema") != RESULT_SCHEMA:
            raise ValueError("is not a result of a survey; name the files that its page gives")
        if document.get("survey") != key.survey:
            raise ValueError("is a result of another survey; name its own key")
        ratings: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for each in list_value(document, "ratings"):
            check_keys(each, "a rating", frozenset({"sample", *SCALES}))
            values = [each[scale] for scale in SCALES]
            if not all(type(value) is int and _LOWEST <= value <= _HIGHEST for value in values):
                raise ValueError(f"ratings must be {_LOWEST} to {_HIGHEST}, not {values}")
            ratings[text_value(each, "sample")] = (values[0], values[1])
        if ratings.keys() != key.systems.keys():
            raise ValueError("does not have a rating of each sample; leave it out")
        session, finished = (text_value(document, name) for name in ("session", "finished"))
        # Anybody may send results, and names are shown on terminals.
        rater = "".join(each for each in str(document.get("rater") or session) if each.isprintable())[:80]
        return _Result(session, rater, finished, dict(ratings))
    except KeyError as error:
        raise ValueError(f"{path}: lacks {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
