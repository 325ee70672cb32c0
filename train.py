"""Train a model from nothing on songs with stems.

    python train.py configs/embedded.yaml [key=value ...]

Started again, it goes on from its last checkpoint. The trained model is in the folder `model` of the run's output.
"""

import sys
from pathlib import Path

from lyrics_asr.config import TrainingConfig, load_config
from lyrics_asr.training.export import export
from lyrics_asr.training.loop import JsonLog, train


def main() -> None:
    """Parse, train, save."""
    config = load_config(TrainingConfig, Path(sys.argv[1]), sys.argv[2:])
    log = JsonLog(Path(config.output))
    export(train(config, log), config, log)


if __name__ == "__main__":
    main()
