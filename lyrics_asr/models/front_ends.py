"""What turns a waveform into the input of an acoustic model: nothing, or log-mel features computed in the graph.

The features are those of the checkpoint's own extractor, computed in torch, so that gradients reach the waveform:

    `log_mel.LogMelExtractor`      `log_mel.LogMelSpectrogram`, Whisper's windows of a fixed length
    `SeamlessM4TFeatureExtractor`  `KaldiFilterBank`, of Wav2Vec2-BERT
    `ParakeetFeatureExtractor`     `NemoFilterBank`, of Parakeet

The last two normalize each mel bin over a row. So windows of a song are normalized one by one, as transformers does.
"""

from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ
from lyrics_asr.models.log_mel import LogMelExtractor, LogMelSpectrogram
from lyrics_asr.types import FrameGrid

FeatureExtractor = Any
"""A `LogMelExtractor`, or an extractor of transformers, which is slow to import."""

_KALDI_FRAME_SAMPLES, _KALDI_HOP_SAMPLES, _KALDI_FFT_SAMPLES = 400, 160, 512
_PREEMPHASIS = 0.97
_INT16_SCALE = 2.0**15  # Kaldi computes on 16-bit integers
_KALDI_FLOOR = 1.192092955078125e-07
_KALDI_VARIANCE_FLOOR = 1e-7
_NEMO_LOG_GUARD = 2.0**-24
_NEMO_STD_GUARD = 1e-5
_SMALLEST_VARIANCE = 1e-20  # the square root has no gradient at 0


class KaldiFilterBank(nn.Module):
    """The features of `SeamlessM4TFeatureExtractor`: Kaldi's log-mel filter bank, two columns of 10 ms in one frame.

    Args:
        extractor: of the checkpoint.
    """

    _window: Tensor
    _filters: Tensor

    def __init__(self, extractor: FeatureExtractor) -> None:
        super().__init__()
        self._stride = extractor.stride
        self.register_buffer("_window", torch.from_numpy(extractor.window).float(), persistent=False)
        self.register_buffer("_filters", torch.from_numpy(extractor.mel_filters).float(), persistent=False)

    @property
    def grid(self) -> FrameGrid:
        """The time axis of the frames."""
        receptive_field = _KALDI_FRAME_SAMPLES + (self._stride - 1) * _KALDI_HOP_SAMPLES
        return FrameGrid(self._stride * _KALDI_HOP_SAMPLES, receptive_field, ACOUSTIC_SAMPLE_RATE_HZ)

    def forward(
        self, waveform: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch frames features"]:
        """The features of each row; those past its end are 0."""
        with torch.autocast(waveform.device.type, enabled=False):
            # In float64 as the extractor, where there is one: low bins of a loud frame are small differences.
            exact = waveform.to(torch.float32 if waveform.device.type == "mps" else torch.float64)
            frames = exact.unfold(1, _KALDI_FRAME_SAMPLES, _KALDI_HOP_SAMPLES) * _INT16_SCALE
            frames = frames - frames.mean(-1, keepdim=True)
            before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
            spectrum = torch.fft.rfft((frames - _PREEMPHASIS * before) * self._window, _KALDI_FFT_SAMPLES)
            power = torch.view_as_real(spectrum).square().sum(-1)
            columns = (power @ self._filters.to(power.dtype)).clamp(min=_KALDI_FLOOR).log().float()
            counts = None if lengths is None else (lengths - _KALDI_FRAME_SAMPLES) // _KALDI_HOP_SAMPLES + 1
            valid = _valid(columns, counts)
            mean, variance = _statistics(columns, valid)
            normalized = (columns - mean) * (variance + _KALDI_VARIANCE_FLOOR).rsqrt() * valid
            count = normalized.shape[1] // self._stride
            features = normalized[:, : count * self._stride].reshape(len(waveform), count, -1)
            return features if lengths is None else features * self.mask(lengths, features)[..., None]

    def mask(
        self, lengths: Int[Tensor, " batch"], features: Float[Tensor, "batch frames features"]
    ) -> Bool[Tensor, "batch frames"]:
        """Which frames lie in rows of `lengths` samples."""
        grid = self.grid
        counts = (lengths - grid.receptive_field_samples) // grid.stride_samples + 1
        return _valid(features, counts)[..., 0]


class NemoFilterBank(nn.Module):
    """The features of `ParakeetFeatureExtractor`: NeMo's log-mel filter bank, a column every 10 ms.

    A row is padded to whole columns, so that frames stand at multiples of their stride whatever its length; the
    extractor drops what is left over.

    Args:
        extractor: of the checkpoint.
        subsampling: columns per frame of the encoder.
    """

    _window: Tensor
    _filters: Tensor

    def __init__(self, extractor: FeatureExtractor, subsampling: int) -> None:
        super().__init__()
        self._hop_samples, self._fft_samples = extractor.hop_length, extractor.n_fft
        self._preemphasis, self._subsampling = extractor.preemphasis or 0.0, subsampling
        self.register_buffer("_window", torch.hann_window(extractor.win_length, periodic=False), persistent=False)
        self.register_buffer("_filters", extractor.mel_filters.clone(), persistent=False)

    @property
    def grid(self) -> FrameGrid:
        """The time axis of the encoder's frames; spectrogram and convolutions are padded on both sides."""
        return FrameGrid(self._subsampling * self._hop_samples, 1, ACOUSTIC_SAMPLE_RATE_HZ)

    def forward(
        self, waveform: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch columns mels"]:
        """The features of each row; those past its end are 0."""
        with torch.autocast(waveform.device.type, enabled=False):
            samples = waveform.float()
            before = pad(samples, (1, -1))
            emphasized = samples - self._preemphasis * before
            if lengths is not None:
                emphasized = emphasized * _valid(samples[..., None], lengths)[..., 0]
            spectrum = torch.stft(
                pad(emphasized, (0, -samples.shape[1] % self._hop_samples)),
                self._fft_samples,
                self._hop_samples,
                len(self._window),
                self._window,
                pad_mode="constant",
                return_complex=True,
            )
            power = torch.view_as_real(spectrum[..., :-1]).square().sum(-1)
            columns = (self._filters @ power + _NEMO_LOG_GUARD).log().transpose(1, 2)
            valid = _valid(columns, None if lengths is None else -(-lengths // self._hop_samples))
            mean, variance = _statistics(columns, valid)
            return (columns - mean) / (variance.clamp(min=_SMALLEST_VARIANCE).sqrt() + _NEMO_STD_GUARD) * valid

    def mask(
        self, lengths: Int[Tensor, " batch"], features: Float[Tensor, "batch columns mels"]
    ) -> Bool[Tensor, "batch columns"]:
        """Which columns lie in rows of `lengths` samples."""
        return _valid(features, -(-lengths // self._hop_samples))[..., 0]


FrontEnd = LogMelSpectrogram | KaldiFilterBank | NemoFilterBank


def front_end_of(network: nn.Module, extractor: FeatureExtractor) -> FrontEnd | None:
    """The features that a network takes; None of one over raw audio."""
    if isinstance(extractor, LogMelExtractor):
        return LogMelSpectrogram(extractor)
    from transformers import ParakeetFeatureExtractor, SeamlessM4TFeatureExtractor

    if isinstance(extractor, SeamlessM4TFeatureExtractor):
        return KaldiFilterBank(extractor)
    if isinstance(extractor, ParakeetFeatureExtractor):
        return NemoFilterBank(extractor, cast(Any, network).config.encoder_config.subsampling_factor)
    return None


def grid_of(name: str, network: nn.Module, extractor: FeatureExtractor, front_end: FrontEnd | None) -> FrameGrid:
    """The time axis of a network.

    Raises:
        ValueError: the network does not have one frame per stride of its convolutions, or another sample rate.
    """
    config: Any = network.config
    if extractor.sampling_rate != ACOUSTIC_SAMPLE_RATE_HZ:
        raise ValueError(
            f"{name}: its input is {extractor.sampling_rate} Hz; choose a checkpoint for {ACOUSTIC_SAMPLE_RATE_HZ} Hz"
        )
    if isinstance(extractor, LogMelExtractor):
        # Spectrogram and convolutions are padded on both sides, so a frame stands at the sample that begins its stride.
        columns = extractor.nb_max_frames // config.max_source_positions
        return FrameGrid(columns * extractor.hop_length, 1, extractor.sampling_rate)
    if hasattr(network, "wave_unet"):
        return FrameGrid(cast(Any, network).stride_samples, 1, ACOUSTIC_SAMPLE_RATE_HZ)
    if isinstance(front_end, NemoFilterBank):
        return front_end.grid
    if isinstance(front_end, KaldiFilterBank):
        layers = config.num_adapter_layers if config.add_adapter else 0
        # Strided convolutions that are padded on both sides: a frame stands where the first of its input frames does.
        if not layers or (config.adapter_kernel_size, config.adapter_stride) == (3, 2):
            grid = front_end.grid
            return FrameGrid(grid.stride_samples * 2**layers, grid.receptive_field_samples, grid.sample_rate_hz)
    if not hasattr(config, "conv_kernel") or getattr(config, "add_adapter", False) or hasattr(config, "squeeze_factor"):
        raise ValueError(f"{name}: {config.model_type} does not have one frame for each stride of its convolutions")
    stride, receptive_field = 1, 1
    for kernel, step in zip(config.conv_kernel, config.conv_stride, strict=True):
        receptive_field += (cast(int, kernel) - 1) * stride
        stride *= step
    return FrameGrid(stride, receptive_field, ACOUSTIC_SAMPLE_RATE_HZ)


def _valid(columns: Float[Tensor, "batch columns _"], counts: Int[Tensor, " batch"] | None) -> Bool[Tensor, "..."]:
    """Which columns each row has; all of them without counts."""
    batch, columns_in_all, _ = columns.shape
    if counts is None:
        return columns.new_ones(batch, columns_in_all, 1, dtype=torch.bool)
    return (torch.arange(columns_in_all, device=columns.device) < counts[:, None].to(columns.device))[..., None]


def _statistics(
    columns: Float[Tensor, "batch columns mels"], valid: Bool[Tensor, "batch columns 1"]
) -> tuple[Float[Tensor, "batch 1 mels"], Float[Tensor, "batch 1 mels"]]:
    """Mean and unbiased variance of each mel bin over the valid columns of a row."""
    count = valid.sum(1, keepdim=True)
    mean = (columns * valid).sum(1, keepdim=True) / count.clamp(min=1)
    deviations = (columns - mean) * valid
    return mean, deviations.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)
