import json
import logging
import unicodedata

import pytest

from lyrics_asr.corpora.jam_alt import read_jam_alt
from lyrics_asr.corpora.manifest import LineTimes, read_manifest, write_manifest

HEADER = "URL,Filepath,Artist,Title,Genre,LicenseType,Language,LyricOverlap,Polyphonic,NonLexical\n"
NAME = "Café_-_Été"
TEXT = "L'été, là! (Là)\n  Bientôt…\n\nOh, oh (oh)\n\n"
RECORD = {
    "name": NAME,
    "file_name": f"audio/{NAME}.mp3",
    "title": "Été",
    "text": TEXT,
    "language": "fr",
    "lines": [
        {"start": 1.5, "end": 2.25, "text": "L'été, là! (Là)\n", "text_tagged": "L'été, là! (Là)\n"},
        {"start": 3, "end": 4.5, "text": "Bientôt…\n"},
        {"start": 4.25, "end": 5.0, "text": "Oh, oh (oh)"},
    ],
}


def make_csv_corpus(folder, *, name=NAME, language="French", lyrics=TEXT, form="NFC"):
    (folder / "audio").mkdir()
    (folder / "lyrics").mkdir()
    row = f"https://example.org,{name}.mp3,Café,Été,Pop,CC BY,{language},false,false,false\n"
    (folder / "metadata.csv").write_text(HEADER + row, encoding="utf-8")
    (folder / "lyrics" / f"{unicodedata.normalize(form, NAME)}.txt").write_text(lyrics, encoding="utf-8")
    return folder


def make_json_corpus(folder, *records):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(record) for record in records]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_the_text_is_the_published_one(tmp_path, form):
    make_csv_corpus(tmp_path, form=form)
    (tmp_path / "audio" / f"{unicodedata.normalize(form, NAME)}.mp3").touch()
    (song,) = read_jam_alt(tmp_path)
    assert (song.id, song.language, song.genre) == (NAME, "fr", "Pop")
    assert song.lyrics == TEXT
    assert (song.words, song.lines, song.vocals) == ((), (), None)
    assert song.audio.is_file()


def test_json_tables_tell_the_times_of_lines(tmp_path):
    make_json_corpus(tmp_path / "subsets" / "fr", RECORD)
    make_json_corpus(tmp_path / "subsets" / "en", RECORD | {"name": "b", "language": "en", "lines": None})
    make_csv_corpus(tmp_path, lyrics="an older text")
    english, french = read_jam_alt(tmp_path)
    assert (english.id, english.language, english.lines) == ("b", "en", ())
    assert french.lyrics == TEXT
    assert french.lines == (
        LineTimes("L'été, là! (Là)", 1.5, 2.25),
        LineTimes("Bientôt…", 3.0, 4.5),
        LineTimes("Oh, oh (oh)", 4.25, 5.0),
    )
    assert french.words == ()
    assert french.audio == tmp_path / "subsets" / "fr" / "audio" / f"{NAME}.mp3"
    assert read_jam_alt(tmp_path / "subsets" / "fr") == (french,)


def test_the_table_at_the_top_comes_before_those_of_the_languages(tmp_path):
    make_json_corpus(tmp_path / "subsets" / "fr", RECORD)
    make_json_corpus(tmp_path, RECORD | {"name": "top", "file_name": "subsets/fr/audio/x.mp3"})
    (song,) = read_jam_alt(tmp_path)
    assert (song.id, song.audio) == ("top", tmp_path / "subsets" / "fr" / "audio" / "x.mp3")


def test_songs_survive_a_manifest(tmp_path):
    songs = read_jam_alt(make_json_corpus(tmp_path, RECORD))
    write_manifest(tmp_path / "manifest.jsonl", songs)
    assert read_manifest(tmp_path / "manifest.jsonl") == songs


@pytest.mark.parametrize("lines", [RECORD["lines"][:2], RECORD["lines"][::-1], []])
def test_lines_that_are_not_those_of_the_text_are_left_out_with_a_warning(tmp_path, caplog, lines):
    with caplog.at_level(logging.WARNING, logger="lyrics_asr"):
        (song,) = read_jam_alt(make_json_corpus(tmp_path, RECORD | {"lines": lines}))
    assert song.lines == ()
    assert f"{NAME}: its {len(lines)} timed lines differ from the 3 sung lines" in caplog.text


def test_missing_audio_is_named_and_no_error(tmp_path):
    (song,) = read_jam_alt(make_csv_corpus(tmp_path))
    assert song.audio == tmp_path / "audio" / f"{NAME}.mp3"
    assert not song.audio.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"language": "Klingon"}, r"metadata\.csv, row 1: the language 'Klingon' is not one of English"),
        ({"name": "../../etc/passwd"}, r"row 1: '../../etc/passwd.mp3' is not a plain file name"),
        ({"name": "C:x"}, r"row 1: 'C:x.mp3' is not a plain file name"),
        ({"lyrics": "\n\n"}, r"Café_-_Été\.txt: the lyrics are empty"),
        ({"lyrics": "a\0b"}, r"Café_-_Été\.txt: is not a text file"),
    ],
)
def test_bad_csv_layouts_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read_jam_alt(make_csv_corpus(tmp_path, **changes))


def line(**changes):
    return {"lines": [RECORD["lines"][0] | changes]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file_name": "../../etc/passwd"}, r"the path '../../etc/passwd' leads out of its folder"),
        ({"file_name": "/etc/passwd"}, "leads out of its folder"),
        ({"file_name": None}, "file_name must be a non-empty string"),
        ({"language": "Klingon"}, "the language 'Klingon' is not one of"),
        ({"text": "\n\n"}, "the lyrics are empty"),
        ({"text": 3}, "text must be a non-empty string, not 3"),
        ({"lines": "la"}, "lines must be a list, not str"),
        ({"lines": [{"start": 1}]}, "a line lacks end, text"),
        (line(start="1"), "start must be a number of seconds, not '1'"),
        (line(start=-1), "no valid time: -1.0 to 2.25 s"),
        (line(end=1), "no valid time: 1.5 to 1.0 s"),
        (line(end=float("nan")), "no valid time"),
    ],
)
def test_bad_json_tables_are_named(tmp_path, changes, message):
    make_json_corpus(tmp_path, RECORD | {"name": "good"}, RECORD | changes)
    with pytest.raises(ValueError, match=message) as caught:
        read_jam_alt(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'metadata.jsonl'}, line 2: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lists no song"),
        (b"[]", "line 1: a song must be a JSON object, not list"),
        (b'{"name": "a"}', "line 1: a song lacks file_name, language, text"),
        (b"{", "line 1: not JSON"),
        ("é".encode("latin-1"), "not UTF-8 text"),
    ],
)
def test_files_that_are_no_json_table(tmp_path, content, message):
    (tmp_path / "metadata.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=rf"metadata\.jsonl.*{message}"):
        read_jam_alt(tmp_path)


def test_an_id_stands_once(tmp_path):
    with pytest.raises(ValueError, match=f"a second song with the id '{NAME}'"):
        read_jam_alt(make_json_corpus(tmp_path, RECORD, RECORD))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="give the folder of Jam-ALT"):
        read_jam_alt(tmp_path)
    make_csv_corpus(tmp_path)
    (tmp_path / "lyrics" / f"{NAME}.txt").unlink()
    with pytest.raises(FileNotFoundError, match=rf"{NAME}\.txt: missing, but metadata\.csv lists the song"):
        read_jam_alt(tmp_path)
