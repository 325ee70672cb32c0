"""Lyrics as they are written, how they are spelled for an acoustic model, and the form that words are counted in.

Conventions
- A word is what stands between white space, exactly as written: case, accents, digits and punctuation stay in it.
- A line that is all in square brackets, such as `[Chorus]`, is a heading: kept in the text but not sung, like
  blank lines.
- What is said differs from what is written for digits ("2nd") and symbols ("&"): both `spell` and `normalize` verbalise
  them, in the lyrics' language.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path


@dataclass(frozen=True)
class LyricLine:
    """A sung line and its words, both as written."""

    text: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Lyrics:
    """The lyrics of a song: the whole text as written, headings and blank lines included, and its sung lines."""

    text: str
    lines: tuple[LyricLine, ...]

    @property
    def sung_text(self) -> str:
        """The sung lines, with one blank line wherever blank lines or a heading part them."""
        lines = (line.strip() for line in self.text.splitlines())
        text = "\n".join("" if is_heading(line) else line for line in lines)
        return re.sub(r"\n{3,}", "\n\n", text).strip()


def parse_lyrics(text: str) -> Lyrics:
    """Find the sung lines of a text.

    Raises:
        ValueError: no line is sung.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    stripped = (line.strip() for line in text.splitlines())
    lines = tuple(LyricLine(line, tuple(line.split())) for line in stripped if line and not is_heading(line))
    if not lines:
        raise ValueError(_NOTHING_SUNG)
    return Lyrics(text, lines)


def read_lyrics(path: Path) -> Lyrics:
    """Read lyrics in UTF-8, in UTF-16 with its byte order mark, or else in Windows-1252 or Latin-1.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a folder, a file that is not text, or one without a sung line; the message names it.
    """
    _require_file(path)
    text = _decode(path.read_bytes())
    if "\0" in text:
        raise _not_text(path)
    try:
        return parse_lyrics(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def stream_lyrics(path: Path) -> Iterator[str]:
    """The sung lines of lyrics one after the other, as `read_lyrics` finds them, of files too large for the memory.

    The file is read twice, the first time to find its encoding.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a folder, a file that is not text, or one without a sung line; the message names it.
    """
    _require_file(path)
    empty = True
    with path.open(encoding=_encoding(path)) as file:
        for line in chain.from_iterable(map(str.splitlines, file)):
            if (stripped := line.removeprefix("\ufeff").strip()) and not is_heading(stripped):
                empty = False
                yield stripped
    if empty:
        raise ValueError(f"{path}: {_NOTHING_SUNG}")


_NOTHING_SUNG = "the lyrics are empty: nothing but blank lines and [headings]; write the sung lines"
_CHUNK_CHARACTERS = 1 << 20


def is_heading(line: str) -> bool:
    """Whether a stripped line is all in square brackets."""
    return re.fullmatch(r"\[[^\[\]]*\]", line) is not None


def _require_file(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such lyrics file; check the name")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; give a text file with the lyrics")


def _encodings(start: bytes) -> tuple[str, ...]:
    return ("utf-16",) if start.startswith((b"\xff\xfe", b"\xfe\xff")) else ("utf-8-sig", "cp1252")


def _encoding(path: Path) -> str:
    """The first encoding that the whole file can be read in, found without holding it in memory."""
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


# ---- What is said for digits and symbols ----
