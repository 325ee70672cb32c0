"""Formats, read back by other programs and by our own readers of lyrics."""

import html
import io
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from itertools import pairwise

import av
import jams
import pysubs2
import pytest
import ttconv.imsc.reader as imsc_reader
import ttconv.model
from praatio import textgrid

from lyrics_asr.formats import FORMATS, MELODY_FORMATS, render, suffix_of
from lyrics_asr.formats.subtitles import AssStyle, ass
from lyrics_asr.lyrics.text import parse_lyrics
from lyrics_asr.types import AudioInfo, ModelInfo, TimedLine, TimedWord, Transcript


def timed(text, start, seconds_per_word=0.4, confidence=0.5):
    """A line whose words follow each other with short pauses."""
    words = []
    for number, word in enumerate(text.split()):
        begin = start + number * seconds_per_word
        words.append(TimedWord(word, begin, begin + 0.8 * seconds_per_word, confidence))
    return TimedLine(text, words[0].start_seconds, words[-1].end_seconds, confidence, tuple(words))


LINES = (
    timed("Walking home & singing", 1.234),
    timed("all the way down", 2.9),
    timed('the "old" road', 20.005),
    replace(timed("(the old road)", 21.1), voice="backing"),  # the lead ends at 21.125
    timed("naïve señor", 23.0),
)
TRANSCRIPT = Transcript(
    "align",
    AudioInfo("songs/My song.mp3", 30.0, 44_100),
    ModelInfo("embedded", "u-net", "whisper", None),
    "\n".join(line.text for line in LINES) + "\n",
    LINES,
)
WORDS = [word for line in LINES for word in line.words]


@pytest.mark.parametrize("name", ["lrc", "lrc-ends", "elrc", "srt", "vtt", "vtt-words", "ass", "ttml", "json"])
def test_lines_are_read_back_by_our_own_readers(name):
    lines = [line.text for line in parse_lyrics(render(TRANSCRIPT, name)).lines]
    assert lines == [line.text for line in LINES]


def test_words_of_subtitles_are_read_back_by_our_own_reader():
    lines = parse_lyrics(render(TRANSCRIPT, "srt-words")).lines
    assert [word for line in lines for word in line.words] == [word.text for word in WORDS]


@pytest.mark.parametrize(("name", "timed_texts"), [("srt", LINES), ("srt-words", WORDS), ("vtt", LINES)])
def test_subtitles_are_read_by_pysubs2(name, timed_texts):
    read = pysubs2.SSAFile.from_string(render(TRANSCRIPT, name), format_=name.split("-")[0])
    assert [html.unescape(event.plaintext) for event in read] == [each.text for each in timed_texts]
    for event, each in zip(read, timed_texts, strict=True):
        assert event.start / 1000 == pytest.approx(each.start_seconds, abs=1e-3)
        assert event.end / 1000 == pytest.approx(each.end_seconds, abs=1e-3)


def test_karaoke_fills_each_word_in_its_time():
    read = pysubs2.SSAFile.from_string(render(TRANSCRIPT, "ass"))
    assert [event.style for event in read] == ["Upper", "Lower", "Upper", "Lower", "Upper"]
    for event, line in zip(read, LINES, strict=True):
        now, filled = event.start / 10, []
        for tag in event.text.split("{\\k")[1:]:
            kind, rest = ("f", tag[1:]) if tag.startswith("f") else ("", tag)
            duration, text = rest.split("}", 1)
            if kind:
                filled.append((text.strip(), now / 100, (now + int(duration)) / 100))
            now += int(duration)
        assert [text for text, *_ in filled] == [word.text for word in line.words]
        for (_, start, end), word in zip(filled, line.words, strict=True):
            assert start == pytest.approx(word.start_seconds, abs=0.006)
            assert end == pytest.approx(word.end_seconds, abs=0.011)
        assert event.end / 1000 == pytest.approx(line.end_seconds, abs=0.006)


def test_the_next_line_of_karaoke_is_shown_early_and_rows_are_free_when_used():
    read = pysubs2.SSAFile.from_string(render(TRANSCRIPT, "ass"))
    assert [event.start for event in read] == [0, 0, 17000, 18100, 21120]
    for row in ("Upper", "Lower"):
        events = [event for event in read if event.style == row]
        assert all(first.end <= second.start for first, second in pairwise(events))
    style = pysubs2.SSAFile.from_string(ass(TRANSCRIPT, AssStyle(font="Comic Neue", size=50))).styles["Lower"]
    assert (style.fontname, style.fontsize, style.marginv) == ("Comic Neue", 50, 60)


@pytest.mark.parametrize(("name", "format"), [("srt", "srt"), ("vtt-words", "webvtt"), ("ass", "ass")])
def test_ffmpeg_reads_subtitles(name, format):
    with av.open(io.BytesIO(render(TRANSCRIPT, name).encode()), format=format) as container:
        packets = [packet for packet in container.demux() if packet.size]
        tick = float(container.streams[0].time_base)
    assert len(packets) == len(LINES)
    if name != "ass":
        assert [packet.pts * tick for packet in packets] == pytest.approx(
            [line.start_seconds for line in LINES], abs=1e-3
        )


def test_word_times_of_webvtt_lie_in_their_cue_and_increase():
    cue = render(TRANSCRIPT, "vtt-words").split("\n\n")[1].splitlines()
    assert cue == [
        "00:00:01.234 --> 00:00:02.754",
        "Walking <00:00:01.634>home <00:00:02.034>&amp; <00:00:02.434>singing",
    ]


def test_praat_text_grid_is_read_by_praatio(tmp_path):
    path = tmp_path / "song.TextGrid"
    path.write_text(render(TRANSCRIPT, "textgrid"), encoding="utf-8")
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False, reportingMode="error")
    assert (grid.tierNames, grid.maxTimestamp) == (("lines", "words", "backing lines", "backing words"), 30.0)
    lead, backing = [[line for line in LINES if line.voice == voice] for voice in ("lead", "backing")]
    tiers = {"lines": lead, "backing lines": backing}
    tiers["words"], tiers["backing words"] = ([word for line in own for word in line.words] for own in (lead, backing))
    for tier, expected in tiers.items():
        entries = grid.getTier(tier).entries
        assert [(entry.start, entry.end, entry.label) for entry in entries] == [
            (pytest.approx(each.start_seconds), pytest.approx(each.end_seconds), each.text) for each in expected
        ]


def test_overlapping_and_empty_intervals_of_praat_follow_each_other(tmp_path):
    words = (TimedWord("a", 1.0, 2.0, 1.0), TimedWord("b", 1.5, 1.5, 0.0), TimedWord("c", 1.5, 3.0, 1.0))
    line = TimedLine("a b c", 1.0, 3.0, 1.0, words)
    path = tmp_path / "song.TextGrid"
    path.write_text(render(Transcript("align", TRANSCRIPT.audio, TRANSCRIPT.model, "a b c", (line,)), "textgrid"))
    entries = textgrid.openTextgrid(str(path), False, reportingMode="error").getTier("words").entries
    assert [tuple(entry) for entry in entries] == [(1.0, 2.0, "a"), (2.0, 2.001, "b"), (2.001, 3.0, "c")]


def test_jams_is_read_by_jams():

    read = jams.load(io.StringIO(render(TRANSCRIPT, "jams")), validate=True, strict=True)
    by_level = {annotation.sandbox.level: annotation for annotation in read.annotations}
    for level, expected in (("lines", LINES), ("words", WORDS)):
        found = [(each.time, each.duration, each.value, each.confidence) for each in by_level[level].data]
        assert found == [
            (pytest.approx(e.start_seconds), pytest.approx(e.end_seconds - e.start_seconds), e.text, e.confidence)
            for e in expected
        ]
    assert read.file_metadata.duration == 30.0


def test_time_marked_conversations_have_a_word_per_row():
    """The format as NIST's sctk defines it: <file> <channel> <begin> <duration> <word> <confidence>."""
    rows = [row.split(" ") for row in render(TRANSCRIPT, "ctm").splitlines()]
    assert [row[:2] for row in rows] == [["My_song", "1"]] * len(WORDS)
    assert [(float(start), float(start) + float(duration), word) for _, _, start, duration, word, _ in rows] == [
        (pytest.approx(w.start_seconds, abs=1e-3), pytest.approx(w.end_seconds, abs=2e-3), w.text) for w in WORDS
    ]
    assert [float(row[5]) for row in rows] == [0.5] * len(WORDS)


def test_audacity_labels_have_three_columns():
    rows = [row.split("\t") for row in render(TRANSCRIPT, "audacity").splitlines()]
    assert [(float(start), float(end), text) for start, end, text in rows] == [
        (pytest.approx(w.start_seconds), pytest.approx(w.end_seconds), w.text) for w in WORDS
    ]


def test_line_ends_of_lrc_are_empty_stamps_before_pauses():
    lines = (timed("one two", 1.0), TimedLine("three", 1.72, 2.0, 1.0, ()), timed("four", 5.0))
    transcript = Transcript("align", TRANSCRIPT.audio, TRANSCRIPT.model, "", lines)
    assert render(transcript, "lrc-ends") == (
        "[00:01.00]one two\n[00:01.72]three\n[00:02.00]\n[00:05.00]four\n[00:05.32]\n"
    )


def test_ttml_has_words_sections_and_background_vocals():
    tt = "{http://www.w3.org/ns/ttml}"
    role = "{http://www.w3.org/ns/ttml#metadata}role"
    root = ElementTree.fromstring(render(TRANSCRIPT, "ttml"))
    assert [len(div) for div in root.iter(f"{tt}div")] == [2, 2]  # after ten seconds without singing
    paragraphs = list(root.iter(f"{tt}p"))
    assert ["".join(paragraph.itertext()) for paragraph in paragraphs] == [
        LINES[0].text,
        LINES[1].text,
        'the "old" road (the old road)',
        LINES[4].text,
    ]
    assert paragraphs[2].get("end") == "00:00:22.220"  # with the backing vocals
    timed_spans = [span for span in root.iter(f"{tt}span") if "begin" in span.attrib]
    assert [span.text for span in timed_spans] == [word.text for word in WORDS]
    assert timed_spans[0].attrib == {"begin": "00:00:01.234", "end": "00:00:01.554"}
    (background,) = (span for span in root.iter(f"{tt}span") if span.get(role) == "x-bg")
    assert "".join(background.itertext()) == "(the old road)"


def test_ttml_follows_the_standard_for_another_reader(caplog):
    """Ttconv logs what the standard and its profile for subtitles (IMSC) do not allow.

    It shows times as written. By the standard, those of spans would count from the start of their paragraph.
    """
    text = render(replace(TRANSCRIPT, language="en"), "ttml")
    document = imsc_reader.to_model(ElementTree.ElementTree(ElementTree.fromstring(text)))
    assert caplog.messages == []
    spans = [each for each in document.get_body().dfs_iterator() if isinstance(each, ttconv.model.Span)]
    read = [each for each in spans if each.get_begin() is not None]
    for each, word in zip(read, WORDS, strict=True):
        (text_node,) = each
        assert text_node.get_text() == word.text
        assert each.get_begin() == pytest.approx(word.start_seconds, abs=0.0006)
        assert each.get_end() == pytest.approx(word.end_seconds, abs=0.0006)
    # What is not allowed is seen: two sections, four paragraphs and all words without hours.
    imsc_reader.to_model(ElementTree.ElementTree(ElementTree.fromstring(text.replace('begin="00:', 'begin="'))))
    assert len(caplog.messages) == 2 + 4 + len(WORDS)


def test_text_of_karaoke_has_no_tags_of_its_own():
    line = timed(r"{\b1}bold \N", 1.0)
    (event,) = pysubs2.SSAFile.from_string(
        render(Transcript("align", TRANSCRIPT.audio, TRANSCRIPT.model, line.text, (line,)), "ass")
    )
    assert event.plaintext == "(\\\u2060b1)bold \\\u2060N"


def test_names_and_suffixes_are_distinct_and_empty_songs_have_every_format():
    assert len({suffix_of(name).lower() for name in FORMATS}) == len(FORMATS)
    empty = Transcript("transcribe", TRANSCRIPT.audio, TRANSCRIPT.model, "", ())
    for name in set(FORMATS) - MELODY_FORMATS:
        render(empty, name)
    assert json.loads(render(empty, "jams"))["annotations"][0]["data"] == []
