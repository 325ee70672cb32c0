import itertools
import math
import random

import kenlm
import pytest
import torch

from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.decoding.forward import text_log_prob
from lyrics_asr.decoding.hypotheses import SegmentHypothesis
from lyrics_asr.decoding.lexicon import Symbols, WordLanguageModel
from lyrics_asr.decoding.rescoring import join_segments
from lyrics_asr.language_model import build_language_model, read_unigrams
from lyrics_asr.options import DecodingOptions
from lyrics_asr.types import Vocabulary
from tests.emissions import ENGLISH, TINY, emissions, path_emissions, random_emissions, text_log_probs

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


def expected(given, arpa, options, hot_words=frozenset()):
    """Every text with its acoustic score, language-model score and total, the best first, by looking at all paths."""
    model, lexicon = (kenlm.Model(str(arpa)), set(read_unigrams(arpa))) if arpa else (None, set())
    rows = []
    for text, log_prob in text_log_probs(given).items():
        words = text.split()
        unknown_letters = sum(len(word) for word in words if word not in lexicon | hot_words)
        bonus = options.hot_word_bonus * sum(word in hot_words for word in words)
        if arpa and unknown_letters and not options.open_vocabulary:
            continue
        if not arpa:
            rows.append((text, log_prob, None, log_prob + bonus))
            continue
        log10 = model.score(text) + unknown_letters * options.unk_char_log10
        total = log_prob + options.alpha * math.log(10) * log10 + options.beta * len(words) + bonus
        rows.append((text, log_prob, log10, total))
    return sorted(rows, key=lambda row: -row[-1])


def found(given, arpa, options, count, hot_words=frozenset()):
    return [
        (" ".join(word.text for word in each.words), each.acoustic_score, each.language_model_log10, each.score)
        for each in BeamSearch(given.vocabulary, arpa, options).n_best(given, count, hot_words)
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
    options = exhaustive(decoder, alpha=0.7, beta=0.9, unk_char_log10=-0.3)
    theirs = {row[0]: row for row in expected(given, arpa, options)}
    ours = found(given, arpa, options, 20)
    assert_same(ours, [theirs[row[0]] for row in ours])
    assert [row[3] for row in ours] == sorted((row[3] for row in ours), reverse=True)


@pytest.mark.parametrize("decoder", DECODERS)
def test_only_an_open_vocabulary_decodes_a_name(decoder, tmp_path):
    path = tmp_path / "lm.arpa.gz"
    build_language_model(["hello my love", "my heart", "love my dear heart"], 3, path)
    given = path_emissions("|HE_L_LO_|_MY_|_ZO_E_|_MY_|_LOVE|__")

    def decoded(open_vocabulary):
        options = DecodingOptions(decoder=decoder, open_vocabulary=open_vocabulary)
        return [word.text for word in BeamSearch(ENGLISH, path, options).decode(given)]

    assert decoded(True) == ["hello", "my", "zoe", "my", "love"]
    assert set(decoded(False)) <= {"hello", "my", "love", "heart", "dear"}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("with_model", [False, True])
@pytest.mark.parametrize("open_vocabulary", [False, True])
def test_no_frames_blanks_and_delimiters_give_one_hypothesis_without_words(decoder, with_model, open_vocabulary, arpa):
    options = DecodingOptions(decoder=decoder, open_vocabulary=open_vocabulary)
    for path in ("", "____", "|", "__||__|"):
        given = path_emissions(["<pad>" if symbol == "_" else symbol for symbol in path], 0.9999, TINY)
        assert [each.words for each in BeamSearch(TINY, arpa if with_model else None, options).n_best(given, 1)] == [()]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("with_model", [False, True])
def test_hot_words_get_their_bonus_and_need_not_be_known(decoder, seed, with_model, arpa):
    path, given = arpa if with_model else None, random_emissions(5, seed)
    options = exhaustive(decoder, alpha=0.7, beta=0.9, open_vocabulary=not with_model, hot_word_bonus=1.3)
    hot_words = {"b", "aa", "zoe"}
    theirs = {row[0]: row for row in expected(given, path, options, hot_words)}
    count = len(theirs) if with_model else 10
    ours = found(given, path, options, count, hot_words)
    assert_same(ours, [theirs[row[0]] for row in ours])
    assert [row[3] for row in ours] == sorted((row[3] for row in ours), reverse=True)
    assert ours[0][3] == pytest.approx(max(row[3] for row in theirs.values()), abs=1e-4)
    if with_model:
        assert len(ours) == count
        assert any("aa" in row[0].split() for row in ours)


@pytest.mark.parametrize("decoder", DECODERS)
def test_hot_words_are_forgotten(decoder, arpa):
    given, options = random_emissions(5, 0), DecodingOptions(decoder=decoder, open_vocabulary=False)
    search = BeamSearch(given.vocabulary, arpa, options)
    cold = search.n_best(given, 5)
    assert search.n_best(given, 5, {"aa", "ab", "b"}) != cold
    assert search.n_best(given, 5, {"a"}) != cold
    assert search.n_best(given, 5) == cold


@pytest.mark.parametrize("decoder", DECODERS)
def test_segments_are_joined_in_and_between_sentences(decoder, tmp_path):
    path = tmp_path / "lm.arpa"
    build_language_model(["new york", "new shoes", "work is over", "fork and knife"] * 3, 3, path)
    pause = "_" * 20 + "|" + "_" * 20
    options = DecodingOptions(decoder=decoder)

    def decoded(symbols, unsure):
        """The words of a path with one frame, "?", that could be several letters."""
        probs = path_emissions(symbols.replace("?", "_")).log_probs.exp()
        probs[symbols.index("?")] = torch.tensor([unsure.get(token, 1e-4) for token in ENGLISH.tokens])
        words = BeamSearch(ENGLISH, path, options).decode(emissions(probs.log(), ENGLISH))
        return [word.text for word in words]

    # After "new", the sentence goes on with "york"; where it has ended, the next one begins with "work" or "fork".
    assert decoded(f"NEW{pause}?ORK|", {"Y": 0.3, "W": 0.4, "F": 0.3}) == ["new", "york"]
    assert decoded(f"NEW_|SHOES{pause}?ORK_|I_S|", {"Y": 0.4, "W": 0.3, "F": 0.3}) == ["new", "shoes", "work", "is"]


def test_joining_finds_the_best_of_all_combinations(arpa):
    model, options = (
        WordLanguageModel(arpa, DecodingOptions()),
        DecodingOptions(alpha=0.7, beta=0.9, hot_word_bonus=0.4),
    )
    rng = random.Random(0)
    texts = [(), ("a",), ("b",), ("a", "b"), ("ab", "a"), ("ba",), ("bab",)]
    for _ in range(20):
        segments = [[SegmentHypothesis(words, rng.uniform(-4, 0)) for words in rng.sample(texts, 3)] for _ in range(3)]
        best = {}
        for parts in itertools.product(*segments):
            texts_of_parts = [part.words for part in parts]
            text = tuple(word for words in texts_of_parts for word in words)
            sung = [words for words in texts_of_parts if words]
            for breaks in itertools.product([False, True], repeat=max(0, len(sung) - 1)):
                sentences = [list(sung[0])] if sung else [[]]
                for words, is_break in zip(sung[1:], breaks, strict=True):
                    sentences = [*sentences, list(words)] if is_break else [*sentences[:-1], sentences[-1] + [*words]]
                log10 = sum(kenlm.Model(str(arpa)).score(" ".join(each)) for each in sentences)
                log10 -= sum(len(word) for word in text if word == "bab")
                score = sum(part.acoustic_score for part in parts) + 0.7 * math.log(10) * log10
                score += 0.9 * len(text) + 0.4 * text.count("b")
                best[text] = max(best.get(text, -math.inf), score)
        ranked = sorted(best, key=best.__getitem__, reverse=True)[:5]
        ours = join_segments(segments, model, options, {"b"}, 5)
        assert [sum(each.segments, ()) for each in ours] == ranked
        assert [each.score for each in ours] == pytest.approx([best[text] for text in ranked], abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("vocabulary", [TINY, UNDELIMITED])
def test_the_probability_of_a_text_is_that_of_all_its_paths(seed, vocabulary):
    given = random_emissions(6, seed, vocabulary)
    symbols = Symbols.of(vocabulary)
    columns = symbols.columns(given.log_probs)
    for text, log_prob in text_log_probs(given).items():
        assert text_log_prob(columns, symbols, text.split()) == pytest.approx(log_prob, abs=1e-5)
    assert text_log_prob(columns, symbols, ["abababa"]) == -math.inf


@pytest.mark.parametrize("decoder", DECODERS)
def test_an_impossible_count_and_damaged_models_are_refused(decoder, tmp_path):
    with pytest.raises(ValueError, match="count is 0"):
        BeamSearch(TINY, None, DecodingOptions(decoder=decoder)).n_best(random_emissions(2, 0), 0)
    binary = tmp_path / "model.bin"
    binary.write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0" + bytes(range(256)))
    with pytest.raises(ValueError, match=r"model\.bin: a damaged KenLM binary"):
        BeamSearch(TINY, binary, DecodingOptions(decoder=decoder))
    broken = tmp_path / "broken.arpa"
    broken.write_text("\\data\\\nngram 1=2\nngram 2=1\n\n\\1-grams:\n-1\tone\t0\n")
    with pytest.raises(ValueError, match=r"broken\.arpa: KenLM cannot read it"):
        BeamSearch(ENGLISH, broken, DecodingOptions(decoder=decoder))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("open_vocabulary", [True, False])
def test_a_language_model_of_another_script_is_refused(tmp_path, decoder, open_vocabulary):
    path = tmp_path / "russian.arpa"
    build_language_model(["моя любовь", "любовь"], 2, path)
    with pytest.raises(ValueError, match=r"russian\.arpa: .* can spell 0 of its 2 words; build"):
        BeamSearch(ENGLISH, path, DecodingOptions(decoder=decoder, open_vocabulary=open_vocabulary))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("seed", range(3))
def test_a_language_model_in_capitals_scores_as_in_lower_case(tmp_path, arpa, decoder, seed):
    path = tmp_path / "capitals.arpa"
    build_language_model([sentence.upper() for sentence in SENTENCES], 2, path)
    given, options = random_emissions(6, seed), exhaustive(decoder, alpha=0.8)
    for mine, other in zip(found(given, path, options, 5), found(given, arpa, options, 5), strict=True):
        assert mine[0] == other[0]
        assert mine[1:] == pytest.approx(other[1:])


def test_a_word_in_both_cases_is_looked_up_in_lower_case(tmp_path):
    path = tmp_path / "mixed.arpa"
    build_language_model(["May may I", "I may", "I'm Zoe"], 2, path)
    model = WordLanguageModel(path, DecodingOptions())
    assert [model.form(word) for word in ("may", "zoe", "i'm", "i", "other")] == ["may", "Zoe", "I'm", "I", "other"]


def test_no_progress_bar_is_drawn(arpa, capfd):
    BeamSearch(TINY, arpa, DecodingOptions(decoder="flashlight"))
    assert capfd.readouterr() == ("", "")
