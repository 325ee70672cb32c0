"""How far a transcript, an alignment or a separated voice is from its reference.

Conventions
- Word and character errors: a minimal edit alignment with equal costs (jiwer). The rate is (substitutions + deletions +
  insertions) / length of the reference and can exceed 1. Texts are compared as given: normalise them first, with
  `lyrics_asr.text.normalize`. Characters include the single spaces between words. A text is a whole song.
- Alignment: word onsets only, in seconds, in order, one estimate for each reference (mir_eval.alignment, as in MIREX's
  lyrics-to-audio task). The error is |estimate - reference|; a share within a tolerance counts errors <= tolerance.
- Separation: SI-SDR in dB of the whole song in one piece, so that silent stretches of the reference need no rule.
- Over several songs each number comes in two kinds, because they differ. "Pooled" is counted over all the words (or
  characters) together, so that a long song weighs more; this is the usual WER. "Mean of song means" gives every song
  the same weight; this is the usual alignment error.

Sources
- Morris, Maier and Green, "From WER and RIL to MER and WIL", Interspeech 2004.
- Dzhambazov, "Knowledge-based Probabilistic Modeling for Tracking Lyrics in Music Audio Signals", PhD thesis, 2017.
- Le Roux, Wisdom, Erdogan and Hershey, "SDR - half-baked or well done?", ICASSP 2019.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import mir_eval.alignment
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

TOLERANCES_SECONDS = (0.1, 0.2, 0.3, 0.5, 1.0)


@dataclass(frozen=True)
class ErrorCounts:
    """Edits between references and hypotheses, in words or in characters."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def reference_length(self) -> int:
        """Words (or characters) of the references."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """The word (or character) error rate."""
        return (self.substitutions + self.deletions + self.insertions) / self.reference_length


@dataclass(frozen=True)
class ErrorSummary:
    """Errors of several songs; see the module's conventions for the two rates."""

    pooled: ErrorCounts
    mean_of_song_rates: float


@dataclass(frozen=True)
class AlignmentErrors:
    """Onset errors of one song.

    Args:
        mean_seconds: mean absolute error.
        median_seconds: median absolute error.
        shares: of the words within each of TOLERANCES_SECONDS.
        absolute_errors_seconds: one for each word in order, so that songs can be pooled.
    """

    mean_seconds: float
    median_seconds: float
    shares: tuple[float, ...]
    absolute_errors_seconds: tuple[float, ...]


@dataclass(frozen=True)
class AlignmentSummary:
    """Onset errors of several songs; see the module's conventions for the two kinds."""

    words: int
    mean_of_song_means_seconds: float
    mean_of_song_medians_seconds: float
    mean_of_song_shares: tuple[float, ...]
    pooled_mean_seconds: float
    pooled_median_seconds: float
    pooled_shares: tuple[float, ...]


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Word edits over all pairs together.

    Raises:
        ValueError: not one hypothesis for each reference, or references without a word.
    """
    _check_texts(references, hypotheses)
    output = jiwer.process_words(list(references), list(hypotheses))
    return ErrorCounts(output.hits, output.substitutions, output.deletions, output.insertions)


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Character edits over all pairs together, spaces included.

    Raises:
        ValueError: not one hypothesis for each reference, or references without a word.
    """
    _check_texts(references, hypotheses)
    output = jiwer.process_characters(list(references), list(hypotheses))
    return ErrorCounts(output.hits, output.substitutions, output.deletions, output.insertions)


def error_summary(songs: Sequence[ErrorCounts]) -> ErrorSummary:
    """Both kinds of rate over `songs`.

    Raises:
        ValueError: no songs.
    """
    if not songs:
        raise ValueError("no songs to summarise")
    pooled = ErrorCounts(
        sum(song.hits for song in songs),
        sum(song.substitutions for song in songs),
        sum(song.deletions for song in songs),
        sum(song.insertions for song in songs),
    )
    return ErrorSummary(pooled, float(np.mean([song.rate for song in songs])))


def alignment_errors(reference_onsets: Sequence[float], estimated_onsets: Sequence[float]) -> AlignmentErrors:
    """Errors of the word onsets of one song, in seconds.

    Raises:
        ValueError: onsets that are empty, not equally many, negative, not finite or out of order.
    """
    reference = np.asarray(reference_onsets, dtype=np.float64)
    estimated = np.asarray(estimated_onsets, dtype=np.float64)
    for name, onsets in (("reference_onsets", reference), ("estimated_onsets", estimated)):
        if not np.isfinite(onsets).all():
            raise ValueError(f"{name} hold {onsets[~np.isfinite(onsets)][0]}; onsets must be finite seconds")
    median_seconds, mean_seconds = mir_eval.alignment.absolute_error(reference, estimated)
    return AlignmentErrors(
        mean_seconds=float(mean_seconds),
        median_seconds=float(median_seconds),
        shares=tuple(
            float(mir_eval.alignment.percentage_correct(reference, estimated, window=tolerance))
            for tolerance in TOLERANCES_SECONDS
        ),
        absolute_errors_seconds=tuple(np.abs(reference - estimated).tolist()),
    )


def alignment_summary(songs: Sequence[AlignmentErrors]) -> AlignmentSummary:
    """Both kinds of mean over `songs`.

    Raises:
        ValueError: no songs.
    """
    if not songs:
        raise ValueError("no songs to summarise")
    pooled = np.concatenate([song.absolute_errors_seconds for song in songs])
    return AlignmentSummary(
        words=len(pooled),
        mean_of_song_means_seconds=float(np.mean([song.mean_seconds for song in songs])),
        mean_of_song_medians_seconds=float(np.mean([song.median_seconds for song in songs])),
        mean_of_song_shares=tuple(np.mean([song.shares for song in songs], axis=0).tolist()),
        pooled_mean_seconds=float(pooled.mean()),
        pooled_median_seconds=float(np.median(pooled)),
        pooled_shares=tuple(float((pooled <= tolerance).mean()) for tolerance in TOLERANCES_SECONDS),
    )


def si_sdr(estimate: Float[Tensor, " samples"], reference: Float[Tensor, " reference_samples"]) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, eq. 2 and 3), means removed.

    Infinite for a scaled copy of the reference, minus infinity for an estimate with nothing of it.

    Raises:
        ValueError: lengths that differ, or a reference that is silent.
    """
    if len(estimate) != len(reference):
        raise ValueError(f"the estimate has {len(estimate)} samples, the reference {len(reference)}")
    estimate = estimate.to(torch.float64) - estimate.to(torch.float64).mean()
    reference = reference.to(torch.float64) - reference.to(torch.float64).mean()
    reference_energy = float(reference @ reference)
    if not reference_energy > 0:
        raise ValueError("the reference is silent (or has non-finite samples), SI-SDR is not defined for it")
    target = (estimate @ reference) / reference_energy * reference
    target_energy, distortion_energy = float(target @ target), float((target - estimate) @ (target - estimate))
    if target_energy == 0:
        return -math.inf
    return math.inf if distortion_energy == 0 else 10 * math.log10(target_energy / distortion_energy)


def _check_texts(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    if not any(reference.strip() for reference in references):
        raise ValueError("the references hold no word, an error rate is not defined for them")
