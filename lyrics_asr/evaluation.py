"""Measures a model on songs with a reference: transcription, alignment, separation, speed.

Conventions
- The numbers are those of `lyrics_asr.metrics`, which states how each is counted.
- Each network runs once for a song. Both decodings and the alignment read the same emissions, through the functions
  that `lyrics_asr.pipeline` calls.
- Errors are counted on `lyrics_asr.text.normalize` of the lyrics and of what was heard.
- "Even spread" places the words at equal distances over the whole song: what an alignment must beat.
- SI-SDR compares mean channels with the vocals' stem, for the mixture as it is and for the separated vocals.
- A real-time factor (RTF) is seconds of work over seconds of song.
"""

import dataclasses
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lyrics_asr import decoding
from lyrics_asr.alignment import align_lyrics
from lyrics_asr.audio import Audio
from lyrics_asr.config import AcousticOptions, DecodingOptions, SeparationOptions
from lyrics_asr.datasets.jamendo import read_jamendo
from lyrics_asr.datasets.manifest import Song, read_manifest
from lyrics_asr.metrics import (
    AlignmentErrors,
    AlignmentSummary,
    ErrorCounts,
    ErrorSummary,
    alignment_errors,
    alignment_summary,
    character_errors,
    error_summary,
    si_sdr,
    word_errors,
)
from lyrics_asr.model import LyricsModel
from lyrics_asr.pipeline import options_for, read_mixture
from lyrics_asr.text import normalize, parse_lyrics
from lyrics_asr.types import TimedWord

logger = logging.getLogger(__name__)

# Encoders pad: a lossy stem may be longer or shorter than its mixture by this much and is then cut to it.
_STEM_TOLERANCE_SECONDS = 0.1


@dataclass(frozen=True)
class EvaluationConfig:
    """What is evaluated, and on what.

    Args:
        corpus: how the songs are read.
        manifest: the songs of corpus "manifest".
        folder: the folder of corpus "jamendo".
        model: a name or folder as `load_model` takes it.
        language_model: KenLM file in place of the model's own; "none" for none at all.
        device: "auto", "cpu", "cuda", ...
        limit: evaluate only the first songs that have audio.
        output: the JSON file that is written.
        separation: how the separator goes over a song.
        acoustic: how the acoustic model goes over a song.
        decoding: `DecodingOptions` that differ from those tuned for the model.
    """

    corpus: Literal["manifest", "jamendo"] = "manifest"
    manifest: Path = Path("data/prepared/evaluation/manifest.jsonl")
    folder: Path | None = None
    model: str = "published"
    language_model: str | None = None
    device: str = "auto"
    limit: int | None = None
    output: Path = Path("results.json")
    separation: SeparationOptions = field(default_factory=SeparationOptions)
    acoustic: AcousticOptions = field(default_factory=AcousticOptions)
    decoding: dict[str, int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, not {self.limit}")
        if self.corpus == "jamendo" and self.folder is None:
            raise ValueError("corpus=jamendo needs folder=FOLDER, the one that holds JamendoLyrics.csv")


@dataclass(frozen=True)
class Heard:
    """What one decoding made of a song, and its errors."""

    text: str
    words: ErrorCounts
    characters: ErrorCounts


@dataclass(frozen=True)
class SeparationScore:
    """SI-SDR against the vocals' stem."""

    mixture_si_sdr_db: float
    vocals_si_sdr_db: float

    @property
    def improvement_db(self) -> float | None:
        """What separation gained; None for a song a cappella, whose mixture is the stem already."""
        return None if math.isinf(self.mixture_si_sdr_db) else self.vocals_si_sdr_db - self.mixture_si_sdr_db


@dataclass(frozen=True)
class StageSeconds:
    """Wall-clock seconds of each stage, or real-time factors when divided by the song's length."""

    reading: float
    separation: float
    acoustic: float
    greedy: float
    beam_search: float
    alignment: float

    @property
    def total(self) -> float:
        """All stages together."""
        return math.fsum(dataclasses.astuple(self))


@dataclass(frozen=True)
class SongResult:
    """All that was measured on one song; `separation` is None without a vocals' stem."""

    id: str
    duration_seconds: float
    greedy: Heard
    beam_search: Heard
    aligned_words: tuple[TimedWord, ...]
    alignment: AlignmentErrors
    even_spread: AlignmentErrors
    separation: SeparationScore | None
    seconds: StageSeconds


@dataclass(frozen=True)
class FailedSong:
    """A song that could not be evaluated, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class PooledResult:
    """All songs together; the separation numbers are means over the songs that have a vocals' stem and a backing."""

    duration_seconds: float
    greedy_words: ErrorSummary
    greedy_characters: ErrorSummary
    beam_search_words: ErrorSummary
    beam_search_characters: ErrorSummary
    alignment: AlignmentSummary
    even_spread: AlignmentSummary
    vocals_si_sdr_db: float | None
    si_sdr_improvement_db: float | None
    real_time_factors: StageSeconds


@dataclass(frozen=True)
class Evaluation:
    """The songs that were evaluated, those that failed, the ids of those without audio, and the beam search used."""

    decoding: DecodingOptions
    songs: tuple[SongResult, ...]
    failed: tuple[FailedSong, ...]
    missing_audio: tuple[str, ...]
    pooled: PooledResult


def load_songs(config: EvaluationConfig) -> tuple[Song, ...]:
    """The songs that `config` names; `limit` is left to `evaluate`."""
    if config.corpus == "jamendo":
        assert config.folder is not None
        return read_jamendo(config.folder)
    return read_manifest(config.manifest)


def evaluate(songs: Sequence[Song], model: LyricsModel, config: EvaluationConfig) -> Evaluation:
    """Run `model` over `songs` and measure it; a song that fails does not stop the others.

    Raises:
        ValueError: not one song could be evaluated; the message says why.
    """
    missing = tuple(song.id for song in songs if not song.audio.is_file())
    present = [song for song in songs if song.audio.is_file()][: config.limit]
    overrides = [f"decoding.{key}={value}" for key, value in config.decoding.items()]
    options = options_for(model, overrides).decoding
    beam_search = decoding.BeamSearch(model.acoustic.vocabulary, model.language_model_path, options)
    results: list[SongResult] = []
    failed: list[FailedSong] = []
    for number, song in enumerate(present, start=1):
        try:
            results.append(_evaluate_song(song, model, beam_search, config))
            logger.info("%d/%d %s", number, len(present), song.id)
        # What audio, lyrics and memory do wrong; other exceptions are defects of the program and must be seen.
        except (ValueError, OSError, RuntimeError) as error:
            failed.append(FailedSong(song.id, f"{type(error).__name__}: {error}"))
            logger.warning("%d/%d %s failed: %s", number, len(present), song.id, error)
    if not results:
        reason = f"; the first that failed: {failed[0].id}: {failed[0].reason}" if failed else ""
        raise ValueError(f"none of {len(songs)} songs could be evaluated, {len(missing)} have no audio{reason}")
    return Evaluation(options, tuple(results), tuple(failed), missing, _pool(results))


def even_spread(words: Sequence[str], duration_seconds: float) -> tuple[TimedWord, ...]:
    """Words of equal length, one after another, that fill the whole song: the baseline of an alignment."""
    step_seconds = duration_seconds / max(1, len(words))
    return tuple(
        TimedWord(word, i * step_seconds, min((i + 1) * step_seconds, duration_seconds), 0.0)
        for i, word in enumerate(words)
    )


def _evaluate_song(
    song: Song, model: LyricsModel, beam_search: decoding.BeamSearch, config: EvaluationConfig
) -> SongResult:
    clock = _Clock()
    mixture = read_mixture(song.audio, model)
    reading = clock.lap()
    vocals = model.vocals(mixture, config.separation)
    separation = clock.lap()
    emissions = model.emissions(vocals, config.acoustic)
    acoustic = clock.lap()
    greedy_words = decoding.greedy(emissions)
    greedy = clock.lap()
    beam_words = beam_search.decode(emissions)
    beam = clock.lap()
    lines = align_lyrics(emissions, parse_lyrics(song.lyrics), language=song.language)
    alignment = clock.lap()

    aligned = tuple(word for line in lines for word in line.words)
    if len(aligned) != len(song.words):
        raise ValueError(f"{len(song.words)} reference times for the {len(aligned)} words of the lyrics")
    reference_onsets = [word.start_seconds for word in song.words]
    spread = even_spread([word.text for word in song.words], mixture.duration_seconds)
    return SongResult(
        id=song.id,
        duration_seconds=mixture.duration_seconds,
        greedy=_heard(song, greedy_words),
        beam_search=_heard(song, beam_words),
        aligned_words=aligned,
        alignment=alignment_errors(reference_onsets, [word.start_seconds for word in aligned]),
        even_spread=alignment_errors(reference_onsets, [word.start_seconds for word in spread]),
        separation=None
        if song.vocals is None
        else _separation_score(song.vocals, read_mixture(song.vocals, model), mixture, vocals),
        seconds=StageSeconds(reading, separation, acoustic, greedy, beam, alignment),
    )


def _heard(song: Song, words: Sequence[TimedWord]) -> Heard:
    text = " ".join(word.text for word in words)
    reference, hypothesis = normalize(song.lyrics, song.language), normalize(text, song.language)
    return Heard(text, word_errors([reference], [hypothesis]), character_errors([reference], [hypothesis]))


def _separation_score(stem_path: Path, stem: Audio, mixture: Audio, vocals: Audio) -> SeparationScore:
    if abs(stem.duration_seconds - mixture.duration_seconds) > _STEM_TOLERANCE_SECONDS:
        raise ValueError(
            f"{stem_path}: the vocals last {stem.duration_seconds:.2f} s, the mixture {mixture.duration_seconds:.2f} s"
        )
    count = min(stem.samples.shape[1], mixture.samples.shape[1])
    reference = stem.samples[:, :count].mean(dim=0)
    return SeparationScore(
        si_sdr(mixture.samples[:, :count].mean(dim=0), reference),
        si_sdr(vocals.samples[:, :count].mean(dim=0), reference),
    )


def _pool(songs: Sequence[SongResult]) -> PooledResult:
    duration_seconds = math.fsum(song.duration_seconds for song in songs)
    scores = [song.separation for song in songs if song.separation is not None]
    with_backing = [(score, gain) for score in scores if (gain := score.improvement_db) is not None]
    factors = {
        stage.name: math.fsum(getattr(song.seconds, stage.name) for song in songs) / duration_seconds
        for stage in dataclasses.fields(StageSeconds)
    }
    return PooledResult(
        duration_seconds=duration_seconds,
        greedy_words=error_summary([song.greedy.words for song in songs]),
        greedy_characters=error_summary([song.greedy.characters for song in songs]),
        beam_search_words=error_summary([song.beam_search.words for song in songs]),
        beam_search_characters=error_summary([song.beam_search.characters for song in songs]),
        alignment=alignment_summary([song.alignment for song in songs]),
        even_spread=alignment_summary([song.even_spread for song in songs]),
        vocals_si_sdr_db=_mean([score.vocals_si_sdr_db for score, _ in with_backing]),
        si_sdr_improvement_db=_mean([gain for _, gain in with_backing]),
        real_time_factors=StageSeconds(**factors),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


class _Clock:
    """Seconds since the last lap. Every stage returns its result on the CPU, so nothing still runs on a device."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        return seconds
