"""Results from the literature that a report shows beside its own, as their authors published them.

None of them was reproduced here. Corpora, versions of their annotations and text normalisation differ, so they tell
where the field stands and not which of two systems is better.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedAlignment:
    """Word onsets: mean and median absolute error in seconds, share within 0.3 s; None where not published."""

    system: str
    corpus: str
    mean_seconds: float
    median_seconds: float | None
    within_0_3: float


@dataclass(frozen=True)
class PublishedTranscription:
    """A word error rate, 0..1."""

    system: str
    corpus: str
    wer: float


_JAMENDO_20 = "JamendoLyrics, 20 English songs"
_JAMENDO = "JamendoLyrics"
_OU = "Ou et al. 2022, wav2vec 2.0, by utterances"
_WHISPER = "Whisper large-v2 on separated vocals with VAD, notebooks of arXiv:2506.15514"

ALIGNMENTS = (
    PublishedAlignment("Stoller et al. 2019", _JAMENDO_20, 0.82, 0.10, 0.85),
    PublishedAlignment("Stoller et al. 2019, trained on separated vocals", _JAMENDO_20, 0.38, 0.10, 0.87),
    PublishedAlignment("Gupta et al. 2020", _JAMENDO, 0.22, 0.05, 0.94),
    PublishedAlignment("Huang et al. 2022", _JAMENDO, 0.23, None, 0.94),
    PublishedAlignment("Durand et al. 2023", _JAMENDO_20, 0.15, None, 0.92),
    PublishedAlignment("Durand et al. 2023", "JamendoLyrics MultiLang, 79 songs", 0.18, None, 0.94),
    PublishedAlignment("Cheng et al. 2025", _JAMENDO, 0.216, 0.041, 0.952),
)
TRANSCRIPTIONS = (
    PublishedTranscription(_OU, _JAMENDO, 0.3313),
    PublishedTranscription(_OU, "DALI test", 0.3085),
    PublishedTranscription(_OU, "Hansen", 0.1871),
    PublishedTranscription(_OU, "Mauch", 0.2848),
    PublishedTranscription(_OU, "DSing", 0.1299),
    PublishedTranscription(_WHISPER, "Jam-ALT", 0.1972),
    PublishedTranscription(_WHISPER, "MUSDB-ALT", 0.1941),
    PublishedTranscription("AudioShake v3, arXiv:2408.06370", "Jam-ALT", 0.161),
)
