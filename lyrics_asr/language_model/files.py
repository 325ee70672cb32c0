r"""Language model files: read and write ARPA text (.arpa, .arpa.gz), and read KenLM binaries (.bin).

A KenLM binary ends with the words of its vocabulary, each followed by a zero byte, <unk> first (`ReadWords` in KenLM's
lm/vocab.cc). The header has their number, so they can be found from the end of the file, and no separate word list is
needed. The first bytes of a file tell the format.
"""

import gzip
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple

import kenlm

from lyrics_asr.files import open_packed

LANGUAGE_MODEL_SUFFIXES = (".arpa", ".arpa.gz", ".bin")
"""Suffixes of language model files."""

MAX_ORDER = 6
"""Highest order that KenLM's packages are compiled for."""

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
RESERVED = frozenset((BEGIN, END, UNKNOWN))
NEVER_LOG10 = -99.0
"""The log10 probability of impossible events in ARPA files."""

_MAGIC = b"mmap lm http://kheafield.com/code format version 5\n\0"
_UNFINISHED = b"mmap lm http://kheafield.com/code incomplete\n"
# `Sanity` and `FixedWidthParameters` of KenLM's lm/binary_format.{cc,hh} on a 64-bit little-endian machine: the magic
# bytes and seven test values; then order, space multiplier, type, whether the words are included, and a version.
_SANITY_BYTES = 88
_PARAMETERS = struct.Struct("<B3xfI?3xI")
_KINDS = ("probing", "probing with rest costs", "trie", "quantized trie", "array trie", "quantized array trie")
_TAIL_BYTES = 1 << 20


class Entry(NamedTuple):
    """One line of an ARPA file."""

    log10_probability: float
    ngram: str
    log10_backoff: float | None


@dataclass(frozen=True)
class Header:
    """The header of a language model file.

    Args:
        kind: "ARPA", or KenLM's name of the binary's data structure.
        counts: number of n-grams per order, from unigrams on.
    """

    kind: str
    counts: tuple[int, ...]


def read_unigrams(path: Path) -> tuple[str, ...]:
    """Read the words of a language model, without <s>, </s> and <unk>: the lexicon of a beam search.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an ARPA file or KenLM binary, or it is damaged or has no words.
    """
    header = read_header(path)
    words = _arpa_words(path) if header.kind == "ARPA" else _binary_words(path, header.counts[0])
    lexicon = tuple(word for word in words if word.lower() not in RESERVED)
    if not lexicon:
        raise _damaged(path, "no \\1-grams: section with words in it")
    return lexicon


def read_header(path: Path) -> Header:
    """Read the format of a language model file and its number of n-grams.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an ARPA file or KenLM binary, or it is damaged.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such language model; build one with `lyrics-asr lm` or check the name")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; give a {' or '.join(LANGUAGE_MODEL_SUFFIXES)} file")
    with path.open("rb") as file:
        start = file.read(_SANITY_BYTES + _PARAMETERS.size + 8 * 255)
    if start.startswith(_UNFINISHED):
        raise ValueError(f"{path}: this KenLM binary is incomplete; build it again")
    if start.startswith(_MAGIC[:40]):
        return _binary_header(path, start)
    with _reading_arpa(path) as lines:
        return Header("ARPA", tuple(_arpa_counts(lines)))


def load_kenlm(path: Path) -> kenlm.Model:
    """Load a language model with KenLM.

    Raises:
        FileNotFoundError: no such file.
        ValueError: KenLM cannot read the file; the message has the cause.
    """
    header = read_header(path)
    if header.kind != "ARPA":
        _binary_words(path, header.counts[0])  # KenLM itself accepts a file that is truncated here
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    try:
        return kenlm.Model(str(path), config)
    except OSError as error:
        raise ValueError(f"{path}: KenLM cannot read it ({error}); build it with `lyrics-asr lm`") from error


def read_entries(path: Path) -> Iterator[tuple[int, Entry]]:
    """Yield the n-grams of an ARPA file with their orders, in file order.

    Raises:
        ValueError: not an ARPA file, or it is damaged.
    """
    with _reading_arpa(path) as lines:
        order = 0
        for line in lines:
            if line.startswith("\\"):
                name = line.strip()
                order = int(name[1:-7]) if name.endswith("-grams:") else 0
            elif order and line.strip():
                score, ngram, *backoff = line.rstrip("\n").split("\t")
                yield order, Entry(float(score), ngram, float(backoff[0]) if backoff else None)


def write_arpa(path: Path, counts: Sequence[int], sections: Iterable[Iterable[Entry]]) -> None:
    """Write an ARPA file, compressed if `path` ends in .gz.

    Args:
        path: output file.
        counts: number of entries per order.
        sections: entries per order, from unigrams on.
    """
    with _open_to_write(path) as file:
        file.write("\\data\\\n")
        for n, count in enumerate(counts, 1):
            file.write(f"ngram {n}={count}\n")
        for n, section in enumerate(sections, 1):
            file.write(f"\n\\{n}-grams:\n")
            for score, ngram, backoff in section:
                file.write(f"{score:.7g}\t{ngram}\n" if backoff is None else f"{score:.7g}\t{ngram}\t{backoff:.7g}\n")
        file.write("\n\\end\\\n")


def _damaged(path: Path, cause: object) -> ValueError:
    return ValueError(f"{path}: cannot be read as an ARPA file ({cause}); give a .arpa, .arpa.gz or .bin file")


@contextmanager
def _reading_arpa(path: Path) -> Iterator[TextIOWrapper]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as raw:
            yield TextIOWrapper(raw, "utf-8")
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        raise _damaged(path, error) from error


def _arpa_counts(lines: Iterable[str]) -> Iterator[int]:
    inside = False
    for line in lines:
        text = line.strip()
        if inside and text.startswith("ngram "):
            yield int(text.partition("=")[2])
        elif text.startswith("\\"):
            if inside:
                return
            inside = text == "\\data\\"
        elif text and not inside and len(text) > 10_000:
            break
    raise ValueError("no \\data\\ section followed by n-grams")


def _arpa_words(path: Path) -> list[str]:
    with _reading_arpa(path) as lines:
        words = []
        inside = False
        for line in lines:
            if line.startswith("\\"):
                if inside:
                    break
                inside = line.strip() == "\\1-grams:"
            elif inside and line.strip():
                words.append(line.split()[1])
        return words


def _binary_header(path: Path, start: bytes) -> Header:
    if not start.startswith(_MAGIC):
        raise ValueError(f"{path}: a KenLM binary of a different version; build it again from its ARPA file")
    try:
        order, _, kind, has_words, _ = _PARAMETERS.unpack_from(start, _SANITY_BYTES)
        counts = struct.unpack_from(f"<{order}Q", start, _SANITY_BYTES + _PARAMETERS.size)
        if not 1 <= order <= MAX_ORDER or kind >= len(_KINDS) or not counts[0]:
            raise ValueError(f"order {order}, kind {kind}")
    except (struct.error, ValueError) as error:
        raise ValueError(f"{path}: a damaged KenLM binary ({error}); build or copy it again") from error
    if not has_words:
        raise ValueError(f"{path}: a KenLM binary without its word list; build it without build_binary's option -v")
    return Header(_KINDS[kind], counts)


def _binary_words(path: Path, count: int) -> list[str]:
    """Read the `count` words at the end of a binary; <unk> may be one of them or an additional one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        tail = _TAIL_BYTES
        while True:
            file.seek(max(0, size - tail))
            data = file.read()
            if data.count(b"\0") > count + 1 or tail >= size:
                break
            tail *= 4
    pieces = data.split(b"\0")
    for words in (pieces[-count - 1 :], pieces[-count - 2 :]):  # one more if the ARPA file had no <unk>
        if len(words) > count and words[-1] == b"" and words[0].endswith(UNKNOWN.encode()):
            return [UNKNOWN, *(word.decode("utf-8", "replace") for word in words[1:-1])]
    raise ValueError(f"{path}: a damaged KenLM binary (its words are not at its end); build or copy it again")


@contextmanager
def _open_to_write(path: Path) -> Iterator[TextIOWrapper]:
    if path.suffix == ".gz":
        with open_packed(path) as packed, TextIOWrapper(packed, "utf-8", newline="\n") as file:
            yield file
    else:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            yield file
