"""Transcription with an attention model for the words and the CTC model for their times and confidences.

An attention model such as Whisper knows far more words than a small CTC model with a language model. But its times are
rough, it repeats itself, and it invents text where nobody sings. The CTC model sees every frame. The candidate texts of
a segment are scored by both,

    (1 - w) log P_attention(text) + w log P_CTC(text),

as in Watanabe et al. 2017, "Hybrid CTC/Attention Architecture for End-to-End Speech Recognition", equation 25. The best
text is aligned with the emissions of its segment, and words that do not fit there are dropped.
"""

from collections.abc import Sequence
from dataclasses import replace

from lyrics_asr.alignment.forced_alignment import align_lyrics
from lyrics_asr.decoding.forward import text_log_prob
from lyrics_asr.decoding.lexicon import Symbols
from lyrics_asr.decoding.lines import timed_line
from lyrics_asr.emissions import Emissions
from lyrics_asr.lyrics.spelling import spellable_words
from lyrics_asr.lyrics.text import parse_corpus_lyrics
from lyrics_asr.options import TranscriberOptions
from lyrics_asr.types import AlignmentError, Candidate, SongText, TimedLine, TimedWord


def timed_lines(text: SongText, emissions: Emissions, options: TranscriberOptions) -> tuple[TimedLine, ...]:
    """Choose the text of each segment and find the time of its words.

    Args:
        text: what the transcriber found.
        emissions: of the whole song.
        options: weight of the CTC model, and which words are dropped.
    """
    grid, language, lines = emissions.grid, text.language, []
    for segment in text.segments:
        first, last = grid.frame(segment.start_seconds), grid.frame(segment.end_seconds)
        own = replace(
            emissions,
            log_probs=emissions.log_probs[first:last],
            duration_seconds=emissions.duration_seconds - first * grid.frame_seconds,
        )
        if not len(own.log_probs):
            continue
        chosen = _best(segment.candidates, own, options.ctc_weight, language)
        try:
            aligned = align_lyrics(
                own,
                parse_corpus_lyrics("\n".join(chosen.lines)),
                language=language,
                keep_all=True,
                calibrated=False,
            ).lines
        except (AlignmentError, ValueError):  # nothing to spell, or more letters than frames: not what was sung here
            continue
        for line in aligned:
            words = []
            for word in line.words:
                if word.confidence >= options.min_confidence:
                    words.append(_later(word, first * grid.frame_seconds))
            if words:
                lines.append(timed_line(words))
    return tuple(lines)


def _best(candidates: Sequence[Candidate], emissions: Emissions, ctc_weight: float, language: str) -> Candidate:
    """The candidate with the best joint score."""
    if len(candidates) == 1 or ctc_weight == 0:
        return candidates[0]
    symbols = Symbols.of(emissions.vocabulary)
    log_probs = symbols.columns(emissions.log_probs)

    def score(candidate: Candidate) -> float:
        words = spellable_words(" ".join(candidate.lines), emissions.vocabulary, language)
        ctc = text_log_prob(log_probs, symbols, words)
        return (1 - ctc_weight) * candidate.log_prob + ctc_weight * ctc

    return max(candidates, key=score)


def _later(word: TimedWord, seconds: float) -> TimedWord:
    return replace(word, start_seconds=word.start_seconds + seconds, end_seconds=word.end_seconds + seconds)
