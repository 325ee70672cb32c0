"""The prediction of a model for each song, computed by the same runner as for users, or read from files.

Conventions
- A prediction is kept in three files under the output folder: transcripts/ID.json and alignments/ID.json, as
  `lyrics-asr transcribe` and `align` write them, and songs/ID.json with the rest. It counts as done while the audio,
  the stem, the lyrics, the model and all options are the same (see `inference.run`).
- Stage times are wall-clock seconds. For emissions from the cache, they are the time to read them.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from lyrics_asr.audio import Audio, leveled, leveling_gain, probe, read_audio, require_sound
from lyrics_asr.corpora.manifest import Song as ReferenceSong
from lyrics_asr.decoding.greedy import greedy as greedy_search
from lyrics_asr.evaluation.damage import DamagedLyrics
from lyrics_asr.evaluation.metrics import BssEval, bss_eval, si_sdr
from lyrics_asr.files import file_fingerprint, write_text
from lyrics_asr.formats import parse_json
from lyrics_asr.inference.emission_cache import EmissionCache
from lyrics_asr.inference.jobs import Job
from lyrics_asr.inference.long_audio import AudioFile
from lyrics_asr.inference.requests import ModelRequest
from lyrics_asr.inference.runner import Song, Stopwatch
from lyrics_asr.inference.tasks import (
    ModelTask,
    acoustic_inputs,
    align_emissions,
    compute_texts,
    decode_transcript,
    options_for,
    read_mixture,
    read_song,
    separate_to_16k_mono,
)
from lyrics_asr.lyrics.text import parse_corpus_lyrics
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.options import DecodingOptions, InferenceOptions
from lyrics_asr.types import Candidate, Emissions, ModelInfo, SegmentText, SongText, TimedLine, Transcript

SCHEMA = "lyrics-asr/evaluated-song/2"

# Lossy encoders pad: the lengths of stem and mixture may differ by this much; both are cut to the shorter one.
_STEM_TOLERANCE_SECONDS = 0.1


@dataclass(frozen=True)
class SeparationScores:
    """Scores of the separated vocals against the vocal stem and, as the baseline, of the mixture.

    Args:
        mixture_si_sdr_db: SI-SDR of the mixture; None for a cappella songs, whose mixture equals the stem.
        vocals_si_sdr_db: SI-SDR of the separated vocals; None for a cappella songs.
        mixture: BSS Eval of the mixture; None if not requested or undefined.
        vocals: BSS Eval of the separated vocals; None if not requested or undefined.
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
    transcriber: float
    greedy: float
    beam_search: float
    alignment: float


@dataclass(frozen=True)
class _Measured:
    """The outputs of the networks for a song.

    `separation` is None without a vocal stem, and `text` without a transcriber.
    """

    emissions: Emissions
    separation: SeparationScores | None
    text: SongText | None


@dataclass(frozen=True)
class Prediction:
    """The prediction for a song; fields that are unknown are None.

    Args:
        duration_seconds: duration of the song.
        text: transcript with line breaks.
        greedy: words of greedy decoding.
        lines: lyrics with estimated times.
        separation: separation scores, if the song has a vocal stem.
        seconds: time of each stage.
        model: the model that made the prediction.
        decoding: options of the beam search.
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
        options: options of all stages except decoding, which uses the model's tuned options with `overrides`.
        bss_eval: also compute BSS Eval, which takes several times as long as everything else.
        cache: folder for emissions; None to cache nothing.
        damaged: damaged lyrics to align instead of the reference's, by the stem of their job.
        keep_all: whether every line of damaged lyrics gets a time.
    """

    verb: ClassVar[str] = "evaluate"
    force: bool = True  # nobody else writes to an evaluation's folder
    songs: Mapping[str, ReferenceSong] = field(default_factory=dict)
    options: InferenceOptions = field(default_factory=InferenceOptions)
    bss_eval: bool = True
    cache: Path | None = None
    damaged: Mapping[str, DamagedLyrics] = field(default_factory=dict)
    keep_all: bool = False


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
        with super().load(), ExitStack() as stack:
            self._decode = None
            if self.model.transcriber_name is None:
                self._decode = stack.enter_context(self.beam_search())
            self._cache = None
            self._networks_keys: dict[Path, str] = {}
            if self.request.cache is not None:
                self._cache = EmissionCache(self.request.cache, self.model, self.fingerprint)
            yield

    def options_of(self, model: LyricsModel) -> InferenceOptions:
        """See `ModelTask`."""
        return replace(self.request.options, decoding=options_for(model, self.request.overrides).decoding)

    def further_key(self, song: Song) -> list[Any]:
        """See `Task`."""
        reference, options = self._reference(song), self.options
        decoding = [self.language_model_fingerprint, asdict(options.decoding), asdict(options.lines)]
        return [self._networks_key(song), decoding, *self._alignment_key(song), reference.language]

    def read(self, song: Song) -> Any:
        """See `Task`; results of earlier runs are reused."""
        emissions = None if self._cache is None else self._cache.load(song.job.source)
        if emissions is not None:
            record = _read_record(song.job.target(self._output, ".json")) or {}
            # With a stem or a transcriber, emissions suffice only if an earlier run kept the scores and texts too.
            if record.get("networks") == self._networks_key(song):
                return _Measured(emissions, _separation(record["separation"]), _text(record["text"]))
            if self._reference(song).vocals is None and self.model.transcriber is None:
                return _Measured(emissions, None, None)
        if self._reference(song).vocals is not None:
            return read_mixture(song.job.source, self.model)  # the whole song, for comparison with the stem
        return read_song(song, self.model)

    def infer(self, songs: Sequence[tuple[Song, Any]], stopwatch: Stopwatch) -> Sequence[_Measured]:
        """See `Task`."""
        measured = []
        with self.in_progress(songs) as progress:
            for song, content in songs:
                is_known = isinstance(content, _Measured)
                measured.append(content if is_known else self._measure(song, content, progress, stopwatch))
        return measured

    def decoded_seconds(self, song: Song, inferred: _Measured) -> float:
        """See `Task`."""
        return inferred.emissions.duration_seconds

    def finish(self, song: Song, inferred: _Measured, stopwatch: Stopwatch) -> Sequence[Path]:
        """See `Task`."""
        reference, emissions = self._reference(song), inferred.emissions
        assert song.lyrics is not None
        audio = self.audio_of(song, emissions)
        with stopwatch("greedy"):
            greedy = " ".join(word.text for word in greedy_search(emissions))
        with stopwatch("beam_search"):
            transcript = decode_transcript(
                audio,
                emissions,
                self.model,
                self.options,
                decode=self._decode,
                text=inferred.text,
                language=reference.language,
            )
        damaged = self.request.damaged.get(song.job.stem.as_posix())
        with stopwatch("alignment"):
            alignment = align_emissions(
                audio,
                emissions,
                song.lyrics if damaged is None else parse_corpus_lyrics(damaged.text),
                self.model,
                self.options,
                language=reference.language,
                keep_all=damaged is None or self.request.keep_all,
            )
        seconds = StageSeconds(**{"separation": 0.0, "acoustic": 0.0, "transcriber": 0.0, **stopwatch})
        record = {
            "schema": SCHEMA,
            "networks": self._networks_key(song),
            "decoding": asdict(self.options.decoding),
            "duration_seconds": audio.duration_seconds,
            "greedy": greedy,
            "separation": None if inferred.separation is None else asdict(inferred.separation),
            "text": None if inferred.text is None else asdict(inferred.text),
            "seconds": asdict(seconds),
        }
        write_text(_file(self._output / "transcripts", reference.id), transcript.to_json())
        write_text(_file(self._output / "alignments", reference.id), alignment.to_json())
        target = song.job.target(self._output, ".json")
        write_text(target, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        return (target,)

    def _measure(
        self, song: Song, content: Audio | AudioFile, progress: Callable[[float], None], stopwatch: Stopwatch
    ) -> _Measured:
        reference, model, options = self._reference(song), self.model, self.options
        separation = None
        if reference.vocals is None or not isinstance(content, Audio):
            with stopwatch("separation"):
                voices = separate_to_16k_mono([content], model, options.separation, progress)
        else:
            with stopwatch("separation"):
                (raised,) = model.vocals([leveled(content)], options.separation, progress)
            voices = [model.to_16k_mono(raised)]
            rate = model.separator.sample_rate_hz
            stem = read_audio(reference.vocals, sample_rate_hz=rate, channels=model.mixture_channels)
            require_sound(stem, reference.vocals)
            with_bss_eval = self.request.bss_eval
            vocals = Audio(raised.samples.cpu() / leveling_gain(content), raised.sample_rate_hz)
            separation = separation_scores(reference.vocals, stem, content, vocals, with_bss_eval=with_bss_eval)
        with stopwatch("acoustic"):
            inputs = acoustic_inputs([content], model, options.separation, voices=voices)
            (emissions,) = model.emissions(inputs, options.acoustic)
        with stopwatch("transcriber"):
            (text,) = compute_texts(voices, model, options, [reference.language], [""])
        if self._cache is not None:
            self._cache.save(song.job.source, emissions)
        return _Measured(emissions, separation, text)

    def _networks_key(self, song: Song) -> str:
        """A hash of everything that emissions and separation scores depend on; each file is hashed once."""
        known = self._networks_keys.get(song.job.stem)
        if known is not None:
            return known
        reference = self._reference(song)
        stem = reference.vocals
        parts = [
            self.fingerprint,
            file_fingerprint(song.job.source),
            "" if stem is None else file_fingerprint(stem),
            str(self.request.bss_eval),
            json.dumps([self.transcriber_fingerprint, asdict(self.options.transcriber), reference.language]),
        ]
        key = self._networks_keys[song.job.stem] = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return key

    def _alignment_key(self, song: Song) -> list[Any]:
        damaged = self.request.damaged.get(song.job.stem.as_posix())
        lyrics = self._reference(song).lyrics if damaged is None else damaged.text
        return [lyrics, damaged is None, self.request.keep_all, asdict(self.options.alignment)]

    def _reference(self, song: Song) -> ReferenceSong:
        return self.request.songs[song.job.stem.as_posix()]

    @property
    def _output(self) -> Path:
        assert self.request.output is not None
        return self.request.output


def read_prediction(song: ReferenceSong, transcripts: Path | None, alignments: Path | None) -> Prediction:
    """Read the prediction for a song from files of any system.

    Args:
        song: its id names the files.
        transcripts: folder with ID.json, as `lyrics-asr transcribe` writes it, or ID.txt.
        alignments: folder with ID.json, as `lyrics-asr align` writes it, for the same lyrics.

    Raises:
        FileNotFoundError: no file for this song.
        ValueError: a file has the wrong format.
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
    """Read the prediction that `EvaluateTask` wrote for a song.

    Raises:
        ValueError: a file is missing or damaged.
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
        raise ValueError(f"{song.id}: its saved prediction cannot be read: {error}") from error


def separation_scores(
    stem_path: Path, stem: Audio, mixture: Audio, vocals: Audio, *, with_bss_eval: bool
) -> SeparationScores:
    """Score separated vocals, and the mixture as the baseline, against the vocal stem; SI-SDR is of the mono mix.

    Raises:
        ValueError: the stem has another length than the mixture.
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
    """The file of a song; slashes in its id are folders, and the path never leaves `folder`."""
    parts = PurePosixPath(song_id).parts
    if not parts or song_id.startswith("/") or ".." in parts or "\\" in song_id or "\0" in song_id:
        raise ValueError(
            f"the song id {song_id!r} cannot be a file name; use an id without '..', '\\' or a leading '/'"
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
    """The record of an earlier run; None if missing or damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and record.get("schema") == SCHEMA else None


def _text(kept: dict[str, Any] | None) -> SongText | None:
    if kept is None:
        return None
    segments = []
    for each in kept["segments"]:
        candidates = (Candidate(tuple(own["lines"]), own["log_prob"]) for own in each["candidates"])
        segments.append(SegmentText(each["start_seconds"], each["end_seconds"], tuple(candidates)))
    return SongText(kept["language"], kept["heard"], kept["heard_probability"], tuple(segments))


def _separation(kept: dict[str, Any] | None) -> SeparationScores | None:
    if kept is None:
        return None
    mixture, vocals = (None if kept[key] is None else BssEval(**kept[key]) for key in ("mixture", "vocals"))
    return SeparationScores(kept["mixture_si_sdr_db"], kept["vocals_si_sdr_db"], mixture, vocals)
