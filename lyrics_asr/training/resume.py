"""The checkpoint from which a run resumes, in every process."""

from collections.abc import Mapping
from pathlib import Path

from accelerate.utils import broadcast_object_list

from lyrics_asr.console import say
from lyrics_asr.training.checkpoints import Checkpoint, load_checkpoint, load_newest_checkpoint
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.training.processes import TrainingAccelerator
from lyrics_asr.training.setup import architecture


def checkpoint_to_resume(
    config: TrainingConfig, data: Mapping[str, str], accelerator: TrainingAccelerator
) -> Checkpoint | None:
    """The newest checkpoint in a run's output; None if there is none.

    Args:
        config: of the run.
        data: fingerprint of the training data by file.
        accelerator: of the run.

    Raises:
        ValueError: a damaged checkpoint, or one of another model, other data or other stages.
    """
    found = None
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            found = load_newest_checkpoint(Path(config.output))
    (folder,) = broadcast_object_list([found[0] if found else None])
    if folder is None:
        return None
    checkpoint = load_checkpoint(folder) if found is None else found[1]
    elsewhere = "choose another output, or move the checkpoints away to start anew"
    if checkpoint.run.architecture != architecture(config):
        raise ValueError(f"{folder}: is of another model or adapter rank than the configuration's; {elsewhere}")
    if checkpoint.run.data != data:
        raise ValueError(f"{folder}: the training data has changed since, its place in it is lost; {elsewhere}")
    if checkpoint.run.stage >= len(config.stages):
        raise ValueError(f"{folder}: is of a stage that the configuration lacks; {elsewhere}")
    if accelerator.is_main_process:
        say(f"resuming from {folder}")
    return checkpoint
