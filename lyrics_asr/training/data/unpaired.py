"""Batches with sounds that do not belong to them, for adversarial stages."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from lyrics_asr.training.data.batch import Batch, Unpaired
from lyrics_asr.training.data.batch_sources import BatchSource
from lyrics_asr.training.data.cut_loader import CutLoader


class WithUnpaired:
    """The batches of a source, each with batches of solo recordings and mixtures.

    Args:
        source: of the batches.
        loaders: of the sounds, by the fields of `Unpaired`.
        discriminator_steps: number of batches of each sound for one of the source.
        accumulation: batches per step and process; a step has the same sounds however its batches are distributed.
    """

    def __init__(
        self, source: BatchSource, loaders: Mapping[str, CutLoader], *, discriminator_steps: int, accumulation: int = 1
    ) -> None:
        self._source = source
        self._loaders = dict(loaders)
        self._discriminator_steps = discriminator_steps
        self._accumulation = accumulation

    def __iter__(self) -> Iterator[Batch]:
        """The batches from the current position on."""
        sounds = {name: iter(loader) for name, loader in self._loaders.items()}
        batches = iter(self._source)
        while True:
            step = [next(batches) for _ in range(self._accumulation)]
            unpaired = [
                [Unpaired(**{name: next(each) for name, each in sounds.items()}) for _ in step]
                for _ in range(self._discriminator_steps)
            ]
            for batch, *own in zip(step, *unpaired, strict=True):
                yield replace(batch, unpaired=tuple(own))

    def state_dict(self) -> dict[str, int]:
        """Positions of the source and, after their names, of the sounds; at the end of a step."""
        state = self._source.state_dict()
        for name, loader in self._loaders.items():
            state |= {f"{name} {key}": value for key, value in loader.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue at positions that `state_dict` gave."""
        own = dict(state)
        for name, loader in self._loaders.items():
            keys = [key for key in own if key.startswith(f"{name} ")]
            loader.load_state_dict({key.removeprefix(f"{name} "): own.pop(key) for key in keys})
        self._source.load_state_dict(own)

    @property
    def unreadable_cuts(self) -> int:
        """Those of all sources."""
        return self._source.unreadable_cuts + sum(loader.unreadable_cuts for loader in self._loaders.values())
