"""Times of syllables, inside the times of their words."""

from itertools import pairwise

import torch
from torchaudio.functional import forced_align

from lyrics_asr.emissions import Emissions
from lyrics_asr.lyrics.spelling import spell
from lyrics_asr.lyrics.syllables import syllables
from lyrics_asr.types import WILDCARD, Syllable, TimedWord, Transcript, min_frames


def time_syllables(transcript: Transcript, emissions: Emissions, *, language: str = "en") -> tuple[Syllable, ...]:
    """The syllables of the lead's words, without notes.

    Inside the frames of a word, its letters are aligned again. A syllable starts with the first frame of its first
    letter, and lasts until the next one or the end of the word. Where letters cannot be aligned, for instance those
    that the model lacks, and with word pieces and phonemes, all letters of the word have the same length.

    Args:
        transcript: words with times.
        emissions: of the whole song.
        language: language of the lyrics.
    """
    found = []
    for line_index, line in enumerate(transcript.lines):
        if line.voice == "backing":
            continue
        for word_index, word in enumerate(line.words):
            parts = syllables(word.text, language)
            starts = [*_starts(word, parts, emissions, language), word.end_seconds]
            for part, (start, end) in zip(parts, pairwise(starts), strict=True):
                found.append(Syllable(part, start, end, line_index, word_index, ()))
    return tuple(found)


def _starts(word: TimedWord, parts: tuple[str, ...], emissions: Emissions, language: str) -> list[float]:
    """When each part of a word starts, in seconds; the first with the word."""
    if emissions.vocabulary.unit != "letters":  # a part of a word has other pieces, and may sound different
        return _even_starts(word, parts)
    spellings = [spell(part, emissions.vocabulary, language) for part in parts]
    tokens = [token for spelling in spellings for token in spelling]
    grid, blank_id = emissions.grid, emissions.vocabulary.blank_id
    first, last = grid.frame(word.start_seconds), grid.frame(word.end_seconds)
    log_probs = emissions.log_probs[first:last]
    if len(parts) == 1 or WILDCARD in tokens or not all(spellings) or min_frames(tokens) > len(log_probs):
        return _even_starts(word, parts)
    path = forced_align(log_probs[None].contiguous(), torch.tensor([tokens]), blank=blank_id)[0][0]
    changes = torch.cat([torch.ones(1, dtype=torch.bool), path[1:] != path[:-1]])
    token_frames = ((path != blank_id) & changes).nonzero()[:, 0].tolist()
    starts, count = [word.start_seconds], 0
    for spelling in spellings[:-1]:
        count += len(spelling)
        starts.append(min(word.end_seconds, max(starts[-1], emissions.seconds(first + token_frames[count]))))
    return starts


def _even_starts(word: TimedWord, parts: tuple[str, ...]) -> list[float]:
    letters = sum(map(len, parts))
    seconds = word.end_seconds - word.start_seconds
    starts, count = [], 0
    for part in parts:
        starts.append(word.start_seconds + seconds * count / max(1, letters))
        count += len(part)
    return starts
