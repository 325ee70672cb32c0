"""The command line of `lyrics-asr data pairs`: its options, and its report as a table."""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from lyrics_asr.cli.data_dali import add_chunk_seconds, render_dropped
from lyrics_asr.console import say
from lyrics_asr.training.data.options import ChunkOptions

if TYPE_CHECKING:  # Lhotse takes seconds to load
    from lyrics_asr.training.data.prepare_pairs import PairReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `lyrics-asr data pairs`."""
    parser.add_argument(
        "catalog",
        type=Path,
        metavar="CATALOG",
        help="folder of audio files with tags, or a list of them: .csv with the columns path, artist, title; .json or "
        ".jsonl of recordings as MusicBrainz writes them, with a path each",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="output folder for cuts.jsonl.gz, stems and report.json; interrupted runs resume",
    )
    add_chunk_seconds(parser)
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="worker processes that check pairs (default: %(default)s)"
    )


def run(args: argparse.Namespace, options: ChunkOptions) -> int:
    """Carry out `lyrics-asr data pairs`."""
    from lyrics_asr.training.data.prepare_pairs import prepare_pairs

    report = prepare_pairs(args.catalog, args.output, options, processes=args.processes)
    sys.stdout.write(render_report(report))
    if not report.cuts:
        say(f"error: no pair is left, for the reasons above; {args.output / 'report.json'} names them")
        return 1
    say(f"wrote {args.output}")
    return 0


def render_report(report: "PairReport") -> str:
    """The report as a table for people, with a line end after each row."""
    used = [pair for pair in report.pairs if pair.dropped is None]
    targets = Counter(pair.target for pair in used)
    rows = [
        f"{len(used)} pairs, {targets['subtracted']} by subtraction and {targets['max rule']} by the max rule: "
        f"{report.cuts} chunks, {report.seconds / 3600:.2f} hours"
    ]
    rows += render_dropped("tracks", report.tracks, Counter(report.dropped_tracks.values()))
    rows += render_dropped("instrumentals and a cappellas", report.stems, Counter(report.dropped_stems.values()))
    dropped = Counter(pair.dropped for pair in report.pairs if pair.dropped is not None)
    rows += render_dropped("pairs by their sound", len(report.pairs), dropped)
    return "".join(f"{row}\n" for row in rows)
