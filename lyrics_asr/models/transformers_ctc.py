"""CTC networks of transformers: read, built with random weights, or made of Whisper's encoder.

Safetensors are preferred. A checkpoint without them is read with `torch.load(weights_only=True)`, which does not run
code from the file. Code in a repository is never run (`trust_remote_code=False`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_CTC_MAPPING,
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForCTC,
    AutoTokenizer,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WhisperConfig,
    WhisperModel,
)
from transformers.utils import logging

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ
from lyrics_asr.models.checkpoint_files import has_tokenizer
from lyrics_asr.models.ctc_checkpoint import CTCCheckpoint, Tokenizer
from lyrics_asr.models.int8 import load_int8
from lyrics_asr.models.log_mel import LogMelExtractor
from lyrics_asr.models.wave_unet_ctc import build_wave_unet_ctc
from lyrics_asr.models.whisper_ctc import WhisperCTC, WhisperCTCSizes

_HEAD_SIZES = ("head_layers", "head_size", "head_blocks", "head_kernel", "head_dropout")


def read_checkpoint(name: str, folder: Path) -> CTCCheckpoint:
    """Read a checkpoint in float32; its head may be missing, and its tokenizer.

    Args:
        name: of the model, for messages.
        folder: written by `save_pretrained`.

    Raises:
        ValueError: not a CTC checkpoint.
        OSError, KeyError, TypeError, RuntimeError, SafetensorError, UnpicklingError: files are missing or damaged.
    """
    options = {"local_files_only": True, "trust_remote_code": False}
    _require_ctc(name, folder)
    feature_extractor = AutoFeatureExtractor.from_pretrained(folder, **options)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, **options) if has_tokenizer(folder) else None
    with quiet_transformers():
        network, missing = _read_network(folder, options)
    return CTCCheckpoint(network, tokenizer, feature_extractor, tuple(missing))


def random_wav2vec2(config: Mapping[str, Any], tokenizer: Tokenizer) -> CTCCheckpoint:
    """A Wav2Vec2 with random weights; `config` has arguments of `transformers.Wav2Vec2Config`."""
    tokens = {"vocab_size": len(tokenizer.get_vocab()), "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
    network_config = Wav2Vec2Config(**{**config, **tokens})
    feature_extractor = Wav2Vec2FeatureExtractor(
        sampling_rate=ACOUSTIC_SAMPLE_RATE_HZ,
        do_normalize=True,
        return_attention_mask=network_config.feat_extract_norm == "layer",
    )
    return CTCCheckpoint(Wav2Vec2ForCTC(network_config), tokenizer, feature_extractor)


def random_wave_unet(sizes: Mapping[str, Any], tokenizer: Tokenizer) -> CTCCheckpoint:
    """A Wave-U-Net with random weights; `sizes` are fields of `WaveUNetCTCConfig`.

    Raises:
        ValueError: an unknown size, or sizes that make no sense.
    """
    network = build_wave_unet_ctc(sizes, len(tokenizer.get_vocab()))
    feature_extractor = Wav2Vec2FeatureExtractor(
        sampling_rate=ACOUSTIC_SAMPLE_RATE_HZ, do_normalize=False, return_attention_mask=False
    )
    return CTCCheckpoint(network, tokenizer, feature_extractor)


def with_ctc_head(folder: Path, tokenizer: Tokenizer, head: Mapping[str, Any]) -> CTCCheckpoint:
    """The encoder of a Whisper checkpoint in float32, with a head of random weights.

    Args:
        folder: of a `save_pretrained` checkpoint of Whisper.
        tokenizer: of the new head; column 0 is the blank.
        head: sizes of the head, see `WhisperCTCSizes`.

    Raises:
        ValueError: an unknown size, or not a complete checkpoint of Whisper.
    """
    if unknown := sorted(set(head) - set(_HEAD_SIZES)):
        known = ", ".join(sorted(_HEAD_SIZES))
        raise ValueError(f"acoustic: {', '.join(unknown)}: no size of a CTC head; use {known}")
    options: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True, "output_loading_info": True}
    try:
        kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        if kind != WhisperConfig.model_type:
            raise ValueError(f"{folder}: a checkpoint of {kind}; an encoder for a new CTC head must be of Whisper")
        with quiet_transformers():
            loaded: Any = WhisperModel.from_pretrained(folder, **options)
        extractor = LogMelExtractor.load(folder)
    except (OSError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"{folder}: not a Whisper checkpoint that can be read: {error}") from error
    whisper, report = loaded
    if missing := [key for key in sorted(report["missing_keys"]) if key.startswith("encoder.")]:
        raise ValueError(f"{folder}: weights {', '.join(missing[:3])} are missing; copy the checkpoint again")
    sizes = WhisperCTCSizes.of({**whisper.config.to_dict(), **head, "vocab_size": len(tokenizer.get_vocab())})
    network = WhisperCTC(sizes)
    network.encoder.load_state_dict(whisper.encoder.state_dict())
    return CTCCheckpoint(network, tokenizer, extractor)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Disable the progress bars of transformers, which it shows even without a terminal, and its reports on weights.

    Missing weights are an error of ours.
    """
    enabled, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if enabled:
            logging.enable_progress_bar()


def _require_ctc(name: str, folder: Path) -> None:
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except ValueError as error:  # an unknown architecture
        raise ValueError(f"{name}: not a CTC checkpoint that can be read: {error}") from error
    if type(config) not in MODEL_FOR_CTC_MAPPING:
        head = ""
        if config.model_type == "whisper":
            head = f", or give it a head by training with `acoustic: {{encoder: {name}}}`"
        raise ValueError(
            f"{name}: is a {config.model_type} model, which has no CTC head; use a checkpoint fine-tuned with CTC{head}"
        )


def _read_network(folder: Path, options: Mapping[str, Any]) -> tuple[PreTrainedModel, list[str]]:
    """The network of a checkpoint in float32, and the names of weights that are missing."""
    if state := load_int8(folder):
        with torch.device("meta"):  # random weights would take longer than reading those of the folder
            network: PreTrainedModel = AutoModelForCTC.from_config(AutoConfig.from_pretrained(folder, **options))
        return network, sorted(network.load_state_dict(state, strict=False, assign=True).missing_keys)
    config = AutoConfig.from_pretrained(folder, **options)
    if config.vocab_size is None:  # self-supervised; its head is replaced
        config.vocab_size = 1
    network, report = AutoModelForCTC.from_pretrained(
        folder,
        config=config,
        use_safetensors=any(folder.glob("model.safetensors*")),
        dtype=torch.float32,
        output_loading_info=True,
        **options,
    )
    # The embedding of masked frames is for training alone.
    return network, [key for key in sorted(report["missing_keys"]) if "masked_spec_embed" not in key]
