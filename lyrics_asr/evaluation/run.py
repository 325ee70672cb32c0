"""One evaluation: which songs, by which model or from which files, song by song."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lyrics_asr.console import duration
from lyrics_asr.corpora.dali import read_dali
from lyrics_asr.corpora.folder import read_folder
from lyrics_asr.corpora.jam_alt import read_jam_alt
from lyrics_asr.corpora.jamendo import read_jamendo
from lyrics_asr.corpora.manifest import Song, read_manifest
from lyrics_asr.corpora.musdb_alt import read_musdb_alt
from lyrics_asr.evaluation.figures import FIGURES, value_of
from lyrics_asr.evaluation.predictions import Prediction, Predictor, read_prediction
from lyrics_asr.evaluation.scores import SongScores, score_song
from lyrics_asr.files import OutputError
from lyrics_asr.inference.pipeline import options_for
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.options import AcousticOptions, LineOptions, SeparationOptions

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
        language_model: KenLM file in place of the model's own; "none" for none at all.
        device: "auto", "cpu", "cuda", ...
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
    language_model: str | None = None
    device: str = "auto"
    transcripts: Path | None = None
    alignments: Path | None = None
    output: Path = Path("results")
    cache: Path | None = None
    bss_eval: bool = True
    separation: SeparationOptions = field(default_factory=SeparationOptions)
    acoustic: AcousticOptions = field(default_factory=AcousticOptions)
    decoding: dict[str, int | float] = field(default_factory=dict)
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
    """The songs that were measured, those that failed, and the ids of those without audio."""

    songs: tuple[SongScores, ...]
    failed: tuple[FailedSong, ...]
    missing_audio: tuple[str, ...]


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


def make_predictor(model: LyricsModel, config: EvaluationConfig) -> Predictor:
    """A predictor with the model's tuned options and those of `config` over them.

    Raises:
        ValueError: decoding options that do not exist or are out of range.
    """
    options = options_for(model, [f"decoding.{key}={value}" for key, value in config.decoding.items()])
    options = type(options)(config.separation, config.acoustic, options.decoding, config.lines)
    return Predictor(model, options, config.output, bss_eval=config.bss_eval, cache=config.cache)


def evaluate(
    songs: Sequence[Song], config: EvaluationConfig, predict: Callable[[Song], Prediction] | None
) -> Evaluation:
    """Measure every song; one that fails does not stop the others.

    Args:
        songs: what `load_songs` gives.
        config: its limit, and its folders of predictions.
        predict: makes a song's prediction; None reads it from the folders, which needs no audio.

    Raises:
        ValueError: not one song could be evaluated; the message says why.
        OutputError: a prediction cannot be written.
    """
    missing = () if predict is None else tuple(song.id for song in songs if not song.audio.is_file())
    present = [song for song in songs if song.id not in set(missing)][: config.limit]
    done: list[SongScores] = []
    failed: list[FailedSong] = []
    began = time.monotonic()
    for number, song in enumerate(present, start=1):
        try:
            if predict is None:
                prediction = read_prediction(song, config.transcripts, config.alignments)
            else:
                prediction = predict(song)
            done.append(score_song(song, prediction))
            said = _in_short(done[-1])
        except OutputError:  # no song's fault: the next one could not be kept either
            raise
        # What audio, lyrics, files and memory do wrong; other exceptions are defects of the program and must be seen.
        except (ValueError, OSError, RuntimeError) as error:
            failed.append(FailedSong(song.id, f"{type(error).__name__}: {error}"))
            said = f"failed: {error}"
        left_seconds = (time.monotonic() - began) / number * (len(present) - number)
        logger.info("%d/%d %s: %s (%s left)", number, len(present), song.id, said, duration(left_seconds))
    if not done:
        reason = f"; the first that failed: {failed[0].id}: {failed[0].reason}" if failed else ""
        raise ValueError(f"none of {len(songs)} songs could be evaluated, {len(missing)} have no audio{reason}")
    return Evaluation(tuple(done), tuple(failed), missing)


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
