"""Training text for language models: normalized sentences from files and folders of any size, and word lists."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.lyrics.text import stream_lyrics


@dataclass(frozen=True)
class Sentences:
    """The sung lines of text files, normalized. Each iteration reads the files again, one line at a time.

    Args:
        files: lyrics files.
        language: language of the lyrics, to verbalize digits and symbols.
    """

    files: tuple[Path, ...]
    language: str

    @classmethod
    def of(cls, texts: Sequence[Path], language: str) -> "Sentences":
        """Collect files, and the .txt files in folders at any depth, sorted by name.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a folder without .txt files.
        """
        files: list[Path] = []
        for text in texts:
            found = sorted(text.glob("**/*.txt")) if text.is_dir() else [text]
            if not found:
                raise ValueError(f"{text}: no .txt files in this folder; check the path")
            if not text.exists():
                raise FileNotFoundError(f"{text}: no such lyrics file; check the name")
            files += found
        return cls(tuple(files), language)

    def __iter__(self) -> Iterator[str]:
        return (normalize(line, self.language) for file in self.files for line in stream_lyrics(file))


def most_frequent_words(sentences: Iterable[str], count: int) -> frozenset[str]:
    """The `count` most frequent words; ties are broken alphabetically.

    Raises:
        ValueError: `count` is below 1.
    """
    if count < 1:
        raise ValueError(f"--max-vocab is {count}; it must be at least 1")
    seen = Counter(word for sentence in sentences for word in sentence.split())
    return frozenset(sorted(seen, key=lambda word: (-seen[word], word))[:count])


def read_vocabulary(path: Path) -> frozenset[str]:
    """Read a word list: UTF-8, separated by white space, as for lmplz's --limit_vocab_file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8 text, or empty.
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
        raise ValueError(f"{path}: the word list is empty; add words, or omit it to allow all words")
    return words
