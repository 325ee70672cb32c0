"""An exponential moving average (EMA) of the weights, which is validated and exported in place of the last weights.

Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging"; the decay rises from 0.1 to its final
value, as in TensorFlow's `ExponentialMovingAverage`, so that the initial weights are forgotten in short runs too.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lyrics_asr.training.sharding import sharded_like


class WeightAverage:
    """The average of the parameters that have been trained so far; the others are those of the model.

    Args:
        model: whose parameters are averaged.
        decay: weight of the previous average in each step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model = model
        self._decay = decay
        self._average: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Add the present weights.

        Args:
            steps: number of steps of the run, this one included.
        """
        decay = min(self._decay, (1 + steps) / (10 + steps))
        for name, parameter in self._model.named_parameters():
            if name in self._average:
                self._average[name].lerp_(parameter, 1 - decay)
            elif parameter.requires_grad:
                self._average[name] = parameter.detach().clone()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the average in the block, and its own weights after it."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Tensor]:
        """The average of each parameter that has been trained, by its name in the model."""
        return dict(self._average)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state, on the devices of the model and sharded as it is."""
        parameters = dict(self._model.named_parameters())
        self._average = {name: sharded_like(parameters[name], value) for name, value in state.items()}

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._model.named_parameters():
            if name in self._average:
                own = parameter.detach().clone()
                parameter.copy_(self._average[name])
                self._average[name].copy_(own)
