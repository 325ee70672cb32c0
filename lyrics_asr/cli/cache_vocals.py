"""`lyrics-asr data cache-vocals` as a task of the runner."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.files import file_fingerprint, write_text
from lyrics_asr.inference import pipeline
from lyrics_asr.inference.emission_cache import weights_fingerprint
from lyrics_asr.inference.jobs import Job
from lyrics_asr.inference.stopwatch import Stopwatch
from lyrics_asr.inference.tasks import ModelTask
from lyrics_asr.training.data.vocals_cache import AUDIO_SUFFIX, _require_same
from lyrics_asr.version import __version__


class VocalsTask(ModelTask):
    """`lyrics-asr data cache-vocals`."""

    @contextmanager
    def load(self) -> Iterator[None]:
        """See `Task`."""
        with super().load():
            path = self.args.output / "separator.json"
            if path.exists():
                _require_same(self.args.output, json.loads(path.read_text(encoding="utf-8")), self.model)
            else:
                name = self.model.separator.name
                write_text(path, json.dumps({"name": name, "fingerprint": self._separator}, indent=2) + "\n")
            yield

    @cached_property
    def _separator(self) -> str:
        return weights_fingerprint(self.model.separator)

    def key(self, job: Job) -> str:
        """See `Task`."""
        parts = [__version__, self._separator, asdict(self.options.separation), file_fingerprint(job.source)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def infer(self, songs: Sequence[tuple[Job, Audio | Path]], stopwatch: Stopwatch) -> Sequence[Any]:
        """See `Task`."""
        mixtures = [content for _, content in songs]
        with self.under_way(songs) as progress, stopwatch("separation"):
            return pipeline.take_voices(mixtures, self.model, self.options, progress)

    def finish(self, job: Job, inferred: Audio, stopwatch: Stopwatch) -> Sequence[Path]:
        """See `Task`."""
        target = job.target(self.args.output, AUDIO_SUFFIX)
        with stopwatch("writing"):
            write_audio(target, inferred.cpu())
        return (target,)
