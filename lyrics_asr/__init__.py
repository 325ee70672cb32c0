"""Song audio in, timed lyrics out.

    model = lyrics_asr.load_model("embedded")
    transcript = lyrics_asr.transcribe("song.mp3", model)

Names are imported when they are first used, so that `import lyrics_asr` costs nothing (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lyrics_asr.version import __version__

if TYPE_CHECKING:
    from lyrics_asr.audio import Audio, AudioError, read_audio, write_audio
    from lyrics_asr.emissions import Emissions
    from lyrics_asr.formats import parse_json, render
    from lyrics_asr.inference.jobs import Job, Outcome, find_jobs
    from lyrics_asr.inference.pipeline import align, process, separate, transcribe
    from lyrics_asr.inference.requests import AlignRequest, SeparateRequest, TranscribeRequest
    from lyrics_asr.lyrics.text import Lyrics, parse_lyrics, read_lyrics
    from lyrics_asr.models.hub import ModelNotFoundError
    from lyrics_asr.models.lyrics_model import LyricsModel
    from lyrics_asr.models.registry import load_model
    from lyrics_asr.options import InferenceOptions
    from lyrics_asr.types import AlignmentError, TimedLine, TimedWord, Transcript


__all__ = [
    "AlignRequest",
    "AlignmentError",
    "Audio",
    "AudioError",
    "Emissions",
    "InferenceOptions",
    "Job",
    "Lyrics",
    "LyricsModel",
    "ModelNotFoundError",
    "Outcome",
    "SeparateRequest",
    "TimedLine",
    "TimedWord",
    "TranscribeRequest",
    "Transcript",
    "__version__",
    "align",
    "find_jobs",
    "load_model",
    "parse_json",
    "parse_lyrics",
    "process",
    "read_audio",
    "read_lyrics",
    "render",
    "separate",
    "transcribe",
    "write_audio",
]

_MODULES = {
    "emissions": ("Emissions",),
    "audio": ("Audio", "AudioError", "read_audio", "write_audio"),
    "options": ("InferenceOptions",),
    "formats": ("parse_json", "render"),
    "models.hub": ("ModelNotFoundError",),
    "models.lyrics_model": ("LyricsModel",),
    "models.registry": ("load_model",),
    "inference.jobs": ("Job", "Outcome", "find_jobs"),
    "inference.pipeline": ("align", "process", "separate", "transcribe"),
    "inference.requests": ("AlignRequest", "SeparateRequest", "TranscribeRequest"),
    "lyrics.text": ("Lyrics", "parse_lyrics", "read_lyrics"),
    "types": ("AlignmentError", "TimedLine", "TimedWord", "Transcript"),
}
_HOME = {name: f"lyrics_asr.{module}" for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
