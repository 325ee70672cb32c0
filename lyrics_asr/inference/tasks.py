"""The stages of a song, and the tasks that combine them, one per verb.

read_song -> compute_emissions (separator, acoustic model) -> decode_transcript or align_emissions -> files
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from lyrics_asr.alignment.forced_alignment import align_lyrics
from lyrics_asr.alignment.summary import summarize
from lyrics_asr.audio import (
    Audio,
    ChannelCorrection,
    encode_audio,
    leveled,
    peak_of,
    probe,
    read_audio,
    read_tags,
    require_peak,
    require_sound,
)
from lyrics_asr.config import load_config
from lyrics_asr.console import BatchProgress, say
from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.decoding.greedy import greedy as greedy_search
from lyrics_asr.decoding.lines import cut_lines
from lyrics_asr.decoding.pool import DecodingPool, usable_cores
from lyrics_asr.files import file_fingerprint
from lyrics_asr.inference.attention import timed_lines
from lyrics_asr.inference.jobs import Job, write_results, write_transcript
from lyrics_asr.inference.long_audio import LONG_SECONDS, AudioFile, separate_in_blocks
from lyrics_asr.inference.requests import AlignRequest, ModelRequest, SeparateRequest, TranscribeRequest
from lyrics_asr.inference.runner import Song, Stopwatch, Task
from lyrics_asr.language_model.files import read_header
from lyrics_asr.lyrics.languages import AUTO, NAMES, base_code, resolve_language
from lyrics_asr.lyrics.normalization import spellable_words
from lyrics_asr.lyrics.text import Lyrics, read_lyrics
from lyrics_asr.models.lyrics_model import LyricsModel, for_device, weights_fingerprint
from lyrics_asr.models.registry import load_model
from lyrics_asr.options import InferenceOptions, SeparationOptions
from lyrics_asr.types import AlignmentError, AudioInfo, Emissions, SongText, TimedWord, Transcript
from lyrics_asr.version import RESULTS_VERSION

Progress = Callable[[float], None]
Decode = Callable[[Emissions, frozenset[str]], tuple[TimedWord, ...]]
AnyRequest = TypeVar("AnyRequest", bound=ModelRequest)

_logger = logging.getLogger(__name__)

_SURE_OF_LANGUAGE = 0.8
_GROUP_SECONDS = 300.0  # enough to fill the batches of both networks, with bounded memory


def options_for(model: LyricsModel, overrides: Sequence[str] = ()) -> InferenceOptions:
    """The default options, overridden by those tuned for `model` and then by `key.sub=value` overrides.

    Raises:
        ValueError: an override has an unknown key or a wrong value.
    """
    if not overrides:
        return InferenceOptions(decoding=model.decoding)
    tuned = [f"decoding.{key}={value}" for key, value in asdict(model.decoding).items()]
    return load_config(InferenceOptions, overrides=[*tuned, *overrides])


def read_mixture(path: Path, model: LyricsModel, *, track: int | None = None, strict: bool = False) -> Audio:
    """Read a song at the sample rate and with the channels of the separator; faulty channels are corrected.

    Args:
        path: audio or video file.
        model: model with the separator.
        track: number of the audio track, from 1; None for the default track.
        strict: refuse damaged and truncated files.

    Raises:
        FileNotFoundError: no such file.
        AudioError: the file has no audio, or is silent.
        ValueError: the separator is neither mono nor stereo.
    """
    rate = model.separator.sample_rate_hz
    audio = read_audio(path, sample_rate_hz=rate, channels=2, track=track, strict=strict)
    require_sound(audio, path)
    audio = ChannelCorrection.measure(audio, path).apply(audio)
    require_peak(peak_of(audio.to_channels(1)), path)
    return audio.to_channels(model.mixture_channels)


def read_song(song: Song, model: LyricsModel, *, track: int | None = None, strict: bool = False) -> Audio | AudioFile:
    """Read a song's mixture, see `read_mixture`; return its file instead if it is too long to hold in memory.

    Raises:
        FileNotFoundError: no such file.
        AudioError: the file has no audio, or is silent.
        ValueError: the separator is neither mono nor stereo.
    """
    if song.audio_seconds > LONG_SECONDS:
        return AudioFile(song.job.source, track, strict)
    return read_mixture(song.job.source, model, track=track, strict=strict)


def separate_to_16k_mono(
    mixtures: Sequence[Audio | AudioFile],
    model: LyricsModel,
    options: SeparationOptions,
    progress: Progress | None = None,
) -> list[Audio]:
    """Separate the vocals of leveled songs, as input of the acoustic model; those of long songs are on the CPU.

    Args:
        mixtures: mixtures or files from `read_song`.
        model: model with the separator.
        options: options of the separator.
        progress: progress callback, with a fraction in 0..1.

    Raises:
        MemoryError: memory runs out even with the shortest segments.
        AudioError: a long song is silent.
    """
    in_memory: list[Audio] = []
    for mixture in mixtures:
        if isinstance(mixture, Audio):
            in_memory.append(leveled(mixture))
    vocals = iter(model.vocals(in_memory, options, progress))
    voices = []
    for mixture in mixtures:
        if isinstance(mixture, Audio):
            voices.append(model.to_16k_mono(next(vocals)))
        else:
            voices.append(separate_in_blocks(mixture, model, options, progress))
    return voices


def acoustic_inputs(
    mixtures: Sequence[Audio | AudioFile],
    model: LyricsModel,
    options: SeparationOptions,
    progress: Progress | None = None,
    voices: list[Audio] | None = None,
) -> list[Audio]:
    """What the acoustic model hears, mono at 16 kHz: vocals, or the leveled mixtures, as `model.acoustic_input` says.

    Args:
        mixtures: mixtures or files from `read_song`.
        model: model from `load_model`.
        options: options of the separator.
        progress: progress callback for the separation, with a fraction in 0..1.
        voices: vocals from `separate_to_16k_mono`; None to separate them if they are needed.
    """
    if model.acoustic_input == "mixture":
        return separate_to_16k_mono(mixtures, model.unseparated, options)
    return separate_to_16k_mono(mixtures, model, options, progress) if voices is None else voices


def compute_emissions(
    mixtures: Sequence[Audio | AudioFile],
    model: LyricsModel,
    options: InferenceOptions,
    progress: Progress | None = None,
    stopwatch: Stopwatch | None = None,
) -> list[Emissions]:
    """The emissions of songs; the separator runs only if the acoustic model hears vocals. See `run_networks`."""
    stopwatch = Stopwatch() if stopwatch is None else stopwatch
    with stopwatch("separation"):
        inputs = acoustic_inputs(mixtures, model, options.separation, progress)
    with stopwatch("acoustic"):
        return model.emissions(inputs, options.acoustic)


def run_networks(
    mixtures: Sequence[Audio | AudioFile],
    model: LyricsModel,
    options: InferenceOptions,
    progress: Progress | None = None,
    stopwatch: Stopwatch | None = None,
) -> tuple[list[Audio], list[Emissions]]:
    """Run separator and acoustic model on songs.

    Args:
        mixtures: mixtures or files from `read_song`. Songs in memory share batches.
        model: model from `load_model`.
        options: options of both networks.
        progress: progress callback for the separation, with a fraction in 0..1.
        stopwatch: times the stages "separation" and "acoustic".

    Returns:
        The vocals of each song, mono at 16 kHz, and its emissions.

    Raises:
        MemoryError: memory runs out even with the shortest segments and windows.
        AudioError: a long song is silent.
    """
    stopwatch = Stopwatch() if stopwatch is None else stopwatch
    with stopwatch("separation"):
        voices = separate_to_16k_mono(mixtures, model, options.separation, progress)
        inputs = acoustic_inputs(mixtures, model, options.separation, voices=voices)
    with stopwatch("acoustic"):
        return voices, model.emissions(inputs, options.acoustic)


def compute_texts(
    voices: Sequence[Audio],
    model: LyricsModel,
    options: InferenceOptions,
    languages: Sequence[str],
    hot_words: Sequence[str],
) -> list[SongText | None]:
    """Run the model's transcriber on vocals; None for each song if it has none.

    Args:
        voices: vocals from `separate_to_16k_mono`.
        model: model with the transcriber.
        options: options of the transcriber.
        languages: language of the lyrics of each song; "auto" for the one that it sounds like.
        hot_words: text whose words are likely to be sung, for each song.
    """
    if model.transcriber is None:
        return [None] * len(voices)
    texts: list[SongText | None] = []
    for voice, language, expected in zip(voices, languages, hot_words, strict=True):
        beams = options.transcriber.beams or (1 if model.device.type == "cpu" else 5)
        voice_language = base_code(language)
        found = model.transcriber.transcribe(voice.samples[0], voice_language, hot_words=expected, beams=beams)
        texts.append(found)
    return texts


def decode_transcript(
    audio: AudioInfo,
    emissions: Emissions,
    model: LyricsModel,
    options: InferenceOptions,
    *,
    decode: Decode | None = None,
    text: SongText | None = None,
    hot_words: str = "",
    language: str = "en",
) -> Transcript:
    """Decode emissions to a transcript.

    Args:
        audio: audio of the song.
        emissions: emissions of `model`.
        model: model to name in the transcript.
        options: options for splitting words into lines.
        decode: beam search; None for greedy decoding.
        text: what the model's transcriber found, in place of a CTC decoding.
        hot_words: text whose words are likely to be sung; only for the beam search.
        language: language of the lyrics, to verbalize digits and symbols of the hot words.
    """
    if text is not None:
        lines, language = timed_lines(text, emissions, options.transcriber), text.language
        names = replace(model.info, language_model=None, transcriber=model.transcriber_name)
        written = "\n".join(line.text for line in lines)
        return Transcript("transcribe", audio, names, written, lines, language=language)
    if decode is None:
        words, names = greedy_search(emissions), replace(model.info, language_model=None)
    else:
        expected = frozenset(spellable_words(hot_words, emissions.vocabulary, language))
        words, names = decode(emissions, expected), model.info
    lines = cut_lines(words, options.lines)
    written = "\n".join(line.text for line in lines)
    return Transcript("transcribe", audio, names, written, lines, language=language)


def align_emissions(
    audio: AudioInfo,
    emissions: Emissions,
    lyrics: Lyrics,
    model: LyricsModel,
    options: InferenceOptions,
    *,
    language: str = "en",
    keep_all: bool = False,
    use_times: bool = False,
) -> Transcript:
    """Align lyrics with a song.

    Args:
        audio: audio of the song.
        emissions: emissions of `model`.
        lyrics: lyrics of the song.
        model: model to name in the transcript.
        options: options of the alignment.
        language: language of the lyrics, to verbalize digits and symbols.
        keep_all: whether every line was sung, once and in order.
        use_times: whether the times of the lyrics guide the alignment.

    Raises:
        AlignmentError: the lyrics do not fit the song; the message names it.
    """
    try:
        found = align_lyrics(
            emissions, lyrics, language=language, options=options.alignment, keep_all=keep_all, use_times=use_times
        )
    except AlignmentError as error:
        raise AlignmentError(f"{audio.path}: {error}") from error
    names = replace(model.info, language_model=None)
    return Transcript(
        "align", audio, names, lyrics.text, found.lines, found.not_found, found.uncovered, language, found.confidence
    )


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
        separation = for_device(self.options.separation, self.model.device)
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


class TranscribeTask(ModelTask[TranscribeRequest]):
    """`lyrics-asr transcribe`."""

    _decode: Decode | None = None
    _uses_transcriber = False

    def __init__(
        self,
        request: TranscribeRequest,
        progress: BatchProgress | None = None,
        cores: int | None = None,
        *,
        model: LyricsModel | None = None,
    ) -> None:
        super().__init__(request, progress, cores, model=model)
        if request.greedy and request.hot_words:
            raise ValueError("hot words need the beam search; drop them, or greedy decoding")

    def options_of(self, model: LyricsModel) -> InferenceOptions:
        """The options of the run, including those tuned for the model."""
        return options_for(model, self.request.overrides)

    def check(self, job: Job) -> Song:
        """See `Task`."""
        hot_words = _read_hot_words(self.request.hot_words, job)
        language = resolve_language(self.request.language, hot_words)
        return replace(super().check(job), hot_words=hot_words, language=language)

    @contextmanager
    def load(self) -> Iterator[None]:
        """See `Task`."""
        with super().load(), ExitStack() as stack:
            self._uses_transcriber = not self.request.greedy and self.model.transcriber is not None
            if not (self.request.greedy or self._uses_transcriber):
                self._decode = stack.enter_context(self.beam_search())
            yield

    def further_key(self, song: Song) -> list[Any]:
        """See `Task`."""
        if self._uses_transcriber:
            return [
                self.transcriber_fingerprint,
                asdict(self.options.transcriber),
                song.hot_words,
                self._given_language(song),
            ]
        language_model = None if self.request.greedy else self.language_model_fingerprint
        decoding = None if self.request.greedy else asdict(self.options.decoding)
        return [language_model, decoding, asdict(self.options.lines), song.hot_words, song.language]

    def infer(
        self, songs: Sequence[tuple[Song, Audio | AudioFile]], stopwatch: Stopwatch
    ) -> list[tuple[Emissions, SongText | None]]:
        """See `Task`."""
        if not self._uses_transcriber:
            return [(emissions, None) for emissions in super().infer(songs, stopwatch)]
        _, mixtures = zip(*songs, strict=True)
        with self.in_progress(songs) as progress:
            voices, emissions = run_networks(mixtures, self.model, self.options, progress, stopwatch)
        with stopwatch("transcriber"):
            hot_words = [song.hot_words for song, _ in songs]
            languages = [self._given_language(song) for song, _ in songs]
            texts = compute_texts(voices, self.model, self.options, languages, hot_words)
        return list(zip(emissions, texts, strict=True))

    def _given_language(self, song: Song) -> str:
        """What the transcriber is told: "auto" to hear the language, whatever the hot words are in."""
        return AUTO if self.request.language == AUTO else song.language

    def decoded_seconds(self, song: Song, inferred: tuple[Emissions, SongText | None]) -> float:
        """See `Task`."""
        return inferred[0].duration_seconds

    def finish(self, song: Song, inferred: tuple[Emissions, SongText | None], stopwatch: Stopwatch) -> Sequence[Path]:
        """See `Task`."""
        emissions, text = inferred
        _warn_of_language(song, text)
        with stopwatch("decoding"):
            transcript = decode_transcript(
                self.audio_of(song, emissions),
                emissions,
                self.model,
                self.options,
                decode=self._decode,
                text=text,
                hot_words=song.hot_words,
                language=song.language,
            )
        with stopwatch("writing"):
            return write_transcript(song.job, transcript, self.request)


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
            say(f"{song.job.source.name}: {summarize(transcript)}")
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


def _warn_of_language(song: Song, text: SongText | None) -> None:
    if text is None or text.heard in (None, text.language) or text.heard_probability < _SURE_OF_LANGUAGE:
        return
    _logger.warning(
        "%s: sounds like the language %r, not %r; --language says which it is",
        song.job.source,
        text.heard,
        text.language,
    )


def _read_hot_words(given: Sequence[str], job: Job) -> str:
    """The hot words of a song as text (see `TranscribeRequest`)."""
    texts = []
    for each in given:
        if each == "tags":
            tags = read_tags(job.source)
            texts += [tags[name] for name in ("artist", "title") if name in tags]
        elif os.path.isdir(each):  # `Path.is_dir` would raise for words longer than a path may be
            sheet = job.target(Path(each), ".txt")
            texts += [read_lyrics(sheet).text] if sheet.is_file() else []
        else:
            texts.append(read_lyrics(Path(each)).text if each.endswith(".txt") else each)
    return "\n".join(texts)
