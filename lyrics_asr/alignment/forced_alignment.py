"""Alignment of lyrics with a whole song: when each line and word is sung, and what was not sung as written.

Conventions
- The path is the best of all paths through the graph of the lyrics (Viterbi; see `graph` and `search`). A line may be
  left out, sung again or sung out of order, and singing that no line covers is passed over, each at a price. Where none
  of this pays, the result is the forced alignment of the whole lyrics, which `keep_all` always gives.
- A word starts with the first frame of its first letter and ends at the fall of the voice, see `word_ends`.
- Backing vocals are found after the lead and may overlap it, see `backing`.
- Confidences are probabilities, see `confidence`. If the lyrics seem to belong to another song, no line is found.
- A word that cannot be spelled, such as "-", has zero length and confidence 0. It is placed at the end of the spelled
  word before it in its line, else at the start of the next one. A line of such words follows the line before it, and
  does not count as not found.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lyrics_asr.alignment.backing import find_backing, windows_beside
from lyrics_asr.alignment.confidence import SongEvidence
from lyrics_asr.alignment.found import WordSpan, find, written_lines
from lyrics_asr.alignment.graph import PADDING_FRAMES, Columns, Spelling, build_graph, line_windows, path_scores
from lyrics_asr.alignment.word_ends import sung_ends
from lyrics_asr.emissions import Emissions
from lyrics_asr.lyrics.spelling import spell_by_sound
from lyrics_asr.lyrics.text import LyricLine, Lyrics
from lyrics_asr.options import AlignmentOptions
from lyrics_asr.types import Alignment, AlignmentError, MissingLine, Segment, TimedLine, TimedWord, Vocabulary

_UNCOVERED_PAUSE_SECONDS = 1.0
_MIN_UNCOVERED_SECONDS = 2.0
_MIN_UNCOVERED_LETTERS_HZ = 2.0
"""Singing without lyrics: pauses in it are shorter, it lasts longer, and has more letters per second."""


def align_lyrics(
    emissions: Emissions,
    lyrics: Lyrics,
    *,
    language: str = "en",
    options: AlignmentOptions | None = None,
    keep_all: bool = False,
    use_times: bool = False,
    calibrated: bool = True,
) -> Alignment:
    """Find what was sung of the lyrics, and the time of every word.

    Args:
        emissions: emissions of the whole song.
        lyrics: lyrics in the order in which they are sung, as far as known.
        language: language of the lyrics, to verbalize digits and symbols.
        options: prices of the graph.
        keep_all: whether every line was sung, once and in order.
        use_times: whether each line is sung near the time that its file gives, see `AlignmentOptions.margin_seconds`.
        calibrated: whether confidences of words are probabilities of right onsets; else they are the geometric means of
            their letters' probabilities, as those of transcribed words.

    Raises:
        AlignmentError: the song has too few frames for the lyrics, or no word can be spelled.
    """
    options = options or AlignmentOptions()
    spelled = _spell(lyrics, emissions.vocabulary, language)
    _check_fit(spelled, emissions, options)
    scores = path_scores(emissions, options).numpy()
    windows = None
    if use_times:
        guided = [lyrics.lines[number] for number in spelled.numbers]
        windows = line_windows(guided, emissions, options.margin_seconds)
    visits, song = _find_voices(scores, lyrics, spelled, windows, emissions, options, keep_all=keep_all)
    words = _with_sung_ends([visit.words for visit in visits], emissions)
    lines, numbers = list[TimedLine](), set[int]()
    for number in spelled.unspelled_after(-1):
        lines.append(_unspelled_line(lyrics, number, emissions.seconds(0)))
    for visit, spans in zip(visits, words, strict=True):
        number = visit.number
        is_repeated = number in numbers
        numbers.add(number)
        lines.append(_timed_line(lyrics.lines[number], number, spelled, spans, is_repeated, emissions, calibrated))
        if not is_repeated:
            for unspelled in spelled.unspelled_after(number):
                lines.append(_unspelled_line(lyrics, unspelled, lines[-1].end_seconds))
    missing = tuple(
        MissingLine(lyrics.lines[number].text, number, lyrics.lines[number].words, lyrics.lines[number].voice)
        for number in spelled.numbers
        if number not in numbers
    )
    uncovered = () if keep_all else _uncovered(scores, visits, emissions)
    return Alignment(tuple(lines), missing, uncovered, song.confidence)


@dataclass(frozen=True)
class _Spelled:
    """The lines that can be spelled.

    Args:
        spellings: words of these lines that can be spelled.
        numbers: number of each of these lines in the lyrics.
        is_spelled: for every line of the lyrics, which words can be spelled.
    """

    spellings: tuple[tuple[Spelling, ...], ...]
    numbers: tuple[int, ...]
    is_spelled: tuple[tuple[bool, ...], ...]

    def unspelled_after(self, number: int) -> Sequence[int]:
        """The lines between this one and the next that can be spelled."""
        after = number + 1
        while after < len(self.is_spelled) and not any(self.is_spelled[after]):
            after += 1
        return range(number + 1, after)


def _spell(lyrics: Lyrics, vocabulary: Vocabulary, language: str) -> _Spelled:
    if not vocabulary.text_ids:
        spelled: list[list[Spelling]] = [[() for _ in line.words] for line in lyrics.lines]
    else:
        spelled = [[spell_by_sound(word, vocabulary, language) for word in line.words] for line in lyrics.lines]
    return _Spelled(
        tuple(tuple(filter(None, line)) for line in spelled if any(line)),
        tuple(number for number, line in enumerate(spelled) if any(line)),
        tuple(tuple(map(bool, line)) for line in spelled),
    )


def _check_fit(spelled: _Spelled, emissions: Emissions, options: AlignmentOptions) -> None:
    frames, words = len(emissions.log_probs), sum(map(len, spelled.is_spelled))
    if not spelled.spellings:
        raise AlignmentError(
            f"none of the {words} words can be spelled with the model's letters; check that the lyrics are text"
        )
    graph = build_graph(spelled.spellings, emissions.vocabulary, options, None)
    if graph.needed_frames > frames:
        raise AlignmentError(
            f"the lyrics' {words} words need at least {graph.needed_frames} frames ({int(graph.letters.sum())} "
            f"letters), but the song has {frames} frames in {emissions.duration_seconds:.1f} s; check that the lyrics "
            "belong to this song"
        )


@dataclass(frozen=True)
class _SungLine:
    """The number of a line in the lyrics, and its words where it is sung."""

    number: int
    words: tuple[WordSpan, ...]


def _find_voices(
    scores: NDArray[np.float32],
    lyrics: Lyrics,
    spelled: _Spelled,
    windows: NDArray[np.int64] | None,
    emissions: Emissions,
    options: AlignmentOptions,
    *,
    keep_all: bool,
) -> tuple[list[_SungLine], SongEvidence]:
    """All that was found, in order of time, and what speaks for the lyrics as a whole."""
    is_backing = [lyrics.lines[number].voice == "backing" for number in spelled.numbers]
    is_lead = [all(is_backing) or not backing for backing in is_backing]
    lead = [line for line, sings in enumerate(is_lead) if sings]
    phrases = [line for line, sings in enumerate(is_lead) if not sings]
    spellings = [spelled.spellings[line] for line in lead]
    found, song, words = find(
        scores,
        spellings,
        emissions.vocabulary,
        options,
        keep_all=keep_all,
        windows=None if windows is None else windows[lead],
    )
    if not (keep_all or song.belongs) or not found.visits:
        return [], song
    lines = [lead[line] for line in written_lines(found.visits, spellings)]
    sung = [_SungLine(spelled.numbers[line], own) for line, own in zip(lines, words, strict=True)]
    if phrases:
        visits = [replace(visit, line=line) for visit, line in zip(found.visits, lines, strict=True)]
        beside = windows_beside(phrases, visits, len(scores))
        if windows is not None:
            given = windows[phrases]
            beside = np.stack([np.maximum(beside[:, 0], given[:, 0]), np.minimum(beside[:, 1], given[:, 1])], axis=1)
        backing, words = find_backing(
            scores,
            found,
            [spelled.spellings[line] for line in phrases],
            beside,
            song,
            emissions,
            options,
            keep_all=keep_all,
        )
        for visit, own in zip(backing.visits, words, strict=True):
            sung.append(_SungLine(spelled.numbers[phrases[visit.line]], own))
    return sorted(sung, key=lambda line: line.words[0].start), song


def _with_sung_ends(words: Sequence[Sequence[WordSpan]], emissions: Emissions) -> tuple[tuple[WordSpan, ...], ...]:
    """The words of every visit, until the fall of the voice."""
    spans = [(word.start - PADDING_FRAMES, word.end - PADDING_FRAMES) for line in words for word in line]
    ends = iter(sung_ends(emissions, spans))
    return tuple(tuple(replace(word, end=next(ends) + PADDING_FRAMES) for word in line) for line in words)


def _timed_line(
    line: LyricLine,
    number: int,
    spelled: _Spelled,
    spans: Sequence[WordSpan],
    is_repeated: bool,
    emissions: Emissions,
    calibrated: bool,
) -> TimedLine:
    remaining = iter(spans)
    now = spans[0].start
    words = []
    for text, is_spelled in zip(line.words, spelled.is_spelled[number], strict=True):
        start, confidence = now, 0.0
        if is_spelled:
            span = next(remaining)
            start, now = span.start, span.end
            confidence = span.evidence.confidence if calibrated else span.probability
        start_seconds = emissions.seconds(start - PADDING_FRAMES)
        words.append(TimedWord(text, start_seconds, emissions.seconds(now - PADDING_FRAMES), confidence))
    return TimedLine(
        line.text,
        words[0].start_seconds,
        words[-1].end_seconds,
        spans[0].evidence.line.confidence,
        tuple(words),
        status="repeated" if is_repeated else "sung",
        number=number,
        voice=line.voice,
    )


def _unspelled_line(lyrics: Lyrics, number: int, seconds: float) -> TimedLine:
    line = lyrics.lines[number]
    words = tuple(TimedWord(text, seconds, seconds, 0.0) for text in line.words)
    return TimedLine(line.text, seconds, seconds, 0.0, words, number=number, voice=line.voice)


def _uncovered(scores: NDArray[np.float32], sung: Sequence[_SungLine], emissions: Emissions) -> tuple[Segment, ...]:
    """Singing between the lines: stretches in which the model hears letters."""
    made = Columns.after(emissions.vocabulary)
    is_gap = np.ones(len(scores), dtype=np.bool_)
    for line in sung:
        is_gap[line.words[0].start : line.words[-1].end] = False
    heard = np.flatnonzero(is_gap & (scores[:, made.wildcard] > scores[:, made.line_pause]))
    frame_seconds = emissions.grid.frame_seconds
    in_line = np.cumsum(~is_gap)
    breaks = (np.diff(heard) * frame_seconds > _UNCOVERED_PAUSE_SECONDS) | (np.diff(in_line[heard]) > 0)
    segments = []
    for frames in np.split(heard, 1 + np.flatnonzero(breaks)):
        if not len(frames):
            continue
        seconds = (frames[-1] - frames[0]) * frame_seconds
        letters = 1 + np.count_nonzero(np.diff(frames) > 1)
        if seconds >= _MIN_UNCOVERED_SECONDS and letters >= _MIN_UNCOVERED_LETTERS_HZ * seconds:
            start, end = (emissions.seconds(int(frame) - PADDING_FRAMES) for frame in (frames[0], frames[-1] + 1))
            segments.append(Segment(start, end))
    return tuple(segments)
