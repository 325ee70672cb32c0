"""New vocabularies from the words of cuts: their letters, word pieces or phonemes."""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerBase

from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.lyrics.subwords import pronounce, voice_for
from lyrics_asr.models.tokenizers import phoneme_tokenizer, train_pieces
from lyrics_asr.training.data.lhotse_io import manifest_files
from lyrics_asr.training.data.object_storage import CutsPath
from lyrics_asr.training.data.vocals_cache import read_cuts


def letters_of_cuts(paths: Sequence[CutsPath]) -> str:
    """All letters of the words of cuts in lower case, with combining marks, sorted by code point.

    Digits and symbols are verbalized, as in training.

    Args:
        paths: files of cuts, and folders of Lhotse Shar.

    Raises:
        FileNotFoundError: no such cuts.
        ValueError: not cuts, or no words in them.
    """
    found = {character for text, _ in _texts_of_cuts(paths) for character in text}
    return "".join(sorted(character for character in found if unicodedata.category(character)[0] in "LM"))


def tokenizer_of_cuts(paths: Sequence[CutsPath], unit: str, pieces: int) -> PreTrainedTokenizerBase:
    """A tokenizer of word pieces, or of the phonemes of all languages of the cuts.

    Args:
        paths: files of cuts, and folders of Lhotse Shar.
        unit: "pieces" or "phonemes".
        pieces: number of word pieces.

    Raises:
        FileNotFoundError: no such cuts.
        ValueError: not cuts, or no words in them; too few pieces; a language that espeak-ng does not speak.
    """
    if unit == "pieces":
        return train_pieces((text for text, _ in _texts_of_cuts(paths)), pieces)
    phonemes, languages = set[str](), Counter[str]()
    for text, language in _texts_of_cuts(paths):
        languages[language] += 1
        for word in text.split():
            phonemes.update(pronounce(word, voice_for(language)))
    (language, _), *_ = languages.most_common(1)
    return phoneme_tokenizer(phonemes, voice_for(language))


def _texts_of_cuts(paths: Sequence[CutsPath]) -> Iterator[tuple[str, str]]:
    """The normalized text of every supervision, with its language."""
    empty = True
    for path in paths:
        for file in manifest_files(path):
            for cut in read_cuts(file):
                for supervision in cut["supervisions"]:
                    language = supervision.get("language") or "en"
                    text = normalize(supervision.get("text") or "", language)
                    if text:
                        empty = False
                        yield text, language
    if empty:
        raise ValueError(f"{', '.join(map(str, paths))}: no words in these cuts; make them from songs with lyrics")
