"""A sentence about what was found of the lyrics, for terminals and log files."""

from collections.abc import Sequence

from lyrics_asr.types import MissingLine, Transcript

_MAX_SHOWN = 5
_MAX_CHARACTERS = 40


def summarize(transcript: Transcript) -> str:
    """Such as "38 of 42 lines found; not found: "First" (line 1); singing without lyrics at 2:10-2:31"."""
    found = sum(line.status == "sung" for line in transcript.lines)
    parts = [f"{found} of {found + len(transcript.not_found)} lines found"]
    if transcript.confidence is not None and transcript.confidence < 0.5:
        parts.append(f"these lyrics do not seem to belong to this song (probability {transcript.confidence:.2f})")
    elif transcript.not_found:
        parts.append("not found: " + _listed([_quoted(line) for line in transcript.not_found]))
    repeated = [_clock(line.start_seconds) for line in transcript.lines if line.status == "repeated"]
    if repeated:
        parts.append(f"{len(repeated)} sung again: at {_listed(repeated)}")
    if transcript.uncovered:
        times = [f"{_clock(each.start_seconds)}-{_clock(each.end_seconds)}" for each in transcript.uncovered]
        parts.append(f"singing without lyrics at {_listed(times)}")
    return "; ".join(parts)


def _listed(items: Sequence[str]) -> str:
    shown = ", ".join(items[:_MAX_SHOWN])
    return shown if len(items) <= _MAX_SHOWN else f"{shown} and {len(items) - _MAX_SHOWN} more"


def _quoted(line: MissingLine) -> str:
    text = line.text if len(line.text) <= _MAX_CHARACTERS else line.text[: _MAX_CHARACTERS - 1] + "…"
    return f'"{text}" (line {line.number + 1})'


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"
