import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyrics_asr.formats import parse_json, render
from lyrics_asr.types import AudioInfo, MissingLine, ModelInfo, Segment, TimedLine, TimedWord, Transcript

AUDIO = AudioInfo("songs/Été.mp3", 4000.5, 44_100)
MODEL = ModelInfo("published", "htdemucs", "facebook/wav2vec2-large-960h-lv60-self", None)
LINES = (
    TimedLine(
        "Rock & roll",
        12.0,
        13.296,
        0.75,
        (TimedWord("Rock", 12.0, 12.5, 0.5), TimedWord("&", 12.5, 12.5, 0.0), TimedWord("roll", 12.754, 13.296, 1.0)),
    ),
    TimedLine(
        "<Wait> --> 2nd",
        59.9999,
        59.9999,
        0.25,
        (TimedWord("<Wait>", 59.9999, 59.9999, 0.25), TimedWord("-->", 59.9999, 59.9999, 0.25)),
    ),
    TimedLine("naïve", 3661.5, 3662.004, 0.1, (TimedWord("naïve", 3661.5, 3662.004, 0.1),)),
)
TRANSCRIPT = Transcript("align", AUDIO, MODEL, "[Chorus]\nRock & roll\n\n<Wait> --> 2nd\nnaïve", LINES)

GOLDEN = {
    "txt": "[Chorus]\nRock & roll\n\n<Wait> --> 2nd\nnaïve\n",
    "lrc": "[00:12.00]Rock & roll\n[01:00.00]<Wait> --> 2nd\n[61:01.50]naïve\n",
    "elrc": (
        "[00:12.00] <00:12.00> Rock <00:12.50> & <00:12.75> roll <00:13.30>\n"
        "[01:00.00] <01:00.00> <Wait> <01:00.00> --> <01:00.00>\n"
        "[61:01.50] <61:01.50> naïve <61:02.00>\n"
    ),
    "srt": (
        "1\n00:00:12,000 --> 00:00:13,296\nRock & roll\n\n"
        "2\n00:01:00,000 --> 00:01:00,001\n<Wait> --> 2nd\n\n"
        "3\n01:01:01,500 --> 01:01:02,004\nnaïve\n"
    ),
    "vtt": (
        "WEBVTT\n\n00:00:12.000 --> 00:00:13.296\nRock &amp; roll\n\n"
        "00:01:00.000 --> 00:01:00.001\n&lt;Wait&gt; --&gt; 2nd\n\n"
        "01:01:01.500 --> 01:01:02.004\nnaïve\n"
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_text(name):
    assert render(TRANSCRIPT, name) == GOLDEN[name]


def test_json_has_the_schema_of_the_design_in_its_order():
    document = json.loads(render(TRANSCRIPT, "json"))
    keys = ["schema", "task", "audio", "model", "text", "lines", "uncovered", "language", "confidence"]
    assert list(document) == keys
    assert document["schema"] == "lyrics-asr/transcript/2"
    assert list(document["audio"]) == ["path", "duration_seconds", "sample_rate_hz"]
    assert list(document["model"]) == ["name", "separator", "acoustic", "language_model", "transcriber"]
    line_keys = ["text", "start_seconds", "end_seconds", "confidence", "words", "status", "number", "voice"]
    assert list(document["lines"][0]) == line_keys
    assert document["lines"][0]["words"][1] == {
        "text": "&",
        "start_seconds": 12.5,
        "end_seconds": 12.5,
        "confidence": 0.0,
    }


def test_empty_transcript_in_every_format():
    transcript = Transcript("transcribe", AUDIO, MODEL, "", ())
    assert parse_json(render(transcript, "json"), "x.json") == transcript
    assert {name: render(transcript, name) for name in GOLDEN} == {
        "txt": "",
        "lrc": "",
        "elrc": "",
        "srt": "",
        "vtt": "WEBVTT\n",
    }


def test_line_break_within_a_line_stays_in_its_cue():
    line = TimedLine("one\n\ntwo\r\nthree", 0.0, 1.0, 1.0, (TimedWord("one\n", 0.0, 1.0, 1.0),))
    transcript = Transcript("align", AUDIO, MODEL, line.text, (line,))
    assert render(transcript, "srt") == "1\n00:00:00,000 --> 00:00:01,000\none  two three\n"
    assert render(transcript, "elrc") == "[00:00.00] <00:00.00> one <00:01.00>\n"


def test_unknown_format_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown format 'mp9'; use one of json, txt, lrc, "):
        render(TRANSCRIPT, "mp9")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
CONFIDENCES = st.floats(0, 1)
SPANS = st.tuples(st.floats(0, 1e5), st.floats(0, 1e5)).map(sorted)
WORDS = st.builds(lambda text, span, confidence: TimedWord(text, *span, confidence), TEXTS, SPANS, CONFIDENCES)
TIMED_LINES = st.builds(
    lambda text, span, confidence, words, voice: TimedLine(text, *span, confidence, tuple(words), voice=voice),
    TEXTS,
    SPANS,
    CONFIDENCES,
    st.lists(WORDS, max_size=3),
    st.sampled_from(["lead", "backing"]),
)
TRANSCRIPTS = st.builds(
    lambda task, text, model, lines: Transcript(task, AUDIO, ModelInfo(text, text, text, model), text, tuple(lines)),
    st.sampled_from(["transcribe", "align"]),
    TEXTS,
    st.none() | TEXTS,
    st.lists(TIMED_LINES, max_size=3),
)


@given(TRANSCRIPTS)
def test_json_reads_back_as_the_same_object(transcript):
    assert parse_json(render(transcript, "json"), "x.json") == transcript


def test_lines_that_were_not_found_stand_in_their_place_without_times():
    words = (TimedWord("la", 1.0, 2.0, 1.0),)
    lines = [
        TimedLine("la", 1.0, 2.0, 1.0, words, number=0),
        TimedLine("la", 3.0, 4.0, 1.0, words, number=2),
        TimedLine("la", 5.0, 6.0, 1.0, words, status="repeated", number=0),
    ]
    missing = (MissingLine("oh no", 1, ("oh", "no")), MissingLine("(the end)", 3, ("(the", "end)"), "backing"))
    transcript = Transcript(
        "align", AUDIO, MODEL, "la\noh no\nla (the end)", tuple(lines), missing, (Segment(7.0, 9.0),), confidence=0.75
    )
    document = json.loads(render(transcript, "json"))
    assert [(line["number"], line["status"], line["start_seconds"]) for line in document["lines"]] == [
        (0, "sung", 1.0),
        (1, "not_found", None),
        (2, "sung", 3.0),
        (0, "repeated", 5.0),
        (3, "not_found", None),
    ]
    assert document["lines"][1]["words"][1] == {
        "text": "no",
        "start_seconds": None,
        "end_seconds": None,
        "confidence": 0.0,
    }
    assert [line["voice"] for line in document["lines"]] == ["lead"] * 4 + ["backing"]
    assert document["uncovered"] == [{"start_seconds": 7.0, "end_seconds": 9.0}]
    assert parse_json(render(transcript, "json"), "x.json") == transcript
    assert render(transcript, "lrc").count("\n") == 3


def test_schema_1_can_still_be_read():
    document = json.loads(render(TRANSCRIPT, "json"))
    document["schema"] = "lyrics-asr/transcript/1"
    del document["uncovered"], document["confidence"]
    for line in document["lines"]:
        del line["status"], line["number"], line["voice"]
    assert parse_json(json.dumps(document), "x.json") == TRANSCRIPT


@given(st.lists(SPANS, min_size=1, max_size=5))
def test_cues_have_a_length_and_valid_fields(spans):
    lines = tuple(TimedLine("la", start, end, 1.0, ()) for start, end in spans)
    cues = render(Transcript("align", AUDIO, MODEL, "", lines), "srt").split("\n")[1::4]
    for cue, (start_seconds, _) in zip(cues, spans, strict=True):
        fields = [[int(field) for field in time.replace(",", ":").split(":")] for time in cue.split(" --> ")]
        assert all(minutes < 60 and seconds < 60 and thousandths < 1000 for _, minutes, seconds, thousandths in fields)
        start, end = (((h * 60 + m) * 60 + s) * 1000 + ms for h, m, s, ms in fields)
        assert math.isclose(start / 1000, start_seconds, abs_tol=0.000501)
        assert start < end


def altered(*keys, **values):
    """The JSON of TRANSCRIPT in which the object at `keys` has other values; ... removes a key."""
    document = json.loads(render(TRANSCRIPT, "json"))
    target = document
    for key in keys:
        target = target[key]
    target.update(values)
    for name in [name for name, value in values.items() if value is ...]:
        del target[name]
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", r"the document is \[\], not an object"),
        ("{}", "the key 'schema' is missing"),
        (altered(schema="lyrics-asr/transcript/3"), "the key 'schema' is 'lyrics-asr/transcript/3', not"),
        (altered(task="sing"), "the key 'task' is 'sing', not 'transcribe' or 'align'"),
        (altered(text=...), "the key 'text' is missing"),
        (altered(text=None), "the key 'text' is None, not a text"),
        (altered(text="\ud800"), r"the key 'text' is '\\ud800', not a text"),
        (altered(audio=[]), r"the key 'audio' is \[\], not an object"),
        (altered("audio", sample_rate_hz=0), "the key 'audio.sample_rate_hz' is 0, not a positive integer"),
        (altered("audio", sample_rate_hz=True), "the key 'audio.sample_rate_hz' is True"),
        (altered("audio", duration_seconds=math.nan), "the key 'audio.duration_seconds' is nan"),
        (altered("audio", duration_seconds=10**400), r"the key 'audio.duration_seconds' is 10+\.\.\., not a number"),
        (altered("model", language_model=3), "the key 'model.language_model' is 3, not a text"),
        (altered(lines={}), "the key 'lines' is {}, not a list"),
        (altered(lines=[7]), r"the key 'lines\[0\]' is 7, not an object"),
        (altered("lines", 0, status="hummed"), r"the key 'lines\[0\]\.status' is 'hummed', not 'sung', 'repeated' or"),
        (altered("lines", 0, voice="choir"), r"the key 'lines\[0\]\.voice' is 'choir', not 'lead' or 'backing'"),
        (altered("lines", 0, number=-1), r"the key 'lines\[0\]\.number' is -1, not an integer, not negative"),
        (
            altered(uncovered=[{"start_seconds": 2, "end_seconds": 1}]),
            r"the key 'uncovered\[0\]' is wrong: .* no valid",
        ),
        (altered("lines", 1, start_seconds="1"), r"the key 'lines\[1\]\.start_seconds' is '1', not a number"),
        (
            altered("lines", 0, "words", 2, confidence=1.5),
            r"the key 'lines\[0\]\.words\[2\]' is wrong: 'roll' has conf",
        ),
        (
            altered("lines", 0, "words", 2, end_seconds=1),
            r"the key 'lines\[0\]\.words\[2\]' is wrong: 'roll' has no val",
        ),
    ],
)
def test_hostile_json_names_source_key_and_remedy(text, message):
    with pytest.raises(ValueError, match=rf"^evil\.json: {message}.*; give a \.json file"):
        parse_json(text, "evil.json")


def test_keys_that_the_schema_lacks_are_ignored():
    assert parse_json(altered("lines", 0, singer="Ann"), "x.json") == TRANSCRIPT
