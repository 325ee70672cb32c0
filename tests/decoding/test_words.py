import math
from dataclasses import replace

import kenlm
import pytest
import torch

from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.decoding.flashlight import FlashlightDecoder
from lyrics_asr.decoding.greedy import greedy
from lyrics_asr.decoding.lines import cut_lines
from lyrics_asr.language_model import build_language_model, read_unigrams
from lyrics_asr.options import DecodingOptions, LineOptions
from lyrics_asr.types import TimedWord, Vocabulary
from tests.emissions import (
    ENGLISH,
    GRID,
    TINY,
    emissions,
    path_emissions,
    random_emissions,
    text_log_probs,
    voice_falls,
)

EXHAUSTIVE = DecodingOptions(decoder="pyctcdecode", beam_width=10_000, beam_prune_logp=-1e9, token_min_logp=-1e9)


def texts(words):
    return [word.text for word in words]


def test_greedy_recovers_a_known_path():
    words = greedy(path_emissions("__|HH_EL_LLO_||_YO_U|__"))
    assert texts(words) == ["hello", "you"]
    assert words[0].start_seconds == pytest.approx(GRID.seconds(3))
    assert words[0].end_seconds == pytest.approx(GRID.seconds(12))
    assert (words[1].start_seconds, words[1].end_seconds) == pytest.approx((GRID.seconds(16), GRID.seconds(20)))


def test_greedy_collapses_repeats_and_keeps_double_letters():
    assert texts(greedy(path_emissions("HHEELLO"))) == ["helo"]
    assert texts(greedy(path_emissions("HEL_LO"))) == ["hello"]
    assert texts(greedy(path_emissions("A|A"))) == ["a", "a"]


def test_confidence_is_the_geometric_mean_over_the_letters_frames():
    probs = torch.tensor([[0.05, 0.8, 0.1, 0.05], [0.1, 0.1, 0.7, 0.1], [0.1, 0.1, 0.3, 0.5], [0.1, 0.05, 0.05, 0.8]])
    expected = pytest.approx((0.8 * 0.5 * 0.8) ** (1 / 3))
    (word,) = greedy(emissions(probs.log()))
    assert (word.text, word.confidence) == ("ab", expected)
    (word,) = BeamSearch(TINY, None, DecodingOptions()).decode(emissions(probs.log()))
    assert (word.text, word.confidence) == ("ab", expected)


@pytest.mark.parametrize("decode", [greedy, BeamSearch(ENGLISH, None, DecodingOptions()).decode])
def test_no_frames_and_silence_give_no_words(decode):
    assert decode(emissions(torch.zeros(0, len(ENGLISH.tokens)), ENGLISH)) == ()
    assert decode(path_emissions("____|____")) == ()


@pytest.mark.parametrize("seed", range(12))
def test_beam_search_finds_the_most_likely_of_all_texts(seed):
    given = random_emissions(5, seed)
    scores = text_log_probs(given)
    best = max(scores, key=scores.__getitem__)
    assert " ".join(texts(BeamSearch(TINY, None, EXHAUSTIVE).decode(given))) == best


@pytest.mark.parametrize("decoder", ["flashlight", "pyctcdecode"])
@pytest.mark.parametrize("seed", range(12))
def test_beam_search_with_a_language_model_finds_the_best_of_all_texts(decoder, seed, tmp_path):
    path = tmp_path / "tiny.arpa"
    build_language_model(["a b", "ab a", "b b a", "ba"], 2, path)
    model, lexicon = kenlm.Model(str(path)), read_unigrams(path)
    options = replace(EXHAUSTIVE, decoder=decoder, alpha=0.7, beta=0.9)
    given = random_emissions(5, seed)

    def score(text, log_prob):
        log10 = model.score(text) - sum(len(word) for word in text.split() if word not in lexicon)
        return log_prob + 0.7 * math.log(10) * log10 + 0.9 * len(text.split())

    scores = {text: score(text, log_prob) for text, log_prob in text_log_probs(given).items()}
    best = max(scores, key=scores.__getitem__)
    assert " ".join(texts(BeamSearch(TINY, path, options).decode(given))) == best


def test_one_beam_without_a_language_model_is_greedy_search():
    for seed in range(5):
        given = random_emissions(40, seed, ENGLISH)
        one = BeamSearch(ENGLISH, None, DecodingOptions(beam_width=1)).decode(given)
        columns = [0, *range(4, len(ENGLISH.tokens))]
        masked = torch.full_like(given.log_probs, -1e4)
        masked[:, columns] = given.log_probs[:, columns]
        assert texts(one) == texts(greedy(emissions(masked, ENGLISH)))


def test_language_model_decides_between_words_that_sound_alike(tmp_path):
    path = tmp_path / "words.arpa.gz"
    build_language_model(["the night is young", "a knight rides out", "good night"], 3, path)
    given = path_emissions("GO_OD_|KNIGHT|")
    probs = given.log_probs.exp()
    probs[7, [ENGLISH.tokens.index("K"), ENGLISH.blank_id]] = torch.tensor([0.5, 0.4])
    noisy = emissions(probs.log(), ENGLISH)
    assert texts(greedy(noisy)) == ["good", "knight"]
    words = BeamSearch(ENGLISH, path, DecodingOptions()).decode(noisy)
    assert texts(words) == ["good", "night"]
    assert words[1].start_seconds == pytest.approx(GRID.seconds(8))


def test_beam_search_times_are_those_of_a_known_path():
    path = "__|HH_EL_LLO_||" + "_" * 80 + "YO_U|" + "_" * 35 + "|ME_"
    generator = torch.Generator().manual_seed(0)
    given = path_emissions(path, 0.6)
    noise = 0.4 * torch.randn(given.log_probs.shape, generator=generator)
    noisy = emissions((given.log_probs + noise).log_softmax(-1), ENGLISH)
    words = BeamSearch(ENGLISH, None, DecodingOptions()).decode(noisy)
    assert texts(words) == ["hello", "you", "me"]
    for word, (start, last, limit) in zip(words, [(3, 11, 87), (95, 98, 136), (136, 137, 139)], strict=True):
        end = voice_falls(noisy, last, limit)  # at most 75 frames after the last letter
        assert (word.start_seconds, word.end_seconds) == pytest.approx((GRID.seconds(start), noisy.seconds(end)))
        assert 0.3 < word.confidence < 1


def test_a_long_note_inside_a_word_does_not_part_it():
    given = path_emissions("LO" + "_" * 60 + "NG|")
    assert texts(BeamSearch(ENGLISH, None, DecodingOptions()).decode(given)) == ["long"]


def test_a_segment_without_long_pauses_is_split_between_words(monkeypatch):
    lengths = []
    decode = FlashlightDecoder.decode

    def spy(decoder, log_probs, hot_words):
        lengths.append(len(log_probs))
        return decode(decoder, log_probs, hot_words)

    monkeypatch.setattr(FlashlightDecoder, "decode", spy)
    path = "LO_VE__|__" * 300 + "L" + "_" * 2000 + "OVE|"
    words = texts(BeamSearch(ENGLISH, None, DecodingOptions()).decode(path_emissions(path)))
    assert words == ["love"] * 301
    assert sum(lengths) == len(path)
    assert max(lengths[:-1]) <= 1500 < len(lengths) * 1500
    assert lengths[-1] > 2000  # one word, however long it is held
    del lengths[:]
    assert texts(BeamSearch(ENGLISH, None, DecodingOptions()).decode(path_emissions(path[:1490]))) == ["love"] * 149
    assert lengths == [1490]


def test_a_model_without_weight_is_left_out(tmp_path):
    path = tmp_path / "words.arpa"
    build_language_model(["the night is young"], 2, path)
    given, options = random_emissions(40, 0, ENGLISH), DecodingOptions(alpha=0.0, beta=2.0)
    assert BeamSearch(ENGLISH, path, options).n_best(given, 3) == BeamSearch(ENGLISH, None, options).n_best(given, 3)


def test_two_cases_of_a_letter_are_one():
    both = Vocabulary(("<pad>", "a", "A", "b"), 0, None)
    probs = torch.tensor([[0.1, 0.25, 0.25, 0.4]])
    for words in (
        greedy(emissions(probs.log(), both)),
        BeamSearch(both, None, EXHAUSTIVE).decode(emissions(probs.log(), both)),
    ):
        assert [(word.text, word.confidence) for word in words] == [("a", pytest.approx(0.5))]  # fmt: skip


def test_special_symbols_are_never_decoded():
    given = path_emissions(["A", "<unk>", "|", "B"])
    assert "".join(texts(greedy(given))).isalpha()
    assert all(word.isalpha() for word in texts(BeamSearch(ENGLISH, None, DecodingOptions()).decode(given)))


def test_other_vocabulary_and_missing_language_model_are_refused(tmp_path):
    with pytest.raises(ValueError, match="a different vocabulary"):
        BeamSearch(TINY, None, DecodingOptions()).decode(path_emissions("A"))
    with pytest.raises(FileNotFoundError, match=r"none\.arpa: no such language model"):
        BeamSearch(TINY, tmp_path / "none.arpa", DecodingOptions())


def word_sequence(spans):
    return [
        TimedWord(f"w{i}", float(start), float(end), 0.25 if i % 2 else 1.0) for i, (start, end) in enumerate(spans)
    ]


def test_lines_end_at_pauses():
    words = word_sequence([(0, 1), (1.5, 2), (2.6, 3), (3.1, 4)])
    lines = cut_lines(words, LineOptions(pause_seconds=0.6, max_words=12))
    assert [line.text for line in lines] == ["w0 w1", "w2 w3"]
    assert [(line.start_seconds, line.end_seconds) for line in lines] == [(0, 2), (2.6, 4)]
    assert [line.confidence for line in lines] == pytest.approx([0.5, 0.5])
    assert [word for line in lines for word in line.words] == words


def test_long_lines_are_cut_at_their_longest_silence_then_in_the_middle():
    spans = [(i, i + 0.9) for i in range(9)]
    spans[2] = (2, 2.7)
    lines = cut_lines(word_sequence(spans), LineOptions(pause_seconds=5.0, max_words=4))
    assert [len(line.words) for line in lines] == [3, 3, 3]
    lines = cut_lines(word_sequence([(i, i + 1) for i in range(1000)]), LineOptions(max_words=1))
    assert [line.text for line in lines] == [f"w{i}" for i in range(1000)]


def test_no_words_no_lines_and_no_room_for_words():
    assert cut_lines([], LineOptions()) == ()
    with pytest.raises(ValueError, match="max_words is 0"):
        cut_lines([], LineOptions(max_words=0))


def test_a_broken_language_model_is_named(tmp_path):
    path = tmp_path / "broken.arpa"
    path.write_text("\\data\\\nngram 1=2\nngram 2=1\n\n\\1-grams:\n-1\tone\t0\n")
    with pytest.raises(ValueError, match=r"broken\.arpa: KenLM cannot read it"):
        BeamSearch(ENGLISH, path, DecodingOptions())
