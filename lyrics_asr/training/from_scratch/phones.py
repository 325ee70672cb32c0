"""A multi-task loss: classify the phone of every frame at an intermediate layer of the acoustic model.

CTC gives no frame-level supervision, and spelling says little about pronunciation; phone targets below the top layer
speed up training from scratch. Krishna et al. 2018, "Hierarchical Multitask Learning for CTC-based Speech Recognition",
here with a cross-entropy at every frame, because synthetic songs have exact phone times. The classifier is not part of
the saved model.
"""

from typing import Any, cast

from jaxtyping import Float
from torch import Tensor, nn

from lyrics_asr.models.acoustic import AcousticModel


class PhoneClassifier(nn.Module):
    """A linear classifier on the output of the encoder layer two thirds of the way up.

    Args:
        acoustic: a forward hook on its encoder keeps the layer's last output, until `close`.
        phones: the number of phones; class 0 is silence and is not counted.
    """

    def __init__(self, acoustic: AcousticModel, phones: int) -> None:
        super().__init__()
        self.linear = nn.Linear(acoustic.network.config.hidden_size, phones + 1)
        layer = acoustic.layers[max(0, 2 * len(acoustic.layers) // 3 - 1)]
        self._hook = layer.register_forward_hook(self._keep)
        self._hidden: Tensor | None = None

    def forward(self) -> Float[Tensor, "batch frames phones"]:
        """Log-probabilities of the phones for the acoustic model's last batch.

        Raises:
            RuntimeError: the acoustic model has not been run.
        """
        if self._hidden is None:
            raise RuntimeError("the acoustic model has not been run since the classifier was made")
        return cast(Tensor, self.linear(self._hidden)).log_softmax(-1)

    def close(self) -> None:
        """Remove the hook."""
        self._hook.remove()
        self._hidden = None

    def _keep(self, _: nn.Module, __: Any, output: Tensor) -> None:
        self._hidden = output
