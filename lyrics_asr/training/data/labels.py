"""What a chunk of a song should be heard as: its letters and its phones, and when each is sung."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from lyrics_asr.corpora.manifest import Song, TimedPhone
from lyrics_asr.lyrics.spelling import WILDCARD, spell
from lyrics_asr.training.from_scratch.frame_targets import IGNORED
from lyrics_asr.training.from_scratch.grapheme_phone import G2pLogProbs, learn_g2p_log_probs, letter_spans
from lyrics_asr.types import TimedWord, Vocabulary

_VOWELS = frozenset("aeiouy")
_VOWEL_WEIGHT = 3.0
_BORDER_SECONDS = 0.04


@dataclass(frozen=True)
class Label:
    """A token of the vocabulary or the number of a phone, and where it is thought to be sung."""

    token_id: int
    start_seconds: float
    end_seconds: float


class Labeller:
    """Labels the words of some songs.

    Args:
        songs: all the songs; those whose phones are known teach which letters stand for which phones.
        vocabulary: what the letters are spelled with.
        names: of the phones; the first is number 1, all others are `IGNORED`.
    """

    def __init__(self, songs: Sequence[Song], vocabulary: Vocabulary, names: Sequence[str]) -> None:
        self._vocabulary = vocabulary
        self._g2p_log_probs = {
            language: _g2p_log_probs_of([song for song in songs if song.language == language], vocabulary)
            for language in {song.language for song in songs}
        }
        self._phone_numbers = {name: number for number, name in enumerate(names, start=1)}

    def letters(self, song: Song, words: Sequence[int], origin_seconds: float) -> list[Label]:
        """The tokens of some words of a song, by their numbers in it, with times from `origin_seconds`."""
        g2p_log_probs = self._g2p_log_probs[song.language]
        spelled = [
            letters_of(
                song.words[i], song.phones[i] if song.phones else (), g2p_log_probs, self._vocabulary, song.language
            )
            for i in words
        ]
        return [_since(origin_seconds, label) for label in with_word_delimiters(spelled, self._vocabulary)]

    def phones(self, song: Song, words: Sequence[int], origin_seconds: float) -> list[Label]:
        """The phones of some words; none where the song's are unknown."""
        return [
            _since(origin_seconds, Label(number, sound.start_seconds, sound.end_seconds))
            for i in words
            for sound in (song.phones[i] if song.phones else ())
            for number in [self._phone_numbers.get(sound.name, IGNORED)]
        ]


def phone_names(songs: Sequence[Song]) -> tuple[str, ...]:
    """The different phones of the songs, sorted."""
    return tuple(sorted({sound.name for song in songs for word in song.phones for sound in word}))


def letters_of(
    word: TimedWord, phones: Sequence[TimedPhone], g2p_log_probs: G2pLogProbs, vocabulary: Vocabulary, language: str
) -> list[Label]:
    """The tokens of a word and when each is sung; characters that the vocabulary lacks are left out.

    The letters of a word whose phones are known are sung with their phones. Those of another share its time, vowels
    three times as much as consonants, for it is vowels that are held.
    """
    spelled = _spelled(word.text, vocabulary, language)
    letters = _characters(spelled, vocabulary)
    if phones and letters:
        spans = letter_spans(letters, phones, g2p_log_probs)
    else:
        weights = [_VOWEL_WEIGHT if letter in _VOWELS else 1.0 for letter in letters]
        shares = np.cumsum([0.0, *weights]) / max(1.0, sum(weights))
        spans = list(pairwise((word.start_seconds + shares * (word.end_seconds - word.start_seconds)).tolist()))
    return [Label(i, *span) for i, span in zip(spelled, spans, strict=True)]


def with_word_delimiters(words: Sequence[Sequence[Label]], vocabulary: Vocabulary) -> list[Label]:
    """The labels of consecutive words, with the word border between them.

    A border is the last moment before a word begins, taken from the letter before it where there is no pause, but never
    more than half of that.
    """
    labels: list[Label] = []
    for word in words:
        if word and labels and vocabulary.word_delimiter_id is not None:
            last, end = labels[-1], word[0].start_seconds
            start = max(end - _BORDER_SECONDS, (last.start_seconds + last.end_seconds) / 2)
            labels[-1] = replace(last, end_seconds=min(last.end_seconds, start))
            labels.append(Label(vocabulary.word_delimiter_id, start, max(start, end)))
        labels += word
    return labels


def _since(origin_seconds: float, label: Label) -> Label:
    return Label(label.token_id, label.start_seconds - origin_seconds, label.end_seconds - origin_seconds)


def _spelled(text: str, vocabulary: Vocabulary, language: str) -> list[int]:
    return [column for column in spell(text, vocabulary, language) if column != WILDCARD]


def _characters(columns: Sequence[int], vocabulary: Vocabulary) -> str:
    return "".join(vocabulary.tokens[column].lower() for column in columns)


def _g2p_log_probs_of(songs: Sequence[Song], vocabulary: Vocabulary) -> G2pLogProbs:
    """What the different words of the songs of a language, whose phones are known, say of letters and phones."""
    spoken = {
        (word.text, song.language, tuple(sound.name for sound in phones))
        for song in songs
        if song.phones
        for word, phones in zip(song.words, song.phones, strict=True)
    }
    pairs = {
        (_characters(_spelled(text, vocabulary, language), vocabulary), phones) for text, language, phones in spoken
    }
    return learn_g2p_log_probs(sorted((letters, phones) for letters, phones in pairs if letters and phones))
