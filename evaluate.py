"""`lyrics-asr evaluate`, for a checkout: `python evaluate.py CONFIG [key=value ...]`."""

import sys

from lyrics_asr.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
