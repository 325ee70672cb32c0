"""Evaluate a model on songs with a reference, or compare two evaluations.

python evaluate.py CONFIG.yaml [key=value ...]   evaluates a model, or predictions of any system
python evaluate.py compare FIRST SECOND          tests which of two results is better

An evaluation prints its main metrics and writes results.json, report.md, report.html and every song's prediction to
the folder `output`; interrupted evaluations resume. The keys are the fields of
`lyrics_asr.evaluation.run.EvaluationConfig`. Exit codes: 0 all songs evaluated (songs without audio are counted, not
failed); 1 failure; 2 wrong usage; 3 some songs failed.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from lyrics_asr.config import load_config
from lyrics_asr.console import log_file, quiet
from lyrics_asr.evaluation.aggregation import METRICS
from lyrics_asr.evaluation.report import HEADLINES, interval, shown, write_report
from lyrics_asr.evaluation.results import Comparison, Results, collect, compare, read_results, write_results
from lyrics_asr.evaluation.run import EvaluationConfig, evaluate, load_songs
from lyrics_asr.files import require_writable_folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate or compare, and return the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["compare"]:
        return _compare(arguments[1:])
    return _evaluate(arguments)


def _evaluate(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="YAML file, such as configs/evaluate_embedded.yaml")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="e.g. corpus=jamendo folder=FOLDER output=OUT"
    )
    for name, example in (("limit", "only the first N songs"), ("language", "e.g. en"), ("genre", "e.g. Rock")):
        parser.add_argument(f"--{name}", help=f"the same as {name}=...: {example}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks and library messages")
    options = parser.parse_args(arguments)
    if unclear := [override for override in options.overrides if "=" not in override]:
        parser.error(f"not of the form key=value: {' '.join(unclear)}")
    flags = {name: getattr(options, name) for name in ("limit", "language", "genre")}
    overrides = [*options.overrides, *(f"{name}={value}" for name, value in flags.items() if value is not None)]
    try:
        config = load_config(EvaluationConfig, options.config, overrides)
    except (ValueError, OSError) as error:
        if options.debug:
            raise
        parser.error(str(error))
    with quiet(options.debug):
        logging.getLogger("lyrics_asr").setLevel(logging.INFO)
        try:
            results = _run(config, options.debug)
        except (ValueError, OSError, RuntimeError) as error:
            if options.debug:
                raise
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("interrupted; start it again to resume after the finished songs", file=sys.stderr)
            return 130
    print(_table(results))
    print(f"report: {config.output / 'report.html'}", file=sys.stderr)
    return 3 if results.failed else 0


def _run(config: EvaluationConfig, debug: bool) -> Results:
    songs = load_songs(config)
    require_writable_folder(config.output)
    with log_file(config.output / "evaluate.log"):
        results = collect(evaluate(songs, config, debug=debug), config)
    write_results(results, config.output / "results.json")
    write_report(results, config.output)
    return results


def _compare(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="evaluate.py compare", description="Paired bootstrap of two results over the songs that both have."
    )
    parser.add_argument("first", type=Path, help="results.json, or the folder that holds it")
    parser.add_argument("second", type=Path, help="the other one")
    options = parser.parse_args(arguments)
    try:
        print(_comparison(compare(read_results(options.first), read_results(options.second))))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _table(results: Results) -> str:
    """The main metrics, for a terminal."""
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


def _comparison(comparison: Comparison) -> str:
    """Every metric of both, for a terminal."""
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


if __name__ == "__main__":
    sys.exit(main())
