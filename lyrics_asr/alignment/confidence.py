"""Confidence as a probability: that a word's onset is right, that a line was sung, that lyrics belong to a song.

Conventions
- The margin of a word, line or song is what decoys (lyrics that nobody sings) cost per letter in this song, minus what
  its own letters cost, in natural logarithms. It is near 0 for wrong lyrics.
- An onset is right within 0.3 s.
- Probabilities are logistic functions of features. The weights were fitted on synthetic development songs whose lyrics
  were damaged (`scripts/fit_confidence.py`), see docs/align.md.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class SongEvidence:
    """What speaks for lyrics.

    Args:
        margin: margin of the lyrics.
        decoy_cost: what decoys cost per letter; high if the model understands the song well.
        lines: number of lines.
        wildcards: letters that match anything, as a fraction of all.
    """

    margin: float
    decoy_cost: float
    lines: int
    wildcards: float

    @property
    def is_clear(self) -> float:
        """How clear it is that the lyrics belong to the song, from 0 to 1."""
        return max(0.0, min(1.0, self.margin * math.sqrt(self.lines) / 4))

    @property
    def features(self) -> tuple[float, ...]:
        """What the confidence is a logistic function of; so for lines and words."""
        return self.margin, self.decoy_cost, 1.0

    @property
    def confidence(self) -> float:
        """Probability that the lyrics belong to the song."""
        return _logistic(self.features, _SONG_WEIGHTS)

    @property
    def belongs(self) -> bool:
        """Whether the lyrics may belong to the song; also where they are mostly wildcards, which says nothing."""
        return self.confidence >= _MIN_CONFIDENCE or self.wildcards > 0.5


@dataclass(frozen=True)
class LineEvidence:
    """What speaks for a line: its margin, and the evidence for its song."""

    margin: float
    song: SongEvidence

    @property
    def features(self) -> tuple[float, ...]:
        """See `SongEvidence.features`."""
        return math.tanh(self.margin), self.song.is_clear, 1.0

    @property
    def confidence(self) -> float:
        """Probability that the line was sung there."""
        return _logistic(self.features, _LINE_WEIGHTS)


@dataclass(frozen=True)
class WordEvidence:
    """What speaks for a word.

    Args:
        margin: margin of the word and of those next to it.
        stretch: logarithm of its duration per letter, relative to the song's median.
        line: evidence for its line.
    """

    margin: float
    stretch: float
    line: LineEvidence

    @property
    def features(self) -> tuple[float, ...]:
        """See `SongEvidence.features`."""
        stretch = min(abs(self.stretch), 1.5)
        return math.tanh(self.line.margin), math.tanh(self.margin), stretch, self.line.song.is_clear, 1.0

    @property
    def confidence(self) -> float:
        """Probability that its onset is right."""
        return _logistic(self.features, _WORD_WEIGHTS)


_MIN_CONFIDENCE = 0.3
"""Low, because to reject right lyrics is worse than to align wrong ones."""
_SONG_WEIGHTS = (3.89, -1.84, 6.48)
_LINE_WEIGHTS = (3.66, 5.51, -4.97)
_WORD_WEIGHTS = (3.27, 0.497, -0.565, 4.7, -4.47)


def _logistic(features: tuple[float, ...], weights: tuple[float, ...]) -> float:
    log_odds = math.fsum(feature * weight for feature, weight in zip(features, weights, strict=True))
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, log_odds))))
