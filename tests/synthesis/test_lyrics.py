import json
import zlib
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from lyrics_asr.lyrics.spelling import spell
from lyrics_asr.synthesis import lyrics
from lyrics_asr.synthesis.options import LANGUAGE_NAMES, LYRICS_FOLDER
from lyrics_asr.types import WILDCARD, Vocabulary
from tests.paths import LYRICS

EMBEDDED = Vocabulary(("<pad>", "|", "'", *"abcdefghijklmnopqrstuvwxyz"), 0, 1)
SPLITS = ("training", "development", "held_out")


def written(songs):
    return [line for stanzas in songs.values() for stanza in stanzas for line in stanza]


def drawn(songs, language, seed=0, lines=8, salad=0.0, generated=0.0):
    rng = np.random.default_rng(seed)
    return lyrics.draw_song(songs, language, rng, lines=lines, word_salad_share=salad, generated_share=generated)


def test_the_english_evaluation_corpus_sings_what_it_always_did():
    songs = lyrics.load_lyrics(LYRICS, "held_out")
    parts = [lyrics.part_of_lyric(songs, index) for index in range(30)]
    assert zlib.crc32(json.dumps(parts).encode()) == 514260503  # of the first evaluation corpus


def test_lyrics_are_found_outside_a_checkout_unless_the_working_directory_has_some(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lyrics.load_lyrics(LYRICS_FOLDER, "held_out") == lyrics.load_lyrics(LYRICS, "held_out")
    (tmp_path / LYRICS_FOLDER).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"data/lyrics: no lyrics in the language 'en' \(available: none\)"):
        lyrics.load_lyrics(LYRICS_FOLDER, "held_out")


@pytest.mark.parametrize("language", ["es", "fr", "de"])
def test_a_language_has_enough_lyrics_and_its_splits_share_no_line(language):
    songs = {split: lyrics.load_lyrics(LYRICS, split, language) for split in SPLITS}
    assert [len(songs[split]) for split in ("development", "held_out")] == [1, 2]
    listed = [song for split in songs.values() for song in split]
    assert len(listed) == len(set(listed)) >= 15
    lines = [line.lower() for split in songs.values() for song in split.values() for line in {*written({"": song})}]
    assert len(lines) == len(set(lines)) >= 420  # no line is in two songs
    assert len(lyrics.words_of(songs["training"], language)) >= 1000


@pytest.mark.parametrize("language", list(LANGUAGE_NAMES))
def test_every_word_is_spelled_with_the_folded_alphabet_of_the_embedded_model(language):
    for split in SPLITS:
        lines = written(lyrics.load_lyrics(LYRICS, split, language))
        for word in sorted({word for line in lines for word in line.split()}):
            spelled = spell(word, EMBEDDED, language)
            assert spelled, f"{word!r} is not sung"
            assert WILDCARD not in spelled
            assert set(word.lower()) <= {*lyrics.ALPHABETS[language], *"',.?!:;«»¿¡\"-()…—’"}


@pytest.mark.parametrize(
    ("written_word", "language", "letters"),
    [
        ("¿Adónde", "es", "adonde"), ("¡niño!", "es", "nino"), ("vergüenza.", "es", "verguenza"),
        ("«Cœur»", "fr", "coeur"), ("l’été,", "fr", "l'ete"), ("Noël…", "fr", "noel"), ("ÇA", "fr", "ca"),
        ("est-ce", "fr", "est|ce"), ("„Straße“", "de", "strasse"), ("‚Füße‘", "de", "fusse"),
        ("geht’s", "de", "geht's"), ("ÄÖÜẞ", "de", "aouss"), ("ex-œnologue", "fr", "ex|oenologue"),
        ("nevermore—never", "en", "nevermore|never"),
    ],
)  # fmt: skip
def test_accents_and_the_punctuation_of_each_language_fold(written_word, language, letters):
    assert "".join(EMBEDDED.tokens[i] for i in spell(written_word, EMBEDDED, language)) == letters


def test_a_song_is_a_stretch_of_one_lyric_in_its_stanzas():
    songs = {
        "a": [["a one", "a two"], ["a three"], ["a four", "a five", "a six"]],
        "b": [["b one"], ["b two", "b three"]],
    }
    seen = set()
    for seed in range(200):
        stanzas = drawn(songs, "en", seed, lines=3)
        lines = [line for stanza in stanzas for line in stanza]
        name = lines[0][0]
        own = written({name: songs[name]})
        assert any(own[i : i + 3] == lines for i in range(len(own)))
        assert all(any(set(stanza) <= set(whole) for whole in songs[name]) for stanza in stanzas)
        for before, after in pairwise(stanzas):
            assert not any({before[-1], after[0]} <= set(whole) for whole in songs[name])
        seen.add(lines[0])
    assert seen == {"a one", "a two", "a three", "a four", "b one"}
    assert drawn(songs, "en", lines=9) in (songs["a"], songs["b"])


@pytest.mark.parametrize("language", list(LANGUAGE_NAMES))
def test_lines_are_replaced_by_known_words_and_by_new_ones_in_their_shares(language):
    songs = dict(list(lyrics.load_lyrics(LYRICS, "training", language).items())[:12])
    originals, known = set(written(songs)), set(lyrics.words_of(songs, language))
    parts = {part for word in known for part in word.split("'")}
    kinds = Counter()
    for seed in range(60):
        for line in (line for stanza in drawn(songs, language, seed, 10, 0.3, 0.2) for line in stanza):
            words = line.split()
            kind = "written" if line in originals else "salad" if known.issuperset(words) else "generated"
            kinds[kind] += 1
            if kind == "generated":
                assert not parts & set(words)
                assert all(lyrics.is_pronounceable(word) and 2 <= len(word) <= 12 for word in words)
                assert lyrics.words_of({"": [[line]]}, language) == tuple(sorted(set(words)))  # in its alphabet
    shares = [kinds[kind] / kinds.total() for kind in ("written", "salad", "generated")]
    assert shares == pytest.approx([0.5, 0.3, 0.2], abs=0.07)
    assert drawn(songs, language, 3, 10, 0.3, 0.2) == drawn(songs, language, 3, 10, 0.3, 0.2)


def test_generated_words_have_the_letter_pairs_and_lengths_of_the_words_learnt_from():
    words = lyrics.words_of(lyrics.load_lyrics(LYRICS, "training", "es"), "es")
    model = lyrics.learn_spelling(words)
    rng = np.random.default_rng(0)
    new = [model.draw(rng) for _ in range(1500)]
    pairs = {pair for word in model.words for pair in pairwise(f" {word} ")}
    assert all(pair in pairs for word in new for pair in pairwise(f" {word} "))
    shares = [np.bincount([len(word) for word in some], minlength=13) / len(some) for some in (model.words, new)]
    assert np.abs(shares[0] - shares[1]).sum() / 2 < 0.06
    assert len(set(new)) > 1200


def test_the_letters_after_a_context_are_as_likely_as_witten_and_bell_say():
    model = lyrics.learn_spelling(("banana", "cabana", "panama"))
    letters, cumulative = model.following["an"]  # banana, cabana and panama: four times, always an a
    counts = dict(zip(letters, np.diff([0, *cumulative]).tolist(), strict=True))
    assert counts == {"a": 4, "\0": 1}  # four seen and one kind: 4 / 5, and 1 / 5 for what a shorter context says
    letters, cumulative = model.following["a"]
    assert dict(zip(letters, np.diff([0, *cumulative]).tolist(), strict=True)) == {"n": 4, " ": 3, "b": 1, "m": 1}


def test_too_few_words_to_make_another_are_said_themselves_and_none_is_an_error():
    assert lyrics.learn_spelling(("tu",)).draw(np.random.default_rng(0)) == "tu"
    with pytest.raises(ValueError, match=r"no pronounceable word of 2 to 12 letters in \('brr', 'x'\)"):
        lyrics.learn_spelling(("brr", "x"))


@pytest.mark.parametrize("word", ["schlange", "thought", "œuf", "y", "rhythm", "ñu", "straße"])
def test_words_that_can_be_pronounced(word):
    assert lyrics.is_pronounceable(word)


@pytest.mark.parametrize("word", ["", "brr", "schtn", "angstvll", "aaah", "wasssen"])
def test_words_that_cannot(word):
    assert not lyrics.is_pronounceable(word)


def test_a_language_or_split_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no lyrics in the language 'it' \(available: de, en, es, fr\)"):
        lyrics.load_lyrics(LYRICS, "training", "it")
    (tmp_path / "es").mkdir()
    for name in lyrics.SPLIT_LISTS.values():
        (tmp_path / "es" / name).touch()
    with pytest.raises(FileNotFoundError, match=r"es: no lyrics of the split 'held_out'"):
        lyrics.load_lyrics(tmp_path, "held_out", "es")
