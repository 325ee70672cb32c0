"""Synthetic songs that are made during training, in rounds, as Lhotse cuts.

Conventions
- The stream is an endless corpus: song n depends on the seed and n alone, and its language is drawn first. Round k is
  the songs from k * songs_per_round on. It is a folder with a folder per song, as in a stored corpus (see
  `synthesis.corpus`), and these files:

    N.jsonl          manifest of song N, written once the song is complete
    manifest.jsonl   of all its songs
    cuts.jsonl.gz    see `prepare_manifest`, written last: the round is complete

- Songs are made by processes of low priority, at most one round ahead. Older rounds are deleted.
- A resumed run makes the rounds that are missing; they are the same.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lyrics_asr.corpora.manifest import Song, read_manifest, write_manifest
from lyrics_asr.files import write_text
from lyrics_asr.synthesis.corpus import draw_job, make_song
from lyrics_asr.synthesis.lyrics import load_lyrics, words_of
from lyrics_asr.synthesis.options import SyntheticOptions
from lyrics_asr.synthesis.singers import draw_voice
from lyrics_asr.synthesis.tts import speak
from lyrics_asr.training.data.options import ChunkOptions, StreamOptions
from lyrics_asr.training.data.prepare_manifest import CUTS_FILE, cut_songs

_NICENESS = 10
_POLL_SECONDS = 0.2
_WORDS_AT_ONCE = 8
_FASTEST_WORDS_PER_MINUTE = 450


class StreamError(ValueError):
    """A song cannot be made; the message names it."""


class SongStream:
    """The rounds of a run.

    Args:
        folder: of the rounds.
        options: of the songs.
        rounds: how many the run needs.
    """

    def __init__(self, folder: Path, options: StreamOptions, rounds: int) -> None:
        self._source = SongSource(options)
        self._folder = folder
        self._rounds = rounds
        self._context = multiprocessing.get_context("spawn")
        self._next_song = self._context.Value("q", 0)
        self._end_song = self._context.Value("q", 0)  # songs from here on must wait
        self._errors = self._context.SimpleQueue()
        self._makers: list[Any] = []

    def folder(self, number: int) -> Path:
        """Where a round is; its name depends on options and lyrics."""
        return _round_folder(self._folder, number, self._source.fingerprint)

    def cuts(self, number: int) -> Path:
        """The cuts of a round, which exist after `wait_for`."""
        return self.folder(number) / CUTS_FILE

    def wait_for(self, number: int) -> None:
        """Wait until a round is complete, delete older ones and let the next one be made.

        Rounds are asked for in order.

        Raises:
            StreamError: a song cannot be made, or a process that makes songs has died.
            ValueError: none of the round's songs can be cut.
        """
        self._drop_all_but(number)
        count = self._source.options.songs_per_round
        self._end_song.value = min(number + 2, self._rounds) * count
        if not self._makers:
            self._next_song.value = number * count
            self._start()
        if self.cuts(number).exists():
            return
        records = [self.folder(number) / f"{song}.jsonl" for song in range(number * count, (number + 1) * count)]
        while not all(record.exists() for record in records):
            self._check()
            time.sleep(_POLL_SECONDS)
        manifest = self.folder(number) / "manifest.jsonl"
        write_manifest(manifest, [read_manifest(record)[0] for record in records])
        report = cut_songs(manifest, self.folder(number), ChunkOptions(self._source.options.chunk_seconds))
        if not report.chunks:
            raise ValueError(f"{manifest}: no chunk with words in it; raise stream.chunk_seconds")

    def close(self) -> None:
        """End the processes; songs that are not complete are lost."""
        for maker in self._makers:
            maker.terminate()
        for maker in self._makers:
            maker.join()
        self._makers.clear()

    def _start(self) -> None:
        given = (self._folder, self._source, self._next_song, self._end_song, self._errors)
        for _ in range(self._source.options.processes):
            # daemon: ends with this process; `_make_songs` checks whether this process was killed
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
                raise StreamError(f"{cause}; start the run again to resume from its last checkpoint")

    def _drop_all_but(self, number: int) -> None:
        kept = {self.folder(each) for each in range(number, min(number + 2, self._rounds))}
        for folder in self._folder.glob("round-*"):
            if folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)


class SongSource:
    """Makes the songs of a stream by their numbers.

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
        """A SHA-256 of everything that the cuts depend on."""
        made_from = {key: value for key, value in asdict(self.options).items() if key != "processes"}
        return hashlib.sha256(json.dumps([made_from, self._lyrics], sort_keys=True).encode()).hexdigest()

    def language(self, number: int) -> str:
        """The language of a song, drawn by the languages' weights."""
        languages = sorted(self.options.languages)
        weights = np.array([self.options.languages[language] for language in languages])
        rng = np.random.default_rng([self.options.seed, number])
        return str(rng.choice(languages, p=weights / weights.sum()))

    def make(self, number: int, folder: Path) -> Song:
        """Make a song in a folder of its own in `folder`; one that is complete there is kept.

        Raises:
            OutputError: a file cannot be written.
        """
        language = self.language(number)
        options = SyntheticOptions(
            language=language,
            seed=self.options.seed,
            lines=self.options.lines,
            word_salad_share=self.options.word_salad_share,
            generated_share=self.options.generated_share,
            a_cappella_share=self.options.a_cappella_share,
        )
        return make_song(folder, draw_job(self._lyrics[language], options, number))

    def phone_names(self) -> tuple[str, ...]:
        """The phones of all distinct words of the lyrics, sorted; takes about ten seconds per language.

        The words of a language are spoken a few at a time, each group by another voice. Songs may still contain phones
        that none of these voices uses, see `labels.Labeller`.
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
    """`SongSource.phone_names`, cached in a file of `folder`.

    Raises:
        FileNotFoundError: no lyrics of a language.
    """
    source = SongSource(options)
    path = folder / f"phones-{source.fingerprint[:8]}.json"
    if not path.exists():
        write_text(path, json.dumps(source.phone_names()))
    return tuple(json.loads(path.read_text("utf-8")))


def _make_songs(folder: Path, source: SongSource, next_song: Any, end_song: Any, errors: Any) -> None:
    """Loop of a process that makes songs: take the next song, if it may be made yet."""
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
        in_round = _round_folder(folder, number // source.options.songs_per_round, source.fingerprint)
        record = in_round / f"{number}.jsonl"
        try:
            if not record.exists():
                write_manifest(record, [source.make(number, in_round)])
        except Exception as error:
            song = f"song {number} of the stream with seed {source.options.seed}, {source.language(number)}"
            errors.put(f"{song}, cannot be made: {type(error).__name__}: {error}")
            raise


def _round_folder(folder: Path, number: int, fingerprint: str) -> Path:
    return folder / f"round-{number:05d}-{fingerprint[:8]}"
