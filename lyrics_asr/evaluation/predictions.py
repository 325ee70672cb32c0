"""What a model predicts for each song, computed by the runner that users run, or read from files.

Conventions
- A prediction is kept in three files under the output folder: transcripts/ID.json and alignments/ID.json, as
  `lyrics-asr transcribe` and `align` write them, and songs/ID.json with the rest. It counts as done while the audio,
  the stem, the lyrics, the model and all options are the same (see `inference.run`).
- Stage times are wall-clock seconds. Those of emissions from a cache are the times of their reading.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from lyrics_asr.audio import Audio, probe
from lyrics_asr.corpora.manifest import Song as ReferenceSong
from lyrics_asr.decoding.greedy import greedy as greedy_search
from lyrics_asr.evaluation.metrics import BssEval, bss_eval, si_sdr
from lyrics_asr.files import file_fingerprint, write_text
from lyrics_asr.formats import parse_json
from lyrics_asr.inference.emission_cache import EmissionCache
from lyrics_asr.inference.jobs import Job
from lyrics_asr.inference.requests import ModelRequest
from lyrics_asr.inference.runner import Song, Stopwatch
from lyrics_asr.inference.tasks import (
    ModelTask,
    align_emissions,
    compute_emissions,
    decode_transcript,
    options_for,
    read_mixture,
    read_song,
)
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.options import DecodingOptions, InferenceOptions
from lyrics_asr.types import Emissions, ModelInfo, TimedLine, Transcript

SCHEMA = "lyrics-asr/evaluated-song/1"

# Encoders pad: a lossy stem may be longer or shorter than its mixture by this much and is then cut to it.
_STEM_TOLERANCE_SECONDS = 0.1


@dataclass(frozen=True)
class SeparationScores:
    """A separated voice and, as the baseline, the mixture itself against the vocals' stem.

    Args:
        mixture_si_sdr_db: None for a song a cappella, whose mixture is the stem already.
        vocals_si_sdr_db: None likewise.
        mixture: BSS Eval; None where it was not asked for or is not defined.
        vocals: likewise.
    """

    mixture_si_sdr_db: float | None
    vocals_si_sdr_db: float | None
    mixture: BssEval | None
    vocals: BssEval | None


@dataclass(frozen=True)
class StageSeconds:
    """Wall-clock seconds of each stage."""

    reading: float
    separation: float
    acoustic: float
    greedy: float
    beam_search: float
    alignment: float


@dataclass(frozen=True)
class _Measured:
    """What the networks give for a song; `separation` where it has a vocals' stem."""

    emissions: Emissions
    separation: SeparationScores | None


@dataclass(frozen=True)
class Prediction:
    """What is known of a song that was worked on; None for what is not.

    Args:
        duration_seconds: of the song.
        text: the transcript, with its line breaks.
        greedy: the words of the greedy decoding.
        lines: the song's lyrics with their estimated times.
        separation: where the song has a vocals' stem.
        seconds: of each stage.
        model: what made it.
        decoding: options of its beam search.
    """

    duration_seconds: float | None
    text: str | None
    greedy: str | None = None
    lines: tuple[TimedLine, ...] | None = None
    separation: SeparationScores | None = None
    seconds: StageSeconds | None = None
    model: ModelInfo | None = None
    decoding: DecodingOptions | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest(ModelRequest):
    """Transcribe and align songs with a reference, and measure their separated vocals; `output` is needed.

    Args:
        songs: by the stem of their job, see `job_of`.
        options: of all stages but decoding, whose options are those tuned for the model with `overrides`.
        bss_eval: whether stems are measured by BSS Eval too, which takes several times as long as all the rest.
        cache: where emissions are kept; None to keep none.
    """

    verb: ClassVar[str] = "evaluate"
    songs: Mapping[str, ReferenceSong] = field(default_factory=dict)
    options: InferenceOptions = field(default_factory=InferenceOptions)
    bss_eval: bool = True
    cache: Path | None = None


def job_of(song: ReferenceSong) -> Job:
    """The job of a song, whose result is its record in songs/ID.json.

    Raises:
        ValueError: an id that cannot name a file.
    """
    return Job(song.audio, _file(Path("songs"), song.id, ""), lyrics_text=song.lyrics)


class EvaluateTask(ModelTask[EvaluateRequest]):
    """Each network runs once for a song; both decodings and the alignment read the same emissions."""

    def check(self, job: Job) -> Song:
        """See `Task`."""
        return replace(super().check(job), lyrics=job.read_lyrics())

    @contextmanager
    def load(self) -> Iterator[None]:
        """See `Task`."""
        with super().load(), self.beam_search() as self._decode:
            self._cache = None
            self._networks_keys: dict[Path, str] = {}
            if self.request.cache is not None:
                options = self.options
                self._cache = EmissionCache(self.request.cache, self.model, options.separation, options.acoustic)
            yield

    def options_of(self, model: LyricsModel) -> InferenceOptions:
        """See `ModelTask`."""
        return replace(self.request.options, decoding=options_for(model, self.request.overrides).decoding)

    def further_key(self, song: Song) -> list[Any]:
        """See `Task`."""
        reference, options = self._reference(song), self.options
        decoding = [self.language_model_fingerprint, asdict(options.decoding), asdict(options.lines)]
        return [self._networks_key(song), decoding, reference.lyrics, reference.language]

    def read(self, song: Song) -> Any:
        """See `Task`; what an earlier run has computed is not computed again."""
        emissions = None if self._cache is None else self._cache.load(song.job.source)
        if emissions is not None:
            record = _read_record(song.job.target(self._output, ".json")) or {}
            measured = record.get("networks") == self._networks_key(song)
            # With a stem, emissions are not all that the networks give; they are if an earlier run measured the rest.
            if measured or self._reference(song).vocals is None:
                return _Measured(emissions, _separation(record["separation"]) if measured else None)
        if self._reference(song).vocals is not None:
            return read_mixture(song.job.source, self.model)  # whole, to be compared with the stem
        return read_song(song, self.model)

    def infer(self, songs: Sequence[tuple[Song, Any]], stopwatch: Stopwatch) -> Sequence[_Measured]:
        """See `Task`."""
        measured = []
        with self.in_progress(songs) as progress:
            for song, content in songs:
                is_known = isinstance(content, _Measured)
                measured.append(content if is_known else self._measure(song, content, progress, stopwatch))
        return measured

    def finish(self, song: Song, inferred: _Measured, stopwatch: Stopwatch) -> Sequence[Path]:
        """See `Task`."""
        reference, emissions = self._reference(song), inferred.emissions
        assert song.lyrics is not None
        audio = self.audio_of(song, emissions)
        with stopwatch("greedy"):
            greedy = " ".join(word.text for word in greedy_search(emissions))
        with stopwatch("beam_search"):
            transcript = decode_transcript(audio, emissions, self.model, self.options, decode=self._decode)
        with stopwatch("alignment"):
            alignment = align_emissions(audio, emissions, song.lyrics, self.model, language=reference.language)
        seconds = StageSeconds(**{"separation": 0.0, "acoustic": 0.0, **stopwatch})
        record = {
            "schema": SCHEMA,
            "networks": self._networks_key(song),
            "decoding": asdict(self.options.decoding),
            "duration_seconds": audio.duration_seconds,
            "greedy": greedy,
            "separation": None if inferred.separation is None else asdict(inferred.separation),
            "seconds": asdict(seconds),
        }
        write_text(_file(self._output / "transcripts", reference.id), transcript.to_json())
        write_text(_file(self._output / "alignments", reference.id), alignment.to_json())
        target = song.job.target(self._output, ".json")
        write_text(target, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        return (target,)

    def _measure(
        self, song: Song, content: Audio | Path, progress: Callable[[float], None], stopwatch: Stopwatch
    ) -> _Measured:
        stem_path, model, options = self._reference(song).vocals, self.model, self.options
        if stem_path is None or not isinstance(content, Audio):
            (emissions,) = compute_emissions([content], model, options, progress, stopwatch)
            separation = None
        else:
            with stopwatch("separation"):
                (vocals,) = model.vocals([content], options.separation, progress)
            with stopwatch("acoustic"):
                (emissions,) = model.emissions([model.to_16k_mono(vocals)], options.acoustic)
            stem = read_mixture(stem_path, model)
            with_bss_eval = self.request.bss_eval
            separation = separation_scores(stem_path, stem, content, vocals.cpu(), with_bss_eval=with_bss_eval)
        if self._cache is not None:
            self._cache.save(song.job.source, emissions)
        return _Measured(emissions, separation)

    def _networks_key(self, song: Song) -> str:
        """A hash of everything that emissions and separation scores depend on; files are read for it once."""
        known = self._networks_keys.get(song.job.stem)
        if known is not None:
            return known
        stem = self._reference(song).vocals
        parts = [
            self.fingerprint,
            file_fingerprint(song.job.source),
            "" if stem is None else file_fingerprint(stem),
            str(self.request.bss_eval),
        ]
        key = self._networks_keys[song.job.stem] = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return key

    def _reference(self, song: Song) -> ReferenceSong:
        return self.request.songs[song.job.stem.as_posix()]

    @property
    def _output(self) -> Path:
        assert self.request.output is not None
        return self.request.output


def read_prediction(song: ReferenceSong, transcripts: Path | None, alignments: Path | None) -> Prediction:
    """The prediction of a song from files of any system.

    Args:
        song: whose id names the files.
        transcripts: folder of ID.json, as `lyrics-asr transcribe` writes them, or ID.txt.
        alignments: folder of ID.json, as `lyrics-asr align` writes them, of the same lyrics.

    Raises:
        FileNotFoundError: no file for this song.
        ValueError: a file that is not what it should be.
    """
    duration_seconds = text = lines = None
    if transcripts is not None:
        path = next(
            (path for suffix in (".json", ".txt") if (path := _file(transcripts, song.id, suffix)).is_file()), None
        )
        if path is None:
            raise FileNotFoundError(f"{_file(transcripts, song.id)}: no transcript of this song, nor a .txt")
        if path.suffix == ".json":
            transcript = _read_transcript(path)
            duration_seconds, text = transcript.audio.duration_seconds, transcript.text
        else:
            text = _read(path)
    if alignments is not None:
        alignment = _read_transcript(_file(alignments, song.id))
        duration_seconds, lines = alignment.audio.duration_seconds, alignment.lines
    if duration_seconds is None and song.audio.is_file():
        duration_seconds = probe(song.audio).duration_seconds
    return Prediction(duration_seconds, text, lines=lines)


def kept_prediction(song: ReferenceSong, output: Path) -> Prediction:
    """The prediction of a song that `EvaluateTask` wrote.

    Raises:
        ValueError: a file that is missing or damaged.
    """
    try:
        record = _read_record(job_of(song).target(output, ".json"))
        if record is None:
            raise ValueError("its record is missing or damaged")
        transcript = _read_transcript(_file(output / "transcripts", song.id))
        alignment = _read_transcript(_file(output / "alignments", song.id))
        return Prediction(
            record["duration_seconds"],
            transcript.text,
            record["greedy"],
            alignment.lines,
            _separation(record["separation"]),
            StageSeconds(**record["seconds"]),
            transcript.model,
            DecodingOptions(**record["decoding"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{song.id}: what was kept of it cannot be read: {error}") from error


def separation_scores(
    stem_path: Path, stem: Audio, mixture: Audio, vocals: Audio, *, with_bss_eval: bool
) -> SeparationScores:
    """Separated vocals, and the mixture as it is, against the vocals' stem; SI-SDR of mean channels.

    Raises:
        ValueError: a stem of another length.
    """
    if abs(stem.duration_seconds - mixture.duration_seconds) > _STEM_TOLERANCE_SECONDS:
        raise ValueError(
            f"{stem_path}: the vocals last {stem.duration_seconds:.2f} s, the mixture {mixture.duration_seconds:.2f} s"
        )
    count = min(stem.samples.shape[1], mixture.samples.shape[1])
    reference, mixed, estimate = (each.samples[:, :count] for each in (stem, mixture, vocals))
    if (mixed - reference).abs().max() == 0:
        return SeparationScores(None, None, None, None)
    return SeparationScores(
        si_sdr(mixed.mean(0), reference.mean(0)),
        si_sdr(estimate.mean(0), reference.mean(0)),
        bss_eval(mixed, reference, mixed, mixture.sample_rate_hz) if with_bss_eval else None,
        bss_eval(estimate, reference, mixed, mixture.sample_rate_hz) if with_bss_eval else None,
    )


def _file(folder: Path, song_id: str, suffix: str = ".json") -> Path:
    """A song's file, in the tree that its id spells; an id never leads out of the folder."""
    parts = PurePosixPath(song_id).parts
    if not parts or song_id.startswith("/") or ".." in parts or "\\" in song_id or "\0" in song_id:
        raise ValueError(
            f"the song's id {song_id!r} cannot name a file; give it an id without '..', '\\' or a leading '/'"
        )
    return folder.joinpath(*parts[:-1], parts[-1] + suffix)


def _read_transcript(path: Path) -> Transcript:
    try:
        return parse_json(_read(path), str(path))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such prediction") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason})") from error


def _read_record(path: Path) -> dict[str, Any] | None:
    """What an earlier run kept; None when there is nothing, or nothing whole."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and record.get("schema") == SCHEMA else None


def _separation(kept: dict[str, Any] | None) -> SeparationScores | None:
    if kept is None:
        return None
    mixture, vocals = (None if kept[key] is None else BssEval(**kept[key]) for key in ("mixture", "vocals"))
    return SeparationScores(kept["mixture_si_sdr_db"], kept["vocals_si_sdr_db"], mixture, vocals)
