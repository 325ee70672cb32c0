"""UltraStar songs: syllables with their times and pitches.

Conventions
- `: 12 4 57 Hel` is a note: beat, length, pitch and syllable; `- 20` ends a line. A space at either end of a syllable
  separates words. "~" prolongs the syllable before it, or stands for a rest of it.
- A beat is a quarter of those of `#BPM`; beat 0 is at `#GAP` milliseconds.
"""

import re

from lyrics_asr.lyrics.sheet import SheetLine, TimeWindow

_NOTE = re.compile(r"[:*FRG] ?(-?\d+) +(\d+) +-?\d+ ?(.*)")
_HEADER = re.compile(r"#(\w+):(.*)")
_BEATS_PER_QUARTER = 4


def read(text: str) -> tuple[SheetLine, ...] | None:
    """Read the lines; None if the text has no note or no tempo."""
    headers = {
        match[1].upper(): match[2].strip().replace(",", ".") for match in map(_HEADER.match, text.split("\n")) if match
    }
    try:
        beat_seconds = 60 / (_BEATS_PER_QUARTER * float(headers["BPM"]))
        gap_seconds = float(headers.get("GAP") or 0) / 1000
    except (KeyError, ValueError, ZeroDivisionError):
        return None
    lines: list[SheetLine] = []
    syllables, start, end = "", 0, 0
    for line in [*text.split("\n"), "E"]:
        if note := _NOTE.match(line):
            start = start if syllables else int(note[1])
            end = int(note[1]) + int(note[2])
            syllables += note[3].replace("~", "")
        elif line.startswith(("-", "E")) and syllables.strip():
            window = TimeWindow(
                max(0.0, gap_seconds + start * beat_seconds), max(0.0, gap_seconds + end * beat_seconds)
            )
            lines.append(SheetLine(" ".join(syllables.split()), window))
            syllables = ""
    return tuple(lines) or None
