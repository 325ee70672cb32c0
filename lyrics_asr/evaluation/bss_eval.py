"""BSS Eval version 4 of separated vocals.

Conventions
- The sources are the vocals and the rest of the mixture. Filters of 512 taps, one per pair of channels and the same for
  the whole song, map the references to their best approximation of an estimate. Ratios are in dB, per window of 1 s;
  the score of a song is the median over the windows without silent sources (SiSEC 2018).
- Spectra are those of single windows, so that memory does not grow with the song.
- The results are those of museval 0.4.1: to 1e-6 dB for noise and 16-bit stems. Decoded MP3s have no high frequencies,
  so that the filters are hardly determined; there SIR and SAR depend on rounding, by 1e-4 dB.

Sources
- Vincent, Gribonval and Févotte, "Performance measurement in blind audio source separation", IEEE TASLP 2006.
- Vincent et al., "The signal separation evaluation campaign (2007-2010)", Signal Processing 2012: images of sources.
- Stöter, Liutkus and Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.fft
import scipy.linalg
from jaxtyping import Complex128, Float, Float64
from numpy.typing import NDArray
from torch import Tensor

FILTER_TAPS = 512
_RIDGES = (0.0, 1e-14, 1e-12, 1e-10, 1e-8)
"""Added to the diagonal, relative to its mean, until it can be factorized: the channels of a mono source are equal."""


@dataclass(frozen=True)
class BssEval:
    """BSS Eval v4 of one song's vocals: medians over windows, in dB."""

    sdr_db: float
    sir_db: float
    sar_db: float


def bss_eval(
    estimates: Sequence[Float[Tensor, "channels samples"]],
    reference_vocals: Float[Tensor, "channels samples"],
    mixture: Float[Tensor, "channels samples"],
    sample_rate_hz: int,
) -> list[BssEval | None]:
    """BSS Eval v4 of several estimates of the same vocals, with the rest of the mixture as the other source.

    Args:
        estimates: separated vocals; for the baseline the mixture itself, which then estimates both sources.
        reference_vocals: vocal stem.
        mixture: input of the separator.
        sample_rate_hz: sample rate of all.

    Returns:
        For each estimate its scores; None if no window of 1 s has both vocals and accompaniment, where BSS Eval is
        undefined.
    """
    channels, samples = mixture.shape
    references = np.concatenate([reference_vocals.numpy(), (mixture - reference_vocals).numpy()])
    if not references[:channels].any() or not references[channels:].any():
        return [None] * len(estimates)
    vocals = [estimate.numpy() for estimate in estimates]
    others = [(mixture if estimate is mixture else mixture - estimate).numpy() for estimate in estimates]
    signals = [*references, *np.concatenate(vocals)]
    starts = range(0, samples, sample_rate_hz)
    fft_size = 2 * scipy.fft.next_fast_len(-(-(sample_rate_hz + FILTER_TAPS - 1) // 2))
    filters = _filters(_correlations(signals, len(references), starts, sample_rate_hz, fft_size), channels)
    from_vocals, from_all = (scipy.fft.rfft(each, fft_size) for each in filters)

    ratios: list[list[tuple[float, float, float]]] = [[] for _ in estimates]
    for start in starts[: max(1, samples // sample_rate_hz)]:
        window = slice(start, start + sample_rate_hz)
        reference, other_reference = references[:channels, window], references[channels:, window]
        if _is_silent(reference) or _is_silent(other_reference):
            continue
        spectra = _spectra(signals, window, fft_size)
        target = np.einsum("ref,rf->ef", from_vocals, spectra[:channels])
        target_and_interference = np.einsum("ref,rf->ef", from_all, spectra[: 2 * channels])
        for k, (estimate, other) in enumerate(zip(vocals, others, strict=True)):
            if _is_silent(estimate[:, window]) or _is_silent(other[:, window]):
                continue
            own = slice(k * channels, (k + 1) * channels)
            artefacts = spectra[2 * channels :][own] - target_and_interference[own]
            interference = target_and_interference[own] - target[own]
            error = estimate[:, window].astype(np.float64) - reference
            sdr = _db(np.square(reference, dtype=np.float64).sum(), np.square(error).sum())
            sir = _db(_spectral_energy(target[own]), _spectral_energy(interference))
            sar = _db(_spectral_energy(target_and_interference[own]), _spectral_energy(artefacts))
            ratios[k].append((sdr, sir, sar))
    return [_medians(each) for each in ratios]


def _correlations(
    signals: Sequence[NDArray[np.float32]], references: int, starts: range, window_samples: int, fft_size: int
) -> Float64[NDArray[np.float64], "references signals lags"]:
    """Cross-correlations `sum(x[n] * y[n + lag])` of the first signals, the references, with all.

    Lags are 0 .. 511, then -511 .. -1. They are summed over windows, and over the pairs of samples that the border of
    two windows parts.
    """
    total = np.zeros((references, len(signals), fft_size // 2 + 1), dtype=np.complex128)
    for start in starts:
        spectra = _spectra(signals, slice(start, start + window_samples), fft_size)
        total += spectra[:references, None].conj() * spectra
    lags = [*range(FILTER_TAPS), *range(-FILTER_TAPS + 1, 0)]
    correlations: NDArray[np.float64] = scipy.fft.irfft(total, fft_size)[..., lags]

    size = 4 * FILTER_TAPS
    parted = np.zeros((references, len(signals), size // 2 + 1), dtype=np.complex128)
    reach = FILTER_TAPS - 1
    for _, start in pairwise(starts):
        before = _spectra(signals, slice(start - reach, start), size)
        after = _spectra(signals, slice(start, start + reach), size, reach)
        parted += before[:references, None].conj() * after + after[:references, None].conj() * before
    correlations += scipy.fft.irfft(parted, size)[..., lags]
    return correlations


def _filters(
    correlations: Float64[NDArray[np.float64], "references signals lags"], channels: int
) -> tuple[
    Float64[NDArray[np.float64], "channels estimated taps"],
    Float64[NDArray[np.float64], "references estimated taps"],
]:
    """The filters with the least squared error, from the reference vocals alone and from all references.

    The normal equations of the vocals alone are the first ones of all, and so are their Cholesky factors.
    """
    references = len(correlations)
    matrix = np.block(
        [
            [
                scipy.linalg.toeplitz(each[:FILTER_TAPS], np.concatenate([each[:1], each[:-FILTER_TAPS:-1]]))
                for each in row[:references]
            ]
            for row in correlations
        ]
    )
    factor = _cholesky(matrix)
    targets = correlations[:, references:, :FILTER_TAPS]
    solutions = []
    for count in (channels, references):
        size = count * FILTER_TAPS
        right = targets[:count].transpose(0, 2, 1).reshape(size, -1)
        solved = scipy.linalg.cho_solve((factor[:size, :size], True), right, check_finite=False)
        solutions.append(solved.reshape(count, FILTER_TAPS, -1).transpose(0, 2, 1))
    return solutions[0], solutions[1]


def _cholesky(
    matrix: Float64[NDArray[np.float64], "unknowns unknowns"],
) -> Float64[NDArray[np.float64], "unknowns unknowns"]:
    for ridge in _RIDGES:
        shifted = matrix + np.diag(np.full(len(matrix), ridge * matrix.diagonal().mean()))
        with contextlib.suppress(scipy.linalg.LinAlgError):
            factor: NDArray[np.float64] = scipy.linalg.cholesky(shifted, lower=True, overwrite_a=True)
            return factor
    raise ValueError("the reference sources are linearly dependent, so their BSS Eval is undefined")


def _spectra(
    signals: Sequence[NDArray[np.float32]], window: slice, fft_size: int, delay: int = 0
) -> Complex128[NDArray[np.complex128], "signals bins"]:
    cut = np.stack([signal[window] for signal in signals]).astype(np.float64)
    spectra: NDArray[np.complex128] = scipy.fft.rfft(np.pad(cut, ((0, 0), (delay, 0))), fft_size)
    return spectra


def _spectral_energy(spectra: Complex128[NDArray[np.complex128], "channels bins"]) -> float:
    """The energy of signals by their spectra (Parseval), times the FFT's even size; all but two bins stand for two."""
    power = spectra.real**2 + spectra.imag**2
    return float(2 * power.sum() - power[:, 0].sum() - power[:, -1].sum())


def _is_silent(source: Float[NDArray[np.float32], "channels samples"]) -> bool:
    return not source.astype(np.float64).sum(0).any()


def _db(signal: float, noise: float) -> float:
    if noise == 0:
        return np.inf
    return 10 * float(np.log10(signal / noise)) if signal > 0 else -np.inf


def _medians(ratios: Sequence[tuple[float, float, float]]) -> BssEval | None:
    """Medians of SDR, SIR and SAR, each over the windows where it is finite."""
    defined = [[ratio for ratio in each if np.isfinite(ratio)] for each in zip(*ratios, strict=True)]
    return BssEval(*(float(np.median(each)) for each in defined)) if defined and all(defined) else None
