"""Vocals in, CTC log-probabilities out: any Hugging Face CTC checkpoint over raw audio (Wav2Vec2 and its kin).

Conventions
- Waveforms are mono float32 at 16 kHz.
- The checkpoint's own tokenizer names the columns: its padding token is the CTC blank, its word delimiter parts words.
- The checkpoint's own preprocessor decides whether the input is normalised and whether padding is masked.
- Convolutions have no padding, so a song of n samples has exactly `grid.count(n)` frames, split into windows or not.

Checkpoints whose first layer normalises over time (`feat_extract_norm="group"`, e.g. wav2vec2-base) see the statistics
of the stretch they are given. Over windows their values differ a little from those of the unsplit run, everywhere.
With `feat_extract_norm="layer"` (e.g. wav2vec2-large-960h-lv60-self) a window differs at its borders alone, which go.
"""

import json
import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from torch import Tensor, nn
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
)
from transformers.utils import logging

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ
from lyrics_asr.models.hub import hub_snapshot
from lyrics_asr.models.segments import VoicedSong, Window, batches, split_windows, stitch, voiced_spans
from lyrics_asr.options import AcousticOptions
from lyrics_asr.types import Emissions, FrameGrid, Vocabulary

# Commits of the published checkpoints on the Hugging Face hub; other names follow the head of their repository.
ACOUSTIC_REVISIONS = {"facebook/wav2vec2-large-960h-lv60-self": "54074b1c16f4de6a5ad59affb4caa8f2ea03a119"}
_VARIANCE_FLOOR = 1e-7  # of the Hugging Face feature extractor
_MASKED_LOG_PROB = -1e4  # finite: infinities turn into NaN in the decoders' sums
_SILENT_LOG_PROB = -10.0  # of every letter in a silence: given lyrics that have to be sung there still can be
_BORDER_LOG_ODDS = 2.0  # of the word delimiter against the blank in the middle of a silence, which ends a word


@dataclass(frozen=True)
class _Piece:
    """The samples of a window of one of several songs; half open."""

    song: int
    window: int
    start: int
    end: int


class AcousticModel(nn.Module):
    """A CTC network with the tokenizer and the preprocessor it was trained with.

    Args:
        name: what `load_acoustic` would find it by.
        network: a Hugging Face `...ForCTC` network over raw audio.
    """

    _masked_columns: Tensor

    def __init__(
        self,
        name: str,
        network: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        feature_extractor: Wav2Vec2FeatureExtractor,
    ) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.tokenizer = tokenizer
        self.feature_extractor = feature_extractor
        self.vocabulary = _vocabulary(name, tokenizer, network.config.vocab_size)
        self.grid = _grid(name, network, feature_extractor)
        self._feature_encoder_name = next(
            key for key, module in network.named_modules() if hasattr(module, "_requires_grad")
        )
        special = set(tokenizer.all_special_ids) - {self.vocabulary.blank_id, self.vocabulary.word_delimiter_id}
        names = self.vocabulary.tokens
        masked = [column in special or not names[column] for column in range(len(names))]
        self.register_buffer("_masked_columns", torch.tensor(masked), persistent=False)

    def forward(
        self, waveform: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch frames vocab"]:
        """Log-probabilities of every column, differentiable; frames past `frame_counts(lengths)` mean nothing.

        Args:
            waveform: mono at 16 kHz, not normalised.
            lengths: valid samples of each row; whole rows when None.
        """
        return self._log_probs(self._normalized(waveform, lengths), lengths)

    def frame_counts(self, lengths: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Frames that rows of so many samples have."""
        frames = (lengths - self.grid.receptive_field_samples) // self.grid.stride_samples + 1
        return frames.clamp(min=0)

    @torch.inference_mode()
    def emissions(self, waveforms: Sequence[Float[Tensor, " _"]], options: AcousticOptions) -> list[Emissions]:
        """Log-probabilities of whole songs, in windows; symbols that no text holds (<s>, <unk>) are ruled out.

        Silences are left out (see `segments`): the blank is all but certain there, and a word ends amid each.
        The input is normalised over the song and not over each window, so that a quiet verse stays quiet. Windows of
        different songs share batches.

        Args:
            waveforms: separated vocals, mono at 16 kHz, on any device.
            options: windows, silences, batch size and precision.
        """
        device = self._masked_columns.device
        songs = [VoicedSong(each, voiced_spans(each, self.grid, options.silence), self.grid) for each in waveforms]
        normalizations = [self._normalization(song) for song in songs]
        windows = [split_windows(self.grid.count(len(song)), self.grid, options) for song in songs]
        pieces = [
            _Piece(song, index, *self._extent(len(songs[song]), window))
            for song, own in enumerate(windows)
            for index, window in enumerate(own)
        ]
        outputs = [[torch.empty(0)] * len(own) for own in windows]
        was_training = self.training
        self.eval()
        try:
            with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
                for batch in batches(pieces, lambda piece: piece.end - piece.start, options.batch_size or 1):
                    stretches = []
                    for piece in batch:
                        mean, scale = normalizations[piece.song]
                        samples = songs[piece.song].samples(piece.start, piece.end)
                        stretches.append((samples.to(device) - mean) * scale)
                    log_probs = self._log_probs(torch.stack(stretches), None)
                    log_probs = log_probs.masked_fill(self._masked_columns, _MASKED_LOG_PROB).log_softmax(-1).cpu()
                    for piece, output in zip(batch, log_probs, strict=True):
                        outputs[piece.song][piece.window] = output
        finally:
            self.train(was_training)
        return [
            self._placed(song, stitch(own, outputs[number]) if own else None, len(waveforms[number]))
            for number, (song, own) in enumerate(zip(songs, windows, strict=True))
        ]

    def _placed(self, song: VoicedSong, log_probs: Float[Tensor, "_ vocab"] | None, samples: int) -> Emissions:
        """The emissions of a whole song, from those of its voice."""
        vocabulary, count = self.vocabulary, self.grid.count(samples)
        silence = torch.full((len(vocabulary.tokens),), _SILENT_LOG_PROB)
        silence[self._masked_columns.cpu()] = _MASKED_LOG_PROB
        silence[vocabulary.blank_id] = 0.0
        whole = silence.log_softmax(-1).repeat(count, 1)
        if log_probs is not None:
            numbers = song.frame_numbers()
            whole[numbers] = log_probs
            if vocabulary.word_delimiter_id is not None:
                border = silence.clone()
                border[vocabulary.word_delimiter_id] = _BORDER_LOG_ODDS
                jumps = numbers.diff().gt(1).nonzero()[:, 0]
                whole[(numbers[jumps] + numbers[jumps + 1]) // 2] = border.log_softmax(-1)
        return Emissions(whole, vocabulary, self.grid, samples / self.grid.sample_rate_hz)

    def _normalization(self, song: VoicedSong) -> tuple[float, float]:
        """What is subtracted from a song, and what the rest is multiplied by, as in `_normalized`."""
        if not self.feature_extractor.do_normalize or not len(song):
            return 0.0, 1.0
        mean, variance = song.statistics()
        return mean, (variance + _VARIANCE_FLOOR) ** -0.5

    def _normalized(
        self, waveform: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch samples"]:
        if lengths is None:
            lengths = torch.full((waveform.shape[0],), waveform.shape[1], device=waveform.device)
        valid = torch.arange(waveform.shape[1], device=waveform.device) < lengths[:, None].to(waveform.device)
        if not self.feature_extractor.do_normalize:
            return waveform * valid
        count = valid.sum(1, keepdim=True).clamp(min=1)
        mean = (waveform * valid).sum(1, keepdim=True) / count
        variance = ((waveform - mean).square() * valid).sum(1, keepdim=True) / count
        return (waveform - mean) * (variance + _VARIANCE_FLOOR).rsqrt() * valid

    def _log_probs(
        self, waveform: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch frames vocab"]:
        mask = None
        if lengths is not None and self.feature_extractor.return_attention_mask:
            mask = (
                torch.arange(waveform.shape[1], device=waveform.device) < lengths[:, None].to(waveform.device)
            ).long()
        # For gradient checkpointing, transformers makes the input require gradients; the output of a separator already
        # does, and being no leaf of the graph it must not be touched.
        encoder: Any = self.network.get_submodule(self._feature_encoder_name)
        trained = any(parameter.requires_grad for parameter in encoder.parameters())
        encoder._requires_grad = trained and not waveform.requires_grad
        logits: Tensor = self.network(waveform, attention_mask=mask).logits
        return logits.float().log_softmax(-1)

    def _extent(self, samples: int, window: Window) -> tuple[int, int]:
        """The first sample of a window of a song with so many samples, and the one after its last."""
        if window.end_frame - window.start_frame == self.grid.count(samples):
            return 0, samples
        start = window.start_frame * self.grid.stride_samples
        return start, (window.end_frame - 1) * self.grid.stride_samples + self.grid.receptive_field_samples


def build_acoustic(config: Mapping[str, Any], letters: str, name: str = "custom") -> AcousticModel:
    """A new Wav2Vec2 with random weights, to train from nothing.

    Args:
        config: arguments of `transformers.Wav2Vec2Config`; the vocabulary is set here.
        letters: characters to write with, in their case; the apostrophe and the word delimiter "|" are added.
        name: what the model is to be called.
    """
    tokens = list(dict.fromkeys(["<pad>", "<unk>", "|", "'", *letters]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vocab.json")
        path.write_text(json.dumps({token: column for column, token in enumerate(tokens)}), encoding="utf-8")
        tokenizer = Wav2Vec2CTCTokenizer(str(path), bos_token=None, eos_token=None)
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
    """The acoustic model that is called `name`, on the CPU and in evaluation mode.

    Safetensors are preferred; a checkpoint that has none is read with `torch.load(weights_only=True)`, which runs no
    code of the file.

    Args:
        name: a folder written by `save_pretrained`, or a repository on the Hugging Face hub.
        revision: commit, tag or branch on the hub; for a published default the pinned commit.
        language: which adapter of a multilingual checkpoint (MMS), by its own code, e.g. "eng" or
            "cmn-script_simplified". A checkpoint of one language takes no notice of it.

    Raises:
        ModelNotFoundError: the weights are not here and cannot be downloaded.
        FileNotFoundError: no such folder.
        ValueError: not a CTC checkpoint over raw audio, damaged, or it lacks the language.
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
    missing = sorted(key for key in report["missing_keys"] if "masked_spec_embed" not in key)
    if missing:
        raise ValueError(f"{name}: weights {', '.join(missing[:3])} are missing; take a checkpoint fine-tuned with CTC")
    return AcousticModel(name, network, tokenizer, feature_extractor).eval()


def is_complete(folder: Path) -> bool:
    """Whether a checkpoint's folder has all that `load_acoustic` reads, but for language adapters."""
    required = [folder / "config.json", folder / "preprocessor_config.json"]
    tokenizers = [folder / "vocab.json", folder / "tokenizer.json"]
    return (
        all(path.is_file() for path in required)
        and any(path.is_file() for path in tokenizers)
        and any(_has_weights(folder / name) for name in ("model.safetensors", "pytorch_model.bin"))
    )


def save_acoustic(model: AcousticModel, folder: Path, *, half: bool = False) -> None:
    """Write network, tokenizer and feature extractor as one `save_pretrained` folder, in safetensors.

    Args:
        model: network, tokenizer and feature extractor.
        folder: made if need be.
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
    """Without the bars that transformers draws for a matter of seconds, even where there is no terminal."""
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
    """Whether there is a weights file, or all the shards that its index names in its place."""
    shards = _read_json(path.with_name(f"{path.name}.index.json")).get("weight_map")
    names = {str(name) for name in shards.values()} if isinstance(shards, dict) else set()
    return path.is_file() or (bool(names) and all((path.parent / name).is_file() for name in names))


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a file; an empty one where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _languages(vocabulary: Mapping[str, Any]) -> list[str]:
    """The languages of a multilingual checkpoint (MMS), whose vocabulary holds one for each; none for any other."""
    return sorted(key for key, value in vocabulary.items() if isinstance(value, dict))


def _set_language(
    name: str, folder: Path, language: str, tokenizer: PreTrainedTokenizerBase, network: PreTrainedModel
) -> None:
    languages = _languages(getattr(tokenizer, "vocab", {}))
    if not languages:  # the code still says in which language the lyrics are
        return
    if language not in languages:
        raise ValueError(
            f"{name}: no language {language!r}; it has {', '.join(languages[:20])}{' ...' * (len(languages) > 20)}"
        )
    adapters = [*folder.glob("adapter.*.safetensors"), *folder.glob("adapter.*.bin")]
    if language == getattr(tokenizer, "target_lang", None) and not adapters:
        return  # a saved model: its adapter is among its weights
    tokenizer.set_target_lang(language)
    network.load_adapter(language, use_safetensors=True, local_files_only=True)


def _vocabulary(name: str, tokenizer: PreTrainedTokenizerBase, columns: int) -> Vocabulary:
    """The tokens by column; a column that the tokenizer does not know is called ""."""
    by_column = {column: token for token, column in tokenizer.get_vocab().items()}
    if not all(isinstance(column, int) for column in by_column):
        raise ValueError(f"{name}: a multilingual checkpoint; say which language")
    blank = tokenizer.pad_token_id
    if blank is None or not 0 <= blank < columns:
        raise ValueError(
            f"{name}: the tokenizer has no padding token among its {columns} columns to serve as CTC blank"
        )
    # transformers 5.23 forgets a delimiter other than "|" in the attribute when it loads, and keeps it in this map.
    delimiter = str(tokenizer.special_tokens_map.get("word_delimiter_token", ""))
    delimiter_id = next((i for i, token in by_column.items() if token == delimiter and i < columns), None)
    return Vocabulary(tuple(by_column.get(column, "") for column in range(columns)), blank, delimiter_id)


def _grid(name: str, network: PreTrainedModel, feature_extractor: Wav2Vec2FeatureExtractor) -> FrameGrid:
    config = network.config
    if not hasattr(config, "conv_kernel") or getattr(config, "add_adapter", False) or hasattr(config, "squeeze_factor"):
        raise ValueError(f"{name}: {config.model_type} does not give one frame for each stride of its convolutions")
    if feature_extractor.sampling_rate != ACOUSTIC_SAMPLE_RATE_HZ:
        raise ValueError(f"{name}: takes {feature_extractor.sampling_rate} Hz, {ACOUSTIC_SAMPLE_RATE_HZ} Hz is needed")
    stride, receptive_field = 1, 1
    for kernel, step in zip(config.conv_kernel, config.conv_stride, strict=True):
        receptive_field += (cast(int, kernel) - 1) * stride
        stride *= step
    return FrameGrid(stride, receptive_field, ACOUSTIC_SAMPLE_RATE_HZ)
