"""Chromaprint fingerprints: how alike two recordings sound, and how far one is shifted against the other.

A fingerprint is a sequence of 32-bit words, one every 0.124 s, that describe the harmony around it. It survives lossy
codecs and resampling (L. Lalinsky 2011, https://oxygene.sk/2011/01/how-does-chromaprint-work/; the filters come from
Ke, Hoiem and Sukthankar 2005, "Computer Vision for Music Identification"). Unrelated recordings share half of the bits.

The library libchromaprint is not a Python package: it comes with the operating system.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyrics_asr.audio.samples import Audio

_WORD_SECONDS = 1365 / 11_025  # hop of Chromaprint's default algorithm: a third of a frame of 4096 samples
_WORD_BITS = 32
_MIN_OVERLAP = 0.5  # of the shorter fingerprint


@dataclass(frozen=True)
class FingerprintMatch:
    """How two recordings relate.

    Args:
        bit_error_rate: share of the bits that differ at the best offset: 0 for equal, 0.5 for unrelated recordings.
        offset_seconds: when the second recording starts in the first, to within 0.1 s.
    """

    bit_error_rate: float
    offset_seconds: float


def require_chromaprint() -> None:
    """Make sure that fingerprints can be computed.

    Raises:
        ModuleNotFoundError: pyacoustid, which has the bindings, is not installed.
        OSError: libchromaprint is not.
    """
    try:
        import chromaprint  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(str(error), name="pyacoustid") from error
    except ImportError as error:
        raise OSError(
            "libchromaprint is not installed; install it with: apt install libchromaprint1, or brew install chromaprint"
        ) from error


def fingerprint(audio: Audio) -> NDArray[np.uint32]:
    """The words of a recording's fingerprint; none if it is shorter than about 3 s.

    Raises:
        ModuleNotFoundError, OSError: see `require_chromaprint`.
    """
    require_chromaprint()
    from chromaprint import Fingerprinter, decode_fingerprint

    samples = audio.to_channels(1).samples.numpy()[0]
    fingerprinter = Fingerprinter()
    fingerprinter.start(audio.sample_rate_hz, 1)
    fingerprinter.feed((samples.clip(-1, 1) * 32_767).astype("<i2").tobytes())
    words, _ = decode_fingerprint(fingerprinter.finish())
    return np.array(words, dtype=np.uint32)


def match_fingerprints(first: NDArray[np.uint32], second: NDArray[np.uint32]) -> FingerprintMatch:
    """Compare two fingerprints at every offset that leaves half of the shorter one in common.

    Raises:
        ValueError: a fingerprint is empty.
    """
    if not len(first) or not len(second):
        raise ValueError("a recording is too short for a fingerprint; give at least 3 s")
    # The bits as -1 and 1: the correlation at an offset is the number of equal bits minus that of different ones.
    signs = [2.0 * np.unpackbits(words.view(np.uint8).reshape(-1, 4), axis=1) - 1 for words in (first, second)]
    size = len(first) + len(second)
    spectra = [np.fft.rfft(each, size, axis=0) for each in signs]
    correlation = np.fft.irfft((spectra[0] * spectra[1].conj()).sum(1), size)
    offsets = np.arange(1 - len(second), len(first))
    overlap = np.minimum(len(first), offsets + len(second)) - np.maximum(offsets, 0)
    allowed = overlap >= _MIN_OVERLAP * min(len(first), len(second))
    rates = 0.5 - 0.5 * correlation[offsets[allowed]] / (_WORD_BITS * overlap[allowed])
    best = int(np.argmin(rates))
    return FingerprintMatch(max(0.0, float(rates[best])), float(offsets[allowed][best]) * _WORD_SECONDS)
