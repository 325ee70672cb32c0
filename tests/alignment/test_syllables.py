import torch

from lyrics_asr.alignment.syllables import time_syllables
from lyrics_asr.emissions import Emissions
from lyrics_asr.types import AudioInfo, FrameGrid, ModelInfo, TimedLine, TimedWord, Transcript, Vocabulary

VOCABULARY = Vocabulary(("-", *"aehilnostx"), 0, None)
GRID = FrameGrid(160, 160, 16_000)  # 10 ms, the first frame at 5 ms


def emissions_of(path):
    """Nearly certain of one symbol per frame."""
    log_probs = torch.full((len(path), len(VOCABULARY.tokens)), 0.001).log()
    for frame, symbol in enumerate(path):
        log_probs[frame, VOCABULARY.tokens.index(symbol)] = 0.0
    return Emissions(log_probs, VOCABULARY, GRID, len(path) * 0.01)


def timed(text, path, first, last):
    word = TimedWord(text, GRID.seconds(first), GRID.seconds(last), 1.0)
    line = TimedLine(text, word.start_seconds, word.end_seconds, 1.0, (word,))
    transcript = Transcript("align", AudioInfo("a", 1.0, 16_000), ModelInfo("m", "s", "a", None), text, (line,))
    return time_syllables(transcript, emissions_of(path))


def test_a_syllable_starts_with_its_first_letter():
    path = "----hhee--ll-----lloooooo---"
    first, second = timed("hello", path, 4, 25)
    assert (first.text, second.text) == ("hel", "lo")
    assert (first.start_seconds, first.end_seconds) == (GRID.seconds(4), GRID.seconds(path.index("llo")))
    assert (second.start_seconds, second.end_seconds) == (first.end_seconds, GRID.seconds(25))
    assert (first.line, first.word, first.notes) == (0, 0, ())


def test_backing_vocals_have_no_syllables():
    word = TimedWord("hello", 0.0, 0.2, 1.0)
    lines = tuple(TimedLine("hello", 0.0, 0.2, 1.0, (word,), voice=voice) for voice in ("backing", "lead"))
    transcript = Transcript("align", AudioInfo("a", 1.0, 16_000), ModelInfo("m", "s", "a", None), "hello", lines)
    assert {part.line for part in time_syllables(transcript, emissions_of("hheelllloo----------"))} == {1}


def test_letters_that_cannot_be_aligned_have_equal_lengths():
    for text, path in (("hezlo", "hhee----lloo"), ("hello", "hhe")):
        parts = timed(text, path, 0, len(path) - 1)
        start, end = GRID.seconds(0), GRID.seconds(len(path) - 1)
        boundaries = [part.start_seconds for part in parts] + [parts[-1].end_seconds]
        letters = [len(part.text) for part in parts]
        expected = [start + (end - start) * sum(letters[:k]) / 5 for k in range(len(letters) + 1)]
        torch.testing.assert_close(torch.tensor(boundaries), torch.tensor(expected))
