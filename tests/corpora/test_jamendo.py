import unicodedata

import pytest

from lyrics_asr.corpora.jamendo import read_jamendo
from lyrics_asr.corpora.manifest import LineTimes
from lyrics_asr.lyrics.text import parse_corpus_lyrics
from tests.paths import JAMENDO

HEADER = "URL,Filepath,Artist,Title,Genre,LicenseType,Language,LyricOverlap,Polyphonic,NonLexical\n"
NAME = "Café_-_Été"


def composed(name):
    return unicodedata.normalize("NFC", name)


def decomposed(name):
    return unicodedata.normalize("NFD", name)


def make_corpus(
    folder,
    *,
    name=NAME,
    language="French",
    rows="1.0,1.5,nan\n1.5,2.0,2.0\n3.0,4.25,4.25\n",
    lines=None,
    form=composed,
    encoding="utf-8",
):
    """One song in the corpus's layout, the files named in the given Unicode form."""
    for part in ("lyrics", "annotations/words", "annotations/lines", "mp3"):
        (folder / part).mkdir(parents=True)
    row = f"https://example.org,{composed(name)}.mp3,Café,Été,Pop,BY,{language},false,false,false\n"
    (folder / "JamendoLyrics.csv").write_text(HEADER + row, encoding=encoding)
    (folder / "lyrics" / f"{form(NAME)}.txt").write_text("l'été, là\n\nbientôt\n", encoding="utf-8")
    (folder / "lyrics" / f"{form(NAME)}.words.txt").write_text("l'été,\nlà\nbientôt\n", encoding="utf-8")
    words = folder / "annotations" / "words" / f"{form(NAME)}.csv"
    words.write_text("word_start,word_end,line_end\n" + rows, encoding="utf-8")
    if lines is not None:
        path = folder / "annotations" / "lines" / f"{form(NAME)}.csv"
        path.write_text("start_time,end_time,lyrics_line\n" + lines, encoding="utf-8")
    return folder


@pytest.mark.parametrize("form", [composed, decomposed])
def test_a_song_is_read_whatever_the_form_of_its_file_names(tmp_path, form):
    make_corpus(tmp_path, lines='1.0,2.0,"l\'été, là"\n3.0,4.25,bientôt\n', form=form)
    (tmp_path / "mp3" / f"{form(NAME)}.mp3").touch()
    (song,) = read_jamendo(tmp_path)
    assert (song.id, song.language, song.genre) == (composed(NAME), "fr", "Pop")
    assert song.audio.is_file()
    assert song.lyrics == "l'été, là\n\nbientôt\n"
    assert [(word.text, word.start_seconds, word.end_seconds, word.confidence) for word in song.words] == [
        ("l'été,", 1.0, 1.5, 1.0),
        ("là", 1.5, 2.0, 1.0),
        ("bientôt", 3.0, 4.25, 1.0),
    ]
    assert song.lines == (LineTimes("l'été, là", 1.0, 2.0), LineTimes("bientôt", 3.0, 4.25))


def test_missing_audio_is_named_and_no_error(tmp_path):
    (song,) = read_jamendo(make_corpus(tmp_path))
    assert song.lines == ()
    assert song.audio == tmp_path / "mp3" / f"{NAME}.mp3"
    assert not song.audio.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": "1.0,1.5,nan\n"}, "1 word times for the 3 words of"),
        ({"rows": "1.0,1.5,nan\n1.5,nan,nan\n3.0,4.0,4.0\n"}, "row 2: 'word 2' has no valid time: 1.5 to nan s"),
        ({"rows": "1.0,1.5,nan\n-1.5,2.0,nan\n3.0,4.0,4.0\n"}, "row 2: 'word 2' has no valid time: -1.5 to 2.0 s"),
        ({"rows": "1.0,1.5,nan\nsoon,2.0,nan\n3.0,4.0,4.0\n"}, "row 2: word_start must be a number .*, not 'soon'"),
        ({"rows": "1.0,1.5,nan\n1.0\n3.0,4.0,4.0\n"}, "row 2: no column word_end"),
        ({"lines": "1.0,2.0,là\n"}, "1 line times for the 2 sung lines of"),
        ({"lines": "1.0,2.0,là\n3.0,4.25,bientôt\n"}, """row 1: 'là' differs from "l'été, là" in """),
        ({"lines": "1.0,2.0,là\n3.0,2.0,bientôt\n"}, "row 2: 'bientôt' has no valid time: 3.0 to 2.0 s"),
        ({"lines": "1.0,2.0,là\n3.0,inf,bientôt\n"}, "row 2: 'bientôt' has no valid time: 3.0 to inf s"),
        ({"lines": "1.0,2.0,là\n3.0,4.0\n"}, "row 2: no column lyrics_line"),
        ({"language": "Klingon"}, "row 1: the language 'Klingon' is not one of English, French"),
        ({"name": "../x"}, "row 1: '../x.mp3' is not a plain file name"),
        ({"encoding": "latin-1"}, r"JamendoLyrics\.csv: not UTF-8 text"),
    ],
)
def test_bad_annotations_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read_jamendo(make_corpus(tmp_path, **changes))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="give the folder of JamendoLyrics"):
        read_jamendo(tmp_path)
    make_corpus(tmp_path)
    (tmp_path / "annotations" / "words" / f"{NAME}.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"\.csv is missing, but JamendoLyrics\.csv lists the song"):
        read_jamendo(tmp_path)


@pytest.fixture(scope="module")
def corpus():
    if not (JAMENDO / "JamendoLyrics.csv").is_file():
        pytest.skip(f"no JamendoLyrics in {JAMENDO}; set LYRICS_ASR_JAMENDO to its folder")
    return JAMENDO


def test_words_of_the_real_corpus_are_those_of_its_word_lists(corpus):
    songs = read_jamendo(corpus)
    assert len(songs) == 71
    word_lists = {composed(path.name): path for path in (corpus / "lyrics").glob("*.words.txt")}
    for song in songs:
        expected = word_lists[f"{song.id}.words.txt"].read_text(encoding="utf-8").split("\n")
        assert [word.text for word in song.words] == [word for word in expected if word], song.id
        starts = [word.start_seconds for word in song.words]
        assert starts == sorted(starts), song.id
    assert {song.language for song in songs} == {"en", "fr", "de", "es"}
    assert sum(song.audio.is_file() for song in songs) == len(list((corpus / "mp3").glob("*.mp3")))


def test_lines_of_the_real_corpus_are_the_sung_lines_from_first_word_to_last(corpus):
    songs = read_jamendo(corpus)
    assert sum(len(song.lines) for song in songs) == 3056
    for song in songs:
        words = iter(song.words)
        for sung, line in zip(parse_corpus_lyrics(song.lyrics).lines, song.lines, strict=True):
            timed = [next(words) for _ in sung.words]
            assert line == LineTimes(sung.text, timed[0].start_seconds, timed[-1].end_seconds), song.id
