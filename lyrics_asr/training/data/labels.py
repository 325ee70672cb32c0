"""What a chunk of a song should be heard as: its letters and its speech sounds, and when each is sung."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from lyrics_asr.corpora.manifest import Song, Sound
from lyrics_asr.lyrics.spelling import WILDCARD, spell
from lyrics_asr.training.data.grapheme_phone import Affinity, learn_affinity, letter_spans
from lyrics_asr.types import TimedWord, Vocabulary

UNKNOWN_SOUND = -100
"""The number of a sound that has none; a frame that sings it teaches nothing."""

_VOWELS = frozenset("aeiouy")
_VOWEL_WEIGHT = 3.0
_BORDER_SECONDS = 0.04


@dataclass(frozen=True)
class Label:
    """A token of the vocabulary or the number of a speech sound, and where it is thought to be sung."""

    token_id: int
    start_seconds: float
    end_seconds: float


class Labeller:
    """Labels the words of some songs.

    Args:
        songs: all the songs; those whose sounds are known teach which letters stand for which sounds.
        vocabulary: what the letters are spelled with.
        names: of the speech sounds; the first is number 1, all others are `UNKNOWN_SOUND`.
    """

    def __init__(self, songs: Sequence[Song], vocabulary: Vocabulary, names: Sequence[str]) -> None:
        self._vocabulary = vocabulary
        self._affinities = {
            language: _affinity_in([song for song in songs if song.language == language], vocabulary)
            for language in {song.language for song in songs}
        }
        self._sound_numbers = {name: number for number, name in enumerate(names, start=1)}

    def letters(self, song: Song, words: Sequence[int], origin_seconds: float) -> list[Label]:
        """The tokens of some words of a song, by their numbers in it, with times from `origin_seconds`."""
        affinity = self._affinities[song.language]
        spelled = [
            letters_of(song.words[i], song.sounds[i] if song.sounds else (), affinity, self._vocabulary, song.language)
            for i in words
        ]
        return [_since(origin_seconds, label) for label in with_word_delimiters(spelled, self._vocabulary)]

    def sounds(self, song: Song, words: Sequence[int], origin_seconds: float) -> list[Label]:
        """The sounds of some words; none where the song's are unknown."""
        return [
            _since(origin_seconds, Label(number, sound.start_seconds, sound.end_seconds))
            for i in words
            for sound in (song.sounds[i] if song.sounds else ())
            for number in [self._sound_numbers.get(sound.name, UNKNOWN_SOUND)]
        ]


def sound_names(songs: Sequence[Song]) -> tuple[str, ...]:
    """The different speech sounds of the songs, sorted."""
    return tuple(sorted({sound.name for song in songs for word in song.sounds for sound in word}))


def letters_of(
    word: TimedWord, sounds: Sequence[Sound], affinity: Affinity, vocabulary: Vocabulary, language: str
) -> list[Label]:
    """The tokens of a word and when each is sung; characters that the vocabulary lacks are left out.

    The letters of a word whose sounds are known are sung with their sounds. Those of another share its time, vowels
    three times as much as consonants, for it is vowels that are held.
    """
    spelled = _spelled(word.text, vocabulary, language)
    letters = _characters(spelled, vocabulary)
    if sounds and letters:
        spans = letter_spans(letters, sounds, affinity)
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


def _affinity_in(songs: Sequence[Song], vocabulary: Vocabulary) -> Affinity:
    """What the different words of the songs of a language, whose sounds are known, say of letters and sounds."""
    spoken = {
        (word.text, song.language, tuple(sound.name for sound in sounds))
        for song in songs
        if song.sounds
        for word, sounds in zip(song.words, song.sounds, strict=True)
    }
    pairs = {
        (_characters(_spelled(text, vocabulary, language), vocabulary), sounds) for text, language, sounds in spoken
    }
    return learn_affinity(sorted((letters, sounds) for letters, sounds in pairs if letters and sounds))
