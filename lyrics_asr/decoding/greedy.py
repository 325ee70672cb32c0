"""Greedy CTC decoding, without a language model."""

from lyrics_asr.alignment.word_spans import WordSpan, timed_word
from lyrics_asr.decoding.lexicon import BLANK, BLANK_COLUMN, DELIMITER, Symbols
from lyrics_asr.types import Emissions, TimedWord, mean_confidence


def greedy(emissions: Emissions) -> tuple[TimedWord, ...]:
    """Decode the most likely symbol at every frame.

    Words are in lower case. Their times and confidences follow the conventions of `alignment.word_spans`.
    """
    symbols = Symbols.of(emissions.vocabulary)
    if not len(emissions.log_probs):
        return ()
    best_log_probs, best = symbols.columns(emissions.log_probs).max(dim=1)
    words: list[TimedWord] = []
    text, frames, previous = "", list[int](), BLANK_COLUMN
    for frame, column in enumerate([*best.tolist(), None]):
        label = DELIMITER if column is None else symbols.labels[column]
        if label not in (BLANK, DELIMITER):
            text += label if column != previous else ""
            frames.append(frame)
        elif label == DELIMITER and frames:
            score = mean_confidence(best_log_probs[frames].exp().tolist())
            words.append(timed_word(text, WordSpan(frames[0], frames[-1] + 1, score), 0, emissions))
            text, frames = "", []
        previous = column
    return tuple(words)
