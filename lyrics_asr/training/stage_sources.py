"""Where the batches of each stage come from: stored cuts, separated vocals, or songs that are made meanwhile."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.training.data.batch_sources import BatchSource, RoundCuts
from lyrics_asr.training.data.cut_loader import CutLoader
from lyrics_asr.training.data.labels import Labeller
from lyrics_asr.training.data.object_storage import CutsPath, cuts_path
from lyrics_asr.training.data.phones import labeller_of
from lyrics_asr.training.data.separated_cuts import SeparatedCuts
from lyrics_asr.training.data.song_stream import SongStream
from lyrics_asr.training.data.unpaired import WithUnpaired
from lyrics_asr.training.processes import TrainingAccelerator
from lyrics_asr.training.setup import stream_folder
from lyrics_asr.training.stages import StageOptions
from lyrics_asr.training.trackers import Log


class StageSources:
    """The batches of all stages of a run.

    Args:
        config: of the run.
        model: whose present separator makes separated vocals.
        phone_names: phones to classify; empty for none.
        accelerator: of the run.
        log: of this process.
    """

    def __init__(
        self,
        config: TrainingConfig,
        model: LyricsModel,
        phone_names: Sequence[str],
        accelerator: TrainingAccelerator,
        log: Log,
    ) -> None:
        self._config = config
        self._model = model
        self._phone_names = phone_names
        self._accelerator = accelerator
        self._log = log
        self._stream: SongStream | None = None
        if config.stream is not None:
            rounds = sum(math.ceil(stage.steps / config.stream.steps_per_round) for stage in config.stages)
            self._stream = SongStream(stream_folder(config), config.stream, rounds)

    def batches(self, index: int, rank: int, processes: int) -> BatchSource:
        """The batches of a stage for one of a number of processes."""
        source, adversarial = self._own_batches(index, rank, processes), self._config.stages[index].adversarial
        if adversarial is None:
            return source
        files = {"vocals": adversarial.vocals, "accompaniment": adversarial.accompaniment}
        if adversarial.mixtures:
            files["mixture"] = adversarial.mixtures
        loaders = {}
        for number, (name, cuts) in enumerate(files.items()):
            loaders[name] = CutLoader(
                replace(self._config.cuts, cuts=cuts, weights=[], limit=None, silence_prob=None),
                Labeller(self._model.acoustic.vocabulary),
                sample_rate_hz=self._model.separator.sample_rate_hz,
                channels=self._model.mixture_channels,
                seed=_seed(self._config.seed, index, number, 1),  # zeros at the end would not count
                rank=rank,
                world_size=processes,
                stem=name,
            )
        accumulation = self._config.stages[index].accumulation
        return WithUnpaired(
            source, loaders, discriminator_steps=adversarial.discriminator_steps, accumulation=accumulation
        )

    def _own_batches(self, index: int, rank: int, processes: int) -> BatchSource:
        config = self._config
        if config.stream is None:
            cuts, cache = [cuts_path(cuts) for cuts in config.cuts.cuts], Path(config.output, "vocals_cache")
            return self._loader(index, cuts, cache, (config.seed, index), rank, processes)
        return RoundCuts(
            partial(self._round_loader, index, rank, processes),
            steps_per_round=config.stream.steps_per_round,
            accumulation=config.stages[index].accumulation,
        )

    def input_rate_hz(self, stage: StageOptions) -> int:
        """The sample rate of a stage's batches."""
        return self._model.separator.sample_rate_hz if stage.input == "mixture" else ACOUSTIC_SAMPLE_RATE_HZ

    def close(self) -> None:
        """End the processes that make songs."""
        if self._stream is not None:
            self._stream.close()

    def _round_loader(self, index: int, rank: int, processes: int, number: int) -> CutLoader:
        """The cuts of a round of a stage, once its songs are made."""
        config, stage, stream = self._config, self._config.stages[index], self._stream
        assert config.stream is not None
        assert stream is not None
        steps_per_round = config.stream.steps_per_round
        in_run = number + sum(math.ceil(each.steps / steps_per_round) for each in config.stages[:index])
        began = time.monotonic()
        with self._accelerator.main_process_first():
            if self._accelerator.is_main_process:
                stream.wait_for(in_run)
        self._log({"stage": stage.name, "round": number, "waited for songs": round(time.monotonic() - began, 1)})
        cache = stream.folder(in_run) / "vocals_cache"
        return self._loader(index, [stream.cuts(in_run)], cache, (config.seed, index, number), rank, processes)

    def _loader(
        self, index: int, cuts: Sequence[CutsPath], cache: Path, seed: Sequence[int], rank: int, processes: int
    ) -> CutLoader:
        """The loader of cuts for a stage; their vocals are separated first if it needs that."""
        config, stage, model = self._config, self._config.stages[index], self._model
        labeller = Labeller(model.acoustic.vocabulary)
        if stage.frame_weight or stage.phone_weight:
            labeller = labeller_of(cuts, model.acoustic.vocabulary, self._phone_names)
        if stage.input == "separated":
            cuts = self._separated(cuts, cache)
        return CutLoader(
            replace(config.cuts, cuts=[str(path) for path in cuts]),
            labeller,
            sample_rate_hz=self.input_rate_hz(stage),
            channels=model.mixture_channels if stage.input == "mixture" else 1,
            seed=_seed(*seed),
            rank=rank,
            world_size=processes,
        )

    def _separated(self, cuts: Sequence[CutsPath], cache: Path) -> list[Path]:
        """The cuts with the vocals that the present separator gives; every process separates some of the songs."""
        config, accelerator = self._config, self._accelerator
        separated = SeparatedCuts(self._model, cuts, cache, augmentation=config.cuts.augmentation, seed=config.seed)
        separated.separate(accelerator.process_index, accelerator.num_processes)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            separated.write_cuts(config.vocals_cache_gb)
        accelerator.wait_for_everyone()
        return separated.paths


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(list(numbers)).generate_state(1)[0])
