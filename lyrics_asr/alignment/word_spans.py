"""The frames of the words of a decoded text: plain CTC forced alignment."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torchaudio.functional import forced_align

from lyrics_asr.alignment.word_ends import sung_ends
from lyrics_asr.emissions import Emissions
from lyrics_asr.types import TimedWord


@dataclass(frozen=True)
class WordSpan:
    """The frames of a word, half open, and its confidence in 0..1."""

    start: int
    end: int
    confidence: float

    def shifted(self, frames: int) -> "WordSpan":
        """The same word, so many frames later."""
        return replace(self, start=self.start + frames, end=self.end + frames)


def word_spans(
    log_probs: Float[Tensor, "frames columns"],
    tokens: Sequence[int],
    words: Sequence[tuple[int, int]],
    blank_id: int,
) -> list[WordSpan]:
    """Find each word on the most likely path that spells `tokens`.

    A span goes from the first frame of the word's first token to the last frame of its last token. The confidence is
    the geometric mean of the tokens' probabilities over these frames, without blanks.

    Args:
        log_probs: log-probabilities; at least one frame per token, plus a blank between two equal tokens.
        tokens: columns, without blanks.
        words: half-open range of each word's tokens; not empty.
        blank_id: column of the CTC blank.
    """
    if not words:
        return []
    path = forced_align(log_probs[None].contiguous(), torch.tensor([list(tokens)]), blank=blank_id)[0][0]
    is_token = path != blank_id
    edge, changes = torch.ones(1, dtype=torch.bool), path[1:] != path[:-1]
    starts = (is_token & torch.cat([edge, changes])).nonzero()[:, 0].tolist()
    ends = (1 + (is_token & torch.cat([changes, edge])).nonzero()[:, 0]).tolist()
    assert len(starts) == len(ends) == len(tokens)

    zero = torch.zeros(1, dtype=torch.float64)
    path_scores = log_probs.gather(1, path[:, None].long())[:, 0]
    scores = torch.cat([zero, path_scores.double().where(is_token, 0.0).cumsum(0)]).tolist()
    counts = torch.cat([zero, is_token.double().cumsum(0)]).tolist()
    frames = [(starts[first], ends[last - 1]) for first, last in words]
    means = [(scores[end] - scores[start]) / (counts[end] - counts[start]) for start, end in frames]
    return [WordSpan(*span, math.exp(min(0.0, mean))) for span, mean in zip(frames, means, strict=True)]


def timed_words(texts: Sequence[str], spans: Sequence[WordSpan], emissions: Emissions) -> tuple[TimedWord, ...]:
    """Convert spans of a song's frames, in order, to words with times in seconds, which end as in `word_ends`."""
    ends = sung_ends(emissions, [(span.start, span.end) for span in spans])
    return tuple(
        TimedWord(text, emissions.seconds(span.start), emissions.seconds(end), span.confidence)
        for text, span, end in zip(texts, spans, ends, strict=True)
    )
