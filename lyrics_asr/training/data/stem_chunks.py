"""Training chunks: stretches of songs that cut no word in two, with their stems and labels.

Conventions
- A chunk's words are those that lie in it whole; its edges are moved so that no other word is heard. A pause is a chunk
  without words.
- Stems are kept as int16 arrays `[stems, channels, samples]` (vocals, accompaniment), memory-mapped: a chunk reads its
window only.
- The batch of a step depends on seed and step alone, so that a resumed run sees what the uninterrupted one would have.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from lyrics_asr.audio import read_audio
from lyrics_asr.corpora.manifest import Song
from lyrics_asr.files import atomic_path
from lyrics_asr.training.config import MixOptions
from lyrics_asr.training.data.batch import Batch, concatenated
from lyrics_asr.training.data.labels import Label, Labeller, phone_names
from lyrics_asr.types import TimedWord, Vocabulary

INT16_SCALE = 32768.0
_ANYWHERE_SHARE = 0.2
_LEAD_SECONDS = 0.5
_SHORTEST_PAUSE_SECONDS = 1.0
_MOST_DRAWS = 1000


@dataclass(frozen=True)
class Chunk:
    """A stretch of a song and the words in it, by their numbers in the song."""

    start_seconds: float
    end_seconds: float
    words: tuple[int, ...]


def cut_chunk(words: Sequence[TimedWord], start_seconds: float, end_seconds: float) -> Chunk:
    """The stretch from `start_seconds` to `end_seconds`, made shorter where an edge would cut a word."""
    for word in words:
        if word.start_seconds < start_seconds < word.end_seconds:
            start_seconds = word.end_seconds
        if word.start_seconds < end_seconds < word.end_seconds:
            end_seconds = word.start_seconds
    inside = tuple(
        i for i, word in enumerate(words) if word.start_seconds >= start_seconds and word.end_seconds <= end_seconds
    )
    return Chunk(start_seconds, max(start_seconds, end_seconds), inside)


def draw_pause(
    words: Sequence[TimedWord], song_seconds: float, longest_seconds: float, rng: np.random.Generator
) -> Chunk | None:
    """A stretch of at least a second between two words, or before or behind them all; None where there is none."""
    starts = np.array([word.start_seconds for word in words] + [song_seconds])
    ends = np.maximum.accumulate([0.0] + [word.end_seconds for word in words])
    pauses = np.flatnonzero(starts - ends >= _SHORTEST_PAUSE_SECONDS)
    if not len(pauses):
        return None
    pause = int(rng.choice(pauses))
    pause_seconds = float(starts[pause] - ends[pause])
    length = min(longest_seconds, pause_seconds)
    start = float(ends[pause] + rng.uniform(0, pause_seconds - length))
    return Chunk(start, start + length, ())


def _draw_sung(
    words: Sequence[TimedWord], song_seconds: float, longest_seconds: float, rng: np.random.Generator
) -> Chunk:
    latest = max(0.0, song_seconds - longest_seconds)
    if words and rng.random() >= _ANYWHERE_SHARE:  # begin at a word: songs are silent for much of their time
        start = words[int(rng.integers(len(words)))].start_seconds - float(rng.uniform(0, _LEAD_SECONDS))
        start = min(max(0.0, start), latest)
    else:
        start = float(rng.uniform(0, latest))
    return cut_chunk(words, start, start + longest_seconds)


def prepare_stems(songs: Sequence[Song], sample_rate_hz: int, channels: int, processes: int) -> list[Path]:
    """Decode and resample the stems of every song once, into a file beside its audio; files that exist are kept.

    Raises:
        ValueError: a song without stems.
    """
    task = partial(_prepare_song, sample_rate_hz=sample_rate_hz, channels=channels)
    # spawn: a forked child of a process whose OpenMP threads are running hangs at its first parallel region.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return list(pool.map(task, songs, chunksize=8))


class ChunkBatches(Dataset[Batch]):
    """The batches of a training stage, numbered by step.

    Args:
        songs: songs with stems, as many as `stems`.
        stems: files that `prepare_stems` made at `sample_rate_hz`.
        vocabulary: what labels are spelled with.
        steps: how many batches there are.
        batch_size: chunks in a batch.
        chunk_seconds: length of every row; chunks are at most this long.
        mix: how their stems are put together.
        seed: of the draws.
        phones: names of the phones, for `labels.Labeller`; None for those of the songs.
    """

    def __init__(
        self,
        songs: Sequence[Song],
        stems: Sequence[Path],
        vocabulary: Vocabulary,
        *,
        sample_rate_hz: int,
        steps: int,
        batch_size: int,
        chunk_seconds: float,
        mix: MixOptions,
        seed: tuple[int, ...],
        phones: Sequence[str] | None = None,
    ) -> None:
        self._songs = songs
        self._stems = [np.load(path, mmap_mode="r") for path in stems]
        self._accompanied = accompanied(self._stems)
        self._labeller = Labeller(songs, vocabulary, phone_names(songs) if phones is None else phones)
        self._sample_rate_hz = sample_rate_hz
        self._steps = steps
        self._batch_size = batch_size
        self._chunk_samples = round(chunk_seconds * sample_rate_hz)
        self._mix = mix
        self._seed = seed

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        if step >= self._steps:
            raise IndexError(step)
        rng = np.random.default_rng([*self._seed, step])
        rows = [self._draw(rng) for _ in range(self._batch_size)]
        chunk_ids, voices, accompaniments, lengths, labels, phones = zip(*rows, strict=True)
        return Batch(
            chunk_ids,
            torch.stack(voices),
            torch.stack(accompaniments),
            None,
            torch.tensor(lengths),
            *concatenated(labels),
            *concatenated(phones),
        )

    def _draw(self, rng: np.random.Generator) -> tuple[str, Tensor, Tensor, int, list[Label], list[Label]]:
        seconds, mix = self._chunk_samples / self._sample_rate_hz, self._mix
        is_pause = bool(mix.silence_prob and rng.random() < mix.silence_prob)
        for _ in range(_MOST_DRAWS):
            index = int(rng.integers(len(self._songs)))
            song, stems = self._songs[index], self._stems[index]
            song_seconds = stems.shape[2] / self._sample_rate_hz
            chunk = (draw_pause if is_pause else _draw_sung)(song.words, song_seconds, seconds, rng)
            labels = self._labeller.letters(song, chunk.words, chunk.start_seconds) if chunk else []
            if chunk and is_pause != bool(labels):
                break
        else:
            wanted = f"pause of {_SHORTEST_PAUSE_SECONDS} s" if is_pause else "whole word"
            raise ValueError(
                f"{_MOST_DRAWS} chunks of {seconds} s held no {wanted}: chunk_seconds is too short for these songs, or "
                f"they have no {wanted}"
            )
        first = round(chunk.start_seconds * self._sample_rate_hz)
        length = min(round((chunk.end_seconds - chunk.start_seconds) * self._sample_rate_hz), self._chunk_samples)
        vocals = self._window(stems[0], first, length)
        accompaniment = self._window(stems[1], first, length)
        remixes = bool(self._accompanied) and not is_pause  # which has no voice to set a level by
        if remixes and (rng.random() < mix.remix_prob or index not in self._accompanied):
            other = self._stems[self._accompanied[int(rng.integers(len(self._accompanied)))]][1]
            accompaniment = self._window(other, int(rng.integers(max(1, other.shape[1] - length))), length)
            accompaniment = at_some_level(accompaniment, vocals, rng, mix.lowest_level_db, mix.highest_level_db)
        gain = 10 ** (rng.uniform(-6, 3) / 20)
        phones = self._labeller.phones(song, chunk.words, chunk.start_seconds)
        chunk_id = f"{song.id}, {chunk.start_seconds:.2f} s"
        return chunk_id, vocals * gain, accompaniment * gain, max(length, 1), labels, phones

    def _window(self, stem: NDArray[np.int16], first: int, length: int) -> Float[Tensor, "channels samples"]:
        window = np.zeros((stem.shape[0], self._chunk_samples), dtype=np.float32)
        piece = stem[:, first : first + length]
        window[:, : piece.shape[1]] = piece / INT16_SCALE
        return torch.from_numpy(window)


def accompanied(stems: Sequence[NDArray[np.int16]]) -> list[int]:
    """Which of the songs have an accompaniment that is not silent, by a look rather than a scan."""
    return [i for i, stem in enumerate(stems) if stem[1, :, ::997].any()]


def to_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples as stems are kept; what is beyond full scale is cut off."""
    return (samples * INT16_SCALE).clip(-32768, 32767).astype(np.int16)


def at_some_level(
    accompaniment: Float[Tensor, "channels samples"],
    vocals: Float[Tensor, "channels samples"],
    rng: np.random.Generator,
    lowest_db: float = -6.0,
    highest_db: float = 6.0,
) -> Float[Tensor, "channels samples"]:
    """The accompaniment made so much louder than the vocals (below 0 softer), drawn evenly, as songs are mixed."""
    level: float = 10 ** (rng.uniform(lowest_db, highest_db) / 20)
    return accompaniment * (
        level * vocals.square().mean().sqrt() / accompaniment.square().mean().sqrt().clamp(min=1e-4)
    )


def _prepare_song(song: Song, sample_rate_hz: int, channels: int) -> Path:
    if song.vocals is None or song.accompaniment is None:
        raise ValueError(
            f"{song.audio}: the manifest names no stems (vocals, accompaniment); training from nothing needs them"
        )
    sources = (song.vocals, song.accompaniment)
    path = song.audio.with_name(f"{song.audio.name}.stems_{sample_rate_hz}_{channels}.npy")
    if not path.exists() or path.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        stems = [
            read_audio(stem, sample_rate_hz=sample_rate_hz, channels=1 if channels == 1 else 2).samples.numpy()
            for stem in sources
        ]
        with atomic_path(path) as temporary:
            np.save(temporary, to_int16(np.stack(stems)))
    return path
