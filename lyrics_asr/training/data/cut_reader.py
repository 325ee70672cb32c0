"""A Lhotse cut as a row of a batch: its window of sound, at some speed and level, and the labels of its words.

Conventions
- A cut is read in one of three ways: as stems, where it has the custom recordings "vocals" and "accompaniment"; as the
  vocals that a separator made of it, where its custom field "separator" says so (see `vocals_cache`); else as a song.
- Stems and songs come at the separator's rate and with its channels, separated vocals mono at the acoustic model's.
- What is drawn for a cut depends on seed, epoch and the cut's id alone.
- A cut of speed s is 1/s as long, and so are the times of its words.
- Sound is in files or in memory. Lhotse would run a command, or fetch a URL, that a cut names; such cuts are refused.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from lhotse.audio import AudioLoadingError, DurationMismatchError, Recording
from torch import Tensor

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ, Audio, AudioError
from lyrics_asr.training.config import AugmentationOptions
from lyrics_asr.training.data.batch import SoundFormat
from lyrics_asr.training.data.labels import Label, letters_of, with_word_delimiters
from lyrics_asr.training.data.stem_chunks import at_some_level
from lyrics_asr.types import TimedWord, Vocabulary

UNREADABLE = (AudioError, OSError, AudioLoadingError, DurationMismatchError)
"""What `read_row` raises where the fault is in a cut's audio."""

STEMS = ("vocals", "accompaniment")
SEPARATOR = "separator"
"""Custom field of a cut of separated vocals: the fingerprint of the separator that made them."""

_LANGUAGE = "en"


@dataclass(frozen=True, eq=False)
class Row:
    """A cut in memory; see `batch.Batch` for the signals.

    Args:
        id: of the cut.
        song_id: of its recording.
        vocals: the voice.
        accompaniment: the rest.
        unseparated: the song, where its stems are not known.
        labels: with times from the row's start.
        rng: of what is still to be drawn for the cut.
    """

    id: str
    song_id: str
    vocals: Float[Tensor, "channels samples"] | None
    accompaniment: Float[Tensor, "channels samples"] | None
    unseparated: Float[Tensor, "channels samples"] | None
    labels: list[Label]
    rng: np.random.Generator

    @property
    def mixture(self) -> Float[Tensor, "channels samples"] | None:
        """The song; None of separated vocals."""
        if self.vocals is None or self.accompaniment is None:
            return self.unseparated
        return self.vocals + self.accompaniment

    @property
    def samples(self) -> int:
        """How long it is."""
        return next(each.shape[1] for each in (self.vocals, self.unseparated) if each is not None)


def read_row(
    cut: Any,
    *,
    sound: SoundFormat,
    vocabulary: Vocabulary,
    augmentation: AugmentationOptions,
    seed: int,
    epoch: int,
) -> Row:
    """Read a cut, at some speed and with some gain.

    Args:
        cut: `lhotse.cut.MonoCut` or `MultiCut`.
        sound: how stems and songs are to come.
        vocabulary: what labels are spelled with.
        augmentation: what is drawn.
        seed: of the draws.
        epoch: of the draws.

    Raises:
        AudioError, OSError, AudioLoadingError, DurationMismatchError: the audio cannot be read.
        ValueError: a cut with neither words nor their times, or a recording that is not a file.
    """
    rng = np.random.default_rng([seed, epoch, int(hashlib.sha256(cut.id.encode()).hexdigest()[:16], 16)])
    speed = float(rng.choice(augmentation.speeds))
    gain = float(10 ** (rng.uniform(-augmentation.gain_db, augmentation.gain_db) / 20))
    custom = cut.custom or {}
    vocals = accompaniment = unseparated = None
    if SEPARATOR in custom:
        vocals = gain * _read(cut, None, speed, SoundFormat(ACOUSTIC_SAMPLE_RATE_HZ, 1))
    elif all(isinstance(custom.get(name), Recording) for name in STEMS):
        vocals, accompaniment = (gain * _read(cut, name, speed, sound) for name in STEMS)
        samples = min(vocals.shape[1], accompaniment.shape[1])
        vocals, accompaniment = vocals[:, :samples], accompaniment[:, :samples]
    else:
        unseparated = gain * _read(cut, None, speed, sound)
    labels = labels_of(cut, vocabulary, speed)
    return Row(cut.id, cut.recording_id, vocals, accompaniment, unseparated, labels, rng)


def labels_of(cut: Any, vocabulary: Vocabulary, speed: float = 1.0) -> list[Label]:
    """The letters of a cut's words; where the times of words are not known they share that of their supervision."""
    spelled = [
        letters_of(word, (), {}, vocabulary, supervision.language or _LANGUAGE)
        for supervision in sorted(cut.supervisions, key=lambda supervision: supervision.start)
        for word in _words(supervision, speed)
    ]
    return with_word_delimiters(spelled, vocabulary)


def remix(rows: Sequence[Row], share: float) -> list[Row]:
    """Let some voices be heard over the accompaniment of another song among the rows.

    A shorter accompaniment is repeated.

    Args:
        rows: of a batch.
        share: of the rows that are remixed, where there is another song with an accompaniment.
    """
    return [_remixed(row, rows) if row.rng.random() < share else row for row in rows]


def _remixed(row: Row, rows: Sequence[Row]) -> Row:
    others = [
        other.accompaniment
        for other in rows
        if other.song_id != row.song_id and other.accompaniment is not None and other.accompaniment.any()
    ]
    if row.vocals is None or not others:
        return row
    other, samples = others[int(row.rng.integers(len(others)))], row.vocals.shape[1]
    repeated = other.repeat(1, -(-samples // other.shape[1]))[:, :samples]
    return replace(row, accompaniment=at_some_level(repeated, row.vocals, row.rng))


def _read(cut: Any, stem: str | None, speed: float, sound: SoundFormat) -> Float[Tensor, "channels samples"]:
    """The cut's window of its recording, or of a stem.

    Sound that is said to have `speed` times its rate is played that much faster: one resampling does both.
    """
    recording = getattr(cut, "recording", None) if stem is None else cut.custom[stem]
    if recording is None:
        raise ValueError(
            f"cut {cut.id!r} is not a window of one recording; save it with `CutSet.to_shar`, or leave it out"
        )
    for source in recording.sources:
        if source.type not in ("file", "memory"):
            raise ValueError(
                f"cut {cut.id!r}: its sound is a {source.type} ({source.source!r}), which is not run or fetched; "
                "write the cuts as Lhotse Shar, or save the sound as files"
            )
    channels = cut.channel if stem is None else None
    samples = recording.load_audio(channels=channels, offset=cut.start, duration=cut.duration)
    audio = Audio(torch.from_numpy(np.atleast_2d(samples)), round(recording.sampling_rate * speed))
    return audio.to_channels(sound.channels).resampled(sound.sample_rate_hz).samples


def _words(supervision: Any, speed: float) -> list[TimedWord]:
    """The words of a supervision as they are heard."""
    times = [(item.symbol, item.start, item.end) for item in (supervision.alignment or {}).get("word", ())]
    if not times:
        texts = (supervision.text or "").split()
        seconds = supervision.duration / max(1, len(texts))
        times = [
            (text, supervision.start + number * seconds, supervision.start + (number + 1) * seconds)
            for number, text in enumerate(texts)
        ]
    return [TimedWord(text, max(0.0, start) / speed, max(0.0, start, end) / speed, 1.0) for text, start, end in times]
