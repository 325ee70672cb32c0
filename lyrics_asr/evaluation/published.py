"""Published results from the literature, which reports show next to their own.

None of these results was reproduced here. Corpora, annotation versions and text normalization differ, so they show the
state of the art, not which of two systems is better.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedAlignment:
    """Word onsets: mean and median absolute error and fraction within 0.3 s, as printed; None if not published."""

    system: str
    corpus: str
    mean: str
    median: str | None
    within_0_3: str


@dataclass(frozen=True)
class PublishedTranscription:
    """A word error rate, as printed."""

    system: str
    corpus: str
    wer: str


_JAMENDO_20 = "JamendoLyrics, 20 English songs"
_JAMENDO = "JamendoLyrics"
_OU = "Ou et al. 2022, wav2vec 2.0, by utterances"
_WHISPER = "Whisper large-v2 on separated vocals with VAD, notebooks of arXiv:2506.15514"

ALIGNMENTS = (
    PublishedAlignment("Stoller et al. 2019", _JAMENDO_20, "0.82 s", "0.10 s", "85 %"),
    PublishedAlignment("Stoller et al. 2019, trained on separated vocals", _JAMENDO_20, "0.38 s", "0.10 s", "87 %"),
    PublishedAlignment("Gupta et al. 2020", _JAMENDO, "0.22 s", "0.05 s", "94 %"),
    PublishedAlignment("Huang et al. 2022", _JAMENDO, "0.23 s", None, "94 %"),
    PublishedAlignment("Durand et al. 2023", _JAMENDO_20, "0.15 s", None, "92 %"),
    PublishedAlignment("Durand et al. 2023", "JamendoLyrics MultiLang, 79 songs", "0.18 s", None, "94 %"),
    PublishedAlignment("Cheng et al. 2025", _JAMENDO, "0.216 s", "0.041 s", "95.2 %"),
)
TRANSCRIPTIONS = (
    PublishedTranscription(_OU, _JAMENDO, "33.13 %"),
    PublishedTranscription(_OU, "DALI test", "30.85 %"),
    PublishedTranscription(_OU, "Hansen", "18.71 %"),
    PublishedTranscription(_OU, "Mauch", "28.48 %"),
    PublishedTranscription(_OU, "DSing", "12.99 %"),
    PublishedTranscription(_WHISPER, "Jam-ALT", "19.72 %"),
    PublishedTranscription(_WHISPER, "MUSDB-ALT", "19.41 %"),
    PublishedTranscription("AudioShake v3, arXiv:2408.06370", "Jam-ALT", "16.1 %"),
)
