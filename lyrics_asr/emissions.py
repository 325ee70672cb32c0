"""What the acoustic model says of a song; decoding and alignment see nothing else of it."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from lyrics_asr.types import FrameGrid, Vocabulary


@dataclass(frozen=True)
class Emissions:
    """Log-probabilities of every symbol at every frame of a song, on the CPU in float32."""

    log_probs: Float[Tensor, "frames vocab"]
    vocabulary: Vocabulary
    grid: FrameGrid
    duration_seconds: float

    def __post_init__(self) -> None:
        if self.log_probs.shape[1] != len(self.vocabulary.tokens):
            raise ValueError(
                f"emissions have {self.log_probs.shape[1]} columns, the vocabulary {len(self.vocabulary.tokens)} tokens"
            )

    def seconds(self, frame: int) -> float:
        """Time of `frame`, inside the song."""
        return min(self.grid.seconds(frame), self.duration_seconds)
