import math
from collections import Counter
from pathlib import Path

import pytest

from lyrics_asr.corpora.dali_remarks import Remark, read_remarks
from lyrics_asr.corpora.manifest import Song
from lyrics_asr.types import TimedWord

HEADER = "id;url;corrupt from;noisy;offset;non-english\n"


def table(folder, *rows, header=HEADER):
    path = folder / "remarks.csv"
    path.write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def song(*starts):
    words = tuple(TimedWord(f"w{start}", float(start), start + 0.5, 1.0) for start in starts)
    return Song("a", Path("a.mp3"), " ".join(word.text for word in words), words, "en")


def test_remarks_are_read_by_id(tmp_path):
    path = table(
        tmp_path,
        "a;u;10000000000.0;False;0;False",
        "b;u;75.63;False;-0.7;False",
        "c;u;0.0;False;0;False",
        "d;u;10000000000.0;True;0;False",
        "e;u;10000000000.0;False;linear;False",
        "f;u;10000000000.0;False;0;True",
    )
    remarks = read_remarks(path)
    assert remarks["a"] == Remark(1e10, 0.0, noisy=False, foreign=False)
    assert remarks["b"] == Remark(75.63, -0.7, noisy=False, foreign=False)
    assert {song_id: remark.fault for song_id, remark in remarks.items()} == {
        "a": None,
        "b": None,
        "c": "corrupt from the start (remarks)",
        "d": "noisy (remarks)",
        "e": "with a changing offset (remarks)",
        "f": "not in English (remarks)",
    }


def test_a_song_is_cut_by_its_own_times_and_then_moved_by_the_offset():
    left_out = Counter()
    corrected = Remark(3.0, 0.75, noisy=False, foreign=False).correct(song(1, 2.5, 3, 4), left_out)
    assert [(word.text, word.start_seconds, word.end_seconds) for word in corrected.words] == [
        ("w1", 1.75, 2.25),
        ("w2.5", 3.25, 3.75),
    ]
    assert left_out == {"in a corrupt part (remarks)": 2}


def test_words_that_an_offset_moves_before_the_song_are_counted():
    left_out = Counter()
    corrected = Remark(1e10, -1.5, noisy=False, foreign=False).correct(song(1, 2), left_out)
    assert [word.start_seconds for word in corrected.words] == [0.5]
    assert left_out == {"with a negative time": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a;u;never;False;0;False", "row 1: corrupt from must be a number of seconds, not 'never'"),
        ("a;u;nan;False;0;False", "row 1: corrupt from nan s or offset 0 s is not a valid time"),
        ("a;u;1;False;inf;False", "row 1: corrupt from 1 s or offset inf s is not a valid time"),
        ("a;u;1;False;about 1;False", "row 1: offset must be a number of seconds, not 'about 1'"),
        ("a;u;1;no;0;False", "row 1: noisy must be True or False, not 'no'"),
        ("a;u;1;False;0;", "row 1: non-english must be True or False, not ''"),
        ("a;u;1;False", "row 1: no column offset, non-english"),
        ("a,u,1,False,0,False", "row 1: no column corrupt from, noisy, offset, non-english"),
        ("a;u;1;False;0;False\na;u;2;False;0;False", "row 2: a second remark on the song 'a'; keep one of them"),
    ],
)
def test_odd_remarks_are_named(tmp_path, row, message):
    with pytest.raises(ValueError, match=rf"remarks\.csv, {message}"):
        read_remarks(table(tmp_path, row))


def test_missing_remarks_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv: no such remarks; give a table"):
        read_remarks(tmp_path / "nowhere.csv")


def test_the_real_remarks(real_dali):
    """The numbers are those of `cut` and `sort` on the file."""
    remarks = read_remarks(real_dali / "dali_remarks.csv")
    assert len(remarks) == 1021
    assert sum(remark.noisy for remark in remarks.values()) == 43
    assert sum(remark.foreign for remark in remarks.values()) == 43
    assert sum(remark.offset_seconds is None for remark in remarks.values()) == 78
    assert sum(remark.corrupt_from_seconds <= 0 for remark in remarks.values()) == 100
    assert sum(remark.offset_seconds not in (None, 0) for remark in remarks.values()) == 1021 - 78 - 784 - 1
    assert not any(math.isnan(remark.corrupt_from_seconds) for remark in remarks.values())
