import pytest
import torch

from lyrics_asr.emissions import Emissions
from lyrics_asr.evaluation.decoder_tuning import tune
from lyrics_asr.language_model import build_language_model
from lyrics_asr.options import DecodingOptions
from lyrics_asr.types import FrameGrid, Vocabulary

VOCABULARY = Vocabulary(("<pad>", "|", *"abcdehlnorst"), blank_id=0, word_delimiter_id=1)
GRID = FrameGrid(320, 400, 16_000)
LINES = ["the hat", "the hen", "to the net", "on the net", "the best hat", "no hen", "a nest"]


def emissions_of(text, noise, seed):
    """Emissions that spell a text, a letter and a blank in turn, under noise."""
    symbols = [0]
    for letter in text.replace(" ", "|"):
        symbols += [VOCABULARY.tokens.index(letter), 0]
    logits = torch.nn.functional.one_hot(torch.tensor(symbols), len(VOCABULARY.tokens)) * 4.0
    logits += noise * torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed))
    return Emissions(logits.log_softmax(1), VOCABULARY, GRID, len(symbols) * 0.02)


@pytest.fixture
def language_model(tmp_path):
    path = tmp_path / "lm.arpa"
    build_language_model(LINES * 3, 2, path)
    return path


def test_a_model_of_the_same_lyrics_helps_where_letters_are_unsure(language_model):
    texts = [" ".join(LINES[i : i + 3]) for i in range(5)]
    songs = [emissions_of(text, 1.8, seed) for seed, text in enumerate(texts)]
    trials = []
    tuning = tune(songs, texts, language_model, DecodingOptions(beam_width=20), trials.append)
    assert tuning.helps
    assert tuning.options.alpha > 0
    # A dearer beam would have to help beyond chance, which five songs cannot show.
    affordable = [trial for trial in trials if trial.options.beam_width <= 20 and trial.options.beam_prune_logp >= -14]
    assert tuning.with_model.value == min(trial.wer for trial in affordable)
    assert len({trial.options for trial in trials}) == len(trials)
    assert tuning.with_model.value < tuning.without_model.value
    assert tuning.gain.high < 0
    assert tuning.options in [trial.options for trial in trials]
    assert tuning.options.beam_width <= 20


def test_a_model_that_does_not_help_gets_no_weight(language_model):
    texts = ["bends rand", "hordes told a boast", "rest"]  # words that it lacks, with certain emissions
    songs = [emissions_of(text, 0.1, seed) for seed, text in enumerate(texts)]
    tuning = tune(songs, texts, language_model, DecodingOptions(beam_width=20), lambda trial: None)
    assert not tuning.helps
    assert tuning.options.alpha == 0
    assert tuning.without_model.value == 0


def test_one_song_cannot_tell(language_model):
    tuning = tune([emissions_of(LINES[0], 0.1, 0)], LINES[:1], language_model, DecodingOptions(), lambda trial: None)
    assert tuning.gain is None
    assert not tuning.helps


def test_no_songs_are_refused(language_model):
    with pytest.raises(ValueError, match="no development songs"):
        tune([], [], language_model, DecodingOptions(), lambda trial: None)
