r"""Subtitles: SRT, WebVTT and ASS karaoke.

Conventions
- srt, vtt: one cue per line. A cue lasts at least 1 ms: players drop empty cues, and WebVTT forbids them.
- srt-words: one cue per word. vtt-words: a cue per line, with a time stamp before each word but the first.
- ass: karaoke (Advanced SubStation Alpha 4.00+). Lines take turns on two rows, so that the next line can be read while
  one is sung. `\kf` fills each word during its time, `\k` waits in pauses; both count centiseconds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lyrics_asr.formats.text import one_line
from lyrics_asr.types import TimedLine, TimedWord, Transcript

_LEAD_SECONDS = 3.0
"""A line appears so long before it is sung, unless the row is still in use."""


@dataclass(frozen=True)
class AssStyle:
    """How karaoke looks; colours are "&HAABBGGRR" as in ASS (alpha, blue, green, red).

    Args:
        font: name of the font.
        size: size of the font, in pixels of a picture of 1920 x 1080.
        sung_colour: colour of what was sung.
        waiting_colour: colour of what will be sung.
        outline_colour: colour of the outline.
        bottom_margin: pixels below the lower row.
    """

    font: str = "Arial"
    size: int = 72
    sung_colour: str = "&H0000D7FF"
    waiting_colour: str = "&H00FFFFFF"
    outline_colour: str = "&H00000000"
    bottom_margin: int = 60


def srt(transcript: Transcript) -> str:
    """Render as SubRip, a cue per line."""
    return _srt((line.text, line) for line in transcript.lines)


def srt_words(transcript: Transcript) -> str:
    """Render as SubRip, a cue per word."""
    return _srt((word.text, word) for line in transcript.lines for word in line.words)


def vtt(transcript: Transcript) -> str:
    """Render as WebVTT, a cue per line."""
    return _vtt((_escaped(one_line(line.text)), line) for line in transcript.lines)


def vtt_words(transcript: Transcript) -> str:
    """Render as WebVTT, a cue per line with the times of its words."""
    return _vtt((_words_with_times(line), line) for line in transcript.lines)


def ass(transcript: Transcript, style: AssStyle | None = None) -> str:
    """Render as ASS karaoke on two rows.

    Args:
        transcript: words with times.
        style: looks; None for the default.
    """
    style = style or AssStyle()
    row_margins = {"Upper": style.bottom_margin + round(1.5 * style.size), "Lower": style.bottom_margin}
    styles = [
        f"Style: {name},{style.font},{style.size},{style.sung_colour},{style.waiting_colour},{style.outline_colour},"
        f"&H80000000,-1,0,0,0,100,100,0,0,1,3,1,2,60,60,{margin},1"
        for name, margin in row_margins.items()
    ]
    free = dict.fromkeys(row_margins, 0)  # when each row is free again, in centiseconds
    events = []
    for number, line in enumerate(transcript.lines):
        row = tuple(row_margins)[number % 2]
        start = min(
            _centiseconds(line.start_seconds), max(free[row], _centiseconds(line.start_seconds - _LEAD_SECONDS))
        )
        end = max(start + 1, _centiseconds(line.end_seconds))
        free[row] = end
        events.append(f"Dialogue: 0,{_ass_time(start)},{_ass_time(end)},{row},,0,0,0,,{_karaoke(line.words, start)}")
    return _ASS_HEADER + "\n".join(styles) + _ASS_EVENTS + "".join(f"{event}\n" for event in events)


_ASS_HEADER = """\
[Script Info]
ScriptType: v4.00+
PlayResX: 1920
PlayResY: 1080
WrapStyle: 0
ScaledBorderAndShadow: yes

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
"""

_ASS_EVENTS = """

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def _srt(cues: Iterable[tuple[str, TimedLine | TimedWord]]) -> str:
    return "\n".join(
        f"{number}\n{_cue_times(times, ',')}\n{one_line(text)}\n" for number, (text, times) in enumerate(cues, 1)
    )


def _vtt(cues: Iterable[tuple[str, TimedLine]]) -> str:
    return "WEBVTT\n" + "".join(f"\n{_cue_times(line, '.')}\n{text}\n" for text, line in cues)


def _words_with_times(line: TimedLine) -> str:
    """The words of a cue; WebVTT allows only time stamps that lie inside the cue and increase."""
    text, last = [], _milliseconds(line.start_seconds)
    for word in line.words:
        start = _milliseconds(word.start_seconds)
        stamp = f"<{_cue_time(start, '.')}>" if last < start < _milliseconds(line.end_seconds) else ""
        last = max(last, start)
        text.append(stamp + _escaped(one_line(word.text)))
    return " ".join(text)


def _cue_times(times: TimedLine | TimedWord, decimal_mark: str) -> str:
    start = _milliseconds(times.start_seconds)
    end = max(start + 1, _milliseconds(times.end_seconds))
    return f"{_cue_time(start, decimal_mark)} --> {_cue_time(end, decimal_mark)}"


def _cue_time(milliseconds: int, decimal_mark: str) -> str:
    seconds = milliseconds // 1000
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{decimal_mark}{milliseconds % 1000:03d}"


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _centiseconds(seconds: float) -> int:
    return max(0, round(seconds * 100))


def _ass_time(centiseconds: int) -> str:
    seconds = centiseconds // 100
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{centiseconds % 100:02d}"


def _karaoke(words: Sequence[TimedWord], now: int) -> str:
    """Words with their durations, from `now` on; sums of rounded durations do not drift."""
    text = []
    for number, word in enumerate(words):
        start = max(now, _centiseconds(word.start_seconds))
        end = max(start, _centiseconds(word.end_seconds))
        pause = f"{{\\k{start - now}}}" if start > now else ""
        text.append(f"{pause}{{\\kf{end - start}}}{' ' * (number > 0)}{_ass_text(word.text)}")
        now = end
    return "".join(text)


def _ass_text(text: str) -> str:
    """Text without override tags: braces would start one, and a backslash a line break."""
    return one_line(text).replace("\\", "\\\N{WORD JOINER}").replace("{", "(").replace("}", ")")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
