"""Options of a corpus of synthetic songs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SyntheticOptions:
    """A corpus of synthetic songs.

    Args:
        split: "training" and "development" sing their lyrics with the training voices, "held_out" its own with two
            unseen voices.
        language: code of the lyrics' language, such as "es".
        songs: how many.
        seed: the same seed gives the same songs, whatever the number of processes.
        lines: different lines of a training song; the songs of the other splits sing a third of their lyrics. Choruses
            are sung several times, and a song is about as long as its lines ask for: 8 give about 50 to 150 s.
        word_salad_share: share of the training lines that are words in random order, so that the acoustic model learns
            sounds rather than phrases.
        generated_share: share of the training lines that are generated words, so that it learns spellings rather than
            words.
        a_cappella_share: share of the songs without accompaniment.
        processes: songs that are made at once.
    """

    split: str = "training"
    language: str = "en"
    songs: int = 100
    seed: int = 0
    lines: int = 8
    word_salad_share: float = 0.3
    generated_share: float = 0.2
    a_cappella_share: float = 0.0
    processes: int = 1

    def __post_init__(self) -> None:
        if self.split not in ("training", "development", "held_out"):
            raise ValueError(f"split must be training, development or held_out, not {self.split!r}")
        replaced = self.word_salad_share + self.generated_share
        if not 0 <= replaced <= 1:
            raise ValueError(f"word_salad_share and generated_share must be 0 to 1 together, not {replaced:g}")
