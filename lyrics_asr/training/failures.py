"""When a run gives up because nothing is learned any more."""

from collections.abc import Sequence

from lyrics_asr.training.trackers import Log


class TrainingError(ValueError):
    """A run that cannot go on; the message names the cause and the remedy."""


class SkippedSteps:
    """Logs the steps with skipped updates, and gives up when there are too many in a row.

    Args:
        limit: the number of consecutive steps that is too many.
        log: the log of the run.
    """

    def __init__(self, limit: int, log: Log) -> None:
        self._limit = limit
        self._log = log
        self._in_a_row = 0

    def update(self, stage: str, step: int, chunk_ids: Sequence[str], discriminator_steps: int) -> None:
        """Count a step.

        Args:
            stage: name of the stage.
            step: number of the step in the stage.
            chunk_ids: chunks because of which the step was skipped; empty if it was not.
            discriminator_steps: number of its discriminator steps that were skipped.

        Raises:
            TrainingError: too many in a row.
        """
        if not chunk_ids and not discriminator_steps:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if chunk_ids:
            self._log({"stage": stage, "step": step, "skipped": list(chunk_ids)})
        if discriminator_steps:
            self._log({"stage": stage, "step": step, "skipped discriminator steps": discriminator_steps})
        if self._in_a_row < self._limit:
            return
        found = (
            f"stage {stage!r}: the losses or gradients of {self._in_a_row} steps in a row were not finite, the last "
        )
        if chunk_ids:
            raise TrainingError(
                f"{found}with the chunks {', '.join(chunk_ids)}; lower the learning rates or clip_norm, "
                "or look at these chunks, then start again from the last checkpoint"
            )
        raise TrainingError(
            f"{found}those of {discriminator_steps} discriminator steps; lower adversarial.learning_rate or, for "
            "factor_gan, raise cuts.batch_seconds so that batches have at least two cuts, then start again from the "
            "last checkpoint"
        )
