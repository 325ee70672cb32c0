"""Synthetic songs that are made while training runs, in rounds, in place of a stored corpus.

Conventions
- The stream is an endless corpus: song n is drawn from the seed and n alone, its language first. Round k is the songs
  k * songs_per_round and on, and is made into a folder of its own: of each song `N.npy`, the stems as
  `training.data.stem_chunks` maps them, and `N.jsonl`, a manifest of this song alone, whose `audio` is that file. The
  manifest is written last: the song is complete.
- Makers, processes of low priority, are at most one round ahead. Older rounds are deleted.
- A run that is started again makes the rounds that it lacks: they are the same.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lyrics_asr.audio import Audio
from lyrics_asr.corpora.manifest import Song, read_manifest, write_manifest
from lyrics_asr.files import atomic_path, write_text
from lyrics_asr.synthesis import band as backing
from lyrics_asr.synthesis.corpus import draw_job, perform_job
from lyrics_asr.synthesis.lyrics import load_lyrics, words_of
from lyrics_asr.synthesis.options import SyntheticOptions
from lyrics_asr.synthesis.singers import draw_voice
from lyrics_asr.synthesis.song import Rendition
from lyrics_asr.synthesis.tts import speak
from lyrics_asr.training.config import StreamOptions
from lyrics_asr.training.data.batch import SoundFormat
from lyrics_asr.training.data.stem_chunks import to_int16

_NICENESS = 10
_POLL_SECONDS = 0.2
_WORDS_AT_ONCE = 8
_FASTEST_WORDS_PER_MINUTE = 450


class StreamError(ValueError):
    """A song that cannot be made; the message names it."""


class SongStream:
    """The rounds of a run.

    Args:
        folder: of the rounds.
        options: which songs.
        formats: of the stems of every round.
    """

    def __init__(self, folder: Path, options: StreamOptions, formats: Sequence[SoundFormat]) -> None:
        self._source = SongSource(options)
        self._folder = folder
        self._formats = tuple(formats)
        self._context = multiprocessing.get_context("spawn")
        self._next_song = self._context.Value("q", 0)
        self._end_song = self._context.Value("q", 0)  # the first that must wait
        self._errors = self._context.SimpleQueue()
        self._makers: list[Any] = []

    def folder(self, number: int) -> Path:
        """Where a round is; another one for other options, lyrics or sound."""
        return _round_folder(self._folder, number, self._formats[number], self._source.fingerprint)

    def wait_for(self, number: int) -> None:
        """Come back when the songs of a round are made; older ones are deleted, and the next one is begun.

        Rounds are asked for in order.

        Raises:
            StreamError: a song cannot be made, or a process that makes songs was ended.
        """
        self._drop_all_but(number)
        count = self._source.options.songs_per_round
        self._end_song.value = min(number + 2, len(self._formats)) * count
        if not self._makers:
            self._next_song.value = number * count
            self._start()
        records = self._records(number)
        while not all(record.exists() for record in records):
            self._check()
            time.sleep(_POLL_SECONDS)

    def songs(self, number: int) -> list[Song]:
        """The songs of a round that was waited for; their `audio` are their stems."""
        return [read_manifest(record)[0] for record in self._records(number)]

    def close(self) -> None:
        """End the processes; songs that are not complete are lost."""
        for maker in self._makers:
            maker.terminate()
        for maker in self._makers:
            maker.join()
        self._makers.clear()

    def _records(self, number: int) -> list[Path]:
        count = self._source.options.songs_per_round
        return [self.folder(number) / f"{song}.jsonl" for song in range(number * count, (number + 1) * count)]

    def _start(self) -> None:
        given = (self._folder, self._source, self._formats, self._next_song, self._end_song, self._errors)
        for _ in range(self._source.options.processes):
            # daemon: ended when this process ends by itself; `_make_songs` looks whether it was killed
            maker = self._context.Process(target=_make_songs, args=given, daemon=True)
            maker.start()
            self._makers.append(maker)

    def _check(self) -> None:
        for maker in self._makers:
            if maker.exitcode is not None:
                cause = f"a process that makes songs ended with exit code {maker.exitcode}"
                if not self._errors.empty():
                    cause = self._errors.get()
                self.close()
                raise StreamError(f"{cause}; started again, the run goes on from its last checkpoint")

    def _drop_all_but(self, number: int) -> None:
        kept = {self.folder(each) for each in range(number, min(number + 2, len(self._formats)))}
        for folder in self._folder.glob("round-*"):
            if folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)


class SongSource:
    """Draws and makes the songs of a stream by their numbers.

    Args:
        options: of the stream.

    Raises:
        FileNotFoundError: no lyrics of a language.
    """

    def __init__(self, options: StreamOptions) -> None:
        self.options = options
        self._lyrics = {
            language: load_lyrics(Path(options.lyrics), "training", language) for language in sorted(options.languages)
        }

    @cached_property
    def fingerprint(self) -> str:
        """Of all that the songs depend on."""
        made_from = {key: value for key, value in asdict(self.options).items() if key != "processes"}
        return hashlib.sha256(json.dumps([made_from, self._lyrics], sort_keys=True).encode()).hexdigest()

    def language(self, number: int) -> str:
        """Of a song, drawn by the weights of the languages."""
        languages = sorted(self.options.languages)
        weights = np.array([self.options.languages[language] for language in languages])
        rng = np.random.default_rng([self.options.seed, number])
        return str(rng.choice(languages, p=weights / weights.sum()))

    def make(self, number: int) -> tuple[Song, Rendition]:
        """A song, without the files that it is kept in."""
        language = self.language(number)
        options = SyntheticOptions(
            language=language,
            seed=self.options.seed,
            lines=self.options.lines,
            word_salad_share=self.options.word_salad_share,
            generated_share=self.options.generated_share,
            a_cappella_share=self.options.a_cappella_share,
        )
        job = draw_job(self._lyrics[language], options, number)
        rendition = perform_job(job)
        words = tuple(word for line in rendition.lines for word in line)
        lyrics = "\n".join(" ".join(word.text for word in line) for line in rendition.lines)
        return Song(job.name, Path(), lyrics, words, language, phones=rendition.phones), rendition

    def phone_names(self) -> tuple[str, ...]:
        """The phones of the different words of all lyrics, sorted; it takes ten seconds a language.

        The words of a language are said a few at a time, each time by another voice. A sound that is heard in none of
        them may still be sung somewhere (see `labels.Labeller`).
        """
        names = set()
        for language, songs in self._lyrics.items():
            words = words_of(songs, language)
            rng = np.random.default_rng(0)
            for first in range(0, len(words), _WORDS_AT_ONCE):
                text = " ".join(words[first : first + _WORDS_AT_ONCE])
                speech = speak(text, draw_voice(language, rng).espeak_name, _FASTEST_WORDS_PER_MINUTE)
                names |= {phone.name for word in speech.words for phone in word.phones}
        return tuple(sorted(names))


def stream_phones(folder: Path, options: StreamOptions) -> tuple[str, ...]:
    """`SongSource.phone_names`, kept in a file of `folder`: the same in all rounds.

    Raises:
        FileNotFoundError: no lyrics of a language.
    """
    source = SongSource(options)
    path = folder / f"phones-{source.fingerprint[:8]}.json"
    if not path.exists():
        write_text(path, json.dumps(source.phone_names()))
    return tuple(json.loads(path.read_text("utf-8")))


def _make_songs(
    folder: Path,
    source: SongSource,
    formats: Sequence[SoundFormat],
    next_song: Any,
    end_song: Any,
    errors: Any,
) -> None:
    """What a maker does until it is ended: it takes the next song, as far as it may."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the run ends this one
    os.nice(_NICENESS)
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None
    while parent.is_alive():
        with next_song.get_lock():
            number = int(next_song.value)
            may_be_made = number < end_song.value
            next_song.value += may_be_made
        if not may_be_made:
            time.sleep(_POLL_SECONDS)
            continue
        in_round = number // source.options.songs_per_round
        try:
            _keep_song(
                _round_folder(folder, in_round, formats[in_round], source.fingerprint),
                source,
                number,
                formats[in_round],
            )
        except Exception as error:
            song = f"song {number} of the stream with seed {source.options.seed}, {source.language(number)}"
            errors.put(f"{song}, cannot be made: {type(error).__name__}: {error}")
            raise


def _keep_song(folder: Path, source: SongSource, number: int, sound: SoundFormat) -> None:
    record, stems_path = folder / f"{number}.jsonl", folder / f"{number}.npy"
    if record.exists():
        return
    song, rendition = source.make(number)
    with atomic_path(stems_path) as temporary:
        np.save(temporary, stems_of(rendition, sound))
    write_manifest(record, [replace(song, audio=stems_path)])


def stems_of(rendition: Rendition, sound: SoundFormat) -> NDArray[np.int16]:
    """Vocals and accompaniment as `training.data.stem_chunks` maps them."""
    stems = [
        Audio(torch.from_numpy(samples), backing.SAMPLE_RATE_HZ)
        .to_channels(sound.channels)
        .resampled(sound.sample_rate_hz)
        .samples.numpy()
        for samples in (rendition.vocals, rendition.accompaniment)
    ]
    return to_int16(np.stack(stems))


def _round_folder(folder: Path, number: int, sound: SoundFormat, fingerprint: str) -> Path:
    return folder / f"round-{number:05d}-{sound.sample_rate_hz}x{sound.channels}-{fingerprint[:8]}"
