"""Subtitles: SubRip (.srt), WebVTT, Advanced SubStation Alpha (.ass, .ssa) and TTML.

Conventions
- Each line of a cue is a line of the lyrics, with the time of its cue. Cues of single words are joined.
- Markup, notes, styles, comments, drawings, identifiers of cues, and notes such as "♪" are dropped.
- SubRip and WebVTT are read here, because pysubs2 1.8 drops lines of digits. TTML is read here, because pysubs2 needs a
  begin and an end everywhere and has no durations.
"""

import html
import re
from collections.abc import Iterable, Iterator
from xml.etree import ElementTree

from lyrics_asr.lyrics.sheet import SheetLine, TimeWindow
from lyrics_asr.lyrics.transcript_json import with_words_joined

_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2}(?:[.,]\d{1,3})?)"
_CUE = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}")
_BLOCKS = re.compile(r"^(?:NOTE|STYLE|REGION)\b(?:.+\n)*.*\n?(?=\n|\Z)", re.MULTILINE)
_MARKUP = re.compile(r"<[^<>]*>|\{\\[^{}]*\}|\{[biu]\}")
_ROLLING = re.compile(r"<\d+:\d+:\d+\.\d+><c>")
_NOT_SUNG_SPANS = ("x-translation", "x-roman")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def read(text: str) -> tuple[SheetLine, ...] | None:
    """Read the lines of all cues; None if the text has no cue.

    Raises:
        ValueError: the markup of a TTML or ASS file is damaged.
    """
    if re.search(r"^(?:\[Script Info\]|Dialogue:)", text, re.MULTILINE):
        return tuple(_read_ass(text))
    if re.search(r"<(?:\w+:)?tt\b", text[:1000]):
        return tuple(_read_ttml(text))
    return with_words_joined(tuple(_read_cues(text))) if any(map(_CUE.match, text.splitlines())) else None


def _read_cues(text: str) -> Iterator[SheetLine]:
    """The cues of SubRip and WebVTT."""
    is_web = text.startswith("WEBVTT")
    is_rolling = bool(_ROLLING.search(text))  # automatic captions show each line twice
    lines = (_BLOCKS.sub("", text) if is_web else text).splitlines()
    cues = [position for position, line in enumerate(lines) if _CUE.match(line)]
    last = ""
    for cue, following in zip(cues, [*cues[1:], len(lines) + 1], strict=True):
        body = lines[cue + 1 : following]
        if following <= len(lines) and body and _is_identifier(body, is_web):
            body = body[:-1]
        match = _CUE.match(lines[cue])
        assert match is not None
        window = _window(_clock(*match.groups()[:3]), _clock(*match.groups()[3:]))
        for line in body:
            plain = _plain(html.unescape(_MARKUP.sub("", line)))
            if plain and not (is_rolling and plain == last):
                yield SheetLine(plain, window)
                last = plain


def _is_identifier(body: list[str], is_web: bool) -> bool:
    """Whether the last line before a cue's times is its number or name."""
    after_blank = len(body) == 1 or not body[-2].strip()
    return body[-1].strip().isdigit() or (is_web and after_blank and bool(body[-1].strip()))


def _read_ass(text: str) -> Iterator[SheetLine]:
    import pysubs2

    try:
        events = pysubs2.SSAFile.from_string(text, format_="ass")
    except (pysubs2.Pysubs2Error, ValueError, IndexError, KeyError) as error:
        raise ValueError(f"looks like ASS subtitles but cannot be read ({error}); save them as .srt") from error
    for event in sorted(events, key=lambda event: event.start):
        if event.is_comment or event.is_drawing:
            continue
        for line in event.plaintext.split("\n"):
            if plain := _plain(line):
                yield SheetLine(plain, _window(event.start / 1000, event.end / 1000))


def _read_ttml(text: str) -> Iterator[SheetLine]:
    try:
        root = ElementTree.fromstring(text.encode())
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"looks like TTML but is not XML ({error}); save the lyrics as plain text") from error
    for paragraph in root.iter():
        if _local(paragraph.tag) != "p":
            continue
        begin, end = _ttml_seconds(paragraph.get("begin")), _ttml_seconds(paragraph.get("end"))
        duration = _ttml_seconds(paragraph.get("dur"))
        if begin is not None and end is None and duration is not None:
            end = begin + duration
        for line in "".join(_ttml_text(paragraph)).split("\n"):
            if plain := _plain(line):
                yield SheetLine(plain, None if begin is None else _window(begin, begin if end is None else end))


def _ttml_text(element: ElementTree.Element) -> Iterable[str]:
    yield re.sub(r"\s+", " ", element.text or "")
    for child in element:
        if _local(child.tag) == "br":
            yield "\n"
        elif not any(value in _NOT_SUNG_SPANS for value in child.attrib.values()) and _local(child.tag) != "metadata":
            yield from _ttml_text(child)
        yield re.sub(r"\s+", " ", child.tail or "")


def _ttml_seconds(time: str | None) -> float | None:
    """A clock time or a number with a unit, in seconds; None without one, or in frames or ticks."""
    if time is None:
        return None
    if match := re.fullmatch(r"([\d.]+)(h|m|s|ms)", time.strip()):
        return float(match[1]) * _SECONDS[match[2]]
    if match := re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)", time.strip()):
        return _clock(match[1], match[2] or "0", match[3])
    return None


def _local(tag: object) -> str:
    """The name of an XML element without its namespace."""
    return str(tag).rpartition("}")[2]


def _plain(line: str) -> str:
    return " ".join(re.sub(r"[♪♫♬♩\u200b\u200e\u200f]", " ", line).split())


def _window(start_seconds: float, end_seconds: float) -> TimeWindow:
    return TimeWindow(max(0.0, start_seconds), max(0.0, start_seconds, end_seconds))


def _clock(hours: str | None, minutes: str, seconds: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))
