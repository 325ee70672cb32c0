"""Word pieces and phonemes through every decoder, against all paths of tiny emissions."""

import itertools
import math
from collections import defaultdict
from dataclasses import replace

import kenlm
import pytest

from lyrics_asr.decoding.beam_search import BeamSearch, _split_at_pauses
from lyrics_asr.decoding.greedy import greedy
from lyrics_asr.decoding.lexicon import Symbols
from lyrics_asr.language_model import build_language_model, read_unigrams
from lyrics_asr.options import DecodingOptions
from tests.emissions import PHONEMES, PIECES, path_emissions, random_emissions

EXHAUSTIVE = DecodingOptions(beam_width=10_000, beam_prune_logp=-1e9, token_min_logp=-1e9, alpha=0.7, beta=0.9)


PIECE_SENTENCES = ["a b", "ab a", "b b a", "ba"]
PHONEME_SENTENCES = ["see tea", "sea sea see", "tea see", "see eats", "the sea"]


def sequences(given):
    """Log-probability of each sequence of columns, summed over all the paths that collapse to it."""
    totals, probs = defaultdict(float), given.log_probs.double().exp()
    for path in itertools.product(range(probs.shape[1]), repeat=len(probs)):
        collapsed = tuple(column for column, _ in itertools.groupby(path) if column)
        totals[collapsed] += math.prod(probs[i, column].item() for i, column in enumerate(path))
    return {columns: math.log(total) for columns, total in totals.items() if total}


def without_unknown(given):
    log_probs = given.log_probs.clone()
    log_probs[:, 1] = -math.inf
    return replace(given, log_probs=log_probs.log_softmax(-1))


def without_confidence(word):
    return word.text, word.start_seconds, word.end_seconds


@pytest.fixture(scope="module")
def arpa(tmp_path_factory):
    paths = {}
    for vocabulary, sentences in ((PIECES, PIECE_SENTENCES), (PHONEMES, PHONEME_SENTENCES)):
        paths[vocabulary.unit] = tmp_path_factory.mktemp("lm") / "tiny.arpa"
        build_language_model(sentences, 2, paths[vocabulary.unit])
    return paths


def ranked(texts, path, options):
    """Texts with their acoustic score and total, the best first."""
    model, known = kenlm.Model(str(path)), set(read_unigrams(path))
    rows = []
    for text, log_prob in texts:
        log10 = (
            model.score(text) + sum(len(word) for word in text.split() if word not in known) * options.unk_char_log10
        )
        rows.append(
            (text, log_prob, log_prob + options.alpha * math.log(10) * log10 + options.beta * len(text.split()))
        )
    return sorted(rows, key=lambda row: -row[-1])


def assert_found(given, path, options, expected):
    ours = BeamSearch(given.vocabulary, path, options).n_best(given, len(expected))
    assert [" ".join(word.text for word in each.words) for each in ours] == [row[0] for row in expected]
    for each, (_, acoustic, score) in zip(ours, expected, strict=True):
        assert each.acoustic_score == pytest.approx(acoustic, abs=1e-4)
        assert each.score == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("is_open", [True, False])
def test_pieces_are_found_as_by_looking_at_all_paths(seed, is_open, arpa):
    given, path = without_unknown(random_emissions(5, seed, PIECES)), arpa["pieces"]
    options, known = replace(EXHAUSTIVE, open_vocabulary=is_open, unk_char_log10=-0.3), set(read_unigrams(path))
    texts = [
        (PIECES.text(columns), log_prob)
        for columns, log_prob in sequences(given).items()
        if columns[:1] != (4,) and columns[:1] != (5,)
    ]
    allowed = [(text, log_prob) for text, log_prob in texts if is_open or known.issuperset(text.split())]
    assert_found(given, path, options, ranked(allowed, path, options)[:20])


@pytest.mark.parametrize("seed", range(6))
def test_pieces_without_a_language_model(seed):
    given = without_unknown(random_emissions(5, seed, PIECES))
    texts = {
        PIECES.text(columns): log_prob
        for columns, log_prob in sequences(given).items()
        if columns[:1] not in ((4,), (5,))
    }
    best = sorted(texts, key=texts.get, reverse=True)[:20]
    ours = BeamSearch(PIECES, None, EXHAUSTIVE).n_best(given, 20)
    assert [" ".join(word.text for word in each.words) for each in ours] == best
    assert [each.score for each in ours] == pytest.approx([texts[text] for text in best], abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_words_of_phonemes_are_found_as_by_looking_at_all_paths(seed, arpa):
    """Words of the same sound compete: see and sea. "the" has phonemes that the vocabulary lacks."""
    given, path = random_emissions(6, seed, PHONEMES), arpa["phonemes"]
    spelled = {"see": (1, 2), "sea": (1, 2), "tea": (3, 2), "eats": (2, 3, 1)}

    def texts_of(columns):
        if not columns:
            yield ""
        for word, own in spelled.items():
            if columns[: len(own)] == own:
                for rest in texts_of(columns[len(own) :]):
                    yield f"{word} {rest}".strip()

    texts = [(text, log_prob) for columns, log_prob in sequences(given).items() for text in texts_of(columns)]
    assert len(texts) > 20
    assert_found(given, path, EXHAUSTIVE, ranked(texts, path, EXHAUSTIVE)[:20])


def test_hot_words_join_the_lexicon(arpa):
    """Without the hot word, "eat" is in no lexicon; its bonus decides against "tea" after an unsure start."""
    given = path_emissions(["iː", "t", "_"], 0.9, PHONEMES)
    search = BeamSearch(PHONEMES, arpa["phonemes"], EXHAUSTIVE)
    assert [word.text for word in search.decode(given)] != ["eat"]
    assert [word.text for word in search.decode(given, frozenset({"eat"}))] == ["eat"]
    assert [word.text for word in search.decode(given)] != ["eat"]


@pytest.mark.parametrize("path", ["▁a b _ b ▁b ▁b", "_ ▁b _ ▁b a _", "▁a a a ▁a"])
def test_greedy_pieces_have_their_words_and_frames(path):
    given = path_emissions(path.split(), vocabulary=PIECES)
    (best,) = BeamSearch(PIECES, None, EXHAUSTIVE).n_best(given, 1)
    assert list(map(without_confidence, greedy(given))) == list(map(without_confidence, best.words))
    columns = [PIECES.tokens.index(symbol) for symbol, _ in itertools.groupby(path.split()) if symbol != "_"]
    words = PIECES.text(columns).split()
    assert [word.text for word in best.words] == words
    starts = [i for i, symbol in enumerate(path.split()) if symbol[0] == "▁" and path.split()[:i][-1:] != [symbol]]
    assert [word.start_seconds for word in best.words] == [given.seconds(frame) for frame in starts]


def test_greedy_phonemes_are_words_for_themselves():
    given = path_emissions(["s", "s", "_", "s", "iː", "_"], vocabulary=PHONEMES)
    words = greedy(given)
    assert " ".join(word.text for word in words) == "s s iː" == PHONEMES.text([1, 1, 2])
    assert [word.start_seconds for word in words] == [given.seconds(frame) for frame in (0, 3, 4)]


def test_phonemes_need_the_words_of_a_language_model():
    with pytest.raises(ValueError, match="hears phonemes; give a language model"):
        BeamSearch(PHONEMES, None, DecodingOptions())


def test_a_song_of_pieces_is_split_between_words(arpa):
    """At the pause before a word; the one inside "baa" is a long note."""
    path = ["▁a", "b", *["_"] * 60, "▁b", "_", "a", *["_"] * 80, "a", "▁a"]
    given = path_emissions(path, 0.99999, PIECES)
    symbols = Symbols.of(PIECES)
    assert _split_at_pauses(symbols.columns(given.log_probs), symbols, given.grid) == [(0, 32), (32, len(path))]
    words = BeamSearch(PIECES, arpa["pieces"], DecodingOptions()).decode(given)
    assert [word.text for word in words] == ["ab", "baa", "a"]
