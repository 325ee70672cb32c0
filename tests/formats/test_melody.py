import io
from dataclasses import fields

import mido
import pytest

from lyrics_asr.formats import MelodyError, encode, parse_json, render
from lyrics_asr.lyrics.text import parse_lyrics
from lyrics_asr.types import Note, SungTranscript, Syllable
from tests.formats.test_readers import TRANSCRIPT

CONTENT = {field.name: getattr(TRANSCRIPT, field.name) for field in fields(TRANSCRIPT)}
MELODY = (
    Syllable("Walk", 1.234, 1.4, 0, 0, (Note(1.234, 1.4, 60),)),
    Syllable("ing", 1.4, 1.554, 0, 0, (Note(1.4, 1.48, 62), Note(1.48, 1.554, 57))),
    Syllable("home", 1.634, 1.954, 0, 1, ()),
    Syllable("all", 2.9, 3.22, 1, 0, (Note(2.9, 3.22, 64),)),
)
SUNG = SungTranscript(**CONTENT, melody=MELODY)


def test_json_keeps_the_melody():
    assert parse_json(render(SUNG, "json"), "x.json") == SUNG
    assert type(parse_json(render(TRANSCRIPT, "json"), "x.json")) is type(TRANSCRIPT)


def read_ultrastar(text):
    """Headers, and notes as (kind, start in seconds, end in seconds, midi, text), as UltraStar's specification says."""
    headers, notes = {}, []
    for row in text.splitlines():
        if row.startswith("#"):
            name, _, value = row[1:].partition(":")
            headers[name] = value
        elif row[0] in ":*FRG":
            kind, start, length, pitch, syllable = row.split(" ", 4)
            beat_seconds = 60 / (4 * float(headers["BPM"]))
            at = float(headers["GAP"]) / 1000 + int(start) * beat_seconds
            notes.append((kind, at, at + int(length) * beat_seconds, 60 + int(pitch), syllable))
        else:
            notes.append(row)
    return headers, notes


def test_ultrastar_has_syllables_notes_and_line_breaks():
    headers, notes = read_ultrastar(render(SUNG, "ultrastar"))
    assert headers == {
        "VERSION": "1.1.0",
        "TITLE": "My song",
        "ARTIST": "Unknown",
        "AUDIO": "My song.mp3",
        "MP3": "My song.mp3",
        "BPM": "750",
        "GAP": "1234",
    }
    assert notes.pop() == "E"
    assert notes.pop(4) == "- 36"
    assert [(kind, midi, text) for kind, _, _, midi, text in notes] == [
        (":", 60, "Walk"),
        (":", 62, "ing"),
        (":", 57, "~"),
        ("F", 60, " home"),
        (":", 64, "all"),
    ]
    times = [(1.234, 1.4), (1.4, 1.48), (1.48, 1.554), (1.634, 1.954), (2.9, 3.22)]
    for (_, start, end, _, _), expected in zip(notes, times, strict=True):
        assert (start, end) == (pytest.approx(expected[0], abs=0.011), pytest.approx(expected[1], abs=0.011))


def test_our_own_reader_takes_the_words_of_ultrastar():
    lines = parse_lyrics(render(SUNG, "ultrastar")).lines
    assert [line.text for line in lines] == ["Walking home", "all"]


def test_ultrastar_names_the_stems_beside_the_song(tmp_path):
    for name in ("A - B.mp3", "A - B [VOC].flac", "A - B [INSTR].mp3", "B [VOC].mp3"):
        (tmp_path / name).touch()
    content = CONTENT | {"audio": type(TRANSCRIPT.audio)(str(tmp_path / "A - B.mp3"), 3.0, 44_100)}
    headers, _ = read_ultrastar(render(SungTranscript(**content, melody=MELODY), "ultrastar"))
    assert (headers["ARTIST"], headers["TITLE"]) == ("A", "B")
    assert (headers["VOCALS"], headers["INSTRUMENTAL"]) == ("A - B [VOC].flac", "A - B [INSTR].mp3")


def test_midi_is_read_by_mido():
    read = mido.MidiFile(file=io.BytesIO(encode(SUNG, "midi")), charset="utf-8")
    now, lyrics, notes, on = 0.0, [], [], {}
    for message in read:  # in seconds
        now += message.time
        if message.type == "lyrics":
            lyrics.append((pytest.approx(now, abs=2e-3), message.text))
        elif message.type == "note_on":
            on[message.note] = now
        elif message.type == "note_off":
            notes.append((on.pop(message.note), now, message.note))
    assert lyrics == [(syllable.start_seconds, syllable.text) for syllable in MELODY]
    expected = [note for syllable in MELODY for note in syllable.notes]
    assert notes == [
        (pytest.approx(note.start_seconds, abs=2e-3), pytest.approx(note.end_seconds, abs=2e-3), note.midi)
        for note in expected
    ]


@pytest.mark.parametrize("name", ["ultrastar", "midi"])
def test_a_transcript_without_a_melody_is_refused_with_the_remedy(name):
    with pytest.raises(MelodyError, match=r"My song\.mp3: has no melody; align the song with --melody"):
        encode(TRANSCRIPT, name)
    encode(SungTranscript(**CONTENT), name)  # a song without words
