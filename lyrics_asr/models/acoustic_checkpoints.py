"""Build, load and save acoustic models, as Hugging Face checkpoints.

Checkpoints of Whisper's encoder with a CTC head are read without transformers, which takes seconds to import; all
others by `transformers_ctc`.
"""

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from lyrics_asr.lyrics.languages import AUTO, NAMES, require_language
from lyrics_asr.models.acoustic import AcousticModel
from lyrics_asr.models.checkpoint_files import has_network, is_complete, read_json
from lyrics_asr.models.ctc_checkpoint import LetterTokenizer, Tokenizer
from lyrics_asr.models.ctc_heads import is_head, replace_head
from lyrics_asr.models.hub import ModelNotFoundError, hub_snapshot
from lyrics_asr.models.known_models import ACOUSTIC_REVISIONS
from lyrics_asr.models.languages import adapter_of
from lyrics_asr.models.whisper_ctc import MODEL_TYPE, WhisperCTC, load_whisper_ctc, save_whisper_ctc

_UNREADABLE = (
    OSError,
    RuntimeError,
    KeyError,
    TypeError,
    json.JSONDecodeError,
    SafetensorError,
    pickle.UnpicklingError,
)


def build_acoustic(config: Mapping[str, Any], vocabulary: str | Tokenizer, name: str = "custom") -> AcousticModel:
    """Build an acoustic model to train: a network with random weights, or an encoder of Whisper with a new CTC head.

    Args:
        config: arguments of `transformers.Wav2Vec2Config`, without the vocabulary; or `encoder`, the name or folder of
            a Whisper checkpoint, with sizes of the head, see `whisper_ctc.WhisperCTCSizes`; or `network: WaveUNet`
            with those of `wave_unet_ctc.WaveUNetCTCConfig`.
        vocabulary: characters of the vocabulary, see `LetterTokenizer`, or a tokenizer, see `tokenizers`.
        name: name of the model.

    Raises:
        ModelNotFoundError: the encoder is not on this computer and cannot be downloaded.
        ValueError: the encoder is not a checkpoint of Whisper, or damaged; or sizes that make no sense.
    """
    from lyrics_asr.models.transformers_ctc import random_wav2vec2, random_wave_unet, with_ctc_head

    tokenizer = _tokenizer(vocabulary)
    if "encoder" in config:
        encoder = _checkpoint_folder(config["encoder"], None, None)
        head = {key: value for key, value in config.items() if key != "encoder"}
        checkpoint = with_ctc_head(encoder, tokenizer, head)
    elif "network" in config:
        if config["network"] != "WaveUNet":
            raise ValueError(f"acoustic.network must be WaveUNet, not {config['network']!r}")
        checkpoint = random_wave_unet({key: value for key, value in config.items() if key != "network"}, tokenizer)
    else:
        checkpoint = random_wav2vec2(config, tokenizer)
    return AcousticModel(name, checkpoint.network, tokenizer, checkpoint.feature_extractor)


def load_acoustic(
    name: str, *, revision: str | None = None, language: str | None = None, vocabulary: str | Tokenizer | None = None
) -> AcousticModel:
    """Load an acoustic model on the CPU, in evaluation mode.

    Args:
        name: a folder written by `save_pretrained`, or a repository on the Hugging Face hub.
        revision: commit, tag or branch on the hub; when None, the pinned commit or the default branch.
        language: adapter of a multilingual checkpoint (MMS), by an ISO code such as "de" or "deu", or by the
            checkpoint's own, such as "cmn-script_simplified". Ignored by monolingual checkpoints.
        vocabulary: a new vocabulary, as in `build_acoustic`, to train the model for it. The CTC head is replaced; the
            weights of tokens that the old vocabulary has in either case are kept. The checkpoint may be
            self-supervised, without head and tokenizer.

    Raises:
        ModelNotFoundError: the weights are not on this computer and cannot be downloaded.
        FileNotFoundError: no such folder.
        ValueError: not a CTC checkpoint over raw audio, damaged, or without this language.
    """
    folder = _checkpoint_folder(name, revision, language, with_tokenizer=vocabulary is None)
    try:
        if read_json(folder / "config.json").get("model_type") == MODEL_TYPE:
            checkpoint = load_whisper_ctc(folder)
        else:
            from lyrics_asr.models.transformers_ctc import read_checkpoint

            checkpoint = read_checkpoint(name, folder)
        network, tokenizer, missing = checkpoint.network, checkpoint.tokenizer, checkpoint.missing
        if vocabulary is None and tokenizer is None:
            raise ValueError(
                f"{name}: has no vocabulary; a self-supervised checkpoint gets one by training with `vocabulary: text`"
            )
        if language is not None and tokenizer is not None:
            _set_language(name, folder, language, tokenizer, network)
    except _UNREADABLE as error:
        raise ValueError(f"{name}: not a CTC checkpoint that can be read: {error}") from error
    if vocabulary is not None:
        old = {} if tokenizer is None or any(map(is_head, missing)) else tokenizer.get_vocab()
        tokenizer = _tokenizer(vocabulary)
        replace_head(network, {token: column for token, column in old.items() if isinstance(column, int)}, tokenizer)
        missing = tuple(key for key in missing if not is_head(key))
    if missing:
        raise ValueError(f"{name}: weights {', '.join(missing[:3])} are missing; use a checkpoint fine-tuned with CTC")
    assert tokenizer is not None
    return AcousticModel(name, network, tokenizer, checkpoint.feature_extractor).eval()


def _tokenizer(vocabulary: str | Tokenizer) -> Tokenizer:
    return LetterTokenizer.of(vocabulary) if isinstance(vocabulary, str) else vocabulary


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
    if isinstance(model.network, WhisperCTC):
        save_whisper_ctc(model.network, state, folder)
    else:
        from lyrics_asr.models.transformers_ctc import quiet_transformers

        with quiet_transformers():
            model.network.save_pretrained(folder, state_dict=state)
    model.tokenizer.save_pretrained(folder)
    model.feature_extractor.save_pretrained(folder)


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


def _set_language(name: str, folder: Path, language: str, tokenizer: Any, network: Any) -> None:
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
