"""Formats of annotation tools: Praat TextGrid, NIST CTM, JAMS and Audacity labels.

Conventions
- textgrid: two interval tiers, "lines" and "words", which cover the whole song; gaps are empty intervals. Backing
  vocals, which may overlap the lead, have two more. Intervals of a tier do not overlap: one that starts before the end
  of the last is moved. They last at least 1 ms.
- ctm: `file channel start duration word confidence`. Spaces inside names and words become "_".
- jams: two annotations in the namespace "lyrics", of lines and of words (see their `sandbox`).
- audacity: `start end label`, separated by tabs, a label per word.
"""

import json
from collections.abc import Sequence
from pathlib import PurePath

from lyrics_asr.formats.text import one_line
from lyrics_asr.types import TimedLine, TimedWord, Transcript
from lyrics_asr.version import __version__

_LEAST_SECONDS = 0.001


def textgrid(transcript: Transcript) -> str:
    """Render as a Praat TextGrid in the long text format."""
    tiers = dict[str, Sequence[TimedLine | TimedWord]]()
    for voice, prefix in (("lead", ""), ("backing", "backing ")):
        lines = [line for line in transcript.lines if line.voice == voice]
        if lines or not prefix:
            tiers |= {f"{prefix}lines": lines, f"{prefix}words": _words(lines)}
    intervals = {name: _intervals(times) for name, times in tiers.items()}
    ends = [found[-1][1] for found in intervals.values() if found]
    end = max([transcript.audio.duration_seconds, _LEAST_SECONDS, *ends])
    rows = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.6f}"]
    rows += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, found) in enumerate(intervals.items(), 1):
        covering = _with_gaps(found, end)
        rows += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        rows += ["        xmin = 0", f"        xmax = {end:.6f}", f"        intervals: size = {len(covering)}"]
        for index, (start, stop, text) in enumerate(covering, 1):
            quoted = text.replace('"', '""')
            rows += [f"        intervals [{index}]:", f"            xmin = {start:.6f}"]
            rows += [f"            xmax = {stop:.6f}", f'            text = "{quoted}"']
    return "\n".join(rows) + "\n"


def ctm(transcript: Transcript) -> str:
    """Render as NIST CTM."""
    name = _joined(PurePath(transcript.audio.path).stem) or "song"
    rows = []
    for word in _words(transcript.lines):
        seconds = word.end_seconds - word.start_seconds
        times = f"{word.start_seconds:.3f} {seconds:.3f}"
        rows.append(f"{name} 1 {times} {_joined(word.text) or '-'} {word.confidence:.3f}\n")
    return "".join(rows)


def jams(transcript: Transcript) -> str:
    """Render as JAMS 0.3."""
    document = {
        "annotations": [
            _jams_annotation(transcript, transcript.lines, "lines"),
            _jams_annotation(transcript, _words(transcript.lines), "words"),
        ],
        "file_metadata": {
            "title": PurePath(transcript.audio.path).stem,
            "artist": "",
            "release": "",
            "duration": transcript.audio.duration_seconds,
            "identifiers": {},
            "jams_version": "0.3.5",
        },
        "sandbox": {},
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def audacity(transcript: Transcript) -> str:
    """Render as a label track for Audacity."""
    rows = []
    for word in _words(transcript.lines):
        label = one_line(word.text).replace("\t", " ")
        rows.append(f"{word.start_seconds:.6f}\t{word.end_seconds:.6f}\t{label}\n")
    return "".join(rows)


def _words(lines: Sequence[TimedLine]) -> list[TimedWord]:
    """The words of lines, in order of time."""
    return sorted((word for line in lines for word in line.words), key=lambda word: word.start_seconds)


def _intervals(timed: Sequence[TimedLine | TimedWord]) -> list[tuple[float, float, str]]:
    found: list[tuple[float, float, str]] = []
    for each in timed:
        start = round(max(each.start_seconds, found[-1][1] if found else 0.0), 6)
        end = round(max(each.end_seconds, start + _LEAST_SECONDS), 6)
        found.append((start, end, one_line(each.text)))
    return found


def _with_gaps(intervals: Sequence[tuple[float, float, str]], end: float) -> list[tuple[float, float, str]]:
    covering, now = [], 0.0
    for interval in intervals:
        if interval[0] > now:
            covering.append((now, interval[0], ""))
        covering.append(interval)
        now = interval[1]
    if now < end or not covering:
        covering.append((now, end, ""))
    return covering


def _jams_annotation(transcript: Transcript, timed: Sequence[TimedLine | TimedWord], level: str) -> dict[str, object]:
    data = []
    for each in timed:
        seconds = each.end_seconds - each.start_seconds
        data.append(
            {"time": each.start_seconds, "duration": seconds, "value": each.text, "confidence": each.confidence}
        )
    return {
        "namespace": "lyrics",
        "time": 0.0,
        "duration": transcript.audio.duration_seconds,
        "data": data,
        "annotation_metadata": {
            "annotation_tools": f"lyrics-asr {__version__}",
            "data_source": "program",
            "corpus": "",
            "version": "",
            "annotation_rules": "",
            "validation": "",
            "curator": {"name": "", "email": ""},
            "annotator": {},
        },
        "sandbox": {"level": level},
    }


def _joined(text: str) -> str:
    return "_".join(text.split())
