"""Formats with the melody of the vocals: UltraStar and MIDI.

Conventions
- ultrastar: version 1.1.0. A beat is 20 ms (#BPM counts 4 of them). A syllable with several notes goes on as "~".
  Syllables without a pitch are freestyle (F). There are no golden notes. #VOCALS and #INSTRUMENTAL name the files
  beside the song that are called `song [VOC].mp3` and `song [INSTR].mp3`, with any suffix, if there are any.
- midi: one track, 480 ticks per quarter at 120 quarters per minute, so a tick is about 1 ms. Syllables are lyric
  events.
"""

import struct
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from lyrics_asr.formats.text import one_line
from lyrics_asr.types import SungTranscript, Syllable, Transcript

_BEAT_SECONDS = 0.02
_BEATS_PER_QUARTER = 4
_ULTRASTAR_C4 = 60  # pitch 0
_TICKS_PER_QUARTER = 480
_QUARTER_MICROSECONDS = 500_000
_TICKS_PER_SECOND = _TICKS_PER_QUARTER * 1_000_000 / _QUARTER_MICROSECONDS
_VELOCITY = 80


class MelodyError(ValueError):
    """A transcript without a melody."""


def ultrastar(transcript: Transcript) -> str:
    """Render as a song for UltraStar.

    Raises:
        MelodyError: the transcript has no melody.
    """
    syllables = _melody(transcript)
    audio = Path(transcript.audio.path)
    gap_seconds = syllables[0].start_seconds if syllables else 0.0
    artist, _, title = audio.stem.rpartition(" - ")
    rows = ["#VERSION:1.1.0", f"#TITLE:{title}", f"#ARTIST:{artist or 'Unknown'}", f"#AUDIO:{audio.name}"]
    rows += [f"#MP3:{audio.name}"]  # read by programs older than version 1.1
    for tag, mark in (("VOCALS", "VOC"), ("INSTRUMENTAL", "INSTR")):
        stem = next((path for path in _beside(audio) if path.stem == f"{audio.stem} [{mark}]"), None)
        rows += [f"#{tag}:{stem.name}"] if stem else []
    rows += [f"#BPM:{60 / (_BEAT_SECONDS * _BEATS_PER_QUARTER):g}", f"#GAP:{round(gap_seconds * 1000)}"]
    free = 0  # the first beat that has no note yet
    for _, line in groupby(syllables, key=lambda syllable: syllable.line):
        if free:
            rows.append(f"- {free}")
        last_word: int | None = None
        for syllable in line:
            text = (" " if last_word not in (None, syllable.word) else "") + one_line(syllable.text)
            last_word = syllable.word
            for number, note in enumerate(syllable.notes or (None,)):
                times = note or syllable
                start = max(free, _beat(times.start_seconds - gap_seconds))
                free = max(start + 1, _beat(times.end_seconds - gap_seconds))
                kind, pitch = ("F", 0) if note is None else (":", note.midi - _ULTRASTAR_C4)
                rows.append(f"{kind} {start} {free - start} {pitch} {'~' if number else text}")
    return "\n".join([*rows, "E"]) + "\n"


def midi(transcript: Transcript) -> bytes:
    """Render as a standard MIDI file of format 0.

    Raises:
        MelodyError: the transcript has no melody.
    """
    events: list[tuple[int, int, bytes]] = []  # tick, order among events of a tick, message
    free = 0
    for syllable in _melody(transcript):
        first = max(free, round(syllable.start_seconds * _TICKS_PER_SECOND))
        text = one_line(syllable.text).encode("utf-8")
        events.append((first, 1, b"\xff\x05" + _variable_length(len(text)) + text))
        for note in syllable.notes:
            start = max(free, round(note.start_seconds * _TICKS_PER_SECOND))
            free = max(start + 1, round(note.end_seconds * _TICKS_PER_SECOND))
            pitch = min(127, max(0, note.midi))
            events.append((start, 2, bytes((0x90, pitch, _VELOCITY))))
            events.append((free, 0, bytes((0x80, pitch, 0))))
    track, now = bytearray(b"\x00\xff\x51\x03" + _QUARTER_MICROSECONDS.to_bytes(3, "big")), 0
    for tick, _, message in sorted(events, key=lambda event: event[:2]):
        track += _variable_length(tick - now) + message
        now = tick
    track += b"\x00\xff\x2f\x00"
    header = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, _TICKS_PER_QUARTER)
    return header + struct.pack(">4sI", b"MTrk", len(track)) + bytes(track)


def _melody(transcript: Transcript) -> Sequence[Syllable]:
    if not isinstance(transcript, SungTranscript):
        raise MelodyError(f"{transcript.audio.path}: has no melody; align the song with --melody")
    return transcript.melody


def _beat(seconds: float) -> int:
    return max(0, round(seconds / _BEAT_SECONDS))


def _beside(audio: Path) -> list[Path]:
    return sorted(audio.parent.iterdir()) if audio.parent.is_dir() else []


def _variable_length(number: int) -> bytes:
    """A number in MIDI's seven bits per byte, the last of which has its high bit clear."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(0x80 | number & 0x7F)
    return bytes(reversed(groups))
