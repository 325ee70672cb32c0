import gzip
import math
from collections import Counter
from pathlib import Path

import kenlm
import pytest

from lyrics_asr.language_model import MAX_ORDER, build_language_model, read_unigrams
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.lyrics.text import parse_lyrics

LYRICS = Path(__file__).parents[2] / "data" / "lyrics" / "en"
FALLBACK = (0.5, 1.0, 1.5)


def song_lines(songs=None):
    paths = sorted(LYRICS.glob("*.txt"))[:songs]
    return [normalize(line.text) for path in paths for line in parse_lyrics(path.read_text(encoding="utf-8")).lines]


def probability(model, context, word):
    """KenLM's probability of a word after a context that may begin with <s>."""
    state, following = kenlm.State(), kenlm.State()
    if context[:1] == ("<s>",):
        model.BeginSentenceWrite(state)
        context = context[1:]
    else:
        model.NullContextWrite(state)
    for previous in context:
        model.BaseScore(state, previous, following)
        state, following = following, kenlm.State()
    return 10 ** model.BaseScore(state, word, following)


class Reference:
    """Interpolated modified Kneser-Ney straight from its definition, evaluated by recursion on the n-gram list."""

    def __init__(self, sentences, order):
        self.order = order
        tokens = [("<s>", *sentence.split(), "</s>") for sentence in sentences]
        self.ngrams = [[t[i : i + n] for t in tokens for i in range(len(t) - n + 1)] for n in range(1, order + 1)]
        self.words = {g[0] for g in self.ngrams[0]} - {"<s>"} | {"<unk>"}
        self.counts = [self.adjusted(n) for n in range(1, order + 1)]
        self.discounts = [self.discount(counts) for counts in self.counts]

    def adjusted(self, n):
        raw = Counter(self.ngrams[n - 1])
        if n == self.order:
            return raw
        left = Counter(g[1:] for g in set(self.ngrams[n]))
        return {g: raw[g] if g[0] == "<s>" else left[g] for g in raw if g != ("<s>",)}

    @staticmethod
    def discount(counts):
        n1, n2, n3, n4 = (sum(c == k for c in counts.values()) for k in (1, 2, 3, 4))
        if not (n1 and n2 and n3):
            return FALLBACK
        y = n1 / (n1 + 2 * n2)
        discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        return discounts if all(0 < d <= k for k, d in enumerate(discounts, 1)) else FALLBACK

    def __call__(self, context, word):
        n = len(context) + 1
        below = self(context[1:], word) if n > 1 else 1 / len(self.words)
        seen = {g: c for g, c in self.counts[n - 1].items() if g[:-1] == context}
        if not seen:
            return below
        take = {g: self.discounts[n - 1][min(c, 3) - 1] for g, c in seen.items()}
        ngram = (*context, word)
        own = seen.get(ngram, 0) - take.get(ngram, 0)
        return (own + sum(take.values()) * below) / sum(seen.values())


def test_tiny_corpus_worked_by_hand(tmp_path):
    # Left neighbours: a 1, b 1, c 1, </s> 2; counts of 3 or more never occur, so the discounts are 0.5, 1, 1.5.
    # Unigrams: (1 - 0.5) / 5 + 0.5 / 5 = 0.2 for a, b, c; (2 - 1) / 5 + 0.1 = 0.3 for </s>; 0.1 for <unk>.
    path = tmp_path / "tiny.arpa"
    build_language_model(["a b", "", "a c"], 2, path)
    model = kenlm.Model(str(path))
    golden = {
        ((), "a"): 0.2,
        ((), "</s>"): 0.3,
        ((), "zebra"): 0.1,
        (("<s>",), "a"): (2 - 1) / 2 + 0.5 * 0.2,
        (("<s>",), "b"): 0.5 * 0.2,
        (("a",), "b"): (1 - 0.5) / 2 + 0.5 * 0.2,
        (("b",), "</s>"): 0.5 + 0.5 * 0.3,
        (("b",), "a"): 0.5 * 0.2,
    }
    for (context, word), expected in golden.items():
        assert probability(model, context, word) == pytest.approx(expected, rel=1e-5), (context, word)
    assert 10 ** model.score("a b") == pytest.approx(0.6 * 0.35 * 0.65, rel=1e-5)


@pytest.mark.parametrize("order", [2, 3])
def test_kenlm_scores_equal_the_definition(order, tmp_path):
    sentences = song_lines(6)
    path = tmp_path / "songs.arpa"
    build_language_model(sentences, order, path)
    model, reference = kenlm.Model(str(path)), Reference(sentences, order)
    assert reference.discounts[0] != FALLBACK, "the corpus is too small to test the estimated discounts"
    for sentence in [*sentences[:4], "the zebra is the the", "night quixotic"]:
        words = [word if word in reference.words else "<unk>" for word in sentence.split()]
        history = ["<s>", *words, "</s>"]
        expected = sum(
            math.log10(reference(tuple(history[max(0, i - order + 1) : i]), history[i])) for i in range(1, len(history))
        )
        assert model.score(sentence) == pytest.approx(expected, rel=1e-4)


def test_probabilities_sum_to_one_after_every_context(tmp_path):
    sentences = song_lines(3)
    path = tmp_path / "songs.arpa"
    build_language_model(sentences, 3, path)
    model = kenlm.Model(str(path))
    vocabulary = [*read_unigrams(path), "</s>", "<unk>"]
    tokens = [("<s>", *sentence.split(), "</s>") for sentence in sentences]
    contexts = {t[i : i + n] for t in tokens[:12] for n in (0, 1, 2) for i in range(len(t) - n)}
    contexts |= {("unheard",), ("the", "unheard"), ("<s>", "unheard")}
    for context in contexts:
        assert sum(probability(model, context, word) for word in vocabulary) == pytest.approx(1, abs=1e-4), context


def test_compressed_file_is_the_same_model_and_the_same_bytes_each_time(tmp_path):
    sentences = song_lines(3)
    plain, packed, again = tmp_path / "a.arpa", tmp_path / "a.arpa.gz", tmp_path / "b.arpa.gz"
    for path in (plain, packed, again):
        build_language_model(iter(sentences), MAX_ORDER, path)
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert packed.read_bytes() == again.read_bytes()
    assert kenlm.Model(str(packed)).score(sentences[0]) == kenlm.Model(str(plain)).score(sentences[0])
    assert read_unigrams(packed) == read_unigrams(plain)
    assert sorted(read_unigrams(plain)) == sorted({w for s in sentences for w in s.split()})


def test_order_is_lowered_to_the_longest_sentence(tmp_path):
    path = tmp_path / "short.arpa"
    build_language_model(["hello", "yes"], 5, path)
    assert kenlm.Model(str(path)).order == 3


@pytest.mark.parametrize(
    ("sentences", "order", "name", "message"),
    [
        (["a"], 1, "x.arpa", "order 1 is outside 2..6"),
        (["a"], 7, "x.arpa", "order 7 is outside 2..6"),
        (["a"], 2, "x.lm", r"x\.lm: the name of a language model must end in \.arpa, \.arpa\.gz or \.bin"),
        ([" ", ""], 2, "x.arpa", "no sentences"),
        (["a <unk> b"], 2, "x.arpa", "contains <unk>"),
    ],
)
def test_bad_input_is_named_and_leaves_no_file(sentences, order, name, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        build_language_model(sentences, order, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"just text\n", b"\x80\xff\x00", b"\\data\\\nngram 1=1\n\n\\1-grams:\n-1\n"])
@pytest.mark.parametrize("name", ["x.arpa", "x.arpa.gz"])
def test_files_that_are_not_arpa_are_named(content, name, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: .*\.arpa"):
        read_unigrams(path)


def test_missing_language_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.arpa: no such language model"):
        read_unigrams(tmp_path / "none.arpa")
