"""The command line of `lyrics-asr data dali`: its options, and its report as a table."""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

from lyrics_asr.console import say
from lyrics_asr.corpora.dali_splits import SPLITS, SplitThresholds
from lyrics_asr.training.data.options import ChunkOptions

_MAX_SLOW_FILES = 10
"""Slow files that the table names; report.json names all."""

if TYPE_CHECKING:  # Lhotse takes seconds to load
    from lyrics_asr.training.data.prepare_dali import CutOptions, CutReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `lyrics-asr data dali`."""
    parser.add_argument("annotations", type=Path, metavar="ANNOTATIONS", help="folder of DALI's .gz or JSON files")
    parser.add_argument("audio", type=Path, metavar="AUDIO", help="folder of the audio files, named by DALI id")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="output folder for train.jsonl.gz, validation.jsonl.gz, test.jsonl.gz and report.json",
    )
    parser.add_argument(
        "--language", default="english", metavar="NAME", help="language of the songs, or all (default: %(default)s)"
    )
    parser.add_argument(
        "--thresholds",
        nargs=3,
        type=float,
        default=astuple(SplitThresholds()),
        metavar=("TRAIN", "VALIDATION", "TEST"),
        help="minimum NCC of each split; songs below the first are in no split (default: %(default)s)",
    )
    add_chunk_arguments(parser)
    parser.add_argument(
        "--ground-truth", type=Path, metavar="FILE", help="DALI's corrected timings, such as gt_v1.0.gz"
    )
    parser.add_argument(
        "--remarks",
        type=Path,
        metavar="CSV",
        help="table of manual remarks (id;url;corrupt from;noisy;offset;non-english): corrupt parts are cut, offsets "
        "are added to the times, and noisy or foreign songs are dropped",
    )
    parser.add_argument(
        "--shar", action="store_true", help="also write FOLDER/shar: the chunks with audio, for streaming"
    )


def add_chunk_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of how songs are cut into chunks."""
    add_chunk_seconds(parser)
    parser.add_argument(
        "--pause-seconds",
        type=float,
        default=ChunkOptions().pause_seconds,
        metavar="S",
        help="maximum pause between words in a chunk (default: %(default)s)",
    )


def add_chunk_seconds(parser: argparse.ArgumentParser) -> None:
    """The option of how long chunks are."""
    parser.add_argument(
        "--chunk-seconds",
        type=float,
        default=ChunkOptions().chunk_seconds,
        metavar="S",
        help="longest chunk, 2 to 28 (default: %(default)s)",
    )


def read_options(args: argparse.Namespace) -> "CutOptions":
    """What the arguments say of the songs to cut.

    Raises:
        ValueError: a value out of its range.
    """
    from lyrics_asr.training.data.prepare_dali import CutOptions

    return CutOptions(
        None if args.language == "all" else args.language,
        SplitThresholds(*args.thresholds),
        ChunkOptions(args.chunk_seconds, args.pause_seconds),
    )


def run(args: argparse.Namespace, options: "CutOptions") -> int:
    """Carry out `lyrics-asr data dali`."""
    from lyrics_asr.training.data.prepare_dali import cut_dali

    report = cut_dali(
        args.annotations,
        args.audio,
        args.output,
        options=options,
        ground_truth=args.ground_truth,
        remarks=args.remarks,
        shar=args.shar,
    )
    sys.stdout.write(render_report(report))
    if not any(size.chunks for size in report.splits.values()):
        say(f"error: no chunk was made, for the reasons above; {args.output / 'report.json'} names the songs")
        return 1
    say(f"wrote {args.output}")
    return 0


def render_report(report: "CutReport") -> str:
    """The report as a table for people, with a line end after each row."""
    rows = [f"{'split':<12}{'songs':>8}{'chunks':>9}{'words':>10}{'hours':>8}"]
    for split in SPLITS:
        size = report.splits[split]
        rows.append(f"{split:<12}{size.songs:>8}{size.chunks:>9}{size.words:>10}{size.seconds / 3600:>8.2f}")
    rows += render_dropped("songs", report.songs, Counter(report.dropped_songs.values()))
    rows += render_dropped("words of the other songs", report.words, report.dropped_words)
    dropped = dropped_chunks(report.crowded_chunks, report.nonfinite_chunks)
    chunks = sum(dropped.values()) + sum(size.chunks for size in report.splits.values())
    rows += render_dropped("chunks", chunks, dropped)
    if report.slow_files:
        count = len(report.slow_files)
        rows += [
            "",
            f"slow: {count} files are decoded from their start for every window; convert them to .flac or .opus",
        ]
        rows += [f"          {path}" for path in report.slow_files[:_MAX_SLOW_FILES]]
        if len(report.slow_files) > _MAX_SLOW_FILES:
            rows.append(f"          and {count - _MAX_SLOW_FILES} more, see slow_files in report.json")
    return "".join(f"{row}\n" for row in rows)


def dropped_chunks(crowded: int, nonfinite: int) -> dict[str, int]:
    """How many chunks were dropped, by reason."""
    return {"with more tokens than CTC can place": crowded, "with NaN or infinite samples": nonfinite}


def render_dropped(name: str, total: int, by_reason: Mapping[str, int]) -> list[str]:
    """Rows that tell how many of something were dropped, and why."""
    rows = ["", f"dropped: {sum(by_reason.values())} of {total} {name}"]
    ordered = sorted(by_reason.items(), key=lambda item: (-item[1], item[0]))
    return rows + [f"{count:>8}  {reason}" for reason, count in ordered if count]
