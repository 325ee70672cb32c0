"""A Lhotse cut as a row of a batch: its audio at some speed and gain, and the labels of its words and phones.

Conventions
- There are three kinds of cuts: with stems, the custom recordings "vocals" and "accompaniment"; of separated vocals,
  whose custom field "separator" names the separator (see `vocals_cache`); and of mixtures.
- Stems and mixtures come at the separator's rate and with its channels, separated vocals in mono at the acoustic
  model's rate.
- The custom field "f0" is the path of the song's F0, see `corpora.manifest.Song`.
- A supervision without a text is singing whose words are unknown; a cut without supervisions is a pause.
- Augmentation is drawn from seed, epoch and the cut's id alone.
- A cut at speed s is 1/s as long, and so are the times of its words and phones.
- Audio is in files or in memory. Lhotse would also run a command or fetch a URL that a cut names; these are refused.
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
from lyrics_asr.corpora.manifest import TimedPhone
from lyrics_asr.melody.pitch import FRAME_SECONDS
from lyrics_asr.training.data.batch import SoundFormat
from lyrics_asr.training.data.labels import Label, Labeller, with_word_delimiters
from lyrics_asr.training.data.options import AugmentationOptions
from lyrics_asr.types import TimedWord

UNREADABLE = (AudioError, OSError, AudioLoadingError, DurationMismatchError)
"""What `read_row` raises where the fault is in a cut's audio."""

STEMS = ("vocals", "accompaniment")
F0 = "f0"
SEPARATOR = "separator"
"""Custom field of a cut of separated vocals: name and fingerprint of the separator."""

_LANGUAGE = "en"


@dataclass(frozen=True, eq=False)
class Row:
    """A cut in memory; `batch.Batch` describes the signals.

    Args:
        id: of the cut.
        song_id: of its recording.
        vocals: the vocals' stem, or separated vocals.
        accompaniment: the rest of the mixture.
        unseparated: the mixture, where the stems are not known.
        labels: letters, with times from the row's start.
        phones: none where they are not known.
        rng: for what is still to be drawn for the cut.
        words_known: whether the labels are those of the row; else there are none.
        f0_hz: F0 of the lead vocals in each frame of `melody.pitch`, 0 where there is none; None if not known.
    """

    id: str
    song_id: str
    vocals: Float[Tensor, "channels samples"] | None
    accompaniment: Float[Tensor, "channels samples"] | None
    unseparated: Float[Tensor, "channels samples"] | None
    labels: list[Label]
    phones: list[Label]
    rng: np.random.Generator
    words_known: bool = True
    f0_hz: Float[Tensor, "frames"] | None = None

    @property
    def mixture(self) -> Float[Tensor, "channels samples"] | None:
        """The mixture; None of separated vocals."""
        if self.vocals is None or self.accompaniment is None:
            return self.unseparated
        return self.vocals + self.accompaniment

    @property
    def samples(self) -> int:
        """Length in samples."""
        return next(each.shape[1] for each in (self.vocals, self.unseparated) if each is not None)


def read_row(
    cut: Any,
    *,
    sound: SoundFormat,
    labeller: Labeller,
    augmentation: AugmentationOptions,
    seed: int,
    epoch: int,
) -> Row:
    """Read a cut, with speed and gain augmentation.

    Args:
        cut: `lhotse.cut.MonoCut` or `MultiCut`.
        sound: format of stems and mixtures.
        labeller: makes the labels.
        augmentation: what to draw.
        seed: of the draws.
        epoch: of the draws.

    Raises:
        AudioError, OSError, AudioLoadingError, DurationMismatchError: the audio cannot be read.
        ValueError: a recording that is neither a file nor in memory.
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
    labels, phones = labels_of(cut, labeller, speed)
    f0_hz = _read_f0(custom[F0], cut, speed) if F0 in custom else None
    return Row(
        cut.id, cut.recording_id, vocals, accompaniment, unseparated, labels, phones, rng, words_known(cut), f0_hz
    )


def has_words(cut: Any) -> bool:
    """Whether a Lhotse cut has words."""
    return any(supervision.text for supervision in cut.supervisions)


def words_known(cut: Any) -> bool:
    """Whether a Lhotse cut has words or is a pause."""
    return all(supervision.text is not None for supervision in cut.supervisions)


def is_pause(cut: Any) -> bool:
    """Whether nobody sings in a Lhotse cut."""
    return words_known(cut) and not has_words(cut)


def labels_of(cut: Any, labeller: Labeller, speed: float = 1.0) -> tuple[list[Label], list[Label]]:
    """The letters and the phones of a cut's words, with their times."""
    letters: list[list[Label]] = []
    phones: list[Label] = []
    for supervision in sorted(cut.supervisions, key=lambda supervision: supervision.start):
        words = timed_words(supervision, speed)
        own = phones_of_words(supervision, words, speed)
        letters += labeller.letter_labels(words, own, supervision.language or _LANGUAGE)
        phones += labeller.phone_labels([phone for word in own for phone in word])
    return with_word_delimiters(letters, labeller.vocabulary), phones


def timed_words(supervision: Any, speed: float = 1.0) -> list[TimedWord]:
    """The words of a Lhotse supervision; without word times they share the time of the supervision."""
    times = [(item.symbol, item.start, item.end) for item in (supervision.alignment or {}).get("word", ())]
    if not times:
        texts = (supervision.text or "").split()
        seconds = supervision.duration / max(1, len(texts))
        times = [
            (text, supervision.start + number * seconds, supervision.start + (number + 1) * seconds)
            for number, text in enumerate(texts)
        ]
    return [TimedWord(text, max(0.0, start) / speed, max(0.0, start, end) / speed, 1.0) for text, start, end in times]


def phones_of_words(supervision: Any, words: Sequence[TimedWord], speed: float = 1.0) -> list[list[TimedPhone]]:
    """The phones of each word: those whose middle is in the word; empty lists where the phones are not known."""
    own: list[list[TimedPhone]] = [[] for _ in words]
    for item in (supervision.alignment or {}).get("phone", ()):
        start, end = max(0.0, item.start) / speed, max(0.0, item.start, item.end) / speed
        middle = (start + end) / 2
        number = next((i for i, word in enumerate(words) if word.start_seconds <= middle <= word.end_seconds), None)
        if number is not None:
            own[number].append(TimedPhone(item.symbol, start, end))
    return own


def remix(rows: Sequence[Row], augmentation: AugmentationOptions) -> list[Row]:
    """Replace the accompaniment of some rows by that of another song of the batch.

    A row is remixed with probability `remix_prob`, and always if its accompaniment is silent, unless `remix_prob` is 0
    or no other song of the batch has an accompaniment. A shorter accompaniment is repeated. Rows without words stay as
    they are: they have no vocals to set a level by.
    """
    return [_remixed(row, rows, augmentation) for row in rows]


def with_vocals_gain(
    accompaniment: Float[Tensor, "channels samples"], vocals: Float[Tensor, "channels samples"], gain_db: float
) -> Float[Tensor, "channels samples"]:
    """The accompaniment scaled so that the RMS of the vocals is `gain_db` above its own."""
    ratio = vocals.square().mean().sqrt() / accompaniment.square().mean().sqrt().clamp(min=1e-4)
    return accompaniment * (float(10 ** (-gain_db / 20)) * ratio)


def _remixed(row: Row, rows: Sequence[Row], augmentation: AugmentationOptions) -> Row:
    drawn = row.rng.random() < augmentation.remix_prob
    if not augmentation.remix_prob or row.vocals is None or row.accompaniment is None or not row.labels:
        return row
    others = [
        other.accompaniment
        for other in rows
        if other.song_id != row.song_id and other.accompaniment is not None and other.accompaniment.any()
    ]
    if not others or not (drawn or not row.accompaniment.any()):
        return row
    other, samples = others[int(row.rng.integers(len(others)))], row.vocals.shape[1]
    repeated = other.repeat(1, -(-samples // other.shape[1]))[:, :samples]
    gain_db = float(row.rng.uniform(augmentation.min_vocals_gain_db, augmentation.max_vocals_gain_db))
    return replace(row, accompaniment=with_vocals_gain(repeated, row.vocals, gain_db))


def _read_f0(path: str, cut: Any, speed: float) -> Float[Tensor, "frames"]:
    """The F0 of the cut's window at some speed."""
    try:
        song = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise AudioError(f"{path}: not a NumPy array ({error}); write the F0 of the song again") from error
    if not isinstance(song, np.ndarray) or song.ndim != 1:
        raise AudioError(f"{path}: not one array of one dimension; write the F0 of the song again")
    count = round(cut.duration / speed / FRAME_SECONDS) + 1
    frames = np.rint(cut.start / FRAME_SECONDS + np.arange(count) * speed).astype(int)
    f0_hz = np.zeros(count, np.float32)
    inside = frames < len(song)
    f0_hz[inside] = song[frames[inside]] * np.float32(speed)
    return torch.from_numpy(f0_hz)


def _read(cut: Any, stem: str | None, speed: float, sound: SoundFormat) -> Float[Tensor, "channels samples"]:
    """The cut's window of its recording, or of a stem.

    Declaring the sample rate to be `speed` times what it is changes speed and rate in one resampling.
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
