import csv
import json
import time
from dataclasses import replace
from pathlib import Path

import av
import pytest
import torch

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.corpora import catalogs
from lyrics_asr.corpora.catalogs import Track, read_catalog
from lyrics_asr.corpora.pairs import (
    NO_ARTIST,
    NO_LENGTH,
    NO_TITLE,
    NO_VERSION,
    TAKEN,
    UNNAMED,
    UNREADABLE,
    find_pairs,
)
from lyrics_asr.corpora.titles import artist_key, parse_title
from tests.corpora.made_catalog import make_catalog


@pytest.mark.parametrize("seed", [0, 1])
def test_pairs_of_a_made_catalogue_are_found(seed):
    made = make_catalog(2000, seed)
    found = {(pair.mix.path, pair.stem.path) for pair in find_pairs(made.tracks).pairs}
    assert len(found & made.pairs) >= 0.98 * len(found)
    assert len(found & made.pairs) >= 0.9 * len(made.pairs)


@pytest.mark.parametrize(
    ("title", "song", "kind", "version"),
    [
        ("Titan (feat. Ada) [2011 Remaster] - Instrumental", "titan", "instrumental", set()),
        ("Titan (Inst.)", "titan", "instrumental", set()),
        ("Titan (Radio Edit Instrumental)", "titan", "instrumental", {"radio", "edit"}),
        ("Titan (Ada Remix) [Acapella]", "titan", "a cappella", {"ada", "remix"}),
        ("Titan (Live)", "titan", "mix", {"live"}),
        ("Titan, Pt. 2 (Karaoke)", "titan pt 2", "instrumental", {"pt", "2"}),
        ("Канарейка (минус)", "канареика", "instrumental", set()),
        ("群青【オフボーカル】", "群青", "instrumental", set()),
        ("노래 (반주)", "노래", "instrumental", set()),
        ("Playback", "playback", "mix", set()),
        ("Karaoke", "karaoke", "mix", set()),
        ("Karaoke (Instrumental)", "karaoke", "instrumental", set()),
    ],
)
def test_titles_are_taken_apart(title, song, kind, version):
    parsed = parse_title(title)
    assert (parsed.song, parsed.kind, parsed.version) == (song, kind, version)


def test_an_album_of_instrumentals_has_instrumentals():
    assert parse_title("Titan", "Moons (Instrumentals)").kind == "instrumental"
    assert parse_title("Titan (Live)", "Karaoke Hits").version == {"live"}


def test_artists_are_compared_without_their_guests():
    assert artist_key("The Béatas feat. Ada") == artist_key("beatas") == artist_key("Beatas, The")
    assert artist_key("Ada & Bob") == artist_key("ADA and Bob") != artist_key("Ada")


def test_every_stem_without_a_mix_has_a_reason():
    mix = Track(Path("mix"), "Ada", "Titan", 200.0)
    tracks = [
        mix,
        replace(mix, path=Path("near"), title="Titan (Instrumental)", duration_seconds=200.5),
        replace(mix, path=Path("nearer"), title="Titan - Karaoke", duration_seconds=200.1),
        replace(mix, path=Path("artist"), artist="Bob", title="Titan (Instrumental)"),
        replace(mix, path=Path("title"), title="Rhea (Instrumental)"),
        replace(mix, path=Path("version"), title="Titan (Live) [Instrumental]"),
        replace(mix, path=Path("length"), title="Titan (Acapella)", duration_seconds=201.1),
        replace(mix, path=Path("unread"), title="Titan (Acapella)", duration_seconds=None),
        replace(mix, path=Path("unnamed"), artist=""),
    ]
    search = find_pairs(tracks)
    assert [(str(pair.mix.path), str(pair.stem.path), pair.kind) for pair in search.pairs] == [
        ("mix", "nearer", "instrumental")
    ]
    assert search.stems == 6
    assert search.dropped_stems == {
        "near": TAKEN,
        "artist": NO_ARTIST,
        "title": NO_TITLE,
        "version": NO_VERSION,
        "length": NO_LENGTH,
    }
    assert search.dropped_tracks == {"unread": UNREADABLE, "unnamed": UNNAMED}


def tagged(path: Path, artist: str, title: str) -> None:
    write_audio(path, Audio(0.1 * torch.randn(1, 8000), 8000))
    untagged = path.with_suffix(".untagged.flac")
    path.rename(untagged)
    with av.open(str(untagged)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        target.metadata.update(artist=artist, title=title)
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    untagged.unlink()


def test_tags_are_read_once(tmp_path, monkeypatch):
    folder, cache = tmp_path / "music", tmp_path / "tags.jsonl"
    folder.mkdir()
    tagged(folder / "a.flac", "Ada", "Titan")
    tagged(folder / "b.flac", "Ada", "Titan (Instrumental)")
    (folder / "broken.mp3").write_bytes(b"nothing")
    tracks = read_catalog(folder, cache)
    assert [(track.artist, track.title) for track in tracks[:2]] == [("Ada", "Titan"), ("Ada", "Titan (Instrumental)")]
    assert tracks[0].duration_seconds == pytest.approx(1.0, abs=0.01)
    assert tracks[2].duration_seconds is None

    with cache.open("a") as file:
        file.write('{"path": "/an/interrup')
    read = []
    monkeypatch.setattr(catalogs, "read_tags", lambda path: read.append(path.name) or {})
    assert read_catalog(folder, cache) == tracks
    assert not read
    time.sleep(0.01)
    tagged(folder / "a.flac", "Ada", "Rhea")
    read_catalog(folder, cache)
    assert read == ["a.flac"]


def test_catalogue_files_give_what_they_say(tmp_path):
    recordings = [
        {
            "path": "music/a.mp3",
            "title": "Titan",
            "length": 201_500,
            "disambiguation": "instrumental",
            "artist-credit": [{"name": "Ada", "joinphrase": " & "}, {"artist": {"name": "Bob"}}],
        }
    ]
    (tmp_path / "a.json").write_text(json.dumps({"recordings": recordings}))
    (tmp_path / "a.jsonl").write_text(json.dumps(recordings[0]))
    expected = Track(tmp_path / "music/a.mp3", "Ada & Bob", "Titan (instrumental)", 201.5)
    for name in ("a.json", "a.jsonl"):
        assert read_catalog(tmp_path / name, tmp_path / "tags.jsonl") == (expected,)
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["path", "artist", "title", "duration_seconds"],
                ["music/a.mp3", "Ada & Bob", "Titan (instrumental)", "201.5"],
            ]
        )
    assert read_catalog(tmp_path / "a.csv", tmp_path / "tags.jsonl") == (expected,)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "path,artist\nx.mp3,Ada\n", "row 1: no column title"),
        ("a.csv", "path,artist,title\n../x.mp3,Ada,Titan\n", "leads out of its folder"),
        ("a.csv", "path,artist,title,duration_seconds\nx.mp3,Ada,Titan,long\n", "must be a number of seconds"),
        ("a.json", "{", "not JSON"),
        ("a.json", '{"works": []}', "lacks recordings"),
        ("a.json", '[{"path": "x.mp3", "title": "Titan"}]', "recording 1: a recording lacks artist"),
        ("a.json", '[{"path": "x.mp3", "title": "Titan", "artist": "Ada", "length": "4:20"}]', "milliseconds"),
        ("a.jsonl", '{"path": "/etc/passwd", "title": "Titan", "artist": "Ada"}', "leads out of its folder"),
        ("a.json", "[]", "lists no recording"),
        ("a.txt", "", "no such folder, nor a catalogue"),
    ],
)
def test_bad_catalogues_are_named_with_row_and_cause(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        read_catalog(tmp_path / name, tmp_path / "tags.jsonl")
    assert name in str(error.value)
