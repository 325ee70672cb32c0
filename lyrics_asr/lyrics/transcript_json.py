"""Lyrics in JSON: transcripts of this package, of whisper, whisperX and OpenAI, and what lyrics services answer.

Lines or segments are preferred to a single text, because they have times. A text inside may have another format, such
as the LRC of lyrics services.
"""

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from lyrics_asr.lyrics.sheet import SheetLine, TimeWindow

_LISTS = ("lines", "segments", "chunks", "transcription", "events", "utterances", "words", "word_segments")
_TEXTS = ("syncedLyrics", "plainLyrics", "synced_lyrics", "lyrics", "text", "transcript", "content")
_INSIDE = ("lyrics", "transcript", "result", "results", "response", "data", "song", "output", "message", "body")
_LINE_TEXTS = ("text", "words", "line", "lyric", "word", "content", "transcript")
_STARTS = ("start_seconds", "start", "begin", "from", "time", "start_time")
_ENDS = ("end_seconds", "end", "to", "end_time")
_STARTS_MS = ("startTimeMs", "tStartMs", "start_ms")
_ENDS_MS = ("endTimeMs", "end_ms")
_MIN_WORDS = 4
_PAUSE_SECONDS = 0.5
"""Words without lines are split where the singer pauses."""


def read(text: str) -> tuple[SheetLine, ...] | str | None:
    """Read the lines, or the text of a document without lines; None for a text that is not JSON.

    Raises:
        ValueError: the document is damaged or has no lyrics.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        is_lrc = re.search(r"^\[\d+:\d", text, re.MULTILINE)  # with credits in JSON
        if re.match(r'\s*[\[{]\s*[\[{]?\s*"', text) and not is_lrc:
            raise ValueError(f"looks like JSON but is damaged ({error}); save the lyrics as plain text") from error
        return None
    found = _find(document)
    if found is None:
        raise ValueError(
            f"JSON without lyrics: none of the keys {', '.join(dict.fromkeys((*_LISTS, *_TEXTS)))}; "
            "save the lyrics as plain text"
        )
    return found


def _find(document: Any) -> tuple[SheetLine, ...] | str | None:
    if isinstance(document, list):
        return _lines(document)
    if not isinstance(document, dict):
        return document if isinstance(document, str) else None
    for key in _LISTS:
        items, text = document.get(key), document.get("text")
        if key == "lines" and isinstance(items, list) and isinstance(text, str) and text.strip():
            return _with_layout(text, items)
        if isinstance(items, list) and (lines := _lines(items)):
            return lines
    for key in _TEXTS:
        if isinstance(document.get(key), str) and document[key].strip():
            return str(document[key])
    for key in _INSIDE:
        if isinstance(document.get(key), dict | list) and (found := _find(document[key])):
            return found
    return None


def _lines(items: Sequence[Any]) -> tuple[SheetLine, ...] | None:
    """The lines of a list of lines, segments or words; None if it has none."""
    lines = []
    for item in items:
        if isinstance(item, str):
            lines.append(SheetLine(item.strip()))
        elif isinstance(item, dict) and (text := _line_text(item)) is not None:
            lines += [SheetLine(part.strip(), _window(item)) for part in text.split("\n")]
    if not any(line.text for line in lines):
        return None
    return with_words_joined(lines)


def _line_text(item: dict[str, Any]) -> str | None:
    for key in _LINE_TEXTS:
        if isinstance(item.get(key), str):
            return str(item[key])
    segments = item.get("segs")
    if isinstance(segments, list):
        return "".join(str(each.get("utf8", "")) for each in segments if isinstance(each, dict))
    return None


def with_words_joined(words: Sequence[SheetLine]) -> tuple[SheetLine, ...]:
    """Join words to lines, if each has a line of its own.

    A new line starts after a pause, or, without times, after the end of a sentence.
    """
    windows = [word.window for word in words if word.window is not None]
    if len(words) < _MIN_WORDS or any(len(word.text.split()) > 1 for word in words) or len(set(windows)) < len(windows):
        return tuple(words)
    lines: list[list[SheetLine]] = [[]]
    for word in filter(lambda word: word.text, words):
        if lines[-1]:
            before = lines[-1][-1]
            if before.window is None or word.window is None:
                is_new = before.text[-1] in ".!?"
            else:
                is_new = word.window.start_seconds - before.window.end_seconds > _PAUSE_SECONDS
            if is_new:
                lines.append([])
        lines[-1].append(word)
    return tuple(SheetLine(" ".join(word.text for word in line), _around(line)) for line in lines)


def _around(words: Sequence[SheetLine]) -> TimeWindow | None:
    windows = [word.window for word in words if word.window is not None]
    return TimeWindow(windows[0].start_seconds, windows[-1].end_seconds) if windows else None


def _with_layout(text: str, items: Sequence[Any]) -> tuple[SheetLine, ...]:
    """The text of a transcript, with headings and lines that were not found, and the times of the lead's others."""
    sung = []
    for item in items:
        if isinstance(item, dict) and item.get("status") != "repeated" and item.get("voice") != "backing":
            sung.append(item)
    remaining = list(_lines(sorted(sung, key=lambda item: item.get("number") or 0)) or ())
    sheet = []
    for written in map(str.strip, text.splitlines()):
        is_timed = bool(remaining) and _is_in(remaining[0].text, written)
        sheet.append(SheetLine(written, remaining.pop(0).window if is_timed else None))
    return tuple(sheet)


def _is_in(text: str, written: str) -> bool:
    """Whether a line has this text, or its words among backing vocals."""
    words = iter(written.split())
    return text in written or all(word in words for word in text.split())


def _window(item: dict[str, Any]) -> TimeWindow | None:
    """The time of a line; None without one."""
    timestamp, offsets = item.get("timestamp"), item.get("offsets")
    if isinstance(timestamp, list) and len(timestamp) == 2:  # transformers
        start, end = _number(timestamp[0]), _number(timestamp[1])
    elif isinstance(offsets, dict):  # whisper.cpp
        start, end = _seconds(offsets, (), ("from",)), _seconds(offsets, (), ("to",))
    else:
        start, end = _seconds(item, _STARTS, _STARTS_MS), _seconds(item, _ENDS, _ENDS_MS)
        duration = _seconds(item, ("duration",), ("dDurationMs",))
        if start is not None and end is None and duration is not None:
            end = start + duration
    if start is None:
        return None
    return TimeWindow(start, max(start, end or start))


def _seconds(item: dict[str, Any], keys: Sequence[str], keys_ms: Sequence[str]) -> float | None:
    for key in keys:
        if (seconds := _number(item.get(key))) is not None:
            return seconds
    for key in keys_ms:
        if (milliseconds := _number(item.get(key))) is not None:
            return milliseconds / 1000
    return None


def _number(value: Any) -> float | None:
    """A number that is finite and not negative, also as text; else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < math.inf else None
