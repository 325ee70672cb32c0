"""Tokenizers of word pieces and phonemes for a new vocabulary. Column 0 is the CTC blank, column 1 is <unk>."""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Wav2Vec2PhonemeCTCTokenizer,
)

from lyrics_asr.types import WORD_START

_BLANK, _UNKNOWN = "<pad>", "<unk>"


def train_pieces(lines: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """Learn word pieces from text, as SentencePiece does.

    Source: the unigram language model of Kudo, 2018, Subword Regularization. Pieces that start a word begin with
    `WORD_START`.

    Args:
        lines: normalized text.
        size: number of tokens, with blank and <unk>; fewer if the text has no more.

    Raises:
        ValueError: fewer tokens than characters in the text.
    """
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(WORD_START, prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(WORD_START, prepend_scheme="always")
    text = list(lines)
    characters = set("".join(text)) - {" "}
    if len(characters) + 2 >= size:
        raise ValueError(f"{size} word pieces are too few for a text of {len(characters)} characters; give more")
    tokenizer.train_from_iterator(
        text,
        trainers.UnigramTrainer(
            vocab_size=size, special_tokens=[_BLANK, _UNKNOWN], unk_token=_UNKNOWN, show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=_BLANK, unk_token=_UNKNOWN)


def phoneme_tokenizer(phonemes: Iterable[str], voice: str) -> Wav2Vec2PhonemeCTCTokenizer:
    """Phonemes of espeak-ng, without a word delimiter, in the layout of facebook/wav2vec2-lv-60-espeak-cv-ft.

    Args:
        phonemes: from `lyrics.subwords.pronounce`.
        voice: of espeak-ng, which pronounces the words of a language model.
    """
    columns = {token: column for column, token in enumerate([_BLANK, _UNKNOWN, *sorted(phonemes)])}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vocab.json")
        path.write_text(json.dumps(columns), encoding="utf-8")
        return Wav2Vec2PhonemeCTCTokenizer(str(path), bos_token=None, eos_token=None, phonemizer_lang=voice)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Read what `save_pretrained` wrote.

    Raises:
        ValueError: not a tokenizer.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder}: not a tokenizer that can be read: {error}") from error
    return tokenizer
