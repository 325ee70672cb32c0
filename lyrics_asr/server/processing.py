"""What a worker process does: load the model once, then run the tasks of the command line on one song at a time."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Literal

import torch

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.console import describe, quiet
from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.decoding.pool import end_with_caller
from lyrics_asr.emissions import Emissions
from lyrics_asr.inference.jobs import Job, Outcome
from lyrics_asr.inference.requests import AlignRequest, TranscribeRequest
from lyrics_asr.inference.runner import Song, Stopwatch, Task, work
from lyrics_asr.inference.stages import Decode, acoustic_inputs, compute_texts, options_for, separate_song
from lyrics_asr.inference.tasks import AlignTask
from lyrics_asr.inference.transcribe import TranscribeTask
from lyrics_asr.lyrics.languages import AUTO, resolve_language
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.server import song_files
from lyrics_asr.types import AudioInfo, SongText

Report = Callable[[str, float], None]
"""Progress callback: the stage, and the fraction of it that is done."""

_REPORT_SECONDS = 0.2


@dataclass(frozen=True)
class Order:
    """A song for a worker.

    Args:
        folder: the song's folder, with the decoded mixture and perhaps lyrics.
        task: "transcribe", "align" or "separate".
        language: language of the lyrics, or "auto".
        hot_words: text whose words are likely to be sung.
        audio: the upload's name and header.
    """

    folder: Path
    task: str
    language: str
    hot_words: str
    audio: AudioInfo


@dataclass(frozen=True)
class Ready:
    """A worker has loaded its model; sample rate and channels of the separator."""

    sample_rate_hz: int
    channels: Literal[1, 2]


@dataclass(frozen=True)
class StageProgress:
    """Progress of a song in a worker."""

    stage: str
    fraction: float


@dataclass(frozen=True)
class Result:
    """The end of a song in a worker: seconds of its stages, or an error."""

    stages: dict[str, float]
    error: str | None


class LoadedModel:
    """A model with its beam search, for all songs of a worker.

    Args:
        model: the model.
        overrides: `key.sub=value` of `InferenceOptions`.

    Raises:
        ModuleNotFoundError, ValueError: see `LyricsModel.separation_options`.
    """

    def __init__(self, model: LyricsModel, overrides: tuple[str, ...] = ()) -> None:
        self.model, self.overrides = model, overrides
        self.options = options_for(model, overrides)
        model.separation_options(self.options.separation)

    @cached_property
    def search(self) -> BeamSearch:
        """The beam search with the model's own options; it reads the language model once."""
        return BeamSearch(self.model.acoustic.vocabulary, self.model.language_model_path, self.options.decoding)

    def process(self, order: Order, report: Report) -> Outcome:
        """Run all stages on a song; its folder then has the stems, the emissions and the transcript."""
        lyrics = order.folder / song_files.LYRICS
        job = Job(order.folder / song_files.MIXTURE, Path("transcript"), lyrics if lyrics.is_file() else None)
        verb: TranscribeTask | AlignTask | None = None
        if order.task == "transcribe":
            request = TranscribeRequest(
                output=order.folder, force=True, language=order.language, overrides=self.overrides
            )
            verb = _TranscribeTask(request, self)
        elif order.task == "align":
            aligned = AlignRequest(output=order.folder, force=True, language=order.language, overrides=self.overrides)
            verb = AlignTask(aligned, model=self.model)
        task = _SongTask(verb, self, order, report)
        outcomes: list[Outcome] = []
        try:
            songs = [task.check(job)]
        except ValueError as error:
            return Outcome(job, (), error)
        work(songs, task, resume=None, on_result=outcomes.append)
        return outcomes[0]


@dataclass(frozen=True)
class _Inferred:
    """What the networks found; vocals that they did not need are separated later."""

    mixture: Audio
    vocals: Audio | None = None
    emissions: Emissions | None = None
    text: SongText | None = None


class _TranscribeTask(TranscribeTask):
    """`lyrics-asr transcribe`, with the beam search of the worker."""

    def __init__(self, request: TranscribeRequest, loaded: LoadedModel) -> None:
        super().__init__(request, model=loaded.model)
        self._loaded = loaded

    @contextmanager
    def beam_search(self) -> Iterator[Decode]:
        """See `ModelTask`; in this process, and loaded once for all songs."""
        yield self._loaded.search.decode


class _SongTask(Task[Audio, _Inferred]):
    """A task of the command line that also keeps the stems and the emissions.

    The transcript comes first: clients of the API wait for it alone.

    Args:
        verb: the task; None to separate only.
        loaded: the model.
        order: the song.
        report: progress callback.
    """

    def __init__(
        self, verb: TranscribeTask | AlignTask | None, loaded: LoadedModel, order: Order, report: Report
    ) -> None:
        self._verb, self._order, self._report = verb, order, report
        self._model, self._options = loaded.model, loaded.options

    def check(self, job: Job) -> Song:
        """See `Task`; the upload was checked before."""
        order = self._order
        lyrics = job.read_lyrics() if order.task == "align" else None
        text = order.hot_words if lyrics is None else "\n".join(line.text for line in lyrics.lines)
        return Song(job, order.audio, lyrics, order.hot_words, resolve_language(order.language, text))

    def load(self) -> AbstractContextManager[None]:
        """See `Task`; the model is loaded."""
        return nullcontext() if self._verb is None else self._verb.load()

    def key(self, song: Song) -> str:
        """See `Task`; the library finds equal songs."""
        raise NotImplementedError

    def read(self, song: Song) -> Audio:
        """See `Task`."""
        return song_files.load_mixture(song.job.source, self._model.separator.sample_rate_hz)

    def infer(self, songs: Sequence[tuple[Song, Audio]], stopwatch: Stopwatch) -> Sequence[_Inferred]:
        """See `Task`; there is one song."""
        ((song, mixture),) = songs
        model, options = self._model, self._options
        if self._verb is None:
            return [_Inferred(mixture)]
        is_transcribed = self._order.task == "transcribe" and model.transcriber is not None
        vocals, voices = None, None
        if is_transcribed or model.acoustic_input == "vocals":
            vocals, voice = self._separate(mixture, stopwatch)
            voices = [voice]
        self._report("acoustic", 0.0)
        with stopwatch("acoustic"):
            inputs = acoustic_inputs([mixture], model, options.separation, voices=voices)
            (emissions,) = model.emissions(inputs, options.acoustic)
        text = None
        if is_transcribed:
            assert voices is not None
            self._report("transcriber", 0.0)
            language = AUTO if self._order.language == AUTO else song.language
            with stopwatch("transcriber"):
                (text,) = compute_texts(voices, model, options, [language], [song.hot_words])
        return [_Inferred(mixture, vocals, emissions, text)]

    def finish(self, song: Song, inferred: _Inferred, stopwatch: Stopwatch) -> Sequence[Path]:
        """See `Task`."""
        outputs = self._write_transcript(song, inferred, stopwatch)
        folder, mixture, vocals = self._order.folder, inferred.mixture, inferred.vocals
        if vocals is None:
            vocals, _ = self._separate(mixture, stopwatch)
        self._report("writing", 0.0)
        with stopwatch("writing"):
            write_audio(folder / song_files.VOCALS, vocals)
            accompaniment = Audio(mixture.samples - vocals.samples, mixture.sample_rate_hz)
            write_audio(folder / song_files.ACCOMPANIMENT, accompaniment)
            if inferred.emissions is not None:
                song_files.save_emissions(folder / song_files.EMISSIONS, inferred.emissions)
        return outputs

    def _separate(self, mixture: Audio, stopwatch: Stopwatch) -> tuple[Audio, Audio]:
        """See `separate_song`."""
        self._report("separation", 0.0)
        with stopwatch("separation"):
            progress = partial(self._report, "separation")
            return separate_song(mixture, self._model, self._options.separation, progress)

    def _write_transcript(self, song: Song, inferred: _Inferred, stopwatch: Stopwatch) -> Sequence[Path]:
        if self._verb is None:
            return ()
        assert inferred.emissions is not None
        self._report("lyrics", 0.0)
        if isinstance(self._verb, TranscribeTask):
            return self._verb.finish(song, (inferred.emissions, inferred.text), stopwatch)
        return self._verb.finish(song, inferred.emissions, stopwatch)


def serve_songs(
    load: Callable[[str], LyricsModel], overrides: tuple[str, ...], device: str, cores: int, connection: Connection
) -> None:
    """The main function of a worker process: process songs from a connection until it closes."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # for the server, which then ends its workers
    Thread(target=end_with_caller, daemon=True).start()
    torch.set_num_threads(cores)
    with quiet(debug=False):
        try:
            loaded = LoadedModel(load(device), overrides)
            model = loaded.model
            connection.send(Ready(model.separator.sample_rate_hz, model.mixture_channels))
        except Exception as error:
            connection.send(Result({}, describe(error)))
            return
        while True:
            try:
                order = connection.recv()
            except EOFError:
                return
            outcome = loaded.process(order, _Throttle(connection))
            failure = None if outcome.error is None else describe(outcome.error)
            connection.send(Result(dict(outcome.stages), failure))


class _Throttle:
    """Sends progress of a stage at most every `_REPORT_SECONDS`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stage, self._sent = "", 0.0

    def __call__(self, stage: str, fraction: float) -> None:
        now = time.monotonic()
        if stage != self._stage or now - self._sent >= _REPORT_SECONDS:
            self._stage, self._sent = stage, now
            self._connection.send(StageProgress(stage, fraction))


def start_worker(
    load: Callable[[str], LyricsModel], overrides: tuple[str, ...], device: str, cores: int
) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    """Start a worker process, forked from a server without CUDA; returns it and the connection for orders."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=serve_songs, args=(load, overrides, device, cores, theirs), name=f"worker of {device}"
    )
    process.start()
    theirs.close()
    return process, ours
