"""Audio files, written in the format of their suffix."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream

from lyrics_asr.audio.samples import Audio, AudioError
from lyrics_asr.files import atomic_path

_LOSSY_BITS_PER_SECOND = 192_000
_ENCODERS = {  # suffix: codec, bit rate
    ".wav": ("pcm_f32le", None),
    ".flac": ("flac", None),
    ".mp3": ("libmp3lame", _LOSSY_BITS_PER_SECOND),
    ".ogg": ("libopus", _LOSSY_BITS_PER_SECOND),
    ".opus": ("libopus", _LOSSY_BITS_PER_SECOND),
    ".m4a": ("aac", _LOSSY_BITS_PER_SECOND),
}


def write_audio(path: Path, audio: Audio) -> None:
    """Write a file in the format of its suffix, atomically.

    `.wav` is 32-bit float, without clipping; `.flac` is 16 bit; `.mp3`, `.ogg` and `.opus` (both Opus) and `.m4a` (AAC)
    are 192 kbit/s. If the codec does not support the sample rate, the next higher one is used: 48 kHz for Opus.

    Raises:
        AudioError: unknown suffix, or audio that the codec does not support.
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        try:
            encode_audio(temporary, audio)
        except AudioError as error:
            raise AudioError(f"{path}: {error}") from error


def encode_audio(path: Path, audio: Audio) -> None:
    """`write_audio`, but not atomically; messages do not name the file, which may be temporary.

    Raises:
        AudioError: unknown suffix, or audio that the codec does not support.
        OSError: the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in _ENCODERS:
        raise AudioError(f"cannot write {path.suffix!r} files; use one of {', '.join(_ENCODERS)}")
    name, bits_per_second = _ENCODERS[suffix]
    rates = av.Codec(name, "w").audio_rates or [audio.sample_rate_hz]
    rate = min((rate for rate in rates if rate >= audio.sample_rate_hz), default=max(rates))
    try:
        with av.open(str(path), "w") as container:
            layout = f"{audio.samples.shape[0]}c"
            stream = container.add_stream(name, rate=rate, layout=layout)
            assert isinstance(stream, AudioStream)
            if bits_per_second is not None:
                stream.bit_rate = bits_per_second
            for frame in _encodable(audio.resampled(rate), layout):
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except OSError:
        raise
    except (av.error.FFmpegError, ValueError) as error:
        content = f"{audio.samples.shape[0]} channels at {audio.sample_rate_hz} Hz"
        raise AudioError(f"{name} does not support {content} ({error}); write a .wav") from error


def _encodable(audio: Audio, layout: str) -> Iterator[av.AudioFrame]:
    """Frames of one second, so that a long song is not copied at once."""
    for start in range(0, audio.samples.shape[1], audio.sample_rate_hz):
        piece = audio.samples[:, start : start + audio.sample_rate_hz].T.reshape(1, -1).numpy()
        frame = av.AudioFrame.from_ndarray(piece, format="flt", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = audio.sample_rate_hz, Fraction(1, audio.sample_rate_hz), start
        yield frame
