"""Take the bias of a model's onsets off: python -m scripts.onset_correction MODEL RESULTS.

RESULTS is the results.json of `lyrics-asr evaluate` with this model on development songs. The median signed error of
its word onsets goes into the configuration of the acoustic model, and off the times of all later results.
"""

import argparse
import json
from pathlib import Path

from lyrics_asr.files import write_text
from lyrics_asr.models.acoustic import CORRECTION_KEY


def main() -> None:
    """Read, correct, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument("results", type=Path, help="results.json of its evaluation")
    args = parser.parse_args()
    bias = json.loads(args.results.read_text(encoding="utf-8"))["metrics"]["words_bias"]["value"]
    path = args.model / "acoustic" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config[CORRECTION_KEY] = round(config.get(CORRECTION_KEY, 0.0) - bias, 4)
    write_text(path, json.dumps(config, indent=2) + "\n")
    print(f"{path}: {CORRECTION_KEY} {config[CORRECTION_KEY]}")


if __name__ == "__main__":
    main()
