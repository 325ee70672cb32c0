"""Assemble the model that ships in the package, with weights in int8: separator, acoustic model and transcriber.

    python -m scripts.package_model build/trained build/whisper-base lyrics_asr/assets/embedded

Layers of the encoder that training left as they are in the Whisper checkpoint are stored once, with the acoustic
model: the transcriber has the decoder, and the layers that differ.
"""

import argparse
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from lyrics_asr.models.int8 import SUFFIX, save_int8
from lyrics_asr.models.registry import load_model
from lyrics_asr.models.transcriber import ENCODER

_SEPARATOR_BITS, _TRANSCRIBER_BITS = 7, 6  # these move no times: the acoustic model hears the mixture


def main() -> None:
    """Read, check, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="trained model: a U-Net separator, and a CTC head over the encoder")
    parser.add_argument("whisper", type=Path, help="checkpoint that `scripts.convert_whisper` wrote")
    parser.add_argument("folder", type=Path, help="folder to write")
    args = parser.parse_args()
    model = load_model(str(args.model), device="cpu")
    acoustic = model.acoustic.network.state_dict()
    whisper = {key: value.float() for key, value in load_file(args.whisper / "model.safetensors").items()}
    shared = {f"{ENCODER}{key.removeprefix('encoder.')}": value for key, value in acoustic.items()}
    apart = {key: value for key, value in whisper.items() if key not in shared or not torch.equal(value, shared[key])}
    if f"{ENCODER}conv1.weight" in apart:  # only upper layers are trained
        sys.exit(
            f"{args.model}: its encoder is not that of {args.whisper}; name the checkpoint that it was trained from"
        )
    model.save(args.folder)
    (args.folder / "acoustic" / "model.safetensors").unlink()
    (args.folder / "separator" / "unet.safetensors").unlink()
    for part in ("encoder", "lm_head"):  # apart, because a new head leaves the encoder as it is
        own = {key: value for key, value in acoustic.items() if key.startswith(f"{part}.")}
        save_int8(own, args.folder / "acoustic" / f"{part}{SUFFIX}")
    save_int8(model.separator.state_dict(), args.folder / "separator" / f"unet{SUFFIX}", bits=_SEPARATOR_BITS)
    ignored = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(args.whisper, args.folder / "transcriber", ignore=ignored, dirs_exist_ok=True)
    save_int8(apart, args.folder / "transcriber" / f"model{SUFFIX}", bits=_TRANSCRIBER_BITS)


if __name__ == "__main__":
    main()
