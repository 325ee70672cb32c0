import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyrics_asr.corpora.manifest import (
    LineTimes,
    Song,
    TimedPhone,
    fit_lines,
    fit_words,
    read_manifest,
    require_distinct_ids,
    write_manifest,
)
from lyrics_asr.lyrics.text import parse_corpus_lyrics
from lyrics_asr.types import TimedWord

RECORD = {
    "id": "one",
    "audio": "one/mixture.flac",
    "lyrics": "Hello\n",
    "words": [{"text": "Hello", "start_seconds": 0.5, "end_seconds": 1}],
    "language": "en",
}


def write_lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_songs_come_back_as_they_were_written(tmp_path):
    songs = (
        Song(
            id="größe 1",
            audio=tmp_path / "a" / "mixture.flac",
            lyrics="[Chorus]\nIt's \u201ctrue\u201d\u2028\n\nüber\x85\n",
            words=(TimedWord("It's", 0.1, 0.2, 1.0), TimedWord("\u201ctrue\u201d", 1 / 3, 2 / 3, 1.0)),
            language="de",
            vocals=tmp_path / "a" / "vocals.flac",
            accompaniment=tmp_path / "a" / "accompaniment.flac",
            genre="Pop",
        ),
        Song(
            "b",
            tmp_path / "b.mp3",
            "la",
            (TimedWord("la", 0.0, 0.5, 1.0),),
            "fr",
            phones=((TimedPhone("l", 0.0, 0.1), TimedPhone("a", 0.1, 0.5)),),
            f0=tmp_path / "songs" / "f0.npy",
        ),
        Song(
            "c",
            tmp_path / "c.mp3",
            "[Verse]\nLa, la\n\n(la)\n",
            (),
            "fr",
            lines=(LineTimes("La, la", 1 / 3, 2 / 3), LineTimes("(la)", 0.5, 0.5)),
        ),
    )
    write_manifest(tmp_path / "manifest.jsonl", songs)
    assert read_manifest(tmp_path / "manifest.jsonl") == songs


def test_phones_of_older_manifests_are_read_and_written_under_their_new_key(tmp_path):
    phones = [{"name": "l", "start_seconds": 0.0, "end_seconds": 0.1}]
    path = write_lines(tmp_path / "m.jsonl", RECORD | {"words": [RECORD["words"][0] | {"sounds": phones}]})
    (song,) = read_manifest(path)
    assert song.phones == ((TimedPhone("l", 0.0, 0.1),),)
    write_manifest(path, [song])
    assert json.loads(path.read_text(encoding="utf-8"))["words"][0]["phones"] == phones
    assert read_manifest(path) == (song,)


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_survives(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("songs")
    song = Song(text, folder / "a.flac", text, (TimedWord(text, 0.0, 1.0, 1.0),), "en")
    write_manifest(folder / "manifest.jsonl", [song])
    assert read_manifest(folder / "manifest.jsonl") == (song,)


def test_a_song_without_line_times_is_written_as_ever(tmp_path):
    song = Song("a", tmp_path / "a.mp3", "la", (TimedWord("la", 0.0, 0.5, 1.0),), "fr")
    write_manifest(tmp_path / "m.jsonl", [song])
    assert json.loads((tmp_path / "m.jsonl").read_text(encoding="utf-8")).keys() == {
        *("id", "audio", "lyrics", "words", "language", "vocals", "accompaniment", "genre"),
    }


def test_words_and_lines_take_their_text_from_the_lyrics(tmp_path):
    lyrics = parse_corpus_lyrics("[Verse]\nLa, la\n\n(Hey)\n")
    words = [TimedWord("x", start, start + 0.5, 0.3) for start in (0.0, 1.0, 2.0)]
    lines = [LineTimes("x", 0.0, 1.5), LineTimes("x", 2.0, 2.5)]
    times, text = tmp_path / "times.csv", tmp_path / "lyrics.txt"
    assert fit_words(words, lyrics, times, text) == (
        TimedWord("La,", 0.0, 0.5, 1.0),
        TimedWord("la", 1.0, 1.5, 1.0),
        TimedWord("(Hey)", 2.0, 2.5, 1.0),
    )
    assert fit_lines(lines, lyrics, times, text) == (LineTimes("La, la", 0.0, 1.5), LineTimes("(Hey)", 2.0, 2.5))
    with pytest.raises(ValueError, match=r"times\.csv: 2 word times for the 3 words of .*lyrics\.txt"):
        fit_words(words[:2], lyrics, times, text)
    with pytest.raises(ValueError, match=r"times\.csv: 3 line times for the 2 sung lines of .*lyrics\.txt"):
        fit_lines([*lines, lines[0]], lyrics, times, text)


@pytest.mark.parametrize(
    ("start", "end"), [(-0.1, 1.0), (1.0, 0.9), (float("nan"), 1.0), (0.0, float("nan")), (0.0, float("inf"))]
)
def test_lines_have_valid_times(start, end):
    with pytest.raises(ValueError, match="'la' has no valid time"):
        LineTimes("la", start, end)


def test_distinct_ids_are_required(tmp_path):
    songs = [Song(name, tmp_path / "a.mp3", "la", (), "en") for name in ("a", "b", "a")]
    require_distinct_ids(songs[:2], tmp_path)
    with pytest.raises(ValueError, match="a second song with the id 'a'; ids must differ"):
        require_distinct_ids(songs, tmp_path)


def test_a_folder_can_be_moved_with_its_manifest(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    write_manifest(old / "m.jsonl", [Song("a", old / "x" / "a.flac", "la", (), "en")])
    old.rename(new)
    assert read_manifest(new / "m.jsonl")[0].audio == new / "x" / "a.flac"


def test_writing_refuses_files_outside_the_folder(tmp_path):
    song = Song("a", tmp_path / "elsewhere" / "a.flac", "la", (), "en")
    with pytest.raises(ValueError, match=r"song 'a': .*elsewhere.* lies outside"):
        write_manifest(tmp_path / "here" / "manifest.jsonl", [song])
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize(
    "path", ["../a.flac", "/etc/passwd", "x/../../a", "C:\\a.flac", "\\\\host\\a", "..\\a", "a\0b"]
)
@pytest.mark.parametrize("key", ["audio", "vocals", "accompaniment"])
def test_reading_refuses_paths_out_of_the_folder(tmp_path, key, path):
    manifest = write_lines(tmp_path / "m.jsonl", RECORD, RECORD | {"id": "two", key: path})
    with pytest.raises(
        ValueError, match=r"m\.jsonl, line 2: the path .* leads out of its folder, .*; move the file into it"
    ):
        read_manifest(manifest)


def word(**changes):
    return {"words": [RECORD["words"][0] | changes]}


def line(**changes):
    return {"lines": [RECORD["words"][0] | changes]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mood": "sad"}, "a song has unknown keys: mood"),
        ({"id": ""}, "id must be a non-empty string"),
        ({"id": 3}, "id must be a non-empty string, not 3"),
        ({"lyrics": None}, "lyrics must be a non-empty string"),
        ({"words": "la"}, "words must be a list, not str"),
        ({"words": ["la"]}, "a word must be a JSON object, not str"),
        ({"words": [{"text": "la"}]}, "a word lacks end_seconds, start_seconds"),
        (word(pitch=3), "a word has unknown keys: pitch"),
        (word(start_seconds="1"), "start_seconds must be a number of seconds, not '1'"),
        (word(start_seconds=True), "start_seconds must be a number of seconds, not True"),
        (word(start_seconds=2), "no valid time: 2.0 to 1.0 s"),
        (word(start_seconds=-1), "no valid time"),
        (word(end_seconds=float("inf")), "no valid time"),
        (word(end_seconds=float("nan")), "no valid time"),
        (word(start_seconds=10**400), "start_seconds must be a number of seconds, not 1000"),
        (word(text="\ud800"), r"text must be a non-empty string, not '\\ud800'"),
        ({"lines": "la"}, "lines must be a list, not str"),
        ({"lines": [3]}, "a line must be a JSON object, not int"),
        (line(phones=[]), "a line has unknown keys: phones"),
        (line(text=""), "text must be a non-empty string"),
        (line(start_seconds=2), "'Hello' has no valid time: 2.0 to 1.0 s"),
        (line(end_seconds=float("nan")), "no valid time"),
        ({"lines": line()["lines"] * 2}, "2 lines have times but the lyrics have 1; give them to all lines or to none"),
        (word(phones="la"), "phones must be a list, not str"),
        (word(phones=[{"name": "l"}]), "a phone lacks end_seconds, start_seconds"),
        ({"words": [*RECORD["words"], *word(phones=[])["words"]]}, "1 of 2 words have phones"),
    ],
)
def test_bad_songs_are_named_with_line_and_cause(tmp_path, changes, message):
    manifest = write_lines(tmp_path / "m.jsonl", RECORD | changes)
    with pytest.raises(ValueError, match=message) as caught:
        read_manifest(manifest)
    assert str(caught.value).startswith(f"{manifest}, line 1: ")


def test_missing_keys_are_named(tmp_path):
    record = {key: value for key, value in RECORD.items() if key not in ("audio", "lyrics")}
    with pytest.raises(ValueError, match="line 1: a song lacks audio, lyrics"):
        read_manifest(write_lines(tmp_path / "m.jsonl", record))


def test_an_id_stands_once(tmp_path):
    with pytest.raises(ValueError, match="line 2: a second song with the id 'one'"):
        read_manifest(write_lines(tmp_path / "m.jsonl", RECORD, RECORD))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no song"),
        (b"\n \n", "holds no song"),
        (b"{", "line 1: not JSON"),
        (b"[" * 100_000, "line 1: not JSON"),
        (b"[]", "line 1: a song must be a JSON object, not list"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_files_that_are_no_manifest(tmp_path, content, message):
    path = tmp_path / "m.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_manifest(path)


def test_no_manifest_tells_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="lyrics-asr data synth"):
        read_manifest(tmp_path / "m.jsonl")
