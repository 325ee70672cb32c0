"""The training loop, from scratch and for fine-tuning.

A run goes through stages. A stage trains the separator, the acoustic model or both end to end on Lhotse cuts, with
parts frozen by a table. Validation runs on development songs, from the mixture, as evaluation does. Interrupted runs
resume from their last checkpoint, with the batches and random numbers of an uninterrupted run, on any number of
processes.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lyrics_asr.config import dump_config
from lyrics_asr.console import say
from lyrics_asr.console import steps as step_counter
from lyrics_asr.files import write_text
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.training.adversarial.adversary import Adversary
from lyrics_asr.training.adversarial.update import DiscriminatorReport, update_discriminators
from lyrics_asr.training.checkpoints import Checkpoint, RunState, packages, save_checkpoint
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.training.data.batch import Batch
from lyrics_asr.training.data.batch_sources import BatchSource, RepeatedBatch, first_rows
from lyrics_asr.training.data.lhotse_io import cuts_fingerprint
from lyrics_asr.training.data.object_storage import cuts_path
from lyrics_asr.training.data.song_stream import SongSource
from lyrics_asr.training.data.vocals_cache import require_separator
from lyrics_asr.training.examples import development_examples, examples_in
from lyrics_asr.training.failures import SkippedSteps, TrainingError
from lyrics_asr.training.freezing import freeze, freezing_table, phase_at
from lyrics_asr.training.from_scratch.phones import PhoneClassifier
from lyrics_asr.training.losses import LossGraph
from lyrics_asr.training.optimizers import OptimizerState, build_optimizers, restore, state_of
from lyrics_asr.training.processes import TrainingAccelerator, create_accelerator
from lyrics_asr.training.progress import Progress
from lyrics_asr.training.resume import checkpoint_to_resume
from lyrics_asr.training.setup import (
    architecture,
    prepare_networks,
    starting_model,
    starting_separator,
    training_phones,
    with_vocabulary_of_text,
)
from lyrics_asr.training.sharding import gathered, shard, whole
from lyrics_asr.training.signals import asked_to_stop
from lyrics_asr.training.stage_sources import StageSources
from lyrics_asr.training.stages import StageOptions
from lyrics_asr.training.step import seed_everything, take_step
from lyrics_asr.training.trackers import Log, Tracker
from lyrics_asr.training.validation import measure, rates_by_group, summary
from lyrics_asr.training.weight_average import WeightAverage


def train(config: TrainingConfig, log: Log) -> LyricsModel:
    """Carry out every stage and give the trained model, adapters included; checkpoints are in `config.output`.

    Raises:
        FileNotFoundError: a manifest or a stem is missing.
        ModelNotFoundError: the weights to start from are missing.
        ValueError: songs without stems, a damaged checkpoint, or one of another model or of other data.
        TrainingError: too many steps in a row whose losses are not finite, or a separator that has collapsed.
        KeyboardInterrupt: by Ctrl-C or SIGTERM, once the step in progress is done and in a checkpoint; a second one
            ends the run at once.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    return _Run(with_vocabulary_of_text(config), create_accelerator(config), log).carry_out()


def has_converged(wers: Sequence[float], patience: int) -> bool:
    """Whether the last validations of a stage brought no lower WER (early stopping).

    Args:
        wers: of the stage's validations in order.
        patience: how many; 0 for never.
    """
    return bool(wers and patience) and len(wers) - 1 - list(wers).index(min(wers)) >= patience


class _Run:
    """What all stages of a run share."""

    def __init__(self, config: TrainingConfig, accelerator: TrainingAccelerator, log: Log) -> None:
        self.config = config
        self.accelerator = accelerator
        self.output = Path(config.output)
        self.log: Log = log if accelerator.is_main_process else (lambda entry: None)
        self.cuts = [cuts_path(cuts) for cuts in config.cuts.cuts]
        self.data = {str(cuts): cuts_fingerprint([cuts]) for cuts in map(cuts_path, config.cut_files)}
        if config.stream is not None:
            self.data["stream"] = SongSource(config.stream).fingerprint
        with accelerator.main_process_first():  # a download happens once
            self.model = starting_model(config)
        require_separator(self.cuts, self.model)
        self.start = starting_separator(config, self.model)
        prepare_networks(config, self.model)
        with accelerator.main_process_first():  # the phones of a stream are listed once
            self.phone_names = training_phones(config)
        self.phones = PhoneClassifier(self.model.acoustic, len(self.phone_names)) if self.phone_names else None
        self.sources = StageSources(config, self.model, self.phone_names, accelerator, self.log)
        # With `overfit_chunks`, the examples are the chunks themselves.
        self.examples = [] if config.overfit_chunks else development_examples(config, self.model)
        self.adversary: Adversary | None = None
        self.average = WeightAverage(self.model, config.ema_decay) if config.ema_decay else None
        self.skipped = SkippedSteps(config.max_skipped_steps, self.log)
        self.saved_steps = 0
        self.stage_wers: list[float] = []
        self.waits = False

    def carry_out(self) -> LyricsModel:
        """Train, from the last checkpoint on if there is one."""
        try:
            return self._carry_out()
        finally:
            self.sources.close()

    def _carry_out(self) -> LyricsModel:
        checkpoint = self._resume()
        for module in (self.model, self.start, self.phones):
            if module is not None:
                module.to(self.accelerator.device)
        if self.config.sharded and self.accelerator.num_processes > 1:
            shard(self.model.acoustic, self.accelerator.device)
        if checkpoint is not None and self.average is not None:
            self.average.load_state_dict(checkpoint.average)
        if self.accelerator.is_main_process:
            write_text(self.output / "config.yaml", dump_config(self.config))
            say("trained parameters:\n" + freezing_table(self.model, self.config.stages))
        self.tracker = Tracker(self.accelerator, self.config)
        for index, stage in enumerate(self.config.stages):
            if checkpoint is None or index >= checkpoint.run.stage:
                resumed = checkpoint if checkpoint is not None and index == checkpoint.run.stage else None
                self._run_stage(index, resumed)
            self.log({"stage": stage.name, "done": True})
        self.tracker.close()
        if self.phones is not None:
            self.phones.close()
        return self.model.eval()

    def _resume(self) -> Checkpoint | None:
        """Load the newest checkpoint, if there is one."""
        checkpoint = checkpoint_to_resume(self.config, self.data, self.accelerator)
        if checkpoint is None:
            return None
        self.saved_steps = checkpoint.run.total_steps
        self.model.load_state_dict(checkpoint.model)
        if self.phones is not None:
            self.phones.load_state_dict(checkpoint.phones)
        return checkpoint

    def _run_stage(self, index: int, checkpoint: Checkpoint | None) -> None:
        config, stage = self.config, self.config.stages[index]
        before = sum(each.steps for each in config.stages[:index])
        optimizers = build_optimizers(self.model, stage, self.phones)
        source, seed = self._source(index), (config.seed, index)
        seed_everything(seed)
        options = stage.adversarial
        self.adversary = None if options is None else Adversary(options, self.accelerator.device)
        first, self.stage_wers = 0, []
        if checkpoint is not None:
            first, self.stage_wers = checkpoint.run.step, list(checkpoint.run.stage_wers)
            restore(optimizers, checkpoint.optimizers)
            if self.adversary is not None:
                self.adversary.load_state_dict(checkpoint.adversary)
            if self.accelerator.scaler is not None and checkpoint.scaler:
                self.accelerator.scaler.load_state_dict(checkpoint.scaler)
            source.load_state_dict(checkpoint.source)
        losses = LossGraph(self.model, self.phones if stage.phone_weight else None, self.start, self.adversary)
        batches = iter(source)
        later_steps = sum(each.steps for each in config.stages[index + 1 :])
        progress, graph = Progress(later_steps, self.accelerator.device), None
        with step_counter(stage.name, first, stage.steps) as show, asked_to_stop(self._stop):
            for step in range(first + 1, stage.steps + 1):
                if has_converged(self.stage_wers, stage.patience):
                    self.log({"stage": stage.name, "step": step - 1, "stopped": f"no lower WER in {stage.patience}"})
                    break
                phase = phase_at(stage, step - 1)
                if graph is None or phase.from_step == step - 1:
                    parts = freeze(self.model, stage, phase)
                    self.log({"step": step - 1, **asdict(parts)})
                    graph = self.accelerator.in_parallel(losses)
                moved = {name: each for name, each in optimizers.items() if step > each.first_step}
                position = source.state_dict()
                try:
                    self.waits = True  # for songs to be made, or files to be read
                    own = [next(batches).to(self.accelerator.device) for _ in range(stage.accumulation)]
                except KeyboardInterrupt:
                    state = self._state(index, step - 1, {})
                    if state.total_steps > self.saved_steps:  # that checkpoint may know its WER
                        self._save(state, optimizers, position)
                    raise
                finally:
                    self.waits = False
                rates = {f"{n} learning rate": r for each in moved.values() for n, r in each.learning_rates.items()}
                discriminators = self._update_discriminators(stage, step, own, (*seed, step))
                report = take_step(self.accelerator, graph, stage, own, moved, (*seed, step))
                self.skipped.update(stage.name, step, report.skipped, discriminators.skipped)
                if self.average is not None:
                    self.average.update(before + step)
                audio_seconds = report.samples / self.sources.input_rate_hz(stage)
                progress.add(audio_seconds)
                show(step)
                if step % config.log_every_steps == 0:
                    norms = {f"{name} gradient norm": norm for name, norm in report.gradient_norms.items()}
                    entry = {
                        "loss": report.loss,
                        "epoch": source.state_dict().get("epoch", 0),
                        "audio_seconds": round(audio_seconds, 2),
                        "unreadable_cuts": source.unreadable_cuts,
                        **report.losses,
                        **discriminators.metrics,
                        **rates,
                        **norms,
                        **progress.entry(stage.steps - step),
                    }
                    self._log_metrics(stage, step, before + step, entry)
                validates = step % config.validate_every_steps == 0 or step == stage.steps
                validation: Mapping[str, Any] = {}
                if validates:
                    validation = self._validate(stage, step, before + step, optimizers)
                    freeze(self.model, stage, phase)
                is_due = bool(config.checkpoint_every_steps) and step % config.checkpoint_every_steps == 0
                stops = self.accelerator.check_trigger()  # asked in any of the processes
                if validates or is_due or stops:
                    self._save(self._state(index, step, validation), optimizers, source.state_dict())
                if stops:
                    raise KeyboardInterrupt

    def _stop(self) -> None:
        say("stopping after this step, with a checkpoint; interrupt again to stop at once")
        self.accelerator.set_trigger()
        if self.waits and self.accelerator.num_processes == 1:  # others may be in the middle of a step
            raise KeyboardInterrupt

    def _source(self, index: int) -> BatchSource:
        """The batches of a stage."""
        config, stage = self.config, self.config.stages[index]
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        if config.overfit_chunks:  # the same ones in every process
            batch = first_rows(next(iter(self.sources.batches(index, 0, 1))), config.overfit_chunks)
            self.examples = examples_in(batch, self.model, is_separated=stage.input != "mixture")
            return RepeatedBatch(batch)
        return self.sources.batches(index, rank, processes)

    def _validate(
        self, stage: StageOptions, step: int, total_steps: int, optimizers: Mapping[str, OptimizerState]
    ) -> Mapping[str, Any]:
        """Measure the examples, and give what the checkpoint keeps of it."""
        with nullcontext() if self.average is None else self.average.applied(), gathered(self.model.acoustic):
            metrics, hypotheses = measure(
                self.model,
                self.examples,
                accelerator=self.accelerator,
                start=self.start if stage.input == "mixture" else None,
                with_text=stage.acoustic.learning_rate > 0 or bool(stage.ctc_weight),
                kept=self.config.tracking.examples,
            )
        self._log_metrics(stage, step, total_steps, asdict(metrics) | rates_by_group(hypotheses))
        self.tracker.log_examples(hypotheses, total_steps)
        if metrics.wer is not None:
            self.stage_wers.append(metrics.wer)
            for each in optimizers.values():
                each.step_validation(metrics.wer)
        return summary(metrics, hypotheses)

    def _update_discriminators(
        self, stage: StageOptions, step: int, batches: Sequence[Batch], seed: Sequence[int]
    ) -> DiscriminatorReport:
        """What the discriminators of an adversarial stage report; end the run if the separator has collapsed."""
        if self.adversary is None:
            return DiscriminatorReport({}, 0)
        report = update_discriminators(self.accelerator, self.adversary, self.model.separator, batches, seed)
        if collapse := self.adversary.watch.update(report.metrics):
            raise TrainingError(f"stage {stage.name!r}, step {step}: {collapse}")
        return report

    def _log_metrics(self, stage: StageOptions, step: int, total_steps: int, entry: Mapping[str, object]) -> None:
        self.log({"stage": stage.name, "step": step, **entry})
        self.tracker.log_metrics(entry, total_steps)

    def _state(self, stage: int, step: int, validation: Mapping[str, Any]) -> RunState:
        total_steps = sum(each.steps for each in self.config.stages[:stage]) + step
        wer, versions, stage_wers = validation.get("wer"), packages(), tuple(self.stage_wers)
        return RunState(
            architecture(self.config), stage, step, total_steps, wer, self.data, versions, validation, stage_wers
        )

    def _save(self, run: RunState, optimizers: Mapping[str, OptimizerState], position: dict[str, Any]) -> None:
        model, optimizer_states = whole(self.model.state_dict()), whole(state_of(optimizers))
        phones = {} if self.phones is None else self.phones.state_dict()
        average = {} if self.average is None else whole(self.average.state_dict())
        adversary = {} if self.adversary is None else self.adversary.state_dict()
        if self.accelerator.is_main_process:
            scaler = {} if self.accelerator.scaler is None else self.accelerator.scaler.state_dict()
            state = Checkpoint(run, model, phones, optimizer_states, position, average, scaler, adversary)
            save_checkpoint(self.output, state, self.config)
        self.saved_steps = run.total_steps
        self.accelerator.wait_for_everyone()
