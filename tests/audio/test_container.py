"""Tracks and times of containers, against FFmpeg's own timeline and against what was encoded."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from lyrics_asr.audio import AudioError, probe, read_audio, read_header
from tests.audio.test_reading import audio_frame, delay_samples, encode, song

RATE_HZ = 48_000


def mux(path, codec, tracks, *, video=True, start_seconds=0.0, default=None):
    """Write audio tracks, the first of which starts late, beside a black picture; without `write_audio`."""
    with av.open(str(path), "w") as container:
        if video:
            picture = container.add_stream("libvpx" if path.suffix == ".webm" else "mpeg4", rate=10)
            picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
        streams = []
        for number, _ in enumerate(tracks):
            streams.append(container.add_stream(codec, rate=RATE_HZ, layout="mono"))
            if default is not None:
                streams[-1].disposition = int(number == default)
        if video:
            for number in range(50):
                frame = av.VideoFrame(32, 32, "yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 10)
                container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
        for stream, samples in zip(streams, tracks, strict=True):
            frame = audio_frame(samples, RATE_HZ, "mono")
            frame.time_base, frame.pts = Fraction(1, RATE_HZ), round(start_seconds * RATE_HZ)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mkv", "aac"),
        ("b.mkv", "flac"),
        ("c.mp4", "aac"),
        ("d.mov", "pcm_s16le"),
        ("e.ts", "aac"),
        ("f.webm", "libopus"),
    ],
)
def test_audio_that_starts_late_in_a_video_has_the_times_of_the_video(tmp_path, name, codec):
    samples = song(3.0, RATE_HZ, 1)
    mux(tmp_path / name, codec, [samples], start_seconds=1.25)
    read = read_audio(tmp_path / name)
    late = delay_samples(read.samples, torch.from_numpy(samples)) / read.sample_rate_hz
    assert late == pytest.approx(1.25, abs=0.025)  # MPEG-TS does not state the encoder delay
    assert not read.samples[:, : round(1.2 * read.sample_rate_hz)].any()
    assert read.duration_seconds == pytest.approx(4.25, abs=0.05)
    for start in (0.5, 1.3, 2.5):
        window = read_audio(tmp_path / name, start_seconds=start, duration_seconds=1.0)
        first = round(start * read.sample_rate_hz)
        torch.testing.assert_close(
            window.samples, read.samples[:, first : first + read.sample_rate_hz], atol=2e-2, rtol=0
        )


def test_audio_that_starts_late_in_a_file_of_its_own_starts_at_0(tmp_path):
    samples = song(2.0, RATE_HZ, 1)
    mux(tmp_path / "song.mka", "flac", [samples], video=False, start_seconds=3.0)
    assert read_audio(tmp_path / "song.mka").duration_seconds == pytest.approx(2.0, abs=1e-3)


def test_the_default_track_or_the_chosen_one_is_read(tmp_path):
    first, second = song(1.0, RATE_HZ, 1), song(2.0, RATE_HZ, 1)[:, ::-1].copy()
    mux(tmp_path / "song.mkv", "flac", [first, second], default=1)

    def is_read(samples, track):
        read = read_audio(tmp_path / "song.mkv", track=track).samples
        return np.allclose(read.numpy()[:, : samples.shape[1]], samples, atol=1e-4)

    assert is_read(second, None)
    assert is_read(first, 1)
    assert is_read(second, 2)
    assert probe(tmp_path / "song.mkv", 1).sample_rate_hz == RATE_HZ
    for track in (0, 3):
        with pytest.raises(AudioError, match=rf"song\.mkv: has no audio track {track}; choose one of 1 to 2"):
            read_audio(tmp_path / "song.mkv", track=track)


@pytest.fixture
def cut_off(tmp_path):
    """Files of 6 s, of which the second half is missing; without the time in their header in `unstated.mp3`."""
    for name, codec in (
        ("song.mp3", "libmp3lame"),
        ("song.flac", "flac"),
        ("song.wav", "pcm_s16le"),
        ("song.aiff", "pcm_s16be"),
    ):
        encode(tmp_path / name, song(6.0, 44_100), 44_100, codec)
    content = (tmp_path / "song.mp3").read_bytes()
    (tmp_path / "unstated.mp3").write_bytes(content.replace(b"Info", b"\0\0\0\0").replace(b"Xing", b"\0\0\0\0"))
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return tmp_path


@pytest.mark.parametrize("name", ["song.mp3", "song.flac", "song.wav", "song.aiff"])
def test_a_file_that_is_cut_off_is_told_or_refused(cut_off, caplog, name):
    read = read_audio(cut_off / name)
    assert 2.5 < read.duration_seconds < 3.5
    message = f"{name}: the header says 6.0 s, {read.duration_seconds:.1f} s could be decoded; get the file again"
    assert message in caplog.text
    with pytest.raises(AudioError, match=f"{name}: .*; get the file again"):
        read_audio(cut_off / name, strict=True)
    caplog.clear()
    read_audio(cut_off / name, start_seconds=1.0, duration_seconds=1.0)
    assert not caplog.text


def test_without_a_stated_duration_packets_are_counted(cut_off, caplog):
    """Its bit rate varies: the first frames are silent, so that they do not tell the duration."""
    path = cut_off / "vbr.mp3"
    samples = np.concatenate([np.zeros((1, 220_500), np.float32), song(5.0, 44_100, 1)], axis=1)
    encode(path, samples, 44_100, "libmp3lame", {"flags": "+qscale", "global_quality": "472"})
    path.write_bytes(path.read_bytes().replace(b"Xing", b"\0\0\0\0"))
    assert read_header(path).duration_seconds == pytest.approx(10.0, abs=0.1)
    assert read_audio(path).duration_seconds == pytest.approx(10.0, abs=0.1)
    read_audio(cut_off / "unstated.mp3")
    assert "header" not in caplog.text


def test_damaged_frames_of_flac_are_told_or_refused(tmp_path, caplog):
    path = tmp_path / "song.flac"
    encode(path, song(3.0, 44_100), 44_100, "flac")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    assert read_audio(path).duration_seconds == pytest.approx(3.0, abs=0.01)
    assert "song.flac: 0.10 s are missing and became silence" in caplog.text  # one frame
    with pytest.raises(AudioError, match=r"song\.flac: .*; get the file again"):
        read_audio(path, strict=True)


def test_another_rate_in_the_middle_is_read_on(tmp_path):
    """Two MP3 files in a row, as radio recorders write them."""
    first, second = song(2.0, 44_100), song(3.0, 32_000)
    encode(tmp_path / "a.mp3", first, 44_100, "libmp3lame")
    encode(tmp_path / "b.mp3", second, 32_000, "libmp3lame")
    joined = tmp_path / "song.mp3"
    joined.write_bytes((tmp_path / "a.mp3").read_bytes() + (tmp_path / "b.mp3").read_bytes())
    read = read_audio(joined)
    assert read.sample_rate_hz == 44_100
    assert read.duration_seconds == pytest.approx(5.0, abs=0.2)
    alone = read_audio(tmp_path / "b.mp3", sample_rate_hz=44_100).samples
    later = read.samples[:, round(2.5 * 44_100) :]
    lag = delay_samples(later, alone) / 44_100
    assert lag == pytest.approx(-0.5, abs=0.15)
    aligned = alone[:, -round(lag * 44_100) :][:, 4410:44_100]
    assert torch.corrcoef(torch.stack([later[0, 4410:44_100], aligned[0]]))[0, 1] > 0.99
