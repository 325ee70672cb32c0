"""Greedy CTC decoding, without a language model."""

from lyrics_asr.alignment.word_spans import WordSpan, timed_words
from lyrics_asr.decoding.lexicon import BLANK, BLANK_COLUMN, DELIMITER, Symbols
from lyrics_asr.decoding.lines import mean_confidence
from lyrics_asr.emissions import Emissions
from lyrics_asr.types import WORD_START, TimedWord


def greedy(emissions: Emissions) -> tuple[TimedWord, ...]:
    """Decode the most likely symbol at every frame.

    Words are in lower case; of a vocabulary of phonemes, every phoneme is a word. Times and confidences follow the
    conventions of `alignment.word_spans`.
    """
    symbols = Symbols.of(emissions.vocabulary)
    if not len(emissions.log_probs):
        return ()
    best_log_probs, best = symbols.columns(emissions.log_probs).max(dim=1)
    texts, spans = list[str](), list[WordSpan]()
    text, frames, previous = "", list[int](), BLANK_COLUMN
    for frame, column in enumerate([*best.tolist(), None]):
        label = DELIMITER if column is None else symbols.labels[column]
        if text and column != previous and (column is None or symbols.starts_word(label)):
            score = mean_confidence(best_log_probs[frames].exp().tolist())
            texts.append(text)
            spans.append(WordSpan(frames[0], frames[-1] + 1, score))
            text, frames = "", []
        if label not in (BLANK, DELIMITER):
            text += label.removeprefix(WORD_START) if column != previous else ""
            frames.append(frame)
        previous = column
    return timed_words(texts, spans, emissions)
