"""Build language models from sentences, with KenLM's lmplz if it is installed, else with the built-in estimator.

Both give the same model, up to the rounding of KenLM's 32-bit floats. lmplz sorts on disk, in a fixed amount of memory.
The built-in estimator keeps all n-grams in memory: about 25 bytes per byte of text at order 4 (measured on 2 and 8 MB:
20 MB per additional MB).
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
        prune: pruning thresholds per order, from unigrams on, as in lmplz: n-grams with at most this many occurrences
            are pruned. (0, 0, 1) prunes n-grams of order 3 and higher that occur once. The last threshold applies to
            all higher orders; thresholds must not decrease. Empty: no pruning.
        vocabulary: the words of the model; all others are <unk>. None for all words of the text.
        estimator: "kenlm" (lmplz), "own" (the built-in estimator), or "auto" (lmplz if it is installed).
        memory: memory for lmplz's sorting, as in its option -S: "500M", "2G", "50%".
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
            raise ValueError(f"--prune {given}: thresholds must be at least 0 and must not decrease, for example 0 0 1")
        if self.vocabulary is not None and not set(self.vocabulary) - RESERVED:
            raise ValueError("the vocabulary is empty; add words, or omit it to allow all words")


@dataclass(frozen=True)
class MixtureReport:
    """Result of building a mixture.

    Args:
        weights: interpolation weights, in the order of the texts; they sum to 1.
        held_out_perplexity: perplexity of the mixture over the held-out words and line ends, without words that no
            model knows.
    """

    weights: tuple[float, ...]
    held_out_perplexity: float


def build_language_model(sentences: Iterable[str], order: int, path: Path, options: BuildOptions | None = None) -> None:
    """Estimate a language model, and write it as ARPA, compressed ARPA or KenLM binary.

    Args:
        sentences: normalized text, one sung line each, words separated by white space; empty lines are skipped.
        order: length of the longest n-grams; at most the length of the longest sentence, <s> and </s> included.
        path: output file; its suffix .arpa, .arpa.gz or .bin selects the format.
        options: estimator, vocabulary and pruning.

    Raises:
        ValueError: invalid order, suffix or options; no sentence; a sentence that contains <s>, </s> or <unk>; or a
            KenLM program that is needed is missing or fails.
        OutputError: the file cannot be written; no partial file is left.
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
    """Estimate a language model per text, and write their linear interpolation, tuned on held-out text.

    Args:
        texts: sentences of each text, as in `build_language_model`; at least two texts.
        held_out: sentences of the target domain that are in none of the texts.
        order: as in `build_language_model`.
        path: as in `build_language_model`.
        options: used for every text.

    Raises:
        ValueError: as in `build_language_model`, or no model knows any word of the held-out text.
        OutputError: the file cannot be written; no partial file is left.
    """
    options = options or BuildOptions()
    _check(order, path, options)
    if len(texts) < 2:
        raise ValueError("a mixture needs at least two texts; to build from one text, omit the held-out text")
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
    """Check all arguments before the text is read."""
    if not 2 <= order <= MAX_ORDER:
        raise ValueError(f"order {order} is outside 2..{MAX_ORDER}, the range that KenLM supports")
    if not path.name.endswith(LANGUAGE_MODEL_SUFFIXES):
        raise ValueError(f"{path}: the name of a language model must end in .arpa, .arpa.gz or .bin")
    if len(options.prune) > order:
        raise ValueError(f"{len(options.prune)} pruning thresholds for order {order}; give at most one per order")
    if path.suffix == ".bin":
        require_tool("build_binary", f"{path}: a .bin file", "write .arpa or .arpa.gz")
    if options.estimator == "kenlm":
        require_tool("lmplz", "the estimator kenlm", "use the estimator own")
    require_writable_folder(path.parent)


@contextmanager
def _estimated(
    sentences: Iterable[str], order: int, path: Path, options: BuildOptions
) -> Iterator[Callable[[Path], None]]:
    """Read all sentences and estimate the model; yield a function that writes it as .arpa or .arpa.gz."""
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
        yield lambda target: _move_arpa(arpa, target)


def _words(sentences: Iterable[str]) -> Iterator[list[str]]:
    empty = True
    for sentence in sentences:
        if words := sentence.replace("\0", " ").split():
            if reserved := RESERVED.intersection(words):
                raise ValueError(
                    f"sentence {sentence!r} contains {min(reserved)}, which is reserved in language models"
                )
            empty = False
            yield words
    if empty:
        raise ValueError("no sentences to build a language model from")


def _possible_order(sentences: Iterator[list[str]], order: int) -> tuple[int, Iterator[list[str]]]:
    """The order, lowered if no sentence is long enough, and an iterator over all sentences."""
    longest, read = 0, []
    for words in sentences:
        read.append(words)
        longest = max(longest, len((BEGIN, *words, END)))
        if longest >= order:
            break
    return min(order, longest), chain(read, sentences)


@contextmanager
def _scratch(path: Path, options: BuildOptions) -> Iterator[Path]:
    """Yield a temporary folder, by default hidden beside the output."""
    where = options.temporary_folder or path.parent
    try:
        folder = tempfile.TemporaryDirectory(prefix=".lyrics-asr-lm-", dir=where, ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(f"{where}: cannot be written: {error.strerror}; choose another folder") from error
    with folder as name:
        yield Path(name).resolve()


def _publish(path: Path, write: Callable[[Path], None]) -> None:
    """Write a model atomically, in the format of the suffix."""
    with atomic_path(path) as temporary:
        if path.suffix != ".bin":
            write(temporary)
            return
        with tempfile.TemporaryDirectory(prefix=".lyrics-asr-lm-", dir=path.parent) as folder:
            arpa = Path(folder, "model.arpa")
            write(arpa)
            tool = require_tool("build_binary", f"{path}: a .bin file", "write .arpa or .arpa.gz")
            run_build_binary(tool, arpa, temporary)


def _move_arpa(arpa: Path, target: Path) -> None:
    if target.suffix != ".gz":
        shutil.move(arpa, target)
        return
    with arpa.open("rb") as plain, open_packed(target) as packed:
        shutil.copyfileobj(plain, packed)
