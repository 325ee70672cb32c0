"""LRC and other texts with a time before each line.

Conventions
- `[mm:ss.xx]`, `[mm:ss:xx]` or `[mm:ss]` before a line; several repeat the line. Lines are sorted by time. Whisper
  prints `[start --> end]`. Times after the lines are read like times before them.
- Enhanced LRC has further times before words, `<mm:ss.xx>` or `[mm:ss.xx]`; after the last word, it is the line's end.
  A line without such an end ends at the next line.
- `[offset:+500]`: lines are sung 500 ms earlier. Other tags, such as `[ar:Name]`, are dropped.
- Copies of video sites have bare times, `0:12`, before lines or on lines of their own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lyrics_asr.lyrics.sheet import SheetLine, TimeWindow

_TIME = r"(?:(\d{1,2}):(?=\d{1,2}:\d{1,2}[.,]))?(\d{1,3}):([0-5]?\d)(?:[.:,](\d{1,3}))?"
_RANGE = rf"{_TIME}(?:\s*(?:-->|[-–])\s*{_TIME})?"
_STAMP = re.compile(rf"[\[<(]\s*{_RANGE}\s*[\])>]")
_STAMP_AFTER = re.compile(rf"(.*\S)\s*([\[(]{_TIME}[\])])\s*")
_STAMPS_BEFORE = re.compile(rf"\s*(?:{_STAMP.pattern}\s*)+")
_BARE = re.compile(rf"\s*{_RANGE}(?:\s+[-–|]\s+|[\s,]+|$)")
_TAG = re.compile(
    r"\s*\[\s*(?:ar|ti|al|au|lr|by|re|ve|la|id|length|total|hash|sign|qq|tool|encoding|language|lang|artist|title|album"
    r"|author|creator|editor|version|key|kana|offset|\#)\s*:(.*)\]\s*|\s*\{\"t\":.*",
    re.IGNORECASE,
)
_OFFSET = re.compile(r"^\s*\[offset:\s*([+-]?\d+)\s*\]", re.IGNORECASE | re.MULTILINE)
_VOICE = re.compile(r"(?:[FMD]|v\d+):\s*")
_MIN_SHARE = 1 / 3


@dataclass(frozen=True)
class _Stamped:
    starts_seconds: tuple[float, ...]
    text: str
    end_seconds: float | None = None


def read(text: str) -> tuple[SheetLine, ...] | None:
    """Read the lines; None if too few of them have a time."""
    lines = [line for line in text.splitlines() if not _TAG.fullmatch(line)]
    written = sum(bool(line.strip()) for line in lines)
    behind = [_STAMP_AFTER.fullmatch(line) for line in lines]
    if sum(match is not None for match in behind) > _MIN_SHARE * written and not any(map(_STAMPS_BEFORE.match, lines)):
        lines = [line if match is None else match[2] + match[1] for line, match in zip(lines, behind, strict=True)]
    bracketed = sum(line.lstrip().startswith(("[", "<")) and _STAMPS_BEFORE.match(line) is not None for line in lines)
    stamped = _with_brackets(lines) if bracketed > _MIN_SHARE * written else _without_brackets(lines)
    offset = _OFFSET.search(text)
    return None if stamped is None else _sheet_lines(stamped, -int(offset[1]) / 1000 if offset else 0.0)


def _with_brackets(lines: Sequence[str]) -> list[_Stamped]:
    bodies = [line[match.end() :] if (match := _STAMPS_BEFORE.match(line)) else line for line in lines]
    # Times without any space around them stand between words that are otherwise run together.
    is_spaced = any(re.search(rf"\s{_STAMP.pattern}|{_STAMP.pattern}\s", body.strip()) for body in bodies)
    stamped = []
    for line, body in zip(lines, bodies, strict=True):
        before, inner = list(_STAMP.finditer(line[: len(line) - len(body)])), list(_STAMP.finditer(body))
        starts = tuple(_start_seconds(match) for match in before)
        end = _end_seconds(before[-1]) if before else None
        if inner and not body[inner[-1].end() :].strip():
            end = _start_seconds(inner[-1])
        if len(starts) > 1 and line.lstrip().startswith("[") and "<" in line[: len(line) - len(body)]:
            starts = starts[:1]  # [line]<first word>
        plain = " ".join(_STAMP.sub("" if is_spaced else " ", body).split())
        stamped.append(_Stamped(starts, _VOICE.sub("", plain, count=1) if _VOICE.match(plain) else plain, end))
    return stamped


def _without_brackets(lines: Sequence[str]) -> list[_Stamped] | None:
    """Lines after bare times or times in parentheses; None if these are too few, or not in order."""
    stamped: list[_Stamped] = []
    starts: list[float] = []
    waiting: tuple[float, ...] = ()  # a time on a line of its own
    for line in lines:
        match = _STAMPS_BEFORE.match(line) or _BARE.match(line)
        body = line
        if match is not None:
            waiting, body = (_start_seconds(match),), line[match.end() :]
            starts += waiting
        if body.strip() or match is None:
            stamped.append(_Stamped(waiting if body.strip() else (), body.strip()))
        if body.strip():
            waiting = ()
    enough = len(starts) > max(2, _MIN_SHARE * sum(bool(each.text) for each in stamped))
    return stamped if enough and starts == sorted(starts) else None


def _sheet_lines(stamped: Sequence[_Stamped], offset_seconds: float) -> tuple[SheetLine, ...]:
    if any(len(each.starts_seconds) > 1 for each in stamped):
        copies = []
        starts_seconds: tuple[float, ...] = (0.0,)  # a line without a time stays below the line before it
        for each in stamped:
            starts_seconds = each.starts_seconds or starts_seconds
            copies += [_Stamped((start,), each.text, each.end_seconds) for start in starts_seconds]
        stamped = sorted(copies, key=lambda each: each.starts_seconds[0])
    starts = sorted({each.starts_seconds[0] for each in stamped if each.starts_seconds})
    next_starts = dict(zip(starts, [*starts[1:], *starts[-1:]], strict=True))
    lines = []
    for each in stamped:
        if not each.starts_seconds:
            lines.append(SheetLine(each.text))
            continue
        start = each.starts_seconds[0]
        end = max(start, each.end_seconds or next_starts[start])
        lines.append(SheetLine(each.text, TimeWindow(max(0.0, start + offset_seconds), max(0.0, end + offset_seconds))))
    return tuple(lines)


def _start_seconds(stamp: re.Match[str]) -> float:
    return _seconds(*stamp.groups()[:4])


def _end_seconds(stamp: re.Match[str]) -> float | None:
    """The end of a range; None for a single time."""
    return None if stamp[6] is None else _seconds(*stamp.groups()[4:])


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str | None) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction or 0}")
