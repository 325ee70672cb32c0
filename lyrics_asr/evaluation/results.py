"""The results of an evaluation: all metrics, over all songs, per group and per song; results.json.

results.json has the sufficient statistics of every metric for each song (see `lyrics_asr.evaluation.aggregation`), so
results can be compared and songs regrouped without their predictions.
"""

import contextlib
import dataclasses
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from lyrics_asr.evaluation.aggregation import (
    METRICS,
    RESAMPLES,
    Difference,
    Estimate,
    Statistics,
    aggregate,
    difference,
    estimate,
)
from lyrics_asr.evaluation.calibration import BINS
from lyrics_asr.evaluation.config import EvaluationConfig
from lyrics_asr.evaluation.run import Evaluation, FailedSong
from lyrics_asr.evaluation.scores import SongScores
from lyrics_asr.files import write_text
from lyrics_asr.options import DecodingOptions
from lyrics_asr.types import ModelInfo

SCHEMA = "lyrics-asr/evaluation/3"
_PACKAGES = (
    "torch",
    "torchaudio",
    "demucs",
    "transformers",
    "pyctcdecode",
    "flashlight-text",
    "kenlm",
    "jiwer",
    "alt-eval",
    "mir_eval",
    "numpy",
    "av",
    "soxr",
)


@dataclass(frozen=True)
class Results:
    """The results of an evaluation.

    Args:
        name: the model's name, or the folders of predictions.
        created: time in ISO 8601, UTC.
        config: of the evaluation.
        model: None if predictions were read from files.
        decoding: options of the beam search; None if predictions were read from files.
        packages: versions of the packages that affect results.
        hardware: system, processor and GPU.
        metrics: metrics over all songs, by key; without those that no song has.
        by_language: metrics per language, if there are several.
        by_genre: metrics per genre, if there are several.
        songs: per-song scores.
        failed: songs that failed, with the cause.
        missing_audio: ids of songs without audio.
    """

    name: str
    created: str
    config: EvaluationConfig
    model: ModelInfo | None
    decoding: DecodingOptions | None
    packages: Mapping[str, str]
    hardware: Mapping[str, str | int]
    metrics: Mapping[str, Estimate]
    by_language: Mapping[str, Mapping[str, Estimate]]
    by_genre: Mapping[str, Mapping[str, Estimate]]
    songs: tuple[SongScores, ...]
    failed: tuple[FailedSong, ...]
    missing_audio: tuple[str, ...]


def collect(evaluation: Evaluation, config: EvaluationConfig) -> Results:
    """Combine the scores of songs, and record what made them."""
    model, decoding = evaluation.model, evaluation.decoding
    name = model.name if model else ", ".join(str(each) for each in (config.transcripts, config.alignments) if each)
    return Results(
        name=name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        config=config,
        model=model,
        decoding=decoding,
        packages={"python": platform.python_version(), **_versions()},
        hardware=_hardware(),
        metrics=estimates(evaluation.songs),
        by_language=_grouped(evaluation.songs, [song.language for song in evaluation.songs]),
        by_genre=_grouped(evaluation.songs, [song.genre for song in evaluation.songs]),
        songs=evaluation.songs,
        failed=evaluation.failed,
        missing_audio=evaluation.missing_audio,
    )


def estimates(songs: Sequence[SongScores]) -> dict[str, Estimate]:
    """All metrics that at least one song has, with confidence intervals."""
    return {
        key: estimate(metric, statistics)
        for key, metric in METRICS.items()
        if (statistics := [song.statistics[key] for song in songs if key in song.statistics])
    }


def write_results(results: Results, path: Path) -> None:
    """Write results as JSON, atomically; undefined values are null.

    Raises:
        OutputError: the file cannot be written.
    """
    document = {
        "schema": SCHEMA,
        "name": results.name,
        "created": results.created,
        "config": dataclasses.asdict(results.config),
        "model": None if results.model is None else dataclasses.asdict(results.model),
        "decoding": None if results.decoding is None else dataclasses.asdict(results.decoding),
        "packages": results.packages,
        "hardware": results.hardware,
        "intervals": {"level": 0.95, "method": "percentile bootstrap over songs", "resamples": RESAMPLES},
        "metrics": {
            key: {
                "label": METRICS[key].label,
                "unit": METRICS[key].unit,
                "higher_is_better": METRICS[key].higher_is_better,
                **dataclasses.asdict(each),
            }
            for key, each in results.metrics.items()
        },
        "by_language": _plain(results.by_language),
        "by_genre": _plain(results.by_genre),
        "songs": [_song(song) for song in results.songs],
        "failed": [dataclasses.asdict(song) for song in results.failed],
        "missing_audio": results.missing_audio,
    }
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n")


@dataclass(frozen=True)
class MeasuredSongs:
    """The name of results, and the sufficient statistics of each metric per song id, for `compare`."""

    name: str
    statistics: Mapping[str, Mapping[str, Statistics]]


def read_results(path: Path) -> MeasuredSongs:
    """Read a results.json file, given by its path or its folder.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not results, damaged, or of a different version.
    """
    path = path / "results.json" if path.is_dir() else path
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such results; `lyrics-asr evaluate` writes them") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error}); give the results.json of an evaluation") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"{path}: not results of this version, whose schema is {SCHEMA!r}; evaluate again")
    try:
        songs = {
            song["id"]: {key: _statistics(key, each) for key, each in song["statistics"].items()}
            for song in document["songs"]
        }
        return MeasuredSongs(str(document["name"]), songs)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: damaged ({error}); evaluate again") from error


@dataclass(frozen=True)
class Comparison:
    """A comparison of two results on their common songs.

    Args:
        first: name of the first results.
        second: name of the second results.
        songs: number of common songs.
        only_first: number of songs only in the first.
        only_second: number of songs only in the second.
        differences: by metric; without metrics that either lacks.
    """

    first: str
    second: str
    songs: int
    only_first: int
    only_second: int
    differences: Mapping[str, Difference]


def compare(first: MeasuredSongs, second: MeasuredSongs) -> Comparison:
    """Compare all metrics by paired bootstrap over the common songs.

    Raises:
        ValueError: fewer than two common songs.
    """
    shared = [song_id for song_id in first.statistics if song_id in second.statistics]
    if len(shared) < 2:
        raise ValueError(
            f"{first.name} and {second.name} have {len(shared)} songs in common; a comparison needs at least 2"
        )
    differences = {}
    for key, metric in METRICS.items():
        both = [song_id for song_id in shared if key in first.statistics[song_id] and key in second.statistics[song_id]]
        statistics = [[results.statistics[song_id][key] for song_id in both] for results in (first, second)]
        if (found := difference(metric, *statistics)) is not None:
            differences[key] = found
    return Comparison(
        first.name,
        second.name,
        len(shared),
        len(first.statistics) - len(shared),
        len(second.statistics) - len(shared),
        differences,
    )


def _grouped(songs: Sequence[SongScores], names: Sequence[str | None]) -> dict[str, dict[str, Estimate]]:
    groups = sorted({name for name in names if name is not None})
    if len(groups) < 2:
        return {}
    return {
        group: estimates([song for song, name in zip(songs, names, strict=True) if name == group]) for group in groups
    }


def _versions() -> dict[str, str]:
    """The versions of the packages that are installed."""
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):  # of an extra
            found[package] = version(package)
    return found


def _hardware() -> dict[str, str | int]:
    cuda = torch.cuda.is_available()
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "gpu": torch.cuda.get_device_name() if cuda else "none",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _song(song: SongScores) -> dict[str, Any]:
    values = {key: aggregate(METRICS[key], [each]) for key, each in song.statistics.items()}
    return {**dataclasses.asdict(song), "metrics": values}


def _plain(groups: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, Any]]:
    return {
        group: {key: dataclasses.asdict(each) for key, each in metrics.items()} for group, metrics in groups.items()
    }


def _statistics(key: str, values: Any) -> Statistics:
    if key not in METRICS:
        raise ValueError(f"unknown metric {key!r}")
    if not isinstance(values, list):
        raise ValueError(f"the statistics of {key} must be a list, not {type(values).__name__}")
    lengths = {"ratio": 2, "f1": 4, "median": len(values), "ece": 3 * BINS, "auc": 2 * (len(values) // 2)}
    numbers = tuple(float(number) for number in values)
    if len(numbers) != lengths[METRICS[key].aggregation] or not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError(f"the statistics {values!r:.60} do not fit {key}")
    return numbers
