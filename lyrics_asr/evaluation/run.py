"""Run an evaluation: read the songs, get their predictions from a model or from files, and score them."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lyrics_asr.console import BatchProgress, duration, log_traceback
from lyrics_asr.corpora.dali import read_dali
from lyrics_asr.corpora.folder import read_folder
from lyrics_asr.corpora.jam_alt import read_jam_alt
from lyrics_asr.corpora.jamendo import read_jamendo
from lyrics_asr.corpora.manifest import Song, read_manifest
from lyrics_asr.corpora.musdb_alt import read_musdb_alt
from lyrics_asr.evaluation.aggregation import METRICS, aggregate
from lyrics_asr.evaluation.config import EvaluationConfig
from lyrics_asr.evaluation.damage import DamagedLyrics, damage
from lyrics_asr.evaluation.predictions import Prediction, job_of, kept_prediction, read_prediction
from lyrics_asr.evaluation.scores import SongScores, score_song
from lyrics_asr.evaluation.task import EvaluateRequest, EvaluateTask
from lyrics_asr.files import OutputError
from lyrics_asr.inference.jobs import Job, Outcome
from lyrics_asr.inference.run import run
from lyrics_asr.inference.runner import Task
from lyrics_asr.options import DecodingOptions, InferenceOptions
from lyrics_asr.types import ModelInfo

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FailedSong:
    """A song that could not be evaluated, and the reason."""

    id: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """Scored songs, failed songs, ids of songs without audio, and the model and decoding of the predictions."""

    songs: tuple[SongScores, ...]
    failed: tuple[FailedSong, ...]
    missing_audio: tuple[str, ...]
    model: ModelInfo | None = None
    decoding: DecodingOptions | None = None


def load_songs(config: EvaluationConfig) -> tuple[Song, ...]:
    """Read the songs that `config` selects; `limit` is applied in `evaluate`.

    Raises:
        FileNotFoundError: the corpus does not exist.
        ValueError: the corpus does not match its layout, or has no song of this language and genre.
    """
    songs = _read_corpus(config)
    chosen = tuple(
        song
        for song in songs
        if (config.language is None or song.language == config.language)
        and (config.genre is None or (song.genre or "").casefold() == config.genre.casefold())
    )
    if not chosen:
        languages = ", ".join(sorted({song.language for song in songs}))
        genres = ", ".join(sorted({song.genre for song in songs if song.genre})) or "none"
        raise ValueError(
            f"{config.folder}: none of {len(songs)} songs has language={config.language}, genre={config.genre}; "
            f"its languages: {languages}; genres: {genres}"
        )
    return chosen


def request_of(config: EvaluationConfig, songs: Sequence[Song]) -> EvaluateRequest:
    """The request to the runner, for songs with audio."""
    return EvaluateRequest(
        output=config.output,
        overwrite=config.overwrite,
        model=config.model,
        separator=config.separator,
        acoustic=config.acoustic,
        language=config.acoustic_language or "en",
        language_model=config.language_model,
        transcriber=config.transcriber,
        device=config.device,
        engine=config.engine,
        overrides=tuple(f"decoding.{key}={value}" for key, value in config.decoding.items()),
        songs={job_of(song).stem.as_posix(): song for song in songs},
        options=InferenceOptions(
            config.separation,
            config.acoustic_options,
            lines=config.lines,
            transcriber=config.transcriber_options,
            alignment=config.alignment,
        ),
        bss_eval=config.bss_eval,
        cache=config.cache,
        damaged=_damaged(config, songs),
        keep_all=config.keep_all,
    )


def _damaged(config: EvaluationConfig, songs: Sequence[Song]) -> dict[str, DamagedLyrics]:
    if config.damage is None:
        return {}
    return {job_of(song).stem.as_posix(): damage(song, config.damage, config.damage_share, songs) for song in songs}


def evaluate(
    songs: Sequence[Song],
    config: EvaluationConfig,
    *,
    make_task: Callable[[EvaluateRequest, BatchProgress, int | None], Task[Any, Any]] = EvaluateTask,
    debug: bool = False,
) -> Evaluation:
    """Evaluate all songs; a failing song does not stop the others.

    Songs go through `inference.run.run`, like those of users: long songs in blocks, smaller windows when memory runs
    out, several devices. Interrupted runs resume. If `config` names folders of predictions, these are read instead.

    Args:
        songs: songs from `load_songs`.
        config: all other options.
        make_task: see `inference.run.run`.
        debug: whether workers show warnings of libraries.

    Raises:
        ValueError: no song could be evaluated (the message gives the reason), or an option is unknown.
        OutputError: a prediction cannot be written.
    """
    missing = () if config.from_files else tuple(song.id for song in songs if not song.audio.is_file())
    present = [song for song in songs if song.id not in set(missing)][: config.limit]
    scored = _Scored(len(present))
    if config.from_files:
        for song in present:
            scored.add(song, partial(read_prediction, song, config.transcripts, config.alignments))
    else:
        _run(present, config, make_task, debug, scored)
    done = tuple(scored.done[song.id] for song in present if song.id in scored.done)
    failed = tuple(FailedSong(song.id, scored.failed[song.id]) for song in present if song.id in scored.failed)
    if not done:
        reason = f"; first failure: {failed[0].id}: {failed[0].reason}" if failed else ""
        raise ValueError(f"none of {len(songs)} songs could be evaluated, {len(missing)} without audio{reason}")
    return Evaluation(done, failed, missing, scored.model, scored.decoding)


def _run(
    songs: Sequence[Song],
    config: EvaluationConfig,
    make_task: Callable[[EvaluateRequest, BatchProgress, int | None], Task[Any, Any]],
    debug: bool,
    scored: "_Scored",
) -> None:
    """Run the model on the songs, and score each as soon as it is done."""
    by_stem: dict[Path, Song] = {}
    usable: list[Song] = []
    for song in songs:
        try:
            by_stem[job_of(song).stem] = song
        except ValueError as error:  # its id cannot name a file
            scored.fail(song, error)
        else:
            usable.append(song)
    request = request_of(config, usable)
    damaged: list[Job] = []

    def on_result(outcome: Outcome) -> None:
        song = by_stem[outcome.job.stem]
        if isinstance(outcome.error, OutputError):  # not the song's fault: the next would fail too
            raise outcome.error
        if outcome.error is not None:
            log_traceback(outcome.error)
            scored.fail(song, outcome.error)
            return
        try:
            prediction = kept_prediction(song, config.output)
        except ValueError:
            if not outcome.is_kept:
                raise
            damaged.append(outcome.job)  # the files of an earlier run were removed or changed
        else:
            scored.add(song, lambda: prediction, request.damaged.get(outcome.job.stem.as_posix()))

    run(request, [job_of(song) for song in usable], make_task, on_result=on_result, debug=debug)
    if damaged:
        run(replace(request, overwrite=True), list(damaged), make_task, on_result=on_result, debug=debug)


class _Scored:
    """Scores of songs, and reasons of failed ones, by id."""

    def __init__(self, songs: int) -> None:
        self.done: dict[str, SongScores] = {}
        self.failed: dict[str, str] = {}
        self.model: ModelInfo | None = None
        self.decoding: DecodingOptions | None = None
        self._songs = songs
        self._began = time.monotonic()

    def add(self, song: Song, predict: Callable[[], Prediction], damaged: DamagedLyrics | None = None) -> None:
        try:
            prediction = predict()
            self.done[song.id] = score_song(song, prediction, damaged)
        except (ValueError, OSError) as error:  # from lyrics and files; other exceptions are bugs
            self.fail(song, error)
        else:
            self.model, self.decoding = prediction.model, prediction.decoding
            self._log(song, _in_short(self.done[song.id]))

    def fail(self, song: Song, error: Exception) -> None:
        self.failed[song.id] = f"{type(error).__name__}: {error}"
        self._log(song, f"failed: {error}")

    def _log(self, song: Song, result: str) -> None:
        number = len(self.done) + len(self.failed)
        left_seconds = (time.monotonic() - self._began) / number * (self._songs - number)
        logger.info("%d/%d %s: %s (%s left)", number, self._songs, song.id, result, duration(left_seconds))


def _read_corpus(config: EvaluationConfig) -> tuple[Song, ...]:
    folder = config.folder
    if config.corpus == "manifest":
        return read_manifest(folder / "manifest.jsonl" if folder.is_dir() else folder)
    if config.corpus == "dali":
        assert config.audio is not None
        return read_dali(folder, config.audio, split="test", language=None, ground_truth=config.ground_truth)
    if config.corpus == "folder":
        return read_folder(folder, config.language or "en")
    readers = {"jamendo": read_jamendo, "jam_alt": read_jam_alt, "musdb_alt": read_musdb_alt}
    return readers[config.corpus](folder)


def _in_short(song: SongScores) -> str:
    """The main metrics of a song, for a line of progress."""
    shown = []
    for key, name in (("wer", "WER"), ("words_mean_over_songs", "mean error"), ("damaged_words_within", "right lines")):
        if key in song.statistics and (value := aggregate(METRICS[key], [song.statistics[key]])) is not None:
            shown.append(f"{name} {value:.1%}" if METRICS[key].unit == "share" else f"{name} {value:.3f} s")
    return ", ".join(shown) or "done"
