"""`lyrics-asr data synth`."""

import argparse
import sys
from pathlib import Path

from lyrics_asr.synthesis.options import SyntheticOptions

_LANGUAGES = ("en", "es", "fr", "de")
_LYRICS_FOLDER = Path("data/lyrics")
"""As in `synthesis.lyrics`, which cannot be imported without NumPy."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `lyrics-asr data synth`."""
    defaults = SyntheticOptions()
    parser.add_argument("out", type=Path, help="folder of the corpus; songs that are complete there are kept")
    parser.add_argument(
        "--split",
        choices=("training", "development", "held_out"),
        default=defaults.split,
        help="lyrics and voices (default: %(default)s)",
    )
    parser.add_argument("--language", choices=_LANGUAGES, default=defaults.language, help="default: %(default)s")
    parser.add_argument("--songs", type=int, default=defaults.songs, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="default: %(default)s")
    parser.add_argument(
        "--lines", type=int, default=defaults.lines, help="lines of a training song (default: %(default)s)"
    )
    parser.add_argument(
        "--word-salad-share",
        type=float,
        default=defaults.word_salad_share,
        help="share of lines with words in random order (default: %(default)s)",
    )
    parser.add_argument(
        "--generated-share",
        type=float,
        default=defaults.generated_share,
        help="share of lines with generated words (default: %(default)s)",
    )
    parser.add_argument(
        "--a-cappella-share",
        type=float,
        default=defaults.a_cappella_share,
        help="share of songs with no band (default: %(default)s)",
    )
    parser.add_argument(
        "--processes", type=int, default=defaults.processes, help="songs made at once (default: %(default)s)"
    )
    parser.add_argument("--lyrics", type=Path, default=_LYRICS_FOLDER, help="folder of lyrics (default: %(default)s)")


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
        processes=arguments.processes,
    )
    songs = generate(arguments.out, options, arguments.lyrics)
    print(f"{len(songs)} songs in {arguments.out / 'manifest.jsonl'}", file=sys.stderr)
    return 0
