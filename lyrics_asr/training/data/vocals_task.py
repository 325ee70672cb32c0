"""Separated vocals for training, as a task of `inference.runner`."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from lyrics_asr.audio import Audio, encode_audio
from lyrics_asr.files import file_fingerprint, write_text
from lyrics_asr.inference.long_audio import AudioFile
from lyrics_asr.inference.requests import ModelRequest
from lyrics_asr.inference.results import write_results
from lyrics_asr.inference.runner import Song, Stopwatch
from lyrics_asr.inference.stages import separate_to_16k_mono
from lyrics_asr.inference.tasks import ModelTask
from lyrics_asr.models.fingerprint import weights_fingerprint
from lyrics_asr.training.data.vocals_cache import AUDIO_SUFFIX, require_same_separator
from lyrics_asr.version import RESULTS_VERSION


@dataclass(frozen=True, kw_only=True)
class VocalsRequest(ModelRequest):
    """Write the vocals of songs as the acoustic model takes them; `output` is needed."""

    verb: ClassVar[str] = "cache-vocals"
    formats: tuple[str, ...] = (AUDIO_SUFFIX.removeprefix("."),)


class VocalsTask(ModelTask[VocalsRequest]):
    """`lyrics-asr data cache-vocals`."""

    @contextmanager
    def load(self) -> Iterator[None]:
        """See `Task`."""
        with super().load():
            assert self.request.output is not None
            path = self.request.output / "separator.json"
            if path.exists():
                require_same_separator(self.request.output, json.loads(path.read_text(encoding="utf-8")), self.model)
            else:
                name = self.model.separator.name
                write_text(path, json.dumps({"name": name, "fingerprint": self._separator}, indent=2) + "\n")
            yield

    @cached_property
    def _separator(self) -> str:
        return weights_fingerprint(self.model.separator)

    def key(self, song: Song) -> str:
        """See `Task`."""
        parts = [RESULTS_VERSION, self._separator, asdict(self.options.separation), file_fingerprint(song.job.source)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def infer(self, songs: Sequence[tuple[Song, Audio | AudioFile]], stopwatch: Stopwatch) -> Sequence[Any]:
        """See `Task`."""
        with self.in_progress(songs) as progress, stopwatch("separation"):
            return separate_to_16k_mono(
                [content for _, content in songs], self.model, self.options.separation, progress
            )

    def finish(self, song: Song, inferred: Audio, stopwatch: Stopwatch) -> Sequence[Path]:
        """See `Task`."""
        with stopwatch("writing"):
            return write_results(song.job, self.request, lambda _, path: encode_audio(path, inferred.cpu()))
