"""A cache of emissions on disk, so that decoding and tuning do not run the networks twice on the same song.

Conventions
- The name of an entry is the SHA-256 of the audio file, the weights of both networks and their options. So a renamed
  song is found, and the emissions of another model are not.
- Entries are safetensors files with the log-probabilities in float32.
"""

import hashlib
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lyrics_asr.emissions import Emissions
from lyrics_asr.files import atomic_path, file_fingerprint
from lyrics_asr.models.lyrics_model import LyricsModel


class EmissionCache:
    """The emissions of one model with one set of options, in a folder that other models may share.

    Args:
        folder: created when the first entry is saved.
        model: the model.
        fingerprint: hash of its weights and options, see `LyricsModel.fingerprint`.
    """

    def __init__(self, folder: Path, model: LyricsModel, fingerprint: str) -> None:
        self._folder = folder
        self._vocabulary = model.acoustic.vocabulary
        self._grid = model.acoustic.grid
        self._fingerprint = fingerprint

    def load(self, audio: Path) -> Emissions | None:
        """The emissions of a song; None if they are missing or damaged.

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
        """Save the emissions of a song.

        Raises:
            OutputError: the folder cannot be written.
        """
        with atomic_path(self._path(audio)) as temporary:
            metadata = {"duration_seconds": repr(emissions.duration_seconds)}
            save_file({"log_probs": emissions.log_probs.contiguous()}, temporary, metadata)

    def _path(self, audio: Path) -> Path:
        key = hashlib.sha256(f"{self._fingerprint} {file_fingerprint(audio)}".encode()).hexdigest()
        return self._folder / f"{key}.safetensors"
