"""JSON, the complete format: transcripts can be read back from it.

Its schema is "lyrics-asr/transcript/2"; times are in seconds, at full precision. Schema 1, which had neither status and
number of lines nor singing without lyrics, can still be read.
"""

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

from lyrics_asr.types import (
    AudioInfo,
    MissingLine,
    ModelInfo,
    Note,
    Segment,
    SungTranscript,
    Syllable,
    TimedLine,
    TimedWord,
    Transcript,
)

T = TypeVar("T")

SCHEMA = "lyrics-asr/transcript/2"
_SCHEMA_1 = "lyrics-asr/transcript/1"


def render_json(transcript: Transcript) -> str:
    """All fields under their names.

    Lines that were not found stand among the others, before the next one of the lyrics that was sung. Their times are
    null.
    """
    lines = [dataclasses.asdict(line) for line in transcript.lines]
    for missing in transcript.not_found:
        place = len(lines)
        for i, line in enumerate(lines):
            if line["status"] == "sung" and line["number"] is not None and line["number"] > missing.number:
                place = i
                break
        lines.insert(place, _missing_line(missing))
    document = {"schema": SCHEMA, **dataclasses.asdict(transcript), "lines": lines}
    del document["not_found"]
    return json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _missing_line(line: MissingLine) -> dict[str, Any]:
    times = {"start_seconds": None, "end_seconds": None, "confidence": 0.0}
    words = [{"text": text, **times} for text in line.words]
    return {
        "text": line.text,
        **times,
        "words": words,
        "status": "not_found",
        "number": line.number,
        "voice": line.voice,
    }


def parse_json(text: str, source: str) -> Transcript:
    """Parse the output of `render_json`; unknown keys are ignored.

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

    def integer(self, at_least: int = 1) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < at_least:
            raise self.error("a positive integer" if at_least == 1 else "an integer, not negative")
        return self.value

    def error(self, expected: str) -> ValueError:
        shown = repr(self.value)
        name = f"the key {self.key!r}" if self.key else "the document"
        return ValueError(f"{name} is {shown[:40]}{'...' * (len(shown) > 40)}, not {expected}")


def _transcript(root: _Node) -> Transcript:
    if root["schema"].value not in (SCHEMA, _SCHEMA_1):
        raise root["schema"].error(repr(SCHEMA))
    task = root["task"].value
    if task != "transcribe" and task != "align":
        raise root["task"].error("'transcribe' or 'align'")
    audio, model = root["audio"], root["model"]
    is_old = root["schema"].value == _SCHEMA_1
    lines = [_line(line, is_old) for line in root["lines"].items()]
    transcript = Transcript(
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
        lines=tuple(line for line in lines if isinstance(line, TimedLine)),
        not_found=tuple(line for line in lines if isinstance(line, MissingLine)),
        uncovered=() if is_old else tuple(_segment(segment) for segment in root["uncovered"].items()),
        language=root["language"].string_or_none() if root.has("language") else None,
        confidence=root["confidence"].seconds()
        if root.has("confidence") and root["confidence"].value is not None
        else None,
    )
    if not root.has("melody"):
        return transcript
    content = {field.name: getattr(transcript, field.name) for field in dataclasses.fields(transcript)}
    return SungTranscript(**content, melody=tuple(_syllable(syllable) for syllable in root["melody"].items()))


def _syllable(node: _Node) -> Syllable:
    notes = []
    for note in node["notes"].items():
        notes.append(Note(note["start_seconds"].seconds(), note["end_seconds"].seconds(), note["midi"].integer()))
    return Syllable(
        node["text"].string(),
        node["start_seconds"].seconds(),
        node["end_seconds"].seconds(),
        node["line"].integer(at_least=0),
        node["word"].integer(at_least=0),
        tuple(notes),
    )


def _line(node: _Node, is_old: bool) -> TimedLine | MissingLine:
    status = "sung" if is_old else node["status"].value
    number = None if is_old or node["number"].value is None else node["number"].integer(at_least=0)
    voice = node["voice"].value if node.has("voice") else "lead"
    if voice != "lead" and voice != "backing":
        raise node["voice"].error("'lead' or 'backing'")
    if status == "not_found" and number is not None:
        texts = tuple(word["text"].string() for word in node["words"].items())
        return MissingLine(node["text"].string(), number, texts, voice)
    if status != "sung" and status != "repeated":
        raise node["status"].error("'sung', 'repeated' or, with a number, 'not_found'")
    words = tuple(_timed(word, TimedWord) for word in node["words"].items())
    return _timed(
        node, lambda text, start, end, confidence: TimedLine(text, start, end, confidence, words, status, number, voice)
    )


def _segment(node: _Node) -> Segment:
    start_seconds, end_seconds = node["start_seconds"].seconds(), node["end_seconds"].seconds()
    try:
        return Segment(start_seconds, end_seconds)
    except ValueError as error:
        raise ValueError(f"the key {node.key!r} is wrong: {error}") from error


def _timed(node: _Node, build: Callable[[str, float, float, float], T]) -> T:
    text, confidence = node["text"].string(), node["confidence"].seconds()
    start_seconds, end_seconds = node["start_seconds"].seconds(), node["end_seconds"].seconds()
    try:
        return build(text, start_seconds, end_seconds, confidence)
    except ValueError as error:
        raise ValueError(f"the key {node.key!r} is wrong: {error}") from error
