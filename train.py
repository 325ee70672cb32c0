"""Train a model: `python train.py CONFIG.yaml [key=value ...]`, or `torchrun` or `accelerate launch` for several GPUs.

Started again, it resumes from its last checkpoint. The trained model is in the folder `model` of the run's output. The
keys are those of `lyrics_asr.training.config.TrainingConfig`. Warnings and tracebacks are kept in `train.log` of the
output (`train-rank1.log` and so on for the other processes). Exit codes: 0 done; 1 failure; 2 wrong usage.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lyrics_asr.config import load_config
from lyrics_asr.console import log_file
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.training.export import finish
from lyrics_asr.training.loop import train
from lyrics_asr.training.trackers import JsonLog


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, export, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="YAML file, such as configs/finetune_dali.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. output=runs/mine threads=8")
    options = parser.parse_args(arguments)
    try:
        config = load_config(TrainingConfig, options.config, options.overrides)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    logging.basicConfig(format="warning: %(message)s")
    rank = int(os.environ.get("RANK", "0"))  # of the processes that torchrun or accelerate launched
    path = Path(config.output, f"train-rank{rank}.log" if rank else "train.log")
    try:
        with log_file(path):
            log = JsonLog(Path(config.output))
            train(config, log)
            if rank == 0:
                print(finish(config, log))
    except (ValueError, OSError) as error:  # expected ones; any other shows its traceback
        traceback = f" (traceback: {path})" if path.is_file() else ""
        print(f"error: {error}{traceback}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; start it again to resume from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
