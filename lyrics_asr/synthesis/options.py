"""Options of a corpus of synthetic songs; the same options and lyrics always give the same songs."""

from dataclasses import dataclass
from pathlib import Path

LYRICS_FOLDER = Path("data/lyrics")
LANGUAGE_NAMES = {"en": "english", "es": "spanish", "fr": "french", "de": "german"}


@dataclass(frozen=True)
class SyntheticOptions:
    """Options of a corpus of synthetic songs.

    Args:
        split: "training", "development" or "held_out". Each has its own lyrics; held-out songs use two voices that are
            not in the other splits.
        language: code of the lyrics' language, such as "es".
        songs: number of songs.
        seed: the same seed gives the same songs, with any number of processes.
        lines: number of distinct lines in a training song. Songs of the other splits have a third of their lyrics.
            Choruses are repeated; 8 lines give about 50 to 150 s.
        word_salad_share: fraction of training lines that are words in random order, so that the acoustic model learns
            phones rather than phrases.
        generated_share: fraction of training lines that are generated words, so that it learns spelling rather than
            vocabulary.
        a_cappella_share: fraction of songs without accompaniment.
        natural_voices: folder of natural voices that `scripts.convert_kokoro` made; None if there are none.
        natural_voices_share: fraction of songs that natural voices sing.
        processes: number of worker processes.
    """

    split: str = "training"
    language: str = "en"
    songs: int = 100
    seed: int = 0
    lines: int = 8
    word_salad_share: float = 0.3
    generated_share: float = 0.2
    a_cappella_share: float = 0.0
    natural_voices: Path | None = None
    natural_voices_share: float = 0.0
    processes: int = 1

    def __post_init__(self) -> None:
        if self.split not in ("training", "development", "held_out"):
            raise ValueError(f"split must be training, development or held_out, not {self.split!r}")
        replaced = self.word_salad_share + self.generated_share
        if not 0 <= replaced <= 1:
            raise ValueError(f"word_salad_share and generated_share must be 0 to 1 together, not {replaced:g}")
        if not 0 <= self.natural_voices_share <= 1:
            raise ValueError(f"natural_voices_share must be 0 to 1, not {self.natural_voices_share:g}")
        if self.natural_voices_share and self.natural_voices is None:
            raise ValueError("natural_voices_share needs natural_voices, the folder that scripts.convert_kokoro makes")
        if self.natural_voices_share and self.split == "held_out":
            raise ValueError("held-out songs have voices of their own; leave out natural_voices_share")
