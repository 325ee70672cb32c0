"""What the verbs do with each song, as tasks of `lyrics_asr.batch`."""

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch

from lyrics_asr.audio import Audio, probe, read_tags, write_audio
from lyrics_asr.console import Counter
from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.decoding.pool import DecodingPool, usable_cores
from lyrics_asr.files import file_fingerprint
from lyrics_asr.inference import pipeline
from lyrics_asr.inference.emission_cache import networks_fingerprint
from lyrics_asr.inference.jobs import Job
from lyrics_asr.inference.runner import Task
from lyrics_asr.inference.stopwatch import Stopwatch
from lyrics_asr.inference.transcript_files import TranscriptWriter
from lyrics_asr.lyrics.text import Lyrics, parse_lyrics, read_lyrics
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.registry import find_device, load_model
from lyrics_asr.types import AudioInfo, Emissions
from lyrics_asr.version import __version__

Heard = tuple[AudioInfo, Emissions]

_GROUP_SECONDS = 300.0  # enough for full batches of both networks, and not too much for memory


class ModelTask(Task[Audio | Path, Any]):
    """Work with a model on songs, as the arguments of a command line say.

    Args:
        args: parsed.
        counter: shows how far the work is.
        cores: processor cores that it may use; all when None.
    """

    model: LyricsModel

    def __init__(self, args: argparse.Namespace, counter: Counter, cores: int | None = None) -> None:
        self.args = args
        self.counter = counter
        self.cores = usable_cores() if cores is None else cores

    def check(self, job: Job) -> float:
        """See `Task`."""
        audio_seconds = probe(job.source).duration_seconds
        self.counter.expect(audio_seconds)
        return audio_seconds

    @contextmanager
    def load(self) -> Iterator[None]:
        """See `Task`."""
        self.model = _load_model(self.args)
        self.options = pipeline.options_for(self.model, self.args.set)
        if pipeline.largest_batch(self.options, self.model.device) > 1:
            self.group_seconds = _GROUP_SECONDS
        yield

    @cached_property
    def _networks(self) -> str:
        return networks_fingerprint(self.model, self.options.separation, self.options.acoustic)

    def key(self, job: Job) -> str:
        """See `Task`."""
        parts = [__version__, self._networks, file_fingerprint(job.source), *self.further_key(job)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def further_key(self, job: Job) -> list[Any]:
        """What else the results of a job depend on."""
        return []

    def under_way(
        self, songs: Sequence[tuple[Job, Audio | Path]]
    ) -> AbstractContextManager[Callable[[float], None] | None]:
        """Show that songs are worked on; lends what is told the share that is done."""
        others = len(songs) - 1
        name = songs[0][0].source.name + (f" and {others} more" if others else "")
        return self.counter.song(name, sum(_seconds(content) for _, content in songs))

    def read(self, job: Job) -> Audio | Path:
        """See `Task`."""
        return pipeline.open_mixture(job.source, self.model)

    def infer(self, songs: Sequence[tuple[Job, Audio | Path]], stopwatch: Stopwatch) -> Sequence[Any]:
        """See `Task`."""
        mixtures = [content for _, content in songs]
        with self.under_way(songs) as progress:
            heard = pipeline.hear(mixtures, self.model, self.options, progress, stopwatch)
        return [
            (pipeline.audio_info(job.source, content if isinstance(content, Audio) else emissions), emissions)
            for (job, content), emissions in zip(songs, heard, strict=True)
        ]


class TranscribeTask(ModelTask):
    """`lyrics-asr transcribe`."""

    def __init__(
        self, args: argparse.Namespace, counter: Counter, cores: int | None = None, *, writer: TranscriptWriter
    ) -> None:
        super().__init__(args, counter, cores)
        self._writer = writer
        self._hot_words = cache(self._read_hot_words)
        self.finishers = max(1, self.cores // 2)
        self._pool: DecodingPool | None = None

    def check(self, job: Job) -> float:
        """See `Task`."""
        self._hot_words(job)
        return super().check(job)

    @contextmanager
    def load(self) -> Iterator[None]:
        """See `Task`."""
        with super().load(), ExitStack() as stack:
            if not self.args.greedy:
                model = self.model
                search = BeamSearch(model.acoustic.vocabulary, model.language_model_path, self.options.decoding)
                self._pool = stack.enter_context(DecodingPool(search, self.finishers))
                del search  # the workers have their own
            yield

    @cached_property
    def _language_model(self) -> str | None:
        path = self.model.language_model_path
        return None if path is None or self.args.greedy else file_fingerprint(path)

    def further_key(self, job: Job) -> list[Any]:
        """See `Task`."""
        decoding = None if self.args.greedy else asdict(self.options.decoding)
        return [self._language_model, decoding, asdict(self.options.lines), self._hot_words(job), self.args.language]

    def finish(self, job: Job, inferred: Heard, stopwatch: Stopwatch) -> Sequence[Path]:
        """See `Task`."""
        with stopwatch("decoding"):
            transcript = pipeline.write_down(
                *inferred,
                self.model,
                self.options,
                decode=None if self._pool is None else self._pool.decode,
                hot_words=self._hot_words(job),
                language=self.args.language,
            )
        return self._writer.write(job, transcript, stopwatch)

    def _read_hot_words(self, job: Job) -> str:
        """The text of the words that may well be sung in a song (see the help of --hotwords)."""
        texts = []
        for given in self.args.hotwords:
            if given == "tags":
                tags = read_tags(job.source)
                texts += [tags[name] for name in ("artist", "title") if name in tags]
            elif os.path.isdir(given):  # which says no where `Path.is_dir` raises: words can be longer than any path
                sheet = job.target(Path(given), ".txt")
                texts += [read_lyrics(sheet).text] if sheet.is_file() else []
            else:
                texts.append(read_lyrics(Path(given)).text if given.endswith(".txt") else given)
        return "\n".join(texts)


class AlignTask(ModelTask):
    """`lyrics-asr align`; jobs have lyrics."""

    def __init__(
        self, args: argparse.Namespace, counter: Counter, cores: int | None = None, *, writer: TranscriptWriter
    ) -> None:
        super().__init__(args, counter, cores)
        self._writer = writer
        self._lyrics = cache(_read_lyrics)

    def check(self, job: Job) -> float:
        """See `Task`."""
        audio_seconds = super().check(job)
        if job.lyrics is not None and not job.lyrics.exists():
            raise FileNotFoundError(f"{job.lyrics}: no such file; put the lyrics of {job.source.name} there")
        self._lyrics(job)
        return audio_seconds

    def further_key(self, job: Job) -> list[Any]:
        """See `Task`."""
        return [self._lyrics(job).text, self.args.language]

    def finish(self, job: Job, inferred: Heard, stopwatch: Stopwatch) -> Sequence[Path]:
        """See `Task`."""
        with stopwatch("alignment"):
            transcript = pipeline.time_lyrics(*inferred, self._lyrics(job), self.model, language=self.args.language)
        return self._writer.write(job, transcript, stopwatch)


class SeparateTask(ModelTask):
    """`lyrics-asr separate`."""

    def read(self, job: Job) -> Audio:
        """See `Task`."""
        return pipeline.read_mixture(job.source, self.model)  # whole: a file of vocals is written in one piece

    def infer(self, songs: Sequence[tuple[Job, Any]], stopwatch: Stopwatch) -> Sequence[Any]:
        """See `Task`."""
        mixtures = [content for _, content in songs]
        with self.under_way(songs) as progress, stopwatch("separation"):
            return pipeline.take_vocals(mixtures, self.model, self.options, progress)

    def finish(self, job: Job, inferred: Audio, stopwatch: Stopwatch) -> Sequence[Path]:
        """See `Task`."""
        target = job.target(self.args.output, f".{self.args.format}")
        with stopwatch("writing"):
            write_audio(target, inferred)
        return (target,)


def devices_of(names: str, songs: int) -> tuple[str, ...]:
    """The devices for so many songs, one worker each.

    Args:
        names: as in `load_model`, several with commas between; "auto" stands for all CUDA devices.
        songs: there are no more devices than songs, but at least one.

    Raises:
        ValueError: no such device.
    """
    found = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count())) if names == "auto" else ()
    chosen = found or tuple(name.strip() for name in names.split(","))
    for name in chosen:
        find_device(name)
    return chosen[: max(1, songs)]


def _seconds(content: Audio | Path) -> float:
    return content.duration_seconds if isinstance(content, Audio) else probe(content).duration_seconds


def _read_lyrics(job: Job) -> Lyrics:
    if job.lyrics is not None:
        return read_lyrics(job.lyrics)
    try:
        return parse_lyrics(job.lyrics_text or "")
    except ValueError as error:
        raise ValueError(f"{job.stem}: {error}") from error


def _load_model(args: argparse.Namespace) -> LyricsModel:
    return load_model(
        args.model,
        separator=args.separator,
        acoustic=getattr(args, "acoustic", None),
        language=_adapter(getattr(args, "language", "")),
        language_model=getattr(args, "language_model", None),
        device=args.device,
    )


def _adapter(language: str) -> str | None:
    """Multilingual models (MMS) name their adapters `fra` or `cmn-script_simplified`, with three letters and more.

    Plain `en` or `fr` is for the text alone.
    """
    return language if len(language.split("-")[0]) == 3 else None
