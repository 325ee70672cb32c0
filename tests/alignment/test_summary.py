from lyrics_asr.alignment.summary import summarize
from lyrics_asr.types import AudioInfo, MissingLine, ModelInfo, Segment, TimedLine, Transcript

AUDIO, MODEL = AudioInfo("song.mp3", 180.0, 44_100), ModelInfo("m", "s", "a", None)


def line(start_seconds, status="sung"):
    return TimedLine("la", start_seconds, start_seconds + 1, 1.0, (), status=status, number=0)


def test_summary_of_what_was_found():
    missing = tuple(MissingLine(f"line {number}", number, ("line",)) for number in (3, 7))
    lines = (line(1.0), line(59.6), line(61.0, "repeated"))
    transcript = Transcript("align", AUDIO, MODEL, "", lines, missing, (Segment(130.2, 151.0),))
    assert summarize(transcript) == (
        '2 of 4 lines found; not found: "line 3" (line 4), "line 7" (line 8); 1 sung again: at 1:01; '
        "singing without lyrics at 2:10-2:31"
    )


def test_summary_of_right_lyrics_is_short():
    assert summarize(Transcript("align", AUDIO, MODEL, "", (line(1.0),))) == "1 of 1 lines found"


def test_summary_of_another_songs_lyrics():
    missing = (MissingLine("la", 0, ("la",)),)
    transcript = Transcript("align", AUDIO, MODEL, "", (), missing, confidence=0.123)
    assert (
        summarize(transcript)
        == "0 of 1 lines found; these lyrics do not seem to belong to this song (probability 0.12)"
    )


def test_long_lists_and_lines_are_cut():
    missing = tuple(MissingLine("x" * 100, number, ("x",)) for number in range(9))
    summary = summarize(Transcript("align", AUDIO, MODEL, "", (), missing))
    assert summary.endswith(f'"{"x" * 39}…" (line 5) and 4 more')
