"""The parts of a CTC checkpoint, and a tokenizer of letters that needs no transformers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import nn

from lyrics_asr.files import write_text
from lyrics_asr.models.checkpoint_files import read_json

_TOKENIZER_CLASS = "Wav2Vec2CTCTokenizer"
_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "word_delimiter_token")


@runtime_checkable
class Tokenizer(Protocol):
    """What this package uses of a `transformers.PreTrainedTokenizerBase`."""

    @property
    def pad_token_id(self) -> int | None:
        """Column of the padding token, which is the CTC blank."""

    @property
    def special_tokens_map(self) -> Mapping[str, Any]:
        """The special tokens, by their roles."""

    @property
    def all_special_ids(self) -> Sequence[int]:
        """Columns of the special tokens."""

    def get_vocab(self) -> dict[str, int]:
        """The columns of all tokens."""

    def save_pretrained(self, folder: Path, /) -> Any:
        """Write the tokenizer's files."""


@dataclass(frozen=True)
class LetterTokenizer:
    """Which column stands for which letter; `Wav2Vec2CTCTokenizer` of transformers reads and writes the same files.

    Args:
        columns: of the tokens.
        settings: content of `tokenizer_config.json`.
    """

    columns: Mapping[str, int]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, letters: str) -> "LetterTokenizer":
        """A new tokenizer; the apostrophe and the word delimiter "|" are added to the letters."""
        tokens = dict.fromkeys(["<pad>", "<unk>", "|", "'", *letters])
        settings = {
            "tokenizer_class": _TOKENIZER_CLASS,
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "word_delimiter_token": "|",
            "bos_token": None,
            "eos_token": None,
        }
        return cls({token: column for column, token in enumerate(tokens)}, settings)

    @classmethod
    def load(cls, folder: Path) -> "LetterTokenizer":
        """Read the files of a tokenizer.

        Raises:
            OSError: a file is missing.
            ValueError: not a tokenizer of letters.
        """
        columns, settings = (
            json.loads((folder / name).read_text(encoding="utf-8")) for name in ("vocab.json", "tokenizer_config.json")
        )
        if settings.get("tokenizer_class") != _TOKENIZER_CLASS:
            raise ValueError(f"{folder}: its tokenizer is not a {_TOKENIZER_CLASS}")
        return cls(columns, settings)

    @property
    def pad_token_id(self) -> int | None:
        """See `Tokenizer`."""
        return self.columns.get(self.settings.get("pad_token") or "")

    @property
    def special_tokens_map(self) -> Mapping[str, str]:
        """See `Tokenizer`."""
        return {role: token for role in _SPECIAL_TOKENS if (token := self.settings.get(role)) is not None}

    @property
    def all_special_ids(self) -> Sequence[int]:
        """See `Tokenizer`."""
        return [self.columns[token] for token in self.special_tokens_map.values() if token in self.columns]

    def get_vocab(self) -> dict[str, int]:
        """See `Tokenizer`."""
        return dict(self.columns)

    def save_pretrained(self, folder: Path) -> None:
        """See `Tokenizer`."""
        for name, content in (("vocab.json", self.columns), ("tokenizer_config.json", self.settings)):
            write_text(folder / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder; one of letters is read without transformers.

    Raises:
        OSError: a file is missing.
        ValueError: not a tokenizer.
    """
    if read_json(folder / "tokenizer_config.json").get("tokenizer_class") in (None, _TOKENIZER_CLASS):
        return LetterTokenizer.load(folder)
    from lyrics_asr.models.tokenizers import load_tokenizer

    return load_tokenizer(folder)


@dataclass(frozen=True)
class CTCCheckpoint:
    """What a folder holds.

    Args:
        network: maps samples or features to logits.
        tokenizer: names its columns; None of a self-supervised checkpoint.
        feature_extractor: says what the network takes.
        missing: names of weights that the folder lacks.
    """

    network: nn.Module
    tokenizer: Tokenizer | None
    feature_extractor: Any
    missing: tuple[str, ...] = ()
