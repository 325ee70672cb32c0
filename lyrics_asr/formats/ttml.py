"""TTML as Apple Music uses it: a paragraph per line, a span per word, background vocals apart.

Conventions
- Times are clock times, `mm:ss.fff` or `h:mm:ss.fff`. All count from the start of the song, as Apple's players take
  them; the TTML standard would count those of a span from the start of its paragraph.
- Words in parentheses are background vocals, in a span with the role `x-bg`.
- Sections (`div`) are separated by pauses of at least 10 s.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from itertools import groupby

from lyrics_asr.formats.text import one_line
from lyrics_asr.types import TimedLine, TimedWord, Transcript

_SECTION_PAUSE_SECONDS = 10.0
_TTML = "http://www.w3.org/ns/ttml"
_METADATA = "http://www.w3.org/ns/ttml#metadata"
_ITUNES = "http://music.apple.com/lyric-ttml-internal"
_SINGER = "v1"


def ttml(transcript: Transcript) -> str:
    """Render as TTML with a time per word."""
    for prefix, uri in (("", _TTML), ("ttm", _METADATA), ("itunes", _ITUNES)):
        ElementTree.register_namespace(prefix, uri)
    root = ElementTree.Element(f"{{{_TTML}}}tt", {f"{{{_ITUNES}}}timing": "Word"})
    metadata = ElementTree.SubElement(ElementTree.SubElement(root, f"{{{_TTML}}}head"), f"{{{_TTML}}}metadata")
    identity = {"type": "person", "{http://www.w3.org/XML/1998/namespace}id": _SINGER}
    ElementTree.SubElement(metadata, f"{{{_METADATA}}}agent", identity)
    body = ElementTree.SubElement(root, f"{{{_TTML}}}body", {"dur": _time(transcript.audio.duration_seconds)})
    number = 0
    for section in _sections(transcript.lines):
        div = ElementTree.SubElement(body, f"{{{_TTML}}}div", _times(section[0].start_seconds, section[-1].end_seconds))
        for line in section:
            number += 1
            names = {f"{{{_ITUNES}}}key": f"L{number}", f"{{{_METADATA}}}agent": _SINGER}
            times = _times(line.start_seconds, line.end_seconds)
            _add_words(ElementTree.SubElement(div, f"{{{_TTML}}}p", times | names), line.words)
    return ElementTree.tostring(root, "unicode", xml_declaration=False) + "\n"


def _add_words(paragraph: ElementTree.Element, words: Sequence[TimedWord]) -> None:
    last: ElementTree.Element | None = None
    for is_background, group in groupby(zip(words, _are_background(words), strict=True), key=lambda pair: pair[1]):
        parent = paragraph
        if is_background:
            parent = ElementTree.SubElement(paragraph, f"{{{_TTML}}}span", {f"{{{_METADATA}}}role": "x-bg"})
        if last is not None:
            last.tail = " "
        inner: ElementTree.Element | None = None
        for word, _ in group:
            if inner is not None:
                inner.tail = " "
            times = _times(word.start_seconds, word.end_seconds)
            inner = ElementTree.SubElement(parent, f"{{{_TTML}}}span", times)
            inner.text = _valid(one_line(word.text))
        last = parent if is_background else inner


def _are_background(words: Iterable[TimedWord]) -> list[bool]:
    """Whether each word is in parentheses."""
    depth, found = 0, []
    for word in words:
        opened = depth + word.text.count("(")
        found.append(opened > 0)
        depth = max(0, opened - word.text.count(")"))
    return found


def _sections(lines: Sequence[TimedLine]) -> Iterable[list[TimedLine]]:
    section: list[TimedLine] = []
    for line in lines:
        if section and line.start_seconds - section[-1].end_seconds >= _SECTION_PAUSE_SECONDS:
            yield section
            section = []
        section.append(line)
    if section:
        yield section


def _times(start_seconds: float, end_seconds: float) -> dict[str, str]:
    return {"begin": _time(start_seconds), "end": _time(end_seconds)}


def _time(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = milliseconds // 60_000, milliseconds % 60_000
    clock = f"{minutes // 60}:{minutes % 60:02d}" if minutes >= 60 else f"{minutes:02d}"
    return f"{clock}:{rest // 1000:02d}.{rest % 1000:03d}"


def _valid(text: str) -> str:
    """Text without the control characters that XML forbids."""
    return "".join(character for character in text if character >= " " and character not in "\ufffe\uffff")
