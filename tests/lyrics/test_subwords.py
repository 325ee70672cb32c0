"""Words in pieces and phonemes; the oracle is the tokenizer of transformers, which phonemizes by itself."""

import pytest

from lyrics_asr.lyrics.spelling import spell, spell_by_sound
from lyrics_asr.lyrics.subwords import pronounce, voice_for
from lyrics_asr.models.acoustic import _vocabulary
from lyrics_asr.models.tokenizers import phoneme_tokenizer, train_pieces
from lyrics_asr.types import WILDCARD, Vocabulary

TEXT = ["the river runs away tonight", "don't run away from the river", "tonight the lights are running"]


def vocabulary_of(tokenizer):
    return _vocabulary("test", tokenizer, len(tokenizer.get_vocab()))


@pytest.fixture(scope="module")
def pieces():
    return train_pieces(TEXT, 40)


@pytest.mark.parametrize("word", ["River,", "don't", "tonight", "away?!", "lightrunner"])
def test_words_have_the_pieces_of_the_tokenizer_and_come_back(pieces, word):
    vocabulary = vocabulary_of(pieces)
    columns = spell(word, vocabulary)
    plain = word.lower().strip(",?!")
    assert list(columns) == pieces(plain, add_special_tokens=False).input_ids
    assert vocabulary.text(columns) == plain == pieces.decode(columns)


def test_a_text_is_the_pieces_of_its_words(pieces):
    vocabulary = vocabulary_of(pieces)
    for line in TEXT:
        columns = [column for word in line.split() for column in spell(word, vocabulary)]
        assert columns == pieces(line, add_special_tokens=False).input_ids
        assert vocabulary.text(columns) == line


def test_letters_without_a_piece_are_folded_or_match_anything(pieces):
    vocabulary = vocabulary_of(pieces)
    assert spell("awäy", vocabulary) == spell("away", vocabulary)
    assert WILDCARD in spell("jazz", vocabulary)
    assert spell("...", vocabulary) == ()
    assert WILDCARD not in spell_by_sound("та", vocabulary)  # "ta", by its sound


def test_more_characters_than_pieces_are_refused():
    with pytest.raises(ValueError, match="10 word pieces are too few for a text of 19 characters"):
        train_pieces(TEXT, 10)


@pytest.mark.parametrize(("language", "voice"), [("en", "en-us"), ("de", "de"), ("fr", "fr-fr")])
def test_words_have_the_phonemes_of_transformers(language, voice):
    words = {"en": ["river", "tonight", "don't"], "de": ["Straße", "heute"], "fr": ["demain", "cœur"]}[language]
    inventory = {phoneme for word in words for phoneme in pronounce(word.lower(), voice)}
    tokenizer = phoneme_tokenizer(inventory, voice)
    vocabulary = vocabulary_of(tokenizer)
    for word in words:
        columns = spell(word, vocabulary, language)
        assert WILDCARD not in columns
        assert list(columns) == tokenizer(word).input_ids
        assert vocabulary.text(columns) == " ".join(tokenizer.phonemize(word.lower(), voice).split())


def test_phonemes_that_the_vocabulary_lacks_are_taken_apart():
    """ "cheese" is t͡ʃiːz: without "tʃ" and "iː", its parts are taken."""
    assert pronounce("cheese", "en-us") == ("tʃ", "iː", "z")
    vocabulary = Vocabulary(("<pad>", "t", "ʃ", "i"), 0, None, phoneme_voice="en-us")
    assert spell("cheese", vocabulary) == (1, 2, 3, WILDCARD)


def test_languages_have_voices():
    assert voice_for("en") == "en-us"
    assert voice_for("en", "en-gb") == "en-gb"
    assert voice_for("de") == "de"
    with pytest.raises(ValueError, match="no voice for the language 'xx'; it has af, "):
        voice_for("xx")
