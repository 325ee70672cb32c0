"""Frame-level targets: the letter or phone of every frame, and the cross-entropy against them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import nll_loss

from lyrics_asr.types import FrameGrid

IGNORED = -100
"""The target of a frame that adds nothing to the loss: past the end of its row, or of a phone outside the inventory."""

SILENCE = 0
"""The phone class of frames without a phone."""


def frame_targets(
    tokens: Int[Tensor, "tokens"],
    spans: Float[Tensor, "tokens 2"],
    lengths: Int[Tensor, "batch"],
    frames: Int[Tensor, "batch"],
    grid: FrameGrid,
    background: int,
) -> Int[Tensor, "batch frames"]:
    """The token of every frame.

    A token covers its span, and at least one frame. Of two equal tokens in a row the second loses its first frame to
    the background, because CTC merges repeats.

    Args:
        tokens: of all rows, concatenated.
        spans: start and end of each token in seconds from the start of its row.
        lengths: tokens of each row.
        frames: of each row; later frames are `IGNORED`.
        grid: times of the frames.
        background: the target between tokens.
    """
    targets = torch.full((len(frames), int(frames.max())), IGNORED)
    at = 0
    for row, (count, own) in enumerate(zip(frames.tolist(), lengths.tolist(), strict=True)):
        targets[row, :count] = background
        for token, (start, end) in zip(tokens[at : at + own].tolist(), spans[at : at + own].tolist(), strict=True):
            first = min(grid.frame(start), count - 1)
            if first and targets[row, first - 1] == token != IGNORED:
                first = min(first + 1, count - 1)
            targets[row, first : min(max(grid.frame(end), first + 1), count)] = token
        at += own
    return targets


def frame_cross_entropy(
    log_probs: Float[Tensor, "batch frames tokens"], targets: Int[Tensor, "batch longest"]
) -> Float[Tensor, ""]:
    """The sum over frames of the cross-entropy, `IGNORED` ones left out."""
    seen = log_probs[:, : targets.shape[1]].transpose(1, 2)
    return nll_loss(seen, targets.to(log_probs.device), ignore_index=IGNORED, reduction="sum")
