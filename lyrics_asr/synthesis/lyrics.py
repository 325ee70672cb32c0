"""Lyrics of synthetic songs: original lyrics in four languages, and generated words.

A lyrics folder has one folder per language, named by its code (`en`), with one file per song and two lists of songs
that are not for training: `held_out.txt` for evaluation and `development.txt` for tuning.

A training song has consecutive lines of one lyric. Some lines are replaced by words in random order or by generated
words, so that a model learns phones and spelling instead of a vocabulary. Generated words are letter approximations of
the language (Shannon 1948, "A Mathematical Theory of Communication", section 3): each letter is drawn given the
previous three, with backoff to two letters and one by Witten and Bell 1991 ("The Zero-Frequency Problem", method C).
Every pair of letters in a generated word occurs in the language.
"""

import re
from bisect import bisect
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np

import lyrics_asr
from lyrics_asr.lyrics.text import parse_corpus_lyrics
from lyrics_asr.synthesis.options import LYRICS_FOLDER

SPLIT_LISTS = {
    "development": "development.txt",
    "held_out": "held_out.txt",
}  # song names; all others are for training
ALPHABETS = {
    "en": "abcdefghijklmnopqrstuvwxyz",
    "es": "abcdefghijklmnopqrstuvwxyzáéíñóúü",
    "fr": "abcdefghijklmnopqrstuvwxyzàâæçèéêëîïôùûüÿœ",
    "de": "abcdefghijklmnopqrstuvwxyzßäöü",
}

Stanzas = list[list[str]]
"""The lines of a song, by stanza."""

_PACKAGE_PARENTS = (Path(lyrics_asr.__file__).parent, Path(lyrics_asr.__file__).parent.parent)
"""What has the folder of lyrics in a wheel, and in a checkout."""
_VOWELS = "aeiouyàáâäæèéêëíîïòóôöœùúûüÿ"
_SILENT_ENDING = re.compile("([gq]u)?(e|es|ents?)$")
_PARTS_OF_A_LYRIC = 3
_WORDS_OF_A_DRAWN_LINE = (3, 6)
_LETTERS_OF_A_GENERATED_WORD = range(2, 13)
_CONTEXT_LETTERS = 3
_TRIES = 2000
_BORDER = " "  # before and after the letters of a word
_ESCAPE = "\0"  # in place of a letter: back off to a shorter context


def load_lyrics(folder: Path, split: str, language: str = "en") -> dict[str, Stanzas]:
    """Load the lyrics of a language and split: the stanzas of each song, by name.

    Args:
        folder: of lyrics; `LYRICS_FOLDER` is that of this package where the working directory has none.
        split: "training", or a key of `SPLIT_LISTS`.
        language: code of the lyrics' language.

    Raises:
        FileNotFoundError: no lyrics of this language or split, or the song lists are missing.
    """
    if folder == LYRICS_FOLDER and not folder.is_dir():
        folder = next((parent / folder for parent in _PACKAGE_PARENTS if (parent / folder).is_dir()), folder)
    own = folder / language
    if not own.is_dir():
        there = ", ".join(path.name for path in sorted(folder.glob("*/"))) or "none"
        raise FileNotFoundError(
            f"{folder}: no lyrics in the language {language!r} (available: {there}); give the path of another "
            "folder, or another language"
        )
    lists = {name: set((own / file).read_text("utf-8").split()) for name, file in SPLIT_LISTS.items()}
    reserved = set().union(*lists.values())
    songs = {}
    for path in sorted(own.glob("*.txt")):
        belongs = path.stem in lists[split] if split in lists else path.stem not in reserved
        if belongs and path.name not in SPLIT_LISTS.values():
            stanzas = [
                [line.text for line in parse_corpus_lyrics(block).lines]
                for block in re.split(r"\n\s*\n", path.read_text("utf-8"))
                if block.strip()
            ]
            songs[path.stem] = [stanza for stanza in stanzas if stanza]
    if not songs:
        raise FileNotFoundError(f"{own}: no lyrics of the split {split!r}")
    return songs


def part_of_lyric(songs: dict[str, Stanzas], index: int) -> tuple[str, list[str]]:
    """The name of a lyric and a third of its lines; `3 * len(songs)` songs use every line of the split once."""
    name = sorted(songs)[index % len(songs)]
    lines = [line for stanza in songs[name] for line in stanza]
    part = index // len(songs) % _PARTS_OF_A_LYRIC
    return name, lines[part * len(lines) // _PARTS_OF_A_LYRIC : (part + 1) * len(lines) // _PARTS_OF_A_LYRIC]


def draw_song(
    songs: dict[str, Stanzas],
    language: str,
    rng: np.random.Generator,
    *,
    lines: int,
    word_salad_share: float,
    generated_share: float,
) -> Stanzas:
    """Draw the lyrics of a training song: consecutive lines of one lyric, some of them replaced.

    Args:
        songs: lyrics of one language, see `load_lyrics`.
        language: language of the lyrics.
        rng: random generator.
        lines: number of lines; fewer if the lyric is shorter.
        word_salad_share: fraction of lines replaced by words of `songs` in random order.
        generated_share: fraction of lines replaced by generated words, see `SpellingModel`.
    """
    stanzas = songs[sorted(songs)[int(rng.integers(len(songs)))]]
    total = sum(len(stanza) for stanza in stanzas)
    first = int(rng.integers(max(1, total - lines + 1)))
    vocabulary = words_of(songs, language)
    drawn = []
    position = 0
    for stanza in stanzas:
        own = stanza[max(0, first - position) : max(0, first + lines - position)]
        position += len(stanza)
        if own:
            drawn.append([_draw_line(line, vocabulary, rng, word_salad_share, generated_share) for line in own])
    return drawn


def words_of(songs: dict[str, Stanzas], language: str) -> tuple[str, ...]:
    """The distinct words of lyrics, in lower case and sorted, with inner apostrophes.

    Words with letters outside the language's alphabet are dropped.
    """
    text = "\n".join(line for stanzas in songs.values() for stanza in stanzas for line in stanza)
    found = set(re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text.lower().replace("’", "'")))
    allowed = {*ALPHABETS[language], "'"}
    return tuple(sorted(word for word in found if allowed.issuperset(word)))


@dataclass(frozen=True)
class SpellingModel:
    """A letter n-gram model of the words of a language.

    Args:
        words: training words; not empty.
        lengths: numbers of letters of the training words, with repetitions.
        edges: consonant clusters at the start and end of the training words, each with the border.
        following: for each context of one to three letters, borders included, the letters that follow it with their
            cumulative counts; includes the escape to a shorter context.
    """

    words: frozenset[str]
    lengths: tuple[int, ...]
    edges: frozenset[str]
    following: dict[str, tuple[str, tuple[int, ...]]]

    def draw(self, rng: np.random.Generator) -> str:
        """Draw a pronounceable word that is not in `words`, with a length drawn from `lengths`.

        Its first and last consonants occur at the edges of training words, and it has a vowel outside silent French
        endings. If no new word is found, one of `words` is returned.
        """
        length = self.lengths[int(rng.integers(len(self.lengths)))]
        for _ in range(_TRIES):
            word = self._draw_letters(rng)
            if (
                len(word) == length
                and word not in self.words
                and is_pronounceable(_SILENT_ENDING.sub("", word))
                and _edges(word) <= self.edges
            ):
                return word
        return sorted(self.words)[int(rng.integers(len(self.words)))]

    def _draw_letters(self, rng: np.random.Generator) -> str:
        text = _BORDER
        while len(text) == 1 or not text.endswith(_BORDER):
            context = text[-_CONTEXT_LETTERS:]
            letter = _ESCAPE
            while letter == _ESCAPE:
                if context in self.following:
                    letters, counts = self.following[context]
                    letter = letters[bisect(counts, rng.random() * counts[-1])]
                context = context[1:]
            text += letter
        return text.strip(_BORDER)


@lru_cache(maxsize=8)
def learn_spelling(vocabulary: tuple[str, ...]) -> SpellingModel:
    """Train a model on the words of a language; apostrophes separate words.

    Raises:
        ValueError: there is no pronounceable word of 2 to 12 letters.
    """
    words = {part for word in vocabulary for part in word.split("'")}
    words = {word for word in words if len(word) in _LETTERS_OF_A_GENERATED_WORD and is_pronounceable(word)}
    if not words:
        raise ValueError(f"no pronounceable word of 2 to 12 letters in {vocabulary[:5]}")
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for word in sorted(words):
        text = f"{_BORDER}{word}{_BORDER}"
        for i in range(1, len(text)):
            for first in range(max(0, i - _CONTEXT_LETTERS), i):
                counts[text[first:i]][text[i]] += 1
    for context, own in counts.items():
        if len(context) > 1:
            own[_ESCAPE] = len(own)
    following = {context: ("".join(own), tuple(accumulate(own.values()))) for context, own in counts.items()}
    edges = frozenset().union(*map(_edges, words))
    return SpellingModel(frozenset(words), tuple(sorted(map(len, words))), edges, following)


def is_pronounceable(word: str) -> bool:
    """Whether a lower-case word has a vowel, no four consonants in a row and no letter three times in a row.

    A digraph (ch, sch) counts as one consonant.
    """
    plain = re.sub("sch|ch|ck|ph|sh|th", "c", word)
    return re.search(f"[{_VOWELS}]", plain) is not None and re.search(rf"[^{_VOWELS}]{{4}}|(.)\1\1", plain) is None


def _edges(word: str) -> frozenset[str]:
    parts = re.split(f"[{_VOWELS}]", word)
    return frozenset((_BORDER + parts[0], parts[-1] + _BORDER))


def _draw_line(
    line: str,
    vocabulary: tuple[str, ...],
    rng: np.random.Generator,
    word_salad_share: float,
    generated_share: float,
) -> str:
    kind = rng.random()
    words = int(rng.integers(*_WORDS_OF_A_DRAWN_LINE, endpoint=True))
    if kind < word_salad_share:
        return " ".join(vocabulary[i] for i in rng.integers(len(vocabulary), size=words))
    if kind < word_salad_share + generated_share:
        model = learn_spelling(vocabulary)
        return " ".join(model.draw(rng) for _ in range(words))
    return line
