"""Requests: the options of a run, the same from the command line, Python and the server; frozen and picklable.

A request has the options of the processing and of the results. The songs are given as jobs (see `jobs.find_jobs`),
because a worker gets them one by one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lyrics_asr.lyrics.languages import AUTO
from lyrics_asr.options import DEFAULT_MODEL


@dataclass(frozen=True, kw_only=True)
class Request:
    """Options of all runs.

    Args:
        output: folder of the results; None writes to stdout, in the first format.
        formats: formats of the results: names in `formats.FORMATS`, or the suffix of audio files without the dot.
        overwrite: process songs again that an earlier run finished with the same content, model and options.
        force: also replace files that we did not write, or that were changed since.
    """

    verb: ClassVar[str]
    output: Path | None = None
    formats: tuple[str, ...] = ("json",)
    overwrite: bool = False
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class RenderRequest(Request):
    """Render transcripts in other formats.

    Args:
        vocals: folder of separated vocals, for pages to sing along (`server.share_task`).
    """

    verb: ClassVar[str] = "render"
    vocals: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ModelRequest(Request):
    """Options of all runs with a model.

    Args:
        model: name or folder, see `load_model`.
        separator: name or folder of a separator that replaces the model's.
        acoustic: name or folder of an acoustic model that replaces the model's.
        language: language of the lyrics, such as "fr" or "fra", to verbalize digits and symbols; "auto" guesses it from
            them. It also selects the adapter of a multilingual acoustic model, which "auto" cannot.
        language_model: KenLM file that replaces the model's; "none" to decode without one.
        transcriber: attention model that replaces the model's, see `models.transcriber`; "none" to find the words by
            CTC alone.
        device: device, see `load_model`; several, separated by commas, share the songs; "auto" is every CUDA device, or
            the CPU if there are none.
        engine: "local", or "ray" for a Ray cluster.
        track: number of the audio track of each song, from 1; None for the default track.
        strict: fail songs that are damaged or truncated, in place of a warning.
        overrides: `key.sub=value` of `InferenceOptions`, which override the defaults and the model's tuned options.
    """

    model: str = DEFAULT_MODEL
    separator: str | None = None
    acoustic: str | None = None
    language: str = "en"
    language_model: str | None = None
    transcriber: str | None = None
    device: str = "auto"
    engine: str = "local"
    track: int | None = None
    strict: bool = False
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TranscribeRequest(ModelRequest):
    """Transcribe songs.

    Args:
        language: as above; "auto" is the language that the transcriber hears, or without one that of the hot words.
        greedy: decode by CTC without beam search, language model and transcriber.
        hot_words: words that are likely to be sung: text; "tags" for artist and title from the song's tags; a .txt
            file; or a folder with song.txt for song.mp3.
    """

    verb: ClassVar[str] = "transcribe"
    language: str = AUTO
    greedy: bool = False
    hot_words: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AlignRequest(ModelRequest):
    """Align lyrics, which are part of the jobs.

    Args:
        encoding: encoding of the lyrics files; None to recognize it.
        expand_repeats: a heading without lines stands for the lines that it had before, see `parse_lyrics`.
        keep_all: whether every line was sung, once and in order.
        use_times: whether the times in lyrics files guide the alignment.
        melody: also find the notes of each syllable, see `inference.melody`.
    """

    verb: ClassVar[str] = "align"
    encoding: str | None = None
    expand_repeats: bool = True
    keep_all: bool = False
    use_times: bool = False
    melody: bool = False


@dataclass(frozen=True, kw_only=True)
class SeparateRequest(ModelRequest):
    """Write the vocals of songs as audio files; `output` is required."""

    verb: ClassVar[str] = "separate"
    formats: tuple[str, ...] = ("wav",)
