"""Hostile media: each file is an error of its own, within limits of time and memory."""

import io
import struct
import time
import wave
import zipfile
import zlib

import pytest

from lyrics_asr.audio import Audio, AudioError, write_audio
from lyrics_asr.server import decoder
from lyrics_asr.server.decoder import TooLongError, decode_mixture, inspect_upload
from lyrics_asr.server.settings import Limits
from tests import fork_server
from tests.fake_model import RATE_HZ, VOICE


@pytest.fixture(scope="module", autouse=True)
def forked():
    with fork_server.forked(decoder):
        yield


def wav(seconds, rate_hz=100):
    """A small file of many seconds."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 1, rate_hz, 0, "NONE", None))
        writer.writeframes(bytes(round(seconds * rate_hz)))
    return file.getvalue()


def png(width, height):
    """The header of an image and one compressed block of zeros."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))


def zip_bomb():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("song.wav", bytes(10_000_000))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(png(8, 8), id="image"),
        pytest.param(png(60_000, 60_000), id="image bomb"),
        pytest.param(zip_bomb(), id="zip bomb"),
        pytest.param(b"ffconcat version 1.0\nfile source\n", id="playlist of itself"),
        pytest.param(b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:1/a.ts\n", id="playlist"),
        pytest.param(wav(1)[:44], id="no samples"),
    ],
)
def test_what_is_not_audio(tmp_path, content):
    (tmp_path / "source").write_bytes(content)
    limits = Limits(decoding_seconds=20.0, decoding_bytes=500_000_000)

    def process():
        inspect_upload(tmp_path / "source", None, limits)
        decode_mixture(tmp_path / "source", tmp_path / "mixture.wav", RATE_HZ, limits)

    with pytest.raises(AudioError):
        process()
    assert not (tmp_path / "mixture.wav").exists()


def test_three_hours_in_a_megabyte(tmp_path):
    (tmp_path / "source").write_bytes(wav(3 * 3600))
    with pytest.raises(TooLongError, match="lasts 10800 s; at most 1200 s"):
        inspect_upload(tmp_path / "source", None, Limits())


def test_header_that_lies(tmp_path):
    """The header says one second of three."""
    write_audio(tmp_path / "song.flac", Audio(VOICE, RATE_HZ))
    content = bytearray((tmp_path / "song.flac").read_bytes())
    content[22:26] = struct.pack(">I", RATE_HZ)  # samples in STREAMINFO
    (tmp_path / "source").write_bytes(content)
    limits = Limits(audio_seconds=2.0)
    assert inspect_upload(tmp_path / "source", None, limits).duration_seconds == 1
    with pytest.raises(TooLongError, match="at most 2 s"):
        decode_mixture(tmp_path / "source", tmp_path / "mixture.wav", RATE_HZ, limits)


def test_memory(tmp_path):
    (tmp_path / "source").write_bytes(wav(900))  # 318 MB as stereo at 44.1 kHz
    with pytest.raises(AudioError, match="too much memory; convert the file to FLAC"):
        decode_mixture(tmp_path / "source", tmp_path / "mixture.wav", RATE_HZ, Limits(decoding_bytes=200_000_000))


def test_time(tmp_path):
    write_audio(tmp_path / "song.flac", Audio(VOICE, RATE_HZ))
    began = time.monotonic()
    with pytest.raises(AudioError, match=r"more than 0 s; convert the file to FLAC"):
        inspect_upload(tmp_path / "song.flac", None, Limits(decoding_seconds=0.001))
    assert time.monotonic() - began < 5
