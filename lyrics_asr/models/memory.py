"""What to do where memory runs out: less at a time, step by step.

The functions are called while the error is handled and return what to try next. The caller's `except` clause ends
before the next try, which lets go of the error, its traceback and with them the tensors of the failed attempt.
"""

import logging
import traceback
from dataclasses import replace
from typing import cast

import torch

from lyrics_asr.options import AcousticOptions, SeparationOptions

_SHORTEST_SEGMENT_SECONDS = 1.0
_LONGEST_SEGMENT_SECONDS = 8.0
"""What is halved first where a separator's own segment, 7.8 s for htdemucs, is to become shorter."""

_logger = logging.getLogger(__name__)


def smaller_separation(options: SeparationOptions, error: Exception) -> SeparationOptions:
    """Smaller batches, then shorter segments of the separator.

    Args:
        options: that memory ran out with.
        error: raised again if it is of another kind.

    Raises:
        MemoryError: there is nothing smaller.
    """
    _require_out_of_memory(error)
    if options.batch_size != 1:
        smaller = replace(options, batch_size=1)
    else:
        smaller = replace(
            options,
            segment_seconds=(options.segment_seconds or _LONGEST_SEGMENT_SECONDS) / 2,
        )
    if smaller.segment_seconds is not None and smaller.segment_seconds < _SHORTEST_SEGMENT_SECONDS:
        raise MemoryError(
            f"memory ran out, even with segments of {options.segment_seconds:g} s, one at a time; close other "
            f"programs, or use --device cpu ({error})"
        ) from None
    segments = "the separator's segments" if smaller.segment_seconds is None else f"{smaller.segment_seconds:g} s"
    _logger.warning("memory ran out; separating again, one segment at a time (%s)", segments)
    return smaller


def smaller_windows(options: AcousticOptions, error: Exception) -> AcousticOptions:
    """Smaller batches, then shorter windows of the acoustic model.

    Args:
        options: that memory ran out with, windows included (see `AcousticModel.with_windows`).
        error: raised again if it is of another kind.

    Raises:
        MemoryError: there is nothing smaller.
    """
    _require_out_of_memory(error)
    longest, context = cast(float, options.window_seconds), cast(float, options.context_seconds)
    window_seconds = longest / (2 if options.batch_size == 1 else 1)
    if window_seconds <= 4 * context:
        raise MemoryError(
            f"memory ran out, even with windows of {longest:g} s, one at a time; close other programs, "
            f"or use --device cpu ({error})"
        ) from None
    _logger.warning("memory ran out; trying again with one window of %g s at a time", window_seconds)
    return replace(options, batch_size=1, window_seconds=window_seconds)


def fewer_beams(beams: int, error: Exception) -> int:
    """Half the beams of the transcriber.

    Args:
        beams: that memory ran out with.
        error: raised again if it is of another kind.

    Raises:
        MemoryError: there is nothing smaller.
    """
    _require_out_of_memory(error)
    if beams == 1:
        raise MemoryError(
            "memory ran out, even with one beam of the transcriber; close other programs, take a smaller transcriber, "
            f"or use --device cpu ({error})"
        ) from None
    _logger.warning("memory ran out; transcribing again with transcriber.beams=%d", beams // 2)
    return beams // 2


def _require_out_of_memory(error: Exception) -> None:
    """Raise the error again unless memory ran out: PyTorch says so on the CPU with a plain RuntimeError."""
    if not (isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)):
        raise error
    traceback.clear_frames(error.__traceback__)  # they hold the tensors of the failed attempt
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
