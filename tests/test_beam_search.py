import itertools
import math

import kenlm
import pytest
import torch

from lyrics_asr.config import DecodingOptions
from lyrics_asr.decoding import BeamSearch
from lyrics_asr.language_model import build_language_model, read_unigrams
from lyrics_asr.types import Vocabulary
from tests.emissions import ENGLISH, TINY, emissions, planted, random_emissions, text_log_probs

UNDELIMITED = Vocabulary(("a", "<pad>", "b"), 1, None)
DECODERS = ["pyctcdecode", "flashlight"]
SENTENCES = ["a b", "ab a", "b b a", "ba"]


def exhaustive(decoder, **options):
    return DecodingOptions(
        **{"decoder": decoder, "beam_width": 10_000, "beam_prune_logp": -1e9, "token_min_logp": -1e9, **options}
    )


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


@pytest.mark.parametrize("decoder", DECODERS)
def test_only_an_open_vocabulary_lets_a_name_be_heard(decoder, tmp_path):
    path = tmp_path / "lm.arpa.gz"
    build_language_model(["hello my love", "my heart", "love my dear heart"], 3, path)
    given = planted("|HE_L_LO_|_MY_|_ZO_E_|_MY_|_LOVE|__")

    def heard(open_vocabulary):
        options = DecodingOptions(decoder=decoder, open_vocabulary=open_vocabulary)
        return [word.text for word in BeamSearch(ENGLISH, path, options).decode(given)]

    assert heard(True) == ["hello", "my", "zoe", "my", "love"]
    assert set(heard(False)) <= {"hello", "my", "love", "heart", "dear"}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("with_model", [False, True])
@pytest.mark.parametrize("open_vocabulary", [False, True])
def test_no_frames_blanks_and_delimiters_give_one_hypothesis_without_words(decoder, with_model, open_vocabulary, arpa):
    options = DecodingOptions(decoder=decoder, open_vocabulary=open_vocabulary)
    for path in ("", "____", "|", "__||__|"):
        given = planted(["<pad>" if symbol == "_" else symbol for symbol in path], 0.9999, TINY)
        assert [each.words for each in BeamSearch(TINY, arpa if with_model else None, options).n_best(given, 1)] == [()]


@pytest.mark.parametrize("decoder", DECODERS)
def test_sentences_are_scored_one_by_one_and_their_alternatives_combined(decoder, arpa):
    silence = planted(["<pad>", "|"] + ["<pad>"] * 38, 0.9999, TINY).log_probs
    pieces = [planted("AB", 0.6, TINY).log_probs, planted("BA", 0.5, TINY).log_probs]
    given = emissions(torch.cat([pieces[0], silence, pieces[1]]))
    options = exhaustive(decoder, alpha=0.7, beta=0.9, open_vocabulary=False, beam_prune_logp=-20.0)
    ours = BeamSearch(TINY, arpa, options).n_best(given, 6)
    first, second = (expected(emissions(each), arpa, options) for each in pieces)
    pairs = sorted(itertools.product(first, second), key=lambda pair: -pair[0][-1] - pair[1][-1])
    assert " ".join(word.text for word in ours[0].words) == f"{pairs[0][0][0]} {pairs[0][1][0]}"
    for each, (a, b) in zip(ours, pairs, strict=False):
        assert each.score == pytest.approx(a[-1] + b[-1], abs=0.05)
    assert [each.score for each in ours] == sorted((each.score for each in ours), reverse=True)


@pytest.mark.parametrize("decoder", DECODERS)
def test_an_impossible_count_and_damaged_models_are_refused(decoder, tmp_path):
    with pytest.raises(ValueError, match="0 hypotheses"):
        BeamSearch(TINY, None, DecodingOptions(decoder=decoder)).n_best(random_emissions(2, 0), 0)
    binary = tmp_path / "model.bin"
    binary.write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0" + bytes(range(256)))
    with pytest.raises(ValueError, match=r"model\.bin: a damaged KenLM binary"):
        BeamSearch(TINY, binary, DecodingOptions(decoder=decoder))
    broken = tmp_path / "broken.arpa"
    broken.write_text("\\data\\\nngram 1=2\nngram 2=1\n\n\\1-grams:\n-1\tone\t0\n")
    with pytest.raises(ValueError, match=r"broken\.arpa: KenLM cannot read it"):
        BeamSearch(ENGLISH, broken, DecodingOptions(decoder=decoder))


def test_a_closed_lexicon_that_cannot_be_spelled_is_refused(tmp_path):
    path = tmp_path / "capitals.arpa"
    build_language_model(["MY LOVE", "LOVE"], 2, path)
    with pytest.raises(ValueError, match=r"capitals\.arpa: .* can spell none of its words"):
        BeamSearch(ENGLISH, path, DecodingOptions(decoder="flashlight", open_vocabulary=False))


def test_no_progress_bar_is_drawn(arpa, capfd):
    BeamSearch(TINY, arpa, DecodingOptions(decoder="flashlight"))
    assert capfd.readouterr() == ("", "")
