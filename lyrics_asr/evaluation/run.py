"""One evaluation: which songs, by which model or from which files, song by song."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lyrics_asr.console import BatchProgress, duration, log_traceback
from lyrics_asr.corpora.dali import read_dali
from lyrics_asr.corpora.folder import read_folder
from lyrics_asr.corpora.jam_alt import read_jam_alt
from lyrics_asr.corpora.jamendo import read_jamendo
from lyrics_asr.corpora.manifest import Song, read_manifest
from lyrics_asr.corpora.musdb_alt import read_musdb_alt
from lyrics_asr.evaluation.figures import FIGURES, value_of
from lyrics_asr.evaluation.predictions import (
    EvaluateRequest,
    EvaluateTask,
    Prediction,
    job_of,
    kept_prediction,
    read_prediction,
)
from lyrics_asr.evaluation.scores import SongScores, score_song
from lyrics_asr.files import OutputError
from lyrics_asr.inference.jobs import Job, Outcome
from lyrics_asr.inference.run import run
from lyrics_asr.inference.runner import Task
from lyrics_asr.options import AcousticOptions, DecodingOptions, InferenceOptions, LineOptions, SeparationOptions
from lyrics_asr.types import ModelInfo

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationConfig:
    """What is evaluated, on what, and where the results go.

    Args:
        corpus: how the songs are read, see `lyrics_asr.datasets`. "dali" is its test split.
        folder: of the corpus; for "manifest" the manifest itself, or the folder that holds manifest.jsonl; for "dali"
            that of the annotations.
        audio: folder of the audio of corpus "dali".
        ground_truth: file of DALI's corrected offsets and frame rates, for corpus "dali".
        language: only the songs in this language, an ISO 639-1 code; for corpus "folder" the language of its songs
            (English when None).
        genre: only the songs of this genre, whatever its case.
        limit: only the first songs of those that can be evaluated.
        model: a name or folder as `load_model` takes it.
        separator: another separator in place of the model's own, by name or folder.
        acoustic_model: another acoustic model in place of the model's own, by name or folder.
        acoustic_language: adapter of a multilingual acoustic model, e.g. "fra".
        language_model: KenLM file in place of the model's own; "none" for none at all.
        device: "auto", "cpu", "cuda", ...; several, parted by commas, share the songs.
        engine: "local", or "ray" for the machines of a Ray cluster.
        overwrite: run songs again that are done already.
        transcripts: folder of transcripts that are measured in place of running a model.
        alignments: folder of alignments that are measured in place of running a model.
        output: folder of the results, the report and every song's prediction; started again, a run goes on from there.
        cache: folder that keeps emissions, so that runs with other decoding options need not run the networks.
        bss_eval: measure separation by BSS Eval too, which takes several times as long as all the rest.
        separation: how the separator goes over a song.
        acoustic: how the acoustic model goes over a song.
        decoding: `DecodingOptions` that differ from those tuned for the model.
        lines: how a transcript is cut into lines.
    """

    corpus: Literal["manifest", "jamendo", "jam_alt", "musdb_alt", "dali", "folder"] = "manifest"
    folder: Path = Path("data/prepared/evaluation")
    audio: Path | None = None
    ground_truth: Path | None = None
    language: str | None = None
    genre: str | None = None
    limit: int | None = None
    model: str = "published"
    separator: str | None = None
    acoustic_model: str | None = None
    acoustic_language: str | None = None
    language_model: str | None = None
    device: str = "auto"
    engine: str = "local"
    overwrite: bool = False
    transcripts: Path | None = None
    alignments: Path | None = None
    output: Path = Path("results")
    cache: Path | None = None
    bss_eval: bool = True
    separation: SeparationOptions = field(default_factory=SeparationOptions)
    acoustic: AcousticOptions = field(default_factory=AcousticOptions)
    decoding: dict[str, Any] = field(default_factory=dict)
    lines: LineOptions = field(default_factory=LineOptions)

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, not {self.limit}")
        if self.corpus == "dali" and self.audio is None:
            raise ValueError("corpus=dali needs audio=FOLDER, the one that holds the songs named by their DALI ids")

    @property
    def from_files(self) -> bool:
        """Whether predictions are read, rather than made."""
        return self.transcripts is not None or self.alignments is not None


@dataclass(frozen=True)
class FailedSong:
    """A song that could not be evaluated, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """Songs that were measured, songs that failed, ids of songs without audio, and what made the predictions."""

    songs: tuple[SongScores, ...]
    failed: tuple[FailedSong, ...]
    missing_audio: tuple[str, ...]
    model: ModelInfo | None = None
    decoding: DecodingOptions | None = None


def load_songs(config: EvaluationConfig) -> tuple[Song, ...]:
    """The songs that `config` names, all but for `limit`.

    Raises:
        FileNotFoundError: no corpus there.
        ValueError: a corpus that is not as its layout says, or one without a song of this language and genre.
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
            f"{config.folder}: none of {len(songs)} songs is in language={config.language}, genre={config.genre}; "
            f"languages there: {languages}; genres: {genres}"
        )
    return chosen


def request_of(config: EvaluationConfig, songs: Sequence[Song]) -> EvaluateRequest:
    """What is asked of the runner, for songs with audio."""
    return EvaluateRequest(
        output=config.output,
        overwrite=config.overwrite,
        model=config.model,
        separator=config.separator,
        acoustic=config.acoustic_model,
        language=config.acoustic_language or "en",
        language_model=config.language_model,
        device=config.device,
        engine=config.engine,
        overrides=tuple(f"decoding.{key}={value}" for key, value in config.decoding.items()),
        songs={job_of(song).stem.as_posix(): song for song in songs},
        options=InferenceOptions(config.separation, config.acoustic, lines=config.lines),
        bss_eval=config.bss_eval,
        cache=config.cache,
    )


def evaluate(
    songs: Sequence[Song],
    config: EvaluationConfig,
    *,
    make_task: Callable[[EvaluateRequest, BatchProgress, int | None], Task[Any, Any]] = EvaluateTask,
    debug: bool = False,
) -> Evaluation:
    """Measure every song; one that fails does not stop the others.

    Songs are run through `inference.run.run`, as users run them: in blocks where they are long, in smaller windows
    where memory runs out, on several devices. Interrupted runs resume. With folders of predictions in `config`, these
    are read in place of running a model.

    Args:
        songs: what `load_songs` gives.
        config: all else.
        make_task: see `inference.run.run`.
        debug: whether workers show the remarks of libraries.

    Raises:
        ValueError: not one song could be evaluated, the message says why; or an option that does not exist.
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
        reason = f"; the first that failed: {failed[0].id}: {failed[0].reason}" if failed else ""
        raise ValueError(f"none of {len(songs)} songs could be evaluated, {len(missing)} have no audio{reason}")
    return Evaluation(done, failed, missing, scored.model, scored.decoding)


def _run(
    songs: Sequence[Song],
    config: EvaluationConfig,
    make_task: Callable[[EvaluateRequest, BatchProgress, int | None], Task[Any, Any]],
    debug: bool,
    scored: "_Scored",
) -> None:
    """Run a model over the songs, and score each as soon as it is done."""
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
        if isinstance(outcome.error, OutputError):  # no song's fault: the next one could not be kept either
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
            damaged.append(outcome.job)  # of an earlier run; a file was removed or changed since
        else:
            scored.add(song, lambda: prediction)

    run(request, [job_of(song) for song in usable], make_task, on_result=on_result, debug=debug)
    if damaged:
        run(replace(request, overwrite=True), list(damaged), make_task, on_result=on_result, debug=debug)


class _Scored:
    """The scores of songs and the reasons of those that failed, by id."""

    def __init__(self, songs: int) -> None:
        self.done: dict[str, SongScores] = {}
        self.failed: dict[str, str] = {}
        self.model: ModelInfo | None = None
        self.decoding: DecodingOptions | None = None
        self._songs = songs
        self._began = time.monotonic()

    def add(self, song: Song, predict: Callable[[], Prediction]) -> None:
        try:
            prediction = predict()
            self.done[song.id] = score_song(song, prediction)
        except (ValueError, OSError) as error:  # of lyrics and files; other exceptions are defects and must be seen
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
    """A song's main numbers, for a line of progress."""
    shown = []
    for key, name in (("wer", "WER"), ("words_mean_over_songs", "mean error")):
        if key in song.parts and (value := value_of(FIGURES[key], [song.parts[key]])) is not None:
            shown.append(f"{name} {value:.1%}" if FIGURES[key].unit == "share" else f"{name} {value:.3f} s")
    return ", ".join(shown) or "done"
