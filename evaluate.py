"""Evaluate a model on songs with a reference: `python evaluate.py CONFIG.yaml [key=value ...]`.

Prints a table and writes results.json. Exit codes: 0 all songs evaluated (songs without audio are counted, not failed);
1 failure; 2 wrong usage; 3 some songs failed. The keys are those of `lyrics_asr.evaluation.EvaluationConfig`.
"""

import argparse
import dataclasses
import json
import logging
import math
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lyrics_asr.config import load_config
from lyrics_asr.evaluation import Evaluation, EvaluationConfig, PooledResult, SongResult, evaluate, load_songs
from lyrics_asr.files import write_text
from lyrics_asr.metrics import TOLERANCES_SECONDS
from lyrics_asr.model import load_model
from lyrics_asr.types import ModelInfo

SCHEMA = "lyrics-asr/evaluation/1"
_PACKAGES = ("torch", "torchaudio", "demucs", "transformers", "pyctcdecode", "kenlm", "jiwer", "mir_eval", "av", "soxr")
_WITHIN_0_3 = TOLERANCES_SECONDS.index(0.3)
_COLUMNS = (
    "song",
    "s",
    "WER",
    "WER greedy",
    "CER",
    "CER greedy",
    "mean s",
    "median s",
    "<=0.3 s",
    "even s",
    "SI-SDR",
    "RTF",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one evaluation and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="YAML file, such as configs/evaluate_embedded.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. limit=3 corpus=jamendo folder=FOLDER")
    parser.add_argument("--debug", action="store_true", help="show the traceback of a failure")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("lyrics_asr").setLevel(logging.INFO)
    if unclear := [override for override in options.overrides if "=" not in override]:
        parser.error(f"not of the form key=value: {' '.join(unclear)}")
    try:
        config = load_config(EvaluationConfig, options.config, options.overrides)
    except (ValueError, OSError) as error:
        if options.debug:
            raise
        parser.error(str(error))
    try:
        songs = load_songs(config)
        model = load_model(config.model, language_model=config.language_model, device=config.device)
        evaluation = evaluate(songs, model, config)
        write_text(config.output, results_json(evaluation, config, model.info))
    except (ValueError, OSError, RuntimeError) as error:
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(evaluation))
    print(f"{config.output} holds all the numbers", file=sys.stderr)
    return 3 if evaluation.failed else 0


def table(evaluation: Evaluation) -> str:
    """Every song and all songs together, for a terminal."""
    rows = [_COLUMNS, *(_song_row(song) for song in evaluation.songs), _pooled_row(evaluation.pooled)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]  # fmt: skip
    rule = "-" * len(lines[0])
    pooled = evaluation.pooled
    factors = dataclasses.asdict(pooled.real_time_factors)
    notes = [
        "",
        "all songs: WER and CER pooled, alignment mean and share as mean of song means, median pooled; "
        "SI-SDR is the gain in dB",
        f"alignment pooled over {pooled.alignment.words} words: mean {pooled.alignment.pooled_mean_seconds:.3f} s, "
        f"{pooled.alignment.pooled_shares[_WITHIN_0_3]:.1%} within 0.3 s",
        "even spread of the words: "
        f"mean {pooled.even_spread.mean_of_song_means_seconds:.3f} s, "
        f"median {pooled.even_spread.pooled_median_seconds:.3f} s, "
        f"{pooled.even_spread.mean_of_song_shares[_WITHIN_0_3]:.1%} within 0.3 s",
        "RTF: " + ", ".join(f"{stage.replace('_', ' ')} {factor:.3f}" for stage, factor in factors.items()),
        f"{len(evaluation.songs)} songs evaluated, {len(evaluation.failed)} failed, "
        f"{len(evaluation.missing_audio)} without audio",
        *(f"failed: {song.id}: {song.reason}" for song in evaluation.failed),
    ]
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], *notes])


def results_json(evaluation: Evaluation, config: EvaluationConfig, model: ModelInfo) -> str:
    """The whole evaluation as JSON; numbers that are not finite become null."""
    results = {
        "schema": SCHEMA,
        "config": dataclasses.asdict(config),
        "model": dataclasses.asdict(model),
        "decoding": dataclasses.asdict(evaluation.decoding),
        "packages": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "conventions": {"tolerances_seconds": TOLERANCES_SECONDS},
        "pooled": _plain(evaluation.pooled),
        "songs": [_plain(song) for song in evaluation.songs],
        "failed": [_plain(song) for song in evaluation.failed],
        "missing_audio": evaluation.missing_audio,
    }
    return json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def _song_row(song: SongResult) -> tuple[str, ...]:
    return (
        song.id if len(song.id) <= 32 else f"{song.id[:31]}…",
        f"{song.duration_seconds:.0f}",
        f"{song.beam_search.words.rate:.1%}",
        f"{song.greedy.words.rate:.1%}",
        f"{song.beam_search.characters.rate:.1%}",
        f"{song.greedy.characters.rate:.1%}",
        f"{song.alignment.mean_seconds:.3f}",
        f"{song.alignment.median_seconds:.3f}",
        f"{song.alignment.shares[_WITHIN_0_3]:.1%}",
        f"{song.even_spread.mean_seconds:.2f}",
        _decibels(None if song.separation is None else song.separation.improvement_db),
        f"{song.seconds.total / song.duration_seconds:.2f}",
    )


def _pooled_row(pooled: PooledResult) -> tuple[str, ...]:
    return (
        "all songs",
        f"{pooled.duration_seconds:.0f}",
        f"{pooled.beam_search_words.pooled.rate:.1%}",
        f"{pooled.greedy_words.pooled.rate:.1%}",
        f"{pooled.beam_search_characters.pooled.rate:.1%}",
        f"{pooled.greedy_characters.pooled.rate:.1%}",
        f"{pooled.alignment.mean_of_song_means_seconds:.3f}",
        f"{pooled.alignment.pooled_median_seconds:.3f}",
        f"{pooled.alignment.mean_of_song_shares[_WITHIN_0_3]:.1%}",
        f"{pooled.even_spread.mean_of_song_means_seconds:.2f}",
        _decibels(pooled.si_sdr_improvement_db),
        f"{pooled.real_time_factors.total:.2f}",
    )


def _decibels(gain_db: float | None) -> str:
    return "-" if gain_db is None else f"{gain_db:+.1f}"


def _plain(value: Any) -> Any:
    """Dataclasses as dicts with their properties (rates, totals, gains) beside their fields."""
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        names += [name for name, member in vars(type(value)).items() if isinstance(member, property)]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main())
