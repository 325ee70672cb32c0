"""Metrics of one song: transcription, formatting, alignment and separation.

`lyrics_asr.evaluation.aggregation` aggregates them over songs.

Conventions
- Word and character errors: a minimal edit alignment with equal costs (jiwer). The rate is (substitutions + deletions +
  insertions) / length of the reference and can exceed 1. Texts are compared as they are: normalize them first, with
  `lyrics_asr.lyrics.normalization.normalize`. Characters include the single spaces between words. A text is a whole
  song.
- Formatting of lyrics: the counts behind the Jam-ALT metrics, with alt-eval's own tokens and alignment.
- Alignment: onsets of words or of lines, in seconds, sorted, one estimate per reference (mir_eval.alignment, as in
  MIREX's lyrics-to-audio task). The error is estimate - reference: positive means late.
- The bias of an alignment is the median signed error, of onsets and, if the reference has them, of ends.
- The fraction within a tolerance counts |error| <= tolerance, as mir_eval does. The scripts of the JamendoLyrics corpus
  (Stoller et al. 2019) count |error| < tolerance; both are computed.
- The percentage of correct segments (PCS) has two definitions: over the whole song, from 0 to its end (Fujihara et al.
  2011, and JamendoLyrics' scripts), and from the first to the last reference onset (MIREX 2020).
- Separation: SI-SDR in dB over the whole song, so silent segments of the reference need no special case. `bss_eval` has
  a module of its own.

Sources
- Morris, Maier and Green, "From WER and RIL to MER and WIL", Interspeech 2004.
- Cifka, Dimitriou, Wang, Schreiber, Miner and Stöter, "Lyrics Transcription for Humans: A Readability-Aware
  Benchmark", ISMIR 2024 (Jam-ALT).
- Dzhambazov, "Knowledge-based Probabilistic Modeling for Tracking Lyrics in Music Audio Signals", PhD thesis, 2017.
- Fujihara, Goto, Ogata and Okuno, "LyricSynchronizer", IEEE Journal of Selected Topics in Signal Processing 5(6), 2011.
- Lizé Masclef, Vaglio and Moussallam, "User-centered evaluation of lyrics-to-audio alignment", ISMIR 2021.
- Le Roux, Wisdom, Erdogan and Hershey, "SDR - half-baked or well done?", ICASSP 2019.
- Stöter, Liutkus and Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import alt_eval.metrics
import alt_eval.tokenizer
import iso639
import jiwer
import mir_eval.alignment
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
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
class FormattingCounts:
    """Hits, substitutions, deletions and insertions of one kind of token, as alt-eval counts them.

    Precision is H / (H + S + I), recall H / (H + S + D), F1 their harmonic mean 2 H / (2 H + 2 S + I + D).
    """

    hits: int
    substitutions: int
    deletions: int
    insertions: int


@dataclass(frozen=True)
class JamAltCounts:
    """The counts behind the Jam-ALT metrics of a song.

    Args:
        words: edits of alt-eval's words, ignoring case.
        case_errors: words that are correct except for their case.
        punctuation: punctuation marks.
        parentheses: parentheses, which mark backing vocals.
        lines: line breaks.
        sections: blank lines between sections.
    """

    words: ErrorCounts
    case_errors: int
    punctuation: FormattingCounts
    parentheses: FormattingCounts
    lines: FormattingCounts
    sections: FormattingCounts


@dataclass(frozen=True)
class AlignmentErrors:
    """Onset errors of one song, of its words or of its lines.

    Args:
        mean_seconds: mean absolute error.
        median_seconds: median absolute error.
        shares: fraction of onsets with |error| <= tolerance, for each of TOLERANCES_SECONDS.
        shares_below: fraction of onsets with |error| < tolerance.
        correct_segments: PCS over the whole song.
        correct_segments_mirex: PCS as in MIREX 2020; None if all reference onsets are at the same time.
        perceptual: karaoke perceptual score.
        errors_seconds: estimate - reference of each onset in order, for pooling over songs.
    """

    mean_seconds: float
    median_seconds: float
    shares: tuple[float, ...]
    shares_below: tuple[float, ...]
    correct_segments: float
    correct_segments_mirex: float | None
    perceptual: float
    errors_seconds: tuple[float, ...]


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Word edits, summed over all pairs.

    Raises:
        ValueError: the numbers of references and hypotheses differ, or the references have no words.
    """
    _check_texts(references, hypotheses)
    output = jiwer.process_words(list(references), list(hypotheses))
    return ErrorCounts(output.hits, output.substitutions, output.deletions, output.insertions)


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Character edits, spaces included, summed over all pairs.

    Raises:
        ValueError: the numbers of references and hypotheses differ, or the references have no words.
    """
    _check_texts(references, hypotheses)
    output = jiwer.process_characters(list(references), list(hypotheses))
    return ErrorCounts(output.hits, output.substitutions, output.deletions, output.insertions)


def jam_alt_counts(reference: str, hypothesis: str, language: str) -> JamAltCounts:
    """Edits of a song's words, case and formatting, as alt-eval counts them.

    Args:
        reference: lyrics with case, punctuation, line breaks and blank lines.
        hypothesis: transcript in the same form.
        language: ISO 639-1 code.

    Raises:
        ValueError: unknown language, or a reference without words.
    """
    try:
        part1 = iso639.Language.match(language).part1
    except iso639.LanguageNotFoundError as error:
        raise ValueError(f"{language!r} is not a language code; use ISO 639-1, such as en") from error
    tokens = [_tokenizer()(text, language=part1) for text in (reference, hypothesis)]
    words = [alt_eval.tokenizer.tokens_as_words(each) for each in tokens]
    if not words[0]:
        raise ValueError("the reference has no words, so its error rate is undefined")
    output, errors, _ = _aligned(*words)
    _, _, counts = _aligned(*tokens)
    of_kind = {tag: FormattingCounts(each.H, each.S, each.D, each.I) for tag, each in counts.items()}
    nothing = FormattingCounts(0, 0, 0, 0)
    return JamAltCounts(
        words=ErrorCounts(output.hits, output.substitutions, output.deletions, output.insertions),
        case_errors=errors["case"],
        punctuation=of_kind.get(alt_eval.tokenizer.PUNCT, nothing),
        parentheses=of_kind.get(alt_eval.tokenizer.PAREN, nothing),
        lines=of_kind.get(alt_eval.tokenizer.LINE, nothing),
        sections=of_kind.get(alt_eval.tokenizer.SECT, nothing),
    )


def alignment_errors(
    reference_onsets: Sequence[float], estimated_onsets: Sequence[float], duration_seconds: float
) -> AlignmentErrors:
    """Onset errors of one song.

    Args:
        reference_onsets: onsets of words (or lines) in seconds.
        estimated_onsets: onsets in seconds that the alignment found.
        duration_seconds: duration of the song; extended to the last onset if that is later.

    Raises:
        ValueError: onsets are empty, negative, not finite, not sorted, or of different number.
    """
    reference = np.asarray(reference_onsets, dtype=np.float64)
    estimated = np.asarray(estimated_onsets, dtype=np.float64)
    for name, onsets in (("reference_onsets", reference), ("estimated_onsets", estimated)):
        if not np.isfinite(onsets).all():
            raise ValueError(f"{name} has {onsets[~np.isfinite(onsets)][0]}; onsets must be finite, in seconds")
    median_seconds, mean_seconds = mir_eval.alignment.absolute_error(reference, estimated)
    duration_seconds = max(duration_seconds, reference[-1], estimated[-1])
    has_span = reference[-1] > reference[0]
    return AlignmentErrors(
        mean_seconds=float(mean_seconds),
        median_seconds=float(median_seconds),
        shares=tuple(
            float(mir_eval.alignment.percentage_correct(reference, estimated, window=tolerance))
            for tolerance in TOLERANCES_SECONDS
        ),
        shares_below=tuple(
            float(np.mean(np.abs(reference - estimated) < tolerance)) for tolerance in TOLERANCES_SECONDS
        ),
        correct_segments=_correct_segments(reference, estimated, duration_seconds) if duration_seconds > 0 else 1.0,
        correct_segments_mirex=_correct_segments(reference, estimated, None) if has_span else None,
        perceptual=float(mir_eval.alignment.karaoke_perceptual_metric(reference, estimated)),
        errors_seconds=tuple((estimated - reference).tolist()),
    )


def si_sdr(estimate: Float[Tensor, " samples"], reference: Float[Tensor, " reference_samples"]) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, eq. 2 and 3), with means removed.

    Infinity for a scaled copy of the reference, minus infinity for an estimate orthogonal to it.

    Raises:
        ValueError: the lengths differ, or the reference is silent.
    """
    if len(estimate) != len(reference):
        raise ValueError(f"the estimate has {len(estimate)} samples, the reference {len(reference)}")
    estimate = estimate.to(torch.float64) - estimate.to(torch.float64).mean()
    reference = reference.to(torch.float64) - reference.to(torch.float64).mean()
    reference_energy = float(reference @ reference)
    if not reference_energy > 0:
        raise ValueError("the reference is silent (or has non-finite samples), so its SI-SDR is undefined")
    target = (estimate @ reference) / reference_energy * reference
    target_energy, distortion_energy = float(target @ target), float((target - estimate) @ (target - estimate))
    if target_energy == 0:
        return -math.inf
    return math.inf if distortion_energy == 0 else 10 * math.log10(target_energy / distortion_energy)


def _correct_segments(
    reference: NDArray[np.float64], estimated: NDArray[np.float64], duration_seconds: float | None
) -> float:
    return float(mir_eval.alignment.percentage_correct_segments(reference, estimated, duration_seconds))


def _aligned(reference: list[Any], hypothesis: list[Any]) -> tuple[Any, Any, Any]:
    """Jiwer's alignment of alt-eval's tokens, and what alt-eval counts along it: other errors, and edits by kind."""
    lower: list[Any] = [[[token.text.lower() for token in tokens]] for tokens in (reference, hypothesis)]
    output = jiwer.process_words(
        lower[0],
        lower[1],
        reference_transform=alt_eval.metrics.IDENTITY_TRANSFORM,
        hypothesis_transform=alt_eval.metrics.IDENTITY_TRANSFORM,
    )
    counts, errors, _ = alt_eval.metrics.process_alignments([reference], [hypothesis], output.alignments)
    return output, errors, counts


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    """A cached tokenizer: it compiles its rules for each new language."""
    return alt_eval.tokenizer.LyricsTokenizer()


def _check_texts(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    if not any(reference.strip() for reference in references):
        raise ValueError("the references have no words, so their error rate is undefined")
