"""Texts for language models: files and folders of any size to normalised sentences, and word lists."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.lyrics.text import stream_lyrics


@dataclass(frozen=True)
class Sentences:
    """The sung lines of texts in the form that language models are built from, read anew each time they are gone over.

    One line is held at a time, whatever the length of the texts.
    """

    files: tuple[Path, ...]
    language: str

    @classmethod
    def of(cls, texts: Sequence[Path], language: str) -> "Sentences":
        """The sentences of files, and of the .txt files in folders at any depth, in the order of their names.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a folder without .txt files.
        """
        files: list[Path] = []
        for text in texts:
            found = sorted(text.glob("**/*.txt")) if text.is_dir() else [text]
            if not found:
                raise ValueError(f"{text}: no .txt file in there; check the folder")
            if not text.exists():
                raise FileNotFoundError(f"{text}: no such lyrics file; check the name")
            files += found
        return cls(tuple(files), language)

    def __iter__(self) -> Iterator[str]:
        return (normalize(line, self.language) for file in self.files for line in stream_lyrics(file))


def most_frequent_words(sentences: Iterable[str], count: int) -> frozenset[str]:
    """The most frequent words; of equally frequent ones the first in the alphabet.

    Raises:
        ValueError: fewer than one word wanted.
    """
    if count < 1:
        raise ValueError(f"--max-vocab {count} must be at least 1")
    seen = Counter(word for sentence in sentences for word in sentence.split())
    return frozenset(sorted(seen, key=lambda word: (-seen[word], word))[:count])


def read_vocabulary(path: Path) -> frozenset[str]:
    """The words of a list in UTF-8, parted by white space, as lmplz's --limit_vocab_file takes it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not text, or without words.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such word list; check the name")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; give a file with the words")
    try:
        words = frozenset(path.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text ({error.reason}); save the word list as UTF-8") from error
    if not words:
        raise ValueError(f"{path}: has no words; list some, or leave the vocabulary open")
    return words
