import json
import logging

import pytest

from lyrics_asr.corpora.manifest import LineTimes
from lyrics_asr.corpora.musdb_alt import read_musdb_alt

TEXT = "Some day (some day)\n\nHey!\n"
RECORD = {
    "name": "Al James - Fascination",
    "text": TEXT,
    "text_tagged": "Some day (some day)\n\n<nl> Hey! </nl>\n",
    "lines": [
        {"start": 1.0, "end": 2.5, "text": "Some day (some day)"},
        {"start": 2.25, "end": 3.0, "text": "Hey!\n", "text_tagged": "<nl> Hey! </nl>"},
    ],
}


def make_track(folder, lyrics=None, *, vocals=True):
    folder.mkdir(parents=True)
    for stem in ("mixture", "drums", "bass", "other", *(("vocals",) if vocals else ())):
        (folder / f"{stem}.wav").touch()
    if lyrics is not None:
        (folder / "lyrics.txt").write_text(lyrics, encoding="utf-8")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_songs_with_lyrics_are_read_wherever_these_lie(tmp_path, caplog):
    make_track(tmp_path / "train" / "A", TEXT)
    make_track(tmp_path / "train" / "Without")
    make_track(tmp_path / "test" / "Beside")
    make_track(tmp_path / "test" / "Top", vocals=False)
    make_track(tmp_path / "Flat", TEXT)
    make_track(tmp_path / "test" / RECORD["name"])
    write(tmp_path / "test" / "lyrics" / "Beside.txt", "Beside\n")
    write(tmp_path / "lyrics" / "Top.txt", "Oben\n")
    write(tmp_path / "data" / "test.jsonl", json.dumps(RECORD))
    write(tmp_path / "metadata.csv", "Name,Language\nTop,German\nBeside,it\n")
    with caplog.at_level(logging.INFO, logger="lyrics_asr"):
        songs = {song.id: song for song in read_musdb_alt(tmp_path)}
    assert list(songs) == ["A", "Al James - Fascination", "Beside", "Flat", "Top"]
    assert "1 of 6 songs without lyrics are skipped" in caplog.text
    assert {name: song.language for name, song in songs.items() if song.language != "en"} == {
        "Beside": "it",
        "Top": "de",
    }
    assert [songs[name].lyrics for name in ("A", "Beside", "Top", RECORD["name"])] == [TEXT, "Beside\n", "Oben\n", TEXT]
    published = songs[RECORD["name"]]
    assert published.audio == tmp_path / "test" / RECORD["name"] / "mixture.wav"
    assert published.vocals == tmp_path / "test" / RECORD["name"] / "vocals.wav"
    assert published.lines == (LineTimes("Some day (some day)", 1.0, 2.5), LineTimes("Hey!", 2.25, 3.0))
    assert songs["A"].audio == tmp_path / "train" / "A" / "mixture.wav"
    assert songs["Top"].vocals is None
    assert all(song.audio.is_file() and not song.words for song in songs.values())


def test_missing_audio_is_named_and_no_error(tmp_path):
    write(tmp_path / "test.jsonl", json.dumps(RECORD))
    write(tmp_path / "train" / "lyrics" / "B.txt", TEXT)
    write(tmp_path / "C" / "lyrics.txt", TEXT)
    songs = read_musdb_alt(tmp_path)
    assert [song.audio.relative_to(tmp_path).as_posix() for song in songs] == [
        "test/Al James - Fascination/mixture.wav",
        "train/B/mixture.wav",
        "C/mixture.wav",
    ]
    assert not any(song.audio.exists() or song.vocals for song in songs)


def test_lyrics_in_two_places_are_refused(tmp_path):
    make_track(tmp_path / "A", TEXT)
    write(tmp_path / "lyrics" / "A.txt", TEXT)
    with pytest.raises(ValueError, match=r"A: lyrics in .*A.lyrics\.txt and in .*lyrics.A\.txt; remove one"):
        read_musdb_alt(tmp_path)


def test_two_songs_of_one_name_are_refused(tmp_path):
    make_track(tmp_path / "train" / "A", TEXT)
    make_track(tmp_path / "test" / "A")
    with pytest.raises(ValueError, match=r"A: two folders, .*train.A and .*test.A"):
        read_musdb_alt(tmp_path)


def test_nothing_to_read_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder; give the folder with MUSDB18-HQ"):
        read_musdb_alt(tmp_path / "nowhere")
    make_track(tmp_path / "test" / "A")
    with pytest.raises(FileNotFoundError, match=r"no lyrics; put MUSDB-ALT's test\.jsonl there"):
        read_musdb_alt(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../../etc"}, "'../../etc' is not a plain file name"),
        ({"name": ".."}, "'..' is not a plain file name"),
        ({"name": "a\0b"}, "is not a plain file name"),
        ({"name": "C:\\a"}, "is not a plain file name"),
        ({"name": ""}, "name must be a non-empty string"),
        ({"text": "[Verse]\n"}, "the lyrics are empty"),
        ({"text": None}, "text must be a non-empty string"),
        ({"lines": [RECORD["lines"][0] | {"start": -1}]}, "no valid time: -1.0"),
        ({"lines": [RECORD["lines"][0] | {"end": float("nan")}]}, "no valid time"),
        ({"lines": [{}]}, "a line lacks end, start, text"),
    ],
)
def test_bad_tables_are_named(tmp_path, changes, message):
    write(tmp_path / "test.jsonl", f"{json.dumps(RECORD)}\n{json.dumps(RECORD | changes)}\n")
    with pytest.raises(ValueError, match=message) as caught:
        read_musdb_alt(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'test.jsonl'}, line 2: ")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("Name,Language\nA,Klingon\n", r"metadata\.csv, row 1: the language 'Klingon'"),
        ("Name\nA\n", r"metadata\.csv, row 1: no column Language"),
    ],
)
def test_bad_languages_are_named(tmp_path, table, message):
    make_track(tmp_path / "A", TEXT)
    write(tmp_path / "metadata.csv", table)
    with pytest.raises(ValueError, match=message):
        read_musdb_alt(tmp_path)


def test_lyrics_that_are_no_text_are_named(tmp_path):
    make_track(tmp_path / "A", "a\0b")
    with pytest.raises(ValueError, match=r"lyrics\.txt: is not a text file"):
        read_musdb_alt(tmp_path)
