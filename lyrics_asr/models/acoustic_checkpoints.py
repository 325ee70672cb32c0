"""Build, load and save acoustic models, as Hugging Face checkpoints.

Safetensors are preferred. A checkpoint without them is read with `torch.load(weights_only=True)`, which does not run
code from the file. Code in a repository is never run (`trust_remote_code=False`).
"""

import json
import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
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
    PreTrainedTokenizerBase,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WhisperFeatureExtractor,
)
from transformers.utils import logging

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ
from lyrics_asr.lyrics.languages import AUTO, NAMES, require_language
from lyrics_asr.models.acoustic import AcousticModel
from lyrics_asr.models.checkpoint_files import has_network, has_tokenizer, is_complete, read_json
from lyrics_asr.models.ctc_heads import is_head, replace_head
from lyrics_asr.models.hub import ModelNotFoundError, hub_snapshot
from lyrics_asr.models.int8 import load_int8
from lyrics_asr.models.known_models import ACOUSTIC_REVISIONS
from lyrics_asr.models.languages import adapter_of
from lyrics_asr.models.wave_unet_ctc import build_wave_unet_ctc
from lyrics_asr.models.whisper_ctc import with_ctc_head

_WORD_PIECE_START = "▁"  # of SentencePiece


def build_acoustic(config: Mapping[str, Any], letters: str, name: str = "custom") -> AcousticModel:
    """Build an acoustic model to train: a network with random weights, or an encoder of Whisper with a new CTC head.

    Args:
        config: arguments of `transformers.Wav2Vec2Config`, without the vocabulary; or `encoder`, the name or folder of
            a Whisper checkpoint, with sizes of the head, see `whisper_ctc.WhisperCTCConfig`; or `network: WaveUNet`
            with those of `wave_unet_ctc.WaveUNetCTCConfig`.
        letters: characters of the vocabulary, in their case; the apostrophe and the word delimiter "|" are added.
        name: name of the model.

    Raises:
        ModelNotFoundError: the encoder is not on this computer and cannot be downloaded.
        ValueError: the encoder is not a checkpoint of Whisper, or damaged; or sizes that make no sense.
    """
    tokenizer = _letter_tokenizer(letters)
    columns = len(tokenizer.get_vocab())
    if "encoder" in config:
        encoder = _checkpoint_folder(config["encoder"], None, None)
        head = {key: value for key, value in config.items() if key != "encoder"}
        try:
            with _quiet_transformers():
                network = with_ctc_head(encoder, columns, head)
            extractor = WhisperFeatureExtractor.from_pretrained(encoder)
        except (OSError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
            raise ValueError(f"{encoder}: not a Whisper checkpoint that can be read: {error}") from error
        return AcousticModel(name, network, tokenizer, extractor)
    if "network" in config:
        if config["network"] != "WaveUNet":
            raise ValueError(f"acoustic.network must be WaveUNet, not {config['network']!r}")
        sizes = {key: value for key, value in config.items() if key != "network"}
        wave_unet = build_wave_unet_ctc(sizes, columns)
        plain = Wav2Vec2FeatureExtractor(
            sampling_rate=ACOUSTIC_SAMPLE_RATE_HZ, do_normalize=False, return_attention_mask=False
        )
        return AcousticModel(name, wave_unet, tokenizer, plain)
    network_config = Wav2Vec2Config(
        **{**config, "vocab_size": columns, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
    )
    feature_extractor = Wav2Vec2FeatureExtractor(
        sampling_rate=ACOUSTIC_SAMPLE_RATE_HZ,
        do_normalize=True,
        return_attention_mask=network_config.feat_extract_norm == "layer",
    )
    return AcousticModel(name, Wav2Vec2ForCTC(network_config), tokenizer, feature_extractor)


def _letter_tokenizer(letters: str) -> Wav2Vec2CTCTokenizer:
    tokens = list(dict.fromkeys(["<pad>", "<unk>", "|", "'", *letters]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vocab.json")
        path.write_text(json.dumps({token: column for column, token in enumerate(tokens)}), encoding="utf-8")
        return Wav2Vec2CTCTokenizer(str(path), bos_token=None, eos_token=None)


def load_acoustic(
    name: str, *, revision: str | None = None, language: str | None = None, letters: str | None = None
) -> AcousticModel:
    """Load an acoustic model on the CPU, in evaluation mode.

    Args:
        name: a folder written by `save_pretrained`, or a repository on the Hugging Face hub.
        revision: commit, tag or branch on the hub; when None, the pinned commit or the default branch.
        language: adapter of a multilingual checkpoint (MMS), by an ISO code such as "de" or "deu", or by the
            checkpoint's own, such as "cmn-script_simplified". Ignored by monolingual checkpoints.
        letters: characters of a new vocabulary, as in `build_acoustic`, to train the model for it. The CTC head is
            replaced; the weights of characters that the old vocabulary has in either case are kept. The checkpoint may
            be self-supervised, without head and tokenizer.

    Raises:
        ModelNotFoundError: the weights are not on this computer and cannot be downloaded.
        FileNotFoundError: no such folder.
        ValueError: not a CTC checkpoint over raw audio, damaged, or without this language.
    """
    folder = _checkpoint_folder(name, revision, language, with_tokenizer=letters is None)
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        _require_ctc(name, folder)
        feature_extractor = AutoFeatureExtractor.from_pretrained(folder, **options)
        tokenizer: PreTrainedTokenizerBase | None = None
        if letters is None and not has_tokenizer(folder):
            raise ValueError(
                f"{name}: has no vocabulary; a self-supervised checkpoint gets one by training with `vocabulary: text`"
            )
        if has_tokenizer(folder):
            tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        if letters is None and tokenizer is not None:
            _require_letters(name, tokenizer)
        with _quiet_transformers():
            network, missing = _read_network(folder, options)
        if language is not None and tokenizer is not None:
            _set_language(name, folder, language, tokenizer, network)
    except (OSError, RuntimeError, KeyError, TypeError, SafetensorError, pickle.UnpicklingError) as error:
        raise ValueError(f"{name}: not a CTC checkpoint that can be read: {error}") from error
    if letters is not None:
        old = {} if tokenizer is None or any(map(is_head, missing)) else tokenizer.get_vocab()
        tokenizer = _letter_tokenizer(letters)
        replace_head(network, {token: column for token, column in old.items() if isinstance(column, int)}, tokenizer)
        missing = [key for key in missing if not is_head(key)]
    if missing:
        raise ValueError(f"{name}: weights {', '.join(missing[:3])} are missing; use a checkpoint fine-tuned with CTC")
    assert tokenizer is not None
    return AcousticModel(name, network, tokenizer, feature_extractor).eval()


def _require_letters(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    pieces = [token for token in tokenizer.get_vocab() if token.startswith(_WORD_PIECE_START) and len(token) > 2]
    if pieces:
        raise ValueError(
            f"{name}: its vocabulary is word pieces such as {pieces[0]!r}, and lyrics are spelled by letters; give it "
            "letters by training with `vocabulary: text`"
        )


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


def save_acoustic(model: AcousticModel, folder: Path, *, half: bool = False) -> None:
    """Write network, tokenizer and feature extractor to one `save_pretrained` folder, in safetensors.

    Args:
        model: any acoustic model.
        folder: created if missing.
        half: store the weights in float16.
    """
    state = model.network.state_dict()
    if half:
        state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    with _quiet_transformers():
        model.network.save_pretrained(folder, state_dict=state)
    model.tokenizer.save_pretrained(folder)
    model.feature_extractor.save_pretrained(folder)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
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


def _checkpoint_folder(name: str, revision: str | None, language: str | None, *, with_tokenizer: bool = True) -> Path:
    folder = Path(name)
    if folder.is_dir():
        return folder
    if folder.is_absolute() or name.startswith((".", "~")) or len(folder.parts) > 2 or folder.exists():
        raise FileNotFoundError(f"{name}: no such folder; check the path, or give a name on the Hugging Face hub")
    pinned = ACOUSTIC_REVISIONS.get(name)
    revision = revision or pinned
    published = revision is not None and revision == pinned
    downloads = (["*.json", "model*.safetensors"], ["pytorch_model*.bin"])
    complete = is_complete if with_tokenizer else has_network
    folder = hub_snapshot(name, revision, *downloads, complete=complete, published=published)
    adapters = _languages(read_json(folder / "vocab.json"))
    if language is None or not adapters:
        return folder
    code = _adapter(name, language, adapters)
    file_name = f"adapter.{code}.safetensors"
    try:
        return hub_snapshot(name, revision, [file_name], complete=lambda folder: (folder / file_name).is_file())
    except ModelNotFoundError:
        if code != read_json(folder / "tokenizer_config.json").get("target_lang"):
            raise
        return folder  # the weights include this adapter


def _adapter(name: str, language: str, adapters: Sequence[str]) -> str:
    try:
        return adapter_of(language, adapters)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _languages(vocabulary: Mapping[str, Any]) -> list[str]:
    """The languages of a multilingual checkpoint (MMS), which has a vocabulary per language; else none."""
    return sorted(key for key, value in vocabulary.items() if isinstance(value, dict))


def _set_language(
    name: str, folder: Path, language: str, tokenizer: PreTrainedTokenizerBase, network: PreTrainedModel
) -> None:
    languages = _languages(getattr(tokenizer, "vocab", {}))
    if not languages:  # monolingual; the code still is the language of the lyrics
        if language not in (AUTO, *NAMES):
            require_language(language)
        return
    code, included = _adapter(name, language, languages), getattr(tokenizer, "target_lang", None)
    if not any(folder.glob("adapter.*")) and code != included:  # a saved model, whose weights include the adapter
        raise ValueError(f"{name}: listens in {included!r} only, not in {language!r}; give that language")
    if code == included and not any(folder.glob(f"adapter.{code}.*")):
        return
    tokenizer.set_target_lang(code)
    network.load_adapter(code, use_safetensors=True, local_files_only=True)
