"""`lyrics-asr data`: make training data. Each action declares its arguments in a module that imports nothing heavy."""

import argparse
from typing import TYPE_CHECKING

from lyrics_asr.console import UsageError

if TYPE_CHECKING:
    from lyrics_asr.cli.main import VerbParser


def declare_data(parser: "VerbParser") -> None:
    """Actions of `lyrics-asr data`."""
    parser.add_verbs(
        "action",
        [
            ("synth", "make songs with exact word times from lyrics, a voice synthesiser and a band", _declare_synth),
            ("dali", "cut the songs of DALI into training chunks with word times, as Lhotse cuts", _declare_dali),
            (
                "cuts",
                "cut the songs of a manifest into training chunks, as Lhotse cuts with stems",
                _declare_cuts,
            ),
            (
                "pairs",
                "find mixes with their instrumentals or a cappellas, and make stems of them, as Lhotse cuts",
                _declare_pairs,
            ),
            (
                "cache-vocals",
                "separate the songs of Lhotse cuts once, to train on their vocals with the separator frozen",
                _declare_cache_vocals,
            ),
        ],
    )


def _declare_synth(parser: "VerbParser") -> None:
    from lyrics_asr.cli import data_synth

    parser.runs(data_synth.run, "lyrics-asr data synth data/prepared/training --songs 340 --seed 1 --processes 2")
    data_synth.add_arguments(parser)


def _declare_dali(parser: "VerbParser") -> None:
    from lyrics_asr.cli import data_dali

    parser.runs(_dali, "lyrics-asr data dali DALI_v1.0/ audio/ -o data/prepared/dali --ground-truth gt_v1.0.gz")
    data_dali.add_arguments(parser)


def _dali(args: argparse.Namespace) -> int:
    from lyrics_asr.cli import data_dali

    try:
        options = data_dali.read_options(args)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return data_dali.run(args, options)


def _declare_cuts(parser: "VerbParser") -> None:
    from lyrics_asr.cli import data_cuts

    parser.runs(_cuts, "lyrics-asr data cuts data/prepared/training/manifest.jsonl -o data/prepared/training_cuts")
    data_cuts.add_arguments(parser)


def _cuts(args: argparse.Namespace) -> int:
    from lyrics_asr.cli import data_cuts
    from lyrics_asr.training.data.options import ChunkOptions

    try:
        options = ChunkOptions(args.chunk_seconds, args.pause_seconds)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return data_cuts.run(args, options)


def _declare_pairs(parser: "VerbParser") -> None:
    from lyrics_asr.cli import data_pairs

    parser.runs(_pairs, "lyrics-asr data pairs music/ -o data/prepared/pairs --processes 4")
    data_pairs.add_arguments(parser)


def _pairs(args: argparse.Namespace) -> int:
    from lyrics_asr.cli import data_pairs
    from lyrics_asr.training.data.options import ChunkOptions

    try:
        options = ChunkOptions(args.chunk_seconds)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if args.processes < 1:
        raise UsageError(f"--processes must be at least 1, not {args.processes}")
    return data_pairs.run(args, options)


def _declare_cache_vocals(parser: "VerbParser") -> None:
    from lyrics_asr.cli import cache_vocals

    parser.runs(
        cache_vocals.run,
        "lyrics-asr data cache-vocals data/prepared/dali/train.jsonl.gz -o data/prepared/dali_vocals",
    )
    cache_vocals.add_arguments(parser)
