"""The command line of `lyrics-asr data cuts`: its options, and its report as a table."""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from lyrics_asr.cli.data_dali import add_chunk_arguments, dropped_chunks, render_dropped
from lyrics_asr.console import say
from lyrics_asr.training.data.options import ChunkOptions

if TYPE_CHECKING:  # Lhotse takes seconds to load
    from lyrics_asr.training.data.prepare_manifest import SongCutReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `lyrics-asr data cuts`."""
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="songs with word times (.jsonl)")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="output folder for cuts.jsonl.gz and report.json",
    )
    add_chunk_arguments(parser)


def run(args: argparse.Namespace, options: ChunkOptions) -> int:
    """Carry out `lyrics-asr data cuts`."""
    from lyrics_asr.training.data.prepare_manifest import cut_songs

    report = cut_songs(args.manifest, args.output, options)
    sys.stdout.write(render_report(report))
    if not report.chunks:
        say(f"error: no chunk was made, for the reasons above; {args.output / 'report.json'} names the songs")
        return 1
    say(f"wrote {args.output}")
    return 0


def render_report(report: "SongCutReport") -> str:
    """The report as a table for people, with a line end after each row."""
    songs = report.songs - len(report.dropped_songs)
    rows = [
        f"{songs} songs, {report.songs_with_stems} of them with stems: {report.chunks} chunks, "
        f"{report.words - sum(report.dropped_words.values())} words, {report.seconds / 3600:.2f} hours; "
        f"{report.silent_chunks} chunks of pauses"
    ]
    rows += render_dropped("songs", report.songs, Counter(report.dropped_songs.values()))
    rows += render_dropped("words of the other songs", report.words, report.dropped_words)
    dropped = dropped_chunks(report.crowded_chunks, report.nonfinite_chunks)
    rows += render_dropped("chunks", report.chunks + sum(dropped.values()), dropped)
    return "".join(f"{row}\n" for row in rows)
