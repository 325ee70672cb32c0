"""The acoustic model: vocals in, CTC log-probabilities out.

Any Hugging Face CTC checkpoint over raw audio, Wav2Vec2-BERT, Parakeet, and Whisper's encoder or a Wave-U-Net with a
CTC head (`whisper_ctc`, `wave_unet_ctc`).

Conventions
- Waveforms are mono float32 at 16 kHz.
- The checkpoint's tokenizer names the columns. Its padding token is the CTC blank.
- The checkpoint's feature extractor decides whether the input is normalized, whether padding is masked, and whether
  the network takes a log-mel spectrogram, which is computed in the graph (`front_ends`).
- A song of n samples has exactly `grid.count(n)` frames, with or without windows.

With `feat_extract_norm="layer"` (e.g. wav2vec2-large-960h-lv60-self), running over windows only changes values near
window boundaries, and those frames are dropped. With "group" (e.g. wav2vec2-base), the first layer normalizes over the
time axis of its input, so windows change all values slightly.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from operator import attrgetter
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lyrics_asr.emissions import Emissions
from lyrics_asr.models.ctc_checkpoint import Tokenizer
from lyrics_asr.models.ctc_heads import head_name
from lyrics_asr.models.front_ends import FeatureExtractor, front_end_of, grid_of
from lyrics_asr.models.log_mel import LogMelSpectrogram
from lyrics_asr.models.precision import computing_in
from lyrics_asr.models.segments import VocalRegions, Window, equal_length_batches, split_windows, stitch, vocal_spans
from lyrics_asr.options import AcousticOptions
from lyrics_asr.types import WORD_START, Vocabulary

CORRECTION_KEY = "onset_correction_seconds"
"""Key of the network's configuration with the correction of the time axis, see `FrameGrid`; optional."""

_VARIANCE_FLOOR = 1e-7  # as in the Hugging Face feature extractor
_WINDOW_SECONDS, _CONTEXT_SECONDS = 20.0, 1.0
_LOG_MEL_WINDOW_SECONDS, _LOG_MEL_CONTEXT_SECONDS = 30.0, 2.5
_MASKED_LOG_PROB = -1e4  # finite, because infinities become NaN in the decoders' sums
_SILENCE_LOG_PROB = -10.0  # of each letter in a silence: low, but forced alignment can still place lyrics there
_DELIMITER_LOG_ODDS = 2.0  # of the word delimiter against the blank, at the frame in mid-silence that ends a word


@dataclass(frozen=True)
class _WindowSamples:
    """The samples of one window of one of several songs: the first, and how many."""

    song: int
    window: int
    start: int
    samples: int


class AcousticModel(nn.Module):
    """A CTC network with its tokenizer and feature extractor.

    Args:
        name: the name that `load_acoustic` takes.
        network: a Hugging Face `...ForCTC` network, or a `whisper_ctc.WhisperCTC`.
        tokenizer: the one the network was trained with; its columns are the network's outputs.
        feature_extractor: the one the network was trained with; 16 kHz.

    Raises:
        ValueError: the network does not have one frame per stride of its convolutions, or the sample rate, padding
            token or languages do not fit.
    """

    _masked_columns: Tensor

    def __init__(
        self,
        name: str,
        network: nn.Module,
        tokenizer: Tokenizer,
        feature_extractor: FeatureExtractor,
    ) -> None:
        super().__init__()
        config: Any = network.config
        self.name = name
        self.network: Any = network
        self.tokenizer = tokenizer
        self.feature_extractor = feature_extractor
        self.vocabulary = _vocabulary(name, tokenizer, config.vocab_size)
        self.log_mel = front_end_of(network, feature_extractor)
        correction_seconds = float(getattr(config, CORRECTION_KEY, 0.0))
        grid = grid_of(name, network, feature_extractor, self.log_mel)
        self.grid = replace(grid, correction_seconds=correction_seconds)
        self.gains_by_bfloat16 = not hasattr(network, "wave_unet")  # on a CPU, see `precision`; not measured for those
        self._normalizes = self.log_mel is None and bool(getattr(feature_extractor, "do_normalize", False))
        self._feature_encoder_name = ""
        for module_name, module in network.named_modules():
            if hasattr(module, "_requires_grad"):
                self._feature_encoder_name = module_name
                break
        special = set(tokenizer.all_special_ids) - {self.vocabulary.blank_id, self.vocabulary.word_delimiter_id}
        masked = torch.zeros(len(self.vocabulary.tokens), dtype=torch.bool)
        for column, token in enumerate(self.vocabulary.tokens):
            masked[column] = column in special or not token
        self.register_buffer("_masked_columns", masked, persistent=False)

    def forward(
        self, waveform: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch frames vocab"]:
        """Log-probabilities of a batch, differentiable; frames past `frame_counts(lengths)` are undefined.

        Args:
            waveform: mono at 16 kHz, not normalized.
            lengths: valid samples of each row; whole rows when None.
        """
        return self._log_probs(self._normalized(waveform, lengths), lengths)

    def masked(self, log_probs: Float[Tensor, "batch frames vocab"]) -> Float[Tensor, "batch frames vocab"]:
        """Log-probabilities without those of special symbols such as <s> and <unk>."""
        return log_probs.masked_fill(self._masked_columns, _MASKED_LOG_PROB).log_softmax(-1)

    @property
    def layers(self) -> nn.ModuleList:
        """The transformer layers of the network, from the input on; the levels of the encoder of a Wave-U-Net."""
        encoder = self.network.base_model.encoder
        return cast(nn.ModuleList, getattr(encoder, "layers", encoder))

    @property
    def head(self) -> nn.Module:
        """The CTC head of the network."""
        head: nn.Module = self.network.get_submodule(head_name(self.network))
        return head

    @property
    def feature_encoder(self) -> tuple[nn.Module, ...]:
        """The convolutions at the input of the network; Wav2Vec2-BERT has none."""
        base = self.network.base_model
        parts = [(base, "feature_extractor"), *((base.encoder, name) for name in ("subsampling", "conv1", "conv2"))]
        return tuple(getattr(owner, name) for owner, name in parts if hasattr(owner, name))

    @property
    def feature_projection(self) -> tuple[nn.Module, ...]:
        """What stands between the convolutions and the transformer layers."""
        base = self.network.base_model
        parts = ((base, "feature_projection"), (base.encoder, "pos_conv_embed"))
        return tuple(getattr(owner, name) for owner, name in parts if hasattr(owner, name))

    def with_windows(self, options: AcousticOptions) -> AcousticOptions:
        """The same options, with the windows that suit the network where they give none.

        Raises:
            ValueError: a window that is not longer than twice its context, or longer than the network takes.
        """
        window_seconds, context_seconds = _WINDOW_SECONDS, _CONTEXT_SECONDS
        if self.log_mel is not None:
            window_seconds, context_seconds = _LOG_MEL_WINDOW_SECONDS, _LOG_MEL_CONTEXT_SECONDS
        if hasattr(self.network, "wave_unet"):
            context_seconds = self.network.wave_unet.config.context_samples / self.grid.sample_rate_hz
            window_seconds = max(window_seconds, 4 * context_seconds)
        longest_seconds = math.inf
        if isinstance(self.log_mel, LogMelSpectrogram):
            window_seconds = longest_seconds = self.log_mel.samples / self.grid.sample_rate_hz
        window = window_seconds if options.window_seconds is None else options.window_seconds
        context = context_seconds if options.context_seconds is None else options.context_seconds
        if window > longest_seconds:
            raise ValueError(
                f"acoustic.window_seconds {window:g} is more than {self.name} takes; use at most {longest_seconds:g}"
            )
        return replace(options, window_seconds=window, context_seconds=context)

    def frame_counts(self, lengths: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Number of frames of rows of `lengths` samples."""
        frames = (lengths - self.grid.receptive_field_samples) // self.grid.stride_samples + 1
        return frames.clamp(min=0)

    @torch.inference_mode()
    def emissions(self, waveforms: Sequence[Float[Tensor, " _"]], options: AcousticOptions) -> list[Emissions]:
        """Log-probabilities of whole songs, computed in overlapping windows.

        Special symbols such as <s> and <unk> are masked. Silences are skipped (see `segments`): their frames have
        a blank probability close to 1, with a word boundary in the middle. The input is normalized over the whole song,
        not per window, so that a quiet verse stays quiet. Windows of different songs share batches.

        Args:
            waveforms: separated vocals, mono at 16 kHz, on any device.
            options: windows, silences, batch size and precision.
        """
        device = self._masked_columns.device
        songs = [VocalRegions(each, vocal_spans(each, self.grid, options.silence), self.grid) for each in waveforms]
        normalizations = [self._normalization(song) for song in songs]
        options = self.with_windows(options)
        seconds = cast(float, options.window_seconds), cast(float, options.context_seconds)
        windows = [split_windows(self.grid.count(len(song)), self.grid, *seconds) for song in songs]
        inputs = [
            _WindowSamples(song, index, *self._window_samples(len(songs[song]), window))
            for song, own in enumerate(windows)
            for index, window in enumerate(own)
        ]
        outputs = [[torch.empty(0)] * len(own) for own in windows]
        was_training = self.training
        self.eval()
        try:
            with computing_in(options.precision, device):
                for batch in equal_length_batches(inputs, attrgetter("samples"), options.batch_size or 1):
                    normalized = []
                    for each in batch:
                        mean, scale = normalizations[each.song]
                        samples = songs[each.song].samples(each.start, each.start + each.samples)
                        normalized.append((samples.to(device) - mean) * scale)
                    log_probs = self._log_probs(torch.stack(normalized), None)
                    log_probs = self.masked(log_probs).cpu()
                    for each, output in zip(batch, log_probs, strict=True):
                        outputs[each.song][each.window] = output
        finally:
            self.train(was_training)
        return [
            self._insert_silences(song, stitch(own, outputs[number]) if own else None, len(waveforms[number]))
            for number, (song, own) in enumerate(zip(songs, windows, strict=True))
        ]

    def _insert_silences(
        self, song: VocalRegions, log_probs: Float[Tensor, "_ vocab"] | None, samples: int
    ) -> Emissions:
        """The emissions of a whole song from those of its vocal regions; None if it has none."""
        vocabulary, count = self.vocabulary, self.grid.count(samples)
        silence = torch.full((len(vocabulary.tokens),), _SILENCE_LOG_PROB)
        silence[self._masked_columns.cpu()] = _MASKED_LOG_PROB
        silence[vocabulary.blank_id] = 0.0
        whole = silence.log_softmax(-1).repeat(count, 1)
        if log_probs is not None:
            numbers = song.frame_numbers()
            whole[numbers] = log_probs
            if vocabulary.word_delimiter_id is not None:
                delimiter = silence.clone()
                delimiter[vocabulary.word_delimiter_id] = _DELIMITER_LOG_ODDS
                gaps = numbers.diff().gt(1).nonzero()[:, 0]
                whole[(numbers[gaps] + numbers[gaps + 1]) // 2] = delimiter.log_softmax(-1)
        return Emissions(whole, vocabulary, self.grid, samples / self.grid.sample_rate_hz)

    def _normalization(self, song: VocalRegions) -> tuple[float, float]:
        """Mean and inverse standard deviation of a song, to normalize its windows as in `_normalized`."""
        if not self._normalizes or not len(song):
            return 0.0, 1.0
        mean, variance = song.statistics()
        return mean, (variance + _VARIANCE_FLOOR) ** -0.5

    def _normalized(
        self, waveform: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch samples"]:
        if lengths is None:
            lengths = torch.full((waveform.shape[0],), waveform.shape[1], device=waveform.device)
        valid = torch.arange(waveform.shape[1], device=waveform.device) < lengths[:, None].to(waveform.device)
        if not self._normalizes:
            return waveform * valid
        count = valid.sum(1, keepdim=True).clamp(min=1)
        mean = (waveform * valid).sum(1, keepdim=True) / count
        variance = ((waveform - mean).square() * valid).sum(1, keepdim=True) / count
        return (waveform - mean) * (variance + _VARIANCE_FLOOR).rsqrt() * valid

    def _log_probs(
        self, waveform: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch frames vocab"]:
        if isinstance(self.log_mel, LogMelSpectrogram):
            logits: Tensor = self.network(self.log_mel(waveform))
            return logits[:, : self.grid.count(waveform.shape[1])].float().log_softmax(-1)
        if self.log_mel is not None:
            features = self.log_mel(waveform, lengths)
            present = None if lengths is None else self.log_mel.mask(lengths, features)
            logits = self.network(features, attention_mask=present).logits
            return logits.float().log_softmax(-1)
        mask = None
        if lengths is not None and self.feature_extractor.return_attention_mask:
            mask = (
                torch.arange(waveform.shape[1], device=waveform.device) < lengths[:, None].to(waveform.device)
            ).long()
        # For gradient checkpointing, transformers sets requires_grad on the input. The output of a separator is not a
        # leaf tensor, so this would fail; it requires gradients anyway.
        encoder: Any = self.network.get_submodule(self._feature_encoder_name)
        trained = any(map(attrgetter("requires_grad"), encoder.parameters()))
        encoder._requires_grad = trained and not waveform.requires_grad
        logits = self.network(waveform, attention_mask=mask).logits
        return logits.float().log_softmax(-1)

    def _window_samples(self, samples: int, window: Window) -> tuple[int, int]:
        """The first sample of a window and how many it has, in a song of `samples` samples."""
        if window.end_frame - window.start_frame == self.grid.count(samples):
            return 0, samples
        strides = window.end_frame - 1 - window.start_frame
        start, frame_samples = window.start_frame * self.grid.stride_samples, self.grid.receptive_field_samples
        if self.log_mel is not None and not isinstance(self.log_mel, LogMelSpectrogram):  # columns of 10 ms in a frame
            frame_samples = max(frame_samples, self.grid.stride_samples)
        return start, min(strides * self.grid.stride_samples + frame_samples, samples - start)


def _vocabulary(name: str, tokenizer: Tokenizer, columns: int) -> Vocabulary:
    """The vocabulary of a tokenizer; columns that it does not know are named ""."""
    tokens = tokenizer.get_vocab()
    by_column = dict(zip(tokens.values(), tokens, strict=True))
    if not set(map(type, by_column)) <= {int}:
        raise ValueError(f"{name}: a multilingual checkpoint; choose a language")
    blank = tokenizer.pad_token_id
    if blank is None or not 0 <= blank < columns:
        raise ValueError(
            f"{name}: the tokenizer has no padding token among its {columns} columns to serve as CTC blank"
        )
    # transformers 5.23 loses a delimiter other than "|" in the tokenizer's attribute on loading, but not in this map.
    delimiter = str(tokenizer.special_tokens_map.get("word_delimiter_token", ""))
    delimiter_id = tokens.get(delimiter)
    names = tuple(map(by_column.get, range(columns), repeat("")))
    return Vocabulary(
        names,
        blank,
        delimiter_id if delimiter_id is not None and delimiter_id < columns else None,
        _piece_tokenizer(name, tokenizer, names),
        getattr(tokenizer, "phonemizer_lang", ""),  # of transformers' Wav2Vec2PhonemeCTCTokenizer alone
    )


def _piece_tokenizer(name: str, tokenizer: Tokenizer, tokens: Sequence[str]) -> str:
    """The tokenizer of word pieces, see `Vocabulary`; empty if there are none among the tokens."""
    if not any(token.startswith(WORD_START) and len(token) > 1 for token in tokens):
        return ""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueError(f"{name}: has word pieces but no tokenizer.json; load and save it with transformers 5")
    return str(backend.to_str())
