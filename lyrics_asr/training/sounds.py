"""A second task in training: which speech sound is sung at every frame.

The letters of a word say little about its sound, and CTC says nothing about when it is sung; a network that has to name
the sounds below its top learns to hear sooner. Krishna et al. 2018, "Hierarchical Multitask Learning for CTC-based
Speech Recognition", with a cross-entropy at every frame, because the generator knows the times. The classifier is no
part of the model that is saved.
"""

from typing import Any, cast

from jaxtyping import Float
from torch import Tensor, nn

from lyrics_asr.models.acoustic import AcousticModel


class SoundClassifier(nn.Module):
    """Names the sound of every frame that `acoustic` heard last, from two thirds of the way up its layers.

    Args:
        acoustic: whose encoder is listened in on, until `close`.
        sounds: how many there are; number 0 is silence, and not among them.
    """

    def __init__(self, acoustic: AcousticModel, sounds: int) -> None:
        super().__init__()
        encoder = cast(Any, acoustic.network).base_model.encoder
        self.linear = nn.Linear(acoustic.network.config.hidden_size, sounds + 1)
        layer = encoder.layers[max(0, 2 * len(encoder.layers) // 3 - 1)]
        self._hook = layer.register_forward_hook(self._listen)
        self._heard: Tensor | None = None

    def forward(self) -> Float[Tensor, "batch frames sounds"]:
        """Log-probabilities of the sounds."""
        if self._heard is None:
            raise RuntimeError("the acoustic model has not heard anything")
        return cast(Tensor, self.linear(self._heard)).log_softmax(-1)

    def close(self) -> None:
        """Listen no more."""
        self._hook.remove()
        self._heard = None

    def _listen(self, _: nn.Module, __: Any, output: Tensor) -> None:
        self._heard = output
