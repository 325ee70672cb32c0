"""TTML as Apple Music uses it: a paragraph per line, a span per word, background vocals apart.

Conventions
- Times are clock times of the TTML standard, `hh:mm:ss.fff`. All count from the start of the song, as Apple's players
  take them; the standard would count those of a span from the start of its paragraph.
- The standard asks for a language; it is empty if unknown.
- Backing vocals are in a span with the role `x-bg`, in the paragraph of the line that they accompany: the last one that
  started before them.
- Sections (`div`) are separated by pauses of at least 10 s.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lyrics_asr.formats.text import one_line
from lyrics_asr.types import TimedLine, TimedWord, Transcript

_SECTION_PAUSE_SECONDS = 10.0
_TTML = "http://www.w3.org/ns/ttml"
_METADATA = "http://www.w3.org/ns/ttml#metadata"
_ITUNES = "http://music.apple.com/lyric-ttml-internal"
_XML = "http://www.w3.org/XML/1998/namespace"
_SINGER = "v1"


def ttml(transcript: Transcript) -> str:
    """Render as TTML with a time per word."""
    for prefix, uri in (("", _TTML), ("ttm", _METADATA), ("itunes", _ITUNES)):
        ElementTree.register_namespace(prefix, uri)
    names = {f"{{{_ITUNES}}}timing": "Word", f"{{{_XML}}}lang": transcript.language or ""}
    root = ElementTree.Element(f"{{{_TTML}}}tt", names)
    metadata = ElementTree.SubElement(ElementTree.SubElement(root, f"{{{_TTML}}}head"), f"{{{_TTML}}}metadata")
    identity = {"type": "person", f"{{{_XML}}}id": _SINGER}
    ElementTree.SubElement(metadata, f"{{{_METADATA}}}agent", identity)
    body = ElementTree.SubElement(root, f"{{{_TTML}}}body", {"dur": _time(transcript.audio.duration_seconds)})
    number = 0
    for section in _sections(_paragraphs(transcript.lines)):
        div = ElementTree.SubElement(body, f"{{{_TTML}}}div", _times(section[0].start_seconds, section[-1].end_seconds))
        for lines in section:
            number += 1
            names = {f"{{{_ITUNES}}}key": f"L{number}", f"{{{_METADATA}}}agent": _SINGER}
            times = _times(lines.start_seconds, lines.end_seconds)
            _add_lines(ElementTree.SubElement(div, f"{{{_TTML}}}p", times | names), lines)
    return ElementTree.tostring(root, "unicode", xml_declaration=False) + "\n"


@dataclass
class _Paragraph:
    """Words of the lead, and of the backing vocals that accompany them."""

    start_seconds: float
    end_seconds: float
    lead: Sequence[TimedWord] = ()
    backing: list[TimedWord] = field(default_factory=list)


def _paragraphs(lines: Sequence[TimedLine]) -> Iterable[_Paragraph]:
    last: _Paragraph | None = None
    for line in lines:
        if line.voice == "lead" or last is None or line.start_seconds - last.end_seconds >= _SECTION_PAUSE_SECONDS:
            if last is not None:
                yield last
            last = _Paragraph(line.start_seconds, line.end_seconds)
        last.end_seconds = max(last.end_seconds, line.end_seconds)
        if line.voice == "lead":
            last.lead = line.words
        else:
            last.backing += line.words
    if last is not None:
        yield last


def _add_lines(element: ElementTree.Element, paragraph: _Paragraph) -> None:
    _add_words(element, paragraph.lead)
    if not paragraph.backing:
        return
    if len(element):
        element[-1].tail = " "
    background = ElementTree.SubElement(element, f"{{{_TTML}}}span", {f"{{{_METADATA}}}role": "x-bg"})
    _add_words(background, paragraph.backing)


def _add_words(parent: ElementTree.Element, words: Sequence[TimedWord]) -> None:
    for word in words:
        if len(parent):
            parent[-1].tail = " "
        span = ElementTree.SubElement(parent, f"{{{_TTML}}}span", _times(word.start_seconds, word.end_seconds))
        span.text = _valid(one_line(word.text))


def _sections(paragraphs: Iterable[_Paragraph]) -> Iterable[list[_Paragraph]]:
    section: list[_Paragraph] = []
    for paragraph in paragraphs:
        if section and paragraph.start_seconds - section[-1].end_seconds >= _SECTION_PAUSE_SECONDS:
            yield section
            section = []
        section.append(paragraph)
    if section:
        yield section


def _times(start_seconds: float, end_seconds: float) -> dict[str, str]:
    return {"begin": _time(start_seconds), "end": _time(end_seconds)}


def _time(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = milliseconds // 60_000, milliseconds % 60_000
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _valid(text: str) -> str:
    """Text without the control characters that XML forbids."""
    return "".join(character for character in text if character >= " " and character not in "\ufffe\uffff")
