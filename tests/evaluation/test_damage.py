from pathlib import Path

import numpy as np
import pytest

from lyrics_asr.corpora.manifest import Song
from lyrics_asr.evaluation.damage import DamagedLyrics, confidence_statistics, damage, damage_statistics
from lyrics_asr.types import TimedLine, TimedWord


def song(name, lines, language="en"):
    words = [TimedWord(word, float(i), i + 0.5, 1.0) for i, word in enumerate(" ".join(lines).split())]
    return Song(name, Path("none.wav"), "\n".join(lines), tuple(words), language)


OURS = song("ours", [f"our line {number}" for number in range(10)])
OTHER = song("other", [f"their line {number}" for number in range(8)])
SPANISH = song("spanish", ["una línea"], "es")


def timed(number, *onsets, status="sung"):
    words = tuple(TimedWord("la", onset, onset + 0.1, 1.0) for onset in onsets)
    return TimedLine("la", onsets[0], onsets[-1] + 0.1, 1.0, words, status=status, number=number)


@pytest.mark.parametrize("kind", ["none", "dropped", "added", "reordered", "another"])
def test_origins_say_what_was_damaged(kind):
    damaged = damage(OURS, kind, 0.3, (OURS, OTHER, SPANISH))
    lines = damaged.text.split("\n")
    assert len(lines) == {"none": 10, "dropped": 7, "added": 13, "reordered": 10, "another": 8}[kind]
    for line, origin in zip(lines, damaged.origins, strict=True):
        assert line in OTHER.lyrics if origin is None else line == f"our line {origin}"
    kept = [origin for origin in damaged.origins if origin is not None and origin not in damaged.moved]
    assert kept == sorted(kept)
    assert len(damaged.moved) == (3 if kind == "reordered" else 0)
    assert damage(OURS, kind, 0.3, (OURS, OTHER, SPANISH)) == damaged


def test_mixed_damage_is_one_of_the_kinds():
    songs = [song(f"song {number}", [f"our line {number} {line}" for line in range(6)]) for number in range(15)]
    mixed = [damage(each, "mixed", 0.3, songs) for each in songs]
    kinds = ("none", "dropped", "added", "reordered", "another")
    drawn = [
        {kind for kind in kinds if damage(each, kind, 0.3, songs) == damaged}
        for each, damaged in zip(songs, mixed, strict=True)
    ]
    assert all(drawn)
    assert set.union(*drawn) == set(kinds)


def test_added_lines_need_another_song():
    with pytest.raises(ValueError, match="spanish: no other song has lyrics in 'es'"):
        damage(SPANISH, "added", 0.3, (OURS, SPANISH))


def test_statistics_count_words_of_right_lines_and_lines_not_found():
    two = song("two", ["a b", "c d", "a b"])  # onsets 0 1, 2 3, 4 5
    damaged = DamagedLyrics("a b\nx\nc d\ny", (0, None, 1, None))
    lines = (timed(0, 4.2, 5.4), timed(0, 9.0, 9.5, status="repeated"), timed(1, 7.0))
    assert damage_statistics(two, damaged, lines) == {
        "damaged_words_within": (1, 4),
        "not_found_precision": (1, 2),
        "not_found_recall": (1, 2),
    }


def test_confidences_are_compared_with_what_is_right():
    two = song("two", ["a b", "c d", "a b"])  # onsets 0 1, 2 3, 4 5
    damaged = DamagedLyrics("a b\nx\nc d", (0, None, 1))
    lines = (
        TimedLine("a b", 4.2, 9.5, 0.9, (TimedWord("a", 4.2, 4.3, 0.8), TimedWord("b", 9.0, 9.5, 0.15)), number=0),
        TimedLine("x", 7.0, 7.5, 0.35, (TimedWord("x", 7.0, 7.5, 0.85),), number=1),
    )
    found = confidence_statistics(two, damaged, lines, 0.75)
    assert found["word_confidence_auc"] == (0.8, 1, 0.15, 0, 0.85, 0)
    assert found["line_confidence_auc"] == (0.9, 1, 0.35, 0)
    assert found["song_confidence_auc"] == (0.75, 1)
    counts, confidences, right = np.reshape(found["word_confidence_ece"], (3, 10))
    assert counts.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 2, 0]
    assert confidences[[1, 8]].tolist() == [0.15, 1.65]
    assert right.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    another = confidence_statistics(two, DamagedLyrics("x", (None,)), (), 0.25)
    assert another == {"song_confidence_ece": (0, 0, 1, *[0] * 9, 0.25, *[0] * 17), "song_confidence_auc": (0.25, 0)}
