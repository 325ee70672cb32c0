"""Romanization: words of any script in Latin letters, by sound, so that models with Latin alphabets can align them.

This project uses the universal romanizer software 'uroman' written by Ulf Hermjakob, USC Information Sciences Institute
(2015-2020); see U. Hermjakob, J. May, K. Knight: Out-of-the-box universal romanization tool uroman. ACL, Demo Track,
2018. It takes seconds to load, which only lyrics in other scripts need.

uroman reads Chinese characters in Mandarin. In Japanese lyrics, they are read with the dictionary of janome, if it is
installed (the extra `japanese`).
"""

import logging
import re
from functools import lru_cache
from typing import Any

from lyrics_asr.lyrics.languages import base_code, long_code

_HAN = re.compile(r"[\u3400-\u9fff々]")
_KANA = re.compile(r"[\u3040-\u30ff]")

_logger = logging.getLogger(__name__)


@lru_cache(maxsize=1 << 14)
def romanize(word: str, language: str) -> str:
    """Write a word in Latin letters.

    Args:
        word: in any script; Latin letters are kept.
        language: language of the lyrics: some letters sound different in different languages.
    """
    is_japanese = base_code(language) == "ja" or _KANA.search(word) is not None
    if is_japanese and _HAN.search(word) and (tokenizer := _japanese_tokenizer()) is not None:
        tokens = tokenizer.tokenize(word)
        word = "".join(token.surface if token.phonetic == "*" else token.phonetic for token in tokens)
    return str(_romanizer().romanize_string(word, lcode="jpn" if is_japanese else long_code(language)))


@lru_cache(maxsize=1)
def _romanizer() -> Any:
    from uroman import Uroman

    return Uroman()


@lru_cache(maxsize=1)
def _japanese_tokenizer() -> Any | None:
    try:
        from janome.tokenizer import Tokenizer
    except ImportError:
        _logger.warning("kanji are read as Chinese; install lyrics-asr[japanese] to read them as Japanese")
        return None
    return Tokenizer()
