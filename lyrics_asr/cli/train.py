"""`lyrics-asr train`: train a model as a configuration says.

Warnings and tracebacks are kept in `train.log` of the output, `train-rank1.log` and so on for the other processes of
torchrun or `accelerate launch`.
"""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lyrics_asr.cli.configs import find_config
from lyrics_asr.console import DONE, FAILED, INTERRUPTED, UsageError, log_file, say

if TYPE_CHECKING:
    from lyrics_asr.cli.main import VerbParser


def declare_train(parser: "VerbParser") -> None:
    """Arguments of `lyrics-asr train`."""
    parser.runs(train, "lyrics-asr train finetune_dali output=runs/mine threads=8", shows_libraries=True)
    parser.add_argument("config", help="YAML file, or the name of a shipped one, such as finetune_dali")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="keys of the configuration, e.g. output=runs/mine threads=8"
    )
    add_print_config(parser)


def add_print_config(parser: argparse.ArgumentParser) -> None:
    """`--print-config`, of the verbs with a configuration."""
    parser.add_argument(
        "--print-config", action="store_true", help="print the configuration with all defaults, and do nothing else"
    )


def train(args: argparse.Namespace) -> int:
    """Train, export, and return the exit code; a run that is started again resumes from its last checkpoint."""
    from lyrics_asr.config import dump_config, load_config
    from lyrics_asr.training.config import TrainingConfig
    from lyrics_asr.training.export import finish
    from lyrics_asr.training.loop import train as run
    from lyrics_asr.training.trackers import JsonLog

    try:
        config = load_config(TrainingConfig, find_config(args.config), args.overrides)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    if args.print_config:
        print(dump_config(config), end="")
        return DONE
    rank = int(os.environ.get("RANK", "0"))  # of the processes that torchrun or accelerate launched
    path = Path(config.output, f"train-rank{rank}.log" if rank else "train.log")
    try:
        with log_file(path):
            log = JsonLog(Path(config.output))
            run(config, log)
            if rank == 0:
                print(finish(config, log))
    except (ValueError, OSError) as error:  # expected ones; any other is reported as unexpected
        if args.debug:
            raise
        say(f"error: {error}" + (f" (traceback: {path})" if path.is_file() else ""))
        return FAILED
    except KeyboardInterrupt:
        say("interrupted; start it again to resume from the last checkpoint")
        return INTERRUPTED
    return DONE
