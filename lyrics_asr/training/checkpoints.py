"""The state of a training run on disk: folders written atomically, read without running anything that they say.

A run's folder has `checkpoints/step-NNNNNNNN`, numbered by the steps of all stages together:

    model.safetensors   weights of separator and acoustic model, adapters included
    training.pt         optimizers, schedules, phone classifier, discriminators with their optimizer, position in the
                        data, moving average of the weights (read with `torch.load(weights_only=True)`)
    run.json            stage, step, WER, versions of packages, fingerprint of the data
    config.yaml         the resolved configuration

Random numbers are drawn from the seed and the number of the step (`step.seed_everything`), so that the step is their
state. A damaged checkpoint is named in a warning and left out; one that is newer than the checkpoint that a run resumes
from is renamed to `damaged-step-NNNNNNNN`.
"""

import functools
import json
import logging
import platform
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from lyrics_asr.config import dump_config
from lyrics_asr.files import OutputError, sync_file, sync_folder
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.version import __version__

_log = logging.getLogger(__name__)
SCHEMA = "lyrics-asr/checkpoint/2"
_IN_TRAINING_PT = ("phones", "optimizers", "source", "average", "scaler", "adversary")
_PACKAGES = ("torch", "torchaudio", "demucs", "transformers", "accelerate", "peft", "lhotse", "numpy")


@dataclass(frozen=True)
class RunState:
    """Where a run was.

    Args:
        architecture: what the weights belong to.
        stage: index of the stage.
        step: steps of it that are done.
        total_steps: steps that are done of all stages.
        wer: of the validation at this step, greedy; None where there was none.
        data: fingerprint of the training data by file.
        packages: versions.
        validation: metrics of the validation at this step, see `validation.summary`; empty where there was none.
        stage_wers: of all validations of the stage so far.
    """

    architecture: str
    stage: int
    step: int
    total_steps: int
    wer: float | None
    data: Mapping[str, str]
    packages: Mapping[str, str]
    validation: Mapping[str, Any] = field(default_factory=dict)
    stage_wers: Sequence[float] = ()


@dataclass(frozen=True)
class Checkpoint:
    """A run's state with everything that is needed to resume it.

    Args:
        run: where it was.
        model: weights.
        phones: weights of the phone classifier; empty when no stage uses it.
        optimizers: see `optimizers.state_of`.
        source: position in the data, see `BatchSource`.
        average: moving average of the weights, see `weight_average`; empty without one.
        scaler: of the losses, for `precision: fp16`; empty without one.
        adversary: discriminators and their optimizer, see `Adversary`; empty in stages without.
    """

    run: RunState
    model: dict[str, torch.Tensor]
    phones: dict[str, torch.Tensor]
    optimizers: dict[str, dict[str, Any]]
    source: dict[str, Any]
    average: dict[str, torch.Tensor] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    adversary: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(output: Path, checkpoint: Checkpoint, config: TrainingConfig) -> Path:
    """Write a checkpoint, then delete all but the newest ones and the one with the lowest WER.

    Older checkpoints are deleted once the new one is on the disk.

    Raises:
        OutputError: it cannot be written; the older ones are still there.
    """
    folder = output / "checkpoints" / f"step-{checkpoint.run.total_steps:08d}"
    scratch, replaced = (folder.with_name(f".{secrets.token_hex(8)}") for _ in range(2))
    try:
        scratch.mkdir(parents=True)
        save_file({name: value.contiguous() for name, value in checkpoint.model.items()}, scratch / "model.safetensors")
        rest = {name: getattr(checkpoint, name) for name in _IN_TRAINING_PT}
        torch.save(rest, scratch / "training.pt")
        (scratch / "config.yaml").write_text(dump_config(config), encoding="utf-8")
        run = {"schema": SCHEMA, **asdict(checkpoint.run)}
        (scratch / "run.json").write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
        for path in scratch.iterdir():
            sync_file(path)
        sync_folder(scratch)
        if folder.exists():  # of a run that stopped right after it
            folder.rename(replaced)
        scratch.rename(folder)
        sync_folder(folder.parent)
        sync_folder(output)  # which has got the folder `checkpoints`
    except (OSError, RuntimeError) as error:  # PyTorch reports a full disk as a RuntimeError
        raise OutputError(f"{folder}: cannot be written: {error}; free some space, or choose another output") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
    _delete_old(output, config.keep_checkpoints)
    return folder


def newest_checkpoint(output: Path) -> Path | None:
    """The folder of a run's last checkpoint, or None."""
    return max(_runs(output), default=None)


def best_checkpoint(output: Path) -> Path | None:
    """The folder of a run's checkpoint with the lowest WER; of its last one where none has a WER."""
    by_wer = [(run.wer, -run.total_steps, folder) for folder, run in _runs(output).items() if run.wer is not None]
    return min(by_wer)[2] if by_wer else newest_checkpoint(output)


def load_newest_checkpoint(output: Path) -> tuple[Path, Checkpoint] | None:
    """The last checkpoint of a run that can be read, and its folder; None for a run without checkpoints.

    Newer ones that are damaged are renamed, so that neither this run nor an export takes them for the newest or best.

    Raises:
        ValueError: there are checkpoints, but none that can be read.
    """
    damaged: list[tuple[Path, ValueError]] = []
    for folder in reversed(_folders(output)):
        try:
            checkpoint = load_checkpoint(folder)
        except ValueError as error:
            damaged.append((folder, error))
            continue
        for bad, reason in damaged:
            aside = bad.with_name(f"damaged-{bad.name}")
            shutil.rmtree(aside, ignore_errors=True)
            bad.rename(aside)
            _log.warning("%s; renamed to %s, resuming from %s", reason, aside.name, folder.name)
        return folder, checkpoint
    if damaged:
        raise ValueError(f"{output}: no checkpoint can be read; the newest: {damaged[0][1]}") from damaged[0][1]
    return None


def load_checkpoint(folder: Path) -> Checkpoint:
    """What `save_checkpoint` wrote.

    Raises:
        ValueError: a file is damaged or not a checkpoint's.
    """
    try:
        rest = torch.load(folder / "training.pt", map_location="cpu", weights_only=True)
        return Checkpoint(read_run(folder), load_file(folder / "model.safetensors"), **rest)
    except Exception as error:
        raise ValueError(f"{folder}: not a checkpoint that can be read ({error}); remove it") from error


def read_run(folder: Path) -> RunState:
    """Where a run was at a checkpoint.

    Raises:
        ValueError: the file is damaged or not a checkpoint's.
    """
    path = folder / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        if run.pop("schema") != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        state = RunState(**run)
        if not isinstance(state.total_steps, int) or not isinstance(state.wer, float | int | None):
            raise ValueError("its steps or WER are not numbers")
        return state
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a checkpoint of this version ({error}); remove its folder") from error


def packages() -> dict[str, str]:
    """Versions of what a run depends on."""
    own = {"python": platform.python_version(), "lyrics-asr": __version__}
    return own | {package: version(package) for package in _PACKAGES}


def _folders(output: Path) -> list[Path]:
    return sorted(output.glob("checkpoints/step-*"))


def _runs(output: Path) -> dict[Path, RunState]:
    """The state of every checkpoint that can be read, by folder, the oldest first."""
    runs = {}
    for folder in _folders(output):
        try:
            runs[folder] = read_run(folder)
        except ValueError as error:
            _warn_once(f"left out: {error}")
    return runs


@functools.cache
def _warn_once(message: str) -> None:
    _log.warning(message)


def _delete_old(output: Path, newest: int) -> None:
    """Delete checkpoints but the newest ones and the best; damaged ones are left to the user."""
    folders = list(_runs(output))
    kept = {best_checkpoint(output), *folders[-newest:]}
    for folder in folders:
        if folder not in kept:
            shutil.rmtree(folder)
