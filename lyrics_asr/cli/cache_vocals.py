"""`lyrics-asr data cache-vocals`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lyrics_asr.cli.arguments import add_model_options, add_overwrite, model_arguments, overwrite_arguments
from lyrics_asr.cli.commands import run_songs
from lyrics_asr.console import FAILED, say

if TYPE_CHECKING:
    from lyrics_asr.cli.main import VerbParser


def add_arguments(parser: "VerbParser") -> None:
    """The options of `lyrics-asr data cache-vocals`."""
    parser.add_argument("cuts", nargs="+", metavar="CUTS", help="cut files, such as train.jsonl.gz")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="output folder for vocals and cuts"
    )
    add_overwrite(parser)
    add_model_options(parser, recognition=False)


def run(args: argparse.Namespace) -> int:
    """Carry out `lyrics-asr data cache-vocals`."""
    from lyrics_asr.training.data.lhotse_io import cuts_file
    from lyrics_asr.training.data.object_storage import cuts_path
    from lyrics_asr.training.data.vocals_cache import find_songs, write_cached_cuts
    from lyrics_asr.training.data.vocals_task import VocalsRequest, VocalsTask

    cuts = [cuts_file(cuts_path(each), "data cache-vocals") for each in args.cuts]
    jobs = find_songs(cuts)
    request = VocalsRequest(output=args.output, **overwrite_arguments(args), **model_arguments(args))
    code = run_songs(args, request, jobs, VocalsTask)
    if code != FAILED:
        left_out = write_cached_cuts(cuts, args.output)
        say(f"wrote {args.output}" + (f"; {left_out} cuts of failed songs are left out" if left_out else ""))
    return code
