"""Mixtures: songs read as the separator takes them, with faulty channels corrected."""

from pathlib import Path
from typing import Literal

from lyrics_asr.audio import Audio, ChannelCorrection, peak_of, read_audio, require_peak, require_sound
from lyrics_asr.inference.long_audio import LONG_SECONDS, AudioFile
from lyrics_asr.inference.runner import Song
from lyrics_asr.models.lyrics_model import LyricsModel


def read_mixture(path: Path, model: LyricsModel, *, track: int | None = None, strict: bool = False) -> Audio:
    """Read a song at the sample rate and with the channels of the separator; faulty channels are corrected.

    Args:
        path: audio or video file.
        model: model with the separator.
        track: number of the audio track, from 1; None for the default track.
        strict: refuse damaged and truncated files.

    Raises:
        FileNotFoundError: no such file.
        AudioError: the file has no audio, or is silent.
        ValueError: the separator is neither mono nor stereo.
    """
    rate = model.separator.sample_rate_hz
    audio = read_audio(path, sample_rate_hz=rate, channels=2, track=track, strict=strict)
    return corrected_mixture(audio, path, model.mixture_channels)


def corrected_mixture(audio: Audio, path: Path, channels: Literal[1, 2]) -> Audio:
    """The mixture from a song in stereo; faulty channels are corrected.

    Args:
        audio: the song, at the sample rate of the separator.
        path: names the song.
        channels: channels of the separator.

    Raises:
        AudioError: the song is silent.
    """
    require_sound(audio, path)
    audio = ChannelCorrection.measure(audio, path).apply(audio)
    require_peak(peak_of(audio.to_channels(1)), path)
    return audio.to_channels(channels)


def read_song(song: Song, model: LyricsModel, *, track: int | None = None, strict: bool = False) -> Audio | AudioFile:
    """Read a song's mixture, see `read_mixture`; return its file instead if it is too long to hold in memory.

    Raises:
        FileNotFoundError: no such file.
        AudioError: the file has no audio, or is silent.
        ValueError: the separator is neither mono nor stereo.
    """
    if song.audio_seconds > LONG_SECONDS:
        return AudioFile(song.job.source, track, strict)
    return read_mixture(song.job.source, model, track=track, strict=strict)
