"""The task of an evaluation: transcribe and align songs by the same runner as for users, and keep the predictions."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from lyrics_asr.audio import Audio, read_audio, require_sound
from lyrics_asr.corpora.manifest import Song as ReferenceSong
from lyrics_asr.decoding.greedy import greedy as greedy_search
from lyrics_asr.emissions import Emissions
from lyrics_asr.evaluation.bss_eval import bss_eval
from lyrics_asr.evaluation.damage import DamagedLyrics
from lyrics_asr.evaluation.metrics import si_sdr
from lyrics_asr.evaluation.predictions import (
    SCHEMA,
    SeparationScores,
    StageSeconds,
    parse_separation,
    parse_song_text,
    read_record,
    song_file,
)
from lyrics_asr.files import file_fingerprint, write_text
from lyrics_asr.formats import render_json
from lyrics_asr.inference.emission_cache import EmissionCache
from lyrics_asr.inference.jobs import Job
from lyrics_asr.inference.long_audio import AudioFile
from lyrics_asr.inference.mixtures import read_mixture, read_song
from lyrics_asr.inference.requests import ModelRequest
from lyrics_asr.inference.runner import Song, Stopwatch
from lyrics_asr.inference.stages import (
    acoustic_inputs,
    align_emissions,
    compute_emissions,
    compute_texts,
    decode_transcript,
    options_for,
    run_networks,
    separate_song,
)
from lyrics_asr.inference.tasks import ModelTask
from lyrics_asr.lyrics.text import parse_corpus_lyrics
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.options import InferenceOptions
from lyrics_asr.types import SongText

# Lossy encoders pad: the lengths of stem and mixture may differ by this much; both are cut to the shorter one.
_STEM_TOLERANCE_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest(ModelRequest):
    """Transcribe and align songs with a reference, and measure their separated vocals; `output` is needed.

    Args:
        songs: by the stem of their job, see `job_of`.
        options: options of all stages except decoding, which uses the model's tuned options with `overrides`.
        bss_eval: also compute BSS Eval.
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


@dataclass(frozen=True)
class _Measured:
    """The outputs of the networks for a song.

    `separation` is None without a vocal stem, and `text` without a transcriber.
    """

    emissions: Emissions
    separation: SeparationScores | None
    text: SongText | None


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
            record = read_record(song.job.target(self._output, ".json")) or {}
            # With a stem or a transcriber, emissions suffice only if an earlier run kept the scores and texts too.
            if record.get("networks") == self._networks_key(song):
                return _Measured(emissions, parse_separation(record["separation"]), parse_song_text(record["text"]))
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
            has_words = emissions.vocabulary.unit != "phonemes"
            greedy = " ".join(word.text for word in greedy_search(emissions)) if has_words else None
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
        write_text(song_file(self._output / "transcripts", reference.id), render_json(transcript))
        write_text(song_file(self._output / "alignments", reference.id), render_json(alignment))
        target = song.job.target(self._output, ".json")
        write_text(target, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        return (target,)

    def _measure(
        self, song: Song, content: Audio | AudioFile, progress: Callable[[float], None], stopwatch: Stopwatch
    ) -> _Measured:
        reference, model, options = self._reference(song), self.model, self.options
        separation, voices = None, list[Audio]()
        if reference.vocals is not None and isinstance(content, Audio):
            with stopwatch("separation"):
                vocals, voice = separate_song(content, model, options.separation, progress)
            voices = [voice]
            rate = model.separator.sample_rate_hz
            stem = read_audio(reference.vocals, sample_rate_hz=rate, channels=model.mixture_channels)
            require_sound(stem, reference.vocals)
            with_bss_eval = self.request.bss_eval
            separation = separation_scores(reference.vocals, stem, content, vocals, with_bss_eval=with_bss_eval)
            with stopwatch("acoustic"):
                inputs = acoustic_inputs([content], model, options.separation, voices=voices)
                (emissions,) = model.emissions(inputs, options.acoustic)
        elif model.transcriber is None:
            (emissions,) = compute_emissions([content], model, options, progress, stopwatch)
        else:
            voices, (emissions,) = run_networks([content], model, options, progress, stopwatch)
        with stopwatch("transcriber"):
            text = compute_texts(voices, model, options, [reference.language], [""])[0] if voices else None
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
    of_mixture = of_vocals = None
    if with_bss_eval:
        of_mixture, of_vocals = bss_eval([mixed, estimate], reference, mixed, mixture.sample_rate_hz)
    return SeparationScores(
        si_sdr(mixed.mean(0), reference.mean(0)), si_sdr(estimate.mean(0), reference.mean(0)), of_mixture, of_vocals
    )
