"""N-gram language models for the beam search: an estimator that writes ARPA files, which KenLM reads.

The estimator is interpolated modified Kneser-Ney (Chen & Goodman, 1998: An Empirical Study of Smoothing Techniques for
Language Modeling, section 3), with the conventions of KenLM's lmplz (Heafield et al., 2013):
- Every sentence stands between <s> and </s>; <s> is a context and is never predicted.
- n-grams below the highest order, but for those that begin with <s>, count the different words seen before them.
- The unigrams are interpolated with the uniform distribution over all words, </s> and <unk>, which so gets its share.
- No n-gram is pruned.
With few sentences an order's counts of counts may be zero, or its discounts out of range; that order then takes the
discounts 0.5, 1 and 1.5, as lmplz does with --discount_fallback.
"""

import gzip
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from lyrics_asr.files import atomic_path

MAX_ORDER = 6
"""Highest order that KenLM's packages are built for."""

_BEGIN, _END, _UNKNOWN = "<s>", "</s>", "<unk>"
_FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
_NEVER_LOG10 = -99.0

NGram = tuple[str, ...]


def build_language_model(sentences: Iterable[str], order: int, path: Path) -> None:
    """Estimate a language model and write it as ARPA, compressed when `path` ends in .gz.

    Args:
        sentences: normalised text, one sung line each, words parted by white space; empty ones are skipped.
        order: length of the longest n-grams; lowered to the longest sentence's length with its <s> and </s>.
        path: a name that ends in .arpa or .arpa.gz.

    Raises:
        ValueError: wrong order or suffix, no sentence, or a sentence that contains <s>, </s> or <unk>.
    """
    if not 2 <= order <= MAX_ORDER:
        raise ValueError(f"order {order} is outside 2..{MAX_ORDER}, which KenLM can read")
    if not path.name.endswith((".arpa", ".arpa.gz")):
        raise ValueError(f"{path}: a language model is written as .arpa or .arpa.gz; change the suffix")
    counts = _adjusted_counts(_count(sentences, order))
    probabilities, backoffs = _interpolate(counts)
    with atomic_path(path) as temporary, _open_to_write(temporary) as file:
        _write_arpa(file, probabilities, backoffs)


def read_unigrams(path: Path) -> tuple[str, ...]:
    """The words of an ARPA file (.arpa or .arpa.gz), without <s>, </s> and <unk>: the lexicon of a beam search.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an ARPA file, or one without words.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such language model; build one with `lyrics-asr lm` or check the name")
    words = []
    try:
        with _open_to_read(path) as file:
            for line in _unigram_section(file):
                words.append(line.split()[1])
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, IndexError) as error:
        raise ValueError(f"{path}: cannot be read as an ARPA file ({error}); give a .arpa or .arpa.gz file") from error
    lexicon = tuple(word for word in words if word.lower() not in (_BEGIN, _END, _UNKNOWN))
    if not lexicon:
        raise ValueError(f"{path}: no \\1-grams: section with words in it; give a .arpa or .arpa.gz file")
    return lexicon


def _count(sentences: Iterable[str], order: int) -> list[Counter[NGram]]:
    """Occurrences of the n-grams of every order, up to the highest that occurs."""
    counts: list[Counter[NGram]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        words = sentence.split()
        if not words:
            continue
        if reserved := {_BEGIN, _END, _UNKNOWN}.intersection(words):
            raise ValueError(
                f"sentence {sentence!r} contains {min(reserved)}, which language models keep for themselves"
            )
        tokens = (_BEGIN, *words, _END)
        for n, ngrams in enumerate(counts, 1):
            ngrams.update(tokens[i : i + n] for i in range(len(tokens) - n + 1))
    if not counts[0]:
        raise ValueError("no sentences to build a language model from")
    return [ngrams for ngrams in counts if ngrams]


def _adjusted_counts(counts: list[Counter[NGram]]) -> list[Counter[NGram]]:
    """Replace the counts below the highest order by the numbers of different words before them; drop <s> alone.

    Nothing stands before <s>, so that n-grams which begin with it keep their counts.
    """
    adjusted = []
    for n, ngrams in enumerate(counts[:-1]):
        continuations = Counter(longer[1:] for longer in counts[n + 1])
        adjusted.append(Counter({g: ngrams[g] if g[0] == _BEGIN else continuations[g] for g in ngrams}))
    adjusted.append(counts[-1])
    del adjusted[0][(_BEGIN,)]
    return adjusted


def _discounts(counts: Counter[NGram]) -> tuple[float, float, float]:
    """What is taken from counts of 1, 2 and 3 or more (Chen & Goodman, equation 26)."""
    seen = Counter(counts.values())
    if not all(seen[k] for k in (1, 2, 3)):
        return _FALLBACK_DISCOUNTS
    y = seen[1] / (seen[1] + 2 * seen[2])
    one, two, three = (k - (k + 1) * y * seen[k + 1] / seen[k] for k in (1, 2, 3))
    in_range = 0 < one <= 1 and 0 < two <= 2 and 0 < three <= 3
    return (one, two, three) if in_range else _FALLBACK_DISCOUNTS


def _interpolate(counts: list[Counter[NGram]]) -> tuple[list[dict[NGram, float]], dict[NGram, float]]:
    """Probabilities of all n-grams, order by order, and the weight that each context leaves to the order below."""
    uniform = 1 / (len(counts[0]) + 1)
    lower: Mapping[NGram, float] = dict.fromkeys([*counts[0], (_UNKNOWN,)], uniform)
    probabilities: list[dict[NGram, float]] = []
    backoffs: dict[NGram, float] = {}
    for n, ngrams in enumerate(counts):
        discounts = _discounts(ngrams)
        totals: defaultdict[NGram, int] = defaultdict(int)
        reserved: defaultdict[NGram, float] = defaultdict(float)
        for ngram, count in ngrams.items():
            totals[ngram[:-1]] += count
            reserved[ngram[:-1]] += discounts[min(count, 3) - 1]
        weights = {context: reserved[context] / total for context, total in totals.items()}
        level = {}
        for ngram, count in ngrams.items():
            context = ngram[:-1]
            below = lower[ngram] if n == 0 else lower[ngram[1:]]
            level[ngram] = (count - discounts[min(count, 3) - 1]) / totals[context] + weights[context] * below
        if n == 0:
            level[(_UNKNOWN,)] = weights[()] * uniform
        probabilities.append(level)
        backoffs |= weights
        lower = level
    return probabilities, backoffs


def _write_arpa(file: TextIOWrapper, probabilities: list[dict[NGram, float]], backoffs: Mapping[NGram, float]) -> None:
    """Write the sections in a fixed order, so that equal sentences give equal files."""
    log10_tables = [{g: math.log10(p) for g, p in level.items()} for level in probabilities]
    log10_tables[0][(_BEGIN,)] = _NEVER_LOG10
    file.write("\\data\\\n")
    for n, table in enumerate(log10_tables, 1):
        file.write(f"ngram {n}={len(table)}\n")
    for n, table in enumerate(log10_tables, 1):
        file.write(f"\n\\{n}-grams:\n")
        for ngram in sorted(table):
            backoff = f"\t{math.log10(backoffs.get(ngram, 1.0)):.7g}" if n < len(log10_tables) else ""
            file.write(f"{table[ngram]:.7g}\t{' '.join(ngram)}{backoff}\n")
    file.write("\n\\end\\\n")


def _unigram_section(file: TextIOWrapper) -> Iterator[str]:
    inside = False
    for line in file:
        if line.startswith("\\"):
            if inside:
                return
            inside = line.strip() == "\\1-grams:"
        elif inside and line.strip():
            yield line


def _open_to_read(path: Path) -> TextIOWrapper:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


@contextmanager
def _open_to_write(path: Path) -> Iterator[TextIOWrapper]:
    """A UTF-8 text file, compressed for .gz; without name and time in its header, equal models make equal files."""
    with path.open("wb") as raw:
        if path.suffix != ".gz":
            with TextIOWrapper(raw, "utf-8", newline="\n") as file:
                yield file
            return
        with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed, TextIOWrapper(packed, "utf-8") as file:
            yield file
