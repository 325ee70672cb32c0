"""Speed, memory and time left of a run, for its log."""

import resource
import time

import torch

_GIB = 2**30


class Progress:
    """Measures the steps of a stage.

    Args:
        later_steps: steps of the stages after it.
        device: whose memory is measured.
    """

    def __init__(self, later_steps: int, device: torch.device) -> None:
        self._later_steps = later_steps
        self._device = device
        self._began = self._logged = time.monotonic()
        self._steps = 0
        self._recent_steps = 0
        self._recent_audio_seconds = 0.0

    def add(self, audio_seconds: float) -> None:
        """Count a step.

        Args:
            audio_seconds: of its batches in all processes, without padding.
        """
        self._steps += 1
        self._recent_steps += 1
        self._recent_audio_seconds += audio_seconds

    def entry(self, left_steps: int) -> dict[str, float]:
        """Rates since the last call, the time left, and the peak memory so far.

        The time left is estimated from all steps of the stage so far, with validations and checkpoints.

        Args:
            left_steps: steps that are left of the stage.
        """
        now = time.monotonic()
        recent_seconds = max(now - self._logged, 1e-9)
        entry = {
            "steps_per_second": round(self._recent_steps / recent_seconds, 3),
            "audio_seconds_per_second": round(self._recent_audio_seconds / recent_seconds, 2),
            "eta_seconds": round((now - self._began) / max(1, self._steps) * (left_steps + self._later_steps)),
            "peak_memory_gib": round(_peak_bytes(self._device) / _GIB, 2),
        }
        self._logged, self._recent_steps, self._recent_audio_seconds = now, 0, 0.0
        return entry


def _peak_bytes(device: torch.device) -> int:
    """Peak memory of tensors on a GPU, or of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
