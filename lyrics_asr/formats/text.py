"""Plain text and LRC.

Conventions
- txt: the text without times.
- lrc: `[mm:ss.xx]` with the start of each line; minutes may exceed 59.
- lrc-ends: as lrc, with an empty stamp at the end of a line that a pause follows, so that players clear it.
- elrc: enhanced LRC ("A2 extension"), with `<mm:ss.xx>` before each word for its start and after the last for its end.
"""

import math
from itertools import pairwise

from lyrics_asr.types import Transcript


def txt(transcript: Transcript) -> str:
    """Render as plain text."""
    return transcript.text if transcript.text.endswith("\n") or not transcript.text else transcript.text + "\n"


def lrc(transcript: Transcript) -> str:
    """Render as LRC with a time per line."""
    return "".join(f"[{_lrc_time(line.start_seconds)}]{one_line(line.text)}\n" for line in transcript.lines)


def lrc_ends(transcript: Transcript) -> str:
    """Render as LRC with line ends."""
    rendered = []
    for line, following in pairwise([*transcript.lines, None]):
        assert line is not None
        rendered.append(f"[{_lrc_time(line.start_seconds)}]{one_line(line.text)}\n")
        end = _lrc_time(line.end_seconds)
        next_seconds = math.inf if following is None else following.start_seconds
        if line.end_seconds < next_seconds and (following is None or end != _lrc_time(next_seconds)):
            rendered.append(f"[{end}]\n")
    return "".join(rendered)


def elrc(transcript: Transcript) -> str:
    """Render as enhanced LRC with a time per word."""
    return "".join(
        f"[{_lrc_time(line.start_seconds)}]"
        + "".join(f" <{_lrc_time(word.start_seconds)}> {one_line(word.text)}" for word in line.words)
        + f" <{_lrc_time(line.end_seconds)}>\n"
        for line in transcript.lines
    )


def one_line(text: str) -> str:
    """Replace line breaks by spaces: a line break inside a text would end its line or cue."""
    return " ".join(text.splitlines())


def _lrc_time(seconds: float) -> str:
    centiseconds = round(seconds * 100)
    return f"{centiseconds // 6000:02d}:{centiseconds // 100 % 60:02d}.{centiseconds % 100:02d}"
