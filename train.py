"""`lyrics-asr train`, for a checkout: `python train.py CONFIG [key=value ...]`, or `torchrun train.py ...`."""

import sys

from lyrics_asr.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
