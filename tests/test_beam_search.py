import itertools
import math
from collections import defaultdict

import kenlm
import pytest
import torch

from lyrics_asr.config import DecodingOptions
from lyrics_asr.decoding import BeamSearch
from lyrics_asr.language_model import build_language_model, read_unigrams
from lyrics_asr.types import Emissions, FrameGrid, Vocabulary

GRID = FrameGrid(320, 400, 16_000)
TINY = Vocabulary(("|", "A", "<pad>", "B"), 2, 0)
UNDELIMITED = Vocabulary(("a", "<pad>", "b"), 1, None)
ENGLISH = Vocabulary(("<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"), 0, 4)
DECODERS = ["pyctcdecode", "flashlight"]
SENTENCES = ["a b", "ab a", "b b a", "ba"]


def exhaustive(decoder, **options):
    return DecodingOptions(
        **{"decoder": decoder, "beam_width": 10_000, "beam_prune_logp": -1e9, "token_min_logp": -1e9, **options}
    )


def emissions(log_probs, vocabulary=TINY):
    return Emissions(log_probs, vocabulary, GRID, (320 * len(log_probs) + 80) / 16_000)


def random_emissions(frames, seed, vocabulary=TINY):
    noise = torch.randn(frames, len(vocabulary.tokens), generator=torch.Generator().manual_seed(seed))
    return emissions((1.5 * noise).log_softmax(-1), vocabulary)


def planted(path, probability=0.9, vocabulary=ENGLISH):
    """Emissions in which the symbols of `path` ("_" is the blank) have this probability, frame by frame."""
    columns = [vocabulary.blank_id if symbol == "_" else vocabulary.tokens.index(symbol) for symbol in path]
    probs = torch.full((len(path), len(vocabulary.tokens)), (1 - probability) / (len(vocabulary.tokens) - 1))
    probs[torch.arange(len(path)), columns] = probability
    return emissions(probs.log(), vocabulary)


def text_log_probs(given):
    """Log-probability of every text, summed over all the paths that collapse to it."""
    totals = defaultdict(float)
    vocabulary, probs = given.vocabulary, given.log_probs.double().exp()
    for path in itertools.product(range(len(vocabulary.tokens)), repeat=len(probs)):
        collapsed = [column for column, _ in itertools.groupby(path) if column != vocabulary.blank_id]
        text = "".join(vocabulary.tokens[column] for column in collapsed).replace("|", " ").lower()
        totals[" ".join(text.split())] += math.prod(probs[i, column].item() for i, column in enumerate(path))
    return {text: math.log(total) for text, total in totals.items()}


@pytest.fixture(scope="module")
def arpa(tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / "tiny.arpa"
    build_language_model(SENTENCES, 2, path)
    return path


def expected(given, arpa, options):
    """Every text with its acoustic score, language-model score and total, the best first, by looking at all paths."""
    model, lexicon = (kenlm.Model(str(arpa)), set(read_unigrams(arpa))) if arpa else (None, set())
    rows = []
    for text, log_prob in text_log_probs(given).items():
        words = text.split()
        unknown = sum(word not in lexicon for word in words)
        if arpa and unknown and not options.open_vocabulary:
            continue
        if not arpa:
            rows.append((text, log_prob, None, log_prob))
            continue
        log10 = model.score(text) + unknown * options.unknown_word_log10
        total = log_prob + options.alpha * math.log(10) * log10 + options.beta * len(words)
        rows.append((text, log_prob, log10, total))
    return sorted(rows, key=lambda row: -row[-1])


def found(given, arpa, options, count):
    return [
        (" ".join(word.text for word in each.words), each.acoustic_score, each.language_model_log10, each.score)
        for each in BeamSearch(given.vocabulary, arpa, options).n_best(given, count)
    ]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for (text, *scores), (oracle_text, *oracle_scores) in zip(ours, theirs, strict=True):
        assert text == oracle_text
        for score, oracle in zip(scores, oracle_scores, strict=True):
            assert score == (oracle if oracle is None else pytest.approx(oracle, abs=1e-4))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("vocabulary", [TINY, UNDELIMITED])
def test_all_scores_are_those_of_all_paths_without_a_language_model(decoder, seed, vocabulary):
    given, options = random_emissions(5, seed, vocabulary), exhaustive(decoder)
    theirs = expected(given, None, options)
    assert_same(found(given, None, options, len(theirs)), theirs)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("vocabulary", [TINY, UNDELIMITED])
def test_all_scores_are_those_of_all_paths_with_a_closed_vocabulary(decoder, seed, vocabulary, arpa):
    given = random_emissions(6, seed, vocabulary)
    options = exhaustive(decoder, alpha=0.7, beta=0.9, open_vocabulary=False)
    theirs = expected(given, arpa, options)
    assert len(theirs) > (1 if vocabulary is UNDELIMITED else 10)
    assert_same(found(given, arpa, options, len(theirs)), theirs)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("seed", range(8))
def test_scores_with_an_open_vocabulary(decoder, seed, arpa):
    given = random_emissions(5, seed)
    options = exhaustive(decoder, alpha=0.7, beta=0.9, unknown_word_log10=-0.5)
    theirs = {row[0]: row for row in expected(given, arpa, options)}
    ours = found(given, arpa, options, 20)
    assert_same(ours, [theirs[row[0]] for row in ours])
    assert [row[3] for row in ours] == sorted((row[3] for row in ours), reverse=True)
