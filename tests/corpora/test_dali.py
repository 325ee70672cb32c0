import copy
import gzip
import json
import logging
import math
import os
import pickle
import sys
from collections import Counter

import numpy as np
import pytest

from lyrics_asr.corpora import dali_songs
from lyrics_asr.corpora.dali import read_dali, read_score
from lyrics_asr.corpora.dali_pickles import MAX_BYTES
from lyrics_asr.corpora.dali_splits import SplitThresholds
from lyrics_asr.corpora.manifest import LineTimes
from lyrics_asr.lyrics.text import parse_corpus_lyrics
from lyrics_asr.synthesis import corpus as synthetic
from lyrics_asr.synthesis.singers import HELD_OUT_VOICES
from lyrics_asr.synthesis.song import Rendition
from lyrics_asr.types import TimedWord
from tests.corpora.test_dali_pickles import Annotations, Call, pickled, pickled_state

ID = "00a1b2c3d4e5f60718293a4b5c6d7e8f"
PARAGRAPHS = [["over the hills", "we go"], ["la la"]]


def song_content(paragraphs=PARAGRAPHS, *, song_id=ID, ncc=0.9, language="english", genres=("Pop", "Rock"), fr=600.0):
    """Annotations in DALI's horizontal layout: a word a second from 10 s on, each of a single note."""
    words, lines, levels = [], [], []
    start = 10.0
    for number, paragraph in enumerate(paragraphs):
        first_line = len(lines)
        for line in paragraph:
            texts = line if isinstance(line, list) else line.split()
            own = [entry(text, start + i, start + i + 0.5, len(lines)) for i, text in enumerate(texts)]
            start += len(own)
            words += own
            times = (own[0]["time"][0], own[-1]["time"][1]) if own else (start, start)
            lines.append(entry(" ".join(texts), *times, number))
        levels.append(entry("...", lines[first_line]["time"][0], lines[-1]["time"][1], None))
    notes = [entry(word["text"], *word["time"], number) for number, word in enumerate(words)]
    return {
        "info": {
            "id": song_id,
            "artist": "A",
            "title": "T",
            "dataset_version": 1.0,
            "ground-truth": False,
            "scores": {"NCC": ncc, "manual": 0.0},
            "audio": {"url": "u", "path": "None", "working": True},
            "metadata": {"language": language, "genres": list(genres), "album": None},
        },
        "annotations": {
            "type": "horizontal",
            "annot": {"notes": notes, "words": words, "lines": lines, "paragraphs": levels},
            "annot_param": {"fr": fr, "offset": 10.0},
        },
    }


def entry(text, start, end, index):
    made = {"text": text, "time": (start, end), "freq": (220.0, 220.0), "index": index}
    if index is None:
        del made["index"]
    return made


def vertical(content):
    """The same annotations as DALI's `horizontal2vertical` nests them."""
    content = copy.deepcopy(content)
    levels = content["annotations"]["annot"]
    for lower, upper in (("notes", "words"), ("words", "lines"), ("lines", "paragraphs")):
        for child in levels[lower]:
            parent = levels[upper][child.pop("index")]
            if not isinstance(parent["text"], list):
                parent["text"] = []
            parent["text"].append(child)
    content["annotations"] |= {"type": "vertical", "annot": {"hierarchical": levels["paragraphs"]}}
    return content


def write(folder, content, *, suffix=".gz", name=None):
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"{name or content['info']['id']}{suffix}"
    if suffix == ".gz":
        path.write_bytes(gzip.compress(pickled(Annotations(content)), 1))
    else:
        path.write_text(json.dumps(content), encoding="utf-8")
    return path


def read_one(folder, content, **options):
    write(folder, content)
    (song,) = read_dali(folder, folder / "audio", **options)
    return song


def spans(words):
    return [(word.text, word.start_seconds, word.end_seconds) for word in words]


def write_ground_truth(path, clocks):
    path.write_bytes(gzip.compress(pickle.dumps(clocks, protocol=2)))
    return path


# ---- Songs ----


@pytest.mark.parametrize("form", [lambda content: content, vertical])
@pytest.mark.parametrize("suffix", [".gz", ".json"])
def test_a_song_is_read_from_each_layout_and_format(tmp_path, form, suffix):
    write(tmp_path, form(song_content()), suffix=suffix)
    (song,) = read_dali(tmp_path, tmp_path / "audio")
    assert (song.id, song.language, song.genre) == (ID, "en", "Pop")
    assert song.lyrics == "over the hills\nwe go\n\nla la"
    texts = ["over", "the", "hills", "we", "go", "la", "la"]
    assert song.words == tuple(TimedWord(text, 10.0 + i, 10.5 + i, 1.0) for i, text in enumerate(texts))
    assert song.lines == (
        LineTimes("over the hills", 10.0, 12.5),
        LineTimes("we go", 13.0, 14.5),
        LineTimes("la la", 15.0, 16.5),
    )
    assert song.audio == tmp_path / "audio" / f"{ID}.mp3"
    assert "DALI" not in sys.modules


def test_the_notes_of_a_vertical_word_make_its_text(tmp_path):
    content = vertical(song_content([["~ halleluja"]]))
    word = content["annotations"]["annot"]["hierarchical"][0]["text"][0]["text"][1]
    word["text"] = [entry(text, 11.0, 11.1, None) for text in ("hal", "le", "~", "lu", "ja")]
    assert [word.text for word in read_one(tmp_path, content).words] == ["halleluja"]


def test_what_the_synthetic_corpora_write_is_read_back(tmp_path):
    lines = (
        (TimedWord("Under", 1.25, 1.5, 1.0), TimedWord("stars,", 1.5, 2.0, 1.0)),
        (TimedWord("we", 3.0, 3.125, 1.0), TimedWord("wait", 3.125, 4.0, 1.0)),
    )
    silence = np.zeros((2, 8), dtype=np.float32)
    rendition = Rendition(silence, silence, lines, ((),) * 4, (220.0, 330.0, 440.0, 220.0), np.zeros(1, np.float32))
    content = synthetic.dali_annotations("training_0_00000", "title", rendition, HELD_OUT_VOICES["de"][0], "de")
    write(tmp_path / "training_0_00000", content, suffix=".json", name="dali")
    (tmp_path / "corpus.json").write_text('{"seed": 0}')
    (song,) = read_dali(tmp_path, tmp_path, split="test", language="german")
    assert song.words == lines[0] + lines[1]
    assert song.lyrics == "Under stars,\nwe wait"
    assert song.lines == (LineTimes("Under stars,", 1.25, 2.0), LineTimes("we wait", 3.0, 4.0))
    assert (song.id, song.genre, song.language) == ("training_0_00000", "synthetic", "de")


def test_audio_is_found_by_id_whatever_its_format(tmp_path):
    audio = tmp_path / "sound"
    audio.mkdir()
    for name in (f"{ID}.FLAC", f"{ID}.json", "another.flac"):
        (audio / name).touch()
    write(tmp_path / "annotations", song_content())
    assert read_dali(tmp_path / "annotations", audio)[0].audio == audio / f"{ID}.FLAC"
    (audio / f"{ID}.wav").touch()
    with pytest.raises(ValueError, match=rf"{ID}\.wav: a second file for the song of {ID}\.FLAC"):
        read_dali(tmp_path / "annotations", audio)


def test_invalid_words_are_dropped_and_counted(tmp_path, caplog):
    content = song_content([["a b c d e f g h"], ["lost"], ["i"]])
    words = content["annotations"]["annot"]["words"]
    words[1]["time"] = (-1.0, 2.0)
    words[2]["time"] = (3.0, 2.0)
    words[3]["time"] = (3.0, math.nan)
    words[4]["time"] = (math.inf, math.inf)
    words[5]["text"] = " \t"
    words[6]["text"] = "~"
    words[8]["time"] = (-2.0, -1.0)
    content["annotations"]["annot"]["lines"][2]["time"] = (-1.0, 2.0)
    with caplog.at_level(logging.WARNING):
        song = read_one(tmp_path, content)
    assert spans(song.words) == [("a", 10.0, 10.5), ("h", 17.0, 17.5), ("i", 19.0, 19.5)]
    assert song.lyrics == "a h\n\ni"
    assert song.lines == (LineTimes("a h", 10.0, 17.5), LineTimes("i", 19.0, 19.5))
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: 7 words were dropped: 2 with a negative time, 2 with a time that is not finite, 2 without text, "
        "1 that end before they start"
    ]


def test_a_song_without_words_is_dropped_and_named(tmp_path, caplog):
    write(tmp_path, song_content([[["~"]]]))
    write(tmp_path, song_content(song_id="b"))
    assert [song.id for song in read_dali(tmp_path, tmp_path)] == ["b"]
    assert f"{ID}.gz: the song was dropped: it has no words" in caplog.text


@pytest.mark.parametrize(
    ("line", "lyrics"),
    [
        (["[Chorus]"], "(Chorus)"),
        (["[oh", "yeah]"], "(oh yeah)"),
        (["[", "]"], "( )"),
        (["\ufeffoh", "\ufeff", "oh"], "oh oh"),
        (["oh yeah", " uh\u00a0huh\n"], "oh-yeah uh-huh"),
        (["rock\u2028n\x1croll", "x\x85y"], "rock-n-roll x-y"),
        (["~", "lo~ve", "me~"], "love me"),
        (["...", "-", "&", "?!"], "... - & ?!"),
        (["été", "ночь", "夜", "don’t"], "été ночь 夜 don’t"),
    ],
)
def test_the_lyrics_hold_the_words_and_no_others(tmp_path, line, lyrics):
    song = read_one(tmp_path, song_content([[["first"], line], [line]]))
    assert song.lyrics == f"first\n{lyrics}\n\n{lyrics}"
    parsed = parse_corpus_lyrics(song.lyrics).lines
    assert [word for each in parsed for word in each.words] == [word.text for word in song.words]
    assert [each.text for each in parsed] == [each.text for each in song.lines]


@pytest.mark.parametrize(
    ("name", "code"),
    [("german", "de"), ("slovene", "sl"), ("cebuano", "ceb"), ("klingon", "und"), (None, "und")],
)
def test_language_codes(tmp_path, name, code):
    assert read_one(tmp_path, song_content(language=name), language=None).language == code


def test_a_genre_is_the_first_or_none(tmp_path):
    assert read_one(tmp_path / "a", song_content(genres=())).genre is None
    content = song_content()
    del content["info"]["metadata"]["genres"]
    assert read_one(tmp_path / "b", content).genre is None


# ---- Splits ----


def test_songs_are_chosen_by_split_and_language(tmp_path):
    for song_id, ncc, language in [
        ("c", 0.8, "english"),
        ("a", 0.9249, "english"),
        ("b", 0.94, "english"),
        ("d", 0.95, "english"),
        ("e", 0.79, "english"),
        ("f", 0.9, "german"),
        ("g", None, "english"),
    ]:
        write(tmp_path, song_content(song_id=song_id, ncc=ncc, language=language))

    def ids(**options):
        return "".join(song.id for song in read_dali(tmp_path, tmp_path, **options))

    assert ids() == "abcdeg"
    assert ids(language=None) == "abcdefg"
    assert [ids(split=split) for split in ("train", "validation", "test")] == ["ac", "b", "d"]
    assert ids(split="train", language=None) == "acf"
    assert ids(split="validation", language="german") == ""
    assert ids(split="test", thresholds=SplitThresholds(train=0.5, validation=0.6, test=0.94)) == "bd"
    with pytest.raises(ValueError, match=r"no song in 'french'; its languages are \['english', 'german'\]"):
        ids(language="french")


def test_a_split_starts_at_its_threshold():
    edges = [0.8, 0.925, 0.95]
    nccs = [*edges, *(math.nextafter(edge, 0) for edge in edges), 1.0, math.nan, -1.0]
    assert [SplitThresholds().split(ncc) for ncc in nccs] == [
        *("train", "validation", "test"), *(None, "train", "validation"), "test", None, None
    ]  # fmt: skip


def test_thresholds_that_fall_are_refused():
    with pytest.raises(ValueError, match="thresholds must not decrease"):
        SplitThresholds(validation=0.96)


# ---- Ground truth ----


def test_ground_truth_keeps_the_beat_of_every_word(tmp_path):
    content = song_content([["one two"]], fr=600.0)  # beat 0 at 10 s, a beat every 0.1 s
    words = content["annotations"]["annot"]["words"]
    words[0]["time"] = (12.34, 12.96)  # beats 23.4 and 29.6
    words[1]["time"] = (13.25, 13.75)  # beats 32.5 and 37.5: to the even ones, 32 and 38
    content["annotations"]["annot"]["lines"][0]["time"] = (12.34, 13.75)
    path = write_ground_truth(tmp_path / "truth", {ID: {"offset": 11, "fr": 300}, "b": {"offset": 0.5, "fr": 600}})
    folder = tmp_path / "songs"
    for form in (vertical(content), content):
        song = read_one(folder, form, ground_truth=path)
        assert [time for _, *times in spans(song.words) for time in times] == pytest.approx([15.6, 17.0, 17.4, 18.6])
        assert (song.lines[0].start_seconds, song.lines[0].end_seconds) == pytest.approx((15.6, 18.6))
    assert spans(read_one(folder, content).words)[0] == ("one", 12.34, 12.96)


def test_ground_truth_that_moves_words_before_the_song_drops_them(tmp_path):
    path = write_ground_truth(tmp_path / "truth", {ID: {"offset": -2.5, "fr": 600}})
    song = read_one(tmp_path / "songs", song_content(), ground_truth=path)
    assert spans(song.words)[0] == ("we", 0.5, 1.0)


@pytest.mark.parametrize(
    ("clocks", "message"),
    [
        ([1], "truth: contains list, not ground truth"),
        ({ID: {"offset": 1.0}}, f"truth: the song '{ID}': fr is missing"),
        ({ID: {"offset": 1.0, "fr": 0}}, r"invalid offset 1\.0 or frame rate \(fr\) 0\.0"),
        ({ID: {"offset": math.nan, "fr": 9}}, "invalid offset nan"),
        ({ID: {"offset": "1", "fr": 9}}, "offset must be a number, not str"),
        ({ID: {"offset": 10**400, "fr": 9}}, "invalid offset inf"),
        (Call(os.system, "true"), r"truth: refused, or damaged: it names \w+\.system"),
    ],
)
def test_bad_ground_truth_is_named(tmp_path, clocks, message):
    write(tmp_path, song_content())
    with pytest.raises(ValueError, match=message):
        read_dali(tmp_path, tmp_path, ground_truth=write_ground_truth(tmp_path / "truth", clocks))


def test_missing_ground_truth_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such ground truth"):
        read_dali(tmp_path, tmp_path, ground_truth=tmp_path / "nowhere")


# ---- Files that are not trusted ----


def test_a_hostile_pickle_is_refused_by_name_and_runs_nothing(tmp_path):
    content = song_content()
    content["annotations"]["annot"]["words"][1]["text"] = Call(os.system, f"touch {tmp_path}/pwned")
    write(tmp_path, content)
    with pytest.raises(ValueError, match=rf"{ID}\.gz: refused, or damaged: it names \w+\.system, which"):
        read_dali(tmp_path, tmp_path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, "info is missing"),
        ({"info": 1, "annotations": {}}, "info must be of type dict, not int"),
        ({"info": {}, "annotations": []}, "annotations must be of type dict, not list"),
        ((None, {"info": {}}), "info is missing"),
        ([1], "info is missing"),
        ({"info": {}, "annotations": {}}, "id is missing"),
        ({"info": {"id": 3}, "annotations": {}}, "id must be of type str, not int"),
        ({"info": {"id": "a", "scores": {"NCC": "high"}}, "annotations": {}}, "NCC must be a number, not str"),
    ],
)
def test_an_odd_state_is_refused(tmp_path, state, message):
    (tmp_path / f"{ID}.gz").write_bytes(gzip.compress(pickled_state(state)))
    with pytest.raises(ValueError, match=rf"{ID}\.gz: {message}"):
        read_dali(tmp_path, tmp_path, language=None)


def test_json_far_larger_than_a_song_is_not_read(tmp_path):
    (tmp_path / "a.json").write_bytes(b"{}".ljust(MAX_BYTES))
    with pytest.raises(FileNotFoundError, match="no DALI annotations in this folder"):
        read_dali(tmp_path, tmp_path)
    (tmp_path / "a.json").write_bytes(b"{}".ljust(MAX_BYTES + 1))
    with pytest.raises(ValueError, match=r"a\.json: larger than 32 MiB"):
        read_dali(tmp_path, tmp_path)


@pytest.mark.parametrize("level", ["words", "notes"])
def test_one_list_held_many_times_does_not_fill_the_memory(tmp_path, level):
    word = entry([entry("la", 1.0, 2.0, None)] * (1000 if level == "notes" else 1), 1.0, 2.0, None)
    line = entry([word] * 1000, 1.0, 2.0, None)
    content = song_content()
    content["annotations"] |= {"type": "vertical", "annot": {"hierarchical": [entry([line] * 1000, 1.0, 2.0, None)]}}
    if level == "notes":
        content["annotations"]["annot"]["hierarchical"] = [entry([line], 1.0, 2.0, None)]
    write(tmp_path, content)
    with pytest.raises(ValueError, match="more than 100000 entries on a level"):
        read_dali(tmp_path, tmp_path)


def test_numpy_scalars_are_read_as_numbers(tmp_path):
    content = song_content(ncc=np.float32(0.75))
    for word in content["annotations"]["annot"]["words"]:
        word["time"] = tuple(np.float64(second) for second in word["time"])
        word["index"] = np.int64(word["index"])
    song = read_one(tmp_path, content)
    plain = read_one(tmp_path / "plain", song_content())
    assert spans(song.words) == spans(plain.words)
    assert {type(word.start_seconds) for word in song.words} == {float}


def change(path, value):
    """Annotations with one member changed; None takes it away."""
    content = song_content()
    record = content
    for key in path[:-1]:
        record = record[key]
    if value is None:
        del record[path[-1]]
    else:
        record[path[-1]] = value
    return content


WORD = ("annotations", "annot", "words", 0)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("annotations", "type"), "None", "annotations of type 'None'"),
        (("annotations", "type"), "vertical", "paragraphs must be a list, not NoneType"),
        (("annotations", "annot"), None, "annot is missing"),
        (("annotations", "annot", "words"), {}, "words must be a list, not dict"),
        (("annotations", "annot", "lines"), ["la"], "lines must hold dictionaries, not str"),
        ((*WORD, "index"), 3, "a word belongs to line 3 of 3"),
        ((*WORD, "index"), -1, "an index is negative"),
        ((*WORD, "index"), None, "index is missing"),
        ((*WORD, "text"), 5, "text must be of type str, not int"),
        ((*WORD, "text"), "x" * 1001, "a text of 1001 characters"),
        ((*WORD, "time"), [1.0], "time must be a pair of start and end"),
        ((*WORD, "time"), ["0", 1.0], "time must be a number, not str"),
        ((*WORD, "text"), "la\ud800", r"the text 'la\\ud800' contains a lone surrogate"),
    ],
)
def test_annotations_not_as_the_layout_says_are_named(tmp_path, path, value, message):
    write(tmp_path, change(path, value))
    with pytest.raises(ValueError, match=rf"{ID}\.gz: .*{message}"):
        read_dali(tmp_path, tmp_path)


@pytest.mark.parametrize("song_id", ["../x", "a/b", "a\\b", "..", ".", "", "/etc/passwd", "C:x", "a\0b"])
def test_ids_that_lead_elsewhere_are_refused(tmp_path, song_id):
    write(tmp_path, song_content(song_id=song_id), name="song")
    with pytest.raises(ValueError, match=r"song\.gz: the id .* is not a plain file name"):
        read_dali(tmp_path, tmp_path)


def test_two_files_for_a_song_are_named(tmp_path):
    write(tmp_path, song_content())
    write(tmp_path, song_content(), suffix=".json")
    with pytest.raises(ValueError, match=rf"{ID}\.json: a second file for the song of .*{ID}\.gz"):
        read_dali(tmp_path, tmp_path)


def test_folders_without_annotations_are_named(tmp_path):
    (tmp_path / "metadata.json").write_text("{}")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match="no DALI annotations in this folder"):
            read_dali(folder, tmp_path)
    (tmp_path / "metadata.json").write_text("{")
    with pytest.raises(ValueError, match=r"metadata\.json: not JSON"):
        read_dali(tmp_path, tmp_path)


# ---- Real files ----


@pytest.fixture(scope="module")
def real_scores(real_dali):
    metadata = json.loads((real_dali / "dali_v1_metadata.json").read_text(encoding="utf-8"))
    return [read_score(info) for info in metadata.values()]


@pytest.mark.parametrize(
    ("language", "counts"),
    [
        (None, {"train": 4768, "validation": 423, "test": 167}),
        ("english", {"train": 3600, "validation": 306, "test": 112}),
    ],
)
def test_the_real_songs_are_split_as_published(real_scores, language, counts):
    splits = Counter(SplitThresholds().split(score.ncc) for score in real_scores if language in (None, score.language))
    del splits[None]
    assert splits == counts


def test_every_language_of_the_real_songs_has_a_code(real_scores):
    assert {score.language for score in real_scores} == set(dali_songs._LANGUAGE_CODES)


def test_the_real_ground_truth_splits_and_moves_times_as_dali_does(real_dali, real_scores, tmp_path):
    """Against the steps of DALI's time2beat and beat2time, taken one by one with numpy."""
    clocks = pickle.loads(gzip.decompress((real_dali / "gt_v1.0.gz").read_bytes()))
    splits = {score.id: SplitThresholds().split(score.ncc) for score in real_scores}
    assert [[splits[song_id] for song_id in clocks].count(split) for split in ("train", "validation", "test")] == [
        93,
        10,
        2,
    ]
    rng = np.random.default_rng(0)
    expected = {}
    for song_id in clocks:
        content = song_content(song_id=song_id, fr=float(rng.uniform(300, 1600)))
        content["annotations"]["annot_param"]["offset"] = offset = float(rng.uniform(0, 60))
        beats_per_second = np.float64(content["annotations"]["annot_param"]["fr"]) / 60
        times = []
        for word in content["annotations"]["annot"]["words"]:
            word["time"] = sorted(rng.uniform(offset, 250, 2).tolist())
            beats = np.rint((np.array(word["time"]) - offset) * beats_per_second).astype(np.int64)
            new_beats_per_second = np.float64(clocks[song_id]["fr"]) / 60
            times.append(tuple(float(second) for second in beats / new_beats_per_second + clocks[song_id]["offset"]))
        write(tmp_path, content)
        expected[song_id] = times
    songs = read_dali(tmp_path, tmp_path, ground_truth=real_dali / "gt_v1.0.gz")
    assert len(songs) == 105
    for song in songs:
        assert [(word.start_seconds, word.end_seconds) for word in song.words] == expected[song.id]
