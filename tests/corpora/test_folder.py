import json
import logging
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from praatio import textgrid

from lyrics_asr.corpora.folder import read_folder
from lyrics_asr.corpora.manifest import LineTimes
from lyrics_asr.formats import render
from lyrics_asr.types import AudioInfo, ModelInfo, TimedLine, TimedWord, Transcript

LYRICS = "[Verse]\nIt's me\n\n(Hey)\n"
WORDS = (TimedWord("It's", 1.0, 1.5, 1.0), TimedWord("me", 1.5, 2.0, 1.0), TimedWord("(Hey)", 65.25, 66.5, 1.0))
LINES = (LineTimes("It's me", 1.0, 2.0), LineTimes("(Hey)", 65.25, 66.5))
TRANSCRIPT = Transcript(
    "align",
    AudioInfo("song.mp3", 70.0, 44_100),
    ModelInfo("model", "separator", "acoustic", None),
    LYRICS,
    (
        TimedLine("It's me", 1.0, 2.0, 0.5, (TimedWord("It's", 1.0, 1.5, 0.5), TimedWord("me", 1.5, 2.0, 0.5))),
        TimedLine("(Hey)", 65.25, 66.5, 0.5, (TimedWord("(Hey)", 65.25, 66.5, 0.5),)),
    ),
)
WORD_CSV = "word_start,word_end,word\n1.0,1.5,its\n1.5,2.0,me\n65.25,66.5,hey\n"
LINE_CSV = "start_time,end_time\n1.0,2.0\n65.25,66.5\n"
WORD_JSON = json.dumps(
    [{"text": word.text, "start_seconds": word.start_seconds, "end_seconds": word.end_seconds} for word in WORDS]
)
ENHANCED_LRC = "[00:01.00] <00:01.00> It's <00:01.50> me <00:02.00>\n[01:05.25] <01:05.25> (Hey) <01:06.50>\n"

# The two text formats of Praat's manual, "TextGrid file formats", and the pauses that Praat writes as empty texts.
LONG_TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 70
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "Words"
        xmin = 0
        xmax = 70
        intervals: size = 5
        intervals [1]:
            xmin = 0
            xmax = 1
            text = ""
        intervals [2]:
            xmin = 1
            xmax = 1.5
            text = "it's"
        intervals [3]:
            xmin = 1.5
            xmax = 2
            text = "me"
        intervals [4]:
            xmin = 2
            xmax = 65.25
            text = ""
        intervals [5]:
            xmin = 65.25
            xmax = 66.5
            text = "hey"
    item [2]:
        class = "TextTier"
        name = "beats"
        xmin = 0
        xmax = 70
        points: size = 1
        points [1]:
            number = 1
            mark = "1"
"""
SHORT_TEXTGRID = '''File type = "ooTextFile"
Object class = "TextGrid"

0
70
<exists>
1
"IntervalTier"
"lines"
0
70
3
1
2
"it's ""me"""
2
65.25
""
65.25
66.5
"hey"
'''


def write(folder, name, content=b""):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def make_song(folder, **files):
    """song.mp3, song.txt with LYRICS, and song.SUFFIX for each keyword."""
    write(folder, "song.mp3")
    for suffix, content in ({"txt": LYRICS} | files).items():
        if content is not None:
            write(folder, f"song.{suffix}", content)
    return folder


@pytest.mark.parametrize(
    ("suffix", "content", "words", "lines"),
    [
        ("csv", WORD_CSV, WORDS, ()),
        ("csv", LINE_CSV, (), LINES),
        ("csv", b"\xef\xbb\xbf" + LINE_CSV.encode(), (), LINES),
        ("CSV", "start_time,end_time,lyrics_line\r\n1.0,2.0,its me\r\n65.25,66.5,hey\r\n", (), LINES),
        ("json", render(TRANSCRIPT, "json"), WORDS, LINES),
        ("json", WORD_JSON, WORDS, ()),
        ("TextGrid", LONG_TEXTGRID, WORDS, ()),
        ("TextGrid", LONG_TEXTGRID.encode("utf-16"), WORDS, ()),
        ("textgrid", SHORT_TEXTGRID, (), LINES),
        ("lrc", render(TRANSCRIPT, "elrc"), WORDS, LINES),
        ("lrc", "[00:01.00]it's me\n[00:02.00]\n[01:05.25]hey\n[01:06.5]\n", (), LINES),
    ],
)
def test_each_format_of_times_gives_the_same_song(tmp_path, suffix, content, words, lines):
    (song,) = read_folder(make_song(tmp_path, **{suffix: content}), "de")
    assert (song.id, song.audio, song.language) == ("song", tmp_path / "song.mp3", "de")
    assert (song.lyrics, song.words, song.lines) == (LYRICS, words, lines)


def test_a_textgrid_that_praatio_writes_comes_back(tmp_path):
    grid = textgrid.Textgrid()
    grid.addTier(textgrid.IntervalTier("words", [(w.start_seconds, w.end_seconds, w.text) for w in WORDS], 0, 70))
    grid.addTier(textgrid.IntervalTier("lines", [(x.start_seconds, x.end_seconds, x.text) for x in LINES], 0, 70))
    make_song(tmp_path)
    for form in ("long_textgrid", "short_textgrid"):
        grid.save(str(tmp_path / "song.TextGrid"), form, includeBlankSpaces=True)
        (song,) = read_folder(tmp_path, "en")
        assert (song.words, song.lines) == (WORDS, LINES)


def test_the_lyrics_may_stand_in_a_transcript(tmp_path):
    (song,) = read_folder(make_song(tmp_path, txt=None, json=render(TRANSCRIPT, "json")), "en")
    assert (song.lyrics, song.words, song.lines) == (LYRICS, WORDS, LINES)


def test_the_lyrics_may_stand_in_an_lrc(tmp_path):
    lrc = "\ufeff[ar:Somebody]\n[offset:0]\n[00:00.00][Verse]\n" + ENHANCED_LRC + "\n"
    (song,) = read_folder(make_song(tmp_path, txt=None, lrc=lrc), "en")
    assert (song.lyrics, song.words, song.lines) == ("[Verse]\nIt's me\n(Hey)", WORDS, LINES)


def test_a_line_of_an_lrc_ends_where_the_next_one_starts(tmp_path):
    lrc = "[00:10.00][00:30.00]one two\n[00:20.00]three\n[100:00]four\n"
    (song,) = read_folder(make_song(tmp_path, txt=None, lrc=lrc), "en")
    assert song.lyrics == "one two\nthree\none two\nfour"
    assert song.lines == (
        LineTimes("one two", 10.0, 20.0),
        LineTimes("three", 20.0, 30.0),
        LineTimes("one two", 30.0, 6000.0),
        LineTimes("four", 6000.0, 6000.0),
    )
    assert song.words == ()


def test_words_of_an_lrc_end_where_the_next_ones_start(tmp_path):
    lrc = "[00:10.00]one <00:11.00>two\n[00:20.00]three <00:31.00>four\n[00:30.00]five\n"
    (song,) = read_folder(make_song(tmp_path, txt=None, lrc=lrc), "en")
    assert [(word.text, word.start_seconds, word.end_seconds) for word in song.words] == [
        ("one", 10.0, 11.0),
        ("two", 11.0, 20.0),
        ("three", 20.0, 31.0),
        ("four", 31.0, 31.0),
        ("five", 30.0, 30.0),
    ]
    assert [(line.start_seconds, line.end_seconds) for line in song.lines] == [(10.0, 20.0), (20.0, 31.0), (30.0, 30.0)]


def test_folders_are_searched_at_all_depths(tmp_path, caplog):
    write(tmp_path, "b/St. John.FLAC")
    write(tmp_path, "b/St. John.TXT", LYRICS)
    write(tmp_path, f"a/{unicodedata.normalize('NFD', 'été')}.mp3")
    write(tmp_path, "a/été.txt", LYRICS)
    write(tmp_path, "b/only lyrics.txt", LYRICS)
    write(tmp_path, "only lrc.lrc", "[00:01.00]la")
    write(tmp_path, "instrumental.mp3")
    write(tmp_path, "notes.json", "{")
    write(tmp_path, "notes.csv", "\xff")
    write(tmp_path, "README")
    write(tmp_path, ".hidden/song.txt", LYRICS)
    write(tmp_path, ".hidden.txt", LYRICS)
    with caplog.at_level(logging.INFO, logger="lyrics_asr"):
        songs = {song.id: song.audio for song in read_folder(tmp_path, "en")}
    assert list(songs) == ["a/été", "b/St. John", "b/only lyrics", "only lrc"]
    assert songs["b/St. John"] == tmp_path / "b" / "St. John.FLAC"
    assert [song_id for song_id, audio in songs.items() if audio.is_file()] == ["a/été", "b/St. John"]
    assert songs["b/only lyrics"] == tmp_path / "b" / "only lyrics.wav"
    assert "1 songs without lyrics are skipped" in caplog.text


def test_folders_without_songs_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder; give a folder with songs and lyrics"):
        read_folder(tmp_path / "nowhere", "en")
    write(tmp_path, "song.mp3")
    with pytest.raises(FileNotFoundError, match=r"no song with lyrics; put a SONG\.txt next to"):
        read_folder(tmp_path, "en")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"csv": LINE_CSV, "json": WORD_JSON}, r"song: .*song\.csv and .*song\.json are both its reference times"),
        ({"wav": ""}, r"song\.mp3 and .*song\.wav are both its audio"),
        ({"TXT": LYRICS}, r"song\.TXT and .*song\.txt are both its lyrics"),
        ({"txt": "\n"}, r"song\.txt: the lyrics are empty"),
        ({"txt": "a\0b"}, r"song\.txt: is not a text file"),
        ({"txt": "one", "csv": WORD_CSV}, r"song\.csv: 3 word times for the 1 words of .*song\.txt"),
        ({"txt": "one", "csv": LINE_CSV}, r"song\.csv: 2 line times for the 1 sung lines of .*song\.txt"),
        ({"txt": "one", "TextGrid": LONG_TEXTGRID}, r"song\.TextGrid: 3 word times for the 1 words"),
        ({"txt": "one", "TextGrid": SHORT_TEXTGRID}, r"song\.TextGrid: 2 line times for the 1 sung lines"),
        ({"txt": "one", "lrc": "[00:01.00]one\n[00:02.00]two"}, r"song\.lrc: 2 line times for the 1 sung lines"),
        ({"txt": "one", "json": WORD_JSON}, r"song\.json: 3 word times for the 1 words"),
        ({"txt": None, "json": WORD_JSON}, r"song\.json: times without lyrics; put the lyrics in .*song\.txt"),
        ({"txt": None, "csv": WORD_CSV}, r"song\.csv: times without lyrics"),
        ({"txt": None, "TextGrid": LONG_TEXTGRID}, r"song\.TextGrid: times without lyrics"),
        ({"csv": "start,end\n1,2\n"}, r"song\.csv: no columns word_start and word_end, nor start_time"),
        ({"csv": "word_start,word_end\n"}, r"song\.csv: no columns word_start"),
        ({"csv": "word_start,word_end\n1,nan\n"}, r"song\.csv, row 1: 'word 1' has no valid time"),
        ({"csv": "start_time,end_time\n-1,1\n"}, r"song\.csv, row 1: 'line 1' has no valid time"),
        ({"csv": "start_time,end_time\n1,x\n"}, r"song\.csv, row 1: end_time must be a number of seconds, not 'x'"),
        ({"csv": "start_time,end_time,lyrics_line\n1\n"}, r"song\.csv, row 1: no column end_time"),
        ({"csv": "start_time,end_time\n1.0,2.0,la,3.0\n"}, r"song\.csv, row 1: more cells than columns in the header"),
        ({"csv": "\nstart_time,end_time\n1.0,2.0\n"}, r"song\.csv, row 1: more cells than columns in the header"),
        ({"csv": "é".encode("latin-1")}, r"song\.csv: not UTF-8 text"),
        ({"csv": f'word_start,word_end\n"{"1" * 140_000}",2\n'}, r"song\.csv: not CSV: field larger"),
        ({"json": "{"}, r"song\.json: not JSON"),
        ({"json": "[" * 100_000}, r"song\.json: not JSON"),
        ({"json": b"\xff"}, r"song\.json: not UTF-8 text"),
        ({"json": "{}"}, r"song\.json: the key 'schema' is missing"),
        ({"json": "3"}, r"song\.json: the document is 3, not an object"),
        ({"json": "[3]"}, r"song\.json, word 1: a word must be a JSON object, not int"),
        ({"json": '[{"text": "a"}]'}, r"song\.json, word 1: a word lacks end_seconds, start_seconds"),
        ({"json": WORD_JSON.replace("1.0", "NaN")}, r"song\.json, word 1: \"It's\" has no valid time"),
        ({"json": WORD_JSON.replace("1.0", '"1"')}, r"song\.json, word 1: start_seconds must be a number"),
        ({"json": WORD_JSON.replace("65.25", "-1")}, r"song\.json, word 3: '\(Hey\)' has no valid time: -1.0"),
        ({"lrc": "la"}, r"song\.lrc, line 1: no start time, such as \[01:02\.34\], before 'la'"),
        ({"lrc": "[00:01.00]la\n[00:75.00]la"}, r"song\.lrc, line 2: no start time"),
        ({"lrc": "[00:75.00]"}, r"song\.lrc, line 1: no start time"),
        ({"lrc": "[-1:05.00]la"}, r"song\.lrc, line 1: no start time"),
        (
            {"lrc": "[offset:+500]\n[00:01.00]la"},
            r"song\.lrc, line 1: players disagree on the meaning of \[offset:\+500\]",
        ),
        ({"lrc": "[00:01.00]<00:01.00>la la"}, r"song\.lrc, line 1: a single time for the words 'la la'"),
        ({"lrc": "[00:09.00]<00:09.00>la <00:01.00>la"}, r"song\.lrc, line 1: 'la' has no valid time: 9.0 to 1.0 s"),
        ({"lrc": "[00:09.00]la <00:01.00>"}, r"song\.lrc, line 1: 'la' has no valid time: 9.0 to 1.0 s"),
        ({"lrc": "[00:01.00][00:09.00]la <00:02.00>la"}, r"line 1: several start times for a line with word times"),
        ({"lrc": "[ar:Somebody]"}, r"song\.lrc: the lyrics are empty"),
        ({"lrc": "é".encode("latin-1")}, r"song\.lrc: not UTF-8 text"),
        ({"TextGrid": ""}, r"song\.TextGrid: cannot be read as a TextGrid: it has no TextGrid header"),
        (
            {"TextGrid": '{"start": 0, "tiers": 3}'},
            r"song\.TextGrid: cannot be read as a TextGrid: .*it has no TextGrid header",
        ),
        ({"TextGrid": b"\xff\xfe\x00"}, r"song\.TextGrid: cannot be read as a TextGrid"),
        ({"TextGrid": LONG_TEXTGRID.encode() + b"\xff"}, r"song\.TextGrid: cannot be read as a TextGrid"),
        ({"TextGrid": LONG_TEXTGRID[:40]}, r"song\.TextGrid: cannot be read as a TextGrid"),
        ({"TextGrid": LONG_TEXTGRID[:300]}, r"song\.TextGrid: cannot be read as a TextGrid"),
        ({"TextGrid": SHORT_TEXTGRID[:60]}, r"song\.TextGrid: cannot be read as a TextGrid"),
        ({"TextGrid": SHORT_TEXTGRID[:-12]}, r"song\.TextGrid: 1 line times for the 2 sung lines"),
        ({"TextGrid": LONG_TEXTGRID.replace("Words", "phones")}, r"no interval tier named .* only phones, beats"),
        (
            {"TextGrid": LONG_TEXTGRID.replace("beats", "Words")},
            r"cannot be read as a TextGrid: .*tiers with the same name",
        ),
        (
            {"TextGrid": LONG_TEXTGRID.replace("xmin = 1\n", "xmin = -1\n")},
            r"cannot be read as a TextGrid: .*it has a negative time",
        ),
        (
            {"TextGrid": LONG_TEXTGRID.replace("xmin = 1\n", "xmin = nan\n")},
            r"song\.TextGrid: cannot be read as a TextGrid",
        ),
        (
            {"TextGrid": LONG_TEXTGRID.replace("xmax = 1.5", "xmax = 1.7")},
            r"cannot be read as a TextGrid: .*overlap in time",
        ),
        ({"TextGrid": SHORT_TEXTGRID.replace("1\n2\n", "inf\ninf\n")}, r"song\.TextGrid: cannot be read as a TextGrid"),
        ({"TextGrid": SHORT_TEXTGRID.replace("1\n2\n", "nan\n2\n")}, r"song\.TextGrid: .*no valid time"),
        ({"TextGrid": SHORT_TEXTGRID.replace("1\n2\n", "-1\n2\n")}, r"song\.TextGrid: .*no valid time: -1.0 to 2.0"),
    ],
)
def test_bad_files_are_named(tmp_path, files, message):
    make_song(tmp_path, **files)
    with pytest.raises(ValueError, match=message):
        read_folder(tmp_path, "en")


@settings(max_examples=150, deadline=None)
@given(
    source=st.sampled_from(
        [("TextGrid", LONG_TEXTGRID), ("TextGrid", SHORT_TEXTGRID), ("lrc", ENHANCED_LRC), ("csv", LINE_CSV)]
    ),
    start=st.integers(0, 1200),
    length=st.integers(0, 60),
    put=st.text("0123456789-.:\"'[]<> \n=xn", max_size=8),
)
def test_any_damage_gives_a_song_or_names_the_file(tmp_path_factory, source, start, length, put):
    suffix, content = source
    folder = make_song(tmp_path_factory.mktemp("damage"), **{suffix: content[:start] + put + content[start + length :]})
    message = ""
    try:
        songs = read_folder(folder, "en")
    except ValueError as error:
        songs, message = (), str(error)
    assert bool(songs) != (f"song.{suffix}" in message)
    assert all(len(song.words) in (0, 3) and len(song.lines) in (0, 2) for song in songs)
