"""The log-mel spectrogram that Whisper's encoder takes, as a differentiable module.

Radford et al. 2023, "Robust Speech Recognition via Large-Scale Weak Supervision", section 2.2, and
`log_mel_spectrogram` in openai/whisper: power spectrogram of 25 ms Hann windows every 10 ms, mel filters, decimal
logarithm. Values are clipped to 8 below the maximum of the window, then shifted and scaled to a range near -1..1.
"""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from lyrics_asr.files import write_text

_FLOOR = 1e-10
_RANGE = 8.0  # decades of power below the maximum of a window


@dataclass(frozen=True)
class LogMelExtractor:
    """Sizes of the features, by their names in the `preprocessor_config.json` of a `WhisperFeatureExtractor`.

    Args:
        feature_size: mel bins.
        sampling_rate: of the waveform in Hz.
        hop_length: samples from one column to the next.
        n_fft: samples of a column.
        chunk_length: seconds of a window.
    """

    feature_size: int = 80
    sampling_rate: int = 16_000
    hop_length: int = 160
    n_fft: int = 400
    chunk_length: int = 30

    @classmethod
    def load(cls, folder: Path) -> "LogMelExtractor":
        """Read the sizes of a checkpoint, whose processor may be stored as a whole.

        Raises:
            OSError, ValueError: the file is missing or damaged.
        """
        path = folder / "preprocessor_config.json"
        path = path if path.is_file() else folder / "processor_config.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        content = content.get("feature_extractor", content)
        return cls(**{field.name: content[field.name] for field in fields(cls) if field.name in content})

    def save_pretrained(self, folder: Path) -> None:
        """Write the file that `load` and transformers read."""
        content = {"feature_extractor_type": "WhisperFeatureExtractor", **asdict(self)}
        write_text(folder / "preprocessor_config.json", json.dumps(content, indent=2) + "\n")

    @property
    def n_samples(self) -> int:
        """Samples of a window."""
        return self.chunk_length * self.sampling_rate

    @property
    def nb_max_frames(self) -> int:
        """Columns of a window."""
        return self.n_samples // self.hop_length


class LogMelSpectrogram(nn.Module):
    """The features of `WhisperFeatureExtractor`, computed in torch, so that gradients pass.

    Args:
        extractor: has the sizes that the encoder was trained with.
    """

    _window: Tensor
    _filters: Tensor

    def __init__(self, extractor: LogMelExtractor) -> None:
        super().__init__()
        self.samples = extractor.n_samples
        self._fft_samples, self._hop_samples = extractor.n_fft, extractor.hop_length
        self.register_buffer("_window", torch.hann_window(self._fft_samples), persistent=False)
        self.register_buffer("_filters", _mel_filters(extractor), persistent=False)

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


def _mel_filters(extractor: LogMelExtractor) -> Float[Tensor, "mels bins"]:
    """Triangles of equal area on the mel scale of Slaney 1998, "Auditory Toolbox": linear, from 1 kHz logarithmic."""
    highest_hz = extractor.sampling_rate / 2
    mels = torch.linspace(
        0, 15 + 27 * math.log(highest_hz / 1000, 6.4), extractor.feature_size + 2, dtype=torch.float64
    )
    edges = torch.where(mels < 15, 200 / 3 * mels, 1000 * 6.4 ** ((mels - 15) / 27))[:, None]
    bins = torch.linspace(0, highest_hz, extractor.n_fft // 2 + 1, dtype=torch.float64)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = torch.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clamp(min=0)
    return (triangles * 2 / (high - low)).float()
