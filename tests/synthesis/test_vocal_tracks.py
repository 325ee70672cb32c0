from dataclasses import replace

import numpy as np
import pytest
import torch

from lyrics_asr.audio import Audio
from lyrics_asr.melody.pitch import track_pitch
from lyrics_asr.synthesis.delivery import DELIVERIES, SUNG, Melody, Note, draw_melody
from lyrics_asr.synthesis.instruments import SAMPLE_RATE_HZ
from lyrics_asr.synthesis.singing import Voice
from lyrics_asr.synthesis.tts import reset, speak, syllables
from lyrics_asr.synthesis.vocal_tracks import harmonize, perform, sing_line

VOICE = Voice("en-us+f3", 1.0, 64.0, 0.3, 5.5, 0.05)
SCALE_MIDI = [12 * octave + step for octave in range(9) for step in (0, 2, 4, 5, 7, 9, 11)]
STARTS = (2.0, 6.0, 10.0, 14.0)
TOTAL_SECONDS = 19.0


def sing(text, rng):
    speech = speak(text.replace(",", "").replace("!", ""), VOICE.espeak_name, 170)
    counts = [syllables(word) for word in speech.words]
    melody = draw_melody(counts, SCALE_MIDI, VOICE.center_midi, VOICE.range_semitones, 0.5, SUNG, rng)
    return sing_line(text, speech, melody, VOICE, SUNG, rng)


@pytest.fixture(scope="module")
def lines():
    rng = np.random.default_rng(0)
    first, second = (sing(text, rng) for text in ("My moon, may rise!", "no more men"))
    return [first, second, first, second]


@pytest.fixture(scope="module")
def performances(lines):
    placed = list(zip(STARTS, lines, strict=True))
    return [perform(placed, VOICE, SCALE_MIDI, TOTAL_SECONDS, np.random.default_rng(seed)) for seed in range(8)]


def test_the_f0_is_what_a_pitch_tracker_hears_in_the_lead(performances):
    performance = performances[0]
    lead = Audio(torch.from_numpy(performance.lead)[None], SAMPLE_RATE_HZ)
    found = track_pitch(lead.resampled(16_000)).midi[: len(performance.f0_hz)]
    has_f0 = performance.f0_hz[: len(found)] > 0
    assert 0.15 < has_f0.mean() < 0.6
    midi = 69 + 12 * np.log2(performance.f0_hz[: len(found)][has_f0] / 440)
    assert np.mean(np.abs(found[has_f0] - midi) < 0.5) > 0.9
    assert np.isnan(found[~has_f0]).mean() > 0.9


def power(samples, start_seconds, end_seconds):
    part = samples[..., round(start_seconds * SAMPLE_RATE_HZ) : round(end_seconds * SAMPLE_RATE_HZ)]
    return float((part**2).mean())


def test_the_lead_sings_the_written_words_where_they_are_said_to_be(lines, performances):
    performance = performances[0]
    words = [word for line in performance.lines for word in line]
    assert [word.text for word in words] == ["My", "moon,", "may", "rise!", "no", "more", "men"] * 2
    assert len(performance.phones) == len(performance.pitches_hz) == len(words)
    assert performance.lead.shape == (round(TOTAL_SECONDS * SAMPLE_RATE_HZ),)
    assert performance.others.shape == (2, len(performance.lead))
    for own, start, line in zip(performance.lines, STARTS, lines, strict=True):
        assert own[0].start_seconds == pytest.approx(start - line.lead_in_seconds)
        assert own[-1].end_seconds == pytest.approx(start + line.seconds)
        loudest = power(performance.lead, own[0].start_seconds, own[-1].end_seconds)
        assert power(performance.lead, own[0].start_seconds - 0.5, own[0].start_seconds - 0.02) < 1e-6 * loudest
        assert power(performance.lead, own[-1].end_seconds + 0.05, own[-1].end_seconds + 0.5) < 1e-6 * loudest
        assert power(performance.lead, own[0].start_seconds, own[0].start_seconds + 0.06) > 1e-3 * loudest
    for word, phones in zip(words, performance.phones, strict=True):
        ends = (phones[0].start_seconds, phones[-1].end_seconds)
        assert ends == pytest.approx((word.start_seconds, word.end_seconds))


def test_company_changes_neither_the_lead_nor_its_times(lines, performances):
    placed = list(zip(STARTS, lines, strict=True))
    for seed in (0, 5):
        alone = perform(placed, VOICE, SCALE_MIDI, TOTAL_SECONDS, np.random.default_rng(seed), alone=True)
        np.testing.assert_array_equal(alone.lead, performances[seed].lead)
        assert alone.lines == performances[seed].lines
        assert not alone.others.any()


def test_others_sing_along_in_some_songs_and_between_lines_in_some_but_softer(performances):
    along, between = [], []
    for performance in performances:
        spans = [(line[0].start_seconds, line[-1].end_seconds) for line in performance.lines]
        lead = power(performance.lead, 0, TOTAL_SECONDS)
        along.append(max(power(performance.others, start + 0.6, end - 0.4) for start, end in spans) / lead)
        pauses = zip([0.0, *(end for _, end in spans)], [*(start for start, _ in spans), TOTAL_SECONDS], strict=True)
        between.append(max(power(performance.others, end + 0.1, start - 0.6) for end, start in pauses) / lead)
        assert power(performance.others, 0, TOTAL_SECONDS) < lead
    for levels in (along, between):
        assert 2 <= sum(level > 1e-2 for level in levels) <= 7


def test_the_same_draws_give_the_same_voices_and_others_other_ones(lines):
    placed = list(zip(STARTS, lines, strict=True))

    def others(seed):
        reset()
        return perform(placed, VOICE, SCALE_MIDI, TOTAL_SECONDS, np.random.default_rng(seed)).others

    np.testing.assert_array_equal(others(3), others(3))
    assert not np.array_equal(others(3), others(4))


def test_a_harmony_moves_on_the_scale():
    melody = Melody(((Note(60.0, 1.0),), (Note(62.0, 0.5), Note(71.0, 0.5))), (0.0,))
    third = harmonize(melody, SCALE_MIDI, 2)
    assert [[note.midi for note in own] for own in third.syllables] == [[64.0], [65.0, 74.0]]
    assert harmonize(third, SCALE_MIDI, -2) == melody


def test_a_louder_delivery_is_louder(lines):
    loud = replace(lines[0], delivery=replace(DELIVERIES["sung"], gain_db=6.0))
    levels = [
        power(perform([(2.0, line)], VOICE, SCALE_MIDI, 8.0, np.random.default_rng(0), alone=True).lead, 0, 8)
        for line in (lines[0], loud)
    ]
    assert 10 * np.log10(levels[1] / levels[0]) == pytest.approx(6.0, abs=1e-6)


def test_a_line_waits_for_the_one_before_it_and_may_not_outlast_the_song(lines):
    def times(starts):
        placed = list(zip(starts, lines[:2], strict=True))
        return perform(placed, VOICE, SCALE_MIDI, TOTAL_SECONDS, np.random.default_rng(0), alone=True).lines

    first, second = times((0.0, 0.5))
    assert first[0].start_seconds == 0
    assert second[0].start_seconds == first[-1].end_seconds
    with pytest.raises(ValueError, match=r"the last line ends at .* s, after the song of 19\.00 s"):
        times((2.0, 18.8))
