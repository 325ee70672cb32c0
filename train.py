"""Train a model: `python train.py configs/embedded.yaml [key=value ...]`; started again, it goes on from its last checkpoint."""

import sys
from pathlib import Path

from lyrics_asr.config import TrainingConfig, load_config
from lyrics_asr.training.loop import JsonLog, train


def main() -> None:
    config = load_config(TrainingConfig, Path(sys.argv[1]), sys.argv[2:])
    model = train(config, JsonLog(Path(config.output)))
    model.save(Path(config.output, "model"), half=True)


if __name__ == "__main__":
    main()
