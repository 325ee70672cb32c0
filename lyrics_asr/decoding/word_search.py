"""Beam search over words of pieces or phonemes, which no delimiter separates.

flashlight-text ends the words of its lexicon with a delimiter, which needs a frame of its own, and cannot hold the last
token of a word for several frames without one. So this is a search of our own.

Source: the prefix beam search of Hannun et al., 2014, First-Pass Large Vocabulary Continuous Speech Recognition using
Bi-Directional Recurrent DNNs, algorithm 1, over the nodes of a lexicon instead of letters. A prefix is the finished
words and a node of the next word. A word is finished, and its language model score added, when the next one starts.
Until then the best word below the node is expected, as in flashlight-text.

- Of phonemes, words of the lexicon and hot words are found. The language model tells words apart that sound alike.
- Of pieces, an open vocabulary has every word, in any pieces.
"""

import math
from collections import defaultdict
from collections.abc import Set
from dataclasses import dataclass, field

import kenlm
import numpy as np
from jaxtyping import Float
from torch import Tensor

from lyrics_asr.decoding.forward import text_log_prob
from lyrics_asr.decoding.hypotheses import SegmentHypothesis
from lyrics_asr.decoding.lexicon import BLANK_COLUMN, Symbols, WordLanguageModel, language_model_weight
from lyrics_asr.options import DecodingOptions
from lyrics_asr.types import WORD_START


@dataclass(eq=False)
class _Node:
    """A beginning of words, from the start to a column."""

    column: int
    text: str = ""
    words: list[str] = field(default_factory=list)
    children: dict[int, "_Node"] = field(default_factory=dict)
    best_score: float = -math.inf  # of the best word below, without context


@dataclass(eq=False)
class _History:
    """Finished words, the language model's state after them, and their score."""

    words: tuple[str, ...]
    state: kenlm.State | None
    score: float
    longer: dict[str, "_History"] = field(default_factory=dict)


@dataclass
class _Scores:
    """Log-probabilities of the paths of a prefix that end with a blank, and of those that end with its last symbol."""

    blank: float = -math.inf
    symbol: float = -math.inf

    @property
    def total(self) -> float:
        """Of all paths."""
        return _add_logs(self.blank, self.symbol)


_Beam = dict[tuple[_History, _Node], _Scores]


class WordSearch:
    """A back end for pieces and phonemes; see `SegmentDecoder`.

    Raises:
        ValueError: phonemes without a language model, whose words they need.
    """

    def __init__(self, symbols: Symbols, model: WordLanguageModel | None, options: DecodingOptions) -> None:
        if symbols.unit == "phonemes" and model is None:
            raise ValueError(
                "this acoustic model hears phonemes; give a language model (`--language-model`), whose words it looks "
                "for, or decode greedily, which writes phonemes"
            )
        self._symbols, self._model, self._options = symbols, model, options
        self._is_open = symbols.unit == "pieces" and (options.open_vocabulary or model is None)
        self._weight = 0.0 if model is None else language_model_weight(options)
        self._root = _Node(BLANK_COLUMN)
        self._known = frozenset[str]() if model is None else model.known
        for word in self._known:
            self._add(word)

    def decode(self, log_probs: Float[Tensor, "frames symbols"], hot_words: Set[str]) -> list[SegmentHypothesis]:
        """See `SegmentDecoder`."""
        for word in hot_words - self._known:
            self._add(word)
        spelled: dict[tuple[_Node, int], _Node] = {}
        start = _History((), None if self._model is None else self._model.begin(), 0.0)
        beam: _Beam = {(start, self._root): _Scores(blank=0.0)}
        for scores in log_probs.double().numpy():
            kept = np.flatnonzero(scores >= min(self._options.token_min_logp, scores.max())).tolist()
            beam = self._pruned(self._step(beam, scores.tolist(), kept, hot_words, spelled))
        found: defaultdict[_History, list[float]] = defaultdict(list)
        for (history, node), each in beam.items():
            ends = [history] if node is self._root else self._finished(history, node, hot_words)
            for end in ends:
                found[end].append(each.total)
        acoustic = {history: float(np.logaddexp.reduce(totals)) for history, totals in found.items()}
        ranked = sorted(acoustic, key=lambda history: acoustic[history] + self._final(history), reverse=True)
        if not ranked:
            return [SegmentHypothesis((), text_log_prob(log_probs, self._symbols, ()))]
        return [SegmentHypothesis(history.words, acoustic[history]) for history in ranked]

    def _step(
        self,
        beam: _Beam,
        scores: list[float],
        kept: list[int],
        hot_words: Set[str],
        spelled: dict[tuple[_Node, int], _Node],
    ) -> _Beam:
        """The prefixes after a frame, with its `scores`, of which the columns `kept` may follow."""
        after: defaultdict[tuple[_History, _Node], _Scores] = defaultdict(_Scores)
        for (history, node), before in beam.items():
            total, same = before.total, after[history, node]
            same.blank = _add_logs(same.blank, total + scores[BLANK_COLUMN])
            same.symbol = _add_logs(same.symbol, before.symbol + scores[node.column])
            finished = self._finished(history, node, hot_words)
            for column in kept:
                if column == BLANK_COLUMN:
                    continue
                reached = (before.blank if column == node.column else total) + scores[column]
                if (child := self._child(node, column, spelled)) is not None:
                    after[history, child].symbol = _add_logs(after[history, child].symbol, reached)
                if finished and (first := self._child(self._root, column, spelled)) is not None:
                    for longer in finished:
                        after[longer, first].symbol = _add_logs(after[longer, first].symbol, reached)
        return after

    def _pruned(self, beam: _Beam) -> _Beam:
        def score(prefix: tuple[_History, _Node]) -> float:
            history, node = prefix
            return beam[prefix].total + history.score + (0.0 if node is self._root else node.best_score)

        ranks = {prefix: score(prefix) for prefix in beam}
        best = sorted(ranks, key=ranks.__getitem__, reverse=True)[: self._options.beam_width]
        lowest = ranks[best[0]] + self._options.beam_prune_logp
        return {prefix: beam[prefix] for prefix in best if ranks[prefix] >= lowest}

    def _child(self, node: _Node, column: int, spelled: dict[tuple[_Node, int], _Node]) -> _Node | None:
        """The node after a column; with an open vocabulary, one that is no part of the lexicon if need be."""
        child = node.children.get(column) or spelled.get((node, column))
        label = self._symbols.labels[column]
        if child is None and self._is_open and label.startswith(WORD_START) == (node is self._root):
            text = node.text + label.removeprefix(WORD_START)
            words = [text] if text in self._known else []
            child = spelled[node, column] = _Node(column, text, words, best_score=self._score(text))
        return child

    def _finished(self, history: _History, node: _Node, hot_words: Set[str]) -> list[_History]:
        """The histories that end with a word of this node."""
        words = [word for word in node.words if word in self._known or word in hot_words]
        if not words and self._is_open and node.text:
            words = [node.text]
        return [self._longer(history, word, hot_words) for word in words]

    def _longer(self, history: _History, word: str, hot_words: Set[str]) -> _History:
        if word not in history.longer:
            score, state = history.score, history.state
            score += self._options.hot_word_bonus * (word in hot_words)
            if self._model is not None:
                log10, state = self._model.log10(history.state, [word], hot_words)
                score += self._weight * log10 + self._options.beta
            history.longer[word] = _History((*history.words, word), state, score)
        return history.longer[word]

    def _final(self, history: _History) -> float:
        end = 0.0 if self._model is None else self._weight * self._model.end_log10(history.state)
        return history.score + end

    def _score(self, word: str) -> float:
        """Score of a word without context."""
        if self._model is None:
            return 0.0
        return self._weight * self._model.log10(self._model.begin(), [word], frozenset())[0] + self._options.beta

    def _add(self, word: str) -> None:
        """Add a word to the lexicon, if it can be spelled."""
        columns, node, score = self._symbols.spell(word), self._root, self._score(word)
        for column in columns or ():
            text = node.text + self._symbols.labels[column].removeprefix(WORD_START)
            node = node.children.setdefault(column, _Node(column, text))
            node.best_score = max(node.best_score, score)
        if columns and word not in node.words:
            node.words.append(word)


def _add_logs(a: float, b: float) -> float:
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))
