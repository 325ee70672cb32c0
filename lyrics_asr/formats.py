"""Output formats of transcripts. JSON is complete and can be read back; the other formats are rendered from it.

Conventions
- json: schema "lyrics-asr/transcript/1"; times in seconds, at full precision.
- txt: the text without times.
- lrc: `[mm:ss.xx]` with the start of each line; minutes may exceed 59.
- elrc: enhanced LRC ("A2 extension"), with `<mm:ss.xx>` before each word for its start and after the last for its end.
- srt, vtt: one cue per line. A cue lasts at least 1 ms: players drop empty cues, and WebVTT forbids them.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import TypeVar

from lyrics_asr.types import TRANSCRIPT_SCHEMA, AudioInfo, ModelInfo, TimedLine, TimedWord, Transcript

T = TypeVar("T")


def render(transcript: Transcript, format: str) -> str:
    """Render a transcript in one of FORMATS; the result ends with a line break unless it is empty.

    Raises:
        ValueError: unknown format.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; use one of {', '.join(FORMATS)}")
    return FORMATS[format](transcript)


def parse_json(text: str, source: str) -> Transcript:
    """Parse the output of `render(transcript, "json")`; unknown keys are ignored.

    Args:
        text: the JSON document.
        source: file name for error messages.

    Raises:
        ValueError: not JSON, a different schema, or a missing or invalid key; the message names `source` and the key.
    """
    try:
        root = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{source}: is not JSON ({error}); give a .json file that transcribe or align wrote"
        ) from error
    try:
        return _transcript(_Node(root, ""))
    except ValueError as error:
        raise ValueError(f"{source}: {error}; give a .json file that transcribe or align wrote") from error


def _txt(transcript: Transcript) -> str:
    return transcript.text if transcript.text.endswith("\n") or not transcript.text else transcript.text + "\n"


def _lrc(transcript: Transcript) -> str:
    return "".join(f"[{_lrc_time(line.start_seconds)}]{_one_line(line.text)}\n" for line in transcript.lines)


def _elrc(transcript: Transcript) -> str:
    return "".join(
        f"[{_lrc_time(line.start_seconds)}]"
        + "".join(f" <{_lrc_time(word.start_seconds)}> {_one_line(word.text)}" for word in line.words)
        + f" <{_lrc_time(line.end_seconds)}>\n"
        for line in transcript.lines
    )


def _srt(transcript: Transcript) -> str:
    return "\n".join(
        f"{number}\n{_cue_times(line, ',')}\n{_one_line(line.text)}\n"
        for number, line in enumerate(transcript.lines, 1)
    )


def _vtt(transcript: Transcript) -> str:
    cues = (f"\n{_cue_times(line, '.')}\n{_escaped(_one_line(line.text))}\n" for line in transcript.lines)
    return "WEBVTT\n" + "".join(cues)


def _lrc_time(seconds: float) -> str:
    centiseconds = round(seconds * 100)
    return f"{centiseconds // 6000:02d}:{centiseconds // 100 % 60:02d}.{centiseconds % 100:02d}"


def _cue_times(line: TimedLine, decimal_mark: str) -> str:
    start = round(line.start_seconds * 1000)
    end = max(start + 1, round(line.end_seconds * 1000))
    return f"{_cue_time(start, decimal_mark)} --> {_cue_time(end, decimal_mark)}"


def _cue_time(milliseconds: int, decimal_mark: str) -> str:
    seconds = milliseconds // 1000
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{decimal_mark}{milliseconds % 1000:03d}"


def _one_line(text: str) -> str:
    """Replace line breaks by spaces: a line break inside a text would end its line or cue."""
    return " ".join(text.splitlines())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


FORMATS: Mapping[str, Callable[[Transcript], str]] = {
    "json": Transcript.to_json,
    "txt": _txt,
    "lrc": _lrc,
    "elrc": _elrc,
    "srt": _srt,
    "vtt": _vtt,
}
"""The renderer of each format, by its name and suffix."""


@dataclasses.dataclass(frozen=True)
class _Node:
    """A value in a JSON document and its key path, for error messages."""

    value: object
    key: str

    def __getitem__(self, name: str) -> "_Node":
        key = f"{self.key}.{name}" if self.key else name
        if not isinstance(self.value, dict):
            raise self.error("an object")
        if name not in self.value:
            raise ValueError(f"the key {key!r} is missing")
        return _Node(self.value[name], key)

    def items(self) -> "list[_Node]":
        if not isinstance(self.value, list):
            raise self.error("a list")
        return [_Node(value, f"{self.key}[{index}]") for index, value in enumerate(self.value)]

    def string(self) -> str:
        # JSON can escape a lone surrogate, which cannot be encoded as UTF-8.
        if not isinstance(self.value, str) or any("\ud800" <= character <= "\udfff" for character in self.value):
            raise self.error("a text")
        return self.value

    def string_or_none(self) -> str | None:
        return None if self.value is None else self.string()

    def has(self, name: str) -> bool:
        """Whether an object has a key, which files of older versions may lack."""
        return isinstance(self.value, dict) and name in self.value

    def seconds(self) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not 0 <= self.value < math.inf:
            raise self.error("a number, finite and not negative")
        try:
            return float(self.value)
        except OverflowError:
            raise self.error("a number, finite and not negative") from None

    def integer(self) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value <= 0:
            raise self.error("a positive integer")
        return self.value

    def error(self, expected: str) -> ValueError:
        shown = repr(self.value)
        name = f"the key {self.key!r}" if self.key else "the document"
        return ValueError(f"{name} is {shown[:40]}{'...' * (len(shown) > 40)}, not {expected}")


def _transcript(root: _Node) -> Transcript:
    if root["schema"].value != TRANSCRIPT_SCHEMA:
        raise root["schema"].error(repr(TRANSCRIPT_SCHEMA))
    task = root["task"].value
    if task != "transcribe" and task != "align":
        raise root["task"].error("'transcribe' or 'align'")
    audio, model = root["audio"], root["model"]
    return Transcript(
        task=task,
        audio=AudioInfo(audio["path"].string(), audio["duration_seconds"].seconds(), audio["sample_rate_hz"].integer()),
        model=ModelInfo(
            name=model["name"].string(),
            separator=model["separator"].string(),
            acoustic=model["acoustic"].string(),
            language_model=model["language_model"].string_or_none(),
            transcriber=model["transcriber"].string_or_none() if model.has("transcriber") else None,
        ),
        text=root["text"].string(),
        lines=tuple(_line(line) for line in root["lines"].items()),
    )


def _line(node: _Node) -> TimedLine:
    words = tuple(_timed(word, TimedWord) for word in node["words"].items())
    return _timed(node, lambda text, start, end, confidence: TimedLine(text, start, end, confidence, words))


def _timed(node: _Node, build: Callable[[str, float, float, float], T]) -> T:
    text, confidence = node["text"].string(), node["confidence"].seconds()
    start_seconds, end_seconds = node["start_seconds"].seconds(), node["end_seconds"].seconds()
    try:
        return build(text, start_seconds, end_seconds, confidence)
    except ValueError as error:
        raise ValueError(f"the key {node.key!r} is wrong: {error}") from error
