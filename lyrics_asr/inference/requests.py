"""What a run over songs is asked to do: frozen, picklable, the same from the command line, Python and the server.

A request says how songs are worked on and where results go. Which songs is said by jobs (see `jobs.find_jobs`), as a
worker gets them one by one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Request:
    """What all runs have in common.

    Args:
        output: folder of the results; None writes to stdout, in the first format.
        formats: of the results: names in `formats.FORMATS`, or the suffix of audio files without the dot.
        overwrite: process songs again that an earlier run finished with the same content, model and options.
    """

    verb: ClassVar[str]
    output: Path | None = None
    formats: tuple[str, ...] = ("json",)
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class RenderRequest(Request):
    """Render transcripts in other formats."""

    verb: ClassVar[str] = "render"


@dataclass(frozen=True, kw_only=True)
class ModelRequest(Request):
    """What all runs with a model have in common.

    Args:
        model: a name or folder as `load_model` takes it.
        separator: another separator in place of the model's own.
        acoustic: another acoustic model in place of the model's own.
        language: of the lyrics, such as "en". Numbers are read out in it. A code of three letters, such as "fra", also
            selects the adapter of a multilingual acoustic model.
        language_model: another KenLM file in place of the model's own; "none" for none at all.
        device: as `load_model` takes it; several, parted by commas, share the songs; "auto" is every CUDA device, or
            the CPU where there are none.
        engine: "local", or "ray" for the machines of a Ray cluster.
        overrides: `key.sub=value` of `InferenceOptions`, over the defaults and those tuned for the model.
    """

    model: str = "published"
    separator: str | None = None
    acoustic: str | None = None
    language: str = "en"
    language_model: str | None = None
    device: str = "auto"
    engine: str = "local"
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TranscribeRequest(ModelRequest):
    """Transcribe songs.

    Args:
        greedy: decode without beam search and language model.
        hot_words: words that are likely to be sung: text; "tags" for artist and title in the song's tags; a .txt file;
            a folder of them, with song.txt for song.mp3.
    """

    verb: ClassVar[str] = "transcribe"
    greedy: bool = False
    hot_words: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AlignRequest(ModelRequest):
    """Align given lyrics; the jobs name them."""

    verb: ClassVar[str] = "align"


@dataclass(frozen=True, kw_only=True)
class SeparateRequest(ModelRequest):
    """Write the vocals of songs as audio; `output` is needed."""

    verb: ClassVar[str] = "separate"
    formats: tuple[str, ...] = ("wav",)
