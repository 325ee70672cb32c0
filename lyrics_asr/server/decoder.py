"""Decoding of uploads, in a process of its own with limits of time and memory.

A file that crashes or fills the decoder fails alone. The processes are forked from a server that has imported the
decoder once.
"""

import multiprocessing
import resource
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lyrics_asr.audio import AudioError, encode_audio, probe, read_audio, require_sound
from lyrics_asr.inference.workers import PackedError, exit_cause
from lyrics_asr.lyrics.text import read_lyrics
from lyrics_asr.server.settings import Limits
from lyrics_asr.types import AudioInfo

FORK_SERVER_MODULES = ("lyrics_asr.server.decoder", "lyrics_asr.server.processing")


class LyricsError(ValueError):
    """Lyrics that cannot be aligned: empty, or not text."""


class TooLongError(ValueError):
    """Audio that is longer than the limit."""


def inspect_upload(audio: Path, lyrics: Path | None, limits: Limits) -> AudioInfo:
    """Read the header of an upload and its lyrics, and return the header.

    Raises:
        AudioError: not audio, or the decoder ran out of time or memory.
        TooLongError: the header states a longer duration than allowed.
        LyricsError: no sung line in the lyrics.
    """
    info: AudioInfo = _limited(limits, _inspect, audio, lyrics, limits.audio_seconds)
    return info


def decode_mixture(source: Path, target: Path, rate_hz: int, limits: Limits) -> None:
    """Decode an upload to a stereo WAV file at the separator's rate.

    Raises:
        AudioError: no audio can be decoded, it is silent or not finite, or the decoder ran out of time or memory.
        TooLongError: the audio is longer than allowed.
    """
    _limited(limits, _decode, source, target, rate_hz, limits.audio_seconds)


def _inspect(audio: Path, lyrics: Path | None, max_seconds: float) -> AudioInfo:
    info = probe(audio)
    _check_duration(info.duration_seconds, max_seconds)
    if lyrics is not None:
        try:
            read_lyrics(lyrics)
        except ValueError as error:
            raise LyricsError(str(error)) from error
    return info


def _decode(source: Path, target: Path, rate_hz: int, max_seconds: float) -> None:
    # In stereo, as `read_mixture` reads. Headers can lie about the duration: what is read is bounded.
    audio = read_audio(source, sample_rate_hz=rate_hz, channels=2, duration_seconds=max_seconds + 1)
    _check_duration(audio.duration_seconds, max_seconds)
    require_sound(audio, source)
    encode_audio(target, audio)


def _check_duration(seconds: float, max_seconds: float) -> None:
    if seconds > max_seconds:
        raise TooLongError(f"the song lasts {seconds:.0f} s; at most {max_seconds:.0f} s are allowed: cut it")


def _limited(limits: Limits, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process with limits, and return its result or raise its exception."""
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(sender, limits, function, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(limits.decoding_seconds):
            raise AudioError(f"decoding takes more than {limits.decoding_seconds:.0f} s; convert the file to FLAC")
        result = receiver.recv()
    except EOFError:
        process.join()
        cause = exit_cause(process.exitcode)
        raise AudioError(f"the decoder crashed ({cause}); the file is damaged: convert it to FLAC") from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    if isinstance(result, PackedError):
        raise result.unpacked()
    return result


def _call(sender: Connection, limits: Limits, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = _used_bytes() + limits.decoding_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        result = function(*arguments)
    except Exception as error:
        # PyTorch says with a plain RuntimeError that memory ran out.
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            error = AudioError("decoding takes too much memory; convert the file to FLAC")
        result = PackedError.of(error)
    sender.send(result)


def _used_bytes() -> int:
    """Private memory of this process, as RLIMIT_DATA counts it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmData; the server needs Linux")
