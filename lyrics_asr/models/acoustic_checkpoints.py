"""Build, load and save acoustic models, as Hugging Face checkpoints.

Safetensors are preferred. A checkpoint without them is read with `torch.load(weights_only=True)`, which does not run
code from the file. Code in a repository is never run (`trust_remote_code=False`).
"""

import json
import pickle
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
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
from lyrics_asr.lyrics.languages import require_language
from lyrics_asr.models.acoustic import AcousticModel
from lyrics_asr.models.hub import hub_snapshot
from lyrics_asr.models.whisper_ctc import with_ctc_head

# Pinned commits of published checkpoints on the Hugging Face hub; other repositories are used at their default branch.
ACOUSTIC_REVISIONS = {"facebook/wav2vec2-large-960h-lv60-self": "54074b1c16f4de6a5ad59affb4caa8f2ea03a119"}


def build_acoustic(config: Mapping[str, Any], letters: str, name: str = "custom") -> AcousticModel:
    """Build an acoustic model to train: a Wav2Vec2 with random weights, or an encoder of Whisper with a new CTC head.

    Args:
        config: arguments of `transformers.Wav2Vec2Config`, without the vocabulary; or `encoder`, the name or folder of
            a Whisper checkpoint, with sizes of the head, see `whisper_ctc.WhisperCTCConfig`.
        letters: characters of the vocabulary, in their case; the apostrophe and the word delimiter "|" are added.
        name: name of the model.

    Raises:
        ModelNotFoundError: the encoder is not on this computer and cannot be downloaded.
        ValueError: the encoder is not a checkpoint of Whisper, or damaged.
    """
    tokens = list(dict.fromkeys(["<pad>", "<unk>", "|", "'", *letters]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vocab.json")
        path.write_text(json.dumps({token: column for column, token in enumerate(tokens)}), encoding="utf-8")
        tokenizer = Wav2Vec2CTCTokenizer(str(path), bos_token=None, eos_token=None)
    if "encoder" in config:
        encoder = _checkpoint_folder(config["encoder"], None, None)
        head = {key: value for key, value in config.items() if key != "encoder"}
        try:
            with _no_progress_bars():
                network = with_ctc_head(encoder, len(tokens), head)
            extractor = WhisperFeatureExtractor.from_pretrained(encoder)
        except (OSError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
            raise ValueError(f"{encoder}: not a Whisper checkpoint that can be read: {error}") from error
        return AcousticModel(name, network, tokenizer, extractor)
    network_config = Wav2Vec2Config(
        **{**config, "vocab_size": len(tokens), "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
    )
    feature_extractor = Wav2Vec2FeatureExtractor(
        sampling_rate=ACOUSTIC_SAMPLE_RATE_HZ,
        do_normalize=True,
        return_attention_mask=network_config.feat_extract_norm == "layer",
    )
    return AcousticModel(name, Wav2Vec2ForCTC(network_config), tokenizer, feature_extractor)


def load_acoustic(name: str, *, revision: str | None = None, language: str | None = None) -> AcousticModel:
    """Load an acoustic model on the CPU, in evaluation mode.

    Args:
        name: a folder written by `save_pretrained`, or a repository on the Hugging Face hub.
        revision: commit, tag or branch on the hub; when None, the pinned commit or the default branch.
        language: adapter of a multilingual checkpoint (MMS), by the checkpoint's own code, e.g. "eng" or
            "cmn-script_simplified". Ignored by monolingual checkpoints.

    Raises:
        ModelNotFoundError: the weights are not on this computer and cannot be downloaded.
        FileNotFoundError: no such folder.
        ValueError: not a CTC checkpoint over raw audio, damaged, or without this language.
    """
    folder = _checkpoint_folder(name, revision, language)
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        feature_extractor = AutoFeatureExtractor.from_pretrained(folder, **options)
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        with _no_progress_bars():
            network, report = AutoModelForCTC.from_pretrained(
                folder,
                use_safetensors=any(folder.glob("model.safetensors*")),
                dtype=torch.float32,
                output_loading_info=True,
                **options,
            )
        if language is not None:
            _set_language(name, folder, language, tokenizer, network)
    except (OSError, RuntimeError, KeyError, TypeError, SafetensorError, pickle.UnpicklingError) as error:
        raise ValueError(f"{name}: not a CTC checkpoint that can be read: {error}") from error
    missing = []
    for key in sorted(report["missing_keys"]):
        if "masked_spec_embed" not in key:  # which is for training alone
            missing.append(key)
    if missing:
        raise ValueError(f"{name}: weights {', '.join(missing[:3])} are missing; use a checkpoint fine-tuned with CTC")
    return AcousticModel(name, network, tokenizer, feature_extractor).eval()


def is_complete(folder: Path) -> bool:
    """Whether a folder has all files that `load_acoustic` reads, apart from language adapters."""
    required = [folder / "config.json", folder / "preprocessor_config.json"]
    tokenizers = [folder / "vocab.json", folder / "tokenizer.json"]
    return (
        all(path.is_file() for path in required)
        and any(path.is_file() for path in tokenizers)
        and any(_has_weights(folder / name) for name in ("model.safetensors", "pytorch_model.bin"))
    )


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
    with _no_progress_bars():
        model.network.save_pretrained(folder, state_dict=state)
    model.tokenizer.save_pretrained(folder)
    model.feature_extractor.save_pretrained(folder)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Disable the progress bars of transformers, which it shows even without a terminal."""
    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def _checkpoint_folder(name: str, revision: str | None, language: str | None) -> Path:
    folder = Path(name)
    if folder.is_dir():
        return folder
    if folder.is_absolute() or name.startswith((".", "~")) or len(folder.parts) > 2 or folder.exists():
        raise FileNotFoundError(f"{name}: no such folder; check the path, or give a name on the Hugging Face hub")
    pinned = ACOUSTIC_REVISIONS.get(name)
    adapter = [] if language is None else [f"adapter.{language}.safetensors"]

    def complete(folder: Path) -> bool:
        needed = adapter if language in _languages(_read_json(folder / "vocab.json")) else []
        return is_complete(folder) and all((folder / each).is_file() for each in needed)

    downloads = (["*.json", "model*.safetensors", *adapter], ["pytorch_model*.bin"])
    revision = revision or pinned
    published = revision is not None and revision == pinned
    return hub_snapshot(name, revision, *downloads, complete=complete, published=published)


def _has_weights(path: Path) -> bool:
    """Whether a weights file exists, or all shards that its index names."""
    shards = _read_json(path.with_name(f"{path.name}.index.json")).get("weight_map")
    names = {str(name) for name in shards.values()} if isinstance(shards, dict) else set()
    return path.is_file() or (bool(names) and all((path.parent / name).is_file() for name in names))


def _read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if the file is missing or unreadable."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _languages(vocabulary: Mapping[str, Any]) -> list[str]:
    """The languages of a multilingual checkpoint (MMS), which has a vocabulary per language; else none."""
    return sorted(key for key, value in vocabulary.items() if isinstance(value, dict))


def _set_language(
    name: str, folder: Path, language: str, tokenizer: PreTrainedTokenizerBase, network: PreTrainedModel
) -> None:
    languages = _languages(getattr(tokenizer, "vocab", {}))
    if not languages:  # monolingual; the code still is the language of the lyrics
        require_language(language)
        return
    if language not in languages:
        raise ValueError(
            f"{name}: no language {language!r}; it has {', '.join(languages[:20])}{' ...' * (len(languages) > 20)}"
        )
    adapters = [*folder.glob("adapter.*.safetensors"), *folder.glob("adapter.*.bin")]
    if language == getattr(tokenizer, "target_lang", None) and not adapters:
        return  # a saved model, whose weights include the adapter
    tokenizer.set_target_lang(language)
    network.load_adapter(language, use_safetensors=True, local_files_only=True)
