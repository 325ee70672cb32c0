"""Assemble the model that ships in the package, with weights in int8: separator, acoustic model and transcriber.

    python -m scripts.package_model build/trained build/whisper-base lyrics_asr/assets/embedded

The encoder of the acoustic model must be that of the Whisper checkpoint, unchanged. It is stored once: the transcriber
has the decoder alone.
"""

import argparse
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from lyrics_asr.models.int8 import SUFFIX, save_int8
from lyrics_asr.models.registry import load_model

_ENCODER, _DECODER = "model.encoder.", "model.decoder."


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
    if not _equal(_part(acoustic, "encoder."), _part(whisper, _ENCODER)):
        sys.exit(f"{args.model}: its encoder is not that of {args.whisper}; train the head alone")
    model.save(args.folder)
    (args.folder / "acoustic" / "model.safetensors").unlink()
    (args.folder / "separator" / "unet.safetensors").unlink()
    for part in ("encoder", "lm_head"):  # apart, because a new head leaves the encoder as it is
        own = {key: value for key, value in acoustic.items() if key.startswith(f"{part}.")}
        save_int8(own, args.folder / "acoustic" / f"{part}{SUFFIX}")
    save_int8(model.separator.state_dict(), args.folder / "separator" / f"unet{SUFFIX}")
    ignored = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(args.whisper, args.folder / "transcriber", ignore=ignored, dirs_exist_ok=True)
    decoder = {key: value for key, value in whisper.items() if key.startswith(_DECODER)}
    save_int8(decoder, args.folder / "transcriber" / f"decoder{SUFFIX}")


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _equal(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


if __name__ == "__main__":
    main()
