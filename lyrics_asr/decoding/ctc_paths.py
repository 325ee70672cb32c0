"""Word times and confidences from the best CTC path of a known text.

Conventions
- A word starts with the first frame of its first letter and ends with the last frame of its last letter, on the most
  likely path that spells the text.
- The confidence of a word is the geometric mean of its letters' probabilities over their frames on that path. Blanks
  do not count. The confidence of a line is the geometric mean of its words' confidences.
"""

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
    """The frames of a word, half open, and its confidence in 0..1."""

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
    confidence_log_probs: Float[Tensor, "frames columns"] | None = None,
) -> list[WordSpan]:
    """Find each word on the most likely path that spells `tokens`.

    Args:
        log_probs: scores of the path; needs at least one frame per token, plus a blank between two equal tokens.
        tokens: columns, without blanks.
        words: the half-open range of each word's tokens; not empty, and no pause at either end.
        blank_id: column of the CTC blank.
        pauses: other columns that do not count towards confidences.
        confidence_log_probs: where confidences are read; `log_probs` when None.
    """
    if not words:
        return []
    path = forced_align(log_probs[None].contiguous(), torch.tensor([list(tokens)]), blank=blank_id)[0][0]
    is_token, is_letter = path != blank_id, ~torch.isin(path, torch.tensor([blank_id, *pauses]))
    edge, changes = torch.ones(1, dtype=torch.bool), path[1:] != path[:-1]
    starts = (is_token & torch.cat([edge, changes])).nonzero()[:, 0].tolist()
    ends = (1 + (is_token & torch.cat([changes, edge])).nonzero()[:, 0]).tolist()
    assert len(starts) == len(ends) == len(tokens)

    zero = torch.zeros(1, dtype=torch.float64)
    confidences = log_probs if confidence_log_probs is None else confidence_log_probs
    path_scores = confidences.gather(1, path[:, None].long())[:, 0]
    scores = torch.cat([zero, path_scores.double().where(is_letter, 0.0).cumsum(0)]).tolist()
    counts = torch.cat([zero, is_letter.double().cumsum(0)]).tolist()
    frames = [(starts[first], ends[last - 1]) for first, last in words]
    means = [(scores[end] - scores[start]) / (counts[end] - counts[start]) for start, end in frames]
    return [WordSpan(*span, math.exp(min(0.0, mean))) for span, mean in zip(frames, means, strict=True)]


def timed_word(text: str, span: WordSpan, offset: int, emissions: Emissions) -> TimedWord:
    """Convert a span whose frame 0 is frame `offset` of the song to a word with times in seconds."""
    start_seconds, end_seconds = emissions.seconds(offset + span.start), emissions.seconds(offset + span.end)
    return TimedWord(text, start_seconds, end_seconds, span.confidence)
