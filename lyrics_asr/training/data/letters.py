"""The letters of a training text, for a new vocabulary."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.training.data.lhotse_io import manifest_files
from lyrics_asr.training.data.vocals_cache import read_cuts


def letters_of_cuts(paths: Sequence[Path]) -> str:
    """All letters of the words of cuts in lower case, with combining marks, sorted by code point.

    Digits and symbols are verbalized, as in training.

    Args:
        paths: files of cuts, and folders of Lhotse Shar.

    Raises:
        FileNotFoundError: no such cuts.
        ValueError: not cuts, or no words in them.
    """
    found: set[str] = set()
    for path in paths:
        for file in manifest_files(path):
            for cut in read_cuts(file):
                for supervision in cut["supervisions"]:
                    found.update(normalize(supervision.get("text") or "", supervision.get("language") or "en"))
    letters = sorted(character for character in found if unicodedata.category(character)[0] in "LM")
    if not letters:
        raise ValueError(f"{', '.join(map(str, paths))}: no words in these cuts; make them from songs with lyrics")
    return "".join(letters)
