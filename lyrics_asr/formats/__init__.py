"""Output formats of transcripts. JSON is complete and can be read back; the others are rendered from it."""

from collections.abc import Callable, Mapping

from lyrics_asr.formats.annotations import audacity, ctm, jams, textgrid
from lyrics_asr.formats.melody import MelodyError, midi, ultrastar
from lyrics_asr.formats.subtitles import ass, srt, srt_words, vtt, vtt_words
from lyrics_asr.formats.text import elrc, lrc, lrc_ends, txt
from lyrics_asr.formats.transcript_json import parse_json, render_json
from lyrics_asr.formats.ttml import ttml
from lyrics_asr.types import Transcript

FORMATS: Mapping[str, Callable[[Transcript], str]] = {
    "json": render_json,
    "txt": txt,
    "lrc": lrc,
    "lrc-ends": lrc_ends,
    "elrc": elrc,
    "srt": srt,
    "srt-words": srt_words,
    "vtt": vtt,
    "vtt-words": vtt_words,
    "ass": ass,
    "ttml": ttml,
    "textgrid": textgrid,
    "ctm": ctm,
    "jams": jams,
    "audacity": audacity,
    "ultrastar": ultrastar,
}
"""The renderer of each text format, by its name."""

BINARY_FORMATS: Mapping[str, Callable[[Transcript], bytes]] = {"midi": midi}
"""The renderer of each other format."""

MELODY_FORMATS = frozenset({"midi", "ultrastar"})
"""Formats of songs with a melody (`SungTranscript`)."""

_SUFFIXES = {
    "lrc-ends": ".ends.lrc",
    "srt-words": ".words.srt",
    "vtt-words": ".words.vtt",
    "textgrid": ".TextGrid",
    "audacity": ".labels.txt",
    "ultrastar": ".ultrastar.txt",
    "midi": ".mid",
    "html": ".share.html",
}


def suffix_of(format: str) -> str:
    """The suffix of files in a format; formats of audio are named like their suffix."""
    return _SUFFIXES.get(format, f".{format}")


def render(transcript: Transcript, format: str) -> str:
    """Render a transcript in one of FORMATS; the result ends with a line break unless it is empty.

    Raises:
        ValueError: unknown format, or the format needs a melody.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; use one of {', '.join(FORMATS)}")
    return FORMATS[format](transcript)


def encode(transcript: Transcript, format: str) -> bytes:
    """Render a transcript in one of FORMATS, as UTF-8, or of BINARY_FORMATS.

    Raises:
        ValueError: unknown format, or the format needs a melody.
    """
    if format in BINARY_FORMATS:
        return BINARY_FORMATS[format](transcript)
    return render(transcript, format).encode("utf-8")


__all__ = [
    "BINARY_FORMATS",
    "FORMATS",
    "MELODY_FORMATS",
    "MelodyError",
    "encode",
    "parse_json",
    "render",
    "render_json",
    "suffix_of",
]
