"""The files in a song's folder, and the emissions among them.

Conventions
- Names are fixed; nothing that a client sends becomes part of a path.
- Emissions are stored with their vocabulary and time axis, so that lyrics are aligned again without the model.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lyrics_asr.audio import Audio
from lyrics_asr.emissions import Emissions
from lyrics_asr.files import atomic_path
from lyrics_asr.types import FrameGrid, Vocabulary

SOURCE, LYRICS, MIXTURE = "source", "lyrics", "mixture.npy"
"""The upload, the lyrics as they were given, and the mixture while it is processed."""
TRANSCRIPT, EDITED, EMISSIONS = "transcript.json", "edited.json", "emissions.safetensors"
"""The result, the version that a person has edited, and the emissions."""
VOCALS, ACCOMPANIMENT = "vocals.flac", "accompaniment.flac"
"""The stems: the vocals, and the mixture without them."""
PITCH = "pitch.npy"
"""The pitch of the vocals, once it was asked for."""


def current_transcript(folder: Path) -> Path:
    """The transcript as edited, or else as processed; the file may be missing."""
    edited = folder / EDITED
    return edited if edited.is_file() else folder / TRANSCRIPT


def save_mixture(path: Path, mixture: Audio) -> None:
    """Save the samples of a mixture, which is temporary: neither atomically nor synced.

    Raises:
        OSError: the file cannot be written.
    """
    np.save(path, mixture.samples.numpy())


def load_mixture(path: Path, sample_rate_hz: int) -> Audio:
    """Load what `save_mixture` wrote; the samples are mapped from disk."""
    return Audio(torch.from_numpy(np.load(path, mmap_mode="c")), sample_rate_hz)


def save_emissions(path: Path, emissions: Emissions) -> None:
    """Save emissions, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    metadata = {
        "vocabulary": json.dumps(asdict(emissions.vocabulary)),
        "grid": json.dumps(asdict(emissions.grid)),
        "duration_seconds": repr(emissions.duration_seconds),
    }
    with atomic_path(path) as temporary:
        save_file({"log_probs": emissions.log_probs.contiguous()}, temporary, metadata)


def load_emissions(path: Path) -> Emissions:
    """Load what `save_emissions` wrote.

    Raises:
        FileNotFoundError: no such file.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        vocabulary = json.loads(metadata["vocabulary"])
        return Emissions(
            file.get_tensor("log_probs"),
            Vocabulary(**{**vocabulary, "tokens": tuple(vocabulary["tokens"])}),
            FrameGrid(**json.loads(metadata["grid"])),
            float(metadata["duration_seconds"]),
        )
