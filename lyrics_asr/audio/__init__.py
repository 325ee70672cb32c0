"""Audio files and samples."""

from lyrics_asr.audio.container import (
    AUDIO_SUFFIXES,
    LEAST_BYTES_PER_SECOND,
    AudioHeader,
    probe,
    read_header,
    read_tags,
)
from lyrics_asr.audio.correction import ChannelCorrection
from lyrics_asr.audio.leveling import leveled, leveling_gain
from lyrics_asr.audio.reading import check_complete, read_audio, reads_windows_by_seeking
from lyrics_asr.audio.samples import (
    ACOUSTIC_SAMPLE_RATE_HZ,
    SEPARATOR_SAMPLE_RATE_HZ,
    Audio,
    AudioError,
    peak_of,
    require_peak,
    require_sound,
)
from lyrics_asr.audio.writing import encode_audio, write_audio

__all__ = [
    "ACOUSTIC_SAMPLE_RATE_HZ",
    "AUDIO_SUFFIXES",
    "LEAST_BYTES_PER_SECOND",
    "SEPARATOR_SAMPLE_RATE_HZ",
    "Audio",
    "AudioError",
    "AudioHeader",
    "ChannelCorrection",
    "check_complete",
    "encode_audio",
    "leveled",
    "leveling_gain",
    "peak_of",
    "probe",
    "read_audio",
    "read_header",
    "read_tags",
    "reads_windows_by_seeking",
    "require_peak",
    "require_sound",
    "write_audio",
]
