"""Logs of a training run: the console, `log.jsonl`, and three trackers through Accelerate."""

import json
import math
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml
from accelerate import Accelerator

from lyrics_asr.config import dump_config
from lyrics_asr.files import write_text
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.training.validation import Hypothesis

Log = Callable[[dict[str, object]], None]
_COLUMNS = ["id", "reference", "greedy", "with language model", "vocals"]


class JsonLog:
    """Prints every entry and appends it to `log.jsonl`; numbers that are not finite become null."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "log.jsonl"

    def __call__(self, entry: dict[str, object]) -> None:
        """Log an entry."""
        line = json.dumps(
            {name: None if _is_not_finite(value) else value for name, value in entry.items()}, allow_nan=False
        )
        clear_line = "\r\033[K" if sys.stdout.isatty() else ""
        print(f"{clear_line}{line}", flush=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


class Tracker:
    """Accelerate's trackers that the configuration enables.

    A resumed run continues the same run of Weights & Biases and of MLflow.

    Args:
        accelerator: made by `processes.create_accelerator`.
        config: of the run.
    """

    def __init__(self, accelerator: Accelerator, config: TrainingConfig) -> None:
        self._accelerator = accelerator
        if not config.tracking.trackers:
            return
        output = Path(config.output)
        mlflow_run = _read_id(output / "mlflow_id")
        if config.tracking.mlflow:
            import mlflow  # noqa: F401, Accelerate would leave out the tracker without a word
        wandb = {
            "mode": config.tracking.wandb,
            "dir": str(output),
            "id": _run_id(output) if config.tracking.wandb != "off" and accelerator.is_main_process else None,
            "name": output.name,
            "resume": "allow",
        }
        options = {"wandb": wandb, "mlflow": {"run_name": output.name, "run_id": mlflow_run}}
        accelerator.init_trackers(config.tracking.project, init_kwargs=options)
        for tracker in accelerator.trackers:
            is_new_in_mlflow = tracker.name == "mlflow" and mlflow_run is None
            if tracker.name == "wandb" or is_new_in_mlflow:  # TensorBoard's hyperparameters cannot be nested
                tracker.store_init_configuration(yaml.safe_load(dump_config(config)))
            if is_new_in_mlflow and accelerator.is_main_process:
                write_text(output / "mlflow_id", tracker.tracker.info.run_id)

    def log_metrics(self, entry: Mapping[str, object], total_steps: int) -> None:
        """Log the numbers of an entry.

        Args:
            entry: its values that are not numbers are left out.
            total_steps: steps done of all stages.
        """
        numbers = {name: value for name, value in entry.items() if isinstance(value, int | float)}
        self._accelerator.log(numbers, step=total_steps)

    def log_examples(self, hypotheses: Sequence[Hypothesis], total_steps: int) -> None:
        """Log a table of the references and hypotheses of the examples that keep their vocals."""
        for tracker in self._accelerator.trackers:
            if tracker.name == "wandb" and self._accelerator.is_main_process:
                rows = [_row(each) for each in hypotheses if each.vocals is not None]
                tracker.log_table("validation", columns=_COLUMNS, data=rows, step=total_steps)

    def close(self) -> None:
        """Flush and close the trackers, and leave the process group."""
        self._accelerator.end_training()


def _is_not_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _run_id(output: Path) -> str:
    path = output / "wandb_id"
    if not path.exists():
        write_text(path, secrets.token_hex(8))
    return path.read_text(encoding="utf-8").strip()


def _read_id(path: Path) -> str | None:
    return path.read_text(encoding="utf-8").strip() if path.exists() else None


def _row(hypothesis: Hypothesis) -> list[object]:
    import wandb

    assert hypothesis.vocals is not None
    samples = hypothesis.vocals.samples.mean(0).numpy()
    sound = wandb.Audio(samples, sample_rate=hypothesis.vocals.sample_rate_hz)
    return [hypothesis.id, hypothesis.reference, hypothesis.greedy, hypothesis.beam, sound]
