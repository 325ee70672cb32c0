"""Checkpoints of word pieces and of phonemes, and new heads for them."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, Wav2Vec2PhonemeCTCTokenizer

from lyrics_asr.alignment.forced_alignment import align_lyrics
from lyrics_asr.lyrics.spelling import spell
from lyrics_asr.lyrics.subwords import pronounce
from lyrics_asr.lyrics.text import parse_lyrics
from lyrics_asr.models.acoustic_checkpoints import build_acoustic, load_acoustic, save_acoustic
from lyrics_asr.models.tokenizers import phoneme_tokenizer, train_pieces
from lyrics_asr.options import AcousticOptions
from tests.emissions import path_emissions
from tests.lyrics.test_subwords import TEXT
from tests.models.test_acoustic import SIZES, song, write_checkpoint

# The first tokens of facebook/wav2vec2-lv-60-espeak-cv-ft, in its order, and others of its inventory.
ESPEAK = [
    "<pad>", "<s>", "</s>", "<unk>", "n", "s", "t", "ə", "l", "a", "i", "k", "d", "m", "ɛ",
    "ɾ", "e", "ɪ", "p", "o", "ɐ", "z", "ð", "f", "j", "v", "b", "ɹ", "ʁ", "ʊ",
    "iː", "r", "w", "ʌ", "u", "ɡ", "æ", "aɪ", "ʃ", "h", "ɔ", "ɑː", "oʊ", "eɪ",
]  # fmt: skip


@pytest.fixture(scope="module")
def espeak(tmp_path_factory):
    """Layout of facebook/wav2vec2-lv-60-espeak-cv-ft: no word delimiter, and a tokenizer that phonemizes."""
    folder = tmp_path_factory.mktemp("espeak")
    columns = {token: column for column, token in enumerate(ESPEAK)}
    write_checkpoint(folder, vocabulary=columns)
    (folder / "vocab.json").write_text(json.dumps(columns))
    for stale in ("tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"):
        (folder / stale).unlink(missing_ok=True)
    Wav2Vec2PhonemeCTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    return folder


def test_a_published_phoneme_checkpoint_aligns(espeak):
    """Every word starts at the first frame of its first phoneme on a known path, and on any audio in order."""
    model = load_acoustic(str(espeak))
    assert (model.vocabulary.unit, model.vocabulary.phoneme_voice) == ("phonemes", "en-us")
    lyrics, path, starts = parse_lyrics("The river sleeps,\nthe see-saw too"), ["_"] * 3, []
    for line in lyrics.lines:
        for word in line.words:
            starts.append(len(path))
            for column in spell(word, model.vocabulary):
                path += [model.vocabulary.tokens[column], "_"]
        path += ["_"] * 5
    given = path_emissions(path, vocabulary=model.vocabulary)
    words = [word for line in align_lyrics(given, lyrics).lines for word in line.words]
    assert [word.text for word in words] == ["The", "river", "sleeps,", "the", "see-saw", "too"]
    assert [word.start_seconds for word in words] == [given.seconds(frame) for frame in starts]
    (emissions,) = model.emissions([song(40_000)], AcousticOptions())
    times = [word.start_seconds for line in align_lyrics(emissions, lyrics, keep_all=True).lines for word in line.words]
    assert times == sorted(times)


def test_phonemes_are_spelled_with_the_ids_of_the_checkpoint(espeak):
    model, tokenizer = load_acoustic(str(espeak)), AutoTokenizer.from_pretrained(espeak)
    for word in ("river", "sleeps", "the", "too"):
        phonemes = pronounce(word, "en-us")
        if set(phonemes) <= set(ESPEAK):
            assert list(spell(word, model.vocabulary)) == tokenizer(word).input_ids


@pytest.mark.parametrize("unit", ["pieces", "phonemes"])
@pytest.mark.parametrize("is_new", [True, False])
def test_new_vocabularies_are_saved_as_transformers_reads_them(unit, is_new, tmp_path):
    """A new network, and a checkpoint of letters with a new head, which keeps the letters that are tokens."""
    words = [word for line in TEXT for word in line.split()]
    tokenizer = train_pieces(TEXT, 40)
    if unit == "phonemes":
        tokenizer = phoneme_tokenizer({phoneme for word in words for phoneme in pronounce(word, "en-us")}, "en-us")
    if is_new:
        model = build_acoustic(SIZES, tokenizer).eval()
    else:
        old, _ = write_checkpoint(tmp_path / "letters")
        model = load_acoustic(str(tmp_path / "letters"), vocabulary=tokenizer)
        assert torch.equal(model.network.lm_head.weight[model.vocabulary.tokens.index("t")], old.lm_head.weight[6])
    save_acoustic(model, tmp_path / "saved")
    again = load_acoustic(str(tmp_path / "saved"))
    assert again.vocabulary == model.vocabulary
    torch.testing.assert_close(again(song(5000)[None]), model(song(5000)[None]))
    published = AutoTokenizer.from_pretrained(tmp_path / "saved")
    for word in words:
        assert list(spell(word, again.vocabulary)) == published(word, add_special_tokens=False).input_ids
    assert Path(tmp_path / "saved" / ("tokenizer.json" if unit == "pieces" else "vocab.json")).is_file()
