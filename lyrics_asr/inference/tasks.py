"""The tasks of `align` and `separate`, and the base of all tasks with a model: stages, and what results depend on."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from lyrics_asr.alignment.summary import summarize
from lyrics_asr.audio import Audio, encode_audio, probe
from lyrics_asr.config import load_config
from lyrics_asr.console import BatchProgress, say
from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.decoding.pool import DecodingPool, usable_cores
from lyrics_asr.emissions import Emissions
from lyrics_asr.files import file_fingerprint
from lyrics_asr.inference.jobs import Job
from lyrics_asr.inference.long_audio import AudioFile
from lyrics_asr.inference.mixtures import read_mixture, read_song
from lyrics_asr.inference.requests import AlignRequest, ModelRequest, SeparateRequest
from lyrics_asr.inference.results import write_results, write_transcript
from lyrics_asr.inference.runner import Song, Stopwatch, Task
from lyrics_asr.inference.stages import (
    Decode,
    align_emissions,
    compute_emissions,
)
from lyrics_asr.language_model.files import read_header
from lyrics_asr.lyrics.languages import NAMES, resolve_language
from lyrics_asr.models.fingerprint import weights_fingerprint
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.precision import for_device
from lyrics_asr.models.registry import load_model
from lyrics_asr.options import InferenceOptions
from lyrics_asr.types import AudioInfo, Transcript
from lyrics_asr.version import RESULTS_VERSION

AnyRequest = TypeVar("AnyRequest", bound=ModelRequest)

_logger = logging.getLogger(__name__)

_GROUP_SECONDS = 300.0  # enough to fill the batches of both networks, with bounded memory


class ModelTask(Task[Any, Any], Generic[AnyRequest]):
    """Base class of tasks that run a model on songs.

    Args:
        request: what to do.
        progress: progress display.
        cores: number of CPU cores to use; None for all.
        model: loaded model to use instead of the request's.
    """

    model: LyricsModel

    def __init__(
        self,
        request: AnyRequest,
        progress: BatchProgress | None = None,
        cores: int | None = None,
        *,
        model: LyricsModel | None = None,
    ) -> None:
        self.request = request
        self.progress = progress or BatchProgress()
        self.cores = cores
        self._given_model = model

    def check(self, job: Job) -> Song:
        """See `Task`."""
        audio = probe(job.source, self.request.track)
        self.progress.expect(audio.duration_seconds)
        return Song(job, audio)

    @contextmanager
    def load(self) -> Iterator[None]:
        """See `Task`."""
        request = self.request
        self.model = self._given_model or load_model(
            request.model,
            separator=request.separator,
            acoustic=request.acoustic,
            language=None if isinstance(request, SeparateRequest) else request.language,
            language_model=request.language_model,
            transcriber=request.transcriber,
            device=request.device,
        )
        self.options = self.options_of(self.model)
        separation = self.model.separation_options(self.options.separation)
        acoustic = for_device(self.options.acoustic, self.model.device)
        if (separation.batch_size, acoustic.batch_size) != (1, 1):
            self.group_seconds = _GROUP_SECONDS
        yield

    def options_of(self, model: LyricsModel) -> InferenceOptions:
        """The options of the run."""
        overrides = list(self.request.overrides)
        return load_config(InferenceOptions, overrides=overrides) if overrides else InferenceOptions()

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything but the song that emissions depend on; weights are hashed once per run."""
        return self.model.fingerprint(self.options.separation, self.options.acoustic)

    @cached_property
    def language_model_fingerprint(self) -> str | None:
        """A hash of the language model's file; None without a language model."""
        path = self.model.language_model_path
        return None if path is None else file_fingerprint(path)

    @cached_property
    def transcriber_fingerprint(self) -> str | None:
        """A hash of the transcriber's weights; None without a transcriber."""
        transcriber = self.model.transcriber
        return None if transcriber is None else weights_fingerprint(transcriber.network)

    def key(self, song: Song) -> str:
        """See `Task`."""
        request, content = self.request, file_fingerprint(song.job.source)
        parts = [RESULTS_VERSION, self.fingerprint, content, request.track, request.strict, *self.further_key(song)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def further_key(self, song: Song) -> list[Any]:
        """Everything else that the results of a song depend on."""
        return []

    def read(self, song: Song) -> Audio | AudioFile:
        """See `Task`."""
        return read_song(song, self.model, track=self.request.track, strict=self.request.strict)

    def infer(self, songs: Sequence[tuple[Song, Audio | AudioFile]], stopwatch: Stopwatch) -> Sequence[Any]:
        """See `Task`."""
        _, mixtures = zip(*songs, strict=True)
        with self.in_progress(songs) as progress:
            return compute_emissions(mixtures, self.model, self.options, progress, stopwatch)

    def decoded_seconds(self, song: Song, inferred: Any) -> float:
        """See `Task`."""
        seconds: float = inferred.duration_seconds
        return seconds

    @contextmanager
    def beam_search(self) -> Iterator[Decode]:
        """The beam search in worker processes, or in this process if there is only one core."""
        model, cores = self.model, self.cores or usable_cores()
        if model.language_model_path is not None:
            read_header(model.language_model_path)  # a file that cannot be read ends the run before any separation
        make_search = partial(BeamSearch, model.acoustic.vocabulary, model.language_model_path, self.options.decoding)
        if cores == 1:
            yield make_search().decode
            return
        self.finishers = cores // 2
        with DecodingPool(make_search, self.finishers) as pool:
            yield pool.decode

    def in_progress(self, songs: Sequence[tuple[Song, Any]]) -> AbstractContextManager[Callable[[float], None]]:
        """Show songs in the progress display; yields a progress callback."""
        first, *others = songs
        name, audio_seconds = first[0].job.source.name, first[0].audio_seconds
        for song, _ in others:
            audio_seconds += song.audio_seconds
        return self.progress.songs(f"{name} and {len(others)} more" if others else name, audio_seconds)

    def audio_of(self, song: Song, emissions: Emissions) -> AudioInfo:
        """The audio of a transcript, with the decoded duration: a damaged header may give another one."""
        assert song.audio is not None
        return replace(song.audio, duration_seconds=emissions.duration_seconds)


class AlignTask(ModelTask[AlignRequest]):
    """`lyrics-asr align`; jobs have lyrics."""

    def check(self, job: Job) -> Song:
        """See `Task`; the lyrics are only read here, because they may come from a pipe."""
        song = super().check(job)
        lyrics = job.read_lyrics(self.request.encoding, self.request.expand_repeats)
        notes = lyrics.notes
        if self.request.use_times and not any(line.window for line in lyrics.lines):
            notes += ("has no times for --use-times",)
        for note in notes:
            _logger.warning("%s: %s", job.lyrics or job.stem, note)
        language = self.request.language
        if language not in NAMES:
            language = resolve_language(language, "\n".join(line.text for line in lyrics.lines))
        return replace(song, lyrics=lyrics, language=language)

    def further_key(self, song: Song) -> list[Any]:
        """See `Task`."""
        assert song.lyrics is not None
        lyrics = [song.lyrics.text, [line.text for line in song.lyrics.lines], song.language]
        windows = [line.window and asdict(line.window) for line in song.lyrics.lines] if self.request.use_times else []
        return [*lyrics, windows, self.request.keep_all, asdict(self.options.alignment)]

    def finish(self, song: Song, inferred: Emissions, stopwatch: Stopwatch) -> Sequence[Path]:
        """See `Task`."""
        with stopwatch("alignment"):
            transcript = self.align(song, inferred)
        with stopwatch("writing"):
            return write_transcript(song.job, transcript, self.request)

    def align(self, song: Song, emissions: Emissions) -> Transcript:
        """The transcript of a song; says what was not found."""
        assert song.lyrics is not None
        transcript = align_emissions(
            self.audio_of(song, emissions),
            emissions,
            song.lyrics,
            self.model,
            self.options,
            language=song.language,
            keep_all=self.request.keep_all,
            use_times=self.request.use_times,
        )
        if not self.request.keep_all:
            say(f"{Path(transcript.audio.path).name}: {summarize(transcript)}")
        return transcript


class SeparateTask(ModelTask[SeparateRequest]):
    """`lyrics-asr separate`."""

    def read(self, song: Song) -> Audio:
        """See `Task`."""
        # the whole song: vocals are written to one file
        return read_mixture(song.job.source, self.model, track=self.request.track, strict=self.request.strict)

    def infer(self, songs: Sequence[tuple[Song, Any]], stopwatch: Stopwatch) -> Sequence[Audio]:
        """See `Task`."""
        with self.in_progress(songs) as progress, stopwatch("separation"):
            vocals = self.model.vocals([content for _, content in songs], self.options.separation, progress)
            return [each.cpu() for each in vocals]

    def finish(self, song: Song, inferred: Audio, stopwatch: Stopwatch) -> Sequence[Path]:
        """See `Task`."""
        with stopwatch("writing"):
            return write_results(song.job, self.request, lambda _, path: encode_audio(path, inferred))
