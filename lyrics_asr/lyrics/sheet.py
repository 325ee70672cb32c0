"""The sung lines of a lyrics sheet: headings, repeat marks and repeated sections.

Conventions
- `headings` says what a heading and a repeat mark is; neither is sung. Marks change nothing else: most sheets that say
  "(Chorus x2)" above the lines of a chorus write down what is sung.
- A heading without lines that had lines before stands for these lines, as often as its repeat mark says.
- Numbers of lines ("12. Hello") are not sung, if all lines have one and they count up, over the sheet or in each
  stanza.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from lyrics_asr.lyrics.headings import SECTION_END, parse_heading, without_marks

_LINE_NUMBER = re.compile(r"(\d{1,4})(?:[.):|]+\s*|\s+|$)")
_MIN_NUMBERED_LINES = 4
_GERMAN = re.compile(r"\b(?:ich|und|nicht|wir|ist|auf|mich|dich)\b", re.IGNORECASE)


@dataclass(frozen=True)
class TimeWindow:
    """When a line is sung, according to the lyrics file."""

    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class SheetLine:
    """A line of a lyrics sheet, sung or not, and its time in files that have times."""

    text: str
    window: TimeWindow | None = None


@dataclass(frozen=True)
class SungLines:
    """The sung lines of a sheet, and the headings that stand for lines given before."""

    lines: tuple[SheetLine, ...]
    repeated: tuple[str, ...]


def find_sung_lines(lines: Sequence[SheetLine], *, expand_repeats: bool) -> SungLines:
    """Find what is sung in a sheet.

    Args:
        lines: all lines of the sheet.
        expand_repeats: whether a heading without lines stands for the lines that it had before.
    """
    sections = list(_sections(_without_line_numbers(lines)))
    kinds = {re.sub(r"\W*\d+\W*", "", key) for section in sections for key in section.keys}
    after_blank = any(section.keys and section.gap and section.lines for section in _first_of_each(sections))
    given: dict[str, list[SheetLine]] = {}
    sung: list[SheetLine] = []
    repeated = []
    for section in sections:
        own = section.lines
        # Headings stand directly above their lines, unless this sheet leaves a blank line there.
        is_reference = not own or (section.gap and not after_blank)
        copies = (
            [line for key in section.keys for line in given.get(key, ())] if is_reference and expand_repeats else []
        )
        if copies:
            repeated.append(section.heading)
            sung += [SheetLine(line.text) for line in copies] * section.count
        sung += own
        if own and not copies and len(section.keys) == 1:
            # Where only choruses have headings, the next stanza is another section.
            given.setdefault(section.keys[0], section.first_stanza if len(kinds) == 1 else own)
    return SungLines(tuple(sung), tuple(repeated))


def _without_line_numbers(lines: Sequence[SheetLine]) -> Sequence[SheetLine]:
    """Lines without their numbers, if all have one and they count up; headings may have none."""
    plain, numbered = list[SheetLine](), 0
    may_restart, expected = True, -1
    for line in lines:
        text = line.text.strip()
        found = _LINE_NUMBER.match(text)
        if found is not None:
            number = int(found[1])
            if number != expected and not (may_restart and (number <= 1 or not numbered)):
                return lines
            text, expected = text[found.end() :], number + 1
            numbered += 1
        elif text and parse_heading(text) is None:
            return lines
        may_restart = found is None
        plain.append(replace(line, text=text))
    return plain if numbered >= _MIN_NUMBERED_LINES else lines


@dataclass
class _Section:
    """A heading and the lines below it.

    Args:
        heading: text of the heading; empty above the first one.
        keys: names of the section, in lower case.
        count: how often the section is sung.
        lines: sung lines.
        first_stanza: those before the first blank line.
        gap: whether a blank line follows the heading.
    """

    heading: str = ""
    keys: tuple[str, ...] = ()
    count: int = 1
    lines: list[SheetLine] = field(default_factory=list)
    first_stanza: list[SheetLine] = field(default_factory=list)
    gap: bool = False


def _first_of_each(sections: Sequence[_Section]) -> Iterator[_Section]:
    seen: set[tuple[str, ...]] = set()
    for section in sections:
        if section.keys not in seen:
            yield section
        seen.add(section.keys)


def _sections(lines: Sequence[SheetLine]) -> Iterator[_Section]:
    has_headings = any(parse_heading(line.text.strip()) is not None for line in lines)
    german = len(_GERMAN.findall(" ".join(line.text for line in lines[:50]))) > 4
    section, blank = _Section(), True
    for position, line in enumerate(lines):
        text = line.text.strip()
        is_followed = position + 1 < len(lines) and bool(lines[position + 1].text.strip())
        heading = None
        if text:
            starts_stanza = blank and is_followed
            may_be_name = starts_stanza or (has_headings and is_followed)
            heading = parse_heading(text, starts_stanza=starts_stanza, may_be_name=may_be_name, is_followed=is_followed)
        if heading is not None:
            text = heading.rest
            names_singer = section.keys and not (heading.keys or section.lines or section.gap)
            if not heading.is_label and (not names_singer or heading.text == SECTION_END):
                yield section
                section = _Section(heading.text, heading.keys, heading.count)
        elif not text and not section.lines:
            section.gap = True
        stanza_ended = blank and bool(section.lines)
        blank = not line.text.strip()
        if text := without_marks(text, german):
            if not stanza_ended and len(section.first_stanza) == len(section.lines):
                section.first_stanza.append(SheetLine(text, line.window))
            section.lines.append(SheetLine(text, line.window))
    yield section
