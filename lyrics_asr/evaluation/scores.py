"""The sufficient statistics of a song, from its prediction and its reference.

Conventions
- `lyrics_asr.evaluation.metrics` defines how each is counted.
- WER and CER use lyrics and transcripts after `lyrics_asr.lyrics.normalization.normalize`; Jam-ALT metrics use the
  texts as they are, without headings.
- The onset of a line is that of the reference, or of its first word if the reference has word times only.
- "Even spread" places the words at equal distances over the whole song: the baseline of an alignment.
"""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import accumulate

from lyrics_asr.corpora.manifest import Song
from lyrics_asr.evaluation.aggregation import BSS_EVAL, END_TOLERANCES_SECONDS, JAM_ALT_TOKENS, STAGES, Statistics
from lyrics_asr.evaluation.damage import DamagedLyrics, confidence_statistics, damage_statistics
from lyrics_asr.evaluation.metrics import (
    TOLERANCES_SECONDS,
    AlignmentErrors,
    alignment_errors,
    character_errors,
    jam_alt_counts,
    word_errors,
)
from lyrics_asr.evaluation.predictions import Prediction, SeparationScores
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.lyrics.text import parse_corpus_lyrics
from lyrics_asr.types import TimedLine


@dataclass(frozen=True)
class TimedPair:
    """A word (or line) with its reference onset (or end) and the estimated one."""

    text: str
    reference_seconds: float
    estimated_seconds: float

    @property
    def error_seconds(self) -> float:
        """Estimate - reference: positive means late."""
        return self.estimated_seconds - self.reference_seconds


@dataclass(frozen=True)
class SongScores:
    """The scores of one song.

    Args:
        statistics: sufficient statistics by key of the metric; without metrics that are undefined for this song.
        reference: lyrics as written.
        text: transcript with line breaks; None without a transcript.
        words: reference and estimated onset of every word; empty without word times.
    """

    id: str
    language: str
    genre: str | None
    duration_seconds: float | None
    statistics: dict[str, Statistics]
    reference: str
    text: str | None
    words: tuple[TimedPair, ...]


def score_song(song: Song, prediction: Prediction, damaged: DamagedLyrics | None = None) -> SongScores:
    """Compare a prediction with its reference; of an alignment of damaged lyrics, with what is left of it.

    Raises:
        ValueError: lyrics without words, or an alignment of other lyrics.
    """
    statistics: dict[str, Statistics] = {}
    if prediction.text is not None:
        statistics |= _decoding_statistics("", song, prediction.text)
        statistics |= _jam_alt_statistics(song, prediction.text)
    if prediction.greedy is not None:
        statistics |= _decoding_statistics("greedy_", song, prediction.greedy)
    words: tuple[TimedPair, ...] = ()
    if prediction.lines is not None and damaged is not None:
        statistics |= damage_statistics(song, damaged, prediction.lines)
        statistics |= confidence_statistics(song, damaged, prediction.lines, prediction.confidence)
    elif prediction.lines is not None:
        duration_seconds = prediction.duration_seconds or 0.0
        words = _word_pairs(song, prediction.lines)
        statistics |= _alignment_statistics("words", words, duration_seconds)
        statistics |= _alignment_statistics("lines", _line_pairs(song, prediction.lines), duration_seconds)
        statistics |= _end_statistics(song, prediction.lines)
        if duration_seconds:
            spread = even_spread(len(words), duration_seconds)
            even = [TimedPair(w.text, w.reference_seconds, at) for w, at in zip(words, spread, strict=True)]
            statistics |= _alignment_statistics("even_words", even, duration_seconds)
    if prediction.separation is not None:
        statistics |= dict(_separation_statistics(prediction.separation))
    if prediction.seconds is not None and prediction.duration_seconds:
        seconds = astuple(prediction.seconds)
        statistics["rtf"] = (sum(seconds), prediction.duration_seconds)
        statistics |= {
            f"rtf_{stage}": (each, prediction.duration_seconds) for stage, each in zip(STAGES, seconds, strict=True)
        }
    return SongScores(
        song.id, song.language, song.genre, prediction.duration_seconds, statistics, song.lyrics, prediction.text, words
    )


def even_spread(count: int, duration_seconds: float) -> tuple[float, ...]:
    """Onsets of `count` words at equal distances over the whole song."""
    return tuple(i * duration_seconds / count for i in range(count))


def _decoding_statistics(prefix: str, song: Song, text: str) -> dict[str, Statistics]:
    reference, hypothesis = normalize(song.lyrics, song.language), normalize(text, song.language)
    words, characters = (count([reference], [hypothesis]) for count in (word_errors, character_errors))
    length = words.reference_length
    return {
        f"{prefix}wer": (words.substitutions + words.deletions + words.insertions, length),
        f"{prefix}wer_mean_over_songs": (words.rate, 1),
        f"{prefix}word_substitutions": (words.substitutions, length),
        f"{prefix}word_deletions": (words.deletions, length),
        f"{prefix}word_insertions": (words.insertions, length),
        f"{prefix}cer": (
            characters.substitutions + characters.deletions + characters.insertions,
            characters.reference_length,
        ),
    }


def _jam_alt_statistics(song: Song, text: str) -> dict[str, Statistics]:
    counts = jam_alt_counts(parse_corpus_lyrics(song.lyrics).sung_text, text, song.language)
    errors = counts.words.substitutions + counts.words.deletions + counts.words.insertions
    return {
        "jam_alt_wer": (errors, counts.words.reference_length),
        "jam_alt_wer_case": (errors + counts.case_errors, counts.words.reference_length),
        **{f"jam_alt_f1_{key}": astuple(getattr(counts, key)) for key in JAM_ALT_TOKENS},
    }


def _word_pairs(song: Song, lines: Sequence[TimedLine]) -> tuple[TimedPair, ...]:
    if not song.words:
        return ()
    estimated = [word for line in lines for word in line.words]
    if len(estimated) != len(song.words):
        raise ValueError(f"{len(song.words)} reference times for the {len(estimated)} words of the alignment")
    return tuple(
        TimedPair(theirs.text, theirs.start_seconds, ours.start_seconds)
        for theirs, ours in zip(song.words, estimated, strict=True)
    )


def _line_pairs(song: Song, lines: Sequence[TimedLine]) -> tuple[TimedPair, ...]:
    if song.lines:
        if len(song.lines) != len(lines):
            raise ValueError(f"{len(song.lines)} reference times for the {len(lines)} lines of the alignment")
        onsets = [line.start_seconds for line in song.lines]
    elif song.words:
        remaining = iter(song.words)
        onsets = []
        for line in parse_corpus_lyrics(song.lyrics).lines:
            first, *_ = [next(remaining) for _ in line.words]
            onsets.append(first.start_seconds)
    else:
        return ()
    return tuple(TimedPair(line.text, onset, line.start_seconds) for line, onset in zip(lines, onsets, strict=True))


def _end_statistics(song: Song, lines: Sequence[TimedLine]) -> dict[str, Statistics]:
    """Errors of the ends; `_word_pairs` and `_line_pairs` have checked the counts."""
    word_ends = [word.end_seconds for word in song.words]
    line_ends = [line.end_seconds for line in song.lines]
    if word_ends and not line_ends:
        last_words = accumulate(len(line.words) for line in lines)
        line_ends = [word_ends[count - 1] for count in last_words]
    statistics: dict[str, Statistics] = {}
    if word_ends:
        estimated = [word.end_seconds for line in lines for word in line.words]
        statistics |= _errors_of_ends("word_ends", estimated, word_ends)
    if line_ends:
        estimated = [line.end_seconds for line in lines]
        statistics |= _errors_of_ends("line_ends", estimated, line_ends)
    return statistics


def _errors_of_ends(key: str, estimated: Sequence[float], reference: Sequence[float]) -> dict[str, Statistics]:
    errors = tuple(ours - theirs for ours, theirs in zip(estimated, reference, strict=True))
    statistics: dict[str, Statistics] = {f"{key}_bias": errors}
    for seconds in END_TOLERANCES_SECONDS:
        statistics[f"{key}_within_{seconds}_pooled"] = (
            sum(1 for error in errors if abs(error) <= seconds),
            len(errors),
        )
    return statistics


def _alignment_statistics(key: str, pairs: Sequence[TimedPair], duration_seconds: float) -> dict[str, Statistics]:
    if not pairs:
        return {}
    errors = alignment_errors(
        [pair.reference_seconds for pair in pairs], [pair.estimated_seconds for pair in pairs], duration_seconds
    )
    return dict(_error_statistics(key, errors))


def _error_statistics(key: str, errors: AlignmentErrors) -> Iterator[tuple[str, Statistics]]:
    distances = tuple(abs(error) for error in errors.errors_seconds)
    count = len(distances)
    yield f"{key}_mean_over_songs", (errors.mean_seconds, 1)
    yield f"{key}_median_over_songs", (errors.mean_seconds,)
    yield f"{key}_mean_pooled", (sum(distances), count)
    yield f"{key}_median_pooled", distances
    yield f"{key}_mean_of_medians", (errors.median_seconds, 1)
    yield f"{key}_bias", errors.errors_seconds
    for seconds, share, below in zip(TOLERANCES_SECONDS, errors.shares, errors.shares_below, strict=True):
        yield f"{key}_within_{seconds}", (share, 1)
        yield f"{key}_within_{seconds}_pooled", (round(share * count), count)
        yield f"{key}_below_{seconds}", (below, 1)
    yield f"{key}_pcs", (errors.correct_segments, 1)
    if errors.correct_segments_mirex is not None:
        yield f"{key}_pcs_mirex", (errors.correct_segments_mirex, 1)
    yield f"{key}_perceptual", (errors.perceptual, 1)


def _separation_statistics(scores: SeparationScores) -> Iterator[tuple[str, Statistics]]:
    if scores.mixture_si_sdr_db is not None and scores.vocals_si_sdr_db is not None:
        yield "si_sdr", (scores.vocals_si_sdr_db, 1)
        yield "si_sdr_mixture", (scores.mixture_si_sdr_db, 1)
        yield "si_sdr_gain", (scores.vocals_si_sdr_db - scores.mixture_si_sdr_db, 1)
    for suffix, measured in (("", scores.vocals), ("_mixture", scores.mixture)):
        for measure in BSS_EVAL if measured is not None else ():
            yield f"bss_{measure}{suffix}", (getattr(measured, f"{measure}_db"),)
