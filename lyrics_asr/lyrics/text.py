"""Lyrics as people have them: sung lines and words of a text or a text file.

Conventions
- Words are separated by white space and kept exactly as written, with case, accents, digits and punctuation.
- The format is recognized by content: plain text, LRC, subtitles, JSON, chord sheets, HTML. Text is kept; times, chords
  and directives are not sung. A module reads each family of formats, and is imported for its files only.
- In a sheet, headings, repeat marks and blank lines are kept in the text but are not sung (see `sheet`).
- Backing vocals in parentheses are lines of their own, before or after the rest of their line (see `voices`).
- `parse_corpus_lyrics` and `stream_lyrics` are literal: corpora write what is sung, and only lines that are entirely in
  square brackets, such as `[Chorus]`, are headings.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import chain
from pathlib import Path

from lyrics_asr.lyrics.headings import is_heading
from lyrics_asr.lyrics.sheet import SheetLine, TimeWindow, find_sung_lines
from lyrics_asr.lyrics.voices import voice_parts
from lyrics_asr.types import Voice

_NO_SUNG_LINE = "the lyrics are empty: nothing but blank lines and [headings]; write the sung lines"
_CHUNK_CHARACTERS = 1 << 20

_TIME = r"(?:\d{1,2}:)?\d{1,3}:[0-5]?\d(?:[.:,]\d{1,3})?"
_CHORD = (
    r"(?:[A-Ha-h](?:is|es|s)?|DO|RE|MI|FA|SOL|LA|SI|Do|Re|Mi|Fa|Sol|La|Si)[#b♯♭]?(?:maj|min|m|M|dim|aug|sus|add|[\d°ø+()/#b-])*"
    r"(?:[A-H][#b]?)?\*?|N\.?C\.?|[x×]\d|[|:%/*-]+"
)
_FAMILIES = (
    ("transcript_json", re.compile(r'\A\s*(?:\{\s*["}]|\[\s*[\[{"\]])')),
    (
        "subtitles",
        re.compile(rf"\AWEBVTT|{_TIME}\s*-->|^\[Script Info\]|^Dialogue:|\A.{{0,999}}<(?:\w+:)?tt\b", re.M | re.S),
    ),
    ("ultrastar", re.compile(r"^[:*FRG] ?-?\d+ +\d+ +-?\d+ ", re.M)),
    (
        "lrc",
        re.compile(
            rf"^\s*(?:[\[<(]\s*{_TIME}[^\w\n]*(?:{_TIME}\s*)?[\])>]|{_TIME}(?:\s|$))|[\[(]{_TIME}[\])]\s*$", re.M
        ),
    ),
    ("web", re.compile(r"</?(?:br|p|div|span|pre|body|li)\b[^<>]*>|&(?:#\d+|#x[\da-f]+|[a-z]{2,8});", re.I)),
    (
        "chords",
        re.compile(
            rf"^\s*\{{\w+(?:[:\s].*)?\}}\s*$|[\[(](?:{_CHORD})[\])]|\[ch\]|[-–]{{4}}"
            r"|^\W*(?:[Cc]apo\b|\w[\w ]*[:=]\s*\w)"
            r"|^(?:\s*\w+:)?[ \t|]*[b#]?[1-7][^\s|]*(?:[ \t|]+[b#]?[1-7][^\s|]*)+[ \t|]*$"
            rf"|^(?:\s*\w+:|\s*\[[^\[\]]*\])?[ \t|(]*\.?(?:{_CHORD})\)?(?:[ \t|(]+(?:{_CHORD})[)|]*)*[ \t|]*$",
            re.M,
        ),
    ),
)
"""The modules that read the families of formats, and what each text of a family contains."""
_LONG_SPACE = re.compile(r"[ \t]{9,}")  # patterns for the ends of lines take quadratic time over it
_RESIDUE = re.compile(
    r"Embed\b|EmbedShare|\d ?(?:Contrib|Mitwirkende|Colaborador)|Get tickets|\[\?+\]|^(?:Trans|Trad|Übers)\w+$"
    r"|also like|aimerez|aussi aimer|te (?:puede|podría)|auch gefallen|Lyrics|\blyrics (?:by|from)|[©℗]|://|www\.|\.com\b"
    r"|Commercial use|^\(\d{10,}\)$|^\W*[^\W\d_]+(?:\(s\)|/s)?(?: ?[^\W\d_]+){0,2} ?(?:[:：]|by\b|par\b|por\b|von\b)",
    re.M,
)


@dataclass(frozen=True)
class LyricLine:
    """A sung line and its words, as written.

    Args:
        text: the line.
        words: its words.
        window: when it is sung, according to the lyrics file; None if the file has no time for it.
        voice: who sings it.
    """

    text: str
    words: tuple[str, ...]
    window: TimeWindow | None = None
    voice: Voice = "lead"


@dataclass(frozen=True)
class Lyrics:
    """The lyrics of a song.

    Args:
        text: the whole text as written, with headings and blank lines, but without the times and markup of a format.
        lines: the sung lines.
        notes: what was guessed, repaired or added while reading, for the user.
    """

    text: str
    lines: tuple[LyricLine, ...]
    notes: tuple[str, ...] = ()

    @property
    def sung_text(self) -> str:
        """The sung lines, with one blank line in place of any blank lines or headings between them."""
        lines = (line.strip() for line in self.text.splitlines())
        text = "\n".join("" if is_heading(line) else line for line in lines)
        return re.sub(r"\n{3,}", "\n\n", text).strip()


def read_lyrics(path: str | Path, encoding: str | None = None, expand_repeats: bool = True) -> Lyrics:
    """Read lyrics in any format and encoding that is recognized by content.

    Args:
        path: file or pipe; it is read once.
        encoding: encoding of the file, such as "windows-1251"; None to recognize it.
        expand_repeats: see `parse_lyrics`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the path is a folder, not a text file, or has no sung line; the message names it.
    """
    path = Path(path)
    data = _read_bytes(path)
    try:
        text, notes = _decode(data, encoding)
        lyrics = parse_lyrics(text, expand_repeats)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return replace(lyrics, notes=notes + lyrics.notes)


def parse_lyrics(text: str, expand_repeats: bool = True) -> Lyrics:
    """Recognize the format of a text, and find its sung lines and words.

    Args:
        text: lyrics as people have them.
        expand_repeats: whether a heading without lines, such as "[Chorus]", stands for the lines that it had before.

    Raises:
        ValueError: the text has no sung line, or is damaged.
    """
    text = _with_plain_line_ends(text)
    compact = _LONG_SPACE.sub(" " * 8, text)
    sheet = _read_sheet(compact)
    if sheet is None:
        sheet = tuple(SheetLine(line) for line in compact.splitlines())
    else:
        text = "\n".join(line.text for line in sheet)
    if _RESIDUE.search(text):
        from lyrics_asr.lyrics.residue import without_residue

        sheet = without_residue(sheet)
    sung = find_sung_lines(sheet, expand_repeats=expand_repeats)
    if not sung.lines:
        raise ValueError(_NO_SUNG_LINE)
    lines = tuple(chain.from_iterable(map(_by_voice, sung.lines)))
    notes = []
    if sung.repeated:
        notes.append(
            f"repeated from above: {', '.join(sung.repeated)} (headings without lines; --no-expand-repeats leaves them "
            "out)"
        )
    return Lyrics(text, lines, tuple(notes))


def _by_voice(line: SheetLine) -> list[LyricLine]:
    """A line without its backing vocals, and each phrase of theirs."""
    words, parts = tuple(line.text.split()), []
    for part in voice_parts(words):
        own = tuple(words[place] for place in part.places)
        text = line.text if len(own) == len(words) else " ".join(own)
        parts.append(LyricLine(text, own, line.window, part.voice))
    return parts


def read_corpus_lyrics(path: Path) -> Lyrics:
    """Read the lyrics of a corpus (see `parse_corpus_lyrics`) in any encoding.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the path is a folder, not a text file, or has no sung line; the message names it.
    """
    data = _read_bytes(path)
    try:
        text, notes = _decode(data, None)
        return replace(parse_corpus_lyrics(text), notes=notes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse_corpus_lyrics(text: str) -> Lyrics:
    """Split the lyrics of a corpus into sung lines and words: all lines but blank ones and those in square brackets.

    Raises:
        ValueError: the text has no sung line.
    """
    text = _with_plain_line_ends(text)
    lines = []
    for line in map(str.strip, text.splitlines()):
        if line and not is_heading(line):
            lines.append(LyricLine(line, tuple(line.split())))
    if not lines:
        raise ValueError(_NO_SUNG_LINE)
    return Lyrics(text, tuple(lines))


def stream_lyrics(path: Path) -> Iterator[str]:
    """Yield the sung lines of a file that may be too large for memory; the same lines as `parse_corpus_lyrics`.

    The file is read twice, first to detect its encoding: UTF-8, UTF-16 with a byte order mark, Windows-1252 or Latin-1.

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


def _read_sheet(text: str) -> Sequence[SheetLine] | None:
    """All lines of a text in a known format; None for plain text."""
    if text.startswith("{\\rtf"):
        raise ValueError("is a document in RTF; save the lyrics as plain text")
    for module, pattern in _FAMILIES:
        if pattern.search(text):
            found: str | Sequence[SheetLine] | None = import_module(f"lyrics_asr.lyrics.{module}").read(text)
            if isinstance(found, str):  # what was inside has a format of its own
                inner = _with_plain_line_ends(found)
                return _read_sheet(inner) or tuple(SheetLine(line) for line in inner.splitlines())
            if found is not None:
                return found
    return None


def _with_plain_line_ends(text: str) -> str:
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _decode(data: bytes, encoding: str | None) -> tuple[str, tuple[str, ...]]:
    """A text, and what was guessed or repaired in it."""
    if encoding is None and b"\0" not in data:
        with suppress(UnicodeDecodeError):
            return data.decode("utf-8-sig"), ()
    from lyrics_asr.lyrics.encoding import decode

    decoded = decode(data, encoding)
    return decoded.text, () if decoded.note is None else (decoded.note,)


def _read_bytes(path: Path) -> bytes:
    _require_file(path)
    return path.read_bytes()


def _require_file(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such lyrics file; check the name")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; give a text file with the lyrics")


def _encoding(path: Path) -> str:
    """The first encoding that can read the whole file, found without loading the file into memory."""
    with path.open("rb") as start:
        is_utf16 = start.read(2) in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ("utf-16",) if is_utf16 else ("utf-8-sig", "cp1252"):
        try:
            with path.open(encoding=encoding) as file:
                while chunk := file.read(_CHUNK_CHARACTERS):
                    if "\0" in chunk:
                        raise ValueError(f"{path}: is not a text file; save the lyrics as plain text in UTF-8")
            return encoding
        except UnicodeDecodeError:
            continue
    return "latin-1"
