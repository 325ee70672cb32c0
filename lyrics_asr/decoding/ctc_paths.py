"""Where the most likely CTC path of a text has each word, and how sure it is."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torchaudio.functional import forced_align

from lyrics_asr.types import Emissions, TimedWord


@dataclass(frozen=True)
class WordSpan:
    """Frames of a word, half open, and its confidence."""

    start: int
    end: int
    confidence: float


def word_spans(
    log_probs: Float[Tensor, "frames columns"],
    tokens: Sequence[int],
    words: Sequence[tuple[int, int]],
    blank_id: int,
    *,
    pauses: Collection[int] = (),
    heard: Float[Tensor, "frames columns"] | None = None,
) -> list[WordSpan]:
    """Where the most likely of the paths that spell `tokens` has each word.

    Args:
        log_probs: at least one frame for each token and for a blank between two equal ones.
        tokens: columns, without blanks.
        words: the half-open range of each word's tokens; none is empty, nor begins or ends with a pause.
        blank_id: column of the CTC blank.
        pauses: further columns that no word's confidence is read from.
        heard: what confidences are read from; `log_probs` where None.
    """
    if not words:
        return []
    path = forced_align(log_probs[None].contiguous(), torch.tensor([list(tokens)]), blank=blank_id)[0][0]
    is_token, is_heard = path != blank_id, ~torch.isin(path, torch.tensor([blank_id, *pauses]))
    edge, changes = torch.ones(1, dtype=torch.bool), path[1:] != path[:-1]
    starts = (is_token & torch.cat([edge, changes])).nonzero()[:, 0].tolist()
    ends = (1 + (is_token & torch.cat([changes, edge])).nonzero()[:, 0]).tolist()
    assert len(starts) == len(ends) == len(tokens)

    origin = torch.zeros(1, dtype=torch.float64)
    path_scores = (log_probs if heard is None else heard).gather(1, path[:, None].long())[:, 0]
    scores = torch.cat([origin, path_scores.double().where(is_heard, 0.0).cumsum(0)]).tolist()
    counts = torch.cat([origin, is_heard.double().cumsum(0)]).tolist()
    frames = [(starts[first], ends[last - 1]) for first, last in words]
    means = [(scores[end] - scores[start]) / (counts[end] - counts[start]) for start, end in frames]
    return [WordSpan(*span, math.exp(min(0.0, mean))) for span, mean in zip(frames, means, strict=True)]


def mean_confidence(confidences: Sequence[float]) -> float:
    """Geometric mean of confidences; 0 for none."""
    if not confidences or min(confidences) <= 0:
        return 0.0
    return min(1.0, math.exp(math.fsum(map(math.log, confidences)) / len(confidences)))


def timed_word(text: str, span: WordSpan, offset: int, emissions: Emissions) -> TimedWord:
    """A word on frames that are counted from `offset`."""
    start_seconds, end_seconds = emissions.seconds(offset + span.start), emissions.seconds(offset + span.end)
    return TimedWord(text, start_seconds, end_seconds, span.confidence)
