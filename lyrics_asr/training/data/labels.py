"""Training labels of a chunk: its letters and its phones, with their times.

What is said of letters holds for the word pieces and phonemes of other vocabularies too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from lyrics_asr.corpora.manifest import TimedPhone
from lyrics_asr.lyrics.spelling import spell
from lyrics_asr.training.from_scratch.frame_targets import IGNORED
from lyrics_asr.training.from_scratch.grapheme_phone import G2pLogProbs, learn_g2p_log_probs, letter_spans
from lyrics_asr.types import WILDCARD, TimedWord, Vocabulary

_VOWELS = frozenset("aeiouyæøœɐɑɒɔəɚɛɜɝɞɤɨɪɯɵɶʉʊʌʏᵻ")
_VOWEL_WEIGHT = 3.0
_DELIMITER_SECONDS = 0.04

SpokenWord = tuple[str, str, tuple[str, ...]]
"""Language, text and the names of the phones of a word."""


@dataclass(frozen=True)
class Label:
    """A token of the vocabulary, or the number of a phone, with its estimated time."""

    token_id: int
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Labeller:
    """Turns timed words into labels.

    Args:
        vocabulary: of the letters.
        phones: the phone inventory; the first is number 1 and phones outside it are `IGNORED`.
        g2p_log_probs: of each language, to find the times of letters from those of phones.
    """

    vocabulary: Vocabulary
    phones: Sequence[str] = ()
    g2p_log_probs: Mapping[str, G2pLogProbs] = field(default_factory=dict)

    def letter_labels(
        self, words: Sequence[TimedWord], phones: Sequence[Sequence[TimedPhone]], language: str
    ) -> list[list[Label]]:
        """The letters of each word, for `with_word_delimiters`.

        Args:
            words: in order.
            phones: of each word; none where they are not known.
            language: ISO 639-1 code.
        """
        g2p = self.g2p_log_probs.get(language, {})
        return [letters_of(word, own, g2p, self.vocabulary, language) for word, own in zip(words, phones, strict=True)]

    def phone_labels(self, phones: Sequence[TimedPhone]) -> list[Label]:
        """The phones by their numbers."""
        numbers = {name: number for number, name in enumerate(self.phones, start=1)}
        return [Label(numbers.get(phone.name, IGNORED), phone.start_seconds, phone.end_seconds) for phone in phones]


def letters_of(
    word: TimedWord, phones: Sequence[TimedPhone], g2p_log_probs: G2pLogProbs, vocabulary: Vocabulary, language: str
) -> list[Label]:
    """The tokens of a word with their times; characters outside the vocabulary are left out.

    Where the phones are known, letters take the time of their phones. Otherwise they share the time of the word; a
    vowel gets three times as much as a consonant, because vowels are the ones that are held.
    """
    spelled = _spelled(word.text, vocabulary, language)
    letters = _tokens(spelled, vocabulary)
    if phones and letters:
        spans = letter_spans(letters, phones, g2p_log_probs)
    else:
        weights = [sum(_VOWEL_WEIGHT if part in _VOWELS else 1.0 for part in letter) for letter in letters]
        shares = np.cumsum([0.0, *weights]) / max(1.0, sum(weights))
        spans = list(pairwise((word.start_seconds + shares * (word.end_seconds - word.start_seconds)).tolist()))
    return [Label(i, *span) for i, span in zip(spelled, spans, strict=True)]


def with_word_delimiters(words: Sequence[Sequence[Label]], vocabulary: Vocabulary) -> list[Label]:
    """The labels of consecutive words, with word delimiters between them.

    A delimiter ends where the next word starts. Without a pause it takes its time from the letter before it, at most
    half of that letter's.
    """
    labels: list[Label] = []
    for word in words:
        if word and labels and vocabulary.word_delimiter_id is not None:
            last, end = labels[-1], word[0].start_seconds
            start = max(end - _DELIMITER_SECONDS, (last.start_seconds + last.end_seconds) / 2)
            labels[-1] = replace(last, end_seconds=min(last.end_seconds, start))
            labels.append(Label(vocabulary.word_delimiter_id, start, max(start, end)))
        labels += word
    return labels


def learn_g2p(words: Sequence[SpokenWord], vocabulary: Vocabulary) -> dict[str, G2pLogProbs]:
    """Estimate ln P(phone | letter) of each language from spoken words."""
    pairs: dict[str, set[tuple[tuple[str, ...], tuple[str, ...]]]] = {}
    for language, text, phones in words:
        letters = _tokens(_spelled(text, vocabulary, language), vocabulary)
        if letters and phones:
            pairs.setdefault(language, set()).add((letters, phones))
    return {language: learn_g2p_log_probs(sorted(own)) for language, own in pairs.items()}


def _spelled(text: str, vocabulary: Vocabulary, language: str) -> list[int]:
    return [column for column in spell(text, vocabulary, language) if column != WILDCARD]


def _tokens(columns: Sequence[int], vocabulary: Vocabulary) -> tuple[str, ...]:
    return tuple(vocabulary.tokens[column].lower() for column in columns)
