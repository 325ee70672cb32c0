"""Emissions on disk, so that decoding and language-model tuning never run the networks twice on the same song.

Conventions
- An entry's name is a SHA-256 of the audio file's bytes, of both networks' weights and of the options that the networks
  run with: the same song under another name is found, and another model's emissions never are.
- Entries are safetensors files with the log-probabilities as the networks gave them, in float32.
"""

import hashlib
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lyrics_asr.files import atomic_path, file_fingerprint
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.options import AcousticOptions, SeparationOptions
from lyrics_asr.types import Emissions


class EmissionCache:
    """The emissions of one model with one set of options, in a folder that other models may use too.

    Args:
        folder: made when the first entry is saved.
    """

    def __init__(
        self, folder: Path, model: LyricsModel, separation: SeparationOptions, acoustic: AcousticOptions
    ) -> None:
        self._folder = folder
        self._vocabulary = model.acoustic.vocabulary
        self._grid = model.acoustic.grid
        self._networks = model.fingerprint(separation, acoustic)

    def load(self, audio: Path) -> Emissions | None:
        """The emissions of a song; None when they are not here, or damaged.

        Raises:
            OSError: the song cannot be read.
        """
        path = self._path(audio)
        try:
            with safe_open(path, framework="pt") as file:
                seconds = float(file.metadata()["duration_seconds"])
                return Emissions(file.get_tensor("log_probs"), self._vocabulary, self._grid, seconds)
        except (FileNotFoundError, SafetensorError, KeyError, TypeError, ValueError):
            return None

    def save(self, audio: Path, emissions: Emissions) -> None:
        """Keep the emissions of a song.

        Raises:
            OutputError: the folder cannot be written.
        """
        with atomic_path(self._path(audio)) as temporary:
            metadata = {"duration_seconds": repr(emissions.duration_seconds)}
            save_file({"log_probs": emissions.log_probs.contiguous()}, temporary, metadata)

    def _path(self, audio: Path) -> Path:
        key = hashlib.sha256(f"{self._networks} {file_fingerprint(audio)}".encode()).hexdigest()
        return self._folder / f"{key}.safetensors"
