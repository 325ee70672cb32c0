"""Lyrics as written: sung lines, words and headings of a text or a text file.

Conventions
- Words are separated by white space and kept exactly as written, with case, accents, digits and punctuation.
- A line that is entirely in square brackets, such as `[Chorus]`, is a heading. Headings and blank lines are kept in the
  text but are not sung.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

_NO_SUNG_LINE = "the lyrics are empty: nothing but blank lines and [headings]; write the sung lines"
_CHUNK_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class LyricLine:
    """A sung line and its words, as written."""

    text: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Lyrics:
    """The lyrics of a song: the whole text as written, with headings and blank lines, and the sung lines."""

    text: str
    lines: tuple[LyricLine, ...]

    @property
    def sung_text(self) -> str:
        """The sung lines, with one blank line in place of any blank lines or headings between them."""
        lines = (line.strip() for line in self.text.splitlines())
        text = "\n".join("" if is_heading(line) else line for line in lines)
        return re.sub(r"\n{3,}", "\n\n", text).strip()


def parse_lyrics(text: str) -> Lyrics:
    """Split a text into sung lines and words.

    Raises:
        ValueError: the text has no sung line.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    lines = []
    for line in map(str.strip, text.splitlines()):
        if line and not is_heading(line):
            lines.append(LyricLine(line, tuple(line.split())))
    if not lines:
        raise ValueError(_NO_SUNG_LINE)
    return Lyrics(text, tuple(lines))


def read_lyrics(path: str | Path) -> Lyrics:
    """Read lyrics in UTF-8, UTF-16 with a byte order mark, Windows-1252 or Latin-1.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the path is a folder, not a text file, or has no sung line; the message names it.
    """
    path = Path(path)
    _require_file(path)
    text = _decode(path.read_bytes())
    if "\0" in text:
        raise _not_text(path)
    try:
        return parse_lyrics(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def stream_lyrics(path: Path) -> Iterator[str]:
    """Yield the sung lines of a file that may be too large for memory; the same lines as `read_lyrics`.

    The file is read twice, first to detect its encoding.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the path is a folder, not a text file, or has no sung line; the message names it.
    """
    _require_file(path)
    empty = True
    with path.open(encoding=_encoding(path)) as file:
        for line in chain.from_iterable(map(str.splitlines, file)):
            if (stripped := line.removeprefix("\ufeff").strip()) and not is_heading(stripped):
                empty = False
                yield stripped
    if empty:
        raise ValueError(f"{path}: {_NO_SUNG_LINE}")


def is_heading(line: str) -> bool:
    """Whether a line without outer white space is entirely in square brackets."""
    return re.fullmatch(r"\[[^\[\]]*\]", line) is not None


def _require_file(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such lyrics file; check the name")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; give a text file with the lyrics")


def _encodings(start: bytes) -> tuple[str, ...]:
    return ("utf-16",) if start.startswith((b"\xff\xfe", b"\xfe\xff")) else ("utf-8-sig", "cp1252")


def _encoding(path: Path) -> str:
    """The first encoding that can read the whole file, found without loading the file into memory."""
    with path.open("rb") as start:
        candidates = _encodings(start.read(2))
    for encoding in candidates:
        try:
            with path.open(encoding=encoding) as file:
                while chunk := file.read(_CHUNK_CHARACTERS):
                    if "\0" in chunk:
                        raise _not_text(path)
            return encoding
        except UnicodeDecodeError:
            continue
    return "latin-1"


def _not_text(path: Path) -> ValueError:
    return ValueError(f"{path}: is not a text file; save the lyrics as plain text in UTF-8")


def _decode(data: bytes) -> str:
    for encoding in _encodings(data):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")
