import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lyrics_asr.models.segments import Span, VocalRegions, vocal_spans
from lyrics_asr.options import SilenceOptions
from lyrics_asr.types import FrameGrid

RATE_HZ = 16_000
GRID = FrameGrid(stride_samples=320, receptive_field_samples=400, sample_rate_hz=RATE_HZ)


def sung(*stretches):
    """Noise of so many seconds at so many dB, one after the other."""
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(round(s * RATE_HZ), generator=generator) * 0.1 * 10 ** (db / 20) for s, db in stretches]
    return torch.cat(noise)


def seconds(spans):
    return [(span.start / RATE_HZ, span.end / RATE_HZ) for span in spans]


@pytest.mark.parametrize("gain", [1.0, 1e-3])
def test_silences_are_left_out_but_for_their_margins(gain):
    waveform = gain * sung((3, -60), (5, 0), (0.9, -60), (4, -10), (2, -40), (3.5, -3), (1.5, -80))
    spans = vocal_spans(waveform, GRID, SilenceOptions(threshold_db=-25.0))
    # 0.9 s are no silence; 0.2 s before and after the voice are kept, to the level's 40 ms and the frame's 20 ms
    expected = [(2.8, 13.1), (14.7, 18.6)]
    for span, truth in zip(seconds(spans), expected, strict=True):
        assert span == pytest.approx(truth, abs=0.07)
        assert span[0] <= truth[0] + 0.021
        assert span[1] >= truth[1] - 0.021
    assert all(edge % GRID.stride_samples == 0 for span in spans for edge in (span.start, span.end))


def test_what_counts_as_silence_is_an_option():
    waveform = sung((5, 0), (2, -30), (5, 0))
    whole = (Span(0, len(waveform)),)
    assert vocal_spans(waveform, GRID, SilenceOptions(threshold_db=-40.0)) == whole
    assert vocal_spans(waveform, GRID, SilenceOptions(threshold_db=-math.inf)) == whole
    assert vocal_spans(waveform, GRID, SilenceOptions(threshold_db=-20.0, minimum_seconds=2.5)) == whole
    (_, end), (start, _) = seconds(vocal_spans(waveform, GRID, SilenceOptions(-20.0, 1.0, margin_seconds=0.0)))
    assert (end, start) == pytest.approx((5.0, 7.0), abs=0.05)


@pytest.mark.parametrize("samples", [0, 1, 319, 320, 321, 5000])
def test_what_is_all_voice_or_all_silence_is_one_span(samples):
    for waveform in (sung((1, 0))[:samples], torch.zeros(samples)):
        assert vocal_spans(waveform, GRID, SilenceOptions()) == ((Span(0, samples),) if samples else ())


@given(
    edges=st.lists(st.integers(0, 40), min_size=2, max_size=8, unique=True).map(sorted),
    tail=st.integers(0, 900),
    window=st.tuples(st.integers(0, 9000), st.integers(1, 4000)),
)
def test_a_voiced_song_is_its_spans_one_after_the_other(edges, tail, window):
    stride = GRID.stride_samples
    spans = [Span(a * stride, b * stride) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    spans[-1] = Span(spans[-1].start, spans[-1].end + tail)
    waveform = torch.randn(spans[-1].end, generator=torch.Generator().manual_seed(1)) + 0.3
    song = VocalRegions(waveform, spans, GRID)
    numbers = torch.cat([torch.arange(span.start, span.end) for span in spans])
    assert len(song) == len(numbers)
    start = window[0] % len(song)
    end = min(len(song), start + window[1])
    assert torch.equal(song.samples(start, end), waveform[numbers[start:end]])
    variance, mean = torch.var_mean(waveform[numbers].double(), correction=0)
    assert song.statistics() == pytest.approx((float(mean), float(variance)), rel=1e-4)
    frames = [int(numbers[frame * stride]) // stride for frame in range(GRID.count(len(song)))]
    assert song.frame_numbers().tolist() == frames
