"""Transcription with an attention model: choice between its texts by the emissions, times, text that is not sung."""

import json

import pytest
import torch

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.cli.main import main
from lyrics_asr.inference.attention import timed_lines
from lyrics_asr.options import TranscriberOptions
from lyrics_asr.types import Candidate, SegmentText, SongText
from tests.emissions import GRID, path_emissions
from tests.models.test_transcriber import WORDS, make_checkpoint

SUNG = path_emissions("_" * 50 + "S_U_N_|_|__" + "_" * 50 + "M_O_O_N_|" + "_" * 50)
FIRST = SegmentText(0.0, 1.5, (Candidate(("Son!",), -1.0), Candidate(("Sun!",), -1.5)))
SECOND = SegmentText(1.5, 3.5, (Candidate(("Moon", "shine on me"), -1.0),))


def text(*segments):
    return SongText("en", None, 0.0, segments)


def test_the_text_that_was_sung_wins_and_has_its_times():
    lines = timed_lines(text(FIRST), SUNG, TranscriberOptions(ctc_weight=0.3))
    assert [line.text for line in lines] == ["Sun!"]
    assert lines[0].start_seconds == pytest.approx(GRID.seconds(50))
    assert lines[0].end_seconds == pytest.approx(GRID.seconds(55))
    (by_attention,) = timed_lines(text(FIRST), SUNG, TranscriberOptions(ctc_weight=0.0))
    assert by_attention.text == "Son!"


def test_words_that_are_not_sung_are_dropped_and_times_are_those_of_the_song():
    lines = timed_lines(text(SECOND), SUNG, TranscriberOptions(min_confidence=0.5))
    assert [line.text for line in lines] == ["Moon"]
    assert lines[0].start_seconds == pytest.approx(GRID.seconds(111))
    everything = timed_lines(text(SECOND), SUNG, TranscriberOptions(min_confidence=0.0))
    assert [line.text for line in everything] == ["Moon", "shine on me"]


def test_a_segment_that_cannot_be_aligned_is_left_out():
    too_long = SegmentText(0.0, 0.3, (Candidate(("more letters than there are frames in a segment",), 0.0),))
    no_words = SegmentText(0.5, 1.0, (Candidate(("...",), 0.0),))
    beyond = SegmentText(90.0, 95.0, (Candidate(("sun",), 0.0),))
    assert timed_lines(text(too_long, no_words, beyond), SUNG, TranscriberOptions()) == ()


def test_the_command_writes_the_words_of_the_checkpoint(tmp_path, tiny_model_folder):
    checkpoint = make_checkpoint(tmp_path / "whisper")
    write_audio(tmp_path / "song.wav", Audio(0.1 * torch.randn(2, 2 * 44_100), 44_100))
    command = ["transcribe", tmp_path / "song.wav", "-o", tmp_path / "out", "--format", "json", "--language", "fr"]
    command += ["--model", tiny_model_folder, "--transcriber", checkpoint, "--set", "transcriber.min_confidence=0"]
    assert main(list(map(str, command))) == 0
    transcript = json.loads((tmp_path / "out" / "song.json").read_text())
    assert transcript["model"]["transcriber"] == str(checkpoint)
    assert transcript["model"]["language_model"] is None
    assert transcript["language"] == "fr"
    assert set(transcript["text"].split()) <= set(WORDS)
    assert transcript["lines"]
    assert main(list(map(str, command))) == 0
    assert (tmp_path / "out" / "run.jsonl").read_text().count("\n") == 1  # kept, not done again
    assert main([*map(str, command), "--language", "en"]) == 0
    assert json.loads((tmp_path / "out" / "song.json").read_text())["language"] == "en"
    assert main([*map(str, command), "--language", "auto"]) == 0
    assert (tmp_path / "out" / "run.jsonl").read_text().count("\n") == 3  # heard, which is another thing than given
