"""NaN and infinite samples: one of them makes every value of a batch NaN.

Files of floating-point samples, such as WAV, are searched for them when cuts are made. Other formats store integers, or
would have to be decoded; all audio is checked again when it is read (`lhotse_io.our_decoder`).
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from lyrics_asr.audio import AudioError, read_audio
from lyrics_asr.training.data.segmentation import Chunk, ChunkedSong

_logger = logging.getLogger(__name__)


def drop_nonfinite(song_id: str, chunked: ChunkedSong, paths: Sequence[Path]) -> ChunkedSong:
    """A song without its chunks that have NaN or infinite samples; for the arguments see `finite_chunks`.

    Raises:
        AudioError: a window cannot be decoded.
    """
    chunks = finite_chunks(song_id, chunked.chunks, paths)
    words = sum(len(chunk.words) for chunk in chunked.chunks) - sum(len(chunk.words) for chunk in chunks)
    left_out = chunked.left_out + Counter({"in a chunk with NaN or infinite samples": words})
    return replace(chunked, chunks=chunks, left_out=left_out, nonfinite_chunks=len(chunked.chunks) - len(chunks))


def finite_chunks(song_id: str, chunks: Sequence[Chunk], paths: Sequence[Path]) -> tuple[Chunk, ...]:
    """The chunks of a song whose samples are finite; the others are logged.

    Args:
        song_id: name of the song in the log.
        chunks: windows of the song.
        paths: the song's audio, and its stems if they are used; files that `read_header` can read.

    Raises:
        AudioError: a window cannot be decoded.
    """
    floats = [path for path in paths if _stores_floats(path)]
    finite = []
    for chunk in chunks:
        broken = next((path for path in floats if not _is_finite(path, chunk)), None)
        if broken is None:
            finite.append(chunk)
        else:
            window = f"{chunk.start_seconds:.2f} to {chunk.end_seconds:.2f} s"
            _logger.warning("%s: NaN or infinite samples; the chunk of %s at %s is dropped", broken, song_id, window)
    return tuple(finite)


def require_finite(name: str, samples: NDArray[np.float32]) -> None:
    """Refuse samples that are not finite.

    Raises:
        AudioError: the message begins with the name.
    """
    if not np.isfinite(samples).all():
        raise AudioError(f"{name}: has NaN or infinite samples; export it again, or leave it out")


def _stores_floats(path: Path) -> bool:
    with av.open(str(path)) as container:
        return container.streams.audio[0].codec_context.name.startswith("pcm_f")


def _is_finite(path: Path, chunk: Chunk) -> bool:
    duration_seconds = chunk.end_seconds - chunk.start_seconds
    samples = read_audio(path, start_seconds=chunk.start_seconds, duration_seconds=duration_seconds).samples.numpy()
    return bool(np.isfinite(samples).all())
