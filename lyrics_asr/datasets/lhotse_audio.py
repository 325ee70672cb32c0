"""Lhotse's recordings of audio files, and Lhotse's reading of them with `lyrics_asr.audio`.

Lhotse's own readers know neither m4a nor video files unless more packages are installed; ours reads them, and the same
samples wherever a file is read.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from lhotse import Recording
from lhotse.audio import AudioSource
from lhotse.audio.backend import LibsndfileBackend, get_current_audio_backend, set_current_audio_backend
from numpy.typing import NDArray

from lyrics_asr.audio import AudioHeader, read_audio


def make_recording(song_id: str, path: Path, header: AudioHeader) -> Any:
    """A `lhotse.Recording` of a file, by its absolute path; the file is not opened."""
    samples = round(header.duration_seconds * header.sample_rate_hz)
    channels = list(range(header.channels))
    return Recording(
        id=song_id,
        sources=[AudioSource(type="file", channels=channels, source=os.path.abspath(path))],
        sampling_rate=header.sample_rate_hz,
        num_samples=samples,
        duration=samples / header.sample_rate_hz,
        channel_ids=channels,
    )


@contextmanager
def our_decoder() -> Iterator[None]:
    """Let Lhotse read audio files, or windows of them, with `read_audio` inside the block.

    Sound that is in memory, as in Lhotse Shar, and whatever is written go through libsndfile.
    """
    before = get_current_audio_backend()
    set_current_audio_backend(_FileBackend())
    try:
        yield
    finally:
        set_current_audio_backend(before)


class _FileBackend(LibsndfileBackend):  # type: ignore[misc]  # Lhotse has no types
    def read_audio(
        self,
        path_or_fd: Any,
        offset: int | float = 0.0,
        duration: int | float | None = None,
        force_opus_sampling_rate: int | None = None,
    ) -> tuple[NDArray[np.float32], int]:
        if not isinstance(path_or_fd, str | Path):
            samples, sample_rate_hz = super().read_audio(path_or_fd, offset, duration, force_opus_sampling_rate)
            return samples, sample_rate_hz
        audio = read_audio(
            Path(path_or_fd),
            start_seconds=float(offset),
            duration_seconds=None if duration is None else float(duration),
        )
        return audio.samples.numpy(), audio.sample_rate_hz
