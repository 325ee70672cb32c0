import multiprocessing
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ
from lyrics_asr.synthesis import corpus as synthetic
from lyrics_asr.synthesis.options import SyntheticOptions
from lyrics_asr.training.config import StreamOptions
from lyrics_asr.training.data import song_stream
from lyrics_asr.training.data.batch import SoundFormat
from lyrics_asr.training.data.song_stream import SongSource, SongStream, StreamError, stream_phones
from lyrics_asr.training.data.stem_chunks import prepare_stems

LYRICS = Path(__file__).parents[3] / "data" / "lyrics"
OPTIONS = StreamOptions(songs_per_round=2, processes=1, seed=8, lines=1, lyrics=str(LYRICS))
MONO = SoundFormat(ACOUSTIC_SAMPLE_RATE_HZ, 1)


@pytest.fixture
def lyrics(tmp_path):
    """Writes a folder of lyrics with one song to train on."""

    def write(text):
        folder = tmp_path / "lyrics" / "en"
        folder.mkdir(parents=True)
        for name in ("development.txt", "held_out.txt"):
            (folder / name).write_text("")
        (folder / "song.txt").write_text(text)
        return str(folder.parent)

    return write


@pytest.fixture
def stream(tmp_path):
    open_streams = []

    def start(options, rounds):
        open_streams.append(SongStream(tmp_path / "stream", options, [MONO] * rounds))
        return open_streams[-1]

    yield start
    for each in open_streams:
        each.close()
    assert not multiprocessing.active_children()


def test_rounds_are_the_songs_of_a_stored_corpus_though_they_were_left_half_made(stream, tmp_path):
    stored = synthetic.generate(tmp_path / "stored", SyntheticOptions(songs=4, seed=8, lines=1, processes=2), LYRICS)
    stored_stems = prepare_stems(stored, MONO.sample_rate_hz, 1, 1)
    first = stream(replace(OPTIONS, processes=2), 2)
    first.wait_for(0)
    first.close()
    done, broken = first.songs(0)
    kept = done.audio.stat().st_mtime_ns
    broken.audio.with_suffix(".jsonl").unlink()  # as a maker leaves it that is killed
    broken.audio.write_bytes(broken.audio.read_bytes()[:1000])

    rounds = stream(OPTIONS, 2)
    for number in range(2):
        rounds.wait_for(number)
        songs = rounds.songs(number)
        assert len(songs) == 2
        assert number or done.audio.stat().st_mtime_ns == kept
        for song, other in zip(songs, stored[2 * number :], strict=False):
            assert (song.words, song.phones, song.lyrics, song.language) == (
                other.words,
                other.phones,
                other.lyrics,
                other.language,
            )
        for song, path in zip(songs, stored_stems[2 * number :], strict=False):
            ours, theirs = np.load(song.audio).astype(int), np.load(path).astype(int)
            assert ours.shape == theirs.shape
            assert np.abs(ours - theirs).max() <= 3  # FLAC has 16 bits before it is resampled
    assert list((tmp_path / "stream").iterdir()) == [rounds.folder(1)]


def test_a_song_that_cannot_be_made_is_named(stream, lyrics):
    rounds = stream(replace(OPTIONS, word_salad_share=0.0, lyrics=lyrics("¿\n")), 1)
    with pytest.raises(StreamError, match=r"song [01] of the stream with seed 8, en, cannot be made: \w+Error: "):
        rounds.wait_for(0)


def test_a_maker_that_is_killed_ends_the_wait(stream, monkeypatch):
    rounds = stream(OPTIONS, 1)
    monkeypatch.setattr(rounds, "_context", FakeContext)
    with pytest.raises(StreamError, match=r"a process that makes songs ended with exit code -9; started again"):
        rounds.wait_for(0)


class FakeContext:
    """Of processes that are killed at once."""

    class Process:
        exitcode = -9

        def __init__(self, target, args, daemon):
            assert daemon

        def start(self):
            pass

        terminate = join = start


def test_other_songs_are_in_another_folder(stream, lyrics):
    options = [OPTIONS, replace(OPTIONS, seed=4), replace(OPTIONS, lyrics=lyrics("hello\n"))]
    assert len({stream(each, 1).folder(0) for each in options}) == 3
    assert stream(OPTIONS, 1).folder(0) == stream(replace(OPTIONS, processes=1), 1).folder(0)


def test_languages_are_sung_by_their_weights(monkeypatch):
    monkeypatch.setattr(song_stream, "load_lyrics", lambda folder, split, language: {})
    source = SongSource(replace(OPTIONS, languages={"es": 3.0, "en": 1.0}))
    counts = Counter(source.language(number) for number in range(2000))
    assert counts["es"] / 2000 == pytest.approx(0.75, abs=0.03)


def test_the_sounds_of_the_lyrics_are_collected_once(lyrics, tmp_path):
    options = replace(
        OPTIONS,
        lyrics=lyrics("Cats sing\nThe cats sing to the moon\n"),
        lines=2,
        word_salad_share=0.0,
        generated_share=0.0,
    )
    names = stream_phones(tmp_path, options)
    assert list(names) == sorted(set(names))
    song, _ = SongSource(options).make(0)
    sung = {sound.name for word in song.phones for sound in word}
    assert {"t", "s", "n", "m"} <= sung & set(names)
    (path,) = tmp_path.glob("phones-*.json")
    path.write_text('["kept"]')
    assert stream_phones(tmp_path, options) == ("kept",)
