"""The initial model of a run, and its trained model."""

import copy
import json
import os
import tempfile
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from transformers import Wav2Vec2ForCTC

from lyrics_asr.config import load_config
from lyrics_asr.models.acoustic_checkpoints import build_acoustic
from lyrics_asr.models.ctc_checkpoint import Tokenizer
from lyrics_asr.models.front_ends import NemoFilterBank
from lyrics_asr.models.known_models import PUBLISHED
from lyrics_asr.models.lyrics_model import AcousticInput, LyricsModel
from lyrics_asr.models.registry import load_model
from lyrics_asr.models.separators.base import Separator
from lyrics_asr.models.separators.loading import build_separator
from lyrics_asr.models.tokenizers import load_tokenizer
from lyrics_asr.models.wave_unet_ctc import WaveUNetForCTC, share_network, unshare_network
from lyrics_asr.training.checkpoints import best_checkpoint, load_checkpoint
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.training.data.object_storage import cuts_path
from lyrics_asr.training.data.phones import phone_names
from lyrics_asr.training.data.song_stream import stream_phones
from lyrics_asr.training.data.training_text import letters_of_cuts, tokenizer_of_cuts
from lyrics_asr.training.freezing import add_adapters, merge_adapters
from lyrics_asr.training.from_scratch.filterbank import init_filterbank
from lyrics_asr.training.stages import SpecAugmentOptions


def with_vocabulary_of_text(config: TrainingConfig) -> TrainingConfig:
    """The configuration with the letters of the training cuts in place of `vocabulary: text`.

    For "pieces" and "phonemes", a tokenizer is made in the run's output, where a resumed run finds it.

    Raises:
        FileNotFoundError: no such cuts.
        ValueError: not cuts, or cuts without words.
        OSError: the tokenizer cannot be written.
    """
    cuts = [cuts_path(each) for each in config.cuts.cuts]
    if config.vocabulary == "text":
        return replace(config, vocabulary="letters", letters=letters_of_cuts(cuts))
    folder = _tokenizer_folder(config)
    if config.vocabulary in ("pieces", "phonemes") and not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            made = Path(temporary, folder.name)
            tokenizer_of_cuts(cuts, config.vocabulary, config.pieces).save_pretrained(made)
            with suppress(OSError):  # another process of the run was faster
                made.rename(folder)
    return config


def starting_model(config: TrainingConfig) -> LyricsModel:
    """The initial model of a run, on the CPU, with its adapters.

    Raises:
        ModelNotFoundError: the initial weights are neither cached nor can they be downloaded.
        FileNotFoundError: no such folder or file.
        ValueError: damaged weights, or an acoustic model that is not a CTC checkpoint.
    """
    torch.manual_seed(config.seed)
    separator, acoustic, vocabulary = config.separator, config.acoustic, _new_vocabulary(config)
    if config.builds_separator:
        separator = build_separator(separator)
    if config.builds_acoustic:
        acoustic = build_acoustic(acoustic, vocabulary or config.letters)
        if isinstance(acoustic.network, Wav2Vec2ForCTC):
            init_filterbank(cast(Any, acoustic.network).base_model.feature_extractor.conv_layers[0].conv)
    model = load_model(
        config.model or PUBLISHED,
        separator=separator or None,
        acoustic=acoustic or None,
        transcriber="none",  # it would not fit another encoder
        language=config.acoustic_language or None,
        vocabulary=vocabulary,
        device="cpu",
    )
    model.name = str(Path(config.output, "model"))
    model.acoustic_input = cast(AcousticInput, config.acoustic_input)
    if config.acoustic_input == "mixture":
        share_network(model.separator, model.acoustic.network)
    if config.lora.rank:
        add_adapters(model.acoustic, config.lora)
    return model


def _new_vocabulary(config: TrainingConfig) -> str | Tokenizer | None:
    """Characters or tokenizer of a new CTC head; None to keep the vocabulary of the checkpoint."""
    if config.vocabulary == "checkpoint":
        return None
    return config.letters if config.vocabulary == "letters" else load_tokenizer(_tokenizer_folder(config))


def _tokenizer_folder(config: TrainingConfig) -> Path:
    """The tokenizer of a run: in its output, so that both can be moved, unless it was made elsewhere."""
    names = {"pieces": f"pieces-{config.pieces}", "phonemes": "phonemes"}
    name = names.get(config.vocabulary)
    return Path(config.vocabulary) if name is None else Path(config.output, "tokenizer", name)


def starting_separator(config: TrainingConfig, model: LyricsModel) -> Separator | None:
    """A frozen copy of the initial separator; None if its weights are random or no stage trains it.

    Args:
        config: of the run.
        model: at its start.
    """
    if config.builds_separator or not any(stage.separator.learning_rate for stage in config.stages):
        return None
    return copy.deepcopy(model.separator).requires_grad_(False)


def prepare_networks(config: TrainingConfig, model: LyricsModel) -> None:
    """Configure the networks for training: masks, gradient checkpointing, compilation."""
    network = cast(Any, model.acoustic.network)
    masks = config.spec_augment or SpecAugmentOptions(time_probability=0.0)
    network.config.apply_spec_augment = config.spec_augment is not None
    network.config.mask_time_prob, network.config.mask_time_length = masks.time_probability, masks.time_frames
    network.config.mask_feature_prob, network.config.mask_feature_length = masks.feature_probability, masks.features
    is_maskless = isinstance(model.acoustic.log_mel, NemoFilterBank) or isinstance(network, WaveUNetForCTC)
    if config.spec_augment is not None and is_maskless:
        raise ValueError(f"spec_augment: {model.acoustic.name} has no masks of features; set it to null")
    # A network built without masks lacks the embedding of a masked frame.
    if hasattr(network.base_model, "feature_projection") and not hasattr(network.base_model, "masked_spec_embed"):
        nothing = torch.zeros(network.config.hidden_size)
        network.base_model.register_buffer("masked_spec_embed", nothing, persistent=False)
    if config.gradient_checkpointing:
        with warnings.catch_warnings():  # its other name is of later versions of transformers 5 only
            warnings.filterwarnings("ignore", "`gradient_checkpointing_enable` is deprecated", FutureWarning)
            network.gradient_checkpointing_enable({"use_reentrant": False})
    if config.compile:
        for each in (*model.separator.networks, network):
            each.compile()


def training_phones(config: TrainingConfig) -> tuple[str, ...]:
    """The phone inventory of a run; empty if no stage needs phones.

    Raises:
        FileNotFoundError: no cuts, or no lyrics of a language of the stream.
        ValueError: cuts without phones.
    """
    if not any(stage.phone_weight for stage in config.stages):
        return ()
    if config.stream is not None:
        return stream_phones(stream_folder(config), config.stream)
    return phone_names([cuts_path(cuts) for cuts in config.cuts.cuts])


def stream_folder(config: TrainingConfig) -> Path:
    """Folder of the songs that are made during training."""
    return Path(config.output, "stream")


def architecture(config: TrainingConfig) -> str:
    """The options that the weights of a checkpoint depend on, as a string."""
    parts = [config.model, config.separator or {}, config.acoustic or {}, config.letters, config.lora.rank]
    if config.acoustic_language or config.vocabulary != "checkpoint":
        parts += [config.acoustic_language, config.vocabulary]
    if config.vocabulary == "pieces":
        parts.append(config.pieces)
    return json.dumps(parts, sort_keys=True)


def trained_model(run: Path) -> LyricsModel:
    """The model of a run's best checkpoint by validation WER, on the CPU, in evaluation mode, its adapters merged.

    Its weights are their moving average, if the run has one.

    Args:
        run: a run's output, or the folder of one of its checkpoints.

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: a damaged checkpoint.
        ModelNotFoundError: the initial model, which defines the networks, cannot be found.
    """
    is_checkpoint = (run / "run.json").is_file()
    folder = run if is_checkpoint else best_checkpoint(run)
    if folder is None:
        raise FileNotFoundError(f"{run}: no checkpoint there; give the `output` of `lyrics-asr train`")
    output = os.path.normpath(run / ".." / "..") if is_checkpoint else run  # it may have been moved
    config = replace(load_config(TrainingConfig, folder / "config.yaml"), output=str(output))
    model = starting_model(config)
    checkpoint = load_checkpoint(folder)
    model.load_state_dict(checkpoint.model | checkpoint.average)
    if config.lora.rank:
        merge_adapters(model.acoustic)
    unshare_network(model.acoustic.network)
    return model.eval()
