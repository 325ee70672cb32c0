"""Align edited lyrics again, with the kept emissions: no model is needed, so the answer comes at once.

Words whose times a person has set keep them. Their neighbours in the line give way.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from pydantic import BaseModel, Field

from lyrics_asr.alignment.forced_alignment import align_lyrics
from lyrics_asr.emissions import Emissions
from lyrics_asr.lyrics.languages import resolve_language
from lyrics_asr.lyrics.text import LyricLine, Lyrics
from lyrics_asr.lyrics.voices import voice_parts
from lyrics_asr.server import song_files
from lyrics_asr.types import AlignmentError, FrameGrid, MissingLine, TimedLine, TimedWord, Transcript, Vocabulary


class EditedWord(BaseModel):
    """A word of the editor; its times count only if a person has set them."""

    text: str = Field(min_length=1, max_length=200, pattern=r"^\S+$")
    start_seconds: float | None = Field(None, ge=0)
    end_seconds: float | None = Field(None, ge=0)
    is_set: bool = False


class EditedLine(BaseModel):
    """A line of the editor."""

    words: list[EditedWord] = Field(min_length=1, max_length=200)


class EditedLyrics(BaseModel):
    """The lines of the editor, in the order in which they are sung."""

    lines: list[EditedLine] = Field(min_length=1, max_length=2000)


def warm_up() -> None:
    """Load the compiled search of the alignment, which takes half a second, before an editor waits for it."""
    emissions = Emissions(torch.zeros(8, 2), Vocabulary(("", "a"), 0, None), FrameGrid(320, 400, 16_000), 0.2)
    align_lyrics(emissions, Lyrics("a", (LyricLine("a", ("a",)),)))


def align_again(folder: Path, transcript: Transcript, edited: EditedLyrics) -> Transcript:
    """Align the lines of the editor with a song's kept emissions.

    Args:
        folder: the song's folder.
        transcript: its transcript, for everything but the lines.
        edited: lines and words, some with times that a person has set.

    Raises:
        FileNotFoundError: the emissions are missing.
        AlignmentError: the lyrics do not fit the song.
    """
    edited_lines, lines = list[EditedLine](), list[LyricLine]()
    for line in edited.lines:
        for part in voice_parts([word.text for word in line.words]):
            own = EditedLine(words=[line.words[place] for place in part.places])
            words = tuple(word.text for word in own.words)
            edited_lines.append(own)
            lines.append(LyricLine(" ".join(words), words, voice=part.voice))
    text = "\n".join(" ".join(word.text for word in line.words) for line in edited.lines)
    language = resolve_language(transcript.language or "auto", text)
    emissions = song_files.load_emissions(folder / song_files.EMISSIONS)
    found = align_lyrics(emissions, Lyrics(text, tuple(lines)), language=language)
    timed = []
    for aligned in found.lines:
        if aligned.status == "sung" and aligned.number is not None:
            aligned = _with_set_times(aligned, edited_lines[aligned.number].words)
        timed.append(aligned)
    placed = {line.number for line in timed}
    for missing in found.not_found:
        words_of = edited_lines[missing.number].words
        if missing.number not in placed and all(word.is_set for word in words_of):
            timed.append(_line_as_set(missing, words_of))
            placed.add(missing.number)
    not_found = tuple(line for line in found.not_found if line.number not in placed)
    timed.sort(key=lambda line: line.start_seconds)
    return replace(
        transcript,
        task="align",
        text=text,
        lines=tuple(timed),
        not_found=not_found,
        uncovered=found.uncovered,
        language=language,
    )


def _with_set_times(line: TimedLine, edited: Sequence[EditedWord]) -> TimedLine:
    """The line with the times that a person has set; words before and after them do not overlap them."""
    words = list(line.words)
    for index, given in enumerate(edited):
        if not given.is_set or given.start_seconds is None or given.end_seconds is None:
            continue
        words[index] = _set_word(given)
        start, end = words[index].start_seconds, words[index].end_seconds
        for other in range(len(words)):
            word = words[other]
            if edited[other].is_set or other == index:
                continue
            if other < index and word.end_seconds > start:
                words[other] = replace(word, start_seconds=min(word.start_seconds, start), end_seconds=start)
            if other > index and word.start_seconds < end:
                words[other] = replace(word, start_seconds=end, end_seconds=max(word.end_seconds, end))
    return _spanning(line, words)


def _line_as_set(line: MissingLine, edited: Sequence[EditedWord]) -> TimedLine:
    words = [_set_word(word) for word in edited]
    return _spanning(TimedLine(line.text, 0.0, 0.0, 1.0, (), "sung", line.number, line.voice), words)


def _set_word(word: EditedWord) -> TimedWord:
    if word.start_seconds is None or word.end_seconds is None or word.end_seconds < word.start_seconds:
        raise AlignmentError(f"the word {word.text!r} is set to no valid time; drag its edges again")
    return TimedWord(word.text, word.start_seconds, word.end_seconds, 1.0)


def _spanning(line: TimedLine, words: Sequence[TimedWord]) -> TimedLine:
    start = min(word.start_seconds for word in words)
    return replace(line, start_seconds=start, end_seconds=max(word.end_seconds for word in words), words=tuple(words))
