import pytest

pytest.importorskip("fastapi", reason="needs the extra serve: pip install 'lyrics-asr[serve]'")

from lyrics_asr.server import song_files
from lyrics_asr.server.realign import EditedLine, EditedLyrics, EditedWord, align_again
from lyrics_asr.types import AudioInfo, ModelInfo, Transcript
from tests.alignment.test_backing import LEAD, with_backing
from tests.alignment.test_forced_alignment import LINES

EMPTY = Transcript("align", AudioInfo("song.wav", 3.0, 16_000), ModelInfo("m", "s", "a", None), "", (), language="en")


def edited(*lines):
    return EditedLyrics(lines=[EditedLine(words=[EditedWord(text=text) for text in line.split()]) for line in lines])


def test_backing_vocals_in_an_edited_line_have_a_line_of_their_own(tmp_path):
    song_files.save_emissions(tmp_path / song_files.EMISSIONS, with_backing("CAN_|_DO_", LEAD.index("SILVER")))
    lyrics = edited(LINES[0], "Silver (can do) fishes jump high", "(quick brown dog)", *LINES[2:])
    lyrics.lines[1].words[1].__dict__.update(start_seconds=1.0, end_seconds=1.25, is_set=True)
    found = align_again(tmp_path, EMPTY, lyrics)
    assert [(line.text, line.voice, line.number) for line in found.lines] == [
        (LINES[0], "lead", 0),
        ("(can do)", "backing", 2),
        ("Silver fishes jump high", "lead", 1),
        (LINES[2], "lead", 4),
        (LINES[3], "lead", 5),
    ]
    assert [(line.text, line.voice) for line in found.not_found] == [("(quick brown dog)", "backing")]
    assert (found.lines[1].words[0].start_seconds, found.lines[1].words[0].end_seconds) == (1.0, 1.25)
    assert found.text.splitlines()[1] == "Silver (can do) fishes jump high"


def test_backing_vocals_that_were_not_found_can_be_placed_by_hand(tmp_path):
    song_files.save_emissions(tmp_path / song_files.EMISSIONS, with_backing("CAN_|_DO_", LEAD.index("SILVER")))
    lyrics = edited(LINES[0], "(dog)", *LINES[1:])
    lyrics.lines[1].words[0].__dict__.update(start_seconds=1.0, end_seconds=1.25, is_set=True)
    placed = align_again(tmp_path, EMPTY, lyrics).lines[1]
    assert (placed.text, placed.voice, placed.start_seconds) == ("(dog)", "backing", 1.0)
