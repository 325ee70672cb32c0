import multiprocessing
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from lhotse import CutSet

from lyrics_asr.corpora.manifest import read_manifest
from lyrics_asr.synthesis import corpus as synthetic
from lyrics_asr.synthesis.options import SyntheticOptions
from lyrics_asr.training.data import song_stream
from lyrics_asr.training.data.options import ChunkOptions, StreamOptions
from lyrics_asr.training.data.prepare_manifest import cut_songs
from lyrics_asr.training.data.song_stream import SongSource, SongStream, StreamError, stream_phones
from tests import fork_server

LYRICS = Path(__file__).parents[3] / "data" / "lyrics"
OPTIONS = StreamOptions(songs_per_round=2, processes=1, seed=8, lines=1, lyrics=str(LYRICS), chunk_seconds=5.0)


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
    """Starts streams, whose processes are forked from a server; so are those that make a stored corpus."""
    open_streams = []

    def start(options, rounds):
        open_streams.append(SongStream(tmp_path / "stream", options, rounds))
        return open_streams[-1]

    with fork_server.forked(song_stream, synthetic):
        yield start
        for each in open_streams:
            each.close()
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_rounds_are_the_cuts_of_a_stored_corpus_though_they_were_left_half_made(stream, tmp_path):
    synthetic.generate(tmp_path / "stored", SyntheticOptions(songs=4, seed=8, lines=1, processes=2), LYRICS)
    cut_songs(tmp_path / "stored" / "manifest.jsonl", tmp_path / "cuts", ChunkOptions(chunk_seconds=5.0))
    first = stream(replace(OPTIONS, processes=2), 2)
    first.wait_for(0)
    first.close()
    done, broken = read_manifest(first.folder(0) / "manifest.jsonl")
    kept = done.audio.stat().st_mtime_ns
    for path in (first.cuts(0), first.folder(0) / "1.jsonl", broken.audio.with_name("phones.json")):
        path.unlink()  # as a killed process leaves it
    broken.audio.write_bytes(broken.audio.read_bytes()[:1000])

    rounds = stream(OPTIONS, 2)
    found = []
    for number in range(2):
        rounds.wait_for(number)
        assert number or done.audio.stat().st_mtime_ns == kept
        found += [described(cut) for cut in CutSet.from_file(rounds.cuts(number))]
    assert found == [described(cut) for cut in CutSet.from_file(tmp_path / "cuts" / "cuts.jsonl.gz")]
    assert any(alignment for *_, alignment in found)
    assert list((tmp_path / "stream").iterdir()) == [rounds.folder(1)]
    made = rounds.cuts(1).stat().st_mtime_ns
    again = stream(OPTIONS, 2)
    again.wait_for(1)
    assert rounds.cuts(1).stat().st_mtime_ns == made


def described(cut):
    """All of a cut but where it is stored; of the audio a part."""
    sung = [(each.text, each.language, each.alignment) for each in cut.supervisions]
    return cut.id, cut.duration, cut.load_vocals()[:, ::97].tolist(), cut.load_accompaniment()[:, ::97].tolist(), sung


def test_a_song_that_cannot_be_made_is_named(stream, lyrics):
    rounds = stream(replace(OPTIONS, word_salad_share=0.0, lyrics=lyrics("¿\n")), 1)
    with pytest.raises(StreamError, match=r"song [01] of the stream with seed 8, en, cannot be made: \w+Error: "):
        rounds.wait_for(0)


def test_a_maker_that_is_killed_ends_the_wait(stream, monkeypatch):
    rounds = stream(OPTIONS, 1)
    monkeypatch.setattr(rounds, "_context", FakeContext)
    with pytest.raises(StreamError, match=r"a process that makes songs ended with exit code -9; start the run again"):
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


@pytest.mark.slow
def test_the_phones_of_the_lyrics_are_listed_once(lyrics, tmp_path):
    options = replace(
        OPTIONS,
        lyrics=lyrics("Cats sing\nThe cats sing to the moon\n"),
        lines=2,
        word_salad_share=0.0,
        generated_share=0.0,
    )
    names = stream_phones(tmp_path, options)
    assert list(names) == sorted(set(names))
    song = SongSource(options).make(0, tmp_path)
    sung = {phone.name for word in song.phones for phone in word}
    assert {"t", "s", "n", "m"} <= sung & set(names)
    (path,) = tmp_path.glob("phones-*.json")
    path.write_text('["kept"]')
    assert stream_phones(tmp_path, options) == ("kept",)
