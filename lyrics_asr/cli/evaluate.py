"""`lyrics-asr evaluate`: evaluate a model on songs with a reference, or compare two evaluations.

An evaluation prints its main metrics and writes results.json, report.md, report.html and every song's prediction to
the folder `output`; interrupted evaluations resume. The keys are the fields of
`lyrics_asr.evaluation.config.EvaluationConfig`.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lyrics_asr.cli.configs import find_config
from lyrics_asr.cli.train import add_print_config
from lyrics_asr.console import DONE, INTERRUPTED, SOME_FAILED, UsageError, log_file, say

if TYPE_CHECKING:
    from lyrics_asr.cli.main import VerbParser
    from lyrics_asr.evaluation.config import EvaluationConfig
    from lyrics_asr.evaluation.results import Comparison, Results

_FILTERS = {"limit": "only the first N songs", "language": "e.g. en", "genre": "e.g. Rock"}
_COMPARE = "compare"


def declare_evaluate(parser: "VerbParser") -> None:
    """Arguments of `lyrics-asr evaluate`."""
    parser.runs(evaluate, "lyrics-asr evaluate evaluate_embedded corpus=jamendo folder=FOLDER output=OUT")
    parser.usage = "%(prog)s CONFIG [key=value ...] | %(prog)s compare FIRST SECOND"
    parser.add_argument(
        "config",
        help="YAML file, or the name of a shipped one, such as evaluate_embedded; or compare, for a paired bootstrap "
        "of two results over the songs that both have",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="keys of the configuration, e.g. corpus=jamendo folder=FOLDER output=OUT; for compare, two results.json "
        "or the folders that hold them",
    )
    for name, example in _FILTERS.items():
        parser.add_argument(f"--{name}", help=f"the same as {name}=...: {example}")
    add_print_config(parser)


def evaluate(args: argparse.Namespace) -> int:
    """Evaluate or compare, and return the exit code: songs without audio are counted, not failed."""
    from lyrics_asr.config import dump_config, load_config
    from lyrics_asr.evaluation.config import EvaluationConfig

    if args.config == _COMPARE:
        return _compare(args.overrides)
    if unclear := [override for override in args.overrides if "=" not in override]:
        raise UsageError(f"not of the form key=value: {' '.join(unclear)}")
    flags = {name: getattr(args, name) for name in _FILTERS}
    overrides = [*args.overrides, *(f"{name}={value}" for name, value in flags.items() if value is not None)]
    try:
        config = load_config(EvaluationConfig, find_config(args.config), overrides)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    if args.print_config:
        print(dump_config(config), end="")
        return DONE
    logger = logging.getLogger("lyrics_asr")
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        results = _run(config, args.debug)
    except KeyboardInterrupt:
        say("interrupted; start it again to resume after the finished songs")
        return INTERRUPTED
    finally:
        logger.setLevel(level)
    print(_table(results))
    say(f"report: {config.output / 'report.html'}")
    return SOME_FAILED if results.failed else DONE


def _run(config: "EvaluationConfig", debug: bool) -> "Results":
    from lyrics_asr.evaluation.report import write_report
    from lyrics_asr.evaluation.results import collect, write_results
    from lyrics_asr.evaluation.run import evaluate, load_songs
    from lyrics_asr.files import require_writable_folder

    songs = load_songs(config)
    require_writable_folder(config.output)
    with log_file(config.output / "evaluate.log"):
        results = collect(evaluate(songs, config, debug=debug), config)
    write_results(results, config.output / "results.json")
    write_report(results, config.output)
    return results


def _compare(results: Sequence[str]) -> int:
    from lyrics_asr.evaluation.results import compare, read_results

    if len(results) != 2:
        raise UsageError("compare takes two results.json, or the folders that hold them")
    print(_comparison(compare(*(read_results(Path(each)) for each in results))))
    return DONE


def _table(results: "Results") -> str:
    """The main metrics, for a terminal."""
    from lyrics_asr.evaluation.aggregation import METRICS
    from lyrics_asr.evaluation.report import HEADLINES, interval, shown

    keys = [key for key in HEADLINES if key in results.metrics]
    rows = [(METRICS[key].label, shown(key, each.value), interval(key, each), str(each.songs))
            for key in keys for each in [results.metrics[key]]]  # fmt: skip
    counts = f"{len(results.songs)} songs evaluated, {len(results.failed)} failed"
    return "\n".join(
        [
            *_aligned([("metric", "value", "95 % interval", "songs"), *rows]),
            "",
            f"{counts}, {len(results.missing_audio)} without audio",
            *(f"failed: {song.id}: {song.reason}" for song in results.failed),
        ]
    )


def _comparison(comparison: "Comparison") -> str:
    """Every metric of both, for a terminal."""
    from lyrics_asr.evaluation.aggregation import METRICS
    from lyrics_asr.evaluation.report import shown

    rows = []
    for key, each in comparison.differences.items():
        better = "-"
        if METRICS[key].higher_is_better is not None and (each.low > 0 or each.high < 0):
            better = "first" if (each.difference > 0) == METRICS[key].higher_is_better else "second"
        rows.append((METRICS[key].label, shown(key, each.first), shown(key, each.second), shown(key, each.difference),
                     f"{shown(key, each.low)} to {shown(key, each.high)}", f"{each.p:.3f}", better))  # fmt: skip
    header = ("metric", "first", "second", "difference", "95 % interval", "p", "better")
    return "\n".join(
        [
            f"first: {comparison.first}",
            f"second: {comparison.second}",
            f"{comparison.songs} songs in common; {comparison.only_first} only in the first, "
            f"{comparison.only_second} only in the second",
            "",
            *_aligned([header, *rows]),
        ]
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]  # fmt: skip
