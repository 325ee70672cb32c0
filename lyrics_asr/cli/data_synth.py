"""`lyrics-asr data synth`."""

import argparse
import sys
from pathlib import Path

from lyrics_asr.synthesis.options import LANGUAGE_NAMES, LYRICS_FOLDER, SyntheticOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `lyrics-asr data synth`."""
    defaults = SyntheticOptions()
    parser.add_argument("out", type=Path, help="folder of the corpus; complete songs in it are kept")
    parser.add_argument(
        "--split",
        choices=("training", "development", "held_out"),
        default=defaults.split,
        help="which lyrics and voices to use (default: %(default)s)",
    )
    parser.add_argument(
        "--language", choices=tuple(LANGUAGE_NAMES), default=defaults.language, help="default: %(default)s"
    )
    parser.add_argument("--songs", type=int, default=defaults.songs, help="number of songs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="default: %(default)s")
    parser.add_argument(
        "--lines", type=int, default=defaults.lines, help="distinct lines per training song (default: %(default)s)"
    )
    parser.add_argument(
        "--word-salad-share",
        type=float,
        default=defaults.word_salad_share,
        help="fraction of lines with words in random order (default: %(default)s)",
    )
    parser.add_argument(
        "--generated-share",
        type=float,
        default=defaults.generated_share,
        help="fraction of lines with generated words (default: %(default)s)",
    )
    parser.add_argument(
        "--a-cappella-share",
        type=float,
        default=defaults.a_cappella_share,
        help="fraction of songs without accompaniment (default: %(default)s)",
    )
    parser.add_argument(
        "--natural-voices", type=Path, metavar="FOLDER", help="folder of natural voices, see docs/from-scratch.md"
    )
    parser.add_argument(
        "--natural-voices-share",
        type=float,
        default=defaults.natural_voices_share,
        help="fraction of songs that natural voices sing (default: %(default)s)",
    )
    parser.add_argument(
        "--processes", type=int, default=defaults.processes, help="number of worker processes (default: %(default)s)"
    )
    parser.add_argument("--lyrics", type=Path, default=LYRICS_FOLDER, help="folder of lyrics (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Carry out `lyrics-asr data synth`."""
    from lyrics_asr.synthesis.corpus import generate

    options = SyntheticOptions(
        split=arguments.split,
        language=arguments.language,
        songs=arguments.songs,
        seed=arguments.seed,
        lines=arguments.lines,
        word_salad_share=arguments.word_salad_share,
        generated_share=arguments.generated_share,
        a_cappella_share=arguments.a_cappella_share,
        natural_voices=arguments.natural_voices,
        natural_voices_share=arguments.natural_voices_share,
        processes=arguments.processes,
    )
    songs = generate(arguments.out, options, arguments.lyrics)
    print(f"{len(songs)} songs in {arguments.out / 'manifest.jsonl'}", file=sys.stderr)
    return 0
