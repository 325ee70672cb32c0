"""Group transcribed words into lines, by the pauses between them."""

import math
from collections.abc import Sequence
from itertools import pairwise

from lyrics_asr.options import LineOptions
from lyrics_asr.types import TimedLine, TimedWord


def cut_lines(words: Sequence[TimedWord], options: LineOptions) -> tuple[TimedLine, ...]:
    """Split words into lines at pauses (see `LineOptions`); between equally long pauses, nearest to the middle."""
    # Rounded, so that pauses of the same number of frames compare equal.
    gaps = [round(after.start_seconds - before.end_seconds, 6) for before, after in pairwise(words)]
    pauses = [i + 1 for i, gap in enumerate(gaps) if gap >= options.pause_seconds]
    pending = list(zip([0, *pauses], [*pauses, len(words)], strict=True))[::-1]
    lines = []
    while pending:
        start, end = pending.pop()
        if end - start > options.max_words:
            middle = (start + end) / 2
            cut = max(range(start + 1, end), key=lambda i: (gaps[i - 1], -abs(i - middle)))
            pending += [(cut, end), (start, cut)]
        elif end > start:
            lines.append(timed_line(words[start:end]))
    return tuple(lines)


def timed_line(words: Sequence[TimedWord]) -> TimedLine:
    """Build a line from at least one word; its confidence is the geometric mean of its words' confidences."""
    text = " ".join(word.text for word in words)
    score = mean_confidence([word.confidence for word in words])
    return TimedLine(text, words[0].start_seconds, words[-1].end_seconds, score, tuple(words))


def mean_confidence(confidences: Sequence[float]) -> float:
    """Geometric mean of confidences; 0 for none."""
    if not confidences or min(confidences) <= 0:
        return 0.0
    return min(1.0, math.exp(math.fsum(map(math.log, confidences)) / len(confidences)))
