"""The log-mel spectrogram that Whisper's encoder takes, as a differentiable module.

Radford et al. 2023, "Robust Speech Recognition via Large-Scale Weak Supervision", section 2.2, and
`log_mel_spectrogram` in openai/whisper: power spectrogram of 25 ms Hann windows every 10 ms, mel filters, decimal
logarithm. Values are clipped to 8 below the maximum of the window, then shifted and scaled to a range near -1..1.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import WhisperFeatureExtractor

_FLOOR = 1e-10
_RANGE = 8.0  # decades of power below the maximum of a window


class LogMelSpectrogram(nn.Module):
    """The features of a checkpoint's own extractor, which are computed in torch, so that gradients pass.

    Args:
        extractor: has the mel filters, the sizes and the window length that the encoder was trained with.
    """

    _window: Tensor
    _filters: Tensor

    def __init__(self, extractor: WhisperFeatureExtractor) -> None:
        super().__init__()
        self.samples = cast(int, extractor.n_samples)
        self._fft_samples, self._hop_samples = cast(int, extractor.n_fft), cast(int, extractor.hop_length)
        filters = torch.from_numpy(extractor.mel_filters).float()
        self.register_buffer("_window", torch.hann_window(self._fft_samples), persistent=False)
        self.register_buffer("_filters", filters.T.contiguous(), persistent=False)

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch mels frames"]:
        """The features of one window for each row, padded with silence to the window's length.

        Raises:
            ValueError: a waveform is longer than a window.
        """
        missing = self.samples - waveform.shape[1]
        if missing < 0:
            raise ValueError(
                f"{waveform.shape[1]} samples are more than the {self.samples} of a window of the acoustic model; use "
                "shorter windows or chunks"
            )
        # Without autocast: bfloat16 has 8 bits of precision, too few for a waveform.
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = torch.stft(
                pad(waveform.float(), (0, missing)),
                self._fft_samples,
                self._hop_samples,
                window=self._window,
                return_complex=True,
            )
            power = torch.view_as_real(spectrum[..., :-1]).square().sum(-1)
            log_mel = (self._filters @ power).clamp(min=_FLOOR).log10()
            log_mel = torch.maximum(log_mel, log_mel.amax((1, 2), keepdim=True) - _RANGE)
            return (log_mel + 4.0) / 4.0
