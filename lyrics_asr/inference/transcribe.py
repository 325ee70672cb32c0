"""Transcription: the words come from the model's transcriber, or from the beam search, or from greedy decoding."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lyrics_asr.audio import Audio, read_tags
from lyrics_asr.console import BatchProgress
from lyrics_asr.emissions import Emissions
from lyrics_asr.inference.jobs import Job
from lyrics_asr.inference.long_audio import AudioFile
from lyrics_asr.inference.requests import TranscribeRequest
from lyrics_asr.inference.results import write_transcript
from lyrics_asr.inference.runner import Song, Stopwatch
from lyrics_asr.inference.stages import Decode, compute_texts, decode_transcript, options_for, run_networks
from lyrics_asr.inference.tasks import ModelTask
from lyrics_asr.lyrics.languages import AUTO, resolve_language
from lyrics_asr.lyrics.text import read_lyrics
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.options import InferenceOptions
from lyrics_asr.types import SongText

_logger = logging.getLogger(__name__)

_SURE_OF_LANGUAGE = 0.8


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
