"""Options of the training data: chunks, cuts, batches, augmentation, and songs that are made during training."""

import math
from dataclasses import dataclass, field

from lyrics_asr.options import check_range


@dataclass(frozen=True)
class ChunkOptions:
    """How songs are cut into training chunks.

    Args:
        chunk_seconds: maximum length of a chunk.
        pause_seconds: maximum pause between words in a chunk; longer pauses are skipped.
    """

    chunk_seconds: float = 10.0
    pause_seconds: float = 2.0

    def __post_init__(self) -> None:
        check_range("chunk_seconds", self.chunk_seconds, 2 <= self.chunk_seconds <= 28, "2 to 28")
        check_range("pause_seconds", self.pause_seconds, 0 <= self.pause_seconds < math.inf, "finite, at least 0")


@dataclass(frozen=True)
class AugmentationOptions:
    """How the audio of a cut is augmented each time it is read.

    Args:
        speeds: the playback speed is drawn from these, pitch included (Ko et al. 2015, "Audio Augmentation for Speech
            Recognition"); [1.0] for no change.
        gain_db: the gain is drawn from -gain_db to gain_db; 0 for no change.
        remix_prob: probability that the accompaniment of a cut with stems is replaced by that of another song of the
            batch. Cuts whose accompaniment is silent are always remixed, unless it is 0.
        min_vocals_gain_db: minimum level of the vocals relative to the accompaniment in a remix.
        max_vocals_gain_db: maximum level; the level is drawn uniformly.
        equalizer_prob: probability of a random equalizer, within 6 dB.
        reverberation_prob: probability of the reverberation of a synthetic room.
        noise_prob: probability of stationary noise, white to brown.
        min_noise_snr_db: lowest signal-to-noise ratio; the ratio is drawn uniformly.
        max_noise_snr_db: highest one.
        codec_prob: probability of a round trip through MP3 or Opus, at a random bit rate.
    """

    speeds: list[float] = field(default_factory=lambda: [0.95, 1.0, 1.05])
    gain_db: float = 6.0
    remix_prob: float = 0.5
    min_vocals_gain_db: float = -6.0
    max_vocals_gain_db: float = 6.0
    equalizer_prob: float = 0.0
    reverberation_prob: float = 0.0
    noise_prob: float = 0.0
    min_noise_snr_db: float = 5.0
    max_noise_snr_db: float = 30.0
    codec_prob: float = 0.0

    def __post_init__(self) -> None:
        if not self.speeds:
            raise ValueError("augmentation.speeds is empty; [1.0] keeps the speed unchanged")
        for speed in self.speeds:
            check_range("augmentation.speeds", speed, 0.5 <= speed <= 2, "0.5 to 2")
        check_range("augmentation.gain_db", self.gain_db, 0 <= self.gain_db <= 40, "0 to 40")
        for key in ("remix_prob", "equalizer_prob", "reverberation_prob", "noise_prob", "codec_prob"):
            check_range(f"augmentation.{key}", getattr(self, key), 0 <= getattr(self, key) <= 1, "0 to 1")
        least_snr, most_snr = self.min_noise_snr_db, self.max_noise_snr_db
        check_range("augmentation.min_noise_snr_db", least_snr, -20 <= least_snr <= 60, "-20 to 60")
        allowed = f"augmentation.min_noise_snr_db {least_snr} to 60"
        check_range("augmentation.max_noise_snr_db", most_snr, least_snr <= most_snr <= 60, allowed)
        lowest, highest = self.min_vocals_gain_db, self.max_vocals_gain_db
        check_range("augmentation.min_vocals_gain_db", lowest, -60 <= lowest <= 60, "-60 to 60")
        allowed = f"augmentation.min_vocals_gain_db {lowest} to 60"
        check_range("augmentation.max_vocals_gain_db", highest, lowest <= highest <= 60, allowed)


@dataclass(frozen=True)
class CutLoaderOptions:
    """The Lhotse cuts to train on, and how they are batched.

    Args:
        cuts: files of cuts (.jsonl, .jsonl.gz) and folders of Lhotse Shar; empty for a stream, which makes its own.
        weights: weight of each of `cuts` in the sampling; empty for equal weights.
        temperature: a file of n cuts is sampled in proportion to weight * n ** (1 / temperature): 1 in proportion to
            the sizes; higher values favour small files, such as those of languages with little data.
        batch_seconds: maximum audio per batch, including padding, before speed augmentation.
        batch_cuts: maximum number of cuts per batch; None for as many as `batch_seconds` allows.
        shuffle: use a different order in each epoch. Otherwise cuts keep the order of the files, apart from bucketing.
        buckets: number of length buckets; the cuts of a batch come from one bucket.
        buffer_cuts: number of cuts in memory to sample from. Cuts of Shar include their audio.
        limit: use only the first `limit` cuts; None for all.
        silence_prob: expected fraction of cuts without words, whose target is all blank. Each of them is used at most
            once per epoch. None uses all of them, like other cuts.
        workers: number of loader processes; 0 to load in the main process.
        prefetch_batches: batches that each worker loads ahead.
        augmentation: audio augmentation.
    """

    cuts: list[str] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    temperature: float = 1.0
    batch_seconds: float = 160.0
    batch_cuts: int | None = None
    shuffle: bool = True
    buckets: int = 10
    buffer_cuts: int = 10_000
    limit: int | None = None
    silence_prob: float | None = 0.0
    workers: int = 2
    prefetch_batches: int = 4
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)

    def __post_init__(self) -> None:
        if self.weights and len(self.weights) != len(self.cuts):
            raise ValueError(f"cuts.weights has {len(self.weights)} weights for {len(self.cuts)} files; give one each")
        for weight in self.weights:
            check_range("cuts.weights", weight, 0 < weight < math.inf, "finite, above 0")
        check_range("cuts.temperature", self.temperature, self.temperature >= 1, "at least 1")
        check_range("batch_seconds", self.batch_seconds, 0 < self.batch_seconds < math.inf, "finite, above 0")
        check_range("silence_prob", self.silence_prob or 0.0, 0 <= (self.silence_prob or 0.0) < 1, "0 to below 1")
        for key in ("batch_cuts", "limit"):
            value = getattr(self, key)
            check_range(key, value or 0, value is None or value >= 1, "at least 1")
        for key, least in (("buckets", 2), ("buffer_cuts", 1), ("workers", 0), ("prefetch_batches", 1)):
            check_range(key, getattr(self, key), getattr(self, key) >= least, f"at least {least}")


@dataclass(frozen=True)
class StreamOptions:
    """Synthetic songs that are made during training, see `training.data.song_stream`.

    Training proceeds in rounds. The songs of the next round are made during the current one.

    Args:
        languages: ISO 639-1 codes and their relative frequencies.
        songs_per_round: number of songs per round; at most two rounds are on disk.
        steps_per_round: optimizer steps per round; every stage starts with a new round.
        processes: number of low-priority processes that make songs.
        seed: the same seed gives the same songs.
        lines: distinct lines per song.
        word_salad_share: see `SyntheticOptions`.
        generated_share: see `SyntheticOptions`.
        a_cappella_share: fraction of songs without accompaniment.
        lyrics: folder of lyrics.
        chunk_seconds: maximum length of a cut.
    """

    languages: dict[str, float] = field(default_factory=lambda: {"en": 1.0})
    songs_per_round: int = 64
    steps_per_round: int = 500
    processes: int = 1
    seed: int = 0
    lines: int = 8
    word_salad_share: float = 0.3
    generated_share: float = 0.2
    a_cappella_share: float = 0.0
    lyrics: str = "data/lyrics"
    chunk_seconds: float = ChunkOptions.chunk_seconds

    def __post_init__(self) -> None:
        if not self.languages:
            raise ValueError("stream.languages is empty; give {en: 1}, for example")
        for language, weight in self.languages.items():
            check_range(f"stream.languages.{language}", weight, 0 < weight < math.inf, "finite, above 0")
        for key in ("songs_per_round", "steps_per_round", "processes"):
            check_range(f"stream.{key}", getattr(self, key), getattr(self, key) >= 1, "at least 1")
        for key in ("word_salad_share", "generated_share", "a_cappella_share"):
            check_range(f"stream.{key}", getattr(self, key), 0 <= getattr(self, key) <= 1, "0 to 1")
        ChunkOptions(self.chunk_seconds)
