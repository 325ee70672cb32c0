from dataclasses import replace
from pathlib import Path

import jiwer
import mir_eval.alignment
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyrics_asr.corpora.manifest import LineTimes, Song
from lyrics_asr.evaluation.aggregation import METRICS, aggregate
from lyrics_asr.evaluation.bss_eval import BssEval
from lyrics_asr.evaluation.predictions import Prediction, SeparationScores, StageSeconds
from lyrics_asr.evaluation.scores import even_spread, score_song
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.types import TimedLine, TimedWord

EDITS = ("substitutions", "deletions", "insertions")
LYRICS = "[Chorus]\nThe sun, the moon\n\nand rain\n"
ONSETS = (1.0, 2.0, 3.0, 4.0, 6.0, 7.0)


def words(onsets, names=("The", "sun,", "the", "moon", "and", "rain")):
    return tuple(TimedWord(name, at, at + 0.1, 1.0) for name, at in zip(names, onsets, strict=True))


def lines(onsets):
    timed = words(onsets)
    return tuple(
        TimedLine(" ".join(word.text for word in part), part[0].start_seconds, part[-1].end_seconds, 1.0, part)
        for part in (timed[:4], timed[4:])
    )


def song(**changes):
    return Song(
        **{"id": "s", "audio": Path("s.mp3"), "lyrics": LYRICS, "words": words(ONSETS), "language": "en"} | changes
    )


def values(scores):
    return {key: aggregate(METRICS[key], [each]) for key, each in scores.statistics.items()}


def test_a_perfect_prediction():
    prediction = Prediction(10.0, "The sun, the moon\n\nand rain", "the sun the moon and rain", lines(ONSETS))
    found = values(score_song(song(), prediction))
    for key in (
        "wer",
        "greedy_wer",
        "cer",
        "jam_alt_wer",
        "jam_alt_wer_case",
        "words_mean_pooled",
        "lines_median_pooled",
    ):
        assert found[key] == 0, key
    for key in ("words_within_0.1", "lines_pcs", "words_pcs_mirex", "jam_alt_f1_lines", "jam_alt_f1_sections"):
        assert found[key] == 1, key
    assert "si_sdr" not in found
    assert "rtf" not in found


def test_errors_are_counted_by_kind():
    found = values(score_song(song(), Prediction(10.0, "a sun the moon moon and")))
    assert found["wer"] == found["wer_mean_over_songs"] == pytest.approx(3 / 6)
    assert (found["word_substitutions"], found["word_deletions"], found["word_insertions"]) == (1 / 6, 1 / 6, 1 / 6)
    assert not any(key.startswith(("greedy", "words", "lines")) for key in found)


texts = st.lists(st.sampled_from(["love", "don't", "oh", "rain", "2nd"]), min_size=1, max_size=8).map(" ".join)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
def test_pooled_error_rates_are_those_of_jiwer(pairs):
    scored = [score_song(song(lyrics=lyrics, words=()), Prediction(9.0, text)) for lyrics, text in pairs]
    references, hypotheses = ([normalize(text) for text in side] for side in zip(*pairs, strict=True))
    for key, theirs in (("wer", jiwer.wer), ("cer", jiwer.cer)):
        ours = aggregate(METRICS[key], [each.statistics[key] for each in scored])
        assert ours == pytest.approx(theirs(references, hypotheses), abs=1e-9)
    output = jiwer.process_words(references, hypotheses)
    length = output.hits + output.substitutions + output.deletions
    edits = {
        kind: aggregate(METRICS[f"word_{kind}"], [each.statistics[f"word_{kind}"] for each in scored]) for kind in EDITS
    }
    assert sum(edits.values()) * length == pytest.approx(output.substitutions + output.deletions + output.insertions)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_alignment_metrics_over_songs_are_those_of_mir_eval(seed):
    generator = np.random.default_rng(seed)
    scored, theirs, distances = [], [], []
    for _ in range(3):
        reference, estimated = np.sort(generator.uniform(0, 9, (2, 6)), axis=1)
        prediction = Prediction(10.0, None, lines=lines(estimated))
        scored.append(score_song(song(words=words(reference)), prediction))
        theirs.append(mir_eval.alignment.evaluate(reference, estimated, duration=10.0))
        distances.append(np.abs(reference - estimated))
    found = {key: aggregate(METRICS[key], [each.statistics[key] for each in scored]) for key in scored[0].statistics}
    expected = {
        "words_mean_over_songs": np.mean([each["aae"] for each in theirs]),
        "words_median_over_songs": np.median([each["aae"] for each in theirs]),
        "words_mean_of_medians": np.mean([each["mae"] for each in theirs]),
        "words_mean_pooled": np.mean(distances),
        "words_median_pooled": np.median(distances),
        "words_within_0.3": np.mean([each["pc"] for each in theirs]),
        "words_within_0.3_pooled": np.mean(np.concatenate(distances) <= 0.3),
        "words_pcs": np.mean([each["pcs"] for each in theirs]),
        "words_perceptual": np.mean([each["perceptual"] for each in theirs]),
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-9)


def test_words_and_lines_are_measured_apart():
    late = tuple(onset + (0.5 if onset >= 6 else 0.0) for onset in ONSETS)
    found = values(score_song(song(), Prediction(10.0, None, lines=lines(late))))
    assert found["words_mean_over_songs"] == pytest.approx(2 * 0.5 / 6)
    assert found["words_median_pooled"] == 0
    assert found["lines_mean_over_songs"] == pytest.approx(0.25)
    assert found["words_within_0.3_pooled"] == pytest.approx(4 / 6)
    assert found["lines_within_0.3"] == 0.5
    assert "wer" not in found


@pytest.mark.parametrize("shift", [0.1, -0.1])
def test_a_shift_of_the_whole_alignment_is_its_bias(shift):
    found = values(score_song(song(), Prediction(10.0, None, lines=lines([onset + shift for onset in ONSETS]))))
    for key in ("words_bias", "lines_bias", "word_ends_bias", "line_ends_bias"):
        assert found[key] == pytest.approx(shift), key
    assert found["words_median_pooled"] == pytest.approx(0.1)


def test_ends_have_a_bias_of_their_own():
    longer = tuple(
        replace(
            line,
            end_seconds=line.end_seconds + 0.2,
            words=tuple(replace(word, end_seconds=word.end_seconds + 0.2) for word in line.words),
        )
        for line in lines(ONSETS)
    )
    found = values(score_song(song(), Prediction(10.0, None, lines=longer)))
    assert found["words_bias"] == found["lines_bias"] == 0
    assert found["word_ends_bias"] == pytest.approx(0.2)
    assert found["line_ends_bias"] == pytest.approx(0.2)
    for key in ("word_ends", "line_ends"):
        assert (found[f"{key}_within_0.1_pooled"], found[f"{key}_within_0.3_pooled"]) == (0, 1)
    reference = (LineTimes("The sun, the moon", 1.0, 4.6), LineTimes("and rain", 6.0, 7.6))
    only_lines = values(score_song(song(lines=reference, words=()), Prediction(10.0, None, lines=longer)))
    assert only_lines["line_ends_bias"] == pytest.approx(-0.3)  # the lines end at 4.3 and 7.3 s
    assert "word_ends_bias" not in only_lines
    assert "words_bias" not in only_lines


def test_biases_of_opposite_sign_are_pooled_by_their_median():
    statistics = [
        score_song(song(), Prediction(10.0, None, lines=lines([onset + shift for onset in ONSETS]))).statistics[
            "words_bias"
        ]
        for shift in (-0.1, 0.2, 0.3)
    ]
    assert aggregate(METRICS["words_bias"], statistics) == pytest.approx(0.2)


def test_lines_begin_where_the_reference_says():
    reference = (LineTimes("The sun, the moon", 0.5, 4.0), LineTimes("and rain", 6.0, 8.0))
    found = values(score_song(song(lines=reference), Prediction(10.0, None, lines=lines(ONSETS))))
    assert found["lines_mean_pooled"] == pytest.approx(0.25)
    only_lines = score_song(song(lines=reference, words=()), Prediction(10.0, None, lines=lines(ONSETS)))
    assert values(only_lines)["lines_mean_pooled"] == pytest.approx(0.25)
    assert "words_mean_pooled" not in only_lines.statistics
    assert only_lines.words == ()


def test_without_times_an_alignment_adds_nothing():
    assert score_song(song(words=()), Prediction(10.0, None, lines=lines(ONSETS))).statistics == {}


def test_the_even_spread_fills_the_song():
    assert even_spread(4, 10.0) == (0.0, 2.5, 5.0, 7.5)
    found = values(score_song(song(), Prediction(12.0, None, lines=lines(ONSETS))))
    spread = [abs(onset - at) for onset, at in zip(ONSETS, (0, 2, 4, 6, 8, 10), strict=True)]
    assert found["even_words_mean_over_songs"] == pytest.approx(sum(spread) / 6)


def test_separation_and_time():
    bss = BssEval(7.0, 14.0, 8.0)
    separation = SeparationScores(1.0, 9.0, BssEval(0.5, 0.5, 40.0), bss)
    found = values(
        score_song(
            song(),
            Prediction(10.0, None, separation=separation, seconds=StageSeconds(1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.0)),
        )
    )
    assert (found["si_sdr"], found["si_sdr_mixture"], found["si_sdr_gain"]) == (9, 1, 8)
    assert (found["bss_sdr"], found["bss_sir"], found["bss_sar"], found["bss_sdr_mixture"]) == (7, 14, 8, 0.5)
    assert found["rtf"] == pytest.approx(2.1)
    assert found["rtf_acoustic"] == pytest.approx(0.3)
    a_cappella = SeparationScores(None, None, None, None)
    assert score_song(song(), Prediction(10.0, None, separation=a_cappella)).statistics == {}


def test_an_alignment_of_other_lyrics_is_refused():
    with pytest.raises(ValueError, match="5 reference times for the 6 words"):
        score_song(song(words=words(ONSETS)[:5]), Prediction(10.0, None, lines=lines(ONSETS)))
    with pytest.raises(ValueError, match="1 reference times for the 2 lines"):
        score_song(song(words=(), lines=(LineTimes("a", 0.0, 1.0),)), Prediction(10.0, None, lines=lines(ONSETS)))
