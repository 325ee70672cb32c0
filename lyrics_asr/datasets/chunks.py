"""Training chunks: stretches of songs that cut no word in two, with their stems and labels.

Conventions
- A chunk's words are those that lie in it whole; its edges are moved so that no other word is heard.
- Stems are kept as int16 arrays `[stems, channels, samples]` (vocals, accompaniment), memory-mapped: a chunk reads its
window only.
- The batch of a step depends on seed and step alone, so that a resumed run sees what the uninterrupted one would have.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from lyrics_asr.audio import read_audio
from lyrics_asr.datasets.manifest import Song, Sound
from lyrics_asr.datasets.spelling import Affinity, learn_affinity, letter_spans
from lyrics_asr.files import atomic_path
from lyrics_asr.text import WILDCARD, spell
from lyrics_asr.types import TimedWord, Vocabulary

_INT16_SCALE = 32768.0
_VOWELS = frozenset("aeiouy")
_VOWEL_WEIGHT = 3.0
_BORDER_SECONDS = 0.04
_ANYWHERE_SHARE = 0.2
_LEAD_SECONDS = 0.5
_MOST_DRAWS = 1000


@dataclass(frozen=True)
class Chunk:
    """A stretch of a song and the words in it, by their numbers in the song."""

    start_seconds: float
    end_seconds: float
    words: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Chunks of equal length, padded with silence at the end; labels are concatenated.

    Args:
        vocals: the voice.
        accompaniment: the rest; mixture = vocals + accompaniment.
        lengths: valid samples of each row.
        labels: token ids of all rows, one after the other.
        label_spans: where each of them is thought to be sung: start and end in seconds from the start of its row.
        label_lengths: how many labels belong to each row.
        sounds: numbers of the speech sounds of all rows, 1 for the first of `sound_names`.
        sound_spans: when each of them is sung, like `label_spans`.
        sound_lengths: how many sounds belong to each row.
    """

    vocals: Float[Tensor, "batch channels samples"]
    accompaniment: Float[Tensor, "batch channels samples"]
    lengths: Int[Tensor, "batch"]
    labels: Int[Tensor, "labels"]
    label_spans: Float[Tensor, "labels 2"]
    label_lengths: Int[Tensor, "batch"]
    sounds: Int[Tensor, "sounds"]
    sound_spans: Float[Tensor, "sounds 2"]
    sound_lengths: Int[Tensor, "batch"]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return Batch(*(tensor.to(device) for tensor in vars(self).values()))


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


@dataclass(frozen=True)
class Label:
    """A token of the vocabulary or the number of a speech sound, and where it is thought to be sung."""

    token_id: int
    start_seconds: float
    end_seconds: float


def letters_of(
    word: TimedWord, sounds: Sequence[Sound], affinity: Affinity, vocabulary: Vocabulary, language: str
) -> list[Label]:
    """The tokens of a word and when each is sung; characters that the vocabulary lacks are left out.

    The letters of a word whose sounds are known are sung with their sounds. Those of another share its time, vowels
    three times as much as consonants, for it is vowels that are held.
    """
    spelled = [i for i in spell(word.text, vocabulary, language) if i != WILDCARD]
    letters = _letters(spelled, vocabulary)
    if sounds and letters:
        spans = letter_spans(letters, sounds, affinity)
    else:
        weights = [_VOWEL_WEIGHT if letter in _VOWELS else 1.0 for letter in letters]
        shares = np.cumsum([0.0, *weights]) / max(1.0, sum(weights))
        spans = list(pairwise((word.start_seconds + shares * (word.end_seconds - word.start_seconds)).tolist()))
    return [Label(i, *span) for i, span in zip(spelled, spans, strict=True)]


def with_borders(words: Sequence[Sequence[Label]], vocabulary: Vocabulary) -> list[Label]:
    """The labels of consecutive words, with the word border between them.

    A border is the last moment before a word begins, taken from the letter before it where there is no pause, but never
    more than half of that.
    """
    labels: list[Label] = []
    for word in words:
        if word and labels and vocabulary.word_delimiter_id is not None:
            last, end = labels[-1], word[0].start_seconds
            start = max(end - _BORDER_SECONDS, (last.start_seconds + last.end_seconds) / 2)
            labels[-1] = replace(last, end_seconds=min(last.end_seconds, start))
            labels.append(Label(vocabulary.word_delimiter_id, start, max(start, end)))
        labels += word
    return labels


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
        remix_share: share of the chunks that hear another song's accompaniment, at a level of -6 to +6 dB.
        seed: of the draws.
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
        remix_share: float,
        seed: tuple[int, ...],
    ) -> None:
        self._songs = songs
        self._stems = [np.load(path, mmap_mode="r") for path in stems]
        self._accompanied = [i for i, stem in enumerate(self._stems) if stem[1, :, ::997].any()]  # a look, not a scan
        self._vocabulary = vocabulary
        self._affinity = _affinity_in(songs, vocabulary)
        names = sound_names(songs)
        self._sound_numbers = dict(zip(names, range(1, len(names) + 1), strict=True))
        self._sample_rate_hz = sample_rate_hz
        self._steps = steps
        self._batch_size = batch_size
        self._chunk_samples = round(chunk_seconds * sample_rate_hz)
        self._remix_share = remix_share
        self._seed = seed

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        if step >= self._steps:
            raise IndexError(step)
        rng = np.random.default_rng([*self._seed, step])
        rows = [self._draw(rng) for _ in range(self._batch_size)]
        voices, accompaniments, lengths, labels, sounds = zip(*rows, strict=True)
        return Batch(
            torch.stack(voices),
            torch.stack(accompaniments),
            torch.tensor(lengths),
            *_concatenated(labels),
            *_concatenated(sounds),
        )

    def _draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, int, list[Label], list[Label]]:
        for _ in range(_MOST_DRAWS):
            index = int(rng.integers(len(self._songs)))
            stems = self._stems[index]
            seconds = self._chunk_samples / self._sample_rate_hz
            latest = max(0.0, stems.shape[2] / self._sample_rate_hz - seconds)
            words = self._songs[index].words
            if words and rng.random() >= _ANYWHERE_SHARE:  # begin at a word: songs are silent for much of their time
                start = words[int(rng.integers(len(words)))].start_seconds - float(rng.uniform(0, _LEAD_SECONDS))
                start = min(max(0.0, start), latest)
            else:
                start = float(rng.uniform(0, latest))
            chunk = cut_chunk(words, start, start + seconds)
            labels = self._labels(self._songs[index], chunk)
            if labels:
                break
        else:
            raise ValueError(
                f"{_MOST_DRAWS} chunks of {self._chunk_samples / self._sample_rate_hz} s held no whole word: "
                "chunk_seconds is too short for these songs, or they have no words"
            )
        first = round(chunk.start_seconds * self._sample_rate_hz)
        length = min(round((chunk.end_seconds - chunk.start_seconds) * self._sample_rate_hz), self._chunk_samples)
        vocals = self._window(stems[0], first, length)
        accompaniment = self._window(stems[1], first, length)
        if self._accompanied and (rng.random() < self._remix_share or index not in self._accompanied):
            other = self._stems[self._accompanied[int(rng.integers(len(self._accompanied)))]][1]
            accompaniment = self._window(other, int(rng.integers(max(1, other.shape[1] - length))), length)
            level = 10 ** (rng.uniform(-6, 6) / 20)
            accompaniment *= (
                level * vocals.square().mean().sqrt() / accompaniment.square().mean().sqrt().clamp(min=1e-4)
            )
        gain = 10 ** (rng.uniform(-6, 3) / 20)
        sounds = self._sounds(self._songs[index], chunk)
        return vocals * gain, accompaniment * gain, max(length, 1), labels, sounds

    def _labels(self, song: Song, chunk: Chunk) -> list[Label]:
        """The labels of a chunk, with times from its start."""
        words = [
            letters_of(
                song.words[i], song.sounds[i] if song.sounds else (), self._affinity, self._vocabulary, song.language
            )
            for i in chunk.words
        ]
        return _from(chunk.start_seconds, with_borders(words, self._vocabulary))

    def _sounds(self, song: Song, chunk: Chunk) -> list[Label]:
        """The sounds of a chunk, with times from its start; none where the song's are unknown."""
        sounds = [sound for i in chunk.words for sound in (song.sounds[i] if song.sounds else ())]
        return _from(
            chunk.start_seconds,
            [Label(self._sound_numbers[sound.name], sound.start_seconds, sound.end_seconds) for sound in sounds],
        )

    def _window(self, stem: NDArray[np.int16], first: int, length: int) -> Float[Tensor, "channels samples"]:
        window = np.zeros((stem.shape[0], self._chunk_samples), dtype=np.float32)
        piece = stem[:, first : first + length]
        window[:, : piece.shape[1]] = piece / _INT16_SCALE
        return torch.from_numpy(window)


def sound_names(songs: Sequence[Song]) -> tuple[str, ...]:
    """The different speech sounds of the songs; a batch knows the first by number 1."""
    return tuple(sorted({sound.name for song in songs for word in song.sounds for sound in word}))


def _from(start_seconds: float, labels: Sequence[Label]) -> list[Label]:
    return [
        Label(each.token_id, each.start_seconds - start_seconds, each.end_seconds - start_seconds) for each in labels
    ]


def _concatenated(rows: Sequence[Sequence[Label]]) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers, spans and how many there are in each row."""
    labels = [label for row in rows for label in row]
    spans = torch.tensor([[label.start_seconds, label.end_seconds] for label in labels]).reshape(-1, 2)
    return torch.tensor([label.token_id for label in labels], dtype=torch.int64), spans, torch.tensor([*map(len, rows)])


def _letters(columns: Sequence[int], vocabulary: Vocabulary) -> str:
    return "".join(vocabulary.tokens[i].lower() for i in columns)


def _affinity_in(songs: Sequence[Song], vocabulary: Vocabulary) -> Affinity:
    """What the different words of the songs whose sounds are known say of letters and sounds."""
    spoken = {
        (word.text, song.language, tuple(sound.name for sound in sounds))
        for song in songs
        if song.sounds
        for word, sounds in zip(song.words, song.sounds, strict=True)
    }
    pairs = {
        (_letters([i for i in spell(text, vocabulary, language) if i != WILDCARD], vocabulary), sounds)
        for text, language, sounds in spoken
    }
    return learn_affinity(sorted((letters, sounds) for letters, sounds in pairs if letters and sounds))


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
            np.save(temporary, (np.stack(stems) * _INT16_SCALE).clip(-32768, 32767).astype(np.int16))
    return path
