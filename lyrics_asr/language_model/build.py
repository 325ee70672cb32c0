"""Build language models: sentences in, a file out, by KenLM's lmplz where it is there, else by our own estimator.

Both give the same model, to the rounding of KenLM's 32-bit numbers. lmplz sorts on disk and needs the memory that it is
given, whatever the length of the text. Our own estimator keeps all n-grams in memory: at the peak about 25 bytes for
every byte of text at order 4 (measured on 2 and 8 MB: 20 MB more for each further MB).
"""

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from lyrics_asr.files import OutputError, atomic_path, open_packed, require_writable_folder
from lyrics_asr.language_model import kneser_ney, mixing
from lyrics_asr.language_model.files import BEGIN, END, LANGUAGE_MODEL_SUFFIXES, MAX_ORDER, RESERVED, load_kenlm
from lyrics_asr.language_model.kenlm_tools import find_tool, require_tool, run_build_binary, run_lmplz

ESTIMATORS = ("auto", "kenlm", "own")


@dataclass(frozen=True)
class BuildOptions:
    """How a language model is built.

    Args:
        prune: for every order from unigrams on, how often an n-gram occurs at most to be left out, as lmplz counts it:
            (0, 0, 1) leaves out the trigrams and longer ones that occur once. Never decreasing; the last number goes
            for all higher orders. Empty: nothing is left out.
        vocabulary: the only words that the model knows; others are <unk> to it. None for all words of the text.
        estimator: "kenlm" (lmplz), "own", or "auto": lmplz where it is found.
        memory: what lmplz may take for sorting, as its -S: "500M", "2G", "50%".
        temporary_folder: where lmplz sorts; None for the output's folder.
    """

    prune: tuple[int, ...] = ()
    vocabulary: Collection[str] | None = field(default=None, repr=False)
    estimator: str = "auto"
    memory: str = "1G"
    temporary_folder: Path | None = None

    def __post_init__(self) -> None:
        if self.estimator not in ESTIMATORS:
            raise ValueError(f"estimator {self.estimator!r} is unknown; choose one of {', '.join(ESTIMATORS)}")
        if any(count < 0 for count in self.prune) or list(self.prune) != sorted(self.prune):
            given = " ".join(map(str, self.prune))
            raise ValueError(f"--prune {given}: the numbers must be 0 or more and never decrease, for example 0 0 1")
        if self.vocabulary is not None and not set(self.vocabulary) - RESERVED:
            raise ValueError("the vocabulary has no words; name some, or give none to allow all words")


@dataclass(frozen=True)
class MixtureReport:
    """What became of a mixture.

    Args:
        weights: of the texts' models, as they were given; they sum to 1.
        held_out_perplexity: of the mixture, over the held-out words and line ends that some model knows.
    """

    weights: tuple[float, ...]
    held_out_perplexity: float


def build_language_model(sentences: Iterable[str], order: int, path: Path, options: BuildOptions | None = None) -> None:
    """Estimate a language model and write it: as ARPA, compressed when `path` ends in .gz, or as a KenLM binary.

    Args:
        sentences: normalised text, one sung line each, words parted by white space; empty ones are skipped.
        order: length of the longest n-grams; lowered to the longest sentence's length with its <s> and </s>.
        path: a name that ends in .arpa, .arpa.gz or .bin.
        options: the rest.

    Raises:
        ValueError: wrong order, suffix or options, no sentence, a sentence that contains <s>, </s> or <unk>, or
            programs of KenLM that are needed and not there, or that failed.
        OutputError: the file cannot be written; nothing is left behind.
    """
    options = options or BuildOptions()
    _check(order, path, options)
    with _estimated(sentences, order, path, options) as write:
        _publish(path, write)


def build_mixture(
    texts: Sequence[Iterable[str]],
    held_out: Iterable[str],
    order: int,
    path: Path,
    options: BuildOptions | None = None,
) -> MixtureReport:
    """Estimate a language model from each text and write their mixture that predicts the held-out text best.

    Args:
        texts: two or more, each as `build_language_model` takes sentences.
        held_out: sentences like those that the model is for, in none of the texts.
        order: as for `build_language_model`.
        path: as for `build_language_model`.
        options: go for every text.

    Raises:
        ValueError: as for `build_language_model`, or held-out text of which no model knows a word.
        OutputError: the file cannot be written; nothing is left behind.
    """
    options = options or BuildOptions()
    _check(order, path, options)
    if len(texts) < 2:
        raise ValueError("a mixture needs two texts or more; without held-out text, one is enough")
    tuning = [" ".join(words) for words in _words(held_out)]
    with _scratch(path, options) as folder:
        files = [folder / f"{i}.arpa" for i in range(len(texts))]
        for sentences, file in zip(texts, files, strict=True):
            with _estimated(sentences, order, path, options) as write:
                write(file)
        models = [load_kenlm(file) for file in files]
        tuned = mixing.tune_weights(models, tuning)
        mixed = mixing.mix(files, models, tuned.weights)
        _publish(path, mixed.write)
    return MixtureReport(tuned.weights, tuned.perplexity)


def _check(order: int, path: Path, options: BuildOptions) -> None:
    """Refuse what cannot work, before the text is read."""
    if not 2 <= order <= MAX_ORDER:
        raise ValueError(f"order {order} is outside 2..{MAX_ORDER}, which KenLM can read")
    if not path.name.endswith(LANGUAGE_MODEL_SUFFIXES):
        raise ValueError(f"{path}: a language model is written as .arpa, .arpa.gz or .bin; change the suffix")
    if len(options.prune) > order:
        raise ValueError(f"{len(options.prune)} numbers to prune by are more than the order {order}; give one an order")
    if path.suffix == ".bin":
        require_tool("build_binary", f"{path}: a .bin file", "write .arpa or .arpa.gz")
    if options.estimator == "kenlm":
        require_tool("lmplz", "the estimator kenlm", "take the estimator own")
    require_writable_folder(path.parent)


@contextmanager
def _estimated(
    sentences: Iterable[str], order: int, path: Path, options: BuildOptions
) -> Iterator[Callable[[Path], None]]:
    """Read all sentences and estimate; lend what writes the model as .arpa or .arpa.gz."""
    order, words = _possible_order(_words(sentences), order)
    last = options.prune[-1] if options.prune else 0
    prune = (*options.prune[:order], *[last] * (order - len(options.prune)))
    lmplz = None if options.estimator == "own" else find_tool("lmplz")
    if lmplz is None:
        yield kneser_ney.estimate(words, order, prune, options.vocabulary).write
        return
    with _scratch(path, options) as folder:
        arpa = folder / "model.arpa"
        run_lmplz(
            lmplz, words, arpa, order, prune=prune, vocabulary=options.vocabulary, memory=options.memory, scratch=folder
        )
        yield lambda target: _take(arpa, target)


def _words(sentences: Iterable[str]) -> Iterator[list[str]]:
    empty = True
    for sentence in sentences:
        if words := sentence.replace("\0", " ").split():
            if reserved := RESERVED.intersection(words):
                raise ValueError(
                    f"sentence {sentence!r} contains {min(reserved)}, which language models keep for themselves"
                )
            empty = False
            yield words
    if empty:
        raise ValueError("no sentences to build a language model from")


def _possible_order(sentences: Iterator[list[str]], order: int) -> tuple[int, Iterator[list[str]]]:
    """The order, lowered if no sentence is long enough; and all sentences again."""
    longest, read = 0, []
    for words in sentences:
        read.append(words)
        longest = max(longest, len((BEGIN, *words, END)))
        if longest >= order:
            break
    return min(order, longest), chain(read, sentences)


@contextmanager
def _scratch(path: Path, options: BuildOptions) -> Iterator[Path]:
    """An empty folder that goes away, hidden beside the output unless told otherwise."""
    where = options.temporary_folder or path.parent
    try:
        folder = tempfile.TemporaryDirectory(prefix=".lyrics-asr-lm-", dir=where, ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(f"{where}: cannot be written: {error.strerror}; choose another folder") from error
    with folder as name:
        yield Path(name).resolve()


def _publish(path: Path, write: Callable[[Path], None]) -> None:
    """Write a model whole or not at all, as its suffix has it."""
    with atomic_path(path) as temporary:
        if path.suffix != ".bin":
            write(temporary)
            return
        with tempfile.TemporaryDirectory(prefix=".lyrics-asr-lm-", dir=path.parent) as folder:
            arpa = Path(folder, "model.arpa")
            write(arpa)
            tool = require_tool("build_binary", f"{path}: a .bin file", "write .arpa or .arpa.gz")
            run_build_binary(tool, arpa, temporary)


def _take(arpa: Path, target: Path) -> None:
    if target.suffix != ".gz":
        shutil.move(arpa, target)
        return
    with arpa.open("rb") as plain, open_packed(target) as packed:
        shutil.copyfileobj(plain, packed)
