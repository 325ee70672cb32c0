"""Hostile media: each file is an error of its own, within limits of time and memory."""

import io
import os
import signal
import struct
import time
import wave
import zipfile
import zlib

import pytest

from lyrics_asr.audio import Audio, AudioError, write_audio
from lyrics_asr.server import decoder as module
from lyrics_asr.server.decoder import Decoder, TooLongError
from lyrics_asr.server.settings import Limits
from tests import fork_server
from tests.fake_model import RATE_HZ, VOICE


@pytest.fixture(scope="module")
def decoder_with():
    """Makes decoders with limits."""
    made = []

    def decoder_with(limits):
        made.append(Decoder(limits))
        return made[-1]

    with fork_server.forked(module):
        yield decoder_with
        for decoder in made:
            decoder.close()


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
def test_what_is_not_audio(decoder_with, tmp_path, content):
    (tmp_path / "source").write_bytes(content)
    decoder = decoder_with(Limits(decoding_seconds=20.0, decoding_bytes=500_000_000))

    def process():
        decoder.inspect(tmp_path / "source", None)
        decoder.decode(tmp_path / "source", tmp_path / "mixture.npy", RATE_HZ, 2)

    with pytest.raises(AudioError):
        process()
    assert not (tmp_path / "mixture.npy").exists()


def test_three_hours_in_a_megabyte(decoder_with, tmp_path):
    (tmp_path / "source").write_bytes(wav(3 * 3600))
    with pytest.raises(TooLongError, match="lasts 10800 s; at most 1200 s"):
        decoder_with(Limits()).inspect(tmp_path / "source", None)


def test_header_that_lies(decoder_with, tmp_path):
    """The header says one second of three."""
    write_audio(tmp_path / "song.flac", Audio(VOICE, RATE_HZ))
    content = bytearray((tmp_path / "song.flac").read_bytes())
    content[22:26] = struct.pack(">I", RATE_HZ)  # samples in STREAMINFO
    (tmp_path / "source").write_bytes(content)
    decoder = decoder_with(Limits(audio_seconds=2.0))
    assert decoder.inspect(tmp_path / "source", None).duration_seconds == 1
    with pytest.raises(TooLongError, match="at most 2 s"):
        decoder.decode(tmp_path / "source", tmp_path / "mixture.npy", RATE_HZ, 2)


def test_memory(decoder_with, tmp_path):
    (tmp_path / "source").write_bytes(wav(300))  # 106 MB as stereo at 44.1 kHz
    decoder = decoder_with(Limits(decoding_bytes=70_000_000))
    with pytest.raises(AudioError, match="too much memory; convert the file to FLAC"):
        decoder.decode(tmp_path / "source", tmp_path / "mixture.npy", RATE_HZ, 2)


def test_time(decoder_with, tmp_path):
    write_audio(tmp_path / "song.flac", Audio(VOICE, RATE_HZ))
    began = time.monotonic()
    with pytest.raises(AudioError, match=r"more than 0 s; convert the file to FLAC"):
        decoder_with(Limits(decoding_seconds=0.0)).inspect(tmp_path / "song.flac", None)
    assert time.monotonic() - began < 5


def test_processes_are_used_again_until_they_fail(decoder_with, tmp_path):
    decoder = decoder_with(Limits())
    first = decoder._call(os.getpid)
    assert decoder._call(os.getpid) == first
    with pytest.raises(AudioError):
        decoder.inspect(tmp_path, None)
    second = decoder._call(os.getpid)
    assert second != first
    os.kill(second, signal.SIGKILL)  # while it waits: the next file does not fail for that
    assert decoder._call(os.getpid) not in (first, second)
    with pytest.raises(AudioError, match=r"the decoder crashed \(killed by SIGABRT\)"):
        decoder._call(os.abort)
