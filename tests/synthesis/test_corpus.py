import json
from dataclasses import replace

import numpy as np
import pytest

from lyrics_asr.audio import read_audio
from lyrics_asr.corpora.manifest import read_manifest
from lyrics_asr.synthesis import corpus as synthetic
from lyrics_asr.synthesis import players, styles
from lyrics_asr.synthesis.lyrics import load_lyrics, part_of_lyric
from lyrics_asr.synthesis.options import SyntheticOptions
from lyrics_asr.synthesis.singers import draw_voice
from lyrics_asr.synthesis.song import _least_seconds, render
from lyrics_asr.synthesis.tts import speak
from tests.fork_server import forked
from tests.paths import LYRICS

OPTIONS = SyntheticOptions(songs=2, lines=2, seed=3)
"""Those of the songs that `training_corpus` makes."""


@pytest.fixture(scope="module")
def corpus(training_corpus):
    """Folder and songs of the shared corpus."""
    return training_corpus.parent, list(read_manifest(training_corpus))


def test_the_splits_share_no_song_and_no_line():
    splits = [load_lyrics(LYRICS, split) for split in ("training", "development", "held_out")]
    assert [len(split) for split in splits[1:]] == [6, 10]
    names = [set(split) for split in splits]
    assert not names[0] & names[1] | names[0] & names[2] | names[1] & names[2]
    lines = [{line.lower() for song in split.values() for stanza in song for line in stanza} for split in splits]
    assert not lines[0] & lines[2]


def test_the_lyrics_are_as_many_as_promised():
    words, lines, songs = set(), 0, 0
    for split in ("training", "development", "held_out"):
        for stanzas in load_lyrics(LYRICS, split).values():
            songs += 1
            lines += sum(len(stanza) for stanza in stanzas)
            words.update(w.strip(",.?!").lower() for stanza in stanzas for line in stanza for w in line.split())
    assert songs >= 80
    assert lines >= 2000
    assert len(words) >= 2500


def test_the_stems_add_up_and_the_voice_stands_out_of_the_band_while_it_sings(corpus):
    for song in corpus[1]:
        mixture, vocals, accompaniment = (
            read_audio(path).samples.double() for path in (song.audio, song.vocals, song.accompaniment)
        )
        assert mixture.shape == vocals.shape == accompaniment.shape
        np.testing.assert_allclose(mixture, vocals + accompaniment, atol=2 / 32768)
        assert float(mixture.abs().max()) == pytest.approx(0.9, abs=1e-3)
        sung = np.zeros(vocals.shape[1], dtype=bool)
        for word in song.words:
            sung[round(word.start_seconds * 44100) : round(word.end_seconds * 44100)] = True
        level_db = 10 * np.log10(float(vocals[:, sung].square().mean() / accompaniment[:, sung].square().mean()))
        assert -10.5 < level_db < 7.5  # drawn from -9 to 6 dB; limiter and codec come after


def test_the_words_are_the_lyrics_in_order_and_the_voice_is_where_they_are(corpus):
    for song in corpus[1]:
        assert [word.text for word in song.words] == song.lyrics.split()
        times = [t for word in song.words for t in (word.start_seconds, word.end_seconds)]
        assert times == sorted(times)
        for word, phones in zip(song.words, song.phones, strict=True):
            ends = (phones[0].start_seconds, phones[-1].end_seconds)
            assert ends == pytest.approx((word.start_seconds, word.end_seconds))
        vocals = read_audio(song.vocals)
        assert times[-1] < vocals.duration_seconds
        energy = vocals.samples.square().mean(0)
        for word in song.words:
            inside = energy[
                round(word.start_seconds * vocals.sample_rate_hz) : round(word.end_seconds * vocals.sample_rate_hz)
            ]
            assert inside.mean() > 1e-4 * energy.mean()


@pytest.mark.slow
def test_a_seed_gives_the_same_songs_however_many_processes_make_them(corpus, tmp_path):
    with forked(synthetic):
        songs = synthetic.generate(tmp_path, replace(OPTIONS, processes=2), LYRICS)
    for ours, theirs in zip(songs, corpus[1], strict=True):
        assert ours.words == theirs.words
        assert ours.audio.read_bytes() == theirs.audio.read_bytes()


@pytest.mark.slow
def test_the_manifest_reads_back_and_complete_songs_are_kept(corpus):
    folder, songs = corpus
    assert read_manifest(folder / "manifest.jsonl") == tuple(songs)
    before = songs[0].audio.stat().st_mtime_ns
    with forked(synthetic):
        assert synthetic.generate(folder, OPTIONS, LYRICS) == songs
    assert songs[0].audio.stat().st_mtime_ns == before


def test_a_folder_of_other_songs_is_not_mixed_with_these(corpus):
    with pytest.raises(ValueError, match=r"songs with other options or lyrics .*choose another folder"):
        synthetic.generate(corpus[0], replace(OPTIONS, lines=3), LYRICS)


def test_dali_annotations_link_every_level_to_the_one_above(corpus):
    song = corpus[1][0]
    annotations = json.loads((song.audio.parent / "dali.json").read_text())["annotations"]["annot"]
    lines = [
        " ".join(w["text"] for w in annotations["words"] if w["index"] == i) for i in range(len(annotations["lines"]))
    ]
    assert lines == [line["text"] for line in annotations["lines"]] == song.lyrics.splitlines()
    assert all(low <= high for level in annotations.values() for entry in level for low, high in [entry["freq"]])
    assert annotations["paragraphs"][0]["time"] == [song.words[0].start_seconds, song.words[-1].end_seconds]


def test_held_out_songs_sing_every_line_once():
    songs = load_lyrics(LYRICS, "held_out")
    sung = [line for index in range(30) for line in part_of_lyric(songs, index)[1]]
    assert sorted(sung) == sorted(line for song in songs.values() for stanza in song for line in stanza)


def test_an_unknown_split_and_a_folder_without_lyrics_are_named(tmp_path):
    with pytest.raises(ValueError, match="split must be training, development or held_out, not 'test'"):
        SyntheticOptions(split="test")
    with pytest.raises(ValueError, match=r"must be 0 to 1 together, not 1\.25"):
        SyntheticOptions(word_salad_share=0.75, generated_share=0.5)
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        load_lyrics(tmp_path, "training")


def test_lines_that_repeat_a_word_are_often_held_and_others_are_not():
    rng = np.random.default_rng(0)
    vocables, words = (speak(line, "en-us", 150) for line in ("ooh ooh ooh", "my moon may rise"))
    spoken = _least_seconds(words, rng)
    assert all(_least_seconds(words, rng) == spoken for _ in range(50))
    drawn = [_least_seconds(vocables, rng) for _ in range(300)]
    assert all(len(each) == 3 and len(set(each)) == 1 for each in drawn)
    held = [each[0] for each in drawn if each[0] >= 0.4]
    assert 0.5 < len(held) / len(drawn) < 0.7
    assert 3.5 < max(held) < 14 / 3


def test_no_wordless_choir_sings_where_the_lyrics_have_vocables(monkeypatch):
    sung = []
    monkeypatch.setitem(players.PLAYERS, "choir", lambda band: sung.append("choir") or band.silence())
    for name, style in styles.STYLES.items():
        monkeypatch.setitem(styles.STYLES, name, replace(style, players={"choir": 1.0, "pad": 1.0}))
    voice = draw_voice("en", np.random.default_rng(0))
    for line, choirs in (("my moon", 1), ("ooh ooh", 0)):
        sung.clear()
        render([["my moon"], [line]], voice, np.random.default_rng(1))
        assert len(sung) == choirs


def test_natural_voices_need_their_folder_and_are_not_for_held_out_songs(tmp_path):
    with pytest.raises(ValueError, match="natural_voices_share needs natural_voices"):
        SyntheticOptions(natural_voices_share=0.5)
    with pytest.raises(ValueError, match="held-out songs have voices of their own"):
        SyntheticOptions(split="held_out", natural_voices=tmp_path, natural_voices_share=0.5)
    songs = load_lyrics(LYRICS, "training")
    options = SyntheticOptions(natural_voices=tmp_path, natural_voices_share=0.5)
    voices = [synthetic.draw_job(songs, options, number).voice for number in range(60)]
    assert 15 < sum(voice.natural is not None for voice in voices) < 45
    without = [synthetic.draw_job(songs, replace(options, natural_voices_share=0.0), n) for n in range(3)]
    assert [job.voice for job in without] == [synthetic.draw_job(songs, SyntheticOptions(), n).voice for n in range(3)]
