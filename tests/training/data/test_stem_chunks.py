from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.corpora.manifest import Song, TimedPhone
from lyrics_asr.training.config import MixOptions
from lyrics_asr.training.data.stem_chunks import ChunkBatches, cut_chunk, draw_pause, prepare_stems
from lyrics_asr.types import TimedWord, Vocabulary

LETTERS = Vocabulary(("<pad>", "|", "'", *"abcdefghijklmnopqrstuvwxyz"), 0, 1)
RATE_HZ = 8000


@st.composite
def songs_words(draw):
    steps = draw(st.lists(st.integers(1, 20), min_size=2, max_size=20))
    edges = np.cumsum(steps) / 10
    return [TimedWord("x", float(a), float(b), 1.0) for a, b in zip(edges[::2], edges[1::2], strict=False)]


@given(songs_words(), st.floats(0, 20), st.floats(0.1, 10))
def test_a_chunk_cuts_no_word_and_hears_no_other(words, start, length):
    chunk = cut_chunk(words, start, start + length)
    assert start <= chunk.start_seconds <= chunk.end_seconds
    for number, word in enumerate(words):
        if number in chunk.words:
            assert chunk.start_seconds <= word.start_seconds
            assert word.end_seconds <= chunk.end_seconds <= start + length
        else:
            heard = min(word.end_seconds, chunk.end_seconds) - max(word.start_seconds, chunk.start_seconds)
            assert heard <= 1e-9


def test_the_labels_of_a_chunk_count_from_its_start(corpus):
    songs, stems = corpus
    heard = [
        (TimedPhone("A", w.start_seconds, w.start_seconds + 0.1), TimedPhone("B", w.start_seconds + 0.1, w.end_seconds))
        for w in songs[0].words
    ]
    songs = [replace(song, phones=tuple(heard)) for song in songs]
    batch = batches((songs, stems))[0]
    seconds = batch.label_spans[:, 1] - batch.label_spans[:, 0]
    expected = {"a": 0.1, "b": 0.4, "|": 0.04}
    for token, duration in zip(batch.labels.tolist(), seconds.tolist(), strict=True):
        assert duration == pytest.approx(expected[LETTERS.tokens[token]], abs=1e-5)
    assert batch.phones.tolist() == [1, 2] * (int(batch.phone_lengths.sum()) // 2)  # A and B of every word
    letters = batch.labels != LETTERS.word_delimiter_id
    torch.testing.assert_close(batch.phone_spans[:, 0], batch.label_spans[letters, 0])
    assert float(batch.label_spans.min()) >= 0
    assert float(batch.label_spans.max()) <= 2.5


@pytest.fixture
def corpus(tmp_path):
    """Two songs whose samples tell where they are; the second has no accompaniment."""
    songs = []
    for number in range(2):
        folder = tmp_path / str(number)
        samples = torch.linspace(-0.5, 0.5, 10 * RATE_HZ)[None].repeat(2, 1)
        for name, signal in (("vocals", samples), ("accompaniment", -samples if number == 0 else 0 * samples)):
            write_audio(folder / f"{name}.wav", Audio(signal, RATE_HZ))
        words = tuple(TimedWord("ab", i + 0.2, i + 0.7, 1.0) for i in range(10))
        files = {"vocals": folder / "vocals.wav", "accompaniment": folder / "accompaniment.wav"}
        songs.append(Song(str(number), folder / "vocals.wav", "", words, "en", **files))
    return songs, prepare_stems(songs, RATE_HZ, 1, 1)


def batches(corpus, **options):
    settings = {"steps": 3, "batch_size": 4, "chunk_seconds": 2.5, "mix": MixOptions(remix_prob=0.0), "seed": (1,)}
    return ChunkBatches(*corpus, LETTERS, sample_rate_hz=RATE_HZ, **{**settings, **options})


def test_rows_are_windows_of_the_stems_padded_with_silence(corpus):
    batch = batches(corpus)[0]
    assert batch.vocals.shape == batch.accompaniment.shape == (4, 1, round(2.5 * RATE_HZ))
    step = 1 / (10 * RATE_HZ - 1)  # of the ramp from one sample to the next
    for vocals, length in zip(batch.vocals[:, 0], batch.lengths, strict=True):
        gain = (vocals[length - 1] - vocals[0]) / (step * (length - 1))
        assert 10 ** (-6 / 20) <= gain <= 10 ** (3 / 20)
        torch.testing.assert_close(vocals[:length].diff() / gain, torch.full((length - 1,), step), atol=1e-4, rtol=0)
        assert not vocals[length:].any()


def test_labels_belong_to_the_rows(corpus):
    batch = batches(corpus)[0]
    assert int(batch.label_lengths.sum()) == len(batch.labels)
    words = (batch.label_lengths + 1) // 3  # "ab", and a border between two of them
    assert ((words >= 1) & (words <= 3)).all()


def test_a_batch_depends_on_seed_and_step_alone(corpus):
    first, again, other = batches(corpus)[2], batches(corpus)[2], batches(corpus, seed=(2,))[2]
    torch.testing.assert_close(first.vocals, again.vocals)
    assert not torch.equal(first.vocals, other.vocals)
    with pytest.raises(IndexError):
        batches(corpus)[3]


def test_a_song_with_no_accompaniment_borrows_another_within_six_decibels(corpus):
    for step in range(3):
        batch = batches(corpus, mix=MixOptions(remix_prob=1.0))[step]
        ratio = batch.accompaniment.square().mean((1, 2)) / batch.vocals.square().mean((1, 2))
        assert ((ratio > 10**-0.61) & (ratio < 10**0.61)).all()


def test_the_level_of_another_accompaniment_is_in_its_range(corpus):
    mix = MixOptions(remix_prob=1.0, lowest_level_db=10.0, highest_level_db=12.0)
    batch = batches(corpus, mix=mix)[0]
    ratio = batch.accompaniment.square().mean((1, 2)) / batch.vocals.square().mean((1, 2))
    assert ((ratio > 10**0.99) & (ratio < 10**1.21)).all()


@given(songs_words(), st.floats(0, 3), st.floats(0.5, 4), st.integers(0, 99))
def test_a_pause_holds_no_word(words, after, longest, seed):
    song_seconds = words[-1].end_seconds + after
    edges = [0.0, *(t for word in words for t in (word.start_seconds, word.end_seconds)), song_seconds]
    pause = draw_pause(words, song_seconds, longest, np.random.default_rng(seed))
    assert (pause is None) == all(b - a < 1 for a, b in zip(edges[::2], edges[1::2], strict=True))
    if pause is not None:
        assert 0 < pause.end_seconds - pause.start_seconds <= longest + 1e-9
        assert pause.start_seconds >= 0
        assert pause.end_seconds <= song_seconds + 1e-9
        for word in words:
            heard = min(word.end_seconds, pause.end_seconds) - max(word.start_seconds, pause.start_seconds)
            assert heard <= 1e-9


def test_a_share_of_the_rows_are_pauses(corpus):
    songs, stems = corpus
    songs = [replace(song, words=song.words[4:6]) for song in songs]  # at 4.2 to 5.7 s of ten
    options = {"mix": MixOptions(remix_prob=1.0, silence_prob=0.3), "steps": 50, "batch_size": 8}
    counts = torch.cat([each.label_lengths for each in batches((songs, stems), **options)])
    assert float((counts == 0).float().mean()) == pytest.approx(0.3, abs=0.07)
    with pytest.raises(ValueError, match=r"held no pause of 1\.0 s"):
        batches(corpus, mix=MixOptions(silence_prob=1.0))[0]


def test_the_mixture_is_the_sum_of_the_stems_where_they_are_known(corpus):
    batch = batches(corpus)[0]
    torch.testing.assert_close(batch.mixture, batch.vocals + batch.accompaniment)
    assert replace(batch, accompaniment=None).mixture is None
    song = replace(batch, vocals=None, accompaniment=None, unseparated=batch.vocals)
    assert song.mixture is batch.vocals


def test_a_batch_names_its_rows_and_moves_with_all_its_tensors(corpus):
    batch = batches(corpus)[0]
    assert all(name.split(",")[0] in ("0", "1") for name in batch.chunk_ids)
    moved = replace(batch, accompaniment=None).to(torch.device("meta"))
    assert moved.chunk_ids == batch.chunk_ids
    assert moved.accompaniment is None
    assert {value.device.type for value in vars(moved).values() if isinstance(value, torch.Tensor)} == {"meta"}


def test_songs_without_a_word_that_fits_are_an_error_and_not_a_hang(corpus):
    with pytest.raises(ValueError, match=r"1000 chunks of 0\.2 s held no whole word"):
        batches(corpus, chunk_seconds=0.2)[0]


def test_songs_in_one_folder_keep_their_own_stems(corpus):
    songs, _ = corpus
    moved = [replace(song, audio=song.audio.parent.parent / f"{song.id}.wav") for song in songs]
    first, second = (np.load(path) for path in prepare_stems(moved, RATE_HZ, 1, 1))
    assert first[1].any()
    assert not second[1].any()


def test_stems_are_decoded_once(corpus):
    songs, paths = corpus
    before = [path.stat().st_mtime_ns for path in paths]
    assert [path.stat().st_mtime_ns for path in prepare_stems(songs, RATE_HZ, 1, 1)] == before


def test_a_song_without_stems_is_named(tmp_path):
    song = Song("a", tmp_path / "a.wav", "", (), "en")
    with pytest.raises(ValueError, match="names no stems"):
        prepare_stems([song], RATE_HZ, 1, 1)
