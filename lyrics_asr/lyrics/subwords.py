"""Spell written words with word pieces (SentencePiece) and with phonemes (espeak-ng).

Conventions
- Words are normalized before, as for language models: in lower case, without punctuation, with numbers read out.
- Words are pronounced one at a time. "a" and other weak forms sound as they do alone.
"""

import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Literal

from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.types import WILDCARD, Vocabulary, is_special

if TYPE_CHECKING:
    from phonemizer.backend import EspeakBackend
    from tokenizers import Tokenizer

_ESPEAK_LOCK = Lock()  # espeak-ng is not thread-safe
_LENGTH_MARKS = str.maketrans("", "", "ːˑ")


def spell_in_pieces(word: str, vocabulary: Vocabulary, language: str = "en") -> tuple[int, ...]:
    """Spell a word as the vocabulary's tokenizer does: in lower case, else in upper case, else without accents.

    What the tokenizer does not know even then is WILDCARD. See `spelling.spell` for arguments.
    """
    tokenizer, text = _tokenizer(vocabulary.piece_tokenizer), normalize(word, language)
    found = []
    for variant in (text, text.upper(), _without_marks(text, "NFKD")):
        ids = tokenizer.encode(variant, add_special_tokens=False).ids
        found.append(tuple(WILDCARD if is_special(vocabulary.tokens[column]) else column for column in ids))
        if WILDCARD not in found[-1]:
            return found[-1]
    return found[0]


def spell_in_phonemes(word: str, vocabulary: Vocabulary, language: str = "en") -> tuple[int, ...]:
    """Spell a word by its sound.

    Of a phoneme that the vocabulary lacks, a shorter one is taken ("iː" to "i"), or one without diacritics, or its
    parts ("tʃ" to "t" and "ʃ"); else it is WILDCARD. See `spelling.spell` for arguments.

    Raises:
        ValueError: espeak-ng does not speak this language.
    """
    phonemes = pronounce(normalize(word, language), voice_for(language, vocabulary.phoneme_voice))
    return tuple(column for phoneme in phonemes for column in _columns(phoneme, vocabulary.text_ids))


@lru_cache(maxsize=1 << 16)
def pronounce(text: str, voice: str) -> tuple[str, ...]:
    """The phonemes of normalized words in IPA, each word for itself, without stress.

    Args:
        text: words separated by spaces.
        voice: of espeak-ng, such as "en-us".
    """
    from phonemizer.separator import Separator

    separator = Separator(phone=" ", word="", syllable="")
    with _ESPEAK_LOCK:
        spoken = _espeak(voice).phonemize(text.split(), separator=separator, strip=True)
    return tuple(phoneme for word in spoken for phoneme in word.split())


@lru_cache(maxsize=64)
def voice_for(language: str, preferred: str = "en-us") -> str:
    """The voice of espeak-ng for a language.

    Args:
        language: ISO 639-1 code, or the name of a voice.
        preferred: voice to take for its own language, which may have several.

    Raises:
        ValueError: espeak-ng does not speak this language.
    """
    from phonemizer.backend import EspeakBackend

    if language.split("-")[0] == preferred.split("-")[0]:
        return preferred
    _use_packaged_espeak()
    voices = sorted(EspeakBackend.supported_languages())
    for voice in voices:
        if voice == language or voice.startswith(f"{language}-"):
            return str(voice)
    raise ValueError(f"espeak-ng has no voice for the language {language!r}; it has {', '.join(voices)}")


def _columns(phoneme: str, known: Mapping[str, int]) -> tuple[int, ...]:
    short = phoneme.translate(_LENGTH_MARKS)
    bare = _without_marks(short, "NFD")
    for variant in (phoneme, short, bare):
        if variant in known:
            return (known[variant],)
    return tuple(known.get(part, WILDCARD) for part in bare)


def _without_marks(text: str, form: Literal["NFD", "NFKD"]) -> str:
    return "".join(part for part in unicodedata.normalize(form, text) if not unicodedata.combining(part))


@lru_cache(maxsize=8)
def _tokenizer(document: str) -> "Tokenizer":
    from tokenizers import Tokenizer

    return Tokenizer.from_str(document)


@lru_cache(maxsize=16)
def _espeak(voice: str) -> "EspeakBackend":
    from phonemizer.backend import EspeakBackend

    _use_packaged_espeak()
    return EspeakBackend(voice, language_switch="remove-flags")


@lru_cache(maxsize=1)
def _use_packaged_espeak() -> None:
    """Let phonemizer use the library of espeakng-loader: a system may have another version, or none."""
    import espeakng_loader
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
