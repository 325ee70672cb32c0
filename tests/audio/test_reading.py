import contextlib
import errno
import functools
import os
import resource
import signal
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from lyrics_asr.audio import (
    AUDIO_SUFFIXES,
    Audio,
    AudioError,
    probe,
    read_audio,
    read_tags,
    reading,
    reads_windows_by_seeking,
    require_sound,
    write_audio,
    writing,
)
from lyrics_asr.files import OutputError
from lyrics_asr.types import AudioInfo

CODECS = {
    "cbr.mp3": ("libmp3lame", 44_100, {"b": "128000"}),
    "vbr.mp3": ("libmp3lame", 44_100, {"flags": "+qscale", "global_quality": "472"}),
    "low.mp3": ("libmp3lame", 22_050, {}),
    "sound.opus": ("libopus", 48_000, {}),
    "sound.m4a": ("aac", 44_100, {}),
    "sound.aac": ("aac", 44_100, {}),
    "sound.mkv": ("aac", 44_100, {}),
    "sound.webm": ("libopus", 48_000, {}),
    "sound.ts": ("libmp3lame", 44_100, {}),
    "sound.wav": ("pcm_s16le", 44_100, {}),
    "float.wav": ("pcm_f32le", 44_100, {}),
    "bytes.wav": ("pcm_u8", 44_100, {}),
    "sound.aiff": ("pcm_s24be", 44_100, {}),
    "sound.flac": ("flac", 44_100, {}),
    "alac.m4a": ("alac", 44_100, {}),
}
AAC_NOISE = (
    2e-2  # AAC's noise substitution and the state of Opus depend on where decoding begins: a little noise, no shift
)
UNTRIMMED = {"sound.aac", "sound.ts"}  # these containers do not say how long the encoder's delay is


@functools.cache
def song(seconds: float, sample_rate_hz: int, channels: int = 2) -> np.ndarray:
    """Random notes with harmonics: no stretch is like another, and a codec keeps them well."""
    random = np.random.default_rng(0)
    times = np.arange(round(0.1 * sample_rate_hz)) / sample_rate_hz
    notes = [
        [sum(np.sin(2 * np.pi * f * times * k) / k for k in range(1, 6)) for f in random.uniform(100, 700, channels)]
        for _ in range(round(seconds * 10) + 1)
    ]
    samples = np.concatenate([np.array(note) * np.hanning(times.size) for note in notes], axis=1)
    return (0.3 * samples[:, : round(seconds * sample_rate_hz)]).astype(np.float32)


def encode(path, samples, sample_rate_hz, codec, options=None, layout=None, video=False):
    """Write with PyAV alone: the oracle must not share code with `write_audio`."""
    layout = layout or {1: "mono", 2: "stereo"}[samples.shape[0]]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=sample_rate_hz, layout=layout, options=options or {})
        if video:
            encode_video(container)
        frame = audio_frame(samples, sample_rate_hz, layout)
        frame.time_base, frame.pts = Fraction(1, sample_rate_hz), 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def audio_frame(samples, sample_rate_hz, layout):
    frame = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1), format="flt", layout=layout)
    frame.sample_rate = sample_rate_hz
    return frame


def encode_video(container):
    stream = container.add_stream("mpeg4", rate=10)
    stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
    for _ in range(10):
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
    container.mux(stream.encode(None))


def delay_samples(decoded: torch.Tensor, original: torch.Tensor) -> int:
    """How many samples `decoded` lags behind `original`: the peak of their cross-correlation."""
    size = decoded.shape[1] + original.shape[1]
    spectra = torch.fft.rfft(decoded, size) * torch.fft.rfft(original, size).conj()
    lag = int(torch.fft.irfft(spectra, size).sum(0).argmax())
    return lag if lag < size // 2 else lag - size


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same 4.0123 s in every format; 4.0123 s are no whole number of frames in any of them."""
    folder = tmp_path_factory.mktemp("audio")
    for name, (codec, sample_rate_hz, options) in CODECS.items():
        encode(folder / name, song(4.0123, sample_rate_hz), sample_rate_hz, codec, options)
    return folder


@pytest.mark.parametrize("name", [name for name in CODECS if name not in UNTRIMMED])
@pytest.mark.parametrize("window", [(0.0, None), (1.3456, 1.5)], ids=["whole", "middle"])
def test_compressed_file_lies_on_the_original_within_a_millisecond(files, name, window):
    decoded = read_audio(files / name, start_seconds=window[0], duration_seconds=window[1])
    rate = decoded.sample_rate_hz
    first = round(window[0] * rate)
    original = torch.from_numpy(song(4.0123, rate))[:, first : first + decoded.samples.shape[1]]
    assert abs(delay_samples(decoded.samples, original)) <= rate / 1000
    if window[1] is None:
        # A container may add less than a frame of padding at the end, never less than there was.
        assert 0 <= decoded.samples.shape[1] - original.shape[1] < 2048
        assert original.shape[1] == round(4.0123 * rate)


@pytest.mark.parametrize(("name", "tolerance"), [("sound.wav", 2**-15), ("float.wav", 0), ("sound.flac", 2**-15)])
def test_lossless_file_has_the_samples_that_were_written(files, name, tolerance):
    decoded = read_audio(files / name).samples
    torch.testing.assert_close(decoded, torch.from_numpy(song(4.0123, 44_100)), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", CODECS)
def test_decoding_drops_and_invents_nothing(files, name):
    with av.open(str(files / name)) as container:
        count = sum(frame.samples for frame in container.decode(audio=0))
    assert read_audio(files / name).samples.shape[1] == count


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("sample_rate_hz", [None, 16_000])
def test_window_is_the_slice_of_the_whole(files, name, sample_rate_hz):
    options = {"sample_rate_hz": sample_rate_hz, "channels": 1}
    whole = read_audio(files / name, **options)
    rate = whole.sample_rate_hz
    tolerance = AAC_NOISE if "aac" in CODECS[name][0] or "opus" in CODECS[name][0] else 1e-5
    # From the first samples, from where seeking sets in, from the middle, and over the end.
    for start, duration in ((0.0, 0.1), (0.30001, 0.2), (0.52, 0.2), (0.9, 0.2), (2.14159, 1.0), (3.5, 9.0)):
        part = read_audio(files / name, start_seconds=start, duration_seconds=duration, **options)
        expected = whole.samples[:, round(start * rate) : round((start + duration) * rate)]
        torch.testing.assert_close(part.samples, expected, rtol=0, atol=tolerance)


def test_windows_laid_end_to_end_are_the_whole(files):
    path = files / "vbr.mp3"
    options = {"sample_rate_hz": 16_000, "duration_seconds": 0.7321}
    parts = [read_audio(path, start_seconds=i * 0.7321, **options).samples for i in range(6)]
    whole = read_audio(path, sample_rate_hz=16_000).samples
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-5)


LONG = {  # name: codec, rate, options, samples of a frame
    "cbr.mp3": ("libmp3lame", 44_100, {"b": "128000"}, 1152),
    "vbr.mp3": ("libmp3lame", 44_100, {"flags": "+qscale", "global_quality": "472"}, 1152),
    "sound.m4a": ("aac", 44_100, {"aac_pns": "0"}, 1024),
    "sound.aac": ("aac", 44_100, {"aac_pns": "0"}, 1024),
    "sound.opus": ("libopus", 48_000, {}, 960),
    "sound.ogg": ("libopus", 48_000, {}, 960),
    "vorbis.ogg": ("vorbis", 44_100, {"strict": "experimental"}, 1024),
    "sound.webm": ("libopus", 48_000, {}, 960),
    "sound.mkv": ("aac", 44_100, {"aac_pns": "0"}, 1024),
    "mp3.mkv": ("libmp3lame", 44_100, {}, 1152),
    "flac.mka": ("flac", 44_100, {}, 4608),
    "sound.flv": ("libmp3lame", 44_100, {}, 1152),
    "sound.ts": ("aac", 44_100, {"aac_pns": "0"}, 1024),
    "sound.flac": ("flac", 44_100, {}, 4608),
    "sound.wav": ("pcm_s16le", 44_100, {}, 4096),
}


@pytest.fixture
def decoded_seconds(monkeypatch):
    """How much was decoded so far, in seconds; its one element."""
    seconds = [0.0]
    original = reading._decoded

    def counting(*arguments, **options):
        for frame in original(*arguments, **options):
            seconds[0] += frame.samples / frame.sample_rate
            yield frame

    monkeypatch.setattr(reading, "_decoded", counting)
    return seconds


@pytest.mark.parametrize("name", LONG)
def test_window_by_seeking_is_the_slice_of_the_whole_sample_by_sample(tmp_path, decoded_seconds, name):
    codec, rate, options, frame = LONG[name]
    encode(tmp_path / name, song(20, rate), rate, codec, options)
    assert reads_windows_by_seeking(tmp_path / name)
    whole = read_audio(tmp_path / name).samples
    duration = (frame + 1) / rate
    for number in (30, 100, 18 * rate // frame):  # around the edges of frames, early and late
        for shift in (-1, 0, 312, frame - 312):  # 312 samples are cut off from Opus, as its encoder delay
            first = number * frame + shift
            decoded_seconds[0] = 0.0
            part = read_audio(tmp_path / name, start_seconds=first / rate, duration_seconds=duration).samples
            assert torch.equal(part, whole[:, first : first + frame + 1])
            assert decoded_seconds[0] < 6.5  # a window, what comes before it and the steps of the container's index


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("sound.webm", "vorbis", {"strict": "experimental"}), ("sound.wma", "wmav2", {"b": "128000"})],
)
def test_window_of_a_file_whose_stamps_tell_no_samples_is_decoded_from_the_start(
    tmp_path, decoded_seconds, name, codec, options
):
    encode(tmp_path / name, song(12, 44_100), 44_100, codec, options)
    assert not reads_windows_by_seeking(tmp_path / name)
    whole = read_audio(tmp_path / name).samples
    decoded_seconds[0] = 0.0
    part = read_audio(tmp_path / name, start_seconds=10.0, duration_seconds=0.5).samples
    assert torch.equal(part, whole[:, 441_000 : 441_000 + 22_050])
    assert decoded_seconds[0] > 10.0


def test_window_after_stamps_that_do_not_fit_the_frames_is_decoded_from_the_start(tmp_path, decoded_seconds):
    path = tmp_path / "jitter.mka"
    encode_with_gap(path, 0.04)  # less than half a frame: no gap, and no place on the grid of frames either
    assert reads_windows_by_seeking(path)
    decoded_seconds[0] = 0.0
    window = read_audio(path, start_seconds=1.8, duration_seconds=0.1).samples
    assert decoded_seconds[0] > 1.8
    expected = torch.from_numpy(song(2.0, 44_100))[:, 79_380 : 79_380 + 4_410]
    torch.testing.assert_close(window, expected, rtol=0, atol=2**-15)


def test_header_tells_nothing_of_seeking_in_a_file_without_sound(tmp_path):
    (tmp_path / "empty.webm").touch()
    with pytest.raises(AudioError, match=r"empty\.webm: is empty; get the file again"):
        reads_windows_by_seeking(tmp_path / "empty.webm")


@pytest.mark.parametrize("sample_rate_hz", [8_000, 11_025, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_rate_and_layout_reaches_both_networks(tmp_path, sample_rate_hz, channels):
    path = tmp_path / "song.wav"
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    encode(path, song(0.3, sample_rate_hz, channels), sample_rate_hz, "pcm_s16le", layout=layout)
    samples = round(0.3 * sample_rate_hz)
    assert probe(path) == AudioInfo(str(path), samples / sample_rate_hz, sample_rate_hz)
    for rate, count in ((44_100, 2), (16_000, 1)):
        audio = read_audio(path, sample_rate_hz=rate, channels=count)
        assert audio.samples.shape == (count, round(samples * rate / sample_rate_hz))
        assert audio.samples.dtype == torch.float32
        assert audio.samples.abs().max() > 0.05


@pytest.mark.parametrize(("old", "new"), [(44_100, 16_000), (8_000, 44_100), (192_000, 16_000), (44_100, 22_050)])
def test_resampled_sine_is_the_sine_at_the_new_rate(old, new):
    def sine(rate, count):
        return torch.sin(2 * torch.pi * 1000 * torch.arange(count, dtype=torch.float64) / rate).float()[None]

    resampled = Audio(sine(old, old + 7), old).resampled(new)
    assert resampled.sample_rate_hz == new
    assert resampled.samples.shape[1] == round((old + 7) * new / old)
    inner = slice(new // 10, -new // 10)  # away from the ends, which no filter can know
    torch.testing.assert_close(
        resampled.samples[:, inner], sine(new, resampled.samples.shape[1])[:, inner], rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("samples", [0, 1, 2, 100])
def test_resampling_a_few_samples(samples):
    assert Audio(torch.ones(1, samples), 44_100).resampled(16_000).samples.shape[1] == round(samples * 16 / 44.1)


def test_mono_and_stereo():
    stereo = Audio(torch.tensor([[1.0, 0.0], [0.0, -0.5]]), 8_000)
    assert stereo.to_channels(2) is stereo
    assert stereo.to_channels(1).samples.tolist() == [[0.5, -0.25]]
    assert stereo.to_channels(1).to_channels(2).samples.tolist() == [[0.5, -0.25], [0.5, -0.25]]


@pytest.mark.parametrize("layout", ["5.1", "5.0", "5.1(side)", "quad", "7.1", "6.1", "3.0"])
def test_surround_is_mixed_as_ffmpeg_mixes_it(tmp_path, layout):
    names = [channel.name for channel in av.AudioLayout(layout).channels]
    samples = song(0.2, 48_000, len(names))
    path = tmp_path / "surround.wav"
    encode(path, samples, 48_000, "pcm_f32le", layout=layout)
    expected = (
        av.AudioResampler("fltp", "stereo", 48_000).resample(audio_frame(samples, 48_000, layout))[0].to_ndarray()
    )
    mixed = read_audio(path, channels=2).samples.numpy()
    np.testing.assert_allclose(mixed * (expected.std() / mixed.std()), expected, atol=1e-4)
    np.testing.assert_allclose(read_audio(path, channels=1).samples.numpy(), mixed.mean(0, keepdims=True), atol=1e-6)


def test_eight_channels_of_a_planar_codec(tmp_path):
    samples = np.zeros((8, 48_000), dtype=np.float32)
    samples[2] = song(1.0, 48_000, 1)
    encode(tmp_path / "song.m4a", samples, 48_000, "aac", layout="7.1")
    decoded = read_audio(tmp_path / "song.m4a").samples
    assert decoded.shape[0] == 8
    loud = decoded.std(1) > 0.01
    assert loud.sum() == 1
    assert abs(delay_samples(decoded[loud], torch.from_numpy(samples[2:3]))) <= 48


def test_full_scale_surround_cannot_clip_and_its_bass_channel_is_left_out():
    loud = Audio(torch.ones(6, 4), 48_000).to_channels(2).samples
    assert loud.max() == pytest.approx(1.0)
    bass = Audio(torch.eye(6)[:, 3:4], 48_000).to_channels(1).samples
    assert bass.tolist() == [[0.0]]


def test_unknown_layout_is_averaged():
    assert Audio(torch.eye(9), 48_000).to_channels(2).samples.allclose(torch.full((2, 9), 1 / 9))


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".WAV"])
@pytest.mark.parametrize(("sample_rate_hz", "channels"), [(44_100, 2), (16_000, 1), (8_000, 1)])
def test_written_file_sounds_as_it_should_at_its_time(tmp_path, suffix, sample_rate_hz, channels):
    original = Audio(torch.from_numpy(song(1.5, sample_rate_hz, channels)), sample_rate_hz)
    path = tmp_path / f"song{suffix}"
    write_audio(path, original)
    assert [path.name for path in tmp_path.iterdir()] == [path.name]
    assert suffix.lower() in AUDIO_SUFFIXES
    decoded = read_audio(path, sample_rate_hz=sample_rate_hz)
    assert decoded.samples.shape[0] == channels
    assert abs(delay_samples(decoded.samples, original.samples)) <= sample_rate_hz / 1000
    count = original.samples.shape[1]
    correlation = torch.corrcoef(torch.stack([decoded.samples[0, :count], original.samples[0]]))[0, 1]
    assert correlation > 0.98


def test_wav_keeps_what_exceeds_full_scale(tmp_path):
    original = Audio(torch.tensor([[0.0, 1.75, -3.0, 1e-7]]), 44_100)
    write_audio(tmp_path / "loud.wav", original)
    assert read_audio(tmp_path / "loud.wav").samples.equal(original.samples)


def test_latin_1_tags_do_no_harm(tmp_path):
    path = tmp_path / "song.wav"
    encode(path, song(0.5, 8_000, 1), 8_000, "pcm_s16le")
    text = "Chanson d'été".encode("latin-1") + b"\0"
    chunk = b"LIST" + (len(text) + 12).to_bytes(4, "little") + b"INFOINAM" + len(text).to_bytes(4, "little") + text
    path.write_bytes(path.read_bytes() + chunk)
    assert read_audio(path).samples.shape == (1, 4_000)


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".m4a", ".ogg"])
def test_tags_are_read_wherever_the_container_keeps_them(tmp_path, suffix):
    path = tmp_path / f"song{suffix}"
    codec = {".mp3": "mp3", ".flac": "flac", ".m4a": "aac", ".ogg": "libopus"}[suffix]
    with av.open(str(path), "w") as container:
        container.metadata.update({"artist": "Zoé & Co", "title": "Lune"})
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        resampler = av.AudioResampler(stream.format, "mono", 48_000, stream.frame_size or None)
        for each in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(each))
        container.mux(stream.encode(None))
    tags = read_tags(path)
    assert (tags["artist"], tags["title"]) == ("Zoé & Co", "Lune")


def test_name_with_colons_is_a_file_and_no_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("concat:été %03d.wav")
    write_audio(path, Audio(torch.ones(1, 800), 8_000))
    assert read_audio(path).samples.shape == (1, 800)


def test_path_of_a_name_that_is_not_utf_8_can_be_written(tmp_path):
    path = tmp_path / os.fsdecode(b"\xc9t\xe9.wav")
    try:
        write_audio(path, Audio(torch.ones(1, 800), 8_000))
    except OSError:
        pytest.skip("the file system holds no such names")
    assert probe(path).path == f"{tmp_path}/\N{REPLACEMENT CHARACTER}t\N{REPLACEMENT CHARACTER}.wav"
    assert probe(path).path.encode("utf-8")
    assert read_audio(path).samples.shape == (1, 800)


def test_video_file_gives_its_sound(tmp_path):
    original = song(1.0, 44_100)
    encode(tmp_path / "clip.mp4", original, 44_100, "aac", video=True)
    assert abs(delay_samples(read_audio(tmp_path / "clip.mp4").samples, torch.from_numpy(original))) <= 44


def test_video_file_without_sound(tmp_path):
    with av.open(str(tmp_path / "silent.mp4"), "w") as container:
        encode_video(container)
    for read in (read_audio, probe):
        with pytest.raises(AudioError, match=r"silent\.mp4: has no audio stream; give a file with audio"):
            read(tmp_path / "silent.mp4")


@pytest.mark.parametrize("read", [read_audio, probe])
def test_input_that_is_no_audio_file(tmp_path, read):
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "text.mp3").write_text("These are the lyrics of a song.\n" * 100)
    (tmp_path / "noise.wav").write_bytes(np.random.default_rng(0).bytes(10_000))
    (tmp_path / "list.mp3").write_text("#EXTM3U\n#EXTINF:1,\n/etc/hostname\n")
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(FileNotFoundError, match=r"none\.mp3: no such file; check the path"):
        read(tmp_path / "none.mp3")
    with pytest.raises(FileNotFoundError, match=r"song\.mp3: no such file; check the path"):
        read(tmp_path / "text.mp3" / "song.mp3")
    with pytest.raises(AudioError, match="is a folder; give an audio file in it"):
        read(tmp_path)
    with pytest.raises(AudioError, match=r"empty\.mp3: is empty; get the file again"):
        read(tmp_path / "empty.mp3")
    with pytest.raises(AudioError, match=r"pipe\.wav: is a device or a pipe; save"):
        read(tmp_path / "pipe.wav")
    for name in ("text.mp3", "noise.wav", "list.mp3"):
        with pytest.raises(
            AudioError, match=rf"{name}: is not audio, or is damaged \(.+\); give an audio or video file"
        ):
            read(tmp_path / name)


def test_file_without_read_permission(tmp_path, monkeypatch):
    (tmp_path / "song.wav").write_bytes(b"RIFF")

    def refuse(*_arguments, **_options):
        raise av.error.PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(PermissionError, match=r"song\.wav: no permission to read it; change its permissions"):
        read_audio(tmp_path / "song.wav")


@pytest.mark.parametrize("name", ["cbr.mp3", "vbr.mp3", "sound.flac", "sound.wav", "sound.opus", "sound.aac"])
def test_truncated_file_is_read_as_far_as_it_goes(files, tmp_path, name):
    path = tmp_path / name
    content = (files / name).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    part, whole = read_audio(path), read_audio(files / name)
    count = part.samples.shape[1] - 5_000  # what is left of the last frames may be damaged
    assert 0.3 < part.duration_seconds / whole.duration_seconds < 0.7
    torch.testing.assert_close(part.samples[:, :count], whole.samples[:, :count])
    with pytest.raises(AudioError, match=r"ends before 3\.5 s; choose an earlier window"):
        read_audio(path, start_seconds=3.5)


@pytest.mark.parametrize("name", ["cbr.mp3", "sound.m4a", "sound.flac", "sound.opus", "float.wav"])
def test_file_truncated_to_its_header(files, tmp_path, name):
    path = tmp_path / name
    path.write_bytes((files / name).read_bytes()[:40])
    with pytest.raises(AudioError, match=rf"{name}: .*(damaged|no audio).*; "):
        read_audio(path)


def test_damaged_stretch_is_reported_and_what_follows_keeps_its_time(files, tmp_path, caplog):
    content = bytearray((files / "sound.m4a").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    path = tmp_path / "damaged.m4a"
    path.write_bytes(content)
    damaged, whole = read_audio(path), read_audio(files / "sound.m4a")
    assert "damaged.m4a: 9 damaged or incomplete packets were skipped" in caplog.text
    assert damaged.samples.shape == whole.samples.shape
    torch.testing.assert_close(damaged.samples[:, -44_100:], whole.samples[:, -44_100:], rtol=0, atol=AAC_NOISE)


def encode_with_gap(path, gap_seconds):
    # Two seconds of lossless song, whose second half is stamped so much later.
    with av.open(str(path), "w") as container:
        stream = container.add_stream("alac", rate=44_100, layout="stereo")
        frame = audio_frame(song(2.0, 44_100), 44_100, "stereo")
        frame.time_base, frame.pts = Fraction(1, 44_100), 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            if packet.pts * packet.time_base >= 1:
                packet.pts += round(gap_seconds / packet.time_base)
                packet.dts = packet.pts
            container.mux(packet)


@pytest.mark.parametrize(
    ("name", "gap_samples"),
    [("gap.m4a", 882_000), ("gap.mka", 215 * 4096)],
    ids=["a clock of samples", "a clock of milliseconds, whole frames"],
)
def test_gap_is_silence_where_the_container_states_it(tmp_path, name, gap_samples):
    path = tmp_path / name
    encode_with_gap(path, gap_samples / 44_100)
    split = 11 * 4096  # the first packet that begins in the second half
    silence = torch.zeros(2, gap_samples)
    samples = torch.from_numpy(song(2.0, 44_100))
    expected = torch.cat([samples[:, :split], silence, samples[:, split:]], 1)
    torch.testing.assert_close(read_audio(path).samples, expected, rtol=0, atol=2**-15)
    for start in (20.8, 21.2):  # sought to before the gap and, in Matroska, to after it
        window = read_audio(path, start_seconds=start, duration_seconds=0.5).samples
        first = round(start * 44_100)
        torch.testing.assert_close(window, expected[:, first : first + 22_050], rtol=0, atol=2**-15)


@pytest.mark.parametrize(
    ("name", "gap_seconds", "stated_seconds"),
    [("bytes.m4a", 40_000.0, None), ("header.m4a", 100.0, 2), ("clock.mka", 40_000.0, None)],
    ids=["more than its bytes hold", "more than its header states", "a clock of milliseconds"],
)
def test_gap_that_cannot_be_asks_for_no_memory(tmp_path, caplog, name, gap_seconds, stated_seconds):
    path = tmp_path / name
    encode_with_gap(path, gap_seconds)
    if stated_seconds is not None:
        content = bytearray(path.read_bytes())
        duration = content.index(b"mdhd") + 20
        content[duration : duration + 4] = (stated_seconds * 44_100).to_bytes(4, "big")
        path.write_bytes(content)
    expected = torch.from_numpy(song(2.0, 44_100))
    torch.testing.assert_close(read_audio(path).samples, expected, rtol=0, atol=2**-15)
    assert "time stamps far after its end were ignored" in caplog.text
    for start in (0.7, 1.2):  # the latter is sought, to before the gap
        window = read_audio(path, start_seconds=start, duration_seconds=0.5).samples
        first = round(start * 44_100)
        torch.testing.assert_close(window, expected[:, first : first + 22_050], rtol=0, atol=2**-15)
    with pytest.raises(AudioError, match=r"ends before 101\.0 s"):
        read_audio(path, start_seconds=101.0, duration_seconds=1.0)


@pytest.mark.parametrize(
    ("start_seconds", "duration_seconds"),
    [(-1.0, None), (float("nan"), None), (float("inf"), None), (0.0, 0.0), (0.0, -1.0)],
)
def test_window_that_cannot_be(files, start_seconds, duration_seconds):
    with pytest.raises(ValueError, match=r"sound\.wav: invalid window: start"):
        read_audio(files / "sound.wav", start_seconds=start_seconds, duration_seconds=duration_seconds)


@pytest.mark.parametrize("name", CODECS)
def test_window_behind_the_end(files, name):
    with pytest.raises(AudioError, match=rf"{name}: ends before 60\.0 s; choose an earlier window"):
        read_audio(files / name, start_seconds=60.0, duration_seconds=1.0)


def test_window_just_behind_the_end_is_no_silent_empty_one(files):
    for options in ({}, {"sample_rate_hz": 16_000}):
        assert read_audio(files / "sound.wav", start_seconds=4.0, **options).duration_seconds > 0
        with pytest.raises(AudioError, match=r"ends before 4\.02 s"):
            read_audio(files / "sound.wav", start_seconds=4.02, **options)


def test_sound_is_required(tmp_path):
    path = tmp_path / "song.wav"
    good = 0.01 * torch.tensor([1.0, -1.0]).repeat(2, 2_205)
    require_sound(Audio(good, 44_100), path)
    not_finite = good.clone()
    not_finite[1, 7] = float("nan")
    for samples, message in (
        (not_finite, "has samples that are not finite; export"),
        (good / 0, "has samples that are not finite; export"),
        (good[:, :2_205], r"0\.050 s is too short for lyrics; give at least 0\.1 s"),
        (good[:, :0], r"0\.000 s is too short"),
        (good / 101, r"is silent \(peak 9\.9e-05 of full scale\); check the recording"),
        (torch.full((2, 4_410), 0.5), r"is silent"),  # a constant
    ):
        with pytest.raises(AudioError, match=rf"song\.wav: {message}"):
            require_sound(Audio(samples, 44_100), path)


def test_nan_and_shortness_survive_reading(tmp_path):
    path = tmp_path / "song.wav"
    write_audio(path, Audio(torch.full((1, 8_820), float("nan")), 44_100))
    for options in ({}, {"sample_rate_hz": 16_000, "channels": 2}):
        with pytest.raises(AudioError, match="not finite"):
            require_sound(read_audio(path, **options), path)
    write_audio(path, Audio(torch.ones(1, 2_205), 44_100))
    assert read_audio(path, sample_rate_hz=16_000).duration_seconds == pytest.approx(0.05)


def test_unknown_suffix_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(AudioError, match=r"song\.xyz: cannot write '\.xyz' files; use one of \.wav, \.flac"):
        write_audio(tmp_path / "song.xyz", Audio(torch.ones(1, 800), 8_000))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("suffix", "channels"), [(".mp3", 6), (".wav", 9)])
def test_channels_that_a_codec_cannot_hold(tmp_path, suffix, channels):
    with pytest.raises(AudioError, match=rf"song\{suffix}: .* does not support {channels} channels at 8000 Hz"):
        write_audio(tmp_path / f"song{suffix}", Audio(torch.ones(channels, 800), 8_000))
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def file_size_limit(size: int):
    """A disk that fills up in the middle of a file, as the operating system tells it."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".opus", ".m4a"])
def test_disk_that_fills_up_while_writing(tmp_path, suffix):
    path = tmp_path / f"song{suffix}"
    path.write_bytes(b"old")
    sound = Audio(torch.from_numpy(song(8.0, 16_000)), 16_000)
    with (
        file_size_limit(65_536),
        pytest.raises(OutputError, match=rf"song\{suffix}: cannot be written: File too large; free"),
    ):
        write_audio(path, sound)
    assert [path.name for path in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"old"


def test_full_disk_at_the_end(tmp_path, full_disk):
    with pytest.raises(OutputError, match=r"song\.wav: cannot be written: No space left on device; free some space"):
        write_audio(tmp_path / "song.wav", Audio(torch.ones(1, 800), 8_000))
    assert list(tmp_path.iterdir()) == []


def test_output_under_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"song\.wav: cannot be written: (Not a directory|File exists)"):
        write_audio(tmp_path / "file" / "song.wav", Audio(torch.ones(1, 800), 8_000))


def test_interrupt_in_the_middle_of_a_write_leaves_nothing(tmp_path, monkeypatch):
    original = writing._encodable

    def interrupted(*arguments):
        yield next(original(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_encodable", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_audio(tmp_path / "song.wav", Audio(torch.ones(1, 80_000), 8_000))
    assert list(tmp_path.iterdir()) == []
