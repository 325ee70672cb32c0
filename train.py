"""Train a model: `python train.py CONFIG.yaml [key=value ...]`, or `torchrun` or `accelerate launch` for several GPUs.

Started again, it goes on from its last checkpoint. The trained model is in the folder `model` of the run's output. The
keys are those of `lyrics_asr.config.TrainingConfig`. Exit codes: 0 done; 1 failure; 2 wrong usage.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lyrics_asr.config import load_config
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
    try:
        log = JsonLog(Path(config.output))
        train(config, log)
        if int(os.environ.get("RANK", "0")) == 0:  # of the processes that torchrun or accelerate launched
            print(finish(config, log))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; started again, it goes on from its last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
